/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/enc.h"
#include "base/macro.h"
#include "base/rng.h"
#include "base/text.h"

#include <string.h>

/* RFC 4648 section 10, without padding. */
static void enc_vectors_of_rfc4648(void **state)
{
	static const struct {
		const char *plain, *b64, *b32, *hex;
	} rows[] = {
		{"", "", "", ""},
		{"f", "Zg", "my", "66"},
		{"fo", "Zm8", "mzxq", "666f"},
		{"foo", "Zm9v", "mzxw6", "666f6f"},
		{"foob", "Zm9vYg", "mzxw6yq", "666f6f62"},
		{"fooba", "Zm9vYmE", "mzxw6ytb", "666f6f6261"},
		{"foobar", "Zm9vYmFy", "mzxw6ytboi", "666f6f626172"},
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		size_t n = strlen(rows[i].plain), got;
		char text[32];
		uint8_t back[16];

		enc_base64url(text, rows[i].plain, n);
		assert_string_equal(text, rows[i].b64);
		enc_base32(text, rows[i].plain, n);
		assert_string_equal(text, rows[i].b32);
		enc_hex(text, rows[i].plain, n);
		assert_string_equal(text, rows[i].hex);
		assert_true(
			dec_base64url(rows[i].b64, strlen(rows[i].b64), back, sizeof(back), &got));
		assert_int_equal(got, n);
		assert_memory_equal(back, rows[i].plain, n);
		assert_true(dec_base32(rows[i].b32, strlen(rows[i].b32), back, sizeof(back), &got));
		assert_memory_equal(back, rows[i].plain, n);
	}
}

static void dec_refuses_what_is_not_canonical(void **state)
{
	uint8_t out[16];
	size_t n;

	(void)state;
	assert_false(dec_base64url("Zh", 2, out, sizeof(out), &n)); /* leftover bits set */
	assert_false(dec_base64url("Z", 1, out, sizeof(out), &n));
	assert_false(dec_base64url("Zg==", 4, out, sizeof(out), &n));
	assert_false(dec_base64url("Zm9v Yg", 7, out, sizeof(out), &n));
	assert_false(dec_base64url("Zm+v", 4, out, sizeof(out), &n)); /* the other alphabet */
	assert_false(dec_base64url("Zm9v", 4, out, 2, &n));           /* no room */
	assert_false(dec_base64url("Zm\0v", 4, out, sizeof(out), &n));
	assert_false(dec_base32("mz1", 3, out, sizeof(out), &n));
	assert_false(dec_hex("abc", 3, out, sizeof(out), &n));
	assert_true(dec_hex("ABcd", 4, out, sizeof(out), &n));
}

static void enc_random_round_trips(void **state)
{
	struct rng r = rng_seeded(42);

	(void)state;
	for (int i = 0; i < 500; i++) {
		uint8_t in[64], back[64];
		char text[ENC_HEX_SIZE(64)];
		size_t n = rng_below(&r, 65), got;

		rng_bytes(&r, in, n);
		enc_base32(text, in, n);
		assert_int_equal(strlen(text) + 1, ENC_BASE32_SIZE(n));
		assert_true(dec_base32(text, strlen(text), back, sizeof(back), &got));
		assert_int_equal(got, n);
		assert_memory_equal(back, in, n);
		enc_base64url(text, in, n);
		assert_int_equal(strlen(text) + 1, ENC_BASE64_SIZE(n));
		assert_true(dec_base64url(text, strlen(text), back, sizeof(back), &got));
		assert_memory_equal(back, in, n);
	}
}

static void text_is_name_refuses_control_and_broken_utf8(void **state)
{
	static const char *const bad[] = {
		"",
		" a",
		"a ",
		"a\nb",
		"a\x1b[31m",
		"\x7f",
		"\xc0\x80",
		"\xed\xa0\x80",
		"\xf4\x90\x80\x80",
		"\xe2\x80\xae", /* right-to-left override */
		"\xc2\x85",
		"\xe2\x80\xa8",
		"abc\xc3",
		"\xff",
	};
	static const char *const good[] = {"a", "Anna's laptop", "\xc3\xa4\xc3\xb6",
	                                   "\xf0\x9f\x8e\xae pad", "\xe6\x97\xa5\xe6\x9c\xac"};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(bad); i++)
		assert_false(text_is_name(bad[i], 64));
	for (size_t i = 0; i < GV_ARRAY_SIZE(good); i++)
		assert_true(text_is_name(good[i], 64));
	assert_false(text_is_name("abcd", 3));
}

static void text_to_label_always_gives_a_label(void **state)
{
	static const char *const rows[][2] = {
		{"Anna's Laptop", "anna-s-laptop"}, {"--x--", "x"},   {"", "computer"},
		{"\xe6\x97\xa5", "computer"},       {"a...b", "a-b"},
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		text_to_label(rows[i][0], out);
		assert_string_equal(out, rows[i][1]);
		assert_true(text_is_label(out));
	}
	char longer[200];
	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	text_to_label(longer, out);
	assert_int_equal(strlen(out), 63);
	assert_false(text_is_label("-a"));
	assert_false(text_is_label("A"));
	assert_false(text_is_label("a.b"));
}

/* RFC 3720 B.4. */
static void crc32c_vectors_of_rfc3720(void **state)
{
	uint8_t b[32];

	(void)state;
	memset(b, 0, sizeof(b));
	assert_int_equal(crc32c(b, sizeof(b)), 0x8a9136aa);
	memset(b, 0xff, sizeof(b));
	assert_int_equal(crc32c(b, sizeof(b)), 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	assert_int_equal(crc32c(b, sizeof(b)), 0x46dd794e);
	for (unsigned i = 0; i < 32; i++)
		b[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(b, sizeof(b)), 0x113fdb5c);
}

static void crc32c_hardware_equals_table(void **state)
{
	struct rng r = rng_seeded(7);
	uint8_t b[300];

	(void)state;
	rng_bytes(&r, b, sizeof(b));
	for (size_t from = 0; from < 9; from++)
		for (size_t n = 0; from + n <= sizeof(b); n += 13)
			assert_int_equal(crc32c(b + from, n), crc32c_soft(b + from, n));
}

static void rng_below_is_in_range_and_reaches_all(void **state)
{
	struct rng r = rng_seeded(1), os = rng_os();
	unsigned seen = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint32_t v = rng_below(&r, 7);

		assert_in_range(v, 0, 6);
		seen |= 1u << v;
		assert_in_range(rng_below(&os, 3), 0, 2);
	}
	assert_int_equal(seen, 0x7f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(enc_vectors_of_rfc4648),
		cmocka_unit_test(dec_refuses_what_is_not_canonical),
		cmocka_unit_test(enc_random_round_trips),
		cmocka_unit_test(text_is_name_refuses_control_and_broken_utf8),
		cmocka_unit_test(text_to_label_always_gives_a_label),
		cmocka_unit_test(crc32c_vectors_of_rfc3720),
		cmocka_unit_test(crc32c_hardware_equals_table),
		cmocka_unit_test(rng_below_is_in_range_and_reaches_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
