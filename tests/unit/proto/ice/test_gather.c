/* SPDX-License-Identifier: MIT */

#include "proto/ice/gather.h"

#include "base/clock.h"
#include "base/mem.h"
#include "proto/stun/msg.h"
#include "proto/stun/responder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS     1000ull
#define S      1000000ull
#define START  (1000 * S)
#define PREFIX 0x0a0b0c0d

static struct netaddr addr(const char *text)
{
	struct netaddr a;

	assert_true(netaddr_parse(text, &a));
	return a;
}

static struct gather *make(const char *first, const char *second)
{
	struct gather_config c = {.transaction_prefix = PREFIX, .rng = rng_seeded(5)};
	struct gather *g;

	if (first != NULL)
		c.servers[c.server_count++] = addr(first);
	if (second != NULL)
		c.servers[c.server_count++] = addr(second);
	assert_int_equal(gather_new(&g, &c), 0);
	return g;
}

/* Answers a request as a server that sees the sender as `mapped`. */
static int answer(struct gather *g, const struct ice_packet *p, const char *mapped, uint64_t now_us)
{
	uint8_t out[STUN_RESPONSE_MAX];
	struct netaddr seen = addr(mapped);
	size_t n = stun_respond(p->data, p->len, &seen, out);

	assert_true(n > 0 && n * 2 <= p->len * 3);
	return gather_input(g, &p->local, &p->remote, out, n, now_us);
}

static void gather_answered_base_gives_mapping_and_done(void **state)
{
	struct gather *g = make("198.51.100.1:3478", NULL);
	struct netaddr base = addr("192.168.1.2:4000"), mapped = addr("203.0.113.9:5000");
	struct gather_event e;
	struct ice_packet p;

	(void)state;
	assert_true(gather_deadline_us(g) == CLOCK_NEVER);
	assert_int_equal(gather_add_base(g, &base, START), GATHER_OK);
	assert_int_equal(gather_output(g, &p, START), 1);
	assert_int_equal(stun_peek_prefix(p.data), PREFIX);
	assert_true(netaddr_equal(&p.local, &base));
	assert_int_equal(gather_event(g, &e), 0);
	assert_int_equal(answer(g, &p, "203.0.113.9:5000", START + 10 * MS), GATHER_OK);
	assert_int_equal(gather_event(g, &e), 1);
	assert_int_equal(e.type, GATHER_EVENT_SRFLX);
	assert_true(netaddr_equal(&e.mapped, &mapped) && netaddr_equal(&e.base, &base));
	assert_int_equal(gather_event(g, &e), 1);
	assert_int_equal(e.type, GATHER_EVENT_DONE);
	assert_int_equal(gather_event(g, &e), 0);
	/* Answered twice: the second is nobody's. */
	assert_int_equal(answer(g, &p, "203.0.113.9:5000", START + 20 * MS), GATHER_IGNORED);
	gather_free(g);
}

static void gather_without_server_is_done_at_once(void **state)
{
	struct gather *g = make(NULL, NULL);
	struct netaddr base = addr("192.168.1.2:4000");
	struct gather_event e;

	(void)state;
	assert_int_equal(gather_event(g, &e), 0);
	assert_int_equal(gather_add_base(g, &base, START), GATHER_OK);
	assert_int_equal(gather_event(g, &e), 1);
	assert_int_equal(e.type, GATHER_EVENT_DONE);
	gather_free(g);
}

static void gather_other_family_is_not_asked(void **state)
{
	struct gather *g = make("198.51.100.1:3478", NULL);
	struct netaddr base = addr("[2001:db8::2]:4000");
	struct ice_packet p;
	struct gather_event e;

	(void)state;
	assert_int_equal(gather_add_base(g, &base, START), GATHER_OK);
	assert_int_equal(gather_output(g, &p, START), 0);
	assert_int_equal(gather_event(g, &e), 1);
	assert_int_equal(e.type, GATHER_EVENT_DONE);
	gather_free(g);
}

/* One question to a server that says nothing; asked anew, then given up. Returns the time. */
static uint64_t ask_in_vain(struct gather *g, uint64_t start_us)
{
	static const uint64_t at_ms[] = {0, 500, 1500, 2500, 3500, 4500, 5500};
	uint8_t id[STUN_ID_SIZE] = {0};
	struct ice_packet p;

	for (size_t i = 0; i < GV_ARRAY_SIZE(at_ms); i++) {
		uint64_t now_us = gather_deadline_us(g);

		assert_true(now_us == start_us + at_ms[i] * MS);
		gather_timeout(g, now_us);
		assert_int_equal(gather_output(g, &p, now_us), 1);
		assert_int_equal(gather_output(g, &p, now_us), 0);
		if (i > 0)
			assert_memory_equal(id, p.data + 8, sizeof(id));
		memcpy(id, p.data + 8, sizeof(id));
	}
	assert_true(gather_deadline_us(g) == start_us + 7500 * MS);
	return start_us + 7500 * MS;
}

/*
 * RFC 8489 6.2.1: 0, 500 ms, then each second; then given up. Loss can do that, so the question is asked once more after
 * a second, and then at leisure.
 */
static void gather_silent_server_is_asked_seven_times(void **state)
{
	struct gather *g = make("198.51.100.1:3478", NULL);
	struct netaddr base = addr("192.168.1.2:4000");
	struct gather_event e;

	(void)state;
	assert_int_equal(gather_add_base(g, &base, START), GATHER_OK);
	uint64_t now_us = ask_in_vain(g, START);
	assert_int_equal(gather_event(g, &e), 0);
	gather_timeout(g, now_us);
	assert_int_equal(gather_event(g, &e), 1);
	assert_int_equal(e.type, GATHER_EVENT_DONE);
	now_us = ask_in_vain(g, now_us + 1 * S);
	gather_timeout(g, now_us);
	uint64_t again_us = gather_deadline_us(g);
	assert_true(again_us >= now_us + 15 * S && again_us <= now_us + 25 * S);
	gather_free(g);
}

/* Whoever sees the question can write an error: the answer still counts, and the question is repeated. */
static void gather_error_does_not_end_the_question(void **state)
{
	struct gather *g = make("198.51.100.1:3478", NULL);
	struct netaddr base = addr("192.168.1.2:4000"), server = addr("198.51.100.1:3478");
	struct stun_writer w;
	struct gather_event e;
	struct ice_packet p;
	uint8_t out[128];

	(void)state;
	assert_int_equal(gather_add_base(g, &base, START), GATHER_OK);
	assert_int_equal(gather_output(g, &p, START), 1);
	stun_begin(&w, out, sizeof(out), STUN_CLASS_ERROR, STUN_METHOD_BINDING, p.data + 8);
	stun_put_error(&w, STUN_ERROR_UNKNOWN_ATTRIBUTE);
	assert_int_equal(gather_input(g, &base, &server, out, stun_end(&w), START), GATHER_IGNORED);
	assert_true(gather_deadline_us(g) == START + 500 * MS);
	assert_int_equal(answer(g, &p, "203.0.113.9:5000", START + 10 * MS), GATHER_OK);
	assert_int_equal(gather_event(g, &e), 1);
	assert_int_equal(e.type, GATHER_EVENT_SRFLX);
	gather_free(g);
}

static void gather_changed_mapping_is_told_again(void **state)
{
	struct gather *g = make("198.51.100.1:3478", NULL);
	struct netaddr base = addr("192.168.1.2:4000");
	static const char *const mapped[] = {"203.0.113.9:5000", "203.0.113.9:5000",
	                                     "203.0.113.9:5001"};
	struct gather_event e;
	struct ice_packet p;
	uint64_t now_us = START;
	unsigned told = 0;

	(void)state;
	assert_int_equal(gather_add_base(g, &base, START), GATHER_OK);
	for (unsigned i = 0; i < 3; i++) {
		now_us = gather_deadline_us(g);
		gather_timeout(g, now_us);
		assert_int_equal(gather_output(g, &p, now_us), 1);
		assert_int_equal(answer(g, &p, mapped[i], now_us), GATHER_OK);
		while (gather_event(g, &e) == 1)
			told += e.type == GATHER_EVENT_SRFLX;
		assert_int_equal(told, i < 2 ? 1 : 2);
	}
	/* A known base is asked at once when it is added again. */
	assert_int_equal(gather_add_base(g, &base, now_us + 1 * S), GATHER_OK);
	assert_int_equal(gather_output(g, &p, now_us + 1 * S), 1);
	gather_free(g);
}

static void gather_two_servers_tell_one_mapping_once(void **state)
{
	struct gather *g = make("198.51.100.1:3478", "198.51.100.2:3478");
	struct netaddr base = addr("192.168.1.2:4000");
	struct gather_event e;
	struct ice_packet p, q;

	(void)state;
	assert_int_equal(gather_add_base(g, &base, START), GATHER_OK);
	assert_int_equal(gather_output(g, &p, START), 1);
	assert_int_equal(gather_output(g, &q, START), 1);
	assert_int_equal(answer(g, &p, "203.0.113.9:5000", START), GATHER_OK);
	assert_int_equal(gather_event(g, &e), 1);
	assert_int_equal(gather_event(g, &e), 0); /* the other server is open */
	assert_int_equal(answer(g, &q, "203.0.113.9:5000", START), GATHER_OK);
	assert_int_equal(gather_event(g, &e), 1);
	assert_int_equal(e.type, GATHER_EVENT_DONE);
	gather_free(g);
}

/* Answers that are not from whom we asked, or say what cannot be. */
static void gather_foreign_answers_are_dropped(void **state)
{
	struct gather *g = make("198.51.100.1:3478", NULL);
	struct netaddr base = addr("192.168.1.2:4000"), stranger = addr("198.51.100.66:3478");
	struct netaddr other_base = addr("192.168.1.3:4000"), seen = addr("203.0.113.9:5000");
	uint8_t out[STUN_RESPONSE_MAX];
	struct ice_packet p;
	struct gather_event e;

	(void)state;
	assert_int_equal(gather_add_base(g, &base, START), GATHER_OK);
	assert_int_equal(gather_output(g, &p, START), 1);
	size_t n = stun_respond(p.data, p.len, &seen, out);
	assert_int_equal(gather_input(g, &base, &stranger, out, n, START), GATHER_IGNORED);
	assert_int_equal(gather_input(g, &other_base, &p.remote, out, n, START), GATHER_IGNORED);
	assert_int_equal(gather_input(g, &base, &p.remote, out, n - 4, START), GATHER_IGNORED);
	assert_int_equal(gather_input(g, &base, &p.remote, p.data, p.len, START), GATHER_IGNORED);
	assert_int_equal(answer(g, &p, "0.0.0.0:5000", START), GATHER_IGNORED);
	assert_int_equal(answer(g, &p, "224.0.0.1:5000", START), GATHER_IGNORED);
	assert_int_equal(answer(g, &p, "[2001:db8::1]:5000", START), GATHER_IGNORED);
	p.data[19] ^= 1;
	assert_int_equal(answer(g, &p, "203.0.113.9:5000", START), GATHER_IGNORED);
	assert_int_equal(gather_event(g, &e), 0);
	assert_int_equal(gather_dropped(g), 8);
	p.data[19] ^= 1;
	assert_int_equal(answer(g, &p, "203.0.113.9:5000", START), GATHER_OK);
	gather_free(g);
}

static void gather_full_table_and_removal(void **state)
{
	struct gather *g = make("198.51.100.1:3478", NULL);
	struct netaddr base = addr("192.168.1.2:4000");

	(void)state;
	for (unsigned i = 0; i < GATHER_MAX_BASES; i++) {
		base.port = (uint16_t)(4000 + i);
		assert_int_equal(gather_add_base(g, &base, START), GATHER_OK);
	}
	base.port = 1;
	assert_int_equal(gather_add_base(g, &base, START), GATHER_TOO_MANY);
	gather_remove_base(g, &base, START); /* unknown */
	for (unsigned i = 0; i < GATHER_MAX_BASES; i++) {
		base.port = (uint16_t)(4000 + i);
		gather_remove_base(g, &base, START);
	}
	assert_true(gather_deadline_us(g) == CLOCK_NEVER);
	gather_free(g);
}

static void gather_new_without_memory_or_with_too_many_servers_fails(void **state)
{
	struct gather_config c = {.server_count = GATHER_MAX_SERVERS + 1};
	struct gather *g = NULL;

	(void)state;
	assert_int_equal(gather_new(&g, &c), -EINVAL);
	c.server_count = 0;
	mem_fail_at(1);
	assert_int_equal(gather_new(&g, &c), -ENOMEM);
	mem_fail_at(0);
	assert_null(g);
	gather_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gather_answered_base_gives_mapping_and_done),
		cmocka_unit_test(gather_without_server_is_done_at_once),
		cmocka_unit_test(gather_other_family_is_not_asked),
		cmocka_unit_test(gather_silent_server_is_asked_seven_times),
		cmocka_unit_test(gather_error_does_not_end_the_question),
		cmocka_unit_test(gather_changed_mapping_is_told_again),
		cmocka_unit_test(gather_two_servers_tell_one_mapping_once),
		cmocka_unit_test(gather_foreign_answers_are_dropped),
		cmocka_unit_test(gather_full_table_and_removal),
		cmocka_unit_test(gather_new_without_memory_or_with_too_many_servers_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
