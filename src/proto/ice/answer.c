/* SPDX-License-Identifier: MIT */

#include "proto/ice/agent_impl.h"

#include <stdio.h>
#include <string.h>

static struct ice_slot *find_slot(struct ice_slot *slots, const struct netaddr *addr)
{
	for (unsigned i = 0; i < ICE_MAX_CANDIDATES; i++) {
		if (slots[i].used && netaddr_equal(&slots[i].c.addr, addr))
			return &slots[i];
	}
	return NULL;
}

/* The candidate that packets to this base belong to: the host candidate, else any with that base. */
static struct ice_slot *find_local(struct ice_agent *a, const struct netaddr *base)
{
	struct ice_slot *s = find_slot(a->locals, base);

	for (unsigned i = 0; s == NULL && i < ICE_MAX_CANDIDATES; i++) {
		if (a->locals[i].used && netaddr_equal(&a->locals[i].c.base, base))
			s = &a->locals[i];
	}
	return s;
}

/* ---- answers ---- */

/* Room for one answer, or NULL when the owner does not fetch them: the peer asks again. */
static struct ice_response *new_response(struct ice_agent *a, const struct netaddr *local,
                                         const struct netaddr *remote)
{
	if (a->response_count == ICE_MAX_RESPONSES) {
		a->dropped++;
		return NULL;
	}
	unsigned i = (a->response_first + a->response_count) % ICE_MAX_RESPONSES;
	struct ice_response *r = &a->responses[i];
	r->local = *local;
	r->remote = *remote;
	r->len = 0;
	return r;
}

static void finish_response(struct ice_agent *a, struct ice_response *r, struct stun_writer *w,
                            const struct ice_creds *c)
{
	stun_put_integrity(w, c->local_pwd, ICE_LOCAL_PWD_LEN);
	stun_put_fingerprint(w);
	r->len = stun_end(w);
	if (r->len > 0)
		a->response_count++;
}

static void respond_success(struct ice_agent *a, const struct netaddr *local,
                            const struct netaddr *remote, const struct stun_msg *m,
                            const struct ice_creds *c)
{
	struct ice_response *r = new_response(a, local, remote);
	struct stun_writer w;

	if (r == NULL)
		return;
	stun_begin(&w, r->data, sizeof(r->data), STUN_CLASS_SUCCESS, m->method, m->id);
	stun_put_xor_mapped(&w, remote);
	finish_response(a, r, &w, c);
}

static void respond_error(struct ice_agent *a, const struct netaddr *local,
                          const struct netaddr *remote, const struct stun_msg *m,
                          const struct ice_creds *c, enum stun_error_code code)
{
	struct ice_response *r = new_response(a, local, remote);
	struct stun_writer w;

	if (r == NULL)
		return;
	stun_begin(&w, r->data, sizeof(r->data), STUN_CLASS_ERROR, m->method, m->id);
	stun_put_error(&w, code);
	if (code == STUN_ERROR_UNKNOWN_ATTRIBUTE)
		stun_put_unknown(&w, m->unknown, m->unknown_count);
	finish_response(a, r, &w, c);
}

int ice_answer_output(struct ice_agent *a, struct ice_packet *out)
{
	if (a->response_count == 0)
		return 0;
	const struct ice_response *r = &a->responses[a->response_first];
	out->local = r->local;
	out->remote = r->remote;
	out->len = r->len;
	memcpy(out->data, r->data, r->len);
	a->response_first = (a->response_first + 1) % ICE_MAX_RESPONSES;
	a->response_count--;
	return 1;
}

/* ---- requests (RFC 8445 7.3) ---- */

/* The generation whose local fragment stands before the colon, or NULL. */
static const struct ice_creds *find_creds(const struct ice_agent *a, const struct stun_msg *m)
{
	const uint8_t *colon =
		m->username == NULL ? NULL : memchr(m->username, ':', m->username_len);

	if (colon == NULL || colon - m->username != ICE_LOCAL_UFRAG_LEN)
		return NULL;
	if (a->cur.set && memcmp(m->username, a->cur.local_ufrag, ICE_LOCAL_UFRAG_LEN) == 0)
		return &a->cur;
	if (a->prev.set && memcmp(m->username, a->prev.local_ufrag, ICE_LOCAL_UFRAG_LEN) == 0)
		return &a->prev;
	return NULL;
}

/*
 * Both sides believe they have one role (RFC 8445 7.3.1.1): the larger tie-breaker controls. Returns true when
 * the peer has to give way and gets a 487; otherwise we did.
 */
static bool peer_gives_way(struct ice_agent *a, const struct stun_msg *m)
{
	bool controlling = a->role == ICE_ROLE_CONTROLLING;

	if (controlling ? !m->has_controlling : !m->has_controlled)
		return false;
	if (controlling == (a->tie_breaker >= m->tie_breaker))
		return true;
	ice_set_role(a, controlling ? ICE_ROLE_CONTROLLED : ICE_ROLE_CONTROLLING);
	return false;
}

/* An address that the peer named itself, or from which it answered. */
static bool is_of_peer(struct ice_agent *a, const struct netaddr *remote)
{
	const struct ice_slot *s = find_slot(a->remotes, remote);

	if (s != NULL && s->c.type != ICE_CAND_PRFLX)
		return true;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p->state == ICE_PAIR_SUCCEEDED && netaddr_equal(&p->addr, remote))
			return true;
	}
	return false;
}

enum origin {
	ORIGIN_FIRST,  /* a transaction that did not come before, or comes again from there */
	ORIGIN_COPY,   /* came from another address as well */
	ORIGIN_REPLAY, /* from too many */
};

/*
 * A peer sends each transaction from one address, so the same one from another is a replay: a stranger who listens could
 * have our requests sent to a third address. But his copy may have come first; so the peer's own addresses count
 * always, and while no path is well a few of those that only checks name, with fewer requests of ours.
 */
static enum origin find_origin(struct ice_agent *a, const struct stun_msg *m,
                               const struct netaddr *remote)
{
	uint32_t source = netaddr_hash(remote, 0) | 1;
	unsigned sources = 0;

	for (unsigned i = 0; i < ICE_MAX_SEEN; i++) {
		const struct ice_seen *s = &a->seen[i];

		if (s->source == 0 || memcmp(s->id, m->id, STUN_ID_SIZE) != 0)
			continue;
		if (s->source == source)
			return s->is_copy ? ORIGIN_COPY : ORIGIN_FIRST;
		sources++;
	}
	bool is_copy = sources > 0 && !is_of_peer(a, remote);
	if (is_copy && (ice_live_is_well(a) || sources >= ICE_MAX_SOURCES))
		return ORIGIN_REPLAY;
	struct ice_seen *s = &a->seen[a->seen_next];
	a->seen_next = (a->seen_next + 1) % ICE_MAX_SEEN;
	memcpy(s->id, m->id, STUN_ID_SIZE);
	s->source = source;
	s->is_copy = is_copy;
	return is_copy ? ORIGIN_COPY : ORIGIN_FIRST;
}

/* RFC 8445 7.3.1.3: an address that no candidate of the peer named. */
static struct ice_slot *learn_remote(struct ice_agent *a, const struct netaddr *remote,
                                     const struct stun_msg *m, uint64_t now_us)
{
	struct ice_slot *s = find_slot(a->remotes, remote);

	if (s == NULL && m->has_priority) {
		s = ice_pair_take_remote(a);
		if (s == NULL)
			return NULL;
		*s = (struct ice_slot){.used = true};
		s->c = (struct ice_cand){.type = ICE_CAND_PRFLX,
		                         .addr = *remote,
		                         .base = *remote,
		                         .priority = m->priority};
		(void)snprintf(s->c.foundation, sizeof(s->c.foundation), "p%u",
		               netaddr_hash(remote, 0));
	}
	if (s != NULL)
		s->seen_us = now_us;
	return s;
}

/* What a check tells us about the path it came on. */
static void learn(struct ice_agent *a, const struct netaddr *local, const struct netaddr *remote,
                  const struct stun_msg *m, enum origin origin, uint64_t now_us)
{
	struct ice_pair *p = ice_pair_find(a, local, remote);

	if (p == NULL) {
		struct ice_slot *l = find_local(a, local);
		struct ice_slot *r = l != NULL ? learn_remote(a, remote, m, now_us) : NULL;

		if (r != NULL)
			p = ice_pair_add(a, (unsigned)(l - a->locals), (unsigned)(r - a->remotes));
		if (p == NULL) {
			a->dropped++;
			return;
		}
	}
	ice_live_heard(a, p, now_us);
	if (m->use_candidate)
		ice_live_nominated(a, p, now_us);
	ice_check_trigger(a, p, origin == ORIGIN_COPY, now_us);
}

static int handle_request(struct ice_agent *a, const struct netaddr *local,
                          const struct netaddr *remote, const struct stun_msg *m, uint64_t now_us)
{
	const struct ice_creds *c = find_creds(a, m);

	if (c == NULL || !stun_msg_verify(m, c->local_pwd, ICE_LOCAL_PWD_LEN))
		return ICE_IGNORED;
	enum origin origin = find_origin(a, m, remote);
	if (origin == ORIGIN_REPLAY)
		return ICE_IGNORED;
	if (m->unknown_count > 0) {
		respond_error(a, local, remote, m, c, STUN_ERROR_UNKNOWN_ATTRIBUTE);
		return ICE_OK;
	}
	if (c == &a->prev) {
		respond_success(a, local, remote, m, c);
		if (a->selected != NULL && a->selected->old &&
		    netaddr_equal(&a->selected->addr, remote))
			ice_live_heard(a, a->selected, now_us);
		return ICE_OK;
	}
	if (peer_gives_way(a, m)) {
		respond_error(a, local, remote, m, c, STUN_ERROR_ROLE_CONFLICT);
		return ICE_OK;
	}
	respond_success(a, local, remote, m, c);
	learn(a, local, remote, m, origin, now_us);
	return ICE_OK;
}

/* ---- responses (RFC 8445 7.2.5) ---- */

/* The probe or check that this answers: its pair, or NULL. *sent_us is when the request left. */
static struct ice_pair *find_transaction(struct ice_agent *a, const struct stun_msg *m,
                                         struct ice_probe **probe, uint64_t *sent_us)
{
	const uint8_t *id = m->id + 4; /* the prefix was compared */

	*probe = NULL;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p->state == ICE_PAIR_IN_PROGRESS && memcmp(p->id, id, ICE_ID_RANDOM) == 0) {
			*sent_us = p->sent_us;
			return p;
		}
	}
	for (unsigned i = 0; i < ICE_MAX_PROBES; i++) {
		struct ice_probe *t = &a->probes[i];

		if (t->sent_us != 0 && memcmp(t->id, id, ICE_ID_RANDOM) == 0) {
			*probe = t;
			*sent_us = t->sent_us;
			return ice_pair_at(a, t->pair);
		}
	}
	return NULL;
}

static void check_succeeded(struct ice_agent *a, struct ice_pair *p, const struct stun_msg *m,
                            uint64_t now_us)
{
	bool nominated = p->check_nominates && a->role == ICE_ROLE_CONTROLLING;

	p->state = ICE_PAIR_SUCCEEDED;
	if (netaddr_equal(&m->mapped, &p->base)) {
		p->local_type = ICE_CAND_HOST;
	} else {
		const struct ice_slot *s = find_slot(a->locals, &m->mapped);

		/* RFC 8445 7.2.5.3.1: seen under an address that no server had told us. */
		p->local_type = s != NULL ? s->c.type : ICE_CAND_PRFLX;
	}
	ice_check_unfreeze(a, p->foundation);
	ice_live_valid(a, p, now_us);
	if (nominated) {
		p->nominate = false;
		ice_live_select(a, p, now_us);
	} else if (p->nominate) {
		ice_check_enqueue(a, p); /* the nomination came up while another check was out */
	}
}

/* An error in answer to a check, or to a probe. */
static void handle_error(struct ice_agent *a, struct ice_pair *p, struct ice_probe *probe,
                         const struct stun_msg *m)
{
	bool controlling = probe != NULL ? probe->controlling : p->check_controlling;

	if (probe != NULL)
		probe->sent_us = 0;
	if (m->error_code != STUN_ERROR_ROLE_CONFLICT) {
		if (probe == NULL)
			ice_check_fail(a, p);
		return;
	}
	/* RFC 8445 7.2.5.1: the peer keeps its role, so we take the other and ask again. */
	if (controlling == (a->role == ICE_ROLE_CONTROLLING))
		ice_set_role(a, controlling ? ICE_ROLE_CONTROLLED : ICE_ROLE_CONTROLLING);
	if (probe == NULL)
		ice_check_enqueue(a, p);
}

static int handle_response(struct ice_agent *a, const struct netaddr *local,
                           const struct netaddr *remote, const struct stun_msg *m, uint64_t now_us)
{
	struct ice_probe *probe;
	uint64_t sent_us;
	struct ice_pair *p = find_transaction(a, m, &probe, &sent_us);

	/*
	 * An answer from elsewhere than asked is dropped; RFC 8445 7.2.5.2.1 lets the pair fail, but then a
	 * stranger who repeats an answer from his own address could fail it.
	 */
	if (p == NULL || !netaddr_equal(&p->base, local) || !netaddr_equal(&p->addr, remote))
		return ICE_IGNORED;
	const struct ice_creds *c = p->old ? &a->prev : &a->cur;
	if (!stun_msg_verify(m, c->remote_pwd, strlen(c->remote_pwd)))
		return ICE_IGNORED;
	if (m->class == STUN_CLASS_ERROR) {
		handle_error(a, p, probe, m);
		return ICE_OK;
	}
	if (m->mapped.family == NETADDR_NONE || m->unknown_count > 0)
		return ICE_IGNORED;
	ice_live_answered(a, p, sent_us, now_us);
	if (probe != NULL)
		probe->sent_us = 0;
	else
		check_succeeded(a, p, m, now_us);
	return ICE_OK;
}

int ice_answer_input(struct ice_agent *a, const struct netaddr *local, const struct netaddr *remote,
                     const struct stun_msg *m, uint64_t now_us)
{
	if (m->method != STUN_METHOD_BINDING)
		return ICE_IGNORED;
	switch (m->class) {
	case STUN_CLASS_REQUEST:
		return handle_request(a, local, remote, m, now_us);
	case STUN_CLASS_SUCCESS:
	case STUN_CLASS_ERROR:
		if (stun_peek_prefix(m->data) != a->prefix)
			return ICE_IGNORED;
		return handle_response(a, local, remote, m, now_us);
	case STUN_CLASS_INDICATION:
		return ICE_IGNORED; /* a keepalive (RFC 8445 11): not authenticated, so it proves nothing */
	}
	return ICE_IGNORED;
}
