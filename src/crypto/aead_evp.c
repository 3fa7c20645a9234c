/* SPDX-License-Identifier: MIT */

#include "base/err.h"
#include "base/mem.h"
#include "crypto/aead_impl.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>

static int evp_open_key(void **out, enum aead_direction direction,
                        const uint8_t key[static AEAD_KEY_SIZE])
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int seal = direction == AEAD_SEAL ? 1 : 0;

	/* The nonce has its default length, 12; each packet sets only the nonce. */
	if (cipher == NULL || ctx == NULL ||
	    EVP_CipherInit_ex2(ctx, cipher, key, NULL, seal, NULL) != 1) {
		EVP_CIPHER_CTX_free(ctx);
		EVP_CIPHER_free(cipher);
		return err_here(-ENOMEM);
	}
	EVP_CIPHER_free(cipher); /* the context holds its own reference */
	*out = ctx;
	return 0;
}

static void evp_close_key(void *state)
{
	EVP_CIPHER_CTX_free(state); /* wipes */
}

/* Nonce, aad and data through the cipher, in place. */
static bool evp_run(EVP_CIPHER_CTX *ctx, struct aead_op *op)
{
	int len = 0;

	if (op->len > INT_MAX || op->aad_len > INT_MAX)
		return false;
	return EVP_CipherInit_ex2(ctx, NULL, NULL, op->nonce, -1, NULL) == 1 &&
	       EVP_CipherUpdate(ctx, NULL, &len, op->aad, (int)op->aad_len) == 1 &&
	       EVP_CipherUpdate(ctx, op->data, &len, op->data, (int)op->len) == 1;
}

static int evp_seal(void *state, struct aead_op *ops, size_t n)
{
	EVP_CIPHER_CTX *ctx = state;
	uint8_t none[1];
	int len = 0;

	for (size_t i = 0; i < n; i++) {
		if (!evp_run(ctx, &ops[i]) || EVP_CipherFinal_ex(ctx, none, &len) != 1 ||
		    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_SIZE, ops[i].tag) != 1)
			return err_here(-EIO);
	}
	return 0;
}

static void evp_open(void *state, struct aead_op *ops, size_t n)
{
	EVP_CIPHER_CTX *ctx = state;
	uint8_t none[1];
	int len = 0;

	for (size_t i = 0; i < n; i++) {
		ops[i].ok = evp_run(ctx, &ops[i]) &&
		            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_SIZE,
		                                ops[i].tag) == 1 &&
		            EVP_CipherFinal_ex(ctx, none, &len) == 1;
		if (!ops[i].ok)
			mem_wipe(ops[i].data, ops[i].len);
	}
}

const struct aead_driver aead_driver_evp = {
	.name = "evp",
	.open_key = evp_open_key,
	.close_key = evp_close_key,
	.seal = evp_seal,
	.open = evp_open,
};
