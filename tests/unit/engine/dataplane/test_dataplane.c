/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/ip/csum.h"
#include "rogue.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define US        0x0a090001
#define PEER      0x0a090002
#define OTHER     0x0a090003
#define NOBODY    0x0a090063
#define BROADCAST 0x0a0900ff

/* As docs/protocol.md 10 has it. */
#define PPID_PARTIAL 0x67560001u

static struct rogue g;
static uint8_t packet[70000], seen[70000];

static void start(enum dataplane_dtls_role role)
{
	if (!rogue_start(&g, role))
		skip();
}

static void start_up(enum dataplane_dtls_role role)
{
	start(role);
	rogue_up(&g);
}

/* What the peer sends in this state comes out of the TUN as it is. */
static void expect_delivery(uint32_t src, uint32_t dst)
{
	size_t len = rogue_packet(packet, src, dst, 100);

	rogue_ip(&g, packet, len);
	rogue_run(&g, rogue_tun_has_packet, "delivery");
	assert_int_equal(rogue_tun_read(&g, seen, sizeof(seen)), len);
	assert_memory_equal(seen, packet, len);
}

/* It does not, and the reason is counted. */
static void expect_drop(uint32_t src, uint32_t dst, enum dataplane_drop why)
{
	uint64_t before = atomic_load(&g.peer.drop[why]);

	rogue_ip(&g, packet, rogue_packet(packet, src, dst, 100));
	rogue_count(&g, &g.peer.drop[why], before + 1, dataplane_drop_name(why));
	assert_int_equal(rogue_tun_read(&g, seen, sizeof(seen)), 0);
}

static bool event_seen(const struct rogue *r, enum dataplane_event_type type)
{
	return r->events[type] > 0;
}

static bool link_gone(const struct rogue *r)
{
	return event_seen(r, DATAPLANE_EVENT_LINK_GONE);
}

static bool link_down(const struct rogue *r)
{
	return event_seen(r, DATAPLANE_EVENT_LINK_DOWN);
}

static bool handshake(const struct rogue *r)
{
	return event_seen(r, DATAPLANE_EVENT_HANDSHAKE);
}

static bool stun(const struct rogue *r)
{
	return event_seen(r, DATAPLANE_EVENT_STUN);
}

static bool alert(const struct rogue *r)
{
	return event_seen(r, DATAPLANE_EVENT_ALERT);
}

static bool ctl(const struct rogue *r)
{
	return event_seen(r, DATAPLANE_EVENT_CTL);
}

static bool ctl_at_peer(const struct rogue *r)
{
	return r->ctl_len > 0;
}

/* --- life ---------------------------------------------------------------------------------------- */

static void dataplane_up_as_client_opens_both_channels(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(g.events[DATAPLANE_EVENT_CTL_OPEN], 1);
	assert_int_equal(g.ip_stream, 2);
	expect_delivery(PEER, US);
	rogue_stop(&g);
}

static void dataplane_up_as_server_takes_both_channels(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_SERVER);
	assert_int_equal(g.events[DATAPLANE_EVENT_CTL_OPEN], 1);
	expect_delivery(PEER, US);
	rogue_stop(&g);
}

static void dataplane_server_sends_nothing_before_client_spoke(void **state)
{
	(void)state;
	start(DATAPLANE_DTLS_SERVER);
	rogue_keys(&g);
	for (int i = 0; i < 20; i++)
		rogue_turn(&g);
	assert_int_equal(atomic_load(&g.link.records_sent), 0);
	rogue_stop(&g);
}

static void dataplane_ctl_passes_both_ways(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	rogue_ctl(&g, "question", 8);
	rogue_run(&g, ctl, "ctl at control");
	assert_int_equal(g.event_len, 8);
	assert_memory_equal(g.event_data, "question", 8);
	assert_int_equal(dataplane_ctl_send(g.d, ROGUE_LINK, "answer", 6), 0);
	rogue_run(&g, ctl_at_peer, "ctl at the peer");
	assert_memory_equal(g.ctl, "answer", 6);
	rogue_stop(&g);
}

static void dataplane_ctl_too_large_ends_link(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	rogue_ctl(&g, packet, DATAPLANE_CTL_BYTES + 1);
	rogue_run(&g, link_down, "LINK_DOWN");
	assert_int_equal(g.events[DATAPLANE_EVENT_CTL], 0);
	rogue_stop(&g);
}

/* Control does not take events; the peer goes on and on. */
static void dataplane_ctl_flood_ends_link(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	for (uint64_t end = clock_now_us() + 5000000;
	     atomic_load(&g.link.ctl_events) < 1024 && clock_now_us() < end;)
		rogue_ctl_only(&g, "x", 1);
	assert_int_equal(atomic_load(&g.link.ctl_events), 1024);
	/* Events are taken only after one more has come, or there would be room for it. */
	for (uint64_t end = clock_now_us() + 5000000; g.closed == 0 && clock_now_us() < end;)
		rogue_ctl_only(&g, "x", 1);
	rogue_run(&g, link_down, "LINK_DOWN");
	assert_int_equal(atomic_load(&g.link.ctl_events), 0);
	rogue_stop(&g);
}

static void dataplane_link_del_polite_tells_peer(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(dataplane_link_del(g.d, ROGUE_LINK, true), 0);
	rogue_run(&g, link_gone, "LINK_GONE");
	for (int i = 0; i < 100 && g.closed < 2; i++)
		rogue_turn(&g);
	assert_int_equal(g.closed, 2); /* ABORT and close_notify */
	rogue_tun_write(&g, packet, rogue_packet(packet, US, PEER, 10));
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_TX_NO_PEER], 1, "no link");
	rogue_stop(&g);
}

static void dataplane_peer_aborts_gives_link_down(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	sctp_abort(g.sctp, clock_now_us());
	rogue_run(&g, link_down, "LINK_DOWN");
	rogue_stop(&g);
}

static bool ack_at_peer(const struct rogue *r)
{
	return dcep_counters(r->dcep)->bad_message >
	       0; /* of a channel that its table does not know */
}

/* The stream is still being reset for what it was refused for: the ACK waits for that and is not lost. */
static void dataplane_channel_on_reused_stream_is_acknowledged(void **state)
{
	static const uint8_t bad[] = {3}, open[12] = {3};
	const struct sctp_send_options o = {.stream = 4, .ppid = DCEP_PPID_CONTROL};

	(void)state;
	start_up(DATAPLANE_DTLS_SERVER);
	assert_int_equal(sctp_send(g.sctp, &o, bad, sizeof(bad), clock_now_us()), SCTP_OK);
	assert_int_equal(sctp_send(g.sctp, &o, open, sizeof(open), clock_now_us()), SCTP_OK);
	rogue_run(&g, ack_at_peer, "ACK");
	rogue_stop(&g);
}

static bool all_gone(const struct rogue *r)
{
	return r->events[DATAPLANE_EVENT_PEER_GONE] == 2 &&
	       r->events[DATAPLANE_EVENT_NET_GONE] == 1 &&
	       r->events[DATAPLANE_EVENT_LINK_GONE] == 2;
}

static void dataplane_del_of_anything_is_answered(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(dataplane_link_del(g.d, ROGUE_LINK, false), 0);
	assert_int_equal(dataplane_link_del(g.d, 77, false), 0); /* was never there */
	assert_int_equal(dataplane_peer_del(g.d, ROGUE_PEER), 0);
	assert_int_equal(dataplane_net_del(g.d, ROGUE_NET), 0);
	assert_int_equal(dataplane_peer_del(g.d, ROGUE_OTHER), 0);
	rogue_run(&g, all_gone, "all GONE events");
	rogue_stop(&g);
}

/* The control thread turns to other things after some events: what it left must wake it again. */
static void dataplane_event_fd_is_readable_until_all_are_taken(void **state)
{
	enum {
		MANY = 300
	};

	(void)state;
	start(DATAPLANE_DTLS_CLIENT);
	struct pollfd p = {.fd = dataplane_event_fd(g.d), .events = POLLIN};
	for (uint32_t i = 0; i < MANY; i++)
		assert_int_equal(dataplane_link_del(g.d, 100 + i, false), 0);
	for (unsigned taken = 0; taken < MANY;) {
		assert_int_equal(poll(&p, 1, 5000), 1);
		const struct dataplane_event *e = dataplane_event(g.d);
		if (e == NULL)
			continue; /* the last one of a group was taken before */
		taken++;
		dataplane_event_done(g.d, e);
	}
	assert_null(dataplane_event(g.d));
	assert_int_equal(poll(&p, 1, 0), 0);
	rogue_stop(&g);
}

static void dataplane_commands_on_unknown_handles_are_ignored(void **state)
{
	struct netaddr a = netaddr_ip4(0x7f000001, 9);

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(dataplane_link_addr(g.d, 99, &a), 0);
	assert_int_equal(dataplane_link_path(g.d, 99, &a, &a), 0);
	assert_int_equal(dataplane_ctl_send(g.d, 99, "x", 1), 0);
	assert_int_equal(dataplane_send_raw(g.d, 99, &a, &a, "x", 1), 0);
	assert_int_equal(dataplane_send_sealed(g.d, 99, 21, "x", 1), 0);
	assert_int_equal(dataplane_link_allow_ip(g.d, 99), 0);
	expect_delivery(PEER, US);
	rogue_stop(&g);
}

static void dataplane_tun_ends_gives_tun_lost(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(shutdown(g.tun, SHUT_WR), 0);
	for (int i = 0; i < 1000 && g.events[DATAPLANE_EVENT_TUN_LOST] == 0; i++)
		rogue_turn(&g);
	assert_int_equal(g.events[DATAPLANE_EVENT_TUN_LOST], 1);
	rogue_stop(&g);
}

/* --- from the peer to the TUN -------------------------------------------------------------------- */

static void dataplane_rx_before_allowed_is_dropped(void **state)
{
	(void)state;
	start(DATAPLANE_DTLS_SERVER);
	rogue_keys(&g);
	sctp_connect(g.sctp, clock_now_us());
	for (int i = 0; i < 1000 && !g.ip_open; i++)
		rogue_turn(&g);
	expect_drop(PEER, US, DATAPLANE_DROP_RX_EARLY);
	assert_int_equal(dataplane_link_allow_ip(g.d, ROGUE_LINK), 0);
	rogue_settle(&g);
	expect_delivery(PEER, US);
	rogue_stop(&g);
}

static void dataplane_rx_foreign_source_is_dropped(void **state)
{
	static const uint32_t sources[] = {US,         OTHER,      NOBODY,     BROADCAST, 0,
	                                   0x7f000001, 0xe0000001, UINT32_MAX, 0x0a0a0002};

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	for (size_t i = 0; i < GV_ARRAY_SIZE(sources); i++)
		expect_drop(sources[i], US, DATAPLANE_DROP_RX_SOURCE);
	expect_delivery(PEER, US);
	rogue_stop(&g);
}

static void dataplane_rx_foreign_destination_is_dropped(void **state)
{
	static const uint32_t destinations[] = {OTHER, PEER, NOBODY, 0x7f000001, 0x08080808, 0};

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	for (size_t i = 0; i < GV_ARRAY_SIZE(destinations); i++)
		expect_drop(PEER, destinations[i], DATAPLANE_DROP_RX_DEST);
	expect_delivery(PEER, BROADCAST);
	expect_delivery(PEER, UINT32_MAX);
	expect_delivery(PEER, 0xefffffff);
	rogue_stop(&g);
}

static void dataplane_rx_malformed_inner_is_dropped(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	size_t len = rogue_packet(packet, PEER, US, 100);
	for (size_t n = 1; n < len; n += 9)
		rogue_ip(&g, packet, n);
	packet[0] = 0x95;
	rogue_ip(&g, packet, len);
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_RX_BAD], (len + 7) / 9 + 1, "rx_bad");
	assert_int_equal(rogue_tun_read(&g, seen, sizeof(seen)), 0);
	expect_delivery(PEER, US);
	rogue_stop(&g);
}

static void dataplane_rx_broadcast_flood_is_limited(void **state)
{
	unsigned passed = 0;

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	size_t len = rogue_packet(packet, PEER, BROADCAST, 100);
	for (int i = 0; i < 1000; i++) {
		rogue_ip(&g, packet, len);
		if (i % 20 == 0)
			rogue_turn(&g);
	}
	for (int i = 0; i < 50; i++) {
		rogue_turn(&g);
		while (rogue_tun_read(&g, seen, sizeof(seen)) > 0)
			passed++;
	}
	assert_true(passed >= 1);
	assert_true(atomic_load(&g.peer.drop[DATAPLANE_DROP_RX_LIMITED]) > 100);
	rogue_stop(&g);
}

static void dataplane_rx_large_message_is_whole(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	size_t len = rogue_packet(packet, PEER, US, 20000);
	rogue_ip(&g, packet, len);
	rogue_run(&g, rogue_tun_has_packet, "delivery");
	assert_int_equal(rogue_tun_read(&g, seen, sizeof(seen)), len);
	assert_memory_equal(seen, packet, len);
	rogue_stop(&g);
}

/* --- from the TUN to the peer -------------------------------------------------------------------- */

static void dataplane_tx_packet_reaches_peer(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	size_t len = rogue_packet(packet, US, PEER, 500);
	rogue_tun_write(&g, packet, len);
	rogue_run(&g, rogue_ip_at_peer, "packet at the peer");
	assert_int_equal(g.ip_len, len);
	assert_memory_equal(g.ip, packet, len);
	rogue_count(&g, &g.peer.tx_packets, 1, "tx_packets");
	assert_int_equal(atomic_load(&g.peer.tx_bytes), len);
	rogue_stop(&g);
}

/* Segments of a super-packet have no transport checksum for a peer that makes it itself, and have it for others. */
static void dataplane_tx_segments_leave_sums_to_the_peer(void **state)
{
	(void)state;
	for (int partial = 0; partial < 2; partial++) {
		start_up(DATAPLANE_DTLS_CLIENT);
		if (partial == 1)
			assert_int_equal(dataplane_link_partial(g.d, ROGUE_LINK), 0);
		rogue_settle(&g);
		size_t len = rogue_packet(packet, US, PEER, 1200);
		g.tun_write_header = (struct vnet){.flags = VNET_NEEDS_CSUM,
		                                   .gso_type = VNET_GSO_UDP,
		                                   .hdr_len = 28,
		                                   .gso_size = 400,
		                                   .csum_start = 20,
		                                   .csum_offset = 6};
		rogue_tun_write(&g, packet, len);
		rogue_count(&g, &g.peer.tx_packets, 3, "three segments");
		rogue_run(&g, rogue_ip_at_peer, "packet at the peer");
		assert_int_equal(g.ip_len, 428);
		assert_int_equal(g.ip_ppid, partial == 1 ? PPID_PARTIAL : DCEP_PPID_BINARY);
		uint64_t sum = csum_add_pseudo(0, g.ip + 12, g.ip + 16, 4, 17, 408);
		if (partial == 1) {
			uint8_t field[2];

			csum_store(field, csum_fold(sum));
			assert_memory_equal(g.ip + 26, field, 2);
		} else {
			assert_int_equal(csum_fold(csum_add(sum, g.ip + 20, 408)), 0xffff);
		}
		g.tun_write_header = (struct vnet){0};
		rogue_stop(&g);
	}
}

/* The kernel is asked to make a checksum that the peer left to us, where there can be one. */
static void dataplane_rx_partial_sum_is_left_to_the_kernel(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	size_t len = rogue_packet(packet, PEER, US, 300);
	csum_store(packet + 26,
	           csum_fold(csum_add_pseudo(0, packet + 12, packet + 16, 4, 17, 308)));
	g.send_ppid = PPID_PARTIAL;
	rogue_ip(&g, packet, len);
	rogue_run(&g, rogue_tun_has_packet, "delivery");
	assert_int_equal(rogue_tun_read(&g, seen, sizeof(seen)), len);
	assert_memory_equal(seen, packet, len);
	assert_int_equal(g.tun_read_header.flags, VNET_NEEDS_CSUM);
	assert_int_equal(g.tun_read_header.csum_start, 20);
	assert_int_equal(g.tun_read_header.csum_offset, 6);

	packet[9] = 1; /* ICMP: it has no place that we know */
	rogue_ip(&g, packet, len);
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_RX_BAD], 1, "no such checksum");
	packet[9] = 17;
	be32_store(packet + 12, OTHER);
	rogue_ip(&g, packet, len);
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_RX_SOURCE], 1, "source of another");
	assert_int_equal(rogue_tun_read(&g, seen, sizeof(seen)), 0);
	g.send_ppid = 0;
	rogue_stop(&g);
}

static void dataplane_tx_broadcast_reaches_peer(void **state)
{
	static const uint32_t destinations[] = {BROADCAST, UINT32_MAX, 0xe00000fb};

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	for (unsigned i = 0; i < GV_ARRAY_SIZE(destinations); i++) {
		g.ip_count = 0;
		rogue_tun_write(&g, packet, rogue_packet(packet, US, destinations[i], 5));
		rogue_run(&g, rogue_ip_at_peer, "packet at the peer");
		assert_int_equal(be32_load(g.ip + 16), destinations[i]);
	}
	rogue_stop(&g);
}

static void dataplane_tx_to_nobody_is_counted(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	rogue_tun_write(&g, packet, rogue_packet(packet, US, NOBODY, 5));
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_TX_NO_PEER], 1, "unknown address");
	rogue_tun_write(&g, packet, rogue_packet(packet, US, 0x0b000001, 5));
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_TX_NO_PEER], 2, "outside the prefix");
	rogue_tun_write(&g, packet, rogue_packet(packet, US, OTHER, 5));
	rogue_count(&g, &g.other.drop[DATAPLANE_DROP_TX_NO_PEER], 1, "member without a link");
	rogue_stop(&g);
}

static void dataplane_tx_foreign_source_is_dropped(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	rogue_tun_write(&g, packet, rogue_packet(packet, OTHER, PEER, 5));
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_TX_BAD], 1, "foreign source");
	rogue_tun_write(&g, packet, 19);
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_TX_BAD], 2, "too short");
	assert_int_equal(g.ip_count, 0);
	rogue_stop(&g);
}

static void dataplane_tx_without_consent_is_dropped(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	atomic_store(&g.link.send_until_us, 0);
	rogue_tun_write(&g, packet, rogue_packet(packet, US, PEER, 5));
	uint64_t end = clock_now_us() + 1000000;
	while (atomic_load(&g.peer.drop[DATAPLANE_DROP_TX_NO_CONSENT]) == 0 && clock_now_us() < end)
		rogue_turn(&g);
	assert_true(atomic_load(&g.peer.drop[DATAPLANE_DROP_TX_NO_CONSENT]) >= 1);
	assert_int_equal(g.ip_count, 0);
	atomic_store(&g.link.send_until_us, CLOCK_NEVER);
	rogue_tun_write(&g, packet, rogue_packet(packet, US, PEER, 5));
	rogue_run(&g, rogue_ip_at_peer, "packet at the peer");
	rogue_stop(&g);
}

static bool peer_knows_of_loss(const struct rogue *r)
{
	return sctp_counters(r->sctp)->skipped_tsn > 0;
}

/* The last packet of a burst is lost and nothing more is sent: the association still notices by its timer. */
static void dataplane_tx_loss_at_end_is_given_up(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	atomic_store(&g.link.send_until_us, 0);
	rogue_tun_write(&g, packet, rogue_packet(packet, US, PEER, 5));
	uint64_t end = clock_now_us() + 1000000;
	while (atomic_load(&g.peer.drop[DATAPLANE_DROP_TX_NO_CONSENT]) == 0 && clock_now_us() < end)
		rogue_turn(&g);
	atomic_store(&g.link.send_until_us, CLOCK_NEVER);
	rogue_run(&g, peer_knows_of_loss, "FORWARD-TSN");
	rogue_stop(&g);
}

/* What the peer gave up was lost on the way to us. */
static void dataplane_rx_given_up_is_counted_as_lost(void **state)
{
	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(atomic_load(&g.peer.rx_lost), 0);
	for (int i = 0; i < 3; i++)
		rogue_ip_lost(&g, packet, rogue_packet(packet, PEER, US, 5));
	/* What comes behind them tells the peer that they are missing. */
	for (uint64_t i = 1; i <= 4; i++) {
		rogue_ip(&g, packet, rogue_packet(packet, PEER, US, 5));
		rogue_count(&g, &g.peer.rx_packets, i, "rx_packets");
	}
	rogue_count(&g, &g.peer.rx_lost, 3, "rx_lost");
	rogue_stop(&g);
}

/* --- what the socket hears ----------------------------------------------------------------------- */

static void dataplane_stranger_datagrams_are_counted(void **state)
{
	struct netaddr loopback = netaddr_ip4(0x7f000001, 0);
	uint8_t data[64] = {23, 0xfe, 0xfd, 0, 1};
	struct udp other;

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(udp_open(&loopback, &other), UDP_OK);
	assert_int_equal(udp_send(&other, &loopback, &g.local, data, sizeof(data)), UDP_OK);
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_RX_UNKNOWN], 1, "DTLS of a stranger");
	data[0] = 80;
	assert_int_equal(udp_send(&other, &loopback, &g.local, data, sizeof(data)), UDP_OK);
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_RX_MALFORMED], 1, "neither STUN nor DTLS");
	data[0] = 0;
	assert_int_equal(udp_send(&other, &loopback, &g.local, data, sizeof(data)), UDP_OK);
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_RX_MALFORMED], 2, "broken STUN");
	assert_int_equal(udp_send(&other, &loopback, &g.local, data, 0), UDP_OK);
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_RX_MALFORMED], 3, "nothing at all");
	udp_close(&other);
	rogue_stop(&g);
}

static void dataplane_forged_record_is_dropped(void **state)
{
	uint8_t record[100] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 99, 0, 87};

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	rogue_raw(&g, record, sizeof(record));
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_RX_AUTH], 1, "rx_auth");
	expect_delivery(PEER, US);
	rogue_stop(&g);
}

static void dataplane_replayed_record_is_dropped(void **state)
{
	uint8_t record[256];
	size_t n;

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(
		record_seal_one(g.record, RECORD_TYPE_ALERT, "\1\0", 2, record, sizeof(record), &n),
		0);
	for (int i = 0; i < 5; i++)
		rogue_raw(&g, record, n);
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_RX_REPLAY], 4, "rx_replay");
	rogue_settle(&g);
	assert_int_equal(g.events[DATAPLANE_EVENT_ALERT], 1);
	rogue_stop(&g);
}

static void dataplane_authentic_alert_is_told(void **state)
{
	uint8_t record[256];
	size_t n;

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(record_seal_one(g.record, RECORD_TYPE_ALERT, "\2\50", 2, record,
	                                 sizeof(record), &n),
	                 0);
	rogue_raw(&g, record, n);
	rogue_run(&g, alert, "ALERT");
	assert_int_equal(g.event_data[0], 2);
	assert_int_equal(g.event_data[1], 40);
	rogue_stop(&g);
}

static void dataplane_plaintext_alert_is_ignored(void **state)
{
	static const uint8_t record[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40};

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	rogue_raw(&g, record, sizeof(record));
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_RX_MALFORMED], 1, "rx_malformed");
	assert_int_equal(g.events[DATAPLANE_EVENT_ALERT], 0);
	assert_int_equal(g.events[DATAPLANE_EVENT_HANDSHAKE], 0);
	rogue_stop(&g);
}

/* A ClientHello in two datagrams, before and after ICE knows the address. */
static size_t make_stun(uint8_t *out, uint16_t type, uint32_t prefix, const char *username)
{
	size_t n = strlen(username), padded = (n + 3) / 4 * 4;
	size_t body = n > 0 ? 4 + padded : 0;

	memset(out, 0, 20 + body);
	be16_store(out, type);
	be16_store(out + 2, (uint16_t)body);
	be32_store(out + 4, 0x2112a442);
	be32_store(out + 8, prefix);
	if (n > 0) {
		be16_store(out + 20, 6);
		be16_store(out + 22, (uint16_t)n);
		memcpy(out + 24, username, n);
	}
	return 20 + body;
}

/* A ClientHello that overtakes our own check waits for it; strangers' do not push it out. */
static void dataplane_early_hello_is_held_for_its_address(void **state)
{
	uint8_t hello[60] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 47, 1};
	struct netaddr loopback = netaddr_ip4(0x7f000001, 0);
	uint8_t answer[64];
	struct udp other;

	(void)state;
	start(DATAPLANE_DTLS_SERVER);
	rogue_raw(&g, hello, sizeof(hello));
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_RX_UNKNOWN], 1, "hello before any check");
	size_t n = make_stun(answer, 0x0101, 1, "");
	assert_int_equal(dataplane_send_raw(g.d, ROGUE_NET, &g.local, &g.remote, answer, n), 0);
	rogue_settle(&g);
	rogue_raw(&g, hello, sizeof(hello));
	hello[21] = 35; /* fragment offset */
	rogue_raw(&g, hello, sizeof(hello));
	hello[21] = 0;
	assert_int_equal(udp_open(&loopback, &other), UDP_OK);
	for (int i = 0; i < 20; i++)
		assert_int_equal(udp_send(&other, &loopback, &g.local, hello, sizeof(hello)),
		                 UDP_OK);
	udp_close(&other);
	hello[21] = 35;
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_RX_UNKNOWN], 21, "hellos of a stranger");
	assert_int_equal(g.events[DATAPLANE_EVENT_HANDSHAKE], 0);
	assert_int_equal(dataplane_link_addr(g.d, ROGUE_LINK, &g.remote), 0);
	rogue_run(&g, handshake, "HANDSHAKE");
	for (int i = 0; i < 100 && g.events[DATAPLANE_EVENT_HANDSHAKE] < 2; i++)
		rogue_turn(&g);
	assert_int_equal(g.events[DATAPLANE_EVENT_HANDSHAKE], 2);
	assert_int_equal(g.event_len, sizeof(hello));
	assert_int_equal(g.event_link, ROGUE_LINK);
	assert_memory_equal(g.event_data, hello, sizeof(hello));
	rogue_stop(&g);
}

/* The client's flight: key exchange, change of cipher, Finished, and its first data in one datagram. */
static void dataplane_mixed_datagram_is_taken_apart(void **state)
{
	uint8_t flight[100] = {22, 0xfe, 0xfd, 0,    0,    0,    0,    0, 0, 0, 1, 0, 7, 1, 1, 1,
	                       1,  1,    1,    1,    20,   0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 2, 0,
	                       1,  1,    22,   0xfe, 0xfd, 0,    1,    0, 0, 0, 0, 0, 0, 0, 3, 9,
	                       9,  9,    23,   0xfe, 0xfd, 0,    1,    0, 0, 0, 0, 0, 1, 0, 37};

	(void)state;
	start(DATAPLANE_DTLS_SERVER);
	assert_int_equal(dataplane_link_addr(g.d, ROGUE_LINK, &g.remote), 0);
	rogue_settle(&g);
	rogue_raw(&g, flight, sizeof(flight));
	rogue_run(&g, handshake, "HANDSHAKE");
	assert_int_equal(g.events[DATAPLANE_EVENT_HANDSHAKE], 1);
	assert_int_equal(g.event_len, 50);
	assert_memory_equal(g.event_data, flight, 50);
	/* The data record waits for the keys, with which it proves to be forged. */
	assert_int_equal(atomic_load(&g.peer.drop[DATAPLANE_DROP_RX_AUTH]), 0);
	rogue_keys(&g);
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_RX_AUTH], 1, "held record opened");
	rogue_stop(&g);
}

static void dataplane_records_before_keys_are_held(void **state)
{
	(void)state;
	start(DATAPLANE_DTLS_SERVER);
	assert_int_equal(dataplane_link_addr(g.d, ROGUE_LINK, &g.remote), 0);
	rogue_settle(&g);
	uint8_t record[100] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 87};
	for (int i = 0; i < 70; i++)
		rogue_raw(&g, record, sizeof(record));
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_RX_LANE], 6, "above 64");
	rogue_keys(&g);
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_RX_AUTH], 64, "64 held");
	rogue_stop(&g);
}

static void dataplane_stun_known_passes_unknown_does_not(void **state)
{
	uint8_t m[128];
	uint64_t unknown = 0;

	(void)state;
	start(DATAPLANE_DTLS_SERVER);
	rogue_raw(&g, m, make_stun(m, 0x0001, 5, "else:peer"));
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_RX_UNKNOWN], ++unknown, "foreign ufrag");
	rogue_raw(&g, m, make_stun(m, 0x0001, 5, ROGUE_UFRAG "x:peer"));
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_RX_UNKNOWN], ++unknown, "longer ufrag");
	rogue_raw(&g, m, make_stun(m, 0x0101, 0x11223345, ""));
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_RX_UNKNOWN], ++unknown, "foreign transaction");
	rogue_raw(&g, m, make_stun(m, 0x0011, 5, ROGUE_UFRAG ":peer"));
	rogue_count(&g, &g.net.drop[DATAPLANE_DROP_RX_UNKNOWN], ++unknown, "indication");
	assert_int_equal(g.events[DATAPLANE_EVENT_STUN], 0);
	rogue_raw(&g, m, make_stun(m, 0x0001, 5, ROGUE_UFRAG ":peer"));
	rogue_run(&g, stun, "request");
	g.events[DATAPLANE_EVENT_STUN] = 0;
	rogue_raw(&g, m, make_stun(m, 0x0101, 0x11223344, ""));
	rogue_run(&g, stun, "response");
	g.events[DATAPLANE_EVENT_STUN] = 0;
	assert_int_equal(dataplane_net_transactions(g.d, ROGUE_NET, 0x99887766), 0);
	rogue_settle(&g);
	rogue_raw(&g, m, make_stun(m, 0x0111, 0x99887766, ""));
	rogue_run(&g, stun, "answer of a STUN server");
	/* An ICE restart: old and new name pass. */
	assert_int_equal(dataplane_link_add(g.d, ROGUE_PEER, ROGUE_LINK, "newu", 7, &g.link), 0);
	rogue_settle(&g);
	g.events[DATAPLANE_EVENT_STUN] = 0;
	rogue_raw(&g, m, make_stun(m, 0x0001, 5, "newu:peer"));
	rogue_run(&g, stun, "new ufrag");
	g.events[DATAPLANE_EVENT_STUN] = 0;
	rogue_raw(&g, m, make_stun(m, 0x0001, 5, ROGUE_UFRAG ":peer"));
	rogue_run(&g, stun, "old ufrag");
	rogue_stop(&g);
}

static void dataplane_send_raw_leaves_as_it_is(void **state)
{
	struct udp_train t;
	uint8_t data[2048];
	int r = UDP_AGAIN;

	(void)state;
	start(DATAPLANE_DTLS_SERVER);
	assert_int_equal(dataplane_send_raw(g.d, ROGUE_NET, &g.local, &g.remote, "hello", 5), 0);
	for (uint64_t end = clock_now_us() + 5000000; r == UDP_AGAIN && clock_now_us() < end;)
		r = udp_recv(&g.udp, data, sizeof(data), &t);
	assert_int_equal(r, UDP_OK);
	assert_int_equal(t.len, 5);
	assert_true(netaddr_equal(&t.remote, &g.local));
	rogue_stop(&g);
}

/* A second link on the same address, without keys yet: the first goes on as before. */
static void dataplane_replacing_link_leaves_first_alone(void **state)
{
	uint8_t hello[60] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 47, 1};

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	assert_int_equal(dataplane_link_add(g.d, ROGUE_PEER, ROGUE_LINK2, "two", 8, &g.link2), 0);
	assert_int_equal(dataplane_link_addr(g.d, ROGUE_LINK2, &g.remote), 0);
	rogue_settle(&g);
	expect_delivery(PEER, US);
	rogue_raw(&g, hello, sizeof(hello));
	rogue_run(&g, handshake, "HANDSHAKE");
	assert_int_equal(g.event_link, ROGUE_LINK2);
	assert_int_equal(dataplane_link_del(g.d, ROGUE_LINK2, false), 0);
	rogue_run(&g, link_gone, "LINK_GONE");
	expect_delivery(PEER, US);
	rogue_stop(&g);
}

/* Both links have keys: each record finds its own, whatever its type. */
static void dataplane_shared_address_opens_with_right_keys(void **state)
{
	struct dataplane_keys_config keys = {
		.role = DATAPLANE_DTLS_SERVER, .sctp_local_port = 5000, .sctp_remote_port = 5000};
	struct record *own, *second;
	uint8_t record[256];
	size_t n;

	(void)state;
	start_up(DATAPLANE_DTLS_CLIENT);
	own = rogue_record(RECORD_ROLE_SERVER, 9);
	second = rogue_record(RECORD_ROLE_CLIENT, 9);
	keys.record = own;
	assert_int_equal(dataplane_link_add(g.d, ROGUE_PEER, ROGUE_LINK2, "two", 8, &g.link2), 0);
	assert_int_equal(dataplane_link_addr(g.d, ROGUE_LINK2, &g.remote), 0);
	assert_int_equal(dataplane_link_keys(g.d, ROGUE_LINK2, &keys), 0);
	rogue_settle(&g);
	expect_delivery(PEER, US);
	/* A number that the first link has not seen: it tries the record before the second link does. */
	for (int i = 0; i < 200; i++)
		assert_int_equal(record_seal_one(second, RECORD_TYPE_ALERT, "\1\0", 2, record,
		                                 sizeof(record), &n),
		                 0);
	rogue_raw(&g, record, n);
	rogue_run(&g, alert, "ALERT of the second");
	assert_int_equal(g.event_link, ROGUE_LINK2);
	g.events[DATAPLANE_EVENT_ALERT] = 0;
	assert_int_equal(
		record_seal_one(g.record, RECORD_TYPE_ALERT, "\1\0", 2, record, sizeof(record), &n),
		0);
	rogue_raw(&g, record, n);
	rogue_run(&g, alert, "ALERT of the first");
	assert_int_equal(g.event_link, ROGUE_LINK);
	record[20] ^= 1;
	record[10]++; /* another sequence number: not a replay */
	rogue_raw(&g, record, n);
	rogue_count(&g, &g.peer.drop[DATAPLANE_DROP_RX_AUTH], 1, "neither");
	record_free(second);
	rogue_stop(&g);
}

static void dataplane_drop_name_every_reason_has_one(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DATAPLANE_DROPS; i++) {
		assert_non_null(dataplane_drop_name((enum dataplane_drop)i));
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(dataplane_drop_name((enum dataplane_drop)i),
			                        dataplane_drop_name((enum dataplane_drop)k));
	}
	assert_null(dataplane_drop_name(DATAPLANE_DROPS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dataplane_up_as_client_opens_both_channels),
		cmocka_unit_test(dataplane_up_as_server_takes_both_channels),
		cmocka_unit_test(dataplane_server_sends_nothing_before_client_spoke),
		cmocka_unit_test(dataplane_ctl_passes_both_ways),
		cmocka_unit_test(dataplane_ctl_too_large_ends_link),
		cmocka_unit_test(dataplane_ctl_flood_ends_link),
		cmocka_unit_test(dataplane_link_del_polite_tells_peer),
		cmocka_unit_test(dataplane_peer_aborts_gives_link_down),
		cmocka_unit_test(dataplane_channel_on_reused_stream_is_acknowledged),
		cmocka_unit_test(dataplane_del_of_anything_is_answered),
		cmocka_unit_test(dataplane_event_fd_is_readable_until_all_are_taken),
		cmocka_unit_test(dataplane_commands_on_unknown_handles_are_ignored),
		cmocka_unit_test(dataplane_tun_ends_gives_tun_lost),
		cmocka_unit_test(dataplane_rx_before_allowed_is_dropped),
		cmocka_unit_test(dataplane_rx_foreign_source_is_dropped),
		cmocka_unit_test(dataplane_rx_foreign_destination_is_dropped),
		cmocka_unit_test(dataplane_rx_malformed_inner_is_dropped),
		cmocka_unit_test(dataplane_rx_broadcast_flood_is_limited),
		cmocka_unit_test(dataplane_rx_large_message_is_whole),
		cmocka_unit_test(dataplane_tx_packet_reaches_peer),
		cmocka_unit_test(dataplane_tx_segments_leave_sums_to_the_peer),
		cmocka_unit_test(dataplane_rx_partial_sum_is_left_to_the_kernel),
		cmocka_unit_test(dataplane_tx_broadcast_reaches_peer),
		cmocka_unit_test(dataplane_tx_to_nobody_is_counted),
		cmocka_unit_test(dataplane_tx_foreign_source_is_dropped),
		cmocka_unit_test(dataplane_tx_without_consent_is_dropped),
		cmocka_unit_test(dataplane_tx_loss_at_end_is_given_up),
		cmocka_unit_test(dataplane_rx_given_up_is_counted_as_lost),
		cmocka_unit_test(dataplane_stranger_datagrams_are_counted),
		cmocka_unit_test(dataplane_forged_record_is_dropped),
		cmocka_unit_test(dataplane_replayed_record_is_dropped),
		cmocka_unit_test(dataplane_authentic_alert_is_told),
		cmocka_unit_test(dataplane_plaintext_alert_is_ignored),
		cmocka_unit_test(dataplane_early_hello_is_held_for_its_address),
		cmocka_unit_test(dataplane_mixed_datagram_is_taken_apart),
		cmocka_unit_test(dataplane_records_before_keys_are_held),
		cmocka_unit_test(dataplane_stun_known_passes_unknown_does_not),
		cmocka_unit_test(dataplane_send_raw_leaves_as_it_is),
		cmocka_unit_test(dataplane_replacing_link_leaves_first_alone),
		cmocka_unit_test(dataplane_shared_address_opens_with_right_keys),
		cmocka_unit_test(dataplane_drop_name_every_reason_has_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
