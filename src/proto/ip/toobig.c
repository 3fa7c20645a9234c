/* SPDX-License-Identifier: MIT */

#include "proto/ip/toobig.h"

#include "base/bytes.h"
#include "proto/ip/csum.h"

#define ANSWER4_BYTES 576 /* RFC 1812 4.3.2.3 */
#define ICMP_HEADER   8
#define HOPS          64

#define ICMP_UNREACHABLE  3
#define ICMP_FRAG_NEEDED  4
#define ICMP6_TOO_BIG     2
#define ICMP6_FIRST_QUERY 128 /* below: error messages */
#define IP4_MTU_MIN       68
#define IP6_MTU_MIN       1280

/* ICMP messages that report errors: never answered by another one (RFC 1122 3.2.2). */
static bool is_icmp4_error(uint8_t type)
{
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

static bool is_host4(const uint8_t *ip)
{
	uint32_t a = be32_load(ip);

	return a >> 24 != 0 && a >> 24 != 127 && a >> 28 < 0xe;
}

static size_t build4(const uint8_t *packet, size_t len, const struct inner *in, uint32_t mtu,
                     uint8_t *out)
{
	if (!in->dont_fragment || !in->first_fragment || mtu < IP4_MTU_MIN || mtu > UINT16_MAX ||
	    !is_host4(in->src) || !is_host4(in->dst))
		return 0;
	if (in->proto == INNER_ICMP &&
	    (len == in->header_len || is_icmp4_error(packet[in->header_len])))
		return 0;
	size_t quoted = GV_MIN(len, (size_t)ANSWER4_BYTES - INNER_IP4_HEADER - ICMP_HEADER);
	size_t total = INNER_IP4_HEADER + ICMP_HEADER + quoted;
	uint8_t *icmp = out + INNER_IP4_HEADER;

	memset(out, 0, INNER_IP4_HEADER + ICMP_HEADER);
	out[0] = 0x45;
	out[1] = 0xc0; /* internetwork control (RFC 1812 4.3.2.5) */
	be16_store(out + 2, (uint16_t)total);
	out[8] = HOPS;
	out[9] = INNER_ICMP;
	memcpy(out + 12, in->dst, 4);
	memcpy(out + 16, in->src, 4);
	csum_store(out + 10, (uint16_t)~csum_fold(csum_add(0, out, INNER_IP4_HEADER)));
	icmp[0] = ICMP_UNREACHABLE;
	icmp[1] = ICMP_FRAG_NEEDED;
	be16_store(icmp + 6, (uint16_t)mtu);
	memcpy(icmp + ICMP_HEADER, packet, quoted);
	csum_store(icmp + 2, (uint16_t)~csum_fold(csum_add(0, icmp, ICMP_HEADER + quoted)));
	return total;
}

static bool is_host6(const uint8_t *ip)
{
	static const uint8_t zero[15];

	/* Not multicast, not unspecified, not loopback. */
	return ip[0] != 0xff && (memcmp(ip, zero, sizeof(zero)) != 0 || ip[15] > 1);
}

static size_t build6(const uint8_t *packet, size_t len, const struct inner *in, uint32_t mtu,
                     uint8_t *out)
{
	if (mtu < IP6_MTU_MIN || !in->first_fragment || !is_host6(in->src) || !is_host6(in->dst))
		return 0;
	if (in->proto == INNER_ICMP6 &&
	    (len == in->header_len || packet[in->header_len] < ICMP6_FIRST_QUERY))
		return 0;
	size_t quoted = GV_MIN(len, (size_t)TOOBIG_BYTES - INNER_IP6_HEADER - ICMP_HEADER);
	uint8_t *icmp = out + INNER_IP6_HEADER;

	memset(out, 0, INNER_IP6_HEADER + ICMP_HEADER);
	out[0] = 0x60;
	be16_store(out + 4, (uint16_t)(ICMP_HEADER + quoted));
	out[6] = INNER_ICMP6;
	out[7] = HOPS;
	memcpy(out + 8, in->dst, 16);
	memcpy(out + 24, in->src, 16);
	icmp[0] = ICMP6_TOO_BIG;
	be32_store(icmp + 4, mtu);
	memcpy(icmp + ICMP_HEADER, packet, quoted);
	uint64_t sum = csum_add_pseudo(0, out + 8, out + 24, 16, INNER_ICMP6, ICMP_HEADER + quoted);
	sum = csum_add(sum, icmp, ICMP_HEADER + quoted);
	csum_store(icmp + 2, (uint16_t)~csum_fold(sum));
	return INNER_IP6_HEADER + ICMP_HEADER + quoted;
}

size_t toobig_build(const uint8_t *packet, size_t len, const struct inner *in, uint32_t mtu_bytes,
                    uint8_t out[static TOOBIG_BYTES])
{
	return in->version == 4 ? build4(packet, len, in, mtu_bytes, out)
	                        : build6(packet, len, in, mtu_bytes, out);
}
