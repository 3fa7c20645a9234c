/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/batch.h"
#include "engine/dataplane/gate.h"

#define DATAGRAM 1473

/* An interface that sends `rate` bytes a second of what it was given. */
struct line {
	uint64_t rate, unsent, now_us;
	uint64_t sent, worst; /* bytes given; most that waited behind the first look */
};

static void pass(struct line *l, uint64_t us)
{
	uint64_t gone = l->rate * us / 1000000;

	l->unsent -= gone < l->unsent ? gone : l->unsent;
	l->now_us += us;
}

/* Gives it trains as long as the gate is open, and looks when it wants to be looked at. */
static void run(struct gate *g, struct line *l, uint64_t us)
{
	uint64_t end = l->now_us + us;

	while (l->now_us < end) {
		if (g->closed) {
			uint64_t at = gate_deadline_us(g);

			assert_true(at > l->now_us && at <= l->now_us + 5000);
			pass(l, at - l->now_us);
			gate_look(g, l->unsent, l->now_us);
			continue;
		}
		size_t train = gate_train_bytes(g, DATAGRAM);

		assert_in_range(train, 2 * DATAGRAM, BATCH_MAX_BYTES);
		l->unsent += train;
		l->sent += train;
		if (l->unsent > l->worst)
			l->worst = l->unsent;
		pass(l, 20);
		if (gate_sent(g, train))
			gate_look(g, l->unsent, l->now_us);
	}
}

static void gate_fast_interface_never_closes(void **state)
{
	struct gate g = GATE_INIT;
	struct line l = {.rate = UINT64_C(5000000000), .now_us = 1000};

	(void)state;
	run(&g, &l, 1000000);
	assert_false(g.closed);
	assert_int_equal(g.rate, 0);
	assert_int_equal(gate_train_bytes(&g, DATAGRAM), BATCH_MAX_BYTES);
	assert_int_equal(gate_deadline_us(&g), UINT64_MAX);
}

/* After the first measurement some 3 ms wait in the kernel, and the interface is never idle. */
static void gate_slow_interface_is_kept_busy_with_little(void **state)
{
	static const uint64_t rates[] = {2500000, 6250000, 12500000, 125000000};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct gate g = GATE_INIT;
		struct line l = {.rate = rates[i], .now_us = 1000};

		run(&g, &l, 500000);
		l.sent = 0;
		l.worst = 0;
		run(&g, &l, 2000000);
		assert_in_range(l.sent, rates[i] * 2 * 9 / 10, rates[i] * 2 * 11 / 10);
		assert_in_range(g.rate, rates[i] * 9 / 10, rates[i] * 11 / 10);
		/* 4 ms, or two trains of two datagrams. */
		uint64_t most = rates[i] / 250;
		assert_true(l.worst <= (most > 12000 ? most : 12000));
	}
}

static void gate_follows_an_interface_that_becomes_slower_and_faster(void **state)
{
	struct gate g = GATE_INIT;
	struct line l = {.rate = 125000000, .now_us = 1000};

	(void)state;
	run(&g, &l, 1000000);
	l.rate = 2500000;
	run(&g, &l, 1000000);
	assert_in_range(g.rate, 2250000, 2750000);
	l.rate = UINT64_C(5000000000);
	run(&g, &l, 1000000);
	assert_false(g.closed);
	assert_int_equal(gate_train_bytes(&g, DATAGRAM), BATCH_MAX_BYTES);
}

/* An interface that stands still is asked again, but seldom; after a second others may send in spite of it. */
static void gate_dead_interface_is_asked_each_5_ms_for_a_second(void **state)
{
	struct gate g = GATE_INIT;
	uint64_t now_us = 1000;
	unsigned looks = 0;

	(void)state;
	while (!gate_sent(&g, 65000)) {
	}
	gate_look(&g, 1000000, now_us);
	assert_true(g.closed);
	assert_false(gate_sent(&g, 1000000));
	for (; g.closed; looks++) {
		now_us = gate_deadline_us(&g);
		gate_look(&g, 1000000, now_us);
	}
	assert_in_range(now_us, 1001000, 1006000);
	assert_in_range(looks, 190, 220);

	/* What stands there no longer counts, and what is sent elsewhere still does. */
	gate_look(&g, 1000000 + g.budget_bytes, now_us);
	assert_false(g.closed);
	gate_look(&g, 1000001 + g.budget_bytes, now_us);
	assert_true(g.closed);
	gate_look(&g, 1000000, now_us + 1000);
	assert_false(g.closed);

	/* It lives again. */
	gate_look(&g, 0, now_us + 2000);
	gate_look(&g, 2 * g.budget_bytes, now_us + 3000);
	assert_true(g.closed);
}

/* Slow is not dead: one datagram in 600 ms. */
static void gate_very_slow_interface_stays_closed(void **state)
{
	struct gate g = GATE_INIT;
	uint64_t now_us = 1000, unsent = 1000000;

	(void)state;
	gate_look(&g, unsent, now_us);
	while (now_us < 20000000) {
		uint64_t before = now_us / 600000;

		now_us = gate_deadline_us(&g);
		unsent -= (now_us / 600000 - before) * 1500;
		gate_look(&g, unsent, now_us);
		assert_true(g.closed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gate_fast_interface_never_closes),
		cmocka_unit_test(gate_slow_interface_is_kept_busy_with_little),
		cmocka_unit_test(gate_follows_an_interface_that_becomes_slower_and_faster),
		cmocka_unit_test(gate_dead_interface_is_asked_each_5_ms_for_a_second),
		cmocka_unit_test(gate_very_slow_interface_stays_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
