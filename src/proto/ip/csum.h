/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_IP_CSUM_H
#define GV_PROTO_IP_CSUM_H

/*
 * csum - the Internet checksum (RFC 1071), fast and incrementally (RFC 1624).
 *
 * A running sum is a uint64_t that starts at 0 and is passed on; parts may be added in any order, and each but the
 * last added part must have an even length and stand at an even offset of what is summed.
 * Thread:  any; nothing is kept.
 */

#include "base/macro.h"

#include <stddef.h>
#include <stdint.h>

/* Adds n bytes to the running sum. */
uint64_t csum_add(uint64_t sum, const void *p, size_t n) gv_must_check;

/* The same, and copies the bytes to `to` (no overlap). */
uint64_t csum_copy(uint64_t sum, void *to, const void *from, size_t n) gv_must_check;

/* Adds the pseudo header of TCP, UDP or ICMPv6: addresses of addr_len (4 or 16) bytes. */
uint64_t csum_add_pseudo(uint64_t sum, const uint8_t *src, const uint8_t *dst, size_t addr_len,
                         uint8_t proto, size_t payload_len) gv_must_check gv_nonnull(2, 3);

/* The folded sum in memory order: to be stored by csum_store(), or inverted before. 0xffff over a good packet. */
uint16_t csum_fold(uint64_t sum) gv_must_check;

/* Writes a folded sum, as csum_fold() gives it, into a packet. */
void csum_store(uint8_t *field, uint16_t folded) gv_nonnull(1);

/* Makes the checksum in `field` right after a 16-bit word of the packet changed (values in host order). */
void csum_update16(uint8_t *field, uint16_t old_word, uint16_t new_word) gv_nonnull(1);

#endif /* GV_PROTO_IP_CSUM_H */
