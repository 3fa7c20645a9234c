/* SPDX-License-Identifier: MIT */

/*
 * What tunnel mode of proto/sctp costs: ns per IP packet of sctp_tunnel_send() and of sctp_input() with
 * sctp_recv(), SACKs included, in one thread and without a network. One JSON line per case.
 */

#include "base/clock.h"
#include "proto/sctp/sctp.h"

#include <stdio.h>
#include <stdlib.h>

#define TRAIN    44
#define ROUNDS   7
#define TRAINS   20000
#define ROOM_IN  21
#define ROOM_OUT 8

static uint8_t train_bytes[2][65536], payload[65536];
static uint64_t now_us = 1000000;

static struct sctp *make(uint64_t seed, bool zero_checksum)
{
	struct sctp_config config = {.local_port = 5000,
	                             .remote_port = 5000,
	                             .max_packet_bytes = 1432,
	                             .max_message_bytes = SCTP_MESSAGE_BYTES_MAX,
	                             .zero_checksum = zero_checksum,
	                             .rng = rng_seeded(seed)};
	struct sctp *s = NULL;

	if (sctp_new(&s, &config) != 0)
		exit(1);
	return s;
}

static size_t split(const struct batch *b, struct pkt *out)
{
	for (unsigned i = 0; i < b->count; i++) {
		struct pkt d = batch_datagram(b, i);

		out[i] = (struct pkt){.data = d.data + ROOM_IN, .len = d.len - ROOM_IN - ROOM_OUT};
	}
	return b->count;
}

static size_t take(struct sctp *s)
{
	struct sctp_msg msg[64];
	struct sctp_event event;
	size_t n = 0, k;

	while ((k = sctp_recv(s, msg, 64)) > 0)
		n += k;
	while (sctp_event(s, &event)) {
	}
	return n;
}

/* Control from one to the other, until there is none. */
static void talk(struct sctp *from, struct sctp *to)
{
	struct pkt in[BATCH_MAX_COUNT];

	for (;;) {
		struct batch b =
			BATCH_INIT(train_bytes[1], sizeof(train_bytes[1]), ROOM_IN, ROOM_OUT);

		if (sctp_output(from, &b, now_us) == 0)
			return;
		sctp_input(to, in, split(&b, in), now_us);
		(void)take(to);
	}
}

static void run(const char *name, size_t bytes, bool zero_checksum)
{
	struct sctp *a = make(1, zero_checksum), *b = make(2, zero_checksum);
	double best_send = 1e9, best_receive = 1e9;
	struct pkt in[TRAIN], wire[BATCH_MAX_COUNT];
	int result;

	sctp_connect(a, now_us);
	for (int i = 0; i < 8; i++) {
		talk(a, b);
		talk(b, a);
	}
	sctp_tunnel_start(a, 2, now_us);
	sctp_tunnel_start(b, 2, now_us);
	for (size_t i = 0; i < TRAIN; i++)
		in[i] = (struct pkt){.data = payload + i * 1380, .len = bytes};
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t send_us = 0, receive_us = 0, got = 0;

		for (int t = 0; t < TRAINS; t++) {
			struct batch out = BATCH_INIT(train_bytes[0], sizeof(train_bytes[0]),
			                              ROOM_IN, ROOM_OUT);
			uint64_t t0 = clock_now_us();
			size_t sent = sctp_tunnel_send(a, 2, in, TRAIN, &out, now_us, &result);
			uint64_t t1 = clock_now_us();
			size_t n = split(&out, wire);

			sctp_input(b, wire, n, now_us);
			got += take(b);
			talk(b, a);
			uint64_t t2 = clock_now_us();
			send_us += t1 - t0;
			receive_us += t2 - t1;
			if (sent != TRAIN || result != 0)
				exit(1);
			now_us += 50;
		}
		if (got != (uint64_t)TRAINS * TRAIN)
			exit(1);
		best_send = GV_MIN(best_send, (double)send_us * 1000 / (double)got);
		best_receive = GV_MIN(best_receive, (double)receive_us * 1000 / (double)got);
	}
	printf("{\"bench\":\"sctp\",\"case\":\"%s\",\"bytes\":%zu,\"send_ns\":%.1f,\"receive_ns\":%.1f}\n",
	       name, bytes, best_send, best_receive);
	sctp_free(a);
	sctp_free(b);
}

int main(void)
{
	run("zero checksum", 1380, true);
	run("crc32c", 1380, false);
	run("zero checksum, bundled", 64, true);
	run("crc32c, bundled", 64, false);
	return 0;
}
