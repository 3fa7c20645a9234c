/* SPDX-License-Identifier: MIT */

#include "proto/ip/mss.h"

#include "base/bytes.h"
#include "proto/ip/csum.h"

#define TCP_FLAGS  13
#define TCP_CSUM   16
#define TCP_SYN    0x02
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2

bool mss_applies(const uint8_t *packet, size_t len, const struct inner *in)
{
	return in->proto == INNER_TCP && !in->fragment &&
	       len - in->header_len >= INNER_TCP_HEADER &&
	       (packet[in->header_len + TCP_FLAGS] & TCP_SYN) != 0;
}

/* Where the value of the MSS option stands in the TCP header t of n bytes; 0: nowhere. */
static size_t find_mss(const uint8_t *t, size_t n)
{
	for (size_t i = INNER_TCP_HEADER; i < n && t[i] != OPTION_END;) {
		if (t[i] == OPTION_NOP) {
			i++;
			continue;
		}
		if (n - i < 2 || t[i + 1] < 2 || t[i + 1] > n - i)
			return 0;
		if (t[i] == OPTION_MSS)
			return t[i + 1] == 4 ? i + 2 : 0;
		i += t[i + 1];
	}
	return 0;
}

/* The checksum after the byte pair at odd or even offset `at` of the header changed. */
static void replace16(uint8_t *t, size_t at, uint16_t value)
{
	uint16_t old_value = be16_load(t + at);

	be16_store(t + at, value);
	if (at % 2 != 0) {
		/* Summed words are pairs at even offsets: swapping both values does the same. */
		old_value = __builtin_bswap16(old_value);
		value = __builtin_bswap16(value);
	}
	csum_update16(t + TCP_CSUM, old_value, value);
}

bool mss_clamp(uint8_t *packet, size_t len, const struct inner *in, size_t mtu_bytes)
{
	uint8_t *t = packet + in->header_len;
	size_t header = (size_t)(t[12] >> 4) * 4;
	size_t fixed = (in->version == 4 ? INNER_IP4_HEADER : INNER_IP6_HEADER) + INNER_TCP_HEADER;

	if (header < INNER_TCP_HEADER || header > len - in->header_len || mtu_bytes <= fixed)
		return false;
	size_t at = find_mss(t, header);
	if (at == 0 || be16_load(t + at) <= mtu_bytes - fixed)
		return false;
	replace16(t, at, (uint16_t)(mtu_bytes - fixed));
	return true;
}
