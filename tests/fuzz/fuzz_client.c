/* SPDX-License-Identifier: MIT */

/*
 * The client daemon between its command line and hostile servers: local API, supervisor, networks, signaling client, mesh, over
 * the fakes of client_io.c, fake_identity.c and recording_dataplane.c.
 *
 * Input: lines. The first one is a digit: what the state has (bit 0: a network of somebody else, bit 1: an own one). Then:
 *
 *   l m       a line of the local API by one of two clients     g     the first of them goes
 *   O o       the line to the server comes up, with login       x     it breaks
 *   s         a text of the server                              e     its error, by code, to the oldest request
 *   r         its honest answer to the oldest request; letters after it spoil that: a address, d document, i id,
 *             n no members, h a stranger among them
 *   N         a notice: j joined, c connected, d disconnected, l left, L left without proof, r renamed, u document,
 *             k kicked, K kicked by a document, D deleted, S shutdown; a letter more spoils it
 *   t         a digit: so many powers of ten of milliseconds    w     workers and look-ups end
 *   a A       addresses change, into the subnet or not          f     a digit: what fails from now on
 *   d T       the data plane speaks, the interface is gone      q     the daemon is told to stop
 *
 * In texts stand: @n @o network ids, @k our key, @p a peer's, @L a link, @i the id of the oldest request.
 */

#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "client_io.h"
#include "crypto/identity.h"
#include "engine/client/supervisor_impl.h"
#include "engine/dataplane/dataplane.h"
#include "io/route.h"
#include "recording_dataplane.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINES_MAX    48
#define REQUESTS_MAX 16
#define TEXT_MAX     32768
#define UNIX_S       1700000000

static struct {
	struct identity *id[3], *invite; /* ours, the owner of the other network, a member of it */
	uint8_t key[3][SIG_KEY_SIZE];
	struct document *doc, *own_doc;
	struct admission admission[3], own_admission;
	char link[LINK_TEXT_SIZE];
} fixed;

/* A request that the server has not answered. */
struct request {
	enum msg_type type;
	char id[MSG_ID_MAX + 1];
	uint8_t network_id[NETID_SIZE];
	struct document *doc; /* of CreateNetwork and UpdateDocument; owned */
	struct admission admission;
};

static struct world {
	struct supervisor *sup;
	struct localapi *api;
	struct state *state;
	struct request requests[REQUESTS_MAX];
	unsigned n_requests;
	struct document *doc;     /* newest of the other network; owned */
	struct document *created; /* of a network made here; owned */
	bool stopped;
} w;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void sign_document(struct document *doc, unsigned owner)
{
	struct buf out = BUF_INIT(DOCUMENT_SIZE_MAX);

	must(document_sign(doc, fixed.id[owner], &out) == 0);
	buf_deinit(&out);
}

static struct document *make_document(unsigned owner, const char *subnet_text)
{
	static const uint8_t salt[NETID_SALT_SIZE] = {1};
	struct document_invite invite = {.kind = DOCUMENT_INVITE_LINK};
	struct netprefix subnet;
	struct document *doc;

	must(netprefix_parse(subnet_text, &subnet));
	must(document_new(&doc, fixed.key[owner], salt, owner == 0 ? "own" : "other", &subnet,
	                  NULL) == 0);
	identity_public(fixed.invite, invite.key);
	must(document_add_invite(doc, &invite) == 0);
	sign_document(doc, owner);
	return doc;
}

static void make_admission(struct admission *a, const struct document *doc, unsigned i)
{
	memcpy(a->network_id, doc->network_id, NETID_SIZE);
	memcpy(a->key, fixed.key[i], SIG_KEY_SIZE);
	a->joined_unix_s = a->unix_s = UNIX_S;
	(void)snprintf(a->name, sizeof(a->name), "Computer %u", i);
	(void)snprintf(a->label, sizeof(a->label), "computer-%u", i);
	must(admission_sign_invite(a, fixed.invite) == 0);
	must(admission_sign(a, fixed.id[i]) == 0);
}

static void make_fixed(void)
{
	struct link_invite link = {0};

	if (fixed.doc != NULL)
		return;
	log_set_level(LOG_LEVEL_ERR);
	for (unsigned i = 0; i < 3; i++) {
		const uint8_t seed[IDENTITY_SEED_SIZE] = {(uint8_t)(i + 1)};

		must(identity_from_seed(&fixed.id[i], seed) == 0);
		identity_public(fixed.id[i], fixed.key[i]);
	}
	must(link_server_parse("https://s.example", &link.server, NULL) == LINK_OK);
	link.seed[0] = 9;
	must(identity_from_seed(&fixed.invite, link.seed) == 0);
	fixed.doc = make_document(1, "10.83.12.0/24");
	fixed.own_doc = make_document(0, "10.84.12.0/29");
	for (unsigned i = 0; i < 3; i++)
		make_admission(&fixed.admission[i], fixed.doc, i);
	make_admission(&fixed.own_admission, fixed.own_doc, 0);
	memcpy(link.network_id, fixed.doc->network_id, NETID_SIZE);
	(void)link_format(&link, fixed.link); /* returns its argument */
}

/* --- what the client asks ---------------------------------------------------------------------------- */

static void forget_request(struct request *q)
{
	document_free(q->doc);
	unsigned i = (unsigned)(q - w.requests);

	w.n_requests--;
	memmove(q, q + 1, (w.n_requests - i) * sizeof(*q));
}

static struct msg_blob document_of(const struct msg *m)
{
	return m->type == MSG_CREATE_NETWORK ? m->create_network.document
	                                     : m->update_document.document;
}

static void take_request(const struct msg *m)
{
	struct request *q;

	if (w.n_requests == REQUESTS_MAX)
		forget_request(&w.requests[0]);
	q = &w.requests[w.n_requests++];
	*q = (struct request){.type = m->type};
	memcpy(q->id, m->id, sizeof(q->id));
	if (m->type == MSG_CREATE_NETWORK || m->type == MSG_UPDATE_DOCUMENT) {
		struct msg_blob b = document_of(m);

		/* What this daemon signs is a document. */
		must(document_parse(&q->doc, b.p, b.n, NULL, NULL) == DOCUMENT_OK);
		memcpy(q->network_id, q->doc->network_id, NETID_SIZE);
	} else {
		/* Every other request begins with the network's id, or has none. */
		memcpy(q->network_id, m->join_network.network_id, NETID_SIZE);
	}
	if (m->type == MSG_CREATE_NETWORK) {
		document_free(w.created);
		must(document_dup(&w.created, q->doc) == 0);
		must(admission_parse(&q->admission, m->create_network.admission.p,
		                     m->create_network.admission.n, NULL) == ADMISSION_OK);
	}
}

static void on_sent(struct client_io_line *line, const char *text, size_t len)
{
	struct msg m;

	(void)line;
	must(msg_parse(&m, text, len, MSG_FROM_CLIENT, NULL) == MSG_OK);
	if (msg_is_request(m.type) || m.type == MSG_AUTHENTICATE)
		take_request(&m);
	msg_deinit(&m);
}

/* --- what the server says ------------------------------------------------------------------------------ */

static struct client_io_line *open_line(void)
{
	for (unsigned i = 0; i < CLIENT_IO_LINES; i++) {
		if (client_io.lines[i].client != NULL && client_io.lines[i].open)
			return &client_io.lines[i];
	}
	return NULL;
}

static void touch_all(void)
{
	for (struct server *s = w.sup->servers; s != NULL; s = s->next)
		sigline_touch(s->line);
}

static void say_text(const char *text, size_t len)
{
	struct client_io_line *l = open_line();
	char *exact = malloc(len + 1);

	must(exact != NULL);
	memcpy(exact, text, len);
	if (l != NULL && l->up)
		sigclient_line_text(l->client, exact, len, client_io.now_us);
	free(exact);
	touch_all();
}

static void say(const struct msg *m)
{
	struct buf text = BUF_INIT(MSG_SIZE_TO_CLIENT_MAX);

	must(msg_format(m, &text) == 0);
	say_text(buf_str(&text), text.len);
	buf_deinit(&text);
}

static void line_up(bool log_in)
{
	struct client_io_line *l = open_line();
	struct msg_ice_server ice[2] = {{.urls = "stun:192.0.2.1:3478"},
	                                {.urls = "stun:stun.example"}};
	const struct msg challenge = {.type = MSG_CHALLENGE,
	                              .challenge = {.version_lo = 1, .version_hi = 1}};
	struct msg welcome = {
		.type = MSG_AUTHENTICATED,
		.authenticated = {.version = 1, .ice_servers = ice, .n_ice_servers = 2}};

	if (l == NULL || l->up)
		return;
	l->up = true;
	sigclient_line_up(l->client, client_io.now_us);
	touch_all();
	if (!log_in)
		return;
	say(&challenge);
	for (unsigned i = 0; i < w.n_requests; i++) {
		if (w.requests[i].type != MSG_AUTHENTICATE)
			continue;
		memcpy(welcome.id, w.requests[i].id, sizeof(welcome.id));
		forget_request(&w.requests[i]);
		say(&welcome);
		return;
	}
}

static void line_down(void)
{
	struct client_io_line *l = open_line();

	if (l == NULL)
		return;
	l->open = l->up = false;
	sigclient_line_down(l->client, "the line broke", client_io.now_us);
	touch_all();
}

struct parts {
	uint8_t admissions[3][ADMISSION_SIZE_MAX];
	struct buf document;
	struct msg_computer computers[3];
};

static bool has(const char *how, size_t len, char letter)
{
	return len > 0 && memchr(how, letter, len) != NULL;
}

static struct msg_computer computer_of(unsigned i, const struct admission *a,
                                       uint8_t bytes[static ADMISSION_SIZE_MAX], uint32_t ip)
{
	struct msg_computer c = {.online = true, .session = 50 + i, .ip = netaddr_ip4(ip + i, 0)};

	memcpy(c.key, fixed.key[i], SIG_KEY_SIZE);
	must(netid_addr6(a->network_id, c.key, &c.ipv6) == 0);
	c.admission = (struct msg_blob){.p = bytes, .n = admission_encode(a, bytes)};
	return c;
}

/* NetworkCreated, NetworkJoined, NetworkConnected. */
static void answer_network(const struct request *q, struct msg *m, const char *how, size_t len,
                           struct parts *p)
{
	bool other = memcmp(q->network_id, fixed.doc->network_id, NETID_SIZE) == 0;
	const struct document *doc =
		other            ? w.doc
		: q->doc != NULL ? q->doc
		: w.created != NULL && memcmp(w.created->network_id, q->network_id, NETID_SIZE) == 0
			? w.created
			: fixed.own_doc;
	struct msg_network *n = &m->network;
	const struct admission *own = q->type == MSG_CREATE_NETWORK ? &q->admission
	                              : other                       ? &fixed.admission[0]
	                                                            : &fixed.own_admission;
	uint32_t ip = netaddr_u32(&doc->subnet.addr) + 1;

	must(document_encode(doc, &p->document) == 0);
	if (has(how, len, 'd'))
		p->document.data[p->document.len / 2] ^= 1;
	n->code = "abcdefghij";
	n->network_name = doc->name;
	n->subnet = doc->subnet;
	n->prefix_length = doc->subnet.bits;
	n->computer_ip = netaddr_ip4(has(how, len, 'a') ? 0x01020304 : ip, 0);
	must(netid_addr6(doc->network_id, fixed.key[0], &n->ipv6) == 0);
	n->document = (struct msg_blob){.p = p->document.data, .n = p->document.len};
	p->computers[0] = computer_of(0, own, p->admissions[0], ip);
	n->computers = p->computers;
	n->n_computers = has(how, len, 'n') ? 0 : 1;
	for (unsigned i = 1; i < 3 && other && n->n_computers > 0; i++) {
		p->computers[i] = computer_of(i, &fixed.admission[i], p->admissions[i], ip);
		if (has(how, len, 'h'))
			p->computers[i].key[0] ^= 1;
		n->n_computers++;
	}
}

static void answer(const char *how, size_t len)
{
	struct parts p = {.document = BUF_INIT(DOCUMENT_SIZE_MAX)};
	struct msg m = {0};

	if (w.n_requests == 0)
		return;
	struct request q = w.requests[0];
	w.requests[0].doc = NULL;
	forget_request(&w.requests[0]);
	m.type = msg_reply_type(q.type);
	memcpy(m.id, q.id, sizeof(m.id));
	/* Every answer begins with the network's id, or has none. */
	memcpy(m.network_ref.network_id, q.network_id, NETID_SIZE);
	switch (m.type) {
	case MSG_NETWORK_CREATED:
	case MSG_NETWORK_JOINED:
	case MSG_NETWORK_CONNECTED:
		answer_network(&q, &m, how, len, &p);
		break;
	case MSG_NETWORK_FOUND:
		memcpy(m.network_found.network_id, fixed.doc->network_id, NETID_SIZE);
		break;
	case MSG_COMPUTER_NETWORKS:
	case MSG_PONG:
		memset(m.network_ref.network_id, 0, NETID_SIZE);
		break;
	case MSG_NONE: /* Authenticate */
		m.type = MSG_AUTHENTICATED;
		m.authenticated = (struct msg_authenticated){.version = 1};
		break;
	default:
		break;
	}
	if (has(how, len, 'i'))
		m.network_ref.network_id[0] ^= 1;
	say(&m);
	document_free(q.doc);
	buf_deinit(&p.document);
}

static void say_error(const char *how, size_t len)
{
	struct msg m = {
		.type = MSG_ERROR,
		.error = {.code = (enum msg_error_code)(1 + (len > 0 ? (uint8_t)how[0] : 0) %
	                                                            (MSG_ERROR_CODES - 1)),
	                  .message = "a reason",
	                  .suggestion = len > 2 ? "free-label" : NULL,
	                  .retry_after_s = len > 3 ? 5 : 0}};

	if (w.n_requests > 0 && !has(how, len, '-')) {
		memcpy(m.id, w.requests[0].id, sizeof(m.id));
		forget_request(&w.requests[0]);
	}
	say(&m);
}

static void next_document(char how, struct buf *out)
{
	if (how == 'k')
		must(document_ban(w.doc, fixed.key[0]) == DOCUMENT_OK);
	else if (how == 'x')
		document_clear_invites(w.doc);
	else if (how == 'p')
		must(document_ban(w.doc, fixed.key[2]) == DOCUMENT_OK);
	sign_document(w.doc, 1);
	must(document_encode(w.doc, out) == 0);
	if (how == 'b')
		out->data[out->len - 1] ^= 1;
}

static void notice(const char *how, size_t len)
{
	struct buf doc = BUF_INIT(DOCUMENT_SIZE_MAX);
	uint8_t bytes[ADMISSION_SIZE_MAX];
	struct proof_leave leave = {.session = 51, .unix_s = UNIX_S + 1};
	struct msg m = {0};
	char more = len > 1 ? how[1] : '-';
	unsigned peer = more == '2' ? 2 : 1;
	struct admission a = fixed.admission[peer];

	/* Every notice about a network begins with its id. */
	memcpy(m.network_ref.network_id, fixed.doc->network_id, NETID_SIZE);
	switch (len > 0 ? how[0] : '-') {
	case 'j':
	case 'c':
		m.type = how[0] == 'j' ? MSG_COMPUTER_JOINED : MSG_COMPUTER_CONNECTED;
		m.computer_notice.computer = computer_of(peer, &a, bytes, 0x0a530c01);
		m.computer_notice.computer.ip =
			netaddr_ip4(more == 'a' ? 0x0a530c01 : 0x0a530c01 + peer, 0);
		break;
	case 'd':
		m.type = MSG_COMPUTER_DISCONNECTED;
		memcpy(m.computer_disconnected.key, fixed.key[peer], SIG_KEY_SIZE);
		break;
	case 'l':
	case 'L':
		m.type = MSG_COMPUTER_LEFT;
		memcpy(leave.network_id, fixed.doc->network_id, NETID_SIZE);
		memcpy(leave.key, fixed.key[peer], SIG_KEY_SIZE);
		must(proof_leave_sign(&leave, fixed.id[peer]) == 0);
		memcpy(m.computer_left.key, fixed.key[peer], SIG_KEY_SIZE);
		m.computer_left.is_signed = how[0] == 'l';
		m.computer_left.session = leave.session;
		m.computer_left.unix_s = leave.unix_s;
		memcpy(m.computer_left.signature, leave.sig, sizeof(leave.sig));
		break;
	case 'r':
		m.type = MSG_COMPUTER_RENAMED;
		a.unix_s += 5;
		(void)snprintf(a.name, sizeof(a.name), "renamed");
		must(admission_sign(&a, fixed.id[peer]) == 0);
		memcpy(m.computer_renamed.key, fixed.key[more == 'h' ? 0 : peer], SIG_KEY_SIZE);
		m.computer_renamed.admission =
			(struct msg_blob){.p = bytes, .n = admission_encode(&a, bytes)};
		break;
	case 'u':
		m.type = MSG_DOCUMENT_UPDATED;
		next_document(more, &doc);
		m.document_updated.document = (struct msg_blob){.p = doc.data, .n = doc.len};
		break;
	case 'k':
	case 'K':
		m.type = MSG_KICKED;
		if (how[0] == 'K') {
			next_document('k', &doc);
			m.kicked.document = (struct msg_blob){.p = doc.data, .n = doc.len};
		}
		break;
	case 'D':
		m.type = MSG_NETWORK_DELETED;
		break;
	default:
		m = (struct msg){.type = MSG_SERVER_SHUTDOWN, .server_shutdown.in_seconds = 1};
		break;
	}
	if (more == 'i' && m.type != MSG_SERVER_SHUTDOWN)
		m.network_ref.network_id[0] ^= 1;
	say(&m);
	buf_deinit(&doc);
}

/* --- lines ------------------------------------------------------------------------------------------------ */

static const char *stand_in(char letter)
{
	static char text[64];

	switch (letter) {
	case 'n':
		return netid_text(fixed.doc->network_id, text);
	case 'o':
		return netid_text(fixed.own_doc->network_id, text);
	case 'k':
	case 'p':
		enc_base64url(text, fixed.key[letter == 'p'], SIG_KEY_SIZE);
		return text;
	case 'L':
		return fixed.link;
	case 'i':
		return w.n_requests > 0 ? w.requests[0].id : "";
	default:
		return NULL;
	}
}

static size_t expand(const char *line, size_t len, char *out, size_t out_size)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n < out_size; i++) {
		const char *text = line[i] == '@' && i + 1 < len ? stand_in(line[i + 1]) : NULL;
		size_t take = text != NULL ? strlen(text) : 1;

		take = GV_MIN(take, out_size - n);
		memcpy(out + n, text != NULL ? text : line + i, take);
		n += take;
		i += text != NULL;
	}
	return n;
}

static void data_plane(bool tun_lost)
{
	struct network *n = w.sup->n_nets > 0 ? w.sup->nets[0] : NULL;

	if (tun_lost && n != NULL && n->handle != 0)
		recording_post(DATAPLANE_EVENT_TUN_LOST, n->handle);
	client_io_ready(CLIENT_IO_FD_DATAPLANE);
}

static void fail_from_now_on(char how)
{
	client_io.tun_result = how == '1' ? 3 : how == '2' ? 4 : 0; /* TUN_BUSY, TUN_NO_MORE */
	client_io.route_result = how == '3'   ? ROUTE_DENIED
	                         : how == '4' ? ROUTE_NO_FAMILY
	                                      : ROUTE_OK;
	client_io.udp_result = how == '5' ? UDP_IN_USE : how == '6' ? UDP_NO_FAMILY : UDP_OK;
	client_io.disk_full = how == '7';
	recording.refuses = how == '8';
}

static void on_stopped(void *user)
{
	(void)user;
	w.stopped = true;
}

static void pass_time(char how)
{
	uint64_t us = 1000;

	for (char c = '0'; c < how && c < '8'; c++)
		us *= 10;
	client_io_pass(us);
}

static void play(const char *line, size_t len)
{
	static char text[TEXT_MAX];
	char c = line[0];
	const char *rest = line + 1;
	size_t n = len - 1;

	if (c == 'l' || c == 'm') {
		n = expand(rest, n, text, sizeof(text));
		client_io_local(c == 'm', text, n);
	} else if (c == 's') {
		n = expand(rest, n, text, sizeof(text));
		say_text(text, n);
	} else if (c == 'O' || c == 'o') {
		line_up(c == 'O');
	} else if (c == 'r') {
		answer(rest, n);
	} else if (c == 'N') {
		notice(rest, n);
	} else if (c == 'e') {
		say_error(rest, n);
	} else if (c == 't') {
		pass_time(n > 0 ? rest[0] : '3');
	} else if (c == 'f') {
		fail_from_now_on(n > 0 ? rest[0] : '0');
	} else if (c == 'd' || c == 'T') {
		data_plane(c == 'T');
	} else if (c == 'a' || c == 'A') {
		client_io.address_conflict = c == 'A';
		client_io_ready(CLIENT_IO_FD_ROUTE);
	} else if (c == 'q') {
		supervisor_stop(w.sup, on_stopped, NULL);
	} else if (c == 'g') {
		client_io_local(0, NULL, 0);
	} else if (c == 'w') {
		client_io_work();
	} else if (c == 'x') {
		line_down();
	}
	client_io_pass(0);
}

/* --- the world ---------------------------------------------------------------------------------------------- */

static void add_network(const struct document *doc, const struct admission *a)
{
	struct state_network *n = state_network_new();

	must(n != NULL && document_dup(&n->doc, doc) == 0);
	must(link_server_parse("https://s.example", &n->server.at, NULL) == LINK_OK);
	n->admission = *a;
	n->up = true;
	must(state_add(w.state, n) == 0);
}

static void begin(char how)
{
	w = (struct world){0};
	client_io_reset();
	client_io.sent = on_sent;
	must(document_dup(&w.doc, fixed.doc) == 0);
	w.state = mem_new(struct state);
	must(w.state != NULL);
	w.state->dir_fd = w.state->lock_fd = -1;
	const uint8_t seed[IDENTITY_SEED_SIZE] = {1};
	must(identity_from_seed(&w.state->id, seed) == 0);
	memcpy(w.state->key, fixed.key[0], SIG_KEY_SIZE);
	if ((how & 1) != 0)
		add_network(fixed.doc, &fixed.admission[0]);
	if ((how & 2) != 0)
		add_network(fixed.own_doc, &fixed.own_admission);
	const struct supervisor_config config = {.loop = client_io_loop(),
	                                         .route = client_io_route(),
	                                         .tun_pool = client_io_tuns(),
	                                         .state = w.state,
	                                         .dataplane = recording_dataplane(),
	                                         .udp_port = how & 4 ? 7777 : 0,
	                                         .udp4_fd = -1,
	                                         .udp6_fd = -1,
	                                         .version = "1"};
	must(supervisor_new(&w.sup, &config) == 0);
	must(localapi_new(&w.api, client_io_loop(), -1, "socket", supervisor_request, w.sup) == 0);
	client_io_pass(0);
}

static void end(void)
{
	fail_from_now_on('0');
	supervisor_stop(w.sup, on_stopped, NULL); /* once: a second one does nothing */
	client_io_work();
	for (int i = 0; i < 3; i++) {
		client_io_ready(CLIENT_IO_FD_DATAPLANE);
		client_io_pass(1500000);
	}
	must(w.stopped);
	localapi_free(w.api);
	supervisor_free(w.sup);
	while (w.n_requests > 0)
		forget_request(&w.requests[0]);
	state_close(w.state);
	document_free(w.doc);
	document_free(w.created);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *stop = p + size;

	make_fixed();
	begin(size > 0 ? p[0] : '0');
	for (unsigned i = 0; i < LINES_MAX && p < stop; i++) {
		const char *line_end = memchr(p, '\n', (size_t)(stop - p));

		if (line_end == NULL)
			line_end = stop;
		if (line_end > p && i > 0)
			play(p, (size_t)(line_end - p));
		p = line_end < stop ? line_end + 1 : stop;
	}
	end();
	return 0;
}
