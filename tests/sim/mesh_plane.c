/* SPDX-License-Identifier: MIT */

#include "mesh_plane.h"

#include "base/bytes.h"
#include "crypto/record.h"
#include "engine/dataplane/dataplane.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINKS      128
#define PEERS      64
#define MESSAGES   64 /* of one link that wait for their acknowledgement */
#define MESSAGE    1200
#define REPEAT_US  200000u
#define GIVE_UP_US 20000000u
#define ALERT_SIZE 2

/* First byte of what a data record carries here. */
enum frame {
	FRAME_OPEN_CTL,
	FRAME_OPEN_CTL_ACK,
	FRAME_OPEN_IP,
	FRAME_OPEN_IP_ACK,
	FRAME_CTL,
	/* Below: not repeated. */
	FRAME_ACK,
	FRAME_PROBE,
	FRAME_ABORT,
};

#define FRAME_HEAD 5 /* frame and number */

struct message {
	enum frame frame;
	size_t len;
	uint8_t data[MESSAGE];
};

struct plane_link {
	uint32_t handle, peer;
	struct netaddr addrs[DATAPLANE_MAX_ADDRS];
	unsigned addr_count;
	struct netaddr local, remote;
	bool has_path, started, allowed, ip_open;
	struct record *record;
	enum dataplane_dtls_role role;
	struct dataplane_link_shared *shared;
	struct message *queue[MESSAGES]; /* owned; from number `acked` on */
	uint32_t acked, next_out, next_in;
	uint64_t repeat_us, waits_since_us;
};

struct plane_peer {
	uint32_t handle;
	struct netaddr ip4;
	uint64_t probed_us;
};

struct pending {
	struct pending *next;
	enum dataplane_event_type type;
	uint32_t link, peer;
	size_t len;
	uint8_t data[];
};

struct dataplane {
	struct sim_net *net;
	unsigned index;
	struct sim_base base;
	struct mesh *mesh;
	uint64_t now_us; /* of the last call with a time */
	struct plane_link links[LINKS];
	struct plane_peer peers[PEERS];
	struct pending *head, **tail;
	uint64_t sent;
};

/* ---- life ---- */

struct dataplane *plane_new(struct sim_net *net, unsigned index, const struct sim_base *base)
{
	struct dataplane *d = calloc(1, sizeof(*d));

	assert(d != NULL);
	d->net = net;
	d->index = index;
	d->base = *base;
	d->tail = &d->head;
	return d;
}

static void clear_link(struct plane_link *l)
{
	record_free(l->record);
	for (unsigned i = 0; i < MESSAGES; i++)
		free(l->queue[i]);
	*l = (struct plane_link){0};
}

static void forget_all(struct dataplane *d)
{
	for (unsigned i = 0; i < LINKS; i++)
		clear_link(&d->links[i]);
	memset(d->peers, 0, sizeof(d->peers));
	while (d->head != NULL) {
		struct pending *e = d->head;

		d->head = e->next;
		free(e);
	}
	d->tail = &d->head;
}

void plane_free(struct dataplane *d)
{
	if (d == NULL)
		return;
	forget_all(d);
	free(d);
}

void plane_bind(struct dataplane *d, struct mesh *mesh)
{
	if (mesh == NULL)
		forget_all(d);
	d->mesh = mesh;
}

void plane_move(struct dataplane *d, const struct netaddr *addr)
{
	d->base.addr = *addr;
}

static struct plane_link *find(struct dataplane *d, uint32_t handle)
{
	for (unsigned i = 0; handle != 0 && i < LINKS; i++) {
		if (d->links[i].handle == handle)
			return &d->links[i];
	}
	return NULL;
}

static struct plane_peer *find_peer(struct dataplane *d, uint32_t handle)
{
	for (unsigned i = 0; i < PEERS; i++) {
		if (d->peers[i].handle == handle)
			return &d->peers[i];
	}
	return NULL;
}

static void post(struct dataplane *d, enum dataplane_event_type type, uint32_t link, uint32_t peer,
                 const void *data, size_t len)
{
	struct pending *e = malloc(sizeof(*e) + len);

	assert(e != NULL);
	*e = (struct pending){.type = type, .link = link, .peer = peer, .len = len};
	if (len > 0)
		memcpy(e->data, data, len);
	*d->tail = e;
	d->tail = &e->next;
}

/* ---- sending ---- */

static void transmit(struct dataplane *d, const struct netaddr *remote, const void *data,
                     size_t len)
{
	d->sent++;
	sim_send(d->net, d->base.realm, &d->base.addr, remote, data, len, d->now_us);
}

static bool may_send(const struct dataplane *d, const struct plane_link *l)
{
	return l->record != NULL && l->has_path &&
	       atomic_load(&l->shared->send_until_us) > d->now_us;
}

static void send_frame(struct dataplane *d, struct plane_link *l, enum frame frame, uint32_t number,
                       const void *data, size_t len)
{
	uint8_t plain[FRAME_HEAD + MESSAGE], sealed[FRAME_HEAD + MESSAGE + RECORD_OVERHEAD];
	size_t sealed_len;

	if (!may_send(d, l))
		return;
	plain[0] = (uint8_t)frame;
	be32_store(plain + 1, number);
	if (len > 0)
		memcpy(plain + FRAME_HEAD, data, len);
	int r = record_seal_one(l->record, RECORD_TYPE_DATA, plain, FRAME_HEAD + len, sealed,
	                        sizeof(sealed), &sealed_len);
	assert(r == 0);
	if (frame != FRAME_ACK)
		atomic_store(&l->shared->sent_us, d->now_us);
	transmit(d, &l->remote, sealed, sealed_len);
}

static void send_queue(struct dataplane *d, struct plane_link *l)
{
	for (uint32_t n = l->acked; n != l->next_out; n++) {
		const struct message *m = l->queue[n % MESSAGES];

		send_frame(d, l, m->frame, n, m->data, m->len);
	}
	l->repeat_us = d->now_us + REPEAT_US;
}

/* A reliable message of the link; false: too many wait. */
static bool enqueue(struct dataplane *d, struct plane_link *l, enum frame frame, const void *data,
                    size_t len)
{
	if (l->next_out - l->acked == MESSAGES || len > MESSAGE)
		return false;
	struct message *m = malloc(sizeof(*m));
	assert(m != NULL);
	m->frame = frame;
	m->len = len;
	if (len > 0)
		memcpy(m->data, data, len);
	if (l->next_out == l->acked) {
		l->waits_since_us = d->now_us;
		l->repeat_us = d->now_us + REPEAT_US;
	}
	l->queue[l->next_out % MESSAGES] = m;
	send_frame(d, l, frame, l->next_out++, data, len);
	return true;
}

/* ---- receiving ---- */

static void take_ack(struct dataplane *d, struct plane_link *l, uint32_t number)
{
	while (l->acked != l->next_out && (int32_t)(number - l->acked) > 0) {
		free(l->queue[l->acked % MESSAGES]);
		l->queue[l->acked++ % MESSAGES] = NULL;
		l->waits_since_us = d->now_us;
	}
}

static void take_message(struct dataplane *d, struct plane_link *l, enum frame frame,
                         const uint8_t *data, size_t len)
{
	switch (frame) {
	case FRAME_OPEN_CTL:
		post(d, DATAPLANE_EVENT_CTL_OPEN, l->handle, l->peer, NULL, 0);
		(void)enqueue(d, l, FRAME_OPEN_CTL_ACK, NULL, 0); /* the first one always fits */
		break;
	case FRAME_OPEN_CTL_ACK:
		post(d, DATAPLANE_EVENT_CTL_OPEN, l->handle, l->peer, NULL, 0);
		break;
	case FRAME_OPEN_IP:
		l->ip_open = true;
		post(d, DATAPLANE_EVENT_IP_OPEN, l->handle, l->peer, NULL, 0);
		(void)enqueue(d, l, FRAME_OPEN_IP_ACK, NULL, 0); /* once in a link */
		break;
	case FRAME_OPEN_IP_ACK:
		l->ip_open = true;
		post(d, DATAPLANE_EVENT_IP_OPEN, l->handle, l->peer, NULL, 0);
		break;
	case FRAME_CTL:
		post(d, DATAPLANE_EVENT_CTL, l->handle, l->peer, data, len);
		break;
	case FRAME_ACK:
	case FRAME_PROBE:
	case FRAME_ABORT:
		break;
	}
}

static void take_frame(struct dataplane *d, struct plane_link *l, const uint8_t *data, size_t len)
{
	uint32_t number = be32_load(data + 1);
	enum frame frame = data[0];
	struct plane_peer *p = find_peer(d, l->peer);

	switch (frame) {
	case FRAME_ACK:
		take_ack(d, l, number);
		return;
	case FRAME_PROBE:
		if (p != NULL && l->allowed)
			p->probed_us = d->now_us;
		return;
	case FRAME_ABORT:
		post(d, DATAPLANE_EVENT_LINK_DOWN, l->handle, l->peer, NULL, 0);
		return;
	default:
		if (!l->started)
			return; /* repeated when we are ready */
		if (number == l->next_in) {
			l->next_in++;
			take_message(d, l, frame, data + FRAME_HEAD, len - FRAME_HEAD);
		}
		send_frame(d, l, FRAME_ACK, l->next_in, NULL, 0);
		return;
	}
}

static bool is_validated(const struct plane_link *l, const struct netaddr *from)
{
	for (unsigned i = 0; i < l->addr_count; i++) {
		if (netaddr_equal(&l->addrs[i], from))
			return true;
	}
	return false;
}

/* A data record goes to the link of this address whose keys open it. */
static void receive_record(struct dataplane *d, const struct sim_packet *p)
{
	for (unsigned i = 0; i < LINKS; i++) {
		struct plane_link *l = &d->links[i];
		struct record_counters c = {0};
		struct record_plain plain;
		uint8_t copy[SIM_PACKET_MAX];

		if (l->handle == 0 || l->record == NULL || !is_validated(l, &p->from))
			continue;
		memcpy(copy, p->data, p->len);
		struct pkt in = {.data = copy, .len = p->len};
		if (record_open(l->record, &in, 1, &plain, 1, &c) == 0)
			continue;
		atomic_store(&l->shared->heard_us, d->now_us);
		if (plain.pkt.len >= FRAME_HEAD)
			take_frame(d, l, plain.pkt.data, plain.pkt.len);
		return;
	}
}

static void receive_handshake(struct dataplane *d, const struct sim_packet *p)
{
	struct dataplane_event e = {.type = DATAPLANE_EVENT_HANDSHAKE, .tun_fd = -1};
	const struct plane_link *newest = NULL;

	for (unsigned i = 0; i < LINKS; i++) {
		const struct plane_link *l = &d->links[i];

		if (l->handle != 0 && is_validated(l, &p->from) &&
		    (newest == NULL || l->handle > newest->handle))
			newest = l;
	}
	if (newest == NULL)
		return;
	e.link = newest->handle;
	e.peer = newest->peer;
	e.local = p->to;
	e.remote = p->from;
	e.data = p->data;
	e.len = p->len;
	mesh_dataplane_event(d->mesh, &e, d->now_us);
}

void plane_receive(struct dataplane *d, const struct sim_packet *p, uint64_t now_us)
{
	d->now_us = now_us;
	if (d->mesh == NULL)
		return;
	if (p->data[0] == RECORD_TYPE_DATA) {
		receive_record(d, p);
	} else if (p->data[0] >= 20) {
		receive_handshake(d, p);
	} else if (p->len >= 20) {
		struct dataplane_event e = {.type = DATAPLANE_EVENT_STUN,
		                            .local = p->to,
		                            .remote = p->from,
		                            .tun_fd = -1,
		                            .data = p->data,
		                            .len = p->len};

		mesh_dataplane_event(d->mesh, &e, now_us);
	}
}

static void repeat(struct dataplane *d, struct plane_link *l)
{
	if (l->acked == l->next_out)
		return;
	if (d->now_us >= l->waits_since_us + GIVE_UP_US) {
		post(d, DATAPLANE_EVENT_LINK_DOWN, l->handle, l->peer, NULL, 0);
		l->waits_since_us = d->now_us;
	} else if (d->now_us >= l->repeat_us) {
		send_queue(d, l);
	}
}

unsigned plane_work(struct dataplane *d, uint64_t now_us)
{
	unsigned n = 0;

	d->now_us = now_us;
	for (unsigned i = 0; i < LINKS; i++) {
		if (d->links[i].handle != 0)
			repeat(d, &d->links[i]);
	}
	while (d->head != NULL && d->mesh != NULL) {
		struct pending *e = d->head;
		struct dataplane_event event = {.type = e->type,
		                                .link = e->link,
		                                .peer = e->peer,
		                                .tun_fd = -1,
		                                .data = e->data,
		                                .len = e->len};

		d->head = e->next;
		if (d->head == NULL)
			d->tail = &d->head;
		mesh_dataplane_event(d->mesh, &event, now_us);
		free(e);
		n++;
	}
	return n;
}

bool plane_probe(struct dataplane *d, const struct netaddr *ip4, uint64_t now_us)
{
	struct plane_link *best = NULL;

	d->now_us = now_us;
	for (unsigned i = 0; i < LINKS; i++) {
		struct plane_link *l = &d->links[i];
		const struct plane_peer *p = l->handle != 0 ? find_peer(d, l->peer) : NULL;

		if (p == NULL || !netaddr_ip_equal(&p->ip4, ip4) || !l->allowed || !l->ip_open ||
		    !may_send(d, l))
			continue;
		if (best == NULL || l->handle > best->handle)
			best = l;
	}
	if (best != NULL)
		send_frame(d, best, FRAME_PROBE, 0, NULL, 0);
	return best != NULL;
}

uint64_t plane_probed_us(const struct dataplane *d, const struct netaddr *ip4)
{
	uint64_t last_us = 0;

	for (unsigned i = 0; i < PEERS; i++) {
		if (d->peers[i].handle != 0 && netaddr_ip_equal(&d->peers[i].ip4, ip4))
			last_us = GV_MAX(last_us, d->peers[i].probed_us);
	}
	return last_us;
}

unsigned plane_links(const struct dataplane *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LINKS; i++)
		n += d->links[i].handle != 0;
	return n;
}

uint64_t plane_sent(const struct dataplane *d)
{
	return d->sent;
}

/* ---- the face of dataplane.h ---- */

int dataplane_net_transactions(struct dataplane *d, uint32_t net, uint32_t transaction_prefix)
{
	(void)d;
	(void)net;
	(void)transaction_prefix;
	return 0;
}

int dataplane_peer_add(struct dataplane *d, uint32_t net, uint32_t peer,
                       const struct dataplane_peer_config *c, struct dataplane_stats *shared)
{
	struct plane_peer *p = find_peer(d, 0);

	(void)net;
	(void)shared;
	if (p == NULL)
		return -ENOBUFS;
	*p = (struct plane_peer){.handle = peer, .ip4 = c->ip4};
	return 0;
}

int dataplane_peer_del(struct dataplane *d, uint32_t peer)
{
	struct plane_peer *p = find_peer(d, peer);

	if (p != NULL)
		*p = (struct plane_peer){0};
	post(d, DATAPLANE_EVENT_PEER_GONE, 0, peer, NULL, 0);
	return 0;
}

int dataplane_link_add(struct dataplane *d, uint32_t peer, uint32_t link, const char *ufrag,
                       uint32_t transaction_prefix, struct dataplane_link_shared *shared)
{
	(void)ufrag;
	(void)transaction_prefix;
	for (unsigned i = 0; i < LINKS; i++) {
		struct plane_link *l = &d->links[i];

		if (l->handle != 0)
			continue;
		*l = (struct plane_link){.handle = link, .peer = peer, .shared = shared};
		return 0;
	}
	return -ENOBUFS;
}

int dataplane_link_addr(struct dataplane *d, uint32_t link, const struct netaddr *remote)
{
	struct plane_link *l = find(d, link);

	if (l == NULL || is_validated(l, remote))
		return 0;
	if (l->addr_count == DATAPLANE_MAX_ADDRS)
		memmove(l->addrs, l->addrs + 1, --l->addr_count * sizeof(l->addrs[0]));
	l->addrs[l->addr_count++] = *remote;
	return 0;
}

int dataplane_link_path(struct dataplane *d, uint32_t link, const struct netaddr *local,
                        const struct netaddr *remote)
{
	struct plane_link *l = find(d, link);

	if (l != NULL) {
		l->local = *local;
		l->remote = *remote;
		l->has_path = true;
	}
	return 0;
}

int dataplane_link_keys(struct dataplane *d, uint32_t link, const struct dataplane_keys_config *c)
{
	struct plane_link *l = find(d, link);

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
	struct plane_link *l = find(d, link);

	if (l == NULL)
		return 0;
	l->started = true;
	if (l->role == DATAPLANE_DTLS_CLIENT)
		(void)enqueue(d, l, FRAME_OPEN_CTL, NULL, 0); /* the first one always fits */
	return 0;
}

int dataplane_link_open_ip(struct dataplane *d, uint32_t link)
{
	struct plane_link *l = find(d, link);

	if (l != NULL && !enqueue(d, l, FRAME_OPEN_IP, NULL, 0))
		return -ENOBUFS;
	return 0;
}

int dataplane_link_allow_ip(struct dataplane *d, uint32_t link)
{
	struct plane_link *l = find(d, link);

	if (l != NULL)
		l->allowed = true;
	return 0;
}

int dataplane_link_tunnel(struct dataplane *d, uint32_t link)
{
	(void)d;
	(void)link;
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
	struct plane_link *l = find(d, link);

	if (l != NULL) {
		if (polite)
			send_frame(d, l, FRAME_ABORT, 0, NULL, 0);
		clear_link(l);
	}
	post(d, DATAPLANE_EVENT_LINK_GONE, link, 0, NULL, 0);
	return 0;
}

int dataplane_send_raw(struct dataplane *d, uint32_t net, const struct netaddr *local,
                       const struct netaddr *remote, const void *data, size_t len)
{
	(void)net;
	(void)local;
	transmit(d, remote, data, len);
	return 0;
}

int dataplane_send_sealed(struct dataplane *d, uint32_t link, uint8_t type, const void *data,
                          size_t len)
{
	struct plane_link *l = find(d, link);
	uint8_t sealed[SIM_PACKET_MAX];
	size_t n;

	assert(l != NULL && l->record != NULL);
	if (record_seal_one(l->record, (enum record_type)type, data, len, sealed, sizeof(sealed),
	                    &n) != 0)
		return -EIO;
	transmit(d, &l->remote, sealed, n);
	return 0;
}

int dataplane_ctl_send(struct dataplane *d, uint32_t link, const void *data, size_t len)
{
	struct plane_link *l = find(d, link);

	return l == NULL || enqueue(d, l, FRAME_CTL, data, len) ? 0 : -ENOBUFS;
}
