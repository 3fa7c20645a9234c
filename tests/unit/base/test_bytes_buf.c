/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

static void bytes_load_store_are_big_endian(void **state)
{
	uint8_t b[8];

	(void)state;
	be16_store(b, 0x0102);
	assert_memory_equal(b, "\x01\x02", 2);
	assert_int_equal(be16_load(b), 0x0102);
	be32_store(b, 0x01020304);
	assert_memory_equal(b, "\x01\x02\x03\x04", 4);
	be64_store(b, UINT64_C(0x0102030405060708));
	assert_memory_equal(b, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	assert_true(be64_load(b) == UINT64_C(0x0102030405060708));
	le32_store(b, 0x01020304);
	assert_memory_equal(b, "\x04\x03\x02\x01", 4);
}

static void bytes_read_past_end_fails_and_stays_failed(void **state)
{
	const uint8_t in[5] = {1, 2, 3, 4, 5};
	struct bytes_reader r = bytes_reader(in, sizeof(in));

	(void)state;
	assert_int_equal(bytes_read_u32(&r), 0x01020304);
	assert_true(r.ok);
	assert_int_equal(bytes_read_u16(&r), 0);
	assert_false(r.ok);
	/* One byte is left, but a failed reader gives nothing more. */
	assert_int_equal(bytes_read_u8(&r), 0);
	assert_int_equal(r.left, 1);
}

static void bytes_write_past_end_fails_and_keeps_what_fitted(void **state)
{
	uint8_t out[4] = {0};
	struct bytes_writer w = bytes_writer(out, 3);

	(void)state;
	bytes_write_u16(&w, 0xaabb);
	bytes_write_u16(&w, 0xccdd);
	assert_false(w.ok);
	assert_int_equal(w.used, 2);
	assert_memory_equal(out, "\xaa\xbb\x00\x00", 4);
}

static void buf_add_above_maximum_returns_enobufs_and_keeps_content(void **state)
{
	struct buf b = BUF_INIT(5);

	(void)state;
	assert_int_equal(buf_add_str(&b, "abc"), 0);
	assert_int_equal(buf_add_str(&b, "def"), -ENOBUFS);
	assert_string_equal(buf_str(&b), "abc");
	assert_int_equal(buf_add_str(&b, "de"), 0);
	assert_string_equal(buf_str(&b), "abcde");
	buf_consume(&b, 2);
	assert_string_equal(buf_str(&b), "cde");
	buf_deinit(&b);
	assert_string_equal(buf_str(&b), "");
}

static void buf_addf_grows_and_terminates(void **state)
{
	struct buf b = BUF_INIT(4096);

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(buf_addf(&b, "%d,", i), 0);
	assert_int_equal(b.len, 290);
	assert_int_equal(b.data[b.len], 0);
	assert_int_equal(strncmp(buf_str(&b), "0,1,2,", 6), 0);
	buf_deinit(&b);
}

static void mem_alloc_overflow_returns_null(void **state)
{
	(void)state;
	/* The compiler would warn about the constant. */
	volatile size_t huge = SIZE_MAX / 2;
	assert_null(mem_alloc(huge, 3));
}

static void mem_fail_at_fails_exactly_once(void **state)
{
	(void)state;
	mem_fail_at(2);
	void *a = mem_alloc(1, 1);
	void *b = mem_alloc(1, 1);
	void *c = mem_alloc(1, 1);
	assert_non_null(a);
	assert_null(b);
	assert_non_null(c);
	assert_true(mem_fail_hit());
	mem_fail_at(0);
	mem_free(a);
	mem_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_load_store_are_big_endian),
		cmocka_unit_test(bytes_read_past_end_fails_and_stays_failed),
		cmocka_unit_test(bytes_write_past_end_fails_and_keeps_what_fitted),
		cmocka_unit_test(buf_add_above_maximum_returns_enobufs_and_keeps_content),
		cmocka_unit_test(buf_addf_grows_and_terminates),
		cmocka_unit_test(mem_alloc_overflow_returns_null),
		cmocka_unit_test(mem_fail_at_fails_exactly_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
