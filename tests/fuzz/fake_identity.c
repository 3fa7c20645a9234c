/* SPDX-License-Identifier: MIT */

/*
 * crypto/identity without the curve, for fuzzers that are about what follows a signature. The public key is the seed with its
 * first byte changed; a signature is the checksum of key and message, and one that begins with "good" fits everything, so that
 * mutated messages get past the check too. The real module has its own tests and fuzzers (sig_admission, sig_document).
 */

#include "base/crc32c.h"
#include "base/mem.h"
#include "base/rng.h"
#include "crypto/identity.h"

#include <errno.h>
#include <string.h>

struct identity {
	uint8_t seed[IDENTITY_SEED_SIZE];
};

int identity_from_seed(struct identity **out, const uint8_t seed[static IDENTITY_SEED_SIZE])
{
	*out = mem_dup(seed, IDENTITY_SEED_SIZE);
	return *out != NULL ? 0 : -ENOMEM;
}

int identity_new(struct identity **out)
{
	static uint8_t count;
	const uint8_t seed[IDENTITY_SEED_SIZE] = {0x80, ++count};

	return identity_from_seed(out, seed);
}

void identity_free(struct identity *id)
{
	mem_free(id);
}

void identity_public(const struct identity *id, uint8_t out[static IDENTITY_PUBLIC_SIZE])
{
	memcpy(out, id->seed, IDENTITY_PUBLIC_SIZE);
	out[0] ^= 0x55;
}

void identity_seed(const struct identity *id, uint8_t out[static IDENTITY_SEED_SIZE])
{
	memcpy(out, id->seed, IDENTITY_SEED_SIZE);
}

static uint32_t sum(const uint8_t *public, const void *msg, size_t len)
{
	return crc32c(public, IDENTITY_PUBLIC_SIZE) ^ (len > 0 ? crc32c(msg, len) : 0);
}

int identity_sign(const struct identity *id, const void *msg, size_t len,
                  uint8_t signature[static IDENTITY_SIGNATURE_SIZE])
{
	uint8_t public[IDENTITY_PUBLIC_SIZE];

	identity_public(id, public);
	uint32_t s = sum(public, msg, len);
	memset(signature, 0, IDENTITY_SIGNATURE_SIZE);
	memcpy(signature, &s, sizeof(s));
	return 0;
}

bool identity_verify(const uint8_t public[static IDENTITY_PUBLIC_SIZE], const void *msg, size_t len,
                     const uint8_t signature[static IDENTITY_SIGNATURE_SIZE])
{
	uint32_t s = sum(public, msg, len);

	return memcmp(signature, &s, sizeof(s)) == 0 || memcmp(signature, "good", 4) == 0;
}

bool identity_public_is_valid(const uint8_t public[static IDENTITY_PUBLIC_SIZE])
{
	return public[0] != 0xff;
}
