/* SPDX-License-Identifier: MIT */

#include "base/diag.h"
#include "base/mem.h"
#include "proto/sig/msg.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One example of each type as it stands on the wire, with every field. The strings are what docs/protocol.md says. */
#define NETID "aebagbafaydqqcikbmga2dqpcaireeyu"
#define B32   "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define SIG64                                                                         \
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc" \
	"4OTo7PD0-Pw"
#define N16 "AAECAwQFBgcICQoLDA0ODw"
#define COMPUTER                                                                 \
	"{\"key\":\"" B32 "\",\"online\":true,\"session\":\"00000000000000ff\"," \
	"\"ip\":\"10.1.2.1\",\"ipv6\":\"fd00::1\",\"admission\":\"AQID\"}"
#define OFFLINE                                                                           \
	"{\"key\":\"" B32 "\",\"online\":false,\"ip\":\"10.1.2.3\",\"ipv6\":\"fd00::3\"," \
	"\"admission\":\"AQIDBA\"}"
#define NETWORK                                                                                    \
	"{\"network_id\":\"" NETID "\",\"code\":\"abcde23456\",\"network_name\":\"home\","         \
	"\"computer_ip\":\"10.1.2.1\",\"prefix_length\":24,\"ipv6\":\"fd00::1\","                  \
	"\"subnet\":\"10.1.2.0/24\",\"document\":\"AQIDBAU\",\"computers\":[" COMPUTER "," OFFLINE \
	"]}"
#define SDP_HEAD                                                                      \
	"\"network_id\":\"" NETID "\",\"target_id\":\"" B32 "\",\"sender_id\":\"" B32 \
	"\",\"session\":\"0123456789abcdef\",\"nonce\":\"" N16 "\","
#define SDP_TAIL                                                                                \
	"\"address\":\"10.1.2.1\",\"sdp\":\"v=0\\u000d\\u000a\\\"\\\\\",\"signature\":\"" SIG64 \
	"\"}"

struct example {
	enum msg_type type;
	enum msg_from from;
	const char *payload;
	const char *optional; /* names that may be missing, with a space around each */
};

static const struct example examples[] = {
	{MSG_CHALLENGE, MSG_FROM_SERVER,
         "{\"nonce\":\"" B32 "\",\"version_lo\":1,\"version_hi\":2,\"unix_s\":1700000000}", ""},
	{MSG_AUTHENTICATE, MSG_FROM_CLIENT,
         "{\"key\":\"" B32 "\",\"session\":\"0000000000000001\",\"host\":\"vpn.example.org:443\","
         "\"signature\":\"" SIG64 "\",\"name\":\"desk\",\"version_lo\":1,\"version_hi\":1}",
         " name "},
	{MSG_AUTHENTICATED, MSG_FROM_SERVER,
         "{\"version\":1,\"ice_servers\":[{\"urls\":\"stun:192.0.2.1:3478\"},"
         "{\"urls\":\"turn:192.0.2.1\",\"username\":\"u\",\"credential\":\"c\"}]}",
         ""},
	{MSG_CREATE_NETWORK, MSG_FROM_CLIENT, "{\"document\":\"AQID\",\"admission\":\"AQ\"}", ""},
	{MSG_NETWORK_CREATED, MSG_FROM_SERVER, NETWORK, ""},
	{MSG_LOOKUP_NETWORK, MSG_FROM_CLIENT, "{\"code\":\"abcde23456\"}", ""},
	{MSG_NETWORK_FOUND, MSG_FROM_SERVER, "{\"network_id\":\"" NETID "\"}", ""},
	{MSG_JOIN_NETWORK, MSG_FROM_CLIENT, "{\"network_id\":\"" NETID "\",\"admission\":\"AQID\"}",
         ""},
	{MSG_NETWORK_JOINED, MSG_FROM_SERVER, NETWORK, ""},
	{MSG_CONNECT_NETWORK, MSG_FROM_CLIENT,
         "{\"network_id\":\"" NETID "\",\"admission\":\"AQID\"}", " admission "},
	{MSG_NETWORK_CONNECTED, MSG_FROM_SERVER, NETWORK, ""},
	{MSG_DISCONNECT_NETWORK, MSG_FROM_CLIENT, "{\"network_id\":\"" NETID "\"}", ""},
	{MSG_NETWORK_DISCONNECTED, MSG_FROM_SERVER, "{\"network_id\":\"" NETID "\"}", ""},
	{MSG_LEAVE_NETWORK, MSG_FROM_CLIENT,
         "{\"network_id\":\"" NETID "\",\"session\":\"0000000000000001\",\"unix_s\":1,"
         "\"signature\":\"" SIG64 "\"}",
         ""},
	{MSG_NETWORK_LEFT, MSG_FROM_SERVER, "{\"network_id\":\"" NETID "\"}", ""},
	{MSG_UPDATE_DOCUMENT, MSG_FROM_CLIENT,
         "{\"network_id\":\"" NETID "\",\"document\":\"AQID\"}", ""},
	{MSG_DOCUMENT_UPDATED, MSG_FROM_SERVER,
         "{\"network_id\":\"" NETID "\",\"document\":\"AQID\"}", " document "},
	{MSG_UPDATE_CLIENT_INFO, MSG_FROM_CLIENT,
         "{\"network_id\":\"" NETID "\",\"admission\":\"AQID\"}", ""},
	{MSG_UPDATE_CLIENT_INFO_RESPONSE, MSG_FROM_SERVER, "{\"network_id\":\"" NETID "\"}", ""},
	{MSG_GET_COMPUTER_NETWORKS, MSG_FROM_CLIENT, "{}", ""},
	{MSG_COMPUTER_NETWORKS, MSG_FROM_SERVER,
         "{\"networks\":[{\"network_id\":\"" NETID "\",\"code\":\"abcde23456\","
         "\"network_name\":\"n\",\"computer_ip\":\"10.1.2.1\",\"subnet\":\"10.1.2.0/24\","
         "\"connected\":false,\"computers\":3,\"computers_online\":4294967295}]}",
         ""},
	{MSG_PING, MSG_FROM_CLIENT, "{}", ""},
	{MSG_PONG, MSG_FROM_SERVER, "{\"unix_s\":9007199254740991}", ""},
	{MSG_SDP_OFFER, MSG_FROM_SERVER, "{" SDP_HEAD SDP_TAIL, " sender_id "},
	{MSG_SDP_ANSWER, MSG_FROM_CLIENT, "{" SDP_HEAD "\"offer_nonce\":\"" N16 "\"," SDP_TAIL,
         " sender_id "},
	{MSG_ICE_CANDIDATE, MSG_FROM_CLIENT,
         "{\"network_id\":\"" NETID "\",\"target_id\":\"" B32 "\",\"sender_id\":\"" B32
         "\",\"nonce\":\"" N16 "\",\"mid\":\"0\",\"ufrag\":\"abcd\","
         "\"candidate\":\"candidate:1 1 udp 1 192.0.2.1 1 typ host\"}",
         " sender_id "},
	{MSG_ICE_CANDIDATE, MSG_FROM_SERVER,
         "{\"network_id\":\"" NETID "\",\"target_id\":\"" B32 "\",\"sender_id\":\"" B32
         "\",\"nonce\":\"" N16 "\",\"mid\":\"0\",\"ufrag\":\"abcd\",\"end_of_candidates\":true}",
         " sender_id "},
	{MSG_COMPUTER_JOINED, MSG_FROM_SERVER,
         "{\"network_id\":\"" NETID "\",\"computer\":" COMPUTER "}", ""},
	{MSG_COMPUTER_LEFT, MSG_FROM_SERVER,
         "{\"network_id\":\"" NETID "\",\"key\":\"" B32 "\",\"session\":\"0000000000000001\","
         "\"unix_s\":1,\"signature\":\"" SIG64 "\"}",
         ""},
	{MSG_COMPUTER_LEFT, MSG_FROM_SERVER, "{\"network_id\":\"" NETID "\",\"key\":\"" B32 "\"}",
         ""},
	{MSG_COMPUTER_CONNECTED, MSG_FROM_SERVER,
         "{\"network_id\":\"" NETID "\",\"computer\":" OFFLINE "}", ""},
	{MSG_COMPUTER_DISCONNECTED, MSG_FROM_SERVER,
         "{\"network_id\":\"" NETID "\",\"key\":\"" B32 "\"}", ""},
	{MSG_COMPUTER_RENAMED, MSG_FROM_SERVER,
         "{\"network_id\":\"" NETID "\",\"key\":\"" B32 "\",\"admission\":\"AQID\"}", ""},
	{MSG_KICKED, MSG_FROM_SERVER,
         "{\"network_id\":\"" NETID "\",\"reason\":\"by the owner\",\"document\":\"AQID\"}",
         " reason document "},
	{MSG_NETWORK_DELETED, MSG_FROM_SERVER, "{\"network_id\":\"" NETID "\",\"reason\":\"idle\"}",
         " reason "},
	{MSG_SERVER_SHUTDOWN, MSG_FROM_SERVER, "{\"in_seconds\":10}", ""},
	{MSG_ERROR, MSG_FROM_SERVER,
         "{\"code\":\"name_taken\",\"message\":\"The name is in use.\",\"suggestion\":\"desk-2\","
         "\"retry_after_s\":5}",
         " suggestion retry_after_s "},
};

static char text_buffer[64 * 1024];

static const char *text_of(const struct example *e)
{
	(void)snprintf(text_buffer, sizeof(text_buffer),
	               "{\"message_id\":\"m-1\",\"type\":\"%s\",\"payload\":%s}",
	               msg_type_name(e->type), e->payload);
	return text_buffer;
}

static int parse(const char *text, enum msg_from from, struct diag *diag)
{
	struct msg m;
	int r = msg_parse(&m, text, strlen(text), from, diag);

	if (r == MSG_OK)
		msg_deinit(&m);
	else
		assert_null(m.store);
	return r;
}

/* Parses a client's message with this payload, says which result and text come out. */
static void expect(enum msg_type type, enum msg_from from, const char *payload, int want,
                   const char *why)
{
	struct example e = {.type = type, .from = from, .payload = payload};
	struct diag diag = {0};

	assert_int_equal(parse(text_of(&e), from, &diag), want);
	if (strstr(diag.text, why) == NULL)
		fail_msg("%s: %s", payload, diag.text);
}

static void msg_parse_then_format_gives_the_same_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(examples); i++) {
		const char *text = text_of(&examples[i]);
		struct buf out = BUF_INIT(64 * 1024);
		struct diag diag = {0};
		struct msg m;

		if (msg_parse(&m, text, strlen(text), examples[i].from, &diag) != MSG_OK)
			fail_msg("%s: %s", text, diag.text);
		assert_int_equal(m.type, examples[i].type);
		assert_string_equal(m.id, "m-1");
		assert_int_equal(msg_format(&m, &out), 0);
		assert_string_equal(buf_str(&out), text);
		buf_deinit(&out);
		msg_deinit(&m);
	}
}

static void msg_examples_cover_every_type(void **state)
{
	(void)state;
	for (unsigned type = MSG_NONE + 1; type < MSG_TYPES; type++) {
		bool found = false;

		for (size_t i = 0; i < GV_ARRAY_SIZE(examples); i++)
			found = found || examples[i].type == type;
		if (!found)
			fail_msg("%s", msg_type_name((enum msg_type)type));
	}
}

static void check_text(const struct example *e, json_t *root, int want, const char *field)
{
	char *text = json_dumps(root, JSON_COMPACT);
	struct diag diag = {0};
	char quoted[64];
	int r = parse(text, e->from, &diag);

	(void)snprintf(quoted, sizeof(quoted), "\"%s\"", field);
	if (r != want || (want != MSG_OK && strstr(diag.text, quoted) == NULL))
		fail_msg("%s without or with a wrong %s: %d %s", text, field, r, diag.text);
	free(text);
}

/* One field once removed, once null, and thrice of a wrong type. */
static void break_field(const struct example *e, json_t *root, const char *field)
{
	json_t *payload = json_object_get(root, "payload");
	json_t *v = json_incref(json_object_get(payload, field));
	bool any_text = e->type == MSG_ERROR && strcmp(field, "code") == 0;
	char spaced[64];

	(void)snprintf(spaced, sizeof(spaced), " %s ", field);
	int want = strstr(e->optional, spaced) != NULL ? MSG_OK : MSG_BAD_FIELD;
	json_object_del(payload, field);
	check_text(e, root, want, field);
	json_object_set_new(payload, field, json_null());
	check_text(e, root, want, field);
	json_object_set_new(payload, field, json_is_array(v) ? json_object() : json_array());
	check_text(e, root, MSG_BAD_FIELD, field);
	json_object_set_new(payload, field, json_real(1.5));
	check_text(e, root, MSG_BAD_FIELD, field);
	json_object_set_new(payload, field, json_string(""));
	check_text(e, root, any_text ? MSG_OK : MSG_BAD_FIELD, field);
	json_object_set_new(payload, field, v);
}

static void msg_parse_field_missing_or_wrong_names_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(examples); i++) {
		json_t *root = json_loads(text_of(&examples[i]), 0, NULL);
		json_t *names = json_array();
		const char *name;
		json_t *v;
		size_t at;

		/* The names are copied first: taking a field out frees its name. */
		json_object_foreach(json_object_get(root, "payload"), name, v)
			json_array_append_new(names, json_string(name));
		json_array_foreach(names, at, v)
			break_field(&examples[i], root, json_string_value(v));
		json_decref(names);
		json_decref(root);
	}
}

static void msg_parse_cut_at_every_byte_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(examples); i++) {
		const char *text = text_of(&examples[i]);

		for (size_t n = 0; n < strlen(text); n++) {
			struct msg m;

			assert_int_equal(msg_parse(&m, text, n, examples[i].from, NULL),
			                 MSG_BAD_JSON);
		}
	}
}

static void msg_parse_unknown_fields_are_ignored(void **state)
{
	(void)state;
	assert_int_equal(parse("{\"message_id\":\"1\",\"type\":\"Ping\",\"new\":[1,{}],"
	                       "\"payload\":{\"later\":\"x\"}}",
	                       MSG_FROM_CLIENT, NULL),
	                 MSG_OK);
	assert_int_equal(parse("{\"message_id\":\"1\",\"type\":\"Ping\"}", MSG_FROM_CLIENT, NULL),
	                 MSG_OK);
}

static void msg_parse_bad_envelope_is_bad_json(void **state)
{
	static const char *const texts[] = {
		"",
		"null",
		"[]",
		"\"x\"",
		"{}",
		"{\"message_id\":\"1\",\"type\":\"Ping\"} x",
		"{\"message_id\":\"1\"}",
		"{\"message_id\":\"1\",\"type\":5}",
		"{\"type\":\"Ping\"}",
		"{\"message_id\":null,\"type\":\"Ping\"}",
		"{\"message_id\":5,\"type\":\"Ping\"}",
		"{\"message_id\":\"\",\"type\":\"Ping\"}",
		"{\"message_id\":\"a b\",\"type\":\"Ping\"}",
		"{\"message_id\":\"\\u00e9\",\"type\":\"Ping\"}",
		"{\"message_id\":\"1\",\"type\":\"Ping\",\"type\":\"Ping\"}",
		"{\"message_id\":\"1\",\"type\":\"Ping\",\"payload\":{\"x\":1,\"x\":1}}",
		"{\"message_id\":\"1\\u0000\",\"type\":\"Ping\"}",
		"{\"message_id\":\"\xff\",\"type\":\"Ping\"}",
		"{'message_id':'1','type':'Ping'}",
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(texts); i++) {
		if (parse(texts[i], MSG_FROM_CLIENT, NULL) != MSG_BAD_JSON)
			fail_msg("%s", texts[i]);
	}
}

static void msg_parse_message_id_at_and_above_limit(void **state)
{
	char text[256], id[MSG_ID_MAX + 2];

	(void)state;
	memset(id, 'i', sizeof(id));
	id[MSG_ID_MAX + 1] = '\0';
	(void)snprintf(text, sizeof(text), "{\"message_id\":\"%s\",\"type\":\"Ping\"}", id);
	assert_int_equal(parse(text, MSG_FROM_CLIENT, NULL), MSG_BAD_JSON);
	id[MSG_ID_MAX] = '\0';
	(void)snprintf(text, sizeof(text), "{\"message_id\":\"%s\",\"type\":\"Ping\"}", id);
	assert_int_equal(parse(text, MSG_FROM_CLIENT, NULL), MSG_OK);
}

static void msg_parse_refused_message_still_tells_its_id(void **state)
{
	static const char unknown[] =
		"{\"message_id\":\"77\",\"type\":\"Nonsense\",\"payload\":{}}";
	static const char bad[] = "{\"message_id\":\"78\",\"type\":\"JoinNetwork\",\"payload\":{}}";
	static const char not_object[] = "{\"message_id\":\"79\",\"type\":\"Ping\",\"payload\":[]}";
	struct diag diag = {0};
	struct msg m;

	(void)state;
	assert_int_equal(msg_parse(&m, unknown, strlen(unknown), MSG_FROM_CLIENT, NULL),
	                 MSG_UNKNOWN_TYPE);
	assert_string_equal(m.id, "77");
	assert_int_equal(m.type, MSG_NONE);
	assert_int_equal(msg_parse(&m, bad, strlen(bad), MSG_FROM_CLIENT, &diag), MSG_BAD_FIELD);
	assert_string_equal(m.id, "78");
	assert_int_equal(m.type, MSG_JOIN_NETWORK);
	assert_string_equal(diag.text, "missing field \"network_id\"");
	assert_int_equal(msg_parse(&m, not_object, strlen(not_object), MSG_FROM_CLIENT, NULL),
	                 MSG_BAD_FIELD);
	assert_string_equal(m.id, "79");
}

static void msg_parse_type_of_the_other_side_is_unknown(void **state)
{
	(void)state;
	assert_int_equal(
		parse("{\"message_id\":\"1\",\"type\":\"Pong\",\"payload\":{\"unix_s\":1}}",
	              MSG_FROM_CLIENT, NULL),
		MSG_UNKNOWN_TYPE);
	assert_int_equal(parse("{\"message_id\":\"1\",\"type\":\"Ping\"}", MSG_FROM_SERVER, NULL),
	                 MSG_UNKNOWN_TYPE);
	/* Case matters. */
	assert_int_equal(parse("{\"message_id\":\"1\",\"type\":\"ping\"}", MSG_FROM_CLIENT, NULL),
	                 MSG_UNKNOWN_TYPE);
}

static void msg_parse_values_at_and_above_their_limits(void **state)
{
	static const char *const head = "{\"network_id\":\"" NETID "\",\"admission\":\"";
	char payload[2048];

	(void)state;
	/* 512 bytes of admission are 683 characters. */
	for (size_t n = 683; n <= 684; n++) {
		size_t at = (size_t)snprintf(payload, sizeof(payload), "%s", head);

		memset(payload + at, 'A', n);
		strcpy(payload + at + n, "\"}");
		expect(MSG_JOIN_NETWORK, MSG_FROM_CLIENT, payload,
		       n == 683 ? MSG_OK : MSG_BAD_FIELD, n == 683 ? "" : "at most 512 bytes");
	}
	expect(MSG_PONG, MSG_FROM_SERVER, "{\"unix_s\":9007199254740992}", MSG_BAD_FIELD, "unix_s");
	expect(MSG_PONG, MSG_FROM_SERVER, "{\"unix_s\":-1}", MSG_BAD_FIELD, "unix_s");
	expect(MSG_SERVER_SHUTDOWN, MSG_FROM_SERVER, "{\"in_seconds\":86401}", MSG_BAD_FIELD,
	       "0 to 86400");
	expect(MSG_LOOKUP_NETWORK, MSG_FROM_CLIENT, "{\"code\":\"ABCDE23456\"}", MSG_BAD_FIELD,
	       "lower case");
	expect(MSG_LOOKUP_NETWORK, MSG_FROM_CLIENT, "{\"code\":\"abcde-3456\"}", MSG_BAD_FIELD,
	       "10 lower case");
	expect(MSG_JOIN_NETWORK, MSG_FROM_CLIENT,
	       "{\"network_id\":\"" NETID "\",\"admission\":\"A\"}", MSG_BAD_FIELD, "base64url");
	expect(MSG_JOIN_NETWORK, MSG_FROM_CLIENT,
	       "{\"network_id\":\"" NETID "\",\"admission\":\"AB==\"}", MSG_BAD_FIELD, "base64url");
	expect(MSG_NETWORK_FOUND, MSG_FROM_SERVER, "{\"network_id\":\"aebag\"}", MSG_BAD_FIELD,
	       "32 letters");
	expect(MSG_ERROR, MSG_FROM_SERVER, "{\"code\":\"x\",\"message\":\"a\\u001bb\"}",
	       MSG_BAD_FIELD, "printable");
}

static void msg_parse_session_must_be_16_digits_and_not_zero(void **state)
{
	static const char *const bad[] = {"0000000000000000", "123", "00000000000000FF",
	                                  "00000000000000001", "000000000000000g"};
	char payload[512];

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(bad); i++) {
		(void)snprintf(payload, sizeof(payload),
		               "{\"network_id\":\"" NETID "\",\"session\":\"%s\",\"unix_s\":1,"
		               "\"signature\":\"" SIG64 "\"}",
		               bad[i]);
		expect(MSG_LEAVE_NETWORK, MSG_FROM_CLIENT, payload, MSG_BAD_FIELD, "session");
	}
}

static void msg_parse_leave_signature_comes_whole_or_not_at_all(void **state)
{
	static const char head[] = "{\"network_id\":\"" NETID "\",\"key\":\"" B32 "\"";
	char payload[512];

	(void)state;
	(void)snprintf(payload, sizeof(payload), "%s,\"unix_s\":1}", head);
	expect(MSG_COMPUTER_LEFT, MSG_FROM_SERVER, payload, MSG_BAD_FIELD,
	       "missing field \"session\"");
	(void)snprintf(payload, sizeof(payload),
	               "%s,\"session\":\"0000000000000001\",\"unix_s\":1}", head);
	expect(MSG_COMPUTER_LEFT, MSG_FROM_SERVER, payload, MSG_BAD_FIELD,
	       "missing field \"signature\"");
}

static void msg_parse_candidate_and_end_together_or_none_is_bad(void **state)
{
	static const char head[] = "{\"network_id\":\"" NETID "\",\"target_id\":\"" B32
				   "\",\"nonce\":\"" N16 "\",\"mid\":\"0\",\"ufrag\":\"abcd\"";
	char payload[512];

	(void)state;
	(void)snprintf(payload, sizeof(payload), "%s}", head);
	expect(MSG_ICE_CANDIDATE, MSG_FROM_CLIENT, payload, MSG_BAD_FIELD, "either");
	(void)snprintf(payload, sizeof(payload),
	               "%s,\"candidate\":\"c\",\"end_of_candidates\":true}", head);
	expect(MSG_ICE_CANDIDATE, MSG_FROM_CLIENT, payload, MSG_BAD_FIELD, "either");
	(void)snprintf(payload, sizeof(payload),
	               "%s,\"candidate\":\"c\",\"end_of_candidates\":false}", head);
	expect(MSG_ICE_CANDIDATE, MSG_FROM_CLIENT, payload, MSG_OK, "");
}

static void msg_parse_deep_or_wide_json_is_refused(void **state)
{
	char text[512] = "{\"message_id\":\"1\",\"type\":\"Ping\",\"x\":";
	size_t at = strlen(text);
	struct buf wide = BUF_INIT(MSG_SIZE_TO_SERVER_MAX);

	(void)state;
	for (size_t depth = MSG_DEPTH_MAX - 1; depth <= MSG_DEPTH_MAX; depth++) {
		memset(text + at, '[', depth);
		memset(text + at + depth, ']', depth);
		strcpy(text + at + 2 * depth, "}");
		assert_int_equal(parse(text, MSG_FROM_CLIENT, NULL),
		                 depth < MSG_DEPTH_MAX ? MSG_OK : MSG_BAD_JSON);
	}
	/* Brackets in strings, also behind escapes, are no depth. */
	assert_int_equal(
		parse("{\"message_id\":\"1\",\"type\":\"Ping\",\"x\":\"\\\"[[[[[[[[[[[[[[\"}",
	              MSG_FROM_CLIENT, NULL),
		MSG_OK);

	assert_int_equal(buf_add_str(&wide, "{\"message_id\":\"1\",\"type\":\"Ping\",\"x\":[0"), 0);
	for (unsigned i = 0; i < MSG_VALUES_MAX; i++)
		assert_int_equal(buf_add_str(&wide, ",0"), 0);
	assert_int_equal(buf_add_str(&wide, "]}"), 0);
	assert_int_equal(parse(buf_str(&wide), MSG_FROM_CLIENT, NULL), MSG_BAD_JSON);
	buf_deinit(&wide);
}

static void msg_parse_above_size_limit_is_too_big(void **state)
{
	char *text = mem_alloc(MSG_SIZE_TO_CLIENT_MAX + 2, 1);
	struct msg m;

	(void)state;
	assert_non_null(text);
	memset(text, ' ', MSG_SIZE_TO_CLIENT_MAX + 1);
	assert_int_equal(msg_parse(&m, text, MSG_SIZE_TO_SERVER_MAX + 1, MSG_FROM_CLIENT, NULL),
	                 MSG_TOO_BIG);
	assert_int_equal(msg_parse(&m, text, MSG_SIZE_TO_SERVER_MAX, MSG_FROM_CLIENT, NULL),
	                 MSG_BAD_JSON);
	assert_int_equal(msg_parse(&m, text, MSG_SIZE_TO_SERVER_MAX + 1, MSG_FROM_SERVER, NULL),
	                 MSG_BAD_JSON);
	assert_int_equal(msg_parse(&m, text, MSG_SIZE_TO_CLIENT_MAX + 1, MSG_FROM_SERVER, NULL),
	                 MSG_TOO_BIG);
	mem_free(text);
}

static void msg_parse_lists_above_their_limit_are_bad(void **state)
{
	struct buf text = BUF_INIT(64 * 1024);

	(void)state;
	assert_int_equal(buf_add_str(&text, "{\"version\":1,\"ice_servers\":["), 0);
	for (int i = 0; i <= MSG_ICE_SERVERS_MAX; i++)
		assert_int_equal(buf_addf(&text, "%s{\"urls\":\"stun:a\"}", i > 0 ? "," : ""), 0);
	assert_int_equal(buf_add_str(&text, "]}"), 0);
	expect(MSG_AUTHENTICATED, MSG_FROM_SERVER, buf_str(&text), MSG_BAD_FIELD,
	       "at most 8 elements");
	buf_deinit(&text);
	expect(MSG_AUTHENTICATED, MSG_FROM_SERVER, "{\"version\":1,\"ice_servers\":[5]}",
	       MSG_BAD_FIELD, "array of objects");
	expect(MSG_AUTHENTICATED, MSG_FROM_SERVER, "{\"version\":1,\"ice_servers\":[{}]}",
	       MSG_BAD_FIELD, "missing field \"urls\"");
}

/* The largest network of all fits in a message to a client. */
static void msg_format_largest_network_fits_and_parses(void **state)
{
	static uint8_t admission[360], document[2048];
	struct msg_computer *computers = mem_new_array(struct msg_computer, MSG_COMPUTERS_MAX);
	struct buf out = BUF_INIT(MSG_SIZE_TO_CLIENT_MAX);
	uint8_t ip6[16];
	struct msg back;
	struct msg m = {
		.type = MSG_NETWORK_CONNECTED,
		.network = {.code = "abcde23456",
	                    .network_name = "n",
	                    .computer_ip = netaddr_ip4(0x0a010203, 0),
	                    .prefix_length = 16,
	                    .document = {document, sizeof(document)},
	                    .computers = computers,
	                    .n_computers = MSG_COMPUTERS_MAX},
	};

	(void)state;
	assert_non_null(computers);
	memset(ip6, 0xfd, sizeof(ip6));
	m.network.ipv6 = netaddr_ip6(ip6, 0);
	assert_true(netprefix_parse("10.1.0.0/16", &m.network.subnet));
	for (size_t i = 0; i < MSG_COMPUTERS_MAX; i++) {
		computers[i] = (struct msg_computer){
			.online = true,
			.session = i + 1,
			.ip = netaddr_ip4(0x0aff0000 + (uint32_t)i, 0),
			.ipv6 = m.network.ipv6,
			.admission = {admission, sizeof(admission)},
		};
	}
	assert_int_equal(msg_format(&m, &out), 0);
	assert_int_equal(msg_parse(&back, buf_str(&out), out.len, MSG_FROM_SERVER, NULL), MSG_OK);
	assert_int_equal(back.network.n_computers, MSG_COMPUTERS_MAX);
	assert_int_equal(back.network.computers[4095].session, 4096);
	assert_int_equal(back.network.document.n, sizeof(document));
	msg_deinit(&back);
	buf_deinit(&out);
	mem_free(computers);
}

static void msg_format_bad_values_return_einval(void **state)
{
	struct buf out = BUF_INIT(4096);
	struct msg m = {.type = MSG_NONE};

	(void)state;
	assert_int_equal(msg_format(&m, &out), -EINVAL);
	m = (struct msg){.type = MSG_ERROR, .error = {.code = MSG_ERROR_OTHER, .message = "x"}};
	assert_int_equal(msg_format(&m, &out), -EINVAL);
	m.error.code = MSG_ERROR_TOO_BIG;
	m.error.message = NULL;
	assert_int_equal(msg_format(&m, &out), -EINVAL);
	m.error.message = "two\nlines";
	assert_int_equal(msg_format(&m, &out), -EINVAL);
	m.error.message = "\xff";
	assert_int_equal(msg_format(&m, &out), -EINVAL);
	m.error.message = "ok";
	assert_int_equal(msg_format(&m, &out), 0);
	m = (struct msg){.type = MSG_PONG, .pong.unix_s = -1};
	assert_int_equal(msg_format(&m, &out), -EINVAL);
	m = (struct msg){.type = MSG_JOIN_NETWORK};
	assert_int_equal(msg_format(&m, &out), -EINVAL); /* no admission */
	m = (struct msg){.type = MSG_LEAVE_NETWORK};
	assert_int_equal(msg_format(&m, &out), -EINVAL); /* session 0 */
	buf_deinit(&out);

	struct buf small = BUF_INIT(20);
	m = (struct msg){.type = MSG_PING};
	assert_int_equal(msg_format(&m, &small), -ENOBUFS);
	buf_deinit(&small);
}

static void msg_format_notice_has_no_message_id(void **state)
{
	struct buf out = BUF_INIT(4096);
	struct msg m = {.type = MSG_SERVER_SHUTDOWN, .server_shutdown.in_seconds = 3};

	(void)state;
	assert_int_equal(msg_format(&m, &out), 0);
	assert_string_equal(buf_str(&out),
	                    "{\"type\":\"ServerShutdown\",\"payload\":{\"in_seconds\":3}}");
	assert_int_equal(parse(buf_str(&out), MSG_FROM_SERVER, NULL), MSG_OK);
	buf_deinit(&out);
}

static void msg_tables_names_replies_and_codes_are_whole(void **state)
{
	(void)state;
	assert_string_equal(msg_type_name(MSG_NONE), "?");
	assert_string_equal(msg_type_name(MSG_TYPES), "?");
	for (unsigned i = MSG_NONE + 1; i < MSG_TYPES; i++)
		assert_string_not_equal(msg_type_name((enum msg_type)i), "?");
	assert_true(msg_is_request(MSG_PING));
	assert_int_equal(msg_reply_type(MSG_PING), MSG_PONG);
	assert_false(msg_is_request(MSG_SDP_OFFER));
	assert_false(msg_is_request(MSG_TYPES));

	for (unsigned i = MSG_ERROR_OTHER + 1; i < MSG_ERROR_CODES; i++) {
		enum msg_error_code code = (enum msg_error_code)i;

		assert_non_null(msg_error_text(code));
		assert_int_equal(msg_error_parse(msg_error_text(code)), code);
		assert_true(msg_error_exit_code(code) > 0);
	}
	assert_int_equal(msg_error_parse("no such code"), MSG_ERROR_OTHER);
	assert_int_equal(msg_error_parse("other"), MSG_ERROR_OTHER);
	assert_int_equal(msg_error_exit_code(MSG_ERROR_INVITE_REFUSED), 6);
	assert_int_equal(msg_error_exit_code(MSG_ERROR_NETWORK_FULL), 7);
	assert_int_equal(msg_error_exit_code(MSG_ERROR_NO_SUCH_NETWORK), 5);
	assert_int_equal(msg_error_exit_code(MSG_ERROR_NOT_OWNER), 4);
}

static void msg_sdp_proof_round_trip_keeps_every_field(void **state)
{
	struct proof_offer proof = {.ip4 = 0x0a010203, .session = 5, .sdp = "v=0"}, back;
	struct msg_sdp m;

	(void)state;
	memset(proof.network_id, 1, sizeof(proof.network_id));
	memset(proof.from, 2, sizeof(proof.from));
	memset(proof.to, 3, sizeof(proof.to));
	memset(proof.nonce, 4, sizeof(proof.nonce));
	memset(proof.sig, 5, sizeof(proof.sig));
	msg_sdp_from_proof(&m, &proof);
	assert_false(m.has_sender);
	memcpy(m.sender_id, proof.from, SIG_KEY_SIZE); /* what the server does */
	msg_sdp_to_proof(&m, &back);
	assert_int_equal(back.ip4, proof.ip4);
	assert_int_equal(back.session, 5);
	assert_ptr_equal(back.sdp, proof.sdp);
	assert_memory_equal(back.network_id, proof.network_id, NETID_SIZE);
	assert_memory_equal(back.from, proof.from, SIG_KEY_SIZE);
	assert_memory_equal(back.to, proof.to, SIG_KEY_SIZE);
	assert_memory_equal(back.nonce, proof.nonce, PROOF_NONCE_SIZE);
	assert_memory_equal(back.sig, proof.sig, SIG_SIGNATURE_SIZE);
}

/* Our own allocations; jansson's come from malloc() and do not fail here. */
static void msg_without_memory_returns_enomem_and_leaks_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(examples); i++) {
		const char *text = text_of(&examples[i]);
		bool hit = true;

		for (uint64_t n = 1; hit && n < 1000; n++) {
			struct buf out = BUF_INIT(64 * 1024);
			struct msg m;

			mem_fail_at(n);
			int r = msg_parse(&m, text, strlen(text), examples[i].from, NULL);
			if (r == MSG_OK) {
				r = msg_format(&m, &out);
				msg_deinit(&m);
			}
			hit = mem_fail_hit();
			mem_fail_at(0);
			if (r == 0)
				assert_string_equal(buf_str(&out), text);
			buf_deinit(&out);
			if (r != 0 && r != -ENOMEM)
				fail_msg("%s: allocation %u gives %d", text, (unsigned)n, r);
		}
		assert_false(hit);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(msg_parse_then_format_gives_the_same_text),
		cmocka_unit_test(msg_examples_cover_every_type),
		cmocka_unit_test(msg_parse_field_missing_or_wrong_names_it),
		cmocka_unit_test(msg_parse_cut_at_every_byte_is_refused),
		cmocka_unit_test(msg_parse_unknown_fields_are_ignored),
		cmocka_unit_test(msg_parse_bad_envelope_is_bad_json),
		cmocka_unit_test(msg_parse_message_id_at_and_above_limit),
		cmocka_unit_test(msg_parse_refused_message_still_tells_its_id),
		cmocka_unit_test(msg_parse_type_of_the_other_side_is_unknown),
		cmocka_unit_test(msg_parse_values_at_and_above_their_limits),
		cmocka_unit_test(msg_parse_session_must_be_16_digits_and_not_zero),
		cmocka_unit_test(msg_parse_leave_signature_comes_whole_or_not_at_all),
		cmocka_unit_test(msg_parse_candidate_and_end_together_or_none_is_bad),
		cmocka_unit_test(msg_parse_deep_or_wide_json_is_refused),
		cmocka_unit_test(msg_parse_above_size_limit_is_too_big),
		cmocka_unit_test(msg_parse_lists_above_their_limit_are_bad),
		cmocka_unit_test(msg_format_largest_network_fits_and_parses),
		cmocka_unit_test(msg_format_bad_values_return_einval),
		cmocka_unit_test(msg_format_notice_has_no_message_id),
		cmocka_unit_test(msg_tables_names_replies_and_codes_are_whole),
		cmocka_unit_test(msg_sdp_proof_round_trip_keeps_every_field),
		cmocka_unit_test(msg_without_memory_returns_enomem_and_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
