/* SPDX-License-Identifier: MIT */

#include "dtls_rig.h"

#include "base/bytes.h"
#include "base/rng.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <cmocka.h>

#include "crypto/cert_impl.h"

#define NOW_UNIX_S 1700000000
#define START_US   1000000

/* The one clock; OpenSSL asks for it by the next function. */
static uint64_t clock_us = START_US;

__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict tv,
                                                        void *restrict tz)
{
	(void)tz;
	tv->tv_sec = (time_t)(NOW_UNIX_S + clock_us / 1000000);
	tv->tv_usec = (suseconds_t)(clock_us % 1000000);
	return 0;
}

static void queue_push(struct rig_queue *q, const uint8_t *data, size_t len)
{
	assert_true(q->count < RIG_QUEUE_MAX);
	assert_true(len <= RIG_DATAGRAM_MAX);
	struct rig_datagram *d = &q->items[(q->head + q->count++) % RIG_QUEUE_MAX];
	memcpy(d->data, data, len);
	d->len = len;
}

/* The oldest datagram, valid until the next push, or NULL. */
static struct rig_datagram *queue_pop(struct rig_queue *q)
{
	if (q->count == 0)
		return NULL;
	struct rig_datagram *d = &q->items[q->head];
	q->head = (q->head + 1) % RIG_QUEUE_MAX;
	q->count--;
	return d;
}

struct rig *rig_new(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	clock_us = START_US;
	rig->now_us = clock_us;
	rig->a.rig = rig;
	rig->b.rig = rig;
	rig->a.other = &rig->b;
	rig->b.other = &rig->a;
	assert_int_equal(cert_new(&rig->a.cert, NOW_UNIX_S), 0);
	assert_int_equal(cert_new(&rig->b.cert, NOW_UNIX_S), 0);
	return rig;
}

static void end_free(struct rig_end *end)
{
	dtls_free(end->dtls);
	record_free(end->record);
	SSL_free(end->ssl);
	SSL_CTX_free(end->ctx);
	cert_unref(end->cert);
}

void rig_free(struct rig *rig)
{
	if (rig == NULL)
		return;
	end_free(&rig->a);
	end_free(&rig->b);
	free(rig);
}

void rig_ours(struct rig_end *end, enum record_role role, enum dtls_peer peer)
{
	struct dtls_config config = {.role = role, .peer = peer, .cert = end->cert, .mtu = 1200};

	cert_fingerprint(end->other->cert, config.peer_fingerprint);
	assert_int_equal(dtls_new(&end->dtls, &config, end->rig->now_us), 0);
}

static int bio_write(BIO *bio, const char *data, int len)
{
	struct rig_end *end = BIO_get_data(bio);

	rig_send(end->other, (const uint8_t *)data, (size_t)len);
	return len;
}

static int bio_read(BIO *bio, char *out, int size)
{
	struct rig_end *end = BIO_get_data(bio);
	struct rig_datagram *d = queue_pop(&end->in);

	BIO_clear_retry_flags(bio);
	if (d == NULL) {
		BIO_set_retry_read(bio);
		return -1;
	}
	assert_true(d->len <= (size_t)size);
	memcpy(out, d->data, d->len);
	return (int)d->len;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static BIO *make_bio(struct rig_end *end)
{
	static BIO_METHOD *method;

	if (method == NULL) {
		method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "rig");
		assert_non_null(method);
		BIO_meth_set_write(method, bio_write);
		BIO_meth_set_read(method, bio_read);
		BIO_meth_set_ctrl(method, bio_ctrl);
		BIO_meth_set_create(method, bio_create);
	}
	BIO *bio = BIO_new(method);
	assert_non_null(bio);
	BIO_set_data(bio, end);
	return bio;
}

static int accept_any(int ok, X509_STORE_CTX *store)
{
	(void)ok;
	(void)store;
	return 1;
}

static int cookie_make(SSL *ssl, unsigned char *out, unsigned *len)
{
	(void)ssl;
	memset(out, 7, 16);
	*len = 16;
	return 1;
}

static int cookie_check(SSL *ssl, const unsigned char *cookie, unsigned len)
{
	(void)ssl;
	return len == 16 && cookie[0] == 7 && cookie[15] == 7;
}

static void count_finished(int is_write, int version, int type, const void *data, size_t len,
                           SSL *ssl, void *arg)
{
	struct rig_end *end = arg;
	const uint8_t *p = data;

	(void)version;
	(void)ssl;
	if (is_write == 0 && type == SSL3_RT_HANDSHAKE && len > 0 && p[0] == SSL3_MT_FINISHED)
		end->ssl_finished_seen++;
}

/* In place of the end's certificate: one with an RSA key. */
static void use_rsa(struct rig_end *end, unsigned bits)
{
	struct cert *c = calloc(1, sizeof(*c));
	unsigned len = sizeof(c->fingerprint);

	assert_non_null(c);
	atomic_init(&c->refs, 1);
	c->key = EVP_RSA_gen(bits);
	c->x509 = X509_new();
	assert_true(c->key != NULL && c->x509 != NULL);
	assert_int_equal(X509_set_pubkey(c->x509, c->key), 1);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(c->x509), -100));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(c->x509), 1000000));
	assert_true(X509_sign(c->x509, c->key, EVP_sha256()) > 0);
	assert_int_equal(X509_digest(c->x509, EVP_sha256(), c->fingerprint, &len), 1);
	cert_unref(end->cert);
	end->cert = c;
}

static void pad_hello(SSL *ssl, size_t bytes)
{
	uint8_t alpn[2048];
	size_t used = 0;

	while (used + 101 <= bytes && used + 101 <= sizeof(alpn)) {
		alpn[used] = 100;
		memset(alpn + used + 1, 'x', 100);
		used += 101;
	}
	if (used > 0)
		assert_int_equal(SSL_set_alpn_protos(ssl, alpn, (unsigned)used), 0);
}

void rig_openssl(struct rig_end *end, enum record_role role, const struct rig_ssl_options *options)
{
	bool client = role == RECORD_ROLE_CLIENT;

	if (options->rsa_bits > 0)
		use_rsa(end, options->rsa_bits);
	end->ctx = SSL_CTX_new(client ? DTLS_client_method() : DTLS_server_method());
	assert_non_null(end->ctx);
	SSL_CTX_set_options(end->ctx, SSL_OP_NO_QUERY_MTU | options->set |
	                                      (options->cookie ? SSL_OP_COOKIE_EXCHANGE : 0));
	SSL_CTX_set_read_ahead(end->ctx, 1);
	SSL_CTX_set_verify(end->ctx, SSL_VERIFY_PEER, accept_any);
	SSL_CTX_set_cookie_generate_cb(end->ctx, cookie_make);
	SSL_CTX_set_cookie_verify_cb(end->ctx, cookie_check);
	if (options->ciphers != NULL)
		assert_int_equal(SSL_CTX_set_cipher_list(end->ctx, options->ciphers), 1);
	if (!options->no_certificate) {
		assert_int_equal(SSL_CTX_use_certificate(end->ctx, end->cert->x509), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(end->ctx, end->cert->key), 1);
	}

	BIO *bio = make_bio(end);
	end->ssl = SSL_new(end->ctx);
	assert_non_null(end->ssl);
	SSL_set_bio(end->ssl, bio, bio);
	SSL_set_mtu(end->ssl, options->mtu > 0 ? options->mtu : 1200);
	SSL_set_msg_callback(end->ssl, count_finished);
	SSL_set_msg_callback_arg(end->ssl, end);
	if (client) {
		pad_hello(end->ssl, options->hello_padding);
		SSL_set_connect_state(end->ssl);
	} else {
		SSL_set_accept_state(end->ssl);
	}
}

void rig_send(struct rig_end *to, const uint8_t *data, size_t len)
{
	struct rig *rig = to->rig;
	uint8_t copy[RIG_DATAGRAM_MAX];

	rig->sent++;
	if (rig->sent == rig->drop_at)
		return;
	if (rig->loss_percent > 0) {
		struct rng rng = rng_seeded(rig->seed + rig->sent * 1000003);

		if (rng_below(&rng, 100) < rig->loss_percent)
			return;
	}
	assert_true(len <= sizeof(copy));
	memcpy(copy, data, len);
	if (rig->tamper != NULL && !rig->tamper(rig, to, copy, &len))
		return;
	queue_push(&to->in, copy, len);
}

void rig_deliver(struct rig_end *to, const uint8_t *data, size_t len)
{
	queue_push(&to->in, data, len);
}

static void take_text(struct rig_end *end, const uint8_t *data, size_t len)
{
	memcpy(end->text, data, len);
	end->text_len = len;
	if (end->rig->on_data != NULL)
		end->rig->on_data(end, data, len);
}

static void open_data(struct rig_end *end, struct rig_datagram *d)
{
	struct pkt in = {.data = d->data, .len = d->len};
	struct record_plain plain[8];
	size_t n = record_open(end->record, &in, 1, plain, 8, &end->counters);

	for (size_t i = 0; i < n; i++) {
		if (plain[i].type == RECORD_TYPE_DATA)
			take_text(end, plain[i].pkt.data, plain[i].pkt.len);
		else if (plain[i].type == RECORD_TYPE_HANDSHAKE)
			dtls_repeat_last_flight(end->dtls, end->rig->now_us);
	}
}

/* Events first, then what is to be sent, until there is neither: as an owner does. */
static void ours_drain(struct rig_end *end)
{
	struct dtls_event ev;
	struct dtls_out out;
	uint8_t sealed[RIG_DATAGRAM_MAX];
	size_t len;

	while (dtls_event(end->dtls, &ev) == 1) {
		switch (ev.type) {
		case DTLS_EVENT_KEYS:
			end->keys = ev.keys;
			end->keys_events++;
			/* Tests may take the memory away: this end is as good as gone then. */
			if (record_new(&end->record, &ev.keys, AEAD_BACKEND_AUTO) != 0)
				end->failed_events++;
			break;
		case DTLS_EVENT_CONNECTED:
			end->connected_events++;
			for (struct rig_datagram *d; (d = queue_pop(&end->held)) != NULL;)
				open_data(end, d);
			break;
		case DTLS_EVENT_FAILED:
			end->failed_events++;
			end->failure = ev.failure;
			break;
		}
	}
	while (dtls_output(end->dtls, &out, end->rig->now_us) == 1) {
		if (out.kind == DTLS_OUT_RAW) {
			rig_send(end->other, out.data, out.len);
			continue;
		}
		if (end->record == NULL)
			continue;
		assert_int_equal(record_seal_one(end->record, out.type, out.data, out.len, sealed,
		                                 sizeof(sealed), &len),
		                 0);
		rig_send(end->other, sealed, len);
	}
	assert_int_equal(dtls_event(end->dtls, &ev), 0);
}

static void ours_take(struct rig_end *end, struct rig_datagram *d)
{
	if (d->len == 0 || d->data[0] != RECORD_TYPE_DATA)
		assert_int_equal(dtls_input(end->dtls, d->data, d->len, end->rig->now_us), 0);
	else if (end->connected_events > 0)
		open_data(end, d);
	else if (end->held.count < RIG_HELD_MAX)
		queue_push(&end->held, d->data, d->len);
}

/* Lets OpenSSL read and write until it waits. */
static void ssl_work(struct rig_end *end)
{
	uint8_t buf[RIG_DATAGRAM_MAX];
	bool was_up = SSL_is_init_finished(end->ssl);
	int r = was_up ? SSL_read(end->ssl, buf, sizeof(buf)) : SSL_do_handshake(end->ssl);

	if (r > 0 && was_up)
		take_text(end, buf, (size_t)r);
	if (r <= 0 && SSL_get_error(end->ssl, r) != SSL_ERROR_WANT_READ)
		end->ssl_failed = true;
}

static void end_work(struct rig_end *end)
{
	if (end->dtls != NULL) {
		struct rig_datagram *d = queue_pop(&end->in);

		if (d != NULL)
			ours_take(end, d);
		ours_drain(end);
	} else if (!end->ssl_failed) {
		ssl_work(end);
	} else {
		end->in.count = 0;
	}
}

void rig_settle(struct rig *rig)
{
	do {
		end_work(&rig->a);
		end_work(&rig->b);
	} while (rig->a.in.count > 0 || rig->b.in.count > 0);
}

static uint64_t end_deadline_us(const struct rig_end *end)
{
	struct timeval tv;

	if (end->dtls != NULL)
		return dtls_deadline_us(end->dtls);
	if (end->ssl_failed || DTLSv1_get_timeout(end->ssl, &tv) != 1)
		return UINT64_MAX;
	return clock_us + (uint64_t)tv.tv_sec * 1000000 + (uint64_t)tv.tv_usec;
}

void rig_advance(struct rig *rig, uint64_t us)
{
	struct rig_end *ends[] = {&rig->a, &rig->b};

	clock_us += us;
	rig->now_us = clock_us;
	for (unsigned i = 0; i < 2; i++) {
		if (ends[i]->dtls != NULL)
			assert_int_equal(dtls_timeout(ends[i]->dtls, rig->now_us), 0);
		else if (!ends[i]->ssl_failed && DTLSv1_handle_timeout(ends[i]->ssl) < 0)
			ends[i]->ssl_failed = true;
	}
	rig_settle(rig);
}

bool rig_is_up(const struct rig_end *end)
{
	if (end->dtls != NULL)
		return end->connected_events > 0;
	return !end->ssl_failed && SSL_is_init_finished(end->ssl);
}

static bool has_failed(const struct rig_end *end)
{
	return end->failed_events > 0 || end->ssl_failed;
}

void rig_run(struct rig *rig, uint64_t limit_us)
{
	uint64_t end_us = rig->now_us + limit_us;

	rig_settle(rig);
	while (rig->now_us < end_us && !(rig_is_up(&rig->a) && rig_is_up(&rig->b)) &&
	       !has_failed(&rig->a) && !has_failed(&rig->b)) {
		uint64_t a = end_deadline_us(&rig->a), b = end_deadline_us(&rig->b);
		uint64_t next = a < b ? a : b;

		if (next == UINT64_MAX)
			return;
		rig_advance(rig, next > rig->now_us ? next - rig->now_us : 1);
	}
}

void rig_send_data(struct rig_end *from, const void *data, size_t len)
{
	uint8_t train[RIG_DATAGRAM_MAX];
	struct batch b = BATCH_INIT(train, sizeof(train), RECORD_HEADROOM, RECORD_TAILROOM);

	if (from->dtls == NULL) {
		assert_int_equal(SSL_write(from->ssl, data, (int)len), len);
		return;
	}
	memcpy(batch_reserve(&b, len), data, len);
	assert_int_equal(record_seal(from->record, &b), 0);
	rig_send(from->other, train, b.len);
}

static void check_text(struct rig *rig, struct rig_end *from, const char *text)
{
	struct rig_end *to = from->other;

	to->text_len = 0;
	rig_send_data(from, text, strlen(text));
	rig_settle(rig);
	assert_int_equal(to->text_len, strlen(text));
	assert_memory_equal(to->text, text, to->text_len);
}

void rig_exchange(struct rig *rig)
{
	rig->drop_at = 0;
	rig->loss_percent = 0;
	for (unsigned i = 0; i < 5; i++) {
		check_text(rig, &rig->a, "from a to b");
		check_text(rig, &rig->b, "and from b to a");
	}
}
