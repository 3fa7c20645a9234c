/* SPDX-License-Identifier: MIT */

/*
 * Runs each file of the folders and files named on the command line through one fuzz target. With --damage, each file is a
 * recorded message: every variant of tests/support/damage.h is run too, none for longer than its limit.
 */

#include "tests/support/damage.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool with_damage;
static unsigned long long variants;

/* In a copy of the exact size, so that a sanitizer or valgrind sees a read past the end. */
static int run(const uint8_t *data, size_t n, const char *path, size_t variant)
{
	uint8_t *exact = malloc(n > 0 ? n : 1);

	if (exact == NULL)
		return 1;
	if (n > 0)
		memcpy(exact, data, n);
	uint64_t begin_us = damage_clock_us();
	(void)LLVMFuzzerTestOneInput(exact, n); /* the value is for libFuzzer only */
	uint64_t us = damage_clock_us() - begin_us;
	free(exact);
	variants++;
	/* The first run of a program makes what all others use. */
	if (variants == 1 || !with_damage || us <= damage_limit_us())
		return 0;
	fprintf(stderr, "%s: variant %zu took %llu us\n", path, variant, (unsigned long long)us);
	return 1;
}

static int run_damaged(const uint8_t *data, size_t n, const char *path)
{
	static uint8_t out[1 << 20];
	int bad = 0;

	for (size_t i = 0; i < damage_count(n); i++) {
		size_t len = damage_make(data, n, i, out);

		bad |= run(out, len, path, i);
	}
	return bad;
}

static int run_file(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *f = fopen(path, "rb");

	if (f == NULL) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	size_t n = fread(data, 1, sizeof(data), f);
	fclose(f);

	int bad = run(data, n, path, 0);
	return with_damage ? bad | run_damaged(data, n, path) : bad;
}

/* What fuzzing found has the name of its checksum; a recorded message has one that says what it is. */
static bool is_message(const char *name)
{
	return strlen(name) != 40 || strspn(name, "0123456789abcdef") != 40;
}

static int run_folder(const char *path, unsigned *count)
{
	DIR *dir = opendir(path);
	int bad = 0;

	if (dir == NULL) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
		char name[4096];

		if (e->d_name[0] == '.' || (with_damage && !is_message(e->d_name)))
			continue;
		if (snprintf(name, sizeof(name), "%s/%s", path, e->d_name) >= (int)sizeof(name))
			continue;
		bad |= run_file(name);
		(*count)++;
	}
	closedir(dir);
	return bad;
}

int main(int argc, char **argv)
{
	unsigned count = 0;
	int bad = 0;

	(void)damage_limit_us(); /* some inputs change the environment */
	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (strcmp(argv[i], "--damage") == 0) {
			with_damage = true;
			continue;
		}
		if (stat(argv[i], &st) != 0) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
			bad = 1;
		} else if (S_ISDIR(st.st_mode)) {
			bad |= run_folder(argv[i], &count);
		} else {
			bad |= run_file(argv[i]);
			count++;
		}
	}
	printf("%u inputs replayed in %llu runs\n", count, variants);
	return bad != 0 || count == 0;
}
