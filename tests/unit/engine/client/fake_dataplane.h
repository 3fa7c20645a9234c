/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_FAKE_DATAPLANE_H
#define GV_TESTS_FAKE_DATAPLANE_H

/*
 * fake_dataplane - stands in for engine/dataplane in tests of the mesh: two computers, joined by a perfect wire in
 * virtual time. Raw datagrams and sealed records really travel; SCTP is replaced by delivery in order.
 *
 * It implements the functions of dataplane.h, so a test program links it instead of the real one.
 */

#include "engine/client/mesh.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_COMPUTERS 3
#define FAKE_PREFIXES  36

struct dataplane; /* one per computer */

/* Computer i (its address is 192.0.2.(i + 1):5000). */
struct dataplane *fake_dataplane(unsigned i);
/* Empties every table and queue. */
void fake_reset(void);
/* Tells the fake which mesh takes the events of computer i (NULL: none, its packets vanish and its links are gone). */
void fake_bind(unsigned i, struct mesh *m);
/* Delivers everything under way, until nothing is. Returns the number of deliveries. */
unsigned fake_deliver(uint64_t now_us);
/* The wire between all computers is cut. */
void fake_cut(bool cut);

/* The command lane of computer i is full for deletions. */
void fake_refuse(unsigned i, bool refuse);
/* The command lane of computer i is full for ctl messages. */
void fake_refuse_ctl(unsigned i, bool refuse);
/* Channels for IP open no more, until they may: then those that waited do. */
void fake_hold_ip(bool hold);
/* Every association with keys ends, on both sides. */
void fake_end_links(void);
/* A ctl message of computer i on its link in use, past its mesh. */
void fake_say(unsigned i, const void *data, size_t len);
/* Transaction id of the last STUN message of computer i to an address of no computer. */
const uint8_t *fake_stun_id(unsigned i);
/* The first two bytes of the last ctl message of computer i: its type and, of a bye, the reason. */
const uint8_t *fake_last_ctl(unsigned i);
/* How many such messages left from this address of it. */
unsigned fake_stun_sent(unsigned i, const struct netaddr *local);

/* What the mesh of computer i has installed. */
unsigned fake_links(unsigned i);
/* The prefixes of transactions that it told: of its links, and of the latest gatherings. Returns how many. */
unsigned fake_prefixes(unsigned i, uint32_t out[static FAKE_PREFIXES]);
/* IP passes from i to the computer `to`: its link in use has keys, an open channel and permission, both ways. */
bool fake_ip_passes(unsigned i, unsigned to);
bool fake_tunnel_mode(unsigned i);
/* Permission to pass IP was ever given by computer i. */
unsigned fake_allowed(unsigned i);

#endif /* GV_TESTS_FAKE_DATAPLANE_H */
