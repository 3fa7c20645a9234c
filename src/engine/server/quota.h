/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_SERVER_QUOTA_H
#define GV_ENGINE_SERVER_QUOTA_H

/*
 * quota - how often something may happen: a token bucket, and tables of them for addresses of strangers and for keys.
 *
 * Thread:    owned by one thread.
 * Memory:    a bucket is a plain value; the table has a fixed size given at construction.
 * Time:      now_us is monotonic microseconds.
 */

#include "base/macro.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quota_rate {
	uint32_t per_minute; /* refill */
	uint32_t burst;      /* at most this many at once */
};

/* Zeroed it is full. */
struct quota_bucket {
	uint64_t used_us; /* time the used tokens need to come back, counted from at_us */
	uint64_t at_us;
};

/* Takes one token. False: none is left, and nothing changed. */
bool quota_take(struct quota_bucket *b, const struct quota_rate *rate, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);

/* Whole seconds (at least 1) until a token is there. */
uint32_t quota_wait_s(const struct quota_bucket *b, const struct quota_rate *rate, uint64_t now_us)
	gv_nonnull(1, 2);

/*
 * The block of addresses that counts as one stranger: an IPv4 address, an IPv6 /56 (what a home is given). Without port and
 * interface. The result can be compared with netaddr_equal().
 */
struct netaddr quota_block(const struct netaddr *a) gv_nonnull(1);

#define QUOTA_KEY_SIZE 32

struct quota_table; /* opaque */

/* Buckets of one rate for at most `size` address blocks or keys, not for both. Owned by the caller. Returns 0; -ENOMEM. */
int quota_table_new(struct quota_table **out, const struct quota_rate *rate, size_t size,
                    uint32_t seed) gv_must_check gv_nonnull(1, 2);
/* NULL is allowed. */
void quota_table_free(struct quota_table *t);

/*
 * Takes one token of the block of `a`. In a full table the block that asked longest ago makes room (among a few
 * neighbours, so that the cost is constant).
 */
bool quota_table_take(struct quota_table *t, const struct netaddr *a, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);

/* For what is known to cost only when it is done: seconds until `key` has a token, 0: it has one. Takes nothing. */
uint32_t quota_table_wait_s(const struct quota_table *t, const uint8_t key[static QUOTA_KEY_SIZE],
                            uint64_t now_us) gv_must_check gv_nonnull(1, 2);
/* Takes tokens of `key`, also those that it has not: it waits longer then. Room is made as in quota_table_take(). */
void quota_table_charge(struct quota_table *t, const uint8_t key[static QUOTA_KEY_SIZE],
                        uint32_t tokens, uint64_t now_us) gv_nonnull(1, 2);

GV_DEFINE_CLEANUP(struct quota_table *, quota_table_free)

#endif /* GV_ENGINE_SERVER_QUOTA_H */
