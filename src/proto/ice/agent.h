/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_ICE_AGENT_H
#define GV_PROTO_ICE_AGENT_H

/*
 * ice_agent - one ICE session (RFC 8445, full agent, regular nomination; trickle RFC 8838; consent RFC 7675) of
 * one component towards one peer.
 *
 * Does:      pairs candidates, checks them, nominates one, keeps consent, notices a dead path fast, follows a
 *            peer whose address changed, restarts.
 * Does not:  open sockets (the owner sends what ice_output() gives), gather server-reflexive addresses (gather),
 *            read a clock, encode SDP (proto/sdp).
 * Thread:    the owner's.
 * Memory:    14 kB at ice_new(), 3 kB for each 16 pairs; at most ICE_MAX_CANDIDATES candidates each way and ICE_MAX_PAIRS pairs.
 * Time:      now_us is monotonic microseconds.
 *
 * How the selected pair is watched between our own peers (ICE_MODE_GOVPN); all numbers are in live.c:
 *
 *   data flows     only consent: a check when the last answer is 8 to 12 s old.
 *   data, silence  something was heard or sent since the last answer, then nothing is heard for 1 s: a check.
 *   idle           a check 5 to 7 s after the peer was last heard. Its checks count as hearing, so of two
 *                  idle peers one asks for both: some 6 packets in 15 s, both directions together. The best
 *                  other valid pair is checked each 30 s, which keeps it known and its NAT open.
 *   no answer      the check is repeated each 200 ms (or 1.25 RTT). From the first repetition on
 *                  ICE_EVENT_QUIET is told and all other valid pairs are checked alike, and after 1 s of
 *                  silence all failed pairs again, in rounds 2, 4, .. 30 s apart. After 10 s without an
 *                  answer it is one check a second, after 30 s one each 2 s, without end.
 *   dead           3 checks and 500 ms (or 2 RTT) without an answer, and another valid pair answered since:
 *                  sends move there. While data still comes the checks are a second apart and it takes 5.
 *
 * So traffic is back about 1.6 s after a path died under load, where another one exists. Whoever moves tells
 * the peer: the controlling side nominates; the controlled side's checks on its new pair carry USE-CANDIDATE,
 * which makes the controlling side check at once whether its own pair is alive. A check from a new address
 * alone never moves anything: our check back must be answered, and the selected pair must be dead or the new
 * one nominated. A better pair that failed is tried again each 30 s and nominated when it works.
 */

#include "base/macro.h"
#include "base/netaddr.h"
#include "base/rng.h"
#include "proto/ice/cand.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ICE_MAX_CANDIDATES 32
#define ICE_MAX_PAIRS      256
#define ICE_UFRAG_MAX      256 /* RFC 8839 5.4: 4 .. 256 characters */
#define ICE_PWD_MAX        256 /* 22 .. 256 */
#define ICE_PACKET_MAX     576 /* bytes of one STUN message we send */

struct ice_agent; /* opaque */

enum ice_role {
	ICE_ROLE_CONTROLLED,
	ICE_ROLE_CONTROLLING,
};

/* How lively the path is watched. */
enum ice_mode {
	ICE_MODE_STANDARD, /* any WebRTC peer: consent each 5 s, a new path only by restart */
	ICE_MODE_GOVPN,    /* own peers: as told above */
};

struct ice_config {
	enum ice_role role;
	enum ice_mode mode;
	/*
	 * First four bytes of each transaction id this agent makes; the other eight are random. Unique among the
	 * owner's agents, so that responses find their agent without a table of transactions, and random where
	 * strangers must not guess which responses are looked at.
	 */
	uint32_t transaction_prefix;
	struct rng rng; /* copied */
};

/* One datagram to send from `local` (address, port, ifindex of the base) to `remote`. */
struct ice_packet {
	struct netaddr local, remote;
	size_t len;
	uint8_t data[ICE_PACKET_MAX];
};

enum ice_event_type {
	ICE_EVENT_PAIR_VALID, /* pair: may be received from now on */
	ICE_EVENT_SELECTED,   /* pair: send here from now on (first nomination, move or restart) */
	ICE_EVENT_CONSENT,    /* send_until_us: the selected pair may be used until then */
	ICE_EVENT_QUIET, /* a check was not answered, or the address went away: looking for a path */
	ICE_EVENT_DISCONNECTED, /* consent ran out (RFC 7675): stop sending; a restart may bring it back */
	ICE_EVENT_FAILED, /* every pair failed and both sides ended their candidates, or 30 s passed */
};

struct ice_event {
	enum ice_event_type type;
	struct netaddr local, remote; /* of the pair: base address of the local candidate */
	enum ice_cand_type local_type, remote_type;
	uint64_t send_until_us; /* with SELECTED and CONSENT */
	uint32_t rtt_us;        /* of the check that made it; 0 unknown */
};

/* Makes an agent with fresh local credentials. *out is owned by the caller. Returns 0, -ENOMEM. */
int ice_new(struct ice_agent **out, const struct ice_config *config) gv_must_check gv_nonnull(1, 2);
/* NULL is allowed. */
void ice_free(struct ice_agent *a);

/* Own credentials of the current generation; borrowed until ice_restart() or ice_free(). */
const char *ice_local_ufrag(const struct ice_agent *a) gv_nonnull(1);
const char *ice_local_pwd(const struct ice_agent *a) gv_nonnull(1);

enum ice_result {
	ICE_OK = 0,
	ICE_IGNORED = 1,   /* not for this agent, malformed or not authentic: dropped and counted */
	ICE_TOO_MANY = 2,  /* a table is full: the candidate was dropped */
	ICE_BAD_VALUE = 3, /* ufrag or password out of form */
	ICE_DUPLICATE = 4, /* candidate already known */
};

/* Adds a local candidate (host or server-reflexive with its base). May be called at any time (trickle). */
int ice_add_local(struct ice_agent *a, const struct ice_cand *c, uint64_t now_us) gv_nonnull(1, 2);
/*
 * Forgets local candidates with this base (an address that went away) and their pairs. When the selected one
 * is among them: own peers select another valid one at once, or get ICE_EVENT_QUIET and select a pair of a new
 * address as soon as it is valid (ICE_EVENT_DISCONNECTED only when consent would have run out); others get
 * ICE_EVENT_DISCONNECTED.
 */
void ice_remove_local(struct ice_agent *a, const struct netaddr *base, uint64_t now_us)
	gv_nonnull(1, 2);
/* No more local candidates in this generation. */
void ice_end_local(struct ice_agent *a, uint64_t now_us) gv_nonnull(1);

/* The peer's credentials; checks start when they and a pair are known. Strings are copied. */
int ice_set_remote(struct ice_agent *a, const char *ufrag, const char *pwd, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2, 3);
int ice_add_remote(struct ice_agent *a, const struct ice_cand *c, uint64_t now_us) gv_nonnull(1, 2);
void ice_end_remote(struct ice_agent *a, uint64_t now_us) gv_nonnull(1);

/* Role after signaling decided anew (glare, restart). */
void ice_set_role(struct ice_agent *a, enum ice_role role) gv_nonnull(1);

/*
 * New generation (RFC 8445 9): fresh credentials; remote candidates are forgotten, local ones stay; the
 * selected pair goes on to be used until a new one is nominated.
 */
void ice_restart(struct ice_agent *a, uint64_t now_us) gv_nonnull(1);

/*
 * Feeds a STUN message that came from `remote` to our `local` address. Returns ICE_OK when it was ours, or
 * ICE_IGNORED. Requests under the previous generation's credentials are still answered until the new pair is
 * selected.
 */
int ice_input(struct ice_agent *a, const struct netaddr *local, const struct netaddr *remote,
              const uint8_t *data, size_t len, uint64_t now_us) gv_nonnull(1, 2, 3, 4);

/* Application data came over the selected pair (told at most each 100 ms): counts as liveness. */
void ice_heard(struct ice_agent *a, uint64_t now_us) gv_nonnull(1);

/* Application data was sent over the selected pair at now_us: an answer is expected, so silence counts from here. */
void ice_sent(struct ice_agent *a, uint64_t now_us) gv_nonnull(1);

/* The next datagram to send: 1 and *out filled, or 0. */
int ice_output(struct ice_agent *a, struct ice_packet *out, uint64_t now_us) gv_nonnull(1, 2);
/* The next event: 1 and *out filled, or 0. */
int ice_event(struct ice_agent *a, struct ice_event *out) gv_nonnull(1, 2);
/* When to call ice_timeout(); CLOCK_NEVER when nothing is pending. */
uint64_t ice_deadline_us(const struct ice_agent *a) gv_nonnull(1);
void ice_timeout(struct ice_agent *a, uint64_t now_us) gv_nonnull(1);

/* Drops since ice_new(): not authentic, unknown transaction, malformed. */
uint64_t ice_dropped(const struct ice_agent *a) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct ice_agent *, ice_free)

#endif /* GV_PROTO_ICE_AGENT_H */
