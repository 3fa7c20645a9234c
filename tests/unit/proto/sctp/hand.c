/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hand.h"

#include <stdlib.h>
#include <string.h>

void hand_begin(struct hand *h)
{
	struct packet_header header = {.source = 5000, .destination = 5000, .tag = h->s->my_tag};

	h->w = bytes_writer(h->packet, sizeof(h->packet));
	packet_header_write(&h->w, &header);
}

void hand_chunk(struct hand *h, uint8_t type, uint8_t flags, const void *body, size_t len)
{
	size_t at = chunk_open(&h->w, type, flags);

	bytes_write(&h->w, body, len);
	chunk_close(&h->w, at);
}

void hand_data(struct hand *h, uint32_t tsn, uint16_t stream, uint16_t ssn, uint8_t flags,
               const char *text)
{
	size_t at = chunk_open(&h->w, CHUNK_DATA, flags);

	bytes_write_u32(&h->w, tsn);
	bytes_write_u16(&h->w, stream);
	bytes_write_u16(&h->w, ssn);
	bytes_write_u32(&h->w, 53);
	bytes_write(&h->w, text, strlen(text));
	chunk_close(&h->w, at);
}

void hand_sack(struct hand *h, uint32_t cum, uint32_t a_rwnd, const uint16_t *gaps, size_t count)
{
	size_t at = chunk_open(&h->w, CHUNK_SACK, 0);

	bytes_write_u32(&h->w, cum);
	bytes_write_u32(&h->w, a_rwnd);
	bytes_write_u16(&h->w, (uint16_t)count);
	bytes_write_u16(&h->w, 0);
	for (size_t i = 0; i < count * 2; i++)
		bytes_write_u16(&h->w, gaps[i]);
	chunk_close(&h->w, at);
}

void hand_forward(struct hand *h, uint32_t cum, const uint16_t *pairs, size_t count)
{
	size_t at = chunk_open(&h->w, CHUNK_FORWARD_TSN, 0);

	bytes_write_u32(&h->w, cum);
	for (size_t i = 0; i < count * 2; i++)
		bytes_write_u16(&h->w, pairs[i]);
	chunk_close(&h->w, at);
}

void hand_give(struct hand *h)
{
	struct pkt in = {.data = h->packet, .len = h->w.used};

	if (!h->unsummed)
		packet_checksum_write(h->packet, h->w.used);
	sctp_input(h->s, &in, 1, h->now_us);
}

void hand_give_data(struct hand *h, uint32_t tsn, uint16_t stream, uint16_t ssn, uint8_t flags,
                    const char *text)
{
	hand_begin(h);
	hand_data(h, tsn, stream, ssn, flags, text);
	hand_give(h);
}

void hand_give_sack(struct hand *h, uint32_t cum, const uint16_t *gaps, size_t count)
{
	hand_begin(h);
	hand_sack(h, cum, RECEIVE_BYTES, gaps, count);
	hand_give(h);
}

static void take_apart(struct hand *h, const uint8_t *p, size_t n)
{
	h->said_tag = be32_load(p + 4);
	struct bytes_reader r = bytes_reader(p + SCTP_HEADER_BYTES, n - SCTP_HEADER_BYTES);

	while (h->said_count < HAND_CHUNKS && chunk_next(&r, &h->said[h->said_count]) == CHUNK_OK)
		h->said_count++;
}

size_t hand_listen(struct hand *h)
{
	size_t used = 0;

	h->said_count = 0;
	h->packets = 0;
	for (;;) {
		struct batch b = BATCH_INIT(h->train + used, sizeof(h->train) - used, 0, 0);

		if (sctp_output(h->s, &b, h->now_us) == 0)
			return h->packets;
		for (unsigned i = 0; i < b.count; i++) {
			struct pkt d = batch_datagram(&b, i);

			take_apart(h, d.data, d.len);
		}
		h->packets += b.count;
		used += b.len;
	}
}

const struct chunk *hand_said(const struct hand *h, uint8_t type, size_t i)
{
	for (size_t k = 0; k < h->said_count; k++)
		if (h->said[k].type == type && i-- == 0)
			return &h->said[k];
	return NULL;
}

const struct chunk *hand_must(const struct hand *h, uint8_t type, size_t i)
{
	const struct chunk *c = hand_said(h, type, i);

	if (c == NULL)
		fail_msg("chunk %u was not sent", type);
	return c;
}

size_t hand_count(const struct hand *h, uint8_t type)
{
	size_t n = 0;

	for (size_t k = 0; k < h->said_count; k++)
		n += h->said[k].type == type;
	return n;
}

void hand_sleep(struct hand *h, uint64_t us)
{
	uint64_t until_us = h->now_us + us;

	while (sctp_deadline_us(h->s) <= until_us) {
		h->now_us = GV_MAX(h->now_us, sctp_deadline_us(h->s));
		sctp_timeout(h->s, h->now_us);
	}
	h->now_us = until_us;
}

bool hand_read(struct hand *h, char *out, size_t size)
{
	struct sctp_msg m;

	if (sctp_recv(h->s, &m, 1) == 0)
		return false;
	size_t n = GV_MIN(m.len, size - 1);
	memcpy(out, m.data, n);
	out[n] = '\0';
	return true;
}

static void make(struct hand *h, bool zero_checksum)
{
	struct sctp_config config = sctp_net_config(77);

	memset(h, 0, sizeof(*h));
	h->now_us = 1000000;
	h->tsn = HAND_TSN;
	config.zero_checksum = zero_checksum;
	if (sctp_new(&h->s, &config) != 0)
		exit(1);
}

void hand_give_init(struct hand *h, uint8_t type, uint32_t tag, uint32_t tsn, const void *params,
                    size_t len)
{
	struct packet_header header = {.source = 5000, .destination = 5000};

	header.tag = type == CHUNK_INIT ? 0 : h->s->my_tag;
	h->w = bytes_writer(h->packet, sizeof(h->packet));
	packet_header_write(&h->w, &header);
	size_t at = chunk_open(&h->w, type, 0);
	bytes_write_u32(&h->w, tag);
	bytes_write_u32(&h->w, RECEIVE_BYTES);
	bytes_write_u16(&h->w, HAND_STREAMS);
	bytes_write_u16(&h->w, HAND_STREAMS);
	bytes_write_u32(&h->w, tsn);
	if (len > 0)
		bytes_write(&h->w, params, len);
	chunk_close(&h->w, at);
	hand_give(h);
}

void hand_give_cookie_of(struct hand *h, const struct chunk *init_ack)
{
	struct packet_header header = {.source = 5000, .destination = 5000};
	struct chunk_init fixed;
	struct param p;

	if (chunk_init_read(init_ack, &fixed) != CHUNK_OK)
		exit(1);
	while (param_next(&fixed.params, &p) == CHUNK_OK && p.type != PARAM_STATE_COOKIE) {
	}
	header.tag = fixed.tag;
	h->w = bytes_writer(h->packet, sizeof(h->packet));
	packet_header_write(&h->w, &header);
	hand_chunk(h, CHUNK_COOKIE_ECHO, 0, p.body, p.len);
	hand_give(h);
}

void hand_init(struct hand *h, bool zero_checksum)
{
	static const uint8_t params[] = {0x80, 0x08, 0, 6, CHUNK_RE_CONFIG, CHUNK_FORWARD_TSN, 0, 0,
	                                 0xc0, 0,    0, 4};
	struct sctp_event event;

	make(h, zero_checksum);
	hand_give_init(h, CHUNK_INIT, HAND_TAG, HAND_TSN, params, sizeof(params));
	hand_listen(h);
	hand_give_cookie_of(h, hand_must(h, CHUNK_INIT_ACK, 0));
	hand_listen(h);
	if (sctp_event(h->s, &event) == 0 || event.type != SCTP_EVENT_UP)
		exit(1);
}

void hand_init_connecting(struct hand *h)
{
	make(h, false);
	sctp_connect(h->s, h->now_us);
	hand_listen(h);
	(void)hand_must(h, CHUNK_INIT, 0);
}

void hand_deinit(struct hand *h)
{
	sctp_free(h->s);
}
