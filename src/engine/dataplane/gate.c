/* SPDX-License-Identifier: MIT */

#include "engine/dataplane/gate.h"

#include "base/batch.h"

#define WAIT_US     2000 /* what may stand in the kernel, in time */
#define TRAIN_US    1000
#define BUDGET_MIN  6000 /* two full datagrams, as the kernel counts them */
#define BUDGET_MAX  (4u << 20)
#define LOOK_BYTES  (128u * 1024)
#define LOOK_MIN_US 100
#define LOOK_MAX_US 5000
#define CALM_LOOKS  8
#define DEAD_US     1000000
/* Above it a full train takes less than TRAIN_US in any case, and the rate need not be known. */
#define RATE_FAST (1000000000u)

static uint64_t clamp(uint64_t v, uint64_t least, uint64_t most)
{
	return v < least ? least : GV_MIN(v, most);
}

static void set_rate(struct gate *g, uint64_t rate)
{
	uint64_t budget = rate * WAIT_US / 1000000;

	g->rate = rate;
	g->budget_bytes = (uint32_t)clamp(budget, BUDGET_MIN, BUDGET_MAX);
}

bool gate_sent(struct gate *g, size_t bytes)
{
	g->sent += bytes;
	return !g->closed && g->sent >= GV_MIN(LOOK_BYTES, g->budget_bytes / 2);
}

static void look_open(struct gate *g, uint64_t unsent, uint64_t now_us)
{
	g->sent = 0;
	if (unsent > g->budget_bytes) {
		g->closed = true;
		g->calm = 0;
		g->unsent = unsent;
		g->at_us = g->moved_us = now_us;
		g->next_us = now_us + LOOK_MIN_US;
		return;
	}
	/* What was slow once may be fast now, and would never be measured again. */
	g->calm = unsent < g->budget_bytes / 4 ? g->calm + 1 : 0;
	if (g->rate == 0 || g->calm < CALM_LOOKS)
		return;
	g->calm = 0;
	if (g->rate < RATE_FAST) {
		set_rate(g, 2 * g->rate);
		return;
	}
	uint64_t dead = g->dead;
	*g = GATE_INIT;
	g->dead = dead;
}

void gate_look(struct gate *g, uint64_t unsent, uint64_t now_us)
{
	g->dead = GV_MIN(g->dead, unsent);
	unsent -= g->dead;
	if (!g->closed) {
		look_open(g, unsent, now_us);
		return;
	}
	if (unsent < g->unsent) {
		g->moved_us = now_us;
	} else if (now_us - g->moved_us >= DEAD_US) {
		g->dead += unsent;
		unsent = 0;
	}
	uint64_t spent_us = now_us - g->at_us;
	if (g->moved_us == now_us && spent_us >= LOOK_MIN_US) {
		uint64_t rate = (g->unsent - unsent) * 1000000 / spent_us;

		set_rate(g, g->rate == 0 ? rate : (3 * g->rate + rate) / 4);
	}
	g->unsent = unsent;
	g->at_us = now_us;
	if (unsent <= g->budget_bytes / 2) {
		g->closed = false;
		g->sent = 0;
		return;
	}
	uint64_t wait_us =
		g->rate == 0 ? LOOK_MAX_US : (unsent - g->budget_bytes / 2) * 1000000 / g->rate;
	g->next_us = now_us + clamp(wait_us, LOOK_MIN_US, LOOK_MAX_US);
}

uint64_t gate_deadline_us(const struct gate *g)
{
	return g->closed ? g->next_us : UINT64_MAX;
}

size_t gate_train_bytes(const struct gate *g, size_t datagram)
{
	uint64_t bytes = g->rate * TRAIN_US / 1000000;

	if (g->rate == 0)
		return BATCH_MAX_BYTES;
	return (size_t)clamp(bytes, 2 * datagram, BATCH_MAX_BYTES);
}
