/* SPDX-License-Identifier: MIT */

#include "engine/server/stun_service.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/udp.h"
#include "proto/stun/responder.h"

#include <errno.h>

LOG_MODULE("stun");

/* Trains read from one socket before the loop goes on with others. */
#define ROUNDS 32

struct endpoint {
	struct stun_service *service;
	struct udp udp;
	struct loop_fd *watch;
};

struct stun_service {
	struct loop *loop;
	struct endpoint endpoints[STUN_SERVICE_MAX];
	size_t n;
	struct stun_service_stats stats;
	struct stun_limit limit;
	uint8_t in[UDP_RECV_BYTES];
};

static void answer(struct endpoint *e, const uint8_t *data, size_t len, const struct udp_train *t,
                   uint64_t now_us)
{
	struct stun_service *s = e->service;
	uint8_t out[STUN_RESPONSE_MAX];
	size_t n = stun_respond(data, len, &t->remote, out);

	if (n == 0) {
		s->stats.ignored++;
		return;
	}
	if (!stun_limit_pass(&s->limit, &t->remote, now_us)) {
		s->stats.limited++;
		return;
	}
	/* An answer that cannot be sent is lost like one on the way. */
	if (udp_send(&e->udp, &t->local, &t->remote, out, n) == UDP_OK)
		s->stats.answered++;
}

static void on_readable(void *user, unsigned events)
{
	struct endpoint *e = user;
	struct stun_service *s = e->service;
	uint64_t now_us = clock_now_us();
	struct udp_train t;

	(void)events;
	for (unsigned i = 0; i < ROUNDS; i++) {
		int r = udp_recv(&e->udp, s->in, sizeof(s->in), &t);

		if (r < 0) {
			log_limited(LOG_LEVEL_WARN, 5, "stun.receive", LOG_I64("error", r));
			return;
		}
		if (r != UDP_OK)
			return;
		for (size_t at = 0; at < t.len; at += t.size)
			answer(e, s->in + at, GV_MIN(t.size, t.len - at), &t, now_us);
	}
}

int stun_service_new(struct stun_service **out, struct loop *loop, uint64_t seed)
{
	struct stun_service *s = mem_new(struct stun_service);

	if (s == NULL)
		return err_here(-ENOMEM);
	s->loop = loop;
	stun_limit_init(&s->limit, seed);
	*out = s;
	return 0;
}

static void explain(struct diag *diag, int result, const struct netaddr *addr)
{
	char text[NETADDR_TEXT_SIZE];

	(void)netaddr_text(addr, text); /* returns text */
	if (result == UDP_IN_USE)
		diag_set(diag, "UDP %s (STUN) is in use by another program", text);
	else if (result == UDP_DENIED)
		diag_set(diag, "not allowed to open UDP %s (STUN)", text);
	else
		diag_set(diag, "UDP %s (STUN) is not an address of this computer", text);
}

int stun_service_add(struct stun_service *s, const struct netaddr *addr, struct netaddr *bound,
                     struct diag *diag)
{
	struct endpoint *e = &s->endpoints[s->n];

	if (s->n == STUN_SERVICE_MAX)
		return err_here(-ENOSPC);
	*e = (struct endpoint){.service = s, .udp = UDP_NULL};
	int r = udp_open(addr, &e->udp);
	if (r > 0)
		explain(diag, r, addr);
	if (r != 0)
		return r < 0 ? err_up(r) : r;
	r = udp_local(&e->udp, bound);
	if (r == 0)
		r = loop_fd_new(&e->watch, s->loop, e->udp.fd, on_readable, e);
	if (r == 0)
		r = loop_fd_start(e->watch, LOOP_READABLE);
	if (r < 0) {
		loop_fd_close(e->watch);
		udp_close(&e->udp);
		return err_up(r);
	}
	s->n++;
	return 0;
}

void stun_service_close(struct stun_service *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n; i++) {
		loop_fd_close(s->endpoints[i].watch);
		udp_close(&s->endpoints[i].udp);
	}
	mem_free(s);
}

void stun_service_stats(const struct stun_service *s, struct stun_service_stats *out)
{
	*out = s->stats;
}
