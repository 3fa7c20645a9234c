/* SPDX-License-Identifier: MIT */

/* Every parser of proto/sctp/chunk over any bytes: a packet, its chunks, their parameters. */

#include "proto/sctp/chunk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void params(struct bytes_reader r)
{
	struct param p;

	while (param_next(&r, &p) == CHUNK_OK)
		if (p.len > 0 && p.body[p.len - 1] == 0xff && p.body[0] == 0xfe)
			params(bytes_reader(p.body, p.len));
}

static uint32_t chunk(const struct chunk *c)
{
	struct chunk_init init;
	struct chunk_data d;
	struct chunk_sack s;
	struct chunk_forward f;
	uint32_t start, end, sum = 0;
	uint16_t stream, ssn;

	if (chunk_init_read(c, &init) == CHUNK_OK)
		params(init.params);
	if (chunk_data_read(c, &d) == CHUNK_OK && d.len > 0)
		sum += d.data[d.len - 1];
	if (chunk_sack_read(c, &s) == CHUNK_OK) {
		for (size_t i = 0; i < s.gaps; i++) {
			chunk_sack_gap(&s, i, &start, &end);
			sum += start ^ end;
		}
	}
	if (chunk_forward_read(c, &f) == CHUNK_OK) {
		for (size_t i = 0; i < f.pairs; i++) {
			chunk_forward_pair(&f, i, &stream, &ssn);
			sum += stream ^ ssn;
		}
	}
	params(bytes_reader(c->body, c->len));
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t sum = 0;
	struct packet_header h;
	struct chunk c;

	if (packet_header_read(data, size, &h) != CHUNK_OK)
		return 0;
	struct bytes_reader r = bytes_reader(data + 12, size - 12);
	while (chunk_next(&r, &c) == CHUNK_OK) {
		if (c.body + c.len > data + size)
			abort();
		sum += chunk(&c);
	}
	__asm__ volatile("" : : "r"(sum)); /* so that nothing is optimised away */
	return 0;
}
