/* SPDX-License-Identifier: MIT */

#include "engine/client/sigclient.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypto/identity.h"
#include "proto/sig/admission.h"
#include "proto/sig/proof.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("sigclient");

#define BACKOFF_MIN_US (1u * 1000000u)
#define BACKOFF_MAX_US (30u * 1000000u)
/* Opening the line and logging in together take at most this long. */
#define LOGIN_TIMEOUT_US (15u * 1000000u)
/* Another computer with our key logged in; do not fight over it. */
#define SUPERSEDED_WAIT_US (30u * 1000000u)
/* A connection that lived this long was a good one: the next failure begins with short waits again. */
#define LINE_GOOD_US (10u * 1000000u)
/* Our own ping finds a line that is open but carries nothing. */
#define PING_PERIOD_US (20u * 1000000u)

enum client_state {
	CLIENT_WAITING, /* until next_us */
	CLIENT_OPENING, /* the line, then the server's challenge */
	CLIENT_LOGIN,   /* Authenticate was sent */
	CLIENT_UP,
};

struct pending {
	struct pending *next;
	uint64_t number; /* our message_id */
	enum msg_type type;
	uint64_t deadline_us;
	sigclient_reply_fn fn; /* NULL: forgotten */
	void *user;
	bool sent;
	struct buf text; /* while not sent */
};

struct sigclient {
	struct link_server server;
	const struct identity *id;
	uint64_t session;
	char name[ADMISSION_NAME_MAX + 1];
	struct sigclient_line line;
	void *line_user;
	struct sigclient_fns fns;
	void *user;
	struct rng rng;

	enum client_state state;
	uint64_t next_us;    /* of the state: connect, give up the login, or ping */
	uint64_t backoff_us; /* of the next failure */
	uint64_t good_us;    /* since when the connection counts as a good one */
	bool superseded;     /* waits out its time, whatever happens */
	uint64_t login_id, next_id;
	struct pending *pending; /* oldest first */
	struct pending *ending;  /* taken out of it, their users not told yet */
	size_t n_pending;
	struct diag problem;
};

int sigclient_new(struct sigclient **out, const struct sigclient_config *config, uint64_t now_us)
{
	struct sigclient *c = mem_new(struct sigclient);

	if (c == NULL)
		return err_here(-ENOMEM);
	c->server = *config->server;
	c->id = config->id;
	c->session = config->session;
	(void)snprintf(c->name, sizeof(c->name), "%s", config->name); /* names are checked */
	c->line = config->line;
	c->line_user = config->line_user;
	c->fns = config->fns;
	c->user = config->user;
	c->rng = config->rng;
	c->next_us = now_us;
	c->backoff_us = BACKOFF_MIN_US;
	*out = c;
	return 0;
}

static void pending_free(struct sigclient *c, struct pending *p)
{
	buf_deinit(&p->text);
	mem_free(p);
	c->n_pending--;
}

void sigclient_free(struct sigclient *c)
{
	if (c == NULL)
		return;
	if (c->state != CLIENT_WAITING)
		c->line.close(c->line_user);
	while (c->pending != NULL) {
		struct pending *p = c->pending;
		c->pending = p->next;
		pending_free(c, p);
	}
	mem_free(c);
}

bool sigclient_is_up(const struct sigclient *c)
{
	return c->state == CLIENT_UP;
}

const char *sigclient_problem(const struct sigclient *c)
{
	return c->problem.text;
}

/*
 * Takes out of the list what `due` says, and tells the users afterwards: they may send new
 * requests.
 */
static void finish(struct sigclient *c, bool (*due)(const struct pending *p, uint64_t now_us),
                   enum sigclient_result sent, enum sigclient_result unsent, uint64_t now_us)
{
	struct pending **end = &c->ending;

	while (*end != NULL)
		end = &(*end)->next;
	for (struct pending **at = &c->pending; *at != NULL;) {
		struct pending *p = *at;
		if (!due(p, now_us)) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		p->next = NULL;
		*end = p;
		end = &p->next;
	}
	while (c->ending != NULL) {
		struct pending *p = c->ending;
		c->ending = p->next;
		if (p->fn != NULL)
			p->fn(p->user, p->sent ? sent : unsent, NULL);
		pending_free(c, p);
	}
}

static bool is_any(const struct pending *p, uint64_t now_us)
{
	(void)p;
	(void)now_us;
	return true;
}

static bool is_late(const struct pending *p, uint64_t now_us)
{
	return now_us >= p->deadline_us;
}

/* The line is gone, by us or by the other side: wait, longer after each failure in a row. */
static void fall(struct sigclient *c, uint64_t wait_us, uint64_t now_us)
{
	bool was_up = c->state == CLIENT_UP;

	c->state = CLIENT_WAITING;
	/*
	 * Half of it is fixed, half is chance, so that a thousand computers do not come back at
	 * once.
	 */
	c->next_us = now_us + wait_us / 2 + rng_below(&c->rng, (uint32_t)(wait_us / 2) + 1);
	log_debug("next attempt in %" PRIu64 " ms: %s", (c->next_us - now_us) / 1000,
	          c->problem.text);
	if (was_up)
		c->fns.down(c->user);
	finish(c, is_any, SIGCLIENT_LOST, SIGCLIENT_DOWN, now_us);
}

static void fail(struct sigclient *c, const char *why, uint64_t now_us)
{
	/* A server that takes every login and breaks off at once is no better than one that is not there. */
	if (c->state == CLIENT_UP && now_us >= c->good_us)
		c->backoff_us = BACKOFF_MIN_US;
	uint64_t wait_us = c->backoff_us;

	c->problem = (struct diag){0};
	diag_set(&c->problem, "%s", why);
	c->backoff_us = GV_MIN(c->backoff_us * 2, (uint64_t)BACKOFF_MAX_US);
	fall(c, wait_us, now_us);
}

/* We end it. */
static void hang_up(struct sigclient *c, const char *why, uint64_t now_us)
{
	c->line.close(c->line_user);
	fail(c, why, now_us);
}

static void connect_line(struct sigclient *c, uint64_t now_us)
{
	c->state = CLIENT_OPENING;
	c->superseded = false;
	c->next_us = now_us + LOGIN_TIMEOUT_US;
	int r = c->line.open(c->line_user);
	if (r < 0)
		fail(c, strerror(-r), now_us);
}

void sigclient_kick(struct sigclient *c, uint64_t now_us)
{
	if (c->state == CLIENT_WAITING && !c->superseded && c->next_us > now_us)
		c->next_us = now_us;
}

static int send_text(struct sigclient *c, const struct buf *text)
{
	return c->line.send(c->line_user, buf_str(text), text->len);
}

static void set_id(struct msg *m, uint64_t number)
{
	(void)snprintf(m->id, sizeof(m->id), "%" PRIu64, number); /* at most 20 digits */
}

int sigclient_send(struct sigclient *c, struct msg *m)
{
	struct buf text = BUF_INIT(MSG_SIZE_TO_SERVER_MAX);

	if (c->state != CLIENT_UP)
		return err_here(-ENOTCONN);
	set_id(m, ++c->next_id);
	int r = msg_format(m, &text);
	if (r == 0)
		r = send_text(c, &text);
	buf_deinit(&text);
	return r < 0 ? err_up(r) : 0;
}

int sigclient_request(struct sigclient *c, struct msg *m, uint64_t now_us, sigclient_reply_fn fn,
                      void *user)
{
	struct pending **end = &c->pending;

	if (c->n_pending == SIGCLIENT_PENDING_MAX)
		return err_here(-ENOBUFS);
	struct pending *p = mem_new(struct pending);
	if (p == NULL)
		return err_here(-ENOMEM);
	c->n_pending++;
	p->text = BUF_INIT(MSG_SIZE_TO_SERVER_MAX);
	p->number = ++c->next_id;
	p->type = m->type;
	p->deadline_us = now_us + SIGCLIENT_TIMEOUT_US;
	p->fn = fn;
	p->user = user;
	set_id(m, p->number);
	int r = msg_format(m, &p->text);
	if (r == 0 && c->state == CLIENT_UP) {
		r = send_text(c, &p->text);
		p->sent = true;
	}
	if (r < 0) {
		pending_free(c, p);
		return err_up(r);
	}
	if (p->sent)
		buf_deinit(&p->text);
	while (*end != NULL)
		end = &(*end)->next;
	*end = p;
	sigclient_kick(c, now_us);
	return 0;
}

static void forget(struct pending *list, const void *user)
{
	for (struct pending *p = list; p != NULL; p = p->next) {
		if (p->user == user)
			p->fn = NULL;
	}
}

void sigclient_forget(struct sigclient *c, const void *user)
{
	forget(c->pending, user);
	forget(c->ending, user);
}

void sigclient_line_up(struct sigclient *c, uint64_t now_us)
{
	(void)now_us; /* the deadline of the login runs since the line was asked for */
	log_debug("line is open");
	c->problem = (struct diag){0};
}

void sigclient_line_down(struct sigclient *c, const char *why, uint64_t now_us)
{
	if (c->state != CLIENT_WAITING)
		fail(c, why, now_us);
}

/*
 * Answers the challenge with a signature over the host we dialled, so that no other server can use
 * it.
 */
static int authenticate(struct sigclient *c, const struct msg_challenge *challenge)
{
	char host[LINK_HOST_PORT_SIZE];
	struct proof_login proof = {.host = link_server_host_port(&c->server, host),
	                            .session = c->session};
	struct buf text = BUF_INIT(MSG_SIZE_TO_SERVER_MAX);

	identity_public(c->id, proof.key);
	memcpy(proof.nonce, challenge->nonce, sizeof(proof.nonce));
	int r = proof_login_sign(&proof, c->id);
	if (r < 0)
		return err_up(r);
	struct msg m = {
		.type = MSG_AUTHENTICATE,
		.authenticate = {.host = proof.host,
	                         .session = c->session,
	                         .name = c->name[0] != '\0' ? c->name : NULL,
	                         .version_lo = MSG_VERSION_LO,
	                         .version_hi = MSG_VERSION_HI},
	};
	memcpy(m.authenticate.key, proof.key, sizeof(proof.key));
	memcpy(m.authenticate.signature, proof.sig, sizeof(proof.sig));
	c->login_id = ++c->next_id;
	set_id(&m, c->login_id);
	r = msg_format(&m, &text);
	if (r == 0)
		r = send_text(c, &text);
	buf_deinit(&text);
	if (r < 0)
		return err_up(r);
	c->state = CLIENT_LOGIN;
	return 0;
}

static const char other_version[] = "the server speaks another version of the protocol";

static void on_challenge(struct sigclient *c, const struct msg_challenge *challenge,
                         uint64_t now_us)
{
	if (c->state != CLIENT_OPENING)
		return;
	if (challenge->version_lo > MSG_VERSION_HI || challenge->version_hi < MSG_VERSION_LO) {
		hang_up(c, other_version, now_us);
		return;
	}
	int r = authenticate(c, challenge);
	if (r < 0)
		hang_up(c, strerror(-r), now_us);
}

static void on_welcome(struct sigclient *c, const struct msg_authenticated *welcome,
                       uint64_t now_us)
{
	if (c->state != CLIENT_LOGIN)
		return;
	if (welcome->version < MSG_VERSION_LO || welcome->version > MSG_VERSION_HI) {
		hang_up(c, other_version, now_us);
		return;
	}
	c->state = CLIENT_UP;
	c->next_us = now_us + PING_PERIOD_US;
	c->good_us = now_us + LINE_GOOD_US;
	c->problem = (struct diag){0};
	/* What waited goes first: the user's own requests follow in up(). */
	for (struct pending *p = c->pending; p != NULL; p = p->next) {
		if (p->sent)
			continue;
		/* A line that cannot take it is about to break; the request fails with it. */
		if (send_text(c, &p->text) == 0)
			buf_deinit(&p->text);
		p->sent = true;
	}
	c->fns.up(c->user, welcome);
}

/* Errors about the connection itself, or the login. True: handled here. */
static bool on_line_error(struct sigclient *c, const struct msg_error *e, uint64_t now_us)
{
	char why[200];

	if (e->code == MSG_ERROR_SUPERSEDED) {
		c->line.close(c->line_user);
		c->problem = (struct diag){0};
		c->superseded = true;
		diag_set(&c->problem, "another computer logged in with the same identity.key; "
		                      "each computer needs its own");
		fall(c, SUPERSEDED_WAIT_US * 2, now_us); /* of which at least half is waited */
		return true;
	}
	if (c->state == CLIENT_UP)
		return false;
	(void)snprintf(why, sizeof(why), "the server refused the login: %s",
	               e->message != NULL ? e->message : msg_error_text(e->code)); /* may be cut */
	hang_up(c, why, now_us);
	return true;
}

/* Finds the request of a reply and takes it out of the list. */
static struct pending *take_pending(struct sigclient *c, const char *id)
{
	char text[MSG_ID_MAX + 1];

	for (struct pending **at = &c->pending; *at != NULL; at = &(*at)->next) {
		struct pending *p = *at;
		(void)snprintf(text, sizeof(text), "%" PRIu64, p->number); /* at most 20 digits */
		if (p->sent && strcmp(text, id) == 0) {
			*at = p->next;
			return p;
		}
	}
	return NULL;
}

static void on_reply(struct sigclient *c, const struct msg *m)
{
	struct pending *p = take_pending(c, m->id);

	if (p == NULL) {
		if (m->type == MSG_ERROR)
			c->fns.notice(c->user, m); /* to an offer, an answer or a candidate */
		return;
	}
	if (p->fn != NULL && m->type == MSG_ERROR) {
		p->fn(p->user, SIGCLIENT_ERROR, m);
	} else if (p->fn != NULL && m->type == msg_reply_type(p->type)) {
		p->fn(p->user, SIGCLIENT_OK, m);
	} else if (p->fn != NULL) {
		log_debug("%s was answered by %s", msg_type_name(p->type), msg_type_name(m->type));
		p->fn(p->user, SIGCLIENT_TIMEOUT, NULL);
	}
	pending_free(c, p);
}

static void on_message(struct sigclient *c, const struct msg *m, uint64_t now_us)
{
	switch (m->type) {
	case MSG_CHALLENGE:
		on_challenge(c, &m->challenge, now_us);
		return;
	case MSG_AUTHENTICATED:
		on_welcome(c, &m->authenticated, now_us);
		return;
	case MSG_ERROR:
		if ((m->id[0] == '\0' || c->state != CLIENT_UP) &&
		    on_line_error(c, &m->error, now_us))
			return;
		break;
	default:
		break;
	}
	if (c->state != CLIENT_UP)
		return;
	if (m->id[0] != '\0' && m->type != MSG_SDP_OFFER && m->type != MSG_SDP_ANSWER &&
	    m->type != MSG_ICE_CANDIDATE)
		on_reply(c, m);
	else
		c->fns.notice(c->user, m);
}

void sigclient_line_text(struct sigclient *c, const char *text, size_t len, uint64_t now_us)
{
	struct msg m;
	struct diag diag = {0};

	if (c->state == CLIENT_WAITING)
		return;
	int r = msg_parse(&m, text, len, MSG_FROM_SERVER, &diag);
	if (r == MSG_OK) {
		on_message(c, &m, now_us);
		msg_deinit(&m);
	} else if (r == MSG_TOO_BIG || r == MSG_BAD_JSON) {
		hang_up(c, "the server does not speak goVPN's protocol", now_us);
	} else {
		log_debug("message of the server ignored: %s", diag.text);
	}
}

uint64_t sigclient_deadline_us(const struct sigclient *c)
{
	uint64_t at = c->next_us;

	for (const struct pending *p = c->pending; p != NULL; p = p->next)
		at = GV_MIN(at, p->deadline_us);
	return at;
}

static void on_pong(void *user, enum sigclient_result result, const struct msg *msg)
{
	struct sigclient *c = user;

	(void)msg;
	if (result == SIGCLIENT_TIMEOUT && c->state == CLIENT_UP)
		c->next_us = 0; /* sigclient_timeout() hangs up */
}

static void ping(struct sigclient *c, uint64_t now_us)
{
	struct msg m = {.type = MSG_PING};

	c->next_us = now_us + PING_PERIOD_US;
	if (sigclient_request(c, &m, now_us, on_pong, c) < 0)
		hang_up(c, "the connection to the server is stuck", now_us);
}

void sigclient_timeout(struct sigclient *c, uint64_t now_us)
{
	finish(c, is_late, SIGCLIENT_TIMEOUT, SIGCLIENT_DOWN, now_us);
	if (now_us < c->next_us)
		return;
	switch (c->state) {
	case CLIENT_WAITING:
		connect_line(c, now_us);
		break;
	case CLIENT_OPENING:
	case CLIENT_LOGIN:
		hang_up(c, "the server does not answer", now_us);
		break;
	case CLIENT_UP:
		if (c->next_us == 0)
			hang_up(c, "the server does not answer any more", now_us);
		else
			ping(c, now_us);
		break;
	}
}
