/* SPDX-License-Identifier: MIT */

/*
 * Preloaded into a program, it keeps two numbers in the file GOVPN_HEAP_FILE: blocks and bytes of the heap that are in
 * use now (two 64-bit integers, of this machine's order). A leak shows to the block, long before it shows in pages.
 */

#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);

struct counts {
	atomic_int_fast64_t blocks, bytes;
};

static struct counts early;
static struct counts *now = &early;

__attribute__((constructor)) static void share(void)
{
	const char *path = getenv("GOVPN_HEAP_FILE");
	int fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

	if (fd < 0 || ftruncate(fd, sizeof(*now)) != 0)
		return;
	struct counts *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (shared == MAP_FAILED)
		return;
	/* Nothing else runs yet. */
	shared->blocks = early.blocks;
	shared->bytes = early.bytes;
	now = shared;
}

static void *took(void *p)
{
	if (p != NULL) {
		atomic_fetch_add(&now->blocks, 1);
		atomic_fetch_add(&now->bytes, (int_fast64_t)malloc_usable_size(p));
	}
	return p;
}

static void gave(int_fast64_t bytes)
{
	atomic_fetch_sub(&now->blocks, 1);
	atomic_fetch_sub(&now->bytes, bytes);
}

void *malloc(size_t size)
{
	return took(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return took(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size)
{
	int_fast64_t before = p != NULL ? (int_fast64_t)malloc_usable_size(p) : 0;
	void *q = __libc_realloc(p, size);

	if (p != NULL && (q != NULL || size == 0))
		gave(before);
	return took(q);
}

void free(void *p)
{
	if (p != NULL)
		gave((int_fast64_t)malloc_usable_size(p));
	__libc_free(p);
}
