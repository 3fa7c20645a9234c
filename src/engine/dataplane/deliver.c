/* SPDX-License-Identifier: MIT */

/* From a link to the TUN: who may say what to whom, joining, one write for a run. */

#include "engine/dataplane/shard.h"

#include "base/bytes.h"
#include "proto/ip/mss.h"
#include "proto/ip/segment.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

enum destination {
	DESTINATION_US,
	DESTINATION_ALL, /* broadcast or multicast */
	DESTINATION_OTHER,
};

static enum destination destination_of(const struct net *n, const struct inner *in)
{
	if (in->version == 6) {
		if (n->c.ip6.family == NETADDR_IP6 && memcmp(in->dst, n->c.ip6.ip, 16) == 0)
			return DESTINATION_US;
		return in->dst[0] == 0xff ? DESTINATION_ALL : DESTINATION_OTHER;
	}
	uint32_t dst = be32_load(in->dst);
	if (n->hosts == 0)
		return DESTINATION_OTHER;
	if (dst == n->own4)
		return DESTINATION_US;
	return dst == n->broadcast4 || dst == UINT32_MAX || dst >> 28 == 0xe ? DESTINATION_ALL
	                                                                     : DESTINATION_OTHER;
}

static bool is_from_peer(const struct peer *p, const struct inner *in)
{
	const struct netaddr *ip = in->version == 4 ? &p->c.ip4 : &p->c.ip6;

	return ip->family != NETADDR_NONE && memcmp(in->src, ip->ip, in->addr_len) == 0;
}

/* Returns true when the packet may pass; else it was counted. */
static bool admit(struct shard *s, struct link *l, const uint8_t *data, size_t len,
                  struct inner *in)
{
	struct peer *p = l->peer;
	enum dataplane_drop why;

	if (!l->ip_allowed) {
		why = DATAPLANE_DROP_RX_EARLY;
	} else if (inner_parse(data, len, in) != INNER_OK) {
		why = DATAPLANE_DROP_RX_BAD;
	} else if (!is_from_peer(p, in)) {
		why = DATAPLANE_DROP_RX_SOURCE;
	} else {
		switch (destination_of(p->net, in)) {
		case DESTINATION_US:
			return true;
		case DESTINATION_ALL:
			if (bucket_take(&p->broadcasts, s->now_us, BROADCAST_RATE, BROADCAST_BURST,
			                1))
				return true;
			why = DATAPLANE_DROP_RX_LIMITED;
			break;
		case DESTINATION_OTHER:
			why = DATAPLANE_DROP_RX_DEST;
			break;
		}
	}
	drop(p->stats, why, 1);
	return false;
}

static void write_one(struct shard *s, struct link *l, const struct coalesce_write *w)
{
	struct net *n = l->peer->net;
	struct dataplane_stats *stats = l->peer->stats;

	if (!n->tun_lost && writev(n->tun_fd, w->iov, (int)w->iov_count) >= 0) {
		stat_add(&stats->rx_packets, w->packets);
		stat_add(&stats->rx_bytes, w->bytes);
		return;
	}
	drop(stats, DATAPLANE_DROP_RX_TUN, w->packets);
	if (!n->tun_lost && (errno == EBADFD || errno == ENODEV))
		net_tun_lost(s, n);
}

static void begin(struct shard *s, const struct net *n)
{
	coalesce_begin(&s->join, !n->c.tun_vnet_hdr ? COALESCE_PLAIN
	                         : n->c.tun_uso     ? COALESCE_ALL
	                                            : COALESCE_TCP);
	s->syns = 0;
}

void deliver_flush(struct shard *s, struct link *l)
{
	for (unsigned i = 0; i < coalesce_count(&s->join); i++) {
		struct coalesce_write w = coalesce_out(&s->join, i);

		write_one(s, l, &w);
	}
	begin(s, l->peer->net);
}

/* A copy that may be changed, valid until the next flush; NULL when it is too long for that. */
static uint8_t *copy_changed(struct shard *s, struct link *l, const uint8_t *data, size_t len)
{
	if (len > SHARD_SYN_BYTES)
		return NULL;
	if (s->syns == SHARD_SYNS)
		deliver_flush(s, l);
	return memcpy(s->syn[s->syns++], data, len);
}

_Static_assert(COALESCE_PACKETS >= SHARD_PACKETS, "a round is flushed before it is full");

/* link_input() takes at most SHARD_PACKETS messages, and flushes. */
static void added(int result)
{
	assert(result == COALESCE_OK);
	(void)result; /* without asserts */
}

void deliver(struct shard *s, struct link *l, const uint8_t *data, size_t len)
{
	const struct net *n = l->peer->net;
	size_t mtu = GV_MIN(l->payload_bytes, n->c.mtu);
	struct inner in;

	if (!admit(s, l, data, len, &in))
		return;
	if (coalesce_count(&s->join) == 0)
		begin(s, n);
	if (mss_applies(data, len, &in)) {
		uint8_t *copy = copy_changed(s, l, data, len);

		/* The addresses in `in` point to the original, which says the same. */
		if (copy != NULL && mss_clamp(copy, len, &in, mtu))
			data = copy;
	}
	added(coalesce_add(&s->join, data, len, &in));
}

/* Where the transport checksum is to be made. False: the packet has none that could be. */
static bool partial_sum(const struct inner *in, size_t len, struct vnet *out)
{
	bool tcp = in->proto == INNER_TCP;
	size_t least = tcp ? INNER_TCP_HEADER : INNER_UDP_HEADER;

	if (in->fragment || (!tcp && in->proto != INNER_UDP) || len - in->header_len < least)
		return false;
	*out = (struct vnet){.flags = VNET_NEEDS_CSUM,
	                     .csum_start = in->header_len,
	                     .csum_offset = tcp ? 16 : 6};
	return true;
}

void deliver_partial(struct shard *s, struct link *l, const uint8_t *data, size_t len)
{
	const struct net *n = l->peer->net;
	struct inner in;
	struct vnet sum;

	if (!admit(s, l, data, len, &in))
		return;
	if (!partial_sum(&in, len, &sum)) {
		drop(l->peer->stats, DATAPLANE_DROP_RX_BAD, 1);
		return;
	}
	if (coalesce_count(&s->join) == 0)
		begin(s, n);
	if (n->c.tun_vnet_hdr) {
		added(coalesce_add_partial(&s->join, data, len, &in));
		return;
	}
	/* An interface that cannot be asked. */
	uint8_t *copy = copy_changed(s, l, data, len);
	if (copy == NULL || segment_finish(&sum, &in, copy, len) != SEGMENT_OK) {
		drop(l->peer->stats, DATAPLANE_DROP_RX_BAD, 1);
		return;
	}
	added(coalesce_add(&s->join, copy, len, &in));
}
