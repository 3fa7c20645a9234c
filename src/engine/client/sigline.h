/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_SIGLINE_H
#define GV_ENGINE_CLIENT_SIGLINE_H

/*
 * sigline - a sigclient on a real line: resolver, WebSocket, timer.
 *
 * Does:      looks the server's name up, tries its addresses one after the other, checks its
 *            certificate as the state says.
 * Thread:    control.
 * Memory:    one sigclient, one connection.
 */

#include "base/macro.h"
#include "base/netaddr.h"
#include "engine/client/sigclient.h"
#include "engine/client/state.h"

struct loop;
struct sigline; /* opaque */
struct ws_clients;

/*
 * fns and user are of the sigclient; server is copied. *out is owned by the caller. Returns 0;
 * -ENOMEM; -errno.
 */
int sigline_new(struct sigline **out, struct loop *loop, struct ws_clients *ws,
                const struct state_server *server, const struct sigclient_config *config)
	gv_must_check gv_nonnull(1, 2, 3, 4, 5);
/* What is queued is still sent where the line takes it at once. NULL is allowed. */
void sigline_free(struct sigline *l);

struct sigclient *sigline_client(const struct sigline *l) gv_nonnull(1);
const struct state_server *sigline_server(const struct sigline *l) gv_nonnull(1);
/* The sigclient was called from outside: look at its deadline again. */
void sigline_touch(struct sigline *l) gv_nonnull(1);

/*
 * The addresses of this computer changed (n addresses, ports ignored): a line from an address that
 * is gone is given up at once, and one that only waits is tried now.
 */
void sigline_network_changed(struct sigline *l, const struct netaddr *addrs, size_t n)
	gv_nonnull(1);

#endif /* GV_ENGINE_CLIENT_SIGLINE_H */
