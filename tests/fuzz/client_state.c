/* SPDX-License-Identifier: MIT */

/* engine/client/state on a disk that takes everything, or nothing when it is full. */

#include "client_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Functions, so that the compiler checks what it is called with. */

static int fake_unlink(int dir, const char *name, int flags)
{
	(void)dir;
	(void)name;
	(void)flags;
	return 0;
}

static int fake_open(int dir, const char *name, int flags, ...)
{
	(void)dir;
	(void)name;
	(void)flags;
	errno = ENOSPC;
	return client_io.disk_full ? -1 : 1000;
}

static int fake_fd(int fd)
{
	(void)fd;
	return 0;
}

static ssize_t fake_write(int fd, const void *p, size_t n)
{
	(void)fd;
	(void)p;
	return (ssize_t)n;
}

static int fake_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	(void)from_dir;
	(void)from;
	(void)to_dir;
	(void)to;
	return 0;
}

#define unlinkat fake_unlink
#define openat   fake_open
#define fsync    fake_fd
#define close    fake_fd
#define write    fake_write
#define renameat fake_rename
#include "engine/client/state.c"
