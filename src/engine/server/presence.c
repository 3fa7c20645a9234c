/* SPDX-License-Identifier: MIT */

/* Who is connected to which network, what the others are told about it, and forwarding between them. */

#include "base/err.h"
#include "engine/server/hub_impl.h"

#include <errno.h>
#include <string.h>

struct hub_net *presence_net(struct hub *h, const uint8_t id[static NETID_SIZE])
{
	struct hub_net *net;

	HASH_FIND(hh, h->nets, id, NETID_SIZE, net);
	return net;
}

static struct hub_presence *find(const struct hub_conn *c, const uint8_t id[static NETID_SIZE])
{
	struct hub_presence *p;

	DL_FOREACH2(c->nets, p, conn_next)
	{
		if (memcmp(p->net->id, id, NETID_SIZE) == 0)
			return p;
	}
	return NULL;
}

bool presence_has(const struct hub_conn *c, const uint8_t id[static NETID_SIZE])
{
	return find(c, id) != NULL;
}

static struct hub_net *net_new(struct hub *h, const uint8_t id[static NETID_SIZE])
{
	struct hub_net *net = mem_new(struct hub_net);

	if (net == NULL)
		return NULL;
	memcpy(net->id, id, NETID_SIZE);
	HASH_ADD(hh, h->nets, id, NETID_SIZE, net);
	if (net->hh.tbl == NULL) {
		mem_free(net);
		return NULL;
	}
	h->stats.peak_networks = GV_MAX(h->stats.peak_networks, (size_t)HASH_COUNT(h->nets));
	return net;
}

static void net_free(struct hub *h, struct hub_net *net)
{
	HASH_DEL(h->nets, net);
	mem_free(net);
}

int presence_add(struct hub *h, struct hub_conn *c, const uint8_t id[static NETID_SIZE])
{
	if (presence_has(c, id))
		return 0;
	struct hub_presence *p = mem_new(struct hub_presence);
	if (p == NULL)
		return err_here(-ENOMEM);
	p->net = presence_net(h, id);
	if (p->net == NULL)
		p->net = net_new(h, id);
	if (p->net == NULL) {
		mem_free(p);
		return err_here(-ENOMEM);
	}
	p->conn = c;
	DL_APPEND2(p->net->members, p, net_prev, net_next);
	DL_APPEND2(c->nets, p, conn_prev, conn_next);
	p->net->n_members++;
	c->n_nets++;
	return 0;
}

static void end(struct hub *h, struct hub_presence *p)
{
	struct hub_net *net = p->net;

	DL_DELETE2(net->members, p, net_prev, net_next);
	DL_DELETE2(p->conn->nets, p, conn_prev, conn_next);
	p->conn->n_nets--;
	net->n_members--;
	mem_free(p);
	if (net->n_members == 0)
		net_free(h, net);
}

void presence_remove(struct hub *h, struct hub_conn *c, const uint8_t id[static NETID_SIZE])
{
	struct hub_presence *p = find(c, id);

	if (p != NULL)
		end(h, p);
}

static void tell_disconnected(struct hub *h, struct hub_conn *c,
                              const uint8_t id[static NETID_SIZE])
{
	struct msg m = {.type = MSG_COMPUTER_DISCONNECTED};

	memcpy(m.computer_disconnected.network_id, id, NETID_SIZE);
	memcpy(m.computer_disconnected.key, c->key, SIG_KEY_SIZE);
	hub_broadcast(h, id, c, &m);
}

void presence_end(struct hub *h, struct hub_conn *c)
{
	while (c->nets != NULL) {
		/* Nobody is left to be told when the whole server ends. */
		if (!h->is_stopping)
			tell_disconnected(h, c, c->nets->net->id);
		end(h, c->nets);
	}
}

int presence_computer(struct hub *h, const uint8_t id[static NETID_SIZE],
                      const struct store_member *m, struct msg_computer *out)
{
	const struct hub_conn *c = hub_find(h, m->key);

	*out = (struct msg_computer){.ip = netaddr_ip4(m->address, 0),
	                             .admission = {.p = m->admission, .n = m->admission_n}};
	memcpy(out->key, m->key, SIG_KEY_SIZE);
	if (c != NULL && presence_has(c, id)) {
		out->online = true;
		out->session = c->session;
	}
	int r = netid_addr6(id, m->key, &out->ipv6);
	return r < 0 ? err_up(r) : 0;
}

/* The member that asks, and what is stored of it; refuses others. */
static int load_self(struct hub_request *q, const uint8_t id[static NETID_SIZE],
                     const struct document *doc, struct store_member *out)
{
	int r = store_member_get(q->hub->store, id, q->conn->key, out);

	if (r == STORE_NOT_FOUND) {
		if (document_is_banned(doc, q->conn->key))
			return hub_refuse(q, MSG_ERROR_BANNED,
			                  "the owner removed this computer from the network");
		return hub_refuse(q, MSG_ERROR_NOT_MEMBER,
		                  "this computer is not a member of the network");
	}
	return r < 0 ? err_up(r) : 0;
}

/* What the others are told of a requester that is present already. */
static int make_notice(struct hub_request *q, const struct presence_entry *e, bool was_connected,
                       struct msg *out)
{
	if (!e->is_new && was_connected) {
		*out = (struct msg){.type = MSG_COMPUTER_RENAMED,
		                    .computer_renamed = {.admission = {.p = e->self->admission,
		                                                       .n = e->self->admission_n}}};
		memcpy(out->computer_renamed.network_id, e->n->id, NETID_SIZE);
		memcpy(out->computer_renamed.key, e->self->key, SIG_KEY_SIZE);
		return 0;
	}
	*out = (struct msg){.type = e->is_new ? MSG_COMPUTER_JOINED : MSG_COMPUTER_CONNECTED};
	memcpy(out->computer_notice.network_id, e->n->id, NETID_SIZE);
	int r = presence_computer(q->hub, e->n->id, e->self, &out->computer_notice.computer);
	return r < 0 ? err_up(r) : 0;
}

int presence_enter(struct hub_request *q, const struct presence_entry *e)
{
	bool was_connected = presence_has(q->conn, e->n->id);
	struct msg notice;
	int r = presence_add(q->hub, q->conn, e->n->id);

	if (r == 0)
		r = make_notice(q, e, was_connected, &notice);
	if (r == 0)
		r = store_commit(q->hub->store);
	if (r < 0) {
		if (!was_connected)
			presence_remove(q->hub, q->conn, e->n->id);
		return err_up(r);
	}
	q->is_changed = e->is_new || e->is_renamed;
	if (q->is_changed || !was_connected)
		hub_broadcast(q->hub, e->n->id, q->conn, &notice);
	r = network_reply(q, e->reply, e->n, e->doc);
	if (r < 0 && !was_connected) {
		presence_remove(q->hub, q->conn, e->n->id);
		tell_disconnected(q->hub, q->conn, e->n->id);
	}
	return r < 0 ? err_up(r) : 0;
}

int presence_connect(struct hub_request *q)
{
	const uint8_t *id = q->msg->connect_network.network_id;
	struct store_network n = {0};
	struct store_member self = {0};
	struct document *doc = NULL;
	bool renamed = false;

	if (q->conn->n_nets >= HUB_NETWORKS_CONN && !presence_has(q->conn, id))
		return hub_refuse(q, MSG_ERROR_TOO_MANY, "at most %d networks at a time",
		                  HUB_NETWORKS_CONN);
	/* Whoever brings nothing new only reads, and can connect on a full disk. */
	int r = store_begin_read(q->hub->store);
	if (r == 0)
		r = network_load(q, id, &n, &doc);
	if (r == 0)
		r = load_self(q, id, doc, &self);
	if (r == 0 && q->msg->connect_network.admission.n > 0)
		r = update_admission(q, doc, &self, &q->msg->connect_network.admission, &renamed);
	if (r == 0) {
		struct presence_entry e = {.reply = MSG_NETWORK_CONNECTED,
		                           .n = &n,
		                           .doc = doc,
		                           .self = &self,
		                           .is_renamed = renamed};

		r = presence_enter(q, &e);
	}
	if (r == 0)
		expiry_touch_later(q->hub, &n, q->t);
	store_network_deinit(&n);
	store_member_deinit(&self);
	document_free(doc);
	return r < 0 ? err_up(r) : r;
}

int presence_disconnect(struct hub_request *q)
{
	const uint8_t *id = q->msg->network_ref.network_id;
	struct msg m = {.type = MSG_NETWORK_DISCONNECTED, .network_ref = q->msg->network_ref};

	if (!presence_has(q->conn, id))
		return hub_refuse(q, MSG_ERROR_NOT_CONNECTED, "not connected to this network");
	presence_remove(q->hub, q->conn, id);
	hub_reply(q, &m);
	tell_disconnected(q->hub, q->conn, id);
	return 0;
}

int presence_forward(struct hub_request *q)
{
	bool is_candidate = q->msg->type == MSG_ICE_CANDIDATE;
	struct msg m = {.type = q->msg->type};

	if (is_candidate)
		m.ice_candidate = q->msg->ice_candidate;
	else
		m.sdp = q->msg->sdp;
	const uint8_t *id = is_candidate ? m.ice_candidate.network_id : m.sdp.network_id;
	const uint8_t *to = is_candidate ? m.ice_candidate.target_id : m.sdp.target_id;
	if (!presence_has(q->conn, id))
		return hub_refuse(q, MSG_ERROR_NOT_CONNECTED, "connect to the network first");
	struct hub_conn *target = hub_find(q->hub, to);
	if (target == NULL || target == q->conn || !presence_has(target, id))
		return hub_refuse(q, MSG_ERROR_PEER_NOT_CONNECTED,
		                  "the other computer is not connected to this network");
	if (target->out_bytes > HUB_FORWARD_MAX)
		return hub_refuse(q, MSG_ERROR_RATE_LIMITED, "the other computer reads too slowly");
	/* Whatever the sender wrote there: the login decides. */
	if (is_candidate) {
		memcpy(m.ice_candidate.sender_id, q->conn->key, SIG_KEY_SIZE);
		m.ice_candidate.has_sender = true;
	} else {
		memcpy(m.sdp.sender_id, q->conn->key, SIG_KEY_SIZE);
		m.sdp.has_sender = true;
	}
	hub_send(q->hub, target, &m);
	q->hub->stats.forwarded++;
	return 0;
}

/* One network for ComputerNetworks; *doc is kept for the borrowed name. */
static int describe(struct hub_request *q, const uint8_t id[static NETID_SIZE],
                    struct store_network *n, struct document **doc, struct msg_network_info *out)
{
	struct store_member self = {0};
	uint64_t members = 0;
	int r = network_load(q, id, n, doc);

	if (r == 0)
		r = store_members_count(q->hub->store, id, &members);
	if (r == 0)
		r = store_member_get(q->hub->store, id, q->conn->key, &self);
	if (r == 0) {
		const struct hub_net *net = presence_net(q->hub, id);

		memcpy(out->network_id, id, NETID_SIZE);
		out->code = n->code;
		out->network_name = (*doc)->name;
		out->computer_ip = netaddr_ip4(self.address, 0);
		out->subnet = (*doc)->subnet;
		out->connected = presence_has(q->conn, id);
		out->computers = (uint32_t)members;
		out->computers_online = net != NULL ? (uint32_t)net->n_members : 0;
	}
	store_member_deinit(&self);
	/* The list was read in the same transaction: nothing of it can be missing. */
	return r > 0 ? err_here(-EUCLEAN) : r;
}

int presence_networks(struct hub_request *q)
{
	size_t max = q->hub->limits.networks_joined, n = 0;
	struct store_id *ids = mem_new_array(struct store_id, max);
	struct store_network *rows = mem_new_array(struct store_network, max);
	struct document **docs = mem_new_array(struct document *, max);
	struct msg_network_info *infos = mem_new_array(struct msg_network_info, max);
	int r = 0;

	if (ids == NULL || rows == NULL || docs == NULL || infos == NULL)
		r = err_here(-ENOMEM);
	if (r == 0)
		r = store_begin_read(q->hub->store);
	if (r == 0)
		r = store_networks_of(q->hub->store, q->conn->key, ids, max, &n);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = describe(q, ids[i].b, &rows[i], &docs[i], &infos[i]);
	store_rollback(q->hub->store); /* nothing was written */
	if (r == 0) {
		struct msg m = {.type = MSG_COMPUTER_NETWORKS,
		                .computer_networks = {.networks = infos, .n_networks = n}};
		hub_reply(q, &m);
	}
	for (size_t i = 0; rows != NULL && docs != NULL && i < n; i++) {
		store_network_deinit(&rows[i]);
		document_free(docs[i]);
	}
	mem_free(ids);
	mem_free(rows);
	mem_free(docs);
	mem_free(infos);
	return r < 0 ? err_up(r) : r;
}
