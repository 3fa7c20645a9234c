/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crypto/identity.h"
#include "engine/client/docchange.h"
#include "proto/sig/admission.h"

#include <stdio.h>
#include <string.h>

#define NOW_S 1700000000

/* An owner, an invite, and three members who joined by it. */
struct fixture {
	struct identity *owner, *invite, *member[3];
	struct document *doc;
	struct admission admission[3];
	struct document_key keys[4]; /* of the owner and the members, as the mesh may list them */
};

static void sign(struct document *doc, const struct identity *owner)
{
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);

	assert_int_equal(document_sign(doc, owner, &bytes), 0);
	buf_deinit(&bytes);
}

static struct identity *key_of(uint8_t number)
{
	uint8_t seed[IDENTITY_SEED_SIZE] = {number};
	struct identity *id = NULL;

	assert_int_equal(identity_from_seed(&id, seed), 0);
	return id;
}

static void make_admission(struct admission *a, const struct document *doc,
                           const struct identity *member, const struct identity *invite,
                           unsigned number)
{
	*a = (struct admission){.joined_unix_s = NOW_S, .unix_s = NOW_S};
	memcpy(a->network_id, doc->network_id, sizeof(a->network_id));
	identity_public(member, a->key);
	(void)snprintf(a->name, sizeof(a->name), "m%u", number);   /* fits */
	(void)snprintf(a->label, sizeof(a->label), "m%u", number); /* fits */
	assert_int_equal(admission_sign_invite(a, invite), 0);
	assert_int_equal(admission_sign(a, member), 0);
}

static int set_up(void **state)
{
	static struct fixture f;
	uint8_t owner[SIG_KEY_SIZE];
	const uint8_t salt[NETID_SALT_SIZE] = {1};
	struct netprefix subnet;
	struct document_invite invite = {.kind = DOCUMENT_INVITE_LINK};

	f = (struct fixture){.owner = key_of(1), .invite = key_of(2)};
	identity_public(f.owner, owner);
	assert_true(netprefix_parse("10.1.2.0/24", &subnet));
	assert_int_equal(document_new(&f.doc, owner, salt, "lan", &subnet, NULL), 0);
	identity_public(f.invite, invite.key);
	assert_int_equal(document_add_invite(f.doc, &invite), 0);
	sign(f.doc, f.owner);
	memcpy(f.keys[0].b, owner, SIG_KEY_SIZE);
	for (unsigned i = 0; i < 3; i++) {
		f.member[i] = key_of((uint8_t)(10 + i));
		make_admission(&f.admission[i], f.doc, f.member[i], f.invite, i);
		memcpy(f.keys[i + 1].b, f.admission[i].key, SIG_KEY_SIZE);
	}
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	document_free(f->doc);
	identity_free(f->owner);
	identity_free(f->invite);
	for (unsigned i = 0; i < 3; i++)
		identity_free(f->member[i]);
	return 0;
}

static void docchange_kick_others_stay_kicked_cannot_return(void **state)
{
	struct fixture *f = *state;
	struct admission fresh;

	assert_int_equal(docchange_kick(f->doc, f->keys, 4, f->admission[1].key, DOCCHANGE_BAN),
	                 DOCUMENT_OK);
	sign(f->doc, f->owner);
	assert_int_equal(admission_verify(&f->admission[0], f->doc, NULL), ADMISSION_OK);
	assert_int_equal(admission_verify(&f->admission[2], f->doc, NULL), ADMISSION_OK);
	assert_int_equal(admission_verify(&f->admission[1], f->doc, NULL), ADMISSION_BANNED);
	assert_int_equal(f->doc->n_invites, 0);
	/* The kicked one still has the invite's seed; a new key does not help. */
	struct identity *other = key_of(99);
	make_admission(&fresh, f->doc, other, f->invite, 9);
	assert_int_equal(admission_verify(&fresh, f->doc, NULL), ADMISSION_INVITE_UNKNOWN);
	identity_free(other);
}

static void docchange_kick_allow_rejoin_is_out_but_not_banned(void **state)
{
	struct fixture *f = *state;

	/* Even one that was admitted for good before. */
	assert_int_equal(document_add_member(f->doc, f->admission[1].key), 0);
	assert_int_equal(
		docchange_kick(f->doc, f->keys, 4, f->admission[1].key, DOCCHANGE_ALLOW_REJOIN),
		DOCUMENT_OK);
	assert_false(document_is_banned(f->doc, f->admission[1].key));
	assert_int_not_equal(admission_verify(&f->admission[1], f->doc, NULL), ADMISSION_OK);
	assert_int_equal(admission_verify(&f->admission[0], f->doc, NULL), ADMISSION_OK);
}

static void docchange_kick_owner_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(docchange_kick(f->doc, f->keys, 4, f->doc->owner, DOCCHANGE_BAN),
	                 DOCUMENT_BAD);
}

static void docchange_kick_twice_keeps_the_first_ban(void **state)
{
	struct fixture *f = *state;
	const struct document_key left[] = {f->keys[1], f->keys[3]};

	assert_int_equal(docchange_kick(f->doc, f->keys, 4, f->admission[1].key, DOCCHANGE_BAN),
	                 DOCUMENT_OK);
	assert_int_equal(docchange_kick(f->doc, left, 2, f->admission[0].key, DOCCHANGE_BAN),
	                 DOCUMENT_OK);
	assert_true(document_is_banned(f->doc, f->admission[1].key));
	assert_true(document_is_banned(f->doc, f->admission[0].key));
	assert_int_equal(f->doc->n_members, 1);
	assert_int_equal(f->doc->n_banned, 2);
}

static void fill_invites(struct document *doc, int64_t expires_s)
{
	for (unsigned i = 0; doc->n_invites < DOCUMENT_INVITES_MAX; i++) {
		struct document_invite v = {.kind = DOCUMENT_INVITE_LINK,
		                            .expires_unix_s = expires_s,
		                            .key = {0xff, (uint8_t)i}};
		assert_int_equal(document_add_invite(doc, &v), 0);
	}
}

static void docchange_make_room_ended_invites_go_members_stay(void **state)
{
	struct fixture *f = *state;

	/* Their own invite has ended too, after they joined. */
	struct document_invite old = f->doc->invites[0];
	old.expires_unix_s = NOW_S + 10;
	assert_int_equal(document_add_invite(f->doc, &old), 0);
	fill_invites(f->doc, NOW_S + 10);
	assert_int_equal(docchange_make_room(f->doc, f->keys, 4, NOW_S + 11), DOCUMENT_OK);
	assert_int_equal(f->doc->n_invites, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(admission_verify(&f->admission[i], f->doc, NULL), ADMISSION_OK);
}

static void docchange_make_room_nothing_ended_is_full(void **state)
{
	struct fixture *f = *state;

	fill_invites(f->doc, 0);
	assert_int_equal(docchange_make_room(f->doc, f->keys, 4, NOW_S), DOCUMENT_FULL);
	assert_int_equal(f->doc->n_invites, DOCUMENT_INVITES_MAX);
}

static void docchange_make_room_with_room_changes_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(docchange_make_room(f->doc, f->keys, 4, NOW_S), DOCUMENT_OK);
	assert_int_equal(f->doc->n_invites, 1);
	assert_int_equal(f->doc->n_members, 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(docchange_kick_others_stay_kicked_cannot_return),
		CASE(docchange_kick_allow_rejoin_is_out_but_not_banned),
		CASE(docchange_kick_owner_is_refused),
		CASE(docchange_kick_twice_keeps_the_first_ban),
		CASE(docchange_make_room_ended_invites_go_members_stay),
		CASE(docchange_make_room_nothing_ended_is_full),
		CASE(docchange_make_room_with_room_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
