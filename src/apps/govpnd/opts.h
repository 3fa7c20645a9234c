/* SPDX-License-Identifier: MIT */
#ifndef GV_APPS_GOVPND_OPTS_H
#define GV_APPS_GOVPND_OPTS_H

/*
 * opts - the command line of govpnd. Each option has a twin in the environment: --udp-port is
 * GOVPN_UDP_PORT. The command line wins.
 */

#include "base/diag.h"
#include "base/log.h"
#include "base/macro.h"

#include <stdint.h>

struct opts {
	const char *state_dir, *socket_path; /* borrowed from argv, the environment, or constants */
	uint16_t udp_port;                   /* 0: any */
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

const char *opts_help(void);

#endif /* GV_APPS_GOVPND_OPTS_H */
