/* SPDX-License-Identifier: MIT */

/*
 * Linked into each unit test program: GOVPN_OOM_AT=n makes the n-th allocation fail, GOVPN_OOM_CASE=name runs
 * that case only. "oom: hit" is printed at the end when the failing allocation was reached (tools/run-tests).
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"

static void oom_report(void)
{
	if (mem_fail_hit())
		puts("oom: hit");
}

__attribute__((constructor)) static void oom_arm(void)
{
	const char *at = getenv("GOVPN_OOM_AT");
	const char *name = getenv("GOVPN_OOM_CASE");

	if (name != NULL)
		cmocka_set_test_filter(name);
	if (at != NULL && atexit(oom_report) == 0)
		mem_fail_at(strtoull(at, NULL, 10));
}
