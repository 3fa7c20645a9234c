/* SPDX-License-Identifier: MIT */

/* A virtio header and a packet: every segment is a whole packet and no payload is lost. */

#include "proto/ip/segment.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void cut(const struct vnet *h, const struct inner *in, const uint8_t *packet, size_t len)
{
	static uint8_t out[70000];
	struct segment s;
	size_t n, payload = 0, first = 0;

	if (segment_begin(&s, h, in, packet, len) != SEGMENT_OK)
		return;
	size_t count = segment_count(&s);
	/* Half a million writes of one byte teach nothing more. */
	for (size_t i = 0; i < 300 && (n = segment_next_len(&s)) > 0; i++) {
		struct inner one;

		assert(n <= len && segment_count(&s) == count - i);
		first = first == 0 ? n : first;
		assert(n <= first);
		segment_next(&s, out);
		assert(inner_parse(out, n, &one) == INNER_OK);
		payload += n - s.header_len;
	}
	if (segment_next_len(&s) == 0)
		assert(payload == len - s.header_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t packet[70000];
	struct inner in;

	if (size < VNET_BYTES || size - VNET_BYTES > sizeof(packet))
		return 0;
	struct vnet h = vnet_load(data);
	data += VNET_BYTES;
	size -= VNET_BYTES;
	memcpy(packet, data, size);
	if (inner_parse(packet, size, &in) != INNER_OK)
		return 0;
	cut(&h, &in, packet, size);
	if (segment_finish(&h, &in, packet, size) == SEGMENT_OK)
		assert(memcmp(packet, data, in.header_len) == 0);
	return 0;
}
