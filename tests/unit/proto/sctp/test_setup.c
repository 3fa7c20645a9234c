/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hand.h"

#include <string.h>

static void setup_both_connect_is_up_once(void **state)
{
	/* Every order in which the two INITs and their answers can cross. */
	static const uint64_t delays[][2] = {
		{0, 0}, {10000, 10000}, {10000, 1}, {1, 10000}, {1, 50000}};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(delays); i++) {
		for (uint64_t later = 0; later <= 60000; later += 5000) {
			struct sctp_net *net = sctp_net_new(i, NULL, NULL);

			net->link[0].delay_us = delays[i][0];
			net->link[1].delay_us = delays[i][1];
			sctp_connect(net->end[0], net->now_us);
			sctp_net_run(net, net->now_us + later);
			sctp_connect(net->end[1], net->now_us);
			sctp_net_run(net, net->now_us + 3000000);
			assert_true(net->up[0] && net->up[1]);
			assert_false(net->down[0] || net->down[1]);
			assert_int_equal(net->end[0]->my_tag, net->end[1]->peer.tag);
			assert_int_equal(net->end[1]->my_tag, net->end[0]->peer.tag);
			assert_int_equal(net->end[0]->out.next_tsn, net->end[1]->in.cum + 1);
			assert_int_equal(net->end[1]->out.next_tsn, net->end[0]->in.cum + 1);
			sctp_net_free(net);
		}
	}
}

static void setup_one_connects_is_up(void **state)
{
	struct sctp_net *net = sctp_net_new(2, NULL, NULL);

	(void)state;
	sctp_connect(net->end[0], net->now_us);
	sctp_net_run(net, net->now_us + 1000000);
	assert_true(net->up[0] && net->up[1]);
	sctp_net_free(net);
}

/* Four packets, the answering side keeps nothing before the third. */
static void setup_init_in_closed_keeps_no_state(void **state)
{
	struct sctp_net *net = sctp_net_new(2, NULL, NULL);

	(void)state;
	sctp_connect(net->end[0], net->now_us);
	sctp_net_run(net, net->now_us + 15000);
	assert_int_equal(net->end[1]->state, ASSOC_CLOSED);
	assert_int_equal(net->end[1]->my_tag, 0);
	assert_int_equal(net->end[1]->peer.tag, 0);
	assert_null(net->end[1]->out.ring);
	sctp_net_free(net);
}

static void setup_silence_ends_with_timeout(void **state)
{
	struct sctp_net *net = sctp_net_new(3, NULL, NULL);

	(void)state;
	net->link[0].dark = true;
	sctp_connect(net->end[0], net->now_us);
	sctp_net_run(net, net->now_us + 600000000);
	assert_true(net->down[0]);
	assert_int_equal(net->reason[0], SCTP_DOWN_TIMEOUT);
	/* RFC 9260 16: the first INIT and 8 more. */
	assert_int_equal(net->link[0].sent, 9);
	sctp_net_free(net);
}

static void setup_old_cookie_is_stale_and_init_repeated(void **state)
{
	struct sctp_net *net = sctp_net_new(4, NULL, NULL);

	(void)state;
	sctp_connect(net->end[0], net->now_us);
	sctp_net_run(net, net->now_us + 21000);
	/* The COOKIE ECHO is on its way, and stays there for longer than its cookie lives. */
	assert_int_equal(net->end[0]->state, ASSOC_COOKIE_ECHOED);
	net->now_us += COOKIE_LIFE_US + 1000000;
	sctp_net_run(net, net->now_us + 30000000);
	assert_in_range(sctp_counters(net->end[1])->bad_chunk, 1, 2);
	assert_true(net->up[0] && net->up[1]);
	sctp_net_free(net);
}

static void setup_foreign_or_damaged_cookie_is_dropped(void **state)
{
	static struct hand h;
	uint8_t cookie[76] = {0};

	(void)state;
	hand_init(&h, false);
	uint64_t bad = sctp_counters(h.s)->bad_chunk;
	for (size_t n = 0; n <= sizeof(cookie); n++) {
		hand_begin(&h);
		hand_chunk(&h, CHUNK_COOKIE_ECHO, 0, cookie, n);
		hand_give(&h);
	}
	assert_int_equal(sctp_counters(h.s)->bad_chunk - bad, sizeof(cookie) + 1);
	assert_true(sctp_is_up(h.s));
	assert_int_equal(hand_listen(&h), 0);
	hand_deinit(&h);
}

/* One end's COOKIE ECHO with any byte changed must not make an association; unchanged it does. */
static void setup_tampered_cookie_is_dropped(void **state)
{
	struct sctp_net *net = sctp_net_new(14, NULL, NULL);
	static uint8_t train[2][4096];
	struct batch out = BATCH_INIT(train[0], sizeof(train[0]), 0, 0);

	(void)state;
	sctp_connect(net->end[0], net->now_us);
	for (int i = 0; i < 2; i++) {
		batch_reset(&out);
		assert_int_equal(sctp_output(net->end[i], &out, net->now_us), 1);
		struct pkt p = batch_datagram(&out, 0);
		sctp_input(net->end[1 - i], &p, 1, net->now_us);
	}
	batch_reset(&out);
	assert_int_equal(sctp_output(net->end[0], &out, net->now_us), 1);
	assert_int_equal(train[0][SCTP_HEADER_BYTES], CHUNK_COOKIE_ECHO);
	for (size_t i = SCTP_HEADER_BYTES + CHUNK_HEADER_BYTES; i < out.len; i++) {
		struct pkt p = {.data = train[1], .len = out.len};

		memcpy(train[1], train[0], out.len);
		train[1][i] ^= 0x40;
		le32_store(train[1] + 8, 0);
		packet_checksum_write(train[1], out.len);
		sctp_input(net->end[1], &p, 1, net->now_us);
		assert_int_equal(net->end[1]->state, ASSOC_CLOSED);
	}
	struct pkt p = batch_datagram(&out, 0);
	sctp_input(net->end[1], &p, 1, net->now_us);
	assert_true(sctp_is_up(net->end[1]));
	sctp_net_free(net);
}

/* INIT, with some parameters, to a closed association. What is answered: a chunk type, or -1. */
static int answer_to_init(uint32_t tag, uint32_t a_rwnd, uint16_t out, uint16_t in,
                          const void *params, size_t params_len, uint32_t packet_tag)
{
	struct sctp_config config = sctp_net_config(5);
	struct packet_header header = {.source = 5000, .destination = 5000, .tag = packet_tag};
	static uint8_t packet[256], train[2048];
	struct bytes_writer w = bytes_writer(packet, sizeof(packet));
	struct batch b = BATCH_INIT(train, sizeof(train), 0, 0);
	struct sctp *s = NULL;
	int answer = -1;

	assert_int_equal(sctp_new(&s, &config), 0);
	packet_header_write(&w, &header);
	size_t at = chunk_open(&w, CHUNK_INIT, 0);
	bytes_write_u32(&w, tag);
	bytes_write_u32(&w, a_rwnd);
	bytes_write_u16(&w, out);
	bytes_write_u16(&w, in);
	bytes_write_u32(&w, 1);
	if (params_len > 0)
		bytes_write(&w, params, params_len);
	chunk_close(&w, at);
	packet_checksum_write(packet, w.used);
	struct pkt p = {.data = packet, .len = w.used};
	sctp_input(s, &p, 1, 1000000);
	if (sctp_output(s, &b, 1000000) > 0) {
		answer = train[SCTP_HEADER_BYTES];
		/* Everything about this INIT goes to its sender. */
		assert_int_equal(be32_load(train + 4), tag);
	}
	sctp_free(s);
	return answer;
}

/* RFC 9260 3.3.2 */
static void setup_init_limits_are_answered_as_rfc_says(void **state)
{
	static const uint8_t host[] = {0, 11, 0, 8, 'h', 'o', 's', 't'};
	static const uint8_t broken[] = {0, 7, 0, 40, 1, 2, 3, 4};
	static const uint8_t unknown[] = {0xc1, 0x23, 0, 4, 0x41, 0x23, 0, 4};

	(void)state;
	assert_int_equal(answer_to_init(1, 65536, 1, 1, NULL, 0, 0), CHUNK_INIT_ACK);
	assert_int_equal(answer_to_init(1, 1500, 65535, 65535, NULL, 0, 0), CHUNK_INIT_ACK);
	assert_int_equal(answer_to_init(1, 65536, 1, 1, unknown, sizeof(unknown), 0),
	                 CHUNK_INIT_ACK);
	assert_int_equal(answer_to_init(0, 65536, 1, 1, NULL, 0, 0), -1);
	assert_int_equal(answer_to_init(1, 65536, 1, 1, NULL, 0, 7), -1);
	assert_int_equal(answer_to_init(1, 1499, 1, 1, NULL, 0, 0), CHUNK_ABORT);
	assert_int_equal(answer_to_init(1, 65536, 0, 1, NULL, 0, 0), CHUNK_ABORT);
	assert_int_equal(answer_to_init(1, 65536, 1, 0, NULL, 0, 0), CHUNK_ABORT);
	assert_int_equal(answer_to_init(1, 65536, 1, 1, host, sizeof(host), 0), CHUNK_ABORT);
	assert_int_equal(answer_to_init(1, 65536, 1, 1, broken, sizeof(broken), 0), -1);
}

/* RFC 9260 5.2.2: an INIT for a live association changes nothing, whatever the sender does next. */
static void setup_init_flood_on_live_association_is_harmless(void **state)
{
	struct sctp_net *net = sctp_net_new(6, NULL, NULL);
	struct sctp_send_options o = {.ppid = 53};
	struct sctp_config config = sctp_net_config(99);
	struct sctp *stranger = NULL;

	(void)state;
	assert_true(sctp_net_connect(net));
	for (int i = 0; i < 1000; i++) {
		static uint8_t train[4096];
		struct batch b = BATCH_INIT(train, sizeof(train), 0, 0);

		config.rng = rng_seeded((uint64_t)i);
		assert_int_equal(sctp_new(&stranger, &config), 0);
		sctp_connect(stranger, net->now_us);
		assert_int_equal(sctp_output(stranger, &b, net->now_us), 1);
		struct pkt p = batch_datagram(&b, 0);
		sctp_input(net->end[0], &p, 1, net->now_us);
		sctp_free(stranger);
	}
	assert_int_equal(sctp_send(net->end[1], &o, "x", 1, net->now_us), 0);
	sctp_net_run(net, net->now_us + 1000000);
	assert_int_equal(net->messages[0], 1);
	assert_false(net->down[0]);
	sctp_net_free(net);
}

/* RFC 9260 5.2.4 A: one end lost its memory and connects anew. */
static void setup_restart_of_peer_is_told_and_works(void **state)
{
	struct sctp_net *net = sctp_net_new(7, NULL, NULL);
	struct sctp_config config = sctp_net_config(1234);
	struct sctp_send_options o = {.ppid = 53};

	(void)state;
	assert_true(sctp_net_connect(net));
	assert_int_equal(sctp_send(net->end[0], &o, "one", 3, net->now_us), 0);
	sctp_net_run(net, net->now_us + 1000000);
	sctp_free(net->end[1]);
	net->end[1] = NULL;
	assert_int_equal(sctp_new(&net->end[1], &config), 0);
	net->up[0] = net->up[1] = false;
	sctp_connect(net->end[1], net->now_us);
	sctp_net_run(net, net->now_us + 1000000);
	assert_true(net->down[0]);
	assert_int_equal(net->reason[0], SCTP_DOWN_RESTARTED);
	assert_true(net->up[0] && net->up[1]);
	assert_int_equal(sctp_send(net->end[0], &o, "two", 3, net->now_us), 0);
	assert_int_equal(sctp_send(net->end[1], &o, "two", 3, net->now_us), 0);
	sctp_net_run(net, net->now_us + 1000000);
	assert_int_equal(net->messages[0], 1);
	assert_int_equal(net->messages[1], 2);
	sctp_net_free(net);
}

/* RFC 9653: zero only when both announced it, and never with INIT and COOKIE ECHO. */
static void setup_zero_checksum_needs_both(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		struct sctp_config a = sctp_net_config(1), b = sctp_net_config(2);
		static uint8_t train[4096];

		a.zero_checksum = (kind & 1) != 0;
		b.zero_checksum = (kind & 2) != 0;
		struct sctp_net *net = sctp_net_new(8, &a, &b);
		assert_true(sctp_net_connect(net));
		assert_int_equal(net->end[0]->use_zero_checksum, kind == 3);
		assert_int_equal(net->end[1]->use_zero_checksum, kind == 3);
		struct sctp_send_options o = {.ppid = 53};
		struct batch out = BATCH_INIT(train, sizeof(train), 0, 0);
		assert_int_equal(sctp_send(net->end[0], &o, "x", 1, net->now_us), 0);
		assert_int_equal(sctp_output(net->end[0], &out, net->now_us), 1);
		assert_int_equal(le32_load(train + 8) == 0, kind == 3);
		struct pkt p = {.data = train, .len = out.len};
		le32_store(train + 8, 0);
		sctp_input(net->end[1], &p, 1, net->now_us);
		/* Whoever announced it takes it; whoever did not, does not. */
		struct sctp_msg m;
		assert_int_equal(sctp_recv(net->end[1], &m, 1), (kind & 2) != 0);
		assert_int_equal(sctp_counters(net->end[1])->bad_checksum, (kind & 2) == 0);
		sctp_net_free(net);
	}
}

/* Not to peers that are not known to take it: pion's SCTP 1.8.6 drops such an INIT. */
static void setup_zero_checksum_is_announced_only_when_asked_for(void **state)
{
	static const uint8_t announcement[] = {0x80, 0x01, 0, 8, 0, 0, 0, 1};

	(void)state;
	for (int asked = 0; asked < 2; asked++) {
		struct sctp_config a = sctp_net_config(1), b = sctp_net_config(2);
		static uint8_t train[4096];
		struct batch out = BATCH_INIT(train, sizeof(train), 0, 0);

		a.zero_checksum = b.zero_checksum = asked == 1;
		struct sctp_net *net = sctp_net_new(9, &a, &b);
		sctp_connect(net->end[0], net->now_us);
		assert_int_equal(sctp_output(net->end[0], &out, net->now_us), 1);
		assert_int_equal(memmem(train, out.len, announcement, 8) != NULL, asked);
		struct pkt init = {.data = train, .len = out.len};
		sctp_input(net->end[1], &init, 1, net->now_us);
		batch_reset(&out);
		assert_int_equal(sctp_output(net->end[1], &out, net->now_us), 1);
		assert_int_equal(memmem(train, out.len, announcement, 8) != NULL, asked);
		sctp_net_free(net);
	}
}

static void setup_init_with_zero_checksum_is_dropped(void **state)
{
	struct sctp_net *net = sctp_net_new(9, NULL, NULL);
	static uint8_t train[4096];
	struct batch out = BATCH_INIT(train, sizeof(train), 0, 0);

	(void)state;
	sctp_connect(net->end[0], net->now_us);
	assert_int_equal(sctp_output(net->end[0], &out, net->now_us), 1);
	assert_true(le32_load(train + 8) != 0);
	le32_store(train + 8, 0);
	struct pkt p = {.data = train, .len = out.len};
	sctp_input(net->end[1], &p, 1, net->now_us);
	assert_int_equal(sctp_counters(net->end[1])->bad_checksum, 1);
	sctp_net_free(net);
}

static void setup_wrong_tag_or_port_is_dropped(void **state)
{
	static struct hand h;

	(void)state;
	hand_init(&h, false);
	for (int kind = 0; kind < 4; kind++) {
		hand_begin(&h);
		h.packet[kind == 3 ? 4 : kind] ^= 1; /* a port, or the tag */
		hand_chunk(&h, CHUNK_ABORT, 0, NULL, 0);
		hand_give(&h);
	}
	assert_int_equal(sctp_counters(h.s)->bad_packet, 4);
	assert_true(sctp_is_up(h.s));
	hand_deinit(&h);
}

static void shutdown_delivers_all_before_end(void **state)
{
	struct sctp_net *net = sctp_net_new(10, NULL, NULL);
	static uint8_t data[100000];
	struct sctp_send_options o = {.ppid = 53};

	(void)state;
	assert_true(sctp_net_connect(net));
	assert_int_equal(sctp_send(net->end[0], &o, data, sizeof(data), net->now_us), 0);
	assert_int_equal(sctp_send(net->end[1], &o, data, sizeof(data), net->now_us), 0);
	sctp_shutdown(net->end[0], net->now_us);
	assert_int_equal(sctp_send(net->end[0], &o, data, 1, net->now_us), SCTP_NOT_UP);
	sctp_net_run(net, net->now_us + 20000000);
	assert_int_equal(net->messages[0], 1);
	assert_int_equal(net->messages[1], 1);
	for (int i = 0; i < 2; i++) {
		assert_true(net->down[i]);
		assert_int_equal(net->reason[i], SCTP_DOWN_SHUTDOWN);
		assert_true(sctp_deadline_us(net->end[i]) == NEVER);
	}
	sctp_net_free(net);
}

static void abort_ends_both_at_once(void **state)
{
	struct sctp_net *net = sctp_net_new(11, NULL, NULL);

	(void)state;
	assert_true(sctp_net_connect(net));
	sctp_abort(net->end[0], net->now_us);
	sctp_net_run(net, net->now_us + 100000);
	assert_true(net->down[0] && net->down[1]);
	assert_int_equal(net->reason[1], SCTP_DOWN_ABORTED);
	sctp_net_free(net);
}

/* A foreign peer that is gone is noticed by the heartbeat (RFC 9260 8.3). */
static void heartbeat_without_answer_ends(void **state)
{
	struct sctp_net *net = sctp_net_new(12, NULL, NULL);

	(void)state;
	assert_true(sctp_net_connect(net));
	sctp_net_run(net, net->now_us + 600000000);
	assert_false(net->down[0]);
	net->link[0].dark = true;
	sctp_net_run(net, net->now_us + 600000000);
	assert_true(net->down[0]);
	assert_int_equal(net->reason[0], SCTP_DOWN_TIMEOUT);
	sctp_net_free(net);
}

static void new_config_out_of_range_is_einval(void **state)
{
	struct sctp_config c = sctp_net_config(1);
	struct sctp *s = NULL;

	(void)state;
	c.max_packet_bytes = SCTP_PACKET_BYTES_MIN - 1;
	assert_true(sctp_new(&s, &c) < 0);
	c = sctp_net_config(1);
	c.max_message_bytes = SCTP_MESSAGE_BYTES_MAX + 1;
	assert_true(sctp_new(&s, &c) < 0);
	c.max_message_bytes = 0;
	assert_true(sctp_new(&s, &c) < 0);
	assert_null(s);
}

/* A thousand peers must fit in little memory. */
static void new_association_is_small(void **state)
{
	(void)state;
	assert_in_range(sizeof(struct sctp), 1, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setup_both_connect_is_up_once),
		cmocka_unit_test(setup_one_connects_is_up),
		cmocka_unit_test(setup_init_in_closed_keeps_no_state),
		cmocka_unit_test(setup_silence_ends_with_timeout),
		cmocka_unit_test(setup_old_cookie_is_stale_and_init_repeated),
		cmocka_unit_test(setup_foreign_or_damaged_cookie_is_dropped),
		cmocka_unit_test(setup_tampered_cookie_is_dropped),
		cmocka_unit_test(setup_init_limits_are_answered_as_rfc_says),
		cmocka_unit_test(setup_init_flood_on_live_association_is_harmless),
		cmocka_unit_test(setup_restart_of_peer_is_told_and_works),
		cmocka_unit_test(setup_zero_checksum_needs_both),
		cmocka_unit_test(setup_zero_checksum_is_announced_only_when_asked_for),
		cmocka_unit_test(setup_init_with_zero_checksum_is_dropped),
		cmocka_unit_test(setup_wrong_tag_or_port_is_dropped),
		cmocka_unit_test(shutdown_delivers_all_before_end),
		cmocka_unit_test(abort_ends_both_at_once),
		cmocka_unit_test(heartbeat_without_answer_ends),
		cmocka_unit_test(new_config_out_of_range_is_einval),
		cmocka_unit_test(new_association_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
