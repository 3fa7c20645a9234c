/* SPDX-License-Identifier: MIT */

/*
 * rtc_parse: what our parsers understand of each line {"kind":"candidate"|"stun"|"sdp","text":...} of standard input, as
 * one line of JSON each, for tests/interop/parsers.py. STUN messages come as hexadecimal digits, with a "key".
 */

#include "proto/ice/cand.h"
#include "proto/sdp/sdp.h"
#include "proto/stun/msg.h"

#include "base/enc.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE 65536

static json_t *refused(const char *why)
{
	return json_pack("{s:b,s:s}", "ok", 0, "why", why);
}

static json_t *hex(const void *data, size_t len)
{
	char text[2 * STUN_MAX_SIZE + 1];

	enc_hex(text, data, len);
	return json_string(text);
}

static json_t *address(const struct netaddr *a)
{
	char text[NETADDR_TEXT_SIZE];

	return a->family == NETADDR_NONE ? json_null() : json_string(netaddr_text(a, text));
}

static json_t *candidate_meaning(const struct ice_cand *c)
{
	return json_pack("{s:b,s:s,s:o,s:I,s:s}", "ok", 1, "type", ice_cand_type_name(c->type),
	                 "address", address(&c->addr), "priority", (json_int_t)c->priority,
	                 "foundation", c->foundation);
}

static json_t *candidate(const char *text)
{
	struct ice_cand c;
	int r = ice_cand_parse(text, strlen(text), &c);

	if (r != ICE_CAND_OK)
		return refused(r == ICE_CAND_MALFORMED ? "malformed" : "unused");
	return candidate_meaning(&c);
}

static json_t *stun(const char *text, const char *key)
{
	static const char *const classes[] = {"request", "indication", "success", "error"};
	uint8_t data[STUN_MAX_SIZE + 1];
	struct stun_msg m;
	size_t len;

	if (!dec_hex(text, strlen(text), data, sizeof(data), &len) ||
	    stun_msg_parse(data, len, &m) != STUN_MSG_OK)
		return refused("malformed");
	json_t *o = json_pack("{s:b,s:s,s:i,s:o}", "ok", 1, "class", classes[m.class], "method",
	                      m.method, "id", hex(m.id, sizeof(m.id)));
	json_object_set_new(o, "username",
	                    m.username == NULL ? json_null() : hex(m.username, m.username_len));
	json_object_set_new(o, "mapped", address(&m.mapped));
	json_object_set_new(o, "error", json_integer(m.error_code));
	json_object_set_new(o, "priority", json_integer(m.has_priority ? m.priority : 0));
	json_object_set_new(o, "use_candidate", json_boolean(m.use_candidate));
	json_object_set_new(o, "controlling", json_boolean(m.has_controlling));
	json_object_set_new(o, "controlled", json_boolean(m.has_controlled));
	json_object_set_new(o, "integrity", json_boolean(stun_msg_verify(&m, key, strlen(key))));
	json_object_set_new(o, "fingerprint", json_boolean(m.has_fingerprint));
	return o;
}

static json_t *sdp(const char *text)
{
	static const char *const setups[] = {"actpass", "active", "passive"};
	struct sdp s;

	if (sdp_parse(text, strlen(text), &s) != SDP_OK)
		return refused("malformed");
	json_t *o =
		json_pack("{s:b,s:s,s:s,s:o,s:s,s:s,s:i,s:I}", "ok", 1, "ufrag", s.ice_ufrag, "pwd",
	                  s.ice_pwd, "fingerprint", hex(s.fingerprint, sizeof(s.fingerprint)),
	                  "setup", setups[s.setup], "mid", s.mid, "sctp_port", s.sctp_port,
	                  "max_message", (json_int_t)s.max_message_size);
	json_t *candidates = json_array();
	for (size_t i = 0; i < s.candidate_count; i++)
		json_array_append_new(candidates, candidate_meaning(&s.candidates[i]));
	json_object_set_new(o, "candidates", candidates);
	return o;
}

int main(void)
{
	static char line[LINE_SIZE];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		json_t *o = json_loads(line, 0, NULL);
		const char *kind = json_string_value(json_object_get(o, "kind"));
		const char *text = json_string_value(json_object_get(o, "text"));
		const char *key = json_string_value(json_object_get(o, "key"));
		if (kind == NULL || text == NULL)
			return 1;
		json_t *meaning = strcmp(kind, "candidate") == 0             ? candidate(text)
		                  : strcmp(kind, "stun") == 0 && key != NULL ? stun(text, key)
		                                                             : sdp(text);
		(void)json_dumpf(meaning, stdout, JSON_COMPACT);
		(void)putchar('\n');
		json_decref(meaning);
		json_decref(o);
	}
	return 0;
}
