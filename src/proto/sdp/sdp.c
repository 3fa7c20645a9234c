/* SPDX-License-Identifier: MIT */

#include "proto/sdp/sdp.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ICE_UFRAG_MIN       4 /* RFC 8839 5.4 */
#define ICE_PWD_MIN         22
#define TLS_ID_MIN          20    /* RFC 8842 4 */
#define DEFAULT_SCTP_PORT   5000  /* RFC 8841 5.1 names no default; this is what everybody uses */
#define DEFAULT_MAX_MESSAGE 65536 /* RFC 8841 6.1 */

static const char *const setup_name[] = {
	[SDP_SETUP_ACTPASS] = "actpass",
	[SDP_SETUP_ACTIVE] = "active",
	[SDP_SETUP_PASSIVE] = "passive",
};

/* ---- writing ---- */

struct text {
	char *p;
	size_t size, used;
	bool ok;
};

static void add(struct text *t, const char *fmt, ...) gv_format(2, 3);

static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;

	if (!t->ok)
		return;
	va_start(ap, fmt);
	int n = vsnprintf(t->p + t->used, t->size - t->used, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= t->size - t->used) {
		t->ok = false;
		return;
	}
	t->used += (size_t)n;
}

static void add_fingerprint(struct text *t, const uint8_t *fingerprint)
{
	add(t, "a=fingerprint:sha-256 ");
	for (unsigned i = 0; i < SDP_FINGERPRINT_LEN; i++)
		add(t, "%s%02X", i > 0 ? ":" : "", fingerprint[i]);
	add(t, "\r\n");
}

size_t sdp_format(const struct sdp *s, char *out, size_t out_size)
{
	struct text t = {.p = out, .size = out_size, .ok = out_size > 0};
	char line[ICE_CAND_TEXT_SIZE];

	add(&t, "v=0\r\no=- %llu %llu IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n",
	    (unsigned long long)s->session_id, (unsigned long long)s->session_version);
	add(&t, "a=group:BUNDLE %s\r\n", s->mid);
	add(&t, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n");
	add(&t, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\n", s->ice_ufrag, s->ice_pwd);
	if (s->trickle)
		add(&t, "a=ice-options:trickle\r\n");
	if (s->has_fingerprint)
		add_fingerprint(&t, s->fingerprint);
	add(&t, "a=setup:%s\r\na=mid:%s\r\n", setup_name[s->setup], s->mid);
	if (s->tls_id[0] != '\0')
		add(&t, "a=tls-id:%s\r\n", s->tls_id);
	add(&t, "a=sctp-port:%u\r\na=max-message-size:%u\r\n", (unsigned)s->sctp_port,
	    s->max_message_size);
	for (size_t i = 0; i < s->candidate_count && i < SDP_MAX_CANDIDATES; i++) {
		ice_cand_format(&s->candidates[i], line);
		add(&t, "a=%s\r\n", line);
	}
	if (s->end_of_candidates)
		add(&t, "a=end-of-candidates\r\n");
	return t.ok ? t.used : 0;
}

/* ---- reading ---- */

/* A piece of the text; not terminated. */
struct span {
	const char *p;
	size_t len;
};

enum section {
	SECTION_SESSION,
	SECTION_CHANNEL, /* the m= section that is used */
	SECTION_OTHER,
};

struct parser {
	struct sdp sdp;
	enum section section;
	bool has_channel, has_version;
	bool media_fingerprint; /* those of the session level do not count any more */
};

static bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

static bool span_is_nocase(struct span s, const char *text)
{
	return s.len == strlen(text) && strncasecmp(s.p, text, s.len) == 0;
}

/* The next word of s between blanks; false when there is none. */
static bool next_word(struct span *s, struct span *word)
{
	while (s->len > 0 && *s->p == ' ') {
		s->p++;
		s->len--;
	}
	const char *end = memchr(s->p, ' ', s->len);
	*word = (struct span){.p = s->p, .len = end != NULL ? (size_t)(end - s->p) : s->len};
	s->p += word->len;
	s->len -= word->len;
	return word->len > 0;
}

/* A decimal number; one that does not fit becomes `max`. */
static bool span_number(struct span s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (s.len == 0 || s.len > 32)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		uint64_t digit = (uint64_t)(s.p[i] - '0');
		v = v > (max - digit) / 10 ? max : v * 10 + digit;
	}
	*out = v;
	return true;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Copies s when it has min .. max letters, digits and characters of `extra`. */
static bool copy_token(struct span s, size_t min, size_t max, const char *extra, char *out)
{
	if (s.len < min || s.len > max)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (!is_alnum(s.p[i]) && (s.p[i] == '\0' || strchr(extra, s.p[i]) == NULL))
			return false;
	}
	memcpy(out, s.p, s.len);
	out[s.len] = '\0';
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "sha-256 AA:BB:..." (RFC 8122 5). Other hashes are skipped; the first SHA-256 of a level counts. */
static bool parse_fingerprint(struct parser *p, struct span value)
{
	struct span hash, hex;
	uint8_t bytes[SDP_FINGERPRINT_LEN];

	if (!next_word(&value, &hash) || !next_word(&value, &hex))
		return false;
	if (p->section == SECTION_CHANNEL && !p->media_fingerprint) {
		p->media_fingerprint = true;
		p->sdp.has_fingerprint = false;
	}
	if (!span_is_nocase(hash, "sha-256") || p->sdp.has_fingerprint)
		return true;
	if (hex.len != SDP_FINGERPRINT_LEN * 3 - 1)
		return false;
	for (unsigned i = 0; i < SDP_FINGERPRINT_LEN; i++) {
		int hi = hex_digit(hex.p[i * 3]), lo = hex_digit(hex.p[i * 3 + 1]);

		if (hi < 0 || lo < 0 || (i + 1 < SDP_FINGERPRINT_LEN && hex.p[i * 3 + 2] != ':'))
			return false;
		bytes[i] = (uint8_t)(hi << 4 | lo);
	}
	memcpy(p->sdp.fingerprint, bytes, sizeof(bytes));
	p->sdp.has_fingerprint = true;
	return true;
}

static bool parse_setup(struct parser *p, struct span value)
{
	for (size_t i = 0; i < GV_ARRAY_SIZE(setup_name); i++) {
		if (span_is(value, setup_name[i])) {
			p->sdp.setup = (enum sdp_setup)i;
			return true;
		}
	}
	return false;
}

static void parse_options(struct parser *p, struct span value)
{
	struct span word;

	while (next_word(&value, &word)) {
		if (span_is(word, "trickle"))
			p->sdp.trickle = true;
	}
}

/* `line` is "candidate:...". What cannot be used is counted. */
static void parse_candidate(struct parser *p, struct span line)
{
	struct ice_cand c;

	if (p->sdp.candidate_count == SDP_MAX_CANDIDATES ||
	    ice_cand_parse(line.p, line.len, &c) != ICE_CAND_OK) {
		p->sdp.candidates_skipped++;
		return;
	}
	p->sdp.candidates[p->sdp.candidate_count++] = c;
}

static bool parse_sctp_port(struct parser *p, struct span value)
{
	uint64_t n;

	if (!span_number(value, UINT64_MAX, &n) || n > UINT16_MAX)
		return false;
	p->sdp.sctp_port = (uint16_t)n;
	return true;
}

static bool parse_max_message(struct parser *p, struct span value)
{
	uint64_t n;

	if (!span_number(value, UINT32_MAX, &n))
		return false;
	p->sdp.max_message_size = (uint32_t)n;
	return true;
}

/* The part after "a=", at session level or in the section that is used. False: out of form. */
static bool parse_attribute(struct parser *p, struct span line)
{
	const char *colon = memchr(line.p, ':', line.len);
	size_t name_len = colon != NULL ? (size_t)(colon - line.p) : line.len;
	struct span name = {.p = line.p, .len = name_len};
	struct span value = {.p = line.p + line.len, .len = 0};
	struct sdp *s = &p->sdp;

	if (colon != NULL)
		value = (struct span){.p = colon + 1, .len = line.len - name_len - 1};
	if (span_is(name, "ice-ufrag"))
		return copy_token(value, ICE_UFRAG_MIN, SDP_ICE_TEXT_MAX, "+/", s->ice_ufrag);
	if (span_is(name, "ice-pwd"))
		return copy_token(value, ICE_PWD_MIN, SDP_ICE_TEXT_MAX, "+/", s->ice_pwd);
	if (span_is(name, "tls-id"))
		return copy_token(value, TLS_ID_MIN, SDP_TLS_ID_MAX, "+/-_", s->tls_id);
	if (span_is(name, "mid"))
		return copy_token(value, 1, SDP_MID_MAX, "!#$%&'*+-.^_`{|}~", s->mid);
	if (span_is(name, "fingerprint"))
		return parse_fingerprint(p, value);
	if (span_is(name, "setup"))
		return parse_setup(p, value);
	if (span_is(name, "sctp-port"))
		return parse_sctp_port(p, value);
	if (span_is(name, "max-message-size"))
		return parse_max_message(p, value);
	if (span_is(name, "ice-options"))
		parse_options(p, value);
	else if (span_is(name, "candidate"))
		parse_candidate(p, line);
	else if (span_is(name, "end-of-candidates"))
		s->end_of_candidates = true;
	return true;
}

/* "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"; a port of 0 is a refused section (RFC 3264 6). */
static void parse_media(struct parser *p, struct span value)
{
	struct span media, port, proto, format;
	uint64_t n;

	p->section = SECTION_OTHER;
	if (p->has_channel || !next_word(&value, &media) || !next_word(&value, &port) ||
	    !next_word(&value, &proto) || !next_word(&value, &format))
		return;
	if (!span_is(media, "application") || !span_number(port, UINT16_MAX, &n) || n == 0 ||
	    (!span_is_nocase(proto, "UDP/DTLS/SCTP") && !span_is_nocase(proto, "DTLS/SCTP")) ||
	    !span_is(format, "webrtc-datachannel"))
		return;
	p->section = SECTION_CHANNEL;
	p->has_channel = true;
}

/* "- 4596489990601351948 2 IN IP4 127.0.0.1" */
static bool parse_origin(struct parser *p, struct span value)
{
	struct span user, id, version;

	return next_word(&value, &user) && next_word(&value, &id) && next_word(&value, &version) &&
	       span_number(id, UINT64_MAX, &p->sdp.session_id) &&
	       span_number(version, UINT64_MAX, &p->sdp.session_version);
}

static bool parse_line(struct parser *p, struct span line)
{
	if (line.len < 2 || line.p[1] != '=')
		return false;
	struct span value = {.p = line.p + 2, .len = line.len - 2};
	if (!p->has_version) {
		p->has_version = true;
		return line.p[0] == 'v' && span_is(value, "0");
	}
	switch (line.p[0]) {
	case 'o':
		return parse_origin(p, value);
	case 'm':
		parse_media(p, value);
		return true;
	case 'a':
		return p->section == SECTION_OTHER || parse_attribute(p, value);
	default:
		return true;
	}
}

static int judge(const struct parser *p)
{
	if (!p->has_version)
		return SDP_MALFORMED;
	/* RFC 8841 5.2: port 0 is a closed association. */
	if (!p->has_channel || p->sdp.sctp_port == 0)
		return SDP_NO_CHANNEL;
	if (p->sdp.ice_ufrag[0] == '\0' || p->sdp.ice_pwd[0] == '\0' || !p->sdp.has_fingerprint)
		return SDP_INCOMPLETE;
	return SDP_OK;
}

int sdp_parse(const char *text, size_t len, struct sdp *out)
{
	struct parser p = {.section = SECTION_SESSION};
	const char *end = text + len;

	if (len > SDP_MAX_SIZE)
		return SDP_TOO_LONG;
	p.sdp.sctp_port = DEFAULT_SCTP_PORT;
	p.sdp.max_message_size = DEFAULT_MAX_MESSAGE;
	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *stop = newline != NULL ? newline : end;
		struct span line = {.p = text, .len = (size_t)(stop - text)};

		text = newline != NULL ? newline + 1 : end;
		if (line.len > 0 && line.p[line.len - 1] == '\r')
			line.len--;
		if (line.len > 0 && !parse_line(&p, line))
			return SDP_MALFORMED;
	}
	int r = judge(&p);
	if (r == SDP_OK)
		*out = p.sdp;
	return r;
}
