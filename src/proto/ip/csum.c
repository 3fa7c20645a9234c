/* SPDX-License-Identifier: MIT */

#include "proto/ip/csum.h"

#include "base/bytes.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* One's complement addition: the carry comes round to the other end. */
static uint64_t add64(uint64_t sum, uint64_t v)
{
	sum += v;
	return sum + (sum < v);
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Fewer than 8 bytes, the missing ones being zeroes behind (little endian). No call: most sums are of headers. */
static uint64_t load_tail(const uint8_t *p, size_t n)
{
	uint64_t v = 0;
	unsigned shift = 0;

	if (n & 4) {
		uint32_t w;

		memcpy(&w, p, sizeof(w));
		v = w;
		shift = 32;
		p += 4;
	}
	if (n & 2) {
		uint16_t h;

		memcpy(&h, p, sizeof(h));
		v |= (uint64_t)h << shift;
		shift += 16;
		p += 2;
	}
	return (n & 1) != 0 ? v | (uint64_t)*p << shift : v;
}

static size_t add_blocks_plain(uint64_t *sum, const uint8_t *p, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8)
		*sum = add64(*sum, load64(p + i));
	return i;
}

static size_t copy_blocks_plain(uint64_t *sum, uint8_t *to, const uint8_t *from, size_t n)
{
	size_t i = add_blocks_plain(sum, from, n);

	memcpy(to, from, i);
	return i;
}

#ifdef __x86_64__

#define AVX2  __attribute__((target("avx2")))
#define BLOCK 128

/* The 32-bit halves of the four lanes go to 64-bit sums, which cannot overflow below 2^32 blocks. */
AVX2 static __m256i add_lanes(__m256i sum, __m256i v)
{
	const __m256i low = _mm256_set1_epi64x(0xffffffff);

	return _mm256_add_epi64(_mm256_add_epi64(sum, _mm256_and_si256(v, low)),
	                        _mm256_srli_epi64(v, 32));
}

AVX2 static __m256i load_lanes(const uint8_t *p)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

AVX2 static uint64_t sum_lanes(uint64_t sum, __m256i a, __m256i b)
{
	uint64_t lane[4];

	a = _mm256_add_epi64(a, b);
	memcpy(lane, &a, sizeof(lane));
	for (int i = 0; i < 4; i++)
		sum = add64(sum, lane[i]);
	return sum;
}

AVX2 static size_t add_blocks_avx2(uint64_t *sum, const uint8_t *p, size_t n)
{
	__m256i a = _mm256_setzero_si256(), b = a;
	size_t i = 0;

	for (; n - i >= BLOCK; i += BLOCK) {
		a = add_lanes(a, load_lanes(p + i));
		b = add_lanes(b, load_lanes(p + i + 32));
		a = add_lanes(a, load_lanes(p + i + 64));
		b = add_lanes(b, load_lanes(p + i + 96));
	}
	for (; n - i >= 32; i += 32)
		a = add_lanes(a, load_lanes(p + i));
	*sum = sum_lanes(*sum, a, b);
	return i;
}

AVX2 static __m256i copy_lanes(uint8_t *to, const uint8_t *from, __m256i sum)
{
	__m256i v = load_lanes(from);

	_mm256_storeu_si256((__m256i *)(void *)to, v);
	return add_lanes(sum, v);
}

AVX2 static size_t copy_blocks_avx2(uint64_t *sum, uint8_t *to, const uint8_t *from, size_t n)
{
	__m256i a = _mm256_setzero_si256(), b = a;
	size_t i = 0;

	for (; n - i >= BLOCK; i += BLOCK) {
		a = copy_lanes(to + i, from + i, a);
		b = copy_lanes(to + i + 32, from + i + 32, b);
		a = copy_lanes(to + i + 64, from + i + 64, a);
		b = copy_lanes(to + i + 96, from + i + 96, b);
	}
	for (; n - i >= 32; i += 32)
		a = copy_lanes(to + i, from + i, a);
	*sum = sum_lanes(*sum, a, b);
	return i;
}

static size_t add_blocks(uint64_t *sum, const uint8_t *p, size_t n)
{
	return __builtin_cpu_supports("avx2") ? add_blocks_avx2(sum, p, n)
	                                      : add_blocks_plain(sum, p, n);
}

static size_t copy_blocks(uint64_t *sum, uint8_t *to, const uint8_t *from, size_t n)
{
	return __builtin_cpu_supports("avx2") ? copy_blocks_avx2(sum, to, from, n)
	                                      : copy_blocks_plain(sum, to, from, n);
}

#else

static size_t add_blocks(uint64_t *sum, const uint8_t *p, size_t n)
{
	return add_blocks_plain(sum, p, n);
}

static size_t copy_blocks(uint64_t *sum, uint8_t *to, const uint8_t *from, size_t n)
{
	return copy_blocks_plain(sum, to, from, n);
}

#endif

uint64_t csum_add(uint64_t sum, const void *p, size_t n)
{
	const uint8_t *b = p;
	size_t i = n >= 32 ? add_blocks(&sum, b, n) : 0;

	i += add_blocks_plain(&sum, b + i, n - i);
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
