/* SPDX-License-Identifier: MIT */

#include "proto/sig/link.h"

#include "base/diag.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/netaddr.h"

#include <stdio.h>
#include <string.h>

#define PORT_HTTPS 443
#define PORT_HTTP  80
#define SEED_CHARS (ENC_BASE64_SIZE(LINK_SEED_SIZE) - 1)
#define PIN_CHARS  (ENC_BASE64_SIZE(LINK_PIN_SIZE) - 1)

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int bad(struct diag *diag, const char *why)
{
	diag_set(diag, "%s", why);
	return LINK_BAD;
}

/* Compares without regard to ASCII case; prefix is lower case. */
static bool has_prefix(const char *s, size_t n, const char *prefix)
{
	size_t len = strlen(prefix);

	if (n < len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (to_lower(s[i]) != prefix[i])
			return false;
	return true;
}

/* A DNS name of lower case (RFC 1123 2.1): labels of 1 .. 63 letters, digits and '-', not at their ends. */
static bool is_dns_name(const char *s)
{
	size_t label = 0;

	for (size_t i = 0;; i++) {
		char c = s[i];

		if (c == '.' || c == '\0') {
			if (label == 0 || label > 63 || s[i - 1] == '-' || s[i - label] == '-')
				return false;
			if (c == '\0')
				return true;
			label = 0;
			continue;
		}
		if (!(c >= 'a' && c <= 'z') && !is_digit(c) && c != '-')
			return false;
		label++;
	}
}

/* What ends in a label of digits only would be read as an IPv4 address by some resolvers, and by others not. */
static bool looks_like_ip4(const char *s)
{
	const char *dot = strrchr(s, '.');
	const char *last = dot != NULL ? dot + 1 : s;

	return strspn(last, "0123456789") == strlen(last);
}

static int parse_host6(const char *s, size_t n, struct link_server *out, struct diag *diag)
{
	char text[NETADDR_TEXT_SIZE];
	struct netaddr addr;

	if (n >= sizeof(text) || memchr(s, '%', n) != NULL)
		return bad(diag, "The server's IPv6 address is not valid.");
	memcpy(text, s, n);
	text[n] = '\0';
	if (!netaddr_parse_ip(text, &addr) || addr.family != NETADDR_IP6)
		return bad(diag, "The server's IPv6 address is not valid.");
	(void)netaddr_ip_text(&addr, out->host); /* the one canonical text of the address */
	return LINK_OK;
}

static int parse_host(const char *s, size_t n, struct link_server *out, struct diag *diag)
{
	struct netaddr addr;

	if (n == 0)
		return bad(diag, "The server's name is missing.");
	if (n > LINK_HOST_MAX)
		return bad(diag, "The server's name is too long.");
	for (size_t i = 0; i < n; i++)
		out->host[i] = to_lower(s[i]);
	out->host[n] = '\0';
	if (strlen(out->host) != n || !is_dns_name(out->host))
		return bad(diag, "The server's name is not a valid host name.");
	if (looks_like_ip4(out->host)) {
		if (!netaddr_parse_ip(out->host, &addr))
			return bad(diag, "The server's IPv4 address is not valid.");
		(void)netaddr_ip_text(&addr, out->host);
	}
	return LINK_OK;
}

static int parse_port(const char *s, size_t n, struct link_server *out, struct diag *diag)
{
	uint32_t port = 0;

	for (size_t i = 0; i < n && i < 6; i++) {
		if (!is_digit(s[i]))
			return bad(diag, "The port is not a number.");
		port = port * 10 + (uint32_t)(s[i] - '0');
	}
	if (n == 0 || n > 5 || s[0] == '0' || port > UINT16_MAX)
		return bad(diag, "The port must be a number from 1 to 65535.");
	out->port = (uint16_t)port;
	return LINK_OK;
}

/* Scheme and authority; *used becomes the number of characters they take. */
static int parse_origin(const char *s, size_t n, struct link_server *out, size_t *used,
                        struct diag *diag)
{
	size_t at;
	int r;

	if (has_prefix(s, n, "https://")) {
		*out = (struct link_server){.tls = true, .port = PORT_HTTPS};
		at = 8;
	} else if (has_prefix(s, n, "http://")) {
		*out = (struct link_server){.tls = false, .port = PORT_HTTP};
		at = 7;
	} else {
		return bad(diag, "A server address begins with https://");
	}
	size_t end = at;
	while (end < n && s[end] != '/' && s[end] != '#' && s[end] != '?')
		end++;

	const char *host = s + at;
	size_t host_len = end - at;
	const char *rest;
	if (memchr(host, '@', host_len) != NULL)
		return bad(diag, "A server address has no user name in it.");
	if (host_len > 0 && host[0] == '[') {
		const char *close = memchr(host, ']', host_len);

		if (close == NULL)
			return bad(diag, "The ] after the server's IPv6 address is missing.");
		r = parse_host6(host + 1, (size_t)(close - host) - 1, out, diag);
		rest = close + 1;
	} else {
		const char *colon = memchr(host, ':', host_len);

		rest = colon != NULL ? colon : host + host_len;
		r = parse_host(host, (size_t)(rest - host), out, diag);
	}
	if (r != LINK_OK)
		return r;
	size_t rest_len = (size_t)(s + end - rest);
	*used = end;
	if (rest_len == 0)
		return LINK_OK;
	if (rest[0] != ':')
		return bad(diag, "There is something between the server's name and its port.");
	return parse_port(rest + 1, rest_len - 1, out, diag);
}

int link_server_parse(const char *text, struct link_server *out, struct diag *diag)
{
	struct link_server server;
	size_t n = strnlen(text, LINK_TEXT_SIZE);
	size_t used = 0;

	if (n == LINK_TEXT_SIZE)
		return bad(diag, "The server address is too long.");
	int r = parse_origin(text, n, &server, &used, diag);
	if (r != LINK_OK)
		return r;
	if (n != used && strcmp(text + used, "/") != 0)
		return bad(diag, "Nothing may follow the server's name and port.");
	*out = server;
	return LINK_OK;
}

static bool is_ip6(const struct link_server *s)
{
	return strchr(s->host, ':') != NULL;
}

const char *link_server_url(const struct link_server *s, char out[static LINK_URL_SIZE])
{
	const char *open = is_ip6(s) ? "[" : "";
	const char *close = is_ip6(s) ? "]" : "";
	const char *scheme = s->tls ? "https" : "http";

	if (s->port == (s->tls ? PORT_HTTPS : PORT_HTTP))
		(void)snprintf(out, LINK_URL_SIZE, "%s://%s%s%s", scheme, open, s->host, close);
	else
		(void)snprintf(out, LINK_URL_SIZE, "%s://%s%s%s:%u", scheme, open, s->host, close,
		               (unsigned)s->port);
	return out;
}

const char *link_server_host_port(const struct link_server *s, char out[static LINK_HOST_PORT_SIZE])
{
	bool brackets = is_ip6(s);

	(void)snprintf(out, LINK_HOST_PORT_SIZE, "%s%s%s:%u", brackets ? "[" : "", s->host,
	               brackets ? "]" : "", (unsigned)s->port);
	return out;
}

bool link_server_equal(const struct link_server *a, const struct link_server *b)
{
	return a->tls == b->tls && a->port == b->port && strcmp(a->host, b->host) == 0;
}

static int parse_secret(const char *s, size_t n, struct link_invite *out, struct diag *diag)
{
	size_t got;

	if (n < 2 || s[1] != '.' || !is_digit(s[0]))
		return bad(diag, "The part of the link after # is damaged; copy the whole link.");
	if (s[0] != '1')
		return bad(diag, "The link was made by a newer version of goVPN; update this one.");
	s += 2;
	n -= 2;
	if (n < SEED_CHARS)
		return bad(diag, "The end of the link is missing; copy the whole link.");
	if (!dec_base64url(s, SEED_CHARS, out->seed, sizeof(out->seed), &got) ||
	    got != LINK_SEED_SIZE)
		return bad(diag, "The part of the link after # is damaged; copy the whole link.");
	s += SEED_CHARS;
	n -= SEED_CHARS;
	if (n == 0)
		return LINK_OK;
	if (s[0] != '.')
		return bad(diag, "There is something behind the end of the link.");
	if (n - 1 < PIN_CHARS)
		return bad(diag, "The end of the link is missing; copy the whole link.");
	if (n - 1 > PIN_CHARS)
		return bad(diag, "There is something behind the end of the link.");
	if (!dec_base64url(s + 1, PIN_CHARS, out->pin, sizeof(out->pin), &got) ||
	    got != LINK_PIN_SIZE)
		return bad(diag, "The part of the link after # is damaged; copy the whole link.");
	out->has_pin = true;
	return LINK_OK;
}

static int parse_path(const char *s, size_t n, struct link_invite *out, struct diag *diag)
{
	const char *hash = memchr(s, '#', n);
	char id[NETID_TEXT_SIZE];

	if (n < 3 || memcmp(s, "/j/", 3) != 0)
		return bad(diag, "This is not an invite link: https://SERVER/j/ID#1.… is one.");
	if (hash == NULL)
		return bad(diag, "The part of the link after # is missing; copy the whole link.");
	size_t id_len = (size_t)(hash - s) - 3;
	if (id_len != NETID_TEXT_SIZE - 1)
		return bad(diag, "The network id in the link must have 32 letters.");
	memcpy(id, s + 3, id_len);
	id[id_len] = '\0';
	if (!netid_parse(id, out->network_id))
		return bad(diag, "The network id in the link is damaged.");
	return parse_secret(hash + 1, n - id_len - 4, out, diag);
}

int link_parse(const char *text, struct link_invite *out, struct diag *diag)
{
	struct link_invite link = {0};
	size_t n, used = 0;

	while (is_space(*text))
		text++;
	n = strnlen(text, LINK_TEXT_SIZE);
	if (n == LINK_TEXT_SIZE)
		return bad(diag, "The link is too long to be one.");
	while (n > 0 && is_space(text[n - 1]))
		n--;
	if (n == 0)
		return bad(diag, "The link is empty.");
	int r = parse_origin(text, n, &link.server, &used, diag);
	if (r == LINK_OK)
		r = parse_path(text + used, n - used, &link, diag);
	if (r == LINK_OK)
		*out = link;
	mem_wipe(&link, sizeof(link));
	return r;
}

const char *link_format(const struct link_invite *link, char out[static LINK_TEXT_SIZE])
{
	char url[LINK_URL_SIZE], id[NETID_TEXT_SIZE];
	char seed[SEED_CHARS + 1], pin[PIN_CHARS + 1] = "";

	enc_base64url(seed, link->seed, sizeof(link->seed));
	if (link->has_pin)
		enc_base64url(pin, link->pin, sizeof(link->pin));
	(void)snprintf(out, LINK_TEXT_SIZE, "%s/j/%s#1.%s%s%s", link_server_url(&link->server, url),
	               netid_text(link->network_id, id), seed, link->has_pin ? "." : "", pin);
	mem_wipe(seed, sizeof(seed));
	return out;
}
