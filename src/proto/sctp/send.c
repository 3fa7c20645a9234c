/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

#define RING_FIRST    16
#define FORWARD_PAIRS 64

void send_init(struct sctp *s)
{
	struct sender *o = &s->out;

	*o = (struct sender){.next_tsn = s->my_tsn,
	                     .cum_ack = s->my_tsn - 1,
	                     .advanced = s->my_tsn - 1,
	                     .high_ack = s->my_tsn - 1,
	                     .a_rwnd = s->peer.a_rwnd,
	                     .burst = MAX_BURST};
}

static void msg_unref(struct sctp *s, struct out_msg *m)
{
	if (--m->refs > 0)
		return;
	s->out.bytes -= m->len;
	s->out.messages--;
	mem_free(m);
	if (s->out.was_full && s->out.bytes <= SEND_BYTES / 2 &&
	    s->out.messages <= SEND_MESSAGES / 2) {
		s->out.was_full = false;
		s->event_writable = true;
	}
}

/* Takes the first message out of the queue; entries of the ring may still hold it. */
static void queue_pop(struct sctp *s)
{
	struct out_msg *m = s->out.first;

	s->out.first = m->next;
	if (s->out.first == NULL)
		s->out.last = NULL;
	m->next = NULL;
	s->out.waiting[m->stream]--;
	msg_unref(s, m);
}

struct out_chunk *send_at(const struct sctp *s, uint32_t i)
{
	return &s->out.ring[(s->out.ring_head + i) & (s->out.ring_cap - 1)];
}

void send_set_state(struct sctp *s, struct out_chunk *c, enum out_state state)
{
	s->out.counts[c->state]--;
	s->out.counts[state]++;
	if (c->state == OUT_IN_FLIGHT)
		s->out.flight -= c->len;
	if (state == OUT_IN_FLIGHT)
		s->out.flight += c->len;
	c->state = (uint8_t)state;
}

static bool ring_grow(struct sctp *s)
{
	struct sender *o = &s->out;
	uint32_t cap = o->ring_cap > 0 ? o->ring_cap * 2 : RING_FIRST;

	if (cap > RING_MAX)
		return false;
	struct out_chunk *ring = mem_new_array(struct out_chunk, cap);
	if (ring == NULL)
		return false;
	for (uint32_t i = 0; i < o->ring_count; i++)
		ring[i] = *send_at(s, i);
	mem_free(o->ring);
	o->ring = ring;
	o->ring_cap = cap;
	o->ring_head = 0;
	return true;
}

struct out_chunk *send_push(struct sctp *s, struct out_msg *msg, uint32_t len, uint8_t flags)
{
	struct sender *o = &s->out;

	/* Gap blocks can only tell about a window of TSNs. */
	if (o->next_tsn - o->cum_ack >= TSN_WINDOW)
		return NULL;
	if (o->ring_count == o->ring_cap && !ring_grow(s))
		return NULL;
	struct out_chunk *c = send_at(s, o->ring_count++);
	*c = (struct out_chunk){.msg = msg,
	                        .tsn = o->next_tsn++,
	                        .len = (uint16_t)len,
	                        .flags = flags,
	                        .state = OUT_IN_FLIGHT};
	o->counts[OUT_IN_FLIGHT]++;
	o->flight += len;
	if (msg != NULL) {
		c->offset = msg->sent;
		msg->refs++;
	}
	return c;
}

void send_pop(struct sctp *s)
{
	struct sender *o = &s->out;
	struct out_chunk *c = send_at(s, 0);

	if (c->state == OUT_IN_FLIGHT)
		o->flight -= c->len;
	o->counts[c->state]--;
	if (c->msg != NULL)
		msg_unref(s, c->msg);
	o->ring_head = (o->ring_head + 1) & (o->ring_cap - 1);
	o->ring_count--;
}

void send_deinit(struct sctp *s)
{
	while (s->out.ring_count > 0)
		send_pop(s);
	while (s->out.first != NULL)
		queue_pop(s);
	mem_free(s->out.ring);
	mem_free(s->out.ssn);
	mem_free(s->out.waiting);
	s->out = (struct sender){0};
}

void send_drop_tunnel(struct sctp *s)
{
	struct sender *o = &s->out;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < o->ring_count; i++) {
		struct out_chunk *c = send_at(s, i);

		if (c->msg != NULL) {
			*send_at(s, kept++) = *c;
			continue;
		}
		if (c->state == OUT_IN_FLIGHT)
			o->flight -= c->len;
		o->counts[c->state]--;
		if (s->cc.timing && s->cc.timing_tsn == c->tsn)
			s->cc.timing = false; /* its acknowledgement will not be seen */
	}
	o->ring_count = kept;
}

bool send_is_empty(const struct sctp *s)
{
	return s->out.first == NULL && s->out.ring_count == 0 &&
	       s->out.cum_ack + 1 == s->out.next_tsn;
}

bool send_has_stream(const struct sctp *s, uint16_t stream)
{
	return stream < s->out.waiting_count && s->out.waiting[stream] > 0;
}

/* RFC 9260 6.1 A and B: with nothing in flight one chunk may always go, as a probe of a closed window. */
bool send_window_open(const struct sctp *s, uint32_t len)
{
	uint32_t flight = s->out.flight;

	if (flight == 0)
		return true;
	/* After a timeout one packet goes, and no more until it is acknowledged (6.3.3 E3). */
	if (s->cc.cwnd <= s->cc.mtu && flight + len > s->cc.cwnd)
		return false;
	return flight < s->cc.cwnd && s->out.a_rwnd > flight && len <= s->out.a_rwnd - flight;
}

bool send_needs_timer(const struct sctp *s)
{
	const uint32_t *n = s->out.counts;

	if (n[OUT_IN_FLIGHT] > 0 || n[OUT_LOST] > 0)
		return true;
	/*
	 * Acknowledged in a gap is not acknowledged for good: a peer may take it back, and with nothing else in
	 * flight only the timer finds out. Behind something given up the cumulative point stands still for another
	 * reason, which FORWARD-TSN repairs with a timer of its own; and so it is in tunnel mode whenever an IP packet
	 * is lost.
	 */
	return !s->tunnel.on && n[OUT_ACKED] > 0 && send_at(s, 0)->state != OUT_ABANDONED;
}

void send_sent(struct sctp *s, struct out_chunk *c, uint64_t now_us)
{
	s->out.last_sent_us = now_us;
	s->out.filled = s->out.flight + s->cc.mtu > s->cc.cwnd;
	s->counters.data_out++;
	c->after = s->out.next_tsn;
	c->misses = 0;
	/* The breaker of the tunnel counts from when something is outstanding, whatever it is. */
	if (c->retransmits == 0 && c->tsn == s->out.cum_ack + 1)
		s->tunnel.progress_us = now_us;
	if (!assoc_timer_runs(s, TIMER_RTX))
		assoc_timer_start(s, TIMER_RTX, now_us + cc_rto(s));
	if (c->retransmits > 0) {
		/* Karn: an acknowledgement of this would not tell which of the two it means. */
		if (s->cc.timing && s->cc.timing_tsn == c->tsn)
			s->cc.timing = false;
	} else if (!s->cc.timing) {
		s->cc.timing = true;
		s->cc.timing_tsn = c->tsn;
		s->cc.timing_us = now_us;
	}
}

static bool has_expired(const struct out_msg *m, uint64_t now_us)
{
	return m->reliability == SCTP_MAX_LIFETIME &&
	       now_us - m->queued_us > (uint64_t)m->limit * 1000;
}

static bool may_repeat(const struct out_chunk *c, uint64_t now_us)
{
	const struct out_msg *m = c->msg;

	if (m == NULL)
		return false;
	if (m->reliability == SCTP_MAX_RETRANSMITS)
		return c->retransmits < m->limit;
	return !has_expired(m, now_us);
}

static void abandon_chunk(struct sctp *s, struct out_chunk *c)
{
	/* Also what came: FORWARD-TSN is to pass the whole message, or peers may take its end for one. */
	send_set_state(s, c, OUT_ABANDONED);
	if (s->cc.timing && s->cc.timing_tsn == c->tsn)
		s->cc.timing = false;
}

/*
 * The first message of the queue is partly sent and given up: a TSN is taken and abandoned for the rest, so that
 * a FORWARD-TSN tells the peer that the message will not be completed, even if it has everything that was sent.
 */
static bool abandon_rest(struct sctp *s)
{
	struct out_chunk *end = send_push(s, s->out.first, 0, CHUNK_DATA_END);

	if (end == NULL)
		return false;
	send_set_state(s, end, OUT_ABANDONED);
	queue_pop(s);
	return true;
}

/* Gives up the message of entry i (RFC 3758 3.5 A3): all its fragments, which stand side by side. */
static void abandon(struct sctp *s, uint32_t i)
{
	struct out_msg *m = send_at(s, i)->msg;

	s->counters.gave_up++;
	if (m == NULL) {
		abandon_chunk(s, send_at(s, i));
		return;
	}
	m->abandoned = true;
	for (uint32_t k = i + 1; k-- > 0 && send_at(s, k)->msg == m;)
		abandon_chunk(s, send_at(s, k));
	for (uint32_t k = i + 1; k < s->out.ring_count && send_at(s, k)->msg == m; k++)
		abandon_chunk(s, send_at(s, k));
	if (s->out.first == m)
		(void)abandon_rest(s); /* without a TSN now, expire_first() tries again */
}

void send_lost(struct sctp *s, uint32_t i, uint64_t now_us)
{
	struct out_chunk *c = send_at(s, i);

	if (may_repeat(c, now_us)) {
		send_set_state(s, c, OUT_LOST);
		if (s->cc.timing && s->cc.timing_tsn == c->tsn)
			s->cc.timing = false;
	} else {
		abandon(s, i);
	}
}

/* A FORWARD-TSN goes at once or when the last one is 10 ms old. */
static void plan_forward(struct sctp *s, uint64_t now_us)
{
	uint64_t at = s->out.forward_sent_us + TUNNEL_FORWARD_INTERVAL_US;

	if (s->out.forward_sent_us == 0 || now_us >= at)
		s->out.forward_due = true;
	else
		assoc_timer_start(s, TIMER_FORWARD, at);
}

void send_advance(struct sctp *s, uint64_t now_us)
{
	struct sender *o = &s->out;
	uint32_t to = tsn_before(o->advanced, o->cum_ack) ? o->cum_ack : o->advanced;
	uint32_t i = 0;

	if (s->tunnel.on) {
		/* What is not kept and given up may be passed, up to the first kept chunk that is still needed. */
		uint32_t limit = s->tunnel.given_up;
		if (tsn_before(limit, to))
			limit = to;
		for (; i < o->ring_count && send_at(s, i)->state >= OUT_ACKED; i++)
			if (send_at(s, i)->state == OUT_ABANDONED &&
			    send_at(s, i)->tsn == limit + 1)
				limit++; /* nothing of the tunnel stands before it */
		if (i < o->ring_count && !tsn_before(limit, send_at(s, i)->tsn))
			limit = send_at(s, i)->tsn - 1;
		if (tsn_before(to, limit))
			to = limit;
	} else {
		/*
		 * RFC 3758 3.5 C2. Never over a message that the peer has: FORWARD-TSN names only the last number of a
		 * stream, and dcSCTP drops what it holds up to there, whole or not.
		 */
		for (; i < o->ring_count && send_at(s, i)->state == OUT_ABANDONED; i++)
			if (tsn_before(to, send_at(s, i)->tsn))
				to = send_at(s, i)->tsn;
	}
	bool moved = to != o->advanced;
	/* RFC 3758 3.5 C3: the peer still lacks what it was told a round trip ago. */
	uint64_t age_us = now_us - o->forward_sent_us;
	bool again = !s->tunnel.on && o->forward_tries > 0 && !o->forward_due &&
	             age_us > GV_MAX(s->cc.srtt_us, TUNNEL_FORWARD_INTERVAL_US);
	/* The peer took a part of it: the rest follows. */
	bool rest = o->forward_tries > 0 && !tsn_before(o->cum_ack, o->forward_to);
	o->advanced = to;
	if (moved || rest)
		o->forward_tries = 0;
	if (to == o->cum_ack) {
		o->forward_due = false;
		assoc_timer_stop(s, TIMER_FORWARD);
	} else if (rest && !moved) {
		o->forward_due = true;
	} else if (moved || again) {
		plan_forward(s, now_us);
	}
}

void send_forward_timeout(struct sctp *s, uint64_t now_us)
{
	(void)now_us;
	if (s->out.forward_tries > 0 && !assoc_error(s))
		return;
	s->out.forward_due = s->out.advanced != s->out.cum_ack;
}

/* Adds (stream, ssn) or raises the ssn that stands there. False: no room. */
static bool add_pair(uint16_t pairs[static FORWARD_PAIRS][2], size_t *n, const struct out_msg *m)
{
	for (size_t i = 0; i < *n; i++) {
		if (pairs[i][0] != m->stream)
			continue;
		if (ssn_before(pairs[i][1], m->ssn))
			pairs[i][1] = m->ssn;
		return true;
	}
	if (*n == FORWARD_PAIRS)
		return false;
	pairs[*n][0] = m->stream;
	pairs[*n][1] = m->ssn;
	(*n)++;
	return true;
}

bool send_forward(struct sctp *s, struct bytes_writer *w, uint64_t now_us)
{
	uint16_t pairs[FORWARD_PAIRS][2];
	size_t n = 0;
	uint32_t to = s->out.advanced;

	for (uint32_t i = 0; i < s->out.ring_count; i++) {
		const struct out_chunk *c = send_at(s, i);

		if (tsn_before(to, c->tsn))
			break;
		if (c->state != OUT_ABANDONED || c->msg == NULL || c->msg->unordered)
			continue;
		if (!add_pair(pairs, &n, c->msg)) {
			to = c->tsn - 1; /* the rest when the peer has taken this */
			break;
		}
	}
	if (w->size - w->used < CHUNK_HEADER_BYTES + 4 + 4 * n)
		return false;
	size_t at = chunk_open(w, CHUNK_FORWARD_TSN, 0);
	bytes_write_u32(w, to);
	for (size_t i = 0; i < n; i++) {
		bytes_write_u16(w, pairs[i][0]);
		bytes_write_u16(w, pairs[i][1]);
	}
	chunk_close(w, at);
	unsigned shift = GV_MIN((unsigned)s->out.forward_tries, 6u);
	s->out.forward_due = false;
	s->out.forward_to = to;
	s->out.forward_sent_us = now_us;
	if (s->out.forward_tries < UINT8_MAX)
		s->out.forward_tries++;
	assoc_timer_start(s, TIMER_FORWARD,
	                  now_us + GV_MIN(cc_rto(s) << shift, (uint64_t)s->cc.max_us));
	return true;
}

void send_rtx_timeout(struct sctp *s, uint64_t now_us)
{
	/* What it ran for may have been given up since. */
	if (!send_needs_timer(s) || !assoc_error(s))
		return;
	cc_timeout(s);
	s->out.burst = MAX_BURST;
	/* RFC 9260 6.3.3 E3. With all in gaps and no progress, the peer took something back (6.2.1). */
	bool all = s->out.counts[OUT_IN_FLIGHT] == 0 && s->out.counts[OUT_LOST] == 0;
	for (uint32_t i = 0; i < s->out.ring_count; i++) {
		struct out_chunk *c = send_at(s, i);

		c->misses = 0;
		c->fast = false;
		if (c->state == OUT_IN_FLIGHT || (all && c->state == OUT_ACKED)) {
			if (c->state == OUT_ACKED)
				send_set_state(s, c, OUT_IN_FLIGHT);
			send_lost(s, i, now_us);
		}
	}
	send_advance(s, now_us);
	if (send_needs_timer(s))
		assoc_timer_start(s, TIMER_RTX, now_us + cc_rto(s));
	shutdown_check(s, now_us);
}

static void write_data(const struct sctp *s, struct bytes_writer *w, const struct out_chunk *c)
{
	const struct out_msg *m = c->msg;
	uint8_t flags = c->flags;

	/* RFC 9260 6.2: in tunnel mode kept chunks are few, and the round trip is measured by them. */
	if (s->tunnel.on)
		flags |= CHUNK_DATA_IMMEDIATE;
	size_t at = chunk_open(w, CHUNK_DATA, flags);
	bytes_write_u32(w, c->tsn);
	bytes_write_u16(w, m->stream);
	bytes_write_u16(w, m->ssn);
	bytes_write_u32(w, m->ppid);
	bytes_write(w, m->data + c->offset, c->len);
	chunk_close(w, at);
}

static bool has_room(const struct bytes_writer *w, uint32_t len)
{
	return SCTP_DATA_HEADER_BYTES + chunk_padded(len) <= w->size - w->used;
}

static bool send_lost_again(struct sctp *s, struct bytes_writer *w, uint64_t now_us)
{
	bool wrote = false, first = true;

	for (uint32_t i = 0; i < s->out.ring_count && s->out.counts[OUT_LOST] > 0; i++) {
		struct out_chunk *c = send_at(s, i);

		first &= c->state != OUT_IN_FLIGHT;
		if (c->state != OUT_LOST)
			continue;
		if (!may_repeat(c, now_us)) {
			abandon(s, i);
			send_advance(s, now_us);
			continue;
		}
		if (!has_room(w, c->len) || !(s->out.fast || send_window_open(s, c->len)))
			break;
		if (c->retransmits < UINT16_MAX)
			c->retransmits++;
		write_data(s, w, c);
		send_set_state(s, c, OUT_IN_FLIGHT);
		/* RFC 9260 7.2.4, step 4: what is outstanding the longest has a whole timeout again. */
		if (first && s->out.fast)
			assoc_timer_stop(s, TIMER_RTX);
		send_sent(s, c, now_us);
		s->counters.retransmitted++;
		wrote = true;
		first = false;
	}
	if (wrote)
		s->out.fast = false;
	return wrote;
}

/* Drops the first message when its time is over. True: it did. */
static bool expire_first(struct sctp *s, uint64_t now_us)
{
	struct out_msg *m = s->out.first;
	uint32_t n = s->out.ring_count;

	if (!m->abandoned && !has_expired(m, now_us))
		return false;
	if (m->sent == 0) {
		s->counters.gave_up++;
		queue_pop(s);
		return true;
	}
	bool done;
	if (!m->abandoned && n > 0 && send_at(s, n - 1)->msg == m) {
		abandon(s, n - 1);
		done = s->out.first != m;
	} else {
		s->counters.gave_up += !m->abandoned;
		m->abandoned = true;
		done = abandon_rest(s);
	}
	send_advance(s, now_us);
	return done;
}

bool send_expire(struct sctp *s, uint64_t now_us)
{
	bool any = false;

	while (s->out.first != NULL && expire_first(s, now_us))
		any = true;
	return any;
}

bool send_is_due(const struct sctp *s)
{
	const struct out_msg *m = s->out.first;

	if (s->out.counts[OUT_LOST] > 0)
		return true;
	return m != NULL && s->out.burst > 0 &&
	       send_window_open(s, GV_MIN(m->len - m->sent, (uint32_t)SCTP_KEPT_BYTES_MAX));
}

/* The next fragment of the first message. False: no room, window or memory. */
static bool send_next(struct sctp *s, struct bytes_writer *w, uint64_t now_us)
{
	struct out_msg *m = s->out.first;
	uint32_t len = GV_MIN(m->len - m->sent, (uint32_t)SCTP_KEPT_BYTES_MAX);
	uint8_t flags = m->unordered ? CHUNK_DATA_UNORDERED : 0;

	if (!has_room(w, len) || !send_window_open(s, len))
		return false;
	uint16_t *ssn = NULL;
	if (m->sent == 0)
		flags |= CHUNK_DATA_BEGIN;
	if (m->sent == 0 && !m->unordered) {
		ssn = assoc_stream_slot(&s->out.ssn, &s->out.ssn_count, m->stream);
		if (ssn == NULL)
			return false;
	}
	if (m->sent + len == m->len)
		flags |= CHUNK_DATA_END;
	struct out_chunk *c = send_push(s, m, len, flags);
	if (c == NULL)
		return false;
	if (ssn != NULL)
		m->ssn = (*ssn)++;
	m->sent += len;
	write_data(s, w, c);
	send_sent(s, c, now_us);
	if (m->sent == m->len)
		queue_pop(s);
	return true;
}

bool send_data(struct sctp *s, struct bytes_writer *w, uint64_t now_us)
{
	bool wrote = false;

	cc_idle(s, now_us);
	if (s->out.counts[OUT_LOST] > 0) {
		wrote = send_lost_again(s, w, now_us);
		if (s->out.counts[OUT_LOST] > 0)
			return wrote;
	}
	bool fresh = false;
	while (s->out.first != NULL && s->out.burst > 0) {
		if (expire_first(s, now_us))
			continue;
		if (!send_next(s, w, now_us))
			break;
		fresh = true;
	}
	if (fresh)
		s->out.burst--;
	return wrote || fresh;
}

int sctp_send(struct sctp *s, const struct sctp_send_options *o, const void *data, size_t len,
              uint64_t now_us)
{
	if (s->state != ASSOC_ESTABLISHED)
		return SCTP_NOT_UP;
	if (len == 0)
		return err_here(-EINVAL);
	if (o->stream >= s->out_streams)
		return SCTP_BAD_STREAM;
	if (reset_is_wanted(s, o->stream))
		return SCTP_RESETTING;
	size_t most = s->config.peer_max_message_bytes > 0 ? s->config.peer_max_message_bytes
	                                                   : s->config.max_message_bytes;
	most = GV_MIN(most, (size_t)SCTP_MESSAGE_BYTES_MAX);
	if (s->tunnel.on)
		most = GV_MIN(most, (size_t)SCTP_KEPT_BYTES_MAX);
	if (len > most)
		return SCTP_TOO_LARGE;
	if (s->out.bytes + len > SEND_BYTES || s->out.messages >= SEND_MESSAGES) {
		s->out.was_full = true;
		return SCTP_FULL;
	}
	uint16_t *waiting = assoc_stream_slot(&s->out.waiting, &s->out.waiting_count, o->stream);
	struct out_msg *m = waiting != NULL ? mem_alloc(1, sizeof(*m) + len) : NULL;
	if (m == NULL)
		return err_here(-ENOMEM);
	(*waiting)++;
	m->queued_us = now_us;
	m->refs = 1;
	m->len = (uint32_t)len;
	m->ppid = o->ppid;
	m->limit = o->limit;
	m->stream = o->stream;
	/* Without RFC 3758 at the peer nothing can be given up. */
	m->reliability = (uint8_t)(s->peer.forward_tsn ? o->reliability : SCTP_RELIABLE);
	m->unordered = o->unordered;
	memcpy(m->data, data, len);
	if (s->out.last != NULL)
		s->out.last->next = m;
	else
		s->out.first = m;
	s->out.last = m;
	if (s->out.burst < MAX_BURST)
		s->out.burst = MAX_BURST;
	s->out.bytes += m->len;
	s->out.messages++;
	return SCTP_OK;
}
