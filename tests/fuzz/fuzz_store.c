/* SPDX-License-Identifier: MIT */

/*
 * Rows of the server's database as they are read back, whoever wrote them: the input fills tables with columns of any size and
 * value, past the functions that write, and all that reads is asked. A row of the wrong form is damage (-EUCLEAN), never a value.
 *
 * Input: rows; the first byte names the table, each column begins with its length or, for numbers, is 8 bytes long.
 */

#include "engine/server/store_sqlite.c"

#include "base/bytes.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t id[NETID_SIZE] = {1}, key[SIG_KEY_SIZE] = {2};

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* A blob or text of the input; a length of 255 stands for the one key that the readers ask for. */
static void put_bytes(struct bytes_reader *r, sqlite3_stmt *st, int i, const void *known,
                      size_t known_n)
{
	size_t n = bytes_read_u8(r);

	if (n == 255) {
		bind_blob(st, i, known, known_n);
		return;
	}
	n = GV_MIN(n, r->left);
	bind_blob(st, i, bytes_read(r, n), n);
}

static void put_text(struct bytes_reader *r, sqlite3_stmt *st, int i)
{
	size_t n = GV_MIN((size_t)bytes_read_u8(r), r->left);

	(void)sqlite3_bind_text(st, i, (const char *)bytes_read(r, n), (int)n, SQLITE_STATIC);
}

static void put_number(struct bytes_reader *r, sqlite3_stmt *st, int i)
{
	bind_int(st, i, (int64_t)bytes_read_u64(r));
}

static void put_network(struct store *s, struct bytes_reader *r)
{
	sqlite3_stmt *st = statement(s, ST_NETWORK_ADD);

	put_bytes(r, st, 1, id, sizeof(id));
	put_text(r, st, 2);
	put_bytes(r, st, 3, key, sizeof(key));
	put_number(r, st, 4);
	put_number(r, st, 5);
	put_bytes(r, st, 6, "", 0);
	(void)!run(st);
}

static void put_member(struct store *s, struct bytes_reader *r)
{
	sqlite3_stmt *st = statement(s, ST_MEMBER_ADD);

	put_bytes(r, st, 1, id, sizeof(id));
	put_bytes(r, st, 2, key, sizeof(key));
	put_number(r, st, 3);
	put_text(r, st, 4);
	put_bytes(r, st, 5, "", 0);
	(void)!run(st);
}

static void put_other(struct store *s, struct bytes_reader *r, uint8_t kind)
{
	sqlite3_stmt *st = statement(s, kind == 2   ? ST_LEASE_ADD
	                                : kind == 3 ? ST_INVITE_USE
	                                            : ST_FAILURES_SET);

	if (kind == 4) {
		put_bytes(r, st, 1, id, sizeof(id));
		for (int i = 2; i <= 4; i++)
			put_number(r, st, i);
	} else {
		put_bytes(r, st, 1, id, sizeof(id));
		if (kind == 2)
			put_number(r, st, 2);
		put_bytes(r, st, kind == 2 ? 3 : 2, key, sizeof(key));
		if (kind == 2) {
			put_bytes(r, st, 4, key, sizeof(key));
			put_number(r, st, 5);
		}
	}
	(void)!run(st);
}

static void read_lists(struct store *s)
{
	struct store_member *members = NULL;
	struct ipam_lease *leases = NULL;
	struct store_key *invites = NULL;
	struct store_id ids[3];
	size_t n = 0;

	int r = store_members(s, id, &members, &n);
	check(r == 0 || r == -EUCLEAN);
	for (size_t i = 0; r == 0 && i < n; i++)
		check(strlen(members[i].label) < sizeof(members[i].label));
	if (r == 0)
		store_members_free(members, n);
	r = store_leases(s, id, &leases, &n);
	check(r == 0 || r == -EUCLEAN);
	mem_free(leases);
	r = store_invites(s, id, &invites, &n);
	check(r == 0 || r == -EUCLEAN);
	mem_free(invites);
	r = store_networks_of(s, key, ids, GV_ARRAY_SIZE(ids), &n);
	check((r == 0 || r == -EUCLEAN) && n <= GV_ARRAY_SIZE(ids));
}

static void read_single(struct store *s)
{
	struct store_network net = {0};
	struct store_member member = {0};
	struct store_failures failures;
	uint8_t found[NETID_SIZE];
	uint64_t a, b;
	bool used;

	int r = store_network_get(s, id, &net);
	check(r == 0 || r == STORE_NOT_FOUND || r == -EUCLEAN);
	if (r == 0) {
		check(strlen(net.code) < sizeof(net.code));
		(void)!store_network_find(s, net.code, found);
		store_network_deinit(&net);
	}
	r = store_member_get(s, id, key, &member);
	check(r == 0 || r == STORE_NOT_FOUND || r == -EUCLEAN);
	if (r == 0)
		store_member_deinit(&member);
	r = store_network_idle(s, INT64_MAX, found);
	check(r == 0 || r == STORE_NOT_FOUND || r == -EUCLEAN);
	check(store_networks_owned(s, key, &a) == 0 && store_counts(s, &a, &b) == 0);
	check(store_label_used(s, id, "label", key, &used) == 0);
	check(store_invite_uses(s, id, key, &a) == 0);
	check(store_failures_get(s, id, sizeof(id), &failures) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct store *s;
	struct bytes_reader r = bytes_reader(data, size);

	if (s == NULL)
		check(store_open(&s, ":memory:", NULL) == STORE_OK);
	check(store_begin(s) == 0);
	for (int rows = 0; r.ok && r.left > 0 && rows < 16; rows++) {
		uint8_t kind = bytes_read_u8(&r) % 5;

		if (kind == 0)
			put_network(s, &r);
		else if (kind == 1)
			put_member(s, &r);
		else
			put_other(s, &r, kind);
	}
	read_lists(s);
	read_single(s);
	store_rollback(s);
	return 0;
}
