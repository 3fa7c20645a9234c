/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_UNIT_PROTO_IP_PACKETS_H
#define GV_TESTS_UNIT_PROTO_IP_PACKETS_H

/* packets - IP packets made byte by byte for the tests of proto/ip, with checksums by the slow definition. */

#include "base/bytes.h"
#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* RFC 1071, word by word. */
static inline uint16_t slow_sum(const uint8_t *p, size_t n, uint32_t start)
{
	uint64_t sum = start;

	for (size_t i = 0; i < n; i += 2)
		sum += (uint32_t)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0u);
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static inline uint16_t slow_transport_sum(const uint8_t *ip, size_t len, size_t header,
                                          uint8_t proto)
{
	size_t at = ip[0] >> 4 == 4 ? 12 : 8, n = ip[0] >> 4 == 4 ? 8 : 32;
	size_t left = len - header;

	uint32_t sum = slow_sum(ip + at, n, 0) + proto + (uint32_t)(left >> 16) + (left & 0xffff);
	return slow_sum(ip + header, left, sum);
}

/* True when IP and transport checksums of a TCP or UDP packet without fragments are right. */
static inline bool packet_is_intact(const uint8_t *p, size_t len, size_t header, uint8_t proto)
{
	if (p[0] >> 4 == 4 && slow_sum(p, header, 0) != 0xffff)
		return false;
	return slow_transport_sum(p, len, header, proto) == 0xffff;
}

static inline void fix_checksums(uint8_t *p, size_t len, size_t header, uint8_t proto)
{
	uint8_t *field = p + header + (proto == 6 ? 16 : 6);

	if (p[0] >> 4 == 4) {
		be16_store(p + 10, 0);
		be16_store(p + 10, (uint16_t)~slow_sum(p, header, 0));
	}
	be16_store(field, 0);
	uint16_t sum = (uint16_t)~slow_transport_sum(p, len, header, proto);
	be16_store(field, sum == 0 && proto == 17 ? 0xffff : sum);
}

struct packet_spec {
	int version;
	uint8_t proto; /* 6 or 17 */
	uint8_t flags; /* TCP */
	uint16_t port; /* source port: the flow */
	uint16_t id;
	uint32_t seq;
	size_t tcp_options; /* bytes, a multiple of 4 */
	size_t payload;
	uint64_t seed; /* of the payload */
};

/* Writes the packet and returns its length. */
static inline size_t packet_make(uint8_t *p, const struct packet_spec *s)
{
	struct rng rng = rng_seeded(s->seed);
	size_t ip = s->version == 4 ? 20 : 40;
	size_t transport = s->proto == 6 ? 20 + s->tcp_options : 8;
	size_t len = ip + transport + s->payload;
	uint8_t *t = p + ip;

	memset(p, 0, ip + transport);
	if (s->version == 4) {
		p[0] = 0x45;
		be16_store(p + 2, (uint16_t)len);
		be16_store(p + 4, s->id);
		be16_store(p + 6, 0x4000);
		p[8] = 64;
		p[9] = s->proto;
		be32_store(p + 12, 0x0a4d0001);
		be32_store(p + 16, 0x0a4d0002);
	} else {
		p[0] = 0x60;
		be16_store(p + 4, (uint16_t)(len - 40));
		p[6] = s->proto;
		p[7] = 64;
		p[8] = p[24] = 0xfd;
		p[23] = 1;
		p[39] = 2;
	}
	be16_store(t, s->port);
	be16_store(t + 2, 5001);
	if (s->proto == 6) {
		be32_store(t + 4, s->seq);
		be32_store(t + 8, 7777);
		t[12] = (uint8_t)(transport / 4 << 4);
		t[13] = s->flags;
		be16_store(t + 14, 500);
		memset(t + 20, 1, s->tcp_options);
	} else {
		be16_store(t + 4, (uint16_t)(8 + s->payload));
	}
	rng_bytes(&rng, t + transport, s->payload);
	fix_checksums(p, len, ip, s->proto);
	return len;
}

#endif /* GV_TESTS_UNIT_PROTO_IP_PACKETS_H */
