/* SPDX-License-Identifier: MIT */

#include "engine/client/dump.h"

#include "base/buf.h"
#include "base/err.h"

#include <errno.h>
#include <stdbool.h>

struct sink {
	struct buf *out;
	bool failed;
};

static int add_text(const char *text, size_t len, void *user)
{
	struct sink *s = user;

	s->failed = s->failed || buf_add(s->out, text, len) < 0;
	return s->failed ? -1 : 0;
}

int dump_json(const json_t *value, size_t flags, struct buf *out)
{
	struct sink s = {.out = out};

	if (json_dump_callback(value, add_text, &s, flags) != 0 || s.failed)
		return err_here(-ENOMEM);
	return 0;
}
