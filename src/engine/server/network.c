/* SPDX-License-Identifier: MIT */

/* Creating, finding, leaving and deleting networks, and the picture of one that a member is given. */

#include "base/err.h"
#include "base/log.h"
#include "engine/server/hub_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("network");

/* 50 random bits: two equal ones are unlikely, sixteen in a row are a broken generator. */
#define CODE_TRIES 16

int network_load(struct hub_request *q, const uint8_t id[static NETID_SIZE],
                 struct store_network *n, struct document **doc)
{
	int r = store_network_get(q->hub->store, id, n);

	if (r == STORE_NOT_FOUND)
		return hub_refuse(q, MSG_ERROR_NO_SUCH_NETWORK,
		                  "the server does not know this network");
	if (r < 0)
		return err_up(r);
	r = document_parse_verified(doc, n->document, n->document_n, id);
	if (r < 0)
		return err_up(r);
	return r != DOCUMENT_OK ? err_here(-EUCLEAN) : 0; /* it was checked before it was stored */
}

/* What the requester is told of itself, next to the list of all members. */
static void describe_self(const struct hub_request *q, struct msg_network *out)
{
	for (size_t i = 0; i < out->n_computers; i++) {
		if (memcmp(out->computers[i].key, q->conn->key, SIG_KEY_SIZE) == 0) {
			out->computer_ip = out->computers[i].ip;
			out->ipv6 = out->computers[i].ipv6;
		}
	}
}

int network_reply(struct hub_request *q, enum msg_type type, const struct store_network *n,
                  const struct document *doc)
{
	struct msg m = {.type = type,
	                .network = {.code = n->code,
	                            .network_name = doc->name,
	                            .prefix_length = doc->subnet.bits,
	                            .subnet = doc->subnet,
	                            .document = {.p = n->document, .n = n->document_n}}};
	struct store_member *members = NULL;
	size_t n_members = 0;
	int r = store_members(q->hub->store, n->id, &members, &n_members);

	if (r < 0)
		return err_up(r);
	quota_table_charge(
		q->hub->pictures, q->conn->key,
		(uint32_t)(1 + n_members / HUB_PICTURE_MEMBERS + n->document_n / HUB_PICTURE_BYTES),
		q->t->us);
	memcpy(m.network.network_id, n->id, NETID_SIZE);
	m.network.computers = mem_new_array(struct msg_computer, n_members);
	m.network.n_computers = n_members;
	if (m.network.computers == NULL)
		r = err_here(-ENOMEM);
	for (size_t i = 0; r == 0 && i < n_members; i++)
		r = presence_computer(q->hub, n->id, &members[i], &m.network.computers[i]);
	if (r == 0) {
		describe_self(q, &m.network);
		hub_reply(q, &m);
	}
	mem_free(m.network.computers);
	store_members_free(members, n_members);
	return r < 0 ? err_up(r) : 0;
}

/* ---- create ---- */

static int parse_new_document(struct hub_request *q, const struct msg_blob *blob,
                              struct document **out)
{
	struct diag diag = {0};
	int r = document_parse(out, blob->p, blob->n, NULL, &diag);

	if (r < 0)
		return err_up(r);
	if (r == DOCUMENT_BAD_SIG)
		return hub_refuse(q, MSG_ERROR_NOT_OWNER,
		                  "the network document is not signed by its owner");
	if (r != DOCUMENT_OK)
		return hub_refuse(q, MSG_ERROR_BAD_REQUEST, "network document: %s", diag.text);
	if (memcmp((*out)->owner, q->conn->key, SIG_KEY_SIZE) != 0)
		return hub_refuse(q, MSG_ERROR_NOT_OWNER,
		                  "only the owner of a network can create it");
	return 0;
}

static int check_create_limits(struct hub_request *q)
{
	struct hub *h = q->hub;
	uint64_t owned = 0;
	int r = store_networks_owned(h->store, q->conn->key, &owned);

	if (r < 0)
		return err_up(r);
	if (owned >= h->limits.networks_owned)
		return hub_refuse(q, MSG_ERROR_TOO_MANY, "one computer can own %u networks",
		                  h->limits.networks_owned);
	if (h->stats.networks >= h->limits.networks)
		return hub_refuse(q, MSG_ERROR_TOO_MANY, "this server takes no more networks");
	if (!quota_table_take(h->creates, &q->conn->remote, q->t->us)) {
		q->retry_after_s = 60;
		return hub_refuse(q, MSG_ERROR_RATE_LIMITED, "too many new networks");
	}
	return 0;
}

/* Inside a transaction. n->code is chosen here. */
static int create_write(struct hub_request *q, struct store_network *n, const struct document *doc,
                        const struct admission *a)
{
	const struct msg_blob *blob = &q->msg->create_network.admission;
	struct store_member self = {.address = ipam_first(&doc->subnet), .admission_n = blob->n};
	struct ipam_lease lease = {.address = self.address};
	int r = STORE_EXISTS;

	for (unsigned i = 0; r == STORE_EXISTS && i < CODE_TRIES; i++) {
		netid_make_code(rng_u64(&q->hub->rng), n->code);
		r = store_network_add(q->hub->store, n);
	}
	if (r != 0)
		return err_here(r < 0 ? r : -EAGAIN);
	memcpy(lease.key, q->conn->key, SIG_KEY_SIZE);
	memcpy(self.key, q->conn->key, SIG_KEY_SIZE);
	(void)snprintf(self.label, sizeof(self.label), "%s", a->label); /* same size */
	self.admission = mem_dup(blob->p, blob->n);
	if (self.admission == NULL)
		return err_here(-ENOMEM);
	r = store_lease_put(q->hub->store, n->id, &lease);
	if (r == 0)
		r = store_member_add(q->hub->store, n->id, &self);
	store_member_deinit(&self);
	return r == 0 ? 0 : err_here(r < 0 ? r : -EUCLEAN);
}

static int create_enter(struct hub_request *q, const struct store_network *n,
                        const struct document *doc, bool is_new)
{
	struct store_member self = {0};
	struct presence_entry e = {
		.reply = MSG_NETWORK_CREATED, .n = n, .doc = doc, .self = &self, .is_new = is_new};
	int r = store_member_get(q->hub->store, n->id, q->conn->key, &self);

	if (r == 0)
		r = presence_enter(q, &e);
	store_member_deinit(&self);
	/* The owner is a member as long as the network is there. */
	return r == 0 ? 0 : err_here(r < 0 ? r : -EUCLEAN);
}

/* The network is there already: a repeated request is answered like the first. */
static int create_again(struct hub_request *q, const struct store_network *have,
                        const struct document *doc)
{
	const struct msg_blob *blob = &q->msg->create_network.document;

	if (have->document_n != blob->n || memcmp(have->document, blob->p, blob->n) != 0)
		return hub_refuse(q, MSG_ERROR_STALE_DOCUMENT, "this network exists already");
	int r = create_enter(q, have, doc, false);
	return r < 0 ? err_up(r) : 0;
}

static int create_new(struct hub_request *q, struct store_network *n, const struct document *doc,
                      const struct admission *a)
{
	int r = check_create_limits(q);

	if (r == 0)
		r = create_write(q, n, doc, a);
	if (r == 0)
		r = create_enter(q, n, doc, true);
	if (q->is_changed) {
		q->hub->stats.networks_created++;
		q->hub->stats.networks++;
		q->hub->stats.members++;
		log_limited(LOG_LEVEL_INFO, 60, "network.created", LOG_STR("code", n->code));
	}
	return r < 0 ? err_up(r) : r;
}

static int create_in_transaction(struct hub_request *q, const struct document *doc,
                                 const struct admission *a)
{
	const struct msg_blob *blob = &q->msg->create_network.document;
	struct store_network n = {.epoch = doc->epoch, .active_unix_s = q->t->unix_s};
	struct store_network have = {0};
	int r = store_network_get(q->hub->store, doc->network_id, &have);

	if (r == STORE_OK) {
		r = create_again(q, &have, doc);
		store_network_deinit(&have);
		return r < 0 ? err_up(r) : r;
	}
	if (r < 0)
		return err_up(r);
	memcpy(n.id, doc->network_id, NETID_SIZE);
	memcpy(n.owner, doc->owner, SIG_KEY_SIZE);
	n.document = mem_dup(blob->p, blob->n);
	n.document_n = blob->n;
	r = n.document != NULL ? create_new(q, &n, doc, a) : err_here(-ENOMEM);
	store_network_deinit(&n);
	return r < 0 ? err_up(r) : r;
}

int network_create(struct hub_request *q)
{
	struct document *doc = NULL;
	struct admission a;
	struct diag diag = {0};
	int r = parse_new_document(q, &q->msg->create_network.document, &doc);

	if (r == 0)
		r = update_parse_admission(q, doc->network_id, &q->msg->create_network.admission,
		                           &a);
	if (r == 0) {
		r = admission_verify(&a, doc, &diag);
		if (r > 0)
			r = hub_refuse(q, MSG_ERROR_BAD_REQUEST, "admission: %s", diag.text);
	}
	if (r == 0 && q->conn->n_nets >= HUB_NETWORKS_CONN)
		r = hub_refuse(q, MSG_ERROR_TOO_MANY, "at most %d networks at a time",
		               HUB_NETWORKS_CONN);
	if (r == 0)
		r = store_begin(q->hub->store);
	if (r == 0)
		r = create_in_transaction(q, doc, &a);
	store_rollback(q->hub->store); /* after a commit this does nothing */
	document_free(doc);
	return r < 0 ? err_up(r) : r;
}

/* ---- look up, leave, delete ---- */

int network_lookup(struct hub_request *q)
{
	struct msg m = {.type = MSG_NETWORK_FOUND};
	char code[NETID_CODE_SIZE];

	if (!netid_parse_code(q->msg->lookup_network.code, code))
		return hub_refuse(q, MSG_ERROR_BAD_REQUEST, "a network code has ten letters");
	int r = guard_check_address(q);
	if (r == 0)
		r = store_network_find(q->hub->store, code, m.network_found.network_id);
	if (r == STORE_NOT_FOUND)
		r = guard_lookup_failed(q);
	if (r == 0)
		hub_reply(q, &m);
	return r < 0 ? err_up(r) : r;
}

/* Members as they were before a network was deleted, to tell them. */
static void tell_deleted(struct hub *h, const uint8_t id[static NETID_SIZE], const char *reason,
                         const struct hub_conn *except, const struct store_member *members,
                         size_t n)
{
	struct msg m = {.type = MSG_NETWORK_DELETED, .network_deleted = {.reason = reason}};

	memcpy(m.network_deleted.network_id, id, NETID_SIZE);
	for (size_t i = 0; i < n; i++) {
		struct hub_conn *c = hub_find(h, members[i].key);

		if (c == NULL)
			continue;
		presence_remove(h, c, id);
		if (c != except)
			hub_send(h, c, &m);
	}
}

int network_delete(struct hub *h, const uint8_t id[static NETID_SIZE], const char *reason,
                   const struct hub_conn *except)
{
	struct store_member *members = NULL;
	size_t n = 0;
	int r = store_begin(h->store);

	if (r == 0)
		r = store_members(h->store, id, &members, &n);
	if (r == 0)
		r = store_network_remove(h->store, id);
	if (r == 0)
		r = guard_reset(h, id);
	if (r == 0)
		r = store_commit(h->store);
	if (r == 0) {
		h->stats.networks--;
		h->stats.members -= n;
		tell_deleted(h, id, reason, except, members, n);
	} else {
		store_rollback(h->store);
	}
	store_members_free(members, n);
	return r == 0 ? 0 : err_here(r < 0 ? r : -ENOENT);
}

static int leave_owner(struct hub_request *q, const uint8_t id[static NETID_SIZE])
{
	int r = network_delete(q->hub, id, "the owner left the network", q->conn);

	if (r < 0)
		return err_up(r);
	log_limited(LOG_LEVEL_INFO, 60, "network.deleted");
	return 0;
}

static int leave_member(struct hub_request *q, const uint8_t id[static NETID_SIZE])
{
	const struct msg_leave_network *l = &q->msg->leave_network;
	struct hub *h = q->hub;
	int r = store_begin(h->store);

	if (r == 0)
		r = store_member_remove(h->store, id, q->conn->key);
	if (r == STORE_NOT_FOUND)
		return hub_refuse(q, MSG_ERROR_NOT_MEMBER,
		                  "this computer is not a member of the network");
	if (r == 0)
		r = store_lease_release(h->store, id, q->conn->key, q->t->unix_s);
	if (r == 0)
		r = store_commit(h->store);
	if (r < 0)
		return err_up(r);
	h->stats.members--;
	presence_remove(h, q->conn, id);
	struct msg m = {
		.type = MSG_COMPUTER_LEFT,
		.computer_left = {.is_signed = true, .session = l->session, .unix_s = l->unix_s}};
	memcpy(m.computer_left.network_id, id, NETID_SIZE);
	memcpy(m.computer_left.key, q->conn->key, SIG_KEY_SIZE);
	memcpy(m.computer_left.signature, l->signature, SIG_SIGNATURE_SIZE);
	hub_broadcast(h, id, q->conn, &m);
	return 0;
}

static int check_leave(struct hub_request *q)
{
	const struct msg_leave_network *l = &q->msg->leave_network;
	struct proof_leave proof = {.session = l->session, .unix_s = l->unix_s};

	memcpy(proof.network_id, l->network_id, NETID_SIZE);
	memcpy(proof.key, q->conn->key, SIG_KEY_SIZE);
	memcpy(proof.sig, l->signature, SIG_SIGNATURE_SIZE);
	if (l->session != q->conn->session)
		return hub_refuse(q, MSG_ERROR_BAD_REQUEST, "the leave is of another session");
	int r = proof_leave_verify(&proof);
	if (r > 0)
		return hub_refuse(q, MSG_ERROR_BAD_REQUEST, "the leave is not signed");
	return r < 0 ? err_up(r) : 0;
}

int network_leave(struct hub_request *q)
{
	const uint8_t *id = q->msg->leave_network.network_id;
	struct msg m = {.type = MSG_NETWORK_LEFT};
	struct store_network n = {0};
	int r = check_leave(q);

	if (r != 0)
		return r < 0 ? err_up(r) : r;
	r = store_network_get(q->hub->store, id, &n);
	if (r == STORE_NOT_FOUND)
		return hub_refuse(q, MSG_ERROR_NO_SUCH_NETWORK,
		                  "the server does not know this network");
	if (r < 0)
		return err_up(r);
	bool is_owner = memcmp(n.owner, q->conn->key, SIG_KEY_SIZE) == 0;
	store_network_deinit(&n);
	r = is_owner ? leave_owner(q, id) : leave_member(q, id);
	if (r != 0)
		return r < 0 ? err_up(r) : r;
	memcpy(m.network_ref.network_id, id, NETID_SIZE);
	hub_reply(q, &m);
	return 0;
}
