/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_DTLS_H
#define GV_CRYPTO_DTLS_H

/*
 * dtls - the handshake of DTLS 1.2 (RFC 6347, 5764 without SRTP): OpenSSL over memory, no I/O.
 *
 * Does:      shakes hands with ECDHE-ECDSA and AES-128-GCM, checks the peer's certificate by fingerprint, exports
 *            the record keys, repeats lost flights by the time it is told, answers a peer whose last flight was
 *            answered into a loss.
 * Does not:  seal or open data: epoch 1 belongs to `record`. OpenSSL's own records of epoch 1 are opened here and
 *            given out as plaintext, to be sealed under the sequence numbers of `record`.
 * Thread:    owned by the control thread.
 * Memory:    OpenSSL's state, about 100 kB, until the handshake ends; then the last flight and one key, 4 kB.
 * Time:      now_us is monotonic. OpenSSL's own timer is never used.
 *
 * Life:  dtls_new(); drain events and output; dtls_input() per datagram, dtls_timeout() at the deadline, each
 * followed by draining both; after DTLS_EVENT_CONNECTED keep it for dtls_input() and dtls_repeat_last_flight().
 */

#include "base/macro.h"
#include "crypto/cert.h"
#include "crypto/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dtls; /* opaque */

/* A handshake that takes longer has failed. */
#define DTLS_HANDSHAKE_TIMEOUT_US 30000000
/* First repeat of a flight, doubling up to the second (RFC 6347 4.2.4.1; our paths are proven before). */
#define DTLS_REPEAT_FIRST_US 100000
#define DTLS_REPEAT_MAX_US   800000
/* Larger datagrams of a handshake are refused; records inside are cut for 1,500-byte links by everyone. */
#define DTLS_INPUT_MAX 4096

/* Which suites are offered. ECDHE-ECDSA alone between goVPN computers; browsers may hold RSA certificates. */
enum dtls_peer {
	DTLS_PEER_GOVPN,
	DTLS_PEER_STANDARD,
};

struct dtls_config {
	enum record_role role;
	enum dtls_peer peer;
	struct cert *cert;                               /* a reference is taken */
	uint8_t peer_fingerprint[CERT_FINGERPRINT_SIZE]; /* SHA-256, from the signed SDP */
	uint16_t mtu; /* largest UDP payload we send, 256 .. DTLS_INPUT_MAX */
};

enum dtls_out_kind {
	DTLS_OUT_RAW,  /* a whole datagram of epoch 0: send as it is */
	DTLS_OUT_SEAL, /* to be sealed with record_seal_one() and sent */
};

struct dtls_out {
	enum dtls_out_kind kind;
	uint8_t type;        /* of SEAL: enum record_type */
	const uint8_t *data; /* borrowed until the next call */
	size_t len;
};

enum dtls_failure {
	DTLS_FAILURE_NONE = 0,
	DTLS_FAILURE_TIMEOUT,     /* no answer for DTLS_HANDSHAKE_TIMEOUT_US */
	DTLS_FAILURE_FINGERPRINT, /* the peer's certificate is not the announced one */
	DTLS_FAILURE_PROTOCOL,    /* OpenSSL refused what came, or the peer refused us */
	DTLS_FAILURE_WEAK, /* another cipher, no extended master secret (RFC 7627), or a short key */
	DTLS_FAILURE_INTERNAL, /* memory, or OpenSSL in a state that cannot be */
};

enum dtls_event_type {
	DTLS_EVENT_KEYS,      /* once: make a `record`. Comes before any SEAL output */
	DTLS_EVENT_CONNECTED, /* once: the peer is the one with the fingerprint; data may be accepted */
	DTLS_EVENT_FAILED, /* once, instead of CONNECTED: free the object after draining its output */
};

struct dtls_event {
	enum dtls_event_type type;
	struct record_keys keys;   /* of KEYS; wipe after use */
	enum dtls_failure failure; /* of FAILED */
};

struct dtls_counters {
	uint64_t rx_malformed; /* not records, or not of DTLS 1.0 / 1.2 */
	uint64_t rx_data;      /* type 23: never for this lane */
	uint64_t rx_alert;     /* alerts of epoch 0, which anybody can write */
	uint64_t rx_dropped;   /* everything else that the state does not take */
	uint64_t tx_flights;   /* first sendings */
	uint64_t tx_repeats;   /* repeats of a flight, by time or on demand */
};

/*
 * Makes a handshake; a client's first flight waits in dtls_output() at once. *out is owned by the caller; config
 * is copied. Returns 0; -EINVAL for the mtu; -ENOMEM.
 */
int dtls_new(struct dtls **out, const struct dtls_config *config, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);

/* Wipes and frees. NULL is allowed. */
void dtls_free(struct dtls *d);

/*
 * Takes one datagram of the peer whose first byte is 20 .. 22: epoch 0, and epoch 1 still sealed. Anything that
 * does not fit is dropped and counted. Returns 0; results for the owner come as events.
 */
int dtls_input(struct dtls *d, const uint8_t *data, size_t len, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);

/*
 * The next thing to send, in order. Returns 1 and fills out; 0 when there is nothing, or when the next thing is to
 * be sealed and DTLS_EVENT_KEYS was not taken yet.
 */
int dtls_output(struct dtls *d, struct dtls_out *out, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);

/* The next event. Returns 1 and fills ev; 0 when there is none. */
int dtls_event(struct dtls *d, struct dtls_event *ev) gv_must_check gv_nonnull(1, 2);

/* When dtls_timeout() is due; UINT64_MAX: never. */
uint64_t dtls_deadline_us(const struct dtls *d) gv_nonnull(1);

/* Repeats the flight, or gives up, when its time has come; else does nothing. Returns 0. */
int dtls_timeout(struct dtls *d, uint64_t now_us) gv_must_check gv_nonnull(1);

/*
 * After CONNECTED: the packet thread opened a repeated Finished (type 22). A server's last flight goes out again, at
 * most each DTLS_REPEAT_FIRST_US; a client has nothing to repeat: its Finished was answered.
 */
void dtls_repeat_last_flight(struct dtls *d, uint64_t now_us) gv_nonnull(1);

/* Counters since dtls_new(); borrowed. */
const struct dtls_counters *dtls_counters(const struct dtls *d) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct dtls *, dtls_free)

#endif /* GV_CRYPTO_DTLS_H */
