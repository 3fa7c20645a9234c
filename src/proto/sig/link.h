/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SIG_LINK_H
#define GV_PROTO_SIG_LINK_H

/*
 * link - server URLs and invite links: https://SERVER[:PORT]/j/ID#1.SEED[.PIN]
 *
 * Does:      parses and writes both; refuses with a sentence for the person who pasted it.
 * Does not:  decide whether http:// is allowed (apps), resolve names.
 * Thread:    any.   Memory: none.   Time: none.
 */

#include "base/macro.h"
#include "proto/sig/netid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diag;

#define LINK_HOST_MAX       253 /* a DNS name, RFC 1035 2.3.4 */
#define LINK_HOST_PORT_SIZE 264 /* "[host]:65535" and the NUL */
#define LINK_URL_SIZE       272 /* "https://[host]:65535" and the NUL */
#define LINK_SEED_SIZE      32
#define LINK_PIN_SIZE       32
#define LINK_TEXT_SIZE      512 /* any link with its NUL */

struct link_server {
	bool tls; /* https */
	uint16_t port;
	char host[LINK_HOST_MAX + 1]; /* lower case name or address; IPv6 without brackets */
};

struct link_invite {
	struct link_server server;
	uint8_t network_id[NETID_SIZE];
	uint8_t seed[LINK_SEED_SIZE]; /* secret: mem_wipe() after use */
	uint8_t pin[LINK_PIN_SIZE];   /* of the server's certificate: crypto/cert.h */
	bool has_pin;
};

enum link_result {
	LINK_OK = 0,
	LINK_BAD = 1, /* diag says what is wrong with it; no part of a seed is repeated there */
};

/* "https://host[:port][/]"; ports default to 443 and 80. Returns LINK_OK, LINK_BAD. */
int link_server_parse(const char *text, struct link_server *out, struct diag *diag)
	gv_must_check gv_nonnull(1, 2);

/* The shortest URL of the server; the default port is left out. Returns out. */
const char *link_server_url(const struct link_server *s, char out[static LINK_URL_SIZE])
	gv_nonnull(1, 2);

/* "host:port" or "[v6]:port", always with the port: what login proofs sign. Returns out. */
const char *link_server_host_port(const struct link_server *s, char out[static LINK_HOST_PORT_SIZE])
	gv_nonnull(1, 2);

/* Same scheme, host and port. */
bool link_server_equal(const struct link_server *a, const struct link_server *b) gv_nonnull(1, 2);

/* Parses a link; white space around it is ignored. Returns LINK_OK, LINK_BAD. */
int link_parse(const char *text, struct link_invite *out, struct diag *diag)
	gv_must_check gv_nonnull(1, 2);

/* Writes the link, a secret: wipe out after use. Returns out. */
const char *link_format(const struct link_invite *link, char out[static LINK_TEXT_SIZE])
	gv_nonnull(1, 2);

#endif /* GV_PROTO_SIG_LINK_H */
