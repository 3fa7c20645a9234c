/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_CLIENT_DOCCHANGE_H
#define GV_ENGINE_CLIENT_DOCCHANGE_H

/*
 * docchange - what the owner's commands do to a network document, before it is signed.
 *
 * Does:      keeps every member that should stay a member when invites go: who joined by an invite
 *            is a member only while it stands in the document, so whoever is present is admitted
 *            for good first.
 * Does not:  sign, send or save (owner).
 * Thread:    any.
 * Time:      now_s is the wall clock.
 *
 * `present` are the keys of all present members; the owner among them or not. Results are those of
 * document.h; on failure the document may be half changed: throw the copy away.
 */

#include "base/macro.h"
#include "proto/sig/document.h"

#include <stddef.h>
#include <stdint.h>

enum docchange_kick {
	DOCCHANGE_BAN,          /* it may not come back, neither with its key nor with a new one */
	DOCCHANGE_ALLOW_REJOIN, /* it may, by a new invite */
};

/*
 * Removes the member `key` and withdraws all invites. Returns DOCUMENT_OK, DOCUMENT_FULL,
 * DOCUMENT_BAD (the owner); -ENOMEM.
 */
int docchange_kick(struct document *doc, const struct document_key *present, size_t n,
                   const uint8_t key[static SIG_KEY_SIZE], enum docchange_kick how)
	gv_must_check gv_nonnull(1, 4);

/*
 * Makes room for one more invite: when the list is full, those that have ended go. Returns
 * DOCUMENT_OK, DOCUMENT_FULL (none has ended, or too many members); -ENOMEM.
 */
int docchange_make_room(struct document *doc, const struct document_key *present, size_t n,
                        int64_t now_s) gv_must_check gv_nonnull(1);

#endif /* GV_ENGINE_CLIENT_DOCCHANGE_H */
