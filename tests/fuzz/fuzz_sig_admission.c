/* SPDX-License-Identifier: MIT */

/* Admissions: what parses is the one encoding of its value, and is judged without harm. */

#include "proto/sig/admission.h"
#include "proto/sig/document.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[ADMISSION_SIZE_MAX];
	struct document_invite invite = {.kind = DOCUMENT_INVITE_LINK};
	struct document doc = {.invites = &invite, .n_invites = 1};
	struct admission a;

	if (admission_parse(&a, data, size, NULL) != ADMISSION_OK)
		return 0;
	if (admission_encode(&a, again) != size || memcmp(again, data, size) != 0)
		abort();
	/* A document that fits, so that both signatures are looked at. */
	memcpy(doc.network_id, a.network_id, sizeof(doc.network_id));
	memcpy(invite.key, a.invite_key, sizeof(invite.key));
	if (admission_verify(&a, &doc, NULL) < 0)
		abort();
	return 0;
}
