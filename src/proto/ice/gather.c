/* SPDX-License-Identifier: MIT */

#include "proto/ice/gather.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/stun/msg.h"

#include <errno.h>
#include <string.h>

#define RTO_US           500000u /* RFC 8489 6.2.1 */
#define RTO_MAX_US       1000000u
#define SENT_MAX         7        /* RFC 8489: Rc */
#define LAST_WAIT_US     2000000u /* from the last request to giving up */
#define AGAIN_MIN_US     15000000u
#define AGAIN_SPREAD_US  10000000u
#define AGAIN_SOON_US    1000000u
#define ID_RANDOM        8
#define GATHER_MAX_TASKS (GATHER_MAX_BASES * GATHER_MAX_SERVERS)

enum task_state {
	TASK_FREE = 0,
	TASK_ASKING,  /* requests are out */
	TASK_RESTING, /* answered or given up; asked again at due_us */
};

/* One base asking one server. */
struct task {
	enum task_state state;
	bool silent;    /* the question before was not answered */
	bool settled;   /* was answered or given up since the base was added */
	bool has_event; /* `mapped` is to be told */
	struct netaddr base, server, mapped;
	uint8_t id[ID_RANDOM];
	uint8_t sent;
	uint64_t due_us; /* next request, end of waiting, or next question */
};

struct gather {
	struct netaddr servers[GATHER_MAX_SERVERS];
	size_t server_count;
	uint32_t prefix;
	struct rng rng;
	struct netaddr bases[GATHER_MAX_BASES]; /* NETADDR_NONE: free */
	struct task tasks[GATHER_MAX_TASKS];
	bool wants_done; /* DONE is due once everything is settled */
	uint64_t dropped;
};

int gather_new(struct gather **out, const struct gather_config *config)
{
	if (config->server_count > GATHER_MAX_SERVERS)
		return err_here(-EINVAL);
	struct gather *g = mem_new(struct gather);
	if (g == NULL)
		return err_here(-ENOMEM);
	memcpy(g->servers, config->servers, config->server_count * sizeof(g->servers[0]));
	g->server_count = config->server_count;
	g->prefix = config->transaction_prefix;
	g->rng = config->rng;
	*out = g;
	return 0;
}

void gather_free(struct gather *g)
{
	mem_free(g);
}

static void begin(struct gather *g, struct task *t, uint64_t now_us)
{
	t->state = TASK_ASKING;
	t->sent = 0;
	t->due_us = now_us;
	rng_bytes(&g->rng, t->id, sizeof(t->id));
}

static void rest(struct gather *g, struct task *t, uint64_t now_us)
{
	t->state = TASK_RESTING;
	t->settled = true;
	t->due_us = now_us + AGAIN_MIN_US + rng_below(&g->rng, AGAIN_SPREAD_US);
}

/* No answer. The server is asked once more soon: loss can do that, and a path may wait for what it sees. */
static void give_up(struct gather *g, struct task *t, uint64_t now_us)
{
	rest(g, t, now_us);
	if (!t->silent)
		t->due_us = now_us + AGAIN_SOON_US;
	t->silent = true;
}

/* The place of a base, or of the first free one when it is unknown; GATHER_MAX_BASES when full. */
static unsigned find_base(const struct gather *g, const struct netaddr *base)
{
	unsigned free_place = GATHER_MAX_BASES;

	for (unsigned i = 0; i < GATHER_MAX_BASES; i++) {
		if (g->bases[i].family == NETADDR_NONE)
			free_place = GV_MIN(free_place, i);
		else if (netaddr_equal(&g->bases[i], base))
			return i;
	}
	return free_place;
}

int gather_add_base(struct gather *g, const struct netaddr *base, uint64_t now_us)
{
	unsigned place = find_base(g, base);

	if (place == GATHER_MAX_BASES)
		return GATHER_TOO_MANY;
	bool known = g->bases[place].family != NETADDR_NONE;
	g->bases[place] = *base;
	g->wants_done = true;
	for (size_t i = 0; i < g->server_count; i++) {
		struct task *t = &g->tasks[place * GATHER_MAX_SERVERS + i];

		if (g->servers[i].family != base->family)
			continue;
		if (!known)
			*t = (struct task){.base = *base, .server = g->servers[i]};
		t->base = *base; /* the interface may be another */
		t->settled = false;
		begin(g, t, now_us);
	}
	return GATHER_OK;
}

void gather_remove_base(struct gather *g, const struct netaddr *base, uint64_t now_us)
{
	unsigned place = find_base(g, base);

	(void)now_us; /* part of the face: nothing is timed by a removal */
	if (place == GATHER_MAX_BASES || g->bases[place].family == NETADDR_NONE)
		return;
	g->bases[place] = (struct netaddr){0};
	memset(&g->tasks[place * GATHER_MAX_SERVERS], 0, GATHER_MAX_SERVERS * sizeof(struct task));
}

/* Another server has told the same mapping of this base already. */
static bool is_known(const struct gather *g, const struct task *t, const struct netaddr *mapped)
{
	for (unsigned i = 0; i < GATHER_MAX_TASKS; i++) {
		const struct task *o = &g->tasks[i];

		if (o != t && o->state != TASK_FREE && netaddr_equal(&o->base, &t->base) &&
		    netaddr_equal(&o->mapped, mapped))
			return true;
	}
	return false;
}

static bool is_plausible(const struct netaddr *mapped, const struct netaddr *base)
{
	return mapped->family == base->family && mapped->port != 0 && !netaddr_is_any(mapped) &&
	       !netaddr_is_multicast(mapped);
}

static struct task *find_task(struct gather *g, const struct netaddr *local,
                              const struct netaddr *remote, const uint8_t *id)
{
	for (unsigned i = 0; i < GATHER_MAX_TASKS; i++) {
		struct task *t = &g->tasks[i];

		if (t->state == TASK_ASKING && t->sent > 0 && memcmp(t->id, id, ID_RANDOM) == 0 &&
		    netaddr_equal(&t->base, local) && netaddr_equal(&t->server, remote))
			return t;
	}
	return NULL;
}

int gather_input(struct gather *g, const struct netaddr *local, const struct netaddr *remote,
                 const uint8_t *data, size_t len, uint64_t now_us)
{
	struct stun_msg m;
	struct task *t = NULL;

	if (stun_msg_parse(data, len, &m) == STUN_MSG_OK && m.method == STUN_METHOD_BINDING &&
	    m.class == STUN_CLASS_SUCCESS && stun_peek_prefix(data) == g->prefix)
		t = find_task(g, local, remote, m.id + 4);
	/* An error ends nothing: whoever sees the question can write one. A server that means it says it again. */
	if (t == NULL || m.unknown_count > 0 || !is_plausible(&m.mapped, &t->base)) {
		g->dropped++;
		return GATHER_IGNORED;
	}
	rest(g, t, now_us);
	t->silent = false;
	if (!netaddr_equal(&m.mapped, &t->mapped)) {
		t->has_event = !is_known(g, t, &m.mapped);
		t->mapped = m.mapped;
	}
	return GATHER_OK;
}

/* SOFTWARE keeps the answer below 1.5 times the request. */
static void write_request(const struct gather *g, const struct task *t, struct ice_packet *out)
{
	uint8_t id[STUN_ID_SIZE];
	struct stun_writer w;

	be32_store(id, g->prefix);
	memcpy(id + 4, t->id, ID_RANDOM);
	stun_begin(&w, out->data, sizeof(out->data), STUN_CLASS_REQUEST, STUN_METHOD_BINDING, id);
	stun_put_software(&w, "goVPN");
	out->len = stun_end(&w);
	out->local = t->base;
	out->remote = t->server;
}

int gather_output(struct gather *g, struct ice_packet *out, uint64_t now_us)
{
	for (unsigned i = 0; i < GATHER_MAX_TASKS; i++) {
		struct task *t = &g->tasks[i];

		if (t->state != TASK_ASKING || t->sent == SENT_MAX || t->due_us > now_us)
			continue;
		t->due_us = now_us + (t->sent == 0 ? RTO_US : RTO_MAX_US);
		t->sent++;
		if (t->sent == SENT_MAX)
			t->due_us = now_us + LAST_WAIT_US;
		write_request(g, t, out);
		return 1;
	}
	return 0;
}

static bool is_settled(const struct gather *g)
{
	for (unsigned i = 0; i < GATHER_MAX_TASKS; i++) {
		if (g->tasks[i].state != TASK_FREE && !g->tasks[i].settled)
			return false;
	}
	return true;
}

int gather_event(struct gather *g, struct gather_event *out)
{
	for (unsigned i = 0; i < GATHER_MAX_TASKS; i++) {
		struct task *t = &g->tasks[i];

		if (!t->has_event)
			continue;
		t->has_event = false;
		*out = (struct gather_event){.type = GATHER_EVENT_SRFLX,
		                             .base = t->base,
		                             .mapped = t->mapped,
		                             .server = t->server};
		return 1;
	}
	if (!g->wants_done || !is_settled(g))
		return 0;
	g->wants_done = false;
	*out = (struct gather_event){.type = GATHER_EVENT_DONE};
	return 1;
}

uint64_t gather_deadline_us(const struct gather *g)
{
	uint64_t due_us = CLOCK_NEVER;

	for (unsigned i = 0; i < GATHER_MAX_TASKS; i++) {
		if (g->tasks[i].state != TASK_FREE)
			due_us = GV_MIN(due_us, g->tasks[i].due_us);
	}
	return due_us;
}

void gather_timeout(struct gather *g, uint64_t now_us)
{
	for (unsigned i = 0; i < GATHER_MAX_TASKS; i++) {
		struct task *t = &g->tasks[i];

		if (t->state == TASK_FREE || t->due_us > now_us)
			continue;
		if (t->state == TASK_RESTING)
			begin(g, t, now_us);
		else if (t->sent == SENT_MAX)
			give_up(g, t, now_us);
	}
}

uint64_t gather_dropped(const struct gather *g)
{
	return g->dropped;
}
