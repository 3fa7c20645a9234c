/* SPDX-License-Identifier: MIT */

/*
 * Addresses of networks against a model that has one entry for each address and looks at all of them: random joins and leaves
 * as the server stores them, a /16 filled to the last address, freed and filled again, and the time of a join in the largest
 * network that the server takes.
 *
 *   GOVPN_LONG=1 sim_ipam    the numbers of a release
 */

#include "faulty_disk.h"
#include "hub_rig.h"

#include "base/mem.h"
#include "engine/server/ipam.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REST_S  86400
#define SIZE    65536
#define MEMBERS 4096u

/* One entry for each address of the subnet, by its distance from the first. */
struct place {
	unsigned holder; /* number of the key; 0: never used */
	bool is_resting;
	int64_t since;
};

struct pool {
	struct netprefix subnet;
	uint32_t first, n;
	struct place places[SIZE];
	/* What the one under test is given. */
	struct ipam_lease leases[SIZE];
	size_t n_leases;
};

/* Time on a processor: others may use this machine. */
static uint64_t cpu_us(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static bool is_long(void)
{
	const char *text = getenv("GOVPN_LONG");

	return text != NULL && text[0] != '\0' && strcmp(text, "0") != 0;
}

static void key_of(unsigned number, uint8_t out[static SIG_KEY_SIZE])
{
	memset(out, 0, SIG_KEY_SIZE);
	memcpy(out, &number, sizeof(number));
}

static struct pool *pool_new(const char *subnet)
{
	struct pool *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	assert_true(netprefix_parse(subnet, &p->subnet));
	p->first = ipam_first(&p->subnet);
	p->n = ipam_capacity(&p->subnet);
	return p;
}

/* Where the key must go: its own place; the first that is free; the one that rests longest. NULL: nowhere. */
static struct place *model_pick(struct pool *p, unsigned number, int64_t now)
{
	struct place *found = NULL;

	for (uint32_t i = 0; i < p->n; i++) {
		if (p->places[i].holder == number)
			return &p->places[i];
	}
	for (uint32_t i = 0; i < p->n; i++) {
		struct place *at = &p->places[i];

		if (at->holder == 0 || (at->is_resting && now - at->since >= REST_S))
			return at;
	}
	for (uint32_t i = 0; i < p->n; i++) {
		struct place *at = &p->places[i];

		if (at->is_resting && (found == NULL || at->since < found->since))
			found = at;
	}
	return found;
}

static struct place *model_of(struct pool *p, unsigned number)
{
	for (uint32_t i = 0; i < p->n; i++) {
		if (p->places[i].holder == number && !p->places[i].is_resting)
			return &p->places[i];
	}
	return NULL;
}

static void model_take(struct place *at, unsigned number)
{
	*at = (struct place){.holder = number};
}

/* ---- a /16 without a store: the server reads all leases for a join, and takes no such network ---- */

static void keep(struct pool *p, const struct ipam_lease *l)
{
	size_t i = p->n_leases;

	while (i > 0 && p->leases[i - 1].address > l->address)
		i--;
	if (i > 0 && p->leases[i - 1].address == l->address) {
		p->leases[i - 1] = *l;
		return;
	}
	memmove(&p->leases[i + 1], &p->leases[i], (p->n_leases - i) * sizeof(*l));
	p->leases[i] = *l;
	p->n_leases++;
}

static int pick(struct pool *p, unsigned number, int64_t now)
{
	struct ipam_lease l = {0};
	struct place *want = model_pick(p, number, now);

	key_of(number, l.key);
	int r = ipam_pick(&p->subnet, p->leases, p->n_leases, SIZE, l.key, now, REST_S, &l.address);
	assert_int_equal(r, want != NULL ? IPAM_OK : IPAM_FULL);
	if (want == NULL)
		return r;
	assert_int_equal(l.address - p->first, want - p->places);
	model_take(want, number);
	keep(p, &l);
	return r;
}

static void release_all(struct pool *p, int64_t now)
{
	for (uint32_t i = 0; i < p->n; i++) {
		p->places[i].is_resting = true;
		p->places[i].since = now + i % 7;
		p->leases[i].released_unix_s = now + i % 7;
	}
}

static void ipam_is_filled_freed_and_filled_again(void **state)
{
	struct pool *p = pool_new(is_long() ? "10.1.0.0/16" : "10.1.0.0/22");
	struct rng rng = rng_seeded(4);
	int64_t now = 1000;

	(void)state;
	for (unsigned i = 1; i <= p->n; i++)
		assert_int_equal(pick(p, i, now), IPAM_OK);
	assert_int_equal(p->n_leases, p->n);
	assert_int_equal(pick(p, p->n + 1, now), IPAM_FULL);
	release_all(p, now);
	/* Those who come back at once find their own, others get what rested longest. */
	for (unsigned i = 0; i < 200; i++) {
		unsigned back = 1 + rng_below(&rng, p->n);

		assert_int_equal(pick(p, i % 2 == 0 ? back : 1000000 + i, now + 60), IPAM_OK);
	}
	now += 2 * REST_S;
	for (unsigned i = 1; i <= 300; i++)
		assert_int_equal(pick(p, 2000000 + i, now), IPAM_OK);
	print_message("%u addresses\n", p->n);
	free(p);
}

/* ---- joins and leaves as the server stores them ---- */

struct stored {
	struct pool *p;
	struct store *s;
	uint8_t id[NETID_SIZE];
	unsigned joins, full;
	uint64_t *times_us;
};

static void stored_open(struct stored *t, const char *subnet)
{
	uint8_t bytes[] = {1};
	struct store_network n = {
		.code = "aaaaaaaaaa", .epoch = 1, .document = bytes, .document_n = 1};

	*t = (struct stored){.p = pool_new(subnet), .id = {9}};
	faulty_disk_format();
	memcpy(n.id, t->id, NETID_SIZE);
	assert_int_equal(store_open(&t->s, "/disk/db", NULL), STORE_OK);
	assert_int_equal(store_network_add(t->s, &n), STORE_OK);
}

static void stored_close(struct stored *t)
{
	store_close(t->s);
	free(t->p);
}

/* As join.c does it. */
static int stored_join(struct stored *t, unsigned number, int64_t now, uint32_t *out)
{
	uint8_t admission[] = {1};
	struct store_member m = {.admission = admission, .admission_n = 1};
	struct ipam_lease l = {0}, *leases = NULL;
	size_t n = 0;

	key_of(number, l.key);
	key_of(number, m.key);
	(void)snprintf(m.label, sizeof(m.label), "m%u", number); /* fits */
	assert_int_equal(store_begin(t->s), 0);
	assert_int_equal(store_leases(t->s, t->id, &leases, &n), 0);
	int r = ipam_pick(&t->p->subnet, leases, n, SIZE, l.key, now, REST_S, &l.address);
	mem_free(leases);
	if (r == IPAM_OK) {
		m.address = *out = l.address;
		assert_int_equal(store_lease_put(t->s, t->id, &l), 0);
		/* A second holder of an address would be refused by the database. */
		assert_int_equal(store_member_add(t->s, t->id, &m), STORE_OK);
	}
	assert_int_equal(store_commit(t->s), 0);
	return r;
}

static void stored_leave(struct stored *t, unsigned number, int64_t now)
{
	uint8_t key[SIG_KEY_SIZE];

	key_of(number, key);
	assert_int_equal(store_begin(t->s), 0);
	assert_int_equal(store_member_remove(t->s, t->id, key), STORE_OK);
	assert_int_equal(store_lease_release(t->s, t->id, key, now), 0);
	assert_int_equal(store_commit(t->s), 0);
}

static void stored_step(struct stored *t, unsigned number, int64_t now)
{
	struct place *at = model_of(t->p, number);
	uint32_t address = 0;

	if (at != NULL) {
		stored_leave(t, number, now);
		at->is_resting = true;
		at->since = now;
		return;
	}
	at = model_pick(t->p, number, now);
	uint64_t begin = cpu_us();
	int r = stored_join(t, number, now, &address);
	t->times_us[t->joins++] = cpu_us() - begin;
	assert_int_equal(r, at != NULL ? IPAM_OK : IPAM_FULL);
	if (at == NULL) {
		t->full++;
		return;
	}
	assert_int_equal(address - t->p->first, at - t->p->places);
	model_take(at, number);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double p99_ms(uint64_t *us, unsigned n)
{
	qsort(us, n, sizeof(*us), by_size);
	return (double)us[n * 99 / 100] / 1000;
}

static void random_steps(const char *subnet, unsigned keys, unsigned steps, uint32_t max_wait_s)
{
	struct stored t;
	struct rng rng = rng_seeded(keys);
	int64_t now = 1000;

	stored_open(&t, subnet);
	t.times_us = calloc(steps, sizeof(*t.times_us));
	assert_non_null(t.times_us);
	for (unsigned i = 0; i < steps; i++) {
		/* Two never leave at the same moment: which of them rested longer would be anybody's guess. */
		now += 1 + rng_below(&rng, max_wait_s);
		stored_step(&t, 1 + rng_below(&rng, keys), now);
	}
	print_message("%s: %u steps, %u joins, %u of them in a full network, p99 %.2f ms\n", subnet,
	              steps, t.joins, t.full, p99_ms(t.times_us, t.joins));
	free(t.times_us);
	stored_close(&t);
}

static void random_joins_and_leaves_follow_the_model(void **state)
{
	unsigned steps = is_long() ? 250000 : 1000;

	(void)state;
	random_steps("10.1.2.0/30", 6, steps, 20000);
	random_steps("10.1.2.16/28", 30, steps, 5000);
	random_steps("10.1.2.0/24", 520, steps, 500);
	random_steps("10.1.2.0/24", 300, steps, 2000);
}

/* ---- the largest network ---- */

static void fill(struct rig *r, const struct rig_net *n, unsigned members)
{
	uint8_t admission[300] = {1};

	assert_int_equal(store_begin(r->store), 0);
	for (unsigned i = 2; i <= members; i++) {
		struct store_member m = {.address = 0x0a010000 + i,
		                         .admission = admission,
		                         .admission_n = sizeof(admission)};
		struct ipam_lease l = {.address = m.address};

		key_of(i, m.key);
		key_of(i, l.key);
		(void)snprintf(m.label, sizeof(m.label), "m%u", i); /* fits */
		assert_int_equal(store_lease_put(r->store, n->doc->network_id, &l), 0);
		assert_int_equal(store_member_add(r->store, n->doc->network_id, &m), STORE_OK);
	}
	assert_int_equal(store_commit(r->store), 0);
}

static void join_of_the_last_member_is_soon(void **state)
{
	enum {
		TIMES = 60
	};
	struct rig r;
	struct rig_computer owner, last, more;
	struct rig_net n;
	uint64_t times_us[TIMES];

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_login(&r, &last, 2);
	rig_login(&r, &more, 3);
	rig_net(&n, &owner, "10.1.0.0/16");
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	fill(&r, &n, MEMBERS - 1);
	for (unsigned i = 0; i < TIMES; i++) {
		uint64_t begin = cpu_us();

		assert_int_equal(rig_join(&last, &n, n.link, "last"), MSG_NETWORK_JOINED);
		times_us[i] = cpu_us() - begin;
		assert_int_equal(last.m.network.n_computers, MEMBERS);
		assert_int_equal(rig_join(&more, &n, n.link, "more"), MSG_ERROR);
		assert_int_equal(more.m.error.code, MSG_ERROR_TOO_MANY);
		assert_int_equal(rig_leave(&last, &n), MSG_NETWORK_LEFT);
		rig_drain(&owner);
		rig_advance(&r, 40); /* showing so large a network is charged: 65 of 120 a minute */
	}
	print_message("the %uth joins in p99 %.1f ms, the answer being parsed as well\n", MEMBERS,
	              p99_ms(times_us, TIMES));
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_computer_free(&last);
	rig_computer_free(&more);
	rig_close(&r);
}

static int install(void **state)
{
	(void)state;
	faulty_disk_install();
	return 0;
}

static int uninstall(void **state)
{
	(void)state;
	faulty_disk_uninstall();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ipam_is_filled_freed_and_filled_again),
		cmocka_unit_test(random_joins_and_leaves_follow_the_model),
		cmocka_unit_test(join_of_the_last_member_is_soon),
	};

	return cmocka_run_group_tests(tests, install, uninstall);
}
