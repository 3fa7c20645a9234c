/* SPDX-License-Identifier: MIT */

#include "engine/server/store_schema.h"

#include "base/diag.h"
#include "base/err.h"
#include "engine/server/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

/* "gVPN": tells our database from another program's. */
#define APPLICATION_ID 0x6756504e
#define SCHEMA_VERSION 1

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

static const char schema_1[] =
	"CREATE TABLE network ("
	" id BLOB PRIMARY KEY, code TEXT NOT NULL UNIQUE, owner BLOB NOT NULL,"
	" epoch INTEGER NOT NULL, active_unix_s INTEGER NOT NULL, document BLOB NOT NULL"
	") STRICT;"
	"CREATE INDEX network_owner ON network (owner);"
	"CREATE INDEX network_active ON network (active_unix_s);"
	"CREATE TABLE member ("
	" network BLOB NOT NULL REFERENCES network (id) ON DELETE CASCADE,"
	" key BLOB NOT NULL, address INTEGER NOT NULL, label TEXT NOT NULL,"
	" admission BLOB NOT NULL,"
	" PRIMARY KEY (network, key), UNIQUE (network, address), UNIQUE (network, label)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX member_key ON member (key);"
	"CREATE TABLE lease ("
	" network BLOB NOT NULL REFERENCES network (id) ON DELETE CASCADE,"
	" address INTEGER NOT NULL, key BLOB NOT NULL, invite BLOB NOT NULL,"
	" released_unix_s INTEGER NOT NULL,"
	" PRIMARY KEY (network, address), UNIQUE (network, key)"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE invite_use ("
	" network BLOB NOT NULL REFERENCES network (id) ON DELETE CASCADE,"
	" invite BLOB NOT NULL, uses INTEGER NOT NULL,"
	" PRIMARY KEY (network, invite)"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE failure ("
	" scope BLOB PRIMARY KEY, window_unix_s INTEGER NOT NULL,"
	" count INTEGER NOT NULL, streak INTEGER NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"PRAGMA user_version = " TEXT(SCHEMA_VERSION) ";";

int store_schema_errno(int sqlite_code)
{
	switch (sqlite_code & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_PERM:
	case SQLITE_CANTOPEN:
		return -EACCES;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	default:
		return -EIO;
	}
}

static int exec(sqlite3 *db, const char *sql)
{
	int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
	int r = store_schema_errno(code);

	return code != SQLITE_OK ? err_here(r < 0 ? r : -EIO) : 0;
}

/* The first value of the first row as a number. */
static int pragma_number(sqlite3 *db, const char *sql, int64_t *out)
{
	sqlite3_stmt *st = NULL;
	int code = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

	if (code == SQLITE_OK) {
		code = sqlite3_step(st);
		*out = code == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
	}
	(void)sqlite3_finalize(st); /* repeats the error above */
	int r = store_schema_errno(code);
	return r < 0 ? err_here(r) : 0;
}

static int quick_check(sqlite3 *db, struct diag *diag)
{
	sqlite3_stmt *st = NULL;
	int code = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &st, NULL);
	bool good = false;

	if (code == SQLITE_OK) {
		code = sqlite3_step(st);
		const unsigned char *text = code == SQLITE_ROW ? sqlite3_column_text(st, 0) : NULL;
		good = text != NULL && strcmp((const char *)text, "ok") == 0;
	}
	(void)sqlite3_finalize(st); /* repeats the error above */
	int r = store_schema_errno(code);
	if (r < 0 && r != -EUCLEAN)
		return err_here(r);
	if (good)
		return STORE_OK;
	diag_set(diag, "the database is damaged; restore a backup or move the file away");
	return STORE_CORRUPT;
}

static int check_schema(sqlite3 *db, struct diag *diag)
{
	int64_t app = 0, version = 0, tables = 0;
	int r = pragma_number(db, "PRAGMA application_id", &app);

	if (r == 0)
		r = pragma_number(db, "PRAGMA user_version", &version);
	if (r == 0)
		r = pragma_number(db, "SELECT count(*) FROM sqlite_schema", &tables);
	if (r == -EUCLEAN) {
		diag_set(diag, "the file is not a database, or it is damaged");
		return STORE_CORRUPT;
	}
	if (r < 0)
		return err_up(r);
	if (tables == 0 && version == 0) {
		r = exec(db, "BEGIN IMMEDIATE; PRAGMA application_id = " TEXT(APPLICATION_ID));
		if (r == 0)
			r = exec(db, schema_1);
		if (r == 0)
			r = exec(db, "COMMIT");
		return r < 0 ? err_up(r) : STORE_OK;
	}
	if (app != APPLICATION_ID) {
		diag_set(diag, "the file is a database of another program");
		return STORE_FOREIGN;
	}
	if (version > SCHEMA_VERSION) {
		diag_set(diag,
		         "the database has schema version %lld, this program knows only %d:"
		         " start the newer govpn-server",
		         (long long)version, SCHEMA_VERSION);
		return STORE_NEWER;
	}
	if (version < 1) {
		diag_set(diag, "the database has no schema version");
		return STORE_CORRUPT;
	}
	return quick_check(db, diag);
}

/*
 * What a killed server wrote last may not be on the disk yet, though it is read now, and a repeated request is answered from it
 * without a write: a checkpoint puts it there. It syncs before it needs room, so a full disk does not matter here.
 */
static int settle(sqlite3 *db)
{
	int code = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

	return code == SQLITE_OK || code == SQLITE_FULL ? 0 : err_here(store_schema_errno(code));
}

int store_schema_open(sqlite3 *db, struct diag *diag)
{
	int r = sqlite3_db_readonly(db, "main") == 1 ? err_here(-EROFS) : 0;

	if (r == 0)
		r = check_schema(db, diag);
	if (r == 0)
		r = exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		             "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;");
	if (r == 0)
		r = settle(db);
	return r < 0 ? err_up(r) : r;
}
