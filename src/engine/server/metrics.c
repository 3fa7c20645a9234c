/* SPDX-License-Identifier: MIT */

#include "engine/server/metrics.h"

#include "config.h"
#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_S 86400

/* RFC 3339; "" for a time that never was. */
static void time_text(int64_t unix_s, char out[static 32])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	out[0] = '\0';
	if (unix_s != 0 && gmtime_r(&t, &tm) != NULL)
		(void)strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm); /* always fits */
}

static void uptime_text(int64_t s, char out[static 64])
{
	(void)snprintf(out, 64, "%" PRId64 "d %dh %dm %ds", s / DAY_S, (int)(s % DAY_S / 3600),
	               (int)(s % 3600 / 60), (int)(s % 60)); /* always fits */
}

static json_t *server_json(const struct metrics *m)
{
	const struct hub_stats *h = &m->hub;
	char start[32], cleanup[32], uptime[64];

	time_text(h->start_unix_s, start);
	time_text(h->last_cleanup_unix_s, cleanup);
	uptime_text(GV_MAX(m->now_unix_s - h->start_unix_s, (int64_t)0), uptime);
	return json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s?, s:I}", "start_time", start,
		"uptime", uptime, "connections_total", (json_int_t)h->connections_total,
		"active_connections", (json_int_t)h->connections, "active_networks",
		(json_int_t)h->active_networks, "peak_connections", (json_int_t)h->peak_connections,
		"peak_networks", (json_int_t)h->peak_networks, "messages_processed",
		(json_int_t)h->messages, "version", GV_VERSION, "last_cleanup_time",
		cleanup[0] != '\0' ? cleanup : NULL, "stale_networks_removed",
		(json_int_t)h->networks_expired);
}

static json_t *counts_json(const struct metrics *m)
{
	const struct hub_stats *h = &m->hub;

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "sockets",
	                 (json_int_t)m->sockets, "queued_bytes", (json_int_t)h->queued_bytes,
	                 "forwarded", (json_int_t)h->forwarded, "refused", (json_int_t)h->refused,
	                 "joins", (json_int_t)h->joins, "failed_joins", (json_int_t)h->failed_joins,
	                 "kicks", (json_int_t)h->kicks, "slow_readers", (json_int_t)h->slow_readers,
	                 "stun_answered", (json_int_t)m->stun.answered, "stun_ignored",
	                 (json_int_t)m->stun.ignored, "stun_limited", (json_int_t)m->stun.limited);
}

int metrics_json(const struct metrics *m, struct buf *out)
{
	const struct hub_stats *h = &m->hub;
	/* o steals the references and copes with NULL by failing as a whole. */
	json_t *root =
		json_pack("{s:s, s:o, s:{s:I, s:I, s:s, s:b}, s:{s:I, s:I}, s:{s:I, s:I}, s:o}",
	                  "schema", "govpn-server.stats/1", "server_stats", server_json(m),
	                  "config", "max_clients_per_network", (json_int_t)m->max_computers_network,
	                  "network_expiry_days", (json_int_t)(m->expire_s / DAY_S),
	                  "cleanup_interval", "24h", "allow_all_origins", 1, "computers",
	                  "connected", (json_int_t)h->computers, "members", (json_int_t)h->members,
	                  "networks", "active", (json_int_t)h->active_networks, "stored",
	                  (json_int_t)h->networks, "counters", counts_json(m));
	if (root == NULL)
		return err_here(-ENOMEM);
	size_t n = json_dumpb(root, NULL, 0, JSON_INDENT(2));
	char *text = mem_alloc(1, n + 1);
	int r = -ENOMEM;
	if (text != NULL && json_dumpb(root, text, n, JSON_INDENT(2)) == n) {
		text[n] = '\n';
		r = buf_add(out, text, n + 1);
	}
	mem_free(text);
	json_decref(root);
	return r < 0 ? err_here(r) : 0;
}

int metrics_prometheus(const struct metrics *m, struct buf *out)
{
	const struct hub_stats *h = &m->hub;

	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} rows[] = {
		{"connections", "gauge", "WebSocket connections", h->connections},
		{"sockets", "gauge", "TCP connections", m->sockets},
		{"computers_online", "gauge", "computers logged in", h->computers},
		{"networks_active", "gauge", "networks with a connected member",
	         h->active_networks},
		{"networks", "gauge", "networks in the database", h->networks},
		{"members", "gauge", "memberships in the database", h->members},
		{"queued_bytes", "gauge", "bytes waiting for readers", h->queued_bytes},
		{"connections_total", "counter", "connections since the start",
	         h->connections_total},
		{"messages_total", "counter", "messages received", h->messages},
		{"forwarded_total", "counter", "offers, answers and candidates forwarded",
	         h->forwarded},
		{"refused_total", "counter", "connections and messages refused", h->refused},
		{"joins_total", "counter", "new members", h->joins},
		{"failed_joins_total", "counter", "joins with a wrong password or invite",
	         h->failed_joins},
		{"kicks_total", "counter", "members removed by an owner", h->kicks},
		{"superseded_total", "counter", "logins replaced by another of the same key",
	         h->superseded},
		{"slow_readers_total", "counter", "connections closed because they did not read",
	         h->slow_readers},
		{"login_timeouts_total", "counter", "connections without a login",
	         h->login_timeouts},
		{"networks_expired_total", "counter", "networks deleted because nobody used them",
	         h->networks_expired},
		{"stun_answered_total", "counter", "STUN requests answered", m->stun.answered},
		{"stun_ignored_total", "counter", "datagrams that were no STUN request",
	         m->stun.ignored},
		{"stun_limited_total", "counter", "STUN requests above the limit of a source",
	         m->stun.limited},
	};

	int r = 0;

	for (size_t i = 0; r == 0 && i < GV_ARRAY_SIZE(rows); i++)
		r = buf_addf(out, "# HELP govpn_%s %s\n# TYPE govpn_%s %s\ngovpn_%s %" PRIu64 "\n",
		             rows[i].name, rows[i].help, rows[i].name, rows[i].type, rows[i].name,
		             rows[i].value);
	return r < 0 ? err_up(r) : 0;
}
