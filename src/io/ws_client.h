/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_WS_CLIENT_H
#define GV_IO_WS_CLIENT_H

/*
 * ws_client - WebSocket connections to servers, with TLS checked by a pin, a given CA or the
 * system's.
 *
 * Does:      connects to a numeric address under a host name, upgrades at /ws, gives whole text
 *            messages, queues outgoing ones, pings each 20 s and notices a silent server.
 * Does not:  resolve names (resolve), reconnect, know messages (engine/client/sigclient).
 * Thread:    control.
 * Memory:    one incoming message of at most max_message bytes, at most WS_CLIENT_QUEUE_MAX bytes
 *            waiting out.
 */

#include "base/diag.h"
#include "base/macro.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct ws_clients; /* opaque: what all connections share */
struct ws_client;  /* opaque: one connection */

#define WS_CLIENT_PIN_SIZE  32
#define WS_CLIENT_QUEUE_MAX (4 * 1024 * 1024)

struct ws_client_config {
	struct netaddr addr; /* numeric address and port */
	const char *host;    /* name for Host, SNI and the certificate; borrowed for the call */
	bool tls;
	bool insecure; /* any certificate */
	bool has_pin; /* the certificate must have this pin (crypto/cert.h) and nothing else is checked */
	uint8_t pin[WS_CLIENT_PIN_SIZE];
	const char *
		ca_pem; /* these CAs instead of the system's; NULL: the system's; borrowed for the call */
	size_t max_message; /* bytes */
};

enum ws_client_end {
	WS_CLIENT_CLOSED = 1,   /* by the server, or the line broke */
	WS_CLIENT_REFUSED = 2,  /* no connection: nobody listens, time-out, no WebSocket there */
	WS_CLIENT_BAD_CERT = 3, /* pin, CA or host name does not match */
	WS_CLIENT_TOO_BIG = 4,  /* a message above max_message */
};

struct ws_client_fns {
	void (*open)(void *user);
	/* A whole text message; borrowed for the call. */
	void (*message)(void *user, const char *text, size_t len);
	/*
	 * The last call: the connection is over and ws_client freed itself. detail is a sentence.
	 */
	void (*closed)(void *user, enum ws_client_end why, const char *detail);
};

/* One for a loop. Returns 0; -ENOMEM; -errno. */
int ws_clients_new(struct ws_clients **out, struct loop *loop) gv_must_check gv_nonnull(1, 2);
/*
 * Closes all connections without callbacks. Turns the loop for that: call it last, outside of
 * callbacks. NULL is allowed.
 */
void ws_clients_close(struct ws_clients *all);

/*
 * Begins to connect. No callback from inside. fns is copied. On success *out lives until `closed`
 * was called or ws_client_close(). Returns 0; -EINVAL; -ENOMEM; -errno.
 */
int ws_client_open(struct ws_client **out, struct ws_clients *all,
                   const struct ws_client_config *config, const struct ws_client_fns *fns,
                   void *user) gv_must_check gv_nonnull(1, 2, 3, 4);

/* Queues a text message (copied). Returns 0; -ENOBUFS the queue is full; -ENOTCONN; -ENOMEM. */
int ws_client_send(struct ws_client *c, const char *text, size_t len)
	gv_must_check gv_nonnull(1, 2);

/* The address it connects from. Returns 0; -ENOTCONN; -errno. */
int ws_client_local(const struct ws_client *c, struct netaddr *out) gv_must_check gv_nonnull(1, 2);

/*
 * Ends it; no callback any more. What is queued is still sent where the line takes it at once. NULL
 * is allowed.
 */
void ws_client_close(struct ws_client *c);

#endif /* GV_IO_WS_CLIENT_H */
