/* SPDX-License-Identifier: MIT */

#include "crypto/hkdf.h"

#include "base/err.h"
#include "crypto/hash.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

static OSSL_PARAM octets(const char *name, const void *p, size_t n)
{
	/* The library reads only; its type is for both directions. */
	return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)(n > 0 ? p : ""), n);
}

int hkdf_sha256(const void *salt, size_t salt_len, const void *secret, size_t secret_len,
                const void *info, size_t info_len, uint8_t *out, size_t out_len)
{
	/* RFC 5869 2.3: at most 255 blocks. */
	if (out_len == 0 || out_len > 255 * HASH_SHA256_SIZE || secret_len == 0)
		return err_here(-EINVAL);

	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		octets(OSSL_KDF_PARAM_KEY, secret, secret_len),
		octets(OSSL_KDF_PARAM_SALT, salt, salt_len),
		octets(OSSL_KDF_PARAM_INFO, info, info_len),
		OSSL_PARAM_construct_end(),
	};
	int r = 0;

	if (ctx == NULL || EVP_KDF_derive(ctx, out, out_len, params) != 1)
		r = err_here(-ENOMEM);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return r;
}
