/* SPDX-License-Identifier: MIT */
#ifndef GV_FUZZ_CLIENT_IO_H
#define GV_FUZZ_CLIENT_IO_H

/*
 * client_io - everything below the supervisor that touches the system, without the system: clock, timers, workers, interface and
 * routes, sockets, the disk, the resolver, lines to servers. Timers and workers run when client_io_*() says so.
 */

#include "base/netaddr.h"
#include "engine/client/sigclient.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_IO_LINES 4

struct client_io_line {
	struct sigclient *client; /* NULL: no such server */
	bool open;                /* the client wants it open */
	bool up;
};

struct client_io {
	uint64_t now_us;
	struct client_io_line lines[CLIENT_IO_LINES];
	int tun_result, route_result, udp_result; /* what the system says */
	bool disk_full, address_conflict;
	/* What the local API said; of all clients. */
	unsigned replies;
	void (*sent)(struct client_io_line *line, const char *text, size_t len); /* to a server */
};

extern struct client_io client_io;

void client_io_reset(void);
/* Something to hand on. */
struct loop *client_io_loop(void);
struct route *client_io_route(void);
struct tun_pool *client_io_tuns(void);
/* Timers that are due until then, in their order; then it is then. */
void client_io_pass(uint64_t us);
/* Workers and look-ups end. */
void client_io_work(void);
/* Something waits on a descriptor: the data plane's (1) or the routes' (2). */
void client_io_ready(int fd);
/* A client of the local API says a line, or goes (line NULL). */
void client_io_local(unsigned who, const char *line, size_t len);

#define CLIENT_IO_FD_DATAPLANE 1
#define CLIENT_IO_FD_ROUTE     2

#endif /* GV_FUZZ_CLIENT_IO_H */
