/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_REPLAY_H
#define GV_CRYPTO_REPLAY_H

/*
 * replay - the window of sequence numbers already seen (RFC 6347 4.1.2.6).
 *
 * Check before authentication, mark after it: a forged record must not move the window.
 * Memory:  1 kB in place; all zero is the empty window.
 */

#include "base/macro.h"

#include <stdint.h>

/* A number this much below the highest is too old. */
#define REPLAY_WINDOW 4096
/* Twice the window, so that words ahead of it can be cleared whole while the window stays exact. */
#define REPLAY_WORDS (2 * REPLAY_WINDOW / 64)

struct replay {
	uint64_t highest; /* marked so far; 0 in the empty window too */
	uint64_t bits[REPLAY_WORDS];
};

enum replay_result {
	REPLAY_NEW = 0,
	REPLAY_SEEN = 1, /* drop */
	REPLAY_OLD = 2,  /* left of the window: drop */
};

/* Says whether seq may still come. */
enum replay_result replay_check(const struct replay *w, uint64_t seq) gv_must_check gv_nonnull(1);

/* Checks again and, when REPLAY_NEW, remembers seq. O(1); a jump clears at most all words. */
enum replay_result replay_mark(struct replay *w, uint64_t seq) gv_must_check gv_nonnull(1);

#endif /* GV_CRYPTO_REPLAY_H */
