/* SPDX-License-Identifier: MIT */

#include "engine/server/quota.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000)

static struct netaddr address(const char *text)
{
	struct netaddr a;

	assert_true(netaddr_parse_ip(text, &a));
	return a;
}

static void quota_bucket_gives_burst_then_rate(void **state)
{
	const struct quota_rate rate = {.per_minute = 60, .burst = 3};
	struct quota_bucket b = {0};
	uint64_t now = 1000 * SECOND;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_true(quota_take(&b, &rate, now));
	assert_false(quota_take(&b, &rate, now));
	assert_int_equal(quota_wait_s(&b, &rate, now), 1);
	assert_false(quota_take(&b, &rate, now + SECOND - 1));
	assert_true(quota_take(&b, &rate, now + SECOND));
	assert_false(quota_take(&b, &rate, now + SECOND));
	/* A long rest fills it, and no more than that. */
	for (unsigned i = 0; i < 3; i++)
		assert_true(quota_take(&b, &rate, now + 1000 * SECOND));
	assert_false(quota_take(&b, &rate, now + 1000 * SECOND));
}

static void quota_bucket_clock_set_back_gives_nothing(void **state)
{
	const struct quota_rate rate = {.per_minute = 60, .burst = 1};
	struct quota_bucket b = {0};

	(void)state;
	assert_true(quota_take(&b, &rate, 10 * SECOND));
	assert_false(quota_take(&b, &rate, 5 * SECOND));
}

static void quota_block_is_one_address_or_a_slash_56(void **state)
{
	struct netaddr a = address("192.0.2.1"), b = address("192.0.2.2");
	struct netaddr c = address("2001:db8:0:ff::1"), d = address("2001:db8:0:aa::2");
	struct netaddr e = address("2001:db8:0:1ff::1");

	(void)state;
	a.port = 5;
	struct netaddr block_a = quota_block(&a), block_b = quota_block(&b);
	struct netaddr block_c = quota_block(&c), block_d = quota_block(&d),
		       block_e = quota_block(&e);
	assert_int_equal(block_a.port, 0);
	assert_false(netaddr_equal(&block_a, &block_b));
	assert_true(netaddr_equal(&block_c, &block_d));
	assert_false(netaddr_equal(&block_c, &block_e));
}

static void quota_table_counts_each_block_by_itself(void **state)
{
	const struct quota_rate rate = {.per_minute = 1, .burst = 2};
	struct quota_table *t = NULL;
	struct netaddr a = address("192.0.2.1"), b = address("192.0.2.2");

	(void)state;
	assert_int_equal(quota_table_new(&t, &rate, 64, 7), 0);
	assert_true(quota_table_take(t, &a, SECOND));
	assert_true(quota_table_take(t, &a, SECOND));
	assert_false(quota_table_take(t, &a, SECOND));
	assert_true(quota_table_take(t, &b, SECOND));
	quota_table_free(t);
}

static void quota_table_full_still_works(void **state)
{
	const struct quota_rate rate = {.per_minute = 1, .burst = 1};
	struct quota_table *t = NULL;

	(void)state;
	assert_int_equal(quota_table_new(&t, &rate, 16, 7), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		struct netaddr a = netaddr_ip4(0x0a000000 + i, 0);

		assert_true(quota_table_take(t, &a, SECOND + i));
		assert_false(quota_table_take(t, &a, SECOND + i));
	}
	quota_table_free(t);
}

static void quota_table_of_keys_takes_what_it_has_not(void **state)
{
	const struct quota_rate rate = {.per_minute = 60, .burst = 4};
	struct quota_table *t = NULL;
	const uint8_t a[QUOTA_KEY_SIZE] = {1}, b[QUOTA_KEY_SIZE] = {[QUOTA_KEY_SIZE - 1] = 1};

	(void)state;
	assert_int_equal(quota_table_new(&t, &rate, 64, 7), 0);
	assert_int_equal(quota_table_wait_s(t, a, SECOND), 0);
	quota_table_charge(t, a, 3, SECOND);
	assert_int_equal(quota_table_wait_s(t, a, SECOND), 0);
	quota_table_charge(t, a, 11, SECOND); /* ten too many */
	assert_int_equal(quota_table_wait_s(t, a, SECOND), 11);
	assert_int_equal(quota_table_wait_s(t, b, SECOND), 0);
	assert_int_equal(quota_table_wait_s(t, a, 11 * SECOND), 1);
	assert_int_equal(quota_table_wait_s(t, a, 12 * SECOND), 0);
	quota_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quota_bucket_gives_burst_then_rate),
		cmocka_unit_test(quota_bucket_clock_set_back_gives_nothing),
		cmocka_unit_test(quota_block_is_one_address_or_a_slash_56),
		cmocka_unit_test(quota_table_counts_each_block_by_itself),
		cmocka_unit_test(quota_table_full_still_works),
		cmocka_unit_test(quota_table_of_keys_takes_what_it_has_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
