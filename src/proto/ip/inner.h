/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_IP_INNER_H
#define GV_PROTO_IP_INNER_H

/*
 * inner - checks the form of one inner IP packet before anything else looks at it.
 *
 * Does:      version, header length, total length against the real length, the chain of IPv6 extension headers;
 *            refuses source routing, by which a packet to us would leave for somewhere else.
 * Does not:  decide who may send it or whom it may reach (engine/dataplane), verify checksums (csum), defragment.
 * Thread:    any; nothing is kept.
 * Memory:    none; the result borrows the packet.
 */

#include "base/macro.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INNER_IP4_HEADER 20
#define INNER_IP6_HEADER 40
#define INNER_TCP_HEADER 20
#define INNER_UDP_HEADER 8
/* Extension headers before a packet counts as malformed. */
#define INNER_MAX_CHAIN 8

enum inner_protocol {
	INNER_ICMP = 1,
	INNER_TCP = 6,
	INNER_UDP = 17,
	INNER_ICMP6 = 58,
};

/* All but INNER_OK: drop and count. */
enum inner_result {
	INNER_OK = 0,
	INNER_SHORT = 1,        /* fewer bytes than its header */
	INNER_VERSION = 2,      /* neither 4 nor 6 */
	INNER_LENGTH = 3,       /* header length or total length is not what is there */
	INNER_CHAIN = 4,        /* an extension header is cut off, or there are too many */
	INNER_SOURCE_ROUTE = 5, /* asks to be sent on */
};

struct inner {
	uint8_t version;     /* 4 or 6 */
	uint8_t addr_len;    /* 4 or 16 */
	uint8_t proto;       /* of the payload, behind IPv6 extension headers */
	bool fragment;       /* a piece of a larger packet: payload may have no transport header */
	bool first_fragment; /* it has offset 0 (also true for whole packets) */
	bool dont_fragment;  /* DF; always true for IPv6 */
	uint16_t header_len; /* bytes before the payload: options and extension headers included */
	const uint8_t *src;  /* borrowed, addr_len bytes */
	const uint8_t *dst;
};

/*
 * Reads the packet p, which must be len bytes exactly. *out is written only with INNER_OK.
 * Returns enum inner_result.
 */
int inner_parse(const uint8_t *p, size_t len, struct inner *out) gv_must_check gv_nonnull(1, 3);

#endif /* GV_PROTO_IP_INNER_H */
