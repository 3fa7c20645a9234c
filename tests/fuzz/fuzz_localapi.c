/* SPDX-License-Identifier: MIT */

/* A line of the local API: whoever may open the socket may write anything. */

#include "engine/client/localapi.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct localapi_request r;
	struct diag diag = {0};

	int res = localapi_parse(&r, (const char *)data, size, &diag);
	if (res == LOCALAPI_OK) {
		if (r.verb >= LOCALAPI_VERBS || diag.text[0] != '\0')
			abort();
		if (r.verb == LOCALAPI_CREATE && (r.name == NULL || !r.has_server))
			abort();
		localapi_request_deinit(&r);
	} else if (diag.text[0] == '\0' || strchr(diag.text, '\n') != NULL) {
		abort(); /* one sentence, always */
	}
	return 0;
}
