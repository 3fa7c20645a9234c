/* SPDX-License-Identifier: MIT */

#include "base/crc32c.h"

#include <string.h>

#define POLY 0x82f63b78u /* 0x1edc6f41, bits reversed */

static uint32_t table[256];

static void table_init(void)
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
/*
 * The instruction takes three cycles and can begin one each cycle, so three lanes side by side cost what one does. A lane's
 * remainder is moved over the bytes that follow it by a table for their number.
 */
#define LANE_LONG  336
#define LANE_SHORT 64

static uint32_t move_long[4][256], move_short[4][256];

/* The remainder after n zero bytes more. */
static uint32_t over_zeroes(uint32_t crc, size_t n)
{
	for (; n > 0; n--)
		crc = (crc >> 8) ^ table[crc & 0xff];
	return crc;
}

static void move_init(uint32_t out[static 4][256], size_t bytes)
{
	for (unsigned k = 0; k < 4; k++) {
		for (uint32_t v = 0; v < 256; v++)
			out[k][v] = over_zeroes(v << (8 * k), bytes);
	}
}

__attribute__((constructor)) static void moves_init(void)
{
	table_init();
	move_init(move_long, LANE_LONG);
	move_init(move_short, LANE_SHORT);
}

static uint32_t move(uint32_t by[static 4][256], uint32_t crc)
{
	return by[0][crc & 0xff] ^ by[1][crc >> 8 & 0xff] ^ by[2][crc >> 16 & 0xff] ^
	       by[3][crc >> 24];
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Three lanes of `lane` bytes, a multiple of 8. */
__attribute__((target("sse4.2"))) static uint32_t
three_lanes(uint32_t crc, const uint8_t *p, size_t lane, uint32_t by[static 4][256])
{
	uint64_t a = crc, b = 0, c = 0;

	for (size_t i = 0; i < lane; i += 8) {
		a = __builtin_ia32_crc32di(a, load64(p + i));
		b = __builtin_ia32_crc32di(b, load64(p + lane + i));
		c = __builtin_ia32_crc32di(c, load64(p + 2 * lane + i));
	}
	return move(by, move(by, (uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint32_t crc = 0xffffffffu;

	for (; n >= 3 * (size_t)LANE_LONG; n -= 3 * (size_t)LANE_LONG, b += 3 * (size_t)LANE_LONG)
		crc = three_lanes(crc, b, LANE_LONG, move_long);
	for (; n >= 3 * (size_t)LANE_SHORT;
	     n -= 3 * (size_t)LANE_SHORT, b += 3 * (size_t)LANE_SHORT)
		crc = three_lanes(crc, b, LANE_SHORT, move_short);
	for (; n >= 8; n -= 8, b += 8)
		crc = (uint32_t)__builtin_ia32_crc32di(crc, load64(b));
	for (; n > 0; n--, b++)
		crc = __builtin_ia32_crc32qi(crc, *b);
	return ~crc;
}

uint32_t crc32c(const void *p, size_t n)
{
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(p, n);
	return crc32c_soft(p, n);
}
#else
__attribute__((constructor)) static void tables_init(void)
{
	table_init();
}

uint32_t crc32c(const void *p, size_t n)
{
	return crc32c_soft(p, n);
}
#endif
