/* SPDX-License-Identifier: MIT */

#include "rtc_load.h"
#include "rtc_lines.h"
#include "rtc_mirror.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/mem.h"
#include "crypto/hash.h"

#include <stdio.h>
#include <string.h>

#define WINDOW_BYTES    (1u << 20) /* sent and not yet back */
#define OPEN_MS         60000
#define TRAFFIC_MS      300000
#define STRAY_MS        2000 /* how long a lost message is waited for */
#define POLL_MS         100
#define PACED_PER_S     1000
#define PACED_BYTES     200
#define EXTRA_ROUNDS    3
#define EXTRA_CHANNELS  6
#define EXTRA_MESSAGES  5
#define EXTRA_EXPECTED  (EXTRA_CHANNELS * EXTRA_MESSAGES)
#define EXTRA_PLENTY    20    /* retransmissions */
#define EXTRA_LIFE_MS   30000 /* lifetime */
#define HASH_HEAD_BYTES 16

static bool in_time(const struct rtc_peer *p, uint64_t end_us)
{
	return p->failure == NULL && !p->down && clock_now_us() < end_us;
}

static uint64_t after_ms(unsigned ms)
{
	return clock_now_us() + (uint64_t)ms * 1000;
}

static void fail(struct rtc_peer *p, const char *why)
{
	if (p->failure == NULL)
		p->failure = why;
}

static void hash_message(struct hash_sha256 *h, enum dcep_kind kind, const void *data, size_t len)
{
	uint8_t head[HASH_HEAD_BYTES];

	be64_store(head, (uint64_t)kind);
	be64_store(head + 8, len);
	hash_sha256_update(h, head, sizeof(head));
	hash_sha256_update(h, data, len);
}

static void fill(struct rng *r, enum dcep_kind kind, uint8_t *data, size_t len)
{
	rng_bytes(r, data, len);
	for (size_t i = 0; kind == DCEP_KIND_TEXT && i < len; i++)
		data[i] = (uint8_t)('a' + data[i] % 26);
}

/* ---- the reliable channel ---- */

struct stream_test {
	struct rng rng;
	struct hash_sha256 sent, back;
	uint8_t *data; /* owned */
	size_t len;
	enum dcep_kind kind;
	bool ready; /* made, not yet taken */
};

/* Every power of two has the same weight. The first message is the shortest, the last one the longest. */
static size_t next_len(struct stream_test *t, const struct rtc_load *l)
{
	uint32_t octaves = 0;

	if (l->sent == 0 || l->sent + 1 == l->messages)
		return l->sent == 0 ? 1 : l->size;
	while ((size_t)2 << octaves < l->size)
		octaves++;
	uint32_t low = 1u << rng_below(&t->rng, octaves + 1);
	return GV_MIN(low + rng_below(&t->rng, low), l->size);
}

static void send_more(struct rtc_peer *p, struct rtc_load *l, struct stream_test *t,
                      uint16_t stream)
{
	while (l->sent < l->messages && l->sent_bytes - l->echoed_bytes < WINDOW_BYTES) {
		if (!t->ready) {
			t->len = next_len(t, l);
			t->kind = l->sent % 4 == 3 ? DCEP_KIND_TEXT : DCEP_KIND_BINARY;
			fill(&t->rng, t->kind, t->data, t->len);
			t->ready = true;
		}
		int r = rtc_send(p, stream, t->kind, t->data, t->len);
		if (r == SCTP_FULL)
			return;
		if (r != 0) {
			fail(p, "a message was refused");
			return;
		}
		hash_message(&t->sent, t->kind, t->data, t->len);
		l->sent++;
		l->sent_bytes += t->len;
		t->ready = false;
	}
}

static void run_reliable(struct rtc_peer *p, struct rtc_load *l)
{
	struct stream_test t = {.rng = rng_os(), .data = mem_alloc(1, l->size)};
	uint8_t sent[HASH_SHA256_SIZE], back[HASH_SHA256_SIZE];
	uint64_t end_us = after_ms(TRAFFIC_MS);
	const struct rtc_channel *c = rtc_channel(p, RTC_LABEL_RELIABLE);
	struct rtc_message *m;

	if (t.data == NULL)
		fail(p, "no memory");
	hash_sha256_init(&t.sent);
	hash_sha256_init(&t.back);
	while (l->echoed < l->messages && in_time(p, end_us)) {
		send_more(p, l, &t, c->stream);
		rtc_run(p, POLL_MS);
		for (; (m = rtc_receive(p)) != NULL; mem_free(m)) {
			hash_message(&t.back, m->kind, m->data, m->len);
			l->echoed++;
			l->echoed_bytes += m->len;
		}
	}
	if (l->echoed < l->messages)
		fail(p, p->down ? "the peer ended before all was back" : "messages are missing");
	if (hash_sha256_final(&t.sent, sent) != 0 || hash_sha256_final(&t.back, back) != 0 ||
	    !hash_equal(sent, back, sizeof(sent)))
		fail(p, "what came back differs");
	mem_free(t.data);
}

/* ---- the unordered channel ---- */

static void send_paced(struct rtc_peer *p, struct rtc_load *l, uint16_t stream, uint64_t start_us)
{
	uint8_t message[PACED_BYTES] = {0};
	uint64_t due = (clock_now_us() - start_us) * PACED_PER_S / 1000000;

	while (l->unordered_sent < GV_MIN(due, l->unordered)) {
		be32_store(message, l->unordered_sent);
		int r = rtc_send(p, stream, DCEP_KIND_BINARY, message, sizeof(message));
		if (r == SCTP_FULL)
			return;
		if (r != 0) {
			fail(p, "a paced message was refused");
			return;
		}
		l->unordered_sent++;
	}
}

static void run_unordered(struct rtc_peer *p, struct rtc_load *l)
{
	const struct rtc_channel *c = rtc_channel(p, RTC_LABEL_UNORDERED);
	uint64_t start_us = clock_now_us(), end_us = after_ms(TRAFFIC_MS), heard_us = start_us;
	bool *seen = mem_alloc(l->unordered, sizeof(*seen));
	struct rtc_message *m;

	if (seen == NULL) {
		fail(p, "no memory");
		return;
	}
	memset(seen, 0, l->unordered * sizeof(*seen));
	rtc_lines_paced();
	while (l->unordered_seen < l->unordered && in_time(p, end_us)) {
		if (l->unordered_sent == l->unordered &&
		    clock_now_us() - heard_us > STRAY_MS * 1000)
			break;
		send_paced(p, l, c->stream, start_us);
		rtc_run(p, 1);
		for (; (m = rtc_receive(p)) != NULL; mem_free(m)) {
			heard_us = clock_now_us();
			uint32_t n = m->len == PACED_BYTES ? be32_load(m->data) : UINT32_MAX;
			if (n >= l->unordered || seen[n]) {
				fail(p, "a paced message came back twice or changed");
				continue;
			}
			seen[n] = true;
			l->unordered_seen++;
		}
	}
	mem_free(seen);
}

/* ---- many channels, closed and opened again ---- */

struct expected {
	bool back;
	uint16_t stream;
	enum dcep_kind kind;
	size_t len, back_len; /* what is sent, what comes back */
	const void *data, *back_data;
};

static const struct dcep_params extra_types[EXTRA_CHANNELS] = {
	{.priority = 256},
	{.unordered = true},
	{.reliability = SCTP_MAX_RETRANSMITS, .limit = EXTRA_PLENTY},
	{.reliability = SCTP_MAX_RETRANSMITS, .limit = EXTRA_PLENTY, .unordered = true},
	{.reliability = SCTP_MAX_LIFETIME, .limit = EXTRA_LIFE_MS},
	{.reliability = SCTP_MAX_LIFETIME, .limit = EXTRA_LIFE_MS, .unordered = true},
};

static void open_extra(struct rtc_peer *p, struct rtc_channel **out)
{
	uint64_t end_us = after_ms(RTC_CLOSE_MS);
	unsigned before = p->opened;

	for (unsigned i = 0; i < EXTRA_CHANNELS; i++) {
		struct dcep_params params = extra_types[i];
		char label[RTC_LABEL_SIZE];

		params.label = label;
		params.label_len = (size_t)snprintf(label, sizeof(label), "extra %u", i);
		params.protocol = "interop";
		params.protocol_len = strlen(params.protocol);
		out[i] = rtc_open_channel(p, &params);
	}
	while (p->opened - before < EXTRA_CHANNELS && in_time(p, end_us))
		rtc_run(p, POLL_MS);
	if (p->opened - before < EXTRA_CHANNELS)
		fail(p, "a further channel was not opened");
}

/* On each channel an empty text, nothing, a byte, `big` bytes, and some text. */
static void expect_all(struct expected *e, struct rtc_channel **channels, const uint8_t *data,
                       const struct rtc_load *l)
{
	const size_t lens[EXTRA_MESSAGES] = {0, 0, 1, l->big, 1000};

	for (unsigned i = 0; i < EXTRA_EXPECTED; i++) {
		unsigned n = i % EXTRA_MESSAGES;
		e[i] = (struct expected){
			.stream = channels[i / EXTRA_MESSAGES]->stream,
			.kind = n == 0 || n == 4 ? DCEP_KIND_TEXT : DCEP_KIND_BINARY,
			.len = lens[n],
			.back_len = lens[n],
			.data = data + i % 16,
			.back_data = data + i % 16,
		};
		if (lens[n] == 0 && l->told_empty) {
			e[i].back_data = n == 0 ? "empty text" : "empty data";
			e[i].back_len = strlen("empty text");
		}
	}
}

static bool note_back(struct expected *e, const struct rtc_message *m)
{
	for (unsigned i = 0; i < EXTRA_EXPECTED; i++) {
		if (!e[i].back && e[i].stream == m->stream && e[i].kind == m->kind &&
		    e[i].back_len == m->len &&
		    (m->len == 0 || memcmp(e[i].back_data, m->data, m->len) == 0))
			return e[i].back = true;
	}
	return false;
}

static void exchange_extra(struct rtc_peer *p, struct rtc_load *l, struct expected *e)
{
	uint64_t end_us = after_ms(TRAFFIC_MS);
	unsigned sent = 0, back = 0;
	struct rtc_message *m;

	while (back < EXTRA_EXPECTED && in_time(p, end_us)) {
		while (sent < EXTRA_EXPECTED) {
			int r = rtc_send(p, e[sent].stream, e[sent].kind, e[sent].data,
			                 e[sent].len);
			if (r == SCTP_FULL)
				break;
			if (r != 0)
				fail(p, "a message on a further channel was refused");
			sent++;
		}
		rtc_run(p, POLL_MS);
		for (; (m = rtc_receive(p)) != NULL; mem_free(m)) {
			if (!note_back(e, m))
				fail(p, "a message on a further channel changed");
			back++;
		}
	}
	if (back < EXTRA_EXPECTED)
		fail(p, "a message on a further channel is missing");
	l->extra += back;
}

static void run_extra(struct rtc_peer *p, struct rtc_load *l)
{
	struct rtc_channel *channels[EXTRA_CHANNELS];
	struct expected e[EXTRA_EXPECTED];
	size_t room = l->big + EXTRA_EXPECTED;
	uint8_t *data = mem_alloc(1, room);

	if (data == NULL) {
		fail(p, "no memory");
		return;
	}
	fill(&p->rng, DCEP_KIND_TEXT, data, room);
	for (unsigned i = 0; i < EXTRA_ROUNDS && p->failure == NULL; i++) {
		open_extra(p, channels);
		if (p->failure != NULL)
			break;
		expect_all(e, channels, data, l);
		exchange_extra(p, l, e);
		rtc_close_channels(p, channels, EXTRA_CHANNELS);
	}
	mem_free(data);
}

/* ---- a whole run ---- */

static bool is_open(struct rtc_peer *p)
{
	const struct rtc_channel *a = rtc_channel(p, RTC_LABEL_RELIABLE);
	const struct rtc_channel *b = rtc_channel(p, RTC_LABEL_UNORDERED);

	return a != NULL && a->open && b != NULL && b->open;
}

static void wait_open(struct rtc_peer *p)
{
	uint64_t end_us = after_ms(OPEN_MS);

	while (!is_open(p) && in_time(p, end_us))
		rtc_run(p, POLL_MS);
	if (!is_open(p))
		fail(p, p->dtls_done ? "no channel in time" : "no DTLS in time");
}

/* Sends back what came. A message that finds no room stays first in the queue. */
static void echo(struct rtc_peer *p, struct rtc_load *l)
{
	while (p->first != NULL) {
		const struct rtc_message *m = p->first;
		const struct rtc_channel *reliable = rtc_channel(p, RTC_LABEL_RELIABLE);
		const struct rtc_channel *unordered = rtc_channel(p, RTC_LABEL_UNORDERED);
		int r = rtc_send(p, m->stream, m->kind, m->data, m->len);

		if (r == SCTP_FULL)
			return;
		if (r != 0) {
			l->unsent++;
		} else if (reliable != NULL && m->stream == reliable->stream) {
			l->echoed++;
			l->echoed_bytes += m->len;
		} else if (unordered != NULL && m->stream == unordered->stream) {
			l->unordered_seen++;
		} else {
			l->extra++;
		}
		mem_free(rtc_receive(p));
	}
}

static void run_echo(struct rtc_peer *p, struct rtc_load *l)
{
	uint64_t end_us = after_ms(2 * TRAFFIC_MS);

	while (!p->close_notify && in_time(p, end_us)) {
		rtc_run(p, POLL_MS);
		echo(p, l);
	}
	if (!p->down && !p->close_notify)
		fail(p, "the peer did not end");
	/* What an alert overtook or follows it: the answer to a SHUTDOWN, an ABORT. */
	for (end_us = after_ms(POLL_MS); in_time(p, end_us);)
		rtc_run(p, POLL_MS);
	rtc_close_notify(p);
}

static void end_association(struct rtc_peer *p)
{
	struct rtc_channel *both[] = {rtc_channel(p, RTC_LABEL_RELIABLE),
	                              rtc_channel(p, RTC_LABEL_UNORDERED)};

	rtc_close_channels(p, both, GV_ARRAY_SIZE(both));
	sctp_shutdown(p->sctp, clock_now_us());
	for (uint64_t end_us = after_ms(RTC_CLOSE_MS); !p->close_notify && in_time(p, end_us);)
		rtc_run(p, POLL_MS);
	rtc_run(p, 0);
	rtc_close_notify(p);
}

void rtc_load_run(struct rtc_peer *p, struct rtc_load *l)
{
	wait_open(p);
	uint64_t open_us = clock_now_us();
	l->open_us = open_us - p->remote_us;
	if (p->failure == NULL && l->drive)
		run_reliable(p, l);
	l->traffic_us = clock_now_us() - open_us;
	if (p->failure == NULL && l->drive && l->unordered > 0)
		run_unordered(p, l);
	if (p->failure == NULL && l->drive && l->big > 0)
		run_extra(p, l);
	if (p->failure == NULL && l->drive && l->mirrored > 0)
		rtc_mirror_run(p, l->mirrored);
	if (p->failure == NULL && l->drive)
		end_association(p);
	else if (p->failure == NULL)
		run_echo(p, l);
}
