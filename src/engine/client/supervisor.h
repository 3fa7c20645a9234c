/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_SUPERVISOR_H
#define GV_ENGINE_CLIENT_SUPERVISOR_H

/*
 * supervisor - the client daemon's head: networks, servers, interfaces, and what the command line
 * asks for.
 *
 * Does:      keeps every network that is to be up connected: signaling, TUN, addresses, routes, one
 *            mesh each; carries requests of the local API out; watches the system's addresses;
 *            stores documents, which only ever get newer.
 * Does not:  know packets (dataplane), links to peers (mesh), sockets of signaling (sigline).
 * Thread:    control; nothing in it waits for anything but the disk.
 * Memory:    bounded by STATE_NETWORKS_MAX networks, SUPERVISOR_SERVERS_MAX servers and the clients
 *            of the local API.
 */

#include "base/macro.h"
#include "engine/client/localapi.h"
#include "engine/client/state.h"

#include <stdint.h>

struct dataplane;
struct loop;
struct route;
struct supervisor; /* opaque */
struct tun_pool;

#define SUPERVISOR_SERVERS_MAX 16
/* Interfaces are named so; addresses and routes of these are nobody's candidates. */
#define SUPERVISOR_IFNAME_PREFIX "govpn"

struct supervisor_config {
	/* All borrowed until supervisor_free(). */
	struct loop *loop;
	struct state *state;
	struct route *route;
	struct tun_pool *tun_pool;
	struct dataplane *dataplane;
	/* The first connected network binds this port, further ones the next; 0: any. */
	uint16_t udp_port;
	int udp4_fd, udp6_fd; /* moved: sockets bound to udp_port already, or -1 */
	const char *version;  /* of the program */
};

/* Connects every network that was up. Returns 0; -ENOMEM; -errno. */
int supervisor_new(struct supervisor **out, const struct supervisor_config *config)
	gv_must_check gv_nonnull(1, 2);

/* A request of the local API: user is the supervisor. */
void supervisor_request(void *user, const struct localapi_request *req, struct localapi_call *call);

typedef void (*supervisor_done_fn)(void *user);

/*
 * Says good-bye to peers and servers and takes the interfaces down; done is called when all is
 * gone, after 3 s at the latest. What is to be up stays so for the next start.
 */
void supervisor_stop(struct supervisor *s, supervisor_done_fn done, void *user) gv_nonnull(1, 2);

/*
 * After done, or when the loop does not run any more and the data plane was freed. NULL is allowed.
 */
void supervisor_free(struct supervisor *s);

#endif /* GV_ENGINE_CLIENT_SUPERVISOR_H */
