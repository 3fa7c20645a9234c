/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_PRIV_H
#define GV_IO_PRIV_H

/*
 * priv - gives up every right the daemon does not need.
 *
 * Does:      keeps CAP_NET_ADMIN (routes, addresses, TUN), and CAP_NET_BIND_SERVICE where a port
 *            below 1024 is asked for; empties the bounding and ambient sets; sets no_new_privs.
 * Does not:  change the user.
 * Thread:    call before the first thread exists: capabilities belong to a thread.
 */

#include "base/macro.h"

#include <stdbool.h>

/* CAP_NET_ADMIN is in effect. */
bool priv_has_net_admin(void);

enum priv_ports {
	PRIV_PORTS_ANY_HIGH, /* 0 and 1024 upwards */
	PRIV_PORTS_LOW_TOO,  /* below 1024 as well */
};

/* Drops. Returns 0; -EPERM not possible; -errno. */
int priv_drop(enum priv_ports ports) gv_must_check;

#endif /* GV_IO_PRIV_H */
