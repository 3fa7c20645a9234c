/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_DATAPLANE_GATE_H
#define GV_ENGINE_DATAPLANE_GATE_H

/*
 * gate - how much may wait in the kernel for an interface that is slower than we are.
 *
 * What a socket was given stands behind everything it was given before, in one row, whatever flows are inside. So
 * only about 2 ms of it may wait there; the rest waits where flows are told apart (proto/ip/fq). The kernel says how many
 * bytes it still holds; how fast they go is measured while nothing is added. Where packets never wait, such as towards a
 * fast interface, the gate is never closed.
 *
 * The kernel has one number for all interfaces. What does not move for a second stands in front of one that is dead, and no
 * longer counts, so that the others go on.
 *
 * Thread:  packet. Sockets and clocks are the caller's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gate {
	bool closed;
	uint32_t budget_bytes;  /* may wait in the kernel */
	uint64_t rate;          /* bytes a second, as the kernel counts them; 0: not known */
	uint64_t unsent, at_us; /* at the last look while it was closed */
	uint64_t next_us;       /* of the next look while it is closed */
	uint64_t moved_us;      /* when less was unsent for the last time while it was closed */
	uint64_t dead;          /* bytes that did not move */
	uint64_t sent;          /* bytes since the last look while it was open */
	unsigned calm;          /* looks in a row that found next to nothing waiting */
};

#define GATE_INIT ((struct gate){.budget_bytes = 256 * 1024})

/* Bytes were given to the kernel. True: ask it how many are unsent, and call gate_look(). */
bool gate_sent(struct gate *g, size_t bytes);
/* `unsent` bytes are with the kernel now. */
void gate_look(struct gate *g, uint64_t unsent, uint64_t now_us);
/* When a closed gate wants to be looked at; UINT64_MAX while it is open. */
uint64_t gate_deadline_us(const struct gate *g);
/* The largest train that takes the interface about 1 ms; at least two full datagrams of `datagram` bytes. */
size_t gate_train_bytes(const struct gate *g, size_t datagram);

#endif /* GV_ENGINE_DATAPLANE_GATE_H */
