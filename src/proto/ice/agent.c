/* SPDX-License-Identifier: MIT */

#include "proto/ice/agent_impl.h"

#include "base/enc.h"
#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

static const struct ice_timing standard_timing = {
	.ta_us = 50 * ICE_MS, /* RFC 8445 14.2 */
	.rto_us = 500 * ICE_MS,
	.rto_max_us = 4000 * ICE_MS,
	.last_wait_us = 4000 * ICE_MS,
	.sent_max = 7,
	.settle_us = 300 * ICE_MS,
};

/*
 * Our own peers have a handful of candidates and checks of 100 bytes: one each 20 ms is 40 kbit/s for less than a
 * second, no burden where a VPN is to run, and above the 5 ms that RFC 8445 14.2 sets as the least. The first
 * request of a check often dies at the peer's NAT, so its repetition decides how fast the path stands.
 */
static const struct ice_timing govpn_timing = {
	.ta_us = 20 * ICE_MS,
	.rto_us = 200 * ICE_MS,
	.rto_max_us = 1600 * ICE_MS,
	.last_wait_us = 1600 * ICE_MS,
	.sent_max = 8,
	.settle_us = 200 * ICE_MS,
};

static void update_deadline(struct ice_agent *a)
{
	if (a->response_count > 0) {
		a->deadline_us = 0;
		return;
	}
	uint64_t check_us = ice_check_deadline(a), live_us = ice_live_deadline(a);
	a->deadline_us = GV_MIN(check_us, live_us);
}

/* Base32 letters are ice-chars (RFC 8839 5.4). */
static void fresh_creds(struct ice_agent *a)
{
	uint8_t ufrag[ICE_LOCAL_UFRAG_LEN * 5 / 8], pwd[ICE_LOCAL_PWD_LEN * 5 / 8];

	mem_wipe(&a->cur, sizeof(a->cur));
	a->cur = (struct ice_creds){.set = true};
	rng_bytes(&a->rng, ufrag, sizeof(ufrag));
	rng_bytes(&a->rng, pwd, sizeof(pwd));
	enc_base32(a->cur.local_ufrag, ufrag, sizeof(ufrag));
	enc_base32(a->cur.local_pwd, pwd, sizeof(pwd));
	mem_wipe(pwd, sizeof(pwd));
}

int ice_new(struct ice_agent **out, const struct ice_config *config)
{
	struct ice_agent *a = mem_new(struct ice_agent);

	if (a == NULL)
		return err_here(-ENOMEM);
	a->role = config->role;
	a->mode = config->mode;
	a->timing = a->mode == ICE_MODE_GOVPN ? &govpn_timing : &standard_timing;
	a->prefix = config->transaction_prefix;
	a->rng = config->rng;
	a->tie_breaker = rng_u64(&a->rng);
	a->deadline_us = CLOCK_NEVER;
	fresh_creds(a);
	*out = a;
	return 0;
}

void ice_free(struct ice_agent *a)
{
	if (a == NULL)
		return;
	for (unsigned i = 0; i < ICE_PAIR_BLOCKS; i++)
		mem_free(a->pair_blocks[i]);
	mem_wipe(a, sizeof(*a));
	mem_free(a);
}

const char *ice_local_ufrag(const struct ice_agent *a)
{
	return a->cur.local_ufrag;
}

const char *ice_local_pwd(const struct ice_agent *a)
{
	return a->cur.local_pwd;
}

/* ---- candidates ---- */

/* A free place; when there is none, that of an older server-reflexive candidate of the same base. */
static struct ice_slot *take_local(struct ice_agent *a, const struct ice_cand *c)
{
	struct ice_slot *same_base = NULL;

	for (unsigned i = 0; i < ICE_MAX_CANDIDATES; i++) {
		struct ice_slot *s = &a->locals[i];

		if (!s->used)
			return s;
		if (c->type == ICE_CAND_SRFLX && s->c.type == ICE_CAND_SRFLX &&
		    netaddr_equal(&s->c.base, &c->base))
			same_base = s;
	}
	return same_base;
}

int ice_add_local(struct ice_agent *a, const struct ice_cand *c, uint64_t now_us)
{
	for (unsigned i = 0; i < ICE_MAX_CANDIDATES; i++) {
		const struct ice_slot *s = &a->locals[i];

		if (s->used && netaddr_equal(&s->c.addr, &c->addr) &&
		    netaddr_equal(&s->c.base, &c->base))
			return ICE_DUPLICATE;
	}
	struct ice_slot *s = take_local(a, c);
	if (s == NULL)
		return ICE_TOO_MANY;
	*s = (struct ice_slot){.used = true, .seen_us = now_us, .c = *c};
	ice_pair_form_local(a, (unsigned)(s - a->locals));
	update_deadline(a);
	return ICE_OK;
}

void ice_remove_local(struct ice_agent *a, const struct netaddr *base, uint64_t now_us)
{
	bool had_selected = a->selected != NULL;
	uint64_t until_us = ice_live_send_until(a);

	for (unsigned i = 0; i < ICE_MAX_CANDIDATES; i++) {
		if (a->locals[i].used && netaddr_equal(&a->locals[i].c.base, base))
			a->locals[i] = (struct ice_slot){.used = false};
	}
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (netaddr_equal(&p->base, base))
			ice_pair_remove(a, p);
	}
	if (had_selected && a->selected == NULL)
		ice_live_lose(a, until_us, now_us);
	update_deadline(a);
}

void ice_end_local(struct ice_agent *a, uint64_t now_us)
{
	a->local_ended = true;
	ice_live_evaluate(a, now_us);
	update_deadline(a);
}

/* An address that can be sent to: not 0.0.0.0/8, multicast, broadcast or port 0. */
static bool is_sendable(const struct netaddr *n)
{
	if (n->port == 0 || netaddr_ip_size(n) == 0 || netaddr_is_any(n) || netaddr_is_multicast(n))
		return false;
	return n->family != NETADDR_IP4 || (n->ip[0] != 0 && netaddr_u32(n) != UINT32_MAX);
}

/* A candidate that an incoming check had shown before: now its type and priority are known. */
static int name_remote(struct ice_agent *a, unsigned remote, const struct ice_cand *c)
{
	struct ice_slot *s = &a->remotes[remote];

	if (s->c.type != ICE_CAND_PRFLX || c->type == ICE_CAND_PRFLX)
		return ICE_DUPLICATE;
	s->c = *c;
	/* Until now only the address that the check came to was paired with it. */
	ice_pair_form_remote(a, remote);
	ice_pair_prioritize(a);
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p->old || p->remote != remote)
			continue;
		p->sent_max = a->timing->sent_max;
		if (p->state == ICE_PAIR_FAILED)
			p->state = ICE_PAIR_WAITING;
	}
	return ICE_OK;
}

int ice_add_remote(struct ice_agent *a, const struct ice_cand *c, uint64_t now_us)
{
	int r = ICE_OK;

	if (!is_sendable(&c->addr)) {
		a->dropped++;
		return ICE_IGNORED;
	}
	for (unsigned i = 0; i < ICE_MAX_CANDIDATES; i++) {
		if (!a->remotes[i].used || !netaddr_equal(&a->remotes[i].c.addr, &c->addr))
			continue;
		r = name_remote(a, i, c);
		update_deadline(a);
		return r;
	}
	struct ice_slot *s = ice_pair_take_remote(a);
	if (s == NULL)
		return ICE_TOO_MANY;
	*s = (struct ice_slot){.used = true, .seen_us = now_us, .c = *c};
	ice_pair_form_remote(a, (unsigned)(s - a->remotes));
	update_deadline(a);
	return r;
}

void ice_end_remote(struct ice_agent *a, uint64_t now_us)
{
	a->remote_ended = true;
	ice_live_evaluate(a, now_us);
	update_deadline(a);
}

/* ---- generations ---- */

/* Forgets the peer's side. The selected pair stays, under the credentials it has, until another is selected. */
static void begin_generation(struct ice_agent *a)
{
	struct ice_pair *s = a->selected;

	if (s == NULL || !s->old)
		a->prev = a->cur;
	if (s != NULL) {
		s->old = true;
		s->state = ICE_PAIR_SUCCEEDED;
		s->local = ICE_NO_SLOT;
		s->remote = ICE_NO_SLOT;
		s->nominate = false;
		s->peer_nominated = false;
		s->trigger = 0;
	}
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p != s)
			ice_pair_remove(a, p);
	}
	memset(a->remotes, 0, sizeof(a->remotes));
	a->remote_ended = false;
	a->cur.has_remote = false;
	a->start_us = 0;
	a->first_valid_us = 0;
	a->lost = false;
	a->failed = false;
	a->ev_failed = false;
}

void ice_restart(struct ice_agent *a, uint64_t now_us)
{
	begin_generation(a);
	fresh_creds(a);
	a->local_ended = false;
	ice_live_evaluate(a, now_us);
	update_deadline(a);
}

static bool is_ice_text(const char *s, size_t min, size_t max)
{
	size_t n = 0;

	for (; s[n] != '\0'; n++) {
		char c = s[n];

		if (n == max || !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		                  (c >= '0' && c <= '9') || c == '+' || c == '/'))
			return false;
	}
	return n >= min;
}

int ice_set_remote(struct ice_agent *a, const char *ufrag, const char *pwd, uint64_t now_us)
{
	if (!is_ice_text(ufrag, 4, ICE_UFRAG_MAX) || !is_ice_text(pwd, 22, ICE_PWD_MAX))
		return ICE_BAD_VALUE;
	if (a->cur.has_remote) {
		if (strcmp(a->cur.remote_ufrag, ufrag) == 0 && strcmp(a->cur.remote_pwd, pwd) == 0)
			return ICE_OK;
		begin_generation(a);
	}
	a->cur.has_remote = true;
	memcpy(a->cur.remote_ufrag, ufrag, strlen(ufrag) + 1);
	memcpy(a->cur.remote_pwd, pwd, strlen(pwd) + 1);
	ice_live_start(a, now_us);
	update_deadline(a);
	return ICE_OK;
}

void ice_set_role(struct ice_agent *a, enum ice_role role)
{
	if (a->role == role)
		return;
	a->role = role;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		p->nominate = false;
		p->peer_nominated = false;
	}
	ice_pair_prioritize(a);
	update_deadline(a);
}

/* ---- the five calls ---- */

int ice_input(struct ice_agent *a, const struct netaddr *local, const struct netaddr *remote,
              const uint8_t *data, size_t len, uint64_t now_us)
{
	struct stun_msg m;
	int r = ICE_IGNORED;

	if (is_sendable(remote) && stun_msg_parse(data, len, &m) == STUN_MSG_OK)
		r = ice_answer_input(a, local, remote, &m, now_us);
	if (r == ICE_IGNORED) {
		a->dropped++;
		return r;
	}
	ice_live_evaluate(a, now_us);
	update_deadline(a);
	return r;
}

void ice_heard(struct ice_agent *a, uint64_t now_us)
{
	/* Told late, perhaps later than what STUN heard since. */
	if (a->selected == NULL || now_us < a->selected->heard_us)
		return;
	a->selected->heard_us = now_us;
	a->data_us = now_us;
	a->data_out_us = 0;
	update_deadline(a);
}

void ice_sent(struct ice_agent *a, uint64_t now_us)
{
	if (a->selected == NULL || a->data_out_us != 0 || now_us <= a->selected->heard_us)
		return;
	a->data_out_us = now_us;
	update_deadline(a);
}

int ice_output(struct ice_agent *a, struct ice_packet *out, uint64_t now_us)
{
	int r = ice_answer_output(a, out);

	if (r == 0)
		r = ice_check_output(a, out, now_us);
	if (r == 0)
		r = ice_live_output(a, out, now_us);
	update_deadline(a);
	return r;
}

static void fill_event(const struct ice_pair *p, struct ice_event *out)
{
	out->local = p->base;
	out->remote = p->addr;
	out->local_type = p->local_type;
	out->remote_type = p->remote_type;
	out->rtt_us = p->rtt_us;
}

/* Takes a due event: true when it was due. */
static bool take(bool *due)
{
	bool was_due = *due;

	*due = false;
	return was_due;
}

int ice_event(struct ice_agent *a, struct ice_event *out)
{
	*out = (struct ice_event){.type = ICE_EVENT_PAIR_VALID};
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (take(&p->valid_event)) {
			fill_event(p, out);
			return 1;
		}
	}
	if (a->selected != NULL)
		fill_event(a->selected, out);
	if (take(&a->ev_selected)) {
		out->type = ICE_EVENT_SELECTED;
		a->ev_consent = false; /* told by this one */
	} else if (take(&a->ev_consent)) {
		out->type = ICE_EVENT_CONSENT;
	} else if (take(&a->ev_quiet)) {
		out->type = ICE_EVENT_QUIET;
	} else if (take(&a->ev_disconnected)) {
		out->type = ICE_EVENT_DISCONNECTED;
	} else if (take(&a->ev_failed)) {
		out->type = ICE_EVENT_FAILED;
	} else {
		return 0;
	}
	if (out->type == ICE_EVENT_SELECTED || out->type == ICE_EVENT_CONSENT)
		out->send_until_us = ice_live_send_until(a);
	return 1;
}

uint64_t ice_deadline_us(const struct ice_agent *a)
{
	return a->deadline_us;
}

void ice_timeout(struct ice_agent *a, uint64_t now_us)
{
	ice_check_expire(a, now_us);
	ice_live_evaluate(a, now_us);
	update_deadline(a);
}

uint64_t ice_dropped(const struct ice_agent *a)
{
	return a->dropped;
}
