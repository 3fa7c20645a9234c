/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

#include "base/mem.h"

#include <string.h>

#define MAP_WORDS     (TSN_WINDOW / 64)
#define SACK_GAPS_MAX 256

void recv_init(struct sctp *s, uint32_t peer_tsn)
{
	s->in = (struct receiver){.cum = peer_tsn - 1,
	                          .high = peer_tsn - 1,
	                          .first_data = true,
	                          .told_rwnd = RECEIVE_BYTES};
}

void recv_deinit(struct sctp *s)
{
	reasm_deinit(s);
	mem_free(s->in.map);
	mem_free(s->in.ssn);
	s->in = (struct receiver){0};
}

/* The map is a ring: TSN t has bit t mod 65,536. Between cum and high it says what came. */

static uint64_t map_word(const struct sctp *s, uint32_t tsn)
{
	return s->in.map[(tsn % TSN_WINDOW) / 64];
}

static bool map_has(const struct sctp *s, uint32_t tsn)
{
	return (map_word(s, tsn) >> (tsn % 64) & 1) != 0;
}

static void map_set(struct sctp *s, uint32_t tsn)
{
	s->in.map[(tsn % TSN_WINDOW) / 64] |= 1ull << (tsn % 64);
}

/* How many TSNs from `from` on have their bit as wanted, at most up to `to` (from <= to). */
static uint32_t map_span(const struct sctp *s, uint32_t from, uint32_t to, bool wanted)
{
	uint32_t left = to - from + 1, n = 0;

	while (n < left) {
		uint32_t bit = (from + n) % 64;
		uint64_t word = map_word(s, from + n) >> bit;
		uint32_t same;

		if (wanted)
			word = ~word;
		same = word == 0 ? 64 : (uint32_t)__builtin_ctzll(word);
		same = GV_MIN(same, 64 - bit);
		n += same;
		if (same < 64 - bit)
			break;
	}
	return GV_MIN(n, left);
}

/* How many set bits end at `to`, not looking below `from`. */
static uint32_t map_span_back(const struct sctp *s, uint32_t from, uint32_t to)
{
	uint32_t left = to - from + 1, n = 0;

	while (n < left) {
		uint32_t bit = (to - n) % 64;
		uint64_t word = ~(map_word(s, to - n) << (63 - bit));
		uint32_t same = word == 0 ? 64 : (uint32_t)__builtin_clzll(word);

		same = GV_MIN(same, bit + 1);
		n += same;
		if (same < bit + 1)
			break;
	}
	return GV_MIN(n, left);
}

/* Clears n bits from `from` on and tells how many of them were set. */
static uint32_t map_clear(struct sctp *s, uint32_t from, uint32_t n)
{
	uint32_t were = 0;

	while (n > 0) {
		uint32_t bit = from % 64, k = GV_MIN(n, 64 - bit);
		uint64_t mask = (k == 64 ? ~0ull : (1ull << k) - 1) << bit;
		uint64_t *word = &s->in.map[(from % TSN_WINDOW) / 64];

		were += (uint32_t)__builtin_popcountll(*word & mask);
		*word &= ~mask;
		from += k;
		n -= k;
	}
	return were;
}

/* Moves cum over what came out of order. */
static void advance(struct sctp *s)
{
	struct receiver *in = &s->in;

	if (in->cum == in->high)
		return;
	uint32_t n = map_span(s, in->cum + 1, in->high, true);
	(void)map_clear(s, in->cum + 1, n); /* all were set */
	in->cum += n;
}

static void mark(struct sctp *s, uint32_t tsn)
{
	struct receiver *in = &s->in;

	if (tsn == in->cum + 1 && in->high == in->cum) {
		in->cum = tsn;
		in->high = tsn;
		return;
	}
	map_set(s, tsn);
	if (tsn_before(in->high, tsn))
		in->high = tsn;
	if (tsn == in->cum + 1) {
		advance(s);
		/* A hole was filled: the sender waits for that news. Tunnel senders do not. */
		in->sack_at_once |= !s->tunnel.on;
	}
}

static void duplicate(struct sctp *s, uint32_t tsn)
{
	struct receiver *in = &s->in;

	s->counters.duplicate_tsn++;
	if (in->duplicate_count < DUPLICATES_MAX)
		in->duplicates[in->duplicate_count++] = tsn;
	in->sack_at_once = true;
}

static void bad_stream(struct sctp *s, const struct chunk_data *d)
{
	uint8_t cause[8];

	s->counters.bad_chunk++;
	be16_store(cause, CAUSE_INVALID_STREAM);
	be16_store(cause + 2, sizeof(cause));
	be16_store(cause + 4, d->stream);
	be16_store(cause + 6, 0);
	control_chunk(s, CHUNK_ERROR, 0, cause, sizeof(cause));
}

static void no_user_data(struct sctp *s, uint32_t tsn)
{
	uint8_t body[4];

	/* RFC 9260 6.2 */
	be32_store(body, tsn);
	s->counters.bad_chunk++;
	shutdown_abort(s, CAUSE_NO_USER_DATA, body, sizeof(body));
}

/* True when the TSN is one that we have not got and can mark. */
static bool is_new(struct sctp *s, uint32_t tsn)
{
	struct receiver *in = &s->in;
	uint32_t ahead = tsn - in->cum;

	if (ahead == 0 || tsn_before(tsn, in->cum)) {
		duplicate(s, tsn);
		return false;
	}
	if (ahead >= TSN_WINDOW) {
		s->counters.receive_drop++;
		return false;
	}
	if (ahead == 1)
		return true; /* never in the map: cum would have passed it */
	if (in->map == NULL) {
		in->map = mem_new_array(uint64_t, MAP_WORDS);
		if (in->map == NULL) {
			s->counters.receive_drop++;
			return false;
		}
	}
	if (!tsn_before(in->high, tsn) && map_has(s, tsn)) {
		duplicate(s, tsn);
		return false;
	}
	return true;
}

void recv_data(struct sctp *s, const struct chunk *c, uint64_t now_us)
{
	struct receiver *in = &s->in;
	struct chunk_data d;

	if (chunk_data_read(c, &d) != CHUNK_OK) {
		s->counters.bad_chunk++;
		return;
	}
	if (d.len == 0) {
		no_user_data(s, d.tsn);
		return;
	}
	in->heard_data = true;
	if ((c->flags & CHUNK_DATA_IMMEDIATE) != 0)
		in->sack_at_once = true;
	if (!is_new(s, d.tsn))
		return;
	if (d.stream >= s->in_streams) {
		bad_stream(s, &d); /* acknowledged, and the data thrown away (RFC 9260 6.5) */
		mark(s, d.tsn);
		return;
	}
	switch (reasm_data(s, &d, c->flags, now_us)) {
	case REASM_TAKEN:
		s->counters.data_in++;
		mark(s, d.tsn);
		break;
	case REASM_REFUSED:
		s->counters.receive_drop++;
		in->sack_at_once = true;
		break;
	case REASM_ABORTED:
		shutdown_abort(s, CAUSE_PROTOCOL_VIOLATION, NULL, 0);
		break;
	}
}

/* RFC 3758 3.6 */
void recv_forward(struct sctp *s, const struct chunk *c, uint64_t now_us)
{
	struct receiver *in = &s->in;
	struct chunk_forward f;

	(void)now_us;
	if (chunk_forward_read(c, &f) != CHUNK_OK) {
		s->counters.bad_chunk++;
		return;
	}
	in->heard_data = true;
	in->sack_at_once = true;
	if (!tsn_before(in->cum, f.cum))
		return; /* old, and the peer should hear that we are further */
	uint32_t n = f.cum - in->cum, came = 0;
	s->counters.bad_chunk += n >= TSN_WINDOW;
	if (in->high != in->cum)
		came = map_clear(s, in->cum + 1, GV_MIN(n, in->high - in->cum));
	s->counters.skipped_tsn += n - came;
	in->cum = f.cum;
	if (tsn_before(in->high, in->cum))
		in->high = in->cum;
	advance(s);
	for (size_t i = 0; i < f.pairs; i++) {
		uint16_t stream, ssn;

		chunk_forward_pair(&f, i, &stream, &ssn);
		if (stream < s->in_streams)
			reasm_skip(s, stream, ssn);
	}
	reasm_purge(s);
}

/* The RFC: with every second packet or after 200 ms, at once with a gap or a duplicate (9260 6.2, 6.7). */
static void plan_sack(struct sctp *s, uint64_t now_us)
{
	struct receiver *in = &s->in;

	if (in->sack_at_once || in->high != in->cum || in->first_data ||
	    in->packets >= SACK_PACKETS || s->state == ASSOC_SHUTDOWN_SENT)
		in->sack_due = true;
	else if (!assoc_timer_runs(s, TIMER_SACK))
		assoc_timer_start(s, TIMER_SACK, now_us + SACK_DELAY_US);
	in->first_data = false;
}

/*
 * Tunnel mode: after 10 ms, because nothing of the sender's waits for it but the ring of states and the circuit
 * breaker; sooner with so many packets that the ring would notice, or when data goes the other way (tunnel.c). With a gap not
 * more often than each millisecond: a train that lost one packet would otherwise be answered datagram by datagram.
 */
static void plan_tunnel_sack(struct sctp *s, uint64_t now_us)
{
	struct receiver *in = &s->in;
	bool gap = in->high != in->cum;
	uint64_t gap_at = in->sack_sent_us + TUNNEL_SACK_GAP_US;

	if (in->sack_at_once || in->packets >= TUNNEL_SACK_PACKETS || (gap && now_us >= gap_at))
		in->sack_due = true;
	else if (gap)
		assoc_timer_start(s, TIMER_SACK, gap_at);
	else if (!assoc_timer_runs(s, TIMER_SACK))
		assoc_timer_start(s, TIMER_SACK, now_us + TUNNEL_SACK_DELAY_US);
}

void recv_packet_end(struct sctp *s, bool more, uint64_t now_us)
{
	struct receiver *in = &s->in;

	in->packets++;
	in->heard_late |= s->state == ASSOC_SHUTDOWN_SENT;
	if (s->tunnel.on || s->state < ASSOC_ESTABLISHED || s->state == ASSOC_ENDED)
		return;
	plan_sack(s, now_us);
	if (!in->sack_due || !more)
		return;
	/*
	 * A peer's congestion window grows with the number of SACKs (RFC 9260 7.2.1), so one for a whole batch
	 * would starve it: every second packet gets its own, which are small and equal and go as one train.
	 */
	struct control *c = control_new(s, s->peer.tag, s->config.max_packet_bytes);
	if (c == NULL)
		return;
	struct bytes_writer w =
		bytes_writer(c->bytes, s->config.max_packet_bytes - SCTP_HEADER_BYTES);
	(void)recv_write_sack(s, &w, now_us); /* the smallest fits any packet */
	c->alone = true;
	control_commit(s, c, &w);
}

void recv_batch_end(struct sctp *s, uint64_t now_us)
{
	if (s->in.run_count > 0)
		reasm_purge(s);
	if (s->tunnel.on && s->in.packets > 0)
		plan_tunnel_sack(s, now_us);
	if (s->in.heard_late)
		shutdown_data_came(s, now_us);
	s->in.heard_late = false;
}

uint32_t recv_window(const struct sctp *s)
{
	return RECEIVE_BYTES - GV_MIN(s->in.bytes, RECEIVE_BYTES);
}

/* Blocks of what came above cum; when max is too few, the last of them still ends with high. */
static uint16_t write_gaps(struct sctp *s, struct bytes_writer *w, size_t max)
{
	struct receiver *in = &s->in;
	uint32_t t = in->cum + 1;
	uint16_t n = 0;

	while (in->cum != in->high && !tsn_before(in->high, t) && n < max) {
		t += map_span(s, t, in->high, false);
		uint32_t len = map_span(s, t, in->high, true);

		if (n + 1u == max && s->tunnel.on) {
			/* The highest block tells the peer how far the path has carried (sack.c). */
			len = map_span_back(s, t, in->high);
			t = in->high - len + 1;
		}
		bytes_write_u16(w, (uint16_t)(t - in->cum));
		bytes_write_u16(w, (uint16_t)(t + len - 1 - in->cum));
		t += len;
		n++;
	}
	return n;
}

bool recv_write_sack(struct sctp *s, struct bytes_writer *w, uint64_t now_us)
{
	struct receiver *in = &s->in;
	size_t room = w->size - w->used;

	if (room < CHUNK_HEADER_BYTES + 12)
		return false;
	room -= CHUNK_HEADER_BYTES + 12;
	size_t at = chunk_open(w, CHUNK_SACK, 0);
	bytes_write_u32(w, in->cum);
	in->told_rwnd = recv_window(s);
	bytes_write_u32(w, in->told_rwnd);
	uint8_t *counts = bytes_reserve(w, 4);
	size_t max = GV_MIN(room / 4, (size_t)(s->tunnel.on ? TUNNEL_SACK_GAPS : SACK_GAPS_MAX));
	uint16_t gaps = write_gaps(s, w, max);
	uint16_t duplicates = (uint16_t)GV_MIN((size_t)in->duplicate_count, room / 4 - gaps);
	for (uint16_t i = 0; i < duplicates; i++)
		bytes_write_u32(w, in->duplicates[i]);
	be16_store(counts, gaps);
	be16_store(counts + 2, duplicates);
	chunk_close(w, at);

	in->duplicate_count = 0;
	in->packets = 0;
	in->sack_due = false;
	in->sack_at_once = false;
	in->sack_sent_us = now_us;
	assoc_timer_stop(s, TIMER_SACK);
	return true;
}
