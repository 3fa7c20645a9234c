/* SPDX-License-Identifier: MIT */

#include "engine/client/supervisor_impl.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/client/docchange.h"

#include <errno.h>
#include <string.h>

LOG_MODULE("owner");

#define OP_TIMEOUT_US (20u * 1000000u)
/* Of an invite, unless they say otherwise. */
#define INVITE_EXPIRES_S (7 * 24 * 3600)
#define NOT_TOLD         "does not know it yet: there is no connection to it now"

/* A new document on its way to the server. */
struct change {
	struct document *doc; /* owned until adopted; signed */
	char link[LINK_TEXT_SIZE];
	json_t *reply;              /* owned until answered */
	struct state_banned person; /* to remember after a kick, to forget after an unban */

	enum {
		PERSON_NONE,
		PERSON_BAN,
		PERSON_UNBAN
	} what;

	bool removes; /* somebody */
	int unsaved;  /* -errno of saving a removal */
};

static void change_free(struct op *op)
{
	struct change *c = op->data;

	document_free(c->doc);
	json_decref(c->reply);
	mem_wipe(c, sizeof(*c));
	mem_free(c);
}

enum needs {
	NEEDS_SERVER, /* it counts when the server took it */
	REMOVES,      /* it counts at once: that is not for the server to decide */
};

/* A document that the server has not answered yet. */
static bool change_under_way(const struct network *n)
{
	for (const struct op *op = n->sup->ops; op != NULL; op = op->next) {
		const struct change *c = op->data;
		if (op->net == n && op->deinit == change_free && !op->dead && c->doc != NULL)
			return true;
	}
	return false;
}

/* False: answered. */
static bool may_begin(const struct network *n, enum needs needs, struct localapi_call *call)
{
	bool known = n->problem.text[0] != '\0';

	if (!network_is_owner(n)) {
		localapi_fail(call, EXIT_CODE_NOT_ALLOWED, "only the owner of %s can do this",
		              n->st->doc->name);
		return false;
	}
	/*
	 * Connecting compares epochs, so a change that the server missed gets there before the next one
	 * is made.
	 */
	if (!n->signaling && (needs == NEEDS_SERVER || n->phase != NETWORK_UP)) {
		localapi_fail(call, known ? n->problem_exit : EXIT_CODE_NO_SERVER, "%s",
		              known ? n->problem.text
		              : n->phase == NETWORK_DOWN
		                      ? "connect to the network first: govpn up"
		                      : "there is no connection to the server now");
		return false;
	}
	/* A removal does not wait for it: it replaces what is under way. */
	if (needs == NEEDS_SERVER && change_under_way(n)) {
		localapi_fail(call, EXIT_CODE_CONFLICT,
		              "the server has not answered another change of %s yet: try again",
		              n->st->doc->name);
		return false;
	}
	return true;
}

/*
 * Begins a change of the network's document: an unsigned copy of it in an operation. NULL:
 * answered.
 */
static struct op *begin(struct network *n, enum needs needs, struct localapi_call *call)
{
	if (!may_begin(n, needs, call))
		return NULL;
	struct op *op = op_new(n->sup, call, OP_TIMEOUT_US);
	if (op == NULL)
		return NULL;
	struct change *c = mem_new(struct change);
	if (c == NULL) {
		op_fail(op, EXIT_CODE_FAILED, "out of memory");
		return NULL;
	}
	c->removes = needs == REMOVES;
	op->data = c;
	op->deinit = change_free;
	op->net = n;
	op->server = server_get(n->sup, &n->st->server);
	if (op->server == NULL || document_dup(&c->doc, n->st->doc) < 0) {
		op_fail(op, EXIT_CODE_FAILED, "out of memory");
		return NULL;
	}
	return op;
}

/* Names of those who are gone are known to nobody else. */
static void remember(struct network *n, const struct change *c)
{
	switch (c->what) {
	case PERSON_NONE:
		break;
	case PERSON_BAN:
		if (state_ban(n->st, &c->person) < 0)
			log_debug("the name of a banned computer is lost");
		break;
	case PERSON_UNBAN:
		state_unban(n->st, c->person.key);
		break;
	}
}

/*
 * Signs a changed copy of the present document. An epoch that was signed before is not used again, for one that the server
 * refused may be in the world all the same. Nor is the one after it, unless it follows that very document: who has the other
 * one would refuse it. Returns 0; -errno.
 */
static int sign_next(struct network *n, struct document *doc, struct buf *bytes)
{
	if (n->st->signed_epoch > doc->epoch)
		doc->epoch = n->st->signed_epoch + 1;
	int r = document_sign(doc, n->sup->config.state->id, bytes);
	if (r < 0)
		return err_up(r);
	n->st->signed_epoch = doc->epoch;
	return 0;
}

bool owner_forked(const struct network *n, const struct document *doc)
{
	return network_is_owner(n) && doc->epoch == n->st->doc->epoch &&
	       memcmp(doc->hash, n->st->doc->hash, DOCUMENT_HASH_SIZE) != 0;
}

int owner_sign_again(struct network *n)
{
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
	gv_cleanup(document_freep) struct document *doc = NULL;

	int r = document_dup(&doc, n->st->doc);
	if (r == 0) {
		n->st->signed_epoch = GV_MAX(n->st->signed_epoch, doc->epoch + 1);
		r = sign_next(n, doc, &bytes);
	}
	buf_deinit(&bytes);
	if (r == 0)
		r = network_adopt(n, GV_STEAL(doc));
	return r < 0 ? err_up(r) : 0;
}

/* The removal is in place here; what remains to be said is what became of it on the disk and at the server. */
static void end_removal(struct op *op, enum exit_code exit, const char *server_fate)
{
	struct change *c = op->data;

	if (c->unsaved < 0)
		op_fail(op, EXIT_CODE_FAILED,
		        "removed until govpnd ends: the state cannot be written: %s",
		        strerror(-c->unsaved));
	else if (exit == EXIT_CODE_OK)
		op_reply(op, GV_STEAL(c->reply));
	else
		op_fail(op, exit,
		        "removed here, and the others hear of it from this computer, but the server "
		        "%s",
		        server_fate);
}

static void on_removed(struct op *op, enum sigclient_result result, const struct msg *m)
{
	struct diag fate = {0};

	switch (result) {
	case SIGCLIENT_OK:
		end_removal(op, EXIT_CODE_OK, "");
		break;
	case SIGCLIENT_ERROR:
		diag_set(&fate, "refuses it: %s",
		         m->error.message != NULL ? m->error.message
		                                  : msg_error_text(m->error.code));
		end_removal(op, msg_error_exit_code(m->error.code), fate.text);
		break;
	case SIGCLIENT_TIMEOUT:
		end_removal(op, EXIT_CODE_NO_SERVER, "did not answer yet");
		break;
	case SIGCLIENT_DOWN:
	case SIGCLIENT_LOST:
		end_removal(op, EXIT_CODE_NO_SERVER, NOT_TOLD);
		break;
	}
}

static void on_updated(void *user, enum sigclient_result result, const struct msg *m)
{
	struct op *op = user;
	struct change *c = op->data;
	struct network *n = op->net;

	if (c->removes) {
		on_removed(op, result, m);
		return;
	}
	if (result == SIGCLIENT_DOWN || result == SIGCLIENT_ERROR) {
		op_fail_request(op, result, m);
		return;
	}
	/*
	 * Sent, but nobody knows whether it arrived: then it counts, and the server gets it again
	 * with the next connection. Only on top of what it was made from, or it would undo what
	 * came between.
	 */
	bool here = memcmp(n->st->doc->hash, c->doc->hash, DOCUMENT_HASH_SIZE) == 0;
	if (!here && memcmp(n->st->doc->hash, c->doc->previous, DOCUMENT_HASH_SIZE) != 0) {
		op_fail(op, EXIT_CODE_CONFLICT, "another change of %s came between: try again",
		        n->st->doc->name);
		return;
	}
	remember(n, c);
	int r = here ? supervisor_save(op->sup) : network_adopt(n, GV_STEAL(c->doc));
	if (r < 0)
		op_fail(op, EXIT_CODE_FAILED, "the state cannot be written: %s", strerror(-r));
	else if (result != SIGCLIENT_OK)
		op_fail_request(op, result, m);
	else
		op_reply(op, GV_STEAL(c->reply));
}

/* Sends the signed document. Returns 0; -errno. */
static int request_update(struct op *op, const struct buf *bytes)
{
	struct msg m = {.type = MSG_UPDATE_DOCUMENT};

	memcpy(m.update_document.network_id, op->net->st->doc->network_id, NETID_SIZE);
	m.update_document.document = (struct msg_blob){.p = bytes->data, .n = bytes->len};
	return server_request(op->server, &m, on_updated, op);
}

/* In place before the server hears of it. */
static void remove_now(struct op *op, const struct buf *bytes)
{
	struct change *c = op->data;
	struct network *n = op->net;

	remember(n, c);
	c->unsaved = network_adopt(n, GV_STEAL(c->doc));
	if (!n->signaling || request_update(op, bytes) < 0)
		end_removal(op, EXIT_CODE_NO_SERVER, NOT_TOLD);
}

/* Signs the changed copy and sends it; reply (moved) is for success. */
static void send_change(struct op *op, json_t *reply)
{
	struct change *c = op->data;
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);

	c->reply = reply;
	int r = sign_next(op->net, c->doc, &bytes);
	/* On the disk before anybody has it: after a restart too no second document may have its epoch. */
	int saved = r == 0 ? supervisor_save(op->sup) : r;
	if (r == 0 && c->removes)
		remove_now(op, &bytes); /* op may be gone */
	else if (saved < 0)
		op_fail(op, EXIT_CODE_FAILED, "the state cannot be written: %s", strerror(-saved));
	else if (request_update(op, &bytes) < 0)
		op_fail(op, EXIT_CODE_FAILED, "too much is on its way to the server");
	buf_deinit(&bytes);
}

static void fail_change(struct op *op, int r)
{
	if (r < 0)
		op_fail(op, EXIT_CODE_FAILED, "%s", strerror(-r));
	else if (r == DOCUMENT_FULL)
		op_fail(op, EXIT_CODE_CONFLICT, "the network's document is full");
	else
		op_fail(op, EXIT_CODE_USAGE, "that cannot be done to the owner");
}

/* The keys of all members but us. *out is owned by the caller. Returns 0; -ENOMEM. */
static int present_keys(const struct network *n, struct document_key **out, size_t *count)
{
	struct mesh_peer_status p;
	size_t total = n->phase == NETWORK_UP ? mesh_peer_count(n->mesh) : 0;
	struct document_key *keys = mem_new_array(struct document_key, total);

	if (keys == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < total; i++) {
		mesh_peer_status(n->mesh, i, &p);
		memcpy(keys[i].b, p.key, SIG_KEY_SIZE);
	}
	*out = keys;
	*count = total;
	return 0;
}

void verb_invite(struct network *n, const struct localapi_request *req, struct localapi_call *call)
{
	struct op *op = begin(n, NEEDS_SERVER, call);

	if (op == NULL)
		return;
	struct change *c = op->data;
	int64_t expires_s = req->expires_s > 0 ? req->expires_s : INVITE_EXPIRES_S;
	gv_cleanup(mem_freep) struct document_key *keys = NULL;
	size_t n_keys = 0;
	int r = 0;
	/* Without the list of members no invite can go: somebody may be in by it. */
	if (n->phase == NETWORK_UP) {
		r = present_keys(n, &keys, &n_keys);
		if (r == 0)
			r = docchange_make_room(c->doc, keys, n_keys, clock_unix_s());
	}
	if (r == 0)
		r = invite_add(c->doc, &n->st->server, req->uses, expires_s, c->link);
	if (r != 0) {
		fail_change(op, r);
		return;
	}
	char id[NETID_TEXT_SIZE];
	send_change(op, json_pack("{s:s,s:s,s:s,s:o,s:I}", "id", netid_text(c->doc->network_id, id),
	                          "name", c->doc->name, "invite", c->link, "uses",
	                          req->uses > 0 ? json_integer(req->uses) : json_null(),
	                          "expires_s", (json_int_t)expires_s));
}

/* The one member they mean. False: answered. */
static bool find_member(struct op *op, const char *text, struct mesh_peer_status *out)
{
	const struct network *n = op->net;
	struct mesh_peer_status p;
	unsigned count = 0;

	if (n->phase != NETWORK_UP) {
		op_fail(op, EXIT_CODE_FAILED, "connect to the network first: govpn up");
		return false;
	}
	for (size_t i = 0; i < mesh_peer_count(n->mesh); i++) {
		mesh_peer_status(n->mesh, i, &p);
		if (peer_matches(&p, text)) {
			*out = p;
			count++;
		}
	}
	if (count != 1)
		op_fail(op, EXIT_CODE_NOT_FOUND,
		        count == 0 ? "no computer is called %.80s"
		                   : "several computers are called %.80s: give the address",
		        text);
	return count == 1;
}

void verb_kick(struct network *n, const struct localapi_request *req, struct localapi_call *call)
{
	struct mesh_peer_status p;
	char key[ENC_BASE64_SIZE(SIG_KEY_SIZE)];
	struct op *op = begin(n, REMOVES, call);

	if (op == NULL || !find_member(op, req->peer, &p))
		return;
	struct change *c = op->data;
	gv_cleanup(mem_freep) struct document_key *keys = NULL;
	size_t n_keys = 0;
	int r = present_keys(n, &keys, &n_keys);
	if (r == 0)
		r = docchange_kick(c->doc, keys, n_keys, p.key,
		                   req->allow_rejoin ? DOCCHANGE_ALLOW_REJOIN : DOCCHANGE_BAN);
	if (r != 0) {
		fail_change(op, r);
		return;
	}
	if (!req->allow_rejoin) {
		c->what = PERSON_BAN;
		memcpy(c->person.key, p.key, sizeof(p.key));
		memcpy(c->person.name, p.admission->name, sizeof(c->person.name));
		memcpy(c->person.label, p.admission->label, sizeof(c->person.label));
		c->person.ip4 = p.ip4;
	}
	enc_base64url(key, p.key, sizeof(p.key));
	send_change(op, json_pack("{s:s,s:s,s:b}", "id", key, "name", p.admission->name, "banned",
	                          (int)!req->allow_rejoin));
}

/* The banned computer they mean: by key, or by what it was called. Returns how many fit. */
static unsigned find_banned(const struct network *n, const char *text, struct state_banned *out)
{
	struct netaddr a;
	size_t len = 0;
	unsigned count = 0;
	bool is_ip = netaddr_parse_ip(text, &a);

	*out = (struct state_banned){0};
	if (dec_base64url(text, strlen(text), out->key, sizeof(out->key), &len) &&
	    len == sizeof(out->key))
		return 1;
	for (size_t i = 0; i < n->st->n_banned; i++) {
		const struct state_banned *b = &n->st->banned[i];
		if (strcmp(b->name, text) != 0 && strcmp(b->label, text) != 0 &&
		    !(is_ip && netaddr_ip_equal(&a, &b->ip4)))
			continue;
		*out = *b;
		count++;
	}
	return count;
}

void verb_unban(struct network *n, const struct localapi_request *req, struct localapi_call *call)
{
	char key[ENC_BASE64_SIZE(SIG_KEY_SIZE)];
	struct op *op = begin(n, NEEDS_SERVER, call);

	if (op == NULL)
		return;
	struct change *c = op->data;
	unsigned count = find_banned(n, req->peer, &c->person);
	if (count > 1) {
		op_fail(op, EXIT_CODE_NOT_FOUND,
		        "several banned computers are called %.80s: give the key", req->peer);
		return;
	}
	if (count == 0 || document_unban(c->doc, c->person.key) != DOCUMENT_OK) {
		op_fail(op, EXIT_CODE_NOT_FOUND, "no banned computer is called %.80s", req->peer);
		return;
	}
	c->what = PERSON_UNBAN;
	enc_base64url(key, c->person.key, sizeof(c->person.key));
	send_change(op, json_pack("{s:s,s:s?}", "id", key, "name",
	                          c->person.name[0] != '\0' ? c->person.name : NULL));
}

void verb_rename(struct network *n, const struct localapi_request *req, struct localapi_call *call)
{
	struct diag diag = {0};
	char id[NETID_TEXT_SIZE];
	struct op *op = begin(n, NEEDS_SERVER, call);

	if (op == NULL)
		return;
	struct change *c = op->data;
	if (document_set_name(c->doc, req->name, &diag) != DOCUMENT_OK) {
		op_fail(op, EXIT_CODE_USAGE, "%s", diag.text);
		return;
	}
	send_change(op, json_pack("{s:s,s:s}", "id", netid_text(c->doc->network_id, id), "name",
	                          req->name));
}
