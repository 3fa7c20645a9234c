/* SPDX-License-Identifier: MIT */

/*
 * Routing of handshake records, without OpenSSL behind it: the input writes what the network brings and what OpenSSL would have
 * done with it (the fake of crypto/dtls_ssl below), so that each run costs microseconds. The real handshake is fed by
 * fuzz_dtls_handshake.c.
 */

#include "base/buf.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "crypto/cert.h"
#include "crypto/dtls.h"
#include "crypto/dtls_ssl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the fake does in its next run. */
enum script {
	SCRIPT_RESULT = 7,    /* result of the run, see result_of() */
	SCRIPT_HELLO = 8,     /* a datagram of two records of epoch 0 */
	SCRIPT_FINISHED = 16, /* change cipher spec and a sealed Finished */
	SCRIPT_ALERT = 32,    /* a sealed alert */
	SCRIPT_FORGED = 64,   /* a Finished that opens with no key of ours */
	SCRIPT_WEAK = 128,    /* export fails, the handshake is not sound */
};

struct dtls_ssl {
	struct record *own; /* seals as OpenSSL would */
};

static struct bytes_reader in;
static uint8_t script;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static struct record *make_record(enum record_role role, uint8_t key)
{
	struct record_keys keys = {.role = role, .nonce_start = 3};
	struct record *r = NULL;

	memset(keys.client_key, key, sizeof(keys.client_key));
	memset(keys.server_key, key, sizeof(keys.server_key));
	must(record_new(&r, &keys, AEAD_BACKEND_EVP) == 0);
	return r;
}

int dtls_ssl_new(struct dtls_ssl **out, const struct dtls_config *config)
{
	struct dtls_ssl *s = mem_new(struct dtls_ssl);

	must(s != NULL);
	s->own = make_record(config->role, 0);
	*out = s;
	return 0;
}

void dtls_ssl_free(struct dtls_ssl *s)
{
	if (s == NULL)
		return;
	record_free(s->own);
	mem_free(s);
}

static void emit(struct buf *emitted, const uint8_t *data, size_t len)
{
	uint8_t head[2];

	be16_store(head, (uint16_t)len);
	must(buf_add(emitted, head, 2) == 0 && buf_add(emitted, data, len) == 0);
}

static void emit_plain(struct buf *emitted, uint8_t type)
{
	/* Two records in one datagram, as a flight has them. */
	uint8_t d[40] = {type, 0xfe, 0xfd, [12] = 7, [20] = type, 0xfe, 0xfd, [32] = 7};

	emit(emitted, d, sizeof(d));
}

static void emit_sealed(struct dtls_ssl *s, struct buf *emitted, uint8_t type)
{
	static const uint8_t plain[24] = {20};
	uint8_t d[100];
	size_t len;

	must(record_seal_one(s->own, type, plain, sizeof(plain), d, sizeof(d), &len) == 0);
	d[len - 1] ^= (script & SCRIPT_FORGED) != 0;
	emit(emitted, d, len);
}

static int result_of(uint8_t how)
{
	switch (how & SCRIPT_RESULT) {
	case 1:
		return DTLS_SSL_DONE;
	case 2:
		return DTLS_SSL_FINGERPRINT;
	case 3:
		return DTLS_SSL_REFUSED;
	case 4:
		return -ENOMEM;
	default:
		return DTLS_SSL_MORE;
	}
}

int dtls_ssl_run(struct dtls_ssl *s, const uint8_t *record, size_t len, struct buf *emitted)
{
	static volatile uint8_t sink;

	for (size_t i = 0; i < len; i++)
		sink = (uint8_t)(sink + record[i]);
	if ((script & SCRIPT_HELLO) != 0)
		emit_plain(emitted, RECORD_TYPE_HANDSHAKE);
	if ((script & SCRIPT_FINISHED) != 0) {
		emit_plain(emitted, RECORD_TYPE_CCS);
		emit_sealed(s, emitted, RECORD_TYPE_HANDSHAKE);
	}
	if ((script & SCRIPT_ALERT) != 0)
		emit_sealed(s, emitted, RECORD_TYPE_ALERT);
	return result_of(script);
}

int dtls_ssl_export(struct dtls_ssl *s, struct record_keys *out)
{
	(void)s;
	memset(out, 0, sizeof(*out));
	return (script & SCRIPT_WEAK) != 0 ? DTLS_SSL_WEAK : 0;
}

bool dtls_ssl_is_sound(const struct dtls_ssl *s)
{
	(void)s;
	return (script & SCRIPT_WEAK) == 0;
}

/* --- the owner ------------------------------------------------------------------------------------- */

struct owner {
	struct dtls *dtls;
	struct record *peer; /* seals as the peer does */
	uint64_t now_us;
	uint64_t next_seq; /* no number of epoch 0 comes twice */
	bool keys, connected, failed;
};

static void check_raw(struct owner *o, const uint8_t *p, size_t len)
{
	for (size_t at = 0; at < len;) {
		must(len - at >= RECORD_HEADER_SIZE && be16_load(p + at + 3) == 0);
		uint64_t seq = be64_load(p + at + 3);

		must(seq >= o->next_seq);
		o->next_seq = seq + 1;
		at += RECORD_HEADER_SIZE + (size_t)be16_load(p + at + 11);
		must(at <= len);
	}
}

static void drain(struct owner *o)
{
	struct dtls_event ev;
	struct dtls_out out;

	while (dtls_event(o->dtls, &ev) == 1) {
		must(!o->failed && (ev.type == DTLS_EVENT_KEYS ? !o->keys : true));
		must(ev.type != DTLS_EVENT_CONNECTED || (o->keys && !o->connected));
		o->keys |= ev.type == DTLS_EVENT_KEYS;
		o->connected |= ev.type == DTLS_EVENT_CONNECTED;
		o->failed |= ev.type == DTLS_EVENT_FAILED;
	}
	for (int i = 0; dtls_output(o->dtls, &out, o->now_us) == 1; i++) {
		must(i < 1000 && out.len > 0);
		if (out.kind == DTLS_OUT_RAW)
			check_raw(o, out.data, out.len);
		else
			must(o->keys);
	}
}

static void feed(struct owner *o, const uint8_t *data, size_t len)
{
	/* Of exactly this size, so that a read past its end is seen. */
	uint8_t *exact = mem_alloc(1, len + (len == 0));

	must(exact != NULL);
	if (len > 0)
		memcpy(exact, data, len);
	must(dtls_input(o->dtls, exact, len, o->now_us) == 0);
	mem_free(exact);
}

/* A datagram of records, each with a good header, perhaps with a wrong one at the end. */
static void feed_records(struct owner *o)
{
	uint8_t d[1200];
	size_t len = 0, count = (bytes_read_u8(&in) & 3) + 1u;

	for (size_t i = 0; i < count; i++) {
		uint8_t how = bytes_read_u8(&in);
		size_t n = GV_MIN((size_t)bytes_read_u8(&in), in.left);
		const uint8_t *p = bytes_read(&in, n);
		uint8_t head[RECORD_HEADER_SIZE] = {(uint8_t)(20 + (how & 3)), 0xfe,
		                                    how & 64    ? 0xff
		                                    : how & 128 ? 0xfc
		                                                : 0xfd,
		                                    0, how >> 2 & 3};

		be16_store(head + 11, (uint16_t)n);
		memcpy(d + len, head, sizeof(head));
		if (n > 0)
			memcpy(d + len + sizeof(head), p, n);
		/* message_seq: the next ones, or the ones before. */
		if (n >= 12 && (how & 32) != 0)
			be16_store(d + len + sizeof(head) + 4, how >> 4 & 1);
		len += sizeof(head) + n;
	}
	feed(o, d, len);
}

static void feed_sealed(struct owner *o)
{
	uint8_t d[400], how = bytes_read_u8(&in);
	size_t n = GV_MIN((size_t)bytes_read_u8(&in), in.left), len;
	const uint8_t *p = bytes_read(&in, n);

	if (record_seal_one(o->peer, how & 1 ? RECORD_TYPE_ALERT : RECORD_TYPE_HANDSHAKE, p, n, d,
	                    sizeof(d), &len) != 0)
		return;
	d[len - 1] ^= how & 2;
	feed(o, d, len);
}

static void step(struct owner *o)
{
	uint8_t op = bytes_read_u8(&in) % 6;
	size_t n;
	const uint8_t *p;

	switch (op) {
	case 0:
		n = bytes_read_u16(&in);
		n = GV_MIN(n, in.left);
		p = bytes_read(&in, n);
		feed(o, p, n);
		break;
	case 1:
		feed_records(o);
		break;
	case 2:
		feed_sealed(o);
		break;
	case 3:
		o->now_us += UINT64_C(1) << (bytes_read_u8(&in) & 31);
		must(dtls_timeout(o->dtls, o->now_us) == 0);
		must(dtls_deadline_us(o->dtls) > o->now_us);
		break;
	case 4:
		dtls_repeat_last_flight(o->dtls, o->now_us);
		break;
	default:
		script = bytes_read_u8(&in);
		break;
	}
	drain(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cert *cert;
	struct owner o = {.now_us = 1};

	if (cert == NULL)
		must(cert_new(&cert, 1700000000) == 0);
	in = bytes_reader(data, size);
	script = bytes_read_u8(&in);
	struct dtls_config config = {.role = script & SCRIPT_ALERT ? RECORD_ROLE_SERVER
	                                                           : RECORD_ROLE_CLIENT,
	                             .cert = cert,
	                             .mtu = 1200};
	/* A client begins with a run of its own. */
	script &= (uint8_t) ~(SCRIPT_ALERT | SCRIPT_RESULT);
	o.peer = make_record(
		config.role == RECORD_ROLE_CLIENT ? RECORD_ROLE_SERVER : RECORD_ROLE_CLIENT, 0);
	int r = dtls_new(&o.dtls, &config, o.now_us);
	if (r == 0) {
		drain(&o);
		for (int i = 0; i < STEPS_MAX && in.ok && in.left > 0; i++)
			step(&o);
		must(dtls_counters(o.dtls)->tx_flights < 1000);
		dtls_free(o.dtls);
	}
	record_free(o.peer);
	return 0;
}
