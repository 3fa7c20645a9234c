/* SPDX-License-Identifier: MIT */

#include "crypto/prf.h"

#include "base/err.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

int prf_tls_sha256(const void *secret, size_t secret_len, const char *label, const void *seed,
                   size_t seed_len, uint8_t *out, size_t out_len)
{
	uint8_t label_seed[2 * PRF_SEED_MAX];
	size_t label_len = strlen(label);

	if (seed_len > PRF_SEED_MAX || label_len > PRF_SEED_MAX)
		return err_here(-EINVAL);
	memcpy(label_seed, label, label_len);
	memcpy(label_seed + label_len, seed, seed_len);

	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, (void *)(uintptr_t)secret,
	                                          secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, label_seed,
	                                          label_len + seed_len),
		OSSL_PARAM_construct_end(),
	};
	int r = 0;

	if (ctx == NULL || EVP_KDF_derive(ctx, out, out_len, params) != 1)
		r = err_here(-ENOMEM);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return r;
}
