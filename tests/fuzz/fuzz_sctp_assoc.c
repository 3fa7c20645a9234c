/* SPDX-License-Identifier: MIT */

/*
 * An established association, in the mode of the RFC or in tunnel mode, fed with chunks of a hostile peer: header,
 * tag and checksum are made right, so that every byte of the input reaches the state machine. The input is a list
 * of steps:
 *
 *   first byte: mode and set-up     then steps: op, then what it needs
 *   op 0-3  a packet: 2 bytes of length, the chunks     op 4  time passes (1 byte, powers of two)
 *   op 5    a message is sent (1 byte of options)       op 6  IP packets are sent (1 byte: how many)
 *   op 7    a stream is reset                           op 8  shutdown, abort or tunnel mode
 *
 * In packets the TSN fields of DATA, SACK and FORWARD-TSN are relative to what the association expects, else
 * nearly every one would be outside its window.
 */

#include "proto/sctp/assoc_impl.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PACKET_MAX 2048

struct run_state {
	struct sctp *s;
	uint64_t now_us;
	uint8_t train[65507];
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* What must hold whatever the peer does. */
static void invariants(const struct sctp *s)
{
	uint32_t flight = 0;

	for (uint32_t i = 0; i < s->out.ring_count; i++) {
		const struct out_chunk *c = send_at(s, i);

		flight += c->state == OUT_IN_FLIGHT ? c->len : 0;
		check(!tsn_before(s->out.next_tsn, c->tsn) && tsn_before(s->out.cum_ack, c->tsn));
		check(i == 0 || tsn_before(send_at(s, i - 1)->tsn, c->tsn));
	}
	check(flight == s->out.flight);
	check(s->out.bytes <= SEND_BYTES);
	check(s->in.bytes <= RECEIVE_BYTES_HARD + PACKET_MAX);
	check(s->in.run_count <= RUNS_MAX && s->in.held_count <= HELD_MAX);
	check(s->in.high - s->in.cum < TSN_WINDOW);
	check(s->control_count <= CONTROL_MAX);
}

static void drain(struct run_state *t)
{
	struct sctp_msg msg[16];
	struct sctp_event event;
	static volatile uint8_t sink;
	size_t n;

	while ((n = sctp_recv(t->s, msg, 16)) > 0) {
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < msg[i].len; k++)
				sink = (uint8_t)(sink + msg[i].data[k]);
	}
	while (sctp_event(t->s, &event)) {
	}
	for (int i = 0; i < 1000; i++) {
		struct batch b = BATCH_INIT(t->train, sizeof(t->train), 21, 8);

		if (sctp_output(t->s, &b, t->now_us) == 0)
			return;
		check(b.len <= sizeof(t->train) && b.count <= BATCH_MAX_COUNT);
	}
	abort(); /* it never stops talking */
}

static void make_relative(const struct sctp *s, uint8_t *p, size_t n)
{
	struct bytes_reader r = bytes_reader(p, n);
	struct chunk c;

	while (chunk_next(&r, &c) == CHUNK_OK) {
		uint8_t *body = p + (c.body - p);

		if (c.len < 4)
			continue;
		if (c.type == CHUNK_DATA || c.type == CHUNK_FORWARD_TSN)
			be32_store(body, be32_load(body) + s->in.cum);
		else if (c.type == CHUNK_SACK || c.type == CHUNK_SHUTDOWN)
			be32_store(body, be32_load(body) + s->out.cum_ack);
	}
}

static void packet(struct run_state *t, const uint8_t *p, size_t n)
{
	/* An exact copy, so that a sanitizer sees a read past the end. */
	uint8_t *copy = malloc(SCTP_HEADER_BYTES + n);
	struct packet_header h = {.source = 5000, .destination = 5000, .tag = t->s->my_tag};

	if (copy == NULL)
		return;
	if (n > 0)
		memcpy(copy + SCTP_HEADER_BYTES, p, n);
	if (n > 0 && copy[SCTP_HEADER_BYTES] == CHUNK_INIT)
		h.tag = 0;
	struct bytes_writer w = bytes_writer(copy, SCTP_HEADER_BYTES);
	packet_header_write(&w, &h);
	make_relative(t->s, copy + SCTP_HEADER_BYTES, n);
	packet_checksum_write(copy, SCTP_HEADER_BYTES + n);
	struct pkt in = {.data = copy, .len = SCTP_HEADER_BYTES + n};
	sctp_input(t->s, &in, 1, t->now_us);
	drain(t);
	free(copy);
}

static void message(struct run_state *t, uint8_t how)
{
	static uint8_t data[5000];
	struct sctp_send_options o = {.stream = how & 3,
	                              .ppid = 53,
	                              .unordered = (how & 4) != 0,
	                              .reliability = (enum sctp_reliability)((how >> 3 & 3) % 3),
	                              .limit = how >> 6};

	int r = sctp_send(t->s, &o, data, (how & 32) != 0 ? sizeof(data) : 50, t->now_us);
	check(r >= 0);
}

static void ip_packets(struct run_state *t, uint8_t how)
{
	static uint8_t bytes[3000];
	struct pkt in[64];
	struct batch b = BATCH_INIT(t->train, sizeof(t->train), 21, 8);
	int result;

	for (size_t i = 0; i < 64; i++)
		in[i] = (struct pkt){.data = bytes, .len = (how & 128) != 0 ? 1380 : how * 11u};
	(void)sctp_tunnel_send(t->s, 2, in, how % 64, &b, t->now_us, &result);
	check(b.len <= sizeof(t->train));
}

static void pass_time(struct run_state *t, uint8_t how)
{
	uint64_t until_us = t->now_us + (1ull << (how % 28));

	for (int i = 0; i < 200 && sctp_deadline_us(t->s) <= until_us; i++) {
		t->now_us = GV_MAX(t->now_us, sctp_deadline_us(t->s));
		sctp_timeout(t->s, t->now_us);
		drain(t);
	}
	t->now_us = until_us;
}

static void command(struct run_state *t, uint8_t how)
{
	switch (how % 8) {
	case 0:
		sctp_shutdown(t->s, t->now_us);
		break;
	case 1:
		sctp_abort(t->s, t->now_us);
		break;
	case 2:
		sctp_tunnel_start(t->s, 2, t->now_us);
		break;
	default:
		sctp_set_max_packet_bytes(t->s, (uint16_t)(how * 16));
		break;
	}
}

/* Brings it up by the short way: as if INIT and COOKIE ECHO had been exchanged. */
static bool begin(struct run_state *t, uint8_t mode)
{
	struct sctp_config config = {.local_port = 5000,
	                             .remote_port = 5000,
	                             .max_packet_bytes = 1200,
	                             .max_message_bytes = 65536,
	                             .zero_checksum = (mode & 2) != 0,
	                             .rng = rng_seeded(1)};
	struct sctp *peer = NULL;

	t->now_us = 1000000;
	if (sctp_new(&t->s, &config) != 0)
		return false;
	if ((mode & 4) != 0)
		return true; /* closed: set-up itself is fed */
	config.rng = rng_seeded(2);
	if (sctp_new(&peer, &config) != 0)
		return false;
	sctp_connect(peer, t->now_us);
	for (int i = 0; i < 6; i++) {
		struct sctp *from = i % 2 == 0 ? peer : t->s, *to = i % 2 == 0 ? t->s : peer;
		struct batch b = BATCH_INIT(t->train, sizeof(t->train), 0, 0);

		if (sctp_output(from, &b, t->now_us) == 0)
			continue;
		struct pkt in = batch_datagram(&b, 0);
		sctp_input(to, &in, 1, t->now_us);
	}
	sctp_free(peer);
	check(sctp_is_up(t->s));
	if ((mode & 1) != 0)
		sctp_tunnel_start(t->s, 2, t->now_us);
	drain(t);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run_state t;
	struct bytes_reader r = bytes_reader(data, size);

	t.s = NULL;
	if (!begin(&t, bytes_read_u8(&r)))
		return 0;
	for (int steps = 0; r.ok && r.left > 0 && steps < 300; steps++) {
		uint8_t op = bytes_read_u8(&r) % 9;

		if (op < 4) {
			size_t n = GV_MIN((size_t)bytes_read_u16(&r) % PACKET_MAX, r.left);

			packet(&t, r.p, n);
			(void)bytes_read(&r, n);
		} else if (op == 4) {
			pass_time(&t, bytes_read_u8(&r));
		} else if (op == 5) {
			message(&t, bytes_read_u8(&r));
		} else if (op == 6) {
			ip_packets(&t, bytes_read_u8(&r));
		} else if (op == 7) {
			check(sctp_reset_stream(t.s, bytes_read_u8(&r), t.now_us) >= 0);
		} else {
			command(&t, bytes_read_u8(&r));
		}
		invariants(t.s);
	}
	drain(&t);
	sctp_free(t.s);
	return 0;
}
