/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

#include <string.h>

/*
 * Tunnel mode: IP packets of one stream that share the TSN space with kept chunks.
 *
 * The sender keeps no payload, so a TSN of the tunnel can only be acknowledged or given up, and never needs a state
 * of its own: what counts is one number, given_up, up to which nothing of the tunnel is waited for. It follows
 * marks. A SACK with a gap at time t whose highest TSN is h says that everything still missing below h has been
 * missing since t at the latest; after max(1.25 SRTT, 20 ms) given_up becomes h. What arrived below h in the
 * meantime is passed as well, which does nothing. send_advance() then moves the advanced point to given_up, but
 * not over a kept chunk that the peer lacks: it is sent again first (sack.c), while the tunnel goes on up to the
 * window of 65,536 TSNs.
 *
 * A FORWARD-TSN leaves 20 ms or more after the packets that it gives up and on the same path, so it comes
 * after them unless the path reorders by more than that.
 *
 * Loss at the end of a burst shows no gap. The probe timer runs while TSNs of the tunnel are outstanding; when
 * nothing was heard for a timeout, what had been sent when it was armed is given up and FORWARD-TSN sent, which
 * the peer answers with a SACK. It repeats at least each TUNNEL_RTO_MAX_US for as long as the path is dark and so
 * finds out that it is back. After 3 s without progress nothing more of the tunnel is sent (RFC 8084) until
 * then. The association never ends for silence: whether the path lives is ICE's business.
 */

void tunnel_init(struct sctp *s)
{
	s->tunnel = (struct tunnel){.given_up = s->out.cum_ack, .probe_mark = s->out.cum_ack};
}

void sctp_tunnel_start(struct sctp *s, uint16_t stream, uint64_t now_us)
{
	struct tunnel *t = &s->tunnel;

	if (t->on || !sctp_is_up(s) || !s->peer.forward_tsn)
		return;
	send_drop_tunnel(s);
	t->on = true;
	t->stream = stream;
	t->given_up = s->out.advanced;
	t->probe_mark = s->out.next_tsn - 1;
	t->progress_us = now_us;
	cc_limits(s, TUNNEL_RTO_MIN_US, TUNNEL_RTO_MAX_US);
	assoc_timer_stop(s, TIMER_HEARTBEAT);
	if (!send_needs_timer(s))
		assoc_timer_stop(s, TIMER_RTX);
	if (s->out.cum_ack + 1 != s->out.next_tsn)
		assoc_timer_start(s, TIMER_PROBE, now_us + cc_rto(s));
}

static uint64_t give_up_us(const struct sctp *s)
{
	uint64_t us = (uint64_t)s->cc.srtt_us * 5 / 4;

	return GV_MAX(us, (uint64_t)TUNNEL_GIVE_UP_MIN_US);
}

static const struct tunnel_mark *mark_at(const struct tunnel *t, uint8_t i)
{
	return &t->marks[(t->mark_first + i) % TUNNEL_MARKS];
}

/* Marks whose TSN the peer has passed say nothing any more. */
static void drop_marks(struct sctp *s)
{
	struct tunnel *t = &s->tunnel;

	while (t->mark_count > 0 && !tsn_before(s->out.cum_ack, mark_at(t, 0)->tsn)) {
		t->mark_first = (uint8_t)((t->mark_first + 1) % TUNNEL_MARKS);
		t->mark_count--;
	}
	if (t->mark_count > 0)
		assoc_timer_start(s, TIMER_GIVE_UP, mark_at(t, 0)->at_us + give_up_us(s));
	else
		assoc_timer_stop(s, TIMER_GIVE_UP);
}

/* At most TUNNEL_MARKS of them over the time to give up; with the ring full, the next SACK makes one. */
static void add_mark(struct sctp *s, uint64_t now_us)
{
	struct tunnel *t = &s->tunnel;

	if (t->mark_count == TUNNEL_MARKS)
		return;
	if (t->mark_count > 0) {
		const struct tunnel_mark *last = mark_at(t, (uint8_t)(t->mark_count - 1));

		if (!tsn_before(last->tsn, s->out.high_ack) ||
		    now_us < last->at_us + give_up_us(s) / (TUNNEL_MARKS / 2))
			return;
	}
	t->marks[(t->mark_first + t->mark_count) % TUNNEL_MARKS] =
		(struct tunnel_mark){.tsn = s->out.high_ack, .at_us = now_us};
	t->mark_count++;
}

static void arm_probe(struct sctp *s, uint64_t now_us)
{
	s->tunnel.probe_mark = s->out.next_tsn - 1;
	assoc_timer_start(s, TIMER_PROBE, now_us + cc_rto(s));
}

void tunnel_sack(struct sctp *s, bool progress, bool gap, uint64_t now_us)
{
	struct tunnel *t = &s->tunnel;

	if (progress) {
		t->progress_us = now_us;
		t->probe_tries = 0;
	}
	if (tsn_before(t->given_up, s->out.cum_ack))
		t->given_up = s->out.cum_ack;
	if (gap && tsn_before(t->given_up, s->out.high_ack))
		add_mark(s, now_us);
	drop_marks(s);
	if (s->out.cum_ack + 1 == s->out.next_tsn)
		assoc_timer_stop(s, TIMER_PROBE);
	else if (progress)
		arm_probe(s, now_us);
}

void tunnel_give_up_timeout(struct sctp *s, uint64_t now_us)
{
	struct tunnel *t = &s->tunnel;
	uint64_t wait = give_up_us(s);

	while (t->mark_count > 0 && mark_at(t, 0)->at_us + wait <= now_us) {
		if (tsn_before(t->given_up, mark_at(t, 0)->tsn))
			t->given_up = mark_at(t, 0)->tsn;
		t->mark_first = (uint8_t)((t->mark_first + 1) % TUNNEL_MARKS);
		t->mark_count--;
	}
	if (t->mark_count > 0)
		assoc_timer_start(s, TIMER_GIVE_UP, mark_at(t, 0)->at_us + wait);
	send_advance(s, now_us);
}

void tunnel_probe_timeout(struct sctp *s, uint64_t now_us)
{
	struct tunnel *t = &s->tunnel;

	if (!t->on || s->out.cum_ack + 1 == s->out.next_tsn)
		return;
	if (tsn_before(t->given_up, t->probe_mark))
		t->given_up = t->probe_mark;
	send_advance(s, now_us);
	/* Without anything to pass there is a kept chunk in the way, and T3 is the probe. */
	if (s->out.advanced != s->out.cum_ack)
		s->out.forward_due = true;
	if (t->probe_tries < 8)
		t->probe_tries++;
	t->probe_mark = s->out.next_tsn - 1;
	uint64_t rto = cc_rto(s), most = GV_MAX((uint64_t)s->cc.max_us, rto);
	assoc_timer_start(s, TIMER_PROBE, now_us + GV_MIN(rto << (t->probe_tries - 1), most));
}

static bool breaker_open(const struct sctp *s, uint64_t now_us)
{
	return s->out.cum_ack + 1 != s->out.next_tsn &&
	       now_us >= s->tunnel.progress_us + TUNNEL_BREAKER_US;
}

/* Where the next packet of the train is being written. */
struct train {
	struct batch *out;
	uint8_t *packet; /* of the open packet, or NULL */
	size_t used, limit;
	bool unsummed; /* checksums are made by sctp_tunnel_filled() */
};

/* Largest packet that can still join the train; 0: none. */
static size_t train_limit(const struct sctp *s, const struct batch *out)
{
	size_t rooms = (size_t)out->headroom + out->tailroom;
	size_t limit = s->config.max_packet_bytes;
	size_t cap = GV_MIN(out->cap, (size_t)BATCH_MAX_BYTES);

	if (out->count > 0) {
		if (out->last_size != out->size || out->count == BATCH_MAX_COUNT)
			return 0;
		limit = GV_MIN(limit, out->size - rooms);
	}
	if (out->len + rooms >= cap)
		return 0;
	return GV_MIN(limit, cap - out->len - rooms);
}

static void train_close(struct sctp *s, struct train *t)
{
	if (t->packet == NULL || t->used == SCTP_HEADER_BYTES) {
		t->packet = NULL;
		return;
	}
	if (!s->use_zero_checksum && !t->unsummed)
		packet_checksum_write(t->packet, t->used);
	(void)batch_reserve(t->out, t->used); /* cannot fail: within train_limit() */
	t->packet = NULL;
	s->counters.packets_out++;
}

/* Room for `bytes` in the open packet or a new one, or NULL when the train takes no more. */
static uint8_t *train_take(struct sctp *s, struct train *t, size_t bytes)
{
	if (t->packet != NULL && t->limit - t->used < bytes)
		train_close(s, t);
	if (t->packet == NULL) {
		size_t limit = train_limit(s, t->out);

		if (limit < SCTP_HEADER_BYTES + bytes)
			return NULL;
		t->packet = t->out->data + t->out->len + t->out->headroom;
		t->limit = limit;
		be16_store(t->packet, s->config.local_port);
		be16_store(t->packet + 2, s->config.remote_port);
		be32_store(t->packet + 4, s->peer.tag);
		be32_store(t->packet + 8, 0);
		t->used = SCTP_HEADER_BYTES;
	}
	uint8_t *p = t->packet + t->used;
	t->used += bytes;
	return p;
}

/* Header and padding of a chunk. Returns where its len bytes go. */
static uint8_t *write_chunk(uint8_t *p, uint8_t flags, uint32_t tsn, uint16_t stream, uint32_t ppid,
                            size_t len)
{
	p[0] = CHUNK_DATA;
	p[1] = flags;
	be16_store(p + 2, (uint16_t)(SCTP_DATA_HEADER_BYTES + len));
	be32_store(p + 4, tsn);
	be16_store(p + 8, stream);
	be16_store(p + 10, 0);
	be32_store(p + 12, ppid);
	memset(p + SCTP_DATA_HEADER_BYTES + len, 0, chunk_padded(len) - len);
	return p + SCTP_DATA_HEADER_BYTES;
}

/* Takes a TSN for one chunk. Before tunnel mode it is kept and the windows are obeyed. */
static bool take_tsn(struct sctp *s, size_t len, uint8_t flags, uint32_t *tsn, uint64_t now_us)
{
	if (s->tunnel.on) {
		if (s->out.next_tsn - s->out.cum_ack >= TSN_WINDOW)
			return false;
		*tsn = s->out.next_tsn++;
		s->counters.data_out++;
		return true;
	}
	struct out_chunk *c = send_push(s, NULL, (uint32_t)len, flags);
	if (c == NULL)
		return false;
	*tsn = c->tsn;
	send_sent(s, c, now_us);
	return true;
}

/* Payload of a chunk that fills a packet. */
static size_t chunk_max(const struct sctp *s)
{
	return (s->config.max_packet_bytes - SCTP_HEADER_BYTES - SCTP_DATA_HEADER_BYTES) &
	       ~(size_t)3;
}

/* True when the fragments of a message of len bytes all fit the rest of the train. */
static bool fragments_fit(const struct sctp *s, const struct train *t, size_t len, size_t part)
{
	const struct batch *out = t->out;
	size_t rooms = (size_t)out->headroom + out->tailroom;
	size_t cap = GV_MIN(out->cap, (size_t)BATCH_MAX_BYTES);
	size_t packets = (len + part - 1) / part;
	size_t bytes = packets * (rooms + s->config.max_packet_bytes);

	if (train_limit(s, out) < SCTP_HEADER_BYTES + SCTP_DATA_HEADER_BYTES + part)
		return false;
	return out->count + packets <= BATCH_MAX_COUNT && out->len + bytes <= cap;
}

enum one {
	ONE_SENT,
	ONE_NO_ROOM,   /* of the train */
	ONE_NO_WINDOW, /* or memory before tunnel mode */
	ONE_TOO_LARGE,
};

static bool window_for(const struct sctp *s, size_t len, size_t fragments)
{
	if (s->out.next_tsn - s->out.cum_ack + fragments > TSN_WINDOW)
		return false;
	if (s->tunnel.on)
		return true;
	return s->out.ring_count + fragments <= RING_MAX && send_window_open(s, (uint32_t)len);
}

/* A message larger than a packet. Its fragments have adjacent TSNs, so all go into this train or none does. */
static enum one send_fragments(struct sctp *s, struct train *t, uint16_t stream,
                               const struct pkt *in, uint64_t now_us)
{
	size_t part = chunk_max(s);

	if (t->packet != NULL) {
		train_close(s, t);
		if (train_limit(s, t->out) == 0)
			return ONE_NO_ROOM;
	}
	if (!fragments_fit(s, t, in->len, part))
		return t->out->count > 0 ? ONE_NO_ROOM : ONE_TOO_LARGE;
	if (!window_for(s, in->len, (in->len + part - 1) / part))
		return ONE_NO_WINDOW;
	for (size_t at = 0; at < in->len; at += part) {
		size_t len = GV_MIN(in->len - at, part);
		uint8_t flags = CHUNK_DATA_UNORDERED;
		uint32_t tsn;

		if (at == 0)
			flags |= CHUNK_DATA_BEGIN;
		if (at + len == in->len)
			flags |= CHUNK_DATA_END;
		if (!take_tsn(s, len, flags, &tsn, now_us))
			return at == 0 ? ONE_NO_WINDOW : ONE_SENT; /* no memory: the rest is lost */
		uint8_t *p = train_take(s, t, SCTP_DATA_HEADER_BYTES + chunk_padded(len));
		if (p == NULL)
			return ONE_SENT; /* not reached: fragments_fit() counted them */
		memcpy(write_chunk(p, flags, tsn, stream, SCTP_PPID_BINARY, len), in->data + at,
		       len);
	}
	return ONE_SENT;
}

/* A message that fits a packet; *place is where its len bytes go. */
static enum one send_whole(struct sctp *s, struct train *t, uint16_t stream, uint32_t ppid,
                           size_t len, uint64_t now_us, uint8_t **place)
{
	const uint8_t flags = CHUNK_DATA_UNORDERED | CHUNK_DATA_WHOLE;
	uint32_t tsn;

	if (!window_for(s, len, 1))
		return ONE_NO_WINDOW;
	uint8_t *p = train_take(s, t, SCTP_DATA_HEADER_BYTES + chunk_padded(len));
	if (p == NULL)
		return ONE_NO_ROOM;
	if (!take_tsn(s, len, flags, &tsn, now_us)) {
		t->used -= SCTP_DATA_HEADER_BYTES + chunk_padded(len);
		return ONE_NO_WINDOW;
	}
	*place = write_chunk(p, flags, tsn, stream, ppid, len);
	return ONE_SENT;
}

/* Bytes of one packet with all these messages; above `limit` it is enough to know that. */
static size_t packet_bytes(const struct pkt *in, size_t n, size_t limit)
{
	size_t bytes = SCTP_HEADER_BYTES;

	for (size_t i = 0; i < n && bytes <= limit; i++)
		bytes += SCTP_DATA_HEADER_BYTES + chunk_padded(in[i].len);
	return bytes;
}

/*
 * A SACK rides in front when it and all messages (`bytes`) share one packet; in front of a long train it would make
 * the first datagram the odd one out, and goes by itself.
 */
static void ride_sack(struct sctp *s, struct train *t, size_t bytes, uint64_t now_us)
{
	if (bytes + CHUNK_HEADER_BYTES + 12 > train_limit(s, t->out))
		return;
	uint8_t *p = train_take(s, t, 0);
	if (p == NULL)
		return;
	struct bytes_writer w = bytes_writer(p, t->limit - (bytes - SCTP_HEADER_BYTES) - t->used);
	if (recv_write_sack(s, &w, now_us))
		t->used += w.used;
}

static bool sack_may_ride(const struct sctp *s, const struct batch *out)
{
	return out->count == 0 && (s->in.sack_due || assoc_timer_runs(s, TIMER_SACK));
}

static int tunnel_ready(const struct sctp *s, uint16_t stream, uint64_t now_us)
{
	if (s->state != ASSOC_ESTABLISHED || !s->peer.forward_tsn)
		return SCTP_NOT_UP;
	if (stream >= s->out_streams || (s->tunnel.on && stream != s->tunnel.stream))
		return SCTP_BAD_STREAM;
	if (s->out.first != NULL && s->out.first->sent > 0)
		return SCTP_FULL; /* its fragments must stay adjacent */
	if (s->tunnel.on && breaker_open(s, now_us))
		return SCTP_FULL;
	return SCTP_OK;
}

/* Something of the tunnel was sent: `idle` tells whether nothing had been outstanding before. */
static void watch_progress(struct sctp *s, bool idle, uint64_t now_us)
{
	if (!s->tunnel.on || s->out.cum_ack + 1 == s->out.next_tsn)
		return;
	if (idle)
		s->tunnel.progress_us = now_us;
	if (!assoc_timer_runs(s, TIMER_PROBE))
		arm_probe(s, now_us);
}

/* One message in whatever form it needs. */
static enum one send_one(struct sctp *s, struct train *t, uint16_t stream, const struct pkt *in,
                         uint64_t now_us)
{
	uint8_t *place;

	if (in->len == 0)
		return ONE_TOO_LARGE;
	if (in->len > chunk_max(s))
		return send_fragments(s, t, stream, in, now_us);
	enum one one = send_whole(s, t, stream, SCTP_PPID_BINARY, in->len, now_us, &place);
	if (one == ONE_SENT)
		memcpy(place, in->data, in->len);
	return one;
}

size_t sctp_tunnel_send(struct sctp *s, uint16_t stream, const struct pkt *in, size_t n,
                        struct batch *out, uint64_t now_us, int *result)
{
	struct train t = {.out = out};
	bool idle = s->out.cum_ack + 1 == s->out.next_tsn;
	size_t done = 0;

	*result = tunnel_ready(s, stream, now_us);
	if (*result != SCTP_OK || n == 0) {
		s->counters.tunnel_stopped += *result == SCTP_FULL ? n : 0;
		return 0;
	}
	if (sack_may_ride(s, out))
		ride_sack(s, &t, packet_bytes(in, n, s->config.max_packet_bytes), now_us);
	for (; done < n; done++) {
		enum one one = send_one(s, &t, stream, &in[done], now_us);

		if (one == ONE_NO_ROOM)
			break;
		if (one == ONE_NO_WINDOW) {
			*result = SCTP_FULL;
			s->counters.tunnel_stopped += n - done;
			break;
		}
		if (one == ONE_TOO_LARGE) {
			s->counters.tunnel_bad_size++;
			s->counters.tunnel_bad_bytes += in[done].len;
		}
	}
	train_close(s, &t);
	watch_progress(s, idle, now_us);
	return done;
}

size_t sctp_tunnel_reserve(struct sctp *s, uint16_t stream, uint32_t ppid, size_t len, size_t n,
                           uint8_t **places, struct batch *out, uint64_t now_us, int *result)
{
	struct train t = {.out = out, .unsummed = true};
	bool idle = s->out.cum_ack + 1 == s->out.next_tsn;
	enum one one = ONE_SENT;
	size_t done = 0;

	*result = tunnel_ready(s, stream, now_us);
	if (*result == SCTP_OK && (len == 0 || len > chunk_max(s)))
		*result = SCTP_TOO_LARGE;
	if (*result == SCTP_OK)
		while (done < n && (one = send_whole(s, &t, stream, ppid, len, now_us,
		                                     &places[done])) == ONE_SENT)
			done++;
	if (one == ONE_NO_WINDOW)
		*result = SCTP_FULL;
	s->counters.tunnel_stopped += *result == SCTP_FULL ? n - done : 0;
	train_close(s, &t);
	watch_progress(s, idle, now_us);
	return done;
}

void sctp_tunnel_filled(struct sctp *s, struct batch *out, unsigned first)
{
	if (s->use_zero_checksum)
		return;
	for (unsigned i = first; i < out->count; i++) {
		struct pkt d = batch_datagram(out, i);

		packet_checksum_write(d.data + out->headroom,
		                      d.len - out->headroom - out->tailroom);
	}
}
