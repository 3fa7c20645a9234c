/* SPDX-License-Identifier: MIT */

#include "base/mem.h"
#include "proto/ice/agent_impl.h"

#define CONSENT_LIFE_US   (30 * ICE_S) /* RFC 7675 5.1 */
#define CONSENT_MIN_US    (4 * ICE_S)  /* of the random pause between two consent checks */
#define CONSENT_SPREAD_US (2 * ICE_S)
#define SILENCE_US        (1 * ICE_S) /* nothing heard for so long on a busy path: ask */
#define IDLE_MIN_US       (5 * ICE_S) /* pause between two probes of an idle path */
#define IDLE_SPREAD_US    (2 * ICE_S)
#define FAST_US           (200 * ICE_MS) /* pause between probes of a path that does not answer */
#define SLOW_US           (1 * ICE_S) /* the same while data still comes, and after SLOWER_AT_US */
#define SLOWER_AT_US      (10 * ICE_S)
#define SLOWEST_US        (2 * ICE_S)
#define SLOWEST_AT_US     (30 * ICE_S)
#define BACK_US           (3 * ICE_S)
#define WARM_US           (30 * ICE_S)   /* pause between two probes of the best other pair */
#define DEAD_US           (500 * ICE_MS) /* unanswered for so long, and so often: dead */
#define DEAD_COUNT        3
#define DEAF_US           (4 * ICE_S) /* the same while data still comes */
#define DEAF_COUNT        5
#define FRESH_US          (5 * ICE_S) /* an answer this young proves a pair */
#define REVIVE_MIN_US     (2 * ICE_S) /* pause between two rounds over failed pairs, doubling */
#define REVIVE_MAX_US     (30 * ICE_S)
#define ROTATE_US         (30 * ICE_S) /* pause between two tries of a better failed pair */
#define RETRY_SENT_MAX    2            /* requests of such a try */
#define FAIL_GRACE_US     (5 * ICE_S)  /* a peer-reflexive candidate may still come */
#define FAIL_US           (30 * ICE_S)
#define RENOMINATE_US     (5 * ICE_S)
#define REMIND_US         (1 * ICE_S) /* pause between two checks of a pair that waits for the nomination */

static bool is_govpn(const struct ice_agent *a)
{
	return a->mode == ICE_MODE_GOVPN;
}

/* The selected pair, unless it is only kept from before a restart. */
static struct ice_pair *current_selected(const struct ice_agent *a)
{
	return a->selected != NULL && !a->selected->old ? a->selected : NULL;
}

bool ice_live_is_well(const struct ice_agent *a)
{
	return current_selected(a) != NULL && !a->probing;
}

uint64_t ice_live_send_until(const struct ice_agent *a)
{
	return a->selected != NULL ? a->selected->answered_us + CONSENT_LIFE_US : 0;
}

/* ---- what was heard ---- */

static void draw_pauses(struct ice_agent *a)
{
	a->idle_us = IDLE_MIN_US + rng_below(&a->rng, IDLE_SPREAD_US);
	a->consent_us = CONSENT_MIN_US + rng_below(&a->rng, CONSENT_SPREAD_US);
}

void ice_live_heard(struct ice_agent *a, struct ice_pair *p, uint64_t now_us)
{
	p->heard_us = now_us;
	if (p == a->selected) {
		a->data_out_us = 0;
		draw_pauses(a);
	}
}

void ice_live_answered(struct ice_agent *a, struct ice_pair *p, uint64_t sent_us, uint64_t now_us)
{
	bool standard_is_over = a->disconnected && !is_govpn(a);

	ice_live_heard(a, p, now_us);
	p->answered_us = now_us;
	p->unanswered_us = 0;
	p->unanswered = 0;
	p->rtt_us = (uint32_t)GV_MIN(now_us - sent_us, (uint64_t)UINT32_MAX);
	/* Consent that ran out comes back by a restart only (RFC 7675 5.1); between our own peers also so. */
	if (p != a->selected || standard_is_over)
		return;
	a->suspect_us = 0;
	a->probing = false;
	a->revive_us = 0;
	a->revive_step_us = REVIVE_MIN_US;
	a->ev_consent = true;
	if (a->disconnected) {
		a->disconnected = false;
		a->ev_disconnected = false;
		a->ev_selected = true;
	}
}

/* ---- selection ---- */

/* Leaves the pair that was selected before; one from before a restart goes for good. */
static void leave(struct ice_agent *a, struct ice_pair *p)
{
	if (p->old) {
		ice_pair_remove(a, p);
	} else if (p->unanswered >= DEAD_COUNT) {
		p->valid = false;
		if (p->state == ICE_PAIR_SUCCEEDED)
			p->state = ICE_PAIR_FAILED;
	}
}

void ice_live_start(struct ice_agent *a, uint64_t now_us)
{
	a->start_us = now_us;
	a->fail_us = now_us + FAIL_GRACE_US;
	a->first_valid_us = 0;
	a->failed = false;
	a->ev_failed = false;
}

void ice_live_lose(struct ice_agent *a, uint64_t until_us, uint64_t now_us)
{
	a->lost = true;
	a->lost_until_us = until_us;
	a->start_us = 0;
	a->probing = false;
	a->announce = false;
	a->revive_us = 0;
	a->revive_step_us = REVIVE_MIN_US;
	a->ev_selected = false;
	a->ev_consent = false;
	a->ev_quiet = !a->disconnected;
	/* Between our own peers another path may come before consent would have run out. */
	if (!is_govpn(a) && !a->disconnected) {
		a->disconnected = true;
		a->ev_disconnected = true;
	}
	ice_live_evaluate(a, now_us);
}

void ice_live_select(struct ice_agent *a, struct ice_pair *p, uint64_t now_us)
{
	struct ice_pair *before = a->selected;

	p->peer_nominated = false;
	if (before == p)
		return;
	a->selected = p;
	if (before != NULL)
		leave(a, before);
	/* Selected is only what the present generation proved: nobody needs the former one any more. */
	if (a->prev.set) {
		mem_wipe(&a->prev, sizeof(a->prev));
		a->prev = (struct ice_creds){0};
	}
	a->lost = false;
	a->failed = false;
	a->ev_quiet = false;
	a->disconnected = false;
	a->probing = false;
	a->announce = false;
	a->suspect_us = 0;
	a->data_us = 0;
	a->data_out_us = 0;
	a->revive_us = 0;
	a->revive_step_us = REVIVE_MIN_US;
	a->rotate_us = now_us + ROTATE_US;
	a->ev_selected = true;
	a->ev_disconnected = false;
	a->ev_failed = false;
	draw_pauses(a);
}

static void nominate(struct ice_agent *a, struct ice_pair *p)
{
	p->nominate = true;
	p->sent_max = a->timing->sent_max;
	if (p->state != ICE_PAIR_IN_PROGRESS)
		ice_check_enqueue(a, p);
}

/* We leave a dead pair for p without asking; the peer learns it by nomination, or by USE-CANDIDATE in a probe. */
static void move(struct ice_agent *a, struct ice_pair *p, uint64_t now_us)
{
	ice_live_select(a, p, now_us);
	a->announce = true;
	if (a->role == ICE_ROLE_CONTROLLING)
		nominate(a, p);
}

static bool is_usable(const struct ice_pair *p, uint64_t since_us)
{
	return p->valid && !p->old && p->answered_us >= since_us;
}

/* The best valid pair other than the selected one that answered at since_us or later. */
static struct ice_pair *best_other(struct ice_agent *a, uint64_t since_us)
{
	struct ice_pair *best = NULL;

	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p != a->selected && is_usable(p, since_us) &&
		    (best == NULL || p->priority > best->priority))
			best = p;
	}
	return best;
}

static uint64_t ago(uint64_t now_us, uint64_t span_us)
{
	return now_us > span_us ? now_us - span_us : 0;
}

void ice_live_valid(struct ice_agent *a, struct ice_pair *p, uint64_t now_us)
{
	bool fresh = !p->valid;

	p->valid = true;
	if (fresh) {
		p->valid_event = true;
		if (a->first_valid_us == 0)
			a->first_valid_us = now_us;
	}
	if (p->peer_nominated)
		ice_live_nominated(a, p, now_us);
}

/*
 * Towards standard peers the nominated pair of the highest priority counts, so that a peer that nominates every
 * pair (RFC 5245 8.1.1.2) and we agree; unless the peer stopped nominating the selected one and went elsewhere.
 */
static bool follows_nomination(const struct ice_agent *a, const struct ice_pair *p, uint64_t now_us)
{
	const struct ice_pair *s = current_selected(a);

	return s == NULL || is_govpn(a) || p->priority > s->priority ||
	       s->nominated_us + RENOMINATE_US < now_us;
}

void ice_live_nominated(struct ice_agent *a, struct ice_pair *p, uint64_t now_us)
{
	p->nominated_us = now_us;
	if (p == a->selected)
		return;
	if (a->role == ICE_ROLE_CONTROLLING) {
		/* Between our own peers: the controlled side sends over p now. Is the selected pair alive? */
		if (is_govpn(a) && a->suspect_us == 0)
			a->suspect_us = now_us;
		return;
	}
	if (!follows_nomination(a, p, now_us))
		return;
	if (is_usable(p, ago(now_us, CONSENT_LIFE_US / 2))) {
		ice_live_select(a, p, now_us);
		return;
	}
	/* RFC 8445 7.3.1.5: selected as soon as our own check goes through. */
	p->peer_nominated = true;
	if (p->state == ICE_PAIR_SUCCEEDED)
		ice_check_enqueue(a, p);
}

/* ---- when to probe ---- */

static bool was_silent(const struct ice_agent *a, const struct ice_pair *p)
{
	return p->probe_us >= p->heard_us + SILENCE_US || a->suspect_us > p->answered_us;
}

/* Pause before a probe is repeated: at least what an answer needs. */
static uint64_t fast_us(const struct ice_pair *p)
{
	uint64_t us = GV_MAX((uint64_t)p->rtt_us * 5 / 4, (uint64_t)FAST_US);

	return GV_MIN(us, (uint64_t)SLOW_US);
}

/*
 * Pause before p is probed again; there is a selected pair. Slower the longer nothing answers there, unless the
 * peer is heard again over p: then the answer to the next probe brings the path back.
 */
static uint64_t retry_us(const struct ice_agent *a, const struct ice_pair *p)
{
	uint64_t since_us = a->selected->unanswered_us;
	uint64_t age_us = since_us != 0 && p->probe_us > since_us ? p->probe_us - since_us : 0;

	if (!a->probing && !was_silent(a, p))
		return SLOW_US;
	if (age_us < SLOWER_AT_US || p->heard_us + BACK_US >= p->probe_us)
		return fast_us(p);
	return age_us < SLOWEST_AT_US ? SLOW_US : SLOWEST_US;
}

/* When the selected pair is to be probed. */
static uint64_t selected_due(const struct ice_agent *a, const struct ice_pair *p)
{
	if (!is_govpn(a))
		return a->disconnected ? CLOCK_NEVER
		                       : GV_MAX(p->probe_us, p->answered_us) + a->consent_us;
	if (p->unanswered_us != 0)
		return p->probe_us + retry_us(a, p);
	if (a->announce || a->suspect_us > p->answered_us)
		return 0;

	uint64_t due_us = GV_MIN(p->heard_us + a->idle_us, p->answered_us + a->consent_us * 2);
	if (a->data_us > p->answered_us)
		due_us = GV_MIN(due_us, p->heard_us + SILENCE_US);
	if (a->data_out_us != 0) {
		uint64_t since_us = GV_MAX(p->heard_us, a->data_out_us);
		due_us = GV_MIN(due_us, since_us + SILENCE_US);
	}
	return due_us;
}

/* When another valid pair is to be probed: all while the selected one is dead, else the best one now and then. */
static uint64_t other_due(const struct ice_agent *a, const struct ice_pair *p,
                          const struct ice_pair *warm)
{
	if (a->probing)
		return p->probe_us + retry_us(a, p);
	if (p != warm)
		return CLOCK_NEVER;
	if (p->unanswered_us != 0)
		return p->probe_us + SLOW_US;
	return GV_MAX(p->heard_us, p->probe_us) + WARM_US;
}

/* The pair to probe next and when; NULL when none. */
static struct ice_pair *next_probe(struct ice_agent *a, uint64_t *due_us)
{
	struct ice_pair *best = a->selected;

	*due_us = CLOCK_NEVER;
	if (best == NULL)
		return NULL;
	*due_us = selected_due(a, best);
	if (!is_govpn(a))
		return best;
	const struct ice_pair *warm = best_other(a, 0);
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p == a->selected || !p->valid || p->old)
			continue;
		uint64_t other_us = GV_MAX(other_due(a, p, warm), a->next_probe_us);
		if (other_us < *due_us) {
			*due_us = other_us;
			best = p;
		}
	}
	return best;
}

int ice_live_output(struct ice_agent *a, struct ice_packet *out, uint64_t now_us)
{
	uint64_t due_us;
	struct ice_pair *p = next_probe(a, &due_us);

	if (p == NULL || due_us > now_us)
		return 0;
	bool controlling = a->role == ICE_ROLE_CONTROLLING;
	struct ice_probe *t = &a->probes[a->probe_next];
	a->probe_next = (a->probe_next + 1) % ICE_MAX_PROBES;
	rng_bytes(&a->rng, t->id, sizeof(t->id));
	t->controlling = controlling;
	t->pair = p->place;
	t->sent_us = now_us;

	p->probe_us = now_us;
	if (p->unanswered_us == 0)
		p->unanswered_us = now_us;
	p->unanswered++;
	/* Repeated nomination mends one that was overtaken by an older one; between our own peers both say it. */
	bool nominates = p == a->selected && (controlling || is_govpn(a));
	if (p == a->selected)
		a->announce = false;
	else
		a->next_probe_us = now_us + a->timing->ta_us;
	draw_pauses(a);
	ice_check_write(a, p, t->id, controlling, nominates, out);
	return 1;
}

/* ---- decisions ---- */

static bool is_dead(const struct ice_agent *a, const struct ice_pair *p, uint64_t now_us)
{
	if (p->unanswered_us == 0)
		return false;
	uint64_t age_us = now_us - p->unanswered_us;
	if (a->probing)
		return p->unanswered >= DEAD_COUNT &&
		       age_us >= GV_MAX((uint64_t)DEAD_US, (uint64_t)p->rtt_us * 2);
	return p->unanswered >= DEAF_COUNT && age_us >= DEAF_US;
}

/* Tries all failed pairs again, and without a selected one all others; each round later than the one before. */
static void revive(struct ice_agent *a, uint64_t now_us)
{
	if (now_us < a->revive_us)
		return;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		bool stale = a->selected == NULL && p->state == ICE_PAIR_SUCCEEDED;

		if (p->old || (p->state != ICE_PAIR_FAILED && !stale))
			continue;
		p->state = ICE_PAIR_WAITING;
		p->sent_max = RETRY_SENT_MAX;
	}
	a->revive_us = now_us + a->revive_step_us;
	a->revive_step_us = GV_MIN(a->revive_step_us * 2, (uint32_t)REVIVE_MAX_US);
}

static void watch_consent(struct ice_agent *a, uint64_t now_us)
{
	if (a->disconnected || now_us < ice_live_send_until(a))
		return;
	struct ice_pair *other =
		is_govpn(a) ? best_other(a, ago(now_us, CONSENT_LIFE_US) + 1) : NULL;
	if (other != NULL) {
		move(a, other, now_us);
		return;
	}
	a->disconnected = true;
	a->ev_disconnected = true;
	a->ev_consent = false;
}

/* Is the selected pair alive, and if not, which one is? */
static void watch_selected(struct ice_agent *a, struct ice_pair *p, uint64_t now_us)
{
	if (!a->probing && p->unanswered_us != 0 && was_silent(a, p) &&
	    now_us >= p->unanswered_us + fast_us(p)) {
		a->probing = true;
		a->ev_quiet = true;
		a->revive_step_us = REVIVE_MIN_US;
	}
	if (is_dead(a, p, now_us)) {
		struct ice_pair *other = best_other(a, p->unanswered_us);

		if (other != NULL) {
			move(a, other, now_us);
			return;
		}
	}
	if (a->probing && now_us >= p->heard_us + SILENCE_US)
		revive(a, now_us);
}

/* A warm pair that stopped answering is none any more; it may come back by revive or rotation. */
static void watch_others(struct ice_agent *a, uint64_t now_us)
{
	if (a->probing || a->selected == NULL)
		return;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p == a->selected || !p->valid || p->old || p->unanswered < DEAD_COUNT ||
		    now_us < p->probe_us + SLOW_US || p->state != ICE_PAIR_SUCCEEDED)
			continue;
		p->valid = false;
		p->state = ICE_PAIR_FAILED;
	}
}

/* The selected pair's address went away: take what is there, and look everywhere. */
static void watch_lost(struct ice_agent *a, uint64_t now_us)
{
	struct ice_pair *other = best_other(a, ago(now_us, CONSENT_LIFE_US) + 1);

	if (other != NULL) {
		move(a, other, now_us);
		return;
	}
	revive(a, now_us);
	if (!a->disconnected && now_us >= a->lost_until_us) {
		a->disconnected = true;
		a->ev_disconnected = true;
	}
}

/* The failed pair above the selected one that was tried longest ago, or NULL. */
static struct ice_pair *rotation(struct ice_agent *a)
{
	const struct ice_pair *s = current_selected(a);
	struct ice_pair *oldest = NULL;

	if (s == NULL || a->probing || !is_govpn(a))
		return NULL;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (!p->old && p->state == ICE_PAIR_FAILED && p->priority > s->priority &&
		    (oldest == NULL || p->sent_us < oldest->sent_us))
			oldest = p;
	}
	return oldest;
}

static void rotate(struct ice_agent *a, uint64_t now_us)
{
	if (now_us < a->rotate_us)
		return;
	struct ice_pair *p = rotation(a);
	if (p == NULL)
		return;
	p->state = ICE_PAIR_WAITING;
	p->sent_max = RETRY_SENT_MAX;
	a->rotate_us = now_us + ROTATE_US;
}

/* Something better than p may still come out of the checks. */
static bool better_is_open(struct ice_agent *a, const struct ice_pair *p)
{
	for (struct ice_pair *q = ice_pair_next(a, NULL); q != NULL; q = ice_pair_next(a, q)) {
		if (!q->old && !q->valid && q->priority > p->priority &&
		    (q->state == ICE_PAIR_FROZEN || q->state == ICE_PAIR_WAITING ||
		     q->state == ICE_PAIR_IN_PROGRESS))
			return true;
	}
	return false;
}

static bool is_nominating(struct ice_agent *a)
{
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p->nominate)
			return true;
	}
	return false;
}

/* The best valid pair of this generation, or NULL. */
static struct ice_pair *best_valid(struct ice_agent *a)
{
	struct ice_pair *s = current_selected(a);
	struct ice_pair *other = best_other(a, 0);

	return s == NULL || (other != NULL && other->priority > s->priority) ? other : s;
}

/* RFC 8445 8.1.1, regular nomination; between our own peers again when a better pair turns up. */
static void consider_nomination(struct ice_agent *a, uint64_t now_us)
{
	const struct ice_pair *s = current_selected(a);

	if (a->role != ICE_ROLE_CONTROLLING || !a->cur.has_remote || is_nominating(a))
		return;
	struct ice_pair *best = best_valid(a);
	if (best == NULL || best == s)
		return;
	if (s == NULL) {
		if (!better_is_open(a, best) || now_us >= a->first_valid_us + a->timing->settle_us)
			nominate(a, best);
	} else if (is_govpn(a) && best->state == ICE_PAIR_SUCCEEDED && best->unanswered_us == 0 &&
	           is_usable(best, ago(now_us, FRESH_US))) {
		nominate(a, best);
	}
}

/* Waits for the peer's nomination: its checks may have got lost, and ours make it check again. */
static bool wants_reminder(const struct ice_agent *a, const struct ice_pair *p)
{
	return a->role == ICE_ROLE_CONTROLLED && a->start_us != 0 && !a->failed &&
	       current_selected(a) == NULL && p->valid && !p->old && p->state == ICE_PAIR_SUCCEEDED;
}

static void remind(struct ice_agent *a, uint64_t now_us)
{
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (!wants_reminder(a, p) || now_us < p->answered_us + REMIND_US)
			continue;
		p->sent_max = a->timing->sent_max;
		ice_check_enqueue(a, p);
	}
}

static uint64_t remind_deadline(struct ice_agent *a)
{
	uint64_t due_us = CLOCK_NEVER;

	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (wants_reminder(a, p))
			due_us = GV_MIN(due_us, p->answered_us + REMIND_US);
	}
	return due_us;
}

static bool all_failed(struct ice_agent *a, uint64_t now_us)
{
	if (!a->local_ended || !a->remote_ended)
		return false;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		/* A pair over which the peer was just heard is about to be checked again. */
		if (!p->old && (p->state != ICE_PAIR_FAILED ||
		                (p->heard_us != 0 && now_us < p->heard_us + FAIL_GRACE_US)))
			return false;
	}
	return true;
}

static void consider_failure(struct ice_agent *a, uint64_t now_us)
{
	if (a->start_us == 0 || a->failed || current_selected(a) != NULL)
		return;
	if (now_us < a->start_us + FAIL_GRACE_US)
		return;
	a->fail_us = a->start_us + FAIL_US;
	if (now_us >= a->start_us + FAIL_US || all_failed(a, now_us)) {
		a->failed = true;
		a->ev_failed = true;
	}
}

void ice_live_evaluate(struct ice_agent *a, uint64_t now_us)
{
	if (a->selected != NULL && is_govpn(a))
		watch_selected(a, a->selected, now_us);
	if (a->selected != NULL)
		watch_consent(a, now_us);
	if (is_govpn(a)) {
		if (a->lost && a->selected == NULL)
			watch_lost(a, now_us);
		watch_others(a, now_us);
		rotate(a, now_us);
	}
	consider_nomination(a, now_us);
	remind(a, now_us);
	consider_failure(a, now_us);
}

uint64_t ice_live_deadline(struct ice_agent *a)
{
	uint64_t due_us;
	const struct ice_pair *s = current_selected(a);

	(void)next_probe(a, &due_us); /* only its time */
	if (a->selected != NULL && !a->disconnected)
		due_us = GV_MIN(due_us, ice_live_send_until(a));
	if (s == NULL && a->first_valid_us != 0 && a->role == ICE_ROLE_CONTROLLING &&
	    best_other(a, 0) != NULL && !is_nominating(a))
		due_us = GV_MIN(due_us, a->first_valid_us + a->timing->settle_us);
	if (s == NULL && a->start_us != 0 && !a->failed)
		due_us = GV_MIN(due_us, a->fail_us);
	uint64_t remind_us = remind_deadline(a), revive_us = CLOCK_NEVER;
	due_us = GV_MIN(due_us, remind_us);
	if (a->probing && a->selected != NULL)
		revive_us = GV_MAX(a->revive_us, a->selected->heard_us + SILENCE_US);
	else if (a->lost && a->selected == NULL && is_govpn(a))
		revive_us = a->revive_us;
	due_us = GV_MIN(due_us, revive_us);
	if (a->lost && a->selected == NULL && !a->disconnected)
		due_us = GV_MIN(due_us, a->lost_until_us);
	if (rotation(a) != NULL)
		due_us = GV_MIN(due_us, a->rotate_us);
	return due_us;
}
