/* SPDX-License-Identifier: MIT */
#ifndef GV_SUPPORT_DAMAGE_H
#define GV_SUPPORT_DAMAGE_H

/*
 * damage - the ways in which a recorded message is spoilt: cut behind each byte, and each byte set to 0, 0x7f and 0xff; and the
 * time that reading a spoilt one may take.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Variants of a message of n bytes. */
static inline size_t damage_count(size_t n)
{
	return 4 * n;
}

/* Writes variant i of the message to out, which has n bytes. Returns its length. */
static inline size_t damage_make(const uint8_t *message, size_t n, size_t i, uint8_t *out)
{
	static const uint8_t values[] = {0, 0x7f, 0xff};

	if (n > 0)
		memcpy(out, message, n);
	if (i < n)
		return i;
	out[(i - n) / 3] = values[(i - n) % 3];
	return n;
}

/* CPU time of this thread: a busy machine makes nothing slower. */
static inline uint64_t damage_clock_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* always there on Linux */
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/*
 * Longer than this is a hang; GOVPN_SLOW=n in the environment allows n times as much (valgrind). To be called once before
 * a test may change the environment.
 */
static inline uint64_t damage_limit_us(void)
{
	static uint64_t limit_us;
	const char *slow = getenv("GOVPN_SLOW");

	if (limit_us == 0)
		limit_us = 10000 * (slow != NULL ? strtoull(slow, NULL, 10) : 1);
	return limit_us;
}

#endif /* GV_SUPPORT_DAMAGE_H */
