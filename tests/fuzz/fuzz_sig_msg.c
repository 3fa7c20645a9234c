/* SPDX-License-Identifier: MIT */

/* JSON messages: what parses can be written, and what was written parses to the same. */

#include "base/buf.h"
#include "proto/sig/msg.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says who wrote the message. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct msg m, back;
	struct buf once = BUF_INIT(8 * MSG_SIZE_TO_CLIENT_MAX);
	struct buf twice = BUF_INIT(8 * MSG_SIZE_TO_CLIENT_MAX);

	if (size == 0)
		return 0;
	enum msg_from from = data[0] == 's' ? MSG_FROM_SERVER : MSG_FROM_CLIENT;
	if (msg_parse(&m, (const char *)data + 1, size - 1, from, NULL) != MSG_OK)
		return 0;
	if (msg_type_name(m.type)[0] == '?' ||
	    (msg_is_request(m.type) && msg_reply_type(m.type) == MSG_NONE))
		abort();
	if (m.type == MSG_ERROR && m.error.code == MSG_ERROR_OTHER) {
		msg_deinit(&m); /* a code of a later version is never written by this one */
		return 0;
	}
	if (msg_format(&m, &once) != 0 ||
	    msg_parse(&back, buf_str(&once), once.len, from, NULL) != MSG_OK)
		abort();
	if (msg_format(&back, &twice) != 0 || strcmp(buf_str(&once), buf_str(&twice)) != 0)
		abort();
	msg_deinit(&back);
	msg_deinit(&m);
	buf_deinit(&once);
	buf_deinit(&twice);
	return 0;
}
