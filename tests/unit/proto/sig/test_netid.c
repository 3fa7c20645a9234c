/* SPDX-License-Identifier: MIT */

#include "proto/sig/netid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Computed independently: SHA-256 over the length-prefixed tag and fields of docs/protocol.md. */
static const char vector_id[] = "7bci3qlguqk5r32gb2qi6pgsri77o3qu";
static const char vector_ip6[] = "fdcd:8901:e0b8:7377:30d5:c46c:c93f:967a";

static void fill(uint8_t *p, size_t n, uint8_t first)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(first + i);
}

static void netid_derive_known_key_matches_vector(void **state)
{
	uint8_t owner[SIG_KEY_SIZE], salt[NETID_SALT_SIZE], id[NETID_SIZE];
	char text[NETID_TEXT_SIZE];

	(void)state;
	fill(owner, sizeof(owner), 0);
	fill(salt, sizeof(salt), 100);
	assert_int_equal(netid_derive(id, owner, salt), 0);
	assert_string_equal(netid_text(id, text), vector_id);
}

static void netid_derive_other_salt_or_owner_changes_id(void **state)
{
	uint8_t owner[SIG_KEY_SIZE] = {0}, salt[NETID_SALT_SIZE] = {0};
	uint8_t a[NETID_SIZE], b[NETID_SIZE];

	(void)state;
	assert_int_equal(netid_derive(a, owner, salt), 0);
	salt[15] = 1;
	assert_int_equal(netid_derive(b, owner, salt), 0);
	assert_memory_not_equal(a, b, NETID_SIZE);
	salt[15] = 0;
	owner[0] = 1;
	assert_int_equal(netid_derive(b, owner, salt), 0);
	assert_memory_not_equal(a, b, NETID_SIZE);
}

static void netid_parse_text_gives_id_back(void **state)
{
	uint8_t id[NETID_SIZE], back[NETID_SIZE];
	char text[NETID_TEXT_SIZE];

	(void)state;
	fill(id, sizeof(id), 200);
	assert_true(netid_parse(netid_text(id, text), back));
	assert_memory_equal(id, back, NETID_SIZE);
}

static void netid_parse_foreign_text_returns_false(void **state)
{
	static const char *const texts[] = {
		"",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1",
		"aaaaaaaaaaaaaaaa-aaaaaaaaaaaaaaa",
	};
	uint8_t id[NETID_SIZE];

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(texts); i++) {
		memset(id, 7, sizeof(id));
		assert_false(netid_parse(texts[i], id));
		assert_int_equal(id[0], 7);
	}
}

static void netid_parse_code_as_people_write_it_returns_letters(void **state)
{
	static const char *const good[] = {"abcde23456", "ABCDE23456", "abcde-23456",
	                                   " abc de2 3456"};
	static const char *const bad[] = {"", "abcde2345", "abcde234567", "abcde2345!",
	                                  "abcde23450"};
	char code[NETID_CODE_SIZE];

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(good); i++) {
		assert_true(netid_parse_code(good[i], code));
		assert_string_equal(code, "abcde23456");
	}
	for (size_t i = 0; i < GV_ARRAY_SIZE(bad); i++)
		assert_false(netid_parse_code(bad[i], code));
}

static void netid_make_code_uses_low_50_bits(void **state)
{
	char a[NETID_CODE_SIZE], b[NETID_CODE_SIZE];

	(void)state;
	netid_make_code(0, a);
	assert_string_equal(a, "aaaaaaaaaa");
	netid_make_code(1, a);
	assert_string_equal(a, "aaaaaaaaab");
	netid_make_code((UINT64_C(1) << 50) - 1, a);
	assert_string_equal(a, "7777777777");
	netid_make_code(UINT64_MAX, b);
	assert_string_equal(a, b);
	assert_true(netid_parse_code(a, b));
}

static void netid_addr6_known_key_matches_vector(void **state)
{
	uint8_t id[NETID_SIZE], key[SIG_KEY_SIZE];
	char text[NETADDR_TEXT_SIZE];
	struct netprefix prefix;
	struct netaddr addr;

	(void)state;
	fill(id, sizeof(id), 0);
	fill(key, sizeof(key), 50);
	assert_int_equal(netid_addr6(id, key, &addr), 0);
	assert_string_equal(netaddr_ip_text(&addr, text), vector_ip6);
	assert_int_equal(netid_prefix6(id, &prefix), 0);
	assert_int_equal(prefix.bits, 64);
	assert_int_equal(prefix.addr.ip[0], 0xfd);
	assert_true(netprefix_contains(&prefix, &addr));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(netid_derive_known_key_matches_vector),
		cmocka_unit_test(netid_derive_other_salt_or_owner_changes_id),
		cmocka_unit_test(netid_parse_text_gives_id_back),
		cmocka_unit_test(netid_parse_foreign_text_returns_false),
		cmocka_unit_test(netid_parse_code_as_people_write_it_returns_letters),
		cmocka_unit_test(netid_make_code_uses_low_50_bits),
		cmocka_unit_test(netid_addr6_known_key_matches_vector),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
