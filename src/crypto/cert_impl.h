/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_CERT_IMPL_H
#define GV_CRYPTO_CERT_IMPL_H

/* cert_impl - the inside of struct cert, for the modules that hand it to OpenSSL. */

#include "crypto/cert.h"

#include <openssl/types.h>
#include <stdatomic.h>

struct cert {
	atomic_uint refs;
	EVP_PKEY *key; /* owned */
	X509 *x509;    /* owned */
	uint8_t fingerprint[CERT_FINGERPRINT_SIZE];
};

#endif /* GV_CRYPTO_CERT_IMPL_H */
