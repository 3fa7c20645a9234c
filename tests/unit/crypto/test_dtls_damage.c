/* SPDX-License-Identifier: MIT */

/*
 * Every datagram of a handshake, cut and changed at every byte (tests/support/damage.h), in the place of the right one: the
 * receiver goes on or fails, within the time a datagram may take, and nobody comes to believe in a peer that he should not.
 * GOVPN_LONG=1 tries every byte of every datagram; otherwise every one of the record and message headers, and each 16th else.
 */

#include "tests/support/damage.h"
#include "tests/support/dtls_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DATAGRAMS_MAX 16
#define STRIDE        16
/* Header of a record and of a message in it. */
#define HEADERS 25

static struct {
	unsigned number;
	unsigned spoilt;
	size_t variant; /* SIZE_MAX: not at all */
	size_t len[DATAGRAMS_MAX];
} wire;

/* What follows the spoilt datagram is lost: the handshake need not come to its end. */
static bool spoil(struct rig *rig, struct rig_end *to, uint8_t *data, size_t *len)
{
	uint8_t out[RIG_DATAGRAM_MAX];
	unsigned i = wire.number++;

	(void)rig;
	(void)to;
	if (wire.variant == SIZE_MAX) {
		if (i < DATAGRAMS_MAX)
			wire.len[i] = *len;
		return true;
	}
	if (i != wire.spoilt)
		return i < wire.spoilt;
	size_t n = damage_make(data, *len, wire.variant, out);
	memcpy(data, out, n);
	*len = n;
	return n > 0;
}

static void shake_hands(unsigned spoilt, size_t variant)
{
	struct rig *rig = rig_new();

	wire.number = 0;
	wire.spoilt = spoilt;
	wire.variant = variant;
	rig->tamper = spoil;
	rig_ours(&rig->a, RECORD_ROLE_CLIENT, DTLS_PEER_GOVPN);
	rig_ours(&rig->b, RECORD_ROLE_SERVER, DTLS_PEER_GOVPN);
	uint64_t begin_us = damage_clock_us();
	rig_settle(rig);
	/* The whole handshake is some milliseconds of public-key work. */
	assert_true(variant == SIZE_MAX || damage_clock_us() - begin_us <= 10 * damage_limit_us());
	if (variant == SIZE_MAX)
		assert_true(rig_is_up(&rig->a) && rig_is_up(&rig->b));
	else
		assert_false(rig_is_up(&rig->a) && rig_is_up(&rig->b));
	rig_free(rig);
}

static void dtls_datagram_damaged_anywhere_is_refused(void **state)
{
	bool all = getenv("GOVPN_LONG") != NULL;
	size_t len[DATAGRAMS_MAX], runs = 0;

	(void)state;
	shake_hands(0, SIZE_MAX);
	unsigned datagrams = wire.number;
	assert_in_range(datagrams, 4, DATAGRAMS_MAX);
	memcpy(len, wire.len, sizeof(len));
	/* The last datagram completes the handshake of its sender already. */
	for (unsigned i = 0; i + 1 < datagrams; i++) {
		for (size_t v = 0; v < damage_count(len[i]); v++) {
			size_t at = v < len[i] ? v : (v - len[i]) / 3;

			if (!all && at >= HEADERS && at % STRIDE != 0)
				continue;
			shake_hands(i, v);
			runs++;
		}
	}
	print_message("%u datagrams, %zu variants\n", datagrams, runs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dtls_datagram_damaged_anywhere_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
