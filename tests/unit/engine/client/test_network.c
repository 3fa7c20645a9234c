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
#include "crypto/cert.h"
#include "crypto/identity.h"
#include "engine/client/supervisor_impl.h"
#include "engine/dataplane/dataplane.h"
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
	struct document *doc; /* owned; of UpdateDocument */
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
	struct asked *a = &f->asked[f->n_asked++];
	*a = (struct asked){.type = m->type, .fn = fn, .user = user};
	if (m->type == MSG_UPDATE_DOCUMENT)
		assert_int_equal(document_parse(&a->doc, m->update_document.document.p,
		                                m->update_document.document.n,
		                                m->update_document.network_id, NULL),
		                 DOCUMENT_OK);
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

/* In place of localapi.c: calls are counted, and the last failure is kept. */
static unsigned replies, failures;
static enum exit_code failed_exit;
static char failed_text[256];

void localapi_reply(struct localapi_call *call, json_t *object)
{
	(void)call;
	json_decref(object);
	replies++;
}

void localapi_fail(struct localapi_call *call, enum exit_code exit, const char *fmt, ...)
{
	va_list args;

	(void)call;
	failed_exit = exit;
	va_start(args, fmt);
	(void)vsnprintf(failed_text, sizeof(failed_text), fmt, args); /* may be cut off */
	va_end(args);
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
	dataplane_free(f.sup.config.dataplane);
	while (f.sup.n_nets > 0)
		network_free(f.sup.nets[0]);
	while (f.sup.ops != NULL)
		op_fail(f.sup.ops, EXIT_CODE_FAILED, "the end");
	for (unsigned i = 0; i < SERVERS * REQUESTS; i++)
		document_free(servers[i / REQUESTS].asked[i % REQUESTS].doc);
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

/* --- what only the owner can do ------------------------------------------------------------------ */

#define MEMBERS 2

static const char *const labels[MEMBERS] = {"bert", "carl"};
static uint8_t members[MEMBERS][SIG_KEY_SIZE];

/* Two members by the invite, whom the server named; a server that forwards, unless it is away. */
static void have_members(void)
{
	struct mesh_config c = {
		.id = f.sup.config.state->id,
		.doc = f.net->st->doc,
		.ip4 = f.net->st->ip4,
		.session = 9,
		.net = 1,
		.next_handle = &f.sup.next_handle,
		.rng = rng_seeded(3),
	};
	struct identity *invite;

	assert_int_equal(dataplane_new(&f.sup.config.dataplane), 0);
	c.dataplane = f.sup.config.dataplane;
	assert_int_equal(identity_from_seed(&invite, f.invite.seed), 0);
	assert_int_equal(cert_new(&c.cert, 1700000000), 0);
	assert_int_equal(mesh_new(&f.net->mesh, &c, 1), 0);
	cert_unref(c.cert);
	for (unsigned i = 0; i < MEMBERS; i++) {
		struct mesh_member m = {.ip4 = netaddr_ip4(0x0ad34d06 + i, 0)};
		struct admission *a = &m.admission;
		struct identity *id;

		assert_int_equal(identity_new(&id), 0);
		identity_public(id, members[i]);
		memcpy(a->network_id, f.net->st->doc->network_id, NETID_SIZE);
		memcpy(a->key, members[i], SIG_KEY_SIZE);
		a->joined_unix_s = a->unix_s = 1700000000;
		(void)snprintf(a->name, sizeof(a->name), "%s", labels[i]);
		(void)snprintf(a->label, sizeof(a->label), "%s", labels[i]);
		assert_int_equal(admission_sign_invite(a, invite), 0);
		assert_int_equal(admission_sign(a, id), 0);
		assert_int_equal(mesh_member(f.net->mesh, &m, MESH_NEWS_LIST, 1), MESH_OK);
		identity_free(id);
	}
	identity_free(invite);
	f.net->phase = NETWORK_UP;
	f.net->signaling = true;
}

static void kick(unsigned i)
{
	struct localapi_request req = {.verb = LOCALAPI_KICK, .peer = labels[i]};

	verb_kick(f.net, &req, call);
}

static void rename_to(const char *name)
{
	struct localapi_request req = {.verb = LOCALAPI_RENAME, .name = name};

	verb_rename(f.net, &req, call);
}

/* The k-th UpdateDocument. */
static struct asked *update(unsigned k)
{
	for (unsigned i = 0; i < servers[0].n_asked; i++) {
		if (servers[0].asked[i].type == MSG_UPDATE_DOCUMENT && k-- == 0)
			return &servers[0].asked[i];
	}
	fail_msg("no such update");
	return NULL;
}

static void answer_update(unsigned k, enum sigclient_result result)
{
	struct msg refused = {.type = MSG_ERROR, .error.code = MSG_ERROR_RATE_LIMITED};
	struct asked *a = update(k);
	sigclient_reply_fn fn = a->fn;

	a->fn = NULL;
	fn(a->user, result, result == SIGCLIENT_ERROR ? &refused : NULL);
}

/* The server's rule (update.c): what is just one newer follows its document. */
static bool server_takes(const struct document *have, const struct document *doc)
{
	return doc->epoch > have->epoch + 1 ||
	       (doc->epoch == have->epoch + 1 &&
	        memcmp(doc->previous, have->hash, DOCUMENT_HASH_SIZE) == 0);
}

/* What the disk says was signed. */
static uint64_t epoch_on_disk(void)
{
	char path[128], text[8192];
	const char *at;

	(void)snprintf(path, sizeof(path), "%s/networks.json", f.dir);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	assert_int_equal(fclose(file), 0);
	at = strstr(text, "\"signed_epoch\": ");
	return at != NULL ? strtoull(at + strlen("\"signed_epoch\": "), NULL, 10) : 0;
}

static void owner_second_kick_stands_on_the_first(void **state)
{
	(void)state;
	have_members();
	kick(0);
	kick(1);
	/* In place before the server says anything, and whatever it says. */
	assert_true(document_is_banned(f.net->st->doc, members[0]));
	assert_true(document_is_banned(f.net->st->doc, members[1]));
	assert_false(document_has_member(f.net->st->doc, members[0]));
	assert_true(server_takes(update(0)->doc, update(1)->doc));
	answer_update(0, SIGCLIENT_OK);
	answer_update(1, SIGCLIENT_ERROR);
	assert_int_equal(replies, 1);
	assert_int_equal(failures, 1);
	assert_non_null(strstr(failed_text, "the others hear of it"));
	assert_true(document_is_banned(f.net->st->doc, members[0]));
	assert_int_equal(mesh_peer_count(f.net->mesh), 0);
}

static void owner_late_answer_does_not_undo_a_kick(void **state)
{
	const enum sigclient_result results[] = {SIGCLIENT_OK, SIGCLIENT_TIMEOUT, SIGCLIENT_LOST};

	(void)state;
	have_members();
	for (unsigned i = 0; i < GV_ARRAY_SIZE(results); i++) {
		rename_to("office");
		if (i < MEMBERS)
			kick(i);
		else
			assert_int_equal(owner_sign_again(f.net), 0);
		uint64_t epoch = f.net->st->doc->epoch;
		answer_update(i < MEMBERS ? 2 * i : 4, results[i]);
		assert_int_equal(failed_exit, EXIT_CODE_CONFLICT);
		assert_string_equal(f.net->st->doc->name, "lan");
		assert_int_equal(f.net->st->doc->epoch, epoch);
		assert_true(document_is_banned(f.net->st->doc, members[0]));
	}
	/* The server takes the removal whether it took the new name or not. */
	assert_true(server_takes(update(0)->doc, update(1)->doc));
}

static void owner_second_change_waits_for_the_first(void **state)
{
	(void)state;
	have_members();
	rename_to("office");
	rename_to("home");
	assert_int_equal(failures, 1);
	assert_int_equal(failed_exit, EXIT_CODE_CONFLICT);
	answer_update(0, SIGCLIENT_OK);
	assert_int_equal(replies, 1);
	assert_string_equal(f.net->st->doc->name, "office");
	rename_to("home");
	answer_update(1, SIGCLIENT_OK);
	assert_string_equal(f.net->st->doc->name, "home");
	assert_int_equal(f.net->st->doc->epoch, 3);
}

static void owner_epoch_is_on_the_disk_before_the_server_has_it(void **state)
{
	(void)state;
	have_members();
	rename_to("office");
	assert_int_equal(epoch_on_disk(), update(0)->doc->epoch);
	answer_update(0, SIGCLIENT_ERROR);
	assert_string_equal(f.net->st->doc->name, "lan");
	/* The server took it all the same, or not: it takes the next one. */
	kick(0);
	assert_true(update(1)->doc->epoch > update(0)->doc->epoch);
	assert_true(server_takes(update(0)->doc, update(1)->doc));
}

static void owner_kick_needs_no_server(void **state)
{
	(void)state;
	have_members();
	f.net->signaling = false;
	rename_to("office");
	assert_int_equal(failed_exit, EXIT_CODE_NO_SERVER);
	kick(0);
	assert_int_equal(failures, 2);
	assert_int_equal(failed_exit, EXIT_CODE_NO_SERVER);
	assert_non_null(strstr(failed_text, "removed here"));
	assert_true(document_is_banned(f.net->st->doc, members[0]));
	assert_int_equal(mesh_peer_count(f.net->mesh), 1);
	assert_int_equal(epoch_on_disk(), f.net->st->doc->epoch);
	assert_int_equal(waiting(0, MSG_UPDATE_DOCUMENT, NULL), 0);
}

static void owner_ends_a_fork(void **state)
{
	struct document *other;
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
	struct msg m = {.type = MSG_DOCUMENT_UPDATED};

	(void)state;
	have_members();
	assert_int_equal(document_dup(&other, f.net->st->doc), 0);
	assert_int_equal(document_set_name(other, "stolen", NULL), DOCUMENT_OK);
	assert_int_equal(document_sign(other, f.sup.config.state->id, &bytes), 0);
	kick(0);
	assert_int_equal(f.net->st->doc->epoch, other->epoch);
	f.net->server = &servers[0].head;
	servers[0].head.line = (struct sigline *)&servers[0];
	m.document_updated.document = (struct msg_blob){.p = bytes.data, .n = bytes.len};
	network_notice(f.net, &m);
	assert_true(document_is_banned(f.net->st->doc, members[0]));
	assert_true(server_takes(other, f.net->st->doc));
	assert_true(server_takes(other, update(1)->doc));
	/* Once: it is old now. */
	uint64_t epoch = f.net->st->doc->epoch;
	network_notice(f.net, &m);
	assert_int_equal(f.net->st->doc->epoch, epoch);
	f.net->server = NULL;
	document_free(other);
	buf_deinit(&bytes);
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
		cmocka_unit_test_setup_teardown(owner_second_kick_stands_on_the_first, set_up,
	                                        tear_down),
		cmocka_unit_test_setup_teardown(owner_late_answer_does_not_undo_a_kick, set_up,
	                                        tear_down),
		cmocka_unit_test_setup_teardown(owner_second_change_waits_for_the_first, set_up,
	                                        tear_down),
		cmocka_unit_test_setup_teardown(owner_epoch_is_on_the_disk_before_the_server_has_it,
	                                        set_up, tear_down),
		cmocka_unit_test_setup_teardown(owner_kick_needs_no_server, set_up, tear_down),
		cmocka_unit_test_setup_teardown(owner_ends_a_fork, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
