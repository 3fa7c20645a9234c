/* SPDX-License-Identifier: MIT */
#ifndef GV_IO_LOG_OUT_H
#define GV_IO_LOG_OUT_H

/*
 * log_out - lines of base/log to stderr, without ever waiting for whoever reads them.
 *
 * When the pipe, socket or terminal behind stderr is full, because its reader is slow or stands still (a paused terminal), the
 * line is dropped and counted by base/log. So no thread, that of the packets least of all, depends on who reads the log. A file
 * is written as ever and may wait for its disk.
 */

#include "base/macro.h"

/*
 * Takes the lines over. Before there are other threads, and before rights are given up: the file behind stderr is opened once
 * more. Called again it looks at stderr again.
 * Returns 0; -errno: it cannot be opened (another user's terminal or pipe), and lines wait as long as it is full.
 */
int log_out_start(void) gv_must_check;

#endif /* GV_IO_LOG_OUT_H */
