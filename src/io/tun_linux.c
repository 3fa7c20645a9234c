/* SPDX-License-Identifier: MIT */

#include "io/tun.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Linux 6.2; headers of older systems do not know them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define DEVICE          "/dev/net/tun"
#define VNET_HDR_BYTES  10
#define NETLINK_BYTES   4096
#define NETLINK_REPLIES 4 /* what may stand before our answer */

struct tun_pool {
	struct mnl_socket *netlink; /* owned */
	uint32_t seq;
	unsigned count;
	int fd[TUN_DESCRIPTORS]; /* owned; -1: lost */
	bool used[TUN_DESCRIPTORS];
};

/* From the best to the least; USO4 and USO6 are taken together only, TSO with checksums only. */
static const struct offload {
	const char *name; /* in GOVPN_TUN_OFFLOAD */
	unsigned flags;
	bool vnet_hdr, uso;
} offloads[] = {
	{"uso", TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6, true, true},
	{"tso", TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, true, false},
	{"csum", TUN_F_CSUM, true, false},
	{"none", 0, false, false},
};

static unsigned first_offload(void)
{
	const char *limit = getenv("GOVPN_TUN_OFFLOAD");

	for (unsigned i = 0; limit != NULL && i < GV_ARRAY_SIZE(offloads); i++) {
		if (strcmp(limit, offloads[i].name) == 0)
			return i;
	}
	return 0;
}

static int open_device(struct diag *diag, int *out)
{
	int fd = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0) {
		*out = fd;
		return TUN_OK;
	}
	switch (errno) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		diag_set(diag, "%s is missing: load the tun module of the kernel", DEVICE);
		return TUN_NO_DEVICE;
	case EACCES:
	case EPERM:
		diag_set(diag, "no right to open %s: run as root or with CAP_NET_ADMIN", DEVICE);
		return TUN_DENIED;
	default:
		return err_here(-errno);
	}
}

int tun_pool_open(struct tun_pool **out, unsigned count, struct diag *diag)
{
	struct tun_pool *p = mem_new(struct tun_pool);
	int r = TUN_OK;

	if (p == NULL)
		return err_here(-ENOMEM);
	p->netlink = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (p->netlink == NULL || mnl_socket_bind(p->netlink, 0, MNL_SOCKET_AUTOPID) < 0)
		r = err_here(-errno);
	while (r == TUN_OK && p->count < GV_MIN(count, (unsigned)TUN_DESCRIPTORS)) {
		r = open_device(diag, &p->fd[p->count]);
		if (r == TUN_OK)
			p->count++;
	}
	if (r != TUN_OK) {
		tun_pool_free(p);
		return r;
	}
	*out = p;
	return TUN_OK;
}

void tun_pool_free(struct tun_pool *p)
{
	if (p == NULL)
		return;
	for (unsigned i = 0; i < p->count; i++) {
		if (p->fd[i] >= 0)
			close(p->fd[i]);
	}
	if (p->netlink != NULL)
		(void)mnl_socket_close(p->netlink); /* nothing is pending */
	mem_free(p);
}

/* Waits for the kernel's answer to request `seq`, which it gives before the send returns. Returns 0, -errno. */
static int read_answer(struct tun_pool *p, uint32_t seq)
{
	unsigned portid = mnl_socket_get_portid(p->netlink);
	_Alignas(struct nlmsghdr) uint8_t reply[NETLINK_BYTES];

	for (unsigned i = 0; i < NETLINK_REPLIES; i++) {
		ssize_t n = mnl_socket_recvfrom(p->netlink, reply, sizeof(reply));

		if (n < 0)
			return -errno;
		if (mnl_cb_run(reply, (size_t)n, seq, portid, NULL, NULL) >= 0)
			return 0;
		if (errno != ESRCH && errno != EPROTO) /* those: not the answer to this request */
			return -errno;
	}
	return -EPROTO;
}

/* Returns 0 when the interface is gone afterwards, -errno. */
static int delete_link(struct tun_pool *p, uint32_t ifindex)
{
	_Alignas(struct nlmsghdr) uint8_t request[NETLINK_BYTES];
	struct nlmsghdr *h = mnl_nlmsg_put_header(request);

	h->nlmsg_type = RTM_DELLINK;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	h->nlmsg_seq = ++p->seq;
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(h, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	info->ifi_index = (int)ifindex;
	if (mnl_socket_sendto(p->netlink, h, h->nlmsg_len) < 0)
		return err_here(-errno);
	int r = read_answer(p, p->seq);
	if (r == -ENODEV)
		return 0;
	return r < 0 ? err_here(r) : 0;
}

/* Sets the best offloads that the kernel takes for an attached descriptor. Returns 0, -errno. */
static int set_offloads(int fd, const struct offload *first, struct tun *t)
{
	const struct offload *last = &offloads[GV_ARRAY_SIZE(offloads) - 1];

	for (const struct offload *o = first; o <= last; o++) {
		t->vnet_hdr = o->vnet_hdr;
		t->uso = o->uso;
		if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)o->flags) == 0)
			return 0;
		if (errno != EINVAL)
			break;
	}
	return err_here(-errno);
}

static int attach_result(int e, const char *name, struct diag *diag)
{
	switch (e) {
	case EBUSY:
	case EINVAL: /* the name belongs to an interface of another kind */
		diag_set(diag, "the interface name %s is in use by another program", name);
		return TUN_BUSY;
	case EPERM:
	case EACCES:
		diag_set(diag, "no right to make a network interface: CAP_NET_ADMIN is needed");
		return TUN_DENIED;
	default:
		return err_here(-e);
	}
}

/* Takes back a descriptor that still hangs on its interface: closing ends both; a new one where rights allow. */
static void replace_descriptor(struct tun_pool *p, unsigned i)
{
	close(p->fd[i]);
	p->fd[i] = -1;
	if (open_device(NULL, &p->fd[i]) != TUN_OK)
		p->fd[i] = -1;
}

static int attach_descriptor(struct tun_pool *p, unsigned i, const char *name, struct tun *out,
                             struct diag *diag)
{
	const struct offload *first = &offloads[first_offload()];
	struct tun t = {.fd = p->fd[i]};
	struct ifreq req;
	int header = VNET_HDR_BYTES;

	memset(&req, 0, sizeof(req));
	strncpy(req.ifr_name, name, IFNAMSIZ - 1);
	req.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL);
	if (first->vnet_hdr)
		req.ifr_flags = (short)(req.ifr_flags | IFF_VNET_HDR);
	if (ioctl(t.fd, TUNSETIFF, &req) != 0)
		return attach_result(errno, name, diag);
	memcpy(t.name, req.ifr_name, sizeof(t.name) - 1);
	t.ifindex = if_nametoindex(t.name);
	int r = t.ifindex != 0 ? set_offloads(t.fd, first, &t) : err_here(-errno);
	/* The header stays on even when every offload was refused: the flag cannot be changed any more. */
	t.vnet_hdr = first->vnet_hdr;
	if (r == 0 && t.vnet_hdr && ioctl(t.fd, TUNSETVNETHDRSZ, &header) != 0)
		r = err_here(-errno);
	if (r < 0) {
		if (t.ifindex == 0 || delete_link(p, t.ifindex) < 0)
			replace_descriptor(p, i);
		return r;
	}
	*out = t;
	return TUN_OK;
}

int tun_attach(struct tun_pool *p, const char *name, struct tun *out, struct diag *diag)
{
	if (name[0] == '\0' || strlen(name) >= TUN_NAME_SIZE)
		return err_here(-EINVAL);
	for (unsigned i = 0; i < p->count; i++) {
		if (p->used[i] || p->fd[i] < 0)
			continue;
		int r = attach_descriptor(p, i, name, out, diag);
		if (r == TUN_OK)
			p->used[i] = true;
		return r < 0 ? err_up(r) : r;
	}
	diag_set(diag, "all %u tunnel descriptors are in use", p->count);
	return TUN_NO_MORE;
}

void tun_detach(struct tun_pool *p, struct tun *t)
{
	for (unsigned i = 0; i < p->count; i++) {
		if (!p->used[i] || p->fd[i] != t->fd)
			continue;
		if (delete_link(p, t->ifindex) < 0)
			replace_descriptor(p, i);
		p->used[i] = false;
		break;
	}
	*t = (struct tun){.fd = -1};
}
