/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_UNIT_PROTO_ICE_FIXTURE_H
#define GV_TESTS_UNIT_PROTO_ICE_FIXTURE_H

/* fixture - agents and host candidates from text, for the tests of the agent. */

#include "proto/ice/agent_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS    1000ull
#define S     1000000ull
#define START (1000 * S)

static inline struct netaddr addr(const char *text)
{
	struct netaddr a;

	assert_true(netaddr_parse(text, &a));
	return a;
}

static inline struct ice_agent *make(enum ice_role role, enum ice_mode mode, uint32_t prefix)
{
	struct ice_config c = {.role = role,
	                       .mode = mode,
	                       .transaction_prefix = prefix,
	                       .rng = rng_seeded(prefix)};
	struct ice_agent *a;

	assert_int_equal(ice_new(&a, &c), 0);
	return a;
}

static inline int add_host(struct ice_agent *a, const char *text, unsigned rank, uint64_t now_us)
{
	struct netaddr n = addr(text);
	struct ice_cand c = ice_cand_local(
		ICE_CAND_HOST, &n, &n, ice_cand_preference((enum netaddr_family)n.family, rank));

	return ice_add_local(a, &c, now_us);
}

static inline int add_remote(struct ice_agent *a, const char *text, unsigned rank, uint64_t now_us)
{
	struct netaddr n = addr(text);
	struct ice_cand c = ice_cand_local(
		ICE_CAND_HOST, &n, &n, ice_cand_preference((enum netaddr_family)n.family, rank));

	return ice_add_remote(a, &c, now_us);
}

#endif /* GV_TESTS_UNIT_PROTO_ICE_FIXTURE_H */
