/* SPDX-License-Identifier: MIT */

#include "base/clock.h"

#include <time.h>

uint64_t clock_now_us(void)
{
	struct timespec t;

	/* Cannot fail with a valid clock id and pointer. */
	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u + 1;
}

int64_t clock_unix_s(void)
{
	return (int64_t)time(NULL);
}
