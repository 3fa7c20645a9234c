/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_SIM_NET_H
#define GV_TESTS_SIM_NET_H

/*
 * net - a small Internet in virtual time: datagrams, loss, delay, and NATs of each kind (RFC 4787).
 *
 * Realm 0 is the Internet; each NAT makes a realm of its own behind one public address. A datagram goes to the
 * address in its own realm when somebody has it, else out through the NAT. There is no hairpin.
 * Time is the caller's: sim_send() at now, sim_receive() gives what has arrived by now.
 */

#include "base/netaddr.h"
#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_MAX_NATS     8
#define SIM_MAX_HOSTS    16
#define SIM_MAX_MAPPINGS 256
#define SIM_MAX_PERMITS  1024
#define SIM_MAX_PACKETS  1024
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
	struct netaddr inner, outer, peer; /* peer: with SIM_MAP_PER_PEER */
};

struct sim_permit {
	struct netaddr outer, peer;
};

struct sim_nat {
	enum sim_mapping mapping;
	enum sim_filter filter;
	struct netaddr public_ip;
	uint16_t next_port;
	struct sim_map_entry maps[SIM_MAX_MAPPINGS];
	struct sim_permit permits[SIM_MAX_PERMITS];
	size_t permit_count;
};

struct sim_packet {
	uint64_t at_us;
	unsigned realm; /* where it arrives */
	bool is_inside; /* it never left its realm */
	struct netaddr from, to;
	size_t len;
	uint8_t data[SIM_PACKET_MAX];
};

struct sim_host {
	bool used;
	unsigned realm;
	struct netaddr ip;
};

struct sim_net {
	struct rng rng;
	unsigned loss_permille; /* of each datagram */
	uint32_t delay_min_us, delay_max_us;
	bool cut;                          /* nothing passes */
	struct sim_nat nats[SIM_MAX_NATS]; /* realm n is behind nats[n - 1] */
	unsigned nat_count;
	struct sim_host hosts[SIM_MAX_HOSTS];
	struct sim_packet *packets[SIM_MAX_PACKETS]; /* owned; under way */
	size_t packet_count;
	uint64_t sent, lost, blocked, unrouted;
};

/* Starts an empty Internet; sim_deinit() frees what is under way. */
void sim_init(struct sim_net *n, uint64_t seed);
void sim_deinit(struct sim_net *n);

/* A realm behind a new NAT (or firewall, with SIM_MAP_NONE). Returns its number. */
unsigned sim_add_nat(struct sim_net *n, enum sim_mapping mapping, enum sim_filter filter,
                     const char *public_ip);
/* Puts a host address into a realm, or takes it out. */
void sim_add_host(struct sim_net *n, unsigned realm, const struct netaddr *ip);
void sim_remove_host(struct sim_net *n, unsigned realm, const struct netaddr *ip);
/* The NAT of this realm forgets everything and goes on with other ports. */
void sim_rebind(struct sim_net *n, unsigned realm);

/* Sends from a host of this realm. */
void sim_send(struct sim_net *n, unsigned realm, const struct netaddr *from,
              const struct netaddr *to, const uint8_t *data, size_t len, uint64_t now_us);
/* When the next datagram arrives; UINT64_MAX when none is under way. */
uint64_t sim_next_us(const struct sim_net *n);
/* The next datagram that has arrived by now: true and *out. */
bool sim_receive(struct sim_net *n, struct sim_packet *out, uint64_t now_us);

#endif /* GV_TESTS_SIM_NET_H */
