/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_RECORD_H
#define GV_CRYPTO_RECORD_H

/*
 * record - the records of DTLS 1.2 in epoch 1 (RFC 6347 4.1, RFC 5288), both ways, in batches and in place.
 *
 * Does:      seals with AES-128-GCM under its own sequence numbers, from 0, and its own explicit nonces, from
 *            nonce_start; opens, with a replay window of 4,096 records.
 * Does not:  shake hands (dtls), look into alerts, resend, or know addresses.
 * Thread:    owned by one packet thread. Sealing and opening share no state, so one thread for each is fine too.
 * Memory:    all in record_new().
 */

#include "base/batch.h"
#include "base/macro.h"
#include "crypto/aead.h"

#include <stddef.h>
#include <stdint.h>

struct record; /* opaque */

#define RECORD_HEADER_SIZE 13
/* What a batch must leave before and after each payload. */
#define RECORD_HEADROOM 21 /* header and explicit nonce */
#define RECORD_TAILROOM 16 /* tag */
#define RECORD_OVERHEAD (RECORD_HEADROOM + RECORD_TAILROOM)
/* Largest plaintext of one record (RFC 6347 4.1). */
#define RECORD_PLAIN_MAX 16384
/* A sequence number has 48 bits. */
#define RECORD_SEQ_MAX ((UINT64_C(1) << 48) - 1)
/* A record older than the newest by this much is refused. */
#define RECORD_WINDOW 4096
/* When the owner should have new keys (record_sent()). */
#define RECORD_REKEY_AFTER (UINT64_C(1) << 31)

enum record_type {
	RECORD_TYPE_CCS = 20,
	RECORD_TYPE_ALERT = 21,
	RECORD_TYPE_HANDSHAKE = 22,
	RECORD_TYPE_DATA = 23,
};

enum record_role {
	RECORD_ROLE_CLIENT,
	RECORD_ROLE_SERVER,
};

/* What dtls exports (RFC 5246 6.3). Secret: wiped by whoever holds it last. */
struct record_keys {
	uint8_t client_key[AEAD_KEY_SIZE];
	uint8_t server_key[AEAD_KEY_SIZE];
	uint8_t client_salt[4];
	uint8_t server_salt[4];
	enum record_role role; /* ours */
	uint64_t nonce_start;  /* first explicit nonce we send; far from those of OpenSSL */
};

/* One opened record. */
struct record_plain {
	uint8_t type;   /* enum record_type, or another number that the peer chose */
	struct pkt pkt; /* inside the input's memory */
	uint32_t from;  /* which input datagram it came in */
};

struct record_counters {
	uint64_t rx_records;   /* opened */
	uint64_t rx_bad_tag;   /* not authentic */
	uint64_t rx_replay;    /* seen before */
	uint64_t rx_old;       /* left of the window */
	uint64_t rx_malformed; /* wrong version or length; the rest of the datagram is dropped */
	uint64_t rx_epoch;     /* of another epoch */
	uint64_t rx_no_room;   /* not opened because out was full */
};

/* Makes the two directions from keys (borrowed). *out is owned by the caller. Returns 0; -ENOTSUP; -ENOMEM. */
int record_new(struct record **out, const struct record_keys *keys, enum aead_backend backend)
	gv_must_check gv_nonnull(1, 2);

/* Wipes and frees. NULL is allowed. */
void record_free(struct record *r);

/*
 * Seals each datagram of b in place as one record of type 23; the rooms must be RECORD_HEADROOM and
 * RECORD_TAILROOM (-EINVAL otherwise), so the train keeps its length and can be sent as it is. Empty payloads are
 * allowed. Returns 0; -EOVERFLOW when the sequence numbers are used up (the association is at its end); -EIO.
 * On failure nothing of b may be sent.
 */
int record_seal(struct record *r, struct batch *b) gv_must_check gv_nonnull(1, 2);

/*
 * Seals one record of any type, for alerts and for what dtls hands out: copies len bytes of payload (at most
 * RECORD_PLAIN_MAX) to out. *out_len gets len + RECORD_OVERHEAD.
 * Returns 0; -ENOBUFS out is too small; -EINVAL too long; -EOVERFLOW; -EIO.
 */
int record_seal_one(struct record *r, enum record_type type, const void *payload, size_t len,
                    uint8_t *out, size_t out_size, size_t *out_len)
	gv_must_check gv_nonnull(1, 5, 7);

/*
 * Opens the records of n datagrams in place, in their order; several records in one datagram are usual. What is
 * not authentic, not new, not of epoch 1 or not a record is dropped and counted in c; the input's memory is
 * changed in any case. The plaintexts, at most max_out, go to out and stay valid as long as the input.
 * Returns how many were written.
 */
size_t record_open(struct record *r, const struct pkt *in, size_t n, struct record_plain *out,
                   size_t max_out, struct record_counters *c) gv_nonnull(1, 2, 4, 6);

/* Records sealed so far; from RECORD_REKEY_AFTER on the owner should replace the association. */
uint64_t record_sent(const struct record *r) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct record *, record_free)

#endif /* GV_CRYPTO_RECORD_H */
