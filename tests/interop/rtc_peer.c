/* SPDX-License-Identifier: MIT */

#include "rtc_peer.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define SCTP_PORT         5000
#define DTLS_MTU          1200
#define MAX_MESSAGE_BYTES 262144
#define TRAIN_BYTES       32768

static void fail(struct rtc_peer *p, const char *why)
{
	if (p->failure == NULL)
		p->failure = why;
}

/* ---- setting up ---- */

static bool is_usable(const struct ifaddrs *i, struct netaddr *out)
{
	if (i->ifa_addr == NULL || (i->ifa_flags & IFF_UP) == 0)
		return false;
	socklen_t len = i->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
	                                                  : sizeof(struct sockaddr_in6);
	if (!udp_sockaddr_to(i->ifa_addr, len, out))
		return false;
	return !netaddr_is_loopback(out) && !netaddr_is_link_local(out);
}

static int open_sockets(struct rtc_peer *p)
{
	struct ifaddrs *all;
	struct netaddr a;

	if (getifaddrs(&all) != 0)
		return err_here(-errno);
	for (struct ifaddrs *i = all; i != NULL && p->socket_count < RTC_SOCKETS_MAX;
	     i = i->ifa_next) {
		if (!is_usable(i, &a))
			continue;
		unsigned n = p->socket_count;
		if (udp_open(&a, &p->sockets[n]) != UDP_OK)
			continue;
		p->socket_count++;
		if (udp_local(&p->sockets[n], &p->bound[n]) != 0)
			p->bound[n] = a;
		p->bound[n].ifindex = 0;
	}
	freeifaddrs(all);
	return p->socket_count > 0 ? 0 : err_here(-EADDRNOTAVAIL);
}

static void add_candidate(struct rtc_peer *p, enum ice_cand_type type, const struct netaddr *addr,
                          unsigned n, uint64_t now_us)
{
	struct ice_cand c = ice_cand_local(type, addr, &p->bound[n],
	                                   ice_cand_preference(p->bound[n].family, n));

	if (p->candidate_count == SDP_MAX_CANDIDATES ||
	    ice_add_local(p->ice, &c, now_us) == ICE_DUPLICATE)
		return;
	p->candidates[p->candidate_count++] = c;
}

static int start_gathering(struct rtc_peer *p, uint64_t now_us)
{
	struct gather_config config = {
		.transaction_prefix = rng_u32(&p->rng),
		.rng = p->rng,
	};

	if (p->config.stun.family != NETADDR_NONE)
		config.servers[config.server_count++] = p->config.stun;
	int r = gather_new(&p->gather, &config);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < p->socket_count; i++) {
		add_candidate(p, ICE_CAND_HOST, &p->bound[i], i, now_us);
		if (gather_add_base(p->gather, &p->bound[i], now_us) != GATHER_OK)
			return err_here(-EINVAL);
	}
	return 0;
}

int rtc_open(struct rtc_peer *p, const struct rtc_config *config)
{
	uint64_t now_us = clock_now_us();

	*p = (struct rtc_peer){.config = *config, .rng = rng_os()};
	int r = open_sockets(p);
	if (r == 0)
		r = cert_new(&p->cert, clock_unix_s());
	if (r == 0) {
		const struct ice_config ice = {
			.role = config->offerer ? ICE_ROLE_CONTROLLING : ICE_ROLE_CONTROLLED,
			.mode = ICE_MODE_STANDARD,
			.transaction_prefix = rng_u32(&p->rng),
			.rng = p->rng,
		};
		r = ice_new(&p->ice, &ice);
	}
	if (r == 0)
		r = start_gathering(p, now_us);
	if (r < 0) {
		rtc_close(p);
		return err_up(r);
	}
	return 0;
}

void rtc_close(struct rtc_peer *p)
{
	struct rtc_message *m;

	while ((m = rtc_receive(p)) != NULL)
		mem_free(m);
	dcep_free(p->dcep);
	sctp_free(p->sctp);
	record_free(p->record);
	dtls_free(p->dtls);
	ice_free(p->ice);
	gather_free(p->gather);
	cert_unref(p->cert);
	for (unsigned i = 0; i < p->socket_count; i++)
		udp_close(&p->sockets[i]);
	p->socket_count = 0;
}

void rtc_describe(struct rtc_peer *p, struct sdp *out)
{
	*out = (struct sdp){
		.has_fingerprint = true,
		.setup = p->config.offerer ? SDP_SETUP_ACTPASS : p->config.setup,
		.mid = "0",
		.trickle = p->config.trickle,
		.sctp_port = SCTP_PORT,
		.max_message_size = MAX_MESSAGE_BYTES,
		.session_id = rng_u64(&p->rng) >> 1,
		.session_version = 1,
		.end_of_candidates = !p->config.trickle,
	};
	(void)snprintf(out->ice_ufrag, sizeof(out->ice_ufrag), "%s", ice_local_ufrag(p->ice));
	(void)snprintf(out->ice_pwd, sizeof(out->ice_pwd), "%s", ice_local_pwd(p->ice));
	if (!p->config.offerer) /* RFC 9429 5.3.1: the mid of the offer */
		(void)snprintf(out->mid, sizeof(out->mid), "%s", p->remote.mid);
	cert_fingerprint(p->cert, out->fingerprint);
	if (p->config.trickle)
		return;
	for (unsigned i = 0; i < p->candidate_count; i++)
		out->candidates[out->candidate_count++] = p->candidates[i];
}

void rtc_add_remote(struct rtc_peer *p, const struct ice_cand *c)
{
	uint64_t now_us = clock_now_us();

	if (c == NULL)
		ice_end_remote(p->ice, now_us);
	else
		ice_add_remote(p->ice, c, now_us);
}

int rtc_set_remote(struct rtc_peer *p, const struct sdp *remote)
{
	bool offerer = p->config.offerer;

	p->remote = *remote;
	if (offerer && remote->setup == SDP_SETUP_ACTPASS)
		return err_here(-EINVAL);
	if (!offerer && remote->setup == p->config.setup)
		return err_here(-EINVAL);
	p->dtls_client =
		offerer ? remote->setup == SDP_SETUP_PASSIVE : p->config.setup == SDP_SETUP_ACTIVE;
	if (ice_set_remote(p->ice, remote->ice_ufrag, remote->ice_pwd, clock_now_us()) != ICE_OK)
		return err_here(-EINVAL);
	for (size_t i = 0; i < remote->candidate_count; i++)
		rtc_add_remote(p, &remote->candidates[i]);
	if (remote->end_of_candidates || !p->config.trickle)
		rtc_add_remote(p, NULL);
	p->remote_us = clock_now_us();
	return 0;
}

/* ---- sending ---- */

static void send_to(struct rtc_peer *p, const struct netaddr *local, const struct netaddr *remote,
                    const void *data, size_t len)
{
	for (unsigned i = 0; i < p->socket_count; i++) {
		if (!netaddr_equal(&p->bound[i], local))
			continue;
		/* What the kernel does not take is lost like any packet. */
		if (udp_send(&p->sockets[i], local, remote, data, len) < 0)
			fail(p, "socket");
	}
}

static void seal_and_send(struct rtc_peer *p, enum record_type type, const void *data, size_t len)
{
	uint8_t sealed[DTLS_INPUT_MAX];
	size_t sealed_len;

	if (record_seal_one(p->record, type, data, len, sealed, sizeof(sealed), &sealed_len) < 0)
		fail(p, "record_seal_one");
	else
		send_to(p, &p->local, &p->path, sealed, sealed_len);
}

void rtc_close_notify(struct rtc_peer *p)
{
	static const uint8_t alert[2] = {1, 0};

	if (p->dtls_done)
		seal_and_send(p, RECORD_TYPE_ALERT, alert, sizeof(alert));
}

static void pump_sctp(struct rtc_peer *p, uint64_t now_us)
{
	static uint8_t memory[TRAIN_BYTES];
	struct batch out = BATCH_INIT(memory, sizeof(memory), RECORD_HEADROOM, RECORD_TAILROOM);

	while (sctp_output(p->sctp, &out, now_us) > 0) {
		if (record_seal(p->record, &out) < 0) {
			fail(p, "record_seal");
			return;
		}
		for (unsigned i = 0; i < out.count; i++) {
			struct pkt d = batch_datagram(&out, i);
			send_to(p, &p->local, &p->path, d.data, d.len);
		}
		batch_reset(&out);
	}
}

/* ---- data channels ---- */

static void queue_message(struct rtc_peer *p, const struct dcep_data *d)
{
	struct rtc_message *m = mem_alloc(1, sizeof(*m) + d->len);

	if (m == NULL || p->queued_bytes + d->len > RTC_QUEUE_BYTES) {
		mem_free(m);
		fail(p, "the peer sends more than it reads");
		return;
	}
	m->stream = d->stream;
	m->kind = d->kind;
	m->len = d->len;
	if (d->len > 0)
		memcpy(m->data, d->data, d->len);
	if (p->last != NULL)
		p->last->next = m;
	else
		p->first = m;
	p->last = m;
	p->queued_bytes += d->len;
}

struct rtc_message *rtc_receive(struct rtc_peer *p)
{
	struct rtc_message *m = p->first;

	if (m == NULL)
		return NULL;
	p->first = m->next;
	if (p->first == NULL)
		p->last = NULL;
	p->queued_bytes -= m->len;
	return m;
}

static void receive_messages(struct rtc_peer *p)
{
	struct sctp_msg msg;
	struct dcep_data d;

	while (sctp_recv(p->sctp, &msg, 1) == 1) {
		int r = dcep_input(p->dcep, &msg, &d);
		if (r < 0)
			fail(p, "dcep_input");
		if (r == DCEP_INPUT_DATA)
			queue_message(p, &d);
	}
}

static void sctp_events(struct rtc_peer *p)
{
	struct sctp_event e;

	while (sctp_event(p->sctp, &e) == 1) {
		switch (e.type) {
		case SCTP_EVENT_UP:
			p->up = true;
			break;
		case SCTP_EVENT_DOWN:
			p->down = true;
			p->reason = e.reason;
			break;
		case SCTP_EVENT_STREAM_RESET:
			dcep_stream_reset(p->dcep, e.stream);
			break;
		case SCTP_EVENT_WRITABLE:
			break;
		}
	}
}

static struct rtc_channel *channel_of(struct rtc_peer *p, uint16_t stream)
{
	for (unsigned i = 0; i < RTC_CHANNELS_MAX; i++) {
		if (p->channels[i].used && p->channels[i].stream == stream)
			return &p->channels[i];
	}
	return NULL;
}

static struct rtc_channel *note_channel(struct rtc_peer *p, uint16_t stream,
                                        const struct dcep_params *params)
{
	for (unsigned i = 0; i < RTC_CHANNELS_MAX; i++) {
		struct rtc_channel *c = &p->channels[i];
		if (c->used)
			continue;
		*c = (struct rtc_channel){.used = true, .stream = stream};
		if (params->label_len > 0)
			memcpy(c->label, params->label,
			       GV_MIN(params->label_len, sizeof(c->label) - 1));
		return c;
	}
	fail(p, "too many channels");
	return NULL;
}

struct rtc_channel *rtc_channel(struct rtc_peer *p, const char *label)
{
	for (unsigned i = 0; i < RTC_CHANNELS_MAX; i++) {
		if (p->channels[i].used && strcmp(p->channels[i].label, label) == 0)
			return &p->channels[i];
	}
	return NULL;
}

struct rtc_channel *rtc_open_channel(struct rtc_peer *p, const struct dcep_params *params)
{
	uint16_t stream;

	if (dcep_open(p->dcep, params, &stream) != 0) {
		fail(p, "dcep_open");
		return NULL;
	}
	return note_channel(p, stream, params);
}

static void dcep_events(struct rtc_peer *p)
{
	struct dcep_event e;

	while (dcep_event(p->dcep, &e) == 1) {
		struct rtc_channel *c = e.type == DCEP_EVENT_INCOMING
		                                ? note_channel(p, e.stream, &e.params)
		                                : channel_of(p, e.stream);
		if (c == NULL)
			continue;
		if (e.type == DCEP_EVENT_INCOMING)
			c->incoming = true;
		if (e.type == DCEP_EVENT_CLOSED) {
			c->used = false;
			p->closed++;
		} else {
			c->open = true;
			p->opened++;
		}
	}
}

static void pump_dcep(struct rtc_peer *p, uint64_t now_us)
{
	struct dcep_output o;

	while (p->up && !p->down && dcep_output(p->dcep, &o) == 1) {
		int r = o.type == DCEP_OUTPUT_MESSAGE
		                ? sctp_send(p->sctp, &o.options, o.data, o.len, now_us)
		                : sctp_reset_stream(p->sctp, o.options.stream, now_us);
		if (r < 0)
			fail(p, "a channel's control message");
		if (r != 0)
			return;
		dcep_output_done(p->dcep);
	}
}

int rtc_send(struct rtc_peer *p, uint16_t stream, enum dcep_kind kind, const void *data, size_t len)
{
	static const uint8_t empty[DCEP_EMPTY_BYTES];
	struct sctp_send_options o;

	if (dcep_send_options(p->dcep, stream, kind, len, &o) != 0)
		return SCTP_BAD_STREAM;
	return sctp_send(p->sctp, &o, len == 0 ? empty : data, len == 0 ? sizeof(empty) : len,
	                 clock_now_us());
}

static void pump_channels(struct rtc_peer *p, uint64_t now_us)
{
	if (p->sctp == NULL)
		return;
	receive_messages(p);
	sctp_events(p);
	pump_dcep(p, now_us);
	dcep_events(p);
	pump_sctp(p, now_us);
}

/* ---- DTLS ---- */

static void start_sctp(struct rtc_peer *p, uint64_t now_us)
{
	const struct sctp_config config = {
		.local_port = SCTP_PORT,
		.remote_port = p->remote.sctp_port,
		.max_packet_bytes = SCTP_PACKET_BYTES_MIN,
		.max_message_bytes = MAX_MESSAGE_BYTES,
		.peer_max_message_bytes = p->remote.max_message_size,
		.zero_checksum = p->config.zero_checksum,
		.rng = p->rng,
	};
	const struct dcep_config channels = {
		.side = p->dtls_client ? DCEP_SIDE_CLIENT : DCEP_SIDE_SERVER,
		.max_channels = RTC_CHANNELS_MAX,
	};

	if (sctp_new(&p->sctp, &config) < 0 || dcep_new(&p->dcep, &channels) < 0) {
		fail(p, "sctp_new, dcep_new");
		return;
	}
	for (unsigned i = 0; p->config.offerer && i < p->config.first_count; i++)
		(void)rtc_open_channel(p, &p->config.first[i]);
	sctp_connect(p->sctp, now_us);
}

static void alert(struct rtc_peer *p, const struct pkt *a)
{
	if (a->len >= 2 && a->data[1] == 0)
		p->close_notify = true;
	else if (a->len >= 2 && a->data[0] == 2)
		fail(p, "fatal alert");
}

static void sctp_packet(struct rtc_peer *p, const struct pkt *packet, uint64_t now_us)
{
	if (packet->len >= SCTP_HEADER_BYTES && be32_load(packet->data + 8) == 0)
		p->zero_checksums++;
	sctp_input(p->sctp, packet, 1, now_us);
}

/* Opens one sealed record and feeds what is in it. */
static void open_record(struct rtc_peer *p, uint8_t *data, size_t len, uint64_t now_us)
{
	const struct pkt in = {.data = data, .len = len};
	struct record_plain plain;

	if (record_open(p->record, &in, 1, &plain, 1, &p->record_counters) == 0)
		return;
	ice_heard(p->ice, now_us);
	if (plain.type == RECORD_TYPE_HANDSHAKE)
		dtls_repeat_last_flight(p->dtls, now_us);
	else if (plain.type == RECORD_TYPE_ALERT)
		alert(p, &plain.pkt);
	else if (plain.type == RECORD_TYPE_DATA && p->sctp != NULL)
		sctp_packet(p, &plain.pkt, now_us);
	pump_channels(p, now_us);
}

static void dtls_events(struct rtc_peer *p, uint64_t now_us)
{
	struct dtls_event e;

	while (dtls_event(p->dtls, &e) == 1) {
		if (e.type == DTLS_EVENT_KEYS) {
			if (record_new(&p->record, &e.keys, AEAD_BACKEND_AUTO) < 0)
				fail(p, "record_new");
			mem_wipe(&e.keys, sizeof(e.keys));
		} else if (e.type == DTLS_EVENT_FAILED) {
			static const char *const text[] = {
				"DTLS",           "DTLS: timeout", "DTLS: fingerprint",
				"DTLS: protocol", "DTLS: weak",    "DTLS: internal",
			};
			fail(p, text[e.failure]);
		} else {
			p->dtls_done = true;
			start_sctp(p, now_us);
		}
	}
}

static void pump_dtls(struct rtc_peer *p, uint64_t now_us)
{
	struct dtls_out o;

	if (p->dtls == NULL)
		return;
	dtls_events(p, now_us);
	while (dtls_output(p->dtls, &o, now_us) == 1) {
		if (o.kind == DTLS_OUT_RAW)
			send_to(p, &p->local, &p->path, o.data, o.len);
		else if (p->record != NULL)
			seal_and_send(p, o.type, o.data, o.len);
		dtls_events(p, now_us);
	}
	if (!p->dtls_done || p->failure != NULL)
		return;
	for (unsigned i = 0; i < p->held_count; i++)
		open_record(p, p->held[i], p->held_len[i], now_us);
	p->held_count = 0;
	pump_channels(p, now_us);
}

static void start_dtls(struct rtc_peer *p, uint64_t now_us)
{
	struct dtls_config config = {
		.role = p->dtls_client ? RECORD_ROLE_CLIENT : RECORD_ROLE_SERVER,
		.peer = DTLS_PEER_STANDARD,
		.cert = p->cert,
		.mtu = DTLS_MTU,
	};

	memcpy(config.peer_fingerprint, p->remote.fingerprint, sizeof(config.peer_fingerprint));
	if (dtls_new(&p->dtls, &config, now_us) < 0)
		fail(p, "dtls_new");
}

static void hold(struct rtc_peer *p, const uint8_t *data, size_t len)
{
	if (p->held_count == RTC_HELD_MAX || len > RTC_HELD_BYTES)
		return;
	memcpy(p->held[p->held_count], data, len);
	p->held_len[p->held_count++] = len;
}

/* Records of several kinds may share a datagram: each goes where it belongs. */
static void records_input(struct rtc_peer *p, uint8_t *data, size_t len, uint64_t now_us)
{
	size_t at = 0;

	while (p->dtls != NULL && len - at >= RECORD_HEADER_SIZE) {
		uint8_t *record = data + at;
		size_t size = RECORD_HEADER_SIZE + (size_t)be16_load(record + 11);
		bool sealed = be16_load(record + 3) == 1;
		if (size > len - at)
			return;
		at += size;
		if (p->dtls_done && sealed)
			open_record(p, record, size, now_us);
		else if (record[0] == RECORD_TYPE_DATA)
			hold(p, record, size);
		else if (dtls_input(p->dtls, record, size, now_us) < 0)
			fail(p, "dtls_input");
	}
	pump_dtls(p, now_us);
}

/* ---- ICE and the loop ---- */

static void ice_events(struct rtc_peer *p, uint64_t now_us)
{
	struct ice_event e;

	while (ice_event(p->ice, &e) == 1) {
		switch (e.type) {
		case ICE_EVENT_SELECTED:
			p->selected = true;
			p->local_type = e.local_type;
			p->remote_type = e.remote_type;
			p->local = e.local;
			p->path = e.remote;
			break;
		case ICE_EVENT_PAIR_VALID:
			if (!p->selected) {
				p->local = e.local;
				p->path = e.remote;
			}
			break;
		case ICE_EVENT_DISCONNECTED:
			fail(p, "ICE: consent ran out");
			break;
		case ICE_EVENT_FAILED:
			fail(p, "ICE: no pair works");
			break;
		case ICE_EVENT_CONSENT:
		case ICE_EVENT_QUIET:
			break;
		}
		p->has_path = p->path.family != NETADDR_NONE;
	}
	/* A server waits for the ClientHello from its first valid pair on; a client speaks on the selected one. */
	if (p->dtls == NULL && p->has_path && (p->selected || !p->dtls_client))
		start_dtls(p, now_us);
}

static void gather_events(struct rtc_peer *p, uint64_t now_us)
{
	struct gather_event e;

	while (gather_event(p->gather, &e) == 1) {
		for (unsigned i = 0; e.type == GATHER_EVENT_SRFLX && i < p->socket_count; i++) {
			if (netaddr_equal(&p->bound[i], &e.base) &&
			    !netaddr_equal(&e.mapped, &e.base))
				add_candidate(p, ICE_CAND_SRFLX, &e.mapped, i, now_us);
		}
		if (e.type == GATHER_EVENT_DONE && !p->gathered) {
			p->gathered = true;
			ice_end_local(p->ice, now_us);
		}
	}
}

static void pump_ice(struct rtc_peer *p, uint64_t now_us)
{
	struct ice_packet packet;

	while (gather_output(p->gather, &packet, now_us) == 1)
		send_to(p, &packet.local, &packet.remote, packet.data, packet.len);
	gather_events(p, now_us);
	ice_events(p, now_us);
	while (ice_output(p->ice, &packet, now_us) == 1)
		send_to(p, &packet.local, &packet.remote, packet.data, packet.len);
}

static void datagram(struct rtc_peer *p, unsigned n, const struct netaddr *remote, uint8_t *data,
                     size_t len, uint64_t now_us)
{
	if (len == 0)
		return;
	if (data[0] <= 3) { /* RFC 7983 */
		if (gather_input(p->gather, &p->bound[n], remote, data, len, now_us) != GATHER_OK)
			(void)ice_input(p->ice, &p->bound[n], remote, data, len, now_us);
		pump_ice(p, now_us);
		pump_dtls(p, now_us);
	} else if (data[0] >= 20 && data[0] <= 63) {
		records_input(p, data, len, now_us);
	}
}

static void read_socket(struct rtc_peer *p, unsigned n)
{
	static uint8_t memory[UDP_RECV_BYTES];
	struct udp_train t;

	for (unsigned trains = 0; trains < 16 && p->failure == NULL; trains++) {
		if (udp_recv(&p->sockets[n], memory, sizeof(memory), &t) != UDP_OK)
			return;
		uint64_t now_us = clock_now_us();
		for (size_t at = 0; at < t.len; at += t.size)
			datagram(p, n, &t.remote, memory + at, GV_MIN(t.size, t.len - at), now_us);
	}
}

static uint64_t next_deadline_us(const struct rtc_peer *p)
{
	uint64_t at = GV_MIN(ice_deadline_us(p->ice), gather_deadline_us(p->gather));

	if (p->dtls != NULL)
		at = GV_MIN(at, dtls_deadline_us(p->dtls));
	if (p->sctp != NULL)
		at = GV_MIN(at, sctp_deadline_us(p->sctp));
	return at;
}

static void timeouts(struct rtc_peer *p, uint64_t now_us)
{
	if (now_us >= gather_deadline_us(p->gather))
		gather_timeout(p->gather, now_us);
	if (now_us >= ice_deadline_us(p->ice))
		ice_timeout(p->ice, now_us);
	if (p->dtls != NULL && now_us >= dtls_deadline_us(p->dtls) &&
	    dtls_timeout(p->dtls, now_us) < 0)
		fail(p, "dtls_timeout");
	if (p->sctp != NULL && now_us >= sctp_deadline_us(p->sctp))
		sctp_timeout(p->sctp, now_us);
}

void rtc_run(struct rtc_peer *p, int max_ms)
{
	struct pollfd polled[RTC_SOCKETS_MAX + 1];
	uint64_t now_us = clock_now_us();

	timeouts(p, now_us);
	pump_ice(p, now_us);
	pump_dtls(p, now_us);
	uint64_t at = next_deadline_us(p);
	uint64_t wait_us = at <= now_us ? 0 : at - now_us;
	int wait_ms = (int)GV_MIN((uint64_t)max_ms, (wait_us + 999) / 1000);

	for (unsigned i = 0; i < p->socket_count; i++)
		polled[i] = (struct pollfd){.fd = p->sockets[i].fd, .events = POLLIN};
	polled[p->socket_count] = (struct pollfd){.fd = p->config.signal_fd, .events = POLLIN};
	if (poll(polled, p->socket_count + 1, wait_ms) < 0 && errno != EINTR)
		fail(p, "poll");
	for (unsigned i = 0; i < p->socket_count && p->failure == NULL; i++) {
		if (polled[i].revents != 0)
			read_socket(p, i);
	}
	p->config.signal(p, polled[p->socket_count].revents != 0);
}

void rtc_close_channels(struct rtc_peer *p, struct rtc_channel **channels, unsigned count)
{
	uint64_t end_us = clock_now_us() + (uint64_t)RTC_CLOSE_MS * 1000;
	unsigned before = p->closed;

	for (unsigned i = 0; i < count; i++) {
		if (channels[i] == NULL || dcep_close(p->dcep, channels[i]->stream) != 0)
			fail(p, "a channel is gone");
	}
	while (p->closed - before < count && p->failure == NULL && !p->down &&
	       clock_now_us() < end_us)
		rtc_run(p, 100);
	if (p->closed - before < count)
		fail(p, "a channel was not closed");
}
