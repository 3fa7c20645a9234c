/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_ENC_H
#define GV_BASE_ENC_H

/*
 * enc - hex, base32 and base64url text (RFC 4648), without padding. Decoders are strict: no white space, no
 * foreign letters, no non-zero leftover bits, so each value has exactly one text.
 */

#include "base/macro.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes of the text with its NUL. */
#define ENC_HEX_SIZE(n)    ((n)*2 + 1)
#define ENC_BASE32_SIZE(n) (((n)*8 + 4) / 5 + 1)
#define ENC_BASE64_SIZE(n) (((n)*8 + 5) / 6 + 1)

/* Encode n bytes; out must hold the size given by the macro. Lower case for hex and base32. */
void enc_hex(char *out, const void *p, size_t n) gv_nonnull(1, 2);
void enc_base32(char *out, const void *p, size_t n) gv_nonnull(1, 2);
void enc_base64url(char *out, const void *p, size_t n) gv_nonnull(1, 2);

/*
 * Decode `len` characters of text to at most out_size bytes; *out_len gets the count. Hex and base32 take both
 * cases. Returns false for anything that is not exactly one encoding, or too long.
 */
bool dec_hex(const char *text, size_t len, void *out, size_t out_size, size_t *out_len)
	gv_must_check gv_nonnull(1, 3, 5);
bool dec_base32(const char *text, size_t len, void *out, size_t out_size, size_t *out_len)
	gv_must_check gv_nonnull(1, 3, 5);
bool dec_base64url(const char *text, size_t len, void *out, size_t out_size, size_t *out_len)
	gv_must_check gv_nonnull(1, 3, 5);

#endif /* GV_BASE_ENC_H */
