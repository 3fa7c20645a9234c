/* SPDX-License-Identifier: MIT */

#include "mesh_lab.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct lab lab;

struct netaddr lab_tunnel_ip(unsigned i)
{
	return netaddr_ip4(0x0a530c01 + i, 0);
}

void lab_sign(struct document *doc)
{
	struct buf out = BUF_INIT(DOCUMENT_SIZE_MAX);

	assert_int_equal(document_sign(doc, lab.nodes[0].id, &out), 0);
	buf_deinit(&out);
}

static struct document *make_document(void)
{
	struct document *doc;
	struct netprefix subnet;
	static const uint8_t salt[NETID_SALT_SIZE] = {1};

	assert_true(netprefix_parse("10.83.12.0/24", &subnet));
	assert_int_equal(document_new(&doc, lab.nodes[0].key, salt, "test", &subnet, NULL), 0);
	for (unsigned i = 1; i < LAB_NODES; i++)
		assert_int_equal(document_add_member(doc, lab.nodes[i].key), 0);
	lab_sign(doc);
	return doc;
}

void lab_start(unsigned i)
{
	struct lab_node *n = &lab.nodes[i];
	struct mesh_config c = {
		.dataplane = fake_dataplane(i),
		.id = n->id,
		.cert = n->cert,
		.doc = n->doc,
		.ip4 = n->ip4,
		.session = n->session,
		.net = 1,
		.next_handle = &n->handles,
		.udp4_port = 5000,
		.rng = rng_seeded(77 + i + 100 * n->starts),
	};
	struct netaddr host = netaddr_ip4(0xc0000201 + i, 0);

	n->starts++;
	assert_int_equal(mesh_new(&n->mesh, &c, lab.now), 0);
	fake_bind(i, n->mesh);
	mesh_set_addresses(n->mesh, &host, 1, lab.now);
	mesh_set_signaling(n->mesh, true, lab.now);
}

void lab_kill(unsigned i)
{
	fake_bind(i, NULL);
	mesh_free(lab.nodes[i].mesh);
	lab.nodes[i].mesh = NULL;
}

int lab_setup(void **state)
{
	(void)state;
	fake_reset();
	lab = (struct lab){.now = 1000000, .server_up = true};
	for (unsigned i = 0; i < LAB_NODES; i++) {
		assert_int_equal(identity_new(&lab.nodes[i].id), 0);
		identity_public(lab.nodes[i].id, lab.nodes[i].key);
		assert_int_equal(cert_new(&lab.nodes[i].cert, 1700000000), 0);
		lab.nodes[i].session = 100 + i;
		lab.nodes[i].ip4 = lab_tunnel_ip(i);
	}
	for (unsigned i = 0; i < LAB_NODES; i++) {
		struct admission *a = &lab.nodes[i].admission;

		lab.nodes[i].doc = i == 0 ? make_document() : NULL;
		if (i > 0)
			assert_int_equal(document_dup(&lab.nodes[i].doc, lab.nodes[0].doc), 0);
		memcpy(a->network_id, lab.nodes[0].doc->network_id, NETID_SIZE);
		memcpy(a->key, lab.nodes[i].key, SIG_KEY_SIZE);
		a->joined_unix_s = 1700000000;
		a->unix_s = 1700000000;
		(void)snprintf(a->name, sizeof(a->name), "Computer %u", i);
		(void)snprintf(a->label, sizeof(a->label), "computer-%u", i);
		assert_int_equal(admission_sign(a, lab.nodes[i].id), 0);
		lab_start(i);
	}
	return 0;
}

int lab_teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LAB_NODES; i++) {
		mesh_free(lab.nodes[i].mesh);
		document_free(lab.nodes[i].doc);
		cert_unref(lab.nodes[i].cert);
		identity_free(lab.nodes[i].id);
	}
	fake_reset();
	return 0;
}

static int index_of(const uint8_t *key)
{
	for (unsigned i = 0; i < LAB_NODES; i++)
		if (memcmp(lab.nodes[i].key, key, SIG_KEY_SIZE) == 0)
			return (int)i;
	return -1;
}

/* The server forwards one description, as it is or tampered with. */
void lab_forward_sdp(unsigned from, const struct mesh_event *e)
{
	struct msg_sdp sdp = *e->sdp;
	int to = index_of(sdp.target_id);
	bool offer = e->msg_type == MSG_SDP_OFFER;
	lab_tamper_fn tamper = offer ? lab.tamper_offer : lab.tamper_answer;

	assert_true(to >= 0);
	assert_true(strlen(sdp.sdp) < sizeof(lab.sdp_copy));
	memcpy(lab.sdp_copy, sdp.sdp, strlen(sdp.sdp) + 1);
	sdp.sdp = lab.sdp_copy;
	sdp.has_sender = true;
	memcpy(sdp.sender_id, lab.nodes[from].key, SIG_KEY_SIZE);
	if (offer)
		lab.nodes[from].offers++;
	else
		lab.nodes[from].answers++;
	if (tamper != NULL)
		tamper(&sdp);
	if (lab.nodes[to].mesh == NULL)
		return;
	int r = offer ? mesh_offer(lab.nodes[to].mesh, &sdp, lab.now)
	              : mesh_answer(lab.nodes[to].mesh, &sdp, lab.now);
	assert_true(r >= 0);
}

static void forward_candidate(unsigned from, const struct mesh_event *e)
{
	struct msg_ice_candidate c = *e->candidate;
	int to = index_of(c.target_id);

	lab.nodes[from].candidates++;
	c.has_sender = true;
	memcpy(c.sender_id, lab.nodes[from].key, SIG_KEY_SIZE);
	if (to >= 0 && lab.nodes[to].mesh != NULL)
		assert_true(mesh_candidate(lab.nodes[to].mesh, &c, lab.now) >= 0);
}

static void take_document(unsigned i, const struct mesh_event *e)
{
	struct document *doc;

	lab.nodes[i].documents++;
	assert_int_equal(document_parse(&doc, e->data, e->len, lab.nodes[0].doc->network_id, NULL),
	                 DOCUMENT_OK);
	mesh_set_document(lab.nodes[i].mesh, doc, lab.now);
	document_free(lab.nodes[i].doc);
	lab.nodes[i].doc = doc;
}

unsigned lab_drain(unsigned i)
{
	struct mesh_event e;
	unsigned n = 0;

	while (lab.nodes[i].mesh != NULL && mesh_event(lab.nodes[i].mesh, &e) == 1) {
		n++;
		if (e.type == MESH_EVENT_SIGNAL && lab.server_up && e.msg_type == MSG_ICE_CANDIDATE)
			forward_candidate(i, &e);
		else if (e.type == MESH_EVENT_SIGNAL && lab.server_up)
			lab_forward_sdp(i, &e);
		else if (e.type == MESH_EVENT_DOCUMENT)
			take_document(i, &e);
	}
	return n;
}

/* Lets `us` of virtual time pass. */
void lab_run(uint64_t us)
{
	uint64_t end = lab.now + us;

	while (lab.now < end) {
		unsigned work;

		do {
			work = fake_deliver(lab.now);
			for (unsigned i = 0; i < LAB_NODES; i++)
				work += lab_drain(i);
		} while (work > 0);
		lab.now += 5000;
		for (unsigned i = 0; i < LAB_NODES; i++)
			if (lab.nodes[i].mesh != NULL &&
			    lab.now >= mesh_deadline_us(lab.nodes[i].mesh))
				mesh_timeout(lab.nodes[i].mesh, lab.now);
	}
}

int lab_claim(unsigned to, unsigned about, struct netaddr ip4, uint64_t session,
              enum mesh_news news)
{
	struct mesh_member m = {
		.admission = lab.nodes[about].admission,
		.ip4 = ip4,
		.session = session,
		.connected = true,
	};

	return mesh_member(lab.nodes[to].mesh, &m, news, lab.now);
}

int lab_tell(unsigned to, unsigned about, enum mesh_news news)
{
	return lab_claim(to, about, lab.nodes[about].ip4, lab.nodes[about].session, news);
}

enum mesh_peer_state lab_state(unsigned at, unsigned of)
{
	struct mesh_peer_status s;

	for (size_t k = 0; k < mesh_peer_count(lab.nodes[at].mesh); k++) {
		mesh_peer_status(lab.nodes[at].mesh, k, &s);
		if (memcmp(s.key, lab.nodes[of].key, SIG_KEY_SIZE) == 0)
			return s.state;
	}
	return MESH_PEER_OFFLINE;
}

void lab_connect(unsigned there, unsigned newcomer)
{
	assert_int_equal(lab_tell(newcomer, there, MESH_NEWS_LIST), MESH_OK);
	assert_int_equal(lab_tell(there, newcomer, MESH_NEWS_NOTICE), MESH_OK);
	lab_run(1500000);
}
