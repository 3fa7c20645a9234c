/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SIG_DOCUMENT_H
#define GV_PROTO_SIG_DOCUMENT_H

/*
 * document - the network document: what the owner of a network signed about it.
 *
 * Does:      holds, changes, encodes, signs, parses and verifies a document. The encoding is binary and canonical: each
 *            document has exactly one, and the parser takes nothing else (docs/protocol.md gives the layout).
 * Does not:  check admissions (admission), keep files or epochs (engine).
 * Thread:    an object belongs to one thread at a time.
 * Memory:    three arrays, bounded by the limits below.
 * Time:      none; expiry is judged by whoever has a clock.
 */

#include "base/buf.h"
#include "base/macro.h"
#include "base/netaddr.h"
#include "proto/sig/netid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diag;
struct identity;

#define DOCUMENT_NAME_MAX    64 /* bytes of UTF-8 */
#define DOCUMENT_INVITES_MAX 64
#define DOCUMENT_KEYS_MAX    4096 /* members admitted for good; and again banned keys */
#define DOCUMENT_HASH_SIZE   32
#define DOCUMENT_EPOCH_MAX   ((UINT64_C(1) << 53) - 1) /* exact in JSON of every language */
#define DOCUMENT_BITS_MIN    16                        /* subnet of /16 .. /30 */
#define DOCUMENT_BITS_MAX    30

/* No encoding is longer: fixed part, name, lists and signature. */
#define DOCUMENT_SIZE_MAX (256 + DOCUMENT_INVITES_MAX * 45 + 2 * DOCUMENT_KEYS_MAX * SIG_KEY_SIZE)

enum document_invite_kind {
	DOCUMENT_INVITE_LINK = 1,     /* random seed, in a link */
	DOCUMENT_INVITE_PASSWORD = 2, /* seed derived from the network's password */
};

struct document_invite {
	uint8_t key[SIG_KEY_SIZE]; /* public half */
	uint32_t uses;             /* how many computers may join by it; 0: any number */
	int64_t expires_unix_s;    /* last second it may be used; 0: never ends */
	enum document_invite_kind kind;
};

struct document_key {
	uint8_t b[SIG_KEY_SIZE];
};

struct document {
	uint8_t owner[SIG_KEY_SIZE];
	uint8_t salt[NETID_SALT_SIZE];
	uint64_t epoch;                       /* 1 for the first; 0: not signed yet */
	uint8_t previous[DOCUMENT_HASH_SIZE]; /* hash of the document before; zero for the first */
	char name[DOCUMENT_NAME_MAX + 1];
	struct netprefix subnet; /* IPv4, private or shared address space */

	/* Sorted by key, each once. Change them by the functions below only. */
	struct document_invite *invites;
	struct document_key *members;
	struct document_key *banned;
	size_t n_invites, n_members, n_banned;

	/* Derived: set by document_new(), document_sign() and document_parse(). */
	uint8_t network_id[NETID_SIZE];
	uint8_t hash[DOCUMENT_HASH_SIZE]; /* of the signed content, without the signature */
	uint8_t sig[SIG_SIGNATURE_SIZE];
};

/* Results > 0 of this module. */
enum document_result {
	DOCUMENT_OK = 0,
	DOCUMENT_BAD = 1,       /* not an encoding of a document; diag says why: refuse it */
	DOCUMENT_BAD_SIG = 2,   /* not signed by its owner key: refuse it */
	DOCUMENT_FOREIGN = 3,   /* of another network than expected: refuse it */
	DOCUMENT_FULL = 4,      /* the list has its maximum: tell the user */
	DOCUMENT_NOT_FOUND = 5, /* the list does not hold it */
	DOCUMENT_VERSION = 6,   /* made by a newer version: tell the user to update */
};

/*
 * Makes an unsigned document with epoch 0 and empty lists. name and subnet are checked.
 * On success *out is owned by the caller. Returns 0; DOCUMENT_BAD (name or subnet; diag says which); -ENOMEM; -errno.
 */
int document_new(struct document **out, const uint8_t owner[static SIG_KEY_SIZE],
                 const uint8_t salt[static NETID_SALT_SIZE], const char *name,
                 const struct netprefix *subnet, struct diag *diag)
	gv_must_check gv_nonnull(1, 2, 3, 4, 5);

/* A copy to change and sign as the next one; the original stays untouched. Owned by the caller. Returns 0; -ENOMEM. */
int document_dup(struct document **out, const struct document *doc) gv_must_check gv_nonnull(1, 2);

/* NULL is allowed. */
void document_free(struct document *doc);

/* Changes the name. Returns 0; DOCUMENT_BAD. */
int document_set_name(struct document *doc, const char *name, struct diag *diag)
	gv_must_check gv_nonnull(1, 2);

/*
 * Advances the document (epoch + 1, previous = hash of the last signed state, zero before the first), signs it with the
 * owner's identity, updates hash and sig, and appends the encoding to out. Every call makes a new epoch: sign once per change.
 * Returns 0; -EINVAL the identity is not the owner's, or a value is out of range; -ENOBUFS out is too small;
 * -ENOMEM; -errno. On failure doc is unchanged.
 */
int document_sign(struct document *doc, const struct identity *owner, struct buf *out)
	gv_must_check gv_nonnull(1, 2, 3);

/* Appends the encoding of a signed document (as parsed, or as signed last and unchanged since). Returns 0; -errno. */
int document_encode(const struct document *doc, struct buf *out) gv_must_check gv_nonnull(1, 2);

/*
 * Parses and verifies. expected: the network id it must have, or NULL to take any (the server at CreateNetwork).
 * On DOCUMENT_OK *out is owned by the caller and everything in it is within its limits. For DOCUMENT_BAD diag (may be
 * NULL) says what is wrong. Returns DOCUMENT_OK, _BAD, _BAD_SIG, _FOREIGN, _VERSION; -ENOMEM.
 */
int document_parse(struct document **out, const void *bytes, size_t n,
                   const uint8_t expected[NETID_SIZE], struct diag *diag)
	gv_must_check gv_nonnull(1, 2);

/*
 * The same for bytes that document_parse() took before and that were kept where nobody else writes: the signature is not
 * looked at again. Returns DOCUMENT_OK, _BAD, _FOREIGN, _VERSION; -ENOMEM.
 */
int document_parse_verified(struct document **out, const void *bytes, size_t n,
                            const uint8_t expected[static NETID_SIZE])
	gv_must_check gv_nonnull(1, 2, 4);

/* newer is of the same network and subnet and has a higher epoch: it replaces older. */
bool document_follows(const struct document *older, const struct document *newer) gv_nonnull(1, 2);

/* Finding: NULL or false when not there. The invite is borrowed until the next change. */
const struct document_invite *document_find_invite(const struct document *doc,
                                                   const uint8_t key[static SIG_KEY_SIZE])
	gv_nonnull(1, 2);
bool document_has_member(const struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
	gv_nonnull(1, 2);
bool document_is_banned(const struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
	gv_nonnull(1, 2);

/*
 * Adding what is there already changes it (invite) or does nothing (keys). Banning a key takes it from the members; adding a
 * member lifts its ban; the owner cannot be banned (DOCUMENT_BAD).
 * Return DOCUMENT_OK, DOCUMENT_FULL, DOCUMENT_BAD; -ENOMEM.
 */
int document_add_invite(struct document *doc, const struct document_invite *invite)
	gv_must_check gv_nonnull(1, 2);
int document_add_member(struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
	gv_must_check gv_nonnull(1, 2);
int document_ban(struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
	gv_must_check gv_nonnull(1, 2);

/* Return DOCUMENT_OK, DOCUMENT_NOT_FOUND. */
int document_remove_invite(struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
	gv_nonnull(1, 2);
int document_remove_member(struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
	gv_nonnull(1, 2);
int document_unban(struct document *doc, const uint8_t key[static SIG_KEY_SIZE]) gv_nonnull(1, 2);
/* Withdraws every invite, passwords included. */
void document_clear_invites(struct document *doc) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct document *, document_free)

#endif /* GV_PROTO_SIG_DOCUMENT_H */
