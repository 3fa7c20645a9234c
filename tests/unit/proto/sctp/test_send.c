/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hand.h"

#include <string.h>

static struct hand h;
static uint32_t first; /* TSN of our first DATA */

static void setup(void)
{
	hand_init(&h, false);
	first = h.s->out.next_tsn;
}

/* n reliable messages of 1,000 bytes, as far as the window allows sent. */
static void send_messages(unsigned n)
{
	static uint8_t data[1000];
	struct sctp_send_options o = {.stream = 1, .ppid = 53};

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(sctp_send(h.s, &o, data, sizeof(data), h.now_us), 0);
	hand_listen(&h);
}

/* Which TSNs were said, from the first of them on. */
static bool said_tsn(uint32_t tsn)
{
	for (size_t i = 0; i < hand_count(&h, CHUNK_DATA); i++)
		if (be32_load(hand_said(&h, CHUNK_DATA, i)->body) == tsn)
			return true;
	return false;
}

static void widen(unsigned packets)
{
	h.s->cc.cwnd = packets * h.s->cc.mtu;
	h.s->out.burst = (uint8_t)packets;
}

static void send_initial_window_is_the_rfcs(void **state)
{
	(void)state;
	setup();
	assert_int_equal(h.s->cc.cwnd, 4404);
	send_messages(10);
	/* Nothing starts once 4,404 bytes are in flight; the last may go over. */
	assert_int_equal(hand_count(&h, CHUNK_DATA), 4);
	assert_int_equal(h.s->out.flight, 4000);
	hand_deinit(&h);
}

static void send_slow_start_then_avoidance_grows_window(void **state)
{
	(void)state;
	setup();
	send_messages(100);
	uint32_t before = h.s->cc.cwnd;
	/* RFC 9260 7.2.1: by one packet a SACK while the window is used. */
	assert_true(h.s->out.flight < before);
	h.s->out.filled = true;
	hand_give_sack(&h, first + 1, NULL, 0);
	assert_int_equal(h.s->cc.cwnd, before + h.s->cc.mtu);
	/* Not when nothing new is acknowledged. */
	h.s->out.filled = true;
	hand_give_sack(&h, first + 1, NULL, 0);
	assert_int_equal(h.s->cc.cwnd, before + h.s->cc.mtu);
	/* 7.2.2: above ssthresh by one packet for a window of bytes. */
	h.s->cc.ssthresh = 1000;
	before = h.s->cc.cwnd;
	hand_listen(&h);
	h.s->out.filled = true;
	hand_give_sack(&h, first + 3, NULL, 0);
	assert_int_equal(h.s->cc.cwnd, before);
	assert_int_equal(h.s->cc.partial, 2000);
	hand_deinit(&h);
}

/*
 * RFC 9260 6.2.1 and 7.2.4. Five chunks are in flight; each row is one SACK and what it must do. Offsets are
 * from cum, cum is relative to the TSN before the first.
 */
static void sack_table_means_what_rfc_says(void **state)
{
	static const struct {
		const char *name;
		int32_t cum;
		uint16_t gaps[6];
		uint8_t count;
		uint8_t in_flight, acked; /* afterwards */
		uint8_t bad;
	} rows[] = {
		{"nothing new", 0, {0}, 0, 5, 0, 0},
		{"first", 1, {0}, 0, 4, 0, 0},
		{"all", 5, {0}, 0, 0, 0, 0},
		{"never sent", 6, {0}, 0, 5, 0, 1},
		{"far ahead", 0x7fffffff, {0}, 0, 5, 0, 1},
		{"old", -1, {0}, 0, 5, 0, 0},
		{"gap", 1, {2, 3}, 1, 2, 2, 0},
		{"two gaps", 0, {2, 2, 4, 5}, 2, 2, 3, 0},
		{"touching", 0, {2, 2, 3, 4}, 2, 2, 3, 0},
		{"touching cum", 1, {1, 2}, 1, 2, 2, 0},
		{"gap beyond what was sent", 0, {2, 6}, 1, 5, 0, 1},
		{"good gap, then one beyond", 0, {2, 2, 4, 9}, 2, 4, 1, 1},
		{"inverted", 0, {4, 2}, 1, 5, 0, 1},
		{"overlapping", 0, {2, 4, 3, 5}, 2, 2, 3, 1},
		{"descending", 0, {4, 5, 2, 2}, 2, 3, 2, 1},
		{"zero", 0, {0, 0}, 1, 5, 0, 1},
		{"whole window", 0, {1, 65535}, 1, 5, 0, 1},
		{"twice the same", 0, {2, 3, 2, 3}, 2, 3, 2, 1},
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		setup();
		widen(10);
		send_messages(5);
		uint64_t bad = sctp_counters(h.s)->bad_chunk;
		hand_give_sack(&h, first - 1 + (uint32_t)rows[i].cum, rows[i].gaps, rows[i].count);
		if (h.s->out.counts[OUT_IN_FLIGHT] != rows[i].in_flight ||
		    h.s->out.counts[OUT_ACKED] != rows[i].acked ||
		    sctp_counters(h.s)->bad_chunk - bad != rows[i].bad ||
		    h.s->out.flight != rows[i].in_flight * 1000u)
			fail_msg("%s", rows[i].name);
		hand_deinit(&h);
	}
}

static void sack_three_misses_send_again_once(void **state)
{
	static const uint16_t gaps[][2] = {{2, 2}, {2, 3}, {2, 4}, {2, 5}, {2, 6}, {2, 7}};

	(void)state;
	setup();
	widen(20);
	send_messages(8);
	uint32_t before = h.s->cc.cwnd;
	hand_give_sack(&h, first - 1, gaps[0], 1);
	hand_give_sack(&h, first - 1, gaps[1], 1);
	hand_give_sack(&h, first - 1, gaps[1], 1); /* nothing newly acknowledged: no miss */
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 0);
	hand_give_sack(&h, first - 1, gaps[2], 1);
	hand_listen(&h);
	assert_true(said_tsn(first));
	assert_int_equal(hand_count(&h, CHUNK_DATA), 1);
	assert_int_equal(sctp_counters(h.s)->retransmitted, 1);
	assert_int_equal(h.s->cc.cwnd, GV_MAX(before / 2, 4 * h.s->cc.mtu));
	/* 7.2.4: not fast a second time. */
	for (int i = 3; i < 6; i++)
		hand_give_sack(&h, first - 1, gaps[i], 1);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 0);
	hand_deinit(&h);
}

static void sack_that_takes_back_makes_outstanding_again(void **state)
{
	static const uint16_t gap[] = {2, 4};

	(void)state;
	setup();
	widen(20);
	send_messages(5);
	hand_give_sack(&h, first - 1, gap, 1);
	assert_int_equal(h.s->out.counts[OUT_ACKED], 3);
	hand_give_sack(&h, first - 1, NULL, 0);
	assert_int_equal(h.s->out.counts[OUT_ACKED], 0);
	assert_int_equal(h.s->out.flight, 5000);
	/* All in gaps, and nothing moves: T3 finds out. */
	hand_give_sack(&h, first, NULL, 0);
	hand_sleep(&h, 2000000);
	hand_listen(&h);
	assert_true(said_tsn(first + 1));
	hand_deinit(&h);
}

static void timeout_sends_first_again_with_one_packet(void **state)
{
	(void)state;
	setup();
	widen(20);
	send_messages(5);
	hand_sleep(&h, RTO_INITIAL_US);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 1);
	assert_true(said_tsn(first));
	assert_int_equal(h.s->cc.cwnd, h.s->cc.mtu);
	/* 6.3.3 E2: doubled. */
	hand_sleep(&h, 2 * RTO_INITIAL_US - 1);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 0);
	hand_sleep(&h, 1);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 1);
	hand_deinit(&h);
}

/* After a timeout the window is one packet; it must grow again from there, whatever the size of a chunk. */
static void timeout_window_grows_again(void **state)
{
	static uint8_t data[SCTP_KEPT_BYTES_MAX];
	struct sctp_send_options o = {.stream = 1, .ppid = 53};
	uint32_t before;

	(void)state;
	for (size_t len = 700; len <= sizeof(data); len += 460) {
		setup();
		for (int i = 0; i < 100; i++)
			assert_int_equal(sctp_send(h.s, &o, data, len, h.now_us), 0);
		hand_listen(&h);
		hand_sleep(&h, RTO_INITIAL_US);
		hand_listen(&h);
		before = h.s->cc.cwnd;
		assert_int_equal(before, h.s->cc.mtu);
		for (int i = 0; i < 3; i++) {
			hand_give_sack(&h, be32_load(hand_must(&h, CHUNK_DATA, 0)->body), NULL, 0);
			hand_listen(&h);
		}
		assert_true(h.s->cc.cwnd > before);
		hand_deinit(&h);
	}
}

static void timeouts_without_end_end_the_association(void **state)
{
	struct sctp_event e;

	(void)state;
	setup();
	send_messages(1);
	for (int i = 0; i < 40 && sctp_is_up(h.s); i++) {
		hand_sleep(&h, RTO_MAX_US);
		hand_listen(&h);
	}
	assert_int_equal(sctp_event(h.s, &e), 1);
	assert_int_equal(e.type, SCTP_EVENT_DOWN);
	assert_int_equal(e.reason, SCTP_DOWN_TIMEOUT);
	hand_deinit(&h);
}

/* RFC 9260 6.3.1 */
static void rto_follows_round_trips(void **state)
{
	(void)state;
	setup();
	send_messages(1);
	h.now_us += 100000;
	hand_give_sack(&h, first, NULL, 0);
	assert_int_equal(sctp_srtt_us(h.s), 100000);
	assert_int_equal(h.s->cc.rttvar_us, 50000);
	assert_int_equal(cc_rto(h.s), RTO_MIN_US);
	sctp_tunnel_start(h.s, 2, h.now_us);
	assert_int_equal(cc_rto(h.s), 300000);
	send_messages(1);
	h.now_us += 20000;
	hand_give_sack(&h, first + 1, NULL, 0);
	assert_int_equal(sctp_srtt_us(h.s), 90000);
	hand_deinit(&h);
}

/* Karn: a chunk that was sent twice measures nothing. */
static void rto_ignores_repeated_chunks(void **state)
{
	(void)state;
	setup();
	send_messages(1);
	hand_sleep(&h, RTO_INITIAL_US);
	hand_listen(&h);
	h.now_us += 1000;
	hand_give_sack(&h, first, NULL, 0);
	assert_int_equal(sctp_srtt_us(h.s), 0);
	hand_deinit(&h);
}

/* RFC 9260 6.1 A: one chunk probes a closed window; the end does not come while it is answered. */
static void window_of_zero_is_probed(void **state)
{
	(void)state;
	setup();
	widen(20);
	send_messages(3);
	hand_begin(&h);
	hand_sack(&h, first + 2, 0, NULL, 0);
	hand_give(&h);
	send_messages(3);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 1);
	for (int i = 0; i < 30; i++) {
		hand_sleep(&h, RTO_MAX_US);
		hand_listen(&h);
		hand_begin(&h);
		hand_sack(&h, first + 2, 0, NULL, 0);
		hand_give(&h);
	}
	assert_true(sctp_is_up(h.s));
	hand_give_sack(&h, first + 3, NULL, 0);
	hand_listen(&h);
	assert_true(said_tsn(first + 4));
	hand_deinit(&h);
}

static void send_bad_arguments_are_told(void **state)
{
	static uint8_t big[SCTP_MESSAGE_BYTES_MAX + 1];
	struct sctp_send_options o = {.stream = 1, .ppid = 53};

	(void)state;
	setup();
	assert_int_equal(sctp_send(h.s, &o, big, sizeof(big), h.now_us), SCTP_TOO_LARGE);
	assert_true(sctp_send(h.s, &o, big, 0, h.now_us) < 0);
	o.stream = 1023;
	assert_int_equal(sctp_send(h.s, &o, big, 1, h.now_us), 0);
	o.stream = 1024; /* the hand takes 1,024 streams */
	assert_int_equal(sctp_send(h.s, &o, big, 1, h.now_us), SCTP_BAD_STREAM);
	sctp_abort(h.s, h.now_us);
	assert_int_equal(sctp_send(h.s, &o, big, 1, h.now_us), SCTP_NOT_UP);
	hand_deinit(&h);
}

static void send_full_buffer_tells_and_writable_follows(void **state)
{
	static uint8_t data[60000];
	struct sctp_net *net = sctp_net_new(1, NULL, NULL);
	struct sctp_send_options o = {.stream = 1, .ppid = 53};
	unsigned n = 0;
	int r;

	(void)state;
	assert_true(sctp_net_connect(net));
	while ((r = sctp_send(net->end[0], &o, data, sizeof(data), net->now_us)) == 0)
		n++;
	assert_int_equal(r, SCTP_FULL);
	assert_int_equal(n, SEND_BYTES / sizeof(data));
	sctp_net_run(net, net->now_us + 30000000);
	assert_int_equal(net->messages[1], n);
	assert_int_equal(net->writables[0], 1);
	assert_int_equal(net->end[0]->out.bytes, 0);
	sctp_net_free(net);
}

/* RFC 3758: retransmissions are counted, then FORWARD-TSN. */
static void partial_retransmits_gives_up_after_limit(void **state)
{
	struct sctp_send_options o = {
		.stream = 7, .ppid = 53, .reliability = SCTP_MAX_RETRANSMITS, .limit = 2};
	struct chunk_forward f;
	uint16_t stream, ssn;
	unsigned sent = 0;

	(void)state;
	setup();
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	for (int i = 0; i < 10; i++) {
		hand_listen(&h);
		sent += hand_count(&h, CHUNK_DATA) > 0;
		if (hand_count(&h, CHUNK_FORWARD_TSN) > 0)
			break;
		hand_sleep(&h, RTO_INITIAL_US << i);
	}
	assert_int_equal(sent, 3);
	assert_int_equal(sctp_counters(h.s)->gave_up, 1);
	assert_int_equal(chunk_forward_read(hand_must(&h, CHUNK_FORWARD_TSN, 0), &f), CHUNK_OK);
	assert_int_equal(f.cum, first);
	assert_int_equal(f.pairs, 1);
	chunk_forward_pair(&f, 0, &stream, &ssn);
	assert_int_equal(stream, 7);
	assert_int_equal(ssn, 0);
	/* Repeated until it is acknowledged. */
	hand_sleep(&h, 20 * RTO_INITIAL_US);
	hand_listen(&h);
	assert_true(hand_count(&h, CHUNK_FORWARD_TSN) > 0);
	hand_give_sack(&h, first, NULL, 0);
	hand_sleep(&h, 20 * RTO_INITIAL_US);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_FORWARD_TSN), 0);
	assert_true(send_is_empty(h.s));
	hand_deinit(&h);
}

/* A message half sent when its time is over: the peer must learn that the rest never comes. */
static void partial_lifetime_of_half_message_takes_a_tsn(void **state)
{
	static uint8_t big[20000];
	struct sctp_send_options o = {
		.stream = 7, .ppid = 53, .reliability = SCTP_MAX_LIFETIME, .limit = 100};
	struct chunk_forward f;

	(void)state;
	setup();
	assert_int_equal(sctp_send(h.s, &o, big, sizeof(big), h.now_us), 0);
	hand_listen(&h);
	uint32_t sent = (uint32_t)hand_count(&h, CHUNK_DATA);
	assert_in_range(sent, 2, 4);
	hand_sleep(&h, 150000);
	/* Everything that was sent arrived. */
	hand_give_sack(&h, first + sent - 1, NULL, 0);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 0);
	assert_non_null(hand_must(&h, CHUNK_FORWARD_TSN, 0));
	assert_int_equal(chunk_forward_read(hand_must(&h, CHUNK_FORWARD_TSN, 0), &f), CHUNK_OK);
	assert_int_equal(f.cum, first + sent);
	assert_int_equal(f.pairs, 1);
	assert_null(h.s->out.first);
	hand_deinit(&h);
}

static void partial_lifetime_unsent_takes_none(void **state)
{
	struct sctp_send_options o = {
		.stream = 7, .ppid = 53, .reliability = SCTP_MAX_LIFETIME, .limit = 100};

	(void)state;
	setup();
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	h.now_us += 100001;
	hand_listen(&h);
	assert_int_equal(h.said_count, 0);
	assert_int_equal(h.s->out.next_tsn, first);
	assert_int_equal(sctp_counters(h.s)->gave_up, 1);
	hand_deinit(&h);
}

/* An abandoned message between two halves of a healthy one must not take that with it. */
static void partial_forward_stops_at_last_abandoned(void **state)
{
	static uint8_t big[2000];
	struct sctp_send_options once = {.stream = 7,
	                                 .ppid = 53,
	                                 .unordered = true,
	                                 .reliability = SCTP_MAX_RETRANSMITS,
	                                 .limit = 0};
	struct sctp_send_options keep = {.stream = 1, .ppid = 53};
	static const uint16_t gap[] = {2, 2};
	struct chunk_forward f;

	(void)state;
	setup();
	widen(10);
	assert_int_equal(sctp_send(h.s, &once, "x", 1, h.now_us), 0);
	assert_int_equal(sctp_send(h.s, &keep, big, sizeof(big), h.now_us), 0);
	hand_listen(&h);
	hand_give_sack(&h, first - 1, gap, 1); /* the first half of the large one came */
	hand_sleep(&h, RTO_INITIAL_US);
	hand_listen(&h);
	assert_int_equal(chunk_forward_read(hand_must(&h, CHUNK_FORWARD_TSN, 0), &f), CHUNK_OK);
	assert_int_equal(f.cum, first);
	assert_true(said_tsn(first + 2));
	hand_deinit(&h);
}

/* The last message is dropped before it was sent: who waited for it goes on at once. */
static void partial_lifetime_unsent_ends_waiting(void **state)
{
	struct sctp_send_options o = {
		.stream = 7, .ppid = 53, .reliability = SCTP_MAX_LIFETIME, .limit = 100};

	(void)state;
	for (int reset = 0; reset < 2; reset++) {
		setup();
		send_messages(1);
		h.s->cc.cwnd = h.s->out.flight;
		assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
		if (reset)
			assert_int_equal(sctp_reset_stream(h.s, 7, h.now_us), 0);
		else
			sctp_shutdown(h.s, h.now_us);
		assert_int_equal(hand_listen(&h), 0);
		h.now_us += 100001;
		hand_give_sack(&h, first, NULL, 0);
		hand_listen(&h);
		(void)hand_must(&h, reset ? CHUNK_RE_CONFIG : CHUNK_SHUTDOWN, 0);
		assert_int_equal(h.said_count, 1);
		assert_int_equal(sctp_counters(h.s)->gave_up, 1);
		hand_deinit(&h);
	}
}

/* What the peer holds for its order is not passed: dcSCTP would drop it, for its number is below the named one. */
static void partial_forward_stops_at_what_the_peer_has(void **state)
{
	static const uint16_t gap[] = {2, 2};
	struct sctp_send_options o = {
		.stream = 7, .ppid = 53, .reliability = SCTP_MAX_RETRANSMITS, .limit = 0};
	struct chunk_forward f;
	uint16_t stream, ssn;

	(void)state;
	setup();
	for (int i = 0; i < 3; i++)
		assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	hand_listen(&h);
	hand_give_sack(&h, first - 1, gap, 1);
	hand_sleep(&h, RTO_INITIAL_US);
	for (uint32_t i = 0; i < 3; i += 2) {
		hand_listen(&h);
		assert_int_equal(chunk_forward_read(hand_must(&h, CHUNK_FORWARD_TSN, 0), &f),
		                 CHUNK_OK);
		assert_int_equal(f.cum, first + i);
		assert_int_equal(f.pairs, 1);
		chunk_forward_pair(&f, 0, &stream, &ssn);
		assert_int_equal(ssn, i);
		/* The one that came is delivered now; the next is passed soon after. */
		hand_give_sack(&h, first + i + (i == 0), NULL, 0);
		hand_sleep(&h, TUNNEL_FORWARD_INTERVAL_US);
	}
	assert_true(send_is_empty(h.s));
	hand_deinit(&h);
}

/* One fragment given up takes the others with it, also those that are still on their way. */
static void partial_whole_message_is_given_up(void **state)
{
	static uint8_t big[5000];
	static const uint16_t gaps[][2] = {{2, 2}, {2, 3}, {2, 4}};
	struct sctp_send_options o = {
		.stream = 7, .ppid = 53, .reliability = SCTP_MAX_RETRANSMITS, .limit = 0};
	struct chunk_forward f;

	(void)state;
	setup();
	widen(10);
	assert_int_equal(sctp_send(h.s, &o, big, sizeof(big), h.now_us), 0);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 5);
	for (size_t i = 0; i < 3; i++)
		hand_give_sack(&h, first - 1, gaps[i], 1);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 0);
	assert_int_equal(chunk_forward_read(hand_must(&h, CHUNK_FORWARD_TSN, 0), &f), CHUNK_OK);
	assert_int_equal(f.cum, first + 4);
	assert_int_equal(sctp_counters(h.s)->gave_up, 1);
	assert_int_equal(h.s->out.flight, 0);
	hand_deinit(&h);
}

/* FORWARD-TSN names each stream once, with its highest number. */
static void partial_forward_names_each_stream_once(void **state)
{
	struct sctp_send_options o = {.ppid = 53, .reliability = SCTP_MAX_RETRANSMITS, .limit = 0};
	struct chunk_forward f;
	uint16_t stream, ssn;

	(void)state;
	setup();
	widen(10);
	for (uint16_t i = 0; i < 30; i++) {
		o.stream = i % 3;
		assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	}
	hand_listen(&h);
	hand_sleep(&h, RTO_INITIAL_US);
	hand_listen(&h);
	assert_int_equal(chunk_forward_read(hand_must(&h, CHUNK_FORWARD_TSN, 0), &f), CHUNK_OK);
	assert_int_equal(f.cum, first + 29);
	assert_int_equal(f.pairs, 3);
	for (size_t i = 0; i < 3; i++) {
		chunk_forward_pair(&f, i, &stream, &ssn);
		assert_int_equal(stream, i);
		assert_int_equal(ssn, 9);
	}
	hand_deinit(&h);
}

/* More streams than one FORWARD-TSN names: the rest follows the SACK, not the timer. */
static void partial_forward_in_pieces_follows_sacks(void **state)
{
	struct sctp_send_options o = {.ppid = 53, .reliability = SCTP_MAX_RETRANSMITS, .limit = 0};
	const uint64_t trip_us = 100000;
	struct chunk_forward f;

	(void)state;
	for (int tunnel = 0; tunnel < 2; tunnel++) {
		setup();
		send_messages(1);
		hand_sleep(&h, trip_us);
		hand_give_sack(&h, first++, NULL, 0);
		if (tunnel)
			sctp_tunnel_start(h.s, 2, h.now_us);
		widen(100);
		for (o.stream = 0; o.stream < 200; o.stream++)
			assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
		hand_listen(&h);
		hand_sleep(&h, cc_rto(h.s));
		for (uint32_t done = 64; done <= 256; done += 64) {
			hand_listen(&h);
			assert_int_equal(
				chunk_forward_read(hand_must(&h, CHUNK_FORWARD_TSN, 0), &f),
				CHUNK_OK);
			assert_int_equal(f.cum, first + GV_MIN(done, 200u) - 1);
			assert_int_equal(h.s->out.forward_tries, 1);
			hand_sleep(&h, trip_us);
			hand_give_sack(&h, f.cum, NULL, 0);
		}
		hand_listen(&h);
		assert_int_equal(h.said_count, 0);
		hand_deinit(&h);
	}
}

/* A train of small datagrams has no room for the streams: none is left out for that, the train ends. */
static void partial_forward_is_not_cut_for_a_train(void **state)
{
	struct sctp_send_options o = {.ppid = 53, .reliability = SCTP_MAX_RETRANSMITS, .limit = 0};
	static uint8_t room[2000];
	struct batch begun = BATCH_INIT(room, sizeof(room), 0, 0);
	struct chunk_forward f;

	(void)state;
	setup();
	widen(10);
	for (o.stream = 0; o.stream < 20; o.stream++)
		assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	hand_listen(&h);
	hand_sleep(&h, RTO_INITIAL_US);
	o.reliability = SCTP_RELIABLE;
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	assert_non_null(batch_reserve(&begun, 80));
	assert_int_equal(sctp_output(h.s, &begun, h.now_us), 0);
	hand_listen(&h);
	assert_int_equal(h.packets, 1);
	assert_int_equal(h.said[0].type, CHUNK_FORWARD_TSN);
	assert_int_equal(chunk_forward_read(&h.said[0], &f), CHUNK_OK);
	assert_int_equal(f.cum, first + 19);
	assert_int_equal(f.pairs, 20);
	assert_int_equal(h.said[1].type, CHUNK_DATA);
	hand_deinit(&h);
}

/* RFC 3758 3.5 C3: a SACK of later data that still lacks what was given up asks for FORWARD-TSN again. */
static void partial_forward_lost_is_repeated_by_sacks(void **state)
{
	static const uint16_t gap[] = {2, 2};
	struct sctp_send_options o = {.ppid = 53, .reliability = SCTP_MAX_RETRANSMITS, .limit = 0};

	(void)state;
	setup();
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	hand_listen(&h);
	hand_sleep(&h, RTO_INITIAL_US);
	hand_listen(&h);
	(void)hand_must(&h, CHUNK_FORWARD_TSN, 0); /* lost */
	send_messages(1);
	hand_sleep(&h, TUNNEL_FORWARD_INTERVAL_US / 2);
	hand_give_sack(&h, first - 1, gap, 1);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_FORWARD_TSN), 0); /* it may still be under way */
	hand_sleep(&h, TUNNEL_FORWARD_INTERVAL_US);
	hand_give_sack(&h, first - 1, gap, 1);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_FORWARD_TSN), 1);
	hand_deinit(&h);
}

/* What came behind a message that was given up waits for FORWARD-TSN only: it is not sent again nor given up too. */
static void partial_forward_lost_leaves_what_came_alone(void **state)
{
	static const uint16_t gap[] = {2, 3};
	struct sctp_send_options o = {
		.stream = 7, .ppid = 53, .reliability = SCTP_MAX_RETRANSMITS, .limit = 0};
	unsigned forwards = 0;

	(void)state;
	setup();
	for (int i = 0; i < 2; i++)
		assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	send_messages(1);
	hand_give_sack(&h, first - 1, gap, 1);
	assert_true(assoc_timer_runs(h.s, TIMER_RTX));
	for (int i = 0; i < 20; i++) {
		hand_sleep(&h, RTO_INITIAL_US);
		hand_listen(&h);
		assert_int_equal(hand_count(&h, CHUNK_DATA), 0);
		forwards += (unsigned)hand_count(&h, CHUNK_FORWARD_TSN);
	}
	assert_in_range(forwards, 4, 20);
	assert_int_equal(sctp_counters(h.s)->gave_up, 1);
	assert_int_equal(h.s->cc.backoff, 1); /* of the one timeout that gave it up */
	hand_give_sack(&h, first + 2, NULL, 0);
	assert_true(send_is_empty(h.s));
	hand_deinit(&h);
}

/* T3 that was started for what was given up since does nothing. */
static void partial_given_up_before_the_timeout_is_no_timeout(void **state)
{
	static const uint16_t gaps[3][2] = {{2, 2}, {2, 3}, {2, 4}};
	struct sctp_send_options o = {
		.stream = 7, .ppid = 53, .reliability = SCTP_MAX_LIFETIME, .limit = 500};

	(void)state;
	setup();
	widen(10);
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	send_messages(3);
	for (int i = 0; i < 3; i++)
		hand_give_sack(&h, first - 1, gaps[i], 1); /* lost: to be sent again */
	hand_sleep(&h, RTO_INITIAL_US / 2 + 1000);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 0);
	(void)hand_must(&h, CHUNK_FORWARD_TSN, 0);
	hand_sleep(&h, RTO_INITIAL_US / 2);
	hand_listen(&h);
	assert_int_equal(h.said_count, 0);
	assert_int_equal(h.s->cc.backoff, 0);
	assert_int_equal(h.s->cc.errors, 0);
	hand_deinit(&h);
}

/* The end of a message came and its begin is given up: FORWARD-TSN passes both (usrsctp would deliver the end). */
static void partial_forward_passes_what_came_of_the_message(void **state)
{
	static uint8_t data[SCTP_KEPT_BYTES_MAX + 10];
	static const uint16_t gap[] = {2, 2};
	struct sctp_send_options o = {.ppid = 53, .reliability = SCTP_MAX_RETRANSMITS, .limit = 0};

	(void)state;
	setup();
	assert_int_equal(sctp_send(h.s, &o, data, sizeof(data), h.now_us), 0);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 2);
	hand_give_sack(&h, first - 1, gap, 1);
	hand_sleep(&h, RTO_INITIAL_US);
	hand_listen(&h);
	assert_int_equal(be32_load(hand_must(&h, CHUNK_FORWARD_TSN, 0)->body), first + 1);
	hand_deinit(&h);
}

static void partial_lifetime_of_zero_is_sent_once(void **state)
{
	struct sctp_send_options o = {
		.stream = 7, .ppid = 53, .reliability = SCTP_MAX_LIFETIME, .limit = 0};

	(void)state;
	setup();
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 1);
	hand_sleep(&h, RTO_INITIAL_US);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_DATA), 0);
	(void)hand_must(&h, CHUNK_FORWARD_TSN, 0);
	hand_deinit(&h);
}

/* RFC 9260 7.2.1: in fast recovery the window stands still until what was in flight when it began is through. */
static void window_stands_still_in_recovery(void **state)
{
	static const uint16_t gaps[3][2] = {{2, 2}, {2, 3}, {2, 4}};

	(void)state;
	setup();
	widen(20);
	send_messages(12);
	for (int i = 0; i < 3; i++)
		hand_give_sack(&h, first - 1, gaps[i], 1);
	hand_listen(&h);
	assert_true(h.s->cc.recovery);
	uint32_t cwnd = h.s->cc.cwnd;
	assert_int_equal(cwnd, 10 * h.s->cc.mtu);
	send_messages(20);
	hand_give_sack(&h, first + 4, NULL, 0);
	hand_give_sack(&h, first + 8, NULL, 0);
	assert_true(h.s->cc.recovery);
	assert_int_equal(h.s->cc.cwnd, cwnd);
	hand_give_sack(&h, first + 11, NULL, 0);
	assert_false(h.s->cc.recovery);
	hand_deinit(&h);
}

/* DATA of the peer, read before what a SACK allowed was sent, must not take that away: nothing else would give it. */
static void burst_outlives_other_packets(void **state)
{
	(void)state;
	setup();
	send_messages(20);
	assert_true(h.s->out.first != NULL);
	hand_give_sack(&h, h.s->out.next_tsn - 1, NULL, 0);
	assert_int_equal(h.s->out.flight, 0);
	hand_give_data(&h, h.tsn, 1, 0, CHUNK_DATA_WHOLE, "x");
	hand_listen(&h);
	assert_true(hand_count(&h, CHUNK_DATA) > 0);
	hand_deinit(&h);
}

/* RFC 9260 7.2.1: half for each timeout without data, however often somebody looks. */
static void window_decays_when_idle(void **state)
{
	(void)state;
	setup();
	send_messages(1);
	hand_give_sack(&h, first, NULL, 0);
	h.s->cc.cwnd = 64 * h.s->cc.mtu;
	uint64_t rto = cc_rto(h.s);
	hand_sleep(&h, rto - 1);
	hand_listen(&h);
	assert_int_equal(h.s->cc.cwnd, 64 * h.s->cc.mtu);
	for (int i = 0; i < 10; i++) {
		hand_sleep(&h, 1);
		hand_listen(&h);
		assert_int_equal(h.s->cc.cwnd, 32 * h.s->cc.mtu);
	}
	hand_sleep(&h, rto);
	hand_listen(&h);
	assert_int_equal(h.s->cc.cwnd, 16 * h.s->cc.mtu);
	hand_sleep(&h, 20 * rto);
	hand_listen(&h);
	assert_int_equal(h.s->cc.cwnd, 4 * h.s->cc.mtu);
	hand_deinit(&h);
}

/* RFC 9260 7.2.4, step 4: the chunk that is outstanding the longest has a whole timeout after it was sent again. */
static void fast_retransmission_of_the_first_restarts_the_timer(void **state)
{
	static const uint16_t gaps[3][2] = {{2, 2}, {2, 3}, {2, 4}};

	(void)state;
	setup();
	widen(10);
	send_messages(5);
	hand_sleep(&h, RTO_INITIAL_US - 1000);
	for (int i = 0; i < 3; i++)
		hand_give_sack(&h, first - 1, gaps[i], 1);
	hand_listen(&h);
	assert_true(said_tsn(first));
	assert_int_equal(h.s->timers[TIMER_RTX], h.now_us + cc_rto(h.s));
	hand_deinit(&h);
}

/* RFC 9260 6.1: a SACK that may wait does not wait for longer than the next DATA. */
static void sack_that_waits_rides_with_data(void **state)
{
	(void)state;
	setup();
	hand_give_data(&h, h.tsn, 1, 0, CHUNK_DATA_WHOLE, "x"); /* the first is answered at once */
	hand_listen(&h);
	hand_give_data(&h, h.tsn + 1, 1, 1, CHUNK_DATA_WHOLE, "x");
	assert_int_equal(hand_listen(&h), 0);
	send_messages(1);
	assert_int_equal(h.packets, 1);
	assert_int_equal(h.said[0].type, CHUNK_SACK);
	assert_int_equal(h.said[1].type, CHUNK_DATA);
	hand_sleep(&h, SACK_DELAY_US);
	assert_int_equal(hand_listen(&h), 0);
	hand_deinit(&h);
}

/* A peer may accept more than we ever keep. */
static void send_above_the_send_buffer_is_too_large(void **state)
{
	static uint8_t data[SCTP_MESSAGE_BYTES_MAX + 1];
	struct sctp_send_options o = {.ppid = 53};

	(void)state;
	setup();
	h.s->config.peer_max_message_bytes = 1u << 30;
	assert_int_equal(sctp_send(h.s, &o, data, sizeof(data), h.now_us), SCTP_TOO_LARGE);
	assert_int_equal(sctp_send(h.s, &o, data, sizeof(data) - 1, h.now_us), SCTP_OK);
	hand_deinit(&h);
}

/* SACKs that say anything at all must leave the counts and the flight in agreement. */
static void sack_random_lies_keep_the_books_straight(void **state)
{
	struct rng rng = rng_seeded(7);

	(void)state;
	for (int tunnel = 0; tunnel < 2; tunnel++) {
		setup();
		if (tunnel)
			sctp_tunnel_start(h.s, 2, h.now_us);
		for (int i = 0; i < 3000 && sctp_is_up(h.s); i++) {
			uint16_t gaps[16];
			uint32_t flight = 0;

			for (size_t k = 0; k < 16; k++)
				gaps[k] = (uint16_t)rng_below(&rng,
				                              rng_below(&rng, 8) == 0 ? 65536 : 12);
			if (h.s->out.messages < 50)
				send_messages(rng_below(&rng, 4));
			hand_begin(&h);
			hand_sack(&h, h.s->out.cum_ack + rng_below(&rng, 5) - 1,
			          rng_below(&rng, 20000), gaps, rng_below(&rng, 9));
			hand_give(&h);
			hand_sleep(&h, rng_below(&rng, 300000));
			hand_listen(&h);
			for (uint32_t k = 0; k < h.s->out.ring_count; k++) {
				const struct out_chunk *c = send_at(h.s, k);

				flight += c->state == OUT_IN_FLIGHT ? c->len : 0;
				assert_true(k == 0 || tsn_before(send_at(h.s, k - 1)->tsn, c->tsn));
			}
			assert_int_equal(flight, h.s->out.flight);
			assert_int_equal(h.s->out.ring_count,
			                 h.s->out.counts[0] + h.s->out.counts[1] +
			                         h.s->out.counts[2] + h.s->out.counts[3]);
		}
		hand_deinit(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(send_initial_window_is_the_rfcs),
		cmocka_unit_test(send_slow_start_then_avoidance_grows_window),
		cmocka_unit_test(sack_table_means_what_rfc_says),
		cmocka_unit_test(sack_three_misses_send_again_once),
		cmocka_unit_test(sack_that_takes_back_makes_outstanding_again),
		cmocka_unit_test(timeout_sends_first_again_with_one_packet),
		cmocka_unit_test(timeout_window_grows_again),
		cmocka_unit_test(timeouts_without_end_end_the_association),
		cmocka_unit_test(rto_follows_round_trips),
		cmocka_unit_test(rto_ignores_repeated_chunks),
		cmocka_unit_test(window_of_zero_is_probed),
		cmocka_unit_test(send_bad_arguments_are_told),
		cmocka_unit_test(send_full_buffer_tells_and_writable_follows),
		cmocka_unit_test(partial_retransmits_gives_up_after_limit),
		cmocka_unit_test(partial_lifetime_of_half_message_takes_a_tsn),
		cmocka_unit_test(partial_lifetime_unsent_takes_none),
		cmocka_unit_test(partial_lifetime_unsent_ends_waiting),
		cmocka_unit_test(partial_forward_stops_at_last_abandoned),
		cmocka_unit_test(partial_forward_stops_at_what_the_peer_has),
		cmocka_unit_test(partial_whole_message_is_given_up),
		cmocka_unit_test(partial_forward_names_each_stream_once),
		cmocka_unit_test(partial_forward_in_pieces_follows_sacks),
		cmocka_unit_test(partial_forward_is_not_cut_for_a_train),
		cmocka_unit_test(partial_forward_lost_is_repeated_by_sacks),
		cmocka_unit_test(partial_forward_lost_leaves_what_came_alone),
		cmocka_unit_test(partial_given_up_before_the_timeout_is_no_timeout),
		cmocka_unit_test(partial_forward_passes_what_came_of_the_message),
		cmocka_unit_test(partial_lifetime_of_zero_is_sent_once),
		cmocka_unit_test(window_stands_still_in_recovery),
		cmocka_unit_test(burst_outlives_other_packets),
		cmocka_unit_test(window_decays_when_idle),
		cmocka_unit_test(fast_retransmission_of_the_first_restarts_the_timer),
		cmocka_unit_test(sack_that_waits_rides_with_data),
		cmocka_unit_test(send_above_the_send_buffer_is_too_large),
		cmocka_unit_test(sack_random_lies_keep_the_books_straight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
