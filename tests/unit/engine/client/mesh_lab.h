/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_MESH_LAB_H
#define GV_TESTS_MESH_LAB_H

/*
 * mesh_lab - computers of one network, each with a mesh, over a fake data plane and a fake server, in virtual time.
 *
 * The server forwards what the meshes say (unless lab.server_up is false), and tampers with it when a case asks for that. It
 * tells members nothing by itself: cases call lab_tell(). One lab per program; lab_setup() and lab_teardown() are the fixture
 * of each case.
 */

#include "crypto/cert.h"
#include "crypto/identity.h"
#include "engine/client/mesh.h"
#include "fake_dataplane.h"
#include "proto/sig/proof.h"

#include <stdbool.h>
#include <stdint.h>

#define LAB_NODES FAKE_COMPUTERS

struct lab_node {
	struct identity *id;
	uint8_t key[SIG_KEY_SIZE];
	struct cert *cert;
	struct admission admission;
	struct document *doc;
	struct mesh *mesh; /* NULL: its daemon does not run */
	struct netaddr ip4;
	uint64_t session;
	uint32_t handles;
	unsigned starts;
	unsigned offers, answers, candidates; /* sent through the server */
	unsigned documents;                   /* events of newer documents */
};

/* What a hostile server does to a forwarded description; its text is lab.sdp_copy. */
typedef void (*lab_tamper_fn)(struct msg_sdp *sdp);

struct lab {
	struct lab_node nodes[LAB_NODES]; /* the first one owns the network */
	uint64_t now;
	bool server_up;
	lab_tamper_fn tamper_offer, tamper_answer; /* NULL: forwarded as it is */
	char sdp_copy[PROOF_SDP_MAX];
};

extern struct lab lab;

/* All computers run and can use signaling; nobody knows of another one. */
int lab_setup(void **state);
int lab_teardown(void **state);

/* The tunnel address that computer i gets. */
struct netaddr lab_tunnel_ip(unsigned i);
/* The daemon of computer i starts with the address and session of its node. */
void lab_start(unsigned i);
/* It dies without a word. */
void lab_kill(unsigned i);
/* The owner signs its document anew. */
void lab_sign(struct document *doc);

/* The server forwards one description of computer `from`. */
void lab_forward_sdp(unsigned from, const struct mesh_event *e);
/* Carries out what the meshes want. Returns the number of events. */
unsigned lab_drain(unsigned i);
/* Lets `us` of virtual time pass. */
void lab_run(uint64_t us);

/* The server tells computer `to` that `about` is connected. Returns the result of mesh_member(). */
int lab_tell(unsigned to, unsigned about, enum mesh_news news);
/* The same with a claimed address and session. */
int lab_claim(unsigned to, unsigned about, struct netaddr ip4, uint64_t session,
              enum mesh_news news);
enum mesh_peer_state lab_state(unsigned at, unsigned of);
/* The newcomer connects while the other one is there, and a moment passes. */
void lab_connect(unsigned there, unsigned newcomer);

#endif /* GV_TESTS_MESH_LAB_H */
