/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_BYTES_H
#define GV_BASE_BYTES_H

/*
 * bytes - big-endian loads and stores, and a reader and a writer that cannot leave their buffer.
 *
 * The only place where byte order is handled; everything else is in host order.
 * A reader or writer that once failed stays failed (`ok` false) and gives zeroes, so that a parser may read
 * several fields and check once.
 */

#include "base/macro.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t be16_load(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap16(v);
}

static inline uint32_t be32_load(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static inline uint64_t be64_load(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

static inline uint32_t le32_load(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void be16_store(void *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void be32_store(void *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void be64_store(void *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

static inline void le32_store(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the swaps above assume little endian");

struct bytes_reader {
	const uint8_t *p;
	size_t left;
	bool ok;
};

static inline struct bytes_reader bytes_reader(const void *p, size_t n)
{
	return (struct bytes_reader){.p = p, .left = n, .ok = true};
}

/* The next n bytes, borrowed from the input, or NULL (and `ok` false) when fewer are left. */
static inline const uint8_t *bytes_read(struct bytes_reader *r, size_t n)
{
	if (!r->ok || r->left < n) {
		r->ok = false;
		return NULL;
	}
	const uint8_t *p = r->p;
	r->p += n;
	r->left -= n;
	return p;
}

static inline uint8_t bytes_read_u8(struct bytes_reader *r)
{
	const uint8_t *p = bytes_read(r, 1);
	return p != NULL ? p[0] : 0;
}

static inline uint16_t bytes_read_u16(struct bytes_reader *r)
{
	const uint8_t *p = bytes_read(r, 2);
	return p != NULL ? be16_load(p) : 0;
}

static inline uint32_t bytes_read_u32(struct bytes_reader *r)
{
	const uint8_t *p = bytes_read(r, 4);
	return p != NULL ? be32_load(p) : 0;
}

static inline uint64_t bytes_read_u64(struct bytes_reader *r)
{
	const uint8_t *p = bytes_read(r, 8);
	return p != NULL ? be64_load(p) : 0;
}

/* Copies exactly n bytes to out, or leaves out untouched and fails. */
static inline bool bytes_read_into(struct bytes_reader *r, void *out, size_t n)
{
	const uint8_t *p = bytes_read(r, n);

	if (p == NULL)
		return false;
	memcpy(out, p, n);
	return true;
}

struct bytes_writer {
	uint8_t *p;
	size_t size, used;
	bool ok;
};

static inline struct bytes_writer bytes_writer(void *p, size_t size)
{
	return (struct bytes_writer){.p = p, .size = size, .ok = true};
}

/* Room for n bytes to be filled by the caller, or NULL (and `ok` false). */
static inline uint8_t *bytes_reserve(struct bytes_writer *w, size_t n)
{
	if (!w->ok || w->size - w->used < n) {
		w->ok = false;
		return NULL;
	}
	uint8_t *p = w->p + w->used;
	w->used += n;
	return p;
}

static inline void bytes_write(struct bytes_writer *w, const void *src, size_t n)
{
	uint8_t *p = bytes_reserve(w, n);

	if (p != NULL && n > 0)
		memcpy(p, src, n);
}

static inline void bytes_write_u8(struct bytes_writer *w, uint8_t v)
{
	bytes_write(w, &v, 1);
}

static inline void bytes_write_u16(struct bytes_writer *w, uint16_t v)
{
	uint8_t *p = bytes_reserve(w, 2);

	if (p != NULL)
		be16_store(p, v);
}

static inline void bytes_write_u32(struct bytes_writer *w, uint32_t v)
{
	uint8_t *p = bytes_reserve(w, 4);

	if (p != NULL)
		be32_store(p, v);
}

static inline void bytes_write_u64(struct bytes_writer *w, uint64_t v)
{
	uint8_t *p = bytes_reserve(w, 8);

	if (p != NULL)
		be64_store(p, v);
}

#endif /* GV_BASE_BYTES_H */
