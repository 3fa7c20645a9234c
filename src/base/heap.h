/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_HEAP_H
#define GV_BASE_HEAP_H

/*
 * heap - deadlines in order: a binary heap of nodes that stand inside their owners, the earliest on top.
 *
 * Does:      insert, move and remove in O(log n), the earliest in O(1).
 * Thread:    one owner.
 * Memory:    one table made by heap_init(); the nodes are the caller's and must stay where they are while they are in it.
 */

#include "base/macro.h"

#include <stdint.h>

/* Zeroed: in no heap. */
struct heap_node {
	uint64_t key; /* when; read only */
	uint32_t at;  /* place + 1; 0: in no heap */
};

struct heap {
	struct heap_node **nodes; /* owned */
	uint32_t count, cap;
};

/* An empty heap for at most `cap` nodes. Returns 0, -ENOMEM. */
int heap_init(struct heap *h, uint32_t cap) gv_must_check gv_nonnull(1);
/* Frees the table; the nodes are as they were. A zeroed heap is allowed. */
void heap_deinit(struct heap *h) gv_nonnull(1);

/*
 * Puts a node at its place for `key`, inserting it when it is not in; UINT64_MAX takes it out. The caller sees to it that
 * there are never more than `cap`.
 */
void heap_set(struct heap *h, struct heap_node *n, uint64_t key) gv_nonnull(1, 2);

/* The node with the least key, or NULL. */
static inline struct heap_node *heap_top(const struct heap *h)
{
	return h->count > 0 ? h->nodes[0] : NULL;
}

/* Its key; UINT64_MAX when it is empty. */
static inline uint64_t heap_due(const struct heap *h)
{
	return h->count > 0 ? h->nodes[0]->key : UINT64_MAX;
}

#endif /* GV_BASE_HEAP_H */
