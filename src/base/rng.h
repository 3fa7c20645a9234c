/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_RNG_H
#define GV_BASE_RNG_H

/*
 * rng - random bytes as a value that is passed, so that a simulator can replay a run from its seed.
 *
 * rng_os() draws from the kernel and is the only one used for keys. rng_seeded() is SplitMix64: for tests and
 * simulation, never for secrets.
 */

#include "base/macro.h"

#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t state; /* of a seeded one */
	int seeded;
};

struct rng rng_os(void);
struct rng rng_seeded(uint64_t seed);

/* Fills out. The kernel source cannot fail after boot; should it, the process ends: no keys without it. */
void rng_bytes(struct rng *r, void *out, size_t n) gv_nonnull(1, 2);
uint32_t rng_u32(struct rng *r) gv_nonnull(1);
uint64_t rng_u64(struct rng *r) gv_nonnull(1);
/* Uniform in 0 .. n-1; n > 0. */
uint32_t rng_below(struct rng *r, uint32_t n) gv_nonnull(1);

#endif /* GV_BASE_RNG_H */
