/* SPDX-License-Identifier: MIT */

/*
 * wire IF1 IF2 [delay=MS] [jitter=MS] [loss=PCT] [burst=PCT,MS] [dup=PCT] [reorder=PCT] [corrupt=PCT] [rate=KBIT]
 *              [queue=MS] [seed=N]
 *
 * Passes Ethernet frames between two interfaces as a bad line would; stands in for netem where the kernel has none. Each
 * direction has a random stream of its own, so that a seed gives the same line again. Jitter is uniform in +-MS and may change
 * the order; with jitter=0 the order is kept, except for the share `reorder` that skips the delay. burst=PCT,MS begins with
 * probability PCT per frame a darkness of MS. Only IP frames are harmed; ARP is only delayed. Counters are printed on SIGTERM.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define VNET_HDR \
	10 /* struct virtio_net_hdr in front of each frame: keeps the checksum offload of veth */
#define ETH_HEADER 14
#define FRAME_MAX  70000
#define BATCH      64
#define QUEUE_MAX  65536 /* frames under way; more are lost */

struct frame {
	uint64_t due_ns, seq;
	size_t len;
	int to;
	unsigned char *bytes;
};

struct direction {
	int fd;
	uint64_t random;
	uint64_t line_free_ns; /* when the line has sent what is queued */
	uint64_t last_due_ns;
	uint64_t dark_until_ns;
	unsigned long in, out, lost, duplicated, damaged;
};

struct options {
	double delay, jitter, loss, burst, burst_ms, dup, reorder, corrupt, rate, queue, seed;
};

static struct options opt = {.queue = 100, .seed = 1};
static struct direction way[2];

/* A binary heap, the next frame on top. */
static struct frame heap[QUEUE_MAX];
static size_t heap_n;
static uint64_t next_seq;

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* xorshift64: 0 <= x < 1. */
static double random_unit(struct direction *d)
{
	uint64_t x = d->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	d->random = x;
	return (double)(x >> 11) / 9007199254740992.0;
}

static bool happens(struct direction *d, double percent)
{
	return percent > 0 && random_unit(d) * 100 < percent;
}

static bool is_earlier(const struct frame *a, const struct frame *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->seq < b->seq;
}

static void heap_push(struct frame f)
{
	size_t i = heap_n++;

	for (; i > 0 && is_earlier(&f, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = f;
}

static struct frame heap_pop(void)
{
	struct frame top = heap[0], f = heap[--heap_n];
	size_t i = 0;

	for (size_t child = 1; child < heap_n; child = 2 * i + 1) {
		if (child + 1 < heap_n && is_earlier(&heap[child + 1], &heap[child]))
			child++;
		if (!is_earlier(&heap[child], &f))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = f;
	return top;
}

static int open_interface(const char *name)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(name),
	};
	struct packet_mreq promiscuous = {.mr_ifindex = addr.sll_ifindex,
	                                  .mr_type = PACKET_MR_PROMISC};
	int one = 1, buffer = 8 << 20;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || addr.sll_ifindex == 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) != 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) !=
	            0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)) != 0) {
		perror(name);
		exit(1);
	}
	return fd;
}

/* When a frame that came at t leaves the line; false: the queue is full. */
static bool schedule(struct direction *d, size_t len, uint64_t t, uint64_t *due_ns)
{
	uint64_t due = t;

	if (opt.rate > 0) {
		if (d->line_free_ns < t)
			d->line_free_ns = t;
		if ((double)(d->line_free_ns - t) > opt.queue * 1e6)
			return false;
		d->line_free_ns += (uint64_t)((double)len * 8e6 / opt.rate);
		due = d->line_free_ns;
	}
	if (!happens(d, opt.reorder)) {
		double wait_ms = opt.delay;

		if (opt.jitter > 0)
			wait_ms += (random_unit(d) * 2 - 1) * opt.jitter;
		if (wait_ms > 0)
			due += (uint64_t)(wait_ms * 1e6);
		if (opt.jitter <= 0 && due < d->last_due_ns)
			due = d->last_due_ns;
		d->last_due_ns = due;
	}
	*due_ns = due;
	return true;
}

static void enqueue(int from, const unsigned char *bytes, size_t len, uint64_t t)
{
	struct direction *d = &way[from];
	struct frame f = {.seq = next_seq++, .to = !from, .len = len};

	if (heap_n < QUEUE_MAX && schedule(d, len - VNET_HDR, t, &f.due_ns))
		f.bytes = malloc(len);
	if (f.bytes == NULL) {
		d->lost++;
		return;
	}
	memcpy(f.bytes, bytes, len);
	heap_push(f);
}

static void take(int from, unsigned char *bytes, size_t len, uint64_t t)
{
	struct direction *d = &way[from];
	const unsigned char *type = bytes + VNET_HDR + 12;
	bool is_ip = (type[0] == 0x08 && type[1] == 0x00) || (type[0] == 0x86 && type[1] == 0xdd);

	d->in++;
	if (!is_ip) {
		enqueue(from, bytes, len, t);
		return;
	}
	if (t >= d->dark_until_ns && happens(d, opt.burst))
		d->dark_until_ns = t + (uint64_t)(opt.burst_ms * 1e6);
	if (t < d->dark_until_ns || happens(d, opt.loss)) {
		d->lost++;
		return;
	}
	if (happens(d, opt.corrupt)) {
		size_t at = (size_t)(random_unit(d) * (double)(len - VNET_HDR - ETH_HEADER));

		bytes[VNET_HDR + ETH_HEADER + at] ^=
			(unsigned char)(1u << (unsigned)(random_unit(d) * 8));
		d->damaged++;
	}
	enqueue(from, bytes, len, t);
	if (happens(d, opt.dup)) {
		d->duplicated++;
		enqueue(from, bytes, len, t);
	}
}

static void send_due(uint64_t t)
{
	while (heap_n > 0 && heap[0].due_ns <= t) {
		struct frame f = heap_pop();
		struct direction *d = &way[!f.to];

		if (write(way[f.to].fd, f.bytes, f.len) == (ssize_t)f.len)
			d->out++;
		else
			d->lost++;
		free(f.bytes);
	}
}

static void receive(int from)
{
	static unsigned char bytes[FRAME_MAX];
	uint64_t t = now_ns();

	for (int i = 0; i < BATCH; i++) {
		ssize_t n = read(way[from].fd, bytes, sizeof(bytes));

		if (n <= VNET_HDR + ETH_HEADER)
			return;
		take(from, bytes, (size_t)n, t);
	}
}

static bool parse_option(const char *word)
{
	static const struct {
		const char *name;
		double *value;
	} table[] = {
		{"delay=", &opt.delay},     {"jitter=", &opt.jitter}, {"loss=", &opt.loss},
		{"burst=", &opt.burst},     {"dup=", &opt.dup},       {"reorder=", &opt.reorder},
		{"corrupt=", &opt.corrupt}, {"rate=", &opt.rate},     {"queue=", &opt.queue},
		{"seed=", &opt.seed},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t n = strlen(table[i].name);
		char *end;

		if (strncmp(word, table[i].name, n) != 0)
			continue;
		*table[i].value = strtod(word + n, &end);
		if (table[i].value == &opt.burst && *end == ',')
			opt.burst_ms = strtod(end + 1, &end);
		return *end == '\0' && end != word + n;
	}
	return false;
}

static int run(void)
{
	while (!stopping) {
		struct pollfd p[2] = {{.fd = way[0].fd, .events = POLLIN},
		                      {.fd = way[1].fd, .events = POLLIN}};
		struct timespec wait = {0};
		uint64_t t = now_ns();

		send_due(t);
		if (heap_n > 0 && heap[0].due_ns > t) {
			wait.tv_sec = (time_t)((heap[0].due_ns - t) / 1000000000u);
			wait.tv_nsec = (long)((heap[0].due_ns - t) % 1000000000u);
		}
		if (ppoll(p, 2, heap_n > 0 ? &wait : NULL, NULL) < 0 && errno != EINTR) {
			perror("poll");
			return 1;
		}
		receive(0);
		receive(1);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};

	for (int i = 3; i < argc; i++) {
		if (!parse_option(argv[i])) {
			fprintf(stderr, "wire: bad option %s\n", argv[i]);
			return 2;
		}
	}
	if (argc < 3) {
		fputs("usage: wire IF1 IF2 [delay= jitter= loss= burst= dup= reorder= corrupt= rate= queue= seed=]\n",
		      stderr);
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	for (int i = 0; i < 2; i++) {
		way[i].fd = open_interface(argv[1 + i]);
		way[i].random =
			(uint64_t)opt.seed * (i == 0 ? 0x9E3779B97F4A7C15u : 0xD1B54A32D192ED03u) +
			7;
	}
	int r = run();
	for (int i = 0; i < 2; i++)
		printf("%s: in %lu out %lu lost %lu dup %lu damaged %lu\n", argv[1 + i], way[i].in,
		       way[i].out, way[i].lost, way[i].duplicated, way[i].damaged);
	return r;
}
