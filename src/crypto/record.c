/* SPDX-License-Identifier: MIT */

#include "crypto/record.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "crypto/record_impl.h"

#include <errno.h>
#include <string.h>

_Static_assert(RECORD_WINDOW == REPLAY_WINDOW, "the header states the window");

#define VERSION_DTLS_1_2 0xfefd
#define EXPLICIT_SIZE    8
/* RFC 6347 4.1.2.1 with RFC 5246 6.2.3.3: epoch and sequence number, type, version, plaintext length. */
#define AAD_SIZE 13
/* Records that go through the cipher in one call. */
#define GROUP_MAX BATCH_MAX_COUNT

#define EPOCH_OURS (UINT64_C(1) << 48)

/* Records on their way through the cipher together. */
struct record_group {
	size_t count;
	struct aead_op ops[GROUP_MAX];
	uint8_t aad[GROUP_MAX][AAD_SIZE];
	uint64_t seq[GROUP_MAX];  /* of opening */
	uint32_t from[GROUP_MAX]; /* of opening */
	uint8_t type[GROUP_MAX];  /* of opening */
};

int record_new(struct record **out, const struct record_keys *keys, enum aead_backend backend)
{
	bool client = keys->role == RECORD_ROLE_CLIENT;
	gv_cleanup(record_freep) struct record *r = mem_new(struct record);

	if (r == NULL)
		return err_here(-ENOMEM);

	int err = aead_key_new(&r->tx.key, backend, AEAD_SEAL,
	                       client ? keys->client_key : keys->server_key);
	if (err == 0)
		err = aead_key_new(&r->rx.key, backend, AEAD_OPEN,
		                   client ? keys->server_key : keys->client_key);
	if (err != 0)
		return err_up(err);
	memcpy(r->tx.salt, client ? keys->client_salt : keys->server_salt, RECORD_SALT_SIZE);
	memcpy(r->rx.salt, client ? keys->server_salt : keys->client_salt, RECORD_SALT_SIZE);
	r->tx.nonce_start = keys->nonce_start;
	*out = GV_STEAL(r);
	return 0;
}

void record_free(struct record *r)
{
	if (r == NULL)
		return;
	aead_key_free(r->tx.key);
	aead_key_free(r->rx.key);
	mem_wipe(r, sizeof(*r));
	mem_free(r);
}

uint64_t record_sent(const struct record *r)
{
	return r->tx.sent;
}

static void write_aad(uint8_t aad[static AAD_SIZE], const uint8_t *header, size_t plain_len)
{
	memcpy(aad, header + 3, 8); /* epoch and sequence number */
	memcpy(aad + 8, header, 3); /* type and version */
	be16_store(aad + 11, (uint16_t)plain_len);
}

/* Writes header and nonce of the next record around a payload of `len` bytes, and what the cipher needs. */
static void prepare_seal(struct record_sender *tx, uint8_t type, uint8_t *p, size_t len,
                         struct aead_op *op, uint8_t aad[static AAD_SIZE])
{
	uint64_t seq = tx->sent++;

	p[0] = type;
	be16_store(p + 1, VERSION_DTLS_1_2);
	be64_store(p + 3, EPOCH_OURS | seq);
	be16_store(p + 11, (uint16_t)(EXPLICIT_SIZE + len + AEAD_TAG_SIZE));
	/* Each record takes one step of both counters, so this nonce is as unique as the sequence number. */
	be64_store(p + RECORD_HEADER_SIZE, tx->nonce_start + seq);
	write_aad(aad, p, len);

	memcpy(op->nonce, tx->salt, RECORD_SALT_SIZE);
	memcpy(op->nonce + RECORD_SALT_SIZE, p + RECORD_HEADER_SIZE, EXPLICIT_SIZE);
	op->aad = aad;
	op->aad_len = AAD_SIZE;
	op->data = p + RECORD_HEADROOM;
	op->len = len;
	op->tag = op->data + len;
}

int record_seal(struct record *r, struct batch *b)
{
	struct aead_op ops[BATCH_MAX_COUNT];
	uint8_t aad[BATCH_MAX_COUNT][AAD_SIZE];

	if (b->count == 0)
		return 0;
	if (b->headroom != RECORD_HEADROOM || b->tailroom != RECORD_TAILROOM ||
	    b->count > BATCH_MAX_COUNT || b->size > RECORD_PLAIN_MAX + RECORD_OVERHEAD)
		return err_here(-EINVAL);
	if (b->count > RECORD_SEQ_MAX + 1 - r->tx.sent)
		return err_here(-EOVERFLOW);

	for (unsigned i = 0; i < b->count; i++) {
		struct pkt d = batch_datagram(b, i);

		prepare_seal(&r->tx, RECORD_TYPE_DATA, d.data, d.len - RECORD_OVERHEAD, &ops[i],
		             aad[i]);
	}
	return aead_seal(r->tx.key, ops, b->count);
}

int record_seal_one(struct record *r, enum record_type type, const void *payload, size_t len,
                    uint8_t *out, size_t out_size, size_t *out_len)
{
	struct aead_op op;
	uint8_t aad[AAD_SIZE];

	if (len > RECORD_PLAIN_MAX)
		return err_here(-EINVAL);
	if (out_size < len + RECORD_OVERHEAD)
		return err_here(-ENOBUFS);
	if (r->tx.sent > RECORD_SEQ_MAX)
		return err_here(-EOVERFLOW);

	if (len > 0)
		memmove(out + RECORD_HEADROOM, payload, len);
	prepare_seal(&r->tx, (uint8_t)type, out, len, &op, aad);
	int err = aead_seal(r->tx.key, &op, 1);
	if (err != 0)
		return err_up(err);
	*out_len = len + RECORD_OVERHEAD;
	return 0;
}

/* Adds the record at p to the group, unless it is none of ours. Returns its size, 0 when it is malformed. */
static size_t prepare_open(struct record_receiver *rx, uint8_t *p, size_t left, uint32_t from,
                           struct record_group *g, struct record_counters *c)
{
	if (left < RECORD_HEADER_SIZE)
		return 0;

	size_t body = be16_load(p + 11);
	if (be16_load(p + 1) != VERSION_DTLS_1_2 || body > left - RECORD_HEADER_SIZE)
		return 0;

	size_t size = RECORD_HEADER_SIZE + body;
	uint64_t epoch_seq = be64_load(p + 3);
	if (epoch_seq >> 48 != 1) {
		c->rx_epoch++;
		return size;
	}
	if (body < EXPLICIT_SIZE + AEAD_TAG_SIZE ||
	    body > RECORD_PLAIN_MAX + EXPLICIT_SIZE + AEAD_TAG_SIZE)
		return 0;

	uint64_t seq = epoch_seq & RECORD_SEQ_MAX;
	switch (replay_check(&rx->window, seq)) {
	case REPLAY_NEW:
		break;
	case REPLAY_SEEN:
		c->rx_replay++;
		return size;
	case REPLAY_OLD:
		c->rx_old++;
		return size;
	}

	struct aead_op *op = &g->ops[g->count];
	size_t len = body - EXPLICIT_SIZE - AEAD_TAG_SIZE;
	write_aad(g->aad[g->count], p, len);
	memcpy(op->nonce, rx->salt, RECORD_SALT_SIZE);
	memcpy(op->nonce + RECORD_SALT_SIZE, p + RECORD_HEADER_SIZE, EXPLICIT_SIZE);
	op->aad = g->aad[g->count];
	op->aad_len = AAD_SIZE;
	op->data = p + RECORD_HEADROOM;
	op->len = len;
	op->tag = op->data + len;
	g->seq[g->count] = seq;
	g->from[g->count] = from;
	g->type[g->count] = p[0];
	g->count++;
	return size;
}

/* Opens the group and empties it. Returns how many plaintexts were written; out has room for all. */
static size_t finish_open(struct record_receiver *rx, struct record_group *g,
                          struct record_plain *out, struct record_counters *c)
{
	size_t used = 0;

	aead_open(rx->key, g->ops, g->count);
	for (size_t i = 0; i < g->count; i++) {
		if (!g->ops[i].ok) {
			c->rx_bad_tag++;
			continue;
		}
		/* Again: the group itself may hold a record twice, or have moved the window past one. */
		switch (replay_mark(&rx->window, g->seq[i])) {
		case REPLAY_NEW:
			break;
		case REPLAY_SEEN:
			c->rx_replay++;
			continue;
		case REPLAY_OLD:
			c->rx_old++;
			continue;
		}
		out[used++] = (struct record_plain){
			.type = g->type[i],
			.pkt = {.data = g->ops[i].data, .len = g->ops[i].len},
			.from = g->from[i],
		};
		c->rx_records++;
	}
	g->count = 0;
	return used;
}

size_t record_open(struct record *r, const struct pkt *in, size_t n, struct record_plain *out,
                   size_t max_out, struct record_counters *c)
{
	struct record_group g;
	size_t used = 0;

	g.count = 0;
	for (size_t i = 0; i < n; i++) {
		uint8_t *p = in[i].data;
		size_t left = in[i].len;

		while (left > 0) {
			if (g.count == GROUP_MAX || used + g.count == max_out)
				used += finish_open(&r->rx, &g, out + used, c);
			if (used == max_out) {
				c->rx_no_room++;
				break;
			}

			size_t size = prepare_open(&r->rx, p, left, (uint32_t)i, &g, c);
			if (size == 0) {
				c->rx_malformed++;
				break;
			}
			p += size;
			left -= size;
		}
	}
	used += finish_open(&r->rx, &g, out + used, c);
	return used;
}
