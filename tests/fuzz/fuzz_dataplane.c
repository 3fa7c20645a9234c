/* SPDX-License-Identifier: MIT */

/*
 * The whole data plane between a network and a TUN that the input fills, with a peer that has keys and says what it likes: trains
 * of datagrams, STUN, early ClientHellos, records, SCTP packets, messages on every channel, inner packets; and super-packets of
 * the TUN. What comes out at the TUN must be whole, from the address of the peer and for us or for all.
 *
 * Input: one byte of set-up (role, virtio header, how far the link is), then steps; see enum step.
 */

#include "base/rng.h"
#include "dataplane_parts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* No thread: the packet side runs in turns. */
static int no_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *), void *user);
#define pthread_create(out, attr, run, user) no_create((out), (attr), (run), (user))
#define pthread_join(thread, result)         ((void)(thread), 0)
#define pthread_setname_np(thread, name)     ((void)(thread), (void)(name), 0)
#define rng_os()                             rng_seeded(7)
#include "engine/dataplane/dataplane.c"

#include "base/bytes.h"
#include "base/log.h"
#include "proto/ip/csum.h"
#include "proto/ip/segment.h"
#include "proto/sctp/chunk.h"
#include "proto/stun/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NET       1
#define PEER      2
#define OTHER     3
#define LINK      4
#define LINK2     5
#define UFRAG     "abcd"
#define PREFIX    0x11223344
#define OWN4      0x0a090001
#define PEER4     0x0a090002
#define STEPS_MAX 64
#define ROOM      4096

enum step {
	STEP_TRAIN,     /* bytes from an address */
	STEP_RECORD,    /* a plaintext of any type, sealed by the peer */
	STEP_CHUNKS,    /* an SCTP packet of the peer with these chunks */
	STEP_MESSAGE,   /* a message of the peer on a stream */
	STEP_INNER,     /* an inner packet of the peer, its header made nearly right */
	STEP_TUN,       /* a packet, or super-packet, of the system */
	STEP_STUN,      /* for a name that is known, or nearly */
	STEP_HANDSHAKE, /* a ClientHello or another handshake record */
	STEP_COMMAND,   /* of the control thread */
	STEP_TIME,      /* passes */
	STEP_REPLAY,    /* the last sealed datagram again, perhaps changed */
	STEP_SOCKET,    /* from now on sending fails so */
	STEPS,
};

/* --- fakes: queues, sockets, TUN ------------------------------------------------------------------ */

struct mq {
	struct mq_msg *head, **tail;
	uint32_t limits[MQ_LANES], counts[MQ_LANES];
};

int mq_new(struct mq **out, const uint32_t limits[static MQ_LANES])
{
	struct mq *q = mem_new(struct mq);

	if (q == NULL)
		return -ENOMEM;
	q->tail = &q->head;
	memcpy(q->limits, limits, sizeof(q->limits));
	*out = q;
	return 0;
}

struct mq_msg *mq_pop_all(struct mq *q)
{
	struct mq_msg *m = q->head;

	q->head = NULL;
	q->tail = &q->head;
	memset(q->counts, 0, sizeof(q->counts));
	return m;
}

void mq_free(struct mq *q)
{
	if (q == NULL)
		return;
	for (struct mq_msg *m = mq_pop_all(q), *next; m != NULL; m = next) {
		next = m->next;
		mem_free(m);
	}
	mem_free(q);
}

int mq_push(struct mq *q, unsigned lane, struct mq_msg *m)
{
	if (q->counts[lane] == q->limits[lane])
		return -ENOBUFS;
	q->counts[lane]++;
	m->next = NULL;
	*q->tail = m;
	q->tail = &m->next;
	return 0;
}

/* Descriptors that epoll takes; nobody waits. */
enum {
	FD_QUEUE,
	FD_TUN,
	FD_UDP4,
	FD_UDP6,
	FDS
};

static int fd_of(unsigned i)
{
	static int fds[FDS];

	if (fds[i] == 0)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	if (fds[i] <= 0)
		abort();
	return fds[i];
}

int mq_fd(const struct mq *q)
{
	(void)q;
	return fd_of(FD_QUEUE);
}

static struct world {
	struct dataplane *d;
	struct dataplane_stats net_stats, peer_stats, other_stats;
	struct dataplane_link_shared shared[2];
	uint64_t now_us;
	struct bytes_reader in;
	bool server; /* we are the DTLS server */

	/* The peer. */
	struct record *record;
	struct sctp *sctp;
	struct dcep *dcep;
	uint16_t streams[2]; /* ctl, ip */
	unsigned opened;
	uint8_t last[ROOM]; /* sealed last */
	size_t last_len;

	/* What waits on the fake socket and TUN. */
	const uint8_t *train;
	size_t train_len, train_size;
	struct netaddr from;
	bool echo;
	uint8_t tun[VNET_BYTES + ROOM];
	size_t tun_len;
	int tun_error;
	enum udp_result send_result;
	size_t unsent; /* as the kernel would say */
} w;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static int no_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *), void *user)
{
	(void)attr;
	(void)run;
	(void)user;
	*out = pthread_self();
	return 0;
}

void udp_close(struct udp *u)
{
	/* The data plane counts on a closed descriptor to leave epoll by itself. */
	if (u->fd >= 0)
		(void)epoll_ctl(w.d->shard->epoll_fd, EPOLL_CTL_DEL, u->fd, NULL);
	*u = UDP_NULL;
}

struct udp udp_adopt(int fd)
{
	return (struct udp){.fd = fd, .family = fd == fd_of(FD_UDP6) ? NETADDR_IP6 : NETADDR_IP4};
}

int udp_recv(struct udp *u, void *buf, size_t size, struct udp_train *out)
{
	if (w.from.family == NETADDR_NONE || u->family != w.from.family)
		return UDP_AGAIN;
	must(w.train_len <= size);
	if (w.train_len > 0)
		memcpy(buf, w.train, w.train_len);
	*out = (struct udp_train){.remote = w.from,
	                          .len = w.train_len,
	                          .size = w.train_size,
	                          .lost = w.train_len & 1};
	out->local = netaddr_ip4(0xc0000201, 0);
	/* The same again, from a stranger, in the same round. */
	if (w.echo) {
		w.from.ip[3] ^= 8;
		w.echo = false;
	} else {
		w.from.family = NETADDR_NONE;
	}
	return UDP_OK;
}

static void peer_datagram(const uint8_t *data, size_t len);

int udp_send_batch(struct udp *u, const struct netaddr *local, const struct netaddr *remote,
                   const struct batch *b, unsigned *sent)
{
	(void)u;
	(void)local;
	(void)sent;
	must(remote->family != NETADDR_NONE);
	for (unsigned i = 0; i < b->count && w.send_result == UDP_OK; i++) {
		struct pkt p = batch_datagram(b, i);

		peer_datagram(p.data, p.len);
	}
	return w.send_result;
}

size_t udp_unsent(const struct udp *u)
{
	return u->family == NETADDR_IP4 ? w.unsent : 0;
}

int udp_send(struct udp *u, const struct netaddr *local, const struct netaddr *remote,
             const void *data, size_t len)
{
	(void)u;
	(void)local;
	must(remote->family != NETADDR_NONE);
	peer_datagram(data, len);
	return w.send_result;
}

ssize_t fake_tun_read(int fd, void *buf, size_t size)
{
	must(fd == fd_of(FD_TUN));
	if (w.tun_error != 0 || w.tun_len == 0) {
		errno = w.tun_error != 0 ? w.tun_error : EAGAIN;
		return -1;
	}
	size_t n = GV_MIN(w.tun_len, size);
	memcpy(buf, w.tun, n);
	w.tun_len = 0;
	return (ssize_t)n;
}

/* One packet that the system would take: what the promise of the source check comes to. */
static void check_delivered(const uint8_t *p, size_t n)
{
	struct inner in;

	must(inner_parse(p, n, &in) == INNER_OK);
	if (in.version == 4) {
		uint32_t dst = be32_load(in.dst);

		must(be32_load(in.src) == PEER4);
		must(dst == OWN4 || dst == (OWN4 | 0xff) || dst == UINT32_MAX || dst >> 28 == 0xe);
	} else {
		must(in.src[0] == 0xfd && in.src[15] == 2);
		must(in.dst[0] == 0xff || (in.dst[0] == 0xfd && in.dst[15] == 1));
	}
}

ssize_t fake_tun_writev(int fd, const struct iovec *iov, int n)
{
	static uint8_t bytes[VNET_BYTES + 70000];
	size_t len = 0, head = w.d->shard->nets[0]->c.tun_vnet_hdr ? VNET_BYTES : 0;
	struct inner in;
	struct segment cut;

	must(fd == fd_of(FD_TUN));
	for (int i = 0; i < n; i++) {
		must(len + iov[i].iov_len <= sizeof(bytes));
		memcpy(bytes + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	must(len > head);
	struct vnet h = head > 0 ? vnet_load(bytes) : (struct vnet){0};
	/* An ICMP answer of ours comes from the destination of what it answers. */
	if (bytes[head + 9] != 1 && bytes[head + 6] != 58)
		check_delivered(bytes + head, len - head);
	if (h.gso_type != VNET_GSO_NONE)
		must(inner_parse(bytes + head, len - head, &in) == INNER_OK &&
		     segment_begin(&cut, &h, &in, bytes + head, len - head) == SEGMENT_OK);
	if (w.tun_error != 0) {
		errno = w.tun_error;
		return -1;
	}
	return (ssize_t)len;
}

/* --- the peer ------------------------------------------------------------------------------------- */

static void take_events(void)
{
	static volatile uint8_t sink;
	const struct dataplane_event *e;

	while ((e = dataplane_event(w.d)) != NULL) {
		must(e->type != DATAPLANE_EVENT_CTL || e->len <= DATAPLANE_CTL_BYTES);
		for (size_t i = 0; i < e->len; i++)
			sink = (uint8_t)(sink + e->data[i]);
		dataplane_event_done(w.d, e);
	}
}

static void turn(void)
{
	shard_turn(w.d->shard, w.now_us);
	take_events();
}

static void feed_from(const struct netaddr *from, const uint8_t *data, size_t len, size_t size)
{
	struct net *n = w.d->shard->nets[0];

	w.train = data;
	w.train_len = len;
	w.train_size = size;
	w.from = *from;
	in_udp(w.d->shard, n, from->family == NETADDR_IP6 ? &n->udp6 : &n->udp4);
	turn();
}

static struct netaddr peer_addr(void)
{
	return netaddr_ip4(0xc6336401, 4000);
}

static void feed(const uint8_t *data, size_t len)
{
	struct netaddr from = peer_addr();

	feed_from(&from, data, len, len);
}

static void feed_sealed(uint8_t type, const uint8_t *data, size_t len)
{
	if (record_seal_one(w.record, type, data, len, w.last, sizeof(w.last), &w.last_len) == 0)
		feed(w.last, w.last_len);
}

/* What we sent, to the peer's association. */
static void peer_datagram(const uint8_t *data, size_t len)
{
	uint8_t copy[2048];
	struct pkt in = {.data = copy, .len = len};
	struct record_plain plain;
	struct record_counters c = {0};
	struct dcep_data message;
	struct sctp_msg m;

	if (w.record == NULL || len > sizeof(copy))
		return;
	memcpy(copy, data, len);
	if (record_open(w.record, &in, 1, &plain, 1, &c) != 1 || plain.type != RECORD_TYPE_DATA)
		return;
	sctp_input(w.sctp, &plain.pkt, 1, w.now_us);
	while (sctp_recv(w.sctp, &m, 1) == 1)
		must(dcep_input(w.dcep, &m, &message) >= 0);
}

static void peer_channels(void)
{
	struct sctp_event se;
	struct dcep_event de;
	struct dcep_output o;

	while (sctp_event(w.sctp, &se) == 1) {
		if (se.type == SCTP_EVENT_STREAM_RESET)
			dcep_stream_reset(w.dcep, se.stream);
	}
	while (dcep_event(w.dcep, &de) == 1) {
		if (de.type == DCEP_EVENT_INCOMING && w.opened < 2)
			w.streams[w.opened++] = de.stream;
	}
	while (dcep_output(w.dcep, &o) == 1) {
		if (o.type == DCEP_OUTPUT_MESSAGE &&
		    sctp_send(w.sctp, &o.options, o.data, o.len, w.now_us) != SCTP_OK)
			return;
		dcep_output_done(w.dcep);
	}
}

/* All that the peer's association has to say. */
static void peer_output(void)
{
	static uint8_t bytes[8192];

	if (w.record == NULL)
		return;
	for (int i = 0; i < 50; i++) {
		struct batch b = BATCH_INIT(bytes, sizeof(bytes), 0, 0);

		peer_channels();
		if (sctp_output(w.sctp, &b, w.now_us) == 0)
			return;
		for (unsigned k = 0; k < b.count; k++) {
			struct pkt p = batch_datagram(&b, k);

			feed_sealed(RECORD_TYPE_DATA, p.data, p.len);
		}
	}
}

static struct record *make_record(enum record_role role, uint8_t seed)
{
	struct record_keys keys = {.role = role, .nonce_start = UINT64_C(1) << (32 + role)};
	struct record *r = NULL;

	memset(keys.client_key, seed, sizeof(keys.client_key));
	memset(keys.server_key, seed + 1, sizeof(keys.server_key));
	must(record_new(&r, &keys, AEAD_BACKEND_EVP) == 0);
	return r;
}

static void give_keys(uint32_t link)
{
	const struct dataplane_keys_config keys = {
		.record = make_record(w.server ? RECORD_ROLE_SERVER : RECORD_ROLE_CLIENT,
	                              link == LINK ? 1 : 9),
		.role = w.server ? DATAPLANE_DTLS_SERVER : DATAPLANE_DTLS_CLIENT,
		.sctp_local_port = 5000,
		.sctp_remote_port = 5000,
		.max_message_bytes = 262144,
		.zero_checksum = true,
	};

	must(dataplane_link_keys(w.d, link, &keys) == 0);
}

static void make_peer(void)
{
	const struct sctp_config sctp = {.local_port = 5000,
	                                 .remote_port = 5000,
	                                 .max_packet_bytes = 1200,
	                                 .max_message_bytes = 262144,
	                                 .zero_checksum = true,
	                                 .rng = rng_seeded(1)};
	const struct dcep_config dcep = {.side = w.server ? DCEP_SIDE_CLIENT : DCEP_SIDE_SERVER,
	                                 .max_channels = 8};

	w.record = make_record(w.server ? RECORD_ROLE_CLIENT : RECORD_ROLE_SERVER, 1);
	must(sctp_new(&w.sctp, &sctp) == 0 && dcep_new(&w.dcep, &dcep) == 0);
}

static void open_channels(void)
{
	struct dcep_params ctl = {.label = "ctl", .label_len = 3, .protocol = ""};
	struct dcep_params ip = {.label = "ip",
	                         .label_len = 2,
	                         .protocol = "",
	                         .unordered = true,
	                         .reliability = SCTP_MAX_RETRANSMITS};

	if (w.server) {
		sctp_connect(w.sctp, w.now_us);
		peer_output();
		(void)!dcep_open(w.dcep, &ctl, &w.streams[0]);
		(void)!dcep_open(w.dcep, &ip, &w.streams[1]);
	}
	for (int i = 0; i < 4; i++)
		peer_output();
}

/* --- the world ------------------------------------------------------------------------------------ */

static void add_net(uint8_t mode)
{
	uint8_t ip6[16] = {0xfd, [15] = 1};
	struct netaddr own = mode & 128 ? (struct netaddr){0} : netaddr_ip4(OWN4, 0);
	struct dataplane_net_config net = {.tun_fd = fd_of(FD_TUN),
	                                   .udp4_fd = fd_of(FD_UDP4),
	                                   .udp6_fd = fd_of(FD_UDP6),
	                                   .tun_keep = true,
	                                   .tun_vnet_hdr = (mode & 2) != 0,
	                                   .tun_uso = (mode & 4) != 0,
	                                   .mtu = 1380,
	                                   .ip4 = own,
	                                   .ip6 = netaddr_ip6(ip6, 0),
	                                   .prefix4 = netprefix_of(&own, 24)};
	struct dataplane_peer_config peer = {.ip4 = netaddr_ip4(PEER4, 0)};
	struct dataplane_peer_config other = {.ip4 = netaddr_ip4(PEER4 + 1, 0)};

	ip6[15] = 2;
	peer.ip6 = netaddr_ip6(ip6, 0);
	ip6[15] = 3;
	other.ip6 = netaddr_ip6(ip6, 0);
	must(dataplane_net_add(w.d, NET, &net, &w.net_stats) == 0);
	must(dataplane_peer_add(w.d, NET, PEER, &peer, &w.peer_stats) == 0);
	must(dataplane_peer_add(w.d, NET, OTHER, &other, &w.other_stats) == 0);
	for (unsigned i = 0; i < 2; i++)
		atomic_store(&w.shared[i].send_until_us, CLOCK_NEVER);
	must(dataplane_link_add(w.d, PEER, LINK, UFRAG, PREFIX, &w.shared[0]) == 0);
	turn();
}

/* How far the link is: 0 no address, 1 no keys, 2 keys, 3 and more both channels and IP. */
static void begin(uint8_t mode)
{
	struct netaddr local = netaddr_ip4(0xc0000201, 0), remote = peer_addr();
	unsigned stage = mode >> 3 & 3;

	w.server = (mode & 1) != 0;
	w.send_result = UDP_OK;
	w.unsent = 0;
	w.now_us = 1000000000;
	add_net(mode);
	make_peer();
	if (stage > 0) {
		must(dataplane_link_addr(w.d, LINK, &remote) == 0);
		must(dataplane_link_path(w.d, LINK, &local, &remote) == 0);
	}
	if (stage > 1)
		give_keys(LINK);
	if (stage > 2) {
		must(dataplane_link_start(w.d, LINK) == 0);
		must(dataplane_link_open_ip(w.d, LINK) == 0);
		if ((mode & 64) == 0)
			must(dataplane_link_allow_ip(w.d, LINK) == 0);
		turn();
		open_channels();
		if ((mode & 32) != 0)
			must(dataplane_link_tunnel(w.d, LINK) == 0);
	}
	turn();
}

static void end(void)
{
	struct dataplane *d = w.d;

	must(dataplane_net_del(d, NET) == 0);
	turn();
	must(d->shard->links == NULL && d->shard->peers == NULL && d->shard->timers.count == 0);
	must(d->shard->n_peers == 0);
	record_free(w.record);
	sctp_free(w.sctp);
	dcep_free(w.dcep);
	memset(&w, 0, sizeof(w));
	w.d = d;
}

/* --- steps ---------------------------------------------------------------------------------------- */

/* The next bytes of the input: as many as two bytes of it say. */
static const uint8_t *take(size_t *n, size_t max)
{
	*n = bytes_read_u16(&w.in);
	*n = GV_MIN(*n, max);
	*n = GV_MIN(*n, w.in.left);
	return bytes_read(&w.in, *n);
}

static struct netaddr some_addr(uint8_t b)
{
	uint8_t ip[16] = {0x20, 0x01, [15] = b & 3};

	if ((b & 0x80) != 0)
		return netaddr_ip6(ip, 4000);
	return netaddr_ip4(0xc6336401 + (b & 7), 4000);
}

static void step_train(void)
{
	struct netaddr from = some_addr(bytes_read_u8(&w.in));
	size_t size = bytes_read_u8(&w.in), n;
	const uint8_t *p = take(&n, ROOM);

	w.echo = n > 0 && p[n - 1] == 0xee;
	feed_from(&from, p, n, size == 0 || size > n ? n : size);
}

/* The association of our link, or NULL. */
static const struct sctp *own_sctp(void)
{
	const struct link *l = link_find(w.d->shard, LINK);

	return l != NULL ? l->keys.sctp : NULL;
}

static void make_relative(const struct sctp *s, uint8_t *p, size_t n)
{
	struct bytes_reader r = bytes_reader(p, n);
	struct chunk c;

	while (chunk_next(&r, &c) == CHUNK_OK) {
		if (c.len >= 4 && (c.type == CHUNK_DATA || c.type == CHUNK_FORWARD_TSN))
			be32_store(p + (c.body - p), be32_load(c.body) + sctp_acknowledged(s));
	}
}

static void step_chunks(void)
{
	uint8_t packet[SCTP_HEADER_BYTES + ROOM];
	size_t n;
	const uint8_t *p = take(&n, ROOM - 100);
	const struct sctp *s = own_sctp();
	struct packet_header h = {.source = 5000, .destination = 5000};
	struct bytes_writer out = bytes_writer(packet, SCTP_HEADER_BYTES);

	if (n == 0 || s == NULL)
		return;
	h.tag = p[0] == CHUNK_INIT ? 0 : sctp_own_tag(s);
	memcpy(packet + SCTP_HEADER_BYTES, p, n);
	make_relative(s, packet + SCTP_HEADER_BYTES, n);
	packet_header_write(&out, &h);
	packet_checksum_write(packet, SCTP_HEADER_BYTES + n);
	feed_sealed(RECORD_TYPE_DATA, packet, SCTP_HEADER_BYTES + n);
}

static void queue_message(uint16_t stream, uint32_t ppid, const uint8_t *p, size_t n)
{
	const struct sctp_send_options o = {
		.stream = stream, .ppid = ppid, .unordered = (ppid & 1) != 0};

	if (n > 0)
		must(sctp_send(w.sctp, &o, p, n, w.now_us) >= 0);
}

static void step_message(void)
{
	uint8_t how = bytes_read_u8(&w.in);
	size_t n;
	const uint8_t *p = take(&n, ROOM);

	queue_message(how < 128 ? w.streams[how & 1] : how & 15,
	              how & 2   ? DCEP_PPID_CONTROL
	              : how & 4 ? DCEP_PPID_TEXT
	              : how & 8 ? PPID_IP_PARTIAL
	                        : DCEP_PPID_BINARY,
	              p, n);
	peer_output();
}

/* Makes a header fit: version and length, then addresses as far as `how` says so. */
static void repair(uint8_t *p, size_t n, uint8_t how, uint32_t src, uint32_t dst)
{
	if ((how & 1) != 0 && n >= 20) {
		p[0] = (uint8_t)(0x40 | GV_MAX(5, p[0] & 15));
		be16_store(p + 2, (uint16_t)n);
		if ((how & 2) != 0)
			be32_store(p + 12, src);
		if ((how & 4) != 0)
			be32_store(p + 16, dst);
	} else if ((how & 8) != 0 && n >= 40) {
		p[0] = 0x60;
		be16_store(p + 4, (uint16_t)(n - 40));
		memset(p + 8, 0, 32);
		p[8] = 0xfd;
		p[24] = (how & 128) != 0 ? 0xff : 0xfd;
		p[23] = (how & 2) != 0 ? (uint8_t)src : 9;
		p[39] = (how & 4) != 0 ? (uint8_t)dst : 9;
	}
	/* A SYN or a run of segments needs a TCP header. */
	if ((how & 16) != 0 && n >= 60)
		p[(how & 1) != 0 ? 9 : 6] = 6;
	if ((how & 32) != 0 && n >= 60)
		p[(how & 1) != 0 ? 9 : 6] = 17;
}

static void step_inner(void)
{
	uint8_t packet[ROOM];
	uint8_t how = bytes_read_u8(&w.in), copies = bytes_read_u8(&w.in) & 31;
	size_t n;
	const uint8_t *p = take(&n, 2500);

	if (n == 0)
		return;
	for (unsigned i = 0; i <= copies; i++) {
		memcpy(packet, p, n);
		repair(packet, n, how, how & 64 ? 3 : PEER4, how & 128 ? OWN4 | 0xff : OWN4);
		/* The next one goes on where this one ended. */
		if (n >= 40 && i > 0)
			be32_store(packet + 24, be32_load(packet + 24) + (uint32_t)(i * (n - 40)));
		if ((how & 1) != 0 && n >= 20)
			csum_store(packet + 10, (uint16_t)~csum_fold(csum_add(0, packet, 20)));
		queue_message(w.streams[1], (how & 8) != 0 ? PPID_IP_PARTIAL : DCEP_PPID_BINARY,
		              packet, n);
	}
	peer_output();
}

static void step_tun(void)
{
	struct net *net = w.d->shard->nets[0];
	size_t head = net->c.tun_vnet_hdr ? VNET_BYTES : 0, n;
	uint8_t how = bytes_read_u8(&w.in), stretch = bytes_read_u8(&w.in);
	const uint8_t *p = take(&n, sizeof(w.tun));

	w.tun_len = n;
	if (n > 0)
		memcpy(w.tun, p, n);
	/* Long payloads cost no input. */
	if (n > head && stretch > 0) {
		size_t more = GV_MIN((size_t)stretch * 16, sizeof(w.tun) - n);

		memset(w.tun + n, stretch, more);
		w.tun_len += more;
	}
	if (w.tun_len > head)
		repair(w.tun + head, w.tun_len - head, how, OWN4, how & 64 ? OWN4 | 0xff : PEER4);
	out_tun(w.d->shard, net);
	turn();
	peer_output();
}

static void step_stun(void)
{
	uint8_t how = bytes_read_u8(&w.in), out[256], id[STUN_ID_SIZE] = {0};
	struct netaddr from = some_addr(how >> 4);
	struct stun_writer sw;
	const char *name = how & 1 ? UFRAG ":x" : "abce:x";

	be32_store(id, how & 2 ? PREFIX : how & 4 ? PREFIX + 7 : 5);
	stun_begin(&sw, out, sizeof(out), how & 8 ? STUN_CLASS_SUCCESS : STUN_CLASS_REQUEST,
	           STUN_METHOD_BINDING, id);
	stun_put_username(&sw, name, strlen(name));
	stun_put_integrity(&sw, "password", 8);
	feed_from(&from, out, stun_end(&sw), 256);
}

static void step_handshake(void)
{
	uint8_t how = bytes_read_u8(&w.in),
		out[RECORD_HEADER_SIZE + 300] = {RECORD_TYPE_HANDSHAKE, 0xfe, 0xfd};
	struct netaddr from = some_addr(how & 0x87);
	size_t n;
	const uint8_t *p = take(&n, 300);

	if ((how & 8) != 0)
		out[0] = RECORD_TYPE_CCS;
	out[4] = how >> 4 & 1;
	be16_store(out + 11, (uint16_t)n);
	if (n > 0)
		memcpy(out + RECORD_HEADER_SIZE, p, n);
	if ((how & 32) != 0 && n > 0)
		out[RECORD_HEADER_SIZE] = 1; /* a ClientHello */
	feed_from(&from, out, RECORD_HEADER_SIZE + n, sizeof(out));
}

static void step_command(void)
{
	uint8_t how = bytes_read_u8(&w.in), data[100] = {0};
	uint32_t link = how & 16 ? LINK2 : LINK;
	struct netaddr local = netaddr_ip4(0xc0000201, 0), remote = some_addr(bytes_read_u8(&w.in));
	int r = 0;

	switch (how & 15) {
	case 0:
		r = dataplane_link_add(w.d, PEER, link, how & 32 ? "efgh" : UFRAG,
		                       PREFIX + (how >> 5), &w.shared[link == LINK2]);
		break;
	case 1:
		r = dataplane_link_addr(w.d, link, &remote);
		break;
	case 2:
		r = dataplane_link_path(w.d, link, &local, &remote);
		break;
	case 3:
		give_keys(link);
		break;
	case 4:
		r = dataplane_link_start(w.d, link);
		break;
	case 5:
		r = dataplane_link_open_ip(w.d, link);
		break;
	case 6:
		r = dataplane_link_allow_ip(w.d, link);
		break;
	case 7:
		r = dataplane_link_tunnel(w.d, link);
		break;
	case 8:
		r = dataplane_link_del(w.d, link, (how & 32) != 0);
		break;
	case 9:
		r = dataplane_peer_del(w.d, how & 32 ? OTHER : PEER);
		break;
	case 10:
		r = dataplane_net_transactions(w.d, NET, PREFIX + 7);
		break;
	case 11:
		/* The answer to a check, behind which a ClientHello may come early. */
		if ((how & 32) != 0)
			be16_store(data, 0x0101);
		be16_store(data + 2, sizeof(data) - STUN_HEADER_SIZE);
		be32_store(data + 4, STUN_COOKIE);
		r = dataplane_send_raw(w.d, NET, &local, &remote, data, sizeof(data));
		break;
	case 12:
		r = dataplane_send_sealed(w.d, link, RECORD_TYPE_ALERT, data, 2);
		break;
	case 13:
		for (int i = 0; i < (how & 32 ? 80 : 1) && r == 0; i++)
			r = dataplane_ctl_send(w.d, link, data, sizeof(data));
		break;
	case 14:
		atomic_store(&w.shared[link == LINK2].send_until_us, how & 32 ? CLOCK_NEVER : 0);
		break;
	default:
		w.tun_error = how & 32 ? EBADFD : how & 64 ? EIO : 0;
		break;
	}
	must(r == 0);
	turn();
	peer_output();
}

static void step_time(void)
{
	w.now_us += UINT64_C(1) << (bytes_read_u8(&w.in) & 31);
	turn();
	if (sctp_deadline_us(w.sctp) <= w.now_us)
		sctp_timeout(w.sctp, w.now_us);
	peer_output();
}

static void step_replay(void)
{
	uint16_t at = bytes_read_u16(&w.in);
	uint8_t mask = bytes_read_u8(&w.in);

	if (w.last_len == 0)
		return;
	w.last[at % w.last_len] ^= mask;
	feed(w.last, w.last_len);
}

static void step(void)
{
	uint8_t b = bytes_read_u8(&w.in);
	size_t n;
	const uint8_t *p;

	switch ((enum step)(b % STEPS)) {
	case STEP_TRAIN:
		step_train();
		break;
	case STEP_RECORD:
		b = bytes_read_u8(&w.in);
		p = take(&n, ROOM - 100);
		feed_sealed(b, p, n);
		break;
	case STEP_CHUNKS:
		step_chunks();
		break;
	case STEP_MESSAGE:
		step_message();
		break;
	case STEP_INNER:
		step_inner();
		break;
	case STEP_TUN:
		step_tun();
		break;
	case STEP_STUN:
		step_stun();
		break;
	case STEP_HANDSHAKE:
		step_handshake();
		break;
	case STEP_COMMAND:
		step_command();
		break;
	case STEP_TIME:
		step_time();
		break;
	case STEP_REPLAY:
		step_replay();
		break;
	case STEP_SOCKET:
		b = bytes_read_u8(&w.in);
		w.send_result = (enum udp_result)(b % (UDP_REFUSED + 1));
		w.unsent = b >= 128 ? (size_t)b << 13 : 0;
		break;
	case STEPS:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_set_level(LOG_LEVEL_ERR);
	/* Made once, because it is large; end() leaves it empty. */
	if (w.d == NULL)
		must(dataplane_new(&w.d) == 0);
	w.in = bytes_reader(data, size);
	begin(bytes_read_u8(&w.in));
	for (int i = 0; i < STEPS_MAX && w.in.ok && w.in.left > 0; i++)
		step();
	end();
	return 0;
}
