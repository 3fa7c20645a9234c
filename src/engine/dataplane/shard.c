/* SPDX-License-Identifier: MIT */

#include "engine/dataplane/shard.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "proto/stun/msg.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

LOG_MODULE("dataplane");

#define EPOLL_EVENTS 64

void command_free(struct command *c)
{
	if (c == NULL)
		return;
	net_free(c->net_moved);
	mem_free(c->peer_moved);
	shard_link_free(c->link_moved);
	mem_free(c->gone_moved);
	link_keys_deinit(&c->keys);
	mem_free(c);
}

int shard_new(struct shard **out, struct mq *commands, struct mq *events)
{
	struct shard *s = mem_new(struct shard);
	int r;

	if (s == NULL)
		return err_here(-ENOMEM);
	mem_touch(s, sizeof(*s));
	s->commands = commands;
	s->events = events;
	s->command_source.kind = SOURCE_COMMANDS;
	s->train.batch =
		BATCH_INIT(s->train_bytes, BATCH_MAX_BYTES, RECORD_HEADROOM, RECORD_TAILROOM);
	int made = heap_init(&s->timers, SHARD_LINKS);
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r = made < 0 ? made : s->epoll_fd < 0 ? -errno : 0;
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &s->command_source};
	if (r == 0 && epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, mq_fd(commands), &ev) != 0)
		r = -errno;
	if (r < 0) {
		shard_free(s);
		return err_here(r);
	}
	*out = s;
	return 0;
}

void shard_free(struct shard *s)
{
	struct link *l, *next_link;
	struct peer *p, *next_peer;

	if (s == NULL)
		return;
	HASH_ITER(hh, s->links, l, next_link)
	{
		link_unlink(s, l);
		shard_link_free(l);
	}
	HASH_ITER(hh, s->peers, p, next_peer)
	{
		HASH_DELETE(hh, s->peers, p);
		if (p->hh6.tbl != NULL)
			HASH_DELETE(hh6, p->net->by_ip6, p);
		mem_free(p);
	}
	for (unsigned i = 0; i < DATAPLANE_MAX_NETS; i++)
		net_free(s->nets[i]);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	heap_deinit(&s->timers);
	mem_free(s);
}

int shard_event(struct shard *s, enum event_lane lane, const struct dataplane_event *ev,
                _Atomic uint32_t *count)
{
	struct event *e = mem_alloc(1, sizeof(*e) + ev->len);

	if (e == NULL)
		return err_here(-ENOMEM);
	e->ev = *ev;
	e->count = count;
	e->ev.tun_fd = -1;
	e->ev.data = e->data;
	if (ev->len > 0)
		memcpy(e->data, ev->data, ev->len);
	if (count != NULL)
		(void)atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
	int r = mq_push(s->events, lane, &e->head);
	if (r < 0) {
		if (count != NULL)
			(void)atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
		mem_free(e);
	}
	return r;
}

void shard_send_gone(struct shard *s, struct event *e)
{
	if (mq_push(s->events, EVENT_LANE_STATE, &e->head) == 0)
		return;
	log_warn("dataplane.event_lost", LOG_U64("type", e->ev.type));
	mem_free(e);
}

bool bucket_allows(struct bucket *b, uint64_t now_us, unsigned rate, unsigned burst, size_t n)
{
	int64_t price = 1000000 / rate, most = price * burst;
	int64_t credit = b->last_us == 0 ? most : b->credit_us + (int64_t)(now_us - b->last_us);

	b->last_us = now_us;
	b->credit_us = GV_MIN(credit, most);
	return b->credit_us >= GV_MIN(price * (int64_t)n, most);
}

bool bucket_take(struct bucket *b, uint64_t now_us, unsigned rate, unsigned burst, size_t n)
{
	if (!bucket_allows(b, now_us, rate, burst, n))
		return false;
	b->credit_us -= 1000000 / rate * (int64_t)n;
	return true;
}

/* --- timers -------------------------------------------------------------------------------------- */

void shard_timer(struct shard *s, struct link *l, uint64_t at_us)
{
	heap_set(&s->timers, &l->timer, at_us); /* there is room: link_add() counts */
}

static void run_timers(struct shard *s)
{
	/* A deadline that does not move on must not hold the thread: each link at most once. */
	for (unsigned i = s->timers.count; i > 0 && heap_due(&s->timers) <= s->now_us; i--)
		shard_link_timeout(s, GV_CONTAINER_OF(heap_top(&s->timers), struct link, timer));
}

/* --- waiting ------------------------------------------------------------------------------------- */

#define WAIT_MAX_US 60000000u

static uint64_t wait_us(const struct shard *s)
{
	uint64_t at = heap_due(&s->timers), now = clock_now_us();

	for (unsigned i = 0; i < DATAPLANE_MAX_NETS; i++) {
		if (s->nets[i] != NULL)
			at = GV_MIN(at, queue_deadline_us(s->nets[i]));
	}
	return at <= now ? 0 : GV_MIN(at - now, (uint64_t)WAIT_MAX_US);
}

/* A closed gate is looked at again after a fraction of a millisecond, which epoll_wait() does not know. */
static int wait_events(const struct shard *s, struct epoll_event *ev)
{
	uint64_t us = wait_us(s);
	struct timespec t = {.tv_sec = (time_t)(us / 1000000),
	                     .tv_nsec = (long)(us % 1000000) * 1000};
	int n = epoll_pwait2(s->epoll_fd, ev, EPOLL_EVENTS, &t, NULL);

	/* Before Linux 5.11. */
	if (n < 0 && errno == ENOSYS)
		n = epoll_wait(s->epoll_fd, ev, EPOLL_EVENTS, (int)((us + 999) / 1000));
	return n;
}

static void run_queues(struct shard *s)
{
	for (unsigned i = 0; i < DATAPLANE_MAX_NETS; i++) {
		if (s->nets[i] != NULL && queue_wanted(s->nets[i]))
			queue_run(s, s->nets[i]);
	}
}

/* --- commands ------------------------------------------------------------------------------------ */

static void send_raw(struct shard *s, const struct command *c)
{
	struct net *n = net_find(s, c->net);
	bool is_ip6 = c->remote.family == NETADDR_IP6;

	if (n == NULL)
		return;
	if (stun_is_message(c->data, c->len) && stun_peek_class(c->data) == STUN_CLASS_SUCCESS)
		net_early_expect(n, &c->remote);
	struct udp *u = is_ip6 ? &n->udp6 : &n->udp4;
	if (u->fd < 0)
		return;
	/* STUN and handshakes repeat by themselves: a datagram that the network does not take is a lost one. */
	int r = udp_send(u, &c->local, &c->remote, c->data, c->len);
	if (r != UDP_OK)
		drop(n->stats, link_why_not_sent(r), 1);
}

static void link_command(struct shard *s, struct link *l, struct command *c)
{
	switch ((enum command_type)c->head.type) {
	case COMMAND_LINK_ADDR:
		net_addr_bind(s, l, &c->remote);
		break;
	case COMMAND_LINK_PATH:
		link_path(s, l, &c->local, &c->remote);
		break;
	case COMMAND_LINK_KEYS:
		link_set_keys(s, l, &c->keys);
		break;
	case COMMAND_LINK_START:
		link_start(s, l);
		break;
	case COMMAND_LINK_OPEN_IP:
		link_open_ip(s, l);
		break;
	case COMMAND_LINK_ALLOW_IP:
		link_allow_ip(s, l);
		break;
	case COMMAND_LINK_TUNNEL:
		link_tunnel(s, l);
		break;
	case COMMAND_LINK_PARTIAL:
		l->leave_sums = true;
		break;
	case COMMAND_SEND_SEALED:
		link_send_sealed(s, l, c->type, c->data, c->len);
		break;
	case COMMAND_CTL_SEND:
		link_ctl_send(s, l, c->data, c->len);
		break;
	case COMMAND_NET_ADD:
	case COMMAND_NET_DEL:
	case COMMAND_PEER_ADD:
	case COMMAND_PEER_DEL:
	case COMMAND_LINK_ADD:
	case COMMAND_NET_TRANSACTIONS:
	case COMMAND_LINK_DEL:
	case COMMAND_SEND_RAW:
	case COMMAND_STOP:
		break;
	}
}

/* A second link_add() of the same link brings new names only. */
static void add_link(struct shard *s, struct command *c)
{
	struct link *l = link_find(s, c->link);

	if (l == NULL) {
		link_add(s, c->peer, GV_STEAL(c->link_moved));
		l = link_find(s, c->link);
	}
	if (l != NULL)
		net_stun_names_add(l, c->ufrag, c->prefix);
}

static void run_command(struct shard *s, struct command *c)
{
	struct net *n;
	struct link *l;

	switch ((enum command_type)c->head.type) {
	case COMMAND_NET_ADD:
		net_add(s, GV_STEAL(c->net_moved));
		break;
	case COMMAND_NET_DEL:
		net_del(s, c->net, GV_STEAL(c->gone_moved));
		break;
	case COMMAND_PEER_ADD:
		peer_add(s, c->net, GV_STEAL(c->peer_moved));
		break;
	case COMMAND_PEER_DEL:
		peer_del(s, c->peer, GV_STEAL(c->gone_moved));
		break;
	case COMMAND_LINK_ADD:
		add_link(s, c);
		break;
	case COMMAND_LINK_DEL:
		link_del(s, c->link, c->polite, GV_STEAL(c->gone_moved));
		break;
	case COMMAND_NET_TRANSACTIONS:
		n = net_find(s, c->net);
		if (n != NULL)
			net_transactions(n, c->prefix);
		break;
	case COMMAND_SEND_RAW:
		send_raw(s, c);
		break;
	case COMMAND_STOP:
		s->stop = true;
		break;
	case COMMAND_LINK_ADDR:
	case COMMAND_LINK_PATH:
	case COMMAND_LINK_KEYS:
	case COMMAND_LINK_START:
	case COMMAND_LINK_OPEN_IP:
	case COMMAND_LINK_ALLOW_IP:
	case COMMAND_LINK_TUNNEL:
	case COMMAND_LINK_PARTIAL:
	case COMMAND_SEND_SEALED:
	case COMMAND_CTL_SEND:
		l = link_find(s, c->link);
		if (l != NULL)
			link_command(s, l, c);
		break;
	}
}

/* Those that were there; what has come since makes the descriptor readable. */
static void run_commands(struct shard *s)
{
	for (struct mq_msg *m = mq_pop_all(s->commands), *next; m != NULL; m = next) {
		struct command *c = GV_CONTAINER_OF(m, struct command, head);

		next = m->next;
		run_command(s, c);
		command_free(c);
	}
}

static void run_source(struct shard *s, const struct source *source)
{
	switch (source->kind) {
	case SOURCE_TUN:
		out_tun(s, source->net);
		break;
	case SOURCE_UDP:
		in_udp(s, source->net, source->udp);
		break;
	case SOURCE_COMMANDS:
		break;
	}
}

void *shard_run(void *user)
{
	struct shard *s = user;
	struct epoll_event ev[EPOLL_EVENTS];

	while (!s->stop) {
		bool commands = false;
		int n = wait_events(s, ev);

		s->now_us = clock_now_us();
		for (int i = 0; i < n; i++) {
			const struct source *source = ev[i].data.ptr;

			commands = commands || source->kind == SOURCE_COMMANDS;
			run_source(s, source);
		}
		run_timers(s);
		run_queues(s);
		/* Last, because a command may free what an epoll event names. */
		if (commands)
			run_commands(s);
	}
	log_debug("packet thread ends");
	return NULL;
}
