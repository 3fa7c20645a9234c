/* SPDX-License-Identifier: MIT */

#include "base/diag.h"
#include "base/mem.h"
#include "crypto/identity.h"
#include "proto/sig/document.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Offsets of the binary layout in docs/protocol.md, for a name of 4 bytes. */
#define AT_EPOCH    49
#define AT_PREVIOUS 57
#define AT_NAME_LEN 89
#define AT_NAME     90
#define AT_SUBNET   94
#define AT_BITS     98
#define AT_INVITES  99

struct fixture {
	struct identity *owner;
	struct document *doc;
	struct buf bytes;
};

static void key_of(uint8_t fill, uint8_t out[static SIG_KEY_SIZE])
{
	memset(out, fill, SIG_KEY_SIZE);
}

static struct netprefix subnet_of(const char *text)
{
	struct netprefix p;

	assert_true(netprefix_parse(text, &p));
	return p;
}

static void add_invite(struct document *doc, uint8_t fill)
{
	struct document_invite invite = {.uses = fill, .kind = DOCUMENT_INVITE_LINK};

	key_of(fill, invite.key);
	invite.expires_unix_s = 1800000000;
	assert_int_equal(document_add_invite(doc, &invite), DOCUMENT_OK);
}

/* A signed document with two invites, two members and one banned key. */
static void setup(struct fixture *f)
{
	uint8_t seed[IDENTITY_SEED_SIZE] = {1}, salt[NETID_SALT_SIZE] = {2};
	uint8_t key[SIG_KEY_SIZE];
	struct netprefix subnet = subnet_of("10.20.30.0/24");

	*f = (struct fixture){.bytes = BUF_INIT(DOCUMENT_SIZE_MAX)};
	assert_int_equal(identity_from_seed(&f->owner, seed), 0);
	identity_public(f->owner, key);
	assert_int_equal(document_new(&f->doc, key, salt, "home", &subnet, NULL), 0);
	add_invite(f->doc, 9);
	add_invite(f->doc, 5);
	key_of(7, key);
	assert_int_equal(document_add_member(f->doc, key), DOCUMENT_OK);
	key_of(3, key);
	assert_int_equal(document_add_member(f->doc, key), DOCUMENT_OK);
	key_of(4, key);
	assert_int_equal(document_ban(f->doc, key), DOCUMENT_OK);
	assert_int_equal(document_sign(f->doc, f->owner, &f->bytes), 0);
}

static void teardown(struct fixture *f)
{
	identity_free(f->owner);
	document_free(f->doc);
	buf_deinit(&f->bytes);
}

static int parse(const struct fixture *f, size_t n)
{
	struct document *out = NULL;
	int r = document_parse(&out, f->bytes.data, n, NULL, NULL);

	assert_true((r == DOCUMENT_OK) == (out != NULL));
	document_free(out);
	return r;
}

static void document_parse_signed_gives_everything_back(void **state)
{
	struct fixture f;
	struct document *doc = NULL;
	struct buf again = BUF_INIT(DOCUMENT_SIZE_MAX);

	(void)state;
	setup(&f);
	assert_int_equal(document_parse(&doc, f.bytes.data, f.bytes.len, f.doc->network_id, NULL),
	                 0);
	assert_string_equal(doc->name, "home");
	assert_int_equal(doc->epoch, 1);
	assert_int_equal(doc->subnet.bits, 24);
	assert_int_equal(netaddr_u32(&doc->subnet.addr), 0x0a141e00);
	assert_int_equal(doc->n_invites, 2);
	assert_int_equal(doc->invites[0].key[0], 5); /* sorted */
	assert_int_equal(doc->invites[1].uses, 9);
	assert_int_equal(doc->invites[1].expires_unix_s, 1800000000);
	assert_int_equal(doc->n_members, 2);
	assert_int_equal(doc->members[0].b[0], 3);
	assert_int_equal(doc->n_banned, 1);
	assert_memory_equal(doc->hash, f.doc->hash, DOCUMENT_HASH_SIZE);
	assert_int_equal(document_encode(doc, &again), 0);
	assert_int_equal(again.len, f.bytes.len);
	assert_memory_equal(again.data, f.bytes.data, again.len);
	buf_deinit(&again);
	document_free(doc);
	teardown(&f);
}

static void document_parse_any_flipped_bit_is_refused(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	for (size_t i = 0; i < f.bytes.len * 8; i++) {
		f.bytes.data[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_not_equal(parse(&f, f.bytes.len), DOCUMENT_OK);
		f.bytes.data[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(parse(&f, f.bytes.len), DOCUMENT_OK);
	teardown(&f);
}

static void document_parse_cut_or_longer_is_refused(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	for (size_t n = 0; n < f.bytes.len; n++)
		assert_int_equal(parse(&f, n), DOCUMENT_BAD);
	assert_int_equal(buf_add(&f.bytes, "x", 1), 0);
	assert_int_equal(parse(&f, f.bytes.len), DOCUMENT_BAD);
	teardown(&f);
}

static void document_parse_other_network_returns_foreign(void **state)
{
	struct fixture f;
	struct document *out = NULL;
	uint8_t id[NETID_SIZE];

	(void)state;
	setup(&f);
	memcpy(id, f.doc->network_id, sizeof(id));
	id[19] ^= 1;
	assert_int_equal(document_parse(&out, f.bytes.data, f.bytes.len, id, NULL),
	                 DOCUMENT_FOREIGN);
	assert_null(out);
	teardown(&f);
}

static void document_parse_newer_version_returns_version(void **state)
{
	struct fixture f;
	struct diag diag = {0};
	struct document *out = NULL;

	(void)state;
	setup(&f);
	f.bytes.data[0] = 2;
	assert_int_equal(document_parse(&out, f.bytes.data, f.bytes.len, NULL, &diag),
	                 DOCUMENT_VERSION);
	assert_non_null(strstr(diag.text, "newer version"));
	f.bytes.data[0] = 0;
	assert_int_equal(parse(&f, f.bytes.len), DOCUMENT_BAD);
	teardown(&f);
}

/* Each of these is refused for its form, before the signature is looked at. */
static void document_parse_value_out_of_range_is_bad(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		const char *why;
	} rows[] = {
		{AT_EPOCH, 0x20, "epoch"},
		{AT_EPOCH + 7, 0, "epoch"},
		{AT_EPOCH + 7, 2, "previous"},
		{AT_PREVIOUS, 1, "previous"},
		{AT_NAME_LEN, 65, "name"},
		{AT_NAME, '\n', "name"},
		{AT_NAME, 0, "name"},
		{AT_NAME, 0xff, "name"},
		{AT_SUBNET, 8, "subnet"},
		{AT_SUBNET + 3, 1, "subnet"},
		{AT_BITS, 31, "subnet"},
		{AT_BITS, 15, "subnet"},
		{AT_BITS, 255, "subnet"},
		{AT_INVITES, 1, "invites"},
		{AT_INVITES + 46, 3, "invite"},
		{AT_INVITES + 46, 0, "invite"},
		{AT_INVITES + 38, 0x20, "out of range"},
	};
	struct fixture f;

	(void)state;
	setup(&f);
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		struct document *out = NULL;
		struct diag diag = {0};
		uint8_t before = f.bytes.data[rows[i].at];

		f.bytes.data[rows[i].at] = rows[i].value;
		assert_int_equal(document_parse(&out, f.bytes.data, f.bytes.len, NULL, &diag),
		                 DOCUMENT_BAD);
		if (strstr(diag.text, rows[i].why) == NULL)
			fail_msg("row %zu: %s", i, diag.text);
		f.bytes.data[rows[i].at] = before;
	}
	teardown(&f);
}

static void document_parse_unsorted_or_double_key_is_bad(void **state)
{
	struct fixture f;
	struct diag diag = {0};
	struct document *out = NULL;

	(void)state;
	setup(&f);
	memset(f.bytes.data + AT_INVITES + 2, 9, SIG_KEY_SIZE); /* now both are 9 */
	assert_int_equal(document_parse(&out, f.bytes.data, f.bytes.len, NULL, &diag),
	                 DOCUMENT_BAD);
	assert_string_equal(diag.text, "network document: invites are not sorted");
	memset(f.bytes.data + AT_INVITES + 2, 5, SIG_KEY_SIZE);

	size_t members = AT_INVITES + 2 + 2 * 45 + 2;
	memset(f.bytes.data + members, 8, SIG_KEY_SIZE);
	diag = (struct diag){0};
	assert_int_equal(document_parse(&out, f.bytes.data, f.bytes.len, NULL, &diag),
	                 DOCUMENT_BAD);
	assert_string_equal(diag.text, "network document: keys are not sorted");
	memset(f.bytes.data + members, 4, SIG_KEY_SIZE); /* also banned */
	diag = (struct diag){0};
	assert_int_equal(document_parse(&out, f.bytes.data, f.bytes.len, NULL, &diag),
	                 DOCUMENT_BAD);
	assert_string_equal(diag.text, "network document: a key stands in two lists");
	teardown(&f);
}

static void document_sign_again_follows_and_names_previous(void **state)
{
	struct fixture f;
	struct document *next = NULL;
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);

	(void)state;
	setup(&f);
	assert_int_equal(document_dup(&next, f.doc), 0);
	assert_int_equal(document_set_name(next, "office", NULL), DOCUMENT_OK);
	document_clear_invites(next);
	assert_int_equal(document_sign(next, f.owner, &bytes), 0);
	assert_int_equal(next->epoch, 2);
	assert_memory_equal(next->previous, f.doc->hash, DOCUMENT_HASH_SIZE);
	assert_memory_not_equal(next->hash, f.doc->hash, DOCUMENT_HASH_SIZE);
	assert_true(document_follows(f.doc, next));
	assert_false(document_follows(next, f.doc));
	assert_false(document_follows(next, next));

	struct document *parsed = NULL;
	assert_int_equal(document_parse(&parsed, bytes.data, bytes.len, f.doc->network_id, NULL),
	                 0);
	assert_string_equal(parsed->name, "office");
	assert_int_equal(parsed->n_invites, 0);
	parsed->subnet.bits++;
	assert_false(document_follows(f.doc, parsed));
	parsed->subnet.bits--;
	assert_true(document_follows(f.doc, parsed));
	parsed->network_id[0] ^= 1;
	assert_false(document_follows(f.doc, parsed));
	document_free(parsed);
	document_free(next);
	buf_deinit(&bytes);
	teardown(&f);
}

static void document_sign_foreign_identity_returns_einval_unchanged(void **state)
{
	struct fixture f;
	struct identity *other = NULL;
	uint8_t seed[IDENTITY_SEED_SIZE] = {77};
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
	struct buf small = BUF_INIT(10);

	(void)state;
	setup(&f);
	assert_int_equal(identity_from_seed(&other, seed), 0);
	assert_int_equal(document_sign(f.doc, other, &bytes), -EINVAL);
	assert_int_equal(bytes.len, 0);
	assert_int_equal(document_sign(f.doc, f.owner, &small), -ENOBUFS);
	assert_int_equal(f.doc->epoch, 1);
	assert_int_equal(document_encode(f.doc, &bytes), 0);
	assert_memory_equal(bytes.data, f.bytes.data, bytes.len);
	buf_deinit(&bytes);
	identity_free(other);
	teardown(&f);
}

static void document_lists_at_their_limits_encode_and_parse(void **state)
{
	struct fixture f;
	struct document *doc = NULL;
	uint8_t key[SIG_KEY_SIZE] = {0};
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
	struct document_invite invite = {.kind = DOCUMENT_INVITE_PASSWORD};

	(void)state;
	setup(&f);
	document_clear_invites(f.doc);
	for (unsigned i = 0; i < DOCUMENT_INVITES_MAX; i++)
		add_invite(f.doc, (uint8_t)(i + 1));
	memset(invite.key, 200, sizeof(invite.key));
	assert_int_equal(document_add_invite(f.doc, &invite), DOCUMENT_FULL);
	memset(invite.key, 1, sizeof(invite.key));
	assert_int_equal(document_add_invite(f.doc, &invite), DOCUMENT_OK); /* replaced */

	for (unsigned i = 0; f.doc->n_members < DOCUMENT_KEYS_MAX; i++) {
		key[0] = 0x80;
		key[1] = (uint8_t)(i * 7);
		key[2] = (uint8_t)(i >> 8);
		key[3] = (uint8_t)i;
		assert_int_equal(document_add_member(f.doc, key), DOCUMENT_OK);
		key[0] = 0x90;
		if (f.doc->n_banned < DOCUMENT_KEYS_MAX)
			assert_int_equal(document_ban(f.doc, key), DOCUMENT_OK);
	}
	while (f.doc->n_banned < DOCUMENT_KEYS_MAX) {
		key[0]++;
		assert_int_equal(document_ban(f.doc, key), DOCUMENT_OK);
	}
	memset(key, 0xff, sizeof(key));
	assert_int_equal(document_add_member(f.doc, key), DOCUMENT_FULL);
	assert_int_equal(document_ban(f.doc, key), DOCUMENT_FULL);
	memset(f.doc->name, 'n', DOCUMENT_NAME_MAX);
	assert_int_equal(document_sign(f.doc, f.owner, &bytes), 0);
	assert_true(bytes.len <= DOCUMENT_SIZE_MAX);
	assert_int_equal(document_parse(&doc, bytes.data, bytes.len, NULL, NULL), DOCUMENT_OK);
	assert_int_equal(doc->n_members, DOCUMENT_KEYS_MAX);
	assert_int_equal(doc->invites[0].kind, DOCUMENT_INVITE_PASSWORD);
	document_free(doc);
	buf_deinit(&bytes);
	teardown(&f);
}

static void document_ban_and_add_move_a_key(void **state)
{
	struct fixture f;
	uint8_t key[SIG_KEY_SIZE];

	(void)state;
	setup(&f);
	key_of(7, key);
	assert_true(document_has_member(f.doc, key));
	assert_int_equal(document_ban(f.doc, key), DOCUMENT_OK);
	assert_false(document_has_member(f.doc, key));
	assert_true(document_is_banned(f.doc, key));
	assert_int_equal(document_add_member(f.doc, key), DOCUMENT_OK);
	assert_true(document_has_member(f.doc, key));
	assert_false(document_is_banned(f.doc, key));
	assert_int_equal(document_unban(f.doc, key), DOCUMENT_NOT_FOUND);
	assert_int_equal(document_remove_member(f.doc, key), DOCUMENT_OK);
	assert_int_equal(document_remove_member(f.doc, key), DOCUMENT_NOT_FOUND);
	key_of(5, key);
	assert_non_null(document_find_invite(f.doc, key));
	assert_int_equal(document_remove_invite(f.doc, key), DOCUMENT_OK);
	assert_null(document_find_invite(f.doc, key));
	assert_int_equal(document_ban(f.doc, f.doc->owner), DOCUMENT_BAD);
	assert_int_equal(document_add_member(f.doc, f.doc->owner), DOCUMENT_OK);
	assert_false(document_has_member(f.doc, f.doc->owner));
	teardown(&f);
}

static void document_new_bad_name_or_subnet_says_which(void **state)
{
	static const struct {
		const char *name, *subnet, *why;
	} rows[] = {
		{"", "10.0.0.0/24", "name"},          {"a\nb", "10.0.0.0/24", "name"},
		{" a", "10.0.0.0/24", "name"},        {"ok", "10.0.0.0/8", "/16 and /30"},
		{"ok", "10.0.0.0/31", "/16 and /30"}, {"ok", "8.8.8.0/24", "10.0.0.0/8"},
		{"ok", "172.32.0.0/16", "172.16"},    {"ok", "fd00::/64", "IPv4"},
	};

	uint8_t owner[SIG_KEY_SIZE] = {1}, salt[NETID_SALT_SIZE] = {0};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(rows); i++) {
		struct netprefix subnet = subnet_of(rows[i].subnet);
		struct document *doc = NULL;
		struct diag diag = {0};

		assert_int_equal(document_new(&doc, owner, salt, rows[i].name, &subnet, &diag),
		                 DOCUMENT_BAD);
		assert_null(doc);
		if (strstr(diag.text, rows[i].why) == NULL)
			fail_msg("row %zu: %s", i, diag.text);
	}
}

static void document_new_private_subnets_are_taken(void **state)
{
	static const char *const subnets[] = {"10.255.0.0/16", "172.16.0.0/16", "172.31.255.0/24",
	                                      "192.168.4.0/30", "100.127.255.0/24"};
	uint8_t owner[SIG_KEY_SIZE] = {1}, salt[NETID_SALT_SIZE] = {0};

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(subnets); i++) {
		struct netprefix subnet = subnet_of(subnets[i]);
		struct document *doc = NULL;

		assert_int_equal(document_new(&doc, owner, salt, "n", &subnet, NULL), 0);
		document_free(doc);
	}
}

static void document_without_memory_returns_enomem_and_leaks_nothing(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	for (uint64_t n = 1; n < 12; n++) {
		struct document *out = NULL;

		mem_fail_at(n);
		int r = document_parse(&out, f.bytes.data, f.bytes.len, NULL, NULL);
		assert_true(r == DOCUMENT_OK || r == -ENOMEM);
		document_free(out);
		out = NULL;
		mem_fail_at(n);
		r = document_dup(&out, f.doc);
		assert_true(r == 0 || r == -ENOMEM);
		document_free(out);
		mem_fail_at(0);
	}
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(document_parse_signed_gives_everything_back),
		cmocka_unit_test(document_parse_any_flipped_bit_is_refused),
		cmocka_unit_test(document_parse_cut_or_longer_is_refused),
		cmocka_unit_test(document_parse_other_network_returns_foreign),
		cmocka_unit_test(document_parse_newer_version_returns_version),
		cmocka_unit_test(document_parse_value_out_of_range_is_bad),
		cmocka_unit_test(document_parse_unsorted_or_double_key_is_bad),
		cmocka_unit_test(document_sign_again_follows_and_names_previous),
		cmocka_unit_test(document_sign_foreign_identity_returns_einval_unchanged),
		cmocka_unit_test(document_lists_at_their_limits_encode_and_parse),
		cmocka_unit_test(document_ban_and_add_move_a_key),
		cmocka_unit_test(document_new_bad_name_or_subnet_says_which),
		cmocka_unit_test(document_new_private_subnets_are_taken),
		cmocka_unit_test(document_without_memory_returns_enomem_and_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
