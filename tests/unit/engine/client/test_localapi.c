/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macro.h"
#include "engine/client/localapi.h"

#include <stdio.h>
#include <string.h>

#define PIN "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define ID  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static int parse(struct localapi_request *out, const char *line, struct diag *diag)
{
	*diag = (struct diag){0};
	return localapi_parse(out, line, strlen(line), diag);
}

static void expect_bad(const char *line, const char *word)
{
	struct localapi_request r;
	struct diag diag;

	if (parse(&r, line, &diag) != LOCALAPI_BAD)
		fail_msg("taken: %s", line);
	if (strstr(diag.text, word) == NULL)
		fail_msg("%s: \"%s\" does not say \"%s\"", line, diag.text, word);
}

static void localapi_create_fields_are_read(void **state)
{
	struct localapi_request r;
	struct diag diag;

	(void)state;
	assert_int_equal(parse(&r,
	                       "{\"verb\":\"create\",\"name\":\"l\\u00e4n\",\"server\":"
	                       "\"https://S.example:99\",\"password\":\"1234567890\",\"subnet\":"
	                       "\"10.1.2.0/24\",\"pin\":\"" PIN "\",\"future\":[1,{}]}",
	                       &diag),
	                 LOCALAPI_OK);
	assert_int_equal(r.verb, LOCALAPI_CREATE);
	assert_string_equal(r.name, "l\xc3\xa4n");
	assert_string_equal(r.server.at.host, "s.example");
	assert_int_equal(r.server.at.port, 99);
	assert_int_equal(r.server.trust, STATE_TRUST_PIN);
	assert_string_equal(r.password, "1234567890");
	assert_true(r.has_subnet);
	assert_int_equal(r.subnet.bits, 24);
	localapi_request_deinit(&r);
}

static void localapi_link_brings_server_and_pin(void **state)
{
	struct localapi_request r;
	struct diag diag;

	(void)state;
	assert_int_equal(parse(&r,
	                       "{\"verb\":\"join\",\"link\":\"https://192.0.2.1:8443/j/" ID
	                       "#1." PIN "." PIN "\"}",
	                       &diag),
	                 LOCALAPI_OK);
	assert_true(r.has_link);
	assert_int_equal(r.server.at.port, 8443);
	assert_int_equal(r.server.trust, STATE_TRUST_PIN);
	localapi_request_deinit(&r);
}

static void localapi_scheme_http_only_where_it_is_safe(void **state)
{
	struct localapi_request r;
	struct diag diag;

	(void)state;
	expect_bad("{\"verb\":\"create\",\"name\":\"x\",\"server\":\"http://192.0.2.1:80\"}",
	           "http");
	expect_bad("{\"verb\":\"join\",\"link\":\"http://192.0.2.1/j/" ID "#1." PIN "\"}", "http");
	assert_int_equal(
		parse(&r, "{\"verb\":\"create\",\"name\":\"x\",\"server\":\"http://127.0.0.1:80\"}",
	              &diag),
		LOCALAPI_OK);
	localapi_request_deinit(&r);
	assert_int_equal(parse(&r,
	                       "{\"verb\":\"create\",\"name\":\"x\",\"server\":"
	                       "\"http://192.0.2.1:80\",\"insecure\":true}",
	                       &diag),
	                 LOCALAPI_OK);
	localapi_request_deinit(&r);
}

static void localapi_bad_requests_say_why(void **state)
{
	static const struct {
		const char *line, *word;
	} rows[] = {
		{"", "JSON"},
		{"[]", "JSON"},
		{"{\"verb\":\"list\"} x", "JSON"},
		{"{\"verb\":\"list\",\"verb\":\"up\"}", "JSON"},
		{"{}", "verb"},
		{"{\"verb\":7}", "verb"},
		{"{\"verb\":\"frobnicate\"}", "verb"},
		{"{\"verb\":\"create\",\"server\":\"https://s\"}", "name"},
		{"{\"verb\":\"create\",\"name\":\"\",\"server\":\"https://s\"}", "name"},
		{"{\"verb\":\"create\",\"name\":\"a\\u001bb\",\"server\":\"https://s\"}", "name"},
		{"{\"verb\":\"create\",\"name\":\"x\"}", "--server"},
		{"{\"verb\":\"create\",\"name\":\"x\",\"server\":\"ftp://s\"}", "http"},
		{"{\"verb\":\"create\",\"name\":\"x\",\"server\":\"https://s\",\"password\":\"short\"}",
	         "10 characters"},
		{"{\"verb\":\"create\",\"name\":\"x\",\"server\":\"https://s\",\"password\":\"\"}",
	         "empty"},
		{"{\"verb\":\"create\",\"name\":\"x\",\"server\":\"https://s\",\"subnet\":\"10.0.0.0/8\"}",
	         "subnet"},
		{"{\"verb\":\"create\",\"name\":\"x\",\"server\":\"https://s\",\"subnet\":\"fd00::/24\"}",
	         "subnet"},
		{"{\"verb\":\"create\",\"name\":\"x\",\"server\":\"https://s\",\"pin\":\"x\"}",
	         "pin"},
		{"{\"verb\":\"create\",\"name\":\"x\",\"server\":\"https://s\",\"ca\":\"x\"}",
	         "PEM"},
		{"{\"verb\":\"create\",\"name\":\"x\",\"server\":\"https://s\",\"insecure\":true,"
	         "\"pin\":\"" PIN "\"}",
	         "only one"},
		{"{\"verb\":\"join\"}", "link"},
		{"{\"verb\":\"join\",\"link\":\"https://s/j/" ID "\"}", ""},
		{"{\"verb\":\"join\",\"network\":\"x\",\"server\":\"https://s\"}", "password"},
		{"{\"verb\":\"kick\",\"network\":\"x\"}", "computer"},
		{"{\"verb\":\"kick\",\"peer\":\"x\"}", "network"},
		{"{\"verb\":\"leave\"}", "network"},
		{"{\"verb\":\"set-broadcast\",\"network\":\"x\",\"on\":1}", "on or off"},
		{"{\"verb\":\"down\",\"network\":7}", "network must be text"},
		{"{\"verb\":\"up\",\"network\":[]}", "network must be text"},
		{"{\"verb\":\"leave\",\"network\":\"x\",\"force\":1}",
	         "force must be true or false"},
		{"{\"verb\":\"set-name\",\"name\":\"a\\nb\"}", "name"},
		{"{\"verb\":\"invite\",\"uses\":-1}", "uses"},
		{"{\"verb\":\"invite\",\"uses\":\"3\"}", "uses"},
		{"{\"verb\":\"invite\",\"expires_s\":1e99}", "expires_s"},
		{"{\"verb\":\"invite\",\"expires_s\":9223372036854775807}", "expires_s"},
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++)
		expect_bad(rows[i].line, rows[i].word);
}

static void localapi_diag_of_a_bad_link_keeps_the_seed(void **state)
{
	struct localapi_request r;
	struct diag diag;

	(void)state;
	assert_int_equal(parse(&r,
	                       "{\"verb\":\"join\",\"link\":\"https://s/j/" ID
	                       "#1.sEcReTsEcReTsEcReTsEcReT\"}",
	                       &diag),
	                 LOCALAPI_BAD);
	assert_null(strstr(diag.text, "sEcReT"));
}

static void localapi_longest_name_is_64_bytes(void **state)
{
	char line[200], name[66];
	struct localapi_request r;
	struct diag diag;

	(void)state;
	memset(name, 'x', sizeof(name));
	name[64] = '\0';
	(void)snprintf(line, sizeof(line), "{\"verb\":\"set-name\",\"name\":\"%s\"}", name);
	assert_int_equal(parse(&r, line, &diag), LOCALAPI_OK);
	localapi_request_deinit(&r);
	name[64] = 'x';
	name[65] = '\0';
	(void)snprintf(line, sizeof(line), "{\"verb\":\"set-name\",\"name\":\"%s\"}", name);
	expect_bad(line, "64 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(localapi_create_fields_are_read),
		cmocka_unit_test(localapi_link_brings_server_and_pin),
		cmocka_unit_test(localapi_scheme_http_only_where_it_is_safe),
		cmocka_unit_test(localapi_bad_requests_say_why),
		cmocka_unit_test(localapi_diag_of_a_bad_link_keeps_the_seed),
		cmocka_unit_test(localapi_longest_name_is_64_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
