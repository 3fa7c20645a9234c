/* SPDX-License-Identifier: MIT */

#include "proto/sctp/chunk.h"

#include "base/crc32c.h"

#define CHECKSUM_OFFSET 8
#define HEADER_BYTES    12

enum chunk_result packet_header_read(const uint8_t *p, size_t n, struct packet_header *out)
{
	if (n < HEADER_BYTES)
		return CHUNK_BAD;
	out->source = be16_load(p);
	out->destination = be16_load(p + 2);
	out->tag = be32_load(p + 4);
	out->checksum = le32_load(p + CHECKSUM_OFFSET);
	return CHUNK_OK;
}

bool packet_checksum_ok(uint8_t *p, size_t n)
{
	uint32_t told = le32_load(p + CHECKSUM_OFFSET);

	/* RFC 9260 6.8: the sum is made with zeroes in the place of the checksum. */
	le32_store(p + CHECKSUM_OFFSET, 0);
	uint32_t sum = crc32c(p, n);
	le32_store(p + CHECKSUM_OFFSET, told);
	return sum == told;
}

void packet_header_write(struct bytes_writer *w, const struct packet_header *h)
{
	bytes_write_u16(w, h->source);
	bytes_write_u16(w, h->destination);
	bytes_write_u32(w, h->tag);
	bytes_write_u32(w, 0);
}

void packet_checksum_write(uint8_t *p, size_t n)
{
	le32_store(p + CHECKSUM_OFFSET, crc32c(p, n));
}

/*
 * The common walk of chunks and parameters: both are TLVs whose length counts the four header bytes and not the
 * padding. Padding that is missing at the very end is forgiven; the length never is.
 */
static const uint8_t *tlv_next(struct bytes_reader *r, size_t *len, enum chunk_result *result)
{
	if (r->left == 0) {
		*result = CHUNK_END;
		return NULL;
	}
	*result = CHUNK_BAD;
	if (r->left < CHUNK_HEADER_BYTES)
		return NULL;
	size_t n = be16_load(r->p + 2);
	if (n < CHUNK_HEADER_BYTES || n > r->left)
		return NULL;
	const uint8_t *p = r->p;
	size_t padded = GV_MIN(chunk_padded(n), r->left);
	r->p += padded;
	r->left -= padded;
	*len = n - CHUNK_HEADER_BYTES;
	*result = CHUNK_OK;
	return p;
}

enum chunk_result chunk_next(struct bytes_reader *r, struct chunk *out)
{
	enum chunk_result result;
	const uint8_t *p = tlv_next(r, &out->len, &result);

	if (p == NULL)
		return result;
	out->type = p[0];
	out->flags = p[1];
	out->body = p + CHUNK_HEADER_BYTES;
	return CHUNK_OK;
}

enum chunk_result param_next(struct bytes_reader *r, struct param *out)
{
	enum chunk_result result;
	const uint8_t *p = tlv_next(r, &out->len, &result);

	if (p == NULL)
		return result;
	out->type = be16_load(p);
	out->body = p + PARAM_HEADER_BYTES;
	return CHUNK_OK;
}

enum chunk_result chunk_init_read(const struct chunk *c, struct chunk_init *out)
{
	struct bytes_reader r = bytes_reader(c->body, c->len);

	out->tag = bytes_read_u32(&r);
	out->a_rwnd = bytes_read_u32(&r);
	out->out_streams = bytes_read_u16(&r);
	out->in_streams = bytes_read_u16(&r);
	out->tsn = bytes_read_u32(&r);
	out->params = r;
	return r.ok ? CHUNK_OK : CHUNK_BAD;
}

enum chunk_result chunk_data_read(const struct chunk *c, struct chunk_data *out)
{
	if (c->len < 12)
		return CHUNK_BAD;
	out->tsn = be32_load(c->body);
	out->stream = be16_load(c->body + 4);
	out->ssn = be16_load(c->body + 6);
	out->ppid = be32_load(c->body + 8);
	out->data = c->body + 12;
	out->len = c->len - 12;
	return CHUNK_OK;
}

enum chunk_result chunk_sack_read(const struct chunk *c, struct chunk_sack *out)
{
	if (c->len < 12)
		return CHUNK_BAD;
	out->cum = be32_load(c->body);
	out->a_rwnd = be32_load(c->body + 4);
	out->gaps = be16_load(c->body + 8);
	out->duplicates = be16_load(c->body + 10);
	out->gap_bytes = c->body + 12;
	/* The lists must be there; what follows them is nobody's. */
	size_t need = 12 + ((size_t)out->gaps + out->duplicates) * 4;
	return c->len >= need ? CHUNK_OK : CHUNK_BAD;
}

enum chunk_result chunk_forward_read(const struct chunk *c, struct chunk_forward *out)
{
	if (c->len < 4 || c->len % 4 != 0)
		return CHUNK_BAD;
	out->cum = be32_load(c->body);
	out->pairs = (c->len - 4) / 4;
	out->pair_bytes = c->body + 4;
	return CHUNK_OK;
}

size_t chunk_open(struct bytes_writer *w, uint8_t type, uint8_t flags)
{
	size_t at = w->used;

	bytes_write_u8(w, type);
	bytes_write_u8(w, flags);
	bytes_write_u16(w, 0);
	return at;
}

void chunk_close(struct bytes_writer *w, size_t at)
{
	static const uint8_t zero[3];

	if (!w->ok)
		return;
	size_t len = w->used - at;
	be16_store(w->p + at + 2, (uint16_t)len);
	bytes_write(w, zero, chunk_padded(len) - len);
}

size_t param_open(struct bytes_writer *w, uint16_t type)
{
	size_t at = w->used;

	bytes_write_u16(w, type);
	bytes_write_u16(w, 0);
	return at;
}

void param_close(struct bytes_writer *w, size_t at)
{
	chunk_close(w, at);
}

void param_write(struct bytes_writer *w, uint16_t type, const void *body, size_t len)
{
	size_t at = param_open(w, type);

	bytes_write(w, body, len);
	param_close(w, at);
}
