/* SPDX-License-Identifier: MIT */
#ifndef GV_FUZZ_ARGV_H
#define GV_FUZZ_ARGV_H

/*
 * argv - a command line and an environment out of an input: lines; one that begins with '$' is NAME=VALUE of the environment,
 * where it replaces what the line before it said, every other one is an argument. Both are gone after the next input.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARGV_MAX 32

struct argv {
	char *text; /* owned */
	char *v[ARGV_MAX + 2];
	int n;
};

static inline void argv_put_env(char *line)
{
	char *equal = strchr(line, '=');

	/* Only names of the programs: the sanitizers and the C library look at others. */
	if (equal == NULL || strncmp(line, "GOVPN_", 6) != 0)
		return;
	*equal = '\0';
	if (setenv(line, equal + 1, 1) != 0)
		abort();
}

static inline void argv_make(struct argv *a, const uint8_t *data, size_t size)
{
	static char name[] = "program";
	extern char **environ;
	static char *no_environment[1];

	environ = no_environment;
	a->text = malloc(size + 1);
	if (a->text == NULL)
		abort();
	memcpy(a->text, data, size);
	a->text[size] = '\0';
	a->n = 1;
	a->v[0] = name;
	for (char *line = a->text, *next; line != NULL && a->n <= ARGV_MAX; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		if (line[0] == '$')
			argv_put_env(line + 1);
		else
			a->v[a->n++] = line;
	}
	a->v[a->n] = NULL;
}

static inline void argv_free(struct argv *a)
{
	clearenv();
	free(a->text);
}

#endif /* GV_FUZZ_ARGV_H */
