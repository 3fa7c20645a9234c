/* SPDX-License-Identifier: MIT */

#include "net.h"

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
	n->packet_count = 0;
}

unsigned sim_add_nat(struct sim_net *n, enum sim_mapping mapping, enum sim_filter filter,
                     const char *public_ip)
{
	assert(n->nat_count < SIM_MAX_NATS);
	struct sim_nat *nat = &n->nats[n->nat_count++];

	nat->mapping = mapping;
	nat->filter = filter;
	nat->next_port = (uint16_t)(20000 + rng_below(&n->rng, 20000));
	bool ok = netaddr_parse_ip(public_ip, &nat->public_ip);
	assert(ok);
	return n->nat_count;
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

void sim_remove_host(struct sim_net *n, unsigned realm, const struct netaddr *ip)
{
	for (unsigned i = 0; i < SIM_MAX_HOSTS; i++) {
		if (n->hosts[i].used && n->hosts[i].realm == realm &&
		    netaddr_ip_equal(&n->hosts[i].ip, ip))
			n->hosts[i].used = false;
	}
}

void sim_rebind(struct sim_net *n, unsigned realm)
{
	struct sim_nat *nat = &n->nats[realm - 1];

	memset(nat->maps, 0, sizeof(nat->maps));
	nat->permit_count = 0;
	nat->next_port = (uint16_t)(nat->next_port + 1000);
}

static struct sim_host *find_host(struct sim_net *n, unsigned realm, const struct netaddr *ip)
{
	for (unsigned i = 0; i < SIM_MAX_HOSTS; i++) {
		struct sim_host *h = &n->hosts[i];

		if (h->used && h->realm == realm && netaddr_ip_equal(&h->ip, ip))
			return h;
	}
	return NULL;
}

static void permit(struct sim_nat *nat, const struct netaddr *outer, const struct netaddr *peer)
{
	for (size_t i = 0; i < nat->permit_count; i++) {
		if (netaddr_equal(&nat->permits[i].outer, outer) &&
		    netaddr_equal(&nat->permits[i].peer, peer))
			return;
	}
	assert(nat->permit_count < SIM_MAX_PERMITS);
	nat->permits[nat->permit_count++] = (struct sim_permit){.outer = *outer, .peer = *peer};
}

/* The outer address for a packet from inner to peer; the mapping is made when it is missing. */
static struct netaddr map_out(struct sim_nat *nat, const struct netaddr *inner,
                              const struct netaddr *peer)
{
	struct sim_map_entry *fresh = NULL;

	if (nat->mapping == SIM_MAP_NONE)
		return *inner;
	for (unsigned i = 0; i < SIM_MAX_MAPPINGS; i++) {
		struct sim_map_entry *e = &nat->maps[i];

		if (!e->used) {
			fresh = fresh == NULL ? e : fresh;
			continue;
		}
		if (netaddr_equal(&e->inner, inner) &&
		    (nat->mapping == SIM_MAP_PER_BASE || netaddr_equal(&e->peer, peer)))
			return e->outer;
	}
	assert(fresh != NULL);
	*fresh = (struct sim_map_entry){
		.used = true, .inner = *inner, .outer = nat->public_ip, .peer = *peer};
	fresh->outer.port = nat->next_port++;
	return fresh->outer;
}

static bool is_permitted(const struct sim_nat *nat, const struct netaddr *outer,
                         const struct netaddr *from)
{
	if (nat->filter == SIM_FILTER_NONE)
		return true;
	for (size_t i = 0; i < nat->permit_count; i++) {
		const struct sim_permit *p = &nat->permits[i];

		if (!netaddr_equal(&p->outer, outer) || !netaddr_ip_equal(&p->peer, from))
			continue;
		if (nat->filter == SIM_FILTER_ADDR || p->peer.port == from->port)
			return true;
	}
	return false;
}

/* The inner address for a packet from the Internet; false when the NAT drops it. */
static bool map_in(const struct sim_nat *nat, const struct netaddr *outer,
                   const struct netaddr *from, struct netaddr *inner)
{
	if (!is_permitted(nat, outer, from))
		return false;
	if (nat->mapping == SIM_MAP_NONE) {
		*inner = *outer;
		return true;
	}
	for (unsigned i = 0; i < SIM_MAX_MAPPINGS; i++) {
		const struct sim_map_entry *e = &nat->maps[i];

		if (e->used && netaddr_equal(&e->outer, outer)) {
			*inner = e->inner;
			return true;
		}
	}
	return false;
}

/* The realm behind whose NAT a public address lies, or 0. */
static unsigned realm_of(struct sim_net *n, const struct netaddr *ip)
{
	for (unsigned i = 0; i < n->nat_count; i++) {
		if (n->nats[i].mapping == SIM_MAP_NONE
		            ? find_host(n, i + 1, ip) != NULL
		            : netaddr_ip_equal(&n->nats[i].public_ip, ip))
			return i + 1;
	}
	return 0;
}

/* Leaves the sender's realm; false when the packet ends there. */
static bool route_out(struct sim_net *n, unsigned *realm, struct netaddr *from,
                      const struct netaddr *to)
{
	if (find_host(n, *realm, to) != NULL)
		return true;
	unsigned target = realm_of(n, to);
	if (*realm != 0) {
		struct sim_nat *nat = &n->nats[*realm - 1];
		struct netaddr outer = map_out(nat, from, to);

		permit(nat, &outer, to);
		*from = outer;
		if (target == *realm) {
			n->unrouted++; /* no hairpin */
			return false;
		}
	}
	*realm = target;
	return true;
}

/* Enters the realm it is for; false when the packet ends at its border. */
static bool route_in(struct sim_net *n, struct sim_packet *p)
{
	if (p->is_inside || p->realm == 0)
		return find_host(n, p->realm, &p->to) != NULL;
	struct netaddr inner;

	if (!map_in(&n->nats[p->realm - 1], &p->to, &p->from, &inner)) {
		n->blocked++;
		return false;
	}
	p->to = inner;
	return find_host(n, p->realm, &p->to) != NULL;
}

void sim_send(struct sim_net *n, unsigned realm, const struct netaddr *from,
              const struct netaddr *to, const uint8_t *data, size_t len, uint64_t now_us)
{
	struct netaddr source = *from;
	unsigned origin = realm;

	assert(len <= SIM_PACKET_MAX && n->packet_count < SIM_MAX_PACKETS);
	n->sent++;
	if (find_host(n, realm, from) == NULL || !route_out(n, &realm, &source, to))
		return;
	if (n->cut || rng_below(&n->rng, 1000) < n->loss_permille) {
		n->lost++;
		return;
	}
	struct sim_packet *p = calloc(1, sizeof(*p));
	assert(p != NULL);
	uint32_t spread_us = n->delay_max_us - n->delay_min_us;
	p->at_us = now_us + n->delay_min_us + rng_below(&n->rng, spread_us + 1);
	p->realm = realm;
	p->is_inside = realm == origin;
	p->from = source;
	p->to = *to;
	p->len = len;
	memcpy(p->data, data, len);
	n->packets[n->packet_count++] = p;
}

static size_t earliest(const struct sim_net *n)
{
	size_t best = 0;

	for (size_t i = 1; i < n->packet_count; i++) {
		if (n->packets[i]->at_us < n->packets[best]->at_us)
			best = i;
	}
	return best;
}

uint64_t sim_next_us(const struct sim_net *n)
{
	return n->packet_count == 0 ? UINT64_MAX : n->packets[earliest(n)]->at_us;
}

bool sim_receive(struct sim_net *n, struct sim_packet *out, uint64_t now_us)
{
	while (n->packet_count > 0) {
		size_t i = earliest(n);
		struct sim_packet *p = n->packets[i];

		if (p->at_us > now_us)
			return false;
		memmove(&n->packets[i], &n->packets[i + 1],
		        (--n->packet_count - i) * sizeof(n->packets[0]));
		bool arrives = route_in(n, p);
		*out = *p;
		free(p);
		if (arrives)
			return true;
	}
	return false;
}
