/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "apps/govpn/args.h"
#include "base/macro.h"

#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 16

/* Parses words separated by one space. */
static int parse(struct args *out, const char *line, struct diag *diag)
{
	static char copy[512];
	char *argv[WORDS_MAX + 1], *save = NULL;
	int argc = 1;

	assert_true(strlen(line) < sizeof(copy));
	memcpy(copy, line, strlen(line) + 1);
	argv[0] = copy;
	for (char *p = strtok_r(copy, " ", &save); p != NULL; p = strtok_r(NULL, " ", &save)) {
		assert_true(argc < WORDS_MAX);
		argv[argc++] = p;
	}
	*diag = (struct diag){0};
	return args_parse(out, argc, argv, diag);
}

static void expect_bad(const char *line)
{
	struct args a;
	struct diag diag;

	if (parse(&a, line, &diag) != ARGS_BAD)
		fail_msg("taken: %s", line);
	assert_true(diag.text[0] != '\0');
	assert_null(strchr(diag.text, '\n'));
}

static const char *field(const struct args *a, const char *key)
{
	return json_string_value(json_object_get(a->request, key));
}

static void args_create_all_options_in_request(void **state)
{
	struct args a;
	struct diag diag;

	(void)state;
	assert_int_equal(parse(&a,
	                       "create --server https://s.example lan --subnet=10.1.2.0/24 "
	                       "--password-file f --ca c --json --socket /s",
	                       &diag),
	                 ARGS_OK);
	assert_int_equal(a.verb, ARGS_CREATE);
	assert_true(a.json);
	assert_string_equal(a.socket_path, "/s");
	assert_string_equal(a.password_file, "f");
	assert_string_equal(a.ca_file, "c");
	assert_string_equal(field(&a, "verb"), "create");
	assert_string_equal(field(&a, "name"), "lan");
	assert_string_equal(field(&a, "server"), "https://s.example");
	assert_string_equal(field(&a, "subnet"), "10.1.2.0/24");
	args_deinit(&a);
}

static void args_join_forms_tell_link_from_code(void **state)
{
	struct args a;
	struct diag diag;

	(void)state;
	assert_int_equal(parse(&a, "join https://s/j/x#1.y", &diag), ARGS_OK);
	assert_string_equal(field(&a, "link"), "https://s/j/x#1.y");
	assert_false(a.wants_password || a.link_on_stdin);
	args_deinit(&a);
	assert_int_equal(parse(&a, "join -", &diag), ARGS_OK);
	assert_true(a.link_on_stdin);
	args_deinit(&a);
	assert_int_equal(parse(&a, "join abcdefghij --server https://s --insecure", &diag),
	                 ARGS_OK);
	assert_true(a.wants_password);
	assert_string_equal(field(&a, "network"), "abcdefghij");
	assert_true(json_is_true(json_object_get(a.request, "insecure")));
	args_deinit(&a);
	expect_bad("join abcdefghij");
	expect_bad("join");
}

static void args_set_words_become_verbs(void **state)
{
	struct args a;
	struct diag diag;

	(void)state;
	assert_int_equal(parse(&a, "set broadcast net on", &diag), ARGS_OK);
	assert_string_equal(field(&a, "verb"), "set-broadcast");
	assert_string_equal(field(&a, "network"), "net");
	assert_true(json_is_true(json_object_get(a.request, "on")));
	args_deinit(&a);
	assert_int_equal(parse(&a, "set name desk", &diag), ARGS_OK);
	assert_string_equal(field(&a, "verb"), "set-name");
	args_deinit(&a);
	expect_bad("set broadcast net maybe");
	expect_bad("set name");
	expect_bad("set colour red");
}

static void args_peer_and_network_have_their_places(void **state)
{
	struct args a;
	struct diag diag;

	(void)state;
	assert_int_equal(parse(&a, "kick net peer --allow-rejoin", &diag), ARGS_OK);
	assert_string_equal(field(&a, "network"), "net");
	assert_string_equal(field(&a, "peer"), "peer");
	assert_true(json_is_true(json_object_get(a.request, "allow_rejoin")));
	args_deinit(&a);
	assert_int_equal(parse(&a, "ping peer net -c 7", &diag), ARGS_OK);
	assert_string_equal(field(&a, "network"), "net");
	assert_int_equal(a.count, 7);
	args_deinit(&a);
	/* After "--" a word may begin with '-'. */
	assert_int_equal(parse(&a, "rename net -- -name", &diag), ARGS_OK);
	assert_string_equal(field(&a, "name"), "-name");
	args_deinit(&a);
}

static void args_wrong_lines_are_refused(void **state)
{
	static const char *const lines[] = {
		"",
		"frobnicate",
		"list --nosuchflag",
		"list x",
		"leave",
		"up a b",
		"create lan",
		"create --server https://s",
		"create lan --server",
		"create lan --server https://s --uses 3",
		"invite --uses 0",
		"invite --uses -1",
		"invite --uses x",
		"invite --uses 99999999999999999999",
		"invite --expires 5",
		"ping p --count 0",
		"--json",
		"help nosuchverb",
		"list --json=yes",
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(lines); i++)
		expect_bad(lines[i]);
}

static void args_help_asks_for_a_verb(void **state)
{
	struct args a;
	struct diag diag;

	(void)state;
	assert_int_equal(parse(&a, "help", &diag), ARGS_OK);
	assert_true(a.help && a.help_verb == ARGS_VERBS);
	args_deinit(&a);
	assert_int_equal(parse(&a, "help kick", &diag), ARGS_OK);
	assert_true(a.help && a.help_verb == ARGS_KICK);
	args_deinit(&a);
	/* Help comes even when something is missing. */
	assert_int_equal(parse(&a, "leave --help", &diag), ARGS_OK);
	assert_true(a.help && a.help_verb == ARGS_LEAVE);
	args_deinit(&a);
}

static void args_environment_gives_the_socket(void **state)
{
	struct args a;
	struct diag diag;

	(void)state;
	assert_int_equal(setenv("GOVPN_SOCKET", "/from/env", 1), 0);
	assert_int_equal(parse(&a, "list", &diag), ARGS_OK);
	assert_string_equal(a.socket_path, "/from/env");
	args_deinit(&a);
	assert_int_equal(parse(&a, "--socket /given list", &diag), ARGS_OK);
	assert_string_equal(a.socket_path, "/given");
	args_deinit(&a);
	assert_int_equal(unsetenv("GOVPN_SOCKET"), 0);
}

static void args_duration_units_and_limits(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} rows[] = {{"1s", 1},
	            {"90s", 90},
	            {"15m", 900},
	            {"24h", 86400},
	            {"7d", 604800},
	            {"2w", 1209600},
	            {"2147483647s", INT32_MAX}};

	static const char *const wrong[] = {"",
	                                    "s",
	                                    "7",
	                                    "0s",
	                                    "-1h",
	                                    "+1h",
	                                    " 1h",
	                                    "1h ",
	                                    "1hh",
	                                    "1.5h",
	                                    "1 h",
	                                    "1y",
	                                    "99999999999999999999h"};
	int64_t s;

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		assert_true(args_parse_duration(rows[i].text, &s));
		assert_true(s == rows[i].seconds);
	}
	for (size_t i = 0; i < GV_ARRAY_SIZE(wrong); i++) {
		if (args_parse_duration(wrong[i], &s))
			fail_msg("taken: %s", wrong[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(args_create_all_options_in_request),
		cmocka_unit_test(args_join_forms_tell_link_from_code),
		cmocka_unit_test(args_set_words_become_verbs),
		cmocka_unit_test(args_peer_and_network_have_their_places),
		cmocka_unit_test(args_wrong_lines_are_refused),
		cmocka_unit_test(args_help_asks_for_a_verb),
		cmocka_unit_test(args_environment_gives_the_socket),
		cmocka_unit_test(args_duration_units_and_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
