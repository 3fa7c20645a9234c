/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/mq.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>

static const uint32_t limits[MQ_LANES] = {2, 100000, 0, 1};

static struct mq_msg *msg(uint32_t type)
{
	struct mq_msg *m = mem_new(struct mq_msg);

	assert_non_null(m);
	m->type = type;
	return m;
}

static int readable(const struct mq *q)
{
	struct pollfd p = {.fd = mq_fd(q), .events = POLLIN};

	return poll(&p, 1, 0);
}

static void mq_push_keeps_order_and_limits_each_lane(void **state)
{
	struct mq *q;

	(void)state;
	assert_int_equal(mq_new(&q, limits), 0);
	assert_int_equal(readable(q), 0);
	assert_int_equal(mq_push(q, 0, msg(1)), 0);
	assert_int_equal(mq_push(q, 3, msg(2)), 0);
	assert_int_equal(mq_push(q, 0, msg(3)), 0);
	struct mq_msg *extra = msg(4);
	assert_int_equal(mq_push(q, 0, extra), -ENOBUFS);
	assert_int_equal(mq_push(q, 2, extra), -ENOBUFS);
	assert_int_equal(mq_push(q, 1, extra), 0);
	assert_int_equal(readable(q), 1);

	struct mq_msg *list = mq_pop_all(q);
	assert_int_equal(readable(q), 1); /* until it is seen that there is no more */
	assert_null(mq_pop_all(q));
	assert_int_equal(readable(q), 0);
	static const uint32_t expected[] = {1, 2, 3, 4};
	for (size_t i = 0; i < 4; i++) {
		struct mq_msg *next;

		assert_non_null(list);
		assert_int_equal(list->type, expected[i]);
		next = list->next;
		mem_free(list);
		list = next;
	}
	assert_null(list);
	assert_int_equal(mq_push(q, 0, msg(5)),
	                 0); /* the lane is free again; mq_free() frees the message */
	mq_free(q);
}

#define MANY 20000

static void *producer(void *q)
{
	for (uint32_t i = 1; i <= MANY; i++) {
		struct mq_msg *m = mem_new(struct mq_msg);

		if (m == NULL)
			return NULL;
		m->type = i;
		if (mq_push(q, 1, m) != 0)
			mem_free(m);
	}
	return NULL;
}

static void mq_push_from_another_thread_loses_nothing(void **state)
{
	struct mq *q;
	pthread_t t;
	uint32_t last = 0;

	(void)state;
	assert_int_equal(mq_new(&q, limits), 0);
	assert_int_equal(pthread_create(&t, NULL, producer, q), 0);
	while (last < MANY) {
		struct pollfd p = {.fd = mq_fd(q), .events = POLLIN};

		assert_int_equal(poll(&p, 1, 10000), 1);
		for (struct mq_msg *m = mq_pop_all(q), *next; m != NULL; m = next) {
			next = m->next;
			assert_int_equal(m->type, last + 1);
			last = m->type;
			mem_free(m);
		}
	}
	assert_int_equal(pthread_join(t, NULL), 0);
	mq_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mq_push_keeps_order_and_limits_each_lane),
		cmocka_unit_test(mq_push_from_another_thread_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
