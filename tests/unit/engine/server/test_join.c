/* SPDX-License-Identifier: MIT */

/* Joining: invites, passwords and the limits on guessing, labels, addresses. */

#include "hub_rig.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

struct party {
	struct rig r;
	struct rig_computer owner, b, c;
	struct rig_net n;
};

static void start_party(struct party *p, const char *subnet)
{
	rig_start(&p->r);
	rig_login(&p->r, &p->owner, 1);
	rig_login(&p->r, &p->b, 2);
	rig_login(&p->r, &p->c, 3);
	rig_net(&p->n, &p->owner, subnet);
	assert_int_equal(rig_create(&p->owner, &p->n), MSG_NETWORK_CREATED);
}

static void open_party(struct party *p, const char *subnet)
{
	rig_prepare(&p->r);
	start_party(p, subnet);
}

static void open_party_on_disk(struct party *p, const char *subnet)
{
	rig_prepare(&p->r);
	rig_on_disk(&p->r);
	start_party(p, subnet);
}

static void close_party(struct party *p)
{
	rig_net_free(&p->n);
	rig_computer_free(&p->owner);
	rig_computer_free(&p->b);
	rig_computer_free(&p->c);
	rig_close(&p->r);
}

static void join_ok(struct rig_computer *c, const struct rig_net *n, const struct identity *invite,
                    const char *label)
{
	if (rig_join(c, n, invite, label) == MSG_ERROR)
		fail_msg("join: %s: %s", msg_error_text(c->m.error.code), c->m.error.message);
	assert_int_equal(c->m.type, MSG_NETWORK_JOINED);
}

static void join_refused(struct rig_computer *c, const struct rig_net *n,
                         const struct identity *invite, const char *label, enum msg_error_code code)
{
	assert_int_equal(rig_join(c, n, invite, label), MSG_ERROR);
	assert_string_equal(msg_error_text(c->m.error.code), msg_error_text(code));
}

static struct identity *wrong_password(void)
{
	static const uint8_t seed[IDENTITY_SEED_SIZE] = "wrong";
	struct identity *id = NULL;

	assert_int_equal(identity_from_seed(&id, seed), 0);
	return id;
}

/* Changes the link's rules in a newer document. */
static void set_link(struct party *p, uint32_t uses, int64_t expires_unix_s)
{
	struct document_invite invite = {
		.uses = uses, .expires_unix_s = expires_unix_s, .kind = DOCUMENT_INVITE_LINK};

	identity_public(p->n.link, invite.key);
	assert_int_equal(document_add_invite(p->n.doc, &invite), DOCUMENT_OK);
	rig_net_sign(&p->n);
	assert_int_equal(rig_update(&p->owner, &p->n), MSG_DOCUMENT_UPDATED);
}

static void join_by_link_gives_next_address_and_tells(void **state)
{
	struct party p;

	(void)state;
	open_party(&p, "10.1.2.0/24");
	join_ok(&p.b, &p.n, p.n.link, "b");
	assert_int_equal(rig_last_octet(&p.b), 2);
	assert_int_equal(p.b.m.network.n_computers, 2);
	assert_true(p.b.m.network.computers[0].online);
	assert_int_equal(p.b.m.network.ipv6.family, NETADDR_IP6);
	rig_expect(&p.owner, MSG_COMPUTER_JOINED);
	assert_memory_equal(p.owner.m.computer_notice.computer.key, p.b.key, SIG_KEY_SIZE);
	assert_true(p.owner.m.computer_notice.computer.online);
	assert_int_equal(p.owner.m.computer_notice.computer.session, p.b.session);
	join_ok(&p.c, &p.n, p.n.password, "c");
	assert_int_equal(rig_last_octet(&p.c), 3);
	close_party(&p);
}

static void join_again_gives_the_same_address(void **state)
{
	struct party p;

	(void)state;
	open_party(&p, "10.1.2.0/24");
	join_ok(&p.b, &p.n, p.n.link, "b");
	join_ok(&p.c, &p.n, p.n.link, "c");
	rig_drain(&p.owner);
	join_ok(&p.b, &p.n, p.n.link, "b");
	assert_int_equal(rig_last_octet(&p.b), 2);
	assert_int_equal(p.b.m.network.n_computers, 3);
	assert_int_equal(rig_receive(&p.owner), MSG_NONE);
	close_party(&p);
}

static void join_again_with_newer_names_renames(void **state)
{
	struct party p;

	(void)state;
	open_party(&p, "10.1.2.0/24");
	join_ok(&p.b, &p.n, p.n.link, "b");
	rig_drain(&p.owner);
	rig_advance(&p.r, 1);
	join_ok(&p.b, &p.n, p.n.link, "bee");
	assert_int_equal(rig_last_octet(&p.b), 2);
	rig_expect(&p.owner, MSG_COMPUTER_RENAMED);
	close_party(&p);
}

static void join_foreign_admission_is_refused(void **state)
{
	struct party p;
	uint8_t bytes[ADMISSION_SIZE_MAX];

	(void)state;
	open_party(&p, "10.1.2.0/24");
	size_t size = rig_admission(&p.b, &p.n, p.n.link, "b", p.r.t.unix_s, bytes);
	struct msg m = {.type = MSG_JOIN_NETWORK,
	                .join_network = {.admission = {.p = bytes, .n = size}}};
	memcpy(m.join_network.network_id, p.n.doc->network_id, NETID_SIZE);
	rig_refused(&p.c, &m, MSG_ERROR_BAD_REQUEST);
	m.join_network.network_id[0] ^= 1; /* of another network */
	rig_refused(&p.b, &m, MSG_ERROR_BAD_REQUEST);
	close_party(&p);
}

/* How far the joiner's clock may be from the server's. */
static void join_with_another_clock(void **state)
{
	static const struct {
		int64_t ahead_s;
		bool good;
	} rows[] = {{-3600, true}, {-300, true}, {300, true},
	            {890, true},   {910, false}, {3600, false}};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		struct party p;
		uint8_t bytes[ADMISSION_SIZE_MAX];

		open_party(&p, "10.1.2.0/24");
		size_t size = rig_admission(&p.b, &p.n, p.n.link, "b",
		                            p.r.t.unix_s + rows[i].ahead_s, bytes);
		struct msg m = {.type = MSG_JOIN_NETWORK,
		                .join_network = {.admission = {.p = bytes, .n = size}}};
		memcpy(m.join_network.network_id, p.n.doc->network_id, NETID_SIZE);
		if (rows[i].good) {
			assert_int_equal(rig_request(&p.b, &m), MSG_NETWORK_JOINED);
		} else {
			rig_refused(&p.b, &m, MSG_ERROR_BAD_REQUEST);
			assert_non_null(strstr(p.b.m.error.message, "clock"));
		}
		close_party(&p);
	}
}

/* ---- uses and expiry ---- */

static void join_single_use_invite_admits_one(void **state)
{
	struct party p;

	(void)state;
	open_party(&p, "10.1.2.0/24");
	set_link(&p, 1, 0);
	join_ok(&p.b, &p.n, p.n.link, "b");
	join_refused(&p.c, &p.n, p.n.link, "c", MSG_ERROR_INVITE_REFUSED);
	/* Its user may come back, but the place is not free for another. */
	join_ok(&p.b, &p.n, p.n.link, "b");
	assert_int_equal(rig_leave(&p.b, &p.n), MSG_NETWORK_LEFT);
	join_refused(&p.c, &p.n, p.n.link, "c", MSG_ERROR_INVITE_REFUSED);
	join_ok(&p.b, &p.n, p.n.link, "b");
	close_party(&p);
}

static void join_single_use_invite_in_any_order_admits_one(void **state)
{
	enum {
		RACERS = 20
	};
	struct rig r;
	struct rig_computer owner, racers[RACERS];
	struct rig_net n;
	unsigned joined = 0;

	(void)state;
	rig_prepare(&r);
	r.config.limits.change = (struct quota_rate){.per_minute = 10000, .burst = 10000};
	rig_start(&r);
	rig_login(&r, &owner, 1);
	rig_net(&n, &owner, "10.1.2.0/24");
	struct document_invite invite = {.uses = 1, .kind = DOCUMENT_INVITE_LINK};
	identity_public(n.link, invite.key);
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	assert_int_equal(document_add_invite(n.doc, &invite), DOCUMENT_OK);
	rig_net_sign(&n);
	assert_int_equal(rig_update(&owner, &n), MSG_DOCUMENT_UPDATED);
	for (unsigned i = 0; i < RACERS; i++)
		rig_login(&r, &racers[i], 10 + i);
	for (unsigned i = 0; i < RACERS; i++) {
		char label[16];

		(void)snprintf(label, sizeof(label), "racer%u", i);
		joined += rig_join(&racers[(i * 7) % RACERS], &n, n.link, label) ==
		          MSG_NETWORK_JOINED;
	}
	assert_int_equal(joined, 1);
	for (unsigned i = 0; i < RACERS; i++)
		rig_computer_free(&racers[i]);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_close(&r);
}

static void join_expired_invite_is_refused_by_the_servers_clock(void **state)
{
	struct party p;
	uint8_t bytes[ADMISSION_SIZE_MAX];

	(void)state;
	open_party(&p, "10.1.2.0/24");
	set_link(&p, 0, RIG_START_S + 100);
	/* Signed in time, or so it says; used too late. */
	size_t size = rig_admission(&p.b, &p.n, p.n.link, "b", RIG_START_S + 50, bytes);
	rig_advance(&p.r, 101);
	struct msg m = {.type = MSG_JOIN_NETWORK,
	                .join_network = {.admission = {.p = bytes, .n = size}}};
	memcpy(m.join_network.network_id, p.n.doc->network_id, NETID_SIZE);
	rig_refused(&p.b, &m, MSG_ERROR_INVITE_REFUSED);
	join_refused(&p.c, &p.n, p.n.link, "c", MSG_ERROR_INVITE_REFUSED);
	close_party(&p);
}

/* ---- guessing ---- */

static void join_wrong_password_is_limited_for_each_network(void **state)
{
	struct party p;
	struct identity *wrong = wrong_password();

	(void)state;
	open_party(&p, "10.1.2.0/24");
	for (unsigned i = 0; i < 5; i++)
		join_refused(&p.b, &p.n, wrong, "b", MSG_ERROR_INVITE_REFUSED);
	join_refused(&p.b, &p.n, wrong, "b", MSG_ERROR_RATE_LIMITED);
	assert_in_range(p.b.m.error.retry_after_s, 1, 900);
	/* The right one is not even tested, from whatever address. */
	join_refused(&p.c, &p.n, p.n.password, "c", MSG_ERROR_RATE_LIMITED);
	/* Who has the link does not guess. */
	join_ok(&p.b, &p.n, p.n.link, "b");
	rig_advance(&p.r, 900);
	join_ok(&p.c, &p.n, p.n.password, "c");
	identity_free(wrong);
	close_party(&p);
}

static void restart_with_logins(struct party *p)
{
	rig_disconnect(&p->owner);
	rig_disconnect(&p->b);
	rig_disconnect(&p->c);
	rig_restart(&p->r);
	rig_connect(&p->owner);
	assert_int_equal(rig_authenticate(&p->owner, RIG_HOST), MSG_AUTHENTICATED);
	rig_connect(&p->b);
	assert_int_equal(rig_authenticate(&p->b, RIG_HOST), MSG_AUTHENTICATED);
	rig_connect(&p->c);
	assert_int_equal(rig_authenticate(&p->c, RIG_HOST), MSG_AUTHENTICATED);
}

static void join_twenty_wrong_passwords_lock_until_new_document(void **state)
{
	struct party p;
	struct identity *wrong = wrong_password();

	(void)state;
	open_party_on_disk(&p, "10.1.2.0/24");
	for (unsigned i = 0; i < 20; i++) {
		p.b.remote = netaddr_ip4(0xc0000201 + i, 1);
		if (i % 6 == 5)
			restart_with_logins(&p);
		join_refused(&p.b, &p.n, wrong, "b", MSG_ERROR_INVITE_REFUSED);
		rig_advance(&p.r, 900);
	}
	restart_with_logins(&p);
	rig_advance(&p.r, 7 * 86400); /* daily rounds in between do not forget it */
	join_refused(&p.b, &p.n, p.n.password, "b", MSG_ERROR_RATE_LIMITED);
	rig_net_sign(&p.n);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_DOCUMENT_UPDATED);
	join_ok(&p.b, &p.n, p.n.password, "b");
	identity_free(wrong);
	close_party(&p);
}

static void join_right_password_ends_the_streak(void **state)
{
	struct party p;
	struct identity *wrong = wrong_password();

	(void)state;
	open_party(&p, "10.1.2.0/24");
	for (unsigned i = 0; i < 4; i++)
		join_refused(&p.b, &p.n, wrong, "b", MSG_ERROR_INVITE_REFUSED);
	join_ok(&p.b, &p.n, p.n.password, "b");
	for (unsigned i = 0; i < 5; i++)
		join_refused(&p.c, &p.n, wrong, "c", MSG_ERROR_INVITE_REFUSED);
	join_refused(&p.c, &p.n, wrong, "c", MSG_ERROR_RATE_LIMITED);
	identity_free(wrong);
	close_party(&p);
}

static void join_wrong_passwords_survive_a_restart(void **state)
{
	struct party p;
	struct identity *wrong = wrong_password();

	(void)state;
	open_party_on_disk(&p, "10.1.2.0/24");
	for (unsigned i = 0; i < 5; i++)
		join_refused(&p.b, &p.n, wrong, "b", MSG_ERROR_INVITE_REFUSED);
	restart_with_logins(&p);
	join_refused(&p.b, &p.n, p.n.password, "b", MSG_ERROR_RATE_LIMITED);
	identity_free(wrong);
	close_party(&p);
}

static void join_many_networks_from_one_address_is_limited(void **state)
{
	struct party p;
	struct rig_net unknown;
	struct identity *wrong = wrong_password();

	(void)state;
	open_party_on_disk(&p, "10.1.2.0/24");
	for (unsigned i = 0; i < 20; i++) {
		rig_net(&unknown, &p.owner, "10.1.3.0/24");
		join_refused(&p.b, &unknown, wrong, "b", MSG_ERROR_INVITE_REFUSED);
		rig_net_free(&unknown);
	}
	join_refused(&p.b, &p.n, p.n.password, "b", MSG_ERROR_RATE_LIMITED);
	restart_with_logins(&p);
	join_refused(&p.b, &p.n, p.n.password, "b", MSG_ERROR_RATE_LIMITED);
	/* Others are not held up. */
	join_ok(&p.c, &p.n, p.n.password, "c");
	identity_free(wrong);
	close_party(&p);
}

static void join_unknown_network_is_answered_like_a_wrong_password(void **state)
{
	struct party p;
	struct rig_net unknown;
	struct identity *wrong = wrong_password();
	char text[MSG_TEXT_MAX + 1];

	(void)state;
	open_party(&p, "10.1.2.0/24");
	rig_net(&unknown, &p.owner, "10.1.3.0/24");
	for (unsigned i = 0; i < 6; i++) {
		enum msg_type type = rig_join(&p.b, &p.n, wrong, "b");
		enum msg_error_code code = p.b.m.error.code;
		(void)snprintf(text, sizeof(text), "%s", p.b.m.error.message);
		assert_int_equal(rig_join(&p.c, &unknown, wrong, "c"), type);
		assert_int_equal(p.c.m.error.code, code);
		assert_string_equal(p.c.m.error.message, text);
	}
	rig_net_free(&unknown);
	identity_free(wrong);
	close_party(&p);
}

/* Guesses of many strangers, from one address each or about one network each. */
static void add_failures(struct store *s, unsigned n, int64_t unix_s)
{
	assert_int_equal(store_begin(s), 0);
	for (unsigned i = 0; i < n; i++) {
		struct store_failures f = {.window_unix_s = unix_s, .count = 1, .streak = 1};
		uint8_t scope[STORE_SCOPE_MAX] = {i % 2 == 0 ? 'a' : 'n', (uint8_t)i,
		                                  (uint8_t)(i >> 8), (uint8_t)(i >> 16)};

		assert_int_equal(store_failures_set(s, scope, 1 + NETID_SIZE, &f), 0);
	}
	assert_int_equal(store_commit(s), 0);
}

static void join_failures_of_strangers_take_bounded_room(void **state)
{
	struct party p;
	struct identity *wrong = wrong_password();
	uint64_t rows = 0;

	(void)state;
	open_party_on_disk(&p, "10.1.2.0/24");
	for (unsigned i = 0; i < 5; i++)
		join_refused(&p.b, &p.n, wrong, "b", MSG_ERROR_INVITE_REFUSED);
	add_failures(p.r.store, 100000, p.r.t.unix_s - 30);
	rig_disconnect(&p.owner);
	rig_disconnect(&p.b);
	rig_disconnect(&p.c);
	rig_restart(&p.r);
	assert_true(hub_deadline_us(p.r.hub) <= p.r.t.us);
	rig_advance(&p.r, 1);
	assert_int_equal(store_failures_count(p.r.store, &rows), 0);
	assert_in_range(rows, 1, 50000);
	assert_true(hub_deadline_us(p.r.hub) > p.r.t.us);
	/* What protects a network is not pushed out. */
	rig_connect(&p.c);
	assert_int_equal(rig_authenticate(&p.c, RIG_HOST), MSG_AUTHENTICATED);
	join_refused(&p.c, &p.n, p.n.password, "c", MSG_ERROR_RATE_LIMITED);
	identity_free(wrong);
	close_party(&p);
}

/* ---- labels and addresses ---- */

static void join_label_in_use_gets_a_suggestion(void **state)
{
	struct party p;

	(void)state;
	open_party(&p, "10.1.2.0/24");
	join_ok(&p.b, &p.n, p.n.link, "desk");
	join_refused(&p.c, &p.n, p.n.link, "desk", MSG_ERROR_NAME_TAKEN);
	assert_string_equal(p.c.m.error.suggestion, "desk-2");
	join_ok(&p.c, &p.n, p.n.link, "desk-2");
	assert_int_equal(rig_last_octet(&p.c), 3); /* the refusal left nothing behind */
	close_party(&p);
}

static void join_full_subnet_is_refused_and_resting_one_is_given(void **state)
{
	struct party p;

	(void)state;
	open_party(&p, "10.1.2.0/30");
	join_ok(&p.b, &p.n, p.n.link, "b");
	assert_int_equal(rig_last_octet(&p.b), 2);
	join_refused(&p.c, &p.n, p.n.link, "c", MSG_ERROR_NETWORK_FULL);
	assert_int_equal(rig_leave(&p.b, &p.n), MSG_NETWORK_LEFT);
	join_ok(&p.c, &p.n, p.n.link, "c");
	assert_int_equal(rig_last_octet(&p.c), 2);
	join_refused(&p.b, &p.n, p.n.link, "b", MSG_ERROR_NETWORK_FULL);
	close_party(&p);
}

static void join_membership_and_address_survive_a_restart(void **state)
{
	struct party p;

	(void)state;
	open_party_on_disk(&p, "10.1.2.0/24");
	join_ok(&p.b, &p.n, p.n.link, "b");
	rig_disconnect(&p.owner);
	rig_disconnect(&p.b);
	rig_disconnect(&p.c);
	rig_restart(&p.r);
	rig_connect(&p.b);
	assert_int_equal(rig_authenticate(&p.b, RIG_HOST), MSG_AUTHENTICATED);
	assert_int_equal(rig_connect_network(&p.b, &p.n), MSG_NETWORK_CONNECTED);
	assert_int_equal(rig_last_octet(&p.b), 2);
	assert_string_equal(p.b.m.network.code, p.n.code);
	close_party(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(join_by_link_gives_next_address_and_tells),
		cmocka_unit_test(join_again_gives_the_same_address),
		cmocka_unit_test(join_again_with_newer_names_renames),
		cmocka_unit_test(join_foreign_admission_is_refused),
		cmocka_unit_test(join_with_another_clock),
		cmocka_unit_test(join_single_use_invite_admits_one),
		cmocka_unit_test(join_single_use_invite_in_any_order_admits_one),
		cmocka_unit_test(join_expired_invite_is_refused_by_the_servers_clock),
		cmocka_unit_test(join_wrong_password_is_limited_for_each_network),
		cmocka_unit_test(join_twenty_wrong_passwords_lock_until_new_document),
		cmocka_unit_test(join_right_password_ends_the_streak),
		cmocka_unit_test(join_failures_of_strangers_take_bounded_room),
		cmocka_unit_test(join_wrong_passwords_survive_a_restart),
		cmocka_unit_test(join_many_networks_from_one_address_is_limited),
		cmocka_unit_test(join_unknown_network_is_answered_like_a_wrong_password),
		cmocka_unit_test(join_label_in_use_gets_a_suggestion),
		cmocka_unit_test(join_full_subnet_is_refused_and_resting_one_is_given),
		cmocka_unit_test(join_membership_and_address_survive_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
