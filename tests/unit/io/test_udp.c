/* SPDX-License-Identifier: MIT */

/* Over loopback: nothing leaves this computer. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/udp.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_US 2000000

struct pair {
	struct udp a, b;
	struct netaddr addr_a, addr_b;
};

static uint8_t buffer[UDP_RECV_BYTES], train[BATCH_MAX_BYTES];

static struct netaddr loopback(int family)
{
	static const uint8_t one[16] = {[15] = 1};

	return family == NETADDR_IP6 ? netaddr_ip6(one, 0) : netaddr_ip4(0x7f000001, 0);
}

static void open_pair(struct pair *p, int family)
{
	struct netaddr any = loopback(family);

	int r = udp_open(&any, &p->a);
	if (r == UDP_NO_FAMILY || r == UDP_BAD_ADDRESS)
		skip();
	assert_int_equal(r, UDP_OK);
	assert_int_equal(udp_open(&any, &p->b), UDP_OK);
	assert_int_equal(udp_local(&p->a, &p->addr_a), 0);
	assert_int_equal(udp_local(&p->b, &p->addr_b), 0);
	assert_int_not_equal(p->addr_a.port, 0);
}

static void close_pair(struct pair *p)
{
	udp_close(&p->a);
	udp_close(&p->b);
	assert_int_equal(p->a.fd, -1);
}

/* What was sent may arrive later, also here: a busy kernel leaves it to a thread. */
static int receive_cut(struct udp *u, size_t size, struct udp_train *t)
{
	uint64_t end = clock_now_us() + LIMIT_US;
	int r;

	while ((r = udp_recv(u, buffer, size, t)) == UDP_AGAIN && clock_now_us() < end) {
		struct pollfd p = {.fd = u->fd, .events = POLLIN};

		(void)poll(&p, 1, LIMIT_US / 1000);
	}
	return r;
}

static int receive(struct udp *u, struct udp_train *t)
{
	return receive_cut(u, sizeof(buffer), t);
}

/* n datagrams of `size` and one of `last` bytes (0: none), each filled with its number. */
static struct batch make_train(unsigned n, size_t size, size_t last)
{
	struct batch b = BATCH_INIT(train, sizeof(train), 0, 0);

	for (unsigned i = 0; i < n; i++)
		memset(batch_reserve(&b, size), (int)i, size);
	if (last > 0)
		memset(batch_reserve(&b, last), (int)n, last);
	return b;
}

/* All datagrams arrive whole and in order, merged or not. */
static void expect_train(struct pair *p, unsigned n, size_t size, size_t last)
{
	unsigned seen = 0, total = n + (last > 0 ? 1 : 0);

	while (seen < total) {
		struct udp_train t;

		assert_int_equal(receive(&p->b, &t), UDP_OK);
		assert_true(netaddr_equal(&t.remote, &p->addr_a));
		assert_true(netaddr_ip_equal(&t.local, &p->addr_b));
		assert_int_not_equal(t.local.ifindex, 0);
		for (size_t at = 0; at < t.len; at += t.size, seen++) {
			size_t len = GV_MIN(t.size, t.len - at);

			assert_true(seen < total);
			assert_int_equal(len, seen < n ? size : last);
			assert_int_equal(buffer[at], seen);
			assert_int_equal(buffer[at + len - 1], seen);
		}
	}
}

static void round_trip(int family)
{
	static const struct {
		unsigned n;
		size_t size, last;
	} cases[] = {{1, 1, 0},     {1, 1400, 0}, {44, 1400, 0},
	             {43, 1400, 7}, {64, 100, 0}, {2, 20000, 1}};
	struct pair p;

	open_pair(&p, family);
	for (size_t i = 0; i < GV_ARRAY_SIZE(cases); i++) {
		struct batch b = make_train(cases[i].n, cases[i].size, cases[i].last);
		unsigned sent = 0;

		assert_int_equal(udp_send_batch(&p.a, &p.addr_a, &p.addr_b, &b, &sent), UDP_OK);
		assert_int_equal(sent, b.count);
		expect_train(&p, cases[i].n, cases[i].size, cases[i].last);
	}
	close_pair(&p);
}

static void udp_send_batch_trains_arrive_whole(void **state)
{
	(void)state;
	round_trip(NETADDR_IP4);
	round_trip(NETADDR_IP6);
}

static void udp_send_batch_without_offloads_is_the_same(void **state)
{
	static const char *const limits[] = {"none", "gso", "gro"};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(limits); i++) {
		struct pair p;

		setenv("GOVPN_UDP_OFFLOAD", limits[i], 1);
		open_pair(&p, NETADDR_IP4);
		assert_int_equal(p.a.gso, strcmp(limits[i], "gso") == 0);
		assert_int_equal(p.a.gro, strcmp(limits[i], "gro") == 0);
		close_pair(&p);
		round_trip(NETADDR_IP4);
	}
	unsetenv("GOVPN_UDP_OFFLOAD");
}

static void udp_send_batch_source_and_interface_are_obeyed(void **state)
{
	struct netaddr any = netaddr_ip4(0, 0), second = netaddr_ip4(0x7f000002, 0);
	struct udp_train t;
	struct pair p;

	(void)state;
	open_pair(&p, NETADDR_IP4);
	udp_close(&p.a);
	assert_int_equal(udp_open(&any, &p.a), UDP_OK);
	assert_int_equal(udp_send(&p.a, &second, &p.addr_b, "x", 1), UDP_OK);
	assert_int_equal(receive(&p.b, &t), UDP_OK);
	assert_true(netaddr_ip_equal(&t.remote, &second));
	assert_int_equal(t.len, 1);
	/* An interface that is not there, an address that is not ours. */
	second.ifindex = 0x7fffffff;
	assert_int_equal(udp_send(&p.a, &second, &p.addr_b, "x", 1), UDP_UNREACHABLE);
	second = netaddr_ip4(0xc0000201, 0);
	struct batch b = make_train(3, 100, 0);
	assert_int_equal(udp_send_batch(&p.a, &second, &p.addr_b, &b, NULL), UDP_UNREACHABLE);
	assert_true(p.a.gso);
	close_pair(&p);
}

static void udp_send_too_large_returns_too_big(void **state)
{
	struct pair p;

	(void)state;
	open_pair(&p, NETADDR_IP4);
	assert_int_equal(udp_send(&p.a, &p.addr_a, &p.addr_b, buffer, sizeof(buffer)), UDP_TOO_BIG);
	close_pair(&p);
}

static void udp_recv_nothing_returns_again(void **state)
{
	struct udp_train t;
	struct pair p;

	(void)state;
	open_pair(&p, NETADDR_IP4);
	assert_int_equal(udp_recv(&p.a, buffer, sizeof(buffer), &t), UDP_AGAIN);
	/* To a port that nobody has: the ICMP error that comes back harms nothing. */
	udp_close(&p.b);
	assert_int_equal(udp_send(&p.a, &p.addr_a, &p.addr_b, "x", 1), UDP_OK);
	assert_int_equal(udp_recv(&p.a, buffer, sizeof(buffer), &t), UDP_AGAIN);
	assert_int_equal(udp_send(&p.a, &p.addr_a, &p.addr_b, "x", 1), UDP_OK);
	close_pair(&p);
}

static void udp_recv_cut_off_is_skipped(void **state)
{
	struct udp_train t;
	struct pair p;

	(void)state;
	open_pair(&p, NETADDR_IP4);
	assert_int_equal(udp_send(&p.a, &p.addr_a, &p.addr_b, buffer, 200), UDP_OK);
	assert_int_equal(udp_send(&p.a, &p.addr_a, &p.addr_b, buffer, 50), UDP_OK);
	assert_int_equal(receive_cut(&p.b, 100, &t), UDP_OK);
	assert_int_equal(t.len, 50);
	close_pair(&p);
}

/* Waits until the kernel has dropped one of this socket. */
static void wait_for_drop(const struct udp *u)
{
	uint64_t end = clock_now_us() + LIMIT_US;
	uint32_t info[SK_MEMINFO_VARS] = {0};

	while (info[SK_MEMINFO_DROPS] == 0) {
		socklen_t len = sizeof(info);

		assert_true(clock_now_us() < end);
		assert_int_equal(getsockopt(u->fd, SOL_SOCKET, SO_MEMINFO, info, &len), 0);
		(void)poll(NULL, 0, 1);
	}
}

static void udp_recv_after_overflow_tells_losses(void **state)
{
	unsigned sent = 200, got = 0, lost = 0;
	int small = 4096;
	struct udp_train t;
	struct pair p;

	(void)state;
	open_pair(&p, NETADDR_IP4);
	assert_int_equal(setsockopt(p.b.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	for (unsigned i = 0; i < sent; i++)
		assert_int_equal(udp_send(&p.a, &p.addr_a, &p.addr_b, train, 1000), UDP_OK);
	wait_for_drop(&p.b);
	uint64_t end = clock_now_us() + LIMIT_US;
	/* The end of the loss shows with the next that comes; that one may be lost as well, behind some that come late. */
	for (;;) {
		for (; udp_recv(&p.b, buffer, sizeof(buffer), &t) == UDP_OK; lost += t.lost)
			got++;
		if (got + lost == sent)
			break;
		assert_true(got + lost < sent && clock_now_us() < end);
		assert_int_equal(udp_send(&p.a, &p.addr_a, &p.addr_b, train, 10), UDP_OK);
		sent++;
		(void)poll(NULL, 0, 1);
	}
	assert_true(got > 0 && lost > 0);
	/* Each only once. */
	assert_int_equal(udp_send(&p.a, &p.addr_a, &p.addr_b, train, 20), UDP_OK);
	assert_int_equal(receive(&p.b, &t), UDP_OK);
	assert_int_equal(t.len, 20);
	assert_int_equal(t.lost, 0);
	close_pair(&p);
}

static void udp_open_taken_port_returns_in_use(void **state)
{
	struct udp other;
	struct pair p;

	(void)state;
	open_pair(&p, NETADDR_IP4);
	assert_int_equal(udp_open(&p.addr_a, &other), UDP_IN_USE);
	struct netaddr foreign = netaddr_ip4(0xc0000201, 0);
	assert_int_equal(udp_open(&foreign, &other), UDP_BAD_ADDRESS);
	close_pair(&p);
}

static void udp_recv_closed_descriptor_is_an_error(void **state)
{
	struct udp u = {.fd = 1 << 20, .family = NETADDR_IP4};
	struct udp_train t;

	(void)state;
	assert_int_equal(udp_recv(&u, buffer, sizeof(buffer), &t), -EBADF);
}

static void udp_sockaddr_both_ways_is_the_same(void **state)
{
	static const char *const texts[] = {"192.0.2.1:80", "[2001:db8::1]:443", "0.0.0.0:0"};
	struct udp_sockaddr sa;
	struct netaddr a, b;

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(texts); i++) {
		assert_true(netaddr_parse(texts[i], &a));
		udp_sockaddr_from(&a, &sa);
		assert_true(udp_sockaddr_to(&sa.ss, sa.len, &b));
		assert_true(netaddr_equal(&a, &b));
	}
	assert_true(netaddr_parse("[fe80::1]:5", &a));
	a.ifindex = 7;
	udp_sockaddr_from(&a, &sa);
	assert_true(udp_sockaddr_to(&sa.ss, sa.len, &b));
	assert_int_equal(b.ifindex, 7);
	struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.9", &mapped.sin6_addr), 1);
	assert_true(udp_sockaddr_to(&mapped, sizeof(mapped), &b));
	a = netaddr_ip4(0xc0000209, 9);
	assert_true(netaddr_equal(&a, &b));
	assert_false(udp_sockaddr_to(&mapped, 20, &b));
	mapped.sin6_family = AF_UNIX;
	assert_false(udp_sockaddr_to(&mapped, sizeof(mapped), &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_send_batch_trains_arrive_whole),
		cmocka_unit_test(udp_send_batch_without_offloads_is_the_same),
		cmocka_unit_test(udp_send_batch_source_and_interface_are_obeyed),
		cmocka_unit_test(udp_send_too_large_returns_too_big),
		cmocka_unit_test(udp_recv_nothing_returns_again),
		cmocka_unit_test(udp_recv_cut_off_is_skipped),
		cmocka_unit_test(udp_recv_after_overflow_tells_losses),
		cmocka_unit_test(udp_open_taken_port_returns_in_use),
		cmocka_unit_test(udp_recv_closed_descriptor_is_an_error),
		cmocka_unit_test(udp_sockaddr_both_ways_is_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
