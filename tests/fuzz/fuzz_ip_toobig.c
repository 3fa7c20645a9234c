/* SPDX-License-Identifier: MIT */

/* Any packet: an answer is a whole packet that is never answered itself. */

#include "proto/ip/toobig.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t answer[TOOBIG_BYTES], second[TOOBIG_BYTES];
	struct inner in;

	if (size < 2)
		return 0;
	uint32_t mtu = (uint32_t)data[0] << 8 | data[1];
	data += 2;
	size -= 2;
	if (inner_parse(data, size, &in) != INNER_OK)
		return 0;
	size_t n = toobig_build(data, size, &in, mtu, answer);
	if (n == 0)
		return 0;
	assert(n <= sizeof(answer));
	assert(inner_parse(answer, n, &in) == INNER_OK);
	assert(toobig_build(answer, n, &in, mtu, second) == 0);
	return 0;
}
