/* SPDX-License-Identifier: MIT */

#include "io/ws_client.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypto/cert.h"
#include "crypto/hash.h"
#include "io/loop.h"
#include "io/udp.h"

#include <errno.h>
#include <libwebsockets.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

LOG_MODULE("ws_client");

#define CONNECT_TIMEOUT_S 10 /* TCP, TLS and the upgrade */
#define PING_AFTER_S      20 /* of silence */
#define HANGUP_AFTER_S    30
#define DRAIN_TIMEOUT_S   1   /* for what is queued when we close */
#define TRUSTS_MAX        16  /* different --ca files */
#define FDS_MAX           128 /* connections at a time, with some room */
#define HOST_SIZE         300
#define CLOSE_ROUNDS      16

/* Which certificate authorities count: one lws vhost each, kept for the life of the context. */
struct trust {
	struct lws_vhost *vhost;
	char *ca_pem; /* owned; NULL: the system's */
};

struct ws_clients {
	struct loop *loop;
	struct lws_context *context;
	struct trust trusts[TRUSTS_MAX];
	size_t n_trusts;
	const char *loading_pem; /* while a vhost is being made */
	struct ws_client *clients;
	bool closing;
};

struct message {
	struct message *next;
	size_t len;
	uint8_t data[]; /* LWS_PRE bytes of room, then the text */
};

enum client_state {
	CLIENT_OPENING, /* inside ws_client_open(): no callbacks */
	CLIENT_CONNECTING,
	CLIENT_OPEN,
	CLIENT_DRAINING, /* the user let go; what is queued is sent */
	CLIENT_FAILED,   /* before it began: told by the timer */
};

struct ws_client {
	struct ws_clients *all;
	struct ws_client *next;
	struct ws_client_fns fns;
	void *user; /* with fns; not used any more once `told` */
	struct lws *wsi;
	enum client_state state;
	bool told; /* `closed` was called, or must not be */
	bool insecure, has_pin;
	bool trusted; /* the certificate was checked and fits */
	uint8_t pin[WS_CLIENT_PIN_SIZE];
	char host[HOST_SIZE]; /* name or address in the certificate */
	size_t max_message;
	struct buf in;
	struct message *out_first, **out_last;
	size_t out_bytes;
	enum ws_client_end why;
	struct diag detail;
	struct loop_timer *fail_timer;
};

static void client_free(struct ws_client *c)
{
	for (struct ws_client **p = &c->all->clients; *p != NULL; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			break;
		}
	}
	while (c->out_first != NULL) {
		struct message *m = c->out_first;
		c->out_first = m->next;
		mem_free(m);
	}
	loop_timer_close(c->fail_timer);
	buf_deinit(&c->in);
	mem_free(c);
}

static const char no_answer[] =
	"nothing answers there: is govpn-server running, and its port open?";

static void tell_closed(struct ws_client *c)
{
	if (c->told || c->state == CLIENT_OPENING)
		return;
	c->told = true;
	if (c->why == 0)
		c->why = c->state == CLIENT_OPEN ? WS_CLIENT_CLOSED : WS_CLIENT_REFUSED;
	diag_set(&c->detail,
	         c->state == CLIENT_OPEN ? "the server closed the connection" : no_answer);
	c->fns.closed(c->user, c->why, c->detail.text);
}

/* A bad certificate ends the handshake; lws then only says that it failed. */
static bool refuse_cert(struct ws_client *c, const char *why)
{
	c->why = WS_CLIENT_BAD_CERT;
	diag_set(&c->detail, "%s", why);
	return false;
}

static bool pin_fits(struct ws_client *c, X509 *leaf)
{
	uint8_t pin[CERT_PIN_SIZE];
	unsigned char *der = NULL;
	int len = leaf != NULL ? i2d_X509(leaf, &der) : -1;

	if (len < 0)
		return refuse_cert(c, "the server has no certificate");
	int r = cert_der_pin(der, (size_t)len, pin);
	OPENSSL_free(der);
	if (r < 0 || !hash_equal(pin, c->pin, sizeof(pin)))
		return refuse_cert(c, "the server's certificate is not the one of the pin");
	return true;
}

static bool name_fits(struct ws_client *c, X509 *leaf)
{
	struct netaddr numeric;
	int r = netaddr_parse_ip(c->host, &numeric)
	                ? X509_check_ip_asc(leaf, c->host, 0)
	                : X509_check_host(leaf, c->host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
	                                  NULL);

	if (r != 1)
		return refuse_cert(c, "the server's certificate is for another name");
	return true;
}

/* Called for each certificate of the chain, the server's own last; false ends the handshake. */
static bool check_cert(struct ws_client *c, X509_STORE_CTX *ctx, bool chain_ok)
{
	if (c->insecure || c->has_pin) {
		if (!c->insecure && !pin_fits(c, X509_STORE_CTX_get0_cert(ctx)))
			return false;
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		c->trusted = true;
		return true;
	}
	if (!chain_ok) {
		diag_set(&c->detail, "the server's certificate is not trusted: %s",
		         X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
		return refuse_cert(c, "");
	}
	if (X509_STORE_CTX_get_error_depth(ctx) == 0) {
		if (!name_fits(c, X509_STORE_CTX_get0_cert(ctx)))
			return false;
		c->trusted = true;
	}
	return true;
}

/* Adds every certificate of the PEM text to the store of a client context that knows no other. */
static void load_ca(SSL_CTX *ssl, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *x;

	if (bio == NULL)
		return;
	while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), x) != 1)
			log_debug("a CA certificate was not taken");
		X509_free(x);
	}
	BIO_free(bio);
}

static int on_receive(struct ws_client *c, struct lws *wsi, const void *in, size_t len)
{
	if (c->state == CLIENT_DRAINING)
		return 0;
	if (lws_is_first_fragment(wsi))
		c->in.len = 0;
	if (buf_add(&c->in, in, len) < 0) {
		c->why = WS_CLIENT_TOO_BIG;
		diag_set(&c->detail, "the server sent a message that is too long");
		return -1;
	}
	if (!lws_is_final_fragment(wsi) || lws_remaining_packet_payload(wsi) > 0)
		return 0;
	if (!lws_frame_is_binary(wsi))
		c->fns.message(c->user, buf_str(&c->in), c->in.len);
	/* The user may have closed it; a large message leaves no large buffer behind. */
	buf_deinit(&c->in);
	c->in = BUF_INIT(c->max_message);
	return c->state == CLIENT_DRAINING && c->out_first == NULL ? -1 : 0;
}

static int on_writable(struct ws_client *c, struct lws *wsi)
{
	struct message *m = c->out_first;

	if (m != NULL) {
		c->out_first = m->next;
		if (c->out_first == NULL)
			c->out_last = &c->out_first;
		c->out_bytes -= m->len;
		int sent = lws_write(wsi, m->data + LWS_PRE, m->len, LWS_WRITE_TEXT);
		bool ok = sent >= 0 && (size_t)sent >= m->len;
		mem_free(m);
		if (!ok)
			return -1;
	}
	if (c->out_first != NULL)
		lws_callback_on_writable(wsi);
	else if (c->state == CLIENT_DRAINING && lws_partial_buffered(wsi) == 0)
		return -1;
	return 0;
}

/* The library's own words are for the log; it has one text for everything that ends a TCP or TLS handshake. */
static void on_connection_error(struct ws_client *c, const char *text, size_t len)
{
	static const char ended[] = "closed before established";

	if (text == NULL)
		return;
	log_debug("connection failed: %.*s", (int)GV_MIN(len, (size_t)150), text);
	if (len >= sizeof(ended) - 1 && memcmp(text, ended, sizeof(ended) - 1) == 0)
		diag_set(&c->detail, "%s", no_answer);
	else
		diag_set(&c->detail, "no WebSocket of govpn-server there: %.*s",
		         (int)GV_MIN(len, (size_t)120), text);
}

static int on_established(struct ws_client *c)
{
	if (lws_is_ssl(c->wsi) && !c->trusted) {
		(void)refuse_cert(c, "the server's certificate was not checked");
		return -1;
	}
	if (c->state == CLIENT_DRAINING)
		return -1;
	c->state = CLIENT_OPEN;
	c->fns.open(c->user);
	return 0;
}

/* The only protocol of every vhost: all that lws tells arrives here. */
static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *unused, void *in,
                  size_t len)
{
	struct ws_client *c;

	(void)unused;
	if (reason == LWS_CALLBACK_OPENSSL_LOAD_EXTRA_CLIENT_VERIFY_CERTS) {
		/* Here the second argument is the SSL_CTX. */
		const struct ws_clients *all = lws_context_user(lws_get_context(wsi));
		if (all->loading_pem != NULL)
			load_ca(unused, all->loading_pem);
		return 0;
	}
	c = wsi != NULL ? lws_get_opaque_user_data(wsi) : NULL;
	if (c == NULL)
		return 0;
	switch (reason) {
	case LWS_CALLBACK_OPENSSL_PERFORM_SERVER_CERT_VERIFICATION:
		return check_cert(c, unused, len != 0) ? 0 : 1;
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		return on_established(c);
	case LWS_CALLBACK_CLIENT_RECEIVE:
		return on_receive(c, wsi, in, len);
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return on_writable(c, wsi);
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		on_connection_error(c, in, len);
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		lws_set_opaque_user_data(wsi, NULL);
		c->wsi = NULL;
		if (c->state == CLIENT_OPENING) {
			c->state = CLIENT_FAILED; /* ws_client_open() is on the stack */
		} else {
			tell_closed(c);
			client_free(c);
		}
		return 0;
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{.name = "govpn", .callback = on_lws, .rx_buffer_size = 16384},
	{.name = NULL},
};

static const lws_retry_bo_t idle_policy = {
	.secs_since_valid_ping = PING_AFTER_S,
	.secs_since_valid_hangup = HANGUP_AFTER_S,
};

/* The vhost for these authorities; made when first asked for. NULL: no room or no memory. */
static struct lws_vhost *find_vhost(struct ws_clients *all, const char *ca_pem)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
		.retry_and_idle_policy = &idle_policy,
		.connect_timeout_secs = CONNECT_TIMEOUT_S,
		.timeout_secs = CONNECT_TIMEOUT_S,
	};
	char name[32];

	for (size_t i = 0; i < all->n_trusts; i++) {
		const struct trust *t = &all->trusts[i];
		if (ca_pem == NULL ? t->ca_pem == NULL
		                   : t->ca_pem != NULL && strcmp(t->ca_pem, ca_pem) == 0)
			return t->vhost;
	}
	if (all->n_trusts == TRUSTS_MAX)
		return NULL;
	struct trust *t = &all->trusts[all->n_trusts];
	*t = (struct trust){.ca_pem = mem_strdup(ca_pem)};
	if (ca_pem != NULL && t->ca_pem == NULL)
		return NULL;
	if (ca_pem != NULL) {
		info.options |= LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS;
		/*
		 * lws shares one SSL_CTX among vhosts whose settings look alike: without this, an authority
		 * of one server would vouch for all. It reads the first certificate only; load_ca() all.
		 */
		info.client_ssl_ca_mem = ca_pem;
		info.client_ssl_ca_mem_len = (unsigned)strlen(ca_pem);
	}
	(void)snprintf(name, sizeof(name), "trust%zu", all->n_trusts); /* has room */
	info.vhost_name = name;
	all->loading_pem = ca_pem;
	t->vhost = lws_create_vhost(all->context, &info);
	if (t->vhost != NULL && lws_init_vhost_client_ssl(&info, t->vhost) != 0) {
		lws_vhost_destroy(t->vhost);
		t->vhost = NULL;
	}
	all->loading_pem = NULL;
	if (t->vhost == NULL) {
		mem_free(GV_STEAL(t->ca_pem));
		return NULL;
	}
	all->n_trusts++;
	return t->vhost;
}

static void on_lws_log(int level, const char *line)
{
	(void)level;
	log_debug("lws: %.*s", (int)strcspn(line, "\n"), line);
}

int ws_clients_new(struct ws_clients **out, struct loop *loop)
{
	void *uv = loop_uv(loop);
	struct ws_clients *all = mem_new(struct ws_clients);
	struct lws_context_creation_info info = {
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
	                   LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
		.foreign_loops = &uv,
		.user = all,
		.pcontext = &all->context,
		.fd_limit_per_thread = FDS_MAX,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
	};

	if (all == NULL)
		return err_here(-ENOMEM);
	all->loop = loop;
	lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
	all->context = lws_create_context(&info);
	if (all->context == NULL) {
		mem_free(all);
		return err_here(-ENOMEM);
	}
	*out = all;
	return 0;
}

void ws_clients_close(struct ws_clients *all)
{
	if (all == NULL || all->closing)
		return;
	all->closing = true;
	while (all->clients != NULL) {
		if (all->clients->wsi != NULL)
			lws_set_opaque_user_data(all->clients->wsi, NULL);
		client_free(all->clients);
	}
	/* The handles of lws end with the next rounds of the loop; then all->context becomes NULL. */
	lws_context_destroy(all->context);
	for (unsigned i = 0; i < CLOSE_ROUNDS && all->context != NULL; i++) {
		if (loop_run_once(all->loop) < 0)
			break;
	}
	if (all->context != NULL)
		lws_context_destroy(all->context);
	for (size_t i = 0; i < all->n_trusts; i++)
		mem_free(all->trusts[i].ca_pem);
	mem_free(all);
}

static void on_fail_timer(void *user)
{
	struct ws_client *c = user;

	tell_closed(c);
	client_free(c);
}

static struct ws_client *client_new(struct ws_clients *all, const struct ws_client_config *config,
                                    const struct ws_client_fns *fns, void *user)
{
	struct ws_client *c = mem_new(struct ws_client);

	if (c == NULL)
		return NULL;
	c->all = all;
	c->fns = *fns;
	c->user = user;
	c->insecure = config->insecure;
	c->has_pin = config->has_pin;
	memcpy(c->pin, config->pin, sizeof(c->pin));
	(void)snprintf(c->host, sizeof(c->host), "%s", config->host); /* length checked */
	c->max_message = config->max_message;
	c->in = BUF_INIT(config->max_message);
	c->out_last = &c->out_first;
	if (loop_timer_new(&c->fail_timer, all->loop, on_fail_timer, c) < 0) {
		mem_free(c);
		return NULL;
	}
	c->next = all->clients;
	all->clients = c;
	return c;
}

int ws_client_open(struct ws_client **out, struct ws_clients *all,
                   const struct ws_client_config *config, const struct ws_client_fns *fns,
                   void *user)
{
	char address[NETADDR_TEXT_SIZE], host_port[HOST_SIZE + 16];

	if (strlen(config->host) >= HOST_SIZE || config->addr.family == NETADDR_NONE)
		return err_here(-EINVAL);
	struct lws_vhost *vhost = find_vhost(all, config->tls ? config->ca_pem : NULL);
	struct ws_client *c = vhost != NULL ? client_new(all, config, fns, user) : NULL;
	if (c == NULL)
		return err_here(-ENOMEM);
	(void)snprintf(host_port, sizeof(host_port),
	               strchr(config->host, ':') != NULL ? "[%s]:%u" : "%s:%u", config->host,
	               (unsigned)config->addr.port); /* both have room */
	struct lws_client_connect_info info = {
		.context = all->context,
		.vhost = vhost,
		.address = netaddr_ip_text(&config->addr, address),
		.port = config->addr.port,
		.path = "/ws",
		.host = host_port,
		.alpn = "http/1.1",
		.local_protocol_name = "govpn",
		/* No redirects: a server must not send us elsewhere, and lws looks names up by itself. */
		.ssl_connection =
			LCCSCF_HTTP_NO_FOLLOW_REDIRECT |
			(config->tls ? LCCSCF_USE_SSL | LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK : 0),
		.opaque_user_data = c,
		.pwsi = &c->wsi,
		.retry_and_idle_policy = &idle_policy,
		.ietf_version_or_minus_one = -1,
	};
	struct lws *wsi = lws_client_connect_via_info(&info);
	if (wsi == NULL || c->state == CLIENT_FAILED) {
		c->wsi = NULL;
		c->state = CLIENT_FAILED;
		loop_timer_start(c->fail_timer, 0);
	} else {
		c->state = CLIENT_CONNECTING;
	}
	*out = c;
	return 0;
}

int ws_client_send(struct ws_client *c, const char *text, size_t len)
{
	if (c->state != CLIENT_OPEN)
		return err_here(-ENOTCONN);
	if (len > WS_CLIENT_QUEUE_MAX || c->out_bytes > WS_CLIENT_QUEUE_MAX - len)
		return err_here(-ENOBUFS);
	struct message *m = mem_alloc(1, sizeof(*m) + LWS_PRE + len);
	if (m == NULL)
		return err_here(-ENOMEM);
	m->len = len;
	memcpy(m->data + LWS_PRE, text, len);
	*c->out_last = m;
	c->out_last = &m->next;
	c->out_bytes += len;
	lws_callback_on_writable(c->wsi);
	return 0;
}

int ws_client_local(const struct ws_client *c, struct netaddr *out)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (c->wsi == NULL)
		return err_here(-ENOTCONN);
	if (getsockname(lws_get_socket_fd(c->wsi), (struct sockaddr *)&ss, &len) != 0)
		return err_here(-errno);
	return udp_sockaddr_to(&ss, len, out) ? 0 : err_here(-EAFNOSUPPORT);
}

void ws_client_close(struct ws_client *c)
{
	if (c == NULL || c->told)
		return;
	c->told = true;
	if (c->wsi == NULL) { /* it never began */
		client_free(c);
		return;
	}
	if (c->state == CLIENT_OPEN && c->out_first != NULL) {
		lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, DRAIN_TIMEOUT_S);
		lws_callback_on_writable(c->wsi);
	} else {
		lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
	}
	c->state = CLIENT_DRAINING;
}
