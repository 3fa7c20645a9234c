/* SPDX-License-Identifier: MIT */

#include "base/clock.h"
#include "io/loop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct loop *loop;
	struct loop_timer *timer, *other;
	struct loop_fd *watch;
	struct loop_wake *wake;
	struct loop_signal *signal;
	unsigned fired, events, signum;
	int fd;
};

static void count(void *user)
{
	struct fixture *f = user;

	f->fired++;
}

static void count_to_three(void *user)
{
	struct fixture *f = user;

	if (++f->fired == 3)
		loop_stop(f->loop);
}

static void setup(struct fixture *f)
{
	*f = (struct fixture){.fd = -1};
	assert_int_equal(loop_new(&f->loop), 0);
}

static void loop_without_anything_ends(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(loop_run(f.loop), 0);
	loop_free(f.loop);
	loop_free(NULL);
}

static void loop_timer_fires_once_and_not_too_early(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(loop_timer_new(&f.timer, f.loop, count, &f), 0);
	uint64_t start = clock_now_us();
	loop_timer_start(f.timer, 1001); /* rounded up */
	assert_int_equal(loop_run(f.loop), 0);
	assert_int_equal(f.fired, 1);
	assert_true(clock_now_us() - start >= 1001);
	loop_timer_close(f.timer);
	loop_free(f.loop);
}

static void loop_timer_never_does_not_hold_the_loop(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(loop_timer_new(&f.timer, f.loop, count, &f), 0);
	loop_timer_start(f.timer, 1000);
	loop_timer_start(f.timer, UINT64_MAX);
	assert_int_equal(loop_run(f.loop), 0);
	assert_int_equal(f.fired, 0);
	loop_timer_close(f.timer);
	loop_free(f.loop);
}

static void loop_timer_periodic_goes_on_until_stopped(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(loop_timer_new(&f.timer, f.loop, count_to_three, &f), 0);
	loop_timer_start_periodic(f.timer, 1000);
	assert_int_equal(loop_run(f.loop), 0);
	assert_int_equal(f.fired, 3);
	loop_timer_close(f.timer);
	loop_free(f.loop);
}

static void close_other(void *user)
{
	struct fixture *f = user;

	loop_timer_close(f->other);
	loop_timer_close(f->timer); /* itself, inside its own callback */
}

static void loop_closed_timer_does_not_fire(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(loop_timer_new(&f.timer, f.loop, close_other, &f), 0);
	assert_int_equal(loop_timer_new(&f.other, f.loop, count, &f), 0);
	loop_timer_start(f.timer, 0);
	loop_timer_start(f.other, 1000);
	assert_int_equal(loop_run(f.loop), 0);
	assert_int_equal(f.fired, 0);
	loop_free(f.loop);
}

static void on_events(void *user, unsigned events)
{
	struct fixture *f = user;
	uint64_t value;

	f->events |= events;
	f->fired++;
	if ((events & LOOP_READABLE) != 0) {
		assert_int_equal(read(f->fd, &value, sizeof(value)), sizeof(value));
		assert_int_equal(loop_fd_start(f->watch, 0), 0);
	}
}

static void loop_fd_tells_readable_and_writable(void **state)
{
	struct fixture f;
	uint64_t one = 1;

	(void)state;
	setup(&f);
	f.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_true(f.fd >= 0);
	assert_int_equal(loop_fd_new(&f.watch, f.loop, f.fd, on_events, &f), 0);
	assert_int_equal(loop_run_once(f.loop), 0);
	assert_int_equal(f.fired, 0); /* not started */
	assert_int_equal(loop_fd_start(f.watch, LOOP_READABLE), 0);
	assert_int_equal(loop_run_once(f.loop), 0);
	assert_int_equal(f.fired, 0);
	assert_int_equal(write(f.fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(loop_run_once(f.loop), 0);
	assert_int_equal(f.events, LOOP_READABLE);
	assert_int_equal(loop_fd_start(f.watch, LOOP_WRITABLE), 0);
	assert_int_equal(loop_run_once(f.loop), 0);
	assert_int_equal(f.events, LOOP_READABLE | LOOP_WRITABLE);
	loop_fd_close(f.watch);
	loop_free(f.loop);
	assert_int_equal(close(f.fd), 0);
}

static void on_wake(void *user)
{
	struct fixture *f = user;

	f->fired++;
	loop_stop(f->loop);
}

static void loop_wake_rings_once_for_many(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(loop_wake_open(&f.wake, f.loop, on_wake, &f), 0);
	for (unsigned i = 0; i < 5; i++)
		loop_wake(f.wake);
	assert_int_equal(loop_run(f.loop), 0);
	assert_int_equal(f.fired, 1);
	loop_wake_close(f.wake);
	loop_free(f.loop);
}

static void on_signal(void *user, int signum)
{
	struct fixture *f = user;

	f->signum = (unsigned)signum;
	loop_stop(f->loop);
}

static void loop_signal_is_told(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(loop_signal_open(&f.signal, f.loop, SIGUSR1, on_signal, &f), 0);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(loop_run(f.loop), 0);
	assert_int_equal(f.signum, SIGUSR1);
	loop_signal_close(f.signal);
	loop_free(f.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loop_without_anything_ends),
		cmocka_unit_test(loop_timer_fires_once_and_not_too_early),
		cmocka_unit_test(loop_timer_never_does_not_hold_the_loop),
		cmocka_unit_test(loop_timer_periodic_goes_on_until_stopped),
		cmocka_unit_test(loop_closed_timer_does_not_fire),
		cmocka_unit_test(loop_fd_tells_readable_and_writable),
		cmocka_unit_test(loop_wake_rings_once_for_many),
		cmocka_unit_test(loop_signal_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
