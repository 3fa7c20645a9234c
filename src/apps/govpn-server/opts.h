/* SPDX-License-Identifier: MIT */
#ifndef GV_APPS_GOVPN_SERVER_OPTS_H
#define GV_APPS_GOVPN_SERVER_OPTS_H

/*
 * opts - the command line of govpn-server. Each option has a twin in the environment: --public-url is GOVPN_PUBLIC_URL.
 * The command line wins.
 */

#include "base/diag.h"
#include "base/log.h"
#include "base/macro.h"
#include "engine/server/server.h"

struct opts {
	struct server_config server; /* strings are borrowed from argv and the environment */
	enum log_level log_level;
};

enum opts_result {
	OPTS_RUN = 0,
	OPTS_HELP = 1,    /* print opts_help() */
	OPTS_VERSION = 2, /* print the version */
	OPTS_BAD = 3,     /* diag says what is wrong */
};

/* Reads the environment and argv[1..]. Returns enum opts_result. */
int opts_parse(struct opts *out, int argc, char *const *argv, struct diag *diag)
	gv_must_check gv_nonnull(1, 3, 4);

/* The help text. */
const char *opts_help(void);

#endif /* GV_APPS_GOVPN_SERVER_OPTS_H */
