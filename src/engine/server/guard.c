/* SPDX-License-Identifier: MIT */

/*
 * Limits on guessing passwords, kept in the database so that a restart does not forget them. A network that does
 * not exist is counted like one that does: the answers to guesses tell nobody which ids exist. Other requests do tell, as a
 * member must learn that its network was deleted; an id is a hash of 160 bits that nobody can try out.
 */

#include "base/err.h"
#include "base/log.h"
#include "engine/server/hub_impl.h"

#include <string.h>

LOG_MODULE("guard");

#define NETWORK_FAILURES 5
#define NETWORK_WINDOW_S (15 * 60)
/* Wrong ones in a row after which a network takes no password until its owner makes a newer document. */
#define NETWORK_STREAK   20
#define ADDRESS_FAILURES 20
#define ADDRESS_WINDOW_S 3600
#define PURGE_AFTER_S    (24 * 3600)

static const char refused_text[] = "wrong password, unknown network, or the invite was withdrawn";

struct scope {
	uint8_t b[STORE_SCOPE_MAX];
	size_t n;
};

static struct scope network_scope(const uint8_t id[static NETID_SIZE])
{
	struct scope s = {.b = {'n'}, .n = 1 + NETID_SIZE};

	_Static_assert(1 + NETID_SIZE <= STORE_SCOPE_MAX, "a network's scope fits");
	memcpy(s.b + 1, id, NETID_SIZE);
	return s;
}

static struct scope address_scope(const struct netaddr *a)
{
	struct netaddr block = quota_block(a);
	struct scope s = {.b = {'a', block.family}, .n = 2 + sizeof(block.ip)};

	memcpy(s.b + 2, block.ip, sizeof(block.ip));
	return s;
}

/* Reads a scope; a window that is over (or lies in the future, after the clock was set back) begins anew. */
static int load(struct hub_request *q, const struct scope *s, int64_t window_s,
                struct store_failures *f)
{
	int r = store_failures_get(q->hub->store, s->b, s->n, f);

	if (r < 0)
		return err_up(r);
	if (q->t->unix_s - f->window_unix_s >= window_s || f->window_unix_s > q->t->unix_s) {
		f->window_unix_s = q->t->unix_s;
		f->count = 0;
	}
	return 0;
}

static int refuse_for(struct hub_request *q, const struct store_failures *f, int64_t window_s,
                      const char *text)
{
	q->retry_after_s = (uint32_t)(window_s - (q->t->unix_s - f->window_unix_s));
	return hub_refuse(q, MSG_ERROR_RATE_LIMITED, "%s", text);
}

int guard_check_address(struct hub_request *q)
{
	struct scope s = address_scope(&q->conn->remote);
	struct store_failures f;
	int r = load(q, &s, ADDRESS_WINDOW_S, &f);

	if (r < 0)
		return err_up(r);
	if (f.count >= ADDRESS_FAILURES)
		return refuse_for(q, &f, ADDRESS_WINDOW_S,
		                  "too many failed joins from your address");
	return 0;
}

int guard_check(struct hub_request *q, const uint8_t id[static NETID_SIZE])
{
	struct scope s = network_scope(id);
	struct store_failures f;
	int r = load(q, &s, NETWORK_WINDOW_S, &f);

	if (r < 0)
		return err_up(r);
	if (f.streak >= NETWORK_STREAK) {
		q->retry_after_s = 86400;
		return hub_refuse(q, MSG_ERROR_RATE_LIMITED,
		                  "too many wrong passwords in a row: joining by password is locked"
		                  " until the owner changes the network");
	}
	if (f.count >= NETWORK_FAILURES)
		return refuse_for(q, &f, NETWORK_WINDOW_S, "too many wrong passwords");
	return guard_check_address(q);
}

static int count(struct hub_request *q, const struct scope *s, int64_t window_s)
{
	struct store_failures f;
	int r = load(q, s, window_s, &f);

	if (r < 0)
		return err_up(r);
	bool is_new = f.streak == 0;

	f.count++;
	f.streak++;
	r = store_failures_set(q->hub->store, s->b, s->n, &f);
	if (r < 0)
		return err_up(r);
	q->hub->failures += is_new;
	return 0;
}

int guard_failed(struct hub_request *q, const uint8_t id[static NETID_SIZE])
{
	struct scope network = network_scope(id), address = address_scope(&q->conn->remote);
	int r = count(q, &network, NETWORK_WINDOW_S);

	if (r == 0)
		r = count(q, &address, ADDRESS_WINDOW_S);
	if (r == 0)
		r = store_commit(q->hub->store);
	if (r < 0)
		return err_up(r);
	q->hub->stats.failed_joins++;
	log_limited(LOG_LEVEL_WARN, 30, "guard.refused_join");
	return hub_refuse(q, MSG_ERROR_INVITE_REFUSED, "%s", refused_text);
}

int guard_passed(struct hub_request *q, const uint8_t id[static NETID_SIZE])
{
	int r = guard_reset(q->hub, id);

	return r < 0 ? err_up(r) : 0;
}

int guard_reset(struct hub *h, const uint8_t id[static NETID_SIZE])
{
	struct scope s = network_scope(id);
	int r = store_failures_clear(h->store, s.b, s.n);

	return r < 0 ? err_up(r) : 0;
}

int guard_lookup_failed(struct hub_request *q)
{
	struct scope s = address_scope(&q->conn->remote);
	int r = store_begin(q->hub->store);

	if (r < 0)
		return err_up(r);
	r = count(q, &s, ADDRESS_WINDOW_S);
	if (r == 0)
		r = store_commit(q->hub->store);
	if (r < 0)
		return err_up(r);
	return hub_refuse(q, MSG_ERROR_NO_SUCH_NETWORK, "no network has this code");
}

/*
 * Strangers can make a row for each of their addresses and for each network they think of. Where these become too many, the
 * windows that are over go first, then all; the rows of networks that exist stay, and they alone protect a password.
 */
int guard_purge(struct hub *h, int64_t unix_s)
{
	static const int64_t ages_s[] = {PURGE_AFTER_S, ADDRESS_WINDOW_S, NETWORK_WINDOW_S, -1};
	int r = store_begin(h->store);

	for (size_t i = 0; r == 0 && i < GV_ARRAY_SIZE(ages_s); i++) {
		r = store_failures_purge(h->store, unix_s - ages_s[i]);
		if (r == 0)
			r = store_failures_count(h->store, &h->failures);
		if (h->failures < GUARD_ROWS_MAX / 2)
			break;
	}
	if (r == 0)
		r = store_commit(h->store);
	h->purge_at = GV_MAX(h->failures + GUARD_ROWS_MAX / 4, (uint64_t)GUARD_ROWS_MAX);
	if (r < 0) {
		store_rollback(h->store);
		return err_up(r);
	}
	return 0;
}
