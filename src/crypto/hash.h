/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_HASH_H
#define GV_CRYPTO_HASH_H

/*
 * hash - digests, keyed digests, the CRC of STUN, and the one comparison for secrets.
 *
 * Thread:  any; nothing is shared.
 * Memory:  OpenSSL allocates inside; failure of that is the only one there is, -ENOMEM.
 */

#include "base/macro.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_SHA1_SIZE   20
#define HASH_SHA256_SIZE 32

/* SHA-256 (FIPS 180-4) of n bytes. Returns 0 or -ENOMEM. */
int hash_sha256(const void *p, size_t n, uint8_t out[static HASH_SHA256_SIZE])
	gv_must_check gv_nonnull(3);

/* A SHA-256 in parts. A failure is kept and told by hash_sha256_final(), so that the parts need no checks. */
struct hash_sha256 {
	void *ctx; /* owned; NULL after a failure */
};

void hash_sha256_init(struct hash_sha256 *h) gv_nonnull(1);
void hash_sha256_update(struct hash_sha256 *h, const void *p, size_t n) gv_nonnull(1);
/* Writes the digest and frees h, also on failure. Returns 0 or -ENOMEM (out untouched). */
int hash_sha256_final(struct hash_sha256 *h, uint8_t out[static HASH_SHA256_SIZE])
	gv_must_check gv_nonnull(1, 2);

/* HMAC (RFC 2104) with SHA-1 and SHA-256. Return 0 or -ENOMEM. */
int hash_hmac_sha1(const void *key, size_t key_len, const void *p, size_t n,
                   uint8_t out[static HASH_SHA1_SIZE]) gv_must_check gv_nonnull(5);
int hash_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n,
                     uint8_t out[static HASH_SHA256_SIZE]) gv_must_check gv_nonnull(5);

/* The CRC-32 of ITU-T V.42, which STUN's FINGERPRINT takes (RFC 8489 14.7; without its final XOR). */
uint32_t hash_crc32(const void *p, size_t n) gv_nonnull(1);

/* True when both hold the same n bytes; the time does not depend on where they differ. */
bool hash_equal(const void *a, const void *b, size_t n) gv_must_check gv_nonnull(1, 2);

#endif /* GV_CRYPTO_HASH_H */
