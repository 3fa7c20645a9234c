/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_SERVER_IPAM_H
#define GV_ENGINE_SERVER_IPAM_H

/*
 * ipam - decides which tunnel address a computer gets in a network.
 *
 * Does:      the lowest free address that is not resting; a computer that left finds its old one again; when nothing
 *            else is left, the address that has rested longest.
 * Does not:  store anything (store): the caller reads the leases, asks here and writes the answer, all in one
 *            transaction.
 * Thread:    any.   Memory: none.
 * Time:      wall-clock seconds, as stored with the leases; a clock that went back only makes a rest longer.
 */

#include "base/macro.h"
#include "base/netaddr.h"
#include "proto/sig/netid.h"

#include <stddef.h>
#include <stdint.h>

struct ipam_lease {
	uint32_t address; /* host order */
	uint8_t key[SIG_KEY_SIZE];
	uint8_t invite[SIG_KEY_SIZE]; /* by which the key joined; zero for none */
	int64_t released_unix_s;      /* 0: held */
};

enum ipam_result {
	IPAM_OK = 0,
	IPAM_FULL = 1, /* every address is held: answer network_full, change nothing */
};

/*
 * Picks an address for `key`.
 *
 * subnet  IPv4, /1 .. /30; its first and last address are never given.
 * leases  of this network, sorted by address, each address and each key at most once; borrowed.
 * max     so many leases, held and resting together, are kept: then the one that has rested longest is given, though others
 *         were never used.
 * rest_s  how long a released address is kept from other computers.
 *
 * Returns IPAM_OK with *out in host order, IPAM_FULL. Cost: one pass over the leases.
 */
int ipam_pick(const struct netprefix *subnet, const struct ipam_lease *leases, size_t n_leases,
              size_t max, const uint8_t key[static SIG_KEY_SIZE], int64_t now_unix_s,
              int64_t rest_s, uint32_t *out) gv_must_check gv_nonnull(1, 5, 8);

/* First address for a computer, which is the owner's; host order. */
uint32_t ipam_first(const struct netprefix *subnet) gv_nonnull(1);

/* How many computers fit. */
uint32_t ipam_capacity(const struct netprefix *subnet) gv_nonnull(1);

#endif /* GV_ENGINE_SERVER_IPAM_H */
