/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

/* RFC 9260 9.2: T5 bounds the whole of it; the recommended value is five times RTO.Max. */
#define GUARD_US (5 * (uint64_t)RTO_MAX_US)

static void send_shutdown(struct sctp *s, uint64_t now_us)
{
	uint8_t cum[4];

	be32_store(cum, s->in.cum);
	control_chunk(s, CHUNK_SHUTDOWN, 0, cum, sizeof(cum));
	assoc_timer_start(s, TIMER_SHUTDOWN, now_us + cc_rto(s));
}

static void send_shutdown_ack(struct sctp *s, uint64_t now_us)
{
	control_chunk(s, CHUNK_SHUTDOWN_ACK, 0, NULL, 0);
	assoc_timer_start(s, TIMER_SHUTDOWN, now_us + cc_rto(s));
}

void shutdown_start(struct sctp *s, uint64_t now_us)
{
	if (s->state == ASSOC_ESTABLISHED) {
		s->state = ASSOC_SHUTDOWN_PENDING;
		s->shutdown_tries = 0;
		assoc_timer_start(s, TIMER_GUARD, now_us + GUARD_US);
		shutdown_check(s, now_us);
	} else if (s->state < ASSOC_ESTABLISHED) {
		assoc_end(s, SCTP_DOWN_SHUTDOWN); /* nothing to save yet */
	}
}

void shutdown_check(struct sctp *s, uint64_t now_us)
{
	if (!send_is_empty(s))
		return;
	if (s->state == ASSOC_SHUTDOWN_PENDING) {
		s->state = ASSOC_SHUTDOWN_SENT;
		send_shutdown(s, now_us);
	} else if (s->state == ASSOC_SHUTDOWN_RECEIVED) {
		s->state = ASSOC_SHUTDOWN_ACK_SENT;
		send_shutdown_ack(s, now_us);
	}
}

void shutdown_data_came(struct sctp *s, uint64_t now_us)
{
	if (s->state == ASSOC_SHUTDOWN_SENT)
		send_shutdown(s, now_us);
}

/* T2 */
void shutdown_timeout(struct sctp *s, uint64_t now_us)
{
	if (++s->shutdown_tries > ASSOC_RETRANSMITS) {
		assoc_end(s, SCTP_DOWN_TIMEOUT);
		return;
	}
	if (s->cc.backoff < ASSOC_RETRANSMITS)
		s->cc.backoff++;
	if (s->state == ASSOC_SHUTDOWN_SENT)
		send_shutdown(s, now_us);
	else if (s->state == ASSOC_SHUTDOWN_ACK_SENT)
		send_shutdown_ack(s, now_us);
}

void shutdown_chunk(struct sctp *s, const struct chunk *c, uint64_t now_us)
{
	if (c->len != 4) {
		s->counters.bad_chunk++;
		return;
	}
	switch (s->state) {
	case ASSOC_ESTABLISHED:
	case ASSOC_SHUTDOWN_PENDING:
		s->state = ASSOC_SHUTDOWN_RECEIVED;
		s->shutdown_tries = 0;
		assoc_timer_start(s, TIMER_GUARD, now_us + GUARD_US);
		sack_cum_input(s, be32_load(c->body), now_us);
		shutdown_check(s, now_us);
		break;
	case ASSOC_SHUTDOWN_RECEIVED:
		sack_cum_input(s, be32_load(c->body), now_us);
		shutdown_check(s, now_us);
		break;
	case ASSOC_SHUTDOWN_SENT:
		s->state = ASSOC_SHUTDOWN_ACK_SENT; /* both at once */
		send_shutdown_ack(s, now_us);
		break;
	case ASSOC_SHUTDOWN_ACK_SENT:
		send_shutdown_ack(s, now_us);
		break;
	case ASSOC_CLOSED:
	case ASSOC_COOKIE_WAIT:
	case ASSOC_COOKIE_ECHOED:
	case ASSOC_ENDED:
		break;
	}
}

/* A chunk without a body, alone in its packet. */
static void send_bare(struct sctp *s, uint8_t type, uint8_t flags, uint32_t tag)
{
	struct control *c = control_new(s, tag, CHUNK_HEADER_BYTES);

	if (c == NULL)
		return;
	struct bytes_writer w = bytes_writer(c->bytes, CHUNK_HEADER_BYTES);
	chunk_close(&w, chunk_open(&w, type, flags));
	c->alone = true;
	c->checksum = true;
	control_commit(s, c, &w);
}

void shutdown_ack(struct sctp *s)
{
	if (s->state != ASSOC_SHUTDOWN_SENT && s->state != ASSOC_SHUTDOWN_ACK_SENT)
		return;
	assoc_end(s, SCTP_DOWN_SHUTDOWN);
	s->agreed_end = true;
	send_bare(s, CHUNK_SHUTDOWN_COMPLETE, 0, s->peer.tag);
}

void shutdown_out_of_blue(struct sctp *s, uint32_t tag, const struct chunk *first,
                          struct bytes_reader rest)
{
	struct chunk c = *first;

	/* Its own tag comes back (the T bit), for we have no other. */
	if (c.type == CHUNK_SHUTDOWN_ACK) {
		send_bare(s, CHUNK_SHUTDOWN_COMPLETE, CHUNK_FLAG_T, tag);
		return;
	}
	/* Of an association that both have ended, packets may still be late. An ABORT could overtake the end. */
	if (s->agreed_end)
		return;
	do {
		switch (c.type) {
		case CHUNK_ABORT: /* two ends without an association must not go on for ever */
		case CHUNK_SHUTDOWN_COMPLETE:
		case CHUNK_ERROR:
		case CHUNK_COOKIE_ACK:
		case CHUNK_INIT:
		case CHUNK_INIT_ACK:
			return;
		default:
			break;
		}
	} while (chunk_next(&rest, &c) == CHUNK_OK);
	send_bare(s, CHUNK_ABORT, CHUNK_FLAG_T, tag);
}

void shutdown_complete(struct sctp *s)
{
	if (s->state != ASSOC_SHUTDOWN_ACK_SENT)
		return;
	assoc_end(s, SCTP_DOWN_SHUTDOWN);
	s->agreed_end = true;
}

void shutdown_abort(struct sctp *s, enum chunk_cause cause, const void *body, size_t len)
{
	uint32_t tag = s->peer.tag;
	size_t size = CHUNK_HEADER_BYTES + PARAM_HEADER_BYTES + chunk_padded(len);

	assoc_end(s, SCTP_DOWN_ABORTED);
	if (tag == 0)
		return; /* there is no peer to tell */
	struct control *c = control_new(s, tag, size);
	if (c == NULL)
		return;
	struct bytes_writer w = bytes_writer(c->bytes, size);
	size_t at = chunk_open(&w, CHUNK_ABORT, 0);
	param_write(&w, (uint16_t)cause, body, len);
	chunk_close(&w, at);
	c->checksum = true;
	control_commit(s, c, &w);
}
