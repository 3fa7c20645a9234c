/* SPDX-License-Identifier: MIT */

/* One link: its SCTP association and channels, sealing, and what control hears of it. */

#include "engine/dataplane/shard.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

LOG_MODULE("dataplane");

/* Trains that one call may send: what a whole send buffer makes, so a protocol error cannot hold the thread. */
#define OUTPUT_TRAINS 64

#define ALERT_WARNING      1
#define ALERT_CLOSE_NOTIFY 0

/* Labels of the two channels (docs/protocol.md). */
static const char label_ctl[] = "ctl", label_ip[] = "ip";

void link_keys_deinit(struct link_keys *k)
{
	record_free(k->record);
	sctp_free(k->sctp);
	dcep_free(k->dcep);
	*k = (struct link_keys){0};
}

static void free_held(struct held *h)
{
	for (struct held *next; h != NULL; h = next) {
		next = h->next;
		mem_free(h);
	}
}

void shard_link_free(struct link *l)
{
	if (l == NULL)
		return;
	link_keys_deinit(&l->keys);
	free_held(l->held);
	for (unsigned i = 0; i < LINK_NOTICES; i++)
		mem_free(l->notices[i]);
	for (struct ctl_waiting *next; l->ctl_waiting != NULL; l->ctl_waiting = next) {
		next = l->ctl_waiting->next;
		mem_free(l->ctl_waiting);
	}
	mem_free(l);
}

struct link *link_find(const struct shard *s, uint32_t id)
{
	struct link *l;

	HASH_FIND(hh, s->links, &id, sizeof(id), l);
	return l;
}

void link_add(struct shard *s, uint32_t peer, struct link *l)
{
	struct peer *p;

	HASH_FIND(hh, s->peers, &peer, sizeof(peer), p);
	if (p != NULL && HASH_COUNT(s->links) < SHARD_LINKS)
		HASH_ADD(hh, s->links, id, sizeof(l->id), l);
	if (l->hh.tbl == NULL) {
		(void)log_err(err_here(p == NULL ? -ENOENT : -ENOBUFS), "dataplane.link_add",
		              LOG_U64("link", l->id));
		shard_link_free(l);
		return;
	}
	l->peer = p;
	LL_PREPEND(p->links, l);
}

/* The next best of the peer's links takes over, if there is one. */
static void leave_use(struct link *l)
{
	struct peer *p = l->peer;
	struct link *i;

	if (p->in_use != l)
		return;
	p->in_use = NULL;
	LL_FOREACH(p->links, i)
	{
		if (i != l && link_carries_ip(i) && p->in_use == NULL)
			p->in_use = i;
	}
}

void link_unlink(struct shard *s, struct link *l)
{
	leave_use(l);
	net_addr_unbind_all(l);
	net_stun_names_remove(l);
	shard_timer(s, l, CLOCK_NEVER);
	HASH_DELETE(hh, s->links, l);
	LL_DELETE(l->peer->links, l);
}

/* --- events -------------------------------------------------------------------------------------- */

int link_event(struct shard *s, const struct link *l, enum event_lane lane,
               enum dataplane_event_type type, const uint8_t *data, size_t len)
{
	struct dataplane_event ev = {
		.type = type,
		.net = l->peer->net->id,
		.peer = l->peer->id,
		.link = l->id,
		.local = l->local,
		.remote = l->remote,
		.data = data,
		.len = len,
	};

	if (atomic_load_explicit(&l->shared->ctl_events, memory_order_relaxed) >= LINK_CTL_EVENTS)
		return -ENOBUFS;
	return shard_event(s, lane, &ev, &l->shared->ctl_events);
}

/* Sends an event that was made with the link; each kind once. */
static void send_notice(struct shard *s, struct link *l, enum link_notice kind)
{
	struct event *e = l->notices[kind];

	if (e == NULL)
		return;
	e->ev.net = l->peer->net->id;
	e->ev.peer = l->peer->id;
	e->ev.link = l->id;
	e->ev.local = l->local;
	e->ev.remote = l->remote;
	if (mq_push(s->events, EVENT_LANE_STATE, &e->head) == 0)
		l->notices[kind] = NULL;
}

/* --- sending ------------------------------------------------------------------------------------- */

static bool has_path(const struct link *l)
{
	return l->keys.record != NULL && l->remote.family != NETADDR_NONE;
}

static bool has_consent(const struct shard *s, const struct link *l)
{
	return atomic_load_explicit(&l->shared->send_until_us, memory_order_relaxed) > s->now_us;
}

static struct udp *link_udp(const struct link *l)
{
	struct net *n = l->peer->net;

	return l->remote.family == NETADDR_IP6 ? &n->udp6 : &n->udp4;
}

static void set_payload(struct link *l, uint16_t bytes)
{
	l->payload_bytes = bytes;
	sctp_set_max_packet_bytes(l->keys.sctp, SCTP_HEADER_BYTES + SCTP_DATA_HEADER_BYTES + bytes);
}

/* What an unknown path of this family carries. */
static uint16_t usual_payload(const struct link *l)
{
	return l->remote.family == NETADDR_IP6 ? LINK_PAYLOAD_IP6 : LINK_PAYLOAD_BYTES;
}

enum dataplane_drop link_why_not_sent(int result)
{
	switch (result) {
	case UDP_AGAIN:
		return DATAPLANE_DROP_TX_QUEUE;
	case UDP_TOO_BIG:
		return DATAPLANE_DROP_TX_TOO_BIG;
	default:
		return DATAPLANE_DROP_TX_REFUSED;
	}
}

unsigned link_send(struct shard *s, struct link *l, struct batch *b, enum dataplane_drop *why)
{
	unsigned sent = 0;

	*why = DATAPLANE_DROP_TX_NO_CONSENT;
	if (!has_path(l) || !l->may_send || !has_consent(s, l))
		return 0;
	*why = DATAPLANE_DROP_TX_REFUSED;
	/* Sequence numbers used up: control was to make a new link long ago. */
	if (record_seal(l->keys.record, b) < 0)
		return 0;
	atomic_store_explicit(&l->shared->records_sent, record_sent(l->keys.record),
	                      memory_order_relaxed);
	int r = udp_send_batch(link_udp(l), &l->local, &l->remote, b, &sent);
	*why = link_why_not_sent(r);
	/* An interface on the way out takes less: from now on packets fit 1,280 bytes. */
	if (r == UDP_TOO_BIG)
		set_payload(l, LINK_PAYLOAD_SMALL);
	if (sent > 0)
		queue_sent(l->peer->net, GV_MIN((size_t)sent * b->size, b->len));
	return sent;
}

/* Sends what the association has to send and asks when to come again. */
static void pump(struct shard *s, struct link *l)
{
	struct batch b = BATCH_INIT(s->output_bytes, sizeof(s->output_bytes), RECORD_HEADROOM,
	                            RECORD_TAILROOM);
	enum dataplane_drop why;

	for (unsigned i = 0; i < OUTPUT_TRAINS; i++) {
		batch_reset(&b);
		if (sctp_output(l->keys.sctp, &b, s->now_us) == 0)
			break;
		/* What cannot be sent counts as lost on the way: the association repeats it. No inner packet is in it. */
		unsigned sent = link_send(s, l, &b, &why);
		if (sent < b.count)
			drop(l->peer->net->stats, why, b.count - sent);
	}
	shard_timer(s, l, l->down ? CLOCK_NEVER : sctp_deadline_us(l->keys.sctp));
}

void shard_link_fail(struct shard *s, struct link *l)
{
	if (l->down)
		return;
	if (l->keys.sctp != NULL) {
		sctp_abort(l->keys.sctp, s->now_us);
		pump(s, l);
	}
	l->down = true;
	shard_timer(s, l, CLOCK_NEVER);
	leave_use(l);
	send_notice(s, l, LINK_NOTICE_DOWN);
}

void link_send_sealed(struct shard *s, struct link *l, uint8_t type, const uint8_t *data,
                      size_t len)
{
	struct dataplane_stats *stats = l->peer->net->stats;
	size_t n;

	if (!has_path(l) || !has_consent(s, l)) {
		drop(stats, DATAPLANE_DROP_TX_NO_CONSENT, 1);
		return;
	}
	int r = record_seal_one(l->keys.record, type, data, len, s->output_bytes,
	                        sizeof(s->output_bytes), &n);
	if (r == 0)
		r = udp_send(link_udp(l), &l->local, &l->remote, s->output_bytes, n);
	if (r != UDP_OK)
		drop(stats, link_why_not_sent(r), 1);
}

/* --- channels ------------------------------------------------------------------------------------ */

/* Opens one of the two channels of a DTLS client. */
static void open_channel(struct shard *s, struct link *l, const char *label, uint32_t *stream)
{
	struct dcep_params p = {.label = label, .label_len = strlen(label), .protocol = ""};
	uint16_t id;

	if (*stream != LINK_NO_STREAM)
		return;
	if (label == label_ip) {
		p.unordered = true;
		p.reliability = SCTP_MAX_RETRANSMITS;
	}
	if (dcep_open(l->keys.dcep, &p, &id) != DCEP_OK) {
		shard_link_fail(s, l);
		return;
	}
	*stream = id;
}

static bool label_is(const struct dcep_params *p, const char *label)
{
	return p->label_len == strlen(label) && memcmp(p->label, label, p->label_len) == 0;
}

static void start_tunnel(struct shard *s, struct link *l)
{
	if (l->tunnel && l->ip_open)
		sctp_tunnel_start(l->keys.sctp, (uint16_t)l->ip_stream, s->now_us);
}

/* Packets to the peer go by this link from now on; the one before only receives until it is deleted. */
static void use_if_ready(struct link *l)
{
	if (link_carries_ip(l))
		l->peer->in_use = l;
}

static void channel_opened(struct shard *s, struct link *l, uint32_t stream)
{
	if (stream == l->ctl_stream) {
		l->ctl_open = true;
		send_notice(s, l, LINK_NOTICE_CTL_OPEN);
	} else if (stream == l->ip_stream) {
		l->ip_open = true;
		start_tunnel(s, l);
		use_if_ready(l);
		send_notice(s, l, LINK_NOTICE_IP_OPEN);
	}
}

static void channel_event(struct shard *s, struct link *l, const struct dcep_event *e)
{
	switch (e->type) {
	case DCEP_EVENT_INCOMING:
		if (l->keys.role != DATAPLANE_DTLS_SERVER)
			break;
		if (label_is(&e->params, label_ctl) && l->ctl_stream == LINK_NO_STREAM)
			l->ctl_stream = e->stream;
		else if (label_is(&e->params, label_ip) && l->ip_stream == LINK_NO_STREAM)
			l->ip_stream = e->stream;
		channel_opened(s, l, e->stream);
		break;
	case DCEP_EVENT_OPEN:
		channel_opened(s, l, e->stream);
		break;
	case DCEP_EVENT_CLOSED:
		if (e->stream == l->ctl_stream || e->stream == l->ip_stream)
			shard_link_fail(s, l);
		break;
	}
}

static void channel_events(struct shard *s, struct link *l)
{
	struct dcep_event e;

	while (!l->down && dcep_event(l->keys.dcep, &e) == 1)
		channel_event(s, l, &e);
}

static void association_event(struct shard *s, struct link *l, const struct sctp_event *e)
{
	switch (e->type) {
	case SCTP_EVENT_UP:
		if (l->keys.role == DATAPLANE_DTLS_CLIENT) {
			open_channel(s, l, label_ctl, &l->ctl_stream);
			if (l->ip_wanted)
				open_channel(s, l, label_ip, &l->ip_stream);
		}
		break;
	case SCTP_EVENT_DOWN:
		shard_link_fail(s, l);
		break;
	case SCTP_EVENT_STREAM_RESET:
		dcep_stream_reset(l->keys.dcep, e->stream);
		break;
	case SCTP_EVENT_WRITABLE:
		break; /* tried again below in any case */
	}
}

/* Returns false when the association has no room. */
static bool send_channel_output(struct shard *s, struct link *l)
{
	struct dcep_output o;

	while (dcep_output(l->keys.dcep, &o) == 1) {
		int r = o.type == DCEP_OUTPUT_MESSAGE
		                ? sctp_send(l->keys.sctp, &o.options, o.data, o.len, s->now_us)
		                : sctp_reset_stream(l->keys.sctp, o.options.stream, s->now_us);

		if (r == SCTP_FULL || r == SCTP_NOT_UP || r < 0)
			return false;
		if (r == SCTP_RESETTING)
			return true; /* what is behind it waits too, but not `ctl` */
		dcep_output_done(l->keys.dcep);
	}
	return true;
}

/* Returns SCTP_OK, SCTP_FULL to try again later; anything else is the end of the message. */
static int send_ctl(struct shard *s, struct link *l, const uint8_t *data, size_t len)
{
	struct sctp_send_options o;

	if (dcep_send_options(l->keys.dcep, (uint16_t)l->ctl_stream, DCEP_KIND_BINARY, len, &o) !=
	    DCEP_OK)
		return SCTP_NOT_UP;
	int r = sctp_send(l->keys.sctp, &o, data, len, s->now_us);
	if (r == SCTP_OK)
		atomic_store_explicit(&l->shared->sent_us, s->now_us, memory_order_relaxed);
	else if (r != SCTP_FULL)
		log_warn("dataplane.ctl_refused", LOG_I64("result", r), LOG_U64("bytes", len));
	return r;
}

static void send_ctl_waiting(struct shard *s, struct link *l)
{
	while (l->ctl_open && l->ctl_waiting != NULL) {
		struct ctl_waiting *w = l->ctl_waiting;

		if (send_ctl(s, l, w->data, w->len) == SCTP_FULL)
			return;
		l->ctl_waiting = w->next;
		if (l->ctl_waiting == NULL)
			l->ctl_tail = &l->ctl_waiting;
		l->ctl_count--;
		mem_free(w);
	}
}

/* After anything that may have changed the association: events, what waits, output, timer. */
static void work(struct shard *s, struct link *l)
{
	struct sctp_event se;

	while (!l->down && sctp_event(l->keys.sctp, &se) == 1)
		association_event(s, l, &se);
	channel_events(s, l);
	if (l->down)
		return;
	if (send_channel_output(s, l))
		send_ctl_waiting(s, l);
	pump(s, l);
	atomic_store_explicit(&l->shared->srtt_us, sctp_srtt_us(l->keys.sctp),
	                      memory_order_relaxed);
}

void link_ctl_send(struct shard *s, struct link *l, const uint8_t *data, size_t len)
{
	if (l->down || l->keys.sctp == NULL || len == 0)
		return;
	if (!l->ctl_open || l->ctl_waiting != NULL || send_ctl(s, l, data, len) == SCTP_FULL) {
		struct ctl_waiting *w = mem_alloc(1, sizeof(*w) + len);

		/* The channel is reliable: a message that cannot even wait ends the link. */
		if (w == NULL || l->ctl_count == LINK_CTL_WAITING) {
			mem_free(w);
			shard_link_fail(s, l);
			return;
		}
		w->len = len;
		memcpy(w->data, data, len);
		*l->ctl_tail = w;
		l->ctl_tail = &w->next;
		l->ctl_count++;
	}
	work(s, l);
}

/* --- commands ------------------------------------------------------------------------------------ */

void link_path(struct shard *s, struct link *l, const struct netaddr *local,
               const struct netaddr *remote)
{
	bool changed = !netaddr_equal(&l->remote, remote) || !netaddr_ip_equal(&l->local, local);

	l->local = *local;
	l->remote = *remote;
	net_addr_bind(s, l, remote);
	if (l->keys.sctp == NULL)
		return;
	if (changed)
		set_payload(l, usual_payload(l));
	work(s, l);
}

void link_set_keys(struct shard *s, struct link *l, struct link_keys *moved)
{
	struct held *held = l->held;

	if (l->keys.record != NULL || l->down)
		return;
	l->keys = *moved;
	*moved = (struct link_keys){0};
	set_payload(l, usual_payload(l));
	l->held = NULL;
	if (held != NULL)
		in_held(s, l, held);
	free_held(held);
	work(s, l);
}

void link_start(struct shard *s, struct link *l)
{
	if (l->keys.role != DATAPLANE_DTLS_CLIENT || l->keys.sctp == NULL || l->may_send)
		return;
	l->may_send = true;
	sctp_connect(l->keys.sctp, s->now_us);
	work(s, l);
}

void link_open_ip(struct shard *s, struct link *l)
{
	l->ip_wanted = true;
	if (l->down || l->keys.sctp == NULL || l->keys.role != DATAPLANE_DTLS_CLIENT ||
	    l->ctl_stream == LINK_NO_STREAM)
		return;
	open_channel(s, l, label_ip, &l->ip_stream);
	work(s, l);
}

void link_allow_ip(struct shard *s, struct link *l)
{
	(void)s;
	if (l->down)
		return;
	l->ip_allowed = true;
	use_if_ready(l);
}

void link_tunnel(struct shard *s, struct link *l)
{
	if (l->down || l->keys.sctp == NULL)
		return;
	l->tunnel = true;
	start_tunnel(s, l);
	work(s, l);
}

bool link_carries_ip(const struct link *l)
{
	return l->ip_allowed && l->ip_open && !l->down;
}

void link_del(struct shard *s, uint32_t id, bool polite, struct event *gone)
{
	static const uint8_t close_notify[2] = {ALERT_WARNING, ALERT_CLOSE_NOTIFY};
	struct link *l = link_find(s, id);

	gone->ev.link = id;
	if (l != NULL) {
		gone->ev.net = l->peer->net->id;
		gone->ev.peer = l->peer->id;
		if (polite && l->keys.sctp != NULL && l->may_send) {
			sctp_abort(l->keys.sctp, s->now_us);
			pump(s, l);
			link_send_sealed(s, l, RECORD_TYPE_ALERT, close_notify,
			                 sizeof(close_notify));
		}
		link_unlink(s, l);
		shard_link_free(l);
	}
	shard_send_gone(s, gone);
}

/* --- receiving ----------------------------------------------------------------------------------- */

/* One message of any channel. */
static void receive(struct shard *s, struct link *l, const struct sctp_msg *m, bool *broken)
{
	struct dcep_data data;

	if (m->stream == l->ip_stream && m->ppid == DCEP_PPID_BINARY) {
		deliver(s, l, m->data, m->len);
		return;
	}
	if (m->stream == l->ip_stream && m->ppid == PPID_IP_PARTIAL) {
		deliver_partial(s, l, m->data, m->len);
		return;
	}
	int r = dcep_input(l->keys.dcep, m, &data);
	if (r == DCEP_INPUT_DROPPED || r < 0)
		drop(l->peer->stats, DATAPLANE_DROP_RX_SCTP, 1);
	/* An ACK and the first message may come together: control hears of the open channel first. */
	channel_events(s, l);
	if (r != DCEP_INPUT_DATA || data.stream != l->ctl_stream || l->down)
		return;
	/* The channel is reliable: when control cannot take a message, the link has to end. */
	if (data.len > DATAPLANE_CTL_BYTES ||
	    link_event(s, l, EVENT_LANE_CTL, DATAPLANE_EVENT_CTL, data.data, data.len) < 0)
		*broken = true;
}

void link_input(struct shard *s, struct link *l, const struct pkt *in, size_t n)
{
	const struct sctp_counters *c = sctp_counters(l->keys.sctp);
	uint64_t bad = c->bad_packet + c->bad_checksum + c->bad_chunk;
	uint64_t skipped = c->skipped_tsn;
	bool broken = false;
	size_t count;

	if (l->down)
		return;
	sctp_input(l->keys.sctp, in, n, s->now_us);
	stat_add(&l->peer->stats->rx_lost, c->skipped_tsn - skipped);
	for (;;) {
		count = sctp_recv(l->keys.sctp, s->msgs, SHARD_PACKETS);
		if (count == 0)
			break;
		for (size_t i = 0; i < count; i++)
			receive(s, l, &s->msgs[i], &broken);
		/* Before the association is asked again, because messages lie in its memory. */
		deliver_flush(s, l);
	}
	bad = c->bad_packet + c->bad_checksum + c->bad_chunk - bad;
	if (bad > 0)
		drop(l->peer->stats, DATAPLANE_DROP_RX_SCTP, bad);
	if (broken)
		shard_link_fail(s, l);
	work(s, l);
}

void shard_link_timeout(struct shard *s, struct link *l)
{
	if (l->keys.sctp == NULL || l->down) {
		shard_timer(s, l, CLOCK_NEVER);
		return;
	}
	sctp_timeout(l->keys.sctp, s->now_us);
	work(s, l);
}
