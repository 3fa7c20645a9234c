/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hand.h"

#include <string.h>

static struct hand h;

/* Outgoing reset request of the hand. */
static void ask(uint16_t type, uint32_t sequence, uint32_t last_tsn, const uint16_t *streams,
                size_t n)
{
	uint8_t body[4 + 12 + 64];
	struct bytes_writer w = bytes_writer(body, sizeof(body));
	size_t at = param_open(&w, type);

	bytes_write_u32(&w, sequence);
	bytes_write_u32(&w, 0);
	bytes_write_u32(&w, last_tsn);
	for (size_t i = 0; i < n; i++)
		bytes_write_u16(&w, streams[i]);
	be16_store(body + at + 2, (uint16_t)w.used);
	hand_begin(&h);
	hand_chunk(&h, CHUNK_RE_CONFIG, 0, body, w.used);
	hand_give(&h);
}

/* The hand's answer to a request. */
static void respond(uint32_t sequence, uint32_t result)
{
	uint8_t body[12];

	be16_store(body, PARAM_RESET_RESPONSE);
	be16_store(body + 2, sizeof(body));
	be32_store(body + 4, sequence);
	be32_store(body + 8, result);
	hand_begin(&h);
	hand_chunk(&h, CHUNK_RE_CONFIG, 0, body, sizeof(body));
	hand_give(&h);
}

static uint32_t answer(void)
{
	hand_listen(&h);
	const struct chunk *c = hand_must(&h, CHUNK_RE_CONFIG, 0);
	assert_int_equal(be16_load(c->body), PARAM_RESET_RESPONSE);
	return be32_load(c->body + 8);
}

static void expect_reset(uint16_t stream)
{
	struct sctp_event e;

	assert_int_equal(sctp_event(h.s, &e), 1);
	assert_int_equal(e.type, SCTP_EVENT_STREAM_RESET);
	assert_int_equal(e.stream, stream);
}

static void expect_no_event(void)
{
	struct sctp_event e;

	assert_int_equal(sctp_event(h.s, &e), 0);
}

static void reset_both_ways_between_associations(void **state)
{
	struct sctp_net *net = sctp_net_new(1, NULL, NULL);
	struct sctp_send_options o = {.stream = 6, .ppid = 53};

	(void)state;
	net->link[0].loss_permille = net->link[1].loss_permille = 100;
	assert_true(sctp_net_connect(net));
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 20; i++)
			assert_int_equal(sctp_send(net->end[0], &o, "x", 1, net->now_us), 0);
		assert_int_equal(sctp_reset_stream(net->end[0], 6, net->now_us), 0);
		assert_int_equal(sctp_reset_stream(net->end[0], 6, net->now_us), 0);
		assert_int_equal(sctp_send(net->end[0], &o, "x", 1, net->now_us), SCTP_RESETTING);
		sctp_net_run(net, net->now_us + 60000000);
		/* All of it came before the reset, and numbering begins anew. */
		assert_int_equal(net->messages[1], 20 * (round + 1));
		assert_int_equal(net->resets[1], round + 1);
		assert_int_equal(net->end[0]->out.ssn[6], 0);
		assert_int_equal(net->end[1]->in.ssn[6], 0);
	}
	sctp_net_free(net);
}

static void reset_many_streams_takes_few_requests(void **state)
{
	struct sctp_net *net = sctp_net_new(2, NULL, NULL);

	(void)state;
	assert_true(sctp_net_connect(net));
	for (uint16_t i = 0; i < RESET_STREAMS_MAX; i++)
		assert_int_equal(sctp_reset_stream(net->end[0], (uint16_t)(i * 3), net->now_us), 0);
	assert_int_equal(sctp_reset_stream(net->end[0], 60000, net->now_us), SCTP_FULL);
	sctp_net_run(net, net->now_us + 10000000);
	assert_int_equal(net->resets[1], RESET_STREAMS_MAX);
	assert_int_equal(net->end[0]->reset.wanted_count, 0);
	sctp_net_free(net);
}

static void reset_request_is_performed_once_and_answered_again(void **state)
{
	static const uint16_t streams[] = {5, 6};

	(void)state;
	hand_init(&h, false);
	ask(PARAM_RESET_OUTGOING, h.tsn, h.tsn - 1, streams, 2);
	assert_int_equal(answer(), RESET_PERFORMED);
	expect_reset(5);
	expect_reset(6);
	expect_no_event();
	ask(PARAM_RESET_OUTGOING, h.tsn, h.tsn - 1, streams, 2);
	assert_int_equal(answer(), RESET_PERFORMED);
	expect_no_event();
	hand_deinit(&h);
}

/* RFC 6525 5.2.2 E2: data that was sent before must come first. */
static void reset_request_before_its_data_waits(void **state)
{
	static const uint16_t streams[] = {5};

	(void)state;
	hand_init(&h, false);
	ask(PARAM_RESET_OUTGOING, h.tsn, h.tsn, streams, 1);
	assert_int_equal(answer(), RESET_IN_PROGRESS);
	expect_no_event();
	hand_give_data(&h, h.tsn, 5, 0, CHUNK_DATA_WHOLE, "x");
	hand_listen(&h);
	ask(PARAM_RESET_OUTGOING, h.tsn, h.tsn, streams, 1);
	assert_int_equal(answer(), RESET_PERFORMED);
	expect_reset(5);
	/* A peer that counts on while it waits. */
	ask(PARAM_RESET_OUTGOING, h.tsn + 1, h.tsn + 1, streams, 1);
	assert_int_equal(answer(), RESET_IN_PROGRESS);
	hand_give_data(&h, h.tsn + 1, 5, 0, CHUNK_DATA_WHOLE, "x");
	hand_listen(&h);
	ask(PARAM_RESET_OUTGOING, h.tsn + 2, h.tsn + 1, streams, 1);
	assert_int_equal(answer(), RESET_PERFORMED);
	expect_reset(5);
	hand_deinit(&h);
}

/* The peer was told to ask again, did so, missed the answer, and asks under the next number: once is enough. */
static void reset_after_waiting_is_performed_once(void **state)
{
	static const uint16_t streams[] = {5};

	(void)state;
	hand_init(&h, false);
	ask(PARAM_RESET_OUTGOING, h.tsn, h.tsn, streams, 1);
	assert_int_equal(answer(), RESET_IN_PROGRESS);
	hand_give_data(&h, h.tsn, 5, 0, CHUNK_DATA_WHOLE, "x");
	hand_listen(&h);
	ask(PARAM_RESET_OUTGOING, h.tsn, h.tsn, streams, 1);
	assert_int_equal(answer(), RESET_PERFORMED);
	expect_reset(5);
	ask(PARAM_RESET_OUTGOING, h.tsn + 1, h.tsn, streams, 1);
	assert_int_equal(answer(), RESET_NOTHING);
	expect_no_event();
	/* Another one is another one. */
	hand_give_data(&h, h.tsn + 1, 5, 0, CHUNK_DATA_WHOLE, "x");
	hand_listen(&h);
	ask(PARAM_RESET_OUTGOING, h.tsn + 2, h.tsn + 1, streams, 1);
	assert_int_equal(answer(), RESET_PERFORMED);
	expect_reset(5);
	hand_deinit(&h);
}

static void reset_bad_requests_are_refused(void **state)
{
	static const uint16_t good[] = {5}, bad[] = {5, 1024};

	(void)state;
	hand_init(&h, false);
	ask(PARAM_RESET_OUTGOING, h.tsn + 7, h.tsn - 1, good, 1);
	assert_int_equal(answer(), RESET_BAD_SEQUENCE);
	ask(PARAM_RESET_OUTGOING, h.tsn, h.tsn - 1, bad, 2);
	assert_int_equal(answer(), RESET_WRONG_SSN);
	ask(PARAM_RESET_INCOMING, h.tsn + 1, 0, good, 1);
	assert_int_equal(answer(), RESET_DENIED);
	ask(PARAM_RESET_ALL, h.tsn + 2, 0, NULL, 0);
	assert_int_equal(answer(), RESET_DENIED);
	ask(PARAM_ADD_OUTGOING, h.tsn + 3, 0, NULL, 0);
	assert_int_equal(answer(), RESET_DENIED);
	expect_no_event();
	assert_true(sctp_is_up(h.s));
	hand_deinit(&h);
}

/* An owner that does not fetch its events: the peer waits, memory does not grow. */
static void reset_events_are_bounded(void **state)
{
	uint16_t streams[16];
	uint32_t sequence = 0, result = RESET_PERFORMED;
	unsigned n = 0;
	struct sctp_event e;

	(void)state;
	hand_init(&h, false);
	for (uint16_t i = 0; i < 16; i++)
		streams[i] = i;
	sequence = h.tsn;
	while (result == RESET_PERFORMED && n < 1000) {
		ask(PARAM_RESET_OUTGOING, sequence++, h.tsn - 1, streams, 16);
		result = answer();
		n++;
	}
	assert_int_equal(result, RESET_IN_PROGRESS);
	assert_int_equal(n, RESET_EVENTS_MAX / 16 + 1);
	while (sctp_event(h.s, &e)) {
	}
	ask(PARAM_RESET_OUTGOING, sequence - 1, h.tsn - 1, streams, 16);
	assert_int_equal(answer(), RESET_PERFORMED);
	hand_deinit(&h);
}

static void reset_request_is_repeated_until_answered(void **state)
{
	(void)state;
	hand_init(&h, false);
	assert_int_equal(sctp_reset_stream(h.s, 5, h.now_us), 0);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_RE_CONFIG), 1);
	uint32_t sequence = be32_load(hand_must(&h, CHUNK_RE_CONFIG, 0)->body + 4);
	/* RFC 6525 5.1.1: as T3 does, at twice the distance each time. */
	for (int i = 0; i < 4; i++) {
		hand_sleep(&h, (RTO_INITIAL_US << i) - 1);
		assert_int_equal(hand_listen(&h), 0);
		hand_sleep(&h, 1);
		hand_listen(&h);
		assert_int_equal(hand_count(&h, CHUNK_RE_CONFIG), 1);
		assert_int_equal(be32_load(hand_must(&h, CHUNK_RE_CONFIG, 0)->body + 4), sequence);
	}
	respond(sequence + 1, RESET_PERFORMED); /* of another request */
	assert_true(reset_is_wanted(h.s, 5));
	respond(sequence, RESET_PERFORMED);
	assert_false(reset_is_wanted(h.s, 5));
	hand_sleep(&h, 10 * RTO_INITIAL_US);
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_RE_CONFIG), 0);
	hand_deinit(&h);
}

/*
 * A peer that lacks data: dcSCTP performs nothing under a number that it called "in progress" and wants a new one,
 * usrsctp answers under the old number as soon as it can.
 */
static void reset_in_progress_is_asked_again_under_a_new_number(void **state)
{
	(void)state;
	for (int late = 0; late < 2; late++) {
		hand_init(&h, false);
		assert_int_equal(sctp_reset_stream(h.s, 5, h.now_us), 0);
		hand_listen(&h);
		uint32_t sequence = be32_load(hand_must(&h, CHUNK_RE_CONFIG, 0)->body + 4);
		respond(sequence, RESET_IN_PROGRESS);
		assert_true(reset_is_wanted(h.s, 5));
		if (late == 0) {
			hand_sleep(&h, RTO_INITIAL_US);
			hand_listen(&h);
			sequence++;
			assert_int_equal(be32_load(hand_must(&h, CHUNK_RE_CONFIG, 0)->body + 4),
			                 sequence);
		}
		respond(sequence, RESET_PERFORMED);
		assert_false(reset_is_wanted(h.s, 5));
		assert_int_equal(sctp_reset_stream(h.s, 6, h.now_us), 0);
		hand_listen(&h);
		assert_int_equal(be32_load(hand_must(&h, CHUNK_RE_CONFIG, 0)->body + 4),
		                 sequence + 1);
		hand_deinit(&h);
	}
}

/* Denied is denied: the stream goes on as it was, with its numbers. */
static void reset_denied_leaves_the_stream(void **state)
{
	struct sctp_send_options o = {.stream = 5, .ppid = 53};

	(void)state;
	hand_init(&h, false);
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	hand_listen(&h);
	assert_int_equal(sctp_reset_stream(h.s, 5, h.now_us), 0);
	/* What was sent is acknowledged first, so that nobody has to defer it. */
	hand_listen(&h);
	assert_int_equal(hand_count(&h, CHUNK_RE_CONFIG), 0);
	hand_give_sack(&h, h.s->out.next_tsn - 1, NULL, 0);
	hand_listen(&h);
	respond(be32_load(hand_must(&h, CHUNK_RE_CONFIG, 0)->body + 4), RESET_DENIED);
	assert_int_equal(h.s->out.ssn[5], 1);
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	hand_deinit(&h);
}

/* Nothing on a stream may follow the request: what waits goes first, and the number of the last is in it. */
static void reset_waits_for_what_is_queued(void **state)
{
	static uint8_t data[20000];
	struct sctp_send_options o = {.stream = 5, .ppid = 53};
	size_t asked = 0;

	(void)state;
	hand_init(&h, false);
	assert_int_equal(sctp_send(h.s, &o, data, sizeof(data), h.now_us), 0);
	assert_int_equal(sctp_reset_stream(h.s, 5, h.now_us), 0);
	assert_int_equal(sctp_reset_stream(h.s, 6, h.now_us),
	                 0); /* it need not wait for the other */
	for (int i = 0; i < 20; i++) {
		hand_listen(&h);
		const struct chunk *c = hand_said(&h, CHUNK_RE_CONFIG, 0);
		if (c != NULL) {
			uint16_t stream = be16_load(c->body + 16);

			assert_int_equal(stream, asked == 0 ? 6 : 5);
			assert_int_equal(h.s->out.first == NULL, asked > 0);
			assert_int_equal(be32_load(c->body + 12), h.s->reset.last_tsn);
			asked++;
			respond(be32_load(c->body + 4), RESET_PERFORMED);
		}
		hand_give_sack(&h, h.s->out.next_tsn - 1, NULL, 0);
	}
	assert_int_equal(asked, 2);
	hand_deinit(&h);
}

/* Without a list, all streams that were used are meant; a list that no owner could be told of is denied. */
static void reset_of_all_streams_names_the_used_ones(void **state)
{
	(void)state;
	hand_init(&h, false);
	for (uint16_t i = 0; i < 3; i++)
		hand_give_data(&h, h.tsn + i, i, 0, CHUNK_DATA_WHOLE, "x");
	hand_listen(&h);
	ask(PARAM_RESET_OUTGOING, h.tsn, h.tsn + 2, NULL, 0);
	assert_int_equal(answer(), RESET_PERFORMED);
	for (uint16_t i = 0; i < 3; i++) {
		expect_reset(i);
		assert_int_equal(h.s->in.ssn[i], 0);
	}
	hand_deinit(&h);
}

/* A request that comes late once more is no lie, and one from the future is. */
static void reset_late_request_is_not_counted(void **state)
{
	static const uint16_t streams[] = {5};

	(void)state;
	hand_init(&h, false);
	for (uint32_t i = 0; i < 3; i++) {
		ask(PARAM_RESET_OUTGOING, h.tsn + i, h.tsn - 1, streams, 1);
		assert_int_equal(answer(), RESET_PERFORMED);
		expect_reset(5);
	}
	ask(PARAM_RESET_OUTGOING, h.tsn, h.tsn - 1, streams, 1);
	assert_int_equal(answer(), RESET_BAD_SEQUENCE);
	assert_int_equal(sctp_counters(h.s)->bad_chunk, 0);
	ask(PARAM_RESET_OUTGOING, h.tsn + 9, h.tsn - 1, streams, 1);
	assert_int_equal(answer(), RESET_BAD_SEQUENCE);
	assert_int_equal(sctp_counters(h.s)->bad_chunk, 1);
	expect_no_event();
	hand_deinit(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reset_both_ways_between_associations),
		cmocka_unit_test(reset_many_streams_takes_few_requests),
		cmocka_unit_test(reset_request_is_performed_once_and_answered_again),
		cmocka_unit_test(reset_request_before_its_data_waits),
		cmocka_unit_test(reset_after_waiting_is_performed_once),
		cmocka_unit_test(reset_bad_requests_are_refused),
		cmocka_unit_test(reset_events_are_bounded),
		cmocka_unit_test(reset_request_is_repeated_until_answered),
		cmocka_unit_test(reset_in_progress_is_asked_again_under_a_new_number),
		cmocka_unit_test(reset_denied_leaves_the_stream),
		cmocka_unit_test(reset_waits_for_what_is_queued),
		cmocka_unit_test(reset_of_all_streams_names_the_used_ones),
		cmocka_unit_test(reset_late_request_is_not_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
