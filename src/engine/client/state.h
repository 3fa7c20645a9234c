/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_STATE_H
#define GV_ENGINE_CLIENT_STATE_H

/*
 * state - what a daemon knows across restarts: its identity and its networks.
 *
 * Does:      keeps a folder with identity.key and networks.json, both 0600, written whole or not at
 *            all and synced to disk; locks the folder against a second daemon; refuses files that
 *            are damaged, foreign or open to others.
 * Does not:  decide anything about networks (supervisor).
 * Thread:    control.
 * Memory:    at most STATE_NETWORKS_MAX networks.
 * Blocking:  state_save() waits for the disk.
 */

#include "base/diag.h"
#include "base/macro.h"
#include "base/netaddr.h"
#include "proto/sig/admission.h"
#include "proto/sig/document.h"
#include "proto/sig/link.h"
#include "proto/sig/netid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct identity;

#define STATE_NETWORKS_MAX 64
#define STATE_IFNAME_SIZE  16
#define STATE_CA_MAX       65536 /* bytes of PEM text */
#define STATE_FILE_MAX     (32 * 1024 * 1024)

/* How a server's certificate is judged. */
enum state_trust {
	STATE_TRUST_SYSTEM = 0, /* by the system's authorities */
	STATE_TRUST_CA,         /* by those in ca_pem */
	STATE_TRUST_PIN,        /* by its pin */
	STATE_TRUST_INSECURE,   /* not at all; also allows http:// */
};

struct state_server {
	struct link_server at;
	enum state_trust trust;
	uint8_t pin[LINK_PIN_SIZE]; /* with STATE_TRUST_PIN */
	char *ca_pem;               /* owned; with STATE_TRUST_CA */
};

#define STATE_BANNED_MAX 256

/* Whom the owner banned, as people remember it: for unban. */
struct state_banned {
	uint8_t key[SIG_KEY_SIZE];
	char name[ADMISSION_NAME_MAX + 1], label[ADMISSION_LABEL_MAX + 1];
	struct netaddr ip4;
};

enum state_broadcast {
	STATE_BROADCAST_AUTO = 0, /* when it is the most recently connected network */
	STATE_BROADCAST_ON,       /* before all others */
	STATE_BROADCAST_OFF,
};

struct state_network {
	char code[NETID_CODE_SIZE]; /* "" unknown */
	struct state_server server;
	struct document *doc;       /* owned, verified; its network_id is the network's */
	struct admission admission; /* our own */
	struct netaddr ip4;         /* given by the server; family NETADDR_NONE: not yet */
	/* The highest epoch that we signed as the owner, whether it is in doc or not; 0: none that matters. */
	uint64_t signed_epoch;
	bool up; /* to be connected whenever the daemon runs */
	enum state_broadcast broadcast;
	char ifname[STATE_IFNAME_SIZE]; /* last interface name; "" none */
	struct state_banned *banned;    /* owned; the newest STATE_BANNED_MAX of the owner's bans */
	size_t n_banned;
};

/* A plain value; the owner may change its members and then calls state_save(). */
struct state {
	struct identity *id; /* owned */
	uint8_t key[SIG_KEY_SIZE];
	char name[ADMISSION_NAME_MAX + 1];                  /* of this computer; "" not chosen */
	struct state_network *networks[STATE_NETWORKS_MAX]; /* owned each */
	size_t n_networks;
	int dir_fd, lock_fd;
};

enum state_result {
	STATE_OK = 0,
	STATE_LOCKED = 1,  /* another daemon uses the folder */
	STATE_CORRUPT = 2, /* a file is damaged */
	STATE_FOREIGN = 3, /* a file of a newer version, or of another computer's identity */
	STATE_DENIED = 4,  /* no right to read or write, or others may */
};

/*
 * Opens or makes the folder, takes its lock, reads everything. A folder without an identity gets
 * one. On STATE_OK *out is owned by the caller. For every other result but 0 and < 0 diag says
 * which file and why.
 * Returns STATE_OK, STATE_LOCKED, STATE_CORRUPT, STATE_FOREIGN, STATE_DENIED; -ENOMEM; -errno.
 */
int state_open(struct state **out, const char *dir, struct diag *diag)
	gv_must_check gv_nonnull(1, 2, 3);

/*
 * Writes networks.json: whole, synced, then put in place. Returns 0; -errno: the old file is still
 * there.
 */
int state_save(const struct state *s) gv_must_check gv_nonnull(1);

/* Unlocks and frees; wipes the identity. NULL is allowed. */
void state_close(struct state *s);

/*
 * A network of this state with nothing set. Owned by the caller until state_add(). NULL: no memory.
 */
struct state_network *state_network_new(void);
void state_network_free(struct state_network *n);

/*
 * Appends; moved on success. Returns 0; -ENOBUFS there are STATE_NETWORKS_MAX already. Does not
 * save.
 */
int state_add(struct state *s, struct state_network *n) gv_must_check gv_nonnull(1, 2);
/* Takes it out: it is the caller's, to be freed by state_network_free(). Does not save. */
void state_take(struct state *s, const struct state_network *n) gv_nonnull(1, 2);

struct state_network *state_find(const struct state *s, const uint8_t id[static NETID_SIZE])
	gv_nonnull(1, 2);

/* Remembers a ban (copied), or forgets it. state_ban() returns 0; -ENOMEM. */
int state_ban(struct state_network *n, const struct state_banned *banned)
	gv_must_check gv_nonnull(1, 2);
void state_unban(struct state_network *n, const uint8_t key[static SIG_KEY_SIZE]) gv_nonnull(1, 2);

/* Same place and same way of trust. */
bool state_server_equal(const struct state_server *a, const struct state_server *b)
	gv_nonnull(1, 2);
/* Copies, ca_pem too. Returns 0; -ENOMEM (out has no ca_pem then). */
int state_server_copy(struct state_server *out, const struct state_server *s)
	gv_must_check gv_nonnull(1, 2);
void state_server_deinit(struct state_server *s) gv_nonnull(1);

/*
 * The text of networks.json. state_parse() fills name and networks of a state whose key is set; on
 * failure s is unchanged.
 * Returns STATE_OK, STATE_CORRUPT, STATE_FOREIGN; -ENOMEM. state_format() returns 0; -ENOMEM;
 * -ENOBUFS.
 */
int state_parse(struct state *s, const char *text, size_t len, struct diag *diag)
	gv_must_check gv_nonnull(1, 2, 4);
int state_format(const struct state *s, struct buf *out) gv_must_check gv_nonnull(1, 2);

GV_DEFINE_CLEANUP(struct state *, state_close)
GV_DEFINE_CLEANUP(struct state_network *, state_network_free)

#endif /* GV_ENGINE_CLIENT_STATE_H */
