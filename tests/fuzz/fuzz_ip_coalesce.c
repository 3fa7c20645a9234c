/* SPDX-License-Identifier: MIT */

/*
 * Packets, each behind two bytes of length: what is written has as many bytes and packets as what came in, and
 * a super-packet can be cut again into as many packets.
 */

#include "base/bytes.h"
#include "proto/ip/coalesce.h"
#include "proto/ip/segment.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct coalesce c;
static uint8_t written[VNET_BYTES + 70000];

static void check_super(const struct coalesce_write *w)
{
	struct segment s;
	struct inner in;
	size_t n = 0;

	for (unsigned i = 0; i < w->iov_count; i++) {
		assert(n + w->iov[i].iov_len <= sizeof(written));
		memcpy(written + n, w->iov[i].iov_base, w->iov[i].iov_len);
		n += w->iov[i].iov_len;
	}
	struct vnet h = vnet_load(written);
	n -= VNET_BYTES;
	if (w->packets == 1) {
		assert(h.flags == 0 && h.gso_type == VNET_GSO_NONE && n == w->bytes);
		return;
	}
	assert(inner_parse(written + VNET_BYTES, n, &in) == INNER_OK);
	assert(segment_begin(&s, &h, &in, written + VNET_BYTES, n) == SEGMENT_OK);
	assert(segment_count(&s) == w->packets);
}

static void flush(unsigned *packets, size_t *bytes)
{
	for (unsigned i = 0; i < coalesce_count(&c); i++) {
		struct coalesce_write w = coalesce_out(&c, i);

		check_super(&w);
		*packets -= w.packets;
		*bytes -= w.bytes;
	}
	coalesce_begin(&c, COALESCE_ALL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes_reader r = bytes_reader(data, size);
	unsigned packets = 0;
	size_t bytes = 0;

	coalesce_begin(&c, COALESCE_ALL);
	while (r.left > 2) {
		struct inner in;
		size_t len = bytes_read_u16(&r);
		const uint8_t *p = bytes_read(&r, GV_MIN(len, r.left));

		len = (size_t)(r.p - p);
		if (inner_parse(p, len, &in) != INNER_OK)
			continue;
		while (coalesce_add(&c, p, len, &in) == COALESCE_FULL)
			flush(&packets, &bytes);
		packets++;
		bytes += len;
	}
	flush(&packets, &bytes);
	assert(packets == 0 && bytes == 0);
	return 0;
}
