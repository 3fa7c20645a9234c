/* SPDX-License-Identifier: MIT */

/*
 * swarm COUNT LINK FOLDER - many members of one network in one process, each connected to the first two members alone.
 *
 * Each is the product's own client: signaling, proofs, ICE, DTLS, SCTP, with a data plane of its own. What is replaced
 * (--wrap): interfaces and routes, which are sockets that nobody reads and nothing; and the news of all other
 * members, or a thousand would make half a million paths. States are kept in FOLDER. Prints a line "joined K" for each
 * that has joined, and "failed TEXT" for each that has not; runs until it is killed.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/client/localapi.h"
#include "engine/client/mesh.h"
#include "engine/client/state.h"
#include "engine/client/supervisor.h"
#include "engine/dataplane/dataplane.h"
#include "io/loop.h"
#include "io/route.h"
#include "io/tun.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOST_MASK 0x3ffu /* of a /22 */

struct member {
	struct state *state;
	struct route *route;
	struct dataplane *dataplane;
	struct supervisor *supervisor;
};

static struct loop *loop;
static const char *link_text, *folder;
static unsigned count, started, joined;
static struct member *members;

int __wrap_tun_attach(struct tun_pool *p, const char *name, struct tun *out, struct diag *diag);
void __wrap_tun_detach(struct tun_pool *p, struct tun *t);
int __wrap_route_link_up(struct route *r, uint32_t ifindex, uint32_t mtu_bytes, uint32_t packets);
int __wrap_route_addr_add(struct route *r, uint32_t ifindex, const struct netaddr *addr,
                          uint8_t bits);
int __wrap_route_add(struct route *r, const struct netprefix *dst, uint32_t ifindex);
int __wrap_route_del(struct route *r, const struct netprefix *dst, uint32_t ifindex);
int __real_mesh_member(struct mesh *m, const struct mesh_member *member, enum mesh_news news,
                       uint64_t now_us);
int __wrap_mesh_member(struct mesh *m, const struct mesh_member *member, enum mesh_news news,
                       uint64_t now_us);
void __wrap_localapi_reply(struct localapi_call *call, json_t *object);
void __wrap_localapi_fail(struct localapi_call *call, enum exit_code exit, const char *fmt, ...)
	gv_format(3, 4);

static void must(int r, const char *what)
{
	if (r == 0)
		return;
	fprintf(stderr, "swarm: %s: %d\n", what, r);
	exit(1);
}

/* --- in place of the product's ------------------------------------------------------------------- */

int __wrap_tun_attach(struct tun_pool *p, const char *name, struct tun *out, struct diag *diag)
{
	int pair[2];

	(void)p;
	(void)diag;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	*out = (struct tun){.fd = pair[0]};
	snprintf(out->name, sizeof(out->name), "%s", name);
	return TUN_OK; /* the other end stays open for as long as the process runs */
}

void __wrap_tun_detach(struct tun_pool *p, struct tun *t)
{
	(void)p;
	close(t->fd);
}

int __wrap_route_link_up(struct route *r, uint32_t ifindex, uint32_t mtu_bytes, uint32_t packets)
{
	(void)r;
	(void)ifindex;
	(void)mtu_bytes;
	(void)packets;
	return ROUTE_OK;
}

int __wrap_route_addr_add(struct route *r, uint32_t ifindex, const struct netaddr *addr,
                          uint8_t bits)
{
	(void)r;
	(void)ifindex;
	(void)addr;
	(void)bits;
	return ROUTE_OK;
}

int __wrap_route_add(struct route *r, const struct netprefix *dst, uint32_t ifindex)
{
	(void)r;
	(void)dst;
	(void)ifindex;
	return ROUTE_OK;
}

int __wrap_route_del(struct route *r, const struct netprefix *dst, uint32_t ifindex)
{
	return __wrap_route_add(r, dst, ifindex);
}

/* The first two addresses of the subnet are those of the network's owner and of whoever joined before the swarm. */
int __wrap_mesh_member(struct mesh *m, const struct mesh_member *member, enum mesh_news news,
                       uint64_t now_us)
{
	uint32_t host = netaddr_u32(&member->ip4) & HOST_MASK;

	if (host != 1 && host != 2)
		return MESH_OK;
	return __real_mesh_member(m, member, news, now_us);
}

static void start_next(void);

void __wrap_localapi_reply(struct localapi_call *call, json_t *object)
{
	(void)call;
	json_decref(object);
	printf("joined %u\n", ++joined);
	fflush(stdout);
	start_next();
}

void __wrap_localapi_fail(struct localapi_call *call, enum exit_code exit, const char *fmt, ...)
{
	va_list args;

	(void)call;
	printf("failed (%d) ", (int)exit);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	puts("");
	fflush(stdout);
	start_next();
}

/* --- members ------------------------------------------------------------------------------------- */

static void start_member(struct member *m, unsigned number)
{
	struct localapi_request request;
	struct diag diag = {0};
	char path[512], line[1024];

	snprintf(path, sizeof(path), "%s/%u", folder, number);
	(void)mkdir(path, 0700); /* there already: a second run */
	if (state_open(&m->state, path, &diag) != STATE_OK) {
		fprintf(stderr, "swarm: %s: %s\n", path, diag.text);
		exit(1);
	}
	must(route_open(&m->route), "route_open");
	must(dataplane_new(&m->dataplane), "dataplane_new");
	const struct supervisor_config config = {.loop = loop,
	                                         .state = m->state,
	                                         .route = m->route,
	                                         .dataplane = m->dataplane,
	                                         .udp4_fd = -1,
	                                         .udp6_fd = -1,
	                                         .version = "swarm"};
	must(supervisor_new(&m->supervisor, &config), "supervisor_new");
	int n = snprintf(line, sizeof(line), "{\"verb\":\"join\",\"link\":\"%s\"}", link_text);
	if (localapi_parse(&request, line, (size_t)n, &diag) != LOCALAPI_OK) {
		fprintf(stderr, "swarm: %s\n", diag.text);
		exit(1);
	}
	/* A call is only ever handed to the two functions above. */
	supervisor_request(m->supervisor, &request, (struct localapi_call *)(void *)m);
	localapi_request_deinit(&request);
}

static void start_next(void)
{
	if (started < count) {
		unsigned number = started++;

		start_member(&members[number], number);
	}
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (argc != 4) {
		fputs("usage: swarm COUNT LINK FOLDER\n", stderr);
		return 2;
	}
	count = (unsigned)strtoul(argv[1], NULL, 10);
	link_text = argv[2];
	folder = argv[3];
	(void)signal(SIGPIPE, SIG_IGN); /* cannot fail for this signal */
	log_set_level(LOG_LEVEL_ERR);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		must(setrlimit(RLIMIT_NOFILE, &limit), "descriptors");
	}
	members = mem_new_array(struct member, count);
	must(members == NULL ? -1 : 0, "memory");
	must(loop_new(&loop), "loop_new");
	/* One after the other: libwebsockets confuses connections that open while another of its contexts is made. */
	start_next();
	return loop_run(loop) < 0;
}
