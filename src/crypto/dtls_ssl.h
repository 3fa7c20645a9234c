/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_DTLS_SSL_H
#define GV_CRYPTO_DTLS_SSL_H

/*
 * dtls_ssl - OpenSSL as a machine for DTLS 1.2 handshakes: records in, datagrams out. Used by dtls alone.
 *
 * Does not:  keep time or repeat anything: OpenSSL's timer is set beyond every handshake, since dtls repeats flights
 *            by the time it is given.
 * Thread:    one.
 */

#include "base/buf.h"
#include "base/macro.h"
#include "crypto/dtls.h"

struct dtls_ssl; /* opaque */

enum dtls_ssl_result {
	DTLS_SSL_MORE = 0, /* waits for the peer */
	DTLS_SSL_DONE = 1, /* the peer's Finished is verified, ours is emitted */
	DTLS_SSL_REFUSED = 2,
	DTLS_SSL_FINGERPRINT = 3, /* refused: the certificate is another one */
	DTLS_SSL_WEAK =
		4, /* the peer's key is short; of dtls_ssl_export(): cipher, no extended master secret */
};

/* config is borrowed until dtls_ssl_free(). Returns 0 or -ENOMEM. */
int dtls_ssl_new(struct dtls_ssl **out, const struct dtls_config *config)
	gv_must_check gv_nonnull(1, 2);
void dtls_ssl_free(struct dtls_ssl *s);

/*
 * Goes on with the handshake with one record, or with none (NULL, 0). What OpenSSL sends is appended to `emitted`:
 * each datagram behind its length in two bytes.
 * Returns enum dtls_ssl_result; -ENOBUFS, -ENOMEM when emitted did not take it.
 */
int dtls_ssl_run(struct dtls_ssl *s, const uint8_t *record, size_t len, struct buf *emitted)
	gv_must_check gv_nonnull(1, 4);

/*
 * The keys of epoch 1, as soon as OpenSSL has emitted a record of it (nonce_start is left to the caller).
 * Returns 0; DTLS_SSL_WEAK: they may not be used; -ENOMEM.
 */
int dtls_ssl_export(struct dtls_ssl *s, struct record_keys *out) gv_must_check gv_nonnull(1, 2);

/* A finished handshake has everything we ask for; checked once more with OpenSSL's own words. */
bool dtls_ssl_is_sound(const struct dtls_ssl *s) gv_must_check gv_nonnull(1);

GV_DEFINE_CLEANUP(struct dtls_ssl *, dtls_ssl_free)

#endif /* GV_CRYPTO_DTLS_SSL_H */
