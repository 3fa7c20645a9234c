/* SPDX-License-Identifier: MIT */

/*
 * What each stage of the packet path costs without the kernel: a TCP super-packet is cut, put into DATA chunks and
 * sealed; the train is opened, taken apart and joined again. One thread, no sockets. A JSON line per case: ns per
 * packet of each stage, the least disturbed of many trains.
 *
 *   bench_path [TRAINS]
 */

#include "base/bytes.h"
#include "crypto/record.h"
#include "proto/ip/coalesce.h"
#include "proto/ip/segment.h"
#include "proto/sctp/sctp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STREAM  2
#define HEADERS 52 /* IPv4, TCP with timestamps */
#define MSS     1328
#define CSUM_AT 16 /* in the TCP header */

enum stage {
	STAGE_CUT,
	STAGE_SEAL,
	STAGE_OPEN,
	STAGE_SCTP,
	STAGE_JOIN,
	STAGES,
};

static const char *const stage_name[STAGES] = {"cut", "seal", "open", "sctp", "join"};

static uint8_t super[65536], train[65536], control[65536];
static struct coalesce join;
static uint64_t now_us = 1000000;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench_path: %s\n", what);
	exit(1);
}

static struct sctp *make_sctp(uint64_t seed, bool zero_checksum)
{
	struct sctp_config config = {.local_port = 5000,
	                             .remote_port = 5000,
	                             .max_packet_bytes = 1408,
	                             .max_message_bytes = SCTP_MESSAGE_BYTES_MAX,
	                             .zero_checksum = zero_checksum,
	                             .rng = rng_seeded(seed)};
	struct sctp *s = NULL;

	must(sctp_new(&s, &config) == 0, "sctp_new");
	return s;
}

static struct record *make_record(enum record_role role)
{
	struct record_keys keys = {.client_key = {1}, .server_key = {2}, .role = role};
	struct record *r = NULL;

	must(record_new(&r, &keys, AEAD_BACKEND_AUTO) == 0, "record_new");
	return r;
}

/* A super-packet as the TUN gives it: n segments, checksum of the pseudo header only. */
static size_t make_super(size_t n)
{
	size_t len = HEADERS + n * MSS;
	uint8_t *t = super + 20;

	for (size_t i = 0; i < sizeof(super); i++)
		super[i] = (uint8_t)(i * 31 + i / 256);
	memset(super, 0, HEADERS);
	super[0] = 0x45;
	be16_store(super + 2, (uint16_t)len);
	super[6] = 0x40;
	super[8] = 64;
	super[9] = INNER_TCP;
	be32_store(super + 12, 0x0a000001);
	be32_store(super + 16, 0x0a000002);
	be16_store(t, 5201);
	be16_store(t + 2, 40000);
	t[12] = 8 << 4;
	t[13] = 0x10;
	return len;
}

static size_t split(const struct batch *b, struct pkt *out)
{
	for (unsigned i = 0; i < b->count; i++)
		out[i] = batch_datagram(b, i);
	return b->count;
}

static size_t unwrap(const struct batch *b, struct pkt *out)
{
	for (unsigned i = 0; i < b->count; i++) {
		struct pkt d = batch_datagram(b, i);

		out[i] = (struct pkt){.data = d.data + RECORD_HEADROOM,
		                      .len = d.len - RECORD_OVERHEAD};
	}
	return b->count;
}

/* Control chunks from one to the other, in the clear. */
static void talk(struct sctp *from, struct sctp *to)
{
	struct pkt in[BATCH_MAX_COUNT];
	struct sctp_msg msg[64];
	struct sctp_event event;

	for (;;) {
		struct batch b =
			BATCH_INIT(control, sizeof(control), RECORD_HEADROOM, RECORD_TAILROOM);

		if (sctp_output(from, &b, now_us) == 0)
			return;
		sctp_input(to, in, unwrap(&b, in), now_us);
		while (sctp_recv(to, msg, 64) > 0) {
		}
		while (sctp_event(to, &event)) {
		}
	}
}

struct ends {
	struct sctp *a, *b;
	struct record *seal, *open;
	bool partial; /* transport checksums are left to the receiver's kernel */
};

/* Cut straight into the chunks of a train, as engine/dataplane/out.c does. */
static void cut_super(struct sctp *s, size_t len, size_t packets, bool partial, struct batch *out)
{
	struct vnet h = {.flags = VNET_NEEDS_CSUM,
	                 .gso_type = VNET_GSO_TCP4,
	                 .gso_size = MSS,
	                 .csum_start = 20,
	                 .csum_offset = CSUM_AT};
	uint8_t *places[BATCH_MAX_COUNT];
	struct inner in;
	struct segment cut;
	int result;

	must(inner_parse(super, len, &in) == INNER_OK, "inner_parse");
	must(segment_begin(&cut, &h, &in, super, len) == SEGMENT_OK, "segment_begin");
	if (partial)
		segment_leave_sums(&cut);
	size_t n = sctp_tunnel_reserve(s, STREAM, SCTP_PPID_BINARY, segment_next_len(&cut),
	                               segment_equal(&cut), places, out, now_us, &result);
	must(n == packets && result == SCTP_OK, "reserve");
	for (size_t i = 0; i < n; i++)
		segment_next(&cut, places[i]);
	sctp_tunnel_filled(s, out, 0);
}

static void join_all(const struct sctp_msg *m, size_t n, bool partial)
{
	coalesce_begin(&join, COALESCE_ALL);
	for (size_t i = 0; i < n; i++) {
		struct inner in;

		must(inner_parse(m[i].data, m[i].len, &in) == INNER_OK, "inner_parse");
		must((partial ? coalesce_add_partial(&join, m[i].data, m[i].len, &in)
		              : coalesce_add(&join, m[i].data, m[i].len, &in)) == COALESCE_OK,
		     "coalesce");
	}
	must(coalesce_count(&join) == 1, "not joined to one");
	must(coalesce_out(&join, 0).packets == n, "packets lost");
}

/* One super-packet all the way; ns of each stage. */
static void one(struct ends *e, size_t len, size_t packets, uint64_t ns[STAGES])
{
	struct pkt pkts[BATCH_MAX_COUNT], wire[BATCH_MAX_COUNT];
	struct batch out = BATCH_INIT(train, sizeof(train), RECORD_HEADROOM, RECORD_TAILROOM);
	struct record_plain plain[BATCH_MAX_COUNT];
	struct sctp_msg msgs[BATCH_MAX_COUNT];
	struct record_counters c = {0};
	uint64_t at[STAGES + 1];

	at[0] = now_ns();
	cut_super(e->a, len, packets, e->partial, &out);
	at[1] = now_ns();
	must(record_seal(e->seal, &out) == 0, "seal");
	at[2] = now_ns();
	size_t n = record_open(e->open, wire, split(&out, wire), plain, BATCH_MAX_COUNT, &c);
	at[3] = now_ns();
	must(n == packets, "open");
	for (size_t i = 0; i < n; i++)
		pkts[i] = plain[i].pkt;
	sctp_input(e->b, pkts, n, now_us);
	must(sctp_recv(e->b, msgs, BATCH_MAX_COUNT) == packets, "recv");
	at[4] = now_ns();
	join_all(msgs, packets, e->partial);
	at[5] = now_ns();
	must(sctp_recv(e->b, msgs, BATCH_MAX_COUNT) == 0, "recv");
	talk(e->b, e->a);
	now_us += 50;
	for (int i = 0; i < STAGES; i++)
		ns[i] = GV_MIN(ns[i], at[i + 1] - at[i]);
}

static void run(size_t packets, bool zero_checksum, bool partial, unsigned long trains)
{
	struct ends e = {.a = make_sctp(1, zero_checksum),
	                 .b = make_sctp(2, zero_checksum),
	                 .seal = make_record(RECORD_ROLE_CLIENT),
	                 .open = make_record(RECORD_ROLE_SERVER),
	                 .partial = partial};
	size_t len = make_super(packets);
	uint64_t ns[STAGES], sum = 0;

	memset(ns, 0xff, sizeof(ns));
	sctp_connect(e.a, now_us);
	for (int i = 0; i < 8; i++) {
		talk(e.a, e.b);
		talk(e.b, e.a);
	}
	sctp_tunnel_start(e.a, STREAM, now_us);
	sctp_tunnel_start(e.b, STREAM, now_us);
	for (unsigned long i = 0; i < trains; i++)
		one(&e, len, packets, ns);
	printf("{\"bench\":\"path\",\"packets\":%zu,\"zero_checksum\":%s,\"partial\":%s", packets,
	       zero_checksum ? "true" : "false", partial ? "true" : "false");
	for (int i = 0; i < STAGES; i++) {
		printf(",\"%s_ns\":%.1f", stage_name[i], (double)ns[i] / (double)packets);
		sum += ns[i];
	}
	printf(",\"sum_ns\":%.1f}\n", (double)sum / (double)packets);
	sctp_free(e.a);
	sctp_free(e.b);
	record_free(e.seal);
	record_free(e.open);
}

int main(int argc, char **argv)
{
	unsigned long trains = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;

	run(45, true, true, trains);
	run(45, true, false, trains);
	run(45, false, false, trains);
	run(4, true, true, trains);
	run(1, true, true, trains);
	return 0;
}
