/* SPDX-License-Identifier: MIT */

#include "engine/client/supervisor_impl.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "crypto/identity.h"
#include "crypto/password.h"
#include "io/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("join");

/* Asking the server, stretching a password on a slow machine, connecting. */
#define OP_TIMEOUT_US (45u * 1000000u)
/* Labels that the server suggests; when others took those too, one from our key, which nobody else has. */
#define LABEL_TRIES     2
#define LABEL_KEY_BYTES 5
/* A network's first invite. */
#define FIRST_INVITE_S (7 * 24 * 3600)

/* One create or join under way. */
struct join {
	struct state_network *st; /* owned until it is in the state; doc is set late in a join */
	struct identity *invite;  /* owned; NULL in a create */
	uint8_t network_id[NETID_SIZE];
	char link[LINK_TEXT_SIZE]; /* for the reply; "" none */
	unsigned tries;
	bool has_password;
	char password[LOCALAPI_PASSWORD_MAX + 1];
	uint8_t seed[PASSWORD_SEED_SIZE];
	int derive_result;
};

static void join_free(struct op *op)
{
	struct join *j = op->data;

	state_network_free(j->st);
	identity_free(j->invite);
	mem_wipe(j, sizeof(*j));
	mem_free(j);
}

/* Begins: the operation, its connection and the empty network. NULL: answered. */
static struct op *begin(struct supervisor *s, const struct localapi_request *req,
                        struct localapi_call *call)
{
	struct op *op = op_new(s, call, OP_TIMEOUT_US);

	if (op == NULL)
		return NULL;
	struct join *j = mem_new(struct join);
	if (j == NULL) {
		op_fail(op, EXIT_CODE_FAILED, "out of memory");
		return NULL;
	}
	op->data = j;
	op->deinit = join_free;
	j->st = state_network_new();
	if (j->st == NULL || state_server_copy(&j->st->server, &req->server) < 0) {
		op_fail(op, EXIT_CODE_FAILED, "out of memory");
		return NULL;
	}
	j->has_password = req->password != NULL;
	if (j->has_password)
		(void)snprintf(j->password, sizeof(j->password), "%s",
		               req->password); /* length checked */
	if (s->config.state->n_networks == STATE_NETWORKS_MAX) {
		op_fail(op, EXIT_CODE_CONFLICT, "this computer is in %d networks already",
		        STATE_NETWORKS_MAX);
		return NULL;
	}
	op->server = server_get(s, &req->server);
	if (op->server == NULL) {
		op_fail(op, EXIT_CODE_FAILED, "too many servers at a time");
		return NULL;
	}
	return op;
}

static void fail_here(struct op *op, int r)
{
	op_fail(op, EXIT_CODE_FAILED, "%s", strerror(-r));
}

/*
 * --- the password, on another thread
 * ------------------------------------------------------------------
 */

static void derive_work(void *user)
{
	struct op *op = user;
	struct join *j = op->data;

	j->derive_result =
		password_to_seed(j->password, j->network_id, sizeof(j->network_id), j->seed);
}

static void after_derive(struct op *op);

static void derive_done(void *user)
{
	struct op *op = user;
	struct join *j = op->data;

	mem_wipe(j->password, sizeof(j->password));
	if (!op_worked(op))
		return;
	if (j->derive_result < 0)
		fail_here(op, j->derive_result);
	else
		after_derive(op);
}

static void derive(struct op *op)
{
	int r = worker_start(op->sup->config.loop, derive_work, derive_done, op);

	if (r < 0)
		fail_here(op, r);
	else
		op->busy = true;
}

/*
 * --- both
 * ---------------------------------------------------------------------------------------------
 */

int join_sign(struct admission *a, const struct supervisor *s, const struct identity *invite)
{
	int64_t now_s = clock_unix_s();

	memcpy(a->key, s->config.state->key, sizeof(a->key));
	supervisor_name(s, a->name);
	if (a->label[0] == '\0') {
		char label[64];
		text_to_label(a->name, label);
		memcpy(a->label, label, sizeof(a->label));
	}
	if (a->joined_unix_s == 0)
		a->joined_unix_s = now_s;
	/* Newer than the one before, even when the clock went back. */
	a->unix_s = GV_MAX(now_s, a->unix_s + 1);
	int r = invite != NULL ? admission_sign_invite(a, invite) : 0;
	if (r == 0)
		r = admission_sign(a, s->config.state->id);
	return r < 0 ? err_up(r) : 0;
}

static bool reply_when_up(struct op *op)
{
	const struct join *j = op->data;
	const struct network *n = op->net;

	if (n->phase == NETWORK_UP && n->signaling) {
		json_t *o = status_network(n);
		json_t *link = j != NULL && j->link[0] != '\0' ? json_string(j->link) : json_null();
		if (j != NULL)
			(void)json_object_set_new(o, "invite",
			                          link); /* without memory it is missing */
		else
			json_decref(link);
		op_reply(op, o);
		return true;
	}
	if (n->phase == NETWORK_WAITING && n->problem.text[0] != '\0' && !n->asked) {
		op_fail(op, n->problem_exit, "%s%s", j != NULL ? "joined, but not connected: " : "",
		        n->problem.text);
		return true;
	}
	return false;
}

void op_wait_up(struct op *op, struct network *n)
{
	op->net = n;
	op->net_changed = reply_when_up;
	(void)reply_when_up(op); /* whether it is answered already does not matter here */
}

/* The server took us: what it answered becomes a network of this computer, and connects. */
static void settle(struct op *op, const struct msg_network *m)
{
	struct supervisor *s = op->sup;
	struct join *j = op->data;
	struct state_network *st = j->st;
	struct network *n = network_find(s, j->network_id);

	if (m->code != NULL && !netid_parse_code(m->code, st->code))
		st->code[0] = '\0';
	st->ip4 = m->computer_ip;
	st->up = true;
	if (n != NULL) {
		/* Joined again: the new admission counts from now on, and the way to the server. */
		n->st->admission = st->admission;
		n->st->ip4 = st->ip4;
		if (!state_server_equal(&n->st->server, &st->server)) {
			struct state_server old = n->st->server;
			n->st->server = st->server;
			st->server = old;
			network_release_server(n);
			/* Answers to open offers would come over the former one. */
			if (n->phase == NETWORK_UP)
				mesh_set_signaling(n->mesh, false, clock_now_us());
		}
		n->st->up = true;
		n->signaling = false;
		if (document_follows(n->st->doc, st->doc))
			(void)network_adopt(n, GV_STEAL(st->doc)); /* logged */
	} else {
		int r = state_add(s->config.state, st);
		if (r == 0) {
			r = network_new(&n, s, st);
			if (r < 0)
				state_take(s->config.state, st);
			else
				j->st = NULL;
		}
		if (r < 0) {
			fail_here(op, r);
			return;
		}
	}
	int r = supervisor_save(s);
	if (r < 0) {
		/* Acknowledged is only what survives a restart. */
		op_fail(op, EXIT_CODE_FAILED, "the state cannot be written: %s", strerror(-r));
		network_forget(n);
		return;
	}
	op->net = n;
	if (j->invite != NULL)
		network_joined(n, m);
	else
		network_start(n);
	op_wait_up(op, n);
}

/*
 * --- create
 * -------------------------------------------------------------------------------------------
 */

static void on_created(void *user, enum sigclient_result result, const struct msg *m)
{
	struct op *op = user;
	struct join *j = op->data;

	if (result != SIGCLIENT_OK) {
		op_fail_request(op, result, m);
		return;
	}
	if (memcmp(m->network.network_id, j->network_id, NETID_SIZE) != 0 ||
	    !network_address_fits(j->st->doc, &m->network.computer_ip)) {
		op_fail(op, EXIT_CODE_FAILED, "the server's answer makes no sense");
		return;
	}
	settle(op, &m->network);
}

static int add_password(struct document *doc, const uint8_t seed[static PASSWORD_SEED_SIZE])
{
	gv_cleanup(identity_freep) struct identity *key = NULL;
	struct document_invite invite = {.kind = DOCUMENT_INVITE_PASSWORD};
	int r = identity_from_seed(&key, seed);

	if (r < 0)
		return err_up(r);
	identity_public(key, invite.key);
	r = document_add_invite(doc, &invite);
	return r < 0 ? err_up(r) : r;
}

int invite_add(struct document *doc, const struct state_server *at, uint32_t uses,
               int64_t expires_s, char link[static LINK_TEXT_SIZE])
{
	gv_cleanup(identity_freep) struct identity *key = NULL;
	struct link_invite l = {.server = at->at, .has_pin = at->trust == STATE_TRUST_PIN};
	struct document_invite invite = {
		.kind = DOCUMENT_INVITE_LINK,
		.uses = uses,
		.expires_unix_s = expires_s > 0 ? clock_unix_s() + expires_s : 0,
	};

	int r = identity_new(&key);
	if (r < 0)
		return err_up(r);
	identity_public(key, invite.key);
	identity_seed(key, l.seed);
	memcpy(l.network_id, doc->network_id, sizeof(l.network_id));
	memcpy(l.pin, at->pin, sizeof(l.pin));
	r = document_add_invite(doc, &invite);
	if (r == DOCUMENT_OK)
		(void)link_format(&l, link); /* returns its argument */
	mem_wipe(&l, sizeof(l));
	return r < 0 ? err_up(r) : r;
}

/* All is known: sign the first document and send it. */
static int send_create(struct op *op)
{
	struct join *j = op->data;
	struct document *doc = j->st->doc;
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
	uint8_t admission[ADMISSION_SIZE_MAX];
	struct msg m = {.type = MSG_CREATE_NETWORK};

	int r = invite_add(doc, &j->st->server, 0, FIRST_INVITE_S, j->link);
	if (r == 0 && j->has_password)
		r = add_password(doc, j->seed);
	if (r == 0)
		r = document_sign(doc, op->sup->config.state->id, &bytes);
	memcpy(j->st->admission.network_id, doc->network_id, NETID_SIZE);
	if (r == 0)
		r = join_sign(&j->st->admission, op->sup, NULL);
	if (r == 0) {
		size_t len = admission_encode(&j->st->admission, admission);
		m.create_network.admission = (struct msg_blob){.p = admission, .n = len};
		m.create_network.document = (struct msg_blob){.p = bytes.data, .n = bytes.len};
		r = server_request(op->server, &m, on_created, op);
	}
	buf_deinit(&bytes);
	return r < 0 ? err_up(r) : 0;
}

/* A subnet without a conflict on this computer; false: answered. */
static bool pick_subnet(struct op *op, const struct localapi_request *req, struct netprefix *out)
{
	struct subnet_facts facts;
	struct diag why = {0};
	int r = supervisor_facts(op->sup, NULL, &facts);

	if (r < 0) {
		fail_here(op, r);
		return false;
	}
	bool ok;
	if (req->has_subnet) {
		*out = req->subnet;
		ok = !subnet_conflicts(&facts, out, 0, &why);
	} else {
		ok = subnet_choose(&facts, &op->sup->rng, out);
		if (!ok)
			diag_set(&why,
			         "no free subnet was found in 10.0.0.0/8: give one by --subnet");
	}
	subnet_facts_deinit(&facts);
	if (!ok)
		op_fail(op, EXIT_CODE_CONFLICT, "%s", why.text);
	return ok;
}

void verb_create(struct supervisor *s, const struct localapi_request *req,
                 struct localapi_call *call)
{
	uint8_t salt[NETID_SALT_SIZE];
	struct netprefix subnet;
	struct diag diag = {0};
	struct op *op = begin(s, req, call);

	if (op == NULL || !pick_subnet(op, req, &subnet))
		return;
	struct join *j = op->data;
	rng_bytes(&s->rng, salt, sizeof(salt));
	int r = document_new(&j->st->doc, s->config.state->key, salt, req->name, &subnet, &diag);
	if (r == DOCUMENT_BAD) {
		op_fail(op, EXIT_CODE_USAGE, "%s", diag.text);
		return;
	}
	if (r == 0) {
		memcpy(j->network_id, j->st->doc->network_id, NETID_SIZE);
		if (j->has_password) {
			derive(op);
			return;
		}
		r = send_create(op);
	}
	if (r < 0)
		fail_here(op, r);
}

/*
 * --- join
 * ---------------------------------------------------------------------------------------------
 */

/* Joining went through, but the subnet cannot be used here: give the place back. */
static void give_back(struct op *op)
{
	const struct join *j = op->data;
	struct msg m = {.type = MSG_LEAVE_NETWORK};
	struct proof_leave leave = {.session = op->sup->session, .unix_s = clock_unix_s()};

	memcpy(leave.network_id, j->network_id, sizeof(leave.network_id));
	memcpy(leave.key, op->sup->config.state->key, sizeof(leave.key));
	int r = proof_leave_sign(&leave, op->sup->config.state->id);
	memcpy(m.leave_network.network_id, j->network_id, sizeof(m.leave_network.network_id));
	m.leave_network.session = leave.session;
	m.leave_network.unix_s = leave.unix_s;
	memcpy(m.leave_network.signature, leave.sig, sizeof(leave.sig));
	if (r == 0)
		r = server_send(op->server, &m);
	if (r < 0)
		log_debug("the place could not be given back: %s", strerror(-r));
}

/* Verifies the answer to JoinNetwork. False: answered. */
static bool check_joined(struct op *op, const struct msg_network *m)
{
	struct join *j = op->data;
	struct subnet_facts facts;
	struct diag diag = {0};
	const struct network *known = network_find(op->sup, j->network_id);

	int r = document_parse(&j->st->doc, m->document.p, m->document.n, j->network_id, &diag);
	/* What is known to be withdrawn does not come back by an older document. */
	if (r == DOCUMENT_OK && known != NULL && !document_follows(known->st->doc, j->st->doc))
		r = admission_verify(&j->st->admission, known->st->doc, &diag);
	if (r == DOCUMENT_OK)
		r = admission_verify(&j->st->admission, j->st->doc, &diag);
	if (r == 0 && !network_address_fits(j->st->doc, &m->computer_ip)) {
		diag_set(&diag, "the address is outside the subnet");
		r = 1;
	}
	if (r != 0) {
		op_fail(op, EXIT_CODE_FAILED, "the server's answer is not to be trusted: %s",
		        r < 0 ? strerror(-r) : diag.text);
		return false;
	}
	if (known != NULL && known->phase == NETWORK_UP)
		return true; /* its own interface would be found in the way */
	if (supervisor_facts(op->sup, known, &facts) < 0)
		return true; /* nothing known against it */
	bool conflict = subnet_conflicts(&facts, &j->st->doc->subnet, 0, &diag);
	subnet_facts_deinit(&facts);
	if (conflict) {
		give_back(op);
		op_fail(op, EXIT_CODE_CONFLICT, "%s", diag.text);
	}
	return !conflict;
}

static int send_join(struct op *op);

/* Many computers of one name that join at once take each other's suggestions. */
static void choose_label(struct op *op, const char *suggestion)
{
	struct join *j = op->data;
	char *label = j->st->admission.label, suffix[ENC_BASE32_SIZE(LABEL_KEY_BYTES)];
	size_t size = sizeof(j->st->admission.label);

	if (j->tries++ < LABEL_TRIES && suggestion != NULL && text_is_label(suggestion)) {
		(void)snprintf(label, size, "%s", suggestion); /* a label fits */
		return;
	}
	j->tries = LABEL_TRIES + 1;
	enc_base32(suffix, op->sup->config.state->key, LABEL_KEY_BYTES);
	size_t keep = strnlen(label, size - sizeof(suffix) - 1);
	(void)snprintf(label + keep, size - keep, "-%s", suffix); /* kept short enough */
}

static void on_joined(void *user, enum sigclient_result result, const struct msg *m)
{
	struct op *op = user;
	struct join *j = op->data;

	if (result == SIGCLIENT_ERROR && m->error.code == MSG_ERROR_NAME_TAKEN &&
	    j->tries <= LABEL_TRIES) {
		choose_label(op, m->error.suggestion);
		int r = send_join(op);
		if (r < 0)
			fail_here(op, r);
		return;
	}
	if (result == SIGCLIENT_ERROR && m->error.code == MSG_ERROR_INVITE_REFUSED &&
	    j->has_password)
		op_fail(op, EXIT_CODE_REFUSED, "no such network, or a wrong password");
	else if (result != SIGCLIENT_OK)
		op_fail_request(op, result, m);
	else if (check_joined(op, &m->network))
		settle(op, &m->network);
}

static int send_join(struct op *op)
{
	struct join *j = op->data;
	uint8_t bytes[ADMISSION_SIZE_MAX];
	struct msg m = {.type = MSG_JOIN_NETWORK};

	memcpy(j->st->admission.network_id, j->network_id, NETID_SIZE);
	int r = join_sign(&j->st->admission, op->sup, j->invite);
	if (r < 0)
		return err_up(r);
	size_t len = admission_encode(&j->st->admission, bytes);
	memcpy(m.join_network.network_id, j->network_id, NETID_SIZE);
	m.join_network.admission = (struct msg_blob){.p = bytes, .n = len};
	r = server_request(op->server, &m, on_joined, op);
	return r < 0 ? err_up(r) : 0;
}

static void after_derive(struct op *op)
{
	struct join *j = op->data;
	int r;

	if (j->st->doc != NULL) {
		r = send_create(op);
	} else {
		r = identity_from_seed(&j->invite, j->seed);
		if (r == 0)
			r = send_join(op);
	}
	if (r < 0)
		fail_here(op, r);
}

static void on_found(void *user, enum sigclient_result result, const struct msg *m)
{
	struct op *op = user;
	struct join *j = op->data;

	if (result != SIGCLIENT_OK) {
		op_fail_request(op, result, m);
		return;
	}
	memcpy(j->network_id, m->network_found.network_id, NETID_SIZE);
	derive(op);
}

static void join_by_password(struct op *op, const char *network)
{
	struct join *j = op->data;
	char code[NETID_CODE_SIZE];
	struct msg m = {.type = MSG_LOOKUP_NETWORK, .lookup_network = {.code = code}};

	if (netid_parse(network, j->network_id)) {
		derive(op);
		return;
	}
	if (!netid_parse_code(network, code)) {
		op_fail(op, EXIT_CODE_USAGE, "%.80s is no network id or code", network);
		return;
	}
	int r = server_request(op->server, &m, on_found, op);
	if (r < 0)
		fail_here(op, r);
}

void verb_join(struct supervisor *s, const struct localapi_request *req, struct localapi_call *call)
{
	struct op *op = begin(s, req, call);

	if (op == NULL)
		return;
	struct join *j = op->data;
	if (!req->has_link) {
		join_by_password(op, req->network);
		return;
	}
	memcpy(j->network_id, req->link.network_id, NETID_SIZE);
	(void)link_format(&req->link, j->link); /* returns its argument */
	struct network *known = network_find(s, j->network_id);
	if (known != NULL && known->phase == NETWORK_UP && known->signaling) {
		op_wait_up(op, known); /* a member already, and connected */
		return;
	}
	int r = identity_from_seed(&j->invite, req->link.seed);
	if (r == 0)
		r = send_join(op);
	if (r < 0)
		fail_here(op, r);
}
