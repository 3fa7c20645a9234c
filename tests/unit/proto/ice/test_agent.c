/* SPDX-License-Identifier: MIT */

/* Two agents joined by a wire without delay. */

#include <stdio.h>

#include "fixture.h"

#include "base/mem.h"

#include <errno.h>

struct seen {
	unsigned valid, selected, consent, quiet, disconnected, failed;
	struct netaddr local, remote; /* of the last SELECTED */
	uint64_t send_until_us;
	unsigned packets;
};

struct wire {
	struct ice_agent *a[2];
	struct seen seen[2];
	uint64_t now_us;
	struct netaddr dead;          /* packets from and to this address are lost */
	struct netaddr no_nomination; /* of those from this address only USE-CANDIDATE */
};

static void take_events(struct wire *w, unsigned i)
{
	struct ice_event e;
	struct seen *s = &w->seen[i];

	while (ice_event(w->a[i], &e) == 1) {
		s->valid += e.type == ICE_EVENT_PAIR_VALID;
		s->consent += e.type == ICE_EVENT_CONSENT;
		s->quiet += e.type == ICE_EVENT_QUIET;
		s->disconnected += e.type == ICE_EVENT_DISCONNECTED;
		s->failed += e.type == ICE_EVENT_FAILED;
		if (e.type == ICE_EVENT_SELECTED) {
			s->selected++;
			s->local = e.local;
			s->remote = e.remote;
		}
		if (e.type == ICE_EVENT_SELECTED || e.type == ICE_EVENT_CONSENT)
			s->send_until_us = e.send_until_us;
	}
}

static bool nominates(const struct ice_packet *p)
{
	struct stun_msg m;

	return stun_msg_parse(p->data, p->len, &m) == STUN_MSG_OK && m.use_candidate;
}

static void pump(struct wire *w)
{
	struct ice_packet p;
	bool again = true;

	while (again) {
		again = false;
		for (unsigned i = 0; i < 2; i++) {
			while (ice_output(w->a[i], &p, w->now_us) == 1) {
				again = true;
				w->seen[i].packets++;
				if (netaddr_equal(&p.local, &w->dead) ||
				    netaddr_equal(&p.remote, &w->dead) ||
				    (netaddr_equal(&p.local, &w->no_nomination) && nominates(&p)))
					continue;
				ice_input(w->a[1 - i], &p.remote, &p.local, p.data, p.len,
				          w->now_us);
			}
		}
	}
	take_events(w, 0);
	take_events(w, 1);
}

static void run(struct wire *w, uint64_t span_us)
{
	uint64_t end_us = w->now_us + span_us;

	pump(w);
	for (;;) {
		uint64_t due_us = ice_deadline_us(w->a[0]), other_us = ice_deadline_us(w->a[1]);

		due_us = GV_MIN(due_us, other_us);
		if (due_us > end_us)
			break;
		w->now_us = GV_MAX(w->now_us, due_us);
		for (unsigned i = 0; i < 2; i++)
			ice_timeout(w->a[i], w->now_us);
		pump(w);
	}
	w->now_us = end_us;
}

static void exchange_creds(struct wire *w)
{
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(ice_set_remote(w->a[i], ice_local_ufrag(w->a[1 - i]),
		                                ice_local_pwd(w->a[1 - i]), w->now_us),
		                 ICE_OK);
}

static void wire_init(struct wire *w, enum ice_mode mode)
{
	*w = (struct wire){.now_us = START};
	w->a[0] = make(ICE_ROLE_CONTROLLING, mode, 1);
	w->a[1] = make(ICE_ROLE_CONTROLLED, mode, 2);
}

static void wire_deinit(struct wire *w)
{
	ice_free(w->a[0]);
	ice_free(w->a[1]);
}

/* One address each, connected. */
static void connect_two(struct wire *w, enum ice_mode mode)
{
	wire_init(w, mode);
	assert_int_equal(add_host(w->a[0], "192.0.2.1:4000", 0, w->now_us), ICE_OK);
	assert_int_equal(add_host(w->a[1], "192.0.2.2:4000", 0, w->now_us), ICE_OK);
	exchange_creds(w);
	assert_int_equal(add_remote(w->a[0], "192.0.2.2:4000", 0, w->now_us), ICE_OK);
	assert_int_equal(add_remote(w->a[1], "192.0.2.1:4000", 0, w->now_us), ICE_OK);
	run(w, 1 * S);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(w->seen[i].selected, 1);
		assert_int_equal(w->seen[i].valid, 1);
		assert_true(w->seen[i].send_until_us >= START + 30 * S);
	}
}

static void agents_with_one_address_select_it(void **state)
{
	static const enum ice_mode modes[] = {ICE_MODE_STANDARD, ICE_MODE_GOVPN};
	struct wire w;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		connect_two(&w, modes[i]);
		struct netaddr a = addr("192.0.2.1:4000"), b = addr("192.0.2.2:4000");
		assert_true(netaddr_equal(&w.seen[0].local, &a));
		assert_true(netaddr_equal(&w.seen[0].remote, &b));
		assert_true(netaddr_equal(&w.seen[1].local, &b));
		assert_true(netaddr_equal(&w.seen[1].remote, &a));
		assert_int_equal(w.seen[0].failed, 0);
		wire_deinit(&w);
	}
}

/* RFC 8445 7.3.1.1: whoever has the larger tie-breaker controls, whichever side notices. */
static void agents_in_one_role_agree(void **state)
{
	static const enum ice_role roles[] = {ICE_ROLE_CONTROLLING, ICE_ROLE_CONTROLLED};
	struct wire w;

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		wire_init(&w, ICE_MODE_GOVPN);
		ice_set_role(w.a[0], roles[i % 2]);
		ice_set_role(w.a[1], roles[i % 2]);
		w.a[0]->tie_breaker = i & 2 ? 5 : 7;
		w.a[1]->tie_breaker = 6;
		add_host(w.a[0], "192.0.2.1:4000", 0, w.now_us);
		add_host(w.a[1], "192.0.2.2:4000", 0, w.now_us);
		exchange_creds(&w);
		/* One side, or both, knows where to. */
		add_remote(w.a[0], "192.0.2.2:4000", 0, w.now_us);
		if (i & 4)
			add_remote(w.a[1], "192.0.2.1:4000", 0, w.now_us);
		run(&w, 3 * S);
		assert_int_equal(w.seen[0].selected, 1);
		assert_int_equal(w.seen[1].selected, 1);
		assert_int_equal(w.a[0]->role, i & 2 ? ICE_ROLE_CONTROLLED : ICE_ROLE_CONTROLLING);
		assert_int_equal(w.a[1]->role, i & 2 ? ICE_ROLE_CONTROLLING : ICE_ROLE_CONTROLLED);
		wire_deinit(&w);
	}
}

/* The answer to our offer is under way and the peer checks already. */
static void agent_checked_before_it_knows_the_peer_connects(void **state)
{
	struct wire w;

	(void)state;
	wire_init(&w, ICE_MODE_GOVPN);
	add_host(w.a[0], "192.0.2.1:4000", 0, w.now_us);
	add_host(w.a[1], "192.0.2.2:4000", 0, w.now_us);
	assert_int_equal(
		ice_set_remote(w.a[1], ice_local_ufrag(w.a[0]), ice_local_pwd(w.a[0]), w.now_us),
		ICE_OK);
	add_remote(w.a[1], "192.0.2.1:4000", 0, w.now_us);
	run(&w, 500 * MS);
	assert_int_equal(w.seen[1].valid, 1); /* it was answered */
	assert_int_equal(w.seen[0].valid, 0);
	assert_int_equal(
		ice_set_remote(w.a[0], ice_local_ufrag(w.a[1]), ice_local_pwd(w.a[1]), w.now_us),
		ICE_OK);
	run(&w, 500 * MS);
	assert_int_equal(w.seen[0].selected, 1);
	assert_int_equal(w.seen[1].selected, 1);
	/* Later the candidate comes and names what was peer-reflexive. */
	assert_int_equal(add_remote(w.a[0], "192.0.2.2:4000", 0, w.now_us), ICE_OK);
	assert_int_equal(w.a[0]->selected->remote_type, ICE_CAND_HOST);
	wire_deinit(&w);
}

static void agents_idle_send_little_and_keep_consent(void **state)
{
	struct wire w;

	(void)state;
	connect_two(&w, ICE_MODE_GOVPN);
	unsigned before = w.seen[0].packets + w.seen[1].packets;
	run(&w, 150 * S);
	assert_true(w.seen[0].packets + w.seen[1].packets - before <= 80);
	assert_true(w.seen[0].send_until_us > w.now_us + 15 * S);
	assert_true(w.seen[1].send_until_us > w.now_us + 15 * S);
	assert_int_equal(w.seen[0].quiet + w.seen[1].quiet, 0);
	wire_deinit(&w);
}

/* One check and its answer in each direction each 4 to 6 s (RFC 7675 5.1), our own peers 8 to 12 s; not more with data. */
static void agents_busy_send_only_consent(void **state)
{
	static const enum ice_mode modes[] = {ICE_MODE_STANDARD, ICE_MODE_GOVPN};

	static const unsigned least[] = {38, 18}, most[] = {62, 32};
	struct wire w;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		connect_two(&w, modes[i]);
		unsigned before = w.seen[0].packets + w.seen[1].packets;
		for (unsigned t = 0; t < 600; t++) {
			run(&w, 100 * MS);
			ice_heard(w.a[0], w.now_us);
			ice_heard(w.a[1], w.now_us);
			ice_sent(w.a[0], w.now_us);
			ice_sent(w.a[1], w.now_us);
		}
		unsigned sent = w.seen[0].packets + w.seen[1].packets - before;
		assert_in_range(sent, least[i], most[i]);
		wire_deinit(&w);
	}
}

static void agent_without_answers_loses_consent_after_30_s(void **state)
{
	static const enum ice_mode modes[] = {ICE_MODE_STANDARD, ICE_MODE_GOVPN};
	struct wire w;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		connect_two(&w, modes[i]);
		uint64_t until_us = w.seen[0].send_until_us;
		assert_true(until_us <= w.now_us + 30 * S);
		w.dead = addr("192.0.2.2:4000");
		run(&w, until_us - w.now_us - 1 * MS);
		assert_int_equal(w.seen[0].disconnected, 0);
		run(&w, 1 * MS);
		assert_int_equal(w.seen[0].disconnected, 1);
		/* Our own peers come back by themselves, others by a restart only. */
		run(&w, 10 * S);
		w.dead = (struct netaddr){0};
		run(&w, 10 * S);
		assert_int_equal(w.seen[0].selected, modes[i] == ICE_MODE_GOVPN ? 2 : 1);
		wire_deinit(&w);
	}
}

/* Two addresses: the better one is selected, dies, and the other takes over; later it comes back. */
static void agents_with_two_paths_change_and_return(void **state)
{
	struct wire w;
	struct netaddr best = addr("192.0.2.1:4000"), other = addr("198.51.100.1:4000");

	(void)state;
	wire_init(&w, ICE_MODE_GOVPN);
	add_host(w.a[0], "192.0.2.1:4000", 0, w.now_us);
	add_host(w.a[0], "198.51.100.1:4000", 5, w.now_us);
	add_host(w.a[1], "192.0.2.2:4000", 0, w.now_us);
	exchange_creds(&w);
	add_remote(w.a[0], "192.0.2.2:4000", 0, w.now_us);
	add_remote(w.a[1], "192.0.2.1:4000", 0, w.now_us);
	add_remote(w.a[1], "198.51.100.1:4000", 5, w.now_us);
	run(&w, 3 * S);
	assert_true(netaddr_equal(&w.seen[0].local, &best));
	assert_true(netaddr_equal(&w.seen[1].remote, &best));

	/* It dies silently under traffic. */
	ice_heard(w.a[0], w.now_us);
	ice_heard(w.a[1], w.now_us);
	w.dead = best;
	run(&w, 2 * S);
	assert_true(netaddr_equal(&w.seen[0].local, &other));
	assert_true(netaddr_equal(&w.seen[1].remote, &other));
	assert_int_equal(w.seen[0].disconnected + w.seen[1].disconnected, 0);

	w.dead = (struct netaddr){0};
	run(&w, 70 * S);
	assert_true(netaddr_equal(&w.seen[0].local, &best));
	assert_true(netaddr_equal(&w.seen[1].remote, &best));

	/* It is taken away: at once, and the peer follows without a nomination being needed. */
	ice_remove_local(w.a[0], &best, w.now_us);
	w.dead = best;
	run(&w, 50 * MS);
	assert_true(netaddr_equal(&w.seen[0].local, &other));
	run(&w, 1 * S);
	assert_true(netaddr_equal(&w.seen[1].remote, &other));
	wire_deinit(&w);
}

/*
 * The better path dies after its check and before the nomination is answered. The other one is valid by then, or only
 * much later, when the first nomination has been given up.
 */
static void agents_select_another_path_when_the_nominated_one_died(void **state)
{
	static const uint64_t late_us[] = {0, 14 * S};
	struct netaddr best = addr("192.0.2.1:4000"), other = addr("198.51.100.1:4000");
	struct wire w;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		wire_init(&w, ICE_MODE_GOVPN);
		add_host(w.a[0], "192.0.2.1:4000", 0, w.now_us);
		add_host(w.a[1], "192.0.2.2:4000", 0, w.now_us);
		exchange_creds(&w);
		add_remote(w.a[0], "192.0.2.2:4000", 0, w.now_us);
		add_remote(w.a[1], "192.0.2.1:4000", 0, w.now_us);
		if (late_us[i] == 0) {
			add_host(w.a[0], "198.51.100.1:4000", 5, w.now_us);
			add_remote(w.a[1], "198.51.100.1:4000", 5, w.now_us);
		}
		w.no_nomination = best;
		run(&w, 100 * MS);
		assert_true(w.seen[0].valid > 0);
		w.dead = best;
		run(&w, late_us[i]);
		assert_int_equal(w.seen[0].selected, 0);
		if (late_us[i] != 0) {
			add_host(w.a[0], "198.51.100.1:4000", 5, w.now_us);
			add_remote(w.a[1], "198.51.100.1:4000", 5, w.now_us);
		}
		run(&w, 4 * S);
		assert_true(netaddr_equal(&w.seen[0].local, &other));
		assert_true(netaddr_equal(&w.seen[1].remote, &other));
		/* The better one comes back. */
		w.dead = w.no_nomination = (struct netaddr){0};
		run(&w, 70 * S);
		assert_true(netaddr_equal(&w.seen[0].local, &best));
		wire_deinit(&w);
	}
}

/* The same when the side that moves is the controlled one and traffic still reaches the other. */
static void agent_controlled_moves_and_the_peer_follows(void **state)
{
	struct wire w;
	struct netaddr best = addr("192.0.2.2:4000"), other = addr("198.51.100.2:4000");

	(void)state;
	wire_init(&w, ICE_MODE_GOVPN);
	add_host(w.a[0], "192.0.2.1:4000", 0, w.now_us);
	add_host(w.a[1], "192.0.2.2:4000", 0, w.now_us);
	add_host(w.a[1], "198.51.100.2:4000", 5, w.now_us);
	exchange_creds(&w);
	add_remote(w.a[0], "192.0.2.2:4000", 0, w.now_us);
	add_remote(w.a[0], "198.51.100.2:4000", 5, w.now_us);
	add_remote(w.a[1], "192.0.2.1:4000", 0, w.now_us);
	run(&w, 20 * S);
	assert_true(netaddr_equal(&w.seen[0].remote, &best));
	ice_remove_local(w.a[1], &best, w.now_us);
	w.dead = best;
	for (unsigned i = 0; i < 15; i++) {
		ice_heard(w.a[0], w.now_us); /* what the other sends over its new path */
		run(&w, 100 * MS);
	}
	assert_true(netaddr_equal(&w.seen[1].local, &other));
	assert_true(netaddr_equal(&w.seen[0].remote, &other));
	wire_deinit(&w);
}

/* A side gets another address that nobody told the peer, who goes on hearing data. */
static void agent_with_a_new_address_is_followed(void **state)
{
	struct netaddr old[2] = {addr("192.0.2.1:4000"), addr("192.0.2.2:4000")};
	struct netaddr fresh = addr("192.0.2.9:4000");
	struct wire w;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		connect_two(&w, ICE_MODE_GOVPN);
		run(&w, 10 * S);
		ice_remove_local(w.a[i], &old[i], w.now_us);
		w.dead = old[i];
		run(&w, 1 * MS);
		assert_int_equal(w.seen[i].quiet, 1);
		assert_int_equal(add_host(w.a[i], "192.0.2.9:4000", 0, w.now_us), ICE_OK);
		for (unsigned t = 0; t < 10; t++) {
			ice_heard(w.a[1 - i], w.now_us);
			run(&w, 100 * MS);
		}
		assert_true(netaddr_equal(&w.seen[i].local, &fresh));
		assert_true(netaddr_equal(&w.seen[1 - i].remote, &fresh));
		wire_deinit(&w);
	}
}

static void agent_that_lost_its_address_says_so_when_consent_ends(void **state)
{
	static const enum ice_mode modes[] = {ICE_MODE_STANDARD, ICE_MODE_GOVPN};
	struct netaddr old = addr("192.0.2.1:4000");
	struct wire w;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		connect_two(&w, modes[i]);
		uint64_t until_us = w.seen[0].send_until_us;
		ice_remove_local(w.a[0], &old, w.now_us);
		run(&w, until_us - w.now_us - 1 * MS);
		assert_int_equal(w.seen[0].disconnected, modes[i] == ICE_MODE_STANDARD);
		run(&w, 1 * MS);
		assert_int_equal(w.seen[0].disconnected, 1);
		run(&w, 60 * S);
		assert_int_equal(w.seen[0].disconnected, 1);
		assert_int_equal(w.seen[0].failed, 0);
		wire_deinit(&w);
	}
}

static void agents_restart_keep_the_path_until_a_new_one(void **state)
{
	struct wire w;
	char old_ufrag[ICE_LOCAL_UFRAG_LEN + 1];

	(void)state;
	connect_two(&w, ICE_MODE_GOVPN);
	(void)snprintf(old_ufrag, sizeof(old_ufrag), "%s", ice_local_ufrag(w.a[0]));
	ice_restart(w.a[0], w.now_us);
	assert_string_not_equal(old_ufrag, ice_local_ufrag(w.a[0]));
	assert_true(w.a[0]->prev.set);
	assert_string_equal(w.a[0]->prev.local_ufrag, old_ufrag);
	/* The peer does not know yet: consent goes on under the old credentials. */
	run(&w, 40 * S);
	assert_int_equal(w.seen[0].disconnected + w.seen[1].disconnected, 0);
	assert_int_equal(w.seen[0].selected, 1);

	ice_restart(w.a[1], w.now_us);
	exchange_creds(&w);
	add_remote(w.a[0], "192.0.2.2:4000", 0, w.now_us);
	add_remote(w.a[1], "192.0.2.1:4000", 0, w.now_us);
	run(&w, 2 * S);
	assert_int_equal(w.seen[0].selected, 2);
	assert_int_equal(w.seen[1].selected, 2);
	assert_false(w.a[0]->prev.set);
	run(&w, 40 * S);
	assert_int_equal(w.seen[0].disconnected + w.seen[1].disconnected, 0);
	wire_deinit(&w);
}

/* A restart before anything was selected: the former credentials end with the first path all the same. */
static void agents_restart_without_a_path_forget_the_former_credentials(void **state)
{
	struct wire w;

	(void)state;
	wire_init(&w, ICE_MODE_GOVPN);
	assert_int_equal(add_host(w.a[0], "192.0.2.1:4000", 0, w.now_us), ICE_OK);
	assert_int_equal(add_host(w.a[1], "192.0.2.2:4000", 0, w.now_us), ICE_OK);
	ice_restart(w.a[0], w.now_us);
	assert_true(w.a[0]->prev.set);
	exchange_creds(&w);
	assert_int_equal(add_remote(w.a[0], "192.0.2.2:4000", 0, w.now_us), ICE_OK);
	run(&w, 1 * S);
	assert_int_equal(w.seen[0].selected, 1);
	assert_false(w.a[0]->prev.set);
	wire_deinit(&w);
}

static void agent_without_a_path_says_failed(void **state)
{
	struct wire w;

	(void)state;
	wire_init(&w, ICE_MODE_GOVPN);
	add_host(w.a[0], "192.0.2.1:4000", 0, w.now_us);
	add_host(w.a[1], "192.0.2.2:4000", 0, w.now_us);
	exchange_creds(&w);
	add_remote(w.a[0], "192.0.2.77:4000", 0, w.now_us);
	/* Side 0 knows that nothing more comes; side 1 waits for candidates. */
	ice_end_local(w.a[0], w.now_us);
	ice_end_remote(w.a[0], w.now_us);
	w.dead = addr("192.0.2.77:4000");
	run(&w, 12 * S);
	assert_int_equal(w.seen[0].failed, 1);
	assert_int_equal(w.seen[1].failed, 0);
	run(&w, 18 * S);
	assert_int_equal(w.seen[1].failed, 1);
	wire_deinit(&w);
}

static void agent_new_without_memory_fails(void **state)
{
	struct ice_config c = {.rng = rng_seeded(1)};
	struct ice_agent *a = NULL;

	(void)state;
	mem_fail_at(1);
	assert_int_equal(ice_new(&a, &c), -ENOMEM);
	mem_fail_at(0);
	assert_null(a);
	ice_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agents_with_one_address_select_it),
		cmocka_unit_test(agents_in_one_role_agree),
		cmocka_unit_test(agent_checked_before_it_knows_the_peer_connects),
		cmocka_unit_test(agents_idle_send_little_and_keep_consent),
		cmocka_unit_test(agents_busy_send_only_consent),
		cmocka_unit_test(agent_without_answers_loses_consent_after_30_s),
		cmocka_unit_test(agents_with_two_paths_change_and_return),
		cmocka_unit_test(agents_select_another_path_when_the_nominated_one_died),
		cmocka_unit_test(agent_controlled_moves_and_the_peer_follows),
		cmocka_unit_test(agent_with_a_new_address_is_followed),
		cmocka_unit_test(agent_that_lost_its_address_says_so_when_consent_ends),
		cmocka_unit_test(agents_restart_keep_the_path_until_a_new_one),
		cmocka_unit_test(agents_restart_without_a_path_forget_the_former_credentials),
		cmocka_unit_test(agent_without_a_path_says_failed),
		cmocka_unit_test(agent_new_without_memory_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
