/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_SERVER_HUB_H
#define GV_ENGINE_SERVER_HUB_H

/*
 * hub - the signaling server without its sockets: connections, logins, networks, presence, forwarding.
 *
 * Does:      takes the JSON text of each connection and queues what is to be sent to it and to others.
 * Does not:  sockets, TLS, HTTP (io/ws_server), threads, reading a clock.
 * Pull:      after every call that takes a time, ask hub_ready() for the connections that have something to send or are to
 *            be closed, and hub_deadline_us() for the next hub_timeout(). No callbacks.
 * Thread:    control.
 * Memory:    bounded: connections by max_conns, the queue of each by HUB_QUEUE_MAX, all queues together by
 *            queues_bytes. A text that goes to many is kept once.
 * Time:      struct hub_time in each call.
 * Blocking:  requests that change something wait for the disk (store).
 */

#include "base/macro.h"
#include "base/netaddr.h"
#include "base/rng.h"
#include "engine/server/quota.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hub;      /* opaque */
struct hub_conn; /* opaque */
struct store;

/* A connection whose own queue is longer than this is a slow reader and is closed; a whole network fits. */
#define HUB_QUEUE_MAX (5u * 1024 * 1024)
/* A member whose queue is longer than this gets no more forwarded messages until it reads. */
#define HUB_FORWARD_MAX (2u * 1024 * 1024)

#define HUB_FIRST_MAX 8192 /* bytes of a message before login */

#define HUB_AUTH_TIMEOUT_US (10 * UINT64_C(1000000))
/* From the notice of a shutdown until the connections are closed. */
#define HUB_SHUTDOWN_S    1
#define HUB_NAMES_MAX     16
#define HUB_STUN_MAX      8
#define HUB_NETWORKS_CONN 64 /* networks that one computer is connected to at a time */
/* A picture costs one token, another for each so many members or bytes of document. */
#define HUB_PICTURE_MEMBERS   64
#define HUB_PICTURE_BYTES     32768
#define HUB_CLOCK_AHEAD_MAX_S 900 /* a signing time further in the future is refused */

struct hub_time {
	uint64_t us;    /* monotonic */
	int64_t unix_s; /* wall clock */
};

struct hub_limits {
	size_t max_conns;
	size_t queues_bytes;       /* of all connections; then the longest queue is closed */
	uint64_t networks;         /* on this server */
	uint32_t networks_owned;   /* by one key */
	uint32_t networks_joined;  /* by one key */
	uint32_t members;          /* of one network */
	struct quota_rate message; /* of one connection, of any type */
	struct quota_rate request; /* of one connection, without offers, answers and candidates */
	struct quota_rate change;  /* of one address block: what writes or reads much */
	struct quota_rate picture; /* of one key: networks shown, HUB_PICTURE_MEMBERS a token */
	struct quota_rate create;  /* of one address block: networks */
	struct quota_rate login;   /* of one address block: connections */
};

/* What a person's server may take. */
#define HUB_LIMITS_DEFAULT                                                       \
	((struct hub_limits){.max_conns = 20000,                                 \
	                     .queues_bytes = 256u * 1024 * 1024,                 \
	                     .networks = 100000,                                 \
	                     .networks_owned = 32,                               \
	                     .networks_joined = 256,                             \
	                     .members = 4096,                                    \
	                     .message = {.per_minute = 200 * 60, .burst = 8192}, \
	                     .request = {.per_minute = 20 * 60, .burst = 400},   \
	                     .picture = {.per_minute = 120, .burst = 400},       \
	                     .create = {.per_minute = 4, .burst = 64},           \
	                     .change = {.per_minute = 60, .burst = 120},         \
	                     .login = {.per_minute = 6000, .burst = 12000}})

struct hub_config {
	struct store *store; /* borrowed until hub_free() */
	struct hub_limits limits;
	/*
	 * "host:port" names this server answers to, lower case; borrowed for hub_new(). The address that a connection
	 * arrived at is one as well, and on loopback "localhost".
	 */
	const char *names[HUB_NAMES_MAX];
	size_t n_names;
	/* STUN sockets, bound. One at any address is told to a client under the host it dialled. */
	struct netaddr stun[HUB_STUN_MAX];
	size_t n_stun;
	int64_t address_rest_s; /* how long the address of one that left is kept */
	int64_t expire_s;       /* networks unused for so long are deleted; 0: never */
	struct rng rng;
};

struct hub_stats {
	int64_t start_unix_s;
	uint64_t connections_total, messages, forwarded, refused, superseded;
	uint64_t networks_created, networks_expired, joins, failed_joins, kicks;
	uint64_t slow_readers, login_timeouts;
	int64_t last_cleanup_unix_s;
	/* Now. */
	size_t connections, peak_connections, computers, active_networks, peak_networks;
	size_t queued_bytes;
	uint64_t networks, members; /* on disk */
};

/* *out is owned by the caller. Counts what is in the store. Returns 0; -ENOMEM; -errno. */
int hub_new(struct hub **out, const struct hub_config *config, const struct hub_time *t)
	gv_must_check gv_nonnull(1, 2, 3);
/* Frees with all connections. NULL is allowed. */
void hub_free(struct hub *h);

enum hub_result {
	HUB_OK = 0,
	HUB_BUSY = 1, /* too many connections, or too fast from this address: close the socket */
};

/*
 * A socket was opened; its Challenge is queued. *out is borrowed: it lives until hub_close(). `user` is for the caller,
 * given back by hub_conn_user(). Returns HUB_OK, HUB_BUSY; -ENOMEM.
 */
int hub_open(struct hub *h, const struct netaddr *remote, const struct netaddr *local, void *user,
             const struct hub_time *t, struct hub_conn **out)
	gv_must_check gv_nonnull(1, 2, 3, 5, 6);

/* The socket is gone: presence ends, others are told. The connection is freed. */
void hub_close(struct hub *h, struct hub_conn *c, const struct hub_time *t) gv_nonnull(1, 2, 3);

/* One text message of `len` bytes arrived. */
void hub_input(struct hub *h, struct hub_conn *c, const char *text, size_t len,
               const struct hub_time *t) gv_nonnull(1, 2, 3, 5);

/* The next connection that has something new to send or is to be closed; each is given once per news. NULL: none. */
struct hub_conn *hub_ready(struct hub *h) gv_nonnull(1);

void *hub_conn_user(const struct hub_conn *c) gv_nonnull(1);
/* The oldest queued text: true and it is borrowed until hub_output_done() or hub_close(). */
bool hub_output(const struct hub_conn *c, const char **text, size_t *len) gv_nonnull(1, 2, 3);
/* It was sent. */
void hub_output_done(struct hub *h, struct hub_conn *c) gv_nonnull(1, 2);
bool hub_conn_is_authenticated(const struct hub_conn *c) gv_nonnull(1);
/* To be closed when the queue is empty. */
bool hub_conn_is_closing(const struct hub_conn *c) gv_nonnull(1);
/* Logged in: the beginning of the computer's key, for logs; else "". Returns out. */
const char *hub_conn_label(const struct hub_conn *c, char out[static 16]) gv_nonnull(1, 2);

uint64_t hub_deadline_us(const struct hub *h) gv_nonnull(1);
void hub_timeout(struct hub *h, const struct hub_time *t) gv_nonnull(1, 2);

/* Tells everybody that the server ends; from now on requests and new connections are refused. */
void hub_shutdown(struct hub *h) gv_nonnull(1);

void hub_stats(const struct hub *h, struct hub_stats *out) gv_nonnull(1, 2);

GV_DEFINE_CLEANUP(struct hub *, hub_free)

#endif /* GV_ENGINE_SERVER_HUB_H */
