/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_IP_FQ_H
#define GV_PROTO_IP_FQ_H

/*
 * fq - a short queue of IP packets that is fair between owners, and between the flows of each: FlowQueue-CoDel (RFC 8290) over
 * CoDel (RFC 8289), with turns of a size that depends on how many flows their owner has.
 *
 * Does:      keeps packets per flow, gives them out in turns of equal bytes for each owner, flows that were empty first; drops,
 *            or marks those that can be marked (ECN, RFC 3168), from flows whose packets wait too long; when it is full,
 *            drops from the largest.
 * Does not:  know links or sockets: each packet carries a tag, the number of its owner. A flow is its first packet's owner's.
 * Order:     within a flow packets stay in order.
 * Thread:    one owner.
 * Memory:    one block made by fq_new(), touched only as far as it is filled; nothing per packet.
 * Time:      now_us is monotonic.
 */

#include "base/macro.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fq; /* opaque */

struct fq_config {
	uint32_t packets;    /* at most so many wait; 1 .. 65536 */
	uint16_t slot_bytes; /* the largest packet */
	uint32_t seed;       /* of the hash: others cannot choose flows that collide */
};

struct fq_packet {
	uint8_t *data;
	uint16_t len;
	uint32_t tag;
};

/* Makes an empty queue. *out is owned by the caller. Returns 0, -EINVAL, -ENOMEM. */
int fq_new(struct fq **out, const struct fq_config *c) gv_must_check gv_nonnull(1, 2);
/* NULL is allowed. */
void fq_free(struct fq *q);

/*
 * Adds copies of n valid IP packets of at most slot_bytes. lost (room for n) gets the tags of packets that had to go.
 * Returns how many those were.
 */
size_t fq_push(struct fq *q, const struct fq_packet *in, size_t n, uint64_t now_us, uint32_t *lost)
	gv_must_check gv_nonnull(1, 2, 5);

/*
 * Takes up to max packets. Their bytes are valid until the next fq_push(). lost (room for FQ_LOST_MAX) gets the tags of
 * packets that CoDel dropped on the way, *lost_count how many. Returns how many were taken; fewer than max, with
 * the queue not empty, when lost was full: ask again.
 */
#define FQ_LOST_MAX 64
size_t fq_pop(struct fq *q, struct fq_packet *out, size_t max, uint64_t now_us, uint32_t *lost,
              size_t *lost_count) gv_must_check gv_nonnull(1, 2, 5, 6);

/* Packets that wait. */
uint32_t fq_count(const struct fq *q) gv_nonnull(1);
/* Packets that were marked instead of dropped, since the beginning. */
uint64_t fq_marked(const struct fq *q) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct fq *, fq_free)

#endif /* GV_PROTO_IP_FQ_H */
