/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/client/hostaddr.h"

#include <errno.h>
#include <stdio.h>

#define MAX    16
#define ADDRS  64
#define ROUTES 4

static struct route_addr addrs[ADDRS];
static struct route_entry routes[ROUTES];
static struct netaddr out[MAX];
static size_t n_addrs, n_routes, n_out;

static int set_up(void **state)
{
	(void)state;
	n_addrs = n_routes = n_out = 0;
	return 0;
}

static struct route_addr *have(uint32_t ifindex, const char *text)
{
	struct route_addr *a = &addrs[n_addrs++];

	*a = (struct route_addr){.ifindex = ifindex, .usable = true};
	assert_true(netaddr_parse_ip(text, &a->addr));
	return a;
}

static void default_route(uint32_t ifindex, uint32_t metric)
{
	routes[n_routes++] = (struct route_entry){.ifindex = ifindex, .metric = metric};
}

/* False: no memory (the OOM run). */
static bool rank(void)
{
	int r = hostaddr_rank(out, MAX, addrs, n_addrs, routes, n_routes, &n_out);

	if (r == -ENOMEM)
		return false;
	assert_int_equal(r, 0);
	return true;
}

static void expect(size_t place, uint32_t ifindex, const char *text)
{
	struct netaddr a;

	assert_true(place < n_out);
	assert_true(netaddr_parse_ip(text, &a));
	assert_true(netaddr_ip_equal(&out[place], &a));
	assert_int_equal(out[place].ifindex, ifindex);
}

static void hostaddr_way_to_the_internet_comes_first(void **state)
{
	(void)state;
	have(2, "192.0.2.2");
	have(3, "192.0.2.3");
	have(4, "192.0.2.4");
	have(4, "2001:db8::4");
	have(5, "192.0.2.5");
	default_route(4, 600);
	default_route(5, 100);
	if (!rank())
		return;
	assert_int_equal(n_out, 5);
	expect(0, 5, "192.0.2.5");
	expect(1, 4, "2001:db8::4");
	expect(2, 4, "192.0.2.4");
	expect(3, 2, "192.0.2.2");
	expect(4, 3, "192.0.2.3");
}

/* What the system names first does not crowd out the LAN, nor one family the other. */
static void hostaddr_many_bridges_leave_room(void **state)
{
	char text[32];

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(text, sizeof(text), "172.16.%u.1", i);
		have(10 + i, text);
	}
	have(40, "192.0.2.40");
	for (unsigned i = 0; i < 10; i++) {
		(void)snprintf(text, sizeof(text), "2001:db8::%u", i + 1);
		have(40, text);
	}
	default_route(40, 0);
	if (!rank())
		return;
	assert_int_equal(n_out, MAX);
	expect(0, 40, "2001:db8::1");
	expect(7, 40, "2001:db8::8");
	expect(8, 40, "192.0.2.40");
	expect(9, 10, "172.16.0.1");
}

static void hostaddr_one_family_alone_may_have_all_places(void **state)
{
	char text[32];

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(text, sizeof(text), "2001:db8::%u", i + 1);
		have(2, text);
	}
	if (!rank())
		return;
	assert_int_equal(n_out, MAX);
	have(2, "192.0.2.2");
	assert_true(rank());
	assert_int_equal(n_out, MAX);
	expect(MAX - 1, 2, "192.0.2.2");
}

static void hostaddr_useless_ones_are_left_out(void **state)
{
	(void)state;
	have(1, "127.0.0.1");
	have(2, "fe80::1");
	have(2, "224.0.0.1");
	have(2, "192.0.2.2")->usable = false;
	have(3, "192.0.2.3")->kind = ROUTE_LINK_TUNNEL;
	if (rank())
		assert_int_equal(n_out, 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
		CASE(hostaddr_way_to_the_internet_comes_first),
		CASE(hostaddr_many_bridges_leave_room),
		CASE(hostaddr_one_family_alone_may_have_all_places),
		CASE(hostaddr_useless_ones_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
