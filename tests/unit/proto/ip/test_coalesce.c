/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packets.h"
#include "proto/ip/coalesce.h"

#define FIN 0x01
#define SYN 0x02
#define PSH 0x08
#define ACK 0x10
#define CWR 0x80

#define PACKET 1600

static uint8_t mem[COALESCE_PACKETS + 1][PACKET];
static size_t lens[COALESCE_PACKETS + 1];
static struct coalesce c;

static int add(unsigned i)
{
	struct inner in;

	assert_int_equal(inner_parse(mem[i], lens[i], &in), INNER_OK);
	return coalesce_add(&c, mem[i], lens[i], &in);
}

static void make(unsigned i, uint16_t port, uint32_t seq, uint8_t flags, size_t payload)
{
	struct packet_spec spec = {.version = 4,
	                           .proto = 6,
	                           .port = port,
	                           .seq = seq,
	                           .id = (uint16_t)i,
	                           .flags = flags,
	                           .payload = payload,
	                           .seed = i};

	lens[i] = packet_make(mem[i], &spec);
}

static void make_udp(unsigned i, uint16_t port, size_t payload)
{
	struct packet_spec spec = {
		.version = 4, .proto = 17, .port = port, .payload = payload, .seed = i};

	lens[i] = packet_make(mem[i], &spec);
}

static void expect(unsigned i, unsigned packets, unsigned first)
{
	struct coalesce_write w = coalesce_out(&c, i);

	assert_int_equal(w.packets, packets);
	if (packets == 1)
		assert_ptr_equal(w.iov[w.iov_count - 1].iov_base, mem[first]);
	else
		assert_ptr_equal(w.iov[1].iov_base, mem[first] + 20 + (w.iov[0].iov_len - 30));
}

static void coalesce_out_run_has_header_of_super_packet(void **state)
{
	(void)state;
	coalesce_begin(&c, COALESCE_TCP);
	for (unsigned i = 0; i < 3; i++) {
		make(i, 80, 1000 + i * 500, i == 2 ? ACK | PSH : ACK, i == 2 ? 100 : 500);
		assert_int_equal(add(i), COALESCE_OK);
	}
	assert_int_equal(coalesce_count(&c), 1);
	struct coalesce_write w = coalesce_out(&c, 0);
	assert_int_equal(w.packets, 3);
	assert_int_equal(w.bytes, 3 * 40 + 1100);
	assert_int_equal(w.iov_count, 4);
	const uint8_t *head = w.iov[0].iov_base;
	struct vnet h = vnet_load(head);
	assert_int_equal(h.flags, VNET_NEEDS_CSUM);
	assert_int_equal(h.gso_type, VNET_GSO_TCP4);
	assert_int_equal(h.gso_size, 500);
	assert_int_equal(h.hdr_len, 40);
	assert_int_equal(h.csum_start, 20);
	assert_int_equal(h.csum_offset, 16);
	const uint8_t *ip = head + VNET_BYTES;
	assert_int_equal(be16_load(ip + 2), 40 + 1100);
	assert_int_equal(slow_sum(ip, 20, 0), 0xffff);
	assert_int_equal(ip[33], ACK | PSH);
	assert_int_equal(be16_load(ip + 36), slow_sum(ip + 12, 8, 6 + 20 + 1100));
}

static int add_partial(unsigned i)
{
	struct inner in;

	be16_store(mem[i] + 36, slow_sum(mem[i] + 12, 8, (uint32_t)(6 + lens[i] - 20)));
	assert_int_equal(inner_parse(mem[i], lens[i], &in), INNER_OK);
	return coalesce_add_partial(&c, mem[i], lens[i], &in);
}

/* Joined or alone, the kernel is asked to make the sum; never in one run with a packet that has its own. */
static void coalesce_add_partial_asks_for_the_sum(void **state)
{
	(void)state;
	coalesce_begin(&c, COALESCE_TCP);
	for (unsigned i = 0; i < 4; i++) {
		make(i, 80, 1000 + i * 500, ACK, 500);
		assert_int_equal(i < 3 ? add_partial(i) : add(i), COALESCE_OK);
	}
	make(4, 81, 1, ACK, 700);
	assert_int_equal(add_partial(4), COALESCE_OK);
	make_udp(5, 82, 30); /* not joined in this mode */
	be16_store(mem[5] + 26, slow_sum(mem[5] + 12, 8, 17 + 38));
	struct inner in;
	assert_int_equal(inner_parse(mem[5], lens[5], &in), INNER_OK);
	assert_int_equal(coalesce_add_partial(&c, mem[5], lens[5], &in), COALESCE_OK);
	assert_int_equal(coalesce_count(&c), 4);

	struct coalesce_write w = coalesce_out(&c, 0);
	assert_int_equal(w.packets, 3);
	struct vnet h = vnet_load(w.iov[0].iov_base);
	assert_int_equal(h.flags, VNET_NEEDS_CSUM);
	assert_int_equal(h.gso_size, 500);
	w = coalesce_out(&c, 1);
	h = vnet_load(w.iov[0].iov_base);
	assert_int_equal(w.packets, 1);
	assert_int_equal(h.flags, 0);
	for (unsigned i = 2; i < 4; i++) {
		w = coalesce_out(&c, i);
		h = vnet_load(w.iov[0].iov_base);
		assert_int_equal(w.packets, 1);
		assert_int_equal(h.flags, VNET_NEEDS_CSUM);
		assert_int_equal(h.gso_type, VNET_GSO_NONE);
		assert_int_equal(h.csum_start, 20);
		assert_int_equal(h.csum_offset, i == 2 ? 16 : 6);
	}
}

/* A run gets a new IP header, so a wrong sum of the old one must not be mended by joining. */
static void coalesce_add_partial_with_bad_ip_header_is_not_joined(void **state)
{
	(void)state;
	for (unsigned bad = 0; bad < 2; bad++) {
		coalesce_begin(&c, COALESCE_TCP);
		for (unsigned i = 0; i < 2; i++) {
			make(i, 80, 1000 + i * 500, ACK, 500);
			if (i == bad)
				mem[i][10] ^= 1;
			assert_int_equal(add_partial(i), COALESCE_OK);
		}
		assert_int_equal(coalesce_count(&c), 2);
	}
}

static void coalesce_add_flows_mixed_stay_apart(void **state)
{
	(void)state;
	coalesce_begin(&c, COALESCE_ALL);
	for (unsigned i = 0; i < 12; i++) {
		if (i % 3 == 0)
			make(i, 80, i * 100, ACK, 300);
		else if (i % 3 == 1)
			make(i, 81, i * 200, ACK, 600);
		else
			make_udp(i, 80, 400);
		be16_store(mem[i] + 4, (uint16_t)(i / 3));
		fix_checksums(mem[i], lens[i], 20, i % 3 == 2 ? 17 : 6);
		assert_int_equal(add(i), COALESCE_OK);
	}
	assert_int_equal(coalesce_count(&c), 3);
	for (unsigned i = 0; i < 3; i++)
		expect(i, 4, i);
}

/* Each change ends the run: packets 0 and 1 would join without it. */
static void coalesce_add_difference_ends_run(void **state)
{
	static const struct {
		size_t at;
		uint8_t bits;
	} changes[] = {
		{1, 0x01},  /* type of service */
		{8, 0x01},  /* time to live */
		{6, 0x40},  /* DF */
		{23, 0x01}, /* destination port */
		{12, 0x01}, /* source address */
		{24, 0x01}, /* sequence */
		{31, 0x01}, /* acknowledgment */
		{33, 0x02}, /* SYN */
		{33, 0x04}, /* RST */
		{33, 0x20}, /* URG */
		{33, 0x40}, /* ECE */
		{33, 0x80}, /* CWR */
		{32, 0x01}, /* reserved bits */
		{34, 0x01}, /* window */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		make(0, 80, 1000, ACK, 500);
		make(1, 80, 1500, ACK, 500);
		mem[1][changes[i].at] ^= changes[i].bits;
		fix_checksums(mem[1], lens[1], 20, 6);
		coalesce_begin(&c, COALESCE_TCP);
		assert_int_equal(add(0), COALESCE_OK);
		assert_int_equal(add(1), COALESCE_OK);
		assert_int_equal(coalesce_count(&c), 2);
	}
}

static void coalesce_add_id_without_df_must_follow(void **state)
{
	(void)state;
	for (uint16_t step = 0; step < 3; step++) {
		coalesce_begin(&c, COALESCE_TCP);
		for (unsigned i = 0; i < 2; i++) {
			make(i, 80, i * 500, ACK, 500);
			mem[i][6] = 0;
			be16_store(mem[i] + 4, (uint16_t)(0xffff + i * step));
			fix_checksums(mem[i], lens[i], 20, 6);
			assert_int_equal(add(i), COALESCE_OK);
		}
		assert_int_equal(coalesce_count(&c), step == 1 ? 1 : 2);
	}
}

/* DF or not, ids that count up come out as they were; with DF one id for all joins too, and nothing else does. */
static void coalesce_add_ids_with_df(void **state)
{
	static const struct {
		uint16_t id[3];
		unsigned groups;
	} cases[] = {
		{{7, 8, 9}, 1}, {{7, 7, 7}, 1}, {{0xffff, 0, 1}, 1},
		{{0, 0, 1}, 2}, {{7, 8, 7}, 2}, {{7, 9, 10}, 2},
		{{7, 6, 5}, 3}, {{7, 8, 8}, 2}, {{7, 8, 10}, 2},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		coalesce_begin(&c, COALESCE_TCP);
		for (unsigned i = 0; i < 3; i++) {
			make(i, 80, i * 500, ACK, 500);
			be16_store(mem[i] + 4, cases[k].id[i]);
			fix_checksums(mem[i], lens[i], 20, 6);
			assert_int_equal(add(i), COALESCE_OK);
		}
		assert_int_equal(coalesce_count(&c), cases[k].groups);
	}
}

static void coalesce_add_bad_checksum_never_joins(void **state)
{
	(void)state;
	for (unsigned bad = 0; bad < 3; bad++) {
		coalesce_begin(&c, COALESCE_TCP);
		for (unsigned i = 0; i < 3; i++) {
			make(i, 80, i * 500, ACK, 500);
			if (i == bad)
				mem[i][100] ^= 1;
			assert_int_equal(add(i), COALESCE_OK);
		}
		/* The bad one goes alone and untouched; what is left of the run joins. */
		assert_int_equal(coalesce_count(&c), bad == 1 ? 3 : 2);
		expect(bad == 0 ? 0 : bad, 1, bad);
	}
}

static void coalesce_add_short_or_pushed_ends_run(void **state)
{
	(void)state;
	coalesce_begin(&c, COALESCE_TCP);
	make(0, 80, 0, ACK, 500);
	make(1, 80, 500, ACK, 400);
	make(2, 80, 900, ACK, 400);
	make(3, 80, 1300, ACK | PSH, 400);
	make(4, 80, 1700, ACK, 400);
	make(5, 80, 2100, ACK, 500);
	make(6, 80, 2600, ACK | FIN, 500);
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(add(i), COALESCE_OK);
	assert_int_equal(coalesce_count(&c), 4);
	expect(0, 2, 0);
	expect(1, 2, 2);
	expect(2, 1, 4);
	expect(3, 2, 5);
}

/* A packet of the flow that cannot join keeps its place among those that can. */
static void coalesce_add_pure_ack_keeps_order(void **state)
{
	(void)state;
	coalesce_begin(&c, COALESCE_TCP);
	make(0, 80, 0, ACK, 500);
	make(1, 80, 500, ACK, 0);
	make(2, 80, 500, ACK, 500);
	make(3, 81, 0, ACK, 500);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(add(i), COALESCE_OK);
	assert_int_equal(coalesce_count(&c), 4);
	for (unsigned i = 0; i < 4; i++)
		expect(i, 1, i);
}

static void coalesce_add_fragment_is_a_barrier(void **state)
{
	(void)state;
	coalesce_begin(&c, COALESCE_ALL);
	make_udp(0, 80, 100);
	make_udp(1, 80, 100);
	make_udp(2, 80, 100);
	mem[1][6] = 0x20;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(add(i), COALESCE_OK);
	assert_int_equal(coalesce_count(&c), 3);
}

static void coalesce_add_udp_without_checksum_stays_alone(void **state)
{
	(void)state;
	coalesce_begin(&c, COALESCE_ALL);
	for (unsigned i = 0; i < 2; i++) {
		make_udp(i, 80, 100);
		be16_store(mem[i] + 26, 0);
		assert_int_equal(add(i), COALESCE_OK);
	}
	assert_int_equal(coalesce_count(&c), 2);
}

static void coalesce_add_udp_joins_only_when_asked(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++)
		make_udp(i, 80, 100);
	coalesce_begin(&c, COALESCE_TCP);
	assert_int_equal(add(0), COALESCE_OK);
	assert_int_equal(add(1), COALESCE_OK);
	assert_int_equal(coalesce_count(&c), 2);
	coalesce_begin(&c, COALESCE_ALL);
	assert_int_equal(add(0), COALESCE_OK);
	assert_int_equal(add(1), COALESCE_OK);
	assert_int_equal(coalesce_count(&c), 1);
	assert_int_equal(vnet_load(coalesce_out(&c, 0).iov[0].iov_base).gso_type, VNET_GSO_UDP);
}

static void coalesce_plain_writes_packets_only(void **state)
{
	(void)state;
	coalesce_begin(&c, COALESCE_PLAIN);
	for (unsigned i = 0; i < 2; i++) {
		make(i, 80, i * 500, ACK, 500);
		assert_int_equal(add(i), COALESCE_OK);
	}
	assert_int_equal(coalesce_count(&c), 2);
	for (unsigned i = 0; i < 2; i++) {
		struct coalesce_write w = coalesce_out(&c, i);

		assert_int_equal(w.iov_count, 1);
		assert_ptr_equal(w.iov[0].iov_base, mem[i]);
		assert_int_equal(w.iov[0].iov_len, lens[i]);
	}
}

static void coalesce_add_beyond_limit_returns_full(void **state)
{
	unsigned packets = 0;

	(void)state;
	coalesce_begin(&c, COALESCE_TCP);
	for (unsigned i = 0; i <= COALESCE_PACKETS; i++) {
		make(i, 80, i * 1400, ACK, 1400);
		assert_int_equal(add(i), i < COALESCE_PACKETS ? COALESCE_OK : COALESCE_FULL);
	}
	for (unsigned i = 0; i < coalesce_count(&c); i++) {
		struct coalesce_write w = coalesce_out(&c, i);
		size_t bytes = 0;

		for (unsigned k = 0; k < w.iov_count; k++)
			bytes += w.iov[k].iov_len;
		assert_true(bytes <= VNET_BYTES + 65535);
		packets += w.packets;
	}
	assert_int_equal(packets, COALESCE_PACKETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(coalesce_out_run_has_header_of_super_packet),
		cmocka_unit_test(coalesce_add_partial_asks_for_the_sum),
		cmocka_unit_test(coalesce_add_partial_with_bad_ip_header_is_not_joined),
		cmocka_unit_test(coalesce_add_flows_mixed_stay_apart),
		cmocka_unit_test(coalesce_add_difference_ends_run),
		cmocka_unit_test(coalesce_add_id_without_df_must_follow),
		cmocka_unit_test(coalesce_add_ids_with_df),
		cmocka_unit_test(coalesce_add_bad_checksum_never_joins),
		cmocka_unit_test(coalesce_add_short_or_pushed_ends_run),
		cmocka_unit_test(coalesce_add_pure_ack_keeps_order),
		cmocka_unit_test(coalesce_add_fragment_is_a_barrier),
		cmocka_unit_test(coalesce_add_udp_without_checksum_stays_alone),
		cmocka_unit_test(coalesce_add_udp_joins_only_when_asked),
		cmocka_unit_test(coalesce_plain_writes_packets_only),
		cmocka_unit_test(coalesce_add_beyond_limit_returns_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
