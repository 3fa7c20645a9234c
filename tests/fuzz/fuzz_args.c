/* SPDX-License-Identifier: MIT */

/* The command line and environment of govpn: lines (argv.h). */

#include "apps/govpn/args.h"
#include "argv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct args a;
	struct argv argv;
	struct diag diag = {0};

	argv_make(&argv, data, size);
	if (args_parse(&a, argv.n, argv.v, &diag) == ARGS_OK) {
		if (!json_is_object(a.request) || a.verb > ARGS_VERBS || diag.text[0] != '\0')
			abort();
		if (!a.help && json_string_value(json_object_get(a.request, "verb")) == NULL)
			abort();
		args_deinit(&a);
	} else if (diag.text[0] == '\0') {
		abort(); /* one sentence, always */
	}
	argv_free(&argv);
	return 0;
}
