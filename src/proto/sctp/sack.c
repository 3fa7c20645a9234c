/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

/*
 * What a SACK means (RFC 9260 6.2.1, 7.2.4; RFC 3758 3.5).
 *
 * In tunnel mode kept chunks are few and stand between IP packets, of which nothing is known but the cumulative
 * point and the highest TSN in a gap block. Three consequences:
 *  - Flight, window, T3 and round trips count kept chunks only, and a kept chunk that a gap block covers is as
 *    good as acknowledged: the cumulative point may stand still for an IP packet that nobody repeats. Should the
 *    peer take it back, that chunk is its own loss.
 *  - "Highest newly acknowledged", which counts the misses of a kept chunk, is the highest TSN of the SACK when
 *    that moved, whoever owns it: traffic behind a lost kept chunk makes it be sent again after three SACKs. It
 *    may be lost again; then traffic that left after the repetition counts in the same way, so that the tunnel
 *    never waits for T3 while packets flow. (The RFC allows one fast retransmission, and so do we elsewhere.)
 *  - A peer lists at most 32 blocks, the last of which ends with its highest TSN. A full list leaves blocks out,
 *    so what it does not cover is not taken back.
 */

#define MISSES_FAST 3

struct verdict {
	uint32_t acked_bytes;
	bool progress;       /* the cumulative point moved */
	bool kept;           /* a kept chunk was newly acknowledged */
	bool whole;          /* the gap list can be trusted to be complete */
	bool any_newly;      /* newly_high holds */
	uint32_t newly_high; /* HTNA of RFC 9260 7.2.4 */
	uint32_t last;       /* end of the last good block, or cum */
};

static void newly(struct verdict *v, uint32_t tsn)
{
	if (!v->any_newly || tsn_before(v->newly_high, tsn))
		v->newly_high = tsn;
	v->any_newly = true;
}

/* A kept chunk is acknowledged for the first time. */
static void chunk_acked(struct sctp *s, const struct out_chunk *c, struct verdict *v,
                        uint64_t now_us)
{
	v->acked_bytes += c->len;
	v->kept = true;
	if (s->cc.timing && s->cc.timing_tsn == c->tsn) {
		s->cc.timing = false;
		if (c->retransmits == 0)
			cc_rtt(s, now_us - s->cc.timing_us);
	}
}

static void take_cum(struct sctp *s, uint32_t cum, struct verdict *v, uint64_t now_us)
{
	struct sender *o = &s->out;

	if (cum == o->cum_ack)
		return;
	v->progress = true;
	if (tsn_before(o->high_ack, cum)) {
		o->high_ack = cum;
		newly(v, cum);
	}
	while (o->ring_count > 0 && !tsn_before(cum, send_at(s, 0)->tsn)) {
		const struct out_chunk *c = send_at(s, 0);

		if (c->state == OUT_IN_FLIGHT || c->state == OUT_LOST) {
			chunk_acked(s, c, v, now_us);
			newly(v, c->tsn);
		}
		send_pop(s);
	}
	o->cum_ack = cum;
}

/* Entries from *i that lie before `start` are not covered by any block. */
static void not_covered(struct sctp *s, uint32_t *i, uint32_t start, const struct verdict *v)
{
	for (; *i < s->out.ring_count && tsn_before(send_at(s, *i)->tsn, start); (*i)++) {
		struct out_chunk *c = send_at(s, *i);

		if (c->state == OUT_ACKED && v->whole)
			send_set_state(s, c, OUT_IN_FLIGHT); /* taken back (RFC 9260 6.2.1 iii) */
	}
}

static void take_block(struct sctp *s, uint32_t *i, uint32_t start, uint32_t end, struct verdict *v,
                       uint64_t now_us)
{
	not_covered(s, i, start, v);
	for (; *i < s->out.ring_count && !tsn_before(end, send_at(s, *i)->tsn); (*i)++) {
		struct out_chunk *c = send_at(s, *i);

		if (c->state != OUT_IN_FLIGHT && c->state != OUT_LOST)
			continue;
		chunk_acked(s, c, v, now_us);
		newly(v, c->tsn);
		send_set_state(s, c, OUT_ACKED);
	}
	if (tsn_before(s->out.high_ack, end)) {
		s->out.high_ack = end;
		newly(v, end);
	}
}

/*
 * Blocks must ascend, not overlap and end before what was not sent; the first that does not ends the list. They should
 * not touch either (RFC 9260 3.3.4), but two that do mean what one would.
 */
static void take_gaps(struct sctp *s, const struct chunk_sack *sack, struct verdict *v,
                      uint64_t now_us)
{
	uint32_t i = 0;

	if (sack->gaps == 0 && s->out.counts[OUT_ACKED] == 0)
		return;
	for (size_t k = 0; k < sack->gaps; k++) {
		uint32_t start, end;

		chunk_sack_gap(sack, k, &start, &end);
		if (!tsn_before(v->last, start) || tsn_before(end, start) ||
		    !tsn_before(end, s->out.next_tsn)) {
			s->counters.bad_chunk++;
			v->whole = false;
			break;
		}
		take_block(s, &i, start, end, v, now_us);
		v->last = end;
	}
	not_covered(s, &i, s->out.next_tsn, v);
}

/* RFC 9260 7.2.4: three reports that later data came, and the chunk is sent again. */
static void count_misses(struct sctp *s, const struct verdict *v, uint64_t now_us)
{
	uint32_t below = v->newly_high;

	if (s->cc.recovery && v->progress)
		below = v->last;
	else if (!v->any_newly)
		return;
	for (uint32_t i = 0; i < s->out.ring_count; i++) {
		struct out_chunk *c = send_at(s, i);

		if (!tsn_before(c->tsn, below))
			break;
		if (c->state != OUT_IN_FLIGHT || (c->fast && !s->tunnel.on) ||
		    tsn_before(below, c->after))
			continue;
		if (++c->misses < MISSES_FAST)
			continue;
		c->fast = true;
		cc_fast_retransmit(s);
		send_lost(s, i, now_us);
	}
}

static void rtx_timer(struct sctp *s, bool restart, uint64_t now_us)
{
	if (!send_needs_timer(s))
		assoc_timer_stop(s, TIMER_RTX);
	else if (restart || !assoc_timer_runs(s, TIMER_RTX))
		assoc_timer_start(s, TIMER_RTX, now_us + cc_rto(s));
}

static void process(struct sctp *s, const struct chunk_sack *sack, bool whole, uint64_t now_us)
{
	struct sender *o = &s->out;
	struct verdict v = {.whole = whole, .last = sack->cum};

	uint32_t high_before = o->high_ack;

	take_cum(s, sack->cum, &v, now_us);
	take_gaps(s, sack, &v, now_us);
	o->a_rwnd = sack->a_rwnd;
	o->burst = (uint8_t)GV_MIN(o->burst + MAX_BURST, UINT8_MAX);
	s->cc.errors = 0;
	if (v.kept)
		s->cc.backoff = 0;
	if (s->cc.recovery && !tsn_before(o->cum_ack, s->cc.recovery_tsn))
		s->cc.recovery = false;
	bool forward = s->tunnel.on ? v.kept : v.progress;
	cc_acked(s, v.acked_bytes, forward);
	count_misses(s, &v, now_us);
	rtx_timer(s, forward, now_us);
	if (s->tunnel.on)
		tunnel_sack(s, v.progress || o->high_ack != high_before, sack->gaps > 0, now_us);
	send_advance(s, now_us);
	reset_check(s, now_us);
	shutdown_check(s, now_us);
}

void sack_input(struct sctp *s, const struct chunk *c, uint64_t now_us)
{
	struct chunk_sack sack;

	if (chunk_sack_read(c, &sack) != CHUNK_OK) {
		s->counters.bad_chunk++;
		return;
	}
	if (tsn_before(sack.cum, s->out.cum_ack))
		return; /* overtaken by a newer one */
	if (!tsn_before(sack.cum, s->out.next_tsn)) {
		s->counters.bad_chunk++; /* of data that was never sent */
		return;
	}
	process(s, &sack, !s->tunnel.on || sack.gaps < TUNNEL_SACK_GAPS, now_us);
}

void sack_cum_input(struct sctp *s, uint32_t cum, uint64_t now_us)
{
	struct chunk_sack sack = {.cum = cum, .a_rwnd = s->out.a_rwnd};

	if (tsn_before(cum, s->out.cum_ack))
		return;
	if (!tsn_before(cum, s->out.next_tsn)) {
		s->counters.bad_chunk++;
		return;
	}
	process(s, &sack, false, now_us);
}
