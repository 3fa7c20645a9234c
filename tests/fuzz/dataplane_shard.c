/* SPDX-License-Identifier: MIT */

/* The packet thread without a thread: turns of it are asked for by fuzz_dataplane.c. */

#include "dataplane_parts.h"

#include "engine/dataplane/shard.c"

void shard_turn(struct shard *s, uint64_t now_us)
{
	s->now_us = now_us;
	run_timers(s);
	run_queues(s);
	run_commands(s);
}
