/* SPDX-License-Identifier: MIT */
#ifndef GV_FUZZ_RECORDING_DATAPLANE_H
#define GV_FUZZ_RECORDING_DATAPLANE_H

/*
 * recording_dataplane - the face of engine/dataplane without packets, for fuzzers of the client: it remembers which links there
 * are and what was said last, and answers deletions by events that recording_next() gives.
 */

#include "engine/dataplane/dataplane.h"

#include <stdbool.h>
#include <stdint.h>

#define RECORDING_LINKS 16

struct recording_link {
	uint32_t handle; /* 0: free */
	char ufrag[33];
	struct dataplane_link_shared *shared;
};

struct recording {
	struct recording_link links[RECORDING_LINKS];
	uint8_t stun[256]; /* the last request sent, and from where to where */
	size_t stun_len;
	struct netaddr stun_local, stun_remote;
	unsigned sent; /* messages on `ctl` */
	bool refuses;  /* every command lane is full */
};

extern struct recording recording;

/* The one there is. */
struct dataplane *recording_dataplane(void);
/* Forgets everything. */
void recording_reset(void);
/* The next LINK_GONE, PEER_GONE or NET_GONE. */
bool recording_next(struct dataplane_event *out);
/* Queues an event about a network, for recording_next(). */
void recording_post(enum dataplane_event_type type, uint32_t net);
/* The i-th link that is there, or NULL. */
struct recording_link *recording_link(unsigned i);

#endif /* GV_FUZZ_RECORDING_DATAPLANE_H */
