/* SPDX-License-Identifier: MIT */
#ifndef GV_UNIT_PROTO_SCTP_HAND_H
#define GV_UNIT_PROTO_SCTP_HAND_H

/*
 * hand - a peer played by hand: packets are written chunk by chunk and given to an association, and what it
 * sends is taken apart. White box: it knows tags and TSNs from the inside.
 */

#include "proto/sctp/assoc_impl.h"
#include "tests/support/sctp_net.h"

#define HAND_CHUNKS  64
#define HAND_TAG     0x11223344u
#define HAND_TSN     1000u
#define HAND_STREAMS 1024

struct hand {
	struct sctp *s;
	uint64_t now_us;
	uint32_t tsn; /* next one that the hand sends */
	uint8_t packet[9000];
	struct bytes_writer w;
	bool unsummed; /* packets of the hand have a checksum of zero */
	/* What the association said last. */
	uint8_t train[65507];
	struct chunk said[HAND_CHUNKS];
	size_t said_count, packets;
	uint32_t said_tag; /* of its last packet */
};

/* An established association whose peer is the hand. */
void hand_init(struct hand *h, bool zero_checksum);
void hand_deinit(struct hand *h);
/* An association that has sent INIT and hears what the hand answers. */
void hand_init_connecting(struct hand *h);
/* INIT or INIT ACK of the hand, with parameters. */
void hand_give_init(struct hand *h, uint8_t type, uint32_t tag, uint32_t tsn, const void *params,
                    size_t len);
/* COOKIE ECHO with the cookie of this INIT ACK. */
void hand_give_cookie_of(struct hand *h, const struct chunk *init_ack);

/* A packet: begin, chunks, give. The tag is the right one. */
void hand_begin(struct hand *h);
void hand_chunk(struct hand *h, uint8_t type, uint8_t flags, const void *body, size_t len);
void hand_data(struct hand *h, uint32_t tsn, uint16_t stream, uint16_t ssn, uint8_t flags,
               const char *text);
/* gaps: pairs of offsets. */
void hand_sack(struct hand *h, uint32_t cum, uint32_t a_rwnd, const uint16_t *gaps, size_t count);
void hand_forward(struct hand *h, uint32_t cum, const uint16_t *pairs, size_t count);
void hand_give(struct hand *h);

/* Begin, one chunk, give. */
void hand_give_data(struct hand *h, uint32_t tsn, uint16_t stream, uint16_t ssn, uint8_t flags,
                    const char *text);
void hand_give_sack(struct hand *h, uint32_t cum, const uint16_t *gaps, size_t count);

/* Collects all output; the chunks are in said[]. How many datagrams. */
size_t hand_listen(struct hand *h);
/* The i-th chunk of that type that was said, or NULL. */
const struct chunk *hand_said(const struct hand *h, uint8_t type, size_t i);
/* The same; the test fails when it was not said. */
const struct chunk *hand_must(const struct hand *h, uint8_t type, size_t i);
size_t hand_count(const struct hand *h, uint8_t type);
/* Moves the clock in the steps of the association's own timers. */
void hand_sleep(struct hand *h, uint64_t us);
/* The next received message as text into out; false: none. */
bool hand_read(struct hand *h, char *out, size_t size);

#endif /* GV_UNIT_PROTO_SCTP_HAND_H */
