/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_CERT_H
#define GV_CRYPTO_CERT_H

/*
 * cert - self-signed ECDSA P-256 certificates: one per process for DTLS, one in files for a server's TLS, and the
 * pin by which a client knows such a server.
 *
 * Does not:  check chains or names; that is OpenSSL's and libwebsockets' where a real authority signed.
 * Thread:    a struct cert is immutable; the reference count is atomic.
 */

#include "base/macro.h"

#include <stddef.h>
#include <stdint.h>

#define CERT_FINGERPRINT_SIZE 32
#define CERT_PIN_SIZE         32

struct cert; /* opaque, reference-counted */
struct diag;

/*
 * Makes a key and its certificate, valid from a day before unix_s (seconds since 1970) for a year; peers know it
 * by fingerprint alone. *out holds one reference, owned by the caller. Returns 0 or -ENOMEM.
 */
int cert_new(struct cert **out, int64_t unix_s) gv_must_check gv_nonnull(1);

/* One more reference; returns c. */
struct cert *cert_ref(struct cert *c) gv_nonnull(1);

/* Gives a reference back; the last one frees the key. NULL is allowed. */
void cert_unref(struct cert *c);

/* SHA-256 of the certificate, as in a=fingerprint (RFC 8122). */
void cert_fingerprint(const struct cert *c, uint8_t out[static CERT_FINGERPRINT_SIZE])
	gv_nonnull(1, 2);

/*
 * Writes a new key and a self-signed certificate as PEM files with mode 0600, valid for ten years from a day
 * before unix_s. names[] are host names and addresses as text, for the subjectAltName; at least one. Each file
 * appears whole or not at all, the key first; existing ones are replaced.
 *
 * Returns 0; -EINVAL a name is neither (diag says which); -errno of the files; -ENOMEM.
 */
int cert_write_self_signed(const char *cert_path, const char *key_path, const char *const *names,
                           size_t count, int64_t unix_s, struct diag *diag)
	gv_must_check gv_nonnull(1, 2, 3);

/*
 * The pin of a certificate: SHA-256 of its SubjectPublicKeyInfo, so a renewed certificate of the same key keeps
 * it. From the first certificate of a PEM file; from DER. Return 0; -errno of the file; -EBADMSG not a
 * certificate; -ENOMEM.
 */
int cert_file_pin(const char *path, uint8_t out[static CERT_PIN_SIZE])
	gv_must_check gv_nonnull(1, 2);
int cert_der_pin(const uint8_t *der, size_t len, uint8_t out[static CERT_PIN_SIZE])
	gv_must_check gv_nonnull(1, 3);

GV_DEFINE_CLEANUP(struct cert *, cert_unref)

#endif /* GV_CRYPTO_CERT_H */
