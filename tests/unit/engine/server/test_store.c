/* SPDX-License-Identifier: MIT */

#include "base/diag.h"
#include "base/mem.h"
#include "engine/server/store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct store *s;
	char dir[64], path[96];
	uint8_t id[NETID_SIZE], key[SIG_KEY_SIZE], other[SIG_KEY_SIZE];
};

static void setup(struct fixture *f)
{
	*f = (struct fixture){.id = {1}, .key = {2}, .other = {3}};
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/govpn-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/db", f->dir);
	assert_int_equal(store_open(&f->s, f->path, NULL), STORE_OK);
}

static void teardown(struct fixture *f)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
	char path[128];

	store_close(f->s);
	for (size_t i = 0; i < GV_ARRAY_SIZE(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
		(void)unlink(path); /* not each one is there */
	}
	assert_int_equal(rmdir(f->dir), 0);
}

static int add_network(struct fixture *f, const char *code, int64_t active_unix_s)
{
	uint8_t document[] = {1, 2, 3};
	struct store_network n = {.epoch = 1,
	                          .active_unix_s = active_unix_s,
	                          .document = document,
	                          .document_n = sizeof(document)};

	memcpy(n.id, f->id, NETID_SIZE);
	memcpy(n.owner, f->key, SIG_KEY_SIZE);
	(void)snprintf(n.code, sizeof(n.code), "%s", code);
	return store_network_add(f->s, &n);
}

static int add_member(struct fixture *f, const uint8_t *key, uint32_t address, const char *label)
{
	uint8_t admission[] = {9, 8};
	struct store_member m = {
		.address = address, .admission = admission, .admission_n = sizeof(admission)};

	memcpy(m.key, key, SIG_KEY_SIZE);
	(void)snprintf(m.label, sizeof(m.label), "%s", label);
	return store_member_add(f->s, f->id, &m);
}

static void store_network_is_found_by_id_and_code(void **state)
{
	struct fixture f;
	struct store_network n;
	uint8_t id[NETID_SIZE];

	(void)state;
	setup(&f);
	assert_int_equal(store_network_get(f.s, f.id, &n), STORE_NOT_FOUND);
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 5), STORE_OK);
	assert_int_equal(store_network_get(f.s, f.id, &n), STORE_OK);
	assert_string_equal(n.code, "aaaaaaaaaa");
	assert_int_equal(n.epoch, 1);
	assert_int_equal(n.active_unix_s, 5);
	assert_int_equal(n.document_n, 3);
	store_network_deinit(&n);
	assert_int_equal(store_network_find(f.s, "aaaaaaaaaa", id), STORE_OK);
	assert_memory_equal(id, f.id, NETID_SIZE);
	assert_int_equal(store_network_find(f.s, "bbbbbbbbbb", id), STORE_NOT_FOUND);
	assert_int_equal(add_network(&f, "bbbbbbbbbb", 5), STORE_EXISTS);
	f.id[0]++;
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 5), STORE_EXISTS);
	teardown(&f);
}

static void store_member_address_and_label_are_unique(void **state)
{
	struct fixture f;
	bool used;

	(void)state;
	setup(&f);
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 5), STORE_OK);
	assert_int_equal(add_member(&f, f.key, 10, "a"), STORE_OK);
	assert_int_equal(add_member(&f, f.key, 11, "b"), STORE_EXISTS);
	assert_int_equal(add_member(&f, f.other, 10, "b"), STORE_EXISTS);
	assert_int_equal(add_member(&f, f.other, 11, "a"), STORE_EXISTS);
	assert_int_equal(add_member(&f, f.other, 11, "b"), STORE_OK);
	assert_int_equal(store_label_used(f.s, f.id, "a", f.key, &used), 0);
	assert_false(used);
	assert_int_equal(store_label_used(f.s, f.id, "a", f.other, &used), 0);
	assert_true(used);
	teardown(&f);
}

static void store_network_remove_takes_everything_with_it(void **state)
{
	struct fixture f;
	struct ipam_lease lease = {.address = 10}, *leases = NULL;
	uint64_t networks, members, uses;
	size_t n;

	(void)state;
	setup(&f);
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 5), STORE_OK);
	assert_int_equal(add_member(&f, f.key, 10, "a"), STORE_OK);
	assert_int_equal(store_lease_put(f.s, f.id, &lease), 0);
	assert_int_equal(store_invite_use(f.s, f.id, f.other), 0);
	assert_int_equal(store_invite_use(f.s, f.id, f.other), 0);
	assert_int_equal(store_invite_uses(f.s, f.id, f.other, &uses), 0);
	assert_int_equal(uses, 2);
	assert_int_equal(store_counts(f.s, &networks, &members), 0);
	assert_int_equal(networks + members, 2);
	assert_int_equal(store_network_remove(f.s, f.id), STORE_OK);
	assert_int_equal(store_network_remove(f.s, f.id), STORE_NOT_FOUND);
	assert_int_equal(store_counts(f.s, &networks, &members), 0);
	assert_int_equal(networks + members, 0);
	assert_int_equal(store_leases(f.s, f.id, &leases, &n), 0);
	assert_int_equal(n, 0);
	mem_free(leases);
	assert_int_equal(store_invite_uses(f.s, f.id, f.other, &uses), 0);
	assert_int_equal(uses, 0);
	teardown(&f);
}

static void store_lease_replaces_address_and_key(void **state)
{
	struct fixture f;
	struct ipam_lease a = {.address = 10}, b = {.address = 11}, *leases = NULL;
	size_t n;

	(void)state;
	setup(&f);
	memcpy(a.key, f.key, SIG_KEY_SIZE);
	memcpy(b.key, f.other, SIG_KEY_SIZE);
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 5), STORE_OK);
	assert_int_equal(store_lease_put(f.s, f.id, &b), 0);
	assert_int_equal(store_lease_put(f.s, f.id, &a), 0);
	assert_int_equal(store_lease_release(f.s, f.id, f.key, 77), 0);
	assert_int_equal(store_leases(f.s, f.id, &leases, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(leases[0].address, 10);
	assert_int_equal(leases[0].released_unix_s, 77);
	mem_free(leases);
	b.address = 10; /* the other key moves to the address that rested */
	assert_int_equal(store_lease_put(f.s, f.id, &b), 0);
	assert_int_equal(store_leases(f.s, f.id, &leases, &n), 0);
	assert_int_equal(n, 1);
	assert_memory_equal(leases[0].key, f.other, SIG_KEY_SIZE);
	mem_free(leases);
	teardown(&f);
}

static void store_rollback_leaves_nothing(void **state)
{
	struct fixture f;
	uint64_t networks, members;

	(void)state;
	setup(&f);
	assert_int_equal(store_begin(f.s), 0);
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 5), STORE_OK);
	store_rollback(f.s);
	store_rollback(f.s); /* without one nothing happens */
	assert_int_equal(store_begin(f.s), 0);
	assert_int_equal(store_commit(f.s), 0);
	assert_int_equal(store_counts(f.s, &networks, &members), 0);
	assert_int_equal(networks, 0);
	teardown(&f);
}

static void store_reopened_keeps_what_was_committed(void **state)
{
	struct fixture f;
	struct store_member *list = NULL;
	size_t n;

	(void)state;
	setup(&f);
	assert_int_equal(store_begin(f.s), 0);
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 5), STORE_OK);
	assert_int_equal(add_member(&f, f.key, 10, "a"), STORE_OK);
	assert_int_equal(store_commit(f.s), 0);
	assert_int_equal(store_begin(f.s), 0);
	assert_int_equal(add_member(&f, f.other, 11, "b"), STORE_OK);
	store_close(f.s); /* in the middle */
	assert_int_equal(store_open(&f.s, f.path, NULL), STORE_OK);
	assert_int_equal(store_members(f.s, f.id, &list, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(list[0].address, 10);
	assert_string_equal(list[0].label, "a");
	assert_int_equal(list[0].admission_n, 2);
	store_members_free(list, n);
	teardown(&f);
}

static void store_idle_gives_the_oldest_unused(void **state)
{
	struct fixture f;
	uint8_t id[NETID_SIZE];

	(void)state;
	setup(&f);
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 50), STORE_OK);
	f.id[0]++;
	assert_int_equal(add_network(&f, "bbbbbbbbbb", 40), STORE_OK);
	assert_int_equal(store_network_idle(f.s, 40, id), STORE_NOT_FOUND);
	assert_int_equal(store_network_idle(f.s, 60, id), STORE_OK);
	assert_memory_equal(id, f.id, NETID_SIZE);
	assert_int_equal(store_network_touch(f.s, f.id, 60), 0);
	assert_int_equal(store_network_idle(f.s, 50, id), STORE_NOT_FOUND);
	assert_int_equal(store_network_touch(f.s, f.id, 30), 0); /* a later mark stays */
	assert_int_equal(store_network_idle(f.s, 50, id), STORE_NOT_FOUND);
	/* All with marks in a range: the one of 50, not that of 60. */
	assert_int_equal(store_networks_touch(f.s, 50, 59, 70), 0);
	assert_int_equal(store_network_idle(f.s, 70, id), STORE_OK);
	assert_memory_equal(id, f.id, NETID_SIZE);
	assert_int_equal(store_network_idle(f.s, 60, id), STORE_NOT_FOUND);
	assert_int_equal(store_networks_touch(f.s, 0, 100, 65), 0);
	assert_int_equal(store_network_idle(f.s, 65, id), STORE_NOT_FOUND);
	assert_int_equal(store_network_idle(f.s, 70, id), STORE_OK);
	teardown(&f);
}

static void store_failures_of_existing_networks_are_kept(void **state)
{
	struct fixture f;
	struct store_failures set = {.window_unix_s = 100, .count = 3, .streak = 4}, got;
	uint8_t known[1 + NETID_SIZE] = {'n'}, unknown[1 + NETID_SIZE] = {'n', 99};

	(void)state;
	setup(&f);
	memcpy(known + 1, f.id, NETID_SIZE);
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 5), STORE_OK);
	assert_int_equal(store_failures_set(f.s, known, sizeof(known), &set), 0);
	assert_int_equal(store_failures_set(f.s, unknown, sizeof(unknown), &set), 0);
	assert_int_equal(store_failures_purge(f.s, 100), 0);
	assert_int_equal(store_failures_get(f.s, unknown, sizeof(unknown), &got), 0);
	assert_int_equal(got.count, 3);
	assert_int_equal(store_failures_purge(f.s, 101), 0);
	assert_int_equal(store_failures_get(f.s, unknown, sizeof(unknown), &got), 0);
	assert_int_equal(got.count, 0);
	assert_int_equal(store_failures_get(f.s, known, sizeof(known), &got), 0);
	assert_int_equal(got.streak, 4);
	assert_int_equal(store_failures_clear(f.s, known, sizeof(known)), 0);
	assert_int_equal(store_failures_get(f.s, known, sizeof(known), &got), 0);
	assert_int_equal(got.streak, 0);
	teardown(&f);
}

/* ---- files that are not ours ---- */

static void overwrite(const char *path, off_t at, const void *bytes, size_t n)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, at), n);
	assert_int_equal(close(fd), 0);
}

static void store_open_of_foreign_files_is_refused(void **state)
{
	static const uint8_t version_9[4] = {0, 0, 0, 9}, zero[4] = {0};
	uint8_t noise[4096];
	struct fixture f;
	struct diag diag = {0};
	struct store *s = NULL;

	(void)state;
	setup(&f);
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 5), STORE_OK);
	store_close(f.s); /* writes all into the one file */
	f.s = NULL;
	overwrite(f.path, 60, version_9, 4); /* user_version in the header of the file format */
	assert_int_equal(store_open(&s, f.path, &diag), STORE_NEWER);
	assert_non_null(strstr(diag.text, "9"));
	overwrite(f.path, 68, zero, 4); /* application_id */
	assert_int_equal(store_open(&s, f.path, NULL), STORE_FOREIGN);
	memset(noise, 'x', sizeof(noise));
	overwrite(f.path, 0, noise, sizeof(noise));
	assert_int_equal(store_open(&s, f.path, NULL), STORE_CORRUPT);
	assert_null(s);
	teardown(&f);
}

static void store_open_of_damaged_page_is_refused(void **state)
{
	uint8_t noise[2048];
	struct fixture f;
	struct store *s = NULL;

	(void)state;
	setup(&f);
	assert_int_equal(add_network(&f, "aaaaaaaaaa", 5), STORE_OK);
	store_close(f.s);
	f.s = NULL;
	memset(noise, 0xa5, sizeof(noise));
	overwrite(f.path, 4096, noise, sizeof(noise));
	assert_int_equal(store_open(&s, f.path, NULL), STORE_CORRUPT);
	teardown(&f);
}

static void store_open_in_missing_folder_fails(void **state)
{
	struct store *s = NULL;

	(void)state;
	assert_true(store_open(&s, "/nonexistent-folder/db", NULL) < 0);
	assert_null(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_network_is_found_by_id_and_code),
		cmocka_unit_test(store_member_address_and_label_are_unique),
		cmocka_unit_test(store_network_remove_takes_everything_with_it),
		cmocka_unit_test(store_lease_replaces_address_and_key),
		cmocka_unit_test(store_rollback_leaves_nothing),
		cmocka_unit_test(store_reopened_keeps_what_was_committed),
		cmocka_unit_test(store_idle_gives_the_oldest_unused),
		cmocka_unit_test(store_failures_of_existing_networks_are_kept),
		cmocka_unit_test(store_open_of_foreign_files_is_refused),
		cmocka_unit_test(store_open_of_damaged_page_is_refused),
		cmocka_unit_test(store_open_in_missing_folder_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
