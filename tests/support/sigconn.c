/* SPDX-License-Identifier: MIT */

#include "sigconn.h"

#include "base/clock.h"
#include "base/diag.h"
#include "base/rng.h"
#include "proto/sig/proof.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS       256
#define PIECE        16384
#define OUT_MAX      (8u << 20)
#define FRAME        14 /* bytes before the payload of the longest frame with a mask */
#define OP_CONTINUED 0
#define OP_TEXT      1
#define OP_CLOSE     8
#define OP_PING      9
#define OP_PONG      10
#define FIN          0x80

static struct rng rng = {.state = 7, .seeded = 1}; /* masks and sessions are no secrets here */

void sigconn_die(const char *what)
{
	(void)fprintf(stderr, "sigload: %s: %s\n", what,
	              strerror(errno)); /* nowhere else to say it */
	exit(2);
}

void sigconns_init(struct sigconns *all, const char *address, bool tls)
{
	struct netaddr a;

	*all = (struct sigconns){.epoll = epoll_create1(EPOLL_CLOEXEC)};
	if (all->epoll < 0)
		sigconn_die("epoll");
	if (!netaddr_parse(address, &a) || a.family != NETADDR_IP4)
		sigconn_die(address);
	all->server.sin_family = AF_INET;
	all->server.sin_addr.s_addr = htonl(netaddr_u32(&a));
	all->server.sin_port = htons(a.port);
	(void)snprintf(all->host, sizeof(all->host), "%s", address); /* parsed: it fits */
	if (!tls)
		return;
	all->tls = SSL_CTX_new(TLS_client_method());
	if (all->tls == NULL)
		sigconn_die("TLS");
	SSL_CTX_set_mode(all->tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                                   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

void sigconns_set_sources(struct sigconns *all, const char *text)
{
	char first[32];
	unsigned n = 0;

	if (sscanf(text, "%31[0-9.]/%u", first, &n) != 2 ||
	    inet_pton(AF_INET, first, &all->sources.sin_addr) != 1 || n == 0)
		sigconn_die(text);
	all->sources.sin_family = AF_INET;
	all->n_sources = n;
}

/* ---- closing ---- */

void sigconn_close(struct sigconn *c)
{
	if (c->state == SIGCONN_CLOSED)
		return;
	SSL_free(c->ssl);
	c->ssl = NULL;
	(void)close(c->fd); /* nothing is waited for */
	c->state = SIGCONN_CLOSED;
	c->closed_us = clock_now_us();
	free(c->in);
	free(c->out);
	free(c->part);
	c->in = c->out = c->part = NULL;
	c->in_n = c->in_cap = c->out_n = c->out_cap = c->part_n = c->part_cap = 0;
	c->all->open--;
}

void sigconn_free(struct sigconn *c)
{
	sigconn_close(c);
	if (c->owns_id)
		identity_free(c->id);
	c->id = NULL;
}

static void lost(struct sigconn *c)
{
	if (c->state == SIGCONN_CLOSED)
		return;
	sigconn_close(c);
	if (c->all->closed != NULL)
		c->all->closed(c);
}

/* ---- bytes ---- */

static void watch(struct sigconn *c)
{
	bool wants = c->out_n > 0 || c->state == SIGCONN_CONNECTING;
	struct epoll_event e = {
		.data.ptr = c, .events = (c->reads_nothing ? 0 : EPOLLIN) | (wants ? EPOLLOUT : 0)};

	c->wants_write = wants;
	if (epoll_ctl(c->all->epoll, EPOLL_CTL_MOD, c->fd, &e) < 0)
		sigconn_die("epoll_ctl");
}

/* Gives the number of bytes taken; 0: not now; -1: the line is gone. */
static ssize_t line_write(struct sigconn *c, const void *data, size_t n)
{
	if (c->ssl == NULL) {
		ssize_t r = send(c->fd, data, n, MSG_NOSIGNAL);

		return r >= 0 ? r : errno == EAGAIN || errno == EINTR ? 0 : -1;
	}
	int r = SSL_write(c->ssl, data, (int)n);
	int e = r > 0 ? 0 : SSL_get_error(c->ssl, r);

	return r > 0 ? r : e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* The same; a line that was ended counts as gone. */
static ssize_t line_read(struct sigconn *c, void *out, size_t n)
{
	if (c->ssl == NULL) {
		ssize_t r = recv(c->fd, out, n, 0);

		return r > 0 ? r : r < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
	}
	int r = SSL_read(c->ssl, out, (int)n);
	int e = r > 0 ? 0 : SSL_get_error(c->ssl, r);

	return r > 0 ? r : e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void reserve(uint8_t **p, size_t *cap, size_t want)
{
	if (*cap >= want)
		return;
	*cap = GV_MAX(want, *cap * 2);
	*p = realloc(*p, *cap);
	if (*p == NULL)
		sigconn_die("memory");
}

/* False: the line is gone, and nobody has been told yet. */
static bool flush(struct sigconn *c)
{
	size_t at = 0;

	while (at < c->out_n) {
		ssize_t n = line_write(c, c->out + at, c->out_n - at);

		if (n < 0)
			return false;
		if (n == 0)
			break;
		at += (size_t)n;
	}
	memmove(c->out, c->out + at, c->out_n - at);
	c->out_n -= at;
	if ((c->out_n > 0) != c->wants_write)
		watch(c);
	return true;
}

bool sigconn_send_bytes(struct sigconn *c, const void *data, size_t n)
{
	if (c->state == SIGCONN_CLOSED || c->out_n + n > OUT_MAX)
		return false;
	reserve(&c->out, &c->out_cap, c->out_n + n);
	memcpy(c->out + c->out_n, data, n);
	c->out_n += n;
	if (c->state != SIGCONN_CONNECTING && c->state != SIGCONN_TLS)
		(void)flush(c); /* the loss is seen by the next read */
	return true;
}

void sigconn_send_frame(struct sigconn *c, uint8_t first, const void *data, size_t n)
{
	uint8_t *frame = malloc(FRAME + n);
	size_t at = 2;

	if (frame == NULL)
		sigconn_die("memory");
	frame[0] = first;
	frame[1] = (uint8_t)(0x80 | (n < 126 ? n : n < 65536 ? 126 : 127));
	for (int shift = n < 126 ? -8 : n < 65536 ? 8 : 56; shift >= 0; shift -= 8)
		frame[at++] = (uint8_t)((uint64_t)n >> shift);
	uint32_t mask = rng_u32(&rng);
	memcpy(frame + at, &mask, 4);
	at += 4;
	for (size_t i = 0; i < n; i++)
		frame[at + i] = ((const uint8_t *)data)[i] ^ frame[at - 4 + i % 4];
	(void)sigconn_send_bytes(c, frame, at + n); /* a full line loses the message */
	free(frame);
}

void sigconn_send(struct sigconn *c, struct msg *m)
{
	struct buf text = BUF_INIT(MSG_SIZE_TO_SERVER_MAX);

	(void)snprintf(m->id, sizeof(m->id), "%u", ++c->next_id); /* fits */
	if (msg_format(m, &text) < 0)
		sigconn_die("a message cannot be written");
	c->asked_us = clock_now_us();
	sigconn_send_frame(c, FIN | OP_TEXT, buf_str(&text), text.len);
	buf_deinit(&text);
}

/* ---- the protocol ---- */

void sigconn_make_identity(struct sigconn *c)
{
	if (c->id == NULL) {
		if (identity_new(&c->id) < 0)
			sigconn_die("identity");
		c->owns_id = true;
	}
	identity_public(c->id, c->key);
	if (c->session == 0)
		c->session = rng_u64(&rng) | 1;
}

static void reach(struct sigconn *c, enum sigconn_state state)
{
	c->state = state;
	c->ready_us = clock_now_us();
	if (c->all->ready != NULL)
		c->all->ready(c);
}

static void log_in(struct sigconn *c, const struct msg_challenge *challenge)
{
	struct proof_login proof = {.host = c->all->host};
	struct msg m = {.type = MSG_AUTHENTICATE,
	                .authenticate = {.host = c->all->host, .version_lo = 1, .version_hi = 1}};

	sigconn_make_identity(c);
	proof.session = m.authenticate.session = c->session;
	memcpy(proof.key, c->key, sizeof(proof.key));
	memcpy(proof.nonce, challenge->nonce, sizeof(proof.nonce));
	if (proof_login_sign(&proof, c->id) < 0)
		sigconn_die("signing");
	memcpy(m.authenticate.key, c->key, sizeof(c->key));
	memcpy(m.authenticate.signature, proof.sig, sizeof(proof.sig));
	c->state = SIGCONN_LOGIN;
	sigconn_send(c, &m);
}

static void take_message(struct sigconn *c, const uint8_t *text, size_t n)
{
	struct msg m = {0};

	if (msg_parse(&m, (const char *)text, n, MSG_FROM_SERVER, NULL) != MSG_OK)
		sigconn_die("the server sent what is no message");
	if (m.type == MSG_CHALLENGE && c->goal == SIGCONN_TO_LOGIN)
		log_in(c, &m.challenge);
	else if (m.type == MSG_AUTHENTICATED && c->state == SIGCONN_LOGIN)
		reach(c, SIGCONN_READY);
	else if (c->all->message != NULL)
		c->all->message(c, &m);
	msg_deinit(&m);
}

static void take_text(struct sigconn *c, bool is_last, const uint8_t *p, size_t n)
{
	if (is_last && c->part_n == 0) {
		take_message(c, p, n);
		return;
	}
	reserve(&c->part, &c->part_cap, c->part_n + n);
	memcpy(c->part + c->part_n, p, n);
	c->part_n += n;
	if (!is_last)
		return;
	uint8_t *whole = c->part;
	n = c->part_n;
	c->part = NULL;
	c->part_n = c->part_cap = 0;
	take_message(c, whole, n);
	free(whole);
}

/* One frame from the front of `in`; the number of its bytes, 0: not whole yet. */
static size_t take_frame(struct sigconn *c, const uint8_t *p, size_t n)
{
	size_t len = n >= 2 ? p[1] & 0x7f : 0, head = len < 126 ? 2 : len == 126 ? 4 : 10;

	if (n < 2 || n < head)
		return 0;
	if (head > 2)
		len = 0;
	for (size_t i = 2; i < head; i++)
		len = len << 8 | p[i];
	if (n - head < len)
		return 0;
	uint8_t op = p[0] & 0x0f;
	if (op == OP_PING)
		sigconn_send_frame(c, FIN | OP_PONG, p + head, len);
	else if (op == OP_TEXT || op == OP_CONTINUED)
		take_text(c, (p[0] & FIN) != 0, p + head, len);
	return head + len;
}

/* False: it closed. */
static bool take_frames(struct sigconn *c)
{
	size_t at = 0;

	while (c->state >= SIGCONN_OPEN && at < c->in_n) {
		const uint8_t *p = c->in + at;

		if ((p[0] & 0x0f) == OP_CLOSE)
			return false;
		size_t n = take_frame(c, p, c->in_n - at);
		if (n == 0)
			break;
		at += n;
	}
	if (c->state == SIGCONN_CLOSED)
		return true; /* by the test */
	memmove(c->in, c->in + at, c->in_n - at);
	c->in_n -= at;
	return true;
}

static bool take_head(struct sigconn *c)
{
	const uint8_t *end = memmem(c->in, c->in_n, "\r\n\r\n", 4);

	if (end == NULL)
		return true;
	if (memmem(c->in, c->in_n, " 101 ", 5) == NULL)
		return false;
	size_t n = (size_t)(end - c->in) + 4;
	memmove(c->in, c->in + n, c->in_n - n);
	c->in_n -= n;
	c->state = SIGCONN_OPEN;
	if (c->goal == SIGCONN_TO_WEBSOCKET)
		reach(c, SIGCONN_OPEN);
	return true;
}

static void upgrade(struct sigconn *c)
{
	char head[320];
	int n = snprintf(head, sizeof(head),
	                 "GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
	                 "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	                 "Sec-WebSocket-Version: 13\r\n\r\n",
	                 c->all->host);

	c->state = SIGCONN_HEAD;
	(void)sigconn_send_bytes(c, head, (size_t)n); /* the line is empty */
}

static void connected(struct sigconn *c)
{
	if (c->goal == SIGCONN_TO_TCP || c->goal == SIGCONN_TO_HEAD)
		reach(c, SIGCONN_HEAD);
	else
		upgrade(c);
	if (c->state != SIGCONN_CLOSED)
		watch(c);
}

static void shake_hands(struct sigconn *c)
{
	int r = SSL_connect(c->ssl);
	int e = r == 1 ? 0 : SSL_get_error(c->ssl, r);

	if (r == 1)
		connected(c);
	else if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
		lost(c);
}

/* The TCP connection is there. */
static void begin(struct sigconn *c)
{
	if (c->goal == SIGCONN_TO_TCP || c->all->tls == NULL) {
		connected(c);
		return;
	}
	c->ssl = SSL_new(c->all->tls);
	if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1)
		sigconn_die("TLS");
	c->state = SIGCONN_TLS;
	watch(c);
	shake_hands(c);
}

/* ---- events ---- */

static void on_readable(struct sigconn *c)
{
	ssize_t n;

	do {
		reserve(&c->in, &c->in_cap, c->in_n + PIECE);
		n = line_read(c, c->in + c->in_n, PIECE);
		if (n <= 0)
			break;
		c->in_n += (size_t)n;
		bool good = true;
		if (c->goal == SIGCONN_TO_TCP || c->goal == SIGCONN_TO_HEAD)
			c->in_n = 0; /* whatever it is */
		else if (c->state == SIGCONN_HEAD)
			good = take_head(c);
		if (good && c->state >= SIGCONN_OPEN)
			good = take_frames(c);
		if (!good)
			n = -1;
	} while (n > 0 && c->state != SIGCONN_CLOSED);
	if (n < 0) {
		lost(c);
	} else if (c->in_n == 0) { /* thousands of idle ones should be small */
		free(c->in);
		c->in = NULL;
		c->in_cap = 0;
	}
}

static void on_event(struct sigconn *c, uint32_t events)
{
	if (c->state == SIGCONN_CONNECTING) {
		int e = 0;
		socklen_t n = sizeof(e);

		if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0 || e != 0)
			lost(c);
		else
			begin(c);
	} else if (c->state == SIGCONN_TLS) {
		shake_hands(c);
	} else if (c->reads_nothing) {
		if ((events & (EPOLLHUP | EPOLLERR)) != 0)
			lost(c);
	} else {
		if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
			on_readable(c);
		if (c->state != SIGCONN_CLOSED && (events & EPOLLOUT) != 0 && !flush(c))
			lost(c);
	}
}

void sigconns_run(struct sigconns *all, uint64_t until_us, const bool *stop)
{
	struct epoll_event events[EVENTS];
	uint64_t now = clock_now_us();

	do {
		int wait_ms = until_us > now ? (int)GV_MIN((until_us - now) / 1000 + 1, 1000u) : 0;
		int n = epoll_wait(all->epoll, events, EVENTS, wait_ms);

		/* A connection that is closed meanwhile leaves epoll, but may stand in `events`. */
		for (int i = 0; i < n; i++) {
			struct sigconn *c = events[i].data.ptr;

			if (c->state != SIGCONN_CLOSED)
				on_event(c, events[i].events);
		}
		now = clock_now_us();
	} while (now < until_us && (stop == NULL || !*stop));
}

bool sigconn_open(struct sigconns *all, struct sigconn *c, enum sigconn_goal goal)
{
	struct epoll_event e = {.data.ptr = c, .events = EPOLLOUT};
	int one = 1;

	c->all = all;
	c->goal = goal;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		sigconn_die("socket");
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* only faster */
	if (all->n_sources > 0) {
		struct sockaddr_in from = all->sources;

		from.sin_addr.s_addr =
			htonl(ntohl(from.sin_addr.s_addr) + c->source % all->n_sources);
		/* The port is chosen by connect(), so that each source has all of them. */
		(void)setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
			sigconn_die("source address");
	}
	if (connect(c->fd, (struct sockaddr *)&all->server, sizeof(all->server)) < 0 &&
	    errno != EINPROGRESS) {
		(void)close(c->fd); /* never used */
		return false;
	}
	if (epoll_ctl(all->epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
		sigconn_die("epoll_ctl");
	c->state = SIGCONN_CONNECTING;
	c->wants_write = true;
	c->opened_us = clock_now_us();
	c->ready_us = c->closed_us = 0;
	all->open++;
	return true;
}
