/* SPDX-License-Identifier: MIT */

#include "io/resolve.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <uv.h>

LOG_MODULE("resolve");

struct resolve {
	uv_getaddrinfo_t uv;
	resolve_fn fn; /* NULL: cancelled */
	void *user;
	uint16_t port;
};

static bool from_sockaddr(const struct sockaddr *sa, uint16_t port, struct netaddr *out)
{
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof(in));
		*out = netaddr_ip4(ntohl(in.sin_addr.s_addr), port);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof(in6));
		*out = netaddr_ip6(in6.sin6_addr.s6_addr, port);
		out->ifindex = in6.sin6_scope_id;
		return true;
	}
	return false;
}

static void on_answer(uv_getaddrinfo_t *uv, int status, struct addrinfo *list)
{
	struct resolve *r = GV_CONTAINER_OF(uv, struct resolve, uv);
	struct netaddr addrs[RESOLVE_ADDRS];
	size_t n = 0;

	if (status < 0)
		log_debug("look-up failed: %s", uv_strerror(status));
	for (const struct addrinfo *a = list; a != NULL && n < RESOLVE_ADDRS; a = a->ai_next) {
		if (from_sockaddr(a->ai_addr, r->port, &addrs[n]))
			n++;
	}
	uv_freeaddrinfo(list);
	if (r->fn != NULL)
		r->fn(r->user, addrs, n);
	mem_free(r);
}

int resolve_start(struct resolve **out, struct loop *loop, const char *host, uint16_t port,
                  resolve_fn fn, void *user)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct netaddr numeric;
	struct resolve *r = mem_new(struct resolve);

	if (r == NULL)
		return err_here(-ENOMEM);
	r->fn = fn;
	r->user = user;
	r->port = port;
	if (netaddr_parse_ip(host, &numeric))
		hints.ai_flags = AI_NUMERICHOST;
	else if (strcmp(host, "localhost") != 0)
		hints.ai_flags = AI_ADDRCONFIG; /* for which loopback addresses count for nothing */
	int res = uv_getaddrinfo(loop_uv(loop), &r->uv, on_answer, host, NULL, &hints);
	if (res < 0) {
		mem_free(r);
		return err_here(res);
	}
	*out = r;
	return 0;
}

void resolve_cancel(struct resolve *r)
{
	if (r == NULL)
		return;
	r->fn = NULL;
	/*
	 * Where the thread already waits for a resolver this fails, and on_answer() comes late and
	 * frees it.
	 */
	(void)uv_cancel((uv_req_t *)&r->uv);
}
