/* SPDX-License-Identifier: MIT */

/*
 * The hub, fed with messages. Three computers: the owner of a network and a member of it, both logged in and connected, and one
 * that is not logged in.
 *
 * Input: lines. The first letter says who sends: a, b or c; A, B or C closes the socket and opens a new one (without login);
 * t lets 5 seconds pass. The rest is the text, in which @n stands for the network's id, @a and @b for keys, @d for the document,
 * @m for b's admission, @s for the session of all.
 */

#include "base/buf.h"
#include "base/enc.h"
#include "base/log.h"
#include "crypto/identity.h"
#include "engine/server/hub.h"
#include "engine/server/store.h"
#include "proto/sig/admission.h"
#include "proto/sig/document.h"
#include "proto/sig/msg.h"

#include <stdlib.h>
#include <string.h>

#define HOST      "h:1"
#define SESSION   UINT64_C(0x1234567890abcdef)
#define TEXT_MAX  65536
#define LINES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct store *store;
	struct hub *hub;
	struct hub_time t;
	struct hub_conn *conns[3];
};

/* Made once: signing is the slow part. */
static struct {
	struct identity *id[2], *invite;
	struct document *doc;
	struct buf document;
	uint8_t key[2][SIG_KEY_SIZE];
	uint8_t admission[2][ADMISSION_SIZE_MAX];
	size_t admission_n[2];
	char n[NETID_TEXT_SIZE], a[64], b[64], m[ADMISSION_TEXT_SIZE], d[2048], s[20];
} fixed;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void make_admission(unsigned i, const struct identity *invite, const char *label)
{
	struct admission a = {.joined_unix_s = 1000, .unix_s = 1000};

	memcpy(a.network_id, fixed.doc->network_id, NETID_SIZE);
	memcpy(a.key, fixed.key[i], SIG_KEY_SIZE);
	memcpy(a.name, label, strlen(label));
	memcpy(a.label, label, strlen(label));
	must(invite == NULL || admission_sign_invite(&a, invite) == 0);
	must(admission_sign(&a, fixed.id[i]) == 0);
	fixed.admission_n[i] = admission_encode(&a, fixed.admission[i]);
}

static void make_fixed(void)
{
	uint8_t seed[IDENTITY_SEED_SIZE] = {1}, salt[NETID_SALT_SIZE] = {0};
	struct document_invite invite = {.kind = DOCUMENT_INVITE_LINK};
	struct netprefix subnet;

	if (fixed.doc != NULL)
		return;
	log_set_level(LOG_LEVEL_ERR);
	for (unsigned i = 0; i < 2; i++) {
		seed[0]++;
		must(identity_from_seed(&fixed.id[i], seed) == 0);
		identity_public(fixed.id[i], fixed.key[i]);
	}
	seed[0]++;
	must(identity_from_seed(&fixed.invite, seed) == 0);
	identity_public(fixed.invite, invite.key);
	must(netprefix_parse("10.1.2.0/28", &subnet));
	must(document_new(&fixed.doc, fixed.key[0], salt, "net", &subnet, NULL) == 0);
	must(document_add_invite(fixed.doc, &invite) == 0);
	fixed.document = BUF_INIT(DOCUMENT_SIZE_MAX);
	must(document_sign(fixed.doc, fixed.id[0], &fixed.document) == 0);
	make_admission(0, NULL, "a");
	make_admission(1, fixed.invite, "b");
	(void)netid_text(fixed.doc->network_id, fixed.n); /* returns its argument */
	enc_base64url(fixed.a, fixed.key[0], SIG_KEY_SIZE);
	enc_base64url(fixed.b, fixed.key[1], SIG_KEY_SIZE);
	enc_base64url(fixed.m, fixed.admission[1], fixed.admission_n[1]);
	must(ENC_BASE64_SIZE(fixed.document.len) <= sizeof(fixed.d));
	enc_base64url(fixed.d, fixed.document.data, fixed.document.len);
	memcpy(fixed.s, "1234567890abcdef", 17);
}

static void drain(struct world *w)
{
	struct hub_conn *c;
	const char *text;
	size_t len;

	while ((c = hub_ready(w->hub)) != NULL) {
		struct hub_conn **slot = hub_conn_user(c);

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
	struct netaddr remote = netaddr_ip4(0xc0000201 + i, 5),
		       local = netaddr_ip4(0xc6336401, 443);

	if (w->conns[i] != NULL)
		hub_close(w->hub, w->conns[i], &w->t);
	w->conns[i] = NULL;
	if (hub_open(w->hub, &remote, &local, &w->conns[i], &w->t, &w->conns[i]) != HUB_OK)
		w->conns[i] = NULL;
	/* The Challenge stays queued for login(). */
}

static void send_msg(struct world *w, unsigned i, struct msg *m)
{
	struct buf out = BUF_INIT(MSG_SIZE_TO_SERVER_MAX);

	memcpy(m->id, "x", 2);
	must(msg_format(m, &out) == 0);
	hub_input(w->hub, w->conns[i], buf_str(&out), out.len, &w->t);
	buf_deinit(&out);
}

static void login(struct world *w, unsigned i)
{
	struct proof_login proof = {.host = HOST, .session = SESSION};
	struct msg challenge,
		m = {.type = MSG_AUTHENTICATE,
	             .authenticate = {
			     .host = HOST, .session = SESSION, .version_lo = 1, .version_hi = 1}};
	const char *text;
	size_t len;

	must(hub_output(w->conns[i], &text, &len));
	must(msg_parse(&challenge, text, len, MSG_FROM_SERVER, NULL) == MSG_OK);
	memcpy(proof.nonce, challenge.challenge.nonce, sizeof(proof.nonce));
	msg_deinit(&challenge);
	memcpy(proof.key, fixed.key[i], SIG_KEY_SIZE);
	must(proof_login_sign(&proof, fixed.id[i]) == 0);
	memcpy(m.authenticate.key, fixed.key[i], SIG_KEY_SIZE);
	memcpy(m.authenticate.signature, proof.sig, SIG_SIGNATURE_SIZE);
	send_msg(w, i, &m);
}

static void make_world(struct world *w)
{
	*w = (struct world){.t = {.us = 1000000, .unix_s = 1000}};
	must(store_open(&w->store, ":memory:", NULL) == STORE_OK);
	struct hub_config config = {.store = w->store,
	                            .limits = HUB_LIMITS_DEFAULT,
	                            .names = {HOST},
	                            .n_names = 1,
	                            .address_rest_s = 10,
	                            .expire_s = 86400,
	                            .rng = rng_seeded(1)};
	must(hub_new(&w->hub, &config, &w->t) == 0);
	for (unsigned i = 0; i < 3; i++)
		open_conn(w, i);
	login(w, 0);
	login(w, 1);
	struct msg create = {
		.type = MSG_CREATE_NETWORK,
		.create_network = {
			.document = {.p = fixed.document.data, .n = fixed.document.len},
			.admission = {.p = fixed.admission[0], .n = fixed.admission_n[0]}}};
	struct msg join = {.type = MSG_JOIN_NETWORK,
	                   .join_network = {.admission = {.p = fixed.admission[1],
	                                                  .n = fixed.admission_n[1]}}};
	memcpy(join.join_network.network_id, fixed.doc->network_id, NETID_SIZE);
	send_msg(w, 0, &create);
	send_msg(w, 1, &join);
	drain(w);
}

static const char *stand_in(char letter)
{
	switch (letter) {
	case 'n':
		return fixed.n;
	case 'a':
		return fixed.a;
	case 'b':
		return fixed.b;
	case 'd':
		return fixed.d;
	case 'm':
		return fixed.m;
	case 's':
		return fixed.s;
	default:
		return NULL;
	}
}

static size_t expand(const char *line, size_t len, char *out, size_t out_size)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n < out_size; i++) {
		const char *text = line[i] == '@' && i + 1 < len ? stand_in(line[i + 1]) : NULL;
		if (text == NULL) {
			out[n++] = line[i];
			continue;
		}
		size_t room = out_size - n, take = strlen(text) < room ? strlen(text) : room;
		memcpy(out + n, text, take);
		n += take;
		i++;
	}
	return n;
}

static void play(struct world *w, const char *line, size_t len)
{
	static char text[TEXT_MAX];

	if (len == 0)
		return;
	if (line[0] == 't') {
		w->t.us += 5000000;
		w->t.unix_s += 5;
		if (w->t.us >= hub_deadline_us(w->hub))
			hub_timeout(w->hub, &w->t);
	} else if (line[0] >= 'A' && line[0] <= 'C') {
		open_conn(w, (unsigned)(line[0] - 'A'));
	} else if (line[0] >= 'a' && line[0] <= 'c' && w->conns[line[0] - 'a'] != NULL) {
		size_t n = expand(line + 1, len - 1, text, sizeof(text));

		/* A copy of the exact size, so that a sanitizer sees a read past the end. */
		char *exact = malloc(n + 1);
		must(exact != NULL);
		memcpy(exact, text, n);
		exact[n] = '\0';
		hub_input(w->hub, w->conns[line[0] - 'a'], exact, n, &w->t);
		free(exact);
	}
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
	store_close(w.store);
	return 0;
}
