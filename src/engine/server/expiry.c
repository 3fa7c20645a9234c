/* SPDX-License-Identifier: MIT */

/* Networks that nobody used for long are deleted, in the daily round. */

#include "base/err.h"
#include "base/log.h"
#include "engine/server/hub_impl.h"

#include <string.h>

LOG_MODULE("expiry");

#define SECOND_US     UINT64_C(1000000)
#define TOUCH_EACH_S  3600
#define TOUCH_WAIT_US (60 * SECOND_US)
#define FIRST_US      (60 * SECOND_US)
#define ROUND_US      (24 * 3600 * SECOND_US)
/* Each deletion waits for the disk, and nobody is answered meanwhile. */
#define BATCH         10
#define BATCH_EACH_US (100 * UINT64_C(1000))
#define NEVER_US      UINT64_MAX

/* The wall clock decides what goes for good, and it may be wrong: a board without a battery, a server that was off for long. */
#define CLOCK_EACH_US  (600 * SECOND_US)
#define CLOCK_JUMP_S   600
#define CLOCK_TRUST_US (3 * 24 * 3600 * SECOND_US)

int expiry_touch(struct hub *h, const struct store_network *n, int64_t unix_s)
{
	if (unix_s - n->active_unix_s < TOUCH_EACH_S)
		return 0;
	int r = store_network_touch(h->store, n->id, unix_s);
	return r < 0 ? err_up(r) : 0;
}

void expiry_touch_later(struct hub *h, const struct store_network *n, const struct hub_time *t)
{
	if (t->unix_s - n->active_unix_s < TOUCH_EACH_S)
		return;
	for (size_t i = 0; i < h->n_touched; i++) {
		if (memcmp(h->touched[i].b, n->id, NETID_SIZE) == 0)
			return;
	}
	if (h->n_touched == HUB_TOUCHED_MAX)
		return; /* as long as somebody is connected, the daily round does it */
	if (h->n_touched == 0)
		h->touch_at_us = t->us + TOUCH_WAIT_US;
	memcpy(h->touched[h->n_touched++].b, n->id, NETID_SIZE);
}

void expiry_touch_now(struct hub *h, const struct hub_time *t)
{
	int r = store_begin(h->store);

	for (size_t i = 0; r == 0 && i < h->n_touched; i++)
		r = store_network_touch(h->store, h->touched[i].b, t->unix_s);
	if (r == 0)
		r = store_commit(h->store);
	h->n_touched = 0;
	if (r < 0) {
		store_rollback(h->store);
		(void)log_err(r, "expiry.touch"); /* the next connection to them tries again */
	}
}

/* Connected members use a network even if they never reconnect. */
static int touch_connected(struct hub *h, int64_t unix_s)
{
	struct hub_net *net, *next;
	int r = store_begin(h->store);

	HASH_ITER(hh, h->nets, net, next)
	{
		if (r == 0)
			r = store_network_touch(h->store, net->id, unix_s);
	}
	if (r == 0)
		r = store_commit(h->store);
	if (r < 0) {
		store_rollback(h->store);
		return err_up(r);
	}
	return 0;
}

void expiry_start(struct hub *h, const struct hub_time *t)
{
	h->expiry = (struct hub_expiry){.trusted = *t,
	                                .checked = *t,
	                                .round_at_us = t->us + FIRST_US,
	                                .batch_at_us = NEVER_US};
}

void expiry_watch_clock(struct hub *h, const struct hub_time *t)
{
	struct hub_expiry *e = &h->expiry;
	int64_t passed_s = (int64_t)((t->us - e->checked.us) / SECOND_US);
	int64_t expected_unix_s = e->checked.unix_s + passed_s;
	int64_t jump_s = t->unix_s - expected_unix_s;

	if (jump_s <= CLOCK_JUMP_S && jump_s >= -CLOCK_JUMP_S) {
		if (t->us - e->checked.us >= CLOCK_EACH_US)
			e->checked = *t;
		return;
	}
	log_warn("expiry.clock_jumped", LOG_I64("seconds", jump_s));
	if (jump_s > 0) {
		int r = store_networks_touch(h->store, e->trusted.unix_s, expected_unix_s,
		                             t->unix_s);
		if (r < 0)
			(void)log_err(r,
			              "expiry.touch"); /* they have the days until CLOCK_TRUST_US */
	}
	e->trusted = e->checked = *t;
	e->batch_at_us = NEVER_US;
}

static int delete_batch(struct hub *h, int64_t unix_s, bool *out_done)
{
	uint8_t id[NETID_SIZE];

	*out_done = false;
	for (unsigned i = 0; i < BATCH; i++) {
		int r = store_network_idle(h->store, h->expiry.idle_unix_s, id);

		if (r == STORE_NOT_FOUND) {
			*out_done = true;
			return 0;
		}
		if (r == 0 && presence_net(h, id) != NULL) {
			r = store_network_touch(h->store, id, unix_s);
		} else if (r == 0) {
			r = network_delete(h, id, "the network was not used for a long time", NULL);
			h->stats.networks_expired += r == 0;
		}
		if (r < 0)
			return err_up(r);
	}
	return 0;
}

static void run_batch(struct hub *h, const struct hub_time *t)
{
	bool is_done = false;

	if (h->n_touched > 0)
		expiry_touch_now(h, t);
	int r = delete_batch(h, t->unix_s, &is_done);

	h->expiry.batch_at_us = r < 0 || is_done ? NEVER_US : t->us + BATCH_EACH_US;
	if (r < 0)
		(void)log_err(r, "expiry.failed"); /* the next round tries again */
	else if (is_done)
		log_info("expiry.done", LOG_U64("expired_total", h->stats.networks_expired));
}

static void run_round(struct hub *h, const struct hub_time *t)
{
	struct hub_expiry *e = &h->expiry;
	int r = guard_purge(h, t->unix_s);

	e->round_at_us = t->us + ROUND_US;
	if (r == 0 && h->expire_s > 0)
		r = touch_connected(h, t->unix_s);
	h->stats.last_cleanup_unix_s = t->unix_s;
	if (r < 0) {
		(void)log_err(r, "expiry.failed"); /* the next round tries again */
	} else if (h->expire_s > 0 && t->us - e->trusted.us >= CLOCK_TRUST_US) {
		e->idle_unix_s = t->unix_s - h->expire_s;
		e->batch_at_us = t->us;
	}
}

uint64_t expiry_deadline_us(const struct hub *h)
{
	const struct hub_expiry *e = &h->expiry;

	uint64_t next = GV_MIN(e->round_at_us, e->batch_at_us);

	return GV_MIN(next, e->checked.us + CLOCK_EACH_US);
}

void expiry_timeout(struct hub *h, const struct hub_time *t)
{
	if (t->us >= h->expiry.round_at_us)
		run_round(h, t);
	if (t->us >= h->expiry.batch_at_us)
		run_batch(h, t);
}
