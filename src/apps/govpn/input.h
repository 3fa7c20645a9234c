/* SPDX-License-Identifier: MIT */
#ifndef GV_APPS_GOVPN_INPUT_H
#define GV_APPS_GOVPN_INPUT_H

/* input - passwords and links from files, standard input and the terminal; never from arguments. */

#include "apps/govpn/args.h"
#include "base/diag.h"
#include "base/macro.h"

enum input_result {
	INPUT_OK = 0,
	INPUT_BAD = 1, /* diag says what is wrong: exit code 2 */
};

/*
 * Adds to a->request what args_parse() left out: password, link, CA. Returns INPUT_OK, INPUT_BAD.
 */
int input_complete(struct args *a, struct diag *diag) gv_must_check gv_nonnull(1, 2);

#endif /* GV_APPS_GOVPN_INPUT_H */
