/* SPDX-License-Identifier: MIT */

/* What of the packets from the TUN fits the path, and what becomes of the rest. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rogue.h"

#include "base/bytes.h"

#define US   0x0a090001
#define PEER 0x0a090002

static struct rogue g;
static uint8_t packet[70000], seen[70000];

static void start_up(void)
{
	if (!rogue_start(&g, DATAPLANE_DTLS_CLIENT))
		skip();
	rogue_up(&g);
}

static void dataplane_tx_too_big_is_answered(void **state)
{
	(void)state;
	start_up();
	rogue_tun_write(&g, packet, rogue_packet(packet, US, PEER, 1400));
	rogue_run(&g, rogue_tun_has_packet, "ICMP");
	size_t n = rogue_tun_read(&g, seen, sizeof(seen));
	assert_int_equal(n, 576);
	assert_int_equal(be32_load(seen + 12), PEER);
	assert_int_equal(seen[20], 3);
	assert_int_equal(be16_load(seen + 26), 1380);
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_TX_TOO_BIG], 1, "tx_too_big");
	rogue_stop(&g);
}

static void expect_too_big(uint16_t mtu)
{
	rogue_tun_write(&g, packet, rogue_packet(packet, US, PEER, 1380 - 28));
	rogue_run(&g, rogue_tun_has_packet, "ICMP");
	assert_true(rogue_tun_read(&g, seen, sizeof(seen)) > 28);
	assert_int_equal(seen[20], 3);
	assert_int_equal(be16_load(seen + 26), mtu);
}

/* 1,380 bytes and IPv6 outside are 1,493, which PPPoE does not carry; each move between the families is noticed. */
static void dataplane_tx_full_packet_over_ip6_is_too_big(void **state)
{
	struct netaddr loopback = {.family = NETADDR_IP6, .ip[15] = 1, .port = 9};

	(void)state;
	start_up();
	assert_int_equal(dataplane_link_path(g.d, ROGUE_LINK, &loopback, &loopback), 0);
	rogue_settle(&g);
	expect_too_big(1376);
	assert_int_equal(dataplane_link_path(g.d, ROGUE_LINK, &g.local, &g.remote), 0);
	rogue_settle(&g);
	size_t len = rogue_packet(packet, US, PEER, 1380 - 28);
	rogue_tun_write(&g, packet, len);
	rogue_run(&g, rogue_ip_at_peer, "packet at the peer");
	assert_int_equal(g.ip_len, len);
	rogue_stop(&g);
}

/* The subnet's broadcast address is nobody's, so no ICMP error may come from it: the packet is cut for the small path. */
static void dataplane_tx_large_broadcast_with_df_is_cut(void **state)
{
	(void)state;
	start_up();
	size_t len = rogue_packet(packet, US, 0x0a0900ff, 1400);
	rogue_tun_write(&g, packet, len);
	rogue_run(&g, rogue_ip_at_peer, "packet at the peer");
	assert_int_equal(g.ip_len, len);
	assert_memory_equal(g.ip, packet, len);
	assert_false(rogue_tun_has_packet(&g));
	rogue_stop(&g);
}

static void dataplane_tx_large_without_df_is_cut(void **state)
{
	(void)state;
	start_up();
	size_t len = rogue_packet(packet, US, PEER, 5000);
	packet[6] = 0;
	packet[10] = packet[11] = 0;
	rogue_tun_write(&g, packet, len);
	rogue_run(&g, rogue_ip_at_peer, "packet at the peer");
	assert_int_equal(g.ip_len, len);
	assert_memory_equal(g.ip, packet, len);
	rogue_stop(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dataplane_tx_too_big_is_answered),
		cmocka_unit_test(dataplane_tx_full_packet_over_ip6_is_too_big),
		cmocka_unit_test(dataplane_tx_large_broadcast_with_df_is_cut),
		cmocka_unit_test(dataplane_tx_large_without_df_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
