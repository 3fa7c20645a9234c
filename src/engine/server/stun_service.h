/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_SERVER_STUN_SERVICE_H
#define GV_ENGINE_SERVER_STUN_SERVICE_H

/*
 * stun_service - UDP sockets that tell computers the address their packets come from.
 *
 * Does:      answers binding requests from the address they were sent to, at most STUN_LIMIT_PER_S a second for each source.
 * Thread:    control.
 * Memory:    one receive buffer and one limit table for all sockets.
 */

#include "base/diag.h"
#include "base/macro.h"
#include "base/netaddr.h"

#include <stddef.h>
#include <stdint.h>

struct loop;
struct stun_service; /* opaque */

#define STUN_SERVICE_MAX 8

struct stun_service_stats {
	uint64_t answered, ignored, limited;
};

/* No socket yet. seed is random. Returns 0; -ENOMEM. */
int stun_service_new(struct stun_service **out, struct loop *loop, uint64_t seed)
	gv_must_check gv_nonnull(1, 2);

/*
 * Opens one more socket; port 0 takes a free one. *bound gets the real address. Returns 0; enum udp_result with a
 * sentence in diag; -ENOSPC too many; -errno.
 */
int stun_service_add(struct stun_service *s, const struct netaddr *addr, struct netaddr *bound,
                     struct diag *diag) gv_must_check gv_nonnull(1, 2, 3, 4);

/* NULL is allowed. */
void stun_service_close(struct stun_service *s);

void stun_service_stats(const struct stun_service *s, struct stun_service_stats *out)
	gv_nonnull(1, 2);

#endif /* GV_ENGINE_SERVER_STUN_SERVICE_H */
