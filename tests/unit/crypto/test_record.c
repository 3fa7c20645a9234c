/* SPDX-License-Identifier: MIT */

#include "base/bytes.h"
#include "base/mem.h"
#include "base/rng.h"
#include "crypto/record.h"
#include "crypto/record_impl.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NONCE_START UINT64_C(0xfffffffffffffff0) /* wraps after 16 records */

/* A client and a server with the same keys, and room for a train. */
struct pair {
	struct record *client, *server;
	struct record_counters counters;
	uint8_t train[BATCH_MAX_BYTES];
	struct record_plain plain[256];
};

static struct record_keys make_keys(enum record_role role)
{
	struct record_keys keys = {.role = role, .nonce_start = NONCE_START};

	memset(keys.client_key, 0x11, sizeof(keys.client_key));
	memset(keys.server_key, 0x22, sizeof(keys.server_key));
	memset(keys.client_salt, 0x33, sizeof(keys.client_salt));
	memset(keys.server_salt, 0x44, sizeof(keys.server_salt));
	return keys;
}

static int pair_open(void **state)
{
	struct record_keys client = make_keys(RECORD_ROLE_CLIENT);
	struct record_keys server = make_keys(RECORD_ROLE_SERVER);
	struct pair *p = mem_new(struct pair);

	if (p == NULL)
		return -1;
	*state = p;
	/* Different backends where there are two: each packet of these tests compares them. */
	if (record_new(&p->client, &client, AEAD_BACKEND_AUTO) != 0 ||
	    record_new(&p->server, &server, AEAD_BACKEND_EVP) != 0)
		return -1;
	return 0;
}

static int pair_close(void **state)
{
	struct pair *p = *state;

	record_free(p->client);
	record_free(p->server);
	mem_free(p);
	return 0;
}

/* Fills a train of `count` datagrams of `size`, the last of `last` bytes; each holds its own number. */
static struct batch make_train(struct pair *p, unsigned count, size_t size, size_t last)
{
	struct batch b = BATCH_INIT(p->train, sizeof(p->train), RECORD_HEADROOM, RECORD_TAILROOM);

	for (unsigned i = 0; i < count; i++) {
		size_t len = i + 1 == count ? last : size;
		uint8_t *payload = batch_reserve(&b, len);

		assert_non_null(payload);
		memset(payload, (int)i, len);
	}
	return b;
}

static size_t open_train(struct pair *p, struct record *r, const struct batch *b)
{
	struct pkt in[BATCH_MAX_COUNT];

	for (unsigned i = 0; i < b->count; i++)
		in[i] = batch_datagram(b, i);
	return record_open(r, in, b->count, p->plain, 256, &p->counters);
}

static size_t open_one(struct pair *p, struct record *r, const uint8_t *data, size_t len)
{
	struct pkt in = {.data = p->train, .len = len};

	memcpy(p->train, data, len);
	return record_open(r, &in, 1, p->plain, 256, &p->counters);
}

/* One record of the client with that payload, to out. Returns its length. */
static size_t seal(struct pair *p, const char *text, uint8_t *out, size_t size)
{
	size_t len = 0;

	assert_int_equal(
		record_seal_one(p->client, RECORD_TYPE_DATA, text, strlen(text), out, size, &len),
		0);
	return len;
}

static void record_new_out_of_memory_fails(void **state)
{
	struct record_keys keys = make_keys(RECORD_ROLE_CLIENT);
	struct record *r = NULL;
	int result = -1;

	(void)state;
	for (unsigned n = 1; result != 0; n++) {
		mem_fail_at(n);
		result = record_new(&r, &keys, AEAD_BACKEND_AUTO);
		assert_int_equal(result, mem_fail_hit() ? -ENOMEM : 0);
	}
	mem_fail_at(0);
	record_free(r);
}

static void record_seal_train_has_the_form_of_rfc6347(void **state)
{
	struct pair *p = *state;
	struct batch b = make_train(p, 20, 1200, 7);
	size_t before = b.len;

	assert_int_equal(record_seal(p->client, &b), 0);
	assert_int_equal(b.len, before);
	assert_int_equal(record_sent(p->client), 20);
	for (unsigned i = 0; i < b.count; i++) {
		struct pkt d = batch_datagram(&b, i);

		assert_int_equal(d.data[0], RECORD_TYPE_DATA);
		assert_int_equal(be16_load(d.data + 1), 0xfefd);
		assert_int_equal(be64_load(d.data + 3), UINT64_C(1) << 48 | i);
		assert_int_equal(be16_load(d.data + 11), d.len - RECORD_HEADER_SIZE);
		assert_true(be64_load(d.data + 13) == NONCE_START + i);
	}
}

static void record_open_train_gives_every_payload(void **state)
{
	struct pair *p = *state;
	static const unsigned counts[] = {1, 2, 63, 64};

	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		struct batch b = make_train(p, counts[c], 900, 0);

		assert_int_equal(record_seal(p->client, &b), 0);
		assert_int_equal(open_train(p, p->server, &b), counts[c]);
		for (unsigned i = 0; i < counts[c]; i++) {
			const struct record_plain *plain = &p->plain[i];

			assert_int_equal(plain->type, RECORD_TYPE_DATA);
			assert_int_equal(plain->from, i);
			assert_int_equal(plain->pkt.len, i + 1 == counts[c] ? 0 : 900);
			if (plain->pkt.len > 0)
				assert_int_equal(plain->pkt.data[899], i);
		}
	}
	assert_int_equal(p->counters.rx_records, 1 + 2 + 63 + 64);
}

static void record_open_own_direction_fails(void **state)
{
	struct pair *p = *state;
	uint8_t rec[100];
	size_t len = seal(p, "hello", rec, sizeof(rec));

	assert_int_equal(open_one(p, p->client, rec, len), 0);
	assert_int_equal(p->counters.rx_bad_tag, 1);
}

static void record_open_replays_are_counted(void **state)
{
	struct pair *p = *state;
	struct batch b = make_train(p, 10, 50, 50);
	static uint8_t copy[BATCH_MAX_BYTES];

	assert_int_equal(record_seal(p->client, &b), 0);
	memcpy(copy, p->train, b.len);
	assert_int_equal(open_train(p, p->server, &b), 10);
	memcpy(p->train, copy, b.len);
	assert_int_equal(open_train(p, p->server, &b), 0);
	assert_int_equal(p->counters.rx_replay, 10);
}

/* The same record twice in one call passes the first look both times. */
static void record_open_replay_within_a_datagram_is_dropped(void **state)
{
	struct pair *p = *state;
	uint8_t rec[200];
	size_t len = seal(p, "twin", rec, 100);

	memcpy(rec + len, rec, len);
	assert_int_equal(open_one(p, p->server, rec, 2 * len), 1);
	assert_int_equal(p->counters.rx_replay, 1);
}

static void record_open_several_records_in_a_datagram(void **state)
{
	struct pair *p = *state;
	static const char *const texts[] = {"one", "", "three"};
	uint8_t rec[300];
	size_t len = 0, one = 0;

	for (unsigned i = 0; i < 3; i++)
		len += seal(p, texts[i], rec + len, sizeof(rec) - len);
	assert_int_equal(record_seal_one(p->client, RECORD_TYPE_ALERT, "\1\0", 2, rec + len,
	                                 sizeof(rec) - len, &one),
	                 0);
	len += one;
	assert_int_equal(open_one(p, p->server, rec, len), 4);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(p->plain[i].pkt.len, strlen(texts[i]));
		assert_memory_equal(p->plain[i].pkt.data, texts[i], strlen(texts[i]));
	}
	assert_int_equal(p->plain[3].type, RECORD_TYPE_ALERT);
	assert_int_equal(p->plain[3].pkt.len, 2);
}

/* What stands before a broken record counts; what stands behind it is not looked at. */
static void record_open_broken_record_drops_the_rest(void **state)
{
	struct pair *p = *state;
	uint8_t rec[300];
	size_t first = seal(p, "first", rec, 100);
	size_t len = first + seal(p, "second", rec + first, 100);

	rec[first + 2] = 0xfe; /* no version of DTLS */
	len += seal(p, "third", rec + len, 100);
	assert_int_equal(open_one(p, p->server, rec, len), 1);
	assert_memory_equal(p->plain[0].pkt.data, "first", 5);
	assert_int_equal(p->counters.rx_malformed, 1);
}

static void record_open_truncated_gives_nothing(void **state)
{
	struct pair *p = *state;
	uint8_t rec[200];
	size_t len = seal(p, "some payload that is cut", rec, sizeof(rec));

	for (size_t cut = 1; cut < len; cut++)
		assert_int_equal(open_one(p, p->server, rec, cut), 0);
	assert_int_equal(p->counters.rx_malformed, len - 1);
	assert_int_equal(open_one(p, p->server, rec, 0), 0);
	assert_int_equal(open_one(p, p->server, rec, len), 1);
}

/* Each bit that is flipped makes the record void, and none of them moves the window. */
static void record_open_flipped_bit_gives_nothing(void **state)
{
	struct pair *p = *state;
	uint8_t rec[100], bad[100];
	size_t len = seal(p, "payload", rec, sizeof(rec));

	for (size_t bit = 0; bit < 8 * len; bit++) {
		memcpy(bad, rec, len);
		bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(open_one(p, p->server, bad, len), 0);
	}
	assert_int_equal(open_one(p, p->server, rec, len), 1);
	assert_int_equal(p->counters.rx_records, 1);
}

static void record_open_other_epochs_are_counted(void **state)
{
	struct pair *p = *state;
	uint8_t rec[200];
	static const uint16_t epochs[] = {0, 2, 0xffff};
	size_t len = seal(p, "data", rec, sizeof(rec));

	for (size_t i = 0; i < 3; i++) {
		be16_store(rec + 3, epochs[i]);
		assert_int_equal(open_one(p, p->server, rec, len), 0);
	}
	assert_int_equal(p->counters.rx_epoch, 3);
	/* One of another epoch in front does not hide ours behind it. */
	size_t more = seal(p, "ours", rec + len, sizeof(rec) - len);
	assert_int_equal(open_one(p, p->server, rec, len + more), 1);
}

/* Lengths that lie: below nonce and tag, or above what a record may hold. */
static void record_open_wrong_length_is_malformed(void **state)
{
	struct pair *p = *state;
	static uint8_t rec[20000];

	seal(p, "data", rec, sizeof(rec));
	be16_store(rec + 11, 8 + 16 - 1);
	assert_int_equal(open_one(p, p->server, rec, 13 + 23), 0);
	be16_store(rec + 11, RECORD_PLAIN_MAX + 8 + 16 + 1);
	assert_int_equal(open_one(p, p->server, rec, sizeof(rec)), 0);
	be16_store(rec + 11, 0);
	assert_int_equal(open_one(p, p->server, rec, sizeof(rec)), 0);
	assert_int_equal(p->counters.rx_malformed, 3);
}

/* Late by up to the window: delivered; later: dropped, counted, and the connection goes on. */
static void record_open_reordered_within_window_is_delivered(void **state)
{
	struct pair *p = *state;
	uint8_t late[3][100], rec[100];
	size_t len = 0;

	for (unsigned i = 0; i < 3; i++)
		len = seal(p, "late", late[i], sizeof(late[i]));
	for (unsigned i = 3; i < RECORD_WINDOW; i++)
		assert_int_equal(open_one(p, p->server, rec, seal(p, "x", rec, sizeof(rec))), 1);
	assert_int_equal(open_one(p, p->server, late[0], len), 1); /* the oldest that fits */
	assert_int_equal(open_one(p, p->server, late[0], len), 0);
	assert_int_equal(p->counters.rx_replay, 1);
	assert_int_equal(open_one(p, p->server, rec, seal(p, "x", rec, sizeof(rec))), 1);
	assert_int_equal(open_one(p, p->server, rec, seal(p, "x", rec, sizeof(rec))), 1);
	assert_int_equal(open_one(p, p->server, late[1], len), 0);
	assert_int_equal(p->counters.rx_old, 1);
	assert_int_equal(open_one(p, p->server, late[2], len), 1);
}

/* A forged record with a far sequence number must not move the window. */
static void record_open_forged_jump_does_not_shut_out_others(void **state)
{
	struct pair *p = *state;
	uint8_t forged[100], rec[100];
	size_t len = seal(p, "far", forged, sizeof(forged));

	be64_store(forged + 3, UINT64_C(1) << 48 | RECORD_SEQ_MAX);
	assert_int_equal(open_one(p, p->server, forged, len), 0);
	assert_int_equal(p->counters.rx_bad_tag, 1);
	assert_int_equal(open_one(p, p->server, rec, seal(p, "x", rec, sizeof(rec))), 1);
}

static void record_open_full_output_is_counted(void **state)
{
	struct pair *p = *state;
	struct batch b = make_train(p, 10, 20, 20);
	struct record_plain plain[4];
	struct pkt in[10];

	assert_int_equal(record_seal(p->client, &b), 0);
	for (unsigned i = 0; i < 10; i++)
		in[i] = batch_datagram(&b, i);
	assert_int_equal(record_open(p->server, in, 10, plain, 4, &p->counters), 4);
	assert_int_equal(p->counters.rx_no_room, 6);
	assert_int_equal(record_open(p->server, in, 10, plain, 0, &p->counters), 0);
	/* What had no room was not opened, so it is no replay. */
	assert_int_equal(record_open(p->server, in + 4, 6, p->plain, 256, &p->counters), 6);
}

/* More records than go through the cipher at once, forged ones among them, into exact room. */
static void record_open_many_groups(void **state)
{
	struct pair *p = *state;
	static uint8_t data[200][64];
	struct pkt in[200];

	for (unsigned i = 0; i < 200; i++) {
		in[i] = (struct pkt){.data = data[i], .len = seal(p, "payload", data[i], 64)};
		if (i % 3 == 0)
			data[i][30] ^= 1;
	}
	assert_int_equal(record_open(p->server, in, 200, p->plain, 133, &p->counters), 133);
	assert_int_equal(p->counters.rx_bad_tag, 67);
	assert_int_equal(p->counters.rx_no_room, 0);
	for (unsigned i = 0; i < 133; i++)
		assert_int_equal(p->plain[i].from, i / 2 * 3 + 1 + i % 2);
}

static void record_seal_wrong_rooms_are_refused(void **state)
{
	struct pair *p = *state;
	struct batch b =
		BATCH_INIT(p->train, sizeof(p->train), RECORD_HEADROOM - 1, RECORD_TAILROOM);

	assert_non_null(batch_reserve(&b, 10));
	assert_int_equal(record_seal(p->client, &b), -EINVAL);
	b = BATCH_INIT(p->train, sizeof(p->train), RECORD_HEADROOM, RECORD_TAILROOM);
	assert_int_equal(record_seal(p->client, &b), 0); /* empty */
	assert_non_null(batch_reserve(&b, RECORD_PLAIN_MAX + 1));
	assert_int_equal(record_seal(p->client, &b), -EINVAL);
	assert_int_equal(record_sent(p->client), 0);
}

static void record_seal_one_limits_are_kept(void **state)
{
	struct pair *p = *state;
	static uint8_t big[RECORD_PLAIN_MAX + 1], out[RECORD_PLAIN_MAX + RECORD_OVERHEAD];
	size_t len = 0;

	assert_int_equal(record_seal_one(p->client, RECORD_TYPE_DATA, big, sizeof(big), out,
	                                 sizeof(out), &len),
	                 -EINVAL);
	assert_int_equal(record_seal_one(p->client, RECORD_TYPE_DATA, big, 10, out,
	                                 10 + RECORD_OVERHEAD - 1, &len),
	                 -ENOBUFS);
	assert_int_equal(record_seal_one(p->client, RECORD_TYPE_DATA, big, RECORD_PLAIN_MAX, out,
	                                 sizeof(out), &len),
	                 0);
	assert_int_equal(len, sizeof(out));
	assert_int_equal(open_one(p, p->server, out, len), 1);
	assert_int_equal(p->plain[0].pkt.len, RECORD_PLAIN_MAX);
}

/* RFC 6347 4.1: a sequence number never comes twice; the last is 2^48 - 1. */
static void record_seal_after_the_last_number_is_refused(void **state)
{
	struct pair *p = *state;
	struct batch b = make_train(p, 3, 10, 10);
	uint8_t rec[100];
	size_t len = 0;

	p->client->tx.sent = RECORD_SEQ_MAX - 1;
	assert_int_equal(record_seal(p->client, &b), -EOVERFLOW);
	b = make_train(p, 1, 10, 10);
	assert_int_equal(record_seal(p->client, &b), 0);
	assert_int_equal(open_train(p, p->server, &b), 1);
	assert_int_equal(open_one(p, p->server, rec, seal(p, "the last", rec, sizeof(rec))), 1);
	assert_true(be64_load(rec + 3) == (UINT64_C(1) << 48 | RECORD_SEQ_MAX));
	b = make_train(p, 1, 10, 10);
	assert_int_equal(record_seal(p->client, &b), -EOVERFLOW);
	assert_int_equal(
		record_seal_one(p->client, RECORD_TYPE_ALERT, "\1\0", 2, rec, sizeof(rec), &len),
		-EOVERFLOW);
}

int main(void)
{
#define WITH_PAIR(fn) cmocka_unit_test_setup_teardown(fn, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_new_out_of_memory_fails),
		WITH_PAIR(record_seal_train_has_the_form_of_rfc6347),
		WITH_PAIR(record_open_train_gives_every_payload),
		WITH_PAIR(record_open_own_direction_fails),
		WITH_PAIR(record_open_replays_are_counted),
		WITH_PAIR(record_open_replay_within_a_datagram_is_dropped),
		WITH_PAIR(record_open_several_records_in_a_datagram),
		WITH_PAIR(record_open_broken_record_drops_the_rest),
		WITH_PAIR(record_open_truncated_gives_nothing),
		WITH_PAIR(record_open_flipped_bit_gives_nothing),
		WITH_PAIR(record_open_other_epochs_are_counted),
		WITH_PAIR(record_open_wrong_length_is_malformed),
		WITH_PAIR(record_open_reordered_within_window_is_delivered),
		WITH_PAIR(record_open_forged_jump_does_not_shut_out_others),
		WITH_PAIR(record_open_full_output_is_counted),
		WITH_PAIR(record_open_many_groups),
		WITH_PAIR(record_seal_wrong_rooms_are_refused),
		WITH_PAIR(record_seal_one_limits_are_kept),
		WITH_PAIR(record_seal_after_the_last_number_is_refused),
	};

	return cmocka_run_group_tests_name("crypto/record", tests, NULL, NULL);
}
