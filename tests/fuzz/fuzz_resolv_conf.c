/* SPDX-License-Identifier: MIT */

/* /etc/resolv.conf, which other programs write: every name server taken is an address that stands there. */

#include "base/mem.h"
#include "engine/client/subnet.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct subnet_facts f = {0};
	struct netprefix p;
	struct diag why = {0};
	char *text = malloc(size + 1);

	if (text == NULL)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	subnet_facts_add_dns(&f, text);
	if (f.n_dns > SUBNET_DNS_MAX)
		abort();
	for (size_t i = 0; i < f.n_dns; i++) {
		if (f.dns[i].family == NETADDR_NONE || strstr(text, "nameserver") == NULL)
			abort();
		p = netprefix_of(&f.dns[i], 24);
		/* A subnet with a name server in it is none to choose. */
		if (f.dns[i].family == NETADDR_IP4 && !subnet_conflicts(&f, &p, 0, &why))
			abort();
	}
	subnet_facts_deinit(&f);
	free(text);
	return 0;
}
