/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_UDP_H
#define GV_IO_UDP_H

/*
 * udp - one UDP socket for all peers of one address family, in trains.
 *
 * Does:      opens the socket with packet info, GSO, GRO and large buffers; sends a whole batch by one system call
 *            from a chosen local address and interface; receives trains with the address they were sent to;
 *            converts addresses from and to the kernel's form.
 * Does not:  wait, loop over events, look into datagrams, remember peers.
 * Thread:    a struct udp belongs to one thread at a time.
 * Memory:    none on the heap; struct udp owns the descriptor.
 *
 * Outer datagrams are never fragmented: they carry DF and the path MTU that ICMP reports is ignored, so a forged
 * ICMP message cannot shrink anything (IP_PMTUDISC_PROBE). A datagram above the MTU of the outgoing interface gives
 * UDP_TOO_BIG.
 *
 * Environment, for tests: GOVPN_UDP_OFFLOAD=none|gso|gro|all (default all).
 */

#include "base/batch.h"
#include "base/macro.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* What a receive buffer must hold: a merged train may have any length that fits an IP packet. */
#define UDP_RECV_BYTES 65536

struct udp {
	int fd;         /* owned; -1: none. O_NONBLOCK */
	uint8_t family; /* enum netaddr_family */
	bool gso; /* UDP_SEGMENT works; cleared for good when the kernel or the device refuses it */
	bool gro; /* receives may be merged trains */
	uint32_t lost_told; /* udp_train.lost of all receives, as the kernel counts */
};

#define UDP_NULL ((struct udp){.fd = -1})

enum udp_result {
	UDP_OK = 0,
	UDP_AGAIN = 1, /* would block: nothing (more) was sent or received */
	UDP_UNREACHABLE =
		2,      /* no route, interface or local address gone: this path does not work now */
	UDP_DENIED = 3, /* refused by a local firewall */
	UDP_TOO_BIG = 4,     /* a datagram above the MTU of the interface */
	UDP_REFUSED = 5,     /* the socket carried an error of an earlier datagram; try again */
	UDP_IN_USE = 6,      /* udp_open: the port is taken */
	UDP_NO_FAMILY = 7,   /* udp_open: this system has no such address family */
	UDP_BAD_ADDRESS = 8, /* udp_open: not an address of this computer */
};

/*
 * Opens and binds a socket. `bind` names family, address (any: zero) and port (0: one of the kernel's choice).
 * Returns UDP_OK with *out filled (closed by udp_close()), UDP_IN_USE, UDP_NO_FAMILY, UDP_BAD_ADDRESS, UDP_DENIED
 * (a privileged port); -errno.
 */
int udp_open(const struct netaddr *bind, struct udp *out) gv_must_check gv_nonnull(1, 2);

/* Takes over a descriptor made by udp_open(), asking the kernel what it can do. -1 gives UDP_NULL. */
struct udp udp_adopt(int fd_moved);

/* Closes; UDP_NULL is allowed and is what *u becomes. */
void udp_close(struct udp *u) gv_nonnull(1);

/* The address and port it is bound to. Returns 0, -errno. */
int udp_local(const struct udp *u, struct netaddr *out) gv_must_check gv_nonnull(1, 2);

/*
 * Sends the whole train to `remote`. `local` is the source address (any or family none: the kernel's choice) and,
 * by its ifindex, the interface to leave by (0: the routing table decides).
 *
 * *sent (may be NULL) is the number of datagrams the kernel took: all or none with GSO.
 * Returns UDP_OK, UDP_AGAIN, UDP_UNREACHABLE, UDP_DENIED, UDP_TOO_BIG, UDP_REFUSED; -errno (a broken descriptor).
 */
int udp_send_batch(struct udp *u, const struct netaddr *local, const struct netaddr *remote,
                   const struct batch *b, unsigned *sent) gv_must_check gv_nonnull(1, 2, 3, 4);

/* One datagram; otherwise as udp_send_batch(). */
int udp_send(struct udp *u, const struct netaddr *local, const struct netaddr *remote,
             const void *data, size_t len) gv_must_check gv_nonnull(1, 2, 3, 4);

/*
 * Bytes that the kernel holds of what was sent: in queues on the way out, their bookkeeping included. UDP_NULL and errors
 * give 0.
 */
size_t udp_unsent(const struct udp *u) gv_nonnull(1);

/* What one receive gave: `len` bytes of datagrams of `size` bytes each, the last one may be shorter. */
struct udp_train {
	struct netaddr local;  /* where it was sent to (port 0), and the interface it came by */
	struct netaddr remote; /* ifindex is set for link-local addresses only */
	size_t len;
	size_t size; /* at least 1 unless len is 0 */
	/*
	 * Receives (trains count once) that the kernel dropped of this socket before this one: its buffer was full, or
	 * their checksum wrong. What was dropped after the last one that came shows with the next that comes.
	 */
	uint32_t lost;
};

/*
 * Receives one train into buf. `size` should be UDP_RECV_BYTES; what does not fit is cut off and the train dropped.
 * Returns UDP_OK, UDP_AGAIN; -errno (a broken descriptor).
 */
int udp_recv(struct udp *u, void *buf, size_t size, struct udp_train *out)
	gv_must_check gv_nonnull(1, 2, 4);

/* Largest of the kernel's address forms that is used here. */
struct udp_sockaddr {
	struct sockaddr_storage ss;
	socklen_t len;
};

/* The kernel's form; family none gives length 0. */
void udp_sockaddr_from(const struct netaddr *a, struct udp_sockaddr *out) gv_nonnull(1, 2);
/* Our form of an AF_INET or AF_INET6 address; an IPv4-mapped one becomes IPv4. False for others. */
bool udp_sockaddr_to(const void *sa, socklen_t len, struct netaddr *out)
	gv_must_check gv_nonnull(1, 3);

#endif /* GV_IO_UDP_H */
