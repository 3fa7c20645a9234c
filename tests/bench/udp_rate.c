/* SPDX-License-Identifier: MIT */

/*
 * udp_rate recv ADDRESS PORT                              counts datagrams until SIGTERM, then prints the number
 * udp_rate send ADDRESS PORT BYTES PER_SECOND SECONDS     sends evenly, one system call for what is due, prints the number
 *
 * For the small-packet figure of ./dev bench: how many datagrams a second pass with less than 1 % loss.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH     64
#define BYTES_MAX 1400

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

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), bytes = 8 << 20;

	/* Without the right for FORCE the kernel's maximum has to do. */
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	return fd;
}

static void prepare(struct mmsghdr messages[static BATCH], struct iovec parts[static BATCH],
                    char *bytes, size_t n)
{
	for (size_t i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){.iov_base = bytes, .iov_len = n};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
	}
}

static int receive(const struct sockaddr_in *addr)
{
	static char bytes[BYTES_MAX];
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	uint64_t count = 0;
	int fd = open_socket();

	if (fd < 0 || bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0) {
		perror("bind");
		return 1;
	}
	prepare(messages, parts, bytes, sizeof(bytes));
	puts("ready");
	fflush(stdout);
	while (!stopping) {
		int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);

		if (n > 0)
			count += (unsigned)n;
	}
	printf("%llu\n", (unsigned long long)count);
	return 0;
}

static int transmit(const struct sockaddr_in *addr, size_t size, double per_second, double seconds)
{
	static char bytes[BYTES_MAX];
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	uint64_t sent = 0, start = now_ns();
	int fd = open_socket();

	if (fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0) {
		perror("connect");
		return 1;
	}
	prepare(messages, parts, bytes, size);
	for (double t = 0; t < seconds && !stopping; t = (double)(now_ns() - start) * 1e-9) {
		uint64_t due = (uint64_t)(t * per_second);
		struct timespec pause = {.tv_nsec = 100000};

		if (due <= sent) {
			nanosleep(&pause, NULL);
			continue;
		}
		uint64_t n = due - sent < BATCH ? due - sent : BATCH;
		int r = sendmmsg(fd, messages, (unsigned)n, 0);

		/* What the kernel did not take counts as sent and lost. */
		sent += r > 0 ? (uint64_t)r : n;
	}
	printf("%llu\n", (unsigned long long)sent);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	struct sigaction action = {.sa_handler = on_signal};
	bool is_send = argc == 7 && strcmp(argv[1], "send") == 0;
	bool is_recv = argc == 4 && strcmp(argv[1], "recv") == 0;

	if ((!is_send && !is_recv) || inet_pton(AF_INET, argv[2], &addr.sin_addr) != 1) {
		fputs("usage: udp_rate recv ADDRESS PORT | send ADDRESS PORT BYTES PER_SECOND SECONDS\n",
		      stderr);
		return 2;
	}
	addr.sin_port = htons((uint16_t)strtoul(argv[3], NULL, 10));
	sigaction(SIGTERM, &action, NULL);
	if (is_recv)
		return receive(&addr);

	size_t size = strtoul(argv[4], NULL, 10);
	if (size > BYTES_MAX)
		size = BYTES_MAX;
	return transmit(&addr, size, strtod(argv[5], NULL), strtod(argv[6], NULL));
}
