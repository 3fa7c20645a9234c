/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_STUN_RESPONDER_H
#define GV_PROTO_STUN_RESPONDER_H

/*
 * stun_responder - the server's side of a STUN binding (RFC 8489 section 6.3, without authentication): tells a
 * computer the address its packets come from. And the limit on how often one source is answered.
 *
 * Does not:  answer anything but a well-formed binding request; keep state per client.
 * Size:      the answer is the smallest that RFC 8489 allows: 32 bytes over IPv4, 44 over IPv6, 8 more when the
 *            request had FINGERPRINT. It exceeds 1.5 times the request only where the request is a bare header;
 *            our own client (gather) pads its requests.
 * Thread:    stun_respond() any; a limit belongs to one thread.
 * Time:      now_us is monotonic microseconds.
 */

#include "base/macro.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STUN_RESPONSE_MAX 128 /* bytes of the largest answer */

/*
 * Answers a datagram that came from `from`. out has STUN_RESPONSE_MAX bytes. Returns the length of the answer, or
 * 0 when nothing is to be sent (drop and count).
 */
size_t stun_respond(const uint8_t *data, size_t len, const struct netaddr *from,
                    uint8_t out[static STUN_RESPONSE_MAX]) gv_must_check gv_nonnull(1, 3, 4);

#define STUN_LIMIT_PER_S 20 /* answers to one source in any second */
#define STUN_LIMIT_SETS  1024
#define STUN_LIMIT_WAYS  4

/* One source (an IPv4 address or an IPv6 /64) and what it may still ask for. */
struct stun_limit_entry {
	uint64_t key;       /* hash of the source; 0: free */
	uint64_t refill_us; /* when `tokens` was right */
	uint32_t tokens_1k; /* thousandths of an answer */
};

/*
 * Token buckets of STUN_LIMIT_PER_S, in a table of fixed size. A new source takes the place of the one that asked
 * longest ago; the place depends on a secret seed, so that nobody can aim at one.
 */
struct stun_limit {
	uint64_t seed;
	struct stun_limit_entry entries[STUN_LIMIT_SETS][STUN_LIMIT_WAYS];
};

/* Prepares an empty table; seed is random. The struct is about 100 kB: part of a heap object. */
void stun_limit_init(struct stun_limit *l, uint64_t seed) gv_nonnull(1);

/* True when a request of this source may be answered now. */
bool stun_limit_pass(struct stun_limit *l, const struct netaddr *from, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);

#endif /* GV_PROTO_STUN_RESPONDER_H */
