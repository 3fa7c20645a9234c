/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/dcep/channel.h"

#include <string.h>

#define TEXT(s) .label = (s), .label_len = sizeof(s) - 1

static struct dcep *make(enum dcep_side side, uint16_t max)
{
	struct dcep *d = NULL;
	struct dcep_config config = {.side = side, .max_channels = max};

	assert_int_equal(dcep_new(&d, &config), 0);
	return d;
}

/* Hands everything that `from` wants sent to `to`, resets as events. How many things. */
static unsigned carry(struct dcep *from, struct dcep *to)
{
	struct dcep_output o;
	struct dcep_data data;
	unsigned n = 0;

	while (dcep_output(from, &o)) {
		struct sctp_msg m = {.stream = o.options.stream,
		                     .ppid = o.options.ppid,
		                     .data = o.data,
		                     .len = o.len};

		if (o.type == DCEP_OUTPUT_RESET)
			dcep_stream_reset(to, o.options.stream);
		else
			assert_true(dcep_input(to, &m, &data) >= 0);
		dcep_output_done(from);
		n++;
	}
	return n;
}

static int input(struct dcep *d, uint16_t stream, uint32_t ppid, const void *p, size_t n)
{
	struct sctp_msg m = {.stream = stream, .ppid = ppid, .data = p, .len = n};
	struct dcep_data data;

	return dcep_input(d, &m, &data);
}

static void dcep_new_bad_limit_is_einval(void **state)
{
	struct dcep *d = NULL;
	struct dcep_config none = {.max_channels = 0};
	struct dcep_config many = {.max_channels = DCEP_CHANNELS_MAX + 1};

	(void)state;
	assert_true(dcep_new(&d, &none) < 0);
	assert_true(dcep_new(&d, &many) < 0);
	assert_null(d);
}

static void dcep_open_ack_both_sides_open(void **state)
{
	struct dcep *a = make(DCEP_SIDE_CLIENT, 8), *b = make(DCEP_SIDE_SERVER, 8);
	struct dcep_params ip = {TEXT("ip"),
	                         .protocol = "govpn",
	                         .protocol_len = 5,
	                         .unordered = true,
	                         .reliability = SCTP_MAX_RETRANSMITS,
	                         .priority = 256};
	struct dcep_params ctl = {TEXT("ctl")};
	struct dcep_event e;
	struct sctp_send_options o;
	uint16_t stream;

	(void)state;
	assert_int_equal(dcep_open(a, &ctl, &stream), 0);
	assert_int_equal(stream, 0);
	assert_int_equal(dcep_open(a, &ip, &stream), 0);
	assert_int_equal(stream, 2);
	assert_false(dcep_is_open(a, 2));
	/* Before the ACK: ordered. */
	assert_int_equal(dcep_send_options(a, 2, DCEP_KIND_BINARY, 9, &o), 0);
	assert_false(o.unordered);

	assert_int_equal(carry(a, b), 2);
	assert_int_equal(dcep_event(b, &e), 1);
	assert_int_equal(e.type, DCEP_EVENT_INCOMING);
	assert_int_equal(e.params.label_len, 3);
	assert_int_equal(dcep_event(b, &e), 1);
	assert_int_equal(e.stream, 2);
	assert_memory_equal(e.params.label, "ip", 2);
	assert_memory_equal(e.params.protocol, "govpn", 5);
	assert_true(e.params.unordered);
	assert_int_equal(e.params.reliability, SCTP_MAX_RETRANSMITS);
	assert_int_equal(e.params.limit, 0);
	assert_int_equal(e.params.priority, 256);
	assert_int_equal(dcep_event(b, &e), 0);
	assert_true(dcep_is_open(b, 2));

	assert_int_equal(carry(b, a), 2);
	assert_int_equal(dcep_event(a, &e), 1);
	assert_int_equal(e.type, DCEP_EVENT_OPEN);
	assert_int_equal(e.stream, 0);
	assert_int_equal(dcep_event(a, &e), 1);
	assert_int_equal(dcep_send_options(a, 2, DCEP_KIND_BINARY, 9, &o), 0);
	assert_true(o.unordered);
	assert_int_equal(o.ppid, DCEP_PPID_BINARY);
	assert_int_equal(o.reliability, SCTP_MAX_RETRANSMITS);
	dcep_free(a);
	dcep_free(b);
}

/* RFC 8832 5.1: the bytes of an OPEN. */
static void dcep_output_open_has_rfc_bytes(void **state)
{
	static const uint8_t want[] = {0x03, 0x82, 0x01, 0x02, 0,   0,   0x03, 0xe8,
	                               0,    2,    0,    1,    'a', 'b', 'p'};
	struct dcep *d = make(DCEP_SIDE_SERVER, 1);
	struct dcep_params p = {TEXT("ab"),
	                        .protocol = "p",
	                        .protocol_len = 1,
	                        .unordered = true,
	                        .reliability = SCTP_MAX_LIFETIME,
	                        .limit = 1000,
	                        .priority = 0x102};
	struct dcep_output o;
	uint16_t stream;

	(void)state;
	assert_int_equal(dcep_open(d, &p, &stream), 0);
	assert_int_equal(stream, 1);
	assert_int_equal(dcep_output(d, &o), 1);
	assert_int_equal(o.len, sizeof(want));
	assert_memory_equal(o.data, want, sizeof(want));
	assert_int_equal(o.options.ppid, DCEP_PPID_CONTROL);
	assert_false(o.options.unordered);
	/* Not done: the same again. */
	assert_int_equal(dcep_output(d, &o), 1);
	dcep_output_done(d);
	assert_int_equal(dcep_output(d, &o), 0);
	dcep_free(d);
}

static void dcep_input_user_messages_tell_kind(void **state)
{
	static const struct {
		uint32_t ppid;
		int result;
		enum dcep_kind kind;
		size_t len;
	} rows[] = {
		{51, DCEP_INPUT_DATA, DCEP_KIND_TEXT, 3},
		{53, DCEP_INPUT_DATA, DCEP_KIND_BINARY, 3},
		{56, DCEP_INPUT_DATA, DCEP_KIND_TEXT, 0},
		{57, DCEP_INPUT_DATA, DCEP_KIND_BINARY, 0},
		{52, DCEP_INPUT_DROPPED, DCEP_KIND_TEXT, 0},
		{54, DCEP_INPUT_DROPPED, DCEP_KIND_TEXT, 0},
		{0, DCEP_INPUT_DROPPED, DCEP_KIND_TEXT, 0},
	};
	struct dcep *d = make(DCEP_SIDE_CLIENT, 4);
	struct dcep_params p = {TEXT("x")};
	struct sctp_send_options o;

	(void)state;
	assert_int_equal(dcep_open_negotiated(d, &p, 7), 0);
	assert_int_equal(dcep_open_negotiated(d, &p, 7), DCEP_TAKEN);
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		struct sctp_msg m = {.stream = 7,
		                     .ppid = rows[i].ppid,
		                     .data = (const uint8_t *)"abc",
		                     .len = 3};
		struct dcep_data data;

		assert_int_equal(dcep_input(d, &m, &data), rows[i].result);
		if (rows[i].result != DCEP_INPUT_DATA)
			continue;
		assert_int_equal(data.kind, rows[i].kind);
		assert_int_equal(data.len, rows[i].len);
	}
	assert_int_equal(dcep_send_options(d, 7, DCEP_KIND_TEXT, 0, &o), 0);
	assert_int_equal(o.ppid, DCEP_PPID_TEXT_EMPTY);
	assert_int_equal(dcep_send_options(d, 7, DCEP_KIND_BINARY, 0, &o), 0);
	assert_int_equal(o.ppid, DCEP_PPID_BINARY_EMPTY);
	assert_int_equal(dcep_send_options(d, 8, DCEP_KIND_BINARY, 0, &o), DCEP_NO_CHANNEL);
	assert_int_equal(input(d, 9, DCEP_PPID_BINARY, "x", 1), DCEP_INPUT_DROPPED);
	assert_int_equal(dcep_counters(d)->no_channel, 1);
	assert_int_equal(dcep_counters(d)->bad_message, 3);
	dcep_free(d);
}

static void dcep_close_resets_both_ways_and_frees_stream(void **state)
{
	struct dcep *a = make(DCEP_SIDE_CLIENT, 2), *b = make(DCEP_SIDE_SERVER, 2);
	struct dcep_params p = {TEXT("x")};
	struct dcep_event e;
	struct sctp_send_options o;
	uint16_t stream;

	(void)state;
	assert_int_equal(dcep_open(a, &p, &stream), 0);
	(void)carry(a, b);
	(void)carry(b, a);
	while (dcep_event(a, &e) || dcep_event(b, &e)) {
	}
	assert_int_equal(dcep_close(a, stream), 0);
	assert_int_equal(dcep_close(a, stream), DCEP_NO_CHANNEL);
	assert_int_equal(dcep_send_options(a, stream, DCEP_KIND_TEXT, 1, &o), DCEP_NO_CHANNEL);
	assert_int_equal(dcep_count(a), 1);
	assert_int_equal(carry(a, b), 1);
	assert_int_equal(dcep_event(b, &e), 1);
	assert_int_equal(e.type, DCEP_EVENT_CLOSED);
	assert_int_equal(dcep_count(b), 0);
	assert_int_equal(carry(b, a), 1);
	assert_int_equal(dcep_event(a, &e), 1);
	assert_int_equal(e.type, DCEP_EVENT_CLOSED);
	assert_int_equal(dcep_count(a), 0);
	assert_int_equal(carry(a, b), 0);
	assert_int_equal(dcep_open(a, &p, &stream), 0);
	assert_int_equal(stream, 0);
	dcep_free(a);
	dcep_free(b);
}

/* Between our reset and the peer's, what the peer still sends is nobody's. */
static void dcep_input_on_closing_channel_is_dropped(void **state)
{
	struct dcep *a = make(DCEP_SIDE_CLIENT, 2), *b = make(DCEP_SIDE_SERVER, 2);
	struct dcep_params p = {TEXT("x")};
	uint16_t stream;

	(void)state;
	assert_int_equal(dcep_open(a, &p, &stream), 0);
	(void)carry(a, b);
	(void)carry(b, a);
	assert_int_equal(input(a, stream, DCEP_PPID_BINARY, "x", 1), DCEP_INPUT_DATA);
	assert_int_equal(dcep_close(a, stream), 0);
	assert_int_equal(input(a, stream, DCEP_PPID_BINARY, "x", 1), DCEP_INPUT_DROPPED);
	assert_int_equal(dcep_counters(a)->no_channel, 1);
	dcep_free(a);
	dcep_free(b);
}

static void dcep_open_takes_the_lowest_free_stream(void **state)
{
	struct dcep *a = make(DCEP_SIDE_CLIENT, 8), *b = make(DCEP_SIDE_SERVER, 8);
	struct dcep_params p = {TEXT("x")};
	uint16_t stream;

	(void)state;
	for (uint16_t i = 0; i < 3; i++) {
		assert_int_equal(dcep_open(a, &p, &stream), 0);
		assert_int_equal(stream, 2 * i);
	}
	assert_int_equal(dcep_open(b, &p, &stream), 0);
	(void)carry(a, b);
	(void)carry(b, a);
	assert_int_equal(dcep_close(a, 2), 0);
	(void)carry(a, b);
	(void)carry(b, a);
	assert_int_equal(dcep_open(a, &p, &stream), 0);
	assert_int_equal(stream, 2);
	assert_int_equal(dcep_open(a, &p, &stream), 0);
	assert_int_equal(stream, 6);
	dcep_free(a);
	dcep_free(b);
}

static void dcep_open_limits_give_full_or_too_large(void **state)
{
	static char long_text[DCEP_TEXT_MAX + 1];
	struct dcep *d = make(DCEP_SIDE_CLIENT, 3);
	struct dcep_params p = {TEXT("x")};
	struct dcep_params large = {.label = long_text, .label_len = sizeof(long_text)};
	uint16_t stream;

	(void)state;
	assert_int_equal(dcep_open(d, &large, &stream), DCEP_TOO_LARGE);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(dcep_open(d, &p, &stream), 0);
		assert_int_equal(stream, i * 2);
	}
	assert_int_equal(dcep_open(d, &p, &stream), DCEP_FULL);
	dcep_free(d);
}

/* Each is dropped; what is malformed or not theirs to open is answered by a reset. */
static void dcep_input_bad_open_is_refused(void **state)
{
	static const uint8_t good[] = {3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 'a'};
	struct dcep *d = make(DCEP_SIDE_CLIENT, 1);
	struct dcep_event e;
	uint8_t bad[sizeof(good)];

	(void)state;
	for (size_t n = 0; n < sizeof(good); n++)
		assert_int_equal(input(d, 1, 50, good, n), DCEP_INPUT_DROPPED);
	memcpy(bad, good, sizeof(bad));
	bad[1] = 3; /* channel type */
	assert_int_equal(input(d, 1, 50, bad, sizeof(bad)), DCEP_INPUT_DROPPED);
	bad[1] = 0;
	bad[9] = 0; /* a byte too many */
	assert_int_equal(input(d, 1, 50, bad, sizeof(bad)), DCEP_INPUT_DROPPED);
	bad[9] = 2; /* a byte too few */
	assert_int_equal(input(d, 1, 50, bad, sizeof(bad)), DCEP_INPUT_DROPPED);
	assert_int_equal(input(d, 2, 50, good, sizeof(good)), DCEP_INPUT_DROPPED); /* our side's */
	assert_int_equal(dcep_count(d), 0);
	assert_int_equal(dcep_event(d, &e), 0);
	assert_int_equal(dcep_counters(d)->refused, 1);
	assert_int_equal(dcep_counters(d)->bad_message, 16);

	assert_int_equal(input(d, 1, 50, good, sizeof(good)), DCEP_INPUT_CONTROL);
	assert_int_equal(input(d, 1, 50, good, sizeof(good)), DCEP_INPUT_DROPPED); /* taken */
	assert_int_equal(input(d, 3, 50, good, sizeof(good)), DCEP_INPUT_DROPPED); /* full */
	assert_int_equal(dcep_count(d), 1);
	dcep_free(d);
}

static void dcep_input_flood_of_bad_opens_is_bounded(void **state)
{
	struct dcep *d = make(DCEP_SIDE_CLIENT, 1);
	struct dcep_output o;
	unsigned n = 0;

	(void)state;
	for (int i = 0; i < 10000; i++)
		assert_int_equal(input(d, (uint16_t)(i * 2 + 1), 50, "\3", 1), DCEP_INPUT_DROPPED);
	while (dcep_output(d, &o)) {
		dcep_output_done(d);
		n++;
	}
	assert_in_range(n, 1, 100);
	dcep_free(d);
}

static void dcep_input_data_before_ack_opens(void **state)
{
	struct dcep *d = make(DCEP_SIDE_CLIENT, 1);
	struct dcep_params p = {TEXT("x")};
	struct dcep_event e;
	uint16_t stream;

	(void)state;
	assert_int_equal(dcep_open(d, &p, &stream), 0);
	assert_int_equal(input(d, stream, DCEP_PPID_TEXT, "y", 1), DCEP_INPUT_DATA);
	assert_int_equal(dcep_event(d, &e), 1);
	assert_int_equal(e.type, DCEP_EVENT_OPEN);
	/* The ACK that follows says nothing new. */
	assert_int_equal(input(d, stream, DCEP_PPID_CONTROL, "\2", 1), DCEP_INPUT_CONTROL);
	assert_int_equal(dcep_event(d, &e), 0);
	dcep_free(d);
}

/* pion sends four bytes; what is longer is no ACK. */
static void dcep_input_padded_ack_opens(void **state)
{
	static const uint8_t ack[5] = {2};
	struct dcep *d = make(DCEP_SIDE_CLIENT, 1);
	struct dcep_params p = {TEXT("x")};
	struct dcep_event e;
	uint16_t stream;

	(void)state;
	assert_int_equal(dcep_open(d, &p, &stream), 0);
	assert_int_equal(input(d, stream, DCEP_PPID_CONTROL, ack, 5), DCEP_INPUT_DROPPED);
	assert_int_equal(dcep_event(d, &e), 0);
	assert_int_equal(input(d, stream, DCEP_PPID_CONTROL, ack, 4), DCEP_INPUT_CONTROL);
	assert_int_equal(dcep_event(d, &e), 1);
	assert_int_equal(e.type, DCEP_EVENT_OPEN);
	dcep_free(d);
}

static void dcep_event_of_closed_channel_keeps_texts(void **state)
{
	static const uint8_t open[] = {3, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 'n', 'a', 'm', 'e'};
	struct dcep *d = make(DCEP_SIDE_CLIENT, 1);
	struct dcep_event e;

	(void)state;
	assert_int_equal(input(d, 1, 50, open, sizeof(open)), DCEP_INPUT_CONTROL);
	dcep_stream_reset(d, 1);
	assert_int_equal(dcep_event(d, &e), 1);
	assert_int_equal(e.type, DCEP_EVENT_INCOMING);
	assert_memory_equal(e.params.label, "name", 4);
	assert_int_equal(dcep_event(d, &e), 1);
	assert_int_equal(e.type, DCEP_EVENT_CLOSED);
	dcep_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dcep_new_bad_limit_is_einval),
		cmocka_unit_test(dcep_open_ack_both_sides_open),
		cmocka_unit_test(dcep_output_open_has_rfc_bytes),
		cmocka_unit_test(dcep_input_user_messages_tell_kind),
		cmocka_unit_test(dcep_close_resets_both_ways_and_frees_stream),
		cmocka_unit_test(dcep_input_on_closing_channel_is_dropped),
		cmocka_unit_test(dcep_open_takes_the_lowest_free_stream),
		cmocka_unit_test(dcep_open_limits_give_full_or_too_large),
		cmocka_unit_test(dcep_input_bad_open_is_refused),
		cmocka_unit_test(dcep_input_flood_of_bad_opens_is_bounded),
		cmocka_unit_test(dcep_input_data_before_ack_opens),
		cmocka_unit_test(dcep_input_padded_ack_opens),
		cmocka_unit_test(dcep_event_of_closed_channel_keeps_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
