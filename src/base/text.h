/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_TEXT_H
#define GV_BASE_TEXT_H

/* text - checks on text that people or strangers wrote. */

#include "base/macro.h"

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms) of `len` bytes. */
bool text_is_utf8(const char *s, size_t len) gv_nonnull(1);

/*
 * A name to show: UTF-8 of 1 .. max bytes without control characters (C0, DEL, C1), line separators or
 * direction overrides, not beginning or ending with a space.
 */
bool text_is_name(const char *s, size_t max) gv_nonnull(1);

/* A DNS label: 1 .. 63 of [a-z0-9-], not beginning or ending with '-'. */
bool text_is_label(const char *s) gv_nonnull(1);

/* Makes a label out of any name; "computer" when nothing is left. out holds 64 bytes. */
void text_to_label(const char *name, char out[static 64]) gv_nonnull(1, 2);

#endif /* GV_BASE_TEXT_H */
