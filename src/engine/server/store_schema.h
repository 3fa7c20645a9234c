/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_SERVER_STORE_SCHEMA_H
#define GV_ENGINE_SERVER_STORE_SCHEMA_H

/*
 * store_schema - makes a database file ours: its tables, or the proof that it has them undamaged, and how it is written.
 *
 * Thread:    that of the connection.   Memory: none.
 * Blocking:  yes; a damaged or large database is read whole.
 */

#include "base/macro.h"

struct diag;
struct sqlite3;

/* -errno of a result of SQLite; 0 for those that are no failure. */
int store_schema_errno(int sqlite_code) gv_must_check;

/*
 * Makes the tables in an empty database, checks others. Returns STORE_OK, STORE_NEWER, STORE_CORRUPT, STORE_FOREIGN (diag has a
 * sentence); -EROFS; -EBUSY: another program writes; -errno.
 */
int store_schema_open(struct sqlite3 *db, struct diag *diag) gv_must_check gv_nonnull(1);

#endif /* GV_ENGINE_SERVER_STORE_SCHEMA_H */
