/* SPDX-License-Identifier: MIT */

#include "base/rng.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct rng rng_os(void)
{
	return (struct rng){0};
}

struct rng rng_seeded(uint64_t seed)
{
	return (struct rng){.state = seed, .seeded = 1};
}

static uint64_t splitmix(struct rng *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void rng_bytes(struct rng *r, void *out, size_t n)
{
	uint8_t *p = out;

	while (n > 0) {
		if (r->seeded) {
			uint64_t v = splitmix(r);
			size_t k = GV_MIN(n, sizeof(v));

			memcpy(p, &v, k);
			p += k;
			n -= k;
			continue;
		}
		ssize_t got = getrandom(p, n, 0);
		if (got < 0) {
			if (errno == EINTR)
				continue;
			abort();
		}
		p += got;
		n -= (size_t)got;
	}
}

uint32_t rng_u32(struct rng *r)
{
	uint32_t v;

	rng_bytes(r, &v, sizeof(v));
	return v;
}

uint64_t rng_u64(struct rng *r)
{
	uint64_t v;

	rng_bytes(r, &v, sizeof(v));
	return v;
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
	assert(n > 0);
	/* Values under the remainder of 2^32 / n are drawn again, so that each result is equally likely. */
	uint32_t min = (uint32_t)-n % n;
	uint32_t v;

	do {
		v = rng_u32(r);
	} while (v < min);
	return v % n;
}
