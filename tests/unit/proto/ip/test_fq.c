/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packets.h"
#include "proto/ip/fq.h"

#define MAX_PACKETS 512

static struct fq *q;
static uint32_t lost[FQ_LOST_MAX];
static size_t lost_count;
static uint64_t now_us;

static int setup(void **state)
{
	struct fq_config c = {.packets = MAX_PACKETS, .slot_bytes = 1500, .seed = 7};

	(void)state;
	now_us = 1000000;
	return fq_new(&q, &c);
}

static int teardown(void **state)
{
	(void)state;
	fq_free(q);
	q = NULL;
	return 0;
}

/* One packet of the flow `port`, numbered or owned by its tag; ecn: the codepoint. */
static size_t push(int version, uint16_t port, size_t payload, uint8_t ecn, uint32_t tag)
{
	uint8_t bytes[1600];
	struct packet_spec spec = {
		.version = version, .proto = 17, .port = port, .payload = payload, .seed = tag};
	struct fq_packet p = {
		.data = bytes, .len = (uint16_t)packet_make(bytes, &spec), .tag = tag};

	if (version == 6) {
		bytes[1] |= (uint8_t)(ecn << 4);
	} else {
		bytes[1] |= ecn;
		fix_checksums(bytes, p.len, 20, 17);
	}
	return fq_push(q, &p, 1, now_us, lost);
}

static bool pop(struct fq_packet *out)
{
	return fq_pop(q, out, 1, now_us, lost, &lost_count) == 1;
}

static uint16_t port_of(const struct fq_packet *p)
{
	return be16_load(p->data + (p->data[0] >> 4 == 4 ? 20 : 40));
}

static void fq_new_wrong_sizes_are_refused(void **state)
{
	struct fq *other = NULL;
	struct fq_config c = {.packets = 0, .slot_bytes = 1500};

	(void)state;
	assert_int_equal(fq_new(&other, &c), -22);
	c.packets = 65537;
	assert_int_equal(fq_new(&other, &c), -22);
	c = (struct fq_config){.packets = 1, .slot_bytes = 19};
	assert_int_equal(fq_new(&other, &c), -22);
	assert_null(other);
}

static void fq_packets_of_a_flow_keep_order_and_bytes(void **state)
{
	struct fq_packet p;

	(void)state;
	for (uint32_t i = 0; i < 200; i++)
		assert_int_equal(push(i % 2 == 0 ? 4 : 6, 9, 100 + i, 0, i), 0);
	assert_int_equal(fq_count(q), 200);
	uint32_t next[2] = {0, 1};
	for (uint32_t i = 0; i < 200; i++) {
		assert_true(pop(&p));
		int odd = p.data[0] >> 4 == 6;
		assert_int_equal(p.tag, next[odd]);
		next[odd] += 2;
		assert_int_equal(p.len, 100 + p.tag + (odd ? 48 : 28));
		assert_true(packet_is_intact(p.data, p.len, odd ? 40 : 20, 17));
	}
	assert_false(pop(&p));
	assert_int_equal(fq_count(q), 0);
}

/* RFC 8290 4.1: a game's packet does not stand behind a file. */
static void fq_sparse_flow_goes_first(void **state)
{
	struct fq_packet p;

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(push(4, 1, 1400, 0, i), 0);
	for (int i = 0; i < 5; i++)
		assert_true(pop(&p));
	assert_int_equal(push(4, 2, 40, 0, 1000), 0);
	assert_true(pop(&p));
	assert_int_equal(port_of(&p), 2);
	assert_int_equal(p.tag, 1000);
}

/* Equal bytes, not equal packets. */
static void fq_flows_share_by_bytes(void **state)
{
	uint64_t bytes[4] = {0};
	struct fq_packet p;

	(void)state;
	/* Ports that fall on different flows; checked by the order below. */
	for (uint32_t i = 0; i < 100; i++)
		for (uint16_t flow = 0; flow < 4; flow++)
			assert_int_equal(push(4, (uint16_t)(100 + flow), 300u + 300u * flow, 0, i),
			                 0);
	for (uint64_t sum = 0; sum < 60000; sum += p.len) {
		assert_true(pop(&p));
		bytes[port_of(&p) - 100] += p.len;
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(bytes[i], 12000, 18000);
}

/* A line that is always busy, and two owners with one flow and with `many`. Returns the share of the first, in percent. */
static uint64_t share_of_one(uint16_t many, size_t *lost_of_one, size_t *lost_of_many)
{
	uint64_t bytes[3] = {0};
	struct fq_packet p;

	for (unsigned round = 0; round < 3000; round++) {
		*lost_of_one += push(4, 1, 1000, 0, 1) > 0 && lost[0] == 1;
		for (uint16_t flow = 0; flow < many; flow++)
			*lost_of_many +=
				push(4, (uint16_t)(2 + flow), 1000, 0, 2) > 0 && lost[0] == 2;
		for (int i = 0; i < 2; i++) {
			assert_true(pop(&p));
			bytes[p.tag] += p.len;
		}
	}
	while (pop(&p)) {
	}
	return bytes[1] * 100 / (bytes[1] + bytes[2]);
}

/* One stream to one computer gets as much as all streams to another, and as much room. */
static void fq_owners_share_by_bytes_however_many_flows(void **state)
{
	static const uint16_t many[] = {1, 4, 16, 40};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		size_t of_one = 0, of_many = 0;
		uint64_t percent = share_of_one(many[i], &of_one, &of_many);

		assert_in_range(percent, 48, 52);
		/* What the first sends is what it may send. */
		assert_int_equal(of_one, 0);
		assert_true(many[i] == 1 || of_many > 0);
	}
}

/* An owner whose flows have all ended has no part in the next turns. */
static void fq_owner_without_packets_is_forgotten(void **state)
{
	struct fq_packet p;
	uint64_t bytes[2] = {0};

	(void)state;
	for (uint16_t flow = 0; flow < 50; flow++)
		assert_int_equal(push(4, (uint16_t)(1000 + flow), 100, 0, 1), 0);
	while (pop(&p)) {
	}
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(push(4, 1, 1000, 0, 1), 0);
		assert_int_equal(push(4, 2, 1000, 0, 2), 0);
	}
	for (unsigned i = 0; i < 100; i++) {
		assert_true(pop(&p));
		bytes[p.tag - 1] += p.len;
	}
	assert_in_range(bytes[0], bytes[1] * 9 / 10, bytes[1] * 11 / 10);
}

/* RFC 8290 4.1.3 */
static void fq_full_drops_the_oldest_of_the_largest(void **state)
{
	struct fq_packet p;

	(void)state;
	for (uint32_t i = 0; i < MAX_PACKETS - 10; i++)
		assert_int_equal(push(4, 1, 1000, 0, i), 0);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(push(4, 2, 1000, 0, 10000 + i), 0);
	for (uint32_t i = 0; i < 20; i++) {
		assert_int_equal(push(4, 2, 1000, 0, 20000 + i), 1);
		assert_int_equal(lost[0], i);
	}
	assert_int_equal(fq_count(q), MAX_PACKETS);
	for (uint32_t n = 0; n < MAX_PACKETS; n++)
		assert_true(pop(&p));
	assert_false(pop(&p));
}

static void fq_too_large_packet_is_lost(void **state)
{
	(void)state;
	assert_int_equal(push(4, 1, 1500, 0, 77), 1);
	assert_int_equal(lost[0], 77);
	assert_int_equal(fq_count(q), 0);
}

/*
 * A line of one packet of 1,428 bytes a millisecond, and a sender that keeps the queue at `depth` packets. Returns packets
 * lost or marked in `seconds`.
 */
static uint64_t overload(uint32_t depth, unsigned seconds, uint8_t ecn, uint64_t *dropped)
{
	struct fq_packet p;
	uint32_t tag = 0;

	*dropped = 0;
	for (unsigned ms = 0; ms < seconds * 1000; ms++) {
		while (fq_count(q) < depth)
			*dropped += push(4, 1, 1400, ecn, tag++);
		now_us += 1000;
		assert_true(pop(&p));
		*dropped += lost_count;
		if (ecn != 0)
			assert_true(packet_is_intact(p.data, p.len, 20, 17));
	}
	return *dropped + fq_marked(q);
}

static void fq_short_stay_is_never_dropped(void **state)
{
	uint64_t dropped;

	(void)state;
	assert_int_equal(overload(4, 5, 0, &dropped), 0);
}

/* RFC 8289: nothing for the first interval, then more and more. */
static void fq_long_stay_is_dropped_more_and_more(void **state)
{
	uint64_t first, second, third;

	(void)state;
	assert_int_equal(overload(50, 0, 0, &first), 0);
	(void)overload(50, 1, 0, &first);
	assert_in_range(first, 10, 100);
	(void)overload(50, 1, 0, &second);
	(void)overload(50, 1, 0, &third);
	assert_true(second > first && third > second);
}

/* RFC 8289 5.5: a queue that is long again soon after it was not goes on at the rate of before. */
static void fq_long_again_soon_is_dropped_at_the_rate_of_before(void **state)
{
	uint64_t fresh, first, again;

	(void)state;
	(void)overload(50, 1, 0, &fresh);
	(void)overload(50, 3, 0, &first);
	/* Short for a moment: CoDel leaves its dropping state before the next drop was due. */
	while (fq_count(q) > 1) {
		struct fq_packet p;

		(void)pop(&p);
	}
	(void)overload(50, 1, 0, &again);
	assert_true(again > 2 * fresh);
}

/* RFC 3168: marked instead of dropped, checksum kept. */
static void fq_long_stay_is_marked_where_it_can_be(void **state)
{
	uint64_t dropped;

	(void)state;
	assert_in_range(overload(50, 1, 2, &dropped), 5, 100);
	assert_int_equal(dropped, 0);
	assert_true(fq_marked(q) > 5);
}

static void fq_marked_packet_carries_ce(void **state)
{
	uint64_t marked = 0;
	struct fq_packet p;

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		uint64_t before = fq_marked(q), seen = 0;

		for (unsigned ms = 0; ms < 1000; ms++) {
			while (fq_count(q) < 50)
				assert_int_equal(push(version, 1, 1400, 1, ms), 0);
			now_us += 1000;
			assert_true(pop(&p));
			uint8_t ecn = version == 4 ? p.data[1] & 3 : p.data[1] >> 4 & 3;
			assert_true(ecn == 1 || ecn == 3);
			seen += ecn == 3;
		}
		assert_int_equal(seen, fq_marked(q) - before);
		assert_true(seen > 5);
		marked += seen;
		while (pop(&p)) {
		}
		now_us += 10000000;
	}
	assert_true(marked > 10);
}

/* Whatever is pushed comes out or is told as lost, and only once. */
static void fq_random_every_packet_is_accounted(void **state)
{
	static uint8_t fate[40000];
	struct rng rng = rng_seeded(3);
	struct fq_packet out[40];
	uint32_t tag = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		for (uint32_t k = rng_below(&rng, 3); k > 0; k--) {
			size_t n = push(4, (uint16_t)rng_below(&rng, 20), rng_below(&rng, 1400),
			                (uint8_t)rng_below(&rng, 4), tag);
			fate[tag++] = 1;
			for (size_t j = 0; j < n; j++)
				assert_int_equal(fate[lost[j]]++, 1);
		}
		now_us += rng_below(&rng, 3000);
		size_t n = fq_pop(q, out, rng_below(&rng, 2), now_us, lost, &lost_count);
		for (size_t j = 0; j < n; j++)
			assert_int_equal(fate[out[j].tag]++, 1);
		for (size_t j = 0; j < lost_count; j++)
			assert_int_equal(fate[lost[j]]++, 1);
	}
	while (fq_count(q) > 0) {
		size_t n = fq_pop(q, out, 40, now_us, lost, &lost_count);
		for (size_t j = 0; j < n; j++)
			assert_int_equal(fate[out[j].tag]++, 1);
		for (size_t j = 0; j < lost_count; j++)
			assert_int_equal(fate[lost[j]]++, 1);
	}
	for (uint32_t i = 0; i < tag; i++)
		assert_int_equal(fate[i], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fq_new_wrong_sizes_are_refused),
		cmocka_unit_test_setup_teardown(fq_packets_of_a_flow_keep_order_and_bytes, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(fq_sparse_flow_goes_first, setup, teardown),
		cmocka_unit_test_setup_teardown(fq_flows_share_by_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(fq_owners_share_by_bytes_however_many_flows, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(fq_owner_without_packets_is_forgotten, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(fq_full_drops_the_oldest_of_the_largest, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(fq_too_large_packet_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(fq_short_stay_is_never_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(fq_long_stay_is_dropped_more_and_more, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(fq_long_again_soon_is_dropped_at_the_rate_of_before,
	                                        setup, teardown),
		cmocka_unit_test_setup_teardown(fq_long_stay_is_marked_where_it_can_be, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(fq_marked_packet_carries_ce, setup, teardown),
		cmocka_unit_test_setup_teardown(fq_random_every_packet_is_accounted, setup,
	                                        teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
