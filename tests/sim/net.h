/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_SIM_NET_H
#define GV_TESTS_SIM_NET_H

/*
 * net - a small Internet in virtual time: datagrams, loss, delay, reordering, duplication, corruption, and NATs of
 * each kind (RFC 4787), one behind another too.
 *
 * Realm 0 is the Internet; each NAT makes a realm of its own behind one public address in its parent realm. A
 * datagram goes to the address in its own realm when somebody has it, else out through the NAT, realm by realm.
 * Time is the caller's: sim_send() at now, sim_receive() gives what has arrived by now.
 */

#include "base/netaddr.h"
#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_MAX_NATS     48
#define SIM_MAX_HOSTS    96
#define SIM_MAX_MAPPINGS 512
#define SIM_MAX_PERMITS  2048
#define SIM_PACKET_MAX   1500

enum sim_mapping {
	SIM_MAP_NONE,     /* no translation: the hosts have public addresses; a firewall only */
	SIM_MAP_PER_BASE, /* endpoint-independent: one port for all destinations */
	SIM_MAP_PER_PEER, /* address- and port-dependent ("symmetric") */
};

enum sim_filter {
	SIM_FILTER_NONE, /* endpoint-independent: anybody may send to a mapping */
	SIM_FILTER_ADDR, /* addresses that were sent to */
	SIM_FILTER_PORT, /* addresses and ports that were sent to */
};

struct sim_map_entry {
	bool used;
	uint64_t used_us;                  /* last packet from inside */
	struct netaddr inner, outer, peer; /* peer: with SIM_MAP_PER_PEER */
};

struct sim_permit {
	uint64_t used_us;
	struct netaddr outer, peer;
};

struct sim_nat {
	unsigned parent; /* realm of its public address */
	enum sim_mapping mapping;
	enum sim_filter filter;
	struct netaddr public_ip;
	bool hairpin; /* RFC 4787 9.1: its hosts reach each other by its public address */
	bool blocked; /* no datagram passes */
	uint64_t
		idle_us; /* what was not used from inside for so long is forgotten; 0: nothing is */
	uint16_t next_port;
	struct sim_map_entry maps[SIM_MAX_MAPPINGS];
	unsigned map_end;
	struct sim_permit permits[SIM_MAX_PERMITS];
	unsigned permit_count;
};

struct sim_packet {
	uint64_t at_us,
		number; /* number: of two that arrive at one time the older one comes first */
	unsigned realm; /* where it arrives: below its NAT, unless is_inside */
	bool is_inside; /* no NAT is to be entered */
	struct netaddr from, to;
	size_t len;
	uint8_t data[SIM_PACKET_MAX];
};

struct sim_host {
	bool used;
	bool deaf; /* nothing arrives: a path of one direction */
	bool mute; /* nothing leaves */
	unsigned realm;
	struct netaddr ip;
};

/* Sees each datagram between two networks as it leaves the sender's, before it may be lost. */
typedef void (*sim_tap_fn)(void *user, const struct netaddr *from, const struct netaddr *to,
                           const uint8_t *data, size_t len, uint64_t now_us);

struct sim_net {
	struct rng rng;
	sim_tap_fn tap; /* NULL: nobody listens; it may send, too */
	void *tap_user;
	unsigned loss_permille, duplicate_permille, corrupt_permille; /* of each datagram */
	unsigned late_permille; /* take up to late_us longer, so that others overtake them */
	uint32_t late_us;
	uint32_t delay_min_us, delay_max_us;
	bool cut;                           /* nothing passes */
	struct sim_nat *nats[SIM_MAX_NATS]; /* owned; realm n is behind nats[n - 1] */
	unsigned nat_count;
	struct sim_host hosts[SIM_MAX_HOSTS];
	struct sim_packet **packets; /* owned; a heap by arrival */
	size_t packet_count, packet_room;
	uint64_t sent, lost, blocked, unrouted, corrupted;
};

/* Starts an empty Internet; sim_deinit() frees what it holds. */
void sim_init(struct sim_net *n, uint64_t seed);
void sim_deinit(struct sim_net *n);

/* A realm behind a new NAT (or firewall, with SIM_MAP_NONE) of the realm `parent`. Returns its number. */
unsigned sim_add_nat(struct sim_net *n, unsigned parent, enum sim_mapping mapping,
                     enum sim_filter filter, const struct netaddr *public_ip);
/* The NAT of a realm other than 0. */
struct sim_nat *sim_nat_of(struct sim_net *n, unsigned realm);
/* Puts a host address into a realm, or takes it out. */
void sim_add_host(struct sim_net *n, unsigned realm, const struct netaddr *ip);
void sim_remove_host(struct sim_net *n, unsigned realm, const struct netaddr *ip);
/* The host with this address in this realm, or NULL. */
struct sim_host *sim_find_host(struct sim_net *n, unsigned realm, const struct netaddr *ip);
/* The NAT of this realm forgets everything and goes on with other ports. */
void sim_rebind(struct sim_net *n, unsigned realm);

/* Sends from a host of this realm. */
void sim_send(struct sim_net *n, unsigned realm, const struct netaddr *from,
              const struct netaddr *to, const uint8_t *data, size_t len, uint64_t now_us);
/* Puts a datagram on the Internet with any source. */
void sim_forge(struct sim_net *n, const struct netaddr *from, const struct netaddr *to,
               const uint8_t *data, size_t len, uint64_t now_us);
/* When the next datagram arrives; UINT64_MAX when none is under way. */
uint64_t sim_next_us(const struct sim_net *n);
/* The next datagram that has arrived by now: true and *out. */
bool sim_receive(struct sim_net *n, struct sim_packet *out, uint64_t now_us);

/* One address and port of a computer. */
struct sim_base {
	unsigned realm;
	struct netaddr addr;
};

/*
 * By theory: two sides that know each other's host and server-reflexive addresses, and try all of them, find a direct
 * path between these two bases. It follows from the NATs alone: no packet is sent.
 */
bool sim_can_meet(struct sim_net *n, const struct sim_base *a, const struct sim_base *b);

#endif /* GV_TESTS_SIM_NET_H */
