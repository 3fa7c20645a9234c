/* SPDX-License-Identifier: MIT */

/* Networks that nobody used for long are deleted, in the daily round. */

#include "base/err.h"
#include "base/log.h"
#include "engine/server/hub_impl.h"

#include <string.h>

LOG_MODULE("expiry");

#define TOUCH_EACH_S  3600
#define TOUCH_WAIT_US (60 * UINT64_C(1000000))
/* In one round; the next day goes on. */
#define DELETE_MAX 1000

int expiry_touch(struct hub *h, const struct store_network *n, int64_t unix_s)
{
	if (unix_s - n->active_unix_s < TOUCH_EACH_S && unix_s >= n->active_unix_s)
		return 0;
	int r = store_network_touch(h->store, n->id, unix_s);
	return r < 0 ? err_up(r) : 0;
}

void expiry_touch_later(struct hub *h, const struct store_network *n, const struct hub_time *t)
{
	if (t->unix_s - n->active_unix_s < TOUCH_EACH_S && t->unix_s >= n->active_unix_s)
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

static int delete_idle(struct hub *h, int64_t unix_s)
{
	uint8_t id[NETID_SIZE];

	for (unsigned i = 0; i < DELETE_MAX; i++) {
		int r = store_network_idle(h->store, unix_s - h->expire_s, id);

		if (r == STORE_NOT_FOUND)
			return 0;
		if (r == 0)
			r = network_delete(h, id, "the network was not used for a long time", NULL);
		if (r < 0)
			return err_up(r);
		h->stats.networks_expired++;
	}
	return 0;
}

void expiry_run(struct hub *h, const struct hub_time *t)
{
	int r = guard_purge(h, t->unix_s);

	if (r == 0 && h->expire_s > 0) {
		r = touch_connected(h, t->unix_s);
		if (r == 0)
			r = delete_idle(h, t->unix_s);
	}
	h->stats.last_cleanup_unix_s = t->unix_s;
	if (r < 0)
		(void)log_err(r, "expiry.failed"); /* the next round tries again */
	else
		log_info("expiry.done", LOG_U64("expired_total", h->stats.networks_expired));
}
