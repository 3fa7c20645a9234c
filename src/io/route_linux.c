/* SPDX-License-Identifier: MIT */

#include "io/route.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* What the kernel sends at once in a dump is at most this long. */
#define RECEIVE_BYTES 32768
#define REQUEST_BYTES 512
/* A dump that changed while it was read is read again this often. */
#define DUMP_TRIES 8

static const struct timeval answer_limit = {.tv_sec = 1};

struct route {
	struct mnl_socket *ask;   /* requests and their answers */
	struct mnl_socket *watch; /* notices; non-blocking */
	uint32_t seq;
	_Alignas(struct nlmsghdr) uint8_t in[RECEIVE_BYTES];
};

/* A growing array of one of the public structs. */
struct list {
	uint8_t *data; /* owned */
	size_t n, cap, item_bytes;
	int err; /* 0, or why an entry could not be added */
};

/* Walks over attributes; stops at the first malformed one. */
struct attrs {
	const uint8_t *p, *end;
};

/* Of a message, behind its fixed header. */
static struct attrs attrs_of(const struct nlmsghdr *h, size_t header_bytes)
{
	return (struct attrs){.p = mnl_nlmsg_get_payload_offset(h, header_bytes),
	                      .end = (const uint8_t *)h + h->nlmsg_len};
}

/* Inside an attribute, behind `skip` bytes. */
static struct attrs attrs_in(const struct nlattr *nest, size_t skip)
{
	const uint8_t *p = mnl_attr_get_payload(nest);
	size_t n = mnl_attr_get_payload_len(nest);

	return (struct attrs){.p = p + GV_MIN(skip, n), .end = p + n};
}

static const struct nlattr *attrs_next(struct attrs *it)
{
	const struct nlattr *a = (const struct nlattr *)(const void *)it->p;
	ptrdiff_t left = it->end - it->p;

	if (left < (ptrdiff_t)sizeof(*a) || a->nla_len < sizeof(*a) || a->nla_len > left)
		return NULL;
	it->p += GV_MIN((ptrdiff_t)MNL_ALIGN(a->nla_len), left);
	return a;
}

/* The fixed header of a message; NULL: the message is too short for one. */
static const void *header_of(const struct nlmsghdr *h, size_t bytes)
{
	return mnl_nlmsg_get_payload_len(h) >= bytes ? mnl_nlmsg_get_payload(h) : NULL;
}

/* 0 for an attribute that holds no such number. */
static uint32_t attr_u32(const struct nlattr *a)
{
	return mnl_attr_get_payload_len(a) >= sizeof(uint32_t) ? mnl_attr_get_u32(a) : 0;
}

static void *list_add(struct list *l)
{
	if (l->n == ROUTE_LIST_MAX)
		return NULL; /* more than any sane system has: what we have must do */
	if (l->n == l->cap) {
		size_t cap = l->cap == 0 ? 32 : l->cap * 2;
		void *data = mem_resize(l->data, cap, l->item_bytes);
		if (data == NULL) {
			l->err = err_here(-ENOMEM);
			return NULL;
		}
		l->data = data;
		l->cap = cap;
	}
	void *item = l->data + l->n++ * l->item_bytes;
	memset(item, 0, l->item_bytes);
	return item;
}

static int open_socket(struct mnl_socket **out, int flags, unsigned groups)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | flags);

	if (s == NULL)
		return err_here(-errno);
	if (mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) < 0) {
		int r = -errno;
		(void)mnl_socket_close(s); /* nothing was sent */
		return err_here(r);
	}
	*out = s;
	return 0;
}

int route_open(struct route **out)
{
	gv_cleanup(route_freep) struct route *r = mem_new(struct route);

	if (r == NULL)
		return err_here(-ENOMEM);
	int res = open_socket(&r->ask, 0, 0);
	if (res < 0)
		return err_up(res);
	/* The kernel answers before the request returns; should it not, we must not hang. */
	if (setsockopt(mnl_socket_get_fd(r->ask), SOL_SOCKET, SO_RCVTIMEO, &answer_limit,
	               sizeof(answer_limit)) != 0)
		return err_here(-errno);
	res = open_socket(&r->watch, SOCK_NONBLOCK,
	                  RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
	                          RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE);
	if (res < 0)
		return err_up(res);
	*out = GV_STEAL(r);
	return 0;
}

void route_free(struct route *r)
{
	if (r == NULL)
		return;
	if (r->ask != NULL)
		(void)mnl_socket_close(r->ask);
	if (r->watch != NULL)
		(void)mnl_socket_close(r->watch);
	mem_free(r);
}

/* Every length is inside the datagram. libmnl takes those from 2^31 on for negative ones, which end everywhere. */
static bool is_sound(const void *data, size_t n)
{
	const uint8_t *p = data;
	struct nlmsghdr h;

	while (n >= sizeof(h)) {
		memcpy(&h, p, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > n)
			return false;
		size_t step = GV_MIN((size_t)MNL_ALIGN(h.nlmsg_len), n);
		p += step;
		n -= step;
	}
	return true;
}

/* A datagram holds messages of one request only: it is the answer to ours, or to one given up. */
static bool is_answer(const void *data, size_t n, uint32_t seq)
{
	const struct nlmsghdr *h = data;

	return n >= sizeof(*h) && h->nlmsg_seq == seq;
}

/* Sends a request and runs the answers through cb. Returns 0 or the kernel's -errno. */
static int transact(struct route *r, struct nlmsghdr *req, mnl_cb_t cb, void *user)
{
	req->nlmsg_seq = ++r->seq;
	if (mnl_socket_sendto(r->ask, req, req->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(r->ask, r->in, sizeof(r->in));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!is_answer(r->in, (size_t)n, req->nlmsg_seq))
			continue;
		if (!is_sound(r->in, (size_t)n))
			return -EBADMSG;
		int res = mnl_cb_run(r->in, (size_t)n, req->nlmsg_seq, 0, cb, user);
		if (res < 0)
			return -errno;
		if (res == MNL_CB_STOP)
			return 0;
	}
}

static struct nlmsghdr *request(void *buffer, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);

	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	return h;
}

/* Names what the kernel said to a change. */
static int change_result(int r)
{
	switch (-r) {
	case 0:
		return ROUTE_OK;
	case EPERM:
		return ROUTE_DENIED;
	case ENODEV:
		return ROUTE_NO_LINK;
	case EACCES: /* IPv6 disabled on the interface */
	case EAFNOSUPPORT:
	case EOPNOTSUPP:
		return ROUTE_NO_FAMILY;
	default:
		return err_here(r);
	}
}

/* Begins a request that changes one interface. */
static struct nlmsghdr *link_request(void *buffer, uint32_t ifindex, unsigned up)
{
	struct nlmsghdr *h = request(buffer, RTM_NEWLINK, NLM_F_ACK);
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(h, sizeof(*link));

	link->ifi_family = AF_UNSPEC;
	link->ifi_index = (int)ifindex;
	link->ifi_flags = up;
	link->ifi_change = up;
	return h;
}

int route_link_up(struct route *r, uint32_t ifindex, uint32_t mtu_bytes, uint32_t gso_packets)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[REQUEST_BYTES];

	struct nlmsghdr *h = link_request(buffer, ifindex, 0);
	struct nlattr *spec = mnl_attr_nest_start(h, IFLA_AF_SPEC);
	struct nlattr *inet6 = mnl_attr_nest_start(h, AF_INET6);
	mnl_attr_put_u8(h, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(h, inet6);
	mnl_attr_nest_end(h, spec);
	int res = change_result(transact(r, h, NULL, NULL));
	/* A computer without IPv6 makes no link-local address either. */
	if (res == ROUTE_DENIED || res == ROUTE_NO_LINK)
		return res;

	if (gso_packets > 0) {
		h = link_request(buffer, ifindex, 0);
		mnl_attr_put_u32(h, IFLA_GSO_MAX_SEGS, gso_packets);
		/* Only speed depends on it, and old kernels refuse. */
		(void)transact(r, h, NULL, NULL);
	}

	h = link_request(buffer, ifindex, IFF_UP);
	mnl_attr_put_u32(h, IFLA_MTU, mtu_bytes);
	return change_result(transact(r, h, NULL, NULL));
}

static uint8_t family_of(const struct netaddr *a)
{
	return a->family == NETADDR_IP4 ? AF_INET : AF_INET6;
}

int route_addr_add(struct route *r, uint32_t ifindex, const struct netaddr *addr, uint8_t bits)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[REQUEST_BYTES];
	struct nlmsghdr *h = request(buffer, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
	struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	m->ifa_family = family_of(addr);
	m->ifa_prefixlen = bits;
	m->ifa_index = ifindex;
	/*
	 * Nobody else can hold the address: it follows from a key. Waiting for duplicates would
	 * delay IPv6.
	 */
	m->ifa_flags = addr->family == NETADDR_IP6 ? IFA_F_NODAD : 0;
	mnl_attr_put(h, IFA_LOCAL, netaddr_ip_size(addr), addr->ip);
	mnl_attr_put(h, IFA_ADDRESS, netaddr_ip_size(addr), addr->ip);
	int res = transact(r, h, NULL, NULL);
	return res == -EEXIST ? ROUTE_OK : change_result(res);
}

static void put_route(struct nlmsghdr *h, const struct netprefix *dst, uint32_t ifindex)
{
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	m->rtm_family = family_of(&dst->addr);
	m->rtm_dst_len = dst->bits;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = dst->addr.family == NETADDR_IP4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	mnl_attr_put(h, RTA_DST, netaddr_ip_size(&dst->addr), dst->addr.ip);
	mnl_attr_put_u32(h, RTA_OIF, ifindex);
}

int route_add(struct route *r, const struct netprefix *dst, uint32_t ifindex)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[REQUEST_BYTES];
	struct nlmsghdr *h = request(buffer, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);

	put_route(h, dst, ifindex);
	int res = transact(r, h, NULL, NULL);
	return res == -EEXIST ? ROUTE_EXISTS : change_result(res);
}

int route_del(struct route *r, const struct netprefix *dst, uint32_t ifindex)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[REQUEST_BYTES];
	struct nlmsghdr *h = request(buffer, RTM_DELROUTE, NLM_F_ACK);

	put_route(h, dst, ifindex);
	int res = transact(r, h, NULL, NULL);
	return res == -ESRCH || res == -ENODEV ? ROUTE_OK : change_result(res);
}

/* Reads a whole dump into `l`, again when it changed meanwhile. */
static int dump(struct route *r, uint16_t type, size_t header_bytes, mnl_cb_t cb, struct list *l)
{
	for (int i = 0;; i++) {
		_Alignas(struct nlmsghdr) uint8_t buffer[REQUEST_BYTES];
		struct nlmsghdr *h = request(buffer, type, NLM_F_DUMP);
		(void)mnl_nlmsg_put_extra_header(h, header_bytes); /* zeroed: every family */
		l->n = 0;
		int res = transact(r, h, cb, l);
		if (res == 0)
			res = l->err;
		if (res == -EINTR && i < DUMP_TRIES)
			continue;
		if (res < 0) {
			mem_free(GV_STEAL(l->data));
			return err_here(res);
		}
		return 0;
	}
}

/* Kinds of IFLA_INFO_KIND that carry packets inside packets. */
static bool is_tunnel_kind(const char *kind)
{
	static const char *const kinds[] = {
		"tun", "wireguard", "amneziawg", "ovpn",   "ovpn-dco",  "ipip",
		"sit", "gre",       "gretap",    "ip6gre", "ip6gretap", "ip6tnl",
		"vti", "vti6",      "xfrm",      "erspan", "geneve",    "vxlan",
		"fou", "bareudp",   "gtp",       "nebula",
	};

	for (size_t i = 0; i < GV_ARRAY_SIZE(kinds); i++) {
		if (strcmp(kind, kinds[i]) == 0)
			return true;
	}
	return false;
}

static bool info_kind(const struct nlattr *info, char *out, size_t out_size)
{
	struct attrs it = attrs_in(info, 0);
	const struct nlattr *a;

	while ((a = attrs_next(&it)) != NULL) {
		if (mnl_attr_get_type(a) != IFLA_INFO_KIND ||
		    mnl_attr_validate(a, MNL_TYPE_STRING) < 0)
			continue;
		size_t len = strnlen(mnl_attr_get_str(a), mnl_attr_get_payload_len(a));
		if (len >= out_size)
			return false;
		memcpy(out, mnl_attr_get_str(a), len);
		out[len] = '\0';
		return true;
	}
	return false;
}

static enum route_link_kind kind_of(const struct ifinfomsg *m, const struct nlattr *info)
{
	char kind[32];

	if ((m->ifi_flags & IFF_LOOPBACK) != 0)
		return ROUTE_LINK_LOOPBACK;
	if (info != NULL && info_kind(info, kind, sizeof(kind)) && is_tunnel_kind(kind))
		return ROUTE_LINK_TUNNEL;
	switch (m->ifi_type) {
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
		return ROUTE_LINK_TUNNEL;
	default:
		return ROUTE_LINK_OTHER;
	}
}

static int on_link(const struct nlmsghdr *h, void *user)
{
	const struct ifinfomsg *m = header_of(h, sizeof(*m));
	struct list *l = user;
	const struct nlattr *info = NULL;
	struct attrs it = attrs_of(h, sizeof(*m));
	const struct nlattr *a;

	if (m == NULL || h->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	struct route_link *link = list_add(l);
	if (link == NULL)
		return l->err < 0 ? MNL_CB_STOP : MNL_CB_OK;
	link->ifindex = (uint32_t)m->ifi_index;
	link->up = (m->ifi_flags & IFF_UP) != 0 && (m->ifi_flags & IFF_RUNNING) != 0;
	while ((a = attrs_next(&it)) != NULL) {
		switch (mnl_attr_get_type(a)) {
		case IFLA_IFNAME:
			if (mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0 &&
			    strlen(mnl_attr_get_str(a)) < sizeof(link->name))
				memcpy(link->name, mnl_attr_get_str(a),
				       strlen(mnl_attr_get_str(a)) + 1);
			break;
		case IFLA_MTU:
			link->mtu = attr_u32(a);
			break;
		case IFLA_LINKINFO:
			info = a;
			break;
		default:
			break;
		}
	}
	link->kind = kind_of(m, info);
	return MNL_CB_OK;
}

int route_links(struct route *r, struct route_link **out, size_t *count)
{
	struct list l = {.item_bytes = sizeof(struct route_link)};
	int res = dump(r, RTM_GETLINK, sizeof(struct ifinfomsg), on_link, &l);

	if (res < 0)
		return err_up(res);
	*out = (struct route_link *)(void *)l.data;
	*count = l.n;
	return 0;
}

static bool copy_ip(struct netaddr *out, uint8_t family, const struct nlattr *a)
{
	size_t n = family == AF_INET ? 4 : 16;

	if ((family != AF_INET && family != AF_INET6) || mnl_attr_get_payload_len(a) != n)
		return false;
	memset(out, 0, sizeof(*out));
	out->family = family == AF_INET ? NETADDR_IP4 : NETADDR_IP6;
	memcpy(out->ip, mnl_attr_get_payload(a), n);
	return true;
}

static int on_addr(const struct nlmsghdr *h, void *user)
{
	const struct ifaddrmsg *m = header_of(h, sizeof(*m));
	struct list *l = user;
	struct netaddr address = {0}, local = {0};
	struct attrs it = attrs_of(h, sizeof(*m));
	const struct nlattr *a;

	if (m == NULL || h->nlmsg_type != RTM_NEWADDR)
		return MNL_CB_OK;
	uint32_t flags = m->ifa_flags;
	while ((a = attrs_next(&it)) != NULL) {
		switch (mnl_attr_get_type(a)) {
		case IFA_ADDRESS:
			(void)copy_ip(&address, m->ifa_family, a); /* stays empty when malformed */
			break;
		case IFA_LOCAL: /* on point-to-point links IFA_ADDRESS is the other end's */
			(void)copy_ip(&local, m->ifa_family, a);
			break;
		case IFA_FLAGS:
			flags = attr_u32(a);
			break;
		default:
			break;
		}
	}
	const struct netaddr *own = local.family != NETADDR_NONE ? &local : &address;
	if (own->family == NETADDR_NONE)
		return MNL_CB_OK;
	struct route_addr *out = list_add(l);
	if (out == NULL)
		return l->err < 0 ? MNL_CB_STOP : MNL_CB_OK;
	out->ifindex = m->ifa_index;
	out->addr = *own;
	if (netaddr_is_link_local(own))
		out->addr.ifindex = m->ifa_index;
	out->bits = m->ifa_prefixlen;
	out->usable = (flags & (IFA_F_TENTATIVE | IFA_F_DEPRECATED | IFA_F_DADFAILED)) == 0;
	out->temporary = m->ifa_family == AF_INET6 && (flags & IFA_F_TEMPORARY) != 0;
	return MNL_CB_OK;
}

int route_addrs(struct route *r, struct route_addr **out, size_t *count)
{
	struct list l = {.item_bytes = sizeof(struct route_addr)};
	gv_cleanup(mem_freep) struct route_link *links = NULL;
	size_t n_links = 0;

	int res = route_links(r, &links, &n_links);
	if (res < 0)
		return err_up(res);
	res = dump(r, RTM_GETADDR, sizeof(struct ifaddrmsg), on_addr, &l);
	if (res < 0)
		return err_up(res);
	struct route_addr *addrs = (struct route_addr *)(void *)l.data;
	for (size_t i = 0; i < l.n; i++) {
		for (size_t k = 0; k < n_links; k++) {
			if (links[k].ifindex == addrs[i].ifindex)
				addrs[i].kind = links[k].kind;
		}
	}
	*out = addrs;
	*count = l.n;
	return 0;
}

/* The first next hop of a multipath route stands for all. */
static void first_hop(const struct nlattr *multipath, uint8_t family, struct route_entry *out)
{
	const struct rtnexthop *hop = mnl_attr_get_payload(multipath);
	size_t len = mnl_attr_get_payload_len(multipath);

	if (len < sizeof(*hop) || hop->rtnh_len < sizeof(*hop) || hop->rtnh_len > len)
		return;
	out->ifindex = (uint32_t)hop->rtnh_ifindex;
	/* Its attributes end with the hop, not with the attribute around it. */
	struct attrs it = attrs_in(multipath, sizeof(*hop));
	it.end = (const uint8_t *)hop + hop->rtnh_len;
	for (const struct nlattr *a = attrs_next(&it); a != NULL; a = attrs_next(&it)) {
		if (mnl_attr_get_type(a) == RTA_GATEWAY)
			(void)copy_ip(&out->gateway, family, a); /* stays empty when malformed */
	}
}

static int on_route(const struct nlmsghdr *h, void *user)
{
	const struct rtmsg *m = header_of(h, sizeof(*m));
	struct list *l = user;
	struct route_entry e = {0};
	struct attrs it = attrs_of(h, sizeof(*m));
	const struct nlattr *a;

	if (m == NULL || h->nlmsg_type != RTM_NEWROUTE || m->rtm_type != RTN_UNICAST ||
	    (m->rtm_flags & RTM_F_CLONED) != 0 ||
	    (m->rtm_family != AF_INET && m->rtm_family != AF_INET6))
		return MNL_CB_OK;
	uint32_t table = m->rtm_table;
	e.dst.addr.family = m->rtm_family == AF_INET ? NETADDR_IP4 : NETADDR_IP6;
	e.dst.bits = m->rtm_dst_len;
	if (e.dst.bits > netaddr_ip_size(&e.dst.addr) * 8)
		return MNL_CB_OK;
	while ((a = attrs_next(&it)) != NULL) {
		switch (mnl_attr_get_type(a)) {
		case RTA_TABLE:
			table = attr_u32(a);
			break;
		case RTA_DST:
			(void)copy_ip(&e.dst.addr, m->rtm_family, a);
			break;
		case RTA_GATEWAY:
			(void)copy_ip(&e.gateway, m->rtm_family, a);
			break;
		case RTA_OIF:
			e.ifindex = attr_u32(a);
			break;
		case RTA_PRIORITY:
			e.metric = attr_u32(a);
			break;
		case RTA_MULTIPATH:
			first_hop(a, m->rtm_family, &e);
			break;
		default:
			break;
		}
	}
	if (table != RT_TABLE_MAIN)
		return MNL_CB_OK;
	struct route_entry *out = list_add(l);
	if (out == NULL)
		return l->err < 0 ? MNL_CB_STOP : MNL_CB_OK;
	*out = e;
	return MNL_CB_OK;
}

int route_entries(struct route *r, struct route_entry **out, size_t *count)
{
	struct list l = {.item_bytes = sizeof(struct route_entry)};
	int res = dump(r, RTM_GETROUTE, sizeof(struct rtmsg), on_route, &l);

	if (res < 0)
		return err_up(res);
	*out = (struct route_entry *)(void *)l.data;
	*count = l.n;
	return 0;
}

int route_watch_fd(const struct route *r)
{
	return mnl_socket_get_fd(r->watch);
}

struct notice {
	const char *prefix; /* of our interfaces */
	unsigned changes;   /* enum route_change */
};

static bool is_ours(uint32_t ifindex, const char *prefix)
{
	char name[IF_NAMESIZE];

	return ifindex != 0 && if_indextoname(ifindex, name) != NULL &&
	       strncmp(name, prefix, strlen(prefix)) == 0;
}

static uint32_t route_ifindex(const struct nlmsghdr *h)
{
	struct attrs it = attrs_of(h, sizeof(struct rtmsg));
	const struct nlattr *a;

	while ((a = attrs_next(&it)) != NULL) {
		if (mnl_attr_get_type(a) == RTA_OIF)
			return attr_u32(a);
	}
	return 0;
}

static bool link_is_ours(const struct nlmsghdr *h, const char *prefix)
{
	struct attrs it = attrs_of(h, sizeof(struct ifinfomsg));
	const struct nlattr *a;

	/* A deleted link has no name any more but the one in the notice. */
	while ((a = attrs_next(&it)) != NULL) {
		if (mnl_attr_get_type(a) == IFLA_IFNAME &&
		    mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
			return strncmp(mnl_attr_get_str(a), prefix, strlen(prefix)) == 0;
	}
	return false;
}

static unsigned change_of(const struct nlmsghdr *h, const char *prefix)
{
	switch (h->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK: {
		const struct ifinfomsg *m = header_of(h, sizeof(*m));
		if (m == NULL || !link_is_ours(h, prefix))
			return ROUTE_CHANGE_OTHERS;
		/* One that is deleted shows at its descriptor. */
		return h->nlmsg_type == RTM_NEWLINK && (m->ifi_flags & IFF_UP) == 0
		               ? ROUTE_CHANGE_OURS
		               : 0;
	}
	case RTM_NEWADDR:
	case RTM_DELADDR: {
		const struct ifaddrmsg *m = header_of(h, sizeof(*m));
		if (m == NULL || !is_ours(m->ifa_index, prefix))
			return ROUTE_CHANGE_OTHERS;
		return h->nlmsg_type == RTM_DELADDR ? ROUTE_CHANGE_OURS : 0;
	}
	case RTM_NEWROUTE:
	case RTM_DELROUTE: {
		const struct rtmsg *m = header_of(h, sizeof(*m));
		return m == NULL || ((m->rtm_flags & RTM_F_CLONED) == 0 &&
		                     !is_ours(route_ifindex(h), prefix))
		               ? ROUTE_CHANGE_OTHERS
		               : 0;
	}
	default:
		return 0;
	}
}

static int on_notice(const struct nlmsghdr *h, void *user)
{
	struct notice *n = user;

	n->changes |= change_of(h, n->prefix);
	return MNL_CB_OK;
}

unsigned route_watch_take(struct route *r, const char *prefix)
{
	const unsigned unknown = ROUTE_CHANGE_OTHERS | ROUTE_CHANGE_OURS;
	struct notice n = {.prefix = prefix};

	for (;;) {
		ssize_t len = mnl_socket_recvfrom(r->watch, r->in, sizeof(r->in));
		if (len < 0 && errno == ENOBUFS) {
			n.changes = unknown; /* the kernel dropped notices */
			continue;
		}
		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			return n.changes;
		/* A message we cannot read says at least that something happened. */
		if (!is_sound(r->in, (size_t)len) ||
		    mnl_cb_run(r->in, (size_t)len, 0, 0, on_notice, &n) < 0)
			n.changes = unknown;
	}
}
