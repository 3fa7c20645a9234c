/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_SERVER_PAGE_H
#define GV_ENGINE_SERVER_PAGE_H

/*
 * page - the page behind an invite link that was opened in a browser: how to join. No scripts, nothing from elsewhere.
 *
 * Thread:    any.   Memory: the caller's buffer.
 */

#include "base/buf.h"
#include "base/macro.h"

#include <stdbool.h>

/*
 * Writes the page for a path "/j/ID" as HTML. Returns 0; -ENOBUFS; -ENOMEM. False in *found: it is no such path and
 * nothing was written. Whether the network exists is not said.
 */
int page_invite(const char *path, struct buf *out, bool *found) gv_must_check gv_nonnull(1, 2, 3);

/* The page at "/". Returns as above. */
int page_front(struct buf *out) gv_must_check gv_nonnull(1);

#endif /* GV_ENGINE_SERVER_PAGE_H */
