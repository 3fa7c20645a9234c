/* SPDX-License-Identifier: MIT */

#include "proto/ip/coalesce.h"

#include "base/bytes.h"
#include "proto/ip/csum.h"

#define TCP_SEQ   4
#define TCP_ACK   8
#define TCP_FLAGS 13
#define TCP_CSUM  16
#define TCP_FIN   0x01
#define TCP_PSH   0x08
#define TCP_ACKED 0x10
#define TCP_ECE   0x40
#define UDP_CSUM  6
/* The kernel cuts at most so many datagrams out of one (UDP_MAX_SEGMENTS before Linux 6.9). */
#define UDP_JOIN_MAX 64
#define JOINED_MAX   65535

/* What a packet is to the joining. */
enum kind {
	KIND_OTHER,   /* belongs to no flow that is ever joined */
	KIND_BARRIER, /* a piece of some flow that cannot be told: nothing joins across it */
	KIND_FLOW,    /* of a flow, but passed as it is; nothing joins across it in that flow */
	KIND_JOINABLE,
};

void coalesce_begin(struct coalesce *c, enum coalesce_mode mode)
{
	c->mode = mode;
	c->groups = 0;
	c->parts = 0;
	c->generation++;
}

unsigned coalesce_count(const struct coalesce *c)
{
	return c->groups;
}

/* Fills head_len of g for packets of KIND_JOINABLE. */
static enum kind classify(const struct coalesce *c, const uint8_t *packet, size_t len,
                          const struct inner *in, uint16_t *head_len)
{
	const uint8_t *t = packet + in->header_len;
	size_t left = len - in->header_len;

	if (in->fragment)
		return KIND_BARRIER;
	if (in->proto != INNER_TCP && (in->proto != INNER_UDP || c->mode != COALESCE_ALL))
		return KIND_OTHER;
	if (in->header_len != (in->version == 4 ? INNER_IP4_HEADER : INNER_IP6_HEADER) || left < 8)
		return KIND_BARRIER;
	if (in->proto == INNER_UDP) {
		*head_len = (uint16_t)(in->header_len + INNER_UDP_HEADER);
		return be16_load(t + 4) == left && left > INNER_UDP_HEADER &&
		                       be16_load(t + UDP_CSUM) != 0
		               ? KIND_JOINABLE
		               : KIND_FLOW;
	}
	if (left < INNER_TCP_HEADER)
		return KIND_FLOW;
	size_t header = (size_t)(t[12] >> 4) * 4;
	*head_len = (uint16_t)(in->header_len + header);
	return header >= INNER_TCP_HEADER && header < left &&
	                       (t[TCP_FLAGS] & ~(TCP_PSH | TCP_FIN | TCP_ECE)) == TCP_ACKED
	               ? KIND_JOINABLE
	               : KIND_FLOW;
}

/* Where the flow of a packet with a transport header of at least 4 bytes is remembered. */
static unsigned flow_slot(const uint8_t *packet, const struct inner *in)
{
	uint64_t a, b = 0, h;

	/* Both addresses stand side by side in either version. */
	memcpy(&a, in->src + in->addr_len - 4, 4 + sizeof(uint32_t));
	memcpy(&b, packet + in->header_len, 4);
	if (in->version == 6) {
		uint32_t last;

		memcpy(&last, in->dst + 12, sizeof(last));
		b ^= (uint64_t)last << 32;
	}
	h = (a ^ (b << 8) ^ in->proto) * 0x9e3779b97f4a7c15u;
	return (unsigned)(h >> 32) % COALESCE_FLOWS;
}

static bool same_flow(const struct coalesce_group *g, const uint8_t *packet, const struct inner *in)
{
	return g->inner.version == in->version && g->inner.proto == in->proto &&
	       memcmp(g->inner.src, in->src, (size_t)in->addr_len * 2) == 0 &&
	       memcmp(g->packet + g->inner.header_len, packet + in->header_len, 4) == 0;
}

/* IP and, unless it is still to be made, transport checksum of a packet of KIND_JOINABLE. */
static bool is_intact(const uint8_t *packet, size_t len, const struct inner *in, bool partial)
{
	size_t left = len - in->header_len;

	if (in->version == 4 && csum_fold(csum_add(0, packet, INNER_IP4_HEADER)) != 0xffff)
		return false;
	if (partial)
		return true;
	uint64_t sum = csum_add_pseudo(0, in->src, in->dst, in->addr_len, in->proto, left);
	return csum_fold(csum_add(sum, packet + in->header_len, left)) == 0xffff;
}

/*
 * Cut again, the ids count up from the first. A sender that gives the same id to all packets with DF, which have no use for
 * one (RFC 6864 4.1), joins too.
 */
static bool same_id(const struct coalesce_group *g, const uint8_t *packet, const struct inner *in)
{
	uint16_t step = (uint16_t)(be16_load(packet + 4) - be16_load(g->packet + 4));

	if (step == g->count && !g->same_ids)
		return true;
	return step == 0 && in->dont_fragment && (g->count == 1 || g->same_ids);
}

/* What would be lost by joining: everything in the IP header but length, id and checksum. */
static bool same_ip(const struct coalesce_group *g, const uint8_t *packet, const struct inner *in)
{
	const uint8_t *first = g->packet;

	if (in->version == 6)
		return memcmp(first, packet, 4) == 0 && first[7] == packet[7];
	return first[1] == packet[1] && first[8] == packet[8] &&
	       memcmp(first + 6, packet + 6, 2) == 0 && same_id(g, packet, in);
}

static bool same_tcp(const struct coalesce_group *g, const uint8_t *t, size_t header)
{
	const uint8_t *first = g->packet + g->inner.header_len;
	uint8_t changed = first[TCP_FLAGS] ^ t[TCP_FLAGS];

	return be32_load(t + TCP_SEQ) == g->next_seq &&
	       memcmp(first + TCP_ACK, t + TCP_ACK, 5) == 0 &&
	       (changed & ~(TCP_PSH | TCP_FIN)) == 0 && memcmp(first + 14, t + 14, 2) == 0 &&
	       memcmp(first + 18, t + 18, header - 18) == 0;
}

static bool can_join(const struct coalesce_group *g, const uint8_t *packet, size_t len,
                     const struct inner *in, uint16_t head_len)
{
	size_t n = len - head_len;

	if (g->closed || g->head_len != head_len || n > g->size ||
	    g->head_len + g->payload_len + n > JOINED_MAX || !same_ip(g, packet, in))
		return false;
	if (in->proto == INNER_UDP)
		return g->count < UDP_JOIN_MAX;
	return same_tcp(g, packet + in->header_len, (size_t)head_len - in->header_len);
}

static void put_part(struct coalesce *c, struct coalesce_group *g, const uint8_t *data, size_t len)
{
	uint16_t i = (uint16_t)c->parts++;

	c->part[i] = (struct coalesce_part){
		.data = data, .len = (uint16_t)len, .next = COALESCE_PACKETS};
	if (g->count++ == 0)
		g->first = i;
	else
		c->part[g->last].next = i;
	g->last = i;
	g->payload_len += (uint32_t)len;
}

static void join(struct coalesce *c, struct coalesce_group *g, const uint8_t *packet, size_t len,
                 const struct inner *in)
{
	size_t n = len - g->head_len;

	put_part(c, g, packet + g->head_len, n);
	g->next_seq += (uint32_t)n;
	if (in->version == 4)
		g->same_ids = be16_load(packet + 4) == be16_load(g->packet + 4);
	g->closed = n < g->size;
	if (in->proto == INNER_TCP) {
		g->more_flags = packet[in->header_len + TCP_FLAGS] & (TCP_PSH | TCP_FIN);
		g->closed |= g->more_flags != 0;
	}
}

static struct coalesce_group *put_group(struct coalesce *c, const uint8_t *packet, size_t len,
                                        const struct inner *in, enum kind kind, uint16_t head_len)
{
	struct coalesce_group *g = &c->group[c->groups++];
	bool joinable = kind == KIND_JOINABLE;

	*g = (struct coalesce_group){
		.packet = packet,
		.packet_len = len,
		.inner = *in,
		.closed = !joinable,
	};
	if (!joinable) {
		put_part(c, g, packet, 0);
		return g;
	}
	g->head_len = head_len;
	g->size = (uint16_t)(len - head_len);
	put_part(c, g, packet + head_len, g->size);
	if (in->proto == INNER_TCP) {
		const uint8_t *t = packet + in->header_len;

		g->next_seq = be32_load(t + TCP_SEQ) + g->size;
		g->closed = (t[TCP_FLAGS] & (TCP_PSH | TCP_FIN)) != 0;
	}
	return g;
}

static int add(struct coalesce *c, const uint8_t *packet, size_t len, const struct inner *in,
               bool partial)
{
	uint16_t head_len = 0;
	enum kind kind = KIND_OTHER;

	if (c->parts == COALESCE_PACKETS)
		return COALESCE_FULL;
	if (c->mode != COALESCE_PLAIN)
		kind = classify(c, packet, len, in, &head_len);
	if (kind == KIND_BARRIER)
		c->generation++;
	if (kind == KIND_OTHER || kind == KIND_BARRIER) {
		put_group(c, packet, len, in, kind, 0)->partial = partial;
		return COALESCE_OK;
	}

	unsigned slot = flow_slot(packet, in);
	bool known = c->flow[slot].generation == c->generation;
	struct coalesce_group *g = &c->group[c->flow[slot].group];
	if (kind == KIND_JOINABLE && known && g->partial == partial && same_flow(g, packet, in) &&
	    can_join(g, packet, len, in, head_len)) {
		if (!g->verified) {
			g->verified = true;
			g->closed = !is_intact(g->packet, g->packet_len, &g->inner, partial);
		}
		if (!g->closed && is_intact(packet, len, in, partial)) {
			join(c, g, packet, len, in);
			return COALESCE_OK;
		}
	}
	g = put_group(c, packet, len, in, kind, head_len);
	g->partial = partial;
	c->flow[slot].generation = c->generation;
	c->flow[slot].group = (uint16_t)(g - c->group);
	return COALESCE_OK;
}

int coalesce_add(struct coalesce *c, const uint8_t *packet, size_t len, const struct inner *in)
{
	return add(c, packet, len, in, false);
}

int coalesce_add_partial(struct coalesce *c, const uint8_t *packet, size_t len,
                         const struct inner *in)
{
	return add(c, packet, len, in, true);
}

static uint16_t csum_offset(const struct inner *in)
{
	return in->proto == INNER_TCP ? TCP_CSUM : UDP_CSUM;
}

/* Writes virtio, IP and transport header of a joined group to c->head. */
static void write_head(struct coalesce *c, const struct coalesce_group *g)
{
	const struct inner *in = &g->inner;
	uint8_t *ip = c->head + VNET_BYTES, *t = ip + in->header_len;
	size_t transport_len = (size_t)g->head_len - in->header_len + g->payload_len;
	bool tcp = in->proto == INNER_TCP;
	uint16_t field = csum_offset(in);
	struct vnet h = {
		.flags = VNET_NEEDS_CSUM,
		.gso_type = !tcp               ? VNET_GSO_UDP
	                    : in->version == 4 ? VNET_GSO_TCP4
	                                       : VNET_GSO_TCP6,
		.hdr_len = g->head_len,
		.gso_size = g->size,
		.csum_start = in->header_len,
		.csum_offset = field,
	};

	vnet_store(c->head, &h);
	memcpy(ip, g->packet, g->head_len);
	if (in->version == 4) {
		be16_store(ip + 2, (uint16_t)(in->header_len + transport_len));
		csum_store(ip + 10, 0);
		csum_store(ip + 10, (uint16_t)~csum_fold(csum_add(0, ip, INNER_IP4_HEADER)));
	} else {
		be16_store(ip + 4, (uint16_t)transport_len);
	}
	if (tcp)
		t[TCP_FLAGS] |= g->more_flags;
	else
		be16_store(t + 4, (uint16_t)transport_len);
	/* The kernel goes on from the sum of the pseudo header. */
	csum_store(t + field, csum_fold(csum_add_pseudo(0, in->src, in->dst, in->addr_len,
	                                                in->proto, transport_len)));
}

/* struct iovec has no const; what reads it does not write. */
static void *iov_base(const uint8_t *p)
{
	void *base;

	memcpy(&base, &p, sizeof(base));
	return base;
}

struct coalesce_write coalesce_out(struct coalesce *c, unsigned i)
{
	const struct coalesce_group *g = &c->group[i];
	struct coalesce_write w = {.iov = c->iov, .packets = g->count, .bytes = g->packet_len};

	c->iov[0].iov_base = c->head;
	if (g->count == 1) {
		struct vnet h = {0};

		if (g->partial)
			h = (struct vnet){.flags = VNET_NEEDS_CSUM,
			                  .csum_start = g->inner.header_len,
			                  .csum_offset = csum_offset(&g->inner)};
		vnet_store(c->head, &h);
		c->iov[0].iov_len = VNET_BYTES;
		c->iov[1] =
			(struct iovec){.iov_base = iov_base(g->packet), .iov_len = g->packet_len};
		w.iov_count = 2;
		if (c->mode == COALESCE_PLAIN) {
			w.iov = c->iov + 1;
			w.iov_count = 1;
		}
		return w;
	}
	write_head(c, g);
	c->iov[0].iov_len = VNET_BYTES + (size_t)g->head_len;
	w.iov_count = 1;
	for (unsigned k = g->first; k < COALESCE_PACKETS; k = c->part[k].next)
		c->iov[w.iov_count++] = (struct iovec){.iov_base = iov_base(c->part[k].data),
		                                       .iov_len = c->part[k].len};
	w.bytes = g->payload_len + (size_t)g->head_len * g->count;
	return w;
}
