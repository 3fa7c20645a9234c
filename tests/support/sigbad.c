/* SPDX-License-Identifier: MIT */

/* sigload frames, heads, garbage: what is malformed, from many addresses and over many connections at a time. */

#include "sigload.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define S         UINT64_C(1000000)
#define SLOTS     32
#define STUCK_US  (30 * S)
#define TEXT_MAX  200000
#define DEPTH     10000
#define PER_CONN  24 /* malformed messages of one connection */
#define TEMPLATES 14

struct slot {
	struct sigconn conn;
	bool is_used;
};

/* One run: `fill` sends what is bad on a connection that is ready and gives its number. */
struct run {
	struct sigconns *all;
	struct slot slots[SLOTS];
	enum sigconn_goal (*goal)(void);
	size_t (*fill)(struct sigconn *c);
	size_t want, sent, conns;
	uint32_t source;
	bool stop;
};

static struct run *run;

static uint32_t draw(uint32_t n)
{
	return rng_below(&sigload_rng, n);
}

/* ---- frames ---- */

static void random_bytes(struct sigconn *c, size_t n)
{
	uint8_t bytes[512];

	rng_bytes(&sigload_rng, bytes, n);
	(void)sigconn_send_bytes(c, bytes, n); /* or the line is full */
}

/* A head that promises `len` bytes, and some of them. */
static void promise(struct sigconn *c, uint64_t len)
{
	uint8_t frame[14 + 64] = {0x81, 0xff};

	for (int i = 0; i < 8; i++)
		frame[2 + i] = (uint8_t)(len >> (56 - 8 * i));
	(void)sigconn_send_bytes(c, frame, sizeof(frame)); /* likewise */
}

static size_t endless(struct sigconn *c)
{
	size_t n = 100 + draw(400);

	for (size_t i = 0; i < n; i++)
		sigconn_send_frame(c, i == 0 ? 0x01 : 0x00, "x", 1);
	return n;
}

/* Each is wrong for another rule of RFC 6455. */
static size_t bad_frame(struct sigconn *c)
{
	static const uint8_t opcodes[] = {3, 4, 5, 6, 7, 11, 12, 13, 14, 15};
	static const uint8_t codes[] = {0x03, 0xed, 0x00, 0x00, 0x03, 0xe7, 0xff, 0xff};
	static const char *const broken[] = {"\xff\xfe", "\xc0\x80", "\xed\xa0\x80",
	                                     "\xf5\x80\x80\x80", "{\"a\":\"\xe2\x82\"}"};
	uint8_t big[300] = {0};
	const char *text = broken[draw(GV_ARRAY_SIZE(broken))];

	switch (draw(16)) {
	case 0: /* not masked */
		(void)sigconn_send_bytes(c, "\x81\x05hello", 7);
		break;
	case 1:
		sigconn_send_frame(c, (uint8_t)(0x81 | (1 + draw(7)) << 4), "{}", 2);
		break;
	case 2:
		sigconn_send_frame(c, 0x80 | opcodes[draw(sizeof(opcodes))], "{}", 2);
		break;
	case 3: /* control frames are short and whole */
		sigconn_send_frame(c, (uint8_t)(0x88 + draw(3)), big, 126 + draw(170));
		break;
	case 4:
		sigconn_send_frame(c, (uint8_t)(0x08 + draw(3)), "x", 1);
		break;
	case 5:
		promise(c, UINT64_C(1) << 63);
		break;
	case 6:
		promise(c, UINT64_C(1) << (32 + draw(31)));
		break;
	case 7: /* 5 bytes, said in 8 */
		promise(c, 5);
		break;
	case 8:
		return endless(c);
	case 9:
		sigconn_send_frame(c, 0x80, "goes on from nothing", 20);
		break;
	case 10:
		sigconn_send_frame(c, 0x01, "one", 3);
		sigconn_send_frame(c, 0x81, "two", 3);
		return 2;
	case 11:
		sigconn_send_frame(c, 0x81, text, strlen(text));
		break;
	case 12:
		sigconn_send_frame(c, 0x88, codes + draw(8), draw(3));
		break;
	case 13:
		sigconn_send_frame(c, 0x82, big, sizeof(big));
		break;
	case 14:
		for (unsigned i = 0; i < 50; i++)
			sigconn_send_frame(c, (uint8_t)(0x89 + draw(2)), big, draw(126));
		return 50;
	default:
		random_bytes(c, 1 + draw(400));
		break;
	}
	return 1;
}

/* ---- messages ---- */

static char *templates[TEMPLATES];

/* A good message of every type that the server takes, with values of the right form. */
static void make_templates(void)
{
	static const enum msg_type types[TEMPLATES] = {
		MSG_AUTHENTICATE,
		MSG_CREATE_NETWORK,
		MSG_LOOKUP_NETWORK,
		MSG_JOIN_NETWORK,
		MSG_CONNECT_NETWORK,
		MSG_DISCONNECT_NETWORK,
		MSG_LEAVE_NETWORK,
		MSG_UPDATE_DOCUMENT,
		MSG_UPDATE_CLIENT_INFO,
		MSG_GET_COMPUTER_NETWORKS,
		MSG_PING,
		MSG_SDP_OFFER,
		MSG_SDP_ANSWER,
		MSG_ICE_CANDIDATE,
	};

	static const uint8_t bytes[200] = {1, 2, 3};
	const struct msg_blob blob = {.p = bytes, .n = sizeof(bytes)};

	for (size_t i = 0; i < TEMPLATES; i++) {
		struct msg m = {.type = types[i], .id = "17"};
		struct buf text = BUF_INIT(TEXT_MAX);

		if (m.type == MSG_AUTHENTICATE)
			m.authenticate = (struct msg_authenticate){
				.host = "h:1", .session = 1, .version_lo = 1, .version_hi = 1};
		else if (m.type == MSG_CREATE_NETWORK)
			m.create_network = (struct msg_create_network){blob, blob};
		else if (m.type == MSG_LOOKUP_NETWORK)
			m.lookup_network.code = "aaaaaaaaaa";
		else if (m.type == MSG_JOIN_NETWORK)
			m.join_network.admission = blob;
		else if (m.type == MSG_CONNECT_NETWORK)
			m.connect_network.admission = blob;
		else if (m.type == MSG_LEAVE_NETWORK)
			m.leave_network.session = 1;
		else if (m.type == MSG_UPDATE_DOCUMENT)
			m.update_document.document = blob;
		else if (m.type == MSG_UPDATE_CLIENT_INFO)
			m.update_client_info.admission = blob;
		else if (m.type == MSG_SDP_OFFER || m.type == MSG_SDP_ANSWER)
			m.sdp = (struct msg_sdp){
				.session = 1, .address = netaddr_ip4(1, 0), .sdp = "v=0\r\n"};
		else if (m.type == MSG_ICE_CANDIDATE)
			m.ice_candidate = (struct msg_ice_candidate){
				.mid = "0", .ufrag = "u", .candidate = "candidate:1"};
		if (msg_format(&m, &text) < 0)
			sigconn_die("a template cannot be written");
		templates[i] = sigload_must(strdup(buf_str(&text)));
		buf_deinit(&text);
	}
}

/* The end of the JSON value at p. */
static const char *value_end(const char *p)
{
	int depth = 0;
	bool in_string = false;

	for (; *p != '\0'; p++) {
		if (in_string) {
			if (*p == '\\' && p[1] != '\0')
				p++;
			else if (*p == '"')
				in_string = false;
		} else if (*p == '"') {
			in_string = true;
		} else if (*p == '{' || *p == '[') {
			depth++;
		} else if (*p == '}' || *p == ']') {
			if (depth-- == 0)
				return p;
		} else if (*p == ',' && depth == 0) {
			return p;
		}
	}
	return p;
}

/* A random member of an object: its value, or NULL. */
static const char *some_value(const char *text)
{
	const char *found = NULL;
	uint32_t n = 0;

	for (const char *p = strstr(text, "\":"); p != NULL; p = strstr(p + 1, "\":")) {
		if (draw(++n) == 0)
			found = p + 2;
	}
	return found;
}

static size_t repeat(char *out, const char *what, size_t times)
{
	size_t n = strlen(what);

	for (size_t i = 0; i < times; i++)
		memcpy(out + i * n, what, n);
	return n * times;
}

/* A value of a kind that no field has, or of a size that none has. Returns its length. */
static size_t wrong_value(char *out)
{
	static const char *const values[] = {
		"null",
		"true",
		"-1",
		"0.5",
		"-0",
		"[]",
		"{}",
		"\"\"",
		"[null]",
		"{\"a\": {\"b\": []}}",
		"\"AAAA\"",
		"9007199254740993",
		"-9223372036854775808",
		"\"\\u001f\"",
		"[[[[]]]]",
		"\"\\ud83d\\ude00\"",
		"\"' OR 1=1 --\"",
		"\"../../etc/passwd\"",
		"\"%n%s\"",
		"1e300",
	};
	const char *v = values[draw(GV_ARRAY_SIZE(values))];
	size_t n = 0;

	if (draw(8) != 0) {
		memcpy(out, v, strlen(v));
		return strlen(v);
	}
	out[n++] = '"';
	n += repeat(out + n, "A", draw(7000)); /* a message before login is short */
	out[n++] = '"';
	return n;
}

/* A value that makes the message no JSON, or no such one. */
static size_t strange_value(char *out)
{
	static const char *const values[] = {
		"1e999",
		"123456789012345678901234567890",
		"\"\\ud800\"",
		"\"\\u0000\"",
		"\"\\x\"",
		"nul",
		"\"\xff\"",
		"{\"a\":1,\"a\":2}",
		"18446744073709551616",
		"\"\n\"",
		"",
	};
	size_t n = 0;

	switch (draw(8)) {
	case 0:
		out[n++] = '"';
		n += repeat(out + n, "A", draw(100000));
		out[n++] = '"';
		return n;
	case 1:
		return repeat(out, "[", 1 + draw(DEPTH));
	case 2:
		n = repeat(out, "{\"a\":", 1 + draw(DEPTH));
		return n;
	case 3:
		n = repeat(out, "[1,", 1 + draw(DEPTH));
		return n;
	default: {
		const char *v = values[draw(GV_ARRAY_SIZE(values))];

		memcpy(out, v, strlen(v));
		return strlen(v);
	}
	}
}

/* One that is JSON all the same, so that the connection stays. */
static void bad_field(struct sigconn *c)
{
	static char out[TEXT_MAX];
	const char *text = templates[draw(TEMPLATES)];
	const char *payload = strstr(text, "\"payload\":");
	const char *value = payload != NULL ? some_value(payload + 1) : NULL;
	if (value == NULL)
		value = some_value(text);
	const char *end = value_end(value);
	size_t n = (size_t)(value - text), rest = strlen(end);

	memcpy(out, text, n);
	if (draw(4) == 0) { /* a field is missing */
		out[n - 3] = 'Q';
		memcpy(out + n, value, (size_t)(end - value));
		n += (size_t)(end - value);
	} else {
		n += wrong_value(out + n);
	}
	memcpy(out + n, end, rest);
	sigconn_send_frame(c, 0x81, out, n + rest);
}

/* One that ends the connection. */
static void bad_message(struct sigconn *c)
{
	static char out[TEXT_MAX];
	const char *text = templates[draw(TEMPLATES)];
	size_t len = strlen(text), n = 0;
	const char *value = some_value(text), *end = value_end(value);

	switch (draw(4)) {
	case 0: /* cut */
		n = draw((uint32_t)len);
		memcpy(out, text, n);
		break;
	case 1: /* some bytes changed */
		memcpy(out, text, len);
		n = len;
		for (uint32_t i = 1 + draw(4); i > 0; i--)
			out[draw((uint32_t)n)] = (char)draw(256);
		break;
	default:
		n = (size_t)(value - text);
		memcpy(out, text, n);
		n += strange_value(out + n);
		memcpy(out + n, end, len - (size_t)(end - text));
		n += len - (size_t)(end - text);
		break;
	}
	sigconn_send_frame(c, 0x81, out, n);
}

static size_t fill_frames(struct sigconn *c)
{
	size_t n = 0;

	if (draw(4) == 0)
		return bad_frame(c);
	for (; n < PER_CONN; n++)
		bad_field(c);
	if (draw(2) == 0)
		return n + bad_frame(c);
	bad_message(c);
	return n + 1;
}

static enum sigconn_goal some_websocket(void)
{
	return draw(2) == 0 ? SIGCONN_TO_WEBSOCKET : SIGCONN_TO_LOGIN;
}

/* ---- heads and other bytes ---- */

static size_t fill_head(struct sigconn *c)
{
	static const char *const heads[] = {
		"POST /stats HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nxxxxxxxxxxxx",
		"GET  HTTP/1.1\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
		"GET /%00%ff%%% HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	         "Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 99\r\n\r\n"),
		"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"CONNECT example.org:443 HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"GET / HTTP/1.1\r\n: nothing\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\n\n",
		"DELETE /stats HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /j/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: ,,,\r\n\r\n",
	};
	static char out[TEXT_MAX];
	size_t n = 0;

	switch (draw(4)) {
	case 0:
		n = repeat(out, "GET /", 1);
		n += repeat(out + n, "a", draw(30000));
		n += repeat(out + n, " HTTP/1.1\r\n\r\n", 1);
		break;
	case 1:
		n = repeat(out, "GET / HTTP/1.1\r\n", 1);
		n += repeat(out + n, "X-Y: z\r\n", draw(5000));
		n += repeat(out + n, "\r\n", 1);
		break;
	case 2:
		random_bytes(c, 1 + draw(500));
		return 1;
	default: {
		const char *head = heads[draw(GV_ARRAY_SIZE(heads))];

		n = repeat(out, head, 1 + draw(3)); /* and pipelined */
		break;
	}
	}
	(void)sigconn_send_bytes(c, out, n); /* or the line is full */
	return 1;
}

static enum sigconn_goal head(void)
{
	return SIGCONN_TO_HEAD;
}

/* What begins like TLS, and what does not. */
static size_t fill_garbage(struct sigconn *c)
{
	uint8_t hello[300];

	rng_bytes(&sigload_rng, hello, sizeof(hello));
	if (draw(2) == 0) {
		memcpy(hello, "\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03", 11);
		if (draw(2) == 0)
			hello[43] = 0; /* no session: what follows are cipher suites */
	}
	(void)sigconn_send_bytes(c, hello, 1 + draw(sizeof(hello))); /* likewise */
	return 1;
}

static enum sigconn_goal tcp(void)
{
	return SIGCONN_TO_TCP;
}

/* ---- a run ---- */

static void begin(struct slot *s)
{
	s->is_used = run->sent < run->want;
	if (!s->is_used)
		return;
	s->conn.source = run->source++;
	run->conns++;
	if (!sigconn_open(run->all, &s->conn, run->goal()))
		sigconn_die("a connection");
}

static void on_ready(struct sigconn *c)
{
	run->sent += run->fill(c);
	/* The server reads to the end, and closes. */
	(void)shutdown(c->fd, SHUT_WR);
}

static void on_closed(struct sigconn *c)
{
	struct slot *s = c->user;

	begin(s);
	run->stop = true; /* to look whether all is done */
}

static bool is_done(void)
{
	bool done = true;

	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *s = &run->slots[i];

		if (s->is_used && clock_now_us() > s->conn.opened_us + STUCK_US) {
			(void)fprintf(stderr, "sigload: a connection hangs\n"); /* nowhere else */
			exit(1);
		}
		done = done && !s->is_used;
	}
	return done;
}

static void go(struct sigconns *all, size_t n, enum sigconn_goal (*goal)(void),
               size_t (*fill)(struct sigconn *c))
{
	uint64_t start = clock_now_us();

	run = sigload_must(calloc(1, sizeof(*run)));
	run->all = all;
	run->goal = goal;
	run->fill = fill;
	run->want = n;
	all->ready = on_ready;
	all->closed = on_closed;
	for (size_t i = 0; i < SLOTS; i++) {
		run->slots[i].conn.user = &run->slots[i];
		begin(&run->slots[i]);
	}
	while (!is_done()) {
		run->stop = false;
		sigconns_run(all, clock_now_us() + S, &run->stop);
	}
	printf("{\"sent\": %zu, \"connections\": %zu, \"seconds\": %.1f}\n", run->sent, run->conns,
	       (double)(clock_now_us() - start) / 1e6);
}

void sigbad_frames(struct sigconns *all, size_t n)
{
	make_templates();
	go(all, n, some_websocket, fill_frames);
}

void sigbad_heads(struct sigconns *all, size_t n)
{
	go(all, n, head, fill_head);
}

void sigbad_garbage(struct sigconns *all, size_t n)
{
	go(all, n, tcp, fill_garbage);
}
