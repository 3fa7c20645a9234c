/* SPDX-License-Identifier: MIT */

/*
 * Networks and the servers they ask. Servers and interfaces are fakes: a server keeps what it is asked until the test
 * answers, an interface can never be made.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "crypto/identity.h"
#include "engine/client/supervisor_impl.h"
#include "folder.h"
#include "io/loop.h"
#include "io/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- fakes --------------------------------------------------------------------------------------- */

#define SERVERS  2
#define REQUESTS 8

/* In place of server.c, sigline.c and sigclient.c. The line of a server is the server itself. */
struct asked {
	enum msg_type type;
	sigclient_reply_fn fn; /* NULL: forgotten, or answered */
	void *user;
};

static struct fake_server {
	struct server head;
	struct state_server at;
	struct asked asked[REQUESTS];
	unsigned n_asked;
} servers[SERVERS];

struct server *server_get(struct supervisor *s, const struct state_server *at)
{
	(void)s;
	for (unsigned i = 0; i < SERVERS; i++) {
		if (!state_server_equal(&servers[i].at, at))
			continue;
		servers[i].head.line = (struct sigline *)&servers[i];
		servers[i].head.users++;
		return &servers[i].head;
	}
	return NULL;
}

void server_put(struct server *srv)
{
	if (srv != NULL)
		srv->users--;
}

int server_request(struct server *srv, struct msg *m, sigclient_reply_fn fn, void *user)
{
	struct fake_server *f = (struct fake_server *)srv->line;

	assert_true(f->n_asked < REQUESTS);
	f->asked[f->n_asked++] = (struct asked){.type = m->type, .fn = fn, .user = user};
	return 0;
}

int server_send(struct server *srv, struct msg *m)
{
	(void)srv;
	(void)m;
	return 0;
}

bool server_is_up(const struct server *srv)
{
	(void)srv;
	return true;
}

const char *server_problem(const struct server *srv)
{
	(void)srv;
	return "it is a fake";
}

void server_free_all(struct supervisor *s)
{
	(void)s;
}

struct sigclient *sigline_client(const struct sigline *l)
{
	return (struct sigclient *)(uintptr_t)l;
}

const struct state_server *sigline_server(const struct sigline *l)
{
	return &((const struct fake_server *)l)->at;
}

void sigline_network_changed(struct sigline *l, const struct netaddr *addrs, size_t n)
{
	(void)l;
	(void)addrs;
	(void)n;
}

void sigclient_forget(struct sigclient *c, const void *user)
{
	struct fake_server *f = (struct fake_server *)c;

	for (unsigned i = 0; i < f->n_asked; i++) {
		if (f->asked[i].user == user)
			f->asked[i].fn = NULL;
	}
}

/* In place of tunnel.c. */
int tunnel_open(struct network *n)
{
	network_set_problem(n, EXIT_CODE_FAILED, "no interface");
	return TUNNEL_FAILED;
}

void tunnel_close(struct network *n)
{
	n->phase = n->phase == NETWORK_UP ? NETWORK_CLOSING : NETWORK_DOWN;
}

void tunnel_repair(struct network *n)
{
	(void)n;
}

void tunnel_closing_step(struct network *n)
{
	(void)n;
}

void tunnel_gone(struct network *n, int tun_fd)
{
	(void)n;
	(void)tun_fd;
}

/* In place of localapi.c: calls are only counted. */
static unsigned replies, failures;

void localapi_reply(struct localapi_call *call, json_t *object)
{
	(void)call;
	json_decref(object);
	replies++;
}

void localapi_fail(struct localapi_call *call, enum exit_code exit, const char *fmt, ...)
{
	(void)call;
	(void)exit;
	(void)fmt;
	failures++;
}

/* --- one computer with one network --------------------------------------------------------------- */

static struct fixture {
	char top[64], dir[80];
	struct supervisor sup;
	struct network *net;
	struct link_invite invite;
	struct buf document;
} f;

static struct localapi_call *const call = (struct localapi_call *)&f;

static void make_network(void)
{
	static const uint8_t salt[NETID_SALT_SIZE] = {7};
	struct state_network *st = state_network_new();
	struct netprefix subnet;
	char link[LINK_TEXT_SIZE];

	assert_non_null(st);
	assert_int_equal(state_server_copy(&st->server, &servers[0].at), 0);
	assert_true(netprefix_parse("10.211.77.0/24", &subnet));
	assert_int_equal(
		document_new(&st->doc, f.sup.config.state->key, salt, "lan", &subnet, NULL), 0);
	assert_int_equal(invite_add(st->doc, &servers[1].at, 0, 0, link), 0);
	assert_int_equal(link_parse(link, &f.invite, NULL), LINK_OK);
	f.document = BUF_INIT(DOCUMENT_SIZE_MAX);
	assert_int_equal(document_sign(st->doc, f.sup.config.state->id, &f.document), 0);
	memcpy(st->admission.network_id, st->doc->network_id, NETID_SIZE);
	assert_int_equal(join_sign(&st->admission, &f.sup, NULL), 0);
	st->ip4 = netaddr_ip4(0x0ad34d05, 0);
	assert_int_equal(state_add(f.sup.config.state, st), 0);
	assert_int_equal(network_new(&f.net, &f.sup, st), 0);
}

static int set_up(void **state)
{
	struct diag diag;

	(void)state;
	memset(&f, 0, sizeof(f));
	memset(servers, 0, sizeof(servers));
	replies = failures = 0;
	for (unsigned i = 0; i < SERVERS; i++) {
		servers[i].at.at.tls = true;
		servers[i].at.at.port = 443;
		(void)snprintf(servers[i].at.at.host, sizeof(servers[i].at.at.host), "s%u.example",
		               i);
	}
	(void)snprintf(f.top, sizeof(f.top), "/tmp/test_network.XXXXXX");
	if (mkdtemp(f.top) == NULL)
		return -1;
	(void)snprintf(f.dir, sizeof(f.dir), "%s/state", f.top);
	f.sup.rng = rng_seeded(1);
	f.sup.session = 9;
	if (loop_new(&f.sup.config.loop) < 0 || route_open(&f.sup.config.route) < 0 ||
	    state_open(&f.sup.config.state, f.dir, &diag) != STATE_OK)
		return -1;
	make_network();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	while (f.sup.n_nets > 0)
		network_free(f.sup.nets[0]);
	while (f.sup.ops != NULL)
		op_fail(f.sup.ops, EXIT_CODE_FAILED, "the end");
	state_close(f.sup.config.state);
	route_free(f.sup.config.route);
	loop_free(f.sup.config.loop);
	buf_deinit(&f.document);
	folder_remove(f.dir);
	assert_int_equal(rmdir(f.top), 0);
	return 0;
}

/* Requests of this kind that `user` (NULL: anybody) still waits for at server i. */
static unsigned waiting(unsigned i, enum msg_type type, const void *user)
{
	unsigned n = 0;

	for (unsigned k = 0; k < servers[i].n_asked; k++) {
		const struct asked *a = &servers[i].asked[k];
		n += a->fn != NULL && a->type == type && (user == NULL || a->user == user);
	}
	return n;
}

/* Server i answers the oldest JoinNetwork. */
static void answer_join(unsigned i)
{
	struct msg m = {.type = MSG_NETWORK_JOINED};

	memcpy(m.network.network_id, f.net->st->doc->network_id, NETID_SIZE);
	m.network.computer_ip = f.net->st->ip4;
	m.network.document = (struct msg_blob){.p = f.document.data, .n = f.document.len};
	for (unsigned k = 0; k < servers[i].n_asked; k++) {
		struct asked *a = &servers[i].asked[k];
		if (a->fn == NULL || a->type != MSG_JOIN_NETWORK)
			continue;
		sigclient_reply_fn fn = a->fn;
		a->fn = NULL;
		fn(a->user, SIGCLIENT_OK, &m);
		return;
	}
	fail_msg("nobody joins");
}

/* `up` waits for the first server; meanwhile the network is joined over the second one. */
static void join_over_other_server(void)
{
	struct localapi_request join = {
		.verb = LOCALAPI_JOIN, .has_link = true, .link = f.invite, .server = servers[1].at};

	verb_up(f.net, call);
	assert_int_equal(waiting(0, MSG_CONNECT_NETWORK, f.net), 1);
	verb_join(&f.sup, &join, call);
	answer_join(1);
	assert_ptr_equal(f.net->server, &servers[1].head);
}

static void network_joined_elsewhere_lets_go_of_former_server(void **state)
{
	(void)state;
	join_over_other_server();
	assert_int_equal(servers[0].head.users, 0);
	/* Its late answer would find a network that may be gone by then. */
	assert_int_equal(waiting(0, MSG_CONNECT_NETWORK, NULL), 0);
	/* The new server's line breaks and comes back. */
	network_server_down(f.net);
	network_server_up(f.net);
	assert_int_equal(waiting(1, MSG_CONNECT_NETWORK, f.net), 1);
}

/* Its interface was deleted, and while it closes to begin again somebody takes it down. */
static void network_stopped_while_closing_has_no_server(void **state)
{
	(void)state;
	network_start(f.net);
	f.net->phase = NETWORK_UP;
	network_restart(f.net);
	assert_int_equal(f.net->phase, NETWORK_CLOSING);
	network_stop(f.net);
	network_closed(f.net);
	assert_int_equal(f.net->phase, NETWORK_DOWN);
	assert_null(f.net->server);
	assert_int_equal(servers[0].head.users, 0);
	assert_int_equal(waiting(0, MSG_CONNECT_NETWORK, NULL), 0);
}

static void network_restart_asks_when_closed_and_not_before(void **state)
{
	(void)state;
	network_start(f.net);
	servers[0].n_asked = 0;
	f.net->asked = false;
	f.net->phase = NETWORK_UP;
	network_restart(f.net);
	network_server_up(f.net);
	assert_int_equal(servers[0].n_asked, 0);
	network_closed(f.net);
	assert_int_equal(f.net->phase, NETWORK_WAITING);
	assert_int_equal(waiting(0, MSG_CONNECT_NETWORK, f.net), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(network_joined_elsewhere_lets_go_of_former_server,
	                                        set_up, tear_down),
		cmocka_unit_test_setup_teardown(network_stopped_while_closing_has_no_server, set_up,
	                                        tear_down),
		cmocka_unit_test_setup_teardown(network_restart_asks_when_closed_and_not_before,
	                                        set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
