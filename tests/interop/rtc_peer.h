/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_INTEROP_RTC_PEER_H
#define GV_TESTS_INTEROP_RTC_PEER_H

/*
 * rtc_peer - one standard WebRTC data channel peer made of the modules under test: ICE, DTLS, records, SCTP, DCEP.
 *
 * Does:      joins the modules the plain way: sockets, one thread, one poll loop, the five calls of each module.
 * Does not:  use the data plane or tunnel mode; trickle (the SDP holds all candidates); gather from STUN servers.
 * Thread:    one.
 * Memory:    received messages are copied and wait in a queue of at most RTC_QUEUE_BYTES.
 */

#include "crypto/dtls.h"
#include "io/udp.h"
#include "proto/dcep/channel.h"
#include "proto/ice/agent.h"
#include "proto/sdp/sdp.h"

#define RTC_SOCKETS_MAX 8
#define RTC_HELD_MAX    64
#define RTC_HELD_BYTES  1500
#define RTC_QUEUE_BYTES (64u << 20)

/* A received message; freed by mem_free(). */
struct rtc_message {
	struct rtc_message *next;
	uint16_t stream;
	enum dcep_kind kind;
	size_t len;
	uint8_t data[];
};

struct rtc_peer {
	bool offerer;
	enum sdp_setup setup; /* of an answerer */
	bool zero_checksum;   /* announce RFC 9653; set after rtc_open() */
	struct udp sockets[RTC_SOCKETS_MAX];
	struct netaddr bound[RTC_SOCKETS_MAX];
	unsigned socket_count;
	struct rng rng;
	struct cert *cert;
	struct ice_agent *ice;
	struct dtls *dtls;
	struct record *record;
	struct sctp *sctp;
	struct dcep *dcep;
	struct sdp remote;
	bool dtls_client, dtls_done;

	bool has_path, selected;
	struct netaddr local, path;
	struct record_counters record_counters;
	/* Records of type 23 that came before the handshake was over. */
	uint8_t held[RTC_HELD_MAX][RTC_HELD_BYTES];
	size_t held_len[RTC_HELD_MAX];
	unsigned held_count;

	/* What the user looks at. */
	bool up;             /* the association is established */
	bool has_channel;    /* stream: a channel is open */
	bool channel_closed; /* by stream resets of both sides */
	bool down;           /* the association is over: reason */
	bool close_notify;   /* the peer's alert came */
	enum sctp_down_reason reason;
	uint16_t stream;
	const char *failure; /* NULL: none */
	struct rtc_message *first, *last;
	size_t queued_bytes;
};

/* Opens sockets on this computer's addresses, makes a certificate and an ICE agent. Returns 0, -errno. */
int rtc_open(struct rtc_peer *p, bool offerer, enum sdp_setup setup) gv_must_check gv_nonnull(1);
void rtc_close(struct rtc_peer *p) gv_nonnull(1);
/* Our description, an offer or an answer. */
void rtc_describe(struct rtc_peer *p, struct sdp *out) gv_nonnull(1, 2);
/* Takes the peer's description; checks begin. Returns 0, -EINVAL. */
int rtc_set_remote(struct rtc_peer *p, const struct sdp *remote) gv_must_check gv_nonnull(1, 2);
/* Waits for packets or a deadline, at most max_ms, and drives everything. Failures are in p->failure. */
void rtc_run(struct rtc_peer *p, int max_ms) gv_nonnull(1);
/* As sctp_send(). */
int rtc_send(struct rtc_peer *p, enum dcep_kind kind, const void *data, size_t len)
	gv_must_check gv_nonnull(1, 3);
/* The oldest received message, owned by the caller, or NULL. */
struct rtc_message *rtc_receive(struct rtc_peer *p) gv_nonnull(1);
/* Tells the peer by an alert that this is the end (RFC 5246 7.2.1). */
void rtc_close_notify(struct rtc_peer *p) gv_nonnull(1);

#endif /* GV_TESTS_INTEROP_RTC_PEER_H */
