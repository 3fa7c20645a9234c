/* SPDX-License-Identifier: MIT */

#include "proto/ip/segment.h"

#include "base/bytes.h"
#include "proto/ip/csum.h"

#define TCP_SEQ    4
#define TCP_FLAGS  13
#define TCP_CSUM   16
#define TCP_FIN    0x01
#define TCP_PSH    0x08
#define TCP_CWR    0x80
#define UDP_LENGTH 4
#define UDP_CSUM   6

static bool type_matches(uint8_t gso_type, const struct inner *in)
{
	switch (gso_type & ~VNET_GSO_ECN) {
	case VNET_GSO_TCP4:
		return in->version == 4 && in->proto == INNER_TCP;
	case VNET_GSO_TCP6:
		return in->version == 6 && in->proto == INNER_TCP;
	case VNET_GSO_UDP:
		return in->proto == INNER_UDP;
	default:
		return false;
	}
}

int segment_begin(struct segment *s, const struct vnet *h, const struct inner *in,
                  const uint8_t *packet, size_t len)
{
	size_t transport = INNER_UDP_HEADER;

	if (h->gso_size == 0 || in->fragment || !type_matches(h->gso_type, in))
		return SEGMENT_BAD;
	if (in->proto == INNER_TCP) {
		if (len - in->header_len < INNER_TCP_HEADER)
			return SEGMENT_BAD;
		transport = (size_t)(packet[in->header_len + 12] >> 4) * 4;
		if (transport < INNER_TCP_HEADER)
			return SEGMENT_BAD;
	}
	/* Something must be left to cut. */
	if (len - in->header_len <= transport)
		return SEGMENT_BAD;
	*s = (struct segment){
		.packet = packet,
		.len = len,
		.size = h->gso_size,
		.ip_len = in->header_len,
		.header_len = (uint16_t)(in->header_len + transport),
		.proto = in->proto,
		.version = in->version,
		.addr_len = in->addr_len,
	};
	if (s->version == 4)
		s->ip_id = be16_load(packet + 4);
	if (s->proto == INNER_TCP) {
		s->seq = be32_load(packet + s->ip_len + TCP_SEQ);
		s->tcp_flags = packet[s->ip_len + TCP_FLAGS];
	}
	return SEGMENT_OK;
}

static size_t payload_left(const struct segment *s)
{
	return s->len - s->header_len - s->at;
}

size_t segment_next_len(const struct segment *s)
{
	size_t left = payload_left(s);

	return left > 0 ? s->header_len + GV_MIN(left, (size_t)s->size) : 0;
}

size_t segment_count(const struct segment *s)
{
	return (payload_left(s) + s->size - 1) / s->size;
}

size_t segment_equal(const struct segment *s)
{
	size_t left = payload_left(s);

	return left >= s->size ? left / s->size : left > 0;
}

static void write_ip(const struct segment *s, uint8_t *out, size_t total)
{
	if (s->version == 6) {
		be16_store(out + 4, (uint16_t)(total - INNER_IP6_HEADER));
		return;
	}
	be16_store(out + 2, (uint16_t)total);
	be16_store(out + 4, (uint16_t)(s->ip_id + s->count));
	csum_store(out + 10, 0);
	csum_store(out + 10, (uint16_t)~csum_fold(csum_add(0, out, s->ip_len)));
}

/* Everything of the transport header but the checksum, whose place is zeroed. Returns that place. */
static uint8_t *write_transport(const struct segment *s, uint8_t *t, size_t n)
{
	if (s->proto == INNER_UDP) {
		be16_store(t + UDP_LENGTH, (uint16_t)(INNER_UDP_HEADER + n));
		csum_store(t + UDP_CSUM, 0);
		return t + UDP_CSUM;
	}
	uint8_t flags = s->tcp_flags;
	if (s->count > 0)
		flags &= (uint8_t)~TCP_CWR;
	if (n < payload_left(s))
		flags &= (uint8_t) ~(TCP_PSH | TCP_FIN);
	t[TCP_FLAGS] = flags;
	be32_store(t + TCP_SEQ, s->seq + (uint32_t)s->at);
	csum_store(t + TCP_CSUM, 0);
	return t + TCP_CSUM;
}

void segment_leave_sums(struct segment *s)
{
	s->leave_sums = true;
}

void segment_make_sums(struct segment *s)
{
	s->leave_sums = false;
}

void segment_next(struct segment *s, uint8_t *out)
{
	size_t n = GV_MIN(payload_left(s), (size_t)s->size);
	size_t transport = (size_t)s->header_len - s->ip_len;
	uint8_t *t = out + s->ip_len;
	const uint8_t *src = s->packet + (s->version == 4 ? 12 : 8);

	memcpy(out, s->packet, s->header_len);
	write_ip(s, out, s->header_len + n);
	uint8_t *field = write_transport(s, t, n);
	uint64_t sum =
		csum_add_pseudo(0, src, src + s->addr_len, s->addr_len, s->proto, transport + n);
	if (s->leave_sums) {
		memcpy(out + s->header_len, s->packet + s->header_len + s->at, n);
		csum_store(field, csum_fold(sum));
	} else {
		sum = csum_add(sum, t, transport);
		sum = csum_copy(sum, out + s->header_len, s->packet + s->header_len + s->at, n);
		uint16_t folded = (uint16_t)~csum_fold(sum);
		/* Zero means "none" in UDP (RFC 768). */
		csum_store(field, folded == 0 && s->proto == INNER_UDP ? 0xffff : folded);
	}
	s->at += n;
	s->count++;
}

int segment_finish(const struct vnet *h, const struct inner *in, uint8_t *packet, size_t len)
{
	size_t start = h->csum_start, field = start + h->csum_offset;

	if ((h->flags & VNET_NEEDS_CSUM) == 0)
		return SEGMENT_OK;
	if (start < in->header_len || field + 2 > len)
		return SEGMENT_BAD;
	/* The field already holds the sum of the pseudo header. */
	uint16_t folded = (uint16_t)~csum_fold(csum_add(0, packet + start, len - start));
	csum_store(packet + field, folded == 0 ? 0xffff : folded);
	return SEGMENT_OK;
}
