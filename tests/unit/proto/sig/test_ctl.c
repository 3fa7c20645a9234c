/* SPDX-License-Identifier: MIT */

#include "base/mem.h"
#include "proto/sig/ctl.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t content[] = "some content";

/* One message of each type, with a different value in every field. */
static size_t make_all(struct ctl_msg out[static 9])
{
	out[0] = (struct ctl_msg){
		.type = CTL_HELLO,
		.hello = {.version_lo = 1,
	                  .version_hi = 2,
	                  .features = CTL_FEATURE_TUNNEL,
	                  .session = 0x1122334455667788,
	                  .epoch = 5,
	                  .doc_hash = {6}},
	};
	out[1] = (struct ctl_msg){.type = CTL_CONFIRM, .confirm.sig = {7, [63] = 8}};
	out[2] = (struct ctl_msg){.type = CTL_PING, .ping.id = 9};
	out[3] = (struct ctl_msg){.type = CTL_PONG, .ping.id = UINT64_MAX};
	out[4] = (struct ctl_msg){.type = CTL_DOC_REQUEST, .doc_request.have_epoch = 10};
	out[5] = (struct ctl_msg){
		.type = CTL_PART,
		.part = {.content = CTL_CONTENT_DOCUMENT,
	                 .id = 11,
	                 .index = 2,
	                 .count = 3,
	                 .data = content,
	                 .n = sizeof(content)},
	};
	out[6] = (struct ctl_msg){
		.type = CTL_LEAVE,
		.leave = {.session = 12, .unix_s = 1700000000, .sig = {13}},
	};
	out[7] = (struct ctl_msg){
		.type = CTL_PATH_REPORT,
		.path_report = {.kind = CTL_PATH_SRFLX,
	                        .mtu = 1380,
	                        .rtt_us = 15000,
	                        .rx_packets = 16,
	                        .rx_bytes = 17,
	                        .rx_lost = 18},
	};
	out[8] = (struct ctl_msg){.type = CTL_BYE, .bye.reason = CTL_BYE_STOPPING};
	return 9;
}

static void ctl_build_then_parse_gives_everything_back(void **state)
{
	struct ctl_msg all[9];
	size_t n = make_all(all);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		uint8_t bytes[CTL_SIZE_MAX], again[CTL_SIZE_MAX];
		struct ctl_msg back;
		size_t len = ctl_build(&all[i], bytes);

		assert_true(len > 1);
		assert_int_equal(ctl_parse(&back, bytes, len), CTL_OK);
		assert_int_equal(back.type, all[i].type);
		assert_int_equal(ctl_build(&back, again), len);
		assert_memory_equal(bytes, again, len);
	}
}

static void ctl_parse_each_type_has_documented_size(void **state)
{
	static const size_t sizes[] = {57, 65, 9, 9, 9, 10 + sizeof(content), 81, 32, 2};
	struct ctl_msg all[9];
	uint8_t bytes[CTL_SIZE_MAX];

	(void)state;
	make_all(all);
	for (size_t i = 0; i < GV_ARRAY_SIZE(sizes); i++) {
		assert_int_equal(ctl_build(&all[i], bytes), sizes[i]);
		assert_int_equal(bytes[0], i + 1);
	}
}

static void ctl_parse_values_are_those_built(void **state)
{
	struct ctl_msg all[9], back;
	uint8_t bytes[CTL_SIZE_MAX];

	(void)state;
	make_all(all);
	size_t n = ctl_build(&all[0], bytes);
	assert_int_equal(ctl_parse(&back, bytes, n), CTL_OK);
	assert_int_equal(back.hello.version_hi, 2);
	assert_int_equal(back.hello.session, 0x1122334455667788);
	assert_int_equal(back.hello.epoch, 5);
	assert_int_equal(back.hello.doc_hash[0], 6);
	n = ctl_build(&all[7], bytes);
	assert_int_equal(ctl_parse(&back, bytes, n), CTL_OK);
	assert_int_equal(back.path_report.mtu, 1380);
	assert_int_equal(back.path_report.rtt_us, 15000);
	assert_int_equal(back.path_report.rx_lost, 18);
}

static void ctl_parse_cut_anywhere_is_bad(void **state)
{
	struct ctl_msg all[9], back;
	size_t n = make_all(all);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		uint8_t bytes[CTL_SIZE_MAX];
		size_t len = ctl_build(&all[i], bytes);

		/* A part that ends early is a shorter last part: only its head cannot be cut. */
		size_t last = all[i].type == CTL_PART ? 10 : len - 1;
		for (size_t cut = 0; cut <= last; cut++)
			assert_int_equal(ctl_parse(&back, bytes, cut), CTL_BAD);
	}
}

static void ctl_parse_longer_message_of_later_version_is_taken(void **state)
{
	struct ctl_msg all[9], back;
	uint8_t bytes[CTL_SIZE_MAX + 1] = {0};

	(void)state;
	make_all(all);
	size_t len = ctl_build(&all[0], bytes);
	assert_int_equal(ctl_parse(&back, bytes, len + 20), CTL_OK);
	assert_int_equal(ctl_parse(&back, bytes, CTL_SIZE_MAX), CTL_OK);
	assert_int_equal(ctl_parse(&back, bytes, CTL_SIZE_MAX + 1), CTL_BAD);
}

static void ctl_parse_unknown_type_returns_unknown(void **state)
{
	struct ctl_msg back;
	uint8_t bytes[4] = {0};

	(void)state;
	assert_int_equal(ctl_parse(&back, bytes, sizeof(bytes)), CTL_UNKNOWN);
	bytes[0] = CTL_BYE + 1;
	assert_int_equal(ctl_parse(&back, bytes, sizeof(bytes)), CTL_UNKNOWN);
	bytes[0] = 255;
	assert_int_equal(ctl_parse(&back, bytes, sizeof(bytes)), CTL_UNKNOWN);
}

static void ctl_parse_hello_bad_versions_is_bad(void **state)
{
	struct ctl_msg all[9], back;
	uint8_t bytes[CTL_SIZE_MAX];

	(void)state;
	make_all(all);
	all[0].hello.version_lo = 0;
	size_t n = ctl_build(&all[0], bytes);
	assert_int_equal(ctl_parse(&back, bytes, n), CTL_BAD);
	all[0].hello.version_lo = 3;
	n = ctl_build(&all[0], bytes);
	assert_int_equal(ctl_parse(&back, bytes, n), CTL_BAD);
}

static void ctl_build_bad_part_returns_zero(void **state)
{
	uint8_t bytes[CTL_SIZE_MAX], data[CTL_PART_DATA_MAX + 1] = {0};
	struct ctl_msg msg = {.type = CTL_PART};

	(void)state;
	msg.part = (struct ctl_part){.count = 1, .data = data, .n = CTL_PART_DATA_MAX + 1};
	assert_int_equal(ctl_build(&msg, bytes), 0);
	msg.part.n = 0;
	assert_int_equal(ctl_build(&msg, bytes), 0);
	msg.part.n = CTL_PART_DATA_MAX;
	assert_int_equal(ctl_build(&msg, bytes), 10 + CTL_PART_DATA_MAX);
	msg.part.index = 1;
	assert_int_equal(ctl_build(&msg, bytes), 0);
	msg.part =
		(struct ctl_part){.count = 2, .data = data, .n = 5}; /* a short one in the middle */
	assert_int_equal(ctl_build(&msg, bytes), 0);
	msg.part = (struct ctl_part){.count = 487, .data = data, .n = CTL_PART_DATA_MAX};
	assert_int_equal(ctl_build(&msg, bytes), 0);
}

/* Cuts n bytes, sends each part through build and parse, and compares what comes out. */
static void send_content(size_t n)
{
	uint8_t *data = mem_alloc(n, 1);
	struct ctl_parts parts;
	size_t count = ctl_part_count(n);
	int r = CTL_PARTS_MORE;

	assert_non_null(data);
	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)(i * 31 + i / 256);
	ctl_parts_init(&parts);
	for (size_t i = 0; i < count; i++) {
		struct ctl_msg msg = {.type = CTL_PART}, back;
		uint8_t bytes[CTL_SIZE_MAX];

		assert_int_equal(r, CTL_PARTS_MORE);
		ctl_part_cut(&msg.part, CTL_CONTENT_SIGNAL, 77, i, data, n);
		size_t len = ctl_build(&msg, bytes);
		assert_int_equal(ctl_parse(&back, bytes, len), CTL_OK);
		r = ctl_parts_add(&parts, &back.part);
	}
	assert_int_equal(r, CTL_PARTS_DONE);
	assert_int_equal(parts.content, CTL_CONTENT_SIGNAL);
	assert_int_equal(parts.bytes.len, n);
	assert_memory_equal(parts.bytes.data, data, n);
	ctl_parts_deinit(&parts);
	mem_free(data);
}

static void ctl_parts_content_of_any_length_comes_back(void **state)
{
	static const size_t lengths[] = {
		1, 1079, 1080, 1081, 2160, 2161, 9000, CTL_PARTS_MAX - 1, CTL_PARTS_MAX};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(lengths); i++)
		send_content(lengths[i]);
	assert_int_equal(ctl_part_count(0), 0);
	assert_int_equal(ctl_part_count(CTL_PARTS_MAX + 1), 0);
}

static void ctl_parts_out_of_order_or_changed_is_bad(void **state)
{
	uint8_t data[3000] = {0};
	struct ctl_part p[3], wrong;
	struct ctl_parts parts;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		ctl_part_cut(&p[i], CTL_CONTENT_DOCUMENT, 5, i, data, sizeof(data));

	ctl_parts_init(&parts);
	assert_int_equal(ctl_parts_add(&parts, &p[1]), CTL_PARTS_BAD); /* no beginning */
	assert_int_equal(ctl_parts_add(&parts, &p[0]), CTL_PARTS_MORE);
	assert_int_equal(ctl_parts_add(&parts, &p[2]), CTL_PARTS_BAD); /* a gap */
	assert_int_equal(ctl_parts_add(&parts, &p[1]), CTL_PARTS_BAD); /* nothing under way now */

	for (int kind = 0; kind < 3; kind++) {
		assert_int_equal(ctl_parts_add(&parts, &p[0]), CTL_PARTS_MORE);
		wrong = p[1];
		wrong.id += kind == 0;
		wrong.count = (uint16_t)(wrong.count + (kind == 1));
		wrong.content = (uint8_t)(wrong.content + (kind == 2));
		assert_int_equal(ctl_parts_add(&parts, &wrong), CTL_PARTS_BAD);
	}
	ctl_parts_deinit(&parts);
}

static void ctl_parts_new_beginning_drops_the_old(void **state)
{
	uint8_t old[3000], new[500];
	struct ctl_part p;
	struct ctl_parts parts;

	(void)state;
	memset(old, 1, sizeof(old));
	memset(new, 2, sizeof(new));
	ctl_parts_init(&parts);
	ctl_part_cut(&p, CTL_CONTENT_DOCUMENT, 1, 0, old, sizeof(old));
	assert_int_equal(ctl_parts_add(&parts, &p), CTL_PARTS_MORE);
	ctl_part_cut(&p, CTL_CONTENT_SIGNAL, 2, 0, new, sizeof(new));
	assert_int_equal(ctl_parts_add(&parts, &p), CTL_PARTS_DONE);
	assert_int_equal(parts.bytes.len, sizeof(new));
	assert_memory_equal(parts.bytes.data, new, sizeof(new));
	ctl_parts_deinit(&parts);
}

static void ctl_parts_above_limit_is_bad_and_keeps_nothing(void **state)
{
	uint8_t data[CTL_PART_DATA_MAX] = {0};
	struct ctl_part p = {.content = 1, .id = 1, .count = 486, .data = data, .n = sizeof(data)};
	struct ctl_parts parts;

	(void)state;
	ctl_parts_init(&parts);
	for (p.index = 0; p.index < 485; p.index++)
		assert_int_equal(ctl_parts_add(&parts, &p), CTL_PARTS_MORE);
	/* A full last part would be 592 bytes above 512 KiB. */
	assert_int_equal(ctl_parts_add(&parts, &p), CTL_PARTS_BAD);
	assert_int_equal(parts.bytes.len, 0);
	ctl_parts_deinit(&parts);
}

static void ctl_parts_without_memory_returns_enomem(void **state)
{
	uint8_t data[100] = {0};
	struct ctl_part p;
	struct ctl_parts parts;

	(void)state;
	ctl_parts_init(&parts);
	ctl_part_cut(&p, CTL_CONTENT_DOCUMENT, 1, 0, data, sizeof(data));
	mem_fail_at(1);
	assert_int_equal(ctl_parts_add(&parts, &p), -ENOMEM);
	mem_fail_at(0);
	assert_int_equal(ctl_parts_add(&parts, &p), CTL_PARTS_DONE);
	ctl_parts_deinit(&parts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctl_build_then_parse_gives_everything_back),
		cmocka_unit_test(ctl_parse_each_type_has_documented_size),
		cmocka_unit_test(ctl_parse_values_are_those_built),
		cmocka_unit_test(ctl_parse_cut_anywhere_is_bad),
		cmocka_unit_test(ctl_parse_longer_message_of_later_version_is_taken),
		cmocka_unit_test(ctl_parse_unknown_type_returns_unknown),
		cmocka_unit_test(ctl_parse_hello_bad_versions_is_bad),
		cmocka_unit_test(ctl_build_bad_part_returns_zero),
		cmocka_unit_test(ctl_parts_content_of_any_length_comes_back),
		cmocka_unit_test(ctl_parts_out_of_order_or_changed_is_bad),
		cmocka_unit_test(ctl_parts_new_beginning_drops_the_old),
		cmocka_unit_test(ctl_parts_above_limit_is_bad_and_keeps_nothing),
		cmocka_unit_test(ctl_parts_without_memory_returns_enomem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
