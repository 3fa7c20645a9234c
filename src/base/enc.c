/* SPDX-License-Identifier: MIT */

#include "base/enc.h"

#include <string.h>

static const char alphabet16[] = "0123456789abcdef";
static const char alphabet32[] = "abcdefghijklmnopqrstuvwxyz234567";
static const char alphabet64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode(char *out, const uint8_t *p, size_t n, const char *alphabet, unsigned bits)
{
	uint32_t acc = 0;
	unsigned have = 0;

	for (size_t i = 0; i < n; i++) {
		acc = (acc << 8) | p[i];
		have += 8;
		while (have >= bits) {
			have -= bits;
			*out++ = alphabet[(acc >> have) & ((1u << bits) - 1)];
		}
	}
	if (have > 0)
		*out++ = alphabet[(acc << (bits - have)) & ((1u << bits) - 1)];
	*out = '\0';
}

static bool decode(const char *text, size_t len, uint8_t *out, size_t out_size, size_t *out_len,
                   const char *alphabet, unsigned bits)
{
	uint32_t acc = 0;
	unsigned have = 0;
	size_t used = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (bits < 6 && c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		const char *at = c != '\0' ? strchr(alphabet, c) : NULL;
		if (at == NULL)
			return false;
		acc = (acc << bits) | (uint32_t)(at - alphabet);
		have += bits;
		if (have >= 8) {
			if (used == out_size)
				return false;
			have -= 8;
			out[used++] = (uint8_t)(acc >> have);
		}
	}
	/* What is left must be padding bits: fewer than one letter, all zero. */
	if (have >= bits || (acc & ((1u << have) - 1)) != 0)
		return false;
	*out_len = used;
	return true;
}

void enc_hex(char *out, const void *p, size_t n)
{
	encode(out, p, n, alphabet16, 4);
}

void enc_base32(char *out, const void *p, size_t n)
{
	encode(out, p, n, alphabet32, 5);
}

void enc_base64url(char *out, const void *p, size_t n)
{
	encode(out, p, n, alphabet64, 6);
}

bool dec_hex(const char *text, size_t len, void *out, size_t out_size, size_t *out_len)
{
	return decode(text, len, out, out_size, out_len, alphabet16, 4);
}

bool dec_base32(const char *text, size_t len, void *out, size_t out_size, size_t *out_len)
{
	return decode(text, len, out, out_size, out_len, alphabet32, 5);
}

bool dec_base64url(const char *text, size_t len, void *out, size_t out_size, size_t *out_len)
{
	return decode(text, len, out, out_size, out_len, alphabet64, 6);
}
