/* SPDX-License-Identifier: MIT */

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypto/aead.h"
#include "crypto/record.h"
#include "engine/client/mesh_impl.h"
#include "proto/sdp/sdp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("link");

/* Largest handshake datagram we send: it passes every path that IPv6 allows. */
#define LINK_DTLS_MTU 1200
/* How often ICE is told what the packet thread heard and sent. */
#define LINK_WATCH_US 500000u
/* A validated pair may be used this long before consent is known (RFC 7675 5.1). */
#define LINK_CONSENT_US (30u * 1000000u)
/* A new association replaces one of this age (design: 23 h), or of 2^31 records. */
#define LINK_MAX_AGE_US (23u * 3600u * UINT64_C(1000000))

#define ALERT_FATAL        2
#define ALERT_CLOSE_NOTIFY 0

/* Out of those tables that it is in. */
static void strike(struct mesh *m, struct link *l)
{
	if (l->hh.tbl != NULL)
		HASH_DELETE(hh, m->links, l);
	if (l->hh_ufrag.tbl != NULL)
		HASH_DELETE(hh_ufrag, m->links_ufrag, l);
	if (l->hh_prefix.tbl != NULL)
		HASH_DELETE(hh_prefix, m->links_prefix, l);
}

/* Into the tables by handle, ufrag and prefix. Returns 0, -ENOMEM. */
static int enter(struct mesh *m, struct link *l)
{
	HASH_ADD(hh, m->links, handle, sizeof(l->handle), l);
	HASH_ADD_KEYPTR(hh_ufrag, m->links_ufrag, l->ufrag, (unsigned)strlen(l->ufrag), l);
	HASH_ADD(hh_prefix, m->links_prefix, prefix, sizeof(l->prefix), l);
	if (l->hh.tbl != NULL && l->hh_ufrag.tbl != NULL && l->hh_prefix.tbl != NULL)
		return 0;
	strike(m, l);
	return err_here(-ENOMEM);
}

int link_new(struct link **out, struct peer *p, bool offerer, uint64_t now_us)
{
	struct mesh *m = p->mesh;
	gv_cleanup(mem_freep) struct link *l = mem_new(struct link);
	gv_cleanup(mem_freep) struct dataplane_link_shared *shared =
		mem_new(struct dataplane_link_shared);
	gv_cleanup(ice_freep) struct ice_agent *ice = NULL;
	struct ice_config ic = {
		.role = offerer ? ICE_ROLE_CONTROLLING : ICE_ROLE_CONTROLLED,
		.mode = ICE_MODE_GOVPN,
		.rng = rng_os(),
	};

	if (l == NULL || shared == NULL)
		return err_here(-ENOMEM);
	l->peer = p;
	l->handle = mesh_new_handle(m);
	l->prefix = mesh_new_prefix(m);
	l->state = offerer ? LINK_OFFERED : LINK_CHECKING;
	l->offerer = offerer;
	l->created_us = now_us;
	l->deadline_us = now_us + LINK_SETUP_US;
	ic.transaction_prefix = l->prefix;
	int r = ice_new(&ice, &ic);
	if (r < 0)
		return err_up(r);
	for (size_t i = 0; i < m->n_cands; i++)
		(void)ice_add_local(ice, &m->cands[i], now_us); /* both tables have room for ours */
	if (m->cands_done)
		ice_end_local(ice, now_us);
	(void)snprintf(l->ufrag, sizeof(l->ufrag), "%s", ice_local_ufrag(ice)); /* fits */
	r = enter(m, l);
	if (r < 0)
		return err_up(r);
	r = dataplane_link_add(m->c.dataplane, p->handle, l->handle, l->ufrag, l->prefix, shared);
	if (r < 0) {
		strike(m, l);
		return err_up(r);
	}
	ctl_parts_init(&l->parts);
	l->shared = GV_STEAL(shared);
	l->ice = GV_STEAL(ice);
	*out = GV_STEAL(l);
	return 0;
}

void link_free(struct link *l, bool polite)
{
	if (l == NULL)
		return;
	struct mesh *m = l->peer->mesh;
	strike(m, l);
	if (!polite)
		atomic_store_explicit(&l->shared->send_until_us, 0, memory_order_relaxed);
	mesh_delete_link(m, l->handle, polite, l->shared);
	ice_free(l->ice);
	dtls_free(l->dtls);
	ctl_parts_deinit(&l->parts);
	buf_deinit(&l->doc_out);
	mem_free(l->offer_sdp);
	mem_free(l->answer_sdp);
	mem_free(l);
}

void link_fail(struct link *l, const char *why, uint64_t now_us)
{
	if (l->state == LINK_DEAD)
		return;
	log_info("link.end", LOG_STR("peer", l->peer->admission.label), LOG_STR("why", why),
	         LOG_U64("age_ms", (now_us - l->created_us) / 1000));
	l->state = LINK_DEAD;
	l->deadline_us = 0;
}

/* All links at the same moments: an idle daemon wakes up for all of them together. */
static uint64_t next_watch_us(uint64_t now_us)
{
	return now_us - now_us % LINK_WATCH_US + LINK_WATCH_US;
}

/* ---- descriptions ---- */

int link_local_sdp(struct link *l, char **out)
{
	struct mesh *m = l->peer->mesh;
	gv_cleanup(mem_freep) struct sdp *s = mem_new(struct sdp);
	gv_cleanup(mem_freep) char *text = mem_alloc(1, SDP_FORMAT_SIZE);

	if (s == NULL || text == NULL)
		return err_here(-ENOMEM);
	/* Both fields hold ICE_UFRAG_MAX and ICE_PWD_MAX characters and the NUL. */
	memcpy(s->ice_ufrag, ice_local_ufrag(l->ice), strlen(ice_local_ufrag(l->ice)) + 1);
	memcpy(s->ice_pwd, ice_local_pwd(l->ice), strlen(ice_local_pwd(l->ice)) + 1);
	s->trickle = true;
	s->has_fingerprint = true;
	cert_fingerprint(m->c.cert, s->fingerprint);
	s->setup = l->offerer ? SDP_SETUP_ACTPASS : SDP_SETUP_ACTIVE;
	s->mid[0] = '0'; /* the only media section */
	s->sctp_port = 5000;
	s->max_message_size = 262144;
	s->session_id = rng_u64(&m->rng) >> 2; /* RFC 8829 5.2.1: 62 random bits */
	for (size_t i = 0; i < m->n_cands && i < SDP_MAX_CANDIDATES; i++)
		s->candidates[s->candidate_count++] = m->cands[i];
	s->end_of_candidates = m->cands_done;
	size_t n = sdp_format(s, text, SDP_FORMAT_SIZE);
	if (n == 0)
		return err_here(-ENOBUFS);
	*out = mem_dup(text, n + 1);
	return *out != NULL ? 0 : err_here(-ENOMEM);
}

/* A peer's candidate inside the tunnel would lead the tunnel through itself. */
static void add_remote(struct link *l, const struct ice_cand *c, uint64_t now_us)
{
	const struct mesh *m = l->peer->mesh;
	struct netprefix prefix6 = netprefix_of(&m->c.ip6, 64);

	if (netprefix_contains(&m->c.doc->subnet, &c->addr) ||
	    netprefix_contains(&prefix6, &c->addr))
		return;
	(void)ice_add_remote(l->ice, c,
	                     now_us); /* known already, or too many: the first ones count */
}

static int begin_dtls(struct link *l, const struct sdp *s, uint64_t now_us)
{
	struct dtls_config c = {
		.role = l->offerer ? RECORD_ROLE_SERVER : RECORD_ROLE_CLIENT,
		.peer = DTLS_PEER_GOVPN,
		.cert = l->peer->mesh->c.cert,
		.mtu = LINK_DTLS_MTU,
	};

	memcpy(c.peer_fingerprint, s->fingerprint, CERT_FINGERPRINT_SIZE);
	return dtls_new(&l->dtls, &c, now_us);
}

int link_remote_sdp(struct link *l, const char *sdp, uint64_t now_us)
{
	struct mesh *m = l->peer->mesh;
	gv_cleanup(mem_freep) struct sdp *s = mem_new(struct sdp);

	if (s == NULL)
		return err_here(-ENOMEM);
	/* We answer active, so an offer must leave us the choice and an answer must take it. */
	enum sdp_setup expected = l->offerer ? SDP_SETUP_ACTIVE : SDP_SETUP_ACTPASS;
	if (sdp_parse(sdp, strlen(sdp), s) != SDP_OK || !s->has_fingerprint ||
	    s->setup != expected) {
		link_fail(l, "unusable description", now_us);
		return mesh_refuse(m, l->peer->key, "unusable description");
	}
	int r = ice_set_remote(l->ice, s->ice_ufrag, s->ice_pwd, now_us);
	if (r != ICE_OK) {
		link_fail(l, "unusable ICE credentials", now_us);
		return r < 0 ? err_up(r) : mesh_refuse(m, l->peer->key, "unusable ICE credentials");
	}
	for (size_t i = 0; i < s->candidate_count; i++)
		add_remote(l, &s->candidates[i], now_us);
	if (s->end_of_candidates)
		ice_end_remote(l->ice, now_us);
	r = begin_dtls(l, s, now_us);
	if (r < 0) {
		link_fail(l, "no DTLS", now_us);
		return err_up(r);
	}
	l->state = LINK_CHECKING;
	link_pump(l, now_us);
	return MESH_OK;
}

static void signal_candidate(struct link *l, const char *candidate)
{
	struct mesh *m = l->peer->mesh;
	struct msg_ice_candidate c = {
		.mid = "0",
		.ufrag = ice_local_ufrag(l->ice),
		.candidate = candidate,
		.end_of_candidates = candidate == NULL,
	};

	memcpy(c.network_id, m->c.doc->network_id, NETID_SIZE);
	memcpy(c.target_id, l->peer->key, SIG_KEY_SIZE);
	memcpy(c.nonce, l->offer.nonce, PROOF_NONCE_SIZE);
	mesh_signal_candidate(l->peer, &c);
}

void link_add_local(struct link *l, const struct ice_cand *c, uint64_t now_us)
{
	char text[ICE_CAND_TEXT_SIZE];

	if (l->state == LINK_DEAD || ice_add_local(l->ice, c, now_us) != ICE_OK)
		return;
	ice_cand_format(c, text);
	signal_candidate(l, text);
}

void link_end_local(struct link *l, uint64_t now_us)
{
	if (l->state == LINK_DEAD)
		return;
	ice_end_local(l->ice, now_us);
	signal_candidate(l, NULL);
	link_pump(l, now_us);
}

int link_remote_candidate(struct link *l, const struct msg_ice_candidate *c, uint64_t now_us)
{
	struct ice_cand cand;

	if (l->state == LINK_DEAD)
		return MESH_OK;
	if (c->end_of_candidates) {
		ice_end_remote(l->ice, now_us);
	} else if (c->candidate != NULL) {
		if (ice_cand_parse(c->candidate, strlen(c->candidate), &cand) != ICE_CAND_OK)
			return mesh_refuse(l->peer->mesh, l->peer->key, "unusable candidate");
		add_remote(l, &cand, now_us);
	}
	link_pump(l, now_us);
	return MESH_OK;
}

/* ---- ICE ---- */

static void set_path(struct link *l, const struct ice_event *e, uint64_t send_until_us,
                     uint64_t now_us)
{
	struct dataplane *d = l->peer->mesh->c.dataplane;

	l->local = e->local;
	l->remote = e->remote;
	l->remote_type = e->remote_type;
	if (e->rtt_us != 0)
		l->rtt_us = e->rtt_us;
	l->has_path = true;
	l->quiet_us = 0;
	atomic_store_explicit(&l->shared->send_until_us, send_until_us, memory_order_relaxed);
	int r = dataplane_link_addr(d, l->handle, &e->remote);
	if (r == 0)
		r = dataplane_link_path(d, l->handle, &e->local, &e->remote);
	if (r < 0)
		link_fail(l, "command lane full", now_us);
}

static void ice_event_act(struct link *l, const struct ice_event *e, uint64_t now_us)
{
	switch (e->type) {
	case ICE_EVENT_PAIR_VALID:
		/* The first proven pair carries the handshake; nomination comes a moment later. */
		if (!l->has_path)
			set_path(l, e, now_us + LINK_CONSENT_US, now_us);
		else if (dataplane_link_addr(l->peer->mesh->c.dataplane, l->handle, &e->remote) < 0)
			log_debug("validated address not told: command lane full");
		break;
	case ICE_EVENT_SELECTED:
		set_path(l, e, e->send_until_us, now_us);
		if (l->state == LINK_UP)
			log_info("peer.path", LOG_STR("peer", l->peer->admission.label),
			         LOG_ADDR("remote", &e->remote));
		break;
	case ICE_EVENT_CONSENT:
		if (e->rtt_us != 0)
			l->rtt_us = e->rtt_us;
		l->quiet_us = 0;
		atomic_store_explicit(&l->shared->send_until_us, e->send_until_us,
		                      memory_order_relaxed);
		break;
	case ICE_EVENT_QUIET:
		if (l->quiet_us == 0)
			l->quiet_us = now_us;
		local_refresh(l->peer->mesh, now_us);
		break;
	case ICE_EVENT_DISCONNECTED:
		atomic_store_explicit(&l->shared->send_until_us, 0, memory_order_relaxed);
		link_fail(l, "consent expired", now_us);
		break;
	case ICE_EVENT_FAILED:
		link_fail(l, "no pair works", now_us);
		break;
	}
}

static void pump_ice(struct link *l, uint64_t now_us)
{
	struct mesh *m = l->peer->mesh;
	struct ice_packet pkt;
	struct ice_event e;

	while (ice_event(l->ice, &e) == 1)
		ice_event_act(l, &e, now_us);
	while (ice_output(l->ice, &pkt, now_us) == 1)
		if (dataplane_send_raw(m->c.dataplane, m->c.net, &pkt.local, &pkt.remote, pkt.data,
		                       pkt.len) < 0)
			log_debug("check not sent: lane full"); /* sent again, as after any loss */
}

/* ---- DTLS ---- */

static void give_keys(struct link *l, struct record_keys *keys, uint64_t now_us)
{
	struct dataplane_keys_config c = {
		.role = l->offerer ? DATAPLANE_DTLS_SERVER : DATAPLANE_DTLS_CLIENT,
		.sctp_local_port = 5000,
		.sctp_remote_port = 5000,
		.max_message_bytes = 262144,
		.zero_checksum = true, /* a signed description: one of ours, which knows RFC 9653 */
	};

	int r = record_new(&c.record, keys, AEAD_BACKEND_AUTO);
	mem_wipe(keys, sizeof(*keys));
	if (r == 0)
		r = dataplane_link_keys(l->peer->mesh->c.dataplane, l->handle, &c);
	if (r < 0) {
		link_fail(l, "keys not installed", now_us);
		return;
	}
	l->keys_given = true;
	if (l->state == LINK_CHECKING)
		l->state = LINK_SECURED;
}

static void try_up(struct link *l, uint64_t now_us)
{
	if (l->state != LINK_SECURED || !l->ip_open || !l->ip_allowed)
		return;
	l->state = LINK_UP;
	l->deadline_us = CLOCK_NEVER;
	l->watch_us = next_watch_us(now_us);
	ctlchan_catch_up(l);
	peer_link_up(l->peer, l, now_us);
}

static void dtls_connected(struct link *l, uint64_t now_us)
{
	l->dtls_done = true;
	if (dataplane_link_start(l->peer->mesh->c.dataplane, l->handle) < 0) {
		link_fail(l, "command lane full", now_us);
		return;
	}
	/* The offerer verified the signed answer before the handshake began: that and this certificate prove the peer. */
	if (!l->offerer)
		return;
	if (dataplane_link_allow_ip(l->peer->mesh->c.dataplane, l->handle) < 0) {
		link_fail(l, "command lane full", now_us);
		return;
	}
	l->ip_allowed = true;
	try_up(l, now_us);
}

static void dtls_events(struct link *l, uint64_t now_us)
{
	struct dtls_event e;

	while (l->state != LINK_DEAD && dtls_event(l->dtls, &e) == 1) {
		switch (e.type) {
		case DTLS_EVENT_KEYS:
			give_keys(l, &e.keys, now_us);
			break;
		case DTLS_EVENT_CONNECTED:
			dtls_connected(l, now_us);
			break;
		case DTLS_EVENT_FAILED:
			link_fail(l,
			          e.failure == DTLS_FAILURE_FINGERPRINT ? "wrong DTLS certificate"
			                                                : "DTLS handshake failed",
			          now_us);
			break;
		}
	}
}

static void pump_dtls(struct link *l, uint64_t now_us)
{
	struct mesh *m = l->peer->mesh;
	struct dtls_out o;

	if (l->dtls == NULL || !l->has_path)
		return;
	dtls_events(l, now_us);
	while (l->state != LINK_DEAD && dtls_output(l->dtls, &o, now_us) == 1) {
		int r = o.kind == DTLS_OUT_RAW
		                ? dataplane_send_raw(m->c.dataplane, m->c.net, &l->local,
		                                     &l->remote, o.data, o.len)
		                : dataplane_send_sealed(m->c.dataplane, l->handle, o.type, o.data,
		                                        o.len);
		if (r < 0)
			log_debug(
				"handshake message not sent: lane full"); /* the flight is repeated */
		dtls_events(l, now_us);
	}
}

void link_pump(struct link *l, uint64_t now_us)
{
	if (l->state == LINK_DEAD)
		return;
	pump_ice(l, now_us);
	pump_dtls(l, now_us);
}

/* ---- time ---- */

/* Tells ICE what the packet thread heard, so that a busy path needs no extra checks. */
static void watch(struct link *l, uint64_t now_us)
{
	uint64_t heard = atomic_load_explicit(&l->shared->heard_us, memory_order_relaxed);
	uint64_t sent = atomic_load_explicit(&l->shared->sent_us, memory_order_relaxed);

	l->watch_us = next_watch_us(now_us);
	ctlchan_catch_up(l);
	if (heard > l->heard_told_us) {
		l->heard_told_us = heard;
		l->quiet_us = 0;
		ice_heard(l->ice, heard);
	}
	if (sent > l->sent_told_us) {
		l->sent_told_us = sent;
		ice_sent(l->ice, sent);
	}
	if (l->peer->next != NULL || l->peer->offer_at_us != CLOCK_NEVER)
		return; /* a replacement is under way or planned */
	if (l->quiet_us != 0 && now_us - l->quiet_us >= PEER_QUIET_US) {
		l->quiet_us = now_us;
		peer_plan_offer(l->peer, now_us);
	}
	if (now_us - l->created_us >= LINK_MAX_AGE_US ||
	    atomic_load_explicit(&l->shared->records_sent, memory_order_relaxed) >=
	            RECORD_REKEY_AFTER)
		peer_plan_offer(l->peer, now_us + rng_below(&l->peer->mesh->rng, 5000000u));
}

void link_timeout(struct link *l, uint64_t now_us)
{
	if (l->state == LINK_DEAD)
		return;
	if (l->state == LINK_DRAINING) {
		link_pump(l, now_us);
		return;
	}
	if (now_us >= l->deadline_us) {
		link_fail(l, l->state == LINK_OFFERED ? "no answer" : "not up in time", now_us);
		return;
	}
	if (l->state == LINK_UP && now_us >= l->watch_us)
		watch(l, now_us);
	if (now_us >= ice_deadline_us(l->ice))
		ice_timeout(l->ice, now_us);
	if (l->dtls != NULL && l->has_path && now_us >= dtls_deadline_us(l->dtls) &&
	    dtls_timeout(l->dtls, now_us) < 0)
		link_fail(l, "DTLS timer", now_us);
	if (now_us >= ctlchan_deadline_us(l)) {
		l->doc_at_us = now_us;
		ctlchan_timeout(l, now_us);
	}
	link_pump(l, now_us);
}

uint64_t link_deadline_us(const struct link *l)
{
	uint64_t due = l->deadline_us;

	if (l->state == LINK_DEAD || l->state == LINK_DRAINING)
		return due;
	uint64_t d = ice_deadline_us(l->ice);
	due = GV_MIN(due, d);
	if (l->dtls != NULL && l->has_path) {
		d = dtls_deadline_us(l->dtls);
		due = GV_MIN(due, d);
	}
	d = ctlchan_deadline_us(l);
	due = GV_MIN(due, d);
	if (l->state == LINK_UP)
		due = GV_MIN(due, l->watch_us);
	return due;
}

/* ---- data plane ---- */

static void alert_in(struct link *l, const struct dataplane_event *e, uint64_t now_us)
{
	if (e->len == 2 && (e->data[0] == ALERT_FATAL || e->data[1] == ALERT_CLOSE_NOTIFY))
		link_fail(l, "closed by the peer", now_us);
}

void link_dataplane_event(struct link *l, const struct dataplane_event *e, uint64_t now_us)
{
	if (l->state == LINK_DEAD)
		return;
	log_debug("link %u: data plane event %d, %zu bytes", l->handle, (int)e->type, e->len);
	switch (e->type) {
	case DATAPLANE_EVENT_HANDSHAKE:
		if (l->dtls != NULL && dtls_input(l->dtls, e->data, e->len, now_us) < 0)
			link_fail(l, "DTLS input", now_us);
		link_pump(l, now_us);
		break;
	case DATAPLANE_EVENT_ALERT:
		alert_in(l, e, now_us);
		break;
	case DATAPLANE_EVENT_CTL_OPEN:
		/* A client that skips the end of its handshake did not prove its certificate. */
		if (!l->dtls_done)
			link_fail(l, "data before the handshake ended", now_us);
		else
			ctlchan_open(l, now_us);
		break;
	case DATAPLANE_EVENT_CTL:
		if (l->ctl_open)
			ctlchan_input(l, e->data, e->len, now_us); /* l may be gone after it */
		break;
	case DATAPLANE_EVENT_IP_OPEN:
		l->ip_open = true;
		try_up(l, now_us);
		break;
	case DATAPLANE_EVENT_LINK_DOWN:
		link_fail(l, "SCTP association ended", now_us);
		break;
	case DATAPLANE_EVENT_STUN:
	case DATAPLANE_EVENT_LINK_GONE:
	case DATAPLANE_EVENT_PEER_GONE:
	case DATAPLANE_EVENT_NET_GONE:
	case DATAPLANE_EVENT_TUN_LOST:
		break; /* the mesh's or the supervisor's */
	}
}
