/* SPDX-License-Identifier: MIT */

#include "base/err.h"

#include <stdio.h>
#include <string.h>

#define TRACE_MAX 8

struct step {
	const char *file;
	int line;
};

static _Thread_local struct step trace[TRACE_MAX];
static _Thread_local unsigned trace_len;
static _Thread_local int trace_r; /* whose trace it is */

int err_record(int r, const char *file, int line, int first)
{
	if (r >= 0)
		return r;
	if (first || r != trace_r)
		trace_len = 0;
	trace_r = r;
	if (trace_len < TRACE_MAX) {
		const char *src = strstr(file, "src/");

		trace[trace_len].file = src != NULL ? src + 4 : file;
		trace[trace_len].line = line;
		trace_len++;
	}
	return r;
}

void err_trace(int r, char *out, size_t out_size)
{
	size_t used = 0;

	if (out_size == 0)
		return;
	out[0] = '\0';
	unsigned n_steps = r == trace_r ? trace_len : 0;
	trace_len = 0;
	for (unsigned i = 0; i < n_steps; i++) {
		int n = snprintf(out + used, out_size - used, "%s%s:%d", i > 0 ? " < " : "",
		                 trace[i].file, trace[i].line);
		if (n < 0 || (size_t)n >= out_size - used)
			return;
		used += (size_t)n;
	}
}
