/* SPDX-License-Identifier: MIT */

/*
 * rogue_member - govpnd of a member that obeys no rule once its tunnel is up.
 *
 * It is the product's own program, linked with some functions of the packet thread replaced (--wrap): signaling, proofs, ICE
 * and DTLS are real, and what is sent under the keys of the tunnel is what a command says. Commands come as datagrams to
 * the Unix socket that GOVPN_ROGUE names; each is answered when it is done:
 *
 *   send KIND PEER RATE COUNT SECONDS FILE    COUNT items of FILE, over and over, RATE a second, SECONDS at most and as
 *                                             long as the link lives. The answer is how many were sent. PEER is the
 *                                             address in the tunnel. FILE has items of a 32-bit length, a byte of flags
 *                                             and so many bytes. KIND is what they are:
 *       inner    IP packets, sent as the product sends them
 *       chunks   SCTP packets without the common header. Flags: 1 puts the next TSN of ours at offset 4; 2 adds the last TSN
 *                of the peer that came to the number at offset 4; 4 adds our last TSN to the number at offset 4
 *       records  a content type and the plaintext of a record
 *       ctl      messages of the channel ctl
 *       raw      datagrams of our socket, not protected at all
 *   set deaf 0|1            takes nothing more out of records that arrive: no SACK, no answer
 *   set window BYTES        a_rwnd of every SACK from now on; -1: the true one
 *   set ahead TSNS          every SACK acknowledges so many TSNs more than arrived
 *   offers PEER COUNT       makes that many offers, one as soon as the one before was sent (rogue_offers.c)
 *   left                    answers how many offers are left
 */

#include "rogue_member.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "engine/dataplane/shard.h"
#include "proto/sctp/chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define JOBS     4
#define AT_ONCE  256 /* items of one job in one turn of the packet thread */
#define TICK_NS  1000000
#define LINE_MAX 512

#define ITEM_HEADER      5
#define ITEM_BYTES       70000
#define SACK_CUM         4
#define SACK_WINDOW      8
#define CHECKSUM         8
#define WINDOW_UNCHANGED (-1L)

enum kind {
	KIND_INNER,
	KIND_CHUNKS,
	KIND_RECORDS,
	KIND_CTL,
	KIND_RAW,
	KINDS
};

static const char *const kind_names[KINDS] = {"inner", "chunks", "records", "ctl", "raw"};

struct job {
	bool used;
	enum kind kind;
	uint32_t peer, link; /* its address and the link at the start */
	uint64_t rate, count, sent, start_us, end_us;
	uint8_t *file; /* mapped */
	size_t len, at;
	struct sockaddr_un asker;
	socklen_t asker_len;
};

static struct shard *shard;
static int command_fd = -1;
static struct source command_source = {.kind = SOURCE_COMMANDS};
static struct job jobs[JOBS];
static bool deaf;
static long window = WINDOW_UNCHANGED;
static uint32_t ahead;

/* The functions of the product that are replaced, and what stands in for them. */
void *__real_shard_run(void *user);
void *__wrap_shard_run(void *user);
int __real_epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask);
int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask);
void __real_link_input(struct shard *s, struct link *l, const struct pkt *in, size_t n);
void __wrap_link_input(struct shard *s, struct link *l, const struct pkt *in, size_t n);
int __real_record_seal(struct record *r, struct batch *b);
int __wrap_record_seal(struct record *r, struct batch *b);

static void fail(const char *what)
{
	fprintf(stderr, "rogue_member: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void open_commands(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &command_source};
	const char *path = getenv("GOVPN_ROGUE");

	if (path == NULL || strlen(path) >= sizeof(at.sun_path)) {
		errno = EINVAL;
		fail("GOVPN_ROGUE");
	}
	memcpy(at.sun_path, path, strlen(path));
	unlink(path);
	command_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (command_fd < 0 || bind(command_fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    epoll_ctl(shard->epoll_fd, EPOLL_CTL_ADD, command_fd, &ev) != 0)
		fail(path);
}

static void answer(const struct sockaddr_un *to, socklen_t len, const char *text)
{
	if (sendto(command_fd, text, strlen(text), 0, (const struct sockaddr *)to, len) < 0)
		perror("rogue_member: answer");
}

static void answer_number(const struct job *j, uint64_t n)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	answer(&j->asker, j->asker_len, text);
}

/* The link that IP packets to this peer take, or NULL. */
static struct link *find_link(uint32_t ip4)
{
	for (struct peer *p = shard->peers; p != NULL; p = p->hh.next) {
		if (netaddr_u32(&p->c.ip4) == ip4)
			return p->in_use;
	}
	return NULL;
}

/* --- commands ------------------------------------------------------------------------------------ */

static bool parse_ip4(const char *text, uint32_t *out)
{
	struct netaddr a;

	if (!netaddr_parse_ip(text, &a) || a.family != NETADDR_IP4)
		return false;
	*out = netaddr_u32(&a);
	return true;
}

static bool map_file(struct job *j, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0)
		return false;
	j->len = (size_t)st.st_size;
	j->file = mmap(NULL, j->len, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	return j->file != MAP_FAILED;
}

static bool start_job(struct job *made, const char *line)
{
	char kind[16], peer[64], path[256];
	unsigned long rate, count, seconds;
	struct job *j = NULL;

	for (unsigned i = 0; i < JOBS && j == NULL; i++)
		j = jobs[i].used ? NULL : &jobs[i];
	if (j == NULL || sscanf(line, "send %15s %63s %lu %lu %lu %255s", kind, peer, &rate, &count,
	                        &seconds, path) != 6)
		return false;
	for (made->kind = 0; made->kind < KINDS; made->kind++) {
		if (strcmp(kind, kind_names[made->kind]) == 0)
			break;
	}
	if (made->kind == KINDS || !parse_ip4(peer, &made->peer) || !map_file(made, path))
		return false;
	struct link *l = find_link(made->peer);
	made->link = l != NULL ? l->id : 0;
	made->used = true;
	made->rate = rate;
	made->count = count;
	made->start_us = shard->now_us;
	made->end_us = shard->now_us + seconds * UINT64_C(1000000);
	*j = *made;
	return true;
}

static bool set(const char *line)
{
	char name[16];
	long value;

	if (sscanf(line, "set %15s %ld", name, &value) != 2)
		return false;
	if (strcmp(name, "deaf") == 0)
		deaf = value != 0;
	else if (strcmp(name, "window") == 0)
		window = value;
	else if (strcmp(name, "ahead") == 0)
		ahead = (uint32_t)value;
	else
		return false;
	return true;
}

static bool offers(const char *line)
{
	char peer[64];
	unsigned count;
	uint32_t ip4;

	if (sscanf(line, "offers %63s %u", peer, &count) != 2 || !parse_ip4(peer, &ip4))
		return false;
	rogue_offers_start(ip4, count);
	return true;
}

static void take_commands(void)
{
	char line[LINE_MAX];
	struct job from = {0};

	for (;;) {
		from = (struct job){.asker_len = sizeof(from.asker)};
		ssize_t n = recvfrom(command_fd, line, sizeof(line) - 1, 0,
		                     (struct sockaddr *)&from.asker, &from.asker_len);
		if (n < 0)
			return;
		line[n] = '\0';
		if (strncmp(line, "send ", 5) == 0) {
			if (!start_job(&from, line))
				answer(&from.asker, from.asker_len, "bad");
			continue;
		}
		if (strcmp(line, "left") == 0) {
			answer_number(&from, rogue_offers_left());
			continue;
		}
		bool good = strncmp(line, "set ", 4) == 0 ? set(line) : offers(line);
		answer(&from.asker, from.asker_len, good ? "ok" : "bad");
	}
}

/* --- what is sent -------------------------------------------------------------------------------- */

struct item {
	uint8_t flags;
	size_t len;
	uint8_t data[ITEM_BYTES];
};

/* The next of the file, from its beginning again after the last. *end is where it ends. */
static struct item *read_item(const struct job *j, size_t *end)
{
	static struct item item;
	size_t at = j->at < j->len ? j->at : 0;

	item.len = be32_load(j->file + at);
	item.flags = j->file[at + 4];
	if (item.len > sizeof(item.data)) {
		errno = EMSGSIZE;
		fail("item");
	}
	memcpy(item.data, j->file + at + ITEM_HEADER, item.len);
	*end = at + ITEM_HEADER + item.len;
	return &item;
}

static struct batch empty_batch(void)
{
	static uint8_t bytes[BATCH_MAX_BYTES];

	return (struct batch)BATCH_INIT(bytes, sizeof(bytes), RECORD_HEADROOM, RECORD_TAILROOM);
}

static bool send_inner(struct link *l, const struct item *i)
{
	static uint8_t copy[ITEM_BYTES];
	const struct pkt p = {.data = copy, .len = i->len};
	struct batch b = empty_batch();
	enum dataplane_drop why;
	int result;

	memcpy(copy, i->data, i->len);
	if (sctp_tunnel_send(l->keys.sctp, (uint16_t)l->ip_stream, &p, 1, &b, shard->now_us,
	                     &result) != 1)
		return false;
	shard_timer(shard, l, sctp_deadline_us(l->keys.sctp));
	return b.count > 0 && link_send(shard, l, &b, &why);
}

static bool send_chunks(struct link *l, struct item *i)
{
	struct batch b = empty_batch();
	uint8_t *p = batch_reserve(&b, SCTP_HEADER_BYTES + i->len);
	enum dataplane_drop why;

	rogue_packet_fill(l->keys.sctp, p, i->len >= SACK_CUM + 4 ? i->data + SACK_CUM : NULL,
	                  i->flags);
	memcpy(p + SCTP_HEADER_BYTES, i->data, i->len);
	return link_send(shard, l, &b, &why);
}

static bool send_ctl(struct link *l, const struct item *i)
{
	struct sctp_send_options o;

	if (dcep_send_options(l->keys.dcep, (uint16_t)l->ctl_stream, DCEP_KIND_BINARY, i->len,
	                      &o) != DCEP_OK)
		return false;
	return sctp_send(l->keys.sctp, &o, i->data, i->len, shard->now_us) == SCTP_OK;
}

static bool send_raw(struct link *l, const struct item *i)
{
	struct net *n = l->peer->net;
	struct udp *u = l->remote.family == NETADDR_IP6 ? &n->udp6 : &n->udp4;

	return udp_send(u, &l->local, &l->remote, i->data, i->len) == UDP_OK;
}

static bool send_item(struct job *j, struct link *l, struct item *i)
{
	switch (j->kind) {
	case KIND_INNER:
		return send_inner(l, i);
	case KIND_CHUNKS:
		return send_chunks(l, i);
	case KIND_RECORDS:
		if (i->len > 0)
			link_send_sealed(shard, l, i->data[0], i->data + 1, i->len - 1);
		return true;
	case KIND_CTL:
		return send_ctl(l, i);
	case KIND_RAW:
		return send_raw(l, i);
	case KINDS:
		break;
	}
	return false;
}

static void end_job(struct job *j)
{
	answer_number(j, j->sent);
	munmap(j->file, j->len);
	*j = (struct job){0};
}

static void run_job(struct job *j)
{
	uint64_t due = (shard->now_us - j->start_us) * j->rate / 1000000 + 1;
	struct link *l = link_find(shard, j->link);

	due = GV_MIN(due, j->count);
	due = GV_MIN(due, j->sent + AT_ONCE);
	if (l != NULL && l->down)
		l = NULL;
	while (l != NULL && j->sent < due) {
		size_t end;
		struct item *i = read_item(j, &end);

		if (!send_item(j, l, i))
			break; /* no room now: the same one again in the next turn */
		j->at = end;
		j->sent++;
	}
	if (j->kind == KIND_CTL && l != NULL)
		shard_link_timeout(shard, l); /* sends what the association queued */
	if (l == NULL || l->down || j->sent >= j->count || shard->now_us >= j->end_us)
		end_job(j);
}

/* --- in place of the product's ------------------------------------------------------------------- */

void *__wrap_shard_run(void *user)
{
	shard = user;
	open_commands();
	return __real_shard_run(user);
}

int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask)
{
	static const struct timespec tick = {.tv_nsec = TICK_NS};
	bool busy = false;

	shard->now_us = clock_now_us();
	take_commands();
	for (unsigned i = 0; i < JOBS; i++) {
		if (jobs[i].used)
			run_job(&jobs[i]);
		busy = busy || jobs[i].used;
	}
	if (busy && (timeout->tv_sec > 0 || timeout->tv_nsec > TICK_NS))
		timeout = &tick;
	return __real_epoll_pwait2(fd, events, max, timeout, mask);
}

void __wrap_link_input(struct shard *s, struct link *l, const struct pkt *in, size_t n)
{
	if (!deaf)
		__real_link_input(s, l, in, n);
}

/* Every SACK of the packet says what the commands want; both sides agreed on no checksum. */
static void lie(uint8_t *sctp, size_t len)
{
	for (size_t at = SCTP_HEADER_BYTES; at + CHUNK_HEADER_BYTES <= len;) {
		uint8_t *c = sctp + at;
		size_t n = be16_load(c + 2);

		if (n < CHUNK_HEADER_BYTES || n > len - at)
			return;
		if (c[0] == CHUNK_SACK && n >= SACK_WINDOW + 4) {
			be32_store(c + SACK_CUM, be32_load(c + SACK_CUM) + ahead);
			if (window != WINDOW_UNCHANGED)
				be32_store(c + SACK_WINDOW, (uint32_t)window);
			be32_store(sctp + CHECKSUM, 0);
		}
		at += chunk_padded(n);
	}
}

int __wrap_record_seal(struct record *r, struct batch *b)
{
	for (unsigned i = 0; (ahead != 0 || window != WINDOW_UNCHANGED) && i < b->count; i++) {
		struct pkt p = batch_datagram(b, i);

		lie(p.data + b->headroom, p.len - b->headroom - b->tailroom);
	}
	return __real_record_seal(r, b);
}
