/* SPDX-License-Identifier: MIT */

/* The part of rogue_member that looks into an association: two modules call different things held. */

#include "rogue_member.h"

#include "proto/sctp/assoc_impl.h"

#define FLAG_OWN_TSN   1
#define FLAG_PEER_LAST 2
#define FLAG_OWN_LAST  4

void rogue_packet_fill(struct sctp *s, uint8_t *packet, uint8_t *tsn, uint8_t flags)
{
	be16_store(packet, s->config.local_port);
	be16_store(packet + 2, s->config.remote_port);
	be32_store(packet + 4, s->peer.tag);
	be32_store(packet + 8, 0); /* both sides agreed on no checksum */
	if (tsn == NULL)
		return;
	if ((flags & FLAG_OWN_TSN) != 0)
		be32_store(tsn, s->out.next_tsn++);
	else if ((flags & FLAG_PEER_LAST) != 0)
		be32_store(tsn, be32_load(tsn) + s->in.cum);
	else if ((flags & FLAG_OWN_LAST) != 0)
		be32_store(tsn, be32_load(tsn) + s->out.next_tsn - 1);
}
