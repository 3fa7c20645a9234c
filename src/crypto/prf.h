/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_PRF_H
#define GV_CRYPTO_PRF_H

/*
 * prf - the pseudorandom function of TLS 1.2 with SHA-256 (RFC 5246 5).
 *
 * Thread:  any.
 */

#include "base/macro.h"

#include <stddef.h>
#include <stdint.h>

/* Largest seed. */
#define PRF_SEED_MAX 128

/*
 * out = PRF(secret, label, seed), out_len bytes. The label is text without its NUL.
 * Returns 0; -EINVAL for a seed above PRF_SEED_MAX; -ENOMEM.
 */
int prf_tls_sha256(const void *secret, size_t secret_len, const char *label, const void *seed,
                   size_t seed_len, uint8_t *out, size_t out_len)
	gv_must_check gv_nonnull(1, 3, 4, 6);

#endif /* GV_CRYPTO_PRF_H */
