/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_DATAPLANE_DATAPLANE_H
#define GV_ENGINE_DATAPLANE_DATAPLANE_H

/*
 * dataplane - the packet thread: TUN -> SCTP -> DTLS records -> UDP and back.
 *
 * Does:      owns the UDP sockets and TUN queues it was given, the established DTLS records and SCTP associations,
 *            the inner source check, broadcast copies, MSS clamp, ICMP too-big; counts every drop by its reason.
 * Does not:  decide who is a peer, run ICE or DTLS handshakes, know signaling: the control thread tells it.
 * Words:     a net is one connected network (one TUN, one UDP socket per family); a peer is another member; a link is
 *            one attempt to reach a peer: one ICE session, one DTLS association, one SCTP association. A peer
 *            has at most one link in use and one that is about to replace it.
 * Thread:    the functions below are called by the control thread only; they push messages to the packet thread
 *            and never block. Handles (net, peer, link) are numbers chosen by the control thread, each for one thing
 *            only; 0 is none.
 * Memory:    what a command adds is made by the control thread. The packet thread allocates for messages in fragments and
 *            for what control is told, never for a packet that passes whole.
 */

#include "base/macro.h"
#include "base/netaddr.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dataplane; /* opaque */
struct record;    /* crypto/record.h */

#define DATAPLANE_MAX_NETS  16
#define DATAPLANE_MAX_PEERS 4096
#define DATAPLANE_MAX_ADDRS 8 /* validated remote addresses of one link */
/* Largest ctl message. A link whose peer sends a larger one, or more than control can follow, ends. */
#define DATAPLANE_CTL_BYTES 2048

/* Every reason why a packet was dropped; names for status --json come from dataplane_drop_name(). */
enum dataplane_drop {
	/* from the TUN */
	DATAPLANE_DROP_TX_NO_PEER =
		0,                    /* destination is no member, or the member is not connected */
	DATAPLANE_DROP_TX_BAD,        /* not IP, or a source that is not ours */
	DATAPLANE_DROP_TX_TOO_BIG,    /* does not fit; ICMP was sent where the RFC allows it */
	DATAPLANE_DROP_TX_NO_CONSENT, /* send_until has passed */
	DATAPLANE_DROP_TX_QUEUE,      /* socket or association full */
	DATAPLANE_DROP_TX_REFUSED,    /* the system did not send it: no route, local firewall */
	DATAPLANE_DROP_TX_LIMITED,    /* broadcast above the rate limit */
	/* from the socket */
	DATAPLANE_DROP_RX_UNKNOWN,   /* datagram from an address that names no link */
	DATAPLANE_DROP_RX_MALFORMED, /* neither STUN nor a DTLS record */
	DATAPLANE_DROP_RX_AUTH,      /* bad tag */
	DATAPLANE_DROP_RX_REPLAY,    /* seen before or older than the window */
	DATAPLANE_DROP_RX_SCTP,      /* malformed SCTP, wrong tag or checksum */
	DATAPLANE_DROP_RX_EARLY,     /* an IP packet before ip was allowed */
	DATAPLANE_DROP_RX_SOURCE,    /* inner source is not the peer's address */
	DATAPLANE_DROP_RX_DEST,      /* inner destination is not ours */
	DATAPLANE_DROP_RX_BAD,       /* inner packet is malformed */
	DATAPLANE_DROP_RX_LIMITED,   /* broadcast above the rate limit */
	DATAPLANE_DROP_RX_TUN,       /* the TUN refused it */
	DATAPLANE_DROP_RX_LANE,      /* STUN or handshake lane full */
	DATAPLANE_DROP_RX_OVERFLOW,  /* by the kernel: the socket's buffer was full */
	DATAPLANE_DROPS
};

/* Stable name in status --json, such as "rx_source"; NULL above the last. */
const char *dataplane_drop_name(enum dataplane_drop d);

/*
 * Counters of one peer: inner packets, and of what was received also its records and handshake datagrams that were
 * dropped; and of one net, for the rest: packets of no peer, and what is sent without inner packets (STUN, handshakes, SACKs).
 * Written by the packet thread, read by the control thread, relaxed.
 */
struct dataplane_stats {
	_Atomic uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
	_Atomic uint64_t rx_lost; /* given up by the peer: lost on the way, wherever that was */
	_Atomic uint64_t drop[DATAPLANE_DROPS];
};

/* What both threads know of one link; relaxed. */
struct dataplane_link_shared {
	_Atomic uint64_t send_until_us; /* control writes: consent; 0 stops sending */
	_Atomic uint64_t heard_us;      /* packet thread writes: last authentic record received */
	_Atomic uint64_t sent_us;       /* last record sent, SACKs apart */
	_Atomic uint32_t srtt_us;       /* of SCTP */
	_Atomic uint64_t records_sent;  /* for rekeying before 2^31 */
	_Atomic uint32_t ctl_events;    /* of this link that control has not given back yet */
};

struct dataplane_net_config {
	int tun_fd;  /* moved: closed by the packet thread with the net unless tun_keep */
	int udp4_fd; /* moved, or -1 */
	int udp6_fd; /* moved, or -1 */
	bool tun_keep; /* the descriptor is given back by DATAPLANE_EVENT_NET_GONE instead of closed */
	bool tun_vnet_hdr, tun_uso; /* what the TUN accepted */
	uint16_t mtu;               /* of the TUN */
	struct netaddr ip4, ip6;    /* our own */
	struct netprefix prefix4, prefix6;
};

struct dataplane_peer_config {
	struct netaddr ip4, ip6; /* the only sources accepted from it */
};

enum dataplane_dtls_role {
	DATAPLANE_DTLS_CLIENT, /* opens both channels */
	DATAPLANE_DTLS_SERVER, /* sends nothing before a record of the client has opened */
};

struct dataplane_keys_config {
	struct record *record; /* moved, also on failure */
	enum dataplane_dtls_role role;
	uint16_t sctp_local_port, sctp_remote_port;
	uint32_t max_message_bytes; /* the peer's, from SDP */
	bool zero_checksum;
};

enum dataplane_event_type {
	/* STUN for a known ufrag or transaction prefix: net, local, remote, data. */
	DATAPLANE_EVENT_STUN,
	/* Handshake records from a validated address of `link`, those of epoch 1 too: data is raw. */
	DATAPLANE_EVENT_HANDSHAKE,
	/* An authentic alert: link; data[0] level, data[1] description. */
	DATAPLANE_EVENT_ALERT,
	/* `ctl` is open in both directions on `link`: dataplane_ctl_send() may be used. */
	DATAPLANE_EVENT_CTL_OPEN,
	/* One ctl message on `link`: data, at most DATAPLANE_CTL_BYTES. */
	DATAPLANE_EVENT_CTL,
	/* `ip` is open on `link`; packets pass once dataplane_link_allow_ip() was called too. */
	DATAPLANE_EVENT_IP_OPEN,
	/* The SCTP association of `link` ended. */
	DATAPLANE_EVENT_LINK_DOWN,
	/* After dataplane_link_del / peer_del / net_del: nothing refers to the shared blocks any more. */
	DATAPLANE_EVENT_LINK_GONE,
	DATAPLANE_EVENT_PEER_GONE,
	DATAPLANE_EVENT_NET_GONE,
	/* The TUN of `net` failed (deleted by hand). */
	DATAPLANE_EVENT_TUN_LOST,
};

struct dataplane_event {
	enum dataplane_event_type type;
	uint32_t net, peer, link;
	struct netaddr local, remote;
	int tun_fd; /* with NET_GONE and tun_keep, else -1; moved to the caller */
	size_t len;
	const uint8_t *data; /* borrowed until dataplane_event_done() */
};

/*
 * How many IP packets of `mtu` bytes one train holds. A super-packet of no more leaves in one send, is received in one
 * and written in one; a larger one costs each of these twice.
 */
unsigned dataplane_train_packets(uint16_t mtu);

/* Makes it and starts its thread. Returns 0, -ENOMEM, -errno. */
int dataplane_new(struct dataplane **out) gv_must_check gv_nonnull(1);
/* Stops and joins the thread, closes what it owns. NULL is allowed. Shared blocks given out stay valid. */
void dataplane_free(struct dataplane *d);

/* Readable until dataplane_event() has said that there is none. Owned by the data plane. */
int dataplane_event_fd(const struct dataplane *d) gv_nonnull(1);
/* Next event, or NULL. Give it back by dataplane_event_done() before asking for the next. */
const struct dataplane_event *dataplane_event(struct dataplane *d) gv_nonnull(1);
void dataplane_event_done(struct dataplane *d, const struct dataplane_event *e) gv_nonnull(1, 2);

/*
 * Commands. Each returns 0, -ENOMEM or -ENOBUFS (command lane full; nothing was done).
 * The shared blocks are made by the caller with mem_new(), borrowed until the matching GONE event, then freed by it.
 */
int dataplane_net_add(struct dataplane *d, uint32_t net, const struct dataplane_net_config *c,
                      struct dataplane_stats *shared) gv_must_check gv_nonnull(1, 3, 4);
int dataplane_net_del(struct dataplane *d, uint32_t net) gv_must_check gv_nonnull(1);

/* -ENOBUFS also when there are DATAPLANE_MAX_PEERS, of all networks together. */
int dataplane_peer_add(struct dataplane *d, uint32_t net, uint32_t peer,
                       const struct dataplane_peer_config *c, struct dataplane_stats *shared)
	gv_must_check gv_nonnull(1, 4, 5);
/* Its links must be deleted first. */
int dataplane_peer_del(struct dataplane *d, uint32_t peer) gv_must_check gv_nonnull(1);

/*
 * Adds a link. From now on STUN requests whose username begins with `ufrag` and responses whose transaction id
 * begins with `transaction_prefix` pass to control. That prefix is all that is compared, so it must be random: what a
 * stranger guesses right costs control a look. The same call with the same link replaces the ufrag (ICE restart),
 * keeping the old one too.
 */
int dataplane_link_add(struct dataplane *d, uint32_t peer, uint32_t link, const char *ufrag,
                       uint32_t transaction_prefix, struct dataplane_link_shared *shared)
	gv_must_check gv_nonnull(1, 4, 6);
/* The prefix, random as well, of STUN transactions of a network's gathering, which belong to no link. */
int dataplane_net_transactions(struct dataplane *d, uint32_t net, uint32_t transaction_prefix)
	gv_must_check gv_nonnull(1);
/* `remote` was validated by ICE: DTLS from there belongs to this link. The oldest of too many is forgotten. */
int dataplane_link_addr(struct dataplane *d, uint32_t link, const struct netaddr *remote)
	gv_must_check gv_nonnull(1, 3);
/* Where to send from now on. */
int dataplane_link_path(struct dataplane *d, uint32_t link, const struct netaddr *local,
                        const struct netaddr *remote) gv_must_check gv_nonnull(1, 3, 4);
/* The keys of epoch 1: records can be sealed and opened from now on. */
int dataplane_link_keys(struct dataplane *d, uint32_t link, const struct dataplane_keys_config *c)
	gv_must_check gv_nonnull(1, 3);
/* The DTLS handshake ended, the peer's certificate is proven: SCTP may begin. After dataplane_link_keys(). */
int dataplane_link_start(struct dataplane *d, uint32_t link) gv_must_check gv_nonnull(1);
/* DTLS client: open the `ip` channel now (the peer's confirmation was verified). */
int dataplane_link_open_ip(struct dataplane *d, uint32_t link) gv_must_check gv_nonnull(1);
/* Every proof of this link was verified: IP may pass. With `ip` open too, it is the peer's link in use. */
int dataplane_link_allow_ip(struct dataplane *d, uint32_t link) gv_must_check gv_nonnull(1);
/* Both hellos announced tunnel mode. */
int dataplane_link_tunnel(struct dataplane *d, uint32_t link) gv_must_check gv_nonnull(1);
/* The peer takes segments whose transport checksum is still to be made. */
int dataplane_link_partial(struct dataplane *d, uint32_t link) gv_must_check gv_nonnull(1);
/* Ends a link; with `polite` an SCTP ABORT and a DTLS close_notify are sent first. */
int dataplane_link_del(struct dataplane *d, uint32_t link, bool polite) gv_must_check gv_nonnull(1);

/* A raw datagram (STUN, epoch-0 DTLS) of `net`, from `local` (address and ifindex; any: zero) to `remote`. */
int dataplane_send_raw(struct dataplane *d, uint32_t net, const struct netaddr *local,
                       const struct netaddr *remote, const void *data, size_t len)
	gv_must_check gv_nonnull(1, 3, 4, 5);
/* Plaintext to be sealed as content type `type` under the link's next sequence number and sent on its path. */
int dataplane_send_sealed(struct dataplane *d, uint32_t link, uint8_t type, const void *data,
                          size_t len) gv_must_check gv_nonnull(1, 4);
/* One reliable ordered message on `ctl`. */
int dataplane_ctl_send(struct dataplane *d, uint32_t link, const void *data, size_t len)
	gv_must_check gv_nonnull(1, 3);

GV_DEFINE_CLEANUP(struct dataplane *, dataplane_free)

#endif /* GV_ENGINE_DATAPLANE_DATAPLANE_H */
