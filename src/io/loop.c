/* SPDX-License-Identifier: MIT */

#include "io/loop.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#include <uv.h>

LOG_MODULE("loop");

/* libuv counts milliseconds in 64 bits and adds them to its clock; a year is long enough and cannot overflow. */
#define DELAY_MAX_MS (366ull * 24 * 3600 * 1000)

struct loop {
	uv_loop_t uv;
};

struct loop_timer {
	uv_timer_t uv;
	loop_timer_fn fn;
	void *user;
};

struct loop_fd {
	uv_poll_t uv;
	loop_fd_fn fn;
	void *user;
	unsigned asked; /* enum loop_event */
};

struct loop_signal {
	uv_signal_t uv;
	loop_signal_fn fn;
	void *user;
};

struct loop_wake {
	uv_async_t uv;
	loop_wake_fn fn;
	void *user;
};

/* Every object begins with its libuv handle, and its block is freed when libuv has let go of it. */
static void on_closed(uv_handle_t *handle)
{
	mem_free(handle);
}

static void close_handle(void *object)
{
	uv_handle_t *handle = object;

	if (handle != NULL && !uv_is_closing(handle))
		uv_close(handle, on_closed);
}

int loop_new(struct loop **out)
{
	struct loop *l = mem_new(struct loop);

	if (l == NULL)
		return err_here(-ENOMEM);
	int r = uv_loop_init(&l->uv);
	if (r < 0) {
		mem_free(l);
		return err_here(r);
	}
	*out = l;
	return 0;
}

int loop_run(struct loop *l)
{
	int r = uv_run(&l->uv, UV_RUN_DEFAULT);

	return r < 0 ? err_here(r) : 0;
}

int loop_run_once(struct loop *l)
{
	int r = uv_run(&l->uv, UV_RUN_NOWAIT);

	return r < 0 ? err_here(r) : 0;
}

void loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	/* Each round calls the close callbacks that are due; a handle left open would make this endless. */
	int r = uv_loop_close(&l->uv);
	for (unsigned i = 0; i < 16 && r == UV_EBUSY; i++) {
		(void)uv_run(&l->uv, UV_RUN_NOWAIT); /* says only whether more is open */
		r = uv_loop_close(&l->uv);
	}
	if (r < 0) {
		log_debug("loop freed with open handles; its memory is kept");
		return;
	}
	mem_free(l);
}

void *loop_uv(struct loop *l)
{
	return &l->uv;
}

static void on_timer(uv_timer_t *uv)
{
	struct loop_timer *t = GV_CONTAINER_OF(uv, struct loop_timer, uv);

	t->fn(t->user);
}

int loop_timer_new(struct loop_timer **out, struct loop *l, loop_timer_fn fn, void *user)
{
	struct loop_timer *t = mem_new(struct loop_timer);

	if (t == NULL)
		return err_here(-ENOMEM);
	t->fn = fn;
	t->user = user;
	int r = uv_timer_init(&l->uv, &t->uv);
	if (r < 0) {
		mem_free(t);
		return err_here(r);
	}
	*out = t;
	return 0;
}

static uint64_t to_ms(uint64_t us)
{
	uint64_t ms = us / 1000 + (us % 1000 != 0);

	return GV_MIN(ms, (uint64_t)DELAY_MAX_MS);
}

void loop_timer_start(struct loop_timer *t, uint64_t delay_us)
{
	if (delay_us == UINT64_MAX) {
		loop_timer_stop(t);
		return;
	}
	/* The loop's clock stands still during a round; a long callback must not make the delay shorter. */
	uv_update_time(t->uv.loop);
	(void)uv_timer_start(&t->uv, on_timer, to_ms(delay_us), 0); /* fails only while closing */
}

void loop_timer_start_periodic(struct loop_timer *t, uint64_t period_us)
{
	uint64_t ms = to_ms(GV_MAX(period_us, (uint64_t)1));

	uv_update_time(t->uv.loop);
	(void)uv_timer_start(&t->uv, on_timer, ms, ms); /* fails only while closing */
}

void loop_timer_stop(struct loop_timer *t)
{
	(void)uv_timer_stop(&t->uv); /* cannot fail */
}

void loop_timer_close(struct loop_timer *t)
{
	close_handle(t);
}

static void on_poll(uv_poll_t *uv, int status, int events)
{
	struct loop_fd *w = GV_CONTAINER_OF(uv, struct loop_fd, uv);
	unsigned set = 0;

	if ((events & UV_READABLE) != 0)
		set |= LOOP_READABLE;
	if ((events & UV_WRITABLE) != 0)
		set |= LOOP_WRITABLE;
	if (status < 0)
		set = w->asked;
	if (set != 0)
		w->fn(w->user, set);
}

int loop_fd_new(struct loop_fd **out, struct loop *l, int fd, loop_fd_fn fn, void *user)
{
	struct loop_fd *w = mem_new(struct loop_fd);

	if (w == NULL)
		return err_here(-ENOMEM);
	w->fn = fn;
	w->user = user;
	int r = uv_poll_init(&l->uv, &w->uv, fd);
	if (r < 0) {
		mem_free(w);
		return err_here(r);
	}
	*out = w;
	return 0;
}

int loop_fd_start(struct loop_fd *w, unsigned events)
{
	int uv_events = 0;

	if ((events & LOOP_READABLE) != 0)
		uv_events |= UV_READABLE;
	if ((events & LOOP_WRITABLE) != 0)
		uv_events |= UV_WRITABLE;
	w->asked = events;
	int r = uv_events == 0 ? uv_poll_stop(&w->uv) : uv_poll_start(&w->uv, uv_events, on_poll);
	return r < 0 ? err_here(r) : 0;
}

void loop_fd_close(struct loop_fd *w)
{
	close_handle(w);
}

static void on_signal(uv_signal_t *uv, int signum)
{
	struct loop_signal *s = GV_CONTAINER_OF(uv, struct loop_signal, uv);

	s->fn(s->user, signum);
}

int loop_signal_open(struct loop_signal **out, struct loop *l, int signum, loop_signal_fn fn,
                     void *user)
{
	struct loop_signal *s = mem_new(struct loop_signal);

	if (s == NULL)
		return err_here(-ENOMEM);
	s->fn = fn;
	s->user = user;
	int r = uv_signal_init(&l->uv, &s->uv);
	if (r < 0) {
		mem_free(s);
		return err_here(r);
	}
	r = uv_signal_start(&s->uv, on_signal, signum);
	if (r < 0) {
		close_handle(s);
		return err_here(r);
	}
	*out = s;
	return 0;
}

void loop_signal_close(struct loop_signal *s)
{
	close_handle(s);
}

static void on_wake(uv_async_t *uv)
{
	struct loop_wake *w = GV_CONTAINER_OF(uv, struct loop_wake, uv);

	w->fn(w->user);
}

int loop_wake_open(struct loop_wake **out, struct loop *l, loop_wake_fn fn, void *user)
{
	struct loop_wake *w = mem_new(struct loop_wake);

	if (w == NULL)
		return err_here(-ENOMEM);
	w->fn = fn;
	w->user = user;
	int r = uv_async_init(&l->uv, &w->uv, on_wake);
	if (r < 0) {
		mem_free(w);
		return err_here(r);
	}
	*out = w;
	return 0;
}

void loop_wake(struct loop_wake *w)
{
	(void)uv_async_send(&w->uv); /* fails only while closing, when nobody listens */
}

void loop_wake_close(struct loop_wake *w)
{
	close_handle(w);
}
