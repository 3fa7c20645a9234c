/* SPDX-License-Identifier: MIT */

#include "proto/stun/msg.h"

#include "base/bytes.h"
#include "crypto/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* RFC 5769 2.1 to 2.4. */
static const char password[] = "VOkJxbRl1RmTxUk/WvJxBt";

static const uint8_t request[108] = {
	0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
	0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e,
	0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24,
	0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1,
	0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68,
	0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c,
	0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5,
	0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
};

static const uint8_t response4[80] = {
	0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
	0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74,
	0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01,
	0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99,
	0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b,
	0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
};

static const uint8_t response6[92] = {
	0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
	0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74,
	0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x14, 0x00, 0x02,
	0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5,
	0xbe, 0xd2, 0xb9, 0xd9, 0x00, 0x08, 0x00, 0x14, 0xa3, 0x82, 0x95, 0x4e, 0x4b, 0xe6,
	0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92, 0xc2, 0x75, 0xbf, 0xe3, 0xed, 0x41,
	0x80, 0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
};

static const uint8_t request_long_term[116] = {
	0x00, 0x01, 0x00, 0x60, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72,
	0xc0, 0x29, 0xda, 0x41, 0x2e, 0x00, 0x06, 0x00, 0x12, 0xe3, 0x83, 0x9e, 0xe3, 0x83, 0x88,
	0xe3, 0x83, 0xaa, 0xe3, 0x83, 0x83, 0xe3, 0x82, 0xaf, 0xe3, 0x82, 0xb9, 0x00, 0x00, 0x00,
	0x15, 0x00, 0x1c, 0x66, 0x2f, 0x2f, 0x34, 0x39, 0x39, 0x6b, 0x39, 0x35, 0x34, 0x64, 0x36,
	0x4f, 0x4c, 0x33, 0x34, 0x6f, 0x4c, 0x39, 0x46, 0x53, 0x54, 0x76, 0x79, 0x36, 0x34, 0x73,
	0x41, 0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x2e, 0x6f, 0x72,
	0x67, 0x00, 0x00, 0x08, 0x00, 0x14, 0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6, 0x4a, 0x3e, 0x02,
	0xb8, 0xe0, 0x71, 0x2e, 0x85, 0xc9, 0xa2, 0x8c, 0xa8, 0x96, 0x66,
};

/* A copy of the exact size, so that a sanitizer sees a read past the end. */
static int parse(const uint8_t *data, size_t len, struct stun_msg *out)
{
	static uint8_t *exact;

	free(exact);
	exact = malloc(len > 0 ? len : 1);
	assert_non_null(exact);
	memcpy(exact, data, len);
	return stun_msg_parse(exact, len, out);
}

static void msg_parse_rfc5769_request_gives_its_fields(void **state)
{
	struct stun_msg m;

	(void)state;
	assert_true(stun_is_message(request, sizeof(request)));
	assert_int_equal(parse(request, sizeof(request), &m), STUN_MSG_OK);
	assert_int_equal(m.class, STUN_CLASS_REQUEST);
	assert_int_equal(m.method, STUN_METHOD_BINDING);
	assert_memory_equal(m.id, request + 8, STUN_ID_SIZE);
	assert_int_equal(m.username_len, 9);
	assert_memory_equal(m.username, "evtj:h6vY", 9);
	assert_memory_equal(m.software, "STUN test client", 16);
	assert_true(m.has_priority && m.has_controlled && !m.has_controlling && !m.use_candidate);
	assert_int_equal(m.priority, 0x6e0001ff);
	assert_true(m.tie_breaker == 0x932ff9b151263b36u);
	assert_true(m.has_integrity && m.has_fingerprint);
	assert_int_equal(m.unknown_count, 0);
	assert_true(stun_msg_verify(&m, password, sizeof(password) - 1));
	assert_false(stun_msg_verify(&m, password, sizeof(password) - 2));
}

static void msg_parse_rfc5769_ip4_response_gives_mapped_address(void **state)
{
	struct stun_msg m;
	struct netaddr right = netaddr_ip4(0xc0000201, 32853);

	(void)state;
	assert_int_equal(parse(response4, sizeof(response4), &m), STUN_MSG_OK);
	assert_int_equal(m.class, STUN_CLASS_SUCCESS);
	assert_true(netaddr_equal(&m.mapped, &right));
	assert_true(stun_msg_verify(&m, password, sizeof(password) - 1));
}

static void msg_parse_rfc5769_ip6_response_gives_mapped_address(void **state)
{
	struct stun_msg m;
	struct netaddr right;

	(void)state;
	assert_true(netaddr_parse("[2001:db8:1234:5678:11:2233:4455:6677]:32853", &right));
	assert_int_equal(parse(response6, sizeof(response6), &m), STUN_MSG_OK);
	assert_true(netaddr_equal(&m.mapped, &right));
	assert_true(stun_msg_verify(&m, password, sizeof(password) - 1));
}

static void msg_verify_rfc5769_long_term_key_is_right(void **state)
{
	/* MD5 of user ":example.org:TheMatrIX" (RFC 8489 9.2.2). */
	static const uint8_t key[16] = {0xe8, 0xca, 0x7a, 0xd5, 0x9d, 0x5e, 0xb0, 0x51,
	                                0x8e, 0x31, 0x29, 0x11, 0xd2, 0xda, 0xb2, 0xa9};
	struct stun_msg m;

	(void)state;
	assert_int_equal(parse(request_long_term, sizeof(request_long_term), &m), STUN_MSG_OK);
	assert_int_equal(m.username_len, 18);
	assert_int_equal(m.unknown_count, 0);
	assert_false(m.has_fingerprint);
	assert_true(stun_msg_verify(&m, key, sizeof(key)));
}

static void msg_parse_every_truncation_is_refused(void **state)
{
	struct stun_msg m;

	(void)state;
	for (size_t n = 0; n < sizeof(request); n++) {
		assert_int_equal(parse(request, n, &m), STUN_MSG_SHORT);
		assert_false(stun_is_message(request, n));
	}
}

/* Any changed bit is noticed: by form, by fingerprint or by integrity. */
static void msg_parse_every_changed_bit_is_noticed(void **state)
{
	uint8_t data[sizeof(request)];
	struct stun_msg m;

	(void)state;
	for (size_t i = 0; i < sizeof(request) * 8; i++) {
		memcpy(data, request, sizeof(request));
		data[i / 8] ^= (uint8_t)(1 << i % 8);
		if (parse(data, sizeof(data), &m) == STUN_MSG_OK)
			assert_true(!m.has_fingerprint ||
			            !stun_msg_verify(&m, password, sizeof(password) - 1));
	}
}

static void msg_parse_wrong_fingerprint_is_told(void **state)
{
	uint8_t data[sizeof(request)];
	struct stun_msg m;

	(void)state;
	memcpy(data, request, sizeof(request));
	data[sizeof(data) - 1] ^= 1;
	assert_int_equal(parse(data, sizeof(data), &m), STUN_MSG_BAD_FINGERPRINT);
}

static void msg_parse_trailing_bytes_are_malformed(void **state)
{
	uint8_t data[sizeof(request) + 4] = {0};
	struct stun_msg m;

	(void)state;
	memcpy(data, request, sizeof(request));
	assert_int_equal(parse(data, sizeof(data), &m), STUN_MSG_MALFORMED);
}

/* A message with one attribute of this type and content. */
static int parse_one(uint16_t type, const void *value, size_t len, struct stun_msg *m)
{
	uint8_t data[256] = {0};
	size_t body = 4 + ((len + 3) & ~(size_t)3);

	be16_store(data, 0x0001);
	be16_store(data + 2, (uint16_t)body);
	be32_store(data + 4, STUN_COOKIE);
	be16_store(data + 20, type);
	be16_store(data + 22, (uint16_t)len);
	memcpy(data + 24, value, len);
	return parse(data, STUN_HEADER_SIZE + body, m);
}

static void msg_parse_attributes_out_of_form_are_malformed(void **state)
{
	static const struct {
		uint16_t type;
		uint8_t len;
		uint8_t value[24];
	} row[] = {
		{0x0024, 3, {0}}, /* PRIORITY */
		{0x0024, 8, {0}},
		{0x0025, 4, {0}},           /* USE-CANDIDATE */
		{0x8029, 4, {0}},           /* ICE-CONTROLLED */
		{0x802a, 12, {0}},          /* ICE-CONTROLLING */
		{0x0020, 8, {0, 3, 1, 1}},  /* XOR-MAPPED-ADDRESS: family */
		{0x0020, 8, {0, 2, 1, 1}},  /* IPv6 with 4 bytes */
		{0x0020, 20, {0, 1, 1, 1}}, /* IPv4 with 16 bytes */
		{0x0020, 3, {0}},
		{0x0001, 7, {0, 1}},         /* MAPPED-ADDRESS */
		{0x0009, 2, {0}},            /* ERROR-CODE */
		{0x0009, 4, {0, 0, 2, 0}},   /* class 2 */
		{0x0009, 4, {0, 0, 4, 100}}, /* number 100 */
		{0x0008, 19, {0}},           /* MESSAGE-INTEGRITY */
		{0x8028, 8, {0}},            /* FINGERPRINT */
	};
	struct stun_msg m;

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(row); i++)
		assert_int_equal(parse_one(row[i].type, row[i].value, row[i].len, &m),
		                 STUN_MSG_MALFORMED);
}

/* One attribute at the end of a message that is being written by hand. */
static size_t add_attr(uint8_t *data, size_t at, uint16_t type, const void *value, size_t len)
{
	be16_store(data + at, type);
	be16_store(data + at + 2, (uint16_t)len);
	if (len > 0)
		memcpy(data + at + 4, value, len);
	at += 4 + ((len + 3) & ~(size_t)3);
	be16_store(data + 2, (uint16_t)(at - STUN_HEADER_SIZE));
	return at;
}

/* RFC 8489 14: of repeated attributes the first is the one; the others are not even looked at. */
static void msg_parse_of_repeated_attributes_the_first_counts(void **state)
{
	static const struct {
		uint16_t type;
		uint8_t len;
		uint8_t value[8];
	} row[] = {
		{0x0006, 3, "a:b"},
		{0x8022, 1, "s"},
		{0x0001,
	         8,
	         {0, 1, 0, 7, 9, 9, 9, 9}}, /* MAPPED-ADDRESS: the other goes before it */
		{0x0020, 8, {0, 1, 0x21, 0x12 ^ 5, 0x21 ^ 1, 0x12 ^ 2, 0xa4 ^ 3, 0x42 ^ 4}},
		{0x0009, 4, {0, 0, 4, 1}},
		{0x0024, 4, {0, 0, 0, 7}},
		{0x0025, 0, {0}},
		{0x802a, 8, {0, 0, 0, 0, 0, 0, 0, 9}},
	};

	static const uint8_t other[8] = {0, 1, 5, 3, 1, 1, 1, 1};
	uint8_t data[512] = {0};
	size_t at = STUN_HEADER_SIZE;
	struct netaddr want = netaddr_ip4(0x01020304, 5);
	struct stun_msg m;

	(void)state;
	be16_store(data, 0x0001);
	be32_store(data + 4, STUN_COOKIE);
	for (size_t i = 0; i < GV_ARRAY_SIZE(row); i++)
		at = add_attr(data, at, row[i].type, row[i].value, row[i].len);
	for (size_t i = 0; i < GV_ARRAY_SIZE(row); i++) {
		at = add_attr(data, at, row[i].type, other, row[i].len);
		at = add_attr(data, at, row[i].type, other, 1); /* out of form, or another text */
	}
	assert_int_equal(parse(data, at, &m), STUN_MSG_OK);
	assert_int_equal(m.username_len, 3);
	assert_memory_equal(m.username, "a:b", 3);
	assert_int_equal(m.software_len, 1);
	assert_memory_equal(m.software, "s", 1);
	assert_true(netaddr_equal(&m.mapped, &want));
	assert_int_equal(m.error_code, 401);
	assert_int_equal(m.priority, 7);
	assert_true(m.use_candidate);
	assert_true(m.has_controlling);
	assert_int_equal(m.tie_breaker, 9);
	/* Both roles are not one repeated. */
	at = add_attr(data, at, 0x8029, other, 8);
	assert_int_equal(parse(data, at, &m), STUN_MSG_MALFORMED);
	at = add_attr(data, STUN_HEADER_SIZE, 0x8029, row[7].value, 8);
	at = add_attr(data, at, 0x8029, other, 8);
	assert_int_equal(parse(data, at, &m), STUN_MSG_OK);
	assert_true(m.has_controlled);
	assert_int_equal(m.tie_breaker, 9);
}

static void msg_parse_unknown_required_attribute_is_remembered(void **state)
{
	struct stun_msg m;

	(void)state;
	assert_int_equal(parse_one(0x0003, "\0\0\0\6", 4, &m), STUN_MSG_OK);
	assert_int_equal(m.unknown_count, 1);
	assert_int_equal(m.unknown[0], 0x0003);
	assert_int_equal(parse_one(0xc057, "\0\0\0\6", 4, &m), STUN_MSG_OK);
	assert_int_equal(m.unknown_count, 0);
}

static void msg_parse_attribute_past_the_end_is_malformed(void **state)
{
	uint8_t data[28] = {0};
	struct stun_msg m;

	(void)state;
	be16_store(data, 0x0001);
	be16_store(data + 2, 8);
	be32_store(data + 4, STUN_COOKIE);
	be16_store(data + 20, 0x8022);
	be16_store(data + 22, 5); /* needs 8, has 4 */
	assert_int_equal(parse(data, sizeof(data), &m), STUN_MSG_MALFORMED);
}

static void msg_parse_attribute_behind_fingerprint_is_malformed(void **state)
{
	uint8_t data[32] = {0};
	struct stun_msg m;

	(void)state;
	be16_store(data, 0x0001);
	be16_store(data + 2, 12);
	be32_store(data + 4, STUN_COOKIE);
	be32_store(data + 20, 0x80280004);
	be32_store(data + 24, hash_crc32(data, 20) ^ 0x5354554e);
	be32_store(data + 28, 0x00250000); /* USE-CANDIDATE */
	assert_int_equal(parse(data, sizeof(data), &m), STUN_MSG_MALFORMED);
	be16_store(data + 2, 8);
	be32_store(data + 24, hash_crc32(data, 20) ^ 0x5354554e);
	assert_int_equal(parse(data, 28, &m), STUN_MSG_OK);
}

/* RFC 8489 14.5: what follows MESSAGE-INTEGRITY is not covered by it and does not count. */
static void msg_parse_attributes_behind_integrity_are_ignored(void **state)
{
	static const uint8_t id[STUN_ID_SIZE] = {1};
	uint8_t data[128];
	struct stun_writer w;
	struct stun_msg m;

	(void)state;
	stun_begin(&w, data, sizeof(data), STUN_CLASS_REQUEST, STUN_METHOD_BINDING, id);
	stun_put_integrity(&w, "key", 3);
	stun_put_use_candidate(&w);
	stun_put_fingerprint(&w);
	assert_int_equal(parse(data, stun_end(&w), &m), STUN_MSG_OK);
	assert_true(stun_msg_verify(&m, "key", 3));
	assert_false(m.use_candidate);
}

static void msg_write_all_attributes_reads_the_same(void **state)
{
	static const uint8_t id[STUN_ID_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
	static const uint16_t unknown[2] = {0x0003, 0x0019};
	uint8_t data[256];
	struct stun_writer w;
	struct stun_msg m;
	struct netaddr addr;

	(void)state;
	assert_true(netaddr_parse("[2001:db8::1]:443", &addr));
	stun_begin(&w, data, sizeof(data), STUN_CLASS_ERROR, 0x0fe, id);
	stun_put_username(&w, "abc:defg", 8);
	stun_put_software(&w, "x");
	stun_put_priority(&w, 77);
	stun_put_use_candidate(&w);
	stun_put_controlling(&w, 0x1122334455667788u);
	stun_put_xor_mapped(&w, &addr);
	stun_put_error(&w, STUN_ERROR_ROLE_CONFLICT);
	stun_put_unknown(&w, unknown, 2);
	stun_put_integrity(&w, "secret", 6);
	stun_put_fingerprint(&w);
	size_t n = stun_end(&w);
	assert_true(n > 0);
	assert_int_equal(parse(data, n, &m), STUN_MSG_OK);
	assert_int_equal(m.class, STUN_CLASS_ERROR);
	assert_int_equal(stun_peek_class(data), STUN_CLASS_ERROR);
	assert_int_equal(m.method, 0x0fe);
	assert_int_equal(m.username_len, 8);
	assert_int_equal(m.software_len, 1);
	assert_int_equal(m.priority, 77);
	assert_true(m.use_candidate && m.has_controlling);
	assert_true(m.tie_breaker == 0x1122334455667788u);
	assert_true(netaddr_equal(&m.mapped, &addr));
	assert_int_equal(m.error_code, 487);
	assert_true(m.has_fingerprint);
	assert_true(stun_msg_verify(&m, "secret", 6));
	assert_int_equal(stun_peek_prefix(data), 0x01020304);
}

static void msg_write_without_room_gives_nothing(void **state)
{
	static const uint8_t id[STUN_ID_SIZE] = {1};
	uint8_t data[64];
	struct stun_writer w;

	(void)state;
	for (size_t size = 0; size < 60; size++) {
		stun_begin(&w, data, size, STUN_CLASS_REQUEST, STUN_METHOD_BINDING, id);
		stun_put_username(&w, "abcd:efgh", 9);
		stun_put_integrity(&w, "key", 3);
		assert_int_equal(stun_end(&w), 0);
	}
}

static void peek_username_of_request_gives_the_part_before_the_colon(void **state)
{
	const char *ufrag;
	size_t len;

	(void)state;
	assert_true(stun_peek_username(request, sizeof(request), &ufrag, &len));
	assert_int_equal(len, 4);
	assert_memory_equal(ufrag, "evtj", 4);
	assert_false(stun_peek_username(response4, sizeof(response4), &ufrag, &len));
	assert_false(
		stun_peek_username(request_long_term, sizeof(request_long_term), &ufrag, &len));
}

static void is_message_of_other_protocols_is_false(void **state)
{
	uint8_t data[sizeof(request)];

	(void)state;
	memcpy(data, request, sizeof(data));
	data[0] = 0x16; /* DTLS */
	assert_false(stun_is_message(data, sizeof(data)));
	data[0] = 0x40; /* ChannelData */
	assert_false(stun_is_message(data, sizeof(data)));
	memcpy(data, request, sizeof(data));
	data[4] ^= 1;
	assert_false(stun_is_message(data, sizeof(data)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(msg_parse_rfc5769_request_gives_its_fields),
		cmocka_unit_test(msg_parse_rfc5769_ip4_response_gives_mapped_address),
		cmocka_unit_test(msg_parse_rfc5769_ip6_response_gives_mapped_address),
		cmocka_unit_test(msg_verify_rfc5769_long_term_key_is_right),
		cmocka_unit_test(msg_parse_every_truncation_is_refused),
		cmocka_unit_test(msg_parse_every_changed_bit_is_noticed),
		cmocka_unit_test(msg_parse_wrong_fingerprint_is_told),
		cmocka_unit_test(msg_parse_trailing_bytes_are_malformed),
		cmocka_unit_test(msg_parse_attributes_out_of_form_are_malformed),
		cmocka_unit_test(msg_parse_of_repeated_attributes_the_first_counts),
		cmocka_unit_test(msg_parse_unknown_required_attribute_is_remembered),
		cmocka_unit_test(msg_parse_attribute_past_the_end_is_malformed),
		cmocka_unit_test(msg_parse_attribute_behind_fingerprint_is_malformed),
		cmocka_unit_test(msg_parse_attributes_behind_integrity_are_ignored),
		cmocka_unit_test(msg_write_all_attributes_reads_the_same),
		cmocka_unit_test(msg_write_without_room_gives_nothing),
		cmocka_unit_test(peek_username_of_request_gives_the_part_before_the_colon),
		cmocka_unit_test(is_message_of_other_protocols_is_false),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
