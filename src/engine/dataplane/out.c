/* SPDX-License-Identifier: MIT */

/* From the TUN to the peers: destination, cutting, trains. */

#include "engine/dataplane/shard.h"

#include "base/bytes.h"
#include "base/log.h"
#include "proto/ip/mss.h"
#include "proto/ip/segment.h"
#include "proto/ip/toobig.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utlist.h>

LOG_MODULE("dataplane");

#define IP4_LIMITED_BROADCAST 0xffffffffu

/* One packet as read from the TUN. */
struct out_packet {
	struct net *net;
	struct vnet vnet;
	struct inner inner;
	uint8_t *data;
	size_t len;
	bool to_all;    /* no answer may name its destination as the sender */
	unsigned sends; /* how many peers it went to */
};

void out_flush(struct shard *s)
{
	struct train *t = &s->train;
	enum dataplane_drop why;

	if (t->link == NULL)
		return;
	struct dataplane_stats *stats = t->link->peer->stats;
	if (t->batch.count > 0) {
		unsigned sent = link_send(s, t->link, &t->batch, &why);
		/* Without GSO a train may go in part: as many packets, if there is one in each datagram. */
		uint32_t packets = t->packets * sent / t->batch.count;

		stat_add(&stats->tx_packets, packets);
		stat_add(&stats->tx_bytes, t->bytes * sent / t->batch.count);
		if (packets < t->packets)
			drop(stats, why, t->packets - packets);
		if (sent > 0)
			atomic_store_explicit(&t->link->shared->sent_us, s->now_us,
			                      memory_order_relaxed);
	}
	/* Even when nothing left: the association waits for an answer that does not come. */
	shard_timer(s, t->link, sctp_deadline_us(t->link->keys.sctp));
	batch_reset(&t->batch);
	t->link = NULL;
	t->packets = 0;
	t->bytes = 0;
}

/* The train being filled is one of l from now on; a packet of len bytes is the next. */
static void begin_train(struct shard *s, struct link *l, size_t len)
{
	struct train *t = &s->train;

	if (t->link != l)
		out_flush(s);
	t->link = l;
	if (t->batch.count > 0)
		return;
	/* The fragments of a large packet stay together, however long that takes. */
	t->batch.cap = len > l->payload_bytes
	                       ? BATCH_MAX_BYTES
	                       : gate_train_bytes(&l->peer->net->gate, QUEUE_DATAGRAM_BYTES);
}

void out_append(struct shard *s, struct link *l, const struct pkt *pkts, size_t n)
{
	struct train *t = &s->train;

	while (n > 0) {
		const struct sctp_counters *now = sctp_counters(l->keys.sctp);
		uint64_t too_large = now->tunnel_bad_size, bad_bytes = now->tunnel_bad_bytes;
		int result = 0;

		begin_train(s, l, pkts[0].len);
		size_t k = sctp_tunnel_send(l->keys.sctp, (uint16_t)l->ip_stream, pkts, n,
		                            &t->batch, s->now_us, &result);
		too_large = now->tunnel_bad_size - too_large;
		t->bytes -= now->tunnel_bad_bytes - bad_bytes;
		if (too_large > 0)
			drop(l->peer->stats, DATAPLANE_DROP_TX_TOO_BIG, too_large);
		t->packets += (uint32_t)(k - too_large);
		for (size_t i = 0; i < k; i++)
			t->bytes += pkts[i].len;
		pkts += k;
		n -= k;
		if (n == 0)
			return;
		/* Not even an empty train takes it, or the association takes nothing now. */
		if (result != SCTP_OK || (k == 0 && t->batch.count == 0)) {
			drop(l->peer->stats, DATAPLANE_DROP_TX_QUEUE, n);
			return;
		}
		out_flush(s);
	}
}

static void flush_bunch(struct shard *s)
{
	struct bunch *b = &s->bunch;

	if (b->count == 0)
		return;
	if (queue_wanted(b->link->peer->net))
		queue_push(s, b->link, b->pkts, b->count);
	else
		out_append(s, b->link, b->pkts, b->count);
	b->count = 0;
}

static void add_to_bunch(struct shard *s, struct link *l, uint8_t *data, size_t len)
{
	struct bunch *b = &s->bunch;

	if (b->link != l || b->count == BUNCH_PACKETS)
		flush_bunch(s);
	b->link = l;
	b->pkts[b->count++] = (struct pkt){.data = data, .len = len};
}

/* Writes ICMP "too big" to the TUN. False: none may be given, the packet has to be cut by the association. */
static bool answer_too_big(struct shard *s, const struct out_packet *p, uint32_t mtu)
{
	uint8_t head[VNET_BYTES] = {0}, answer[TOOBIG_BYTES];
	size_t n = toobig_build(p->data, p->len, &p->inner, mtu, answer);
	struct iovec iov[2] = {{.iov_base = head, .iov_len = sizeof(head)},
	                       {.iov_base = answer, .iov_len = n}};
	unsigned skip = p->net->c.tun_vnet_hdr ? 0 : 1;

	if (n == 0)
		return false;
	if (bucket_take(&p->net->toobigs, s->now_us, TOOBIG_RATE, TOOBIG_BURST, 1) &&
	    writev(p->net->tun_fd, iov + skip, (int)(2 - skip)) < 0)
		drop(p->net->stats, DATAPLANE_DROP_RX_TUN, 1);
	return true;
}

/* Segments that must wait or need fragments, as many as the scratch memory holds. */
static void emit_copies(struct shard *s, struct link *l, struct segment *cut)
{
	size_t used = 0, n = 0;

	segment_make_sums(cut); /* what is copied forgets how it was cut */
	while (n < BATCH_MAX_COUNT) {
		size_t len = segment_next_len(cut);

		if (len == 0 || len > SHARD_CUT_BYTES - used)
			break;
		s->cut_pkts[n] = (struct pkt){.data = s->cut_bytes + used, .len = len};
		segment_next(cut, s->cut_pkts[n].data);
		used += len;
		n++;
	}
	if (queue_wanted(l->peer->net))
		queue_push(s, l, s->cut_pkts, n);
	else
		out_append(s, l, s->cut_pkts, n);
}

/*
 * Segments of a super-packet, written once: straight to their places in the train, which is sent whenever it is
 * full. All have one size but the last.
 */
static void emit_cut(struct shard *s, struct link *l, struct segment *cut)
{
	struct train *t = &s->train;
	uint8_t *places[BATCH_MAX_COUNT];

	while (segment_next_len(cut) > 0) {
		if (queue_wanted(l->peer->net)) {
			emit_copies(s, l, cut);
			continue;
		}
		size_t len = segment_next_len(cut);
		uint32_t ppid = l->leave_sums ? PPID_IP_PARTIAL : SCTP_PPID_BINARY;

		begin_train(s, l, len);
		size_t n = GV_MIN(segment_equal(cut), (size_t)BATCH_MAX_COUNT);
		unsigned first = t->batch.count;
		int result = 0;

		size_t k = sctp_tunnel_reserve(l->keys.sctp, (uint16_t)l->ip_stream, ppid, len, n,
		                               places, &t->batch, s->now_us, &result);
		if (l->leave_sums)
			segment_leave_sums(cut);
		for (size_t i = 0; i < k; i++)
			segment_next(cut, places[i]);
		sctp_tunnel_filled(l->keys.sctp, &t->batch, first);
		t->packets += (uint32_t)k;
		t->bytes += k * len;
		if (result == SCTP_TOO_LARGE) {
			emit_copies(s, l, cut);
		} else if (result != SCTP_OK || (k == 0 && t->batch.count == 0)) {
			drop(l->peer->stats, DATAPLANE_DROP_TX_QUEUE, segment_count(cut));
			return;
		} else if (k < n) {
			out_flush(s);
		}
	}
}

/* One packet or super-packet to one link. */
static void emit(struct shard *s, struct link *l, const struct out_packet *p)
{
	struct segment cut;
	bool is_super = p->vnet.gso_type != VNET_GSO_NONE;
	size_t largest = p->len, count = 1;

	if (is_super) {
		if (segment_begin(&cut, &p->vnet, &p->inner, p->data, p->len) != SEGMENT_OK) {
			drop(p->net->stats, DATAPLANE_DROP_TX_BAD, 1);
			return;
		}
		largest = segment_next_len(&cut);
		count = segment_count(&cut);
	}
	if (largest > l->payload_bytes && !p->to_all && answer_too_big(s, p, l->payload_bytes)) {
		drop(l->peer->stats, DATAPLANE_DROP_TX_TOO_BIG, count);
		return;
	}
	if (is_super) {
		flush_bunch(s); /* what was read first goes first */
		emit_cut(s, l, &cut);
		return;
	}
	if (mss_applies(p->data, p->len, &p->inner))
		(void)mss_clamp(p->data, p->len, &p->inner, l->payload_bytes);
	add_to_bunch(s, l, p->data, p->len);
}

/* How many packets it is on the way; 0: it cannot be cut. */
static size_t packets_of(const struct out_packet *p)
{
	struct segment cut;

	if (p->vnet.gso_type == VNET_GSO_NONE)
		return 1;
	return segment_begin(&cut, &p->vnet, &p->inner, p->data, p->len) == SEGMENT_OK
	               ? segment_count(&cut)
	               : 0;
}

static bool is_reached(const struct peer *p)
{
	return p->in_use != NULL && link_carries_ip(p->in_use);
}

static bool may_go_to_all(const struct shard *s, struct net *n, size_t packets, size_t peers)
{
	size_t copies = packets * peers;

	/* What one refuses must not cost the other. */
	return bucket_allows(&n->copies, s->now_us, COPIES_RATE, COPIES_BURST, copies) &&
	       bucket_take(&n->broadcasts, s->now_us, BROADCAST_RATE, BROADCAST_BURST, packets) &&
	       bucket_take(&n->copies, s->now_us, COPIES_RATE, COPIES_BURST, copies);
}

static void emit_to_all(struct shard *s, struct out_packet *p)
{
	size_t packets = packets_of(p);
	struct peer *peer;

	if (packets == 0) {
		drop(p->net->stats, DATAPLANE_DROP_TX_BAD, 1);
		return;
	}
	DL_FOREACH(p->net->peers, peer)
	p->sends += is_reached(peer);
	if (p->sends == 0) {
		drop(p->net->stats, DATAPLANE_DROP_TX_NO_PEER, packets);
		return;
	}
	if (!may_go_to_all(s, p->net, packets, p->sends)) {
		drop(p->net->stats, DATAPLANE_DROP_TX_LIMITED, packets);
		p->sends = 0;
		return;
	}
	DL_FOREACH(p->net->peers, peer)
	{
		if (is_reached(peer))
			emit(s, peer->in_use, p);
	}
}

static bool is_to_all(const struct net *n, const struct inner *in)
{
	if (in->version == 6)
		return in->dst[0] == 0xff;
	uint32_t dst = be32_load(in->dst);
	return dst == IP4_LIMITED_BROADCAST || dst >> 28 == 0xe ||
	       (n->hosts > 0 && dst == n->broadcast4);
}

static bool is_from_us(const struct net *n, const struct inner *in)
{
	const struct netaddr *own = in->version == 4 ? &n->c.ip4 : &n->c.ip6;

	return own->family != NETADDR_NONE && memcmp(in->src, own->ip, in->addr_len) == 0;
}

static void handle(struct shard *s, struct out_packet *p)
{
	struct net *n = p->net;

	if (inner_parse(p->data, p->len, &p->inner) != INNER_OK || !is_from_us(n, &p->inner) ||
	    (p->vnet.gso_type == VNET_GSO_NONE &&
	     segment_finish(&p->vnet, &p->inner, p->data, p->len) != SEGMENT_OK)) {
		drop(n->stats, DATAPLANE_DROP_TX_BAD, 1);
		return;
	}
	p->to_all = is_to_all(n, &p->inner);
	if (p->to_all) {
		emit_to_all(s, p);
		return;
	}
	struct peer *to = p->inner.version == 4 ? peer_by_ip4(n, be32_load(p->inner.dst))
	                                        : peer_by_ip6(n, p->inner.dst);
	if (to == NULL || to->in_use == NULL || !link_carries_ip(to->in_use)) {
		drop(to != NULL ? to->stats : n->stats, DATAPLANE_DROP_TX_NO_PEER,
		     GV_MAX(packets_of(p), (size_t)1));
		return;
	}
	emit(s, to->in_use, p);
}

void out_tun(struct shard *s, struct net *n)
{
	size_t head = n->c.tun_vnet_hdr ? VNET_BYTES : 0, used = 0, bytes = 0;

	for (unsigned sends = 0;
	     sends < TUN_TURN_READS && bytes < TUN_TURN_BYTES && !n->tun_lost;) {
		if (sizeof(s->tun_bytes) - used < SHARD_READ_BYTES) {
			flush_bunch(s);
			used = 0;
		}
		uint8_t *at = s->tun_bytes + used;
		ssize_t len = read(n->tun_fd, at, SHARD_READ_BYTES);
		struct out_packet p = {.net = n, .data = at + head};

		if (len < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (len <= (ssize_t)head) {
			/* EBADFD: the interface was deleted. */
			log_debug("tun read gave %zd, errno %d", len, errno);
			net_tun_lost(s, n);
			break;
		}
		if (head > 0)
			p.vnet = vnet_load(at);
		p.len = (size_t)len - head;
		handle(s, &p);
		unsigned times = GV_MAX(p.sends, 1u);
		sends += times;
		bytes += p.len * times;
		/* The bunch may point to what was just read. */
		used = s->bunch.count > 0 ? used + (((size_t)len + 63) & ~(size_t)63) : 0;
	}
	flush_bunch(s);
	out_flush(s);
}
