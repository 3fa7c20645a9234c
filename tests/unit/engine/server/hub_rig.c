/* SPDX-License-Identifier: MIT */

#include "hub_rig.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/netaddr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- rig ---- */

void rig_prepare(struct rig *r)
{
	log_set_level(LOG_LEVEL_ERR);
	*r = (struct rig){.t = {.us = 1000000, .unix_s = RIG_START_S}};
	(void)snprintf(r->db, sizeof(r->db), ":memory:");
	r->config = (struct hub_config){.limits = HUB_LIMITS_DEFAULT,
	                                .names = {RIG_HOST},
	                                .n_names = 1,
	                                .address_rest_s = RIG_REST_S,
	                                .expire_s = 90 * 86400,
	                                .rng = rng_seeded(1),
	                                .n_stun = 2};
	r->config.stun[0] = netaddr_ip4(0, 3478);
	assert_true(netaddr_parse("203.0.113.7:3479", &r->config.stun[1]));
}

void rig_on_disk(struct rig *r)
{
	(void)snprintf(r->dir, sizeof(r->dir), "/tmp/govpn-hub-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	(void)snprintf(r->db, sizeof(r->db), "%s/db", r->dir);
}

void rig_start(struct rig *r)
{
	assert_int_equal(store_open(&r->store, r->db, NULL), STORE_OK);
	r->config.store = r->store;
	assert_int_equal(hub_new(&r->hub, &r->config, &r->t), 0);
}

void rig_open(struct rig *r)
{
	rig_prepare(r);
	rig_start(r);
}

static void stop(struct rig *r)
{
	hub_free(r->hub);
	store_close(r->store);
	r->hub = NULL;
	r->store = NULL;
}

void rig_restart(struct rig *r)
{
	assert_true(r->dir[0] != '\0');
	stop(r);
	rig_start(r);
}

void rig_close(struct rig *r)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	char path[128];

	stop(r);
	if (r->dir[0] == '\0')
		return;
	for (size_t i = 0; i < GV_ARRAY_SIZE(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", r->db, suffixes[i]);
		(void)unlink(path); /* not each one is there */
	}
	assert_int_equal(rmdir(r->dir), 0);
}

static void settle(struct rig *r)
{
	while (hub_ready(r->hub) != NULL)
		continue;
}

void rig_advance(struct rig *r, uint64_t seconds)
{
	r->t.us += seconds * 1000000;
	r->t.unix_s += (int64_t)seconds;
	if (r->t.us >= hub_deadline_us(r->hub))
		hub_timeout(r->hub, &r->t);
	settle(r);
}

/* ---- computers ---- */

static struct identity *make_identity(unsigned number)
{
	uint8_t seed[IDENTITY_SEED_SIZE] = {(uint8_t)number, (uint8_t)(number >> 8), 'r'};
	struct identity *id = NULL;

	assert_int_equal(identity_from_seed(&id, seed), 0);
	return id;
}

void rig_computer(struct rig *r, struct rig_computer *c, unsigned number)
{
	*c = (struct rig_computer){.rig = r,
	                           .id = make_identity(number),
	                           .session = 0x1000 + number,
	                           .remote = netaddr_ip4(0xc0000200 + number % 200, 40000)};
	identity_public(c->id, c->key);
}

static void forget(struct rig_computer *c)
{
	if (c->has_m)
		msg_deinit(&c->m);
	c->has_m = false;
}

void rig_computer_free(struct rig_computer *c)
{
	if (c->conn != NULL)
		rig_disconnect(c);
	forget(c);
	identity_free(c->id);
}

void rig_connect(struct rig_computer *c)
{
	struct netaddr local;

	assert_true(netaddr_parse(RIG_SERVER, &local));
	assert_int_equal(hub_open(c->rig->hub, &c->remote, &local, c, &c->rig->t, &c->conn), 0);
	rig_expect(c, MSG_CHALLENGE);
	memcpy(c->nonce, c->m.challenge.nonce, sizeof(c->nonce));
}

void rig_disconnect(struct rig_computer *c)
{
	hub_close(c->rig->hub, c->conn, &c->rig->t);
	c->conn = NULL;
	settle(c->rig);
}

enum msg_type rig_authenticate(struct rig_computer *c, const char *host)
{
	struct proof_login proof = {.host = host, .session = c->session};
	struct msg m = {.type = MSG_AUTHENTICATE,
	                .authenticate = {.host = host,
	                                 .session = c->session,
	                                 .version_lo = MSG_VERSION_LO,
	                                 .version_hi = MSG_VERSION_HI}};

	memcpy(proof.key, c->key, sizeof(c->key));
	memcpy(proof.nonce, c->nonce, sizeof(c->nonce));
	assert_int_equal(proof_login_sign(&proof, c->id), 0);
	memcpy(m.authenticate.key, c->key, sizeof(c->key));
	memcpy(m.authenticate.signature, proof.sig, sizeof(proof.sig));
	return rig_request(c, &m);
}

void rig_login(struct rig *r, struct rig_computer *c, unsigned number)
{
	rig_computer(r, c, number);
	rig_connect(c);
	assert_int_equal(rig_authenticate(c, RIG_HOST), MSG_AUTHENTICATED);
}

void rig_send_text(struct rig_computer *c, const char *text)
{
	struct rig *r = c->rig;

	mem_fail_at(r->fail_at);
	hub_input(r->hub, c->conn, text, strlen(text), &r->t);
	r->has_failed = r->fail_at > 0 && mem_fail_hit();
	r->fail_at = 0;
	mem_fail_at(0);
	settle(r);
}

void rig_fail_at(struct rig *r, uint64_t n)
{
	r->fail_at = n;
}

bool rig_has_failed(const struct rig *r)
{
	return r->has_failed;
}

void rig_send(struct rig_computer *c, struct msg *m)
{
	struct buf text = BUF_INIT(MSG_SIZE_TO_SERVER_MAX);

	(void)snprintf(m->id, sizeof(m->id), "%u", ++c->next_id);
	assert_int_equal(msg_format(m, &text), 0);
	rig_send_text(c, buf_str(&text));
	buf_deinit(&text);
}

enum msg_type rig_receive(struct rig_computer *c)
{
	const char *text;
	size_t len;

	forget(c);
	if (c->conn == NULL || !hub_output(c->conn, &text, &len))
		return MSG_NONE;
	assert_int_equal(msg_parse(&c->m, text, len, MSG_FROM_SERVER, NULL), MSG_OK);
	c->has_m = true;
	hub_output_done(c->rig->hub, c->conn);
	return c->m.type;
}

void rig_expect(struct rig_computer *c, enum msg_type type)
{
	enum msg_type got;

	do {
		got = rig_receive(c);
		if (got == MSG_NONE)
			fail_msg("no %s came", msg_type_name(type));
	} while (got != type);
}

void rig_drain(struct rig_computer *c)
{
	while (rig_receive(c) != MSG_NONE)
		continue;
}

enum msg_type rig_request(struct rig_computer *c, struct msg *m)
{
	enum msg_type got;

	rig_send(c, m);
	do {
		got = rig_receive(c);
		if (got == MSG_NONE && c->rig->has_failed)
			return got;
		if (got == MSG_NONE)
			fail_msg("no answer to %s", msg_type_name(m->type));
	} while (strcmp(c->m.id, m->id) != 0);
	return got;
}

void rig_refused(struct rig_computer *c, struct msg *m, enum msg_error_code code)
{
	assert_int_equal(rig_request(c, m), MSG_ERROR);
	assert_string_equal(msg_error_text(c->m.error.code), msg_error_text(code));
}

bool rig_is_closing(const struct rig_computer *c)
{
	return hub_conn_is_closing(c->conn);
}

/* ---- networks ---- */

static void add_invite(struct rig_net *n, const struct identity *id, enum document_invite_kind kind)
{
	struct document_invite invite = {.kind = kind};

	identity_public(id, invite.key);
	assert_int_equal(document_add_invite(n->doc, &invite), DOCUMENT_OK);
}

void rig_net(struct rig_net *n, struct rig_computer *owner, const char *subnet)
{
	static uint8_t salt[NETID_SALT_SIZE];
	struct netprefix prefix;

	*n = (struct rig_net){.bytes = BUF_INIT(DOCUMENT_SIZE_MAX), .owner = owner->id};
	salt[0]++;
	assert_true(netprefix_parse(subnet, &prefix));
	assert_int_equal(document_new(&n->doc, owner->key, salt, "party", &prefix, NULL), 0);
	n->link = make_identity(60000);
	n->password = make_identity(60001);
	add_invite(n, n->link, DOCUMENT_INVITE_LINK);
	add_invite(n, n->password, DOCUMENT_INVITE_PASSWORD);
	rig_net_sign(n);
}

void rig_net_free(struct rig_net *n)
{
	document_free(n->doc);
	buf_deinit(&n->bytes);
	identity_free(n->link);
	identity_free(n->password);
}

void rig_net_sign(struct rig_net *n)
{
	buf_deinit(&n->bytes);
	n->bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
	assert_int_equal(document_sign(n->doc, n->owner, &n->bytes), 0);
}

size_t rig_admission(const struct rig_computer *c, const struct rig_net *n,
                     const struct identity *invite, const char *label, int64_t unix_s,
                     uint8_t out[static ADMISSION_SIZE_MAX])
{
	struct admission a = {.joined_unix_s = unix_s, .unix_s = unix_s};

	memcpy(a.network_id, n->doc->network_id, NETID_SIZE);
	memcpy(a.key, c->key, SIG_KEY_SIZE);
	(void)snprintf(a.name, sizeof(a.name), "Computer %s", label);
	(void)snprintf(a.label, sizeof(a.label), "%s", label);
	if (invite != NULL)
		assert_int_equal(admission_sign_invite(&a, invite), 0);
	assert_int_equal(admission_sign(&a, c->id), 0);
	return admission_encode(&a, out);
}

enum msg_type rig_create(struct rig_computer *owner, struct rig_net *n)
{
	uint8_t admission[ADMISSION_SIZE_MAX];
	size_t size = rig_admission(owner, n, NULL, "owner", owner->rig->t.unix_s, admission);
	struct msg m = {.type = MSG_CREATE_NETWORK,
	                .create_network = {.document = {.p = n->bytes.data, .n = n->bytes.len},
	                                   .admission = {.p = admission, .n = size}}};
	enum msg_type got = rig_request(owner, &m);

	if (got == MSG_NETWORK_CREATED)
		(void)snprintf(n->code, sizeof(n->code), "%s", owner->m.network.code);
	return got;
}

enum msg_type rig_join(struct rig_computer *c, const struct rig_net *n,
                       const struct identity *invite, const char *label)
{
	uint8_t admission[ADMISSION_SIZE_MAX];
	size_t size = rig_admission(c, n, invite, label, c->rig->t.unix_s, admission);
	struct msg m = {.type = MSG_JOIN_NETWORK,
	                .join_network = {.admission = {.p = admission, .n = size}}};

	memcpy(m.join_network.network_id, n->doc->network_id, NETID_SIZE);
	return rig_request(c, &m);
}

unsigned rig_last_octet(const struct rig_computer *c)
{
	return netaddr_u32(&c->m.network.computer_ip) & 0xff;
}

enum msg_type rig_connect_network(struct rig_computer *c, const struct rig_net *n)
{
	struct msg m = {.type = MSG_CONNECT_NETWORK};

	memcpy(m.connect_network.network_id, n->doc->network_id, NETID_SIZE);
	return rig_request(c, &m);
}

enum msg_type rig_leave(struct rig_computer *c, const struct rig_net *n)
{
	struct proof_leave proof = {.session = c->session, .unix_s = c->rig->t.unix_s};
	struct msg m = {.type = MSG_LEAVE_NETWORK,
	                .leave_network = {.session = c->session, .unix_s = proof.unix_s}};

	memcpy(proof.network_id, n->doc->network_id, NETID_SIZE);
	memcpy(proof.key, c->key, SIG_KEY_SIZE);
	assert_int_equal(proof_leave_sign(&proof, c->id), 0);
	memcpy(m.leave_network.network_id, n->doc->network_id, NETID_SIZE);
	memcpy(m.leave_network.signature, proof.sig, SIG_SIGNATURE_SIZE);
	return rig_request(c, &m);
}

enum msg_type rig_update(struct rig_computer *c, const struct rig_net *n)
{
	struct msg m = {.type = MSG_UPDATE_DOCUMENT,
	                .update_document = {.document = {.p = n->bytes.data, .n = n->bytes.len}}};

	memcpy(m.update_document.network_id, n->doc->network_id, NETID_SIZE);
	return rig_request(c, &m);
}

void rig_offer(const struct rig_net *n, const struct rig_computer *to, struct msg *out)
{
	*out = (struct msg){
		.type = MSG_SDP_OFFER,
		.sdp = {.session = 7, .address = netaddr_ip4(0x0a010201, 0), .sdp = "v=0\r\n"}};
	memcpy(out->sdp.network_id, n->doc->network_id, NETID_SIZE);
	memcpy(out->sdp.target_id, to->key, SIG_KEY_SIZE);
	memset(out->sdp.nonce, 1, sizeof(out->sdp.nonce));
}
