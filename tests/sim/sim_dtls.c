/* SPDX-License-Identifier: MIT */

/*
 * DTLS handshakes and records over a bad wire in virtual time: ours with ours, and with OpenSSL in both roles.
 *
 *   sim_dtls [SEEDS [FIRST]]     default: 200 seeds, 10,000 with GOVPN_LONG=1
 *
 * Before the seeds come the exhaustive parts: each order, loss and repetition of the datagrams of the last flights with
 * data between them; each bit, cut and delay of records; what must be refused. In all of them both ends come up with
 * equal keys or both fail, no data is delivered twice, changed or before the peer is proven, and no key seals twice under
 * one nonce or number.
 */

#define OPENSSL_SUPPRESS_DEPRECATED /* for RAND_set_rand_method(): a seed replays keys, too */

#include "base/bytes.h"
#include "base/rng.h"
#include "tests/support/dtls_rig.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_US   1000000
#define DATA_SIZE   16
#define DATA_MAX    64
#define CAPTURE_MAX 12
#define SEEN_MAX    8192
#define WINDOW_TEST 3000

enum kind {
	KIND_OURS,          /* both of goVPN */
	KIND_OURS_STANDARD, /* both, with the profile for others */
	KIND_SERVER_OPENSSL,
	KIND_CLIENT_OPENSSL,
	KIND_COUNT,
};

static const char *const kind_names[] = {"ours", "ours as standard", "OpenSSL server",
                                         "OpenSSL client"};

/* What goes over the wire of one handshake, and what came of it. */
struct sim {
	char name[128];
	struct rig *rig;
	struct rng rng;
	enum kind kind;
	unsigned failures;

	/* Epoch, number and nonce of each record sent, by direction. */
	uint64_t numbers[2][SEEN_MAX], nonces[2][SEEN_MAX];
	unsigned seen[2];

	unsigned sent[2], got[2][DATA_MAX]; /* data; by sender */

	/* What is held back of one direction. */
	bool captures;
	int capture_to;        /* 0: to the client, 1: to the server */
	unsigned passed;       /* datagrams of that direction so far */
	unsigned capture_from; /* the first of them that is held */
	struct rig_datagram held[CAPTURE_MAX];
	unsigned held_count;

	/* The bad wire. */
	unsigned loss_percent, duplicate_percent, late_percent, corrupt_percent, attack_percent;
	struct rig_datagram late[CAPTURE_MAX], foreign_hello;
	unsigned late_to[CAPTURE_MAX], late_count;
	bool has_answered[2];
};

/* ---- complaints ---- */

static unsigned all_failures;

static void complain(struct sim *s, const char *what)
{
	if (s->failures++ == 0)
		fprintf(stderr, "%s: %s\n", s->name, what);
	all_failures++;
}

#define CHECK(s, cond)                        \
	do {                                  \
		if (!(cond))                  \
			complain((s), #cond); \
	} while (0)

/* ---- randomness of OpenSSL from our seed ---- */

static struct rng openssl_rng;

static int seeded_bytes(unsigned char *out, int n)
{
	rng_bytes(&openssl_rng, out, (size_t)n);
	return 1;
}

static int seeded_status(void)
{
	return 1;
}

static const RAND_METHOD seeded_method = {
	.bytes = seeded_bytes, .pseudorand = seeded_bytes, .status = seeded_status};

/* ---- the wire ---- */

static unsigned side_of(const struct rig_end *end)
{
	return end == &end->rig->b;
}

static bool is_new(uint64_t *table, unsigned count, uint64_t value)
{
	for (unsigned i = 0; i < count; i++) {
		if (table[i] == value)
			return false;
	}
	table[count] = value;
	return true;
}

/* Each record that an end sends has a number of its own, and in epoch 1 a nonce of its own. */
static void watch_numbers(struct sim *s, unsigned from, const uint8_t *data, size_t len)
{
	for (size_t at = 0; at + RECORD_HEADER_SIZE <= len;
	     at += RECORD_HEADER_SIZE + (size_t)be16_load(data + at + 11)) {
		unsigned n = s->seen[from];
		uint64_t nonce = UINT64_MAX - n; /* none: a value that no counter reaches */

		if (n == SEEN_MAX)
			return;
		if (be16_load(data + at + 3) == 1)
			nonce = be64_load(data + at + RECORD_HEADER_SIZE);
		bool fresh = is_new(s->numbers[from], n, be64_load(data + at + 3));
		CHECK(s, fresh);
		fresh = is_new(s->nonces[from], n, nonce);
		CHECK(s, fresh);
		s->seen[from]++;
	}
}

static bool happens(struct sim *s, unsigned percent)
{
	return percent > 0 && rng_below(&s->rng, 100) < percent;
}

static void deliver(struct sim *s, unsigned to, const uint8_t *data, size_t len)
{
	rig_deliver(to == 0 ? &s->rig->a : &s->rig->b, data, len);
}

/* Lets the last of the late datagrams go. */
static void release_late(struct sim *s)
{
	if (s->late_count == 0)
		return;
	unsigned i = rng_below(&s->rng, s->late_count--);
	struct rig_datagram d = s->late[i];
	unsigned to = s->late_to[i];

	s->late[i] = s->late[s->late_count];
	s->late_to[i] = s->late_to[s->late_count];
	deliver(s, to, d.data, d.len);
}

/* A record with a header of these and random content. */
static void forge(struct sim *s, unsigned to, uint8_t type, uint16_t epoch, uint64_t number,
                  size_t len)
{
	uint8_t rec[RECORD_HEADER_SIZE + 64] = {type, 0xfe, 0xfd};

	be64_store(rec + 3, (uint64_t)epoch << 48 | number);
	be16_store(rec + 11, (uint16_t)len);
	rng_bytes(&s->rng, rec + RECORD_HEADER_SIZE, len);
	deliver(s, to, rec, RECORD_HEADER_SIZE + len);
}

/*
 * What a stranger can write under the peer's address without a word of the handshake that is due: nothing of it may change
 * the outcome. (With such a word he can end a handshake: nothing is authentic before the Finished.)
 */
static void attack(struct sim *s, unsigned to)
{
	uint8_t alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
	static struct rig_datagram hello;

	switch (rng_below(&s->rng, 6)) {
	case 0:
		alert[9] = (uint8_t)rng_below(&s->rng, 256);
		alert[13] = (uint8_t)(1 + rng_below(&s->rng, 2));
		alert[14] = (uint8_t)rng_below(&s->rng, 120);
		deliver(s, to, alert, sizeof(alert));
		break;
	case 1:
		forge(s, to, RECORD_TYPE_DATA, 1, rng_below(&s->rng, 5), 40);
		break;
	case 2:
		forge(s, to, RECORD_TYPE_HANDSHAKE, 1, rng_below(&s->rng, 5), 48);
		break;
	case 3:
		forge(s, to, RECORD_TYPE_ALERT, 1, RECORD_SEQ_MAX - rng_below(&s->rng, 5), 26);
		break;
	default:
		/*
		 * A message that was answered already; with the highest number, so that a window over numbers would
		 * close. Before the client's own hello this would be a handshake of its own, which comes to nothing.
		 */
		if (!s->has_answered[to])
			break;
		hello = s->foreign_hello;
		if (rng_below(&s->rng, 2) == 0)
			be64_store(hello.data + 3, RECORD_SEQ_MAX - rng_below(&s->rng, 5));
		deliver(s, to, hello.data, hello.len);
		break;
	}
}

/* The rig's wire: whatever an end sends comes here, and goes on by deliver(). */
static bool on_wire(struct rig *rig, struct rig_end *end, uint8_t *data, size_t *len)
{
	struct sim *s = rig->user;
	unsigned to = side_of(end);

	watch_numbers(s, 1 - to, data, *len);
	/* The server answers the hello; the client answers with keys that it has the server's. */
	s->has_answered[1] = s->has_answered[1] || to == 0;
	s->has_answered[0] = s->has_answered[0] || (to == 1 && s->rig->a.keys_events > 0);
	if (s->captures && (int)to == s->capture_to && ++s->passed >= s->capture_from) {
		if (s->held_count < CAPTURE_MAX) {
			memcpy(s->held[s->held_count].data, data, *len);
			s->held[s->held_count++].len = *len;
		}
		return false;
	}
	if (end->dtls != NULL && happens(s, s->attack_percent))
		attack(s, to);
	if (happens(s, s->loss_percent))
		return false;
	if (happens(s, s->late_percent) && s->late_count < CAPTURE_MAX) {
		memcpy(s->late[s->late_count].data, data, *len);
		s->late[s->late_count].len = *len;
		s->late_to[s->late_count++] = to;
		return false;
	}
	if (happens(s, s->corrupt_percent)) {
		uint32_t bit = rng_below(&s->rng, (uint32_t)*len * 8);

		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	deliver(s, to, data, *len);
	if (happens(s, s->duplicate_percent))
		deliver(s, to, data, *len);
	if (happens(s, 50))
		release_late(s);
	return false;
}

static void on_data(struct rig_end *to, const uint8_t *data, size_t len)
{
	struct sim *s = to->rig->user;
	unsigned from = 1 - side_of(to);

	CHECK(s, to->dtls == NULL || to->connected_events == 1);
	if (len != DATA_SIZE || data[0] != from || data[1] >= s->sent[from]) {
		complain(s, "data that nobody sent");
		return;
	}
	CHECK(s, ++s->got[from][data[1]] == 1);
}

static void send_data(struct sim *s, unsigned from)
{
	uint8_t data[DATA_SIZE] = {(uint8_t)from, (uint8_t)s->sent[from]++};

	rig_send_data(from == 0 ? &s->rig->a : &s->rig->b, data, sizeof(data));
}

/* ---- one handshake ---- */

static void begin(struct sim *s, enum kind kind, uint64_t seed, const struct rig_ssl_options *ssl)
{
	static const struct rig_ssl_options usual = {0};
	enum dtls_peer peer = kind == KIND_OURS ? DTLS_PEER_GOVPN : DTLS_PEER_STANDARD;

	openssl_rng = rng_seeded(seed);
	s->rng = rng_seeded(~seed);
	s->kind = kind;
	s->rig = rig_new();
	s->rig->user = s;
	s->rig->tamper = on_wire;
	s->rig->on_data = on_data;
	if (kind == KIND_CLIENT_OPENSSL)
		rig_openssl(&s->rig->a, RECORD_ROLE_CLIENT, ssl != NULL ? ssl : &usual);
	else
		rig_ours(&s->rig->a, RECORD_ROLE_CLIENT, peer);
	if (kind == KIND_SERVER_OPENSSL)
		rig_openssl(&s->rig->b, RECORD_ROLE_SERVER, ssl != NULL ? ssl : &usual);
	else
		rig_ours(&s->rig->b, RECORD_ROLE_SERVER, peer);
}

static void end(struct sim *s)
{
	rig_free(s->rig);
	s->rig = NULL;
}

static bool both_up(const struct sim *s)
{
	return rig_is_up(&s->rig->a) && rig_is_up(&s->rig->b);
}

static void check_keys(struct sim *s)
{
	const struct rig_end *ends[] = {&s->rig->a, &s->rig->b};
	const struct record_keys *a = &ends[0]->keys, *b = &ends[1]->keys;

	for (unsigned i = 0; i < 2; i++) {
		if (ends[i]->dtls == NULL)
			continue;
		CHECK(s, ends[i]->keys_events == 1);
		CHECK(s, ends[i]->connected_events == 1);
		CHECK(s, ends[i]->failed_events == 0);
	}
	if (ends[0]->dtls == NULL || ends[1]->dtls == NULL)
		return;
	CHECK(s, memcmp(a->client_key, b->client_key, sizeof(a->client_key)) == 0);
	CHECK(s, memcmp(a->server_key, b->server_key, sizeof(a->server_key)) == 0);
	CHECK(s, memcmp(a->client_salt, b->client_salt, sizeof(a->client_salt)) == 0);
	CHECK(s, memcmp(a->server_salt, b->server_salt, sizeof(a->server_salt)) == 0);
	CHECK(s, memcmp(a->client_key, a->server_key, sizeof(a->client_key)) != 0);
}

/* The wire is good from now on: both come up, and data passes both ways, each once. */
static void finish_well(struct sim *s)
{
	s->captures = false;
	s->loss_percent = s->duplicate_percent = s->late_percent = s->corrupt_percent = 0;
	while (s->late_count > 0)
		release_late(s);
	rig_run(s->rig, DTLS_HANDSHAKE_TIMEOUT_US);
	CHECK(s, both_up(s));
	if (!both_up(s))
		return;
	check_keys(s);
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned from = 0; from < 2; from++) {
			unsigned n = s->sent[from];

			send_data(s, from);
			rig_settle(s->rig);
			CHECK(s, s->got[from][n] == 1);
		}
	}
}

/* ---- each order, loss and repetition of a flight ---- */

enum phase {
	PHASE_CLIENT_FINISHED, /* the client's last flight */
	PHASE_SERVER_FINISHED, /* the server's, and data right behind it */
	PHASE_CLIENT_DATA,     /* data of the client between late copies of its last flight */
	PHASE_COUNT,
};

static const char *const phase_names[] = {"client's Finished", "server's Finished",
                                          "client's data"};

struct schedule {
	unsigned items[2 * CAPTURE_MAX];
	unsigned count;
};

/* Runs up to where the datagrams in question are held back. Returns how many there are. */
static unsigned prepare(struct sim *s, enum kind kind, enum phase phase)
{
	memset(s, 0, sizeof(*s));
	(void)snprintf(s->name, sizeof(s->name), "%s, %s", kind_names[kind], phase_names[phase]);
	begin(s, kind, 7, NULL);
	s->captures = true;
	s->capture_to = 1;
	s->capture_from = 2; /* one datagram is the ClientHello */
	rig_settle(s->rig);
	if (phase == PHASE_SERVER_FINISHED) {
		static struct rig_datagram flight[CAPTURE_MAX];
		unsigned n = s->held_count;

		memcpy(flight, s->held, sizeof(flight));
		s->held_count = 0;
		s->capture_to = 0;
		s->capture_from = 0;
		for (unsigned i = 0; i < n; i++) {
			deliver(s, 1, flight[i].data, flight[i].len);
			rig_settle(s->rig);
		}
	} else if (phase == PHASE_CLIENT_DATA) {
		unsigned n = s->held_count;

		/* Its last flight goes on, and is held for a second time. */
		s->captures = false;
		for (unsigned i = 0; i < n; i++) {
			deliver(s, 1, s->held[i].data, s->held[i].len);
			rig_settle(s->rig);
		}
		s->captures = true;
	}
	for (unsigned i = 0; i < 2 && phase != PHASE_CLIENT_FINISHED; i++)
		send_data(s, phase == PHASE_SERVER_FINISHED);
	return s->held_count;
}

/* The sequence, for the complaint. */
static void name_schedule(struct sim *s, const struct schedule *plan)
{
	size_t used = strlen(s->name);

	for (unsigned i = 0; i < plan->count && used + 2 < sizeof(s->name); i++) {
		s->name[used++] = ' ';
		s->name[used++] = (char)('0' + plan->items[i]);
	}
}

static void run_schedule(struct sim *s, enum kind kind, enum phase phase,
                         const struct schedule *plan)
{
	unsigned n = prepare(s, kind, phase), to = phase == PHASE_SERVER_FINISHED ? 0 : 1;
	unsigned data = phase == PHASE_CLIENT_FINISHED ? 0 : 2;
	bool came[CAPTURE_MAX] = {false};

	name_schedule(s, plan);
	for (unsigned i = 0; i < plan->count; i++) {
		unsigned k = plan->items[i];

		came[k] = true;
		deliver(s, to, s->held[k].data, s->held[k].len);
		rig_settle(s->rig);
	}
	/* Nothing but time has to pass: what was lost is sent again. */
	s->captures = false;
	rig_run(s->rig, DTLS_HANDSHAKE_TIMEOUT_US);
	for (unsigned i = 0; i < data; i++) {
		const struct rig_end *receiver = to == 0 ? &s->rig->a : &s->rig->b;
		unsigned got = s->got[1 - to][i];

		/* OpenSSL may drop what comes early; we keep it. */
		CHECK(s, got <= 1);
		CHECK(s, receiver->dtls == NULL || got == came[n - data + i]);
	}
	finish_well(s);
	end(s);
}

/* All sequences over n datagrams with each at most `most` times. */
static unsigned enumerate(struct sim *s, enum kind kind, enum phase phase, unsigned n,
                          unsigned most, struct schedule *plan)
{
	unsigned runs = 1;
	unsigned used[CAPTURE_MAX] = {0};

	run_schedule(s, kind, phase, plan);
	for (unsigned i = 0; i < plan->count; i++)
		used[plan->items[i]]++;
	for (unsigned k = 0; k < n; k++) {
		if (used[k] == most)
			continue;
		plan->items[plan->count++] = k;
		runs += enumerate(s, kind, phase, n, most, plan);
		plan->count--;
	}
	return runs;
}

static void try_flights(struct sim *s, bool is_long)
{
	unsigned runs = 0, most_datagrams = 0;

	for (enum kind kind = 0; kind < KIND_COUNT; kind++) {
		for (enum phase phase = 0; phase < PHASE_COUNT; phase++) {
			struct schedule plan = {.count = 0};
			unsigned n = prepare(s, kind, phase);

			end(s);
			most_datagrams = GV_MAX(most_datagrams, n);
			bool is_twice = n <= 3 || (is_long && n == 4 && kind != KIND_OURS_STANDARD);
			runs += enumerate(s, kind, phase, n, is_twice ? 2 : 1, &plan);
		}
	}
	printf("last flights: %u orders of up to %u datagrams\n", runs, most_datagrams);
}

/* ---- random wires ---- */

struct totals {
	unsigned failed, connected, timed_out;
	uint64_t worst_us[2]; /* without and with OpenSSL */
};

static void take_foreign_hello(struct sim *s)
{
	struct rig *rig = rig_new();
	struct dtls_out out;

	rig_ours(&rig->a, RECORD_ROLE_CLIENT, DTLS_PEER_STANDARD);
	if (dtls_output(rig->a.dtls, &out, rig->now_us) == 1) {
		memcpy(s->foreign_hello.data, out.data, out.len);
		s->foreign_hello.len = out.len;
	}
	rig_free(rig);
}

static void draw_wire(struct sim *s)
{
	bool with_openssl = s->kind == KIND_SERVER_OPENSSL || s->kind == KIND_CLIENT_OPENSSL;

	/* OpenSSL's timer doubles without an end, so its pairs get less. */
	s->loss_percent = rng_below(&s->rng, with_openssl ? 16 : 31);
	s->duplicate_percent = rng_below(&s->rng, 3) == 0 ? rng_below(&s->rng, 50) : 0;
	s->late_percent = rng_below(&s->rng, 3) == 0 ? rng_below(&s->rng, 30) : 0;
	s->corrupt_percent = rng_below(&s->rng, 8) == 0 ? rng_below(&s->rng, 10) : 0;
	s->attack_percent = rng_below(&s->rng, 3) == 0 ? 50 : 0;
}

/* A changed handshake message is believed until the Finished, so such a handshake may fail; it never does half. */
static void check_corrupted(struct sim *s)
{
	if (both_up(s))
		check_keys(s);
	else
		CHECK(s, !rig_is_up(&s->rig->a) || s->rig->b.dtls == NULL || rig_is_up(&s->rig->b));
}

/*
 * OpenSSL repeats after 1, 2, 4, 8 and 16 s only, so loss can take the 30 s that we give a handshake: then it has timed
 * out, and nothing else has gone wrong.
 */
static bool has_timed_out(const struct sim *s)
{
	const struct rig_end *ours = s->kind == KIND_SERVER_OPENSSL ? &s->rig->a : &s->rig->b;
	bool is_over = ours->failure == DTLS_FAILURE_TIMEOUT ||
	               (rig_is_up(ours) && !rig_is_up(ours->other));

	return s->kind >= KIND_SERVER_OPENSSL && s->loss_percent + s->late_percent > 0 && is_over &&
	       !ours->other->ssl_failed;
}

static void run_seed(struct sim *s, uint64_t seed, struct totals *t)
{
	enum kind kind = seed % KIND_COUNT;

	memset(s, 0, sizeof(*s));
	openssl_rng = rng_seeded(~seed);
	take_foreign_hello(s);
	struct rng rng = rng_seeded(seed * 31);
	struct rig_ssl_options ssl = {.hello_padding = rng_below(&rng, 2) * 1500,
	                              .mtu = rng_below(&rng, 3) == 0 ? 256 : 0};
	begin(s, kind, seed, &ssl);
	draw_wire(s);
	(void)snprintf(s->name, sizeof(s->name),
	               "seed %llu, %s, hello %zu mtu %ld loss %u twice %u late %u attack %u",
	               (unsigned long long)seed, kind_names[kind], ssl.hello_padding, ssl.mtu,
	               s->loss_percent, s->duplicate_percent, s->late_percent, s->attack_percent);
	uint64_t start_us = s->rig->now_us;
	rig_run(s->rig, DTLS_HANDSHAKE_TIMEOUT_US + SECOND_US);
	if (s->corrupt_percent > 0) {
		check_corrupted(s);
	} else if (has_timed_out(s)) {
		t->timed_out++;
	} else {
		CHECK(s, both_up(s));
		uint64_t *worst_us = &t->worst_us[kind >= KIND_SERVER_OPENSSL];
		*worst_us = GV_MAX(*worst_us, s->rig->now_us - start_us);
		for (unsigned i = 0; both_up(s) && i < 20; i++) {
			send_data(s, i % 2);
			if (i % 3 == 0)
				rig_advance(s->rig, 20000);
		}
		if (both_up(s))
			finish_well(s);
	}
	t->connected += both_up(s);
	end(s);
}

static void try_seeds(struct sim *s, uint64_t first, uint64_t count)
{
	struct totals t = {0};

	for (uint64_t seed = first; seed < first + count; seed++) {
		run_seed(s, seed, &t);
		t.failed += s->failures > 0;
	}
	printf("%llu seeds, %u failed: %u connected (worst %llu ms, with OpenSSL %llu ms), %u timed out with "
	       "OpenSSL\n",
	       (unsigned long long)count, t.failed, t.connected,
	       (unsigned long long)(t.worst_us[0] / 1000),
	       (unsigned long long)(t.worst_us[1] / 1000), t.timed_out);
}

/* ---- what must be refused (R9) ---- */

struct refusal {
	const char *name;
	struct rig_ssl_options ssl;
	enum dtls_peer peer;
	bool server_only, client_only; /* of ours */
	bool wrong_fingerprint;
};

static const struct refusal refusals[] = {
	{.name = "DTLS 1.0", .ssl = {.set = SSL_OP_NO_DTLSv1_2, .ciphers = "ALL:@SECLEVEL=0"}},
	{.name = "NULL", .ssl = {.ciphers = "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"}},
	{.name = "CBC", .ssl = {.ciphers = "ECDHE-ECDSA-AES128-SHA256"}},
	{.name = "CBC SHA-1", .ssl = {.ciphers = "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"}},
	{.name = "AES-256", .ssl = {.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384"}},
	{.name = "ChaCha20", .ssl = {.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305"}},
	{.name = "anonymous", .ssl = {.ciphers = "AECDH-AES128-SHA:@SECLEVEL=0"}},
	{.name = "no forward secrecy", .ssl = {.ciphers = "AES128-GCM-SHA256", .rsa_bits = 2048}},
	{.name = "no extended master secret", .ssl = {.set = SSL_OP_NO_EXTENDED_MASTER_SECRET}},
	{.name = "no certificate", .ssl = {.no_certificate = true}, .server_only = true},
	{.name = "another certificate", .wrong_fingerprint = true},
	{.name = "RSA-512", .ssl = {.ciphers = "ALL:@SECLEVEL=0", .rsa_bits = 512}},
	{.name = "RSA-1024", .ssl = {.ciphers = "ALL:@SECLEVEL=0", .rsa_bits = 1024}},
	{.name = "RSA towards goVPN", .ssl = {.rsa_bits = 2048}, .peer = DTLS_PEER_GOVPN},
};

/* Ours is `ours`; the other end is OpenSSL's and does what the row says. */
static void refuse(struct sim *s, const struct refusal *row, enum record_role ours)
{
	memset(s, 0, sizeof(*s));
	(void)snprintf(s->name, sizeof(s->name), "%s, ours is %s", row->name,
	               ours == RECORD_ROLE_CLIENT ? "client" : "server");
	openssl_rng = rng_seeded(3);
	s->rig = rig_new();
	s->rig->user = s;
	s->rig->tamper = on_wire;
	struct rig_end *end_ours = ours == RECORD_ROLE_CLIENT ? &s->rig->a : &s->rig->b;
	struct rig_end *other = end_ours->other;
	rig_openssl(other, ours == RECORD_ROLE_CLIENT ? RECORD_ROLE_SERVER : RECORD_ROLE_CLIENT,
	            &row->ssl);
	struct dtls_config config = {
		.role = ours, .peer = row->peer, .cert = end_ours->cert, .mtu = 1200};
	cert_fingerprint(other->cert, config.peer_fingerprint);
	config.peer_fingerprint[31] ^= row->wrong_fingerprint;
	CHECK(s, dtls_new(&end_ours->dtls, &config, s->rig->now_us) == 0);
	rig_settle(s->rig);
	rig_run(s->rig, 5 * SECOND_US);
	rig_advance(s->rig, DTLS_HANDSHAKE_TIMEOUT_US);
	CHECK(s, end_ours->failed_events == 1);
	CHECK(s, end_ours->connected_events == 0);
	CHECK(s, end_ours->keys_events == 0 || end_ours->failure == DTLS_FAILURE_FINGERPRINT);
	CHECK(s, !rig_is_up(other));
	rig_free(s->rig);
}

static void try_refusals(struct sim *s)
{
	unsigned tried = 0;

	for (size_t i = 0; i < GV_ARRAY_SIZE(refusals); i++) {
		struct refusal row = refusals[i];

		if (strstr(row.name, "goVPN") == NULL)
			row.peer = DTLS_PEER_STANDARD;
		for (enum record_role ours = RECORD_ROLE_CLIENT; ours <= RECORD_ROLE_SERVER;
		     ours++) {
			if (row.server_only && ours == RECORD_ROLE_CLIENT)
				continue;
			refuse(s, &row, ours);
			tried++;
		}
	}
	printf("weaker proposals: %u tried\n", tried);
}

int main(int argc, char **argv)
{
	const char *text = getenv("GOVPN_LONG");
	bool is_long = text != NULL && text[0] == '1';
	uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : is_long ? 10000 : 200;
	uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	static struct sim s;

	if (RAND_set_rand_method(&seeded_method) != 1)
		return 1;
	if (argc < 3) {
		try_refusals(&s);
		try_flights(&s, is_long);
	}
	try_seeds(&s, first, seeds);
	return all_failures > 0;
}
