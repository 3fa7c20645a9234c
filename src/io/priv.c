/* SPDX-License-Identifier: MIT */

#include "io/priv.h"

#include "base/err.h"

#include <cap-ng.h>
#include <errno.h>
#include <sys/prctl.h>

bool priv_has_net_admin(void)
{
	capng_clear(CAPNG_SELECT_BOTH);
	return capng_get_caps_process() == 0 &&
	       capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN) != 0;
}

int priv_drop(enum priv_ports ports)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_NET_ADMIN) != 0)
		return err_here(-EPERM);
	if (ports == PRIV_PORTS_LOW_TOO &&
	    capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_NET_BIND_SERVICE) != 0)
		return err_here(-EPERM);
	/*
	 * A process that was given only CAP_NET_ADMIN may not empty the bounding set; what it has
	 * is little already, and no_new_privs makes the set meaningless.
	 */
	if (capng_apply(CAPNG_SELECT_BOTH) != 0 && capng_apply(CAPNG_SELECT_CAPS) != 0)
		return err_here(-EPERM);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return err_here(-errno);
	return 0;
}
