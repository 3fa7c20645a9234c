/* SPDX-License-Identifier: MIT */

#include "base/bytes.h"
#include "proto/ice/agent_impl.h"

#include <string.h>

/*
 * Requests to an address that only an incoming check named, until it answers: while a path is well, and always when the
 * check is a copy of one from elsewhere. A replayed check can make us send one answer and this many requests to whoever
 * it claims to come from: below three bytes for one. A true peer repeats its check, and each time ours begins again.
 */
#define UNPROVEN_SENT_MAX 2

#define HASTEN_US (100 * ICE_MS) /* least pause between two repetitions for requests that come in */
#define URGENT_US (2 * ICE_S)    /* the peer was heard so lately that only loss can be in the way */

static void set_id(const struct ice_agent *a, const uint8_t *id, uint8_t out[static STUN_ID_SIZE])
{
	be32_store(out, a->prefix);
	memcpy(out + 4, id, ICE_ID_RANDOM);
}

void ice_check_write(struct ice_agent *a, const struct ice_pair *p, const uint8_t *id,
                     bool controlling, bool nominates, struct ice_packet *out)
{
	const struct ice_creds *c = p->old ? &a->prev : &a->cur;
	uint8_t full_id[STUN_ID_SIZE];
	char name[ICE_UFRAG_MAX + 1 + ICE_LOCAL_UFRAG_LEN];
	size_t remote_len = strlen(c->remote_ufrag), local_len = strlen(c->local_ufrag);
	struct stun_writer w;
	uint16_t preference = UINT16_MAX;

	memcpy(name, c->remote_ufrag, remote_len);
	name[remote_len] = ':';
	memcpy(name + remote_len + 1, c->local_ufrag, local_len);
	if (p->local != ICE_NO_SLOT)
		preference = (uint16_t)(a->locals[p->local].c.priority >> 8);

	set_id(a, id, full_id);
	stun_begin(&w, out->data, sizeof(out->data), STUN_CLASS_REQUEST, STUN_METHOD_BINDING,
	           full_id);
	stun_put_username(&w, name, remote_len + 1 + local_len);
	/* What a peer-reflexive candidate found by this check would have (RFC 8445 7.1.1). */
	stun_put_priority(&w, ice_cand_priority(ICE_CAND_PRFLX, preference));
	if (controlling)
		stun_put_controlling(&w, a->tie_breaker);
	else
		stun_put_controlled(&w, a->tie_breaker);
	if (nominates)
		stun_put_use_candidate(&w);
	stun_put_integrity(&w, c->remote_pwd, strlen(c->remote_pwd));
	stun_put_fingerprint(&w);
	out->local = p->base;
	out->remote = p->addr;
	out->len = stun_end(&w);
}

void ice_check_enqueue(struct ice_agent *a, struct ice_pair *p)
{
	p->state = ICE_PAIR_WAITING;
	if (p->trigger == 0)
		p->trigger = ++a->trigger_seq;
}

/*
 * Our request may have died at the peer's NAT before the peer opened it by the one we just got: repeat it now
 * instead of waiting for its timer.
 */
static void hasten(struct ice_agent *a, struct ice_pair *p, uint64_t now_us)
{
	uint64_t soon_us = p->sent_us + (p->hastened ? HASTEN_US : a->timing->ta_us);

	p->hastened = true;
	soon_us = GV_MAX(soon_us, now_us);
	if (soon_us >= p->due_us || p->sent_max == UINT8_MAX)
		return;
	/* One more than planned, so it does not use up the others. */
	p->due_us = soon_us;
	p->sent_max++;
	p->is_extra = true;
}

/* Nothing but requests says that the peer is at the remote address. */
static bool is_unproven(const struct ice_pair *p)
{
	return p->remote_type == ICE_CAND_PRFLX && p->answered_us == 0;
}

void ice_check_trigger(struct ice_agent *a, struct ice_pair *p, bool is_copy, uint64_t now_us)
{
	switch (p->state) {
	case ICE_PAIR_FREE:
	case ICE_PAIR_SUCCEEDED:
		return;
	case ICE_PAIR_IN_PROGRESS:
		hasten(a, p, now_us);
		return;
	case ICE_PAIR_FROZEN:
	case ICE_PAIR_WAITING:
	case ICE_PAIR_FAILED:
		if (is_unproven(p) && (is_copy || ice_live_is_well(a)))
			p->sent_max = UNPROVEN_SENT_MAX;
		else
			p->sent_max = a->timing->sent_max;
		ice_check_enqueue(a, p);
		return;
	}
}

void ice_check_unfreeze(struct ice_agent *a, uint64_t foundation)
{
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (!p->old && p->state == ICE_PAIR_FROZEN && p->foundation == foundation)
			p->state = ICE_PAIR_WAITING;
	}
}

void ice_check_fail(struct ice_agent *a, struct ice_pair *p)
{
	p->nominate = false;
	p->trigger = 0;
	if (p == a->selected) {
		/* Whether the selected pair is dead is decided by its probes (live.c). */
		p->state = ICE_PAIR_SUCCEEDED;
		return;
	}
	p->state = ICE_PAIR_FAILED;
	p->valid = false;
}

void ice_check_again(const struct ice_agent *a, struct ice_pair *p)
{
	p->nominate = false;
	p->valid = false;
	p->state = ICE_PAIR_WAITING;
	p->sent_max = a->timing->sent_max;
}

static bool has_run_out(const struct ice_pair *p, uint64_t now_us)
{
	return p->state == ICE_PAIR_IN_PROGRESS && p->sent >= p->sent_max && p->due_us <= now_us;
}

/* The peer's checks came through, so only loss can be in the way: the first path is tried for until the end. */
static bool is_worth_more(const struct ice_agent *a, const struct ice_pair *p)
{
	return !p->old && (a->selected == NULL || a->selected->old) && !a->failed &&
	       p->heard_us != 0 && !is_unproven(p);
}

void ice_check_expire(struct ice_agent *a, uint64_t now_us)
{
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (!has_run_out(p, now_us))
			continue;
		if (is_worth_more(a, p))
			ice_check_again(a, p);
		else
			ice_check_fail(a, p);
	}
}

static bool foundation_is_busy(struct ice_agent *a, uint64_t foundation)
{
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (!p->old && p->foundation == foundation &&
		    (p->state == ICE_PAIR_WAITING || p->state == ICE_PAIR_IN_PROGRESS))
			return true;
	}
	return false;
}

/* RFC 8445 6.1.4.2: triggered checks in their order, then the best waiting pair, then the best frozen one. */
static struct ice_pair *pick(struct ice_agent *a)
{
	struct ice_pair *triggered = NULL, *waiting = NULL, *frozen = NULL;

	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p->trigger != 0 && (triggered == NULL || p->trigger < triggered->trigger))
			triggered = p;
		if (p->state == ICE_PAIR_WAITING &&
		    (waiting == NULL || p->priority > waiting->priority))
			waiting = p;
	}
	/* Towards standard peers the checks end with the nomination (RFC 8445 8.1.2). */
	bool is_over = a->mode == ICE_MODE_STANDARD && a->selected != NULL && !a->selected->old;
	if (triggered != NULL || is_over)
		return triggered;
	if (waiting != NULL)
		return waiting;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p->state == ICE_PAIR_FROZEN &&
		    (frozen == NULL || p->priority > frozen->priority) &&
		    !foundation_is_busy(a, p->foundation))
			frozen = p;
	}
	return frozen;
}

static uint32_t active_count(struct ice_agent *a)
{
	uint32_t n = 0;

	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p))
		n += p->state == ICE_PAIR_WAITING || p->state == ICE_PAIR_IN_PROGRESS;
	return n;
}

/* Our own peers without a path do not wait longer and longer where one is about to open. */
static bool is_urgent(const struct ice_agent *a, const struct ice_pair *p, uint64_t now_us)
{
	return a->mode == ICE_MODE_GOVPN && (a->selected == NULL || a->probing) &&
	       p->heard_us != 0 && now_us < p->heard_us + URGENT_US;
}

static void send_check(struct ice_agent *a, struct ice_pair *p, struct ice_packet *out,
                       uint64_t now_us)
{
	p->sent++;
	p->sent_us = now_us;
	p->due_us = now_us + p->rto_us;
	if (p->sent >= p->sent_max)
		p->due_us = now_us + GV_MAX(p->rto_us, a->timing->last_wait_us);
	if (is_urgent(a, p, now_us))
		p->rto_us = a->timing->rto_us;
	else if (!p->is_extra)
		p->rto_us = GV_MIN(p->rto_us * 2, a->timing->rto_max_us);
	p->is_extra = false;
	ice_check_write(a, p, p->id, p->check_controlling, p->check_nominates, out);
}

static void begin_check(struct ice_agent *a, struct ice_pair *p)
{
	rng_bytes(&a->rng, p->id, sizeof(p->id));
	/* RFC 8445 14.3. */
	p->rto_us = GV_MAX(a->timing->rto_us, a->timing->ta_us * active_count(a));
	p->state = ICE_PAIR_IN_PROGRESS;
	p->trigger = 0;
	p->sent = 0;
	p->hastened = false;
	p->is_extra = false;
	p->check_controlling = a->role == ICE_ROLE_CONTROLLING;
	p->check_nominates = p->check_controlling && p->nominate;
}

int ice_check_output(struct ice_agent *a, struct ice_packet *out, uint64_t now_us)
{
	if (!a->cur.has_remote)
		return 0;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p->state == ICE_PAIR_IN_PROGRESS && p->sent < p->sent_max &&
		    p->due_us <= now_us) {
			send_check(a, p, out, now_us);
			return 1;
		}
	}
	if (a->next_check_us > now_us)
		return 0;
	struct ice_pair *p = pick(a);
	if (p == NULL)
		return 0;
	a->next_check_us = now_us + a->timing->ta_us;
	begin_check(a, p);
	send_check(a, p, out, now_us);
	return 1;
}

uint64_t ice_check_deadline(struct ice_agent *a)
{
	uint64_t due_us = CLOCK_NEVER;

	if (!a->cur.has_remote)
		return CLOCK_NEVER;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p->state == ICE_PAIR_IN_PROGRESS)
			due_us = GV_MIN(due_us, p->due_us);
	}
	if (pick(a) != NULL)
		due_us = GV_MIN(due_us, a->next_check_us);
	return due_us;
}
