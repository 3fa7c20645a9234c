/* SPDX-License-Identifier: MIT */

#include "engine/server/server.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypto/cert.h"
#include "engine/server/hub.h"
#include "engine/server/metrics.h"
#include "engine/server/page.h"
#include "engine/server/quota.h"
#include "engine/server/store.h"
#include "engine/server/stun_service.h"
#include "io/loop.h"
#include "io/udp.h"
#include "io/ws_server.h"
#include "proto/sig/link.h"
#include "proto/sig/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

LOG_MODULE("server");

#define SOCKETS_MAX       19900
#define SOCKETS_BLOCK_MAX 1024
/* Descriptors for everything else: database, log, listening sockets, the loop. */
#define FDS_OTHER      64
#define TIMEOUT_S      10
#define HTTP_BLOCKS    4096
#define PATH_SIZE      1024
#define CERT_NAMES_MAX (SERVER_LISTEN_MAX + 4)

/* Pages asked for by one address block: some of them read the database. */
static const struct quota_rate http_rate = {.per_minute = 600, .burst = 200};

struct server {
	struct server_config config;
	int lock_fd; /* owned; -1: none */
	struct loop *loop;
	struct store *store;
	struct hub *hub;
	struct ws_server *ws;
	struct stun_service *stun;
	struct quota_table *http;
	struct loop_timer *timer, *end;
	struct loop_signal *term, *interrupt;
	bool is_stopping;
	struct server_info info;
	struct link_server public; /* with config.public_url */
};

static struct hub_time now(void)
{
	return (struct hub_time){.us = clock_now_us(), .unix_s = clock_unix_s()};
}

/* ---- connections ---- */

/* After every call of the hub: what it has to send, what it closes, when it wants to be called again. */
static void pump(struct server *s)
{
	struct hub_conn *c;

	while ((c = hub_ready(s->hub)) != NULL) {
		struct ws_conn *w = hub_conn_user(c);

		if (w == NULL)
			continue; /* being opened */
		ws_conn_write(w);
		if (hub_conn_is_closing(c))
			ws_conn_close(w);
		else if (hub_conn_is_authenticated(c))
			ws_conn_set_limit(w, MSG_SIZE_TO_SERVER_MAX);
	}
	uint64_t deadline = hub_deadline_us(s->hub), t = clock_now_us();
	loop_timer_start(s->timer, deadline > t ? deadline - t : 0);
}

static bool on_open(void *user, struct ws_conn *w, const struct netaddr *remote,
                    const struct netaddr *local, void **conn_user)
{
	struct server *s = user;
	struct hub_time t = now();
	struct hub_conn *c;
	int r = hub_open(s->hub, remote, local, w, &t, &c);

	if (r != HUB_OK) {
		log_limited(LOG_LEVEL_WARN, 10, "server.refused", LOG_I64("result", r));
		return false;
	}
	*conn_user = c;
	pump(s);
	return true;
}

static void on_message(void *user, void *conn_user, const char *text, size_t len)
{
	struct server *s = user;
	struct hub_time t = now();

	hub_input(s->hub, conn_user, text, len, &t);
	pump(s);
}

static bool on_next(void *user, void *conn_user, const char **text, size_t *len)
{
	(void)user;
	return hub_output(conn_user, text, len);
}

static void on_sent(void *user, void *conn_user)
{
	struct server *s = user;

	hub_output_done(s->hub, conn_user);
}

static void on_closed(void *user, void *conn_user)
{
	struct server *s = user;
	struct hub_time t = now();

	hub_close(s->hub, conn_user, &t);
	pump(s);
}

static void on_timer(void *user)
{
	struct server *s = user;
	struct hub_time t = now();

	hub_timeout(s->hub, &t);
	pump(s);
}

/* ---- HTTP ---- */

static void metrics_now(struct server *s, struct metrics *m)
{
	*m = (struct metrics){.sockets = ws_server_conns(s->ws),
	                      .now_unix_s = clock_unix_s(),
	                      .max_computers_network = MSG_COMPUTERS_MAX,
	                      .expire_s = s->config.expire_s};
	stun_service_stats(s->stun, &m->stun);
	hub_stats(s->hub, &m->hub);
}

static int answer(struct server *s, const char *path, struct ws_response *out)
{
	struct metrics m;
	bool found = true;
	int r;

	out->status = 200;
	out->type = "text/plain; charset=utf-8";
	if (strcmp(path, "/health") == 0) {
		r = store_check(s->store);
		return r < 0 ? err_up(r) : buf_add_str(&out->body, "OK\n");
	}
	if (strcmp(path, "/stats") == 0) {
		out->type = "application/json";
		metrics_now(s, &m);
		return metrics_json(&m, &out->body);
	}
	if (strcmp(path, "/metrics") == 0) {
		out->type = "text/plain; version=0.0.4";
		metrics_now(s, &m);
		return metrics_prometheus(&m, &out->body);
	}
	out->type = "text/html; charset=utf-8";
	if (strcmp(path, "/") == 0)
		return page_front(&out->body);
	r = page_invite(path, &out->body, &found);
	if (r == 0 && !found) {
		out->status = 404;
		out->type = "text/plain; charset=utf-8";
		r = buf_add_str(&out->body, "not found\n");
	}
	return r < 0 ? err_up(r) : 0;
}

static void on_http(void *user, const struct ws_request *request, struct ws_response *out)
{
	struct server *s = user;

	if (!netaddr_is_loopback(&request->remote) &&
	    !quota_table_take(s->http, &request->remote, clock_now_us())) {
		out->status = 429;
		out->type = "text/plain; charset=utf-8";
		return;
	}
	int r = answer(s, request->path, out);
	if (r < 0) {
		log_limited(LOG_LEVEL_WARN, 10, "server.http", LOG_STR("path", request->path),
		            LOG_I64("error", r));
		out->status = 503;
		out->body.len = 0;
	}
}

/* ---- opening ---- */

static int data_path(const struct server *s, const char *name, char out[static PATH_SIZE],
                     struct diag *diag)
{
	int n = snprintf(out, PATH_SIZE, "%s/%s", s->config.data_dir, name);

	if (n >= 0 && n < PATH_SIZE)
		return 0;
	diag_set(diag, "the path of the data folder is too long");
	return SERVER_USAGE;
}

/* The folder, and a lock so that two servers never share a database. */
static int open_data(struct server *s, struct diag *diag)
{
	char path[PATH_SIZE];
	int r = data_path(s, "lock", path, diag);

	if (r != 0)
		return r;
	if (mkdir(s->config.data_dir, 0700) < 0 && errno != EEXIST) {
		diag_set(diag, "cannot make the data folder %s: %s", s->config.data_dir,
		         strerror(errno));
		return SERVER_DENIED;
	}
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0) {
		diag_set(diag, "cannot write in the data folder %s: %s", s->config.data_dir,
		         strerror(errno));
		return SERVER_DENIED;
	}
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		diag_set(diag, "another govpn-server uses the data folder %s", s->config.data_dir);
		return SERVER_IN_USE;
	}
	return SERVER_OK;
}

static int open_store(struct server *s, struct diag *diag)
{
	char path[PATH_SIZE];
	struct diag why = {0};
	int r = data_path(s, "govpn-server.db", path, diag);

	if (r != 0)
		return r;
	r = store_open(&s->store, path, &why);
	if (r > 0) {
		diag_set(diag, "%.60s: %.130s", path, why.text);
		return SERVER_BAD_DATA;
	}
	if (r == -EACCES || r == -EROFS) {
		diag_set(diag, "cannot write the database %.100s%s%.60s", path,
		         why.text[0] != '\0' ? ": " : "", why.text);
		return SERVER_DENIED;
	}
	if (r == -EBUSY) {
		diag_set(diag, "%s: another program writes to the database", path);
		return SERVER_IN_USE;
	}
	if (r == -ENOSPC) {
		diag_set(diag, "%s: no space is left to make the database", path);
		return SERVER_BAD_DATA;
	}
	if (r == -EUCLEAN) {
		diag_set(diag, "%s: the database is damaged", path);
		return SERVER_BAD_DATA;
	}
	return r < 0 ? err_up(r) : SERVER_OK;
}

/* Makes the certificate when there is none. Names matter only for clients that check by --ca; the pin does not need them. */
static int make_cert(struct server *s, const char *cert, const char *key, struct diag *diag)
{
	const char *names[CERT_NAMES_MAX];
	char addrs[SERVER_LISTEN_MAX][NETADDR_TEXT_SIZE], host[256];
	size_t n = 0;

	if (access(cert, F_OK) == 0 && access(key, F_OK) == 0)
		return SERVER_OK;
	if (s->config.public_url != NULL)
		names[n++] = s->public.host;
	for (size_t i = 0; i < s->config.n_listen; i++) {
		if (!netaddr_is_any(&s->config.listen[i]))
			names[n++] = netaddr_ip_text(&s->config.listen[i], addrs[i]);
	}
	names[n++] = "localhost";
	names[n++] = "127.0.0.1";
	if (gethostname(host, sizeof(host) - 1) == 0) {
		host[sizeof(host) - 1] = '\0';
		names[n++] = host;
	}
	int r = cert_write_self_signed(cert, key, names, n, clock_unix_s(), NULL);
	if (r == -EINVAL) /* a host name with letters that no certificate takes */
		r = cert_write_self_signed(cert, key, names, n - 1, clock_unix_s(), NULL);
	if (r < 0) {
		diag_set(diag, "cannot write the certificate %s: %s", cert, strerror(-r));
		return SERVER_DENIED;
	}
	log_info("server.certificate", LOG_STR("made", cert));
	return SERVER_OK;
}

static const struct ws_server_fns ws_fns = {
	.open = on_open,
	.message = on_message,
	.next = on_next,
	.sent = on_sent,
	.closed = on_closed,
	.http = on_http,
};

/* What the limit of descriptors has room for: the database must not run out of them because strangers connect. */
static size_t sockets_max(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur >= SOCKETS_MAX + FDS_OTHER)
		return SOCKETS_MAX;
	log_warn("server.few_descriptors", LOG_U64("limit", l.rlim_cur));
	return l.rlim_cur > 2 * FDS_OTHER ? l.rlim_cur - FDS_OTHER : FDS_OTHER;
}

static int open_ws(struct server *s, struct diag *diag)
{
	char cert[PATH_SIZE], key[PATH_SIZE];
	uint8_t pin[CERT_PIN_SIZE];
	struct ws_server_config config = {.max_conns = sockets_max(),
	                                  .max_conns_block = SOCKETS_BLOCK_MAX,
	                                  .timeout_s = TIMEOUT_S,
	                                  .trust_forwarded = s->config.tls == SERVER_TLS_OFF};
	int r = 0;

	if (s->config.tls == SERVER_TLS_SELF) {
		r = data_path(s, "tls.crt", cert, diag);
		if (r == 0)
			r = data_path(s, "tls.key", key, diag);
		if (r == 0)
			r = make_cert(s, cert, key, diag);
		config.cert_path = cert;
		config.key_path = key;
	} else if (s->config.tls == SERVER_TLS_FILES) {
		config.cert_path = s->config.cert_path;
		config.key_path = s->config.key_path;
	}
	if (r == 0)
		r = ws_server_new(&s->ws, s->loop, &config, &ws_fns, s, diag);
	if (r == WS_SERVER_BAD_CERT)
		return SERVER_BAD_CERT;
	if (r == 0 && config.cert_path != NULL) {
		r = cert_file_pin(config.cert_path, pin);
		if (r == 0)
			enc_base64url(s->info.pin, pin, sizeof(pin));
	}
	return r < 0 ? err_up(r) : r;
}

static int listen_at(struct server *s, const struct netaddr *addr, struct diag *diag)
{
	int r = ws_server_listen(s->ws, addr, &s->info.listen[s->info.n_listen], diag);

	if (r == WS_SERVER_OK)
		s->info.n_listen++;
	if (r <= 0)
		return r < 0 ? err_up(r) : SERVER_OK;
	if (r == WS_SERVER_IN_USE)
		return SERVER_IN_USE;
	return r == WS_SERVER_DENIED ? SERVER_DENIED : SERVER_USAGE;
}

static int listen_all(struct server *s, struct diag *diag)
{
	static const uint8_t any6[16];
	struct netaddr any = netaddr_ip4(0, SERVER_PORT);
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->config.n_listen; i++)
		r = listen_at(s, &s->config.listen[i], diag);
	if (s->config.n_listen == 0) {
		r = listen_at(s, &any, diag);
		any = netaddr_ip6(any6, SERVER_PORT);
		/* Not every computer has IPv6. */
		if (r == 0 && listen_at(s, &any, NULL) != 0)
			log_info("server.no_ipv6");
	}
	return r < 0 ? err_up(r) : r;
}

static int stun_at(struct server *s, const struct netaddr *addr, struct diag *diag)
{
	struct diag why = {0};
	int r = stun_service_add(s->stun, addr, &s->info.stun[s->info.n_stun], &why);

	if (r == 0)
		s->info.n_stun++;
	if (r <= 0)
		return r < 0 ? err_up(r) : SERVER_OK;
	if (s->config.stun_mode == SERVER_STUN_DEFAULT) {
		log_warn("server.no_stun", LOG_STR("why", why.text));
		return SERVER_OK;
	}
	diag_set(diag, "%s", why.text);
	if (r == UDP_IN_USE)
		return SERVER_IN_USE;
	return r == UDP_DENIED ? SERVER_DENIED : SERVER_USAGE;
}

static int open_stun(struct server *s, struct diag *diag)
{
	struct rng rng = rng_os();
	int r = stun_service_new(&s->stun, s->loop, rng_u64(&rng));

	if (s->config.stun_mode == SERVER_STUN_GIVEN) {
		for (size_t i = 0; r == 0 && i < s->config.n_stun; i++)
			r = stun_at(s, &s->config.stun[i], diag);
	} else if (s->config.stun_mode == SERVER_STUN_DEFAULT) {
		for (size_t i = 0; r == 0 && i < s->info.n_listen; i++) {
			struct netaddr addr = s->info.listen[i];

			addr.port = SERVER_STUN_PORT;
			r = stun_at(s, &addr, diag);
		}
	}
	return r < 0 ? err_up(r) : r;
}

static int open_hub(struct server *s)
{
	char public[LINK_HOST_PORT_SIZE], addrs[SERVER_LISTEN_MAX][NETADDR_TEXT_SIZE];
	struct hub_time t = now();
	struct hub_config config = {.store = s->store,
	                            .limits = HUB_LIMITS_DEFAULT,
	                            .n_stun = s->info.n_stun,
	                            .address_rest_s = s->config.address_rest_s,
	                            .expire_s = s->config.expire_s,
	                            .rng = rng_os()};

	_Static_assert(SERVER_LISTEN_MAX + 1 <= HUB_NAMES_MAX, "every name fits");
	_Static_assert(SERVER_LISTEN_MAX <= HUB_STUN_MAX, "every STUN socket fits");
	for (size_t i = 0; i < s->info.n_listen; i++)
		config.names[config.n_names++] = netaddr_text(&s->info.listen[i], addrs[i]);
	if (s->config.public_url != NULL)
		config.names[config.n_names++] = link_server_host_port(&s->public, public);
	memcpy(config.stun, s->info.stun, sizeof(s->info.stun));
	int r = quota_table_new(&s->http, &http_rate, HTTP_BLOCKS, rng_u32(&config.rng));
	if (r == 0)
		r = hub_new(&s->hub, &config, &t);
	return r < 0 ? err_up(r) : 0;
}

static int open_all(struct server *s, struct diag *diag)
{
	struct diag why = {0};

	if (s->config.public_url != NULL &&
	    link_server_parse(s->config.public_url, &s->public, &why) != LINK_OK) {
		diag_set(diag, "--public-url: %s", why.text);
		return SERVER_USAGE;
	}
	int r = open_data(s, diag);
	if (r == 0)
		r = open_store(s, diag);
	if (r == 0)
		r = loop_new(&s->loop);
	if (r == 0)
		r = open_ws(s, diag);
	if (r == 0)
		r = listen_all(s, diag);
	if (r == 0)
		r = open_stun(s, diag);
	if (r == 0)
		r = open_hub(s);
	if (r == 0)
		r = loop_timer_new(&s->timer, s->loop, on_timer, s);
	if (r == 0)
		pump(s);
	s->info.tls = s->config.tls != SERVER_TLS_OFF;
	s->info.is_self_signed = s->config.tls == SERVER_TLS_SELF;
	return r < 0 ? err_up(r) : r;
}

int server_open(struct server **out, const struct server_config *config, struct diag *diag)
{
	gv_cleanup(server_closep) struct server *s = mem_new(struct server);

	if (s == NULL)
		return err_here(-ENOMEM);
	s->config = *config;
	s->lock_fd = -1;
	int r = open_all(s, diag);
	if (r != 0)
		return r < 0 ? err_up(r) : r;
	*out = GV_STEAL(s);
	return SERVER_OK;
}

void server_info(const struct server *s, struct server_info *out)
{
	*out = s->info;
}

/* ---- running and ending ---- */

static void on_end(void *user)
{
	struct server *s = user;

	loop_stop(s->loop);
}

static void on_signal(void *user, int signum)
{
	struct server *s = user;

	if (s->is_stopping) {
		loop_stop(s->loop); /* asked twice: now */
		return;
	}
	s->is_stopping = true;
	log_info("server.stopping", LOG_I64("signal", signum));
	ws_server_stop_listening(s->ws);
	hub_shutdown(s->hub);
	pump(s);
	loop_timer_start(s->end, HUB_SHUTDOWN_S * UINT64_C(1000000));
}

int server_run(struct server *s)
{
	int r = loop_timer_new(&s->end, s->loop, on_end, s);

	if (r == 0)
		r = loop_signal_open(&s->term, s->loop, SIGTERM, on_signal, s);
	if (r == 0)
		r = loop_signal_open(&s->interrupt, s->loop, SIGINT, on_signal, s);
	if (r == 0)
		r = loop_run(s->loop);
	return r < 0 ? err_up(r) : 0;
}

void server_close(struct server *s)
{
	if (s == NULL)
		return;
	ws_server_close(s->ws); /* first: its last callbacks use hub and timer */
	stun_service_close(s->stun);
	loop_timer_close(s->timer);
	loop_timer_close(s->end);
	loop_signal_close(s->term);
	loop_signal_close(s->interrupt);
	loop_free(s->loop);
	hub_free(s->hub);
	quota_table_free(s->http);
	store_close(s->store);
	if (s->lock_fd >= 0)
		(void)close(s->lock_fd); /* only a lock */
	mem_free(s);
}
