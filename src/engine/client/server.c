/* SPDX-License-Identifier: MIT */

#include "engine/client/supervisor_impl.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/resolve.h"

#include <errno.h>
#include <string.h>

LOG_MODULE("server");

/* A connection that nobody needs any more is kept this long for the next one. */
#define IDLE_US   (10u * 1000000u)
#define STUN_PORT 3478

struct server_lookup {
	struct server_lookup *next;
	struct server *srv;
	struct resolve *resolve;
};

bool server_is_up(const struct server *srv)
{
	return sigclient_is_up(sigline_client(srv->line));
}

const char *server_problem(const struct server *srv)
{
	return sigclient_problem(sigline_client(srv->line));
}

int server_request(struct server *srv, struct msg *m, sigclient_reply_fn fn, void *user)
{
	int r = sigclient_request(sigline_client(srv->line), m, clock_now_us(), fn, user);

	sigline_touch(srv->line);
	return r < 0 ? err_up(r) : 0;
}

int server_send(struct server *srv, struct msg *m)
{
	int r = sigclient_send(sigline_client(srv->line), m);

	return r < 0 ? err_up(r) : 0;
}

static void drop_lookups(struct server *srv)
{
	while (srv->lookups != NULL) {
		struct server_lookup *l = srv->lookups;
		srv->lookups = l->next;
		resolve_cancel(l->resolve);
		mem_free(l);
	}
}

static void tell_stun(struct server *srv)
{
	struct supervisor *s = srv->sup;

	for (size_t i = 0; i < s->n_nets; i++) {
		struct network *n = s->nets[i];
		if (n->server != srv || n->mesh == NULL || n->phase != NETWORK_UP)
			continue;
		mesh_set_stun(n->mesh, srv->stun, srv->n_stun, clock_now_us());
		network_pump(n);
	}
}

/* The server chooses where STUN requests go: not to this computer, to everybody on its LAN, or into a tunnel. */
static bool may_be_stun(const struct server *srv, const struct netaddr *a)
{
	const struct supervisor *s = srv->sup;

	if (a->port == 0 || netaddr_is_any(a) || netaddr_is_loopback(a) ||
	    netaddr_is_multicast(a) || netaddr_is_link_local(a) ||
	    (a->family == NETADDR_IP4 && netaddr_u32(a) == UINT32_MAX))
		return false;
	for (size_t i = 0; i < s->n_nets; i++) {
		const struct network *n = s->nets[i];
		struct netprefix prefix6 = netprefix_of(&n->ip6, 64);
		if (netprefix_contains(&n->st->doc->subnet, a) ||
		    (n->ip6.family == NETADDR_IP6 && netprefix_contains(&prefix6, a)))
			return false;
	}
	return true;
}

static void add_stun(struct server *srv, const struct netaddr *a)
{
	if (!may_be_stun(srv, a))
		return;
	for (size_t i = 0; i < srv->n_stun; i++) {
		if (netaddr_equal(&srv->stun[i], a))
			return;
	}
	if (srv->n_stun < MESH_MAX_STUN)
		srv->stun[srv->n_stun++] = *a;
}

static void on_stun_resolved(void *user, const struct netaddr *addrs, size_t n)
{
	struct server_lookup *l = user;
	struct server *srv = l->srv;

	for (size_t i = 0; i < n; i++)
		add_stun(srv, &addrs[i]);
	for (struct server_lookup **p = &srv->lookups; *p != NULL; p = &(*p)->next) {
		if (*p == l) {
			*p = l->next;
			break;
		}
	}
	mem_free(l);
	tell_stun(srv);
}

static void look_up_stun(struct server *srv, const char *host, uint16_t port)
{
	struct server_lookup *l = mem_new(struct server_lookup);

	if (l == NULL)
		return;
	l->srv = srv;
	if (resolve_start(&l->resolve, srv->sup->config.loop, host, port, on_stun_resolved, l) <
	    0) {
		mem_free(l);
		return;
	}
	l->next = srv->lookups;
	srv->lookups = l;
}

/* "stun:HOST[:PORT]" (RFC 7064), other schemes are for later versions. */
static void take_stun_url(struct server *srv, const char *url)
{
	struct netaddr a;
	char host[LINK_HOST_MAX + 1];
	unsigned port = STUN_PORT;

	if (strncmp(url, "stun:", 5) != 0)
		return;
	url += 5;
	if (netaddr_parse(url, &a)) {
		add_stun(srv, &a);
		return;
	}
	size_t len = url[0] == '[' ? strcspn(url, "]") : strcspn(url, ":?");
	const char *name = url;
	if (url[0] == '[' && url[len] == ']') {
		name++;
		url += len + 1;
		len--;
	} else {
		url += len;
	}
	if (len == 0 || len >= sizeof(host) || (*url == ':' && sscanf(url, ":%5u", &port) != 1) ||
	    port == 0 || port > UINT16_MAX)
		return;
	memcpy(host, name, len);
	host[len] = '\0';
	look_up_stun(srv, host, (uint16_t)port);
}

static void on_up(void *user, const struct msg_authenticated *welcome)
{
	struct server *srv = user;
	struct supervisor *s = srv->sup;

	log_info("server.up", LOG_STR("host", sigline_server(srv->line)->at.host));
	drop_lookups(srv);
	srv->n_stun = 0;
	for (size_t i = 0; i < welcome->n_ice_servers; i++)
		take_stun_url(srv, welcome->ice_servers[i].urls);
	tell_stun(srv);
	for (size_t i = 0; i < s->n_nets; i++) {
		if (s->nets[i]->server == srv)
			network_server_up(s->nets[i]);
	}
}

static void on_down(void *user)
{
	struct server *srv = user;
	struct supervisor *s = srv->sup;

	log_warn("server.down", LOG_STR("host", sigline_server(srv->line)->at.host),
	         LOG_STR("why", server_problem(srv)));
	for (size_t i = 0; i < s->n_nets; i++) {
		if (s->nets[i]->server == srv)
			network_server_down(s->nets[i]);
	}
}

/* The network a message of the server is about; NULL: about none. */
static const uint8_t *network_of(const struct msg *m)
{
	switch (m->type) {
	case MSG_SDP_OFFER:
	case MSG_SDP_ANSWER:
		return m->sdp.network_id;
	case MSG_ICE_CANDIDATE:
		return m->ice_candidate.network_id;
	case MSG_COMPUTER_JOINED:
	case MSG_COMPUTER_CONNECTED:
		return m->computer_notice.network_id;
	case MSG_COMPUTER_LEFT:
		return m->computer_left.network_id;
	case MSG_COMPUTER_DISCONNECTED:
		return m->computer_disconnected.network_id;
	case MSG_COMPUTER_RENAMED:
		return m->computer_renamed.network_id;
	case MSG_DOCUMENT_UPDATED:
		return m->document_updated.network_id;
	case MSG_KICKED:
		return m->kicked.network_id;
	case MSG_NETWORK_DELETED:
		return m->network_deleted.network_id;
	default:
		return NULL;
	}
}

static void on_notice(void *user, const struct msg *m)
{
	struct server *srv = user;
	const uint8_t *id = network_of(m);
	struct network *n = id != NULL ? network_find(srv->sup, id) : NULL;

	if (n != NULL && n->server == srv)
		network_notice(n, m);
	else if (m->type == MSG_SERVER_SHUTDOWN)
		log_info("server.shutdown", LOG_U64("in_s", m->server_shutdown.in_seconds));
	else if (m->type == MSG_ERROR)
		log_debug("server: %s: %s", msg_error_text(m->error.code),
		          m->error.message != NULL ? m->error.message : "");
}

static void server_free(struct server *srv)
{
	for (struct server **p = &srv->sup->servers; *p != NULL; p = &(*p)->next) {
		if (*p == srv) {
			*p = srv->next;
			break;
		}
	}
	drop_lookups(srv);
	sigline_free(srv->line);
	loop_timer_close(srv->idle);
	mem_free(srv);
}

static void on_idle(void *user)
{
	struct server *srv = user;

	if (srv->users == 0)
		server_free(srv);
}

static int server_new(struct server **out, struct supervisor *s, const struct state_server *at)
{
	struct server *srv = mem_new(struct server);
	char name[ADMISSION_NAME_MAX + 1];

	if (srv == NULL)
		return err_here(-ENOMEM);
	srv->sup = s;
	supervisor_name(s, name);
	const struct sigclient_config config = {
		.id = s->config.state->id,
		.session = s->session,
		.name = name,
		.fns = {.up = on_up, .down = on_down, .notice = on_notice},
		.user = srv,
		.rng = s->rng,
	};
	int r = loop_timer_new(&srv->idle, s->config.loop, on_idle, srv);
	if (r == 0)
		r = sigline_new(&srv->line, s->config.loop, s->ws, at, &config);
	if (r < 0) {
		loop_timer_close(srv->idle);
		mem_free(srv);
		return err_up(r);
	}
	srv->next = s->servers;
	s->servers = srv;
	*out = srv;
	return 0;
}

struct server *server_get(struct supervisor *s, const struct state_server *at)
{
	struct server *srv;
	unsigned n = 0;

	for (srv = s->servers; srv != NULL; srv = srv->next, n++) {
		if (state_server_equal(sigline_server(srv->line), at))
			break;
	}
	if (srv == NULL && n == SUPERVISOR_SERVERS_MAX)
		return NULL;
	if (srv == NULL && server_new(&srv, s, at) < 0)
		return NULL;
	loop_timer_stop(srv->idle);
	srv->users++;
	return srv;
}

void server_put(struct server *srv)
{
	if (srv != NULL && --srv->users == 0)
		loop_timer_start(srv->idle, IDLE_US);
}

void server_free_all(struct supervisor *s)
{
	while (s->servers != NULL)
		server_free(s->servers);
}
