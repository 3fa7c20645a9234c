/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_UNIT_CRYPTO_HEX_H
#define GV_TESTS_UNIT_CRYPTO_HEX_H

/* hex - the vectors of the RFCs as they are printed. Included after cmocka.h. */

#include "base/enc.h"

#include <string.h>

/* Decodes text to out and returns the number of bytes; a mistake in it fails the test. */
static inline size_t hex(const char *text, uint8_t *out, size_t size)
{
	size_t len = 0;

	assert_true(dec_hex(text, strlen(text), out, size, &len));
	return len;
}

/* The n bytes at p are those of the text. */
static inline void assert_hex(const uint8_t *p, size_t n, const char *text)
{
	uint8_t want[1024];

	assert_int_equal(hex(text, want, sizeof(want)), n);
	assert_memory_equal(p, want, n);
}

#endif /* GV_TESTS_UNIT_CRYPTO_HEX_H */
