/* SPDX-License-Identifier: MIT */

#include "proto/stun/msg.h"

#include "base/bytes.h"
#include "crypto/hash.h"

#include <string.h>

/* Attribute types: RFC 8489 18.3, RFC 8445 20.1. Below 0x8000: comprehension required. */
enum {
	ATTR_MAPPED_ADDRESS = 0x0001,
	ATTR_USERNAME = 0x0006,
	ATTR_MESSAGE_INTEGRITY = 0x0008,
	ATTR_ERROR_CODE = 0x0009,
	ATTR_UNKNOWN_ATTRIBUTES = 0x000a,
	ATTR_REALM = 0x0014,
	ATTR_NONCE = 0x0015,
	ATTR_XOR_MAPPED_ADDRESS = 0x0020,
	ATTR_PRIORITY = 0x0024,
	ATTR_USE_CANDIDATE = 0x0025,
	ATTR_SOFTWARE = 0x8022,
	ATTR_FINGERPRINT = 0x8028,
	ATTR_ICE_CONTROLLED = 0x8029,
	ATTR_ICE_CONTROLLING = 0x802a,

	ATTR_OPTIONAL = 0x8000,
};

#define ATTR_HEADER_SIZE 4
#define INTEGRITY_SIZE   20 /* HMAC-SHA1 */
#define FINGERPRINT_SIZE 4
#define FINGERPRINT_XOR  0x5354554eu /* RFC 8489 14.7 */
#define USERNAME_MAX     513         /* RFC 8489 14.3 */
#define SOFTWARE_MAX     763         /* RFC 8489 14.14 */

struct attr {
	uint16_t type;
	uint16_t len;
	const uint8_t *value;
};

static size_t padded(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

/* The next attribute; false at the end, or (r->ok false) when it leaves the message. */
static bool next_attr(struct bytes_reader *r, struct attr *a)
{
	if (!r->ok || r->left == 0)
		return false;
	a->type = bytes_read_u16(r);
	a->len = bytes_read_u16(r);
	a->value = bytes_read(r, padded(a->len));
	return r->ok;
}

/* The class is two bits inside the message type (RFC 8489 5). */
static enum stun_class class_of(uint16_t type)
{
	return (enum stun_class)((type >> 8 & 1) << 1 | (type >> 4 & 1));
}

static uint16_t method_of(uint16_t type)
{
	return (uint16_t)((type & 0x3e00) >> 2 | (type & 0x00e0) >> 1 | (type & 0x000f));
}

static uint16_t type_of(enum stun_class class, uint16_t method)
{
	unsigned c = (unsigned)class;

	return (uint16_t)((method & 0xf80) << 2 | (method & 0x070) << 1 | (method & 0x00f) |
	                  (c & 2) << 7 | (c & 1) << 4);
}

bool stun_is_message(const uint8_t *data, size_t len)
{
	return len >= STUN_HEADER_SIZE && data[0] <= 3 && be32_load(data + 4) == STUN_COOKIE &&
	       len % 4 == 0 && be16_load(data + 2) == len - STUN_HEADER_SIZE;
}

enum stun_class stun_peek_class(const uint8_t *data)
{
	return class_of(be16_load(data));
}

uint32_t stun_peek_prefix(const uint8_t *data)
{
	return be32_load(data + 8);
}

bool stun_peek_username(const uint8_t *data, size_t len, const char **ufrag, size_t *ufrag_len)
{
	struct bytes_reader r = bytes_reader(data + STUN_HEADER_SIZE, len - STUN_HEADER_SIZE);
	struct attr a;

	while (next_attr(&r, &a)) {
		if (a.type != ATTR_USERNAME)
			continue;
		const uint8_t *colon = memchr(a.value, ':', a.len);
		if (colon == NULL)
			return false;
		*ufrag = (const char *)a.value;
		*ufrag_len = (size_t)(colon - a.value);
		return true;
	}
	return false;
}

/* MAPPED-ADDRESS and XOR-MAPPED-ADDRESS (RFC 8489 14.1, 14.2); `mask` is the cookie and the id, or zeroes. */
static bool read_address(const struct attr *a, const uint8_t mask[static 16], struct netaddr *out)
{
	uint8_t ip[16];

	if (a->len < 4)
		return false;
	uint8_t family = a->value[1];
	size_t n = family == 1 ? 4 : family == 2 ? 16 : 0;
	if (n == 0 || a->len != 4 + n)
		return false;
	for (size_t i = 0; i < n; i++)
		ip[i] = a->value[4 + i] ^ mask[i];
	uint16_t port = be16_load(a->value + 2) ^ be16_load(mask);
	*out = n == 4 ? netaddr_ip4(be32_load(ip), port) : netaddr_ip6(ip, port);
	return true;
}

static bool read_error_code(const struct attr *a, struct stun_msg *m)
{
	if (a->len < 4)
		return false;
	unsigned class = a->value[2] & 7, number = a->value[3];
	if (class < 3 || class > 6 || number > 99)
		return false;
	m->error_code = (uint16_t)(class * 100 + number);
	return true;
}

static bool read_role(const struct attr *a, struct stun_msg *m)
{
	if (a->len != 8)
		return false;
	/* Both roles at once are out of form. */
	if (m->has_controlled || m->has_controlling)
		return false;
	m->tie_breaker = be64_load(a->value);
	m->has_controlled = a->type == ATTR_ICE_CONTROLLED;
	m->has_controlling = !m->has_controlled;
	return true;
}

static bool read_text(const struct attr *a, size_t max, const uint8_t **out, size_t *out_len)
{
	if (a->len > max)
		return false;
	*out = a->value;
	*out_len = a->len;
	return true;
}

/* A bit for each attribute that read_attr() takes something from, 0 for all others. */
static unsigned bit_of(uint16_t type)
{
	static const uint16_t types[] = {
		ATTR_USERNAME,       ATTR_SOFTWARE,       ATTR_XOR_MAPPED_ADDRESS,
		ATTR_MAPPED_ADDRESS, ATTR_ERROR_CODE,     ATTR_PRIORITY,
		ATTR_USE_CANDIDATE,  ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING,
	};

	for (unsigned i = 0; i < GV_ARRAY_SIZE(types); i++)
		if (types[i] == type)
			return 1u << i;
	return 0;
}

static void note_unknown(const struct attr *a, struct stun_msg *m)
{
	if (a->type < ATTR_OPTIONAL && m->unknown_count < STUN_MAX_UNKNOWN)
		m->unknown[m->unknown_count++] = a->type;
}

/* One attribute other than MESSAGE-INTEGRITY and FINGERPRINT; false when it is out of form. */
static bool read_attr(const struct attr *a, struct stun_msg *m)
{
	static const uint8_t no_mask[16];
	uint8_t mask[16];

	switch (a->type) {
	case ATTR_USERNAME:
		return read_text(a, USERNAME_MAX, &m->username, &m->username_len);
	case ATTR_SOFTWARE:
		return read_text(a, SOFTWARE_MAX, &m->software, &m->software_len);
	case ATTR_XOR_MAPPED_ADDRESS:
		be32_store(mask, STUN_COOKIE);
		memcpy(mask + 4, m->id, STUN_ID_SIZE);
		return read_address(a, mask, &m->mapped);
	case ATTR_MAPPED_ADDRESS:
		/* Only of servers older than RFC 5389; never instead of the other. */
		return m->mapped.family != NETADDR_NONE || read_address(a, no_mask, &m->mapped);
	case ATTR_ERROR_CODE:
		return read_error_code(a, m);
	case ATTR_PRIORITY:
		if (a->len != 4)
			return false;
		m->has_priority = true;
		m->priority = be32_load(a->value);
		return true;
	case ATTR_USE_CANDIDATE:
		m->use_candidate = true;
		return a->len == 0;
	case ATTR_ICE_CONTROLLED:
	case ATTR_ICE_CONTROLLING:
		return read_role(a, m);
	case ATTR_UNKNOWN_ATTRIBUTES:
	case ATTR_REALM:
	case ATTR_NONCE:
		return true; /* known, and of no use here */
	default:
		note_unknown(a, m);
		return true;
	}
}

static bool fingerprint_is_right(const uint8_t *data, size_t at, const struct attr *a)
{
	return (hash_crc32(data, at) ^ FINGERPRINT_XOR) == be32_load(a->value);
}

int stun_msg_parse(const uint8_t *data, size_t len, struct stun_msg *out)
{
	struct stun_msg m = {.data = data, .len = len};
	unsigned read = 0;
	struct attr a;

	if (len < STUN_HEADER_SIZE)
		return STUN_MSG_SHORT;
	if (data[0] > 3 || be32_load(data + 4) != STUN_COOKIE)
		return STUN_MSG_NOT_STUN;
	size_t body = be16_load(data + 2);
	if (len < STUN_HEADER_SIZE + body)
		return STUN_MSG_SHORT;
	if (len != STUN_HEADER_SIZE + body || body % 4 != 0 || len > STUN_MAX_SIZE)
		return STUN_MSG_MALFORMED;
	m.class = class_of(be16_load(data));
	m.method = method_of(be16_load(data));
	memcpy(m.id, data + 8, STUN_ID_SIZE);

	struct bytes_reader r = bytes_reader(data + STUN_HEADER_SIZE, body);
	while (next_attr(&r, &a)) {
		size_t at = (size_t)(a.value - data) - ATTR_HEADER_SIZE;

		if (m.has_fingerprint)
			return STUN_MSG_MALFORMED; /* it must be last (RFC 8489 14.7) */
		if (a.type == ATTR_FINGERPRINT) {
			if (a.len != FINGERPRINT_SIZE)
				return STUN_MSG_MALFORMED;
			if (!fingerprint_is_right(data, at, &a))
				return STUN_MSG_BAD_FINGERPRINT;
			m.has_fingerprint = true;
		} else if (m.has_integrity) {
			continue; /* not covered by it: ignored */
		} else if (a.type == ATTR_MESSAGE_INTEGRITY) {
			if (a.len != INTEGRITY_SIZE)
				return STUN_MSG_MALFORMED;
			m.has_integrity = true;
			m.integrity_at = at;
		} else if ((read & bit_of(a.type)) != 0) {
			continue; /* the first counts (RFC 8489 14) */
		} else if (!read_attr(&a, &m)) {
			return STUN_MSG_MALFORMED;
		} else {
			read |= bit_of(a.type);
		}
	}
	if (!r.ok)
		return STUN_MSG_MALFORMED;
	*out = m;
	return STUN_MSG_OK;
}

/*
 * HMAC over the first n bytes, with the length field as if MESSAGE-INTEGRITY were the last attribute
 * (RFC 8489 14.5). False without memory.
 */
static bool integrity(const uint8_t *data, size_t n, const void *key, size_t key_len,
                      uint8_t out[static INTEGRITY_SIZE])
{
	uint8_t covered[STUN_MAX_SIZE];

	memcpy(covered, data, n);
	be16_store(covered + 2,
	           (uint16_t)(n + ATTR_HEADER_SIZE + INTEGRITY_SIZE - STUN_HEADER_SIZE));
	return hash_hmac_sha1(key, key_len, covered, n, out) == 0;
}

bool stun_msg_verify(const struct stun_msg *m, const void *key, size_t key_len)
{
	uint8_t right[INTEGRITY_SIZE];

	if (!m->has_integrity)
		return false;
	return integrity(m->data, m->integrity_at, key, key_len, right) &&
	       hash_equal(right, m->data + m->integrity_at + ATTR_HEADER_SIZE, INTEGRITY_SIZE);
}

/* Room for one attribute's value, padded with zeroes; NULL (and the writer fails) when it does not fit. */
static uint8_t *put(struct stun_writer *w, uint16_t type, size_t len)
{
	size_t need = ATTR_HEADER_SIZE + padded(len);

	if (!w->ok || need > w->size - w->used) {
		w->ok = false;
		return NULL;
	}
	uint8_t *p = w->data + w->used;
	memset(p, 0, need);
	be16_store(p, type);
	be16_store(p + 2, (uint16_t)len);
	w->used += need;
	be16_store(w->data + 2, (uint16_t)(w->used - STUN_HEADER_SIZE));
	return p + ATTR_HEADER_SIZE;
}

void stun_begin(struct stun_writer *w, uint8_t *out, size_t size, enum stun_class class,
                uint16_t method, const uint8_t id[static STUN_ID_SIZE])
{
	*w = (struct stun_writer){.data = out,
	                          .size = GV_MIN(size, (size_t)STUN_MAX_SIZE),
	                          .ok = size >= STUN_HEADER_SIZE};
	if (!w->ok)
		return;
	be16_store(out, type_of(class, method));
	be16_store(out + 2, 0);
	be32_store(out + 4, STUN_COOKIE);
	memcpy(out + 8, id, STUN_ID_SIZE);
	w->used = STUN_HEADER_SIZE;
}

static void put_bytes(struct stun_writer *w, uint16_t type, const void *value, size_t len)
{
	uint8_t *p = put(w, type, len);

	if (p != NULL && len > 0)
		memcpy(p, value, len);
}

void stun_put_username(struct stun_writer *w, const void *name, size_t len)
{
	put_bytes(w, ATTR_USERNAME, name, len);
}

void stun_put_software(struct stun_writer *w, const char *name)
{
	put_bytes(w, ATTR_SOFTWARE, name, strlen(name));
}

void stun_put_priority(struct stun_writer *w, uint32_t priority)
{
	uint8_t *p = put(w, ATTR_PRIORITY, 4);

	if (p != NULL)
		be32_store(p, priority);
}

void stun_put_use_candidate(struct stun_writer *w)
{
	put(w, ATTR_USE_CANDIDATE, 0);
}

static void put_role(struct stun_writer *w, uint16_t type, uint64_t tie_breaker)
{
	uint8_t *p = put(w, type, 8);

	if (p != NULL)
		be64_store(p, tie_breaker);
}

void stun_put_controlling(struct stun_writer *w, uint64_t tie_breaker)
{
	put_role(w, ATTR_ICE_CONTROLLING, tie_breaker);
}

void stun_put_controlled(struct stun_writer *w, uint64_t tie_breaker)
{
	put_role(w, ATTR_ICE_CONTROLLED, tie_breaker);
}

void stun_put_xor_mapped(struct stun_writer *w, const struct netaddr *a)
{
	size_t n = netaddr_ip_size(a);
	uint8_t *p = put(w, ATTR_XOR_MAPPED_ADDRESS, 4 + n);

	if (p == NULL)
		return;
	p[1] = n == 4 ? 1 : 2;
	be16_store(p + 2, a->port ^ (uint16_t)(STUN_COOKIE >> 16));
	/* The mask is the cookie and the id, which stand side by side in the header. */
	for (size_t i = 0; i < n; i++)
		p[4 + i] = a->ip[i] ^ w->data[4 + i];
}

void stun_put_error(struct stun_writer *w, enum stun_error_code code)
{
	uint8_t *p = put(w, ATTR_ERROR_CODE, 4);

	if (p == NULL)
		return;
	p[2] = (uint8_t)(code / 100);
	p[3] = (uint8_t)(code % 100);
}

void stun_put_unknown(struct stun_writer *w, const uint16_t *types, unsigned count)
{
	uint8_t *p = put(w, ATTR_UNKNOWN_ATTRIBUTES, (size_t)count * 2);

	for (unsigned i = 0; p != NULL && i < count; i++)
		be16_store(p + (size_t)i * 2, types[i]);
}

void stun_put_integrity(struct stun_writer *w, const void *key, size_t key_len)
{
	size_t covered = w->used;
	uint8_t *p = put(w, ATTR_MESSAGE_INTEGRITY, INTEGRITY_SIZE);

	if (p != NULL && !integrity(w->data, covered, key, key_len, p))
		w->ok = false;
}

void stun_put_fingerprint(struct stun_writer *w)
{
	size_t covered = w->used;
	uint8_t *p = put(w, ATTR_FINGERPRINT, FINGERPRINT_SIZE);

	if (p != NULL)
		be32_store(p, hash_crc32(w->data, covered) ^ FINGERPRINT_XOR);
}

size_t stun_end(struct stun_writer *w)
{
	return w->ok ? w->used : 0;
}
