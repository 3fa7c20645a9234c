/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_BATCH_H
#define GV_BASE_BATCH_H

/*
 * batch - what packet interfaces take and give: many packets at once.
 *
 * struct pkt is one packet somewhere in memory. struct batch is a train: datagrams for one destination back to
 * back in one buffer, all of one size but the last, which may be shorter; exactly what UDP_SEGMENT sends in one
 * call. Each datagram has `headroom` bytes before and `tailroom` bytes after its payload, for the record layer
 * that seals it in place.
 *
 * Memory:  the buffer is the caller's (borrowed).
 */

#include "base/macro.h"

#include <stddef.h>
#include <stdint.h>

struct pkt {
	uint8_t *data; /* borrowed */
	size_t len;
};

/* The kernel cuts at most 64 segments out of one send (UDP_MAX_SEGMENTS before Linux 6.9). */
#define BATCH_MAX_COUNT 64
/* Largest UDP payload over IPv4, which bounds a whole train. */
#define BATCH_MAX_BYTES 65507

struct batch {
	uint8_t *data; /* borrowed */
	size_t cap;    /* of data */
	size_t len;    /* bytes used */
	uint16_t headroom, tailroom;
	uint16_t count;     /* datagrams */
	uint16_t size;      /* bytes of each datagram but the last, rooms included */
	uint16_t last_size; /* bytes of the last one */
};

#define BATCH_INIT(buffer, bytes, head, tail) \
	((struct batch){.data = (buffer), .cap = (bytes), .headroom = (head), .tailroom = (tail)})

/* Empties the train; the rooms stay. */
static inline void batch_reset(struct batch *b)
{
	b->len = 0;
	b->count = 0;
	b->size = 0;
	b->last_size = 0;
}

/*
 * Appends a datagram with `payload` bytes between the rooms. Returns where the payload goes, or NULL when it
 * cannot join this train: it is larger than the first, the last one was already short, or the train is full.
 */
static inline uint8_t *batch_reserve(struct batch *b, size_t payload)
{
	size_t size = b->headroom + payload + b->tailroom;

	if (b->count > 0 &&
	    (b->last_size != b->size || size > b->size || b->count == BATCH_MAX_COUNT))
		return NULL;
	if (b->len + size > b->cap || b->len + size > BATCH_MAX_BYTES)
		return NULL;
	uint8_t *p = b->data + b->len + b->headroom;
	if (b->count == 0)
		b->size = (uint16_t)size;
	b->last_size = (uint16_t)size;
	b->len += size;
	b->count++;
	return p;
}

/* The i-th datagram with its rooms (i < count). */
static inline struct pkt batch_datagram(const struct batch *b, unsigned i)
{
	return (struct pkt){.data = b->data + (size_t)i * b->size,
	                    .len = i + 1u == b->count ? b->last_size : b->size};
}

#endif /* GV_BASE_BATCH_H */
