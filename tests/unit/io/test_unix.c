/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS 200 /* of the loop, until something has happened */

struct fixture {
	char dir[64], path[100];
	struct loop *loop;
	struct unix_server *server;
	unsigned lines, gone;
	char last[64];
	size_t last_len;
	struct unix_client *client;
	bool answer; /* each line comes back */
};

static struct fixture f;

static void on_line(void *user, struct unix_client *c, char *line, size_t len)
{
	assert_ptr_equal(user, &f);
	f.lines++;
	f.client = c;
	f.last_len = len;
	(void)snprintf(f.last, sizeof(f.last), "%s", line); /* may be cut */
	if (f.answer)
		assert_int_equal(unix_client_send(c, line, len), 0);
}

static bool refuse_chown;

/* In place of the libc's. */
int lchown(const char *path, uid_t owner, gid_t group)
{
	if (refuse_chown) {
		errno = EPERM;
		return -1;
	}
	return fchownat(AT_FDCWD, path, owner, group, AT_SYMLINK_NOFOLLOW);
}

static void on_gone(void *user, struct unix_client *c)
{
	assert_ptr_equal(user, &f);
	(void)c;
	f.gone++;
}

static int set_up(void **state)
{
	int fd = -1;

	f = (struct fixture){0};
	(void)snprintf(f.dir, sizeof(f.dir), "/tmp/govpn-test-XXXXXX"); /* fits */
	assert_non_null(mkdtemp(f.dir));
	(void)snprintf(f.path, sizeof(f.path), "%s/sub/s.sock", f.dir); /* fits */
	assert_int_equal(loop_new(&f.loop), 0);
	assert_int_equal(unix_bind(&fd, f.path, 0660, NULL, NULL), UNIX_OK);
	assert_int_equal(unix_server_new(&f.server, f.loop, fd, f.path, on_line, on_gone, &f), 0);
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	char sub[80];

	(void)state;
	unix_server_close(f.server);
	loop_free(f.loop);
	assert_int_not_equal(access(f.path, F_OK), 0);
	(void)snprintf(sub, sizeof(sub), "%s/sub", f.dir); /* fits */
	assert_int_equal(rmdir(sub), 0);
	assert_int_equal(rmdir(f.dir), 0);
	return 0;
}

static int dial(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	memcpy(sa.sun_path, f.path, strlen(f.path) + 1);
	assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void turn(void)
{
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(loop_run_once(f.loop), 0);
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	turn();
}

static void unix_line_in_pieces_is_one_line(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, "hel");
	assert_int_equal(f.lines, 0);
	say(fd, "lo\nnext");
	assert_int_equal(f.lines, 1);
	assert_string_equal(f.last, "hello");
	say(fd, "\n\nx\n");
	assert_int_equal(f.lines, 4);
	assert_string_equal(f.last, "x");
	close(fd);
	turn();
	assert_int_equal(f.gone, 1);
}

static void unix_reply_reaches_its_client(void **state)
{
	char got[16] = "";

	(void)state;
	f.answer = true;
	int one = dial(), two = dial();
	say(one, "first\n");
	say(two, "second\n");
	assert_int_equal(recv(one, got, sizeof(got), 0), 6);
	assert_memory_equal(got, "first\n", 6);
	assert_int_equal(recv(two, got, sizeof(got), 0), 7);
	assert_memory_equal(got, "second\n", 7);
	close(one);
	close(two);
	turn();
}

static void unix_lack_of_memory_delays_a_client(void **state)
{
	(void)state;
	int fd = dial();
	mem_fail_at(1); /* its connection */
	say(fd, "x\n");
	assert_true(mem_fail_hit());
	assert_int_equal(f.lines, 0);
	for (unsigned i = 0; i < 1000000 && f.lines == 0; i++)
		assert_int_equal(loop_run_once(f.loop), 0);
	assert_int_equal(f.lines, 1);
	close(fd);
	turn();
}

static void unix_cred_is_ours(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, "x\n");
	assert_non_null(f.client);
	const struct unix_cred *cred = unix_client_cred(f.client);
	assert_int_equal(cred->pid, getpid());
	assert_int_equal(cred->uid, getuid());
	close(fd);
	turn();
}

static void unix_endless_line_closes_the_client(void **state)
{
	static char block[4096];
	size_t sent = 0;
	bool closed = false;

	(void)state;
	memset(block, 'x', sizeof(block));
	int fd = dial();
	for (unsigned i = 0; i < ROUNDS && !closed; i++) {
		ssize_t n = send(fd, block, sizeof(block), MSG_NOSIGNAL);
		closed = n < 0 && errno != EAGAIN;
		sent += n > 0 ? (size_t)n : 0;
		turn();
	}
	assert_true(closed);
	assert_true(sent >= UNIX_LINE_MAX);
	assert_int_equal(f.lines, 0);
	assert_int_equal(f.gone, 1);
	close(fd);
}

static void unix_full_newcomer_takes_the_place_of_the_oldest_silent_one(void **state)
{
	int fds[UNIX_CLIENTS_MAX + 2];
	char c;

	(void)state;
	for (unsigned i = 0; i < UNIX_CLIENTS_MAX; i++) {
		fds[i] = dial();
		turn();
	}
	say(fds[0], "I wait for an answer\n");
	assert_int_equal(f.lines, 1);
	fds[UNIX_CLIENTS_MAX] = dial();
	say(fds[UNIX_CLIENTS_MAX], "me too\n");
	assert_int_equal(f.lines, 2);
	assert_int_equal(f.gone, 1);
	assert_int_equal(recv(fds[1], &c, 1, 0), 0);
	/* Whoever waits for an answer keeps its place: then there is none. */
	for (unsigned i = 2; i < UNIX_CLIENTS_MAX; i++)
		say(fds[i], "x\n");
	fds[UNIX_CLIENTS_MAX + 1] = dial();
	turn();
	assert_int_equal(recv(fds[UNIX_CLIENTS_MAX + 1], &c, 1, 0), 0);
	assert_int_equal(recv(fds[0], &c, 1, 0), -1);
	assert_int_equal(f.gone, 1);
	for (unsigned i = 0; i < GV_ARRAY_SIZE(fds); i++)
		close(fds[i]);
	turn();
}

static void unix_client_that_does_not_read_is_not_listened_to(void **state)
{
	static char block[65536];
	char *big = mem_alloc(1, 1024 * 1024);

	(void)state;
	assert_non_null(big);
	memset(big, 'x', 1024 * 1024);
	int fd = dial();
	say(fd, "first\n");
	assert_non_null(f.client);
	assert_int_equal(unix_client_send(f.client, big, 1024 * 1024), 0);
	mem_free(big);
	say(fd, "second\nthird\n");
	assert_int_equal(f.lines, 1);
	/* It reads: the rest is heard, in order. */
	for (unsigned i = 0; i < ROUNDS && f.lines < 3; i++) {
		assert_true(recv(fd, block, sizeof(block), 0) != 0);
		turn();
	}
	assert_int_equal(f.lines, 3);
	assert_string_equal(f.last, "third");
	assert_int_equal(f.gone, 0);
	close(fd);
	turn();
}

static void unix_closed_by_us_is_gone_once(void **state)
{
	char c;

	(void)state;
	int fd = dial();
	say(fd, "x\n");
	assert_non_null(f.client);
	unix_client_close(f.client);
	unix_client_close(f.client);
	assert_int_equal(f.gone, 1);
	turn();
	assert_int_equal(recv(fd, &c, 1, 0), 0);
	close(fd);
}

static void unix_no_descriptor_left_delays_a_client(void **state)
{
	struct rlimit before, none;

	(void)state;
	if (getenv("GOVPN_SLOW") != NULL)
		skip(); /* valgrind: the limit of descriptors is its own affair */
	int fd = dial();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = (rlim_t)fd + 1, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	say(fd, "x\n"); /* ends: the socket that stays readable is not asked again and again */
	assert_int_equal(f.lines, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (unsigned i = 0; i < 1000000 && f.lines == 0; i++)
		assert_int_equal(loop_run_once(f.loop), 0);
	assert_int_equal(f.lines, 1);
	close(fd);
	turn();
}

static void unix_client_that_never_reads_is_closed(void **state)
{
	char *big = mem_alloc(1, 1024 * 1024);
	int r = 0;

	(void)state;
	assert_non_null(big);
	memset(big, 'x', 1024 * 1024);
	int fd = dial();
	say(fd, "x\n");
	assert_non_null(f.client);
	for (unsigned i = 0; i < 16 && r == 0; i++)
		r = unix_client_send(f.client, big, 1024 * 1024);
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(f.gone, 1);
	mem_free(big);
	close(fd);
	turn();
}

static void unix_bind_on_a_live_socket_is_in_use(void **state)
{
	struct diag diag = {0};
	int fd = -1;

	(void)state;
	assert_int_equal(unix_bind(&fd, f.path, 0660, NULL, &diag), UNIX_IN_USE);
	assert_non_null(strstr(diag.text, "another govpnd"));
	assert_int_equal(fd, -1);
	turn();
}

static void unix_bind_stale_socket_is_replaced_with_its_mode(void **state)
{
	struct stat st;
	char path[110];
	int fd = -1;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s2", f.path); /* fits */
	assert_int_equal(unix_bind(&fd, path, 0660, NULL, NULL), UNIX_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	close(fd); /* as after kill -9: the file stays */
	assert_int_equal(unix_bind(&fd, path, 0600, NULL, NULL), UNIX_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	close(fd);
	assert_int_equal(unlink(path), 0);
}

/* The group of the process may be one of many people: without the right one there is none. */
static void unix_bind_without_its_group_is_for_the_owner(void **state)
{
	const struct group *own = getgrgid(getegid());
	struct diag diag = {0};
	struct stat st;
	char path[110];
	int fd = -1;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s2", f.path); /* fits */
	assert_int_equal(unix_bind(&fd, path, 0660, "no-such-group-here", &diag), UNIX_OK);
	assert_non_null(strstr(diag.text, "no-such-group-here"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	close(fd);
	if (own != NULL) {
		diag = (struct diag){0};
		assert_int_equal(unix_bind(&fd, path, 0660, own->gr_name, &diag), UNIX_OK);
		assert_string_equal(diag.text, "");
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0660);
		assert_int_equal(st.st_gid, own->gr_gid);
		close(fd);
		/* It exists, but cannot be had. */
		refuse_chown = true;
		assert_int_equal(unix_bind(&fd, path, 0660, own->gr_name, &diag), UNIX_OK);
		refuse_chown = false;
		assert_non_null(strstr(diag.text, own->gr_name));
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
		close(fd);
	}
	assert_int_equal(unlink(path), 0);
}

static void unix_bind_does_not_remove_what_is_no_socket(void **state)
{
	struct diag diag = {0};
	char path[110];
	int fd = -1;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s2", f.path); /* fits */
	int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	close(file);
	assert_int_equal(unix_bind(&fd, path, 0660, NULL, &diag), UNIX_BAD_PATH);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(unlink(path), 0);
}

static void unix_bind_path_too_long_is_refused(void **state)
{
	struct diag diag = {0};
	char path[200];
	int fd = -1;

	(void)state;
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(unix_bind(&fd, path, 0660, NULL, &diag), UNIX_BAD_PATH);
	assert_int_equal(unix_bind(&fd, "", 0660, NULL, NULL), UNIX_BAD_PATH);
}

static void unix_call_without_a_server_says_so(void **state)
{
	struct buf reply = BUF_INIT(100);
	char path[110];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s.none", f.path); /* fits */
	assert_int_equal(unix_call(path, "x", 1, &reply, 100), UNIX_NO_SERVER);
	assert_int_equal(reply.len, 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(unix_line_in_pieces_is_one_line),
		CASE(unix_reply_reaches_its_client),
		CASE(unix_lack_of_memory_delays_a_client),
		CASE(unix_cred_is_ours),
		CASE(unix_endless_line_closes_the_client),
		CASE(unix_full_newcomer_takes_the_place_of_the_oldest_silent_one),
		CASE(unix_client_that_does_not_read_is_not_listened_to),
		CASE(unix_closed_by_us_is_gone_once),
		CASE(unix_no_descriptor_left_delays_a_client),
		CASE(unix_client_that_never_reads_is_closed),
		CASE(unix_bind_on_a_live_socket_is_in_use),
		CASE(unix_bind_stale_socket_is_replaced_with_its_mode),
		CASE(unix_bind_without_its_group_is_for_the_owner),
		CASE(unix_bind_does_not_remove_what_is_no_socket),
		CASE(unix_bind_path_too_long_is_refused),
		CASE(unix_call_without_a_server_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
