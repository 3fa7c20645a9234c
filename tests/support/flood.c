/* SPDX-License-Identifier: MIT */

/*
 * flood IF FILE SOURCE SOURCES PORT TARGET PORT MAC RATE COUNT
 *
 * Sends UDP datagrams over IPv4 to TARGET:PORT from SOURCES addresses, the first of which is SOURCE, and from PORT (0: any). They
 * leave IF as Ethernet frames, so that no address needs to be ours. The payloads are the items of FILE, over and over: a
 * 32-bit length, a byte of flags, and the bytes. Flags: 1 all bytes are random, 2 those of a STUN transaction id are. MAC is
 * the card of the target. Prints "SENT SECONDS CPU-SECONDS".
 */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define HEADERS    (14 + 20 + 8)
#define FRAME_MAX  1514
#define BATCH      64
#define FILE_BYTES (16 << 20)

struct settings {
	uint32_t source, sources, target;
	uint16_t source_port, target_port;
	unsigned char mac[6]; /* of the target */
	unsigned long rate, count;
};

static unsigned char items[FILE_BYTES];
static size_t items_len, item_at;
static uint64_t state = 0x9E3779B97F4A7C15u;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double now_s(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t random32(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32);
}

static void randomise(unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)random32();
}

static void store16(unsigned char *p, uint32_t v)
{
	p[0] = (unsigned char)(v >> 8);
	p[1] = (unsigned char)v;
}

static void store32(unsigned char *p, uint32_t v)
{
	store16(p, v >> 16);
	store16(p + 2, v);
}

static size_t next_payload(unsigned char *out)
{
	uint32_t len;

	memcpy(&len, items + item_at, 4);
	len = ntohl(len);
	unsigned flags = items[item_at + 4];
	if (len > FRAME_MAX - HEADERS) {
		errno = EMSGSIZE;
		fail("item");
	}
	memcpy(out, items + item_at + 5, len);
	if ((flags & 1) != 0)
		randomise(out, len);
	if ((flags & 2) != 0 && len >= 20)
		randomise(out + 8, 12);
	item_at += 5 + len;
	if (item_at >= items_len)
		item_at = 0;
	return len;
}

static size_t make_frame(const struct settings *s, unsigned char *f)
{
	size_t n = next_payload(f + HEADERS);
	unsigned char *ip = f + 14, *udp = f + 34;
	uint32_t sum = 0;

	memcpy(f, s->mac, 6);
	memset(f + 6, 2, 6);
	store16(f + 12, ETH_P_IP);
	memset(ip, 0, 28);
	ip[0] = 0x45;
	store16(ip + 2, (uint32_t)(28 + n));
	ip[8] = 60;
	ip[9] = IPPROTO_UDP;
	store32(ip + 12, s->source + random32() % s->sources);
	store32(ip + 16, s->target);
	for (int i = 0; i < 20; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	store16(ip + 10, ~(sum + (sum >> 16)));
	store16(udp, s->source_port != 0 ? s->source_port : 1024 + random32() % 60000);
	store16(udp + 2, s->target_port);
	store16(udp + 4, (uint32_t)(8 + n));
	return HEADERS + n;
}

static int open_interface(const char *name)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
	                           .sll_ifindex = (int)if_nametoindex(name)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), one = 1, buffer = 8 << 20;

	if (fd < 0 || addr.sll_ifindex == 0 ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)) != 0)
		fail(name);
	return fd;
}

static unsigned long flood(int fd, const struct settings *s)
{
	static unsigned char frames[BATCH][FRAME_MAX];
	struct mmsghdr m[BATCH];
	struct iovec iov[BATCH];
	unsigned long sent = 0;
	double start = now_s(CLOCK_MONOTONIC);

	while (sent < s->count) {
		double due = (now_s(CLOCK_MONOTONIC) - start) * (double)s->rate - (double)sent;
		unsigned n = due < 1 ? 0 : due > BATCH ? BATCH : (unsigned)due;

		if (n > s->count - sent)
			n = (unsigned)(s->count - sent);
		if (n == 0) {
			struct timespec nap = {.tv_nsec = 300000};

			nanosleep(&nap, NULL);
			continue;
		}
		memset(m, 0, sizeof(m));
		for (unsigned i = 0; i < n; i++) {
			iov[i] = (struct iovec){.iov_base = frames[i],
			                        .iov_len = make_frame(s, frames[i])};
			m[i].msg_hdr.msg_iov = &iov[i];
			m[i].msg_hdr.msg_iovlen = 1;
		}
		for (unsigned done = 0; done < n;) {
			int r = sendmmsg(fd, m + done, n - done, 0);

			if (r < 0 && errno != ENOBUFS && errno != EINTR)
				fail("sendmmsg");
			done += r > 0 ? (unsigned)r : 0;
		}
		sent += n;
	}
	return sent;
}

static uint32_t address(const char *text)
{
	struct in_addr a;

	if (inet_aton(text, &a) == 0) {
		errno = EINVAL;
		fail(text);
	}
	return ntohl(a.s_addr);
}

static unsigned long number(const char *text)
{
	return strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	if (argc != 11) {
		fputs("usage: flood IF FILE SOURCE SOURCES PORT TARGET PORT MAC RATE COUNT\n",
		      stderr);
		return 2;
	}
	FILE *f = fopen(argv[2], "rb");
	if (f == NULL)
		fail(argv[2]);
	items_len = fread(items, 1, sizeof(items), f);
	fclose(f);
	struct settings s = {
		.source = address(argv[3]),
		.sources = (uint32_t)number(argv[4]),
		.source_port = (uint16_t)number(argv[5]),
		.target = address(argv[6]),
		.target_port = (uint16_t)number(argv[7]),
		.rate = number(argv[9]),
		.count = number(argv[10]),
	};
	if (sscanf(argv[8], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &s.mac[0], &s.mac[1], &s.mac[2],
	           &s.mac[3], &s.mac[4], &s.mac[5]) != 6) {
		errno = EINVAL;
		fail(argv[8]);
	}
	int fd = open_interface(argv[1]);
	double start = now_s(CLOCK_MONOTONIC);
	unsigned long sent = flood(fd, &s);
	printf("%lu %.3f %.3f\n", sent, now_s(CLOCK_MONOTONIC) - start,
	       now_s(CLOCK_PROCESS_CPUTIME_ID));
	return 0;
}
