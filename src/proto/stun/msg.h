/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_STUN_MSG_H
#define GV_PROTO_STUN_MSG_H

/*
 * stun_msg - STUN messages (RFC 8489) with the attributes of ICE (RFC 8445 16.1), read and written.
 *
 * Does:      checks form, length, magic cookie and FINGERPRINT while parsing; checks MESSAGE-INTEGRITY on demand.
 * Does not:  keep transactions, know what a message means (ice, gather, responder), MESSAGE-INTEGRITY-SHA256.
 * Thread:    any; nothing is kept.
 * Memory:    none; a parsed message borrows the bytes it was parsed from.
 */

#include "base/macro.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STUN_HEADER_SIZE 20
#define STUN_COOKIE      0x2112a442u
#define STUN_ID_SIZE     12
#define STUN_MAX_SIZE    2048 /* longer messages are refused */
#define STUN_MAX_UNKNOWN 8    /* unknown attributes that are remembered for a 420 */

#define STUN_METHOD_BINDING 0x001

enum stun_class {
	STUN_CLASS_REQUEST = 0,
	STUN_CLASS_INDICATION = 1,
	STUN_CLASS_SUCCESS = 2,
	STUN_CLASS_ERROR = 3,
};

enum stun_error_code {
	STUN_ERROR_BAD_REQUEST = 400,
	STUN_ERROR_UNAUTHENTICATED = 401,
	STUN_ERROR_UNKNOWN_ATTRIBUTE = 420,
	STUN_ERROR_ROLE_CONFLICT = 487,
	STUN_ERROR_SERVER = 500,
};

enum stun_msg_result {
	STUN_MSG_OK = 0,
	STUN_MSG_SHORT = 1,     /* fewer bytes than a header, or than the header says */
	STUN_MSG_NOT_STUN = 2,  /* first bits or magic cookie differ */
	STUN_MSG_MALFORMED = 3, /* length or an attribute out of form, trailing bytes, too long */
	STUN_MSG_BAD_FINGERPRINT = 4, /* FINGERPRINT is there and wrong */
};

/* A parsed message. Pointers are borrowed from the input. */
struct stun_msg {
	enum stun_class class;
	uint16_t method;
	uint8_t id[STUN_ID_SIZE];

	const uint8_t *username; /* NULL: absent */
	size_t username_len;
	const uint8_t *software; /* NULL: absent */
	size_t software_len;
	struct netaddr mapped; /* XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS; NETADDR_NONE: absent */
	uint16_t error_code;   /* 300 .. 699; 0: absent */

	bool has_priority;
	uint32_t priority;
	bool use_candidate;
	bool has_controlling, has_controlled;
	uint64_t tie_breaker; /* of the one that is there */

	/* Comprehension-required attributes that this module does not know: a request gets 420. */
	uint16_t unknown[STUN_MAX_UNKNOWN];
	unsigned unknown_count;

	bool has_integrity, has_fingerprint;
	const uint8_t *data; /* the whole message */
	size_t len;
	size_t integrity_at; /* offset of the MESSAGE-INTEGRITY attribute */
};

/*
 * Quick test for a demultiplexer (RFC 7983): first byte 0 .. 3, magic cookie, a length that is a multiple of
 * four and equals `len`. Says nothing about the attributes.
 */
bool stun_is_message(const uint8_t *data, size_t len) gv_nonnull(1);

/* Class of what stun_is_message() accepted. */
enum stun_class stun_peek_class(const uint8_t *data) gv_nonnull(1);

/* First four bytes of the transaction id of what stun_is_message() accepted. */
uint32_t stun_peek_prefix(const uint8_t *data) gv_nonnull(1);

/*
 * Finds USERNAME in what stun_is_message() accepted and gives the part before ':' (of a request: the
 * receiver's fragment, RFC 8445 7.2.2), borrowed from data. Returns false when there is none.
 */
bool stun_peek_username(const uint8_t *data, size_t len, const char **ufrag, size_t *ufrag_len)
	gv_must_check gv_nonnull(1, 3, 4);

/*
 * Parses a whole datagram. *out is written only with STUN_MSG_OK. Every other result: drop and count, send
 * nothing. Attributes after MESSAGE-INTEGRITY other than FINGERPRINT are ignored (RFC 8489 14.5), of one type the
 * first counts (14), whatever the form of the others. XOR-MAPPED-ADDRESS goes before MAPPED-ADDRESS in any order.
 */
int stun_msg_parse(const uint8_t *data, size_t len, struct stun_msg *out)
	gv_must_check gv_nonnull(1, 3);

/* True when MESSAGE-INTEGRITY is there and right for this key (RFC 8489 9.1: the password). Constant time. */
bool stun_msg_verify(const struct stun_msg *m, const void *key, size_t key_len)
	gv_must_check gv_nonnull(1, 2);

/*
 * Writes one message. A writer that ran out of room stays failed, and stun_end() says so.
 *
 *   struct stun_writer w;
 *   stun_begin(&w, out, sizeof(out), STUN_CLASS_REQUEST, STUN_METHOD_BINDING, id);
 *   stun_put_...(&w, ...);
 *   stun_put_integrity(&w, pwd, pwd_len);
 *   stun_put_fingerprint(&w);
 *   size_t len = stun_end(&w);
 */
struct stun_writer {
	uint8_t *data; /* borrowed */
	size_t size, used;
	bool ok;
};

void stun_begin(struct stun_writer *w, uint8_t *out, size_t size, enum stun_class class,
                uint16_t method, const uint8_t id[static STUN_ID_SIZE]) gv_nonnull(1, 2, 6);
void stun_put_username(struct stun_writer *w, const void *name, size_t len) gv_nonnull(1, 2);
void stun_put_software(struct stun_writer *w, const char *name) gv_nonnull(1, 2);
void stun_put_priority(struct stun_writer *w, uint32_t priority) gv_nonnull(1);
void stun_put_use_candidate(struct stun_writer *w) gv_nonnull(1);
void stun_put_controlling(struct stun_writer *w, uint64_t tie_breaker) gv_nonnull(1);
void stun_put_controlled(struct stun_writer *w, uint64_t tie_breaker) gv_nonnull(1);
void stun_put_xor_mapped(struct stun_writer *w, const struct netaddr *a) gv_nonnull(1, 2);
/* ERROR-CODE with an empty reason. */
void stun_put_error(struct stun_writer *w, enum stun_error_code code) gv_nonnull(1);
void stun_put_unknown(struct stun_writer *w, const uint16_t *types, unsigned count)
	gv_nonnull(1, 2);
/* Only FINGERPRINT may follow. */
void stun_put_integrity(struct stun_writer *w, const void *key, size_t key_len) gv_nonnull(1, 2);
/* Must be last. */
void stun_put_fingerprint(struct stun_writer *w) gv_nonnull(1);
/* The length of the message, or 0 when it did not fit. */
size_t stun_end(struct stun_writer *w) gv_must_check gv_nonnull(1);

#endif /* GV_PROTO_STUN_MSG_H */
