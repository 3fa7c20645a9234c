/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_UNIX_H
#define GV_IO_UNIX_H

/*
 * unix - lines of text over a Unix stream socket: the daemon's local API, and the command line's
 * side of it.
 *
 * Does:      binds the socket (a stale one is probed and replaced), sets mode and group, accepts,
 *            cuts the stream into lines, asks who is at the other end (SO_PEERCRED), for the log.
 * Does not:  know what a line means.
 * Thread:    control; the client calls (unix_call) belong to a program without a loop and block.
 * Memory:    at most UNIX_CLIENTS_MAX clients, each with one line of UNIX_LINE_MAX bytes in and one answer of
 *            UNIX_OUT_MAX bytes waiting out: who does not read it is not listened to. When all places are taken, a
 *            newcomer gets that of the oldest client without a question.
 */

#include "base/diag.h"
#include "base/macro.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf;
struct loop;
struct unix_server; /* opaque */
struct unix_client; /* opaque: one connection */

#define UNIX_CLIENTS_MAX 64
#define UNIX_LINE_MAX    (256 * 1024)
#define UNIX_OUT_MAX     (8 * 1024 * 1024)

struct unix_cred {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

enum unix_result {
	UNIX_OK = 0,
	UNIX_IN_USE = 1,    /* somebody answers on this socket */
	UNIX_BAD_PATH = 2,  /* too long, or what is there is no socket; diag says it */
	UNIX_DENIED = 3,    /* no right to bind there or to connect */
	UNIX_NO_SERVER = 4, /* unix_call(): nobody answers */
	UNIX_CLOSED = 5,    /* unix_call(): the server closed before a whole line came */
};

/* A whole line without its '\n', terminated; borrowed for the call. The reply may come later. */
typedef void (*unix_line_fn)(void *user, struct unix_client *c, char *line, size_t len);
/* The client is gone: no reply is possible any more. */
typedef void (*unix_gone_fn)(void *user, struct unix_client *c);

/*
 * Binds and listens, but accepts nobody yet. The mode decides who may connect. Without such a group, or the right to
 * give the socket to it, the group's bits of the mode are left out, and diag says so with UNIX_OK; group NULL keeps
 * the process's.
 */
int unix_bind(int *out_fd, const char *path, mode_t mode, const char *group, struct diag *diag)
	gv_must_check gv_nonnull(1, 2);

/*
 * Accepts on fd_moved from now on. path is removed on close. Returns 0; -ENOMEM; -errno (the
 * descriptor is closed then).
 */
int unix_server_new(struct unix_server **out, struct loop *loop, int fd_moved, const char *path,
                    unix_line_fn line, unix_gone_fn gone, void *user)
	gv_must_check gv_nonnull(1, 2, 4, 5, 6);
/*
 * Closes everything at once; no callback any more; memory goes when the loop turned. NULL is
 * allowed.
 */
void unix_server_close(struct unix_server *s);

/* Who is at the other end. */
const struct unix_cred *unix_client_cred(const struct unix_client *c) gv_nonnull(1);
/*
 * Sends len bytes and '\n'. Returns 0; -ENOBUFS too much waits already (the client is closed);
 * -ENOMEM; -errno.
 */
int unix_client_send(struct unix_client *c, const char *line, size_t len)
	gv_must_check gv_nonnull(1, 2);
/* Closes the connection; it is told as gone. Without effect on one that is closed already. */
void unix_client_close(struct unix_client *c) gv_nonnull(1);

/*
 * For programs without a loop: connects, sends one line, appends the reply line (without '\n') to
 * `reply`. Blocks at most timeout_ms. Returns UNIX_OK, UNIX_NO_SERVER, UNIX_DENIED, UNIX_CLOSED,
 * UNIX_BAD_PATH; -ETIMEDOUT; -ENOBUFS; -ENOMEM; -errno.
 */
int unix_call(const char *path, const char *line, size_t len, struct buf *reply, int timeout_ms)
	gv_must_check gv_nonnull(1, 2, 4);

#endif /* GV_IO_UNIX_H */
