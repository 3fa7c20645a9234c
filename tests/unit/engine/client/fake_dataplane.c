/* SPDX-License-Identifier: MIT */

#include "fake_dataplane.h"

#include "base/mem.h"
#include "crypto/record.h"
#include "engine/dataplane/dataplane.h"
#include "proto/stun/msg.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINKS 32

struct fake_link {
	uint32_t handle, peer, prefix;
	char ufrag[260];
	struct netaddr addrs[8];
	unsigned n_addrs;
	struct netaddr remote;
	bool has_path, started, allowed, ip_open, ctl_open, tunnel, polite;
	bool ip_waits; /* for fake_hold_ip() to end */
	struct record *record;
	enum dataplane_dtls_role role;
	struct dataplane_link_shared *shared;
};

#define STUN_FROM 8
#define GATHER    4 /* prefixes of gathering that are kept, as in the real one */

struct dataplane {
	unsigned index;
	struct mesh *mesh;
	struct fake_link links[LINKS];
	uint32_t gather[GATHER];
	unsigned gathered;
	uint32_t peer_in_use[4096]; /* link handle by peer handle */
	struct netaddr peer_ip[4096];
	unsigned allowed;
	bool refuses; /* deletions */
	bool refuses_ctl;
	uint8_t ctl_begin[2]; /* of the last ctl message sent */
	uint8_t stun_id[12];  /* of the last message to nobody here */
	/* Where such messages were sent from, and how often; the last place counts the rest. */
	struct netaddr stun_from[STUN_FROM];
	unsigned stun_count[STUN_FROM];
};

struct under_way {
	struct under_way *next;
	unsigned from, to;
	enum dataplane_event_type type;
	uint32_t link, peer; /* at the receiver; 0: by address */
	size_t len;
	uint8_t data[];
};

static_assert(LINKS + GATHER == FAKE_PREFIXES, "the list holds all");

static struct dataplane planes[FAKE_COMPUTERS];
static struct under_way *head, **tail = &head;
static bool wire_cut, ip_held;

struct dataplane *fake_dataplane(unsigned i)
{
	planes[i].index = i;
	return &planes[i];
}

static void drop_all(void)
{
	for (struct under_way *u = head, *next; u != NULL; u = next) {
		next = u->next;
		free(u);
	}
	head = NULL;
	tail = &head;
}

static void forget_links(struct dataplane *d)
{
	for (unsigned k = 0; k < LINKS; k++)
		record_free(d->links[k].record);
	memset(d->links, 0, sizeof(d->links));
}

void fake_reset(void)
{
	drop_all();
	for (unsigned i = 0; i < FAKE_COMPUTERS; i++)
		forget_links(&planes[i]);
	memset(planes, 0, sizeof(planes));
	wire_cut = ip_held = false;
	for (unsigned i = 0; i < FAKE_COMPUTERS; i++)
		planes[i].index = i;
}

void fake_bind(unsigned i, struct mesh *m)
{
	planes[i].mesh = m;
	if (m == NULL)
		forget_links(&planes[i]); /* their shared blocks go with the mesh */
}

void fake_cut(bool cut)
{
	wire_cut = cut;
}

void fake_refuse(unsigned i, bool refuse)
{
	planes[i].refuses = refuse;
}

void fake_refuse_ctl(unsigned i, bool refuse)
{
	planes[i].refuses_ctl = refuse;
}

const uint8_t *fake_stun_id(unsigned i)
{
	return planes[i].stun_id;
}

/* The place of this address in the list; a new address gets one. */
static unsigned stun_place(struct dataplane *d, const struct netaddr *local)
{
	unsigned k = 0;

	while (k < STUN_FROM - 1 && d->stun_from[k].family != NETADDR_NONE &&
	       !netaddr_ip_equal(&d->stun_from[k], local))
		k++;
	d->stun_from[k] = *local;
	return k;
}

unsigned fake_stun_sent(unsigned i, const struct netaddr *local)
{
	return planes[i].stun_count[stun_place(&planes[i], local)];
}

const uint8_t *fake_last_ctl(unsigned i)
{
	return planes[i].ctl_begin;
}

static void post(unsigned from, unsigned to, enum dataplane_event_type type, uint32_t link,
                 uint32_t peer, const void *data, size_t len)
{
	struct under_way *u = calloc(1, sizeof(*u) + len);

	assert(u != NULL);
	u->from = from;
	u->to = to;
	u->type = type;
	u->link = link;
	u->peer = peer;
	u->len = len;
	if (len > 0)
		memcpy(u->data, data, len);
	*tail = u;
	tail = &u->next;
}

static struct netaddr address(unsigned i)
{
	return netaddr_ip4(0xc0000201 + i, 5000);
}

static int computer_of(const struct netaddr *a)
{
	for (unsigned i = 0; i < FAKE_COMPUTERS; i++) {
		struct netaddr own = address(i);

		if (netaddr_equal(a, &own))
			return (int)i;
	}
	return -1;
}

static struct fake_link *find(struct dataplane *d, uint32_t handle)
{
	for (unsigned k = 0; k < LINKS; k++)
		if (d->links[k].handle == handle && handle != 0)
			return &d->links[k];
	return NULL;
}

/* The link of `to` whose keys open what `l` of `from` seals. */
static struct fake_link *partner(unsigned from, const struct fake_link *l, unsigned *to)
{
	int other = l->has_path ? computer_of(&l->remote) : -1;

	if (other < 0)
		return NULL;
	*to = (unsigned)other;
	for (unsigned k = 0; k < LINKS; k++) {
		struct fake_link *o = &planes[other].links[k];
		uint8_t sealed[128];
		size_t n;
		struct record_plain plain;
		struct record_counters c = {0};

		if (o->handle == 0 || o->record == NULL || o->role == l->role)
			continue;
		struct netaddr own = address(from);
		if (!netaddr_equal(&o->remote, &own))
			continue;
		/* An empty record tells whether the keys match. */
		if (record_seal_one(l->record, RECORD_TYPE_DATA, "", 0, sealed, sizeof(sealed),
		                    &n) != 0)
			continue;
		struct pkt in = {.data = sealed, .len = n};
		if (record_open(o->record, &in, 1, &plain, 1, &c) == 1)
			return o;
	}
	return NULL;
}

/* Both sides have keys: `ctl` opens, as DCEP over SCTP would make it. */
static void try_ctl(struct dataplane *d, struct fake_link *l)
{
	unsigned to;
	struct fake_link *o = l->record != NULL && !l->ctl_open ? partner(d->index, l, &to) : NULL;

	if (o == NULL || wire_cut || !l->started || !o->started)
		return;
	l->ctl_open = true;
	o->ctl_open = true;
	post(d->index, d->index, DATAPLANE_EVENT_CTL_OPEN, l->handle, l->peer, NULL, 0);
	post(d->index, to, DATAPLANE_EVENT_CTL_OPEN, o->handle, o->peer, NULL, 0);
}

unsigned fake_prefixes(unsigned i, uint32_t out[static FAKE_PREFIXES])
{
	const struct dataplane *d = &planes[i];
	unsigned n = 0;

	for (unsigned k = 0; k < LINKS; k++)
		if (d->links[k].handle != 0)
			out[n++] = d->links[k].prefix;
	for (unsigned k = 0; k < GV_MIN(d->gathered, (unsigned)GATHER); k++)
		out[n++] = d->gather[k];
	return n;
}

/* An answer to no transaction that was told does not pass, as in the real one. */
static bool is_nobodys(const struct dataplane *d, const uint8_t *data)
{
	uint32_t known[FAKE_PREFIXES];
	unsigned n = fake_prefixes(d->index, known);
	enum stun_class class = stun_peek_class(data);

	if (class != STUN_CLASS_SUCCESS && class != STUN_CLASS_ERROR)
		return false;
	while (n > 0 && known[n - 1] != stun_peek_prefix(data))
		n--;
	return n == 0;
}

static void deliver_datagram(struct dataplane *d, const struct under_way *u, uint64_t now_us)
{
	struct dataplane_event e = {
		.tun_fd = -1, .local = address(u->to), .remote = address(u->from)};

	e.data = u->data;
	e.len = u->len;
	e.type = u->data[0] < 4 ? DATAPLANE_EVENT_STUN : DATAPLANE_EVENT_HANDSHAKE;
	if (e.type == DATAPLANE_EVENT_STUN) {
		if (!is_nobodys(d, u->data))
			mesh_dataplane_event(d->mesh, &e, now_us);
		return;
	}
	/* DTLS passes to the newest link that validated the address. */
	struct fake_link *best = NULL;
	for (unsigned k = 0; k < LINKS; k++) {
		struct fake_link *l = &d->links[k];

		for (unsigned a = 0; l->handle != 0 && a < l->n_addrs; a++)
			if (netaddr_equal(&l->addrs[a], &e.remote) &&
			    (best == NULL || l->handle > best->handle))
				best = l;
	}
	if (best == NULL)
		return;
	e.link = best->handle;
	e.peer = best->peer;
	mesh_dataplane_event(d->mesh, &e, now_us);
}

unsigned fake_deliver(uint64_t now_us)
{
	unsigned n = 0;

	while (head != NULL) {
		struct under_way *u = head;
		struct dataplane *d = &planes[u->to];

		head = u->next;
		if (head == NULL)
			tail = &head;
		bool lost = wire_cut && u->from != u->to;
		if (d->mesh != NULL && !lost && u->type == DATAPLANE_EVENT_STUN) {
			deliver_datagram(d, u, now_us);
		} else if (d->mesh != NULL && !lost) {
			struct dataplane_event e = {
				.type = u->type, .link = u->link, .peer = u->peer, .tun_fd = -1};

			e.data = u->data;
			e.len = u->len;
			struct fake_link *l = find(d, u->link);
			if (l != NULL)
				atomic_store(&l->shared->heard_us, now_us);
			mesh_dataplane_event(d->mesh, &e, now_us);
		}
		free(u);
		n++;
	}
	for (unsigned i = 0; i < FAKE_COMPUTERS; i++)
		for (unsigned k = 0; k < LINKS; k++)
			try_ctl(&planes[i], &planes[i].links[k]);
	return n;
}

void fake_end_links(void)
{
	for (unsigned i = 0; i < FAKE_COMPUTERS; i++)
		for (unsigned k = 0; k < LINKS; k++) {
			struct fake_link *l = &planes[i].links[k];

			if (l->handle != 0 && l->record != NULL)
				post(i, i, DATAPLANE_EVENT_LINK_DOWN, l->handle, l->peer, NULL, 0);
		}
}

void fake_say(unsigned i, const void *data, size_t len)
{
	for (unsigned k = 0; k < LINKS; k++)
		if (planes[i].links[k].handle != 0 && planes[i].links[k].ip_open) {
			int r = dataplane_ctl_send(&planes[i], planes[i].links[k].handle, data,
			                           len);

			assert(r == 0);
			return;
		}
}

unsigned fake_links(unsigned i)
{
	unsigned n = 0;

	for (unsigned k = 0; k < LINKS; k++)
		n += planes[i].links[k].handle != 0;
	return n;
}

bool fake_ip_passes(unsigned i, unsigned to)
{
	for (unsigned k = 0; k < LINKS; k++) {
		struct fake_link *l = &planes[i].links[k];
		unsigned other;

		if (l->handle == 0 || l->record == NULL || !l->allowed || !l->ip_open)
			continue;
		const struct fake_link *o = partner(i, l, &other);
		if (o != NULL && other == to && o->allowed && o->ip_open)
			return true;
	}
	return false;
}

bool fake_tunnel_mode(unsigned i)
{
	for (unsigned k = 0; k < LINKS; k++)
		if (planes[i].links[k].handle != 0 && planes[i].links[k].tunnel)
			return true;
	return false;
}

unsigned fake_allowed(unsigned i)
{
	return planes[i].allowed;
}

/* ---- the face of dataplane.h ---- */

int dataplane_net_transactions(struct dataplane *d, uint32_t net, uint32_t transaction_prefix)
{
	(void)net;
	d->gather[d->gathered++ % GATHER] = transaction_prefix;
	return 0;
}

int dataplane_peer_add(struct dataplane *d, uint32_t net, uint32_t peer,
                       const struct dataplane_peer_config *c, struct dataplane_stats *shared)
{
	(void)net;
	(void)shared;
	d->peer_ip[peer % 4096] = c->ip4;
	return 0;
}

int dataplane_peer_del(struct dataplane *d, uint32_t peer)
{
	if (d->refuses)
		return -ENOBUFS;
	post(d->index, d->index, DATAPLANE_EVENT_PEER_GONE, 0, peer, NULL, 0);
	return 0;
}

int dataplane_link_add(struct dataplane *d, uint32_t peer, uint32_t link, const char *ufrag,
                       uint32_t transaction_prefix, struct dataplane_link_shared *shared)
{
	for (unsigned k = 0; k < LINKS; k++) {
		struct fake_link *l = &d->links[k];

		if (l->handle != 0)
			continue;
		*l = (struct fake_link){.handle = link,
		                        .peer = peer,
		                        .prefix = transaction_prefix,
		                        .shared = shared};
		strncpy(l->ufrag, ufrag, sizeof(l->ufrag) - 1);
		return 0;
	}
	return -ENOBUFS;
}

int dataplane_link_addr(struct dataplane *d, uint32_t link, const struct netaddr *remote)
{
	struct fake_link *l = find(d, link);

	if (l != NULL && l->n_addrs < 8)
		l->addrs[l->n_addrs++] = *remote;
	return 0;
}

int dataplane_link_path(struct dataplane *d, uint32_t link, const struct netaddr *local,
                        const struct netaddr *remote)
{
	struct fake_link *l = find(d, link);

	(void)local;
	if (l != NULL) {
		l->remote = *remote;
		l->has_path = true;
	}
	return 0;
}

int dataplane_link_keys(struct dataplane *d, uint32_t link, const struct dataplane_keys_config *c)
{
	struct fake_link *l = find(d, link);

	if (l == NULL) {
		record_free(c->record);
		return 0;
	}
	l->record = c->record;
	l->role = c->role;
	return 0;
}

int dataplane_link_start(struct dataplane *d, uint32_t link)
{
	struct fake_link *l = find(d, link);

	if (l != NULL)
		l->started = true;
	return 0;
}

int dataplane_link_open_ip(struct dataplane *d, uint32_t link)
{
	struct fake_link *l = find(d, link);
	unsigned to;
	struct fake_link *o = l != NULL && l->record != NULL ? partner(d->index, l, &to) : NULL;

	if (o == NULL)
		return 0;
	if (ip_held) {
		l->ip_waits = true;
		return 0;
	}
	l->ip_open = true;
	o->ip_open = true;
	post(d->index, to, DATAPLANE_EVENT_IP_OPEN, o->handle, o->peer, NULL, 0);
	post(d->index, d->index, DATAPLANE_EVENT_IP_OPEN, l->handle, l->peer, NULL, 0);
	return 0;
}

void fake_hold_ip(bool hold)
{
	ip_held = hold;
	for (unsigned i = 0; i < FAKE_COMPUTERS; i++) {
		for (unsigned k = 0; !hold && k < LINKS; k++) {
			struct fake_link *l = &planes[i].links[k];

			int r = l->handle != 0 && l->ip_waits
			                ? dataplane_link_open_ip(&planes[i], l->handle)
			                : 0;
			assert(r == 0);
			l->ip_waits = false;
		}
	}
}

int dataplane_link_allow_ip(struct dataplane *d, uint32_t link)
{
	struct fake_link *l = find(d, link);

	if (l != NULL)
		l->allowed = true;
	d->allowed++;
	return 0;
}

int dataplane_link_tunnel(struct dataplane *d, uint32_t link)
{
	struct fake_link *l = find(d, link);

	if (l != NULL)
		l->tunnel = true;
	return 0;
}

int dataplane_link_partial(struct dataplane *d, uint32_t link)
{
	(void)d;
	(void)link;
	return 0;
}

int dataplane_link_del(struct dataplane *d, uint32_t link, bool polite)
{
	struct fake_link *l = find(d, link);

	if (d->refuses)
		return -ENOBUFS;
	if (l == NULL)
		return 0;
	unsigned to;
	struct fake_link *o = polite && l->record != NULL ? partner(d->index, l, &to) : NULL;
	if (o != NULL)
		post(d->index, to, DATAPLANE_EVENT_LINK_DOWN, o->handle, o->peer, NULL, 0);
	post(d->index, d->index, DATAPLANE_EVENT_LINK_GONE, link, l->peer, NULL, 0);
	record_free(l->record);
	*l = (struct fake_link){0};
	return 0;
}

int dataplane_send_raw(struct dataplane *d, uint32_t net, const struct netaddr *local,
                       const struct netaddr *remote, const void *data, size_t len)
{
	int to = computer_of(remote);

	(void)net;
	if (to >= 0 && len > 0) {
		post(d->index, (unsigned)to, DATAPLANE_EVENT_STUN, 0, 0, data, len);
	} else if (len >= 20) {
		memcpy(d->stun_id, (const uint8_t *)data + 8, sizeof(d->stun_id));
		d->stun_count[stun_place(d, local)]++;
	}
	return 0;
}

int dataplane_send_sealed(struct dataplane *d, uint32_t link, uint8_t type, const void *data,
                          size_t len)
{
	struct fake_link *l = find(d, link);
	uint8_t sealed[2048];
	size_t n;

	assert(l != NULL && l->record != NULL);
	if (record_seal_one(l->record, (enum record_type)type, data, len, sealed, sizeof(sealed),
	                    &n) != 0)
		return -EIO;
	return dataplane_send_raw(d, 0, &l->remote, &l->remote, sealed, n);
}

int dataplane_ctl_send(struct dataplane *d, uint32_t link, const void *data, size_t len)
{
	struct fake_link *l = find(d, link);
	unsigned to;
	struct fake_link *o =
		l != NULL && l->record != NULL && l->ctl_open ? partner(d->index, l, &to) : NULL;

	if (d->refuses_ctl)
		return -ENOBUFS;
	memcpy(d->ctl_begin, data, GV_MIN(len, sizeof(d->ctl_begin)));
	if (o != NULL)
		post(d->index, to, DATAPLANE_EVENT_CTL, o->handle, o->peer, data, len);
	return 0;
}
