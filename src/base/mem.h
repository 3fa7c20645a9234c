/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_MEM_H
#define GV_BASE_MEM_H

/*
 * mem - all memory of the product goes through here: zeroed, checked for overflow, and able to fail on purpose.
 *
 * Does not:  abort. Failure is NULL, and the caller returns err_here(-ENOMEM).
 * Thread:    any.
 */

#include "base/macro.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A zeroed object of `type`, or NULL. Owned by the caller, freed by mem_free(). */
#define mem_new(type) ((type *)mem_alloc(1, sizeof(type)))
/* `n` zeroed objects of `type`, or NULL (also when the size overflows). */
#define mem_new_array(type, n) ((type *)mem_alloc((n), sizeof(type)))

/* n * size zeroed bytes, or NULL. A size of 0 gives a pointer that may only be freed. */
void *mem_alloc(size_t n, size_t size) gv_must_check;

/*
 * Resizes p (NULL is allowed) to n * size bytes; new bytes are not zeroed. On failure p stays valid and
 * NULL is returned.
 */
void *mem_resize(void *p, size_t n, size_t size) gv_must_check;

/* A copy of `n` bytes, or NULL. */
void *mem_dup(const void *p, size_t n) gv_must_check;

/* A copy of a string, or NULL. NULL gives NULL. */
char *mem_strdup(const char *s) gv_must_check;

/* Frees; NULL is allowed. */
void mem_free(void *p);

/*
 * Writes to each page of p, which stays as it is: the kernel finds the memory now and not in the middle of a packet, and what
 * the program takes does not grow for hours with the longest burst so far.
 */
void mem_touch(void *p, size_t n) gv_nonnull(1);

/* Blocks of so many bytes that find no room in the heap come from the kernel one by one, after mem_map_large(). */
#define MEM_LARGE_BYTES 65536

/*
 * Tables and queues of a network go back to the kernel when it is left, instead of leaving holes in the heap that small blocks
 * settle in. (glibc does so only until the first large block is freed.) Called by main() before there are other threads.
 */
void mem_map_large(void);

/* Overwrites secrets in a way the compiler keeps. */
void mem_wipe(void *p, size_t n) gv_nonnull(1);

/*
 * For tests: the n-th allocation from now on fails (1 = the next), once; 0 switches it off.
 * mem_fail_hit() says whether it has happened.
 */
void mem_fail_at(uint64_t n);
bool mem_fail_hit(void);

/* For gv_cleanup: gv_cleanup(mem_freep) uint8_t *p = NULL; */
static inline void mem_freep(void *p)
{
	mem_free(*(void **)p);
}

#endif /* GV_BASE_MEM_H */
