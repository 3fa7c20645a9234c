/* SPDX-License-Identifier: MIT */

/*
 * A peer that says whatever it likes: lies in SACKs, never ends its messages, jumps, opens all streams, never reads.
 * What it can make us keep is bounded, what a packet of it costs is bounded, and no honest peer suffers by the bounds.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hand.h"

#include "tests/support/damage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define U   CHUNK_DATA_UNORDERED
#define B   CHUNK_DATA_BEGIN
#define E   CHUNK_DATA_END
#define ALL CHUNK_DATA_WHOLE

#define PACKET_BYTES 1400

static struct hand h;

static void drain(void)
{
	struct sctp_msg m[64];
	struct sctp_event e;

	while (sctp_recv(h.s, m, 64) > 0) {
	}
	while (sctp_event(h.s, &e)) {
	}
}

/* --- SACKs --- */

static void send_some(unsigned n, size_t len)
{
	static uint8_t data[2000];
	struct sctp_send_options o = {.stream = 1, .ppid = 53};

	h.s->cc.cwnd = 8 * SEND_BYTES;
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(sctp_send(h.s, &o, data, len, h.now_us), 0);
	h.s->out.burst = UINT8_MAX;
	hand_listen(&h);
}

static void sack_of_never_sent_changes_nothing(void **state)
{
	static const uint16_t beyond[] = {2, 4000}, all[] = {1, 65535};

	(void)state;
	hand_init(&h, false);
	uint32_t first = h.s->out.next_tsn;
	send_some(4, 100);
	uint32_t flight = h.s->out.flight;
	uint64_t bad = sctp_counters(h.s)->bad_chunk;
	hand_give_sack(&h, first + 4, NULL, 0);
	hand_give_sack(&h, first + 0x7ffffff0, NULL, 0);
	hand_give_sack(&h, first - 1, beyond, 1);
	hand_give_sack(&h, first - 1, all, 1);
	assert_int_equal(sctp_counters(h.s)->bad_chunk - bad, 4);
	assert_int_equal(h.s->out.flight, flight);
	assert_int_equal(h.s->out.cum_ack, first - 1);
	/* One from the past is nobody's lie. */
	hand_give_sack(&h, first - 2, NULL, 0);
	hand_give_sack(&h, first - 0x7fffffff, NULL, 0);
	assert_int_equal(sctp_counters(h.s)->bad_chunk - bad, 4);
	assert_int_equal(h.s->out.cum_ack, first - 1);
	hand_deinit(&h);
}

/* Of several in one packet only the first is looked at. */
static void sack_twice_in_a_packet_counts_once(void **state)
{
	(void)state;
	hand_init(&h, false);
	uint32_t first = h.s->out.next_tsn;
	send_some(4, 100);
	hand_begin(&h);
	for (uint32_t i = 0; i < 4; i++)
		hand_sack(&h, first + i, RECEIVE_BYTES, NULL, 0);
	hand_give(&h);
	assert_int_equal(h.s->out.cum_ack, first);
	assert_int_equal(sctp_counters(h.s)->bad_chunk, 3);
	hand_give_sack(&h, first + 3, NULL, 0);
	assert_int_equal(h.s->out.cum_ack, first + 3);
	hand_deinit(&h);
}

/* It takes everything back each second time; the data is still sent until it is acknowledged for good. */
static void sack_reneging_for_ever_is_survived(void **state)
{
	static const uint16_t gap[] = {2, 8};

	(void)state;
	hand_init(&h, false);
	uint32_t first = h.s->out.next_tsn;
	send_some(8, 1000);
	for (int i = 0; i < 200; i++) {
		hand_give_sack(&h, first - 1, gap, i % 2);
		hand_sleep(&h, 700000);
		hand_listen(&h);
		assert_true(sctp_is_up(h.s));
		assert_in_range(h.s->out.ring_count, 8, 8);
	}
	assert_true(sctp_counters(h.s)->retransmitted > 20);
	hand_give_sack(&h, first + 7, NULL, 0);
	assert_int_equal(h.s->out.ring_count, 0);
	assert_int_equal(h.s->out.flight, 0);
	assert_int_equal(h.s->out.bytes, 0);
	hand_deinit(&h);
}

/* A window that is closed for ever: what waits is bounded, and the probes have their pace. */
static void peer_that_never_reads_is_bounded(void **state)
{
	static uint8_t data[1000];
	struct sctp_send_options o = {.stream = 1, .ppid = 53};
	unsigned taken = 0;
	size_t probes = 0;

	(void)state;
	hand_init(&h, false);
	for (int i = 0; i < 3000; i++) {
		taken += sctp_send(h.s, &o, data, sizeof(data), h.now_us) == SCTP_OK;
		hand_listen(&h);
		probes += hand_count(&h, CHUNK_DATA);
		hand_begin(&h);
		hand_sack(&h, h.s->out.cum_ack, 0, NULL, 0);
		hand_give(&h);
		hand_sleep(&h, 100000);
	}
	assert_int_equal(taken, SEND_BYTES / 1000);
	/* Four before the first SACK, and then at most one a second. */
	assert_in_range(probes, 5, 4 + 300);
	assert_true(sctp_is_up(h.s));
	assert_in_range(sctp_net_footprint(h.s), 0, SEND_BYTES + SEND_BYTES / 2);
	hand_deinit(&h);
}

/* --- fragments --- */

/* A run that is fed at both ends in turn is copied a few times, not for each byte. */
static void fragments_at_both_ends_cost_few_copies(void **state)
{
	unsigned copies = 0;
	const uint8_t *buf = NULL;

	(void)state;
	hand_init(&h, false);
	for (uint32_t i = 0; i < 20000; i++) {
		hand_give_data(&h, h.tsn + 30000 + i, 1, 0, 0, "x");
		hand_give_data(&h, h.tsn + 29999 - i, 1, 0, 0, "x");
		copies += h.s->in.runs[0].buf != buf;
		buf = h.s->in.runs[0].buf;
		if (i % 16 == 0)
			hand_listen(&h);
	}
	assert_int_equal(h.s->in.run_count, 1);
	assert_int_equal(h.s->in.runs[0].len, 40000);
	assert_in_range(h.s->in.runs[0].cap, 40000, 2 * 40000);
	assert_in_range(copies, 10, 60);
	hand_deinit(&h);
}

/* With all runs taken above it, the lowest gap is still filled: an honest peer's transfer goes on. */
static void lowest_gap_has_room_whatever_is_above(void **state)
{
	(void)state;
	hand_init(&h, false);
	/* Messages of three fragments each, of all of which only the middle came. */
	for (uint32_t i = 0; i < 3 * RUNS_MAX; i += 3)
		hand_give_data(&h, h.tsn + 3 + i + 1, 1, (uint16_t)(1 + i / 3), 0, "m");
	assert_int_equal(h.s->in.run_count, RUNS_MAX);
	hand_give_data(&h, h.tsn + 2000, 1, 999, B, "no room");
	assert_int_equal(sctp_counters(h.s)->receive_drop, 1);
	for (uint32_t i = 0; i < 3 * (RUNS_MAX + 1); i += 3) {
		hand_give_data(&h, h.tsn + i, 1, (uint16_t)(i / 3), B, "b");
		if (i == 0)
			hand_give_data(&h, h.tsn + 1, 1, 0, 0, "m");
		hand_give_data(&h, h.tsn + i + 2, 1, (uint16_t)(i / 3), E, "e");
		char text[8];
		assert_true(hand_read(&h, text, sizeof(text)));
		assert_string_equal(text, "bme");
		hand_listen(&h);
	}
	drain();
	assert_int_equal(sctp_counters(h.s)->receive_drop, 1);
	assert_int_equal(h.s->in.run_count, 0);
	assert_int_equal(h.s->in.bytes, 0);
	hand_deinit(&h);
}

/* First fragments only, each filling the lowest gap: those before can never be whole. */
static void first_fragments_without_end_are_bounded(void **state)
{
	(void)state;
	hand_init(&h, false);
	for (uint32_t i = 0; i < 5000; i++) {
		hand_begin(&h);
		for (uint32_t k = 0; k < 40; k++)
			hand_data(&h, h.tsn + i * 40 + k, 1, 0, B | (k % 2 != 0 ? U : 0), "x");
		hand_give(&h);
		assert_in_range(h.s->in.run_count, 0, RUNS_MAX + 40);
		if (i % 16 == 0)
			hand_listen(&h);
	}
	assert_true(sctp_is_up(h.s));
	assert_in_range(sctp_net_footprint(h.s), 0, 65536);
	hand_deinit(&h);
}

/* --- order --- */

/* Ordered messages for which nothing comes first: no more than the bound, and all of them when it does come. */
static void held_messages_are_bounded_and_not_lost(void **state)
{
	uint32_t n = 1;

	(void)state;
	hand_init(&h, false);
	for (; n <= HELD_MAX + 10; n++) {
		hand_give_data(&h, h.tsn + n, 1, (uint16_t)n, ALL, "x");
		if (n % 16 == 0)
			hand_listen(&h);
	}
	assert_int_equal(h.s->in.held_count, HELD_MAX);
	assert_int_equal(sctp_counters(h.s)->receive_drop, 10);
	/* One that comes in two parts when no more can be held is not acknowledged and then thrown away. */
	hand_give_data(&h, h.tsn + HELD_MAX + 1, 1, HELD_MAX + 1, B, "in ");
	hand_give_data(&h, h.tsn + HELD_MAX + 2, 1, HELD_MAX + 1, E, "two");
	assert_int_equal(sctp_counters(h.s)->receive_drop, 11);
	assert_int_equal(sctp_counters(h.s)->reassembly_drop, 0);
	hand_give_data(&h, h.tsn, 1, 0, ALL, "first");
	struct sctp_msg m[64];
	size_t got = 0, k;
	while ((k = sctp_recv(h.s, m, 64)) > 0)
		got += k;
	assert_int_equal(got, HELD_MAX + 1);
	hand_give_data(&h, h.tsn + HELD_MAX + 2, 1, HELD_MAX + 1, E, "two");
	char text[16];
	assert_true(hand_read(&h, text, sizeof(text)));
	assert_string_equal(text, "in two");
	drain();
	assert_int_equal(h.s->in.bytes, 0);
	hand_deinit(&h);
}

/* --- memory --- */

/* An owner that lets messages lie closes the window, and tells the peer when it has read them (no probe needed). */
static void window_opens_again_with_a_sack(void **state)
{
	static char part[1001];
	struct chunk_sack sack;
	uint32_t n = 0;

	(void)state;
	hand_init(&h, false);
	memset(part, 'a', sizeof(part) - 1);
	for (; n < 3000 && sctp_counters(h.s)->receive_drop == 0; n++) {
		hand_give_data(&h, h.tsn + n, 1, (uint16_t)(n / 100),
		               (uint8_t)(n % 100 == 0 ? B : 0) | (n % 100 == 99 ? E : 0), part);
		hand_listen(&h);
	}
	/* Twice what was announced, because each of them filled the lowest gap. */
	assert_in_range(h.s->in.bytes, RECEIVE_BYTES, RECEIVE_BYTES_HARD);
	size_t k = hand_count(&h, CHUNK_SACK);
	assert_int_equal(chunk_sack_read(hand_must(&h, CHUNK_SACK, k - 1), &sack), CHUNK_OK);
	assert_int_equal(sack.a_rwnd, 0);
	hand_listen(&h);
	drain();
	hand_listen(&h);
	assert_int_equal(chunk_sack_read(hand_must(&h, CHUNK_SACK, 0), &sack), CHUNK_OK);
	assert_true(sack.a_rwnd > RECEIVE_BYTES - 100000);
	drain();
	assert_int_equal(hand_listen(&h), 0);
	hand_deinit(&h);
}

/* The owner reads one message for each two that come, for ever: the list of them does not grow with the past. */
static void slow_reader_does_not_grow_the_list(void **state)
{
	char text[8];

	(void)state;
	hand_init(&h, false);
	for (uint32_t i = 0; i < 100; i++)
		hand_give_data(&h, h.tsn + i, 1, (uint16_t)i, ALL, "x");
	for (uint32_t i = 100; i < 20000; i++) {
		hand_give_data(&h, h.tsn + i, 1, (uint16_t)i, ALL, "x");
		assert_true(hand_read(&h, text, sizeof(text)));
		hand_listen(&h);
	}
	assert_in_range(h.s->in.ready_cap, 100, 512);
	assert_int_equal(sctp_counters(h.s)->receive_drop, 0);
	hand_deinit(&h);
}

static void all_streams_cost_one_small_table(void **state)
{
	struct sctp_send_options o = {.ppid = 53};

	(void)state;
	hand_init(&h, false);
	h.s->in_streams = h.s->out_streams = SCTP_STREAMS_MAX;
	for (uint32_t i = 0; i < SCTP_STREAMS_MAX; i++) {
		hand_give_data(&h, h.tsn + i, (uint16_t)i, 0, ALL, "x");
		drain();
		if (i % 16 == 0)
			hand_listen(&h);
	}
	assert_int_equal(sctp_counters(h.s)->data_in, SCTP_STREAMS_MAX);
	o.stream = SCTP_STREAMS_MAX - 1;
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	o.stream = SCTP_STREAMS_MAX;
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), SCTP_BAD_STREAM);
	assert_in_range(sctp_net_footprint(h.s), 0, 400000);
	/* And a request to reset them all is denied, for it would make 65,535 events of 20 bytes. */
	uint8_t body[16];
	be16_store(body, PARAM_RESET_OUTGOING);
	be16_store(body + 2, sizeof(body));
	be32_store(body + 4, HAND_TSN);
	be32_store(body + 8, 0);
	be32_store(body + 12, h.s->in.cum);
	hand_begin(&h);
	hand_chunk(&h, CHUNK_RE_CONFIG, 0, body, sizeof(body));
	hand_give(&h);
	hand_listen(&h);
	assert_int_equal(be32_load(hand_must(&h, CHUNK_RE_CONFIG, 0)->body + 8), RESET_DENIED);
	hand_deinit(&h);
}

/* What asks for answers gets no more of them than may wait. */
static void answers_that_wait_are_bounded(void **state)
{
	(void)state;
	hand_init(&h, false);
	for (int i = 0; i < 1000; i++) {
		hand_begin(&h);
		hand_chunk(&h, CHUNK_HEARTBEAT, 0, "abcd", 4);
		hand_give(&h);
		hand_give_init(&h, CHUNK_INIT, 7, 1, NULL, 0);
	}
	assert_int_equal(h.s->control_count, CONTROL_MAX);
	hand_deinit(&h);
}

/* Random DATA, FORWARD-TSN, RE-CONFIG and the like for a long time, at an owner that reads or does not. */
static void memory_stays_below_its_bound(void **state)
{
	static char big[PACKET_BYTES - 40 + 1];
	size_t most = 0;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	for (uint32_t seed = 1; seed <= 12; seed++) {
		struct rng rng = rng_seeded(seed);

		hand_init(&h, false);
		h.s->in_streams = SCTP_STREAMS_MAX;
		for (int i = 0; i < 20000 && sctp_is_up(h.s); i++) {
			uint32_t far = rng_below(&rng, 3) == 0 ? 65536 : seed * 20;
			uint32_t tsn = h.s->in.cum + rng_below(&rng, seed % 3 == 1 ? 3 : far);
			uint16_t pair[] = {(uint16_t)rng_below(&rng, 65536),
			                   (uint16_t)rng_below(&rng, 65536)};
			uint8_t flags = (uint8_t)rng_below(&rng, 16);
			uint32_t kind = rng_below(&rng, seed % 2 == 0 ? 200 : 20);
			uint16_t gap[] = {2, pair[0]};

			if (seed % 3 == 1) { /* messages of 150 fragments */
				kind = 3;
				pair[0] = pair[1] = 0;
				flags = U | (tsn % 150 == 0 ? B : 0) | (tsn % 150 == 149 ? E : 0);
			}
			hand_begin(&h);
			if (kind == 0)
				hand_forward(&h, tsn, pair, 1);
			else if (kind == 1)
				hand_sack(&h, h.s->out.cum_ack, pair[1], gap, 1);
			else if (kind == 2)
				hand_chunk(&h, CHUNK_HEARTBEAT, 0, big, sizeof(big) - 60);
			else
				hand_data(&h, tsn, (uint16_t)(pair[0] % (seed * 9)),
				          (uint16_t)(pair[1] % (seed * 50)),
				          seed % 3 == 0 ? flags & (uint8_t)~ALL : flags,
				          seed % 4 == 0 ? "y" : big);
			hand_give(&h);
			/* The packet lies in one buffer that is written again, so only owned bytes are read late. */
			if (seed % 2 == 0 || i % (seed % 3 == 1 ? 20000 : 500) == 499)
				drain();
			if (i % 200 == 0) {
				most = GV_MAX(most, sctp_net_footprint(h.s));
				hand_listen(&h);
			}
		}
		most = GV_MAX(most, sctp_net_footprint(h.s));
		hand_deinit(&h);
	}
	print_message("most memory of an association: %zu bytes\n", most);
	assert_in_range(most, 1 << 20, SCTP_MEMORY_BYTES_MAX);
}

/* --- what a packet may cost --- */

enum attack {
	ATTACK_SACK,         /* 4,096 chunks in flight, each second one in a gap block */
	ATTACK_HELD,         /* 4,000 messages held, and some before all of them */
	ATTACK_HELD_RELEASE, /* the same, and each is released at once */
	ATTACK_BOTH_ENDS,    /* a large run that grows at both ends */
	ATTACK_RUNS,         /* a new run before 255 others */
	ATTACK_FORWARD,      /* many FORWARD-TSN over 255 runs */
	ATTACK_FORWARD_LIST, /* one with hundreds of streams */
	ATTACK_MAP,          /* the far end of the window, and passed at once */
	ATTACK_INIT,
	ATTACK_RESET,
	ATTACK_UNKNOWN,
	ATTACK_HEARTBEAT,
	ATTACK_COUNT,
};

static const char *const attack_names[ATTACK_COUNT] = {
	"SACK of 4,096",    "held", "held, released", "both ends", "runs",    "FORWARD-TSN",
	"FORWARD-TSN list", "map",  "INIT",           "reset",     "unknown", "HEARTBEAT"};

static void prepare(enum attack a)
{
	static char big[1001];

	hand_init(&h, false);
	h.s->in_streams = SCTP_STREAMS_MAX;
	memset(big, 'x', sizeof(big) - 1);
	switch (a) {
	case ATTACK_SACK:
		while (h.s->out.ring_count < RING_MAX)
			send_some(1, 100);
		break;
	case ATTACK_HELD:
	case ATTACK_HELD_RELEASE:
	case ATTACK_FORWARD_LIST:
		for (uint32_t i = 0; i < 4000; i++) {
			hand_give_data(&h, h.tsn + 100 + i, (uint16_t)(10000 + i), 1, ALL, "x");
			h.s->in.sack_due = false;
			control_free(h.s);
		}
		break;
	case ATTACK_BOTH_ENDS:
		for (uint32_t i = 0; i < 200; i++)
			hand_give_data(&h, h.tsn + 20000 + i, 1, 0, 0, big);
		break;
	case ATTACK_RUNS:
	case ATTACK_FORWARD:
		for (uint32_t i = 0; i < (a == ATTACK_RUNS ? 180 : 250); i++)
			hand_give_data(&h, h.tsn + 30000 + i * 2, 1, 0, 0, "x");
		break;
	case ATTACK_RESET:
		for (uint32_t i = 0; i < RESET_EVENTS_MAX; i++)
			hand_give_data(&h, h.tsn + i, (uint16_t)i, 0, ALL, "x");
		break;
	default:
		break;
	}
	drain();
	hand_listen(&h);
}

static bool room_for(size_t n)
{
	return h.w.used + n <= PACKET_BYTES;
}

/* A packet of the attack, as full as may be. */
static void attack_packet(enum attack a)
{
	uint32_t cum = h.s->in.cum, n = 0;
	uint16_t list[700] = {0};
	uint8_t body[1380] = {0};

	hand_begin(&h);
	switch (a) {
	case ATTACK_SACK:
		for (; n < 330; n++) {
			list[n * 2] = (uint16_t)(2 + n * 12);
			list[n * 2 + 1] = (uint16_t)(list[n * 2] + 6);
		}
		hand_sack(&h, h.s->out.cum_ack, 1000, list, n);
		break;
	case ATTACK_HELD:
		for (; room_for(20); n++)
			hand_data(&h, cum + 5000 + n, (uint16_t)(9999 - n), 1, ALL, "x");
		break;
	case ATTACK_HELD_RELEASE:
		for (; room_for(40); n += 2) {
			hand_data(&h, cum + 10000 + n, 1, (uint16_t)(n + 1), ALL, "x");
			hand_data(&h, cum + 10001 + n, 1, (uint16_t)n, ALL, "x");
		}
		break;
	case ATTACK_BOTH_ENDS:
		for (; room_for(40); n++) {
			hand_data(&h, h.s->in.runs[0].last + 1 + n, 1, 0, 0, "x");
			hand_data(&h, h.s->in.runs[0].first - 1 - n, 1, 0, 0, "x");
		}
		break;
	case ATTACK_RUNS:
		for (; room_for(20); n++)
			hand_data(&h, cum + 29000 - n * 2, 1, 0, 0, "x");
		break;
	case ATTACK_FORWARD:
		for (; room_for(8); n++)
			hand_forward(&h, cum + 1 + n, NULL, 0);
		break;
	case ATTACK_FORWARD_LIST:
		for (; n < 340; n++) {
			list[n * 2] = (uint16_t)(10000 + n);
			list[n * 2 + 1] = 5;
		}
		hand_forward(&h, cum + 1, list, n);
		break;
	case ATTACK_MAP:
		for (; room_for(28); n++) {
			cum += 65535;
			hand_data(&h, cum, 1, 5, ALL, "x");
			hand_forward(&h, cum + 1, NULL, 0);
			cum++;
		}
		break;
	case ATTACK_INIT:
		break; /* made by hand_give_init() */
	case ATTACK_RESET:
		be16_store(body, PARAM_RESET_OUTGOING);
		be16_store(body + 2, sizeof(body));
		be32_store(body + 4, h.s->reset.peer_sequence);
		be32_store(body + 12, cum);
		for (; n < (sizeof(body) - 16) / 2; n++)
			be16_store(body + 16 + n * 2, (uint16_t)n);
		hand_chunk(&h, CHUNK_RE_CONFIG, 0, body, sizeof(body));
		break;
	case ATTACK_UNKNOWN:
		for (; room_for(4); n++)
			hand_chunk(&h, 0xc1, 0, NULL, 0);
		break;
	case ATTACK_HEARTBEAT:
		for (; room_for(8); n++)
			hand_chunk(&h, CHUNK_HEARTBEAT, 0, "abcd", 4);
		break;
	case ATTACK_COUNT:
		break;
	}
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The least of some tries, for the machine may be busy; and F4's limit, which a sanitizer must keep too. */
static void any_packet_costs_little(void **state)
{
	(void)state;
	for (enum attack a = 0; a < ATTACK_COUNT; a++) {
		double least = 1e9;

		for (int try = 0; try < 5; try++) {
			prepare(a);
			attack_packet(a);
			double before = seconds();
			if (a != ATTACK_INIT)
				hand_give(&h);
			else
				hand_give_init(&h, CHUNK_INIT, 9, 1, NULL, 0);
			drain();
			hand_listen(&h);
			least = GV_MIN(least, seconds() - before);
			assert_true(sctp_is_up(h.s));
			hand_deinit(&h);
		}
		print_message("%-18s %7.1f us a packet\n", attack_names[a], least * 1e6);
		uint64_t limit_us = damage_limit_us();
		assert_true(least * 1e6 < (double)limit_us);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sack_of_never_sent_changes_nothing),
		cmocka_unit_test(sack_twice_in_a_packet_counts_once),
		cmocka_unit_test(sack_reneging_for_ever_is_survived),
		cmocka_unit_test(peer_that_never_reads_is_bounded),
		cmocka_unit_test(fragments_at_both_ends_cost_few_copies),
		cmocka_unit_test(lowest_gap_has_room_whatever_is_above),
		cmocka_unit_test(first_fragments_without_end_are_bounded),
		cmocka_unit_test(held_messages_are_bounded_and_not_lost),
		cmocka_unit_test(window_opens_again_with_a_sack),
		cmocka_unit_test(slow_reader_does_not_grow_the_list),
		cmocka_unit_test(all_streams_cost_one_small_table),
		cmocka_unit_test(answers_that_wait_are_bounded),
		cmocka_unit_test(memory_stays_below_its_bound),
		cmocka_unit_test(any_packet_costs_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
