/* SPDX-License-Identifier: MIT */

/* From the socket to a link: splitting of trains, STUN and DTLS apart (RFC 7983), record by record. */

#include "engine/dataplane/shard.h"

#include "base/bytes.h"
#include "base/log.h"
#include "proto/stun/msg.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <utlist.h>

LOG_MODULE("dataplane");

/* Fillings of the receive memory before others get their turn. */
#define RECV_ROUNDS 8

#define FIRST_BYTE_STUN_MAX 3
#define FIRST_BYTE_DTLS_MIN 20
#define FIRST_BYTE_DTLS_MAX 63

/* Fields of a DTLS record header (RFC 6347 4.1) and of a handshake message (4.2.2). */
#define RECORD_EPOCH           3
#define RECORD_LENGTH          11
#define HANDSHAKE_TYPE         RECORD_HEADER_SIZE
#define HANDSHAKE_OFFSET       (RECORD_HEADER_SIZE + 6)
#define HANDSHAKE_CLIENT_HELLO 1

/* Datagrams of one remote address that follow each other; they stand in shard.in_pkts. */
struct run {
	struct net *net;
	struct netaddr local, remote;
	size_t count;
};

/* The usual case: one record of epoch 1 and type 23 fills the datagram. */
static bool is_one_data_record(const struct pkt *p)
{
	return p->len >= RECORD_HEADER_SIZE && p->data[0] == RECORD_TYPE_DATA &&
	       be16_load(p->data + RECORD_EPOCH) == 1 &&
	       (size_t)be16_load(p->data + RECORD_LENGTH) + RECORD_HEADER_SIZE == p->len;
}

/* --- records of one link, opened together -------------------------------------------------------- */

static void count_refused(struct link *l, const struct record_counters *c)
{
	uint64_t replay = c->rx_replay + c->rx_old;
	uint64_t malformed = c->rx_malformed + c->rx_epoch + c->rx_no_room;

	if (c->rx_bad_tag > 0)
		drop(l->peer->stats, DATAPLANE_DROP_RX_AUTH, c->rx_bad_tag);
	if (replay > 0)
		drop(l->peer->stats, DATAPLANE_DROP_RX_REPLAY, replay);
	if (malformed > 0)
		drop(l->peer->stats, DATAPLANE_DROP_RX_MALFORMED, malformed);
}

/* n authentic plaintexts in s->plains. */
static void accept_plains(struct shard *s, struct link *l, size_t n)
{
	size_t data = 0;

	if (n == 0)
		return;
	atomic_store_explicit(&l->shared->heard_us, s->now_us, memory_order_relaxed);
	for (size_t i = 0; i < n; i++) {
		const struct record_plain *p = &s->plains[i];
		int r = 0;

		if (p->type == RECORD_TYPE_DATA)
			s->data_pkts[data++] = p->pkt;
		else if (p->type == RECORD_TYPE_ALERT && p->pkt.len >= 2)
			r = link_event(s, l, EVENT_LANE_HANDSHAKE, DATAPLANE_EVENT_ALERT,
			               p->pkt.data, p->pkt.len);
		else
			drop(l->peer->stats, DATAPLANE_DROP_RX_MALFORMED, 1);
		if (r < 0)
			drop(l->peer->stats, DATAPLANE_DROP_RX_LANE, 1);
	}
	if (data == 0)
		return;
	/* A server speaks only after its client did, and that one only after the handshake. */
	if (l->keys.role == DATAPLANE_DTLS_CLIENT && !l->may_send) {
		drop(l->peer->stats, DATAPLANE_DROP_RX_EARLY, data);
		return;
	}
	/* The client spoke under these keys: a DTLS server may speak now too. */
	l->may_send = true;
	link_input(s, l, s->data_pkts, data);
}

static void open_records(struct shard *s, struct link *l, const struct pkt *in, size_t n)
{
	struct record_counters c = {0};

	if (n == 0)
		return;
	size_t count = record_open(l->keys.record, in, n, s->plains, SHARD_PACKETS, &c);
	count_refused(l, &c);
	accept_plains(s, l, count);
}

/* Keeps a copy of a record of type 23 until the keys are here. */
static void hold(struct link *l, const struct pkt *p)
{
	struct held *h = NULL;

	if (l->held_count < HELD_RECORDS && p->len <= HELD_BYTES)
		h = mem_alloc(1, sizeof(*h) + p->len);
	if (h == NULL) {
		drop(l->peer->stats, DATAPLANE_DROP_RX_LANE, 1);
		return;
	}
	memcpy(h->data, p->data, p->len);
	h->len = (uint16_t)p->len;
	*l->held_tail = h;
	l->held_tail = &h->next;
	l->held_count++;
}

/* --- an address that two links share: one in use, one about to replace it ------------------------ */

/* Tries the keys of l on one record, whose bytes are as before when they are not the right ones. */
static bool try_open(struct shard *s, struct link *l, const struct pkt *p,
                     struct record_counters *c)
{
	memcpy(s->backup, p->data, p->len);
	size_t n = record_open(l->keys.record, p, 1, s->plains, SHARD_PACKETS, c);
	if (n == 0)
		memcpy(p->data, s->backup, p->len);
	else
		accept_plains(s, l, n);
	return n > 0;
}

/* A record of epoch 1 for whichever of the links at this address can open it. */
static void open_or_hold(struct shard *s, struct link_addr *first, const struct pkt *record)
{
	struct record_counters c = {0};
	struct link *waiting = NULL;

	for (struct link_addr *a = first; a != NULL; a = a->next) {
		if (a->link->keys.record == NULL)
			waiting = a->link;
		else if (try_open(s, a->link, record, &c))
			return;
	}
	/* An alert before the keys proves nothing. */
	if (waiting != NULL && record->data[0] == RECORD_TYPE_DATA)
		hold(waiting, record);
	else
		/* A number that one of them has seen says nothing about the others: the tag decides. */
		drop(first->link->peer->stats,
		     c.rx_bad_tag == 0 && c.rx_replay + c.rx_old > 0 ? DATAPLANE_DROP_RX_REPLAY
		                                                     : DATAPLANE_DROP_RX_AUTH,
		     1);
}

/* Handshakes belong to the link that was bound last. */
static struct link *newest(struct link_addr *first)
{
	struct link_addr *best = first;

	for (struct link_addr *a = first; a != NULL; a = a->next) {
		if (a->order > best->order)
			best = a;
	}
	return best->link;
}

/* --- records of a datagram ----------------------------------------------------------------------- */

static bool is_handshake(const uint8_t *record)
{
	uint16_t epoch = be16_load(record + RECORD_EPOCH);

	/*
	 * A client has keys before the server's Finished comes, so in epoch 1 too dtls alone knows what is new. A
	 * plaintext alert can be forged by anyone: nothing follows from it.
	 */
	return (record[0] == RECORD_TYPE_HANDSHAKE && epoch <= 1) ||
	       (record[0] == RECORD_TYPE_CCS && epoch == 0);
}

static void send_handshake(struct shard *s, struct link *l, const struct run *run,
                           const uint8_t *data, size_t len)
{
	struct dataplane_event ev = {
		.type = DATAPLANE_EVENT_HANDSHAKE,
		.net = l->peer->net->id,
		.peer = l->peer->id,
		.link = l->id,
		.local = run->local,
		.remote = run->remote,
		.data = data,
		.len = len,
	};

	if (len > 0 && shard_event(s, EVENT_LANE_HANDSHAKE, &ev, NULL) < 0)
		drop(l->peer->stats, DATAPLANE_DROP_RX_LANE, 1);
}

/* A datagram that is not just one data record: handshake records stay together, others go their ways. */
static void split(struct shard *s, struct link_addr *first, const struct run *run,
                  const struct pkt *p)
{
	struct link *l = newest(first);
	size_t at = 0, from = 0, handshake = 0; /* handshake bytes that begin at `from` */

	while (p->len - at >= RECORD_HEADER_SIZE) {
		struct pkt record = {.data = p->data + at};

		record.len = (size_t)be16_load(record.data + RECORD_LENGTH) + RECORD_HEADER_SIZE;
		if (record.len > p->len - at)
			break;
		at += record.len;
		if (is_handshake(record.data)) {
			if (handshake == 0)
				from = at - record.len;
			handshake += record.len;
			continue;
		}
		send_handshake(s, l, run, p->data + from, handshake);
		handshake = 0;
		if (be16_load(record.data + RECORD_EPOCH) == 1)
			open_or_hold(s, first, &record);
		else
			drop(l->peer->stats, DATAPLANE_DROP_RX_MALFORMED, 1);
	}
	send_handshake(s, l, run, p->data + from, handshake);
	if (at < p->len)
		drop(l->peer->stats, DATAPLANE_DROP_RX_MALFORMED, 1);
}

/* Datagrams of an address that belongs to one link or more. */
static void records(struct shard *s, struct link_addr *first, const struct run *run,
                    const struct pkt *in, size_t n)
{
	bool fast = first->next == NULL && first->link->keys.record != NULL;
	size_t begin = 0; /* of the data records not opened yet */

	for (size_t i = 0; i < n; i++) {
		if (fast && is_one_data_record(&in[i]))
			continue;
		open_records(s, first->link, in + begin, i - begin);
		split(s, first, run, &in[i]);
		begin = i + 1;
	}
	open_records(s, first->link, in + begin, n - begin);
}

void in_held(struct shard *s, struct link *l, struct held *first)
{
	size_t n = 0;

	for (struct held *h = first; h != NULL; h = h->next)
		s->in_pkts[n++] = (struct pkt){.data = h->data, .len = h->len};
	open_records(s, l, s->in_pkts, n);
}

/* --- runs ---------------------------------------------------------------------------------------- */

/* Keeps the newest ClientHello of an address whose check was answered; ours to it may be just behind. */
static void hold_early(struct net *n, const struct run *run, const struct pkt *p)
{
	struct early *e = net_early_find(n, &run->remote);

	if (e == NULL || p->len <= HANDSHAKE_OFFSET + 3 || p->len > HELD_BYTES ||
	    p->data[0] != RECORD_TYPE_HANDSHAKE || be16_load(p->data + RECORD_EPOCH) != 0 ||
	    p->data[HANDSHAKE_TYPE] != HANDSHAKE_CLIENT_HELLO) {
		drop(n->stats, DATAPLANE_DROP_RX_UNKNOWN, 1);
		return;
	}
	const uint8_t *offset = p->data + HANDSHAKE_OFFSET;
	bool begins = offset[0] == 0 && offset[1] == 0 && offset[2] == 0;
	if (e->count > 0 && (begins || e->count == EARLY_DATAGRAMS)) {
		drop(n->stats, DATAPLANE_DROP_RX_UNKNOWN, e->count);
		e->count = 0;
	}
	e->local = run->local;
	memcpy(e->data[e->count], p->data, p->len);
	e->len[e->count++] = (uint16_t)p->len;
}

static void flush_run(struct shard *s, struct run *run)
{
	if (run->count == 0)
		return;
	struct link_addr *a = net_addr_find(run->net, &run->remote);
	if (a == NULL) {
		for (size_t i = 0; i < run->count; i++)
			hold_early(run->net, run, &s->in_pkts[i]);
	} else {
		records(s, a, run, s->in_pkts, run->count);
	}
	run->count = 0;
}

static void stun(struct shard *s, const struct run *run, const struct pkt *p)
{
	struct dataplane_event ev = {
		.type = DATAPLANE_EVENT_STUN,
		.net = run->net->id,
		.local = run->local,
		.remote = run->remote,
		.data = p->data,
		.len = p->len,
	};

	if (!stun_is_message(p->data, p->len))
		drop(run->net->stats, DATAPLANE_DROP_RX_MALFORMED, 1);
	else if (!net_stun_known(run->net, p->data, p->len))
		drop(run->net->stats, DATAPLANE_DROP_RX_UNKNOWN, 1);
	else if (shard_event(s, EVENT_LANE_STUN, &ev, NULL) < 0)
		drop(run->net->stats, DATAPLANE_DROP_RX_LANE, 1);
}

/* Adds the datagrams of one receive to the run, which ends when the remote address changes. */
static void add_train(struct shard *s, struct run *run, const struct udp_train *t, uint8_t *data)
{
	if (t->lost > 0)
		drop(run->net->stats, DATAPLANE_DROP_RX_OVERFLOW, t->lost);
	if (t->len == 0)
		drop(run->net->stats, DATAPLANE_DROP_RX_MALFORMED, 1);
	if (run->count > 0 && !netaddr_equal(&run->remote, &t->remote))
		flush_run(s, run);
	run->local = t->local;
	run->remote = t->remote;
	for (size_t at = 0; at < t->len; at += t->size) {
		struct pkt p = {.data = data + at, .len = GV_MIN(t->size, t->len - at)};

		if (p.data[0] <= FIRST_BYTE_STUN_MAX) {
			stun(s, run, &p);
		} else if (p.data[0] < FIRST_BYTE_DTLS_MIN || p.data[0] > FIRST_BYTE_DTLS_MAX) {
			drop(run->net->stats, DATAPLANE_DROP_RX_MALFORMED, 1);
		} else {
			if (run->count == SHARD_PACKETS)
				flush_run(s, run);
			s->in_pkts[run->count++] = p;
		}
	}
}

/* Receives until the memory is full, its turn is over or nothing waits. Returns false when nothing more waits. */
static bool receive_round(struct shard *s, struct net *n, struct udp *u)
{
	struct run run = {.net = n};
	size_t used = 0;
	int r = UDP_OK;

	/* A flood of tiny datagrams fills no memory: their number ends the turn too. */
	for (unsigned i = 0; i < SHARD_TRAINS && SHARD_RECV_BYTES - used >= UDP_RECV_BYTES; i++) {
		struct udp_train t;

		r = udp_recv(u, s->recv_bytes + used, UDP_RECV_BYTES, &t);
		if (r != UDP_OK)
			break;
		add_train(s, &run, &t, s->recv_bytes + used);
		used += t.len;
	}
	flush_run(s, &run);
	if (r < 0) {
		/* Not the network's fault; without this it would be tried for ever. */
		(void)log_err(r, "dataplane.udp", LOG_U64("net", n->id));
		(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, u->fd, NULL); /* broken: as wished */
	}
	return r == UDP_OK;
}

void in_udp(struct shard *s, struct net *n, struct udp *u)
{
	for (unsigned i = 0; i < RECV_ROUNDS; i++) {
		if (!receive_round(s, n, u))
			break;
	}
}
