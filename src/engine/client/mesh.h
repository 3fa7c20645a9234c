/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_MESH_H
#define GV_ENGINE_CLIENT_MESH_H

/*
 * mesh - the other members of one connected network and the links to them.
 *
 * Does:      verifies who is a member, decides who offers, runs ICE, DTLS handshakes and the three proofs for each link,
 *            tells the data plane about peers, exchanges hello, documents and in-band signaling on `ctl`, retries.
 * Does not:  talk to the server, own the TUN or read sockets: the supervisor feeds it (signaling, data plane events,
 *            addresses) and carries its events out.
 * Thread:    control.
 * Memory:    bounded by MESH_MAX_MEMBERS; one link in use and one replacing it per member.
 * Time:      now_us is clock_now_us(); unix_s only as a hint.
 *
 * Trust: nothing the server says about a member is believed without the member's own signature. A notice of the server never
 * ends a live path; a signed leave, a ban in the document, a proven new session or the death of the path does.
 */

#include "base/macro.h"
#include "base/netaddr.h"
#include "base/rng.h"
#include "proto/ice/cand.h"
#include "proto/sig/admission.h"
#include "proto/sig/ctl.h"
#include "proto/sig/document.h"
#include "proto/sig/msg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cert;
struct dataplane;
struct dataplane_event;
struct dataplane_stats;
struct identity;
struct mesh; /* opaque */

#define MESH_MAX_MEMBERS   DOCUMENT_KEYS_MAX
#define MESH_MAX_ADDRESSES 16
#define MESH_MAX_STUN      8

struct mesh_config {
	struct dataplane *dataplane; /* borrowed until mesh_free() */
	const struct identity *id;   /* borrowed likewise */
	struct cert *cert; /* DTLS certificate of this daemon; the mesh takes its own reference */
	const struct document *doc; /* borrowed until the next mesh_set_document() */
	struct netaddr ip4, ip6;    /* our tunnel addresses */
	uint64_t session;           /* of this daemon start */
	uint32_t net;               /* handle of the network in the data plane, already added */
	uint32_t *
		next_handle; /* counter shared by all meshes of the daemon, for peer and link handles */
	uint16_t udp4_port, udp6_port; /* bound ports; 0: no socket of that family */
	struct rng rng;
};

/* What signaling says about a member; believed only as far as the admission proves it. */
struct mesh_member {
	struct admission admission;
	struct netaddr ip4;
	uint64_t session; /* 0 unknown */
	bool connected;   /* in this network now, says the server */
};

enum mesh_event_type {
	MESH_EVENT_SIGNAL, /* msg: an SdpOffer, SdpAnswer or IceCandidate for the server to forward */
	MESH_EVENT_DOCUMENT, /* data: encoding of a newer document, verified; the supervisor stores it and calls back
	                      * mesh_set_document() */
	MESH_EVENT_PEER, /* key: its state or path changed (for logs and watchers) */
	MESH_EVENT_PONG, /* key, rtt_us, ping_id */
	MESH_EVENT_LEFT, /* key: a proven leave */
};

struct mesh_event {
	enum mesh_event_type type;
	uint8_t key[SIG_KEY_SIZE];
	enum msg_type msg_type; /* with SIGNAL: MSG_SDP_OFFER, MSG_SDP_ANSWER, MSG_ICE_CANDIDATE */
	const struct msg_sdp *sdp; /* with SIGNAL; borrowed until the next call of the mesh */
	const struct msg_ice_candidate *candidate;
	const uint8_t *data; /* with DOCUMENT; borrowed likewise */
	size_t len;
	uint64_t ping_id;
	uint32_t rtt_us;
};

enum mesh_peer_state {
	MESH_PEER_OFFLINE,    /* not connected, says the server, and no live path */
	MESH_PEER_CONNECTING, /* offering, checking, shaking hands */
	MESH_PEER_CONNECTED,  /* IP passes */
	MESH_PEER_FAILED,     /* the last attempt failed; the next one waits */
};

struct mesh_peer_status {
	uint8_t key[SIG_KEY_SIZE];
	const struct admission *admission; /* verified; borrowed until the next call of the mesh */
	struct netaddr ip4, ip6;
	enum mesh_peer_state state;
	bool connected;               /* the server says so */
	uint64_t session;             /* as the server says, or proven */
	bool online;                  /* connected, or the server says so */
	enum ice_cand_type path_kind; /* of the remote candidate; with CONNECTED */
	struct netaddr local, remote;
	uint32_t rtt_us;                     /* 0 unknown */
	const struct dataplane_stats *stats; /* NULL before the first link; borrowed likewise */
};

/* *out is owned by the caller. Returns 0, -ENOMEM, -errno. */
int mesh_new(struct mesh **out, const struct mesh_config *config, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);
/*
 * Says bye with this reason to every peer and deletes the links and peers in the data plane. The mesh stays until the
 * data plane let go of all (mesh_is_idle()), fed with its events.
 */
void mesh_close(struct mesh *m, enum ctl_bye_reason reason, uint64_t now_us) gv_nonnull(1);
bool mesh_is_idle(const struct mesh *m) gv_nonnull(1);
/* After mesh_is_idle(), or after dataplane_free(). NULL is allowed. */
void mesh_free(struct mesh *m);

/* Addresses of this computer that may be candidates, as hostaddr ranks them. Ports are ignored. */
void mesh_set_addresses(struct mesh *m, const struct netaddr *addrs, size_t n, uint64_t now_us)
	gv_nonnull(1);
/* STUN servers for server-reflexive candidates. */
void mesh_set_stun(struct mesh *m, const struct netaddr *servers, size_t n, uint64_t now_us)
	gv_nonnull(1);
/* A newer document: whoever is no member any more is cut at once. */
void mesh_set_document(struct mesh *m, const struct document *doc, uint64_t now_us)
	gv_nonnull(1, 2);
/*
 * Signaling of this network can be used now (connected there), or not. Offers that are open when it begins are made again
 * as the members are told; saying it twice changes nothing.
 */
void mesh_set_signaling(struct mesh *m, bool up, uint64_t now_us) gv_nonnull(1);

enum mesh_result {
	MESH_OK = 0,
	MESH_REFUSED = 1, /* not proven, not a member, malformed: dropped, counted and logged */
};

/* How the news came: the member that was there offers to a newcomer. */
enum mesh_news {
	MESH_NEWS_LIST,   /* in the list of NetworkConnected: it was there before us */
	MESH_NEWS_NOTICE, /* ComputerConnected, ComputerJoined, ComputerRenamed: we were there */
};

/*
 * Around the list of NetworkConnected, which names every member: call mesh_member() for each between the two. Who is not
 * named is forgotten, except for live paths, which only count as offline.
 */
void mesh_list_begin(struct mesh *m) gv_nonnull(1);
void mesh_list_end(struct mesh *m, uint64_t now_us) gv_nonnull(1);
/* Adds or updates a member. Returns MESH_OK, MESH_REFUSED; -ENOMEM. */
int mesh_member(struct mesh *m, const struct mesh_member *member, enum mesh_news news,
                uint64_t now_us) gv_must_check gv_nonnull(1, 2);
/* ComputerDisconnected. */
void mesh_member_offline(struct mesh *m, const uint8_t key[static SIG_KEY_SIZE], uint64_t now_us)
	gv_nonnull(1, 2);
/* ComputerLeft. leave: the member's signed leave, or NULL when the server only claims it. Returns as above. */
int mesh_member_left(struct mesh *m, const uint8_t key[static SIG_KEY_SIZE],
                     const struct proof_leave *leave, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);

/* Signaling from a peer, through the server. Returns MESH_OK, MESH_REFUSED; -errno. */
int mesh_offer(struct mesh *m, const struct msg_sdp *offer, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);
int mesh_answer(struct mesh *m, const struct msg_sdp *answer, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);
int mesh_candidate(struct mesh *m, const struct msg_ice_candidate *c, uint64_t now_us)
	gv_must_check gv_nonnull(1, 2);

/* An event of the data plane whose net is this one. */
void mesh_dataplane_event(struct mesh *m, const struct dataplane_event *e, uint64_t now_us)
	gv_nonnull(1, 2);

/* Sends a ping over `ctl`; MESH_EVENT_PONG with ping_id follows. Returns MESH_OK; MESH_REFUSED without a connected peer. */
int mesh_ping(struct mesh *m, const uint8_t key[static SIG_KEY_SIZE], uint64_t ping_id,
              uint64_t now_us) gv_must_check gv_nonnull(1, 2);
/* Tells connected peers that we leave the network for good. */
void mesh_say_leave(struct mesh *m, const struct proof_leave *leave) gv_nonnull(1, 2);

/* The next event: 1 and *out filled, or 0. Ask after every call above and after mesh_timeout(). */
int mesh_event(struct mesh *m, struct mesh_event *out) gv_nonnull(1, 2);
uint64_t mesh_deadline_us(struct mesh *m) gv_nonnull(1);
void mesh_timeout(struct mesh *m, uint64_t now_us) gv_nonnull(1);

/* Members known, ourselves apart. */
size_t mesh_peer_count(const struct mesh *m) gv_nonnull(1);
/* Status of the i-th (i < mesh_peer_count()), in the order of their addresses. */
void mesh_peer_status(struct mesh *m, size_t i, struct mesh_peer_status *out) gv_nonnull(1, 3);
/* Signaling and proofs refused since mesh_new(). */
uint64_t mesh_refused(const struct mesh *m) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct mesh *, mesh_free)

#endif /* GV_ENGINE_CLIENT_MESH_H */
