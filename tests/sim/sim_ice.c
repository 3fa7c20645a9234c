/* SPDX-License-Identifier: MIT */

/*
 * Two ICE agents over a simulated Internet: each seed draws two kinds of NAT, loss, delay, roles, the order in which
 * signaling delivers, and what happens afterwards. The outcome must be what theory says: a direct path exactly
 * where one is possible, the same pair on both sides, and back within seconds after an address changed.
 *
 *   sim_ice [SEEDS [FIRST]]
 */

#include "net.h"

#include "base/clock.h"
#include "proto/ice/agent.h"
#include "proto/ice/gather.h"
#include "proto/stun/responder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000ull
#define S  1000000ull

#define MAX_SIGNALS 256
#define DATA_BYTE   23 /* first byte of a DTLS record with application data */

enum signal_type {
	SIGNAL_CREDS,
	SIGNAL_CANDIDATE,
	SIGNAL_END,
};

struct signal {
	uint64_t at_us; /* 0: free */
	unsigned to;
	enum signal_type type;
	char ufrag[ICE_UFRAG_MAX + 1], pwd[ICE_PWD_MAX + 1];
	struct ice_cand cand;
};

enum kind {
	KIND_OPEN,   /* a public address, nothing in front */
	KIND_OPENFW, /* a public address behind a stateful firewall */
	KIND_CONE,   /* full cone */
	KIND_ADDR,   /* address-restricted cone */
	KIND_PORT,   /* port-restricted cone */
	KIND_SYM,    /* symmetric */
	KIND_COUNT,
};

static const char *const kind_name[] = {"open", "openfw", "cone", "addr", "port", "sym"};

struct side {
	unsigned realm;
	enum kind kind;
	struct netaddr base;
	struct ice_agent *agent;
	struct gather *gather;
	bool has_path, failed, quiet;
	unsigned selections, disconnects;
	struct netaddr path_local, path_remote;
	uint64_t send_until_us, heard_told_us, sent_told_us, last_data_us;
	uint64_t packets; /* STUN sent and received by the agent */
};

struct world {
	uint64_t seed, now_us;
	struct rng rng;
	struct sim_net net;
	struct netaddr stun;
	struct side sides[2];
	struct signal signals[MAX_SIGNALS];
	uint64_t signal_max_us;
	bool signaling_down;
	uint64_t data_each_us, next_data_us; /* 0: no data */
};

/* ---- signaling ---- */

static struct signal *post(struct world *w, unsigned to, enum signal_type type)
{
	static struct signal nowhere;

	if (w->signaling_down)
		return &nowhere;
	for (unsigned i = 0; i < MAX_SIGNALS; i++) {
		struct signal *s = &w->signals[i];

		if (s->at_us != 0)
			continue;
		s->at_us = w->now_us + 1 * MS + rng_below(&w->rng, (uint32_t)w->signal_max_us);
		s->to = to;
		s->type = type;
		return s;
	}
	fprintf(stderr, "seed %llu: too many signals\n", (unsigned long long)w->seed);
	exit(1);
}

static void post_candidate(struct world *w, unsigned from, const struct ice_cand *c)
{
	char text[ICE_CAND_TEXT_SIZE];
	struct signal *s = post(w, 1 - from, SIGNAL_CANDIDATE);

	/* Through its text, as on the wire. */
	ice_cand_format(c, text);
	if (ice_cand_parse(text, strlen(text), &s->cand) != ICE_CAND_OK) {
		fprintf(stderr, "seed %llu: %s\n", (unsigned long long)w->seed, text);
		exit(1);
	}
}

static void post_creds(struct world *w, unsigned from)
{
	struct signal *s = post(w, 1 - from, SIGNAL_CREDS);

	(void)snprintf(s->ufrag, sizeof(s->ufrag), "%s", ice_local_ufrag(w->sides[from].agent));
	(void)snprintf(s->pwd, sizeof(s->pwd), "%s", ice_local_pwd(w->sides[from].agent));
}

static void deliver_signal(struct world *w, struct signal *s)
{
	struct ice_agent *a = w->sides[s->to].agent;

	switch (s->type) {
	case SIGNAL_CREDS:
		if (ice_set_remote(a, s->ufrag, s->pwd, w->now_us) != ICE_OK)
			exit(1);
		break;
	case SIGNAL_CANDIDATE:
		ice_add_remote(a, &s->cand, w->now_us);
		break;
	case SIGNAL_END:
		ice_end_remote(a, w->now_us);
		break;
	}
	s->at_us = 0;
}

/* ---- one side ---- */

static void add_local(struct world *w, unsigned i, enum ice_cand_type type,
                      const struct netaddr *addr, const struct netaddr *base)
{
	struct ice_cand c = ice_cand_local(type, addr, base, ice_cand_preference(NETADDR_IP4, 0));

	if (ice_add_local(w->sides[i].agent, &c, w->now_us) == ICE_OK)
		post_candidate(w, i, &c);
}

static void handle_event(struct world *w, unsigned i, const struct ice_event *e)
{
	struct side *s = &w->sides[i];

	switch (e->type) {
	case ICE_EVENT_PAIR_VALID:
		break;
	case ICE_EVENT_SELECTED:
		s->has_path = true;
		s->selections++;
		s->path_local = e->local;
		s->path_remote = e->remote;
		s->send_until_us = e->send_until_us;
		break;
	case ICE_EVENT_CONSENT:
		s->send_until_us = e->send_until_us;
		break;
	case ICE_EVENT_QUIET:
		s->quiet = true;
		/* Perhaps our NAT has another mapping now: ask. */
		gather_add_base(s->gather, &s->base, w->now_us);
		break;
	case ICE_EVENT_DISCONNECTED:
		s->has_path = false;
		s->disconnects++;
		break;
	case ICE_EVENT_FAILED:
		s->failed = true;
		break;
	}
}

static void pump(struct world *w, unsigned i)
{
	struct side *s = &w->sides[i];
	struct ice_packet p;
	struct ice_event e;
	struct gather_event g;

	while (ice_event(s->agent, &e) == 1)
		handle_event(w, i, &e);
	while (gather_event(s->gather, &g) == 1) {
		if (g.type == GATHER_EVENT_DONE) {
			ice_end_local(s->agent, w->now_us);
			post(w, 1 - i, SIGNAL_END);
		} else if (!netaddr_equal(&g.base, &g.mapped)) {
			add_local(w, i, ICE_CAND_SRFLX, &g.mapped, &g.base);
		}
	}
	while (ice_output(s->agent, &p, w->now_us) == 1) {
		s->packets++;
		sim_send(&w->net, s->realm, &p.local, &p.remote, p.data, p.len, w->now_us);
	}
	while (gather_output(s->gather, &p, w->now_us) == 1)
		sim_send(&w->net, s->realm, &p.local, &p.remote, p.data, p.len, w->now_us);
}

static void receive(struct world *w, const struct sim_packet *p)
{
	uint8_t answer[STUN_RESPONSE_MAX];

	if (netaddr_equal(&p->to, &w->stun)) {
		size_t n = stun_respond(p->data, p->len, &p->from, answer);

		if (n > 0)
			sim_send(&w->net, 0, &w->stun, &p->from, answer, n, w->now_us);
		return;
	}
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &w->sides[i];

		if (s->realm != p->realm || !netaddr_equal(&s->base, &p->to))
			continue;
		if (p->data[0] == DATA_BYTE) {
			s->last_data_us = w->now_us;
			if (w->now_us >= s->heard_told_us + 100 * MS) {
				s->heard_told_us = w->now_us;
				ice_heard(s->agent, w->now_us);
			}
		} else if (gather_input(s->gather, &p->to, &p->from, p->data, p->len, w->now_us) !=
		           GATHER_OK) {
			s->packets++;
			ice_input(s->agent, &p->to, &p->from, p->data, p->len, w->now_us);
		}
	}
}

static void send_data(struct world *w)
{
	static const uint8_t data[64] = {DATA_BYTE};

	w->next_data_us = w->now_us + w->data_each_us;
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &w->sides[i];

		if (!s->has_path || s->send_until_us < w->now_us)
			continue;
		sim_send(&w->net, s->realm, &s->path_local, &s->path_remote, data, sizeof(data),
		         w->now_us);
		if (w->now_us >= s->sent_told_us + 100 * MS) {
			s->sent_told_us = w->now_us;
			ice_sent(s->agent, w->now_us);
		}
	}
}

/* ---- time ---- */

static uint64_t next_us(const struct world *w)
{
	uint64_t due_us = sim_next_us(&w->net);

	for (unsigned i = 0; i < 2; i++) {
		uint64_t agent_us = ice_deadline_us(w->sides[i].agent);
		uint64_t gather_us = gather_deadline_us(w->sides[i].gather);

		due_us = GV_MIN(due_us, agent_us);
		due_us = GV_MIN(due_us, gather_us);
	}
	for (unsigned i = 0; i < MAX_SIGNALS; i++) {
		if (w->signals[i].at_us != 0)
			due_us = GV_MIN(due_us, w->signals[i].at_us);
	}
	if (w->data_each_us != 0)
		due_us = GV_MIN(due_us, w->next_data_us);
	return due_us;
}

static void step(struct world *w)
{
	struct sim_packet p;

	while (sim_receive(&w->net, &p, w->now_us))
		receive(w, &p);
	for (unsigned i = 0; i < MAX_SIGNALS; i++) {
		if (w->signals[i].at_us != 0 && w->signals[i].at_us <= w->now_us)
			deliver_signal(w, &w->signals[i]);
	}
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &w->sides[i];

		if (ice_deadline_us(s->agent) <= w->now_us)
			ice_timeout(s->agent, w->now_us);
		if (gather_deadline_us(s->gather) <= w->now_us)
			gather_timeout(s->gather, w->now_us);
		pump(w, i);
	}
	if (w->data_each_us != 0 && w->next_data_us <= w->now_us)
		send_data(w);
}

/* A loop that does not move is a deadline that lies. */
static void run_until(struct world *w, uint64_t end_us)
{
	unsigned stuck = 0;

	for (;;) {
		uint64_t due_us = next_us(w);

		if (due_us > end_us)
			break;
		stuck = due_us > w->now_us ? 0 : stuck + 1;
		if (stuck > 100) {
			fprintf(stderr, "seed %llu: stuck at %llu\n", (unsigned long long)w->seed,
			        (unsigned long long)w->now_us);
			exit(1);
		}
		w->now_us = GV_MAX(w->now_us, due_us);
		step(w);
	}
	w->now_us = end_us;
}

/* ---- the world of one seed ---- */

static void place_side(struct world *w, unsigned i, enum kind kind, unsigned same_realm)
{
	static const struct {
		enum sim_mapping mapping;
		enum sim_filter filter;
	} nat[] = {
		[KIND_OPENFW] = {SIM_MAP_NONE, SIM_FILTER_PORT},
		[KIND_CONE] = {SIM_MAP_PER_BASE, SIM_FILTER_NONE},
		[KIND_ADDR] = {SIM_MAP_PER_BASE, SIM_FILTER_ADDR},
		[KIND_PORT] = {SIM_MAP_PER_BASE, SIM_FILTER_PORT},
		[KIND_SYM] = {SIM_MAP_PER_PEER, SIM_FILTER_PORT},
	};
	struct side *s = &w->sides[i];
	const char *public_ip = i == 0 ? "203.0.113.1" : "203.0.113.2";

	s->kind = kind;
	if (kind == KIND_OPEN || kind == KIND_OPENFW)
		s->base = netaddr_ip4(0xc0000201u + i, (uint16_t)(4000 + i)); /* 192.0.2.1 */
	else
		s->base = netaddr_ip4(0xc0a80102u + i, (uint16_t)(4000 + i)); /* 192.168.1.2 */
	if (same_realm != 0)
		s->realm = same_realm;
	else if (kind != KIND_OPEN)
		s->realm = sim_add_nat(&w->net, nat[kind].mapping, nat[kind].filter, public_ip);
	sim_add_host(&w->net, s->realm, &s->base);
}

static void make_agent(struct world *w, unsigned i, enum ice_role role, enum ice_mode mode)
{
	struct side *s = &w->sides[i];
	struct ice_config ic = {.role = role,
	                        .mode = mode,
	                        .transaction_prefix = 0x1000 + i,
	                        .rng = rng_seeded(rng_u64(&w->rng))};
	struct gather_config gc = {.servers = {w->stun},
	                           .server_count = 1,
	                           .transaction_prefix = 0x2000 + i,
	                           .rng = rng_seeded(rng_u64(&w->rng))};

	if (ice_new(&s->agent, &ic) != 0 || gather_new(&s->gather, &gc) != 0)
		exit(1);
}

static void start_side(struct world *w, unsigned i)
{
	struct side *s = &w->sides[i];

	post_creds(w, i);
	add_local(w, i, ICE_CAND_HOST, &s->base, &s->base);
	gather_add_base(s->gather, &s->base, w->now_us);
	pump(w, i);
}

static void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->rng = rng_seeded(seed);
	w->now_us = 1000 * S;
	sim_init(&w->net, seed ^ 0x5eed);
	w->stun = netaddr_ip4(0xc6336401u, 3478); /* 198.51.100.1 */
	sim_add_host(&w->net, 0, &w->stun);
	w->signal_max_us = 10 * MS + rng_below(&w->rng, 700 * MS);
	w->net.delay_min_us = 500 + rng_below(&w->rng, 60 * MS);
	w->net.delay_max_us = w->net.delay_min_us + rng_below(&w->rng, 10 * MS);
	if (rng_below(&w->rng, 2) == 0)
		w->net.loss_permille = rng_below(&w->rng, 201);
}

static void world_deinit(struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		ice_free(w->sides[i].agent);
		gather_free(w->sides[i].gather);
	}
	sim_deinit(&w->net);
}

static bool filters_ports(enum kind k)
{
	return k == KIND_OPENFW || k == KIND_PORT || k == KIND_SYM;
}

/* A symmetric NAT cannot meet one that filters ports: neither knows the other's port in time. */
static bool direct_is_possible(const struct world *w)
{
	const struct side *a = &w->sides[0], *b = &w->sides[1];

	if (a->realm == b->realm)
		return true;
	return !(a->kind == KIND_SYM && filters_ports(b->kind)) &&
	       !(b->kind == KIND_SYM && filters_ports(a->kind));
}

static int complain(const struct world *w, const char *what)
{
	fprintf(stderr, "seed %llu: %s + %s%s, loss %u, delay %u: %s\n",
	        (unsigned long long)w->seed, kind_name[w->sides[0].kind],
	        kind_name[w->sides[1].kind],
	        w->sides[0].realm == w->sides[1].realm ? " (one LAN)" : "", w->net.loss_permille,
	        w->net.delay_min_us, what);
	for (unsigned i = 0; i < 2; i++) {
		char local[NETADDR_TEXT_SIZE], remote[NETADDR_TEXT_SIZE];
		const struct side *s = &w->sides[i];

		fprintf(stderr, "  side %u: path %d failed %d selections %u disconnects %u %s %s\n",
		        i, s->has_path, s->failed, s->selections, s->disconnects,
		        netaddr_text(&s->path_local, local), netaddr_text(&s->path_remote, remote));
	}
	return 1;
}

/* Data sent by each side arrives at the other, soon after now. */
static bool data_flows(struct world *w, uint64_t within_us)
{
	uint64_t start_us = w->now_us, each_us = w->data_each_us;

	w->data_each_us = 20 * MS;
	w->next_data_us = w->now_us;
	while (w->now_us < start_us + within_us) {
		run_until(w, w->now_us + 20 * MS);
		if (w->sides[0].last_data_us > start_us && w->sides[1].last_data_us > start_us)
			break;
	}
	w->data_each_us = each_us;
	return w->sides[0].last_data_us > start_us && w->sides[1].last_data_us > start_us;
}

/* ---- what happens afterwards ---- */

struct totals {
	unsigned connected, refused, moved;
	uint64_t worst_connect_us, worst_back_us, back_us;
};

static void change_address(struct world *w, struct side *s, unsigned i)
{
	struct netaddr old = s->base, fresh = s->base;

	fresh.ip[3] = (uint8_t)(fresh.ip[3] + 10);
	sim_remove_host(&w->net, s->realm, &old);
	sim_add_host(&w->net, s->realm, &fresh);
	s->base = fresh;
	ice_remove_local(s->agent, &old, w->now_us);
	gather_remove_base(s->gather, &old, w->now_us);
	add_local(w, i, ICE_CAND_HOST, &fresh, &fresh);
	gather_add_base(s->gather, &fresh, w->now_us);
	pump(w, i);
}

/* One side gets another address, or its NAT other mappings. The path must be back in time. */
static int run_move(struct world *w, struct totals *t)
{
	unsigned i = rng_below(&w->rng, 2);
	struct side *s = &w->sides[i];
	bool rebind = s->realm != 0 && s->kind != KIND_OPENFW && rng_below(&w->rng, 2) == 0;
	bool idle = rng_below(&w->rng, 2) == 0;

	if (!idle) {
		w->data_each_us = 20 * MS;
		w->next_data_us = w->now_us;
	}
	w->signal_max_us = GV_MIN(w->signal_max_us, 200 * MS);
	run_until(w, w->now_us + 5 * S + rng_below(&w->rng, 5 * S));
	if (rebind)
		sim_rebind(&w->net, s->realm);
	else
		change_address(w, s, i);
	uint64_t from_us = w->now_us;
	/* An idle path finds out by its next probe, up to 4 s later; loss repeats things. */
	uint64_t limit_us = (rebind ? 3000 : 2500) * MS + (idle && rebind ? 2500 * MS : 0) +
	                    w->net.loss_permille * 20 * MS;
	uint64_t back_us = 0;
	if (idle && rebind)
		run_until(w, w->now_us + limit_us - 500 * MS);
	w->data_each_us = 20 * MS;
	w->next_data_us = w->now_us;
	while (back_us == 0 && w->now_us < from_us + limit_us + 10 * S) {
		uint64_t start_us = w->now_us;

		run_until(w, w->now_us + 50 * MS);
		if (w->sides[0].last_data_us > start_us && w->sides[1].last_data_us > start_us)
			back_us = w->now_us - from_us;
	}
	if (back_us == 0 || back_us > limit_us) {
		char text[96];

		snprintf(text, sizeof(text), "%s of side %u, %s: back after %llu ms",
		         rebind ? "rebinding" : "new address", i, idle ? "idle" : "busy",
		         (unsigned long long)(back_us / 1000));
		return complain(w, text);
	}
	t->moved++;
	t->back_us += back_us;
	t->worst_back_us = GV_MAX(t->worst_back_us, back_us);
	return 0;
}

/* Idle for a minute: at most 15 packets each 15 s, both directions together, and no unrest. */
static int run_idle(struct world *w)
{
	/* The last checks of pairs that cannot work take 8 s. */
	run_until(w, w->now_us + 10 * S);
	uint64_t before[2] = {w->sides[0].packets, w->sides[1].packets};
	unsigned selections[2] = {w->sides[0].selections, w->sides[1].selections};

	w->data_each_us = 0;
	run_until(w, w->now_us + 60 * S);
	for (unsigned i = 0; i < 2; i++) {
		const struct side *s = &w->sides[i];

		if (w->net.loss_permille == 0 &&
		    (s->packets - before[i] > 60 || s->selections != selections[i] || s->quiet)) {
			char text[64];

			snprintf(text, sizeof(text), "idle minute: %llu packets",
			         (unsigned long long)(s->packets - before[i]));
			return complain(w, text);
		}
		if (!s->has_path || s->disconnects > 0)
			return complain(w, "path lost while idle");
	}
	return data_flows(w, 2 * S) ? 0 : complain(w, "no data after an idle minute");
}

/* Nothing passes for a while: consent runs out after 30 s, and our own peers come back by themselves. */
static int run_cut(struct world *w, enum ice_mode mode)
{
	uint64_t long_us = rng_below(&w->rng, 2) == 0 ? 5 * S : 60 * S;

	run_until(w, w->now_us + 10 * S);
	w->net.cut = true;
	run_until(w, w->now_us + long_us);
	w->net.cut = false;
	for (unsigned i = 0; i < 2; i++) {
		if (w->sides[i].has_path != (long_us < 30 * S))
			return complain(w, "consent after a cut");
	}
	if (mode == ICE_MODE_STANDARD && long_us > 30 * S) {
		run_until(w, w->now_us + 20 * S);
		return w->sides[0].has_path ? complain(w, "consent came back by itself") : 0;
	}
	run_until(w, w->now_us + 5 * S + w->net.loss_permille * 20 * MS);
	return data_flows(w, 3 * S) ? 0 : complain(w, "no path after a cut");
}

static int run_connect(struct world *w, enum ice_mode mode, struct totals *t)
{
	uint64_t from_us = w->now_us, limit_us = mode == ICE_MODE_GOVPN ? 10 * S : 40 * S;
	struct side *a = &w->sides[0], *b = &w->sides[1];

	while (w->now_us < from_us + limit_us && !(a->has_path && b->has_path))
		run_until(w, w->now_us + 20 * MS);
	uint64_t took_us = w->now_us - from_us;
	bool both = a->has_path && b->has_path;
	if (!direct_is_possible(w)) {
		run_until(w, from_us + 40 * S);
		if (a->has_path || b->has_path || !a->failed || !b->failed)
			return complain(w, "connected where nobody can, or did not say so");
		t->refused++;
		return 0;
	}
	if (!both)
		return complain(w, "not connected");
	uint64_t lossless_us = 2500 * MS + w->signal_max_us;
	if (w->net.loss_permille == 0 && mode == ICE_MODE_GOVPN && took_us > lossless_us)
		return complain(w, "slow to connect");
	run_until(w, w->now_us + 3 * S);
	if (!data_flows(w, 1 * S))
		return complain(w, "no data");
	t->connected++;
	t->worst_connect_us = GV_MAX(t->worst_connect_us, took_us);
	return -1;
}

static int run_seed(uint64_t seed, struct totals *t)
{
	struct world *w = calloc(1, sizeof(*w));
	if (w == NULL)
		return 1;
	world_init(w, seed);

	uint32_t a = rng_below(&w->rng, KIND_COUNT), b = rng_below(&w->rng, KIND_COUNT);
	bool one_lan = a > KIND_OPENFW && rng_below(&w->rng, 8) == 0;
	place_side(w, 0, a, 0);
	place_side(w, 1, one_lan ? a : b, one_lan ? w->sides[0].realm : 0);

	enum ice_mode mode = rng_below(&w->rng, 4) == 0 ? ICE_MODE_STANDARD : ICE_MODE_GOVPN;
	bool controls = rng_below(&w->rng, 2) == 1;
	bool conflict = rng_below(&w->rng, 4) == 0;
	make_agent(w, 0, controls ? ICE_ROLE_CONTROLLING : ICE_ROLE_CONTROLLED, mode);
	make_agent(w, 1, controls == conflict ? ICE_ROLE_CONTROLLING : ICE_ROLE_CONTROLLED, mode);
	start_side(w, 0);
	run_until(w, w->now_us + rng_below(&w->rng, 400 * MS));
	start_side(w, 1);

	int r = run_connect(w, mode, t);
	if (r < 0) {
		unsigned what = rng_below(&w->rng, 4);

		if (what == 0)
			r = run_cut(w, mode);
		else if (mode == ICE_MODE_STANDARD)
			r = 0;
		else if (what == 1)
			r = run_idle(w);
		else
			r = run_move(w, t);
	}
	world_deinit(w);
	free(w);
	return r;
}

int main(int argc, char **argv)
{
	unsigned long seeds = argc > 1 ? strtoul(argv[1], NULL, 10) : 200;
	unsigned long first = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
	unsigned failed = 0;
	struct totals t = {0};

	for (unsigned long i = 0; i < seeds; i++)
		failed += run_seed(first + i, &t) != 0;
	printf("%lu seeds, %u failed: %u connected (worst %llu ms), %u impossible, %u moved (mean %llu, "
	       "worst %llu ms)\n",
	       seeds, failed, t.connected, (unsigned long long)(t.worst_connect_us / 1000),
	       t.refused, t.moved, (unsigned long long)(t.back_us / 1000 / GV_MAX(t.moved, 1u)),
	       (unsigned long long)(t.worst_back_us / 1000));
	return failed != 0;
}
