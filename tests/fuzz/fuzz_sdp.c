/* SPDX-License-Identifier: MIT */

#include "proto/sdp/sdp.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read can be written and reads the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sdp s, again;
	static char text[SDP_FORMAT_SIZE], second[SDP_FORMAT_SIZE];

	if (sdp_parse((const char *)data, size, &s) != SDP_OK)
		return 0;
	if (s.mid[0] == '\0')
		strcpy(s.mid, "0");
	size_t n = sdp_format(&s, text, sizeof(text));
	if (n == 0 || sdp_parse(text, n, &again) != SDP_OK)
		abort();
	if (sdp_format(&again, second, sizeof(second)) != n || memcmp(text, second, n) != 0)
		abort();
	return 0;
}
