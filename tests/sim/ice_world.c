/* SPDX-License-Identifier: MIT */

#include "ice_world.h"

#include "base/clock.h"
#include "proto/stun/msg.h"
#include "proto/stun/responder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA_BYTE      23 /* first byte of a DTLS record with application data */
#define REOFFER_US     (5 * S)
#define LATE_SIGNAL_US (5 * S)
#define TOLD_US        (100 * MS) /* how often an agent is told of data */
#define REFRESH_US     (2 * S)

static const char *const home_names[] = {"open", "firewall", "cone",     "addr",    "port",
                                         "sym",  "symaddr",  "udpblock", "carrier", "carriersym",
                                         "dual", "v6",       "two nics"};

const char *home_name(enum home h)
{
	return home_names[h];
}

static void die(const struct world *w, const char *what)
{
	fprintf(stderr, "seed %llu at %llu: %s\n", (unsigned long long)w->seed,
	        (unsigned long long)w->now_us, what);
	exit(1);
}

static struct netaddr v6(unsigned net, unsigned host, uint16_t port)
{
	uint8_t ip[16] = {0x20, 0x01, 0x0d, 0xb8, 0, (uint8_t)net};

	ip[15] = (uint8_t)host;
	return netaddr_ip6(ip, port);
}

struct world *world_new(uint64_t seed, enum ice_mode mode)
{
	struct world *w = calloc(1, sizeof(*w));

	if (w == NULL)
		exit(1);
	w->seed = seed;
	w->mode = mode;
	w->rng = rng_seeded(seed);
	w->start_us = w->now_us = 1000 * S;
	sim_init(&w->net, seed ^ 0x5eed);
	w->stun4 = netaddr_ip4(0xc6336401u, 3478); /* 198.51.100.1 */
	w->stun6 = v6(0xff, 1, 3478);
	w->stranger = netaddr_ip4(0xc6336442u, 6666);
	sim_add_host(&w->net, 0, &w->stun4);
	sim_add_host(&w->net, 0, &w->stun6);
	sim_add_host(&w->net, 0, &w->stranger);
	w->signal_max_us = 100 * MS;
	w->signal_next_us = CLOCK_NEVER;
	return w;
}

void world_free(struct world *w)
{
	for (unsigned i = 0; i < w->pair_count; i++) {
		ice_free(w->pairs[i].ends[0].agent);
		ice_free(w->pairs[i].ends[1].agent);
	}
	for (unsigned i = 0; i < w->computer_count; i++)
		gather_free(w->computers[i].gather);
	sim_deinit(&w->net);
	free(w);
}

/* ---- homes ---- */

struct nat_kind {
	enum sim_mapping mapping;
	enum sim_filter filter;
};

static const struct nat_kind nat_kinds[HOME_COUNT] = {
	[HOME_FIREWALL] = {SIM_MAP_NONE, SIM_FILTER_PORT},
	[HOME_CONE] = {SIM_MAP_PER_BASE, SIM_FILTER_NONE},
	[HOME_ADDR] = {SIM_MAP_PER_BASE, SIM_FILTER_ADDR},
	[HOME_PORT] = {SIM_MAP_PER_BASE, SIM_FILTER_PORT},
	[HOME_SYM] = {SIM_MAP_PER_PEER, SIM_FILTER_PORT},
	[HOME_SYMADDR] = {SIM_MAP_PER_PEER, SIM_FILTER_ADDR},
	[HOME_BLOCKED] = {SIM_MAP_PER_BASE, SIM_FILTER_PORT},
	[HOME_CARRIER] = {SIM_MAP_PER_BASE, SIM_FILTER_PORT},
	[HOME_CARRIERSYM] = {SIM_MAP_PER_BASE, SIM_FILTER_PORT},
	[HOME_DUAL] = {SIM_MAP_PER_BASE, SIM_FILTER_PORT},
	[HOME_TWO_NICS] = {SIM_MAP_PER_BASE, SIM_FILTER_PORT},
};

static void add_base(struct world *w, unsigned i, unsigned realm, const struct netaddr *addr)
{
	struct computer *c = &w->computers[i];

	c->bases[c->base_count++] = (struct sim_base){.realm = realm, .addr = *addr};
	sim_add_host(&w->net, realm, addr);
}

/* The realm of the carrier in front of a home; two homes may share one. */
static unsigned carrier(struct world *w, unsigned i, enum home h)
{
	struct netaddr ip = netaddr_ip4(0xcb007165u + i, 0); /* 203.0.113.101 */
	bool symmetric = h == HOME_CARRIERSYM;

	if (!symmetric && w->carrier != 0 && rng_below(&w->rng, 2) == 0)
		return w->carrier;
	unsigned realm = sim_add_nat(&w->net, 0, symmetric ? SIM_MAP_PER_PEER : SIM_MAP_PER_BASE,
	                             SIM_FILTER_PORT, &ip);
	sim_nat_of(&w->net, realm)->hairpin = rng_below(&w->rng, 2) == 0;
	if (!symmetric)
		w->carrier = realm;
	return realm;
}

/* An IPv4 realm of this kind for computer i; 0 is the Internet. */
static unsigned add_home4(struct world *w, unsigned i, enum home h)
{
	struct netaddr ip = netaddr_ip4(0xcb007101u + i, 0); /* 203.0.113.1 */
	bool is_carried = h == HOME_CARRIER || h == HOME_CARRIERSYM;
	unsigned parent = is_carried ? carrier(w, i, h) : 0;

	if (h == HOME_OPEN)
		return 0;
	if (is_carried)
		ip = netaddr_ip4(0x64400002u + i, 0); /* 100.64.0.2 */
	unsigned realm =
		sim_add_nat(&w->net, parent, nat_kinds[h].mapping, nat_kinds[h].filter, &ip);
	sim_nat_of(&w->net, realm)->hairpin = rng_below(&w->rng, 2) == 0;
	sim_nat_of(&w->net, realm)->blocked = h == HOME_BLOCKED;
	return realm;
}

static void place4(struct world *w, unsigned i, enum home h, unsigned realm)
{
	bool is_public = h == HOME_OPEN || h == HOME_FIREWALL;
	struct netaddr a = is_public ? netaddr_ip4(0xc0000201u + i, 4000) /* 192.0.2.1 */
	                             : netaddr_ip4(0xc0a80102u, 4000); /* 192.168.1.2 in each LAN */

	while (!is_public && sim_find_host(&w->net, realm, &a) != NULL)
		a.ip[3]++;
	add_base(w, i, realm, &a);
}

static void place6(struct world *w, unsigned i, unsigned realm)
{
	struct netaddr none = {0}, a = v6(i + 1, 2, 4000);

	if (realm == 0)
		realm = sim_add_nat(&w->net, 0, SIM_MAP_NONE, SIM_FILTER_PORT, &none);
	a.ip[15] = (uint8_t)(a.ip[15] + i);
	add_base(w, i, realm, &a);
}

static unsigned realm_of_family(const struct computer *c, enum netaddr_family family)
{
	for (unsigned k = 0; k < c->base_count; k++) {
		if (c->bases[k].addr.family == family)
			return c->bases[k].realm;
	}
	return 0;
}

unsigned world_add_computer(struct world *w, enum home h, int lan)
{
	unsigned i = w->computer_count++;
	struct computer *c = &w->computers[i];
	const struct computer *neighbour = lan >= 0 ? &w->computers[lan] : NULL;

	c->home = neighbour != NULL ? neighbour->home : h;
	if (c->home != HOME_V6) {
		unsigned realm = neighbour != NULL ? realm_of_family(neighbour, NETADDR_IP4)
		                                   : add_home4(w, i, c->home);
		place4(w, i, c->home, realm);
	}
	if (c->home == HOME_DUAL || c->home == HOME_V6)
		place6(w, i, neighbour != NULL ? realm_of_family(neighbour, NETADDR_IP6) : 0);
	if (c->home == HOME_TWO_NICS) {
		struct netaddr ip = netaddr_ip4(0xcb0071c9u + i, 0);   /* 203.0.113.201 */
		struct netaddr a = netaddr_ip4(0x0a000002u + i, 4000); /* 10.0.0.2 */
		unsigned realm = sim_add_nat(&w->net, 0, SIM_MAP_PER_PEER, SIM_FILTER_PORT, &ip);

		add_base(w, i, realm, &a);
	}
	struct gather_config gc = {.servers = {w->stun4, w->stun6},
	                           .server_count = 2,
	                           .transaction_prefix = 0x2000 + i,
	                           .rng = rng_seeded(rng_u64(&w->rng))};
	if (gather_new(&c->gather, &gc) != 0)
		exit(1);
	return i;
}

unsigned world_add_pair(struct world *w, unsigned a, unsigned b, bool conflict)
{
	unsigned i = w->pair_count++;
	struct pair *p = &w->pairs[i];
	bool controls = rng_below(&w->rng, 2) == 1;

	for (unsigned k = 0; k < 2; k++) {
		bool controlling = k == 0 || conflict ? controls : !controls;
		struct ice_config ic = {.role = controlling ? ICE_ROLE_CONTROLLING
		                                            : ICE_ROLE_CONTROLLED,
		                        .mode = w->mode,
		                        .transaction_prefix = 0x1000 + 2 * i + k,
		                        .rng = rng_seeded(rng_u64(&w->rng))};

		p->ends[k] = (struct side){.computer = k == 0 ? a : b, .is_offerer = k == 0};
		if (ice_new(&p->ends[k].agent, &ic) != 0)
			exit(1);
	}
	return i;
}

bool world_can_meet(struct world *w, const struct pair *p)
{
	const struct computer *a = &w->computers[p->ends[0].computer];
	const struct computer *b = &w->computers[p->ends[1].computer];

	for (unsigned i = 0; i < a->base_count; i++) {
		for (unsigned k = 0; k < b->base_count; k++) {
			if (sim_can_meet(&w->net, &a->bases[i], &b->bases[k]))
				return true;
		}
	}
	return false;
}

/* ---- signaling ---- */

static struct signal *post(struct world *w, unsigned pair, unsigned from, enum signal_type type)
{
	const struct ice_agent *a = w->pairs[pair].ends[from].agent;
	unsigned i = 0;

	while (i < w->signal_end && w->signals[i].at_us != 0)
		i++;
	if (i == WORLD_SIGNALS)
		die(w, "too many signals");
	w->signal_end = GV_MAX(w->signal_end, i + 1);
	struct signal *s = &w->signals[i];
	*s = (struct signal){.pair = pair, .to = 1 - from, .type = type};
	s->at_us = w->now_us + 1 * MS + rng_below(&w->rng, (uint32_t)w->signal_max_us);
	if (type == SIGNAL_CANDIDATE && rng_below(&w->rng, 1000) < w->signal_late_permille)
		s->at_us += rng_below(&w->rng, LATE_SIGNAL_US);
	s->expires_us = s->at_us + 2 * REOFFER_US;
	(void)snprintf(s->ufrag, sizeof(s->ufrag), "%s", ice_local_ufrag(a));
	(void)snprintf(s->pwd, sizeof(s->pwd), "%s", ice_local_pwd(a));
	w->signal_next_us = GV_MIN(w->signal_next_us, s->at_us);
	return s;
}

static void post_candidate(struct world *w, unsigned pair, unsigned from, const struct ice_cand *c)
{
	char text[ICE_CAND_TEXT_SIZE];
	struct signal *s = post(w, pair, from, SIGNAL_CANDIDATE);

	/* Through its text, as on the wire. */
	ice_cand_format(c, text);
	if (ice_cand_parse(text, strlen(text), &s->cand) != ICE_CAND_OK)
		die(w, text);
}

/* Behind everything of this end that is under way: it says that nothing comes any more. */
static void post_end(struct world *w, unsigned pair, unsigned from)
{
	struct signal *s = post(w, pair, from, SIGNAL_END);

	for (unsigned i = 0; i < w->signal_end; i++) {
		const struct signal *o = &w->signals[i];

		if (o->at_us != 0 && o->pair == pair && o->to == s->to)
			s->at_us = GV_MAX(s->at_us, o->at_us);
	}
}

/* Credentials and all that was gathered so far. */
static void describe(struct world *w, unsigned pair, unsigned from, enum signal_type type)
{
	struct pair *p = &w->pairs[pair];
	const struct computer *c = &w->computers[p->ends[from].computer];

	if (type == SIGNAL_OFFER)
		p->offered_us = w->now_us;
	if (type == SIGNAL_ANSWER && p->answers_to_lose > 0)
		p->answers_to_lose--;
	else
		(void)post(w, pair, from, type);
	for (unsigned i = 0; i < c->cand_count; i++)
		post_candidate(w, pair, from, &c->cands[i]);
	if (c->gathered)
		post_end(w, pair, from);
}

static void restart(struct world *w, struct side *s)
{
	(void)snprintf(s->former_ufrag, sizeof(s->former_ufrag), "%s", ice_local_ufrag(s->agent));
	ice_restart(s->agent, w->now_us);
}

static void take_creds(struct world *w, const struct signal *g)
{
	struct side *s = &w->pairs[g->pair].ends[g->to];
	bool is_new = strcmp(s->remote_ufrag, g->ufrag) != 0;

	if (g->type == SIGNAL_OFFER && s->has_remote && is_new)
		restart(w, s);
	if (is_new)
		s->failed = false;
	if (ice_set_remote(s->agent, g->ufrag, g->pwd, w->now_us) != ICE_OK)
		die(w, "credentials refused");
	s->has_remote = true;
	(void)snprintf(s->remote_ufrag, sizeof(s->remote_ufrag), "%s", g->ufrag);
	if (w->computers[s->computer].gathered)
		ice_end_local(s->agent, w->now_us);
	if (g->type == SIGNAL_OFFER)
		describe(w, g->pair, g->to, SIGNAL_ANSWER);
}

/* False: the signal waits for what has to come before it. */
static bool deliver_signal(struct world *w, const struct signal *g)
{
	struct side *s = &w->pairs[g->pair].ends[g->to];
	bool is_for_now = s->has_remote && strcmp(g->ufrag, s->remote_ufrag) == 0;

	if (!w->computers[s->computer].started)
		return false;
	switch (g->type) {
	case SIGNAL_OFFER:
	case SIGNAL_ANSWER:
		take_creds(w, g);
		break;
	case SIGNAL_CANDIDATE:
		/* Candidates of the first description may come before it. */
		if (s->has_remote && !is_for_now)
			return false;
		ice_add_remote(s->agent, &g->cand, w->now_us);
		break;
	case SIGNAL_END:
		if (!is_for_now)
			return false;
		ice_end_remote(s->agent, w->now_us);
		break;
	}
	w->pairs[g->pair].last_signal_us = w->now_us;
	return true;
}

static void deliver_signals(struct world *w)
{
	if (w->signal_next_us > w->now_us)
		return;
	for (unsigned i = 0; i < w->signal_end; i++) {
		struct signal g = w->signals[i];

		if (g.at_us == 0 || g.at_us > w->now_us)
			continue;
		/* What waits for a description that is lost is dropped with its generation. */
		if (deliver_signal(w, &g) || w->now_us > g.expires_us)
			w->signals[i].at_us = 0;
		else
			w->signals[i].at_us = w->now_us + 20 * MS;
	}
	w->signal_next_us = CLOCK_NEVER;
	while (w->signal_end > 0 && w->signals[w->signal_end - 1].at_us == 0)
		w->signal_end--;
	for (unsigned i = 0; i < w->signal_end; i++) {
		if (w->signals[i].at_us != 0)
			w->signal_next_us = GV_MIN(w->signal_next_us, w->signals[i].at_us);
	}
}

void world_restart(struct world *w, unsigned pair)
{
	struct side *s = &w->pairs[pair].ends[0];

	restart(w, s);
	s->has_remote = false;
	s->failed = false;
	if (w->computers[s->computer].gathered)
		ice_end_local(s->agent, w->now_us);
	describe(w, pair, 0, SIGNAL_OFFER);
}

/* ---- one computer ---- */

static bool is_told(const struct computer *c, const struct ice_cand *cand)
{
	for (unsigned i = 0; i < c->cand_count; i++) {
		if (netaddr_equal(&c->cands[i].addr, &cand->addr) &&
		    netaddr_equal(&c->cands[i].base, &cand->base))
			return true;
	}
	return false;
}

/* Of the mappings of one base the newest four stay, as in the product. */
static void forget_mapping(struct computer *c, const struct netaddr *base)
{
	unsigned same = 0, oldest = 0;

	for (unsigned i = c->cand_count; i-- > 0;) {
		if (c->cands[i].type == ICE_CAND_SRFLX && netaddr_equal(&c->cands[i].base, base)) {
			same++;
			oldest = i;
		}
	}
	if (same < 4)
		return;
	c->cand_count--;
	memmove(&c->cands[oldest], &c->cands[oldest + 1],
	        (c->cand_count - oldest) * sizeof(c->cands[0]));
}

static void add_cand(struct world *w, unsigned i, enum ice_cand_type type,
                     const struct netaddr *addr, const struct netaddr *base, unsigned rank)
{
	struct computer *c = &w->computers[i];
	struct ice_cand cand = ice_cand_local(
		type, addr, base, ice_cand_preference((enum netaddr_family)addr->family, rank));

	if (is_told(c, &cand))
		return;
	if (type == ICE_CAND_SRFLX)
		forget_mapping(c, base);
	if (c->cand_count == WORLD_CANDS)
		die(w, "too many candidates");
	c->cands[c->cand_count++] = cand;
	for (unsigned k = 0; k < 2 * w->pair_count; k++) {
		struct pair *p = &w->pairs[k / 2];
		struct side *s = &p->ends[k % 2];

		if (s->computer != i || ice_add_local(s->agent, &cand, w->now_us) != ICE_OK)
			continue;
		if (s->is_offerer || s->has_remote)
			post_candidate(w, k / 2, k % 2, &cand);
	}
}

static void forget_cands(struct computer *c, const struct netaddr *base)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < c->cand_count; i++) {
		if (!netaddr_equal(&c->cands[i].base, base))
			c->cands[kept++] = c->cands[i];
	}
	c->cand_count = kept;
}

static void add_host_cands(struct world *w, unsigned i)
{
	struct computer *c = &w->computers[i];

	for (unsigned k = 0; k < c->base_count; k++) {
		const struct netaddr *a = &c->bases[k].addr;

		add_cand(w, i, ICE_CAND_HOST, a, a, k);
		gather_add_base(c->gather, a, w->now_us);
	}
}

static void handle_event(struct world *w, struct side *s, const struct ice_event *e)
{
	struct computer *c = &w->computers[s->computer];

	switch (e->type) {
	case ICE_EVENT_PAIR_VALID:
		break;
	case ICE_EVENT_SELECTED:
		s->has_path = true;
		if (s->selections++ == 0)
			s->selected_us = w->now_us;
		s->path_local = e->local;
		s->path_remote = e->remote;
		s->send_until_us = e->send_until_us;
		if (netaddr_ip_equal(&e->remote, &w->stranger))
			(void)snprintf(w->failure, sizeof(w->failure), "a stranger was selected");
		break;
	case ICE_EVENT_CONSENT:
		s->send_until_us = e->send_until_us;
		break;
	case ICE_EVENT_QUIET:
		s->quiets++;
		/* Perhaps our NAT has another mapping now: ask. */
		if (w->now_us < c->refresh_us)
			break;
		c->refresh_us = w->now_us + REFRESH_US;
		for (unsigned k = 0; k < c->base_count; k++)
			gather_add_base(c->gather, &c->bases[k].addr, w->now_us);
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

static void transmit(struct world *w, const struct computer *c, const struct ice_packet *p)
{
	for (unsigned k = 0; k < c->base_count; k++) {
		if (!netaddr_equal(&c->bases[k].addr, &p->local))
			continue;
		sim_send(&w->net, c->bases[k].realm, &p->local, &p->remote, p->data, p->len,
		         w->now_us);
		return;
	}
}

static void pump_gather(struct world *w, unsigned i)
{
	struct computer *c = &w->computers[i];
	struct ice_packet p;
	struct gather_event g;

	while (gather_event(c->gather, &g) == 1) {
		if (g.type == GATHER_EVENT_SRFLX && !netaddr_equal(&g.base, &g.mapped)) {
			add_cand(w, i, ICE_CAND_SRFLX, &g.mapped, &g.base, 0);
		} else if (g.type == GATHER_EVENT_DONE && !c->gathered) {
			c->gathered = true;
			for (unsigned k = 0; k < 2 * w->pair_count; k++) {
				struct side *s = &w->pairs[k / 2].ends[k % 2];

				if (s->computer != i)
					continue;
				ice_end_local(s->agent, w->now_us);
				if (s->is_offerer || s->has_remote)
					post_end(w, k / 2, k % 2);
			}
		}
	}
	while (gather_output(c->gather, &p, w->now_us) == 1)
		transmit(w, c, &p);
}

static void pump(struct world *w)
{
	struct ice_packet p;
	struct ice_event e;

	for (unsigned i = 0; i < w->computer_count; i++)
		pump_gather(w, i);
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		struct side *s = &w->pairs[i / 2].ends[i % 2];

		while (ice_event(s->agent, &e) == 1)
			handle_event(w, s, &e);
		while (ice_output(s->agent, &p, w->now_us) == 1) {
			s->packets++;
			transmit(w, &w->computers[s->computer], &p);
		}
	}
	for (unsigned i = 0; i < w->computer_count; i++)
		pump_gather(w, i);
}

void world_start(struct world *w, unsigned computer)
{
	w->computers[computer].started = true;
	for (unsigned i = 0; i < w->pair_count; i++) {
		if (w->pairs[i].ends[0].computer == computer)
			describe(w, i, 0, SIGNAL_OFFER);
	}
	add_host_cands(w, computer);
	pump(w);
}

void world_change_address(struct world *w, unsigned computer, unsigned base)
{
	struct computer *c = &w->computers[computer];
	struct sim_base *b = &c->bases[base];
	struct netaddr old = b->addr;

	sim_remove_host(&w->net, b->realm, &old);
	b->addr.ip[b->addr.family == NETADDR_IP4 ? 3 : 15] += 10;
	sim_add_host(&w->net, b->realm, &b->addr);
	forget_cands(c, &old);
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		struct side *s = &w->pairs[i / 2].ends[i % 2];

		if (s->computer == computer)
			ice_remove_local(s->agent, &old, w->now_us);
	}
	gather_remove_base(c->gather, &old, w->now_us);
	add_host_cands(w, computer);
	pump(w);
}

/* ---- what arrives ---- */

static void answer_stun(struct world *w, const struct sim_packet *p)
{
	uint8_t answer[STUN_RESPONSE_MAX];
	size_t n = stun_respond(p->data, p->len, &p->from, answer);

	if (n > 0)
		sim_send(&w->net, 0, &p->to, &p->from, answer, n, w->now_us);
}

static void take_data(struct world *w, const struct sim_packet *p, unsigned computer)
{
	struct side *s = &w->pairs[p->data[1] % WORLD_PAIRS].ends[p->data[2] % 2];

	if (s->agent == NULL || s->computer != computer)
		return;
	s->last_data_us = w->now_us;
	if (w->now_us >= s->heard_told_us + TOLD_US) {
		s->heard_told_us = w->now_us;
		ice_heard(s->agent, w->now_us);
	}
}

static bool is_text(const char *text, const char *bytes, size_t len)
{
	return strlen(text) == len && memcmp(text, bytes, len) == 0;
}

/* The agent that a STUN message is for: by the fragment in a request, by the transaction in an answer. */
static struct side *find_agent(struct world *w, const struct sim_packet *p)
{
	const char *ufrag;
	size_t len;

	if (stun_peek_class(p->data) != STUN_CLASS_REQUEST) {
		uint32_t i = stun_peek_prefix(p->data) - 0x1000;

		return i < 2 * w->pair_count ? &w->pairs[i / 2].ends[i % 2] : NULL;
	}
	if (!stun_peek_username(p->data, p->len, &ufrag, &len))
		return NULL;
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		struct side *s = &w->pairs[i / 2].ends[i % 2];

		if (is_text(ice_local_ufrag(s->agent), ufrag, len) ||
		    is_text(s->former_ufrag, ufrag, len))
			return s;
	}
	return NULL;
}

/* The stranger repeats what he saw from his own address, or with one bit changed in the sender's name. */
static void interfere(void *user, const struct netaddr *from, const struct netaddr *to,
                      const uint8_t *data, size_t len, uint64_t now_us)
{
	struct world *w = user;
	uint8_t copy[SIM_PACKET_MAX];

	/* What servers answer is not authentic to begin with: who changes that can keep a path from standing. */
	if (netaddr_ip_equal(from, &w->stranger) || netaddr_ip_equal(to, &w->stranger) ||
	    from->port == w->stun4.port || rng_below(&w->rng, 4) > 0)
		return;
	memcpy(copy, data, len);
	if (rng_below(&w->rng, 2) == 0) {
		uint32_t bit = rng_below(&w->rng, (uint32_t)len * 8);

		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		sim_forge(&w->net, from, to, copy, len, now_us);
		return;
	}
	w->stranger_sent += len;
	sim_send(&w->net, 0, &w->stranger, to, copy, len, now_us);
}

void world_add_stranger(struct world *w)
{
	w->net.tap = interfere;
	w->net.tap_user = w;
}

static void receive(struct world *w, const struct sim_packet *p)
{
	if (netaddr_equal(&p->to, &w->stun4) || netaddr_equal(&p->to, &w->stun6)) {
		answer_stun(w, p);
		return;
	}
	if (netaddr_ip_equal(&p->to, &w->stranger)) {
		w->stranger_got += p->len;
		return;
	}
	for (unsigned i = 0; i < w->computer_count; i++) {
		struct computer *c = &w->computers[i];

		for (unsigned k = 0; k < c->base_count; k++) {
			if (c->bases[k].realm != p->realm ||
			    !netaddr_equal(&c->bases[k].addr, &p->to))
				continue;
			if (p->data[0] == DATA_BYTE) {
				take_data(w, p, i);
				return;
			}
			struct side *s = stun_is_message(p->data, p->len) ? find_agent(w, p) : NULL;
			if (s != NULL && s->computer == i) {
				s->packets++;
				ice_input(s->agent, &p->to, &p->from, p->data, p->len, w->now_us);
			} else {
				gather_input(c->gather, &p->to, &p->from, p->data, p->len,
				             w->now_us);
			}
			return;
		}
	}
}

static void send_data(struct world *w)
{
	w->next_data_us = w->now_us + w->data_each_us;
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		struct side *s = &w->pairs[i / 2].ends[i % 2];
		struct ice_packet p = {.local = s->path_local, .remote = s->path_remote, .len = 64};

		if (!s->has_path || s->send_until_us < w->now_us)
			continue;
		p.data[0] = DATA_BYTE;
		p.data[1] = (uint8_t)(i / 2);
		p.data[2] = (uint8_t)(1 - i % 2);
		transmit(w, &w->computers[s->computer], &p);
		if (w->now_us >= s->sent_told_us + TOLD_US) {
			s->sent_told_us = w->now_us;
			ice_sent(s->agent, w->now_us);
		}
	}
}

/* ---- time ---- */

/* An offer whose answer does not come is repeated as a new generation. */
static void reoffer(struct world *w)
{
	for (unsigned i = 0; i < w->pair_count; i++) {
		struct pair *p = &w->pairs[i];

		if (p->offered_us != 0 && !p->ends[0].has_remote &&
		    w->now_us >= p->offered_us + REOFFER_US)
			world_restart(w, i);
	}
}

static uint64_t next_us(const struct world *w)
{
	uint64_t due_us = GV_MIN(sim_next_us(&w->net), w->signal_next_us);

	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		uint64_t us = ice_deadline_us(w->pairs[i / 2].ends[i % 2].agent);

		due_us = GV_MIN(due_us, us);
	}
	for (unsigned i = 0; i < w->computer_count; i++) {
		uint64_t us = gather_deadline_us(w->computers[i].gather);

		due_us = GV_MIN(due_us, us);
	}
	for (unsigned i = 0; i < w->pair_count; i++) {
		if (w->pairs[i].offered_us != 0 && !w->pairs[i].ends[0].has_remote)
			due_us = GV_MIN(due_us, w->pairs[i].offered_us + REOFFER_US);
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
	deliver_signals(w);
	reoffer(w);
	for (unsigned i = 0; i < 2 * w->pair_count; i++) {
		struct ice_agent *a = w->pairs[i / 2].ends[i % 2].agent;

		if (ice_deadline_us(a) <= w->now_us)
			ice_timeout(a, w->now_us);
	}
	for (unsigned i = 0; i < w->computer_count; i++) {
		struct gather *g = w->computers[i].gather;

		if (gather_deadline_us(g) <= w->now_us)
			gather_timeout(g, w->now_us);
	}
	pump(w);
	if (w->data_each_us != 0 && w->next_data_us <= w->now_us)
		send_data(w);
}

/* A loop that does not move is a deadline that lies. */
void world_run_until(struct world *w, uint64_t until_us)
{
	unsigned stuck = 0;

	for (;;) {
		uint64_t due_us = next_us(w);

		if (due_us > until_us)
			break;
		stuck = due_us > w->now_us ? 0 : stuck + 1;
		if (stuck > 100)
			die(w, "stuck");
		w->now_us = GV_MAX(w->now_us, due_us);
		step(w);
	}
	w->now_us = until_us;
}

void world_data(struct world *w, uint64_t each_us)
{
	w->data_each_us = each_us;
	w->next_data_us = w->now_us;
}

static bool all_heard(struct world *w, uint64_t since_us)
{
	for (unsigned i = 0; i < w->pair_count; i++) {
		const struct pair *p = &w->pairs[i];

		if (world_can_meet(w, p) &&
		    (p->ends[0].last_data_us <= since_us || p->ends[1].last_data_us <= since_us))
			return false;
	}
	return true;
}

bool world_flows(struct world *w, uint64_t within_us)
{
	uint64_t start_us = w->now_us, each_us = w->data_each_us;

	if (each_us == 0)
		world_data(w, 20 * MS);
	while (!all_heard(w, start_us) && w->now_us < start_us + within_us)
		world_run_until(w, w->now_us + 20 * MS);
	w->data_each_us = each_us;
	return all_heard(w, start_us);
}
