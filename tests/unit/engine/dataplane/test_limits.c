/* SPDX-License-Identifier: MIT */

/* What is bounded, and under which reason the rest is counted. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/dataplane/shard.h"
#include "rogue.h"

#include "base/clock.h"

#include <errno.h>

#define US        0x0a090001
#define MULTICAST 0xe00000fb
#define FIRST     1000 /* handle of the first peer that a test adds */

static struct rogue g;
static uint8_t packet[70000];

static void start(enum dataplane_dtls_role role)
{
	if (!rogue_start(&g, role))
		skip();
}

enum {
	EACH = 60,
	BYTES = 100,
	WRITES = 10,
	RATE = 200,
	BURST = 400
};

static uint64_t limited(const struct rogue *r)
{
	return atomic_load(&r->net.drop[DATAPLANE_DROP_TX_LIMITED]);
}

static bool all_counted(const struct rogue *r)
{
	return limited(r) + atomic_load(&r->peer.tx_packets) >= (uint64_t)WRITES * EACH;
}

/* The kernel hands out up to 64 datagrams as one. How many may go grows with the time that this takes. */
static void dataplane_tx_broadcast_super_packet_is_as_many(void **state)
{
	(void)state;
	start(DATAPLANE_DTLS_CLIENT);
	rogue_up(&g);
	size_t len = rogue_packet(packet, US, MULTICAST, (size_t)EACH * BYTES);
	g.tun_write_header = (struct vnet){.flags = VNET_NEEDS_CSUM,
	                                   .gso_type = VNET_GSO_UDP,
	                                   .hdr_len = 28,
	                                   .gso_size = BYTES,
	                                   .csum_start = 20,
	                                   .csum_offset = 6};
	uint64_t began_us = clock_now_us();
	for (unsigned i = 0; i < WRITES; i++)
		rogue_tun_write(&g, packet, len);
	rogue_run(&g, all_counted, "all counted");
	uint64_t allowed = BURST + ((clock_now_us() - began_us) * RATE + 999999) / 1000000;
	uint64_t sent = atomic_load(&g.peer.tx_packets);
	assert_int_equal(sent + limited(&g), WRITES * EACH);
	assert_int_equal(sent % EACH, 0);
	assert_in_range(sent, BURST / EACH * EACH, allowed);
	assert_true(limited(&g) > 0);
	rogue_stop(&g);
}

/* 100 a second, 10 at once. */
static bool take(struct bucket *b, uint64_t now_us, size_t n)
{
	return bucket_take(b, now_us, 100, 10, n);
}

static void dataplane_bucket_is_owed_what_exceeds_the_burst(void **state)
{
	struct bucket b = {0};

	(void)state;
	/* Asking costs nothing. */
	for (unsigned i = 0; i < 20; i++)
		assert_true(bucket_allows(&b, 1000000, 100, 10, 10));
	assert_true(take(&b, 1000000, 25));
	assert_false(take(&b, 1000000, 1));
	assert_false(take(&b, 1159999, 1));
	assert_true(take(&b, 1160000, 1));
	/* Not more than a burst is saved, and one that is not full gives no more than it has. */
	assert_true(take(&b, 9000000, 1));
	assert_false(take(&b, 9000000, 10));
	assert_true(take(&b, 9000000, 9));
	assert_false(take(&b, 9009999, 1));
	assert_true(take(&b, 9010000, 1));
}

static bool peer_gone(const struct rogue *r)
{
	return r->events[DATAPLANE_EVENT_PEER_GONE] > 0;
}

static bool net_gone(const struct rogue *r)
{
	return r->events[DATAPLANE_EVENT_NET_GONE] > 0;
}

static void dataplane_peers_are_bounded(void **state)
{
	static struct dataplane_stats stats;
	const struct dataplane_peer_config c = {.ip4 = {.family = NETADDR_IP4}};
	unsigned added = 2; /* by the rig */
	int r = 0;

	(void)state;
	start(DATAPLANE_DTLS_CLIENT);
	while (added <= DATAPLANE_MAX_PEERS &&
	       (r = dataplane_peer_add(g.d, ROGUE_NET, FIRST + added, &c, &stats)) == 0)
		added++;
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(added, DATAPLANE_MAX_PEERS);
	assert_int_equal(dataplane_peer_del(g.d, FIRST + 2), 0);
	rogue_run(&g, peer_gone, "PEER_GONE");
	rogue_settle(&g); /* deletes one that is not there, which makes no place */
	assert_int_equal(dataplane_peer_add(g.d, ROGUE_NET, FIRST, &c, &stats), 0);
	assert_int_equal(dataplane_peer_add(g.d, ROGUE_NET, FIRST + 1, &c, &stats), -ENOBUFS);
	/* One that does not find its network is gone too, and a network takes its peers with it. */
	assert_int_equal(dataplane_peer_del(g.d, FIRST), 0);
	rogue_settle(&g);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(dataplane_peer_add(g.d, ROGUE_NET + 1, FIRST, &c, &stats), 0);
		rogue_settle(&g);
	}
	assert_int_equal(dataplane_net_del(g.d, ROGUE_NET), 0);
	rogue_run(&g, net_gone, "NET_GONE");
	assert_int_equal(dataplane_peer_add(g.d, ROGUE_NET, FIRST, &c, &stats), 0);
	rogue_settle(&g);
	rogue_stop(&g);
}

/* The socket is bound to loopback, from where nothing leads there. */
static void dataplane_tx_raw_without_route_is_refused(void **state)
{
	struct netaddr far = {.family = NETADDR_IP4, .ip = {203, 0, 113, 1}, .port = 9};

	(void)state;
	start(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(dataplane_send_raw(g.d, ROGUE_NET, &g.local, &far, "x", 1), 0);
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_TX_REFUSED], 1, "tx_refused");
	rogue_stop(&g);
}

/*
 * An alert is no inner packet: it is counted with the network, and says why it was not sent. A server that nobody has
 * connected to has nothing else to send.
 */
static void dataplane_tx_sealed_without_consent_is_counted(void **state)
{
	static const uint8_t alert[2] = {1, 0};

	(void)state;
	start(DATAPLANE_DTLS_SERVER);
	rogue_keys(&g);
	atomic_store(&g.link.send_until_us, 0);
	assert_int_equal(dataplane_send_sealed(g.d, ROGUE_LINK, 21, alert, sizeof(alert)), 0);
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_TX_NO_CONSENT], 1, "tx_no_consent");
	assert_int_equal(atomic_load(&g.peer.drop[DATAPLANE_DROP_TX_NO_CONSENT]), 0);
	rogue_stop(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dataplane_tx_broadcast_super_packet_is_as_many),
		cmocka_unit_test(dataplane_bucket_is_owed_what_exceeds_the_burst),
		cmocka_unit_test(dataplane_peers_are_bounded),
		cmocka_unit_test(dataplane_tx_raw_without_route_is_refused),
		cmocka_unit_test(dataplane_tx_sealed_without_consent_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
