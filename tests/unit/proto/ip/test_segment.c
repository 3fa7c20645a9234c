/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packets.h"
#include "proto/ip/coalesce.h"
#include "proto/ip/csum.h"
#include "proto/ip/segment.h"

#define FIN 0x01
#define PSH 0x08
#define ACK 0x10
#define CWR 0x80

static uint8_t super[70000], out[120000], again[70000];
static struct coalesce joined;

/* A super-packet as the kernel gives it: the checksum field holds what the card should go on from. */
static size_t make_super(const struct packet_spec *spec, struct vnet *h, uint16_t size)
{
	size_t len = packet_make(super, spec), header = spec->version == 4 ? 20 : 40;

	*h = (struct vnet){
		.flags = VNET_NEEDS_CSUM,
		.gso_type = spec->proto == 17    ? VNET_GSO_UDP
	                    : spec->version == 4 ? VNET_GSO_TCP4
	                                         : VNET_GSO_TCP6,
		.hdr_len = 9, /* nonsense on purpose */
		.gso_size = size,
		.csum_start = (uint16_t)header,
		.csum_offset = spec->proto == 6 ? 16 : 6,
	};
	be16_store(super + header + h->csum_offset, 0x1234);
	return len;
}

static void segment_next_tcp_cuts_as_a_card(void **state)
{
	struct packet_spec spec = {.version = 4,
	                           .proto = 6,
	                           .flags = ACK | PSH | FIN | CWR,
	                           .port = 80,
	                           .id = 0xfffe,
	                           .seq = 0xfffffff0,
	                           .tcp_options = 12,
	                           .payload = 2500,
	                           .seed = 5};
	static const uint8_t flags[] = {ACK | CWR, ACK, ACK | PSH | FIN};
	static const size_t sizes[] = {1000, 1000, 500};
	struct vnet h;
	struct inner in;
	struct segment s;
	size_t len = make_super(&spec, &h, 1000);

	(void)state;
	h.gso_type |= VNET_GSO_ECN;
	assert_int_equal(inner_parse(super, len, &in), INNER_OK);
	assert_int_equal(segment_begin(&s, &h, &in, super, len), SEGMENT_OK);
	assert_int_equal(segment_count(&s), 3);
	assert_int_equal(segment_equal(&s), 2);
	for (unsigned i = 0; i < 3; i++) {
		struct inner cut;

		assert_int_equal(segment_next_len(&s), 52 + sizes[i]);
		segment_next(&s, out);
		assert_int_equal(inner_parse(out, 52 + sizes[i], &cut), INNER_OK);
		assert_true(packet_is_intact(out, 52 + sizes[i], 20, 6));
		assert_int_equal(be16_load(out + 4), (uint16_t)(0xfffe + i));
		assert_int_equal(be32_load(out + 24), 0xfffffff0 + 1000 * i);
		assert_int_equal(out[33], flags[i]);
		assert_memory_equal(out + 52, super + 52 + 1000 * i, sizes[i]);
	}
	assert_int_equal(segment_next_len(&s), 0);
}

static void segment_next_udp_cuts_datagrams(void **state)
{
	struct packet_spec spec = {
		.version = 6, .proto = 17, .port = 80, .payload = 2001, .seed = 6};
	struct vnet h;
	struct inner in;
	struct segment s;
	size_t len = make_super(&spec, &h, 1000);

	(void)state;
	assert_int_equal(inner_parse(super, len, &in), INNER_OK);
	assert_int_equal(segment_begin(&s, &h, &in, super, len), SEGMENT_OK);
	for (unsigned i = 0; i < 3; i++) {
		size_t n = i == 2 ? 1 : 1000;

		assert_int_equal(segment_next_len(&s), 48 + n);
		segment_next(&s, out);
		assert_int_equal(be16_load(out + 4), 8 + n);
		assert_int_equal(be16_load(out + 44), 8 + n);
		assert_true(packet_is_intact(out, 48 + n, 40, 17));
	}
	assert_int_equal(segment_next_len(&s), 0);
}

/* As the kernel hands out and takes a packet whose checksum is still to be made; made again it is as always. */
static void segment_leave_sums_leaves_that_of_the_pseudo_header(void **state)
{
	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		struct packet_spec spec = {.version = version,
		                           .proto = 6,
		                           .flags = ACK,
		                           .tcp_options = 12,
		                           .payload = 2500,
		                           .seed = 7};
		size_t header = version == 4 ? 20 : 40, addresses = version == 4 ? 8 : 32;
		struct vnet h;
		struct inner in;
		struct segment s;
		size_t len = make_super(&spec, &h, 1000);

		assert_int_equal(inner_parse(super, len, &in), INNER_OK);
		assert_int_equal(segment_begin(&s, &h, &in, super, len), SEGMENT_OK);
		segment_leave_sums(&s);
		segment_next(&s, out);
		assert_memory_equal(out + header + 32, super + header + 32, 1000);
		assert_int_equal(be16_load(out + header + 16),
		                 slow_sum(out + header - addresses, addresses, 6 + 32 + 1000));
		h = (struct vnet){.flags = VNET_NEEDS_CSUM,
		                  .csum_start = (uint16_t)header,
		                  .csum_offset = 16};
		assert_int_equal(inner_parse(out, header + 1032, &in), INNER_OK);
		assert_int_equal(segment_finish(&h, &in, out, header + 1032), SEGMENT_OK);
		assert_true(packet_is_intact(out, header + 1032, header, 6));
		segment_make_sums(&s);
		segment_next(&s, out);
		assert_true(packet_is_intact(out, header + 1032, header, 6));
	}
}

static void segment_begin_contradiction_is_refused(void **state)
{
	struct packet_spec spec = {.version = 4, .proto = 6, .flags = ACK, .payload = 100};
	struct vnet h;
	struct inner in;
	struct segment s;
	size_t len = make_super(&spec, &h, 50);

	(void)state;
	assert_int_equal(inner_parse(super, len, &in), INNER_OK);
	struct vnet bad = h;
	bad.gso_size = 0;
	assert_int_equal(segment_begin(&s, &bad, &in, super, len), SEGMENT_BAD);
	bad = h;
	bad.gso_type = VNET_GSO_TCP6;
	assert_int_equal(segment_begin(&s, &bad, &in, super, len), SEGMENT_BAD);
	bad.gso_type = VNET_GSO_UDP;
	assert_int_equal(segment_begin(&s, &bad, &in, super, len), SEGMENT_BAD);
	bad.gso_type = 3;
	assert_int_equal(segment_begin(&s, &bad, &in, super, len), SEGMENT_BAD);
	super[32] = 0x40; /* data offset 4 */
	assert_int_equal(segment_begin(&s, &h, &in, super, len), SEGMENT_BAD);
	super[32] = 0xf0;
	be16_store(super + 2, 80);
	assert_int_equal(inner_parse(super, 80, &in), INNER_OK);
	assert_int_equal(segment_begin(&s, &h, &in, super, 80), SEGMENT_BAD); /* no payload */
	super[6] = 0x20;
	assert_int_equal(inner_parse(super, 80, &in), INNER_OK);
	super[32] = 0x50;
	assert_int_equal(segment_begin(&s, &h, &in, super, 80), SEGMENT_BAD); /* fragment */
}

static void segment_finish_completes_checksum(void **state)
{
	struct packet_spec spec = {.version = 6, .proto = 17, .port = 53, .payload = 61, .seed = 8};
	struct inner in;
	size_t len = packet_make(super, &spec);
	struct vnet h = {.flags = VNET_NEEDS_CSUM, .csum_start = 40, .csum_offset = 6};

	(void)state;
	assert_int_equal(inner_parse(super, len, &in), INNER_OK);
	memcpy(again, super, len);
	csum_store(super + 46, csum_fold(csum_add_pseudo(0, in.src, in.dst, 16, 17, len - 40)));
	assert_int_equal(segment_finish(&h, &in, super, len), SEGMENT_OK);
	assert_memory_equal(super, again, len);
	h.csum_start = 39;
	assert_int_equal(segment_finish(&h, &in, super, len), SEGMENT_BAD);
	h.csum_start = (uint16_t)(len - 7);
	assert_int_equal(segment_finish(&h, &in, super, len), SEGMENT_BAD);
	h.csum_start = 0xffff;
	h.csum_offset = 0xffff;
	assert_int_equal(segment_finish(&h, &in, super, len), SEGMENT_BAD);
	h.flags = 0;
	assert_int_equal(segment_finish(&h, &in, super, len), SEGMENT_OK);
	assert_memory_equal(super, again, len);
}

static size_t gather(const struct coalesce_write *w, uint8_t *to)
{
	size_t n = 0;

	for (unsigned i = 0; i < w->iov_count; i++) {
		memcpy(to + n, w->iov[i].iov_base, w->iov[i].iov_len);
		n += w->iov[i].iov_len;
	}
	return n;
}

/* Cut, join, and cut again: the two sets of packets are the same, bit by bit. */
static void round_trip(struct rng *rng)
{
	struct packet_spec spec = {
		.version = rng_below(rng, 2) == 0 ? 4 : 6,
		.proto = rng_below(rng, 3) == 0 ? 17 : 6,
		.flags = (uint8_t)(ACK | (rng_below(rng, 2) != 0 ? PSH : 0) |
	                           (rng_below(rng, 4) == 0 ? FIN : 0)),
		.port = (uint16_t)rng_u32(rng),
		.id = (uint16_t)rng_u32(rng),
		.seq = rng_u32(rng),
		.tcp_options = 4 * (size_t)rng_below(rng, 11),
		.payload = 1 + rng_below(rng, 60000),
		.seed = rng_u64(rng),
	};
	uint16_t size = (uint16_t)(200 + rng_below(rng, 1200));
	struct vnet h;
	struct inner in;
	struct segment s;
	size_t at = 0, n = 0;

	if (spec.proto == 17)
		spec.payload = 1 + rng_below(rng, 60u * size < 60000 ? 60u * size : 60000);
	if (spec.payload / size >= COALESCE_PACKETS)
		spec.payload = (COALESCE_PACKETS - 1) * (size_t)size;
	size_t len = make_super(&spec, &h, size);
	assert_int_equal(inner_parse(super, len, &in), INNER_OK);
	assert_int_equal(segment_begin(&s, &h, &in, super, len), SEGMENT_OK);
	coalesce_begin(&joined, COALESCE_ALL);
	while ((n = segment_next_len(&s)) > 0) {
		struct inner cut;

		segment_next(&s, out + at);
		assert_int_equal(inner_parse(out + at, n, &cut), INNER_OK);
		assert_int_equal(coalesce_add(&joined, out + at, n, &cut), COALESCE_OK);
		at += n;
		assert_true(at < sizeof(out));
	}
	assert_int_equal(coalesce_count(&joined), 1);
	struct coalesce_write w = coalesce_out(&joined, 0);
	assert_int_equal(w.packets, (spec.payload + size - 1) / size);
	assert_int_equal(w.bytes, at);

	size_t total = gather(&w, again);
	h = vnet_load(again);
	assert_int_equal(total - VNET_BYTES, w.packets == 1 ? at : len);
	if (w.packets == 1) {
		assert_memory_equal(again + VNET_BYTES, out, at);
		return;
	}
	assert_int_equal(inner_parse(again + VNET_BYTES, len, &in), INNER_OK);
	assert_int_equal(segment_begin(&s, &h, &in, again + VNET_BYTES, len), SEGMENT_OK);
	at = 0;
	while ((n = segment_next_len(&s)) > 0) {
		segment_next(&s, super);
		assert_memory_equal(super, out + at, n);
		at += n;
	}
	assert_int_equal(at, w.bytes);
}

static void segment_then_coalesce_random_gives_back_packets(void **state)
{
	struct rng rng = rng_seeded(42);

	(void)state;
	for (int i = 0; i < 500; i++)
		round_trip(&rng);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segment_next_tcp_cuts_as_a_card),
		cmocka_unit_test(segment_next_udp_cuts_datagrams),
		cmocka_unit_test(segment_leave_sums_leaves_that_of_the_pseudo_header),
		cmocka_unit_test(segment_begin_contradiction_is_refused),
		cmocka_unit_test(segment_finish_completes_checksum),
		cmocka_unit_test(segment_then_coalesce_random_gives_back_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
