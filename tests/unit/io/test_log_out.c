/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "io/log_out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

LOG_MODULE("test");

#define MANY 20000 /* lines of 100 bytes and more: no pipe, socket or terminal here holds so much */

/* Makes `fd_moved` stderr; returns the old one. */
static int take_stderr(int fd_moved)
{
	int old = dup(STDERR_FILENO);

	assert_true(old >= 0);
	assert_int_equal(dup2(fd_moved, STDERR_FILENO), STDERR_FILENO);
	close(fd_moved);
	assert_int_equal(log_out_start(), 0);
	return old;
}

static void give_stderr(int old)
{
	assert_int_equal(dup2(old, STDERR_FILENO), STDERR_FILENO);
	close(old);
	assert_int_equal(log_out_start(), 0);
}

static char text[MANY * 120];
static size_t used;

/* Adds all that waits at `fd` to the text. */
static void drain(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	for (ssize_t n;
	     used < sizeof(text) - 1 && (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0;)
		used += (size_t)n;
	assert_int_equal(errno, EAGAIN);
	text[used] = '\0';
}

/* Lines that are there, in part too, and lines that are told as lost. */
static unsigned long long there_or_told(void)
{
	unsigned long long n = 0, lost;

	for (const char *p = text; (p = strstr(p, " test: test.")) != NULL; p++)
		n++;
	for (const char *p = text; (p = strstr(p, "Z warn  log: log.lost lines=")) != NULL; p++) {
		assert_int_equal(sscanf(strstr(p, "lines="), "lines=%llu", &lost), 1);
		n += lost;
	}
	return n;
}

/*
 * Lines into `end` while nobody reads `reader`: none waits, and each is there or counted. A terminal takes parts of a line,
 * which is there and counted then, and moves what it took when it likes: also while lines are still written.
 */
static void check_stalled(int reader, int end, bool is_terminal)
{
	static const char rest[] =
		"0123456789012345678901234567890123456789012345678901234567890123";
	unsigned logged = 0;

	used = 0;
	int old = take_stderr(end);
	alarm(30); /* ends a test that waits */
	for (; logged < MANY; logged++)
		log_info("test.many", LOG_STR("rest", rest), LOG_U64("i", logged));
	/* Whoever else has this file is not to notice. */
	assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	do {
		drain(reader);
		log_info("test.after");
		logged++;
		drain(reader);
	} while (strstr(text, " info  test: test.after\n") == NULL &&
	         strstr(text, " info  test: test.after\r\n") == NULL);
	alarm(0);
	give_stderr(old);
	close(reader);

	assert_non_null(strstr(text, "Z warn  log: log.lost lines="));
	if (is_terminal)
		assert_true(there_or_told() >= logged);
	else
		assert_int_equal(there_or_told(), logged);
}

static void full_pipe_stops_nobody(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	check_stalled(ends[0], ends[1], false);
}

static void full_socket_stops_nobody(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	check_stalled(ends[0], ends[1], false);
}

static void full_terminal_stops_nobody(void **state)
{
	(void)state;
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	int end = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(end >= 0);
	check_stalled(master, end, true);
}

static void file_is_written_as_ever(void **state)
{
	(void)state;
	FILE *f = tmpfile();
	assert_non_null(f);
	int old = take_stderr(dup(fileno(f)));
	/* What others write into the same file must stay. */
	assert_int_equal(write(STDERR_FILENO, "before\n", 7), 7);
	log_info("test.line");
	assert_int_equal(write(STDERR_FILENO, "after\n", 6), 6);
	give_stderr(old);
	rewind(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	(void)fclose(f); /* nothing was written by it */
	assert_memory_equal(text, "before\n", 7);
	assert_non_null(strstr(text, " test.line\nafter\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_pipe_stops_nobody),
		cmocka_unit_test(full_socket_stops_nobody),
		cmocka_unit_test(full_terminal_stops_nobody),
		cmocka_unit_test(file_is_written_as_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
