/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_INTEROP_RTC_LOAD_H
#define GV_TESTS_INTEROP_RTC_LOAD_H

/*
 * rtc_load - what one side of an interoperation case does once the channels are open. The peers of other makes do
 * the same in their languages.
 *
 * The driver sends `messages` messages of 1 .. `size` bytes over "reliable" (each fourth one text; lengths with equal
 * weight for each power of two, the first is the shortest, the last one the longest) and compares the SHA-256 of what
 * it sent and of what came back; then `unordered` numbered ones of 200 bytes over "unordered", 1,000 each second, and
 * counts those that came back. With `big` it opens channels of each type, several at once and again after closing
 * them, with empty messages and some of `big` bytes. It closes both channels, then the association.
 *
 * The other side sends back what comes, until the association is over.
 */

#include "rtc_peer.h"

#include "base/rng.h"

struct rtc_load {
	bool drive;
	unsigned messages, unordered, mirrored; /* mirrored: rtc_mirror.h */
	size_t size, big;
	bool told_empty; /* the peer cannot send empty messages: "empty text" or "empty data" comes in their place */

	/* What was seen. */
	unsigned sent, echoed; /* over "reliable" */
	size_t sent_bytes, echoed_bytes;
	unsigned unordered_sent, unordered_seen;
	unsigned
		extra; /* messages over further channels that came back unchanged, or were sent back */
	unsigned unsent; /* not sent back: their channel was closed before */
	uint64_t open_us, traffic_us;
};

#define RTC_LABEL_RELIABLE  "reliable"
#define RTC_LABEL_UNORDERED "unordered"

/* From the peer's description to the end of the association. Failures are in p->failure. */
void rtc_load_run(struct rtc_peer *p, struct rtc_load *l) gv_nonnull(1, 2);

#endif /* GV_TESTS_INTEROP_RTC_LOAD_H */
