/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

/*
 * Stream reset (RFC 6525), of which WebRTC uses one kind: each side resets its outgoing streams (RFC 8831 6.7).
 * One request is under way at a time; its streams are the first `picked` of the wanted ones. Requests to reset
 * our own outgoing streams, all TSNs, or to add streams are denied, as the RFC allows.
 *
 * It is made when the peer has acknowledged what was sent before, so that it need not be deferred there: usrsctp 0.9.5
 * aborts or loses messages of other streams that come in the meantime. For the same reason its "last assigned TSN" is
 * the one of the time when its streams had nothing left to send, which is all that the number is for.
 *
 * A peer that lacks data answers "in progress". Some (dcSCTP) give that answer to every repetition of the number and
 * want a new one, others (usrsctp) keep the request and answer for its number later: so we take an answer for the
 * number as long as the timer runs, and then ask under the next one.
 */

#define EVENTS_FIRST  8
#define WANTED_FIRST  8
#define REQUEST_FIXED 12 /* sequence numbers and last TSN */
#define BACKOFF_MAX   6u

void reset_init(struct sctp *s)
{
	/* RFC 6525 4.1: sequence numbers begin where the TSNs do. */
	s->reset = (struct reset){.my_sequence = s->my_tsn,
	                          .peer_sequence = s->peer.tsn,
	                          .last_result = RESET_BAD_SEQUENCE};
}

void reset_deinit(struct sctp *s)
{
	mem_free(s->reset.wanted);
	mem_free(s->reset.events);
	s->reset = (struct reset){0};
}

bool reset_is_wanted(const struct sctp *s, uint16_t stream)
{
	for (uint32_t i = 0; i < s->reset.wanted_count; i++)
		if (s->reset.wanted[i] == stream)
			return true;
	return false;
}

static void send_request(struct sctp *s, uint64_t now_us)
{
	struct reset *r = &s->reset;
	size_t size = CHUNK_HEADER_BYTES + PARAM_HEADER_BYTES + REQUEST_FIXED +
	              chunk_padded((size_t)r->asked * 2);
	struct control *c = control_new(s, s->peer.tag, size);

	uint64_t rto = cc_rto(s), most = GV_MAX((uint64_t)s->cc.max_us, rto);
	rto <<= GV_MIN((unsigned)r->tries, BACKOFF_MAX);
	assoc_timer_start(s, TIMER_RESET, now_us + GV_MIN(rto, most));
	if (c == NULL)
		return;
	struct bytes_writer w = bytes_writer(c->bytes, size);
	size_t at = chunk_open(&w, CHUNK_RE_CONFIG, 0);
	size_t param = param_open(&w, PARAM_RESET_OUTGOING);
	bytes_write_u32(&w, r->my_sequence);
	bytes_write_u32(&w, r->peer_sequence - 1);
	bytes_write_u32(&w, r->last_tsn);
	for (uint32_t i = 0; i < r->asked; i++)
		bytes_write_u16(&w, r->wanted[i]);
	be16_store(w.p + param + 2, (uint16_t)(w.used - param));
	chunk_close(&w, at);
	control_commit(s, c, &w);
}

void reset_check(struct sctp *s, uint64_t now_us)
{
	struct reset *r = &s->reset;
	size_t room = s->config.max_packet_bytes - SCTP_HEADER_BYTES - CHUNK_HEADER_BYTES -
	              PARAM_HEADER_BYTES - REQUEST_FIXED;

	if (r->asked > 0 || r->wanted_count == 0 || s->state != ASSOC_ESTABLISHED)
		return;
	bool pick = r->picked == 0;
	if (pick)
		r->last_tsn = s->out.next_tsn - 1;
	/* Those with nothing left to send come to the front. */
	for (uint32_t i = 0; pick && i < r->wanted_count && r->picked < room / 2; i++) {
		uint16_t stream = r->wanted[i];

		if (send_has_stream(s, stream))
			continue;
		r->wanted[i] = r->wanted[r->picked];
		r->wanted[r->picked++] = stream;
	}
	if (r->picked == 0 || tsn_before(s->out.cum_ack, r->last_tsn))
		return;
	r->asked = r->picked;
	r->tries = 0;
	send_request(s, now_us);
}

int sctp_reset_stream(struct sctp *s, uint16_t stream, uint64_t now_us)
{
	struct reset *r = &s->reset;

	if (s->state != ASSOC_ESTABLISHED)
		return SCTP_NOT_UP;
	if (stream >= s->out_streams || !s->peer.reconfig)
		return SCTP_BAD_STREAM;
	if (reset_is_wanted(s, stream))
		return SCTP_OK;
	if (r->wanted_count == RESET_STREAMS_MAX)
		return SCTP_FULL;
	if (r->wanted_count == r->wanted_cap) {
		uint32_t cap = r->wanted_cap > 0 ? r->wanted_cap * 2 : WANTED_FIRST;
		uint16_t *v = mem_resize(r->wanted, cap, sizeof(*v));

		if (v == NULL)
			return err_here(-ENOMEM);
		r->wanted = v;
		r->wanted_cap = cap;
	}
	r->wanted[r->wanted_count++] = stream;
	reset_check(s, now_us);
	return SCTP_OK;
}

void reset_timeout(struct sctp *s, uint64_t now_us)
{
	if (s->reset.asked == 0 || s->state != ASSOC_ESTABLISHED)
		return;
	if (s->reset.tries > 0 && !assoc_error(s))
		return;
	if (s->reset.tries < UINT8_MAX)
		s->reset.tries++;
	s->reset.my_sequence += s->reset.again;
	s->reset.again = false;
	send_request(s, now_us);
}

/* The peer's answer to our request. */
static void take_response(struct sctp *s, const struct param *p, uint64_t now_us)
{
	struct reset *r = &s->reset;

	if (p->len < 8) {
		s->counters.bad_chunk++;
		return;
	}
	uint32_t result = be32_load(p->body + 4);
	if (r->asked == 0 || be32_load(p->body) != r->my_sequence)
		return; /* of an older request */
	s->cc.errors = 0;
	if (result == RESET_IN_PROGRESS) {
		r->tries = 0; /* it lacks data; the timer asks again */
		r->again = true;
		assoc_timer_start(s, TIMER_RESET, now_us + cc_rto(s));
		return;
	}
	bool done = result == RESET_PERFORMED || result == RESET_NOTHING;
	s->counters.bad_chunk += !done;
	for (uint32_t i = 0; done && i < r->asked; i++)
		if (r->wanted[i] < s->out.ssn_count)
			s->out.ssn[r->wanted[i]] = 0;
	r->wanted_count -= r->asked;
	memmove(r->wanted, r->wanted + r->asked, r->wanted_count * sizeof(r->wanted[0]));
	r->asked = r->picked = 0;
	r->again = false;
	r->my_sequence++;
	assoc_timer_stop(s, TIMER_RESET);
	reset_check(s, now_us);
}

static bool event_room(struct sctp *s, size_t n)
{
	struct reset *r = &s->reset;

	if (r->event_head == r->event_count)
		r->event_head = r->event_count = 0;
	if (r->event_count + n > RESET_EVENTS_MAX)
		return false;
	uint32_t cap = r->event_cap > 0 ? r->event_cap : EVENTS_FIRST;
	while (cap < r->event_count + n)
		cap *= 2;
	if (cap == r->event_cap)
		return true;
	uint16_t *v = mem_resize(r->events, cap, sizeof(*v));
	if (v == NULL)
		return false;
	r->events = v;
	r->event_cap = cap;
	return true;
}

static void reset_incoming(struct sctp *s, uint16_t stream)
{
	reasm_stream_reset(s, stream);
	s->reset.events[s->reset.event_count++] = stream;
}

/* RFC 6525 5.2.2. Without streams in the list, all that were used are meant. */
static uint32_t perform(struct sctp *s, const struct param *p)
{
	size_t n = (p->len - REQUEST_FIXED) / 2;
	const uint8_t *list = p->body + REQUEST_FIXED;

	if (tsn_before(s->in.cum, be32_load(p->body + 8)))
		return RESET_IN_PROGRESS;
	for (size_t i = 0; i < n; i++)
		if (be16_load(list + i * 2) >= s->in_streams)
			return RESET_WRONG_SSN;
	size_t events = n > 0 ? n : s->in.ssn_count;
	if (events > RESET_EVENTS_MAX)
		return RESET_DENIED; /* a small packet must not make work without end */
	if (!event_room(s, events))
		return RESET_IN_PROGRESS; /* the owner is behind, the peer asks again */
	if (n == 0)
		for (size_t i = 0; i < events; i++)
			reset_incoming(s, (uint16_t)i);
	for (size_t i = 0; i < n; i++)
		reset_incoming(s, be16_load(list + i * 2));
	return RESET_PERFORMED;
}

static void respond(struct sctp *s, uint32_t sequence, uint32_t result)
{
	uint8_t body[12];

	be16_store(body, PARAM_RESET_RESPONSE);
	be16_store(body + 2, sizeof(body));
	be32_store(body + 4, sequence);
	be32_store(body + 8, result);
	control_chunk(s, CHUNK_RE_CONFIG, 0, body, sizeof(body));
}

static void take_request(struct sctp *s, const struct param *p)
{
	struct reset *r = &s->reset;
	size_t fixed = p->type == PARAM_RESET_OUTGOING ? REQUEST_FIXED : 4;

	if (p->len < fixed) {
		s->counters.bad_chunk++;
		return;
	}
	uint32_t sequence = be32_load(p->body);
	if (sequence == r->peer_sequence - 1) {
		respond(s, sequence, r->last_result); /* our answer was lost */
		return;
	}
	/* Some peers ask again under the next number when they were told to wait. */
	if (r->waiting && sequence == r->peer_sequence + 1)
		r->peer_sequence = sequence;
	if (sequence != r->peer_sequence) {
		/* One from the past may just be late. */
		s->counters.bad_chunk += tsn_before(r->peer_sequence, sequence);
		respond(s, sequence, RESET_BAD_SEQUENCE);
		return;
	}
	uint32_t result = RESET_DENIED;
	bool waited = r->waiting;
	if (p->type == PARAM_RESET_OUTGOING) {
		uint32_t sum = crc32c(p->body + 8, p->len - 8);

		/* It was performed under the number before, and the answer to that was lost. */
		if (r->late && r->late_sum == sum)
			result = RESET_NOTHING;
		else
			result = perform(s, p);
		r->late = result == RESET_NOTHING || (waited && result == RESET_PERFORMED);
		r->late_sum = sum;
	}
	r->waiting = result == RESET_IN_PROGRESS;
	if (!r->waiting) {
		r->peer_sequence++;
		r->last_result = result;
	}
	respond(s, sequence, result);
}

void reset_input(struct sctp *s, const struct chunk *c, uint64_t now_us)
{
	struct bytes_reader r = bytes_reader(c->body, c->len);
	struct param p;

	/* RFC 6525 3.1: at most two. */
	for (int i = 0; i < 2 && param_next(&r, &p) == CHUNK_OK; i++) {
		switch (p.type) {
		case PARAM_RESET_RESPONSE:
			take_response(s, &p, now_us);
			break;
		case PARAM_RESET_OUTGOING:
		case PARAM_RESET_INCOMING:
		case PARAM_RESET_ALL:
		case PARAM_ADD_OUTGOING:
		case PARAM_ADD_INCOMING:
			take_request(s, &p);
			break;
		default:
			s->counters.bad_chunk++;
			break;
		}
	}
}
