/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_IDENTITY_H
#define GV_CRYPTO_IDENTITY_H

/*
 * identity - Ed25519 signing keys (RFC 8032): computers, network owners, invites.
 *
 * Does not:  know what is signed; tags and length prefixes are the caller's (proto/sig).
 * Thread:    an identity is immutable and may be used from any thread.
 * Memory:    the secret lives in one allocation and is wiped when it is freed.
 */

#include "base/macro.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IDENTITY_SEED_SIZE      32
#define IDENTITY_PUBLIC_SIZE    32
#define IDENTITY_SIGNATURE_SIZE 64

struct identity; /* opaque */

/* A fresh key from the system's randomness. *out is owned by the caller. Returns 0 or -ENOMEM. */
int identity_new(struct identity **out) gv_must_check gv_nonnull(1);

/* The key of a seed (borrowed). *out is owned by the caller. Returns 0 or -ENOMEM. */
int identity_from_seed(struct identity **out, const uint8_t seed[static IDENTITY_SEED_SIZE])
	gv_must_check gv_nonnull(1, 2);

/* Wipes and frees. NULL is allowed. */
void identity_free(struct identity *id);

/* Copies the public key. */
void identity_public(const struct identity *id, uint8_t out[static IDENTITY_PUBLIC_SIZE])
	gv_nonnull(1, 2);

/* Copies the secret seed, for the key file and for invite links; the caller wipes it after use. */
void identity_seed(const struct identity *id, uint8_t out[static IDENTITY_SEED_SIZE])
	gv_nonnull(1, 2);

/* Signs len bytes. Returns 0 or -ENOMEM. */
int identity_sign(const struct identity *id, const void *msg, size_t len,
                  uint8_t signature[static IDENTITY_SIGNATURE_SIZE]) gv_must_check gv_nonnull(1, 4);

/*
 * True when `signature` over the message is by the key `public`, and that key is one that
 * identity_public_is_valid() accepts. Lack of memory counts as false.
 */
bool identity_verify(const uint8_t public[static IDENTITY_PUBLIC_SIZE], const void *msg, size_t len,
                     const uint8_t signature[static IDENTITY_SIGNATURE_SIZE])
	gv_must_check gv_nonnull(1, 4);

/*
 * False for encodings that are not canonical (y >= 2^255 - 19: a second text of the same point) and for the
 * points of small order, under which a signature can fit several messages. Does not check that the point is
 * on the curve; a signature by one that is not fails.
 */
bool identity_public_is_valid(const uint8_t public[static IDENTITY_PUBLIC_SIZE])
	gv_must_check gv_nonnull(1);

GV_DEFINE_CLEANUP(struct identity *, identity_free)

#endif /* GV_CRYPTO_IDENTITY_H */
