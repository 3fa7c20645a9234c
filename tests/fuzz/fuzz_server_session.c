/* SPDX-License-Identifier: MIT */

/*
 * The hub, fed with messages of four computers: a owns a network, b is a member of it, both are logged in; c and d are strangers.
 *
 * Input: lines. The first letter of a line says what happens:
 *
 *   a b c d  the rest is a message of this computer      A B C D  its socket is closed and opened anew
 *   1 2 3 4  it logs in                                  t T      5 seconds, 2 hours pass
 *   s        everything that is queued is sent           u        a logs in a second time, on the socket of d
 *   !        the server shuts down                       R        a's socket never reads: nothing is sent to it
 *   #        the database is removed of this network
 *
 * In a message stand for things that a fuzzer cannot make (keys are of the fake identity, signatures of it hold):
 *
 *   @n network id      @a @b @c @d keys      @s session      @g a signature that fits everything      @k the network's code
 *   @D and a letter: the owner's next document; r renamed, x without invites, i with another invite, o with an invite for one,
 *      e with an invite that ended, a with b as member, b with b banned, c with c banned, u with b unbanned, z without a change
 *   @O and a letter: a first document of this computer
 *   @M and two letters: the admission of a computer, and how: i by the invite, j by the second invite, m as a member, p another
 *      label, q the label of another, t later, w with another name, f from the future
 */

#include "base/buf.h"
#include "base/enc.h"
#include "base/log.h"
#include "crypto/identity.h"
#include "engine/server/hub.h"
#include "engine/server/ipam.h"
#include "engine/server/store.h"
#include "proto/sig/admission.h"
#include "proto/sig/document.h"
#include "proto/sig/msg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST      "h:1"
#define SESSION   UINT64_C(0x1234567890abcdef)
#define TEXT_MAX  65536
#define LINES_MAX 64
#define CONNS     4
#define UNIX_S    100000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct hub *hub;
	struct hub_time t;
	struct hub_conn *conns[CONNS];
	uint8_t nonces[CONNS][PROOF_LOGIN_NONCE_SIZE];
	struct document *doc; /* the newest one of the owner */
	bool stuck;           /* a does not read */
};

/* Made once. */
static struct {
	struct store *store;
	struct identity *id[CONNS], *invites[3];
	struct document *doc;
	uint8_t key[CONNS][SIG_KEY_SIZE];
	char n[NETID_TEXT_SIZE], keys[CONNS][64], code[NETID_CODE_SIZE];
} fixed;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static struct document_invite invite_of(unsigned i)
{
	struct document_invite invite = {.kind = DOCUMENT_INVITE_LINK};

	identity_public(fixed.invites[i], invite.key);
	return invite;
}

static void make_fixed(void)
{
	uint8_t seed[IDENTITY_SEED_SIZE] = {1}, salt[NETID_SALT_SIZE] = {0};
	struct netprefix subnet;
	struct buf out = BUF_INIT(DOCUMENT_SIZE_MAX);

	if (fixed.doc != NULL)
		return;
	log_set_level(LOG_LEVEL_ERR);
	for (unsigned i = 0; i < CONNS; i++) {
		seed[0]++;
		must(identity_from_seed(&fixed.id[i], seed) == 0);
		identity_public(fixed.id[i], fixed.key[i]);
		enc_base64url(fixed.keys[i], fixed.key[i], SIG_KEY_SIZE);
	}
	for (unsigned i = 0; i < GV_ARRAY_SIZE(fixed.invites); i++) {
		seed[0]++;
		must(identity_from_seed(&fixed.invites[i], seed) == 0);
	}
	must(netprefix_parse("10.1.2.0/29", &subnet));
	must(document_new(&fixed.doc, fixed.key[0], salt, "net", &subnet, NULL) == 0);
	struct document_invite invite = invite_of(0);
	must(document_add_invite(fixed.doc, &invite) == 0);
	must(document_sign(fixed.doc, fixed.id[0], &out) == 0);
	buf_deinit(&out);
	(void)netid_text(fixed.doc->network_id, fixed.n); /* returns its argument */
	must(store_open(&fixed.store, ":memory:", NULL) == STORE_OK);
}

/* The database is made once too: what an input left in it goes. */
static void empty_store(void)
{
	uint8_t id[NETID_SIZE];

	store_rollback(fixed.store);
	while (store_network_idle(fixed.store, INT64_MAX, id) == STORE_OK)
		must(store_network_remove(fixed.store, id) == 0);
	must(store_failures_purge(fixed.store, INT64_MAX) == 0);
}

static void take_challenge(struct world *w, unsigned i)
{
	struct msg m;
	const char *text;
	size_t len;

	must(hub_output(w->conns[i], &text, &len));
	must(msg_parse(&m, text, len, MSG_FROM_SERVER, NULL) == MSG_OK);
	if (m.type == MSG_CHALLENGE)
		memcpy(w->nonces[i], m.challenge.nonce, sizeof(w->nonces[i]));
	msg_deinit(&m);
}

static void drain(struct world *w)
{
	struct hub_conn *c;
	const char *text;
	size_t len;

	while ((c = hub_ready(w->hub)) != NULL) {
		struct hub_conn **slot = hub_conn_user(c);

		if (w->stuck && slot == &w->conns[0] && !hub_conn_is_closing(c))
			continue;
		while (hub_output(c, &text, &len)) {
			must(len > 0 && len <= MSG_SIZE_TO_CLIENT_MAX);
			hub_output_done(w->hub, c);
		}
		if (hub_conn_is_closing(c)) {
			hub_close(w->hub, c, &w->t);
			*slot = NULL;
		}
	}
}

static void open_conn(struct world *w, unsigned i)
{
	struct netaddr remote = netaddr_ip4(0xc0000201 + i / 2, 5),
		       local = netaddr_ip4(0xc6336401, 443);

	if (w->conns[i] != NULL)
		hub_close(w->hub, w->conns[i], &w->t);
	w->conns[i] = NULL;
	if (hub_open(w->hub, &remote, &local, &w->conns[i], &w->t, &w->conns[i]) != HUB_OK)
		w->conns[i] = NULL;
	else
		take_challenge(w, i);
}

static void send_msg(struct world *w, unsigned i, struct msg *m)
{
	struct buf out = BUF_INIT(MSG_SIZE_TO_SERVER_MAX);

	if (w->conns[i] == NULL)
		return;
	memcpy(m->id, "x", 2);
	must(msg_format(m, &out) == 0);
	hub_input(w->hub, w->conns[i], buf_str(&out), out.len, &w->t);
	buf_deinit(&out);
}

/* Computer `who` logs in on socket i. */
static void login(struct world *w, unsigned i, unsigned who)
{
	struct proof_login proof = {.host = HOST, .session = SESSION};
	struct msg m = {
		.type = MSG_AUTHENTICATE,
		.authenticate = {
			.host = HOST, .session = SESSION, .version_lo = 1, .version_hi = 1}};

	memcpy(proof.nonce, w->nonces[i], sizeof(proof.nonce));
	memcpy(proof.key, fixed.key[who], SIG_KEY_SIZE);
	must(proof_login_sign(&proof, fixed.id[who]) == 0);
	memcpy(m.authenticate.key, fixed.key[who], SIG_KEY_SIZE);
	memcpy(m.authenticate.signature, proof.sig, SIG_SIGNATURE_SIZE);
	send_msg(w, i, &m);
}

static size_t make_admission(unsigned who, char how, uint8_t out[static ADMISSION_SIZE_MAX])
{
	struct admission a = {.joined_unix_s = UNIX_S, .unix_s = UNIX_S};
	unsigned label = how == 'q' ? (who + 1) % CONNS : who;

	memcpy(a.network_id, fixed.doc->network_id, NETID_SIZE);
	memcpy(a.key, fixed.key[who], SIG_KEY_SIZE);
	a.unix_s += how == 't' || how == 'p' || how == 'w' ? 5 : how == 'f' ? 1000000 : 0;
	(void)snprintf(a.name, sizeof(a.name), "%s %u", how == 'w' ? "other" : "name", who);
	(void)snprintf(a.label, sizeof(a.label), how == 'p' ? "other" : "label-%u", label);
	if (how != 'm' && who != 0)
		must(admission_sign_invite(&a, fixed.invites[how == 'j']) == 0);
	must(admission_sign(&a, fixed.id[who]) == 0);
	return admission_encode(&a, out);
}

static void change(struct document *doc, char how)
{
	struct document_invite invite = invite_of(1);

	switch (how) {
	case 'r':
		must(document_set_name(doc, "other", NULL) == 0);
		break;
	case 'x':
		document_clear_invites(doc);
		break;
	case 'i':
	case 'o':
	case 'e':
		invite.uses = how == 'o';
		invite.expires_unix_s = how == 'e' ? UNIX_S - 1 : 0;
		must(document_add_invite(doc, &invite) == 0);
		break;
	case 'a':
		must(document_add_member(doc, fixed.key[1]) == 0);
		break;
	case 'b':
		must(document_ban(doc, fixed.key[1]) == 0);
		break;
	case 'c':
		must(document_ban(doc, fixed.key[2]) == 0);
		break;
	case 'u':
		(void)document_unban(doc, fixed.key[1]);
		break;
	default:
		break;
	}
}

static void next_document(struct world *w, char how, struct buf *out)
{
	struct document *next;

	must(document_dup(&next, w->doc) == 0);
	change(next, how);
	must(document_sign(next, fixed.id[0], out) == 0);
	document_free(w->doc);
	w->doc = next;
}

static void first_document(unsigned who, struct buf *out)
{
	uint8_t salt[NETID_SALT_SIZE] = {1};
	struct document *doc;

	must(document_new(&doc, fixed.key[who], salt, "own", &fixed.doc->subnet, NULL) == 0);
	must(document_sign(doc, fixed.id[who], out) == 0);
	document_free(doc);
}

static void make_world(struct world *w)
{
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
	uint8_t admissions[2][ADMISSION_SIZE_MAX];
	size_t n[2];

	*w = (struct world){.t = {.us = 1000000, .unix_s = UNIX_S}};
	struct hub_config config = {.store = fixed.store,
	                            .limits = HUB_LIMITS_DEFAULT,
	                            .names = {HOST},
	                            .n_names = 1,
	                            .stun = {netaddr_ip4(0xc6336401, 3478)},
	                            .n_stun = 1,
	                            .address_rest_s = 10,
	                            .expire_s = 3600,
	                            .rng = rng_seeded(1)};
	/* Small, so that inputs reach them. */
	config.limits.networks = 3;
	config.limits.networks_owned = 2;
	config.limits.networks_joined = 2;
	config.limits.members = 3;
	config.limits.max_conns = 4;
	config.limits.message.burst = config.limits.request.burst = 24;
	config.limits.change.burst = 16;
	config.limits.login.burst = 16;
	must(hub_new(&w->hub, &config, &w->t) == 0);
	must(document_dup(&w->doc, fixed.doc) == 0);
	for (unsigned i = 0; i < CONNS; i++)
		open_conn(w, i);
	login(w, 0, 0);
	login(w, 1, 1);
	for (unsigned i = 0; i < 2; i++)
		n[i] = make_admission(i, 'i', admissions[i]);
	must(document_encode(w->doc, &bytes) == 0);
	struct msg create = {.type = MSG_CREATE_NETWORK,
	                     .create_network = {.document = {.p = bytes.data, .n = bytes.len},
	                                        .admission = {.p = admissions[0], .n = n[0]}}};
	struct msg join = {.type = MSG_JOIN_NETWORK,
	                   .join_network = {.admission = {.p = admissions[1], .n = n[1]}}};
	memcpy(join.join_network.network_id, fixed.doc->network_id, NETID_SIZE);
	send_msg(w, 0, &create);
	send_msg(w, 1, &join);
	drain(w);
	buf_deinit(&bytes);
}

static unsigned computer(char letter)
{
	return (unsigned)(letter - 'a') % CONNS;
}

static void put(char *out, size_t out_size, size_t *n, const char *text)
{
	size_t len = strlen(text), take = GV_MIN(len, out_size - *n);

	memcpy(out + *n, text, take);
	*n += take;
}

static void put_bytes(char *out, size_t out_size, size_t *n, const uint8_t *p, size_t len)
{
	char text[4096];

	if (ENC_BASE64_SIZE(len) > sizeof(text))
		return;
	enc_base64url(text, p, len);
	put(out, out_size, n, text);
}

/* Writes what stands at p ('@' before it) and returns how many letters that were; 0: nothing known. */
static size_t stand_in(struct world *w, const char *p, size_t left, char *out, size_t out_size,
                       size_t *n)
{
	uint8_t bytes[ADMISSION_SIZE_MAX], good[SIG_SIGNATURE_SIZE] = "good";
	struct buf doc = BUF_INIT(DOCUMENT_SIZE_MAX);
	struct store_network net;
	size_t used = p[0] == 'M' ? 3 : p[0] == 'D' || p[0] == 'O' ? 2 : 1;

	if (left < used)
		return 0;
	switch (p[0]) {
	case 'n':
		put(out, out_size, n, fixed.n);
		return used;
	case 's':
		put(out, out_size, n, "1234567890abcdef");
		return used;
	case 'g':
		put_bytes(out, out_size, n, good, sizeof(good));
		return used;
	case 'k':
		if (store_network_get(fixed.store, fixed.doc->network_id, &net) == STORE_OK) {
			put(out, out_size, n, net.code);
			store_network_deinit(&net);
		}
		return used;
	case 'M':
		put_bytes(out, out_size, n, bytes, make_admission(computer(p[1]), p[2], bytes));
		return used;
	case 'D':
	case 'O':
		if (p[0] == 'D')
			next_document(w, p[1], &doc);
		else
			first_document(computer(p[1]), &doc);
		put_bytes(out, out_size, n, doc.data, doc.len);
		buf_deinit(&doc);
		return used;
	default:
		if (p[0] < 'a' || p[0] > 'd')
			return 0;
		put(out, out_size, n, fixed.keys[computer(p[0])]);
		return used;
	}
}

static size_t expand(struct world *w, const char *line, size_t len, char *out, size_t out_size)
{
	size_t n = 0, used;

	for (size_t i = 0; i < len && n < out_size; i += 1 + used) {
		used = line[i] == '@' && i + 1 < len
		               ? stand_in(w, line + i + 1, len - i - 1, out, out_size, &n)
		               : 0;
		if (used == 0)
			out[n++] = line[i];
	}
	return n;
}

static void say(struct world *w, unsigned i, const char *line, size_t len)
{
	static char text[TEXT_MAX];
	size_t n = expand(w, line, len, text, sizeof(text));

	if (w->conns[i] == NULL)
		return;
	/* A copy of the exact size, so that a sanitizer sees a read past the end. */
	char *exact = malloc(n + 1);
	must(exact != NULL);
	memcpy(exact, text, n);
	exact[n] = '\0';
	hub_input(w->hub, w->conns[i], exact, n, &w->t);
	free(exact);
}

static void pass_time(struct world *w, uint64_t s)
{
	w->t.us += s * 1000000;
	w->t.unix_s += (int64_t)s;
	for (int i = 0; i < 4 && w->t.us >= hub_deadline_us(w->hub); i++)
		hub_timeout(w->hub, &w->t);
	must(w->t.us < hub_deadline_us(w->hub)); /* it would spin its owner */
}

static void play(struct world *w, const char *line, size_t len)
{
	struct hub_stats stats;
	char c = len > 0 ? line[0] : '\0';

	if (c >= 'a' && c <= 'd') {
		say(w, computer(c), line + 1, len - 1);
	} else if (c >= 'A' && c <= 'D') {
		open_conn(w, (unsigned)(c - 'A'));
	} else if (c >= '1' && c <= '4') {
		login(w, (unsigned)(c - '1'), (unsigned)(c - '1'));
	} else if (c == 'u') {
		login(w, 3, 0);
	} else if (c == 't' || c == 'T') {
		pass_time(w, c == 't' ? 5 : 7200);
	} else if (c == '!') {
		hub_shutdown(w->hub);
	} else if (c == 'R') {
		w->stuck = true;
	} else if (c == '#') {
		must(store_network_remove(fixed.store, fixed.doc->network_id) >= 0);
	}
	if (c == 's')
		hub_stats(w->hub, &stats);
	drain(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w;
	const char *p = (const char *)data, *end = p + size;

	make_fixed();
	make_world(&w);
	for (unsigned i = 0; i < LINES_MAX && p < end; i++) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));

		if (stop == NULL)
			stop = end;
		play(&w, p, (size_t)(stop - p));
		p = stop < end ? stop + 1 : end;
	}
	hub_free(w.hub);
	document_free(w.doc);
	empty_store();
	return 0;
}
