/* SPDX-License-Identifier: MIT */

/*
 * A DTLS handshake with an honest peer, into which the input reaches: its first byte says whether the client or the
 * server is attacked, then each step delivers, changes, repeats or loses the next datagram for that end, adds one
 * that is made up, or lets time pass.
 */

#include "base/bytes.h"
#include "base/mem.h"
#include "crypto/dtls.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX    16
#define DATAGRAM_MAX 2048
#define ROUNDS_MAX   64

enum step {
	STEP_DELIVER,
	STEP_CHANGE,
	STEP_CUT,
	STEP_REPEAT,
	STEP_LOSE,
	STEP_MADE_UP,
	STEP_WAIT,
	STEP_FINISHED_AGAIN,
	STEPS,
};

struct end {
	struct dtls *dtls;
	struct record *record;
	struct end *other;
	uint8_t data[QUEUE_MAX][DATAGRAM_MAX]; /* for this end */
	size_t len[QUEUE_MAX];
	unsigned head, count;
	bool failed, connected;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void push(struct end *to, const uint8_t *data, size_t len)
{
	unsigned i = (to->head + to->count) % QUEUE_MAX;

	if (to->count == QUEUE_MAX)
		return;
	if (len > DATAGRAM_MAX)
		abort();
	memcpy(to->data[i], data, len);
	to->len[i] = len;
	to->count++;
}

static void drain(struct end *e, uint64_t now_us)
{
	struct dtls_event ev;
	struct dtls_out out;
	uint8_t sealed[DATAGRAM_MAX];
	size_t len;

	while (dtls_event(e->dtls, &ev) == 1) {
		if (e->failed)
			abort(); /* nothing comes after a failure */
		if (ev.type == DTLS_EVENT_KEYS &&
		    (e->record != NULL || record_new(&e->record, &ev.keys, AEAD_BACKEND_EVP) != 0))
			abort();
		if (ev.type == DTLS_EVENT_CONNECTED && e->record == NULL)
			abort();
		e->connected |= ev.type == DTLS_EVENT_CONNECTED;
		e->failed |= ev.type == DTLS_EVENT_FAILED;
	}
	while (dtls_output(e->dtls, &out, now_us) == 1) {
		if (out.kind == DTLS_OUT_RAW) {
			push(e->other, out.data, out.len);
			continue;
		}
		if (e->record == NULL || record_seal_one(e->record, out.type, out.data, out.len,
		                                         sealed, sizeof(sealed), &len) != 0)
			abort();
		push(e->other, sealed, len);
	}
}

static void feed(struct end *e, const uint8_t *data, size_t len, uint64_t now_us)
{
	/* Of exactly this size, so that a read past its end is seen. */
	uint8_t *exact = mem_dup(data, len);

	if (exact == NULL || dtls_input(e->dtls, exact, len, now_us) != 0)
		abort();
	mem_free(exact);
	drain(e, now_us);
}

static void pop(struct end *e)
{
	e->head = (e->head + 1) % QUEUE_MAX;
	e->count--;
}

/* The honest end gets everything. */
static void feed_all(struct end *e, uint64_t now_us)
{
	while (e->count > 0) {
		unsigned i = e->head;

		pop(e);
		feed(e, e->data[i], e->len[i], now_us);
	}
}

static void attack(struct end *e, enum step step, struct bytes_reader *r, uint64_t *now_us)
{
	uint8_t *next = e->data[e->head];
	size_t len = e->len[e->head];

	switch (step) {
	case STEP_CHANGE:
		if (e->count > 0) {
			size_t at = bytes_read_u16(r) % len;

			next[at] ^= bytes_read_u8(r);
		}
		return;
	case STEP_CUT:
		if (e->count > 0)
			e->len[e->head] = bytes_read_u16(r) % len + 1;
		return;
	case STEP_REPEAT:
		if (e->count > 0)
			feed(e, next, len, *now_us);
		return;
	case STEP_DELIVER:
	case STEP_LOSE:
		if (e->count == 0)
			return;
		pop(e);
		if (step == STEP_DELIVER)
			feed(e, next, len, *now_us);
		return;
	case STEP_MADE_UP:
		len = bytes_read_u8(r);
		next = NULL;
		if (len <= r->left)
			feed(e, bytes_read(r, len), len, *now_us);
		return;
	case STEP_WAIT:
		*now_us += (uint64_t)bytes_read_u16(r) * 1000;
		if (dtls_timeout(e->dtls, *now_us) != 0 ||
		    dtls_timeout(e->other->dtls, *now_us) != 0)
			abort();
		return;
	case STEP_FINISHED_AGAIN:
		dtls_repeat_last_flight(e->dtls, *now_us);
		return;
	case STEPS:
		return;
	}
}

/* The peer's certificate is not the one that was announced, when expects_other. */
static void start(struct end *e, struct end *other, enum record_role role, struct cert *own,
                  struct cert *peer, bool expects_other)
{
	struct dtls_config config = {
		.role = role, .peer = DTLS_PEER_STANDARD, .cert = own, .mtu = 1200};

	memset(e, 0, sizeof(*e));
	e->other = other;
	cert_fingerprint(peer, config.peer_fingerprint);
	config.peer_fingerprint[0] ^= expects_other;
	if (dtls_new(&e->dtls, &config, 1) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cert *certs[2];
	static struct end client, server;
	struct bytes_reader r = bytes_reader(data, size);
	uint64_t now_us = 1;

	for (unsigned i = 0; i < 2; i++)
		if (certs[i] == NULL && cert_new(&certs[i], 1700000000) != 0)
			abort();
	uint8_t how = bytes_read_u8(&r);
	struct end *victim = how % 2 == 0 ? &client : &server;

	start(&client, &server, RECORD_ROLE_CLIENT, certs[0], certs[1], (how & 2) != 0);
	start(&server, &client, RECORD_ROLE_SERVER, certs[1], certs[0], (how & 4) != 0);
	drain(&client, now_us);
	for (unsigned i = 0; i < ROUNDS_MAX && r.ok && r.left > 0; i++) {
		attack(victim, bytes_read_u8(&r) % STEPS, &r, &now_us);
		drain(victim, now_us);
		feed_all(victim->other, now_us);
	}
	if (victim->failed && victim->connected)
		abort();
	dtls_free(client.dtls);
	record_free(client.record);
	dtls_free(server.dtls);
	record_free(server.record);
	return 0;
}
