/* SPDX-License-Identifier: MIT */

/* Candidates of this computer: host addresses, and what STUN servers see of them. Shared by all links of a network. */

#include "base/err.h"
#include "base/log.h"
#include "engine/client/mesh_impl.h"

#include <string.h>

LOG_MODULE("local");

struct netaddr local_with_port(const struct mesh *m, const struct netaddr *a)
{
	struct netaddr b = *a;

	b.port = a->family == NETADDR_IP4 ? m->c.udp4_port : m->c.udp6_port;
	return b;
}

/* Begins asking `servers` from every address; needed anew when they change. */
static int gather_begin(struct mesh *m, const struct netaddr *servers, size_t n, uint64_t now_us)
{
	struct gather_config gc = {.transaction_prefix = mesh_new_prefix(m), .rng = rng_os()};
	gv_cleanup(gather_freep) struct gather *g = NULL;

	gc.server_count = GV_MIN(n, (size_t)GATHER_MAX_SERVERS);
	if (gc.server_count > 0)
		memcpy(gc.servers, servers, gc.server_count * sizeof(servers[0]));
	int r = gather_new(&g, &gc);
	if (r < 0)
		return err_up(r);
	r = dataplane_net_transactions(m->c.dataplane, m->c.net, gc.transaction_prefix);
	if (r < 0)
		return err_up(r);
	gather_free(m->gather);
	m->gather = GV_STEAL(g);
	m->gather_prefix = gc.transaction_prefix;
	m->cands_done = gc.server_count == 0;
	for (size_t i = 0; i < m->n_addresses; i++) {
		struct netaddr base = local_with_port(m, &m->addresses[i]);

		if (base.port != 0)
			(void)gather_add_base(m->gather, &base,
			                      now_us); /* as many as the table takes */
	}
	return 0;
}

/* A NAT that gives new mappings must not fill the table: of each base the newest ones stay. */
static void forget_mapping(struct mesh *m, const struct netaddr *base)
{
	size_t same = 0, oldest = 0;

	for (size_t i = m->n_cands; i-- > 0;)
		if (m->cands[i].type == ICE_CAND_SRFLX && netaddr_equal(&m->cands[i].base, base)) {
			same++;
			oldest = i;
		}
	if (same < MESH_MAX_MAPPINGS)
		return;
	m->n_cands--;
	memmove(&m->cands[oldest], &m->cands[oldest + 1],
	        (m->n_cands - oldest) * sizeof(m->cands[0]));
}

static void add_cand(struct mesh *m, const struct ice_cand *c, uint64_t now_us)
{
	struct peer *p, *tmp;

	for (size_t i = 0; i < m->n_cands; i++)
		if (m->cands[i].type == c->type && netaddr_equal(&m->cands[i].addr, &c->addr) &&
		    netaddr_equal(&m->cands[i].base, &c->base))
			return;
	if (c->type == ICE_CAND_SRFLX)
		forget_mapping(m, &c->base);
	if (m->n_cands == MESH_MAX_CANDS)
		return;
	m->cands[m->n_cands++] = *c;
	m->all_changed = true;
	HASH_ITER(hh, m->peers, p, tmp)
	{
		struct link *links[] = {p->use, p->next};

		for (size_t i = 0; i < GV_ARRAY_SIZE(links); i++)
			if (links[i] != NULL) {
				link_add_local(links[i], c, now_us);
				link_pump(links[i], now_us);
			}
	}
}

static void remove_base(struct mesh *m, const struct netaddr *base, uint64_t now_us)
{
	struct peer *p, *tmp;
	size_t kept = 0;

	for (size_t i = 0; i < m->n_cands; i++)
		if (!netaddr_equal(&m->cands[i].base, base))
			m->cands[kept++] = m->cands[i];
	m->n_cands = kept;
	gather_remove_base(m->gather, base, now_us);
	m->all_changed = true;
	HASH_ITER(hh, m->peers, p, tmp)
	{
		struct link *links[] = {p->use, p->next};

		for (size_t i = 0; i < GV_ARRAY_SIZE(links); i++)
			if (links[i] != NULL) {
				ice_remove_local(links[i]->ice, base, now_us);
				link_pump(links[i], now_us);
			}
	}
}

static bool holds(const struct netaddr *list, size_t n, const struct netaddr *a)
{
	for (size_t i = 0; i < n; i++)
		if (netaddr_ip_equal(&list[i], a) && list[i].ifindex == a->ifindex)
			return true;
	return false;
}

void local_pump(struct mesh *m, uint64_t now_us)
{
	struct ice_packet pkt;
	struct gather_event e;

	while (gather_output(m->gather, &pkt, now_us) == 1) {
		/* A full lane loses the packet as a network would: it is sent again. */
		if (dataplane_send_raw(m->c.dataplane, m->c.net, &pkt.local, &pkt.remote, pkt.data,
		                       pkt.len) < 0)
			log_debug("gathering: send lane full");
	}
	while (gather_event(m->gather, &e) == 1) {
		if (e.type == GATHER_EVENT_SRFLX && !netaddr_equal(&e.mapped, &e.base)) {
			struct ice_cand c = ice_cand_local(ICE_CAND_SRFLX, &e.mapped, &e.base, 0);

			add_cand(m, &c, now_us);
		} else if (e.type == GATHER_EVENT_DONE && !m->cands_done) {
			struct peer *p, *tmp;

			m->cands_done = true;
			m->all_changed = true;
			HASH_ITER(hh, m->peers, p, tmp)
			{
				if (p->next != NULL)
					link_end_local(p->next, now_us);
				if (p->use != NULL)
					link_end_local(p->use, now_us);
			}
		}
	}
}

/* The list is ranked best first, all addresses of an interface together. */
static uint16_t preference(const struct netaddr *addrs, size_t i)
{
	unsigned rank = 0;

	for (size_t k = 1; k <= i; k++)
		rank += addrs[k].ifindex != addrs[k - 1].ifindex;
	/* Two of one interface and family differ too (RFC 8445 5.1.2.1). */
	return (uint16_t)(ice_cand_preference((enum netaddr_family)addrs[i].family, rank) - i);
}

void mesh_set_addresses(struct mesh *m, const struct netaddr *addrs, size_t n, uint64_t now_us)
{
	struct netaddr old[MESH_MAX_ADDRESSES];
	size_t n_old = m->n_addresses;

	n = GV_MIN(n, (size_t)MESH_MAX_ADDRESSES);
	memcpy(old, m->addresses, sizeof(old));
	/* First: a link that loses its path to an address that goes has all others asked anew. */
	memcpy(m->addresses, addrs, n * sizeof(addrs[0]));
	m->n_addresses = n;
	for (size_t i = 0; i < n_old; i++) {
		if (!holds(addrs, n, &old[i])) {
			struct netaddr base = local_with_port(m, &old[i]);

			log_info("address.gone", LOG_ADDR("address", &base));
			remove_base(m, &base, now_us);
		}
	}
	for (size_t i = 0; i < n; i++) {
		struct netaddr base = local_with_port(m, &addrs[i]);

		if (base.port == 0 || holds(old, n_old, &addrs[i]))
			continue;
		struct ice_cand c =
			ice_cand_local(ICE_CAND_HOST, &base, &base, preference(addrs, i));

		log_debug("new local address");
		add_cand(m, &c, now_us);
		if (gather_add_base(m->gather, &base, now_us) == GATHER_OK && m->n_stun > 0)
			m->cands_done = false;
	}
	local_pump(m, now_us);
}

void mesh_set_stun(struct mesh *m, const struct netaddr *servers, size_t n, uint64_t now_us)
{
	n = GV_MIN(n, (size_t)MESH_MAX_STUN);
	if (n == m->n_stun && memcmp(m->stun, servers, n * sizeof(servers[0])) == 0)
		return;
	int r = gather_begin(m, servers, n, now_us);
	if (r < 0) {
		(void)log_err(r, "mesh.gather"); /* the old servers stay in use */
		return;
	}
	memcpy(m->stun, servers, n * sizeof(servers[0]));
	m->n_stun = n;
	local_pump(m, now_us);
}

void local_refresh(struct mesh *m, uint64_t now_us)
{
	if (now_us < m->refresh_us)
		return;
	m->refresh_us = now_us + LOCAL_REFRESH_US;
	for (size_t i = 0; i < m->n_addresses; i++) {
		struct netaddr base = local_with_port(m, &m->addresses[i]);

		if (base.port != 0)
			(void)gather_add_base(m->gather, &base,
			                      now_us); /* known: it is asked anew */
	}
	local_pump(m, now_us);
}

int local_begin(struct mesh *m, uint64_t now_us)
{
	return gather_begin(m, NULL, 0, now_us);
}
