/* SPDX-License-Identifier: MIT */
#ifndef GV_SUPPORT_SIGCONN_H
#define GV_SUPPORT_SIGCONN_H

/*
 * sigconn - thousands of signaling connections in one thread, for load and abuse of govpn-server.
 *
 * Does:      TCP, TLS, upgrade, login; whole messages by callback; any bytes the test wants to send. Each connection comes
 *            from the next of a range of source addresses, so that limits by address are those of many strangers.
 * Does not:  reconnect, decide what to say (sigload).
 * Thread:    one.   Memory: about 1 kB a connection, and what TLS takes.
 * Errors:    what only the machine can cause (no memory, no descriptors) ends the program with a line on stderr.
 */

#include "crypto/identity.h"
#include "proto/sig/msg.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ssl_st;
struct ssl_ctx_st;
struct sigconns;

enum sigconn_state {
	SIGCONN_CLOSED,
	SIGCONN_CONNECTING,
	SIGCONN_TLS,
	SIGCONN_HEAD, /* the upgrade was sent */
	SIGCONN_OPEN, /* a WebSocket, not logged in */
	SIGCONN_LOGIN,
	SIGCONN_READY, /* logged in */
};

/* How far _open() goes by itself. */
enum sigconn_goal {
	SIGCONN_TO_TCP,       /* bytes of the test's own; with TLS none of it */
	SIGCONN_TO_HEAD,      /* after TLS: bytes of the test's own */
	SIGCONN_TO_WEBSOCKET, /* SIGCONN_OPEN */
	SIGCONN_TO_LOGIN,     /* SIGCONN_READY */
};

struct sigconn {
	struct sigconns *all;
	enum sigconn_state state;
	enum sigconn_goal goal;
	int fd;
	struct ssl_st *ssl;
	struct identity
		*id; /* kept over several connections; borrowed unless NULL: then made at login */
	bool owns_id;
	uint8_t key[SIG_KEY_SIZE];
	uint64_t session;
	uint32_t source;          /* number of its source address */
	uint8_t *in, *out, *part; /* part: of a message in several frames */
	size_t in_n, in_cap, out_n, out_cap, part_n, part_cap;
	bool wants_write, reads_nothing; /* the latter: set by the test */
	uint64_t opened_us, ready_us, closed_us, asked_us;
	unsigned next_id;
	void *user;
};

struct sigconns {
	int epoll;
	struct sockaddr_in server, sources; /* sources: the first of them, port 0 */
	uint32_t n_sources;                 /* 0: whatever the system takes */
	struct ssl_ctx_st *tls;
	char host[64];
	size_t open;
	void *user;

	/* Reached its goal. */
	void (*ready)(struct sigconn *c);
	/* A message; freed afterwards. */
	void (*message)(struct sigconn *c, const struct msg *m);
	/* Closed by the other side or by an error; not after sigconn_close(). */
	void (*closed)(struct sigconn *c);
};

/* What cannot go on. */
void sigconn_die(const char *what) __attribute__((noreturn));

/* address: "A.B.C.D:PORT". */
void sigconns_init(struct sigconns *all, const char *address, bool tls);
/* "A.B.C.D/N" addresses from A.B.C.D on. */
void sigconns_set_sources(struct sigconns *all, const char *text);
/* Handles what happens until `until_us`, or until *stop (may be NULL). */
void sigconns_run(struct sigconns *all, uint64_t until_us, const bool *stop);

/* Begins a connection; c is zeroed or was closed. False: no source address or port is free now. */
bool sigconn_open(struct sigconns *all, struct sigconn *c, enum sigconn_goal goal);
/* Closes without a farewell. */
void sigconn_close(struct sigconn *c);
/* And forgets its identity. */
void sigconn_free(struct sigconn *c);
/* Sends m with a message id of its own. */
void sigconn_send(struct sigconn *c, struct msg *m);
/* Sends one WebSocket frame with this first byte. */
void sigconn_send_frame(struct sigconn *c, uint8_t first, const void *data, size_t n);
/* Sends bytes as they are. False: the line takes no more, nothing of it was kept. */
bool sigconn_send_bytes(struct sigconn *c, const void *data, size_t n);
void sigconn_make_identity(struct sigconn *c);

#endif /* GV_SUPPORT_SIGCONN_H */
