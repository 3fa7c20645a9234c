/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_INTEROP_RTC_LINES_H
#define GV_TESTS_INTEROP_RTC_LINES_H

/*
 * rtc_lines - signaling as lines of JSON on standard input and output, the same for all programs of this folder:
 *
 *   {"type":"offer","sdp":"v=0..."}               or "answer"
 *   {"candidate":"candidate:...","sdpMid":"0"}    with --trickle, after the description
 *   {"candidate":"","sdpMid":"0"}                 the last one
 *   {"paced":1}                                   a driver begins with its paced messages; not for the other side
 *   {"report":{...}}                              at the end, not for the other side
 */

#include "rtc_peer.h"

/* For rtc_config.signal: reads what came, prints what there is to say. Ends the program on what is no line of these. */
void rtc_lines_signal(struct rtc_peer *p, bool readable) gv_nonnull(1);

void rtc_lines_paced(void);

/* Prints why, ends the program. */
_Noreturn void rtc_die(const char *why) gv_nonnull(1);

#endif /* GV_TESTS_INTEROP_RTC_LINES_H */
