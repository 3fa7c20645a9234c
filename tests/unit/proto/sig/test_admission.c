/* SPDX-License-Identifier: MIT */

#include "base/diag.h"
#include "base/enc.h"
#include "crypto/identity.h"
#include "proto/sig/admission.h"
#include "proto/sig/document.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define JOINED 1700000000

struct fixture {
	struct identity *owner, *member, *invite;
	struct document *doc;
	struct admission a;
};

static struct identity *make_identity(uint8_t fill)
{
	uint8_t seed[IDENTITY_SEED_SIZE];
	struct identity *id = NULL;

	memset(seed, fill, sizeof(seed));
	assert_int_equal(identity_from_seed(&id, seed), 0);
	return id;
}

static void set_invite(struct fixture *f, int64_t expires_unix_s)
{
	struct document_invite invite = {.kind = DOCUMENT_INVITE_LINK,
	                                 .expires_unix_s = expires_unix_s};

	identity_public(f->invite, invite.key);
	assert_int_equal(document_add_invite(f->doc, &invite), DOCUMENT_OK);
}

/* A member by invite, all valid. */
static void setup(struct fixture *f)
{
	uint8_t key[SIG_KEY_SIZE], salt[NETID_SALT_SIZE] = {0};
	struct netprefix subnet;
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);

	*f = (struct fixture){
		.owner = make_identity(1), .member = make_identity(2), .invite = make_identity(3)};
	identity_public(f->owner, key);
	assert_true(netprefix_parse("10.1.2.0/24", &subnet));
	assert_int_equal(document_new(&f->doc, key, salt, "net", &subnet, NULL), 0);
	set_invite(f, JOINED);
	assert_int_equal(document_sign(f->doc, f->owner, &bytes), 0);
	buf_deinit(&bytes);

	f->a = (struct admission){.joined_unix_s = JOINED, .unix_s = JOINED + 5};
	memcpy(f->a.network_id, f->doc->network_id, NETID_SIZE);
	identity_public(f->member, f->a.key);
	strcpy(f->a.name, "Anna's PC");
	strcpy(f->a.label, "annas-pc");
	assert_int_equal(admission_sign_invite(&f->a, f->invite), 0);
	assert_int_equal(admission_sign(&f->a, f->member), 0);
}

static void teardown(struct fixture *f)
{
	identity_free(f->owner);
	identity_free(f->member);
	identity_free(f->invite);
	document_free(f->doc);
}

static void expect(const struct fixture *f, enum admission_result want)
{
	struct diag diag = {0};

	assert_int_equal(admission_verify(&f->a, f->doc, &diag), want);
	assert_int_equal(diag.text[0] == '\0', want == ADMISSION_OK);
}

static void admission_verify_by_invite_returns_ok(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	expect(&f, ADMISSION_OK);
	teardown(&f);
}

static void admission_parse_encoded_gives_everything_back(void **state)
{
	struct fixture f;
	uint8_t bytes[ADMISSION_SIZE_MAX], again[ADMISSION_SIZE_MAX];
	struct admission back;

	(void)state;
	setup(&f);
	size_t n = admission_encode(&f.a, bytes);
	assert_int_equal(admission_parse(&back, bytes, n, NULL), ADMISSION_OK);
	assert_string_equal(back.name, "Anna's PC");
	assert_string_equal(back.label, "annas-pc");
	assert_int_equal(back.joined_unix_s, JOINED);
	assert_int_equal(back.unix_s, JOINED + 5);
	assert_int_equal(admission_encode(&back, again), n);
	assert_memory_equal(again, bytes, n);
	teardown(&f);
}

static void admission_any_flipped_bit_is_refused(void **state)
{
	struct fixture f;
	uint8_t bytes[ADMISSION_SIZE_MAX];
	struct admission back;

	(void)state;
	setup(&f);
	size_t n = admission_encode(&f.a, bytes);
	for (size_t i = 0; i < n * 8; i++) {
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		int r = admission_parse(&back, bytes, n, NULL);
		if (r == ADMISSION_OK)
			r = admission_verify(&back, f.doc, NULL);
		assert_int_not_equal(r, ADMISSION_OK);
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	teardown(&f);
}

static void admission_parse_cut_or_longer_is_bad(void **state)
{
	struct fixture f;
	uint8_t bytes[ADMISSION_SIZE_MAX] = {0};
	struct admission back;

	(void)state;
	setup(&f);
	size_t n = admission_encode(&f.a, bytes);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(admission_parse(&back, bytes, i, NULL), ADMISSION_BAD);
	assert_int_equal(admission_parse(&back, bytes, n + 1, NULL), ADMISSION_BAD);
	teardown(&f);
}

static void admission_parse_bad_names_return_bad_name(void **state)
{
	struct fixture f;
	uint8_t bytes[ADMISSION_SIZE_MAX];
	struct admission back;

	static const struct {
		const char *name, *label;
	} rows[] = {
		{"", "ok"},      {"tab\there", "ok"}, {"ok", ""},
		{"ok", "Upper"}, {"ok", "-x"},        {"ok", "a.b"},
	};

	(void)state;
	setup(&f);
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		(void)snprintf(f.a.name, sizeof(f.a.name), "%s", rows[i].name);
		(void)snprintf(f.a.label, sizeof(f.a.label), "%s", rows[i].label);
		assert_int_equal(admission_sign(&f.a, f.member), -EINVAL);
		expect(&f, ADMISSION_BAD_NAME);
		size_t n = admission_encode(&f.a, bytes);
		assert_int_equal(admission_parse(&back, bytes, n, NULL), ADMISSION_BAD_NAME);
	}
	teardown(&f);
}

static void admission_longest_names_fit(void **state)
{
	struct fixture f;
	uint8_t bytes[ADMISSION_SIZE_MAX];
	char text[ADMISSION_TEXT_SIZE];
	struct admission back;

	(void)state;
	setup(&f);
	memset(f.a.name, 'n', ADMISSION_NAME_MAX);
	memset(f.a.label, 'l', ADMISSION_LABEL_MAX);
	assert_int_equal(admission_sign(&f.a, f.member), 0);
	size_t n = admission_encode(&f.a, bytes);
	assert_true(ENC_BASE64_SIZE(n) <= sizeof(text));
	assert_int_equal(admission_parse(&back, bytes, n, NULL), ADMISSION_OK);
	assert_int_equal(admission_verify(&back, f.doc, NULL), ADMISSION_OK);
	teardown(&f);
}

static void admission_verify_owner_and_listed_member_need_no_invite(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	memset(f.a.invite_key, 0, sizeof(f.a.invite_key));
	memset(f.a.invite_sig, 0, sizeof(f.a.invite_sig));
	assert_int_equal(admission_sign(&f.a, f.member), 0);
	expect(&f, ADMISSION_NOT_A_MEMBER);
	assert_int_equal(document_add_member(f.doc, f.a.key), DOCUMENT_OK);
	expect(&f, ADMISSION_OK);

	identity_public(f.owner, f.a.key);
	assert_int_equal(admission_sign(&f.a, f.owner), 0);
	expect(&f, ADMISSION_OK);
	teardown(&f);
}

static void admission_verify_withdrawn_invite_returns_unknown(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	document_clear_invites(f.doc);
	expect(&f, ADMISSION_INVITE_UNKNOWN);
	/* Admitted for good, the old admission is as good as before. */
	assert_int_equal(document_add_member(f.doc, f.a.key), DOCUMENT_OK);
	expect(&f, ADMISSION_OK);
	teardown(&f);
}

static void admission_verify_joined_after_expiry_returns_expired(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	set_invite(&f, JOINED - 1);
	expect(&f, ADMISSION_INVITE_EXPIRED);
	set_invite(&f, 0);
	expect(&f, ADMISSION_OK);
	teardown(&f);
}

static void admission_verify_banned_returns_banned(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(document_ban(f.doc, f.a.key), DOCUMENT_OK);
	expect(&f, ADMISSION_BANNED);
	teardown(&f);
}

static void admission_verify_invite_of_another_member_is_bad(void **state)
{
	struct fixture f;
	struct identity *thief = make_identity(9);

	(void)state;
	setup(&f);
	/* A stranger puts a member's invite signature into an admission of its own. */
	identity_public(thief, f.a.key);
	assert_int_equal(admission_sign(&f.a, thief), 0);
	expect(&f, ADMISSION_BAD_SIGNATURE);
	identity_free(thief);
	teardown(&f);
}

static void admission_verify_other_network_is_bad(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	f.a.network_id[0] ^= 1;
	assert_int_equal(admission_sign_invite(&f.a, f.invite), 0);
	assert_int_equal(admission_sign(&f.a, f.member), 0);
	expect(&f, ADMISSION_BAD_SIGNATURE);
	teardown(&f);
}

static void admission_rename_keeps_invite_part_and_is_newer(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	struct admission old = f.a;
	strcpy(f.a.name, "Anna's laptop");
	f.a.unix_s++;
	assert_int_equal(admission_sign(&f.a, f.member), 0);
	expect(&f, ADMISSION_OK);
	assert_true(admission_is_newer(&old, &f.a));
	assert_false(admission_is_newer(&f.a, &old));
	assert_false(admission_is_newer(&f.a, &f.a));
	old.key[0] ^= 1;
	assert_false(admission_is_newer(&old, &f.a));
	teardown(&f);
}

static void admission_parse_signature_without_invite_is_bad(void **state)
{
	struct fixture f;
	uint8_t bytes[ADMISSION_SIZE_MAX];
	struct admission back;

	(void)state;
	setup(&f);
	memset(f.a.invite_key, 0, sizeof(f.a.invite_key));
	size_t n = admission_encode(&f.a, bytes);
	assert_int_equal(admission_parse(&back, bytes, n, NULL), ADMISSION_BAD);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(admission_verify_by_invite_returns_ok),
		cmocka_unit_test(admission_parse_encoded_gives_everything_back),
		cmocka_unit_test(admission_any_flipped_bit_is_refused),
		cmocka_unit_test(admission_parse_cut_or_longer_is_bad),
		cmocka_unit_test(admission_parse_bad_names_return_bad_name),
		cmocka_unit_test(admission_longest_names_fit),
		cmocka_unit_test(admission_verify_owner_and_listed_member_need_no_invite),
		cmocka_unit_test(admission_verify_withdrawn_invite_returns_unknown),
		cmocka_unit_test(admission_verify_joined_after_expiry_returns_expired),
		cmocka_unit_test(admission_verify_banned_returns_banned),
		cmocka_unit_test(admission_verify_invite_of_another_member_is_bad),
		cmocka_unit_test(admission_verify_other_network_is_bad),
		cmocka_unit_test(admission_rename_keeps_invite_part_and_is_newer),
		cmocka_unit_test(admission_parse_signature_without_invite_is_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
