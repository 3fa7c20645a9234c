/* SPDX-License-Identifier: MIT */

/*
 * Network documents. Nobody signs what a fuzzer makes up, so the form is also checked alone, from inside: what is taken
 * must be the one encoding of its value.
 */

#include "proto/sig/document.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_form(const uint8_t *data, size_t size)
{
	struct document *doc = mem_new(struct document);
	struct bytes_reader r = bytes_reader(data, size);
	uint8_t *again = mem_alloc(DOCUMENT_SIZE_MAX, 1);

	if (doc == NULL || again == NULL)
		abort();
	if (read_body(doc, &r, NULL) == DOCUMENT_OK) {
		struct bytes_writer w = bytes_writer(again, DOCUMENT_SIZE_MAX);

		write_body(&w, doc, doc->epoch, doc->previous);
		if (!w.ok || w.used != size - r.left || memcmp(again, data, w.used) != 0)
			abort();
	}
	mem_free(again);
	document_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct document *doc = NULL;

	check_form(data, size);
	if (document_parse(&doc, data, size, NULL, NULL) == DOCUMENT_OK)
		document_free(doc);
	return 0;
}
