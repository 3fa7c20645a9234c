/* SPDX-License-Identifier: MIT */

#include "base/mem.h"
#include "base/rng.h"
#include "engine/server/ipam.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REST_S 100
#define KEYS   300

static struct netprefix prefix(const char *text)
{
	struct netprefix p;

	assert_true(netprefix_parse(text, &p));
	return p;
}

static void key_of(unsigned number, uint8_t out[static SIG_KEY_SIZE])
{
	memset(out, 0, SIG_KEY_SIZE);
	out[0] = (uint8_t)number;
	out[1] = (uint8_t)(number >> 8);
}

/* The table that the server keeps in its database. */
struct table {
	struct netprefix subnet;
	struct ipam_lease leases[KEYS];
	size_t n;
};

/* An empty one; each test uses one at a time. */
static struct table *table(const char *subnet)
{
	static struct table t;

	memset(&t, 0, sizeof(t));
	t.subnet = prefix(subnet);
	return &t;
}

static int compare(const void *a, const void *b)
{
	const struct ipam_lease *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

static int join(struct table *t, unsigned number, int64_t now, uint32_t *out)
{
	struct ipam_lease lease = {0};

	key_of(number, lease.key);
	int r = ipam_pick(&t->subnet, t->leases, t->n, KEYS, lease.key, now, REST_S,
	                  &lease.address);
	if (r != IPAM_OK)
		return r;
	*out = lease.address;
	for (size_t i = 0; i < t->n; i++) {
		if (t->leases[i].address == lease.address) {
			t->leases[i] = lease;
			return IPAM_OK;
		}
	}
	t->leases[t->n++] = lease;
	qsort(t->leases, t->n, sizeof(t->leases[0]), compare);
	return IPAM_OK;
}

static void leave(struct table *t, unsigned number, int64_t now)
{
	uint8_t key[SIG_KEY_SIZE];

	key_of(number, key);
	for (size_t i = 0; i < t->n; i++) {
		if (memcmp(t->leases[i].key, key, sizeof(key)) == 0)
			t->leases[i].released_unix_s = now;
	}
}

static unsigned octet(struct table *t, unsigned number, int64_t now)
{
	uint32_t address = 0;

	assert_int_equal(join(t, number, now, &address), IPAM_OK);
	return address & 0xff;
}

static void ipam_first_ones_are_given_in_order(void **state)
{
	struct table *t = table("10.1.2.0/24");

	(void)state;
	assert_int_equal(ipam_first(&t->subnet), 0x0a010201);
	assert_int_equal(ipam_capacity(&t->subnet), 254);
	for (unsigned i = 1; i <= 5; i++)
		assert_int_equal(octet(t, i, 0), i);
	assert_int_equal(octet(t, 3, 0), 3);
}

static void ipam_gap_is_filled_after_its_rest(void **state)
{
	struct table *t = table("10.1.2.0/24");

	(void)state;
	for (unsigned i = 1; i <= 5; i++)
		assert_int_equal(octet(t, i, 1000), i);
	leave(t, 2, 1000);
	leave(t, 4, 1000);
	assert_int_equal(octet(t, 6, 1000 + REST_S - 1), 6);
	assert_int_equal(octet(t, 4, 1000 + REST_S - 1), 4); /* the leaver */
	assert_int_equal(octet(t, 7, 1000 + REST_S), 2);
	assert_int_equal(octet(t, 8, 1000 + REST_S), 7);
}

static void ipam_clock_set_back_only_lengthens_the_rest(void **state)
{
	struct table *t = table("10.1.2.0/24");

	(void)state;
	assert_int_equal(octet(t, 1, 5000), 1);
	assert_int_equal(octet(t, 2, 5000), 2);
	leave(t, 2, 5000);
	assert_int_equal(octet(t, 3, 10), 3);
}

static void ipam_full_slash_30_gives_the_longest_resting(void **state)
{
	struct table *t = table("10.1.2.4/30");
	uint32_t address;

	(void)state;
	assert_int_equal(octet(t, 1, 1000), 5);
	assert_int_equal(octet(t, 2, 1000), 6);
	assert_int_equal(join(t, 3, 1000, &address), IPAM_FULL);
	leave(t, 2, 1010);
	leave(t, 1, 1005);
	assert_int_equal(octet(t, 3, 1020), 5);
	assert_int_equal(octet(t, 4, 1020), 6);
	assert_int_equal(join(t, 1, 1020, &address), IPAM_FULL);
}

static void ipam_full_slash_24_refuses_the_next(void **state)
{
	struct table *t = table("10.1.2.0/24");
	uint32_t address;

	(void)state;
	for (unsigned i = 1; i <= 254; i++)
		assert_int_equal(octet(t, i, 0), i);
	assert_int_equal(join(t, 255, 0, &address), IPAM_FULL);
	leave(t, 77, 1);
	assert_int_equal(octet(t, 255, 2), 77);
}

/* ---- against a trivial model ---- */

struct model {
	struct {
		unsigned holder; /* 0: nobody */
		bool is_resting;
		int64_t since;
	} at[256];

	unsigned first, last;
};

static unsigned model_join(struct model *m, unsigned number, int64_t now)
{
	unsigned pick = 0;

	for (unsigned a = m->first; a <= m->last; a++) {
		if (m->at[a].holder == number)
			pick = a;
	}
	for (unsigned a = m->first; a <= m->last && pick == 0; a++) {
		if (m->at[a].holder == 0 || (m->at[a].is_resting && now - m->at[a].since >= REST_S))
			pick = a;
	}
	for (unsigned a = m->first; a <= m->last && pick == 0; a++) {
		bool is_longest = m->at[a].is_resting;

		for (unsigned b = m->first; b <= m->last; b++)
			is_longest = is_longest &&
			             !(m->at[b].is_resting && m->at[b].since < m->at[a].since);
		if (is_longest)
			pick = a;
	}
	if (pick != 0) {
		m->at[pick].holder = number;
		m->at[pick].is_resting = false;
	}
	return pick;
}

static void run_model(const char *subnet, unsigned keys, uint64_t seed)
{
	struct table *t = table(subnet);
	struct model m = {.first = ipam_first(&t->subnet) & 0xff};
	struct rng rng = rng_seeded(seed);
	int64_t now = 1000;

	m.last = m.first + ipam_capacity(&t->subnet) - 1;
	for (unsigned step = 0; step < 3000; step++) {
		unsigned number = 1 + rng_below(&rng, keys);

		now += 1 + rng_below(&rng, 10); /* two never left at the same moment */
		if (rng_below(&rng, 2) == 0) {
			uint32_t address = 0;
			unsigned expected = model_join(&m, number, now);
			int r = join(t, number, now, &address);

			if (r != (expected == 0 ? IPAM_FULL : IPAM_OK) ||
			    (r == IPAM_OK && (address & 0xff) != expected))
				fail_msg("%s, seed %llu, step %u: %u instead of %u", subnet,
				         (unsigned long long)seed, step, address & 0xff, expected);
		} else {
			for (unsigned a = m.first; a <= m.last; a++) {
				if (m.at[a].holder == number && !m.at[a].is_resting) {
					m.at[a].is_resting = true;
					m.at[a].since = now;
					leave(t, number, now);
				}
			}
		}
	}
}

static void ipam_random_joins_and_leaves_follow_the_model(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		run_model("10.1.2.0/30", 5, seed);
		run_model("10.1.2.16/28", 20, seed);
		run_model("10.1.2.0/24", 280, seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ipam_first_ones_are_given_in_order),
		cmocka_unit_test(ipam_gap_is_filled_after_its_rest),
		cmocka_unit_test(ipam_clock_set_back_only_lengthens_the_rest),
		cmocka_unit_test(ipam_full_slash_30_gives_the_longest_resting),
		cmocka_unit_test(ipam_full_slash_24_refuses_the_next),
		cmocka_unit_test(ipam_random_joins_and_leaves_follow_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
