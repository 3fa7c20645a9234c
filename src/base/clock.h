/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_CLOCK_H
#define GV_BASE_CLOCK_H

/*
 * clock - the two clocks. Only engine and apps read them; everything below takes the time as an argument.
 */

#include <stdint.h>

/* "never", for deadlines. */
#define CLOCK_NEVER UINT64_MAX

/* Monotonic microseconds that go on during suspend (CLOCK_BOOTTIME); never 0. */
uint64_t clock_now_us(void);

/* Wall clock, seconds since 1970; only a hint, may jump. */
int64_t clock_unix_s(void);

#endif /* GV_BASE_CLOCK_H */
