/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_WS_SERVER_H
#define GV_IO_WS_SERVER_H

/*
 * ws_server - HTTP and WebSocket on listening TCP sockets, with or without TLS.
 *
 * Does:      accepts, limits connections in all and for each address block, upgrades at /ws, gives whole text messages, asks
 *            for what is to be sent when the line is free, answers GET and HEAD by one callback, pings, cuts the slow.
 * Does not:  queue outgoing messages (the user keeps them), know what they mean.
 * Thread:    control.
 * Memory:    an incoming message of at most the connection's limit, all of them together at most
 *            WS_SERVER_IN_MAX; one shared buffer for sending. An address block gets a sixteenth of what is left, of this and of
 *            the connections.
 * Time:      TLS handshake, HTTP head and upgrade must be done within timeout_s; a message that has begun must be whole
 *            within timeout_s and a second for each 16 KiB of it; a line must take something of what waits each timeout_s.
 *
 * Callbacks: `message`, `next`, `sent` and `closed` belong to a connection for which `open` returned true. After
 * `closed` nothing follows. Calling ws_conn_*() inside any of them is allowed.
 */

#include "base/buf.h"
#include "base/diag.h"
#include "base/macro.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct ws_server; /* opaque */
struct ws_conn;   /* opaque */

#define WS_SERVER_IN_MAX     (128u * 1024 * 1024)
#define WS_SERVER_LISTEN_MAX 8
#define WS_SERVER_BODY_MAX   65536
/* A silent connection is pinged, and cut when no answer comes. */
#define WS_SERVER_PING_S   30
#define WS_SERVER_HANGUP_S 45

struct ws_server_config {
	const char *cert_path, *key_path; /* PEM; both NULL: no TLS. Borrowed for the call */
	size_t max_conns;                 /* TCP connections */
	size_t max_conns_block;           /* of one IPv4 address or IPv6 /56, in an empty server */
	unsigned timeout_s;
	bool trust_forwarded; /* a proxy on loopback says the client's address by X-Forwarded-For */
};

struct ws_request {
	const char *path; /* without the query */
	struct netaddr remote;
};

struct ws_response {
	unsigned status;
	const char *type; /* of the content; a constant string */
	struct buf body;  /* freed by ws_server */
};

struct ws_server_fns {
	/* A WebSocket is open. False: closed at once, without `closed`. *conn_user goes with the other callbacks. */
	bool (*open)(void *user, struct ws_conn *c, const struct netaddr *remote,
	             const struct netaddr *local, void **conn_user);
	/*
	 * A whole message, borrowed for the call. One above the limit is given cut off one byte behind the limit, and the
	 * rest of it is dropped.
	 */
	void (*message)(void *user, void *conn_user, const char *text, size_t len);
	/* What to send next: true and it stays as it is until `sent` or `closed`. */
	bool (*next)(void *user, void *conn_user, const char **text, size_t *len);
	void (*sent)(void *user, void *conn_user);
	void (*closed)(void *user, void *conn_user);
	/* GET or HEAD of a path that is not /ws. `out` is zeroed but for the limit of its body. */
	void (*http)(void *user, const struct ws_request *request, struct ws_response *out);
};

enum ws_server_result {
	WS_SERVER_OK = 0,
	WS_SERVER_BAD_CERT = 1,    /* certificate or key cannot be used; diag says so */
	WS_SERVER_IN_USE = 2,      /* another program listens there */
	WS_SERVER_DENIED = 3,      /* a privileged port */
	WS_SERVER_BAD_ADDRESS = 4, /* not an address of this computer, or no such family */
};

/* fns is copied. *out is closed by ws_server_close(). Returns WS_SERVER_OK, WS_SERVER_BAD_CERT; -ENOMEM; -errno. */
int ws_server_new(struct ws_server **out, struct loop *loop, const struct ws_server_config *config,
                  const struct ws_server_fns *fns, void *user, struct diag *diag)
	gv_must_check gv_nonnull(1, 2, 3, 4);

/*
 * Listens at one more address; port 0 takes a free one. *bound (may be NULL) gets the real one. diag has a sentence for
 * results > 0. Returns WS_SERVER_OK, _IN_USE, _DENIED, _BAD_ADDRESS; -ENOSPC too many; -errno.
 */
int ws_server_listen(struct ws_server *s, const struct netaddr *addr, struct netaddr *bound,
                     struct diag *diag) gv_must_check gv_nonnull(1, 2);

/* Stops accepting; what is open stays. */
void ws_server_stop_listening(struct ws_server *s) gv_nonnull(1);

/* TCP connections now. */
size_t ws_server_conns(const struct ws_server *s) gv_nonnull(1);

/*
 * Closes everything, with `closed` for each open connection, and frees; turns the loop a few times. Not from inside a
 * callback. NULL is allowed.
 */
void ws_server_close(struct ws_server *s);

/* Longest message that is taken from now on; WS_CONN_LIMIT_FIRST after `open`. */
#define WS_CONN_LIMIT_FIRST 8192
void ws_conn_set_limit(struct ws_conn *c, size_t bytes) gv_nonnull(1);
/* `next` has something. */
void ws_conn_write(struct ws_conn *c) gv_nonnull(1);
/* Closes when `next` has nothing more, or after 5 s. */
void ws_conn_close(struct ws_conn *c) gv_nonnull(1);

#endif /* GV_IO_WS_SERVER_H */
