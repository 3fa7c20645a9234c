/* SPDX-License-Identifier: MIT */

#include "engine/client/supervisor_impl.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/dataplane/dataplane.h"
#include "io/loop.h"
#include "io/route.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("tunnel");

/* After kill -9 the old interface needs a moment to go. */
#define BUSY_RETRY_US   (100u * 1000u)
#define BUSY_TIMEOUT_US (1000u * 1000u)
#define PREFIX6_BITS    64

static bool name_is_used(const struct network *self, const char *name)
{
	const struct supervisor *s = self->sup;

	for (size_t i = 0; i < s->n_nets; i++) {
		const struct network *n = s->nets[i];
		if (n != self && n->tun_attached && strcmp(n->tun.name, name) == 0)
			return true;
	}
	return false;
}

/* The name it had last time, else the lowest free number. `skip` names were found busy. */
static void pick_name(const struct network *n, unsigned skip, char out[static TUN_NAME_SIZE])
{
	if (skip == 0 && n->st->ifname[0] != '\0' && !name_is_used(n, n->st->ifname)) {
		memcpy(out, n->st->ifname, STATE_IFNAME_SIZE);
		return;
	}
	for (unsigned i = 0;; i++) {
		(void)snprintf(out, TUN_NAME_SIZE, SUPERVISOR_IFNAME_PREFIX "%u",
		               i % 10000); /* fits */
		if (!name_is_used(n, out) && skip-- == 0)
			return;
	}
}

static int attach(struct network *n)
{
	struct supervisor *s = n->sup;
	struct diag diag = {0};
	uint64_t now_us = clock_now_us();
	char name[TUN_NAME_SIZE];
	unsigned skip = 0;
	int r;

	if (n->attach_until_us == 0)
		n->attach_until_us = now_us + BUSY_TIMEOUT_US;
	do {
		pick_name(n, skip, name);
		r = tun_attach(s->config.tun_pool, name, &n->tun, &diag);
		if (r == TUN_BUSY && now_us < n->attach_until_us) {
			loop_timer_start(n->retry, BUSY_RETRY_US);
			return TUNNEL_LATER;
		}
		/* Somebody else keeps this name: take the next. */
	} while (r == TUN_BUSY && ++skip <= TUN_DESCRIPTORS);
	n->attach_until_us = 0;
	if (r < 0)
		return err_up(r);
	if (r != TUN_OK) {
		network_set_problem(n, EXIT_CODE_FAILED, "%s", diag.text);
		return TUNNEL_FAILED;
	}
	n->tun_attached = true;
	memcpy(n->st->ifname, n->tun.name, sizeof(n->st->ifname));
	return TUNNEL_OK;
}

/* Brings the interface up with both addresses; the kernel adds the routes of both prefixes. */
static int address(struct network *n)
{
	struct route *route = n->sup->config.route;
	uint32_t ifindex = n->tun.ifindex;

	int r = route_link_up(route, ifindex, SUPERVISOR_MTU,
	                      dataplane_train_packets(SUPERVISOR_MTU));
	if (r == ROUTE_OK)
		r = route_addr_add(route, ifindex, &n->ip4, n->st->doc->subnet.bits);
	if (r == ROUTE_OK) {
		int r6 = route_addr_add(route, ifindex, &n->ip6, PREFIX6_BITS);
		if (r6 == ROUTE_NO_FAMILY)
			log_debug("no IPv6 on this computer");
		else
			r = r6;
	}
	if (r < 0)
		return err_up(r);
	if (r != ROUTE_OK) {
		network_set_problem(n, EXIT_CODE_FAILED, "%s",
		                    r == ROUTE_DENIED
		                            ? "no right to configure the interface"
		                            : "the interface went away while it was configured");
		return TUNNEL_FAILED;
	}
	return TUNNEL_OK;
}

/* The lowest number that no other network uses, so that the ports stay the same. */
static unsigned free_port_index(const struct network *self)
{
	const struct supervisor *s = self->sup;

	for (unsigned index = 0;; index++) {
		bool used = false;
		for (size_t i = 0; i < s->n_nets; i++) {
			const struct network *n = s->nets[i];
			used = used || (n != self && n->in_dataplane && n->port_index == index);
		}
		if (!used)
			return index;
	}
}

/*
 * A socket of one family; a port that is taken makes way for any port. UDP_NULL without that
 * family.
 */
static struct udp open_udp(struct network *n, uint8_t family, struct udp *reserved, uint16_t *port)
{
	const uint8_t zero[16] = {0};
	uint16_t wanted = n->sup->config.udp_port;
	struct udp u = UDP_NULL;
	struct netaddr local;

	if (wanted != 0 && n->port_index == 0 && reserved->fd >= 0) {
		u = *reserved;
		*reserved = UDP_NULL;
	} else {
		if (wanted != 0)
			wanted = wanted + n->port_index <= UINT16_MAX
			                 ? (uint16_t)(wanted + n->port_index)
			                 : 0;
		struct netaddr any =
			family == NETADDR_IP4 ? netaddr_ip4(0, wanted) : netaddr_ip6(zero, wanted);
		int r = udp_open(&any, &u);
		if (r == UDP_IN_USE && wanted != 0) {
			any.port = 0;
			r = udp_open(&any, &u);
		}
		if (r != UDP_OK)
			u = UDP_NULL;
	}
	*port = 0;
	if (u.fd >= 0 && udp_local(&u, &local) == 0)
		*port = local.port;
	return u;
}

static int add_to_dataplane(struct network *n)
{
	struct supervisor *s = n->sup;

	n->port_index = free_port_index(n);
	struct udp u4 = open_udp(n, NETADDR_IP4, &s->reserved4, &n->udp4_port);
	struct udp u6 = open_udp(n, NETADDR_IP6, &s->reserved6, &n->udp6_port);
	n->shared = mem_new(struct dataplane_stats);
	int r = n->shared != NULL && (u4.fd >= 0 || u6.fd >= 0) ? 0 : err_here(-ENOMEM);
	struct dataplane_net_config config = {
		.tun_fd = n->tun.fd,
		.udp4_fd = u4.fd,
		.udp6_fd = u6.fd,
		.tun_keep = true,
		.tun_vnet_hdr = n->tun.vnet_hdr,
		.tun_uso = n->tun.uso,
		.mtu = SUPERVISOR_MTU,
		.ip4 = n->ip4,
		.ip6 = n->ip6,
		.prefix4 = n->st->doc->subnet,
		.prefix6 = netprefix_of(&n->ip6, PREFIX6_BITS),
	};
	n->handle = s->next_handle++;
	if (r == 0)
		r = dataplane_net_add(s->config.dataplane, n->handle, &config, n->shared);
	if (r < 0) {
		udp_close(&u4);
		udp_close(&u6);
		mem_free(GV_STEAL(n->shared));
		n->handle = 0;
		return err_up(r);
	}
	n->in_dataplane = true;
	return 0;
}

static int make_mesh(struct network *n)
{
	struct supervisor *s = n->sup;
	const struct mesh_config config = {
		.dataplane = s->config.dataplane,
		.id = s->config.state->id,
		.cert = s->cert,
		.doc = n->st->doc,
		.ip4 = n->ip4,
		.ip6 = n->ip6,
		.session = s->session,
		.net = n->handle,
		.next_handle = &s->next_handle,
		.udp4_port = n->udp4_port,
		.udp6_port = n->udp6_port,
		.rng = s->rng,
	};
	uint64_t now_us = clock_now_us();

	int r = mesh_new(&n->mesh, &config, now_us);
	if (r < 0)
		return err_up(r);
	mesh_set_addresses(n->mesh, s->addrs, s->n_addrs, now_us);
	if (n->server != NULL)
		mesh_set_stun(n->mesh, n->server->stun, n->server->n_stun, now_us);
	return 0;
}

static void detach(struct network *n)
{
	if (n->tun_attached)
		tun_detach(n->sup->config.tun_pool, &n->tun);
	n->tun_attached = false;
}

int tunnel_open(struct network *n)
{
	struct supervisor *s = n->sup;
	int r = attach(n);

	if (r != TUNNEL_OK)
		return r < 0 ? err_up(r) : r;
	r = address(n);
	if (r == TUNNEL_OK)
		r = add_to_dataplane(n);
	if (r == TUNNEL_OK)
		r = make_mesh(n);
	if (r != TUNNEL_OK) {
		if (n->in_dataplane)
			tunnel_close(n);
		else
			detach(n);
		return r < 0 ? err_up(r) : r;
	}
	n->phase = NETWORK_UP;
	n->order = ++s->next_order;
	n->problem = (struct diag){0};
	log_info("network.up", LOG_STR("network", n->st->doc->name),
	         LOG_STR("interface", n->tun.name), LOG_ADDR("address", &n->ip4));
	supervisor_update_broadcast(s);
	(void)supervisor_save(s); /* logged; address and name are found again without it */
	supervisor_net_changed(n);
	return TUNNEL_OK;
}

void tunnel_repair(struct network *n)
{
	int r = address(n);

	if (r < 0)
		(void)log_err(r, "tunnel.repair", LOG_STR("interface", n->tun.name));
	/* One that is gone shows at its descriptor. */
	if (r == TUNNEL_OK)
		supervisor_repair_broadcast(n);
	log_debug("interface %s looked after", n->tun.name);
}

void tunnel_close(struct network *n)
{
	if (n->phase == NETWORK_CLOSING)
		return;
	if (!n->tun_attached) {
		n->phase = NETWORK_DOWN;
		return;
	}
	n->phase = NETWORK_CLOSING;
	loop_timer_stop(n->retry);
	if (n->mesh != NULL) {
		mesh_close(n->mesh, n->sup->stopping ? CTL_BYE_STOPPING : CTL_BYE_DOWN,
		           clock_now_us());
		network_pump(n);
	}
	supervisor_update_broadcast(n->sup);
	tunnel_closing_step(n);
}

void tunnel_closing_step(struct network *n)
{
	if (n->phase != NETWORK_CLOSING || (n->mesh != NULL && !mesh_is_idle(n->mesh)))
		return;
	mesh_free(GV_STEAL(n->mesh));
	loop_timer_stop(n->timer);
	if (n->del_asked)
		return;
	int r = dataplane_net_del(n->sup->config.dataplane, n->handle);
	if (r == -ENOBUFS || r == -ENOMEM)
		loop_timer_start(n->timer, BUSY_RETRY_US); /* its queue is full: come back */
	else
		n->del_asked = true;
}

void tunnel_gone(struct network *n, int tun_fd)
{
	struct supervisor *s = n->sup;
	const uint8_t zero[16] = {0};

	n->tun.fd = tun_fd;
	n->in_dataplane = n->del_asked = false;
	n->handle = 0;
	mem_free(GV_STEAL(n->shared));
	detach(n);
	if (s->config.udp_port != 0 && n->port_index == 0 && !s->stopping) {
		/*
		 * Keep the port for the next network; if somebody was faster it gets another one.
		 */
		const struct netaddr any4 = netaddr_ip4(0, s->config.udp_port);
		const struct netaddr any6 = netaddr_ip6(zero, s->config.udp_port);
		if (s->reserved4.fd < 0 && udp_open(&any4, &s->reserved4) != UDP_OK)
			s->reserved4 = UDP_NULL;
		if (s->reserved6.fd < 0 && udp_open(&any6, &s->reserved6) != UDP_OK)
			s->reserved6 = UDP_NULL;
	}
	log_info("network.down", LOG_STR("network", n->st->doc->name));
	n->phase = NETWORK_DOWN;
}
