/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_WORKER_H
#define GV_IO_WORKER_H

/*
 * worker - a long computation on a thread beside the loop.
 *
 * Thread:    start and cancel on the loop's thread; `work` runs on another one, `done` on the
 *            loop's again.
 * Memory:    one block per job, freed after `done`.
 */

#include "base/macro.h"

struct loop;

/* Runs on another thread; may touch only what user points to, which nobody else uses until done. */
typedef void (*worker_work_fn)(void *user);
/* Called once, never from inside worker_start(). */
typedef void (*worker_done_fn)(void *user);

/* Returns 0; -ENOMEM; -errno. The job cannot be cancelled: user must live until done. */
int worker_start(struct loop *loop, worker_work_fn work, worker_done_fn done, void *user)
	gv_must_check gv_nonnull(1, 2, 3);

#endif /* GV_IO_WORKER_H */
