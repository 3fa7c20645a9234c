/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_LOCALAPI_H
#define GV_ENGINE_CLIENT_LOCALAPI_H

/*
 * localapi - what the command line may ask the daemon: one JSON object per line, one JSON object
 * back.
 *
 *   {"verb":"join","link":"https://..."}      ->  {"ok":true, ...}
 *                                             ->  {"ok":false,"code":"refused","exit":6,"message":"..."}
 *
 * Does:      parses and checks requests, writes replies, keeps the socket. Whoever may open the
 *            socket may ask everything: the file's mode and group decide who.
 * Does not:  carry requests out (supervisor).
 * Thread:    control.
 * Memory:    one request under way for each client.
 */

#include "base/diag.h"
#include "base/exit.h"
#include "base/macro.h"
#include "engine/client/state.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct localapi;      /* opaque: the socket */
struct localapi_call; /* opaque: a request that waits for its reply */
struct loop;

#define LOCALAPI_PASSWORD_MIN 10
#define LOCALAPI_PASSWORD_MAX 1024
#define LOCALAPI_USES_MAX     1000000
#define LOCALAPI_EXPIRES_MAX  (10 * 366 * 24 * 3600) /* seconds */

enum localapi_verb {
	LOCALAPI_CREATE,
	LOCALAPI_JOIN,
	LOCALAPI_INVITE,
	LOCALAPI_LIST,
	LOCALAPI_STATUS,
	LOCALAPI_UP,
	LOCALAPI_DOWN,
	LOCALAPI_LEAVE,
	LOCALAPI_PING,
	LOCALAPI_KICK,
	LOCALAPI_UNBAN,
	LOCALAPI_RENAME,
	LOCALAPI_SET_NAME,
	LOCALAPI_SET_BROADCAST,
	LOCALAPI_VERSION,
	LOCALAPI_VERBS
};

/* Strings are borrowed from `json` and NULL where absent. */
struct localapi_request {
	enum localapi_verb verb;
	const char *network; /* id, code or name; NULL: the only one */
	const char *peer;    /* name, label, address or key */
	const char *name;
	const char *password;
	bool has_server, has_link, has_subnet;
	struct state_server server; /* owned */
	struct link_invite link;
	struct netprefix subnet;
	uint32_t uses;     /* 0: any number */
	int64_t expires_s; /* from now; 0: the default */
	bool allow_rejoin, force, on;
	json_t *json; /* owned */
};

enum localapi_result {
	LOCALAPI_OK = 0,
	LOCALAPI_BAD = 1, /* diag says why: answer it as wrong usage */
};

/*
 * Parses one line. On LOCALAPI_OK *out must be given to localapi_request_deinit(). Returns
 * LOCALAPI_OK, LOCALAPI_BAD.
 */
int localapi_parse(struct localapi_request *out, const char *line, size_t len, struct diag *diag)
	gv_must_check gv_nonnull(1, 2, 4);
/* Frees, and wipes the secrets. */
void localapi_request_deinit(struct localapi_request *r) gv_nonnull(1);

/*
 * A request came; req is borrowed for the call. The call must be answered exactly once, now or
 * later.
 */
typedef void (*localapi_fn)(void *user, const struct localapi_request *req,
                            struct localapi_call *call);

/* Serves on a socket of unix_bind(). Returns 0; -errno (the descriptor is closed). */
int localapi_new(struct localapi **out, struct loop *loop, int fd_moved, const char *path,
                 localapi_fn fn, void *user) gv_must_check gv_nonnull(1, 2, 4, 5);
/*
 * Closes the socket; calls that were not answered yet may still be, into the void. NULL is allowed.
 */
void localapi_free(struct localapi *api);

/* Answers. `object` (moved, may be NULL) gets "ok":true. The call is dead afterwards. */
void localapi_reply(struct localapi_call *call, json_t *object) gv_nonnull(1);
void localapi_fail(struct localapi_call *call, enum exit_code exit, const char *fmt, ...)
	gv_nonnull(1, 3) gv_format(3, 4);

#endif /* GV_ENGINE_CLIENT_LOCALAPI_H */
