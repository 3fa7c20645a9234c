/* SPDX-License-Identifier: MIT */

/*
 * The server's hub on a disk that stops, fills up and loses power (support/faulty_disk). Computers create, join, rename, leave,
 * kick, guess passwords and delete; a model remembers what was acknowledged. After each fault the database must hold exactly
 * that, or that and the one request whose answer never came.
 *
 *   GOVPN_LONG=1 sim_store    the number of runs of a release
 *   GOVPN_SEED=N sim_store    begins with another seed; each failure says the seed of its run
 */

#include "faulty_disk.h"
#include "hub_rig.h"

#include "base/mem.h"
#include "proto/sig/proof.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPUTERS 6
#define NETS      2 /* owned by the first computers */
#define PATH      "/disk/db"
#define ANY       UINT32_MAX /* an address that is not known: the answer never came */

/* What the server said it keeps. */
struct member {
	bool is_in;
	uint32_t address;
	unsigned name; /* number in the label */
};

struct net {
	bool exists;
	uint64_t epoch;
	uint32_t failures; /* wrong passwords in a row */
	uint32_t uses;     /* of the link, which may be used USES times */
	struct member members[COMPUTERS];
};

struct state {
	struct net nets[NETS];
};

#define USES 12

struct world {
	struct rig r;
	struct rng rng;
	uint64_t seed;
	struct rig_computer computers[COMPUTERS];
	struct rig_net nets[NETS];
	bool has_net[NETS];
	struct state sure, maybe; /* acknowledged; and with the request whose answer did not come */
	unsigned names;
	unsigned acknowledged, refused;
};

static uint64_t first_seed(void)
{
	const char *text = getenv("GOVPN_SEED");

	return text != NULL ? strtoull(text, NULL, 10) : 1;
}

static unsigned runs(unsigned in_short, unsigned in_long)
{
	const char *text = getenv("GOVPN_LONG");

	return text != NULL && text[0] != '\0' && strcmp(text, "0") != 0 ? in_long : in_short;
}

static uint32_t draw(struct world *w, uint32_t n)
{
	return rng_below(&w->rng, n);
}

/* ---- the server's life ---- */

static void log_in(struct world *w)
{
	for (unsigned i = 0; i < COMPUTERS; i++) {
		rig_connect(&w->computers[i]);
		assert_int_equal(rig_authenticate(&w->computers[i], RIG_HOST), MSG_AUTHENTICATED);
	}
}

static void world_open(struct world *w, uint64_t seed)
{
	const struct quota_rate free = {.per_minute = 100000, .burst = 100000};

	*w = (struct world){.rng = rng_seeded(seed), .seed = seed};
	faulty_disk_format();
	rig_prepare(&w->r);
	(void)snprintf(w->r.db, sizeof(w->r.db), PATH); /* fits */
	w->r.config.limits.change = w->r.config.limits.create = free;
	w->r.config.limits.picture = free;
	w->r.config.limits.request = w->r.config.limits.message = free;
	rig_start(&w->r);
	for (unsigned i = 0; i < COMPUTERS; i++)
		rig_computer(&w->r, &w->computers[i], i + 1);
	log_in(w);
}

static void hang_up(struct world *w)
{
	for (unsigned i = 0; i < COMPUTERS; i++) {
		if (w->computers[i].conn != NULL)
			rig_disconnect(&w->computers[i]);
	}
}

static void world_close(struct world *w)
{
	for (unsigned i = 0; i < COMPUTERS; i++)
		rig_computer_free(&w->computers[i]);
	for (unsigned k = 0; k < NETS; k++) {
		if (w->has_net[k])
			rig_net_free(&w->nets[k]);
	}
	hub_free(w->r.hub);
	store_close(w->r.store);
}

/* The machine dies as `how` says and the server is started again. */
static void crash(struct world *w, enum faulty_disk_crash how)
{
	faulty_disk_fail(FAULTY_DISK_STOP, 0, 0); /* closing may write nothing */
	hang_up(w);
	hub_free(w->r.hub);
	store_close(w->r.store);
	faulty_disk_crash(how, &w->rng);
	rig_start(&w->r);
}

/* ---- requests ---- */

static void new_net(struct world *w, unsigned k)
{
	struct document_invite *invite;

	if (w->has_net[k])
		rig_net_free(&w->nets[k]);
	rig_net(&w->nets[k], &w->computers[k], k == 0 ? "10.1.2.0/28" : "10.1.2.0/29");
	w->has_net[k] = true;
	for (size_t i = 0; i < w->nets[k].doc->n_invites; i++) {
		invite = &w->nets[k].doc->invites[i];
		if (invite->kind == DOCUMENT_INVITE_LINK)
			invite->uses = USES;
	}
	w->nets[k].doc->epoch = 0; /* signed a second time, now with uses */
	memset(w->nets[k].doc->previous, 0, sizeof(w->nets[k].doc->previous));
	rig_net_sign(&w->nets[k]);
}

static int ask_create(struct world *w, unsigned k, unsigned c)
{
	struct net *n = &w->maybe.nets[k];

	(void)c;
	new_net(w, k);
	*n = (struct net){.exists = true, .epoch = 1};
	n->members[k] = (struct member){.is_in = true, .address = 0x0a010201};
	return rig_create(&w->computers[k], &w->nets[k]);
}

static int ask_delete(struct world *w, unsigned k, unsigned c)
{
	(void)c;
	w->maybe.nets[k] = (struct net){0};
	return rig_leave(&w->computers[k], &w->nets[k]);
}

static void label_of(unsigned c, unsigned name, char out[static 32])
{
	(void)snprintf(out, 32, "c%u-%u", c, name); /* fits */
}

static int ask_join(struct world *w, unsigned k, unsigned c)
{
	struct net *n = &w->maybe.nets[k];
	char label[32];

	n->members[c] = (struct member){.is_in = true, .address = ANY, .name = ++w->names};
	label_of(c, w->names, label);
	enum msg_type got = rig_join(&w->computers[c], &w->nets[k], w->nets[k].link, label);
	if (got == MSG_NETWORK_JOINED)
		n->members[c].address = netaddr_u32(&w->computers[c].m.network.computer_ip);
	return got;
}

static int ask_leave(struct world *w, unsigned k, unsigned c)
{
	w->maybe.nets[k].members[c] = (struct member){0};
	return rig_leave(&w->computers[c], &w->nets[k]);
}

static int ask_rename(struct world *w, unsigned k, unsigned c)
{
	uint8_t admission[ADMISSION_SIZE_MAX];
	struct msg m = {.type = MSG_UPDATE_CLIENT_INFO};
	char label[32];

	w->maybe.nets[k].members[c].name = ++w->names;
	label_of(c, w->names, label);
	m.update_client_info.admission.p = admission;
	m.update_client_info.admission.n =
		rig_admission(&w->computers[c], &w->nets[k], c == k ? NULL : w->nets[k].link, label,
	                      w->r.t.unix_s, admission);
	memcpy(m.update_client_info.network_id, w->nets[k].doc->network_id, NETID_SIZE);
	return rig_request(&w->computers[c], &m);
}

/* A newer document; every other one throws c out, with the right to come back. */
static int ask_update(struct world *w, unsigned k, unsigned c)
{
	struct rig_net *n = &w->nets[k];
	struct document *before = NULL;
	bool is_kick = draw(w, 2) == 0 && c != k;

	assert_int_equal(document_dup(&before, n->doc), 0);
	(void)document_unban(n->doc, w->computers[draw(w, COMPUTERS)].key);
	if (is_kick && !document_is_banned(n->doc, w->computers[c].key)) {
		assert_int_equal(document_ban(n->doc, w->computers[c].key), DOCUMENT_OK);
		w->maybe.nets[k].members[c] = (struct member){0};
	}
	rig_net_sign(n);
	w->maybe.nets[k].epoch = n->doc->epoch;
	w->maybe.nets[k].failures = 0;
	enum msg_type got = rig_update(&w->computers[k], n);
	if (got != MSG_DOCUMENT_UPDATED) { /* the owner goes on from the one that stands */
		document_free(n->doc);
		n->doc = GV_STEAL(before);
		buf_deinit(&n->bytes);
		n->bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
		assert_int_equal(document_encode(n->doc, &n->bytes), 0);
	}
	document_free(before);
	return got;
}

/* Of a computer that is not in: the refusal says whether it was counted. */
static int ask_guess(struct world *w, unsigned k, unsigned c)
{
	struct identity *wrong = NULL;
	uint8_t seed[IDENTITY_SEED_SIZE] = {'w', (uint8_t)++w->names, (uint8_t)(w->names >> 8)};

	assert_int_equal(identity_from_seed(&wrong, seed), 0);
	w->maybe.nets[k].failures++;
	enum msg_type got = rig_join(&w->computers[c], &w->nets[k], wrong, "guess");
	assert_int_equal(got, MSG_ERROR);
	identity_free(wrong);
	return got;
}

/* Sends one request and gives the type of its answer. */
typedef int (*ask_fn)(struct world *w, unsigned k, unsigned c);

/* A request that can be right now. */
static ask_fn choose(struct world *w, unsigned k, unsigned c)
{
	const struct net *n = &w->sure.nets[k];
	uint32_t die = draw(w, 20);

	if (!n->exists)
		return ask_create;
	if (die == 0)
		return ask_delete;
	if (die < 4)
		return ask_update;
	if (!n->members[c].is_in)
		return die < 7 ? ask_guess : ask_join;
	if (die < 10 || c == k)
		return ask_rename;
	return ask_leave;
}

static bool is_server_error(const struct rig_computer *c)
{
	return c->m.type == MSG_ERROR && c->m.error.code == MSG_ERROR_SERVER_ERROR;
}

/*
 * One request. Afterwards `sure` has what was acknowledged; when the disk failed meanwhile, `maybe` is what may be there instead.
 * Returns false when the server could not do it.
 */
static bool step(struct world *w)
{
	unsigned k = draw(w, NETS), c = draw(w, COMPUTERS);

	rig_advance(&w->r, 1 + draw(w, 3) * 400);
	w->maybe = w->sure;
	ask_fn ask = choose(w, k, c);
	bool by_owner = ask == ask_create || ask == ask_delete || ask == ask_update;
	const struct rig_computer *asking = &w->computers[by_owner ? k : c];
	int got = ask(w, k, c);

	if (is_server_error(asking)) {
		w->refused++;
		return false;
	}
	bool is_counted = ask == ask_guess && asking->m.error.code == MSG_ERROR_INVITE_REFUSED;
	if (got != MSG_ERROR || is_counted) {
		w->sure = w->maybe;
		w->acknowledged++;
	} else {
		w->maybe = w->sure; /* refused for good reasons: full, locked, used up, banned */
	}
	for (unsigned i = 0; i < COMPUTERS; i++)
		rig_drain(&w->computers[i]);
	return true;
}

/* ---- looking into the database ---- */

static unsigned find_computer(const struct world *w, const uint8_t *key)
{
	for (unsigned i = 0; i < COMPUTERS; i++) {
		if (memcmp(w->computers[i].key, key, SIG_KEY_SIZE) == 0)
			return i;
	}
	fail_msg("seed %llu: the database has an unknown key", (unsigned long long)w->seed);
	return 0;
}

static void check_integrity(const struct world *w)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *st = NULL;

	assert_int_equal(sqlite3_open(PATH, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL),
	                 SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	const char *text = (const char *)sqlite3_column_text(st, 0);
	if (strcmp(text, "ok") != 0)
		fail_msg("seed %llu: %s", (unsigned long long)w->seed, text);
	(void)sqlite3_finalize(st); /* repeats the results above */
	(void)sqlite3_close(db);
}

/* Every member has the lease of its address, and no other lease is held. */
static void check_leases(const struct world *w, const uint8_t *id, const struct net *n)
{
	struct ipam_lease *leases = NULL;
	size_t n_leases = 0, held = 0, members = 0;

	assert_int_equal(store_leases(w->r.store, id, &leases, &n_leases), 0);
	for (size_t i = 0; i < n_leases; i++) {
		const struct member *m = &n->members[find_computer(w, leases[i].key)];

		if (i > 0)
			assert_true(leases[i - 1].address < leases[i].address);
		if (leases[i].released_unix_s != 0)
			continue;
		held++;
		assert_true(m->is_in && m->address == leases[i].address);
	}
	for (unsigned c = 0; c < COMPUTERS; c++)
		members += n->members[c].is_in;
	assert_int_equal(held, members);
	mem_free(leases);
}

static void read_net(const struct world *w, unsigned k, struct net *out)
{
	const uint8_t *id = w->nets[k].doc->network_id;
	struct store_network row = {0};
	struct store_member *members = NULL;
	struct store_failures f;
	uint8_t scope[1 + NETID_SIZE] = {'n'};
	uint8_t link[SIG_KEY_SIZE];
	size_t n = 0;
	uint64_t uses = 0;

	*out = (struct net){0};
	if (store_network_get(w->r.store, id, &row) != STORE_OK)
		return;
	out->exists = true;
	out->epoch = row.epoch;
	store_network_deinit(&row);
	assert_int_equal(store_members(w->r.store, id, &members, &n), 0);
	for (size_t i = 0; i < n; i++) {
		struct member *m = &out->members[find_computer(w, members[i].key)];
		unsigned c = 0;

		assert_false(m->is_in);
		*m = (struct member){.is_in = true, .address = members[i].address};
		if (strcmp(members[i].label, "owner") != 0)
			assert_int_equal(sscanf(members[i].label, "c%u-%u", &c, &m->name), 2);
	}
	store_members_free(members, n);
	memcpy(scope + 1, id, NETID_SIZE);
	assert_int_equal(store_failures_get(w->r.store, scope, sizeof(scope), &f), 0);
	out->failures = f.streak;
	identity_public(w->nets[k].link, link);
	assert_int_equal(store_invite_uses(w->r.store, id, link, &uses), 0);
	out->uses = (uint32_t)uses;
	assert_true(uses <= USES);
	check_leases(w, id, out);
}

static bool is_like(const struct net *have, const struct net *want)
{
	if (have->exists != want->exists)
		return false;
	if (!have->exists)
		return true;
	if (have->epoch != want->epoch || have->failures != want->failures)
		return false;
	for (unsigned c = 0; c < COMPUTERS; c++) {
		const struct member *a = &have->members[c], *b = &want->members[c];

		if (a->is_in != b->is_in ||
		    (a->is_in &&
		     (a->name != b->name || (b->address != ANY && a->address != b->address))))
			return false;
	}
	return true;
}

static void show(const char *what, const struct net *n)
{
	print_message("%s: exists %d, epoch %llu, %u failures;", what, n->exists,
	              (unsigned long long)n->epoch, n->failures);
	for (unsigned c = 0; c < COMPUTERS; c++) {
		if (n->members[c].is_in)
			print_message(" c%u-%u at %x", c, n->members[c].name,
			              n->members[c].address);
	}
	print_message("\n");
}

/* The database against the model; what it has becomes the model. */
static void verify(struct world *w, const char *when)
{
	check_integrity(w);
	for (unsigned k = 0; k < NETS; k++) {
		struct net have;

		if (!w->has_net[k])
			continue;
		read_net(w, k, &have);
		if (!is_like(&have, &w->sure.nets[k]) && !is_like(&have, &w->maybe.nets[k])) {
			show("acknowledged", &w->sure.nets[k]);
			show("or", &w->maybe.nets[k]);
			show("found", &have);
			fail_msg("seed %llu, %s: network %u is not what was acknowledged",
			         (unsigned long long)w->seed, when, k);
		}
		assert_true(have.uses >= w->sure.nets[k].uses || !have.exists ||
		            have.epoch != w->sure.nets[k].epoch);
		/* The owner keeps what it signed last; the server may not have heard of it. */
		if (have.exists && have.epoch > w->nets[k].doc->epoch)
			w->nets[k].doc->epoch = have.epoch;
		w->sure.nets[k] = have;
	}
	w->maybe = w->sure;
}

static void go_on(struct world *w, const char *when)
{
	for (unsigned i = 0; i < 5; i++) {
		if (!step(w))
			fail_msg("seed %llu, %s: the server does not go on",
			         (unsigned long long)w->seed, when);
	}
}

/* ---- scenarios ---- */

/* Requests until the disk stops, then a crash, then all again on what is left. */
static void power_run(uint64_t seed, unsigned *acknowledged)
{
	struct world w;

	world_open(&w, seed);
	for (unsigned life = 0; life < 3; life++) {
		bool power = draw(&w, 4) != 0;

		faulty_disk_fail(FAULTY_DISK_STOP, draw(&w, 150), 0);
		while (step(&w) && !faulty_disk_has_failed())
			continue;
		crash(&w, power ? FAULTY_DISK_POWER : FAULTY_DISK_PROCESS);
		verify(&w, power ? "after a loss of power" : "after kill -9");
		log_in(&w);
	}
	go_on(&w, "after the last crash");
	*acknowledged += w.acknowledged;
	world_close(&w);
}

static void power_loss_keeps_what_was_acknowledged(void **state)
{
	unsigned n = runs(50, 1000), acknowledged = 0;

	(void)state;
	for (uint64_t seed = first_seed(); seed < first_seed() + n; seed++)
		power_run(seed, &acknowledged);
	print_message("%u runs of 3 crashes, %u acknowledged changes\n", n, acknowledged);
	assert_true(acknowledged > n * 5);
}

/* The same requests, stopped at the first change of the disk, at the second, ... */
static void stop_at_every_change_keeps_what_was_acknowledged(void **state)
{
	uint64_t stride = runs(9, 1), seed = first_seed();
	bool has_failed = true;
	unsigned stops = 0;

	(void)state;
	for (uint64_t at = seed % stride; has_failed; at += stride) {
		for (unsigned how = 0; how < 2; how++) {
			struct world w;

			world_open(&w, seed);
			faulty_disk_fail(FAULTY_DISK_STOP, at, 0);
			for (unsigned i = 0; i < 40 && step(&w); i++)
				continue;
			has_failed = faulty_disk_has_failed();
			crash(&w, how == 0 ? FAULTY_DISK_PROCESS : FAULTY_DISK_POWER);
			verify(&w, "stopped");
			/* Whatever a server reads after a kill, it may answer from. */
			crash(&w, FAULTY_DISK_POWER);
			verify(&w, "stopped, and then a loss of power");
			stops++;
			world_close(&w);
		}
	}
	print_message("%u stops\n", stops);
}

/* A disk that is full or broken for a while: refused, nothing half done, and on it goes without a restart. */
static void fault_for_a_while(uint64_t seed, enum faulty_disk_fault fault, unsigned *refused)
{
	struct world w;

	world_open(&w, seed);
	for (unsigned i = 0; i < 10; i++)
		(void)step(&w); /* whatever it gives */
	faulty_disk_fail(fault, draw(&w, 20), 1 + draw(&w, 60));
	for (unsigned i = 0; i < 60; i++) {
		if (step(&w))
			continue;
		/* A network whose creation failed is not there. */
		verify(&w, "while the disk fails");
	}
	faulty_disk_fail(FAULTY_DISK_NONE, 0, 0);
	*refused += w.refused;
	verify(&w, "after the disk has failed");
	go_on(&w, "after the disk has failed");
	crash(&w, FAULTY_DISK_POWER);
	verify(&w, "after a loss of power after the disk has failed");
	world_close(&w);
}

static void full_disk_refuses_and_recovers(void **state)
{
	unsigned n = runs(15, 500), refused = 0;

	(void)state;
	for (uint64_t seed = first_seed(); seed < first_seed() + n; seed++) {
		fault_for_a_while(seed, FAULTY_DISK_FULL, &refused);
		fault_for_a_while(seed, FAULTY_DISK_EIO, &refused);
	}
	print_message("%u requests refused in %u runs\n", refused, 2 * n);
	assert_true(refused > n);
}

static int install(void **state)
{
	(void)state;
	faulty_disk_install();
	return 0;
}

static int uninstall(void **state)
{
	(void)state;
	faulty_disk_uninstall();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_loss_keeps_what_was_acknowledged),
		cmocka_unit_test(stop_at_every_change_keeps_what_was_acknowledged),
		cmocka_unit_test(full_disk_refuses_and_recovers),
	};

	return cmocka_run_group_tests(tests, install, uninstall);
}
