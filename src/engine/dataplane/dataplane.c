/* SPDX-License-Identifier: MIT */

/* The face of the data plane: everything here runs on the control thread and only makes and takes messages. */

#include "engine/dataplane/dataplane.h"

#include "base/clock.h"
#include "base/err.h"
#include "engine/dataplane/shard.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#define COMMANDS_MAX     8192
#define RAW_MAX          1024
#define CTL_MAX          4096
#define EVENTS_STUN      512
#define EVENTS_HANDSHAKE 256
#define EVENTS_CTL       16384
/* Each link, peer and network has a handful of such events in its life. */
#define EVENTS_STATE (16 * SHARD_LINKS)

/* Largest SCTP packet: what leaves room for UDP, the record and TURN in 1,500 bytes over IPv6. */
#define SCTP_PACKET_BYTES  (SCTP_HEADER_BYTES + SCTP_DATA_HEADER_BYTES + LINK_PAYLOAD_BYTES)
#define SCTP_MESSAGE_BYTES 262144
#define CHANNELS_MAX       16

struct dataplane {
	struct mq *commands, *events;
	struct shard *shard;
	struct command *stop; /* made at the start, so that stopping cannot fail */
	pthread_t thread;
	bool running;
	struct mq_msg *waiting; /* popped events not asked for yet */
	struct event *lent;
};

static const char *const drop_names[DATAPLANE_DROPS] = {
	[DATAPLANE_DROP_TX_NO_PEER] = "tx_no_peer",
	[DATAPLANE_DROP_TX_BAD] = "tx_bad",
	[DATAPLANE_DROP_TX_TOO_BIG] = "tx_too_big",
	[DATAPLANE_DROP_TX_NO_CONSENT] = "tx_no_consent",
	[DATAPLANE_DROP_TX_QUEUE] = "tx_queue",
	[DATAPLANE_DROP_TX_REFUSED] = "tx_refused",
	[DATAPLANE_DROP_TX_LIMITED] = "tx_broadcast_limit",
	[DATAPLANE_DROP_RX_UNKNOWN] = "rx_unknown",
	[DATAPLANE_DROP_RX_MALFORMED] = "rx_malformed",
	[DATAPLANE_DROP_RX_AUTH] = "rx_auth",
	[DATAPLANE_DROP_RX_REPLAY] = "rx_replay",
	[DATAPLANE_DROP_RX_SCTP] = "rx_sctp",
	[DATAPLANE_DROP_RX_EARLY] = "rx_early",
	[DATAPLANE_DROP_RX_SOURCE] = "rx_source",
	[DATAPLANE_DROP_RX_DEST] = "rx_dest",
	[DATAPLANE_DROP_RX_BAD] = "rx_bad",
	[DATAPLANE_DROP_RX_LIMITED] = "rx_broadcast_limit",
	[DATAPLANE_DROP_RX_TUN] = "rx_tun",
	[DATAPLANE_DROP_RX_LANE] = "rx_lane",
	[DATAPLANE_DROP_RX_OVERFLOW] = "rx_overflow",
};

const char *dataplane_drop_name(enum dataplane_drop d)
{
	return (unsigned)d < DATAPLANE_DROPS ? drop_names[d] : NULL;
}

unsigned dataplane_train_packets(uint16_t mtu)
{
	size_t packet = SCTP_HEADER_BYTES + SCTP_DATA_HEADER_BYTES + ((mtu + 3u) & ~3u);
	size_t n = BATCH_MAX_BYTES / (packet + RECORD_OVERHEAD);

	return (unsigned)GV_MIN(n, (size_t)BATCH_MAX_COUNT);
}

static struct command *command_new(enum command_type type, const void *data, size_t len)
{
	struct command *c = mem_alloc(1, sizeof(*c) + len);

	if (c == NULL)
		return NULL;
	c->head.type = type;
	c->len = len;
	if (len > 0)
		memcpy(c->data, data, len);
	return c;
}

/* Moves c, also on failure. */
static int push(struct dataplane *d, enum command_lane lane, struct command *c)
{
	int r = mq_push(d->commands, lane, &c->head);

	if (r == 0)
		return 0;
	command_free(c);
	return err_here(r);
}

/* Signals belong to the control thread: the packet thread starts with all of them blocked. */
static int start_thread(struct dataplane *d)
{
	sigset_t all, before;

	(void)sigfillset(&all);
	int e = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (e != 0)
		return err_here(-e);
	e = pthread_create(&d->thread, NULL, shard_run, d->shard);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL); /* as it was: cannot fail */
	if (e != 0)
		return err_here(-e);
	(void)pthread_setname_np(d->thread, "packets"); /* for people only */
	d->running = true;
	return 0;
}

int dataplane_new(struct dataplane **out)
{
	static const uint32_t command_limits[MQ_LANES] = {
		[COMMAND_LANE_STATE] = COMMANDS_MAX,
		[COMMAND_LANE_RAW] = RAW_MAX,
		[COMMAND_LANE_CTL] = CTL_MAX,
		[COMMAND_LANE_STOP] = 1,
	};
	static const uint32_t event_limits[MQ_LANES] = {
		[EVENT_LANE_STUN] = EVENTS_STUN,
		[EVENT_LANE_HANDSHAKE] = EVENTS_HANDSHAKE,
		[EVENT_LANE_CTL] = EVENTS_CTL,
		[EVENT_LANE_STATE] = EVENTS_STATE,
	};
	gv_cleanup(dataplane_freep) struct dataplane *d = mem_new(struct dataplane);

	if (d == NULL)
		return err_here(-ENOMEM);
	d->stop = command_new(COMMAND_STOP, NULL, 0);
	if (d->stop == NULL)
		return err_here(-ENOMEM);
	int r = mq_new(&d->commands, command_limits);
	if (r == 0)
		r = mq_new(&d->events, event_limits);
	if (r == 0)
		r = shard_new(&d->shard, d->commands, d->events);
	if (r == 0)
		r = start_thread(d);
	if (r < 0)
		return err_up(r);
	*out = GV_STEAL(d);
	return 0;
}

void dataplane_free(struct dataplane *d)
{
	if (d == NULL)
		return;
	if (d->running) {
		/* Its lane is empty: this is the only place that uses it. */
		int r = mq_push(d->commands, COMMAND_LANE_STOP, &d->stop->head);
		assert(r == 0);
		d->stop = NULL;
		(void)pthread_join(d->thread, NULL); /* a thread of ours, joined once */
	}
	mem_free(d->stop);
	shard_free(d->shard);
	struct mq_msg *m = d->commands != NULL ? mq_pop_all(d->commands) : NULL;
	for (struct mq_msg *next; m != NULL; m = next) {
		struct command *c = GV_CONTAINER_OF(m, struct command, head);

		next = m->next;
		if (c->net_moved != NULL)
			net_take_descriptors(c->net_moved); /* to be closed with it */
		command_free(c);
	}
	mq_free(d->commands);
	for (struct mq_msg *next; d->waiting != NULL; d->waiting = next) {
		next = d->waiting->next;
		mem_free(GV_CONTAINER_OF(d->waiting, struct event, head));
	}
	mem_free(d->lent);
	mq_free(d->events);
	mem_free(d);
}

int dataplane_event_fd(const struct dataplane *d)
{
	return mq_fd(d->events);
}

const struct dataplane_event *dataplane_event(struct dataplane *d)
{
	assert(d->lent == NULL);
	if (d->waiting == NULL)
		d->waiting = mq_pop_all(d->events);
	if (d->waiting == NULL)
		return NULL;
	d->lent = GV_CONTAINER_OF(d->waiting, struct event, head);
	d->waiting = d->waiting->next;
	return &d->lent->ev;
}

void dataplane_event_done(struct dataplane *d, const struct dataplane_event *e)
{
	assert(d->lent != NULL && e == &d->lent->ev);
	if (d->lent->count != NULL)
		(void)atomic_fetch_sub_explicit(d->lent->count, 1, memory_order_relaxed);
	mem_free(d->lent);
	d->lent = NULL;
}

/* The event that answers a deletion, made now so that the answer cannot fail. */
static struct event *gone_new(enum dataplane_event_type type)
{
	struct event *e = mem_new(struct event);

	if (e != NULL)
		e->ev = (struct dataplane_event){.type = type, .tun_fd = -1};
	return e;
}

static int push_deletion(struct dataplane *d, enum command_type type, uint32_t handle,
                         enum dataplane_event_type answer, bool polite)
{
	struct command *c = command_new(type, NULL, 0);

	if (c == NULL)
		return err_here(-ENOMEM);
	c->net = c->peer = c->link = handle;
	c->polite = polite;
	c->gone_moved = gone_new(answer);
	if (c->gone_moved == NULL) {
		command_free(c);
		return err_here(-ENOMEM);
	}
	return push(d, COMMAND_LANE_STATE, c);
}

static void fill_net(struct net *n, uint32_t id, const struct dataplane_net_config *c,
                     struct dataplane_stats *shared)
{
	n->id = id;
	n->c = *c;
	n->stats = shared;
	n->tun_fd = -1; /* the descriptors are taken over by the shard */
	n->udp4 = n->udp6 = UDP_NULL;
	n->gate = GATE_INIT;
	n->tun_source = (struct source){.kind = SOURCE_TUN, .net = n};
	n->udp4_source = (struct source){.kind = SOURCE_UDP, .net = n, .udp = &n->udp4};
	n->udp6_source = (struct source){.kind = SOURCE_UDP, .net = n, .udp = &n->udp6};
	if (c->prefix4.addr.family == NETADDR_IP4) {
		struct netaddr last = netprefix_broadcast(&c->prefix4);

		n->own4 = netaddr_u32(&c->ip4);
		n->first4 = netaddr_u32(&c->prefix4.addr);
		n->broadcast4 = netaddr_u32(&last);
		n->hosts = n->broadcast4 - n->first4 + 1;
	}
}

int dataplane_net_add(struct dataplane *d, uint32_t net, const struct dataplane_net_config *c,
                      struct dataplane_stats *shared)
{
	if (c->prefix4.addr.family == NETADDR_IP4 && c->prefix4.bits < NET_PREFIX4_MIN)
		return err_here(-EINVAL);
	struct command *m = command_new(COMMAND_NET_ADD, NULL, 0);
	if (m == NULL)
		return err_here(-ENOMEM);
	struct net *n = mem_new(struct net);
	struct rng rng = rng_os();
	struct fq_config queue = {
		.packets = QUEUE_PACKETS, .slot_bytes = QUEUE_SLOT_BYTES, .seed = rng_u32(&rng)};
	m->net_moved = n;
	if (n != NULL) {
		fill_net(n, net, c, shared);
		n->by_host = mem_new_array(struct peer *, n->hosts);
	}
	if (n == NULL || n->by_host == NULL || fq_new(&n->queue, &queue) < 0) {
		command_free(m);
		return err_here(-ENOMEM);
	}
	return push(d, COMMAND_LANE_STATE, m);
}

int dataplane_net_del(struct dataplane *d, uint32_t net)
{
	return push_deletion(d, COMMAND_NET_DEL, net, DATAPLANE_EVENT_NET_GONE, false);
}

int dataplane_peer_add(struct dataplane *d, uint32_t net, uint32_t peer,
                       const struct dataplane_peer_config *c, struct dataplane_stats *shared)
{
	if (atomic_load_explicit(&d->shard->n_peers, memory_order_relaxed) == DATAPLANE_MAX_PEERS)
		return err_here(-ENOBUFS);
	struct command *m = command_new(COMMAND_PEER_ADD, NULL, 0);
	if (m == NULL)
		return err_here(-ENOMEM);
	m->net = net;
	m->peer_moved = mem_new(struct peer);
	if (m->peer_moved == NULL) {
		command_free(m);
		return err_here(-ENOMEM);
	}
	m->peer_moved->id = peer;
	m->peer_moved->c = *c;
	m->peer_moved->stats = shared;
	(void)atomic_fetch_add_explicit(&d->shard->n_peers, 1, memory_order_relaxed);
	int r = push(d, COMMAND_LANE_STATE, m);
	if (r < 0)
		(void)atomic_fetch_sub_explicit(&d->shard->n_peers, 1, memory_order_relaxed);
	return err_up(r);
}

int dataplane_peer_del(struct dataplane *d, uint32_t peer)
{
	return push_deletion(d, COMMAND_PEER_DEL, peer, DATAPLANE_EVENT_PEER_GONE, false);
}

/* A link with everything it will need later, or NULL. */
static struct link *link_new(uint32_t id, struct dataplane_link_shared *shared)
{
	static const enum dataplane_event_type types[LINK_NOTICES] = {
		[LINK_NOTICE_CTL_OPEN] = DATAPLANE_EVENT_CTL_OPEN,
		[LINK_NOTICE_IP_OPEN] = DATAPLANE_EVENT_IP_OPEN,
		[LINK_NOTICE_DOWN] = DATAPLANE_EVENT_LINK_DOWN,
	};
	struct link *l = mem_new(struct link);
	bool whole = true;

	if (l == NULL)
		return NULL;
	l->id = id;
	l->shared = shared;
	l->ctl_stream = l->ip_stream = LINK_NO_STREAM;
	l->ctl_tail = &l->ctl_waiting;
	l->payload_bytes = LINK_PAYLOAD_BYTES;
	l->held_tail = &l->held;
	for (unsigned i = 0; i < LINK_NOTICES; i++) {
		l->notices[i] = gone_new(types[i]);
		whole = whole && l->notices[i] != NULL;
	}
	if (whole)
		return l;
	shard_link_free(l);
	return NULL;
}

int dataplane_link_add(struct dataplane *d, uint32_t peer, uint32_t link, const char *ufrag,
                       uint32_t transaction_prefix, struct dataplane_link_shared *shared)
{
	if (ufrag[0] == '\0' || strlen(ufrag) >= UFRAG_SIZE)
		return err_here(-EINVAL);
	struct command *m = command_new(COMMAND_LINK_ADD, NULL, 0);
	if (m == NULL)
		return err_here(-ENOMEM);
	m->peer = peer;
	m->link = link;
	m->prefix = transaction_prefix;
	memcpy(m->ufrag, ufrag, strlen(ufrag));
	m->link_moved = link_new(link, shared);
	if (m->link_moved == NULL) {
		command_free(m);
		return err_here(-ENOMEM);
	}
	return push(d, COMMAND_LANE_STATE, m);
}

/* Commands on a link that carry addresses at most. */
static int push_link(struct dataplane *d, enum command_type type, uint32_t link,
                     const struct netaddr *local, const struct netaddr *remote)
{
	struct command *m = command_new(type, NULL, 0);

	if (m == NULL)
		return err_here(-ENOMEM);
	m->link = link;
	if (local != NULL)
		m->local = *local;
	if (remote != NULL)
		m->remote = *remote;
	return push(d, COMMAND_LANE_STATE, m);
}

int dataplane_net_transactions(struct dataplane *d, uint32_t net, uint32_t transaction_prefix)
{
	struct command *m = command_new(COMMAND_NET_TRANSACTIONS, NULL, 0);

	if (m == NULL)
		return err_here(-ENOMEM);
	m->net = net;
	m->prefix = transaction_prefix;
	return push(d, COMMAND_LANE_STATE, m);
}

int dataplane_link_addr(struct dataplane *d, uint32_t link, const struct netaddr *remote)
{
	return push_link(d, COMMAND_LINK_ADDR, link, NULL, remote);
}

int dataplane_link_path(struct dataplane *d, uint32_t link, const struct netaddr *local,
                        const struct netaddr *remote)
{
	return push_link(d, COMMAND_LINK_PATH, link, local, remote);
}

int dataplane_link_keys(struct dataplane *d, uint32_t link, const struct dataplane_keys_config *c)
{
	struct command *m = command_new(COMMAND_LINK_KEYS, NULL, 0);
	const struct sctp_config sctp = {
		.local_port = c->sctp_local_port,
		.remote_port = c->sctp_remote_port,
		.max_packet_bytes = SCTP_PACKET_BYTES,
		.max_message_bytes = SCTP_MESSAGE_BYTES,
		.peer_max_message_bytes = c->max_message_bytes,
		.zero_checksum = c->zero_checksum,
		.rng = rng_os(),
	};
	const struct dcep_config dcep = {
		.side = c->role == DATAPLANE_DTLS_CLIENT ? DCEP_SIDE_CLIENT : DCEP_SIDE_SERVER,
		.max_channels = CHANNELS_MAX,
	};

	if (m == NULL) {
		record_free(c->record);
		return err_here(-ENOMEM);
	}
	m->link = link;
	m->keys = (struct link_keys){.record = c->record, .role = c->role};
	int r = sctp_new(&m->keys.sctp, &sctp);
	if (r == 0)
		r = dcep_new(&m->keys.dcep, &dcep);
	if (r < 0) {
		command_free(m);
		return err_up(r);
	}
	return push(d, COMMAND_LANE_STATE, m);
}

int dataplane_link_start(struct dataplane *d, uint32_t link)
{
	return push_link(d, COMMAND_LINK_START, link, NULL, NULL);
}

int dataplane_link_open_ip(struct dataplane *d, uint32_t link)
{
	return push_link(d, COMMAND_LINK_OPEN_IP, link, NULL, NULL);
}

int dataplane_link_allow_ip(struct dataplane *d, uint32_t link)
{
	return push_link(d, COMMAND_LINK_ALLOW_IP, link, NULL, NULL);
}

int dataplane_link_tunnel(struct dataplane *d, uint32_t link)
{
	return push_link(d, COMMAND_LINK_TUNNEL, link, NULL, NULL);
}

int dataplane_link_partial(struct dataplane *d, uint32_t link)
{
	return push_link(d, COMMAND_LINK_PARTIAL, link, NULL, NULL);
}

int dataplane_link_del(struct dataplane *d, uint32_t link, bool polite)
{
	return push_deletion(d, COMMAND_LINK_DEL, link, DATAPLANE_EVENT_LINK_GONE, polite);
}

int dataplane_send_raw(struct dataplane *d, uint32_t net, const struct netaddr *local,
                       const struct netaddr *remote, const void *data, size_t len)
{
	struct command *m = command_new(COMMAND_SEND_RAW, data, len);

	if (m == NULL)
		return err_here(-ENOMEM);
	m->net = net;
	m->local = *local;
	m->remote = *remote;
	return push(d, COMMAND_LANE_RAW, m);
}

int dataplane_send_sealed(struct dataplane *d, uint32_t link, uint8_t type, const void *data,
                          size_t len)
{
	struct command *m = command_new(COMMAND_SEND_SEALED, data, len);

	if (m == NULL)
		return err_here(-ENOMEM);
	m->link = link;
	m->type = type;
	return push(d, COMMAND_LANE_RAW, m);
}

int dataplane_ctl_send(struct dataplane *d, uint32_t link, const void *data, size_t len)
{
	struct command *m = command_new(COMMAND_CTL_SEND, data, len);

	if (m == NULL)
		return err_here(-ENOMEM);
	m->link = link;
	return push(d, COMMAND_LANE_CTL, m);
}
