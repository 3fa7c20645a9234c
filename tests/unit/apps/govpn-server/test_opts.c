/* SPDX-License-Identifier: MIT */

#include "apps/govpn-server/opts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARGS_MAX 12

/* argv from a NULL-ended list without the program's name. */
static int parse(struct opts *out, struct diag *diag, const char *const *args)
{
	static char copies[ARGS_MAX][128];
	char *argv[ARGS_MAX + 1] = {copies[0]};
	int argc = 1;

	*diag = (struct diag){0};
	(void)snprintf(copies[0], sizeof(copies[0]), "govpn-server");
	for (; args[argc - 1] != NULL; argc++) {
		(void)snprintf(copies[argc], sizeof(copies[argc]), "%s", args[argc - 1]);
		argv[argc] = copies[argc];
	}
	return opts_parse(out, argc, argv, diag);
}

#define PARSE(out, diag, ...) parse((out), (diag), (const char *const[]){__VA_ARGS__, NULL})

static void clear_env(void)
{
	static const char *const names[] = {
		"GOVPN_LISTEN",     "GOVPN_STUN",        "GOVPN_DATA",        "GOVPN_TLS",
		"GOVPN_TLS_CERT",   "GOVPN_TLS_KEY",     "GOVPN_EXPIRE_DAYS", "GOVPN_LOG_LEVEL",
		"GOVPN_PUBLIC_URL", "GOVPN_ADDRESS_REST"};

	for (size_t i = 0; i < GV_ARRAY_SIZE(names); i++)
		assert_int_equal(unsetenv(names[i]), 0);
}

static void opts_without_any_are_the_defaults(void **state)
{
	struct opts o;
	struct diag diag;

	(void)state;
	clear_env();
	assert_int_equal(PARSE(&o, &diag, NULL), OPTS_RUN);
	assert_int_equal(o.server.n_listen, 0);
	assert_int_equal(o.server.tls, SERVER_TLS_SELF);
	assert_int_equal(o.server.stun_mode, SERVER_STUN_DEFAULT);
	assert_string_equal(o.server.data_dir, "/var/lib/govpn-server");
	assert_int_equal(o.server.expire_s, 90 * 86400);
	assert_int_equal(o.server.address_rest_s, 86400);
	assert_int_equal(o.log_level, LOG_LEVEL_INFO);
}

static void opts_all_given_are_taken(void **state)
{
	struct opts o;
	struct diag diag;

	(void)state;
	clear_env();
	assert_int_equal(PARSE(&o, &diag, "--listen", "127.0.0.1:1", "--listen=[::1]:2",
	                       "--stun=192.0.2.1:3", "--data=/d", "--tls=off"),
	                 OPTS_RUN);
	assert_int_equal(o.server.n_listen, 2);
	assert_int_equal(o.server.listen[1].port, 2);
	assert_int_equal(o.server.stun_mode, SERVER_STUN_GIVEN);
	assert_int_equal(o.server.stun[0].port, 3);
	assert_string_equal(o.server.data_dir, "/d");
	assert_int_equal(o.server.tls, SERVER_TLS_OFF);
	assert_int_equal(PARSE(&o, &diag, "--stun", "off", "--tls-cert=c", "--tls-key=k",
	                       "--public-url=https://x", "--expire-days=0", "--address-rest=5",
	                       "--log-level=debug"),
	                 OPTS_RUN);
	assert_int_equal(o.server.stun_mode, SERVER_STUN_OFF);
	assert_int_equal(o.server.tls, SERVER_TLS_FILES);
	assert_string_equal(o.server.public_url, "https://x");
	assert_int_equal(o.server.expire_s, 0);
	assert_int_equal(o.server.address_rest_s, 5);
	assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
}

static void opts_environment_counts_unless_given(void **state)
{
	struct opts o;
	struct diag diag;

	(void)state;
	clear_env();
	assert_int_equal(setenv("GOVPN_LISTEN", "127.0.0.1:1, [::1]:2", 1), 0);
	assert_int_equal(setenv("GOVPN_DATA", "/env", 1), 0);
	assert_int_equal(setenv("GOVPN_EXPIRE_DAYS", "7", 1), 0);
	assert_int_equal(PARSE(&o, &diag, "--data", "/arg"), OPTS_RUN);
	assert_int_equal(o.server.n_listen, 2);
	assert_string_equal(o.server.data_dir, "/arg");
	assert_int_equal(o.server.expire_s, 7 * 86400);
	assert_int_equal(PARSE(&o, &diag, "--listen", "127.0.0.1:9"), OPTS_RUN);
	assert_int_equal(o.server.n_listen, 1);
	assert_int_equal(setenv("GOVPN_EXPIRE_DAYS", "soon", 1), 0);
	assert_int_equal(PARSE(&o, &diag, NULL), OPTS_BAD);
	clear_env();
}

static void opts_help_and_version_are_found(void **state)
{
	struct opts o;
	struct diag diag;

	(void)state;
	clear_env();
	assert_int_equal(PARSE(&o, &diag, "--help"), OPTS_HELP);
	assert_int_equal(PARSE(&o, &diag, "--version"), OPTS_VERSION);
	assert_non_null(strstr(opts_help(), "--public-url"));
}

static void opts_bad_ones_are_refused_with_a_sentence(void **state)
{
	static const char *const rows[][3] = {
		{"--nonsense", NULL, NULL},
		{"--listen", NULL, NULL},
		{"--listen", "", NULL},
		{"--listen", "8443", NULL},
		{"--listen", "example.org:8443", NULL},
		{"--stun", "on", NULL},
		{"--tls", "on", NULL},
		{"--tls-cert", "file", NULL},
		{"--expire-days", "-1", NULL},
		{"--expire-days", "9999999999999999999", NULL},
		{"--address-rest", "1h", NULL},
		{"--log-level", "loud", NULL},
		{"extra", NULL, NULL},
	};
	struct opts o;
	struct diag diag;

	(void)state;
	clear_env();
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		assert_int_equal(parse(&o, &diag, rows[i]), OPTS_BAD);
		assert_true(strlen(diag.text) > 10);
	}
	assert_int_equal(PARSE(&o, &diag, "--tls=off", "--tls-cert=c", "--tls-key=k"), OPTS_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opts_without_any_are_the_defaults),
		cmocka_unit_test(opts_all_given_are_taken),
		cmocka_unit_test(opts_environment_counts_unless_given),
		cmocka_unit_test(opts_help_and_version_are_found),
		cmocka_unit_test(opts_bad_ones_are_refused_with_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
