/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_DUMP_H
#define GV_ENGINE_CLIENT_DUMP_H

/*
 * dump - a JSON value as text, whole or not at all.
 *
 * Does:      what json_dump_callback() does, and notices when a piece could not be kept: libjansson ignores that for
 *            the keys of objects and goes on.
 * Thread:    any.
 */

#include "base/macro.h"

#include <jansson.h>
#include <stddef.h>

struct buf;

/* Appends `value` (borrowed) with the flags of json_dumps(). Returns 0; -ENOMEM (also for a text above the limit of out). */
int dump_json(const json_t *value, size_t flags, struct buf *out) gv_must_check gv_nonnull(1, 3);

#endif /* GV_ENGINE_CLIENT_DUMP_H */
