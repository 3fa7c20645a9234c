/* SPDX-License-Identifier: MIT */

/*
 * rtc_echo offer|answer [--send N SIZE] [--passive] [--zero-checksum]
 *
 * One WebRTC data channel towards a peer of another make. `offer` prints an offer and reads the answer, `answer` reads
 * an offer and prints the answer: one line each, base64 of {"type":...,"sdp":...} with all candidates inside.
 * Without --send every message is echoed until the peer ends the association. With --send, N messages of 1 .. SIZE
 * bytes, each fourth one text, are sent, and the echoes are compared; then the channel is closed, then the association.
 * --passive: an answerer is the DTLS server. --zero-checksum: announces RFC 9653, which pion's SCTP 1.8.6 refuses.
 *
 * The last line of output is one JSON object with what was seen. Exit code 0: all as it should be.
 */

#include "rtc_peer.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "crypto/hash.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE    65536
#define WINDOW_BYTES (1u << 20) /* sent and not yet echoed */
#define OPEN_MS      20000
#define TRAFFIC_MS   120000
#define CLOSE_MS     5000
#define POLL_MS      100

struct traffic {
	unsigned count; /* 0: echo only */
	size_t max;
	struct rng rng;
	struct hash_sha256 sent_hash, echo_hash;
	unsigned sent, echoed;
	size_t sent_bytes, echoed_bytes;
	bool has_next; /* data, len, kind: made, not yet taken */
	enum dcep_kind kind;
	size_t len;
	uint8_t *data;
};

static void die(const char *what)
{
	fprintf(stderr, "rtc_echo: %s\n", what);
	exit(1);
}

/* ---- descriptions as lines ---- */

/* Standard base64 (RFC 4648 4) by way of the URL-safe letters without padding. */
static void swap_letters(char *text, const char *from, const char *to)
{
	for (char *c = text; *c != '\0'; c++) {
		const char *at = strchr(from, *c);
		if (at != NULL)
			*c = to[at - from];
	}
}

static void print_description(struct rtc_peer *p)
{
	static char sdp[SDP_FORMAT_SIZE], line[LINE_SIZE];
	struct sdp own;

	rtc_describe(p, &own);
	if (sdp_format(&own, sdp, sizeof(sdp)) == 0)
		die("sdp_format");
	json_t *o = json_pack("{s:s,s:s}", "type", p->offerer ? "offer" : "answer", "sdp", sdp);
	char *text = o == NULL ? NULL : json_dumps(o, JSON_COMPACT);
	if (text == NULL || ENC_BASE64_SIZE(strlen(text)) > sizeof(line))
		die("description too long");
	enc_base64url(line, text, strlen(text));
	swap_letters(line, "-_", "+/");
	printf("%s%s\n", line, &"==="[3 - (4 - strlen(line) % 4) % 4]);
	(void)fflush(stdout);
	free(text);
	json_decref(o);
}

static void read_description(struct rtc_peer *p)
{
	static char line[LINE_SIZE], text[LINE_SIZE];
	struct sdp remote;
	size_t len;

	if (fgets(line, sizeof(line), stdin) == NULL)
		die("no description came");
	line[strcspn(line, "=\r\n")] = '\0';
	swap_letters(line, "+/", "-_");
	if (!dec_base64url(line, strlen(line), text, sizeof(text), &len))
		die("not base64");
	json_t *o = json_loadb(text, len, 0, NULL);
	const char *sdp = json_string_value(json_object_get(o, "sdp"));
	if (sdp == NULL)
		die("not a description");
	int r = sdp_parse(sdp, strlen(sdp), &remote);
	json_decref(o);
	if (r != SDP_OK) {
		fprintf(stderr, "rtc_echo: sdp_parse: %d\n", r);
		exit(1);
	}
	if (rtc_set_remote(p, &remote) < 0)
		die("description refused");
}

/* ---- traffic ---- */

static void hash_message(struct hash_sha256 *h, enum dcep_kind kind, const void *data, size_t len)
{
	const uint64_t head[2] = {(uint64_t)kind, len};

	hash_sha256_update(h, head, sizeof(head));
	hash_sha256_update(h, data, len);
}

/* The first message is the shortest, the last one the longest. */
static void make_next(struct traffic *t)
{
	if (t->sent == 0)
		t->len = 1;
	else if (t->sent + 1 == t->count)
		t->len = t->max;
	else
		t->len = 1 + rng_below(&t->rng, (uint32_t)t->max);
	t->kind = t->sent % 4 == 3 ? DCEP_KIND_TEXT : DCEP_KIND_BINARY;
	rng_bytes(&t->rng, t->data, t->len);
	for (size_t i = 0; t->kind == DCEP_KIND_TEXT && i < t->len; i++)
		t->data[i] = (uint8_t)('a' + t->data[i] % 26);
	t->has_next = true;
}

static void send_more(struct rtc_peer *p, struct traffic *t)
{
	while (t->sent < t->count && t->sent_bytes - t->echoed_bytes < WINDOW_BYTES) {
		if (!t->has_next)
			make_next(t);
		int r = rtc_send(p, t->kind, t->data, t->len);
		if (r == SCTP_FULL)
			return;
		if (r != 0) {
			p->failure = "a message was refused";
			return;
		}
		hash_message(&t->sent_hash, t->kind, t->data, t->len);
		t->sent++;
		t->sent_bytes += t->len;
		t->has_next = false;
	}
}

static void take_echoes(struct rtc_peer *p, struct traffic *t)
{
	struct rtc_message *m;

	while ((m = rtc_receive(p)) != NULL) {
		hash_message(&t->echo_hash, m->kind, m->data, m->len);
		t->echoed++;
		t->echoed_bytes += m->len;
		mem_free(m);
	}
}

/* Sends back what came. A message that finds no room stays first in the queue. */
static void echo(struct rtc_peer *p, struct traffic *t)
{
	static const uint8_t empty[DCEP_EMPTY_BYTES];

	while (p->first != NULL) {
		const struct rtc_message *m = p->first;
		int r = rtc_send(p, m->kind, m->len == 0 ? empty : m->data,
		                 m->len == 0 ? sizeof(empty) : m->len);
		if (r == SCTP_FULL)
			return;
		if (r != 0) {
			p->failure = "an echo was refused";
			return;
		}
		t->echoed++;
		t->echoed_bytes += m->len;
		mem_free(rtc_receive(p));
	}
}

/* ---- the three parts of a run ---- */

static bool in_time(const struct rtc_peer *p, uint64_t end_us)
{
	return p->failure == NULL && clock_now_us() < end_us;
}

static uint64_t after_ms(unsigned ms)
{
	return clock_now_us() + (uint64_t)ms * 1000;
}

static void wait_open(struct rtc_peer *p)
{
	uint64_t end_us = after_ms(OPEN_MS);

	while (!p->has_channel && !p->down && in_time(p, end_us))
		rtc_run(p, POLL_MS);
	if (!p->has_channel && p->failure == NULL)
		p->failure = p->dtls_done ? "no channel in time" : "no DTLS in time";
}

static void run_sender(struct rtc_peer *p, struct traffic *t)
{
	uint64_t end_us = after_ms(TRAFFIC_MS);

	while (t->echoed < t->count && !p->down && in_time(p, end_us)) {
		send_more(p, t);
		rtc_run(p, POLL_MS);
		take_echoes(p, t);
	}
	if (t->echoed < t->count && p->failure == NULL)
		p->failure = "echoes are missing";
}

static void close_all(struct rtc_peer *p)
{
	uint64_t end_us = after_ms(CLOSE_MS);

	if (dcep_close(p->dcep, p->stream) != 0)
		p->failure = "the channel is gone";
	while (!p->channel_closed && !p->down && in_time(p, end_us))
		rtc_run(p, POLL_MS);
	if (!p->channel_closed && p->failure == NULL)
		p->failure = "the channel was not closed";
	sctp_shutdown(p->sctp, clock_now_us());
	end_us = after_ms(CLOSE_MS);
	while (!p->down && !p->close_notify && in_time(p, end_us))
		rtc_run(p, POLL_MS);
	rtc_run(p, 0);
	rtc_close_notify(p);
}

static void run_echo(struct rtc_peer *p, struct traffic *t)
{
	uint64_t end_us = after_ms(TRAFFIC_MS);

	while (!p->down && !p->close_notify && in_time(p, end_us)) {
		rtc_run(p, POLL_MS);
		echo(p, t);
	}
	if (!p->down && !p->close_notify && p->failure == NULL)
		p->failure = "the peer did not end";
	rtc_close_notify(p);
}

/* ---- what was seen ---- */

static const char *end_text(const struct rtc_peer *p)
{
	if (p->down && p->reason == SCTP_DOWN_SHUTDOWN)
		return "shutdown";
	if (p->down)
		return p->reason == SCTP_DOWN_ABORTED ? "abort" : "timeout";
	return p->close_notify ? "close_notify" : "none";
}

/* Everything that two sound peers on a sound line never make each other count. */
static uint64_t oddities(const struct rtc_peer *p)
{
	uint64_t n = p->record_counters.rx_bad_tag + p->record_counters.rx_malformed;

	if (p->sctp == NULL)
		return n;
	const struct sctp_counters *s = sctp_counters(p->sctp);
	const struct dcep_counters *d = dcep_counters(p->dcep);
	return n + s->bad_packet + s->bad_checksum + s->bad_chunk + s->reassembly_drop +
	       d->bad_message + d->no_channel + d->refused;
}

static void report(const struct rtc_peer *p, const struct traffic *t, uint64_t open_us,
                   uint64_t traffic_us)
{
	const struct sctp_counters *s = p->sctp == NULL ? NULL : sctp_counters(p->sctp);
	json_t *o = json_pack(
		"{s:s?,s:s,s:I,s:I,s:I,s:I,s:b,s:s,s:I,s:I}", "failure", p->failure, "dtls",
		p->dtls_client ? "client" : "server", "messages", (json_int_t)t->echoed, "bytes",
		(json_int_t)t->echoed_bytes, "open_ms", (json_int_t)(open_us / 1000), "traffic_ms",
		(json_int_t)(traffic_us / 1000), "channel_closed", p->channel_closed, "end",
		end_text(p), "retransmitted", (json_int_t)(s == NULL ? 0 : s->retransmitted),
		"oddities", (json_int_t)oddities(p));

	if (o == NULL)
		die("report");
	(void)json_dumpf(o, stdout, 0);
	(void)putchar('\n');
	json_decref(o);
}

static int run(struct rtc_peer *p, struct traffic *t)
{
	uint8_t sent[HASH_SHA256_SIZE], echoed[HASH_SHA256_SIZE];
	uint64_t start_us = clock_now_us();

	wait_open(p);
	uint64_t open_us = clock_now_us();
	if (p->failure == NULL && t->count > 0)
		run_sender(p, t);
	else if (p->failure == NULL)
		run_echo(p, t);
	uint64_t end_us = clock_now_us();
	if (p->failure == NULL && t->count > 0)
		close_all(p);
	if (hash_sha256_final(&t->sent_hash, sent) != 0 ||
	    hash_sha256_final(&t->echo_hash, echoed) != 0)
		die("hash");
	if (p->failure == NULL && t->count > 0 && !hash_equal(sent, echoed, sizeof(sent)))
		p->failure = "the echoes differ";
	report(p, t, open_us - start_us, end_us - open_us);
	return p->failure == NULL ? 0 : 1;
}

static unsigned number(const char *text, unsigned long max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end != '\0' || n == 0 || n > max)
		die("a number is out of range");
	return (unsigned)n;
}

int main(int argc, char **argv)
{
	static struct rtc_peer p;
	struct traffic t = {.rng = rng_seeded(1)};
	enum sdp_setup setup = SDP_SETUP_ACTIVE;
	bool zero_checksum = false;
	bool offerer = argc > 1 && strcmp(argv[1], "offer") == 0;

	if (!offerer && (argc < 2 || strcmp(argv[1], "answer") != 0))
		die("usage: rtc_echo offer|answer [--send N SIZE] [--passive] [--zero-checksum]");
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--passive") == 0) {
			setup = SDP_SETUP_PASSIVE;
		} else if (strcmp(argv[i], "--zero-checksum") == 0) {
			zero_checksum = true;
		} else if (strcmp(argv[i], "--send") == 0 && i + 2 < argc) {
			t.count = number(argv[i + 1], 1000000);
			t.max = number(argv[i + 2], SCTP_MESSAGE_BYTES_MAX);
			i += 2;
		} else {
			die(argv[i]);
		}
	}
	t.data = mem_alloc(1, t.max);
	if (t.data == NULL || rtc_open(&p, offerer, setup) < 0)
		die("cannot start");
	p.zero_checksum = zero_checksum;
	hash_sha256_init(&t.sent_hash);
	hash_sha256_init(&t.echo_hash);
	if (offerer)
		print_description(&p);
	read_description(&p);
	if (!offerer)
		print_description(&p);
	int code = run(&p, &t);
	mem_free(t.data);
	rtc_close(&p);
	return code;
}
