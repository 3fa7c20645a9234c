/* SPDX-License-Identifier: MIT */

/*
 * What govpn shows of a reply of govpnd: the first byte is the verb, the rest the JSON. Texts in it come from other members and
 * from servers: nothing but lines of text may reach the terminal.
 */

#include "apps/govpn/print.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SHOWN_MAX (1 << 20)

/* A terminal takes orders by control characters, in one byte or, as U+0080 to U+009F, in two. */
static void check_shown(const char *text, size_t len)
{
	if (!text_is_utf8(text, len))
		abort();
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)text[i];

		if ((c < 0x20 && c != '\n') || c == 0x7f)
			abort();
		if (c == 0xc2 && i + 1 < len && (uint8_t)text[i + 1] < 0xa0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char shown[SHOWN_MAX];
	static FILE *sink;
	char secret[] = "file";

	if (size == 0)
		return 0;
	struct args a = {.verb = (enum args_verb)(data[0] % (ARGS_VERBS + 1)),
	                 .password_file = data[0] & 128 ? secret : NULL};
	json_t *reply = json_loadb((const char *)data + 1, size - 1, 0, NULL);
	if (sink == NULL)
		sink = fmemopen(shown, sizeof(shown), "w");
	if (sink == NULL)
		abort();
	FILE *out = stdout, *err = stderr;
	stdout = stderr = sink;
	rewind(sink);
	if (json_is_object(reply))
		print_reply(&a, reply);
	print_error(text_of(reply, "message"));
	long len = ftell(sink);
	if (fflush(sink) != 0)
		abort();
	stdout = out;
	stderr = err;
	json_decref(reply);
	check_shown(shown, (size_t)len);
	return 0;
}
