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
	uint64_t delay_us, jitter_us; /* jitter reorders */
	bool dark;                    /* loses all */
	uint64_t sent, lost;
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
	enum sctp_down_reason reason[2];
	uint64_t messages[2], resets[2], writables[2];
	struct sctp_flying **flying; /* a heap by arrival */
	size_t flying_count, flying_cap;
	uint64_t flying_next; /* number of the next one */
	uint8_t train[SCTP_NET_TRAIN_BYTES];
};

struct sctp_config sctp_net_config(uint64_t seed);
/* Makes both ends; config[i] may be NULL. Ends the program without memory. */
struct sctp_net *sctp_net_new(uint64_t seed, const struct sctp_config *a,
                              const struct sctp_config *b);
void sctp_net_free(struct sctp_net *net);
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
