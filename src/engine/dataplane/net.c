/* SPDX-License-Identifier: MIT */

/* Networks and peers: tables by address, the STUN names that pass to control, the addresses bound to links. */

#include "engine/dataplane/shard.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "proto/stun/msg.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utlist.h>

LOG_MODULE("dataplane");

struct net *net_find(const struct shard *s, uint32_t id)
{
	for (unsigned i = 0; i < DATAPLANE_MAX_NETS; i++) {
		if (s->nets[i] != NULL && s->nets[i]->id == id)
			return s->nets[i];
	}
	return NULL;
}

void net_take_descriptors(struct net *n)
{
	n->tun_fd = n->c.tun_fd;
	n->udp4 = udp_adopt(n->c.udp4_fd);
	n->udp6 = udp_adopt(n->c.udp6_fd);
}

void net_free(struct net *n)
{
	if (n == NULL)
		return;
	if (n->tun_fd >= 0 && !n->c.tun_keep)
		close(n->tun_fd);
	udp_close(&n->udp4);
	udp_close(&n->udp6);
	fq_free(n->queue);
	mem_free(n->by_host);
	mem_free(n);
}

static void watch(struct shard *s, int fd, struct source *source)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = source};

	if (fd >= 0 && epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
		(void)log_err(err_here(-errno), "dataplane.watch", LOG_I64("fd", fd));
}

/* A closed descriptor leaves epoll by itself; one that is given back does not. */
static void unwatch(struct shard *s, int fd)
{
	if (fd >= 0)
		(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* not watched: as wished */
}

void net_add(struct shard *s, struct net *n)
{
	net_take_descriptors(n);
	for (unsigned i = 0; i < DATAPLANE_MAX_NETS; i++) {
		if (s->nets[i] != NULL)
			continue;
		s->nets[i] = n;
		watch(s, n->tun_fd, &n->tun_source);
		watch(s, n->udp4.fd, &n->udp4_source);
		watch(s, n->udp6.fd, &n->udp6_source);
		return;
	}
	(void)log_err(err_here(-ENOBUFS), "dataplane.net_add", LOG_U64("net", n->id));
	net_free(n);
}

void net_tun_lost(struct shard *s, struct net *n)
{
	struct dataplane_event ev = {.type = DATAPLANE_EVENT_TUN_LOST, .net = n->id};

	if (n->tun_lost)
		return;
	n->tun_lost = true;
	unwatch(s, n->tun_fd);
	if (shard_event(s, EVENT_LANE_STATE, &ev, NULL) < 0)
		log_warn("dataplane.tun_lost", LOG_U64("net", n->id));
}

static void peer_free(struct shard *s, struct peer *p)
{
	mem_free(p);
	(void)atomic_fetch_sub_explicit(&s->n_peers, 1, memory_order_relaxed);
}

static void peer_remove(struct shard *s, struct peer *p)
{
	struct net *n = p->net;

	while (p->links != NULL) {
		struct link *l = p->links;

		link_unlink(s, l);
		shard_link_free(l);
	}
	HASH_DELETE(hh, s->peers, p);
	DL_DELETE(n->peers, p);
	if (p->hh6.tbl != NULL)
		HASH_DELETE(hh6, n->by_ip6, p);
	if (peer_by_ip4(n, netaddr_u32(&p->c.ip4)) == p)
		n->by_host[netaddr_u32(&p->c.ip4) - n->first4] = NULL;
	peer_free(s, p);
}

void net_del(struct shard *s, uint32_t id, struct event *gone)
{
	gone->ev.net = id;
	for (unsigned i = 0; i < DATAPLANE_MAX_NETS; i++) {
		struct net *n = s->nets[i];

		if (n == NULL || n->id != id)
			continue;
		while (n->peers != NULL)
			peer_remove(s, n->peers);
		unwatch(s, n->tun_fd);
		if (n->c.tun_keep)
			gone->ev.tun_fd = n->tun_fd;
		s->nets[i] = NULL;
		net_free(n);
	}
	shard_send_gone(s, gone);
}

/* --- peers --------------------------------------------------------------------------------------- */

struct peer *peer_by_ip4(const struct net *n, uint32_t ip)
{
	uint32_t host = ip - n->first4; /* wraps to something large below the prefix */

	return host < n->hosts ? n->by_host[host] : NULL;
}

struct peer *peer_by_ip6(const struct net *n, const uint8_t ip[static 16])
{
	struct peer *p;

	HASH_FIND(hh6, n->by_ip6, ip, 16, p);
	return p;
}

void peer_add(struct shard *s, uint32_t net, struct peer *p)
{
	struct net *n = net_find(s, net);
	struct peer *same;

	HASH_FIND(hh, s->peers, &p->id, sizeof(p->id), same);
	if (n != NULL && same == NULL)
		HASH_ADD(hh, s->peers, id, sizeof(p->id), p);
	if (p->hh.tbl == NULL) {
		int r = n == NULL ? -ENOENT : same != NULL ? -EEXIST : -ENOMEM;

		(void)log_err(err_here(r), "dataplane.peer_add", LOG_U64("peer", p->id));
		peer_free(s, p);
		return;
	}
	p->net = n;
	DL_APPEND(n->peers, p);
	uint32_t host = netaddr_u32(&p->c.ip4) - n->first4;
	if (p->c.ip4.family == NETADDR_IP4 && host < n->hosts)
		n->by_host[host] = p;
	/* Without memory for the table it stays unreachable by IPv6, which a later packet counts as a drop. */
	if (p->c.ip6.family == NETADDR_IP6 && peer_by_ip6(n, p->c.ip6.ip) == NULL)
		HASH_ADD(hh6, n->by_ip6, c.ip6.ip, 16, p);
}

void peer_del(struct shard *s, uint32_t id, struct event *gone)
{
	struct peer *p;

	gone->ev.peer = id;
	HASH_FIND(hh, s->peers, &id, sizeof(id), p);
	if (p != NULL) {
		gone->ev.net = p->net->id;
		peer_remove(s, p);
	}
	shard_send_gone(s, gone);
}

/* --- addresses of links -------------------------------------------------------------------------- */

static struct addr_key addr_key(const struct netaddr *a)
{
	struct addr_key k = {.port = a->port, .family = a->family};

	memcpy(k.ip, a->ip, sizeof(k.ip));
	return k;
}

struct link_addr *net_addr_find(const struct net *n, const struct netaddr *remote)
{
	struct addr_key k = addr_key(remote);
	struct link_addr *a;

	HASH_FIND(hh, n->addrs, &k, sizeof(k), a);
	return a;
}

static void unbind(struct net *n, struct link_addr *a)
{
	struct link_addr *head = net_addr_find(n, &a->remote);

	a->order = 0;
	if (head != a) {
		/* It hangs on the first of this address. */
		for (struct link_addr *i = head; i != NULL; i = i->next) {
			if (i->next == a)
				i->next = a->next;
		}
		a->next = NULL;
		return;
	}
	HASH_DELETE(hh, n->addrs, a);
	if (a->next != NULL)
		HASH_ADD(hh, n->addrs, key, sizeof(a->next->key), a->next);
	a->next = NULL;
}

/* A free place, or that of the oldest address that is not the path's. */
static struct link_addr *pick_place(struct link *l)
{
	struct link_addr *oldest = NULL;

	for (unsigned i = 0; i < DATAPLANE_MAX_ADDRS; i++) {
		struct link_addr *a = &l->addrs[i];

		if (a->order == 0)
			return a;
		if (!netaddr_equal(&a->remote, &l->remote) &&
		    (oldest == NULL || a->order < oldest->order))
			oldest = a;
	}
	return oldest;
}

struct early *net_early_find(struct net *n, const struct netaddr *remote)
{
	for (unsigned i = 0; i < NET_EARLY; i++) {
		if (netaddr_equal(&n->early[i].remote, remote))
			return &n->early[i];
	}
	return NULL;
}

void net_early_expect(struct net *n, const struct netaddr *remote)
{
	if (net_addr_find(n, remote) != NULL || net_early_find(n, remote) != NULL)
		return;
	struct early *e = &n->early[n->early_next];
	n->early_next = (n->early_next + 1) % NET_EARLY;
	if (e->count > 0)
		drop(n->stats, DATAPLANE_DROP_RX_UNKNOWN, e->count);
	e->remote = *remote;
	e->count = 0;
}

static void replay_early(struct shard *s, struct link *l, const struct netaddr *remote)
{
	struct early *e = net_early_find(l->peer->net, remote);

	if (e == NULL)
		return;
	for (unsigned i = 0; i < e->count; i++) {
		struct dataplane_event ev = {
			.type = DATAPLANE_EVENT_HANDSHAKE,
			.net = l->peer->net->id,
			.peer = l->peer->id,
			.link = l->id,
			.local = e->local,
			.remote = e->remote,
			.data = e->data[i],
			.len = e->len[i],
		};

		if (shard_event(s, EVENT_LANE_HANDSHAKE, &ev, NULL) < 0)
			drop(l->peer->stats, DATAPLANE_DROP_RX_LANE, 1);
	}
	e->remote = (struct netaddr){0};
	e->count = 0;
}

void net_addr_bind(struct shard *s, struct link *l, const struct netaddr *remote)
{
	struct net *n = l->peer->net;
	struct link_addr *head = net_addr_find(n, remote);

	for (struct link_addr *a = head; a != NULL; a = a->next) {
		if (a->link == l) {
			a->order = ++s->addr_order;
			return;
		}
	}
	struct link_addr *a = pick_place(l);
	if (a->order != 0)
		unbind(n, a);
	head = net_addr_find(n, remote);
	*a = (struct link_addr){
		.key = addr_key(remote),
		.link = l,
		.order = ++s->addr_order,
		.remote = *remote,
	};
	if (head != NULL) {
		a->next = head->next;
		head->next = a;
	} else {
		HASH_ADD(hh, n->addrs, key, sizeof(a->key), a);
		if (a->hh.tbl == NULL) {
			a->order = 0;
			(void)log_err(err_here(-ENOMEM), "dataplane.link_addr",
			              LOG_U64("link", l->id));
			return;
		}
	}
	replay_early(s, l, remote);
}

void net_addr_unbind_all(struct link *l)
{
	for (unsigned i = 0; i < DATAPLANE_MAX_ADDRS; i++) {
		if (l->addrs[i].order != 0)
			unbind(l->peer->net, &l->addrs[i]);
	}
}

/* --- STUN ---------------------------------------------------------------------------------------- */

static void names_remove(struct link *l, unsigned i)
{
	struct net *n = l->peer->net;

	if (l->names[i].hh.tbl != NULL)
		HASH_DELETE(hh, n->ufrags, &l->names[i]);
	if (l->prefixes[i].hh.tbl != NULL)
		HASH_DELETE(hh, n->prefixes, &l->prefixes[i]);
	memset(&l->names[i], 0, sizeof(l->names[i]));
	memset(&l->prefixes[i], 0, sizeof(l->prefixes[i]));
}

void net_stun_names_remove(struct link *l)
{
	for (unsigned i = 0; i < LINK_NAMES; i++)
		names_remove(l, i);
}

void net_stun_names_add(struct link *l, const char *ufrag, uint32_t prefix)
{
	struct net *n = l->peer->net;
	unsigned i = l->names_next++ % LINK_NAMES;
	struct stun_name *name = &l->names[i];
	struct stun_prefix *p = &l->prefixes[i];
	struct stun_name *same_name;
	struct stun_prefix *same_prefix;

	names_remove(l, i);
	memcpy(name->text, ufrag, strlen(ufrag));
	HASH_FIND(hh, n->ufrags, name->text, sizeof(name->text), same_name);
	if (same_name == NULL)
		HASH_ADD(hh, n->ufrags, text, sizeof(name->text), name);
	p->prefix = prefix;
	HASH_FIND(hh, n->prefixes, &p->prefix, sizeof(p->prefix), same_prefix);
	if (same_prefix == NULL)
		HASH_ADD(hh, n->prefixes, prefix, sizeof(p->prefix), p);
}

void net_transactions(struct net *n, uint32_t prefix)
{
	n->gather[n->gather_next++ % NET_GATHER_PREFIXES] =
		(struct stun_gather){.prefix = prefix, .used = true};
}

static bool prefix_known(const struct net *n, uint32_t prefix)
{
	const struct stun_prefix *p;

	for (unsigned i = 0; i < NET_GATHER_PREFIXES; i++) {
		if (n->gather[i].used && n->gather[i].prefix == prefix)
			return true;
	}
	HASH_FIND(hh, n->prefixes, &prefix, sizeof(prefix), p);
	return p != NULL;
}

bool net_stun_known(const struct net *n, const uint8_t *data, size_t len)
{
	char key[sizeof(((struct stun_name *)0)->text)] = {0};
	const struct stun_name *name;
	const char *ufrag;
	size_t ufrag_len;

	switch (stun_peek_class(data)) {
	case STUN_CLASS_SUCCESS:
	case STUN_CLASS_ERROR:
		return prefix_known(n, stun_peek_prefix(data));
	case STUN_CLASS_REQUEST:
		if (!stun_peek_username(data, len, &ufrag, &ufrag_len) || ufrag_len >= UFRAG_SIZE)
			return false;
		memcpy(key, ufrag, ufrag_len);
		HASH_FIND(hh, n->ufrags, key, sizeof(key), name);
		return name != NULL;
	case STUN_CLASS_INDICATION:
		return false;
	}
	return false;
}
