/* SPDX-License-Identifier: MIT */

#include "base/diag.h"

#include <stdarg.h>
#include <stdio.h>

void diag_set(struct diag *d, const char *fmt, ...)
{
	va_list ap;

	if (d == NULL || d->text[0] != '\0')
		return;
	va_start(ap, fmt);
	(void)vsnprintf(d->text, sizeof(d->text), fmt, ap); /* a cut sentence is still a sentence */
	va_end(ap);
}
