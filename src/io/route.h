/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_ROUTE_H
#define GV_IO_ROUTE_H

/*
 * route - the system's interfaces, addresses and routes. One small file per system: route_linux.c
 * (netlink).
 *
 * Does:      brings a tunnel interface up with its addresses and routes; lists interfaces,
 *            addresses and routes of the main table; says when any of them changed.
 * Does not:  make interfaces (tun), decide what conflicts or which address is a candidate
 *            (engine/client).
 * Thread:    control. Every call is answered by the kernel at once; nothing waits for the network.
 * Memory:    lists are one array each, at most ROUTE_LIST_MAX entries.
 * Time:      none.
 */

#include "base/macro.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROUTE_NAME_SIZE 16
#define ROUTE_LIST_MAX  65536

struct route; /* opaque */

enum route_result {
	ROUTE_OK = 0,
	ROUTE_DENIED = 1,    /* no right to change the system's network */
	ROUTE_NO_LINK = 2,   /* the interface is gone */
	ROUTE_EXISTS = 3,    /* the same route exists, made by somebody else */
	ROUTE_NO_FAMILY = 4, /* IPv6 is switched off on this computer or interface */
};

enum route_link_kind {
	ROUTE_LINK_OTHER =
		0, /* Ethernet, Wi-Fi, mobile, PPP (an uplink, as PPPoE), veth, bridges, VLANs */
	ROUTE_LINK_LOOPBACK,
	ROUTE_LINK_TUNNEL, /* tun, tap, WireGuard, IPsec, GRE ...: ours and others' */
};

struct route_link {
	uint32_t ifindex;
	char name[ROUTE_NAME_SIZE];
	enum route_link_kind kind;
	bool up;      /* set up, and with a carrier */
	uint32_t mtu; /* bytes */
};

struct route_addr {
	uint32_t ifindex;
	enum route_link_kind kind; /* of its interface */
	struct netaddr addr;       /* port 0; ifindex set for link-local addresses */
	uint8_t bits;              /* of its prefix */
	bool usable;    /* not tentative, not deprecated, no failed duplicate detection */
	bool temporary; /* IPv6 privacy address (RFC 8981) */
};

struct route_entry {
	struct netprefix dst;   /* bits 0: the default route */
	struct netaddr gateway; /* family NETADDR_NONE: on link */
	uint32_t ifindex;
	uint32_t metric;
};

/* Opens the netlink sockets; changes are noticed from now on. Returns 0; -errno. */
int route_open(struct route **out) gv_must_check gv_nonnull(1);
/* NULL is allowed. */
void route_free(struct route *r);

/*
 * Sets the MTU, forbids link-local addresses made by the kernel, and brings the interface up. Super-packets that
 * the kernel hands to it are cut out of at most gso_packets packets, where the kernel can be told so; 0: its own limit.
 * Returns ROUTE_OK, ROUTE_DENIED, ROUTE_NO_LINK; -errno.
 */
int route_link_up(struct route *r, uint32_t ifindex, uint32_t mtu_bytes, uint32_t gso_packets)
	gv_must_check gv_nonnull(1);

/*
 * Adds an address. The kernel makes the route of its prefix by itself (metric 0) once the interface
 * is up. Adding what is there already is ROUTE_OK. Returns ROUTE_OK, ROUTE_DENIED, ROUTE_NO_LINK,
 * ROUTE_NO_FAMILY; -errno.
 */
int route_addr_add(struct route *r, uint32_t ifindex, const struct netaddr *addr, uint8_t bits)
	gv_must_check gv_nonnull(1, 3);

/*
 * Adds a route through the interface, or takes it away. Taking away what is not there is ROUTE_OK.
 * Returns ROUTE_OK, ROUTE_DENIED, ROUTE_NO_LINK, ROUTE_EXISTS (add only), ROUTE_NO_FAMILY; -errno.
 */
int route_add(struct route *r, const struct netprefix *dst, uint32_t ifindex)
	gv_must_check gv_nonnull(1, 2);
int route_del(struct route *r, const struct netprefix *dst, uint32_t ifindex)
	gv_must_check gv_nonnull(1, 2);

/*
 * Lists. On success *out is an array of *count entries, owned by the caller, freed by mem_free();
 * NULL when empty.
 * Return 0; -ENOMEM; -errno.
 */
int route_links(struct route *r, struct route_link **out, size_t *count)
	gv_must_check gv_nonnull(1, 2, 3);
int route_addrs(struct route *r, struct route_addr **out, size_t *count)
	gv_must_check gv_nonnull(1, 2, 3);
/* Unicast routes of the main table, both families. */
int route_entries(struct route *r, struct route_entry **out, size_t *count)
	gv_must_check gv_nonnull(1, 2, 3);

/* Readable when something changed. Owned by r. */
int route_watch_fd(const struct route *r) gv_nonnull(1);

/* What route_watch_take() saw; bits. */
enum route_change {
	/* An address, an interface's state or a route of the main table (also when the kernel had to drop messages). */
	ROUTE_CHANGE_OTHERS = 1 << 0,
	/* One of our interfaces was set down, or lost an address. */
	ROUTE_CHANGE_OURS = 1 << 1,
};

/* Empties the watch: enum route_change since the last call. Ours are the interfaces `prefix*` (such as "govpn"). */
unsigned route_watch_take(struct route *r, const char *prefix) gv_nonnull(1, 2);

GV_DEFINE_CLEANUP(struct route *, route_free)

#endif /* GV_IO_ROUTE_H */
