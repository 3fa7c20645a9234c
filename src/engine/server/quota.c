/* SPDX-License-Identifier: MIT */

#include "engine/server/quota.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

#define WAYS 8 /* neighbours among which a table looks for room */

/* An address block is family and address, the rest is zero. */
struct id {
	uint8_t b[QUOTA_KEY_SIZE];
};

struct entry {
	struct id id;
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

static uint32_t hash(const struct id *id, uint32_t seed)
{
	uint64_t h = seed * 0x9e3779b97f4a7c15u, part;

	for (size_t i = 0; i < sizeof(id->b); i += sizeof(part)) {
		memcpy(&part, id->b + i, sizeof(part));
		h = (h ^ part) * 0xbf58476d1ce4e5b9u;
		h ^= h >> 29;
	}
	return (uint32_t)(h ^ (h >> 32));
}

static struct entry *neighbours(const struct quota_table *t, const struct id *id)
{
	return &t->entries[(hash(id, t->seed) % t->sets) * WAYS];
}

/* The bucket of `id`; a new one is full, and the oldest neighbour makes room for it. */
static struct quota_bucket *take_bucket(struct quota_table *t, const struct id *id)
{
	struct entry *set = neighbours(t, id), *oldest = set;

	for (unsigned i = 0; i < WAYS; i++) {
		if (memcmp(&set[i].id, id, sizeof(*id)) == 0)
			return &set[i].bucket;
		if (set[i].bucket.at_us < oldest->bucket.at_us)
			oldest = &set[i];
	}
	*oldest = (struct entry){.id = *id};
	return &oldest->bucket;
}

bool quota_table_take(struct quota_table *t, const struct netaddr *a, uint64_t now_us)
{
	struct netaddr block = quota_block(a);
	struct id id = {.b = {block.family}};

	_Static_assert(1 + sizeof(block.ip) <= sizeof(id.b), "an address fits");
	memcpy(id.b + 1, block.ip, sizeof(block.ip));
	return quota_take(take_bucket(t, &id), &t->rate, now_us);
}

uint32_t quota_table_wait_s(const struct quota_table *t, const uint8_t key[static QUOTA_KEY_SIZE],
                            uint64_t now_us)
{
	struct id id;

	memcpy(id.b, key, sizeof(id.b));
	const struct entry *set = neighbours(t, &id);
	uint64_t one = token_us(&t->rate);

	for (unsigned i = 0; i < WAYS; i++) {
		const struct quota_bucket *b = &set[i].bucket;

		if (memcmp(&set[i].id, &id, sizeof(id)) == 0 &&
		    used_now(b, now_us) + one > one * t->rate.burst)
			return quota_wait_s(b, &t->rate, now_us);
	}
	return 0;
}

void quota_table_charge(struct quota_table *t, const uint8_t key[static QUOTA_KEY_SIZE],
                        uint32_t tokens, uint64_t now_us)
{
	struct id id;

	memcpy(id.b, key, sizeof(id.b));
	struct quota_bucket *b = take_bucket(t, &id);

	b->used_us = used_now(b, now_us) + tokens * token_us(&t->rate);
	b->at_us = now_us;
}
