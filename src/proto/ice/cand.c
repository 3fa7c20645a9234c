/* SPDX-License-Identifier: MIT */

#include "proto/ice/cand.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* RFC 8445 5.1.2.2: recommended type preferences. */
static const uint32_t type_preference[] = {
	[ICE_CAND_HOST] = 126,
	[ICE_CAND_SRFLX] = 100,
	[ICE_CAND_PRFLX] = 110,
	[ICE_CAND_RELAY] = 0,
};

static const char *const type_name[] = {
	[ICE_CAND_HOST] = "host",
	[ICE_CAND_SRFLX] = "srflx",
	[ICE_CAND_PRFLX] = "prflx",
	[ICE_CAND_RELAY] = "relay",
};

#define COMPONENT    1 /* RTP's second component does not exist with data channels */
#define PRIORITY_MAX 0x7fffffffu

const char *ice_cand_type_name(enum ice_cand_type type)
{
	return type_name[type];
}

uint16_t ice_cand_preference(enum netaddr_family family, unsigned rank)
{
	unsigned place = GV_MIN(rank, 126u) * 2 + (family == NETADDR_IP6 ? 0 : 1);

	return (uint16_t)(65535 - place * 256);
}

uint32_t ice_cand_priority(enum ice_cand_type type, uint16_t local_preference)
{
	return type_preference[type] << 24 | (uint32_t)local_preference << 8 | (256 - COMPONENT);
}

struct ice_cand ice_cand_local(enum ice_cand_type type, const struct netaddr *addr,
                               const struct netaddr *base, uint16_t local_preference)
{
	struct ice_cand c = {.type = type, .addr = *addr, .base = *base};
	struct netaddr ip = *base;

	c.priority = ice_cand_priority(type, local_preference);
	/* Same for candidates of one type from one IP address (RFC 8445 5.1.1.3). */
	ip.port = 0;
	uint32_t hash = netaddr_hash(&ip, (uint32_t)type + 1);
	/*
	 * But each mapping its own: the newer one after a NAT has forgotten would else wait, frozen, until every check
	 * over the older one has failed.
	 */
	if (type == ICE_CAND_SRFLX)
		hash = netaddr_hash(addr, hash);
	(void)snprintf(c.foundation, sizeof(c.foundation), "%u", hash);
	return c;
}

void ice_cand_format(const struct ice_cand *c, char *out)
{
	char ip[NETADDR_TEXT_SIZE], related[NETADDR_TEXT_SIZE];

	netaddr_ip_text(&c->addr, ip);
	int n = snprintf(out, ICE_CAND_TEXT_SIZE, "candidate:%s %d udp %u %s %u typ %s",
	                 c->foundation, COMPONENT, c->priority, ip, (unsigned)c->addr.port,
	                 type_name[c->type]);
	if (c->type == ICE_CAND_HOST || c->base.family == NETADDR_NONE)
		return;
	netaddr_ip_text(&c->base, related);
	(void)snprintf(out + n, ICE_CAND_TEXT_SIZE - (size_t)n, " raddr %s rport %u", related,
	               (unsigned)c->base.port);
}

/* A word between blanks. */
struct word {
	const char *p;
	size_t len;
};

static bool next_word(const char **p, const char *end, struct word *w)
{
	while (*p < end && **p == ' ')
		(*p)++;
	w->p = *p;
	while (*p < end && **p != ' ')
		(*p)++;
	w->len = (size_t)(*p - w->p);
	return w->len > 0;
}

static bool word_is(const struct word *w, const char *text)
{
	return w->len == strlen(text) && strncasecmp(w->p, text, w->len) == 0;
}

static bool word_number(const struct word *w, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (w->len == 0 || w->len > 10)
		return false;
	for (size_t i = 0; i < w->len; i++) {
		if (w->p[i] < '0' || w->p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(w->p[i] - '0');
	}
	*out = v;
	return v <= max;
}

/* IPv4 inside IPv6 (RFC 4291 2.5.5.2) is a second notation of an address that filters know in one. */
static bool is_mapped_ip4(const struct netaddr *a)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return a->family == NETADDR_IP6 && memcmp(a->ip, prefix, sizeof(prefix)) == 0;
}

static bool word_ip(const struct word *w, struct netaddr *out)
{
	char text[NETADDR_TEXT_SIZE];

	if (w->len >= sizeof(text) || memchr(w->p, '\0', w->len) != NULL)
		return false;
	memcpy(text, w->p, w->len);
	text[w->len] = '\0';
	return netaddr_parse_ip(text, out) && !is_mapped_ip4(out);
}

static bool word_is_visible(const struct word *w)
{
	for (size_t i = 0; i < w->len; i++) {
		if (w->p[i] <= ' ' || w->p[i] > '~')
			return false;
	}
	return w->len > 0;
}

static bool word_type(const struct word *w, enum ice_cand_type *out)
{
	for (size_t i = 0; i < GV_ARRAY_SIZE(type_name); i++) {
		if (word_is(w, type_name[i])) {
			*out = (enum ice_cand_type)i;
			return true;
		}
	}
	return false;
}

/* "raddr A rport P" and extensions, as pairs of words. What is not understood is skipped. */
static void parse_extensions(const char *p, const char *end, struct ice_cand *c)
{
	struct word name, value;
	uint64_t port = 0;
	struct netaddr ip = {0};
	bool has_ip = false, has_port = false;

	while (next_word(&p, end, &name) && next_word(&p, end, &value)) {
		if (word_is(&name, "raddr") && word_ip(&value, &ip))
			has_ip = true;
		else if (word_is(&name, "rport") && word_number(&value, UINT16_MAX, &port))
			has_port = true;
	}
	if (has_ip && has_port) {
		c->base = ip;
		c->base.port = (uint16_t)port;
	}
}

static bool skip_prefix(const char **p, const char *end, const char *prefix)
{
	size_t n = strlen(prefix);

	if ((size_t)(end - *p) < n || strncasecmp(*p, prefix, n) != 0)
		return false;
	*p += n;
	return true;
}

int ice_cand_parse(const char *text, size_t len, struct ice_cand *out)
{
	const char *p = text, *end = text + len;
	struct word foundation, component, transport, priority, ip, port, typ, type;
	struct ice_cand c = {0};
	uint64_t component_id, priority_value, port_value;

	while (end > p && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
		end--;
	(void)skip_prefix(&p, end, "a="); /* optional */
	if (!skip_prefix(&p, end, "candidate:"))
		return ICE_CAND_MALFORMED;
	if (!next_word(&p, end, &foundation) || !next_word(&p, end, &component) ||
	    !next_word(&p, end, &transport) || !next_word(&p, end, &priority) ||
	    !next_word(&p, end, &ip) || !next_word(&p, end, &port) || !next_word(&p, end, &typ) ||
	    !next_word(&p, end, &type))
		return ICE_CAND_MALFORMED;
	if (foundation.len > ICE_FOUNDATION_MAX || !word_is_visible(&foundation) ||
	    !word_number(&component, 256, &component_id) || component_id == 0 ||
	    !word_number(&priority, PRIORITY_MAX, &priority_value) || priority_value == 0 ||
	    !word_number(&port, UINT16_MAX, &port_value) || !word_is(&typ, "typ"))
		return ICE_CAND_MALFORMED;
	if (!word_is(&transport, "udp") || component_id != COMPONENT ||
	    !word_type(&type, &c.type) || !word_ip(&ip, &c.addr))
		return ICE_CAND_UNSUPPORTED;
	if (port_value == 0)
		return ICE_CAND_MALFORMED;
	c.addr.port = (uint16_t)port_value;
	c.priority = (uint32_t)priority_value;
	memcpy(c.foundation, foundation.p, foundation.len);
	if (c.type == ICE_CAND_HOST)
		c.base = c.addr;
	else
		parse_extensions(p, end, &c);
	*out = c;
	return ICE_CAND_OK;
}
