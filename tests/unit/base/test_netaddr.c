/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macro.h"
#include "base/netaddr.h"

#include <string.h>

static struct netaddr addr(const char *text)
{
	struct netaddr a;

	assert_true(netaddr_parse_ip(text, &a));
	return a;
}

static void netaddr_parse_accepts_and_formats_back(void **state)
{
	static const char *const good[] = {"192.0.2.1:80", "0.0.0.0:0", "[2001:db8::1]:65535",
	                                   "[::]:1"};
	char text[NETADDR_TEXT_SIZE];
	struct netaddr a;

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(good); i++) {
		assert_true(netaddr_parse(good[i], &a));
		assert_string_equal(netaddr_text(&a, text), good[i]);
	}
}

static void netaddr_parse_refuses_everything_else(void **state)
{
	static const char *const bad[] = {
		"",        "192.0.2.1",      "192.0.2.1:",     "192.0.2.1:65536", "192.0.2.1:-1",
		"host:80", "1.2.3:80",       "[192.0.2.1]:80", "2001:db8::1:80",  "[2001:db8::1]",
		"[::1]:x", "1.2.3.4:000080",
	};
	struct netaddr a;

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(bad); i++)
		assert_false(netaddr_parse(bad[i], &a));
}

static void netprefix_parse_refuses_host_bits(void **state)
{
	struct netprefix p;
	char text[NETADDR_TEXT_SIZE];

	(void)state;
	assert_true(netprefix_parse("10.83.12.0/24", &p));
	assert_string_equal(netprefix_text(&p, text), "10.83.12.0/24");
	assert_false(netprefix_parse("10.83.12.1/24", &p));
	assert_false(netprefix_parse("10.83.12.0/33", &p));
	assert_true(netprefix_parse("fd00::/64", &p));
	assert_false(netprefix_parse("fd00::/129", &p));
}

static void netprefix_contains_and_overlaps_by_bits(void **state)
{
	struct netprefix p24, p30, p16;
	struct netaddr in = addr("10.1.2.255"), out = addr("10.1.3.0");

	(void)state;
	assert_true(netprefix_parse("10.1.2.0/24", &p24));
	assert_true(netprefix_parse("10.1.2.4/30", &p30));
	assert_true(netprefix_parse("10.2.0.0/16", &p16));
	assert_true(netprefix_contains(&p24, &in));
	assert_false(netprefix_contains(&p24, &out));
	assert_true(netprefix_overlaps(&p24, &p30));
	assert_true(netprefix_overlaps(&p30, &p24));
	assert_false(netprefix_overlaps(&p24, &p16));
	struct netaddr b = netprefix_broadcast(&p30);
	assert_int_equal(netaddr_u32(&b), 0x0a010207);
}

static void netaddr_classes_are_told_apart(void **state)
{
	struct netaddr a;

	(void)state;
	a = addr("127.1.2.3");
	assert_true(netaddr_is_loopback(&a));
	a = addr("::1");
	assert_true(netaddr_is_loopback(&a));
	a = addr("169.254.1.1");
	assert_true(netaddr_is_link_local(&a));
	a = addr("fe80::1");
	assert_true(netaddr_is_link_local(&a));
	a = addr("febf::1");
	assert_true(netaddr_is_link_local(&a));
	a = addr("fec0::1");
	assert_false(netaddr_is_link_local(&a));
	a = addr("239.1.2.3");
	assert_true(netaddr_is_multicast(&a));
	a = addr("240.0.0.1");
	assert_false(netaddr_is_multicast(&a));
	a = addr("ff02::1");
	assert_true(netaddr_is_multicast(&a));
	a = addr("0.0.0.0");
	assert_true(netaddr_is_any(&a));
}

static void netaddr_equal_ignores_interface_only(void **state)
{
	struct netaddr a = netaddr_ip4(0x0a000001, 5), b = a;

	(void)state;
	b.ifindex = 7;
	assert_true(netaddr_equal(&a, &b));
	assert_int_equal(netaddr_hash(&a, 1), netaddr_hash(&b, 1));
	b.port = 6;
	assert_false(netaddr_equal(&a, &b));
	assert_true(netaddr_ip_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(netaddr_parse_accepts_and_formats_back),
		cmocka_unit_test(netaddr_parse_refuses_everything_else),
		cmocka_unit_test(netprefix_parse_refuses_host_bits),
		cmocka_unit_test(netprefix_contains_and_overlaps_by_bits),
		cmocka_unit_test(netaddr_classes_are_told_apart),
		cmocka_unit_test(netaddr_equal_ignores_interface_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
