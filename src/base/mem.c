/* SPDX-License-Identifier: MIT */

#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* 0: off. Otherwise the number of allocations until the one that fails. */
static atomic_uint_fast64_t fail_countdown;
static atomic_bool fail_hit;

static bool must_fail(void)
{
	if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0)
		return false;
	if (atomic_fetch_sub_explicit(&fail_countdown, 1, memory_order_relaxed) != 1)
		return false;
	atomic_store_explicit(&fail_hit, true, memory_order_relaxed);
	return true;
}

void *mem_alloc(size_t n, size_t size)
{
	if (must_fail())
		return NULL;
	return calloc(n > 0 ? n : 1, size > 0 ? size : 1);
}

void *mem_resize(void *p, size_t n, size_t size)
{
	size_t total;

	if (must_fail() || __builtin_mul_overflow(n, size, &total))
		return NULL;
	return realloc(p, total > 0 ? total : 1);
}

void *mem_dup(const void *p, size_t n)
{
	void *copy = mem_alloc(1, n);

	if (copy != NULL && n > 0)
		memcpy(copy, p, n);
	return copy;
}

char *mem_strdup(const char *s)
{
	return s != NULL ? mem_dup(s, strlen(s) + 1) : NULL;
}

void mem_free(void *p)
{
	free(p);
}

void mem_touch(void *p, size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE); /* always known */
	volatile uint8_t *bytes = p;

	for (size_t i = 0; i < n; i += page)
		bytes[i] = bytes[i];
	if (n > 0)
		bytes[n - 1] = bytes[n - 1];
}

void mem_map_large(void)
{
#ifdef __GLIBC__
	(void)mallopt(M_MMAP_THRESHOLD, MEM_LARGE_BYTES); /* cannot fail: below glibc's own limit */
#endif
}

void mem_wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}

void mem_fail_at(uint64_t n)
{
	atomic_store_explicit(&fail_hit, false, memory_order_relaxed);
	atomic_store_explicit(&fail_countdown, n, memory_order_relaxed);
}

bool mem_fail_hit(void)
{
	return atomic_load_explicit(&fail_hit, memory_order_relaxed);
}
