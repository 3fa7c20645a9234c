/* SPDX-License-Identifier: MIT */

/*
 * Our SCTP against usrsctp in one process, over a bad network in virtual time, one run per seed:
 *
 *   sctp_usrsctp [SEED [COUNT]]     default: seeds 1 .. 100, with GOVPN_LONG=1 seeds 1 .. 2,000
 *
 * Each side sends reliable messages of up to 200 KB, ordered and not, and messages that it gives up after some
 * repetitions or some time, and resets a stream now and then; either may connect and either ends. What must hold is what
 * sim_sctp asks for: all of it once, in order, intact, and a clean end. A seed gives the same traffic each time, but
 * usrsctp takes its tags and jitter from the system.
 */

#include "base/bytes.h"
#include "proto/sctp/assoc_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* Both have a struct of this name. */
#define sctp_event theirs_event
#include <usrsctp.h>
#undef sctp_event

#define TICK_US      5000u
#define PORT         5000
#define HEAD         8
#define MESSAGE_MAX  200000u
#define MESSAGES_MAX 128
#define QUEUE_MAX    4096

enum kind {
	KIND_ORDERED,
	KIND_UNORDERED,
	KIND_LARGE,
	KIND_RESET,
	KIND_LOSSY,
	KINDS
};

enum side {
	OURS,
	THEIRS
};

static const uint16_t streams[KINDS] = {0, 1, 2, 3, 4};

struct flow {
	uint32_t sent[KINDS], got[KINDS];
	uint8_t seen[KINDS][MESSAGES_MAX];
	unsigned resets_asked, resets_done, resets_seen; /* done: the sender was told so */
};

struct packet {
	uint64_t at_us;
	size_t len;
	uint8_t *data;
};

/* What flies to one side. */
struct queue {
	struct packet packets[QUEUE_MAX];
	size_t count;
};

struct duel {
	uint64_t seed, now_us;
	struct rng rng;
	struct sctp *ours;
	struct socket *theirs;
	struct queue to[2];
	uint32_t loss_permille, duplicate_permille, delay_us, jitter_us;
	struct flow flow[2]; /* by sender */
	bool ours_up, ours_down, theirs_up, theirs_down;
	enum sctp_down_reason reason;
	size_t part_len;
	unsigned failures;
	uint8_t part[MESSAGE_MAX], out[MESSAGE_MAX], train[65507];
};

static uint64_t clock_us; /* for usrsctp; it never goes back */

/* usrsctp's only clock besides usrsctp_handle_timers(). The library finds this one before libc's. */
__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict t,
                                                        void *restrict zone)
{
	(void)zone;
	t->tv_sec = (time_t)(clock_us / 1000000);
	t->tv_usec = (suseconds_t)(clock_us % 1000000);
	return 0;
}

#define CHECK(r, cond) check((r), (cond), #cond, __LINE__)

static void check(struct duel *r, bool ok, const char *what, int line)
{
	if (ok || r->failures++ > 0)
		return;
	fprintf(stderr, "seed %llu, %.3f s, line %d: %s\n", (unsigned long long)r->seed,
	        (double)r->now_us / 1e6, line, what);
}

static bool chance(struct duel *r, uint32_t one_in)
{
	return rng_below(&r->rng, one_in) == 0;
}

static void fill(uint8_t *p, uint32_t number, uint32_t len)
{
	be32_store(p, number);
	be32_store(p + 4, len);
	for (uint32_t i = HEAD; i < len; i++)
		p[i] = (uint8_t)(number * 31 + i * 7);
}

/* --- the network --- */

static void fly(struct duel *r, enum side to, const uint8_t *p, size_t n)
{
	struct queue *q = &r->to[to];

	if (q->count == QUEUE_MAX || rng_below(&r->rng, 1000) < r->loss_permille)
		return;
	for (int copies = rng_below(&r->rng, 1000) < r->duplicate_permille ? 2 : 1; copies > 0;
	     copies--) {
		struct packet *f = &q->packets[q->count];

		if (q->count == QUEUE_MAX)
			return;
		f->at_us = r->now_us + r->delay_us;
		if (r->jitter_us > 0)
			f->at_us += rng_below(&r->rng, r->jitter_us);
		f->len = n;
		f->data = malloc(n);
		if (f->data == NULL)
			abort();
		memcpy(f->data, p, n);
		q->count++;
	}
}

/* The next that has arrived, in order of arrival. */
static bool take(struct duel *r, enum side to, struct packet *out)
{
	struct queue *q = &r->to[to];
	size_t first = q->count;

	for (size_t i = 0; i < q->count; i++)
		if (q->packets[i].at_us <= r->now_us &&
		    (first == q->count || q->packets[i].at_us < q->packets[first].at_us))
			first = i;
	if (first == q->count)
		return false;
	*out = q->packets[first];
	q->count--;
	memmove(&q->packets[first], &q->packets[first + 1],
	        (q->count - first) * sizeof(q->packets[0]));
	return true;
}

/* --- what arrives --- */

static void message(struct duel *r, enum side from, uint16_t stream, const uint8_t *p, size_t n)
{
	struct flow *f = &r->flow[from];

	CHECK(r, stream < KINDS && n >= HEAD && n <= MESSAGE_MAX);
	if (r->failures > 0)
		return;
	uint32_t number = be32_load(p);
	CHECK(r, number < f->sent[stream]);
	if (r->failures > 0)
		return;
	static uint8_t want[MESSAGE_MAX];
	fill(want, number, (uint32_t)n);
	CHECK(r, memcmp(want, p, n) == 0);
	CHECK(r, f->seen[stream][number]++ == 0);
	if (stream != KIND_UNORDERED && stream != KIND_LOSSY)
		CHECK(r, number == f->got[stream]);
	f->got[stream]++;
}

static void notification(struct duel *r, const union sctp_notification *n)
{
	if (n->sn_header.sn_type == SCTP_ASSOC_CHANGE) {
		uint16_t state = n->sn_assoc_change.sac_state;

		r->theirs_up |= state == SCTP_COMM_UP;
		r->theirs_down |= state == SCTP_SHUTDOWN_COMP || state == SCTP_COMM_LOST;
		CHECK(r, state != SCTP_RESTART && state != SCTP_COMM_LOST);
	} else if (n->sn_header.sn_type == SCTP_STREAM_RESET_EVENT) {
		uint16_t flags = n->sn_strreset_event.strreset_flags;

		CHECK(r, (flags & (SCTP_STREAM_RESET_DENIED | SCTP_STREAM_RESET_FAILED)) == 0);
		r->flow[OURS].resets_seen += (flags & SCTP_STREAM_RESET_INCOMING_SSN) != 0;
		r->flow[THEIRS].resets_done += (flags & SCTP_STREAM_RESET_OUTGOING_SSN) != 0;
	}
}

static int on_receive(struct socket *sock, union sctp_sockstore addr, void *data, size_t len,
                      struct sctp_rcvinfo info, int flags, void *user)
{
	struct duel *r = user;

	(void)sock;
	(void)addr;
	if (data == NULL) {
		r->theirs_down = true;
		return 1;
	}
	if ((flags & MSG_NOTIFICATION) != 0) {
		notification(r, data);
	} else {
		CHECK(r, r->part_len + len <= sizeof(r->part));
		if (r->failures == 0) {
			memcpy(r->part + r->part_len, data, len);
			r->part_len += len;
		}
		if ((flags & MSG_EOR) != 0) {
			message(r, OURS, info.rcv_sid, r->part, r->part_len);
			r->part_len = 0;
		}
	}
	free(data);
	return 1;
}

static int on_output(void *user, void *data, size_t len, uint8_t tos, uint8_t set_df)
{
	(void)tos;
	(void)set_df;
	fly(user, OURS, data, len);
	return 0;
}

static void read_ours(struct duel *r)
{
	struct sctp_msg m[8];
	struct sctp_event e;
	size_t n;

	while ((n = sctp_recv(r->ours, m, 8)) > 0)
		for (size_t i = 0; i < n; i++)
			message(r, THEIRS, m[i].stream, m[i].data, m[i].len);
	while (sctp_event(r->ours, &e)) {
		r->ours_up |= e.type == SCTP_EVENT_UP;
		if (e.type == SCTP_EVENT_STREAM_RESET)
			r->flow[THEIRS].resets_seen++;
		if (e.type == SCTP_EVENT_DOWN) {
			r->ours_down = true;
			r->reason = e.reason;
		}
	}
}

static void flush_ours(struct duel *r)
{
	for (;;) {
		struct batch out = BATCH_INIT(r->train, sizeof(r->train), 0, 0);

		if (sctp_output(r->ours, &out, r->now_us) == 0)
			return;
		for (unsigned i = 0; i < out.count; i++) {
			struct pkt d = batch_datagram(&out, i);

			fly(r, THEIRS, d.data, d.len);
		}
	}
}

static void tick(struct duel *r)
{
	struct packet p;

	r->now_us += TICK_US;
	clock_us += TICK_US;
	usrsctp_handle_timers(TICK_US / 1000);
	if (sctp_deadline_us(r->ours) <= r->now_us)
		sctp_timeout(r->ours, r->now_us);
	read_ours(r);
	flush_ours(r);
	while (take(r, OURS, &p)) {
		struct pkt in = {.data = p.data, .len = p.len};

		sctp_input(r->ours, &in, 1, r->now_us);
		read_ours(r);
		free(p.data);
		flush_ours(r);
	}
	while (take(r, THEIRS, &p)) {
		usrsctp_conninput(r, p.data, p.len, 0);
		free(p.data);
	}
}

/* --- what is sent --- */

static void send_one(struct duel *r, enum side side)
{
	struct flow *f = &r->flow[side];
	uint32_t k = rng_below(&r->rng, KINDS), number = f->sent[k];
	uint32_t len = HEAD + rng_below(&r->rng, k == KIND_LARGE ? MESSAGE_MAX - HEAD : 2000);
	bool unordered = k == KIND_UNORDERED || (k == KIND_LOSSY && chance(r, 2));

	if (number == MESSAGES_MAX || (k == KIND_LARGE && !chance(r, 8)))
		return;
	if (r->loss_permille > 30 && k == KIND_LARGE)
		len = HEAD + len % 20000;
	fill(r->out, number, len);
	bool timed = chance(r, 2);
	uint32_t limit = timed ? 1 + rng_below(&r->rng, 300) : rng_below(&r->rng, 3);
	if (side == OURS) {
		struct sctp_send_options o = {
			.stream = streams[k], .ppid = 53, .unordered = unordered, .limit = limit};

		if (k == KIND_LOSSY)
			o.reliability = timed ? SCTP_MAX_LIFETIME : SCTP_MAX_RETRANSMITS;
		int result = sctp_send(r->ours, &o, r->out, len, r->now_us);
		CHECK(r, result == SCTP_OK || result == SCTP_FULL || result == SCTP_RESETTING);
		f->sent[k] += result == SCTP_OK;
		return;
	}
	struct sctp_sendv_spa spa = {.sendv_flags = SCTP_SEND_SNDINFO_VALID};
	spa.sendv_sndinfo.snd_sid = streams[k];
	spa.sendv_sndinfo.snd_ppid = htonl(53);
	spa.sendv_sndinfo.snd_flags = (uint16_t)(SCTP_EOR | (unordered ? SCTP_UNORDERED : 0));
	if (k == KIND_LOSSY) {
		spa.sendv_flags |= SCTP_SEND_PRINFO_VALID;
		spa.sendv_prinfo.pr_policy = timed ? SCTP_PR_SCTP_TTL : SCTP_PR_SCTP_RTX;
		spa.sendv_prinfo.pr_value = limit;
	}
	ssize_t n = usrsctp_sendv(r->theirs, r->out, len, NULL, 0, &spa, sizeof(spa),
	                          SCTP_SENDV_SPA, 0);
	/* It takes no data for a stream that is being reset. */
	CHECK(r, n == (ssize_t)len || errno == EAGAIN || errno == EWOULDBLOCK ||
	                 (errno == EINVAL && k == KIND_RESET));
	f->sent[k] += n == (ssize_t)len;
}

static void reset_one(struct duel *r, enum side side)
{
	struct flow *f = &r->flow[side];
	uint16_t stream = streams[KIND_RESET];

	if (f->resets_asked != f->resets_seen || f->resets_asked == 8)
		return; /* one after the other */
	if (side == OURS) {
		if (reset_is_wanted(r->ours, stream))
			return;
		CHECK(r, sctp_reset_stream(r->ours, stream, r->now_us) == 0);
		f->resets_asked++;
		return;
	}
	if (f->resets_asked != f->resets_done)
		return;
	size_t size = sizeof(struct sctp_reset_streams) + sizeof(stream);
	struct sctp_reset_streams *ask = calloc(1, size);
	if (ask == NULL)
		abort();
	ask->srs_flags = SCTP_STREAM_RESET_OUTGOING;
	ask->srs_number_streams = 1;
	ask->srs_stream_list[0] = stream;
	f->resets_asked += usrsctp_setsockopt(r->theirs, IPPROTO_SCTP, SCTP_RESET_STREAMS, ask,
	                                      (socklen_t)size) == 0;
	free(ask);
}

/* --- a run --- */

static void set(struct duel *r, int option, const void *value, socklen_t len)
{
	CHECK(r, usrsctp_setsockopt(r->theirs, IPPROTO_SCTP, option, value, len) == 0);
}

static struct sockaddr_conn address(struct duel *r)
{
	struct sockaddr_conn a = {.sconn_family = AF_CONN, .sconn_port = htons(PORT)};

	a.sconn_addr = r;
	return a;
}

static void open_theirs(struct duel *r)
{
	static const uint16_t events[] = {SCTP_ASSOC_CHANGE, SCTP_STREAM_RESET_EVENT};
	struct sctp_assoc_value reset = {.assoc_value = SCTP_ENABLE_VALUE_MASK};
	struct sctp_initmsg init = {.sinit_num_ostreams = 64, .sinit_max_instreams = 64};
	struct sctp_paddrparams path = {.spp_flags = SPP_PMTUD_DISABLE, .spp_pathmtu = 1200};
	struct sockaddr_conn a = address(r);
	uint32_t on = 1;
	int buffer = 1 << 20;
	uint32_t whole = 1 << 19; /* messages come in one piece */
	struct linger none = {.l_onoff = 1};

	usrsctp_register_address(r);
	r->theirs = usrsctp_socket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, on_receive, NULL, 0, r);
	CHECK(r, r->theirs != NULL);
	if (r->theirs == NULL)
		return;
	CHECK(r, usrsctp_set_non_blocking(r->theirs, 1) == 0);
	(void)usrsctp_setsockopt(r->theirs, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	(void)usrsctp_setsockopt(r->theirs, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	(void)usrsctp_setsockopt(r->theirs, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	set(r, SCTP_ENABLE_STREAM_RESET, &reset, sizeof(reset));
	set(r, SCTP_INITMSG, &init, sizeof(init));
	set(r, SCTP_NODELAY, &on, sizeof(on));
	set(r, SCTP_PARTIAL_DELIVERY_POINT, &whole, sizeof(whole));
	for (size_t i = 0; i < GV_ARRAY_SIZE(events); i++) {
		struct theirs_event subscribe = {
			.se_assoc_id = SCTP_ALL_ASSOC, .se_type = events[i], .se_on = 1};

		set(r, SCTP_EVENT, &subscribe, sizeof(subscribe));
	}
	CHECK(r, usrsctp_bind(r->theirs, (struct sockaddr *)&a, sizeof(a)) == 0);
	memcpy(&path.spp_address, &a, sizeof(a));
	int result = usrsctp_connect(r->theirs, (struct sockaddr *)&a, sizeof(a));
	CHECK(r, result == 0 || errno == EINPROGRESS);
	set(r, SCTP_PEER_ADDR_PARAMS, &path, sizeof(path));
}

static bool all_arrived(const struct duel *r)
{
	for (int side = 0; side < 2; side++) {
		const struct flow *f = &r->flow[side];

		for (int k = 0; k < KIND_LOSSY; k++)
			if (f->got[k] != f->sent[k])
				return false;
		if (f->resets_asked != f->resets_seen)
			return false;
	}
	return send_is_empty(r->ours);
}

static void run(struct duel *r)
{
	if (chance(r, 2))
		sctp_connect(r->ours, r->now_us);
	for (int i = 0; i < 12000 && !(r->ours_up && r->theirs_up); i++)
		tick(r);
	CHECK(r, r->ours_up && r->theirs_up);
	for (int i = 0; i < 400 && r->failures == 0; i++) {
		for (int side = 0; side < 2; side++) {
			if (chance(r, 3))
				send_one(r, (enum side)side);
			if (chance(r, 60))
				reset_one(r, (enum side)side);
		}
		tick(r);
	}
	for (int i = 0; i < 200000 && !all_arrived(r) && r->failures == 0; i++)
		tick(r);
	CHECK(r, all_arrived(r));
	if (r->failures > 0)
		return;
	if (chance(r, 2))
		sctp_shutdown(r->ours, r->now_us);
	else
		CHECK(r, usrsctp_shutdown(r->theirs, SHUT_WR) == 0);
	for (int i = 0; i < 20000 && !(r->ours_down && r->theirs_down); i++)
		tick(r);
	CHECK(r, r->ours_down && r->theirs_down);
	CHECK(r, r->reason == SCTP_DOWN_SHUTDOWN);
	const struct sctp_counters *c = sctp_counters(r->ours);
	CHECK(r, c->bad_packet + c->bad_checksum + c->bad_chunk == 0);
}

static bool run_seed(uint64_t seed)
{
	static struct duel r;
	struct sctp_config config = {.local_port = PORT,
	                             .remote_port = PORT,
	                             .max_packet_bytes = 1200,
	                             .max_message_bytes = SCTP_MESSAGE_BYTES_MAX,
	                             .rng = rng_seeded(seed)};

	memset(&r, 0, sizeof(r));
	r.seed = seed;
	r.now_us = 1000000;
	r.rng = rng_seeded(seed * 7919);
	r.loss_permille = chance(&r, 3) ? 0 : rng_below(&r.rng, chance(&r, 2) ? 30 : 150);
	r.duplicate_permille = chance(&r, 2) ? 0 : rng_below(&r.rng, 50);
	r.delay_us = rng_below(&r.rng, 60000);
	r.jitter_us = chance(&r, 2) ? 0 : rng_below(&r.rng, 30000);
	if (sctp_new(&r.ours, &config) != 0)
		return false;
	open_theirs(&r);
	if (r.failures == 0)
		run(&r);
	if (r.theirs != NULL)
		usrsctp_close(r.theirs);
	usrsctp_deregister_address(&r);
	for (int i = 0; i < 400; i++) { /* what is closed is freed by a timer */
		clock_us += 100000;
		usrsctp_handle_timers(100);
	}
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < r.to[side].count; i++)
			free(r.to[side].packets[i].data);
	sctp_free(r.ours);
	return r.failures == 0;
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	unsigned bad = 0;

	if (argc < 2)
		count = getenv("GOVPN_LONG") != NULL ? 2000 : 100;
	usrsctp_init_nothreads(0, on_output, NULL);
	usrsctp_sysctl_set_sctp_ecn_enable(0);
	usrsctp_sysctl_set_sctp_blackhole(2);
	for (uint64_t seed = first; seed < first + count; seed++)
		bad += !run_seed(seed);
	printf("sctp against usrsctp: %llu seeds, %u failed\n", (unsigned long long)count, bad);
	return bad > 0;
}
