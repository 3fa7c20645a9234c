/* SPDX-License-Identifier: MIT */

#include "engine/server/ipam.h"

#include <stdbool.h>
#include <string.h>

uint32_t ipam_first(const struct netprefix *subnet)
{
	return netaddr_u32(&subnet->addr) + 1;
}

uint32_t ipam_capacity(const struct netprefix *subnet)
{
	return (uint32_t)((UINT64_C(1) << (32 - subnet->bits)) - 2);
}

static bool is_resting(const struct ipam_lease *l, int64_t now_unix_s, int64_t rest_s)
{
	return l->released_unix_s != 0 && now_unix_s - l->released_unix_s < rest_s;
}

int ipam_pick(const struct netprefix *subnet, const struct ipam_lease *leases, size_t n_leases,
              size_t max, const uint8_t key[static SIG_KEY_SIZE], int64_t now_unix_s,
              int64_t rest_s, uint32_t *out)
{
	uint32_t first = ipam_first(subnet), last = first + ipam_capacity(subnet) - 1;
	uint32_t next = first; /* lowest address not seen to be taken yet */
	const struct ipam_lease *longest = NULL;
	bool found = false;

	for (size_t i = 0; i < n_leases; i++) {
		const struct ipam_lease *l = &leases[i];

		if (memcmp(l->key, key, SIG_KEY_SIZE) == 0) {
			*out = l->address;
			return IPAM_OK;
		}
		if (l->released_unix_s != 0 &&
		    (longest == NULL || l->released_unix_s < longest->released_unix_s))
			longest = l;
		if (found || l->address < next)
			continue;
		if (l->address == next &&
		    (l->released_unix_s == 0 || is_resting(l, now_unix_s, rest_s)))
			next++;
		else
			found = true;
	}
	if (next <= last && n_leases < max) {
		*out = next;
		return IPAM_OK;
	}
	if (longest == NULL)
		return IPAM_FULL;
	*out = longest->address;
	return IPAM_OK;
}
