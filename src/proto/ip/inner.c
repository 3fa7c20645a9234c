/* SPDX-License-Identifier: MIT */

#include "proto/ip/inner.h"

#include "base/bytes.h"

#define IP4_DF     0x4000
#define IP4_MF     0x2000
#define IP4_OFFSET 0x1fff

/* IPv4 options (RFC 791 3.1). */
#define OPTION_END   0
#define OPTION_NOP   1
#define OPTION_LSRR  131
#define OPTION_SSRR  137
#define OPTION_FIXED 2 /* kind and length of every other option */

/* IPv6 extension headers (RFC 8200 4.1, RFC 4302). */
#define NEXT_HOP_BY_HOP  0
#define NEXT_ROUTING     43
#define NEXT_FRAGMENT    44
#define NEXT_AUTH        51
#define NEXT_DESTINATION 60

/* Malformed options end the walk: the receiving system judges them, they just must not hide a source route. */
static bool has_source_route(const uint8_t *options, size_t len)
{
	for (size_t i = 0; i < len && options[i] != OPTION_END;) {
		if (options[i] == OPTION_LSRR || options[i] == OPTION_SSRR)
			return true;
		if (options[i] == OPTION_NOP) {
			i++;
			continue;
		}
		if (len - i < OPTION_FIXED || options[i + 1] < OPTION_FIXED)
			return false;
		i += options[i + 1];
	}
	return false;
}

static int parse4(const uint8_t *p, size_t len, struct inner *out)
{
	if (len < INNER_IP4_HEADER)
		return INNER_SHORT;
	size_t header = (size_t)(p[0] & 0x0f) * 4;
	uint16_t frag = be16_load(p + 6);
	if (header < INNER_IP4_HEADER || header > len || be16_load(p + 2) != len)
		return INNER_LENGTH;
	if (has_source_route(p + INNER_IP4_HEADER, header - INNER_IP4_HEADER))
		return INNER_SOURCE_ROUTE;
	*out = (struct inner){
		.version = 4,
		.addr_len = 4,
		.proto = p[9],
		.fragment = (frag & (IP4_MF | IP4_OFFSET)) != 0,
		.first_fragment = (frag & IP4_OFFSET) == 0,
		.dont_fragment = (frag & IP4_DF) != 0,
		.header_len = (uint16_t)header,
		.src = p + 12,
		.dst = p + 16,
	};
	return INNER_OK;
}

/* Bytes of the extension header at p, of which `left` are there; 0 when it is cut off. */
static size_t extension_len(uint8_t next, const uint8_t *p, size_t left)
{
	if (left < 8)
		return 0;
	size_t n = 8;
	if (next == NEXT_AUTH)
		n = ((size_t)p[1] + 2) * 4;
	else if (next != NEXT_FRAGMENT)
		n = ((size_t)p[1] + 1) * 8;
	return n <= left ? n : 0;
}

static bool is_extension(uint8_t next)
{
	return next == NEXT_HOP_BY_HOP || next == NEXT_ROUTING || next == NEXT_FRAGMENT ||
	       next == NEXT_AUTH || next == NEXT_DESTINATION;
}

static int parse6(const uint8_t *p, size_t len, struct inner *out)
{
	if (len < INNER_IP6_HEADER)
		return INNER_SHORT;
	if ((size_t)be16_load(p + 4) + INNER_IP6_HEADER != len)
		return INNER_LENGTH;
	struct inner in = {
		.version = 6,
		.addr_len = 16,
		.first_fragment = true,
		.dont_fragment = true,
		.src = p + 8,
		.dst = p + 24,
	};
	uint8_t next = p[6];
	size_t at = INNER_IP6_HEADER;
	/* Behind the header of a later fragment there is no chain, only data. */
	for (unsigned i = 0; is_extension(next) && in.first_fragment; i++) {
		size_t n = extension_len(next, p + at, len - at);

		if (n == 0 || i == INNER_MAX_CHAIN)
			return INNER_CHAIN;
		/* "Segments left": whoever is not the last hop would send it on (RFC 8200 4.4). */
		if (next == NEXT_ROUTING && p[at + 3] != 0)
			return INNER_SOURCE_ROUTE;
		if (next == NEXT_FRAGMENT) {
			uint16_t frag = be16_load(p + at + 2);

			in.fragment = (frag & 0xfff9) != 0; /* offset and M; neither: atomic */
			in.first_fragment = (frag & 0xfff8) == 0;
		}
		next = p[at];
		at += n;
	}
	in.proto = next;
	in.header_len = (uint16_t)at;
	*out = in;
	return INNER_OK;
}

int inner_parse(const uint8_t *p, size_t len, struct inner *out)
{
	if (len == 0)
		return INNER_SHORT;
	switch (p[0] >> 4) {
	case 4:
		return parse4(p, len, out);
	case 6:
		return parse6(p, len, out);
	default:
		return INNER_VERSION;
	}
}
