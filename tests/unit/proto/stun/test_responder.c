/* SPDX-License-Identifier: MIT */

#include "proto/stun/responder.h"

#include "base/rng.h"
#include "proto/stun/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t id[STUN_ID_SIZE] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2};

#define S 1000000ull

enum extra {
	EXTRA_NONE,
	EXTRA_FINGERPRINT,
	EXTRA_SOFTWARE,
};

static size_t make_request(uint8_t *out, size_t size, enum stun_class class, uint16_t method,
                           enum extra extra)
{
	struct stun_writer w;

	stun_begin(&w, out, size, class, method, id);
	if (extra == EXTRA_SOFTWARE)
		stun_put_software(&w, "goVPN");
	if (extra == EXTRA_FINGERPRINT)
		stun_put_fingerprint(&w);
	return stun_end(&w);
}

static void respond_request_gives_the_source_address(void **state)
{
	static const char *const sources[] = {"198.51.100.7:4242", "[2001:db8::7]:65535"};
	uint8_t req[128], res[STUN_RESPONSE_MAX];
	struct stun_msg m;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		for (int extra = EXTRA_NONE; extra <= EXTRA_SOFTWARE; extra++) {
			struct netaddr from;
			size_t n = make_request(req, sizeof(req), STUN_CLASS_REQUEST,
			                        STUN_METHOD_BINDING, (enum extra)extra);

			assert_true(netaddr_parse(sources[i], &from));
			size_t got = stun_respond(req, n, &from, res);
			assert_int_equal(stun_msg_parse(res, got, &m), STUN_MSG_OK);
			assert_int_equal(m.class, STUN_CLASS_SUCCESS);
			assert_memory_equal(m.id, id, sizeof(id));
			assert_true(netaddr_equal(&m.mapped, &from));
			assert_int_equal(m.has_fingerprint, extra == EXTRA_FINGERPRINT);
			/* What our own client sends is never amplified. */
			if (extra == EXTRA_SOFTWARE)
				assert_true(got * 2 <= n * 3);
		}
	}
}

static void respond_anything_else_is_silent(void **state)
{
	uint8_t req[128], res[STUN_RESPONSE_MAX];
	struct netaddr from = netaddr_ip4(0xc6336407, 4242);
	struct netaddr no_port = netaddr_ip4(0xc6336407, 0);
	size_t n;

	(void)state;
	for (int class = STUN_CLASS_INDICATION; class <= STUN_CLASS_ERROR; class ++) {
		n = make_request(req, sizeof(req), (enum stun_class) class, STUN_METHOD_BINDING,
		                 EXTRA_NONE);
		assert_int_equal(stun_respond(req, n, &from, res), 0);
	}
	n = make_request(req, sizeof(req), STUN_CLASS_REQUEST, 3, EXTRA_NONE); /* Allocate */
	assert_int_equal(stun_respond(req, n, &from, res), 0);
	n = make_request(req, sizeof(req), STUN_CLASS_REQUEST, STUN_METHOD_BINDING, EXTRA_NONE);
	assert_int_equal(stun_respond(req, n, &no_port, res), 0);
	assert_int_equal(stun_respond(req, n - 1, &from, res), 0);
	req[4] ^= 1;
	assert_int_equal(stun_respond(req, n, &from, res), 0);
}

static void respond_unknown_required_attribute_gives_420(void **state)
{
	/* CHANGE-REQUEST (RFC 5780). */
	uint8_t req[28] = {0x00, 0x01, 0x00, 0x08, 0x21, 0x12, 0xa4, 0x42};
	uint8_t res[STUN_RESPONSE_MAX];
	struct netaddr from = netaddr_ip4(0xc6336407, 4242);
	struct stun_msg m;

	(void)state;
	req[21] = 0x03;
	req[23] = 0x04;
	size_t n = stun_respond(req, sizeof(req), &from, res);
	assert_int_equal(stun_msg_parse(res, n, &m), STUN_MSG_OK);
	assert_int_equal(m.class, STUN_CLASS_ERROR);
	assert_int_equal(m.error_code, STUN_ERROR_UNKNOWN_ATTRIBUTE);
	assert_int_equal(m.mapped.family, NETADDR_NONE);
}

/* In no second does one source get more than its share, however it asks. */
static void limit_one_source_gets_its_share(void **state)
{
	struct stun_limit *l = malloc(sizeof(*l));
	struct netaddr from = netaddr_ip4(0xc6336407, 1);
	uint64_t passed[400] = {0};
	unsigned n = 0;

	(void)state;
	assert_non_null(l);
	stun_limit_init(l, 0x0123456789abcdefu);
	for (uint64_t now_us = 100 * S; now_us < 110 * S && n < GV_ARRAY_SIZE(passed);
	     now_us += 1000) {
		from.port++; /* another port is no other source */
		if (stun_limit_pass(l, &from, now_us))
			passed[n++] = now_us;
	}
	for (unsigned i = 0; i + STUN_LIMIT_PER_S < n; i++)
		assert_true(passed[i + STUN_LIMIT_PER_S] - passed[i] >= 1 * S);
	assert_true(n >= 100); /* and it goes on being answered */
	free(l);
}

static void limit_others_are_not_affected(void **state)
{
	struct stun_limit *l = malloc(sizeof(*l));
	struct netaddr loud = netaddr_ip4(0xc6336407, 1);
	unsigned refused = 0, loud_passed = 0;

	(void)state;
	assert_non_null(l);
	stun_limit_init(l, 77);
	for (unsigned i = 0; i < 2000; i++) {
		struct netaddr other = netaddr_ip4(0x0a000000 + i, 1);

		loud_passed += stun_limit_pass(l, &loud, 100 * S);
		refused += !stun_limit_pass(l, &other, 100 * S);
	}
	assert_int_equal(refused, 0);
	assert_true(loud_passed <= STUN_LIMIT_PER_S);
	free(l);
}

static void limit_one_ip6_user_is_one_source(void **state)
{
	struct stun_limit *l = malloc(sizeof(*l));
	struct netaddr from;
	unsigned passed = 0;

	(void)state;
	assert_non_null(l);
	stun_limit_init(l, 5);
	assert_true(netaddr_parse("[2001:db8:0:7::1]:1", &from));
	for (unsigned i = 0; i < 200; i++) {
		from.ip[15] = (uint8_t)i;
		passed += stun_limit_pass(l, &from, 100 * S);
	}
	assert_true(passed <= STUN_LIMIT_PER_S);
	free(l);
}

static void limit_flood_of_sources_keeps_the_table(void **state)
{
	struct stun_limit *l = malloc(sizeof(*l));
	struct rng r = rng_seeded(3);
	struct netaddr quiet = netaddr_ip4(0x01020304, 1);
	unsigned passed = 0;

	(void)state;
	assert_non_null(l);
	stun_limit_init(l, 5);
	for (unsigned i = 0; i < 100000; i++) {
		struct netaddr from = netaddr_ip4(rng_u32(&r), 1);

		passed += stun_limit_pass(l, &from, 100 * S + i);
	}
	assert_true(passed > 0);
	assert_true(stun_limit_pass(l, &quiet, 101 * S));
	free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(respond_request_gives_the_source_address),
		cmocka_unit_test(respond_anything_else_is_silent),
		cmocka_unit_test(respond_unknown_required_attribute_gives_420),
		cmocka_unit_test(limit_one_source_gets_its_share),
		cmocka_unit_test(limit_others_are_not_affected),
		cmocka_unit_test(limit_one_ip6_user_is_one_source),
		cmocka_unit_test(limit_flood_of_sources_keeps_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
