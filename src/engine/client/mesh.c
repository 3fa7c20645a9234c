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
#include "proto/stun/msg.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

LOG_MODULE("mesh");

/* ---- small helpers shared with peer.c, link.c, ctlchan.c ---- */

struct peer *mesh_find(struct mesh *m, const uint8_t key[static SIG_KEY_SIZE])
{
	struct peer *p;

	HASH_FIND(hh, m->peers, key, SIG_KEY_SIZE, p);
	if (p != NULL)
		mesh_changed(p);
	return p;
}

void mesh_changed(struct peer *p)
{
	if (p->is_changed)
		return;
	p->is_changed = true;
	p->next_changed = p->mesh->changed;
	p->mesh->changed = p;
}

uint32_t mesh_new_handle(struct mesh *m)
{
	uint32_t h = ++*m->c.next_handle;

	return h != 0 ? h : ++*m->c.next_handle;
}

uint32_t mesh_new_prefix(struct mesh *m)
{
	struct link *l;
	uint32_t prefix;

	do {
		prefix = rng_u32(&m->rng);
		HASH_FIND(hh_prefix, m->links_prefix, &prefix, sizeof(prefix), l);
	} while (prefix == 0 || prefix == m->gather_prefix || l != NULL);
	return prefix;
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

/* Tells the data plane; false: its lane is full. */
static bool limbo_tell(struct mesh *m, struct mesh_limbo *l)
{
	int r = l->is_link ? dataplane_link_del(m->c.dataplane, l->handle, l->polite)
	                   : dataplane_peer_del(m->c.dataplane, l->handle);

	l->told = r == 0;
	return l->told;
}

static void limbo_add(struct mesh *m, const struct mesh_limbo *what)
{
	if (m->no_dataplane) {
		mem_free(what->shared);
		return;
	}
	struct mesh_limbo *l = mem_new(struct mesh_limbo);
	if (l == NULL) {
		/* Without memory for a note the block is given up: better a small leak than a use after free. */
		struct mesh_limbo once = *what;

		(void)limbo_tell(m, &once); /* a link without consent falls silent by itself */
		return;
	}
	*l = *what;
	l->next = m->limbo;
	m->limbo = l;
	if (!limbo_tell(m, l))
		m->limbo_retry_us = 0;
}

void mesh_delete_link(struct mesh *m, uint32_t handle, bool polite, void *shared)
{
	struct mesh_limbo l = {
		.handle = handle, .is_link = true, .polite = polite, .shared = shared};

	limbo_add(m, &l);
}

void mesh_delete_peer(struct mesh *m, uint32_t handle, void *shared)
{
	struct mesh_limbo l = {.handle = handle, .shared = shared};

	limbo_add(m, &l);
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

/* The oldest note is the last of the list: links were deleted before their peers, and are told first. */
static void limbo_retry(struct mesh *m, uint64_t now_us)
{
	m->limbo_retry_us = CLOCK_NEVER;
	for (int links = 1; links >= 0; links--) {
		for (struct mesh_limbo *l = m->limbo; l != NULL; l = l->next) {
			if (l->told || l->is_link != (links == 1))
				continue;
			if (!limbo_tell(m, l)) {
				m->limbo_retry_us = now_us + LIMBO_RETRY_US;
				return;
			}
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
	if (e->type == MESH_EVENT_DOCUMENT)
		m->document_waits = true;
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
	if (out->type == MESH_EVENT_DOCUMENT)
		m->document_waits = false;
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

	if (!m->signaling || !p->connected) {
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

	if (!m->signaling || !p->connected) {
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

int mesh_new(struct mesh **out, const struct mesh_config *config, uint64_t now_us)
{
	gv_cleanup(mesh_freep) struct mesh *m = mem_new(struct mesh);

	if (m == NULL)
		return err_here(-ENOMEM);
	m->c = *config;
	m->c.cert = cert_ref(config->cert);
	m->rng = config->rng;
	m->out_tail = &m->out_head;
	m->limbo_retry_us = CLOCK_NEVER;
	identity_public(config->id, m->key);
	int r = heap_init(&m->due, MESH_MAX_MEMBERS);
	if (r == 0)
		r = local_begin(m, now_us);
	if (r < 0)
		return err_up(r);
	*out = GV_STEAL(m);
	return 0;
}

static void remove_peer(struct mesh *m, struct peer *p, bool polite, uint64_t now_us)
{
	HASH_DEL(m->peers, p);
	m->cursor = NULL;
	heap_set(&m->due, &p->due, CLOCK_NEVER);
	if (p->is_changed)
		LL_DELETE2(m->changed, p, next_changed);
	peer_free(p, polite, now_us);
}

void mesh_close(struct mesh *m, enum ctl_bye_reason reason, uint64_t now_us)
{
	struct peer *p, *tmp;

	m->closing = true;
	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (p->use != NULL)
			ctlchan_bye(p->use, reason);
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
	/* Closed and idle, or the data plane is freed already: it must not be spoken to. */
	m->no_dataplane = true;
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
	heap_deinit(&m->due);
	mem_free(m);
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

/* The session that the peer proved for the link in use; 0: there is none. */
static uint64_t live_session(const struct peer *p)
{
	if (p->use == NULL || p->use->state != LINK_UP)
		return 0;
	return p->use->offerer ? p->use->answer.session : p->use->offer.session;
}

void mesh_set_document(struct mesh *m, const struct document *doc, uint64_t now_us)
{
	struct peer *p, *tmp;

	m->all_changed = true;
	/* Who is connected proved its address, and nobody else may have it by a newer document. */
	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (live_session(p) != 0)
			p->proven_epoch = doc->epoch;
	}
	m->c.doc = doc;
	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (!admission_still_holds(&p->admission, doc)) {
			log_info("peer.cut", LOG_STR("label", p->admission.label));
			remove_peer(m, p, true, now_us);
			continue;
		}
		if (p->use != NULL)
			ctlchan_catch_up(p->use);
		/* It may be the one in use before anybody looks at the document again. */
		if (p->next != NULL)
			ctlchan_catch_up(p->next);
	}
}

void mesh_set_signaling(struct mesh *m, bool up, uint64_t now_us)
{
	struct peer *p, *tmp;

	/* Answers to the open offers still come: a network that is joined again, say. */
	if (up && m->signaling)
		return;
	m->signaling = up;
	m->all_changed = true;
	/* It may have been away because we are seen elsewhere now. */
	if (up)
		local_refresh(m, now_us);
	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (!up)
			p->connected = false;
		else
			peer_drop_open_offer(p);
	}
}

/* Another member proved that it holds this address, and no newer document was seen since. */
static bool address_taken(struct mesh *m, const uint8_t *key, const struct netaddr *ip4)
{
	struct peer *p, *tmp;

	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (p->proven_epoch == m->c.doc->epoch && netaddr_ip_equal(&p->ip4, ip4) &&
		    memcmp(p->key, key, SIG_KEY_SIZE) != 0)
			return true;
	}
	return netaddr_ip_equal(&m->c.ip4, ip4);
}

/* A proven address changes only without a live path, with a newer document or when the member joined anew. */
static bool address_may_change(const struct mesh *m, const struct peer *p,
                               const struct mesh_member *member)
{
	if (netaddr_ip_equal(&p->ip4, &member->ip4))
		return true;
	return live_session(p) == 0 &&
	       (p->proven_epoch != m->c.doc->epoch ||
	        member->admission.joined_unix_s > p->admission.joined_unix_s);
}

/* It is connected at the server: offers, unless a live path to this very session is there. */
static void member_connected(struct peer *p, uint64_t session, enum mesh_news news, uint64_t now_us)
{
	bool back = !p->connected;

	p->connected = true;
	if (p->session != session && session != 0) {
		p->session = session;
		back = true;
	}
	/* With a live path nothing is to be done, unless an offer is open: it went in-band, and perhaps died with the path. */
	bool live = live_session(p) == p->session && p->session != 0;
	bool open = p->next != NULL && p->next->state == LINK_OFFERED;
	if (!back || (live && !open))
		return;
	peer_drop_open_offer(p);
	p->attempts = 0;
	if (news == MESH_NEWS_NOTICE)
		peer_plan_offer(p, now_us);
	else
		/* The others were there before us and offer; should none come, we do. */
		peer_plan_offer(p, now_us + 2500000u + rng_below(&p->mesh->rng, 1000000u));
	peer_timeout(p, now_us);
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
	if (address_taken(m, key, &member->ip4))
		return mesh_refuse(m, key, "address is held by another member");

	struct peer *p = mesh_find(m, key);
	if (p == NULL) {
		if (HASH_COUNT(m->peers) >= MESH_MAX_MEMBERS)
			return mesh_refuse(m, key, "too many members");
		p = peer_new(m, member);
		if (p == NULL)
			return err_here(-ENOMEM);
	}
	p->listed = m->list_round;
	if (!address_may_change(m, p, member))
		return mesh_refuse(m, key, "proven address changed");
	if (!netaddr_ip_equal(&p->ip4, &member->ip4)) {
		p->ip4 = member->ip4;
		p->proven_epoch = 0;
		m->unsorted = true;
	}
	if (admission_is_newer(&p->admission, &member->admission))
		p->admission = member->admission;
	if (member->connected)
		member_connected(p, member->session, news, now_us);
	return MESH_OK;
}

void mesh_list_begin(struct mesh *m)
{
	m->list_round++;
}

void mesh_list_end(struct mesh *m, uint64_t now_us)
{
	struct peer *p, *tmp;

	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (p->listed == m->list_round)
			continue;
		if (live_session(p) != 0)
			mesh_member_offline(m, p->key, now_us);
		else
			remove_peer(m, p, false, now_us);
	}
}

void mesh_member_offline(struct mesh *m, const uint8_t key[static SIG_KEY_SIZE], uint64_t now_us)
{
	struct peer *p = mesh_find(m, key);

	(void)now_us; /* a claim of the server ends nothing but our own open offer */
	if (p == NULL)
		return;
	p->connected = false;
	p->offer_at_us = CLOCK_NEVER;
	peer_drop_open_offer(p);
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
		/* An old leave, replayed after the member came back, proves nothing. */
		proven = r == PROOF_OK && leave->unix_s >= p->admission.joined_unix_s &&
		         (live_session(p) == 0 || live_session(p) == leave->session);
	}
	if (!proven) {
		mesh_member_offline(m, key, now_us);
		if (live_session(p) != 0)
			return mesh_refuse(m, key, "unproven leave of a live peer");
		/* The server may not free an address that was proven: the member stays known, offline. */
		if (p->proven_epoch != m->c.doc->epoch)
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
	if (address_taken(m, p->key, &p->ip4))
		return mesh_refuse(m, p->key, "address is held by another member");
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
	if (!peer_may_offer(p, msg->nonce, now_us))
		return mesh_refuse(m, p->key, "offer repeated, or too many");
	msg_sdp_to_proof(msg, &offer);
	r = proof_offer_verify(&offer);
	if (r < 0)
		return err_up(r);
	if (r != PROOF_OK)
		return mesh_refuse(m, p->key, "offer with a bad signature");
	p->proven_epoch = m->c.doc->epoch;
	peer_note_nonce(p, msg->nonce);
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
	p->proven_epoch = m->c.doc->epoch;
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

	/* As the server would forward it: without a message_id, which only requests have. */
	if (msg_parse(&msg, (const char *)text, len, MSG_FROM_SERVER, NULL) != MSG_OK) {
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

/* Requests name us by our username fragment, responses by the prefix of their transaction. */
static struct link *stun_link(struct mesh *m, const struct dataplane_event *e)
{
	struct link *l = NULL;
	const char *ufrag;
	size_t len;

	if (stun_peek_class(e->data) == STUN_CLASS_REQUEST) {
		if (stun_peek_username(e->data, e->len, &ufrag, &len))
			HASH_FIND(hh_ufrag, m->links_ufrag, ufrag, (unsigned)len, l);
	} else {
		uint32_t prefix = stun_peek_prefix(e->data);

		HASH_FIND(hh_prefix, m->links_prefix, &prefix, sizeof(prefix), l);
	}
	if (l != NULL)
		mesh_changed(l->peer);
	return l;
}

static void stun_in(struct mesh *m, const struct dataplane_event *e, uint64_t now_us)
{
	/* The kernel tells the address; all sockets of a family have one port. */
	struct netaddr local = local_with_port(m, &e->local);
	struct link *l = stun_link(m, e);

	if (l == NULL) {
		(void)gather_input(m->gather, &local, &e->remote, e->data, e->len,
		                   now_us); /* or nobody's */
		local_pump(m, now_us);
	} else if (l->state != LINK_DEAD && l->state != LINK_DRAINING) {
		(void)ice_input(l->ice, &local, &e->remote, e->data, e->len,
		                now_us); /* it counts refusals */
		link_pump(l, now_us);
	}
}

void mesh_dataplane_event(struct mesh *m, const struct dataplane_event *e, uint64_t now_us)
{
	struct link *l;

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
	case DATAPLANE_EVENT_ALERT:
	case DATAPLANE_EVENT_CTL_OPEN:
	case DATAPLANE_EVENT_CTL:
	case DATAPLANE_EVENT_IP_OPEN:
	case DATAPLANE_EVENT_LINK_DOWN:
		break;
	}
	HASH_FIND(hh, m->links, &e->link, sizeof(e->link), l);
	if (l != NULL) {
		mesh_changed(l->peer);
		link_dataplane_event(l, e, now_us);
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

	m->all_changed = true;
	HASH_ITER(hh, m->peers, p, tmp)
	{
		if (p->use != NULL && p->use->ctl_open)
			ctlchan_leave(p->use, leave);
	}
}

/* Asks the peers that were marked for their deadlines. */
static void settle(struct mesh *m)
{
	struct peer *p, *tmp;

	if (m->all_changed) {
		HASH_ITER(hh, m->peers, p, tmp)
		{
			mesh_changed(p);
		}
	}
	m->all_changed = false;
	while ((p = m->changed) != NULL) {
		m->changed = p->next_changed;
		p->is_changed = false;
		heap_set(&m->due, &p->due, peer_deadline_us(p));
	}
}

uint64_t mesh_deadline_us(struct mesh *m)
{
	uint64_t due = gather_deadline_us(m->gather);

	settle(m);
	due = GV_MIN(due, m->limbo_retry_us);
	return GV_MIN(due, heap_due(&m->due));
}

void mesh_timeout(struct mesh *m, uint64_t now_us)
{
	gather_timeout(m->gather, now_us);
	local_pump(m, now_us);
	if (now_us >= m->limbo_retry_us)
		limbo_retry(m, now_us);
	settle(m);
	/* Out of the heap until they are asked again: each at most once, also when a deadline does not move on. */
	while (heap_due(&m->due) <= now_us) {
		struct peer *p = GV_CONTAINER_OF(heap_top(&m->due), struct peer, due);

		heap_set(&m->due, &p->due, CLOCK_NEVER);
		mesh_changed(p);
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

/* The i-th peer; asking for one after the other costs one step each. */
static const struct peer *peer_at(struct mesh *m, size_t i)
{
	if (m->unsorted) {
		HASH_SORT(m->peers, by_address);
		m->unsorted = false;
		m->cursor = NULL;
	}
	if (m->cursor == NULL || i < m->cursor_i) {
		m->cursor = m->peers;
		m->cursor_i = 0;
	}
	while (m->cursor != NULL && m->cursor_i < i) {
		m->cursor = m->cursor->hh.next;
		m->cursor_i++;
	}
	return m->cursor;
}

void mesh_peer_status(struct mesh *m, size_t i, struct mesh_peer_status *out)
{
	const struct peer *p = peer_at(m, i);

	*out = (struct mesh_peer_status){0};
	if (p == NULL)
		return;
	memcpy(out->key, p->key, SIG_KEY_SIZE);
	out->admission = &p->admission;
	out->ip4 = p->ip4;
	out->ip6 = p->ip6;
	out->state = peer_state(p);
	out->connected = p->connected;
	out->session = p->session;
	out->online = p->connected || out->state == MESH_PEER_CONNECTED;
	out->stats = p->stats;
	if (out->state == MESH_PEER_CONNECTED) {
		out->path_kind = p->use->remote_type;
		out->local = p->use->local;
		out->remote = p->use->remote;
		out->rtt_us = p->use->rtt_us;
	}
}

uint64_t mesh_refused(const struct mesh *m)
{
	return m->refused;
}
