/* SPDX-License-Identifier: MIT */

#include "base/diag.h"
#include "proto/sig/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ID   "aebagbafaydqqcikbmga2dqpcaireeyu"
#define SEED "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define PIN  "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA"

static void link_server_parse_good_urls_give_parts_and_canonical_text(void **state)
{
	static const struct {
		const char *text, *host, *url, *host_port;
	} rows[] = {
		{"https://vpn.example.org", "vpn.example.org", "https://vpn.example.org",
	         "vpn.example.org:443"},
		{"HTTPS://VPN.Example.org:443/", "vpn.example.org", "https://vpn.example.org",
	         "vpn.example.org:443"},
		{"https://a:8443", "a", "https://a:8443", "a:8443"},
		{"http://127.0.0.1", "127.0.0.1", "http://127.0.0.1", "127.0.0.1:80"},
		{"http://localhost:65535", "localhost", "http://localhost:65535",
	         "localhost:65535"},
		{"https://[2001:DB8:0::1]", "2001:db8::1", "https://[2001:db8::1]",
	         "[2001:db8::1]:443"},
		{"https://[::1]:80/", "::1", "https://[::1]:80", "[::1]:80"},
		{"https://xn--bcher-kva.example", "xn--bcher-kva.example",
	         "https://xn--bcher-kva.example", "xn--bcher-kva.example:443"},
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		struct link_server s, again;
		char url[LINK_URL_SIZE], host_port[LINK_HOST_PORT_SIZE];

		assert_int_equal(link_server_parse(rows[i].text, &s, NULL), LINK_OK);
		assert_string_equal(s.host, rows[i].host);
		assert_string_equal(link_server_url(&s, url), rows[i].url);
		assert_string_equal(link_server_host_port(&s, host_port), rows[i].host_port);
		assert_int_equal(link_server_parse(url, &again, NULL), LINK_OK);
		assert_true(link_server_equal(&s, &again));
	}
}

static void link_server_parse_bad_urls_say_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"", "https://"},
		{"vpn.example.org", "https://"},
		{"ftp://a", "https://"},
		{"https://", "name is missing"},
		{"https://:80", "name is missing"},
		{"https://user@host", "user name"},
		{"https://a:0", "port must be"},
		{"https://a:", "port must be"},
		{"https://a:65536", "port must be"},
		{"https://a:080", "port must be"},
		{"https://a:999999999999999999999", "port must be"},
		{"https://a:8x", "not a number"},
		{"https://a/path", "Nothing may follow"},
		{"https://a?x", "Nothing may follow"},
		{"https://a b", "host name"},
		{"https://-a", "host name"},
		{"https://a-", "host name"},
		{"https://a..b", "host name"},
		{"https://.a", "host name"},
		{"https://b\xc3\xbc"
	         "cher.example",
	         "host name"},
		{"https://1.2.3", "IPv4"},
		{"https://256.1.1.1", "IPv4"},
		{"https://[::1", "]"},
		{"https://[1.2.3.4]", "IPv6"},
		{"https://[fe80::1%eth0]", "IPv6"},
		{"https://[::1]x", "between"},
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		struct link_server s;
		struct diag diag = {0};

		assert_int_equal(link_server_parse(rows[i].text, &s, &diag), LINK_BAD);
		if (strstr(diag.text, rows[i].why) == NULL)
			fail_msg("%s: %s", rows[i].text, diag.text);
	}
}

static void link_server_parse_overlong_name_is_bad(void **state)
{
	struct link_server s;
	char text[LINK_TEXT_SIZE + 100] = "https://";

	(void)state;
	for (size_t i = 8; i < 8 + LINK_HOST_MAX; i++)
		text[i] = i % 50 == 49 ? '.' : 'a';
	assert_int_equal(link_server_parse(text, &s, NULL), LINK_OK);
	char url[LINK_URL_SIZE], host_port[LINK_HOST_PORT_SIZE];
	s.port = 65535;
	assert_int_equal(strlen(link_server_url(&s, url)), 8 + LINK_HOST_MAX + 6);
	assert_int_equal(strlen(link_server_host_port(&s, host_port)), LINK_HOST_MAX + 6);
	text[8 + LINK_HOST_MAX] = 'a';
	assert_int_equal(link_server_parse(text, &s, NULL), LINK_BAD);
	memset(text + 8, 'a', sizeof(text) - 9);
	assert_int_equal(link_server_parse(text, &s, NULL), LINK_BAD);
}

static void link_parse_good_links_round_trip(void **state)
{
	static const char *const links[] = {
		"https://vpn.example.org/j/" ID "#1." SEED,
		"https://vpn.example.org:8443/j/" ID "#1." SEED "." PIN,
		"http://[::1]:8080/j/" ID "#1." SEED "." PIN,
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(links); i++) {
		struct link_invite link;
		char text[LINK_TEXT_SIZE];

		assert_int_equal(link_parse(links[i], &link, NULL), LINK_OK);
		assert_string_equal(link_format(&link, text), links[i]);
		assert_int_equal(link.seed[31], 31);
		assert_int_equal(link.network_id[0], 1);
		assert_int_equal(link.has_pin, strstr(links[i], PIN) != NULL);
	}
}

static void link_parse_white_space_around_is_ignored(void **state)
{
	struct link_invite link;

	(void)state;
	assert_int_equal(link_parse(" \t\nhttps://a/j/" ID "#1." SEED "\r\n", &link, NULL),
	                 LINK_OK);
	assert_string_equal(link.server.host, "a");
}

static void link_parse_mangled_links_say_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"", "empty"},
		{"   ", "empty"},
		{"hello", "https://"},
		{"https://a", "not an invite link"},
		{"https://a/", "not an invite link"},
		{"https://a/k/" ID "#1." SEED, "not an invite link"},
		{"https://a/j/" ID, "after # is missing"},
		{"https://a/j/short#1." SEED, "32 letters"},
		{"https://a/j/" ID "a#1." SEED, "32 letters"},
		{"https://a/j/aebagbafaydqqcikbmga2dqpcaireey!#1." SEED, "damaged"},
		{"https://a/j/" ID "#", "damaged"},
		{"https://a/j/" ID "#1", "damaged"},
		{"https://a/j/" ID "#x." SEED, "damaged"},
		{"https://a/j/" ID "#2." SEED, "newer version"},
		{"https://a/j/" ID "#1.", "end of the link is missing"},
		{"https://a/j/" ID "#1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh",
	         "end of the link is missing"},
		{"https://a/j/" ID "#1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9", "damaged"},
		{"https://a/j/" ID "#1.AAECAwQFBgc CQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "damaged"},
		{"https://a/j/" ID "#1." SEED ">", "behind the end"},
		{"https://a/j/" ID "#1." SEED ".", "end of the link is missing"},
		{"https://a/j/" ID "#1." SEED "." PIN "x", "behind the end"},
		{"https://a/j/" ID "#1." SEED ".Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQB",
	         "damaged"},
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		struct link_invite link;
		struct diag diag = {0};

		assert_int_equal(link_parse(rows[i].text, &link, &diag), LINK_BAD);
		if (strstr(diag.text, rows[i].why) == NULL)
			fail_msg("%s: %s", rows[i].text, diag.text);
		assert_null(strstr(diag.text, "AAECAwQ")); /* no secret in a message */
	}
}

static void link_parse_cut_at_every_byte_is_bad(void **state)
{
	static const char text[] = "https://vpn.example.org:8443/j/" ID "#1." SEED "." PIN;
	size_t whole_without_pin = strlen(text) - strlen("." PIN);

	(void)state;
	for (size_t n = 0; n < strlen(text); n++) {
		struct link_invite link;
		char cut[LINK_TEXT_SIZE];

		(void)snprintf(cut, sizeof(cut), "%.*s", (int)n, text);
		assert_int_equal(link_parse(cut, &link, NULL),
		                 n == whole_without_pin ? LINK_OK : LINK_BAD);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_server_parse_good_urls_give_parts_and_canonical_text),
		cmocka_unit_test(link_server_parse_bad_urls_say_what_is_wrong),
		cmocka_unit_test(link_server_parse_overlong_name_is_bad),
		cmocka_unit_test(link_parse_good_links_round_trip),
		cmocka_unit_test(link_parse_white_space_around_is_ignored),
		cmocka_unit_test(link_parse_mangled_links_say_what_is_wrong),
		cmocka_unit_test(link_parse_cut_at_every_byte_is_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
