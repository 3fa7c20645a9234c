/* SPDX-License-Identifier: MIT */

#include "base/text.h"

#include <stdint.h>
#include <string.h>

/* Length of the well-formed sequence at s and its code point, or 0. */
static size_t utf8_next(const uint8_t *s, size_t left, uint32_t *cp)
{
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n;

	if (s[0] < 0x80) {
		*cp = s[0];
		return 1;
	}
	if ((s[0] & 0xe0) == 0xc0) {
		n = 2;
		*cp = s[0] & 0x1f;
	} else if ((s[0] & 0xf0) == 0xe0) {
		n = 3;
		*cp = s[0] & 0x0f;
	} else if ((s[0] & 0xf8) == 0xf0) {
		n = 4;
		*cp = s[0] & 0x07;
	} else {
		return 0;
	}
	if (n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*cp = (*cp << 6) | (s[i] & 0x3f);
	}
	if (*cp < least[n] || *cp > 0x10ffff || (*cp >= 0xd800 && *cp <= 0xdfff))
		return 0;
	return n;
}

bool text_is_utf8(const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s;
	uint32_t cp;

	while (len > 0) {
		size_t n = utf8_next(p, len, &cp);

		if (n == 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static bool is_printable(uint32_t cp)
{
	if (cp < 0x20 || (cp >= 0x7f && cp <= 0x9f))
		return false;
	if (cp == 0x2028 || cp == 0x2029) /* line and paragraph separator */
		return false;
	/* Direction marks, embeddings, overrides and isolates: a name must not reorder a terminal line. */
	return !((cp >= 0x200e && cp <= 0x200f) || (cp >= 0x202a && cp <= 0x202e) ||
	         (cp >= 0x2066 && cp <= 0x2069));
}

bool text_is_name(const char *s, size_t max)
{
	size_t len = strlen(s);
	const uint8_t *p = (const uint8_t *)s;
	uint32_t cp;

	if (len == 0 || len > max || s[0] == ' ' || s[len - 1] == ' ')
		return false;
	while (len > 0) {
		size_t n = utf8_next(p, len, &cp);

		if (n == 0 || !is_printable(cp))
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static bool is_label_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

bool text_is_label(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > 63 || s[0] == '-' || s[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_label_char(s[i]))
			return false;
	return true;
}

void text_to_label(const char *name, char out[static 64])
{
	size_t used = 0;

	for (; *name != '\0' && used < 63; name++) {
		char c = *name;

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (!is_label_char(c))
			c = '-';
		if (c == '-' && (used == 0 || out[used - 1] == '-'))
			continue;
		out[used++] = c;
	}
	while (used > 0 && out[used - 1] == '-')
		used--;
	out[used] = '\0';
	if (used == 0)
		strcpy(out, "computer");
}
