/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_HOSTADDR_H
#define GV_ENGINE_CLIENT_HOSTADDR_H

/*
 * hostaddr - which of the system's addresses peers should try, and in which order.
 *
 * Does:      leaves out what no peer can use: loopback, link-local, tunnels, what is not usable yet; puts the
 *            interfaces that lead to the Internet first, so that a computer with dozens of bridges still names the
 *            one that counts; keeps places for both families.
 * Does not:  ask the system (route).
 * Thread:    any.
 */

#include "base/macro.h"
#include "base/netaddr.h"
#include "io/route.h"

#include <stddef.h>

/*
 * Writes at most max addresses, best first, with their ifindex and without a port: interfaces with a default route by
 * its metric, then the others; of one interface IPv6 first. Up to half of the places are kept for each family.
 * Returns 0 and *count; -ENOMEM.
 */
int hostaddr_rank(struct netaddr *out, size_t max, const struct route_addr *addrs, size_t n,
                  const struct route_entry *routes, size_t n_routes, size_t *count)
	gv_must_check gv_nonnull(1, 7);

#endif /* GV_ENGINE_CLIENT_HOSTADDR_H */
