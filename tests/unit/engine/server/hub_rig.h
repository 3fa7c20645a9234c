/* SPDX-License-Identifier: MIT */
#ifndef GV_UNIT_ENGINE_SERVER_HUB_RIG_H
#define GV_UNIT_ENGINE_SERVER_HUB_RIG_H

/*
 * hub_rig - a hub on a database of its own, with connections that are only texts, for the hub's tests.
 *
 * A computer of the rig has an identity made from a number. Functions assert what every test expects and return what a test
 * may want to look at.
 */

#include "base/buf.h"
#include "crypto/identity.h"
#include "engine/server/hub.h"
#include "engine/server/store.h"
#include "proto/sig/admission.h"
#include "proto/sig/document.h"
#include "proto/sig/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define RIG_HOST    "vpn.example.org:443"
#define RIG_SERVER  "198.51.100.1:8443"
#define RIG_REST_S  86400
#define RIG_START_S INT64_C(1700000000)

struct rig {
	struct hub *hub;
	struct store *store;
	struct hub_config config;
	struct hub_time t;
	uint64_t fail_at;
	bool has_failed;
	char dir[64], db[96];
};

struct rig_computer {
	struct rig *rig;
	struct identity *id;
	uint8_t key[SIG_KEY_SIZE];
	uint64_t session;
	struct netaddr remote;
	struct hub_conn *conn; /* NULL: no connection */
	uint8_t nonce[PROOF_LOGIN_NONCE_SIZE];
	unsigned next_id;
	struct msg m; /* the last one received */
	bool has_m;
};

struct rig_net {
	struct document *doc;
	struct buf bytes; /* encoding of doc */
	struct identity *owner;
	struct identity *link, *password;
	char code[NETID_CODE_SIZE];
};

void rig_open(struct rig *r);
/* With other limits or times than the usual: change r->config between rig_prepare() and rig_start(). */
void rig_prepare(struct rig *r);
void rig_start(struct rig *r);
/* Between the two: the database is a file, for rig_restart(); otherwise it is in memory. */
void rig_on_disk(struct rig *r);
/* Frees the hub and its connections and opens the same database again. */
void rig_restart(struct rig *r);
void rig_close(struct rig *r);
void rig_advance(struct rig *r, uint64_t seconds);

/* A computer that is not connected. */
void rig_computer(struct rig *r, struct rig_computer *c, unsigned number);
void rig_computer_free(struct rig_computer *c);
/* Opens a connection and takes the Challenge. */
void rig_connect(struct rig_computer *c);
/* Closes the socket. */
void rig_disconnect(struct rig_computer *c);
/* Sends Authenticate for `host` and gives the answer's type. */
enum msg_type rig_authenticate(struct rig_computer *c, const char *host);
/* rig_computer(), rig_connect(), and a good login. */
void rig_login(struct rig *r, struct rig_computer *c, unsigned number);

/* Sends m, with a message id of its own. */
void rig_send(struct rig_computer *c, struct msg *m);
void rig_send_text(struct rig_computer *c, const char *text);
/* The next allocation but n - 1 that the server makes for the next message fails, once. */
void rig_fail_at(struct rig *r, uint64_t n);
/* Whether it made so many. */
bool rig_has_failed(const struct rig *r);
/* Takes the next message into c->m; MSG_NONE when none waits. */
enum msg_type rig_receive(struct rig_computer *c);
/* Takes messages until one of this type comes; fails when none does. */
void rig_expect(struct rig_computer *c, enum msg_type type);
/* Drops what waits. */
void rig_drain(struct rig_computer *c);
/*
 * Sends m and gives the type of its reply; other messages before it are dropped. MSG_NONE: an allocation failed as was asked
 * for, and none came.
 */
enum msg_type rig_request(struct rig_computer *c, struct msg *m);
/* The same for a request that must be refused with `code`. */
void rig_refused(struct rig_computer *c, struct msg *m, enum msg_error_code code);
bool rig_is_closing(const struct rig_computer *c);

/* A network of `owner` with a link for any number and a password, not yet created. */
void rig_net(struct rig_net *n, struct rig_computer *owner, const char *subnet);
void rig_net_free(struct rig_net *n);
/* Signs doc again after a change. */
void rig_net_sign(struct rig_net *n);
/* The encoding of an admission: by `invite` (NULL: owner or listed member), signed at `unix_s`. Returns its length. */
size_t rig_admission(const struct rig_computer *c, const struct rig_net *n,
                     const struct identity *invite, const char *label, int64_t unix_s,
                     uint8_t out[static ADMISSION_SIZE_MAX]);
/* CreateNetwork; gives the reply's type. */
enum msg_type rig_create(struct rig_computer *owner, struct rig_net *n);
/* JoinNetwork; gives the reply's type. */
enum msg_type rig_join(struct rig_computer *c, const struct rig_net *n,
                       const struct identity *invite, const char *label);
/* The last octet of the address in the NetworkJoined that came last. */
unsigned rig_last_octet(const struct rig_computer *c);
enum msg_type rig_connect_network(struct rig_computer *c, const struct rig_net *n);
enum msg_type rig_leave(struct rig_computer *c, const struct rig_net *n);
/* UpdateDocument with the present encoding. */
enum msg_type rig_update(struct rig_computer *c, const struct rig_net *n);
/* An SdpOffer for `to`. Its signature is nonsense: the server does not look at it. */
void rig_offer(const struct rig_net *n, const struct rig_computer *to, struct msg *out);

#endif /* GV_UNIT_ENGINE_SERVER_HUB_RIG_H */
