/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_RESOLVE_H
#define GV_IO_RESOLVE_H

/*
 * resolve - names to addresses on the worker threads of the loop, so that a dead resolver stalls
 * nobody.
 *
 * Thread:    control.
 * Memory:    one block per request; at most RESOLVE_ADDRS addresses are given.
 */

#include "base/macro.h"
#include "base/netaddr.h"

#include <stddef.h>
#include <stdint.h>

struct loop;
struct resolve; /* opaque: one request */

#define RESOLVE_ADDRS 8

/*
 * Called once, on the loop's thread. n = 0: the name has no address, or nobody answered. addrs is
 * borrowed.
 */
typedef void (*resolve_fn)(void *user, const struct netaddr *addrs, size_t n);

/*
 * Starts a look-up of a host name or numeric address. Never calls fn from inside. *out is valid
 * until fn was called or resolve_cancel(); the request frees itself. Returns 0; -EINVAL; -ENOMEM;
 * -errno.
 */
int resolve_start(struct resolve **out, struct loop *loop, const char *host, uint16_t port,
                  resolve_fn fn, void *user) gv_must_check gv_nonnull(1, 2, 3, 5);

/* No callback any more; the request ends by itself. NULL is allowed. */
void resolve_cancel(struct resolve *r);

#endif /* GV_IO_RESOLVE_H */
