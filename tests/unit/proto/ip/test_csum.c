/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packets.h"
#include "proto/ip/csum.h"

/* RFC 1071 section 3. */
static void csum_add_rfc_example_gives_its_sum(void **state)
{
	static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	uint8_t out[2];

	(void)state;
	csum_store(out, csum_fold(csum_add(0, bytes, sizeof(bytes))));
	assert_int_equal(be16_load(out), 0xddf2);
}

static void csum_add_random_equals_slow(void **state)
{
	static uint8_t bytes[70000];
	struct rng rng = rng_seeded(1);

	(void)state;
	rng_bytes(&rng, bytes, sizeof(bytes));
	memset(bytes + 1000, 0xff, 3000);
	for (int i = 0; i < 3000; i++) {
		size_t n = i < 300 ? (size_t)i : rng_below(&rng, i % 10 == 0 ? 65536 : 1600);
		size_t at = rng_below(&rng, (uint32_t)(sizeof(bytes) - n));
		uint8_t out[2];

		csum_store(out, csum_fold(csum_add(0, bytes + at, n)));
		assert_int_equal(be16_load(out), slow_sum(bytes + at, n, 0));
	}
}

static void csum_copy_random_copies_and_sums(void **state)
{
	static uint8_t from[2000], to[2000 + 2];
	struct rng rng = rng_seeded(2);

	(void)state;
	for (size_t n = 0; n < 2000; n++) {
		rng_bytes(&rng, from, n);
		memset(to, 0xee, sizeof(to));
		uint64_t sum = csum_copy(0, to + 1, from, n);
		assert_memory_equal(to + 1, from, n);
		assert_int_equal(to[0], 0xee);
		assert_int_equal(to[n + 1], 0xee);
		assert_int_equal(csum_fold(sum), csum_fold(csum_add(0, from, n)));
	}
}

static void csum_add_carry_wraps_round(void **state)
{
	uint8_t ones[64];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(csum_fold(csum_add(UINT64_MAX - 1, ones, sizeof(ones))), 0xfffe);
	assert_int_equal(csum_fold(csum_add(0, ones, sizeof(ones))), 0xffff);
}

static void csum_add_pseudo_makes_packet_good(void **state)
{
	uint8_t p[200];

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		struct packet_spec spec = {
			.version = version, .proto = 17, .port = 9, .payload = 33, .seed = 3};
		size_t len = packet_make(p, &spec), header = version == 4 ? 20 : 40;
		size_t addr = version == 4 ? 4 : 16;
		const uint8_t *src = p + (version == 4 ? 12 : 8);

		uint64_t sum = csum_add_pseudo(0, src, src + addr, addr, 17, len - header);
		assert_int_equal(csum_fold(csum_add(sum, p + header, len - header)), 0xffff);
	}
}

static void csum_update16_random_equals_new_sum(void **state)
{
	struct rng rng = rng_seeded(4);
	uint8_t p[100];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct packet_spec spec = {
			.version = 4, .proto = 6, .payload = 20, .seed = (uint64_t)i};
		size_t len = packet_make(p, &spec);
		uint16_t before = be16_load(p + 34), after = (uint16_t)rng_u32(&rng);

		be16_store(p + 34, after);
		csum_update16(p + 36, before, after);
		assert_true(packet_is_intact(p, len, 20, 6));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(csum_add_rfc_example_gives_its_sum),
		cmocka_unit_test(csum_add_random_equals_slow),
		cmocka_unit_test(csum_copy_random_copies_and_sums),
		cmocka_unit_test(csum_add_carry_wraps_round),
		cmocka_unit_test(csum_add_pseudo_makes_packet_good),
		cmocka_unit_test(csum_update16_random_equals_new_sum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
