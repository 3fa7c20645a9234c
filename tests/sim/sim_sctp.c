/* SPDX-License-Identifier: MIT */

/*
 * Two associations over a bad network in virtual time, one run per seed:
 *
 *   sim_sctp [SEED [COUNT]]     default: seeds 1 .. 200
 *
 * A seed chooses loss, duplication, delay and jitter of each direction, who connects, zero checksum, tunnel mode or
 * the RFC, and the traffic: reliable messages on three streams (ordered, unordered, ordered with fragments),
 * partially reliable ones, and IP packets of all sizes. In tunnel mode the path also goes dark for up to three
 * minutes. What must hold: reliable messages arrive exactly once, and in order where they are ordered; nothing
 * arrives twice or changed; after the traffic nothing stays outstanding; shutdown is clean.
 */

#include "base/bytes.h"
#include "tests/support/sctp_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_IP        2
#define STREAM_ORDERED   0
#define STREAM_UNORDERED 5
#define STREAM_LARGE     65534
#define STREAM_RETRY     8
#define STREAM_TIMED     9
#define STREAMS          5
#define MESSAGES_MAX     512
#define PACKETS_MAX      20000
#define LARGE_MAX        40000
#define HEAD             12

static const uint16_t streams[STREAMS] = {STREAM_ORDERED, STREAM_UNORDERED, STREAM_LARGE,
                                          STREAM_RETRY, STREAM_TIMED};

/* What one side sent and the other one got. */
struct flow {
	uint32_t sent[STREAMS], got[STREAMS], last[STREAMS];
	uint8_t seen[STREAMS][MESSAGES_MAX];
	uint32_t ip_sent, ip_got;
	uint8_t ip_seen[PACKETS_MAX];
};

struct sim {
	uint64_t seed;
	struct rng rng;
	struct sctp_net *net;
	bool tunnel;
	struct flow flow[2]; /* by sender */
	unsigned failures;
	uint8_t buf[1 << 16];
};

#define CHECK(sim, cond) check((sim), (cond), #cond, __LINE__)

static void check(struct sim *s, bool ok, const char *what, int line)
{
	if (ok || s->failures++ > 0)
		return;
	fprintf(stderr, "seed %llu, %.3f s, line %d: %s\n", (unsigned long long)s->seed,
	        (double)s->net->now_us / 1e6, line, what);
}

/* number, length, then bytes that follow from them. */
static void fill(uint8_t *p, uint32_t number, uint32_t len, uint32_t stream)
{
	be32_store(p, number);
	be32_store(p + 4, len);
	be32_store(p + 8, stream);
	for (uint32_t i = HEAD; i < len; i++)
		p[i] = (uint8_t)(number * 31 + i * 7 + stream);
}

static bool is_intact(const struct sctp_msg *m)
{
	static uint8_t want[1 << 16];

	if (m->len < HEAD || m->len > sizeof(want) || be32_load(m->data + 4) != m->len ||
	    be32_load(m->data + 8) != m->stream)
		return false;
	fill(want, be32_load(m->data), (uint32_t)m->len, m->stream);
	return memcmp(want, m->data, m->len) == 0;
}

static int stream_index(uint16_t stream)
{
	for (int i = 0; i < STREAMS; i++)
		if (streams[i] == stream)
			return i;
	return -1;
}

static void on_msg(void *user, int side, const struct sctp_msg *m)
{
	struct sim *s = user;
	struct flow *f = &s->flow[1 - side];

	CHECK(s, is_intact(m));
	if (s->failures > 0)
		return;
	uint32_t number = be32_load(m->data);
	if (m->stream == STREAM_IP) {
		CHECK(s, number < f->ip_sent);
		CHECK(s, f->ip_seen[number % PACKETS_MAX]++ == 0);
		f->ip_got++;
		return;
	}
	int i = stream_index(m->stream);
	CHECK(s, i >= 0 && number < f->sent[i]);
	if (s->failures > 0)
		return;
	CHECK(s, f->seen[i][number]++ == 0);
	if (m->stream == STREAM_ORDERED || m->stream == STREAM_LARGE)
		CHECK(s, number == f->got[i]);
	else if (m->stream == STREAM_TIMED)
		CHECK(s, f->got[i] == 0 || number > f->last[i]);
	f->last[i] = number;
	f->got[i]++;
}

static struct sctp_config random_config(struct sim *s)
{
	struct sctp_config c = sctp_net_config(rng_u64(&s->rng));

	c.zero_checksum = rng_below(&s->rng, 3) > 0;
	c.max_packet_bytes = (uint16_t)(SCTP_PACKET_BYTES_MIN + rng_below(&s->rng, 60) * 4);
	return c;
}

static void random_links(struct sim *s)
{
	for (int i = 0; i < 2; i++) {
		struct sctp_link *l = &s->net->link[i];

		l->loss_permille = rng_below(&s->rng, 2) * rng_below(&s->rng, 200);
		l->duplicate_permille = rng_below(&s->rng, 2) * rng_below(&s->rng, 50);
		l->delay_us = rng_below(&s->rng, 100000);
		l->jitter_us = rng_below(&s->rng, 2) * rng_below(&s->rng, 30000);
	}
}

static void send_message(struct sim *s, int side)
{
	struct flow *f = &s->flow[side];
	int i = (int)rng_below(&s->rng, STREAMS);
	struct sctp_send_options o = {.stream = streams[i], .ppid = 53};
	uint32_t len = HEAD + rng_below(&s->rng, 900);

	if (streams[i] == STREAM_LARGE && !s->tunnel)
		len = HEAD + rng_below(&s->rng, LARGE_MAX);
	o.unordered = streams[i] == STREAM_UNORDERED || streams[i] == STREAM_RETRY;
	if (streams[i] == STREAM_RETRY) {
		o.reliability = SCTP_MAX_RETRANSMITS;
		o.limit = rng_below(&s->rng, 3);
	} else if (streams[i] == STREAM_TIMED) {
		o.reliability = SCTP_MAX_LIFETIME;
		o.limit = rng_below(&s->rng, 500);
		len += s->tunnel ? 0 : rng_below(&s->rng, 5000);
	}
	if (f->sent[i] == MESSAGES_MAX)
		return;
	fill(s->buf, f->sent[i], len, streams[i]);
	int r = sctp_send(s->net->end[side], &o, s->buf, len, s->net->now_us);
	CHECK(s, r == SCTP_OK || r == SCTP_FULL);
	f->sent[i] += r == SCTP_OK;
}

/* A burst of IP packets: a train of large ones, small ones, or any. */
static void send_packets(struct sim *s, int side)
{
	struct flow *f = &s->flow[side];
	struct pkt in[64];
	size_t n = 1 + rng_below(&s->rng, 64), used = 0, count = 0;
	uint32_t kind = rng_below(&s->rng, 4);
	int result;

	for (; count < n && f->ip_sent + count < PACKETS_MAX; count++) {
		uint32_t len = kind == 0 ? 1060 : HEAD + rng_below(&s->rng, kind == 1 ? 80 : 1500);

		if (used + len > sizeof(s->buf))
			break;
		fill(s->buf + used, f->ip_sent + (uint32_t)count, len, STREAM_IP);
		in[count] = (struct pkt){.data = s->buf + used, .len = len};
		used += len;
	}
	/* Numbers are used up also by those that are refused: they are lost packets. */
	f->ip_sent += (uint32_t)count;
	(void)sctp_net_tunnel(s->net, side, STREAM_IP, in, count, &result);
	CHECK(s, result == SCTP_OK || result == SCTP_FULL);
}

static void traffic(struct sim *s, uint64_t until_us)
{
	while (s->net->now_us < until_us && s->failures == 0) {
		for (int side = 0; side < 2; side++) {
			if (rng_below(&s->rng, 4) == 0)
				send_message(s, side);
			if (rng_below(&s->rng, 2) == 0)
				send_packets(s, side);
			if (rng_below(&s->rng, 20) == 0)
				sctp_set_max_packet_bytes(
					s->net->end[side],
					(uint16_t)(1100 + rng_below(&s->rng, 400)));
		}
		sctp_net_run(s->net, s->net->now_us + rng_below(&s->rng, 20000));
	}
}

/* The path comes back: within a second packets pass again. */
static void blackout(struct sim *s)
{
	s->net->link[0].dark = s->net->link[1].dark = true;
	traffic(s, s->net->now_us + 200000);
	sctp_net_run(s->net, s->net->now_us + rng_below(&s->rng, 180) * 1000000ull);
	s->net->link[0].dark = s->net->link[1].dark = false;
	for (int i = 0; i < 2; i++)
		s->net->link[i].loss_permille = 0;
	sctp_net_run(s->net, s->net->now_us + 1200000);
	for (int side = 0; side < 2; side++) {
		uint32_t before = s->flow[side].ip_got, sent = s->flow[side].ip_sent;

		send_packets(s, side);
		sctp_net_run(s->net, s->net->now_us + 400000);
		CHECK(s, s->flow[side].ip_got - before == s->flow[side].ip_sent - sent);
	}
	CHECK(s, !s->net->down[0] && !s->net->down[1]);
}

static void verify_end(struct sim *s)
{
	for (int side = 0; side < 2; side++) {
		const struct flow *f = &s->flow[side];
		const struct sctp_counters *c = sctp_counters(s->net->end[side]);

		for (int i = 0; i < 3; i++)
			CHECK(s, f->got[i] == f->sent[i]);
		CHECK(s, c->bad_packet == 0);
		CHECK(s, c->bad_checksum == 0);
		CHECK(s, c->bad_chunk == 0);
		CHECK(s, c->receive_drop == 0);
	}
}

static void close_down(struct sim *s)
{
	sctp_shutdown(s->net->end[0], s->net->now_us);
	if (rng_below(&s->rng, 2) == 0)
		sctp_shutdown(s->net->end[1], s->net->now_us);
	sctp_net_run(s->net, s->net->now_us + 250000000);
	for (int i = 0; i < 2; i++) {
		CHECK(s, s->net->down[i]);
		/* The last of the four packets may be lost ten times over; the side that missed it gives up. */
		CHECK(s, s->net->reason[i] == SCTP_DOWN_SHUTDOWN ||
		                 (s->net->reason[i] == SCTP_DOWN_TIMEOUT &&
		                  s->net->link[1 - i].loss_permille > 0));
	}
}

static bool run_seed(uint64_t seed)
{
	struct sim *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return false;
	s->seed = seed;
	s->rng = rng_seeded(seed * 7919);
	struct sctp_config a = random_config(s), b = random_config(s);
	s->net = sctp_net_new(seed, &a, &b);
	s->net->on_msg = on_msg;
	s->net->user = s;
	random_links(s);
	if (rng_below(&s->rng, 2) == 0) {
		CHECK(s, sctp_net_connect(s->net));
	} else {
		sctp_connect(s->net->end[0], s->net->now_us);
		sctp_net_run(s->net, s->net->now_us + 60000000);
		CHECK(s, s->net->up[0] && s->net->up[1]);
	}
	if (s->failures == 0) {
		traffic(s, s->net->now_us + 100000);
		s->tunnel = rng_below(&s->rng, 2) == 0;
		for (int i = 0; i < 2 && s->tunnel; i++) {
			/* What is longer than a chunk must be through before. */
			sctp_net_run(s->net, s->net->now_us + 60000000);
			sctp_tunnel_start(s->net->end[i], STREAM_IP, s->net->now_us);
		}
		traffic(s, s->net->now_us + 500000 + rng_below(&s->rng, 1000000));
		if (s->tunnel)
			blackout(s);
		sctp_net_run(s->net, s->net->now_us + 600000000);
		verify_end(s);
		close_down(s);
	}
	unsigned failures = s->failures;
	sctp_net_free(s->net);
	free(s);
	return failures == 0;
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : argc > 1 ? 1 : 200;
	unsigned bad = 0;

	for (uint64_t seed = first; seed < first + count; seed++)
		bad += !run_seed(seed);
	printf("sctp: %llu seeds, %u failed\n", (unsigned long long)count, bad);
	return bad > 0;
}
