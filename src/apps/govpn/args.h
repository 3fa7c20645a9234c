/* SPDX-License-Identifier: MIT */
#ifndef GV_APPS_GOVPN_ARGS_H
#define GV_APPS_GOVPN_ARGS_H

/*
 * args - the command line of govpn: which verb, and the request to govpnd that follows from it.
 *
 * Does not:  read files or the terminal (input), talk to govpnd (main).
 */

#include "base/diag.h"
#include "base/macro.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum args_verb {
	ARGS_CREATE,
	ARGS_JOIN,
	ARGS_INVITE,
	ARGS_LIST,
	ARGS_STATUS,
	ARGS_UP,
	ARGS_DOWN,
	ARGS_LEAVE,
	ARGS_PING,
	ARGS_KICK,
	ARGS_UNBAN,
	ARGS_RENAME,
	ARGS_SET,
	ARGS_VERSION,
	ARGS_HELP,
	ARGS_VERBS
};

struct args {
	enum args_verb verb;
	const char *socket_path;   /* borrowed, as all texts here */
	const char *password_file; /* NULL: not given */
	const char *ca_file;
	bool json;
	bool link_on_stdin;       /* join - */
	bool wants_password;      /* join by id or code */
	bool help;                /* --help after a verb, or `help VERB`; help_verb says which */
	enum args_verb help_verb; /* ARGS_VERBS: all */
	unsigned count;           /* of pings */
	json_t *request;          /* owned; without password, link of stdin and CA text */
};

enum args_result {
	ARGS_OK = 0,
	ARGS_BAD = 1, /* diag says what is wrong: exit code 2 */
};

/* Reads argv[1..]. On ARGS_OK *out must be given to args_deinit(). Returns ARGS_OK, ARGS_BAD. */
int args_parse(struct args *out, int argc, char *const *argv, struct diag *diag)
	gv_must_check gv_nonnull(1, 3, 4);
void args_deinit(struct args *a) gv_nonnull(1);

/* The help text of a verb; ARGS_VERBS: of all. */
void args_print_help(enum args_verb verb);

/* "90s", "15m", "24h", "7d", "2w" in seconds, at least 1. False for anything else. */
bool args_parse_duration(const char *text, int64_t *out_s) gv_must_check gv_nonnull(1, 2);

#endif /* GV_APPS_GOVPN_ARGS_H */
