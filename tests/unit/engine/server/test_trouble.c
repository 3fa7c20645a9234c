/* SPDX-License-Identifier: MIT */

/* The hub without memory, or when its database cannot be written: another program writes, the disk is full, the file is gone. */

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

/* ---- memory runs out once ---- */

enum known {
	KNOWN_NOT,
	KNOWN_OFFLINE,
	KNOWN_ONLINE
};

/* What the owner knows of the guest by the notices that wait. */
static enum known by_notices(struct trouble *t, enum known before)
{
	const struct msg *m = &t->owner.m;
	enum known k = before;

	for (enum msg_type type; (type = rig_receive(&t->owner)) != MSG_NONE;) {
		bool is_here = type == MSG_COMPUTER_JOINED || type == MSG_COMPUTER_CONNECTED;
		const uint8_t *key =
			is_here ? m->computer_notice.computer.key : m->computer_disconnected.key;

		if (!is_here && type != MSG_COMPUTER_DISCONNECTED)
			continue;
		if (memcmp(key, t->guest.key, SIG_KEY_SIZE) == 0)
			k = is_here ? KNOWN_ONLINE : KNOWN_OFFLINE;
	}
	return k;
}

/* What the server shows of it. */
static enum known by_picture(struct trouble *t)
{
	assert_int_equal(rig_connect_network(&t->owner, &t->n), MSG_NETWORK_CONNECTED);
	for (size_t i = 0; i < t->owner.m.network.n_computers; i++) {
		const struct msg_computer *c = &t->owner.m.network.computers[i];

		if (memcmp(c->key, t->guest.key, SIG_KEY_SIZE) == 0)
			return c->online ? KNOWN_ONLINE : KNOWN_OFFLINE;
	}
	return KNOWN_NOT;
}

static bool ask(struct trouble *t, bool to_join)
{
	uint8_t admission[ADMISSION_SIZE_MAX];
	size_t size = rig_admission(&t->guest, &t->n, t->n.link, "guest", t->r.t.unix_s, admission);
	struct msg_blob blob = {.p = admission, .n = size};
	struct msg m = {.type = to_join ? MSG_JOIN_NETWORK : MSG_CONNECT_NETWORK};

	if (to_join) {
		m.join_network.admission = blob;
		memcpy(m.join_network.network_id, t->n.doc->network_id, NETID_SIZE);
	} else {
		m.connect_network.admission = blob;
		memcpy(m.connect_network.network_id, t->n.doc->network_id, NETID_SIZE);
	}
	enum msg_type got = rig_request(&t->guest, &m);
	return got == MSG_NETWORK_JOINED || got == MSG_NETWORK_CONNECTED;
}

/* The owner was told of what the server shows. Whoever could not be told was cut, and comes back. */
static enum known expect_told(struct trouble *t, enum known before)
{
	enum known k = by_notices(t, before);

	if (!rig_is_closing(&t->owner))
		assert_int_equal(k, by_picture(t));
	return k;
}

/* The n-th allocation for a request of the guest fails. False: it needs fewer. */
static bool out_of_memory_at(uint64_t n, bool to_join)
{
	struct trouble t;
	enum known known = KNOWN_NOT;

	open_trouble(&t);
	if (!to_join) {
		assert_true(ask(&t, true));
		rig_disconnect(&t.guest);
		rig_connect(&t.guest);
		assert_int_equal(rig_authenticate(&t.guest, RIG_HOST), MSG_AUTHENTICATED);
		known = expect_told(&t, known);
		assert_int_equal(known, KNOWN_OFFLINE);
		rig_advance(&t.r, 1); /* the admission is newer than before */
	}
	rig_fail_at(&t.r, n);
	(void)ask(&t, to_join); /* the last time it goes well */
	bool has_failed = rig_has_failed(&t.r);
	bool has_denied = t.guest.has_m && t.guest.m.type == MSG_ERROR &&
	                  strstr(t.guest.m.error.message, "nothing was changed") != NULL;
	known = expect_told(&t, known);
	if (has_denied && to_join && !rig_is_closing(&t.owner))
		assert_int_equal(known, KNOWN_NOT);
	if (!rig_is_closing(&t.guest)) {
		assert_true(ask(&t, to_join));
		known = expect_told(&t, known);
		if (!rig_is_closing(&t.owner))
			assert_int_equal(known, KNOWN_ONLINE);
	}
	close_trouble(&t);
	return has_failed;
}

static void out_of_memory_once_the_others_know_who_is_there(void **state)
{
	(void)state;
	for (unsigned to_join = 0; to_join < 2; to_join++) {
		uint64_t n = 1;

		while (out_of_memory_at(n, to_join == 1))
			n++;
		assert_in_range(n, 20, 10000); /* it went through a whole request */
	}
}

/* The n-th allocation for creating a network fails. False: it needs fewer. */
static bool create_out_of_memory_at(uint64_t n)
{
	struct trouble t;
	struct rig_net mine;
	struct hub_stats stats;

	open_trouble(&t);
	rig_net(&mine, &t.guest, "10.1.3.0/24");
	rig_fail_at(&t.r, n);
	enum msg_type got = rig_create(&t.guest, &mine);
	bool has_failed = rig_has_failed(&t.r);
	if (got == MSG_NONE) { /* it was cut */
		rig_disconnect(&t.guest);
		rig_connect(&t.guest);
		assert_int_equal(rig_authenticate(&t.guest, RIG_HOST), MSG_AUTHENTICATED);
	}
	if (got == MSG_ERROR && strstr(t.guest.m.error.message, "nothing was changed") != NULL) {
		hub_stats(t.r.hub, &stats);
		assert_int_equal(stats.networks, 1);
	}
	assert_int_equal(rig_create(&t.guest, &mine), MSG_NETWORK_CREATED);
	hub_stats(t.r.hub, &stats);
	assert_int_equal(stats.networks, 2);
	assert_int_equal(stats.members, 3);
	rig_net_free(&mine);
	close_trouble(&t);
	return has_failed;
}

static void out_of_memory_once_a_network_is_created_at_last(void **state)
{
	uint64_t n = 1;

	(void)state;
	while (create_out_of_memory_at(n))
		n++;
	assert_in_range(n, 20, 10000);
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
		cmocka_unit_test(out_of_memory_once_the_others_know_who_is_there),
		cmocka_unit_test(out_of_memory_once_a_network_is_created_at_last),
		cmocka_unit_test(locked_database_at_the_start_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
