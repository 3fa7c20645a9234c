/* SPDX-License-Identifier: MIT */

#include "engine/server/quota.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

#define WAYS 8 /* neighbours among which a table looks for room */

struct entry {
	struct netaddr block;
	struct quota_bucket bucket;
};

struct quota_table {
	struct quota_rate rate;
	uint32_t seed;
	size_t sets;
	struct entry *entries; /* sets * WAYS */
};

static uint64_t token_us(const struct quota_rate *rate)
{
	return 60u * UINT64_C(1000000) / GV_MAX(rate->per_minute, 1u);
}

/* Tokens that came back since the last look. */
static uint64_t used_now(const struct quota_bucket *b, uint64_t now_us)
{
	uint64_t passed = now_us > b->at_us ? now_us - b->at_us : 0;

	return b->used_us > passed ? b->used_us - passed : 0;
}

bool quota_take(struct quota_bucket *b, const struct quota_rate *rate, uint64_t now_us)
{
	uint64_t used = used_now(b, now_us), one = token_us(rate);

	if (used + one > one * rate->burst)
		return false;
	b->used_us = used + one;
	b->at_us = now_us;
	return true;
}

uint32_t quota_wait_s(const struct quota_bucket *b, const struct quota_rate *rate, uint64_t now_us)
{
	uint64_t used = used_now(b, now_us), one = token_us(rate), room = one * rate->burst;
	uint64_t wait = used + one > room ? used + one - room : 0;

	uint64_t wait_s = (wait + 999999) / 1000000;

	if (wait_s > UINT32_MAX)
		return UINT32_MAX;
	return wait_s > 0 ? (uint32_t)wait_s : 1;
}

struct netaddr quota_block(const struct netaddr *a)
{
	struct netprefix p = netprefix_of(a, a->family == NETADDR_IP6 ? 56 : 32);

	p.addr.port = 0;
	p.addr.ifindex = 0;
	return p.addr;
}

int quota_table_new(struct quota_table **out, const struct quota_rate *rate, size_t size,
                    uint32_t seed)
{
	gv_cleanup(quota_table_freep) struct quota_table *t = mem_new(struct quota_table);

	if (t == NULL)
		return err_here(-ENOMEM);
	t->rate = *rate;
	t->seed = seed;
	t->sets = GV_MAX(size / WAYS, (size_t)1);
	t->entries = mem_new_array(struct entry, t->sets * WAYS);
	if (t->entries == NULL)
		return err_here(-ENOMEM);
	*out = GV_STEAL(t);
	return 0;
}

void quota_table_free(struct quota_table *t)
{
	if (t == NULL)
		return;
	mem_free(t->entries);
	mem_free(t);
}

bool quota_table_take(struct quota_table *t, const struct netaddr *a, uint64_t now_us)
{
	struct netaddr block = quota_block(a);
	struct entry *set = &t->entries[(netaddr_hash(&block, t->seed) % t->sets) * WAYS];
	struct entry *oldest = set;

	for (unsigned i = 0; i < WAYS; i++) {
		if (netaddr_equal(&set[i].block, &block))
			return quota_take(&set[i].bucket, &t->rate, now_us);
		if (set[i].bucket.at_us < oldest->bucket.at_us)
			oldest = &set[i];
	}
	*oldest = (struct entry){.block = block};
	return quota_take(&oldest->bucket, &t->rate, now_us);
}
