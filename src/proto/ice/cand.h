/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_ICE_CAND_H
#define GV_PROTO_ICE_CAND_H

/* cand - ICE candidates as values, their priority and their text (RFC 8839 5.1). */

#include "base/macro.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ice_cand_type {
	ICE_CAND_HOST = 0,
	ICE_CAND_SRFLX,
	ICE_CAND_PRFLX,
	ICE_CAND_RELAY,
};

#define ICE_FOUNDATION_MAX 32
#define ICE_CAND_TEXT_SIZE 256

struct ice_cand {
	enum ice_cand_type type;
	struct netaddr addr; /* transport address */
	struct netaddr
		base; /* where we send from; equals addr for host. Related address of a remote one */
	uint32_t priority;
	char foundation[ICE_FOUNDATION_MAX + 1];
};

/* "host", "srflx", "prflx", "relay". */
const char *ice_cand_type_name(enum ice_cand_type type);

/*
 * A local preference for candidates of the interface with this rank (0: best): IPv6 just above IPv4 of the same
 * interface and both above the next interface, so that neither family has to wait for all of the other
 * (RFC 8421 4).
 */
uint16_t ice_cand_preference(enum netaddr_family family, unsigned rank);

/* RFC 8445 5.1.2.1. */
uint32_t ice_cand_priority(enum ice_cand_type type, uint16_t local_preference);

/*
 * A local candidate with foundation and priority computed (RFC 8445 5.1.1.3, 5.1.2.1). local_preference ranks
 * bases of one type (IPv6 above IPv4, RFC 8421; a better interface above a worse), 0 .. 65535.
 */
struct ice_cand ice_cand_local(enum ice_cand_type type, const struct netaddr *addr,
                               const struct netaddr *base, uint16_t local_preference)
	gv_nonnull(2, 3);

/* "candidate:..." without "a=". out holds ICE_CAND_TEXT_SIZE. */
void ice_cand_format(const struct ice_cand *c, char *out) gv_nonnull(1, 2);

enum ice_cand_result {
	ICE_CAND_OK = 0,
	ICE_CAND_MALFORMED = 1,   /* not a candidate line: drop and count */
	ICE_CAND_UNSUPPORTED = 2, /* well formed, but TCP, component 2, a host name: ignore */
};

/*
 * Parses "candidate:..." (also with "a=" in front; foundations of up to 32 characters, UDP in any case, unknown
 * extension pairs, raddr 0.0.0.0 rport 0). Text need not be terminated.
 */
int ice_cand_parse(const char *text, size_t len, struct ice_cand *out)
	gv_must_check gv_nonnull(1, 3);

#endif /* GV_PROTO_ICE_CAND_H */
