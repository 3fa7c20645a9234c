/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packets.h"
#include "proto/ip/inner.h"

static uint8_t p[2048];

static size_t make(int version, size_t payload)
{
	struct packet_spec spec = {.version = version, .proto = 17, .port = 1, .payload = payload};

	return packet_make(p, &spec);
}

/* An IPv6 packet with these bytes of extension headers, the first of kind `next`. */
static size_t make6(uint8_t next, const uint8_t *chain, size_t n)
{
	make(6, 0);
	p[6] = next;
	be16_store(p + 4, (uint16_t)(n + 8));
	memcpy(p + 40, chain, n);
	memset(p + 40 + n, 0, 8);
	return 48 + n;
}

static void inner_parse_whole_packet_returns_fields(void **state)
{
	struct inner in;

	(void)state;
	size_t len = make(4, 100);
	assert_int_equal(inner_parse(p, len, &in), INNER_OK);
	assert_int_equal(in.version, 4);
	assert_int_equal(in.proto, INNER_UDP);
	assert_int_equal(in.header_len, 20);
	assert_ptr_equal(in.src, p + 12);
	assert_ptr_equal(in.dst, p + 16);
	assert_true(in.dont_fragment && in.first_fragment && !in.fragment);
	len = make(6, 100);
	assert_int_equal(inner_parse(p, len, &in), INNER_OK);
	assert_int_equal(in.version, 6);
	assert_int_equal(in.addr_len, 16);
	assert_int_equal(in.header_len, 40);
	assert_ptr_equal(in.dst, p + 24);
}

static void inner_parse_wrong_length_is_refused(void **state)
{
	struct inner in;

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		size_t len = make(version, 30);

		for (size_t n = 0; n < len; n++)
			assert_int_not_equal(inner_parse(p, n, &in), INNER_OK);
		assert_int_equal(inner_parse(p, len + 1, &in), INNER_LENGTH);
	}
}

static void inner_parse_bad_header_is_refused(void **state)
{
	struct inner in;
	size_t len = make(4, 30);

	(void)state;
	p[0] = 0x44;
	assert_int_equal(inner_parse(p, len, &in), INNER_LENGTH);
	p[0] = 0x4f;
	assert_int_equal(inner_parse(p, 58, &in), INNER_LENGTH);
	p[0] = 0x55;
	assert_int_equal(inner_parse(p, len, &in), INNER_VERSION);
	p[0] = 0x05;
	assert_int_equal(inner_parse(p, len, &in), INNER_VERSION);
}

static void inner_parse_fragments_are_told(void **state)
{
	static const struct {
		uint16_t field;
		bool fragment, first, df;
	} cases[] = {
		{0x0000, false, true, false}, {0x2000, true, true, false},
		{0x0001, true, false, false}, {0x3fff, true, false, false},
		{0x4000, false, true, true},
	};
	struct inner in;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = make(4, 64);

		be16_store(p + 6, cases[i].field);
		assert_int_equal(inner_parse(p, len, &in), INNER_OK);
		assert_int_equal(in.fragment, cases[i].fragment);
		assert_int_equal(in.first_fragment, cases[i].first);
		assert_int_equal(in.dont_fragment, cases[i].df);
	}
}

static void inner_parse_source_route_is_refused(void **state)
{
	struct inner in;

	(void)state;
	size_t len = make(4, 64);
	p[0] = 0x47;
	memcpy(p + 20, "\x01\x83\x07\x04\x0a\x00\x00\x01", 8);
	assert_int_equal(inner_parse(p, len, &in), INNER_SOURCE_ROUTE);
	p[21] = 137;
	assert_int_equal(inner_parse(p, len, &in), INNER_SOURCE_ROUTE);
	memcpy(p + 20, "\x07\x08\x04\x00\x00\x00\x00\x00", 8); /* record route: harmless */
	assert_int_equal(inner_parse(p, len, &in), INNER_OK);
	assert_int_equal(in.header_len, 28);
	len = make6(43, (const uint8_t *)"\x11\x00\x04\x01\x00\x00\x00\x00", 8);
	assert_int_equal(inner_parse(p, len, &in), INNER_SOURCE_ROUTE);
	p[43] = 0; /* no segments left */
	assert_int_equal(inner_parse(p, len, &in), INNER_OK);
	assert_int_equal(in.proto, INNER_UDP);
	assert_int_equal(in.header_len, 48);
}

static void inner_parse_chain_is_walked(void **state)
{
	uint8_t chain[8 * (INNER_MAX_CHAIN + 1)] = {0};
	struct inner in;

	(void)state;
	for (size_t i = 0; i <= INNER_MAX_CHAIN; i++)
		chain[8 * i] = 60;
	chain[8 * (INNER_MAX_CHAIN - 1)] = 17;
	assert_int_equal(inner_parse(p, make6(60, chain, 8 * INNER_MAX_CHAIN), &in), INNER_OK);
	assert_int_equal(in.header_len, 40 + 8 * INNER_MAX_CHAIN);
	chain[8 * (INNER_MAX_CHAIN - 1)] = 60;
	chain[8 * INNER_MAX_CHAIN] = 17;
	assert_int_equal(inner_parse(p, make6(60, chain, sizeof(chain)), &in), INNER_CHAIN);
	chain[1] = 200; /* longer than the packet */
	assert_int_equal(inner_parse(p, make6(60, chain, 16), &in), INNER_CHAIN);
	/* Hop-by-hop with a jumbo option comes with payload length 0. */
	size_t len = make6(0, (const uint8_t *)"\x11\x00\xc2\x04\x00\x01\x00\x00", 8);
	be16_store(p + 4, 0);
	assert_int_equal(inner_parse(p, len, &in), INNER_LENGTH);
}

static void inner_parse_ip6_fragment_ends_chain(void **state)
{
	struct inner in;

	(void)state;
	/* A later fragment: what follows is data, whatever it looks like. */
	size_t len = make6(44, (const uint8_t *)"\x2b\x00\x00\x09\x00\x00\x00\x01", 8);
	assert_int_equal(inner_parse(p, len, &in), INNER_OK);
	assert_true(in.fragment && !in.first_fragment);
	assert_int_equal(in.proto, 43);
	len = make6(44, (const uint8_t *)"\x11\x00\x00\x01\x00\x00\x00\x01", 8);
	assert_int_equal(inner_parse(p, len, &in), INNER_OK);
	assert_true(in.fragment && in.first_fragment);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inner_parse_whole_packet_returns_fields),
		cmocka_unit_test(inner_parse_wrong_length_is_refused),
		cmocka_unit_test(inner_parse_bad_header_is_refused),
		cmocka_unit_test(inner_parse_fragments_are_told),
		cmocka_unit_test(inner_parse_source_route_is_refused),
		cmocka_unit_test(inner_parse_chain_is_walked),
		cmocka_unit_test(inner_parse_ip6_fragment_ends_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
