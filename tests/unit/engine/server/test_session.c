/* SPDX-License-Identifier: MIT */

/* Login, limits of one connection, shutdown: the hub without networks. */

#include "hub_rig.h"

#include "proto/sig/proof.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void refused_login(struct rig *r, struct rig_computer *c, const char *host)
{
	rig_computer(r, c, 1);
	rig_connect(c);
	assert_int_equal(rig_authenticate(c, host), MSG_ERROR);
	assert_int_equal(c->m.error.code, MSG_ERROR_BAD_LOGIN);
	assert_true(rig_is_closing(c));
}

static void session_new_connection_gets_challenge(void **state)
{
	struct rig r;
	struct rig_computer a, b;

	(void)state;
	rig_open(&r);
	rig_computer(&r, &a, 1);
	rig_computer(&r, &b, 2);
	rig_connect(&a);
	assert_int_equal(a.m.challenge.version_lo, MSG_VERSION_LO);
	assert_int_equal(a.m.challenge.unix_s, RIG_START_S);
	rig_connect(&b);
	assert_memory_not_equal(a.nonce, b.nonce, sizeof(a.nonce));
	rig_computer_free(&a);
	rig_computer_free(&b);
	rig_close(&r);
}

static void session_good_login_gets_stun_servers(void **state)
{
	struct rig r;
	struct rig_computer a;

	(void)state;
	rig_open(&r);
	rig_login(&r, &a, 1);
	assert_int_equal(a.m.authenticated.version, MSG_VERSION_HI);
	assert_int_equal(a.m.authenticated.n_ice_servers, 2);
	/* The socket at any address is reached under the name that was dialled. */
	assert_string_equal(a.m.authenticated.ice_servers[0].urls, "stun:vpn.example.org:3478");
	assert_string_equal(a.m.authenticated.ice_servers[1].urls, "stun:203.0.113.7:3479");
	rig_computer_free(&a);
	rig_close(&r);
}

static void session_login_at_arrival_address_is_accepted(void **state)
{
	struct rig r;
	struct rig_computer a;

	(void)state;
	rig_open(&r);
	rig_computer(&r, &a, 1);
	rig_connect(&a);
	assert_int_equal(rig_authenticate(&a, RIG_SERVER), MSG_AUTHENTICATED);
	assert_string_equal(a.m.authenticated.ice_servers[0].urls, "stun:198.51.100.1:3478");
	rig_computer_free(&a);
	rig_close(&r);
}

static void session_login_for_other_host_is_refused(void **state)
{
	struct rig r;
	struct rig_computer a;

	(void)state;
	rig_open(&r);
	refused_login(&r, &a, "evil.example.org:443");
	rig_computer_free(&a);
	refused_login(&r, &a, "localhost:8443"); /* only on loopback */
	rig_computer_free(&a);
	rig_close(&r);
}

static void session_login_with_old_nonce_is_refused(void **state)
{
	struct rig r;
	struct rig_computer a;

	(void)state;
	rig_open(&r);
	rig_computer(&r, &a, 1);
	rig_connect(&a);
	a.nonce[0] ^= 1;
	assert_int_equal(rig_authenticate(&a, RIG_HOST), MSG_ERROR);
	assert_int_equal(a.m.error.code, MSG_ERROR_BAD_LOGIN);
	assert_true(rig_is_closing(&a));
	/* One try for each connection: whatever comes now is not even read. */
	a.nonce[0] ^= 1;
	rig_send_text(&a, "{}");
	assert_int_equal(rig_receive(&a), MSG_NONE);
	rig_computer_free(&a);
	rig_close(&r);
}

/* A good login, as somebody on the way recorded it, sent again on other connections: with the nonces of those it is worthless. */
static void session_recorded_login_is_never_good_again(void **state)
{
	const char *text = getenv("GOVPN_LONG");
	unsigned times = text != NULL && text[0] == '1' ? 10000 : 300;
	struct rig r;
	struct rig_computer a, thief;
	struct proof_login proof = {.host = RIG_HOST};
	struct msg m = {.type = MSG_AUTHENTICATE,
	                .authenticate = {.host = RIG_HOST, .version_lo = 1, .version_hi = 1}};

	(void)state;
	rig_open(&r);
	rig_computer(&r, &a, 1);
	rig_connect(&a);
	memcpy(proof.key, a.key, sizeof(proof.key));
	memcpy(proof.nonce, a.nonce, sizeof(proof.nonce));
	proof.session = m.authenticate.session = a.session;
	assert_int_equal(proof_login_sign(&proof, a.id), 0);
	memcpy(m.authenticate.key, a.key, sizeof(a.key));
	memcpy(m.authenticate.signature, proof.sig, sizeof(proof.sig));
	assert_int_equal(rig_request(&a, &m), MSG_AUTHENTICATED);
	rig_computer(&r, &thief, 2);
	for (unsigned i = 0; i < times; i++) {
		thief.remote = netaddr_ip4(0xc6120000 + i, 1);
		rig_connect(&thief);
		rig_refused(&thief, &m, MSG_ERROR_BAD_LOGIN);
		rig_disconnect(&thief);
	}
	assert_false(rig_is_closing(&a)); /* nor did it throw out the true one */
	rig_computer_free(&thief);
	rig_computer_free(&a);
	rig_close(&r);
}

static void session_login_of_other_version_is_refused(void **state)
{
	struct rig r;
	struct rig_computer a;
	struct msg m = {.type = MSG_AUTHENTICATE,
	                .authenticate = {.host = RIG_HOST,
	                                 .session = 1,
	                                 .version_lo = MSG_VERSION_HI + 1,
	                                 .version_hi = MSG_VERSION_HI + 2}};

	(void)state;
	rig_open(&r);
	rig_computer(&r, &a, 1);
	rig_connect(&a);
	rig_refused(&a, &m, MSG_ERROR_UNSUPPORTED_VERSION);
	assert_true(rig_is_closing(&a));
	rig_computer_free(&a);
	rig_close(&r);
}

static void session_second_login_supersedes_first(void **state)
{
	struct rig r;
	struct rig_computer a, again;

	(void)state;
	rig_open(&r);
	rig_login(&r, &a, 1);
	rig_login(&r, &again, 1);
	rig_expect(&a, MSG_ERROR);
	assert_int_equal(a.m.error.code, MSG_ERROR_SUPERSEDED);
	assert_true(rig_is_closing(&a));
	assert_false(rig_is_closing(&again));
	rig_disconnect(&a);
	/* The end of the old one does not touch the new one. */
	struct msg ping = {.type = MSG_PING};
	assert_int_equal(rig_request(&again, &ping), MSG_PONG);
	rig_computer_free(&a);
	rig_computer_free(&again);
	rig_close(&r);
}

static void session_without_login_is_closed_after_10_s(void **state)
{
	struct rig r;
	struct rig_computer a, b;

	(void)state;
	rig_open(&r);
	rig_computer(&r, &a, 1);
	rig_connect(&a);
	rig_login(&r, &b, 2);
	rig_advance(&r, 9);
	assert_false(rig_is_closing(&a));
	rig_advance(&r, 1);
	assert_true(rig_is_closing(&a));
	assert_false(rig_is_closing(&b));
	rig_computer_free(&a);
	rig_computer_free(&b);
	rig_close(&r);
}

/* What /metrics calls refused: each message and connection that was turned down, and no other. */
static void expect_refused(const struct rig *r, uint64_t n)
{
	struct hub_stats stats;

	hub_stats(r->hub, &stats);
	assert_int_equal(stats.refused, n);
}

static void session_request_before_login_is_refused(void **state)
{
	struct rig r;
	struct rig_computer a;
	struct msg m = {.type = MSG_GET_COMPUTER_NETWORKS};

	(void)state;
	rig_open(&r);
	rig_computer(&r, &a, 1);
	rig_connect(&a);
	rig_refused(&a, &m, MSG_ERROR_NOT_AUTHENTICATED);
	assert_false(rig_is_closing(&a));
	expect_refused(&r, 1);
	rig_computer_free(&a);
	rig_close(&r);
}

static void session_malformed_texts_are_refused(void **state)
{
	static const struct {
		const char *text;
		enum msg_error_code code;
		bool closes;
	} rows[] = {
		{"{\"message_id\":\"1\",\"type\":\"NoSuchType\"}", MSG_ERROR_BAD_REQUEST, false},
		{"{\"message_id\":\"1\",\"type\":\"NetworkCreated\",\"payload\":{}}",
	         MSG_ERROR_BAD_REQUEST, false},
		{"{\"message_id\":\"1\",\"type\":\"LookupNetwork\",\"payload\":{}}",
	         MSG_ERROR_BAD_REQUEST, false},
		{"[[[[[[[[[[[[[[[[", MSG_ERROR_BAD_REQUEST, true},
		{"", MSG_ERROR_BAD_REQUEST, true},
		{"null", MSG_ERROR_BAD_REQUEST, true},
	};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		struct rig r;
		struct rig_computer a;

		rig_open(&r);
		rig_login(&r, &a, 1);
		rig_send_text(&a, rows[i].text);
		rig_expect(&a, MSG_ERROR);
		assert_int_equal(a.m.error.code, rows[i].code);
		expect_refused(&r, 1);
		assert_int_equal(rig_is_closing(&a), rows[i].closes);
		rig_computer_free(&a);
		rig_close(&r);
	}
}

static void session_long_message_before_login_is_too_big(void **state)
{
	struct rig r;
	struct rig_computer a;
	char text[HUB_FIRST_MAX + 2];

	(void)state;
	memset(text, ' ', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	rig_open(&r);
	rig_computer(&r, &a, 1);
	rig_connect(&a);
	rig_send_text(&a, text);
	rig_expect(&a, MSG_ERROR);
	assert_int_equal(a.m.error.code, MSG_ERROR_TOO_BIG);
	assert_true(rig_is_closing(&a));
	rig_computer_free(&a);
	rig_close(&r);
}

static void session_too_many_requests_are_limited_and_recover(void **state)
{
	struct rig r;
	struct rig_computer a;
	struct msg ping = {.type = MSG_PING};
	unsigned burst = HUB_LIMITS_DEFAULT.request.burst;

	(void)state;
	rig_open(&r);
	rig_login(&r, &a, 1); /* is the first request */
	for (unsigned i = 1; i < burst; i++)
		assert_int_equal(rig_request(&a, &ping), MSG_PONG);
	rig_refused(&a, &ping, MSG_ERROR_RATE_LIMITED);
	assert_true(a.m.error.retry_after_s > 0);
	expect_refused(&r, 1);
	rig_advance(&r, a.m.error.retry_after_s);
	assert_int_equal(rig_request(&a, &ping), MSG_PONG);
	rig_computer_free(&a);
	rig_close(&r);
}

static void session_flood_is_closed(void **state)
{
	struct rig r;
	struct rig_computer a;

	(void)state;
	rig_open(&r);
	rig_login(&r, &a, 1);
	uint64_t errors = 0;
	for (unsigned i = 0; i < 20000 && !rig_is_closing(&a); i++) {
		rig_send_text(&a, "{\"message_id\":\"1\",\"type\":\"Ping\"}");
		errors += rig_receive(&a) == MSG_ERROR;
	}
	assert_true(rig_is_closing(&a));
	expect_refused(&r, errors);
	rig_computer_free(&a);
	rig_close(&r);
}

static void session_too_many_connections_are_refused(void **state)
{
	struct rig r;
	struct rig_computer a, b;
	struct netaddr local;

	(void)state;
	rig_prepare(&r);
	r.config.limits.max_conns = 1;
	rig_start(&r);
	rig_login(&r, &a, 1);
	rig_computer(&r, &b, 2);
	assert_true(netaddr_parse(RIG_SERVER, &local));
	assert_int_equal(hub_open(r.hub, &b.remote, &local, &b, &r.t, &b.conn), HUB_BUSY);
	rig_computer_free(&a);
	rig_computer_free(&b);
	rig_close(&r);
}

static void session_shutdown_tells_and_refuses(void **state)
{
	struct rig r;
	struct rig_computer a;
	struct msg ping = {.type = MSG_PING};

	(void)state;
	rig_open(&r);
	rig_login(&r, &a, 1);
	hub_shutdown(r.hub);
	rig_expect(&a, MSG_SERVER_SHUTDOWN);
	rig_refused(&a, &ping, MSG_ERROR_SHUTTING_DOWN);
	rig_computer_free(&a);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(session_new_connection_gets_challenge),
		cmocka_unit_test(session_good_login_gets_stun_servers),
		cmocka_unit_test(session_login_at_arrival_address_is_accepted),
		cmocka_unit_test(session_login_for_other_host_is_refused),
		cmocka_unit_test(session_login_with_old_nonce_is_refused),
		cmocka_unit_test(session_recorded_login_is_never_good_again),
		cmocka_unit_test(session_login_of_other_version_is_refused),
		cmocka_unit_test(session_second_login_supersedes_first),
		cmocka_unit_test(session_without_login_is_closed_after_10_s),
		cmocka_unit_test(session_request_before_login_is_refused),
		cmocka_unit_test(session_malformed_texts_are_refused),
		cmocka_unit_test(session_long_message_before_login_is_too_big),
		cmocka_unit_test(session_too_many_requests_are_limited_and_recover),
		cmocka_unit_test(session_flood_is_closed),
		cmocka_unit_test(session_too_many_connections_are_refused),
		cmocka_unit_test(session_shutdown_tells_and_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
