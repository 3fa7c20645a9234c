/* SPDX-License-Identifier: MIT */

/* Meshes against a hostile server, hostile members and unlucky orders of events. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/rng.h"
#include "engine/client/mesh_impl.h"
#include "engine/dataplane/dataplane.h"
#include "mesh_lab.h"
#include "proto/sig/ctl.h"
#include "proto/stun/msg.h"

#include <string.h>

/* ---- descriptions and members that are not what they claim ---- */

static void swap_fingerprint(struct msg_sdp *sdp)
{
	char *fp = strstr(lab.sdp_copy, "fingerprint:sha-256 ");

	assert_non_null(fp);
	fp[20] = fp[20] == 'A' ? 'B' : 'A';
	sdp->sdp = lab.sdp_copy;
}

static void swap_password(struct msg_sdp *sdp)
{
	char *pwd = strstr(lab.sdp_copy, "ice-pwd:");

	assert_non_null(pwd);
	pwd[8] = pwd[8] == 'x' ? 'y' : 'x';
	sdp->sdp = lab.sdp_copy;
}

static void swap_sender(struct msg_sdp *sdp)
{
	memcpy(sdp->sender_id, lab.nodes[2].key, SIG_KEY_SIZE);
}

static void swap_session(struct msg_sdp *sdp)
{
	sdp->session++;
}

static void swap_address(struct msg_sdp *sdp)
{
	sdp->address = lab_tunnel_ip(9);
}

static void strip_signature(struct msg_sdp *sdp)
{
	memset(sdp->signature, 0, sizeof(sdp->signature));
}

static void swap_nonce(struct msg_sdp *sdp)
{
	sdp->nonce[3] ^= 1;
}

static void swap_network(struct msg_sdp *sdp)
{
	sdp->network_id[0] ^= 1;
}

static void mesh_tampered_description_passes_nothing(void **state)
{
	static const lab_tamper_fn list[] = {swap_fingerprint, swap_password, swap_sender,
	                                     swap_session,     swap_address,  swap_nonce,
	                                     strip_signature,  swap_network};

	(void)state;
	for (size_t k = 0; k < 2 * GV_ARRAY_SIZE(list); k++) {
		assert_int_equal(lab_teardown(NULL), 0);
		assert_int_equal(lab_setup(NULL), 0);
		/* Computer 2 is known too, so that its name can be put on others' words. */
		assert_int_equal(lab_tell(0, 2, MESH_NEWS_LIST), MESH_OK);
		assert_int_equal(lab_tell(1, 2, MESH_NEWS_LIST), MESH_OK);
		if (k < GV_ARRAY_SIZE(list))
			lab.tamper_offer = list[k];
		else
			lab.tamper_answer = list[k - GV_ARRAY_SIZE(list)];
		lab_connect(0, 1);
		assert_int_not_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
		assert_int_not_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
		assert_false(fake_ip_passes(0, 1));
		assert_int_equal(fake_allowed(0) + fake_allowed(1), 0);
		assert_true(mesh_refused(lab.nodes[0].mesh) + mesh_refused(lab.nodes[1].mesh) > 0);
		/* What proves nothing is not even answered. */
		if (k < GV_ARRAY_SIZE(list))
			assert_int_equal(lab.nodes[1].answers, 0);
	}
}

static struct proof_offer seen_offer;
static char seen_sdp[PROOF_SDP_MAX];

static void keep_offer(struct msg_sdp *sdp)
{
	memcpy(seen_sdp, sdp->sdp, strlen(sdp->sdp) + 1);
	msg_sdp_to_proof(sdp, &seen_offer);
	seen_offer.sdp = seen_sdp;
}

/* The answerer's own key signs another session: as if two answers of its were mixed up. */
static void sign_another_answer(struct msg_sdp *sdp)
{
	struct proof_offer answer;

	sdp->session++;
	msg_sdp_to_proof(sdp, &answer);
	assert_int_equal(proof_answer_sign(&answer, &seen_offer, lab.nodes[1].id), 0);
	memcpy(sdp->signature, answer.sig, SIG_SIGNATURE_SIZE);
}

static void mesh_confirmation_of_another_answer_passes_nothing(void **state)
{
	(void)state;
	lab.tamper_offer = keep_offer;
	lab.tamper_answer = sign_another_answer;
	lab_connect(0, 1);
	assert_int_equal(mesh_refused(lab.nodes[0].mesh), 0);
	assert_true(mesh_refused(lab.nodes[1].mesh) > 0);
	assert_int_not_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_int_not_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
	assert_int_equal(fake_allowed(1), 0);
	assert_false(fake_ip_passes(0, 1));
}

/* Computer 0 offers to computer 1, and an eavesdropping server keeps the offer. */
static void caught_offer(struct msg_sdp *old)
{
	struct mesh_event e;
	static char text[PROOF_SDP_MAX];

	assert_int_equal(lab_tell(1, 0, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	assert_int_equal(mesh_event(lab.nodes[0].mesh, &e), 1);
	while (e.type != MESH_EVENT_SIGNAL || e.msg_type != MSG_SDP_OFFER)
		assert_int_equal(mesh_event(lab.nodes[0].mesh, &e), 1);
	*old = *e.sdp;
	memcpy(text, e.sdp->sdp, strlen(e.sdp->sdp) + 1);
	old->sdp = text;
	old->has_sender = true;
	memcpy(old->sender_id, lab.nodes[0].key, SIG_KEY_SIZE);
	lab_forward_sdp(0, &e);
}

static void mesh_replayed_offer_disturbs_nothing(void **state)
{
	struct msg_sdp old;

	(void)state;
	caught_offer(&old);
	lab_run(1500000);
	assert_int_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
	for (int i = 0; i < 50; i++) {
		(void)!mesh_offer(lab.nodes[1].mesh, &old, lab.now);
		lab_run(100000);
		assert_int_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
		assert_true(fake_ip_passes(0, 1));
	}
}

static void mesh_stranger_is_no_member(void **state)
{
	struct identity *stranger;
	struct mesh_member m = {.ip4 = lab_tunnel_ip(5), .session = 5, .connected = true};

	(void)state;
	assert_int_equal(identity_new(&stranger), 0);
	m.admission = lab.nodes[1].admission;
	identity_public(stranger, m.admission.key);
	assert_int_equal(admission_sign(&m.admission, stranger), 0);
	assert_int_equal(mesh_member(lab.nodes[0].mesh, &m, MESH_NEWS_NOTICE, lab.now),
	                 MESH_REFUSED);
	identity_free(stranger);
	assert_int_equal(mesh_peer_count(lab.nodes[0].mesh), 0);
}

static void mesh_held_address_is_not_given_away(void **state)
{
	struct mesh_member m = {.session = 5, .connected = true};

	(void)state;
	lab_connect(0, 1);
	m.admission = lab.nodes[2].admission;
	m.ip4 = lab_tunnel_ip(1);
	assert_int_equal(mesh_member(lab.nodes[0].mesh, &m, MESH_NEWS_NOTICE, lab.now),
	                 MESH_REFUSED);
	m.ip4 = lab_tunnel_ip(0); /* our own */
	assert_int_equal(mesh_member(lab.nodes[0].mesh, &m, MESH_NEWS_NOTICE, lab.now),
	                 MESH_REFUSED);
	m.ip4 = netaddr_ip4(0x7f000001, 0);
	assert_int_equal(mesh_member(lab.nodes[0].mesh, &m, MESH_NEWS_NOTICE, lab.now),
	                 MESH_REFUSED);
	m.ip4 = lab_tunnel_ip(2);
	assert_int_equal(mesh_member(lab.nodes[0].mesh, &m, MESH_NEWS_NOTICE, lab.now), MESH_OK);
}

/* ---- unlucky and hostile orders of events ---- */

static bool is_smaller(unsigned a, unsigned b)
{
	return memcmp(lab.nodes[a].key, lab.nodes[b].key, SIG_KEY_SIZE) < 0;
}

/* A fresh lab in which the key of computer 0 is smaller than that of computer 1, or not. */
static void setup_ordered(bool smaller)
{
	do {
		assert_int_equal(lab_teardown(NULL), 0);
		assert_int_equal(lab_setup(NULL), 0);
	} while (is_smaller(0, 1) != smaller);
}

static bool pair_passes(void)
{
	return fake_ip_passes(0, 1) && fake_ip_passes(1, 0);
}

/* Whether IP passes between computers 0 and 1 within `us`. */
static bool passes_within(uint64_t us)
{
	uint64_t end = lab.now + us;

	while (lab.now < end && !pair_passes())
		lab_run(50000);
	return pair_passes();
}

static void mesh_offer_to_a_dead_session_does_not_delay_the_next(void **state)
{
	(void)state;
	/* The glare rule favours the smaller key, so both orders count. */
	for (int order = 0; order < 2; order++) {
		setup_ordered(order == 0);
		lab_connect(0, 1);
		lab_kill(1);
		mesh_member_offline(lab.nodes[0].mesh, lab.nodes[1].key, lab.now);
		lab_run(6000000); /* the path is quiet by now */
		lab.nodes[1].session = 999;
		lab_start(1);
		assert_int_equal(lab_tell(1, 0, MESH_NEWS_LIST), MESH_OK);
		assert_int_equal(lab_tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
		assert_true(passes_within(1000000));
	}
}

static void mesh_live_peer_cannot_be_moved_to_another_address(void **state)
{
	uint64_t session = lab.nodes[1].session;

	(void)state;
	lab_connect(0, 1);
	assert_int_equal(lab_claim(0, 1, lab_tunnel_ip(7), session, MESH_NEWS_NOTICE),
	                 MESH_REFUSED);
	assert_int_equal(lab_claim(0, 2, lab_tunnel_ip(1), 5, MESH_NEWS_NOTICE), MESH_REFUSED);
	/* Nor does a new session that is only claimed cut the live path. */
	assert_int_equal(lab_claim(0, 1, lab_tunnel_ip(7), 4242, MESH_NEWS_NOTICE), MESH_REFUSED);
	lab_run(1000000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_true(pair_passes());
	assert_int_equal(mesh_peer_count(lab.nodes[0].mesh), 1);
}

static void mesh_live_peer_keeps_its_address_over_a_newer_document(void **state)
{
	uint64_t session = lab.nodes[1].session;

	(void)state;
	lab_connect(0, 1);
	lab_sign(lab.nodes[0].doc);
	mesh_set_document(lab.nodes[0].mesh, lab.nodes[0].doc, lab.now);
	lab_run(1000000);
	/* Neither it nor a newcomer gets another address by the word of the server. */
	assert_int_equal(lab_claim(0, 1, lab_tunnel_ip(7), session, MESH_NEWS_NOTICE),
	                 MESH_REFUSED);
	assert_int_equal(lab_claim(0, 1, lab_tunnel_ip(7), 4242, MESH_NEWS_NOTICE), MESH_REFUSED);
	assert_int_equal(lab_claim(0, 2, lab_tunnel_ip(1), 5, MESH_NEWS_NOTICE), MESH_REFUSED);
	/* An admission that says that it joined anew does not either, while its path lives. */
	struct mesh_member m = {.admission = lab.nodes[1].admission, .ip4 = lab_tunnel_ip(7)};
	m.admission.joined_unix_s++;
	m.admission.unix_s++;
	assert_int_equal(admission_sign(&m.admission, lab.nodes[1].id), 0);
	assert_int_equal(mesh_member(lab.nodes[0].mesh, &m, MESH_NEWS_NOTICE, lab.now),
	                 MESH_REFUSED);
	lab_run(5000000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_true(pair_passes());
}

static void mesh_address_claimed_twice_passes_for_one(void **state)
{
	(void)state;
	/* Computer 2 believes that it has the address of computer 1, as a colluding one would say. */
	lab_kill(2);
	lab.nodes[2].ip4 = lab_tunnel_ip(1);
	lab_start(2);
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(lab_tell(0, 2, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(lab_tell(1, 0, MESH_NEWS_NOTICE), MESH_OK);
	lab_run(1500000);
	assert_true(pair_passes());
	assert_int_equal(lab_tell(2, 0, MESH_NEWS_NOTICE), MESH_OK);
	lab_run(1500000);
	assert_true(pair_passes());
	assert_false(fake_ip_passes(0, 2));
}

static void mesh_peer_that_lost_the_server_is_offered_to_in_band(void **state)
{
	(void)state;
	lab_connect(0, 1);
	mesh_set_signaling(lab.nodes[1].mesh, false, lab.now);
	mesh_member_offline(lab.nodes[0].mesh, lab.nodes[1].key, lab.now);
	unsigned before = lab.nodes[0].offers;
	unsigned path = lab.nodes[0].handles;
	fake_cut(true);
	lab_run(10000000); /* a pause that makes a replacing link due */
	assert_true(lab.nodes[0].handles > path);
	fake_cut(false);
	lab_run(60000000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_true(pair_passes());
	assert_int_equal(lab.nodes[0].offers, before);
	assert_int_equal(mesh_refused(lab.nodes[0].mesh) + mesh_refused(lab.nodes[1].mesh), 0);
}

/* A leave that computer 1 signed in this session. */
static struct proof_leave signed_leave(uint64_t session, int64_t unix_s)
{
	struct proof_leave leave = {.session = session, .unix_s = unix_s};

	memcpy(leave.network_id, lab.nodes[0].doc->network_id, NETID_SIZE);
	memcpy(leave.key, lab.nodes[1].key, SIG_KEY_SIZE);
	assert_int_equal(proof_leave_sign(&leave, lab.nodes[1].id), 0);
	return leave;
}

static void mesh_leave_of_another_session_ends_no_live_path(void **state)
{
	struct mesh *m = lab.nodes[0].mesh;
	const uint8_t *key = lab.nodes[1].key;

	(void)state;
	lab_connect(0, 1);
	struct proof_leave leave = signed_leave(55, 1700000100);
	assert_int_equal(mesh_member_left(m, key, &leave, lab.now), MESH_REFUSED);
	/* Nor does one from before it joined. */
	leave = signed_leave(lab.nodes[1].session, 1699999999);
	assert_int_equal(mesh_member_left(m, key, &leave, lab.now), MESH_REFUSED);
	lab_run(1000000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTED);
	assert_true(pair_passes());
}

static void mesh_offers_without_end_are_mostly_refused(void **state)
{
	struct msg_sdp msg;
	struct mesh_event e;
	unsigned taken = 0;

	(void)state;
	caught_offer(&msg);
	for (unsigned i = 0; i < 300; i++) {
		struct proof_offer o;

		msg.nonce[0] = (uint8_t)i;
		msg.nonce[1] = (uint8_t)(i >> 8);
		msg_sdp_to_proof(&msg, &o);
		assert_int_equal(proof_offer_sign(&o, lab.nodes[0].id), 0);
		memcpy(msg.signature, o.sig, SIG_SIGNATURE_SIZE);
		taken += mesh_offer(lab.nodes[1].mesh, &msg, lab.now) == MESH_OK;
		(void)fake_deliver(lab.now);
		while (mesh_event(lab.nodes[1].mesh, &e) == 1)
			;
	}
	assert_in_range(taken, 1, 10);
	assert_true(fake_links(1) <= 3);
	/* The member is heard again after a while. */
	lab_run(10000000);
	msg.nonce[2] ^= 1;
	struct proof_offer o;
	msg_sdp_to_proof(&msg, &o);
	assert_int_equal(proof_offer_sign(&o, lab.nodes[0].id), 0);
	memcpy(msg.signature, o.sig, SIG_SIGNATURE_SIZE);
	assert_int_equal(mesh_offer(lab.nodes[1].mesh, &msg, lab.now), MESH_OK);
}

static void mesh_server_back_means_offers_at_once(void **state)
{
	(void)state;
	/* A server that swallows every offer: both wait long between attempts. */
	lab.server_up = false;
	lab_connect(0, 1);
	lab_run(200000000);
	for (int i = 0; i < 2000 && (lab_state(0, 1) != MESH_PEER_CONNECTING ||
	                             lab_state(1, 0) != MESH_PEER_CONNECTING);
	     i++)
		lab_run(100000);
	assert_int_equal(lab_state(0, 1), MESH_PEER_CONNECTING);
	for (unsigned i = 0; i < 2; i++)
		mesh_set_signaling(lab.nodes[i].mesh, false, lab.now);
	lab_run(100000);
	lab.server_up = true;
	for (unsigned i = 0; i < 2; i++)
		mesh_set_signaling(lab.nodes[i].mesh, true, lab.now);
	assert_int_equal(lab_tell(1, 0, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(lab_tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	assert_true(passes_within(1000000));
}

static void mesh_replayed_offer_of_the_live_link_costs_nothing(void **state)
{
	struct msg_sdp old;

	(void)state;
	caught_offer(&old);
	lab_run(1500000);
	assert_int_equal(lab_state(1, 0), MESH_PEER_CONNECTED);
	unsigned links = lab.nodes[1].handles;
	assert_int_equal(mesh_offer(lab.nodes[1].mesh, &old, lab.now), MESH_REFUSED);
	lab_run(30000000);
	assert_int_equal(lab.nodes[1].handles, links);
	assert_int_equal(lab.nodes[1].offers, 0);
	assert_true(pair_passes());
}

static unsigned offers_of_both(void)
{
	return lab.nodes[0].offers + lab.nodes[1].offers;
}

/* Ends each link within 50 ms of its beginning, for as long as told. Returns the offers made. */
static unsigned flap(uint64_t us)
{
	uint64_t end = lab.now + us;
	unsigned before = offers_of_both();

	while (lab.now < end) {
		if (pair_passes())
			fake_end_links();
		lab_run(50000);
	}
	return offers_of_both() - before;
}

static void mesh_links_that_die_at_once_are_retried_ever_more_slowly(void **state)
{
	(void)state;
	lab_connect(0, 1);
	unsigned first = flap(60000000);
	/* 0.5, 1, 2, 4, 8, 16, 30 seconds; both sides may begin at a time. */
	assert_in_range(first, 5, 16);
	assert_in_range(flap(120000000), 2, 10);
	/* One that lives makes the next wait a short one again. */
	assert_true(passes_within(60000000));
	lab_run(15000000);
	assert_true(pair_passes());
	fake_end_links();
	lab_run(10000);
	assert_false(pair_passes());
	assert_true(passes_within(1000000));
}

static void mesh_documents_pushed_without_end_wait_as_one(void **state)
{
	struct document *next;
	struct buf text = BUF_INIT(DOCUMENT_SIZE_MAX);
	struct mesh_event e;
	unsigned waiting = 0;

	(void)state;
	lab_connect(0, 1);
	assert_int_equal(document_dup(&next, lab.nodes[0].doc), 0);
	assert_int_equal(document_ban(next, lab.nodes[2].key), DOCUMENT_OK);
	lab_sign(next);
	assert_int_equal(document_encode(next, &text), 0);
	size_t parts = ctl_part_count(text.len);
	for (uint32_t i = 0; i < 300; i++)
		for (size_t k = 0; k < parts; k++) {
			struct ctl_msg msg = {.type = CTL_PART};
			uint8_t bytes[CTL_SIZE_MAX];

			ctl_part_cut(&msg.part, CTL_CONTENT_DOCUMENT, 1000 + i, k, text.data,
			             text.len);
			size_t n = ctl_build(&msg, bytes);
			assert_true(n > 0);
			fake_say(1, bytes, n);
		}
	(void)fake_deliver(lab.now);
	while (mesh_event(lab.nodes[0].mesh, &e) == 1)
		waiting += e.type == MESH_EVENT_DOCUMENT;
	assert_int_equal(waiting, 1);
	/* Once it was looked at, the next one is let through again. */
	struct ctl_msg msg = {.type = CTL_PART};
	uint8_t bytes[CTL_SIZE_MAX];
	assert_int_equal(parts, 1);
	ctl_part_cut(&msg.part, CTL_CONTENT_DOCUMENT, 2000, 0, text.data, text.len);
	fake_say(1, bytes, ctl_build(&msg, bytes));
	lab_run(10000);
	assert_int_equal(lab.nodes[0].documents, 1);
	assert_int_equal(lab.nodes[0].doc->epoch, next->epoch);
	document_free(next);
	buf_deinit(&text);
}

static void mesh_member_not_in_the_list_is_forgotten(void **state)
{
	struct mesh *m = lab.nodes[0].mesh;

	(void)state;
	lab_connect(0, 1);
	/* Not named, but its path lives: it only counts as offline. */
	mesh_list_begin(m);
	mesh_list_end(m, lab.now);
	assert_int_equal(mesh_peer_count(m), 1);
	assert_true(pair_passes());
	/* We lose the server; it leaves the network meanwhile, and its path dies. */
	mesh_set_signaling(m, false, lab.now);
	lab_kill(1);
	lab_run(60000000);
	assert_int_equal(mesh_peer_count(m), 1);
	mesh_set_signaling(m, true, lab.now);
	mesh_list_begin(m);
	mesh_list_end(m, lab.now);
	assert_int_equal(mesh_peer_count(m), 0);
	assert_int_equal(lab_claim(0, 2, lab_tunnel_ip(1), 102, MESH_NEWS_NOTICE), MESH_OK);
	assert_int_equal(mesh_peer_count(m), 1);
}

static void mesh_address_on_another_interface_is_announced_anew(void **state)
{
	struct netaddr host = netaddr_ip4(0xc0000201, 0);

	(void)state;
	lab_connect(0, 1);
	unsigned told = lab.nodes[0].candidates + lab.nodes[0].offers;
	host.ifindex = 2; /* was: any */
	mesh_set_addresses(lab.nodes[0].mesh, &host, 1, lab.now);
	/* The only path is gone with its interface: the link finds another one, or the next link does. */
	lab_run(3000000);
	assert_true(pair_passes());
	assert_true(lab.nodes[0].candidates + lab.nodes[0].offers > told);
	/* The same list again changes nothing. */
	told = lab.nodes[0].candidates + lab.nodes[0].offers;
	mesh_set_addresses(lab.nodes[0].mesh, &host, 1, lab.now);
	lab_run(2000000);
	assert_int_equal(lab.nodes[0].candidates + lab.nodes[0].offers, told);
	assert_true(pair_passes());
}

/* The STUN server sees computer 0 at this port of its NAT. */
static void answer_stun(const struct netaddr *server, uint16_t port)
{
	struct netaddr mapped = netaddr_ip4(0xcb007105, port);
	struct dataplane_event e = {.type = DATAPLANE_EVENT_STUN,
	                            .tun_fd = -1,
	                            .local = netaddr_ip4(0xc0000201, 5000),
	                            .remote = *server};
	uint8_t bytes[128];
	struct stun_writer w;

	stun_begin(&w, bytes, sizeof(bytes), STUN_CLASS_SUCCESS, STUN_METHOD_BINDING,
	           fake_stun_id(0));
	stun_put_xor_mapped(&w, &mapped);
	e.data = bytes;
	e.len = stun_end(&w);
	assert_true(e.len > 0);
	mesh_dataplane_event(lab.nodes[0].mesh, &e, lab.now);
}

static unsigned reflexive_seen;
static bool newest_seen, second_host_seen;

/* Changes nothing: looks at what an offer says. */
static void count_reflexive(struct msg_sdp *sdp)
{
	reflexive_seen = 0;
	for (const char *at = sdp->sdp; (at = strstr(at, "typ srflx")) != NULL; at++)
		reflexive_seen++;
	newest_seen = strstr(sdp->sdp, "203.0.113.5 6040 ") != NULL;
	second_host_seen = strstr(sdp->sdp, "198.51.100.77 5000 typ host") != NULL;
}

static void mesh_new_mappings_do_not_fill_the_candidate_table(void **state)
{
	struct netaddr server = netaddr_ip4(0xc6336401, 3478);
	struct netaddr hosts[] = {netaddr_ip4(0xc0000201, 0), netaddr_ip4(0xc633644d, 0)};
	uint8_t id[STUN_ID_SIZE] = {0};

	(void)state;
	mesh_set_stun(lab.nodes[0].mesh, &server, 1, lab.now);
	for (uint16_t i = 1; i <= 40; i++) {
		/* It asks again within 25 s, with a new transaction. */
		for (int k = 0; k < 300 && memcmp(id, fake_stun_id(0), sizeof(id)) == 0; k++)
			lab_run(100000);
		memcpy(id, fake_stun_id(0), sizeof(id));
		answer_stun(&server, (uint16_t)(6000 + i));
	}
	mesh_set_addresses(lab.nodes[0].mesh, hosts, GV_ARRAY_SIZE(hosts), lab.now);
	lab.tamper_offer = count_reflexive;
	lab_connect(0, 1);
	assert_int_equal(lab.nodes[0].offers, 1);
	assert_in_range(reflexive_seen, 1, 4);
	assert_true(newest_seen);
	assert_true(second_host_seen);
	assert_true(pair_passes());
}

/* ---- transactions, of which a stranger must not guess the beginning ---- */

static bool is_listed(const uint32_t *list, unsigned n, uint32_t prefix)
{
	for (unsigned k = 0; k < n; k++)
		if (list[k] == prefix)
			return true;
	return false;
}

/* Computer 0 has two links, and has asked three STUN servers after each other. */
static unsigned busy_prefixes(uint32_t out[static FAKE_PREFIXES])
{
	lab_connect(0, 1);
	lab_connect(0, 2);
	for (uint32_t k = 0; k < 3; k++) {
		struct netaddr server = netaddr_ip4(0xc6336401 + k, 3478);

		mesh_set_stun(lab.nodes[0].mesh, &server, 1, lab.now);
	}
	assert_int_equal(fake_links(0), 2);
	return fake_prefixes(0, out);
}

static void mesh_prefixes_of_transactions_are_not_counted_up(void **state)
{
	uint32_t seen[FAKE_PREFIXES];
	unsigned n = busy_prefixes(seen);

	(void)state;
	assert_int_equal(n, 2 + 4);
	for (unsigned k = 0; k < n; k++) {
		/* Handles are small here. One of 700,000 runs finds a random prefix as small. */
		assert_true(lab.nodes[0].handles < 1000 && seen[k] > 1000);
		assert_false(is_listed(seen, k, seen[k]));
	}
	/* What leaves begins with the latest one. */
	assert_int_equal(be32_load(fake_stun_id(0)), seen[n - 1]);
}

static void mesh_prefix_is_never_one_in_use_nor_zero(void **state)
{
	struct mesh *m = lab.nodes[0].mesh;
	struct rng begin = m->rng, again = begin;
	uint32_t seen[FAKE_PREFIXES];
	unsigned n = busy_prefixes(seen), met = 0;

	(void)state;
	/* The same random numbers once more: all those prefixes are among them. */
	for (int i = 0; i < 1000; i++)
		met += is_listed(seen, n, rng_u32(&again));
	assert_true(met >= 3 + 2);
	uint32_t live[] = {seen[0], seen[1], seen[n - 1]};
	m->rng = begin;
	for (int i = 0; i < 1000; i++)
		assert_false(is_listed(live, GV_ARRAY_SIZE(live), mesh_new_prefix(m)));
	/* The generator's only way to say 0. */
	m->rng = again = rng_seeded(-UINT64_C(0x9e3779b97f4a7c15));
	assert_int_equal(rng_u32(&again), 0);
	assert_int_not_equal(mesh_new_prefix(m), 0);
}

static void mesh_refused_deletions_are_repeated(void **state)
{
	(void)state;
	lab_connect(0, 1);
	lab_connect(0, 2);
	fake_refuse(0, true);
	mesh_close(lab.nodes[0].mesh, CTL_BYE_DOWN, lab.now);
	lab_run(1000000);
	assert_false(mesh_is_idle(lab.nodes[0].mesh));
	assert_int_equal(fake_links(0), 2);
	fake_refuse(0, false);
	lab_run(500000);
	assert_int_equal(fake_links(0), 0);
	assert_true(mesh_is_idle(lab.nodes[0].mesh));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {
		TEST(mesh_tampered_description_passes_nothing),
		TEST(mesh_confirmation_of_another_answer_passes_nothing),
		TEST(mesh_replayed_offer_disturbs_nothing),
		TEST(mesh_stranger_is_no_member),
		TEST(mesh_held_address_is_not_given_away),
		TEST(mesh_offer_to_a_dead_session_does_not_delay_the_next),
		TEST(mesh_live_peer_cannot_be_moved_to_another_address),
		TEST(mesh_live_peer_keeps_its_address_over_a_newer_document),
		TEST(mesh_address_claimed_twice_passes_for_one),
		TEST(mesh_peer_that_lost_the_server_is_offered_to_in_band),
		TEST(mesh_leave_of_another_session_ends_no_live_path),
		TEST(mesh_offers_without_end_are_mostly_refused),
		TEST(mesh_server_back_means_offers_at_once),
		TEST(mesh_replayed_offer_of_the_live_link_costs_nothing),
		TEST(mesh_links_that_die_at_once_are_retried_ever_more_slowly),
		TEST(mesh_documents_pushed_without_end_wait_as_one),
		TEST(mesh_member_not_in_the_list_is_forgotten),
		TEST(mesh_address_on_another_interface_is_announced_anew),
		TEST(mesh_new_mappings_do_not_fill_the_candidate_table),
		TEST(mesh_prefixes_of_transactions_are_not_counted_up),
		TEST(mesh_prefix_is_never_one_in_use_nor_zero),
		TEST(mesh_refused_deletions_are_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
