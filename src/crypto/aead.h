/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_AEAD_H
#define GV_CRYPTO_AEAD_H

/*
 * aead - AES-128-GCM in place, over libipsec-mb on x86-64 or OpenSSL's EVP anywhere.
 *
 * Does not:  choose nonces; one key must never see one twice.
 * Thread:    a key works for one thread at a time; two keys are independent.
 * Memory:    one allocation per key, none per operation; wiped when freed.
 */

#include "base/macro.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_SIZE   16
#define AEAD_NONCE_SIZE 12
#define AEAD_TAG_SIZE   16

struct aead_key; /* opaque */

enum aead_backend {
	AEAD_BACKEND_AUTO = 0, /* GOVPN_AEAD=evp|ipsecmb if set, else the fastest there is */
	AEAD_BACKEND_EVP,
	AEAD_BACKEND_IPSECMB,
};

enum aead_direction {
	AEAD_SEAL,
	AEAD_OPEN,
};

/* One packet. Everything is borrowed for the call; data, aad and tag do not overlap. */
struct aead_op {
	uint8_t nonce[AEAD_NONCE_SIZE];
	const uint8_t *aad;
	size_t aad_len;
	uint8_t *data; /* plaintext becomes ciphertext, or back */
	size_t len;
	uint8_t *tag; /* AEAD_TAG_SIZE bytes: written by sealing, compared by opening */
	bool ok;      /* of opening: authentic. If not, data holds zeroes */
};

/*
 * Makes a key for one direction. *out is owned by the caller. An unknown or unavailable GOVPN_AEAD falls back to
 * EVP. Returns 0; -ENOTSUP the named backend is not in this build; -ENOMEM.
 */
int aead_key_new(struct aead_key **out, enum aead_backend backend, enum aead_direction direction,
                 const uint8_t key[static AEAD_KEY_SIZE]) gv_must_check gv_nonnull(1, 4);

/* Wipes and frees. NULL is allowed. */
void aead_key_free(struct aead_key *k);

/* Which one AEAD_BACKEND_AUTO or a fallback led to, for the start-up log: "ipsecmb" or "evp". */
const char *aead_key_backend(const struct aead_key *k) gv_nonnull(1);

/* Seal n packets in place with a key of AEAD_SEAL. Returns 0, or -EIO when the library failed (none may be sent). */
int aead_seal(struct aead_key *k, struct aead_op *ops, size_t n) gv_must_check gv_nonnull(1, 2);

/* Open n packets in place with a key of AEAD_OPEN; each op's `ok` is the result. */
void aead_open(struct aead_key *k, struct aead_op *ops, size_t n) gv_nonnull(1, 2);

GV_DEFINE_CLEANUP(struct aead_key *, aead_key_free)

#endif /* GV_CRYPTO_AEAD_H */
