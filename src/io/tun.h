/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_TUN_H
#define GV_IO_TUN_H

/*
 * tun - layer-3 tunnel interfaces. One small file per system: tun_linux.c.
 *
 * Does:      opens /dev/net/tun descriptors early (they cannot be opened again after privileges are dropped), attaches
 *            one to a named interface with the best offloads the kernel takes, detaches it again.
 * Does not:  addresses, routes, link state (route.h), reading or writing packets (engine/dataplane).
 * Thread:    control.
 */

#include "base/diag.h"
#include "base/macro.h"

#include <stdbool.h>
#include <stdint.h>

#define TUN_NAME_SIZE   16
#define TUN_DESCRIPTORS 16

struct tun_pool; /* opaque: the descriptors opened at start */

enum tun_result {
	TUN_OK = 0,
	TUN_NO_DEVICE = 1, /* /dev/net/tun is missing */
	TUN_DENIED = 2,    /* no right to open or create */
	TUN_BUSY = 3,      /* the name exists; one just freed by kill -9 still does for a moment */
	TUN_NO_MORE = 4,   /* all descriptors are in use */
};

struct tun {
	int fd; /* O_NONBLOCK; owned by the pool, lent to the packet thread (tun_keep) */
	char name[TUN_NAME_SIZE];
	uint32_t ifindex;
	bool vnet_hdr; /* each packet has a 10-byte virtio header; TSO and checksum offload are on */
	bool uso;      /* UDP segmentation offload too */
};

/* Opens `count` descriptors (at most TUN_DESCRIPTORS). Returns TUN_OK, TUN_NO_DEVICE, TUN_DENIED; -errno. */
int tun_pool_open(struct tun_pool **out, unsigned count, struct diag *diag)
	gv_must_check gv_nonnull(1);
void tun_pool_free(struct tun_pool *p);

/*
 * Makes interface `name`, never joining an existing one; offloads are tried stepwise: USO, TSO, checksum only, none.
 * Environment GOVPN_TUN_OFFLOAD=none|csum|tso|uso limits them for tests. Does not wait: with TUN_BUSY the caller
 * tries again by a timer, for 1 s, because the kernel needs a moment to remove the interface of a killed program.
 * Returns TUN_OK with *out filled, TUN_DENIED, TUN_BUSY, TUN_NO_MORE; -errno.
 */
int tun_attach(struct tun_pool *p, const char *name, struct tun *out, struct diag *diag)
	gv_must_check gv_nonnull(1, 2, 3);
/*
 * Destroys the interface (netlink) and gives the descriptor back to the pool for the next tun_attach(): the kernel
 * detaches a descriptor whose interface was deleted, and takes it again. Also for an interface that somebody else
 * deleted already. Nobody may read or write t->fd any more. Takes up to some 30 ms in the kernel.
 */
void tun_detach(struct tun_pool *p, struct tun *t) gv_nonnull(1, 2);

#endif /* GV_IO_TUN_H */
