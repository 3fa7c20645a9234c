/* SPDX-License-Identifier: MIT */

#include "crypto/password.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hex.h"

/* RFC 7914 12, the first two vectors. */
static void password_scrypt_rfc7914_matches(void **state)
{
	uint8_t out[64];

	(void)state;
	assert_int_equal(password_scrypt("", 0, "", 0, 16, 1, 1, out, sizeof(out)), 0);
	assert_hex(out, sizeof(out),
	           "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
	           "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906");
	assert_int_equal(password_scrypt("password", 8, "NaCl", 4, 1024, 8, 16, out, sizeof(out)),
	                 0);
	assert_hex(out, sizeof(out),
	           "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
	           "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640");
}

static void password_scrypt_wrong_costs_are_refused(void **state)
{
	uint8_t out[32];

	(void)state;
	assert_int_equal(password_scrypt("p", 1, "s", 1, 0, 8, 1, out, sizeof(out)), -EINVAL);
	assert_int_equal(password_scrypt("p", 1, "s", 1, 1000, 8, 1, out, sizeof(out)), -EINVAL);
	assert_int_equal(password_scrypt("p", 1, "s", 1, 1 << 23, 8, 1, out, sizeof(out)), -EINVAL);
	assert_int_equal(password_scrypt("p", 1, "s", 1, 16, 0, 1, out, sizeof(out)), -EINVAL);
	assert_int_equal(password_scrypt("p", 1, "s", 1, 16, 8, 0, out, sizeof(out)), -EINVAL);
}

/* The costs are part of the protocol: other ones would make other invites of the same password. */
static void password_to_seed_has_the_costs_of_the_protocol(void **state)
{
	uint8_t seed[PASSWORD_SEED_SIZE], want[PASSWORD_SEED_SIZE];
	const uint8_t salt[20] = "twenty bytes of salt";

	(void)state;
	assert_int_equal(password_to_seed("correct horse", salt, sizeof(salt), seed), 0);
	assert_int_equal(password_scrypt("correct horse", 13, salt, sizeof(salt), 131072, 8, 1,
	                                 want, sizeof(want)),
	                 0);
	assert_memory_equal(seed, want, sizeof(seed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(password_scrypt_rfc7914_matches),
		cmocka_unit_test(password_scrypt_wrong_costs_are_refused),
		cmocka_unit_test(password_to_seed_has_the_costs_of_the_protocol),
	};

	return cmocka_run_group_tests_name("crypto/password", tests, NULL, NULL);
}
