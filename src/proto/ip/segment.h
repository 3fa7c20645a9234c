/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_IP_SEGMENT_H
#define GV_PROTO_IP_SEGMENT_H

/*
 * segment - cuts a super-packet of the kernel (TSO, USO) into IP packets, as a network card would.
 *
 * Does:      lengths, IPv4 ids, TCP sequence numbers and flags, all checksums; finishes checksums that the kernel left
 *            to the card on packets that need no cutting.
 * Does not:  trust hdr_len or any other hint of the virtio header that the packet itself tells.
 * Thread:    any. Memory: struct segment is a value; it borrows the packet until the last segment is written.
 */

#include "base/macro.h"
#include "proto/ip/inner.h"
#include "proto/ip/vnet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum segment_result {
	SEGMENT_OK = 0,
	SEGMENT_BAD = 1, /* packet and virtio header contradict each other: drop and count */
};

struct segment {
	const uint8_t *packet; /* borrowed */
	size_t len;
	size_t at;           /* payload bytes written so far, counted from header_len */
	uint32_t seq;        /* TCP: of the first segment */
	uint32_t count;      /* segments written */
	uint16_t size;       /* payload bytes of each segment but the last */
	uint16_t ip_len;     /* bytes before the transport header */
	uint16_t header_len; /* IP and transport header */
	uint16_t ip_id;
	uint8_t proto, version, addr_len;
	uint8_t tcp_flags;
	bool leave_sums;
};

/*
 * Prepares to cut `packet`, whose inner_parse() gave `in` and whose virtio header is `h` with a gso_type other
 * than VNET_GSO_NONE. Returns SEGMENT_OK, SEGMENT_BAD.
 */
int segment_begin(struct segment *s, const struct vnet *h, const struct inner *in,
                  const uint8_t *packet, size_t len) gv_must_check gv_nonnull(1, 2, 3, 4);

/* Bytes of the next segment; 0 when all are written. The first is never shorter than a later one. */
size_t segment_next_len(const struct segment *s) gv_must_check gv_nonnull(1);

/* How many segments are still to be written. */
size_t segment_count(const struct segment *s) gv_must_check gv_nonnull(1);

/* How many segments from the next one on have its length. */
size_t segment_equal(const struct segment *s) gv_must_check gv_nonnull(1);

/*
 * From now on the transport checksum of each segment is left for the receiver to make: its field holds the sum of the
 * pseudo header, as the kernel wants it with VNET_NEEDS_CSUM. Or is made again.
 */
void segment_leave_sums(struct segment *s) gv_nonnull(1);
void segment_make_sums(struct segment *s) gv_nonnull(1);

/* Writes the next segment, segment_next_len() bytes, to out. */
void segment_next(struct segment *s, uint8_t *out) gv_nonnull(1, 2);

/* A packet with VNET_GSO_NONE: computes the checksum that `h` asks for, in place. Returns SEGMENT_OK, SEGMENT_BAD. */
int segment_finish(const struct vnet *h, const struct inner *in, uint8_t *packet, size_t len)
	gv_must_check gv_nonnull(1, 2, 3);

#endif /* GV_PROTO_IP_SEGMENT_H */
