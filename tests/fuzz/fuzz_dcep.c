/* SPDX-License-Identifier: MIT */

/* A channel table fed with messages, resets and the owner's own calls; the first byte is the side. */

#include "base/bytes.h"
#include "proto/dcep/channel.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void drain(struct dcep *d)
{
	static volatile char sink;
	struct dcep_output o;
	struct dcep_event e;

	while (dcep_output(d, &o)) {
		check(o.len <= 12 + 2 * DCEP_TEXT_MAX);
		dcep_output_done(d);
	}
	while (dcep_event(d, &e)) {
		for (size_t i = 0; i < e.params.label_len; i++)
			sink = (char)(sink + e.params.label[i]);
		for (size_t i = 0; i < e.params.protocol_len; i++)
			sink = (char)(sink + e.params.protocol[i]);
	}
}

static void own(struct dcep *d, uint8_t op, uint16_t stream)
{
	struct dcep_params p = {
		.label = "label", .label_len = op % 6u, .protocol = "", .unordered = op & 8};
	struct sctp_send_options o;

	switch (op % 4) {
	case 0:
		check(dcep_open(d, &p, &stream) >= 0);
		break;
	case 1:
		check(dcep_open_negotiated(d, &p, stream) >= 0);
		break;
	case 2:
		check(dcep_close(d, stream) >= 0);
		break;
	default:
		check(dcep_send_options(d, stream, DCEP_KIND_TEXT, op, &o) >= 0);
		break;
	}
	if (dcep_is_open(d, stream))
		check(dcep_params(d, stream, &p) == DCEP_OK);
	else
		check(dcep_params(d, stream, &p) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes_reader r = bytes_reader(data, size);
	uint8_t how = bytes_read_u8(&r);
	struct dcep_config config = {.side = (enum dcep_side)(how & 1),
	                             .max_channels = 8,
	                             .max_streams = how & 2 ? 6 : 0};
	struct dcep *d = NULL;

	if (dcep_new(&d, &config) != 0)
		return 0;
	while (r.ok && r.left > 0) {
		uint8_t op = bytes_read_u8(&r);
		uint16_t stream = bytes_read_u8(&r);
		struct dcep_data out;

		if (op < 128) {
			size_t n = GV_MIN((size_t)bytes_read_u16(&r), r.left);
			struct sctp_msg m = {.stream = stream, .ppid = op, .len = n, .data = r.p};

			check(dcep_input(d, &m, &out) >= 0);
			(void)bytes_read(&r, n);
		} else if (op < 160) {
			dcep_stream_reset(d, stream);
		} else {
			own(d, op, stream);
		}
		check(dcep_count(d) <= config.max_channels);
		if ((op & 64) != 0)
			drain(d);
	}
	check(dcep_counters(d)->bad_message + dcep_counters(d)->no_channel <= size);
	/* What waits in it goes with it. */
	if ((how & 4) == 0)
		drain(d);
	dcep_free(d);
	return 0;
}
