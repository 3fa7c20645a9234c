/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SCTP_SCTP_H
#define GV_PROTO_SCTP_SCTP_H

/*
 * sctp - one SCTP association over DTLS (RFC 9260, 8261) with partial reliability (RFC 3758), stream reset
 * (RFC 6525) and zero checksum (RFC 9653).
 *
 * Does:      INIT/COOKIE (also simultaneous), DATA with fragments, SACK with gaps, FORWARD-TSN, HEARTBEAT,
 *            SHUTDOWN/ABORT, retransmission and congestion control; and tunnel mode: one unordered stream whose
 *            messages are IP packets that carry their own congestion control (design: RFC 8085 3.1.11).
 * Does not:  encrypt (crypto/record seals the batches in place), know data channels (proto/dcep), read a clock.
 * Thread:    the owner's.
 * Memory:    4 KB at sctp_new(), plus bounded buffers for reliable messages: whatever the peer sends, and however long
 *            the owner does not read, at most SCTP_MEMORY_BYTES_MAX with packets of 1,500 bytes. Nothing is allocated
 *            for a tunnel packet that is one chunk; one in fragments is put together in a buffer of its own, within
 *            the same bounds.
 * Time:      now_us is monotonic microseconds.
 */

#include "base/batch.h"
#include "base/macro.h"
#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sctp; /* opaque */

#define SCTP_HEADER_BYTES      12
#define SCTP_DATA_HEADER_BYTES 16
#define SCTP_PPID_BINARY       53 /* RFC 8831 8 */
#define SCTP_STREAMS_MAX       65535
#define SCTP_MESSAGE_BYTES_MAX 262144
/*
 * Limits of sctp_config.max_packet_bytes. Every path takes the least: 1,280 bytes of IPv6 less DTLS and TURN. What
 * is kept to be sent again is cut for it from the start, because a chunk cannot be cut later when the path shrinks.
 */
#define SCTP_PACKET_BYTES_MIN 1188
#define SCTP_PACKET_BYTES_MAX 9000
/*
 * The most that one association holds: 4 MiB received (2 MiB of content, and as much again in buffers that grow),
 * 1 MiB to be sent, and 2 MiB of tables, of overhead and of control chunks that wait.
 */
#define SCTP_MEMORY_BYTES_MAX (7u << 20)
/* Largest message of sctp_send() in tunnel mode: one such chunk. */
#define SCTP_KEPT_BYTES_MAX (SCTP_PACKET_BYTES_MIN - SCTP_HEADER_BYTES - SCTP_DATA_HEADER_BYTES)

struct sctp_config {
	uint16_t local_port, remote_port; /* 5000 and 5000 in WebRTC */
	uint16_t max_packet_bytes;        /* largest SCTP packet to make, header included */
	/* Largest message to accept: announced in SDP; 1 .. SCTP_MESSAGE_BYTES_MAX. */
	uint32_t max_message_bytes;
	/* Largest message the peer accepts, from its SDP; 0: unknown, then max_message_bytes holds. */
	uint32_t peer_max_message_bytes;
	bool zero_checksum; /* announce RFC 9653 (the lower layer is DTLS) */
	struct rng rng;     /* copied: tags, TSN, cookies */
};

/* How a message is sent (RFC 8831 6.4 maps channel types to these). */
enum sctp_reliability {
	SCTP_RELIABLE,
	SCTP_MAX_RETRANSMITS,
	SCTP_MAX_LIFETIME,
};

struct sctp_send_options {
	uint16_t stream;
	uint32_t ppid;
	bool unordered;
	enum sctp_reliability reliability;
	uint32_t limit; /* retransmissions or milliseconds */
};

/* One received message. */
struct sctp_msg {
	uint16_t stream;
	uint32_t ppid;
	const uint8_t *data; /* borrowed until the next call with this association */
	size_t len;
};

enum sctp_event_type {
	SCTP_EVENT_UP,           /* established: messages may be sent */
	SCTP_EVENT_DOWN,         /* ended: reason */
	SCTP_EVENT_STREAM_RESET, /* the peer reset its outgoing stream: stream */
	SCTP_EVENT_WRITABLE,     /* room in the send buffer again after SCTP_FULL */
};

enum sctp_down_reason {
	SCTP_DOWN_SHUTDOWN = 1, /* clean, by either side */
	SCTP_DOWN_ABORTED,      /* ABORT received or a protocol violation */
	SCTP_DOWN_TIMEOUT,      /* the peer stopped answering */
	SCTP_DOWN_RESTARTED,    /* the peer began anew: what was queued is lost, UP follows */
};

struct sctp_event {
	enum sctp_event_type type;
	enum sctp_down_reason reason;
	uint16_t stream;
};

enum sctp_result {
	SCTP_OK = 0,
	SCTP_FULL = 1,       /* send buffer or in-flight limit: try later */
	SCTP_NOT_UP = 2,     /* not established */
	SCTP_TOO_LARGE = 3,  /* above the peer's or our message limit */
	SCTP_BAD_STREAM = 4, /* above the negotiated number of streams */
	SCTP_RESETTING = 5,  /* the stream is being reset: try later */
};

/* Monotonic counters; read by the owner at any time. */
struct sctp_counters {
	uint64_t packets_in, packets_out, data_in, data_out;
	/* Malformed, wrong tag or ports. */
	uint64_t bad_packet;
	uint64_t bad_checksum;
	/* Well-formed, but a lie: SACK of what was not sent, disordered gaps, wrong state. */
	uint64_t bad_chunk;
	uint64_t duplicate_tsn;
	/* TSNs that the peer gave up and we never got: loss of the path towards us. */
	uint64_t skipped_tsn;
	/* Messages abandoned by partial reliability, those of tunnel mode not included. */
	uint64_t gave_up;
	uint64_t retransmitted;
	/* Fragments over a bound, or of messages that never came whole. */
	uint64_t reassembly_drop;
	/* DATA refused: outside the TSN window or the receive buffer full. */
	uint64_t receive_drop;
	/* Tunnel messages refused: circuit breaker, full in-flight ring, no window. */
	uint64_t tunnel_stopped;
	/* Tunnel messages dropped: empty or larger than a train. */
	uint64_t tunnel_bad_size, tunnel_bad_bytes;
};

/* Makes an association in state CLOSED. *out is owned by the caller. Returns 0, -EINVAL, -ENOMEM. */
int sctp_new(struct sctp **out, const struct sctp_config *config) gv_must_check gv_nonnull(1, 2);
/* NULL is allowed. */
void sctp_free(struct sctp *s);

/* Sends INIT. WebRTC: both sides do (RFC 8831 6.2); a side that only waits answers INIT in any case. */
void sctp_connect(struct sctp *s, uint64_t now_us) gv_nonnull(1);
/* Clean end (SHUTDOWN) or hard end (ABORT). */
void sctp_shutdown(struct sctp *s, uint64_t now_us) gv_nonnull(1);
void sctp_abort(struct sctp *s, uint64_t now_us) gv_nonnull(1);
bool sctp_is_up(const struct sctp *s) gv_nonnull(1);

/*
 * Queues one message (copied, len > 0). In tunnel mode a message is at most SCTP_KEPT_BYTES_MAX, else SCTP_TOO_LARGE: the
 * fragments of one message have adjacent TSNs, and nothing may hold the tunnel up between them.
 * Returns 0, SCTP_FULL, SCTP_NOT_UP, SCTP_TOO_LARGE, SCTP_BAD_STREAM, SCTP_RESETTING; -EINVAL, -ENOMEM.
 */
int sctp_send(struct sctp *s, const struct sctp_send_options *o, const void *data, size_t len,
              uint64_t now_us) gv_must_check gv_nonnull(1, 2);

/*
 * Resets our outgoing stream (RFC 6525), which closes a data channel: after what is queued on it was sent. Until
 * the peer agreed, sctp_send() on it gives SCTP_RESETTING. Returns 0, SCTP_FULL (too many at once), SCTP_NOT_UP,
 * SCTP_BAD_STREAM (no such stream, or the peer cannot reset); -ENOMEM.
 */
int sctp_reset_stream(struct sctp *s, uint16_t stream, uint64_t now_us) gv_must_check gv_nonnull(1);

/*
 * Feeds n decrypted SCTP packets. They must stay unchanged until sctp_recv() has returned 0, because messages
 * that came whole are handed out in place. Malformed packets are counted and dropped.
 */
void sctp_input(struct sctp *s, const struct pkt *in, size_t n, uint64_t now_us) gv_nonnull(1, 2);

/* Up to max received messages, in order of delivery. Returns how many; 0 when there are no more. */
size_t sctp_recv(struct sctp *s, struct sctp_msg *out, size_t max) gv_nonnull(1, 2);

/*
 * Fills `out` (empty, rooms set) with packets that are due: setup, SACK, FORWARD-TSN, reliable DATA. Returns the
 * number of datagrams; call again (after sending) until 0.
 */
size_t sctp_output(struct sctp *s, struct batch *out, uint64_t now_us) gv_nonnull(1, 2);
/* Next event: 1 and *out, or 0. Drain sctp_recv() first: what came before a stream reset belongs before it. */
int sctp_event(struct sctp *s, struct sctp_event *out) gv_nonnull(1, 2);
/* When to call sctp_timeout(), UINT64_MAX for never; changes with each call of this association. */
uint64_t sctp_deadline_us(const struct sctp *s) gv_nonnull(1);
void sctp_timeout(struct sctp *s, uint64_t now_us) gv_nonnull(1);

/*
 * Tunnel mode for `stream` (both peers announced it in their hello): flight size, congestion window, T3 and RTT
 * then come from the other streams alone. Before it, sctp_tunnel_send() obeys the congestion window as any DATA.
 */
void sctp_tunnel_start(struct sctp *s, uint16_t stream, uint64_t now_us) gv_nonnull(1);

/*
 * Writes n messages (IP packets, PPID 53, unordered, never retransmitted) of `stream` as DATA chunks straight
 * into `out`, which may already hold datagrams: one per packet; small ones are bundled into one packet as long as
 * that keeps the train equal. A message larger than a packet is cut into fragments. Nothing is kept of the
 * payload. A pending SACK rides in front.
 *
 * Returns how many messages were consumed; fewer than n means the train is full (send it and call again with
 * an empty one) or *result says why not: 0, SCTP_FULL (circuit breaker: no SACK progress for 3 s, or the ring of
 * 65,536 states is full: drop), SCTP_NOT_UP (also when the peer lacks RFC 3758), SCTP_BAD_STREAM. An empty message
 * and one that no train can hold (above some 60,000 bytes) is consumed, dropped and counted.
 *
 * It starts timers: ask sctp_deadline_us() afterwards. The probe that finds out that a dark path is back is one.
 */
size_t sctp_tunnel_send(struct sctp *s, uint16_t stream, const struct pkt *in, size_t n,
                        struct batch *out, uint64_t now_us, int *result) gv_nonnull(1, 3, 5, 7);

/*
 * The same for messages that are still to be made, so that they are written once: room for n messages of len bytes each,
 * with this payload protocol identifier, the places of their bytes in places[]. The caller fills all that were returned
 * and then calls sctp_tunnel_filled() with the number of datagrams that `out` had before, at the latest before the train
 * is sealed.
 *
 * Returns how many places there are, as sctp_tunnel_send(); *result may also be SCTP_TOO_LARGE: a message of len bytes
 * needs fragments (or is empty), and sctp_tunnel_send() takes it.
 */
size_t sctp_tunnel_reserve(struct sctp *s, uint16_t stream, uint32_t ppid, size_t len, size_t n,
                           uint8_t **places, struct batch *out, uint64_t now_us, int *result)
	gv_must_check gv_nonnull(1, 6, 7, 9);
void sctp_tunnel_filled(struct sctp *s, struct batch *out, unsigned first) gv_nonnull(1, 2);

/* The largest packet to make from now on (the path changed); clamped to the limits above. */
void sctp_set_max_packet_bytes(struct sctp *s, uint16_t bytes) gv_nonnull(1);

/* Smoothed round trip of SACKs, 0 unknown. */
uint32_t sctp_srtt_us(const struct sctp *s) gv_nonnull(1);
const struct sctp_counters *sctp_counters(const struct sctp *s) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct sctp *, sctp_free)

#endif /* GV_PROTO_SCTP_SCTP_H */
