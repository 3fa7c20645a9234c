/* SPDX-License-Identifier: MIT */

#include "engine/client/supervisor_impl.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/client/docchange.h"

#include <errno.h>
#include <string.h>

LOG_MODULE("owner");

#define OP_TIMEOUT_US (20u * 1000000u)
/* Of an invite, unless they say otherwise. */
#define INVITE_EXPIRES_S (7 * 24 * 3600)

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

	bool removes; /* somebody: that is not for the server to decide */
};

static void change_free(struct op *op)
{
	struct change *c = op->data;

	document_free(c->doc);
	json_decref(c->reply);
	mem_wipe(c, sizeof(*c));
	mem_free(c);
}

/*
 * Begins a change of the network's document: an unsigned copy of it in an operation. NULL:
 * answered.
 */
static struct op *begin(struct network *n, struct localapi_call *call)
{
	if (!network_is_owner(n)) {
		localapi_fail(call, EXIT_CODE_NOT_ALLOWED, "only the owner of %s can do this",
		              n->st->doc->name);
		return NULL;
	}
	/*
	 * Connecting compares epochs, so a change that the server missed gets there before the next one
	 * is made: the server takes only what follows its own document.
	 */
	if (!n->signaling) {
		bool known = n->problem.text[0] != '\0';
		localapi_fail(call, known ? n->problem_exit : EXIT_CODE_NO_SERVER, "%s",
		              known ? n->problem.text
		              : n->phase == NETWORK_DOWN
		                      ? "connect to the network first: govpn up"
		                      : "there is no connection to the server now");
		return NULL;
	}
	struct op *op = op_new(n->sup, call, OP_TIMEOUT_US);
	if (op == NULL)
		return NULL;
	struct change *c = mem_new(struct change);
	if (c == NULL) {
		op_fail(op, EXIT_CODE_FAILED, "out of memory");
		return NULL;
	}
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

static void on_updated(void *user, enum sigclient_result result, const struct msg *m)
{
	struct op *op = user;
	struct change *c = op->data;
	struct network *n = op->net;

	if (result == SIGCLIENT_DOWN || (result == SIGCLIENT_ERROR && !c->removes)) {
		op_fail_request(op, result, m);
		return;
	}
	/*
	 * Sent, but nobody knows whether it arrived: then it counts, and the server gets it again
	 * with the next connection. Two different documents of one epoch must never exist. A removal
	 * counts even when the server refuses it: the others hear of it from us.
	 */
	if (document_follows(n->st->doc, c->doc)) {
		remember(n, c);
		int r = network_adopt(n, GV_STEAL(c->doc));
		if (r < 0) {
			op_fail(op, EXIT_CODE_FAILED, "the state cannot be written: %s",
			        strerror(-r));
			return;
		}
	}
	if (result == SIGCLIENT_ERROR)
		op_fail(op, msg_error_exit_code(m->error.code),
		        "removed here, and the others hear of it from this computer, but the server "
		        "refuses it: %s",
		        m->error.message != NULL ? m->error.message
		                                 : msg_error_text(m->error.code));
	else if (result != SIGCLIENT_OK)
		op_fail_request(op, result, m);
	else
		op_reply(op, GV_STEAL(c->reply));
}

/* Signs the changed copy and sends it; reply (moved) is for success. */
static void send_change(struct op *op, json_t *reply)
{
	struct change *c = op->data;
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
	struct msg m = {.type = MSG_UPDATE_DOCUMENT};

	c->reply = reply;
	/* One that the server refused may be in the world all the same: its epoch is used up. */
	c->doc->epoch = GV_MAX(c->doc->epoch, op->net->signed_epoch);
	int r = document_sign(c->doc, op->sup->config.state->id, &bytes);
	if (r == 0) {
		op->net->signed_epoch = c->doc->epoch;
		memcpy(m.update_document.network_id, c->doc->network_id, NETID_SIZE);
		m.update_document.document = (struct msg_blob){.p = bytes.data, .n = bytes.len};
		r = server_request(op->server, &m, on_updated, op);
	}
	buf_deinit(&bytes);
	if (r < 0)
		op_fail(op, EXIT_CODE_FAILED, "%s", strerror(-r));
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
	struct op *op = begin(n, call);

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
	struct op *op = begin(n, call);

	if (op == NULL || !find_member(op, req->peer, &p))
		return;
	struct change *c = op->data;
	gv_cleanup(mem_freep) struct document_key *keys = NULL;
	size_t n_keys = 0;
	c->removes = true;
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
	struct op *op = begin(n, call);

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
	struct op *op = begin(n, call);

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
