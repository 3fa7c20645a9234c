/* SPDX-License-Identifier: MIT */

/*
 * ICE agents over a simulated Internet: each seed draws two to four computers in homes of all kinds, loss, delay,
 * reordering, duplication, roles, the order in which signaling delivers, and what happens afterwards. The outcome must
 * be what theory says (sim_can_meet()): a path exactly where one is possible, both sides told of the failure
 * elsewhere, and back in bounded time after an address, a NAT or a generation changed.
 *
 *   sim_ice [SEEDS [FIRST]]     default: 500 seeds, 10,000 with GOVPN_LONG=1
 */

#include "ice_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What happens to a world that is connected. */
enum trial {
	TRIAL_NOTHING,
	TRIAL_IDLE,        /* a minute without data */
	TRIAL_CUT,         /* nothing passes for 5 or 60 s */
	TRIAL_BURSTS,      /* nothing passes for half a second, again and again */
	TRIAL_ONE_WAY,     /* one computer hears nothing any more */
	TRIAL_ADDRESS,     /* one computer gets another address */
	TRIAL_REBIND,      /* a NAT forgets its mappings, or two do at once */
	TRIAL_NAT_TIMEOUT, /* NATs forget what was idle for 20 s; five minutes of silence */
	TRIAL_RESTART,     /* a new generation, whose answer may be lost */
	TRIAL_NIC_DEAD,    /* one of two interfaces falls silent */
	TRIAL_COUNT,
};

static const char *const trial_names[] = {"nothing", "idle",    "cut",    "bursts",
                                          "one way", "address", "rebind", "nat timeout",
                                          "restart", "nic dead"};

struct figures {
	unsigned connected, again, refused, moved;
	uint64_t worst_us[2]; /* to connect after the last signal of the world, by mode */
	uint64_t back_us, worst_back_us; /* after a change */
	uint64_t idle_packets;           /* most of one agent in a minute without loss */
	uint64_t stranger_sent, stranger_got;
	unsigned trials[TRIAL_COUNT];
};

static int complain(const struct world *w, enum trial trial, const char *what)
{
	fprintf(stderr, "seed %llu, %s mode, loss %u, late %u, %s: %s\n",
	        (unsigned long long)w->seed, w->mode == ICE_MODE_GOVPN ? "own" : "standard",
	        w->net.loss_permille, w->net.late_permille, trial_names[trial], what);
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		char local[NETADDR_TEXT_SIZE], remote[NETADDR_TEXT_SIZE];
		const struct side *s = &w->pairs[i / 2].ends[i % 2];

		fprintf(stderr,
		        "  pair %u end %u (%s): path %d failed %d selections %u disconnects %u %s %s\n",
		        i / 2, i % 2, home_name(w->computers[s->computer].home), s->has_path,
		        s->failed, s->selections, s->disconnects,
		        netaddr_text(&s->path_local, local), netaddr_text(&s->path_remote, remote));
	}
	return 1;
}

/*
 * Loss repeats things, and each repetition costs its timer, 0.2 to 1 s. At 20 % each way an exchange fails 13 times in a
 * row once in 10^6; a STUN server is asked 14 times in 18 s.
 */
static uint64_t loss_us(const struct world *w)
{
	return w->net.loss_permille * 90 * MS + (w->net.late_permille > 0 ? 500 * MS : 0);
}

/*
 * Consent towards standard peers is asked for each 5 s and not repeated (RFC 7675 5.1): six lost in a row end it, which
 * above 5 % loss each way happens to a path that lives.
 */
static bool consent_is_certain(const struct world *w)
{
	return w->mode == ICE_MODE_GOVPN || w->net.loss_permille <= 50;
}

/* ---- connecting ---- */

static bool is_settled(struct world *w)
{
	for (unsigned i = 0; i < w->pair_count; i++) {
		const struct side *a = &w->pairs[i].ends[0], *b = &w->pairs[i].ends[1];

		if (world_can_meet(w, &w->pairs[i]) ? !a->has_path || !b->has_path
		                                    : !a->failed || !b->failed)
			return false;
	}
	return true;
}

/* How long after the last signal every pair must stand. */
static uint64_t connect_limit_us(const struct world *w)
{
	if (w->mode == ICE_MODE_STANDARD)
		return 31 * S; /* the end of all checks, which loss can bring near */
	return 2500 * MS + loss_us(w);
}

/*
 * Pairs that can meet but gave up, because STUN answers or candidates came when all checks were over, begin anew, as the
 * owner of an agent does. Without loss and late candidates there are none.
 */
static void try_again(struct world *w, struct figures *f)
{
	bool may_fail = w->net.loss_permille > 0 || w->signal_late_permille > 0;

	for (unsigned i = 0; i < w->pair_count; i++) {
		struct pair *p = &w->pairs[i];

		if (!may_fail || p->is_second || !p->ends[0].failed || !p->ends[1].failed ||
		    !world_can_meet(w, p))
			continue;
		p->is_second = true;
		f->again++;
		world_restart(w, i);
	}
}

static int check_pairs(struct world *w, struct figures *f)
{
	for (unsigned i = 0; i < w->pair_count; i++) {
		const struct pair *p = &w->pairs[i];
		const struct side *a = &p->ends[0], *b = &p->ends[1];

		if (!world_can_meet(w, p)) {
			if (a->selections + b->selections > 0)
				return complain(w, TRIAL_NOTHING, "connected where nobody can");
			if (!a->failed || !b->failed)
				return complain(w, TRIAL_NOTHING, "did not say that it failed");
			f->refused++;
			continue;
		}
		if (!a->has_path || !b->has_path)
			return complain(w, TRIAL_NOTHING, "not connected");
		uint64_t last_us = GV_MAX(p->last_signal_us, w->start_us);
		uint64_t up_us = GV_MAX(a->selected_us, b->selected_us);
		uint64_t took_us = up_us > last_us ? up_us - last_us : 0;
		if (took_us > connect_limit_us(w))
			return complain(w, TRIAL_NOTHING, "slow to connect");
		f->worst_us[w->mode] = GV_MAX(f->worst_us[w->mode], took_us);
		f->connected++;
	}
	return 0;
}

static int connect_all(struct world *w, struct figures *f)
{
	/* Whoever was lost an answer offers again after 5 s. */
	uint64_t give_up_us = w->start_us + 100 * S;

	while (!is_settled(w) && w->now_us < give_up_us) {
		world_run_until(w, w->now_us + 20 * MS);
		try_again(w, f);
		if (w->failure[0] != '\0')
			return complain(w, TRIAL_NOTHING, w->failure);
	}
	int r = check_pairs(w, f);
	if (r != 0)
		return r;
	world_run_until(w, w->now_us + 3 * S);
	return world_flows(w, 1 * S + loss_us(w)) ? 0 : complain(w, TRIAL_NOTHING, "no data");
}

/* ---- afterwards ---- */

/* Data of both ends of each pair arrives again within limit_us after from_us. */
static int comes_back(struct world *w, struct figures *f, enum trial trial, uint64_t from_us,
                      uint64_t limit_us)
{
	char text[96];

	if (!world_flows(w, limit_us + 20 * S)) {
		return complain(w, trial, "no path any more");
	}
	uint64_t back_us = w->now_us - from_us;
	if (back_us > limit_us) {
		(void)snprintf(text, sizeof(text), "back after %llu ms",
		               (unsigned long long)(back_us / 1000));
		return complain(w, trial, text);
	}
	f->moved++;
	f->back_us += back_us;
	f->worst_back_us = GV_MAX(f->worst_back_us, back_us);
	return 0;
}

/*
 * About 15 packets each 15 s at most, both directions together, and no unrest. Of 68 in a minute four are for a better
 * pair that does not work and four for the best other one that does, where there are such.
 */
static int try_idle(struct world *w, struct figures *f)
{
	uint64_t before[2 * WORLD_PAIRS];
	unsigned selections[2 * WORLD_PAIRS];

	/* Checks of pairs that cannot work take 8 s, and better ones that work again are found within 60 s. */
	world_run_until(w, w->now_us + 90 * S);
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		before[i] = w->pairs[i / 2].ends[i % 2].packets;
		selections[i] = w->pairs[i / 2].ends[i % 2].selections;
	}
	world_run_until(w, w->now_us + 60 * S);
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		const struct side *s = &w->pairs[i / 2].ends[i % 2];

		if (!world_can_meet(w, &w->pairs[i / 2]))
			continue;
		if (!s->has_path || s->disconnects > 0)
			return complain(w, TRIAL_IDLE, "path lost while idle");
		if (w->net.loss_permille + w->net.late_permille + w->net.duplicate_permille > 0 ||
		    w->net.tap != NULL)
			continue;
		f->idle_packets = GV_MAX(f->idle_packets, s->packets - before[i]);
		if (s->packets - before[i] > 68 || s->selections != selections[i] || s->quiets > 0)
			return complain(w, TRIAL_IDLE, "unrest in an idle minute");
	}
	return world_flows(w, 2 * S + loss_us(w))
	               ? 0
	               : complain(w, TRIAL_IDLE, "no data after an idle minute");
}

/* Consent runs out after 30 s (RFC 7675), and our own peers come back by themselves. */
static int try_cut(struct world *w, struct figures *f)
{
	uint64_t long_us = rng_below(&w->rng, 2) == 0 ? 5 * S : 60 * S;

	world_run_until(w, w->now_us + 10 * S);
	w->net.cut = true;
	world_run_until(w, w->now_us + long_us);
	w->net.cut = false;
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		const struct side *s = &w->pairs[i / 2].ends[i % 2];

		if (world_can_meet(w, &w->pairs[i / 2]) && s->has_path != (long_us < 25 * S))
			return complain(w, TRIAL_CUT, "consent after a cut");
	}
	if (w->mode == ICE_MODE_GOVPN || long_us < 25 * S)
		return comes_back(w, f, TRIAL_CUT, w->now_us, 5 * S + loss_us(w));
	world_run_until(w, w->now_us + 20 * S);
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		if (w->pairs[i / 2].ends[i % 2].has_path)
			return complain(w, TRIAL_CUT, "consent came back by itself");
	}
	return 0;
}

static int try_bursts(struct world *w, struct figures *f)
{
	world_data(w, 20 * MS);
	for (unsigned i = 0; i < 10; i++) {
		world_run_until(w, w->now_us + 1 * S + rng_below(&w->rng, 2 * S));
		w->net.cut = true;
		world_run_until(w, w->now_us + 500 * MS);
		w->net.cut = false;
	}
	if (!consent_is_certain(w))
		return 0;
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		if (w->pairs[i / 2].ends[i % 2].disconnects > 0)
			return complain(w, TRIAL_BURSTS, "consent lost by bursts of loss");
	}
	return comes_back(w, f, TRIAL_BURSTS, w->now_us, 1 * S + loss_us(w));
}

/* Neither end of a path of one direction may believe in it for longer than consent lasts. */
static int try_one_way(struct world *w, struct figures *f)
{
	unsigned deaf = rng_below(&w->rng, w->computer_count);
	const struct computer *c = &w->computers[deaf];

	for (unsigned k = 0; k < c->base_count; k++)
		sim_find_host(&w->net, c->bases[k].realm, &c->bases[k].addr)->deaf = true;
	world_data(w, 20 * MS);
	world_run_until(w, w->now_us + 31 * S);
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		const struct pair *p = &w->pairs[i / 2];

		if (p->ends[0].computer != deaf && p->ends[1].computer != deaf)
			continue;
		if (p->ends[i % 2].has_path)
			return complain(w, TRIAL_ONE_WAY, "a path of one direction is kept");
	}
	for (unsigned k = 0; k < c->base_count; k++)
		sim_find_host(&w->net, c->bases[k].realm, &c->bases[k].addr)->deaf = false;
	if (w->mode == ICE_MODE_STANDARD)
		return 0;
	return comes_back(w, f, TRIAL_ONE_WAY, w->now_us, 5 * S + loss_us(w));
}

static int try_address(struct world *w, struct figures *f)
{
	unsigned i = rng_below(&w->rng, w->computer_count);
	unsigned base = rng_below(&w->rng, w->computers[i].base_count);

	if (rng_below(&w->rng, 2) == 0)
		world_data(w, 20 * MS);
	world_run_until(w, w->now_us + 5 * S + rng_below(&w->rng, 5 * S));
	world_change_address(w, i, base);
	return comes_back(w, f, TRIAL_ADDRESS, w->now_us, 2500 * MS + loss_us(w));
}

/* An idle path finds out by its next probe, up to 7 s later, or when something is sent. */
static int try_rebind(struct world *w, struct figures *f)
{
	bool idle = rng_below(&w->rng, 2) == 0;

	if (!idle)
		world_data(w, 20 * MS);
	world_run_until(w, w->now_us + 5 * S + rng_below(&w->rng, 5 * S));
	unsigned count = 1 + rng_below(&w->rng, 2);
	for (unsigned n = count; n > 0; n--) {
		const struct computer *c = &w->computers[rng_below(&w->rng, w->computer_count)];
		unsigned realm = c->bases[0].realm;

		if (realm != 0)
			sim_rebind(&w->net, realm);
	}
	if (idle)
		world_run_until(w, w->now_us + rng_below(&w->rng, 7 * S));
	return comes_back(w, f, TRIAL_REBIND, w->now_us, (2 + count) * S + loss_us(w));
}

static int try_nat_timeout(struct world *w, struct figures *f)
{
	for (unsigned i = 0; i < w->net.nat_count; i++)
		w->net.nats[i]->idle_us = 20 * S;
	world_run_until(w, w->now_us + 5 * 60 * S);
	for (unsigned i = 0; i < w->net.nat_count; i++)
		w->net.nats[i]->idle_us = 0;
	if (!consent_is_certain(w))
		return 0;
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		if (w->pairs[i / 2].ends[i % 2].disconnects > 0)
			return complain(w, TRIAL_NAT_TIMEOUT, "consent lost while idle");
	}
	/* The first packet passes. */
	return comes_back(w, f, TRIAL_NAT_TIMEOUT, w->now_us,
	                  w->net.loss_permille > 0 ? 1 * S + loss_us(w) : 300 * MS);
}

static int try_restart(struct world *w, struct figures *f)
{
	unsigned i = rng_below(&w->rng, w->pair_count);
	struct pair *p = &w->pairs[i];
	unsigned before[2] = {p->ends[0].selections, p->ends[1].selections};
	bool can_meet = world_can_meet(w, p);

	p->answers_to_lose = rng_below(&w->rng, 2);
	world_data(w, 20 * MS);
	world_restart(w, i);
	uint64_t limit_us = 15 * S + connect_limit_us(w), end_us = w->now_us + limit_us;
	while (w->now_us < end_us && can_meet &&
	       (p->ends[0].selections == before[0] || p->ends[1].selections == before[1])) {
		world_run_until(w, w->now_us + 500 * MS);
		/* The old path is used until then. */
		if (!world_flows(w, 1 * S + loss_us(w)) && consent_is_certain(w))
			return complain(w, TRIAL_RESTART, "no data during a restart");
	}
	if (can_meet && w->now_us >= end_us)
		return complain(w, TRIAL_RESTART, "no new pair");
	return comes_back(w, f, TRIAL_RESTART, w->now_us, 1 * S + loss_us(w));
}

static int try_nic_dead(struct world *w, struct figures *f)
{
	for (unsigned i = 0; i < w->computer_count; i++) {
		struct computer *c = &w->computers[i];

		if (c->base_count < 2)
			continue;
		world_data(w, 20 * MS);
		world_run_until(w, w->now_us + 10 * S);
		/* The system still has the interface, but nothing passes through it. */
		const struct sim_base *b = &c->bases[rng_below(&w->rng, c->base_count)];
		struct sim_host *h = sim_find_host(&w->net, b->realm, &b->addr);
		h->deaf = h->mute = true;
		int r = comes_back(w, f, TRIAL_NIC_DEAD, w->now_us, 5 * S + loss_us(w));
		h->deaf = h->mute = false;
		return r;
	}
	return 0;
}

static int run_trial(struct world *w, struct figures *f)
{
	enum trial trial = rng_below(&w->rng, TRIAL_COUNT);

	/* Towards standard peers a path comes back by a restart only. */
	if (w->mode == ICE_MODE_STANDARD && (trial == TRIAL_ADDRESS || trial == TRIAL_REBIND ||
	                                     trial == TRIAL_NIC_DEAD || trial == TRIAL_IDLE))
		trial = TRIAL_RESTART;
	w->signal_max_us = GV_MIN(w->signal_max_us, 200 * MS);
	w->signal_late_permille = 0;
	world_data(w, 0);
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		w->pairs[i / 2].ends[i % 2].disconnects = 0;
		w->pairs[i / 2].ends[i % 2].quiets = 0;
	}
	f->trials[trial]++;
	switch (trial) {
	case TRIAL_IDLE:
		return try_idle(w, f);
	case TRIAL_CUT:
		return try_cut(w, f);
	case TRIAL_BURSTS:
		return try_bursts(w, f);
	case TRIAL_ONE_WAY:
		return try_one_way(w, f);
	case TRIAL_ADDRESS:
		return try_address(w, f);
	case TRIAL_REBIND:
		return try_rebind(w, f);
	case TRIAL_NAT_TIMEOUT:
		return try_nat_timeout(w, f);
	case TRIAL_RESTART:
		return try_restart(w, f);
	case TRIAL_NIC_DEAD:
		return try_nic_dead(w, f);
	case TRIAL_NOTHING:
	case TRIAL_COUNT:
		break;
	}
	return 0;
}

/* ---- one seed ---- */

static void draw_network(struct world *w)
{
	struct sim_net *n = &w->net;

	n->delay_min_us = 500 + rng_below(&w->rng, 60 * MS);
	n->delay_max_us = n->delay_min_us + rng_below(&w->rng, 10 * MS);
	if (rng_below(&w->rng, 2) == 0)
		n->loss_permille = rng_below(&w->rng, 201);
	if (rng_below(&w->rng, 3) == 0)
		n->duplicate_permille = rng_below(&w->rng, 51);
	if (rng_below(&w->rng, 3) == 0) {
		n->late_permille = rng_below(&w->rng, 101);
		n->late_us = 200 * MS;
	}
	if (rng_below(&w->rng, 8) == 0)
		world_add_stranger(w);
	w->signal_max_us = 10 * MS + rng_below(&w->rng, 700 * MS);
	if (rng_below(&w->rng, 4) == 0)
		w->signal_late_permille = 300;
}

static struct world *draw_world(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	enum ice_mode mode = rng_below(&rng, 4) == 0 ? ICE_MODE_STANDARD : ICE_MODE_GOVPN;
	struct world *w = world_new(seed, mode);

	draw_network(w);
	unsigned n = rng_below(&w->rng, 3) == 0 ? 3 + rng_below(&w->rng, 2) : 2;
	for (unsigned i = 0; i < n; i++) {
		enum home h = rng_below(&w->rng, HOME_COUNT);
		bool in_lan = i > 0 && rng_below(&w->rng, 8) == 0;

		world_add_computer(w, h, in_lan ? (int)rng_below(&w->rng, i) : -1);
	}
	for (unsigned a = 0; a < n; a++) {
		for (unsigned b = a + 1; b < n; b++) {
			unsigned p = world_add_pair(w, a, b, rng_below(&w->rng, 4) == 0);

			if (rng_below(&w->rng, 10) == 0)
				w->pairs[p].answers_to_lose = 1;
		}
	}
	return w;
}

static int run_seed(uint64_t seed, struct figures *f)
{
	struct world *w = draw_world(seed);

	for (unsigned i = 0; i < w->computer_count; i++) {
		world_start(w, i);
		world_run_until(w, w->now_us + rng_below(&w->rng, 400 * MS));
	}
	int r = connect_all(w, f);
	/* What happened before leaves its traces: old mappings, failed pairs. */
	unsigned trials = w->mode == ICE_MODE_GOVPN ? 1 + rng_below(&w->rng, 3) : 1;
	for (unsigned i = 0; r == 0 && i < trials; i++)
		r = run_trial(w, f);
	if (r == 0 && w->failure[0] != '\0')
		r = complain(w, TRIAL_NOTHING, w->failure);
	f->stranger_sent += w->stranger_sent;
	f->stranger_got += w->stranger_got;
	world_free(w);
	return r;
}

int main(int argc, char **argv)
{
	const char *is_long = getenv("GOVPN_LONG");
	unsigned long seeds = is_long != NULL && is_long[0] == '1' ? 10000 : 500;
	unsigned long first = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
	unsigned failed = 0;
	struct figures f = {0};

	if (argc > 1)
		seeds = strtoul(argv[1], NULL, 10);
	for (unsigned long i = 0; i < seeds; i++)
		failed += run_seed(first + i, &f) != 0;
	printf("%lu seeds, %u failed: %u pairs connected (worst %llu ms, standard %llu ms; %u at the second "
	       "attempt), %u impossible, %u back (mean %llu, worst %llu ms), idle minute at most %llu packets\n",
	       seeds, failed, f.connected, (unsigned long long)(f.worst_us[ICE_MODE_GOVPN] / 1000),
	       (unsigned long long)(f.worst_us[ICE_MODE_STANDARD] / 1000), f.again, f.refused,
	       f.moved, (unsigned long long)(f.back_us / 1000 / GV_MAX(f.moved, 1u)),
	       (unsigned long long)(f.worst_back_us / 1000), (unsigned long long)f.idle_packets);
	for (unsigned i = 0; i < TRIAL_COUNT; i++)
		printf("%s %u%s", trial_names[i], f.trials[i], i + 1 < TRIAL_COUNT ? ", " : "\n");
	printf("stranger: %llu bytes sent, %llu got\n", (unsigned long long)f.stranger_sent,
	       (unsigned long long)f.stranger_got);
	/* A replay must not make us send more than three bytes for one. */
	return failed != 0 || f.stranger_got > 3 * f.stranger_sent;
}
