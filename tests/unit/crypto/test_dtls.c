/* SPDX-License-Identifier: MIT */

#include "crypto/dtls.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "tests/support/dtls_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_US 1000000

static const struct rig_ssl_options usual = {0};

static int setup(void **state)
{
	*state = rig_new();
	return 0;
}

static int teardown(void **state)
{
	rig_free(*state);
	return 0;
}

/* Kinds of pairs: which end is ours, and in which role. End a is always the client. */
enum pairing {
	OURS_AND_OURS,
	OURS_AND_OPENSSL,
	OPENSSL_AND_OURS,
	PAIRINGS,
};

static void make_pair(struct rig *rig, enum pairing kind)
{
	if (kind == OPENSSL_AND_OURS)
		rig_openssl(&rig->a, RECORD_ROLE_CLIENT, &usual);
	else
		rig_ours(&rig->a, RECORD_ROLE_CLIENT, DTLS_PEER_GOVPN);
	if (kind == OURS_AND_OPENSSL)
		rig_openssl(&rig->b, RECORD_ROLE_SERVER, &usual);
	else
		rig_ours(&rig->b, RECORD_ROLE_SERVER, DTLS_PEER_GOVPN);
}

static void assert_up(const struct rig *rig)
{
	const struct rig_end *ends[] = {&rig->a, &rig->b};

	for (unsigned i = 0; i < 2; i++) {
		assert_true(rig_is_up(ends[i]));
		if (ends[i]->dtls == NULL)
			continue;
		assert_int_equal(ends[i]->keys_events, 1);
		assert_int_equal(ends[i]->connected_events, 1);
		assert_int_equal(ends[i]->failed_events, 0);
		assert_int_equal(dtls_deadline_us(ends[i]->dtls), UINT64_MAX);
	}
}

/* Each allocation of the handshake fails once: -ENOMEM or an event, never keys twice, never a leak. */
static void dtls_out_of_memory_fails_cleanly(void **state)
{
	unsigned n = 1;

	(void)state;
	for (bool hit = true; hit; n++) {
		struct rig *rig = rig_new();
		struct dtls_config config = {
			.role = RECORD_ROLE_CLIENT, .cert = rig->a.cert, .mtu = 1200};

		cert_fingerprint(rig->b.cert, config.peer_fingerprint);
		rig_ours(&rig->b, RECORD_ROLE_SERVER, DTLS_PEER_GOVPN);
		mem_fail_at(n);
		int r = dtls_new(&rig->a.dtls, &config, rig->now_us);
		assert_true(r == 0 || r == -ENOMEM);
		if (r == 0)
			rig_run(rig, SECOND_US);
		hit = mem_fail_hit();
		if (!hit)
			assert_up(rig);
		mem_fail_at(0);
		rig_free(rig);
	}
	assert_true(n > 10);
}

static void dtls_every_pairing_connects_and_carries_data(void **state)
{
	(void)state;
	for (enum pairing kind = 0; kind < PAIRINGS; kind++) {
		struct rig *rig = rig_new();
		uint64_t start_us = rig->now_us;

		make_pair(rig, kind);
		rig_run(rig, SECOND_US);
		assert_up(rig);
		assert_int_equal(rig->now_us, start_us); /* no loss, so no timer */
		rig_exchange(rig);
		rig_free(rig);
	}
}

static void dtls_keys_of_both_ends_are_the_same(void **state)
{
	struct rig *rig = *state;

	make_pair(rig, OURS_AND_OURS);
	rig_run(rig, SECOND_US);
	assert_up(rig);
	const struct record_keys *a = &rig->a.keys, *b = &rig->b.keys;
	assert_memory_equal(a->client_key, b->client_key, sizeof(a->client_key));
	assert_memory_equal(a->server_key, b->server_key, sizeof(a->server_key));
	assert_memory_equal(a->client_salt, b->client_salt, sizeof(a->client_salt));
	assert_memory_equal(a->server_salt, b->server_salt, sizeof(a->server_salt));
	assert_memory_not_equal(a->client_key, a->server_key, sizeof(a->client_key));
	assert_int_equal(a->role, RECORD_ROLE_CLIENT);
	assert_int_equal(b->role, RECORD_ROLE_SERVER);
}

/* Loses one datagram of the handshake, each in turn: both still come up, and data flows. */
static void dtls_any_one_datagram_lost_still_connects(void **state)
{
	(void)state;
	for (enum pairing kind = 0; kind < PAIRINGS; kind++) {
		uint64_t total = 1;

		for (uint64_t lost = 0; lost <= total; lost++) {
			struct rig *rig = rig_new();

			rig->drop_at = lost;
			make_pair(rig, kind);
			rig_run(rig, 20 * SECOND_US);
			assert_up(rig);
			if (lost == 0)
				total = rig->sent;
			rig_exchange(rig);
			rig_free(rig);
		}
		assert_true(total >= 4);
	}
}

/*
 * Under heavy loss; the seed of a failure is its number in the loop. OpenSSL's timer doubles without a bound below a
 * minute, so its pairs get less.
 */
static void dtls_random_loss_connects_in_time(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct rig *rig = rig_new();
		enum pairing kind = seed % PAIRINGS;

		rig->loss_percent = kind == OURS_AND_OURS ? 30 : 15;
		rig->seed = seed;
		make_pair(rig, kind);
		rig_run(rig, DTLS_HANDSHAKE_TIMEOUT_US);
		if (!rig_is_up(&rig->a) || !rig_is_up(&rig->b))
			fail_msg("seed %u", (unsigned)seed);
		rig_exchange(rig);
		rig_free(rig);
	}
}

/* Every datagram twice, and data between: what comes again is not delivered again and breaks nothing. */
static bool send_twice(struct rig *rig, struct rig_end *to, uint8_t *data, size_t *len)
{
	rig->tamper = NULL;
	rig_send(to, data, *len);
	rig->tamper = send_twice;
	return true;
}

static void dtls_every_datagram_twice_connects(void **state)
{
	(void)state;
	for (enum pairing kind = 0; kind < PAIRINGS; kind++) {
		struct rig *rig = rig_new();

		rig->tamper = send_twice;
		make_pair(rig, kind);
		rig_run(rig, 10 * SECOND_US);
		assert_up(rig);
		rig_exchange(rig);
		rig_free(rig);
	}
}

static void check_wrong_fingerprint(struct rig *rig, struct rig_end *deceived)
{
	struct dtls_config config = {
		.role = RECORD_ROLE_CLIENT, .cert = deceived->cert, .mtu = 1200};

	/* It expects the certificate of somebody else: its own. */
	cert_fingerprint(deceived->cert, config.peer_fingerprint);
	if (deceived == &rig->b) {
		config.role = RECORD_ROLE_SERVER;
		rig_ours(&rig->a, RECORD_ROLE_CLIENT, DTLS_PEER_GOVPN);
	} else {
		rig_ours(&rig->b, RECORD_ROLE_SERVER, DTLS_PEER_GOVPN);
	}
	assert_int_equal(dtls_new(&deceived->dtls, &config, rig->now_us), 0);
	rig_run(rig, 40 * SECOND_US);
	assert_int_equal(deceived->failed_events, 1);
	assert_int_equal(deceived->failure, DTLS_FAILURE_FINGERPRINT);
	assert_int_equal(deceived->keys_events, 0);
	assert_int_equal(deceived->connected_events, 0);
	assert_int_equal(deceived->other->connected_events, 0);
	assert_int_equal(dtls_deadline_us(deceived->dtls), UINT64_MAX);
}

static void dtls_client_other_certificate_fails(void **state)
{
	struct rig *rig = *state;

	check_wrong_fingerprint(rig, &rig->a);
}

static void dtls_server_other_certificate_fails(void **state)
{
	struct rig *rig = *state;

	check_wrong_fingerprint(rig, &rig->b);
}

/* RFC 7627 is required of both roles; keys of a handshake without it are not given out. */
static void dtls_without_extended_master_secret_fails(void **state)
{
	const struct rig_ssl_options no_ems = {.set = SSL_OP_NO_EXTENDED_MASTER_SECRET};

	(void)state;
	for (unsigned ours = 0; ours < 2; ours++) {
		struct rig *rig = rig_new();
		struct rig_end *end = ours == 0 ? &rig->a : &rig->b;

		rig_ours(end, ours == 0 ? RECORD_ROLE_CLIENT : RECORD_ROLE_SERVER,
		         DTLS_PEER_STANDARD);
		rig_openssl(end->other, ours == 0 ? RECORD_ROLE_SERVER : RECORD_ROLE_CLIENT,
		            &no_ems);
		rig_run(rig, 5 * SECOND_US);
		assert_int_equal(end->failed_events, 1);
		assert_int_equal(end->failure, DTLS_FAILURE_WEAK);
		assert_int_equal(end->keys_events, 0);
		assert_false(rig_is_up(end->other));
		rig_free(rig);
	}
}

struct refusal {
	struct rig_ssl_options options;
	enum record_role ours;
	enum dtls_peer peer;
};

/* What a peer may propose instead of our suite: nothing comes of it. */
static void dtls_weaker_proposals_are_refused(void **state)
{
	static const struct refusal rows[] = {
		{{.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384"},
	         RECORD_ROLE_SERVER,
	         DTLS_PEER_STANDARD},
		{{.ciphers = "ECDHE-ECDSA-AES128-SHA256"}, RECORD_ROLE_SERVER, DTLS_PEER_STANDARD},
		{{.ciphers = "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"},
	         RECORD_ROLE_SERVER,
	         DTLS_PEER_STANDARD},
		{{.ciphers = "AECDH-AES128-SHA:@SECLEVEL=0"},
	         RECORD_ROLE_SERVER,
	         DTLS_PEER_STANDARD},
		{{.set = SSL_OP_NO_DTLSv1_2, .ciphers = "ALL:@SECLEVEL=0"},
	         RECORD_ROLE_SERVER,
	         DTLS_PEER_STANDARD},
		{{.no_certificate = true}, RECORD_ROLE_SERVER, DTLS_PEER_STANDARD},
		{{.rsa_bits = 2048}, RECORD_ROLE_SERVER, DTLS_PEER_GOVPN},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rig *rig = rig_new();

		rig_openssl(&rig->a, RECORD_ROLE_CLIENT, &rows[i].options);
		rig_ours(&rig->b, rows[i].ours, rows[i].peer);
		rig_run(rig, 40 * SECOND_US);
		assert_int_equal(rig->b.failed_events, 1);
		assert_int_equal(rig->b.keys_events, 0);
		assert_false(rig_is_up(&rig->a));
		rig_free(rig);
	}
}

/* A server that cannot do our suite answers with an alert, which anybody could write: the time decides. */
static void dtls_client_server_with_another_suite_times_out(void **state)
{
	const struct rig_ssl_options other = {.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384"};
	struct rig *rig = *state;

	rig_ours(&rig->a, RECORD_ROLE_CLIENT, DTLS_PEER_STANDARD);
	rig_openssl(&rig->b, RECORD_ROLE_SERVER, &other);
	rig_settle(rig);
	assert_true(rig->b.ssl_failed);
	assert_int_equal(rig->a.failed_events, 0);
	assert_int_equal(dtls_counters(rig->a.dtls)->rx_alert, 1);
	rig_advance(rig, DTLS_HANDSHAKE_TIMEOUT_US);
	assert_int_equal(rig->a.failure, DTLS_FAILURE_TIMEOUT);
}

/* Browsers may hold RSA certificates: allowed towards standard peers, in both roles. */
static void dtls_standard_peer_with_rsa_connects(void **state)
{
	const struct rig_ssl_options rsa = {.rsa_bits = 2048};

	(void)state;
	for (unsigned ours = 0; ours < 2; ours++) {
		struct rig *rig = rig_new();
		struct rig_end *end = ours == 0 ? &rig->a : &rig->b;

		rig_openssl(end->other, ours == 0 ? RECORD_ROLE_SERVER : RECORD_ROLE_CLIENT, &rsa);
		rig_ours(end, ours == 0 ? RECORD_ROLE_CLIENT : RECORD_ROLE_SERVER,
		         DTLS_PEER_STANDARD);
		rig_run(rig, SECOND_US);
		assert_up(rig);
		rig_exchange(rig);
		rig_free(rig);
	}
}

/* RFC 6347 4.2.1: a server that asks for a cookie first. */
/* pion refuses a handshake without use_srtp (RFC 5764 4.1.1); our own peers need none. */
static void dtls_client_hello_to_standard_peers_has_use_srtp(void **state)
{
	static const uint8_t use_srtp[] = {0, 14, 0, 5, 0, 2, 0, 1, 0};
	struct rig *rig = *state;
	struct dtls_out out;

	rig_ours(&rig->a, RECORD_ROLE_CLIENT, DTLS_PEER_STANDARD);
	rig_ours(&rig->b, RECORD_ROLE_CLIENT, DTLS_PEER_GOVPN);
	assert_int_equal(dtls_output(rig->a.dtls, &out, rig->now_us), 1);
	assert_non_null(memmem(out.data, out.len, use_srtp, sizeof(use_srtp)));
	assert_int_equal(dtls_output(rig->b.dtls, &out, rig->now_us), 1);
	assert_null(memmem(out.data, out.len, use_srtp, sizeof(use_srtp)));
}

static void dtls_client_answers_hello_verify_request(void **state)
{
	const struct rig_ssl_options cookie = {.cookie = true};
	struct rig *rig = *state;

	rig_ours(&rig->a, RECORD_ROLE_CLIENT, DTLS_PEER_STANDARD);
	rig_openssl(&rig->b, RECORD_ROLE_SERVER, &cookie);
	rig_run(rig, SECOND_US);
	assert_up(rig);
	rig_exchange(rig);
}

/* Keeps the first two datagrams back and sends them in the other order. */
static bool swap_first_two(struct rig *rig, struct rig_end *to, uint8_t *data, size_t *len)
{
	static struct rig_datagram held;

	if (to != &rig->b)
		return true;
	if (rig->sent == 1) {
		memcpy(held.data, data, *len);
		held.len = *len;
		return false;
	}
	rig->tamper = NULL;
	rig_send(to, data, *len);
	rig_send(to, held.data, held.len);
	return false;
}

/* The ClientHello of a browser takes two datagrams; they may come in any order. */
static void dtls_server_fragmented_client_hello_is_put_together(void **state)
{
	const struct rig_ssl_options big = {.hello_padding = 1500};

	(void)state;
	for (unsigned swap = 0; swap < 2; swap++) {
		struct rig *rig = rig_new();

		rig->tamper = swap == 1 ? swap_first_two : NULL;
		rig_openssl(&rig->a, RECORD_ROLE_CLIENT, &big);
		rig_ours(&rig->b, RECORD_ROLE_SERVER, DTLS_PEER_STANDARD);
		rig_run(rig, 3 * SECOND_US);
		assert_up(rig);
		rig_exchange(rig);
		rig_free(rig);
	}
}

/* Datagrams of 256 bytes: every message of both sides is in fragments. */
static void dtls_small_mtu_connects(void **state)
{
	const struct rig_ssl_options small = {.mtu = 256, .hello_padding = 1000};
	struct rig *rig = *state;

	rig_openssl(&rig->a, RECORD_ROLE_CLIENT, &small);
	rig_ours(&rig->b, RECORD_ROLE_SERVER, DTLS_PEER_STANDARD);
	rig_run(rig, 3 * SECOND_US);
	assert_up(rig);
	rig_exchange(rig);
}

static bool check_size(struct rig *rig, struct rig_end *to, uint8_t *data, size_t *len)
{
	(void)rig;
	(void)to;
	(void)data;
	assert_true(*len <= 300);
	return true;
}

static void dtls_output_keeps_the_mtu(void **state)
{
	struct rig *rig = *state;
	struct dtls_config a = {.role = RECORD_ROLE_CLIENT, .cert = rig->a.cert, .mtu = 300};
	struct dtls_config b = {.role = RECORD_ROLE_SERVER, .cert = rig->b.cert, .mtu = 300};

	cert_fingerprint(rig->b.cert, a.peer_fingerprint);
	cert_fingerprint(rig->a.cert, b.peer_fingerprint);
	rig->tamper = check_size;
	assert_int_equal(dtls_new(&rig->a.dtls, &a, rig->now_us), 0);
	assert_int_equal(dtls_new(&rig->b.dtls, &b, rig->now_us), 0);
	rig_run(rig, SECOND_US);
	assert_up(rig);
	a.mtu = 255;
	assert_true(dtls_new(&rig->a.dtls, &a, rig->now_us) < 0);
}

/* Nobody answers: repeats after 100, 200, 400, ... ms, then the end. */
static void dtls_client_no_answer_repeats_and_gives_up(void **state)
{
	struct rig *rig = *state;
	static const uint64_t after_ms[] = {100, 300, 700, 1500, 2300, 3100, 3900, 4700};
	uint64_t start_us = rig->now_us;
	struct dtls_out out;
	uint64_t last_seq = 0;

	rig_ours(&rig->a, RECORD_ROLE_CLIENT, DTLS_PEER_GOVPN);
	assert_int_equal(dtls_output(rig->a.dtls, &out, start_us), 1);
	assert_int_equal(out.kind, DTLS_OUT_RAW);
	assert_int_equal(be64_load(out.data + 3), 0);
	for (size_t i = 0; i < sizeof(after_ms) / sizeof(after_ms[0]); i++) {
		uint64_t due_us = start_us + after_ms[i] * 1000;

		assert_int_equal(dtls_deadline_us(rig->a.dtls), due_us);
		assert_int_equal(dtls_timeout(rig->a.dtls, due_us - 1), 0);
		assert_int_equal(dtls_output(rig->a.dtls, &out, due_us - 1), 0);
		assert_int_equal(dtls_timeout(rig->a.dtls, due_us), 0);
		assert_int_equal(dtls_output(rig->a.dtls, &out, due_us), 1);
		/* RFC 6347 4.2.4: repeats have new record numbers. */
		assert_int_equal(be64_load(out.data + 3), ++last_seq);
		assert_int_equal(dtls_output(rig->a.dtls, &out, due_us), 0);
	}

	struct dtls_event ev;
	assert_int_equal(dtls_timeout(rig->a.dtls, start_us + DTLS_HANDSHAKE_TIMEOUT_US), 0);
	assert_int_equal(dtls_event(rig->a.dtls, &ev), 1);
	assert_int_equal(ev.type, DTLS_EVENT_FAILED);
	assert_int_equal(ev.failure, DTLS_FAILURE_TIMEOUT);
	assert_int_equal(dtls_output(rig->a.dtls, &out, rig->now_us), 0);
	assert_int_equal(dtls_event(rig->a.dtls, &ev), 0);
}

/* OpenSSL's own timer, which the clock of this program would let fire, has no part in it. */
static void dtls_openssl_never_repeats_by_itself(void **state)
{
	struct rig *rig = *state;
	/* A handshake message that is not due: OpenSSL looks at it, and would look at its timer. */
	const uint8_t early[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 12,
	                         14, 0,    0,    0, 0, 5, 0, 0, 0, 0, 0, 0};

	rig_ours(&rig->a, RECORD_ROLE_CLIENT, DTLS_PEER_GOVPN);
	rig_ours(&rig->b, RECORD_ROLE_SERVER, DTLS_PEER_GOVPN);
	rig->loss_percent = 100;
	rig_advance(rig, 20 * SECOND_US);
	assert_int_equal(dtls_input(rig->a.dtls, early, sizeof(early), rig->now_us), 0);
	assert_int_equal(dtls_counters(rig->a.dtls)->tx_flights, 1);
	assert_int_equal(dtls_counters(rig->a.dtls)->tx_repeats, 1);
}

/* RFC 6347 4.2.4: a peer that repeats its flight is answered at once, not when our next repeat is due. */
static void dtls_server_repeated_hello_is_answered_at_once(void **state)
{
	struct rig *rig = *state;
	uint8_t hello[512];
	struct dtls_out out;

	make_pair(rig, OURS_AND_OURS);
	assert_int_equal(dtls_output(rig->a.dtls, &out, rig->now_us), 1);
	assert_true(out.len <= sizeof(hello));
	memcpy(hello, out.data, out.len);
	assert_int_equal(dtls_input(rig->b.dtls, hello, out.len, rig->now_us), 0);
	assert_int_equal(dtls_timeout(rig->b.dtls, rig->now_us + 100000), 0);
	assert_int_equal(dtls_counters(rig->b.dtls)->tx_repeats, 1);
	assert_int_equal(dtls_deadline_us(rig->b.dtls), rig->now_us + 300000);
	/* Not within 100 ms of the last time, so that two ends cannot drive each other. */
	assert_int_equal(dtls_input(rig->b.dtls, hello, out.len, rig->now_us + 199999), 0);
	assert_int_equal(dtls_counters(rig->b.dtls)->tx_repeats, 1);
	assert_int_equal(dtls_input(rig->b.dtls, hello, out.len, rig->now_us + 200000), 0);
	assert_int_equal(dtls_counters(rig->b.dtls)->tx_repeats, 2);
	rig_run(rig, SECOND_US);
	assert_up(rig);
}

/* SEAL waits until the owner could make a record of the keys. */
static void dtls_output_seal_waits_for_keys_taken(void **state)
{
	struct rig *rig = *state;
	struct dtls_out out;
	struct dtls_event ev;
	bool sealed = false;

	make_pair(rig, OURS_AND_OURS);
	struct dtls *a = rig->a.dtls, *b = rig->b.dtls;
	while (dtls_output(a, &out, rig->now_us) == 1)
		assert_int_equal(dtls_input(b, out.data, out.len, rig->now_us), 0);
	while (dtls_output(b, &out, rig->now_us) == 1)
		assert_int_equal(dtls_input(a, out.data, out.len, rig->now_us), 0);
	while (dtls_output(a, &out, rig->now_us) == 1)
		assert_int_equal(out.kind, DTLS_OUT_RAW);
	assert_int_equal(dtls_event(a, &ev), 1);
	assert_int_equal(ev.type, DTLS_EVENT_KEYS);
	while (dtls_output(a, &out, rig->now_us) == 1) {
		assert_int_equal(out.kind, DTLS_OUT_SEAL);
		assert_int_equal(out.type, RECORD_TYPE_HANDSHAKE);
		assert_int_equal(out.data[0], 20); /* Finished */
		sealed = true;
	}
	assert_true(sealed);
}

/* Keys that wait when the handshake fails are for nobody. */
static void dtls_keys_of_a_failed_handshake_are_not_given(void **state)
{
	struct rig *rig = *state;
	struct dtls_out out;
	struct dtls_event ev;

	make_pair(rig, OURS_AND_OURS);
	struct dtls *a = rig->a.dtls, *b = rig->b.dtls;
	while (dtls_output(a, &out, rig->now_us) == 1)
		assert_int_equal(dtls_input(b, out.data, out.len, rig->now_us), 0);
	while (dtls_output(b, &out, rig->now_us) == 1)
		assert_int_equal(dtls_input(a, out.data, out.len, rig->now_us), 0);
	assert_int_equal(dtls_timeout(a, rig->now_us + DTLS_HANDSHAKE_TIMEOUT_US), 0);
	assert_int_equal(dtls_event(a, &ev), 1);
	assert_int_equal(ev.type, DTLS_EVENT_FAILED);
	assert_int_equal(dtls_event(a, &ev), 0);
}

/* The server's last flight is lost: the client's repeated Finished brings it back, under our next numbers. */
static void dtls_server_repeated_finished_is_answered(void **state)
{
	struct rig *rig = *state;

	rig_openssl(&rig->a, RECORD_ROLE_CLIENT, &usual);
	rig_ours(&rig->b, RECORD_ROLE_SERVER, DTLS_PEER_GOVPN);
	rig_run(rig, SECOND_US);
	assert_up(rig);
	rig_exchange(rig);
	uint64_t sealed = record_sent(rig->b.record);
	unsigned seen = rig->a.ssl_finished_seen;

	rig_advance(rig, SECOND_US);
	dtls_repeat_last_flight(rig->b.dtls, rig->now_us);
	rig_settle(rig);
	assert_int_equal(record_sent(rig->b.record), sealed + 1);
	assert_int_equal(dtls_counters(rig->b.dtls)->tx_repeats, 1);
	/* At most each 100 ms. */
	for (unsigned i = 0; i < 9; i++) {
		rig_advance(rig, 10000);
		dtls_repeat_last_flight(rig->b.dtls, rig->now_us);
	}
	assert_int_equal(dtls_counters(rig->b.dtls)->tx_repeats, 1);
	rig_advance(rig, 10000);
	dtls_repeat_last_flight(rig->b.dtls, rig->now_us);
	rig_settle(rig);
	assert_int_equal(dtls_counters(rig->b.dtls)->tx_repeats, 2);
	assert_int_equal(record_sent(rig->b.record), sealed + 2);
	/* OpenSSL took the repeats for what they are, and data goes on. */
	assert_true(rig->a.ssl_finished_seen >= seen);
	assert_true(rig_is_up(&rig->a));
	rig_exchange(rig);
}

/* Both sides repeat at will after the end: no storm comes of it. */
static void dtls_client_repeated_finished_is_not_answered(void **state)
{
	struct rig *rig = *state;

	make_pair(rig, OURS_AND_OURS);
	rig_run(rig, SECOND_US);
	assert_up(rig);
	rig_advance(rig, SECOND_US);
	uint64_t sent = rig->sent;
	dtls_repeat_last_flight(rig->b.dtls, rig->now_us);
	dtls_repeat_last_flight(rig->a.dtls, rig->now_us);
	rig_settle(rig);
	assert_int_equal(rig->sent,
	                 sent + 2); /* ChangeCipherSpec and Finished of the server, no answer */
	rig_advance(rig, SECOND_US);
	assert_int_equal(rig->sent, sent + 2);
}

/* Only an authentic Finished is worth an answer. */
static void dtls_server_forged_finished_is_not_answered(void **state)
{
	struct rig *rig = *state;
	uint8_t rec[RECORD_OVERHEAD + 24];
	const uint8_t finished[24] = {20, 0, 0, 12};
	size_t len = 0;

	make_pair(rig, OURS_AND_OURS);
	rig_run(rig, SECOND_US);
	assert_up(rig);
	rig_advance(rig, SECOND_US);
	assert_int_equal(record_seal_one(rig->a.record, RECORD_TYPE_HANDSHAKE, finished,
	                                 sizeof(finished), rec, sizeof(rec), &len),
	                 0);
	rec[30] ^= 1;
	assert_int_equal(dtls_input(rig->b.dtls, rec, len, rig->now_us), 0);
	assert_int_equal(dtls_counters(rig->b.dtls)->tx_repeats, 0);
	rec[30] ^= 1;
	assert_int_equal(dtls_input(rig->b.dtls, rec, len, rig->now_us), 0);
	assert_int_equal(dtls_counters(rig->b.dtls)->tx_repeats, 1);
}

static const uint8_t plain_fatal[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
static const uint8_t plain_close[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0};

/* Before each datagram of the peer come alerts that a stranger wrote. */
static bool alerts_first(struct rig *rig, struct rig_end *to, uint8_t *data, size_t *len)
{
	(void)data;
	(void)len;
	if (to->dtls != NULL) {
		rig->tamper = NULL;
		rig_send(to, plain_fatal, sizeof(plain_fatal));
		rig_send(to, plain_close, sizeof(plain_close));
		rig->tamper = alerts_first;
	}
	return true;
}

static void dtls_plain_alerts_are_ignored_always(void **state)
{
	struct rig *rig = *state;

	rig->tamper = alerts_first;
	make_pair(rig, OURS_AND_OURS);
	rig_run(rig, SECOND_US);
	assert_up(rig);
	assert_true(dtls_counters(rig->a.dtls)->rx_alert >= 2);
	assert_true(dtls_counters(rig->b.dtls)->rx_alert >= 2);
	rig_exchange(rig);
}

static void dtls_input_data_never_reaches_openssl(void **state)
{
	struct rig *rig = *state;
	uint8_t data[] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};

	make_pair(rig, OURS_AND_OURS);
	assert_int_equal(dtls_input(rig->b.dtls, data, sizeof(data), rig->now_us), 0);
	rig_run(rig, SECOND_US);
	assert_up(rig);
	assert_int_equal(dtls_input(rig->b.dtls, data, sizeof(data), rig->now_us), 0);
	assert_int_equal(dtls_counters(rig->b.dtls)->rx_data, 2);
}

/* Cuts every datagram at every length before it comes whole. */
static bool cuts_first(struct rig *rig, struct rig_end *to, uint8_t *data, size_t *len)
{
	if (to->dtls != NULL && rig->sent < 10)
		for (size_t cut = 0; cut < *len; cut++)
			assert_int_equal(dtls_input(to->dtls, data, cut, rig->now_us), 0);
	return true;
}

static void dtls_input_truncated_datagrams_are_dropped(void **state)
{
	(void)state;
	for (enum pairing kind = 0; kind < PAIRINGS; kind++) {
		struct rig *rig = rig_new();

		rig->tamper = cuts_first;
		make_pair(rig, kind);
		rig_run(rig, 10 * SECOND_US);
		assert_up(rig);
		rig_exchange(rig);
		rig_free(rig);
	}
}

static void dtls_input_garbage_is_counted(void **state)
{
	struct rig *rig = *state;
	static uint8_t big[DTLS_INPUT_MAX + 1];
	static const uint8_t rows[][20] = {
		{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},    /* no handshake header */
		{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 1}, /* the same, longer */
		{20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1}, /* ChangeCipherSpec of two */
		{99, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, /* type */
		{22, 0xfe, 0xfd, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 1}, /* epoch */
		{20, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1}, /* ChangeCipherSpec in epoch 1 */
		{22, 0x03, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, /* TLS */
		{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 255, 1, 1}, /* length */
	};
	static const size_t sizes[] = {13, 18, 15, 14, 20, 14, 14, 20};

	rig_ours(&rig->b, RECORD_ROLE_SERVER, DTLS_PEER_GOVPN);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(dtls_input(rig->b.dtls, rows[i], sizes[i], rig->now_us), 0);
	assert_int_equal(dtls_counters(rig->b.dtls)->rx_dropped, 6);
	assert_int_equal(dtls_counters(rig->b.dtls)->rx_malformed, 2);
	assert_int_equal(dtls_input(rig->b.dtls, big, sizeof(big), rig->now_us), 0);
	assert_int_equal(dtls_counters(rig->b.dtls)->rx_malformed, 3);
	/* None of it hurts what follows. */
	rig_ours(&rig->a, RECORD_ROLE_CLIENT, DTLS_PEER_GOVPN);
	rig_run(rig, SECOND_US);
	assert_up(rig);
}

/* After the end of the handshake a new ClientHello, or anything else of epoch 0, does nothing. */
static void dtls_input_client_hello_after_connected_is_dropped(void **state)
{
	struct rig *rig = *state;
	struct dtls_config config = {.role = RECORD_ROLE_CLIENT, .cert = rig->a.cert, .mtu = 1200};
	struct dtls *again = NULL;
	struct dtls_out out;

	make_pair(rig, OURS_AND_OURS);
	rig_run(rig, SECOND_US);
	assert_up(rig);
	uint64_t sent = rig->sent;
	assert_int_equal(dtls_new(&again, &config, rig->now_us), 0);
	while (dtls_output(again, &out, rig->now_us) == 1)
		rig_send(&rig->b, out.data, out.len);
	rig_settle(rig);
	assert_int_equal(rig->sent, sent + 1);
	assert_int_equal(dtls_counters(rig->b.dtls)->rx_dropped, 1);
	rig_exchange(rig);
	dtls_free(again);
}

int main(void)
{
#define WITH_RIG(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dtls_out_of_memory_fails_cleanly),
		cmocka_unit_test(dtls_every_pairing_connects_and_carries_data),
		WITH_RIG(dtls_keys_of_both_ends_are_the_same),
		cmocka_unit_test(dtls_any_one_datagram_lost_still_connects),
		cmocka_unit_test(dtls_random_loss_connects_in_time),
		cmocka_unit_test(dtls_every_datagram_twice_connects),
		WITH_RIG(dtls_client_other_certificate_fails),
		WITH_RIG(dtls_server_other_certificate_fails),
		cmocka_unit_test(dtls_without_extended_master_secret_fails),
		cmocka_unit_test(dtls_weaker_proposals_are_refused),
		WITH_RIG(dtls_client_server_with_another_suite_times_out),
		cmocka_unit_test(dtls_standard_peer_with_rsa_connects),
		WITH_RIG(dtls_client_hello_to_standard_peers_has_use_srtp),
		WITH_RIG(dtls_client_answers_hello_verify_request),
		cmocka_unit_test(dtls_server_fragmented_client_hello_is_put_together),
		WITH_RIG(dtls_small_mtu_connects),
		WITH_RIG(dtls_output_keeps_the_mtu),
		WITH_RIG(dtls_client_no_answer_repeats_and_gives_up),
		WITH_RIG(dtls_openssl_never_repeats_by_itself),
		WITH_RIG(dtls_server_repeated_hello_is_answered_at_once),
		WITH_RIG(dtls_output_seal_waits_for_keys_taken),
		WITH_RIG(dtls_keys_of_a_failed_handshake_are_not_given),
		WITH_RIG(dtls_server_repeated_finished_is_answered),
		WITH_RIG(dtls_client_repeated_finished_is_not_answered),
		WITH_RIG(dtls_server_forged_finished_is_not_answered),
		WITH_RIG(dtls_plain_alerts_are_ignored_always),
		WITH_RIG(dtls_input_data_never_reaches_openssl),
		cmocka_unit_test(dtls_input_truncated_datagrams_are_dropped),
		WITH_RIG(dtls_input_garbage_is_counted),
		WITH_RIG(dtls_input_client_hello_after_connected_is_dropped),
	};

	return cmocka_run_group_tests_name("crypto/dtls", tests, NULL, NULL);
}
