/* SPDX-License-Identifier: MIT */

/* What the server says over HTTP. */

#include "engine/server/metrics.h"
#include "engine/server/page.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ID "abcdefghijklmnopqrstuvwxyz234567"

static const struct metrics sample = {
	.hub = {.start_unix_s = 1700000000, .connections = 3, .computers = 2, .messages = 77},
	.stun = {.answered = 5},
	.now_unix_s = 1700000000 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5,
	.expire_s = 90 * 86400,
};

static void metrics_json_is_json_with_the_known_names(void **state)
{
	struct buf out = BUF_INIT(65536);
	const char *uptime = NULL;
	int connections = 0, days = 0, connected = 0;

	(void)state;
	assert_int_equal(metrics_json(&sample, &out), 0);
	json_t *root = json_loads(buf_str(&out), 0, NULL);
	assert_non_null(root);
	assert_int_equal(json_unpack(root, "{s:{s:s, s:i}, s:{s:i}, s:{s:i}}", "server_stats",
	                             "uptime", &uptime, "active_connections", &connections,
	                             "config", "network_expiry_days", &days, "computers",
	                             "connected", &connected),
	                 0);
	assert_string_equal(uptime, "2d 3h 4m 5s");
	assert_int_equal(connections, 3);
	assert_int_equal(days, 90);
	assert_int_equal(connected, 2);
	json_decref(root);
	buf_deinit(&out);
}

static void metrics_prometheus_has_a_type_for_each_value(void **state)
{
	struct buf out = BUF_INIT(65536);
	unsigned types = 0, values = 0;

	(void)state;
	assert_int_equal(metrics_prometheus(&sample, &out), 0);
	for (const char *line = buf_str(&out); *line != '\0'; line = strchr(line, '\n') + 1) {
		types += strncmp(line, "# TYPE govpn_", 13) == 0;
		values += strncmp(line, "govpn_", 6) == 0;
	}
	assert_true(types > 10);
	assert_int_equal(types, values);
	assert_non_null(strstr(buf_str(&out), "\ngovpn_messages_total 77\n"));
	buf_deinit(&out);
}

static void page_of_invite_names_the_network_and_has_no_script(void **state)
{
	struct buf out = BUF_INIT(65536);
	bool found = false;

	(void)state;
	assert_int_equal(page_invite("/j/" ID, &out, &found), 0);
	assert_true(found);
	assert_non_null(strstr(buf_str(&out), ID));
	assert_null(strstr(buf_str(&out), "<script"));
	assert_null(strstr(buf_str(&out), "http"));
	buf_deinit(&out);
}

static void page_of_other_paths_is_not_found(void **state)
{
	static const char *const paths[] = {"/j/", "/j", "/x/" ID, "/j/" ID "a", "/j/<script>", ""};
	struct buf out = BUF_INIT(65536);
	bool found = true;

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(paths); i++) {
		assert_int_equal(page_invite(paths[i], &out, &found), 0);
		assert_false(found);
		assert_int_equal(out.len, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(metrics_json_is_json_with_the_known_names),
		cmocka_unit_test(metrics_prometheus_has_a_type_for_each_value),
		cmocka_unit_test(page_of_invite_names_the_network_and_has_no_script),
		cmocka_unit_test(page_of_other_paths_is_not_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
