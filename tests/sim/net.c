/* SPDX-License-Identifier: MIT */

#include "net.h"

#include "base/macro.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void sim_init(struct sim_net *n, uint64_t seed)
{
	memset(n, 0, sizeof(*n));
	n->rng = rng_seeded(seed);
	n->delay_min_us = 1000;
	n->delay_max_us = 1000;
}

void sim_deinit(struct sim_net *n)
{
	for (size_t i = 0; i < n->packet_count; i++)
		free(n->packets[i]);
	free(n->packets);
	for (unsigned i = 0; i < n->nat_count; i++)
		free(n->nats[i]);
	n->packets = NULL;
	n->packet_count = n->packet_room = 0;
	n->nat_count = 0;
}

unsigned sim_add_nat(struct sim_net *n, unsigned parent, enum sim_mapping mapping,
                     enum sim_filter filter, const struct netaddr *public_ip)
{
	struct sim_nat *nat = calloc(1, sizeof(*nat));

	assert(nat != NULL && n->nat_count < SIM_MAX_NATS && parent <= n->nat_count);
	nat->parent = parent;
	nat->mapping = mapping;
	nat->filter = filter;
	nat->next_port = (uint16_t)(20000 + rng_below(&n->rng, 20000));
	nat->public_ip = *public_ip;
	n->nats[n->nat_count++] = nat;
	return n->nat_count;
}

struct sim_nat *sim_nat_of(struct sim_net *n, unsigned realm)
{
	assert(realm > 0 && realm <= n->nat_count);
	return n->nats[realm - 1];
}

void sim_add_host(struct sim_net *n, unsigned realm, const struct netaddr *ip)
{
	for (unsigned i = 0; i < SIM_MAX_HOSTS; i++) {
		if (n->hosts[i].used)
			continue;
		n->hosts[i] = (struct sim_host){.used = true, .realm = realm, .ip = *ip};
		return;
	}
	assert(false);
}

struct sim_host *sim_find_host(struct sim_net *n, unsigned realm, const struct netaddr *ip)
{
	for (unsigned i = 0; i < SIM_MAX_HOSTS; i++) {
		struct sim_host *h = &n->hosts[i];

		if (h->used && h->realm == realm && netaddr_ip_equal(&h->ip, ip))
			return h;
	}
	return NULL;
}

void sim_remove_host(struct sim_net *n, unsigned realm, const struct netaddr *ip)
{
	struct sim_host *h = sim_find_host(n, realm, ip);

	if (h != NULL)
		h->used = false;
}

void sim_rebind(struct sim_net *n, unsigned realm)
{
	struct sim_nat *nat = sim_nat_of(n, realm);

	memset(nat->maps, 0, sizeof(nat->maps));
	nat->map_end = 0;
	nat->permit_count = 0;
	nat->next_port = (uint16_t)(nat->next_port + 1000);
}

/* ---- one NAT ---- */

static bool is_stale(const struct sim_nat *nat, uint64_t used_us, uint64_t now_us)
{
	return nat->idle_us != 0 && now_us > used_us + nat->idle_us;
}

static void forget(struct sim_nat *nat, uint64_t now_us)
{
	if (nat->idle_us == 0)
		return;
	for (unsigned i = 0; i < nat->map_end; i++) {
		if (nat->maps[i].used && is_stale(nat, nat->maps[i].used_us, now_us))
			nat->maps[i].used = false;
	}
	for (unsigned i = 0; i < nat->permit_count;) {
		if (is_stale(nat, nat->permits[i].used_us, now_us))
			nat->permits[i] = nat->permits[--nat->permit_count];
		else
			i++;
	}
}

static void permit(struct sim_nat *nat, const struct netaddr *outer, const struct netaddr *peer,
                   uint64_t now_us)
{
	for (unsigned i = 0; i < nat->permit_count; i++) {
		if (netaddr_equal(&nat->permits[i].outer, outer) &&
		    netaddr_equal(&nat->permits[i].peer, peer)) {
			nat->permits[i].used_us = now_us;
			return;
		}
	}
	assert(nat->permit_count < SIM_MAX_PERMITS);
	nat->permits[nat->permit_count++] =
		(struct sim_permit){.used_us = now_us, .outer = *outer, .peer = *peer};
}

/* The outer address for a packet from inner to peer; the mapping is made when it is missing. */
static struct netaddr map_out(struct sim_nat *nat, const struct netaddr *inner,
                              const struct netaddr *peer, uint64_t now_us)
{
	unsigned place = nat->map_end;

	forget(nat, now_us);
	if (nat->mapping == SIM_MAP_NONE)
		return *inner;
	for (unsigned i = 0; i < nat->map_end; i++) {
		struct sim_map_entry *e = &nat->maps[i];

		if (!e->used) {
			place = GV_MIN(place, i);
			continue;
		}
		if (netaddr_equal(&e->inner, inner) &&
		    (nat->mapping == SIM_MAP_PER_BASE || netaddr_equal(&e->peer, peer))) {
			e->used_us = now_us;
			return e->outer;
		}
	}
	assert(place < SIM_MAX_MAPPINGS);
	nat->map_end = GV_MAX(nat->map_end, place + 1);
	struct sim_map_entry *e = &nat->maps[place];
	*e = (struct sim_map_entry){.used = true,
	                            .used_us = now_us,
	                            .inner = *inner,
	                            .outer = nat->public_ip,
	                            .peer = *peer};
	e->outer.port = nat->next_port++;
	return e->outer;
}

static bool is_permitted(const struct sim_nat *nat, const struct netaddr *outer,
                         const struct netaddr *from)
{
	if (nat->filter == SIM_FILTER_NONE)
		return true;
	for (unsigned i = 0; i < nat->permit_count; i++) {
		const struct sim_permit *p = &nat->permits[i];

		if (!netaddr_equal(&p->outer, outer) || !netaddr_ip_equal(&p->peer, from))
			continue;
		if (nat->filter == SIM_FILTER_ADDR || p->peer.port == from->port)
			return true;
	}
	return false;
}

/* The inner address for a packet from outside; false when the NAT drops it. */
static bool map_in(struct sim_nat *nat, const struct netaddr *outer, const struct netaddr *from,
                   uint64_t now_us, struct netaddr *inner)
{
	forget(nat, now_us);
	if (nat->blocked || !is_permitted(nat, outer, from))
		return false;
	if (nat->mapping == SIM_MAP_NONE) {
		*inner = *outer;
		return true;
	}
	for (unsigned i = 0; i < nat->map_end; i++) {
		const struct sim_map_entry *e = &nat->maps[i];

		if (e->used && netaddr_equal(&e->outer, outer)) {
			*inner = e->inner;
			return true;
		}
	}
	return false;
}

/* ---- ways ---- */

/* The realm in `parent` behind whose NAT this address lies, or 0. */
static unsigned child_with(struct sim_net *n, unsigned parent, const struct netaddr *ip)
{
	for (unsigned i = 0; i < n->nat_count; i++) {
		const struct sim_nat *nat = n->nats[i];

		if (nat->parent != parent)
			continue;
		if (nat->mapping == SIM_MAP_NONE ? sim_find_host(n, i + 1, ip) != NULL
		                                 : netaddr_ip_equal(&nat->public_ip, ip))
			return i + 1;
	}
	return 0;
}

/*
 * Climbs from the sender's realm to where the destination is known. *realm is that of the host then, or the one below
 * the NAT that is to be entered. False: the packet ends on its way.
 */
static bool route_out(struct sim_net *n, unsigned *realm, struct netaddr *from,
                      const struct netaddr *to, bool *is_inside, uint64_t now_us)
{
	for (;;) {
		*is_inside = true;
		if (sim_find_host(n, *realm, to) != NULL)
			return true;
		unsigned below = child_with(n, *realm, to);
		if (below != 0) {
			*is_inside = false;
			*realm = below;
			return true;
		}
		if (*realm == 0)
			return false;
		struct sim_nat *nat = sim_nat_of(n, *realm);
		bool turns = nat->mapping != SIM_MAP_NONE && netaddr_ip_equal(&nat->public_ip, to);
		if (nat->blocked || (turns && !nat->hairpin))
			return false;
		struct netaddr outer = map_out(nat, from, to, now_us);
		permit(nat, &outer, to, now_us);
		*from = outer;
		if (turns) {
			*is_inside = false;
			return true;
		}
		*realm = nat->parent;
	}
}

/* Descends to the host it is for; false when the packet ends at a border. */
static bool route_in(struct sim_net *n, struct sim_packet *p)
{
	while (!p->is_inside) {
		struct netaddr inner;

		if (!map_in(sim_nat_of(n, p->realm), &p->to, &p->from, p->at_us, &inner)) {
			n->blocked++;
			return false;
		}
		p->to = inner;
		unsigned below = sim_find_host(n, p->realm, &p->to) == NULL
		                         ? child_with(n, p->realm, &p->to)
		                         : 0;
		p->is_inside = below == 0;
		p->realm = below == 0 ? p->realm : below;
	}
	const struct sim_host *h = sim_find_host(n, p->realm, &p->to);
	return h != NULL && !h->deaf;
}

/* ---- under way ---- */

static bool is_before(const struct sim_packet *a, const struct sim_packet *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

static void swap(struct sim_net *n, size_t a, size_t b)
{
	struct sim_packet *p = n->packets[a];

	n->packets[a] = n->packets[b];
	n->packets[b] = p;
}

static void push(struct sim_net *n, struct sim_packet *p)
{
	if (n->packet_count == n->packet_room) {
		n->packet_room = GV_MAX((size_t)256, 2 * n->packet_room);
		n->packets = realloc(n->packets, n->packet_room * sizeof(n->packets[0]));
		assert(n->packets != NULL);
	}
	size_t i = n->packet_count++;
	n->packets[i] = p;
	for (; i > 0 && is_before(n->packets[i], n->packets[(i - 1) / 2]); i = (i - 1) / 2)
		swap(n, i, (i - 1) / 2);
}

static struct sim_packet *pop(struct sim_net *n)
{
	struct sim_packet *first = n->packets[0];
	size_t i = 0;

	n->packets[0] = n->packets[--n->packet_count];
	for (;;) {
		size_t least = i;

		for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++) {
			if (child < n->packet_count &&
			    is_before(n->packets[child], n->packets[least]))
				least = child;
		}
		if (least == i)
			return first;
		swap(n, i, least);
		i = least;
	}
}

static bool happens(struct sim_net *n, unsigned permille)
{
	return permille > 0 && rng_below(&n->rng, 1000) < permille;
}

/* One copy of *like with a delay of its own. */
static void launch(struct sim_net *n, const struct sim_packet *like, const uint8_t *data,
                   uint64_t now_us)
{
	struct sim_packet *p = malloc(sizeof(*p));

	assert(p != NULL);
	memcpy(p, like, offsetof(struct sim_packet, data));
	memcpy(p->data, data, like->len);
	p->number = n->sent;
	p->at_us = now_us + n->delay_min_us +
	           rng_below(&n->rng, n->delay_max_us - n->delay_min_us + 1);
	if (happens(n, n->late_permille))
		p->at_us += rng_below(&n->rng, n->late_us + 1);
	if (happens(n, n->corrupt_permille)) {
		uint32_t bit = rng_below(&n->rng, (uint32_t)p->len * 8);

		p->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		n->corrupted++;
	}
	push(n, p);
}

static void launch_all(struct sim_net *n, const struct sim_packet *like, const uint8_t *data,
                       uint64_t now_us)
{
	n->sent++;
	if (n->cut || happens(n, n->loss_permille)) {
		n->lost++;
		return;
	}
	launch(n, like, data, now_us);
	if (happens(n, n->duplicate_permille))
		launch(n, like, data, now_us);
}

void sim_send(struct sim_net *n, unsigned realm, const struct netaddr *from,
              const struct netaddr *to, const uint8_t *data, size_t len, uint64_t now_us)
{
	struct sim_packet p = {.realm = realm, .from = *from, .to = *to, .len = len};
	const struct sim_host *h = sim_find_host(n, realm, from);

	assert(len > 0 && len <= SIM_PACKET_MAX);
	if (h == NULL || h->mute)
		return;
	if (!route_out(n, &p.realm, &p.from, to, &p.is_inside, now_us)) {
		n->unrouted++;
		return;
	}
	if (n->tap != NULL && (p.realm == 0 || !p.is_inside))
		n->tap(n->tap_user, &p.from, to, data, len, now_us);
	launch_all(n, &p, data, now_us);
}

void sim_forge(struct sim_net *n, const struct netaddr *from, const struct netaddr *to,
               const uint8_t *data, size_t len, uint64_t now_us)
{
	struct sim_packet p = {.from = *from, .to = *to, .len = len};
	struct netaddr source = *from;

	assert(len > 0 && len <= SIM_PACKET_MAX);
	if (route_out(n, &p.realm, &source, to, &p.is_inside, now_us))
		launch_all(n, &p, data, now_us);
}

uint64_t sim_next_us(const struct sim_net *n)
{
	return n->packet_count == 0 ? UINT64_MAX : n->packets[0]->at_us;
}

bool sim_receive(struct sim_net *n, struct sim_packet *out, uint64_t now_us)
{
	while (n->packet_count > 0 && n->packets[0]->at_us <= now_us) {
		struct sim_packet *p = pop(n);
		bool arrives = route_in(n, p);

		memcpy(out, p, offsetof(struct sim_packet, data) + p->len);
		free(p);
		if (arrives)
			return true;
	}
	return false;
}

/* ---- theory ---- */

/* What all NATs between a base and the Internet are together. */
struct chain {
	unsigned outermost; /* realm behind the last one; 0: none */
	bool blocked, hairpin;
	bool one_port; /* the same outer port for all destinations */
	enum sim_filter filter;
};

static struct chain chain_of(struct sim_net *n, unsigned realm)
{
	struct chain c = {.one_port = true};

	for (; realm != 0; realm = sim_nat_of(n, realm)->parent) {
		const struct sim_nat *nat = sim_nat_of(n, realm);

		c.outermost = realm;
		c.blocked = c.blocked || nat->blocked;
		c.hairpin = nat->hairpin; /* of the last one: only there the ways may turn */
		c.one_port = c.one_port && nat->mapping != SIM_MAP_PER_PEER;
		c.filter = GV_MAX(c.filter, nat->filter);
	}
	return c;
}

/* A packet from x to y's own address arrives without having to enter a NAT. */
static bool reaches_host(struct sim_net *n, const struct sim_base *x, const struct sim_base *y)
{
	for (unsigned realm = x->realm;; realm = sim_nat_of(n, realm)->parent) {
		if (sim_find_host(n, realm, &y->addr) != NULL)
			return realm == y->realm;
		if (realm == 0 || sim_nat_of(n, realm)->blocked ||
		    child_with(n, realm, &y->addr) != 0)
			return false;
	}
}

/* The first packet from y to the address that a server saw of x arrives. */
static bool hears_first(const struct chain *x, const struct chain *y)
{
	if (!x->one_port)
		return false;
	/* x has sent to y's address; whether to the port as well depends on y's ports. */
	return x->filter != SIM_FILTER_PORT || y->one_port;
}

static bool works(struct sim_net *n, const struct sim_base *b)
{
	const struct sim_host *h = sim_find_host(n, b->realm, &b->addr);

	return h != NULL && !h->deaf && !h->mute;
}

bool sim_can_meet(struct sim_net *n, const struct sim_base *a, const struct sim_base *b)
{
	struct chain x = chain_of(n, a->realm), y = chain_of(n, b->realm);

	if (a->addr.family != b->addr.family || !works(n, a) || !works(n, b))
		return false;
	/* Whoever was reached answers to where the packet came from, and all NATs on that way are open for it. */
	if (reaches_host(n, a, b) || reaches_host(n, b, a))
		return true;
	if (x.blocked || y.blocked ||
	    (x.outermost != 0 && x.outermost == y.outermost && !x.hairpin))
		return false;
	return hears_first(&x, &y) || hears_first(&y, &x);
}
