/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_SERVER_STORE_H
#define GV_ENGINE_SERVER_STORE_H

/*
 * store - the server's memory on disk: networks, members, leases, uses of invites, failed joins.
 *
 * Does:      primitive reads and writes. A change is store_begin(), any number of calls, store_commit(); what must be
 *            decided together is read and written inside one transaction, which excludes every other writer.
 * Does not:  check rights or signatures, choose addresses, read a clock.
 * Thread:    the thread that opened it.
 * Memory:    results are owned by the caller and freed by the _deinit or _free named with them.
 * Time:      wall-clock seconds as arguments. A committed transaction is on disk when store_commit() returns.
 * Blocking:  yes, for disk writes; while another program writes, one request waits for at most 100 ms and those after it
 *            fail at once.
 */

#include "base/macro.h"
#include "engine/server/ipam.h"
#include "proto/sig/netid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diag;
struct store; /* opaque */

#define STORE_LABEL_SIZE 64

/* Results > 0. */
enum store_result {
	STORE_OK = 0,
	STORE_NOT_FOUND = 1,
	STORE_EXISTS =
		2, /* another row has this id, code, address, key or label: nothing was written */
	STORE_NEWER = 3,   /* written by a newer version: refuse to start */
	STORE_CORRUPT = 4, /* damaged, or not a database: refuse to start */
	STORE_FOREIGN = 5, /* a database of another program: refuse to start */
};

/*
 * Opens or makes the database file. On failure *out is untouched and diag (may be NULL) has a sentence for every
 * result > 0, and for -errno where the system gave a reason. Waits at most 5 s for another writer. Returns STORE_OK,
 * STORE_NEWER, STORE_CORRUPT, STORE_FOREIGN; -EROFS; -EBUSY; -errno.
 */
int store_open(struct store **out, const char *path, struct diag *diag)
	gv_must_check gv_nonnull(1, 2);

/* Rolls an open transaction back and closes. NULL is allowed. */
void store_close(struct store *s);

/* Reads a little. Returns 0; -ESTALE: somebody removed or replaced the file; -errno. */
int store_check(struct store *s) gv_must_check gv_nonnull(1);

/*
 * Begins a transaction that may write. Transactions do not nest. Returns 0; -EBUSY: another program writes; -ESTALE: the file
 * was removed or replaced, nothing that is written would last; -errno.
 */
int store_begin(struct store *s) gv_must_check gv_nonnull(1);
/* One that only reads: it works on a full disk and beside another writer. Returns 0; -errno. */
int store_begin_read(struct store *s) gv_must_check gv_nonnull(1);
/* Returns 0: on disk; -ENOSPC, -EIO, -errno: the transaction was rolled back. */
int store_commit(struct store *s) gv_must_check gv_nonnull(1);
/* Undoes everything since store_begin(); without an open transaction nothing happens. */
void store_rollback(struct store *s) gv_nonnull(1);

struct store_network {
	uint8_t id[NETID_SIZE];
	char code[NETID_CODE_SIZE];
	uint8_t owner[SIG_KEY_SIZE];
	uint64_t epoch;
	int64_t active_unix_s;
	uint8_t *document; /* owned (a read result) or borrowed (an argument) */
	size_t document_n;
};

void store_network_deinit(struct store_network *n) gv_nonnull(1);

/* Returns 0; STORE_EXISTS (id or code); -errno. */
int store_network_add(struct store *s, const struct store_network *n)
	gv_must_check gv_nonnull(1, 2);
/* Reads into *out, to be freed by store_network_deinit(). Returns 0; STORE_NOT_FOUND; -errno. */
int store_network_get(struct store *s, const uint8_t id[static NETID_SIZE],
                      struct store_network *out) gv_must_check gv_nonnull(1, 2, 3);
/* Returns 0; STORE_NOT_FOUND; -errno. */
int store_network_find(struct store *s, const char *code, uint8_t out_id[static NETID_SIZE])
	gv_must_check gv_nonnull(1, 2, 3);
int store_network_set_document(struct store *s, const uint8_t id[static NETID_SIZE], uint64_t epoch,
                               const void *document, size_t n) gv_must_check gv_nonnull(1, 2, 4);
/* Marks as used at `unix_s`; a mark that is later stays. */
int store_network_touch(struct store *s, const uint8_t id[static NETID_SIZE], int64_t unix_s)
	gv_must_check gv_nonnull(1, 2);
/* The same for all networks with marks from `from_unix_s` to `to_unix_s`. */
int store_networks_touch(struct store *s, int64_t from_unix_s, int64_t to_unix_s, int64_t unix_s)
	gv_must_check gv_nonnull(1);
/* Removes the network and everything of it. Returns 0; STORE_NOT_FOUND; -errno. */
int store_network_remove(struct store *s, const uint8_t id[static NETID_SIZE])
	gv_must_check gv_nonnull(1, 2);
int store_networks_owned(struct store *s, const uint8_t owner[static SIG_KEY_SIZE], uint64_t *out)
	gv_must_check gv_nonnull(1, 2, 3);
/* A network that was last used before `unix_s`. Returns 0; STORE_NOT_FOUND: none; -errno. */
int store_network_idle(struct store *s, int64_t unix_s, uint8_t out_id[static NETID_SIZE])
	gv_must_check gv_nonnull(1, 3);
int store_counts(struct store *s, uint64_t *out_networks, uint64_t *out_members)
	gv_must_check gv_nonnull(1, 2, 3);

struct store_member {
	uint8_t key[SIG_KEY_SIZE];
	uint32_t address; /* host order */
	char label[STORE_LABEL_SIZE];
	uint8_t *admission; /* owned (a read result) or borrowed (an argument) */
	size_t admission_n;
};

void store_member_deinit(struct store_member *m) gv_nonnull(1);
/* Frees an array of members. NULL is allowed. */
void store_members_free(struct store_member *members, size_t n);

/* Returns 0; STORE_EXISTS (key, address or label); -errno. */
int store_member_add(struct store *s, const uint8_t id[static NETID_SIZE],
                     const struct store_member *m) gv_must_check gv_nonnull(1, 2, 3);
/* Returns 0; STORE_NOT_FOUND; -errno. */
int store_member_get(struct store *s, const uint8_t id[static NETID_SIZE],
                     const uint8_t key[static SIG_KEY_SIZE], struct store_member *out)
	gv_must_check gv_nonnull(1, 2, 3, 4);
/* Replaces label and admission. Returns 0; STORE_EXISTS (label); STORE_NOT_FOUND; -errno. */
int store_member_set(struct store *s, const uint8_t id[static NETID_SIZE],
                     const struct store_member *m) gv_must_check gv_nonnull(1, 2, 3);
/* Returns 0; STORE_NOT_FOUND; -errno. */
int store_member_remove(struct store *s, const uint8_t id[static NETID_SIZE],
                        const uint8_t key[static SIG_KEY_SIZE]) gv_must_check gv_nonnull(1, 2, 3);
/* All members by address, for store_members_free(). Returns 0; -errno. */
int store_members(struct store *s, const uint8_t id[static NETID_SIZE], struct store_member **out,
                  size_t *out_n) gv_must_check gv_nonnull(1, 2, 3, 4);
int store_members_count(struct store *s, const uint8_t id[static NETID_SIZE], uint64_t *out)
	gv_must_check gv_nonnull(1, 2, 3);
/* Whether a member other than `key` has the label. Returns 0; -errno. */
int store_label_used(struct store *s, const uint8_t id[static NETID_SIZE], const char *label,
                     const uint8_t key[static SIG_KEY_SIZE], bool *out)
	gv_must_check gv_nonnull(1, 2, 3, 4, 5);

struct store_id {
	uint8_t b[NETID_SIZE];
};

/* Networks of which `key` is a member, at most `max`; out_n may exceed it by none. Returns 0; -errno. */
int store_networks_of(struct store *s, const uint8_t key[static SIG_KEY_SIZE], struct store_id *out,
                      size_t max, size_t *out_n) gv_must_check gv_nonnull(1, 2, 3, 5);

/* All leases by address; freed by mem_free(). Returns 0; -errno. */
int store_leases(struct store *s, const uint8_t id[static NETID_SIZE], struct ipam_lease **out,
                 size_t *out_n) gv_must_check gv_nonnull(1, 2, 3, 4);
/* Writes a lease in place of those with the same address or key. Returns 0; -errno. */
int store_lease_put(struct store *s, const uint8_t id[static NETID_SIZE],
                    const struct ipam_lease *l) gv_must_check gv_nonnull(1, 2, 3);
/* Marks the lease of `key` as released. Returns 0; -errno. */
int store_lease_release(struct store *s, const uint8_t id[static NETID_SIZE],
                        const uint8_t key[static SIG_KEY_SIZE], int64_t unix_s)
	gv_must_check gv_nonnull(1, 2, 3);

/* How many computers joined by the invite. Returns 0; -errno. */
int store_invite_uses(struct store *s, const uint8_t id[static NETID_SIZE],
                      const uint8_t invite[static SIG_KEY_SIZE], uint64_t *out)
	gv_must_check gv_nonnull(1, 2, 3, 4);
/* Counts one more. Returns 0; -errno. */
int store_invite_use(struct store *s, const uint8_t id[static NETID_SIZE],
                     const uint8_t invite[static SIG_KEY_SIZE]) gv_must_check gv_nonnull(1, 2, 3);

struct store_key {
	uint8_t b[SIG_KEY_SIZE];
};

/* Invites that were used; freed by mem_free(). Returns 0; -errno. */
int store_invites(struct store *s, const uint8_t id[static NETID_SIZE], struct store_key **out,
                  size_t *out_n) gv_must_check gv_nonnull(1, 2, 3, 4);
/* Forgets the uses of a withdrawn invite. Returns 0; -errno. */
int store_invite_forget(struct store *s, const uint8_t id[static NETID_SIZE],
                        const uint8_t invite[static SIG_KEY_SIZE])
	gv_must_check gv_nonnull(1, 2, 3);

/* Failed joins of one scope: a network, known or not, or an address block. */
struct store_failures {
	int64_t window_unix_s; /* begin of the present window */
	uint32_t count;        /* in it */
	uint32_t streak;       /* since the last success */
};

#define STORE_SCOPE_MAX 32

/* A scope that never failed gives zeroes. Returns 0; -errno. */
int store_failures_get(struct store *s, const void *scope, size_t scope_n,
                       struct store_failures *out) gv_must_check gv_nonnull(1, 2, 4);
int store_failures_set(struct store *s, const void *scope, size_t scope_n,
                       const struct store_failures *f) gv_must_check gv_nonnull(1, 2, 4);
int store_failures_clear(struct store *s, const void *scope, size_t scope_n)
	gv_must_check gv_nonnull(1, 2);
/*
 * Forgets scopes whose window began before `unix_s`, except those of networks that exist. A network's scope is one byte
 * and its id. Returns 0; -errno.
 */
int store_failures_purge(struct store *s, int64_t unix_s) gv_must_check gv_nonnull(1);
/* Reads all of them. Returns 0; -errno. */
int store_failures_count(struct store *s, uint64_t *out) gv_must_check gv_nonnull(1, 2);

GV_DEFINE_CLEANUP(struct store *, store_close)

#endif /* GV_ENGINE_SERVER_STORE_H */
