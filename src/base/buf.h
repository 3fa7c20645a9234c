/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_BUF_H
#define GV_BASE_BUF_H

/*
 * buf - a growing byte buffer with a mandatory maximum.
 *
 * Memory:  grows by doubling up to max; beyond it buf_add() gives -ENOBUFS and the content is unchanged.
 *          The content is always followed by a NUL that does not count, so text can be read as a string.
 * Not for secrets.
 */

#include "base/macro.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data; /* owned; NULL while nothing was added */
	size_t len, cap, max;
};

#define BUF_INIT(max_bytes) ((struct buf){.max = (max_bytes)})

/* Frees the content; the buffer is empty and usable afterwards. */
void buf_deinit(struct buf *b) gv_nonnull(1);

/* Appends. Returns 0; -ENOBUFS above the maximum; -ENOMEM. */
int buf_add(struct buf *b, const void *p, size_t n) gv_must_check gv_nonnull(1);
int buf_add_str(struct buf *b, const char *s) gv_must_check gv_nonnull(1, 2);
int buf_addf(struct buf *b, const char *fmt, ...) gv_must_check gv_nonnull(1, 2) gv_format(2, 3);

/* Removes the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n) gv_nonnull(1);

/* The content as a string; "" while empty. Borrowed until the next change. */
const char *buf_str(const struct buf *b) gv_nonnull(1);

#endif /* GV_BASE_BUF_H */
