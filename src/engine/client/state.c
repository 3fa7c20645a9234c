/* SPDX-License-Identifier: MIT */

#include "engine/client/state.h"

#include "base/buf.h"
#include "base/enc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypto/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

LOG_MODULE("state");

#define KEY_FILE      "identity.key"
#define NETWORKS_FILE "networks.json"
#define LOCK_FILE     "lock"
#define KEY_PREFIX    "govpn-identity-1 "
#define KEY_TEXT_SIZE (sizeof(KEY_PREFIX) - 1 + ENC_BASE64_SIZE(IDENTITY_SEED_SIZE) + 1)

struct state_network *state_network_new(void)
{
	return mem_new(struct state_network);
}

void state_server_deinit(struct state_server *s)
{
	mem_free(GV_STEAL(s->ca_pem));
}

void state_network_free(struct state_network *n)
{
	if (n == NULL)
		return;
	state_server_deinit(&n->server);
	document_free(n->doc);
	mem_free(n->banned);
	mem_free(n);
}

int state_ban(struct state_network *n, const struct state_banned *banned)
{
	state_unban(n, banned->key);
	if (n->n_banned == STATE_BANNED_MAX)
		state_unban(n, n->banned[0].key);
	struct state_banned *list = mem_resize(n->banned, n->n_banned + 1, sizeof(*list));
	if (list == NULL)
		return err_here(-ENOMEM);
	list[n->n_banned++] = *banned;
	n->banned = list;
	return 0;
}

void state_unban(struct state_network *n, const uint8_t key[static SIG_KEY_SIZE])
{
	for (size_t i = 0; i < n->n_banned; i++) {
		if (memcmp(n->banned[i].key, key, SIG_KEY_SIZE) != 0)
			continue;
		memmove(&n->banned[i], &n->banned[i + 1],
		        (n->n_banned - i - 1) * sizeof(n->banned[0]));
		n->n_banned--;
		return;
	}
}

int state_add(struct state *s, struct state_network *n)
{
	if (s->n_networks == STATE_NETWORKS_MAX)
		return err_here(-ENOBUFS);
	s->networks[s->n_networks++] = n;
	return 0;
}

void state_take(struct state *s, const struct state_network *n)
{
	for (size_t i = 0; i < s->n_networks; i++) {
		if (s->networks[i] != n)
			continue;
		memmove(&s->networks[i], &s->networks[i + 1],
		        (s->n_networks - i - 1) * sizeof(s->networks[0]));
		s->n_networks--;
		return;
	}
}

struct state_network *state_find(const struct state *s, const uint8_t id[static NETID_SIZE])
{
	for (size_t i = 0; i < s->n_networks; i++) {
		if (memcmp(s->networks[i]->doc->network_id, id, NETID_SIZE) == 0)
			return s->networks[i];
	}
	return NULL;
}

bool state_server_equal(const struct state_server *a, const struct state_server *b)
{
	if (!link_server_equal(&a->at, &b->at) || a->trust != b->trust)
		return false;
	switch (a->trust) {
	case STATE_TRUST_CA:
		return strcmp(a->ca_pem, b->ca_pem) == 0;
	case STATE_TRUST_PIN:
		return memcmp(a->pin, b->pin, sizeof(a->pin)) == 0;
	case STATE_TRUST_SYSTEM:
	case STATE_TRUST_INSECURE:
		return true;
	}
	return false;
}

int state_server_copy(struct state_server *out, const struct state_server *s)
{
	char *ca = mem_strdup(s->ca_pem);

	if (s->ca_pem != NULL && ca == NULL) {
		*out = (struct state_server){0};
		return err_here(-ENOMEM);
	}
	*out = *s;
	out->ca_pem = ca;
	return 0;
}

/*
 * --- files
 * ------------------------------------------------------------------------------------------
 */

/* Errors that a person can cure get a sentence. */
static int file_result(int e, const char *name, struct diag *diag)
{
	switch (e) {
	case EACCES:
	case EPERM:
	case EROFS:
		diag_set(diag, "no right to use %s: %s", name, strerror(e));
		return STATE_DENIED;
	case ELOOP:
	case ENOTDIR:
	case EISDIR:
		diag_set(diag, "%s: %s", name, strerror(e));
		return STATE_DENIED;
	default:
		diag_set(diag, "%s: %s", name, strerror(e));
		return err_here(-e);
	}
}

static int open_folder(struct state *s, const char *dir, struct diag *diag)
{
	struct stat st;

	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return file_result(errno, dir, diag);
	s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0 || fstat(s->dir_fd, &st) != 0)
		return file_result(errno, dir, diag);
	if (st.st_uid != geteuid() && st.st_uid != 0) {
		diag_set(diag, "%s belongs to another user", dir);
		return STATE_DENIED;
	}
	if ((st.st_mode & 0022) != 0) {
		diag_set(diag, "%s can be written by others: chmod 0700 %s", dir, dir);
		return STATE_DENIED;
	}
	s->lock_fd = openat(s->dir_fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return file_result(errno, LOCK_FILE, diag);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK)
			return file_result(errno, LOCK_FILE, diag);
		diag_set(diag, "another govpnd uses %s", dir);
		return STATE_LOCKED;
	}
	return STATE_OK;
}

/*
 * Reads a private file. A missing one leaves out empty and sets *missing.
 * Returns STATE_OK, STATE_CORRUPT, STATE_DENIED; -ENOMEM; -errno.
 */
static int read_file(const struct state *s, const char *name, struct buf *out, bool *missing,
                     struct diag *diag)
{
	char chunk[4096];
	struct stat st;
	ssize_t n = 0;
	int r = STATE_OK;

	int fd = openat(s->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	*missing = fd < 0 && errno == ENOENT;
	if (fd < 0)
		return *missing ? STATE_OK : file_result(errno, name, diag);
	if (fstat(fd, &st) != 0) {
		r = file_result(errno, name, diag);
	} else if (!S_ISREG(st.st_mode)) {
		diag_set(diag, "%s is no regular file", name);
		r = STATE_CORRUPT;
	} else if (st.st_uid != geteuid()) {
		diag_set(diag, "%s belongs to another user", name);
		r = STATE_DENIED;
	} else if ((st.st_mode & 0077) != 0) {
		diag_set(diag, "%s can be used by others: chmod 0600 it", name);
		r = STATE_DENIED;
	}
	while (r == STATE_OK && (n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0)
			r = file_result(errno, name, diag);
		else
			r = buf_add(out, chunk, (size_t)n);
	}
	close(fd);
	mem_wipe(chunk, sizeof(chunk));
	if (r == -ENOBUFS) {
		diag_set(diag, "%s is too long", name);
		return STATE_CORRUPT;
	}
	return r;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_here(-errno);
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/*
 * Under another name first, synced, then renamed, and the folder synced: whole after every crash.
 */
static int write_file(const struct state *s, const char *name, const char *text, size_t len)
{
	char next[64];

	(void)snprintf(next, sizeof(next), "%s.new", name); /* our own short names */
	if (unlinkat(s->dir_fd, next, 0) != 0 && errno != ENOENT)
		return err_here(-errno);
	int fd =
		openat(s->dir_fd, next, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_here(-errno);
	int r = write_all(fd, text, len);
	if (r == 0 && fsync(fd) != 0)
		r = err_here(-errno);
	if (close(fd) != 0 && r == 0)
		r = err_here(-errno);
	if (r == 0 && renameat(s->dir_fd, next, s->dir_fd, name) != 0)
		r = err_here(-errno);
	if (r == 0 && fsync(s->dir_fd) != 0)
		r = err_here(-errno);
	if (r < 0)
		(void)unlinkat(s->dir_fd, next, 0); /* the next write begins with that too */
	return r;
}

static int write_identity(const struct state *s)
{
	uint8_t seed[IDENTITY_SEED_SIZE];
	char text[KEY_TEXT_SIZE + 1];

	identity_seed(s->id, seed);
	memcpy(text, KEY_PREFIX, sizeof(KEY_PREFIX) - 1);
	enc_base64url(text + sizeof(KEY_PREFIX) - 1, seed, sizeof(seed));
	size_t len = strlen(text);
	text[len++] = '\n';
	int r = write_file(s, KEY_FILE, text, len);
	mem_wipe(seed, sizeof(seed));
	mem_wipe(text, sizeof(text));
	return r < 0 ? err_up(r) : 0;
}

static int parse_identity(struct identity **out, const char *text, size_t len, struct diag *diag)
{
	const size_t prefix = sizeof(KEY_PREFIX) - 1;
	uint8_t seed[IDENTITY_SEED_SIZE];
	size_t n = 0;

	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len <= prefix || memcmp(text, KEY_PREFIX, prefix) != 0 ||
	    !dec_base64url(text + prefix, len - prefix, seed, sizeof(seed), &n) ||
	    n != sizeof(seed)) {
		diag_set(diag, "%s is damaged or no key of goVPN", KEY_FILE);
		return STATE_CORRUPT;
	}
	int r = identity_from_seed(out, seed);
	mem_wipe(seed, sizeof(seed));
	return r < 0 ? err_up(r) : STATE_OK;
}

/* The identity, made when neither it nor any network exists. */
static int load_identity(struct state *s, bool have_networks, struct diag *diag)
{
	struct buf text = BUF_INIT(4096);
	bool missing;

	int r = read_file(s, KEY_FILE, &text, &missing, diag);
	if (r == STATE_OK && missing && have_networks) {
		diag_set(diag, "%s is missing, but %s is there: restore it, or remove both",
		         KEY_FILE, NETWORKS_FILE);
		r = STATE_CORRUPT;
	} else if (r == STATE_OK && missing) {
		r = identity_new(&s->id);
		if (r == 0)
			r = write_identity(s);
		if (r < 0)
			diag_set(diag, "%s cannot be written: %s", KEY_FILE, strerror(-r));
	} else if (r == STATE_OK) {
		r = parse_identity(&s->id, buf_str(&text), text.len, diag);
	}
	if (text.data != NULL)
		mem_wipe(text.data, text.cap);
	buf_deinit(&text);
	if (r == STATE_OK)
		identity_public(s->id, s->key);
	return r;
}

int state_open(struct state **out, const char *dir, struct diag *diag)
{
	gv_cleanup(state_closep) struct state *s = mem_new(struct state);
	struct buf text = BUF_INIT(STATE_FILE_MAX);
	bool missing = true;

	if (s == NULL)
		return err_here(-ENOMEM);
	s->dir_fd = s->lock_fd = -1;
	int r = open_folder(s, dir, diag);
	if (r == STATE_OK)
		r = read_file(s, NETWORKS_FILE, &text, &missing, diag);
	if (r == STATE_OK)
		r = load_identity(s, !missing, diag);
	if (r == STATE_OK && !missing)
		r = state_parse(s, buf_str(&text), text.len, diag);
	buf_deinit(&text);
	if (r != STATE_OK)
		return r < 0 ? err_up(r) : r;
	log_debug("state of %zu networks read from %s", s->n_networks, dir);
	*out = GV_STEAL(s);
	return STATE_OK;
}

int state_save(const struct state *s)
{
	struct buf text = BUF_INIT(STATE_FILE_MAX);

	int r = state_format(s, &text);
	if (r == 0)
		r = write_file(s, NETWORKS_FILE, buf_str(&text), text.len);
	buf_deinit(&text);
	return r < 0 ? err_up(r) : 0;
}

void state_close(struct state *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n_networks; i++)
		state_network_free(s->networks[i]);
	identity_free(s->id);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	mem_free(s);
}
