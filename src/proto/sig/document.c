/* SPDX-License-Identifier: MIT */

#include "proto/sig/document.h"

#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "proto/sig/proof.h"

#include <errno.h>
#include <string.h>

#define VERSION     1
#define EXPIRES_MAX ((UINT64_C(1) << 53) - 1)
#define INPUT_MAX   (DOCUMENT_SIZE_MAX + 64)

static const uint8_t zero_key[SIG_KEY_SIZE];

/* --- sorted lists whose elements begin with a key --- */

/* Index of the first element that is not below key. */
static size_t list_lower(const void *list, size_t n, size_t size, const uint8_t *key)
{
	const uint8_t *p = list;
	size_t lo = 0;

	while (lo < n) {
		size_t mid = lo + (n - lo) / 2;

		if (memcmp(p + mid * size, key, SIG_KEY_SIZE) < 0)
			lo = mid + 1;
		else
			n = mid;
	}
	return lo;
}

static bool list_has_at(const void *list, size_t n, size_t size, size_t at, const uint8_t *key)
{
	const uint8_t *p = list;

	return at < n && memcmp(p + at * size, key, SIG_KEY_SIZE) == 0;
}

static bool list_has(const void *list, size_t n, size_t size, const uint8_t *key)
{
	return list_has_at(list, n, size, list_lower(list, n, size, key), key);
}

/* Opens a gap of one element at `at`. *list is a pointer to the array; returns the new array or NULL. */
static void *list_open(void *list, size_t n, size_t size, size_t at)
{
	uint8_t *p = mem_resize(list, n + 1, size);

	if (p != NULL)
		memmove(p + (at + 1) * size, p + at * size, (n - at) * size);
	return p;
}

static int list_remove(void *list, size_t *n, size_t size, const uint8_t *key)
{
	size_t at = list_lower(list, *n, size, key);
	uint8_t *p = list;

	if (!list_has_at(list, *n, size, at, key))
		return DOCUMENT_NOT_FOUND;
	(*n)--;
	memmove(p + at * size, p + (at + 1) * size, (*n - at) * size);
	return DOCUMENT_OK;
}

static int add_key(struct document_key **list, size_t *n, const uint8_t *key)
{
	size_t at = list_lower(*list, *n, sizeof(**list), key);

	if (list_has_at(*list, *n, sizeof(**list), at, key))
		return DOCUMENT_OK;
	if (*n == DOCUMENT_KEYS_MAX)
		return DOCUMENT_FULL;
	struct document_key *grown = list_open(*list, *n, sizeof(**list), at);
	if (grown == NULL)
		return err_here(-ENOMEM);
	memcpy(grown[at].b, key, SIG_KEY_SIZE);
	*list = grown;
	(*n)++;
	return DOCUMENT_OK;
}

/* --- values --- */

/* Private (RFC 1918) and shared (RFC 6598) space: a document must not be able to take over routes of the Internet. */
static bool is_private(const struct netprefix *p)
{
	static const struct {
		uint32_t ip;
		uint8_t bits;
	} spaces[] = {
		{0x0a000000, 8},
		{0xac100000, 12},
		{0xc0a80000, 16},
		{0x64400000, 10},
	};

	uint32_t ip = netaddr_u32(&p->addr);

	for (size_t i = 0; i < GV_ARRAY_SIZE(spaces); i++)
		if (p->bits >= spaces[i].bits && (ip ^ spaces[i].ip) >> (32 - spaces[i].bits) == 0)
			return true;
	return false;
}

static bool subnet_is_ok(const struct netprefix *p, struct diag *diag)
{
	if (p->addr.family != NETADDR_IP4) {
		diag_set(diag, "The subnet must be an IPv4 prefix such as 10.20.30.0/24.");
		return false;
	}
	if (p->bits < DOCUMENT_BITS_MIN || p->bits > DOCUMENT_BITS_MAX) {
		diag_set(diag, "The subnet must be between /%d and /%d, not /%u.",
		         DOCUMENT_BITS_MIN, DOCUMENT_BITS_MAX, (unsigned)p->bits);
		return false;
	}
	if ((netaddr_u32(&p->addr) & (UINT32_MAX >> p->bits)) != 0) {
		diag_set(diag, "The subnet has bits set behind its prefix length.");
		return false;
	}
	if (!is_private(p)) {
		diag_set(diag,
		         "The subnet must lie in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or "
		         "100.64.0.0/10.");
		return false;
	}
	return true;
}

static bool name_is_ok(const char *name, struct diag *diag)
{
	if (text_is_name(name, DOCUMENT_NAME_MAX))
		return true;
	diag_set(diag,
	         "A network name has 1 to %d bytes of printable UTF-8 and no space at its ends.",
	         DOCUMENT_NAME_MAX);
	return false;
}

static bool invite_is_ok(const struct document_invite *i)
{
	return memcmp(i->key, zero_key, SIG_KEY_SIZE) != 0 && i->expires_unix_s >= 0 &&
	       (uint64_t)i->expires_unix_s <= EXPIRES_MAX &&
	       (i->kind == DOCUMENT_INVITE_LINK || i->kind == DOCUMENT_INVITE_PASSWORD);
}

/* --- life --- */

int document_new(struct document **out, const uint8_t owner[static SIG_KEY_SIZE],
                 const uint8_t salt[static NETID_SALT_SIZE], const char *name,
                 const struct netprefix *subnet, struct diag *diag)
{
	if (!name_is_ok(name, diag) || !subnet_is_ok(subnet, diag))
		return DOCUMENT_BAD;

	gv_cleanup(document_freep) struct document *doc = mem_new(struct document);
	if (doc == NULL)
		return err_here(-ENOMEM);
	memcpy(doc->owner, owner, SIG_KEY_SIZE);
	memcpy(doc->salt, salt, NETID_SALT_SIZE);
	memcpy(doc->name, name, strlen(name) + 1);
	doc->subnet = *subnet;
	int r = netid_derive(doc->network_id, owner, salt);
	if (r < 0)
		return err_up(r);
	*out = GV_STEAL(doc);
	return 0;
}

int document_dup(struct document **out, const struct document *doc)
{
	gv_cleanup(document_freep) struct document *copy = mem_dup(doc, sizeof(*doc));

	if (copy == NULL)
		return err_here(-ENOMEM);
	/* First cut every tie to the original, so that a failure below frees only the copy's own lists. */
	copy->invites = NULL;
	copy->members = NULL;
	copy->banned = NULL;
	if (doc->n_invites > 0)
		copy->invites = mem_dup(doc->invites, doc->n_invites * sizeof(*doc->invites));
	if (doc->n_members > 0)
		copy->members = mem_dup(doc->members, doc->n_members * sizeof(*doc->members));
	if (doc->n_banned > 0)
		copy->banned = mem_dup(doc->banned, doc->n_banned * sizeof(*doc->banned));
	if ((doc->n_invites > 0 && copy->invites == NULL) ||
	    (doc->n_members > 0 && copy->members == NULL) ||
	    (doc->n_banned > 0 && copy->banned == NULL))
		return err_here(-ENOMEM);
	*out = GV_STEAL(copy);
	return 0;
}

void document_free(struct document *doc)
{
	if (doc == NULL)
		return;
	mem_free(doc->invites);
	mem_free(doc->members);
	mem_free(doc->banned);
	mem_free(doc);
}

int document_set_name(struct document *doc, const char *name, struct diag *diag)
{
	if (!name_is_ok(name, diag))
		return DOCUMENT_BAD;
	memmove(doc->name, name, strlen(name) + 1);
	return DOCUMENT_OK;
}

/* --- encoding --- */

static void write_body(struct bytes_writer *w, const struct document *doc, uint64_t epoch,
                       const uint8_t *previous)
{
	size_t name_len = strlen(doc->name);

	bytes_write_u8(w, VERSION);
	bytes_write(w, doc->owner, sizeof(doc->owner));
	bytes_write(w, doc->salt, sizeof(doc->salt));
	bytes_write_u64(w, epoch);
	bytes_write(w, previous, DOCUMENT_HASH_SIZE);
	bytes_write_u8(w, (uint8_t)name_len);
	bytes_write(w, doc->name, name_len);
	bytes_write_u32(w, netaddr_u32(&doc->subnet.addr));
	bytes_write_u8(w, doc->subnet.bits);

	bytes_write_u16(w, (uint16_t)doc->n_invites);
	for (size_t i = 0; i < doc->n_invites; i++) {
		bytes_write(w, doc->invites[i].key, SIG_KEY_SIZE);
		bytes_write_u32(w, doc->invites[i].uses);
		bytes_write_u64(w, (uint64_t)doc->invites[i].expires_unix_s);
		bytes_write_u8(w, (uint8_t)doc->invites[i].kind);
	}
	bytes_write_u16(w, (uint16_t)doc->n_members);
	bytes_write(w, doc->members, doc->n_members * sizeof(*doc->members));
	bytes_write_u16(w, (uint16_t)doc->n_banned);
	bytes_write(w, doc->banned, doc->n_banned * sizeof(*doc->banned));
}

static void signed_input(struct proof_input *p, const void *body, size_t n)
{
	proof_input_init(p, PROOF_TAG_DOCUMENT, INPUT_MAX);
	proof_input_add(p, body, n);
}

/* Signs body and fills hash and sig. The signature is checked against the owner key: a foreign identity is an error. */
static int sign_body(const void *body, size_t n, const struct identity *id, const uint8_t *owner,
                     uint8_t *hash, uint8_t *sig)
{
	struct proof_input p;

	signed_input(&p, body, n);
	int r = proof_input_hash(&p, hash);
	if (r == 0)
		r = proof_input_sign(&p, id, sig);
	if (r == 0)
		r = proof_input_verify(&p, owner, sig) == PROOF_OK ? 0 : err_here(-EINVAL);
	proof_input_deinit(&p);
	return r < 0 ? err_up(r) : 0;
}

int document_sign(struct document *doc, const struct identity *owner, struct buf *out)
{
	uint8_t hash[DOCUMENT_HASH_SIZE], sig[SIG_SIGNATURE_SIZE];
	const uint8_t *previous = doc->epoch > 0 ? doc->hash : doc->previous;

	if (doc->epoch >= DOCUMENT_EPOCH_MAX)
		return err_here(-EINVAL);
	gv_cleanup(mem_freep) uint8_t *body = mem_alloc(DOCUMENT_SIZE_MAX, 1);
	if (body == NULL)
		return err_here(-ENOMEM);
	struct bytes_writer w = bytes_writer(body, DOCUMENT_SIZE_MAX);
	write_body(&w, doc, doc->epoch + 1, previous);
	int r = sign_body(body, w.used, owner, doc->owner, hash, sig);
	if (r < 0)
		return err_up(r);
	bytes_write(&w, sig, sizeof(sig));
	r = buf_add(out, body, w.used);
	if (r < 0)
		return err_up(r);

	memmove(doc->previous, previous, sizeof(doc->previous));
	memcpy(doc->hash, hash, sizeof(hash));
	memcpy(doc->sig, sig, sizeof(sig));
	doc->epoch++;
	return 0;
}

int document_encode(const struct document *doc, struct buf *out)
{
	gv_cleanup(mem_freep) uint8_t *body = mem_alloc(DOCUMENT_SIZE_MAX, 1);

	if (body == NULL)
		return err_here(-ENOMEM);
	struct bytes_writer w = bytes_writer(body, DOCUMENT_SIZE_MAX);
	write_body(&w, doc, doc->epoch, doc->previous);
	bytes_write(&w, doc->sig, sizeof(doc->sig));
	int r = buf_add(out, body, w.used);
	return r < 0 ? err_up(r) : 0;
}

/* --- parsing --- */

static int bad(struct diag *diag, const char *what)
{
	diag_set(diag, "network document: %s", what);
	return DOCUMENT_BAD;
}

static int read_head(struct document *doc, struct bytes_reader *r, struct diag *diag)
{
	uint8_t version = bytes_read_u8(r);

	if (r->ok && version > VERSION) {
		diag_set(diag, "The network document was made by a newer version of goVPN.");
		return DOCUMENT_VERSION;
	}
	if (version != VERSION)
		return bad(diag, "unknown version");
	bytes_read_into(r, doc->owner, sizeof(doc->owner));
	bytes_read_into(r, doc->salt, sizeof(doc->salt));
	doc->epoch = bytes_read_u64(r);
	bytes_read_into(r, doc->previous, sizeof(doc->previous));
	uint8_t name_len = bytes_read_u8(r);
	if (name_len > DOCUMENT_NAME_MAX)
		return bad(diag, "name too long");
	bytes_read_into(r, doc->name, name_len);
	doc->subnet.addr = netaddr_ip4(bytes_read_u32(r), 0);
	doc->subnet.bits = bytes_read_u8(r);
	if (!r->ok)
		return bad(diag, "cut short");
	if (doc->epoch == 0 || doc->epoch > DOCUMENT_EPOCH_MAX)
		return bad(diag, "epoch out of range");
	if ((doc->epoch == 1) != (memcmp(doc->previous, zero_key, DOCUMENT_HASH_SIZE) == 0))
		return bad(diag, "epoch and previous hash do not fit");
	if (strlen(doc->name) != name_len || !name_is_ok(doc->name, NULL))
		return bad(diag, "name not allowed");
	if (!subnet_is_ok(&doc->subnet, NULL))
		return bad(diag, "subnet not allowed");
	return DOCUMENT_OK;
}

/* Each element's key must be above the one before: sorted and unique. */
static bool is_above(const void *list, size_t size, size_t i)
{
	const uint8_t *p = list;

	return i == 0 || memcmp(p + (i - 1) * size, p + i * size, SIG_KEY_SIZE) < 0;
}

static int read_invites(struct document *doc, struct bytes_reader *r, struct diag *diag)
{
	size_t n = bytes_read_u16(r);

	if (!r->ok || n > DOCUMENT_INVITES_MAX)
		return bad(diag, "invites: cut short or too many");
	if (n == 0)
		return DOCUMENT_OK;
	doc->invites = mem_new_array(struct document_invite, n);
	if (doc->invites == NULL)
		return err_here(-ENOMEM);
	for (size_t i = 0; i < n; i++) {
		struct document_invite *invite = &doc->invites[i];

		bytes_read_into(r, invite->key, SIG_KEY_SIZE);
		invite->uses = bytes_read_u32(r);
		uint64_t expires = bytes_read_u64(r);
		uint8_t kind = bytes_read_u8(r);
		if (!r->ok || expires > EXPIRES_MAX)
			return bad(diag, "invite out of range");
		invite->expires_unix_s = (int64_t)expires;
		invite->kind = kind == 1 ? DOCUMENT_INVITE_LINK : DOCUMENT_INVITE_PASSWORD;
		if (kind < 1 || kind > 2 || !invite_is_ok(invite))
			return bad(diag, "invite out of range");
		if (!is_above(doc->invites, sizeof(*doc->invites), i))
			return bad(diag, "invites are not sorted");
	}
	doc->n_invites = n;
	return DOCUMENT_OK;
}

static int read_keys(struct document_key **list, size_t *count, struct bytes_reader *r,
                     struct diag *diag)
{
	size_t n = bytes_read_u16(r);

	if (!r->ok || n > DOCUMENT_KEYS_MAX)
		return bad(diag, "keys: cut short or too many");
	const uint8_t *keys = bytes_read(r, n * SIG_KEY_SIZE);
	if (keys == NULL)
		return bad(diag, "cut short");
	for (size_t i = 0; i < n; i++)
		if (!is_above(keys, SIG_KEY_SIZE, i))
			return bad(diag, "keys are not sorted");
	if (n == 0)
		return DOCUMENT_OK;
	*list = mem_dup(keys, n * SIG_KEY_SIZE);
	if (*list == NULL)
		return err_here(-ENOMEM);
	*count = n;
	return DOCUMENT_OK;
}

/* A key stands in one place only: owner, member or banned. */
static bool lists_are_apart(const struct document *doc)
{
	if (document_has_member(doc, doc->owner) || document_is_banned(doc, doc->owner))
		return false;
	for (size_t i = 0; i < doc->n_banned; i++)
		if (document_has_member(doc, doc->banned[i].b))
			return false;
	return true;
}

static int read_body(struct document *doc, struct bytes_reader *r, struct diag *diag)
{
	int res = read_head(doc, r, diag);

	if (res == DOCUMENT_OK)
		res = read_invites(doc, r, diag);
	if (res == DOCUMENT_OK)
		res = read_keys(&doc->members, &doc->n_members, r, diag);
	if (res == DOCUMENT_OK)
		res = read_keys(&doc->banned, &doc->n_banned, r, diag);
	if (res == DOCUMENT_OK && !lists_are_apart(doc))
		res = bad(diag, "a key stands in two lists");
	return res;
}

/* Whether the signature is looked at. */
enum trust {
	VERIFY,
	VERIFIED
};

static int check_body(struct document *doc, const void *body, size_t n, enum trust trust)
{
	struct proof_input p;

	signed_input(&p, body, n);
	int r = proof_input_hash(&p, doc->hash);
	if (r == 0 && trust == VERIFY)
		r = proof_input_verify(&p, doc->owner, doc->sig);
	proof_input_deinit(&p);
	if (r < 0)
		return err_up(r);
	return r == PROOF_OK ? DOCUMENT_OK : DOCUMENT_BAD_SIG;
}

static int parse(struct document **out, const void *bytes, size_t n,
                 const uint8_t expected[NETID_SIZE], enum trust trust, struct diag *diag)
{
	gv_cleanup(document_freep) struct document *doc = mem_new(struct document);

	if (doc == NULL)
		return err_here(-ENOMEM);
	struct bytes_reader r = bytes_reader(bytes, n);
	int res = read_body(doc, &r, diag);
	if (res < 0)
		return err_up(res);
	if (res != DOCUMENT_OK)
		return res;
	size_t body_len = n - r.left;
	bytes_read_into(&r, doc->sig, sizeof(doc->sig));
	if (!r.ok || r.left != 0)
		return bad(diag, r.ok ? "bytes behind the signature" : "cut short");

	res = netid_derive(doc->network_id, doc->owner, doc->salt);
	if (res < 0)
		return err_up(res);
	if (expected != NULL && memcmp(doc->network_id, expected, NETID_SIZE) != 0) {
		diag_set(diag, "network document: of another network");
		return DOCUMENT_FOREIGN;
	}
	res = check_body(doc, bytes, body_len, trust);
	if (res < 0)
		return err_up(res);
	if (res != DOCUMENT_OK) {
		diag_set(diag, "network document: bad signature");
		return res;
	}
	*out = GV_STEAL(doc);
	return DOCUMENT_OK;
}

int document_parse(struct document **out, const void *bytes, size_t n,
                   const uint8_t expected[NETID_SIZE], struct diag *diag)
{
	int r = parse(out, bytes, n, expected, VERIFY, diag);

	return r < 0 ? err_up(r) : r;
}

int document_parse_verified(struct document **out, const void *bytes, size_t n,
                            const uint8_t expected[static NETID_SIZE])
{
	int r = parse(out, bytes, n, expected, VERIFIED, NULL);

	return r < 0 ? err_up(r) : r;
}

bool document_follows(const struct document *older, const struct document *newer)
{
	return memcmp(older->network_id, newer->network_id, NETID_SIZE) == 0 &&
	       newer->epoch > older->epoch && newer->subnet.bits == older->subnet.bits &&
	       netaddr_ip_equal(&newer->subnet.addr, &older->subnet.addr);
}

/* --- looking up and changing --- */

const struct document_invite *document_find_invite(const struct document *doc,
                                                   const uint8_t key[static SIG_KEY_SIZE])
{
	size_t at = list_lower(doc->invites, doc->n_invites, sizeof(*doc->invites), key);

	if (!list_has_at(doc->invites, doc->n_invites, sizeof(*doc->invites), at, key))
		return NULL;
	return &doc->invites[at];
}

bool document_has_member(const struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
{
	return list_has(doc->members, doc->n_members, sizeof(*doc->members), key);
}

bool document_is_banned(const struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
{
	return list_has(doc->banned, doc->n_banned, sizeof(*doc->banned), key);
}

int document_add_invite(struct document *doc, const struct document_invite *invite)
{
	size_t at = list_lower(doc->invites, doc->n_invites, sizeof(*doc->invites), invite->key);

	if (!invite_is_ok(invite))
		return DOCUMENT_BAD;
	if (!list_has_at(doc->invites, doc->n_invites, sizeof(*doc->invites), at, invite->key)) {
		if (doc->n_invites == DOCUMENT_INVITES_MAX)
			return DOCUMENT_FULL;
		struct document_invite *grown =
			list_open(doc->invites, doc->n_invites, sizeof(*doc->invites), at);
		if (grown == NULL)
			return err_here(-ENOMEM);
		doc->invites = grown;
		doc->n_invites++;
	}
	doc->invites[at] = *invite;
	return DOCUMENT_OK;
}

int document_add_member(struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
{
	if (memcmp(key, doc->owner, SIG_KEY_SIZE) == 0)
		return DOCUMENT_OK; /* the owner is a member without standing in the list */
	int r = add_key(&doc->members, &doc->n_members, key);
	if (r < 0)
		return err_up(r);
	if (r == DOCUMENT_OK)
		(void)document_unban(doc, key); /* most were never banned */
	return r;
}

int document_ban(struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
{
	if (memcmp(key, doc->owner, SIG_KEY_SIZE) == 0)
		return DOCUMENT_BAD;
	int r = add_key(&doc->banned, &doc->n_banned, key);
	if (r < 0)
		return err_up(r);
	if (r == DOCUMENT_OK)
		(void)document_remove_member(doc,
		                             key); /* those admitted by an invite are not listed */
	return r;
}

int document_remove_invite(struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
{
	return list_remove(doc->invites, &doc->n_invites, sizeof(*doc->invites), key);
}

int document_remove_member(struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
{
	return list_remove(doc->members, &doc->n_members, sizeof(*doc->members), key);
}

int document_unban(struct document *doc, const uint8_t key[static SIG_KEY_SIZE])
{
	return list_remove(doc->banned, &doc->n_banned, sizeof(*doc->banned), key);
}

void document_clear_invites(struct document *doc)
{
	mem_free(doc->invites);
	doc->invites = NULL;
	doc->n_invites = 0;
}
