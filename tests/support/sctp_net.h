/* SPDX-License-Identifier: MIT */
#ifndef GV_SUPPORT_SCTP_NET_H
#define GV_SUPPORT_SCTP_NET_H

/*
 * sctp_net - two associations, a bad network between them and a virtual clock. The same seed gives the same run.
 */

#include "base/rng.h"
#include "proto/sctp/sctp.h"

#define SCTP_NET_PACKET_BYTES 1424
#define SCTP_NET_TRAIN_BYTES  65507

/* One direction. */
struct sctp_link {
	uint32_t loss_permille, duplicate_permille;
	/* One to three bits change. Without a checksum that is a loss: DTLS would not let it through. */
	uint32_t corrupt_permille;
	uint32_t late_permille;       /* how many take late_us longer */
	uint64_t delay_us, jitter_us; /* jitter reorders */
	uint64_t late_us;
	uint32_t rwnd_max; /* the SACKs that pass say no more than this; UINT32_MAX: as it was */
	bool dark;         /* loses all */
	uint64_t sent, lost, corrupted;
};

struct sctp_net;

/* A message came out of end `side`. */
typedef void (*sctp_net_msg_fn)(void *user, int side, const struct sctp_msg *msg);
/* An event of end `side`. */
typedef void (*sctp_net_event_fn)(void *user, int side, const struct sctp_event *event);

struct sctp_net {
	struct sctp *end[2];
	struct sctp_link link[2]; /* link[i] carries what end i sends */
	uint64_t now_us;
	struct rng rng;
	sctp_net_msg_fn on_msg;
	sctp_net_event_fn on_event;
	void *user;
	bool up[2], down[2];
	bool paused
		[2]; /* this owner does not read now: messages and events wait, packets stay where they are */
	enum sctp_down_reason reason[2];
	uint64_t down_us[2]; /* when */
	uint64_t messages[2], resets[2], writables[2];
	struct sctp_flying **flying; /* a heap by arrival */
	size_t flying_count, flying_cap;
	uint64_t flying_next;        /* number of the next one */
	struct sctp_flying *kept[2]; /* read by a paused end, lent to its messages */
	uint64_t steps;              /* of the clock and of deliveries, to notice a livelock */
	uint8_t train[SCTP_NET_TRAIN_BYTES];
};

struct sctp_config sctp_net_config(uint64_t seed);
/* Makes both ends; config[i] may be NULL. Ends the program without memory. */
struct sctp_net *sctp_net_new(uint64_t seed, const struct sctp_config *a,
                              const struct sctp_config *b);
void sctp_net_free(struct sctp_net *net);
/* End `side` forgets everything and begins anew, closed. What is on the wire stays there. */
void sctp_net_restart(struct sctp_net *net, int side, const struct sctp_config *config);
/* A paused owner reads again. */
void sctp_net_resume(struct sctp_net *net, int side);
/*
 * Both are up and sent nothing yet: their next TSNs and request numbers are that far from zero, and the next SSNs of
 * these streams.
 */
void sctp_net_near_wrap(struct sctp_net *net, uint32_t tsn_left, const uint16_t *streams,
                        size_t stream_count, uint16_t ssn_left);
/* All that an association holds, in bytes (sctp.h says how much that may be). */
size_t sctp_net_footprint(const struct sctp *s);
/* Puts the datagrams of a train on the wire from `side`. */
void sctp_net_send(struct sctp_net *net, int side, const struct batch *train);
/* One datagram. */
void sctp_net_inject(struct sctp_net *net, int side, const uint8_t *p, size_t n);
/* Collects what both ends have to say now. */
void sctp_net_flush(struct sctp_net *net);
/* Runs until the clock stands at until_us, or nothing will happen any more. */
void sctp_net_run(struct sctp_net *net, uint64_t until_us);
/* Both connect; runs for at most 20 s. True: both up. */
bool sctp_net_connect(struct sctp_net *net);
/* sctp_tunnel_send() of n messages in as many trains as it takes. How many were consumed. */
size_t sctp_net_tunnel(struct sctp_net *net, int side, uint16_t stream, const struct pkt *in,
                       size_t n, int *result);

#endif /* GV_SUPPORT_SCTP_NET_H */
