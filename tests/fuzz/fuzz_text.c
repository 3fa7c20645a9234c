/* SPDX-License-Identifier: MIT */

/* The small parsers of base/: addresses, prefixes, codes, UTF-8, names and labels. What is read is written the same. */

#include "base/enc.h"
#include "base/log.h"
#include "base/netaddr.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define CODE_BYTES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void addresses(const char *text)
{
	struct netaddr a, again;
	struct netprefix p, q;
	char out[NETADDR_TEXT_SIZE];

	if (netaddr_parse(text, &a)) {
		check(netaddr_parse(netaddr_text(&a, out), &again) && netaddr_equal(&a, &again));
		check(netaddr_hash(&a, 1) == netaddr_hash(&again, 1));
	}
	if (netaddr_parse_ip(text, &a)) {
		check(netaddr_parse_ip(netaddr_ip_text(&a, out), &again) &&
		      netaddr_ip_equal(&a, &again));
		check(netaddr_is_any(&a) + netaddr_is_loopback(&a) + netaddr_is_link_local(&a) +
		              netaddr_is_multicast(&a) <=
		      1);
	}
	if (netprefix_parse(text, &p)) {
		check(netprefix_parse(netprefix_text(&p, out), &q) && q.bits == p.bits &&
		      netaddr_ip_equal(&p.addr, &q.addr));
		check(netprefix_contains(&p, &p.addr) && netprefix_overlaps(&p, &q));
		if (p.addr.family == NETADDR_IP4) {
			a = netprefix_broadcast(&p);
			check(netprefix_contains(&p, &a) &&
			      netaddr_u32(&a) >= netaddr_u32(&p.addr));
		}
	}
}

/* Letters of base 16 and 32 may be capitals; otherwise a text has one value and a value one text. */
static void codes(const char *text, size_t len)
{
	uint8_t bytes[CODE_BYTES];
	char out[2 * CODE_BYTES + 1];
	size_t n;

	if (dec_hex(text, len, bytes, sizeof(bytes), &n)) {
		enc_hex(out, bytes, n);
		check(n <= sizeof(bytes) && strncasecmp(out, text, len) == 0 && strlen(out) == len);
	}
	if (dec_base32(text, len, bytes, sizeof(bytes), &n)) {
		enc_base32(out, bytes, n);
		check(n <= sizeof(bytes) && strncasecmp(out, text, len) == 0 && strlen(out) == len);
	}
	if (dec_base64url(text, len, bytes, sizeof(bytes), &n)) {
		enc_base64url(out, bytes, n);
		check(n <= sizeof(bytes) && memcmp(out, text, len) == 0 && strlen(out) == len);
	}
}

static void names(const char *text, size_t len)
{
	char label[64];
	enum log_level level;

	text_to_label(text, label);
	check(text_is_label(label));
	if (text_is_label(text) && strstr(text, "--") == NULL)
		check(strcmp(label, text) == 0);
	if (text_is_name(text, 64))
		check(text_is_utf8(text, strlen(text)) && strpbrk(text, "\n\r\x1b\x7f") == NULL);
	if (text_is_utf8(text, len) && len > 0 && (text[0] & 0x80) == 0)
		check(text_is_utf8(text + 1, len - 1));
	if (log_parse_level(text, &level))
		check((unsigned)level <= LOG_LEVEL_DEBUG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	check(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	addresses(text);
	codes((const char *)data, size); /* not terminated */
	names(text, size);
	free(text);
	return 0;
}
