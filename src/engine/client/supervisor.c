/* SPDX-License-Identifier: MIT */

#include "engine/client/supervisor_impl.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "crypto/cert.h"
#include "engine/client/hostaddr.h"
#include "engine/dataplane/dataplane.h"
#include "io/loop.h"
#include "io/route.h"
#include "io/ws_client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

LOG_MODULE("supervisor");

#define STOP_TIMEOUT_US (3u * 1000000u)
/* One move of a laptop gives dozens of changes. */
#define ADDR_SETTLE_US (50u * 1000u)
#define REPAIR_US      (200u * 1000u)
/* Events of the data plane between two looks at other things. */
#define EVENTS_PER_TURN 256

/*
 * --- operations
 * ---------------------------------------------------------------------------------------
 */

static void op_free(struct op *op)
{
	for (struct op **p = &op->sup->ops; *p != NULL; p = &(*p)->next) {
		if (*p == op) {
			*p = op->next;
			break;
		}
	}
	if (op->server != NULL)
		sigclient_forget(sigline_client(op->server->line), op);
	server_put(op->server);
	loop_timer_close(op->timer);
	if (op->deinit != NULL)
		op->deinit(op);
	mem_free(op);
}

/*
 * The call is answered. A worker may still use the data: then the operation goes when it is done.
 */
static void op_end(struct op *op)
{
	op->dead = true;
	op->net_changed = NULL;
	op->call = NULL;
	if (!op->busy)
		op_free(op);
}

static void check_stopped(struct supervisor *s);

bool op_worked(struct op *op)
{
	struct supervisor *s = op->sup;
	bool alive = !op->dead;

	op->busy = false;
	if (!alive) {
		op_free(op);
		check_stopped(s);
	}
	return alive;
}

void op_reply(struct op *op, json_t *object)
{
	localapi_reply(op->call, object);
	op_end(op);
}

void op_fail(struct op *op, enum exit_code exit, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args); /* may be cut off */
	va_end(args);
	localapi_fail(op->call, exit, "%s", text);
	op_end(op);
}

void op_fail_request(struct op *op, enum sigclient_result result, const struct msg *m)
{
	const char *host = sigline_server(op->server->line)->at.host;

	switch (result) {
	case SIGCLIENT_OK:
		op_fail(op, EXIT_CODE_FAILED, "the server's answer makes no sense");
		break;
	case SIGCLIENT_ERROR:
		op_fail(op, msg_error_exit_code(m->error.code), "%s",
		        m->error.message != NULL ? m->error.message
		                                 : msg_error_text(m->error.code));
		break;
	case SIGCLIENT_TIMEOUT:
		op_fail(op, EXIT_CODE_NO_SERVER, "%s does not answer", host);
		break;
	case SIGCLIENT_DOWN:
	case SIGCLIENT_LOST:
		op_fail(op, EXIT_CODE_NO_SERVER, "no connection to %s: %s", host,
		        server_problem(op->server));
		break;
	}
}

static void on_op_timeout(void *user)
{
	struct op *op = user;

	if (op->dead)
		return;
	if (op->net != NULL && op->net->problem.text[0] != '\0')
		op_fail(op, op->net->problem_exit, "%s", op->net->problem.text);
	else
		op_fail(op, op->timeout_exit, "no answer in time");
}

struct op *op_new(struct supervisor *s, struct localapi_call *call, uint64_t timeout_us)
{
	struct op *op = NULL;
	unsigned count = 0;

	for (const struct op *o = s->ops; o != NULL; o = o->next)
		count++;
	if (count < SUPERVISOR_OPS_MAX)
		op = mem_new(struct op);
	if (op != NULL && loop_timer_new(&op->timer, s->config.loop, on_op_timeout, op) < 0)
		mem_free(GV_STEAL(op));
	if (op == NULL) {
		localapi_fail(call, EXIT_CODE_FAILED, "too much is going on; try again");
		return NULL;
	}
	op->sup = s;
	op->call = call;
	op->timeout_exit = EXIT_CODE_FAILED;
	op->next = s->ops;
	s->ops = op;
	loop_timer_start(op->timer, timeout_us);
	return op;
}

/*
 * --- what all parts use
 * -------------------------------------------------------------------------------
 */

int supervisor_save(struct supervisor *s)
{
	int r = state_save(s->config.state);

	return r < 0 ? log_err(r, "state.save") : 0;
}

void supervisor_name(const struct supervisor *s, char out[static ADMISSION_NAME_MAX + 1])
{
	const struct state *st = s->config.state;

	if (st->name[0] != '\0') {
		memcpy(out, st->name, sizeof(st->name));
		return;
	}
	if (gethostname(out, ADMISSION_NAME_MAX) != 0)
		out[0] = '\0';
	out[ADMISSION_NAME_MAX] = '\0';
	if (!text_is_name(out, ADMISSION_NAME_MAX))
		(void)snprintf(out, ADMISSION_NAME_MAX + 1, "computer"); /* fits */
}

int supervisor_facts(struct supervisor *s, const struct network *apart, struct subnet_facts *out)
{
	int r = subnet_facts_read(out, s->config.route, SUPERVISOR_RESOLV_CONF);

	if (r < 0)
		return err_up(r);
	for (size_t i = 0; i < s->n_nets && out->n_others < SUBNET_OTHERS_MAX; i++) {
		if (s->nets[i] != apart)
			out->others[out->n_others++] = s->nets[i]->st->doc->subnet;
	}
	return 0;
}

static bool wants_broadcast(const struct network *n, const struct network *best)
{
	if (n->phase != NETWORK_UP || n->st->broadcast == STATE_BROADCAST_OFF)
		return false;
	if (best == NULL)
		return true;
	bool on = n->st->broadcast == STATE_BROADCAST_ON;
	bool best_on = best->st->broadcast == STATE_BROADCAST_ON;
	return on != best_on ? on : n->order > best->order;
}

void supervisor_update_broadcast(struct supervisor *s)
{
	const struct netaddr all = netaddr_ip4(UINT32_MAX, 0);
	const struct netprefix dst = netprefix_of(&all, 32);
	const struct network *best = NULL;

	for (size_t i = 0; i < s->n_nets; i++) {
		if (wants_broadcast(s->nets[i], best))
			best = s->nets[i];
	}
	uint32_t ifindex = best != NULL ? best->tun.ifindex : 0;
	if (ifindex == s->broadcast_ifindex)
		return;
	if (s->broadcast_ifindex != 0 &&
	    route_del(s->config.route, &dst, s->broadcast_ifindex) != ROUTE_OK)
		log_debug("the broadcast route was gone already");
	s->broadcast_ifindex = 0;
	if (ifindex == 0)
		return;
	int r = route_add(s->config.route, &dst, ifindex);
	if (r == ROUTE_OK)
		s->broadcast_ifindex = ifindex;
	else
		log_warn("broadcast.route", LOG_STR("interface", best->tun.name),
		         LOG_STR("why", r == ROUTE_EXISTS ? "another program has this route"
		                                          : "the system refuses it"));
}

void supervisor_repair_broadcast(const struct network *n)
{
	const struct netaddr all = netaddr_ip4(UINT32_MAX, 0);
	const struct netprefix dst = netprefix_of(&all, 32);

	/* With one that is still there nothing is to be done. */
	if (n->sup->broadcast_ifindex == n->tun.ifindex &&
	    route_add(n->sup->config.route, &dst, n->tun.ifindex) < 0)
		log_debug("the broadcast route of %s cannot be repaired", n->tun.name);
}

static void check_stopped(struct supervisor *s)
{
	if (!s->stopping || s->done == NULL)
		return;
	for (size_t i = 0; i < s->n_nets; i++) {
		if (s->nets[i]->phase != NETWORK_DOWN)
			return;
	}
	for (const struct op *op = s->ops; op != NULL; op = op->next) {
		if (op->busy)
			return; /* a worker uses its memory */
	}
	supervisor_done_fn done = GV_STEAL(s->done);
	loop_timer_stop(s->stop_timer);
	done(s->done_user);
}

/* Tells the operations that wait for n, until one of them ends by it (true): it is freed then. */
static bool tell_ops(const struct network *n)
{
	for (struct op *op = n->sup->ops; op != NULL; op = op->next) {
		if (op->net == n && !op->dead && op->net_changed != NULL && op->net_changed(op))
			return true;
	}
	return false;
}

void supervisor_net_changed(struct network *n)
{
	struct supervisor *s = n->sup;

	/*
	 * An answered operation leaves the list, and its end may change more: look from the start.
	 */
	while (tell_ops(n))
		;
	check_stopped(s);
}

/*
 * --- the system's addresses
 * ---------------------------------------------------------------------------
 */

static void read_addresses(struct supervisor *s)
{
	gv_cleanup(mem_freep) struct route_addr *list = NULL;
	gv_cleanup(mem_freep) struct route_entry *routes = NULL;
	size_t n = 0, n_routes = 0;

	if (route_addrs(s->config.route, &list, &n) < 0)
		return; /* what we know must do */
	if (route_entries(s->config.route, &routes, &n_routes) < 0)
		log_debug("addresses are ranked without knowing the routes");
	if (hostaddr_rank(s->addrs, MESH_MAX_ADDRESSES, list, n, routes, n_routes, &s->n_addrs) < 0)
		log_debug("no memory to rank addresses");
}

static bool same_addresses(const struct supervisor *s, const struct netaddr *old, size_t n_old)
{
	if (s->n_addrs != n_old)
		return false;
	for (size_t i = 0; i < n_old; i++) {
		if (!netaddr_equal(&old[i], &s->addrs[i]) || old[i].ifindex != s->addrs[i].ifindex)
			return false;
	}
	return true;
}

/* Interfaces, addresses or routes of others changed, and it has been quiet for a moment. */
static void on_addr_timer(void *user)
{
	struct supervisor *s = user;
	struct netaddr old[MESH_MAX_ADDRESSES];
	size_t n_old = s->n_addrs;
	uint64_t now_us = clock_now_us();

	memcpy(old, s->addrs, sizeof(old));
	read_addresses(s);
	if (!same_addresses(s, old, n_old))
		log_info("addresses.changed", LOG_U64("count", s->n_addrs));
	for (size_t i = 0; i < s->n_nets; i++) {
		struct network *n = s->nets[i];
		if (n->phase == NETWORK_UP) {
			mesh_set_addresses(n->mesh, s->addrs, s->n_addrs, now_us);
			network_pump(n);
		} else if (n->phase == NETWORK_WAITING && n->blocked) {
			loop_timer_start(n->retry, 0);
		}
	}
	for (struct server *srv = s->servers; srv != NULL; srv = srv->next)
		sigline_network_changed(srv->line, s->addrs, s->n_addrs);
}

/* Somebody set an interface of ours down or took its addresses. A program that does it again and again gets tired first. */
static void on_repair_timer(void *user)
{
	struct supervisor *s = user;

	for (size_t i = 0; i < s->n_nets; i++) {
		if (s->nets[i]->phase == NETWORK_UP)
			tunnel_repair(s->nets[i]);
	}
}

static void on_route_event(void *user, unsigned events)
{
	struct supervisor *s = user;

	(void)events;
	unsigned changes = route_watch_take(s->config.route, SUPERVISOR_IFNAME_PREFIX);
	if ((changes & ROUTE_CHANGE_OURS) != 0)
		loop_timer_start(s->repair_timer, REPAIR_US);
	if ((changes & ROUTE_CHANGE_OTHERS) != 0)
		loop_timer_start(s->addr_timer, ADDR_SETTLE_US);
}

/*
 * --- events of the data plane
 * -------------------------------------------------------------------------
 */

static struct network *net_by_handle(const struct supervisor *s, uint32_t handle)
{
	for (size_t i = 0; handle != 0 && i < s->n_nets; i++) {
		if (s->nets[i]->handle == handle)
			return s->nets[i];
	}
	return NULL;
}

static void on_tun_lost(struct network *n)
{
	if (n->phase != NETWORK_UP)
		return;
	log_warn("network.interface_lost", LOG_STR("interface", n->tun.name));
	network_restart(n);
}

static void handle_event(struct supervisor *s, const struct dataplane_event *e)
{
	struct network *n = net_by_handle(s, e->net);

	/*
	 * What the data plane never took has no net there: whoever waits for it knows the handle.
	 */
	for (size_t i = 0; e->net == 0 && i < s->n_nets; i++) {
		if (s->nets[i]->mesh != NULL)
			mesh_dataplane_event(s->nets[i]->mesh, e, clock_now_us());
		network_pump(s->nets[i]);
	}
	if (n == NULL)
		return;
	switch (e->type) {
	case DATAPLANE_EVENT_NET_GONE:
		tunnel_gone(n, e->tun_fd);
		network_closed(n);
		break;
	case DATAPLANE_EVENT_TUN_LOST:
		on_tun_lost(n);
		break;
	default:
		if (n->mesh != NULL)
			mesh_dataplane_event(n->mesh, e, clock_now_us());
		break;
	}
}

static void on_dataplane(void *user, unsigned events)
{
	struct supervisor *s = user;
	const struct dataplane_event *e;

	(void)events;
	for (unsigned i = 0; i < EVENTS_PER_TURN; i++) {
		e = dataplane_event(s->config.dataplane);
		if (e == NULL)
			break;
		handle_event(s, e);
		dataplane_event_done(s->config.dataplane, e);
	}
	for (size_t i = 0; i < s->n_nets; i++) {
		if (s->nets[i]->mesh != NULL)
			network_pump(s->nets[i]);
	}
}

/*
 * --- life
 * ---------------------------------------------------------------------------------------------
 */

static void on_stop_timeout(void *user)
{
	struct supervisor *s = user;
	supervisor_done_fn done = GV_STEAL(s->done);

	log_warn("stop.late");
	if (done != NULL)
		done(s->done_user);
}

static int start_watching(struct supervisor *s)
{
	struct loop *loop = s->config.loop;

	int r = loop_timer_new(&s->addr_timer, loop, on_addr_timer, s);
	if (r == 0)
		r = loop_timer_new(&s->repair_timer, loop, on_repair_timer, s);
	if (r == 0)
		r = loop_timer_new(&s->stop_timer, loop, on_stop_timeout, s);
	if (r == 0)
		r = loop_fd_new(&s->route_fd, loop, route_watch_fd(s->config.route), on_route_event,
		                s);
	if (r == 0)
		r = loop_fd_start(s->route_fd, LOOP_READABLE);
	if (r == 0)
		r = loop_fd_new(&s->dataplane_fd, loop, dataplane_event_fd(s->config.dataplane),
		                on_dataplane, s);
	if (r == 0)
		r = loop_fd_start(s->dataplane_fd, LOOP_READABLE);
	return r < 0 ? err_up(r) : 0;
}

/* Every network of the state; those that were up connect. */
static int restore(struct supervisor *s)
{
	const struct state *st = s->config.state;

	for (size_t i = 0; i < st->n_networks; i++) {
		struct network *n;
		int r = network_new(&n, s, st->networks[i]);
		if (r < 0)
			return err_up(r);
	}
	for (size_t i = 0; i < s->n_nets; i++) {
		if (s->nets[i]->st->up)
			network_start(s->nets[i]);
	}
	return 0;
}

int supervisor_new(struct supervisor **out, const struct supervisor_config *config)
{
	struct supervisor *s = mem_new(struct supervisor);

	if (s == NULL)
		return err_here(-ENOMEM);
	s->config = *config;
	s->reserved4 = config->udp4_fd >= 0 ? udp_adopt(config->udp4_fd) : UDP_NULL;
	s->reserved6 = config->udp6_fd >= 0 ? udp_adopt(config->udp6_fd) : UDP_NULL;
	s->rng = rng_os();
	s->session = rng_u64(&s->rng) | 1; /* 0 means unknown */
	s->started_us = clock_now_us();
	s->next_handle = 1;
	int r = cert_new(&s->cert, clock_unix_s());
	if (r == 0)
		r = ws_clients_new(&s->ws, config->loop);
	if (r == 0)
		r = start_watching(s);
	if (r == 0) {
		read_addresses(s);
		r = restore(s);
	}
	if (r < 0) {
		supervisor_free(s);
		return err_up(r);
	}
	*out = s;
	return 0;
}

void supervisor_stop(struct supervisor *s, supervisor_done_fn done, void *user)
{
	if (s->stopping)
		return;
	s->stopping = true;
	s->done = done;
	s->done_user = user;
	for (struct op *op = s->ops, *next; op != NULL; op = next) {
		next = op->next;
		if (!op->dead)
			op_fail(op, EXIT_CODE_FAILED, "govpnd is stopping");
	}
	for (size_t i = 0; i < s->n_nets; i++)
		network_stop(s->nets[i]);
	loop_timer_start(s->stop_timer, STOP_TIMEOUT_US);
	check_stopped(s);
}

void supervisor_free(struct supervisor *s)
{
	if (s == NULL)
		return;
	loop_fd_close(s->dataplane_fd);
	loop_fd_close(s->route_fd);
	loop_timer_close(s->addr_timer);
	loop_timer_close(s->repair_timer);
	loop_timer_close(s->stop_timer);
	while (s->ops != NULL) {
		/* What a worker still uses stays: the process ends before it does. */
		if (s->ops->busy)
			s->ops = s->ops->next;
		else
			op_free(s->ops);
	}
	while (s->n_nets > 0) {
		struct network *n = s->nets[s->n_nets - 1];
		if (n->tun_attached)
			tun_detach(s->config.tun_pool, &n->tun);
		network_free(n);
	}
	server_free_all(s);
	udp_close(&s->reserved4);
	udp_close(&s->reserved6);
	cert_unref(s->cert);
	ws_clients_close(s->ws);
	mem_free(s);
}
