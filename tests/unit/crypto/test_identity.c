/* SPDX-License-Identifier: MIT */

#include "crypto/identity.h"

#include "base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hex.h"

/* RFC 8032 7.1, tests 1 to 3. */
static void identity_sign_rfc8032_matches(void **state)
{
	static const struct {
		const char *seed, *public, *msg, *signature;
	} rows[] = {
		{
			"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
			"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
			"",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
			"5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
		},
		{
			"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
			"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
			"72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
			"085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
		},
		{
			"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
			"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
			"af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
			"18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
		},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t seed[32], msg[8], public[32], signature[64], again[32];
		size_t msg_len = hex(rows[i].msg, msg, sizeof(msg));
		struct identity *id = NULL;

		hex(rows[i].seed, seed, sizeof(seed));
		assert_int_equal(identity_from_seed(&id, seed), 0);
		identity_public(id, public);
		assert_hex(public, sizeof(public), rows[i].public);
		identity_seed(id, again);
		assert_memory_equal(again, seed, sizeof(seed));
		assert_int_equal(identity_sign(id, msg, msg_len, signature), 0);
		assert_hex(signature, sizeof(signature), rows[i].signature);
		assert_true(identity_verify(public, msg, msg_len, signature));
		identity_free(id);
	}
}

static void identity_verify_changed_input_fails(void **state)
{
	gv_cleanup(identity_freep) struct identity *id = NULL;
	uint8_t msg[16] = "sixteen letters", public[32], signature[64];

	(void)state;
	assert_int_equal(identity_new(&id), 0);
	identity_public(id, public);
	assert_int_equal(identity_sign(id, msg, sizeof(msg), signature), 0);
	assert_true(identity_verify(public, msg, sizeof(msg), signature));
	for (size_t i = 0; i < sizeof(signature); i++) {
		signature[i] ^= 1;
		assert_false(identity_verify(public, msg, sizeof(msg), signature));
		signature[i] ^= 1;
	}
	for (size_t i = 0; i < sizeof(public); i++) {
		public[i] ^= 1;
		assert_false(identity_verify(public, msg, sizeof(msg), signature));
		public[i] ^= 1;
	}
	msg[3] ^= 1;
	assert_false(identity_verify(public, msg, sizeof(msg), signature));
	msg[3] ^= 1;
	assert_false(identity_verify(public, msg, sizeof(msg) - 1, signature));
	assert_true(identity_verify(public, msg, sizeof(msg), signature));
}

static void identity_new_twice_differs(void **state)
{
	gv_cleanup(identity_freep) struct identity *a = NULL, *b = NULL;
	uint8_t pa[32], pb[32];

	(void)state;
	assert_int_equal(identity_new(&a), 0);
	assert_int_equal(identity_new(&b), 0);
	identity_public(a, pa);
	identity_public(b, pb);
	assert_memory_not_equal(pa, pb, sizeof(pa));
}

/* The eight points of small order and their second encodings: each would verify forged signatures. */
static void identity_public_of_small_order_is_refused(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		/* p and p + 1, which are 0 and 1 again */
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		/* R is the neutral element and S is 0: fits the neutral element as a key for any message. */
		uint8_t public[32], signature[64] = {1};

		hex(points[i], public, sizeof(public));
		assert_false(identity_public_is_valid(public));
		assert_false(identity_verify(public, "any", 3, signature));
	}
}

/* RFC 8032 5.1.3: y below 2^255 - 19. */
static void identity_public_not_canonical_is_refused(void **state)
{
	uint8_t public[32];

	(void)state;
	memset(public, 0xff, sizeof(public));
	public[31] = 0x7f;
	for (unsigned low = 0xed; low <= 0xff; low++) {
		public[0] = (uint8_t)low;
		assert_false(identity_public_is_valid(public));
	}
	public[0] = 0xeb; /* p - 2 */
	assert_true(identity_public_is_valid(public));
	public[0] = 0xff;
	public[15] = 0xfe; /* below p */
	assert_true(identity_public_is_valid(public));
}

/* RFC 8032 5.1.7: S below the order of the group, else each signature has a twin. */
static void identity_signature_with_large_s_is_refused(void **state)
{
	gv_cleanup(identity_freep) struct identity *id = NULL;
	uint8_t order[32], public[32], signature[64];
	unsigned carry = 0;

	(void)state;
	hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010", order,
	    sizeof(order));
	assert_int_equal(identity_new(&id), 0);
	identity_public(id, public);
	assert_int_equal(identity_sign(id, "m", 1, signature), 0);
	for (size_t i = 0; i < sizeof(order); i++) {
		carry += (unsigned)signature[32 + i] + order[i];
		signature[32 + i] = (uint8_t)carry;
		carry >>= 8;
	}
	assert_false(identity_verify(public, "m", 1, signature));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity_sign_rfc8032_matches),
		cmocka_unit_test(identity_verify_changed_input_fails),
		cmocka_unit_test(identity_new_twice_differs),
		cmocka_unit_test(identity_public_of_small_order_is_refused),
		cmocka_unit_test(identity_public_not_canonical_is_refused),
		cmocka_unit_test(identity_signature_with_large_s_is_refused),
	};

	return cmocka_run_group_tests_name("crypto/identity", tests, NULL, NULL);
}
