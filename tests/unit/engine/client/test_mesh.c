/* SPDX-License-Identifier: MIT */

/* Two and three meshes over a fake data plane and a fake server, in virtual time. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "crypto/cert.h"
#include "crypto/identity.h"
#include "engine/client/mesh.h"
#include "fake_dataplane.h"
#include "proto/sig/proof.h"

#include <stdio.h>
#include <string.h>

#define N FAKE_COMPUTERS

struct node {
	struct identity *id;
	uint8_t key[SIG_KEY_SIZE];
	struct cert *cert;
	struct admission admission;
	struct document *doc;
	struct mesh *mesh;
	uint64_t session;
	uint32_t handles;
	unsigned offers, answers; /* sent */
};

/* What a hostile server does to a forwarded description. */
typedef void (*tamper_fn)(struct msg_sdp *sdp);

static struct node nodes[N];
static uint64_t now;
static bool server_up;
static tamper_fn tamper_offer, tamper_answer;
static char sdp_copy[PROOF_SDP_MAX];

static struct netaddr tunnel_ip(unsigned i)
{
	return netaddr_ip4(0x0a530c01 + i, 0);
}

static void sign_document(struct document *doc)
{
	struct buf out = BUF_INIT(DOCUMENT_SIZE_MAX);

	assert_int_equal(document_sign(doc, nodes[0].id, &out), 0);
	buf_deinit(&out);
}

static struct document *make_document(void)
{
	struct document *doc;
	struct netprefix subnet;
	static const uint8_t salt[NETID_SALT_SIZE] = {1};

	assert_true(netprefix_parse("10.83.12.0/24", &subnet));
	assert_int_equal(document_new(&doc, nodes[0].key, salt, "test", &subnet, NULL), 0);
	for (unsigned i = 1; i < N; i++)
		assert_int_equal(document_add_member(doc, nodes[i].key), 0);
	sign_document(doc);
	return doc;
}

static void start(unsigned i)
{
	struct node *n = &nodes[i];
	struct mesh_config c = {
		.dataplane = fake_dataplane(i),
		.id = n->id,
		.cert = n->cert,
		.doc = n->doc,
		.ip4 = tunnel_ip(i),
		.session = n->session,
		.net = 1,
		.next_handle = &n->handles,
		.udp4_port = 5000,
		.rng = rng_seeded(77 + i),
	};
	struct netaddr host = netaddr_ip4(0xc0000201 + i, 0);

	assert_int_equal(mesh_new(&n->mesh, &c, now), 0);
	fake_bind(i, n->mesh);
	mesh_set_addresses(n->mesh, &host, 1, now);
	mesh_set_signaling(n->mesh, true, now);
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(nodes, 0, sizeof(nodes));
	now = 1000000;
	server_up = true;
	tamper_offer = NULL;
	tamper_answer = NULL;
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(identity_new(&nodes[i].id), 0);
		identity_public(nodes[i].id, nodes[i].key);
		assert_int_equal(cert_new(&nodes[i].cert, 1700000000), 0);
		nodes[i].session = 100 + i;
	}
	for (unsigned i = 0; i < N; i++) {
		struct admission *a = &nodes[i].admission;

		nodes[i].doc = i == 0 ? make_document() : NULL;
		if (i > 0)
			assert_int_equal(document_dup(&nodes[i].doc, nodes[0].doc), 0);
		memcpy(a->network_id, nodes[0].doc->network_id, NETID_SIZE);
		memcpy(a->key, nodes[i].key, SIG_KEY_SIZE);
		a->joined_unix_s = 1700000000;
		a->unix_s = 1700000000;
		(void)snprintf(a->name, sizeof(a->name), "Computer %u", i);
		(void)snprintf(a->label, sizeof(a->label), "computer-%u", i);
		assert_int_equal(admission_sign(a, nodes[i].id), 0);
		start(i);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < N; i++) {
		mesh_free(nodes[i].mesh);
		document_free(nodes[i].doc);
		cert_unref(nodes[i].cert);
		identity_free(nodes[i].id);
	}
	fake_reset();
	return 0;
}

static int index_of(const uint8_t *key)
{
	for (unsigned i = 0; i < N; i++)
		if (memcmp(nodes[i].key, key, SIG_KEY_SIZE) == 0)
			return (int)i;
	return -1;
}

/* The server forwards one description, as it is or tampered with. */
static void forward_sdp(unsigned from, const struct mesh_event *e)
{
	struct msg_sdp sdp = *e->sdp;
	int to = index_of(sdp.target_id);
	bool offer = e->msg_type == MSG_SDP_OFFER;
	tamper_fn tamper = offer ? tamper_offer : tamper_answer;

	assert_true(to >= 0);
	assert_true(strlen(sdp.sdp) < sizeof(sdp_copy));
	memcpy(sdp_copy, sdp.sdp, strlen(sdp.sdp) + 1);
	sdp.sdp = sdp_copy;
	sdp.has_sender = true;
	memcpy(sdp.sender_id, nodes[from].key, SIG_KEY_SIZE);
	if (offer)
		nodes[from].offers++;
	else
		nodes[from].answers++;
	if (tamper != NULL)
		tamper(&sdp);
	if (nodes[to].mesh == NULL)
		return;
	int r = offer ? mesh_offer(nodes[to].mesh, &sdp, now)
	              : mesh_answer(nodes[to].mesh, &sdp, now);
	assert_true(r >= 0);
}

static void forward_candidate(unsigned from, const struct mesh_event *e)
{
	struct msg_ice_candidate c = *e->candidate;
	int to = index_of(c.target_id);

	c.has_sender = true;
	memcpy(c.sender_id, nodes[from].key, SIG_KEY_SIZE);
	if (to >= 0 && nodes[to].mesh != NULL)
		assert_true(mesh_candidate(nodes[to].mesh, &c, now) >= 0);
}

static void take_document(unsigned i, const struct mesh_event *e)
{
	struct document *doc;

	assert_int_equal(document_parse(&doc, e->data, e->len, nodes[0].doc->network_id, NULL),
	                 DOCUMENT_OK);
	mesh_set_document(nodes[i].mesh, doc, now);
	document_free(nodes[i].doc);
	nodes[i].doc = doc;
}

static unsigned drain(unsigned i)
{
	struct mesh_event e;
	unsigned n = 0;

	while (nodes[i].mesh != NULL && mesh_event(nodes[i].mesh, &e) == 1) {
		n++;
		if (e.type == MESH_EVENT_SIGNAL && server_up && e.msg_type == MSG_ICE_CANDIDATE)
			forward_candidate(i, &e);
		else if (e.type == MESH_EVENT_SIGNAL && server_up)
			forward_sdp(i, &e);
		else if (e.type == MESH_EVENT_DOCUMENT)
			take_document(i, &e);
	}
	return n;
}

/* Lets `us` of virtual time pass. */
static void run(uint64_t us)
{
	uint64_t end = now + us;

	while (now < end) {
		unsigned work;

		do {
			work = fake_deliver(now);
			for (unsigned i = 0; i < N; i++)
				work += drain(i);
		} while (work > 0);
		now += 5000;
		for (unsigned i = 0; i < N; i++)
			if (nodes[i].mesh != NULL && now >= mesh_deadline_us(nodes[i].mesh))
				mesh_timeout(nodes[i].mesh, now);
	}
}

static int tell(unsigned to, unsigned about, enum mesh_news news)
{
	struct mesh_member m = {
		.admission = nodes[about].admission,
		.ip4 = tunnel_ip(about),
		.session = nodes[about].session,
		.connected = true,
	};

	return mesh_member(nodes[to].mesh, &m, news, now);
}

static enum mesh_peer_state state_of(unsigned at, unsigned of)
{
	struct mesh_peer_status s;

	for (size_t k = 0; k < mesh_peer_count(nodes[at].mesh); k++) {
		mesh_peer_status(nodes[at].mesh, k, &s);
		if (memcmp(s.key, nodes[of].key, SIG_KEY_SIZE) == 0)
			return s.state;
	}
	return MESH_PEER_OFFLINE;
}

static void connect_pair(unsigned there, unsigned newcomer)
{
	assert_int_equal(tell(newcomer, there, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(tell(there, newcomer, MESH_NEWS_NOTICE), MESH_OK);
	run(1500000);
}

static void mesh_newcomer_is_offered_to_and_ip_passes(void **state)
{
	(void)state;
	connect_pair(0, 1);
	assert_int_equal(state_of(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(state_of(1, 0), MESH_PEER_CONNECTED);
	assert_true(fake_ip_passes(0, 1));
	assert_true(fake_ip_passes(1, 0));
	assert_true(fake_tunnel_mode(0) && fake_tunnel_mode(1));
	/* The one that was there made the only offer. */
	assert_int_equal(nodes[0].offers, 1);
	assert_int_equal(nodes[1].offers, 0);
	assert_int_equal(nodes[1].answers, 1);
	assert_int_equal(mesh_refused(nodes[0].mesh) + mesh_refused(nodes[1].mesh), 0);
}

static void mesh_without_an_offer_the_newcomer_offers(void **state)
{
	(void)state;
	/* The server never tells the one that was there; it learns of the member by another way. */
	assert_int_equal(tell(1, 0, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(tell(0, 1, MESH_NEWS_LIST), MESH_OK);
	run(6000000);
	assert_int_equal(state_of(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(state_of(1, 0), MESH_PEER_CONNECTED);
}

static void mesh_glare_leaves_one_link(void **state)
{
	(void)state;
	assert_int_equal(tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	assert_int_equal(tell(1, 0, MESH_NEWS_NOTICE), MESH_OK);
	run(1500000);
	assert_int_equal(nodes[0].offers, 1);
	assert_int_equal(nodes[1].offers, 1);
	assert_int_equal(nodes[0].answers + nodes[1].answers, 1);
	assert_int_equal(state_of(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(state_of(1, 0), MESH_PEER_CONNECTED);
	assert_int_equal(fake_links(0), 1);
	assert_int_equal(fake_links(1), 1);
}

static void mesh_server_gone_keeps_the_path(void **state)
{
	(void)state;
	connect_pair(0, 1);
	server_up = false;
	mesh_set_signaling(nodes[0].mesh, false, now);
	mesh_set_signaling(nodes[1].mesh, false, now);
	run(60000000);
	assert_int_equal(state_of(0, 1), MESH_PEER_CONNECTED);
	/* Back with the same sessions: nothing is done. */
	server_up = true;
	mesh_set_signaling(nodes[0].mesh, true, now);
	mesh_set_signaling(nodes[1].mesh, true, now);
	assert_int_equal(tell(1, 0, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	run(10000000);
	assert_int_equal(nodes[0].offers, 1);
	assert_int_equal(nodes[1].offers, 0);
	assert_int_equal(state_of(1, 0), MESH_PEER_CONNECTED);
}

static void mesh_offline_notice_ends_no_live_path(void **state)
{
	(void)state;
	connect_pair(0, 1);
	mesh_member_offline(nodes[0].mesh, nodes[1].key, now);
	/* An unsigned leave is the server's word alone. */
	assert_int_equal(mesh_member_left(nodes[0].mesh, nodes[1].key, NULL, now), MESH_REFUSED);
	run(1000000);
	assert_int_equal(state_of(0, 1), MESH_PEER_CONNECTED);
}

static void mesh_new_session_replaces_the_link(void **state)
{
	(void)state;
	connect_pair(0, 1);
	/* Computer 1 dies without a word and comes back as a new daemon. */
	fake_bind(1, NULL);
	mesh_free(nodes[1].mesh);
	nodes[1].mesh = NULL;
	run(200000);
	nodes[1].session = 999;
	start(1);
	assert_int_equal(tell(1, 0, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	run(1500000);
	assert_int_equal(state_of(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(state_of(1, 0), MESH_PEER_CONNECTED);
	assert_true(fake_ip_passes(0, 1));
	assert_int_equal(nodes[0].offers, 2);
	run(5000000);
	assert_int_equal(fake_links(0), 1);
}

static void mesh_bye_ends_the_path_at_once(void **state)
{
	(void)state;
	connect_pair(0, 1);
	mesh_close(nodes[1].mesh, now);
	run(100000);
	assert_true(mesh_is_idle(nodes[1].mesh));
	assert_int_not_equal(state_of(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(fake_links(0), 0);
}

static void mesh_signed_leave_removes_the_member(void **state)
{
	struct proof_leave leave = {.session = 101, .unix_s = 1700000100};

	(void)state;
	connect_pair(0, 1);
	memcpy(leave.network_id, nodes[0].doc->network_id, NETID_SIZE);
	memcpy(leave.key, nodes[1].key, SIG_KEY_SIZE);
	assert_int_equal(proof_leave_sign(&leave, nodes[1].id), 0);
	leave.unix_s++;
	assert_int_equal(mesh_member_left(nodes[0].mesh, nodes[1].key, &leave, now), MESH_REFUSED);
	leave.unix_s--;
	assert_int_equal(mesh_member_left(nodes[0].mesh, nodes[1].key, &leave, now), MESH_OK);
	assert_int_equal(mesh_peer_count(nodes[0].mesh), 0);
	run(100000);
	assert_int_equal(fake_links(0), 0);
}

static void mesh_ban_spreads_without_the_server(void **state)
{
	(void)state;
	connect_pair(0, 1);
	connect_pair(0, 2);
	connect_pair(1, 2);
	assert_int_equal(state_of(1, 2), MESH_PEER_CONNECTED);
	server_up = false;
	for (unsigned i = 0; i < N; i++)
		mesh_set_signaling(nodes[i].mesh, false, now);

	struct document *next;
	assert_int_equal(document_dup(&next, nodes[0].doc), 0);
	assert_int_equal(document_ban(next, nodes[2].key), DOCUMENT_OK);
	sign_document(next);
	mesh_set_document(nodes[0].mesh, next, now);
	document_free(nodes[0].doc);
	nodes[0].doc = next;
	run(1000000);
	/* Computer 1 learned it from computer 0 over `ctl` and cut computer 2 itself. */
	assert_int_equal(nodes[1].doc->epoch, next->epoch);
	assert_int_equal(mesh_peer_count(nodes[0].mesh), 1);
	assert_int_equal(mesh_peer_count(nodes[1].mesh), 1);
	assert_false(fake_ip_passes(1, 2));
	assert_true(fake_ip_passes(0, 1));
	/* The server cannot bring the banned one back. */
	assert_int_equal(tell(1, 2, MESH_NEWS_NOTICE), MESH_REFUSED);
}

static void mesh_dark_path_is_left_after_consent_and_found_again(void **state)
{
	(void)state;
	connect_pair(0, 1);
	fake_cut(true);
	run(45000000);
	assert_int_not_equal(state_of(0, 1), MESH_PEER_CONNECTED);
	fake_cut(false);
	run(45000000);
	assert_int_equal(state_of(0, 1), MESH_PEER_CONNECTED);
	assert_int_equal(state_of(1, 0), MESH_PEER_CONNECTED);
}

static void mesh_ping_is_answered(void **state)
{
	struct mesh_event e;
	bool pong = false;

	(void)state;
	connect_pair(0, 1);
	uint64_t id = now;
	assert_int_equal(mesh_ping(nodes[0].mesh, nodes[1].key, id, now), MESH_OK);
	assert_int_equal(mesh_ping(nodes[0].mesh, nodes[2].key, id, now), MESH_REFUSED);
	now += 7000;
	(void)fake_deliver(now);
	while (mesh_event(nodes[0].mesh, &e) == 1)
		if (e.type == MESH_EVENT_PONG && e.ping_id == id) {
			assert_int_equal(e.rtt_us, 7000);
			pong = true;
		}
	assert_true(pong);
}

/* ---- a hostile server ---- */

static void swap_fingerprint(struct msg_sdp *sdp)
{
	char *fp = strstr(sdp_copy, "fingerprint:sha-256 ");

	assert_non_null(fp);
	fp[20] = fp[20] == 'A' ? 'B' : 'A';
	sdp->sdp = sdp_copy;
}

static void swap_password(struct msg_sdp *sdp)
{
	char *pwd = strstr(sdp_copy, "ice-pwd:");

	assert_non_null(pwd);
	pwd[8] = pwd[8] == 'x' ? 'y' : 'x';
	sdp->sdp = sdp_copy;
}

static void swap_sender(struct msg_sdp *sdp)
{
	memcpy(sdp->sender_id, nodes[2].key, SIG_KEY_SIZE);
}

static void swap_session(struct msg_sdp *sdp)
{
	sdp->session++;
}

static void swap_address(struct msg_sdp *sdp)
{
	sdp->address = tunnel_ip(9);
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
	static const tamper_fn list[] = {swap_fingerprint, swap_password, swap_sender,
	                                 swap_session,     swap_address,  swap_nonce,
	                                 strip_signature,  swap_network};

	(void)state;
	for (size_t k = 0; k < 2 * GV_ARRAY_SIZE(list); k++) {
		assert_int_equal(teardown(NULL), 0);
		assert_int_equal(setup(NULL), 0);
		/* Computer 2 is known too, so that its name can be put on others' words. */
		assert_int_equal(tell(0, 2, MESH_NEWS_LIST), MESH_OK);
		assert_int_equal(tell(1, 2, MESH_NEWS_LIST), MESH_OK);
		if (k < GV_ARRAY_SIZE(list))
			tamper_offer = list[k];
		else
			tamper_answer = list[k - GV_ARRAY_SIZE(list)];
		connect_pair(0, 1);
		assert_int_not_equal(state_of(0, 1), MESH_PEER_CONNECTED);
		assert_int_not_equal(state_of(1, 0), MESH_PEER_CONNECTED);
		assert_false(fake_ip_passes(0, 1));
		assert_int_equal(fake_allowed(0) + fake_allowed(1), 0);
		assert_true(mesh_refused(nodes[0].mesh) + mesh_refused(nodes[1].mesh) > 0);
	}
}

static void mesh_replayed_offer_disturbs_nothing(void **state)
{
	struct mesh_event e;
	struct msg_sdp old = {0};
	static char text[PROOF_SDP_MAX];

	(void)state;
	assert_int_equal(tell(1, 0, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(tell(0, 1, MESH_NEWS_NOTICE), MESH_OK);
	assert_int_equal(mesh_event(nodes[0].mesh, &e), 1);
	while (e.type != MESH_EVENT_SIGNAL || e.msg_type != MSG_SDP_OFFER)
		assert_int_equal(mesh_event(nodes[0].mesh, &e), 1);
	old = *e.sdp;
	memcpy(text, e.sdp->sdp, strlen(e.sdp->sdp) + 1);
	old.sdp = text;
	old.has_sender = true;
	memcpy(old.sender_id, nodes[0].key, SIG_KEY_SIZE);
	forward_sdp(0, &e);
	run(1500000);
	assert_int_equal(state_of(1, 0), MESH_PEER_CONNECTED);
	for (int i = 0; i < 50; i++) {
		(void)!mesh_offer(nodes[1].mesh, &old, now);
		run(100000);
		assert_int_equal(state_of(1, 0), MESH_PEER_CONNECTED);
		assert_true(fake_ip_passes(0, 1));
	}
}

static void mesh_stranger_is_no_member(void **state)
{
	struct identity *stranger;
	struct mesh_member m = {.ip4 = tunnel_ip(5), .session = 5, .connected = true};

	(void)state;
	assert_int_equal(identity_new(&stranger), 0);
	m.admission = nodes[1].admission;
	identity_public(stranger, m.admission.key);
	assert_int_equal(admission_sign(&m.admission, stranger), 0);
	assert_int_equal(mesh_member(nodes[0].mesh, &m, MESH_NEWS_NOTICE, now), MESH_REFUSED);
	identity_free(stranger);
	assert_int_equal(mesh_peer_count(nodes[0].mesh), 0);
}

static void mesh_held_address_is_not_given_away(void **state)
{
	struct mesh_member m = {.session = 5, .connected = true};

	(void)state;
	connect_pair(0, 1);
	m.admission = nodes[2].admission;
	m.ip4 = tunnel_ip(1);
	assert_int_equal(mesh_member(nodes[0].mesh, &m, MESH_NEWS_NOTICE, now), MESH_REFUSED);
	m.ip4 = tunnel_ip(0); /* our own */
	assert_int_equal(mesh_member(nodes[0].mesh, &m, MESH_NEWS_NOTICE, now), MESH_REFUSED);
	m.ip4 = netaddr_ip4(0x7f000001, 0);
	assert_int_equal(mesh_member(nodes[0].mesh, &m, MESH_NEWS_NOTICE, now), MESH_REFUSED);
	m.ip4 = tunnel_ip(2);
	assert_int_equal(mesh_member(nodes[0].mesh, &m, MESH_NEWS_NOTICE, now), MESH_OK);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(mesh_newcomer_is_offered_to_and_ip_passes),
		TEST(mesh_without_an_offer_the_newcomer_offers),
		TEST(mesh_glare_leaves_one_link),
		TEST(mesh_server_gone_keeps_the_path),
		TEST(mesh_offline_notice_ends_no_live_path),
		TEST(mesh_new_session_replaces_the_link),
		TEST(mesh_bye_ends_the_path_at_once),
		TEST(mesh_signed_leave_removes_the_member),
		TEST(mesh_ban_spreads_without_the_server),
		TEST(mesh_dark_path_is_left_after_consent_and_found_again),
		TEST(mesh_ping_is_answered),
		TEST(mesh_tampered_description_passes_nothing),
		TEST(mesh_replayed_offer_disturbs_nothing),
		TEST(mesh_stranger_is_no_member),
		TEST(mesh_held_address_is_not_given_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
