/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_SERVER_HUB_IMPL_H
#define GV_ENGINE_SERVER_HUB_IMPL_H

/*
 * hub_impl - what the files of the hub share: hub.c (connections and queues), session.c (login and dispatch),
 * network.c (create, leave), join.c, update.c (newer documents, names), presence.c (connect, notices, forwarding),
 * guard.c (limits on failed joins), expiry.c.
 */

#include "base/buf.h"
#include "base/diag.h"
#include "base/mem.h"
#include "engine/server/hub.h"
#include "engine/server/store.h"
#include "proto/sig/admission.h"
#include "proto/sig/document.h"
#include "proto/sig/msg.h"

/* FNV-1a; what is hashed here are public keys and hashes, and no table holds more than max_conns of them. */
static inline unsigned hub_hash(const void *key, size_t n)
{
	const uint8_t *p = key;
	uint32_t v = 2166136261u;

	for (size_t i = 0; i < n; i++)
		v = (v ^ p[i]) * 16777619u;
	return v ^ (v >> 15);
}

/* uthash: checked allocation in place of exit(). */
#define HASH_NONFATAL_OOM                  1
#define HASH_FUNCTION(key, key_len, hashv) (hashv) = hub_hash((key), (key_len))
#define uthash_malloc(n)                   mem_alloc(1, (n))
#define uthash_free(p, n)                  mem_free(p)
#include <uthash.h>
#include <utlist.h>

/* A text that is queued once or for many connections. */
struct hub_text {
	uint32_t refs;
	struct buf bytes;
};

struct hub_out {
	struct hub_text *text;
	struct hub_out *next;
};

/* A network with connected members. */
struct hub_net {
	uint8_t id[NETID_SIZE];
	struct hub_presence *members;
	size_t n_members;
	UT_hash_handle hh;
};

/* One computer connected to one network: an element of both lists. */
struct hub_presence {
	struct hub_net *net;
	struct hub_conn *conn;
	struct hub_presence *net_prev, *net_next;
	struct hub_presence *conn_prev, *conn_next;
};

struct hub_conn {
	void *user;
	struct netaddr remote, local;
	uint64_t opened_us;
	uint8_t nonce[PROOF_LOGIN_NONCE_SIZE];

	bool is_authenticated; /* in hub.by_key unless is_closing */
	bool is_closing; /* takes no more input or output; presence ends at the latest in hub_ready() */
	bool is_ready; /* in hub.ready */
	uint8_t key[SIG_KEY_SIZE];
	uint64_t session;
	char host[PROOF_HOST_MAX + 1]; /* "host:port" that it dialled, checked */

	struct hub_out *out_first, *out_last;
	size_t out_bytes;

	struct hub_presence *nets;
	size_t n_nets;

	struct quota_bucket message, request;
	uint32_t refused_in_row; /* messages, by the rate limit */

	struct hub_conn *prev, *next;             /* hub.conns */
	struct hub_conn *wait_prev, *wait_next;   /* hub.waiting: oldest first */
	struct hub_conn *ready_prev, *ready_next; /* hub.ready */
	UT_hash_handle hh;
};

#define HUB_TOUCHED_MAX 1024

/* When networks are looked for that nobody used, and whether the wall clock can be believed. */
struct hub_expiry {
	struct hub_time trusted; /* since then both clocks moved alike */
	struct hub_time checked; /* the last time they were compared */
	uint64_t round_at_us;
	uint64_t batch_at_us; /* UINT64_MAX: nothing is being deleted */
	int64_t idle_unix_s;  /* what was last used before goes */
};

struct hub {
	struct store *store;
	struct hub_limits limits;
	char *names[HUB_NAMES_MAX];
	size_t n_names;
	struct netaddr stun[HUB_STUN_MAX];
	size_t n_stun;
	int64_t address_rest_s, expire_s;
	struct rng rng;
	struct quota_table *changes, *creates, *logins, *pictures;

	struct hub_conn *conns, *waiting, *ready;
	struct hub_conn *by_key;                  /* hash of logged-in connections */
	struct hub_net *nets;                     /* hash */
	struct store_id touched[HUB_TOUCHED_MAX]; /* to be marked as used, at touch_at_us */
	size_t n_touched;
	uint64_t touch_at_us;
	struct hub_expiry expiry;
	uint64_t failures; /* rows of failed joins in the store */
	uint64_t purge_at; /* that many are too many */
	bool is_stopping;
	struct hub_stats stats;
};

/* A request being answered. */
struct hub_request {
	struct hub *hub;
	struct hub_conn *conn;
	const struct msg *msg;
	const struct hub_time *t;
	bool is_changed; /* what was asked for is on disk; only the answer can still fail */
	/* The refusal, when the handler returns HUB_REFUSED. */
	enum msg_error_code code;
	uint32_t retry_after_s;
	char suggestion[ADMISSION_LABEL_MAX + 1];
	struct diag text;
};

/*
 * Handlers return 0: answered; HUB_REFUSED: the request's refusal is to be sent; -errno. In the latter two an open
 * transaction is rolled back.
 */
#define HUB_REFUSED 100 /* apart from the results of store, document and admission */
typedef int (*hub_handler_fn)(struct hub_request *q);

/* Fills the refusal. Returns HUB_REFUSED. */
int hub_refuse(struct hub_request *q, enum msg_error_code code, const char *fmt, ...)
	gv_nonnull(1, 3) gv_format(3, 4);

/* ---- hub.c: queues ---- */

/* Queues m for c; without memory or room the connection is closed instead. */
void hub_send(struct hub *h, struct hub_conn *c, const struct msg *m) gv_nonnull(1, 2, 3);
/* Answers q with m (type and payload set; the id is filled in). */
void hub_reply(struct hub_request *q, struct msg *m) gv_nonnull(1, 2);
/* Queues m for everybody connected to the network but `except` (may be NULL). */
void hub_broadcast(struct hub *h, const uint8_t id[static NETID_SIZE],
                   const struct hub_conn *except, const struct msg *m) gv_nonnull(1, 2, 4);
/* Ends the connection after its queue: it no longer counts as logged in. `code` other than OTHER is told first. */
void hub_drop(struct hub *h, struct hub_conn *c, enum msg_error_code code, const char *text)
	gv_nonnull(1, 2, 4);
/* Logs c in with c->key: it can be found from now on. The key must not be in use. Returns 0; -ENOMEM. */
int hub_login(struct hub *h, struct hub_conn *c) gv_must_check gv_nonnull(1, 2);
/* The connection logged in with `key`, or NULL. */
struct hub_conn *hub_find(struct hub *h, const uint8_t key[static SIG_KEY_SIZE]) gv_nonnull(1, 2);

/* ---- session.c ---- */

void session_challenge(struct hub *h, struct hub_conn *c, const struct hub_time *t)
	gv_nonnull(1, 2, 3);
void session_input(struct hub *h, struct hub_conn *c, const char *text, size_t len,
                   const struct hub_time *t) gv_nonnull(1, 2, 3, 5);

/* ---- presence.c ---- */

struct hub_net *presence_net(struct hub *h, const uint8_t id[static NETID_SIZE]) gv_nonnull(1, 2);
bool presence_has(const struct hub_conn *c, const uint8_t id[static NETID_SIZE]) gv_nonnull(1, 2);
/* Connects without telling anybody. Connected already: nothing. Returns 0; -ENOMEM. */
int presence_add(struct hub *h, struct hub_conn *c, const uint8_t id[static NETID_SIZE])
	gv_must_check gv_nonnull(1, 2, 3);
/* Disconnects without telling anybody. */
void presence_remove(struct hub *h, struct hub_conn *c, const uint8_t id[static NETID_SIZE])
	gv_nonnull(1, 2, 3);
/* Disconnects from all networks and tells the others. */
void presence_end(struct hub *h, struct hub_conn *c) gv_nonnull(1, 2);
/* Describes member m of network `id` as the server sees it now; pointers are borrowed from m. Returns 0; -errno. */
int presence_computer(struct hub *h, const uint8_t id[static NETID_SIZE],
                      const struct store_member *m, struct msg_computer *out)
	gv_must_check gv_nonnull(1, 2, 3, 4);

/*
 * Creating, joining and connecting end alike: inside the caller's transaction the requester becomes present; commits, tells
 * the others, answers. The answer comes last because it may fail: the others know all the same, and where it fails the
 * requester is not present. Returns 0; -errno.
 */
struct presence_entry {
	enum msg_type reply;
	const struct store_network *n;
	const struct document *doc;
	const struct store_member *self;
	bool is_new;     /* was no member before */
	bool is_renamed; /* its admission is newer than the one before */
};

int presence_enter(struct hub_request *q, const struct presence_entry *e)
	gv_must_check gv_nonnull(1, 2);
int presence_connect(struct hub_request *q) gv_nonnull(1);
int presence_disconnect(struct hub_request *q) gv_nonnull(1);
int presence_forward(struct hub_request *q) gv_nonnull(1);
int presence_networks(struct hub_request *q) gv_nonnull(1);

/* ---- network.c ---- */

int network_create(struct hub_request *q) gv_nonnull(1);
int network_lookup(struct hub_request *q) gv_nonnull(1);
int network_leave(struct hub_request *q) gv_nonnull(1);
/* Answers with the network as the requester sees it; `type` is NetworkCreated, -Joined or -Connected. */
int network_reply(struct hub_request *q, enum msg_type type, const struct store_network *n,
                  const struct document *doc) gv_must_check gv_nonnull(1, 3, 4);
/* Reads a network and its document; refuses with no_such_network. Both are freed by the caller. */
int network_load(struct hub_request *q, const uint8_t id[static NETID_SIZE],
                 struct store_network *n, struct document **doc)
	gv_must_check gv_nonnull(1, 2, 3, 4);
/* Refuses an admission whose label another member has. */
int network_check_label(struct hub_request *q, const struct admission *a)
	gv_must_check gv_nonnull(1, 2);
/* Removes a network from the store (own transaction) and tells all members that are logged in. Returns 0; -errno. */
int network_delete(struct hub *h, const uint8_t id[static NETID_SIZE], const char *reason,
                   const struct hub_conn *except) gv_must_check gv_nonnull(1, 2, 3);

/* ---- join.c ---- */

int join_network(struct hub_request *q) gv_nonnull(1);

/* ---- update.c ---- */

/*
 * Stores the newer admission of a member inside the caller's transaction; `old` becomes it. *changed says whether it was newer
 * than what is stored. Refuses what does not verify or takes another member's label. Returns 0; HUB_REFUSED; -errno.
 */
int update_admission(struct hub_request *q, const struct document *doc, struct store_member *old,
                     const struct msg_blob *admission, bool *changed)
	gv_must_check gv_nonnull(1, 2, 3, 4, 5);
/* Parses an admission for network `id` by the requester's key; refuses others. Returns 0; HUB_REFUSED. */
int update_parse_admission(struct hub_request *q, const uint8_t id[static NETID_SIZE],
                           const struct msg_blob *blob, struct admission *out)
	gv_must_check gv_nonnull(1, 2, 3, 4);

int update_document(struct hub_request *q) gv_nonnull(1);
int update_client_info(struct hub_request *q) gv_nonnull(1);

/* ---- guard.c: inside the caller's transaction ---- */

/* Whether a password for the network may be tested now. Refuses with rate_limited. */
int guard_check(struct hub_request *q, const uint8_t id[static NETID_SIZE])
	gv_must_check gv_nonnull(1, 2);
/* Counts a failed test, commits, and refuses with invite_refused. */
int guard_failed(struct hub_request *q, const uint8_t id[static NETID_SIZE])
	gv_must_check gv_nonnull(1, 2);
/* A password was right. Returns 0; -errno. */
int guard_passed(struct hub_request *q, const uint8_t id[static NETID_SIZE])
	gv_must_check gv_nonnull(1, 2);
/* The owner renewed the document. Returns 0; -errno. */
int guard_reset(struct hub *h, const uint8_t id[static NETID_SIZE]) gv_must_check gv_nonnull(1, 2);
/* Whether the address failed too often to be answered, right or wrong. Refuses with rate_limited. */
int guard_check_address(struct hub_request *q) gv_must_check gv_nonnull(1);
/* Counts a failed look-up of a code, and refuses. Own transaction. */
int guard_lookup_failed(struct hub_request *q) gv_must_check gv_nonnull(1);
/* Rows of failed joins that are kept, apart from those of networks that exist. */
#define GUARD_ROWS_MAX 100000
/* Forgets old failures, and newer ones as well where there are too many. Own transaction. Returns 0; -errno. */
int guard_purge(struct hub *h, int64_t unix_s) gv_must_check gv_nonnull(1);

/* ---- expiry.c ---- */

void expiry_start(struct hub *h, const struct hub_time *t) gv_nonnull(1, 2);
/*
 * Compares the clocks, to be called whenever there is a new time. After a jump of the wall clock nothing is deleted for days,
 * and what was marked as used by the old time is marked again by the new one.
 */
void expiry_watch_clock(struct hub *h, const struct hub_time *t) gv_nonnull(1, 2);
uint64_t expiry_deadline_us(const struct hub *h) gv_nonnull(1);
void expiry_timeout(struct hub *h, const struct hub_time *t) gv_nonnull(1, 2);
/*
 * Marks the network as used within a minute, at most once an hour, together with others: nobody waits for it, and nobody is
 * refused because it cannot be written.
 */
void expiry_touch_later(struct hub *h, const struct store_network *n, const struct hub_time *t)
	gv_nonnull(1, 2, 3);
/* Own transaction: writes what was put off. */
void expiry_touch_now(struct hub *h, const struct hub_time *t) gv_nonnull(1, 2);
/* In the caller's transaction, at most once an hour. Returns 0; -errno. */
int expiry_touch(struct hub *h, const struct store_network *n, int64_t unix_s)
	gv_must_check gv_nonnull(1, 2);

#endif /* GV_ENGINE_SERVER_HUB_IMPL_H */
