/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_MQ_H
#define GV_BASE_MQ_H

/*
 * mq - messages between threads. A message changes its owner when it is pushed.
 *
 * Several lanes share one queue and its order; each lane has its own limit, so that a flood of one kind
 * (STUN from strangers) cannot push out another (commands).
 *
 * Thread:  push from any thread, pop from one. The mutex guards the list and the counts.
 * Wake-up: mq_fd() is an eventfd that becomes readable when a message waits, and stays so until mq_pop_all() found nothing: a
 *          reader may turn to other things before it is through.
 */

#include "base/macro.h"

#include <stddef.h>
#include <stdint.h>

struct mq; /* opaque */

#define MQ_LANES 4

/* Head of every message; the message is one block of mem_*(). */
struct mq_msg {
	struct mq_msg *next; /* of the queue while in it, of the popped list afterwards */
	uint32_t type;       /* meaning is the users' */
	uint8_t lane;        /* set by mq_push */
};

/* Makes a queue; limits[i] is the largest number of waiting messages of lane i. Returns 0, -ENOMEM, -errno. */
int mq_new(struct mq **out, const uint32_t limits[static MQ_LANES]) gv_must_check gv_nonnull(1, 2);

/* Frees the queue and, by mem_free(), what waits in it. NULL is allowed. No other thread may use it any more. */
void mq_free(struct mq *q);

/*
 * Appends m. Returns 0 (m is moved) or -ENOBUFS when the lane is full (m stays the caller's). Never blocks for
 * longer than the list operation.
 */
int mq_push(struct mq *q, unsigned lane, struct mq_msg *m) gv_must_check gv_nonnull(1, 3);

/* Takes everything, oldest first, linked by `next`; NULL when nothing waits. The caller owns the messages. */
struct mq_msg *mq_pop_all(struct mq *q) gv_nonnull(1);

/* Readable while messages wait, until mq_pop_all() has returned NULL. Owned by the queue. */
int mq_fd(const struct mq *q) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct mq *, mq_free)

#endif /* GV_BASE_MQ_H */
