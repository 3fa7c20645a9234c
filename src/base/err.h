/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_ERR_H
#define GV_BASE_ERR_H

/*
 * err - the error rule of the whole tree, and a trace of where an error came from.
 *
 * A function that can fail returns int: 0 is ok; a negative errno is unexpected, and the caller forwards it
 * unchanged after undoing its own work; a positive value belongs to an enum of that function family, and the
 * caller must handle it and must not forward it.
 *
 * Thread:  the trace is thread-local.
 * Cost:    nothing on success.
 */

#include "base/macro.h"

/* Records the origin of a negative result and returns it. */
#define err_here(r) err_record((r), __FILE__, __LINE__, 1)
/* Records one more step on the way up and returns it. */
#define err_up(r) err_record((r), __FILE__, __LINE__, 0)

/* Implementation of err_here() and err_up(). `first` != 0 empties the trace before, and so does another r. */
int err_record(int r, const char *file, int line, int first) gv_nonnull(2);

/*
 * Writes "file:line < file:line" to out (always terminated) when r is what this thread's last recorded failure gave, and
 * forgets it: another failure with the same number that nobody recorded must not be told with this one's origin.
 */
void err_trace(int r, char *out, size_t out_size) gv_nonnull(2);

#endif /* GV_BASE_ERR_H */
