/* SPDX-License-Identifier: MIT */

#include "crypto/identity.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

struct identity {
	EVP_PKEY *pkey; /* owned */
	uint8_t seed[IDENTITY_SEED_SIZE];
	uint8_t public[IDENTITY_PUBLIC_SIZE];
};

int identity_new(struct identity **out)
{
	struct rng rng = rng_os();
	uint8_t seed[IDENTITY_SEED_SIZE];

	rng_bytes(&rng, seed, sizeof(seed));
	int r = identity_from_seed(out, seed);
	mem_wipe(seed, sizeof(seed));
	return err_up(r);
}

int identity_from_seed(struct identity **out, const uint8_t seed[static IDENTITY_SEED_SIZE])
{
	gv_cleanup(identity_freep) struct identity *id = mem_new(struct identity);
	size_t len = IDENTITY_PUBLIC_SIZE;

	if (id == NULL)
		return err_here(-ENOMEM);
	memcpy(id->seed, seed, IDENTITY_SEED_SIZE);
	id->pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, IDENTITY_SEED_SIZE);
	if (id->pkey == NULL || EVP_PKEY_get_raw_public_key(id->pkey, id->public, &len) != 1)
		return err_here(-ENOMEM);
	*out = GV_STEAL(id);
	return 0;
}

void identity_free(struct identity *id)
{
	if (id == NULL)
		return;
	EVP_PKEY_free(id->pkey);
	mem_wipe(id, sizeof(*id));
	mem_free(id);
}

void identity_public(const struct identity *id, uint8_t out[static IDENTITY_PUBLIC_SIZE])
{
	memcpy(out, id->public, IDENTITY_PUBLIC_SIZE);
}

void identity_seed(const struct identity *id, uint8_t out[static IDENTITY_SEED_SIZE])
{
	memcpy(out, id->seed, IDENTITY_SEED_SIZE);
}

int identity_sign(const struct identity *id, const void *msg, size_t len,
                  uint8_t signature[static IDENTITY_SIGNATURE_SIZE])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t signature_len = IDENTITY_SIGNATURE_SIZE;
	int r = 0;

	if (ctx == NULL || EVP_DigestSignInit(ctx, NULL, NULL, NULL, id->pkey) != 1 ||
	    EVP_DigestSign(ctx, signature, &signature_len, msg, len) != 1)
		r = err_here(-ENOMEM);
	EVP_MD_CTX_free(ctx);
	return r;
}

bool identity_verify(const uint8_t public[static IDENTITY_PUBLIC_SIZE], const void *msg, size_t len,
                     const uint8_t signature[static IDENTITY_SIGNATURE_SIZE])
{
	if (!identity_public_is_valid(public))
		return false;

	EVP_PKEY *pkey =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public, IDENTITY_PUBLIC_SIZE);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = pkey != NULL && ctx != NULL &&
	          EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
	          EVP_DigestVerify(ctx, signature, IDENTITY_SIGNATURE_SIZE, msg, len) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return ok;
}

/* y of the points whose order divides the cofactor 8; each belongs to both signs of x. */
static const uint8_t small_order_y[][IDENTITY_PUBLIC_SIZE] = {
	/* 0: order 4 */
	{0},
	/* 1: the neutral element */
	{1},
	/* two of order 8 */
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4,
         0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6,
         0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b,
         0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
         0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
	/* -1: order 2 */
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
};

bool identity_public_is_valid(const uint8_t public[static IDENTITY_PUBLIC_SIZE])
{
	uint8_t y[IDENTITY_PUBLIC_SIZE];
	bool low = false;

	memcpy(y, public, sizeof(y));
	y[31] &= 0x7f; /* the sign of x */

	/* p = 2^255 - 19: only 0xed .. 0xff with all ones above are not below it. */
	if (y[31] != 0x7f || y[0] < 0xed)
		low = true;
	for (size_t i = 1; !low && i < 31; i++)
		low = y[i] != 0xff;
	if (!low)
		return false;

	for (size_t i = 0; i < GV_ARRAY_SIZE(small_order_y); i++) {
		if (memcmp(y, small_order_y[i], sizeof(y)) == 0)
			return false;
	}
	return true;
}
