/* SPDX-License-Identifier: MIT */

#include "engine/client/sigline.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/resolve.h"
#include "io/ws_client.h"

#include <errno.h>
#include <string.h>

LOG_MODULE("sigline");

/* An address that does not answer this soon makes way for the next one. */
#define ADDRESS_TIMEOUT_US (3u * 1000000u)

struct sigline {
	struct loop *loop;
	struct ws_clients *ws;
	struct state_server server; /* owned */
	struct sigclient *client;   /* owned */
	struct loop_timer *timer;   /* deadline of the client */
	struct loop_timer *next_address;
	struct resolve *look_up; /* while under way */
	struct ws_client *line;  /* while open or opening */
	bool is_open;
	struct netaddr addrs[RESOLVE_ADDRS];
	size_t n_addrs, tried;
};

void sigline_touch(struct sigline *l)
{
	uint64_t now_us = clock_now_us(), at = sigclient_deadline_us(l->client);

	loop_timer_start(l->timer, at > now_us ? at - now_us : 0);
}

static void on_timer(void *user)
{
	struct sigline *l = user;

	sigclient_timeout(l->client, clock_now_us());
	sigline_touch(l);
}

static void on_open(void *user)
{
	struct sigline *l = user;

	l->is_open = true;
	loop_timer_stop(l->next_address);
	sigclient_line_up(l->client, clock_now_us());
	sigline_touch(l);
}

static void on_message(void *user, const char *text, size_t len)
{
	struct sigline *l = user;

	sigclient_line_text(l->client, text, len, clock_now_us());
	sigline_touch(l);
}

static void give_up(struct sigline *l, const char *why)
{
	loop_timer_stop(l->next_address);
	sigclient_line_down(l->client, why, clock_now_us());
	sigline_touch(l);
}

static bool try_next(struct sigline *l);

static void on_closed(void *user, enum ws_client_end why, const char *detail)
{
	struct sigline *l = user;
	bool was_open = l->is_open;

	l->line = NULL;
	l->is_open = false;
	/* Another address of the same name may do better, unless the certificate is the problem. */
	if (!was_open && why == WS_CLIENT_REFUSED && try_next(l))
		return;
	give_up(l, detail);
}

static const struct ws_client_fns ws_fns = {
	.open = on_open, .message = on_message, .closed = on_closed};

/* Returns false when there is no address left, or no connection can be begun. */
static bool try_next(struct sigline *l)
{
	char text[NETADDR_TEXT_SIZE];
	const struct state_server *s = &l->server;

	while (l->tried < l->n_addrs) {
		struct ws_client_config config = {
			.addr = l->addrs[l->tried++],
			.host = s->at.host,
			.tls = s->at.tls,
			.insecure = s->trust == STATE_TRUST_INSECURE,
			.has_pin = s->trust == STATE_TRUST_PIN,
			.ca_pem = s->trust == STATE_TRUST_CA ? s->ca_pem : NULL,
			.max_message = MSG_SIZE_TO_CLIENT_MAX,
		};
		memcpy(config.pin, s->pin, sizeof(config.pin));
		log_debug("connecting to %s", netaddr_text(&config.addr, text));
		if (ws_client_open(&l->line, l->ws, &config, &ws_fns, l) < 0)
			continue;
		if (l->tried < l->n_addrs)
			loop_timer_start(l->next_address, ADDRESS_TIMEOUT_US);
		return true;
	}
	return false;
}

static void on_slow_address(void *user)
{
	struct sigline *l = user;

	if (l->is_open || l->line == NULL)
		return;
	ws_client_close(GV_STEAL(l->line));
	if (!try_next(l))
		give_up(l, "no address of the server answers");
}

static void on_resolved(void *user, const struct netaddr *addrs, size_t n)
{
	struct sigline *l = user;

	l->look_up = NULL;
	l->n_addrs = GV_MIN(n, (size_t)RESOLVE_ADDRS);
	l->tried = 0;
	if (n > 0)
		memcpy(l->addrs, addrs, l->n_addrs * sizeof(l->addrs[0]));
	if (!try_next(l))
		give_up(l,
		        n > 0 ? "no connection to the server can be made"
		              : "the server's name has no address, or the resolver does not answer");
}

static int line_open(void *line)
{
	struct sigline *l = line;
	int r = resolve_start(&l->look_up, l->loop, l->server.at.host, l->server.at.port,
	                      on_resolved, l);

	return r < 0 ? err_up(r) : 0;
}

static int line_send(void *line, const char *text, size_t len)
{
	struct sigline *l = line;

	if (!l->is_open)
		return err_here(-ENOTCONN);
	int r = ws_client_send(l->line, text, len);
	return r < 0 ? err_up(r) : 0;
}

static void line_close(void *line)
{
	struct sigline *l = line;

	loop_timer_stop(l->next_address);
	resolve_cancel(GV_STEAL(l->look_up));
	ws_client_close(GV_STEAL(l->line));
	l->is_open = false;
}

int sigline_new(struct sigline **out, struct loop *loop, struct ws_clients *ws,
                const struct state_server *server, const struct sigclient_config *config)
{
	struct sigline *l = mem_new(struct sigline);
	struct sigclient_config own = *config;

	if (l == NULL)
		return err_here(-ENOMEM);
	l->loop = loop;
	l->ws = ws;
	int r = state_server_copy(&l->server, server);
	if (r == 0)
		r = loop_timer_new(&l->timer, loop, on_timer, l);
	if (r == 0)
		r = loop_timer_new(&l->next_address, loop, on_slow_address, l);
	own.server = &l->server.at;
	own.line =
		(struct sigclient_line){.open = line_open, .send = line_send, .close = line_close};
	own.line_user = l;
	if (r == 0)
		r = sigclient_new(&l->client, &own, clock_now_us());
	if (r < 0) {
		sigline_free(l);
		return err_up(r);
	}
	sigline_touch(l);
	*out = l;
	return 0;
}

void sigline_free(struct sigline *l)
{
	if (l == NULL)
		return;
	sigclient_free(l->client);
	loop_timer_close(l->timer);
	loop_timer_close(l->next_address);
	state_server_deinit(&l->server);
	mem_free(l);
}

struct sigclient *sigline_client(const struct sigline *l)
{
	return l->client;
}

const struct state_server *sigline_server(const struct sigline *l)
{
	return &l->server;
}

void sigline_network_changed(struct sigline *l, const struct netaddr *addrs, size_t n)
{
	struct netaddr local;

	if (l->is_open && ws_client_local(l->line, &local) == 0) {
		bool there = netaddr_is_loopback(&local);
		for (size_t i = 0; i < n && !there; i++)
			there = netaddr_ip_equal(&addrs[i], &local);
		if (!there) {
			line_close(l);
			sigclient_line_down(l->client, "the computer's address changed",
			                    clock_now_us());
		}
	}
	sigclient_kick(l->client, clock_now_us());
	sigline_touch(l);
}
