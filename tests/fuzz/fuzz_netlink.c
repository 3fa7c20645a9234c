/* SPDX-License-Identifier: MIT */

/*
 * What the kernel says of links, addresses and routes. The input is what the socket gives: datagrams, each behind two bytes of
 * length; the first byte says which question was asked. A message is followed by bytes that must not be read.
 */

#include "io/route_linux.c"

#include <stdlib.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define HAS_ASAN
#endif
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#define HIDE(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define SHOW(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define HIDE(p, n) ((void)(p), (void)(n))
#define SHOW(p, n) ((void)(p), (void)(n))
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *input;
static size_t input_left;
static unsigned asked;

/* The fake socket: takes the place of the functions of libmnl. */

ssize_t mnl_socket_sendto(const struct mnl_socket *s, const void *req, size_t n)
{
	(void)s;
	(void)req;
	asked++;
	return (ssize_t)n;
}

/* Messages with the number zero are answers to the last question. */
static void make_answer(void *buf, size_t n)
{
	struct nlmsghdr h;

	for (size_t at = 0; at + sizeof(h) <= n; at += NLMSG_ALIGN(h.nlmsg_len)) {
		memcpy(&h, (uint8_t *)buf + at, sizeof(h));
		if (h.nlmsg_seq == 0)
			h.nlmsg_seq = asked;
		memcpy((uint8_t *)buf + at, &h, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > n)
			return;
	}
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *s, void *buf, size_t size)
{
	size_t n;

	(void)s;
	SHOW(buf, size);
	if (input_left < 2) {
		errno = EAGAIN;
		return -1;
	}
	n = (size_t)(input[0] << 8 | input[1]);
	input += 2;
	input_left -= 2;
	if (n >= 0xff00) { /* errors of the socket */
		errno = n & 1 ? ENOBUFS : EINTR;
		return -1;
	}
	n = GV_MIN(n, input_left);
	n = GV_MIN(n, size);
	memcpy(buf, input, n);
	make_answer(buf, n);
	input += n;
	input_left -= n;
	HIDE((uint8_t *)buf + n, size - n);
	return (ssize_t)n;
}

static void check_links(struct route *r)
{
	struct route_link *links = NULL;
	size_t n = 0;

	if (route_links(r, &links, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (strnlen(links[i].name, sizeof(links[i].name)) == sizeof(links[i].name))
			abort();
	}
	mem_free(links);
}

static void check_addrs(struct route *r)
{
	struct route_addr *addrs = NULL;
	size_t n = 0;

	if (route_addrs(r, &addrs, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (addrs[i].addr.family == NETADDR_NONE || addrs[i].addr.port != 0)
			abort();
	}
	mem_free(addrs);
}

static void check_entries(struct route *r)
{
	struct route_entry *entries = NULL;
	size_t n = 0;

	if (route_entries(r, &entries, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (entries[i].dst.addr.family == NETADDR_NONE ||
		    entries[i].dst.bits > netaddr_ip_size(&entries[i].dst.addr) * 8)
			abort();
	}
	mem_free(entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct route r;
	struct netprefix p = {.addr = netaddr_ip4(0x0a010000, 0), .bits = 24};

	if (size == 0)
		return 0;
	SHOW(r.in, sizeof(r.in));
	r.seq = asked = 0;
	input = data + 1;
	input_left = size - 1;
	switch (data[0] % 6) {
	case 0:
		check_links(&r);
		break;
	case 1:
		check_addrs(&r);
		break;
	case 2:
		check_entries(&r);
		break;
	case 3:
		(void)route_watch_take(&r, "govpn");
		break;
	case 4:
		(void)!route_link_up(&r, 7, 1380, 40);
		(void)!route_addr_add(&r, 7, &p.addr, 24);
		break;
	default:
		(void)!route_add(&r, &p, 7);
		(void)!route_del(&r, &p, 7);
		break;
	}
	return 0;
}
