/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_IP_MSS_H
#define GV_PROTO_IP_MSS_H

/*
 * mss - lowers the maximum segment size that TCP announces (RFC 9293 3.7.1), so that a path smaller than the
 * interface is respected from the first byte on.
 *
 * Thread:  any; nothing is kept.
 */

#include "base/macro.h"
#include "proto/ip/inner.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True for a SYN or SYN-ACK that mss_clamp() might change; cheap. */
bool mss_applies(const uint8_t *packet, size_t len, const struct inner *in) gv_nonnull(1, 3);

/*
 * Lowers the MSS option of a packet for which mss_applies() so that a segment fits mtu_bytes, and repairs the
 * checksum. Never raises it. Returns true when the packet was changed.
 */
bool mss_clamp(uint8_t *packet, size_t len, const struct inner *in, size_t mtu_bytes)
	gv_nonnull(1, 3);

#endif /* GV_PROTO_IP_MSS_H */
