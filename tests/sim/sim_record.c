/* SPDX-License-Identifier: MIT */

/*
 * Records of epoch 1 that were changed, cut, joined, repeated and delayed, exhaustively.
 *
 * What must hold: what was changed or cut is never delivered, is counted, and does not keep the true record from being
 * delivered afterwards; a record late by less than the window is delivered once; nothing is delivered twice.
 */

#include "base/rng.h"
#include "crypto/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN_MAX  128
#define SEALED_MAX (PLAIN_MAX + RECORD_OVERHEAD)
#define RECORDS    1000
#define DISTANCE   3000 /* of reordering */

struct sealed {
	size_t len;
	uint8_t data[SEALED_MAX];
};

struct pair {
	struct rng rng;
	struct record *tx, *rx;
	struct record_counters c;
};

static unsigned failures;

static void check(bool ok, const char *what, uint64_t number)
{
	if (!ok && failures++ < 20)
		fprintf(stderr, "%s at %llu\n", what, (unsigned long long)number);
}

static void pair_init(struct pair *p, uint64_t seed)
{
	struct record_keys keys = {.role = RECORD_ROLE_CLIENT};

	*p = (struct pair){.rng = rng_seeded(seed)};
	rng_bytes(&p->rng, keys.client_key, sizeof(keys.client_key));
	rng_bytes(&p->rng, keys.server_key, sizeof(keys.server_key));
	rng_bytes(&p->rng, keys.client_salt, sizeof(keys.client_salt));
	rng_bytes(&p->rng, keys.server_salt, sizeof(keys.server_salt));
	keys.nonce_start = rng_u64(&p->rng);
	int r = record_new(&p->tx, &keys, AEAD_BACKEND_AUTO);
	keys.role = RECORD_ROLE_SERVER;
	if (r != 0 || record_new(&p->rx, &keys, AEAD_BACKEND_AUTO) != 0)
		exit(1);
}

static void pair_deinit(struct pair *p)
{
	record_free(p->tx);
	record_free(p->rx);
}

/* The next record: of random length, beginning with its number. */
static void seal(struct pair *p, uint64_t number, struct sealed *out)
{
	uint8_t plain[PLAIN_MAX];
	size_t len = sizeof(number) + rng_below(&p->rng, PLAIN_MAX - sizeof(number) + 1);

	rng_bytes(&p->rng, plain, len);
	memcpy(plain, &number, sizeof(number));
	if (record_seal_one(p->tx, RECORD_TYPE_DATA, plain, len, out->data, sizeof(out->data),
	                    &out->len) != 0)
		exit(1);
}

/* Opens a datagram. Returns how many records were delivered; *number is that of the last one. */
static size_t open_bytes(struct pair *p, const uint8_t *data, size_t len, uint64_t *number)
{
	uint8_t copy[4 * SEALED_MAX];
	struct record_plain plain[8];

	memcpy(copy, data, len);
	struct pkt in = {.data = copy, .len = len};
	size_t n = record_open(p->rx, &in, 1, plain, 8, &p->c);
	if (n > 0 && plain[n - 1].pkt.len >= sizeof(*number))
		memcpy(number, plain[n - 1].pkt.data, sizeof(*number));
	return n;
}

static uint64_t dropped(const struct record_counters *c)
{
	return c->rx_bad_tag + c->rx_replay + c->rx_old + c->rx_malformed + c->rx_epoch;
}

static void open_true(struct pair *p, const struct sealed *s, uint64_t number)
{
	uint64_t got = UINT64_MAX;

	check(open_bytes(p, s->data, s->len, &got) == 1 && got == number, "true record lost",
	      number);
	check(open_bytes(p, s->data, s->len, &got) == 0, "delivered twice", number);
}

/* Each bit of each record flipped, before the true one comes and after it. */
static uint64_t flip_bits(struct pair *p, uint64_t records)
{
	uint64_t flips = 0;
	struct sealed s;

	for (uint64_t i = 0; i < records; i++) {
		seal(p, i, &s);
		for (size_t bit = 0; bit < s.len * 8; bit++) {
			uint64_t before = dropped(&p->c), got;

			s.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
			check(open_bytes(p, s.data, s.len, &got) == 0, "changed record delivered",
			      i);
			check(dropped(&p->c) > before, "changed record not counted", i);
			s.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
			flips++;
		}
		open_true(p, &s, i);
	}
	return flips;
}

/* Every cut; two and three records in one datagram, the last one cut; bytes behind. */
static void cut_and_join(struct pair *p, uint64_t first)
{
	uint8_t joined[4 * SEALED_MAX];
	struct sealed a, b, c;
	uint64_t got, before;

	for (uint64_t i = first; i < first + 60; i += 3) {
		seal(p, i, &a);
		seal(p, i + 1, &b);
		seal(p, i + 2, &c);
		for (size_t len = 1; len < a.len; len++) {
			before = dropped(&p->c);
			check(open_bytes(p, a.data, len, &got) == 0, "cut record delivered", i);
			check(dropped(&p->c) == before + 1, "cut record not counted once", i);
		}
		memcpy(joined, a.data, a.len);
		memcpy(joined + a.len, b.data, b.len);
		size_t len = a.len + 1 + rng_below(&p->rng, (uint32_t)b.len - 1);
		check(open_bytes(p, joined, len, &got) == 1 && got == i, "first of two lost", i);
		memcpy(joined + a.len + b.len, c.data, c.len);
		len = a.len + b.len + c.len;
		/* The first one came already; bytes behind the last are no record. */
		memset(joined + len, 23, 5);
		before = dropped(&p->c);
		check(open_bytes(p, joined, len + 5, &got) == 2 && got == i + 2,
		      "two of three lost", i);
		check(dropped(&p->c) == before + 2, "repeated one and tail not counted", i);
	}
}

/* One record comes late by each distance up to DISTANCE, and at the edges of the window. */
static void delay_one(uint64_t distance)
{
	struct pair p;
	struct sealed s, late;
	uint64_t got;
	bool in_time = distance < RECORD_WINDOW;

	pair_init(&p, distance);
	seal(&p, 0, &late);
	for (uint64_t i = 1; i <= distance; i++) {
		seal(&p, i, &s);
		/* The window follows numbers, not arrivals: the newest alone moves it. */
		if (i == distance)
			check(open_bytes(&p, s.data, s.len, &got) == 1, "newest lost", i);
	}
	check(open_bytes(&p, late.data, late.len, &got) == in_time, "late record", distance);
	check(p.c.rx_old == !in_time, "old record not counted", distance);
	check(open_bytes(&p, late.data, late.len, &got) == 0, "late record twice", distance);
	pair_deinit(&p);
}

/* A train of records in any order, each sent twice: each is delivered once. */
static void shuffle(struct pair *p, uint64_t first)
{
	static struct sealed s[DISTANCE];
	static uint32_t order[2 * DISTANCE];
	static uint8_t seen[DISTANCE];
	uint64_t got;

	memset(seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < DISTANCE; i++) {
		seal(p, first + i, &s[i]);
		order[2 * i] = order[2 * i + 1] = i;
	}
	for (uint32_t i = 2 * DISTANCE - 1; i > 0; i--) {
		uint32_t k = rng_below(&p->rng, i + 1), t = order[i];

		order[i] = order[k];
		order[k] = t;
	}
	for (uint32_t i = 0; i < 2 * DISTANCE; i++) {
		const struct sealed *d = &s[order[i]];

		if (open_bytes(p, d->data, d->len, &got) == 1) {
			check(got == first + order[i], "another record", got);
			check(seen[order[i]]++ == 0, "shuffled record twice", got);
		}
	}
	for (uint32_t i = 0; i < DISTANCE; i++)
		check(seen[i] == 1, "shuffled record lost", first + i);
}

int main(void)
{
	struct pair p;

	pair_init(&p, 1);
	uint64_t flips = flip_bits(&p, RECORDS);
	cut_and_join(&p, 1000000);
	for (unsigned i = 0; i < 10; i++)
		shuffle(&p, 2000000 + i * DISTANCE);
	pair_deinit(&p);
	for (uint64_t d = 1; d <= DISTANCE; d++)
		delay_one(d);
	for (uint64_t d = RECORD_WINDOW - 2; d <= RECORD_WINDOW + 2; d++)
		delay_one(d);
	printf("%d records with each of %llu bits flipped, cut, joined, shuffled, late by up to %d: %u failures\n",
	       RECORDS, (unsigned long long)flips, RECORD_WINDOW + 2, failures);
	return failures > 0;
}
