/* SPDX-License-Identifier: MIT */

#include "crypto/hash.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hex.h"

/* FIPS 180-4 examples and the empty message. */
static void hash_sha256_vectors_match(void **state)
{
	uint8_t out[HASH_SHA256_SIZE];

	(void)state;
	assert_int_equal(hash_sha256("abc", 3, out), 0);
	assert_hex(out, sizeof(out),
	           "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(hash_sha256(NULL, 0, out), 0);
	assert_hex(out, sizeof(out),
	           "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void hash_sha256_in_parts_equals_whole(void **state)
{
	uint8_t data[300], whole[HASH_SHA256_SIZE], parts[HASH_SHA256_SIZE];
	struct hash_sha256 h;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	assert_int_equal(hash_sha256(data, sizeof(data), whole), 0);
	for (size_t cut = 0; cut <= sizeof(data); cut++) {
		hash_sha256_init(&h);
		hash_sha256_update(&h, data, cut);
		hash_sha256_update(&h, data + cut, sizeof(data) - cut);
		assert_int_equal(hash_sha256_final(&h, parts), 0);
		assert_memory_equal(whole, parts, sizeof(whole));
	}
}

static void hash_sha256_final_twice_fails(void **state)
{
	uint8_t out[HASH_SHA256_SIZE];
	struct hash_sha256 h;

	(void)state;
	hash_sha256_init(&h);
	assert_int_equal(hash_sha256_final(&h, out), 0);
	hash_sha256_update(&h, "abc", 3);
	assert_int_equal(hash_sha256_final(&h, out), -ENOMEM);
}

/* RFC 2202 3, test cases 1, 2 and 6. */
static void hash_hmac_sha1_rfc2202_matches(void **state)
{
	uint8_t key[80], out[HASH_SHA1_SIZE];
	const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";

	(void)state;
	memset(key, 0x0b, 20);
	assert_int_equal(hash_hmac_sha1(key, 20, "Hi There", 8, out), 0);
	assert_hex(out, sizeof(out), "b617318655057264e28bc0b6fb378c8ef146be00");
	assert_int_equal(hash_hmac_sha1("Jefe", 4, "what do ya want for nothing?", 28, out), 0);
	assert_hex(out, sizeof(out), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
	memset(key, 0xaa, sizeof(key));
	assert_int_equal(hash_hmac_sha1(key, sizeof(key), text, strlen(text), out), 0);
	assert_hex(out, sizeof(out), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
}

/* RFC 4231 4, test cases 1, 2 and 6. */
static void hash_hmac_sha256_rfc4231_matches(void **state)
{
	uint8_t key[131], out[HASH_SHA256_SIZE];
	const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";

	(void)state;
	memset(key, 0x0b, 20);
	assert_int_equal(hash_hmac_sha256(key, 20, "Hi There", 8, out), 0);
	assert_hex(out, sizeof(out),
	           "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	assert_int_equal(hash_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out), 0);
	assert_hex(out, sizeof(out),
	           "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	assert_int_equal(hash_hmac_sha256(key, sizeof(key), text, strlen(text), out), 0);
	assert_hex(out, sizeof(out),
	           "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void hash_hmac_empty_key_works(void **state)
{
	uint8_t out[HASH_SHA256_SIZE];

	(void)state;
	assert_int_equal(hash_hmac_sha256(NULL, 0, "", 0, out), 0);
	assert_hex(out, sizeof(out),
	           "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void hash_crc32_check_value_matches(void **state)
{
	(void)state;
	assert_int_equal(hash_crc32("123456789", 9), 0xcbf43926);
	assert_int_equal(hash_crc32("", 0), 0);
}

static void hash_equal_each_byte_counts(void **state)
{
	uint8_t a[32] = {0}, b[32] = {0};

	(void)state;
	assert_true(hash_equal(a, b, sizeof(a)));
	for (size_t i = 0; i < sizeof(a); i++) {
		b[i] ^= 0x80;
		assert_false(hash_equal(a, b, sizeof(a)));
		b[i] ^= 0x80;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hash_sha256_vectors_match),
		cmocka_unit_test(hash_sha256_in_parts_equals_whole),
		cmocka_unit_test(hash_sha256_final_twice_fails),
		cmocka_unit_test(hash_hmac_sha1_rfc2202_matches),
		cmocka_unit_test(hash_hmac_sha256_rfc4231_matches),
		cmocka_unit_test(hash_hmac_empty_key_works),
		cmocka_unit_test(hash_crc32_check_value_matches),
		cmocka_unit_test(hash_equal_each_byte_counts),
	};

	return cmocka_run_group_tests_name("crypto/hash", tests, NULL, NULL);
}
