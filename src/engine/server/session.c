/* SPDX-License-Identifier: MIT */

#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/server/hub_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("session");

/* A connection that goes on sending after so many refusals in a row is closed. */
#define REFUSED_MAX 1000

#define FAILURE_LINES 60 /* a minute, in the log */
#define BUSY_RETRY_S  5  /* another program writes to the database */

#define URL_SIZE (PROOF_HOST_MAX + 16)

void session_challenge(struct hub *h, struct hub_conn *c, const struct hub_time *t)
{
	struct msg m = {.type = MSG_CHALLENGE,
	                .challenge = {.version_lo = MSG_VERSION_LO,
	                              .version_hi = MSG_VERSION_HI,
	                              .unix_s = t->unix_s}};

	memcpy(m.challenge.nonce, c->nonce, sizeof(c->nonce));
	hub_send(h, c, &m);
}

static void send_error(struct hub_conn *c, const struct hub_request *q, const char *id)
{
	struct msg m = {.type = MSG_ERROR,
	                .error = {.code = q->code,
	                          .message = q->text.text,
	                          .suggestion = q->suggestion[0] != '\0' ? q->suggestion : NULL,
	                          .retry_after_s = q->retry_after_s}};

	if (!text_is_name(q->text.text, MSG_TEXT_MAX))
		m.error.message = "refused";
	(void)snprintf(m.id, sizeof(m.id), "%s", id); /* an id is never longer */
	hub_send(q->hub, c, &m);
}

/* Whether the server is known by this "host:port": by its own names, or by the address the client arrived at. */
static bool is_our_name(const struct hub *h, const struct hub_conn *c, const char *host)
{
	char text[NETADDR_TEXT_SIZE], localhost[32];

	for (size_t i = 0; i < h->n_names; i++) {
		if (strcmp(h->names[i], host) == 0)
			return true;
	}
	if (strcmp(netaddr_text(&c->local, text), host) == 0)
		return true;
	(void)snprintf(localhost, sizeof(localhost), "localhost:%u", (unsigned)c->local.port);
	return netaddr_is_loopback(&c->local) && strcmp(localhost, host) == 0;
}

/* "stun:host:port" for one socket, as this client reaches it. */
static void stun_url(const struct hub_conn *c, const struct netaddr *stun,
                     char out[static URL_SIZE])
{
	char text[NETADDR_TEXT_SIZE];

	if (netaddr_is_any(stun) || netaddr_ip_equal(stun, &c->local)) {
		const char *colon = strrchr(c->host, ':'); /* is_our_name(): there is one */
		int n = colon != NULL ? (int)(colon - c->host) : 0;

		(void)snprintf(out, URL_SIZE, "stun:%.*s:%u", n, c->host, (unsigned)stun->port);
	} else {
		(void)snprintf(out, URL_SIZE, "stun:%s", netaddr_text(stun, text));
	}
}

static void reply_authenticated(struct hub_request *q, uint32_t version)
{
	char urls[HUB_STUN_MAX][URL_SIZE];
	struct msg_ice_server servers[HUB_STUN_MAX] = {0};
	size_t n = 0;

	for (size_t i = 0; i < q->hub->n_stun; i++) {
		bool is_new = true;

		stun_url(q->conn, &q->hub->stun[i], urls[n]);
		for (size_t k = 0; k < n; k++)
			is_new = is_new && strcmp(urls[k], urls[n]) != 0;
		if (is_new) {
			servers[n].urls = urls[n];
			n++;
		}
	}
	struct msg m = {
		.type = MSG_AUTHENTICATED,
		.authenticated = {.version = version, .ice_servers = servers, .n_ice_servers = n}};
	hub_reply(q, &m);
}

static int authenticate(struct hub_request *q)
{
	const struct msg_authenticate *a = &q->msg->authenticate;
	struct hub_conn *c = q->conn;
	struct proof_login proof = {.host = a->host, .session = a->session};
	uint32_t lo = GV_MAX(a->version_lo, (uint32_t)MSG_VERSION_LO);
	uint32_t hi = GV_MIN(a->version_hi, (uint32_t)MSG_VERSION_HI);
	char label[16];

	if (c->is_authenticated)
		return hub_refuse(q, MSG_ERROR_BAD_REQUEST, "logged in already");
	if (lo > hi)
		return hub_refuse(
			q, MSG_ERROR_UNSUPPORTED_VERSION,
			"this server speaks protocol versions %u to %u, the client %u to %u",
			(unsigned)MSG_VERSION_LO, (unsigned)MSG_VERSION_HI, a->version_lo,
			a->version_hi);
	if (!is_our_name(q->hub, c, a->host))
		return hub_refuse(q, MSG_ERROR_BAD_LOGIN,
		                  "this server does not know itself by the name it was reached at;"
		                  " its operator sets it by --public-url");
	memcpy(proof.key, a->key, sizeof(proof.key));
	memcpy(proof.nonce, c->nonce, sizeof(proof.nonce));
	memcpy(proof.sig, a->signature, sizeof(proof.sig));
	int r = proof_login_verify(&proof);
	if (r < 0)
		return err_up(r);
	if (r != PROOF_OK)
		return hub_refuse(q, MSG_ERROR_BAD_LOGIN, "the login is not signed by its key");

	struct hub_conn *old = hub_find(q->hub, a->key);
	if (old != NULL) {
		q->hub->stats.superseded++;
		hub_drop(q->hub, old, MSG_ERROR_SUPERSEDED,
		         "the same computer key logged in again from elsewhere");
	}
	memcpy(c->key, a->key, sizeof(c->key));
	c->session = a->session;
	(void)snprintf(c->host, sizeof(c->host), "%s", a->host); /* is_our_name(): it fits */
	r = hub_login(q->hub, c);
	if (r < 0)
		return err_up(r);
	reply_authenticated(q, hi);
	log_limited(LOG_LEVEL_INFO, 120, "session.login",
	            LOG_STR("computer", hub_conn_label(c, label)), LOG_STR("name", a->name));
	return 0;
}

static int ping(struct hub_request *q)
{
	struct msg m = {.type = MSG_PONG, .pong = {.unix_s = q->t->unix_s}};

	hub_reply(q, &m);
	return 0;
}

static const hub_handler_fn handlers[MSG_TYPES] = {
	[MSG_AUTHENTICATE] = authenticate,
	[MSG_CREATE_NETWORK] = network_create,
	[MSG_LOOKUP_NETWORK] = network_lookup,
	[MSG_JOIN_NETWORK] = join_network,
	[MSG_CONNECT_NETWORK] = presence_connect,
	[MSG_DISCONNECT_NETWORK] = presence_disconnect,
	[MSG_LEAVE_NETWORK] = network_leave,
	[MSG_UPDATE_DOCUMENT] = update_document,
	[MSG_UPDATE_CLIENT_INFO] = update_client_info,
	[MSG_GET_COMPUTER_NETWORKS] = presence_networks,
	[MSG_PING] = ping,
	[MSG_SDP_OFFER] = presence_forward,
	[MSG_SDP_ANSWER] = presence_forward,
	[MSG_ICE_CANDIDATE] = presence_forward,
};

/* Requests that write or read much: they are limited for each address block as well. */
static bool is_costly(enum msg_type type)
{
	return type == MSG_CREATE_NETWORK || type == MSG_LOOKUP_NETWORK ||
	       type == MSG_JOIN_NETWORK || type == MSG_UPDATE_DOCUMENT ||
	       type == MSG_UPDATE_CLIENT_INFO || type == MSG_LEAVE_NETWORK ||
	       type == MSG_GET_COMPUTER_NETWORKS;
}

/*
 * Those answered with a network and all its members, and told to them. What that costs depends on the network, so it is taken
 * when it is known (network_reply()), and of the key: each new connection would begin anew.
 */
static bool is_picture(enum msg_type type)
{
	return type == MSG_CREATE_NETWORK || type == MSG_JOIN_NETWORK ||
	       type == MSG_CONNECT_NETWORK;
}

static int handle(struct hub_request *q)
{
	struct hub *h = q->hub;
	enum msg_type type = q->msg->type;

	if (h->is_stopping)
		return hub_refuse(q, MSG_ERROR_SHUTTING_DOWN, "the server is going down");
	if (!q->conn->is_authenticated && type != MSG_AUTHENTICATE)
		return hub_refuse(q, MSG_ERROR_NOT_AUTHENTICATED, "log in first");
	if (msg_is_request(type) && !quota_take(&q->conn->request, &h->limits.request, q->t->us)) {
		q->retry_after_s = quota_wait_s(&q->conn->request, &h->limits.request, q->t->us);
		return hub_refuse(q, MSG_ERROR_RATE_LIMITED, "too many requests");
	}
	if (is_costly(type) && !quota_table_take(h->changes, &q->conn->remote, q->t->us)) {
		q->retry_after_s = 60;
		return hub_refuse(q, MSG_ERROR_RATE_LIMITED, "too many requests from your address");
	}
	if (is_picture(type) && q->conn->is_authenticated) {
		q->retry_after_s = quota_table_wait_s(h->pictures, q->conn->key, q->t->us);
		if (q->retry_after_s > 0)
			return hub_refuse(q, MSG_ERROR_RATE_LIMITED,
			                  "connecting to networks too often");
	}
	hub_handler_fn fn = handlers[type];
	return fn != NULL ? fn(q) : hub_refuse(q, MSG_ERROR_BAD_REQUEST, "not a request");
}

static void answer(struct hub_request *q)
{
	int r = handle(q);

	if (r == 0)
		return;
	q->hub->stats.refused++;
	store_rollback(q->hub->store);
	if (r != HUB_REFUSED) {
		static struct log_limit limit; /* a full disk must not be filled by saying so */
		uint32_t left_out;

		if (log_limit_pass(&limit, FAILURE_LINES, &left_out))
			(void)log_err(r, "session.failed",
			              LOG_STR("type", msg_type_name(q->msg->type)),
			              LOG_LEFT_OUT(left_out));
		q->retry_after_s = r == -EBUSY ? BUSY_RETRY_S : 0;
		hub_refuse(q, MSG_ERROR_SERVER_ERROR, "%s",
		           q->is_changed ? "the server did it but could not answer: ask again"
		                         : "the server could not do it; nothing was changed");
	}
	send_error(q->conn, q, q->msg->id);
	/* One try for each nonce. */
	if (q->msg->type == MSG_AUTHENTICATE && !q->conn->is_authenticated)
		hub_drop(q->hub, q->conn, MSG_ERROR_OTHER, "");
}

static bool is_too_fast(struct hub_request *q)
{
	struct hub_conn *c = q->conn;

	if (quota_take(&c->message, &q->hub->limits.message, q->t->us)) {
		c->refused_in_row = 0;
		return false;
	}
	q->hub->stats.refused++;
	hub_refuse(q, MSG_ERROR_RATE_LIMITED, "too many messages");
	q->retry_after_s = quota_wait_s(&c->message, &q->hub->limits.message, q->t->us);
	send_error(c, q, "");
	if (++c->refused_in_row > REFUSED_MAX)
		hub_drop(q->hub, c, MSG_ERROR_OTHER, "");
	return true;
}

void session_input(struct hub *h, struct hub_conn *c, const char *text, size_t len,
                   const struct hub_time *t)
{
	struct msg m = {0};
	struct hub_request q = {.hub = h, .conn = c, .msg = &m, .t = t};
	struct diag diag = {0};

	h->stats.messages++;
	if (is_too_fast(&q))
		return;
	int r = MSG_TOO_BIG;
	if (c->is_authenticated || len <= HUB_FIRST_MAX)
		r = msg_parse(&m, text, len, MSG_FROM_CLIENT, &diag);
	if (r == MSG_OK) {
		answer(&q);
		msg_deinit(&m);
		return;
	}
	if (r < 0)
		hub_refuse(&q, MSG_ERROR_SERVER_ERROR, "the server is out of memory");
	else if (r == MSG_TOO_BIG)
		hub_refuse(&q, MSG_ERROR_TOO_BIG, "a message has at most %u bytes",
		           c->is_authenticated ? (unsigned)MSG_SIZE_TO_SERVER_MAX
		                               : (unsigned)HUB_FIRST_MAX);
	else
		hub_refuse(&q, MSG_ERROR_BAD_REQUEST, "%s",
		           diag.text[0] != '\0' ? diag.text : "malformed message");
	h->stats.refused++;
	/* Without a type nothing tells the request, so the answer may have no id. */
	send_error(c, &q, r == MSG_UNKNOWN_TYPE || r == MSG_BAD_FIELD ? m.id : "");
	if (r == MSG_TOO_BIG || r == MSG_BAD_JSON)
		hub_drop(h, c, MSG_ERROR_OTHER, "");
}
