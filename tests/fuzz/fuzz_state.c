/* SPDX-License-Identifier: MIT */

/* networks.json: damaged disks and other people's files. What is taken must be written and read again as the same. */

/* Both files of the daemon: networks.json, and identity.key. */

#include "engine/client/state.c"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct state *make_state(void)
{
	/* The key of seed 1, 0, 0, ...: the files of the corpus are this computer's. */
	static const uint8_t key[SIG_KEY_SIZE] = {0xce, 0xcc, 0x15, 0x07, 0xdc, 0x1d, 0xdd, 0x72,
	                                          0x95, 0x95, 0x1c, 0x29, 0x08, 0x88, 0xf0, 0x95,
	                                          0xad, 0xb9, 0x04, 0x4d, 0x1b, 0x73, 0xd6, 0x96,
	                                          0xe6, 0xdf, 0x06, 0x5d, 0x68, 0x3b, 0xd4, 0xfc};
	struct state *s = mem_new(struct state);

	if (s == NULL)
		abort();
	s->dir_fd = s->lock_fd = -1;
	memcpy(s->key, key, sizeof(key));
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gv_cleanup(state_closep) struct state *s = make_state();
	gv_cleanup(state_closep) struct state *again = make_state();
	struct buf text = BUF_INIT(STATE_FILE_MAX);
	struct diag diag = {0};

	int r = parse_identity(&s->id, (const char *)data, size, &diag);
	if (r != STATE_OK && (r < 0 || diag.text[0] == '\0'))
		abort();
	diag = (struct diag){0};
	r = state_parse(s, (const char *)data, size, &diag);
	if (r != STATE_OK) {
		if (r > 0 && diag.text[0] == '\0')
			abort();
		return 0;
	}
	if (state_format(s, &text) != 0 ||
	    state_parse(again, buf_str(&text), text.len, &diag) != STATE_OK ||
	    again->n_networks != s->n_networks || strcmp(again->name, s->name) != 0)
		abort();
	buf_deinit(&text);
	return 0;
}
