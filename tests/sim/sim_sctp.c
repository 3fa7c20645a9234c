/* SPDX-License-Identifier: MIT */

/*
 * Two associations over a bad network in virtual time, one run per seed:
 *
 *   sim_sctp [SEED [COUNT]]     default: seeds 1 .. 200, with GOVPN_LONG=1 seeds 1 .. 10,000
 *
 * A seed chooses loss (up to 30 %), duplication, delay, jitter, late and damaged packets of each direction, who connects
 * and when, TSNs and SSNs near their wrap, zero checksum, tunnel mode or the RFC, owners that do not read for a while,
 * windows that the path makes small, paths that change their size or go dark, a side that loses its memory and begins
 * anew, stream resets in the middle, who ends it and how; and the traffic: reliable messages of 1 byte to 256 KiB on
 * ordered, unordered and reset streams, both policies of partial reliability in both orders, and IP packets.
 *
 * What must hold: a reliable message arrives once, in order where it is ordered, and intact; nothing arrives twice or
 * changed; a reset comes after all that was sent before it; memory stays below its bound; nothing goes on for ever; after
 * the traffic nothing stays outstanding and the wire is silent; both ends end, and cleanly if the path lets them.
 */

#include "base/bytes.h"
#include "proto/sctp/assoc_impl.h"
#include "tests/support/sctp_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
	KIND_ORDERED,
	KIND_UNORDERED,
	KIND_LARGE, /* ordered, up to 256 KiB */
	KIND_TINY,  /* ordered, one byte */
	KIND_RESET, /* ordered, on a stream that is reset now and then */
	KIND_RETRY_UNORDERED,
	KIND_RETRY_ORDERED,
	KIND_TIMED_UNORDERED,
	KIND_TIMED_ORDERED,
	KINDS,
};

#define STREAM_IP    2
#define PPID_BASE    1000 /* and the generation of the sender */
#define HEAD         12
#define MESSAGES_MAX 512
#define PACKETS_MAX  16384
#define RESETS_MAX   32
#define GENERATIONS  3
#define MESSAGE_MAX  SCTP_MESSAGE_BYTES_MAX

static const uint16_t streams[KINDS] = {0, 5, 65534, 7, 20, 8, 9, 10, 11};

static bool is_reliable(enum kind k)
{
	return k <= KIND_RESET;
}

static bool is_unordered(enum kind k)
{
	return k == KIND_UNORDERED || k == KIND_RETRY_UNORDERED || k == KIND_TIMED_UNORDERED;
}

/* What one association of one side sent, and the other side got. */
struct flow {
	uint32_t sent[KINDS], got[KINDS], last[KINDS];
	uint8_t seen[KINDS][MESSAGES_MAX];
	uint32_t resets_asked, resets_seen;
	uint32_t reset_at[RESETS_MAX]; /* how many messages of KIND_RESET came before */
	uint32_t ip_sent, ip_taken, ip_got;
	uint8_t ip_seen[PACKETS_MAX];
};

/* What the seeds did, so that a run in which something never happened is seen. */
struct tally {
	unsigned calm, tunnel, restarts, resets, wraps, pauses, windows, blackouts, aborts;
	unsigned timeouts, early;
	uint64_t retransmitted, gave_up, corrupted, messages, packets;
	size_t most_bytes;
};

struct sim {
	uint64_t seed;
	struct rng rng;
	struct sctp_net *net;
	struct tally *tally;
	bool tunnel, restarted, lossy;
	bool calm; /* a path and owners without any fault */
	uint32_t large_max;
	unsigned generation[2];           /* of what this side sends */
	unsigned heard[2];                /* of what this side receives: the sender's */
	struct flow flow[2][GENERATIONS]; /* by sender */
	unsigned failures;
	uint8_t buf[MESSAGE_MAX];
};

#define CHECK(sim, cond) check((sim), (cond), #cond, __LINE__)

static void check(struct sim *s, bool ok, const char *what, int line)
{
	if (ok || s->failures++ > 0)
		return;
	fprintf(stderr, "seed %llu, %.3f s, line %d: %s (replay: sim_sctp %llu)\n",
	        (unsigned long long)s->seed, (double)s->net->now_us / 1e6, line, what,
	        (unsigned long long)s->seed);
}

static struct flow *now_of(struct sim *s, int side)
{
	return &s->flow[side][s->generation[side]];
}

static bool chance(struct sim *s, uint32_t one_in)
{
	return rng_below(&s->rng, one_in) == 0;
}

static uint32_t between(struct sim *s, uint32_t least, uint32_t most)
{
	return least + rng_below(&s->rng, most - least + 1);
}

/* --- what is sent --- */

/* number, length, stream, then bytes that follow from them; of one byte there is only the number. */
static void fill(uint8_t *p, uint32_t number, uint32_t len, uint32_t stream)
{
	if (len < HEAD) {
		memset(p, (uint8_t)number, len);
		return;
	}
	be32_store(p, number);
	be32_store(p + 4, len);
	be32_store(p + 8, stream);
	for (uint32_t i = HEAD; i < len; i++)
		p[i] = (uint8_t)(number * 31 + i * 7 + stream);
}

static bool is_intact(const struct sctp_msg *m, uint32_t number)
{
	static uint8_t want[MESSAGE_MAX];

	if (m->len == 0 || m->len > sizeof(want))
		return false;
	fill(want, number, (uint32_t)m->len, m->stream);
	return memcmp(want, m->data, m->len) == 0;
}

static uint32_t message_size(struct sim *s, enum kind k)
{
	uint32_t chunk = s->tunnel ? 1000 : 5000;

	if (k == KIND_TINY)
		return 1;
	if (k == KIND_LARGE && !s->tunnel)
		return HEAD + rng_below(&s->rng, s->large_max - HEAD + 1);
	if (k == KIND_TIMED_ORDERED || k == KIND_RETRY_ORDERED || k == KIND_RETRY_UNORDERED)
		return HEAD + rng_below(&s->rng, chunk);
	return HEAD + rng_below(&s->rng, 900);
}

static void send_message(struct sim *s, int side)
{
	struct flow *f = now_of(s, side);
	uint32_t any = rng_below(&s->rng, KINDS);
	enum kind k = (enum kind)any;
	struct sctp_send_options o = {.stream = streams[k],
	                              .ppid = PPID_BASE + s->generation[side],
	                              .unordered = is_unordered(k)};

	if (k == KIND_RETRY_ORDERED || k == KIND_RETRY_UNORDERED) {
		o.reliability = SCTP_MAX_RETRANSMITS;
		o.limit = rng_below(&s->rng, 3);
	} else if (k == KIND_TIMED_ORDERED || k == KIND_TIMED_UNORDERED) {
		o.reliability = SCTP_MAX_LIFETIME;
		o.limit = rng_below(&s->rng, 500);
	}
	if (f->sent[k] == MESSAGES_MAX)
		return;
	uint32_t len = message_size(s, k);
	fill(s->buf, f->sent[k], len, streams[k]);
	int r = sctp_send(s->net->end[side], &o, s->buf, len, s->net->now_us);
	bool down = !sctp_is_up(s->net->end[side]);
	bool reset = k == KIND_RESET && reset_is_wanted(s->net->end[side], streams[k]);
	CHECK(s, r == SCTP_OK || r == SCTP_FULL || (r == SCTP_NOT_UP && down) ||
	                 (r == SCTP_RESETTING && reset));
	f->sent[k] += r == SCTP_OK;
}

/* Closes the stream of KIND_RESET, to be used again as soon as the peer agreed. */
static void send_reset(struct sim *s, int side)
{
	struct flow *f = now_of(s, side);
	struct sctp *end = s->net->end[side];
	uint16_t stream = streams[KIND_RESET];

	if (f->resets_asked == RESETS_MAX || !sctp_is_up(end) || reset_is_wanted(end, stream))
		return;
	f->reset_at[f->resets_asked++] = f->sent[KIND_RESET];
	CHECK(s, sctp_reset_stream(end, stream, s->net->now_us) == 0);
}

/* A burst of IP packets: a train of large ones, small ones, or any. */
static void send_packets(struct sim *s, int side)
{
	struct flow *f = now_of(s, side);
	struct pkt in[64];
	size_t n = 1 + rng_below(&s->rng, 64), used = 0, count = 0;
	uint32_t kind = rng_below(&s->rng, 4);
	int result;

	for (; count < n && f->ip_sent + count < PACKETS_MAX; count++) {
		uint32_t len = kind == 0 ? 1060 : HEAD + rng_below(&s->rng, kind == 1 ? 80 : 1500);

		fill(s->buf + used, f->ip_sent + (uint32_t)count, len,
		     STREAM_IP + (s->generation[side] << 16));
		in[count] = (struct pkt){.data = s->buf + used, .len = len};
		used += len;
	}
	/* Numbers are used up also by those that are refused: they are lost packets. */
	f->ip_sent += (uint32_t)count;
	f->ip_taken += (uint32_t)sctp_net_tunnel(s->net, side, STREAM_IP, in, count, &result);
	CHECK(s, result == SCTP_OK || result == SCTP_FULL || !sctp_is_up(s->net->end[side]));
}

/* --- what arrives --- */

static void on_packet(struct sim *s, int from, const struct sctp_msg *m)
{
	CHECK(s, m->len >= HEAD);
	if (s->failures > 0)
		return;
	uint32_t number = be32_load(m->data), tag = be32_load(m->data + 8);
	struct sctp_msg copy = *m;
	unsigned g = tag >> 16;

	CHECK(s, (tag & 0xffff) == STREAM_IP && g <= s->generation[from]);
	if (s->failures > 0)
		return;
	struct flow *f = &s->flow[from][g];
	/* fill() was given the generation with the stream. */
	static uint8_t want[2048];
	CHECK(s, number < f->ip_sent && copy.len <= sizeof(want));
	if (s->failures > 0)
		return;
	fill(want, number, (uint32_t)copy.len, tag);
	CHECK(s, memcmp(want, copy.data, copy.len) == 0);
	CHECK(s, f->ip_seen[number]++ == 0);
	f->ip_got++;
}

static int kind_of(uint16_t stream)
{
	for (int k = 0; k < KINDS; k++)
		if (streams[k] == stream)
			return k;
	return -1;
}

static void on_msg(void *user, int side, const struct sctp_msg *m)
{
	struct sim *s = user;
	int from = 1 - side;

	if (m->stream == STREAM_IP) {
		on_packet(s, from, m);
		return;
	}
	int k = kind_of(m->stream);
	unsigned g = m->ppid - PPID_BASE;
	CHECK(s, k >= 0 && g <= s->generation[from]);
	if (s->failures > 0)
		return;
	struct flow *f = &s->flow[from][g];
	uint32_t number = m->len >= HEAD ? be32_load(m->data) : f->got[k];
	CHECK(s, number < f->sent[k]);
	CHECK(s, is_intact(m, number));
	if (s->failures > 0)
		return;
	CHECK(s, f->seen[k][number]++ == 0);
	if (is_reliable((enum kind)k) && !is_unordered((enum kind)k))
		CHECK(s, number == f->got[k]);
	else if (!is_unordered((enum kind)k))
		CHECK(s, f->got[k] == 0 || number > f->last[k]);
	f->last[k] = number;
	f->got[k]++;
	s->tally->messages++;
}

static void on_event(void *user, int side, const struct sctp_event *e)
{
	struct sim *s = user;
	struct flow *f = &s->flow[1 - side][s->heard[side]];

	if (e->type == SCTP_EVENT_STREAM_RESET) {
		CHECK(s, e->stream == streams[KIND_RESET] && f->resets_seen < f->resets_asked);
		/* An owner that has not read for a while may find what came later as well. */
		CHECK(s, f->got[KIND_RESET] >= f->reset_at[f->resets_seen]);
		f->resets_seen++;
		s->tally->resets++;
	} else if (e->type == SCTP_EVENT_DOWN && e->reason == SCTP_DOWN_RESTARTED) {
		/* What was sent before is lost, and the new association is another one. */
		CHECK(s, s->restarted);
		CHECK(s, s->generation[side] + 1 < GENERATIONS);
		if (s->generation[side] + 1 < GENERATIONS)
			s->generation[side]++;
		s->heard[side] = s->generation[1 - side];
		s->net->down[side] = false;
	}
}

/* --- the plan --- */

static struct sctp_config random_config(struct sim *s)
{
	struct sctp_config c = sctp_net_config(rng_u64(&s->rng));

	c.zero_checksum = !chance(s, 3);
	c.max_packet_bytes = (uint16_t)(SCTP_PACKET_BYTES_MIN + rng_below(&s->rng, 60) * 4);
	return c;
}

static void random_links(struct sim *s)
{
	uint32_t worst = 0;

	for (int i = 0; i < 2; i++) {
		struct sctp_link *l = &s->net->link[i];
		/* A third each: none, some, and up to 30 %. */
		uint32_t most = chance(s, 3) ? 0 : chance(s, 2) ? 50 : 300;

		l->delay_us = rng_below(&s->rng, 100000);
		if (s->calm)
			continue;
		l->loss_permille = rng_below(&s->rng, most + 1);
		l->duplicate_permille = chance(s, 2) ? rng_below(&s->rng, 100) : 0;
		l->corrupt_permille = chance(s, 3) ? rng_below(&s->rng, 30) : 0;
		l->jitter_us = chance(s, 2) ? rng_below(&s->rng, 30000) : 0;
		l->late_permille = chance(s, 3) ? rng_below(&s->rng, 50) : 0;
		l->late_us = rng_below(&s->rng, 300000);
		worst = GV_MAX(worst, l->loss_permille + l->corrupt_permille);
		s->lossy |= l->loss_permille + l->corrupt_permille > 0;
	}
	/* With much loss a window is one packet, and 256 KiB a day. */
	s->large_max = worst > 100 ? 20000 : worst > 20 ? 80000 : MESSAGE_MAX;
}

static bool both_up(const struct sctp_net *net)
{
	return sctp_is_up(net->end[0]) && sctp_is_up(net->end[1]);
}

/* RFC 9260 gives up after 8 and 10 timeouts, which a path that loses a third of all can cause. */
static bool gave_up_rightly(struct sim *s)
{
	bool timeout = false;

	for (int i = 0; i < 2; i++)
		timeout |= s->net->down[i] && s->net->reason[i] == SCTP_DOWN_TIMEOUT;
	s->tally->timeouts += timeout;
	uint32_t through = 1000;
	for (int i = 0; i < 2; i++)
		through = through * (1000 - s->net->link[i].loss_permille) / 1000;
	return timeout && through < 800;
}

/* Both at once, one after the other, or one alone. False: it did not come up, and need not. */
static bool connect_ends(struct sim *s)
{
	uint32_t who = rng_below(&s->rng, 4);
	uint64_t later = chance(s, 2) ? 0 : rng_below(&s->rng, 300000);

	if (who != 1)
		sctp_connect(s->net->end[0], s->net->now_us);
	sctp_net_run(s->net, s->net->now_us + later);
	if (who != 0)
		sctp_connect(s->net->end[1], s->net->now_us);
	for (int i = 0; i < 600 && !both_up(s->net); i++)
		sctp_net_run(s->net, s->net->now_us + 1000000);
	if (both_up(s->net))
		return true;
	CHECK(s, gave_up_rightly(s));
	return false;
}

static void pause_and_resume(struct sim *s, int side)
{
	if (s->net->paused[side]) {
		sctp_net_resume(s->net, side);
	} else if (chance(s, 4)) {
		s->net->paused[side] = true;
		s->tally->pauses++;
	}
}

static void change_window(struct sim *s, int side)
{
	static const uint32_t windows[] = {0, 1, 500, 1500, 4000, 65536};

	s->net->link[side].rwnd_max = chance(s, 2) ? UINT32_MAX : windows[rng_below(&s->rng, 6)];
	s->tally->windows++;
}

static void watch(struct sim *s)
{
	for (int i = 0; i < 2; i++) {
		size_t bytes = sctp_net_footprint(s->net->end[i]);

		s->tally->most_bytes = GV_MAX(s->tally->most_bytes, bytes);
		CHECK(s, bytes <= SCTP_MEMORY_BYTES_MAX);
	}
	/* A livelock is a clock that stands still while things go on. */
	CHECK(s, s->net->steps < 4000000);
}

static void traffic(struct sim *s, uint64_t until_us, bool faults)
{
	while (s->net->now_us < until_us && s->failures == 0) {
		for (int side = 0; side < 2; side++) {
			if (chance(s, 3))
				send_message(s, side);
			if (chance(s, 2))
				send_packets(s, side);
			if (!faults)
				continue;
			if (chance(s, 20))
				sctp_set_max_packet_bytes(s->net->end[side],
				                          (uint16_t)between(s, 1100, 1500));
			if (chance(s, 15))
				send_reset(s, side);
			if (chance(s, 15))
				pause_and_resume(s, side);
			if (chance(s, 40))
				change_window(s, side);
		}
		sctp_net_run(s->net, s->net->now_us + rng_below(&s->rng, 20000));
		watch(s);
	}
}

/* One side forgets everything and connects anew; the other one may be in the middle of anything. */
static void restart(struct sim *s)
{
	int side = (int)rng_below(&s->rng, 2);
	struct sctp_config c = random_config(s);

	s->restarted = true;
	s->tally->restarts++;
	sctp_net_restart(s->net, side, &c);
	s->generation[side]++;
	s->heard[side] = s->generation[1 - side] + 1;
	s->tunnel = false;
	sctp_connect(s->net->end[side], s->net->now_us);
	for (int i = 0; i < 600 && !both_up(s->net) && s->failures == 0; i++)
		sctp_net_run(s->net, s->net->now_us + 1000000);
	for (int i = 0; i < 2; i++)
		sctp_net_resume(s->net, i);
}

/* The path is dark for a while. In tunnel mode, packets pass again within a second of its return. */
static void blackout(struct sim *s)
{
	s->tally->blackouts++;
	s->net->link[0].dark = s->net->link[1].dark = true;
	traffic(s, s->net->now_us + 200000, false);
	sctp_net_run(s->net, s->net->now_us + rng_below(&s->rng, s->tunnel ? 180 : 5) * 1000000ull);
	s->net->link[0].dark = s->net->link[1].dark = false;
	if (!s->tunnel)
		return;
	/* By a packet that comes later than others by more than the time to give up, it counts as lost. */
	struct sctp_link before[2] = {s->net->link[0], s->net->link[1]};
	for (int i = 0; i < 2; i++) {
		struct sctp_link *l = &s->net->link[i];

		l->loss_permille = l->corrupt_permille = l->late_permille = 0;
		sctp_net_resume(s->net, i);
	}
	sctp_net_run(s->net, s->net->now_us + 2000000);
	for (int side = 0; side < 2; side++) {
		struct flow *f = now_of(s, side);
		uint32_t got = f->ip_got, sent = f->ip_sent;

		send_packets(s, side);
		sctp_net_run(s->net, s->net->now_us + 1000000);
		CHECK(s, f->ip_got - got == f->ip_sent - sent);
	}
	CHECK(s, !s->net->down[0] && !s->net->down[1]);
	for (int i = 0; i < 2; i++) {
		s->net->link[i].loss_permille = before[i].loss_permille;
		s->net->link[i].corrupt_permille = before[i].corrupt_permille;
		s->net->link[i].late_permille = before[i].late_permille;
	}
}

static bool all_arrived(struct sim *s)
{
	for (int side = 0; side < 2; side++) {
		const struct flow *f = now_of(s, side);

		for (enum kind k = 0; k < KINDS; k++)
			if (is_reliable(k) && f->got[k] != f->sent[k])
				return false;
		if (f->resets_seen != f->resets_asked)
			return false;
	}
	return true;
}

static bool is_quiet(struct sim *s)
{
	return all_arrived(s) && send_is_empty(s->net->end[0]) && send_is_empty(s->net->end[1]) &&
	       s->net->end[0]->reset.wanted_count + s->net->end[1]->reset.wanted_count == 0;
}

/* Everybody reads and the windows are open: all must get through. False: the path was too bad for the RFC. */
static bool settle(struct sim *s)
{
	for (int i = 0; i < 2; i++) {
		s->net->link[i].rwnd_max = UINT32_MAX;
		sctp_net_resume(s->net, i);
	}
	for (int i = 0; i < 20000 && both_up(s->net) && !is_quiet(s) && s->failures == 0; i++)
		sctp_net_run(s->net, s->net->now_us + 1000000);
	watch(s);
	if (!both_up(s->net)) {
		CHECK(s, gave_up_rightly(s));
		return false;
	}
	CHECK(s, is_quiet(s));
	/* And then nothing more is said but heartbeats. */
	sctp_net_run(s->net, s->net->now_us + 5000000);
	uint64_t before = s->net->link[0].sent + s->net->link[1].sent;
	sctp_net_run(s->net, s->net->now_us + 20000000);
	CHECK(s, s->net->link[0].sent + s->net->link[1].sent - before <= (s->tunnel ? 0 : 8));
	return s->failures == 0;
}

static void verify_counters(struct sim *s, bool settled)
{
	for (int side = 0; side < 2; side++) {
		const struct sctp_counters *c = sctp_counters(s->net->end[side]);

		s->tally->retransmitted += c->retransmitted;
		s->tally->gave_up += c->gave_up;
		s->tally->corrupted += s->net->link[side].corrupted;
		/* Nothing is sent again without a reason, and no packet refused. */
		CHECK(s, !s->calm || (c->retransmitted == 0 && c->duplicate_tsn == 0 &&
		                      c->receive_drop == 0));
		CHECK(s,
		      !s->calm || !settled || s->flow[side][0].ip_got == s->flow[side][0].ip_taken);
		if (s->restarted)
			continue; /* the old packets and the new tags */
		CHECK(s, s->net->link[1 - side].corrupted > 0 ||
		                 (c->bad_packet == 0 && c->bad_checksum == 0));
		CHECK(s, c->bad_chunk == 0);
	}
}

/*
 * A clean end, from either side or both, with everything acknowledged or in the middle of it; or a hard one. A clean one
 * delivers what was sent before; the last of its packets may be lost ten times over, and then time ends it.
 */
static void close_down(struct sim *s, bool early)
{
	bool hard = chance(s, 6);
	uint64_t begun_us = s->net->now_us;
	int who = (int)rng_below(&s->rng, 3);

	for (int i = 0; i < 2; i++)
		sctp_net_resume(s->net, i);
	for (int i = 0; i < 2; i++) {
		if (who != 2 && who != i)
			continue;
		if (hard)
			sctp_abort(s->net->end[i], s->net->now_us);
		else
			sctp_shutdown(s->net->end[i], s->net->now_us);
		if (chance(s, 2))
			sctp_net_run(s->net, s->net->now_us + rng_below(&s->rng, 200000));
	}
	sctp_net_run(s->net, s->net->now_us + 900000000);
	for (int i = 0; i < 2; i++)
		sctp_net_resume(s->net, i); /* for events that no packet and no timer brought */
	s->tally->aborts += hard;
	s->tally->early += early;
	bool clean = !hard;
	for (int i = 0; i < 2; i++) {
		enum sctp_down_reason r = s->net->reason[i];

		clean &= s->net->down[i] && r == SCTP_DOWN_SHUTDOWN;
		/* An ABORT that is lost is not repeated, and in tunnel mode nobody asks. */
		CHECK(s, s->net->down[i] || (hard && s->tunnel && s->lossy));
		CHECK(s, !s->net->down[i] || r == SCTP_DOWN_SHUTDOWN || hard || s->lossy);
		/* Only the guard of the whole shutdown turns a clean end into another one (T5). */
		CHECK(s, !s->net->down[i] || r != SCTP_DOWN_ABORTED || hard ||
		                 s->net->down_us[i] >= begun_us + 5ull * RTO_MAX_US);
		CHECK(s, !s->net->down[i] || sctp_deadline_us(s->net->end[i]) == UINT64_MAX);
		CHECK(s, !s->net->down[i] || sctp_net_footprint(s->net->end[i]) < 1u << 20);
	}
	if (clean)
		CHECK(s, early ? true : all_arrived(s));
	for (int side = 0; side < 2 && clean && early; side++) {
		const struct flow *f = now_of(s, side);

		for (enum kind k = 0; k < KINDS; k++)
			CHECK(s, !is_reliable(k) || f->got[k] == f->sent[k]);
	}
}

/* Tunnel mode must not begin in the middle of a message of many chunks. False: that takes too long here. */
static bool queues_are_empty(struct sim *s)
{
	for (int i = 0; i < 2; i++) {
		s->net->link[i].rwnd_max = UINT32_MAX;
		sctp_net_resume(s->net, i);
	}
	for (int i = 0; i < 300 && both_up(s->net); i++) {
		if (s->net->end[0]->out.first == NULL && s->net->end[1]->out.first == NULL)
			return true;
		sctp_net_run(s->net, s->net->now_us + 1000000);
	}
	return false;
}

static void run_connected(struct sim *s)
{
	bool early = false;

	if (chance(s, 2)) {
		sctp_net_near_wrap(s->net, rng_below(&s->rng, 400), streams, KINDS,
		                   (uint16_t)rng_below(&s->rng, 20));
		s->tally->wraps++;
	}
	traffic(s, s->net->now_us + 100000 + rng_below(&s->rng, 500000), !s->calm);
	s->tunnel = chance(s, 2) && queues_are_empty(s);
	s->tally->tunnel += s->tunnel;
	for (int i = 0; i < 2 && s->tunnel; i++)
		sctp_tunnel_start(s->net->end[i], STREAM_IP, s->net->now_us);
	traffic(s, s->net->now_us + 300000 + rng_below(&s->rng, 700000), !s->calm);
	if (!s->calm && chance(s, 2) && both_up(s->net))
		blackout(s);
	for (int i = 0; i + 1 < GENERATIONS && !s->calm && chance(s, 6); i++) {
		restart(s);
		traffic(s, s->net->now_us + rng_below(&s->rng, 500000), true);
	}
	early = chance(s, 4);
	if (early ? s->failures == 0 : settle(s)) {
		verify_counters(s, !early);
		close_down(s, early);
	}
}

static bool run_seed(uint64_t seed, struct tally *tally)
{
	struct sim *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return false;
	s->seed = seed;
	s->tally = tally;
	s->rng = rng_seeded(seed * 7919);
	s->calm = chance(s, 8);
	struct sctp_config a = random_config(s), b = random_config(s);
	s->net = sctp_net_new(seed, &a, &b);
	s->net->on_msg = on_msg;
	s->net->on_event = on_event;
	s->net->user = s;
	tally->calm += s->calm;
	random_links(s);
	if (connect_ends(s))
		run_connected(s);
	for (int i = 0; i < 2; i++)
		for (unsigned g = 0; g < GENERATIONS; g++)
			tally->packets += s->flow[i][g].ip_got;
	unsigned failures = s->failures;
	sctp_net_free(s->net);
	free(s);
	return failures == 0;
}

/* Over so many seeds everything has happened, or the simulation does not test what it says. */
static bool is_complete(const struct tally *t)
{
	return t->calm > 0 && t->tunnel > 0 && t->restarts > 0 && t->resets > 0 && t->wraps > 0 &&
	       t->pauses > 0 && t->windows > 0 && t->blackouts > 0 && t->aborts > 0 &&
	       t->early > 0 && t->retransmitted > 0 && t->gave_up > 0 && t->corrupted > 0;
}

int main(int argc, char **argv)
{
	bool is_long = getenv("GOVPN_LONG") != NULL;
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	struct tally t = {0};
	unsigned bad = 0;

	if (argc < 2)
		count = is_long ? 10000 : 200;
	for (uint64_t seed = first; seed < first + count; seed++)
		bad += !run_seed(seed, &t);
	printf("sctp: %llu seeds, %u failed\n", (unsigned long long)count, bad);
	printf("%llu messages, %llu packets, %llu chunks again, %llu given up, %llu damaged; %u calm, %u tunnels, "
	       "%u restarts, %u resets, %u wraps, %u pauses, %u windows, %u blackouts, %u aborts, "
	       "%u early ends, %u timeouts; at most %zu bytes\n",
	       (unsigned long long)t.messages, (unsigned long long)t.packets,
	       (unsigned long long)t.retransmitted, (unsigned long long)t.gave_up,
	       (unsigned long long)t.corrupted, t.calm, t.tunnel, t.restarts, t.resets, t.wraps,
	       t.pauses, t.windows, t.blackouts, t.aborts, t.early, t.timeouts, t.most_bytes);
	if (count >= 200 && !is_complete(&t)) {
		printf("something never happened\n");
		bad++;
	}
	return bad > 0;
}
