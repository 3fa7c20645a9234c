/* SPDX-License-Identifier: MIT */

/*
 * Every packet of the life of an association, cut and changed at every byte (tests/support/damage.h), in the place of the right
 * one: both ends live on or end, within the time a packet may take. Of long payloads, whose bytes are all alike, the inside is
 * left out unless GOVPN_LONG=1.
 */

#include "hand.h"
#include "tests/support/damage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PACKETS_MAX 64
#define PACKET_MAX  2048

/* Both ends, and a wire that spoils one packet. */
struct life {
	struct sctp *end[2];
	uint64_t now_us;
	unsigned number; /* of packets so far */
	unsigned spoilt; /* the packet that is spoilt, from 0 */
	size_t variant;  /* how; SIZE_MAX: not at all */
	size_t len[PACKETS_MAX];
	uint64_t slowest_us;
};

static struct life life;

static void deliver(struct sctp *to, const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	struct sctp_msg msg[8];
	struct pkt in = {.data = copy, .len = n};

	assert_non_null(copy);
	if (n > 0)
		memcpy(copy, p, n);
	uint64_t begin_us = damage_clock_us();
	sctp_input(to, &in, 1, life.now_us);
	while (sctp_recv(to, msg, 8) > 0)
		;
	life.slowest_us = GV_MAX(life.slowest_us, damage_clock_us() - begin_us);
	free(copy);
}

static void pass_on(struct sctp *to, const uint8_t *p, size_t n)
{
	uint8_t out[PACKET_MAX];

	if (life.variant == SIZE_MAX && life.number < PACKETS_MAX)
		life.len[life.number] = n;
	if (life.number++ != life.spoilt || life.variant == SIZE_MAX) {
		deliver(to, p, n);
		return;
	}
	size_t len = damage_make(p, n, life.variant, out);
	/* Behind DTLS a checksum of zero is a right one, so that the change gets past it. */
	if (len >= SCTP_HEADER_BYTES)
		memset(out + 8, 0, 4);
	deliver(to, out, len);
}

static void talk(void)
{
	static uint8_t train[8192];
	struct sctp_event e;

	for (int round = 0; round < 40; round++) {
		size_t said = 0;

		for (int side = 0; side < 2; side++) {
			struct batch b = BATCH_INIT(train, sizeof(train), 0, 0);

			said += sctp_output(life.end[side], &b, life.now_us);
			for (unsigned i = 0; i < b.count; i++) {
				struct pkt p = batch_datagram(&b, i);

				pass_on(life.end[!side], p.data, p.len);
			}
			while (sctp_event(life.end[side], &e) == 1)
				;
		}
		if (said == 0)
			return;
	}
}

static void time_passes(uint64_t us)
{
	life.now_us += us;
	for (int side = 0; side < 2; side++)
		if (sctp_deadline_us(life.end[side]) <= life.now_us)
			sctp_timeout(life.end[side], life.now_us);
	talk();
}

static void say(int side, uint16_t stream, size_t n)
{
	static const uint8_t data[3000];
	const struct sctp_send_options o = {.stream = stream, .ppid = 53, .unordered = stream == 2};

	/* When the change has ended it, it says so. */
	assert_true(sctp_send(life.end[side], &o, data, n, life.now_us) >= 0);
}

/* Set-up, messages, fragments, a heartbeat, a reset, the end. */
static void live(unsigned spoilt, size_t variant)
{
	life = (struct life){.now_us = 1000000, .spoilt = spoilt, .variant = variant};
	for (unsigned side = 0; side < 2; side++) {
		const struct sctp_config c = {.local_port = 5000,
		                              .remote_port = 5000,
		                              .max_packet_bytes = 1188,
		                              .max_message_bytes = 65536,
		                              .zero_checksum = true,
		                              .rng = rng_seeded(side)};

		assert_int_equal(sctp_new(&life.end[side], &c), 0);
	}
	sctp_connect(life.end[0], life.now_us);
	talk();
	say(0, 1, 20);
	say(1, 2, 10);
	talk();
	say(0, 1, 1400); /* two fragments */
	talk();
	time_passes(300000);
	assert_true(sctp_reset_stream(life.end[0], 1, life.now_us) >= 0);
	talk();
	time_passes(31000000);
	sctp_shutdown(life.end[1], life.now_us);
	talk();
	time_passes(1000000);
	for (unsigned side = 0; side < 2; side++)
		sctp_free(life.end[side]);
}

static void sctp_packet_damaged_anywhere_ends_nothing_but_itself(void **state)
{
	bool all = getenv("GOVPN_LONG") != NULL;
	size_t len[PACKETS_MAX], runs = 0;

	(void)state;
	live(0, SIZE_MAX);
	unsigned packets = life.number;
	assert_in_range(packets, 12, PACKETS_MAX);
	memcpy(len, life.len, sizeof(len));
	for (unsigned i = 0; i < packets; i++) {
		for (size_t v = 0; v < damage_count(len[i]); v++) {
			size_t at = v < len[i] ? v : (v - len[i]) / 3;

			if (!all && at > 100 && at + 20 < len[i])
				continue;
			live(i, v);
			assert_true(life.slowest_us <= damage_limit_us());
			runs++;
		}
	}
	print_message("%u packets, %zu variants\n", packets, runs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sctp_packet_damaged_anywhere_ends_nothing_but_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
