/* SPDX-License-Identifier: MIT */

#include "engine/client/supervisor_impl.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("network");

/* After an answer that may be another one later. */
#define RETRY_US      (5u * 1000000u)
#define RETRY_SLOW_US (60u * 1000000u)

static void ask(struct network *n);

struct network *network_find(const struct supervisor *s, const uint8_t id[static NETID_SIZE])
{
	for (size_t i = 0; i < s->n_nets; i++) {
		if (memcmp(s->nets[i]->st->doc->network_id, id, NETID_SIZE) == 0)
			return s->nets[i];
	}
	return NULL;
}

bool network_is_owner(const struct network *n)
{
	return memcmp(n->st->doc->owner, n->sup->config.state->key, SIG_KEY_SIZE) == 0;
}

void network_set_problem(struct network *n, enum exit_code exit, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(n->problem.text, sizeof(n->problem.text), fmt, args); /* may be cut off */
	va_end(args);
	n->problem_exit = exit;
	log_warn("network.problem", LOG_STR("network", n->st->doc->name),
	         LOG_STR("why", n->problem.text));
}

/*
 * --- the mesh
 * -----------------------------------------------------------------------------------------
 */

static void carry_signal(struct network *n, const struct mesh_event *e)
{
	struct msg m = {.type = e->msg_type};

	if (!n->signaling || n->server == NULL)
		return;
	if (e->msg_type == MSG_ICE_CANDIDATE)
		m.ice_candidate = *e->candidate;
	else
		m.sdp = *e->sdp;
	int r = server_send(n->server, &m);
	log_debug("%s %s", msg_type_name(m.type), r < 0 ? strerror(-r) : "sent");
}

static void send_document(struct network *n);

/* A document (moved) that is not newer than ours: when it is a second one of its epoch, a newer one replaces both. */
static void end_fork(struct network *n, struct document *doc)
{
	bool forked = owner_forked(n, doc);

	document_free(doc);
	if (!forked)
		return;
	int r = owner_sign_again(n);
	if (r < 0)
		(void)log_err(r, "network.fork"); /* whoever has the other document says so again */
	else if (n->server != NULL && server_is_up(n->server))
		send_document(n);
}

static void take_document(struct network *n, const uint8_t *bytes, size_t len)
{
	struct document *doc = NULL;
	struct diag diag = {0};
	int r = document_parse(&doc, bytes, len, n->st->doc->network_id, &diag);

	if (r != DOCUMENT_OK) {
		log_limited(LOG_LEVEL_WARN, 6, "network.bad_document",
		            LOG_STR("network", n->st->doc->name), LOG_STR("why", diag.text));
		return;
	}
	if (document_follows(n->st->doc, doc))
		(void)network_adopt(n,
		                    doc); /* logged; it counts in memory even if the disk is full */
	else
		end_fork(n, doc);
}

static void handle_event(struct network *n, const struct mesh_event *e)
{
	switch (e->type) {
	case MESH_EVENT_SIGNAL:
		carry_signal(n, e);
		break;
	case MESH_EVENT_DOCUMENT:
		take_document(n, e->data, e->len);
		break;
	case MESH_EVENT_PONG:
		verb_pong(n, e->ping_id, e->rtt_us);
		break;
	case MESH_EVENT_PEER:
	case MESH_EVENT_LEFT:
		break; /* status asks the mesh itself */
	}
}

void network_pump(struct network *n)
{
	struct mesh_event e;

	if (n->pumping)
		return;
	n->pumping = true;
	while (n->mesh != NULL && mesh_event(n->mesh, &e) != 0)
		handle_event(n, &e);
	n->pumping = false;
	if (n->mesh != NULL) {
		uint64_t now_us = clock_now_us(), at = mesh_deadline_us(n->mesh);
		loop_timer_start(n->timer, at == CLOCK_NEVER ? CLOCK_NEVER
		                           : at > now_us     ? at - now_us
		                                             : 0);
	}
	tunnel_closing_step(n);
}

static void on_timer(void *user)
{
	struct network *n = user;

	if (n->mesh != NULL)
		mesh_timeout(n->mesh, clock_now_us());
	network_pump(n);
}

static void on_retry(void *user)
{
	struct network *n = user;

	if (n->phase == NETWORK_DOWN)
		network_closed(n);
	else if (n->phase == NETWORK_WAITING || n->phase == NETWORK_UP)
		ask(n);
}

/*
 * --- documents
 * ----------------------------------------------------------------------------------------
 */

int network_adopt(struct network *n, struct document *doc_moved)
{
	struct document *old = n->st->doc;
	struct diag diag = {0};

	log_info("network.document", LOG_STR("network", doc_moved->name),
	         LOG_U64("epoch", doc_moved->epoch));
	n->st->doc = doc_moved;
	if (n->mesh != NULL)
		mesh_set_document(n->mesh, doc_moved, clock_now_us());
	document_free(old);
	int r = supervisor_save(n->sup);
	int member = admission_verify(&n->st->admission, doc_moved, &diag);
	if (member > 0) {
		log_warn("network.kicked", LOG_STR("network", doc_moved->name),
		         LOG_STR("why", diag.text));
		network_forget(n);
	} else {
		network_pump(n);
	}
	return r;
}

static void on_document_sent(void *user, enum sigclient_result result, const struct msg *m)
{
	struct network *n = user;

	if (result == SIGCLIENT_ERROR)
		log_warn("network.document_refused", LOG_STR("network", n->st->doc->name),
		         LOG_STR("why", m->error.message != NULL ? m->error.message : ""));
}

/* The server has an older document than we signed, such as after a lost reply. */
static void send_document(struct network *n)
{
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
	struct msg m = {.type = MSG_UPDATE_DOCUMENT};

	memcpy(m.update_document.network_id, n->st->doc->network_id, NETID_SIZE);
	int r = document_encode(n->st->doc, &bytes);
	m.update_document.document = (struct msg_blob){.p = bytes.data, .n = bytes.len};
	if (r == 0)
		r = server_request(n->server, &m, on_document_sent, n);
	if (r < 0)
		log_debug("document not sent: %s", strerror(-r));
	buf_deinit(&bytes);
}

void network_send_admission(struct network *n)
{
	uint8_t bytes[ADMISSION_SIZE_MAX];
	struct msg m = {.type = MSG_UPDATE_CLIENT_INFO};

	if (!n->signaling)
		return; /* the next ConnectNetwork carries it */
	memcpy(m.update_client_info.network_id, n->st->doc->network_id, NETID_SIZE);
	size_t len = admission_encode(&n->st->admission, bytes);
	m.update_client_info.admission = (struct msg_blob){.p = bytes, .n = len};
	int r = server_request(n->server, &m, on_document_sent, n);
	if (r < 0)
		log_debug("admission not sent: %s", strerror(-r));
}

/*
 * --- answers of the server
 * ----------------------------------------------------------------------------
 */

bool network_address_fits(const struct document *doc, const struct netaddr *a)
{
	const struct netaddr last = netprefix_broadcast(&doc->subnet);

	return a->family == NETADDR_IP4 && netprefix_contains(&doc->subnet, a) &&
	       !netaddr_ip_equal(a, &doc->subnet.addr) && !netaddr_ip_equal(a, &last);
}

/*
 * Our address came with joining and stands in our proofs: later the server may repeat it, not change it. Nor has it a second
 * code to give.
 */
static bool own_facts_fit(struct network *n, const struct msg_network *m, struct diag *diag)
{
	struct state_network *st = n->st;
	char have[NETADDR_TEXT_SIZE], told[NETADDR_TEXT_SIZE];

	if (!network_address_fits(st->doc, &m->computer_ip)) {
		diag_set(diag, "the server gave an address outside the network's subnet");
		return false;
	}
	if (st->ip4.family != NETADDR_NONE && !netaddr_ip_equal(&st->ip4, &m->computer_ip)) {
		diag_set(diag,
		         "the server says that this computer has the address %s, not %s: "
		         "to take that one, join the network again",
		         netaddr_ip_text(&m->computer_ip, told), netaddr_ip_text(&st->ip4, have));
		return false;
	}
	st->ip4 = m->computer_ip;
	if (st->code[0] == '\0' && m->code != NULL && !netid_parse_code(m->code, st->code))
		st->code[0] = '\0';
	return true;
}

static int take_answer(struct network *n, const struct msg_network *m, struct diag *diag)
{
	struct document *doc = NULL;
	struct state_network *st = n->st;

	int r = document_parse(&doc, m->document.p, m->document.n, st->doc->network_id, diag);
	if (r < 0)
		return err_up(r);
	if (r != DOCUMENT_OK)
		return 1;
	bool newer = document_follows(st->doc, doc);
	bool older = document_follows(doc, st->doc);
	if (newer)
		(void)network_adopt(n,
		                    doc); /* logged; it counts in memory even if the disk is full */
	else
		end_fork(n, doc);
	if (n->remove) {
		diag_set(diag, "this computer was removed from the network");
		return 1;
	}
	if (older && network_is_owner(n) && n->server != NULL)
		send_document(n);
	return own_facts_fit(n, m, diag) ? 0 : 1;
}

/* What the server says about a member, for the mesh to believe or not. */
static void feed_member(struct network *n, const struct msg_computer *c, enum mesh_news news)
{
	struct mesh_member member = {.ip4 = c->ip, .session = c->session, .connected = c->online};

	if (memcmp(c->key, n->sup->config.state->key, SIG_KEY_SIZE) == 0 || n->mesh == NULL)
		return;
	if (admission_parse(&member.admission, c->admission.p, c->admission.n, NULL) !=
	            ADMISSION_OK ||
	    memcmp(member.admission.key, c->key, SIG_KEY_SIZE) != 0)
		return;
	int r = mesh_member(n->mesh, &member, news, clock_now_us());
	if (r != MESH_OK)
		log_limited(LOG_LEVEL_WARN, 6, "network.member_refused",
		            LOG_STR("network", n->st->doc->name),
		            LOG_STR("name", member.admission.name));
}

static void disconnect(struct network *n)
{
	struct msg m = {.type = MSG_DISCONNECT_NETWORK};

	n->signaling = false;
	memcpy(m.network_ref.network_id, n->st->doc->network_id, NETID_SIZE);
	/* Whether it arrives or not: without the connection we count as gone anyway. */
	if (n->server != NULL && server_is_up(n->server) && server_send(n->server, &m) < 0)
		log_debug("disconnect was not sent");
}

void network_restart(struct network *n)
{
	/* The server is told, so that the others hear of the new beginning and offer again. */
	disconnect(n);
	n->restart = true;
	tunnel_close(n);
}

/* False: the network's subnet is in the way of something here, and n->problem says what. */
static bool subnet_is_free(struct network *n)
{
	struct subnet_facts facts;
	struct diag why = {0};

	if (supervisor_facts(n->sup, n, &facts) < 0)
		return true; /* nothing known against it */
	n->blocked = subnet_conflicts(&facts, &n->st->doc->subnet, 0, &why);
	subnet_facts_deinit(&facts);
	if (n->blocked)
		network_set_problem(n, EXIT_CODE_CONFLICT, "%s", why.text);
	return !n->blocked;
}

/* Makes the interface when there is none yet. True: it is there. */
static bool open_tunnel(struct network *n)
{
	if (n->phase == NETWORK_UP)
		return true;
	n->ip4 = n->st->ip4;
	int r = netid_addr6(n->st->doc->network_id, n->sup->config.state->key, &n->ip6);
	if (r == 0 && subnet_is_free(n))
		r = tunnel_open(n);
	else if (r == 0)
		r = TUNNEL_FAILED;
	if (r < 0)
		network_set_problem(n, EXIT_CODE_FAILED, "the interface could not be made: %s",
		                    strerror(-r));
	if (r == TUNNEL_OK)
		return true;
	disconnect(n);
	n->again = n->phase == NETWORK_CLOSING;
	if (r != TUNNEL_LATER && n->phase == NETWORK_WAITING && !n->blocked)
		loop_timer_start(n->retry, RETRY_SLOW_US);
	supervisor_net_changed(n);
	return false;
}

static void on_connected(struct network *n, const struct msg_network *m)
{
	struct diag diag = {0};
	int r = take_answer(n, m, &diag);

	if (r != 0) {
		network_set_problem(n, EXIT_CODE_FAILED, "%s", r < 0 ? strerror(-r) : diag.text);
		if (!n->remove)
			loop_timer_start(n->retry, RETRY_SLOW_US);
		supervisor_net_changed(n);
		return;
	}
	n->signaling = true;
	if (n->phase == NETWORK_UP && !netaddr_ip_equal(&n->ip4, &n->st->ip4)) {
		log_warn("network.new_address", LOG_STR("network", n->st->doc->name),
		         LOG_ADDR("address", &n->st->ip4));
		network_restart(n);
		return;
	}
	if (!open_tunnel(n))
		return;
	n->problem = (struct diag){0};
	mesh_set_signaling(n->mesh, true, clock_now_us());
	mesh_list_begin(n->mesh);
	for (size_t i = 0; i < m->n_computers; i++)
		feed_member(n, &m->computers[i], MESH_NEWS_LIST);
	mesh_list_end(n->mesh, clock_now_us());
	network_pump(n);
	supervisor_net_changed(n);
}

static void on_refused(struct network *n, const struct msg_error *e)
{
	uint64_t wait_us = RETRY_SLOW_US;

	network_set_problem(n, msg_error_exit_code(e->code), "%s",
	                    e->message != NULL ? e->message : msg_error_text(e->code));
	if (e->retry_after_s > 0 && e->retry_after_s < 3600)
		wait_us = (uint64_t)e->retry_after_s * 1000000u;
	loop_timer_start(n->retry, wait_us);
}

static void on_answer(void *user, enum sigclient_result result, const struct msg *m)
{
	struct network *n = user;

	n->asked = false;
	if (n->phase != NETWORK_WAITING && n->phase != NETWORK_UP)
		return;
	switch (result) {
	case SIGCLIENT_OK:
		on_connected(n, &m->network);
		return;
	case SIGCLIENT_ERROR:
		on_refused(n, &m->error);
		break;
	case SIGCLIENT_TIMEOUT:
		network_set_problem(n, EXIT_CODE_NO_SERVER, "the server does not answer");
		loop_timer_start(n->retry, RETRY_US);
		break;
	case SIGCLIENT_DOWN: /* network_server_up() comes when there is a connection */
	case SIGCLIENT_LOST:
		network_set_problem(n, EXIT_CODE_NO_SERVER, "no connection to %s: %s",
		                    n->st->server.at.host, server_problem(n->server));
		break;
	}
	supervisor_net_changed(n);
}

/* ConnectNetwork: queued until the login, or failed with it. */
static void ask(struct network *n)
{
	uint8_t admission[ADMISSION_SIZE_MAX];
	struct msg m = {.type = MSG_CONNECT_NETWORK};

	if (n->asked || n->signaling || n->server == NULL ||
	    (n->phase != NETWORK_WAITING && n->phase != NETWORK_UP))
		return;
	memcpy(m.connect_network.network_id, n->st->doc->network_id, NETID_SIZE);
	size_t len = admission_encode(&n->st->admission, admission);
	m.connect_network.admission = (struct msg_blob){.p = admission, .n = len};
	n->asked = true;
	int r = server_request(n->server, &m, on_answer, n);
	if (r < 0) {
		n->asked = false;
		network_set_problem(n, EXIT_CODE_FAILED, "%s", strerror(-r));
		loop_timer_start(n->retry, RETRY_US);
	}
}

void network_server_up(struct network *n)
{
	ask(n);
}

void network_server_down(struct network *n)
{
	n->signaling = false;
	if (n->mesh != NULL && n->phase == NETWORK_UP) {
		network_set_problem(n, EXIT_CODE_NO_SERVER, "no connection to %s: %s",
		                    n->st->server.at.host, server_problem(n->server));
		mesh_set_signaling(n->mesh, false, clock_now_us());
		network_pump(n);
	}
}

/*
 * --- notices of the server
 * ----------------------------------------------------------------------------
 */

static void on_renamed(struct network *n, const struct msg_computer_renamed *m)
{
	struct mesh_peer_status p;
	struct mesh_member member = {.connected = true};

	if (admission_parse(&member.admission, m->admission.p, m->admission.n, NULL) !=
	            ADMISSION_OK ||
	    memcmp(member.admission.key, m->key, SIG_KEY_SIZE) != 0)
		return;
	for (size_t i = 0; i < mesh_peer_count(n->mesh); i++) {
		mesh_peer_status(n->mesh, i, &p);
		if (memcmp(p.key, m->key, SIG_KEY_SIZE) != 0)
			continue;
		member.ip4 = p.ip4;
		member.connected = p.connected;
		member.session = p.session;
		if (mesh_member(n->mesh, &member, MESH_NEWS_NOTICE, clock_now_us()) != MESH_OK)
			log_debug("a new name was refused");
		return;
	}
}

static void on_left(struct network *n, const struct msg_computer_left *m)
{
	struct proof_leave leave = {.session = m->session, .unix_s = m->unix_s};

	memcpy(leave.network_id, n->st->doc->network_id, NETID_SIZE);
	memcpy(leave.key, m->key, SIG_KEY_SIZE);
	memcpy(leave.sig, m->signature, sizeof(leave.sig));
	if (mesh_member_left(n->mesh, m->key, m->is_signed ? &leave : NULL, clock_now_us()) !=
	    MESH_OK)
		log_debug("a leave without proof was ignored");
}

/* A kick is real when the owner's document says so; network_adopt() then forgets the network. */
static void on_kicked(struct network *n, const struct msg_kicked *m)
{
	if (m->document.n > 0)
		take_document(n, m->document.p, m->document.n);
	if (n->remove)
		return;
	n->signaling = false;
	network_set_problem(n, EXIT_CODE_REFUSED, "the server says that this computer was removed");
	if (n->phase == NETWORK_UP)
		mesh_set_signaling(n->mesh, false, clock_now_us());
	loop_timer_start(n->retry, RETRY_SLOW_US);
}

/* Notices that need no mesh. True: it was one. */
static bool notice_about_network(struct network *n, const struct msg *m)
{
	switch (m->type) {
	case MSG_DOCUMENT_UPDATED:
		take_document(n, m->document_updated.document.p, m->document_updated.document.n);
		return true;
	case MSG_KICKED:
		on_kicked(n, &m->kicked);
		return true;
	case MSG_NETWORK_DELETED:
		n->signaling = false;
		network_set_problem(n, EXIT_CODE_NOT_FOUND, "the server has deleted this network");
		if (n->phase == NETWORK_UP)
			mesh_set_signaling(n->mesh, false, clock_now_us());
		loop_timer_start(n->retry, RETRY_SLOW_US);
		return true;
	default:
		return false;
	}
}

void network_notice(struct network *n, const struct msg *m)
{
	uint64_t now_us = clock_now_us();
	int r = MESH_OK;

	if (!notice_about_network(n, m)) {
		if (n->phase != NETWORK_UP)
			return;
		switch (m->type) {
		case MSG_SDP_OFFER:
			r = mesh_offer(n->mesh, &m->sdp, now_us);
			break;
		case MSG_SDP_ANSWER:
			r = mesh_answer(n->mesh, &m->sdp, now_us);
			break;
		case MSG_ICE_CANDIDATE:
			r = mesh_candidate(n->mesh, &m->ice_candidate, now_us);
			break;
		case MSG_COMPUTER_JOINED:
		case MSG_COMPUTER_CONNECTED:
			feed_member(n, &m->computer_notice.computer, MESH_NEWS_NOTICE);
			break;
		case MSG_COMPUTER_DISCONNECTED:
			mesh_member_offline(n->mesh, m->computer_disconnected.key, now_us);
			break;
		case MSG_COMPUTER_LEFT:
			on_left(n, &m->computer_left);
			break;
		case MSG_COMPUTER_RENAMED:
			on_renamed(n, &m->computer_renamed);
			break;
		default:
			break;
		}
	}
	log_debug("%s %s", msg_type_name(m->type), r == MESH_OK ? "taken" : "refused");
	network_pump(n);
}

/*
 * --- life
 * ---------------------------------------------------------------------------------------------
 */

int network_new(struct network **out, struct supervisor *s, struct state_network *st)
{
	struct network *n;

	if (s->n_nets == GV_ARRAY_SIZE(s->nets))
		return err_here(-ENOBUFS);
	n = mem_new(struct network);
	if (n == NULL)
		return err_here(-ENOMEM);
	n->sup = s;
	n->st = st;
	n->tun.fd = -1;
	int r = loop_timer_new(&n->timer, s->config.loop, on_timer, n);
	if (r == 0)
		r = loop_timer_new(&n->retry, s->config.loop, on_retry, n);
	if (r < 0) {
		network_free(n);
		return err_up(r);
	}
	s->nets[s->n_nets++] = n;
	*out = n;
	return 0;
}

void network_free(struct network *n)
{
	struct supervisor *s = n->sup;

	network_release_server(n);
	for (size_t i = 0; i < s->n_nets; i++) {
		if (s->nets[i] == n) {
			memmove(&s->nets[i], &s->nets[i + 1], (s->n_nets - i - 1) * sizeof(n));
			s->n_nets--;
			break;
		}
	}
	for (struct op *op = s->ops, *next; op != NULL; op = next) {
		next = op->next;
		if (op->net == n && !op->dead)
			op_fail(op, EXIT_CODE_NOT_FOUND, "the network is gone");
	}
	mesh_free(n->mesh);
	mem_free(n->shared);
	loop_timer_close(n->timer);
	loop_timer_close(n->retry);
	mem_free(n);
}

/* False: not now, or the server cannot be had. */
static bool begin(struct network *n)
{
	if (n->phase == NETWORK_CLOSING)
		n->restart = true;
	if (n->phase == NETWORK_CLOSING || n->remove)
		return false;
	if (n->server == NULL)
		n->server = server_get(n->sup, &n->st->server);
	if (n->server == NULL) {
		network_set_problem(n, EXIT_CODE_FAILED, "too many servers at a time");
		return false;
	}
	if (n->phase == NETWORK_DOWN)
		n->phase = NETWORK_WAITING;
	n->problem = (struct diag){0};
	n->blocked = false;
	return true;
}

void network_start(struct network *n)
{
	if (n->phase != NETWORK_UP && begin(n))
		ask(n);
}

void network_joined(struct network *n, const struct msg_network *m)
{
	if (begin(n))
		on_connected(n, m);
}

void network_release_server(struct network *n)
{
	if (n->server != NULL)
		sigclient_forget(sigline_client(n->server->line), n);
	n->asked = false;
	server_put(GV_STEAL(n->server));
}

void network_stop(struct network *n)
{
	n->restart = n->again = false;
	n->problem = (struct diag){0};
	if (n->phase == NETWORK_DOWN)
		return;
	if (n->phase != NETWORK_CLOSING)
		disconnect(n); /* else the server knows */
	loop_timer_stop(n->retry);
	network_release_server(n);
	tunnel_close(n);
	if (n->phase == NETWORK_DOWN)
		loop_timer_start(n->retry, 0); /* network_closed(), but not under our caller */
}

void network_forget(struct network *n)
{
	n->remove = true;
	if (n->phase == NETWORK_DOWN)
		loop_timer_start(n->retry, 0);
	else
		network_stop(n);
}

void network_closed(struct network *n)
{
	struct supervisor *s = n->sup;
	struct state_network *st = n->st;

	n->phase = NETWORK_DOWN;
	if (n->remove) {
		/* Before anybody is told: what was acknowledged holds. */
		state_take(s->config.state, st);
		n->not_saved = supervisor_save(s);
	}
	supervisor_net_changed(n);
	if (n->remove) {
		network_free(n);
		state_network_free(st);
	} else if (n->restart && !s->stopping) {
		n->restart = n->again = false;
		network_start(n);
	} else if (n->again && !s->stopping) {
		n->again = false;
		n->phase = NETWORK_WAITING;
		loop_timer_start(n->retry, RETRY_SLOW_US);
		supervisor_net_changed(n); /* the problem is known to it */
	}
}
