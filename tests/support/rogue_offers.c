/* SPDX-License-Identifier: MIT */

/*
 * The control thread's part of rogue_member: offers without end. It is a file of its own because both threads call
 * different things a peer and a link.
 */

#include "rogue_member.h"

#include "engine/client/mesh_impl.h"

#include <stdatomic.h>

static _Atomic uint32_t wanted, wanted_ip4;

void __real_peer_timeout(struct peer *p, uint64_t now_us);
void __wrap_peer_timeout(struct peer *p, uint64_t now_us);
uint64_t __real_peer_deadline_us(const struct peer *p);
uint64_t __wrap_peer_deadline_us(const struct peer *p);

void rogue_offers_start(uint32_t ip4, uint32_t count)
{
	atomic_store(&wanted_ip4, ip4);
	atomic_store(&wanted, count);
}

uint32_t rogue_offers_left(void)
{
	return atomic_load(&wanted);
}

static bool is_meant(const struct peer *p)
{
	return atomic_load(&wanted) > 0 && netaddr_u32(&p->ip4) == atomic_load(&wanted_ip4);
}

void __wrap_peer_timeout(struct peer *p, uint64_t now_us)
{
	__real_peer_timeout(p, now_us);
	if (!is_meant(p))
		return;
	peer_drop_open_offer(p);
	if (p->next != NULL)
		return; /* the one before was taken */
	peer_offer(p, now_us);
	atomic_fetch_sub(&wanted, 1);
}

uint64_t __wrap_peer_deadline_us(const struct peer *p)
{
	return is_meant(p) ? 0 : __real_peer_deadline_us(p);
}
