/* SPDX-License-Identifier: MIT */
#ifndef GV_APPS_GOVPN_PRINT_H
#define GV_APPS_GOVPN_PRINT_H

/*
 * print - replies of govpnd for people. Text that strangers wrote is shown without control
 * characters.
 */

#include "apps/govpn/args.h"
#include "base/macro.h"

#include <jansson.h>

/* Prints the reply to a verb. */
void print_reply(const struct args *a, const json_t *reply) gv_nonnull(1, 2);
/* One answer to a ping. */
void print_pong(const json_t *reply) gv_nonnull(1);
/* One line on standard error: "govpn: ...". */
void print_error(const char *message) gv_nonnull(1);

#endif /* GV_APPS_GOVPN_PRINT_H */
