/* SPDX-License-Identifier: MIT */

/* The hub when its database cannot be written: another program writes, the disk is full, the file is gone. */

#include "faulty_disk.h"
#include "hub_rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HOUR_S 3600

struct trouble {
	struct rig r;
	struct rig_computer owner, member, guest;
	struct rig_net n;
};

static void open_trouble(struct trouble *t)
{
	faulty_disk_install();
	rig_prepare(&t->r);
	(void)snprintf(t->r.db, sizeof(t->r.db), "/disk/db"); /* fits */
	rig_start(&t->r);
	rig_login(&t->r, &t->owner, 1);
	rig_login(&t->r, &t->member, 2);
	rig_login(&t->r, &t->guest, 3);
	rig_net(&t->n, &t->owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&t->owner, &t->n), MSG_NETWORK_CREATED);
	assert_int_equal(rig_join(&t->member, &t->n, t->n.link, "member"), MSG_NETWORK_JOINED);
	rig_drain(&t->owner);
	rig_advance(&t->r, 61); /* the first daily round is over */
}

static void close_trouble(struct trouble *t)
{
	rig_net_free(&t->n);
	rig_computer_free(&t->owner);
	rig_computer_free(&t->member);
	rig_computer_free(&t->guest);
	hub_free(t->r.hub);
	store_close(t->r.store);
	faulty_disk_uninstall();
}

static void expect_server_error(struct trouble *t, uint32_t retry_after_s)
{
	assert_int_equal(rig_join(&t->guest, &t->n, t->n.link, "guest"), MSG_ERROR);
	assert_string_equal(msg_error_text(t->guest.m.error.code),
	                    msg_error_text(MSG_ERROR_SERVER_ERROR));
	assert_int_equal(t->guest.m.error.retry_after_s, retry_after_s);
}

static void locked_database_refuses_soon_and_recovers(void **state)
{
	struct trouble t;

	(void)state;
	open_trouble(&t);
	faulty_disk_lock(true);
	expect_server_error(&t, 5);
	assert_true(faulty_disk_slept_us() <= 150000);
	/* Nobody waits again for a lock that was there a moment ago. */
	uint64_t slept = faulty_disk_slept_us();
	for (unsigned i = 0; i < 20; i++)
		expect_server_error(&t, 5);
	assert_int_equal(faulty_disk_slept_us(), slept);
	faulty_disk_lock(false);
	assert_int_equal(rig_join(&t.guest, &t.n, t.n.link, "guest"), MSG_NETWORK_JOINED);
	close_trouble(&t);
}

static void members_connect_beside_another_writer(void **state)
{
	struct trouble t;

	(void)state;
	open_trouble(&t);
	rig_advance(&t.r, 2 * HOUR_S); /* the network is to be marked as used */
	faulty_disk_lock(true);
	assert_int_equal(rig_connect_network(&t.member, &t.n), MSG_NETWORK_CONNECTED);
	assert_int_equal(faulty_disk_slept_us(), 0);
	close_trouble(&t);
}

static void members_connect_on_a_full_disk(void **state)
{
	struct trouble t;
	struct msg networks = {.type = MSG_GET_COMPUTER_NETWORKS};

	(void)state;
	open_trouble(&t);
	rig_advance(&t.r, 2 * HOUR_S);
	faulty_disk_fail(FAULTY_DISK_FULL, 0, 0);
	assert_int_equal(rig_connect_network(&t.member, &t.n), MSG_NETWORK_CONNECTED);
	rig_advance(&t.r, 61); /* now it would be marked */
	assert_true(faulty_disk_has_failed());
	assert_int_equal(rig_request(&t.member, &networks), MSG_COMPUTER_NETWORKS);
	assert_int_equal(t.member.m.computer_networks.n_networks, 1);
	expect_server_error(&t, 0);
	faulty_disk_fail(FAULTY_DISK_NONE, 0, 0);
	assert_int_equal(rig_join(&t.guest, &t.n, t.n.link, "guest"), MSG_NETWORK_JOINED);
	close_trouble(&t);
}

static int64_t active_unix_s(struct trouble *t)
{
	struct store_network row;

	assert_int_equal(store_network_get(t->r.store, t->n.doc->network_id, &row), STORE_OK);
	int64_t unix_s = row.active_unix_s;
	store_network_deinit(&row);
	return unix_s;
}

static void connecting_marks_the_network_as_used_later(void **state)
{
	struct trouble t;

	(void)state;
	open_trouble(&t);
	rig_advance(&t.r, 2 * HOUR_S);
	uint64_t changes = faulty_disk_changes();
	int64_t now = t.r.t.unix_s;
	assert_int_equal(rig_connect_network(&t.member, &t.n), MSG_NETWORK_CONNECTED);
	assert_int_equal(rig_connect_network(&t.owner, &t.n), MSG_NETWORK_CONNECTED);
	assert_int_equal(faulty_disk_changes(), changes); /* nobody waited for the disk */
	assert_true(active_unix_s(&t) < now);
	rig_advance(&t.r, 61);
	assert_true(active_unix_s(&t) >= now);
	changes = faulty_disk_changes();
	rig_advance(&t.r, 61);
	assert_int_equal(faulty_disk_changes(), changes); /* once */
	close_trouble(&t);
}

static void removed_database_takes_no_changes(void **state)
{
	struct trouble t;

	(void)state;
	open_trouble(&t);
	assert_int_equal(store_check(t.r.store), 0);
	faulty_disk_move(true);
	assert_int_equal(store_check(t.r.store), -ESTALE);
	expect_server_error(&t, 0);
	/* Those who are in go on. */
	assert_int_equal(rig_connect_network(&t.member, &t.n), MSG_NETWORK_CONNECTED);
	close_trouble(&t);
}

static void locked_database_at_the_start_is_waited_for(void **state)
{
	struct store *s = NULL;

	(void)state;
	faulty_disk_install();
	faulty_disk_lock(true);
	assert_int_equal(store_open(&s, "/disk/db", NULL), -EBUSY);
	assert_true(faulty_disk_slept_us() >= 1000000 && faulty_disk_slept_us() <= 10000000);
	faulty_disk_lock(false);
	assert_int_equal(store_open(&s, "/disk/db", NULL), STORE_OK);
	store_close(s);
	faulty_disk_uninstall();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(locked_database_refuses_soon_and_recovers),
		cmocka_unit_test(members_connect_beside_another_writer),
		cmocka_unit_test(members_connect_on_a_full_disk),
		cmocka_unit_test(connecting_marks_the_network_as_used_later),
		cmocka_unit_test(removed_database_takes_no_changes),
		cmocka_unit_test(locked_database_at_the_start_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
