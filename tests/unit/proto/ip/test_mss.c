/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packets.h"
#include "proto/ip/mss.h"

#define SYN 0x02
#define ACK 0x10

static uint8_t p[256];
static struct inner in;

/* A SYN with these option bytes (n a multiple of 4). */
static size_t make(int version, const char *options, size_t n)
{
	struct packet_spec spec = {
		.version = version, .proto = 6, .flags = SYN, .port = 80, .tcp_options = n};
	size_t len = packet_make(p, &spec), header = version == 4 ? 20 : 40;

	memcpy(p + header + 20, options, n);
	fix_checksums(p, len, header, 6);
	assert_int_equal(inner_parse(p, len, &in), INNER_OK);
	return len;
}

static void mss_clamp_larger_is_lowered(void **state)
{
	(void)state;
	size_t len = make(4, "\x02\x04\x05\xb4", 4);
	assert_true(mss_applies(p, len, &in));
	assert_true(mss_clamp(p, len, &in, 1380));
	assert_int_equal(be16_load(p + 42), 1340);
	assert_true(packet_is_intact(p, len, 20, 6));
	len = make(6, "\x02\x04\x05\xb4", 4);
	assert_true(mss_clamp(p, len, &in, 1380));
	assert_int_equal(be16_load(p + 62), 1320);
	assert_true(packet_is_intact(p, len, 40, 6));
}

static void mss_clamp_odd_place_keeps_checksum(void **state)
{
	(void)state;
	size_t len = make(4, "\x01\x02\x04\xff\xff\x01\x01\x00", 8);
	assert_true(mss_clamp(p, len, &in, 1280));
	assert_int_equal(be16_load(p + 43), 1240);
	assert_true(packet_is_intact(p, len, 20, 6));
}

static void mss_clamp_smaller_stays(void **state)
{
	(void)state;
	size_t len = make(4, "\x02\x04\x05\x3c", 4);
	assert_false(mss_clamp(p, len, &in, 1380));
	assert_int_equal(be16_load(p + 42), 1340);
}

static void mss_clamp_malformed_options_stay(void **state)
{
	static const char *const options[] = {
		"\x02\x03\xff\xff", /* wrong length */
		"\x01\x01\x02\x04", /* cut off */
		"\x03\x00\x02\x04", /* length 0 */
		"\x00\x02\x04\xff", /* behind the end */
		"\x01\x01\x01\x02", /* no length byte */
		"\x03\xff\xff\xff", /* beyond the header */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		uint8_t before[sizeof(p)];
		size_t len = make(4, options[i], 4);

		memcpy(before, p, len);
		assert_false(mss_clamp(p, len, &in, 600));
		assert_memory_equal(before, p, len);
	}
}

static void mss_applies_only_to_whole_syn(void **state)
{
	(void)state;
	size_t len = make(4, "\x02\x04\x05\xb4", 4);
	p[33] = ACK;
	assert_false(mss_applies(p, len, &in));
	p[33] = SYN | ACK;
	assert_true(mss_applies(p, len, &in));
	in.fragment = true;
	assert_false(mss_applies(p, len, &in));
	in.fragment = false;
	in.proto = INNER_UDP;
	assert_false(mss_applies(p, len, &in));
	in.proto = INNER_TCP;
	assert_false(mss_applies(p, 39, &in));
}

static void mss_clamp_bad_data_offset_stays(void **state)
{
	(void)state;
	size_t len = make(4, "\x02\x04\x05\xb4", 4);
	p[32] = 0x40;
	assert_false(mss_clamp(p, len, &in, 600));
	p[32] = 0xf0;
	assert_false(mss_clamp(p, len, &in, 600));
	p[32] = 0x60;
	assert_false(mss_clamp(p, len, &in, 40));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mss_clamp_larger_is_lowered),
		cmocka_unit_test(mss_clamp_odd_place_keeps_checksum),
		cmocka_unit_test(mss_clamp_smaller_stays),
		cmocka_unit_test(mss_clamp_malformed_options_stay),
		cmocka_unit_test(mss_applies_only_to_whole_syn),
		cmocka_unit_test(mss_clamp_bad_data_offset_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
