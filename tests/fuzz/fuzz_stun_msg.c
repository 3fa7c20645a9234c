/* SPDX-License-Identifier: MIT */

#include "proto/stun/msg.h"
#include "proto/stun/responder.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct netaddr from = netaddr_ip4(0xc0000201, 4000);
	uint8_t answer[STUN_RESPONSE_MAX];
	struct stun_msg m;
	const char *ufrag;
	size_t len;

	if (stun_is_message(data, size) && stun_peek_username(data, size, &ufrag, &len) &&
	    len > 512)
		abort();
	if (stun_msg_parse(data, size, &m) == STUN_MSG_OK) {
		if (!stun_is_message(data, size))
			abort();
		if (stun_msg_verify(&m, "VOkJxbRl1RmTxUk/WvJxBt", 22) && !m.has_integrity)
			abort();
	}
	if (stun_respond(data, size, &from, answer) > STUN_RESPONSE_MAX)
		abort();
	/* Whatever comes, one source gets no more than its share. */
	static struct stun_limit limit;
	unsigned passed = 0;

	stun_limit_init(&limit, size);
	for (size_t i = 0; i < GV_MIN(size, (size_t)100); i++) {
		const uint8_t ip6[16] = {0x20, [8] = data[i]};

		from = data[i] & 128 ? netaddr_ip6(ip6, 1)
		                     : netaddr_ip4(0xc0000200u + data[i] * 4u, 1);
		passed += stun_limit_pass(&limit, &from, i * 1000 * (data[0] & 31u));
	}
	if (passed > size)
		abort();
	return 0;
}
