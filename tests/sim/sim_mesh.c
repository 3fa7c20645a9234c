/* SPDX-License-Identifier: MIT */

/*
 * A mesh of 20 computers in homes of several kinds, with a server that forwards, in virtual time: all start in the same
 * second, then things happen to them, one after the other. After each, IP passes between every two that theory says can
 * meet, in both directions and in bounded time.
 *
 *   sim_mesh [SEEDS [FIRST]]     default: 2 seeds, 60 with GOVPN_LONG=1
 *
 * A seed replays: keys, certificates, credentials and the network are drawn from it.
 */

#define OPENSSL_SUPPRESS_DEPRECATED /* for RAND_set_rand_method() */

#include "mesh_plane.h"

#include "base/log.h"
#include "base/mem.h"
#include "crypto/cert.h"
#include "crypto/identity.h"
#include "proto/sig/proof.h"
#include "proto/stun/responder.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MS 1000ull
#define S  1000000ull

#define NODES          20
#define STEP_US        (5 * MS)
#define UNIX_S         1700000000
#define EVENTS         8
#define SIGNALS_MAX    20 /* of one pair, to connect */
#define ALL_UP_US      (15 * S)
#define BACK_US        (8 * S)
#define PROBE_US       (50 * MS)
#define SERVER_BACK_US (3 * S) /* members come back to the server one by one within this time */

enum happening {
	HAPPENING_SERVER_GONE,   /* and back; no path may suffer */
	HAPPENING_RESTART,       /* a daemon dies and comes back with another session */
	HAPPENING_DOWN,          /* a daemon says bye, and comes back later */
	HAPPENING_LEAVE,         /* a member leaves for good by a signed leave, and joins anew */
	HAPPENING_ADDRESS,       /* a computer gets another address */
	HAPPENING_ADDRESS_ALONE, /* the same while the server is away */
	HAPPENING_REBIND,        /* a NAT forgets */
	HAPPENING_BURST,         /* nothing passes for two seconds */
	HAPPENING_COUNT,
};

static const char *const happening_names[] = {"server gone", "restart",       "down",   "leave",
                                              "address",     "address alone", "rebind", "burst"};

enum post_type {
	POST_MEMBER,  /* about: list or notice */
	POST_LIST,    /* the whole list, in one */
	POST_OFFLINE, /* about */
	POST_LEFT,    /* about, leave */
	POST_SDP,
	POST_CANDIDATE,
};

/* What the server sends to a computer. */
struct post {
	struct post *next;
	uint64_t at_us;
	unsigned to, about;
	uint64_t life; /* of the connection that it is for */
	enum post_type type;
	enum msg_type msg_type;
	struct proof_leave leave;
	struct msg_sdp sdp;
	struct msg_ice_candidate candidate;
	char *text[3]; /* owned: what the messages point to */
};

struct node {
	struct identity *id;
	uint8_t key[SIG_KEY_SIZE];
	struct cert *cert;
	struct admission admission;
	struct document *doc;
	struct netaddr ip4;
	struct sim_base base;
	struct dataplane *plane;
	struct mesh *mesh; /* NULL: its daemon does not run */
	bool connected;    /* to the server */
	uint64_t life;     /* of the connection: what was sent on an older one is lost */
	uint64_t back_us;  /* when it connects again; 0: not planned */
	uint64_t last_post_us;
	uint64_t session;
	uint32_t handles;
	unsigned starts;
};

struct world {
	uint64_t seed, now_us;
	struct rng rng;
	struct sim_net net;
	struct netaddr stun;
	struct node nodes[NODES];
	bool server_up;
	struct post *posts; /* by time */
	unsigned signals[NODES][NODES];
	uint64_t next_probe_us;
	uint64_t probes_sent, probes_lost;
	bool can_meet[NODES][NODES];
};

struct figures {
	unsigned failed, pairs, impossible;
	uint64_t worst_up_us, worst_back_us[HAPPENING_COUNT];
	unsigned worst_signals;
	uint64_t signals;
	unsigned happenings[HAPPENING_COUNT];
};

/* ---- all randomness from the seed ---- */

static struct rng system_rng;

__attribute__((visibility("default"))) ssize_t getrandom(void *out, size_t n, unsigned flags)
{
	(void)flags;
	rng_bytes(&system_rng, out, n);
	return (ssize_t)n;
}

static int seeded_bytes(unsigned char *out, int n)
{
	rng_bytes(&system_rng, out, (size_t)n);
	return 1;
}

static int seeded_status(void)
{
	return 1;
}

static const RAND_METHOD seeded_method = {
	.bytes = seeded_bytes, .pseudorand = seeded_bytes, .status = seeded_status};

static void must(int r)
{
	if (r != 0)
		exit(1);
}

/* Results above 0 are the mesh's own business. */
static void must_not_fail(int r)
{
	if (r < 0)
		exit(1);
}

/* ---- the server ---- */

static struct post *post(struct world *w, unsigned to, enum post_type type)
{
	struct node *n = &w->nodes[to];
	struct post *p = calloc(1, sizeof(*p));

	if (p == NULL)
		exit(1);
	p->type = type;
	p->to = to;
	p->life = n->life;
	/* In order, as a connection delivers; there and back again takes 10 to 110 ms. */
	p->at_us = w->now_us + 10 * MS + rng_below(&w->rng, 100 * MS);
	p->at_us = GV_MAX(p->at_us, n->last_post_us);
	n->last_post_us = p->at_us;
	struct post **at = &w->posts;
	while (*at != NULL && (*at)->at_us <= p->at_us)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
	return p;
}

static void post_free(struct post *p)
{
	for (unsigned i = 0; i < 3; i++)
		free(p->text[i]);
	free(p);
}

static char *copy(const char *text)
{
	char *t = text != NULL ? strdup(text) : NULL;

	if (text != NULL && t == NULL)
		exit(1);
	return t;
}

static int index_of(const struct world *w, const uint8_t *key)
{
	for (int i = 0; i < NODES; i++) {
		if (memcmp(w->nodes[i].key, key, SIG_KEY_SIZE) == 0)
			return i;
	}
	return -1;
}

static void tell_others(struct world *w, unsigned about, enum post_type type)
{
	for (unsigned i = 0; i < NODES; i++) {
		if (i != about && w->nodes[i].connected)
			post(w, i, type)->about = about;
	}
}

static void connect_node(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];

	n->back_us = 0;
	if (n->connected || !w->server_up || n->mesh == NULL)
		return;
	n->connected = true;
	n->life++;
	n->last_post_us = 0;
	(void)post(w, i, POST_LIST);
	tell_others(w, i, POST_MEMBER);
}

static void disconnect_node(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];

	if (!n->connected)
		return;
	n->connected = false;
	n->life++;
	if (n->mesh != NULL)
		mesh_set_signaling(n->mesh, false, w->now_us);
	if (w->server_up)
		tell_others(w, i, POST_OFFLINE);
}

static void tell(struct world *w, unsigned to, unsigned about, enum mesh_news news)
{
	const struct node *a = &w->nodes[about];
	struct mesh_member m = {.admission = a->admission,
	                        .ip4 = a->ip4,
	                        .session = a->session,
	                        .connected = a->connected};

	/* Refused may be a member, such as while its old address is proven; nothing else may go wrong. */
	must_not_fail(mesh_member(w->nodes[to].mesh, &m, news, w->now_us));
}

static void deliver(struct world *w, struct post *p)
{
	struct node *n = &w->nodes[p->to];

	if (n->mesh == NULL || !n->connected || n->life != p->life)
		return;
	switch (p->type) {
	case POST_LIST:
		mesh_set_signaling(n->mesh, true, w->now_us);
		mesh_list_begin(n->mesh);
		for (unsigned i = 0; i < NODES; i++) {
			if (i != p->to)
				tell(w, p->to, i, MESH_NEWS_LIST);
		}
		mesh_list_end(n->mesh, w->now_us);
		break;
	case POST_MEMBER:
		tell(w, p->to, p->about, MESH_NEWS_NOTICE);
		break;
	case POST_OFFLINE:
		mesh_member_offline(n->mesh, w->nodes[p->about].key, w->now_us);
		break;
	case POST_LEFT:
		must_not_fail(mesh_member_left(n->mesh, p->leave.key, &p->leave, w->now_us));
		break;
	case POST_SDP:
		must_not_fail(p->msg_type == MSG_SDP_OFFER
		                      ? mesh_offer(n->mesh, &p->sdp, w->now_us)
		                      : mesh_answer(n->mesh, &p->sdp, w->now_us));
		break;
	case POST_CANDIDATE:
		must_not_fail(mesh_candidate(n->mesh, &p->candidate, w->now_us));
		break;
	}
}

/* A mesh wants something sent to another member. */
static void forward(struct world *w, unsigned from, const struct mesh_event *e)
{
	bool is_sdp = e->msg_type != MSG_ICE_CANDIDATE;
	int to = index_of(w, is_sdp ? e->sdp->target_id : e->candidate->target_id);

	if (to < 0 || !w->server_up || !w->nodes[from].connected || !w->nodes[to].connected)
		return;
	w->signals[from][to]++;
	struct post *p = post(w, (unsigned)to, is_sdp ? POST_SDP : POST_CANDIDATE);
	p->msg_type = e->msg_type;
	if (is_sdp) {
		p->sdp = *e->sdp;
		p->sdp.sdp = p->text[0] = copy(e->sdp->sdp);
		p->sdp.has_sender = true;
		memcpy(p->sdp.sender_id, w->nodes[from].key, SIG_KEY_SIZE);
		return;
	}
	p->candidate = *e->candidate;
	p->candidate.mid = p->text[0] = copy(e->candidate->mid);
	p->candidate.ufrag = p->text[1] = copy(e->candidate->ufrag);
	p->candidate.candidate = p->text[2] = copy(e->candidate->candidate);
	p->candidate.has_sender = true;
	memcpy(p->candidate.sender_id, w->nodes[from].key, SIG_KEY_SIZE);
}

static void work_server(struct world *w)
{
	for (unsigned i = 0; i < NODES; i++) {
		if (w->nodes[i].back_us != 0 && w->now_us >= w->nodes[i].back_us)
			connect_node(w, i);
	}
	while (w->posts != NULL && w->posts->at_us <= w->now_us) {
		struct post *p = w->posts;

		w->posts = p->next;
		deliver(w, p);
		post_free(p);
	}
}

static void server_down(struct world *w)
{
	w->server_up = false;
	for (unsigned i = 0; i < NODES; i++)
		disconnect_node(w, i);
}

static void server_up(struct world *w)
{
	w->server_up = true;
	for (unsigned i = 0; i < NODES; i++) {
		if (w->nodes[i].mesh != NULL)
			w->nodes[i].back_us =
				w->now_us + 1 + rng_below(&w->rng, (uint32_t)SERVER_BACK_US);
	}
}

/* ---- computers ---- */

static void set_addresses(struct world *w, struct node *n)
{
	struct netaddr a = n->base.addr;

	a.port = 0;
	mesh_set_addresses(n->mesh, &a, 1, w->now_us);
}

static void start_node(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];
	struct mesh_config c = {
		.dataplane = n->plane,
		.id = n->id,
		.cert = n->cert,
		.doc = n->doc,
		.ip4 = n->ip4,
		.session = n->session,
		.net = 1,
		.next_handle = &n->handles,
		.udp4_port = n->base.addr.port,
		.rng = rng_seeded(rng_u64(&w->rng)),
	};

	n->starts++;
	must(mesh_new(&n->mesh, &c, w->now_us));
	plane_bind(n->plane, n->mesh);
	mesh_set_stun(n->mesh, &w->stun, 1, w->now_us);
	set_addresses(w, n);
}

/* The daemon dies without a word. */
static void kill_node(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];
	struct mesh *m = n->mesh;

	plane_bind(n->plane, NULL);
	n->mesh = NULL;
	disconnect_node(w, i);
	mesh_free(m);
}

static void drain(struct world *w, unsigned i)
{
	struct mesh_event e;

	while (w->nodes[i].mesh != NULL && mesh_event(w->nodes[i].mesh, &e) == 1) {
		if (e.type == MESH_EVENT_SIGNAL)
			forward(w, i, &e);
	}
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
	for (unsigned i = 0; i < NODES; i++) {
		struct node *n = &w->nodes[i];

		if (n->base.realm == p->realm && netaddr_equal(&n->base.addr, &p->to)) {
			plane_receive(n->plane, p, w->now_us);
			drain(w, i);
			return;
		}
	}
}

/* ---- time ---- */

static void probe_all(struct world *w)
{
	w->next_probe_us = w->now_us + PROBE_US;
	for (unsigned i = 0; i < NODES; i++) {
		for (unsigned k = 0; k < NODES; k++) {
			if (i != k && w->nodes[i].mesh != NULL)
				(void)plane_probe(w->nodes[i].plane, &w->nodes[k].ip4, w->now_us);
		}
	}
}

static void run_until(struct world *w, uint64_t until_us)
{
	struct sim_packet p;

	while (w->now_us < until_us) {
		w->now_us += STEP_US;
		work_server(w);
		while (sim_receive(&w->net, &p, w->now_us))
			receive(w, &p);
		for (unsigned i = 0; i < NODES; i++) {
			struct node *n = &w->nodes[i];

			if (n->mesh == NULL)
				continue;
			if (w->now_us >= mesh_deadline_us(n->mesh))
				mesh_timeout(n->mesh, w->now_us);
			drain(w, i);
			while (plane_work(n->plane, w->now_us) > 0)
				drain(w, i);
		}
		if (w->now_us >= w->next_probe_us)
			probe_all(w);
	}
}

/* Every two that can meet and run have heard a probe of each other since. */
static bool all_heard(const struct world *w, uint64_t since_us)
{
	for (unsigned i = 0; i < NODES; i++) {
		for (unsigned k = 0; k < NODES; k++) {
			if (i == k || !w->can_meet[i][k] || w->nodes[i].mesh == NULL ||
			    w->nodes[k].mesh == NULL)
				continue;
			if (plane_probed_us(w->nodes[i].plane, &w->nodes[k].ip4) <= since_us)
				return false;
		}
	}
	return true;
}

/* How long it takes until IP passes everywhere; at most limit_us. */
static uint64_t wait_for_all(struct world *w, uint64_t limit_us)
{
	uint64_t from_us = w->now_us;

	while (!all_heard(w, from_us) && w->now_us < from_us + limit_us)
		run_until(w, w->now_us + PROBE_US);
	return w->now_us - from_us;
}

static enum mesh_peer_state state_of(struct world *w, unsigned at, unsigned of)
{
	struct mesh_peer_status s;

	for (size_t k = 0; k < mesh_peer_count(w->nodes[at].mesh); k++) {
		mesh_peer_status(w->nodes[at].mesh, k, &s);
		if (memcmp(s.key, w->nodes[of].key, SIG_KEY_SIZE) == 0)
			return s.state;
	}
	return MESH_PEER_OFFLINE;
}

static int complain(struct world *w, const char *what)
{
	unsigned missing = 0;

	fprintf(stderr, "seed %llu at %.3f s, loss %u: %s\n", (unsigned long long)w->seed,
	        (double)w->now_us / 1e6, w->net.loss_permille, what);
	for (unsigned i = 0; i < NODES; i++) {
		for (unsigned k = 0; k < NODES; k++) {
			if (i == k || w->nodes[i].mesh == NULL || !w->can_meet[i][k] ||
			    plane_probed_us(w->nodes[i].plane, &w->nodes[k].ip4) + 1 * S >
			            w->now_us ||
			    missing++ >= 8)
				continue;
			fprintf(stderr, "  %u does not hear %u (realms %u %u): state %u\n", i, k,
			        w->nodes[i].base.realm, w->nodes[k].base.realm, state_of(w, i, k));
		}
	}
	return 1;
}

/* ---- the world of one seed ---- */

static void place(struct world *w, unsigned i, bool with_symmetric)
{
	static const struct {
		enum sim_mapping mapping;
		enum sim_filter filter;
	} kinds[] = {
		{SIM_MAP_NONE, SIM_FILTER_PORT},     {SIM_MAP_PER_BASE, SIM_FILTER_NONE},
		{SIM_MAP_PER_BASE, SIM_FILTER_ADDR}, {SIM_MAP_PER_BASE, SIM_FILTER_PORT},
		{SIM_MAP_PER_PEER, SIM_FILTER_PORT},
	};
	struct node *n = &w->nodes[i];
	uint32_t kind = rng_below(&w->rng, with_symmetric ? 6 : 5);
	struct netaddr public_ip = netaddr_ip4(0xcb007101u + i, 0); /* 203.0.113.1 */

	n->base.addr = netaddr_ip4(0xc0000201u + i, 4000); /* 192.0.2.1 */
	if (kind > 0)
		n->base.realm = sim_add_nat(&w->net, 0, kinds[kind - 1].mapping,
		                            kinds[kind - 1].filter, &public_ip);
	if (kind > 1)
		n->base.addr = netaddr_ip4(0xc0a80102u + 16 * i, 4000); /* 192.168.1.2 */
	/* Now and then in the LAN of the one before. */
	if (i > 0 && rng_below(&w->rng, 8) == 0 && w->nodes[i - 1].base.realm != 0) {
		n->base = w->nodes[i - 1].base;
		n->base.addr.ip[3] = (uint8_t)(n->base.addr.ip[3] + 100);
	}
	sim_add_host(&w->net, n->base.realm, &n->base.addr);
	n->plane = plane_new(&w->net, i, &n->base);
}

static void compute_theory(struct world *w)
{
	for (unsigned i = 0; i < NODES; i++) {
		for (unsigned k = 0; k < NODES; k++)
			w->can_meet[i][k] =
				sim_can_meet(&w->net, &w->nodes[i].base, &w->nodes[k].base);
	}
}

static void make_document(struct world *w)
{
	static const uint8_t salt[NETID_SALT_SIZE] = {1};
	struct buf out = BUF_INIT(DOCUMENT_SIZE_MAX);
	struct netprefix subnet;
	struct document *doc;

	if (!netprefix_parse("10.83.12.0/24", &subnet))
		exit(1);
	must(document_new(&doc, w->nodes[0].key, salt, "test", &subnet, NULL));
	for (unsigned i = 1; i < NODES; i++)
		must(document_add_member(doc, w->nodes[i].key));
	must(document_sign(doc, w->nodes[0].id, &out));
	buf_deinit(&out);
	w->nodes[0].doc = doc;
	for (unsigned i = 1; i < NODES; i++)
		must(document_dup(&w->nodes[i].doc, doc));
}

static void make_members(struct world *w)
{
	for (unsigned i = 0; i < NODES; i++) {
		struct node *n = &w->nodes[i];

		must(identity_new(&n->id));
		identity_public(n->id, n->key);
		must(cert_new(&n->cert, UNIX_S));
		n->ip4 = netaddr_ip4(0x0a530c01u + i, 0); /* 10.83.12.1 */
		n->session = 100 + i;
	}
	make_document(w);
	for (unsigned i = 0; i < NODES; i++) {
		struct admission *a = &w->nodes[i].admission;

		memcpy(a->network_id, w->nodes[0].doc->network_id, NETID_SIZE);
		memcpy(a->key, w->nodes[i].key, SIG_KEY_SIZE);
		a->joined_unix_s = UNIX_S;
		a->unix_s = UNIX_S;
		(void)snprintf(a->name, sizeof(a->name), "Computer %u", i);
		(void)snprintf(a->label, sizeof(a->label), "computer-%u", i);
		must(admission_sign(a, w->nodes[i].id));
	}
}

static struct world *world_new(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));

	if (w == NULL)
		exit(1);
	system_rng = rng_seeded(seed ^ 0xabcdef);
	w->seed = seed;
	w->now_us = 1000 * S;
	w->rng = rng_seeded(seed);
	sim_init(&w->net, seed ^ 0x5eed);
	w->net.delay_min_us = 1000 + rng_below(&w->rng, 50 * MS);
	w->net.delay_max_us = w->net.delay_min_us + rng_below(&w->rng, 10 * MS);
	w->net.loss_permille = rng_below(&w->rng, 2) == 0 ? 0 : rng_below(&w->rng, 101);
	w->net.duplicate_permille = rng_below(&w->rng, 3) == 0 ? 20 : 0;
	w->stun = netaddr_ip4(0xc6336401u, 3478); /* 198.51.100.1 */
	sim_add_host(&w->net, 0, &w->stun);
	make_members(w);
	bool with_symmetric = seed % 4 == 0;
	for (unsigned i = 0; i < NODES; i++)
		place(w, i, with_symmetric);
	compute_theory(w);
	w->server_up = true;
	return w;
}

static void world_free(struct world *w)
{
	for (unsigned i = 0; i < NODES; i++) {
		struct node *n = &w->nodes[i];

		plane_bind(n->plane, NULL);
		mesh_free(n->mesh);
		plane_free(n->plane);
		document_free(n->doc);
		cert_unref(n->cert);
		identity_free(n->id);
	}
	while (w->posts != NULL) {
		struct post *p = w->posts;

		w->posts = p->next;
		post_free(p);
	}
	sim_deinit(&w->net);
	free(w);
}

/* ---- what happens ---- */

static int start_all(struct world *w, struct figures *f)
{
	uint64_t from_us = w->now_us;
	/* The server names those that are there; who cannot meet anybody is seen to fail below. */
	uint64_t limit_us = ALL_UP_US + w->net.loss_permille * 50 * MS;

	for (unsigned i = 0; i < NODES; i++) {
		start_node(w, i);
		w->nodes[i].back_us = w->now_us + rng_below(&w->rng, (uint32_t)S);
	}
	uint64_t took_us = wait_for_all(w, limit_us);
	if (!all_heard(w, from_us))
		return complain(w, "not all up");
	f->worst_up_us = GV_MAX(f->worst_up_us, took_us);
	for (unsigned i = 0; i < NODES; i++) {
		for (unsigned k = 0; k < i; k++) {
			unsigned signals = w->signals[i][k] + w->signals[k][i];

			f->pairs += w->can_meet[i][k];
			f->impossible += !w->can_meet[i][k];
			f->signals += w->can_meet[i][k] ? signals : 0;
			if (!w->can_meet[i][k])
				continue;
			f->worst_signals = GV_MAX(f->worst_signals, signals);
			if (signals > SIGNALS_MAX)
				return complain(w, "too many signals for one pair");
		}
	}
	return 0;
}

static void leave_for_good(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];
	struct proof_leave leave = {.session = n->session,
	                            .unix_s = n->admission.joined_unix_s + 1};

	memcpy(leave.network_id, n->doc->network_id, NETID_SIZE);
	memcpy(leave.key, n->key, SIG_KEY_SIZE);
	must(proof_leave_sign(&leave, n->id));
	mesh_say_leave(n->mesh, &leave);
	run_until(w, w->now_us + 200 * MS);
	kill_node(w, i);
	for (unsigned k = 0; k < NODES; k++) {
		if (w->nodes[k].connected)
			post(w, k, POST_LEFT)->leave = leave;
	}
	run_until(w, w->now_us + 2 * S);
	n->admission.joined_unix_s = leave.unix_s + 1;
	n->admission.unix_s = leave.unix_s + 1;
	must(admission_sign(&n->admission, n->id));
}

static void come_back(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];

	run_until(w, w->now_us + rng_below(&w->rng, 3 * S));
	n->session += 1000;
	start_node(w, i);
	connect_node(w, i);
}

static void change_address(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];

	sim_remove_host(&w->net, n->base.realm, &n->base.addr);
	n->base.addr.ip[2] = (uint8_t)(n->base.addr.ip[2] + 1);
	sim_add_host(&w->net, n->base.realm, &n->base.addr);
	plane_move(n->plane, &n->base.addr);
	set_addresses(w, n);
}

/* Everybody hears everybody at least each so often during it, where nothing is lost. */
static int server_gone(struct world *w)
{
	server_down(w);
	for (unsigned i = 0; i < 40; i++) {
		uint64_t from_us = w->now_us;

		run_until(w, w->now_us + 1 * S);
		if (w->net.loss_permille == 0 && !all_heard(w, from_us))
			return complain(w, "a path suffered while the server was gone");
	}
	server_up(w);
	run_until(w, w->now_us + SERVER_BACK_US);
	return 0;
}

static int happen(struct world *w, enum happening what)
{
	unsigned i = rng_below(&w->rng, NODES);

	switch (what) {
	case HAPPENING_SERVER_GONE:
		return server_gone(w);
	case HAPPENING_RESTART:
		kill_node(w, i);
		come_back(w, i);
		break;
	case HAPPENING_DOWN:
		mesh_close(w->nodes[i].mesh, CTL_BYE_DOWN, w->now_us);
		run_until(w, w->now_us + 300 * MS);
		kill_node(w, i);
		come_back(w, i);
		break;
	case HAPPENING_LEAVE:
		leave_for_good(w, i);
		come_back(w, i);
		break;
	case HAPPENING_ADDRESS:
		change_address(w, i);
		break;
	case HAPPENING_ADDRESS_ALONE:
		server_down(w);
		run_until(w, w->now_us + 2 * S);
		change_address(w, i);
		run_until(w, w->now_us + 20 * S);
		server_up(w);
		run_until(w, w->now_us + SERVER_BACK_US);
		break;
	case HAPPENING_REBIND:
		if (w->nodes[i].base.realm != 0)
			sim_rebind(&w->net, w->nodes[i].base.realm);
		break;
	case HAPPENING_BURST:
		w->net.cut = true;
		run_until(w, w->now_us + 2 * S);
		w->net.cut = false;
		break;
	case HAPPENING_COUNT:
		break;
	}
	return 0;
}

static int run_seed(uint64_t seed, struct figures *f)
{
	struct world *w = world_new(seed);
	int r = start_all(w, f);

	for (unsigned i = 0; r == 0 && i < EVENTS; i++) {
		enum happening what = rng_below(&w->rng, HAPPENING_COUNT);
		uint64_t limit_us = BACK_US + w->net.loss_permille * 50 * MS;

		f->happenings[what]++;
		run_until(w, w->now_us + 2 * S + rng_below(&w->rng, 10 * S));
		r = happen(w, what);
		compute_theory(w);
		uint64_t from_us = w->now_us, took_us = r == 0 ? wait_for_all(w, limit_us) : 0;
		if (r == 0 && !all_heard(w, from_us))
			r = complain(w, happening_names[what]);
		f->worst_back_us[what] = GV_MAX(f->worst_back_us[what], took_us);
	}
	world_free(w);
	return r;
}

int main(int argc, char **argv)
{
	const char *text = getenv("GOVPN_LONG");
	bool is_long = text != NULL && text[0] == '1';
	uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : is_long ? 60 : 2;
	uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	struct figures f = {0};

	log_set_level(LOG_LEVEL_ERR);
	if (RAND_set_rand_method(&seeded_method) != 1)
		return 1;
	for (uint64_t seed = first; seed < first + seeds; seed++)
		f.failed += run_seed(seed, &f) != 0;
	printf("%llu seeds of %d computers, %u failed: %u pairs up (worst %llu ms after the start), %u impossible; "
	       "signals of a pair: mean %.1f, at most %u\n",
	       (unsigned long long)seeds, NODES, f.failed, f.pairs,
	       (unsigned long long)(f.worst_up_us / 1000), f.impossible,
	       f.pairs > 0 ? (double)f.signals / f.pairs : 0.0, f.worst_signals);
	for (unsigned i = 0; i < HAPPENING_COUNT; i++)
		printf("%s: %u times, worst %llu ms%s", happening_names[i], f.happenings[i],
		       (unsigned long long)(f.worst_back_us[i] / 1000),
		       i + 1 < HAPPENING_COUNT ? "; " : "\n");
	return f.failed > 0;
}
