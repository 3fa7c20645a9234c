/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

LOG_MODULE("test");

#define MINUTE_US 60000000u

/* What the log wrote while `says` ran; one at a time, no longer than a pipe holds. */
static const char *said(void (*says)(void))
{
	static char text[65536];
	int ends[2], old = dup(STDERR_FILENO);

	assert_true(old >= 0);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	says();
	assert_int_equal(dup2(old, STDERR_FILENO), STDERR_FILENO);
	close(old);
	size_t used = 0;
	for (ssize_t n = 1; n > 0; used += (size_t)n) {
		n = read(ends[0], text + used, sizeof(text) - 1 - used);
		assert_true(n >= 0);
	}
	close(ends[0]);
	text[used] = '\0';
	return text;
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	for (const char *p = text; (p = strstr(p, part)) != NULL; p++)
		n++;
	return n;
}

/* --- log_limited --------------------------------------------------------------------------------- */

static void five_limited_lines(void)
{
	for (unsigned i = 0; i < 5; i++)
		log_limited(LOG_LEVEL_WARN, 2, "test.limited", LOG_U64("i", i));
	log_limited(LOG_LEVEL_DEBUG, 2, "test.off");
}

static void only_so_many_lines_a_minute(void **state)
{
	(void)state;
	const char *text = said(five_limited_lines);

	assert_int_equal(count(text, "test.limited"), 2);
	assert_non_null(strstr(text, " warn  test: test.limited i=0\n"));
	assert_non_null(strstr(text, " test.limited i=1\n"));
	assert_int_equal(count(text, "\n"), 2);
}

static struct log_limit limit;

static void line_after_a_gap(void)
{
	for (unsigned i = 0; i < 9; i++)
		log_limited_by(&limit, LOG_LEVEL_INFO, 2, "test.first");
	limit.window_us = clock_now_us() - 2 * (uint64_t)MINUTE_US;
	log_limited_by(&limit, LOG_LEVEL_INFO, 2, "test.later", LOG_STR("who", "\"x\n"));
	log_limited_by(&limit, LOG_LEVEL_INFO, 2, "test.then", LOG_STR("who", "y"));
}

static void left_out_stands_in_the_line(void **state)
{
	(void)state;
	const char *text = said(line_after_a_gap);

	assert_int_equal(count(text, " info  test: test.first\n"), 2);
	assert_non_null(strstr(text, " test.later who=\"\\\"x\\x0a\" left_out=7\n"));
	assert_non_null(strstr(text, " test.then who=\"y\"\n"));
}

static void next_minute_tells_what_was_left_out(void **state)
{
	struct log_limit l = {0};
	uint32_t left_out;
	unsigned passed = 0;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		passed += log_limit_pass(&l, 3, &left_out);
		assert_int_equal(left_out, 0);
	}
	assert_int_equal(passed, 3);
	l.window_us = clock_now_us() - 2 * (uint64_t)MINUTE_US;
	assert_true(log_limit_pass(&l, 3, &left_out));
	assert_int_equal(left_out, 7);
	/* Told once; the line that told it is one of this minute's. */
	passed = 1;
	for (unsigned i = 0; i < 5; i++) {
		passed += log_limit_pass(&l, 3, &left_out);
		assert_int_equal(left_out, 0);
	}
	assert_int_equal(passed, 3);
	/* A minute in which nothing was left out. */
	l.window_us = clock_now_us() - 2 * (uint64_t)MINUTE_US;
	assert_true(log_limit_pass(&l, 3, &left_out));
	assert_int_equal(left_out, 3);
	l.window_us = clock_now_us() - 2 * (uint64_t)MINUTE_US;
	assert_true(log_limit_pass(&l, 3, &left_out));
	assert_int_equal(left_out, 0);
}

/* --- what found no room ---------------------------------------------------------------------------- */

static struct {
	struct rng rng;
	size_t room;
	char text[1 << 20];
	size_t used;
	unsigned long long whole, told; /* lines that were taken whole; as lost */
} tight;

static size_t take_part(const struct iovec *part)
{
	size_t n = GV_MIN(part->iov_len, tight.room);

	memcpy(tight.text + tight.used, part->iov_base, n);
	tight.used += n;
	tight.room -= n;
	return n;
}

/* Like a terminal: takes as much as there is room for. */
static ssize_t take_some(struct iovec *parts, size_t n_parts)
{
	static const char lost[] = "Z warn  log: log.lost lines=";
	size_t n = 0;

	if (tight.room == 0) {
		errno = EAGAIN;
		return -1;
	}
	for (size_t i = 0; i < n_parts; i++) {
		size_t at = tight.used, took = take_part(&parts[i]);
		char *is_told = memmem(tight.text + at, took, lost, strlen(lost));

		n += took;
		if (took < parts[i].iov_len)
			break;
		if (is_told != NULL)
			tight.told += strtoull(is_told + strlen(lost), NULL, 10);
		else if (took > 1) /* not the end of a line that was cut */
			tight.whole++;
	}
	return (ssize_t)n;
}

static void each_line_is_there_or_told(void **state)
{
	enum {
		LINES = 20000
	};

	unsigned cut = 0;

	(void)state;
	memset(&tight, 0, sizeof(tight));
	tight.rng = rng_seeded(1);
	log_set_out(take_some);
	for (unsigned i = 0; i < LINES; i++) {
		if (rng_below(&tight.rng, 4) == 0)
			tight.room += rng_below(&tight.rng, 150);
		cut += tight.room > 0 && tight.room < 50;
		log_info("test.line", LOG_U64("i", i));
	}
	tight.room = 1000;
	log_info("test.last");
	log_set_out(NULL);
	assert_true(cut > 100 && tight.whole > 100 && tight.told > 100);
	assert_int_equal(tight.whole + tight.told, LINES + 1);
	/* One that was cut ends where it was cut: no line holds the beginning of another, and none is empty. */
	assert_int_equal(tight.text[tight.used - 1], '\n');
	tight.text[tight.used - 1] = '\0';
	for (char *rest = tight.text, *line; (line = strsep(&rest, "\n")) != NULL;)
		assert_true(line[0] != '\0' && count(line, "Z ") <= 1);
}

/* --- the trace of an error ----------------------------------------------------------------------- */

static void error_with_trace(void)
{
	(void)log_err(err_up(err_here(-EIO)), "test.failed", LOG_U64("n", 4));
}

static void error_has_its_trace(void **state)
{
	(void)state;
	const char *text = said(error_with_trace);

	assert_non_null(
		strstr(text, " err   test: test.failed n=4 error=\"Input/output error\" trace=\""));
	assert_int_equal(count(text, "test_log.c:"), 2);
	assert_int_equal(count(text, " < "), 1);
}

static void error_of_another(void)
{
	(void)err_here(-EIO); /* somebody handled this one */
	(void)log_err(-ENOENT, "test.other");
}

static void error_without_record_has_no_trace(void **state)
{
	(void)state;
	const char *text = said(error_of_another);

	assert_non_null(strstr(text, " test.other error=\"No such file or directory\"\n"));
}

static void error_twice(void)
{
	(void)log_err(err_here(-EIO), "test.recorded");
	(void)log_err(-EIO, "test.not_recorded");
}

static void trace_is_told_once(void **state)
{
	(void)state;
	const char *text = said(error_twice);

	assert_int_equal(count(text, "trace="), 1);
	assert_non_null(strstr(text, " test.not_recorded error=\"Input/output error\"\n"));
}

static void error_on_the_way(void)
{
	(void)err_here(-EIO);
	(void)log_err(err_up(-ENOENT), "test.up"); /* whose origin nobody recorded */
}

static void step_up_does_not_join_another_failure(void **state)
{
	(void)state;
	const char *text = said(error_on_the_way);

	assert_int_equal(count(text, "test_log.c:"), 1);
	assert_int_equal(count(text, " < "), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_so_many_lines_a_minute),
		cmocka_unit_test(left_out_stands_in_the_line),
		cmocka_unit_test(next_minute_tells_what_was_left_out),
		cmocka_unit_test(each_line_is_there_or_told),
		cmocka_unit_test(error_has_its_trace),
		cmocka_unit_test(error_without_record_has_no_trace),
		cmocka_unit_test(trace_is_told_once),
		cmocka_unit_test(step_up_does_not_join_another_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
