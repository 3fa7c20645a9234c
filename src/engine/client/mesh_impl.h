/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_MESH_IMPL_H
#define GV_ENGINE_CLIENT_MESH_IMPL_H

/*
 * mesh_impl - what mesh.c, peer.c, link.c and ctlchan.c share. Not for others.
 *
 *   mesh.c     members, routing of signaling and data plane events, events out
 *   local.c    candidates of this computer
 *   peer.c     policy for one member: when to offer, which of its links is used, retries
 *   link.c     mechanics of one link: ICE, DTLS handshake, keys, path, end
 *   ctlchan.c  what is said on `ctl`: confirmation, hello, ping, documents, in-band signaling
 */

#include "base/heap.h"
#include "base/mem.h"
#include "base/netaddr.h"
#include "base/rng.h"
#include "crypto/cert.h"
#include "crypto/dtls.h"
#include "crypto/identity.h"
#include "engine/client/mesh.h"
#include "engine/dataplane/dataplane.h"
#include "proto/ice/agent.h"
#include "proto/ice/gather.h"
#include "proto/sig/ctl.h"
#include "proto/sig/proof.h"

/* uthash: checked allocation in place of exit(); tbl stays NULL when an element could not be added. */
#define HASH_NONFATAL_OOM 1
#define uthash_malloc(n)  mem_alloc(1, (n))
#define uthash_free(p, n) mem_free(p)
#include <uthash.h>

/* A link that has not carried IP this long after it began is given up. */
#define LINK_SETUP_US (20u * 1000000u)
/* A replaced link still receives this long: packets of the old path are under way. */
#define LINK_DRAIN_US (2u * 1000000u)
/* A quiet path that the checks did not bring back by then gets a replacing link. */
#define PEER_QUIET_US (3u * 1000000u)
/* Events that wait for the supervisor; more is a supervisor that does not ask. */
#define MESH_MAX_EVENTS 8192
/* Offers of one member that are looked at: at once, and then one each second. */
#define PEER_OFFERS_BURST 8
#define PEER_OFFER_US     1000000u
/* Nonces of past offers of a member; an offer with one of them is a replay. */
#define PEER_NONCES 16
/* A link that lived this long was a good one: the next failure begins with short waits again. */
#define LINK_GOOD_US (10u * 1000000u)
/* Deletions that the command lane did not take are tried again. */
#define LIMBO_RETRY_US 100000u
/* How often a quiet path may make us ask the STUN servers anew. */
#define LOCAL_REFRESH_US (2u * 1000000u)
/* Server-reflexive candidates kept of one base. */
#define MESH_MAX_MAPPINGS 4
/* Candidates of this computer: host and server-reflexive ones of each address. */
#define MESH_MAX_CANDS (2 * MESH_MAX_ADDRESSES)

/* Pings that may wait for their pong. */
#define LINK_PINGS 8

struct link_ping {
	uint64_t id, at_us; /* at_us 0: free */
};

enum link_state {
	LINK_OFFERED,  /* our offer is out, no answer yet */
	LINK_CHECKING, /* both descriptions known: ICE, then the DTLS handshake */
	LINK_SECURED,  /* keys installed: SCTP, `ctl`, proofs */
	LINK_UP,       /* IP passes */
	LINK_DRAINING, /* replaced: receives until its deadline */
	LINK_DEAD,     /* to be deleted by its peer */
};

struct link {
	struct peer *peer;
	uint32_t handle;
	uint32_t prefix; /* of the transactions of `ice` */
	enum link_state state;
	bool offerer;
	uint64_t created_us, deadline_us;     /* deadline: setup, then draining */
	struct dataplane_link_shared *shared; /* freed when the data plane let go */

	struct ice_agent *ice;
	bool has_path;
	struct netaddr local, remote;
	enum ice_cand_type remote_type;
	uint32_t rtt_us;
	uint64_t heard_told_us; /* what ICE was told of shared->heard_us, and of sent_us */
	uint64_t sent_told_us;

	struct dtls *dtls;
	bool keys_given, dtls_done;

	/* Both descriptions as they were signed; the SDP texts are owned. */
	struct proof_offer offer, answer;
	char *offer_sdp, *answer_sdp;

	bool ctl_open, ip_open, confirmed, hello_got, ip_allowed;
	uint64_t quiet_us;   /* since when nothing is heard; 0: the path answers */
	uint64_t watch_us;   /* when to look at the shared block again */
	uint64_t told_epoch; /* of the document that our last hello named; 0: none went out */
	bool ask_again;      /* our request for a newer document did not go out */
	struct link_ping pings[LINK_PINGS];
	unsigned n_pings;
	struct ctl_parts parts;
	uint32_t next_content_id;
	char ufrag[ICE_UFRAG_MAX + 1];
	UT_hash_handle hh, hh_ufrag, hh_prefix;
	/* A document being sent in parts. */
	struct buf doc_out;
	size_t doc_next;
	uint64_t doc_at_us;
	uint32_t doc_id;
};

struct peer {
	struct mesh *mesh;
	uint8_t key[SIG_KEY_SIZE];
	struct admission admission;
	struct netaddr ip4, ip6;
	uint64_t session; /* as the server says, or proven by a link */
	bool connected;   /* in the network now, says the server */
	/* Epoch of the document under which its address stood in a proof that we verified; 0: never. */
	uint64_t proven_epoch;
	uint32_t listed; /* round of the server's list that named it last */

	uint32_t handle; /* in the data plane; 0: not added */
	struct netaddr dp_ip4;
	struct dataplane_stats *stats;
	struct link *use, *next, *old;

	uint64_t offer_at_us; /* when to offer; CLOCK_NEVER: not planned */
	unsigned attempts;    /* failed ones in a row */
	bool failed;
	uint64_t offers_us; /* bucket of its offers: the time up to which they are used */
	uint8_t nonces[PEER_NONCES][PROOF_NONCE_SIZE];
	unsigned n_nonces;
	struct heap_node due;      /* of mesh.due: peer_deadline_us() when it was asked last */
	bool is_changed;           /* it has to be asked again */
	struct peer *next_changed; /* of mesh.changed */
	UT_hash_handle hh;
};

/* A block that the data plane may still touch; freed at its GONE event. */
struct mesh_limbo {
	struct mesh_limbo *next;
	uint32_t handle;
	bool is_link, polite;
	bool told; /* the data plane knows that it is to let go */
	void *shared;
};

struct mesh_out {
	struct mesh_out *next;
	struct mesh_event event;
	struct msg_sdp sdp;
	struct msg_ice_candidate candidate;
	uint8_t data[]; /* texts or document that the event points to */
};

struct mesh {
	struct mesh_config c;
	uint8_t key[SIG_KEY_SIZE];
	struct rng rng;
	bool signaling, closing;
	struct peer *peers; /* uthash by key */
	/*
	 * Deadlines of peers in order, so that a thousand that are idle cost nothing. Whatever may move one marks the peer
	 * (mesh_changed()), and it is asked before the next wait.
	 */
	struct heap due;
	struct peer *changed;
	bool all_changed;

	struct gather *gather;
	uint32_t gather_prefix; /* of its transactions */
	struct netaddr addresses[MESH_MAX_ADDRESSES];
	size_t n_addresses;
	struct netaddr stun[MESH_MAX_STUN];
	size_t n_stun;
	struct ice_cand cands[MESH_MAX_CANDS];
	size_t n_cands;
	bool cands_done;
	uint64_t refresh_us; /* not asked again before */

	struct link *links;        /* uthash by handle: of all peers */
	struct link *links_ufrag;  /* the same ones by our username fragment */
	struct link *links_prefix; /* and by the prefix of their transactions */
	bool unsorted;             /* m->peers is not in the order of addresses */
	size_t cursor_i;           /* of mesh_peer_status() */
	const struct peer *cursor;
	uint32_t list_round;
	bool no_dataplane; /* it is gone: nothing is to be told any more */

	struct mesh_limbo *limbo;
	uint64_t limbo_retry_us;
	struct mesh_out *out_head, **out_tail, *out_given;
	size_t n_out;
	bool document_waits; /* in the queue of events */
	uint64_t refused;
};

/* mesh.c */

/* Queues an event; `data` is copied behind it. A full queue drops it: the supervisor is stuck then. */
void mesh_emit(struct mesh *m, const struct mesh_event *e, const void *data, size_t len);
/* Hands a signaling message to the server or, without it, to the peer's live `ctl`. */
void mesh_signal_sdp(struct peer *p, enum msg_type type, const struct msg_sdp *sdp);
void mesh_signal_candidate(struct peer *p, const struct msg_ice_candidate *c);
/* Deletes a link or peer in the data plane and keeps its shared block until it let go. */
void mesh_delete_link(struct mesh *m, uint32_t handle, bool polite, void *shared);
void mesh_delete_peer(struct mesh *m, uint32_t handle, void *shared);
/* The peer with this key, marked as changed, or NULL. */
struct peer *mesh_find(struct mesh *m, const uint8_t key[static SIG_KEY_SIZE]);
/* Something of the peer changes now, perhaps its deadline. */
void mesh_changed(struct peer *p);
uint32_t mesh_new_handle(struct mesh *m);
/* A prefix of transactions that nobody has here and a stranger cannot guess. */
uint32_t mesh_new_prefix(struct mesh *m);
/* Counts a refusal and logs why. Returns MESH_REFUSED. */
int mesh_refuse(struct mesh *m, const uint8_t *key, const char *why);
/* Deals with one signaling message that came in-band on `ctl` of p. */
void mesh_in_band(struct peer *p, const uint8_t *text, size_t len, uint64_t now_us);

/* local.c */

/* Begins without STUN servers. Returns 0; -errno. */
int local_begin(struct mesh *m, uint64_t now_us);
/* Sends what gathering has to send, acts on what it found. */
void local_pump(struct mesh *m, uint64_t now_us);
/* A path went quiet, perhaps because a NAT forgot it: asks at once what we look like now. */
void local_refresh(struct mesh *m, uint64_t now_us);
/* The address with the port of our socket of its family. */
struct netaddr local_with_port(const struct mesh *m, const struct netaddr *a);

/* peer.c */

/* Makes one; added to m->peers. NULL: no memory. */
struct peer *peer_new(struct mesh *m, const struct mesh_member *member);
/* Cuts every link and frees the peer; not in m->peers any more. */
void peer_free(struct peer *p, bool polite, uint64_t now_us);
/* Starts an offer now. */
void peer_offer(struct peer *p, uint64_t now_us);
/* Gives up an offer that nobody answered yet. */
void peer_drop_open_offer(struct peer *p);
/* False: this offer was seen before, or there were too many; else it counts. */
bool peer_may_offer(struct peer *p, const uint8_t nonce[static PROOF_NONCE_SIZE], uint64_t now_us);
void peer_note_nonce(struct peer *p, const uint8_t nonce[static PROOF_NONCE_SIZE]);
/* Plans an offer unless one is planned earlier. */
void peer_plan_offer(struct peer *p, uint64_t at_us);
/* Answers a verified offer. Returns MESH_OK, MESH_REFUSED; -errno. */
int peer_take_offer(struct peer *p, const struct msg_sdp *msg, const struct proof_offer *offer,
                    uint64_t now_us);
/* The link's IP passes: it is the one in use from now on. */
void peer_link_up(struct peer *p, struct link *l, uint64_t now_us);
/* Deletes dead links, acts on deadlines, offers when due. */
void peer_timeout(struct peer *p, uint64_t now_us);
uint64_t peer_deadline_us(const struct peer *p);
/* Adds the peer to the data plane with its present address. Returns 0; -errno. */
int peer_attach(struct peer *p);
/* The link whose offer has this nonce, or NULL. */
struct link *peer_link_by_nonce(struct peer *p, const uint8_t nonce[static PROOF_NONCE_SIZE]);
enum mesh_peer_state peer_state(const struct peer *p);

/* link.c */

/* Makes a link with ICE agent and local candidates. Returns 0; -errno. */
int link_new(struct link **out, struct peer *p, bool offerer, uint64_t now_us);
/* Deletes it in the data plane and frees it. */
void link_free(struct link *l, bool polite);
/* Writes our SDP of this link. *out is owned by the caller. Returns 0; -errno. */
int link_local_sdp(struct link *l, char **out);
/* Takes the peer's SDP: credentials, candidates, fingerprint; begins the DTLS role. Returns MESH_OK, MESH_REFUSED; -errno. */
int link_remote_sdp(struct link *l, const char *sdp, uint64_t now_us);
void link_add_local(struct link *l, const struct ice_cand *c, uint64_t now_us);
void link_end_local(struct link *l, uint64_t now_us);
int link_remote_candidate(struct link *l, const struct msg_ice_candidate *c, uint64_t now_us);
/* Sends what ICE and DTLS have to send, acts on their events. Call after anything was fed. */
void link_pump(struct link *l, uint64_t now_us);
void link_timeout(struct link *l, uint64_t now_us);
uint64_t link_deadline_us(const struct link *l);
void link_dataplane_event(struct link *l, const struct dataplane_event *e, uint64_t now_us);
/* Marks it dead; the peer deletes it with the next peer_timeout(), which is due at once. */
void link_fail(struct link *l, const char *why, uint64_t now_us);

/* ctlchan.c */

void ctlchan_open(struct link *l, uint64_t now_us);
void ctlchan_input(struct link *l, const uint8_t *data, size_t len, uint64_t now_us);
/*
 * Says what the peer was not told yet, such as after a change of our document: once `ctl` is open, and again with every look
 * at the link until the lane takes it.
 */
void ctlchan_catch_up(struct link *l);
void ctlchan_bye(struct link *l, enum ctl_bye_reason reason);
int ctlchan_ping(struct link *l, uint64_t id, uint64_t now_us);
void ctlchan_leave(struct link *l, const struct proof_leave *leave);
/* Sends longer content in parts; at most CTL_PARTS_MAX bytes, and only what the lane takes at once. */
void ctlchan_content(struct link *l, enum ctl_content content, const void *bytes, size_t n);
/* Goes on with a document under way. */
void ctlchan_timeout(struct link *l, uint64_t now_us);
uint64_t ctlchan_deadline_us(const struct link *l);

#endif /* GV_ENGINE_CLIENT_MESH_IMPL_H */
