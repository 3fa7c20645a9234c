/* SPDX-License-Identifier: MIT */

#include "crypto/dtls_ssl.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "crypto/cert_impl.h"
#include "crypto/hash.h"
#include "crypto/prf.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/srtp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

/* Long after DTLS_HANDSHAKE_TIMEOUT_US, and 32 bits of microseconds still hold it. */
#define NEVER_US 3600000000u
/* Certificate chain we read; bounds what OpenSSL keeps of one message. */
#define CERT_LIST_MAX      16384
#define KEY_SECURITY_BITS  112 /* RSA of 2,048 bits has them (NIST SP 800-57) */
#define HANDSHAKE_HEADER   12
#define RANDOM_SIZE        32
#define MASTER_SECRET_SIZE 48
#define EXT_EXTENDED_MS    23     /* RFC 7627 */
#define CIPHER_ECDSA       0xc02b /* RFC 5289: ECDHE-ECDSA-AES128-GCM-SHA256 */
#define CIPHER_RSA         0xc02f /* RFC 5289: ECDHE-RSA-AES128-GCM-SHA256 */

struct dtls_ssl {
	const struct dtls_config *config; /* borrowed */
	BIO_METHOD *method;               /* owned, as the two below */
	SSL_CTX *ctx;
	SSL *ssl;
	const uint8_t *in; /* the record that OpenSSL may read, borrowed during dtls_ssl_run() */
	size_t in_len;
	struct buf *emitted; /* borrowed during dtls_ssl_run() */
	int emit_error;      /* kept, since OpenSSL has no room for it */
	bool has_ems;        /* the ServerHello took the extension */
	bool peer_is_proven; /* a certificate with the fingerprint came */
	bool peer_is_other;  /* one with another fingerprint came */
	bool peer_is_weak;   /* one with a key that is too short came */
};

static int bio_write(BIO *bio, const char *data, int len)
{
	struct dtls_ssl *s = BIO_get_data(bio);
	uint8_t head[2];

	if (s->emitted == NULL || len <= 0 || len > UINT16_MAX)
		return -1;
	be16_store(head, (uint16_t)len);
	int r = buf_add(s->emitted, head, sizeof(head));
	if (r == 0)
		r = buf_add(s->emitted, data, (size_t)len);
	if (r != 0) {
		s->emit_error = r;
		return -1;
	}
	return len;
}

static int bio_read(BIO *bio, char *out, int size)
{
	struct dtls_ssl *s = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (s->in_len == 0 || size <= 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	/* As with a socket: what does not fit of a datagram is lost. */
	size_t n = GV_MIN(s->in_len, (size_t)size);
	memcpy(out, s->in, n);
	s->in_len = 0;
	return (int)n;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	/* All else that OpenSSL asks a datagram BIO has the answer 0 here: no MTU news, no timer, nothing pending. */
	return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static unsigned timer_never(SSL *ssl, unsigned us)
{
	(void)ssl;
	(void)us;
	return NEVER_US;
}

/* OpenSSL asks for this only in the chain check that ours replaces. */
static bool key_is_strong(X509 *x)
{
	EVP_PKEY *key = X509_get0_pubkey(x);

	return key != NULL && EVP_PKEY_get_security_bits(key) >= KEY_SECURITY_BITS;
}

/* In place of a chain check: the certificate is the one whose fingerprint the signed SDP announced. */
static int check_certificate(X509_STORE_CTX *store, void *unused)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct dtls_ssl *s = SSL_get_app_data(ssl);
	X509 *x = X509_STORE_CTX_get0_cert(store);
	uint8_t fingerprint[CERT_FINGERPRINT_SIZE];
	unsigned len = sizeof(fingerprint);

	(void)unused;
	if (x == NULL || X509_digest(x, EVP_sha256(), fingerprint, &len) != 1 ||
	    !hash_equal(fingerprint, s->config->peer_fingerprint, sizeof(fingerprint))) {
		s->peer_is_other = true;
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
		return 0;
	}
	if (!key_is_strong(x)) {
		s->peer_is_weak = true;
		X509_STORE_CTX_set_error(store, X509_V_ERR_EE_KEY_TOO_SMALL);
		return 0;
	}
	s->peer_is_proven = true;
	X509_STORE_CTX_set_error(store, X509_V_OK);
	return 1;
}

/* Looks for the extension in a ServerHello (RFC 5246 7.4.1.3). */
static bool hello_has_ems(const uint8_t *body, size_t len)
{
	struct bytes_reader r = bytes_reader(body, len);

	(void)bytes_read(&r, 2 + RANDOM_SIZE);   /* version, random */
	(void)bytes_read(&r, bytes_read_u8(&r)); /* session id */
	(void)bytes_read(&r, 3);                 /* cipher, compression */
	size_t ext_len = bytes_read_u16(&r);
	const uint8_t *ext_data = bytes_read(&r, ext_len);
	if (ext_data == NULL)
		return false;

	struct bytes_reader ext = bytes_reader(ext_data, ext_len);
	while (ext.ok && ext.left > 0) {
		uint16_t type = bytes_read_u16(&ext);

		(void)bytes_read(&ext, bytes_read_u16(&ext));
		if (ext.ok && type == EXT_EXTENDED_MS)
			return true;
	}
	return false;
}

/* Sees each handshake message. OpenSSL tells of the extension itself only after a client's keys are in use. */
static void watch_messages(int is_write, int version, int type, const void *data, size_t len,
                           SSL *ssl, void *arg)
{
	struct dtls_ssl *s = arg;
	const uint8_t *p = data;

	(void)is_write;
	(void)version;
	(void)ssl;
	if (type == SSL3_RT_HANDSHAKE && len > HANDSHAKE_HEADER && p[0] == SSL3_MT_SERVER_HELLO)
		s->has_ems = hello_has_ems(p + HANDSHAKE_HEADER, len - HANDSHAKE_HEADER);
}

static bool set_up_context(SSL_CTX *ctx, const struct dtls_config *config)
{
	bool any = config->peer == DTLS_PEER_STANDARD;
	const char *ciphers = any ? "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
	                          : "ECDHE-ECDSA-AES128-GCM-SHA256";
	/* Arrays, because the macros that take them drop const. */
	char any_signature[] = "ECDSA+SHA256:ECDSA+SHA384:RSA-PSS+SHA256:RSA+SHA256";
	char our_signature[] = "ECDSA+SHA256";
	char groups[] = "X25519:P-256";

	SSL_CTX_set_options(ctx, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
	                                 SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_quiet_shutdown(ctx, 1);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_max_cert_list(ctx, CERT_LIST_MAX);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, check_certificate, NULL);
	return SSL_CTX_set_min_proto_version(ctx, DTLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(ctx, DTLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_cipher_list(ctx, ciphers) == 1 &&
	       SSL_CTX_set1_sigalgs_list(ctx, any ? any_signature : our_signature) == 1 &&
	       SSL_CTX_set1_groups_list(ctx, groups) == 1 &&
	       /* pion refuses handshakes without a profile for media (RFC 5764), also where only data goes. */
	       (!any || SSL_CTX_set_tlsext_use_srtp(ctx, "SRTP_AES128_CM_SHA1_80") == 0) &&
	       SSL_CTX_use_certificate(ctx, config->cert->x509) == 1 &&
	       SSL_CTX_use_PrivateKey(ctx, config->cert->key) == 1;
}

/* The two directions share one BIO, whose method is ours. */
static bool attach_bio(struct dtls_ssl *s)
{
	s->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "dtls memory");
	if (s->method == NULL || BIO_meth_set_write(s->method, bio_write) != 1 ||
	    BIO_meth_set_read(s->method, bio_read) != 1 ||
	    BIO_meth_set_ctrl(s->method, bio_ctrl) != 1 ||
	    BIO_meth_set_create(s->method, bio_create) != 1)
		return false;

	BIO *bio = BIO_new(s->method);
	if (bio == NULL)
		return false;
	BIO_set_data(bio, s);
	SSL_set_bio(s->ssl, bio, bio);
	return true;
}

int dtls_ssl_new(struct dtls_ssl **out, const struct dtls_config *config)
{
	gv_cleanup(dtls_ssl_freep) struct dtls_ssl *s = mem_new(struct dtls_ssl);
	bool client = config->role == RECORD_ROLE_CLIENT;

	if (s == NULL)
		return err_here(-ENOMEM);
	s->config = config;
	s->ctx = SSL_CTX_new(client ? DTLS_client_method() : DTLS_server_method());
	if (s->ctx == NULL || !set_up_context(s->ctx, config))
		return err_here(-ENOMEM);
	s->ssl = SSL_new(s->ctx);
	if (s->ssl == NULL || SSL_set_app_data(s->ssl, s) != 1 || !attach_bio(s))
		return err_here(-ENOMEM);

	SSL_set_mtu(s->ssl, config->mtu);
	DTLS_set_timer_cb(s->ssl, timer_never);
	SSL_set_msg_callback(s->ssl, watch_messages);
	SSL_set_msg_callback_arg(s->ssl, s);
	if (client)
		SSL_set_connect_state(s->ssl);
	else
		SSL_set_accept_state(s->ssl);
	*out = GV_STEAL(s);
	return 0;
}

void dtls_ssl_free(struct dtls_ssl *s)
{
	if (s == NULL)
		return;
	SSL_free(s->ssl);
	SSL_CTX_free(s->ctx);
	BIO_meth_free(s->method);
	mem_free(s);
}

int dtls_ssl_run(struct dtls_ssl *s, const uint8_t *record, size_t len, struct buf *emitted)
{
	s->in = record;
	s->in_len = len;
	s->emitted = emitted;
	ERR_clear_error();
	int r = SSL_do_handshake(s->ssl);
	int error = SSL_get_error(s->ssl, r);
	ERR_clear_error();
	s->in = NULL;
	s->in_len = 0;
	s->emitted = NULL;

	if (s->emit_error != 0)
		return err_here(s->emit_error);
	if (r == 1)
		return DTLS_SSL_DONE;
	if (error == SSL_ERROR_WANT_READ)
		return DTLS_SSL_MORE;
	if (s->peer_is_weak)
		return DTLS_SSL_WEAK;
	return s->peer_is_other ? DTLS_SSL_FINGERPRINT : DTLS_SSL_REFUSED;
}

static bool cipher_is_ours(const struct dtls_ssl *s)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(s->ssl);
	uint16_t id = cipher != NULL ? SSL_CIPHER_get_protocol_id(cipher) : 0;

	return id == CIPHER_ECDSA || (id == CIPHER_RSA && s->config->peer == DTLS_PEER_STANDARD);
}

int dtls_ssl_export(struct dtls_ssl *s, struct record_keys *out)
{
	const SSL_SESSION *session = SSL_get_session(s->ssl);
	uint8_t master[MASTER_SECRET_SIZE];
	uint8_t randoms[2 * RANDOM_SIZE];
	uint8_t block[2 * AEAD_KEY_SIZE + 2 * 4];

	if (!cipher_is_ours(s) || !s->has_ems || session == NULL ||
	    SSL_SESSION_get_master_key(session, master, sizeof(master)) != sizeof(master))
		return DTLS_SSL_WEAK;

	/* RFC 5246 6.3: the server's random first. */
	SSL_get_server_random(s->ssl, randoms, RANDOM_SIZE);
	SSL_get_client_random(s->ssl, randoms + RANDOM_SIZE, RANDOM_SIZE);
	int r = prf_tls_sha256(master, sizeof(master), "key expansion", randoms, sizeof(randoms),
	                       block, sizeof(block));
	if (r == 0) {
		struct bytes_reader b = bytes_reader(block, sizeof(block));

		(void)bytes_read_into(&b, out->client_key, sizeof(out->client_key));
		(void)bytes_read_into(&b, out->server_key, sizeof(out->server_key));
		(void)bytes_read_into(&b, out->client_salt, sizeof(out->client_salt));
		(void)bytes_read_into(&b, out->server_salt, sizeof(out->server_salt));
		out->role = s->config->role;
	}
	mem_wipe(master, sizeof(master));
	mem_wipe(block, sizeof(block));
	return r != 0 ? err_up(r) : 0;
}

bool dtls_ssl_is_sound(const struct dtls_ssl *s)
{
	return s->peer_is_proven && s->has_ems && SSL_get_extms_support(s->ssl) == 1 &&
	       cipher_is_ours(s) && SSL_version(s->ssl) == DTLS1_2_VERSION;
}
