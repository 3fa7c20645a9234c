/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_IP_TOOBIG_H
#define GV_PROTO_IP_TOOBIG_H

/*
 * toobig - the answer to a packet that does not fit: ICMP "fragmentation needed" (RFC 1191 4) or ICMPv6 "packet too
 * big" (RFC 4443 3.2).
 *
 * Does not:  limit the rate. Thread: any; nothing is kept.
 */

#include "base/macro.h"
#include "proto/ip/inner.h"

#include <stddef.h>
#include <stdint.h>

/* Longest answer: RFC 1812 4.3.2.3 for IPv4 (576), RFC 4443 2.4 (c) for IPv6. */
#define TOOBIG_BYTES 1280

/*
 * Writes the answer to `packet` into out. It seems to come from the packet's destination, so that the own system
 * takes it. Returns its length, or 0 where no answer may be given: IPv4 without DF, an ICMP error, a later fragment, a
 * source or destination that is plainly not one host, an IPv6 MTU below 1280 (RFC 8200 5), an IPv4 MTU below 68. The
 * broadcast address of a subnet looks like a host's: the caller, who knows the subnet, does not ask for one.
 */
size_t toobig_build(const uint8_t *packet, size_t len, const struct inner *in, uint32_t mtu_bytes,
                    uint8_t out[static TOOBIG_BYTES]) gv_must_check gv_nonnull(1, 3, 5);

#endif /* GV_PROTO_IP_TOOBIG_H */
