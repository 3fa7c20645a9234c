/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hand.h"

#include <stdlib.h>
#include <string.h>

#define U   CHUNK_DATA_UNORDERED
#define B   CHUNK_DATA_BEGIN
#define E   CHUNK_DATA_END
#define ALL CHUNK_DATA_WHOLE

static struct hand h;

/* What the next SACK says: cum relative to the first TSN, and its gap blocks. */
static void expect_sack(uint32_t cum, const uint16_t *gaps, size_t count, size_t duplicates)
{
	struct chunk_sack sack;

	hand_listen(&h);
	const struct chunk *c = hand_must(&h, CHUNK_SACK, 0);
	assert_int_equal(chunk_sack_read(c, &sack), CHUNK_OK);
	assert_int_equal(sack.cum, cum);
	assert_int_equal(sack.gaps, count);
	assert_int_equal(sack.duplicates, duplicates);
	for (size_t i = 0; i < count; i++) {
		uint32_t start, end;

		chunk_sack_gap(&sack, i, &start, &end);
		assert_int_equal(start - cum, gaps[i * 2]);
		assert_int_equal(end - cum, gaps[i * 2 + 1]);
	}
}

static void expect_text(const char *want)
{
	char text[64];

	assert_true(hand_read(&h, text, sizeof(text)));
	assert_string_equal(text, want);
}

static void expect_nothing(void)
{
	struct sctp_msg m;

	assert_int_equal(sctp_recv(h.s, &m, 1), 0);
}

static void recv_ordered_waits_for_its_turn(void **state)
{
	static const uint16_t gap[] = {2, 3};
	uint32_t t = 0;

	(void)state;
	hand_init(&h, false);
	t = h.tsn;
	hand_give_data(&h, t + 1, 3, 1, ALL, "b");
	hand_give_data(&h, t + 2, 3, 2, ALL, "c");
	expect_nothing();
	expect_sack(t - 1, gap, 1, 0);
	hand_give_data(&h, t, 3, 0, ALL, "a");
	expect_text("a");
	expect_text("b");
	expect_text("c");
	expect_nothing();
	expect_sack(t + 2, NULL, 0, 0);
	hand_deinit(&h);
}

static void recv_unordered_comes_at_once(void **state)
{
	(void)state;
	hand_init(&h, false);
	hand_give_data(&h, h.tsn + 5, 3, 0, ALL | U, "late");
	expect_text("late");
	hand_deinit(&h);
}

static void recv_duplicates_are_dropped_and_reported(void **state)
{
	static const uint16_t gap[] = {2, 2};

	(void)state;
	hand_init(&h, false);
	hand_give_data(&h, h.tsn, 1, 0, ALL | U, "x");
	expect_text("x");
	hand_give_data(&h, h.tsn + 2, 1, 0, ALL | U, "y");
	expect_text("y");
	hand_listen(&h);
	hand_give_data(&h, h.tsn, 1, 0, ALL | U, "x");
	hand_give_data(&h, h.tsn + 2, 1, 0, ALL | U, "y");
	expect_nothing();
	expect_sack(h.tsn, gap, 1, 2);
	assert_int_equal(sctp_counters(h.s)->duplicate_tsn, 2);
	hand_deinit(&h);
}

/* Any order of four fragments gives the one message, exactly once. */
static void recv_fragments_in_any_order_are_joined(void **state)
{
	static const uint8_t flags[] = {B, 0, 0, E};
	static const char *const text[] = {"he", "ll", "o ", "you"};

	(void)state;
	for (unsigned order = 0; order < 256; order++) {
		unsigned at[4] = {order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6};
		unsigned seen = 1u << at[0] | 1u << at[1] | 1u << at[2] | 1u << at[3];

		if (seen != 15)
			continue;
		for (uint8_t u = 0; u <= U; u += U) {
			hand_init(&h, false);
			for (size_t i = 0; i < 4; i++)
				hand_give_data(&h, h.tsn + at[i], 1, 0, flags[at[i]] | u,
				               text[at[i]]);
			expect_text("hello you");
			expect_nothing();
			assert_int_equal(h.s->in.bytes, 0);
			assert_int_equal(h.s->in.run_count, 0);
			hand_deinit(&h);
		}
	}
}

static void recv_fragments_of_two_messages_do_not_mix(void **state)
{
	(void)state;
	hand_init(&h, false);
	hand_give_data(&h, h.tsn + 3, 1, 0, E | U, "d");
	hand_give_data(&h, h.tsn + 1, 1, 0, E | U, "b");
	hand_give_data(&h, h.tsn + 2, 1, 0, B | U, "c");
	hand_give_data(&h, h.tsn, 1, 0, B | U, "a");
	expect_text("cd");
	expect_text("ab");
	/* Side by side, but of another stream, another number or another order: nobody's middle. */
	hand_give_data(&h, h.tsn + 4, 1, 0, B, "a");
	hand_give_data(&h, h.tsn + 5, 1, 1, E, "b");
	hand_give_data(&h, h.tsn + 6, 2, 0, B, "a");
	hand_give_data(&h, h.tsn + 7, 3, 0, E, "b");
	hand_give_data(&h, h.tsn + 8, 4, 0, B, "a");
	hand_give_data(&h, h.tsn + 9, 4, 0, E | U, "b");
	expect_nothing();
	assert_int_equal(h.s->in.run_count, 0);
	hand_deinit(&h);
}

/* A begin after a begin: the first message will never end. */
static void recv_fragment_that_does_not_fit_is_dropped(void **state)
{
	(void)state;
	hand_init(&h, false);
	hand_give_data(&h, h.tsn, 1, 0, B | U, "a");
	hand_give_data(&h, h.tsn + 1, 1, 0, B | U, "b");
	hand_give_data(&h, h.tsn + 2, 2, 0, E | U, "other stream");
	hand_give_data(&h, h.tsn + 3, 1, 0, ALL | U, "whole");
	expect_text("whole");
	expect_nothing();
	assert_int_equal(h.s->in.run_count, 0);
	assert_int_equal(h.s->in.bytes, 0);
	assert_int_equal(sctp_counters(h.s)->reassembly_drop, 3);
	hand_deinit(&h);
}

/* A second end: it belongs to nothing. */
static void recv_fragment_after_the_end_is_not_joined(void **state)
{
	(void)state;
	hand_init(&h, false);
	hand_give_data(&h, h.tsn + 1, 1, 0, E | U, "b");
	hand_give_data(&h, h.tsn + 2, 1, 0, E | U, "bogus");
	hand_give_data(&h, h.tsn, 1, 0, B | U, "a");
	expect_text("ab");
	expect_nothing();
	assert_int_equal(h.s->in.run_count, 0);
	hand_deinit(&h);
}

/* RFC 3758 3.6 */
static void recv_forward_skips_and_releases(void **state)
{
	static const uint16_t pairs[] = {3, 1, 4, 0};

	(void)state;
	hand_init(&h, false);
	/* Stream 3: 0 and 1 are given up, 2 is here. Stream 4: 0 is given up, but half of it came. */
	hand_give_data(&h, h.tsn + 2, 3, 2, ALL, "third");
	hand_give_data(&h, h.tsn + 3, 4, 0, B, "half");
	hand_give_data(&h, h.tsn + 5, 4, 1, ALL, "next");
	expect_nothing();
	hand_begin(&h);
	hand_forward(&h, h.tsn + 4, pairs, 2);
	hand_give(&h);
	expect_text("third");
	expect_text("next");
	expect_nothing();
	expect_sack(h.tsn + 5, NULL, 0, 0);
	assert_int_equal(h.s->in.bytes, 0);
	/* h.tsn, +1 and +4 never came. */
	assert_int_equal(sctp_counters(h.s)->skipped_tsn, 3);
	/* What was given up comes after all. */
	hand_give_data(&h, h.tsn, 3, 0, ALL, "first");
	expect_nothing();
	hand_deinit(&h);
}

static void recv_forward_delivers_what_is_held_below(void **state)
{
	static const uint16_t pairs[] = {3, 3};

	(void)state;
	hand_init(&h, false);
	hand_give_data(&h, h.tsn + 1, 3, 1, ALL, "b");
	hand_give_data(&h, h.tsn + 3, 3, 3, ALL, "d");
	hand_begin(&h);
	hand_forward(&h, h.tsn + 2, pairs, 1);
	hand_give(&h);
	expect_text("b");
	expect_text("d");
	expect_nothing();
	hand_deinit(&h);
}

static void recv_forward_old_or_far_is_bounded(void **state)
{
	static const uint32_t far[] = {0, 1, 65535, 65536, 1000000, 0x7fffffff};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(far); i++) {
		hand_init(&h, false);
		hand_give_data(&h, h.tsn + 10, 1, 0, ALL | U, "x");
		expect_text("x");
		hand_begin(&h);
		hand_forward(&h, h.tsn - 1 + far[i], NULL, 0);
		hand_give(&h);
		hand_begin(&h);
		hand_forward(&h, h.s->in.cum - 1, NULL, 0); /* backwards */
		hand_give(&h);
		uint32_t cum = h.tsn - 1 + far[i];
		assert_int_equal(h.s->in.cum, cum);
		/* The map is clean behind it: the same slots work again. */
		if (far[i] > 10) {
			hand_give_data(&h, cum + 12, 1, 0, ALL | U, "y");
			expect_text("y");
			hand_give_data(&h, cum + 2, 1, 0, ALL | U, "z");
			expect_text("z");
		}
		hand_deinit(&h);
	}
}

/* The map against a list of flags, with everything near the edges of the window. */
static void recv_map_agrees_with_model(void **state)
{
	static bool came[TSN_WINDOW * 4];
	struct rng rng = rng_seeded(42);

	(void)state;
	hand_init(&h, false);
	memset(came, 0, sizeof(came));
	uint32_t cum = 0; /* came[i] is TSN h.tsn - 1 + i */
	came[0] = true;
	for (int i = 0; i < 30000; i++) {
		uint32_t at =
			cum + 1 + rng_below(&rng, rng_below(&rng, 4) == 0 ? TSN_WINDOW + 100 : 70);

		if (at >= GV_ARRAY_SIZE(came))
			break;
		uint64_t dropped = sctp_counters(h.s)->receive_drop;
		hand_give_data(&h, h.tsn - 1 + at, 1, 0, ALL | U, "x");
		struct sctp_msg m;
		bool got = sctp_recv(h.s, &m, 1) > 0;
		bool inside = at - cum < TSN_WINDOW;
		assert_int_equal(got, inside && !came[at]);
		assert_int_equal(sctp_counters(h.s)->receive_drop - dropped, !inside);
		came[at] |= inside;
		while (cum + 1 < GV_ARRAY_SIZE(came) && came[cum + 1])
			cum++;
		assert_int_equal(h.s->in.cum, h.tsn - 1 + cum);
		if (rng_below(&rng, 50) == 0) {
			uint32_t to = cum + rng_below(&rng, 200);

			hand_begin(&h);
			hand_forward(&h, h.tsn - 1 + to, NULL, 0);
			hand_give(&h);
			while (cum < to)
				came[++cum] = true;
			while (cum + 1 < GV_ARRAY_SIZE(came) && came[cum + 1])
				cum++;
			assert_int_equal(h.s->in.cum, h.tsn - 1 + cum);
		}
	}
	hand_deinit(&h);
}

/* Every second TSN: more gaps than a packet holds. */
static void recv_sack_lists_gaps_up_to_its_bound(void **state)
{
	struct chunk_sack sack;
	uint32_t start, end;

	(void)state;
	for (int tunnel = 0; tunnel < 2; tunnel++) {
		hand_init(&h, false);
		if (tunnel)
			sctp_tunnel_start(h.s, 2, h.now_us);
		for (uint32_t i = 1; i < 1000; i += 2) {
			hand_give_data(&h, h.tsn + i, 2, 0, ALL | U, "x");
			expect_text("x");
		}
		hand_sleep(&h, 1000);
		h.s->in.sack_due = true;
		hand_listen(&h);
		const struct chunk *c = hand_must(&h, CHUNK_SACK, 0);
		assert_int_equal(chunk_sack_read(c, &sack), CHUNK_OK);
		assert_int_equal(sack.gaps, tunnel ? TUNNEL_SACK_GAPS : 256);
		chunk_sack_gap(&sack, 0, &start, &end);
		assert_int_equal(start, h.tsn + 1);
		chunk_sack_gap(&sack, sack.gaps - 1u, &start, &end);
		/* In tunnel mode the last block is the highest one. */
		assert_int_equal(end, tunnel ? h.tsn + 999 : h.tsn + 511);
		assert_int_equal(start, end);
		hand_deinit(&h);
	}
}

/* RFC 9260 6.2: the first at once, then every second one or after 200 ms. */
static void recv_sack_timing_is_the_rfcs(void **state)
{
	(void)state;
	hand_init(&h, false);
	hand_give_data(&h, h.tsn, 1, 0, ALL | U, "x");
	assert_int_equal(hand_listen(&h), 1);
	hand_give_data(&h, h.tsn + 1, 1, 0, ALL | U, "x");
	assert_int_equal(hand_listen(&h), 0);
	hand_give_data(&h, h.tsn + 2, 1, 0, ALL | U, "x");
	assert_int_equal(hand_listen(&h), 1);
	hand_give_data(&h, h.tsn + 3, 1, 0, ALL | U, "x");
	assert_int_equal(hand_listen(&h), 0);
	hand_sleep(&h, 199000);
	assert_int_equal(hand_listen(&h), 0);
	hand_sleep(&h, 1000);
	assert_int_equal(hand_listen(&h), 1);
	/* RFC 7053: asked for at once. */
	hand_give_data(&h, h.tsn + 4, 1, 0, ALL | U | CHUNK_DATA_IMMEDIATE, "x");
	assert_int_equal(hand_listen(&h), 1);
	hand_deinit(&h);
}

static void recv_sack_timing_of_tunnel_is_4096_or_10_ms(void **state)
{
	uint32_t t = 0;

	(void)state;
	hand_init(&h, false);
	sctp_tunnel_start(h.s, 2, h.now_us);
	t = h.tsn;
	hand_sleep(&h, 5000);
	for (int i = 0; i < 4095; i++)
		hand_give_data(&h, t++, 2, 0, ALL | U, "x");
	assert_int_equal(hand_listen(&h), 0);
	hand_give_data(&h, t++, 2, 0, ALL | U, "x");
	assert_int_equal(hand_listen(&h), 1);
	hand_give_data(&h, t++, 2, 0, ALL | U, "x");
	hand_sleep(&h, 9000);
	assert_int_equal(hand_listen(&h), 0);
	hand_sleep(&h, 1000);
	assert_int_equal(hand_listen(&h), 1);
	/* A gap: at once, but not twice in a millisecond. */
	hand_sleep(&h, 5000);
	hand_give_data(&h, ++t, 2, 0, ALL | U, "x");
	assert_int_equal(hand_listen(&h), 1);
	hand_give_data(&h, ++t, 2, 0, ALL | U, "x");
	assert_int_equal(hand_listen(&h), 0);
	hand_sleep(&h, 1000);
	assert_int_equal(hand_listen(&h), 1);
	hand_deinit(&h);
}

/* RFC 9260 6.2 */
static void recv_data_without_bytes_aborts(void **state)
{
	(void)state;
	hand_init(&h, false);
	hand_give_data(&h, h.tsn, 1, 0, ALL, "");
	hand_listen(&h);
	assert_non_null(hand_must(&h, CHUNK_ABORT, 0));
	assert_int_equal(be16_load(hand_must(&h, CHUNK_ABORT, 0)->body), CAUSE_NO_USER_DATA);
	assert_false(sctp_is_up(h.s));
	hand_deinit(&h);
}

/* RFC 9260 6.5: an ERROR, and the TSN counts as received. */
static void recv_bad_stream_is_reported_and_acknowledged(void **state)
{
	(void)state;
	hand_init(&h, false);
	hand_give_data(&h, h.tsn, 1024, 0, ALL, "x");
	expect_nothing();
	expect_sack(h.tsn, NULL, 0, 0);
	assert_non_null(hand_must(&h, CHUNK_ERROR, 0));
	assert_true(sctp_is_up(h.s));
	hand_deinit(&h);
}

/* Ordered messages behind a hole fill the buffer: the window closes, memory stays bounded, the hole still fits. */
static void recv_full_buffer_closes_window_and_recovers(void **state)
{
	static char big[1000];
	struct chunk_sack sack;
	uint32_t n = 1;

	(void)state;
	hand_init(&h, false);
	memset(big, 'a', sizeof(big) - 1);
	for (; n < 3000; n++)
		hand_give_data(&h, h.tsn + n, 1, (uint16_t)n, ALL, big);
	assert_true(h.s->in.bytes <= RECEIVE_BYTES);
	assert_true(sctp_counters(h.s)->receive_drop > 1000);
	hand_listen(&h);
	size_t last = hand_count(&h, CHUNK_SACK);
	assert_int_equal(chunk_sack_read(hand_must(&h, CHUNK_SACK, last - 1), &sack), CHUNK_OK);
	assert_true(sack.a_rwnd < 2000);
	hand_give_data(&h, h.tsn, 1, 0, ALL, "first");
	expect_text("first");
	struct sctp_msg m[64];
	size_t got = 0, k;
	while ((k = sctp_recv(h.s, m, 64)) > 0)
		got += k;
	assert_in_range(got, 900, 1100);
	assert_int_equal(h.s->in.bytes, 0);
	hand_deinit(&h);
}

static void recv_message_above_the_limit_aborts(void **state)
{
	static char big[4000];
	uint32_t n = 0;

	(void)state;
	hand_init(&h, false);
	memset(big, 'a', sizeof(big) - 1);
	hand_give_data(&h, h.tsn, 1, 0, B, big);
	while (sctp_is_up(h.s) && n < 1000)
		hand_give_data(&h, h.tsn + ++n, 1, 0, 0, big);
	assert_in_range(n, SCTP_MESSAGE_BYTES_MAX / 4000, SCTP_MESSAGE_BYTES_MAX / 3999);
	hand_deinit(&h);
}

/* Partial messages that never end: one run each. */
static void recv_partial_messages_are_bounded(void **state)
{
	(void)state;
	for (int tunnel = 0; tunnel < 2; tunnel++) {
		hand_init(&h, false);
		if (tunnel)
			sctp_tunnel_start(h.s, 2, h.now_us);
		for (uint32_t i = 0; i < 2000; i++)
			hand_give_data(&h, h.tsn + 1 + i * 2, 2, 0, B | U, "x");
		assert_int_equal(h.s->in.run_count, tunnel ? TUNNEL_PARTIALS : RUNS_MAX);
		if (tunnel) {
			hand_sleep(&h, TUNNEL_FRAGMENT_LIFE_US + 1000);
			assert_int_equal(h.s->in.run_count, 0);
			assert_int_equal(h.s->in.bytes, 0);
		}
		hand_deinit(&h);
	}
}

/* Messages that came whole are handed out where they lie. */
static void recv_whole_messages_are_not_copied(void **state)
{
	struct sctp_msg m;

	(void)state;
	hand_init(&h, false);
	hand_give_data(&h, h.tsn, 1, 0, ALL | U, "here");
	assert_int_equal(sctp_recv(h.s, &m, 1), 1);
	assert_ptr_equal(m.data, h.packet + SCTP_HEADER_BYTES + SCTP_DATA_HEADER_BYTES);
	assert_int_equal(m.ppid, 53);
	assert_int_equal(m.stream, 1);
	hand_deinit(&h);
}

/* A peer that did not say that it knows RFC 3758 cannot give up: the chunk is unknown, and reported as such. */
static void recv_forward_not_agreed_is_unknown(void **state)
{
	(void)state;
	hand_init(&h, false);
	h.s->peer.forward_tsn = false;
	hand_begin(&h);
	hand_forward(&h, h.tsn + 5, NULL, 0);
	hand_data(&h, h.tsn, 1, 0, ALL, "behind it");
	hand_give(&h);
	expect_text("behind it");
	assert_int_equal(h.s->in.cum, h.tsn);
	hand_listen(&h);
	assert_int_equal(be16_load(hand_must(&h, CHUNK_ERROR, 0)->body), CAUSE_UNRECOGNIZED_CHUNK);
	hand_deinit(&h);
}

static void recv_unknown_chunks_follow_their_high_bits(void **state)
{
	static const struct {
		uint8_t type;
		bool goes_on, reports;
	} rows[] = {
		{0x3f, false, false}, {0x7f, false, true}, {0xbf, true, false}, {0xff, true, true}};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		struct sctp_msg m;

		hand_init(&h, false);
		hand_begin(&h);
		hand_chunk(&h, rows[i].type, 0, "abc", 3);
		hand_data(&h, h.tsn, 1, 0, ALL | U, "x");
		hand_give(&h);
		assert_int_equal(sctp_recv(h.s, &m, 1), rows[i].goes_on);
		hand_listen(&h);
		assert_int_equal(hand_count(&h, CHUNK_ERROR), rows[i].reports);
		hand_deinit(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recv_ordered_waits_for_its_turn),
		cmocka_unit_test(recv_unordered_comes_at_once),
		cmocka_unit_test(recv_duplicates_are_dropped_and_reported),
		cmocka_unit_test(recv_fragments_in_any_order_are_joined),
		cmocka_unit_test(recv_fragments_of_two_messages_do_not_mix),
		cmocka_unit_test(recv_fragment_that_does_not_fit_is_dropped),
		cmocka_unit_test(recv_fragment_after_the_end_is_not_joined),
		cmocka_unit_test(recv_forward_skips_and_releases),
		cmocka_unit_test(recv_forward_delivers_what_is_held_below),
		cmocka_unit_test(recv_forward_old_or_far_is_bounded),
		cmocka_unit_test(recv_map_agrees_with_model),
		cmocka_unit_test(recv_sack_lists_gaps_up_to_its_bound),
		cmocka_unit_test(recv_sack_timing_is_the_rfcs),
		cmocka_unit_test(recv_sack_timing_of_tunnel_is_4096_or_10_ms),
		cmocka_unit_test(recv_data_without_bytes_aborts),
		cmocka_unit_test(recv_bad_stream_is_reported_and_acknowledged),
		cmocka_unit_test(recv_full_buffer_closes_window_and_recovers),
		cmocka_unit_test(recv_message_above_the_limit_aborts),
		cmocka_unit_test(recv_partial_messages_are_bounded),
		cmocka_unit_test(recv_whole_messages_are_not_copied),
		cmocka_unit_test(recv_forward_not_agreed_is_unknown),
		cmocka_unit_test(recv_unknown_chunks_follow_their_high_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
