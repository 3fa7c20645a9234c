/* SPDX-License-Identifier: MIT */

#include "engine/client/localapi.h"

#include "base/buf.h"
#include "base/enc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/client/dump.h"
#include "io/unix.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("localapi");

/* What a verb needs and takes; anything else in the object is ignored. */
#define NEED_NAME    (1u << 0)
#define NEED_PEER    (1u << 1)
#define NEED_NETWORK (1u << 2)
#define NEED_SERVER  (1u << 3)
#define NEED_JOIN    (1u << 4) /* a link, or network, server and password */
#define NEED_SWITCH  (1u << 5)

/* Of networks and of computers. */
#define NAME_MAX_BYTES 64
_Static_assert(NAME_MAX_BYTES == DOCUMENT_NAME_MAX && NAME_MAX_BYTES == ADMISSION_NAME_MAX,
               "both kinds of names have the same limit");

static const struct verb {
	const char *word;
	unsigned needs;
} verbs[LOCALAPI_VERBS] = {
	[LOCALAPI_CREATE] = {"create", NEED_NAME | NEED_SERVER},
	[LOCALAPI_JOIN] = {"join", NEED_JOIN},
	[LOCALAPI_INVITE] = {"invite", 0},
	[LOCALAPI_LIST] = {"list", 0},
	[LOCALAPI_STATUS] = {"status", 0},
	[LOCALAPI_UP] = {"up", 0},
	[LOCALAPI_DOWN] = {"down", 0},
	[LOCALAPI_LEAVE] = {"leave", NEED_NETWORK},
	[LOCALAPI_PING] = {"ping", NEED_PEER},
	[LOCALAPI_KICK] = {"kick", NEED_NETWORK | NEED_PEER},
	[LOCALAPI_UNBAN] = {"unban", NEED_NETWORK | NEED_PEER},
	[LOCALAPI_RENAME] = {"rename", NEED_NETWORK | NEED_NAME},
	[LOCALAPI_SET_NAME] = {"set-name", NEED_NAME},
	[LOCALAPI_SET_BROADCAST] = {"set-broadcast", NEED_NETWORK | NEED_SWITCH},
	[LOCALAPI_VERSION] = {"version", 0},
};

static const char *const exit_words[] = {
	"ok",      "failed",   "usage",       "no_daemon", "not_allowed", "not_found",
	"refused", "conflict", "unreachable", "no_server", "degraded",
};

/* Fields of the wrong type must not count as absent: `down` without a network means every network. */
static const char *const text_fields[] = {
	"network", "peer", "name", "password", "link", "server", "pin", "ca", "subnet",
};
static const char *const switch_fields[] = {"allow_rejoin", "force", "insecure"};

static int bad(struct diag *diag, const char *why)
{
	diag_set(diag, "%s", why);
	return LOCALAPI_BAD;
}

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

/* An integer from 0 to max; absent or null is 0. */
static int number_of(const json_t *o, const char *key, json_int_t max, json_int_t *out,
                     struct diag *diag)
{
	const json_t *v = json_object_get(o, key);

	*out = 0;
	if (v == NULL || json_is_null(v))
		return LOCALAPI_OK;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max) {
		diag_set(diag, "%s must be a number from 0 to %lld", key, (long long)max);
		return LOCALAPI_BAD;
	}
	*out = json_integer_value(v);
	return LOCALAPI_OK;
}

static int check_types(const json_t *o, struct diag *diag)
{
	for (size_t i = 0; i < GV_ARRAY_SIZE(text_fields); i++) {
		const json_t *v = json_object_get(o, text_fields[i]);
		if (v != NULL && !json_is_null(v) && !json_is_string(v)) {
			diag_set(diag, "%s must be text", text_fields[i]);
			return LOCALAPI_BAD;
		}
	}
	for (size_t i = 0; i < GV_ARRAY_SIZE(switch_fields); i++) {
		const json_t *v = json_object_get(o, switch_fields[i]);
		if (v != NULL && !json_is_null(v) && !json_is_boolean(v)) {
			diag_set(diag, "%s must be true or false", switch_fields[i]);
			return LOCALAPI_BAD;
		}
	}
	return LOCALAPI_OK;
}

static int parse_trust(struct localapi_request *r, struct diag *diag)
{
	const char *pin = text_of(r->json, "pin"), *ca = text_of(r->json, "ca");
	bool insecure = json_is_true(json_object_get(r->json, "insecure"));
	size_t len = 0;

	if ((pin != NULL) + (ca != NULL) + insecure > 1)
		return bad(diag, "only one of --ca, --pin and --insecure may be given");
	if (insecure) {
		r->server.trust = STATE_TRUST_INSECURE;
	} else if (pin != NULL) {
		r->server.trust = STATE_TRUST_PIN;
		if (!dec_base64url(pin, strlen(pin), r->server.pin, sizeof(r->server.pin), &len) ||
		    len != sizeof(r->server.pin))
			return bad(diag, "the pin is not the 43 letters that the server shows");
	} else if (ca != NULL) {
		if (strlen(ca) > STATE_CA_MAX || strstr(ca, "-----BEGIN CERTIFICATE-----") == NULL)
			return bad(diag, "the CA file is no PEM certificate");
		r->server.trust = STATE_TRUST_CA;
		r->server.ca_pem = mem_strdup(ca);
		if (r->server.ca_pem == NULL)
			return bad(diag, "out of memory");
	}
	return LOCALAPI_OK;
}

/* Without TLS anybody on the way reads who talks to whom, and may pose as the server. */
static int check_scheme(const struct state_server *s, struct diag *diag)
{
	struct netaddr a;
	bool local = strcmp(s->at.host, "localhost") == 0 ||
	             (netaddr_parse_ip(s->at.host, &a) && netaddr_is_loopback(&a));

	if (!s->at.tls && !local && s->trust != STATE_TRUST_INSECURE)
		return bad(diag,
		           "http:// is for servers on this computer only; use https://, or add "
		           "--insecure");
	return LOCALAPI_OK;
}

static int parse_server(struct localapi_request *r, struct diag *diag)
{
	const char *url = text_of(r->json, "server");
	int res = parse_trust(r, diag);

	if (res != LOCALAPI_OK || url == NULL)
		return res;
	if (link_server_parse(url, &r->server.at, diag) != LINK_OK)
		return LOCALAPI_BAD;
	r->has_server = true;
	return check_scheme(&r->server, diag);
}

static int parse_link(struct localapi_request *r, struct diag *diag)
{
	const char *text = text_of(r->json, "link");

	if (text == NULL)
		return LOCALAPI_OK;
	if (link_parse(text, &r->link, diag) != LINK_OK)
		return LOCALAPI_BAD;
	r->has_link = true;
	r->server.at = r->link.server;
	if (r->link.has_pin && r->server.trust == STATE_TRUST_SYSTEM) {
		r->server.trust = STATE_TRUST_PIN;
		memcpy(r->server.pin, r->link.pin, sizeof(r->server.pin));
	}
	return check_scheme(&r->server, diag);
}

static int parse_names(struct localapi_request *r, unsigned needs, struct diag *diag)
{
	if ((needs & NEED_NAME) != 0 && r->name == NULL)
		return bad(diag, "a name is missing");
	if ((needs & NEED_NAME) != 0 && !text_is_name(r->name, NAME_MAX_BYTES))
		return bad(diag,
		           "a name has 1 to 64 bytes of text without control characters, and no "
		           "space at its ends");
	if ((needs & NEED_PEER) != 0 && r->peer == NULL)
		return bad(diag, "the other computer is missing");
	if ((needs & NEED_NETWORK) != 0 && r->network == NULL)
		return bad(diag, "the network is missing");
	return LOCALAPI_OK;
}

static int parse_password(struct localapi_request *r, struct diag *diag)
{
	size_t len = r->password != NULL ? strlen(r->password) : 0;

	if (r->password == NULL)
		return LOCALAPI_OK;
	if (len == 0)
		return bad(diag, "the password is empty");
	if (len > LOCALAPI_PASSWORD_MAX || !text_is_utf8(r->password, len))
		return bad(diag, "the password is too long or no UTF-8 text");
	if (r->verb == LOCALAPI_CREATE && len < LOCALAPI_PASSWORD_MIN)
		return bad(diag, "a password has at least 10 characters");
	return LOCALAPI_OK;
}

static int parse_fields(struct localapi_request *r, unsigned needs, struct diag *diag)
{
	const char *subnet = text_of(r->json, "subnet");
	json_int_t uses, expires;
	int res = parse_names(r, needs, diag);

	if (res == LOCALAPI_OK)
		res = parse_server(r, diag);
	if (res == LOCALAPI_OK)
		res = parse_link(r, diag);
	if (res == LOCALAPI_OK)
		res = parse_password(r, diag);
	if (res == LOCALAPI_OK)
		res = number_of(r->json, "uses", LOCALAPI_USES_MAX, &uses, diag);
	if (res == LOCALAPI_OK)
		res = number_of(r->json, "expires_s", LOCALAPI_EXPIRES_MAX, &expires, diag);
	if (res != LOCALAPI_OK)
		return res;
	r->uses = (uint32_t)uses;
	r->expires_s = expires;
	if ((needs & NEED_SERVER) != 0 && !r->has_server)
		return bad(diag, "--server URL is missing");
	if ((needs & NEED_JOIN) != 0 && !r->has_link &&
	    (r->network == NULL || !r->has_server || r->password == NULL))
		return bad(diag,
		           "give an invite link, or a network's id or code with --server and a "
		           "password");
	if (subnet != NULL &&
	    (!netprefix_parse(subnet, &r->subnet) || r->subnet.addr.family != NETADDR_IP4 ||
	     r->subnet.bits < DOCUMENT_BITS_MIN || r->subnet.bits > DOCUMENT_BITS_MAX))
		return bad(diag, "the subnet must be like 10.1.2.0/24, from /16 to /30");
	r->has_subnet = subnet != NULL;
	const json_t *on = json_object_get(r->json, "on");
	if ((needs & NEED_SWITCH) != 0 && !json_is_boolean(on))
		return bad(diag, "on or off is missing");
	r->on = json_is_true(on);
	return LOCALAPI_OK;
}

int localapi_parse(struct localapi_request *out, const char *line, size_t len, struct diag *diag)
{
	struct localapi_request r = {0};
	json_error_t error;

	r.json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(r.json)) {
		json_decref(r.json);
		return bad(diag, "a request is one JSON object on one line");
	}
	const char *word = text_of(r.json, "verb");
	unsigned i = 0;
	while (word != NULL && i < LOCALAPI_VERBS && strcmp(verbs[i].word, word) != 0)
		i++;
	int res = LOCALAPI_BAD;
	if (word == NULL || i == LOCALAPI_VERBS) {
		diag_set(diag, "there is no such verb; this govpnd may be older than your govpn");
	} else {
		r.verb = (enum localapi_verb)i;
		r.network = text_of(r.json, "network");
		r.peer = text_of(r.json, "peer");
		r.name = text_of(r.json, "name");
		r.password = text_of(r.json, "password");
		r.allow_rejoin = json_is_true(json_object_get(r.json, "allow_rejoin"));
		r.force = json_is_true(json_object_get(r.json, "force"));
		res = check_types(r.json, diag);
		if (res == LOCALAPI_OK)
			res = parse_fields(&r, verbs[i].needs, diag);
	}
	if (res != LOCALAPI_OK) {
		localapi_request_deinit(&r);
		return res;
	}
	*out = r;
	return LOCALAPI_OK;
}

void localapi_request_deinit(struct localapi_request *r)
{
	static const char *const secrets[] = {"password", "link"};

	for (size_t i = 0; i < GV_ARRAY_SIZE(secrets); i++) {
		const json_t *v = json_object_get(r->json, secrets[i]);
		if (json_is_string(v) && json_string_length(v) > 0) {
			union {
				const char *in;
				char *out;
			} text = {.in = json_string_value(v)};

			mem_wipe(text.out, json_string_length(v));
		}
	}
	state_server_deinit(&r->server);
	json_decref(r->json);
	mem_wipe(r, sizeof(*r));
}

/*
 * --- the socket
 * --------------------------------------------------------------------------------------
 */

struct localapi {
	struct unix_server *server;
	localapi_fn fn;
	void *user;
	struct localapi_call *calls;
};

struct localapi_call {
	struct localapi *api; /* NULL: the socket was closed */
	struct localapi_call *next;
	struct unix_client *client; /* NULL: gone */
};

static void call_free(struct localapi_call *call)
{
	if (call->api != NULL) {
		for (struct localapi_call **p = &call->api->calls; *p != NULL; p = &(*p)->next) {
			if (*p == call) {
				*p = call->next;
				break;
			}
		}
	}
	mem_free(call);
}

static void send_object(struct unix_client *client, json_t *object)
{
	static const char no_memory[] =
		"{\"ok\":false,\"code\":\"failed\",\"exit\":1,\"message\":\"out of memory\"}";
	struct buf line = BUF_INIT(UNIX_OUT_MAX);
	int r = -ENOMEM;

	if (object != NULL && dump_json(object, JSON_COMPACT, &line) == 0)
		r = unix_client_send(client, buf_str(&line), line.len);
	if (r == -ENOMEM)
		r = unix_client_send(client, no_memory, sizeof(no_memory) - 1);
	/* Whoever asked must not wait for ever. */
	if (r < 0)
		unix_client_close(client);
	buf_deinit(&line);
	json_decref(object);
}

void localapi_reply(struct localapi_call *call, json_t *object)
{
	if (object == NULL)
		object = json_object();
	if (call->client != NULL && json_object_set_new(object, "ok", json_true()) == 0)
		send_object(call->client, object);
	else
		json_decref(object);
	call_free(call);
}

static void send_failure(struct unix_client *client, enum exit_code exit, const char *message)
{
	send_object(client, json_pack("{s:b,s:s,s:i,s:s}", "ok", 0, "code", exit_words[exit],
	                              "exit", (int)exit, "message", message));
}

void localapi_fail(struct localapi_call *call, enum exit_code exit, const char *fmt, ...)
{
	char message[400];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, args); /* may be cut off */
	va_end(args);
	/* A cut may have split a letter. */
	for (size_t n = strlen(message); n > 0 && !text_is_utf8(message, n); n--)
		message[n - 1] = '\0';
	if (call->client != NULL)
		send_failure(call->client, exit, message);
	call_free(call);
}

static void on_line(void *user, struct unix_client *client, char *line, size_t len)
{
	struct localapi *api = user;
	struct localapi_request req;
	struct diag diag = {0};

	for (const struct localapi_call *c = api->calls; c != NULL; c = c->next) {
		if (c->client == client) {
			send_failure(client, EXIT_CODE_FAILED,
			             "wait for the reply before you ask again");
			return;
		}
	}
	int r = localapi_parse(&req, line, len, &diag);
	mem_wipe(line, len);
	if (r != LOCALAPI_OK) {
		send_failure(client, EXIT_CODE_USAGE, diag.text);
		return;
	}
	struct localapi_call *call = mem_new(struct localapi_call);
	if (call == NULL) {
		send_failure(client, EXIT_CODE_FAILED, "out of memory");
	} else {
		call->api = api;
		call->client = client;
		call->next = api->calls;
		api->calls = call;
		log_debug("uid %u asks: %s", (unsigned)unix_client_cred(client)->uid,
		          verbs[req.verb].word);
		api->fn(api->user, &req, call);
	}
	localapi_request_deinit(&req);
}

static void on_gone(void *user, struct unix_client *client)
{
	struct localapi *api = user;

	for (struct localapi_call *c = api->calls; c != NULL; c = c->next) {
		if (c->client == client)
			c->client = NULL;
	}
}

int localapi_new(struct localapi **out, struct loop *loop, int fd_moved, const char *path,
                 localapi_fn fn, void *user)
{
	struct localapi *api = mem_new(struct localapi);

	if (api == NULL)
		return err_here(-ENOMEM);
	api->fn = fn;
	api->user = user;
	int r = unix_server_new(&api->server, loop, fd_moved, path, on_line, on_gone, api);
	if (r < 0) {
		mem_free(api);
		return err_up(r);
	}
	*out = api;
	return 0;
}

void localapi_free(struct localapi *api)
{
	if (api == NULL)
		return;
	unix_server_close(api->server);
	for (struct localapi_call *c = api->calls; c != NULL; c = c->next) {
		c->api = NULL;
		c->client = NULL;
	}
	mem_free(api);
}
