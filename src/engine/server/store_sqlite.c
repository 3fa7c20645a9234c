/* SPDX-License-Identifier: MIT */

#include "engine/server/store.h"

#include "base/diag.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/server/store_schema.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("store");

/* Another program that only looks, or writes a little, is done by then. */
#define BUSY_TIMEOUT_MS 100
#define OPEN_TIMEOUT_MS 5000
#define MEMBERS_MAX     4096

enum statement {
	ST_BEGIN,
	ST_BEGIN_READ,
	ST_COMMIT,
	ST_ROLLBACK,
	ST_NETWORK_ADD,
	ST_NETWORK_GET,
	ST_NETWORK_FIND,
	ST_NETWORK_SET_DOCUMENT,
	ST_NETWORK_TOUCH,
	ST_NETWORKS_TOUCH,
	ST_NETWORK_REMOVE,
	ST_NETWORKS_OWNED,
	ST_NETWORK_IDLE,
	ST_COUNTS,
	ST_MEMBER_ADD,
	ST_MEMBER_GET,
	ST_MEMBER_SET,
	ST_MEMBER_REMOVE,
	ST_MEMBERS,
	ST_MEMBERS_COUNT,
	ST_LABEL_USED,
	ST_NETWORKS_OF,
	ST_LEASES,
	ST_LEASES_COUNT,
	ST_LEASE_CLEAR,
	ST_LEASE_ADD,
	ST_LEASE_RELEASE,
	ST_INVITE_USES,
	ST_INVITE_USE,
	ST_INVITES,
	ST_INVITES_COUNT,
	ST_INVITE_FORGET,
	ST_FAILURES_GET,
	ST_FAILURES_SET,
	ST_FAILURES_CLEAR,
	ST_FAILURES_PURGE,
	ST_FAILURES_COUNT,
	ST_COUNT_
};

static const char *const statement_text[ST_COUNT_] = {
	[ST_BEGIN] = "BEGIN IMMEDIATE",
	[ST_BEGIN_READ] = "BEGIN",
	[ST_COMMIT] = "COMMIT",
	[ST_ROLLBACK] = "ROLLBACK",
	[ST_NETWORK_ADD] = "INSERT INTO network (id, code, owner, epoch, active_unix_s, document)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[ST_NETWORK_GET] = "SELECT code, owner, epoch, active_unix_s, document FROM network"
			   " WHERE id = ?1",
	[ST_NETWORK_FIND] = "SELECT id FROM network WHERE code = ?1",
	[ST_NETWORK_SET_DOCUMENT] = "UPDATE network SET epoch = ?2, document = ?3 WHERE id = ?1",
	[ST_NETWORK_TOUCH] = "UPDATE network SET active_unix_s = ?2"
			     " WHERE id = ?1 AND active_unix_s < ?2",
	[ST_NETWORKS_TOUCH] = "UPDATE network SET active_unix_s = ?3"
			      " WHERE active_unix_s BETWEEN ?1 AND ?2 AND active_unix_s < ?3",
	[ST_NETWORK_REMOVE] = "DELETE FROM network WHERE id = ?1",
	[ST_NETWORKS_OWNED] = "SELECT count(*) FROM network WHERE owner = ?1",
	[ST_NETWORK_IDLE] = "SELECT id FROM network WHERE active_unix_s < ?1"
			    " ORDER BY active_unix_s LIMIT 1",
	[ST_COUNTS] = "SELECT (SELECT count(*) FROM network), (SELECT count(*) FROM member)",
	[ST_MEMBER_ADD] = "INSERT INTO member (network, key, address, label, admission)"
			  " VALUES (?1, ?2, ?3, ?4, ?5)",
	[ST_MEMBER_GET] = "SELECT key, address, label, admission FROM member"
			  " WHERE network = ?1 AND key = ?2",
	[ST_MEMBER_SET] = "UPDATE member SET label = ?3, admission = ?4"
			  " WHERE network = ?1 AND key = ?2",
	[ST_MEMBER_REMOVE] = "DELETE FROM member WHERE network = ?1 AND key = ?2",
	[ST_MEMBERS] = "SELECT key, address, label, admission FROM member WHERE network = ?1"
		       " ORDER BY address LIMIT ?2",
	[ST_MEMBERS_COUNT] = "SELECT count(*) FROM member WHERE network = ?1",
	[ST_LABEL_USED] = "SELECT count(*) FROM member WHERE network = ?1 AND label = ?2"
			  " AND key <> ?3",
	[ST_NETWORKS_OF] = "SELECT network FROM member WHERE key = ?1 ORDER BY network LIMIT ?2",
	[ST_LEASES] = "SELECT address, key, invite, released_unix_s FROM lease"
		      " WHERE network = ?1 ORDER BY address LIMIT ?2",
	[ST_LEASES_COUNT] = "SELECT count(*) FROM lease WHERE network = ?1",
	[ST_LEASE_CLEAR] = "DELETE FROM lease WHERE network = ?1 AND (address = ?2 OR key = ?3)",
	[ST_LEASE_ADD] = "INSERT INTO lease (network, address, key, invite, released_unix_s)"
			 " VALUES (?1, ?2, ?3, ?4, ?5)",
	[ST_LEASE_RELEASE] =
		"UPDATE lease SET released_unix_s = ?3 WHERE network = ?1 AND key = ?2",
	[ST_INVITE_USES] = "SELECT uses FROM invite_use WHERE network = ?1 AND invite = ?2",
	[ST_INVITE_USE] = "INSERT INTO invite_use (network, invite, uses) VALUES (?1, ?2, 1)"
			  " ON CONFLICT DO UPDATE SET uses = uses + 1",
	[ST_INVITES] = "SELECT invite FROM invite_use WHERE network = ?1 LIMIT ?2",
	[ST_INVITES_COUNT] = "SELECT count(*) FROM invite_use WHERE network = ?1",
	[ST_INVITE_FORGET] = "DELETE FROM invite_use WHERE network = ?1 AND invite = ?2",
	[ST_FAILURES_GET] = "SELECT window_unix_s, count, streak FROM failure WHERE scope = ?1",
	[ST_FAILURES_SET] =
		"INSERT INTO failure (scope, window_unix_s, count, streak)"
		" VALUES (?1, ?2, ?3, ?4)"
		" ON CONFLICT DO UPDATE SET window_unix_s = ?2, count = ?3, streak = ?4",
	[ST_FAILURES_CLEAR] = "DELETE FROM failure WHERE scope = ?1",
	[ST_FAILURES_PURGE] = "DELETE FROM failure WHERE window_unix_s < ?1 AND NOT EXISTS"
			      " (SELECT 1 FROM network WHERE id = substr(scope, 2))",
	[ST_FAILURES_COUNT] = "SELECT count(*) FROM failure",
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *st[ST_COUNT_];
	bool was_busy; /* the last try to write met another writer: the next one does not wait */
};

static sqlite3_stmt *statement(struct store *s, enum statement which)
{
	return s->st[which];
}

/* Ends a statement: it holds no lock and no borrowed memory afterwards. */
static void done(sqlite3_stmt *st)
{
	(void)sqlite3_reset(st); /* repeats the error of the step, which was handled there */
	(void)sqlite3_clear_bindings(st);
}

/* Values bound here are borrowed until done(). A failing bind leaves NULL, which every column refuses. */
static void bind_blob(sqlite3_stmt *st, int i, const void *p, size_t n)
{
	(void)sqlite3_bind_blob64(st, i, n > 0 ? p : "", n, SQLITE_STATIC);
}

static void bind_text(sqlite3_stmt *st, int i, const char *text)
{
	(void)sqlite3_bind_text(st, i, text, -1, SQLITE_STATIC);
}

static void bind_int(sqlite3_stmt *st, int i, int64_t v)
{
	(void)sqlite3_bind_int64(st, i, v);
}

/* Runs a statement that gives no rows. Returns 0; STORE_EXISTS; -errno. */
static int run(sqlite3_stmt *st)
{
	int code = sqlite3_step(st);

	done(st);
	if ((code & 0xff) == SQLITE_CONSTRAINT)
		return STORE_EXISTS;
	int r = store_schema_errno(code);
	return r < 0 ? err_here(r) : STORE_OK;
}

/* For changes that no constraint can refuse. */
static int run_plain(sqlite3_stmt *st)
{
	int r = run(st);

	if (r > 0)
		return err_here(-EUCLEAN);
	return r < 0 ? err_up(r) : 0;
}

/* Runs a change of one row. Returns 0; STORE_NOT_FOUND; STORE_EXISTS; -errno. */
static int run_one(struct store *s, sqlite3_stmt *st)
{
	int r = run(st);

	if (r < 0)
		return err_up(r);
	if (r == 0 && sqlite3_changes(s->db) == 0)
		return STORE_NOT_FOUND;
	return r;
}

/* Runs a statement that gives one number; without a row it is 0. */
static int run_number(sqlite3_stmt *st, uint64_t *out)
{
	int code = sqlite3_step(st);

	*out = code == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
	done(st);
	int r = store_schema_errno(code);
	return r < 0 ? err_here(r) : 0;
}

/* Copies a blob column of exactly n bytes; a row of another size is damage. */
static bool column_exact(sqlite3_stmt *st, int i, void *out, size_t n)
{
	const void *p = sqlite3_column_blob(st, i);

	if (p == NULL || (size_t)sqlite3_column_bytes(st, i) != n)
		return false;
	memcpy(out, p, n);
	return true;
}

static bool column_text(sqlite3_stmt *st, int i, char *out, size_t out_size)
{
	const unsigned char *p = sqlite3_column_text(st, i);
	size_t n = (size_t)sqlite3_column_bytes(st, i);

	if (p == NULL || n >= out_size)
		return false;
	memcpy(out, p, n);
	out[n] = '\0';
	return true;
}

static int column_dup(sqlite3_stmt *st, int i, uint8_t **out, size_t *out_n)
{
	size_t n = (size_t)sqlite3_column_bytes(st, i);
	const void *p = n > 0 ? sqlite3_column_blob(st, i) : "";

	if (p == NULL)
		return err_here(-ENOMEM);
	uint8_t *copy = mem_dup(p, n);
	if (copy == NULL)
		return err_here(-ENOMEM);
	*out = copy;
	*out_n = n;
	return 0;
}

static int prepare(struct store *s)
{
	for (unsigned i = 0; i < ST_COUNT_; i++) {
		int code = sqlite3_prepare_v3(s->db, statement_text[i], -1,
		                              SQLITE_PREPARE_PERSISTENT, &s->st[i], NULL);

		if (code != SQLITE_OK) {
			log_debug("statement %u: %s", i, sqlite3_errmsg(s->db));
			int r = store_schema_errno(code);
			return err_here(r < 0 ? r : -EIO);
		}
	}
	return 0;
}

int store_open(struct store **out, const char *path, struct diag *diag)
{
	gv_cleanup(store_closep) struct store *s = mem_new(struct store);

	if (s == NULL)
		return err_here(-ENOMEM);
	int code = sqlite3_open_v2(path, &s->db,
	                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
	                                   SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
	                           NULL);
	if (code != SQLITE_OK) {
		int e = s->db != NULL ? sqlite3_system_errno(s->db) : 0;

		if (e != 0)
			diag_set(diag, "%s", strerror(e));
		int r = store_schema_errno(code);
		return err_here(r < 0 ? r : -EIO);
	}
	(void)sqlite3_busy_timeout(s->db, OPEN_TIMEOUT_MS); /* cannot fail */
	int r = store_schema_open(s->db, diag);
	if (r == 0)
		r = prepare(s);
	if (r != 0)
		return r < 0 ? err_up(r) : r;
	*out = GV_STEAL(s);
	return STORE_OK;
}

void store_close(struct store *s)
{
	if (s == NULL)
		return;
	if (s->st[ST_ROLLBACK] != NULL)
		store_rollback(s);
	for (unsigned i = 0; i < ST_COUNT_; i++)
		(void)sqlite3_finalize(s->st[i]); /* repeats errors that were handled */
	(void)sqlite3_close(s->db);               /* all statements are gone: cannot be busy */
	mem_free(s);
}

/* What is written to a file that has lost its name is gone with the next start. */
static bool has_moved(struct store *s)
{
	int moved = 0;
	int code = sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);

	return code == SQLITE_OK && moved != 0;
}

int store_check(struct store *s)
{
	uint8_t id[NETID_SIZE];

	if (has_moved(s))
		return err_here(-ESTALE);
	int r = store_network_find(s, "", id);
	return r < 0 ? err_up(r) : 0;
}

int store_begin(struct store *s)
{
	if (has_moved(s))
		return err_here(-ESTALE);
	(void)sqlite3_busy_timeout(s->db, s->was_busy ? 0 : BUSY_TIMEOUT_MS); /* cannot fail */
	int r = run_plain(statement(s, ST_BEGIN));
	s->was_busy = r == -EBUSY;
	return r < 0 ? err_up(r) : 0;
}

int store_begin_read(struct store *s)
{
	int r = run_plain(statement(s, ST_BEGIN_READ));

	return r < 0 ? err_up(r) : 0;
}

int store_commit(struct store *s)
{
	int r = run_plain(statement(s, ST_COMMIT));

	if (r < 0) {
		store_rollback(s);
		return err_up(r);
	}
	return 0;
}

void store_rollback(struct store *s)
{
	/* Some errors roll back by themselves. */
	if (!sqlite3_get_autocommit(s->db))
		(void)run(statement(s, ST_ROLLBACK)); /* nothing can be done about a failure */
}

/* ---- networks ---- */

void store_network_deinit(struct store_network *n)
{
	mem_free(n->document);
	*n = (struct store_network){0};
}

int store_network_add(struct store *s, const struct store_network *n)
{
	sqlite3_stmt *st = statement(s, ST_NETWORK_ADD);

	bind_blob(st, 1, n->id, NETID_SIZE);
	bind_text(st, 2, n->code);
	bind_blob(st, 3, n->owner, SIG_KEY_SIZE);
	bind_int(st, 4, (int64_t)n->epoch);
	bind_int(st, 5, n->active_unix_s);
	bind_blob(st, 6, n->document, n->document_n);
	int r = run(st);
	return r < 0 ? err_up(r) : r;
}

int store_network_get(struct store *s, const uint8_t id[static NETID_SIZE],
                      struct store_network *out)
{
	sqlite3_stmt *st = statement(s, ST_NETWORK_GET);
	struct store_network n = {0};

	bind_blob(st, 1, id, NETID_SIZE);
	int code = sqlite3_step(st), r = store_schema_errno(code);
	if (r == 0 && code != SQLITE_ROW)
		r = STORE_NOT_FOUND;
	if (r == 0 && (!column_text(st, 0, n.code, sizeof(n.code)) ||
	               !column_exact(st, 1, n.owner, SIG_KEY_SIZE)))
		r = -EUCLEAN;
	if (r == 0) {
		memcpy(n.id, id, NETID_SIZE);
		n.epoch = (uint64_t)sqlite3_column_int64(st, 2);
		n.active_unix_s = sqlite3_column_int64(st, 3);
		r = column_dup(st, 4, &n.document, &n.document_n);
	}
	done(st);
	if (r != 0)
		return r < 0 ? err_here(r) : r;
	*out = n;
	return STORE_OK;
}

static int read_id(sqlite3_stmt *st, uint8_t out_id[static NETID_SIZE])
{
	int code = sqlite3_step(st), r = store_schema_errno(code);

	if (r == 0 && code != SQLITE_ROW)
		r = STORE_NOT_FOUND;
	if (r == 0 && !column_exact(st, 0, out_id, NETID_SIZE))
		r = -EUCLEAN;
	done(st);
	return r < 0 ? err_here(r) : r;
}

int store_network_find(struct store *s, const char *code, uint8_t out_id[static NETID_SIZE])
{
	sqlite3_stmt *st = statement(s, ST_NETWORK_FIND);

	bind_text(st, 1, code);
	return read_id(st, out_id);
}

int store_network_set_document(struct store *s, const uint8_t id[static NETID_SIZE], uint64_t epoch,
                               const void *document, size_t n)
{
	sqlite3_stmt *st = statement(s, ST_NETWORK_SET_DOCUMENT);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_int(st, 2, (int64_t)epoch);
	bind_blob(st, 3, document, n);
	return run_plain(st);
}

int store_network_touch(struct store *s, const uint8_t id[static NETID_SIZE], int64_t unix_s)
{
	sqlite3_stmt *st = statement(s, ST_NETWORK_TOUCH);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_int(st, 2, unix_s);
	return run_plain(st);
}

int store_networks_touch(struct store *s, int64_t from_unix_s, int64_t to_unix_s, int64_t unix_s)
{
	sqlite3_stmt *st = statement(s, ST_NETWORKS_TOUCH);

	bind_int(st, 1, from_unix_s);
	bind_int(st, 2, to_unix_s);
	bind_int(st, 3, unix_s);
	return run_plain(st);
}

int store_network_remove(struct store *s, const uint8_t id[static NETID_SIZE])
{
	sqlite3_stmt *st = statement(s, ST_NETWORK_REMOVE);

	bind_blob(st, 1, id, NETID_SIZE);
	int r = run_one(s, st);
	return r < 0 ? err_up(r) : r;
}

int store_networks_owned(struct store *s, const uint8_t owner[static SIG_KEY_SIZE], uint64_t *out)
{
	sqlite3_stmt *st = statement(s, ST_NETWORKS_OWNED);

	bind_blob(st, 1, owner, SIG_KEY_SIZE);
	return run_number(st, out);
}

int store_network_idle(struct store *s, int64_t unix_s, uint8_t out_id[static NETID_SIZE])
{
	sqlite3_stmt *st = statement(s, ST_NETWORK_IDLE);

	bind_int(st, 1, unix_s);
	return read_id(st, out_id);
}

int store_counts(struct store *s, uint64_t *out_networks, uint64_t *out_members)
{
	sqlite3_stmt *st = statement(s, ST_COUNTS);
	int r = store_schema_errno(sqlite3_step(st));

	*out_networks = (uint64_t)sqlite3_column_int64(st, 0);
	*out_members = (uint64_t)sqlite3_column_int64(st, 1);
	done(st);
	return r < 0 ? err_here(r) : 0;
}

/* ---- members ---- */

void store_member_deinit(struct store_member *m)
{
	mem_free(m->admission);
	*m = (struct store_member){0};
}

void store_members_free(struct store_member *members, size_t n)
{
	for (size_t i = 0; members != NULL && i < n; i++)
		mem_free(members[i].admission);
	mem_free(members);
}

int store_member_add(struct store *s, const uint8_t id[static NETID_SIZE],
                     const struct store_member *m)
{
	sqlite3_stmt *st = statement(s, ST_MEMBER_ADD);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_blob(st, 2, m->key, SIG_KEY_SIZE);
	bind_int(st, 3, m->address);
	bind_text(st, 4, m->label);
	bind_blob(st, 5, m->admission, m->admission_n);
	int r = run(st);
	return r < 0 ? err_up(r) : r;
}

/* Reads the present row: key, address, label, admission. */
static int read_member(sqlite3_stmt *st, struct store_member *out)
{
	struct store_member m = {0};

	if (!column_exact(st, 0, m.key, SIG_KEY_SIZE) ||
	    !column_text(st, 2, m.label, sizeof(m.label)))
		return err_here(-EUCLEAN);
	m.address = (uint32_t)sqlite3_column_int64(st, 1);
	int r = column_dup(st, 3, &m.admission, &m.admission_n);
	if (r < 0)
		return err_up(r);
	*out = m;
	return 0;
}

int store_member_get(struct store *s, const uint8_t id[static NETID_SIZE],
                     const uint8_t key[static SIG_KEY_SIZE], struct store_member *out)
{
	sqlite3_stmt *st = statement(s, ST_MEMBER_GET);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_blob(st, 2, key, SIG_KEY_SIZE);
	int code = sqlite3_step(st), r = store_schema_errno(code);
	if (r == 0)
		r = code == SQLITE_ROW ? read_member(st, out) : STORE_NOT_FOUND;
	done(st);
	return r < 0 ? err_here(r) : r;
}

int store_member_set(struct store *s, const uint8_t id[static NETID_SIZE],
                     const struct store_member *m)
{
	sqlite3_stmt *st = statement(s, ST_MEMBER_SET);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_blob(st, 2, m->key, SIG_KEY_SIZE);
	bind_text(st, 3, m->label);
	bind_blob(st, 4, m->admission, m->admission_n);
	int r = run_one(s, st);
	return r < 0 ? err_up(r) : r;
}

int store_member_remove(struct store *s, const uint8_t id[static NETID_SIZE],
                        const uint8_t key[static SIG_KEY_SIZE])
{
	sqlite3_stmt *st = statement(s, ST_MEMBER_REMOVE);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_blob(st, 2, key, SIG_KEY_SIZE);
	int r = run_one(s, st);
	return r < 0 ? err_up(r) : r;
}

int store_members(struct store *s, const uint8_t id[static NETID_SIZE], struct store_member **out,
                  size_t *out_n)
{
	sqlite3_stmt *st = statement(s, ST_MEMBERS);
	uint64_t count = 0;
	int r = store_members_count(s, id, &count);

	if (r < 0)
		return err_up(r);
	size_t max = (size_t)GV_MIN(count, (uint64_t)MEMBERS_MAX), n = 0;
	struct store_member *members = mem_new_array(struct store_member, max);
	if (members == NULL)
		return err_here(-ENOMEM);
	bind_blob(st, 1, id, NETID_SIZE);
	bind_int(st, 2, (int64_t)max);
	int code = sqlite3_step(st);
	while (code == SQLITE_ROW && r == 0 && n < max) {
		r = read_member(st, &members[n]);
		if (r == 0) {
			n++;
			code = sqlite3_step(st);
		}
	}
	done(st);
	if (r == 0)
		r = store_schema_errno(code);
	if (r < 0) {
		store_members_free(members, n);
		return err_here(r);
	}
	*out = members;
	*out_n = n;
	return 0;
}

int store_members_count(struct store *s, const uint8_t id[static NETID_SIZE], uint64_t *out)
{
	sqlite3_stmt *st = statement(s, ST_MEMBERS_COUNT);

	bind_blob(st, 1, id, NETID_SIZE);
	return run_number(st, out);
}

int store_label_used(struct store *s, const uint8_t id[static NETID_SIZE], const char *label,
                     const uint8_t key[static SIG_KEY_SIZE], bool *out)
{
	sqlite3_stmt *st = statement(s, ST_LABEL_USED);
	uint64_t count = 0;

	bind_blob(st, 1, id, NETID_SIZE);
	bind_text(st, 2, label);
	bind_blob(st, 3, key, SIG_KEY_SIZE);
	int r = run_number(st, &count);
	*out = count > 0;
	return r < 0 ? err_up(r) : 0;
}

int store_networks_of(struct store *s, const uint8_t key[static SIG_KEY_SIZE], struct store_id *out,
                      size_t max, size_t *out_n)
{
	sqlite3_stmt *st = statement(s, ST_NETWORKS_OF);
	size_t n = 0;

	bind_blob(st, 1, key, SIG_KEY_SIZE);
	bind_int(st, 2, (int64_t)max);
	int code = sqlite3_step(st), r = 0;
	while (code == SQLITE_ROW && n < max && r == 0) {
		if (!column_exact(st, 0, out[n].b, NETID_SIZE))
			r = -EUCLEAN;
		n++;
		if (r == 0)
			code = sqlite3_step(st);
	}
	done(st);
	if (r == 0)
		r = store_schema_errno(code);
	*out_n = n;
	return r < 0 ? err_here(r) : 0;
}

/* ---- leases ---- */

int store_leases(struct store *s, const uint8_t id[static NETID_SIZE], struct ipam_lease **out,
                 size_t *out_n)
{
	sqlite3_stmt *st = statement(s, ST_LEASES_COUNT);
	uint64_t count = 0;

	bind_blob(st, 1, id, NETID_SIZE);
	int r = run_number(st, &count);
	if (r < 0)
		return err_up(r);
	size_t max = (size_t)count, n = 0;
	struct ipam_lease *leases = mem_new_array(struct ipam_lease, max);
	if (leases == NULL)
		return err_here(-ENOMEM);
	st = statement(s, ST_LEASES);
	bind_blob(st, 1, id, NETID_SIZE);
	bind_int(st, 2, (int64_t)max);
	int code = sqlite3_step(st);
	while (code == SQLITE_ROW && n < max && r == 0) {
		struct ipam_lease *l = &leases[n++];

		l->address = (uint32_t)sqlite3_column_int64(st, 0);
		l->released_unix_s = sqlite3_column_int64(st, 3);
		if (!column_exact(st, 1, l->key, SIG_KEY_SIZE) ||
		    !column_exact(st, 2, l->invite, SIG_KEY_SIZE))
			r = -EUCLEAN;
		else
			code = sqlite3_step(st);
	}
	done(st);
	if (r == 0)
		r = store_schema_errno(code);
	if (r < 0) {
		mem_free(leases);
		return err_here(r);
	}
	*out = leases;
	*out_n = n;
	return 0;
}

int store_lease_put(struct store *s, const uint8_t id[static NETID_SIZE],
                    const struct ipam_lease *l)
{
	sqlite3_stmt *st = statement(s, ST_LEASE_CLEAR);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_int(st, 2, l->address);
	bind_blob(st, 3, l->key, SIG_KEY_SIZE);
	int r = run_plain(st);
	if (r < 0)
		return err_up(r);
	st = statement(s, ST_LEASE_ADD);
	bind_blob(st, 1, id, NETID_SIZE);
	bind_int(st, 2, l->address);
	bind_blob(st, 3, l->key, SIG_KEY_SIZE);
	bind_blob(st, 4, l->invite, SIG_KEY_SIZE);
	bind_int(st, 5, l->released_unix_s);
	return run_plain(st);
}

int store_lease_release(struct store *s, const uint8_t id[static NETID_SIZE],
                        const uint8_t key[static SIG_KEY_SIZE], int64_t unix_s)
{
	sqlite3_stmt *st = statement(s, ST_LEASE_RELEASE);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_blob(st, 2, key, SIG_KEY_SIZE);
	bind_int(st, 3, unix_s);
	return run_plain(st);
}

/* ---- invites ---- */

int store_invite_uses(struct store *s, const uint8_t id[static NETID_SIZE],
                      const uint8_t invite[static SIG_KEY_SIZE], uint64_t *out)
{
	sqlite3_stmt *st = statement(s, ST_INVITE_USES);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_blob(st, 2, invite, SIG_KEY_SIZE);
	return run_number(st, out);
}

int store_invite_use(struct store *s, const uint8_t id[static NETID_SIZE],
                     const uint8_t invite[static SIG_KEY_SIZE])
{
	sqlite3_stmt *st = statement(s, ST_INVITE_USE);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_blob(st, 2, invite, SIG_KEY_SIZE);
	return run_plain(st);
}

int store_invites(struct store *s, const uint8_t id[static NETID_SIZE], struct store_key **out,
                  size_t *out_n)
{
	sqlite3_stmt *st = statement(s, ST_INVITES_COUNT);
	uint64_t count = 0;

	bind_blob(st, 1, id, NETID_SIZE);
	int r = run_number(st, &count);
	if (r < 0)
		return err_up(r);
	size_t max = (size_t)count, n = 0;
	struct store_key *keys = mem_new_array(struct store_key, max);
	if (keys == NULL)
		return err_here(-ENOMEM);
	st = statement(s, ST_INVITES);
	bind_blob(st, 1, id, NETID_SIZE);
	bind_int(st, 2, (int64_t)max);
	int code = sqlite3_step(st);
	while (code == SQLITE_ROW && n < max && r == 0) {
		if (!column_exact(st, 0, keys[n++].b, SIG_KEY_SIZE))
			r = -EUCLEAN;
		else
			code = sqlite3_step(st);
	}
	done(st);
	if (r == 0)
		r = store_schema_errno(code);
	if (r < 0) {
		mem_free(keys);
		return err_here(r);
	}
	*out = keys;
	*out_n = n;
	return 0;
}

int store_invite_forget(struct store *s, const uint8_t id[static NETID_SIZE],
                        const uint8_t invite[static SIG_KEY_SIZE])
{
	sqlite3_stmt *st = statement(s, ST_INVITE_FORGET);

	bind_blob(st, 1, id, NETID_SIZE);
	bind_blob(st, 2, invite, SIG_KEY_SIZE);
	return run_plain(st);
}

/* ---- failed joins ---- */

int store_failures_get(struct store *s, const void *scope, size_t scope_n,
                       struct store_failures *out)
{
	sqlite3_stmt *st = statement(s, ST_FAILURES_GET);

	*out = (struct store_failures){0};
	bind_blob(st, 1, scope, scope_n);
	int code = sqlite3_step(st), r = store_schema_errno(code);
	if (code == SQLITE_ROW) {
		out->window_unix_s = sqlite3_column_int64(st, 0);
		out->count = (uint32_t)sqlite3_column_int64(st, 1);
		out->streak = (uint32_t)sqlite3_column_int64(st, 2);
	}
	done(st);
	return r < 0 ? err_here(r) : 0;
}

int store_failures_set(struct store *s, const void *scope, size_t scope_n,
                       const struct store_failures *f)
{
	sqlite3_stmt *st = statement(s, ST_FAILURES_SET);

	bind_blob(st, 1, scope, scope_n);
	bind_int(st, 2, f->window_unix_s);
	bind_int(st, 3, f->count);
	bind_int(st, 4, f->streak);
	return run_plain(st);
}

int store_failures_clear(struct store *s, const void *scope, size_t scope_n)
{
	sqlite3_stmt *st = statement(s, ST_FAILURES_CLEAR);

	bind_blob(st, 1, scope, scope_n);
	return run_plain(st);
}

int store_failures_purge(struct store *s, int64_t unix_s)
{
	sqlite3_stmt *st = statement(s, ST_FAILURES_PURGE);

	bind_int(st, 1, unix_s);
	return run_plain(st);
}

int store_failures_count(struct store *s, uint64_t *out)
{
	return run_number(statement(s, ST_FAILURES_COUNT), out);
}
