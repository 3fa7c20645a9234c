/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_UNIT_ENGINE_DATAPLANE_ROGUE_H
#define GV_TESTS_UNIT_ENGINE_DATAPLANE_ROGUE_H

/*
 * rogue - one data plane under test, and a peer made of the same protocol modules that may say anything to it.
 *
 * The TUN is a socket pair, the network is loopback: the test is the kernel on one side and the peer on the other. The
 * data plane is 10.9.0.1, the peer 10.9.0.2, a second peer without a link 10.9.0.3.
 */

#include "base/netaddr.h"
#include "crypto/record.h"
#include "engine/dataplane/dataplane.h"
#include "io/udp.h"
#include "proto/dcep/channel.h"
#include "proto/ip/vnet.h"
#include "proto/sctp/sctp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROGUE_NET   1
#define ROGUE_PEER  2
#define ROGUE_OTHER 3
#define ROGUE_LINK  4
#define ROGUE_LINK2 5
#define ROGUE_UFRAG "ufrg"

struct rogue {
	struct dataplane *d;
	struct dataplane_stats net, peer, other;
	struct dataplane_link_shared link, link2;
	int tun;                       /* the kernel's end */
	struct netaddr local, remote;  /* of the data plane and of the peer */
	enum dataplane_dtls_role role; /* of the data plane */

	/* the peer */
	struct udp udp;
	struct record *record;
	struct sctp *sctp;
	struct dcep *dcep;
	uint16_t ip_stream;
	bool ctl_open, ip_open;
	unsigned closed; /* alerts and ABORTs of the data plane */

	/* last events and data seen */
	unsigned events[DATAPLANE_EVENT_TUN_LOST + 1];
	unsigned settled; /* answers to rogue_settle(), not among the events */
	uint8_t event_data[2048];
	size_t event_len;
	uint32_t event_link;
	uint8_t ctl[2048]; /* last ctl message the peer got */
	size_t ctl_len;
	uint8_t ip[70000]; /* last IP packet the peer got */
	size_t ip_len;
	uint32_t ip_ppid; /* that it came with; and that of what the peer sends next, 0: as usual */
	uint32_t send_ppid;
	struct vnet tun_read_header,
		tun_write_header; /* of the last packet read from the TUN, of the next one written */
	unsigned ip_count;
};

/* Starts the data plane with network, peers and a link that has no address yet. False: no memory (the OOM run). */
bool rogue_start(struct rogue *g, enum dataplane_dtls_role role);
void rogue_stop(struct rogue *g);

/* One end of epoch 1 with keys made from seed. */
struct record *rogue_record(enum record_role role, uint8_t seed);
/* Gives the link address, path and keys; the peer has the other half. */
void rogue_keys(struct rogue *g);
/* All of that and both channels open, `ip` allowed. */
void rogue_up(struct rogue *g);

/* Lets both sides work until done(g) is true; fails the test after 5 s. */
void rogue_run(struct rogue *g, bool (*done)(const struct rogue *g), const char *what);
/* Lets both sides work until counter c has reached n. */
void rogue_count(struct rogue *g, _Atomic uint64_t *c, uint64_t n, const char *what);
/* Lets both sides work until the data plane has done every command given so far. */
void rogue_settle(struct rogue *g);
/* Works a little, without an aim. */
void rogue_turn(struct rogue *g);

/* The peer sends bytes as they are. */
void rogue_raw(struct rogue *g, const void *data, size_t len);
/* The peer sends a message on `ip`. */
void rogue_ip(struct rogue *g, const void *packet, size_t len);
/* The same, but it is lost on the way. */
void rogue_ip_lost(struct rogue *g, const void *packet, size_t len);
void rogue_ctl(struct rogue *g, const void *data, size_t len);
/* The same when there is room for it, and lets the peer work alone: events of the data plane stay where they are. */
void rogue_ctl_only(struct rogue *g, const void *data, size_t len);

/* An IPv4 UDP packet with right checksums. Returns its length. */
size_t rogue_packet(uint8_t *out, uint32_t src, uint32_t dst, size_t payload);
/* Next packet written to the TUN, without its virtio header; 0: none yet. */
size_t rogue_tun_read(struct rogue *g, uint8_t *out, size_t size);
void rogue_tun_write(struct rogue *g, const void *packet, size_t len);

/* For rogue_run(). */
bool rogue_tun_has_packet(const struct rogue *g);
bool rogue_ip_at_peer(const struct rogue *g);

#endif /* GV_TESTS_UNIT_ENGINE_DATAPLANE_ROGUE_H */
