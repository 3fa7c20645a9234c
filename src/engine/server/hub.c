/* SPDX-License-Identifier: MIT */

#include "engine/server/hub.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/server/hub_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("hub");

#define QUOTA_BLOCKS 16384

/* ---- texts and queues ---- */

static void text_unref(struct hub_text *text)
{
	if (--text->refs > 0)
		return;
	buf_deinit(&text->bytes);
	mem_free(text);
}

/* The JSON of m with one reference, or NULL. */
static struct hub_text *text_new(const struct msg *m)
{
	struct hub_text *text = mem_new(struct hub_text);

	if (text == NULL)
		return NULL;
	text->refs = 1;
	text->bytes = BUF_INIT(MSG_SIZE_TO_CLIENT_MAX);
	int r = msg_format(m, &text->bytes);
	if (r < 0) {
		(void)log_err(r, "hub.format", LOG_STR("type", msg_type_name(m->type)));
		text_unref(text);
		return NULL;
	}
	return text;
}

static void pop(struct hub *h, struct hub_conn *c)
{
	struct hub_out *out = c->out_first;

	c->out_first = out->next;
	if (c->out_first == NULL)
		c->out_last = NULL;
	c->out_bytes -= out->text->bytes.len;
	h->stats.queued_bytes -= out->text->bytes.len;
	text_unref(out->text);
	mem_free(out);
}

static void clear_queue(struct hub *h, struct hub_conn *c)
{
	while (c->out_first != NULL)
		pop(h, c);
}

static void set_ready(struct hub *h, struct hub_conn *c)
{
	if (c->is_ready)
		return;
	c->is_ready = true;
	DL_APPEND2(h->ready, c, ready_prev, ready_next);
}

/*
 * Closes at once, without its queue. Presence is ended by hub_ready(): this may be called while a list of connections is
 * being walked.
 */
static void fail(struct hub *h, struct hub_conn *c)
{
	c->is_closing = true;
	clear_queue(h, c);
	set_ready(h, c);
}

static void fail_slow(struct hub *h, struct hub_conn *c)
{
	h->stats.slow_readers++;
	log_limited(LOG_LEVEL_WARN, 10, "hub.slow_reader", LOG_U64("bytes", c->out_bytes));
	fail(h, c);
}

/* All queues together are too long: the longest goes, not the one that happens to be next. */
static void make_room(struct hub *h)
{
	struct hub_conn *c, *longest = NULL;

	DL_FOREACH(h->conns, c)
	{
		if (longest == NULL || c->out_bytes > longest->out_bytes)
			longest = c;
	}
	if (longest != NULL)
		fail_slow(h, longest);
}

static void push(struct hub *h, struct hub_conn *c, struct hub_text *text)
{
	if (c->is_closing)
		return;
	if (c->out_bytes + text->bytes.len > HUB_QUEUE_MAX) {
		fail_slow(h, c);
		return;
	}
	if (h->stats.queued_bytes + text->bytes.len > h->limits.queues_bytes)
		make_room(h);
	if (c->is_closing)
		return;
	struct hub_out *out = mem_new(struct hub_out);
	if (out == NULL) {
		fail(h, c);
		return;
	}
	out->text = text;
	text->refs++;
	if (c->out_last != NULL)
		c->out_last->next = out;
	else
		c->out_first = out;
	c->out_last = out;
	c->out_bytes += text->bytes.len;
	h->stats.queued_bytes += text->bytes.len;
	set_ready(h, c);
}

void hub_send(struct hub *h, struct hub_conn *c, const struct msg *m)
{
	if (c->is_closing)
		return;
	struct hub_text *text = text_new(m);
	if (text == NULL) {
		fail(h, c);
		return;
	}
	push(h, c, text);
	text_unref(text);
}

void hub_reply(struct hub_request *q, struct msg *m)
{
	memcpy(m->id, q->msg->id, sizeof(m->id));
	hub_send(q->hub, q->conn, m);
}

void hub_broadcast(struct hub *h, const uint8_t id[static NETID_SIZE],
                   const struct hub_conn *except, const struct msg *m)
{
	struct hub_net *net = presence_net(h, id);
	struct hub_presence *p;

	if (net == NULL)
		return;
	struct hub_text *text = text_new(m);
	DL_FOREACH2(net->members, p, net_next)
	{
		if (p->conn == except)
			continue;
		if (text != NULL)
			push(h, p->conn, text);
		else
			fail(h, p->conn); /* it must not go on with an old picture */
	}
	if (text != NULL)
		text_unref(text);
}

int hub_refuse(struct hub_request *q, enum msg_error_code code, const char *fmt, ...)
{
	va_list ap;

	q->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(q->text.text, sizeof(q->text.text), fmt, ap); /* cut is good enough */
	va_end(ap);
	return HUB_REFUSED;
}

/* ---- connections ---- */

int hub_new(struct hub **out, const struct hub_config *config, const struct hub_time *t)
{
	gv_cleanup(hub_freep) struct hub *h = mem_new(struct hub);

	if (h == NULL)
		return err_here(-ENOMEM);
	h->store = config->store;
	h->limits = config->limits;
	h->rng = config->rng;
	h->address_rest_s = config->address_rest_s;
	h->expire_s = config->expire_s;
	h->n_stun = GV_MIN(config->n_stun, (size_t)HUB_STUN_MAX);
	memcpy(h->stun, config->stun, sizeof(h->stun));
	for (; h->n_names < GV_MIN(config->n_names, (size_t)HUB_NAMES_MAX); h->n_names++) {
		h->names[h->n_names] = mem_strdup(config->names[h->n_names]);
		if (h->names[h->n_names] == NULL)
			return err_here(-ENOMEM);
	}
	int r = quota_table_new(&h->changes, &h->limits.change, QUOTA_BLOCKS, rng_u32(&h->rng));
	if (r == 0)
		r = quota_table_new(&h->creates, &h->limits.create, QUOTA_BLOCKS, rng_u32(&h->rng));
	if (r == 0)
		r = quota_table_new(&h->logins, &h->limits.login, QUOTA_BLOCKS, rng_u32(&h->rng));
	if (r == 0)
		r = quota_table_new(&h->pictures, &h->limits.picture, QUOTA_BLOCKS,
		                    rng_u32(&h->rng));
	if (r == 0)
		r = store_counts(h->store, &h->stats.networks, &h->stats.members);
	if (r == 0)
		r = store_failures_count(h->store, &h->failures);
	if (r < 0)
		return err_up(r);
	h->purge_at = GUARD_ROWS_MAX;
	h->stats.start_unix_s = t->unix_s;
	expiry_start(h, t);
	*out = GV_STEAL(h);
	return 0;
}

static void stop_waiting(struct hub *h, struct hub_conn *c)
{
	if (c->wait_prev == NULL)
		return;
	DL_DELETE2(h->waiting, c, wait_prev, wait_next);
	c->wait_prev = NULL;
}

int hub_login(struct hub *h, struct hub_conn *c)
{
	HASH_ADD(hh, h->by_key, key, SIG_KEY_SIZE, c);
	if (c->hh.tbl == NULL)
		return err_here(-ENOMEM);
	c->is_authenticated = true;
	stop_waiting(h, c);
	return 0;
}

/* Takes a connection out of all lists but `conns` and `ready`, and tells those who saw it. */
static void detach(struct hub *h, struct hub_conn *c)
{
	c->is_closing = true;
	if (c->is_authenticated) {
		c->is_authenticated = false;
		HASH_DEL(h->by_key, c);
		presence_end(h, c);
	}
	stop_waiting(h, c);
}

static void conn_free(struct hub *h, struct hub_conn *c)
{
	if (c->is_ready)
		DL_DELETE2(h->ready, c, ready_prev, ready_next);
	DL_DELETE(h->conns, c);
	h->stats.connections--;
	clear_queue(h, c);
	mem_free(c);
}

void hub_free(struct hub *h)
{
	struct hub_conn *c, *next;

	if (h == NULL)
		return;
	h->is_stopping = true;
	DL_FOREACH_SAFE(h->conns, c, next)
	{
		detach(h, c);
		conn_free(h, c);
	}
	for (size_t i = 0; i < h->n_names; i++)
		mem_free(h->names[i]);
	quota_table_free(h->changes);
	quota_table_free(h->creates);
	quota_table_free(h->logins);
	quota_table_free(h->pictures);
	mem_free(h);
}

int hub_open(struct hub *h, const struct netaddr *remote, const struct netaddr *local, void *user,
             const struct hub_time *t, struct hub_conn **out)
{
	if (h->is_stopping || h->stats.connections >= h->limits.max_conns ||
	    !quota_table_take(h->logins, remote, t->us)) {
		h->stats.refused++;
		return HUB_BUSY;
	}
	struct hub_conn *c = mem_new(struct hub_conn);
	if (c == NULL)
		return err_here(-ENOMEM);
	c->user = user;
	c->remote = *remote;
	c->local = *local;
	c->opened_us = t->us;
	rng_bytes(&h->rng, c->nonce, sizeof(c->nonce));
	DL_APPEND(h->conns, c);
	DL_APPEND2(h->waiting, c, wait_prev, wait_next);
	h->stats.connections++;
	h->stats.connections_total++;
	h->stats.peak_connections = GV_MAX(h->stats.peak_connections, h->stats.connections);
	session_challenge(h, c, t);
	*out = c;
	return HUB_OK;
}

void hub_close(struct hub *h, struct hub_conn *c, const struct hub_time *t)
{
	(void)t; /* part of the face: every call into the hub has a time */
	detach(h, c);
	conn_free(h, c);
}

void hub_drop(struct hub *h, struct hub_conn *c, enum msg_error_code code, const char *text)
{
	if (code != MSG_ERROR_OTHER) {
		struct msg m = {.type = MSG_ERROR, .error = {.code = code, .message = text}};
		hub_send(h, c, &m);
	}
	detach(h, c);
	set_ready(h, c);
}

struct hub_conn *hub_find(struct hub *h, const uint8_t key[static SIG_KEY_SIZE])
{
	struct hub_conn *c;

	HASH_FIND(hh, h->by_key, key, SIG_KEY_SIZE, c);
	return c != NULL && !c->is_closing ? c : NULL;
}

void hub_input(struct hub *h, struct hub_conn *c, const char *text, size_t len,
               const struct hub_time *t)
{
	expiry_watch_clock(h, t);
	if (!c->is_closing)
		session_input(h, c, text, len, t);
}

struct hub_conn *hub_ready(struct hub *h)
{
	struct hub_conn *c = h->ready;

	if (c == NULL)
		return NULL;
	DL_DELETE2(h->ready, c, ready_prev, ready_next);
	c->is_ready = false;
	if (c->is_closing)
		detach(h, c);
	return c;
}

void *hub_conn_user(const struct hub_conn *c)
{
	return c->user;
}

bool hub_output(const struct hub_conn *c, const char **text, size_t *len)
{
	if (c->out_first == NULL)
		return false;
	*text = buf_str(&c->out_first->text->bytes);
	*len = c->out_first->text->bytes.len;
	return true;
}

void hub_output_done(struct hub *h, struct hub_conn *c)
{
	if (c->out_first != NULL)
		pop(h, c);
}

bool hub_conn_is_authenticated(const struct hub_conn *c)
{
	return c->is_authenticated;
}

bool hub_conn_is_closing(const struct hub_conn *c)
{
	return c->is_closing;
}

const char *hub_conn_label(const struct hub_conn *c, char out[static 16])
{
	_Static_assert(ENC_BASE64_SIZE(8) <= 16, "the label fits");
	out[0] = '\0';
	if (c->is_authenticated)
		enc_base64url(out, c->key, 8);
	return out;
}

/* ---- time ---- */

uint64_t hub_deadline_us(const struct hub *h)
{
	uint64_t deadline = expiry_deadline_us(h);

	if (h->waiting != NULL)
		deadline = GV_MIN(deadline, h->waiting->opened_us + HUB_AUTH_TIMEOUT_US);
	if (h->n_touched > 0)
		deadline = GV_MIN(deadline, h->touch_at_us);
	return h->failures >= h->purge_at ? 0 : deadline;
}

void hub_timeout(struct hub *h, const struct hub_time *t)
{
	expiry_watch_clock(h, t);
	while (h->waiting != NULL && t->us >= h->waiting->opened_us + HUB_AUTH_TIMEOUT_US) {
		h->stats.login_timeouts++;
		hub_drop(h, h->waiting, MSG_ERROR_NOT_AUTHENTICATED, "no login within 10 seconds");
	}
	if (h->n_touched > 0 && t->us >= h->touch_at_us)
		expiry_touch_now(h, t);
	if (h->failures >= h->purge_at) {
		int r = guard_purge(h, t->unix_s);
		if (r < 0)
			(void)log_err(r, "guard.purge"); /* it is tried again after some more */
	}
	expiry_timeout(h, t);
}

void hub_shutdown(struct hub *h)
{
	struct msg m = {.type = MSG_SERVER_SHUTDOWN,
	                .server_shutdown = {.in_seconds = HUB_SHUTDOWN_S}};
	struct hub_conn *c;

	h->is_stopping = true;
	struct hub_text *text = text_new(&m);
	DL_FOREACH(h->conns, c)
	{
		if (text != NULL)
			push(h, c, text);
	}
	if (text != NULL)
		text_unref(text);
}

void hub_stats(const struct hub *h, struct hub_stats *out)
{
	*out = h->stats;
	out->computers = HASH_COUNT(h->by_key);
	out->active_networks = HASH_COUNT(h->nets);
}
