/* SPDX-License-Identifier: MIT */

/* The command line and environment of govpn-server: lines (argv.h). */

#include "apps/govpn-server/opts.h"
#include "argv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct opts o;
	struct argv argv;
	struct diag diag = {0};

	argv_make(&argv, data, size);
	int r = opts_parse(&o, argv.n, argv.v, &diag);
	/* One sentence where something is wrong, and only there. */
	if ((r == OPTS_BAD) != (diag.text[0] != '\0'))
		abort();
	if (r != OPTS_RUN && opts_help()[0] == '\0')
		abort();
	argv_free(&argv);
	return 0;
}
