/* SPDX-License-Identifier: MIT */

/*
 * An association, in the mode of the RFC or in tunnel mode, fed with chunks of a hostile peer (header, tag and checksum are made
 * right, so that every byte of the input reaches the state machine), and with packets of an honest one, on a wire that the input
 * rules: it loses, repeats, reorders and changes what both say. The input is a list of steps:
 *
 *   first byte: 1 tunnel mode, 2 zero checksum, 4 not set up, 8 the honest peer stays, 16 and 32 limits of the sizes
 *   op 0-3  a packet: 2 bytes of length, the chunks     op 4   time passes (1 byte, powers of two)
 *   op 5    a message is sent (1 byte of options)       op 6   IP packets are sent (1 byte: how many)
 *   op 7    a stream is reset                           op 8   connect, shutdown, abort, tunnel mode, packet size
 *   op 9    the wire (1 byte, see wire_step())          op 10  the peer does one of 5 to 8 (2 bytes)
 *   op 11   the honest peer begins anew
 *
 * In packets the TSN fields of DATA, SACK and FORWARD-TSN are relative to what the association expects, else
 * nearly every one would be outside its window.
 */

#include "proto/sctp/assoc_impl.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PACKET_MAX 2048
#define WIRE_MAX   32
#define SIDES      2

/* Packets under way to one side; what does not fit is lost. */
struct wire {
	uint8_t data[WIRE_MAX][PACKET_MAX];
	size_t len[WIRE_MAX];
	unsigned count;
};

struct run_state {
	struct sctp *s;    /* the victim */
	struct sctp *peer; /* NULL: none */
	struct wire to[SIDES];
	uint64_t now_us;
	unsigned restarts;
	uint8_t mode;
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
	check(s->out.ring_count <= s->out.ring_cap || s->out.ring_count == 0);
	check(s->out.bytes <= SEND_BYTES);
	check(s->in.bytes <= RECEIVE_BYTES_HARD + PACKET_MAX);
	check(s->in.run_count <= RUNS_MAX && s->in.held_count <= HELD_MAX);
	check(s->in.high - s->in.cum < TSN_WINDOW);
	check(s->control_count <= CONTROL_MAX);
}

static void put_on_wire(struct wire *w, const struct batch *b)
{
	for (unsigned i = 0; i < b->count && w->count < WIRE_MAX; i++) {
		struct pkt p = batch_datagram(b, i);
		size_t rooms = (size_t)b->headroom + b->tailroom;

		check(p.len > rooms);
		if (p.len - rooms > PACKET_MAX)
			continue;
		memcpy(w->data[w->count], p.data + b->headroom, p.len - rooms);
		w->len[w->count++] = p.len - rooms;
	}
}

/* Takes all that one side has to give: messages, events, packets, which go on the wire to the other. */
static void drain_side(struct run_state *t, struct sctp *s, struct wire *to)
{
	struct sctp_msg msg[16];
	struct sctp_event event;
	static volatile uint8_t sink;
	size_t n;

	while ((n = sctp_recv(s, msg, 16)) > 0) {
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < msg[i].len; k++)
				sink = (uint8_t)(sink + msg[i].data[k]);
	}
	while (sctp_event(s, &event)) {
	}
	for (int i = 0; i < 1000; i++) {
		struct batch b = BATCH_INIT(t->train, sizeof(t->train), 21, 8);

		if (sctp_output(s, &b, t->now_us) == 0)
			return;
		check(b.len <= sizeof(t->train) && b.count <= BATCH_MAX_COUNT);
		put_on_wire(to, &b);
	}
	abort(); /* it never stops talking */
}

static void drain(struct run_state *t)
{
	drain_side(t, t->s, &t->to[1]);
	if (t->peer != NULL)
		drain_side(t, t->peer, &t->to[0]);
}

/* Gives the packet at `at` of the wire to its side. */
static void arrive(struct run_state *t, unsigned side, unsigned at)
{
	struct wire *w = &t->to[side];
	struct sctp *s = side == 0 ? t->s : t->peer;
	size_t n = w->len[at];

	if (s == NULL)
		return;
	/* An exact copy, so that a sanitizer sees a read past the end. */
	uint8_t *copy = malloc(n);
	check(copy != NULL);
	memcpy(copy, w->data[at], n);
	struct pkt in = {.data = copy, .len = n};
	sctp_input(s, &in, 1, t->now_us);
	drain(t);
	free(copy);
}

static void lose(struct wire *w, unsigned at)
{
	w->count--;
	for (unsigned i = at; i < w->count; i++) {
		memcpy(w->data[i], w->data[i + 1], w->len[i + 1]);
		w->len[i] = w->len[i + 1];
	}
}

/* Everything arrives, in order, until both are silent or talked long enough. */
static void let_talk(struct run_state *t, unsigned packets)
{
	for (unsigned i = 0; i < packets && t->to[0].count + t->to[1].count > 0; i++) {
		unsigned side = t->to[i & 1].count > 0 ? i & 1 : !(i & 1);

		arrive(t, side, 0);
		lose(&t->to[side], 0);
	}
}

/* Bit 0: the side; bits 1-3: what happens; the rest: to which packet. */
static void wire_step(struct run_state *t, uint8_t how, uint8_t mask)
{
	struct wire *w = &t->to[how & 1];
	unsigned at = w->count > 0 ? (how >> 4u) % w->count : 0;

	if ((how >> 1 & 7) == 4) {
		let_talk(t, 64);
		return;
	}
	if (w->count == 0)
		return;
	switch (how >> 1 & 7) {
	case 0:
	case 1:
		arrive(t, how & 1, at);
		lose(w, at);
		break;
	case 2:
		lose(w, at);
		break;
	case 3:
		arrive(t, how & 1, at); /* and stays: it will come twice */
		break;
	case 5:
		w->count = 0;
		break;
	case 6: /* changed, with a checksum that fits */
		w->data[at][(size_t)mask % w->len[at]] ^= (uint8_t)(1 << (mask & 7));
		packet_checksum_write(w->data[at], w->len[at]);
		break;
	default: /* cut */
		w->len[at] = GV_MAX((size_t)mask % w->len[at], (size_t)1);
		break;
	}
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

static void message(struct run_state *t, struct sctp *s, uint8_t how)
{
	static uint8_t data[5000];
	struct sctp_send_options o = {.stream = how & 3,
	                              .ppid = 53,
	                              .unordered = (how & 4) != 0,
	                              .reliability = (enum sctp_reliability)((how >> 3 & 3) % 3),
	                              .limit = how >> 6};

	int r = sctp_send(s, &o, data, (how & 32) != 0 ? sizeof(data) : 50, t->now_us);
	check(r >= 0);
}

static void ip_packets(struct run_state *t, struct sctp *s, struct wire *to, uint8_t how)
{
	static uint8_t bytes[3000];
	struct pkt in[64];
	struct batch b = BATCH_INIT(t->train, sizeof(t->train), 21, 8);
	int result;

	for (size_t i = 0; i < 64; i++)
		in[i] = (struct pkt){.data = bytes, .len = (how & 128) != 0 ? 1380 : how * 11u};
	(void)sctp_tunnel_send(s, 2, in, how % 64, &b, t->now_us, &result);
	check(b.len <= sizeof(t->train));
	put_on_wire(to, &b);
}

static uint64_t deadline(const struct run_state *t)
{
	uint64_t at_us = sctp_deadline_us(t->s);

	return t->peer != NULL ? GV_MIN(at_us, sctp_deadline_us(t->peer)) : at_us;
}

static void pass_time(struct run_state *t, uint8_t how)
{
	uint64_t until_us = t->now_us + (1ull << (how % 28));

	for (int i = 0; i < 100 && deadline(t) <= until_us; i++) {
		t->now_us = GV_MAX(t->now_us, deadline(t));
		sctp_timeout(t->s, t->now_us);
		if (t->peer != NULL)
			sctp_timeout(t->peer, t->now_us);
		drain(t);
	}
	t->now_us = until_us;
}

static void command(struct run_state *t, struct sctp *s, uint8_t how)
{
	switch (how % 8) {
	case 0:
		sctp_shutdown(s, t->now_us);
		break;
	case 1:
		sctp_abort(s, t->now_us);
		break;
	case 2:
		sctp_tunnel_start(s, 2, t->now_us);
		break;
	case 3:
		sctp_connect(s, t->now_us);
		break;
	default:
		sctp_set_max_packet_bytes(s, (uint16_t)(how * 16));
		break;
	}
}

/* What the owner of a side may do. */
static void own(struct run_state *t, struct sctp *s, struct wire *to, uint8_t op, uint8_t how)
{
	switch (op % 4) {
	case 0:
		message(t, s, how);
		break;
	case 1:
		ip_packets(t, s, to, how);
		break;
	case 2:
		check(sctp_reset_stream(s, how & 7, t->now_us) >= 0);
		break;
	default:
		command(t, s, how);
		break;
	}
	drain(t);
}

static struct sctp_config config_of(const struct run_state *t, uint64_t seed)
{
	return (struct sctp_config){.local_port = 5000,
	                            .remote_port = 5000,
	                            .max_packet_bytes = 1200,
	                            .max_message_bytes = (t->mode & 16) != 0 ? 3000 : 65536,
	                            .peer_max_message_bytes = (t->mode & 32) != 0 ? 2000 : 0,
	                            .zero_checksum = (t->mode & 2) != 0,
	                            .rng = rng_seeded(seed)};
}

/* Another process in the place of the peer: it has other tags and knows nothing. */
static void restart_peer(struct run_state *t)
{
	struct sctp_config config = config_of(t, 100 + t->restarts);

	if (t->peer == NULL || t->restarts++ == 4)
		return;
	sctp_free(t->peer);
	check(sctp_new(&t->peer, &config) == 0);
	sctp_connect(t->peer, t->now_us);
	drain(t);
}

/* Unless it is to begin closed, the victim is brought up by an honest peer, which may stay. */
static void begin(struct run_state *t, uint8_t mode)
{
	t->mode = mode;
	t->now_us = 1000000;
	t->restarts = 0;
	t->to[0].count = t->to[1].count = 0;
	struct sctp_config own_config = config_of(t, 1), peer_config = config_of(t, 2);
	check(sctp_new(&t->s, &own_config) == 0 && sctp_new(&t->peer, &peer_config) == 0);
	if ((mode & 4) == 0) {
		sctp_connect(t->peer, t->now_us);
		drain(t);
		let_talk(t, 16);
		check(sctp_is_up(t->s) && sctp_is_up(t->peer));
	}
	if ((mode & 1) != 0) {
		sctp_tunnel_start(t->s, 2, t->now_us);
		sctp_tunnel_start(t->peer, 2, t->now_us);
	}
	if ((mode & 8) == 0) {
		sctp_free(t->peer);
		t->peer = NULL;
	}
	drain(t);
}

static void step(struct run_state *t, struct bytes_reader *r)
{
	uint8_t op = bytes_read_u8(r) % 12, how;

	if (op < 4) {
		size_t n = GV_MIN((size_t)bytes_read_u16(r) % PACKET_MAX, r->left);

		packet(t, r->p, n);
		(void)bytes_read(r, n);
		return;
	}
	if (op == 11) {
		restart_peer(t);
		return;
	}
	how = bytes_read_u8(r);
	if (op == 4)
		pass_time(t, how);
	else if (op < 9)
		own(t, t->s, &t->to[1], op - 5, how);
	else if (op == 9)
		wire_step(t, how, (how >> 1 & 7) > 5 ? bytes_read_u8(r) : 0);
	else if (t->peer != NULL)
		own(t, t->peer, &t->to[0], how, bytes_read_u8(r));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run_state t;
	struct bytes_reader r = bytes_reader(data, size);

	begin(&t, bytes_read_u8(&r));
	for (int steps = 0; r.ok && r.left > 0 && steps < 200; steps++) {
		step(&t, &r);
		invariants(t.s);
		if (t.peer != NULL)
			invariants(t.peer);
	}
	drain(&t);
	sctp_free(t.s);
	sctp_free(t.peer);
	t.s = t.peer = NULL;
	return 0;
}
