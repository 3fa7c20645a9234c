/* SPDX-License-Identifier: MIT */

/*
 * A receive: what the kernel says of a datagram, by control messages and a socket address that the input fills. However
 * they look, the train lies inside the memory, and its datagrams are not empty.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

static ssize_t fake_recvmsg(int fd, struct msghdr *m, int flags);
#define recvmsg fake_recvmsg
#include "io/udp.c"
#undef recvmsg

#include "base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes_reader in;

/* A length of the input, no more than there is room and bytes. */
static size_t take(size_t room)
{
	size_t n = GV_MIN((size_t)bytes_read_u8(&in), in.left);

	return GV_MIN(n, room);
}

static ssize_t fake_recvmsg(int fd, struct msghdr *m, int flags)
{
	uint8_t kind = bytes_read_u8(&in);
	size_t len = bytes_read_u16(&in);

	(void)fd;
	(void)flags;
	if (!in.ok || kind == 0xff) {
		errno = EAGAIN;
		return -1;
	}
	if (kind >= 0xf0) {
		errno = kind & 1 ? ECONNREFUSED : EBADF;
		return -1;
	}
	m->msg_flags = kind & 0x80 ? MSG_TRUNC : 0;
	size_t name = take(m->msg_namelen);
	memset(m->msg_name, 0, m->msg_namelen);
	if (name > 0)
		memcpy(m->msg_name, bytes_read(&in, name), name);
	m->msg_namelen = (socklen_t)name;
	size_t control = take(m->msg_controllen);
	if (control > 0)
		memcpy(m->msg_control, bytes_read(&in, control), control);
	m->msg_controllen = control;
	return (ssize_t)GV_MIN(len, m->msg_iov[0].iov_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t room[UDP_RECV_BYTES];
	struct udp u = {.fd = -1, .gro = true};
	struct udp_sockaddr sa;
	struct udp_train t;
	struct netaddr again;

	in = bytes_reader(data, size);
	for (int i = 0; i < 16 && udp_recv(&u, room, sizeof(room), &t) == UDP_OK; i++) {
		if (t.len > sizeof(room) || (t.len > 0 && (t.size == 0 || t.size > t.len)) ||
		    t.remote.family == NETADDR_NONE)
			abort();
		udp_sockaddr_from(&t.remote, &sa);
		if (!udp_sockaddr_to(&sa.ss, sa.len, &again) || !netaddr_equal(&again, &t.remote))
			abort();
	}
	return 0;
}
