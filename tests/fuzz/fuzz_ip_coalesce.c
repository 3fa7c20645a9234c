/* SPDX-License-Identifier: MIT */

/*
 * Packets, each behind two bytes of length: what is written has as many bytes and packets as what came in, and a
 * super-packet, cut again, gives them back bit by bit. Only the ids of IPv4 packets with DF that all had one id may differ.
 */

#include "base/bytes.h"
#include "proto/ip/coalesce.h"
#include "proto/ip/csum.h"
#include "proto/ip/segment.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct coalesce c;
static uint8_t written[VNET_BYTES + 70000], again[70000];

/* Of this round. */
static struct packet {
	const uint8_t *data;
	size_t len;
} came[COALESCE_PACKETS];

static unsigned came_count;

static const struct packet *packet_around(const uint8_t *payload)
{
	for (unsigned i = 0; i < came_count; i++) {
		if (payload >= came[i].data && payload < came[i].data + came[i].len)
			return &came[i];
	}
	return NULL;
}

/* The id counts up in what is cut; with DF all may have had that of the first. */
static void set_id(uint8_t *packet, const struct packet *first)
{
	if ((packet[0] >> 4) != 4 || (packet[6] & 0x40) == 0)
		return;
	memcpy(packet + 4, first->data + 4, 2);
	csum_store(packet + 10, 0);
	csum_store(packet + 10, (uint16_t)~csum_fold(csum_add(0, packet, INNER_IP4_HEADER)));
}

static void check_segments(struct segment *s, const struct coalesce_write *w)
{
	const struct packet *first = packet_around(w->iov[1].iov_base);

	for (unsigned i = 1; i < w->iov_count; i++) {
		const struct packet *p = packet_around(w->iov[i].iov_base);

		assert(p != NULL && segment_next_len(s) == p->len);
		segment_next(s, again);
		if (memcmp(again, p->data, p->len) != 0)
			set_id(again, first);
		assert(memcmp(again, p->data, p->len) == 0);
	}
}

static void check_super(const struct coalesce_write *w)
{
	struct segment s;
	struct inner in;
	size_t n = 0;

	for (unsigned i = 0; i < w->iov_count; i++) {
		assert(n + w->iov[i].iov_len <= sizeof(written));
		memcpy(written + n, w->iov[i].iov_base, w->iov[i].iov_len);
		n += w->iov[i].iov_len;
	}
	struct vnet h = vnet_load(written);
	n -= VNET_BYTES;
	if (w->packets == 1) {
		assert(h.flags == 0 && h.gso_type == VNET_GSO_NONE && n == w->bytes);
		return;
	}
	assert(inner_parse(written + VNET_BYTES, n, &in) == INNER_OK);
	assert(segment_begin(&s, &h, &in, written + VNET_BYTES, n) == SEGMENT_OK);
	assert(segment_count(&s) == w->packets);
	check_segments(&s, w);
}

static void flush(unsigned *packets, size_t *bytes)
{
	for (unsigned i = 0; i < coalesce_count(&c); i++) {
		struct coalesce_write w = coalesce_out(&c, i);

		check_super(&w);
		*packets -= w.packets;
		*bytes -= w.bytes;
	}
	coalesce_begin(&c, COALESCE_ALL);
	came_count = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes_reader r = bytes_reader(data, size);
	unsigned packets = 0;
	size_t bytes = 0;

	coalesce_begin(&c, COALESCE_ALL);
	while (r.left > 2) {
		struct inner in;
		size_t len = bytes_read_u16(&r);
		const uint8_t *p = bytes_read(&r, GV_MIN(len, r.left));

		len = (size_t)(r.p - p);
		if (inner_parse(p, len, &in) != INNER_OK)
			continue;
		while (coalesce_add(&c, p, len, &in) == COALESCE_FULL)
			flush(&packets, &bytes);
		came[came_count++] = (struct packet){.data = p, .len = len};
		packets++;
		bytes += len;
	}
	flush(&packets, &bytes);
	assert(packets == 0 && bytes == 0);
	return 0;
}
