/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

#define STREAM_SLOTS_FIRST 4
#define REPORT_BYTES_MAX   512

int sctp_new(struct sctp **out, const struct sctp_config *config)
{
	if (config->max_packet_bytes < SCTP_PACKET_BYTES_MIN ||
	    config->max_packet_bytes > SCTP_PACKET_BYTES_MAX || config->max_message_bytes == 0 ||
	    config->max_message_bytes > SCTP_MESSAGE_BYTES_MAX)
		return err_here(-EINVAL);
	struct sctp *s = mem_new(struct sctp);
	if (s == NULL)
		return err_here(-ENOMEM);
	s->config = *config;
	s->config.max_packet_bytes &= (uint16_t)~3u;
	for (int t = 0; t < TIMER_COUNT; t++)
		s->timers[t] = NEVER;
	rng_bytes(&s->config.rng, s->cookie_key, sizeof(s->cookie_key));
	*out = s;
	return 0;
}

void sctp_free(struct sctp *s)
{
	if (s == NULL)
		return;
	send_deinit(s);
	recv_deinit(s);
	reset_deinit(s);
	control_free(s);
	mem_free(s->cookie);
	mem_wipe(s->cookie_key, sizeof(s->cookie_key));
	mem_free(s);
}

void assoc_timer_start(struct sctp *s, enum assoc_timer t, uint64_t at_us)
{
	s->timers[t] = at_us;
}

void assoc_timer_stop(struct sctp *s, enum assoc_timer t)
{
	s->timers[t] = NEVER;
}

bool assoc_timer_runs(const struct sctp *s, enum assoc_timer t)
{
	return s->timers[t] != NEVER;
}

/* What was received stays readable; what was to be sent is gone, but for control that waits already. */
void assoc_end(struct sctp *s, enum sctp_down_reason reason)
{
	if (s->state == ASSOC_ENDED)
		return;
	s->state = ASSOC_ENDED;
	for (int t = 0; t < TIMER_COUNT; t++)
		s->timers[t] = NEVER;
	send_deinit(s);
	mem_free(s->cookie);
	s->cookie = NULL;
	s->event_down = true;
	s->down_reason = reason;
}

bool assoc_error(struct sctp *s)
{
	if (s->tunnel.on)
		return true; /* a dark path is ICE's business */
	if (++s->cc.errors <= ASSOC_RETRANSMITS)
		return true;
	assoc_end(s, SCTP_DOWN_TIMEOUT);
	return false;
}

uint16_t *assoc_stream_slot(uint16_t **table, uint32_t *count, uint16_t stream)
{
	if (stream >= *count) {
		uint32_t n = GV_MAX(*count * 2, (uint32_t)STREAM_SLOTS_FIRST);

		n = GV_MAX(n, stream + 1u);
		n = GV_MIN(n, SCTP_STREAMS_MAX + 1u);
		uint16_t *v = mem_resize(*table, n, sizeof(*v));
		if (v == NULL)
			return NULL;
		memset(v + *count, 0, (n - *count) * sizeof(*v));
		*table = v;
		*count = n;
	}
	return *table + stream;
}

void sctp_connect(struct sctp *s, uint64_t now_us)
{
	if (s->state == ASSOC_CLOSED)
		setup_start(s, now_us);
}

void sctp_shutdown(struct sctp *s, uint64_t now_us)
{
	shutdown_start(s, now_us);
}

void sctp_abort(struct sctp *s, uint64_t now_us)
{
	(void)now_us;
	if (s->state != ASSOC_ENDED)
		shutdown_abort(s, CAUSE_USER_ABORT, NULL, 0);
}

bool sctp_is_up(const struct sctp *s)
{
	return s->state == ASSOC_ESTABLISHED;
}

void sctp_set_max_packet_bytes(struct sctp *s, uint16_t bytes)
{
	unsigned most = GV_MIN((unsigned)bytes, (unsigned)SCTP_PACKET_BYTES_MAX);

	most = GV_MAX(most, (unsigned)SCTP_PACKET_BYTES_MIN);
	s->config.max_packet_bytes = (uint16_t)(most & ~3u);
	cc_set_mtu(s);
}

uint32_t sctp_srtt_us(const struct sctp *s)
{
	return s->cc.srtt_us;
}

const struct sctp_counters *sctp_counters(const struct sctp *s)
{
	return &s->counters;
}

int sctp_event(struct sctp *s, struct sctp_event *out)
{
	struct reset *r = &s->reset;

	*out = (struct sctp_event){0};
	if (s->event_restarted) {
		s->event_restarted = false;
		out->type = SCTP_EVENT_DOWN;
		out->reason = SCTP_DOWN_RESTARTED;
	} else if (s->event_up) {
		s->event_up = false;
		out->type = SCTP_EVENT_UP;
	} else if (r->event_head < r->event_count) {
		out->type = SCTP_EVENT_STREAM_RESET;
		out->stream = r->events[r->event_head++];
	} else if (s->event_writable) {
		s->event_writable = false;
		out->type = SCTP_EVENT_WRITABLE;
	} else if (s->event_down) {
		s->event_down = false;
		out->type = SCTP_EVENT_DOWN;
		out->reason = s->down_reason;
	} else {
		return 0;
	}
	return 1;
}

uint64_t sctp_deadline_us(const struct sctp *s)
{
	uint64_t at = NEVER;

	for (int t = 0; t < TIMER_COUNT; t++)
		at = GV_MIN(at, s->timers[t]);
	return at;
}

static void expire(struct sctp *s, enum assoc_timer t, uint64_t now_us)
{
	switch (t) {
	case TIMER_SETUP:
		setup_timeout(s, now_us);
		break;
	case TIMER_SHUTDOWN:
		shutdown_timeout(s, now_us);
		break;
	case TIMER_GUARD:
		shutdown_abort(s, CAUSE_USER_ABORT, NULL, 0);
		break;
	case TIMER_RTX:
		send_rtx_timeout(s, now_us);
		break;
	case TIMER_SACK:
		s->in.sack_due = true;
		break;
	case TIMER_HEARTBEAT:
		cc_heartbeat_timeout(s, now_us);
		break;
	case TIMER_RESET:
		reset_timeout(s, now_us);
		break;
	case TIMER_FORWARD:
		send_forward_timeout(s, now_us);
		break;
	case TIMER_GIVE_UP:
		tunnel_give_up_timeout(s, now_us);
		break;
	case TIMER_PROBE:
		tunnel_probe_timeout(s, now_us);
		break;
	case TIMER_FRAGMENTS:
		reasm_timeout(s, now_us);
		break;
	case TIMER_COUNT:
		break;
	}
}

void sctp_timeout(struct sctp *s, uint64_t now_us)
{
	for (int t = 0; t < TIMER_COUNT; t++) {
		if (s->timers[t] > now_us)
			continue;
		s->timers[t] = NEVER;
		expire(s, (enum assoc_timer)t, now_us);
	}
}

/* RFC 9260 3.2: the two high bits of an unknown type say whether to go on and whether to report. */
static bool unknown_chunk(struct sctp *s, const struct chunk *c)
{
	s->counters.bad_chunk++;
	if ((c->type & 0x40) != 0 && s->state >= ASSOC_ESTABLISHED) {
		uint8_t cause[REPORT_BYTES_MAX];
		struct bytes_writer w = bytes_writer(cause, sizeof(cause));
		size_t at = param_open(&w, CAUSE_UNRECOGNIZED_CHUNK);

		bytes_write(&w, c->body - CHUNK_HEADER_BYTES, CHUNK_HEADER_BYTES + c->len);
		param_close(&w, at);
		if (w.ok)
			control_chunk(s, CHUNK_ERROR, 0, cause, w.used);
	}
	return (c->type & 0x80) != 0;
}

static bool takes_data(const struct sctp *s)
{
	return s->state == ASSOC_ESTABLISHED || s->state == ASSOC_SHUTDOWN_PENDING ||
	       s->state == ASSOC_SHUTDOWN_SENT;
}

static bool takes_acks(const struct sctp *s)
{
	return s->state >= ASSOC_ESTABLISHED && s->state != ASSOC_ENDED;
}

/* Chunks of an association that is there. False: the rest of the packet must not be read. */
static bool input_established(struct sctp *s, const struct chunk *c, uint64_t now_us)
{
	switch (c->type) {
	case CHUNK_DATA:
		if (takes_data(s))
			recv_data(s, c, now_us);
		break;
	case CHUNK_FORWARD_TSN:
		if (!s->peer.forward_tsn)
			return unknown_chunk(s, c); /* it did not say that it knows RFC 3758 */
		if (takes_data(s))
			recv_forward(s, c, now_us);
		break;
	case CHUNK_SACK:
		/* One tells all, and each may cost a walk over everything in flight. */
		s->counters.bad_chunk += s->in.heard_sack;
		if (takes_acks(s) && !s->in.heard_sack)
			sack_input(s, c, now_us);
		s->in.heard_sack = true;
		break;
	case CHUNK_HEARTBEAT:
		/* RFC 9260 8.3: the side that sent INIT answers before COOKIE ACK, which may be lost. */
		if ((takes_acks(s) || s->state == ASSOC_COOKIE_ECHOED) && c->len > 0)
			control_chunk(s, CHUNK_HEARTBEAT_ACK, 0, c->body, c->len);
		break;
	case CHUNK_HEARTBEAT_ACK:
		cc_heartbeat_ack(s, c, now_us);
		break;
	case CHUNK_RE_CONFIG:
		if (takes_acks(s))
			reset_input(s, c, now_us);
		break;
	case CHUNK_SHUTDOWN:
		shutdown_chunk(s, c, now_us);
		break;
	default:
		return unknown_chunk(s, c);
	}
	return true;
}

/* One chunk. False: the rest of the packet must not be read. */
static bool input_chunk(struct sctp *s, const struct chunk *c, uint32_t tag, uint64_t now_us)
{
	switch (c->type) {
	case CHUNK_INIT:
		s->counters.bad_chunk++; /* INIT stands alone (RFC 9260 3.3.2) */
		return false;
	case CHUNK_INIT_ACK:
		setup_init_ack(s, c, now_us);
		return false;
	case CHUNK_COOKIE_ECHO:
		return setup_cookie_echo(s, c, tag, now_us);
	case CHUNK_COOKIE_ACK:
		setup_cookie_ack(s, now_us);
		break;
	case CHUNK_ERROR:
		setup_error(s, c, now_us);
		break;
	case CHUNK_ABORT:
		assoc_end(s, SCTP_DOWN_ABORTED);
		return false;
	case CHUNK_SHUTDOWN_ACK:
		shutdown_ack(s);
		break;
	case CHUNK_SHUTDOWN_COMPLETE:
		shutdown_complete(s);
		return false;
	default:
		return input_established(s, c, now_us);
	}
	return s->state != ASSOC_ENDED;
}

/* RFC 9260 8.5: which tag the first chunk asks for. COOKIE ECHO is judged by its cookie. */
static bool tag_ok(const struct sctp *s, uint32_t tag, const struct chunk *first)
{
	switch (first->type) {
	case CHUNK_COOKIE_ECHO:
		return true;
	case CHUNK_ABORT:
	case CHUNK_SHUTDOWN_COMPLETE:
		if ((first->flags & CHUNK_FLAG_T) != 0)
			return tag == s->peer.tag && s->peer.tag != 0;
		break;
	default:
		break;
	}
	return tag == s->my_tag;
}

/* RFC 9260 8.4, and 8.5.1 D for a SHUTDOWN ACK: the packet is of an association that is not there. */
static bool is_out_of_blue(const struct sctp *s, const struct chunk *first)
{
	switch (s->state) {
	case ASSOC_ENDED:
		return true;
	case ASSOC_CLOSED:
		return first->type != CHUNK_COOKIE_ECHO;
	case ASSOC_COOKIE_WAIT:
	case ASSOC_COOKIE_ECHOED:
		return first->type == CHUNK_SHUTDOWN_ACK;
	default:
		return false;
	}
}

/* RFC 9653 5.3: zero is right when we announced it, but never for INIT and COOKIE ECHO. */
static bool checksum_ok(struct sctp *s, const struct pkt *in, uint32_t told, uint8_t first_type)
{
	if (told == 0 && s->config.zero_checksum && first_type != CHUNK_INIT &&
	    first_type != CHUNK_COOKIE_ECHO)
		return true;
	if (packet_checksum_ok(in->data, in->len))
		return true;
	s->counters.bad_checksum++;
	return false;
}

static void input_packet(struct sctp *s, const struct pkt *in, bool more, uint64_t now_us)
{
	struct packet_header h;
	struct chunk c;

	s->counters.packets_in++;
	if (packet_header_read(in->data, in->len, &h) != CHUNK_OK ||
	    h.source != s->config.remote_port || h.destination != s->config.local_port) {
		s->counters.bad_packet++;
		return;
	}
	struct bytes_reader r =
		bytes_reader(in->data + SCTP_HEADER_BYTES, in->len - SCTP_HEADER_BYTES);
	if (chunk_next(&r, &c) != CHUNK_OK) {
		s->counters.bad_packet++;
		return;
	}
	if (!checksum_ok(s, in, h.checksum, c.type))
		return;
	if (c.type == CHUNK_INIT && h.tag == 0 && r.left == 0) {
		setup_init(s, &c, now_us);
		return;
	}
	if (is_out_of_blue(s, &c)) {
		s->counters.bad_packet += s->state != ASSOC_ENDED;
		shutdown_out_of_blue(s, h.tag, &c, r);
		return;
	}
	if (!tag_ok(s, h.tag, &c)) {
		s->counters.bad_packet++;
		return;
	}
	s->in.heard_data = false;
	s->in.heard_sack = false;
	for (;;) {
		if (!input_chunk(s, &c, h.tag, now_us))
			break;
		enum chunk_result result = chunk_next(&r, &c);
		s->counters.bad_packet += result == CHUNK_BAD;
		if (result != CHUNK_OK)
			break;
	}
	if (s->in.heard_data)
		recv_packet_end(s, more, now_us);
}

void sctp_input(struct sctp *s, const struct pkt *in, size_t n, uint64_t now_us)
{
	reasm_release_lent(s);
	/* What is acknowledged now opens it again. What is left stays: with nothing in flight nothing else would. */
	if (s->out.burst > MAX_BURST)
		s->out.burst = MAX_BURST;
	for (size_t i = 0; i < n; i++)
		input_packet(s, &in[i], i + 1 < n, now_us);
	if (takes_acks(s))
		recv_batch_end(s, now_us);
}
