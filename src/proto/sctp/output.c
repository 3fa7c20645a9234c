/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

#include "base/mem.h"

struct control *control_new(struct sctp *s, uint32_t tag, size_t max_bytes)
{
	if (s->control_count >= CONTROL_MAX || max_bytes > s->config.max_packet_bytes)
		return NULL;
	struct control *c = mem_alloc(1, sizeof(*c) + max_bytes);
	if (c == NULL)
		return NULL;
	c->tag = tag;
	return c;
}

void control_commit(struct sctp *s, struct control *c, const struct bytes_writer *w)
{
	if (!w->ok || SCTP_HEADER_BYTES + w->used > s->config.max_packet_bytes) {
		mem_free(c);
		return;
	}
	c->len = (uint16_t)w->used;
	c->next = NULL;
	if (s->control_last != NULL)
		s->control_last->next = c;
	else
		s->control_first = c;
	s->control_last = c;
	s->control_count++;
}

void control_chunk(struct sctp *s, uint8_t type, uint8_t flags, const void *body, size_t len)
{
	size_t size = CHUNK_HEADER_BYTES + chunk_padded(len);
	struct control *c = control_new(s, s->peer.tag, size);

	if (c == NULL)
		return;
	struct bytes_writer w = bytes_writer(c->bytes, size);
	size_t at = chunk_open(&w, type, flags);
	if (len > 0)
		bytes_write(&w, body, len);
	chunk_close(&w, at);
	control_commit(s, c, &w);
}

static void control_pop(struct sctp *s)
{
	struct control *c = s->control_first;

	s->control_first = c->next;
	if (s->control_first == NULL)
		s->control_last = NULL;
	s->control_count--;
	mem_free(c);
}

void control_free(struct sctp *s)
{
	while (s->control_first != NULL)
		control_pop(s);
}

/* Control chunks of one tag, as many as fit. Tells whether something else may share the packet. */
static bool write_control(struct sctp *s, struct bytes_writer *w, bool *checksum)
{
	uint32_t tag = s->control_first->tag;
	bool others = tag == s->peer.tag && s->state >= ASSOC_ESTABLISHED;

	for (bool first = true; s->control_first != NULL; first = false) {
		const struct control *c = s->control_first;

		if (c->tag != tag || c->len > w->size - w->used || (c->alone && !first))
			break;
		bool alone = c->alone;
		bytes_write(w, c->bytes, c->len);
		*checksum |= c->checksum;
		control_pop(s);
		if (alone)
			return false;
	}
	return others;
}

static bool may_send_data(const struct sctp *s)
{
	return s->state == ASSOC_ESTABLISHED || s->state == ASSOC_SHUTDOWN_PENDING ||
	       s->state == ASSOC_SHUTDOWN_RECEIVED;
}

/* Everything that is due and fits, control before data (RFC 9260 6.10). False: nothing was written. */
static bool write_packet(struct sctp *s, struct bytes_writer *w, bool *checksum, uint64_t now_us)
{
	struct packet_header h = {.source = s->config.local_port,
	                          .destination = s->config.remote_port,
	                          .tag = s->control_first != NULL ? s->control_first->tag
	                                                          : s->peer.tag};
	bool others = s->state >= ASSOC_ESTABLISHED && s->state != ASSOC_ENDED;

	packet_header_write(w, &h);
	if (s->control_first != NULL)
		others &= write_control(s, w, checksum);
	if (others) {
		/* One that is delayed rides with DATA (RFC 9260 6.1). */
		bool rides = assoc_timer_runs(s, TIMER_SACK) && may_send_data(s) && send_is_due(s);

		if (s->in.sack_due || rides)
			(void)recv_write_sack(s, w, now_us); /* else it stays due */
		/* Without room it is the first of another packet: data would only push it further back. */
		if (s->out.forward_due && !send_forward(s, w, now_us))
			return w->used > SCTP_HEADER_BYTES;
		bool data = may_send_data(s) && send_data(s, w, now_us);
		/* Looking for data may have given up some whose time was over; control never follows DATA. */
		if (!data && s->out.forward_due)
			(void)send_forward(s, w, now_us);
	}
	return w->used > SCTP_HEADER_BYTES;
}

/* Writes the next packet at the end of the train. False when there is none, or it cannot join the train. */
static bool output_packet(struct sctp *s, struct batch *out, uint64_t now_us)
{
	size_t rooms = (size_t)out->headroom + out->tailroom;
	size_t limit = s->config.max_packet_bytes;

	if (out->count > 0) {
		if (out->last_size != out->size || out->count == BATCH_MAX_COUNT)
			return false;
		limit = GV_MIN(limit, out->size - rooms);
	}
	if (out->len + rooms + limit > GV_MIN(out->cap, (size_t)BATCH_MAX_BYTES))
		return false;
	if (limit < SCTP_HEADER_BYTES + CHUNK_HEADER_BYTES)
		return false;
	/* One that was made for larger packets than the path has now would hold up all others. */
	if (s->control_first != NULL &&
	    SCTP_HEADER_BYTES + s->control_first->len > s->config.max_packet_bytes)
		control_pop(s);

	/* In place, where batch_reserve() will put it. */
	uint8_t *p = out->data + out->len + out->headroom;
	struct bytes_writer w = bytes_writer(p, limit);
	bool checksum = false;
	if (!write_packet(s, &w, &checksum, now_us))
		return false;
	if (checksum || !s->use_zero_checksum || s->state < ASSOC_ESTABLISHED)
		packet_checksum_write(p, w.used);
	(void)batch_reserve(out, w.used); /* fits: the limits above are its own */
	s->counters.packets_out++;
	return true;
}

size_t sctp_output(struct sctp *s, struct batch *out, uint64_t now_us)
{
	uint16_t before = out->count;

	/* The last message that a shutdown or a stream reset waited for may be one of them, and nothing else tells. */
	if (may_send_data(s) && send_expire(s, now_us)) {
		reset_check(s, now_us);
		shutdown_check(s, now_us);
	}
	while (output_packet(s, out, now_us)) {
	}
	return (size_t)(out->count - before);
}
