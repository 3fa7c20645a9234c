/* SPDX-License-Identifier: MIT */

/* Any bytes as an inner packet: what is accepted lies inside them. */

#include "proto/ip/inner.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct inner in;

	if (inner_parse(data, size, &in) != INNER_OK)
		return 0;
	assert(in.version == 4 || in.version == 6);
	assert(in.header_len <= size);
	assert(in.src >= data && in.dst + in.addr_len <= data + in.header_len);
	return 0;
}
