/* SPDX-License-Identifier: MIT */

#include "proto/ice/agent_impl.h"

#include "base/mem.h"

#include <string.h>

struct ice_pair *ice_pair_at(const struct ice_agent *a, unsigned place)
{
	struct ice_pair *block = a->pair_blocks[place / ICE_PAIR_BLOCK];

	return block != NULL ? &block[place % ICE_PAIR_BLOCK] : NULL;
}

struct ice_pair *ice_pair_next(struct ice_agent *a, const struct ice_pair *p)
{
	for (unsigned i = p == NULL ? 0 : p->place + 1u; i < a->pair_end; i++) {
		struct ice_pair *next = ice_pair_at(a, i); /* not NULL below pair_end */

		if (next->state != ICE_PAIR_FREE)
			return next;
	}
	return NULL;
}

struct ice_pair *ice_pair_find(struct ice_agent *a, const struct netaddr *base,
                               const struct netaddr *addr)
{
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (!p->old && netaddr_equal(&p->base, base) && netaddr_equal(&p->addr, addr))
			return p;
	}
	return NULL;
}

/* RFC 8445 6.1.2.3. */
static uint64_t pair_priority(enum ice_role role, uint32_t local, uint32_t remote)
{
	uint64_t g = role == ICE_ROLE_CONTROLLING ? local : remote;
	uint64_t d = role == ICE_ROLE_CONTROLLING ? remote : local;

	return (GV_MIN(g, d) << 32) + 2 * GV_MAX(g, d) + (g > d ? 1 : 0);
}

/* FNV-1a over both foundations. */
static uint64_t pair_foundation(const struct ice_cand *local, const struct ice_cand *remote)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (const char *s = local->foundation; *s != '\0'; s++)
		h = (h ^ (uint8_t)*s) * 0x100000001b3u;
	h = (h ^ ':') * 0x100000001b3u;
	for (const char *s = remote->foundation; *s != '\0'; s++)
		h = (h ^ (uint8_t)*s) * 0x100000001b3u;
	return h;
}

/*
 * One family (RFC 8445 6.1.2.2), link-local IPv6 only among itself, and loopback only among itself: a stranger's
 * candidate must not make us talk to our own services.
 */
static bool may_pair(const struct netaddr *base, const struct netaddr *addr)
{
	if (base->family != addr->family || netaddr_is_loopback(base) != netaddr_is_loopback(addr))
		return false;
	return base->family != NETADDR_IP6 ||
	       netaddr_is_link_local(base) == netaddr_is_link_local(addr);
}

/*
 * Checks leave from the base, so a reflexive candidate pairs only where its base is no candidate itself
 * (RFC 8445 6.1.2.4).
 */
static bool pairs_itself(const struct ice_agent *a, const struct ice_cand *c)
{
	if (netaddr_equal(&c->addr, &c->base))
		return true;
	for (unsigned i = 0; i < ICE_MAX_CANDIDATES; i++) {
		const struct ice_slot *s = &a->locals[i];

		if (s->used && netaddr_equal(&s->c.addr, &c->base))
			return false;
	}
	return true;
}

static struct ice_pair *make_block(struct ice_agent *a, unsigned place)
{
	unsigned number = place / ICE_PAIR_BLOCK;
	struct ice_pair *block = mem_new_array(struct ice_pair, ICE_PAIR_BLOCK);

	if (block == NULL)
		return NULL;
	for (unsigned i = 0; i < ICE_PAIR_BLOCK; i++)
		block[i].place = (uint16_t)(number * ICE_PAIR_BLOCK + i);
	a->pair_blocks[number] = block;
	return ice_pair_at(a, place);
}

/* A free place; else that of the least pair that is of no use, when the new one ranks above it. */
static struct ice_pair *take_place(struct ice_agent *a, uint64_t priority)
{
	struct ice_pair *least = NULL;

	for (unsigned i = 0; i < ICE_MAX_PAIRS; i++) {
		struct ice_pair *p = ice_pair_at(a, i);

		if (p == NULL)
			p = make_block(a, i);
		if (p == NULL)
			break;
		if (p->state == ICE_PAIR_FREE) {
			a->pair_end = GV_MAX(a->pair_end, i + 1);
			return p;
		}
		if (p->valid || p->old || p == a->selected)
			continue;
		if (least == NULL || p->priority < least->priority)
			least = p;
	}
	if (least == NULL || least->priority >= priority)
		return NULL;
	ice_pair_remove(a, least);
	a->pair_end = GV_MAX(a->pair_end, least->place + 1u);
	return least;
}

/*
 * A pair waits while another of its foundation is about to be checked or is (RFC 8445 6.1.2.6, RFC 8838 12). Between our
 * own peers none does: after a NAT forgot its mappings the former address would hold up the present one, which has the
 * same foundation, for all of its requests.
 */
static enum ice_pair_state first_state(struct ice_agent *a, uint64_t foundation)
{
	enum ice_pair_state state = ICE_PAIR_WAITING;

	if (a->mode == ICE_MODE_GOVPN)
		return state;
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p->old || p->foundation != foundation)
			continue;
		if (p->state == ICE_PAIR_SUCCEEDED)
			return ICE_PAIR_WAITING;
		if (p->state == ICE_PAIR_WAITING || p->state == ICE_PAIR_IN_PROGRESS)
			state = ICE_PAIR_FROZEN;
	}
	return state;
}

/* The same two addresses again, known under another type: the higher priority counts. */
static void merge(struct ice_agent *a, struct ice_pair *p, unsigned local, unsigned remote)
{
	const struct ice_cand *l = &a->locals[local].c, *r = &a->remotes[remote].c;
	uint64_t priority = pair_priority(a->role, l->priority, r->priority);

	if (priority <= p->priority)
		return;
	p->local = (uint8_t)local;
	p->remote = (uint8_t)remote;
	p->remote_type = r->type;
	p->priority = priority;
	p->foundation = pair_foundation(l, r);
}

struct ice_pair *ice_pair_add(struct ice_agent *a, unsigned local, unsigned remote)
{
	const struct ice_cand *l = &a->locals[local].c, *r = &a->remotes[remote].c;
	uint64_t priority = pair_priority(a->role, l->priority, r->priority);

	if (!may_pair(&l->base, &r->addr))
		return NULL;
	struct ice_pair *p = ice_pair_find(a, &l->base, &r->addr);
	if (p != NULL) {
		merge(a, p, local, remote);
		return p;
	}
	p = take_place(a, priority);
	if (p == NULL)
		return NULL;
	uint64_t foundation = pair_foundation(l, r);
	enum ice_pair_state state = first_state(a, foundation);
	*p = (struct ice_pair){
		.state = state,
		.place = p->place,
		.local_type = l->type,
		.remote_type = r->type,
		.base = l->base,
		.addr = r->addr,
		.local = (uint8_t)local,
		.remote = (uint8_t)remote,
		.priority = priority,
		.foundation = foundation,
		.sent_max = a->timing->sent_max,
	};
	/* A link-local address means something on one interface only: that of the base. */
	if (netaddr_is_link_local(&p->addr))
		p->addr.ifindex = p->base.ifindex;
	return p;
}

void ice_pair_remove(struct ice_agent *a, struct ice_pair *p)
{
	uint16_t place = p->place;

	for (unsigned i = 0; i < ICE_MAX_PROBES; i++) {
		if (a->probes[i].pair == place)
			a->probes[i].sent_us = 0;
	}
	if (p == a->selected)
		a->selected = NULL;
	*p = (struct ice_pair){.state = ICE_PAIR_FREE, .place = place};
	while (a->pair_end > 0 && ice_pair_at(a, a->pair_end - 1)->state == ICE_PAIR_FREE)
		a->pair_end--;
}

void ice_pair_form_local(struct ice_agent *a, unsigned local)
{
	if (!pairs_itself(a, &a->locals[local].c))
		return;
	for (unsigned i = 0; i < ICE_MAX_CANDIDATES; i++) {
		if (a->remotes[i].used)
			(void)ice_pair_add(a, local, i); /* NULL: cannot pair */
	}
}

void ice_pair_form_remote(struct ice_agent *a, unsigned remote)
{
	for (unsigned i = 0; i < ICE_MAX_CANDIDATES; i++) {
		if (a->locals[i].used && pairs_itself(a, &a->locals[i].c))
			(void)ice_pair_add(a, i, remote); /* NULL: cannot pair */
	}
}

static bool slot_is_useful(struct ice_agent *a, unsigned remote)
{
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (!p->old && p->remote == remote && (p->valid || p == a->selected))
			return true;
	}
	return false;
}

struct ice_slot *ice_pair_take_remote(struct ice_agent *a)
{
	struct ice_slot *oldest = NULL, *named = NULL;

	for (unsigned i = 0; i < ICE_MAX_CANDIDATES; i++) {
		struct ice_slot *s = &a->remotes[i];

		if (!s->used)
			return s;
		if (slot_is_useful(a, i))
			continue;
		struct ice_slot **place = s->c.type == ICE_CAND_PRFLX ? &oldest : &named;
		if (*place == NULL || s->seen_us < (*place)->seen_us)
			*place = s;
	}
	/* Addresses of a peer that moves pile up: with a path at work those it named long ago make room. */
	if (oldest == NULL && a->selected != NULL)
		oldest = named;
	if (oldest == NULL)
		return NULL;
	uint8_t place = (uint8_t)(oldest - a->remotes);
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (!p->old && p->remote == place)
			ice_pair_remove(a, p);
	}
	return oldest;
}

void ice_pair_prioritize(struct ice_agent *a)
{
	for (struct ice_pair *p = ice_pair_next(a, NULL); p != NULL; p = ice_pair_next(a, p)) {
		if (p->old)
			continue;
		const struct ice_cand *l = &a->locals[p->local].c, *r = &a->remotes[p->remote].c;

		p->priority = pair_priority(a->role, l->priority, r->priority);
		p->foundation = pair_foundation(l, r);
		p->remote_type = r->type;
	}
}
