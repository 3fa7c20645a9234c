/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macro.h"
#include "engine/client/subnet.h"

#include <string.h>

static struct netprefix prefix(const char *text)
{
	struct netprefix p;

	assert_true(netprefix_parse(text, &p));
	return p;
}

static struct netaddr address(const char *text)
{
	struct netaddr a;

	assert_true(netaddr_parse_ip(text, &a));
	return a;
}

static void expect(const struct subnet_facts *f, const char *subnet, const char *with)
{
	struct netprefix p = prefix(subnet);
	struct diag why = {0};

	if (subnet_conflicts(f, &p, 0, &why) != (with != NULL))
		fail_msg("%s: %s", subnet, why.text);
	if (with != NULL && strstr(why.text, with) == NULL)
		fail_msg("%s: \"%s\" does not say \"%s\"", subnet, why.text, with);
}

static void subnet_own_address_inside_conflicts(void **state)
{
	struct route_addr addrs[] = {
		{.ifindex = 2, .addr = address("192.168.3.7"), .bits = 24},
		{.ifindex = 2, .addr = address("fd00::7"), .bits = 64},
	};
	const struct subnet_facts f = {.addrs = addrs, .n_addrs = GV_ARRAY_SIZE(addrs)};
	struct netprefix p = prefix("192.168.3.0/24");

	(void)state;
	expect(&f, "192.168.3.0/24", "192.168.3.7");
	expect(&f, "192.168.0.0/16", "192.168.3.7");
	expect(&f, "192.168.4.0/24", NULL);
	/* Its own interface is no stranger. */
	assert_false(subnet_conflicts(&f, &p, 2, NULL));
	assert_true(subnet_conflicts(&f, &p, 3, NULL));
}

static void subnet_longer_route_conflicts_wider_does_not(void **state)
{
	struct route_entry entries[] = {
		{.dst = prefix("0.0.0.0/0"), .gateway = address("172.16.9.1"), .ifindex = 2},
		{.dst = prefix("10.0.0.0/8"), .gateway = address("172.16.9.2"), .ifindex = 2},
		{.dst = prefix("10.5.6.0/24"), .gateway = address("172.16.9.2"), .ifindex = 2},
	};
	const struct subnet_facts f = {.entries = entries, .n_entries = GV_ARRAY_SIZE(entries)};

	(void)state;
	expect(&f, "10.7.7.0/24", NULL);
	expect(&f, "10.5.6.0/24", "10.5.6.0/24");
	expect(&f, "10.5.0.0/16", "10.5.6.0/24");
	expect(&f, "10.5.6.0/25", NULL); /* longer than the route over it */
	expect(&f, "172.16.9.0/24", "172.16.9.1");
}

static void subnet_dns_server_inside_conflicts(void **state)
{
	struct subnet_facts f = {0};

	(void)state;
	subnet_facts_add_dns(&f, "# resolver\nnameserver 10.9.8.7\nnameserver\t127.0.0.53 \n"
	                         "nameserver fd00::1\nsearch example\nnameserver x\nnameserver");
	assert_int_equal(f.n_dns, 3);
	expect(&f, "10.9.8.0/24", "10.9.8.7");
	expect(&f, "10.9.9.0/24", NULL);
}

static void subnet_dns_text_is_bounded(void **state)
{
	struct subnet_facts f = {0};
	char text[4096] = "";

	(void)state;
	for (int i = 0; i < 40; i++)
		strncat(text, "nameserver 10.0.0.1\n", sizeof(text) - strlen(text) - 1);
	subnet_facts_add_dns(&f, text);
	assert_int_equal(f.n_dns, SUBNET_DNS_MAX);
}

static void subnet_of_another_network_conflicts(void **state)
{
	struct subnet_facts f = {.n_others = 1};

	(void)state;
	f.others[0] = prefix("10.20.30.0/24");
	expect(&f, "10.20.30.128/25", "10.20.30.0/24");
	expect(&f, "10.20.0.0/16", "10.20.30.0/24");
	expect(&f, "10.20.31.0/24", NULL);
}

static void subnet_choose_gives_a_free_one(void **state)
{
	struct subnet_facts f = {0};
	struct rng rng = rng_seeded(1);
	struct netprefix got;

	(void)state;
	assert_true(subnet_choose(&f, &rng, &got));
	assert_int_equal(got.bits, 24);
	assert_int_equal(got.addr.ip[0], 10);
	for (unsigned i = 0; i < 200; i++) {
		struct netaddr a = netaddr_ip4(10u << 24 | i << 16, 0);
		f.others[0] = netprefix_of(&a, 16);
		f.n_others = 1;
		assert_true(subnet_choose(&f, &rng, &got));
		assert_false(netprefix_overlaps(&got, &f.others[0]));
	}
}

static void subnet_choose_nothing_free_fails(void **state)
{
	struct subnet_facts f = {.n_others = 1};
	struct rng rng = rng_seeded(2);
	struct netprefix got = {0};

	(void)state;
	f.others[0] = prefix("10.0.0.0/8");
	assert_false(subnet_choose(&f, &rng, &got));
	assert_int_equal(got.bits, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subnet_own_address_inside_conflicts),
		cmocka_unit_test(subnet_longer_route_conflicts_wider_does_not),
		cmocka_unit_test(subnet_dns_server_inside_conflicts),
		cmocka_unit_test(subnet_dns_text_is_bounded),
		cmocka_unit_test(subnet_of_another_network_conflicts),
		cmocka_unit_test(subnet_choose_gives_a_free_one),
		cmocka_unit_test(subnet_choose_nothing_free_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
