/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_SIGCLIENT_H
#define GV_ENGINE_CLIENT_SIGCLIENT_H

/*
 * sigclient - the conversation with one server: login, requests and their replies, notices,
 * reconnecting.
 *
 * Does:      answers the Challenge, matches each reply to its request, gives up on what takes too
 *            long, opens the line again after 1 to 30 s with jitter when it broke.
 * Does not:  know sockets: a line (sigline, or a fake in tests) carries text; believe anything the
 *            server says about members.
 * Thread:    control.
 * Memory:    at most SIGCLIENT_PENDING_MAX requests wait.
 * Time:      now_us is clock_now_us(); deadlines are asked for and served like in the protocol
 *            modules.
 *
 * Callbacks: never from inside sigclient_new(), _request(), _send(), _kick(). A callback may call
 *            any of these, not _free().
 */

#include "base/diag.h"
#include "base/macro.h"
#include "base/rng.h"
#include "proto/sig/link.h"
#include "proto/sig/msg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct identity;
struct sigclient; /* opaque */

#define SIGCLIENT_PENDING_MAX 128
#define SIGCLIENT_TIMEOUT_US  (15u * 1000000u) /* default of one request */

/* The line under the conversation. All calls return at once. */
struct sigclient_line {
	/*
	 * Begins to open it; then sigclient_line_up() or sigclient_line_down() is called, later.
	 * Returns 0; -errno.
	 */
	int (*open)(void *line);
	/* Returns 0; -errno. */
	int (*send)(void *line, const char *text, size_t len);
	/* Ends it, or the attempt; no sigclient_line_*() call follows. */
	void (*close)(void *line);
};

enum sigclient_result {
	SIGCLIENT_OK = 0,      /* msg is the reply of the right type */
	SIGCLIENT_ERROR = 1,   /* msg is the server's MSG_ERROR */
	SIGCLIENT_TIMEOUT = 2, /* no reply in time; the server may have done it */
	SIGCLIENT_DOWN = 3,    /* never sent: no connection to the server */
	SIGCLIENT_LOST = 4,    /* sent, then the connection broke; the server may have done it */
};

/*
 * msg is NULL unless OK or ERROR; borrowed for the call. Called exactly once for each accepted
 * request.
 */
typedef void (*sigclient_reply_fn)(void *user, enum sigclient_result result, const struct msg *msg);

struct sigclient_fns {
	/* Logged in: requests reach the server. */
	void (*up)(void *user, const struct msg_authenticated *welcome);
	/* Not any more. */
	void (*down)(void *user);
	/*
	 * A notice or a forwarded message of the server; an MSG_ERROR without a request among them.
	 */
	void (*notice)(void *user, const struct msg *msg);
};

struct sigclient_config {
	const struct link_server *server; /* copied */
	const struct identity *id;        /* borrowed until sigclient_free() */
	uint64_t session;
	const char *name; /* of this computer; copied */
	struct sigclient_line line;
	void *line_user;
	struct sigclient_fns fns;
	void *user; /* of fns */
	struct rng rng;
};

/* *out is owned by the caller. Connects at the first sigclient_timeout(). Returns 0; -ENOMEM. */
int sigclient_new(struct sigclient **out, const struct sigclient_config *config, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);
/* Closes the line. Requests that wait are dropped without a call. NULL is allowed. */
void sigclient_free(struct sigclient *c);

/*
 * Sends a request; m->id is set by the call. Before the login it waits for it, and fails with
 * SIGCLIENT_DOWN as soon as an attempt to connect failed. Returns 0; -ENOBUFS too many wait;
 * -ENOMEM; -errno.
 */
int sigclient_request(struct sigclient *c, struct msg *m, uint64_t now_us, sigclient_reply_fn fn,
                      void *user) gv_must_check gv_nonnull(1, 2, 4);
/* Forgets the requests of this user: no call any more. */
void sigclient_forget(struct sigclient *c, const void *user) gv_nonnull(1);
/* Sends a message that has no reply. Returns 0; -ENOTCONN not logged in (dropped); -errno. */
int sigclient_send(struct sigclient *c, struct msg *m) gv_must_check gv_nonnull(1, 2);
/* Somebody waits for this server, or the network changed: connect now if we are only waiting. */
void sigclient_kick(struct sigclient *c, uint64_t now_us) gv_nonnull(1);

bool sigclient_is_up(const struct sigclient *c) gv_nonnull(1);
/*
 * Why there is no connection: a sentence, or "" while all is well or nothing was tried. Borrowed.
 */
const char *sigclient_problem(const struct sigclient *c) gv_nonnull(1);

/* From the line. */
void sigclient_line_up(struct sigclient *c, uint64_t now_us) gv_nonnull(1);
void sigclient_line_text(struct sigclient *c, const char *text, size_t len, uint64_t now_us)
	gv_nonnull(1, 2);
void sigclient_line_down(struct sigclient *c, const char *why, uint64_t now_us) gv_nonnull(1, 2);

/* When to call sigclient_timeout(); UINT64_MAX: not needed. */
uint64_t sigclient_deadline_us(const struct sigclient *c) gv_nonnull(1);
void sigclient_timeout(struct sigclient *c, uint64_t now_us) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct sigclient *, sigclient_free)

#endif /* GV_ENGINE_CLIENT_SIGCLIENT_H */
