/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_HKDF_H
#define GV_CRYPTO_HKDF_H

/*
 * hkdf - keys out of a secret: HKDF with SHA-256 (RFC 5869), extract and expand in one call.
 *
 * Thread:  any.
 */

#include "base/macro.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Fills out with out_len bytes (at most 8160). salt and info may be empty. All pointers are borrowed.
 * Returns 0; -EINVAL for a length that the RFC does not allow; -ENOMEM.
 */
int hkdf_sha256(const void *salt, size_t salt_len, const void *secret, size_t secret_len,
                const void *info, size_t info_len, uint8_t *out, size_t out_len)
	gv_must_check gv_nonnull(3, 7);

#endif /* GV_CRYPTO_HKDF_H */
