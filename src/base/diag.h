/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_DIAG_H
#define GV_BASE_DIAG_H

/*
 * diag - one sentence for a person about why their input was refused. No secrets in it.
 */

#include "base/macro.h"

struct diag {
	char text[200];
};

/* Fills d (NULL is allowed) unless it already holds a sentence: the first cause is the one to read. */
void diag_set(struct diag *d, const char *fmt, ...) gv_nonnull(2) gv_format(2, 3);

#endif /* GV_BASE_DIAG_H */
