/* SPDX-License-Identifier: MIT */

#include "client_io.h"

#include "base/clock.h"
#include "base/mem.h"
#include "crypto/password.h"
#include "engine/client/sigline.h"
#include "engine/dataplane/dataplane.h"
#include "io/loop.h"
#include "io/resolve.h"
#include "io/route.h"
#include "io/tun.h"
#include "io/udp.h"
#include "io/unix.h"
#include "io/worker.h"
#include "io/ws_client.h"
#include "recording_dataplane.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_MAX 32

struct client_io client_io;

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* --- clock and timers ------------------------------------------------------------------------------- */

struct loop {
	int nothing;
};

struct loop *client_io_loop(void)
{
	static struct loop one;

	return &one;
}

struct loop_timer {
	struct loop_timer *next;
	uint64_t at_us; /* 0: stopped */
	loop_timer_fn fn;
	void *user;
};

struct loop_fd {
	int fd;
	loop_fd_fn fn;
	void *user;
};

static struct loop_timer *timers;
static struct loop_fd *watched[3];

uint64_t clock_now_us(void)
{
	return client_io.now_us;
}

int64_t clock_unix_s(void)
{
	return 1700000000 + (int64_t)(client_io.now_us / 1000000);
}

int loop_timer_new(struct loop_timer **out, struct loop *l, loop_timer_fn fn, void *user)
{
	struct loop_timer *t = mem_new(struct loop_timer);

	(void)l;
	must(t != NULL);
	*t = (struct loop_timer){.next = timers, .fn = fn, .user = user};
	timers = t;
	*out = t;
	return 0;
}

void loop_timer_start(struct loop_timer *t, uint64_t delay_us)
{
	t->at_us = client_io.now_us + delay_us;
}

void loop_timer_stop(struct loop_timer *t)
{
	t->at_us = 0;
}

void loop_timer_close(struct loop_timer *t)
{
	for (struct loop_timer **p = &timers; *p != NULL; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			mem_free(t);
			return;
		}
	}
}

static struct loop_timer *next_timer(void)
{
	struct loop_timer *first = NULL;

	for (struct loop_timer *t = timers; t != NULL; t = t->next) {
		if (t->at_us != 0 && (first == NULL || t->at_us < first->at_us))
			first = t;
	}
	return first;
}

void client_io_pass(uint64_t us)
{
	uint64_t until_us = client_io.now_us + us;
	struct loop_timer *t;

	for (int i = 0; i < 100 && (t = next_timer()) != NULL && t->at_us <= until_us; i++) {
		client_io.now_us = GV_MAX(client_io.now_us, t->at_us);
		t->at_us = 0;
		t->fn(t->user);
	}
	client_io.now_us = until_us;
}

int loop_fd_new(struct loop_fd **out, struct loop *l, int fd, loop_fd_fn fn, void *user)
{
	struct loop_fd *w = mem_new(struct loop_fd);

	(void)l;
	must(w != NULL && fd > 0 && fd < 3);
	*w = (struct loop_fd){.fd = fd, .fn = fn, .user = user};
	watched[fd] = w;
	*out = w;
	return 0;
}

int loop_fd_start(struct loop_fd *w, unsigned events)
{
	(void)w;
	(void)events;
	return 0;
}

void loop_fd_close(struct loop_fd *w)
{
	if (w == NULL)
		return;
	watched[w->fd] = NULL;
	mem_free(w);
}

void client_io_ready(int fd)
{
	if (watched[fd] != NULL)
		watched[fd]->fn(watched[fd]->user, LOOP_READABLE);
}

/* --- workers and look-ups ----------------------------------------------------------------------------- */

static struct job {
	worker_work_fn work;
	worker_done_fn done;
	void *user;
} jobs[JOBS_MAX];

struct resolve {
	struct resolve *next;
	resolve_fn fn;
	void *user;
};

static unsigned n_jobs;
static struct resolve *look_ups;

int worker_start(struct loop *loop, worker_work_fn work, worker_done_fn done, void *user)
{
	(void)loop;
	if (n_jobs == JOBS_MAX)
		return -ENOMEM;
	jobs[n_jobs++] = (struct job){.work = work, .done = done, .user = user};
	return 0;
}

int resolve_start(struct resolve **out, struct loop *loop, const char *host, uint16_t port,
                  resolve_fn fn, void *user)
{
	struct resolve *r = mem_new(struct resolve);

	(void)loop;
	(void)host;
	(void)port;
	must(r != NULL);
	*r = (struct resolve){.next = look_ups, .fn = fn, .user = user};
	look_ups = r;
	*out = r;
	return 0;
}

void resolve_cancel(struct resolve *r)
{
	for (struct resolve **p = &look_ups; *p != NULL; p = &(*p)->next) {
		if (*p == r) {
			*p = r->next;
			mem_free(r);
			return;
		}
	}
}

void client_io_work(void)
{
	const struct netaddr found = netaddr_ip4(0xcb007101, 3478);

	while (n_jobs > 0) {
		struct job j = jobs[--n_jobs];

		j.work(j.user);
		j.done(j.user);
	}
	while (look_ups != NULL) {
		struct resolve *r = look_ups;

		look_ups = r->next;
		r->fn(r->user, &found, 1);
		mem_free(r);
	}
}

/* Half a second and 128 MB of scrypt are for others. */
int password_to_seed(const char *password, const void *salt, size_t salt_len,
                     uint8_t out[static PASSWORD_SEED_SIZE])
{
	memset(out, 0, PASSWORD_SEED_SIZE);
	memcpy(out, salt, GV_MIN(salt_len, (size_t)8));
	memcpy(out + 8, password, GV_MIN(strlen(password), (size_t)16));
	return 0;
}

/* --- interface, routes, sockets ------------------------------------------------------------------------ */

struct route {
	int nothing;
};

struct tun_pool {
	int nothing;
};

struct route *client_io_route(void)
{
	static struct route one;

	return &one;
}

struct tun_pool *client_io_tuns(void)
{
	static struct tun_pool one;

	return &one;
}

int tun_attach(struct tun_pool *p, const char *name, struct tun *out, struct diag *diag)
{
	(void)p;
	if (client_io.tun_result != TUN_OK) {
		diag_set(diag, "no interface");
		return client_io.tun_result;
	}
	*out = (struct tun){.fd = 50, .ifindex = 9};
	(void)snprintf(out->name, sizeof(out->name), "%s", name);
	return TUN_OK;
}

void tun_detach(struct tun_pool *p, struct tun *t)
{
	(void)p;
	t->fd = -1;
}

int route_link_up(struct route *r, uint32_t ifindex, uint32_t mtu_bytes, uint32_t gso_packets)
{
	(void)r;
	(void)ifindex;
	(void)mtu_bytes;
	(void)gso_packets;
	return client_io.route_result;
}

int route_addr_add(struct route *r, uint32_t ifindex, const struct netaddr *addr, uint8_t bits)
{
	(void)r;
	(void)ifindex;
	(void)addr;
	(void)bits;
	return client_io.route_result;
}

int route_add(struct route *r, const struct netprefix *dst, uint32_t ifindex)
{
	(void)r;
	(void)dst;
	(void)ifindex;
	return client_io.route_result;
}

int route_del(struct route *r, const struct netprefix *dst, uint32_t ifindex)
{
	return route_add(r, dst, ifindex);
}

int route_addrs(struct route *r, struct route_addr **out, size_t *count)
{
	struct route_addr *a = mem_new_array(struct route_addr, 2);

	(void)r;
	must(a != NULL);
	a[0] = (struct route_addr){
		.ifindex = 2, .addr = netaddr_ip4(0xc0000201, 0), .bits = 24, .usable = true};
	/* In the subnet of the network of the fuzzer. */
	a[1] = (struct route_addr){
		.ifindex = 3, .addr = netaddr_ip4(0x0a530c63, 0), .bits = 24, .usable = true};
	*out = a;
	*count = client_io.address_conflict ? 2 : 1;
	return 0;
}

int route_entries(struct route *r, struct route_entry **out, size_t *count)
{
	(void)r;
	*out = NULL;
	*count = 0;
	return 0;
}

int route_watch_fd(const struct route *r)
{
	(void)r;
	return CLIENT_IO_FD_ROUTE;
}

unsigned route_watch_take(struct route *r, const char *prefix)
{
	(void)r;
	(void)prefix;
	return ROUTE_CHANGE_OTHERS;
}

int udp_open(const struct netaddr *bind, struct udp *out)
{
	if (client_io.udp_result != UDP_OK)
		return client_io.udp_result;
	*out = (struct udp){.fd = 60, .family = bind->family};
	return UDP_OK;
}

int udp_local(const struct udp *u, struct netaddr *out)
{
	(void)u;
	*out = netaddr_ip4(0, 5000);
	return 0;
}

struct udp udp_adopt(int fd)
{
	return (struct udp){.fd = fd};
}

void udp_close(struct udp *u)
{
	*u = UDP_NULL;
}

/* --- the data plane's queue ------------------------------------------------------------------------------ */

static struct dataplane_event event;

unsigned dataplane_train_packets(uint16_t mtu)
{
	(void)mtu;
	return 40;
}

int dataplane_event_fd(const struct dataplane *d)
{
	(void)d;
	return CLIENT_IO_FD_DATAPLANE;
}

const struct dataplane_event *dataplane_event(struct dataplane *d)
{
	(void)d;
	return recording_next(&event) ? &event : NULL;
}

void dataplane_event_done(struct dataplane *d, const struct dataplane_event *e)
{
	(void)d;
	must(e == &event);
}

const char *dataplane_drop_name(enum dataplane_drop d)
{
	return (unsigned)d < DATAPLANE_DROPS ? "drop" : NULL;
}

/* --- lines to servers --------------------------------------------------------------------------------------- */

struct ws_clients {
	int nothing;
};

struct sigline {
	struct state_server server; /* owned */
	struct client_io_line *line;
	struct loop_timer *timer;
};

int ws_clients_new(struct ws_clients **out, struct loop *loop)
{
	static struct ws_clients all;

	(void)loop;
	*out = &all;
	return 0;
}

void ws_clients_close(struct ws_clients *all)
{
	(void)all;
}

static int line_open(void *user)
{
	struct client_io_line *l = user;

	l->open = true;
	l->up = false;
	return 0;
}

static int line_send(void *user, const char *text, size_t len)
{
	struct client_io_line *l = user;

	must(l->open && l->up && len > 0);
	client_io.sent(l, text, len);
	return 0;
}

static void line_close(void *user)
{
	struct client_io_line *l = user;

	must(l->open);
	l->open = l->up = false;
}

void sigline_touch(struct sigline *l)
{
	uint64_t at = sigclient_deadline_us(l->line->client);

	loop_timer_start(l->timer, at > client_io.now_us ? at - client_io.now_us : 0);
}

static void on_timer(void *user)
{
	struct sigline *l = user;

	sigclient_timeout(l->line->client, client_io.now_us);
	sigline_touch(l);
}

int sigline_new(struct sigline **out, struct loop *loop, struct ws_clients *ws,
                const struct state_server *server, const struct sigclient_config *config)
{
	struct sigline *l = mem_new(struct sigline);
	struct sigclient_config own = *config;
	unsigned i = 0;

	(void)ws;
	must(l != NULL);
	while (i < CLIENT_IO_LINES && client_io.lines[i].client != NULL)
		i++;
	if (i == CLIENT_IO_LINES) {
		mem_free(l);
		return -ENOMEM;
	}
	l->line = &client_io.lines[i];
	*l->line = (struct client_io_line){0};
	must(state_server_copy(&l->server, server) == 0);
	must(loop_timer_new(&l->timer, loop, on_timer, l) == 0);
	own.server = &l->server.at;
	own.line =
		(struct sigclient_line){.open = line_open, .send = line_send, .close = line_close};
	own.line_user = l->line;
	must(sigclient_new(&l->line->client, &own, client_io.now_us) == 0);
	sigline_touch(l);
	*out = l;
	return 0;
}

void sigline_free(struct sigline *l)
{
	if (l == NULL)
		return;
	sigclient_free(l->line->client);
	l->line->client = NULL;
	loop_timer_close(l->timer);
	state_server_deinit(&l->server);
	mem_free(l);
}

struct sigclient *sigline_client(const struct sigline *l)
{
	return l->line->client;
}

const struct state_server *sigline_server(const struct sigline *l)
{
	return &l->server;
}

void sigline_network_changed(struct sigline *l, const struct netaddr *addrs, size_t n)
{
	(void)addrs;
	(void)n;
	sigclient_kick(l->line->client, client_io.now_us);
	sigline_touch(l);
}

/* --- the local API -------------------------------------------------------------------------------------------- */

struct unix_client {
	int nothing;
};

static struct unix_server {
	unix_line_fn line;
	unix_gone_fn gone;
	void *user;
} local;

static struct unix_client clients[2];

int unix_server_new(struct unix_server **out, struct loop *loop, int fd_moved, const char *path,
                    unix_line_fn line, unix_gone_fn gone, void *user)
{
	(void)loop;
	(void)fd_moved;
	(void)path;
	local = (struct unix_server){.line = line, .gone = gone, .user = user};
	*out = &local;
	return 0;
}

void unix_server_close(struct unix_server *s)
{
	(void)s;
}

const struct unix_cred *unix_client_cred(const struct unix_client *c)
{
	static const struct unix_cred cred;

	(void)c;
	return &cred;
}

int unix_client_send(struct unix_client *c, const char *line, size_t len)
{
	(void)c;
	/* One line, one JSON object. */
	must(len > 2 && line[0] == '{' && line[len - 1] == '}' && memchr(line, '\n', len) == NULL);
	client_io.replies++;
	return 0;
}

void unix_client_close(struct unix_client *c)
{
	(void)c;
}

void client_io_local(unsigned who, const char *line, size_t len)
{
	struct unix_client *c = &clients[who % GV_ARRAY_SIZE(clients)];

	if (line == NULL) {
		local.gone(local.user, c);
		return;
	}
	char *copy = malloc(len + 1);
	must(copy != NULL);
	memcpy(copy, line, len);
	copy[len] = '\0';
	local.line(local.user, c, copy, len);
	free(copy);
}

void client_io_reset(void)
{
	memset(&client_io, 0, sizeof(client_io));
	client_io.now_us = 1000000000;
	n_jobs = 0;
	must(timers == NULL && look_ups == NULL);
	recording_reset();
}
