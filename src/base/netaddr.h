/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_NETADDR_H
#define GV_BASE_NETADDR_H

/*
 * netaddr - IP addresses, ports and prefixes as plain values, and their text.
 *
 * Does not:  resolve names, open sockets. Conversion to sockaddr is in io/udp.
 */

#include "base/macro.h"

#include <stdbool.h>
#include <stdint.h>

enum netaddr_family {
	NETADDR_NONE = 0,
	NETADDR_IP4 = 4,
	NETADDR_IP6 = 6,
};

/* Compare with netaddr_equal(): unused bytes of `ip` must be zero and are by all constructors here. */
struct netaddr {
	uint8_t family;   /* enum netaddr_family */
	uint16_t port;    /* host order; 0 where none is meant */
	uint32_t ifindex; /* scope of a link-local address, or the interface to use; 0: any */
	uint8_t ip[16];   /* network order; IPv4 in the first four */
};

struct netprefix {
	struct netaddr addr; /* host bits zero */
	uint8_t bits;
};

#define NETADDR_TEXT_SIZE 64 /* "[v6%12]:65535" and its NUL fit */

struct netaddr netaddr_ip4(uint32_t host_order, uint16_t port);
struct netaddr netaddr_ip6(const uint8_t ip[static 16], uint16_t port) gv_nonnull(1);
/* The IPv4 address as a number; 0 for other families. */
uint32_t netaddr_u32(const struct netaddr *a) gv_nonnull(1);
/* 4 or 16 bytes; 0 without a family. */
size_t netaddr_ip_size(const struct netaddr *a) gv_nonnull(1);

/* Same family, address and port (the interface is not compared). */
bool netaddr_equal(const struct netaddr *a, const struct netaddr *b) gv_nonnull(1, 2);
/* Same family and address. */
bool netaddr_ip_equal(const struct netaddr *a, const struct netaddr *b) gv_nonnull(1, 2);
/* A hash over what netaddr_equal() compares. */
uint32_t netaddr_hash(const struct netaddr *a, uint32_t seed) gv_nonnull(1);

bool netaddr_is_loopback(const struct netaddr *a) gv_nonnull(1);
bool netaddr_is_any(const struct netaddr *a) gv_nonnull(1);
bool netaddr_is_link_local(const struct netaddr *a) gv_nonnull(1);
bool netaddr_is_multicast(const struct netaddr *a) gv_nonnull(1);

/* "192.0.2.1" or "2001:db8::1"; no port. out holds NETADDR_TEXT_SIZE. Returns out. */
const char *netaddr_ip_text(const struct netaddr *a, char *out) gv_nonnull(1, 2);
/* "192.0.2.1:80" or "[2001:db8::1]:80". Returns out. */
const char *netaddr_text(const struct netaddr *a, char *out) gv_nonnull(1, 2);
/* Parses an address without a port. Returns false for anything else, host names included. */
bool netaddr_parse_ip(const char *text, struct netaddr *out) gv_must_check gv_nonnull(1, 2);
/* Parses "ADDR:PORT", "[V6]:PORT". */
bool netaddr_parse(const char *text, struct netaddr *out) gv_must_check gv_nonnull(1, 2);

/* The prefix of `bits` that holds `a` (host bits and port cleared). */
struct netprefix netprefix_of(const struct netaddr *a, unsigned bits) gv_nonnull(1);
bool netprefix_contains(const struct netprefix *p, const struct netaddr *a) gv_nonnull(1, 2);
/* One of the two lies inside the other. */
bool netprefix_overlaps(const struct netprefix *a, const struct netprefix *b) gv_nonnull(1, 2);
/* Last address of an IPv4 prefix. */
struct netaddr netprefix_broadcast(const struct netprefix *p) gv_nonnull(1);
/* "10.1.2.0/24". out holds NETADDR_TEXT_SIZE. Returns out. */
const char *netprefix_text(const struct netprefix *p, char *out) gv_nonnull(1, 2);
/* Parses "A/BITS"; false when host bits are set. */
bool netprefix_parse(const char *text, struct netprefix *out) gv_must_check gv_nonnull(1, 2);

#endif /* GV_BASE_NETADDR_H */
