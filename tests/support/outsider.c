/* SPDX-License-Identifier: MIT */

/*
 * outsider HOST NET SOCKET
 *
 * Somebody on the path: passes Ethernet frames between two interfaces, HOST towards the victim and NET towards the rest, keeps
 * what it likes and sends what it likes. It has no keys. Commands come as datagrams to the Unix socket, each is answered:
 *
 *   take CLASS WAY       the last frame of this kind that went `in` (to the victim) or `out`, in hexadecimal; empty: none yet.
 *                        CLASS: data (DTLS type 23), dtls (other DTLS), stun (requests), answer (other STUN), tcp
 *   record N MIN MAX     keeps the next N data frames to the victim, and sends each again at once, MIN to MAX times
 *   flip N               instead of each of the next N data frames to the victim sends it with each bit of its payload changed,
 *                        cut at each length, and joined with itself; then the frame itself
 *   race ADDRESS         before each STUN frame to the victim a copy of it comes from this IPv4 address; 0.0.0.0 ends it
 *   forge N              before each of the next N STUN requests of the victim leaves, answers to it come from where it
 *                        goes: two errors and success, of which only the integrity is wrong
 *   again TIMES          sends every recorded frame again
 *   inject COUNT FILE    sends COUNT items of FILE, over and over, to the victim: each a 32-bit length, a byte of flags and
 *                        bytes. Flags 0: payload of a datagram like the last data frame; 1: the same from an address of
 *                        198.51.100.0/24; 2: an IP packet
 *   rate N               what record, flip, again and inject send in a second (20000)
 *   counts               "SENT WAITING RECORDED": frames of its own sent and not sent yet, frames recorded
 *
 * Only IPv4. What it changes has no UDP checksum, which IPv4 allows.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define VNET_HDR   10
#define ETH_HEADER 14
#define IP_AT      (VNET_HDR + ETH_HEADER)
#define FRAME_MAX  70000
#define BATCH      64
#define KEEP_MAX   2048 /* bytes of a frame that is kept */
#define TICK_NS    1000000u
#define LINE_BYTES 512
#define OUT_BYTES  (2 * KEEP_MAX + 1)
#define ELSEWHERE  0xc6336400u /* 198.51.100.0/24 */

enum way {
	WAY_IN,
	WAY_OUT,
	WAYS
};

enum kind {
	CLASS_DATA,
	CLASS_DTLS,
	CLASS_STUN,
	CLASS_ANSWER,
	CLASS_TCP,
	CLASSES,
	CLASS_NONE = CLASSES
};

static const char *const way_names[WAYS] = {"in", "out"};
static const char *const class_names[CLASSES] = {"data", "dtls", "stun", "answer", "tcp"};

struct frame {
	size_t len;
	unsigned char bytes[KEEP_MAX];
};

/* A frame that waits for its turn, or one that was recorded. */
struct kept {
	struct kept *next;
	size_t len;
	unsigned char bytes[];
};

struct list {
	struct kept *first, **tail;
	unsigned long count;
};

static int fds[WAYS]; /* by where frames leave: WAY_IN to the victim */
static int command_fd;
static struct frame last[WAYS][CLASSES];
static struct list waiting, recorded;
static unsigned long sent, to_record, to_flip, to_forge, rate = 20000;
static unsigned repeat_min, repeat_max;
static uint64_t random_state = 88172645463325252u, credit_at_ns;
static double credit;
static uint32_t race_from; /* host order; 0: no race */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % n;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void append(struct list *l, const unsigned char *bytes, size_t len)
{
	struct kept *k = malloc(sizeof(*k) + len);

	if (k == NULL)
		fail("memory");
	k->next = NULL;
	k->len = len;
	memcpy(k->bytes, bytes, len);
	*l->tail = k;
	l->tail = &k->next;
	l->count++;
}

/* --- frames -------------------------------------------------------------------------------------- */

static size_t ip_header(const unsigned char *frame)
{
	return (size_t)(frame[IP_AT] & 15) * 4;
}

static unsigned char *payload(unsigned char *frame)
{
	return frame + IP_AT + ip_header(frame) + sizeof(struct udphdr);
}

static enum kind class_of(const unsigned char *frame, size_t len)
{
	if (len < IP_AT + 28 || frame[VNET_HDR + 12] != 0x08 || frame[VNET_HDR + 13] != 0)
		return CLASS_NONE;
	if (frame[IP_AT + 9] == IPPROTO_TCP)
		return CLASS_TCP;
	size_t head = ip_header(frame) + sizeof(struct udphdr);
	if (frame[IP_AT + 9] != IPPROTO_UDP || len < IP_AT + head + 13)
		return CLASS_NONE;
	const unsigned char *p = frame + IP_AT + head;
	if (p[0] <= 3)
		return p[0] == 0 && p[1] == 1 ? CLASS_STUN : CLASS_ANSWER; /* Binding request */
	if (p[0] == 23)
		return CLASS_DATA;
	return p[0] >= 20 && p[0] <= 63 ? CLASS_DTLS : CLASS_NONE;
}

static uint16_t ip_checksum(const unsigned char *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void store16(unsigned char *p, uint16_t v)
{
	p[0] = (unsigned char)(v >> 8);
	p[1] = (unsigned char)v;
}

/* Makes a frame right again after its payload got n bytes: lengths, checksums, nothing left to be done by a card. */
static size_t finish(unsigned char *frame, size_t n)
{
	size_t head = ip_header(frame);
	unsigned char *ip = frame + IP_AT, *udp = ip + head;

	memset(frame, 0, VNET_HDR);
	store16(ip + 2, (uint16_t)(head + sizeof(struct udphdr) + n));
	store16(ip + 10, 0);
	store16(ip + 10, ip_checksum(ip, head));
	store16(udp + 4, (uint16_t)(sizeof(struct udphdr) + n));
	store16(udp + 6, 0);
	return IP_AT + head + sizeof(struct udphdr) + n;
}

static void set_source(unsigned char *frame, uint32_t address)
{
	uint32_t be = htonl(address);

	memcpy(frame + IP_AT + 12, &be, 4);
}

/* --- what it does with frames that pass ---------------------------------------------------------- */

static void put(enum way to, const unsigned char *frame, size_t len)
{
	if (write(fds[to], frame, len) != (ssize_t)len && errno != ENOBUFS && errno != EAGAIN)
		perror("outsider: write");
}

/* Everything that can be made of one record without its key. */
static void flip(const unsigned char *frame, size_t len)
{
	static unsigned char copy[2 * KEEP_MAX];
	size_t head = IP_AT + ip_header(frame) + sizeof(struct udphdr), n = len - head;

	for (size_t bit = 0; bit < n * 8; bit++) {
		memcpy(copy, frame, len);
		copy[head + bit / 8] ^= (unsigned char)(1u << bit % 8);
		append(&waiting, copy, finish(copy, n));
	}
	for (size_t cut = 1; cut < n; cut++) {
		memcpy(copy, frame, len);
		append(&waiting, copy, finish(copy, cut));
	}
	/* Two in one, the first of them damaged in its tag: the second must pass, and only once. */
	memcpy(copy, frame, len);
	copy[len - 1] ^= 1;
	memcpy(copy + len, frame + head, n);
	append(&waiting, copy, finish(copy, 2 * n));
	append(&waiting, frame, len);
}

static void record(const unsigned char *frame, size_t len)
{
	unsigned times = repeat_min + random_below(repeat_max - repeat_min + 1);

	append(&recorded, frame, len);
	for (unsigned i = 0; i < times; i++)
		append(&waiting, frame, len);
}

static void race(const unsigned char *frame, size_t len)
{
	static unsigned char copy[KEEP_MAX];

	memcpy(copy, frame, len);
	set_source(copy, race_from);
	len = finish(copy, len - (size_t)(payload(copy) - copy));
	put(WAY_IN, copy, len);
	sent++;
}

static void swap(unsigned char *a, unsigned char *b, size_t n)
{
	while (n-- > 0) {
		unsigned char c = a[n];

		a[n] = b[n];
		b[n] = c;
	}
}

/* Answers to a request of the victim, as its peer would send them if it had another password. */
static void forge(const unsigned char *request, size_t len)
{
	static const unsigned char bodies[][14] = {
		/* ERROR-CODE 400 and 487, each with four letters of reason; XOR-MAPPED-ADDRESS */
		{1, 0x11, 0, 0x09, 0, 8, 0, 0, 4, 0, 'n', 'o', 'n', 'o'},
		{1, 0x11, 0, 0x09, 0, 8, 0, 0, 4, 87, 'n', 'o', 'n', 'o'},
		{1, 1, 0, 0x20, 0, 8, 0, 1, 0x21, 0x1b, 0xe7, 0x71, 0xa4, 0x4b},
	};
	static unsigned char copy[KEEP_MAX];

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		memcpy(copy, request, len);
		unsigned char *ip = copy + IP_AT, *udp = ip + ip_header(copy),
			      *stun = payload(copy);

		swap(copy + VNET_HDR, copy + VNET_HDR + 6, 6);
		swap(ip + 12, ip + 16, 4);
		swap(udp, udp + 2, 2);
		memcpy(stun, bodies[i], 2);
		store16(stun + 2, 12 + 24);
		memcpy(stun + 20, bodies[i] + 2, 12);
		memcpy(stun + 32, "\0\x08\0\x14", 4); /* MESSAGE-INTEGRITY */
		memset(stun + 36, 0x5a, 20);
		put(WAY_IN, copy, finish(copy, 56));
		sent++;
	}
}

static void pass(enum way to, const unsigned char *frame, size_t len)
{
	enum kind kind = class_of(frame, len);

	if (kind != CLASS_NONE && len <= KEEP_MAX) {
		last[to][kind].len = len;
		memcpy(last[to][kind].bytes, frame, len);
		if (to == WAY_IN && (kind == CLASS_STUN || kind == CLASS_ANSWER) && race_from != 0)
			race(frame, len);
		if (to == WAY_OUT && kind == CLASS_STUN && to_forge > 0) {
			to_forge--;
			forge(frame, len);
		}
		if (to == WAY_IN && kind == CLASS_DATA && to_flip > 0) {
			to_flip--;
			flip(frame, len);
			return;
		}
		if (to == WAY_IN && kind == CLASS_DATA && to_record > 0) {
			to_record--;
			put(to, frame, len);
			record(frame, len);
			return;
		}
	}
	put(to, frame, len);
}

static void receive(enum way from)
{
	static unsigned char bytes[FRAME_MAX];

	for (int i = 0; i < BATCH; i++) {
		ssize_t n = read(fds[from], bytes, sizeof(bytes));

		if (n <= IP_AT)
			return;
		pass(from == WAY_IN ? WAY_OUT : WAY_IN, bytes, (size_t)n);
	}
}

/* Sends what waits, as the rate allows. */
static void send_waiting(void)
{
	uint64_t t = now_ns();

	credit += (double)(t - credit_at_ns) * (double)rate / 1e9;
	credit_at_ns = t;
	if (credit > (double)rate / 50)
		credit = (double)rate / 50;
	while (waiting.first != NULL && credit >= 1) {
		struct kept *k = waiting.first;

		put(WAY_IN, k->bytes, k->len);
		waiting.first = k->next;
		if (k->next == NULL)
			waiting.tail = &waiting.first;
		waiting.count--;
		free(k);
		credit--;
		sent++;
	}
}

/* --- commands ------------------------------------------------------------------------------------ */

static bool inject_one(const unsigned char *data, size_t len, unsigned flags)
{
	const struct frame *like = &last[WAY_IN][CLASS_DATA];
	static unsigned char frame[FRAME_MAX];

	if (like->len == 0)
		return false;
	memcpy(frame, like->bytes, like->len);
	if (flags == 2) {
		memset(frame, 0, VNET_HDR);
		memcpy(frame + IP_AT, data, len);
		append(&waiting, frame, IP_AT + len);
		return true;
	}
	if (flags == 1)
		set_source(frame, ELSEWHERE + 1 + random_below(254));
	memcpy(payload(frame), data, len);
	append(&waiting, frame, finish(frame, len));
	return true;
}

static bool inject(unsigned long count, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0)
		return false;
	size_t size = (size_t)st.st_size;
	unsigned char *file = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (file == MAP_FAILED)
		return false;
	bool good = true;
	for (size_t at = 0; good && count > 0; count--) {
		uint32_t len;

		memcpy(&len, file + at, 4);
		len = ntohl(len);
		good = len < FRAME_MAX - 100 && inject_one(file + at + 5, len, file[at + 4]);
		at += 5 + len;
		if (at >= size)
			at = 0;
	}
	munmap(file, size);
	return good;
}

static void again(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		for (const struct kept *k = recorded.first; k != NULL; k = k->next)
			append(&waiting, k->bytes, k->len);
	}
}

/* The frame without the header that the kernel put in front. */
static bool take(const char *line, char *out)
{
	char kind[8], way[8];

	if (sscanf(line, "take %7s %7s", kind, way) != 2)
		return false;
	for (unsigned w = 0; w < WAYS; w++) {
		for (unsigned c = 0; c < CLASSES; c++) {
			const struct frame *f = &last[w][c];

			if (strcmp(way, way_names[w]) != 0 || strcmp(kind, class_names[c]) != 0)
				continue;
			*out = '\0';
			for (size_t i = VNET_HDR; i < f->len; i++)
				out += snprintf(out, 3, "%02x", f->bytes[i]);
			return true;
		}
	}
	return false;
}

static bool run_command(const char *line, char *out)
{
	unsigned long n;
	unsigned lo, hi;
	char text[256];
	struct in_addr a;

	memcpy(out, "ok", 3);
	if (strncmp(line, "take ", 5) == 0)
		return take(line, out);
	if (sscanf(line, "record %lu %u %u", &n, &lo, &hi) == 3 && lo <= hi) {
		to_record = n;
		repeat_min = lo;
		repeat_max = hi;
	} else if (sscanf(line, "flip %lu", &n) == 1) {
		to_flip = n;
	} else if (sscanf(line, "forge %lu", &n) == 1) {
		to_forge = n;
	} else if (sscanf(line, "race %255s", text) == 1 && inet_aton(text, &a) != 0) {
		race_from = ntohl(a.s_addr);
	} else if (sscanf(line, "again %u", &lo) == 1) {
		again(lo);
	} else if (sscanf(line, "rate %lu", &n) == 1) {
		rate = n;
	} else if (sscanf(line, "inject %lu %255s", &n, text) == 2) {
		return inject(n, text);
	} else if (strcmp(line, "counts") == 0) {
		snprintf(out, OUT_BYTES, "%lu %lu %lu", sent, waiting.count, recorded.count);
	} else {
		return false;
	}
	return true;
}

static void take_commands(void)
{
	static char line[LINE_BYTES], out[OUT_BYTES];
	struct sockaddr_un from;

	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(command_fd, line, sizeof(line) - 1, 0,
		                     (struct sockaddr *)&from, &len);
		if (n < 0)
			return;
		line[n] = '\0';
		if (!run_command(line, out))
			memcpy(out, "bad", 4);
		if (sendto(command_fd, out, strlen(out), 0, (struct sockaddr *)&from, len) < 0)
			perror("outsider: answer");
	}
}

/* --- set-up -------------------------------------------------------------------------------------- */

static int open_interface(const char *name)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(name),
	};
	struct packet_mreq promiscuous = {.mr_ifindex = addr.sll_ifindex,
	                                  .mr_type = PACKET_MR_PROMISC};
	int one = 1, buffer = 16 << 20;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || addr.sll_ifindex == 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) != 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) !=
	            0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)) != 0)
		fail(name);
	return fd;
}

static void open_commands(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(at.sun_path)) {
		errno = ENAMETOOLONG;
		fail(path);
	}
	memcpy(at.sun_path, path, strlen(path));
	unlink(path);
	command_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (command_fd < 0 || bind(command_fd, (struct sockaddr *)&at, sizeof(at)) != 0)
		fail(path);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fputs("usage: outsider HOST NET SOCKET\n", stderr);
		return 2;
	}
	waiting.tail = &waiting.first;
	recorded.tail = &recorded.first;
	fds[WAY_IN] = open_interface(argv[1]);
	fds[WAY_OUT] = open_interface(argv[2]);
	open_commands(argv[3]);
	credit_at_ns = now_ns();
	for (;;) {
		struct pollfd p[] = {{.fd = fds[WAY_IN], .events = POLLIN},
		                     {.fd = fds[WAY_OUT], .events = POLLIN},
		                     {.fd = command_fd, .events = POLLIN}};
		struct timespec tick = {.tv_nsec = TICK_NS};

		if (ppoll(p, 3, waiting.first != NULL ? &tick : NULL, NULL) < 0 && errno != EINTR)
			fail("poll");
		receive(WAY_IN);
		receive(WAY_OUT);
		take_commands();
		send_waiting();
	}
}
