/* SPDX-License-Identifier: MIT */

#include "base/diag.h"
#include "base/enc.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "proto/sig/msg.h"
#include "proto/sig/msg_impl.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#define TIME_MAX ((INT64_C(1) << 53) - 1)

/* One allocation of a parsed message. */
struct msg_chunk {
	struct msg_chunk *next;
	_Alignas(16) uint8_t bytes[];
};

struct msg_store {
	json_t *root; /* owned; strings of the message point into it */
	struct msg_chunk *chunks;
};

static void store_free(struct msg_store *store)
{
	struct msg_chunk *next;

	if (store == NULL)
		return;
	for (struct msg_chunk *c = store->chunks; c != NULL; c = next) {
		next = c->next;
		mem_free(c);
	}
	json_decref(store->root);
	mem_free(store);
}

GV_DEFINE_CLEANUP(struct msg_store *, store_free)

static void *store_alloc(struct msg_store *store, size_t n, size_t size)
{
	/* n and size are bounded by the tables: a list of at most 4096 elements, a blob within its message. */
	struct msg_chunk *c = mem_alloc(1, sizeof(*c) + n * size);

	if (c == NULL)
		return NULL;
	c->next = store->chunks;
	store->chunks = c;
	return c->bytes;
}

static int bad(struct diag *diag, const struct field *f, const char *want)
{
	diag_set(diag, "field \"%s\" must be %s", f->name, want);
	return MSG_BAD_FIELD;
}

static int missing(struct diag *diag, const struct field *f)
{
	diag_set(diag, "missing field \"%s\"", f->name);
	return MSG_BAD_FIELD;
}

static int read_text(const json_t *v, const struct field *f, const char **out, struct diag *diag)
{
	const char *s = json_string_value(v);
	size_t n = json_string_length(v);

	if (s == NULL)
		return bad(diag, f, "a string");
	if (n == 0 || n > f->max) {
		diag_set(diag, "field \"%s\" must have 1 to %zu bytes", f->name, f->max);
		return MSG_BAD_FIELD;
	}
	if (f->kind == FIELD_LINE && !text_is_name(s, f->max))
		return bad(diag, f, "one line of printable text");
	*out = s;
	return MSG_OK;
}

static int read_code(const json_t *v, const struct field *f, const char **out, struct diag *diag)
{
	char code[NETID_CODE_SIZE];
	const char *s = json_string_value(v);

	if (s == NULL || json_string_length(v) != NETID_CODE_SIZE - 1 ||
	    !netid_parse_code(s, code) || strcmp(s, code) != 0)
		return bad(diag, f, "a code of 10 lower case letters");
	*out = s;
	return MSG_OK;
}

static int read_bytes(const json_t *v, const struct field *f, uint8_t *out, struct diag *diag)
{
	const char *s = json_string_value(v);
	size_t got;

	/* The length first: a decoder that stops half-way must not have written into the struct. */
	if (s == NULL || json_string_length(v) != ENC_BASE64_SIZE(f->max) - 1 ||
	    !dec_base64url(s, json_string_length(v), out, f->max, &got) || got != f->max) {
		diag_set(diag, "field \"%s\" must be %zu bytes as base64url", f->name, f->max);
		return MSG_BAD_FIELD;
	}
	return MSG_OK;
}

static int read_blob(struct msg_store *store, const json_t *v, const struct field *f,
                     struct msg_blob *out, struct diag *diag)
{
	const char *s = json_string_value(v);
	size_t len = json_string_length(v);

	if (s == NULL || len == 0)
		return bad(diag, f, "bytes as base64url");
	if (len >= ENC_BASE64_SIZE(f->max)) {
		diag_set(diag, "field \"%s\" must have at most %zu bytes", f->name, f->max);
		return MSG_BAD_FIELD;
	}
	size_t room = len * 6 / 8;
	uint8_t *p = store_alloc(store, room, 1);
	if (p == NULL)
		return err_here(-ENOMEM);
	size_t got;
	if (!dec_base64url(s, len, p, room, &got) || got == 0)
		return bad(diag, f, "bytes as base64url");
	*out = (struct msg_blob){.p = p, .n = got};
	return MSG_OK;
}

static int read_session(const json_t *v, const struct field *f, uint64_t *out, struct diag *diag)
{
	const char *s = json_string_value(v);
	uint64_t session = 0;

	if (s == NULL || json_string_length(v) != 16 || strspn(s, "0123456789abcdef") != 16)
		return bad(diag, f, "16 hexadecimal digits");
	for (size_t i = 0; i < 16; i++)
		session = session << 4 | (uint64_t)(s[i] <= '9' ? s[i] - '0' : s[i] - 'a' + 10);
	if (session == 0)
		return bad(diag, f, "a session other than zero");
	*out = session;
	return MSG_OK;
}

static int read_integer(const json_t *v, const struct field *f, int64_t max, int64_t *out,
                        struct diag *diag)
{
	int64_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < 0 || n > max) {
		diag_set(diag, "field \"%s\" must be an integer from 0 to %lld", f->name,
		         (long long)max);
		return MSG_BAD_FIELD;
	}
	*out = n;
	return MSG_OK;
}

static int read_ip(const json_t *v, const struct field *f, enum netaddr_family family,
                   struct netaddr *out, struct diag *diag)
{
	const char *s = json_string_value(v);
	struct netaddr addr;

	if (s == NULL || strchr(s, '%') != NULL || !netaddr_parse_ip(s, &addr) ||
	    addr.family != family)
		return bad(diag, f, family == NETADDR_IP4 ? "an IPv4 address" : "an IPv6 address");
	*out = addr;
	return MSG_OK;
}

static int read_prefix(const json_t *v, const struct field *f, struct netprefix *out,
                       struct diag *diag)
{
	const char *s = json_string_value(v);
	struct netprefix prefix;

	if (s == NULL || !netprefix_parse(s, &prefix) || prefix.addr.family != NETADDR_IP4)
		return bad(diag, f, "an IPv4 prefix such as 10.1.2.0/24");
	*out = prefix;
	return MSG_OK;
}

static int read_netid(const json_t *v, const struct field *f, uint8_t *out, struct diag *diag)
{
	const char *s = json_string_value(v);

	if (s == NULL || !netid_parse(s, out))
		return bad(diag, f, "a network id of 32 letters");
	return MSG_OK;
}

static int read_list(struct msg_store *store, const json_t *v, const struct field *f, void *base,
                     struct diag *diag)
{
	size_t n = json_array_size(v);
	uint8_t *at = (uint8_t *)base + f->at;

	if (!json_is_array(v))
		return bad(diag, f, "an array");
	if (n > f->max) {
		diag_set(diag, "field \"%s\" must have at most %zu elements", f->name, f->max);
		return MSG_BAD_FIELD;
	}
	if (n == 0)
		return MSG_OK;
	uint8_t *list = store_alloc(store, n, f->size);
	if (list == NULL)
		return err_here(-ENOMEM);
	for (size_t i = 0; i < n; i++) {
		const json_t *element = json_array_get(v, i);

		if (!json_is_object(element))
			return bad(diag, f, "an array of objects");
		int r = msg_read_object(store, element, f->table, list + i * f->size, diag);
		if (r != MSG_OK)
			return r < 0 ? err_up(r) : r;
	}
	memcpy(at, &list, sizeof(list));
	memcpy((uint8_t *)base + f->count_at, &n, sizeof(n));
	return MSG_OK;
}

static int read_bool(const json_t *v, const struct field *f, bool *out, struct diag *diag)
{
	if (!json_is_boolean(v))
		return bad(diag, f, "true or false");
	*out = json_is_true(v);
	return MSG_OK;
}

static int read_error(const json_t *v, const struct field *f, enum msg_error_code *out,
                      struct diag *diag)
{
	if (!json_is_string(v))
		return bad(diag, f, "a string");
	*out = msg_error_parse(json_string_value(v));
	return MSG_OK;
}

static int read_value(struct msg_store *store, const json_t *v, const struct field *f, void *base,
                      struct diag *diag)
{
	void *at = (uint8_t *)base + f->at;
	int64_t number;
	int r = MSG_OK;

	switch (f->kind) {
	case FIELD_TEXT:
	case FIELD_LINE:
		return read_text(v, f, at, diag);
	case FIELD_BYTES:
		return read_bytes(v, f, at, diag);
	case FIELD_NETID:
		return read_netid(v, f, at, diag);
	case FIELD_CODE:
		return read_code(v, f, at, diag);
	case FIELD_BLOB:
		return read_blob(store, v, f, at, diag);
	case FIELD_SESSION:
		return read_session(v, f, at, diag);
	case FIELD_U32:
		r = read_integer(v, f, (int64_t)f->max, &number, diag);
		if (r == MSG_OK)
			*(uint32_t *)at = (uint32_t)number;
		return r;
	case FIELD_TIME:
		return read_integer(v, f, TIME_MAX, at, diag);
	case FIELD_BOOL:
		return read_bool(v, f, at, diag);
	case FIELD_IP4:
		return read_ip(v, f, NETADDR_IP4, at, diag);
	case FIELD_IP6:
		return read_ip(v, f, NETADDR_IP6, at, diag);
	case FIELD_PREFIX:
		return read_prefix(v, f, at, diag);
	case FIELD_ERROR:
		return read_error(v, f, at, diag);
	case FIELD_OBJECT:
		if (!json_is_object(v))
			return bad(diag, f, "an object");
		return msg_read_object(store, v, f->table, at, diag);
	case FIELD_LIST:
		return read_list(store, v, f, base, diag);
	}
	return r;
}

int msg_read_object(struct msg_store *store, const struct json_t *object, const struct field *table,
                    void *base, struct diag *diag)
{
	for (const struct field *f = table; f->name != NULL; f++) {
		const json_t *v = json_object_get(object, f->name);
		bool present = v != NULL && !json_is_null(v);

		if (f->need == FIELD_GROUPED) {
			bool *has = (bool *)((uint8_t *)base + f->count_at);
			bool is_first = f == table || f[-1].need != FIELD_GROUPED ||
			                f[-1].count_at != f->count_at;

			if (is_first)
				*has = present;
			else if (!present && *has)
				return missing(diag, f);
			else if (present && !*has)
				return missing(diag, f - 1);
		}
		if (!present) {
			if (f->need == FIELD_REQUIRED)
				return missing(diag, f);
			continue;
		}
		int r = read_value(store, v, f, base, diag);
		if (r != MSG_OK)
			return r < 0 ? err_up(r) : r;
	}
	return MSG_OK;
}

/*
 * A look at the text before the JSON parser builds a tree: how deep, and how many values. The parser's memory is
 * proportional to the values, far more than to the bytes.
 */
static bool shape_is_ok(const char *text, size_t len)
{
	size_t depth = 0, values = 1;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		if (c == '"')
			in_string = true;
		else if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && depth > 0)
			depth--;
		if (c == ',' || c == '{' || c == '[')
			values++;
		if (depth > MSG_DEPTH_MAX || values > MSG_VALUES_MAX)
			return false;
	}
	return true;
}

static int load(const char *text, size_t len, json_t **out, struct diag *diag)
{
	json_error_t error = {0};

	if (!shape_is_ok(text, len)) {
		diag_set(diag, "The message is nested too deeply or has too many values.");
		return MSG_BAD_JSON;
	}
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	/* Without a text it was no error of the input. */
	if (root == NULL &&
	    (error.text[0] == '\0' || json_error_code(&error) == json_error_out_of_memory))
		return err_here(-ENOMEM);
	if (!json_is_object(root)) {
		json_decref(root);
		diag_set(diag, "The message is not a JSON object.");
		return MSG_BAD_JSON;
	}
	*out = root;
	return MSG_OK;
}

static int read_id(const json_t *root, struct msg *m, enum msg_from from, struct diag *diag)
{
	const json_t *v = json_object_get(root, "message_id");
	const char *s = json_string_value(v);
	size_t n = json_string_length(v);

	if (v == NULL || json_is_null(v)) {
		if (from == MSG_FROM_SERVER)
			return MSG_OK;
		diag_set(diag, "missing field \"message_id\"");
		return MSG_BAD_JSON;
	}
	bool ok = s != NULL && n > 0 && n <= MSG_ID_MAX;
	for (size_t i = 0; ok && i < n; i++)
		ok = s[i] > ' ' && s[i] <= '~';
	if (!ok) {
		diag_set(diag, "field \"message_id\" must be 1 to %d printable ASCII characters",
		         MSG_ID_MAX);
		return MSG_BAD_JSON;
	}
	memcpy(m->id, s, n + 1);
	return MSG_OK;
}

static int read_type(const json_t *root, struct msg *m, enum msg_from from, struct diag *diag)
{
	const char *s = json_string_value(json_object_get(root, "type"));

	if (s == NULL) {
		diag_set(diag, "missing field \"type\"");
		return MSG_BAD_JSON;
	}
	for (unsigned i = MSG_NONE + 1; i < MSG_TYPES; i++) {
		if ((msg_table_types[i].from & from) != 0 &&
		    strcmp(msg_table_types[i].name, s) == 0) {
			m->type = (enum msg_type)i;
			return MSG_OK;
		}
	}
	diag_set(diag, "unknown message type");
	return MSG_UNKNOWN_TYPE;
}

/* Rules between fields, which the tables cannot say. */
static int check_payload(const struct msg *m, struct diag *diag)
{
	if (m->type == MSG_ICE_CANDIDATE &&
	    m->ice_candidate.end_of_candidates == (m->ice_candidate.candidate != NULL)) {
		diag_set(diag, "either \"candidate\" or \"end_of_candidates\" must be given");
		return MSG_BAD_FIELD;
	}
	return MSG_OK;
}

static int read_payload(struct msg *m, struct msg_store *store, struct diag *diag)
{
	const json_t *payload = json_object_get(store->root, "payload");

	if (payload != NULL && !json_is_object(payload)) {
		diag_set(diag, "field \"payload\" must be an object");
		return MSG_BAD_FIELD;
	}
	/* All members of the union begin where it begins. Without a payload the first required field is missing. */
	int r = msg_read_object(store, payload, msg_table_types[m->type].fields, &m->challenge,
	                        diag);
	if (r == MSG_OK)
		r = check_payload(m, diag);
	return r < 0 ? err_up(r) : r;
}

int msg_parse(struct msg *out, const char *text, size_t len, enum msg_from from, struct diag *diag)
{
	size_t max = from == MSG_FROM_CLIENT ? MSG_SIZE_TO_SERVER_MAX : MSG_SIZE_TO_CLIENT_MAX;

	*out = (struct msg){.type = MSG_NONE};
	if (len > max) {
		diag_set(diag, "A message may have at most %zu bytes.", max);
		return MSG_TOO_BIG;
	}
	gv_cleanup(store_freep) struct msg_store *store = mem_new(struct msg_store);
	if (store == NULL)
		return err_here(-ENOMEM);
	int r = load(text, len, &store->root, diag);
	if (r == MSG_OK)
		r = read_id(store->root, out, from, diag);
	if (r == MSG_OK)
		r = read_type(store->root, out, from, diag);
	if (r == MSG_OK)
		r = read_payload(out, store, diag);
	if (r == MSG_OK) {
		out->store = GV_STEAL(store);
		return MSG_OK;
	}
	/* Only id and type may be looked at now: everything else borrows from the store. */
	struct msg refused = {.type = out->type};
	memcpy(refused.id, out->id, sizeof(refused.id));
	*out = refused;
	return r < 0 ? err_up(r) : r;
}

void msg_deinit(struct msg *m)
{
	store_free(m->store);
	*m = (struct msg){.type = MSG_NONE};
}

void msg_sdp_to_proof(const struct msg_sdp *m, struct proof_offer *out)
{
	*out = (struct proof_offer){
		.ip4 = netaddr_u32(&m->address),
		.session = m->session,
		.sdp = m->sdp,
	};
	memcpy(out->network_id, m->network_id, sizeof(out->network_id));
	memcpy(out->from, m->sender_id, sizeof(out->from));
	memcpy(out->to, m->target_id, sizeof(out->to));
	memcpy(out->nonce, m->nonce, sizeof(out->nonce));
	memcpy(out->sig, m->signature, sizeof(out->sig));
}

void msg_sdp_from_proof(struct msg_sdp *out, const struct proof_offer *proof)
{
	*out = (struct msg_sdp){
		.session = proof->session,
		.address = netaddr_ip4(proof->ip4, 0),
		.sdp = proof->sdp,
	};
	memcpy(out->network_id, proof->network_id, sizeof(out->network_id));
	memcpy(out->target_id, proof->to, sizeof(out->target_id));
	memcpy(out->nonce, proof->nonce, sizeof(out->nonce));
	memcpy(out->signature, proof->sig, sizeof(out->signature));
}
