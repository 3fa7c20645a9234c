/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_PASSWORD_H
#define GV_CRYPTO_PASSWORD_H

/*
 * password - network passwords: stretching one to the seed of an invite key.
 *
 * Thread:  any.
 */

#include "base/macro.h"

#include <stddef.h>
#include <stdint.h>

#define PASSWORD_SEED_SIZE 32

/*
 * scrypt (RFC 7914) with N = 2^17, r = 8, p = 1. The salt is the network id; both are borrowed.
 * Returns 0 or -ENOMEM.
 * Cost: about half a second and 128 MB: not on a thread that others wait for.
 */
int password_to_seed(const char *password, const void *salt, size_t salt_len,
                     uint8_t out[static PASSWORD_SEED_SIZE]) gv_must_check gv_nonnull(1, 2, 4);

/* scrypt with other costs, for its vectors. n is a power of two. Returns 0; -EINVAL; -ENOMEM. */
int password_scrypt(const void *password, size_t password_len, const void *salt, size_t salt_len,
                    uint64_t n, uint32_t r, uint32_t p, uint8_t *out, size_t out_len)
	gv_must_check gv_nonnull(8);

#endif /* GV_CRYPTO_PASSWORD_H */
