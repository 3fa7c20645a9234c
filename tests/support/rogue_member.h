/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_SUPPORT_ROGUE_MEMBER_H
#define GV_TESTS_SUPPORT_ROGUE_MEMBER_H

#include <stdint.h>

struct sctp;

/* From the packet thread: the control thread makes `count` offers to the peer with this address, without waiting for answers. */
void rogue_offers_start(uint32_t ip4, uint32_t count);
/* How many of them are left. */
uint32_t rogue_offers_left(void);

/*
 * Writes the common header of an SCTP packet to the peer, and what the flags of an item say to its number `tsn` (NULL: it has
 * none; rogue_member.c says what they mean).
 */
void rogue_packet_fill(struct sctp *s, uint8_t *packet, uint8_t *tsn, uint8_t flags);

#endif /* GV_TESTS_SUPPORT_ROGUE_MEMBER_H */
