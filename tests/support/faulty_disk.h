/* SPDX-License-Identifier: MIT */
#ifndef GV_SUPPORT_FAULTY_DISK_H
#define GV_SUPPORT_FAULTY_DISK_H

/*
 * faulty_disk - a disk in memory for SQLite that can be stopped, filled, locked and that loses what was not synced.
 *
 * Does:      is SQLite's default VFS between _install() and _uninstall(). Remembers for every file what is on the platter and
 *            what was only written since, also names that were made or removed without a sync of their folder.
 * Does not:  serve several processes. A second connection may read and be closed while the first is idle.
 * Power:     after a loss of power each sector of 512 bytes that was not synced is old or new, independently of the order of
 *            the writes; space behind the old end may hold anything; a name that was not synced is there or not.
 * Thread:    one.   Memory: grows with the files; released by _uninstall().
 */

#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void faulty_disk_install(void);
void faulty_disk_uninstall(void);

/* An empty disk without faults. No file may be open. */
void faulty_disk_format(void);

/* Changes since the format: writes, truncations, syncs, new and removed files. */
uint64_t faulty_disk_changes(void);

enum faulty_disk_fault {
	FAULTY_DISK_NONE,
	FAULTY_DISK_STOP, /* the process is as good as dead: nothing works any more */
	FAULTY_DISK_FULL, /* writes find no room; syncs and reads work */
	FAULTY_DISK_EIO,  /* writes and syncs fail; reads work */
};

/* The fault begins when `changes` more changes have been made and lasts for `lasts` changes (0: until it is taken back). */
void faulty_disk_fail(enum faulty_disk_fault fault, uint64_t changes, uint64_t lasts);
/* Whether the fault has begun. */
bool faulty_disk_has_failed(void);

/* Another process writes to the database and does not end. */
void faulty_disk_lock(bool is_locked);
/* Somebody removed or replaced the database file. */
void faulty_disk_move(bool is_moved);
/* How long SQLite has slept, in virtual time. */
uint64_t faulty_disk_slept_us(void);

enum faulty_disk_crash {
	FAULTY_DISK_PROCESS, /* kill -9: all that was written is there */
	FAULTY_DISK_POWER,
};

/* All files must be closed. Takes faults back. */
void faulty_disk_crash(enum faulty_disk_crash how, struct rng *rng);

#endif /* GV_SUPPORT_FAULTY_DISK_H */
