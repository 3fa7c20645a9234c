/* SPDX-License-Identifier: MIT */

#include "engine/client/supervisor_impl.h"

#include "base/enc.h"

#include <string.h>

static bool net_matches(const struct network *n, const char *text)
{
	uint8_t id[NETID_SIZE];
	char code[NETID_CODE_SIZE];
	const struct document *doc = n->st->doc;

	if (netid_parse(text, id) && memcmp(id, doc->network_id, sizeof(id)) == 0)
		return true;
	if (n->st->code[0] != '\0' && netid_parse_code(text, code) &&
	    strcmp(code, n->st->code) == 0)
		return true;
	return strcmp(text, doc->name) == 0;
}

struct network *find_net(const struct supervisor *s, const char *text, struct localapi_call *call)
{
	struct network *found = NULL;
	unsigned count = 0;

	for (size_t i = 0; i < s->n_nets; i++) {
		if (s->nets[i]->remove || (text != NULL && !net_matches(s->nets[i], text)))
			continue;
		found = s->nets[i];
		count++;
	}
	if (count == 1)
		return found;
	if (text == NULL)
		localapi_fail(call, count == 0 ? EXIT_CODE_NOT_FOUND : EXIT_CODE_USAGE,
		              count == 0 ? "this computer is in no network"
		                         : "this computer is in several networks: say which");
	else if (count == 0)
		localapi_fail(call, EXIT_CODE_NOT_FOUND, "no network is called %.80s", text);
	else
		localapi_fail(call, EXIT_CODE_NOT_FOUND,
		              "%u networks are called %.80s: give the id or the code", count, text);
	return NULL;
}

bool peer_matches(const struct mesh_peer_status *p, const char *text)
{
	uint8_t key[SIG_KEY_SIZE];
	struct netaddr a;
	size_t len = 0;

	if (strcmp(text, p->admission->name) == 0 || strcmp(text, p->admission->label) == 0)
		return true;
	if (netaddr_parse_ip(text, &a) &&
	    (netaddr_ip_equal(&a, &p->ip4) || netaddr_ip_equal(&a, &p->ip6)))
		return true;
	return dec_base64url(text, strlen(text), key, sizeof(key), &len) && len == sizeof(key) &&
	       memcmp(key, p->key, sizeof(key)) == 0;
}

static void reply_or_fail(struct localapi_call *call, json_t *object)
{
	if (object != NULL)
		localapi_reply(call, object);
	else
		localapi_fail(call, EXIT_CODE_FAILED, "out of memory");
}

/* Verbs about all networks, or none. False: it is about one. */
static bool general_verb(struct supervisor *s, const struct localapi_request *req,
                         struct localapi_call *call)
{
	switch (req->verb) {
	case LOCALAPI_CREATE:
		verb_create(s, req, call);
		return true;
	case LOCALAPI_JOIN:
		verb_join(s, req, call);
		return true;
	case LOCALAPI_LIST:
		reply_or_fail(call, status_list(s));
		return true;
	case LOCALAPI_STATUS:
		if (req->network != NULL)
			return false;
		reply_or_fail(call, status_all(s, NULL));
		return true;
	case LOCALAPI_PING:
		verb_ping(s, req, call);
		return true;
	case LOCALAPI_SET_NAME:
		verb_set_name(s, req, call);
		return true;
	case LOCALAPI_VERSION:
		reply_or_fail(call, status_version(s));
		return true;
	default:
		return false;
	}
}

static void network_verb(struct network *n, const struct localapi_request *req,
                         struct localapi_call *call)
{
	switch (req->verb) {
	case LOCALAPI_STATUS:
		reply_or_fail(call, status_all(n->sup, n));
		break;
	case LOCALAPI_UP:
		verb_up(n, call);
		break;
	case LOCALAPI_DOWN:
		verb_down(n, call);
		break;
	case LOCALAPI_LEAVE:
		verb_leave(n, req, call);
		break;
	case LOCALAPI_SET_BROADCAST:
		verb_set_broadcast(n, req, call);
		break;
	case LOCALAPI_INVITE:
		verb_invite(n, req, call);
		break;
	case LOCALAPI_KICK:
		verb_kick(n, req, call);
		break;
	case LOCALAPI_UNBAN:
		verb_unban(n, req, call);
		break;
	case LOCALAPI_RENAME:
		verb_rename(n, req, call);
		break;
	default:
		localapi_fail(call, EXIT_CODE_USAGE, "this verb is not known here");
		break;
	}
}

void supervisor_request(void *user, const struct localapi_request *req, struct localapi_call *call)
{
	struct supervisor *s = user;

	if (s->stopping) {
		localapi_fail(call, EXIT_CODE_NO_DAEMON, "govpnd is stopping");
		return;
	}
	if (general_verb(s, req, call))
		return;
	struct network *n = find_net(s, req->network, call);
	if (n != NULL)
		network_verb(n, req, call);
}
