/* SPDX-License-Identifier: MIT */

#include "proto/ice/cand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int parse(const char *text, struct ice_cand *c)
{
	size_t n = strlen(text);
	char *exact = malloc(n > 0 ? n : 1);

	assert_non_null(exact);
	memcpy(exact, text, n);
	int r = ice_cand_parse(exact, n, c);
	free(exact);
	return r;
}

/* Lines as they are written by others. */
static void cand_parse_good_lines_give_their_parts(void **state)
{
	static const struct {
		const char *text, *foundation, *addr, *base;
		enum ice_cand_type type;
		uint32_t priority;
	} row[] = {
		{"candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host", "1", "192.0.2.1:4000",
	         "192.0.2.1:4000", ICE_CAND_HOST, 2130706431},
		{"a=candidate:1 1 UDP 1 192.0.2.1 65535 typ HOST\r\n", "1", "192.0.2.1:65535",
	         "192.0.2.1:65535", ICE_CAND_HOST, 1},
		{"candidate:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa32 1 udp 100 2001:db8::1 1 typ srflx raddr "
	         "2001:db8::2 rport 2",
	         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa32", "[2001:db8::1]:1", "[2001:db8::2]:2",
	         ICE_CAND_SRFLX, 100},
		{"candidate:x/+ 1 udp 100 203.0.113.1 7 typ srflx raddr 0.0.0.0 rport 0 generation 0",
	         "x/+", "203.0.113.1:7", "0.0.0.0:0", ICE_CAND_SRFLX, 100},
		{"candidate:1 1 udp 100 203.0.113.1 7 typ prflx", "1", "203.0.113.1:7", NULL,
	         ICE_CAND_PRFLX, 100},
		{"candidate:1 1 udp 100 203.0.113.1 7 typ relay foo bar raddr 192.0.2.9 rport 9 odd",
	         "1", "203.0.113.1:7", "192.0.2.9:9", ICE_CAND_RELAY, 100},
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(row); i++) {
		struct ice_cand c;
		char text[NETADDR_TEXT_SIZE];

		assert_int_equal(parse(row[i].text, &c), ICE_CAND_OK);
		assert_string_equal(c.foundation, row[i].foundation);
		assert_string_equal(netaddr_text(&c.addr, text), row[i].addr);
		if (row[i].base != NULL)
			assert_string_equal(netaddr_text(&c.base, text), row[i].base);
		else
			assert_int_equal(c.base.family, NETADDR_NONE);
		assert_int_equal(c.type, row[i].type);
		assert_int_equal(c.priority, row[i].priority);
	}
}

static void cand_parse_others_are_unsupported(void **state)
{
	static const char *const row[] = {
		"candidate:1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
		"candidate:1 2 udp 100 192.0.2.1 4000 typ host",
		"candidate:1 1 udp 100 5a1b7a2c-0d3c-4b6e-9a0f-1d2e3f405162.local 4000 typ host",
		"candidate:1 1 udp 100 example.org 4000 typ host",
		"candidate:1 1 udp 100 192.0.2.1 4000 typ new",
		"candidate:1 1 udp 100 ::ffff:127.0.0.1 4000 typ host",
		"candidate:1 1 udp 100 fe80::1%eth0 4000 typ host",
		"candidate:1 1 dccp 100 192.0.2.1 4000 typ host",
	};
	struct ice_cand c;

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(row); i++)
		assert_int_equal(parse(row[i], &c), ICE_CAND_UNSUPPORTED);
}

static void cand_parse_nonsense_is_malformed(void **state)
{
	static const char *const row[] = {
		"",
		"a=",
		"candidate:",
		"candidat:1 1 udp 100 192.0.2.1 4000 typ host",
		"candidate:1 1 udp 100 192.0.2.1 4000 typ",
		"candidate:1 1 udp 100 192.0.2.1 4000 host typ",
		"candidate:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa33 1 udp 100 192.0.2.1 4000 typ host",
		"candidate:\x01 1 udp 100 192.0.2.1 4000 typ host",
		"candidate:1 0 udp 100 192.0.2.1 4000 typ host",
		"candidate:1 257 udp 100 192.0.2.1 4000 typ host",
		"candidate:1 x udp 100 192.0.2.1 4000 typ host",
		"candidate:1 1 udp 0 192.0.2.1 4000 typ host",
		"candidate:1 1 udp 2147483648 192.0.2.1 4000 typ host",
		"candidate:1 1 udp -1 192.0.2.1 4000 typ host",
		"candidate:1 1 udp 99999999999 192.0.2.1 4000 typ host",
		"candidate:1 1 udp 100 192.0.2.1 65536 typ host",
		"candidate:1 1 udp 100 192.0.2.1 0 typ host",
	};
	struct ice_cand c;

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(row); i++)
		assert_int_equal(parse(row[i], &c), ICE_CAND_MALFORMED);
}

static void cand_parse_every_truncation_is_refused_or_read(void **state)
{
	static const char text[] =
		"a=candidate:1 1 udp 100 203.0.113.1 7 typ srflx raddr 192.0.2.9 "
		"rport 9";
	struct ice_cand c;

	(void)state;
	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		char *exact = malloc(n + 1);

		assert_non_null(exact);
		memcpy(exact, text, n);
		int r = ice_cand_parse(exact, n, &c);
		assert_true(r != ICE_CAND_OK || c.addr.port == 7);
		free(exact);
	}
}

static void cand_local_has_the_priority_of_rfc8445(void **state)
{
	struct netaddr a = netaddr_ip4(0xc0000201, 4000), m = netaddr_ip4(0xcb007101, 5000);
	struct ice_cand host = ice_cand_local(ICE_CAND_HOST, &a, &a, 65535);
	struct ice_cand srflx = ice_cand_local(ICE_CAND_SRFLX, &m, &a, 65535);

	(void)state;
	assert_int_equal(host.priority, 2130706431);
	assert_int_equal(srflx.priority, 1694498815);
	assert_string_not_equal(host.foundation, srflx.foundation);
	/* Another port of one address is of one foundation. */
	a.port = 4001;
	struct ice_cand other = ice_cand_local(ICE_CAND_HOST, &a, &a, 65535);
	assert_string_equal(host.foundation, other.foundation);
	/* A new mapping does not wait for the checks of the former one. */
	a.port = 4000;
	m.port = 5001;
	other = ice_cand_local(ICE_CAND_SRFLX, &m, &a, 65535);
	assert_string_not_equal(srflx.foundation, other.foundation);
}

static void cand_preference_mixes_families_by_interface(void **state)
{
	(void)state;
	assert_true(ice_cand_preference(NETADDR_IP6, 0) > ice_cand_preference(NETADDR_IP4, 0));
	assert_true(ice_cand_preference(NETADDR_IP4, 0) > ice_cand_preference(NETADDR_IP6, 1));
	assert_int_equal(ice_cand_preference(NETADDR_IP6, 0), 65535);
	assert_true(ice_cand_preference(NETADDR_IP4, 1000) > 0);
}

static void cand_format_srflx_names_its_base(void **state)
{
	struct netaddr a = netaddr_ip4(0xc0000201, 4000), m = netaddr_ip4(0xcb007101, 5000);
	struct ice_cand c = ice_cand_local(ICE_CAND_SRFLX, &m, &a, 65535);
	char text[ICE_CAND_TEXT_SIZE];

	(void)state;
	(void)snprintf(c.foundation, sizeof(c.foundation), "77");
	ice_cand_format(&c, text);
	assert_string_equal(text, "candidate:77 1 udp 1694498815 203.0.113.1 5000 typ srflx raddr "
	                          "192.0.2.1 rport 4000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cand_parse_good_lines_give_their_parts),
		cmocka_unit_test(cand_parse_others_are_unsupported),
		cmocka_unit_test(cand_parse_nonsense_is_malformed),
		cmocka_unit_test(cand_parse_every_truncation_is_refused_or_read),
		cmocka_unit_test(cand_local_has_the_priority_of_rfc8445),
		cmocka_unit_test(cand_preference_mixes_families_by_interface),
		cmocka_unit_test(cand_format_srflx_names_its_base),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
