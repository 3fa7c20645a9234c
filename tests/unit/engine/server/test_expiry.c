/* SPDX-License-Identifier: MIT */

/* Networks that nobody used for long, by clocks that are right and by clocks that are not. */

#include "hub_rig.h"

#include <string.h>

#define DAY_S    86400
#define MANY     25 /* networks of one owner */
#define BATCH    10
#define YEAR_S   (365 * DAY_S)
#define NO_RTC_S 1000 /* a board without a battery begins in 1970 */

struct party {
	struct rig r;
	struct rig_computer owner;
	struct rig_net n;
};

static void open_party(struct party *p, int64_t unix_s)
{
	rig_prepare(&p->r);
	rig_on_disk(&p->r);
	p->r.t.unix_s = unix_s;
	rig_start(&p->r);
	rig_login(&p->r, &p->owner, 1);
	rig_net(&p->n, &p->owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&p->owner, &p->n), MSG_NETWORK_CREATED);
}

static void close_party(struct party *p)
{
	rig_net_free(&p->n);
	rig_computer_free(&p->owner);
	rig_close(&p->r);
}

static void go_offline(struct party *p)
{
	if (p->owner.conn != NULL)
		rig_disconnect(&p->owner);
}

/* The server is off for a while, and starts by a clock that is wrong by some seconds. */
static void restart_after(struct party *p, int64_t off_s, int64_t wrong_s)
{
	go_offline(p);
	p->r.t.us = 5000000; /* the computer was off as well */
	p->r.t.unix_s += off_s + wrong_s;
	rig_restart(&p->r);
}

static void pass_days(struct party *p, unsigned days)
{
	for (unsigned hour = 0; hour < 24 * days; hour++)
		rig_advance(&p->r, 3600);
}

static int64_t mark(struct party *p, const struct rig_net *n)
{
	struct store_network row;

	if (store_network_get(p->r.store, n->doc->network_id, &row) != STORE_OK)
		return -1; /* deleted */
	int64_t unix_s = row.active_unix_s;
	store_network_deinit(&row);
	return unix_s;
}

static void expect_kept(struct party *p)
{
	assert_true(mark(p, &p->n) >= 0);
}

static void expect_deleted(struct party *p)
{
	assert_int_equal(mark(p, &p->n), -1);
}

static void come_back(struct party *p)
{
	rig_connect(&p->owner);
	assert_int_equal(rig_authenticate(&p->owner, RIG_HOST), MSG_AUTHENTICATED);
	assert_int_equal(rig_connect_network(&p->owner, &p->n), MSG_NETWORK_CONNECTED);
	rig_drain(&p->owner);
}

static void expiry_unused_is_deleted_and_used_one_stays(void **state)
{
	struct party p;
	struct rig_computer other;
	struct rig_net used;

	(void)state;
	open_party(&p, RIG_START_S);
	rig_login(&p.r, &other, 2);
	rig_net(&used, &other, "10.1.3.0/24");
	assert_int_equal(rig_create(&other, &used), MSG_NETWORK_CREATED);
	/* The owner is logged in, but not connected to it. */
	struct msg m = {.type = MSG_DISCONNECT_NETWORK};
	memcpy(m.network_ref.network_id, p.n.doc->network_id, NETID_SIZE);
	assert_int_equal(rig_request(&p.owner, &m), MSG_NETWORK_DISCONNECTED);
	pass_days(&p, 89);
	assert_int_equal(rig_receive(&p.owner), MSG_NONE);
	pass_days(&p, 3);
	rig_expect(&p.owner, MSG_NETWORK_DELETED);
	assert_int_equal(rig_connect_network(&p.owner, &p.n), MSG_ERROR);
	assert_int_equal(p.owner.m.error.code, MSG_ERROR_NO_SUCH_NETWORK);
	assert_int_equal(rig_connect_network(&other, &used), MSG_NETWORK_CONNECTED);
	rig_net_free(&used);
	rig_computer_free(&other);
	close_party(&p);
}

static void expiry_waits_for_members_after_a_long_pause(void **state)
{
	struct party p;
	struct rig_net forgotten;

	(void)state;
	open_party(&p, RIG_START_S);
	rig_net(&forgotten, &p.owner, "10.1.3.0/24");
	assert_int_equal(rig_create(&p.owner, &forgotten), MSG_NETWORK_CREATED);
	restart_after(&p, 91 * DAY_S, 0);
	pass_days(&p, 2);
	expect_kept(&p);
	come_back(&p);
	go_offline(&p);
	pass_days(&p, 3);
	assert_int_equal(mark(&p, &forgotten), -1); /* nobody came back to this one */
	pass_days(&p, 85);
	expect_kept(&p);
	pass_days(&p, 4);
	expect_deleted(&p);
	rig_net_free(&forgotten);
	close_party(&p);
}

static void expiry_does_not_believe_a_clock_that_is_ahead(void **state)
{
	struct party p;

	(void)state;
	open_party(&p, RIG_START_S);
	restart_after(&p, 60, YEAR_S);
	pass_days(&p, 2);
	expect_kept(&p);
	p.r.t.unix_s -= YEAR_S;
	pass_days(&p, 80);
	expect_kept(&p);
	/* A jump while it runs. */
	p.r.t.unix_s += YEAR_S;
	pass_days(&p, 2);
	expect_kept(&p);
	p.r.t.unix_s -= YEAR_S;
	pass_days(&p, 2);
	expect_kept(&p);
	close_party(&p);
}

static void expiry_counts_from_the_true_time_after_a_start_in_1970(void **state)
{
	struct party p;

	(void)state;
	open_party(&p, NO_RTC_S);
	go_offline(&p);
	rig_advance(&p.r, 3600);
	p.r.t.unix_s = RIG_START_S;
	rig_advance(&p.r, 3600);
	assert_true(mark(&p, &p.n) >= RIG_START_S);
	pass_days(&p, 89);
	expect_kept(&p);
	pass_days(&p, 3);
	expect_deleted(&p);
	close_party(&p);
}

static void expiry_marks_are_never_set_back(void **state)
{
	struct party p;

	(void)state;
	open_party(&p, RIG_START_S);
	int64_t before = mark(&p, &p.n);
	restart_after(&p, 0, NO_RTC_S - RIG_START_S);
	come_back(&p);
	assert_int_equal(rig_join(&p.owner, &p.n, NULL, "owner"), MSG_NETWORK_JOINED);
	pass_days(&p, 2);
	assert_int_equal(mark(&p, &p.n), before);
	close_party(&p);
}

static void expiry_deletes_a_few_at_a_time(void **state)
{
	struct party p;
	struct rig_net nets[MANY - 1];
	struct hub_stats stats;

	(void)state;
	open_party(&p, RIG_START_S);
	for (size_t i = 0; i < GV_ARRAY_SIZE(nets); i++) {
		rig_net(&nets[i], &p.owner, "10.1.3.0/24");
		assert_int_equal(rig_create(&p.owner, &nets[i]), MSG_NETWORK_CREATED);
	}
	restart_after(&p, 91 * DAY_S, 0);
	do {
		rig_advance(&p.r, 60);
		hub_stats(p.r.hub, &stats);
	} while (stats.networks_expired == 0);
	assert_int_equal(stats.networks_expired, BATCH);
	assert_true(hub_deadline_us(p.r.hub) <= p.r.t.us + 1000000);
	/* Somebody comes to the last one just now, and is gone again. */
	memcpy(p.n.doc->network_id, nets[MANY - 2].doc->network_id, NETID_SIZE);
	come_back(&p);
	go_offline(&p);
	for (unsigned i = 1; i <= MANY / BATCH; i++) {
		rig_advance(&p.r, 1);
		hub_stats(p.r.hub, &stats);
		assert_int_equal(stats.networks_expired, GV_MIN(BATCH * (i + 1), MANY - 1u));
	}
	assert_true(hub_deadline_us(p.r.hub) > p.r.t.us + 1000000);
	expect_kept(&p);
	for (size_t i = 0; i < GV_ARRAY_SIZE(nets); i++)
		rig_net_free(&nets[i]);
	close_party(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expiry_unused_is_deleted_and_used_one_stays),
		cmocka_unit_test(expiry_waits_for_members_after_a_long_pause),
		cmocka_unit_test(expiry_does_not_believe_a_clock_that_is_ahead),
		cmocka_unit_test(expiry_counts_from_the_true_time_after_a_start_in_1970),
		cmocka_unit_test(expiry_marks_are_never_set_back),
		cmocka_unit_test(expiry_deletes_a_few_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
