/* SPDX-License-Identifier: MIT */

#include "crypto/aead.h"

#include "base/rng.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hex.h"

static const enum aead_backend backends[] = {AEAD_BACKEND_EVP, AEAD_BACKEND_IPSECMB};

/* Makes a key; false where this machine does not have the backend. */
static bool make_key(struct aead_key **out, enum aead_backend b, enum aead_direction d,
                     const uint8_t key[static AEAD_KEY_SIZE])
{
	int r = aead_key_new(out, b, d, key);

	if (r == -ENOTSUP && b == AEAD_BACKEND_IPSECMB)
		return false;
	assert_int_equal(r, 0);
	return true;
}

struct vector {
	const char *key, *nonce, *aad, *plain, *cipher, *tag;
};

/* Test cases 1 to 4 of the GCM specification submitted to NIST. */
static const struct vector vectors[] = {
	{
		"00000000000000000000000000000000",
		"000000000000000000000000",
		"",
		"",
		"",
		"58e2fccefa7e3061367f1d57a4e7455a",
	},
	{
		"00000000000000000000000000000000",
		"000000000000000000000000",
		"",
		"00000000000000000000000000000000",
		"0388dace60b6a392f328c2b971b2fe78",
		"ab6e47d42cec13bdf53a67b21257bddf",
	},
	{
		"feffe9928665731c6d6a8f9467308308",
		"cafebabefacedbaddecaf888",
		"",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
		"42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
		"21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
		"4d5c2af327cd64a62cf35abd2ba6fab4",
	},
	{
		"feffe9928665731c6d6a8f9467308308",
		"cafebabefacedbaddecaf888",
		"feedfacedeadbeeffeedfacedeadbeefabaddad2",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
		"42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
		"21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
		"5bc94fbc3221a5db94fae95ae7121a47",
	},
};

static void check_vector(enum aead_backend backend, const struct vector *v)
{
	gv_cleanup(aead_key_freep) struct aead_key *seal = NULL, *open = NULL;
	uint8_t key[16], data[64], aad[32], tag[16];
	struct aead_op op = {.aad = aad, .data = data, .tag = tag};

	hex(v->key, key, sizeof(key));
	if (!make_key(&seal, backend, AEAD_SEAL, key) || !make_key(&open, backend, AEAD_OPEN, key))
		return;
	hex(v->nonce, op.nonce, sizeof(op.nonce));
	op.aad_len = hex(v->aad, aad, sizeof(aad));
	op.len = hex(v->plain, data, sizeof(data));
	assert_int_equal(aead_seal(seal, &op, 1), 0);
	assert_hex(data, op.len, v->cipher);
	assert_hex(tag, sizeof(tag), v->tag);
	aead_open(open, &op, 1);
	assert_true(op.ok);
	assert_hex(data, op.len, v->plain);
}

static void aead_gcm_vectors_match(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++)
		for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
			check_vector(backends[b], &vectors[i]);
}

/* Each length that a packet may have, sealed by one and opened by the other. */
static void aead_backends_agree(void **state)
{
	gv_cleanup(aead_key_freep) struct aead_key *evp_seal = NULL, *evp_open = NULL;
	gv_cleanup(aead_key_freep) struct aead_key *mb_seal = NULL, *mb_open = NULL;
	struct rng rng = rng_seeded(11);
	uint8_t key[16], plain[1600], a[1600], b[1600], aad[13], tag_a[16], tag_b[16];

	(void)state;
	rng_bytes(&rng, key, sizeof(key));
	rng_bytes(&rng, plain, sizeof(plain));
	rng_bytes(&rng, aad, sizeof(aad));
	assert_true(make_key(&evp_seal, AEAD_BACKEND_EVP, AEAD_SEAL, key));
	assert_true(make_key(&evp_open, AEAD_BACKEND_EVP, AEAD_OPEN, key));
	if (!make_key(&mb_seal, AEAD_BACKEND_IPSECMB, AEAD_SEAL, key) ||
	    !make_key(&mb_open, AEAD_BACKEND_IPSECMB, AEAD_OPEN, key))
		skip();
	for (size_t len = 0; len <= sizeof(plain); len++) {
		struct aead_op op_a = {
			.aad = aad, .aad_len = sizeof(aad), .data = a, .len = len, .tag = tag_a};
		struct aead_op op_b = op_a;

		memcpy(a, plain, len);
		memcpy(b, plain, len);
		rng_bytes(&rng, op_a.nonce, sizeof(op_a.nonce));
		memcpy(op_b.nonce, op_a.nonce, sizeof(op_b.nonce));
		op_b.data = b;
		op_b.tag = tag_b;
		assert_int_equal(aead_seal(evp_seal, &op_a, 1), 0);
		assert_int_equal(aead_seal(mb_seal, &op_b, 1), 0);
		assert_memory_equal(a, b, len);
		assert_memory_equal(tag_a, tag_b, sizeof(tag_a));
		aead_open(mb_open, &op_a, 1);
		aead_open(evp_open, &op_b, 1);
		assert_true(op_a.ok && op_b.ok);
		assert_memory_equal(a, plain, len);
		assert_memory_equal(b, plain, len);
	}
}

/* A batch in which some packets are forged: those are empty of meaning afterwards, the others whole. */
static void check_forged_batch(enum aead_backend backend)
{
	gv_cleanup(aead_key_freep) struct aead_key *seal = NULL, *open = NULL;
	const uint8_t key[16] = {1, 2, 3}, aad[13] = {9}, zero[100] = {0};
	uint8_t data[8][100], tag[8][16];
	struct aead_op ops[8];

	if (!make_key(&seal, backend, AEAD_SEAL, key) || !make_key(&open, backend, AEAD_OPEN, key))
		return;
	for (unsigned i = 0; i < 8; i++) {
		memset(data[i], (int)i + 1, sizeof(data[i]));
		ops[i] = (struct aead_op){.nonce = {(uint8_t)i},
		                          .aad = aad,
		                          .aad_len = sizeof(aad),
		                          .data = data[i],
		                          .len = sizeof(data[i]),
		                          .tag = tag[i]};
	}
	assert_int_equal(aead_seal(seal, ops, 8), 0);
	data[1][99] ^= 1;
	tag[3][0] ^= 0x80;
	ops[5].nonce[11] ^= 1;
	ops[6].aad_len--;
	aead_open(open, ops, 8);
	for (unsigned i = 0; i < 8; i++) {
		bool forged = i == 1 || i == 3 || i == 5 || i == 6;

		assert_int_equal(ops[i].ok, !forged);
		if (forged)
			assert_memory_equal(data[i], zero, sizeof(zero));
		else
			assert_int_equal(data[i][50], i + 1);
	}
}

static void aead_open_forged_ones_of_a_batch_are_zeroed(void **state)
{
	(void)state;
	check_forged_batch(AEAD_BACKEND_EVP);
	check_forged_batch(AEAD_BACKEND_IPSECMB);
}

static void aead_key_new_environment_chooses(void **state)
{
	const uint8_t key[16] = {0};

	static const struct {
		const char *wish, *got;
	} rows[] = {{"evp", "evp"}, {"ipsecmb", "ipsecmb"}, {"rot13", "evp"}};
	struct aead_key *k = NULL;

	(void)state;
	if (!make_key(&k, AEAD_BACKEND_IPSECMB, AEAD_SEAL, key))
		skip();
	aead_key_free(k);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(setenv("GOVPN_AEAD", rows[i].wish, 1), 0);
		assert_int_equal(aead_key_new(&k, AEAD_BACKEND_AUTO, AEAD_SEAL, key), 0);
		assert_string_equal(aead_key_backend(k), rows[i].got);
		aead_key_free(k);
	}
	assert_int_equal(unsetenv("GOVPN_AEAD"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aead_gcm_vectors_match),
		cmocka_unit_test(aead_backends_agree),
		cmocka_unit_test(aead_open_forged_ones_of_a_batch_are_zeroed),
		cmocka_unit_test(aead_key_new_environment_chooses),
	};

	return cmocka_run_group_tests_name("crypto/aead", tests, NULL, NULL);
}
