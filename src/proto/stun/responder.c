/* SPDX-License-Identifier: MIT */

#include "proto/stun/responder.h"

#include "proto/stun/msg.h"

#include <string.h>

size_t stun_respond(const uint8_t *data, size_t len, const struct netaddr *from,
                    uint8_t out[static STUN_RESPONSE_MAX])
{
	struct stun_msg m;
	struct stun_writer w;

	if (stun_msg_parse(data, len, &m) != STUN_MSG_OK)
		return 0;
	if (m.class != STUN_CLASS_REQUEST || m.method != STUN_METHOD_BINDING || from->port == 0 ||
	    from->family == NETADDR_NONE)
		return 0;
	if (m.unknown_count > 0) {
		stun_begin(&w, out, STUN_RESPONSE_MAX, STUN_CLASS_ERROR, m.method, m.id);
		stun_put_error(&w, STUN_ERROR_UNKNOWN_ATTRIBUTE);
		stun_put_unknown(&w, m.unknown, m.unknown_count);
	} else {
		stun_begin(&w, out, STUN_RESPONSE_MAX, STUN_CLASS_SUCCESS, m.method, m.id);
		stun_put_xor_mapped(&w, from);
	}
	if (m.has_fingerprint)
		stun_put_fingerprint(&w);
	return stun_end(&w);
}

#define TOKEN 1000u /* one answer, in thousandths */
/* Half of the second's answers may come at once, half come back in a second: no second ever has more. */
#define TOKENS_MAX    (STUN_LIMIT_PER_S / 2 * TOKEN)
#define US_PER_TOKEN1 (1000000u / TOKENS_MAX) /* microseconds until one thousandth is back */

void stun_limit_init(struct stun_limit *l, uint64_t seed)
{
	memset(l, 0, sizeof(*l));
	l->seed = seed;
}

/* 64 bits over the source and the seed, never 0. An IPv6 user owns a /64 at least, so that counts as one. */
static uint64_t source_key(const struct stun_limit *l, const struct netaddr *from)
{
	struct netaddr source = *from;

	source.port = 0;
	if (source.family == NETADDR_IP6)
		memset(source.ip + 8, 0, 8);
	uint64_t hi = netaddr_hash(&source, (uint32_t)l->seed);
	uint64_t lo = netaddr_hash(&source, (uint32_t)(l->seed >> 32));
	return (hi << 32 | lo) | 1;
}

/* The entry of this source; a fresh one in the place of the oldest of its set when it is new. */
static struct stun_limit_entry *find_entry(struct stun_limit *l, uint64_t key, uint64_t now_us)
{
	struct stun_limit_entry *set = l->entries[key >> 1 & (STUN_LIMIT_SETS - 1)];
	struct stun_limit_entry *oldest = &set[0];

	for (unsigned i = 0; i < STUN_LIMIT_WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].refill_us < oldest->refill_us)
			oldest = &set[i];
	}
	*oldest =
		(struct stun_limit_entry){.key = key, .refill_us = now_us, .tokens_1k = TOKENS_MAX};
	return oldest;
}

bool stun_limit_pass(struct stun_limit *l, const struct netaddr *from, uint64_t now_us)
{
	struct stun_limit_entry *e = find_entry(l, source_key(l, from), now_us);
	uint64_t back = now_us > e->refill_us ? (now_us - e->refill_us) / US_PER_TOKEN1 : 0;

	if (back >= TOKENS_MAX - e->tokens_1k) {
		e->tokens_1k = TOKENS_MAX;
		e->refill_us = now_us;
	} else {
		e->tokens_1k += (uint32_t)back;
		e->refill_us += back * US_PER_TOKEN1;
	}
	if (e->tokens_1k < TOKEN)
		return false;
	e->tokens_1k -= TOKEN;
	return true;
}
