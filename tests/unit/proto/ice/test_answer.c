/* SPDX-License-Identifier: MIT */

/* One agent and a peer made by hand that may be hostile: what is answered, and what is sent. */

#include <stdio.h>

#include "fixture.h"

#include "base/bytes.h"

#define PEER_UFRAG "peer"
#define PEER_PWD   "peerpasswordpeerpassword"

struct lone {
	struct ice_agent *a;
	struct netaddr local, remote;
	uint64_t now_us;
	uint8_t id[STUN_ID_SIZE];
};

static void lone_init(struct lone *l, enum ice_role role, enum ice_mode mode)
{
	*l = (struct lone){
		.now_us = START, .local = addr("192.0.2.1:4000"), .remote = addr("192.0.2.2:4000")};
	l->a = make(role, mode, 9);
	assert_int_equal(add_host(l->a, "192.0.2.1:4000", 0, START), ICE_OK);
}

enum flaw {
	FLAW_NONE = 0,
	FLAW_WRONG_PASSWORD,
	FLAW_NO_INTEGRITY,
	FLAW_WRONG_UFRAG,
	FLAW_NO_USERNAME,
	FLAW_UNKNOWN_ATTRIBUTE,
	FLAW_NO_PRIORITY,
};

/* A check of the peer, controlling unless we are, with a fresh id. */
static size_t make_request(struct lone *l, enum flaw flaw, bool nominates, uint8_t *out,
                           size_t size)
{
	char name[64];
	size_t n = ICE_LOCAL_UFRAG_LEN;
	struct stun_writer w;

	be32_store(l->id, be32_load(l->id) + 1);
	memcpy(name, ice_local_ufrag(l->a), n);
	name[0] = flaw == FLAW_WRONG_UFRAG ? 'z' : name[0];
	memcpy(name + n, ":" PEER_UFRAG, sizeof(":" PEER_UFRAG) - 1);
	stun_begin(&w, out, size, STUN_CLASS_REQUEST, STUN_METHOD_BINDING, l->id);
	if (flaw != FLAW_NO_USERNAME)
		stun_put_username(&w, name, n + sizeof(":" PEER_UFRAG) - 1);
	if (flaw != FLAW_NO_PRIORITY)
		stun_put_priority(&w, 0x6e0001ff);
	if (l->a->role == ICE_ROLE_CONTROLLED)
		stun_put_controlling(&w, 1);
	else
		stun_put_controlled(&w, 1);
	if (nominates)
		stun_put_use_candidate(&w);
	if (flaw == FLAW_UNKNOWN_ATTRIBUTE) {
		stun_put_software(&w, "abc");
		be16_store(out + w.used - 8, 0x7001);
	}
	if (flaw != FLAW_NO_INTEGRITY)
		stun_put_integrity(&w, flaw == FLAW_WRONG_PASSWORD ? PEER_PWD : ice_local_pwd(l->a),
		                   flaw == FLAW_WRONG_PASSWORD ? strlen(PEER_PWD)
		                                               : ICE_LOCAL_PWD_LEN);
	stun_put_fingerprint(&w);
	return stun_end(&w);
}

static int feed_request(struct lone *l, enum flaw flaw, bool nominates)
{
	uint8_t out[256];
	size_t n = make_request(l, flaw, nominates, out, sizeof(out));

	assert_true(n > 0);
	return ice_input(l->a, &l->local, &l->remote, out, n, l->now_us);
}

/* Answers a request of the agent as the peer would. */
static int feed_answer(struct lone *l, const struct ice_packet *p, const char *pwd,
                       const struct netaddr *from)
{
	uint8_t out[256];
	struct stun_writer w;

	stun_begin(&w, out, sizeof(out), STUN_CLASS_SUCCESS, STUN_METHOD_BINDING, p->data + 8);
	stun_put_xor_mapped(&w, &p->local);
	stun_put_integrity(&w, pwd, strlen(pwd));
	stun_put_fingerprint(&w);
	return ice_input(l->a, &p->local, from, out, stun_end(&w), l->now_us);
}

/* The next message the agent sends within a second: parsed, its time becomes now. */
static bool next_sent(struct lone *l, struct ice_packet *p, struct stun_msg *m)
{
	uint64_t end_us = l->now_us + 1 * S;

	while (ice_output(l->a, p, l->now_us) == 0) {
		uint64_t due_us = ice_deadline_us(l->a);

		if (due_us > end_us)
			return false;
		l->now_us = GV_MAX(l->now_us, due_us);
		ice_timeout(l->a, l->now_us);
	}
	assert_int_equal(stun_msg_parse(p->data, p->len, m), STUN_MSG_OK);
	assert_true(m->has_fingerprint);
	return true;
}

static void lone_set_remote(struct lone *l)
{
	assert_int_equal(ice_set_remote(l->a, PEER_UFRAG, PEER_PWD, l->now_us), ICE_OK);
}

/* Connected to the peer by hand: its check, our check, nomination. */
static void lone_connect(struct lone *l, enum ice_mode mode)
{
	struct ice_packet p;
	struct stun_msg m;
	struct ice_event e;
	unsigned selected = 0;

	lone_init(l, ICE_ROLE_CONTROLLED, mode);
	lone_set_remote(l);
	assert_int_equal(add_remote(l->a, "192.0.2.2:4000", 0, l->now_us), ICE_OK);
	assert_true(next_sent(l, &p, &m));
	assert_int_equal(m.class, STUN_CLASS_REQUEST);
	assert_int_equal(feed_answer(l, &p, PEER_PWD, &l->remote), ICE_OK);
	assert_int_equal(feed_request(l, FLAW_NONE, true), ICE_OK);
	assert_true(next_sent(l, &p, &m));
	assert_int_equal(m.class, STUN_CLASS_SUCCESS);
	while (ice_event(l->a, &e) == 1)
		selected += e.type == ICE_EVENT_SELECTED;
	assert_int_equal(selected, 1);
}

static void request_authentic_is_answered_with_its_source(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_STANDARD);
	assert_int_equal(feed_request(&l, FLAW_NONE, false), ICE_OK);
	assert_true(ice_deadline_us(l.a) <= l.now_us);
	assert_true(next_sent(&l, &p, &m));
	assert_int_equal(m.class, STUN_CLASS_SUCCESS);
	assert_memory_equal(m.id, l.id, STUN_ID_SIZE);
	assert_true(netaddr_equal(&m.mapped, &l.remote));
	assert_true(netaddr_equal(&p.local, &l.local) && netaddr_equal(&p.remote, &l.remote));
	assert_true(stun_msg_verify(&m, ice_local_pwd(l.a), ICE_LOCAL_PWD_LEN));
	assert_false(next_sent(&l, &p, &m)); /* nothing more before the peer is known */
	ice_free(l.a);
}

/* P5: silence towards whoever does not know the password. */
static void request_not_authentic_gets_nothing(void **state)
{
	static const enum flaw flaws[] = {FLAW_WRONG_PASSWORD, FLAW_NO_INTEGRITY, FLAW_WRONG_UFRAG,
	                                  FLAW_NO_USERNAME};
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_GOVPN);
	lone_set_remote(&l);
	for (size_t i = 0; i < GV_ARRAY_SIZE(flaws); i++) {
		assert_int_equal(feed_request(&l, flaws[i], true), ICE_IGNORED);
		assert_false(next_sent(&l, &p, &m));
	}
	assert_int_equal(ice_dropped(l.a), 4);
	ice_free(l.a);
}

static void request_with_unknown_attribute_gets_420(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_GOVPN);
	lone_set_remote(&l);
	assert_int_equal(feed_request(&l, FLAW_UNKNOWN_ATTRIBUTE, true), ICE_OK);
	assert_true(next_sent(&l, &p, &m));
	assert_int_equal(m.error_code, STUN_ERROR_UNKNOWN_ATTRIBUTE);
	assert_false(next_sent(&l, &p, &m)); /* and no check of ours */
	ice_free(l.a);
}

static void request_without_priority_makes_no_candidate(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_GOVPN);
	lone_set_remote(&l);
	assert_int_equal(feed_request(&l, FLAW_NO_PRIORITY, true), ICE_OK);
	assert_true(next_sent(&l, &p, &m));
	assert_int_equal(m.class, STUN_CLASS_SUCCESS);
	assert_false(next_sent(&l, &p, &m));
	ice_free(l.a);
}

/* RFC 8445 7.2.2: USERNAME, PRIORITY of a peer-reflexive candidate, role, and the peer's password. */
static void check_has_the_attributes_of_rfc8445(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;
	char name[64];

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLING, ICE_MODE_STANDARD);
	lone_set_remote(&l);
	add_remote(l.a, "192.0.2.2:4000", 0, l.now_us);
	assert_true(next_sent(&l, &p, &m));
	(void)snprintf(name, sizeof(name), PEER_UFRAG ":%s", ice_local_ufrag(l.a));
	assert_int_equal(m.username_len, strlen(name));
	assert_memory_equal(m.username, name, m.username_len);
	assert_true(m.has_priority && m.has_controlling && !m.use_candidate);
	assert_int_equal(m.priority >> 24, 110);
	assert_true(m.tie_breaker == l.a->tie_breaker);
	assert_true(stun_msg_verify(&m, PEER_PWD, strlen(PEER_PWD)));
	assert_int_equal(stun_peek_prefix(p.data), 9);
	/* Regular nomination: the pair is checked again with USE-CANDIDATE. */
	assert_int_equal(feed_answer(&l, &p, PEER_PWD, &l.remote), ICE_OK);
	assert_true(next_sent(&l, &p, &m));
	assert_true(m.use_candidate);
	ice_free(l.a);
}

/* RFC 8445 14: the first retransmission after RTO, doubling, the same message. */
static void check_unanswered_is_repeated_and_fails(void **state)
{
	static const uint64_t at_ms[] = {0, 500, 1500, 3500, 7500, 11500, 15500};
	struct lone l;
	struct ice_packet p, first;
	unsigned n = 0;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLING, ICE_MODE_STANDARD);
	lone_set_remote(&l);
	add_remote(l.a, "192.0.2.2:4000", 0, l.now_us);
	while (l.now_us < START + 29 * S) {
		while (ice_output(l.a, &p, l.now_us) == 1) {
			assert_true(n < GV_ARRAY_SIZE(at_ms));
			assert_true(l.now_us == START + at_ms[n] * MS);
			if (n++ == 0)
				first = p;
			assert_memory_equal(p.data, first.data, first.len);
		}
		uint64_t due_us = ice_deadline_us(l.a);
		l.now_us = GV_MAX(l.now_us, due_us);
		ice_timeout(l.a, l.now_us);
	}
	assert_int_equal(n, GV_ARRAY_SIZE(at_ms));
	assert_int_equal(ice_pair_at(l.a, 0)->state, ICE_PAIR_FAILED);
	ice_free(l.a);
}

/* RFC 8445 14.2: one new check each Ta, the best pair first. */
static void checks_are_paced_and_ordered(void **state)
{
	static const enum ice_mode modes[] = {ICE_MODE_STANDARD, ICE_MODE_GOVPN};

	static const uint64_t ta_us[] = {50 * MS, 20 * MS};
	static const uint16_t ports[] = {4004, 4003, 4002, 4001};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct lone l;
		struct ice_packet p;
		struct stun_msg m;

		lone_init(&l, ICE_ROLE_CONTROLLING, modes[i]);
		lone_set_remote(&l);
		add_remote(l.a, "192.0.2.21:4001", 4, l.now_us);
		add_remote(l.a, "192.0.2.22:4002", 3, l.now_us);
		add_remote(l.a, "192.0.2.23:4003", 2, l.now_us);
		add_remote(l.a, "192.0.2.24:4004", 1, l.now_us);
		for (unsigned k = 0; k < 4; k++) {
			assert_true(next_sent(&l, &p, &m));
			assert_true(l.now_us == START + k * ta_us[i]);
			assert_int_equal(p.remote.port, ports[k]);
		}
		ice_free(l.a);
	}
}

/* RFC 8445 6.1.2.6: one pair of a foundation at a time, until one succeeded. */
static void pairs_of_one_foundation_wait_frozen(void **state)
{
	struct lone l;
	struct ice_packet p, q;
	struct stun_msg m;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLING, ICE_MODE_STANDARD);
	lone_set_remote(&l);
	add_remote(l.a, "192.0.2.2:4001", 0, l.now_us);
	add_remote(l.a, "192.0.2.2:4002", 0, l.now_us);
	assert_true(next_sent(&l, &p, &m));
	assert_true(next_sent(&l, &q, &m));
	assert_memory_equal(p.data, q.data, p.len); /* only repeated */
	assert_int_equal(feed_answer(&l, &p, PEER_PWD, &p.remote), ICE_OK);
	bool other = false;
	while (!other && next_sent(&l, &q, &m))
		other = q.remote.port != p.remote.port;
	assert_true(other);
	ice_free(l.a);
}

/* Our first request died at the peer's NAT; the peer's own says that it is open now. */
static void check_is_repeated_when_the_peer_is_heard(void **state)
{
	struct lone l;
	struct ice_packet p, q;
	struct stun_msg m;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_STANDARD);
	lone_set_remote(&l);
	add_remote(l.a, "192.0.2.2:4000", 0, l.now_us);
	assert_true(next_sent(&l, &p, &m));
	l.now_us += 60 * MS;
	assert_int_equal(feed_request(&l, FLAW_NONE, false), ICE_OK);
	assert_true(next_sent(&l, &q, &m));
	assert_int_equal(m.class, STUN_CLASS_SUCCESS);
	assert_true(next_sent(&l, &q, &m));
	assert_true(l.now_us == START + 60 * MS);
	assert_memory_equal(p.data, q.data, p.len);
	ice_free(l.a);
}

/* A valid pair waits a little for the better one that may still come; then it is nominated. */
static void nomination_waits_for_a_better_pair(void **state)
{
	struct lone l;
	struct ice_packet p, q;
	struct stun_msg m;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLING, ICE_MODE_GOVPN);
	lone_set_remote(&l);
	add_remote(l.a, "192.0.2.3:4000", 0, l.now_us);
	add_remote(l.a, "192.0.2.2:4000", 5, l.now_us);
	assert_true(next_sent(&l, &p, &m));
	assert_true(next_sent(&l, &q, &m));
	assert_true(netaddr_equal(&q.remote, &l.remote));
	uint64_t valid_us = l.now_us;
	assert_int_equal(feed_answer(&l, &q, PEER_PWD, &l.remote), ICE_OK);
	do {
		assert_true(next_sent(&l, &q, &m));
	} while (!m.use_candidate);
	assert_true(netaddr_equal(&q.remote, &l.remote));
	assert_true(l.now_us == valid_us + 200 * MS);
	ice_free(l.a);
}

static void answer_after_consent_ran_out_counts_for_nothing(void **state)
{
	struct lone l;
	struct ice_packet p, last = {0};
	struct ice_event e;

	(void)state;
	lone_connect(&l, ICE_MODE_STANDARD);
	uint64_t end_us = l.now_us + 31 * S;
	while (l.now_us < end_us) {
		while (ice_output(l.a, &p, l.now_us) == 1)
			last = p;
		l.now_us += 10 * MS;
		ice_timeout(l.a, l.now_us);
	}
	assert_int_equal(ice_event(l.a, &e), 1);
	assert_int_equal(e.type, ICE_EVENT_DISCONNECTED);
	assert_int_equal(feed_answer(&l, &last, PEER_PWD, &l.remote), ICE_OK);
	assert_int_equal(ice_event(l.a, &e), 0);
	ice_free(l.a);
}

static void answer_from_elsewhere_or_forged_is_ignored(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;
	struct ice_event e;
	struct netaddr stranger = addr("192.0.2.66:4000");

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLING, ICE_MODE_GOVPN);
	lone_set_remote(&l);
	add_remote(l.a, "192.0.2.2:4000", 0, l.now_us);
	assert_true(next_sent(&l, &p, &m));
	assert_int_equal(feed_answer(&l, &p, PEER_PWD, &stranger), ICE_IGNORED);
	assert_int_equal(feed_answer(&l, &p, "wrongwrongwrongwrongwrong", &l.remote), ICE_IGNORED);
	assert_int_equal(feed_answer(&l, &p, "", &l.remote), ICE_IGNORED);
	p.data[19] ^= 1;
	assert_int_equal(feed_answer(&l, &p, PEER_PWD, &l.remote), ICE_IGNORED);
	assert_int_equal(ice_event(l.a, &e), 0);
	p.data[19] ^= 1;
	assert_int_equal(feed_answer(&l, &p, PEER_PWD, &l.remote), ICE_OK);
	assert_int_equal(ice_event(l.a, &e), 1);
	assert_int_equal(e.type, ICE_EVENT_PAIR_VALID);
	ice_free(l.a);
}

/* Replayed from another address: nothing at all is sent there. */
static void request_replayed_gets_nothing(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;
	struct netaddr stranger = addr("203.0.113.66:4000");
	uint8_t data[256];

	(void)state;
	lone_connect(&l, ICE_MODE_GOVPN);
	size_t n = make_request(&l, FLAW_NONE, true, data, sizeof(data));
	assert_int_equal(ice_input(l.a, &l.local, &l.remote, data, n, l.now_us), ICE_OK);
	assert_int_equal(ice_input(l.a, &l.local, &stranger, data, n, l.now_us), ICE_IGNORED);
	for (unsigned i = 0; i < 50 && next_sent(&l, &p, &m); i++)
		assert_true(netaddr_equal(&p.remote, &l.remote));
	ice_free(l.a);
}

/* A stranger who repeats each check faster than it comes: the peer is heard as before. */
static void request_overtaken_by_replay_is_answered(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;
	struct netaddr stranger = addr("203.0.113.66:4000");
	uint8_t data[256];
	bool answered = false;

	(void)state;
	lone_connect(&l, ICE_MODE_GOVPN);
	size_t n = make_request(&l, FLAW_NONE, true, data, sizeof(data));
	assert_int_equal(ice_input(l.a, &l.local, &stranger, data, n, l.now_us), ICE_OK);
	assert_int_equal(ice_input(l.a, &l.local, &l.remote, data, n, l.now_us), ICE_OK);
	for (unsigned i = 0; i < 50 && next_sent(&l, &p, &m); i++)
		answered = answered ||
		           (m.class == STUN_CLASS_SUCCESS && netaddr_equal(&p.remote, &l.remote));
	assert_true(answered);
	/* His own address proves nothing by that: from there it is a replay again. */
	struct netaddr other = addr("203.0.113.67:4000");
	assert_int_equal(ice_input(l.a, &l.local, &other, data, n, l.now_us), ICE_IGNORED);
	ice_free(l.a);
}

/*
 * A stranger's copy of a check that comes before the check itself does not keep the peer out, whether its address is
 * known or not. Until a path stands the stranger gets the requests of one check, as anybody whose check comes first.
 */
static void request_overtaken_by_its_copy_is_answered(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct netaddr stranger = addr("203.0.113.66:4000"), unknown = addr("203.0.113.9:4000");
	uint8_t data[256];
	size_t to_stranger = 0;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_GOVPN);
	lone_set_remote(&l);
	assert_int_equal(add_remote(l.a, "192.0.2.2:4000", 0, l.now_us), ICE_OK);
	size_t n = make_request(&l, FLAW_NONE, false, data, sizeof(data));
	assert_int_equal(ice_input(l.a, &l.local, &l.remote, data, n, l.now_us), ICE_OK);
	assert_int_equal(ice_input(l.a, &l.local, &stranger, data, n, l.now_us), ICE_OK);
	n = make_request(&l, FLAW_NONE, false, data, sizeof(data));
	assert_int_equal(ice_input(l.a, &l.local, &stranger, data, n, l.now_us), ICE_OK);
	assert_int_equal(ice_input(l.a, &l.local, &unknown, data, n, l.now_us), ICE_OK);
	assert_int_equal(ice_input(l.a, &l.local, &l.remote, data, n, l.now_us), ICE_OK);
	for (unsigned i = 0; i < 200; i++) {
		while (ice_output(l.a, &p, l.now_us) == 1)
			to_stranger += netaddr_equal(&p.remote, &stranger) ? p.len : 0;
		l.now_us += 10 * MS;
		ice_timeout(l.a, l.now_us);
	}
	assert_true(to_stranger > 0 && to_stranger <= 10 * n);
	/* Not one transaction from everywhere. */
	unsigned taken = 0;
	for (unsigned i = 0; i < 20; i++) {
		struct netaddr elsewhere = netaddr_ip4(0xcb007164u + i, 4000);

		taken += ice_input(l.a, &l.local, &elsewhere, data, n, l.now_us) == ICE_OK;
	}
	assert_true(taken < ICE_MAX_SOURCES);
	ice_free(l.a);
}

/* Loss took the peer's nomination: the controlled side checks again until it comes. */
static void request_missing_nomination_is_reminded_of(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_STANDARD);
	lone_set_remote(&l);
	assert_int_equal(add_remote(l.a, "192.0.2.2:4000", 0, l.now_us), ICE_OK);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t before_us = l.now_us;

		assert_true(next_sent(&l, &p, &m));
		assert_int_equal(m.class, STUN_CLASS_REQUEST);
		assert_true(i == 0 || l.now_us == before_us + 1 * S);
		assert_int_equal(feed_answer(&l, &p, PEER_PWD, &l.remote), ICE_OK);
	}
	assert_int_equal(feed_request(&l, FLAW_NONE, true), ICE_OK);
	assert_true(next_sent(&l, &p, &m));
	assert_int_equal(m.class, STUN_CLASS_SUCCESS);
	assert_false(next_sent(&l, &p, &m)); /* selected now: nothing before consent */
	ice_free(l.a);
}

/* The peer's checks come through, so only loss can take the answers: it is asked until the time to connect is over. */
static void request_heard_without_answers_is_asked_to_the_end(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;
	unsigned failed = 0;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLING, ICE_MODE_STANDARD);
	lone_set_remote(&l);
	assert_int_equal(add_remote(l.a, "192.0.2.2:4000", 0, l.now_us), ICE_OK);
	ice_end_local(l.a, l.now_us);
	ice_end_remote(l.a, l.now_us);
	assert_int_equal(feed_request(&l, FLAW_NONE, false), ICE_OK);
	uint64_t last_us = l.now_us;
	while (l.now_us < START + 40 * S) {
		struct ice_event e;

		if (next_sent(&l, &p, &m))
			last_us = l.now_us;
		else
			l.now_us += 1 * S;
		ice_timeout(l.a, l.now_us);
		while (ice_event(l.a, &e) == 1)
			failed += e.type == ICE_EVENT_FAILED;
	}
	assert_true(last_us > START + 25 * S);
	assert_int_equal(failed, 1);
	ice_free(l.a);
}

/*
 * A check that the real peer never got through, sent on by a stranger from his address: less than three bytes go
 * there for one that came, and the path does not move.
 */
static void request_redirected_is_not_amplified_and_moves_nothing(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct netaddr stranger = addr("203.0.113.66:4000");
	uint8_t data[256];
	size_t in = 0, out = 0;

	(void)state;
	lone_connect(&l, ICE_MODE_GOVPN);
	for (unsigned i = 0; i < 10; i++) {
		size_t n = make_request(&l, FLAW_NONE, true, data, sizeof(data));

		in += n;
		assert_int_equal(ice_input(l.a, &l.local, &stranger, data, n, l.now_us), ICE_OK);
		for (unsigned t = 0; t < 500; t++) {
			while (ice_output(l.a, &p, l.now_us) == 1) {
				if (netaddr_equal(&p.remote, &stranger))
					out += p.len;
				else if (stun_peek_class(p.data) == STUN_CLASS_REQUEST)
					feed_answer(&l, &p, PEER_PWD, &l.remote);
			}
			l.now_us += 10 * MS;
			ice_timeout(l.a, l.now_us);
		}
		assert_true(netaddr_equal(&l.a->selected->addr, &l.remote));
	}
	assert_true(out > 0 && out <= 3 * in);
	ice_free(l.a);
}

/* A peer that shows a new address in each check fills no more than the table. */
static void requests_from_many_addresses_stay_bounded(void **state)
{
	struct lone l;
	struct ice_packet p;

	(void)state;
	lone_connect(&l, ICE_MODE_GOVPN);
	struct netaddr good = l.remote;
	for (unsigned i = 0; i < 500; i++) {
		l.remote = netaddr_ip4(0xcb007100 + i, 1000);
		assert_int_equal(feed_request(&l, FLAW_NONE, false), ICE_OK);
		while (ice_output(l.a, &p, l.now_us) == 1) {
		}
		l.now_us += 1 * MS;
	}
	assert_true(netaddr_equal(&l.a->selected->addr, &good));
	assert_true(l.a->pair_end <= ICE_MAX_PAIRS);
	/* A candidate of the peer still finds a place. */
	assert_int_equal(add_remote(l.a, "192.0.2.99:4000", 0, l.now_us), ICE_OK);
	ice_free(l.a);
}

/* A candidate that a check had shown before it was named: every local address is paired with it, not only that one. */
static void remote_named_late_pairs_with_every_address(void **state)
{
	struct lone l;
	unsigned pairs = 0;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_GOVPN);
	lone_set_remote(&l);
	assert_int_equal(add_host(l.a, "198.51.100.7:4000", 1, l.now_us), ICE_OK);
	assert_int_equal(feed_request(&l, FLAW_NONE, false), ICE_OK);
	assert_int_equal(add_remote(l.a, "192.0.2.2:4000", 0, l.now_us), ICE_OK);
	for (struct ice_pair *p = ice_pair_next(l.a, NULL); p != NULL; p = ice_pair_next(l.a, p))
		pairs += p->remote_type == ICE_CAND_HOST;
	assert_int_equal(pairs, 2);
	ice_free(l.a);
}

/* Two candidates of one foundation, as an old and a new mapping of a NAT are: the second does not wait for the first. */
static void pairs_of_one_foundation_wait_for_standard_peers_only(void **state)
{
	(void)state;
	for (enum ice_mode mode = ICE_MODE_STANDARD; mode <= ICE_MODE_GOVPN; mode++) {
		struct lone l;
		struct ice_packet p;
		struct stun_msg m;
		bool second = false;

		lone_init(&l, ICE_ROLE_CONTROLLED, mode);
		lone_set_remote(&l);
		assert_int_equal(add_remote(l.a, "192.0.2.2:4000", 0, l.now_us), ICE_OK);
		assert_int_equal(add_remote(l.a, "192.0.2.2:4001", 0, l.now_us), ICE_OK);
		while (l.now_us < START + 150 * MS && next_sent(&l, &p, &m))
			second = second || p.remote.port == 4001;
		assert_true(second == (mode == ICE_MODE_GOVPN));
		ice_free(l.a);
	}
}

/* RFC 8445 6.1.2.3: G is the controlling side's candidate, D the controlled side's, whichever we are. */
static void pair_priority_is_that_of_the_rfc(void **state)
{
	(void)state;
	for (enum ice_role role = ICE_ROLE_CONTROLLED; role <= ICE_ROLE_CONTROLLING; role++) {
		struct lone l;
		struct ice_cand c;

		lone_init(&l, role, ICE_MODE_GOVPN);
		c = ice_cand_local(ICE_CAND_SRFLX, &l.remote, &l.remote, 7);
		assert_int_equal(ice_add_remote(l.a, &c, l.now_us), ICE_OK);
		struct ice_pair *p = ice_pair_next(l.a, NULL);
		assert_non_null(p);
		uint64_t ours = l.a->locals[0].c.priority, theirs = c.priority;
		assert_true(ours > theirs);
		uint64_t g_is_larger = role == ICE_ROLE_CONTROLLING;
		assert_true(p->priority == (theirs << 32) + 2 * ours + g_is_larger);
		ice_free(l.a);
	}
}

/* While the path is dark, pairs that failed are tried in rounds 2, 4, 8, .. s apart, without end. */
static void pairs_failed_are_tried_again_while_the_path_is_dark(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;
	struct netaddr other = addr("192.0.2.77:4000");
	unsigned asked = 0;

	(void)state;
	lone_connect(&l, ICE_MODE_GOVPN);
	assert_int_equal(add_remote(l.a, "192.0.2.77:4000", 1, l.now_us), ICE_OK);
	uint64_t dark_us = l.now_us + 12 * S; /* its first check is over then */
	while (l.now_us < dark_us + 40 * S) {
		if (!next_sent(&l, &p, &m)) {
			l.now_us += 100 * MS;
			ice_timeout(l.a, l.now_us);
			continue;
		}
		bool is_other = netaddr_equal(&p.remote, &other);
		asked += is_other && l.now_us > dark_us;
		if (!is_other && l.now_us < dark_us && m.class == STUN_CLASS_REQUEST)
			feed_answer(&l, &p, PEER_PWD, &l.remote);
	}
	assert_true(asked >= 2 * 4 && asked <= 2 * 6);
	ice_free(l.a);
}

static void answers_not_fetched_are_bounded(void **state)
{
	struct lone l;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_STANDARD);
	for (unsigned i = 0; i < ICE_MAX_RESPONSES + 5; i++)
		assert_int_equal(feed_request(&l, FLAW_NONE, false), ICE_OK);
	assert_int_equal(l.a->response_count, ICE_MAX_RESPONSES);
	assert_int_equal(ice_dropped(l.a), 5);
	ice_free(l.a);
}

/* A stranger's candidate must not make us talk to ourselves, to groups or to nobody. */
static void remote_candidates_that_cannot_be_sent_to_are_refused(void **state)
{
	static const char *const refused[] = {
		"0.0.0.0:4000", "0.1.2.3:4000",   "224.0.0.1:4000", "255.255.255.255:4000",
		"192.0.2.2:0",  "[ff02::1]:4000", "[::]:4000"};
	static const char *const unpaired[] = {"127.0.0.1:4000", "[::1]:4000",
	                                       "[2001:db8::1]:4000"};
	struct lone l;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_GOVPN);
	for (size_t i = 0; i < GV_ARRAY_SIZE(refused); i++)
		assert_int_equal(add_remote(l.a, refused[i], 0, START), ICE_IGNORED);
	for (size_t i = 0; i < GV_ARRAY_SIZE(unpaired); i++)
		assert_int_equal(add_remote(l.a, unpaired[i], 0, START), ICE_OK);
	assert_int_equal(l.a->pair_end, 0);
	ice_free(l.a);
}

static void link_local_pairs_stay_on_their_interface(void **state)
{
	struct lone l;
	struct netaddr base = addr("[fe80::1]:4000");
	struct ice_packet p;
	struct stun_msg m;

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_GOVPN);
	lone_set_remote(&l);
	base.ifindex = 7;
	struct ice_cand c = ice_cand_local(ICE_CAND_HOST, &base, &base, 65535);
	assert_int_equal(ice_add_local(l.a, &c, START), ICE_OK);
	assert_int_equal(add_host(l.a, "[2001:db8::1]:4000", 1, START), ICE_OK);
	assert_int_equal(add_remote(l.a, "[fe80::2]:4000", 0, START), ICE_OK);
	assert_int_equal(l.a->pair_end, 1);
	assert_true(next_sent(&l, &p, &m));
	assert_int_equal(p.local.ifindex, 7);
	assert_int_equal(p.remote.ifindex, 7);
	ice_free(l.a);
}

static void candidates_twice_or_too_many_are_told(void **state)
{
	struct lone l;
	struct netaddr n = addr("192.0.2.50:1000");

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_GOVPN);
	assert_int_equal(add_host(l.a, "192.0.2.1:4000", 0, START), ICE_DUPLICATE);
	assert_int_equal(add_remote(l.a, "192.0.2.2:4000", 0, START), ICE_OK);
	assert_int_equal(add_remote(l.a, "192.0.2.2:4000", 0, START), ICE_DUPLICATE);
	for (unsigned i = 1; i < ICE_MAX_CANDIDATES; i++) {
		n.port = (uint16_t)(1000 + i);
		struct ice_cand c = ice_cand_local(ICE_CAND_HOST, &n, &n, (uint16_t)i);

		assert_int_equal(ice_add_local(l.a, &c, START), ICE_OK);
		assert_int_equal(ice_add_remote(l.a, &c, START), ICE_OK);
	}
	assert_int_equal(add_host(l.a, "192.0.2.99:1", 0, START), ICE_TOO_MANY);
	assert_int_equal(add_remote(l.a, "192.0.2.99:1", 0, START), ICE_TOO_MANY);
	assert_true(l.a->pair_end <= ICE_MAX_PAIRS);
	/* The best pairs are those that stayed. */
	uint64_t best = 0;
	for (struct ice_pair *p = ice_pair_next(l.a, NULL); p != NULL; p = ice_pair_next(l.a, p))
		best = GV_MAX(best, p->priority);
	assert_true(best > 0);
	ice_free(l.a);
}

/* A peer that moves from network to network for a day names an address at each move. */
static void candidates_named_long_ago_make_room_for_new_ones(void **state)
{
	struct lone l;
	struct netaddr n = addr("192.0.2.50:1000");

	(void)state;
	lone_connect(&l, ICE_MODE_GOVPN);
	const struct ice_pair *selected = l.a->selected;
	assert_non_null(selected);
	for (unsigned i = 1; i < 3 * ICE_MAX_CANDIDATES; i++) {
		n.port = (uint16_t)(1000 + i);
		struct ice_cand c = ice_cand_local(ICE_CAND_HOST, &n, &n, (uint16_t)i);

		assert_int_equal(ice_add_remote(l.a, &c, l.now_us + i), ICE_OK);
	}
	assert_ptr_equal(l.a->selected, selected);
	assert_true(selected->valid);
	ice_free(l.a);
}

/* RFC 8445 6.1.2.4: a reflexive candidate of a base that is a candidate adds no pair. */
static void reflexive_candidate_of_a_host_adds_no_pair(void **state)
{
	struct lone l;
	struct netaddr mapped = addr("203.0.113.1:5000");

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_GOVPN);
	assert_int_equal(add_remote(l.a, "192.0.2.2:4000", 0, START), ICE_OK);
	struct ice_cand c = ice_cand_local(ICE_CAND_SRFLX, &mapped, &l.local, 65535);
	assert_int_equal(ice_add_local(l.a, &c, START), ICE_OK);
	assert_int_equal(l.a->pair_end, 1);
	ice_free(l.a);
}

static void credentials_out_of_form_are_refused(void **state)
{
	struct lone l;
	char long_text[ICE_PWD_MAX + 2];

	(void)state;
	lone_init(&l, ICE_ROLE_CONTROLLED, ICE_MODE_GOVPN);
	memset(long_text, 'a', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	assert_int_equal(ice_set_remote(l.a, "abc", PEER_PWD, START), ICE_BAD_VALUE);
	assert_int_equal(ice_set_remote(l.a, "ab:d", PEER_PWD, START), ICE_BAD_VALUE);
	assert_int_equal(ice_set_remote(l.a, PEER_UFRAG, "short", START), ICE_BAD_VALUE);
	assert_int_equal(ice_set_remote(l.a, PEER_UFRAG, long_text, START), ICE_BAD_VALUE);
	assert_int_equal(ice_set_remote(l.a, long_text, PEER_PWD, START), ICE_BAD_VALUE);
	long_text[ICE_PWD_MAX] = '\0';
	assert_int_equal(ice_set_remote(l.a, long_text, long_text, START), ICE_OK);
	/* The largest names still fit a request. */
	add_remote(l.a, "192.0.2.2:4000", 0, START);
	struct ice_packet p;
	struct stun_msg m;
	assert_true(next_sent(&l, &p, &m));
	assert_int_equal(m.username_len, ICE_UFRAG_MAX + 1 + ICE_LOCAL_UFRAG_LEN);
	ice_free(l.a);
}

/* Towards standard peers an older nomination does not win over a better one that is still in use. */
static void nomination_of_a_worse_pair_is_not_followed(void **state)
{
	struct lone l;
	struct ice_packet p;
	struct stun_msg m;
	struct netaddr good = addr("192.0.2.2:4000");

	(void)state;
	lone_connect(&l, ICE_MODE_STANDARD);
	l.remote = addr("192.0.2.3:4000");
	assert_int_equal(feed_request(&l, FLAW_NONE, true), ICE_OK);
	while (next_sent(&l, &p, &m)) {
		if (m.class == STUN_CLASS_REQUEST && netaddr_equal(&p.remote, &l.remote)) {
			assert_int_equal(feed_answer(&l, &p, PEER_PWD, &l.remote), ICE_OK);
			break;
		}
	}
	assert_true(netaddr_equal(&l.a->selected->addr, &good));
	/* The peer nominates it alone for longer than 5 s: it went there. */
	l.now_us += 6 * S;
	assert_int_equal(feed_request(&l, FLAW_NONE, true), ICE_OK);
	assert_true(netaddr_equal(&l.a->selected->addr, &l.remote));
	ice_free(l.a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_authentic_is_answered_with_its_source),
		cmocka_unit_test(request_not_authentic_gets_nothing),
		cmocka_unit_test(request_with_unknown_attribute_gets_420),
		cmocka_unit_test(request_without_priority_makes_no_candidate),
		cmocka_unit_test(check_has_the_attributes_of_rfc8445),
		cmocka_unit_test(check_unanswered_is_repeated_and_fails),
		cmocka_unit_test(checks_are_paced_and_ordered),
		cmocka_unit_test(pairs_of_one_foundation_wait_frozen),
		cmocka_unit_test(check_is_repeated_when_the_peer_is_heard),
		cmocka_unit_test(nomination_waits_for_a_better_pair),
		cmocka_unit_test(answer_after_consent_ran_out_counts_for_nothing),
		cmocka_unit_test(answer_from_elsewhere_or_forged_is_ignored),
		cmocka_unit_test(request_replayed_gets_nothing),
		cmocka_unit_test(request_overtaken_by_replay_is_answered),
		cmocka_unit_test(request_overtaken_by_its_copy_is_answered),
		cmocka_unit_test(request_missing_nomination_is_reminded_of),
		cmocka_unit_test(request_heard_without_answers_is_asked_to_the_end),
		cmocka_unit_test(request_redirected_is_not_amplified_and_moves_nothing),
		cmocka_unit_test(requests_from_many_addresses_stay_bounded),
		cmocka_unit_test(remote_named_late_pairs_with_every_address),
		cmocka_unit_test(pairs_of_one_foundation_wait_for_standard_peers_only),
		cmocka_unit_test(pair_priority_is_that_of_the_rfc),
		cmocka_unit_test(pairs_failed_are_tried_again_while_the_path_is_dark),
		cmocka_unit_test(answers_not_fetched_are_bounded),
		cmocka_unit_test(remote_candidates_that_cannot_be_sent_to_are_refused),
		cmocka_unit_test(link_local_pairs_stay_on_their_interface),
		cmocka_unit_test(candidates_twice_or_too_many_are_told),
		cmocka_unit_test(candidates_named_long_ago_make_room_for_new_ones),
		cmocka_unit_test(reflexive_candidate_of_a_host_adds_no_pair),
		cmocka_unit_test(credentials_out_of_form_are_refused),
		cmocka_unit_test(nomination_of_a_worse_pair_is_not_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
