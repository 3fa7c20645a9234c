/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/batch.h"

static void batch_reserve_lets_only_the_last_be_shorter(void **state)
{
	static uint8_t buffer[4096];
	struct batch b = BATCH_INIT(buffer, sizeof(buffer), 21, 16);

	(void)state;
	uint8_t *first = batch_reserve(&b, 100);
	assert_ptr_equal(first, buffer + 21);
	assert_ptr_equal(batch_reserve(&b, 100), buffer + 137 + 21);
	assert_null(batch_reserve(&b, 101));
	assert_non_null(batch_reserve(&b, 50));
	assert_null(batch_reserve(&b, 50));
	assert_null(batch_reserve(&b, 10));
	assert_int_equal(b.count, 3);
	assert_int_equal(b.len, 137 + 137 + 87);
	assert_int_equal(batch_datagram(&b, 1).len, 137);
	assert_int_equal(batch_datagram(&b, 2).len, 87);
	assert_ptr_equal(batch_datagram(&b, 2).data, buffer + 274);
	batch_reset(&b);
	assert_non_null(batch_reserve(&b, 200));
}

static void batch_reserve_stops_at_count_and_room(void **state)
{
	static uint8_t buffer[70000];
	struct batch b = BATCH_INIT(buffer, sizeof(buffer), 0, 0);

	(void)state;
	for (unsigned i = 0; i < BATCH_MAX_COUNT; i++)
		assert_non_null(batch_reserve(&b, 10));
	assert_null(batch_reserve(&b, 10));

	b = BATCH_INIT(buffer, sizeof(buffer), 0, 0);
	unsigned n = 0;
	while (batch_reserve(&b, 1440) != NULL)
		n++;
	assert_int_equal(n, 45); /* 65507 / 1440: the UDP limit, not the buffer */

	b = BATCH_INIT(buffer, 100, 21, 16);
	assert_null(batch_reserve(&b, 64));
	assert_non_null(batch_reserve(&b, 63));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batch_reserve_lets_only_the_last_be_shorter),
		cmocka_unit_test(batch_reserve_stops_at_count_and_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
