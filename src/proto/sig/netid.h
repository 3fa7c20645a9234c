/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SIG_NETID_H
#define GV_PROTO_SIG_NETID_H

/*
 * netid - the id of a network, its text and code, and the IPv6 addresses that follow from ids and keys.
 *
 * Does:      derives the id from the owner's key and a salt; everything else here is a pure function of ids and keys,
 *            so every computer computes the same without asking the server.
 * Does not:  know documents, members or IPv4 addresses.
 * Thread:    any.   Memory: none.   Time: none.
 */

#include "base/macro.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIG_KEY_SIZE       32 /* Ed25519 public key: the id of a computer */
#define SIG_SIGNATURE_SIZE 64

#define NETID_SIZE      20 /* the first 160 bits of SHA-256 */
#define NETID_SALT_SIZE 16
#define NETID_TEXT_SIZE 33 /* 32 letters of base32 and the NUL */
#define NETID_CODE_SIZE 11 /* 10 letters of base32 (50 bits) and the NUL */

/* out = first 160 bits of SHA-256(tag, owner, salt). Returns 0; -errno of the hash. */
int netid_derive(uint8_t out[static NETID_SIZE], const uint8_t owner[static SIG_KEY_SIZE],
                 const uint8_t salt[static NETID_SALT_SIZE]) gv_must_check gv_nonnull(1, 2, 3);

/* Writes the 32 letters. Returns out. */
const char *netid_text(const uint8_t id[static NETID_SIZE], char out[static NETID_TEXT_SIZE])
	gv_nonnull(1, 2);

/* Parses exactly 32 letters of either case. False: out is untouched. */
bool netid_parse(const char *text, uint8_t out[static NETID_SIZE]) gv_must_check gv_nonnull(1, 2);

/*
 * Writes the code as 10 lower case letters when text is one: 10 letters of base32 of either case; '-' and spaces, as
 * people write them between groups, are left out. False for anything else.
 */
bool netid_parse_code(const char *text, char out[static NETID_CODE_SIZE])
	gv_must_check gv_nonnull(1, 2);

/* Makes a code out of 50 random bits (the low bits of `random`). */
void netid_make_code(uint64_t random, char out[static NETID_CODE_SIZE]) gv_nonnull(2);

/* The network's ULA /64: fd and 56 bits of SHA-256(tag, id) (RFC 4193 3.2). Returns 0; -errno. */
int netid_prefix6(const uint8_t id[static NETID_SIZE], struct netprefix *out)
	gv_must_check gv_nonnull(1, 2);

/* The address of `key` in that prefix; the host part is 64 bits of SHA-256(tag, key). Returns 0; -errno. */
int netid_addr6(const uint8_t id[static NETID_SIZE], const uint8_t key[static SIG_KEY_SIZE],
                struct netaddr *out) gv_must_check gv_nonnull(1, 2, 3);

#endif /* GV_PROTO_SIG_NETID_H */
