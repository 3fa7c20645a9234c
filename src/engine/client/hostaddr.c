/* SPDX-License-Identifier: MIT */

#include "engine/client/hostaddr.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct ranked {
	uint64_t metric; /* of its interface's default route; UINT64_MAX: none */
	const struct route_addr *a;
};

static bool is_useful(const struct route_addr *a)
{
	return a->usable && a->kind == ROUTE_LINK_OTHER && !netaddr_is_loopback(&a->addr) &&
	       !netaddr_is_link_local(&a->addr) && !netaddr_is_multicast(&a->addr);
}

static bool is_ip6(const struct route_addr *a)
{
	return a->addr.family == NETADDR_IP6;
}

static int compare(const void *left, const void *right)
{
	const struct ranked *l = left, *r = right;

	if (l->metric != r->metric)
		return l->metric < r->metric ? -1 : 1;
	if (l->a->ifindex != r->a->ifindex)
		return l->a->ifindex < r->a->ifindex ? -1 : 1;
	if (is_ip6(l->a) != is_ip6(r->a))
		return is_ip6(l->a) ? -1 : 1;
	return l->a < r->a ? -1 : l->a > r->a; /* as the system names them */
}

static uint64_t metric_of(uint32_t ifindex, const struct route_entry *routes, size_t n)
{
	uint64_t best = UINT64_MAX;

	for (size_t i = 0; i < n; i++) {
		if (routes[i].dst.bits == 0 && routes[i].ifindex == ifindex)
			best = GV_MIN(best, (uint64_t)routes[i].metric);
	}
	return best;
}

int hostaddr_rank(struct netaddr *out, size_t max, const struct route_addr *addrs, size_t n,
                  const struct route_entry *routes, size_t n_routes, size_t *count)
{
	gv_cleanup(mem_freep) struct ranked *list = mem_new_array(struct ranked, n + 1);
	size_t useful = 0, of[2] = {0};

	if (list == NULL)
		return err_here(-ENOMEM);
	for (size_t i = 0; i < n; i++) {
		if (!is_useful(&addrs[i]))
			continue;
		/* Addresses come interface by interface, and there may be a great many routes. */
		bool same = useful > 0 && list[useful - 1].a->ifindex == addrs[i].ifindex;
		list[useful].metric = same ? list[useful - 1].metric
		                           : metric_of(addrs[i].ifindex, routes, n_routes);
		list[useful++].a = &addrs[i];
		of[is_ip6(&addrs[i])]++;
	}
	qsort(list, useful, sizeof(*list), compare);

	size_t kept6 = GV_MIN(of[1], max / 2), kept4 = GV_MIN(of[0], max - kept6);
	size_t left[2] = {kept4, max - kept4};
	*count = 0;
	for (size_t i = 0; i < useful; i++) {
		const struct route_addr *a = list[i].a;
		if (left[is_ip6(a)] == 0)
			continue;
		left[is_ip6(a)]--;
		out[*count] = a->addr;
		out[*count].port = 0;
		out[(*count)++].ifindex = a->ifindex;
	}
	return 0;
}
