/* SPDX-License-Identifier: MIT */

#include "crypto/password.h"

#include "base/err.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

int password_scrypt(const void *password, size_t password_len, const void *salt, size_t salt_len,
                    uint64_t n, uint32_t r, uint32_t p, uint8_t *out, size_t out_len)
{
	/* RFC 7914 2; the upper limits keep the memory below 4 GB. */
	if (n < 2 || (n & (n - 1)) != 0 || n > 1 << 22 || r == 0 || r > 8 || p == 0 || p > 16)
		return err_here(-EINVAL);

	/* B, V and the scratch block. */
	uint64_t memory = UINT64_C(128) * r * (n + p + 4);

	if (EVP_PBE_scrypt(password, password_len, salt, salt_len, n, r, p, memory, out, out_len) !=
	    1)
		return err_here(-ENOMEM);
	return 0;
}

int password_to_seed(const char *password, const void *salt, size_t salt_len,
                     uint8_t out[static PASSWORD_SEED_SIZE])
{
	return err_up(password_scrypt(password, strlen(password), salt, salt_len, 1 << 17, 8, 1,
	                              out, PASSWORD_SEED_SIZE));
}
