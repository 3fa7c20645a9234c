/* SPDX-License-Identifier: MIT */

#include "proto/ip/csum.h"

#include "base/bytes.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* One's complement addition: the carry comes round to the other end. */
static uint64_t add64(uint64_t sum, uint64_t v)
{
	sum += v;
	return sum + (sum < v);
}

static uint64_t load_tail(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	memcpy(&v, p, n); /* little endian: missing bytes are the zeroes behind */
	return v;
}

#ifdef __SSE2__

#define BLOCK 32

/* The 32-bit halves of two lanes go to two 64-bit sums each, which cannot overflow below 2^32 blocks. */
static __m128i add_lanes(__m128i sum, __m128i v)
{
	const __m128i low = _mm_set_epi32(0, -1, 0, -1);

	return _mm_add_epi64(_mm_add_epi64(sum, _mm_and_si128(v, low)), _mm_srli_epi64(v, 32));
}

static __m128i load_lanes(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static uint64_t sum_lanes(uint64_t sum, __m128i a, __m128i b)
{
	uint64_t lane[2];

	a = _mm_add_epi64(a, b);
	memcpy(lane, &a, sizeof(lane));
	return add64(add64(sum, lane[0]), lane[1]);
}

static size_t add_blocks(uint64_t *sum, const uint8_t *p, size_t n)
{
	__m128i a = _mm_setzero_si128(), b = a;
	size_t i = 0;

	for (; n - i >= BLOCK; i += BLOCK) {
		a = add_lanes(a, load_lanes(p + i));
		b = add_lanes(b, load_lanes(p + i + 16));
	}
	*sum = sum_lanes(*sum, a, b);
	return i;
}

static size_t copy_blocks(uint64_t *sum, uint8_t *to, const uint8_t *from, size_t n)
{
	__m128i a = _mm_setzero_si128(), b = a;
	size_t i = 0;

	for (; n - i >= BLOCK; i += BLOCK) {
		__m128i v = load_lanes(from + i), w = load_lanes(from + i + 16);

		a = add_lanes(a, v);
		b = add_lanes(b, w);
		_mm_storeu_si128((__m128i *)(void *)(to + i), v);
		_mm_storeu_si128((__m128i *)(void *)(to + i + 16), w);
	}
	*sum = sum_lanes(*sum, a, b);
	return i;
}

#else

static size_t add_blocks(uint64_t *sum, const uint8_t *p, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8)
		*sum = add64(*sum, load_tail(p + i, 8));
	return i;
}

static size_t copy_blocks(uint64_t *sum, uint8_t *to, const uint8_t *from, size_t n)
{
	size_t i = add_blocks(sum, from, n);

	memcpy(to, from, i);
	return i;
}

#endif

uint64_t csum_add(uint64_t sum, const void *p, size_t n)
{
	const uint8_t *b = p;
	size_t i = n >= 32 ? add_blocks(&sum, b, n) : 0;

	for (; n - i >= 8; i += 8)
		sum = add64(sum, load_tail(b + i, 8));
	return n - i > 0 ? add64(sum, load_tail(b + i, n - i)) : sum;
}

uint64_t csum_copy(uint64_t sum, void *to, const void *from, size_t n)
{
	const uint8_t *f = from;
	uint8_t *t = to;
	size_t i = n >= 32 ? copy_blocks(&sum, t, f, n) : 0;

	if (n - i > 0)
		memcpy(t + i, f + i, n - i);
	return csum_add(sum, f + i, n - i);
}

uint64_t csum_add_pseudo(uint64_t sum, const uint8_t *src, const uint8_t *dst, size_t addr_len,
                         uint8_t proto, size_t payload_len)
{
	uint8_t tail[8] = {[7] = proto};

	be32_store(tail, (uint32_t)payload_len);
	sum = csum_add(sum, src, addr_len);
	sum = csum_add(sum, dst, addr_len);
	return csum_add(sum, tail, sizeof(tail));
}

uint16_t csum_fold(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffffu);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)sum;
}

void csum_store(uint8_t *field, uint16_t folded)
{
	memcpy(field, &folded, sizeof(folded));
}

void csum_update16(uint8_t *field, uint16_t old_word, uint16_t new_word)
{
	/* RFC 1624 eq. 3: HC' = ~(~HC + ~m + m') */
	uint32_t sum = (uint16_t)~be16_load(field) + (uint32_t)(uint16_t)~old_word + new_word;

	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	be16_store(field, (uint16_t)~sum);
}
