/* SPDX-License-Identifier: MIT */

#include "io/ws_server.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/udp.h"

#include <errno.h>
#include <libwebsockets.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* uthash: checked allocation in place of exit(). */
#define HASH_NONFATAL_OOM                  1
#define HASH_FUNCTION(key, key_len, hashv) (hashv) = crc32c((key), (key_len))
#define uthash_malloc(n)                   mem_alloc(1, (n))
#define uthash_free(p, n)                  mem_free(p)
#include <uthash.h>
#include <utlist.h>

LOG_MODULE("ws_server");

#define BACKLOG         512
#define ACCEPT_MAX      64 /* in one round of the loop */
#define CHUNK_SIZE      16384
#define CLOSE_TIMEOUT_S 5
#define CLOSE_ROUNDS    16
#define SWEEP_US        1000000
/* lws says nothing of an empty pong. */
#define PING_SIZE 4
/* A message that has begun to come must be whole after timeout_s and a second for each so many bytes. */
#define IN_BYTES_S 16384
/* An address block may take up this part of the room that is left; so many connections in any case. */
#define SHARE          16
#define BLOCK_MIN      8
#define HEADERS_SIZE   1024
#define HTTP_IDLE_S    5
#define FORWARDED_SIZE 256

/* Connections of one address block. */
struct block {
	uint8_t key[17]; /* family, address */
	size_t conns;
	size_t in_bytes; /* of messages that are not whole yet */
	UT_hash_handle hh;
};

/* One TCP connection; a WebSocket from `open` on. */
struct ws_conn {
	struct ws_server *server;
	struct lws *wsi;
	struct block *block;
	struct netaddr peer;          /* of the socket: the client, or a proxy */
	struct netaddr remote, local; /* the client */

	bool is_open; /* `open` returned true */
	bool is_closing;
	bool is_cut;    /* the rest of this message is dropped */
	bool is_killed; /* too slow */
	void *user;     /* with is_open */
	struct buf in;
	size_t in_limit;
	uint64_t heard_us; /* last message or answer to a ping; of a WebSocket */
	bool ping_is_due, was_pinged;
	uint64_t in_since_us; /* begin of the message that comes; 0: none */
	size_t sent;          /* bytes of the message being sent */
	uint64_t
		out_since_us; /* something waits for the line, which took nothing since then; 0: nothing waits */

	struct buf body; /* of an HTTP answer */
	size_t body_sent;

	struct ws_conn *prev, *next; /* ws_server.all */
};

struct listener {
	struct ws_server *server;
	int fd; /* owned */
	struct loop_fd *watch;
};

struct ws_server {
	struct loop *loop;
	struct ws_server_config config;
	struct ws_server_fns fns;
	void *user;
	struct lws_context *context;
	struct lws_vhost *vhost;
	struct listener listeners[WS_SERVER_LISTEN_MAX];
	size_t n_listeners;
	struct ws_conn *all;
	struct block *blocks; /* hash */
	size_t conns, in_bytes;
	struct loop_timer *resume; /* after running out of descriptors */
	struct loop_timer *sweep;  /* looks for slow connections, while there are any */
	uint8_t chunk[LWS_PRE + CHUNK_SIZE];
};

/* ---- limits ---- */

static void block_key(const struct netaddr *a, uint8_t out[static 17])
{
	struct netprefix p = netprefix_of(a, a->family == NETADDR_IP6 ? 56 : 32);

	out[0] = p.addr.family;
	memcpy(out + 1, p.addr.ip, 16);
}

static void block_free(struct ws_server *s, struct block *b)
{
	HASH_DEL(s->blocks, b);
	mem_free(b);
}

/*
 * How many connections one address block may have now. The fuller the server, the fewer: it takes very many addresses to leave
 * no room for others.
 */
static size_t block_max(const struct ws_server *s)
{
	size_t left = s->config.max_conns - GV_MIN(s->conns, s->config.max_conns);

	size_t share = GV_MAX(left / SHARE, (size_t)BLOCK_MIN);

	return GV_MIN(share, s->config.max_conns_block);
}

/* Counts a connection; NULL: one too many, or no memory. */
static struct block *block_enter(struct ws_server *s, const struct netaddr *remote)
{
	uint8_t key[17];
	struct block *b;

	block_key(remote, key);
	HASH_FIND(hh, s->blocks, key, sizeof(key), b);
	if (b == NULL) {
		b = mem_new(struct block);
		if (b == NULL)
			return NULL;
		memcpy(b->key, key, sizeof(key));
		HASH_ADD(hh, s->blocks, key, sizeof(b->key), b);
		if (b->hh.tbl == NULL) {
			mem_free(b);
			return NULL;
		}
	}
	/* Behind a proxy everybody comes from there. */
	bool is_proxy = s->config.trust_forwarded && netaddr_is_loopback(remote);
	if (b->conns >= block_max(s) && !is_proxy) {
		if (b->conns == 0)
			block_free(s, b);
		return NULL;
	}
	b->conns++;
	return b;
}

static void block_leave(struct ws_server *s, struct block *b)
{
	if (--b->conns == 0)
		block_free(s, b);
}

static struct ws_conn *conn_new(struct ws_server *s, const struct netaddr *remote,
                                const struct netaddr *local)
{
	struct block *block = s->conns < s->config.max_conns ? block_enter(s, remote) : NULL;

	if (block == NULL)
		return NULL;
	struct ws_conn *c = mem_new(struct ws_conn);
	if (c == NULL) {
		block_leave(s, block);
		return NULL;
	}
	if (s->conns == 0)
		loop_timer_start(s->sweep, SWEEP_US);
	c->server = s;
	c->block = block;
	c->peer = c->remote = *remote;
	c->local = *local;
	c->in_limit = WS_CONN_LIMIT_FIRST;
	c->in = BUF_INIT(WS_CONN_LIMIT_FIRST + 1);
	DL_APPEND(s->all, c);
	s->conns++;
	return c;
}

static void forget_input(struct ws_conn *c)
{
	c->server->in_bytes -= c->in.len;
	c->block->in_bytes -= c->in.len;
	c->in_since_us = 0;
	buf_deinit(&c->in);
	c->in = BUF_INIT(c->in_limit + 1);
}

static void conn_free(struct ws_conn *c)
{
	struct ws_server *s = c->server;

	if (c->is_open) {
		c->is_open = false;
		s->fns.closed(s->user, c->user);
	}
	forget_input(c);
	buf_deinit(&c->body);
	block_leave(s, c->block);
	DL_DELETE(s->all, c);
	s->conns--;
	mem_free(c);
}

/* ---- time ---- */

static bool is_slow(const struct ws_conn *c, uint64_t now_us)
{
	uint64_t limit_us = c->server->config.timeout_s * UINT64_C(1000000);

	if (c->out_since_us != 0 && now_us > c->out_since_us + limit_us)
		return true;
	if (c->is_open && now_us > c->heard_us + WS_SERVER_HANGUP_S * UINT64_C(1000000))
		return true;
	return c->in_since_us != 0 &&
	       now_us > c->in_since_us + limit_us + c->in.len / IN_BYTES_S * UINT64_C(1000000);
}

/*
 * lws looks at its own timers only when something happens, and waits for a line to be writable: the end of the socket is what
 * it sees at once. What still waits to be sent is dropped.
 */
static void cut(struct ws_conn *c)
{
	struct linger none = {.l_onoff = 1};
	int fd = lws_get_socket_fd(c->wsi);

	c->is_killed = true;
	log_limited(LOG_LEVEL_INFO, 10, "ws.too_slow", LOG_ADDR("remote", &c->remote));
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)); /* only sooner */
	(void)shutdown(fd, SHUT_RDWR); /* one that the other side ended is as good */
}

static void want_write(struct ws_conn *c)
{
	if (c->out_since_us == 0)
		c->out_since_us = clock_now_us();
	lws_callback_on_writable(c->wsi);
}

static void on_sweep(void *user)
{
	struct ws_server *s = user;
	uint64_t now_us = clock_now_us();
	struct ws_conn *c;

	DL_FOREACH(s->all, c)
	{
		if (c->is_killed)
			continue;
		if (is_slow(c, now_us)) {
			cut(c);
		} else if (c->is_open && !c->ping_is_due &&
		           now_us > c->heard_us + WS_SERVER_PING_S * UINT64_C(1000000)) {
			c->ping_is_due = true;
			want_write(c);
		}
	}
	if (s->conns > 0)
		loop_timer_start(s->sweep, SWEEP_US);
}

/* ---- WebSocket ---- */

/*
 * Who asks. The last address that a proxy on this computer put down is the one it saw itself. False: it put down something
 * that cannot be read.
 */
static bool read_remote(struct ws_conn *c)
{
	char text[FORWARDED_SIZE];

	c->remote = c->peer; /* a proxy uses a connection for many */
	if (!c->server->config.trust_forwarded || !netaddr_is_loopback(&c->peer) ||
	    lws_hdr_total_length(c->wsi, WSI_TOKEN_X_FORWARDED_FOR) <= 0)
		return true;
	if (lws_hdr_copy(c->wsi, text, sizeof(text), WSI_TOKEN_X_FORWARDED_FOR) <= 0)
		return false;
	const char *last = strrchr(text, ',');
	last = last != NULL ? last + 1 : text;
	last += strspn(last, " ");
	return netaddr_parse_ip(last, &c->remote);
}

static int on_upgrade(struct ws_conn *c)
{
	char path[16];
	int n = lws_hdr_copy(c->wsi, path, sizeof(path), WSI_TOKEN_GET_URI);

	if (n <= 0 || strcmp(path, "/ws") != 0 || !read_remote(c))
		return -1;
	if (netaddr_equal(&c->remote, &c->peer))
		return 0;
	/* From now on it is one of the client's connections, not of the proxy's. */
	struct block *block = block_enter(c->server, &c->remote);
	if (block == NULL) {
		log_limited(LOG_LEVEL_WARN, 10, "ws.too_many", LOG_ADDR("remote", &c->remote));
		return -1;
	}
	block_leave(c->server, c->block);
	c->block = block;
	return 0;
}

static int on_established(struct ws_conn *c)
{
	struct ws_server *s = c->server;

	if (!s->fns.open(s->user, c, &c->remote, &c->local, &c->user))
		return -1;
	c->is_open = true;
	c->heard_us = clock_now_us();
	return 0;
}

static int take(struct ws_conn *c, const void *in, size_t len)
{
	struct ws_server *s = c->server;
	size_t room = c->in_limit + 1 - c->in.len;

	if (c->is_cut)
		return 0;
	len = GV_MIN(len, room);
	/* As with connections: what one block has begun must not stop the others. */
	size_t left = WS_SERVER_IN_MAX - GV_MIN(s->in_bytes, (size_t)WS_SERVER_IN_MAX);
	if (c->block->in_bytes + len > left / SHARE && c->in.len + len > WS_CONN_LIMIT_FIRST) {
		log_limited(LOG_LEVEL_WARN, 10, "ws.no_room", LOG_U64("bytes", s->in_bytes));
		return -1;
	}
	if (buf_add(&c->in, in, len) < 0)
		return -1;
	s->in_bytes += len;
	c->block->in_bytes += len;
	if (c->in_since_us == 0)
		c->in_since_us = clock_now_us();
	return 0;
}

static void heard(struct ws_conn *c)
{
	c->heard_us = clock_now_us();
	c->ping_is_due = c->was_pinged = false;
}

static void deliver(struct ws_conn *c)
{
	struct ws_server *s = c->server;

	heard(c);
	if (!c->is_cut && !c->is_closing)
		s->fns.message(s->user, c->user, buf_str(&c->in), c->in.len);
	forget_input(c);
}

static int on_receive(struct ws_conn *c, struct lws *wsi, const void *in, size_t len)
{
	bool is_last = lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0;

	if (!c->is_open)
		return -1;
	if (lws_frame_is_binary(wsi)) {
		lws_close_reason(wsi, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE, NULL, 0);
		return -1;
	}
	if (take(c, in, len) < 0)
		return -1;
	if (c->in.len > c->in_limit) {
		deliver(c);
		c->is_cut = true;
	} else if (is_last) {
		deliver(c);
	}
	if (is_last)
		c->is_cut = false;
	return 0;
}

/* Between two messages. Once for each silence: heard() makes the next one possible. */
static int send_ping(struct ws_conn *c, struct lws *wsi)
{
	c->was_pinged = true;
	memset(c->server->chunk + LWS_PRE, 0, PING_SIZE);
	if (lws_write(wsi, c->server->chunk + LWS_PRE, PING_SIZE, LWS_WRITE_PING) < 0)
		return -1;
	want_write(c); /* and now the messages */
	return 0;
}

/* Sends the next piece of the oldest message. */
static int on_writable(struct ws_conn *c, struct lws *wsi)
{
	struct ws_server *s = c->server;
	const char *text;
	size_t len;

	c->out_since_us = 0;
	if (!c->is_open)
		return 0;
	if (c->ping_is_due && !c->was_pinged && c->sent == 0)
		return send_ping(c, wsi);
	if (!s->fns.next(s->user, c->user, &text, &len)) {
		if (!c->is_closing)
			return 0;
		lws_close_reason(wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
		return -1;
	}
	size_t n = GV_MIN(len - c->sent, (size_t)CHUNK_SIZE);
	bool is_last = c->sent + n == len;
	int flags = lws_write_ws_flags(LWS_WRITE_TEXT, c->sent == 0, is_last);
	memcpy(s->chunk + LWS_PRE, text + c->sent, n);
	if (lws_write(wsi, s->chunk + LWS_PRE, n, (enum lws_write_protocol)flags) < (int)n)
		return -1;
	c->sent += n;
	if (is_last) {
		c->sent = 0;
		s->fns.sent(s->user, c->user);
	}
	want_write(c);
	return 0;
}

void ws_conn_set_limit(struct ws_conn *c, size_t bytes)
{
	c->in_limit = bytes;
	c->in.max = bytes + 1;
}

void ws_conn_write(struct ws_conn *c)
{
	want_write(c);
}

void ws_conn_close(struct ws_conn *c)
{
	if (c->is_closing)
		return;
	c->is_closing = true;
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, CLOSE_TIMEOUT_S);
	lws_callback_on_writable(c->wsi);
}

/* ---- HTTP ---- */

static int add_header(struct lws *wsi, const char *name, const char *value, uint8_t **p,
                      uint8_t *end)
{
	return lws_add_http_header_by_name(wsi, (const unsigned char *)name,
	                                   (const unsigned char *)value, (int)strlen(value), p,
	                                   end);
}

static int send_head(struct ws_conn *c, struct lws *wsi, const struct ws_response *r)
{
	uint8_t *start = c->server->chunk + LWS_PRE, *p = start, *end = start + HEADERS_SIZE;

	if (lws_add_http_common_headers(wsi, r->status, r->type, c->body.len, &p, end) != 0 ||
	    add_header(wsi, "content-security-policy:",
	               "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none';"
	               " base-uri 'none'; form-action 'none'",
	               &p, end) != 0 ||
	    add_header(wsi, "x-content-type-options:", "nosniff", &p, end) != 0 ||
	    add_header(wsi, "referrer-policy:", "no-referrer", &p, end) != 0 ||
	    add_header(wsi, "cache-control:", "no-store", &p, end) != 0 ||
	    lws_finalize_write_http_header(wsi, start, &p, end) != 0)
		return -1;
	return 0;
}

/* Ends one request; lws may keep the connection for the next. */
static int http_done(struct ws_conn *c, struct lws *wsi)
{
	buf_deinit(&c->body);
	c->body_sent = 0;
	return lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

static int on_http(struct ws_conn *c, struct lws *wsi, const char *path)
{
	struct ws_server *s = c->server;
	struct ws_response response = {.body = BUF_INIT(WS_SERVER_BODY_MAX)};
	bool is_head = lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) > 0;

	if (!is_head && lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0) {
		(void)lws_return_http_status(wsi, HTTP_STATUS_METHOD_NOT_ALLOWED, NULL);
		return -1;
	}
	if (!read_remote(c)) {
		(void)lws_return_http_status(wsi, HTTP_STATUS_BAD_REQUEST, NULL);
		return -1;
	}
	if (strcmp(path, "/ws") == 0) {
		response.status = 426;
		response.type = "text/plain";
		if (buf_add_str(&response.body, "WebSocket only\n") < 0)
			response.status = HTTP_STATUS_INTERNAL_SERVER_ERROR;
	} else {
		struct ws_request request = {.path = path, .remote = c->remote};

		s->fns.http(s->user, &request, &response);
	}
	buf_deinit(&c->body);
	c->body = response.body;
	c->body_sent = 0;
	if (send_head(c, wsi, &response) < 0)
		return -1;
	if (is_head || c->body.len == 0)
		return http_done(c, wsi);
	want_write(c);
	return 0;
}

static int on_http_writable(struct ws_conn *c, struct lws *wsi)
{
	struct ws_server *s = c->server;
	size_t n = GV_MIN(c->body.len - c->body_sent, (size_t)CHUNK_SIZE);
	bool is_last = c->body_sent + n == c->body.len;

	c->out_since_us = 0;
	if (n == 0)
		return 0;
	memcpy(s->chunk + LWS_PRE, c->body.data + c->body_sent, n);
	if (lws_write(wsi, s->chunk + LWS_PRE, n, is_last ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) <
	    (int)n)
		return -1;
	c->body_sent += n;
	if (is_last)
		return http_done(c, wsi);
	want_write(c);
	return 0;
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *unused, void *in,
                  size_t len)
{
	struct ws_conn *c = wsi != NULL ? lws_get_opaque_user_data(wsi) : NULL;

	(void)unused;
	switch (reason) {
	case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
		return c != NULL ? on_upgrade(c) : -1;
	case LWS_CALLBACK_ESTABLISHED:
		return c != NULL ? on_established(c) : -1;
	case LWS_CALLBACK_RECEIVE:
		return c != NULL ? on_receive(c, wsi, in, len) : -1;
	case LWS_CALLBACK_RECEIVE_PONG:
		if (c != NULL)
			heard(c);
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return c != NULL ? on_writable(c, wsi) : -1;
	case LWS_CALLBACK_HTTP:
		return c != NULL ? on_http(c, wsi, in) : -1;
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return c != NULL ? on_http_writable(c, wsi) : -1;
	case LWS_CALLBACK_HTTP_BODY:
		return -1;
	case LWS_CALLBACK_WSI_DESTROY:
		if (c != NULL) {
			lws_set_opaque_user_data(wsi, NULL);
			conn_free(c);
		}
		return 0;
	default:
		return 0;
	}
}

/* ---- accepting ---- */

static void adopt(struct ws_server *s, int fd_moved)
{
	struct udp_sockaddr remote_sa = {.len = sizeof(remote_sa.ss)};
	struct udp_sockaddr local_sa = {.len = sizeof(local_sa.ss)};
	struct netaddr remote, local;
	int one = 1;

	if (getpeername(fd_moved, (struct sockaddr *)&remote_sa.ss, &remote_sa.len) < 0 ||
	    getsockname(fd_moved, (struct sockaddr *)&local_sa.ss, &local_sa.len) < 0 ||
	    !udp_sockaddr_to(&remote_sa.ss, remote_sa.len, &remote) ||
	    !udp_sockaddr_to(&local_sa.ss, local_sa.len, &local)) {
		(void)close(fd_moved); /* gone already */
		return;
	}
	struct ws_conn *c = conn_new(s, &remote, &local);
	if (c == NULL) {
		log_limited(LOG_LEVEL_WARN, 10, "ws.too_many", LOG_U64("connections", s->conns));
		(void)close(fd_moved);
		return;
	}
	/* Small messages must not wait for the acknowledgement of the last one. */
	(void)setsockopt(fd_moved, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->wsi = lws_adopt_socket_vhost(s->vhost, fd_moved); /* closes it on failure */
	if (c->wsi == NULL)
		conn_free(c);
	else
		lws_set_opaque_user_data(c->wsi, c);
}

static void watch_all(struct ws_server *s, unsigned events)
{
	for (size_t i = 0; i < s->n_listeners; i++) {
		if (loop_fd_start(s->listeners[i].watch, events) < 0)
			log_debug("a listening socket cannot be watched");
	}
}

static void on_resume(void *user)
{
	watch_all(user, LOOP_READABLE);
}

static void on_accept(void *user, unsigned events)
{
	struct listener *l = user;

	(void)events;
	for (unsigned i = 0; i < ACCEPT_MAX; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			adopt(l->server, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
		           errno == ENOMEM) {
			/* Waiting connections stay in the backlog; do not spin on them. */
			log_limited(LOG_LEVEL_WARN, 2, "ws.no_descriptors");
			watch_all(l->server, 0);
			loop_timer_start(l->server->resume, 100000);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

/* ---- life ---- */

static const struct lws_protocols protocols[] = {
	{.name = "govpn", .callback = on_lws, .rx_buffer_size = CHUNK_SIZE},
	{.name = NULL},
};

static void on_lws_log(int level, const char *line)
{
	(void)level;
	log_debug("lws: %.*s", (int)strcspn(line, "\n"), line);
}

/* lws only says that it failed; this says why. */
static int check_cert(const struct ws_server_config *config, struct diag *diag)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int r = WS_SERVER_OK;

	if (ctx == NULL)
		return err_here(-ENOMEM);
	if (SSL_CTX_use_certificate_chain_file(ctx, config->cert_path) != 1) {
		diag_set(diag, "%s is not a readable certificate", config->cert_path);
		r = WS_SERVER_BAD_CERT;
	} else if (SSL_CTX_use_PrivateKey_file(ctx, config->key_path, SSL_FILETYPE_PEM) != 1) {
		diag_set(diag, "%s is not the key of %s", config->key_path, config->cert_path);
		r = WS_SERVER_BAD_CERT;
	}
	SSL_CTX_free(ctx);
	return r;
}

/* None: lws keeps a timer for each connection in one sorted list, which is slow for ten thousand. on_sweep() pings. */
static const lws_retry_bo_t idle_policy = {0};

static int make_context(struct ws_server *s)
{
	void *uv = loop_uv(s->loop);
	struct lws_context_creation_info info = {
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
	                   LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
		.foreign_loops = &uv,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
		.pt_serv_buf_size = CHUNK_SIZE,
		.timeout_secs = s->config.timeout_s,
		.pcontext = &s->context,
	};

	lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
	s->context = lws_create_context(&info);
	return s->context != NULL ? 0 : err_here(-ENOMEM);
}

static int make_vhost(struct ws_server *s)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER, /* we accept */
		.vhost_name = "govpn-server",
		.protocols = protocols,
		.retry_and_idle_policy = &idle_policy,
		.timeout_secs = s->config.timeout_s,
		.keepalive_timeout = HTTP_IDLE_S,
	};

	if (s->config.cert_path != NULL) {
		info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
		info.ssl_cert_filepath = s->config.cert_path;
		info.ssl_private_key_filepath = s->config.key_path;
		info.ssl_options_set =
			SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_RENEGOTIATION;
		info.alpn = "http/1.1";
	}
	s->vhost = lws_create_vhost(s->context, &info);
	return s->vhost != NULL ? 0 : err_here(-EIO);
}

int ws_server_new(struct ws_server **out, struct loop *loop, const struct ws_server_config *config,
                  const struct ws_server_fns *fns, void *user, struct diag *diag)
{
	int r = config->cert_path != NULL ? check_cert(config, diag) : 0;

	if (r != 0)
		return r < 0 ? err_up(r) : r;
	struct ws_server *s = mem_new(struct ws_server);
	if (s == NULL)
		return err_here(-ENOMEM);
	s->loop = loop;
	s->config = *config;
	s->fns = *fns;
	s->user = user;
	r = loop_timer_new(&s->resume, loop, on_resume, s);
	if (r == 0)
		r = loop_timer_new(&s->sweep, loop, on_sweep, s);
	if (r == 0)
		r = make_context(s);
	if (r == 0)
		r = make_vhost(s);
	if (r < 0) {
		ws_server_close(s);
		return err_up(r);
	}
	s->config.cert_path = s->config.key_path = NULL; /* borrowed until here */
	*out = s;
	return WS_SERVER_OK;
}

/* Returns 0 with *out; WS_SERVER_IN_USE, _DENIED, _BAD_ADDRESS; -errno. */
static int open_listener(const struct netaddr *addr, int *out)
{
	struct udp_sockaddr sa;
	int one = 1;

	udp_sockaddr_from(addr, &sa);
	int fd = socket(sa.ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return errno == EAFNOSUPPORT ? WS_SERVER_BAD_ADDRESS : err_here(-errno);
	/* The socket works without these: a port lingers after a crash, [::] would take IPv4 too. */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (addr->family == NETADDR_IP6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa.ss, sa.len) == 0 && listen(fd, BACKLOG) == 0) {
		*out = fd;
		return WS_SERVER_OK;
	}
	int e = errno;
	(void)close(fd); /* nothing was written */
	if (e == EADDRINUSE)
		return WS_SERVER_IN_USE;
	if (e == EACCES || e == EPERM)
		return WS_SERVER_DENIED;
	if (e == EADDRNOTAVAIL || e == EINVAL)
		return WS_SERVER_BAD_ADDRESS;
	return err_here(-e);
}

static void explain(struct diag *diag, int result, const struct netaddr *addr)
{
	char text[NETADDR_TEXT_SIZE];

	(void)netaddr_text(addr, text); /* returns text */
	if (result == WS_SERVER_IN_USE)
		diag_set(diag, "%s is in use by another program", text);
	else if (result == WS_SERVER_DENIED)
		diag_set(diag,
		         "not allowed to listen at %s (ports below 1024 need CAP_NET_BIND_SERVICE)",
		         text);
	else
		diag_set(diag, "%s is not an address of this computer", text);
}

int ws_server_listen(struct ws_server *s, const struct netaddr *addr, struct netaddr *bound,
                     struct diag *diag)
{
	struct listener *l = &s->listeners[s->n_listeners];
	struct udp_sockaddr sa = {.len = sizeof(sa.ss)};

	if (s->n_listeners == WS_SERVER_LISTEN_MAX)
		return err_here(-ENOSPC);
	int r = open_listener(addr, &l->fd);
	if (r > 0)
		explain(diag, r, addr);
	if (r != 0)
		return r < 0 ? err_up(r) : r;
	l->server = s;
	r = loop_fd_new(&l->watch, s->loop, l->fd, on_accept, l);
	if (r == 0)
		r = loop_fd_start(l->watch, LOOP_READABLE);
	if (r < 0) {
		loop_fd_close(l->watch);
		(void)close(l->fd); /* nothing was written */
		*l = (struct listener){.fd = -1};
		return err_up(r);
	}
	s->n_listeners++;
	if (bound != NULL && (getsockname(l->fd, (struct sockaddr *)&sa.ss, &sa.len) < 0 ||
	                      !udp_sockaddr_to(&sa.ss, sa.len, bound)))
		return err_here(-errno);
	return WS_SERVER_OK;
}

void ws_server_stop_listening(struct ws_server *s)
{
	for (size_t i = 0; i < s->n_listeners; i++) {
		loop_fd_close(s->listeners[i].watch);
		(void)close(s->listeners[i].fd); /* nothing was written */
	}
	s->n_listeners = 0;
	if (s->resume != NULL)
		loop_timer_stop(s->resume);
}

size_t ws_server_conns(const struct ws_server *s)
{
	return s->conns;
}

void ws_server_close(struct ws_server *s)
{
	if (s == NULL)
		return;
	ws_server_stop_listening(s);
	loop_timer_close(s->resume);
	loop_timer_close(s->sweep);
	while (s->all != NULL) {
		struct ws_conn *c = s->all;

		lws_set_opaque_user_data(c->wsi, NULL);
		conn_free(c);
	}
	/* The sockets and handles of lws end with the next rounds of the loop; then s->context becomes NULL. */
	if (s->context != NULL)
		lws_context_destroy(s->context);
	for (unsigned i = 0; i < CLOSE_ROUNDS && s->context != NULL; i++) {
		if (loop_run_once(s->loop) < 0)
			break;
	}
	if (s->context != NULL)
		lws_context_destroy(s->context);
	mem_free(s);
}
