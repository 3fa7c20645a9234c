/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SIG_PROOF_H
#define GV_PROTO_SIG_PROOF_H

/*
 * proof - what exactly is signed: login, offer, answer, confirmation, leave; and the builder for every other signature.
 *
 * Does:      builds signature inputs as a fixed tag and fields, each with its length before it (u32, big endian), so that
 *            no two different lists of fields give the same input; signs and verifies them with Ed25519.
 * Does not:  decide whether a signer is a member (admission), or whether a nonce or session is fresh (engine).
 * Thread:    any.
 * Memory:    one growing buffer for the length of a call, at most the stated maximum.
 * Time:      none.
 */

#include "base/buf.h"
#include "base/macro.h"
#include "proto/sig/netid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct identity;

#define PROOF_LOGIN_NONCE_SIZE 32
#define PROOF_NONCE_SIZE       16
#define PROOF_HOST_MAX         260   /* "host:port"; a DNS name has at most 253 bytes */
#define PROOF_SDP_MAX          16384 /* bytes of one SDP text */

/* One tag for each purpose; a signature made for one is worthless for all others. */
#define PROOF_TAG_LOGIN      "goVPN/1 login"
#define PROOF_TAG_NETWORK_ID "goVPN/1 network id"
#define PROOF_TAG_DOCUMENT   "goVPN/1 document"
#define PROOF_TAG_ADMISSION  "goVPN/1 admission"
#define PROOF_TAG_INVITE     "goVPN/1 invite"
#define PROOF_TAG_OFFER      "goVPN/1 offer"
#define PROOF_TAG_ANSWER     "goVPN/1 answer"
#define PROOF_TAG_CONFIRM    "goVPN/1 confirm"
#define PROOF_TAG_LEAVE      "goVPN/1 leave"
#define PROOF_TAG_IP6_PREFIX "goVPN/1 ipv6 prefix"
#define PROOF_TAG_IP6_HOST   "goVPN/1 ipv6 host"

/*
 * A signature input under construction. A failure (no memory, above the maximum) is remembered, further fields are
 * ignored, and the closing call returns it: add all fields, check once.
 */
struct proof_input {
	struct buf bytes;
	int err; /* 0, or the first failure */
};

/* Begins with the tag, which is itself length-prefixed. max_bytes bounds the whole input. */
void proof_input_init(struct proof_input *p, const char *tag, size_t max_bytes) gv_nonnull(1, 2);
void proof_input_deinit(struct proof_input *p) gv_nonnull(1);

/* One field each. Integers are fields of 1, 4 and 8 bytes, big endian. */
void proof_input_add(struct proof_input *p, const void *field, size_t n) gv_nonnull(1);
void proof_input_add_str(struct proof_input *p, const char *s) gv_nonnull(1, 2);
void proof_input_add_u8(struct proof_input *p, uint8_t v) gv_nonnull(1);
void proof_input_add_u32(struct proof_input *p, uint32_t v) gv_nonnull(1);
void proof_input_add_u64(struct proof_input *p, uint64_t v) gv_nonnull(1);

/* SHA-256 of the input. Returns 0; -errno. */
int proof_input_hash(const struct proof_input *p, uint8_t out[static 32])
	gv_must_check gv_nonnull(1, 2);
/* Signs the input. Returns 0; -ENOBUFS above the maximum; -ENOMEM; -errno of the signer. */
int proof_input_sign(const struct proof_input *p, const struct identity *id,
                     uint8_t sig[static SIG_SIGNATURE_SIZE]) gv_must_check gv_nonnull(1, 2, 3);

/* Results of the verifying functions; negative ones are passed up. */
enum proof_result {
	PROOF_OK = 0,
	PROOF_BAD = 1, /* not signed by this key over these fields: drop and count, or refuse */
};

/* Returns PROOF_OK, PROOF_BAD; -ENOMEM. */
int proof_input_verify(const struct proof_input *p, const uint8_t key[static SIG_KEY_SIZE],
                       const uint8_t sig[static SIG_SIGNATURE_SIZE])
	gv_must_check gv_nonnull(1, 2, 3);

/* The login at a server. */
struct proof_login {
	const char *
		host; /* "host:port" as dialled, lower case, port always present (link_server_host_port()); borrowed */
	uint8_t key[SIG_KEY_SIZE];
	uint8_t nonce[PROOF_LOGIN_NONCE_SIZE]; /* of the Challenge on this socket */
	uint64_t session;                      /* random, one per daemon start */
	uint8_t sig[SIG_SIGNATURE_SIZE];
};

/* Fills p->sig. p->key must be the public key of id. Returns 0; -EINVAL host too long; -errno. */
int proof_login_sign(struct proof_login *p, const struct identity *id)
	gv_must_check gv_nonnull(1, 2);
/* Returns PROOF_OK, PROOF_BAD; -errno. The caller compares host, nonce and session with what it expects. */
int proof_login_verify(const struct proof_login *p) gv_must_check gv_nonnull(1);

/* An offer, or the sender's own part of an answer. */
struct proof_offer {
	uint8_t network_id[NETID_SIZE];
	uint8_t from[SIG_KEY_SIZE];
	uint8_t to[SIG_KEY_SIZE];
	uint32_t ip4;     /* tunnel address of the sender, host order */
	uint64_t session; /* of the sender */
	uint8_t nonce[PROOF_NONCE_SIZE];
	const char *sdp; /* borrowed; at most PROOF_SDP_MAX bytes */
	uint8_t sig[SIG_SIGNATURE_SIZE];
};

/*
 * Offer: signed by `from` over its fields with the role "offerer". Answer: the same fields with the role "answerer", then
 * the SHA-256 of the offer's signature input and the offer's signature. Confirmation: signed by the offerer over the
 * hashes of both inputs and both signatures; it is the offerer's first `ctl` message.
 *
 * The verifying functions check signatures, and for answer and confirmation that `offer` and `answer` name each other
 * (same network, from and to exchanged); a mismatch is PROOF_BAD. That the offer itself verifies is the caller's step before.
 *
 * sign:   return 0; -EINVAL the SDP is too long, or the two do not belong together; -ENOMEM; -errno.
 * verify: return PROOF_OK, PROOF_BAD; -ENOMEM.
 */
int proof_offer_sign(struct proof_offer *offer, const struct identity *id)
	gv_must_check gv_nonnull(1, 2);
int proof_offer_verify(const struct proof_offer *offer) gv_must_check gv_nonnull(1);

int proof_answer_sign(struct proof_offer *answer, const struct proof_offer *offer,
                      const struct identity *id) gv_must_check gv_nonnull(1, 2, 3);
int proof_answer_verify(const struct proof_offer *answer, const struct proof_offer *offer)
	gv_must_check gv_nonnull(1, 2);

int proof_confirm_sign(const struct proof_offer *offer, const struct proof_offer *answer,
                       const struct identity *id, uint8_t sig[static SIG_SIGNATURE_SIZE])
	gv_must_check gv_nonnull(1, 2, 3, 4);
int proof_confirm_verify(const struct proof_offer *offer, const struct proof_offer *answer,
                         const uint8_t sig[static SIG_SIGNATURE_SIZE])
	gv_must_check gv_nonnull(1, 2, 3);

/* "I leave this network": carried by the server and by `ctl`. */
struct proof_leave {
	uint8_t network_id[NETID_SIZE];
	uint8_t key[SIG_KEY_SIZE];
	uint64_t session;
	int64_t unix_s; /* when; >= 0 */
	uint8_t sig[SIG_SIGNATURE_SIZE];
};

int proof_leave_sign(struct proof_leave *p, const struct identity *id)
	gv_must_check gv_nonnull(1, 2);
int proof_leave_verify(const struct proof_leave *p) gv_must_check gv_nonnull(1);

#endif /* GV_PROTO_SIG_PROOF_H */
