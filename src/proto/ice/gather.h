/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_ICE_GATHER_H
#define GV_PROTO_ICE_GATHER_H

/*
 * gather - server-reflexive addresses of one connected network, for all its ICE agents (they share the sockets,
 * so they share what STUN servers see).
 *
 * Does:      asks each server from each base of the same family, all in parallel, with the retransmissions of
 *            RFC 8489 6.2.1 (first after 500 ms, 7 sent; the pause is not doubled beyond 1 s, so that the answer is
 *            known before a user gives up, also at 20 % loss each way; once more after 1 s of silence); asks again
 *            each 15 to 25 s, which keeps the NAT's mapping and notices when it changed.
 * Does not:  open sockets, resolve server names, make candidates (the owner does: ice_cand_local()).
 * Thread:    the owner's.
 * Memory:    all at gather_new().
 * Time:      now_us is monotonic microseconds.
 *
 * Five calls: gather_input, gather_output, gather_event, gather_deadline_us, gather_timeout.
 */

#include "base/macro.h"
#include "base/netaddr.h"
#include "base/rng.h"
#include "proto/ice/agent.h"

#include <stddef.h>
#include <stdint.h>

#define GATHER_MAX_SERVERS 8
#define GATHER_MAX_BASES   16

struct gather; /* opaque */

struct gather_config {
	struct netaddr servers[GATHER_MAX_SERVERS]; /* STUN servers, numeric */
	size_t server_count;
	/* First four bytes of each transaction id; unique among the owner's agents (struct ice_config). */
	uint32_t transaction_prefix;
	struct rng rng; /* copied */
};

enum gather_event_type {
	GATHER_EVENT_SRFLX, /* base is seen as mapped; again when it changed (the former mapping is void) */
	GATHER_EVENT_DONE, /* every base was answered by every server, or timed out; once per base set */
};

struct gather_event {
	enum gather_event_type type;
	struct netaddr base,
		mapped;        /* with SRFLX; mapped may equal base (no NAT): no candidate then */
	struct netaddr server; /* with SRFLX: which one saw it */
};

enum gather_result {
	GATHER_OK = 0,
	GATHER_IGNORED =
		1, /* no answer to a question of ours from whom it was asked: dropped, counted */
	GATHER_TOO_MANY = 2, /* table full */
};

/* *out is owned by the caller. Returns 0; -EINVAL too many servers; -ENOMEM. */
int gather_new(struct gather **out, const struct gather_config *config)
	gv_must_check gv_nonnull(1, 2);
/* NULL is allowed. */
void gather_free(struct gather *g);

/*
 * Adds a local address and port that packets are sent from. A base that is known already is asked anew at once
 * (after a change of routes). Returns GATHER_OK or GATHER_TOO_MANY.
 */
int gather_add_base(struct gather *g, const struct netaddr *base, uint64_t now_us) gv_nonnull(1, 2);
/* Forgets a base; unknown ones are ignored. */
void gather_remove_base(struct gather *g, const struct netaddr *base, uint64_t now_us)
	gv_nonnull(1, 2);

/* Feeds a STUN response that came from `remote` to our `local`. Returns GATHER_OK or GATHER_IGNORED. */
int gather_input(struct gather *g, const struct netaddr *local, const struct netaddr *remote,
                 const uint8_t *data, size_t len, uint64_t now_us) gv_nonnull(1, 2, 3, 4);
/* The next datagram to send: 1 and *out filled, or 0. */
int gather_output(struct gather *g, struct ice_packet *out, uint64_t now_us) gv_nonnull(1, 2);
/* The next event: 1 and *out filled, or 0. */
int gather_event(struct gather *g, struct gather_event *out) gv_nonnull(1, 2);
/* When to call gather_timeout(); CLOCK_NEVER when nothing is pending. */
uint64_t gather_deadline_us(const struct gather *g) gv_nonnull(1);
void gather_timeout(struct gather *g, uint64_t now_us) gv_nonnull(1);

/* Drops since gather_new(). */
uint64_t gather_dropped(const struct gather *g) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct gather *, gather_free)

#endif /* GV_PROTO_ICE_GATHER_H */
