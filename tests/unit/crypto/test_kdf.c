/* SPDX-License-Identifier: MIT */

#include "crypto/hkdf.h"
#include "crypto/prf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hex.h"

/* RFC 5869 appendix A, test cases 1 to 3. */
static void hkdf_rfc5869_matches(void **state)
{
	static const struct {
		const char *secret, *salt, *info, *out;
	} rows[] = {
		{
			"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
			"000102030405060708090a0b0c",
			"f0f1f2f3f4f5f6f7f8f9",
			"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
			"34007208d5b887185865",
		},
		{
			"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
			"202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
			"404142434445464748494a4b4c4d4e4f",
			"606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
			"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
			"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
			"b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
			"d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"
			"f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
			"b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
			"59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
			"cc30c58179ec3e87c14c01d5c1f3434f1d87",
		},
		{
			"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
			"",
			"",
			"8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
			"9d201395faa4b61a96c8",
		},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t secret[128], salt[128], info[128], out[128];
		size_t secret_len = hex(rows[i].secret, secret, sizeof(secret));
		size_t salt_len = hex(rows[i].salt, salt, sizeof(salt));
		size_t info_len = hex(rows[i].info, info, sizeof(info));
		size_t out_len = strlen(rows[i].out) / 2;

		assert_int_equal(hkdf_sha256(salt, salt_len, secret, secret_len, info, info_len,
		                             out, out_len),
		                 0);
		assert_hex(out, out_len, rows[i].out);
	}
}

/* RFC 5869 2.3: L <= 255 * HashLen. */
static void hkdf_length_out_of_range_is_refused(void **state)
{
	static uint8_t out[8161];

	(void)state;
	assert_int_equal(hkdf_sha256(NULL, 0, "x", 1, NULL, 0, out, 8160), 0);
	assert_int_equal(hkdf_sha256(NULL, 0, "x", 1, NULL, 0, out, 8161), -EINVAL);
	assert_int_equal(hkdf_sha256(NULL, 0, "x", 1, NULL, 0, out, 0), -EINVAL);
}

/* The vector of the TLS working group's list for P_SHA256. */
static void prf_known_vector_matches(void **state)
{
	uint8_t secret[16], seed[16], out[100];

	(void)state;
	hex("9bbe436ba940f017b17652849a71db35", secret, sizeof(secret));
	hex("a0ba9f936cda311827a6f796ffd5198c", seed, sizeof(seed));
	assert_int_equal(prf_tls_sha256(secret, sizeof(secret), "test label", seed, sizeof(seed),
	                                out, sizeof(out)),
	                 0);
	assert_hex(out, sizeof(out),
	           "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"
	           "6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab"
	           "4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701"
	           "87347b66");
}

static void prf_long_seed_is_refused(void **state)
{
	uint8_t seed[PRF_SEED_MAX + 1] = {0}, out[12];

	(void)state;
	assert_int_equal(prf_tls_sha256("s", 1, "label", seed, PRF_SEED_MAX, out, sizeof(out)), 0);
	assert_int_equal(prf_tls_sha256("s", 1, "label", seed, sizeof(seed), out, sizeof(out)),
	                 -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hkdf_rfc5869_matches),
		cmocka_unit_test(hkdf_length_out_of_range_is_refused),
		cmocka_unit_test(prf_known_vector_matches),
		cmocka_unit_test(prf_long_seed_is_refused),
	};

	return cmocka_run_group_tests_name("crypto/kdf", tests, NULL, NULL);
}
