/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_LOOP_H
#define GV_IO_LOOP_H

/*
 * loop - the event loop of a control thread: timers, watched descriptors, signals.
 *
 * A thin face over libuv, so that engine code never sees it. The other modules of io/ reach the loop below by
 * loop_uv().
 *
 * Does not:  read a clock for the caller; delays are relative, in microseconds, rounded up to milliseconds.
 * Thread:    everything belongs to the thread that runs the loop; only loop_wake() may be called from others.
 * Memory:    one allocation for each object. x_close() ends an object: no callback after it, the pointer is dead,
 *            the memory is freed by the loop when the system lets go of it. NULL is allowed in every x_close().
 * Callbacks: never from inside the function that started something; closing any object inside one is allowed.
 */

#include "base/macro.h"

#include <stdint.h>

struct loop;        /* opaque */
struct loop_timer;  /* opaque */
struct loop_fd;     /* opaque */
struct loop_signal; /* opaque */
struct loop_wake;   /* opaque */

/* Makes a loop. Returns 0; -ENOMEM; -errno. */
int loop_new(struct loop **out) gv_must_check gv_nonnull(1);

/* Runs until loop_stop(), or until nothing is left to wait for. Returns 0; -errno. */
int loop_run(struct loop *l) gv_must_check gv_nonnull(1);

/* Handles what is ready now and returns without waiting: for tests and for a last flush. Returns 0; -errno. */
int loop_run_once(struct loop *l) gv_must_check gv_nonnull(1);

/* Lets loop_run() return after the present callback. */
void loop_stop(struct loop *l) gv_nonnull(1);

/* Finishes pending closes and frees. Everything opened on the loop must have been closed. NULL is allowed. */
void loop_free(struct loop *l);

/* The uv_loop_t, for modules of io/ only. Borrowed. */
void *loop_uv(struct loop *l) gv_nonnull(1);

typedef void (*loop_timer_fn)(void *user);

/* A stopped timer. Returns 0; -ENOMEM; -errno. */
int loop_timer_new(struct loop_timer **out, struct loop *l, loop_timer_fn fn, void *user)
	gv_must_check gv_nonnull(1, 2, 3);

/*
 * Fires once after delay_us (0: as soon as possible, UINT64_MAX: never, that is a stop). Starting again replaces what
 * was running.
 */
void loop_timer_start(struct loop_timer *t, uint64_t delay_us) gv_nonnull(1);

/* Fires after period_us (> 0) and again each period_us. */
void loop_timer_start_periodic(struct loop_timer *t, uint64_t period_us) gv_nonnull(1);

void loop_timer_stop(struct loop_timer *t) gv_nonnull(1);
void loop_timer_close(struct loop_timer *t);

enum loop_event {
	LOOP_READABLE = 1 << 0,
	LOOP_WRITABLE = 1 << 1,
};

/* `events` is a set of enum loop_event. An error on the descriptor is told as everything that was asked for. */
typedef void (*loop_fd_fn)(void *user, unsigned events);

/*
 * Watches `fd` (socket, eventfd, netlink; level-triggered; borrowed: close it after loop_fd_close()). Nothing is
 * reported before loop_fd_start(). Returns 0; -ENOMEM; -errno.
 */
int loop_fd_new(struct loop_fd **out, struct loop *l, int fd, loop_fd_fn fn, void *user)
	gv_must_check gv_nonnull(1, 2, 4);

/* Reports `events` (a set, 0 stops) from now on. Returns 0; -errno. */
int loop_fd_start(struct loop_fd *w, unsigned events) gv_must_check gv_nonnull(1);
void loop_fd_close(struct loop_fd *w);

typedef void (*loop_signal_fn)(void *user, int signum);

/* Calls fn for each `signum` (SIGTERM, SIGINT, SIGHUP, ...). Returns 0; -ENOMEM; -errno. */
int loop_signal_open(struct loop_signal **out, struct loop *l, int signum, loop_signal_fn fn,
                     void *user) gv_must_check gv_nonnull(1, 2, 4);
void loop_signal_close(struct loop_signal *s);

typedef void (*loop_wake_fn)(void *user);

/* A doorbell that other threads may ring; several rings before the call become one. Returns 0; -ENOMEM; -errno. */
int loop_wake_open(struct loop_wake **out, struct loop *l, loop_wake_fn fn, void *user)
	gv_must_check gv_nonnull(1, 2, 3);
/* Thread: any. */
void loop_wake(struct loop_wake *w) gv_nonnull(1);
void loop_wake_close(struct loop_wake *w);

GV_DEFINE_CLEANUP(struct loop *, loop_free)

#endif /* GV_IO_LOOP_H */
