/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_IP_COALESCE_H
#define GV_PROTO_IP_COALESCE_H

/*
 * coalesce - joins received packets into super-packets, so that the kernel takes a run of them by one write.
 *
 * Does:      joins TCP segments of one flow that follow each other (same size but the last, same header but for
 *            sequence, PSH, FIN and checksum) and UDP datagrams of one flow and equal size; verifies every checksum
 *            before it joins, because the kernel trusts a super-packet; keeps the order within each flow.
 * Does not:  copy payload: the result points into the packets. Packets that do not join are passed as they are.
 * Kept:      every bit of what is joined, once it is cut again; but for the ids of IPv4 packets with DF
 *            that all have the same one: they count up then, as no other id can be said of a super-packet.
 * Thread:    the owner's.
 * Memory:    struct coalesce is one block of fixed size.
 *
 * Use: coalesce_begin(), coalesce_add() until it says COALESCE_FULL or the input ends, then coalesce_out() for each
 * i < coalesce_count().
 */

#include "base/macro.h"
#include "proto/ip/inner.h"
#include "proto/ip/vnet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define COALESCE_PACKETS 256 /* of one round */
#define COALESCE_FLOWS   32  /* remembered at once; more cost only opportunities to join */
/* Virtio header, IPv4 or IPv6 header without options, TCP header with options. */
#define COALESCE_HEAD_BYTES (VNET_BYTES + INNER_IP6_HEADER + 60)

enum coalesce_mode {
	COALESCE_PLAIN, /* no virtio header, nothing is joined */
	COALESCE_TCP,   /* virtio header; TCP is joined */
	COALESCE_ALL,   /* UDP too */
};

enum coalesce_result {
	COALESCE_OK = 0,
	COALESCE_FULL = 1, /* write what is there, begin again, add this packet again */
};

/* One packet's payload in the list of its group. */
struct coalesce_part {
	const uint8_t *data; /* borrowed */
	uint16_t len;
	uint16_t next; /* index, or COALESCE_PACKETS at the end */
};

/* One write: a packet as it came, or a run. */
struct coalesce_group {
	const uint8_t *packet; /* the first one, borrowed */
	size_t packet_len;
	struct inner inner;   /* of the first one */
	uint32_t next_seq;    /* TCP */
	uint32_t payload_len; /* of all parts */
	uint16_t head_len;    /* IP and transport header */
	uint16_t size;        /* payload of each but the last */
	uint16_t first, last; /* parts */
	uint16_t count;
	uint8_t more_flags;    /* PSH and FIN of later segments */
	bool same_ids;         /* IPv4 with DF: all have the id of the first */
	bool partial;          /* transport checksums are still to be made */
	bool verified, closed; /* checksum of the first one; nothing may join any more */
};

struct coalesce {
	enum coalesce_mode mode;
	unsigned groups, parts;
	uint32_t generation; /* flow entries of an older one are empty */

	struct {
		uint32_t generation;
		uint16_t group;
	} flow[COALESCE_FLOWS];
	struct coalesce_group group[COALESCE_PACKETS];
	struct coalesce_part part[COALESCE_PACKETS];
	struct iovec iov[COALESCE_PACKETS + 2];
	uint8_t head[COALESCE_HEAD_BYTES];
};

/* What to write: borrowed until the next coalesce_out() or coalesce_begin(). */
struct coalesce_write {
	const struct iovec *iov; /* virtio header first, unless COALESCE_PLAIN */
	unsigned iov_count;
	unsigned packets; /* joined in it */
	size_t bytes;     /* of these packets as they came */
};

/* Empties it. */
void coalesce_begin(struct coalesce *c, enum coalesce_mode mode) gv_nonnull(1);

/*
 * Adds a packet, whose inner_parse() gave `in`; it must stay until the group was written.
 * Returns COALESCE_OK, COALESCE_FULL (not added).
 */
int coalesce_add(struct coalesce *c, const uint8_t *packet, size_t len, const struct inner *in)
	gv_must_check gv_nonnull(1, 2, 4);

/*
 * The same for a packet whose transport checksum is still to be made and holds the sum of the pseudo header, from
 * a source that is trusted otherwise: the kernel is asked to make it, whether the packet is joined or not. `in` must be TCP
 * or UDP with its whole transport header, no fragment; not with COALESCE_PLAIN.
 */
int coalesce_add_partial(struct coalesce *c, const uint8_t *packet, size_t len,
                         const struct inner *in) gv_must_check gv_nonnull(1, 2, 4);

/* Number of writes. */
unsigned coalesce_count(const struct coalesce *c) gv_nonnull(1);

/* The i-th write, in the order in which their first packets came. */
struct coalesce_write coalesce_out(struct coalesce *c, unsigned i) gv_nonnull(1);

#endif /* GV_PROTO_IP_COALESCE_H */
