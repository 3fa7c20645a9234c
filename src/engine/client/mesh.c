/* SPDX-License-Identifier: MIT */

#include "engine/client/mesh.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/diag.h"
#include "base/enc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/client/mesh_impl.h"

#include <errno.h>
#include <string.h>

LOG_MODULE("mesh");

/* ---- small helpers shared with peer.c, link.c, ctlchan.c ---- */

struct peer *mesh_find(struct mesh *m, const uint8_t key[static SIG_KEY_SIZE])
{
	struct peer *p;

	HASH_FIND(hh, m->peers, key, SIG_KEY_SIZE, p);
	return p;
}

uint32_t mesh_new_handle(struct mesh *m)
{
	uint32_t h = ++*m->c.next_handle;

	return h != 0 ? h : ++*m->c.next_handle;
}

int mesh_refuse(struct mesh *m, const uint8_t *key, const char *why)
{
	char text[ENC_BASE64_SIZE(SIG_KEY_SIZE)] = "";

	m->refused++;
	if (key != NULL)
		enc_base64url(text, key, SIG_KEY_SIZE);
	log_limited(LOG_LEVEL_WARN, 30, "mesh.refused", LOG_STR("peer", text), LOG_STR("why", why));
	return MESH_REFUSED;
}

void mesh_limbo_add(struct mesh *m, uint32_t handle, void *shared)
{
	struct mesh_limbo *l = mem_new(struct mesh_limbo);

	/* Without memory for the note the block is given up: a small leak is better than a use after free. */
	if (l == NULL)
		return;
	l->handle = handle;
	l->shared = shared;
	l->next = m->limbo;
	m->limbo = l;
}

static void limbo_release(struct mesh *m, uint32_t handle)
{
	for (struct mesh_limbo **at = &m->limbo; *at != NULL; at = &(*at)->next) {
		struct mesh_limbo *l = *at;

		if (l->handle == handle) {
			*at = l->next;
			mem_free(l->shared);
			mem_free(l);
			return;
		}
	}
}

/* ---- events out ---- */

static struct mesh_out *out_new(struct mesh *m, const struct mesh_event *e, size_t extra)
{
	if (m->n_out >= MESH_MAX_EVENTS) {
		log_limited(LOG_LEVEL_WARN, 5, "mesh.events_full");
		return NULL;
	}
	struct mesh_out *o = mem_alloc(1, sizeof(*o) + extra);
	if (o == NULL)
		return NULL;
	o->event = *e;
	*m->out_tail = o;
	m->out_tail = &o->next;
	m->n_out++;
	return o;
}

void mesh_emit(struct mesh *m, const struct mesh_event *e, const void *data, size_t len)
{
	struct mesh_out *o = out_new(m, e, len);

	if (o == NULL || len == 0)
		return;
	memcpy(o->data, data, len);
	o->event.data = o->data;
	o->event.len = len;
}

int mesh_event(struct mesh *m, struct mesh_event *out)
{
	mem_free(m->out_given);
	m->out_given = m->out_head;
	if (m->out_head == NULL)
		return 0;
	m->out_head = m->out_head->next;
	if (m->out_head == NULL)
		m->out_tail = &m->out_head;
	m->n_out--;
	*out = m->out_given->event;
	return 1;
}

/* ---- signaling out: by the server, else in-band ---- */

static void send_in_band(struct peer *p, const struct msg *msg)
{
	struct buf text = BUF_INIT(CTL_PARTS_MAX);

	if (p->use != NULL && p->use->state == LINK_UP && msg_format(msg, &text) == 0)
		ctlchan_content(p->use, CTL_CONTENT_SIGNAL, text.data, text.len);
	buf_deinit(&text);
}

void mesh_signal_sdp(struct peer *p, enum msg_type type, const struct msg_sdp *sdp)
{
	struct mesh *m = p->mesh;

	if (!m->signaling) {
		struct msg msg = {.type = type, .sdp = *sdp};

		send_in_band(p, &msg);
		return;
	}
	struct mesh_event e = {.type = MESH_EVENT_SIGNAL, .msg_type = type};
	size_t size = strlen(sdp->sdp) + 1;
	struct mesh_out *o = out_new(m, &e, size);

	if (o == NULL)
		return;
	memcpy(o->event.key, p->key, SIG_KEY_SIZE);
	memcpy(o->data, sdp->sdp, size);
	o->sdp = *sdp;
	o->sdp.sdp = (const char *)o->data;
	o->event.sdp = &o->sdp;
}

void mesh_signal_candidate(struct peer *p, const struct msg_ice_candidate *c)
{
	struct mesh *m = p->mesh;

	if (!m->signaling) {
		struct msg msg = {.type = MSG_ICE_CANDIDATE, .ice_candidate = *c};

		send_in_band(p, &msg);
		return;
	}
	const char *cand = c->candidate != NULL ? c->candidate : "";
	size_t n1 = strlen(c->mid) + 1, n2 = strlen(c->ufrag) + 1, n3 = strlen(cand) + 1;
	struct mesh_event e = {.type = MESH_EVENT_SIGNAL, .msg_type = MSG_ICE_CANDIDATE};
	struct mesh_out *o = out_new(m, &e, n1 + n2 + n3);

	if (o == NULL)
		return;
	memcpy(o->event.key, p->key, SIG_KEY_SIZE);
	memcpy(o->data, c->mid, n1);
	memcpy(o->data + n1, c->ufrag, n2);
	memcpy(o->data + n1 + n2, cand, n3);
	o->candidate = *c;
	o->candidate.mid = (const char *)o->data;
	o->candidate.ufrag = (const char *)o->data + n1;
	o->candidate.candidate = c->candidate != NULL ? (const char *)o->data + n1 + n2 : NULL;
	o->event.candidate = &o->candidate;
}

/* ---- life ---- */

static struct netaddr with_port(const struct mesh *m, const struct netaddr *a)
{
	struct netaddr b = *a;

	b.port = a->family == NETADDR_IP4 ? m->c.udp4_port : m->c.udp6_port;
	return b;
}

/* Begins asking `servers` from every address; needed anew when they change. */
static int gather_begin(struct mesh *m, const struct netaddr *servers, size_t n, uint64_t now_us)
{
	/* Handles are never used twice in a daemon, so each is also a transaction prefix of its own. */
	struct gather_config gc = {.transaction_prefix = mesh_new_handle(m), .rng = rng_os()};
	struct gather *g;

	gc.server_count = GV_MIN(n, (size_t)GATHER_MAX_SERVERS);
	if (gc.server_count > 0)
		memcpy(gc.servers, servers, gc.server_count * sizeof(servers[0]));
	int r = dataplane_net_transactions(m->c.dataplane, m->c.net, gc.transaction_prefix);
	if (r < 0)
		return err_up(r);
	r = gather_new(&g, &gc);
	if (r < 0)
		return err_up(r);
	gather_free(m->gather);
	m->gather = g;
	m->cands_done = gc.server_count == 0;
	for (size_t i = 0; i < m->n_addresses; i++) {
		struct netaddr base = with_port(m, &m->addresses[i]);

		if (base.port != 0)
			(void)gather_add_base(g, &base, now_us); /* as many as the table takes */
	}
	return 0;
}

int mesh_new(struct mesh **out, const struct mesh_config *config, uint64_t now_us)
{
	gv_cleanup(mesh_freep) struct mesh *m = mem_new(struct mesh);

	if (m == NULL)
		return err_here(-ENOMEM);
	m->c = *config;
	m->c.cert = cert_ref(config->cert);
	m->rng = config->rng;
	m->out_tail = &m->out_head;
	identity_public(config->id, m->key);
	int r = gather_begin(m, NULL, 0, now_us);
	if (r < 0)
		return err_up(r);
	*out = GV_STEAL(m);
	return 0;
}

static void remove_peer(struct mesh *m, struct peer *p, bool polite, uint64_t now_us)
{
	HASH_DEL(m->peers, p);
	peer_free(p, polite, now_us);
}

void mesh_close(struct mesh *m, uint64_t now_us)
{
	struct peer *p, *tmp;

	m->closing = true;
	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (p->use != NULL)
			ctlchan_bye(p->use, CTL_BYE_DOWN);
		remove_peer(m, p, true, now_us);
	}
}

bool mesh_is_idle(const struct mesh *m)
{
	return m->peers == NULL && m->limbo == NULL;
}

void mesh_free(struct mesh *m)
{
	struct peer *p, *tmp;

	if (m == NULL)
		return;
	HASH_ITER(hh, m->peers, p, tmp)
	{
		remove_peer(m, p, false, 0);
	}
	while (m->limbo != NULL)
		limbo_release(m, m->limbo->handle);
	for (struct mesh_out *o = m->out_head, *next; o != NULL; o = next) {
		next = o->next;
		mem_free(o);
	}
	mem_free(m->out_given);
	gather_free(m->gather);
	cert_unref(m->c.cert);
	mem_free(m);
}

/* ---- candidates of this computer ---- */

static void add_cand(struct mesh *m, const struct ice_cand *c, uint64_t now_us)
{
	struct peer *p, *tmp;

	for (size_t i = 0; i < m->n_cands; i++)
		if (m->cands[i].type == c->type && netaddr_equal(&m->cands[i].addr, &c->addr) &&
		    netaddr_equal(&m->cands[i].base, &c->base))
			return;
	if (m->n_cands == MESH_MAX_CANDS)
		return;
	m->cands[m->n_cands++] = *c;
	HASH_ITER(hh, m->peers, p, tmp)
	{
		struct link *links[] = {p->use, p->next};

		for (size_t i = 0; i < GV_ARRAY_SIZE(links); i++)
			if (links[i] != NULL) {
				link_add_local(links[i], c, now_us);
				link_pump(links[i], now_us);
			}
	}
}

static void remove_base(struct mesh *m, const struct netaddr *base, uint64_t now_us)
{
	struct peer *p, *tmp;
	size_t kept = 0;

	for (size_t i = 0; i < m->n_cands; i++)
		if (!netaddr_equal(&m->cands[i].base, base))
			m->cands[kept++] = m->cands[i];
	m->n_cands = kept;
	gather_remove_base(m->gather, base, now_us);
	HASH_ITER(hh, m->peers, p, tmp)
	{
		struct link *links[] = {p->use, p->next};

		for (size_t i = 0; i < GV_ARRAY_SIZE(links); i++)
			if (links[i] != NULL) {
				ice_remove_local(links[i]->ice, base, now_us);
				link_pump(links[i], now_us);
			}
	}
}

static bool holds(const struct netaddr *list, size_t n, const struct netaddr *a)
{
	for (size_t i = 0; i < n; i++)
		if (netaddr_ip_equal(&list[i], a))
			return true;
	return false;
}

static void pump_gather(struct mesh *m, uint64_t now_us)
{
	struct ice_packet pkt;
	struct gather_event e;

	while (gather_output(m->gather, &pkt, now_us) == 1) {
		/* A full lane loses the packet as a network would: it is sent again. */
		if (dataplane_send_raw(m->c.dataplane, m->c.net, &pkt.local, &pkt.remote, pkt.data,
		                       pkt.len) < 0)
			log_debug("gathering: send lane full");
	}
	while (gather_event(m->gather, &e) == 1) {
		if (e.type == GATHER_EVENT_SRFLX && !netaddr_equal(&e.mapped, &e.base)) {
			struct ice_cand c = ice_cand_local(ICE_CAND_SRFLX, &e.mapped, &e.base, 0);

			add_cand(m, &c, now_us);
		} else if (e.type == GATHER_EVENT_DONE && !m->cands_done) {
			struct peer *p, *tmp;

			m->cands_done = true;
			HASH_ITER(hh, m->peers, p, tmp)
			{
				if (p->next != NULL)
					link_end_local(p->next, now_us);
				if (p->use != NULL)
					link_end_local(p->use, now_us);
			}
		}
	}
}

void mesh_set_addresses(struct mesh *m, const struct netaddr *addrs, size_t n, uint64_t now_us)
{
	n = GV_MIN(n, (size_t)MESH_MAX_ADDRESSES);
	for (size_t i = 0; i < m->n_addresses; i++) {
		if (!holds(addrs, n, &m->addresses[i])) {
			struct netaddr base = with_port(m, &m->addresses[i]);

			log_info("address.gone", LOG_ADDR("address", &base));
			remove_base(m, &base, now_us);
		}
	}
	for (size_t i = 0; i < n; i++) {
		struct netaddr base = with_port(m, &addrs[i]);

		if (base.port == 0 || holds(m->addresses, m->n_addresses, &addrs[i]))
			continue;
		/* The list is ranked best first; IPv6 is preferred within the type (RFC 8421). */
		uint16_t pref = (uint16_t)(65535u - i - (base.family == NETADDR_IP4 ? 100u : 0u));
		struct ice_cand c = ice_cand_local(ICE_CAND_HOST, &base, &base, pref);

		log_debug("new local address");
		add_cand(m, &c, now_us);
		if (gather_add_base(m->gather, &base, now_us) == GATHER_OK && m->n_stun > 0)
			m->cands_done = false;
	}
	memcpy(m->addresses, addrs, n * sizeof(addrs[0]));
	m->n_addresses = n;
	pump_gather(m, now_us);
}

void mesh_set_stun(struct mesh *m, const struct netaddr *servers, size_t n, uint64_t now_us)
{
	n = GV_MIN(n, (size_t)MESH_MAX_STUN);
	if (n == m->n_stun && memcmp(m->stun, servers, n * sizeof(servers[0])) == 0)
		return;
	int r = gather_begin(m, servers, n, now_us);
	if (r < 0) {
		(void)log_err(r, "mesh.gather"); /* the old servers stay in use */
		return;
	}
	memcpy(m->stun, servers, n * sizeof(servers[0]));
	m->n_stun = n;
	pump_gather(m, now_us);
}

/* ---- members ---- */

static int verify_member(struct mesh *m, const struct admission *a)
{
	struct diag diag = {0};

	int r = admission_verify(a, m->c.doc, &diag);
	if (r < 0)
		return err_up(r);
	if (r != ADMISSION_OK)
		return mesh_refuse(m, a->key, diag.text[0] != '\0' ? diag.text : "no member");
	return MESH_OK;
}

void mesh_set_document(struct mesh *m, const struct document *doc, uint64_t now_us)
{
	struct peer *p, *tmp;

	m->c.doc = doc;
	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (verify_member(m, &p->admission) != MESH_OK) {
			log_info("peer.cut", LOG_STR("label", p->admission.label));
			remove_peer(m, p, true, now_us);
		} else if (p->use != NULL && p->use->state == LINK_UP) {
			ctlchan_hello(p->use);
		}
	}
}

void mesh_set_signaling(struct mesh *m, bool up, uint64_t now_us)
{
	struct peer *p, *tmp;

	m->signaling = up;
	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (!up)
			p->connected = false;
		else if (p->next != NULL && p->next->state == LINK_OFFERED)
			/* The offer may have been lost with the old connection. */
			link_fail(p->next, "signaling restarted", now_us);
	}
}

/* True when another member proved that it holds this address. */
static bool address_taken(struct mesh *m, const struct mesh_member *member)
{
	struct peer *p, *tmp;

	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (p->ip_proven && netaddr_ip_equal(&p->ip4, &member->ip4) &&
		    memcmp(p->key, member->admission.key, SIG_KEY_SIZE) != 0)
			return true;
	}
	return netaddr_ip_equal(&m->c.ip4, &member->ip4);
}

int mesh_member(struct mesh *m, const struct mesh_member *member, enum mesh_news news,
                uint64_t now_us)
{
	const uint8_t *key = member->admission.key;

	if (m->closing || memcmp(key, m->key, SIG_KEY_SIZE) == 0)
		return MESH_OK;
	int r = verify_member(m, &member->admission);
	if (r != MESH_OK)
		return r;
	if (member->ip4.family != NETADDR_IP4 ||
	    !netprefix_contains(&m->c.doc->subnet, &member->ip4))
		return mesh_refuse(m, key, "address outside the subnet");
	if (address_taken(m, member))
		return mesh_refuse(m, key, "address is held by another member");

	struct peer *p = mesh_find(m, key);
	if (p == NULL) {
		if (HASH_COUNT(m->peers) >= MESH_MAX_MEMBERS)
			return mesh_refuse(m, key, "too many members");
		p = peer_new(m, member);
		if (p == NULL)
			return err_here(-ENOMEM);
	}
	if (admission_is_newer(&p->admission, &member->admission))
		p->admission = member->admission;
	p->ip4 = member->ip4;
	if (!member->connected)
		return MESH_OK;

	bool back = !p->connected;
	p->connected = true;
	if (p->session != member->session && member->session != 0) {
		p->session = member->session;
		back = true;
		p->attempts = 0;
	}
	bool live = p->use != NULL && p->use->state == LINK_UP;
	if (live && p->use->offerer && p->use->answer.session == p->session)
		return MESH_OK;
	if (live && !p->use->offerer && p->use->offer.session == p->session)
		return MESH_OK;
	if (back && news == MESH_NEWS_NOTICE)
		peer_plan_offer(p, now_us);
	else if (back)
		/* The others were there before us and offer; should none come, we do. */
		peer_plan_offer(p, now_us + 2500000u + rng_below(&m->rng, 1000000u));
	peer_timeout(p, now_us);
	return MESH_OK;
}

void mesh_member_offline(struct mesh *m, const uint8_t key[static SIG_KEY_SIZE], uint64_t now_us)
{
	struct peer *p = mesh_find(m, key);

	(void)now_us; /* a claim of the server ends nothing */
	if (p == NULL)
		return;
	p->connected = false;
	p->offer_at_us = CLOCK_NEVER;
}

int mesh_member_left(struct mesh *m, const uint8_t key[static SIG_KEY_SIZE],
                     const struct proof_leave *leave, uint64_t now_us)
{
	struct peer *p = mesh_find(m, key);

	if (p == NULL)
		return MESH_OK;
	bool proven = leave != NULL && memcmp(leave->key, key, SIG_KEY_SIZE) == 0 &&
	              memcmp(leave->network_id, m->c.doc->network_id, NETID_SIZE) == 0;
	if (proven) {
		int r = proof_leave_verify(leave);
		if (r < 0)
			return err_up(r);
		/* An old leave, replayed after the member came back by a new admission, proves nothing. */
		proven = r == PROOF_OK && leave->unix_s >= p->admission.joined_unix_s;
	}
	if (!proven) {
		if (p->use != NULL && p->use->state == LINK_UP) {
			mesh_member_offline(m, key, now_us);
			return mesh_refuse(m, key, "unproven leave of a live peer");
		}
		remove_peer(m, p, false, now_us);
		return MESH_OK;
	}
	struct mesh_event e = {.type = MESH_EVENT_LEFT};
	memcpy(e.key, key, SIG_KEY_SIZE);
	remove_peer(m, p, true, now_us);
	mesh_emit(m, &e, NULL, 0);
	return MESH_OK;
}

/* ---- signaling in ---- */

/* Checks that hold for offers and answers alike; *out is the sender. */
static int check_sdp(struct mesh *m, const struct msg_sdp *msg, struct peer **out)
{
	if (!msg->has_sender)
		return mesh_refuse(m, NULL, "no sender");
	if (memcmp(msg->network_id, m->c.doc->network_id, NETID_SIZE) != 0 ||
	    memcmp(msg->target_id, m->key, SIG_KEY_SIZE) != 0)
		return mesh_refuse(m, msg->sender_id, "not for us");
	struct peer *p = mesh_find(m, msg->sender_id);
	if (p == NULL)
		return mesh_refuse(m, msg->sender_id, "offer or answer of no member");
	if (!netaddr_ip_equal(&msg->address, &p->ip4))
		return mesh_refuse(m, msg->sender_id, "proof with another address");
	*out = p;
	return MESH_OK;
}

int mesh_offer(struct mesh *m, const struct msg_sdp *msg, uint64_t now_us)
{
	struct proof_offer offer;
	struct peer *p;

	if (m->closing)
		return MESH_OK;
	int r = check_sdp(m, msg, &p);
	if (r != MESH_OK)
		return r;
	msg_sdp_to_proof(msg, &offer);
	r = proof_offer_verify(&offer);
	if (r < 0)
		return err_up(r);
	if (r != PROOF_OK)
		return mesh_refuse(m, p->key, "offer with a bad signature");
	p->ip_proven = true;
	return peer_take_offer(p, msg, &offer, now_us);
}

int mesh_answer(struct mesh *m, const struct msg_sdp *msg, uint64_t now_us)
{
	struct proof_offer answer;
	struct peer *p;

	if (m->closing)
		return MESH_OK;
	int r = check_sdp(m, msg, &p);
	if (r != MESH_OK)
		return r;
	struct link *l = p->next;
	if (l == NULL || !l->offerer || l->state != LINK_OFFERED ||
	    memcmp(l->offer.nonce, msg->offer_nonce, PROOF_NONCE_SIZE) != 0)
		return mesh_refuse(m, p->key, "answer to no open offer");
	msg_sdp_to_proof(msg, &answer);
	r = proof_answer_verify(&answer, &l->offer);
	if (r < 0)
		return err_up(r);
	if (r != PROOF_OK)
		return mesh_refuse(m, p->key, "answer with a bad signature");
	l->answer_sdp = mem_strdup(msg->sdp);
	if (l->answer_sdp == NULL)
		return err_here(-ENOMEM);
	l->answer = answer;
	l->answer.sdp = l->answer_sdp;
	p->ip_proven = true;
	p->session = answer.session;
	return link_remote_sdp(l, l->answer_sdp, now_us);
}

int mesh_candidate(struct mesh *m, const struct msg_ice_candidate *c, uint64_t now_us)
{
	if (m->closing)
		return MESH_OK;
	if (!c->has_sender || memcmp(c->network_id, m->c.doc->network_id, NETID_SIZE) != 0)
		return mesh_refuse(m, NULL, "candidate without sender or network");
	struct peer *p = mesh_find(m, c->sender_id);
	struct link *l = p != NULL ? peer_link_by_nonce(p, c->nonce) : NULL;
	/* Late candidates of a link that is gone are normal. */
	if (l == NULL)
		return MESH_OK;
	return link_remote_candidate(l, c, now_us);
}

void mesh_in_band(struct peer *p, const uint8_t *text, size_t len, uint64_t now_us)
{
	struct mesh *m = p->mesh;
	struct msg msg;

	if (msg_parse(&msg, (const char *)text, len, MSG_FROM_CLIENT, NULL) != MSG_OK) {
		(void)mesh_refuse(m, p->key, "malformed in-band signaling"); /* counted */
		return;
	}
	int r = MESH_OK;
	if (msg.type == MSG_SDP_OFFER || msg.type == MSG_SDP_ANSWER) {
		/* The link it came through names the sender, as the login does at the server. */
		msg.sdp.has_sender = true;
		memcpy(msg.sdp.sender_id, p->key, SIG_KEY_SIZE);
		r = msg.type == MSG_SDP_OFFER ? mesh_offer(m, &msg.sdp, now_us)
		                              : mesh_answer(m, &msg.sdp, now_us);
	} else if (msg.type == MSG_ICE_CANDIDATE) {
		msg.ice_candidate.has_sender = true;
		memcpy(msg.ice_candidate.sender_id, p->key, SIG_KEY_SIZE);
		r = mesh_candidate(m, &msg.ice_candidate, now_us);
	}
	if (r < 0)
		(void)log_err(r,
		              "mesh.in_band"); /* logged is handled: nothing else depends on it */
	msg_deinit(&msg);
}

/* ---- data plane ---- */

static void stun_in(struct mesh *m, const struct dataplane_event *e, uint64_t now_us)
{
	/* The kernel tells the address; all sockets of a family have one port. */
	struct netaddr local = with_port(m, &e->local);
	struct peer *p, *tmp;

	if (gather_input(m->gather, &local, &e->remote, e->data, e->len, now_us) == ICE_OK) {
		pump_gather(m, now_us);
		return;
	}
	HASH_ITER(hh, m->peers, p, tmp)
	{
		struct link *links[] = {p->use, p->next};

		for (size_t i = 0; i < GV_ARRAY_SIZE(links); i++) {
			if (links[i] != NULL && (e->link == 0 || links[i]->handle == e->link) &&
			    ice_input(links[i]->ice, &local, &e->remote, e->data, e->len, now_us) ==
			            ICE_OK) {
				link_pump(links[i], now_us);
				return;
			}
		}
	}
}

void mesh_dataplane_event(struct mesh *m, const struct dataplane_event *e, uint64_t now_us)
{
	struct peer *p, *tmp;

	switch (e->type) {
	case DATAPLANE_EVENT_STUN:
		stun_in(m, e, now_us);
		return;
	case DATAPLANE_EVENT_LINK_GONE:
		limbo_release(m, e->link);
		return;
	case DATAPLANE_EVENT_PEER_GONE:
		limbo_release(m, e->peer);
		return;
	case DATAPLANE_EVENT_NET_GONE:
	case DATAPLANE_EVENT_TUN_LOST:
		return; /* the supervisor's */
	case DATAPLANE_EVENT_HANDSHAKE:
	case DATAPLANE_EVENT_FINISHED_AGAIN:
	case DATAPLANE_EVENT_ALERT:
	case DATAPLANE_EVENT_CTL_OPEN:
	case DATAPLANE_EVENT_CTL:
	case DATAPLANE_EVENT_IP_OPEN:
	case DATAPLANE_EVENT_LINK_DOWN:
		break;
	}
	HASH_ITER(hh, m->peers, p, tmp)
	{
		struct link *l = peer_link_by_handle(p, e->link);

		if (l != NULL) {
			link_dataplane_event(l, e, now_us);
			return;
		}
	}
}

/* ---- rest ---- */

int mesh_ping(struct mesh *m, const uint8_t key[static SIG_KEY_SIZE], uint64_t ping_id,
              uint64_t now_us)
{
	struct peer *p = mesh_find(m, key);

	if (p == NULL || p->use == NULL || p->use->state != LINK_UP)
		return MESH_REFUSED;
	return ctlchan_ping(p->use, ping_id, now_us);
}

void mesh_say_leave(struct mesh *m, const struct proof_leave *leave)
{
	struct peer *p, *tmp;

	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (p->use != NULL && p->use->ctl_open)
			ctlchan_leave(p->use, leave);
	}
}

uint64_t mesh_deadline_us(const struct mesh *m)
{
	uint64_t due = gather_deadline_us(m->gather);
	struct peer *p, *tmp;

	HASH_ITER(hh, m->peers, p, tmp)
	{
		uint64_t d = peer_deadline_us(p);

		due = GV_MIN(due, d);
	}
	return due;
}

void mesh_timeout(struct mesh *m, uint64_t now_us)
{
	struct peer *p, *tmp;

	gather_timeout(m->gather, now_us);
	pump_gather(m, now_us);
	HASH_ITER(hh, m->peers, p, tmp)
	{
		peer_timeout(p, now_us);
	}
}

size_t mesh_peer_count(const struct mesh *m)
{
	return HASH_COUNT(m->peers);
}

static int by_address(const struct peer *a, const struct peer *b)
{
	return netaddr_u32(&a->ip4) < netaddr_u32(&b->ip4)
	               ? -1
	               : netaddr_u32(&a->ip4) > netaddr_u32(&b->ip4);
}

void mesh_sort(struct mesh *m)
{
	HASH_SORT(m->peers, by_address);
}

void mesh_peer_status(const struct mesh *m, size_t i, struct mesh_peer_status *out)
{
	const struct peer *p = m->peers;

	while (p != NULL && i-- > 0)
		p = p->hh.next;
	*out = (struct mesh_peer_status){0};
	if (p == NULL)
		return;
	memcpy(out->key, p->key, SIG_KEY_SIZE);
	out->admission = &p->admission;
	out->ip4 = p->ip4;
	out->ip6 = p->ip6;
	out->state = peer_state(p);
	out->online = p->connected || out->state == MESH_PEER_CONNECTED;
	out->stats = p->stats;
	if (out->state == MESH_PEER_CONNECTED) {
		uint32_t srtt =
			atomic_load_explicit(&p->use->shared->srtt_us, memory_order_relaxed);

		out->path_kind = p->use->remote_type;
		out->local = p->use->local;
		out->remote = p->use->remote;
		out->rtt_us = srtt != 0 ? srtt : p->use->rtt_us;
	}
}

uint64_t mesh_refused(const struct mesh *m)
{
	return m->refused;
}
