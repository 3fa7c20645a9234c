/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/rng.h"

#define NODES 100

/* Against the earliest found by looking at all. */
static void heap_random_equals_scan(void **state)
{
	struct heap_node nodes[NODES] = {0};
	uint64_t due[NODES];
	struct heap h;
	struct rng rng = rng_seeded(11);

	(void)state;
	assert_int_equal(heap_init(&h, NODES), 0);
	for (int i = 0; i < NODES; i++)
		due[i] = UINT64_MAX;
	for (int step = 0; step < 20000; step++) {
		uint32_t i = rng_below(&rng, NODES);
		uint64_t least = UINT64_MAX;
		uint32_t count = 0;

		due[i] = rng_below(&rng, 4) == 0 ? UINT64_MAX : rng_below(&rng, 500);
		heap_set(&h, &nodes[i], due[i]);
		for (int k = 0; k < NODES; k++) {
			least = due[k] < least ? due[k] : least;
			count += due[k] != UINT64_MAX;
			assert_int_equal(nodes[k].at != 0, due[k] != UINT64_MAX);
		}
		assert_int_equal(h.count, count);
		assert_int_equal(heap_due(&h), least);
		if (count > 0)
			assert_int_equal(due[heap_top(&h) - nodes], least);
		else
			assert_null(heap_top(&h));
	}
	heap_deinit(&h);
}

static void heap_emptied_from_the_top_is_in_order(void **state)
{
	struct heap_node nodes[NODES] = {0};
	struct heap h;
	struct rng rng = rng_seeded(12);
	uint64_t before = 0;

	(void)state;
	assert_int_equal(heap_init(&h, NODES), 0);
	for (int i = 0; i < NODES; i++)
		heap_set(&h, &nodes[i], rng_below(&rng, 50));
	for (int i = 0; i < NODES; i++) {
		assert_true(heap_due(&h) >= before);
		before = heap_due(&h);
		heap_set(&h, heap_top(&h), UINT64_MAX);
	}
	assert_int_equal(h.count, 0);
	heap_deinit(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heap_random_equals_scan),
		cmocka_unit_test(heap_emptied_from_the_top_is_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
