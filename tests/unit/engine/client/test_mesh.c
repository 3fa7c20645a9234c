/* SPDX-License-Identifier: MIT */

/* Two and three meshes over a fake data plane and a fake server: the ordinary course of things. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh_lab.h"

#include <stdio.h>
#include <string.h>

static void mesh_newcomer_is_offered_to_and_ip_passes(void **state)
{
	(void)state;
	lab_connect(0, 1);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
	assert_true(fake_ip_passes(0, 1));
	assert_true(fake_ip_passes(1, 0));
	assert_true(fake_tunnel_mode(0) && fake_tunnel_mode(1));
	/* The one that was there made the only offer. */
	assert_int_equal(lab.nodes[0].offers, 1);
	assert_int_equal(lab.nodes[1].offers, 0);
	assert_int_equal(lab.nodes[1].answers, 1);
	assert_int_equal(mesh_refused(lab.nodes[0].mesh) + mesh_refused(lab.nodes[1].mesh), 0);
}

static void mesh_without_an_offer_the_newcomer_offers(void **state)
{
	(void)state;
	/* The server never tells the one that was there; it learns of the member by another way. */
	assert_int_equal(lab_tell(1, 0, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_LIST), MESH_OK);
	lab_run(6000000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
}

static void mesh_glare_leaves_one_link(void **state)
{
	(void)state;
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	assert_int_equal(lab_tell(1, 0, MESH_NEWS_NOTICE), MESH_OK);
	lab_run(1500000);
	assert_int_equal(lab.nodes[0].offers, 1);
	assert_int_equal(lab.nodes[1].offers, 1);
	assert_int_equal(lab.nodes[0].answers + lab.nodes[1].answers, 1);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
	assert_int_equal(fake_links(0), 1);
	assert_int_equal(fake_links(1), 1);
}

static void mesh_server_gone_keeps_the_path(void **state)
{
	(void)state;
	lab_connect(0, 1);
	lab.server_up = false;
	mesh_set_signaling(lab.nodes[0].mesh, false, lab.now);
	mesh_set_signaling(lab.nodes[1].mesh, false, lab.now);
	lab_run(60000000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	/* Back with the same sessions: nothing is done. */
	lab.server_up = true;
	mesh_set_signaling(lab.nodes[0].mesh, true, lab.now);
	mesh_set_signaling(lab.nodes[1].mesh, true, lab.now);
	assert_int_equal(lab_tell(1, 0, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	lab_run(10000000);
	assert_int_equal(lab.nodes[0].offers, 1);
	assert_int_equal(lab.nodes[1].offers, 0);
	assert_int_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
}

/* An offer that went in-band over a path that is dark is made again as soon as the server can carry it. */
static void mesh_offer_lost_in_band_is_made_again_by_the_server(void **state)
{
	(void)state;
	lab_connect(0, 1);
	lab.server_up = false;
	mesh_set_signaling(lab.nodes[0].mesh, false, lab.now);
	mesh_set_signaling(lab.nodes[1].mesh, false, lab.now);
	fake_cut(true);
	lab_run(8000000);
	/* Computer 0 is back first, so its next offer still goes in-band. */
	lab.server_up = true;
	mesh_set_signaling(lab.nodes[0].mesh, true, lab.now);
	lab_run(4000000);
	assert_int_equal(lab.nodes[0].offers, 1);
	mesh_set_signaling(lab.nodes[1].mesh, true, lab.now);
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	assert_int_equal(lab_tell(1, 0, MESH_NEWS_LIST), MESH_OK);
	lab_run(100000);
	assert_int_equal(lab.nodes[0].offers, 2);
	fake_cut(false);
	lab_run(3000000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_true(fake_ip_passes(0, 1));
}

/* Perhaps our NAT forgot: when a path falls silent, what servers see of us is asked at once, not at the next round. */
static void mesh_quiet_path_asks_the_stun_servers(void **state)
{
	struct netaddr server = netaddr_ip4(0xc6336401, 3478);
	uint8_t id[12];

	(void)state;
	lab_connect(0, 1);
	mesh_set_stun(lab.nodes[0].mesh, &server, 1, lab.now);
	lab_run(20000000); /* asked twice in vain: the next round is 15 s and more away */
	memcpy(id, fake_stun_id(0), sizeof(id));
	fake_cut(true);
	lab_run(9000000); /* 7 s to the next check, and then its answer is missed */
	assert_memory_not_equal(id, fake_stun_id(0), sizeof(id));
}

/* Such as by joining again with the server connected: an offer that waits for its answer goes on. */
static void mesh_signaling_up_twice_keeps_open_offers(void **state)
{
	(void)state;
	lab.server_up = false; /* it loses the first offer */
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	lab_run(100000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTING);
	lab.server_up = true;
	mesh_set_signaling(lab.nodes[0].mesh, true, lab.now);
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTING);
	assert_int_equal(lab.nodes[0].offers, 0);
	lab_run(30000000); /* its time ends, and it is made again */
	assert_true(lab.nodes[0].offers > 0);
}

/* RFC 8421: neither family waits for all of the other, so the interface decides first. */
static void mesh_candidates_are_ranked_by_interface(void **state)
{
	struct netaddr hosts[] = {netaddr_ip4(0xc0000201, 0), netaddr_ip4(0xc633644d, 0),
	                          netaddr_ip4(0xc633644e, 0)};
	static const unsigned ranks[] = {0, 1, 1}, places[] = {0, 1, 2};
	char text[64], ip[NETADDR_TEXT_SIZE];

	(void)state;
	for (unsigned i = 0; i < GV_ARRAY_SIZE(hosts); i++)
		hosts[i].ifindex = 2 + ranks[i];
	mesh_set_addresses(lab.nodes[0].mesh, hosts, GV_ARRAY_SIZE(hosts), lab.now);
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	lab_run(100000);
	for (unsigned i = 0; i < GV_ARRAY_SIZE(hosts); i++) {
		unsigned preference = ice_cand_preference(NETADDR_IP4, ranks[i]) - places[i];
		(void)snprintf(text, sizeof(text), " %u %s 5000 typ host",
		               ice_cand_priority(ICE_CAND_HOST, (uint16_t)preference),
		               netaddr_ip_text(&hosts[i], ip));
		if (strstr(lab.sdp_copy, text) == NULL)
			fail_msg("no \"%s\" in\n%s", text, lab.sdp_copy);
	}
}

/* The path goes with its address, which makes the others be asked anew: not the one that is gone. */
static void mesh_address_that_is_gone_is_not_asked_any_more(void **state)
{
	struct netaddr server = netaddr_ip4(0xc6336401, 3478);
	struct netaddr gone = netaddr_ip4(0xc0000201, 0), fresh = netaddr_ip4(0xc633644d, 0);

	(void)state;
	lab_connect(0, 1);
	mesh_set_stun(lab.nodes[0].mesh, &server, 1, lab.now);
	lab_run(5000000);
	unsigned before = fake_stun_sent(0, &gone);
	assert_true(before > 0);
	mesh_set_addresses(lab.nodes[0].mesh, &fresh, 1, lab.now);
	lab_run(5000000);
	assert_int_equal(fake_stun_sent(0, &gone), before);
	assert_true(fake_stun_sent(0, &fresh) > 0);
}

static void mesh_offline_notice_ends_no_live_path(void **state)
{
	(void)state;
	lab_connect(0, 1);
	mesh_member_offline(lab.nodes[0].mesh, lab.nodes[1].key, lab.now);
	/* An unsigned leave is the server's word alone. */
	assert_int_equal(mesh_member_left(lab.nodes[0].mesh, lab.nodes[1].key, NULL, lab.now),
	                 MESH_REFUSED);
	lab_run(1000000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
}

static void mesh_new_session_replaces_the_link(void **state)
{
	(void)state;
	lab_connect(0, 1);
	/* Computer 1 dies without a word and comes back as a new daemon. */
	lab_kill(1);
	lab_run(200000);
	lab.nodes[1].session = 999;
	lab_start(1);
	assert_int_equal(lab_tell(1, 0, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	lab_run(1500000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
	assert_true(fake_ip_passes(0, 1));
	assert_int_equal(lab.nodes[0].offers, 2);
	lab_run(5000000);
	assert_int_equal(fake_links(0), 1);
}

static void mesh_bye_ends_the_path_at_once(void **state)
{
	(void)state;
	lab_connect(0, 1);
	mesh_close(lab.nodes[1].mesh, CTL_BYE_STOPPING, lab.now);
	assert_int_equal(fake_last_ctl(1)[0], CTL_BYE);
	assert_int_equal(fake_last_ctl(1)[1], CTL_BYE_STOPPING);
	lab_run(100000);
	assert_true(mesh_is_idle(lab.nodes[1].mesh));
	assert_int_not_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(fake_links(0), 0);
}

static void mesh_signed_leave_removes_the_member(void **state)
{
	struct proof_leave leave = {.session = 101, .unix_s = 1700000100};

	(void)state;
	lab_connect(0, 1);
	memcpy(leave.network_id, lab.nodes[0].doc->network_id, NETID_SIZE);
	memcpy(leave.key, lab.nodes[1].key, SIG_KEY_SIZE);
	assert_int_equal(proof_leave_sign(&leave, lab.nodes[1].id), 0);
	leave.unix_s++;
	assert_int_equal(mesh_member_left(lab.nodes[0].mesh, lab.nodes[1].key, &leave, lab.now),
	                 MESH_REFUSED);
	leave.unix_s--;
	assert_int_equal(mesh_member_left(lab.nodes[0].mesh, lab.nodes[1].key, &leave, lab.now),
	                 MESH_OK);
	assert_int_equal(mesh_peer_count(lab.nodes[0].mesh), 0);
	lab_run(100000);
	assert_int_equal(fake_links(0), 0);
}

static void mesh_ban_spreads_without_the_server(void **state)
{
	(void)state;
	lab_connect(0, 1);
	lab_connect(0, 2);
	lab_connect(1, 2);
	assert_int_equal(lab_state(1, 2), MESH_PEER_CONNECTED);
	lab.server_up = false;
	for (unsigned i = 0; i < LAB_NODES; i++)
		mesh_set_signaling(lab.nodes[i].mesh, false, lab.now);

	struct document *next;
	assert_int_equal(document_dup(&next, lab.nodes[0].doc), 0);
	assert_int_equal(document_ban(next, lab.nodes[2].key), DOCUMENT_OK);
	lab_sign(next);
	mesh_set_document(lab.nodes[0].mesh, next, lab.now);
	document_free(lab.nodes[0].doc);
	lab.nodes[0].doc = next;
	lab_run(1000000);
	/* Computer 1 learned it from computer 0 over `ctl` and cut computer 2 itself. */
	assert_int_equal(lab.nodes[1].doc->epoch, next->epoch);
	assert_int_equal(mesh_peer_count(lab.nodes[0].mesh), 1);
	assert_int_equal(mesh_peer_count(lab.nodes[1].mesh), 1);
	assert_false(fake_ip_passes(1, 2));
	assert_true(fake_ip_passes(0, 1));
	/* The server cannot bring the banned one back. */
	assert_int_equal(lab_tell(1, 2, MESH_NEWS_NOTICE), MESH_REFUSED);
}

/* The owner's next document reaches it, without the server. */
static void next_document(void)
{
	struct document *next;

	lab.server_up = false;
	assert_int_equal(document_dup(&next, lab.nodes[0].doc), 0);
	lab_sign(next);
	mesh_set_document(lab.nodes[0].mesh, next, lab.now);
	document_free(lab.nodes[0].doc);
	lab.nodes[0].doc = next;
}

static void mesh_document_of_the_setup_is_told(void **state)
{
	(void)state;
	fake_hold_ip(true);
	lab_connect(0, 1);
	assert_int_not_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	next_document();
	lab_run(100000);
	assert_int_equal(lab.nodes[1].doc->epoch, lab.nodes[0].doc->epoch);
	fake_hold_ip(false);
	lab_run(100000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(lab.nodes[1].doc->epoch, lab.nodes[0].doc->epoch);
}

/* One case for each way that a message may be kept from going out. */
static void mesh_document_is_told_when_the_lane_takes_it(void **state)
{
	(void)state;
	lab_connect(0, 1);
	for (unsigned full = 0; full < 2; full++) {
		fake_refuse_ctl(full, true); /* the hello of 0, then the request of 1 */
		next_document();
		lab_run(200000);
		assert_int_not_equal(lab.nodes[1].doc->epoch, lab.nodes[0].doc->epoch);
		fake_refuse_ctl(full, false);
		lab_run(1000000);
		assert_int_equal(lab.nodes[1].doc->epoch, lab.nodes[0].doc->epoch);
	}
}

static void mesh_document_that_the_setup_could_not_tell_is_told_when_up(void **state)
{
	(void)state;
	fake_hold_ip(true);
	lab_connect(0, 1);
	fake_refuse_ctl(0, true);
	next_document();
	fake_refuse_ctl(0, false);
	fake_hold_ip(false);
	lab_run(100000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(lab.nodes[1].doc->epoch, lab.nodes[0].doc->epoch);
}

/* Members have one document of an epoch, the owner another one: it is shown theirs, and they are not shown its. */
static void mesh_fork_is_shown_to_the_owner(void **state)
{
	struct document *docs[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(document_dup(&docs[i], lab.nodes[0].doc), 0);
		assert_int_equal(document_set_name(docs[i], i == 0 ? "one" : "two", NULL),
		                 DOCUMENT_OK);
		lab_sign(docs[i]);
	}
	for (unsigned i = 0; i < 2; i++) {
		mesh_set_document(lab.nodes[i].mesh, docs[i], lab.now);
		document_free(lab.nodes[i].doc);
		lab.nodes[i].doc = docs[i];
	}
	lab_connect(0, 1);
	assert_int_equal(lab.nodes[0].documents, 1);
	assert_int_equal(lab.nodes[1].documents, 0);
}

static void mesh_dark_path_is_left_after_consent_and_found_again(void **state)
{
	(void)state;
	lab_connect(0, 1);
	fake_cut(true);
	lab_run(45000000);
	assert_int_not_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	fake_cut(false);
	lab_run(45000000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
}

static void mesh_ping_is_answered(void **state)
{
	struct mesh_event e;
	bool pong = false;

	(void)state;
	lab_connect(0, 1);
	uint64_t id = lab.now;
	assert_int_equal(mesh_ping(lab.nodes[0].mesh, lab.nodes[1].key, id, lab.now), MESH_OK);
	assert_int_equal(mesh_ping(lab.nodes[0].mesh, lab.nodes[2].key, id, lab.now), MESH_REFUSED);
	lab.now += 7000;
	(void)fake_deliver(lab.now);
	while (mesh_event(lab.nodes[0].mesh, &e) == 1)
		if (e.type == MESH_EVENT_PONG && e.ping_id == id) {
			assert_int_equal(e.rtt_us, 7000);
			pong = true;
		}
	assert_true(pong);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {
		TEST(mesh_newcomer_is_offered_to_and_ip_passes),
		TEST(mesh_without_an_offer_the_newcomer_offers),
		TEST(mesh_glare_leaves_one_link),
		TEST(mesh_server_gone_keeps_the_path),
		TEST(mesh_offer_lost_in_band_is_made_again_by_the_server),
		TEST(mesh_quiet_path_asks_the_stun_servers),
		TEST(mesh_signaling_up_twice_keeps_open_offers),
		TEST(mesh_candidates_are_ranked_by_interface),
		TEST(mesh_address_that_is_gone_is_not_asked_any_more),
		TEST(mesh_offline_notice_ends_no_live_path),
		TEST(mesh_new_session_replaces_the_link),
		TEST(mesh_bye_ends_the_path_at_once),
		TEST(mesh_signed_leave_removes_the_member),
		TEST(mesh_ban_spreads_without_the_server),
		TEST(mesh_document_of_the_setup_is_told),
		TEST(mesh_fork_is_shown_to_the_owner),
		TEST(mesh_document_is_told_when_the_lane_takes_it),
		TEST(mesh_document_that_the_setup_could_not_tell_is_told_when_up),
		TEST(mesh_dark_path_is_left_after_consent_and_found_again),
		TEST(mesh_ping_is_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
