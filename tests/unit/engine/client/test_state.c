/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "crypto/identity.h"
#include "engine/client/state.h"
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOW_S 1700000000

/* What the module asked of the disk, in order: F a file synced, R renamed, D a folder synced. */
static char calls[16];

static void note(char what)
{
	size_t n = strlen(calls);

	if (n < sizeof(calls) - 1)
		calls[n] = what;
}

/* In place of the libc's: the order is what survives a loss of power. */
int fsync(int fd)
{
	struct stat st;

	note(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? 'D' : 'F');
	return (int)syscall(SYS_fsync, fd);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	note('R');
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

struct fixture {
	char top[64], dir[80]; /* top is made by the test, dir by state_open() */
};

static int set_up(void **state)
{
	static struct fixture f;

	(void)snprintf(f.top, sizeof(f.top), "/tmp/govpn-test-XXXXXX"); /* fits */
	assert_non_null(mkdtemp(f.top));
	(void)snprintf(f.dir, sizeof(f.dir), "%s/state", f.top); /* fits */
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	const struct fixture *f = *state;

	folder_remove(f->dir);
	assert_int_equal(rmdir(f->top), 0);
	return 0;
}

static struct state *open_ok(const struct fixture *f)
{
	struct state *s = NULL;
	struct diag diag = {0};
	int r = state_open(&s, f->dir, &diag);

	if (r != STATE_OK)
		fail_msg("%d: %s", r, diag.text);
	return s;
}

/* It must refuse, say why, and leave the files alone. */
static void expect_refused(const struct fixture *f, int want, const char *word)
{
	struct state *s = NULL;
	struct diag diag = {0};

	assert_int_equal(state_open(&s, f->dir, &diag), want);
	assert_null(s);
	if (strstr(diag.text, word) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", diag.text, word);
}

static void path_of(const struct fixture *f, const char *name, char out[static 120])
{
	(void)snprintf(out, 120, "%s/%s", f->dir, name); /* fits */
}

static void write_file(const struct fixture *f, const char *name, const char *text)
{
	char path[120];

	path_of(f, name, path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

static mode_t mode_of(const struct fixture *f, const char *name)
{
	char path[120];
	struct stat st;

	path_of(f, name, path);
	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

/* A network this computer owns. */
static struct state_network *make_network(const struct state *s, uint8_t number)
{
	struct state_network *n = state_network_new();
	const uint8_t salt[NETID_SALT_SIZE] = {number};
	struct netprefix subnet;
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);

	assert_non_null(n);
	assert_true(netprefix_parse("10.1.2.0/24", &subnet));
	assert_int_equal(document_new(&n->doc, s->key, salt, "l\xc3\xa4n", &subnet, NULL), 0);
	assert_int_equal(document_sign(n->doc, s->id, &bytes), 0);
	buf_deinit(&bytes);
	n->admission = (struct admission){.joined_unix_s = NOW_S, .unix_s = NOW_S};
	memcpy(n->admission.network_id, n->doc->network_id, NETID_SIZE);
	memcpy(n->admission.key, s->key, SIG_KEY_SIZE);
	(void)snprintf(n->admission.name, sizeof(n->admission.name), "desk");   /* fits */
	(void)snprintf(n->admission.label, sizeof(n->admission.label), "desk"); /* fits */
	assert_int_equal(admission_sign(&n->admission, s->id), 0);
	assert_int_equal(link_server_parse("https://s.example:8443", &n->server.at, NULL), LINK_OK);
	n->server.trust = STATE_TRUST_CA;
	n->server.ca_pem = mem_strdup("-----BEGIN CERTIFICATE-----\n\"x\"\n");
	assert_non_null(n->server.ca_pem);
	(void)snprintf(n->code, sizeof(n->code), "abcdefghij"); /* fits */
	(void)snprintf(n->ifname, sizeof(n->ifname), "govpn3"); /* fits */
	n->ip4 = netaddr_ip4(0x0a010205, 0);
	n->up = true;
	n->broadcast = STATE_BROADCAST_OFF;
	const struct state_banned banned = {
		.key = {9}, .name = "Ben", .label = "ben", .ip4 = netaddr_ip4(0x0a010209, 0)};
	assert_int_equal(state_ban(n, &banned), 0);
	return n;
}

static void state_fresh_folder_gets_a_private_identity(void **state)
{
	const struct fixture *f = *state;
	uint8_t key[SIG_KEY_SIZE];

	(void)umask(0); /* must not matter */
	struct state *s = open_ok(f);
	memcpy(key, s->key, sizeof(key));
	assert_int_equal(s->n_networks, 0);
	state_close(s);
	assert_int_equal(mode_of(f, "identity.key"), 0600);
	assert_int_equal(mode_of(f, "."), 0700);
	s = open_ok(f);
	assert_memory_equal(s->key, key, sizeof(key));
	state_close(s);
}

static void state_saved_networks_come_back(void **state)
{
	const struct fixture *f = *state;
	uint8_t id[NETID_SIZE];
	struct state *s = open_ok(f);

	(void)snprintf(s->name, sizeof(s->name), "my desk"); /* fits */
	struct state_network *n = make_network(s, 1);
	memcpy(id, n->doc->network_id, sizeof(id));
	n->signed_epoch = 12;
	assert_int_equal(state_add(s, n), 0);
	/* The second one as former versions wrote it. */
	assert_int_equal(state_add(s, make_network(s, 2)), 0);
	assert_int_equal(state_save(s), 0);
	state_close(s);
	assert_int_equal(mode_of(f, "networks.json"), 0600);

	s = open_ok(f);
	assert_int_equal(s->n_networks, 2);
	assert_string_equal(s->name, "my desk");
	n = state_find(s, id);
	assert_non_null(n);
	assert_string_equal(n->doc->name, "l\xc3\xa4n");
	assert_int_equal(n->doc->epoch, 1);
	assert_int_equal(n->signed_epoch, 12);
	assert_int_equal(s->networks[1]->signed_epoch, 0);
	assert_string_equal(n->code, "abcdefghij");
	assert_string_equal(n->ifname, "govpn3");
	assert_string_equal(n->server.at.host, "s.example");
	assert_int_equal(n->server.trust, STATE_TRUST_CA);
	assert_string_equal(n->server.ca_pem, "-----BEGIN CERTIFICATE-----\n\"x\"\n");
	assert_int_equal(netaddr_u32(&n->ip4), 0x0a010205);
	assert_true(n->up);
	assert_int_equal(n->broadcast, STATE_BROADCAST_OFF);
	assert_int_equal(n->n_banned, 1);
	assert_string_equal(n->banned[0].name, "Ben");
	assert_int_equal(netaddr_u32(&n->banned[0].ip4), 0x0a010209);
	assert_int_equal(admission_verify(&n->admission, n->doc, NULL), ADMISSION_OK);
	state_take(s, n);
	state_network_free(n);
	assert_int_equal(s->n_networks, 1);
	assert_null(state_find(s, id));
	state_close(s);
}

static void state_second_daemon_is_locked_out(void **state)
{
	const struct fixture *f = *state;
	struct state *s = open_ok(f);

	expect_refused(f, STATE_LOCKED, "another govpnd");
	state_close(s);
	state_close(open_ok(f));
}

static void state_damaged_files_are_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"{\"networks\": [",
		"{\"colour\": \"red\"}\n",
		"[]",
		"{\"version\":1}",
		"{\"version\":1,\"networks\":[{}]}",
		"{\"version\":1,\"networks\":[7]}",
		"{\"version\":1,\"version\":1,\"networks\":[]}",
		"{\"version\":1,\"name\":\"a\\nb\",\"networks\":[]}",
	};
	const struct fixture *f = *state;

	state_close(open_ok(f));
	for (size_t i = 0; i < GV_ARRAY_SIZE(texts); i++) {
		write_file(f, "networks.json", texts[i]);
		expect_refused(f, STATE_CORRUPT, "networks.json is damaged");
	}
	write_file(f, "networks.json", "{\"version\":1,\"networks\":[]}");
	write_file(f, "identity.key", "garbage");
	expect_refused(f, STATE_CORRUPT, "identity.key");
	write_file(f, "identity.key", "");
	expect_refused(f, STATE_CORRUPT, "identity.key");
}

static void state_newer_version_is_foreign(void **state)
{
	const struct fixture *f = *state;

	state_close(open_ok(f));
	write_file(f, "networks.json", "{\"version\":2,\"networks\":[]}");
	expect_refused(f, STATE_FOREIGN, "version");
}

static void state_networks_of_another_identity_are_foreign(void **state)
{
	const struct fixture *f = *state;
	struct state *s = open_ok(f);

	assert_int_equal(state_add(s, make_network(s, 1)), 0);
	assert_int_equal(state_save(s), 0);
	state_close(s);
	/* The seed of 32 zero bytes. */
	write_file(f, "identity.key",
	           "govpn-identity-1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
	expect_refused(f, STATE_FOREIGN, "identity");
}

static void state_lost_identity_is_not_made_again(void **state)
{
	const struct fixture *f = *state;
	struct state *s = open_ok(f);
	char path[120];

	assert_int_equal(state_save(s), 0);
	state_close(s);
	path_of(f, "identity.key", path);
	assert_int_equal(unlink(path), 0);
	expect_refused(f, STATE_CORRUPT, "identity.key is missing");
	assert_int_not_equal(access(path, F_OK), 0);
}

static void state_files_open_to_others_are_refused(void **state)
{
	const struct fixture *f = *state;
	char path[120];

	state_close(open_ok(f));
	path_of(f, "identity.key", path);
	assert_int_equal(chmod(path, 0644), 0);
	expect_refused(f, STATE_DENIED, "identity.key");
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(chmod(f->dir, 0777), 0);
	expect_refused(f, STATE_DENIED, "written by others");
	assert_int_equal(chmod(f->dir, 0700), 0);
}

static void state_links_and_pipes_are_not_followed(void **state)
{
	const struct fixture *f = *state;
	char path[120], target[120];

	state_close(open_ok(f));
	path_of(f, "networks.json", path);
	path_of(f, "identity.key", target);
	assert_int_equal(symlink(target, path), 0);
	expect_refused(f, STATE_DENIED, "networks.json");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	expect_refused(f, STATE_CORRUPT, "no regular file");
	assert_int_equal(unlink(path), 0);
}

/* A crash between writing and renaming leaves the old file and a new one beside it. */
static void state_leftover_of_a_crash_does_not_count(void **state)
{
	const struct fixture *f = *state;
	struct state *s = open_ok(f);
	char path[120];

	assert_int_equal(state_add(s, make_network(s, 1)), 0);
	assert_int_equal(state_save(s), 0);
	state_close(s);
	write_file(f, "networks.json.new", "{\"version\":1,\"netw");
	s = open_ok(f);
	assert_int_equal(s->n_networks, 1);
	assert_int_equal(state_save(s), 0);
	state_close(s);
	path_of(f, "networks.json.new", path);
	assert_int_not_equal(access(path, F_OK), 0);
	s = open_ok(f);
	assert_int_equal(s->n_networks, 1);
	state_close(s);
}

static void state_save_that_fails_keeps_the_old_file(void **state)
{
	const struct fixture *f = *state;
	struct state *s = open_ok(f);
	char path[120];

	assert_int_equal(state_add(s, make_network(s, 1)), 0);
	assert_int_equal(state_save(s), 0);
	/* Something in the way of the new file that cannot be removed. */
	path_of(f, "networks.json.new", path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(state_add(s, make_network(s, 2)), 0);
	assert_true(state_save(s) < 0);
	state_close(s);
	assert_int_equal(rmdir(path), 0);
	s = open_ok(f);
	assert_int_equal(s->n_networks, 1);
	state_close(s);
}

static void state_save_is_synced_before_and_after_the_rename(void **state)
{
	const struct fixture *f = *state;
	struct state *s = open_ok(f);

	memset(calls, 0, sizeof(calls));
	assert_int_equal(state_save(s), 0);
	assert_string_equal(calls, "FRD");
	state_close(s);
}

/* Whichever allocation fails: the file is whole, the old one or the new one. */
static void state_save_without_memory_leaves_a_whole_file(void **state)
{
	const struct fixture *f = *state;
	struct state *s = open_ok(f);
	bool hit = true;

	assert_int_equal(state_add(s, make_network(s, 1)), 0);
	assert_int_equal(state_save(s), 0);
	state_close(s);
	for (unsigned n = 1; hit; n++) {
		s = open_ok(f);
		assert_int_equal(s->n_networks, 1);
		mem_fail_at(n);
		int r = state_save(s);
		hit = mem_fail_hit();
		mem_fail_at(0);
		assert_true(r == 0 || r == -ENOMEM);
		assert_true(r < 0 || !hit);
		state_close(s);
	}
	state_close(open_ok(f));
}

static void state_bans_keep_the_newest(void **state)
{
	const struct fixture *f = *state;
	struct state *s = open_ok(f);
	struct state_network *n = make_network(s, 1);
	struct state_banned b = {.name = "x", .label = "x"};

	for (unsigned i = 0; i < STATE_BANNED_MAX; i++) {
		b.key[0] = (uint8_t)i;
		b.key[1] = 1;
		assert_int_equal(state_ban(n, &b), 0);
	}
	assert_int_equal(n->n_banned, STATE_BANNED_MAX);
	/* The one of make_network() was the oldest. */
	assert_string_equal(n->banned[0].name, "x");
	assert_int_equal(state_ban(n, &b), 0); /* again: no second entry */
	assert_int_equal(n->n_banned, STATE_BANNED_MAX);
	state_unban(n, b.key);
	assert_int_equal(n->n_banned, STATE_BANNED_MAX - 1);
	state_network_free(n);
	state_close(s);
}

static void state_network_twice_is_damaged(void **state)
{
	const struct fixture *f = *state;
	struct state *s = open_ok(f);

	assert_int_equal(state_add(s, make_network(s, 1)), 0);
	assert_int_equal(state_add(s, make_network(s, 1)), 0);
	assert_int_equal(state_save(s), 0);
	state_close(s);
	expect_refused(f, STATE_CORRUPT, "damaged");
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(state_fresh_folder_gets_a_private_identity),
		CASE(state_saved_networks_come_back),
		CASE(state_second_daemon_is_locked_out),
		CASE(state_damaged_files_are_refused),
		CASE(state_newer_version_is_foreign),
		CASE(state_networks_of_another_identity_are_foreign),
		CASE(state_lost_identity_is_not_made_again),
		CASE(state_files_open_to_others_are_refused),
		CASE(state_links_and_pipes_are_not_followed),
		CASE(state_leftover_of_a_crash_does_not_count),
		CASE(state_save_that_fails_keeps_the_old_file),
		CASE(state_save_is_synced_before_and_after_the_rename),
		CASE(state_save_without_memory_leaves_a_whole_file),
		CASE(state_bans_keep_the_newest),
		CASE(state_network_twice_is_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
