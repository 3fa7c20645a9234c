/* SPDX-License-Identifier: MIT */

/* Any packet: at most the MSS and the checksum change, and a second time nothing does. */

#include "proto/ip/mss.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t packet[4096];
	struct inner in;
	size_t changed = 0;

	if (size < 2 || size - 2 > sizeof(packet))
		return 0;
	size_t mtu = (size_t)data[0] << 8 | data[1];
	data += 2;
	size -= 2;
	memcpy(packet, data, size);
	if (inner_parse(packet, size, &in) != INNER_OK || !mss_applies(packet, size, &in))
		return 0;
	if (!mss_clamp(packet, size, &in, mtu)) {
		assert(memcmp(packet, data, size) == 0);
		return 0;
	}
	for (size_t i = 0; i < size; i++)
		changed += packet[i] != data[i];
	assert(changed <= 4);
	assert(!mss_clamp(packet, size, &in, mtu));
	return 0;
}
