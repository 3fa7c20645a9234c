/* SPDX-License-Identifier: MIT */

/*
 * One half of a tunnel without signaling, ICE and handshake: a data plane with fixed keys between two computers.
 *
 *   dataplane_pair a|b LOCAL REMOTE        outer addresses; the tunnel is 10.77.0.1 (a) and 10.77.0.2 (b)
 *
 * Prints "ready" once packets pass, and its counters as one JSON line when it gets SIGTERM. A second network
 * interface is never touched, so it can be run in a namespace next to others.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypto/record.h"
#include "engine/dataplane/dataplane.h"
#include "io/route.h"
#include "io/tun.h"
#include "io/udp.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT        4077
#define MTU         1380
#define NET         1
#define PEER        2
#define LINK        3
#define PREFIX_BITS 24

static volatile sig_atomic_t stopped;

struct half {
	bool is_a;
	struct dataplane *dataplane;
	struct tun_pool *pool;
	struct tun tun;
	struct dataplane_stats net, peer;
	struct dataplane_link_shared link;
};

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

static void must(int r, const char *what)
{
	if (r == 0)
		return;
	fprintf(stderr, "dataplane_pair: %s: %d\n", what, r);
	exit(1);
}

static struct netaddr parse(const char *text, uint16_t port)
{
	struct netaddr a;

	if (!netaddr_parse_ip(text, &a))
		must(-1, text);
	a.port = port;
	return a;
}

static void make_interface(struct half *h, const struct netaddr *ip4, const struct netaddr *ip6)
{
	struct route *route;

	must(tun_pool_open(&h->pool, 1, NULL), "tun_pool_open");
	must(tun_attach(h->pool, "gvt0", &h->tun, NULL), "tun_attach");
	must(route_open(&route), "route_open");
	must(route_link_up(route, h->tun.ifindex, MTU, dataplane_train_packets(MTU)),
	     "route_link_up");
	must(route_addr_add(route, h->tun.ifindex, ip4, PREFIX_BITS), "address");
	must(route_addr_add(route, h->tun.ifindex, ip6, 64), "address");
	route_free(route);
}

static struct record *make_record(bool is_a)
{
	struct record_keys keys = {
		.role = is_a ? RECORD_ROLE_CLIENT : RECORD_ROLE_SERVER,
		.nonce_start = is_a ? UINT64_C(1) << 32 : UINT64_C(1) << 33,
	};
	struct record *record;

	memset(keys.client_key, 0x11, sizeof(keys.client_key));
	memset(keys.server_key, 0x22, sizeof(keys.server_key));
	memset(keys.client_salt, 0x33, sizeof(keys.client_salt));
	memset(keys.server_salt, 0x44, sizeof(keys.server_salt));
	must(record_new(&record, &keys, AEAD_BACKEND_AUTO), "record_new");
	return record;
}

static void start(struct half *h, const char *local_text, const char *remote_text)
{
	struct netaddr ip[2] = {parse("10.77.0.1", 0), parse("10.77.0.2", 0)};
	struct netaddr ip6[2] = {parse("fd77::1", 0), parse("fd77::2", 0)};
	int own = h->is_a ? 0 : 1, other = 1 - own;
	struct netaddr local = parse(local_text, PORT), remote = parse(remote_text, PORT);
	struct udp udp;

	make_interface(h, &ip[own], &ip6[own]);
	must(udp_open(&local, &udp), "udp_open");
	must(dataplane_new(&h->dataplane), "dataplane_new");
	const struct dataplane_net_config net = {
		.tun_fd = h->tun.fd,
		.udp4_fd = local.family == NETADDR_IP4 ? udp.fd : -1,
		.udp6_fd = local.family == NETADDR_IP6 ? udp.fd : -1,
		.tun_keep = true,
		.tun_vnet_hdr = h->tun.vnet_hdr,
		.tun_uso = h->tun.uso,
		.mtu = MTU,
		.ip4 = ip[own],
		.ip6 = ip6[own],
		.prefix4 = netprefix_of(&ip[own], PREFIX_BITS),
		.prefix6 = netprefix_of(&ip6[own], 64),
	};
	const struct dataplane_peer_config peer = {.ip4 = ip[other], .ip6 = ip6[other]};
	const struct dataplane_keys_config keys = {
		.record = make_record(h->is_a),
		.role = h->is_a ? DATAPLANE_DTLS_CLIENT : DATAPLANE_DTLS_SERVER,
		.sctp_local_port = 5000,
		.sctp_remote_port = 5000,
		.max_message_bytes = 262144,
		.zero_checksum = true,
	};
	atomic_store(&h->link.send_until_us, CLOCK_NEVER);
	must(dataplane_net_add(h->dataplane, NET, &net, &h->net), "net_add");
	must(dataplane_peer_add(h->dataplane, NET, PEER, &peer, &h->peer), "peer_add");
	must(dataplane_link_add(h->dataplane, PEER, LINK, h->is_a ? "aaaa" : "bbbb",
	                        h->is_a ? 1 : 2, &h->link),
	     "link_add");
	must(dataplane_link_addr(h->dataplane, LINK, &remote), "link_addr");
	must(dataplane_link_path(h->dataplane, LINK, &local, &remote), "link_path");
	must(dataplane_link_keys(h->dataplane, LINK, &keys), "link_keys");
	must(dataplane_link_start(h->dataplane, LINK), "link_start");
}

static void handle(struct half *h, const struct dataplane_event *e)
{
	static const char hello[] = "hello";

	switch (e->type) {
	case DATAPLANE_EVENT_CTL_OPEN:
		if (h->is_a)
			must(dataplane_ctl_send(h->dataplane, LINK, hello, sizeof(hello)), "ctl");
		break;
	case DATAPLANE_EVENT_CTL:
		/* b answers the hello of a; each may pass packets once it has the other's. */
		if (!h->is_a)
			must(dataplane_ctl_send(h->dataplane, LINK, hello, sizeof(hello)), "ctl");
		must(dataplane_link_allow_ip(h->dataplane, LINK), "allow_ip");
		must(dataplane_link_tunnel(h->dataplane, LINK), "tunnel");
		if (h->is_a)
			must(dataplane_link_open_ip(h->dataplane, LINK), "open_ip");
		break;
	case DATAPLANE_EVENT_IP_OPEN:
		puts("ready");
		break;
	case DATAPLANE_EVENT_LINK_DOWN:
		puts("down");
		break;
	case DATAPLANE_EVENT_TUN_LOST:
		puts("tun lost");
		break;
	case DATAPLANE_EVENT_STUN:
	case DATAPLANE_EVENT_HANDSHAKE:
	case DATAPLANE_EVENT_ALERT:
	case DATAPLANE_EVENT_LINK_GONE:
	case DATAPLANE_EVENT_PEER_GONE:
	case DATAPLANE_EVENT_NET_GONE:
		printf("event %d\n", (int)e->type);
		break;
	}
}

static void print_stats(const char *name, struct dataplane_stats *st)
{
	printf("\"%s\":{\"rx_packets\":%llu,\"rx_bytes\":%llu,\"tx_packets\":%llu,\"tx_bytes\":%llu",
	       name, (unsigned long long)atomic_load(&st->rx_packets),
	       (unsigned long long)atomic_load(&st->rx_bytes),
	       (unsigned long long)atomic_load(&st->tx_packets),
	       (unsigned long long)atomic_load(&st->tx_bytes));
	for (int i = 0; i < DATAPLANE_DROPS; i++)
		printf(",\"%s\":%llu", dataplane_drop_name((enum dataplane_drop)i),
		       (unsigned long long)atomic_load(&st->drop[i]));
	printf("}");
}

int main(int argc, char **argv)
{
	static struct half h;

	if (argc != 4 || (strcmp(argv[1], "a") != 0 && strcmp(argv[1], "b") != 0)) {
		fprintf(stderr, "usage: dataplane_pair a|b LOCAL REMOTE\n");
		return 2;
	}
	h.is_a = argv[1][0] == 'a';
	setvbuf(stdout, NULL, _IOLBF, 0);
	struct sigaction action = {.sa_handler = stop};
	sigaction(SIGTERM, &action, NULL);
	start(&h, argv[2], argv[3]);

	while (!stopped) {
		struct pollfd p = {.fd = dataplane_event_fd(h.dataplane), .events = POLLIN};
		const struct dataplane_event *e;

		poll(&p, 1, 1000);
		while ((e = dataplane_event(h.dataplane)) != NULL) {
			handle(&h, e);
			dataplane_event_done(h.dataplane, e);
		}
	}
	dataplane_free(h.dataplane);
	tun_detach(h.pool, &h.tun);
	tun_pool_free(h.pool);
	printf("{");
	print_stats("net", &h.net);
	printf(",");
	print_stats("peer", &h.peer);
	printf(",\"srtt_us\":%u}\n", (unsigned)atomic_load(&h.link.srtt_us));
	return 0;
}
