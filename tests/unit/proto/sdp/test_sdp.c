/* SPDX-License-Identifier: MIT */

#include "proto/sdp/sdp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FP                                                 \
	"0F:1E:2D:3C:4B:5A:69:78:87:96:A5:B4:C3:D2:E1:F0:" \
	"00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"

/* Offers in the form that each of these writes. */
static const char chromium[] =
	"v=0\r\n"
	"o=- 4611731400430051336 2 IN IP4 127.0.0.1\r\n"
	"s=-\r\n"
	"t=0 0\r\n"
	"a=group:BUNDLE 0\r\n"
	"a=extmap-allow-mixed\r\n"
	"a=msid-semantic: WMS\r\n"
	"m=application 46154 UDP/DTLS/SCTP webrtc-datachannel\r\n"
	"c=IN IP4 203.0.113.9\r\n"
	"a=candidate:3988596127 1 udp 2122260223 192.168.1.7 54400 typ host generation 0 network-id 1 "
	"network-cost 10\r\n"
	"a=candidate:842163049 1 udp 1686052607 203.0.113.9 46154 typ srflx raddr 192.168.1.7 rport 54400 "
	"generation 0 network-id 1\r\n"
	"a=candidate:5 1 udp 2122194687 5a1b7a2c-0d3c-4b6e-9a0f-1d2e3f405162.local 55000 typ host\r\n"
	"a=candidate:447 1 tcp 1518280447 192.168.1.7 9 typ host tcptype active generation 0\r\n"
	"a=ice-ufrag:Xy9Z\r\n"
	"a=ice-pwd:q0m3Z+h6nXb4Yf1Lc8dT/2Kw\r\n"
	"a=ice-options:trickle\r\n"
	"a=fingerprint:sha-256 " FP "\r\n"
	"a=setup:actpass\r\n"
	"a=mid:0\r\n"
	"a=sctp-port:5000\r\n"
	"a=max-message-size:262144\r\n";

static const char firefox[] =
	"v=0\r\n"
	"o=mozilla...THIS_IS_SDPARTA-99.0 6789012345678901234 0 IN IP4 0.0.0.0\r\n"
	"s=-\r\n"
	"t=0 0\r\n"
	"a=fingerprint:sha-256 " FP "\r\n"
	"a=group:BUNDLE 0\r\n"
	"a=ice-options:trickle\r\n"
	"a=msid-semantic:WMS *\r\n"
	"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
	"c=IN IP4 0.0.0.0\r\n"
	"a=sendrecv\r\n"
	"a=ice-pwd:1f2e3d4c5b6a79887766554433221100\r\n"
	"a=ice-ufrag:9a8b7c6d\r\n"
	"a=mid:0\r\n"
	"a=setup:actpass\r\n"
	"a=sctp-port:5000\r\n"
	"a=max-message-size:1073741823\r\n"
	"a=candidate:0 1 UDP 2122252543 10.0.0.4 58123 typ host\r\n"
	"a=candidate:1 1 TCP 2105524479 10.0.0.4 9 typ host tcptype active\r\n"
	"a=end-of-candidates\r\n";

static const char pion[] =
	"v=0\r\n"
	"o=- 3351423018711394203 1696268413 IN IP4 0.0.0.0\r\n"
	"s=-\r\n"
	"t=0 0\r\n"
	"a=msid-semantic:WMS*\r\n"
	"a=fingerprint:sha-256 " FP "\r\n"
	"a=extmap-allow-mixed\r\n"
	"a=group:BUNDLE 0\r\n"
	"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
	"c=IN IP4 0.0.0.0\r\n"
	"a=setup:actpass\r\n"
	"a=mid:0\r\n"
	"a=sendrecv\r\n"
	"a=sctp-port:5000\r\n"
	"a=max-message-size:1073741823\r\n"
	"a=ice-ufrag:kTXdPwaUJLJyTsDT\r\n"
	"a=ice-pwd:hgfedcbaABCDEFGHhgfedcbaABCDEFGH\r\n"
	"a=candidate:4057119361 1 udp 2130706431 10.0.0.5 40123 typ host ufrag kTXdPwaUJLJyTsDT\r\n"
	"a=candidate:4057119361 2 udp 2130706431 10.0.0.5 40123 typ host ufrag kTXdPwaUJLJyTsDT\r\n"
	"a=candidate:233762139 1 udp 1694498815 203.0.113.5 40777 typ srflx raddr 0.0.0.0 rport 40777\r\n"
	"a=end-of-candidates\r\n";

static const char gstreamer[] = "v=0\r\n"
				"o=- 1234567890123 0 IN IP4 0.0.0.0\r\n"
				"s=-\r\n"
				"t=0 0\r\n"
				"a=ice-options:trickle\r\n"
				"a=group:BUNDLE application0\r\n"
				"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
				"c=IN IP4 0.0.0.0\r\n"
				"a=setup:actpass\r\n"
				"a=ice-ufrag:h2Q+8gIuZk/S1xPDLkWZ6nMd2gPHuT9b\r\n"
				"a=ice-pwd:rmgeGEfKvzzbhXVqIZ3ZLyYYvKDm4M8q\r\n"
				"a=bundle-only\r\n"
				"a=mid:application0\r\n"
				"a=sctp-port:5000\r\n"
				"a=fingerprint:sha-256 " FP "\r\n";

static int parse(const char *text, struct sdp *s)
{
	size_t n = strlen(text);
	char *exact = malloc(n > 0 ? n : 1);

	assert_non_null(exact);
	memcpy(exact, text, n);
	int r = sdp_parse(exact, n, s);
	free(exact);
	return r;
}

static void check_fingerprint(const struct sdp *s)
{
	assert_true(s->has_fingerprint);
	assert_int_equal(s->fingerprint[0], 0x0f);
	assert_int_equal(s->fingerprint[15], 0xf0);
	assert_int_equal(s->fingerprint[31], 0xff);
}

static void parse_chromium_offer_gives_its_parts(void **state)
{
	struct sdp s;

	(void)state;
	assert_int_equal(parse(chromium, &s), SDP_OK);
	assert_string_equal(s.ice_ufrag, "Xy9Z");
	assert_string_equal(s.ice_pwd, "q0m3Z+h6nXb4Yf1Lc8dT/2Kw");
	assert_true(s.trickle);
	check_fingerprint(&s);
	assert_int_equal(s.setup, SDP_SETUP_ACTPASS);
	assert_string_equal(s.mid, "0");
	assert_int_equal(s.sctp_port, 5000);
	assert_int_equal(s.max_message_size, 262144);
	assert_true(s.session_id == 4611731400430051336u);
	assert_int_equal(s.session_version, 2);
	assert_int_equal(s.candidate_count, 2);
	assert_int_equal(s.candidates[1].type, ICE_CAND_SRFLX);
	assert_int_equal(s.candidates[1].base.port, 54400);
	assert_int_equal(s.candidates_skipped, 2);
	assert_false(s.end_of_candidates);
}

static void parse_firefox_offer_takes_session_level(void **state)
{
	struct sdp s;

	(void)state;
	assert_int_equal(parse(firefox, &s), SDP_OK);
	check_fingerprint(&s);
	assert_true(s.trickle && s.end_of_candidates);
	assert_int_equal(s.max_message_size, 1073741823);
	assert_int_equal(s.candidate_count, 1);
	assert_int_equal(s.candidates_skipped, 1);
}

static void parse_pion_offer_skips_second_component(void **state)
{
	struct sdp s;

	(void)state;
	assert_int_equal(parse(pion, &s), SDP_OK);
	check_fingerprint(&s);
	assert_string_equal(s.ice_ufrag, "kTXdPwaUJLJyTsDT");
	assert_int_equal(s.candidate_count, 2);
	assert_int_equal(s.candidates_skipped, 1);
	assert_true(netaddr_is_any(&s.candidates[1].base));
}

static void parse_gstreamer_offer_uses_defaults(void **state)
{
	struct sdp s;

	(void)state;
	assert_int_equal(parse(gstreamer, &s), SDP_OK);
	check_fingerprint(&s);
	assert_string_equal(s.mid, "application0");
	assert_int_equal(s.max_message_size, 65536);
	assert_int_equal(s.candidate_count, 0);
}

/* Each line that is needed, taken out or spoiled. */
static void parse_spoiled_offer_says_what_is_wrong(void **state)
{
	static const struct {
		const char *old, *new;
		int result;
	} row[] = {
		{"v=0\r\n", "", SDP_MALFORMED},
		{"v=0\r\n", "v=1\r\n", SDP_MALFORMED},
		{"s=-\r\n", "nonsense\r\n", SDP_MALFORMED},
		{"o=- 4611731400430051336", "o=- x", SDP_MALFORMED},
		{"m=application 46154", "m=application 0", SDP_NO_CHANNEL},
		{"m=application", "m=audio", SDP_NO_CHANNEL},
		{"UDP/DTLS/SCTP", "RTP/AVP", SDP_NO_CHANNEL},
		{"webrtc-datachannel", "5000", SDP_NO_CHANNEL},
		{"a=sctp-port:5000", "a=sctp-port:0", SDP_NO_CHANNEL},
		{"s=-\r\n", "s=-\r\na=sctp-port:0\r\n", SDP_OK},
		{"a=sctp-port:5000", "a=sctp-port:65536", SDP_MALFORMED},
		{"a=sctp-port:5000", "a=sctp-port:", SDP_MALFORMED},
		{"a=max-message-size:262144", "a=max-message-size:-1", SDP_MALFORMED},
		{"a=ice-ufrag:Xy9Z\r\n", "", SDP_INCOMPLETE},
		{"a=ice-ufrag:Xy9Z", "a=ice-ufrag:Xy9", SDP_MALFORMED},
		{"a=ice-ufrag:Xy9Z", "a=ice-ufrag:Xy 9Z", SDP_MALFORMED},
		{"a=ice-pwd:q0m3Z", "a=nothing:q0m3Z", SDP_INCOMPLETE},
		{"a=ice-pwd:q0m3Z+h6nXb4Yf1Lc8dT/2Kw", "a=ice-pwd:short", SDP_MALFORMED},
		{"a=fingerprint:sha-256", "a=fingerprint:sha-512", SDP_INCOMPLETE},
		{"0F:1E", "0F-1E", SDP_MALFORMED},
		{"0F:1E:", "", SDP_MALFORMED},
		{"0F:1E", "0G:1E", SDP_MALFORMED},
		{"a=setup:actpass", "a=setup:holdconn", SDP_MALFORMED},
		{"a=mid:0", "a=mid:0 1", SDP_MALFORMED},
		{"a=mid:0", "a=mid:", SDP_MALFORMED},
		{"a=mid:0", "a=mid:0\r\na=tls-id:short", SDP_MALFORMED},
		{"a=mid:0", "a=mid:0\r\na=candidate:nonsense", SDP_OK},
		{"a=mid:0", "a=mid:0\r\na=unknown:x y z", SDP_OK},
		{"a=mid:0", "a=mid:0\r\na=fingerprint:sha-1 00:11", SDP_OK},
		{"a=max-message-size:262144", "a=max-message-size:99999999999999999999", SDP_OK},
	};

	char text[4096];
	struct sdp s;

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(row); i++) {
		const char *at = strstr(chromium, row[i].old);

		assert_non_null(at);
		(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - chromium), chromium,
		               row[i].new, at + strlen(row[i].old));
		if (parse(text, &s) != row[i].result)
			fail_msg("%s -> %s: %d", row[i].old, row[i].new, parse(text, &s));
	}
}

static void parse_second_section_is_ignored(void **state)
{
	char text[8192];
	struct sdp s;

	(void)state;
	(void)snprintf(text, sizeof(text),
	               "%sm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:other\r\na=mid:1\r\n",
	               chromium);
	assert_int_equal(parse(text, &s), SDP_OK);
	assert_string_equal(s.ice_ufrag, "Xy9Z");
	assert_string_equal(s.mid, "0");
}

static void parse_media_fingerprint_wins(void **state)
{
	char text[8192];
	struct sdp s;

	(void)state;
	/* At session level there is another one. */
	const char *at = strstr(chromium, "a=group");
	(void)snprintf(text, sizeof(text), "%.*sa=fingerprint:sha-256 00%s\r\n%s",
	               (int)(at - chromium), chromium, &FP[2], at);
	assert_int_equal(parse(text, &s), SDP_OK);
	check_fingerprint(&s);
}

static void parse_line_feeds_only_is_accepted(void **state)
{
	char text[4096];
	size_t n = 0;
	struct sdp s;

	(void)state;
	for (const char *p = chromium; *p != '\0'; p++) {
		if (*p != '\r')
			text[n++] = *p;
	}
	text[n] = '\0';
	assert_int_equal(parse(text, &s), SDP_OK);
}

static void parse_too_long_is_refused(void **state)
{
	static char text[SDP_MAX_SIZE + 2];
	struct sdp s;

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_int_equal(sdp_parse(text, SDP_MAX_SIZE + 1, &s), SDP_TOO_LONG);
	assert_int_equal(sdp_parse(text, 0, &s), SDP_MALFORMED);
}

static void parse_many_candidates_fill_the_table_and_are_counted(void **state)
{
	static char text[SDP_MAX_SIZE];
	struct sdp s;

	(void)state;
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", gstreamer);
	for (unsigned i = 0; i < 100; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
		                      "a=candidate:1 1 udp 1000 10.0.0.%u 4000 typ host\r\n", i);
	assert_int_equal(parse(text, &s), SDP_OK);
	assert_int_equal(s.candidate_count, SDP_MAX_CANDIDATES);
	assert_int_equal(s.candidates_skipped, 100 - SDP_MAX_CANDIDATES);
}

static void format_description_reads_the_same(void **state)
{
	static struct sdp s, again;
	static char text[SDP_FORMAT_SIZE];
	struct netaddr a = netaddr_ip4(0xc0a80102, 4000), b = netaddr_ip4(0xcb007101, 5000);

	(void)state;
	strcpy(s.ice_ufrag, "abcdefgh");
	strcpy(s.ice_pwd, "abcdefghabcdefghabcdefghabcdefgh");
	s.trickle = true;
	s.has_fingerprint = true;
	memset(s.fingerprint, 0xa5, sizeof(s.fingerprint));
	s.setup = SDP_SETUP_PASSIVE;
	strcpy(s.mid, "0");
	strcpy(s.tls_id, "0123456789abcdef0123");
	s.sctp_port = 5000;
	s.max_message_size = 262144;
	s.session_id = 12345;
	s.session_version = 7;
	s.candidates[0] = ice_cand_local(ICE_CAND_HOST, &a, &a, 65535);
	s.candidates[1] = ice_cand_local(ICE_CAND_SRFLX, &b, &a, 65535);
	s.candidate_count = 2;
	s.end_of_candidates = true;
	size_t n = sdp_format(&s, text, sizeof(text));
	assert_true(n > 0 && n == strlen(text));
	assert_int_equal(sdp_parse(text, n, &again), SDP_OK);
	assert_string_equal(again.tls_id, s.tls_id);
	assert_int_equal(again.setup, SDP_SETUP_PASSIVE);
	assert_memory_equal(again.fingerprint, s.fingerprint, sizeof(s.fingerprint));
	assert_int_equal(again.candidate_count, 2);
	assert_true(netaddr_equal(&again.candidates[1].base, &a));
	assert_string_equal(again.candidates[1].foundation, s.candidates[1].foundation);
	for (size_t size = 0; size <= n; size++)
		assert_int_equal(sdp_format(&s, text, size), 0);
}

static void format_largest_description_fits(void **state)
{
	static struct sdp s;
	static char text[SDP_FORMAT_SIZE];
	struct netaddr a;

	(void)state;
	assert_true(netaddr_parse("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535", &a));
	memset(s.ice_ufrag, 'a', SDP_ICE_TEXT_MAX);
	memset(s.ice_pwd, 'a', SDP_ICE_TEXT_MAX);
	memset(s.tls_id, 'a', SDP_TLS_ID_MAX);
	memset(s.mid, 'a', SDP_MID_MAX);
	s.trickle = true;
	s.has_fingerprint = true;
	s.end_of_candidates = true;
	s.max_message_size = UINT32_MAX;
	s.session_id = UINT64_MAX;
	s.session_version = UINT64_MAX;
	s.candidate_count = SDP_MAX_CANDIDATES;
	for (unsigned i = 0; i < SDP_MAX_CANDIDATES; i++) {
		s.candidates[i] = ice_cand_local(ICE_CAND_SRFLX, &a, &a, 65535);
		memset(s.candidates[i].foundation, 'f', ICE_FOUNDATION_MAX);
	}
	assert_true(sdp_format(&s, text, sizeof(text)) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_chromium_offer_gives_its_parts),
		cmocka_unit_test(parse_firefox_offer_takes_session_level),
		cmocka_unit_test(parse_pion_offer_skips_second_component),
		cmocka_unit_test(parse_gstreamer_offer_uses_defaults),
		cmocka_unit_test(parse_spoiled_offer_says_what_is_wrong),
		cmocka_unit_test(parse_second_section_is_ignored),
		cmocka_unit_test(parse_media_fingerprint_wins),
		cmocka_unit_test(parse_line_feeds_only_is_accepted),
		cmocka_unit_test(parse_too_long_is_refused),
		cmocka_unit_test(parse_many_candidates_fill_the_table_and_are_counted),
		cmocka_unit_test(format_description_reads_the_same),
		cmocka_unit_test(format_largest_description_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
