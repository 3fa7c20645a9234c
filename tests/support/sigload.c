/* SPDX-License-Identifier: MIT */

/*
 * Load and abuse of govpn-server, in the measures of a release.
 *
 *   sigload [--tls] [--sources A.B.C.D/N] ADDRESS:PORT MODE [ARGUMENT...]
 *
 *   hold N                   N computers log in and stay; those that are cut come back after 1 to 30 s. Lines on stdin: "wait"
 *                            answers when all are there, end of file ends it
 *   probe SECONDS            a computer logs in, joins and leaves, again and again: how long each took
 *   rush N ROUNDS            N computers join at once by an invite for one, ROUNDS times
 *   guess N                  N wrong passwords for networks that exist, N for others, in turn: medians of the time
 *   slow N SECONDS           N connections that send a byte now and then, in TLS, head and frame, or never read
 *   frames N SEED, heads N SEED, garbage N SEED    see sigbad.c
 *
 * Prints one JSON object. Exit code 0: it ran to its end; whether the figures are good is the caller's question.
 */

#include "sigload.h"

#include "base/clock.h"
#include "base/rng.h"
#include "proto/sig/admission.h"
#include "proto/sig/document.h"
#include "proto/sig/proof.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define S UINT64_C(1000000)

struct rng sigload_rng;

void *sigload_must(void *p)
{
	if (p == NULL)
		sigconn_die("memory");
	return p;
}

/* ---- figures ---- */

struct times {
	uint64_t *us;
	size_t n, cap;
};

static void add_time(struct times *t, uint64_t us)
{
	if (t->n == t->cap) {
		t->cap = GV_MAX(t->cap * 2, (size_t)1024);
		t->us = sigload_must(realloc(t->us, t->cap * sizeof(*t->us)));
	}
	t->us[t->n++] = us;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* In ms; sorts. */
static double percentile(struct times *t, double p)
{
	if (t->n == 0)
		return 0;
	qsort(t->us, t->n, sizeof(*t->us), by_size);
	return (double)t->us[GV_MIN((size_t)((double)t->n * p), t->n - 1)] / 1000;
}

static double seconds_since(uint64_t us)
{
	return (double)(clock_now_us() - us) / 1e6;
}

static void check_done(bool done, const char *what)
{
	if (done)
		return;
	(void)fprintf(stderr, "sigload: too late: %s\n", what); /* nowhere else to say it */
	exit(1);
}

/* ---- networks ---- */

struct network {
	struct document *doc;
	struct buf bytes;
	struct identity *invite;
};

static void network_new(struct network *n, struct sigconn *owner, uint32_t uses,
                        enum document_invite_kind kind)
{
	struct document_invite invite = {.kind = kind, .uses = uses};
	uint8_t salt[NETID_SALT_SIZE];
	struct netprefix prefix;

	*n = (struct network){.bytes = BUF_INIT(DOCUMENT_SIZE_MAX)};
	rng_bytes(&sigload_rng, salt, sizeof(salt));
	if (identity_new(&n->invite) < 0 || !netprefix_parse("10.77.0.0/20", &prefix) ||
	    document_new(&n->doc, owner->key, salt, "load", &prefix, NULL) != 0)
		sigconn_die("network");
	identity_public(n->invite, invite.key);
	if (document_add_invite(n->doc, &invite) != DOCUMENT_OK ||
	    document_sign(n->doc, owner->id, &n->bytes) < 0)
		sigconn_die("network");
}

static void network_free(struct network *n)
{
	document_free(n->doc);
	buf_deinit(&n->bytes);
	identity_free(n->invite);
}

static size_t admit(const struct sigconn *c, const uint8_t *id, const struct identity *invite,
                    uint8_t out[static ADMISSION_SIZE_MAX])
{
	static unsigned number;
	struct admission a = {.joined_unix_s = clock_unix_s(), .unix_s = clock_unix_s()};

	memcpy(a.network_id, id, NETID_SIZE);
	memcpy(a.key, c->key, SIG_KEY_SIZE);
	(void)snprintf(a.name, sizeof(a.name), "m%u", ++number); /* fits */
	(void)snprintf(a.label, sizeof(a.label), "m%u", number);
	if ((invite != NULL && admission_sign_invite(&a, invite) < 0) ||
	    admission_sign(&a, c->id) < 0)
		sigconn_die("admission");
	return admission_encode(&a, out);
}

static void send_create(struct sigconn *c, const struct network *n)
{
	uint8_t admission[ADMISSION_SIZE_MAX];
	struct msg m = {.type = MSG_CREATE_NETWORK};

	m.create_network.document = (struct msg_blob){.p = n->bytes.data, .n = n->bytes.len};
	m.create_network.admission = (struct msg_blob){
		.p = admission, .n = admit(c, n->doc->network_id, NULL, admission)};
	sigconn_send(c, &m);
}

static void send_join(struct sigconn *c, const uint8_t *id, const struct identity *invite)
{
	uint8_t admission[ADMISSION_SIZE_MAX];
	struct msg m = {.type = MSG_JOIN_NETWORK};

	memcpy(m.join_network.network_id, id, NETID_SIZE);
	m.join_network.admission =
		(struct msg_blob){.p = admission, .n = admit(c, id, invite, admission)};
	sigconn_send(c, &m);
}

static void send_leave(struct sigconn *c, const uint8_t *id)
{
	struct proof_leave proof = {.session = c->session, .unix_s = clock_unix_s()};
	struct msg m = {.type = MSG_LEAVE_NETWORK,
	                .leave_network = {.session = c->session, .unix_s = proof.unix_s}};

	memcpy(proof.network_id, id, NETID_SIZE);
	memcpy(proof.key, c->key, SIG_KEY_SIZE);
	if (proof_leave_sign(&proof, c->id) < 0)
		sigconn_die("leave");
	memcpy(m.leave_network.network_id, id, NETID_SIZE);
	memcpy(m.leave_network.signature, proof.sig, SIG_SIGNATURE_SIZE);
	sigconn_send(c, &m);
}

/* ---- one that waits for its answers ---- */

struct waiting {
	bool stop;
	enum msg_type got;
	struct msg_network network;
};

static void on_answer(struct sigconn *c, const struct msg *m)
{
	struct waiting *w = c->user;

	if (m->id[0] == '\0' && m->type != MSG_ERROR)
		return; /* a notice */
	w->got = m->type;
	w->stop = true;
}

static void on_arrival(struct sigconn *c)
{
	struct waiting *w = c->user;

	w->stop = true;
}

/* Waits for what was asked last; MSG_NONE: the connection was cut, or 30 s are over. */
static enum msg_type wait_answer(struct sigconns *all, struct waiting *w)
{
	w->got = MSG_NONE;
	w->stop = false;
	sigconns_run(all, clock_now_us() + 30 * S, &w->stop);
	return w->got;
}

static bool log_in(struct sigconns *all, struct sigconn *c, struct waiting *w)
{
	c->user = w;
	w->stop = false;
	if (!sigconn_open(all, c, SIGCONN_TO_LOGIN))
		return false;
	sigconns_run(all, clock_now_us() + 30 * S, &w->stop);
	return c->state == SIGCONN_READY;
}

/* ---- hold ---- */

struct held {
	struct sigconn conn;
	uint64_t again_us; /* closed: when to try again */
};

static void hold_lost(struct sigconn *c)
{
	struct held *h = c->user;

	h->again_us = clock_now_us() + S + rng_below(&sigload_rng, 29 * 1000) * UINT64_C(1000);
}

static size_t hold_turn(struct sigconns *all, struct held *held, size_t n)
{
	uint64_t now = clock_now_us();
	size_t ready = 0, begun = 0;

	for (size_t i = 0; i < n; i++) {
		struct sigconn *c = &held[i].conn;

		ready += c->state == SIGCONN_READY;
		/* Not faster than handshakes are answered. */
		if (c->state == SIGCONN_CLOSED && now >= held[i].again_us && begun < 64) {
			begun++;
			if (!sigconn_open(all, c, SIGCONN_TO_LOGIN))
				hold_lost(c);
		}
	}
	sigconns_run(all, now + S / 50, NULL);
	return ready;
}

static bool stdin_says(char *line, size_t size)
{
	fd_set set;
	struct timeval zero = {0};

	FD_ZERO(&set);
	FD_SET(0, &set);
	if (select(1, &set, NULL, NULL, &zero) <= 0)
		return false;
	if (fgets(line, (int)size, stdin) == NULL)
		exit(0);
	return true;
}

static void hold(struct sigconns *all, size_t n)
{
	struct held *held = sigload_must(calloc(n, sizeof(*held)));
	char line[32];
	uint64_t since = clock_now_us();
	bool waits = true;

	for (size_t i = 0; i < n; i++) {
		held[i].conn.user = &held[i];
		held[i].conn.source = (uint32_t)i;
	}
	all->closed = hold_lost;
	for (;;) {
		size_t ready = hold_turn(all, held, n);

		if (waits && ready == n) {
			printf("{\"ready\": %zu, \"seconds\": %.1f}\n", ready,
			       seconds_since(since));
			(void)fflush(stdout); /* a caller that is gone ends stdin as well */
			waits = false;
		}
		if (stdin_says(line, sizeof(line))) {
			waits = true;
			since = clock_now_us();
		}
	}
}

/* ---- probe ---- */

static void probe(struct sigconns *all, unsigned seconds)
{
	struct times logins = {0}, joins = {0};
	struct waiting w = {0};
	struct sigconn owner = {0};
	struct network n;
	unsigned failed = 0;
	uint64_t end;

	all->ready = on_arrival;
	all->message = on_answer;
	all->closed = on_arrival;
	check_done(log_in(all, &owner, &w), "the owner's login");
	network_new(&n, &owner, 0, DOCUMENT_INVITE_LINK);
	send_create(&owner, &n);
	check_done(wait_answer(all, &w) == MSG_NETWORK_CREATED, "creating a network");
	end = clock_now_us() + seconds * S;
	for (uint32_t i = 1; clock_now_us() < end; i++) {
		struct sigconn c = {.source = i};
		uint64_t begin = clock_now_us();

		if (!log_in(all, &c, &w)) {
			failed++;
			sigconn_free(&c);
			continue;
		}
		add_time(&logins, clock_now_us() - begin);
		begin = clock_now_us();
		send_join(&c, n.doc->network_id, n.invite);
		if (wait_answer(all, &w) == MSG_NETWORK_JOINED) {
			add_time(&joins, clock_now_us() - begin);
			send_leave(&c, n.doc->network_id);
			failed += wait_answer(all, &w) != MSG_NETWORK_LEFT;
		} else {
			failed++;
		}
		sigconn_free(&c);
		sigconns_run(all, clock_now_us() + S / 50, NULL);
	}
	printf("{\"probes\": %zu, \"failed\": %u, \"login_p50_ms\": %.1f, \"login_p99_ms\": %.1f,"
	       " \"login_max_ms\": %.1f, \"join_p50_ms\": %.1f, \"join_p99_ms\": %.1f,"
	       " \"join_max_ms\": %.1f}\n",
	       logins.n, failed, percentile(&logins, 0.5), percentile(&logins, 0.99),
	       percentile(&logins, 1), percentile(&joins, 0.5), percentile(&joins, 0.99),
	       percentile(&joins, 1));
}

/* ---- rush ---- */

struct rush {
	size_t n, ready, answered, joined, refused, other;
	bool stop;
	struct times times;
};

static void rush_ready(struct sigconn *c)
{
	struct rush *r = c->user;

	r->stop = ++r->ready == r->n;
}

static void rush_answer(struct sigconn *c, const struct msg *m)
{
	struct rush *r = c->user;

	if (m->id[0] == '\0')
		return;
	r->answered++;
	r->joined += m->type == MSG_NETWORK_JOINED;
	if (m->type == MSG_ERROR && m->error.code == MSG_ERROR_INVITE_REFUSED)
		r->refused++;
	else if (m->type != MSG_NETWORK_JOINED)
		(void)fprintf(stderr, "sigload: %s\n",
		              m->type == MSG_ERROR ? m->error.message : msg_type_name(m->type));
	add_time(&r->times, clock_now_us() - c->asked_us);
	r->stop = r->answered == r->n;
}

static void rush_lost(struct sigconn *c)
{
	struct rush *r = c->user;

	r->other++;
}

/* The network is that of one of them; all the others press. */
static void rush_round(struct sigconns *all, struct sigconn *conns, size_t owner, struct rush *r)
{
	struct waiting w = {0};
	struct network n;

	all->message = on_answer;
	conns[owner].user = &w;
	network_new(&n, &conns[owner], 1, DOCUMENT_INVITE_LINK);
	send_create(&conns[owner], &n);
	check_done(wait_answer(all, &w) == MSG_NETWORK_CREATED, "creating a network");
	all->message = rush_answer;
	conns[owner].user = r;
	r->answered = 0;
	r->stop = false;
	/* Others are the first each time: one computer can be in few networks only. */
	for (size_t i = 1; i <= r->n; i++)
		send_join(&conns[(owner + i) % (r->n + 1)], n.doc->network_id, n.invite);
	sigconns_run(all, clock_now_us() + 120 * S, &r->stop);
	check_done(r->answered == r->n, "answers to joins");
	network_free(&n);
}

static void rush(struct sigconns *all, size_t n, unsigned rounds)
{
	struct rush r = {.n = n + 1};
	struct sigconn *conns = sigload_must(calloc(n + 1, sizeof(*conns)));
	size_t most = 0, least = SIZE_MAX;
	uint64_t begin;

	all->ready = rush_ready;
	all->closed = rush_lost;
	for (size_t i = 0; i <= n; i++) {
		conns[i].user = &r;
		conns[i].source = (uint32_t)i;
		if (!sigconn_open(all, &conns[i], SIGCONN_TO_LOGIN))
			sigconn_die("a connection");
		if (i % 64 == 63)
			sigconns_run(all, clock_now_us() + S / 50, NULL);
	}
	sigconns_run(all, clock_now_us() + 60 * S, &r.stop);
	check_done(r.ready == n + 1, "logins");
	r.n = n;
	begin = clock_now_us();
	for (unsigned i = 0; i < rounds; i++) {
		size_t before = r.joined;

		rush_round(all, conns, i % (n + 1), &r);
		most = GV_MAX(most, r.joined - before);
		least = GV_MIN(least, r.joined - before);
	}
	printf("{\"rounds\": %u, \"least_joined\": %zu, \"most_joined\": %zu, \"refused\": %zu,"
	       " \"cut\": %zu, \"p50_ms\": %.1f, \"p99_ms\": %.1f, \"seconds\": %.1f}\n",
	       rounds, least, most, r.refused, r.other, percentile(&r.times, 0.5),
	       percentile(&r.times, 0.99), seconds_since(begin));
}

/* ---- guess ---- */

#define GUESSES_NETWORK 4  /* below the limit of 5 */
#define GUESSES_ADDRESS 10 /* below the limit of 20, for each kind */

static bool guess(struct sigconns *all, struct sigconn *c, struct waiting *w, const uint8_t *id,
                  struct times *times)
{
	struct identity *wrong = NULL;

	if (identity_new(&wrong) < 0)
		sigconn_die("identity");
	send_join(c, id, wrong);
	bool refused = wait_answer(all, w) == MSG_ERROR;
	add_time(times, clock_now_us() - c->asked_us);
	identity_free(wrong);
	return refused;
}

static void guesses(struct sigconns *all, size_t n)
{
	struct times known = {0}, unknown = {0};
	struct waiting w = {0};
	struct sigconn owner = {0}, c = {0};
	struct network net = {0};
	uint32_t source = 0;
	size_t wrong = 0;

	all->ready = on_arrival;
	all->message = on_answer;
	all->closed = on_arrival;
	for (size_t i = 0; i < n; i++) {
		uint8_t id[NETID_SIZE];

		if (i % GUESSES_NETWORK == 0) {
			network_free(&net);
			sigconn_free(&owner);
			owner = (struct sigconn){.source = source++};
			check_done(log_in(all, &owner, &w), "the owner's login");
			network_new(&net, &owner, 0, DOCUMENT_INVITE_PASSWORD);
			send_create(&owner, &net);
			check_done(wait_answer(all, &w) == MSG_NETWORK_CREATED,
			           "creating a network");
		}
		if (i % GUESSES_ADDRESS == 0) {
			sigconn_free(&c);
			c = (struct sigconn){.source = source++};
			check_done(log_in(all, &c, &w), "a login");
		}
		rng_bytes(&sigload_rng, id, sizeof(id));
		/* Now one first, now the other. */
		if (i % 2 == 0)
			wrong += !guess(all, &c, &w, net.doc->network_id, &known);
		wrong += !guess(all, &c, &w, id, &unknown);
		if (i % 2 == 1)
			wrong += !guess(all, &c, &w, net.doc->network_id, &known);
	}
	double a = percentile(&known, 0.5), b = percentile(&unknown, 0.5);
	printf("{\"guesses\": %zu, \"not_refused\": %zu, \"known_ms\": %.3f, \"unknown_ms\": %.3f,"
	       " \"difference_ms\": %.3f}\n",
	       2 * n, wrong, a, b, a > b ? a - b : b - a);
}

/* ---- slow ---- */

#define SLOW_BYTE_US (2 * S)
#define SLOW_KINDS   4

struct slow {
	struct sigconn conn;
	unsigned kind;
	size_t at;
};

static struct times slow_times;

static void slow_lost(struct sigconn *c)
{
	add_time(&slow_times, c->closed_us - c->opened_us);
}

/* The next byte of what each kind never finishes. Kind 3 sends requests and reads nothing. */
static void slow_byte(struct slow *s)
{
	static const char head[] = "GET /ws HTTP/1.1\r\nHost: a-name-that-takes-a-while\r\n";
	static const uint8_t hello[] = {0x16, 0x03, 0x01, 0x01, 0x00, 0x01, 0x00, 0x00, 0xfc};
	static const uint8_t frame[] = {0x81, 0xfe, 0x10, 0x00, 1, 2, 3, 4};
	struct sigconn *c = &s->conn;
	bool in_frame = s->kind == 2 && c->state == SIGCONN_OPEN;

	if (c->state < SIGCONN_HEAD)
		return;
	if (s->kind == 0)
		(void)sigconn_send_bytes(c, hello + s->at % sizeof(hello), 1); /* cut soon */
	else if (s->kind == 1)
		(void)sigconn_send_bytes(c, head + s->at % (sizeof(head) - 1), 1);
	else if (in_frame)
		(void)sigconn_send_bytes(c, frame + GV_MIN(s->at, sizeof(frame) - 1), 1);
	s->at++;
}

static void slow(struct sigconns *all, size_t n, unsigned seconds)
{
	static const enum sigconn_goal goals[SLOW_KINDS] = {
		SIGCONN_TO_TCP, SIGCONN_TO_HEAD, SIGCONN_TO_WEBSOCKET, SIGCONN_TO_WEBSOCKET};
	struct slow *list = sigload_must(calloc(n, sizeof(*list)));
	uint64_t end = clock_now_us() + seconds * S;
	size_t opened = 0, left = 0;

	all->closed = slow_lost;
	while (clock_now_us() < end) {
		uint64_t turn = clock_now_us() + SLOW_BYTE_US;

		for (size_t i = 0; i < n; i++) {
			struct slow *s = &list[i];

			if (s->conn.opened_us != 0) {
				slow_byte(s);
				continue;
			}
			s->kind = (unsigned)i % SLOW_KINDS;
			s->conn.source = (uint32_t)i;
			opened += sigconn_open(all, &s->conn, goals[s->kind]);
			if (i % 128 == 127)
				sigconns_run(all, clock_now_us() + S / 100, NULL);
		}
		sigconns_run(all, turn, NULL);
	}
	for (size_t i = 0; i < n; i++)
		left += list[i].conn.state != SIGCONN_CLOSED;
	printf("{\"opened\": %zu, \"left\": %zu, \"cut_p50_s\": %.1f, \"cut_max_s\": %.1f}\n",
	       opened, left, percentile(&slow_times, 0.5) / 1000,
	       percentile(&slow_times, 1) / 1000);
}

/* ---- command line ---- */

static void use_all_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &l); /* then socket() says so */
	}
}

static int usage(void)
{
	(void)fprintf(stderr, "usage: see the top of sigload.c\n"); /* nowhere else to say it */
	return 2;
}

static int run(struct sigconns *all, int n, char **args)
{
	unsigned long a = n > 1 ? strtoul(args[1], NULL, 10) : 0;
	unsigned long b = n > 2 ? strtoul(args[2], NULL, 10) : 0;

	if (n < 2 || a == 0)
		return usage();
	sigload_rng = rng_seeded(b + 1);
	if (strcmp(args[0], "hold") == 0)
		hold(all, a);
	else if (strcmp(args[0], "probe") == 0)
		probe(all, (unsigned)a);
	else if (strcmp(args[0], "rush") == 0)
		rush(all, a, (unsigned)b);
	else if (strcmp(args[0], "guess") == 0)
		guesses(all, a);
	else if (strcmp(args[0], "slow") == 0)
		slow(all, a, (unsigned)b);
	else if (strcmp(args[0], "frames") == 0)
		sigbad_frames(all, a);
	else if (strcmp(args[0], "heads") == 0)
		sigbad_heads(all, a);
	else if (strcmp(args[0], "garbage") == 0)
		sigbad_garbage(all, a);
	else
		return usage();
	return 0;
}

int main(int argc, char **argv)
{
	struct sigconns all;
	const char *sources = NULL;
	bool tls = false;
	int i = 1;

	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--tls") == 0)
			tls = true;
		else if (strcmp(argv[i], "--sources") == 0 && i + 1 < argc)
			sources = argv[++i];
		else
			return usage();
	}
	if (i + 1 >= argc)
		return usage();
	use_all_descriptors();
	(void)signal(SIGPIPE, SIG_IGN); /* cannot fail for this signal */
	sigconns_init(&all, argv[i], tls);
	if (sources != NULL)
		sigconns_set_sources(&all, sources);
	return run(&all, argc - i - 1, argv + i + 1);
}
