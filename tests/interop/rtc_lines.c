/* SPDX-License-Identifier: MIT */

#include "rtc_lines.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_SIZE 65536

static struct {
	char in[LINE_SIZE];
	size_t len;
	bool described, ended;
	unsigned printed; /* candidates */
} lines;

void rtc_die(const char *why)
{
	fprintf(stderr, "rtc_echo: %s\n", why);
	exit(1);
}

static void print(json_t *o_moved)
{
	if (o_moved == NULL || json_dumpf(o_moved, stdout, JSON_COMPACT) != 0)
		rtc_die("a line was not printed");
	json_decref(o_moved);
	(void)putchar('\n');
	(void)fflush(stdout);
}

static void print_description(struct rtc_peer *p)
{
	static char text[SDP_FORMAT_SIZE];
	struct sdp own;

	rtc_describe(p, &own);
	if (sdp_format(&own, text, sizeof(text)) == 0)
		rtc_die("sdp_format");
	print(json_pack("{s:s,s:s}", "type", p->config.offerer ? "offer" : "answer", "sdp", text));
	lines.described = true;
}

static void print_candidates(struct rtc_peer *p)
{
	char text[ICE_CAND_TEXT_SIZE];

	for (; lines.printed < p->candidate_count; lines.printed++) {
		ice_cand_format(&p->candidates[lines.printed], text);
		print(json_pack("{s:s,s:s,s:i}", "candidate", text, "sdpMid", "0", "sdpMLineIndex",
		                0));
	}
	if (!p->gathered || lines.ended)
		return;
	print(json_pack("{s:s,s:s,s:i}", "candidate", "", "sdpMid", "0", "sdpMLineIndex", 0));
	lines.ended = true;
}

static void take_description(struct rtc_peer *p, const char *text)
{
	struct sdp remote;
	int r = sdp_parse(text, strlen(text), &remote);

	if (r != SDP_OK) {
		fprintf(stderr, "rtc_echo: sdp_parse: %d\n%s\n", r, text);
		exit(1);
	}
	if (rtc_set_remote(p, &remote) < 0)
		rtc_die("description refused");
}

static void take_candidate(struct rtc_peer *p, const char *text)
{
	struct ice_cand c;

	if (p->remote_us == 0)
		rtc_die("a candidate before the description");
	if (*text == '\0') {
		rtc_add_remote(p, NULL);
		return;
	}
	int r = ice_cand_parse(text, strlen(text), &c);
	if (r == ICE_CAND_OK)
		rtc_add_remote(p, &c);
	else if (r == ICE_CAND_MALFORMED)
		rtc_die(text);
}

static void take_line(struct rtc_peer *p, const char *line, size_t len)
{
	json_t *o = json_loadb(line, len, 0, NULL);
	const char *sdp = json_string_value(json_object_get(o, "sdp"));
	const char *candidate = json_string_value(json_object_get(o, "candidate"));

	if (sdp != NULL)
		take_description(p, sdp);
	else if (candidate != NULL)
		take_candidate(p, candidate);
	else
		rtc_die("a line that is neither description nor candidate");
	json_decref(o);
}

static void read_lines(struct rtc_peer *p)
{
	ssize_t n = read(p->config.signal_fd, lines.in + lines.len, sizeof(lines.in) - lines.len);

	if (n <= 0) {
		if (n == 0 || errno != EINTR)
			p->config.signal_fd = -1;
		return;
	}
	lines.len += (size_t)n;
	char *from = lines.in, *end;
	while ((end = memchr(from, '\n', lines.len - (size_t)(from - lines.in))) != NULL) {
		take_line(p, from, (size_t)(end - from));
		from = end + 1;
	}
	lines.len -= (size_t)(from - lines.in);
	memmove(lines.in, from, lines.len);
	if (lines.len == sizeof(lines.in))
		rtc_die("a line is too long");
}

void rtc_lines_signal(struct rtc_peer *p, bool readable)
{
	if (readable)
		read_lines(p);
	if (!lines.described && (p->config.offerer || p->remote_us != 0) &&
	    (p->config.trickle || p->gathered))
		print_description(p);
	if (lines.described && p->config.trickle)
		print_candidates(p);
}

void rtc_lines_paced(void)
{
	print(json_pack("{s:i}", "paced", 1));
}
