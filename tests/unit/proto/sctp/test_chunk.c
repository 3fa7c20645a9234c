/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "proto/sctp/chunk.h"

#include <stdlib.h>
#include <string.h>

/* RFC 3720 B.4 */
static void crc32c_rfc3720_vectors_match(void **state)
{
	uint8_t p[48];
	static const uint8_t read_pdu[48] = {
		0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
		0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};

	(void)state;
	memset(p, 0, 32);
	assert_int_equal(crc32c(p, 32), 0x8a9136aa);
	memset(p, 0xff, 32);
	assert_int_equal(crc32c(p, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		p[i] = (uint8_t)i;
	assert_int_equal(crc32c(p, 32), 0x46dd794e);
	for (int i = 0; i < 32; i++)
		p[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(p, 32), 0x113fdb5c);
	assert_int_equal(crc32c(read_pdu, sizeof(read_pdu)), 0xd9963a56);
	assert_int_equal(crc32c_soft(read_pdu, sizeof(read_pdu)), 0xd9963a56);
}

/* A COOKIE ACK packet and what each kind of damage does to its sum. */
static void packet_checksum_any_flipped_bit_is_seen(void **state)
{
	uint8_t p[64];
	struct bytes_writer w = bytes_writer(p, sizeof(p));
	struct packet_header h = {.source = 5000, .destination = 5001, .tag = 0xdeadbeef}, got;

	(void)state;
	packet_header_write(&w, &h);
	chunk_close(&w, chunk_open(&w, CHUNK_COOKIE_ACK, 0));
	packet_checksum_write(p, w.used);
	assert_int_equal(w.used, 16);
	assert_true(packet_checksum_ok(p, w.used));
	assert_int_equal(packet_header_read(p, w.used, &got), CHUNK_OK);
	assert_int_equal(got.source, 5000);
	assert_int_equal(got.destination, 5001);
	assert_int_equal(got.tag, 0xdeadbeef);
	for (size_t bit = 0; bit < w.used * 8; bit++) {
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(packet_checksum_ok(p, w.used));
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(packet_checksum_ok(p, w.used));
}

static void packet_header_read_short_is_bad(void **state)
{
	uint8_t p[12] = {0};
	struct packet_header h;

	(void)state;
	for (size_t n = 0; n < 12; n++)
		assert_int_equal(packet_header_read(p, n, &h), CHUNK_BAD);
}

/* One chunk of each kind, as bytes (RFC 9260 3.3). */
static void chunk_next_walks_padding_and_bounds(void **state)
{
	static const struct {
		uint8_t bytes[16];
		size_t len;
		enum chunk_result result;
		size_t body, left;
	} rows[] = {
		{{0}, 0, CHUNK_END, 0, 0},
		{{11, 0, 0}, 3, CHUNK_BAD, 0, 0},
		{{11, 0, 0, 4}, 4, CHUNK_OK, 0, 0},
		{{11, 0, 0, 3}, 4, CHUNK_BAD, 0, 0},  /* shorter than its header */
		{{11, 0, 0, 0}, 4, CHUNK_BAD, 0, 0},  /* would never end */
		{{6, 0, 0, 5, 1}, 5, CHUNK_OK, 1, 0}, /* padding missing at the end */
		{{6, 0, 0, 5, 1, 0, 0, 0}, 8, CHUNK_OK, 1, 0},
		{{6, 0, 0, 5, 1, 0, 0, 0, 9}, 9, CHUNK_OK, 1, 1},
		{{6, 0, 0, 9, 1, 0, 0, 0}, 8, CHUNK_BAD, 0, 0}, /* leaves the packet */
		{{6, 0, 0xff, 0xff, 1, 0, 0, 0}, 8, CHUNK_BAD, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bytes_reader r = bytes_reader(rows[i].bytes, rows[i].len);
		struct chunk c;

		assert_int_equal(chunk_next(&r, &c), rows[i].result);
		if (rows[i].result != CHUNK_OK)
			continue;
		assert_int_equal(c.type, rows[i].bytes[0]);
		assert_int_equal(c.len, rows[i].body);
		assert_int_equal(r.left, rows[i].left);
	}
}

static void chunk_sack_read_lists_must_be_there(void **state)
{
	uint8_t body[12 + 12] = {0, 0, 0, 10, 0, 1, 0, 0, 0, 2, 0, 1, 0, 2, 0, 3, 0, 5, 0, 5};
	struct chunk c = {.type = CHUNK_SACK, .body = body, .len = sizeof(body)};
	struct chunk_sack s;
	uint32_t start, end;

	(void)state;
	assert_int_equal(chunk_sack_read(&c, &s), CHUNK_OK);
	assert_int_equal(s.cum, 10);
	assert_int_equal(s.a_rwnd, 65536);
	assert_int_equal(s.gaps, 2);
	assert_int_equal(s.duplicates, 1);
	chunk_sack_gap(&s, 0, &start, &end);
	assert_int_equal(start, 12);
	assert_int_equal(end, 13);
	chunk_sack_gap(&s, 1, &start, &end);
	assert_int_equal(start, 15);
	assert_int_equal(end, 15);
	for (c.len = 0; c.len < sizeof(body); c.len++)
		assert_int_equal(chunk_sack_read(&c, &s), CHUNK_BAD);
	body[8] = body[9] = body[10] = body[11] = 0xff;
	c.len = sizeof(body);
	assert_int_equal(chunk_sack_read(&c, &s), CHUNK_BAD);
}

static void chunk_fixed_parts_short_is_bad(void **state)
{
	static const uint8_t body[32];
	struct chunk_init init;
	struct chunk_data data;
	struct chunk_forward forward;

	(void)state;
	for (size_t n = 0; n < sizeof(body); n++) {
		struct chunk c = {.body = body, .len = n};

		assert_int_equal(chunk_init_read(&c, &init), n < 16 ? CHUNK_BAD : CHUNK_OK);
		assert_int_equal(chunk_data_read(&c, &data), n < 12 ? CHUNK_BAD : CHUNK_OK);
		assert_int_equal(chunk_forward_read(&c, &forward),
		                 n < 4 || n % 4 != 0 ? CHUNK_BAD : CHUNK_OK);
	}
}

static void chunk_close_sets_length_and_pads(void **state)
{
	uint8_t p[16];
	struct bytes_writer w = bytes_writer(p, sizeof(p));
	static const uint8_t want[] = {9, 1, 0, 9, 0, 1, 0, 5, 7, 0, 0, 0};

	(void)state;
	memset(p, 0xaa, sizeof(p));
	size_t at = chunk_open(&w, CHUNK_ERROR, 1);
	size_t cause = param_open(&w, CAUSE_INVALID_STREAM);
	bytes_write_u8(&w, 7);
	be16_store(p + cause + 2, (uint16_t)(w.used - cause));
	chunk_close(&w, at);
	assert_true(w.ok);
	assert_int_equal(w.used, sizeof(want));
	assert_memory_equal(p, want, sizeof(want));
}

static void chunk_writer_without_room_fails(void **state)
{
	uint8_t p[6];
	struct bytes_writer w = bytes_writer(p, sizeof(p));

	(void)state;
	param_write(&w, PARAM_STATE_COOKIE, "abcd", 4);
	assert_false(w.ok);
}

static void tsn_before_wraps(void **state)
{
	(void)state;
	assert_true(tsn_before(1, 2));
	assert_false(tsn_before(2, 2));
	assert_true(tsn_before(0xffffffff, 0));
	assert_true(tsn_before(0xfffffff0, 0x10));
	assert_false(tsn_before(0x10, 0xfffffff0));
	assert_true(ssn_before(0xffff, 0));
	assert_false(ssn_before(0, 0xffff));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_rfc3720_vectors_match),
		cmocka_unit_test(packet_checksum_any_flipped_bit_is_seen),
		cmocka_unit_test(packet_header_read_short_is_bad),
		cmocka_unit_test(chunk_next_walks_padding_and_bounds),
		cmocka_unit_test(chunk_sack_read_lists_must_be_there),
		cmocka_unit_test(chunk_fixed_parts_short_is_bad),
		cmocka_unit_test(chunk_close_sets_length_and_pads),
		cmocka_unit_test(chunk_writer_without_room_fails),
		cmocka_unit_test(tsn_before_wraps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
