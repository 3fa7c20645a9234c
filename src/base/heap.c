/* SPDX-License-Identifier: MIT */

#include "base/heap.h"

#include "base/err.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>

int heap_init(struct heap *h, uint32_t cap)
{
	struct heap_node **nodes = mem_new_array(struct heap_node *, cap);

	if (nodes == NULL)
		return err_here(-ENOMEM);
	*h = (struct heap){.nodes = nodes, .cap = cap};
	return 0;
}

void heap_deinit(struct heap *h)
{
	mem_free(h->nodes);
	*h = (struct heap){0};
}

static void put(struct heap *h, uint32_t at, struct heap_node *n)
{
	h->nodes[at] = n;
	n->at = at + 1;
}

static void sift_up(struct heap *h, struct heap_node *n)
{
	uint32_t at = n->at - 1;

	for (; at > 0; at = (at - 1) / 2) {
		struct heap_node *parent = h->nodes[(at - 1) / 2];

		if (parent->key <= n->key)
			break;
		put(h, at, parent);
	}
	put(h, at, n);
}

static void sift_down(struct heap *h, struct heap_node *n)
{
	uint32_t at = n->at - 1;

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child + 1 < h->count && h->nodes[child + 1]->key < h->nodes[child]->key)
			child++;
		if (child >= h->count || h->nodes[child]->key >= n->key)
			break;
		put(h, at, h->nodes[child]);
		at = child;
	}
	put(h, at, n);
}

static void take_out(struct heap *h, struct heap_node *n)
{
	uint32_t at = n->at - 1;
	struct heap_node *last = h->nodes[--h->count];

	n->at = 0;
	if (last == n)
		return;
	put(h, at, last);
	sift_up(h, last);
	sift_down(h, last);
}

void heap_set(struct heap *h, struct heap_node *n, uint64_t key)
{
	if (key == UINT64_MAX) {
		if (n->at != 0)
			take_out(h, n);
		return;
	}
	if (n->at != 0 && n->key == key)
		return;
	n->key = key;
	if (n->at == 0) {
		assert(h->count < h->cap);
		put(h, h->count++, n);
	}
	sift_up(h, n);
	sift_down(h, n);
}
