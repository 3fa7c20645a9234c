/* SPDX-License-Identifier: MIT */

/* Runs each file of the folders and files named on the command line through one fuzz target. */

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

	/* A copy of the exact size, so that a sanitizer or valgrind sees a read past the end. */
	uint8_t *exact = malloc(n > 0 ? n : 1);
	if (exact == NULL)
		return 1;
	memcpy(exact, data, n);
	(void)LLVMFuzzerTestOneInput(exact, n); /* the value is for libFuzzer only */
	free(exact);
	return 0;
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

		if (e->d_name[0] == '.')
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

	for (int i = 1; i < argc; i++) {
		struct stat st;

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
	printf("%u inputs replayed\n", count);
	return bad != 0 || count == 0;
}
