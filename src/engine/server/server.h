/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_SERVER_SERVER_H
#define GV_ENGINE_SERVER_SERVER_H

/*
 * server - everything of govpn-server put together: data folder, certificate, database, hub, sockets, STUN, signals.
 *
 * Thread:    control; server_run() turns the loop.
 * Time:      reads both clocks for the hub.
 */

#include "base/diag.h"
#include "base/macro.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server; /* opaque */

#define SERVER_LISTEN_MAX 8

enum server_tls {
	SERVER_TLS_SELF,  /* certificate made at first start, kept in the data folder */
	SERVER_TLS_FILES, /* cert_path and key_path */
	SERVER_TLS_OFF,   /* behind a proxy or on loopback */
};

enum server_stun {
	SERVER_STUN_DEFAULT, /* SERVER_STUN_PORT of each listen address; one in use is only warned of */
	SERVER_STUN_GIVEN,
	SERVER_STUN_OFF,
};

#define SERVER_PORT      8443
#define SERVER_STUN_PORT 3478

/* Strings are borrowed until server_close(). */
struct server_config {
	struct netaddr listen[SERVER_LISTEN_MAX];
	size_t n_listen; /* 0: SERVER_PORT at every address */
	enum server_stun stun_mode;
	struct netaddr stun[SERVER_LISTEN_MAX];
	size_t n_stun;
	const char *data_dir;
	enum server_tls tls;
	const char *cert_path, *key_path;
	const char *public_url; /* NULL: none */
	int64_t expire_s;       /* 0: networks are kept for ever */
	int64_t address_rest_s;
};

/* Results > 0; diag has one sentence for each. */
enum server_result {
	SERVER_OK = 0,
	SERVER_USAGE = 2,    /* an option has an impossible value */
	SERVER_IN_USE = 3,   /* a port, or the data folder by another server */
	SERVER_DENIED = 4,   /* no right to a port, folder or file */
	SERVER_BAD_DATA = 5, /* database damaged, foreign or newer */
	SERVER_BAD_CERT = 6, /* certificate or key cannot be used */
};

/* What a person wants to know after the start. */
struct server_info {
	struct netaddr listen[SERVER_LISTEN_MAX];
	size_t n_listen;
	struct netaddr stun[SERVER_LISTEN_MAX];
	size_t n_stun;
	bool tls;
	bool is_self_signed;
	char pin[48]; /* base64url, of the certificate; "" without TLS */
};

/* Opens everything. *out is owned by the caller. Returns SERVER_OK and the results above; -errno. */
int server_open(struct server **out, const struct server_config *config, struct diag *diag)
	gv_must_check gv_nonnull(1, 2, 3);

void server_info(const struct server *s, struct server_info *out) gv_nonnull(1, 2);

/* Runs until SIGTERM or SIGINT; tells the clients, waits a second, returns. Returns 0; -errno. */
int server_run(struct server *s) gv_must_check gv_nonnull(1);

/* NULL is allowed. */
void server_close(struct server *s);

GV_DEFINE_CLEANUP(struct server *, server_close)

#endif /* GV_ENGINE_SERVER_SERVER_H */
