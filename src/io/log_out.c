/* SPDX-License-Identifier: MIT */

#include "io/log_out.h"

#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int own_fd = -1; /* changed before there are other threads */

static ssize_t write_own(struct iovec *parts, size_t n_parts)
{
	return writev(own_fd, parts, (int)n_parts);
}

static ssize_t send_stderr(struct iovec *parts, size_t n_parts)
{
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = n_parts};

	return sendmsg(STDERR_FILENO, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int log_out_start(void)
{
	struct stat st;

	log_set_out(NULL);
	if (own_fd >= 0)
		close(own_fd);
	own_fd = -1;
	if (fstat(STDERR_FILENO, &st) != 0)
		return err_here(-errno);
	if (S_ISSOCK(st.st_mode)) {
		log_set_out(send_stderr);
		return 0;
	}
	if (!S_ISFIFO(st.st_mode) && !isatty(STDERR_FILENO))
		return 0;
	/* O_NONBLOCK belongs to the open file, which is shared with whoever started us: so one of our own. */
	own_fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own_fd < 0)
		return err_here(-errno);
	log_set_out(write_own);
	return 0;
}
