/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_EXIT_H
#define GV_BASE_EXIT_H

/* exit - exit codes of all programs; the local API carries them too. Documented and stable. */

enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_FAILED = 1,
	EXIT_CODE_USAGE = 2,
	EXIT_CODE_NO_DAEMON = 3,
	EXIT_CODE_NOT_ALLOWED = 4,
	EXIT_CODE_NOT_FOUND = 5,   /* no such network or peer */
	EXIT_CODE_REFUSED = 6,     /* password or invite */
	EXIT_CODE_CONFLICT = 7,    /* full or conflicting */
	EXIT_CODE_UNREACHABLE = 8, /* the peer */
	EXIT_CODE_NO_SERVER = 9,
	EXIT_CODE_DEGRADED = 10,
};

#endif /* GV_BASE_EXIT_H */
