/* SPDX-License-Identifier: MIT */

#include "crypto/hash.h"

#include "base/err.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

int hash_sha256(const void *p, size_t n, uint8_t out[static HASH_SHA256_SIZE])
{
	struct hash_sha256 h;

	hash_sha256_init(&h);
	hash_sha256_update(&h, p, n);
	return err_up(hash_sha256_final(&h, out));
}

void hash_sha256_init(struct hash_sha256 *h)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	h->ctx = ctx;
}

void hash_sha256_update(struct hash_sha256 *h, const void *p, size_t n)
{
	if (h->ctx == NULL || n == 0)
		return;
	if (EVP_DigestUpdate(h->ctx, p, n) != 1) {
		EVP_MD_CTX_free(h->ctx);
		h->ctx = NULL;
	}
}

int hash_sha256_final(struct hash_sha256 *h, uint8_t out[static HASH_SHA256_SIZE])
{
	bool ok = h->ctx != NULL && EVP_DigestFinal_ex(h->ctx, out, NULL) == 1;

	EVP_MD_CTX_free(h->ctx);
	h->ctx = NULL;
	return ok ? 0 : err_here(-ENOMEM);
}

static int hmac(const EVP_MD *md, const void *key, size_t key_len, const void *p, size_t n,
                uint8_t *out)
{
	/* HMAC() takes a NULL key for "the one of before", even when its length is 0. */
	if (HMAC(md, key_len > 0 ? key : "", (int)key_len, p, n, out, NULL) == NULL)
		return err_here(-ENOMEM);
	return 0;
}

int hash_hmac_sha1(const void *key, size_t key_len, const void *p, size_t n,
                   uint8_t out[static HASH_SHA1_SIZE])
{
	return err_up(hmac(EVP_sha1(), key, key_len, p, n, out));
}

int hash_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n,
                     uint8_t out[static HASH_SHA256_SIZE])
{
	return err_up(hmac(EVP_sha256(), key, key_len, p, n, out));
}

/* Remainders of four bits by the reflected polynomial 0xedb88320. */
static const uint32_t crc32_nibbles[16] = {
	0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
	0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
	0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};

uint32_t hash_crc32(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < n; i++) {
		crc ^= b[i];
		crc = crc >> 4 ^ crc32_nibbles[crc & 15];
		crc = crc >> 4 ^ crc32_nibbles[crc & 15];
	}
	return ~crc;
}

bool hash_equal(const void *a, const void *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}
