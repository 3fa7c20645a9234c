/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_RECORD_IMPL_H
#define GV_CRYPTO_RECORD_IMPL_H

/* record_impl - the inside of struct record, for the test of its limits. */

#include "crypto/record.h"
#include "crypto/replay.h"

#define RECORD_SALT_SIZE 4

struct record_sender {
	struct aead_key *key; /* owned */
	uint8_t salt[RECORD_SALT_SIZE];
	uint64_t nonce_start;
	uint64_t sent; /* is also the next sequence number */
};

struct record_receiver {
	struct aead_key *key; /* owned */
	uint8_t salt[RECORD_SALT_SIZE];
	struct replay window;
};

struct record {
	struct record_sender tx;
	struct record_receiver rx;
};

#endif /* GV_CRYPTO_RECORD_IMPL_H */
