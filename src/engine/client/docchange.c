/* SPDX-License-Identifier: MIT */

#include "engine/client/docchange.h"

#include "base/err.h"

#include <string.h>

/* Admits all but `apart` for good. */
static int admit(struct document *doc, const struct document_key *present, size_t n,
                 const uint8_t apart[static SIG_KEY_SIZE])
{
	for (size_t i = 0; i < n; i++) {
		if (memcmp(present[i].b, apart, SIG_KEY_SIZE) == 0 ||
		    memcmp(present[i].b, doc->owner, SIG_KEY_SIZE) == 0)
			continue;
		int r = document_add_member(doc, present[i].b);
		if (r != DOCUMENT_OK)
			return r < 0 ? err_up(r) : r;
	}
	return DOCUMENT_OK;
}

int docchange_kick(struct document *doc, const struct document_key *present, size_t n,
                   const uint8_t key[static SIG_KEY_SIZE], enum docchange_kick how)
{
	if (memcmp(key, doc->owner, SIG_KEY_SIZE) == 0)
		return DOCUMENT_BAD;
	int r = admit(doc, present, n, key);
	if (r == DOCUMENT_OK && how == DOCCHANGE_BAN)
		r = document_ban(doc, key);
	if (r != DOCUMENT_OK)
		return r < 0 ? err_up(r) : r;
	(void)document_remove_member(doc, key); /* not there: it had joined by an invite */
	document_clear_invites(doc);
	return DOCUMENT_OK;
}

int docchange_make_room(struct document *doc, const struct document_key *present, size_t n,
                        int64_t now_s)
{
	if (doc->n_invites < DOCUMENT_INVITES_MAX)
		return DOCUMENT_OK;
	int r = admit(doc, present, n, doc->owner);
	if (r != DOCUMENT_OK)
		return r < 0 ? err_up(r) : r;
	for (size_t i = doc->n_invites; i-- > 0;) {
		uint8_t key[SIG_KEY_SIZE];
		int64_t expires_s = doc->invites[i].expires_unix_s;
		memcpy(key, doc->invites[i].key, sizeof(key));
		if (expires_s != 0 && expires_s < now_s)
			(void)document_remove_invite(doc, key); /* it is there */
	}
	return doc->n_invites < DOCUMENT_INVITES_MAX ? DOCUMENT_OK : DOCUMENT_FULL;
}
