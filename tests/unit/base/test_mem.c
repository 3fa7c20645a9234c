/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)

/* Pages from `p` on that are in memory. */
static size_t resident(void *p, size_t n_pages)
{
	unsigned char there[BLOCK / 1024];
	size_t n = 0;

	assert_int_equal(mincore(p, n_pages * (size_t)sysconf(_SC_PAGESIZE), there), 0);
	for (size_t i = 0; i < n_pages; i++)
		n += there[i] & 1;
	return n;
}

static void touched_pages_are_there(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = BLOCK / page;

	(void)state;
	uint8_t *p = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(p != MAP_FAILED);
	/* No pages of two megabytes, of which one touch would bring many. */
	assert_int_equal(madvise(p, BLOCK, MADV_NOHUGEPAGE), 0);
	assert_int_equal(resident(p, n), 0);
	p[page + 5] = 7;
	/* From the middle of one page into the middle of another. */
	mem_touch(p + page / 2, 10 * page);
	assert_int_equal(resident(p, n), 11);
	mem_touch(p + 20 * page, 0);
	assert_int_equal(resident(p, n), 11);
	for (size_t i = 0; i < BLOCK; i++)
		assert_int_equal(p[i], i == page + 5 ? 7 : 0);
	assert_int_equal(munmap(p, BLOCK), 0);
}

/* A block for which the heap has no hole is gone from the address space when it is freed, also after a larger one was. */
static void large_blocks_go_back(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char there;

	(void)state;
	mem_map_large();
	for (size_t size = 16 * BLOCK; size >= BLOCK / 4; size /= 2) {
		size_t mapped = mallinfo2().hblks;
		uint8_t *p = malloc(size);

		assert_non_null(p);
		if (mallinfo2().hblks == mapped && size == 16 * BLOCK) {
			free(p);
			skip(); /* sanitizers and valgrind have a heap of their own */
		}
		void *at = (void *)(((uintptr_t)p + page - 1) & ~(page - 1));
		assert_int_equal(mincore(at, page, &there), 0);
		free(p);
		assert_int_not_equal(mincore(at, page, &there), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(touched_pages_are_there),
		cmocka_unit_test(large_blocks_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
