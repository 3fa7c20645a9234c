/* SPDX-License-Identifier: MIT */

/* Packets that wait until the interface on the way out has sent what the kernel holds already. */

#include "engine/dataplane/shard.h"

#include "base/clock.h"

#include <utlist.h>

/* Taken from the queue before the gate is asked again. */
#define TAKE_MAX 64

bool queue_wanted(const struct net *n)
{
	return n->gate.closed || fq_count(n->queue) > 0;
}

static void count_lost(const struct shard *s, const struct net *n, const uint32_t *peers,
                       size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct peer *p;

		HASH_FIND(hh, s->peers, &peers[i], sizeof(peers[i]), p);
		/* The counters of one who left are gone. */
		drop(p != NULL ? p->stats : n->stats, DATAPLANE_DROP_TX_QUEUE, 1);
	}
}

void queue_push(struct shard *s, struct link *l, const struct pkt *pkts, size_t n)
{
	struct fq_packet in[BATCH_MAX_COUNT];
	uint32_t lost[BATCH_MAX_COUNT];

	for (size_t at = 0; at < n; at += BATCH_MAX_COUNT) {
		size_t k = GV_MIN(n - at, (size_t)BATCH_MAX_COUNT);

		for (size_t i = 0; i < k; i++)
			in[i] = (struct fq_packet){
				.data = pkts[at + i].data,
				.len = (uint16_t)GV_MIN(pkts[at + i].len, (size_t)UINT16_MAX),
				.tag = l->peer->id};
		count_lost(s, l->peer->net, lost,
		           fq_push(l->peer->net->queue, in, k, s->now_us, lost));
	}
}

/* Gives what was taken to the links that its peers use now, in runs of one link. */
static void send_taken(struct shard *s, const struct net *net, const struct fq_packet *out,
                       size_t n)
{
	struct pkt run[TAKE_MAX];
	struct peer *p = NULL;
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		if (p == NULL || p->id != out[i].tag) {
			if (count > 0)
				out_append(s, p->in_use, run, count);
			count = 0;
			HASH_FIND(hh, s->peers, &out[i].tag, sizeof(out[i].tag), p);
		}
		if (p == NULL || p->in_use == NULL || !link_carries_ip(p->in_use)) {
			/* It may have left in the meantime, and its counters too. */
			drop(p != NULL ? p->stats : net->stats, DATAPLANE_DROP_TX_NO_PEER, 1);
			continue;
		}
		run[count++] = (struct pkt){.data = out[i].data, .len = out[i].len};
	}
	if (count > 0)
		out_append(s, p->in_use, run, count);
	out_flush(s);
}

/* What both sockets of a network were given and the kernel has not sent. */
static uint64_t unsent_bytes(const struct net *n)
{
	return (uint64_t)udp_unsent(&n->udp4) + udp_unsent(&n->udp6);
}

/* A rate is bytes by time: the moment of the look counts, which may be long after that of the last wake-up. */
static void look(struct net *n)
{
	gate_look(&n->gate, unsent_bytes(n), clock_now_us());
}

void queue_sent(struct net *n, size_t bytes)
{
	if (gate_sent(&n->gate, bytes))
		look(n);
}

void queue_run(struct shard *s, struct net *n)
{
	struct fq_packet out[TAKE_MAX];
	uint32_t lost[FQ_LOST_MAX];
	size_t count = 1, lost_count = 1;

	if (n->gate.closed && s->now_us >= gate_deadline_us(&n->gate))
		look(n);
	while (!n->gate.closed && count + lost_count > 0) {
		/* About one train, so that the gate is asked after each. */
		size_t most =
			gate_train_bytes(&n->gate, QUEUE_DATAGRAM_BYTES) / QUEUE_DATAGRAM_BYTES;

		count = fq_pop(n->queue, out, GV_MIN(most, (size_t)TAKE_MAX), s->now_us, lost,
		               &lost_count);
		count_lost(s, n, lost, lost_count);
		send_taken(s, n, out, count);
	}
}

uint64_t queue_deadline_us(const struct net *n)
{
	return gate_deadline_us(&n->gate);
}
