/* SPDX-License-Identifier: MIT */

#include "faulty_disk.h"

#include "base/macro.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX   16
#define PATH_MAX_   256
#define SECTOR      512
#define SHM_REGIONS 64
/* WAL_WRITE_LOCK of SQLite: whoever holds it is the one writer. */
#define SHM_WRITER 0

struct bytes {
	uint8_t *p;
	size_t n;
};

/* One write (n bytes at `at`) or, without data, a truncation to `at`. */
struct change {
	size_t at, n;
	uint8_t *data;
};

struct inode {
	unsigned refs;
	struct bytes now, synced;
	struct change *changes; /* that lead from synced to now */
	size_t n_changes;
	unsigned locks; /* handles that hold any */
	void *shm[SHM_REGIONS];
	unsigned shm_users;
};

struct name {
	char path[PATH_MAX_];
	struct inode *now, *synced; /* NULL: not there */
};

struct file {
	sqlite3_file base; /* first: SQLite knows only this */
	struct inode *inode;
	bool syncs_folder; /* with its next sync */
	bool has_lock, has_shm;
};

static struct {
	struct name names[NAMES_MAX];
	size_t n_names;
	uint64_t changes;
	enum faulty_disk_fault fault;
	uint64_t from, until; /* changes between which the fault is on; until 0: for ever */
	bool has_failed, is_locked, is_moved;
	uint64_t slept_us;
	sqlite3_vfs vfs;
} disk;

/* ---- bytes and inodes ---- */

static void *must(void *p)
{
	assert(p != NULL);
	return p;
}

static void resize(struct bytes *b, size_t n, uint8_t fill)
{
	if (n > b->n) {
		b->p = must(realloc(b->p, n));
		memset(b->p + b->n, fill, n - b->n);
	}
	b->n = n;
}

static void put(struct bytes *b, size_t at, const uint8_t *data, size_t n, uint8_t fill)
{
	if (at + n > b->n)
		resize(b, at + n, fill);
	memcpy(b->p + at, data, n);
}

static struct inode *inode_new(void)
{
	struct inode *i = must(calloc(1, sizeof(*i)));

	i->refs = 1;
	return i;
}

static struct inode *inode_ref(struct inode *i)
{
	if (i != NULL)
		i->refs++;
	return i;
}

static void forget_changes(struct inode *i)
{
	for (size_t k = 0; k < i->n_changes; k++)
		free(i->changes[k].data);
	free(i->changes);
	i->changes = NULL;
	i->n_changes = 0;
}

static void inode_unref(struct inode *i)
{
	if (i == NULL || --i->refs > 0)
		return;
	forget_changes(i);
	free(i->now.p);
	free(i->synced.p);
	free(i);
}

static void remember(struct inode *i, size_t at, const uint8_t *data, size_t n)
{
	struct change c = {.at = at, .n = n};

	if (data != NULL) {
		c.data = must(malloc(n));
		memcpy(c.data, data, n);
	}
	i->changes = must(realloc(i->changes, (i->n_changes + 1) * sizeof(c)));
	i->changes[i->n_changes++] = c;
}

static void inode_sync(struct inode *i)
{
	for (size_t k = 0; k < i->n_changes; k++) {
		const struct change *c = &i->changes[k];

		if (c->data != NULL)
			put(&i->synced, c->at, c->data, c->n, 0);
		else
			resize(&i->synced, c->at, 0);
	}
	forget_changes(i);
}

/* ---- names ---- */

static struct name *find(const char *path)
{
	for (size_t i = 0; i < disk.n_names; i++) {
		if (strcmp(disk.names[i].path, path) == 0)
			return &disk.names[i];
	}
	return NULL;
}

static struct name *find_or_add(const char *path)
{
	struct name *name = find(path);

	if (name != NULL)
		return name;
	assert(disk.n_names < NAMES_MAX && strlen(path) < PATH_MAX_);
	name = &disk.names[disk.n_names++];
	*name = (struct name){0};
	(void)snprintf(name->path, sizeof(name->path), "%s", path); /* asserted to fit */
	return name;
}

static void bind_name(struct inode **slot, struct inode *to)
{
	struct inode *old = *slot;

	*slot = inode_ref(to);
	inode_unref(old);
}

static void sync_folder(void)
{
	for (size_t i = 0; i < disk.n_names; i++)
		bind_name(&disk.names[i].synced, disk.names[i].now);
}

/* ---- faults ---- */

/* The fault that is on now. */
static enum faulty_disk_fault fault_now(void)
{
	if (disk.fault == FAULTY_DISK_NONE || disk.changes < disk.from ||
	    (disk.until != 0 && disk.changes >= disk.until))
		return FAULTY_DISK_NONE;
	disk.has_failed = true;
	return disk.fault;
}

static bool is_dead(void)
{
	return fault_now() == FAULTY_DISK_STOP;
}

/* Counts a change; the fault that it meets. */
static enum faulty_disk_fault change(void)
{
	enum faulty_disk_fault fault = fault_now();

	disk.changes++;
	return fault;
}

static int write_error(enum faulty_disk_fault fault)
{
	return fault == FAULTY_DISK_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

/* ---- files ---- */

static int file_unlock(sqlite3_file *base, int level);

static int file_close(sqlite3_file *base)
{
	struct file *f = (struct file *)base;

	(void)file_unlock(base, SQLITE_LOCK_NONE); /* cannot fail */
	inode_unref(f->inode);
	f->inode = NULL;
	return SQLITE_OK;
}

static int file_read(sqlite3_file *base, void *out, int n, sqlite3_int64 at)
{
	struct file *f = (struct file *)base;
	const struct bytes *b = &f->inode->now;
	size_t have = (size_t)at < b->n ? GV_MIN(b->n - (size_t)at, (size_t)n) : 0;

	if (is_dead())
		return SQLITE_IOERR_READ;
	memset(out, 0, (size_t)n);
	if (have > 0)
		memcpy(out, b->p + at, have);
	return have == (size_t)n ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *data, int n, sqlite3_int64 at)
{
	struct file *f = (struct file *)base;
	bool was_dead = is_dead();
	enum faulty_disk_fault fault = change();
	/* A write that fails may have begun; one of the dead has not. */
	size_t wrote = fault == FAULTY_DISK_NONE ? (size_t)n : was_dead ? 0 : (size_t)n / 2;

	if (wrote > 0) {
		remember(f->inode, (size_t)at, data, wrote);
		put(&f->inode->now, (size_t)at, data, wrote, 0);
	}
	return fault == FAULTY_DISK_NONE ? SQLITE_OK : write_error(fault);
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
	struct file *f = (struct file *)base;
	enum faulty_disk_fault fault = change();

	if (fault == FAULTY_DISK_STOP || fault == FAULTY_DISK_EIO)
		return SQLITE_IOERR_TRUNCATE;
	remember(f->inode, (size_t)size, NULL, 0);
	resize(&f->inode->now, (size_t)size, 0);
	return SQLITE_OK;
}

static int file_sync(sqlite3_file *base, int flags)
{
	struct file *f = (struct file *)base;
	enum faulty_disk_fault fault = change();

	(void)flags;
	if (fault == FAULTY_DISK_STOP || fault == FAULTY_DISK_EIO)
		return SQLITE_IOERR_FSYNC;
	inode_sync(f->inode);
	if (f->syncs_folder)
		sync_folder();
	f->syncs_folder = false;
	return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *out)
{
	*out = (sqlite3_int64)((struct file *)base)->inode->now.n;
	return is_dead() ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

static int file_lock(sqlite3_file *base, int level)
{
	struct file *f = (struct file *)base;

	if (is_dead())
		return SQLITE_IOERR_LOCK;
	if (disk.is_locked && level >= SQLITE_LOCK_RESERVED)
		return SQLITE_BUSY;
	if (level == SQLITE_LOCK_EXCLUSIVE && f->inode->locks > (f->has_lock ? 1 : 0))
		return SQLITE_BUSY;
	f->inode->locks += !f->has_lock;
	f->has_lock = true;
	return SQLITE_OK;
}

static int file_unlock(sqlite3_file *base, int level)
{
	struct file *f = (struct file *)base;

	if (level != SQLITE_LOCK_NONE || !f->has_lock)
		return SQLITE_OK;
	f->inode->locks--;
	f->has_lock = false;
	return SQLITE_OK;
}

static int file_check_reserved_lock(sqlite3_file *base, int *out)
{
	(void)base;
	*out = disk.is_locked;
	return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
	(void)base;
	if (op != SQLITE_FCNTL_HAS_MOVED)
		return SQLITE_NOTFOUND;
	*(int *)arg = disk.is_moved;
	return SQLITE_OK;
}

static int file_sector_size(sqlite3_file *base)
{
	(void)base;
	return 4096; /* what SQLite takes for a disk on Linux */
}

static int file_characteristics(sqlite3_file *base)
{
	(void)base;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int file_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **out)
{
	struct file *f = (struct file *)base;
	struct inode *i = f->inode;

	if (is_dead())
		return SQLITE_IOERR_SHMMAP;
	assert(region < SHM_REGIONS);
	i->shm_users += !f->has_shm;
	f->has_shm = true;
	if (i->shm[region] == NULL && extend)
		i->shm[region] = must(calloc(1, (size_t)size));
	*out = i->shm[region];
	return SQLITE_OK;
}

static int file_shm_lock(sqlite3_file *base, int offset, int n, int flags)
{
	(void)base;
	(void)n;
	if (is_dead())
		return SQLITE_IOERR_SHMLOCK;
	if (disk.is_locked && offset == SHM_WRITER && (flags & SQLITE_SHM_LOCK) != 0 &&
	    (flags & SQLITE_SHM_EXCLUSIVE) != 0)
		return SQLITE_BUSY;
	return SQLITE_OK;
}

static void file_shm_barrier(sqlite3_file *base)
{
	(void)base;
}

static int file_shm_unmap(sqlite3_file *base, int remove)
{
	struct file *f = (struct file *)base;
	struct inode *i = f->inode;

	(void)remove;
	if (!f->has_shm)
		return SQLITE_OK;
	f->has_shm = false;
	if (--i->shm_users > 0)
		return SQLITE_OK;
	for (size_t k = 0; k < SHM_REGIONS; k++) {
		free(i->shm[k]);
		i->shm[k] = NULL;
	}
	return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_unlock,
	.xCheckReservedLock = file_check_reserved_lock,
	.xFileControl = file_control,
	.xSectorSize = file_sector_size,
	.xDeviceCharacteristics = file_characteristics,
	.xShmMap = file_shm_map,
	.xShmLock = file_shm_lock,
	.xShmBarrier = file_shm_barrier,
	.xShmUnmap = file_shm_unmap,
};

/* ---- VFS ---- */

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename path, sqlite3_file *base, int flags,
                    int *out_flags)
{
	struct file *f = (struct file *)base;
	int kinds = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL | SQLITE_OPEN_SUPER_JOURNAL;

	(void)vfs;
	*f = (struct file){0};
	if (is_dead())
		return SQLITE_CANTOPEN;
	if (path == NULL) { /* temporary, without a name */
		f->inode = inode_new();
	} else {
		struct name *name = find_or_add(path);

		if (name->now == NULL) {
			if ((flags & SQLITE_OPEN_CREATE) == 0)
				return SQLITE_CANTOPEN;
			if (change() != FAULTY_DISK_NONE)
				return SQLITE_CANTOPEN;
			name->now = inode_new();
		}
		f->inode = inode_ref(name->now);
		f->syncs_folder = (flags & SQLITE_OPEN_CREATE) != 0 && (flags & kinds) != 0;
	}
	f->base.pMethods = &methods;
	if (out_flags != NULL)
		*out_flags = flags;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int syncs_folder)
{
	struct name *name = find(path);

	(void)vfs;
	if (name == NULL || name->now == NULL)
		return SQLITE_IOERR_DELETE_NOENT;
	enum faulty_disk_fault fault = change();
	if (fault == FAULTY_DISK_STOP || fault == FAULTY_DISK_EIO)
		return SQLITE_IOERR_DELETE;
	bind_name(&name->now, NULL);
	if (syncs_folder)
		sync_folder();
	return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
	const struct name *name = find(path);

	(void)vfs;
	*out = name != NULL && name->now != NULL;
	if (*out && flags == SQLITE_ACCESS_EXISTS)
		*out = name->now->now.n > 0; /* as SQLite's own: an empty journal is none */
	return is_dead() ? SQLITE_IOERR_ACCESS : SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int size, char *out)
{
	(void)vfs;
	return snprintf(out, (size_t)size, "%s", path) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *out)
{
	static struct rng rng = {.state = 1, .seeded = 1};

	(void)vfs;
	rng_bytes(&rng, out, (size_t)n);
	return n;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	disk.slept_us += (uint64_t)us;
	return us;
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
	(void)vfs;
	*out = 2460000.5; /* any day */
	return SQLITE_OK;
}

void faulty_disk_install(void)
{
	disk.vfs = (sqlite3_vfs){
		.iVersion = 1,
		.szOsFile = sizeof(struct file),
		.mxPathname = PATH_MAX_ - 16, /* room for "-journal" */
		.zName = "faulty_disk",
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_full_path,
		.xRandomness = vfs_randomness,
		.xSleep = vfs_sleep,
		.xCurrentTime = vfs_time,
	};
	int r = sqlite3_vfs_register(&disk.vfs, 1);
	assert(r == SQLITE_OK);
}

void faulty_disk_uninstall(void)
{
	faulty_disk_format();
	int r = sqlite3_vfs_unregister(&disk.vfs);
	assert(r == SQLITE_OK);
}

/* ---- the test's side ---- */

void faulty_disk_format(void)
{
	for (size_t i = 0; i < disk.n_names; i++) {
		bind_name(&disk.names[i].now, NULL);
		bind_name(&disk.names[i].synced, NULL);
	}
	disk.n_names = 0;
	disk.changes = 0;
	disk.slept_us = 0;
	disk.is_locked = disk.is_moved = false;
	faulty_disk_fail(FAULTY_DISK_NONE, 0, 0);
}

uint64_t faulty_disk_changes(void)
{
	return disk.changes;
}

void faulty_disk_fail(enum faulty_disk_fault fault, uint64_t changes, uint64_t lasts)
{
	disk.fault = fault;
	disk.from = disk.changes + changes;
	disk.until = lasts != 0 ? disk.from + lasts : 0;
	disk.has_failed = false;
}

bool faulty_disk_has_failed(void)
{
	return disk.has_failed;
}

void faulty_disk_lock(bool is_locked)
{
	disk.is_locked = is_locked;
}

void faulty_disk_move(bool is_moved)
{
	disk.is_moved = is_moved;
}

uint64_t faulty_disk_slept_us(void)
{
	return disk.slept_us;
}

/* The sectors of one write, each with a chance of `percent`. */
static void put_sectors(struct bytes *b, const struct change *c, uint32_t percent, uint8_t fill,
                        struct rng *rng)
{
	for (size_t at = c->at; at < c->at + c->n;) {
		size_t end = GV_MIN((at / SECTOR + 1) * SECTOR, c->at + c->n);

		if (rng_below(rng, 100) < percent)
			put(b, at, c->data + (at - c->at), end - at, fill);
		at = end;
	}
}

/* What is on the platter after the power went: any part of what was not synced. */
static void lose(struct inode *i, struct rng *rng)
{
	static const uint8_t percents[] = {0, 20, 50, 80, 100};
	uint32_t percent = percents[rng_below(rng, GV_ARRAY_SIZE(percents))];
	uint8_t fill = rng_below(rng, 2) == 0 ? 0 : (uint8_t)rng_u32(rng);
	/* Sometimes the order was kept and only the end is missing. */
	size_t n =
		rng_below(rng, 2) == 0 ? i->n_changes : rng_below(rng, (uint32_t)i->n_changes + 1);

	if (n < i->n_changes)
		percent = 100;
	for (size_t k = 0; k < n; k++) {
		const struct change *c = &i->changes[k];

		if (c->data != NULL)
			put_sectors(&i->synced, c, percent, fill, rng);
		else if (rng_below(rng, 100) < percent)
			resize(&i->synced, c->at, fill);
	}
	forget_changes(i);
}

static void crash_power(struct rng *rng)
{
	for (size_t i = 0; i < disk.n_names; i++) {
		struct name *name = &disk.names[i];

		if (name->now != name->synced && rng_below(rng, 2) == 0)
			bind_name(&name->synced, name->now);
		bind_name(&name->now, name->synced);
	}
	for (size_t i = 0; i < disk.n_names; i++) {
		struct inode *inode = disk.names[i].now;

		if (inode == NULL)
			continue;
		lose(inode, rng);
		inode->now.n = 0;
		if (inode->synced.n > 0)
			put(&inode->now, 0, inode->synced.p, inode->synced.n, 0);
	}
}

void faulty_disk_crash(enum faulty_disk_crash how, struct rng *rng)
{
	if (how == FAULTY_DISK_POWER)
		crash_power(rng);
	disk.is_locked = false;
	faulty_disk_fail(FAULTY_DISK_NONE, 0, 0);
}
