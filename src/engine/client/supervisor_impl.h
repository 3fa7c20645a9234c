/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_SUPERVISOR_IMPL_H
#define GV_ENGINE_CLIENT_SUPERVISOR_IMPL_H

/*
 * supervisor_impl - what the parts of the supervisor share. Not for others.
 *
 *   supervisor.c  start and end, events of the data plane, addresses of the computer, the broadcast
 *                 route
 *   server.c      one signaling connection for all networks of a server
 *   network.c     one network while it is up: connect, answers, documents, members
 *   tunnel.c      the interface of a network: name, addresses, sockets, data plane
 *   request.c     what people mean, and which verb does it
 *   join.c        create and join
 *   verbs.c       up, down, leave, ping, set
 *   owner.c       what only the owner can do: invite, kick, unban, rename
 *   status.c      how networks look in JSON
 */

#include "base/diag.h"
#include "base/netaddr.h"
#include "base/rng.h"
#include "engine/client/mesh.h"
#include "engine/client/sigclient.h"
#include "engine/client/sigline.h"
#include "engine/client/state.h"
#include "engine/client/subnet.h"
#include "engine/client/supervisor.h"
#include "io/tun.h"
#include "io/udp.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cert;
struct loop_fd;
struct loop_timer;

#define SUPERVISOR_MTU         1380
#define SUPERVISOR_RESOLV_CONF "/etc/resolv.conf"
/* Bound on what waits for replies at a time: each client of the local API has one. */
#define SUPERVISOR_OPS_MAX 128

/* --- server.c --- */

struct server {
	struct server *next;
	struct supervisor *sup;
	struct sigline *line;    /* owned */
	unsigned users;          /* networks and operations that need it */
	struct loop_timer *idle; /* closes it some time after the last user */
	struct netaddr stun[MESH_MAX_STUN];
	size_t n_stun;
	struct server_lookup *lookups; /* names of STUN servers being resolved */
};

/*
 * The connection to this server, made when it is the first user. NULL: too many servers, or no
 * memory.
 */
struct server *server_get(struct supervisor *s, const struct state_server *at) gv_nonnull(1, 2);
void server_put(struct server *srv);
void server_free_all(struct supervisor *s) gv_nonnull(1);
/* As in sigclient.h, and looks at the deadline again. */
int server_request(struct server *srv, struct msg *m, sigclient_reply_fn fn, void *user)
	gv_must_check gv_nonnull(1, 2, 3);
int server_send(struct server *srv, struct msg *m) gv_must_check gv_nonnull(1, 2);
bool server_is_up(const struct server *srv) gv_nonnull(1);
const char *server_problem(const struct server *srv) gv_nonnull(1);

/* --- network.c --- */

enum network_phase {
	NETWORK_DOWN,
	NETWORK_WAITING, /* to be up; no interface yet */
	NETWORK_UP,      /* interface and mesh are there */
	NETWORK_CLOSING, /* until peers and data plane let go */
};

struct network {
	struct supervisor *sup;
	struct state_network *st; /* owned by the state */
	struct server *server;    /* while not down */
	enum network_phase phase;
	bool signaling; /* the server connected us to this network */
	bool asked;     /* ConnectNetwork is under way */
	bool restart;   /* after NETWORK_CLOSING begin again */
	bool again;     /* after NETWORK_CLOSING wait, then try again: it could not be opened */
	bool remove;    /* after NETWORK_CLOSING forget the network */
	int not_saved;  /* that it is forgotten: 0 or -errno; the next save does it */
	struct diag problem; /* why it is not up, or has no signaling; empty while all is well */
	enum exit_code problem_exit;
	bool blocked;   /* by a subnet conflict: try again when addresses change */
	uint64_t order; /* of connecting: the highest is the most recent */
	struct netaddr ip4, ip6;

	uint32_t handle; /* in the data plane; 0 none */
	struct tun tun;
	bool tun_attached, in_dataplane, del_asked;
	bool pumping;             /* network_pump() is on the stack */
	uint64_t attach_until_us; /* a busy interface name is tried again until then */
	unsigned port_index;
	uint16_t udp4_port, udp6_port;
	struct dataplane_stats *shared; /* owned until NET_GONE */
	struct mesh *mesh;              /* owned */
	struct loop_timer *timer;       /* deadline of the mesh */
	struct loop_timer *retry;       /* of connecting or attaching */
};

int network_new(struct network **out, struct supervisor *s, struct state_network *st)
	gv_must_check gv_nonnull(1, 2, 3);
void network_free(struct network *n);
/* To be connected, or not, from now on. */
void network_start(struct network *n) gv_nonnull(1);
/*
 * As network_start(), by the answer to JoinNetwork, which connects already: offers may follow it at
 * once.
 */
void network_joined(struct network *n, const struct msg_network *m) gv_nonnull(1, 2);
void network_stop(struct network *n) gv_nonnull(1);
/* Gives its server back, with what it asked there: no answer comes any more. Without effect when it has none. */
void network_release_server(struct network *n) gv_nonnull(1);
/* Takes the interface of an up network down, and begins again. */
void network_restart(struct network *n) gv_nonnull(1);
/* Stops it and takes it out of the state. */
void network_forget(struct network *n) gv_nonnull(1);
/* From the server: login done, line lost, a notice or forwarded message. */
void network_server_up(struct network *n) gv_nonnull(1);
void network_server_down(struct network *n) gv_nonnull(1);
void network_notice(struct network *n, const struct msg *m) gv_nonnull(1, 2);
/* Can a computer have this address: inside the subnet, and neither its first nor its last one? */
bool network_address_fits(const struct document *doc, const struct netaddr *a) gv_nonnull(1, 2);
/*
 * Puts a verified newer document in place (moved) and saves it. A failure to save is logged, and
 * returned: 0; -errno.
 */
int network_adopt(struct network *n, struct document *doc_moved) gv_nonnull(1, 2);
/* Carries events of the mesh out; after every call of the mesh. */
void network_pump(struct network *n) gv_nonnull(1);
bool network_is_owner(const struct network *n) gv_nonnull(1);
/* Sets why it is not up. */
void network_set_problem(struct network *n, enum exit_code exit, const char *fmt, ...)
	gv_nonnull(1, 3) gv_format(3, 4);
/* The interface is gone: ends, begins again or forgets the network, as was asked for. */
void network_closed(struct network *n) gv_nonnull(1);
/* Presents our admission after a change. */
void network_send_admission(struct network *n) gv_nonnull(1);
/* From the network's id in a message: NULL when unknown. */
struct network *network_find(const struct supervisor *s, const uint8_t id[static NETID_SIZE])
	gv_nonnull(1, 2);

/* --- tunnel.c --- */

enum tunnel_result {
	TUNNEL_OK = 0,
	TUNNEL_LATER = 1,  /* the retry timer runs */
	TUNNEL_FAILED = 2, /* n->problem says why */
};

/*
 * Makes the interface with n->ip4 and n->ip6, sockets, the data plane's net and the mesh. Returns
 * TUNNEL_*; -errno.
 */
int tunnel_open(struct network *n) gv_must_check gv_nonnull(1);
/* Brings an interface that is up for us up again, with its addresses and routes; without effect on a sound one. */
void tunnel_repair(struct network *n) gv_nonnull(1);
/* Begins to close; tunnel_gone() follows when the data plane let go. */
void tunnel_close(struct network *n) gv_nonnull(1);
/* NET_GONE: takes the interface away. */
void tunnel_gone(struct network *n, int tun_fd) gv_nonnull(1);
/* The mesh may have become idle: goes on with closing. */
void tunnel_closing_step(struct network *n) gv_nonnull(1);

/* --- supervisor.c --- */

/* A request that waits for something. */
struct op {
	struct op *next;
	struct supervisor *sup;
	struct localapi_call *call;
	struct loop_timer *timer; /* gives up */
	struct network *net;      /* may be NULL */
	struct server *server;    /* may be NULL; one use of it */
	/*
	 * The network it waits for changed its phase, or got a problem: true when that was
	 * answered. NULL: not interested.
	 */
	bool (*net_changed)(struct op *op);
	/* Called once before it is freed. */
	void (*deinit)(struct op *op);
	void *data; /* of the verb; owned by deinit */
	enum exit_code timeout_exit;
	bool busy; /* a worker uses data: freed when it is done */
	bool dead; /* answered */
};

struct supervisor {
	struct supervisor_config config;
	struct cert *cert; /* of DTLS, for all meshes */
	struct ws_clients *ws;
	struct server *servers;
	struct network *nets[STATE_NETWORKS_MAX];
	size_t n_nets;
	struct op *ops;
	struct rng rng;
	uint64_t session;
	uint64_t started_us;
	uint32_t next_handle;
	uint64_t next_order;
	uint64_t next_ping;
	struct udp reserved4, reserved6; /* bound to config.udp_port while no network uses it */
	struct netaddr addrs[MESH_MAX_ADDRESSES];
	size_t n_addrs;
	uint32_t broadcast_ifindex; /* interface that has the route of 255.255.255.255; 0 none */
	struct loop_fd *dataplane_fd, *route_fd;
	struct loop_timer *addr_timer; /* changes come in bursts */
	struct loop_timer *repair_timer;
	struct loop_timer *stop_timer;
	supervisor_done_fn done; /* while stopping */
	void *done_user;
	bool stopping;
};

/* Phase or problem of n changed: wakes the operations that wait for it, and a stop. */
void supervisor_net_changed(struct network *n) gv_nonnull(1);
void supervisor_update_broadcast(struct supervisor *s) gv_nonnull(1);
/* After n's interface was down: the route is added again where it is n's. */
void supervisor_repair_broadcast(const struct network *n) gv_nonnull(1);
/* Saves the state; a failure is logged and the old file stays. Returns 0; -errno. */
int supervisor_save(struct supervisor *s) gv_nonnull(1);
/* The name this computer goes by: the chosen one, or the system's. */
void supervisor_name(const struct supervisor *s, char out[static ADMISSION_NAME_MAX + 1])
	gv_nonnull(1, 2);
/* Facts about conflicts, with the subnets of all our networks but `apart` (may be NULL). */
int supervisor_facts(struct supervisor *s, const struct network *apart, struct subnet_facts *out)
	gv_must_check gv_nonnull(1, 3);

/* An operation with a timeout; NULL (and the call answered) when there are too many. */
struct op *op_new(struct supervisor *s, struct localapi_call *call, uint64_t timeout_us)
	gv_nonnull(1, 2);
void op_reply(struct op *op, json_t *object) gv_nonnull(1);
/*
 * The worker is done with op->data. False: the operation was answered meanwhile, and is gone now.
 */
bool op_worked(struct op *op) gv_nonnull(1);
void op_fail(struct op *op, enum exit_code exit, const char *fmt, ...) gv_nonnull(1, 3)
	gv_format(3, 4);
/* From now on it waits for this network: answered when it is up, or with why it is not. */
void op_wait_up(struct op *op, struct network *n) gv_nonnull(1, 2);
/* Answers after a request to the server that did not succeed. */
void op_fail_request(struct op *op, enum sigclient_result result, const struct msg *m)
	gv_nonnull(1);

/* --- join.c, verbs.c, owner.c, status.c --- */

void verb_create(struct supervisor *s, const struct localapi_request *req,
                 struct localapi_call *call) gv_nonnull(1, 2, 3);
void verb_join(struct supervisor *s, const struct localapi_request *req, struct localapi_call *call)
	gv_nonnull(1, 2, 3);
/*
 * Signs admission a with the display name of this computer and, if given, the invite's key. Returns
 * 0; -errno.
 */
int join_sign(struct admission *a, const struct supervisor *s, const struct identity *invite)
	gv_must_check gv_nonnull(1, 2);
void verb_up(struct network *n, struct localapi_call *call) gv_nonnull(1, 2);
void verb_down(struct network *n, struct localapi_call *call) gv_nonnull(1, 2);
void verb_leave(struct network *n, const struct localapi_request *req, struct localapi_call *call)
	gv_nonnull(1, 2, 3);
void verb_ping(struct supervisor *s, const struct localapi_request *req, struct localapi_call *call)
	gv_nonnull(1, 2, 3);
/* MESH_EVENT_PONG. */
void verb_pong(struct network *n, uint64_t ping_id, uint32_t rtt_us) gv_nonnull(1);
void verb_set_name(struct supervisor *s, const struct localapi_request *req,
                   struct localapi_call *call) gv_nonnull(1, 2, 3);
void verb_set_broadcast(struct network *n, const struct localapi_request *req,
                        struct localapi_call *call) gv_nonnull(1, 2, 3);

void verb_invite(struct network *n, const struct localapi_request *req, struct localapi_call *call)
	gv_nonnull(1, 2, 3);
void verb_kick(struct network *n, const struct localapi_request *req, struct localapi_call *call)
	gv_nonnull(1, 2, 3);
void verb_unban(struct network *n, const struct localapi_request *req, struct localapi_call *call)
	gv_nonnull(1, 2, 3);
void verb_rename(struct network *n, const struct localapi_request *req, struct localapi_call *call)
	gv_nonnull(1, 2, 3);

/*
 * As owner_forked() found one: signs the present document anew, with an epoch above both, and puts it in place. Returns 0;
 * -errno.
 */
int owner_sign_again(struct network *n) gv_must_check gv_nonnull(1);
/* We own the network, and somebody has another document of the same epoch that we signed. */
bool owner_forked(const struct network *n, const struct document *doc) gv_nonnull(1, 2);

/*
 * Adds a fresh link invite to an unsigned copy of a document and writes the link. expires_s: from
 * now; 0: never.
 * Returns 0; DOCUMENT_FULL; -errno.
 */
int invite_add(struct document *doc, const struct state_server *at, uint32_t uses,
               int64_t expires_s, char link[static LINK_TEXT_SIZE])
	gv_must_check gv_nonnull(1, 2, 5);

/* New references; NULL without memory. */
json_t *status_all(const struct supervisor *s, const struct network *only) gv_nonnull(1);
json_t *status_network(const struct network *n) gv_nonnull(1);
json_t *status_list(const struct supervisor *s) gv_nonnull(1);
json_t *status_version(const struct supervisor *s) gv_nonnull(1);
json_t *status_path(const struct mesh_peer_status *p) gv_nonnull(1);
/* "anna" for people: the display name of a peer. */
const char *status_peer_name(const struct mesh_peer_status *p) gv_nonnull(1);

/* --- request.c --- */

/*
 * The network they mean by id, code or name; NULL text: the only one. NULL and an answered call
 * when there is none or more than one.
 */
struct network *find_net(const struct supervisor *s, const char *text, struct localapi_call *call)
	gv_nonnull(1, 3);
/* Does the text mean this peer: by name, label, address or key? */
bool peer_matches(const struct mesh_peer_status *p, const char *text) gv_nonnull(1, 2);

#endif /* GV_ENGINE_CLIENT_SUPERVISOR_IMPL_H */
