/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_INTEROP_RTC_MIRROR_H
#define GV_TESTS_INTEROP_RTC_MIRROR_H

/*
 * rtc_mirror - does the peer understand the same of a DATA_CHANNEL_OPEN, and we of its?
 *
 * We open channels with generated labels ("mirror N ..."), protocols, types and limits. The peer opens for each one a
 * channel with what it understood, and tells it by the label too: "...|ordered|retransmissions|lifetime|" with 1 or 0, and
 * -1 for what there is not. What we understand of that must be what we asked for.
 */

#include "rtc_peer.h"

/* Opens `count` channels, some at a time, and closes them. Failures are in p->failure. */
void rtc_mirror_run(struct rtc_peer *p, unsigned count) gv_nonnull(1);

#endif /* GV_TESTS_INTEROP_RTC_MIRROR_H */
