/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packets.h"
#include "proto/ip/toobig.h"

static uint8_t p[2048], out[TOOBIG_BYTES];

static size_t build(size_t len, uint32_t mtu)
{
	struct inner in;

	assert_int_equal(inner_parse(p, len, &in), INNER_OK);
	return toobig_build(p, len, &in, mtu, out);
}

static size_t make(int version, size_t payload)
{
	struct packet_spec spec = {.version = version, .proto = 17, .port = 1, .payload = payload};

	return packet_make(p, &spec);
}

static void toobig_build_ip4_quotes_packet(void **state)
{
	struct inner in;
	size_t n = build(make(4, 1400), 1300);

	(void)state;
	assert_int_equal(n, 576);
	assert_int_equal(inner_parse(out, n, &in), INNER_OK);
	assert_int_equal(slow_sum(out, 20, 0), 0xffff);
	assert_int_equal(slow_sum(out + 20, n - 20, 0), 0xffff);
	assert_int_equal(out[9], INNER_ICMP);
	assert_int_equal(out[20], 3);
	assert_int_equal(out[21], 4);
	assert_int_equal(be16_load(out + 24), 0);
	assert_int_equal(be16_load(out + 26), 1300);
	assert_memory_equal(out + 12, p + 16, 4);
	assert_memory_equal(out + 16, p + 12, 4);
	assert_memory_equal(out + 28, p, 548);
}

static void toobig_build_ip6_quotes_packet(void **state)
{
	struct inner in;
	size_t n = build(make(6, 1400), 1300);

	(void)state;
	assert_int_equal(n, 1280);
	assert_int_equal(inner_parse(out, n, &in), INNER_OK);
	assert_int_equal(slow_transport_sum(out, n, 40, 58), 0xffff);
	assert_int_equal(out[6], INNER_ICMP6);
	assert_int_equal(out[40], 2);
	assert_int_equal(be32_load(out + 44), 1300);
	assert_memory_equal(out + 8, p + 24, 16);
	assert_memory_equal(out + 24, p + 8, 16);
	assert_memory_equal(out + 48, p, n - 48);
}

static void toobig_build_short_packet_is_quoted_whole(void **state)
{
	(void)state;
	assert_int_equal(build(make(4, 100), 100), 20 + 8 + 128);
	assert_int_equal(build(make(6, 100), 1280), 40 + 8 + 148);
}

static void toobig_build_forbidden_returns_zero(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} changes4[] = {
		{6, 0x00},  /* no DF */
		{7, 0x01},  /* a later fragment */
		{12, 0},    /* source 0.x */
		{12, 127},  /* loopback */
		{12, 224},  /* multicast source */
		{16, 239},  /* multicast destination */
		{16, 0xff}, /* broadcast */
	};

	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(changes4) / sizeof(changes4[0]); i++) {
		len = make(4, 1400);
		p[changes4[i].at] = changes4[i].value;
		assert_int_equal(build(len, 1300), 0);
	}
	assert_int_equal(build(make(4, 1400), 67), 0);
	assert_int_equal(build(make(6, 1400), 1279), 0);
	len = make(6, 1400);
	p[24] = 0xff;
	assert_int_equal(build(len, 1300), 0);
	len = make(6, 1400);
	memset(p + 8, 0, 16);
	assert_int_equal(build(len, 1300), 0);
}

static void toobig_build_icmp_error_is_not_answered(void **state)
{
	size_t len = make(4, 1400);

	(void)state;
	p[9] = INNER_ICMP;
	p[20] = 3;
	assert_int_equal(build(len, 1300), 0);
	p[20] = 8; /* echo */
	assert_int_not_equal(build(len, 1300), 0);
	len = make(6, 1400);
	p[6] = INNER_ICMP6;
	p[40] = 1;
	assert_int_equal(build(len, 1300), 0);
	p[40] = 128;
	assert_int_not_equal(build(len, 1300), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(toobig_build_ip4_quotes_packet),
		cmocka_unit_test(toobig_build_ip6_quotes_packet),
		cmocka_unit_test(toobig_build_short_packet_is_quoted_whole),
		cmocka_unit_test(toobig_build_forbidden_returns_zero),
		cmocka_unit_test(toobig_build_icmp_error_is_not_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
