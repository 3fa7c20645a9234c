/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rogue.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "proto/ip/csum.h"
#include "proto/ip/vnet.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NO_PEER    UINT32_MAX /* a handle that nobody has */
#define LIMIT_US   5000000
#define PACKET_MAX 1408

static const char label_ctl[] = "ctl", label_ip[] = "ip";

struct record *rogue_record(enum record_role role, uint8_t seed)
{
	struct record_keys keys = {.role = role, .nonce_start = UINT64_C(1) << (32 + role)};
	struct record *r = NULL;

	memset(keys.client_key, seed, sizeof(keys.client_key));
	memset(keys.server_key, seed + 1, sizeof(keys.server_key));
	assert_int_equal(record_new(&r, &keys, AEAD_BACKEND_EVP), 0);
	return r;
}

static struct netaddr tunnel(unsigned host)
{
	return netaddr_ip4(0x0a090000 + host, 0);
}

bool rogue_start(struct rogue *g, enum dataplane_dtls_role role)
{
	struct netaddr loopback = netaddr_ip4(0x7f000001, 0);
	struct netaddr own = tunnel(1);
	struct udp udp;
	int pair[2];

	memset(g, 0, sizeof(*g));
	g->role = role;
	if (dataplane_new(&g->d) < 0)
		return false;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	g->tun = pair[0];
	assert_int_equal(udp_open(&loopback, &udp), UDP_OK);
	assert_int_equal(udp_local(&udp, &g->local), 0);
	assert_int_equal(udp_open(&loopback, &g->udp), UDP_OK);
	assert_int_equal(udp_local(&g->udp, &g->remote), 0);
	const struct dataplane_net_config net = {
		.tun_fd = pair[1],
		.udp4_fd = udp.fd,
		.udp6_fd = -1,
		.tun_vnet_hdr = true,
		.tun_uso = true,
		.mtu = 1380,
		.ip4 = own,
		.prefix4 = netprefix_of(&own, 24),
	};
	const struct dataplane_peer_config peer = {.ip4 = tunnel(2)}, other = {.ip4 = tunnel(3)};
	atomic_store(&g->link.send_until_us, CLOCK_NEVER);
	atomic_store(&g->link2.send_until_us, CLOCK_NEVER);
	assert_int_equal(dataplane_net_add(g->d, ROGUE_NET, &net, &g->net), 0);
	assert_int_equal(dataplane_peer_add(g->d, ROGUE_NET, ROGUE_PEER, &peer, &g->peer), 0);
	assert_int_equal(dataplane_peer_add(g->d, ROGUE_NET, ROGUE_OTHER, &other, &g->other), 0);
	assert_int_equal(
		dataplane_link_add(g->d, ROGUE_PEER, ROGUE_LINK, ROGUE_UFRAG, 0x11223344, &g->link),
		0);
	return true;
}

void rogue_stop(struct rogue *g)
{
	dataplane_free(g->d);
	udp_close(&g->udp);
	record_free(g->record);
	sctp_free(g->sctp);
	dcep_free(g->dcep);
	close(g->tun);
}

void rogue_keys(struct rogue *g)
{
	bool server = g->role == DATAPLANE_DTLS_SERVER;
	const struct sctp_config sctp = {.local_port = 5000,
	                                 .remote_port = 5000,
	                                 .max_packet_bytes = PACKET_MAX,
	                                 .max_message_bytes = 262144,
	                                 .zero_checksum = true,
	                                 .rng = rng_seeded(1)};
	const struct dcep_config dcep = {.side = server ? DCEP_SIDE_CLIENT : DCEP_SIDE_SERVER,
	                                 .max_channels = 8};
	const struct dataplane_keys_config keys = {
		.record = rogue_record(server ? RECORD_ROLE_SERVER : RECORD_ROLE_CLIENT, 1),
		.role = g->role,
		.sctp_local_port = 5000,
		.sctp_remote_port = 5000,
		.max_message_bytes = 262144,
		.zero_checksum = true,
	};

	g->record = rogue_record(server ? RECORD_ROLE_CLIENT : RECORD_ROLE_SERVER, 1);
	assert_int_equal(sctp_new(&g->sctp, &sctp), 0);
	assert_int_equal(dcep_new(&g->dcep, &dcep), 0);
	assert_int_equal(dataplane_link_addr(g->d, ROGUE_LINK, &g->remote), 0);
	assert_int_equal(dataplane_link_path(g->d, ROGUE_LINK, &g->local, &g->remote), 0);
	assert_int_equal(dataplane_link_keys(g->d, ROGUE_LINK, &keys), 0);
	assert_int_equal(dataplane_link_start(g->d, ROGUE_LINK), 0);
}

static void open_channel(struct rogue *g, const char *label, uint16_t *stream)
{
	struct dcep_params p = {.label = label, .label_len = strlen(label), .protocol = ""};

	if (label == label_ip) {
		p.unordered = true;
		p.reliability = SCTP_MAX_RETRANSMITS;
	}
	assert_int_equal(dcep_open(g->dcep, &p, stream), DCEP_OK);
}

static bool channels_open(const struct rogue *g)
{
	return g->ip_open && g->events[DATAPLANE_EVENT_IP_OPEN] > 0;
}

void rogue_up(struct rogue *g)
{
	rogue_keys(g);
	assert_int_equal(dataplane_link_open_ip(g->d, ROGUE_LINK), 0);
	assert_int_equal(dataplane_link_allow_ip(g->d, ROGUE_LINK), 0);
	assert_int_equal(dataplane_link_tunnel(g->d, ROGUE_LINK), 0);
	if (g->role == DATAPLANE_DTLS_SERVER)
		sctp_connect(g->sctp, clock_now_us());
	rogue_run(g, channels_open, "both channels open");
}

/* --- the peer ------------------------------------------------------------------------------------ */

static void peer_output(struct rogue *g)
{
	static uint8_t bytes[BATCH_MAX_BYTES];
	struct batch b = BATCH_INIT(bytes, sizeof(bytes), RECORD_HEADROOM, RECORD_TAILROOM);
	struct dcep_output o;

	while (dcep_output(g->dcep, &o) == 1) {
		if (o.type == DCEP_OUTPUT_MESSAGE &&
		    sctp_send(g->sctp, &o.options, o.data, o.len, clock_now_us()) != SCTP_OK)
			break;
		dcep_output_done(g->dcep);
	}
	for (;;) {
		batch_reset(&b);
		if (sctp_output(g->sctp, &b, clock_now_us()) == 0)
			break;
		assert_int_equal(record_seal(g->record, &b), 0);
		assert_int_equal(udp_send_batch(&g->udp, &g->remote, &g->local, &b, NULL), UDP_OK);
	}
}

static void peer_channel(struct rogue *g, const struct dcep_event *e)
{
	bool is_ip = e->params.label_len == strlen(label_ip) &&
	             memcmp(e->params.label, label_ip, e->params.label_len) == 0;

	if (e->type == DCEP_EVENT_CLOSED)
		return;
	/* Of an own channel no label is told: the second one is `ip`. */
	if (e->type == DCEP_EVENT_OPEN)
		is_ip = e->stream == g->ip_stream && g->ctl_open;
	if (is_ip) {
		g->ip_open = true;
		g->ip_stream = e->stream;
	} else {
		g->ctl_open = true;
		if (e->type == DCEP_EVENT_OPEN)
			open_channel(g, label_ip, &g->ip_stream);
	}
}

static void peer_message(struct rogue *g, const struct sctp_msg *m)
{
	struct dcep_data data;

	if (g->ip_open && m->stream == g->ip_stream) {
		assert_true(m->len <= sizeof(g->ip));
		memcpy(g->ip, m->data, m->len);
		g->ip_len = m->len;
		g->ip_ppid = m->ppid;
		g->ip_count++;
		return;
	}
	if (dcep_input(g->dcep, m, &data) != DCEP_INPUT_DATA)
		return;
	assert_true(data.len <= sizeof(g->ctl));
	memcpy(g->ctl, data.data, data.len);
	g->ctl_len = data.len;
}

static void peer_input(struct rogue *g, uint8_t *data, const struct udp_train *t)
{
	for (size_t at = 0; at < t->len; at += t->size) {
		struct pkt in = {.data = data + at, .len = GV_MIN(t->size, t->len - at)};
		struct record_plain plain;
		struct record_counters c = {0};
		struct sctp_msg m;

		if (g->record == NULL || record_open(g->record, &in, 1, &plain, 1, &c) != 1)
			continue;
		if (plain.type == RECORD_TYPE_ALERT)
			g->closed++;
		if (plain.type != RECORD_TYPE_DATA)
			continue;
		sctp_input(g->sctp, &plain.pkt, 1, clock_now_us());
		while (sctp_recv(g->sctp, &m, 1) == 1)
			peer_message(g, &m);
	}
}

static void peer_turn(struct rogue *g)
{
	static uint8_t data[UDP_RECV_BYTES];
	struct udp_train t;
	struct sctp_event se;
	struct dcep_event de;

	while (udp_recv(&g->udp, data, sizeof(data), &t) == UDP_OK)
		peer_input(g, data, &t);
	if (g->sctp == NULL)
		return;
	if (sctp_deadline_us(g->sctp) <= clock_now_us())
		sctp_timeout(g->sctp, clock_now_us());
	while (sctp_event(g->sctp, &se) == 1) {
		uint16_t stream;

		if (se.type == SCTP_EVENT_UP && g->role == DATAPLANE_DTLS_SERVER)
			open_channel(g, label_ctl, &stream);
		g->closed += se.type == SCTP_EVENT_DOWN;
	}
	while (dcep_event(g->dcep, &de) == 1)
		peer_channel(g, &de);
	peer_output(g);
}

/* --- both ---------------------------------------------------------------------------------------- */

static void take_events(struct rogue *g)
{
	const struct dataplane_event *e;

	while ((e = dataplane_event(g->d)) != NULL) {
		if (e->type == DATAPLANE_EVENT_PEER_GONE && e->peer == NO_PEER)
			g->settled++;
		else
			g->events[e->type]++;
		if (e->len > 0) {
			assert_true(e->len <= sizeof(g->event_data));
			memcpy(g->event_data, e->data, e->len);
			g->event_len = e->len;
		}
		g->event_link = e->link;
		dataplane_event_done(g->d, e);
	}
}

void rogue_turn(struct rogue *g)
{
	struct pollfd p[] = {{.fd = g->udp.fd, .events = POLLIN},
	                     {.fd = dataplane_event_fd(g->d), .events = POLLIN}};

	(void)poll(p, 2, 2);
	peer_turn(g);
	take_events(g);
}

void rogue_run(struct rogue *g, bool (*done)(const struct rogue *g), const char *what)
{
	uint64_t end = clock_now_us() + LIMIT_US;

	while (!done(g)) {
		if (clock_now_us() > end)
			fail_msg("%s: not within 5 s", what);
		rogue_turn(g);
	}
}

static bool is_settled(const struct rogue *g)
{
	return g->settled > 0;
}

void rogue_settle(struct rogue *g)
{
	g->settled = 0;
	/* Commands are done in their order, and this one is answered. */
	assert_int_equal(dataplane_peer_del(g->d, NO_PEER), 0);
	rogue_run(g, is_settled, "an answer");
}

void rogue_count(struct rogue *g, _Atomic uint64_t *c, uint64_t n, const char *what)
{
	uint64_t end = clock_now_us() + LIMIT_US;

	while (atomic_load(c) < n) {
		if (clock_now_us() > end)
			fail_msg("%s: %llu of %llu after 5 s", what,
			         (unsigned long long)atomic_load(c), (unsigned long long)n);
		rogue_turn(g);
	}
	assert_int_equal(atomic_load(c), n);
}

void rogue_raw(struct rogue *g, const void *data, size_t len)
{
	assert_int_equal(udp_send(&g->udp, &g->remote, &g->local, data, len), UDP_OK);
}

static void queue_ip(struct rogue *g, const void *packet, size_t len)
{
	const struct sctp_send_options o = {.stream = g->ip_stream,
	                                    .ppid = g->send_ppid != 0 ? g->send_ppid
	                                                              : DCEP_PPID_BINARY,
	                                    .unordered = true,
	                                    .reliability = SCTP_MAX_RETRANSMITS};

	assert_int_equal(sctp_send(g->sctp, &o, packet, len, clock_now_us()), SCTP_OK);
}

void rogue_ip(struct rogue *g, const void *packet, size_t len)
{
	queue_ip(g, packet, len);
	peer_output(g);
}

void rogue_ip_lost(struct rogue *g, const void *packet, size_t len)
{
	static uint8_t bytes[BATCH_MAX_BYTES];
	struct batch b = BATCH_INIT(bytes, sizeof(bytes), RECORD_HEADROOM, RECORD_TAILROOM);

	peer_output(g);
	queue_ip(g, packet, len);
	assert_true(sctp_output(g->sctp, &b, clock_now_us()) > 0);
}

void rogue_ctl(struct rogue *g, const void *data, size_t len)
{
	struct sctp_send_options o;

	assert_int_equal(dcep_send_options(g->dcep, 0, DCEP_KIND_BINARY, len, &o), DCEP_OK);
	assert_int_equal(sctp_send(g->sctp, &o, data, len, clock_now_us()), SCTP_OK);
	peer_output(g);
}

void rogue_ctl_only(struct rogue *g, const void *data, size_t len)
{
	struct sctp_send_options o;

	assert_int_equal(dcep_send_options(g->dcep, 0, DCEP_KIND_BINARY, len, &o), DCEP_OK);
	int r = sctp_send(g->sctp, &o, data, len, clock_now_us());
	assert_true(r == SCTP_OK || r == SCTP_FULL || r == SCTP_NOT_UP);
	peer_turn(g);
}

size_t rogue_packet(uint8_t *out, uint32_t src, uint32_t dst, size_t payload)
{
	size_t len = 28 + payload;

	memset(out, 0, len);
	out[0] = 0x45;
	be16_store(out + 2, (uint16_t)len);
	be16_store(out + 6, 0x4000);
	out[8] = 64;
	out[9] = 17;
	be32_store(out + 12, src);
	be32_store(out + 16, dst);
	csum_store(out + 10, (uint16_t)~csum_fold(csum_add(0, out, 20)));
	be16_store(out + 20, 1);
	be16_store(out + 22, 2);
	be16_store(out + 24, (uint16_t)(8 + payload));
	memset(out + 28, 0xab, payload);
	uint64_t sum = csum_add_pseudo(0, out + 12, out + 16, 4, 17, 8 + payload);
	csum_store(out + 26, (uint16_t)~csum_fold(csum_add(sum, out + 20, 8 + payload)));
	return len;
}

size_t rogue_tun_read(struct rogue *g, uint8_t *out, size_t size)
{
	static uint8_t bytes[VNET_BYTES + 66000];
	ssize_t n = read(g->tun, bytes, sizeof(bytes));

	if (n < VNET_BYTES)
		return 0;
	assert_true((size_t)n - VNET_BYTES <= size);
	g->tun_read_header = vnet_load(bytes);
	memcpy(out, bytes + VNET_BYTES, (size_t)n - VNET_BYTES);
	return (size_t)n - VNET_BYTES;
}

void rogue_tun_write(struct rogue *g, const void *packet, size_t len)
{
	static uint8_t bytes[VNET_BYTES + 66000];

	vnet_store(bytes, &g->tun_write_header);
	memcpy(bytes + VNET_BYTES, packet, len);
	assert_int_equal(write(g->tun, bytes, VNET_BYTES + len), VNET_BYTES + len);
}

bool rogue_tun_has_packet(const struct rogue *r)
{
	uint8_t byte;

	return recv(r->tun, &byte, 1, MSG_PEEK) > 0;
}

bool rogue_ip_at_peer(const struct rogue *r)
{
	return r->ip_count > 0;
}
