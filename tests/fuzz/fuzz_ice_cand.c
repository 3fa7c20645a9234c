/* SPDX-License-Identifier: MIT */

#include "proto/ice/cand.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read can be written and reads the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[ICE_CAND_TEXT_SIZE];
	struct ice_cand c, again;

	if (ice_cand_parse((const char *)data, size, &c) != ICE_CAND_OK)
		return 0;
	ice_cand_format(&c, text);
	if (ice_cand_parse(text, strlen(text), &again) != ICE_CAND_OK || again.type != c.type ||
	    again.priority != c.priority || !netaddr_equal(&again.addr, &c.addr) ||
	    !netaddr_equal(&again.base, &c.base) || strcmp(again.foundation, c.foundation) != 0)
		abort();
	return 0;
}
