/* SPDX-License-Identifier: MIT */

/* Messages of the ctl channel, several in one input, each behind its length (two bytes). */

#include "base/bytes.h"
#include "proto/sig/ctl.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes_reader r = bytes_reader(data, size);
	struct ctl_parts parts;

	ctl_parts_init(&parts);
	while (r.left >= 2) {
		size_t n = bytes_read_u16(&r);
		uint8_t again[CTL_SIZE_MAX];
		struct ctl_msg msg;

		n = n < r.left ? n : r.left;
		const uint8_t *bytes = bytes_read(&r, n);
		if (ctl_parse(&msg, bytes, n) != CTL_OK)
			continue;
		/* What stands behind the known fields is not written again. */
		size_t len = ctl_build(&msg, again);
		if (len == 0 || len > n || memcmp(again, bytes, len) != 0)
			abort();
		if (msg.type == CTL_PART && ctl_parts_add(&parts, &msg.part) < 0)
			abort();
		if (parts.bytes.len > CTL_PARTS_MAX)
			abort();
	}
	ctl_parts_deinit(&parts);
	return 0;
}
