/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_IP_VNET_H
#define GV_PROTO_IP_VNET_H

/*
 * vnet - the 10-byte header that stands before each packet of a TUN with IFF_VNET_HDR (virtio 1.2, 5.1.6; legacy
 * byte order, which is the host's).
 */

#include "base/macro.h"

#include <stdint.h>
#include <string.h>

#define VNET_BYTES 10

enum vnet_flag {
	VNET_NEEDS_CSUM = 1,
};

enum vnet_gso {
	VNET_GSO_NONE = 0,
	VNET_GSO_TCP4 = 1,
	VNET_GSO_TCP6 = 4,
	VNET_GSO_UDP = 5, /* UDP_L4: equal datagrams, not fragments */
	VNET_GSO_ECN = 0x80,
};

struct vnet {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

_Static_assert(sizeof(struct vnet) == VNET_BYTES, "the struct is the header");

static inline struct vnet vnet_load(const uint8_t p[static VNET_BYTES])
{
	struct vnet h;

	memcpy(&h, p, sizeof(h));
	return h;
}

static inline void vnet_store(uint8_t p[static VNET_BYTES], const struct vnet *h)
{
	memcpy(p, h, sizeof(*h));
}

#endif /* GV_PROTO_IP_VNET_H */
