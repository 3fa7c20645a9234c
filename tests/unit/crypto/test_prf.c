/* SPDX-License-Identifier: MIT */

#include "crypto/prf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hex.h"

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
		cmocka_unit_test(prf_known_vector_matches),
		cmocka_unit_test(prf_long_seed_is_refused),
	};

	return cmocka_run_group_tests_name("crypto/prf", tests, NULL, NULL);
}
