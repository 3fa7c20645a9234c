/* SPDX-License-Identifier: MIT */

/* Creating, finding, listing and leaving networks. */

#include "hub_rig.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static void expect_error(const struct rig_computer *c, enum msg_error_code code)
{
	assert_int_equal(c->m.type, MSG_ERROR);
	assert_string_equal(msg_error_text(c->m.error.code), msg_error_text(code));
}

static void network_create_gives_code_and_first_address(void **state)
{
	struct rig r;
	struct rig_computer owner;
	struct rig_net n;

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	assert_int_equal(strlen(n.code), NETID_CODE_SIZE - 1);
	assert_int_equal(rig_last_octet(&owner), 1);
	assert_int_equal(owner.m.network.prefix_length, 24);
	assert_string_equal(owner.m.network.network_name, "party");
	assert_int_equal(owner.m.network.n_computers, 1);
	assert_true(owner.m.network.computers[0].online);
	assert_int_equal(owner.m.network.computers[0].session, owner.session);
	assert_memory_equal(owner.m.network.document.p, n.bytes.data, n.bytes.len);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_close(&r);
}

static void network_create_repeated_is_answered_alike(void **state)
{
	struct rig r;
	struct rig_computer owner;
	struct rig_net n;
	char code[NETID_CODE_SIZE];

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	memcpy(code, n.code, sizeof(code));
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	assert_string_equal(code, n.code);
	rig_net_sign(&n); /* another document of the same network */
	assert_int_equal(rig_create(&owner, &n), MSG_ERROR);
	expect_error(&owner, MSG_ERROR_STALE_DOCUMENT);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_close(&r);
}

static void network_create_by_other_key_is_refused(void **state)
{
	struct rig r;
	struct rig_computer owner, other;
	struct rig_net n;

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_login(&r, &other, 2);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&other, &n), MSG_ERROR);
	expect_error(&other, MSG_ERROR_NOT_OWNER);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_computer_free(&other);
	rig_close(&r);
}

static void network_create_with_changed_document_is_refused(void **state)
{
	struct rig r;
	struct rig_computer owner;
	struct rig_net n;

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_net(&n, &owner, "10.1.2.0/24");
	n.bytes.data[n.bytes.len - 1] ^= 1;
	assert_int_equal(rig_create(&owner, &n), MSG_ERROR);
	expect_error(&owner, MSG_ERROR_NOT_OWNER);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_close(&r);
}

static void network_create_above_limit_is_refused(void **state)
{
	struct rig r;
	struct rig_computer owner;
	struct rig_net n;

	(void)state;
	rig_prepare(&r);
	r.config.limits.networks_owned = 2;
	rig_start(&r);
	rig_login(&r, &owner, 1);
	for (unsigned i = 0; i < 3; i++) {
		rig_net(&n, &owner, "10.1.2.0/24");
		assert_int_equal(rig_create(&owner, &n), i < 2 ? MSG_NETWORK_CREATED : MSG_ERROR);
		rig_net_free(&n);
	}
	expect_error(&owner, MSG_ERROR_TOO_MANY);
	rig_computer_free(&owner);
	rig_close(&r);
}

static void network_create_too_fast_is_limited(void **state)
{
	struct rig r;
	struct rig_computer owner;
	struct rig_net n;

	(void)state;
	rig_prepare(&r);
	r.config.limits.create = (struct quota_rate){.per_minute = 1, .burst = 1};
	rig_start(&r);
	rig_login(&r, &owner, 1);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	rig_net_free(&n);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&owner, &n), MSG_ERROR);
	expect_error(&owner, MSG_ERROR_RATE_LIMITED);
	rig_advance(&r, 60);
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_close(&r);
}

static void network_lookup_finds_by_code(void **state)
{
	struct rig r;
	struct rig_computer owner;
	struct rig_net n;
	struct msg m = {.type = MSG_LOOKUP_NETWORK};

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	m.lookup_network.code = n.code;
	assert_int_equal(rig_request(&owner, &m), MSG_NETWORK_FOUND);
	assert_memory_equal(owner.m.network_found.network_id, n.doc->network_id, NETID_SIZE);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_close(&r);
}

static void network_lookup_of_unknown_codes_is_limited(void **state)
{
	struct rig r;
	struct rig_computer a;
	struct rig_net n;
	struct msg m = {.type = MSG_LOOKUP_NETWORK, .lookup_network = {.code = "aaaaaaaaaa"}};

	(void)state;
	rig_open(&r);
	rig_login(&r, &a, 1);
	for (unsigned i = 0; i < 20; i++)
		rig_refused(&a, &m, MSG_ERROR_NO_SUCH_NETWORK);
	rig_refused(&a, &m, MSG_ERROR_RATE_LIMITED);
	/* The right one would tell as much as an answer. */
	rig_net(&n, &a, "10.1.2.0/24");
	assert_int_equal(rig_create(&a, &n), MSG_NETWORK_CREATED);
	m.lookup_network.code = n.code;
	rig_refused(&a, &m, MSG_ERROR_RATE_LIMITED);
	m.lookup_network.code = "aaaaaaaaaa";
	rig_advance(&r, 3600);
	rig_refused(&a, &m, MSG_ERROR_NO_SUCH_NETWORK);
	rig_net_free(&n);
	rig_computer_free(&a);
	rig_close(&r);
}

static void network_list_shows_membership_and_presence(void **state)
{
	struct rig r;
	struct rig_computer owner, b;
	struct rig_net n;
	struct msg m = {.type = MSG_GET_COMPUTER_NETWORKS};

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_login(&r, &b, 2);
	assert_int_equal(rig_request(&b, &m), MSG_COMPUTER_NETWORKS);
	assert_int_equal(b.m.computer_networks.n_networks, 0);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	assert_int_equal(rig_join(&b, &n, n.link, "b"), MSG_NETWORK_JOINED);
	rig_disconnect(&owner);
	assert_int_equal(rig_request(&b, &m), MSG_COMPUTER_NETWORKS);
	assert_int_equal(b.m.computer_networks.n_networks, 1);
	const struct msg_network_info *info = &b.m.computer_networks.networks[0];
	assert_string_equal(info->code, n.code);
	assert_string_equal(info->network_name, "party");
	assert_int_equal(info->computers, 2);
	assert_int_equal(info->computers_online, 1);
	assert_true(info->connected);
	assert_int_equal(netaddr_u32(&info->computer_ip), 0x0a010202);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_computer_free(&b);
	rig_close(&r);
}

/* ---- leaving ---- */

static void network_leave_is_told_with_its_signature(void **state)
{
	struct rig r;
	struct rig_computer owner, b;
	struct rig_net n;

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_login(&r, &b, 2);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	assert_int_equal(rig_join(&b, &n, n.link, "b"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_leave(&b, &n), MSG_NETWORK_LEFT);
	rig_expect(&owner, MSG_COMPUTER_LEFT);
	assert_true(owner.m.computer_left.is_signed);
	struct proof_leave proof = {.session = owner.m.computer_left.session,
	                            .unix_s = owner.m.computer_left.unix_s};
	memcpy(proof.network_id, n.doc->network_id, NETID_SIZE);
	memcpy(proof.key, b.key, SIG_KEY_SIZE);
	memcpy(proof.sig, owner.m.computer_left.signature, SIG_SIGNATURE_SIZE);
	assert_int_equal(proof_leave_verify(&proof), PROOF_OK);
	/* Gone: not connected, not a member. */
	assert_int_equal(rig_connect_network(&b, &n), MSG_ERROR);
	expect_error(&b, MSG_ERROR_NOT_MEMBER);
	assert_int_equal(rig_leave(&b, &n), MSG_ERROR);
	expect_error(&b, MSG_ERROR_NOT_MEMBER);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_computer_free(&b);
	rig_close(&r);
}

static void network_leave_of_other_session_is_refused(void **state)
{
	struct rig r;
	struct rig_computer owner, b;
	struct rig_net n;

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_login(&r, &b, 2);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	assert_int_equal(rig_join(&b, &n, n.link, "b"), MSG_NETWORK_JOINED);
	b.session++; /* a leave that was signed for another login */
	assert_int_equal(rig_leave(&b, &n), MSG_ERROR);
	expect_error(&b, MSG_ERROR_BAD_REQUEST);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_computer_free(&b);
	rig_close(&r);
}

static void network_address_rests_but_not_for_its_leaver(void **state)
{
	struct rig r;
	struct rig_computer owner, b, c, d;
	struct rig_net n;

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_login(&r, &b, 2);
	rig_login(&r, &c, 3);
	rig_login(&r, &d, 4);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	assert_int_equal(rig_join(&b, &n, n.link, "b"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_last_octet(&b), 2);
	assert_int_equal(rig_leave(&b, &n), MSG_NETWORK_LEFT);
	assert_int_equal(rig_join(&c, &n, n.link, "c"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_last_octet(&c), 3);
	assert_int_equal(rig_join(&b, &n, n.link, "b"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_last_octet(&b), 2);
	assert_int_equal(rig_leave(&b, &n), MSG_NETWORK_LEFT);
	rig_advance(&r, RIG_REST_S);
	assert_int_equal(rig_join(&d, &n, n.link, "d"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_last_octet(&d), 2);
	/* Its old address is gone now. */
	assert_int_equal(rig_join(&b, &n, n.link, "b"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_last_octet(&b), 4);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_computer_free(&b);
	rig_computer_free(&c);
	rig_computer_free(&d);
	rig_close(&r);
}

static void network_owner_leaves_and_it_is_deleted(void **state)
{
	struct rig r;
	struct rig_computer owner, b;
	struct rig_net n;

	(void)state;
	rig_open(&r);
	rig_login(&r, &owner, 1);
	rig_login(&r, &b, 2);
	rig_net(&n, &owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&owner, &n), MSG_NETWORK_CREATED);
	assert_int_equal(rig_join(&b, &n, n.link, "b"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_leave(&owner, &n), MSG_NETWORK_LEFT);
	rig_expect(&b, MSG_NETWORK_DELETED);
	assert_int_equal(rig_connect_network(&b, &n), MSG_ERROR);
	expect_error(&b, MSG_ERROR_NO_SUCH_NETWORK);
	rig_net_free(&n);
	rig_computer_free(&owner);
	rig_computer_free(&b);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(network_create_gives_code_and_first_address),
		cmocka_unit_test(network_create_repeated_is_answered_alike),
		cmocka_unit_test(network_create_by_other_key_is_refused),
		cmocka_unit_test(network_create_with_changed_document_is_refused),
		cmocka_unit_test(network_create_above_limit_is_refused),
		cmocka_unit_test(network_create_too_fast_is_limited),
		cmocka_unit_test(network_lookup_finds_by_code),
		cmocka_unit_test(network_lookup_of_unknown_codes_is_limited),
		cmocka_unit_test(network_list_shows_membership_and_presence),
		cmocka_unit_test(network_leave_is_told_with_its_signature),
		cmocka_unit_test(network_leave_of_other_session_is_refused),
		cmocka_unit_test(network_address_rests_but_not_for_its_leaver),
		cmocka_unit_test(network_owner_leaves_and_it_is_deleted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
