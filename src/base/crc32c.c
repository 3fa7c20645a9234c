/* SPDX-License-Identifier: MIT */

#include "base/crc32c.h"

#include <string.h>

#define POLY 0x82f63b78u /* 0x1edc6f41, bits reversed */

static uint32_t table[256];

__attribute__((constructor)) static void table_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t v = i;

		for (int k = 0; k < 8; k++)
			v = (v >> 1) ^ ((v & 1) != 0 ? POLY : 0);
		table[i] = v;
	}
}

uint32_t crc32c_soft(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint32_t crc = 0xffffffffu;

	for (size_t i = 0; i < n; i++)
		crc = (crc >> 8) ^ table[(crc ^ b[i]) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint64_t crc = 0xffffffffu;

	for (; n >= 8; n -= 8, b += 8) {
		uint64_t v;

		memcpy(&v, b, sizeof(v));
		crc = __builtin_ia32_crc32di(crc, v);
	}
	uint32_t crc32 = (uint32_t)crc;
	for (; n > 0; n--, b++)
		crc32 = __builtin_ia32_crc32qi(crc32, *b);
	return ~crc32;
}

uint32_t crc32c(const void *p, size_t n)
{
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(p, n);
	return crc32c_soft(p, n);
}
#else
uint32_t crc32c(const void *p, size_t n)
{
	return crc32c_soft(p, n);
}
#endif
