/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_SUBNET_H
#define GV_ENGINE_CLIENT_SUBNET_H

/*
 * subnet - what a virtual network's subnet would get in the way of on this computer.
 *
 * Conflict: an own address, a gateway or a DNS server inside the subnet, or a route with an equal
 * or longer prefix that overlaps it. A wider route over it (a corporate 10.0.0.0/8) is none: the
 * longer prefix wins.
 *
 * Thread:    control.
 * Memory:    the facts hold three arrays.
 */

#include "base/diag.h"
#include "base/macro.h"
#include "base/netaddr.h"
#include "base/rng.h"
#include "io/route.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUBNET_DNS_MAX      8
#define SUBNET_OTHERS_MAX   64
#define SUBNET_DEFAULT_BITS 24

struct subnet_facts {
	struct route_addr *addrs;    /* owned */
	struct route_entry *entries; /* owned */
	size_t n_addrs, n_entries;
	struct netaddr dns[SUBNET_DNS_MAX];
	size_t n_dns;
	/* Subnets of the networks we are in already. */
	struct netprefix others[SUBNET_OTHERS_MAX];
	size_t n_others;
};

/*
 * Asks the system. resolv_conf is the path of the resolver's file; a missing one has no servers.
 * others stay empty. On success the caller gives *out to subnet_facts_deinit(). Returns 0; -ENOMEM;
 * -errno.
 */
int subnet_facts_read(struct subnet_facts *out, struct route *route, const char *resolv_conf)
	gv_must_check gv_nonnull(1, 2, 3);
void subnet_facts_deinit(struct subnet_facts *f) gv_nonnull(1);

/* Adds the name servers of a resolv.conf text. */
void subnet_facts_add_dns(struct subnet_facts *f, const char *text) gv_nonnull(1, 2);

/*
 * True when `subnet` conflicts; why (may be NULL) says with what. What belongs to the interface
 * own_ifindex (0: none) does not count.
 */
bool subnet_conflicts(const struct subnet_facts *f, const struct netprefix *subnet,
                      uint32_t own_ifindex, struct diag *why) gv_nonnull(1, 2);

/* A random /24 of 10.0.0.0/8 without a conflict. False: none was found. */
bool subnet_choose(const struct subnet_facts *f, struct rng *rng, struct netprefix *out)
	gv_must_check gv_nonnull(1, 2, 3);

#endif /* GV_ENGINE_CLIENT_SUBNET_H */
