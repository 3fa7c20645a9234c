/* SPDX-License-Identifier: MIT */

/* Newer documents (kick, withdrawn invites, rename) and newer admissions. */

#include "hub_rig.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

struct party {
	struct rig r;
	struct rig_computer owner, b, c;
	struct rig_net n;
};

static void open_party(struct party *p)
{
	rig_open(&p->r);
	rig_login(&p->r, &p->owner, 1);
	rig_login(&p->r, &p->b, 2);
	rig_login(&p->r, &p->c, 3);
	rig_net(&p->n, &p->owner, "10.1.2.0/24");
	assert_int_equal(rig_create(&p->owner, &p->n), MSG_NETWORK_CREATED);
	assert_int_equal(rig_join(&p->b, &p->n, p->n.link, "b"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_join(&p->c, &p->n, p->n.password, "c"), MSG_NETWORK_JOINED);
	rig_drain(&p->owner);
	rig_drain(&p->b);
	rig_drain(&p->c);
}

static void close_party(struct party *p)
{
	rig_net_free(&p->n);
	rig_computer_free(&p->owner);
	rig_computer_free(&p->b);
	rig_computer_free(&p->c);
	rig_close(&p->r);
}

static void expect_code(const struct rig_computer *c, enum msg_error_code code)
{
	assert_int_equal(c->m.type, MSG_ERROR);
	assert_string_equal(msg_error_text(c->m.error.code), msg_error_text(code));
}

/* As the owner's daemon does it: b stays for good, c is banned, no invites. */
static void kick_c(struct party *p)
{
	document_clear_invites(p->n.doc);
	assert_int_equal(document_add_member(p->n.doc, p->b.key), DOCUMENT_OK);
	assert_int_equal(document_ban(p->n.doc, p->c.key), DOCUMENT_OK);
	rig_net_sign(&p->n);
	assert_int_equal(rig_update(&p->owner, &p->n), MSG_DOCUMENT_UPDATED);
}

static void update_kick_removes_and_tells(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	kick_c(&p);
	assert_int_equal(p.owner.m.document_updated.document.n, 0); /* the sender has it */
	rig_expect(&p.c, MSG_KICKED);
	assert_int_equal(p.c.m.kicked.document.n, p.n.bytes.len);
	rig_expect(&p.b, MSG_COMPUTER_LEFT);
	assert_false(p.b.m.computer_left.is_signed);
	assert_memory_equal(p.b.m.computer_left.key, p.c.key, SIG_KEY_SIZE);
	rig_expect(&p.b, MSG_DOCUMENT_UPDATED);
	assert_memory_equal(p.b.m.document_updated.document.p, p.n.bytes.data, p.n.bytes.len);
	/* b is still there, now as a listed member. */
	assert_int_equal(rig_connect_network(&p.b, &p.n), MSG_NETWORK_CONNECTED);
	assert_int_equal(p.b.m.network.n_computers, 2);
	close_party(&p);
}

static void update_kicked_computer_cannot_come_back(void **state)
{
	struct party p;
	struct rig_computer other;
	struct msg offer;

	(void)state;
	open_party(&p);
	kick_c(&p);
	assert_int_equal(rig_connect_network(&p.c, &p.n), MSG_ERROR);
	expect_code(&p.c, MSG_ERROR_BANNED);
	assert_int_equal(rig_join(&p.c, &p.n, p.n.password, "c"), MSG_ERROR);
	expect_code(&p.c, MSG_ERROR_BANNED);
	/* Nor with a new key and what it knew. */
	rig_login(&p.r, &other, 4);
	assert_int_equal(rig_join(&other, &p.n, p.n.password, "d"), MSG_ERROR);
	expect_code(&other, MSG_ERROR_INVITE_REFUSED);
	assert_int_equal(rig_join(&other, &p.n, p.n.link, "d"), MSG_ERROR);
	expect_code(&other, MSG_ERROR_INVITE_REFUSED);
	/* Nor can it send to those inside. */
	rig_offer(&p.n, &p.b, &offer);
	rig_refused(&p.c, &offer, MSG_ERROR_NOT_CONNECTED);
	rig_computer_free(&other);
	close_party(&p);
}

static void update_kick_of_offline_member_is_seen_on_return(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	rig_disconnect(&p.c);
	kick_c(&p);
	rig_connect(&p.c);
	assert_int_equal(rig_authenticate(&p.c, RIG_HOST), MSG_AUTHENTICATED);
	assert_int_equal(rig_connect_network(&p.c, &p.n), MSG_ERROR);
	expect_code(&p.c, MSG_ERROR_BANNED);
	close_party(&p);
}

static void update_ban_counts_though_the_invite_stays(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	assert_int_equal(document_ban(p.n.doc, p.c.key), DOCUMENT_OK);
	rig_net_sign(&p.n);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_DOCUMENT_UPDATED);
	rig_expect(&p.c, MSG_KICKED);
	assert_int_equal(rig_join(&p.c, &p.n, p.n.password, "c"), MSG_ERROR);
	expect_code(&p.c, MSG_ERROR_BANNED);
	assert_int_equal(rig_connect_network(&p.b, &p.n), MSG_NETWORK_CONNECTED);
	close_party(&p);
}

static void update_address_of_kicked_rests_and_is_given_again(void **state)
{
	struct party p;
	struct rig_computer d, e;

	(void)state;
	open_party(&p);
	rig_login(&p.r, &d, 4);
	rig_login(&p.r, &e, 5);
	assert_int_equal(document_ban(p.n.doc, p.c.key), DOCUMENT_OK);
	rig_net_sign(&p.n);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_DOCUMENT_UPDATED);
	assert_int_equal(rig_join(&d, &p.n, p.n.link, "d"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_last_octet(&d), 4);
	rig_advance(&p.r, RIG_REST_S);
	assert_int_equal(rig_join(&e, &p.n, p.n.link, "e"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_last_octet(&e), 3);
	rig_computer_free(&d);
	rig_computer_free(&e);
	close_party(&p);
}

static void update_unban_lets_back_in(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	kick_c(&p);
	assert_int_equal(document_unban(p.n.doc, p.c.key), DOCUMENT_OK);
	struct document_invite invite = {.kind = DOCUMENT_INVITE_LINK};
	identity_public(p.n.link, invite.key);
	assert_int_equal(document_add_invite(p.n.doc, &invite), DOCUMENT_OK);
	rig_net_sign(&p.n);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_DOCUMENT_UPDATED);
	assert_int_equal(rig_join(&p.c, &p.n, p.n.link, "c"), MSG_NETWORK_JOINED);
	assert_int_equal(rig_last_octet(&p.c), 3); /* its old address */
	close_party(&p);
}

static void update_withdrawn_invite_removes_its_members(void **state)
{
	struct party p;
	uint8_t key[SIG_KEY_SIZE];

	(void)state;
	open_party(&p);
	identity_public(p.n.link, key);
	assert_int_equal(document_remove_invite(p.n.doc, key), DOCUMENT_OK);
	rig_net_sign(&p.n);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_DOCUMENT_UPDATED);
	rig_expect(&p.b, MSG_KICKED);
	assert_int_equal(rig_connect_network(&p.b, &p.n), MSG_ERROR);
	expect_code(&p.b, MSG_ERROR_NOT_MEMBER);
	assert_int_equal(rig_connect_network(&p.c, &p.n), MSG_NETWORK_CONNECTED);
	close_party(&p);
}

static void update_old_document_is_stale(void **state)
{
	struct party p;
	struct buf first = BUF_INIT(DOCUMENT_SIZE_MAX);

	(void)state;
	open_party(&p);
	assert_int_equal(buf_add(&first, p.n.bytes.data, p.n.bytes.len), 0);
	kick_c(&p);
	struct buf second = p.n.bytes;
	p.n.bytes = first;
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_ERROR);
	expect_code(&p.owner, MSG_ERROR_STALE_DOCUMENT);
	p.n.bytes = second;
	/* The one it has is answered as the first time, and told to nobody again. */
	rig_drain(&p.b);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_DOCUMENT_UPDATED);
	assert_int_equal(rig_receive(&p.b), MSG_NONE);
	buf_deinit(&first);
	close_party(&p);
}

static void update_document_that_does_not_follow_is_stale(void **state)
{
	struct party p;
	struct document *fork = NULL;
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);

	(void)state;
	open_party(&p);
	assert_int_equal(document_dup(&fork, p.n.doc), 0);
	assert_int_equal(document_set_name(fork, "fork", NULL), 0);
	assert_int_equal(document_sign(fork, p.owner.id, &bytes), 0);
	bytes.len = 0;
	assert_int_equal(document_sign(fork, p.owner.id, &bytes), 0); /* epoch 3 of a fork */
	assert_int_equal(document_set_name(p.n.doc, "trunk", NULL), 0);
	rig_net_sign(&p.n);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_DOCUMENT_UPDATED); /* epoch 2 */
	struct buf mine = p.n.bytes;
	p.n.bytes = bytes;
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_ERROR);
	expect_code(&p.owner, MSG_ERROR_STALE_DOCUMENT);
	p.n.bytes = mine;
	buf_deinit(&bytes);
	document_free(fork);
	close_party(&p);
}

static void update_document_with_skipped_epochs_is_taken(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	rig_net_sign(&p.n);
	rig_net_sign(&p.n); /* two that never reached the server */
	assert_int_equal(document_set_name(p.n.doc, "later", NULL), 0);
	rig_net_sign(&p.n);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_DOCUMENT_UPDATED);
	assert_int_equal(rig_connect_network(&p.b, &p.n), MSG_NETWORK_CONNECTED);
	assert_string_equal(p.b.m.network.network_name, "later");
	close_party(&p);
}

static void update_document_not_signed_by_owner_is_refused(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	rig_net_sign(&p.n);
	p.n.bytes.data[p.n.bytes.len - 1] ^= 1;
	assert_int_equal(rig_update(&p.b, &p.n), MSG_ERROR);
	expect_code(&p.b, MSG_ERROR_NOT_OWNER);
	close_party(&p);
}

static void update_document_of_unknown_network_is_refused(void **state)
{
	struct party p;
	struct rig_net other;

	(void)state;
	open_party(&p);
	rig_net(&other, &p.owner, "10.1.9.0/24");
	assert_int_equal(rig_update(&p.owner, &other), MSG_ERROR);
	expect_code(&p.owner, MSG_ERROR_NO_SUCH_NETWORK);
	rig_net_free(&other);
	close_party(&p);
}

static void update_document_with_other_subnet_is_refused(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	assert_true(netprefix_parse("10.9.9.0/24", &p.n.doc->subnet));
	rig_net_sign(&p.n);
	assert_int_equal(rig_update(&p.owner, &p.n), MSG_ERROR);
	expect_code(&p.owner, MSG_ERROR_SUBNET_CONFLICT);
	close_party(&p);
}

/* ---- names ---- */

static enum msg_type rename_to(struct party *p, struct rig_computer *c,
                               const struct identity *invite, const char *label)
{
	uint8_t bytes[ADMISSION_SIZE_MAX];

	rig_advance(&p->r, 1);
	size_t size = rig_admission(c, &p->n, invite, label, p->r.t.unix_s, bytes);
	struct msg m = {.type = MSG_UPDATE_CLIENT_INFO,
	                .update_client_info = {.admission = {.p = bytes, .n = size}}};
	memcpy(m.update_client_info.network_id, p->n.doc->network_id, NETID_SIZE);
	return rig_request(c, &m);
}

static void update_client_info_is_told(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	assert_int_equal(rename_to(&p, &p.b, p.n.link, "bee"), MSG_UPDATE_CLIENT_INFO_RESPONSE);
	rig_expect(&p.c, MSG_COMPUTER_RENAMED);
	assert_memory_equal(p.c.m.computer_renamed.key, p.b.key, SIG_KEY_SIZE);
	assert_int_equal(rig_receive(&p.b), MSG_NONE);
	close_party(&p);
}

static void update_client_info_with_used_label_gets_suggestion(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	assert_int_equal(rename_to(&p, &p.b, p.n.link, "c"), MSG_ERROR);
	expect_code(&p.b, MSG_ERROR_NAME_TAKEN);
	assert_string_equal(p.b.m.error.suggestion, "c-2");
	close_party(&p);
}

static void update_client_info_by_unknown_invite_is_refused(void **state)
{
	struct party p;

	(void)state;
	open_party(&p);
	assert_int_equal(rename_to(&p, &p.b, p.c.id, "bee"), MSG_ERROR);
	expect_code(&p.b, MSG_ERROR_BAD_REQUEST);
	close_party(&p);
}

static void update_client_info_of_stranger_is_refused(void **state)
{
	struct party p;
	struct rig_computer other;

	(void)state;
	open_party(&p);
	rig_login(&p.r, &other, 4);
	assert_int_equal(rename_to(&p, &other, p.n.link, "d"), MSG_ERROR);
	expect_code(&other, MSG_ERROR_NOT_MEMBER);
	rig_computer_free(&other);
	close_party(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(update_kick_removes_and_tells),
		cmocka_unit_test(update_kicked_computer_cannot_come_back),
		cmocka_unit_test(update_kick_of_offline_member_is_seen_on_return),
		cmocka_unit_test(update_ban_counts_though_the_invite_stays),
		cmocka_unit_test(update_address_of_kicked_rests_and_is_given_again),
		cmocka_unit_test(update_unban_lets_back_in),
		cmocka_unit_test(update_withdrawn_invite_removes_its_members),
		cmocka_unit_test(update_old_document_is_stale),
		cmocka_unit_test(update_document_that_does_not_follow_is_stale),
		cmocka_unit_test(update_document_with_skipped_epochs_is_taken),
		cmocka_unit_test(update_document_not_signed_by_owner_is_refused),
		cmocka_unit_test(update_document_of_unknown_network_is_refused),
		cmocka_unit_test(update_document_with_other_subnet_is_refused),
		cmocka_unit_test(update_client_info_is_told),
		cmocka_unit_test(update_client_info_with_used_label_gets_suggestion),
		cmocka_unit_test(update_client_info_by_unknown_invite_is_refused),
		cmocka_unit_test(update_client_info_of_stranger_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
