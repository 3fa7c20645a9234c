/* SPDX-License-Identifier: MIT */

#include "crypto/replay.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SEQ_TOP ((UINT64_C(1) << 48) - 1)

static void replay_mark_table(void **state)
{
	static const struct {
		uint64_t seq;
		enum replay_result result;
	} rows[] = {
		{0, REPLAY_NEW},
		{0, REPLAY_SEEN},
		{1, REPLAY_NEW},
		{63, REPLAY_NEW},
		{64, REPLAY_NEW},
		{2, REPLAY_NEW},
		{2, REPLAY_SEEN},
		{63, REPLAY_SEEN},
		/* the edges of the window when 4100 is the highest */
		{4100, REPLAY_NEW},
		{4, REPLAY_OLD},
		{5, REPLAY_NEW},
		{5, REPLAY_SEEN},
		{64, REPLAY_SEEN},
		{1, REPLAY_OLD},
		/* a jump by less than the ring, by exactly it, and by more */
		{4100 + 8191, REPLAY_NEW},
		{4100, REPLAY_OLD},
		{4100 + 8191 - 4095, REPLAY_NEW},
		{4100 + 8191 - 4096, REPLAY_OLD},
		{4100 + 8191 + 8192, REPLAY_NEW},
		{4100 + 8191 + 8192, REPLAY_SEEN},
		{4100 + 8191 + 8192 - 1, REPLAY_NEW},
		{1000000, REPLAY_NEW},
		{1000000 - 4095, REPLAY_NEW},
		{1000000 - 4096, REPLAY_OLD},
		/* the last number there is */
		{SEQ_TOP, REPLAY_NEW},
		{SEQ_TOP, REPLAY_SEEN},
		{1000000, REPLAY_OLD},
		{SEQ_TOP - 4095, REPLAY_NEW},
	};
	struct replay w = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(replay_check(&w, rows[i].seq), rows[i].result);
		assert_int_equal(replay_mark(&w, rows[i].seq), rows[i].result);
	}
}

static void replay_check_changes_nothing(void **state)
{
	struct replay w = {0}, before;

	(void)state;
	assert_int_equal(replay_mark(&w, 77), REPLAY_NEW);
	before = w;
	assert_int_equal(replay_check(&w, 5000000), REPLAY_NEW);
	assert_int_equal(replay_check(&w, 77), REPLAY_SEEN);
	assert_memory_equal(&w, &before, sizeof(w));
}

/* Against a list of everything that was ever marked. */
static void replay_mark_random_order_agrees_with_model(void **state)
{
	static bool seen[400000];
	struct rng rng = rng_seeded(4);
	struct replay w = {0};
	uint64_t highest = 0, centre = 0;

	(void)state;
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < 200000; i++) {
		/* mostly near the front, now and then a jump */
		centre += rng_below(&rng, 1000) == 0 ? rng_below(&rng, 12000) : rng_below(&rng, 3);
		uint64_t seq = centre + rng_below(&rng, 300);
		uint64_t back = rng_below(&rng, 4) == 0 ? rng_below(&rng, 5000) : 0;
		enum replay_result want = REPLAY_NEW;

		seq = seq > back ? seq - back : 0;
		if (seq >= sizeof(seen))
			break;
		if (seq < highest && highest - seq >= REPLAY_WINDOW)
			want = REPLAY_OLD;
		else if (seen[seq])
			want = REPLAY_SEEN;
		assert_int_equal(replay_mark(&w, seq), want);
		if (want == REPLAY_NEW) {
			seen[seq] = true;
			highest = seq > highest ? seq : highest;
		}
	}
	assert_true(highest > 200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replay_mark_table),
		cmocka_unit_test(replay_check_changes_nothing),
		cmocka_unit_test(replay_mark_random_order_agrees_with_model),
	};

	return cmocka_run_group_tests_name("crypto/replay", tests, NULL, NULL);
}
