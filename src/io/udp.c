/* SPDX-License-Identifier: MIT */

#include "io/udp.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Enough for some 20 ms at 1 Gbit/s in either direction while the thread is busy elsewhere. */
#define BUFFER_BYTES (4 << 20)

/* Errors of earlier datagrams that one receive may step over. */
#define RECV_RETRIES 8

/* Control data of a send: packet info of either family and the segment size. */
union send_control {
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
	struct cmsghdr align;
};

union recv_control {
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) +
	           CMSG_SPACE(sizeof(uint32_t))];
	struct cmsghdr align;
};

void udp_sockaddr_from(const struct netaddr *a, struct udp_sockaddr *out)
{
	memset(out, 0, sizeof(*out));
	if (a->family == NETADDR_IP4) {
		struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a->port)};

		memcpy(&sin.sin_addr, a->ip, 4);
		memcpy(&out->ss, &sin, sizeof(sin));
		out->len = sizeof(sin);
	} else if (a->family == NETADDR_IP6) {
		struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};

		memcpy(&sin6.sin6_addr, a->ip, 16);
		if (netaddr_is_link_local(a))
			sin6.sin6_scope_id = a->ifindex;
		memcpy(&out->ss, &sin6, sizeof(sin6));
		out->len = sizeof(sin6);
	}
}

bool udp_sockaddr_to(const void *sa, socklen_t len, struct netaddr *out)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;
	sa_family_t family;

	if (len < sizeof(sin))
		return false;
	memcpy(&sin, sa, sizeof(sin));
	family = sin.sin_family;
	if (family == AF_INET) {
		*out = netaddr_ip4(ntohl(sin.sin_addr.s_addr), ntohs(sin.sin_port));
		return true;
	}
	if (family != AF_INET6 || len < sizeof(sin6))
		return false;
	memcpy(&sin6, sa, sizeof(sin6));
	if (memcmp(&sin6.sin6_addr, mapped, sizeof(mapped)) == 0) {
		*out = (struct netaddr){.family = NETADDR_IP4, .port = ntohs(sin6.sin6_port)};
		memcpy(out->ip, sin6.sin6_addr.s6_addr + 12, 4);
		return true;
	}
	*out = netaddr_ip6(sin6.sin6_addr.s6_addr, ntohs(sin6.sin6_port));
	if (netaddr_is_link_local(out))
		out->ifindex = sin6.sin6_scope_id;
	return true;
}

/* What GOVPN_UDP_OFFLOAD leaves of `what` ("gso" or "gro"). */
static bool offload_wanted(const char *what)
{
	const char *limit = getenv("GOVPN_UDP_OFFLOAD");

	return limit == NULL || strcmp(limit, "all") == 0 || strcmp(limit, what) == 0;
}

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

/* Large buffers are a wish: without CAP_NET_ADMIN the system's limits apply. */
static void set_buffers(int fd)
{
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES) < 0)
		(void)set_int(fd, SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES);
	if (set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES) < 0)
		(void)set_int(fd, SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES);
}

static int set_options(int fd, bool is_ip6)
{
	int r;

	if (is_ip6) {
		r = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
		if (r == 0)
			r = set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
		if (r == 0)
			r = set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
		if (r == 0)
			r = set_int(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
	} else {
		r = set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
		if (r == 0)
			r = set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
	}
	if (r < 0)
		return err_here(r);
	set_buffers(fd);
	/* Only tells how many were lost here. */
	(void)set_int(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
	/* Kernels before 5.0 have no UDP_GRO: they give one datagram at a time, which works as well. */
	if (offload_wanted("gro"))
		(void)set_int(fd, SOL_UDP, UDP_GRO, 1);
	return 0;
}

static int bind_result(int e)
{
	switch (e) {
	case EADDRINUSE:
		return UDP_IN_USE;
	case EADDRNOTAVAIL:
	case ENODEV:
		return UDP_BAD_ADDRESS;
	case EACCES:
	case EPERM:
		return UDP_DENIED;
	default:
		return err_here(-e);
	}
}

int udp_open(const struct netaddr *bind_to, struct udp *out)
{
	struct udp_sockaddr sa;
	bool is_ip6 = bind_to->family == NETADDR_IP6;
	int fd = socket(is_ip6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	                IPPROTO_UDP);

	if (fd < 0)
		return errno == EAFNOSUPPORT ? UDP_NO_FAMILY : err_here(-errno);
	int r = set_options(fd, is_ip6);
	if (r < 0) {
		close(fd);
		return err_up(r);
	}
	udp_sockaddr_from(bind_to, &sa);
	if (bind(fd, (const struct sockaddr *)&sa.ss, sa.len) != 0) {
		r = bind_result(errno);
		close(fd);
		/* With IPv6 switched off (disable_ipv6) even the any address cannot be bound. */
		if (r == UDP_BAD_ADDRESS && is_ip6 && netaddr_is_any(bind_to))
			return UDP_NO_FAMILY;
		return r;
	}
	*out = udp_adopt(fd);
	return UDP_OK;
}

struct udp udp_adopt(int fd)
{
	struct udp u = UDP_NULL;
	int domain = 0, on = 0;
	socklen_t len = sizeof(domain);

	if (fd < 0)
		return u;
	u.fd = fd;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0)
		u.family = domain == AF_INET6 ? NETADDR_IP6 : NETADDR_IP4;
	len = sizeof(on);
	u.gro = getsockopt(fd, SOL_UDP, UDP_GRO, &on, &len) == 0 && on != 0;
	len = sizeof(on);
	u.gso = offload_wanted("gso") && getsockopt(fd, SOL_UDP, UDP_SEGMENT, &on, &len) == 0;
	return u;
}

void udp_close(struct udp *u)
{
	if (u->fd >= 0)
		close(u->fd);
	*u = UDP_NULL;
}

int udp_local(const struct udp *u, struct netaddr *out)
{
	struct udp_sockaddr sa = {.len = sizeof(sa.ss)};

	if (getsockname(u->fd, (struct sockaddr *)&sa.ss, &sa.len) != 0)
		return err_here(-errno);
	if (!udp_sockaddr_to(&sa.ss, sa.len, out))
		return err_here(-EAFNOSUPPORT);
	return 0;
}

static int send_result(int e)
{
	switch (e) {
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return UDP_AGAIN;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETDOWN:
	case ENODEV:
	case ENXIO:
	case EADDRNOTAVAIL:
	case EINVAL: /* the chosen source is no address of ours any more */
		return UDP_UNREACHABLE;
	case EPERM:
	case EACCES:
		return UDP_DENIED;
	case EMSGSIZE:
		return UDP_TOO_BIG;
	case ECONNREFUSED:
	case ECONNRESET:
	case EPROTO:
		return UDP_REFUSED;
	default:
		return err_here(-e);
	}
}

static void put_control(struct msghdr *m, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)(void *)((char *)m->msg_control + m->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	m->msg_controllen += CMSG_SPACE(len);
}

/* Source address and interface; nothing when neither is asked for. m->msg_controllen grows. */
static void put_source(struct msghdr *m, const struct netaddr *local)
{
	if (local->family == NETADDR_IP4 && (local->ifindex != 0 || !netaddr_is_any(local))) {
		struct in_pktinfo info = {.ipi_ifindex = (int)local->ifindex};

		memcpy(&info.ipi_spec_dst, local->ip, 4);
		put_control(m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else if (local->family == NETADDR_IP6 &&
	           (local->ifindex != 0 || !netaddr_is_any(local))) {
		struct in6_pktinfo info = {.ipi6_ifindex = local->ifindex};

		memcpy(&info.ipi6_addr, local->ip, 16);
		put_control(m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

/* One call per datagram, gathered by sendmmsg: for systems without GSO. */
static int send_singly(struct udp *u, struct msghdr *head, const struct batch *b, unsigned *sent)
{
	struct mmsghdr m[BATCH_MAX_COUNT];
	struct iovec iov[BATCH_MAX_COUNT];
	unsigned done = 0;
	int r = UDP_OK;

	for (unsigned i = 0; i < b->count; i++) {
		struct pkt p = batch_datagram(b, i);

		iov[i] = (struct iovec){.iov_base = p.data, .iov_len = p.len};
		m[i] = (struct mmsghdr){.msg_hdr = *head};
		m[i].msg_hdr.msg_iov = &iov[i];
	}
	while (done < b->count) {
		int n = sendmmsg(u->fd, m + done, b->count - done, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r = send_result(errno);
			break;
		}
		done += (unsigned)n;
	}
	*sent = done;
	return r;
}

/* The kernel or the device on the way cannot cut trains, or says the same for some other wrong of this send. */
static bool may_mean_no_gso(int e)
{
	return e == EIO || e == EINVAL || e == ENOPROTOOPT || e == EOPNOTSUPP;
}

int udp_send_batch(struct udp *u, const struct netaddr *local, const struct netaddr *remote,
                   const struct batch *b, unsigned *sent)
{
	struct udp_sockaddr to;
	union send_control control;
	struct iovec iov = {.iov_base = b->data, .iov_len = b->len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
	unsigned done = 0;
	ssize_t n;

	if (sent != NULL)
		*sent = 0;
	if (b->count == 0)
		return UDP_OK;
	memset(&control, 0, sizeof(control));
	udp_sockaddr_from(remote, &to);
	m.msg_name = &to.ss;
	m.msg_namelen = to.len;
	put_source(&m, local);
	size_t source_bytes = m.msg_controllen;
	if (b->count > 1 && u->gso)
		put_control(&m, SOL_UDP, UDP_SEGMENT, &b->size, sizeof(b->size));
	if (m.msg_controllen == 0)
		m.msg_control = NULL;

	if (b->count == 1 || u->gso) {
		do {
			n = sendmsg(u->fd, &m, 0);
		} while (n < 0 && errno == EINTR);
		if (n >= 0 && sent != NULL)
			*sent = b->count;
		if (n >= 0)
			return UDP_OK;
		if (b->count == 1 || !may_mean_no_gso(errno))
			return send_result(errno);
		m.msg_controllen = source_bytes;
		if (source_bytes == 0)
			m.msg_control = NULL;
	}
	int r = send_singly(u, &m, b, &done);
	/* The same train went through uncut: it was the cutting that failed, and will fail again. */
	if (r == UDP_OK)
		u->gso = false;
	if (sent != NULL)
		*sent = done;
	return r;
}

int udp_send(struct udp *u, const struct netaddr *local, const struct netaddr *remote,
             const void *data, size_t len)
{
	struct udp_sockaddr to;
	union send_control control;
	struct iovec iov = {.iov_len = len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
	ssize_t n;

	/* struct iovec has no const; sendmsg() does not write. */
	memcpy(&iov.iov_base, &data, sizeof(data));
	memset(&control, 0, sizeof(control));
	udp_sockaddr_from(remote, &to);
	m.msg_name = &to.ss;
	m.msg_namelen = to.len;
	put_source(&m, local);
	if (m.msg_controllen == 0)
		m.msg_control = NULL;
	do {
		n = sendmsg(u->fd, &m, 0);
	} while (n < 0 && errno == EINTR);
	return n >= 0 ? UDP_OK : send_result(errno);
}

size_t udp_unsent(const struct udp *u)
{
	int bytes = 0;

	if (u->fd < 0 || ioctl(u->fd, SIOCOUTQ, &bytes) != 0 || bytes < 0)
		return 0;
	return (size_t)bytes;
}

/* Copies the value of a control message of this kind. False: it is another one, or too short for it. */
static bool control_is(const struct msghdr *m, const struct cmsghdr *c, int level, int type,
                       void *out, size_t n)
{
	size_t at = (size_t)((const char *)c - (const char *)m->msg_control);

	if (c->cmsg_level != level || c->cmsg_type != type || c->cmsg_len < CMSG_LEN(n) ||
	    CMSG_LEN(n) > m->msg_controllen - at)
		return false;
	memcpy(out, CMSG_DATA(c), n);
	return true;
}

/* Fills local address, interface, segment size and losses from the control data. */
static void read_control(struct udp *u, struct msghdr *m, struct udp_train *t)
{
	struct in_pktinfo info4;
	struct in6_pktinfo info6;
	uint32_t total;
	int size;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		if (control_is(m, c, IPPROTO_IP, IP_PKTINFO, &info4, sizeof(info4))) {
			t->local = netaddr_ip4(ntohl(info4.ipi_addr.s_addr), 0);
			t->local.ifindex = (uint32_t)info4.ipi_ifindex;
		} else if (control_is(m, c, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6))) {
			t->local = netaddr_ip6(info6.ipi6_addr.s6_addr, 0);
			t->local.ifindex = info6.ipi6_ifindex;
		} else if (control_is(m, c, SOL_UDP, UDP_GRO, &size, sizeof(size))) {
			if (size > 0 && (size_t)size < t->len)
				t->size = (size_t)size;
		} else if (control_is(m, c, SOL_SOCKET, SO_RXQ_OVFL, &total, sizeof(total))) {
			t->lost = total - u->lost_told;
			u->lost_told = total;
		}
	}
}

int udp_recv(struct udp *u, void *buf, size_t size, struct udp_train *out)
{
	for (unsigned i = 0; i < RECV_RETRIES; i++) {
		struct udp_sockaddr from;
		union recv_control control;
		struct iovec iov = {.iov_base = buf, .iov_len = size};
		struct msghdr m = {.msg_name = &from.ss,
		                   .msg_namelen = sizeof(from.ss),
		                   .msg_iov = &iov,
		                   .msg_iovlen = 1,
		                   .msg_control = &control,
		                   .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(u->fd, &m, 0);

		if (n < 0 && (errno == EBADF || errno == ENOTSOCK || errno == EFAULT))
			return err_here(-errno);
		if (n < 0 && errno == EAGAIN)
			return UDP_AGAIN;
		/* An error of an earlier datagram, or one that was cut off: look at the next. */
		if (n < 0 || (m.msg_flags & MSG_TRUNC) != 0)
			continue;
		*out = (struct udp_train){.len = (size_t)n, .size = (size_t)n};
		if (!udp_sockaddr_to(&from.ss, m.msg_namelen, &out->remote))
			continue;
		read_control(u, &m, out);
		return UDP_OK;
	}
	return UDP_AGAIN;
}
