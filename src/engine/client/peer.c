/* SPDX-License-Identifier: MIT */

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/client/mesh_impl.h"

#include <errno.h>
#include <string.h>

LOG_MODULE("peer");

/* Waiting times between attempts: 0.5 s doubling to 30 s, and up to a quarter on top. */
#define RETRY_MIN_US 500000u
#define RETRY_MAX_US 30000000u

struct peer *peer_new(struct mesh *m, const struct mesh_member *member)
{
	struct peer *p = mem_new(struct peer);

	if (p == NULL)
		return NULL;
	p->mesh = m;
	memcpy(p->key, member->admission.key, SIG_KEY_SIZE);
	p->admission = member->admission;
	p->ip4 = member->ip4;
	p->offer_at_us = CLOCK_NEVER;
	if (netid_addr6(m->c.doc->network_id, p->key, &p->ip6) < 0) {
		mem_free(p);
		return NULL;
	}
	HASH_ADD(hh, m->peers, key, SIG_KEY_SIZE, p);
	if (p->hh.tbl == NULL) {
		mem_free(p);
		return NULL;
	}
	m->unsorted = true;
	mesh_changed(p);
	return p;
}

static void changed(struct peer *p)
{
	struct mesh_event e = {.type = MESH_EVENT_PEER};

	memcpy(e.key, p->key, SIG_KEY_SIZE);
	mesh_emit(p->mesh, &e, NULL, 0);
}

/* Takes the peer out of the data plane; its links are gone. */
static void detach(struct peer *p)
{
	if (p->handle == 0)
		return;
	mesh_delete_peer(p->mesh, p->handle, p->stats);
	p->handle = 0;
	p->stats = NULL;
}

static void free_links(struct peer *p, bool polite)
{
	link_free(GV_STEAL(p->use), polite);
	link_free(GV_STEAL(p->next), polite);
	link_free(GV_STEAL(p->old), false);
}

void peer_free(struct peer *p, bool polite, uint64_t now_us)
{
	(void)now_us;
	free_links(p, polite);
	detach(p);
	mem_free(p);
}

int peer_attach(struct peer *p)
{
	struct mesh *m = p->mesh;
	struct dataplane_peer_config c = {.ip4 = p->ip4, .ip6 = p->ip6};

	if (p->handle != 0 && netaddr_ip_equal(&p->dp_ip4, &p->ip4))
		return 0;
	if (p->handle != 0) {
		/* It came back with another address: nothing of the old one may live on. */
		free_links(p, false);
		detach(p);
	}
	gv_cleanup(mem_freep) struct dataplane_stats *stats = mem_new(struct dataplane_stats);
	if (stats == NULL)
		return err_here(-ENOMEM);
	uint32_t handle = mesh_new_handle(m);
	int r = dataplane_peer_add(m->c.dataplane, m->c.net, handle, &c, stats);
	if (r < 0)
		return err_up(r);
	p->handle = handle;
	p->dp_ip4 = p->ip4;
	p->stats = GV_STEAL(stats);
	return 0;
}

struct link *peer_link_by_nonce(struct peer *p, const uint8_t nonce[static PROOF_NONCE_SIZE])
{
	struct link *links[] = {p->use, p->next};

	for (size_t i = 0; i < GV_ARRAY_SIZE(links); i++)
		if (links[i] != NULL && memcmp(links[i]->offer.nonce, nonce, PROOF_NONCE_SIZE) == 0)
			return links[i];
	return NULL;
}

enum mesh_peer_state peer_state(const struct peer *p)
{
	if (p->use != NULL && p->use->state == LINK_UP)
		return MESH_PEER_CONNECTED;
	if (p->next != NULL)
		return MESH_PEER_CONNECTING;
	if (!p->connected)
		return MESH_PEER_OFFLINE;
	return p->failed ? MESH_PEER_FAILED : MESH_PEER_CONNECTING;
}

void peer_drop_open_offer(struct peer *p)
{
	if (p->next != NULL && p->next->state == LINK_OFFERED)
		link_free(GV_STEAL(p->next), false);
}

bool peer_may_offer(struct peer *p, const uint8_t nonce[static PROOF_NONCE_SIZE], uint64_t now_us)
{
	for (unsigned i = 0; i < GV_MIN(p->n_nonces, (unsigned)PEER_NONCES); i++)
		if (memcmp(p->nonces[i], nonce, PROOF_NONCE_SIZE) == 0)
			return false;
	uint64_t from = GV_MAX(p->offers_us, now_us);
	if (from - now_us > (uint64_t)PEER_OFFERS_BURST * PEER_OFFER_US)
		return false;
	p->offers_us = from + PEER_OFFER_US;
	return true;
}

void peer_note_nonce(struct peer *p, const uint8_t nonce[static PROOF_NONCE_SIZE])
{
	memcpy(p->nonces[p->n_nonces++ % PEER_NONCES], nonce, PROOF_NONCE_SIZE);
}

void peer_plan_offer(struct peer *p, uint64_t at_us)
{
	p->offer_at_us = GV_MIN(p->offer_at_us, at_us);
}

/* An attempt failed: the next one waits longer. */
static void plan_retry(struct peer *p, uint64_t now_us)
{
	unsigned shift = GV_MIN(p->attempts, 6u);
	uint64_t wait = GV_MIN((uint64_t)RETRY_MIN_US << shift, (uint64_t)RETRY_MAX_US);

	p->attempts++;
	p->failed = true;
	wait += rng_below(&p->mesh->rng, (uint32_t)(wait / 4) + 1);
	p->offer_at_us = now_us + wait;
	changed(p);
}

/* Fills what both sides of a description say of us. */
static void fill_own(struct peer *p, struct proof_offer *o, const char *sdp)
{
	struct mesh *m = p->mesh;

	memcpy(o->network_id, m->c.doc->network_id, NETID_SIZE);
	memcpy(o->from, m->key, SIG_KEY_SIZE);
	memcpy(o->to, p->key, SIG_KEY_SIZE);
	o->ip4 = netaddr_u32(&m->c.ip4);
	o->session = m->c.session;
	o->sdp = sdp;
	rng_bytes(&m->rng, o->nonce, PROOF_NONCE_SIZE);
}

static int make_offer(struct peer *p, uint64_t now_us)
{
	struct msg_sdp msg = {0};

	int r = peer_attach(p);
	if (r < 0)
		return err_up(r);
	r = link_new(&p->next, p, true, now_us);
	if (r < 0)
		return err_up(r);
	struct link *l = p->next;
	r = link_local_sdp(l, &l->offer_sdp);
	if (r < 0)
		return err_up(r);
	fill_own(p, &l->offer, l->offer_sdp);
	r = proof_offer_sign(&l->offer, p->mesh->c.id);
	if (r < 0)
		return err_up(r);
	msg_sdp_from_proof(&msg, &l->offer);
	mesh_signal_sdp(p, MSG_SDP_OFFER, &msg);
	return 0;
}

void peer_offer(struct peer *p, uint64_t now_us)
{
	if (p->next != NULL)
		return; /* its end plans what follows */
	p->offer_at_us = CLOCK_NEVER;
	int r = make_offer(p, now_us);
	if (r < 0) {
		/* Tried again, as often as it takes. */
		if (r == -ENOBUFS)
			log_limited(LOG_LEVEL_WARN, 30, "peer.no_room",
			            LOG_STR("peer", p->admission.label));
		else
			(void)log_err(r, "peer.offer", LOG_STR("peer", p->admission.label));
		link_free(GV_STEAL(p->next), false);
		plan_retry(p, now_us);
		return;
	}
	changed(p);
}

static int make_answer(struct peer *p, const struct msg_sdp *msg, const struct proof_offer *offer,
                       uint64_t now_us)
{
	struct msg_sdp reply = {0};

	int r = peer_attach(p);
	if (r < 0)
		return err_up(r);
	r = link_new(&p->next, p, false, now_us);
	if (r < 0)
		return err_up(r);
	struct link *l = p->next;
	l->offer = *offer;
	l->offer_sdp = mem_strdup(msg->sdp);
	if (l->offer_sdp == NULL)
		return err_here(-ENOMEM);
	l->offer.sdp = l->offer_sdp;
	r = link_local_sdp(l, &l->answer_sdp);
	if (r < 0)
		return err_up(r);
	fill_own(p, &l->answer, l->answer_sdp);
	r = proof_answer_sign(&l->answer, &l->offer, p->mesh->c.id);
	if (r < 0)
		return err_up(r);
	r = link_remote_sdp(l, l->offer_sdp, now_us);
	if (r != MESH_OK)
		return r;
	msg_sdp_from_proof(&reply, &l->answer);
	memcpy(reply.offer_nonce, l->offer.nonce, PROOF_NONCE_SIZE);
	mesh_signal_sdp(p, MSG_SDP_ANSWER, &reply);
	return MESH_OK;
}

int peer_take_offer(struct peer *p, const struct msg_sdp *msg, const struct proof_offer *offer,
                    uint64_t now_us)
{
	if (p->next != NULL && p->next->offerer && p->next->state == LINK_OFFERED &&
	    memcmp(p->mesh->key, p->key, SIG_KEY_SIZE) < 0)
		return MESH_OK; /* glare: the offer of the smaller key stands, and that is ours */
	/* The newest offer counts: whoever made it gave up the one before. */
	link_free(GV_STEAL(p->next), false);
	p->offer_at_us = CLOCK_NEVER;
	int r = make_answer(p, msg, offer, now_us);
	if (r != MESH_OK) {
		link_free(GV_STEAL(p->next), false);
		plan_retry(p, now_us);
		return r;
	}
	p->session = offer->session;
	changed(p);
	return MESH_OK;
}

void peer_link_up(struct peer *p, struct link *l, uint64_t now_us)
{
	if (l != p->next)
		return;
	link_free(p->old, false);
	p->old = p->use;
	p->use = l;
	p->next = NULL;
	if (p->old != NULL) {
		p->old->state = LINK_DRAINING;
		p->old->deadline_us = now_us + LINK_DRAIN_US;
	}
	p->failed = false;
	p->offer_at_us = CLOCK_NEVER;
	log_info("peer.up", LOG_STR("peer", p->admission.label), LOG_ADDR("remote", &l->remote),
	         LOG_STR("kind", ice_cand_type_name(l->remote_type)),
	         LOG_U64("after_ms", (now_us - l->created_us) / 1000));
	changed(p);
}

/* Ends what is dead or drained. Returns true when the link in use ended. */
static bool reap(struct peer *p, uint64_t now_us)
{
	bool lost = false;

	if (p->old != NULL && (p->old->state == LINK_DEAD || now_us >= p->old->deadline_us))
		link_free(GV_STEAL(p->old), false);
	if (p->next != NULL && p->next->state == LINK_DEAD) {
		/* The other side may think that it is up: it is told. */
		bool polite = p->next->keys_given;

		link_free(GV_STEAL(p->next), polite);
		plan_retry(p, now_us);
	}
	if (p->use != NULL && p->use->state == LINK_DEAD) {
		log_info("peer.down", LOG_STR("peer", p->admission.label));
		if (now_us - p->use->created_us >= LINK_GOOD_US)
			p->attempts = 0;
		link_free(GV_STEAL(p->use), true);
		lost = true;
	}
	return lost;
}

void peer_timeout(struct peer *p, uint64_t now_us)
{
	/* Each is read when its turn comes: a link that comes up moves the others. */
	if (p->use != NULL)
		link_timeout(p->use, now_us);
	if (p->next != NULL)
		link_timeout(p->next, now_us);
	if (p->old != NULL)
		link_timeout(p->old, now_us);
	if (reap(p, now_us)) {
		plan_retry(p, now_us);
		p->failed = false;
	}
	/* Without the server an offer can only go through a path that still lives. */
	bool can_signal = (p->mesh->signaling && p->connected) ||
	                  (p->use != NULL && p->use->state == LINK_UP);
	if (p->next != NULL || now_us < p->offer_at_us)
		return;
	if (can_signal && !p->mesh->closing)
		peer_offer(p, now_us);
	else
		p->offer_at_us = CLOCK_NEVER; /* planned again when the member is back */
}

uint64_t peer_deadline_us(const struct peer *p)
{
	const struct link *links[] = {p->use, p->next, p->old};
	/* With an attempt under way the plan waits for its end. */
	uint64_t due = p->next == NULL ? p->offer_at_us : CLOCK_NEVER;

	for (size_t i = 0; i < GV_ARRAY_SIZE(links); i++) {
		if (links[i] != NULL) {
			uint64_t d = link_deadline_us(links[i]);

			due = GV_MIN(due, d);
		}
	}
	return due;
}
