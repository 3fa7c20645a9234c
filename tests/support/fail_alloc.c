/* SPDX-License-Identifier: MIT */

/*
 * Preloaded into a program, it makes the n-th allocation of one of its parts fail, once.
 *
 * GOVPN_FAIL_AT=n      the n-th from the start of the program; 0: only count
 * GOVPN_FAIL_FROM=name the allocations that code of this shared library asks for, such as libcrypto; without it
 *                      those of the program's own code
 *
 * "fail_alloc: hit" with a trace (for addr2line) and, at the end, "fail_alloc: counted N" go to standard error.
 */

#include <execinfo.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANGES 16
#define TRACE  12

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static struct range {
	uintptr_t begin, end;
} ranges[RANGES];

static size_t n_ranges;
static uint64_t fail_at;
static atomic_uint_fast64_t counted;

static void say(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text));
	(void)n; /* nowhere else to say it */
}

/* The executable parts of the wanted object. */
static int note_object(struct dl_phdr_info *info, size_t size, void *wanted)
{
	bool program = info->dlpi_name == NULL || info->dlpi_name[0] == '\0';

	(void)size;
	if (wanted == NULL ? !program : program || strstr(info->dlpi_name, wanted) == NULL)
		return 0;
	for (size_t i = 0; i < info->dlpi_phnum && n_ranges < RANGES; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		if (h->p_type == PT_LOAD && (h->p_flags & PF_X) != 0) {
			ranges[n_ranges].begin = info->dlpi_addr + h->p_vaddr;
			ranges[n_ranges].end = ranges[n_ranges].begin + h->p_memsz;
			n_ranges++;
		}
	}
	return wanted ==
	       NULL; /* the first without a name is the program, the second the kernel's page */
}

__attribute__((constructor)) static void arm(void)
{
	const char *at = getenv("GOVPN_FAIL_AT");
	void *trace[1];

	(void)backtrace(trace, 1); /* the first one loads a library */
	fail_at = at != NULL ? strtoull(at, NULL, 10) : 0;
	(void)dl_iterate_phdr(note_object, getenv("GOVPN_FAIL_FROM"));
}

__attribute__((destructor)) static void report(void)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "fail_alloc: counted %llu\n",
	               (unsigned long long)atomic_load(&counted)); /* fits */
	say(text);
}

static bool must_fail(const void *caller)
{
	uintptr_t at = (uintptr_t)caller;
	void *trace[TRACE];

	for (size_t i = 0; i < n_ranges; i++) {
		if (at < ranges[i].begin || at >= ranges[i].end)
			continue;
		if (atomic_fetch_add(&counted, 1) + 1 != fail_at)
			return false;
		say("fail_alloc: hit\n");
		backtrace_symbols_fd(trace, backtrace(trace, TRACE), STDERR_FILENO);
		return true;
	}
	return false;
}

void *malloc(size_t size)
{
	return must_fail(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return must_fail(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return must_fail(__builtin_return_address(0)) ? NULL : __libc_realloc(p, size);
}
