/* SPDX-License-Identifier: MIT */

/* Gathering fed with bases, raw messages and right and wrong answers. */

#include "base/bytes.h"
#include "base/clock.h"
#include "proto/ice/gather.h"
#include "proto/stun/msg.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fed {
	struct gather *gather;
	struct bytes_reader in;
	uint64_t now_us;
	struct ice_packet last;
};

static void drain(struct fed *f)
{
	struct ice_packet p;
	struct gather_event e;

	for (unsigned i = 0; gather_output(f->gather, &p, f->now_us) == 1; i++) {
		if (i > GATHER_MAX_BASES * GATHER_MAX_SERVERS || p.len == 0)
			abort();
		f->last = p;
	}
	for (unsigned i = 0; gather_event(f->gather, &e) == 1; i++) {
		if (i > GATHER_MAX_BASES * GATHER_MAX_SERVERS + 1)
			abort();
	}
}

static struct netaddr some_addr(struct fed *f)
{
	return netaddr_ip4(0x0a000000u + (bytes_read_u8(&f->in) & 31), 1000);
}

static void answer(struct fed *f)
{
	uint8_t flags = bytes_read_u8(&f->in), out[128];
	uint32_t ip = bytes_read_u32(&f->in);
	struct netaddr mapped = netaddr_ip4(ip, bytes_read_u16(&f->in));
	struct stun_writer w;

	if (f->last.len == 0)
		return;
	stun_begin(&w, out, sizeof(out), flags & 1 ? STUN_CLASS_ERROR : STUN_CLASS_SUCCESS,
	           STUN_METHOD_BINDING, f->last.data + 8);
	stun_put_xor_mapped(&w, &mapped);
	gather_input(f->gather, &f->last.local, &f->last.remote, out, stun_end(&w), f->now_us);
}

static void step(struct fed *f)
{
	uint8_t op = bytes_read_u8(&f->in);
	struct netaddr a = some_addr(f), b = netaddr_ip4(0xc0000201, 3478);
	uint64_t due_us = gather_deadline_us(f->gather);

	switch (op % 5) {
	case 0:
		gather_add_base(f->gather, &a, f->now_us);
		break;
	case 1:
		gather_remove_base(f->gather, &a, f->now_us);
		break;
	case 2:
		answer(f);
		break;
	case 3: {
		size_t n = GV_MIN((size_t)op, f->in.left);
		const uint8_t *p = bytes_read(&f->in, n);

		if (p != NULL)
			gather_input(f->gather, &a, &b, p, n, f->now_us);
		break;
	}
	default:
		if (due_us != CLOCK_NEVER)
			f->now_us = GV_MAX(f->now_us, due_us);
		gather_timeout(f->gather, f->now_us);
		break;
	}
	drain(f);
	if (gather_deadline_us(f->gather) < f->now_us)
		gather_timeout(f->gather, f->now_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fed f = {.in = bytes_reader(data, size), .now_us = 1000000000};
	struct gather_config config = {
		.servers = {netaddr_ip4(0xc0000201, 3478), netaddr_ip4(0xc0000202, 3478)},
		.server_count = 2,
		.transaction_prefix = 7,
		.rng = rng_seeded(1),
	};

	if (gather_new(&f.gather, &config) != 0)
		return 0;
	for (unsigned i = 0; i < 2000 && f.in.ok && f.in.left > 0; i++)
		step(&f);
	gather_free(f.gather);
	return 0;
}
