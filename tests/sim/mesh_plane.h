/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_SIM_MESH_PLANE_H
#define GV_TESTS_SIM_MESH_PLANE_H

/*
 * mesh_plane - stands in for engine/dataplane over the simulated network: one per computer. STUN, handshakes and sealed
 * records really travel through NATs and loss; SCTP is replaced by a queue per link whose messages are repeated until
 * they are acknowledged, and by probes that are not.
 *
 * It implements the functions of dataplane.h, so a program links it instead of the real one.
 */

#include "net.h"

#include "engine/client/mesh.h"

#define PLANE_MAX 32

struct dataplane; /* one per computer */

/* Makes the plane of computer `index` with this base. Ends the program without memory. */
struct dataplane *plane_new(struct sim_net *net, unsigned index, const struct sim_base *base);
void plane_free(struct dataplane *d);
/* Who takes the events; NULL: nobody, and everything installed is forgotten, as when the daemon dies. */
void plane_bind(struct dataplane *d, struct mesh *mesh);
/* The address is another one from now on. */
void plane_move(struct dataplane *d, const struct netaddr *addr);

/* A datagram arrived at the base of this computer. */
void plane_receive(struct dataplane *d, const struct sim_packet *p, uint64_t now_us);
/* Hands out events that wait and repeats what was not acknowledged. Returns how many events there were. */
unsigned plane_work(struct dataplane *d, uint64_t now_us);

/* Sends a probe to the peer with this tunnel address, as an IP packet would go. False: there is no link to it. */
bool plane_probe(struct dataplane *d, const struct netaddr *ip4, uint64_t now_us);
/* When the last probe of the peer with this tunnel address arrived; 0: never. */
uint64_t plane_probed_us(const struct dataplane *d, const struct netaddr *ip4);
/* Links installed, and datagrams sent. */
unsigned plane_links(const struct dataplane *d);
uint64_t plane_sent(const struct dataplane *d);

#endif /* GV_TESTS_SIM_MESH_PLANE_H */
