/* SPDX-License-Identifier: MIT */

#include "base/netaddr.h"

#include "base/bytes.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct netaddr netaddr_ip4(uint32_t host_order, uint16_t port)
{
	struct netaddr a = {.family = NETADDR_IP4, .port = port};

	be32_store(a.ip, host_order);
	return a;
}

struct netaddr netaddr_ip6(const uint8_t ip[static 16], uint16_t port)
{
	struct netaddr a = {.family = NETADDR_IP6, .port = port};

	memcpy(a.ip, ip, 16);
	return a;
}

uint32_t netaddr_u32(const struct netaddr *a)
{
	return a->family == NETADDR_IP4 ? be32_load(a->ip) : 0;
}

size_t netaddr_ip_size(const struct netaddr *a)
{
	return a->family == NETADDR_IP4 ? 4 : a->family == NETADDR_IP6 ? 16 : 0;
}

bool netaddr_ip_equal(const struct netaddr *a, const struct netaddr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, netaddr_ip_size(a)) == 0;
}

bool netaddr_equal(const struct netaddr *a, const struct netaddr *b)
{
	return a->port == b->port && netaddr_ip_equal(a, b);
}

uint32_t netaddr_hash(const struct netaddr *a, uint32_t seed)
{
	uint64_t h = seed * 0x9e3779b97f4a7c15u + a->family + ((uint64_t)a->port << 8);
	uint64_t lo, hi;

	memcpy(&lo, a->ip, 8);
	memcpy(&hi, a->ip + 8, 8);
	h = (h ^ lo) * 0xbf58476d1ce4e5b9u;
	h ^= h >> 29;
	h = (h ^ hi) * 0x94d049bb133111ebu;
	return (uint32_t)(h ^ (h >> 32));
}

bool netaddr_is_loopback(const struct netaddr *a)
{
	static const uint8_t one[16] = {[15] = 1};

	if (a->family == NETADDR_IP4)
		return a->ip[0] == 127;
	return a->family == NETADDR_IP6 && memcmp(a->ip, one, 16) == 0;
}

bool netaddr_is_any(const struct netaddr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->ip, zero, sizeof(zero)) == 0;
}

bool netaddr_is_link_local(const struct netaddr *a)
{
	if (a->family == NETADDR_IP4)
		return a->ip[0] == 169 && a->ip[1] == 254;
	return a->family == NETADDR_IP6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

bool netaddr_is_multicast(const struct netaddr *a)
{
	if (a->family == NETADDR_IP4)
		return (a->ip[0] & 0xf0) == 0xe0;
	return a->family == NETADDR_IP6 && a->ip[0] == 0xff;
}

const char *netaddr_ip_text(const struct netaddr *a, char *out)
{
	if (a->family == NETADDR_NONE)
		return strcpy(out, "none");
	/* Cannot fail: the family is known and the buffer large enough. */
	(void)inet_ntop(a->family == NETADDR_IP4 ? AF_INET : AF_INET6, a->ip, out,
	                NETADDR_TEXT_SIZE);
	return out;
}

const char *netaddr_text(const struct netaddr *a, char *out)
{
	char ip[NETADDR_TEXT_SIZE];

	netaddr_ip_text(a, ip);
	if (a->family == NETADDR_IP6)
		(void)snprintf(out, NETADDR_TEXT_SIZE, "[%.48s]:%u", ip, (unsigned)a->port);
	else
		(void)snprintf(out, NETADDR_TEXT_SIZE, "%.48s:%u", ip, (unsigned)a->port);
	return out;
}

bool netaddr_parse_ip(const char *text, struct netaddr *out)
{
	struct netaddr a = {0};

	if (inet_pton(AF_INET, text, a.ip) == 1)
		a.family = NETADDR_IP4;
	else if (inet_pton(AF_INET6, text, a.ip) == 1)
		a.family = NETADDR_IP6;
	else
		return false;
	*out = a;
	return true;
}

static bool parse_number(const char *text, unsigned long max, unsigned long *out)
{
	unsigned long v = 0;

	if (*text == '\0' || strlen(text) > 5)
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10 + (unsigned long)(*text - '0');
	}
	*out = v;
	return v <= max;
}

bool netaddr_parse(const char *text, struct netaddr *out)
{
	char host[NETADDR_TEXT_SIZE];
	const char *colon = strrchr(text, ':');
	unsigned long port;
	struct netaddr a;

	if (colon == NULL || !parse_number(colon + 1, 65535, &port))
		return false;
	size_t len = (size_t)(colon - text);
	bool bracket = len >= 2 && text[0] == '[' && text[len - 1] == ']';
	if (bracket) {
		text++;
		len -= 2;
	}
	if (len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	if (!netaddr_parse_ip(host, &a) || (a.family == NETADDR_IP6) != bracket)
		return false;
	a.port = (uint16_t)port;
	*out = a;
	return true;
}

struct netprefix netprefix_of(const struct netaddr *a, unsigned bits)
{
	struct netprefix p = {.addr = *a,
	                      .bits = (uint8_t)GV_MIN(bits, (unsigned)netaddr_ip_size(a) * 8)};

	p.addr.port = 0;
	p.addr.ifindex = 0;
	for (unsigned i = p.bits; i < netaddr_ip_size(a) * 8; i++)
		p.addr.ip[i / 8] &= (uint8_t) ~(0x80u >> (i % 8));
	return p;
}

bool netprefix_contains(const struct netprefix *p, const struct netaddr *a)
{
	if (a->family != p->addr.family)
		return false;
	struct netprefix q = netprefix_of(a, p->bits);
	return netaddr_ip_equal(&q.addr, &p->addr);
}

bool netprefix_overlaps(const struct netprefix *a, const struct netprefix *b)
{
	return a->bits <= b->bits ? netprefix_contains(a, &b->addr)
	                          : netprefix_contains(b, &a->addr);
}

struct netaddr netprefix_broadcast(const struct netprefix *p)
{
	uint32_t mask = p->bits == 0 ? 0 : 0xffffffffu << (32 - p->bits);

	return netaddr_ip4(netaddr_u32(&p->addr) | ~mask, 0);
}

const char *netprefix_text(const struct netprefix *p, char *out)
{
	char ip[NETADDR_TEXT_SIZE];

	netaddr_ip_text(&p->addr, ip);
	(void)snprintf(out, NETADDR_TEXT_SIZE, "%.48s/%u", ip, (unsigned)p->bits);
	return out;
}

bool netprefix_parse(const char *text, struct netprefix *out)
{
	char ip[NETADDR_TEXT_SIZE];
	const char *slash = strchr(text, '/');
	struct netaddr a;
	unsigned long bits;

	if (slash == NULL || (size_t)(slash - text) >= sizeof(ip))
		return false;
	memcpy(ip, text, (size_t)(slash - text));
	ip[slash - text] = '\0';
	if (!netaddr_parse_ip(ip, &a) || !parse_number(slash + 1, netaddr_ip_size(&a) * 8, &bits))
		return false;
	struct netprefix p = netprefix_of(&a, (unsigned)bits);
	if (!netaddr_ip_equal(&p.addr, &a))
		return false;
	*out = p;
	return true;
}
