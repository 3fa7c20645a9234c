/* SPDX-License-Identifier: MIT */

/* How associations begin and end in all the ways that RFC 9260 5.2, 8.4, 8.5 and 9 name. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hand.h"

#include <string.h>

static struct hand h;

static void give(uint8_t type, uint8_t flags, const void *body, size_t len)
{
	hand_begin(&h);
	hand_chunk(&h, type, flags, body, len);
	hand_give(&h);
}

/* A packet that carries another tag than ours. */
static void give_tagged(uint32_t tag, uint8_t type, uint8_t flags)
{
	hand_begin(&h);
	be32_store(h.packet + 4, tag);
	hand_chunk(&h, type, flags, NULL, 0);
	hand_give(&h);
}

static void expect_only(uint8_t type, uint8_t flags, uint32_t tag)
{
	hand_listen(&h);
	assert_int_equal(h.said_count, 1);
	assert_int_equal(h.said[0].type, type);
	assert_int_equal(h.said[0].flags, flags);
	assert_int_equal(h.said_tag, tag);
}

static void expect_silence(void)
{
	assert_int_equal(hand_listen(&h), 0);
}

static void expect_down(enum sctp_down_reason reason)
{
	struct sctp_event e;

	assert_int_equal(sctp_event(h.s, &e), 1);
	assert_int_equal(e.type, SCTP_EVENT_DOWN);
	assert_int_equal(e.reason, reason);
	assert_int_equal(h.s->state, ASSOC_ENDED);
}

/* A copy of the INIT ACK that was said, which lives longer than the next hand_listen(). */
static const struct chunk *keep_init_ack(void)
{
	static uint8_t bytes[1024];
	static struct chunk copy;

	copy = *hand_must(&h, CHUNK_INIT_ACK, 0);
	assert_in_range(copy.len, 1, sizeof(bytes));
	memcpy(bytes, copy.body, copy.len);
	copy.body = bytes;
	return &copy;
}

static uint32_t tag_of(const struct chunk *init_ack)
{
	return be32_load(init_ack->body);
}

/* --- out of the blue (8.4) --- */

static void ended_answers_data_with_abort(void **state)
{
	(void)state;
	hand_init(&h, true);
	sctp_abort(h.s, h.now_us);
	expect_only(CHUNK_ABORT, 0, HAND_TAG);
	hand_give_data(&h, h.tsn, 1, 0, CHUNK_DATA_WHOLE, "x");
	/* The tag comes back with the T bit, and with a checksum. */
	expect_only(CHUNK_ABORT, CHUNK_FLAG_T, h.s->my_tag);
	assert_true(le32_load(h.train + 8) != 0);
	hand_deinit(&h);
}

/* After a clean end a late packet is not answered: an ABORT could come before the SHUTDOWN COMPLETE. */
static void ended_cleanly_is_silent_but_for_shutdown_ack(void **state)
{
	(void)state;
	hand_init(&h, false);
	sctp_shutdown(h.s, h.now_us);
	hand_listen(&h);
	give(CHUNK_SHUTDOWN_ACK, 0, NULL, 0);
	expect_only(CHUNK_SHUTDOWN_COMPLETE, 0, HAND_TAG);
	hand_give_data(&h, h.tsn, 1, 0, CHUNK_DATA_WHOLE, "late");
	expect_silence();
	give(CHUNK_SHUTDOWN_ACK, 0, NULL, 0);
	expect_only(CHUNK_SHUTDOWN_COMPLETE, CHUNK_FLAG_T, h.s->my_tag);
	hand_deinit(&h);
}

static void ended_and_closed_do_not_answer_ends(void **state)
{
	static const uint8_t types[] = {CHUNK_ABORT, CHUNK_SHUTDOWN_COMPLETE, CHUNK_COOKIE_ACK,
	                                CHUNK_ERROR, CHUNK_INIT_ACK};
	struct sctp_config config = sctp_net_config(3);

	(void)state;
	for (int closed = 0; closed < 2; closed++) {
		hand_init(&h, false);
		if (closed) {
			sctp_free(h.s);
			h.s = NULL;
			assert_int_equal(sctp_new(&h.s, &config), 0);
		} else {
			sctp_abort(h.s, h.now_us);
			hand_listen(&h);
		}
		for (size_t i = 0; i < GV_ARRAY_SIZE(types); i++) {
			give_tagged(7, types[i], 0);
			expect_silence();
		}
		/* An ABORT behind something else as well. */
		hand_begin(&h);
		hand_chunk(&h, CHUNK_HEARTBEAT, 0, "abcd", 4);
		hand_chunk(&h, CHUNK_ABORT, 0, NULL, 0);
		hand_give(&h);
		expect_silence();
		give_tagged(7, CHUNK_HEARTBEAT, 0);
		expect_only(CHUNK_ABORT, CHUNK_FLAG_T, 7);
		give_tagged(7, CHUNK_SHUTDOWN_ACK, 0);
		expect_only(CHUNK_SHUTDOWN_COMPLETE, CHUNK_FLAG_T, 7);
		hand_deinit(&h);
	}
}

/* 8.5.1 D: the peer is still ending an association that we have forgotten. */
static void connecting_answers_shutdown_ack(void **state)
{
	(void)state;
	hand_init_connecting(&h);
	give_tagged(99, CHUNK_SHUTDOWN_ACK, 0);
	expect_only(CHUNK_SHUTDOWN_COMPLETE, CHUNK_FLAG_T, 99);
	assert_int_equal(h.s->state, ASSOC_COOKIE_WAIT);
	hand_deinit(&h);
}

static void ended_refuses_init_and_cookie(void **state)
{
	(void)state;
	hand_init(&h, false);
	hand_give_init(&h, CHUNK_INIT, 55, 1, NULL, 0);
	hand_listen(&h);
	const struct chunk *old = keep_init_ack();
	sctp_abort(h.s, h.now_us);
	hand_listen(&h);
	expect_down(SCTP_DOWN_ABORTED);
	/* The cookie is good, with tie tags and all, but what ended stays so. */
	hand_give_cookie_of(&h, old);
	expect_only(CHUNK_ABORT, CHUNK_FLAG_T, tag_of(old));
	assert_int_equal(h.s->state, ASSOC_ENDED);
	hand_give_init(&h, CHUNK_INIT, 56, 1, NULL, 0);
	expect_only(CHUNK_ABORT, 0, 56);
	hand_deinit(&h);
}

/* --- setup --- */

static const uint8_t cookie_param[] = {0, 7, 0, 8, 'c', 'o', 'o', 'k'};

static void init_ack_with_zero_tag_ends(void **state)
{
	(void)state;
	hand_init_connecting(&h);
	hand_give_init(&h, CHUNK_INIT_ACK, 0, 1, cookie_param, sizeof(cookie_param));
	expect_down(SCTP_DOWN_ABORTED);
	hand_deinit(&h);
}

static void init_ack_without_cookie_aborts(void **state)
{
	static const uint8_t want[] = {0, 2, 0, 10, 0, 0, 0, 1, 0, 7};

	(void)state;
	hand_init_connecting(&h);
	hand_give_init(&h, CHUNK_INIT_ACK, HAND_TAG, 1, NULL, 0);
	hand_listen(&h);
	assert_memory_equal(hand_must(&h, CHUNK_ABORT, 0)->body, want, sizeof(want));
	expect_down(SCTP_DOWN_ABORTED);
	hand_deinit(&h);
}

/* 3.2.1: unknown parameters are reported behind the COOKIE ECHO, those that ask for it. */
static void init_ack_unknown_parameters_are_reported(void **state)
{
	static const uint8_t params[] = {0,   7,   0,    8, 'c',  'o', 'o',  'k', 0x81, 1,
	                                 0,   4,   0xc1, 1, 0,    4,   0x41, 2,   0,    6,
	                                 'x', 'y', 0,    0, 0xc1, 3,   0,    4};
	static const uint8_t want[] = {0, 8,  0,    8, 0xc1, 1, 0,   4,   0, 8,
	                               0, 12, 0x41, 2, 0,    6, 'x', 'y', 0, 0};

	(void)state;
	hand_init_connecting(&h);
	hand_give_init(&h, CHUNK_INIT_ACK, HAND_TAG, 1, params, sizeof(params));
	assert_int_equal(hand_listen(&h), 1);
	assert_int_equal(h.said[0].type, CHUNK_COOKIE_ECHO);
	assert_int_equal(h.said[1].type, CHUNK_ERROR);
	assert_int_equal(h.said[1].len, sizeof(want));
	assert_memory_equal(h.said[1].body, want, sizeof(want));
	assert_int_equal(h.s->state, ASSOC_COOKIE_ECHOED);
	hand_deinit(&h);
}

/* RFC 9260 6.10: INIT ACK stands alone, whatever else waits for the same tag. */
static void init_ack_is_alone_in_its_packet(void **state)
{
	(void)state;
	hand_init(&h, false);
	give(CHUNK_HEARTBEAT, 0, "abcd", 4);
	hand_give_init(&h, CHUNK_INIT, HAND_TAG, 1, NULL, 0);
	give(CHUNK_HEARTBEAT, 0, "abcd", 4);
	assert_int_equal(hand_listen(&h), 3);
	assert_int_equal(h.said[1].type, CHUNK_INIT_ACK);
	hand_deinit(&h);
}

/* 8.3: our COOKIE ECHO came, its answer was lost, and the peer looks whether we live. */
static void cookie_echoed_answers_heartbeat(void **state)
{
	static const uint8_t info[] = {0, 1, 0, 8, 1, 2, 3, 4};

	(void)state;
	hand_init_connecting(&h);
	give(CHUNK_HEARTBEAT, 0, info, sizeof(info));
	expect_silence();
	hand_give_init(&h, CHUNK_INIT_ACK, HAND_TAG, 1, cookie_param, sizeof(cookie_param));
	hand_listen(&h);
	give(CHUNK_HEARTBEAT, 0, info, sizeof(info));
	expect_only(CHUNK_HEARTBEAT_ACK, 0, HAND_TAG);
	assert_memory_equal(h.said[0].body, info, sizeof(info));
	hand_deinit(&h);
}

/* A peer that calls each of our cookies stale does not keep us busy for ever. */
static void stale_cookies_without_end_end(void **state)
{
	static const uint8_t stale[] = {0, 3, 0, 8, 0, 0, 0, 1};
	unsigned n = 0;

	(void)state;
	hand_init_connecting(&h);
	for (; n < 100 && h.s->state != ASSOC_ENDED; n++) {
		hand_give_init(&h, CHUNK_INIT_ACK, HAND_TAG, 1, cookie_param, sizeof(cookie_param));
		hand_listen(&h);
		(void)hand_must(&h, CHUNK_COOKIE_ECHO, 0);
		give(CHUNK_ERROR, 0, stale, sizeof(stale));
		hand_listen(&h);
	}
	assert_int_equal(n, INIT_RETRANSMITS + 1);
	expect_down(SCTP_DOWN_TIMEOUT);
	hand_deinit(&h);
}

/* --- COOKIE ECHO when there is an association (5.2.4) --- */

/* B while connecting, and later: the tag of the peer's own INIT holds. */
static void cookie_case_b_takes_the_peers_tag(void **state)
{
	(void)state;
	hand_init_connecting(&h);
	hand_give_init(&h, CHUNK_INIT, 50, 500, NULL, 0);
	hand_listen(&h);
	const struct chunk *ack = keep_init_ack();
	assert_int_equal(tag_of(ack), h.s->my_tag);
	/* Meanwhile the association comes up by our own INIT, with another tag. */
	hand_give_init(&h, CHUNK_INIT_ACK, HAND_TAG, 1, cookie_param, sizeof(cookie_param));
	give(CHUNK_COOKIE_ACK, 0, NULL, 0);
	hand_listen(&h);
	assert_true(sctp_is_up(h.s));
	assert_int_equal(h.s->peer.tag, HAND_TAG);
	hand_give_cookie_of(&h, ack);
	expect_only(CHUNK_COOKIE_ACK, 0, 50);
	assert_int_equal(h.s->peer.tag, 50);
	hand_give_data(&h, 500, 1, 0, CHUNK_DATA_WHOLE, "x");
	assert_int_equal(sctp_counters(h.s)->data_in, 1);
	assert_int_equal(h.s->in.cum, 500);
	hand_deinit(&h);
}

/* A in all states in which it may restart; in SHUTDOWN ACK SENT the end goes on instead. */
static void cookie_case_a_restarts_or_ends(void **state)
{
	uint8_t cum[4];

	(void)state;
	for (int ending = 0; ending < 2; ending++) {
		hand_init(&h, false);
		uint32_t old_tag = h.s->my_tag;
		hand_give_init(&h, CHUNK_INIT, 60, 600, NULL, 0);
		hand_listen(&h);
		const struct chunk *ack = keep_init_ack();
		assert_true(tag_of(ack) != old_tag);
		if (ending) {
			be32_store(cum, h.s->out.next_tsn - 1);
			give(CHUNK_SHUTDOWN, 0, cum, sizeof(cum));
			expect_only(CHUNK_SHUTDOWN_ACK, 0, HAND_TAG);
			hand_give_cookie_of(&h, ack);
			hand_listen(&h);
			(void)hand_must(&h, CHUNK_SHUTDOWN_ACK, 0);
			assert_int_equal(be16_load(hand_must(&h, CHUNK_ERROR, 0)->body),
			                 CAUSE_COOKIE_IN_SHUTDOWN);
			assert_int_equal(h.s->state, ASSOC_SHUTDOWN_ACK_SENT);
		} else {
			hand_give_cookie_of(&h, ack);
			expect_only(CHUNK_COOKIE_ACK, 0, 60);
			assert_true(sctp_is_up(h.s));
			assert_int_equal(h.s->my_tag, tag_of(ack));
		}
		hand_deinit(&h);
	}
}

/* RFC 9653: never with COOKIE ECHO, though everything else of this peer may come so. */
static void cookie_echo_with_zero_checksum_is_dropped(void **state)
{
	(void)state;
	hand_init(&h, true);
	hand_give_init(&h, CHUNK_INIT, 60, 600, NULL, 0);
	hand_listen(&h);
	const struct chunk *ack = keep_init_ack();
	h.unsummed = true;
	hand_give_cookie_of(&h, ack);
	expect_silence();
	assert_int_equal(sctp_counters(h.s)->bad_checksum, 1);
	hand_give_data(&h, h.tsn, 1, 0, CHUNK_DATA_WHOLE, "x");
	assert_int_equal(sctp_counters(h.s)->data_in, 1);
	h.unsummed = false;
	hand_give_cookie_of(&h, ack);
	assert_int_equal(h.s->peer.tag, 60);
	hand_deinit(&h);
}

/* C: a cookie of a setup that is over. D: the same cookie once more. */
static void cookie_cases_c_and_d(void **state)
{
	(void)state;
	hand_init_connecting(&h);
	h.s->state = ASSOC_CLOSED; /* its own INIT is forgotten by the time the peer's comes */
	hand_give_init(&h, CHUNK_INIT, HAND_TAG, 1, NULL, 0);
	hand_listen(&h);
	const struct chunk *late = keep_init_ack();
	h.s->state = ASSOC_COOKIE_WAIT;
	hand_give_init(&h, CHUNK_INIT_ACK, HAND_TAG, 1, cookie_param, sizeof(cookie_param));
	hand_listen(&h);
	hand_give_cookie_of(&h, late);
	expect_silence();
	assert_int_equal(h.s->state, ASSOC_COOKIE_ECHOED);
	hand_deinit(&h);

	hand_init(&h, false);
	hand_give_init(&h, CHUNK_INIT, HAND_TAG, HAND_TSN, NULL, 0);
	hand_listen(&h);
	/* Another answer than the one that was taken has another tag, and is no repetition. */
	hand_give_cookie_of(&h, keep_init_ack());
	expect_silence();
	hand_deinit(&h);
}

/* --- SHUTDOWN (9.2) --- */

/* DATA that comes after our SHUTDOWN is answered with another one, besides the SACK. */
static void shutdown_is_repeated_for_late_data(void **state)
{
	(void)state;
	hand_init(&h, false);
	sctp_shutdown(h.s, h.now_us);
	hand_listen(&h);
	(void)hand_must(&h, CHUNK_SHUTDOWN, 0);
	hand_sleep(&h, RTO_INITIAL_US / 2);
	hand_give_data(&h, h.tsn, 1, 0, CHUNK_DATA_WHOLE, "late");
	hand_listen(&h);
	assert_int_equal(be32_load(hand_must(&h, CHUNK_SHUTDOWN, 0)->body), h.tsn);
	(void)hand_must(&h, CHUNK_SACK, 0);
	/* T2 starts again with it. */
	hand_sleep(&h, RTO_INITIAL_US * 3 / 4);
	expect_silence();
	hand_sleep(&h, RTO_INITIAL_US / 4);
	hand_listen(&h);
	(void)hand_must(&h, CHUNK_SHUTDOWN, 0);
	hand_deinit(&h);
}

/* What each kind of end does in each state of the shutdown. */
static void shutdown_both_at_once_ends_cleanly(void **state)
{
	uint8_t cum[4];

	(void)state;
	hand_init(&h, false);
	sctp_shutdown(h.s, h.now_us);
	hand_listen(&h);
	be32_store(cum, h.s->out.next_tsn - 1);
	give(CHUNK_SHUTDOWN, 0, cum, sizeof(cum));
	expect_only(CHUNK_SHUTDOWN_ACK, 0, HAND_TAG);
	give(CHUNK_SHUTDOWN, 0, cum, sizeof(cum));
	expect_only(CHUNK_SHUTDOWN_ACK, 0, HAND_TAG);
	hand_sleep(&h, RTO_INITIAL_US);
	expect_only(CHUNK_SHUTDOWN_ACK, 0, HAND_TAG);
	give(CHUNK_SHUTDOWN_ACK, 0, NULL, 0);
	expect_only(CHUNK_SHUTDOWN_COMPLETE, 0, HAND_TAG);
	expect_down(SCTP_DOWN_SHUTDOWN);
	hand_deinit(&h);
}

static void shutdown_received_sends_what_is_left(void **state)
{
	struct sctp_send_options o = {.stream = 1, .ppid = 53};
	uint8_t cum[4];

	(void)state;
	hand_init(&h, false);
	uint32_t first = h.s->out.next_tsn;
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	be32_store(cum, first - 1);
	give(CHUNK_SHUTDOWN, 0, cum, sizeof(cum));
	assert_int_equal(h.s->state, ASSOC_SHUTDOWN_RECEIVED);
	assert_int_equal(sctp_send(h.s, &o, "y", 1, h.now_us), SCTP_NOT_UP);
	expect_only(CHUNK_DATA, CHUNK_DATA_WHOLE, HAND_TAG);
	/* Its number in a later SHUTDOWN is an acknowledgement. */
	be32_store(cum, first);
	give(CHUNK_SHUTDOWN, 0, cum, sizeof(cum));
	expect_only(CHUNK_SHUTDOWN_ACK, 0, HAND_TAG);
	give(CHUNK_SHUTDOWN_COMPLETE, 0, NULL, 0);
	expect_down(SCTP_DOWN_SHUTDOWN);
	hand_deinit(&h);
}

/* The peer never answers: T2 gives up. It answers but never acknowledges: T5 does. */
static void shutdown_gives_up(void **state)
{
	struct sctp_send_options o = {.stream = 1, .ppid = 53};

	(void)state;
	hand_init(&h, false);
	sctp_shutdown(h.s, h.now_us);
	hand_sleep(&h, 300000000);
	expect_down(SCTP_DOWN_ABORTED);
	hand_deinit(&h);

	hand_init(&h, false);
	assert_int_equal(sctp_send(h.s, &o, "x", 1, h.now_us), 0);
	sctp_shutdown(h.s, h.now_us);
	for (int i = 0; i < 301; i++) {
		hand_listen(&h);
		hand_sleep(&h, 1000000);
		hand_give_sack(&h, h.s->out.cum_ack, NULL, 0);
	}
	expect_down(SCTP_DOWN_ABORTED);
	hand_deinit(&h);
}

/* The T bit on ABORT and SHUTDOWN COMPLETE: the tag is the one we use towards the peer (8.5.1 B and C). */
static void reflected_tags_are_known(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		static const uint32_t tags[] = {HAND_TAG, 1, HAND_TAG, 0};
		bool t_bit = kind != 2;

		hand_init(&h, false);
		give_tagged(tags[kind], CHUNK_ABORT, t_bit ? CHUNK_FLAG_T : 0);
		assert_int_equal(h.s->state == ASSOC_ENDED, kind == 0);
		hand_deinit(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ended_answers_data_with_abort),
		cmocka_unit_test(ended_cleanly_is_silent_but_for_shutdown_ack),
		cmocka_unit_test(ended_and_closed_do_not_answer_ends),
		cmocka_unit_test(connecting_answers_shutdown_ack),
		cmocka_unit_test(ended_refuses_init_and_cookie),
		cmocka_unit_test(init_ack_with_zero_tag_ends),
		cmocka_unit_test(init_ack_without_cookie_aborts),
		cmocka_unit_test(init_ack_unknown_parameters_are_reported),
		cmocka_unit_test(init_ack_is_alone_in_its_packet),
		cmocka_unit_test(cookie_echoed_answers_heartbeat),
		cmocka_unit_test(stale_cookies_without_end_end),
		cmocka_unit_test(cookie_case_b_takes_the_peers_tag),
		cmocka_unit_test(cookie_case_a_restarts_or_ends),
		cmocka_unit_test(cookie_echo_with_zero_checksum_is_dropped),
		cmocka_unit_test(cookie_cases_c_and_d),
		cmocka_unit_test(shutdown_is_repeated_for_late_data),
		cmocka_unit_test(shutdown_both_at_once_ends_cleanly),
		cmocka_unit_test(shutdown_received_sends_what_is_left),
		cmocka_unit_test(shutdown_gives_up),
		cmocka_unit_test(reflected_tags_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
