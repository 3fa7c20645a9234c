/* SPDX-License-Identifier: MIT */

#include "base/buf.h"

#include "base/err.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

void buf_deinit(struct buf *b)
{
	mem_free(b->data);
	b->data = NULL;
	b->len = 0;
	b->cap = 0;
}

static int reserve(struct buf *b, size_t n)
{
	if (n > b->max || b->len > b->max - n)
		return err_here(-ENOBUFS);

	size_t need = b->len + n + 1;
	if (need <= b->cap)
		return 0;

	size_t cap = GV_MAX(b->cap * 2, (size_t)64);
	while (cap < need)
		cap *= 2;
	uint8_t *data = mem_resize(b->data, cap, 1);
	if (data == NULL)
		return err_here(-ENOMEM);
	b->data = data;
	b->cap = cap;
	return 0;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
	int r = reserve(b, n);

	if (r < 0)
		return err_up(r);
	if (n > 0)
		memcpy(b->data + b->len, p, n);
	b->len += n;
	b->data[b->len] = '\0';
	return 0;
}

int buf_add_str(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return err_here(-EINVAL);

	int r = reserve(b, (size_t)n);
	if (r < 0)
		return err_up(r);
	va_start(ap, fmt);
	(void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap); /* measured above */
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->len);
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
	b->data[b->len] = '\0';
}

const char *buf_str(const struct buf *b)
{
	return b->data != NULL ? (const char *)b->data : "";
}
