/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

#include "base/mem.h"

#include <string.h>

#define READY_FIRST 64
#define READY_KEEP  1024
#define TABLE_FIRST 8

/* --- messages for the owner --- */

/* Room for one more. */
static bool ready_room(struct sctp *s, uint32_t max)
{
	struct receiver *in = &s->in;

	if (in->ready_count < in->ready_cap)
		return true;
	uint32_t gone = in->ready_head;
	if (gone == in->lent && gone > 0 && gone >= in->ready_cap / 2) {
		in->ready_count -= gone;
		memmove(in->ready, in->ready + gone, in->ready_count * sizeof(in->ready[0]));
		in->ready_head = in->lent = 0;
		return true;
	}
	if (in->ready_cap >= max)
		return false;
	uint32_t cap = in->ready_cap > 0 ? in->ready_cap * 2 : READY_FIRST;
	struct ready *v = mem_resize(in->ready, cap, sizeof(*v));
	if (v == NULL)
		return false;
	in->ready = v;
	in->ready_cap = cap;
	return true;
}

/* After ready_room(). `buf` is NULL or moved. */
static void ready_push(struct sctp *s, uint16_t stream, uint32_t ppid, const uint8_t *data,
                       size_t len, uint8_t *buf)
{
	struct receiver *in = &s->in;

	in->ready[in->ready_count++] = (struct ready){
		.msg = {.stream = stream, .ppid = ppid, .data = data, .len = len}, .buf = buf};
	if (buf != NULL)
		in->bytes += (uint32_t)len + RECEIVE_OVERHEAD;
}

void reasm_release_lent(struct sctp *s)
{
	struct receiver *in = &s->in;

	for (; in->lent < in->ready_head; in->lent++) {
		struct ready *r = &in->ready[in->lent];

		if (r->buf == NULL)
			continue;
		in->bytes -= (uint32_t)r->msg.len + RECEIVE_OVERHEAD;
		mem_free(r->buf);
		r->buf = NULL;
	}
	/* Who was told of a closed window only probes it now and then: tell that it is open again. */
	if (in->told_rwnd < RECEIVE_BYTES / 4 && recv_window(s) >= RECEIVE_BYTES / 2)
		in->sack_due = true;
	if (in->ready_head < in->ready_count || in->ready_count == 0)
		return;
	in->ready_head = in->ready_count = in->lent = 0;
	if (in->ready_cap > READY_KEEP) {
		mem_free(in->ready);
		in->ready = NULL;
		in->ready_cap = 0;
	}
}

size_t sctp_recv(struct sctp *s, struct sctp_msg *out, size_t max)
{
	struct receiver *in = &s->in;
	size_t n = 0;

	reasm_release_lent(s);
	while (n < max && in->ready_head < in->ready_count)
		out[n++] = in->ready[in->ready_head++].msg;
	return n;
}

/* --- ordered messages that came too early --- */

static uint32_t held_key(uint16_t stream, uint16_t ssn)
{
	return (uint32_t)stream << 16 | ssn;
}

static struct held *held_at(const struct sctp *s, uint32_t i)
{
	return &s->in.held[s->in.held_order[i]];
}

/* First index whose key is not below. */
static uint32_t held_find(const struct sctp *s, uint32_t key)
{
	uint32_t lo = 0, hi = s->in.held_count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct held *h = held_at(s, mid);

		if (held_key(h->stream, h->ssn) < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void held_take_out(struct sctp *s, uint32_t i)
{
	struct receiver *in = &s->in;
	uint16_t *order = in->held_order, slot = order[i];

	in->bytes -= in->held[slot].len + RECEIVE_OVERHEAD;
	in->held_count--;
	memmove(&order[i], &order[i + 1], (in->held_count - i) * sizeof(*order));
	order[in->held_count] = slot;
}

/* Room for one more. */
static bool held_room(struct sctp *s)
{
	struct receiver *in = &s->in;

	if (in->held_count < in->held_cap)
		return true;
	uint32_t cap = in->held_cap > 0 ? in->held_cap * 2 : TABLE_FIRST;
	if (cap > HELD_MAX)
		return false;
	struct held *v = mem_resize(in->held, cap, sizeof(*v));
	if (v == NULL)
		return false;
	in->held = v;
	uint16_t *order = mem_resize(in->held_order, cap, sizeof(*order));
	if (order == NULL)
		return false;
	in->held_order = order;
	for (uint32_t i = in->held_cap; i < cap; i++)
		order[i] = (uint16_t)i;
	in->held_cap = cap;
	return true;
}

/* After held_room(). `buf` is moved. */
static void held_put(struct sctp *s, const struct held *h)
{
	struct receiver *in = &s->in;
	uint32_t i = held_find(s, held_key(h->stream, h->ssn));
	uint16_t *order = in->held_order, slot = order[in->held_count];

	/* Indices only are moved: a peer decides where its messages go, and 4,096 of them must cost little. */
	memmove(&order[i + 1], &order[i], (in->held_count - i) * sizeof(*order));
	order[i] = slot;
	in->held[slot] = *h;
	in->held_count++;
	in->bytes += h->len + RECEIVE_OVERHEAD;
}

static bool held_is_there(const struct sctp *s, uint16_t stream, uint16_t ssn)
{
	uint32_t i = held_find(s, held_key(stream, ssn));

	return i < s->in.held_count && held_at(s, i)->stream == stream && held_at(s, i)->ssn == ssn;
}

/* Hands held[i] to the owner. Without memory it stays. */
static bool held_deliver(struct sctp *s, uint32_t i)
{
	struct held h = *held_at(s, i);

	if (!ready_room(s, READY_MAX + HELD_MAX))
		return false;
	held_take_out(s, i);
	ready_push(s, h.stream, h.ppid, h.buf + h.head, h.len, h.buf);
	return true;
}

/* Delivers what has become next in its stream. */
static void held_release(struct sctp *s, uint16_t stream, uint16_t *next)
{
	while (s->in.held_count > 0 && held_is_there(s, stream, *next)) {
		if (!held_deliver(s, held_find(s, held_key(stream, *next))))
			return;
		(*next)++;
	}
}

/* Index of the first held message of the stream from ssn `from` on, in serial order; held_count: none. */
static uint32_t held_from(const struct sctp *s, uint16_t stream, uint16_t from)
{
	uint32_t i = held_find(s, held_key(stream, from));

	if (i < s->in.held_count && held_at(s, i)->stream == stream)
		return i;
	i = held_find(s, held_key(stream, 0));
	return i < s->in.held_count && held_at(s, i)->stream == stream ? i : s->in.held_count;
}

void reasm_skip(struct sctp *s, uint16_t stream, uint16_t ssn)
{
	uint16_t *next = assoc_stream_slot(&s->in.ssn, &s->in.ssn_count, stream);

	if (next == NULL || ssn_before(ssn, *next))
		return;
	for (;;) {
		uint32_t i = held_from(s, stream, *next);

		if (i == s->in.held_count || ssn_before(ssn, held_at(s, i)->ssn))
			break;
		uint16_t at = held_at(s, i)->ssn;
		if (!held_deliver(s, i))
			break;
		*next = (uint16_t)(at + 1);
	}
	*next = (uint16_t)(ssn + 1);
	held_release(s, stream, next);
}

void reasm_stream_reset(struct sctp *s, uint16_t stream)
{
	for (;;) {
		uint32_t i = held_from(s, stream, 0);

		if (i == s->in.held_count)
			break;
		mem_free(held_at(s, i)->buf);
		held_take_out(s, i);
		s->counters.reassembly_drop++;
	}
	if (stream < s->in.ssn_count)
		s->in.ssn[stream] = 0;
}

/* --- fragments --- */

static bool is_tunnel(const struct sctp *s, uint16_t stream, bool unordered)
{
	return s->tunnel.on && unordered && stream == s->tunnel.stream;
}

static void run_remove(struct sctp *s, uint32_t i)
{
	struct receiver *in = &s->in;

	in->bytes -= in->runs[i].len + RECEIVE_OVERHEAD;
	in->run_count--;
	memmove(&in->runs[i], &in->runs[i + 1], (in->run_count - i) * sizeof(in->runs[0]));
}

static void run_drop(struct sctp *s, uint32_t i)
{
	mem_free(s->in.runs[i].buf);
	run_remove(s, i);
	s->counters.reassembly_drop++;
}

/*
 * Room for so many bytes before and after the content. It grows by half the content on the side that asks, and the other
 * side keeps what it has: a peer that feeds both ends in turn must not have all copied for each byte.
 */
static bool run_room(struct run *r, uint32_t front, uint32_t back)
{
	uint32_t tail = r->cap - r->head - r->len;

	if (r->head >= front && tail >= back)
		return true;
	front = r->head >= front ? r->head : GV_MAX(front, r->len / 2);
	back = tail >= back ? tail : GV_MAX(back, r->len / 2);
	uint8_t *buf = mem_alloc(1, (size_t)front + r->len + back);
	if (buf == NULL)
		return false;
	if (r->len > 0)
		memcpy(buf + front, r->buf + r->head, r->len);
	mem_free(r->buf);
	r->buf = buf;
	r->head = front;
	r->cap = front + r->len + back;
	return true;
}

static bool run_append(struct run *r, const uint8_t *data, uint32_t len)
{
	if (!run_room(r, 0, len))
		return false;
	memcpy(r->buf + r->head + r->len, data, len);
	r->len += len;
	return true;
}

static bool run_prepend(struct run *r, const uint8_t *data, uint32_t len)
{
	if (!run_room(r, len, 0))
		return false;
	r->head -= len;
	memcpy(r->buf + r->head, data, len);
	r->len += len;
	return true;
}

/* First index whose `first` is not before tsn. */
static uint32_t run_find(const struct sctp *s, uint32_t tsn)
{
	uint32_t lo = 0, hi = s->in.run_count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (tsn_before(s->in.runs[mid].first, tsn))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool same_message(const struct run *r, const struct chunk_data *d, uint8_t flags)
{
	bool unordered = (flags & CHUNK_DATA_UNORDERED) != 0;

	return r->stream == d->stream && r->unordered == unordered &&
	       (unordered || r->ssn == d->ssn);
}

/* Makes room among the partial messages of the tunnel: the oldest goes. */
static void evict_tunnel(struct sctp *s)
{
	uint32_t n = 0, oldest = 0;

	for (uint32_t i = 0; i < s->in.run_count; i++) {
		const struct run *r = &s->in.runs[i];

		if (!is_tunnel(s, r->stream, r->unordered))
			continue;
		if (n == 0 || r->born_us < s->in.runs[oldest].born_us)
			oldest = i;
		n++;
	}
	if (n >= TUNNEL_PARTIALS)
		run_drop(s, oldest);
}

/* A run of its own for the fragment. The index, or UINT32_MAX without room. */
static uint32_t run_begin(struct sctp *s, const struct chunk_data *d, uint8_t flags,
                          uint64_t now_us)
{
	struct receiver *in = &s->in;
	struct run r = {.first = d->tsn,
	                .last = d->tsn,
	                .ppid = d->ppid,
	                .stream = d->stream,
	                .ssn = d->ssn,
	                .unordered = (flags & CHUNK_DATA_UNORDERED) != 0,
	                .born_us = now_us};

	if (is_tunnel(s, r.stream, r.unordered)) {
		evict_tunnel(s);
		if (!assoc_timer_runs(s, TIMER_FRAGMENTS))
			assoc_timer_start(s, TIMER_FRAGMENTS, now_us + TUNNEL_FRAGMENT_LIFE_US);
	}
	if (in->run_count >= RUNS_MAX) {
		/* What fills the lowest gap has room after those that can never be whole, or nothing would move. */
		if (d->tsn != in->cum + 1)
			return UINT32_MAX;
		reasm_purge(s);
	}
	if (in->run_count == in->run_cap) {
		uint32_t cap = in->run_cap > 0 ? in->run_cap * 2 : TABLE_FIRST;
		struct run *v = cap <= 2 * RUNS_MAX ? mem_resize(in->runs, cap, sizeof(*v)) : NULL;

		if (v == NULL)
			return UINT32_MAX;
		in->runs = v;
		in->run_cap = cap;
	}
	if (!run_append(&r, d->data, (uint32_t)d->len))
		return UINT32_MAX;
	uint32_t i = run_find(s, d->tsn);
	memmove(&in->runs[i + 1], &in->runs[i], (in->run_count - i) * sizeof(in->runs[0]));
	in->runs[i] = r;
	in->run_count++;
	in->bytes += r.len + RECEIVE_OVERHEAD;
	return i;
}

/* Joins runs i and i + 1 by what lies between them, the smaller into the larger. Without memory both stay. */
static bool run_join(struct sctp *s, uint32_t i, const uint8_t *data, uint32_t len)
{
	struct run *a = &s->in.runs[i], *b = &s->in.runs[i + 1];

	if (a->len >= b->len) {
		if (!run_room(a, 0, len + b->len))
			return false;
		(void)run_append(a, data, len); /* the room is there */
		(void)run_append(a, b->buf + b->head, b->len);
	} else {
		if (!run_room(b, len + a->len, 0))
			return false;
		(void)run_prepend(b, data, len);
		(void)run_prepend(b, a->buf + a->head, a->len);
		uint8_t *buf = a->buf;

		a->buf = b->buf;
		a->head = b->head;
		a->len = b->len;
		a->cap = b->cap;
		b->buf = buf;
	}
	a->last = b->last;
	a->end = b->end;
	s->in.bytes += len;
	/* The bytes of b count with a now; what remains of b is its overhead. */
	b->len = 0;
	mem_free(b->buf);
	run_remove(s, i + 1);
	return true;
}

/* True when a whole message that comes now can be handed on or held until its turn. */
static bool has_turn(struct sctp *s, const struct chunk_data *d)
{
	uint16_t *next = assoc_stream_slot(&s->in.ssn, &s->in.ssn_count, d->stream);

	return next != NULL && (d->ssn == *next || held_room(s));
}

/* Run i is a whole message, for which ready_room() and, if it is ordered, has_turn() were asked. */
static void run_finish(struct sctp *s, uint32_t i)
{
	struct run r = s->in.runs[i];
	struct held h = {.stream = r.stream,
	                 .ssn = r.ssn,
	                 .ppid = r.ppid,
	                 .buf = r.buf,
	                 .head = r.head,
	                 .len = r.len};

	if (r.unordered) {
		run_remove(s, i);
		ready_push(s, r.stream, r.ppid, r.buf + r.head, r.len, r.buf);
		return;
	}
	uint16_t *next = &s->in.ssn[r.stream]; /* has_turn() made it */
	if (ssn_before(r.ssn, *next) || held_is_there(s, r.stream, r.ssn)) {
		run_drop(s, i); /* a number used twice */
		return;
	}
	run_remove(s, i);
	if (r.ssn == *next) {
		ready_push(s, r.stream, r.ppid, r.buf + r.head, r.len, r.buf);
		(*next)++;
		held_release(s, r.stream, next);
	} else {
		held_put(s, &h);
	}
}

/* What the fragment would join. */
struct neighbours {
	bool left, right;
	uint32_t at; /* index of the run after the fragment */
};

static struct neighbours find_neighbours(const struct sctp *s, const struct chunk_data *d,
                                         uint8_t flags)
{
	struct neighbours n = {.at = run_find(s, d->tsn)};

	if (n.at > 0 && (flags & CHUNK_DATA_BEGIN) == 0) {
		const struct run *r = &s->in.runs[n.at - 1];

		n.left = r->last + 1 == d->tsn && !r->end && same_message(r, d, flags);
	}
	if (n.at < s->in.run_count && (flags & CHUNK_DATA_END) == 0) {
		const struct run *r = &s->in.runs[n.at];

		n.right = r->first == d->tsn + 1 && !r->begin && same_message(r, d, flags);
	}
	return n;
}

static bool has_bytes(const struct sctp *s, const struct chunk_data *d)
{
	uint32_t most = d->tsn == s->in.cum + 1 ? RECEIVE_BYTES_HARD : RECEIVE_BYTES;

	return s->in.bytes + d->len + RECEIVE_OVERHEAD <= most;
}

static enum reasm_result too_large(struct sctp *s, const struct chunk_data *d, uint8_t flags,
                                   const struct neighbours *n)
{
	if (!is_tunnel(s, d->stream, (flags & CHUNK_DATA_UNORDERED) != 0))
		return REASM_ABORTED;
	if (n->right)
		run_drop(s, n->at);
	if (n->left)
		run_drop(s, n->at - 1);
	return REASM_TAKEN;
}

static enum reasm_result fragment(struct sctp *s, const struct chunk_data *d, uint8_t flags,
                                  uint64_t now_us)
{
	struct neighbours n = find_neighbours(s, d, flags);
	struct run *runs = s->in.runs;
	uint32_t i = n.at, len = (uint32_t)d->len;
	size_t total = len;

	if (n.left)
		total += runs[n.at - 1].len;
	if (n.right)
		total += runs[n.at].len;
	if (total > s->config.max_message_bytes)
		return too_large(s, d, flags, &n);
	bool begin = n.left ? runs[n.at - 1].begin : (flags & CHUNK_DATA_BEGIN) != 0;
	bool end = n.right ? runs[n.at].end : (flags & CHUNK_DATA_END) != 0;
	bool ordered = (flags & CHUNK_DATA_UNORDERED) == 0;
	if (!has_bytes(s, d) || !ready_room(s, READY_MAX))
		return REASM_REFUSED;
	if (begin && end && ordered && !has_turn(s, d))
		return REASM_REFUSED;
	if (n.left && n.right) {
		i = n.at - 1;
		if (!run_join(s, i, d->data, len))
			return REASM_REFUSED;
	} else if (n.left) {
		i = n.at - 1;
		if (!run_append(&runs[i], d->data, len))
			return REASM_REFUSED;
		runs[i].last = d->tsn;
		s->in.bytes += len;
	} else if (n.right) {
		if (!run_prepend(&runs[i], d->data, len))
			return REASM_REFUSED;
		runs[i].first = d->tsn;
		s->in.bytes += len;
	} else {
		i = run_begin(s, d, flags, now_us);
		if (i == UINT32_MAX)
			return REASM_REFUSED;
	}
	s->in.runs[i].begin = begin;
	s->in.runs[i].end = end;
	if (begin && end)
		run_finish(s, i);
	return REASM_TAKEN;
}

/* A whole ordered message. */
static enum reasm_result ordered(struct sctp *s, const struct chunk_data *d)
{
	uint16_t *next = assoc_stream_slot(&s->in.ssn, &s->in.ssn_count, d->stream);

	if (next == NULL || !ready_room(s, READY_MAX))
		return REASM_REFUSED;
	if (d->ssn == *next) {
		ready_push(s, d->stream, d->ppid, d->data, d->len, NULL);
		(*next)++;
		held_release(s, d->stream, next);
		return REASM_TAKEN;
	}
	if (ssn_before(d->ssn, *next) || held_is_there(s, d->stream, d->ssn)) {
		s->counters.bad_chunk++; /* a number used twice */
		return REASM_TAKEN;
	}
	if (!has_bytes(s, d) || !held_room(s))
		return REASM_REFUSED;
	uint8_t *copy = mem_dup(d->data, d->len);
	struct held h = {.stream = d->stream,
	                 .ssn = d->ssn,
	                 .ppid = d->ppid,
	                 .buf = copy,
	                 .len = (uint32_t)d->len};
	if (copy == NULL)
		return REASM_REFUSED;
	held_put(s, &h);
	return REASM_TAKEN;
}

enum reasm_result reasm_data(struct sctp *s, const struct chunk_data *d, uint8_t flags,
                             uint64_t now_us)
{
	if ((flags & CHUNK_DATA_WHOLE) != CHUNK_DATA_WHOLE)
		return fragment(s, d, flags, now_us);
	if (d->len > s->config.max_message_bytes)
		return REASM_ABORTED;
	if ((flags & CHUNK_DATA_UNORDERED) == 0)
		return ordered(s, d);
	if (!ready_room(s, READY_MAX))
		return REASM_REFUSED;
	ready_push(s, d->stream, d->ppid, d->data, d->len, NULL);
	return REASM_TAKEN;
}

void reasm_purge(struct sctp *s)
{
	uint32_t cum = s->in.cum;

	for (uint32_t i = s->in.run_count; i-- > 0;) {
		const struct run *r = &s->in.runs[i];

		/* The TSN beside it came or was given up, and was not of this message. */
		if ((!r->begin && !tsn_before(cum, r->first - 1)) ||
		    (!r->end && !tsn_before(cum, r->last + 1)))
			run_drop(s, i);
	}
}

void reasm_timeout(struct sctp *s, uint64_t now_us)
{
	uint64_t next = NEVER;

	for (uint32_t i = s->in.run_count; i-- > 0;) {
		const struct run *r = &s->in.runs[i];

		if (!is_tunnel(s, r->stream, r->unordered))
			continue;
		if (r->born_us + TUNNEL_FRAGMENT_LIFE_US <= now_us)
			run_drop(s, i);
		else
			next = GV_MIN(next, r->born_us + TUNNEL_FRAGMENT_LIFE_US);
	}
	assoc_timer_start(s, TIMER_FRAGMENTS, next);
}

void reasm_deinit(struct sctp *s)
{
	struct receiver *in = &s->in;

	for (uint32_t i = 0; i < in->run_count; i++)
		mem_free(in->runs[i].buf);
	for (uint32_t i = 0; i < in->held_count; i++)
		mem_free(held_at(s, i)->buf);
	for (uint32_t i = in->lent; i < in->ready_count; i++)
		mem_free(in->ready[i].buf);
	mem_free(in->runs);
	mem_free(in->held);
	mem_free(in->held_order);
	mem_free(in->ready);
}
