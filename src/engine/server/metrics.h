/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_SERVER_METRICS_H
#define GV_ENGINE_SERVER_METRICS_H

/*
 * metrics - the server's numbers as text: /stats (JSON) and /metrics (Prometheus).
 *
 * Thread:    any.   Memory: the caller's buffer.   Time: as arguments.
 */

#include "base/buf.h"
#include "base/macro.h"
#include "engine/server/hub.h"
#include "engine/server/stun_service.h"

#include <stdint.h>

struct metrics {
	struct hub_stats hub;
	struct stun_service_stats stun;
	size_t sockets; /* TCP connections */
	int64_t now_unix_s;
	uint32_t max_computers_network;
	int64_t expire_s; /* 0: networks are kept */
};

/* Return 0; -ENOBUFS; -ENOMEM. */
int metrics_json(const struct metrics *m, struct buf *out) gv_must_check gv_nonnull(1, 2);
int metrics_prometheus(const struct metrics *m, struct buf *out) gv_must_check gv_nonnull(1, 2);

#endif /* GV_ENGINE_SERVER_METRICS_H */
