/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SIG_ADMISSION_H
#define GV_PROTO_SIG_ADMISSION_H

/*
 * admission - a computer's proof that it belongs to a network, and the names it goes by there.
 *
 * Does:      builds, signs, encodes, parses and verifies admissions. Two signatures: the invite's seed signs (network id,
 *            key, time of joining) once; the member signs everything and again after a rename.
 * Does not:  count uses, read a clock or keep labels unique (engine/server).
 * Thread:    any; plain values.
 * Memory:    none beyond the call.
 * Time:      only stored wall-clock seconds are compared with each other.
 */

#include "base/macro.h"
#include "proto/sig/netid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diag;
struct document;
struct identity;

#define ADMISSION_NAME_MAX  64 /* bytes of UTF-8 */
#define ADMISSION_LABEL_MAX 63
#define ADMISSION_SIZE_MAX  512 /* bytes of the longest encoding, rounded up */
#define ADMISSION_TEXT_SIZE 684 /* base64url of that with its NUL */

struct admission {
	uint8_t network_id[NETID_SIZE];
	uint8_t key[SIG_KEY_SIZE];
	uint8_t invite_key[SIG_KEY_SIZE]; /* zero: owner, or admitted for good by the document */
	int64_t joined_unix_s;
	uint8_t invite_sig[SIG_SIGNATURE_SIZE]; /* zero when invite_key is */
	char name[ADMISSION_NAME_MAX + 1];      /* to show */
	char label[ADMISSION_LABEL_MAX + 1];    /* DNS label, unique in the network */
	int64_t unix_s; /* of the last signing; the newer one of two is valid */
	uint8_t sig[SIG_SIGNATURE_SIZE];
};

enum admission_result {
	ADMISSION_OK = 0,
	ADMISSION_BAD = 1,            /* not an encoding of an admission; diag says why */
	ADMISSION_BAD_SIGNATURE = 2,  /* of the member or of the invite; or of another network */
	ADMISSION_NOT_A_MEMBER = 3,   /* no invite, not the owner, not in the document */
	ADMISSION_BANNED = 4,         /* the document bans the key */
	ADMISSION_INVITE_UNKNOWN = 5, /* withdrawn, or never was */
	ADMISSION_INVITE_EXPIRED = 6, /* joined after the invite's end */
	ADMISSION_BAD_NAME = 7,       /* name or label is not allowed */
};

/*
 * Signs the invite part with the identity made from the invite's seed: sets invite_key and invite_sig over network_id, key
 * and joined_unix_s. Before admission_sign(). Returns 0; -errno.
 */
int admission_sign_invite(struct admission *a, const struct identity *invite)
	gv_must_check gv_nonnull(1, 2);

/* Signs the whole with the member's own identity (sets sig). Returns 0; -EINVAL bad name, label or time; -errno. */
int admission_sign(struct admission *a, const struct identity *member)
	gv_must_check gv_nonnull(1, 2);

/* Writes the encoding. Returns its length, at most ADMISSION_SIZE_MAX. */
size_t admission_encode(const struct admission *a, uint8_t out[static ADMISSION_SIZE_MAX])
	gv_nonnull(1, 2);

/* Parses form only, no signature. Returns ADMISSION_OK, ADMISSION_BAD, ADMISSION_BAD_NAME (diag may be NULL). */
int admission_parse(struct admission *out, const void *bytes, size_t n, struct diag *diag)
	gv_must_check gv_nonnull(1, 2);

/*
 * Checks both signatures and membership under `doc`, which must be verified. Rule: not banned; and the owner, or in
 * doc->members, or with a valid signature of an invite that stands in doc and had not expired at joined_unix_s.
 * Returns enum admission_result; -errno. diag (may be NULL) gets a sentence for every refusal.
 */
int admission_verify(const struct admission *a, const struct document *doc, struct diag *diag)
	gv_must_check gv_nonnull(1, 2);

/*
 * The same rule under a newer document, for an admission that was verified before: its signatures are not looked at again.
 */
bool admission_still_holds(const struct admission *a, const struct document *doc)
	gv_must_check gv_nonnull(1, 2);

/* Same network and key, signed later: `newer` replaces `older` (both verified). */
bool admission_is_newer(const struct admission *older, const struct admission *newer)
	gv_nonnull(1, 2);

#endif /* GV_PROTO_SIG_ADMISSION_H */
