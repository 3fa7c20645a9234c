/* SPDX-License-Identifier: MIT */

#include "crypto/replay.h"

#include <string.h>

enum replay_result replay_check(const struct replay *w, uint64_t seq)
{
	if (seq > w->highest)
		return REPLAY_NEW;
	if (w->highest - seq >= REPLAY_WINDOW)
		return REPLAY_OLD;
	return (w->bits[seq / 64 % REPLAY_WORDS] >> (seq % 64) & 1) != 0 ? REPLAY_SEEN : REPLAY_NEW;
}

enum replay_result replay_mark(struct replay *w, uint64_t seq)
{
	enum replay_result result = replay_check(w, seq);

	if (result != REPLAY_NEW)
		return result;
	if (seq > w->highest) {
		uint64_t word = w->highest / 64;
		uint64_t ahead = seq / 64 - word;

		if (ahead >= REPLAY_WORDS)
			memset(w->bits, 0, sizeof(w->bits));
		else
			while (ahead-- > 0)
				w->bits[++word % REPLAY_WORDS] = 0;
		w->highest = seq;
	}
	w->bits[seq / 64 % REPLAY_WORDS] |= UINT64_C(1) << (seq % 64);
	return REPLAY_NEW;
}
