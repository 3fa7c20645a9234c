/* SPDX-License-Identifier: MIT */

/* Who is connected where, what the others hear of it, and forwarding. */

#include "hub_rig.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

struct party {
	struct rig r;
	struct rig_computer owner, b, c;
	struct rig_net n;
};

/* The owner and b are in the network; c is only logged in. */
static void start_party(struct party *p)
{
	rig_start(&p->r);
	rig_login(&p->r, &p->owner, 1);
	rig_login(&p->r, &p->b, 2);
	rig_login(&p->r, &p->c, 3);
	rig_net(&p->n, &p->owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&p->owner, &p->n), MSG_NETWORK_CREATED);
	assert_int_equal(rig_join(&p->b, &p->n, p->n.link, "b"), MSG_NETWORK_JOINED);
	rig_drain(&p->owner);
	rig_drain(&p->b);
}

static void open_party(struct party *p)
{
	rig_prepare(&p->r);
	start_party(p);
}

static void close_party(struct party *p)
{
	rig_net_free(&p->n);
	rig_computer_free(&p->owner);
	rig_computer_free(&p->b);
	rig_computer_free(&p->c);
	rig_close(&p->r);
}

static enum msg_type disconnect_network(struct party *p, struct rig_computer *c)
{
	struct msg m = {.type = MSG_DISCONNECT_NETWORK};

	memcpy(m.network_ref.network_id, p->n.doc->network_id, NETID_SIZE);
	return rig_request(c, &m);
}

static void presence_connect_tells_with_session(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	assert_int_equal(disconnect_network(&p, &p.b), MSG_NETWORK_DISCONNECTED);
	rig_expect(&p.owner, MSG_COMPUTER_DISCONNECTED);
	assert_memory_equal(p.owner.m.computer_disconnected.key, p.b.key, SIG_KEY_SIZE);
	assert_int_equal(rig_connect_network(&p.b, &p.n), MSG_NETWORK_CONNECTED);
	assert_int_equal(rig_last_octet(&p.b), 2);
	rig_expect(&p.owner, MSG_COMPUTER_CONNECTED);
	assert_int_equal(p.owner.m.computer_notice.computer.session, p.b.session);
	assert_true(p.owner.m.computer_notice.computer.online);
	/* Again: answered, not told. */
	assert_int_equal(rig_connect_network(&p.b, &p.n), MSG_NETWORK_CONNECTED);
	assert_int_equal(rig_receive(&p.owner), MSG_NONE);
	close_party(&p);
}

static void presence_connect_of_stranger_is_refused(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	assert_int_equal(rig_connect_network(&p.c, &p.n), MSG_ERROR);
	assert_int_equal(p.c.m.error.code, MSG_ERROR_NOT_MEMBER);
	assert_int_equal(disconnect_network(&p, &p.c), MSG_ERROR);
	assert_int_equal(p.c.m.error.code, MSG_ERROR_NOT_CONNECTED);
	close_party(&p);
}

static void presence_lost_socket_is_told_and_listed_offline(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	rig_disconnect(&p.b);
	rig_expect(&p.owner, MSG_COMPUTER_DISCONNECTED);
	assert_int_equal(rig_connect_network(&p.owner, &p.n), MSG_NETWORK_CONNECTED);
	assert_int_equal(p.owner.m.network.n_computers, 2);
	assert_false(p.owner.m.network.computers[1].online);
	assert_int_equal(p.owner.m.network.computers[1].session, 0);
	close_party(&p);
}

static void presence_superseded_login_is_told(void **state)
{
	struct party p;
	struct rig_computer again;

	(void)state;
	open_party(&p);
	rig_login(&p.r, &again, 2);
	rig_expect(&p.owner, MSG_COMPUTER_DISCONNECTED);
	assert_int_equal(rig_connect_network(&again, &p.n), MSG_NETWORK_CONNECTED);
	rig_expect(&p.owner, MSG_COMPUTER_CONNECTED);
	/* The end of the old socket says nothing about the new one. */
	rig_disconnect(&p.b);
	assert_int_equal(rig_receive(&p.owner), MSG_NONE);
	rig_computer_free(&again);
	close_party(&p);
}

static void presence_connect_takes_newer_admission(void **state)
{
	struct party p;
	uint8_t bytes[ADMISSION_SIZE_MAX];

	(void)state;
	open_party(&p);
	rig_advance(&p.r, 1);
	size_t size = rig_admission(&p.b, &p.n, p.n.link, "bee", p.r.t.unix_s, bytes);
	struct msg m = {.type = MSG_CONNECT_NETWORK,
	                .connect_network = {.admission = {.p = bytes, .n = size}}};
	memcpy(m.connect_network.network_id, p.n.doc->network_id, NETID_SIZE);
	assert_int_equal(rig_request(&p.b, &m), MSG_NETWORK_CONNECTED);
	rig_expect(&p.owner, MSG_COMPUTER_RENAMED);
	assert_memory_equal(p.owner.m.computer_renamed.admission.p, bytes, size);
	close_party(&p);
}

/* ---- forwarding ---- */

static void presence_offer_reaches_its_target_with_the_real_sender(void **state)
{
	struct party p;
	struct msg m;

	(void)state;
	open_party(&p);
	rig_offer(&p.n, &p.b, &m);
	/* What the sender claims does not count. */
	m.sdp.has_sender = true;
	memcpy(m.sdp.sender_id, p.c.key, SIG_KEY_SIZE);
	rig_send(&p.owner, &m);
	rig_expect(&p.b, MSG_SDP_OFFER);
	assert_true(p.b.m.sdp.has_sender);
	assert_memory_equal(p.b.m.sdp.sender_id, p.owner.key, SIG_KEY_SIZE);
	assert_string_equal(p.b.m.sdp.sdp, m.sdp.sdp);
	assert_memory_equal(p.b.m.sdp.nonce, m.sdp.nonce, PROOF_NONCE_SIZE);
	assert_string_equal(p.b.m.id, "");
	assert_int_equal(rig_receive(&p.owner), MSG_NONE); /* no reply */
	close_party(&p);
}

static void presence_answer_and_candidate_are_forwarded(void **state)
{
	struct party p;
	struct msg m;
	struct msg candidate = {
		.type = MSG_ICE_CANDIDATE,
		.ice_candidate = {.mid = "0",
	                          .ufrag = "abcd",
	                          .candidate = "candidate:1 1 udp 1 192.0.2.1 9 typ host"}};

	(void)state;
	open_party(&p);
	rig_offer(&p.n, &p.owner, &m);
	m.type = MSG_SDP_ANSWER;
	rig_send(&p.b, &m);
	rig_expect(&p.owner, MSG_SDP_ANSWER);
	assert_memory_equal(p.owner.m.sdp.sender_id, p.b.key, SIG_KEY_SIZE);
	memcpy(candidate.ice_candidate.network_id, p.n.doc->network_id, NETID_SIZE);
	memcpy(candidate.ice_candidate.target_id, p.owner.key, SIG_KEY_SIZE);
	rig_send(&p.b, &candidate);
	rig_expect(&p.owner, MSG_ICE_CANDIDATE);
	assert_memory_equal(p.owner.m.ice_candidate.sender_id, p.b.key, SIG_KEY_SIZE);
	assert_string_equal(p.owner.m.ice_candidate.candidate, candidate.ice_candidate.candidate);
	close_party(&p);
}

static void presence_offer_outside_the_network_is_refused(void **state)
{
	struct party p;
	struct msg m;

	(void)state;
	open_party(&p);
	rig_offer(&p.n, &p.b, &m);
	rig_refused(&p.c, &m, MSG_ERROR_NOT_CONNECTED); /* a stranger sends */
	rig_offer(&p.n, &p.c, &m);
	rig_refused(&p.b, &m, MSG_ERROR_PEER_NOT_CONNECTED); /* a stranger is the target */
	rig_offer(&p.n, &p.b, &m);
	rig_refused(&p.b, &m, MSG_ERROR_PEER_NOT_CONNECTED); /* to itself */
	assert_int_equal(rig_receive(&p.b), MSG_NONE);
	assert_int_equal(rig_receive(&p.c), MSG_NONE);
	close_party(&p);
}

static void presence_offer_to_disconnected_member_is_refused(void **state)
{
	struct party p;
	struct msg m;

	(void)state;
	open_party(&p);
	assert_int_equal(disconnect_network(&p, &p.b), MSG_NETWORK_DISCONNECTED);
	rig_offer(&p.n, &p.b, &m);
	rig_refused(&p.owner, &m, MSG_ERROR_PEER_NOT_CONNECTED);
	rig_offer(&p.n, &p.owner, &m);
	rig_refused(&p.b, &m, MSG_ERROR_NOT_CONNECTED);
	close_party(&p);
}

static void presence_offer_between_two_networks_is_refused(void **state)
{
	struct party p;
	struct rig_net other;
	struct msg m;

	(void)state;
	open_party(&p);
	rig_net(&other, &p.c, "10.1.9.0/24");
	assert_int_equal(rig_create(&p.c, &other), MSG_NETWORK_CREATED);
	assert_int_equal(rig_join(&p.owner, &other, other.link, "o"), MSG_NETWORK_JOINED);
	/* The owner is in both, c only in the other: not by way of the first. */
	rig_offer(&p.n, &p.c, &m);
	rig_refused(&p.owner, &m, MSG_ERROR_PEER_NOT_CONNECTED);
	rig_offer(&other, &p.c, &m);
	rig_send(&p.owner, &m);
	rig_expect(&p.c, MSG_SDP_OFFER);
	rig_net_free(&other);
	close_party(&p);
}

static void presence_flood_of_one_that_does_not_read_is_bounded(void **state)
{
	struct party p;
	struct msg m;
	struct hub_stats stats;
	static char sdp[PROOF_SDP_MAX];
	unsigned refused = 0;

	(void)state;
	rig_prepare(&p.r);
	p.r.config.limits.message = (struct quota_rate){.per_minute = 100000, .burst = 100000};
	start_party(&p);
	memset(sdp, 'a', sizeof(sdp) - 1);
	sdp[sizeof(sdp) - 1] = '\0';
	rig_offer(&p.n, &p.b, &m);
	m.sdp.sdp = sdp;
	for (unsigned i = 0; i < 1000; i++) {
		rig_send(&p.owner, &m);
		if (rig_receive(&p.owner) == MSG_ERROR) {
			assert_int_equal(p.owner.m.error.code, MSG_ERROR_RATE_LIMITED);
			refused++;
		}
	}
	assert_in_range(refused, 500, 999);
	hub_stats(p.r.hub, &stats);
	assert_in_range(stats.queued_bytes, 1, HUB_FORWARD_MAX + 2 * PROOF_SDP_MAX);
	assert_false(rig_is_closing(&p.b));
	rig_drain(&p.b);
	rig_send(&p.owner, &m);
	rig_expect(&p.b, MSG_SDP_OFFER);
	close_party(&p);
}

/* Connects and disconnects until it is refused; gives how often that went well. */
static unsigned come_and_go(struct rig_computer *c, const struct rig_net *n)
{
	struct msg bye = {.type = MSG_DISCONNECT_NETWORK};
	unsigned times = 0;

	memcpy(bye.network_ref.network_id, n->doc->network_id, NETID_SIZE);
	for (; rig_connect_network(c, n) == MSG_NETWORK_CONNECTED; times++)
		assert_int_equal(rig_request(c, &bye), MSG_NETWORK_DISCONNECTED);
	assert_int_equal(c->m.error.code, MSG_ERROR_RATE_LIMITED);
	return times;
}

static void presence_coming_and_going_is_limited_by_the_size_of_the_network(void **state)
{
	const struct quota_rate picture = HUB_LIMITS_DEFAULT.picture;
	struct party p;

	(void)state;
	rig_prepare(&p.r);
	p.r.config.limits.message = (struct quota_rate){.per_minute = 100000, .burst = 100000};
	p.r.config.limits.request = (struct quota_rate){.per_minute = 100000, .burst = 100000};
	start_party(&p);
	assert_int_equal(come_and_go(&p.b, &p.n), picture.burst - 1); /* it joined before */
	uint32_t wait_s = p.b.m.error.retry_after_s;
	assert_in_range(wait_s, 1, 60);
	/* Not of the connection: another one does not help. It does not concern others. */
	rig_disconnect(&p.b);
	rig_connect(&p.b);
	assert_int_equal(rig_authenticate(&p.b, RIG_HOST), MSG_AUTHENTICATED);
	assert_int_equal(come_and_go(&p.b, &p.n), 0);
	assert_int_equal(rig_join(&p.b, &p.n, p.n.link, "b"), MSG_ERROR);
	assert_int_equal(p.b.m.error.code, MSG_ERROR_RATE_LIMITED);
	assert_int_equal(rig_connect_network(&p.owner, &p.n), MSG_NETWORK_CONNECTED);
	rig_advance(&p.r, wait_s);
	assert_true(come_and_go(&p.b, &p.n) > 0);
	/* What is larger is shown less often: by a document as large as possible, and by many members. */
	for (unsigned i = 0; i < 4000; i++) {
		uint8_t key[SIG_KEY_SIZE] = {(uint8_t)i, (uint8_t)(i >> 8), 7};

		assert_int_equal(document_ban(p.n.doc, key), DOCUMENT_OK);
	}
	rig_net_sign(&p.n);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_DOCUMENT_UPDATED);
	rig_drain(&p.b);
	rig_advance(&p.r, 600);
	unsigned each = 1 + (unsigned)p.n.bytes.len / HUB_PICTURE_BYTES;
	assert_in_range(each, 4, 5);
	assert_in_range(come_and_go(&p.b, &p.n), picture.burst / each, picture.burst / each + 1);
	for (unsigned i = 0; i < 3 * HUB_PICTURE_MEMBERS; i++) {
		struct store_member m = {.key = {(uint8_t)i, 9},
		                         .address = 0x0a010280 + i,
		                         .admission = p.b.key, /* any bytes do */
		                         .admission_n = sizeof(p.b.key)};

		(void)snprintf(m.label, sizeof(m.label), "m%u", i); /* fits */
		assert_int_equal(store_member_add(p.r.store, p.n.doc->network_id, &m), STORE_OK);
	}
	rig_advance(&p.r, 600);
	each += 3;
	assert_in_range(come_and_go(&p.b, &p.n), picture.burst / each, picture.burst / each + 1);
	close_party(&p);
}

static void presence_slow_reader_is_closed(void **state)
{
	struct party p;
	struct msg m = {.type = MSG_CONNECT_NETWORK};
	struct hub_stats stats;

	(void)state;
	rig_prepare(&p.r);
	p.r.config.limits.message = (struct quota_rate){.per_minute = 100000, .burst = 100000};
	p.r.config.limits.request = (struct quota_rate){.per_minute = 100000, .burst = 100000};
	start_party(&p);
	/* A large document makes large answers. */
	for (unsigned i = 0; i < 4000; i++) {
		uint8_t key[SIG_KEY_SIZE] = {(uint8_t)i, (uint8_t)(i >> 8), 7};

		assert_int_equal(document_ban(p.n.doc, key), DOCUMENT_OK);
	}
	rig_net_sign(&p.n);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_DOCUMENT_UPDATED);
	memcpy(m.connect_network.network_id, p.n.doc->network_id, NETID_SIZE);
	for (unsigned i = 0; i < 100 && !rig_is_closing(&p.b); i++)
		rig_send(&p.b, &m);
	assert_true(rig_is_closing(&p.b));
	rig_expect(&p.owner, MSG_COMPUTER_DISCONNECTED);
	hub_stats(p.r.hub, &stats);
	assert_int_equal(stats.slow_readers, 1);
	assert_int_equal(stats.queued_bytes, 0);
	close_party(&p);
}

static void presence_full_queues_close_the_longest(void **state)
{
	struct party p;
	struct msg m;
	struct hub_stats stats;
	static char sdp[PROOF_SDP_MAX];

	(void)state;
	rig_prepare(&p.r);
	p.r.config.limits.message = (struct quota_rate){.per_minute = 100000, .burst = 100000};
	p.r.config.limits.queues_bytes = 1024 * 1024;
	start_party(&p);
	assert_int_equal(rig_join(&p.c, &p.n, p.n.link, "c"), MSG_NETWORK_JOINED);
	memset(sdp, 'a', sizeof(sdp) - 1);
	sdp[sizeof(sdp) - 1] = '\0';
	rig_offer(&p.n, &p.b, &m);
	m.sdp.sdp = sdp;
	hub_stats(p.r.hub, &stats);
	while (stats.queued_bytes + 2 * PROOF_SDP_MAX < p.r.config.limits.queues_bytes) {
		rig_send(&p.owner, &m); /* b does not read */
		hub_stats(p.r.hub, &stats);
	}
	/* c is the one for whom no room is left, and gets all the same what is for it. */
	memcpy(m.sdp.target_id, p.c.key, SIG_KEY_SIZE);
	for (unsigned i = 0; i < 4; i++)
		rig_send(&p.owner, &m);
	for (unsigned i = 0; i < 4; i++)
		rig_expect(&p.c, MSG_SDP_OFFER);
	assert_false(rig_is_closing(&p.c));
	assert_true(rig_is_closing(&p.b));
	close_party(&p);
}

static void presence_too_many_networks_at_a_time_are_refused(void **state)
{
	struct party p;
	struct rig_net nets[HUB_NETWORKS_CONN];

	(void)state;
	rig_prepare(&p.r);
	p.r.config.limits.create = (struct quota_rate){.per_minute = 1000, .burst = 1000};
	p.r.config.limits.change = (struct quota_rate){.per_minute = 1000, .burst = 1000};
	p.r.config.limits.networks_owned = 1000;
	start_party(&p);
	for (unsigned i = 0; i < HUB_NETWORKS_CONN; i++) {
		rig_net(&nets[i], &p.c, "10.1.9.0/24");
		assert_int_equal(rig_create(&p.c, &nets[i]), MSG_NETWORK_CREATED);
	}
	assert_int_equal(rig_join(&p.c, &p.n, p.n.link, "c"), MSG_ERROR);
	assert_int_equal(p.c.m.error.code, MSG_ERROR_TOO_MANY);
	for (unsigned i = 0; i < HUB_NETWORKS_CONN; i++)
		rig_net_free(&nets[i]);
	close_party(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(presence_connect_tells_with_session),
		cmocka_unit_test(presence_connect_of_stranger_is_refused),
		cmocka_unit_test(presence_lost_socket_is_told_and_listed_offline),
		cmocka_unit_test(presence_superseded_login_is_told),
		cmocka_unit_test(presence_connect_takes_newer_admission),
		cmocka_unit_test(presence_offer_reaches_its_target_with_the_real_sender),
		cmocka_unit_test(presence_answer_and_candidate_are_forwarded),
		cmocka_unit_test(presence_offer_outside_the_network_is_refused),
		cmocka_unit_test(presence_offer_to_disconnected_member_is_refused),
		cmocka_unit_test(presence_offer_between_two_networks_is_refused),
		cmocka_unit_test(presence_flood_of_one_that_does_not_read_is_bounded),
		cmocka_unit_test(presence_coming_and_going_is_limited_by_the_size_of_the_network),
		cmocka_unit_test(presence_slow_reader_is_closed),
		cmocka_unit_test(presence_full_queues_close_the_longest),
		cmocka_unit_test(presence_too_many_networks_at_a_time_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
