/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hand.h"

#include <string.h>

#define IP 2

static struct hand h;
static uint32_t first;
static uint8_t bytes[65536], room[65507];

static void setup(bool tunnel)
{
	hand_init(&h, false);
	first = h.s->out.next_tsn;
	if (tunnel)
		sctp_tunnel_start(h.s, IP, h.now_us);
}

/* n messages of len bytes into an empty train. */
static size_t send_n(size_t n, size_t len, struct batch *out, int *result)
{
	struct pkt in[128];

	for (size_t i = 0; i < n; i++)
		in[i] = (struct pkt){.data = bytes, .len = len};
	*out = BATCH_INIT(room, sizeof(room), 21, 8);
	return sctp_tunnel_send(h.s, IP, in, n, out, h.now_us, result);
}

static void send_ok(size_t n, size_t len)
{
	struct batch out;
	int result;

	assert_int_equal(send_n(n, len, &out, &result), n);
	assert_int_equal(result, 0);
}

/* Chunks of the i-th datagram. */
static size_t chunks_in(const struct batch *out, unsigned i)
{
	struct pkt d = batch_datagram(out, i);
	struct bytes_reader r =
		bytes_reader(d.data + 21 + SCTP_HEADER_BYTES, d.len - 29 - SCTP_HEADER_BYTES);
	struct chunk c;
	size_t n = 0;

	assert_true(packet_checksum_ok(d.data + 21, d.len - 29));
	while (chunk_next(&r, &c) == CHUNK_OK)
		n++;
	assert_int_equal(r.left, 0);
	return n;
}

static void tunnel_large_packets_go_one_each(void **state)
{
	struct batch out;
	int result;

	(void)state;
	setup(true);
	assert_int_equal(send_n(40, 1380, &out, &result), 40);
	assert_int_equal(out.count, 40);
	assert_int_equal(out.size, 21 + 12 + 16 + 1380 + 8);
	assert_int_equal(out.last_size, out.size);
	for (unsigned i = 0; i < out.count; i++)
		assert_int_equal(chunks_in(&out, i), 1);
	hand_deinit(&h);
}

static void tunnel_small_packets_are_bundled_equally(void **state)
{
	struct batch out;
	int result;

	(void)state;
	setup(true);
	assert_int_equal(send_n(100, 64, &out, &result), 100);
	/* 17 chunks of 80 bytes fill 1,424. */
	assert_int_equal(out.count, 6);
	for (unsigned i = 0; i + 1 < out.count; i++)
		assert_int_equal(chunks_in(&out, i), 17);
	assert_int_equal(chunks_in(&out, 5), 15);
	hand_deinit(&h);
}

/* A train ends where the next packet would be larger; what was consumed is told. */
static void tunnel_mixed_sizes_keep_trains_equal(void **state)
{
	static const size_t sizes[] = {1380, 1380, 40, 1380, 1380, 600, 600, 1, 1380};
	struct pkt in[GV_ARRAY_SIZE(sizes)];
	size_t done = 0, trains = 0;
	int result;

	(void)state;
	setup(true);
	for (size_t i = 0; i < GV_ARRAY_SIZE(sizes); i++)
		in[i] = (struct pkt){.data = bytes, .len = sizes[i]};
	while (done < GV_ARRAY_SIZE(sizes)) {
		struct batch out = BATCH_INIT(room, sizeof(room), 21, 8);
		size_t n = sctp_tunnel_send(h.s, IP, in + done, GV_ARRAY_SIZE(sizes) - done, &out,
		                            h.now_us, &result);

		assert_int_equal(result, 0);
		assert_true(n > 0);
		assert_true(out.last_size <= out.size);
		done += n;
		trains++;
	}
	/* 1380 1380 40 | 1380 1380 600+600+1 | 1380 */
	assert_int_equal(trains, 3);
	hand_deinit(&h);
}

/* What the train already holds decides. */
static void tunnel_joins_a_train_that_has_begun(void **state)
{
	struct pkt in[3] = {{bytes, 1000}, {bytes, 1000}, {bytes, 1000}};
	struct batch out = BATCH_INIT(room, sizeof(room), 21, 8);
	int result;

	(void)state;
	setup(true);
	assert_int_equal(sctp_tunnel_send(h.s, IP, in, 1, &out, h.now_us, &result), 1);
	assert_int_equal(sctp_tunnel_send(h.s, IP, in, 2, &out, h.now_us, &result), 2);
	assert_int_equal(out.count, 3);
	in[0].len = 1004;
	assert_int_equal(sctp_tunnel_send(h.s, IP, in, 1, &out, h.now_us, &result), 0);
	assert_int_equal(result, 0);
	in[0].len = 10;
	assert_int_equal(sctp_tunnel_send(h.s, IP, in, 2, &out, h.now_us, &result), 1);
	assert_int_equal(out.count, 4);
	hand_deinit(&h);
}

/* Messages made in their places give the same train as copied ones, but for the TSNs. */
static void tunnel_reserved_places_give_the_same_train(void **state)
{
	static const size_t sizes[] = {1, 40, 64, 700, 1000, 1380};
	static uint8_t other_room[65507];
	uint8_t *places[40];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t i = 0; i < GV_ARRAY_SIZE(sizes); i++) {
		struct batch sent, made = BATCH_INIT(other_room, sizeof(other_room), 21, 8);
		int result;

		setup(true);
		assert_int_equal(send_n(40, sizes[i], &sent, &result), 40);
		hand_deinit(&h);
		setup(true);
		assert_int_equal(sctp_tunnel_reserve(h.s, IP, SCTP_PPID_BINARY, sizes[i], 40,
		                                     places, &made, h.now_us, &result),
		                 40);
		assert_int_equal(result, 0);
		for (size_t k = 0; k < 40; k++)
			memcpy(places[k], bytes, sizes[i]);
		sctp_tunnel_filled(h.s, &made, 0);
		assert_int_equal(made.count, sent.count);
		for (unsigned k = 0; k < made.count; k++) {
			struct pkt a = batch_datagram(&sent, k), b = batch_datagram(&made, k);

			assert_int_equal(a.len, b.len);
			assert_int_equal(chunks_in(&made, k), chunks_in(&sent, k));
			assert_memory_equal(a.data + 21, b.data + 21, a.len - 29);
		}
		hand_deinit(&h);
	}
}

/* Checksums of datagrams that were there before stay as they are. */
static void tunnel_reserve_joins_a_train_and_tells_its_bounds(void **state)
{
	struct pkt in = {bytes, 1380};
	uint8_t *places[64];
	struct batch out = BATCH_INIT(room, sizeof(room), 21, 8);
	int result;

	(void)state;
	setup(true);
	assert_int_equal(sctp_tunnel_send(h.s, IP, &in, 1, &out, h.now_us, &result), 1);
	size_t n = sctp_tunnel_reserve(h.s, IP, SCTP_PPID_BINARY, 1380, 64, places, &out, h.now_us,
	                               &result);
	assert_int_equal(n, 44); /* as many as fit 65,507 bytes, with the one before */
	assert_int_equal(result, 0);
	for (size_t i = 0; i < n; i++)
		memset(places[i], (int)i, 1380);
	sctp_tunnel_filled(h.s, &out, 1);
	for (unsigned i = 0; i < out.count; i++)
		assert_int_equal(chunks_in(&out, i), 1);
	assert_int_equal(sctp_tunnel_reserve(h.s, IP, SCTP_PPID_BINARY, 1380, 1, places, &out,
	                                     h.now_us, &result),
	                 0);
	assert_int_equal(result, 0);
	batch_reset(&out);
	assert_int_equal(sctp_tunnel_reserve(h.s, IP, SCTP_PPID_BINARY, 1408, 1, places, &out,
	                                     h.now_us, &result),
	                 0);
	assert_int_equal(result, SCTP_TOO_LARGE);
	assert_int_equal(sctp_tunnel_reserve(h.s, IP, SCTP_PPID_BINARY, 0, 1, places, &out,
	                                     h.now_us, &result),
	                 0);
	assert_int_equal(result, SCTP_TOO_LARGE);
	h.s->out.next_tsn = h.s->out.cum_ack + TSN_WINDOW - 2;
	assert_int_equal(sctp_tunnel_reserve(h.s, IP, SCTP_PPID_BINARY, 9, 4, places, &out,
	                                     h.now_us, &result),
	                 2);
	assert_int_equal(result, SCTP_FULL);
	assert_int_equal(sctp_counters(h.s)->tunnel_stopped, 2);
	hand_deinit(&h);
}

static void tunnel_large_message_is_cut(void **state)
{
	struct batch out;
	int result;

	(void)state;
	setup(true);
	assert_int_equal(send_n(2, 3000, &out, &result),
	                 1); /* the second would follow a short one */
	assert_int_equal(out.count, 3);
	assert_int_equal(h.s->out.next_tsn - first, 3);
	assert_int_equal(send_n(1, 55000, &out, &result), 1);
	assert_int_equal(out.count, 40);
	/* Larger than any train: dropped and counted. */
	assert_int_equal(send_n(1, 65535, &out, &result), 1);
	assert_int_equal(out.count, 0);
	assert_int_equal(result, 0);
	assert_int_equal(send_n(1, 0, &out, &result), 1);
	assert_int_equal(out.count, 0);
	assert_int_equal(sctp_counters(h.s)->tunnel_bad_size, 2);
	assert_int_equal(sctp_counters(h.s)->tunnel_bad_bytes, 65535);
	hand_deinit(&h);
}

static void tunnel_small_buffer_is_respected(void **state)
{
	struct pkt in[2] = {{bytes, 1000}, {bytes, 1000}};
	int result;

	(void)state;
	setup(true);
	for (size_t cap = 0; cap < 2200; cap += 7) {
		struct batch out = BATCH_INIT(room, cap, 21, 8);

		memset(room, 0xee, 2300);
		size_t n = sctp_tunnel_send(h.s, IP, in, 2, &out, h.now_us, &result);
		assert_int_equal(n, cap / (1000 + 28 + 29));
		assert_int_equal(out.count, n);
		for (size_t i = cap; i < 2300; i++)
			assert_int_equal(room[i], 0xee);
	}
	hand_deinit(&h);
}

/* Before tunnel mode: the congestion window, and no retransmission. */
static void tunnel_before_start_obeys_the_window(void **state)
{
	struct batch out;
	int result;

	(void)state;
	setup(false);
	assert_int_equal(send_n(20, 1000, &out, &result), 5);
	assert_int_equal(result, SCTP_FULL);
	assert_int_equal(sctp_counters(h.s)->tunnel_stopped, 15);
	assert_int_equal(h.s->out.flight, 5000);
	hand_sleep(&h, RTO_INITIAL_US);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 0);
	assert_int_equal(hand_count(&h, CHUNK_FORWARD_TSN), 1);
	assert_int_equal(be32_load(hand_must(&h, CHUNK_FORWARD_TSN, 0)->body), first + 4);
	hand_deinit(&h);
}

static void tunnel_start_forgets_what_was_kept(void **state)
{
	struct sctp_send_options o = {.stream = 0, .ppid = 53};

	(void)state;
	setup(false);
	send_ok(2, 1000);
	assert_int_equal(sctp_send(h.s, &o, "ctl", 3, h.now_us), 0);
	hand_listen(&h);
	send_ok(1, 1000);
	sctp_tunnel_start(h.s, IP, h.now_us);
	assert_int_equal(h.s->out.ring_count, 1);
	assert_int_equal(h.s->out.flight, 3);
	hand_give_sack(&h, first + 3, NULL, 0);
	assert_int_equal(h.s->out.ring_count, 0);
	assert_int_equal(h.s->out.flight, 0);
	assert_true(send_is_empty(h.s));
	assert_true(sctp_deadline_us(h.s) == NEVER);
	hand_deinit(&h);
}

/* A round trip that an IP packet was to measure is not waited for: the next kept chunk measures. */
static void tunnel_start_measures_with_what_is_kept(void **state)
{
	struct sctp_send_options o = {.stream = 0, .ppid = 53};

	(void)state;
	setup(false);
	send_ok(1, 1000);
	sctp_tunnel_start(h.s, IP, h.now_us);
	assert_int_equal(sctp_send(h.s, &o, "ctl", 3, h.now_us), 0);
	hand_listen(&h);
	h.now_us += 30000;
	hand_give_sack(&h, first + 1, NULL, 0);
	assert_int_equal(sctp_srtt_us(h.s), 30000);
	hand_deinit(&h);
}

/* A kept chunk that measures already goes on. */
static void tunnel_start_keeps_the_measurement_of_a_kept_chunk(void **state)
{
	struct sctp_send_options o = {.stream = 0, .ppid = 53};

	(void)state;
	setup(false);
	assert_int_equal(sctp_send(h.s, &o, "ctl", 3, h.now_us), 0);
	hand_listen(&h);
	send_ok(1, 1000);
	sctp_tunnel_start(h.s, IP, h.now_us);
	h.now_us += 30000;
	hand_give_sack(&h, first + 1, NULL, 0);
	assert_int_equal(sctp_srtt_us(h.s), 30000);
	hand_deinit(&h);
}

/* A gap: nothing for 20 ms, then FORWARD-TSN over what is missing. */
static void tunnel_gap_is_given_up_after_20_ms(void **state)
{
	static const uint16_t gap[] = {3, 5};

	(void)state;
	setup(true);
	send_ok(5, 1000);
	hand_give_sack(&h, first - 1, gap, 1);
	hand_sleep(&h, 19999);
	hand_listen(&h);
	assert_int_equal(h.said_count, 0);
	hand_sleep(&h, 1);
	hand_listen(&h);
	assert_int_equal(h.said_count, 1);
	assert_int_equal(be32_load(hand_must(&h, CHUNK_FORWARD_TSN, 0)->body), first + 4);
	hand_give_sack(&h, first + 4, NULL, 0);
	hand_sleep(&h, 60000000);
	hand_listen(&h);
	assert_int_equal(h.said_count, 0);
	hand_deinit(&h);
}

/* On a long path a packet may come as much later than others as a quarter of the round trip. */
static void tunnel_gap_waits_longer_on_a_long_path(void **state)
{
	static const uint16_t gap[] = {3, 5};

	(void)state;
	setup(true);
	h.s->cc.srtt_us = 200000;
	send_ok(5, 1000);
	hand_give_sack(&h, first - 1, gap, 1);
	hand_sleep(&h, 249999);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_FORWARD_TSN), 0);
	hand_sleep(&h, 1);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_FORWARD_TSN), 1);
	hand_deinit(&h);
}

static void tunnel_late_packet_closes_gap_without_forward(void **state)
{
	static const uint16_t gap[] = {3, 5};

	(void)state;
	setup(true);
	send_ok(5, 1000);
	hand_give_sack(&h, first - 1, gap, 1);
	hand_sleep(&h, 10000);
	hand_give_sack(&h, first + 4, NULL, 0);
	hand_sleep(&h, 1000000);
	hand_listen(&h);
	assert_int_equal(h.said_count, 0);
	hand_deinit(&h);
}

/* FORWARD-TSN never passes a kept chunk that is missing; that is sent again first. */
static void tunnel_forward_waits_for_kept_chunk(void **state)
{
	struct sctp_send_options o = {.stream = 0, .ppid = 53};
	static const uint16_t gap[][2] = {{4, 5}, {4, 6}, {4, 7}};

	(void)state;
	setup(true);
	send_ok(1, 1000);
	assert_int_equal(sctp_send(h.s, &o, "ctl", 3, h.now_us), 0);
	hand_listen(&h);
	send_ok(5, 1000);
	/* Missing: 1 (ip), 2 (ctl), 3 (ip). */
	for (size_t i = 0; i < 3; i++) {
		hand_give_sack(&h, first - 1, gap[i], 1);
		hand_sleep(&h, 1000);
	}
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 1);
	assert_int_equal(be32_load(hand_must(&h, CHUNK_DATA, 0)->body), first + 1);
	hand_sleep(&h, 20000);
	hand_listen(&h);
	assert_int_equal(be32_load(hand_must(&h, CHUNK_FORWARD_TSN, 0)->body), first);
	/* Now the kept one came: the rest may be passed. */
	static const uint16_t both[] = {2, 2, 4, 7};
	hand_give_sack(&h, first - 1, both, 2);
	hand_sleep(&h, 30000);
	hand_listen(&h);
	assert_int_equal(be32_load(hand_must(&h, CHUNK_FORWARD_TSN, 0)->body), first + 6);
	hand_deinit(&h);
}

/* A kept message that is given up needs no IP packet to be passed, and does not stop those that come later. */
static void tunnel_kept_message_given_up_is_passed_at_once(void **state)
{
	struct sctp_send_options o = {
		.stream = 0, .ppid = 53, .reliability = SCTP_MAX_RETRANSMITS, .limit = 0};

	(void)state;
	setup(true);
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	hand_listen(&h);
	hand_sleep(&h, RTO_INITIAL_US);
	hand_listen(&h);
	assert_int_equal(be32_load(hand_must(&h, CHUNK_FORWARD_TSN, 0)->body), first);
	hand_give_sack(&h, first, NULL, 0);
	hand_sleep(&h, TUNNEL_BREAKER_US);
	send_ok(1, 100);
	hand_deinit(&h);
}

/* Those that stand behind an IP packet wait for it. */
static void tunnel_kept_message_given_up_waits_for_the_tunnel(void **state)
{
	struct sctp_send_options o = {
		.stream = 0, .ppid = 53, .reliability = SCTP_MAX_LIFETIME, .limit = 0};
	static const uint16_t gaps[3][2] = {{3, 3}, {3, 4}, {3, 5}};

	(void)state;
	setup(true);
	send_ok(1, 100);
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	hand_listen(&h);
	send_ok(3, 100);
	h.now_us += 1000;
	for (int i = 0; i < 3; i++)
		hand_give_sack(&h, first - 1, gaps[i], 1);
	assert_int_equal(h.s->out.counts[OUT_ABANDONED], 1);
	assert_int_equal(h.s->out.advanced, first - 1);
	hand_sleep(&h, TUNNEL_GIVE_UP_MIN_US);
	hand_listen(&h);
	assert_true(hand_count(&h, CHUNK_FORWARD_TSN) > 0);
	assert_true(tsn_before(first, h.s->out.advanced));
	hand_deinit(&h);
}

/* A kept chunk lost twice: later traffic shows it again, without waiting for T3. */
static void tunnel_repeated_kept_chunk_lost_again_is_seen(void **state)
{
	struct sctp_send_options o = {.stream = 0, .ppid = 53};
	uint16_t gap[] = {2, 2};

	(void)state;
	setup(true);
	assert_int_equal(sctp_send(h.s, &o, "ctl", 3, h.now_us), 0);
	hand_listen(&h);
	for (int round = 0; round < 5; round++) {
		unsigned seen = 0;

		for (int i = 0; i < 3; i++) {
			send_ok(1, 100);
			gap[1] = (uint16_t)(h.s->out.next_tsn - first);
			hand_give_sack(&h, first - 1, gap, 1);
			hand_listen(&h);
			seen += (unsigned)hand_count(&h, CHUNK_DATA);
		}
		assert_int_equal(seen, 1);
	}
	hand_deinit(&h);
}

/* What left before the repetition says nothing about it. */
static void tunnel_repeated_kept_chunk_is_given_its_time(void **state)
{
	struct sctp_send_options o = {.stream = 0, .ppid = 53};
	uint16_t gap[] = {2, 2};
	unsigned seen = 0;

	(void)state;
	setup(true);
	assert_int_equal(sctp_send(h.s, &o, "ctl", 3, h.now_us), 0);
	hand_listen(&h);
	send_ok(20, 100);
	for (; gap[1] <= 21; gap[1]++) {
		hand_give_sack(&h, first - 1, gap, 1);
		hand_listen(&h);
		seen += (unsigned)hand_count(&h, CHUNK_DATA);
	}
	assert_int_equal(seen, 1);
	hand_deinit(&h);
}

static void tunnel_forward_is_paced(void **state)
{
	uint16_t gap[] = {2, 2};
	unsigned forwards = 0;

	(void)state;
	setup(true);
	/* A gap that grows each millisecond, for 200 ms. */
	send_ok(1, 100);
	for (int ms = 0; ms < 200; ms++) {
		send_ok(2, 100);
		gap[0] = gap[1] = (uint16_t)(h.s->out.next_tsn - 1 - h.s->out.cum_ack);
		hand_give_sack(&h, h.s->out.cum_ack, gap, 1);
		hand_sleep(&h, 1000);
		hand_listen(&h);
		forwards += (unsigned)hand_count(&h, CHUNK_FORWARD_TSN);
	}
	assert_in_range(forwards, 10, 20);
	hand_deinit(&h);
}

/* Nothing heard: the breaker opens after 3 s, probes go on, and the first SACK closes it. */
static void tunnel_breaker_opens_and_recovers(void **state)
{
	struct batch out;
	unsigned probes = 0;
	int result = 0;

	(void)state;
	setup(true);
	for (int ms = 0; ms < 3000; ms += 100) {
		assert_int_equal(send_n(1, 100, &out, &result), 1);
		hand_sleep(&h, 100000);
		hand_listen(&h);
	}
	assert_int_equal(send_n(1, 100, &out, &result), 0);
	assert_int_equal(result, SCTP_FULL);
	for (int s = 0; s < 600; s++) {
		hand_sleep(&h, 1000000);
		hand_listen(&h);
		assert_true(hand_count(&h, CHUNK_FORWARD_TSN) > 0);
		probes += (unsigned)h.packets;
		assert_int_equal(send_n(1, 100, &out, &result), 0);
	}
	assert_in_range(probes, 600, 3000);
	assert_true(sctp_is_up(h.s));
	hand_give_sack(&h, h.s->out.advanced, NULL, 0);
	assert_int_equal(send_n(1, 100, &out, &result), 1);
	assert_int_equal(result, 0);
	hand_deinit(&h);
}

/* An idle tunnel is no dark path: no probe, no timer, and the first packet after hours goes. */
static void tunnel_idle_is_silent(void **state)
{
	(void)state;
	setup(true);
	send_ok(10, 100);
	hand_give_sack(&h, first + 9, NULL, 0);
	hand_listen(&h);
	assert_true(sctp_deadline_us(h.s) == NEVER);
	h.now_us += 7200000000u;
	send_ok(1, 100);
	send_ok(1, 100);
	hand_sleep(&h, TUNNEL_BREAKER_US - 1);
	send_ok(1, 100);
	hand_deinit(&h);
}

/* A ctl message after a quiet time is no dark path either; the 3 s begin with it. */
static void tunnel_breaker_counts_from_a_ctl_message(void **state)
{
	struct sctp_send_options o = {.stream = 0, .ppid = 53};
	struct batch out;
	int result;

	(void)state;
	setup(true);
	hand_sleep(&h, 5000000);
	assert_int_equal(sctp_send(h.s, &o, "ctl", 3, h.now_us), 0);
	hand_listen(&h);
	send_ok(1, 100);
	hand_sleep(&h, TUNNEL_BREAKER_US - 1);
	hand_listen(&h);
	assert_true(sctp_counters(h.s)->retransmitted > 0); /* which is no progress */
	send_ok(1, 100);
	hand_sleep(&h, 1);
	assert_int_equal(send_n(1, 100, &out, &result), 0);
	assert_int_equal(result, SCTP_FULL);
	hand_deinit(&h);
}

/* The tail of a burst is lost: no gap shows it, the probe does. */
static void tunnel_lost_tail_is_given_up(void **state)
{
	(void)state;
	setup(true);
	send_ok(10, 100);
	hand_give_sack(&h, first + 6, NULL, 0);
	hand_sleep(&h, 1000000);
	hand_listen(&h);
	assert_int_equal(be32_load(hand_must(&h, CHUNK_FORWARD_TSN, 0)->body), first + 9);
	hand_deinit(&h);
}

static void tunnel_ring_full_stops_and_goes_on(void **state)
{
	struct batch out;
	size_t sent = 0;
	int result = 0;

	(void)state;
	setup(true);
	while (result == 0)
		sent += send_n(100, 20, &out, &result);
	assert_int_equal(result, SCTP_FULL);
	assert_int_equal(sent, TSN_WINDOW - 1);
	hand_give_sack(&h, first + 99, NULL, 0);
	assert_int_equal(send_n(100, 20, &out, &result), 100);
	assert_int_equal(send_n(1, 20, &out, &result), 0);
	hand_deinit(&h);
}

static void tunnel_sack_rides_with_few_and_not_with_trains(void **state)
{
	struct batch out;
	int result;

	(void)state;
	setup(true);
	h.s->in.sack_sent_us = h.now_us;
	hand_give_data(&h, h.tsn, IP, 0, CHUNK_DATA_WHOLE | CHUNK_DATA_UNORDERED, "x");
	assert_int_equal(send_n(40, 1380, &out, &result), 40);
	assert_int_equal(out.count, 40);
	assert_int_equal(chunks_in(&out, 0), 1);
	assert_int_equal(send_n(2, 60, &out, &result), 2);
	assert_int_equal(chunks_in(&out, 0), 3);
	assert_int_equal(room[21 + SCTP_HEADER_BYTES], CHUNK_SACK);
	/* Said once. */
	hand_sleep(&h, 10000);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_SACK), 0);
	hand_deinit(&h);
}

/* The stream's number above the peer's limit, another stream than the tunnel's, not up. */
static void tunnel_bad_state_is_told(void **state)
{
	struct batch out = BATCH_INIT(room, sizeof(room), 0, 0);
	struct pkt in = {bytes, 10};
	int result;

	(void)state;
	setup(true);
	assert_int_equal(sctp_tunnel_send(h.s, 4, &in, 1, &out, h.now_us, &result), 0);
	assert_int_equal(result, SCTP_BAD_STREAM);
	sctp_abort(h.s, h.now_us);
	assert_int_equal(sctp_tunnel_send(h.s, IP, &in, 1, &out, h.now_us, &result), 0);
	assert_int_equal(result, SCTP_NOT_UP);
	hand_deinit(&h);
}

/* In tunnel mode a kept message is one chunk. */
static void tunnel_large_ctl_message_is_refused(void **state)
{
	struct sctp_send_options o = {.stream = 0, .ppid = 53};

	(void)state;
	setup(true);
	assert_int_equal(sctp_send(h.s, &o, bytes, SCTP_KEPT_BYTES_MAX, h.now_us), 0);
	assert_int_equal(sctp_send(h.s, &o, bytes, SCTP_KEPT_BYTES_MAX + 1, h.now_us),
	                 SCTP_TOO_LARGE);
	/* It fits the smallest packet, also when the path has shrunk since. */
	sctp_set_max_packet_bytes(h.s, 0);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 1);
	hand_deinit(&h);
}

/* 1 Gbit/s over 50 ms with 5 % loss, and ctl messages all the time: nothing stops, ctl is not late. */
static struct sctp_net *clocked;
static uint64_t worst_us;

static void take_time(void *user, int side, const struct sctp_msg *m)
{
	(void)user;
	if (side == 1 && m->stream == 0)
		worst_us = GV_MAX(worst_us, clocked->now_us - be64_load(m->data));
}

static void tunnel_fast_lossy_path_never_stops(void **state)
{
	struct sctp_net *net = sctp_net_new(3, NULL, NULL);
	struct sctp_send_options o = {.stream = 0, .ppid = 53};
	struct pkt in[90];
	uint8_t stamp[8];
	size_t sent = 0;
	int result;

	(void)state;
	clocked = net;
	worst_us = 0;
	net->on_msg = take_time;
	for (int i = 0; i < 2; i++) {
		net->link[i].delay_us = 25000;
		net->link[i].loss_permille = 50;
	}
	assert_true(sctp_net_connect(net));
	for (int i = 0; i < 2; i++)
		sctp_tunnel_start(net->end[i], IP, net->now_us);
	for (size_t i = 0; i < 90; i++)
		in[i] = (struct pkt){.data = bytes, .len = 100};
	for (int ms = 0; ms < 2000; ms++) {
		sent += sctp_net_tunnel(net, 0, IP, in, 90, &result);
		assert_int_equal(result, 0);
		be64_store(stamp, net->now_us);
		if (ms % 20 == 0)
			assert_int_equal(sctp_send(net->end[0], &o, stamp, 8, net->now_us), 0);
		sctp_net_run(net, net->now_us + 1000);
	}
	sctp_net_run(net, net->now_us + 2000000);
	assert_int_equal(sent, 180000);
	assert_in_range(net->messages[1], 180000 * 94 / 100, 180000 * 96 / 100 + 100);
	assert_in_range(worst_us, 25000, 250000);
	assert_int_equal(sctp_counters(net->end[1])->skipped_tsn + net->messages[1], 180100);
	sctp_net_free(net);
}

/* TSNs wrap after 2^32 packets: these seeds begin shortly before. */
static void tunnel_tsn_wraps_without_notice(void **state)
{
	struct sctp_config a = sctp_net_config(8478572), b = sctp_net_config(47459735);
	struct sctp_send_options o = {.stream = 0, .ppid = 53};
	struct pkt in[20];
	int result;

	(void)state;
	for (size_t i = 0; i < 20; i++)
		in[i] = (struct pkt){.data = bytes, .len = 500};
	for (int tunnel = 0; tunnel < 2; tunnel++) {
		struct sctp_net *net = sctp_net_new(5, &a, &b);
		uint64_t kept = 0, sent = 0;

		for (int i = 0; i < 2; i++) {
			net->link[i].loss_permille = 50;
			net->link[i].jitter_us = 3000;
		}
		assert_true(sctp_net_connect(net));
		for (int i = 0; i < 2; i++) {
			assert_true(net->end[i]->my_tsn > 0xffffff00);
			if (tunnel)
				sctp_tunnel_start(net->end[i], IP, net->now_us);
		}
		for (int ms = 0; ms < 500; ms++) {
			for (int i = 0; i < 2; i++) {
				kept += sctp_send(net->end[i], &o, bytes, 300, net->now_us) == 0;
				sent += sctp_net_tunnel(net, i, IP, in, 20, &result);
			}
			sctp_net_run(net, net->now_us + 1000);
		}
		sctp_net_run(net, net->now_us + 100000000);
		uint64_t got = net->messages[0] + net->messages[1];
		assert_true(got > kept + sent * 9 / 10 && got <= kept + sent);
		for (int i = 0; i < 2; i++) {
			assert_true(net->end[i]->out.next_tsn < 0x10000000);
			assert_true(send_is_empty(net->end[i]));
			assert_int_equal(sctp_counters(net->end[i])->bad_chunk, 0);
		}
		sctp_net_free(net);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tunnel_large_packets_go_one_each),
		cmocka_unit_test(tunnel_small_packets_are_bundled_equally),
		cmocka_unit_test(tunnel_mixed_sizes_keep_trains_equal),
		cmocka_unit_test(tunnel_joins_a_train_that_has_begun),
		cmocka_unit_test(tunnel_reserved_places_give_the_same_train),
		cmocka_unit_test(tunnel_reserve_joins_a_train_and_tells_its_bounds),
		cmocka_unit_test(tunnel_large_message_is_cut),
		cmocka_unit_test(tunnel_small_buffer_is_respected),
		cmocka_unit_test(tunnel_before_start_obeys_the_window),
		cmocka_unit_test(tunnel_start_forgets_what_was_kept),
		cmocka_unit_test(tunnel_start_measures_with_what_is_kept),
		cmocka_unit_test(tunnel_start_keeps_the_measurement_of_a_kept_chunk),
		cmocka_unit_test(tunnel_gap_is_given_up_after_20_ms),
		cmocka_unit_test(tunnel_gap_waits_longer_on_a_long_path),
		cmocka_unit_test(tunnel_late_packet_closes_gap_without_forward),
		cmocka_unit_test(tunnel_forward_waits_for_kept_chunk),
		cmocka_unit_test(tunnel_kept_message_given_up_is_passed_at_once),
		cmocka_unit_test(tunnel_kept_message_given_up_waits_for_the_tunnel),
		cmocka_unit_test(tunnel_repeated_kept_chunk_lost_again_is_seen),
		cmocka_unit_test(tunnel_repeated_kept_chunk_is_given_its_time),
		cmocka_unit_test(tunnel_forward_is_paced),
		cmocka_unit_test(tunnel_breaker_opens_and_recovers),
		cmocka_unit_test(tunnel_idle_is_silent),
		cmocka_unit_test(tunnel_breaker_counts_from_a_ctl_message),
		cmocka_unit_test(tunnel_lost_tail_is_given_up),
		cmocka_unit_test(tunnel_ring_full_stops_and_goes_on),
		cmocka_unit_test(tunnel_sack_rides_with_few_and_not_with_trains),
		cmocka_unit_test(tunnel_bad_state_is_told),
		cmocka_unit_test(tunnel_large_ctl_message_is_refused),
		cmocka_unit_test(tunnel_fast_lossy_path_never_stops),
		cmocka_unit_test(tunnel_tsn_wraps_without_notice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
