/* SPDX-License-Identifier: MIT */

/*
 * Records from the network: the input is a list of steps, each of which adds to a datagram a piece that is sealed by
 * the peer, sealed and then changed, or made up; or gives the datagram to record_open(); or moves the peer's numbers.
 */

#include "base/bytes.h"
#include "crypto/record.h"
#include "crypto/record_impl.h"

#include <stdlib.h>
#include <string.h>

#define DATAGRAMS    4
#define DATAGRAM_MAX 4096

enum step {
	STEP_SEALED,
	STEP_CHANGED,
	STEP_MADE_UP,
	STEP_NEXT,
	STEP_OPEN,
	STEP_JUMP,
	STEP_BACK,
	STEPS,
};

struct receiver {
	struct record *peer, *own;
	uint8_t data[DATAGRAMS][DATAGRAM_MAX];
	struct pkt in[DATAGRAMS];
	unsigned count;
	struct record_counters counters;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void clear(struct receiver *rx)
{
	rx->count = 1;
	for (unsigned i = 0; i < DATAGRAMS; i++)
		rx->in[i] = (struct pkt){.data = rx->data[i]};
}

/* Opens what was gathered: every plaintext lies inside the datagram that it is said to come from. */
static void open_all(struct receiver *rx, size_t room)
{
	struct record_plain out[16];
	size_t n = record_open(rx->own, rx->in, rx->count, out, room, &rx->counters);

	if (n > room)
		abort();
	for (size_t i = 0; i < n; i++) {
		const struct pkt *d = &rx->in[out[i].from];

		if (out[i].from >= rx->count || out[i].pkt.data < d->data ||
		    out[i].pkt.data + out[i].pkt.len > d->data + d->len)
			abort();
	}
	clear(rx);
}

static void add_sealed(struct receiver *rx, struct bytes_reader *r, bool change)
{
	struct pkt *d = &rx->in[rx->count - 1];
	uint8_t payload[256] = {0};
	size_t len = bytes_read_u8(r), sealed = 0;
	uint8_t type = bytes_read_u8(r);
	uint16_t at = change ? bytes_read_u16(r) : 0;
	uint8_t mask = change ? bytes_read_u8(r) : 0;

	if (record_seal_one(rx->peer, type, payload, len, d->data + d->len, DATAGRAM_MAX - d->len,
	                    &sealed) != 0)
		return;
	if (change)
		d->data[d->len + at % sealed] ^= mask;
	d->len += sealed;
}

static void add_made_up(struct receiver *rx, struct bytes_reader *r)
{
	struct pkt *d = &rx->in[rx->count - 1];
	size_t len = bytes_read_u8(r);

	if (r->left < len || DATAGRAM_MAX - d->len < len)
		return;
	(void)bytes_read_into(r, d->data + d->len, len); /* both lengths were looked at */
	d->len += len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct receiver rx;
	struct record_keys keys = {.role = RECORD_ROLE_CLIENT, .nonce_start = 7};
	struct bytes_reader r = bytes_reader(data, size);

	memset(&rx.counters, 0, sizeof(rx.counters));
	clear(&rx);
	if (record_new(&rx.peer, &keys, AEAD_BACKEND_EVP) != 0)
		return 0;
	keys.role = RECORD_ROLE_SERVER;
	if (record_new(&rx.own, &keys, AEAD_BACKEND_AUTO) != 0) {
		record_free(rx.peer);
		return 0;
	}
	while (r.ok && r.left > 0) {
		enum step step = bytes_read_u8(&r) % STEPS;

		switch (step) {
		case STEP_SEALED:
		case STEP_CHANGED:
			add_sealed(&rx, &r, step == STEP_CHANGED);
			break;
		case STEP_MADE_UP:
			add_made_up(&rx, &r);
			break;
		case STEP_NEXT:
			if (rx.count < DATAGRAMS)
				rx.count++;
			break;
		case STEP_OPEN:
			open_all(&rx, bytes_read_u8(&r) % 17);
			break;
		case STEP_JUMP:
			rx.peer->tx.sent += UINT64_C(1) << (bytes_read_u8(&r) % 48);
			break;
		case STEP_BACK:
			rx.peer->tx.sent -= GV_MIN(rx.peer->tx.sent, (uint64_t)bytes_read_u16(&r));
			break;
		case STEPS:
			break;
		}
	}
	open_all(&rx, 16);
	record_free(rx.peer);
	record_free(rx.own);
	return 0;
}
