/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_INTEROP_RTC_PEER_H
#define GV_TESTS_INTEROP_RTC_PEER_H

/*
 * rtc_peer - one standard WebRTC data channel peer made of the modules under test: ICE, DTLS, records, SCTP, DCEP.
 *
 * Does:      joins the modules the plain way: sockets, one thread, one poll loop, the five calls of each module;
 *            gathers from one STUN server; takes and gives candidates one by one (trickle).
 * Does not:  use the data plane or tunnel mode.
 * Thread:    one.
 * Memory:    received messages are copied and wait in a queue of at most RTC_QUEUE_BYTES.
 */

#include "crypto/dtls.h"
#include "io/udp.h"
#include "proto/dcep/channel.h"
#include "proto/ice/agent.h"
#include "proto/ice/gather.h"
#include "proto/sdp/sdp.h"

#define RTC_SOCKETS_MAX  8
#define RTC_CHANNELS_MAX 32
#define RTC_LABEL_SIZE   32
#define RTC_HELD_MAX     64
#define RTC_HELD_BYTES   1500
#define RTC_QUEUE_BYTES  (64u << 20)
#define RTC_CLOSE_MS     10000

struct rtc_peer;

/* A received message; freed by mem_free(). */
struct rtc_message {
	struct rtc_message *next;
	uint16_t stream;
	enum dcep_kind kind;
	size_t len;
	uint8_t data[];
};

struct rtc_channel {
	bool used, open; /* open: acknowledged, or opened by the peer */
	bool incoming;   /* opened by the peer */
	uint16_t stream;
	char label[RTC_LABEL_SIZE];
};

struct rtc_config {
	bool offerer;
	enum sdp_setup setup;      /* of an answerer */
	bool trickle;              /* the description holds no candidates */
	bool zero_checksum;        /* announce RFC 9653 */
	struct netaddr stun;       /* family none: no server */
	struct dcep_params *first; /* channels that the offerer opens; borrowed */
	unsigned first_count;
	/* After each round of rtc_run(), which also waits for the descriptor. fd -1: waits for none. */
	int signal_fd;
	void (*signal)(struct rtc_peer *p, bool readable);
};

struct rtc_peer {
	struct rtc_config config;
	struct udp sockets[RTC_SOCKETS_MAX];
	struct netaddr bound[RTC_SOCKETS_MAX];
	unsigned socket_count;
	struct rng rng;
	struct cert *cert;
	struct gather *gather;
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
	uint64_t zero_checksums; /* SCTP packets of the peer without one (RFC 9653) */
	/* Records of type 23 that came before the handshake was over. */
	uint8_t held[RTC_HELD_MAX][RTC_HELD_BYTES];
	size_t held_len[RTC_HELD_MAX];
	unsigned held_count;

	/* What the user looks at. */
	struct ice_cand candidates[SDP_MAX_CANDIDATES]; /* our own so far */
	unsigned candidate_count;
	bool gathered;      /* there will be no more */
	uint64_t remote_us; /* when the peer's description came; 0: not yet */
	enum ice_cand_type local_type, remote_type; /* of the selected pair */
	bool up;                                    /* the association is established */
	bool down;                                  /* the association is over: reason */
	bool close_notify;                          /* the peer's alert came */
	enum sctp_down_reason reason;
	struct rtc_channel channels[RTC_CHANNELS_MAX];
	unsigned opened, closed; /* channels, since the beginning */
	const char *failure;     /* NULL: none */
	struct rtc_message *first, *last;
	size_t queued_bytes;
};

/* Opens sockets on this computer's addresses, makes a certificate and an ICE agent. Returns 0, -errno. */
int rtc_open(struct rtc_peer *p, const struct rtc_config *config) gv_must_check gv_nonnull(1, 2);
void rtc_close(struct rtc_peer *p) gv_nonnull(1);
/* Our description, an offer or an answer, without candidates when they trickle. */
void rtc_describe(struct rtc_peer *p, struct sdp *out) gv_nonnull(1, 2);
/* Takes the peer's description; checks begin. Returns 0, -EINVAL. */
int rtc_set_remote(struct rtc_peer *p, const struct sdp *remote) gv_must_check gv_nonnull(1, 2);
/* A candidate of the peer after its description; NULL: there are no more. */
void rtc_add_remote(struct rtc_peer *p, const struct ice_cand *c) gv_nonnull(1);
/* Waits for packets, the signal_fd or a deadline, at most max_ms, and drives everything. Failures: p->failure. */
void rtc_run(struct rtc_peer *p, int max_ms) gv_nonnull(1);
/* Opens a channel. Returns it, or NULL. */
struct rtc_channel *rtc_open_channel(struct rtc_peer *p, const struct dcep_params *params)
	gv_nonnull(1, 2);
/* Closes these channels and waits until the peer did its part. */
void rtc_close_channels(struct rtc_peer *p, struct rtc_channel **channels, unsigned count)
	gv_nonnull(1, 2);
/* The first channel with this label, or NULL. */
struct rtc_channel *rtc_channel(struct rtc_peer *p, const char *label) gv_nonnull(1, 2);
/* As sctp_send(). An empty message is sent as RFC 8831 6.6 asks for. */
int rtc_send(struct rtc_peer *p, uint16_t stream, enum dcep_kind kind, const void *data, size_t len)
	gv_must_check gv_nonnull(1);
/* The oldest received message, owned by the caller, or NULL. */
struct rtc_message *rtc_receive(struct rtc_peer *p) gv_nonnull(1);
/* Tells the peer by an alert that this is the end (RFC 5246 7.2.1). */
void rtc_close_notify(struct rtc_peer *p) gv_nonnull(1);

#endif /* GV_TESTS_INTEROP_RTC_PEER_H */
