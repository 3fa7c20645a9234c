/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "crypto/identity.h"
#include "engine/client/sigclient.h"
#include "proto/sig/proof.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define S       UINT64_C(1000000)
#define SESSION UINT64_C(0x1122334455667788)
#define SENT    16

/* A line that keeps what was sent, and a server that says what the test wants. */
struct fixture {
	struct identity *id;
	struct sigclient *client;
	uint64_t now_us;
	unsigned opened, closed, ups, downs, notices;
	bool open_fails;
	struct msg sent[SENT]; /* parsed as the server would */
	unsigned n_sent;
	enum msg_type last_notice;
};

struct answer {
	unsigned calls;
	enum sigclient_result result;
	enum msg_type type;
	struct fixture *ask_again; /* requests from inside the reply */
	struct answer *forgets;    /* the requests of this one, when it is called */
};

static struct fixture fix;

static int line_open(void *line)
{
	(void)line;
	fix.opened++;
	return fix.open_fails ? -ENETUNREACH : 0;
}

static int line_send(void *line, const char *text, size_t len)
{
	(void)line;
	assert_true(fix.n_sent < SENT);
	assert_int_equal(msg_parse(&fix.sent[fix.n_sent++], text, len, MSG_FROM_CLIENT, NULL),
	                 MSG_OK);
	return 0;
}

static void line_close(void *line)
{
	(void)line;
	fix.closed++;
}

static void on_up(void *user, const struct msg_authenticated *welcome)
{
	(void)user;
	assert_int_equal(welcome->version, 1);
	fix.ups++;
}

static void on_down(void *user)
{
	(void)user;
	fix.downs++;
}

static void on_notice(void *user, const struct msg *m)
{
	(void)user;
	fix.notices++;
	fix.last_notice = m->type;
}

static int set_up(void **state)
{
	const uint8_t seed[IDENTITY_SEED_SIZE] = {7};
	struct link_server server;

	memset(&fix, 0, sizeof(fix));
	fix.now_us = 100 * S;
	assert_int_equal(identity_from_seed(&fix.id, seed), 0);
	assert_int_equal(link_server_parse("https://S.example:8443", &server, NULL), LINK_OK);
	const struct sigclient_config config = {
		.server = &server,
		.id = fix.id,
		.session = SESSION,
		.name = "desk",
		.line = {.open = line_open, .send = line_send, .close = line_close},
		.fns = {.up = on_up, .down = on_down, .notice = on_notice},
		.rng = rng_seeded(1),
	};
	assert_int_equal(sigclient_new(&fix.client, &config, fix.now_us), 0);
	*state = &fix;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	sigclient_free(fix.client);
	identity_free(fix.id);
	for (unsigned i = 0; i < fix.n_sent; i++)
		msg_deinit(&fix.sent[i]);
	return 0;
}

static void say(const struct msg *m)
{
	struct buf text = BUF_INIT(MSG_SIZE_TO_CLIENT_MAX);

	assert_int_equal(msg_format(m, &text), 0);
	sigclient_line_text(fix.client, buf_str(&text), text.len, fix.now_us);
	buf_deinit(&text);
}

static void say_text(const char *text)
{
	sigclient_line_text(fix.client, text, strlen(text), fix.now_us);
}

static const struct msg *last_sent(void)
{
	assert_true(fix.n_sent > 0);
	return &fix.sent[fix.n_sent - 1];
}

static void challenge(uint32_t lo, uint32_t hi)
{
	const struct msg m = {
		.type = MSG_CHALLENGE,
		.challenge = {.nonce = {1, 2, 3}, .version_lo = lo, .version_hi = hi}};

	say(&m);
}

/* Opens the line and logs in. */
static void log_in(void)
{
	struct msg welcome = {.type = MSG_AUTHENTICATED, .authenticated = {.version = 1}};

	unsigned opened = fix.opened;

	fix.now_us = GV_MAX(fix.now_us, sigclient_deadline_us(fix.client));
	sigclient_timeout(fix.client, fix.now_us);
	assert_int_equal(fix.opened, opened + 1);
	sigclient_line_up(fix.client, fix.now_us);
	challenge(1, 1);
	assert_int_equal(last_sent()->type, MSG_AUTHENTICATE);
	memcpy(welcome.id, last_sent()->id, sizeof(welcome.id));
	say(&welcome);
	assert_true(sigclient_is_up(fix.client));
}

static void on_answer(void *user, enum sigclient_result result, const struct msg *m)
{
	struct answer *a = user;
	struct msg again = {.type = MSG_PING};

	a->calls++;
	a->result = result;
	a->type = m != NULL ? m->type : MSG_NONE;
	if (a->forgets != NULL)
		sigclient_forget(fix.client, a->forgets);
	if (a->ask_again != NULL)
		assert_int_equal(
			sigclient_request(a->ask_again->client, &again, fix.now_us, on_answer, a),
			0);
	a->ask_again = NULL;
}

static void request(struct answer *a)
{
	struct msg m = {.type = MSG_LOOKUP_NETWORK, .lookup_network = {.code = "abcdefghij"}};

	assert_int_equal(sigclient_request(fix.client, &m, fix.now_us, on_answer, a), 0);
}

static void reply_found(const char *id)
{
	struct msg m = {.type = MSG_NETWORK_FOUND};

	(void)snprintf(m.id, sizeof(m.id), "%s", id); /* fits */
	say(&m);
}

static void sigclient_login_signs_nonce_host_and_session(void **state)
{
	struct proof_login proof;

	(void)state;
	log_in();
	const struct msg_authenticate *a = &fix.sent[0].authenticate;
	assert_string_equal(a->host, "s.example:8443");
	assert_true(a->session == SESSION);
	assert_string_equal(a->name, "desk");
	proof = (struct proof_login){.host = a->host, .session = a->session, .nonce = {1, 2, 3}};
	memcpy(proof.key, a->key, sizeof(proof.key));
	memcpy(proof.sig, a->signature, sizeof(proof.sig));
	assert_int_equal(proof_login_verify(&proof), PROOF_OK);
	assert_int_equal(fix.ups, 1);
}

static void sigclient_replies_out_of_order_find_their_requests(void **state)
{
	struct answer a[3] = {{0}};
	char ids[3][MSG_ID_MAX + 1];

	(void)state;
	log_in();
	for (unsigned i = 0; i < 3; i++) {
		request(&a[i]);
		memcpy(ids[i], last_sent()->id, sizeof(ids[i]));
	}
	reply_found(ids[2]);
	reply_found(ids[0]);
	assert_int_equal(a[0].calls, 1);
	assert_int_equal(a[1].calls, 0);
	assert_int_equal(a[2].calls, 1);
	struct msg error = {.type = MSG_ERROR,
	                    .error = {.code = MSG_ERROR_RATE_LIMITED, .message = "slow"}};
	memcpy(error.id, ids[1], sizeof(error.id));
	say(&error);
	assert_int_equal(a[1].result, SIGCLIENT_ERROR);
	/* A second reply to the same request is nobody's. */
	reply_found(ids[0]);
	assert_int_equal(a[0].calls, 1);
	assert_int_equal(a[0].result, SIGCLIENT_OK);
	assert_int_equal(a[0].type, MSG_NETWORK_FOUND);
}

static void sigclient_reply_of_another_type_is_no_success(void **state)
{
	struct answer a = {0};

	(void)state;
	log_in();
	request(&a);
	struct msg pong = {.type = MSG_PONG};
	memcpy(pong.id, last_sent()->id, sizeof(pong.id));
	say(&pong);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.result, SIGCLIENT_TIMEOUT);
}

static void sigclient_no_reply_times_out(void **state)
{
	struct answer a = {0};

	(void)state;
	log_in();
	request(&a);
	fix.now_us += SIGCLIENT_TIMEOUT_US - 1;
	sigclient_timeout(fix.client, fix.now_us);
	assert_int_equal(a.calls, 0);
	assert_true(sigclient_deadline_us(fix.client) == fix.now_us + 1);
	fix.now_us++;
	sigclient_timeout(fix.client, fix.now_us);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.result, SIGCLIENT_TIMEOUT);
	reply_found(last_sent()->id);
	assert_int_equal(a.calls, 1);
}

static void sigclient_request_before_login_waits_for_it(void **state)
{
	struct answer a = {0};

	(void)state;
	request(&a);
	assert_int_equal(fix.n_sent, 0);
	log_in();
	assert_int_equal(last_sent()->type, MSG_LOOKUP_NETWORK);
	reply_found(last_sent()->id);
	assert_int_equal(a.result, SIGCLIENT_OK);
}

static void sigclient_failed_attempt_fails_what_waits(void **state)
{
	struct answer a = {0};

	(void)state;
	request(&a);
	sigclient_timeout(fix.client, fix.now_us);
	sigclient_line_down(fix.client, "nobody listens", fix.now_us);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.result, SIGCLIENT_DOWN);
	assert_string_equal(sigclient_problem(fix.client), "nobody listens");
	assert_int_equal(fix.downs, 0); /* it never was up */
}

static void sigclient_line_that_cannot_open_counts_as_down(void **state)
{
	struct answer a = {0};

	(void)state;
	fix.open_fails = true;
	request(&a);
	sigclient_timeout(fix.client, fix.now_us);
	assert_int_equal(a.result, SIGCLIENT_DOWN);
	assert_true(sigclient_deadline_us(fix.client) > fix.now_us);
}

static void sigclient_broken_line_loses_what_was_sent(void **state)
{
	struct answer a = {0};

	(void)state;
	log_in();
	request(&a);
	sigclient_line_down(fix.client, "broken", fix.now_us);
	assert_int_equal(a.result, SIGCLIENT_LOST);
	assert_int_equal(fix.downs, 1);
	assert_false(sigclient_is_up(fix.client));
}

static void sigclient_request_from_inside_a_reply_works(void **state)
{
	struct answer a = {.ask_again = &fix};

	(void)state;
	log_in();
	request(&a);
	sigclient_line_down(fix.client, "broken", fix.now_us);
	assert_int_equal(a.calls, 1); /* the second one waits for the next login */
	log_in();
	assert_int_equal(last_sent()->type, MSG_PING);
}

static void sigclient_forgotten_request_is_not_called(void **state)
{
	struct answer a = {0};

	(void)state;
	log_in();
	request(&a);
	sigclient_forget(fix.client, &a);
	reply_found(last_sent()->id);
	assert_int_equal(a.calls, 0);
}

/* The line broke: whoever hears it first may be the end of another one who waits. */
static void sigclient_forgotten_while_others_are_told_is_not_called(void **state)
{
	struct answer second = {0}, first = {.forgets = &second};

	(void)state;
	log_in();
	request(&first);
	request(&second);
	sigclient_line_down(fix.client, "gone", fix.now_us);
	assert_int_equal(first.calls, 1);
	assert_int_equal(second.calls, 0);
}

static void sigclient_backoff_grows_to_30_s_with_jitter(void **state)
{
	uint64_t wait_us = 0, most_us = S;

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		sigclient_timeout(fix.client, fix.now_us);
		assert_int_equal(fix.opened, i + 1);
		sigclient_line_down(fix.client, "no", fix.now_us);
		wait_us = sigclient_deadline_us(fix.client) - fix.now_us;
		assert_in_range(wait_us, most_us / 2, most_us);
		fix.now_us += wait_us;
		most_us = GV_MIN(most_us * 2, 30 * S);
	}
	assert_true(most_us == 30 * S);
	/* A connection that lived begins it anew. */
	log_in();
	fix.now_us += 11 * S;
	sigclient_line_down(fix.client, "no", fix.now_us);
	assert_in_range(sigclient_deadline_us(fix.client) - fix.now_us, S / 2, S);
}

static void sigclient_server_that_breaks_off_after_login_is_asked_ever_more_slowly(void **state)
{
	uint64_t begin_us = fix.now_us;

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		log_in();
		sigclient_line_down(fix.client, "no", fix.now_us);
		fix.now_us = sigclient_deadline_us(fix.client);
	}
	/* At least half of 1 + 2 + 4 + 8 + 16 + 3 * 30 seconds. */
	assert_true(fix.now_us - begin_us >= 60 * S);
}

static void sigclient_version_nobody_asked_for_is_refused(void **state)
{
	(void)state;
	sigclient_timeout(fix.client, fix.now_us);
	sigclient_line_up(fix.client, fix.now_us);
	challenge(1, 1);
	struct msg m = {.type = MSG_AUTHENTICATED, .authenticated = {.version = 2}};
	memcpy(m.id, last_sent()->id, sizeof(m.id));
	say(&m);
	assert_int_equal(fix.ups, 0);
	assert_int_equal(fix.closed, 1);
}

static void sigclient_kick_does_not_wait(void **state)
{
	(void)state;
	sigclient_timeout(fix.client, fix.now_us);
	sigclient_line_down(fix.client, "no", fix.now_us);
	sigclient_kick(fix.client, fix.now_us);
	assert_true(sigclient_deadline_us(fix.client) <= fix.now_us);
}

static void sigclient_superseded_waits_30_s(void **state)
{
	const struct msg error = {.type = MSG_ERROR,
	                          .error = {.code = MSG_ERROR_SUPERSEDED, .message = "x"}};

	(void)state;
	log_in();
	say(&error);
	assert_int_equal(fix.downs, 1);
	assert_int_equal(fix.closed, 1);
	assert_true(sigclient_deadline_us(fix.client) >= fix.now_us + 30 * S);
	/* Neither a change of the network nor a request makes it fight. */
	sigclient_kick(fix.client, fix.now_us);
	struct answer a = {0};
	request(&a);
	assert_true(fix.opened == 1);
	sigclient_timeout(fix.client, fix.now_us + SIGCLIENT_TIMEOUT_US);
	assert_int_equal(a.result, SIGCLIENT_DOWN);
	assert_int_equal(fix.opened, 1);
	assert_non_null(strstr(sigclient_problem(fix.client), "same identity.key"));
	/* After that it is as before. */
	sigclient_timeout(fix.client, fix.now_us + 60 * S);
	assert_int_equal(fix.opened, 2);
}

static void sigclient_silent_server_is_given_up(void **state)
{
	(void)state;
	sigclient_timeout(fix.client, fix.now_us);
	sigclient_line_up(fix.client, fix.now_us);
	fix.now_us = sigclient_deadline_us(fix.client);
	sigclient_timeout(fix.client, fix.now_us);
	assert_int_equal(fix.closed, 1);
	assert_string_equal(sigclient_problem(fix.client), "the server does not answer");
}

static void sigclient_line_that_carries_nothing_is_given_up(void **state)
{
	(void)state;
	log_in();
	fix.now_us = sigclient_deadline_us(fix.client);
	sigclient_timeout(fix.client, fix.now_us);
	assert_int_equal(last_sent()->type, MSG_PING);
	for (unsigned i = 0; i < 4 && fix.closed == 0; i++) {
		fix.now_us = sigclient_deadline_us(fix.client);
		sigclient_timeout(fix.client, fix.now_us);
	}
	assert_int_equal(fix.closed, 1);
	assert_int_equal(fix.downs, 1);
}

static void sigclient_other_protocol_version_is_refused(void **state)
{
	(void)state;
	sigclient_timeout(fix.client, fix.now_us);
	challenge(2, 9);
	assert_int_equal(fix.n_sent, 0);
	assert_int_equal(fix.closed, 1);
}

static void sigclient_refused_login_says_why(void **state)
{
	struct msg error = {.type = MSG_ERROR,
	                    .error = {.code = MSG_ERROR_BAD_LOGIN, .message = "wrong host"}};

	(void)state;
	sigclient_timeout(fix.client, fix.now_us);
	challenge(1, 1);
	memcpy(error.id, last_sent()->id, sizeof(error.id));
	say(&error);
	assert_int_equal(fix.closed, 1);
	assert_non_null(strstr(sigclient_problem(fix.client), "wrong host"));
}

static void sigclient_anything_from_a_server_before_login_is_no_notice(void **state)
{
	const struct msg m = {.type = MSG_SERVER_SHUTDOWN};

	(void)state;
	sigclient_timeout(fix.client, fix.now_us);
	say(&m);
	assert_int_equal(fix.notices, 0);
	sigclient_line_down(fix.client, "no", fix.now_us);
	log_in();
	say(&m);
	assert_int_equal(fix.notices, 1);
	/* Authenticated out of turn does nothing. */
	const struct msg welcome = {.type = MSG_AUTHENTICATED, .authenticated = {.version = 1}};
	say(&welcome);
	assert_int_equal(fix.ups, 1);
}

static void sigclient_malformed_messages_do_not_end_it(void **state)
{
	(void)state;
	log_in();
	say_text("{\"type\":\"NoSuchType\",\"payload\":{}}");
	say_text("{\"type\":\"ComputerLeft\",\"payload\":{}}");
	assert_true(sigclient_is_up(fix.client));
	/* What is no JSON at all is another protocol. */
	say_text("hello");
	assert_false(sigclient_is_up(fix.client));
}

static void sigclient_too_many_requests_are_refused(void **state)
{
	struct answer a = {0};
	struct msg m = {.type = MSG_PING};

	(void)state;
	for (unsigned i = 0; i < SIGCLIENT_PENDING_MAX; i++)
		request(&a);
	assert_int_equal(sigclient_request(fix.client, &m, fix.now_us, on_answer, &a), -ENOBUFS);
	sigclient_timeout(fix.client, fix.now_us);
	sigclient_line_down(fix.client, "no", fix.now_us);
	assert_int_equal(a.calls, SIGCLIENT_PENDING_MAX);
}

static void sigclient_send_while_down_is_dropped(void **state)
{
	struct msg m = {.type = MSG_PING};

	(void)state;
	assert_int_equal(sigclient_send(fix.client, &m), -ENOTCONN);
	log_in();
	assert_int_equal(sigclient_send(fix.client, &m), 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(sigclient_login_signs_nonce_host_and_session),
		CASE(sigclient_replies_out_of_order_find_their_requests),
		CASE(sigclient_reply_of_another_type_is_no_success),
		CASE(sigclient_no_reply_times_out),
		CASE(sigclient_request_before_login_waits_for_it),
		CASE(sigclient_failed_attempt_fails_what_waits),
		CASE(sigclient_line_that_cannot_open_counts_as_down),
		CASE(sigclient_broken_line_loses_what_was_sent),
		CASE(sigclient_request_from_inside_a_reply_works),
		CASE(sigclient_forgotten_request_is_not_called),
		CASE(sigclient_forgotten_while_others_are_told_is_not_called),
		CASE(sigclient_backoff_grows_to_30_s_with_jitter),
		CASE(sigclient_kick_does_not_wait),
		CASE(sigclient_superseded_waits_30_s),
		CASE(sigclient_server_that_breaks_off_after_login_is_asked_ever_more_slowly),
		CASE(sigclient_version_nobody_asked_for_is_refused),
		CASE(sigclient_silent_server_is_given_up),
		CASE(sigclient_line_that_carries_nothing_is_given_up),
		CASE(sigclient_other_protocol_version_is_refused),
		CASE(sigclient_refused_login_says_why),
		CASE(sigclient_anything_from_a_server_before_login_is_no_notice),
		CASE(sigclient_malformed_messages_do_not_end_it),
		CASE(sigclient_too_many_requests_are_refused),
		CASE(sigclient_send_while_down_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
