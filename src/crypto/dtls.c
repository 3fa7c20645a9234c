/* SPDX-License-Identifier: MIT */

#include "crypto/dtls.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "crypto/aead.h"
#include "crypto/dtls_ssl.h"

#include <errno.h>
#include <string.h>

#define MTU_MIN          256
#define EXPLICIT_SIZE    8
#define AAD_SIZE         13
#define HANDSHAKE_HEADER 12
#define HANDSHAKE_FINISH 20
#define NONCE_HALF       (UINT64_C(1) << 63)
/* A flight is a few messages of a few hundred bytes each, cut at the MTU. */
#define FLIGHT_BYTES_MAX 32768
#define FLIGHT_ITEMS_MAX 64

enum dtls_state {
	DTLS_STATE_HANDSHAKE,
	DTLS_STATE_CONNECTED,
	DTLS_STATE_FAILED,
};

enum keys_state {
	KEYS_NONE,
	KEYS_WAITING, /* for dtls_event() */
	KEYS_TAKEN,
};

/* One thing to send, inside the flight's bytes. */
struct flight_item {
	enum dtls_out_kind kind;
	uint8_t type; /* of SEAL */
	size_t at, len;
};

/* What was sent last, kept until the peer answers it. */
struct flight {
	struct buf bytes;
	struct flight_item items[FLIGHT_ITEMS_MAX];
	unsigned count;
	unsigned next; /* item to give out */
};

struct dtls {
	struct dtls_config config; /* with a reference to the certificate */
	enum dtls_state state;
	struct dtls_ssl *ssl; /* owned; NULL once the handshake is over */
	struct flight flight;
	uint64_t
		epoch0_seq; /* of the next record we send there: OpenSSL's numbers are overwritten */

	struct record_keys keys; /* wiped when they are taken */
	enum keys_state keys_state;
	uint8_t own_salt[4], peer_salt[4];
	struct aead_key
		*own; /* opens what OpenSSL sealed; NULL before the keys and after the handshake */
	struct aead_key *peer; /* opens a repeated Finished; NULL before the keys */

	bool connected_waits, failed_waits; /* for dtls_event() */
	enum dtls_failure failure;

	uint64_t repeat_us;      /* present interval */
	uint64_t repeat_at_us;   /* CLOCK_NEVER without a flight */
	uint64_t give_up_at_us;  /* of the whole handshake */
	uint64_t flight_sent_us; /* last sending or repeat */
	uint16_t peer_seq_next;  /* message_seq after the highest one that came */
	uint16_t peer_seq_done;  /* the messages below it led to our present flight */

	struct dtls_counters counters;
};

/* One record as it stands in a datagram. */
struct raw_record {
	uint8_t type;
	uint16_t epoch;
	const uint8_t *data; /* header included */
	size_t len;
	const uint8_t *body;
	size_t body_len;
};

/* Takes the next record off r. Returns false at the end, and for what is no record (r->ok is false then). */
static bool next_record(struct bytes_reader *r, struct raw_record *out)
{
	if (r->left == 0)
		return false;

	const uint8_t *head = bytes_read(r, RECORD_HEADER_SIZE);
	/* DTLS 1.0 stands in the ClientHello of every 1.2 client (RFC 6347 4.1). */
	if (head == NULL || head[1] != 0xfe || (head[2] != 0xfd && head[2] != 0xff)) {
		r->ok = false;
		return false;
	}
	*out = (struct raw_record){
		.type = head[0],
		.epoch = be16_load(head + 3),
		.data = head,
		.body_len = be16_load(head + 11),
	};
	out->len = RECORD_HEADER_SIZE + out->body_len;
	out->body = bytes_read(r, out->body_len);
	return out->body != NULL;
}

static void fail(struct dtls *d, enum dtls_failure why)
{
	if (d->state != DTLS_STATE_HANDSHAKE)
		return;
	d->state = DTLS_STATE_FAILED;
	d->failure = why;
	d->failed_waits = true;
	/* Keys of a handshake that came to nothing are for nobody. */
	if (d->keys_state == KEYS_WAITING)
		d->keys_state = KEYS_NONE;
	mem_wipe(&d->keys, sizeof(d->keys));
}

/* Opens a record of epoch 1 to out, which holds body_len bytes. False: not authentic. */
static bool open_record(struct aead_key *key, const uint8_t salt[static 4],
                        const struct raw_record *rec, uint8_t *out, size_t *out_len)
{
	uint8_t aad[AAD_SIZE];
	uint8_t tag[AEAD_TAG_SIZE];

	if (rec->body_len < EXPLICIT_SIZE + AEAD_TAG_SIZE)
		return false;

	size_t len = rec->body_len - EXPLICIT_SIZE - AEAD_TAG_SIZE;
	memcpy(out, rec->body + EXPLICIT_SIZE, len);
	memcpy(tag, rec->body + EXPLICIT_SIZE + len, sizeof(tag));
	memcpy(aad, rec->data + 3, 8);
	memcpy(aad + 8, rec->data, 3);
	be16_store(aad + 11, (uint16_t)len);

	struct aead_op op = {
		.aad = aad, .aad_len = sizeof(aad), .data = out, .len = len, .tag = tag};
	memcpy(op.nonce, salt, 4);
	memcpy(op.nonce + 4, rec->body, EXPLICIT_SIZE);
	aead_open(key, &op, 1);
	*out_len = len;
	return op.ok;
}

/* Exports the keys with the first record of epoch 1 that OpenSSL emits. Returns 0 or a failure. */
static enum dtls_failure export_keys(struct dtls *d, const struct raw_record *first)
{
	struct record_keys *k = &d->keys;
	bool client = d->config.role == RECORD_ROLE_CLIENT;

	if (first->body_len < EXPLICIT_SIZE)
		return DTLS_FAILURE_INTERNAL;
	int r = dtls_ssl_export(d->ssl, k);
	if (r == DTLS_SSL_WEAK)
		return DTLS_FAILURE_WEAK;
	if (r != 0)
		return DTLS_FAILURE_INTERNAL;

	/* OpenSSL counts its explicit nonces up from here: ours begin half of all numbers away. */
	k->nonce_start = be64_load(first->body) ^ NONCE_HALF;

	memcpy(d->own_salt, client ? k->client_salt : k->server_salt, sizeof(d->own_salt));
	memcpy(d->peer_salt, client ? k->server_salt : k->client_salt, sizeof(d->peer_salt));
	r = aead_key_new(&d->own, AEAD_BACKEND_EVP, AEAD_OPEN,
	                 client ? k->client_key : k->server_key);
	if (r == 0)
		r = aead_key_new(&d->peer, AEAD_BACKEND_EVP, AEAD_OPEN,
		                 client ? k->server_key : k->client_key);
	if (r != 0)
		return DTLS_FAILURE_INTERNAL;
	d->keys_state = KEYS_WAITING;
	return DTLS_FAILURE_NONE;
}

static struct flight_item *add_item(struct flight *f, enum dtls_out_kind kind, uint8_t type,
                                    const uint8_t *data, size_t len)
{
	if (f->count == FLIGHT_ITEMS_MAX)
		return NULL;

	size_t at = f->bytes.len;
	if (buf_add(&f->bytes, data, len) != 0)
		return NULL;
	struct flight_item *item = &f->items[f->count++];
	*item = (struct flight_item){.kind = kind, .type = type, .at = at, .len = len};
	return item;
}

/* Files one datagram of OpenSSL into the flight: epoch 0 as it is, epoch 1 as plaintext. */
static enum dtls_failure file_datagram(struct dtls *d, const uint8_t *data, size_t len)
{
	struct bytes_reader r = bytes_reader(data, len);
	struct flight_item *raw = NULL; /* epoch 0 of this datagram */
	struct raw_record rec;
	uint8_t plain[DTLS_INPUT_MAX];
	size_t plain_len;

	while (next_record(&r, &rec)) {
		if (rec.epoch == 0 && raw != NULL) {
			if (buf_add(&d->flight.bytes, rec.data, rec.len) != 0)
				return DTLS_FAILURE_INTERNAL;
			raw->len += rec.len;
			continue;
		}
		if (rec.epoch == 0) {
			raw = add_item(&d->flight, DTLS_OUT_RAW, 0, rec.data, rec.len);
			if (raw == NULL)
				return DTLS_FAILURE_INTERNAL;
			continue;
		}

		/* Alerts of epoch 1 are the owner's to send, not OpenSSL's. */
		if (rec.type != RECORD_TYPE_HANDSHAKE)
			continue;
		raw = NULL;
		if (rec.body_len > sizeof(plain))
			return DTLS_FAILURE_INTERNAL;
		enum dtls_failure why = d->own == NULL ? export_keys(d, &rec) : DTLS_FAILURE_NONE;
		if (why != DTLS_FAILURE_NONE)
			return why;
		if (!open_record(d->own, d->own_salt, &rec, plain, &plain_len) ||
		    add_item(&d->flight, DTLS_OUT_SEAL, rec.type, plain, plain_len) == NULL)
			return DTLS_FAILURE_INTERNAL;
	}
	return r.ok ? DTLS_FAILURE_NONE : DTLS_FAILURE_INTERNAL;
}

static void drop_flight(struct dtls *d)
{
	d->flight.bytes.len = 0;
	d->flight.count = 0;
	d->flight.next = 0;
}

/* What OpenSSL emitted in answer to the peer is a new flight in place of the last. */
static enum dtls_failure file_flight(struct dtls *d, const struct buf *emitted, uint64_t now_us)
{
	struct bytes_reader r = bytes_reader(emitted->data, emitted->len);

	if (emitted->len == 0)
		return DTLS_FAILURE_NONE;
	drop_flight(d);
	while (r.left > 0) {
		size_t len = bytes_read_u16(&r);
		const uint8_t *data = bytes_read(&r, len);

		if (data == NULL)
			return DTLS_FAILURE_INTERNAL;
		enum dtls_failure why = file_datagram(d, data, len);
		if (why != DTLS_FAILURE_NONE)
			return why;
	}
	d->counters.tx_flights++;
	d->flight_sent_us = now_us;
	d->repeat_us = DTLS_REPEAT_FIRST_US;
	d->repeat_at_us = now_us + d->repeat_us;
	d->peer_seq_done = d->peer_seq_next;
	return DTLS_FAILURE_NONE;
}

/* The handshake is over: OpenSSL has nothing to say any more. */
static void finish(struct dtls *d)
{
	if (!dtls_ssl_is_sound(d->ssl) || d->keys_state == KEYS_NONE) {
		fail(d, DTLS_FAILURE_WEAK);
		return;
	}
	d->state = DTLS_STATE_CONNECTED;
	d->connected_waits = true;
}

static void drop_openssl(struct dtls *d)
{
	dtls_ssl_free(d->ssl);
	d->ssl = NULL;
	aead_key_free(d->own);
	d->own = NULL;
}

/* Runs OpenSSL over one record (NULL: the client's start) and takes what comes of it. */
static void run(struct dtls *d, const uint8_t *record, size_t len, uint64_t now_us)
{
	struct buf emitted = BUF_INIT(FLIGHT_BYTES_MAX);
	int r = dtls_ssl_run(d->ssl, record, len, &emitted);
	enum dtls_failure why = DTLS_FAILURE_NONE;

	if (r >= 0)
		why = file_flight(d, &emitted, now_us);
	buf_deinit(&emitted);
	if (why != DTLS_FAILURE_NONE) {
		drop_flight(d);
		fail(d, why);
	} else if (r == DTLS_SSL_DONE) {
		finish(d);
	} else if (r == DTLS_SSL_FINGERPRINT) {
		fail(d, DTLS_FAILURE_FINGERPRINT);
	} else if (r == DTLS_SSL_WEAK) {
		fail(d, DTLS_FAILURE_WEAK);
	} else if (r == DTLS_SSL_REFUSED) {
		fail(d, DTLS_FAILURE_PROTOCOL);
	} else if (r < 0) {
		fail(d, DTLS_FAILURE_INTERNAL);
	}
	if (d->state != DTLS_STATE_HANDSHAKE)
		drop_openssl(d);
}

int dtls_new(struct dtls **out, const struct dtls_config *config, uint64_t now_us)
{
	if (config->mtu < MTU_MIN || config->mtu > DTLS_INPUT_MAX)
		return err_here(-EINVAL);

	gv_cleanup(dtls_freep) struct dtls *d = mem_new(struct dtls);
	if (d == NULL)
		return err_here(-ENOMEM);
	d->config = *config;
	(void)cert_ref(d->config.cert);
	d->flight.bytes = BUF_INIT(FLIGHT_BYTES_MAX);
	d->repeat_at_us = CLOCK_NEVER;
	d->give_up_at_us = now_us + DTLS_HANDSHAKE_TIMEOUT_US;

	int r = dtls_ssl_new(&d->ssl, &d->config);
	if (r != 0)
		return err_up(r);
	if (config->role == RECORD_ROLE_CLIENT)
		run(d, NULL, 0, now_us);
	if (d->state == DTLS_STATE_FAILED)
		return err_here(-ENOMEM);
	*out = GV_STEAL(d);
	return 0;
}

void dtls_free(struct dtls *d)
{
	if (d == NULL)
		return;
	dtls_ssl_free(d->ssl);
	aead_key_free(d->own);
	aead_key_free(d->peer);
	buf_deinit(&d->flight.bytes);
	cert_unref(d->config.cert);
	mem_wipe(d, sizeof(*d));
	mem_free(d);
}

static void repeat_flight(struct dtls *d, uint64_t now_us)
{
	if (d->flight.count == 0 || now_us - d->flight_sent_us < DTLS_REPEAT_FIRST_US)
		return;
	d->flight.next = 0;
	d->flight_sent_us = now_us;
	d->counters.tx_repeats++;
}

void dtls_repeat_last_flight(struct dtls *d, uint64_t now_us)
{
	if (d->state == DTLS_STATE_CONNECTED && d->config.role == RECORD_ROLE_SERVER)
		repeat_flight(d, now_us);
}

/* Says whether this record of the handshake may go to OpenSSL. */
static bool is_acceptable(const struct raw_record *rec)
{
	if (rec->epoch ==
	    1) /* sealed: OpenSSL keeps it until it has the keys, and checks it then */
		return rec->type == RECORD_TYPE_HANDSHAKE || rec->type == RECORD_TYPE_ALERT;
	if (rec->type == RECORD_TYPE_CCS)
		return rec->body_len == 1;
	return rec->type == RECORD_TYPE_HANDSHAKE && rec->body_len >= HANDSHAKE_HEADER;
}

/* Keeps track of the peer's message numbers. Returns true for a message that our present flight has answered. */
static bool note_message(struct dtls *d, const struct raw_record *rec)
{
	if (rec->epoch != 0 || rec->type != RECORD_TYPE_HANDSHAKE)
		return false;

	uint16_t seq = be16_load(rec->body + 4);
	if (seq >= d->peer_seq_next && seq < UINT16_MAX)
		d->peer_seq_next = (uint16_t)(seq + 1);
	return seq < d->peer_seq_done;
}

static void input_handshake(struct dtls *d, const struct raw_record *rec, uint64_t now_us)
{
	if (!is_acceptable(rec)) {
		d->counters.rx_dropped++;
		return;
	}
	/* RFC 6347 4.2.4: a peer that repeats has not got our answer. OpenSSL drops what it knows. */
	if (note_message(d, rec))
		repeat_flight(d, now_us);
	run(d, rec->data, rec->len, now_us);
}

/* A Finished that comes again: the peer has not got ours. */
static void input_connected(struct dtls *d, const struct raw_record *rec, uint64_t now_us)
{
	uint8_t plain[DTLS_INPUT_MAX];
	size_t plain_len;

	if (rec->epoch != 1 || rec->type != RECORD_TYPE_HANDSHAKE || d->peer == NULL ||
	    rec->body_len > sizeof(plain)) {
		d->counters.rx_dropped++;
		return;
	}
	if (!open_record(d->peer, d->peer_salt, rec, plain, &plain_len) ||
	    plain_len < HANDSHAKE_HEADER || plain[0] != HANDSHAKE_FINISH) {
		d->counters.rx_dropped++;
		return;
	}
	dtls_repeat_last_flight(d, now_us);
}

int dtls_input(struct dtls *d, const uint8_t *data, size_t len, uint64_t now_us)
{
	struct bytes_reader r = bytes_reader(data, len);
	struct raw_record rec;

	if (len > DTLS_INPUT_MAX) {
		d->counters.rx_malformed++;
		return 0;
	}
	while (next_record(&r, &rec)) {
		if (rec.type == RECORD_TYPE_DATA)
			d->counters.rx_data++;
		else if (rec.type == RECORD_TYPE_ALERT && rec.epoch == 0)
			d->counters.rx_alert++;
		else if (rec.epoch > 1 || d->state == DTLS_STATE_FAILED)
			d->counters.rx_dropped++;
		else if (d->state == DTLS_STATE_HANDSHAKE)
			input_handshake(d, &rec, now_us);
		else
			input_connected(d, &rec, now_us);
	}
	if (!r.ok)
		d->counters.rx_malformed++;
	return 0;
}

/* Gives each record of an outgoing datagram a number of its own: repeats must differ (RFC 6347 4.2.4). */
static void renumber(struct dtls *d, uint8_t *data, size_t len)
{
	for (size_t at = 0; at + RECORD_HEADER_SIZE <= len;
	     at += RECORD_HEADER_SIZE + (size_t)be16_load(data + at + 11))
		be64_store(data + at + 3, d->epoch0_seq++);
}

int dtls_output(struct dtls *d, struct dtls_out *out, uint64_t now_us)
{
	struct flight *f = &d->flight;

	(void)now_us;
	if (f->next == f->count)
		return 0;

	const struct flight_item *item = &f->items[f->next];
	uint8_t *data = f->bytes.data + item->at;
	if (item->kind == DTLS_OUT_SEAL && d->keys_state != KEYS_TAKEN)
		return 0;
	if (item->kind == DTLS_OUT_RAW)
		renumber(d, data, item->len);
	*out = (struct dtls_out){
		.kind = item->kind, .type = item->type, .data = data, .len = item->len};
	f->next++;
	return 1;
}

int dtls_event(struct dtls *d, struct dtls_event *ev)
{
	if (d->keys_state == KEYS_WAITING) {
		*ev = (struct dtls_event){.type = DTLS_EVENT_KEYS, .keys = d->keys};
		mem_wipe(&d->keys, sizeof(d->keys));
		d->keys_state = KEYS_TAKEN;
		return 1;
	}
	if (d->connected_waits) {
		*ev = (struct dtls_event){.type = DTLS_EVENT_CONNECTED};
		d->connected_waits = false;
		return 1;
	}
	if (d->failed_waits) {
		*ev = (struct dtls_event){.type = DTLS_EVENT_FAILED, .failure = d->failure};
		d->failed_waits = false;
		return 1;
	}
	return 0;
}

uint64_t dtls_deadline_us(const struct dtls *d)
{
	if (d->state != DTLS_STATE_HANDSHAKE)
		return CLOCK_NEVER;
	return GV_MIN(d->repeat_at_us, d->give_up_at_us);
}

int dtls_timeout(struct dtls *d, uint64_t now_us)
{
	if (d->state != DTLS_STATE_HANDSHAKE)
		return 0;
	if (now_us >= d->give_up_at_us) {
		drop_flight(d);
		fail(d, DTLS_FAILURE_TIMEOUT);
		drop_openssl(d);
		return 0;
	}
	if (now_us >= d->repeat_at_us) {
		repeat_flight(d, now_us);
		d->repeat_us = GV_MIN(2 * d->repeat_us, (uint64_t)DTLS_REPEAT_MAX_US);
		d->repeat_at_us = now_us + d->repeat_us;
	}
	return 0;
}

const struct dtls_counters *dtls_counters(const struct dtls *d)
{
	return &d->counters;
}
