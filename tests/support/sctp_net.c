/* SPDX-License-Identifier: MIT */

#include "tests/support/sctp_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64

struct sctp_flying {
	uint64_t at_us, number;
	int to;
	size_t len;
	uint8_t data[];
};

static void need(bool ok)
{
	if (ok)
		return;
	fputs("sctp_net: no memory\n", stderr);
	exit(1);
}

struct sctp_config sctp_net_config(uint64_t seed)
{
	return (struct sctp_config){.local_port = 5000,
	                            .remote_port = 5000,
	                            .max_packet_bytes = SCTP_NET_PACKET_BYTES,
	                            .max_message_bytes = SCTP_MESSAGE_BYTES_MAX,
	                            .zero_checksum = true,
	                            .rng = rng_seeded(seed)};
}

struct sctp_net *sctp_net_new(uint64_t seed, const struct sctp_config *a,
                              const struct sctp_config *b)
{
	struct sctp_net *net = calloc(1, sizeof(*net));
	struct sctp_config config[2] = {sctp_net_config(seed * 2 + 1),
	                                sctp_net_config(seed * 2 + 2)};

	need(net != NULL);
	net->now_us = 1000000;
	net->rng = rng_seeded(seed);
	if (a != NULL)
		config[0] = *a;
	if (b != NULL)
		config[1] = *b;
	for (int i = 0; i < 2; i++) {
		net->link[i].delay_us = 10000;
		need(sctp_new(&net->end[i], &config[i]) == 0);
	}
	return net;
}

static bool earlier(const struct sctp_flying *a, const struct sctp_flying *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

static void flying_push(struct sctp_net *net, struct sctp_flying *f)
{
	if (net->flying_count == net->flying_cap) {
		net->flying_cap = net->flying_cap > 0 ? net->flying_cap * 2 : 64;
		net->flying = realloc(net->flying, net->flying_cap * sizeof(*net->flying));
		need(net->flying != NULL);
	}
	size_t i = net->flying_count++;
	for (; i > 0 && earlier(f, net->flying[(i - 1) / 2]); i = (i - 1) / 2)
		net->flying[i] = net->flying[(i - 1) / 2];
	net->flying[i] = f;
}

static struct sctp_flying *flying_first(const struct sctp_net *net)
{
	return net->flying_count > 0 ? net->flying[0] : NULL;
}

static struct sctp_flying *flying_pop(struct sctp_net *net)
{
	struct sctp_flying *first = net->flying[0];
	struct sctp_flying *moved = net->flying[--net->flying_count];
	size_t i = 0;

	for (;;) {
		size_t kid = 2 * i + 1;

		if (kid >= net->flying_count)
			break;
		if (kid + 1 < net->flying_count && earlier(net->flying[kid + 1], net->flying[kid]))
			kid++;
		if (!earlier(net->flying[kid], moved))
			break;
		net->flying[i] = net->flying[kid];
		i = kid;
	}
	net->flying[i] = moved;
	return first;
}

void sctp_net_free(struct sctp_net *net)
{
	while (net->flying_count > 0)
		free(flying_pop(net));
	free(net->flying);
	sctp_free(net->end[0]);
	sctp_free(net->end[1]);
	free(net);
}

static void fly(struct sctp_net *net, int side, const uint8_t *p, size_t n)
{
	const struct sctp_link *link = &net->link[side];
	struct sctp_flying *f = malloc(sizeof(*f) + n);

	need(f != NULL);
	f->at_us = net->now_us + link->delay_us;
	if (link->jitter_us > 0)
		f->at_us += rng_below(&net->rng, (uint32_t)link->jitter_us);
	f->number = net->flying_next++;
	f->to = 1 - side;
	f->len = n;
	memcpy(f->data, p, n);
	flying_push(net, f);
}

void sctp_net_inject(struct sctp_net *net, int side, const uint8_t *p, size_t n)
{
	struct sctp_link *link = &net->link[side];

	link->sent++;
	if (link->dark || rng_below(&net->rng, 1000) < link->loss_permille) {
		link->lost++;
		return;
	}
	fly(net, side, p, n);
	if (rng_below(&net->rng, 1000) < link->duplicate_permille)
		fly(net, side, p, n);
}

void sctp_net_send(struct sctp_net *net, int side, const struct batch *train)
{
	for (unsigned i = 0; i < train->count; i++) {
		struct pkt d = batch_datagram(train, i);

		sctp_net_inject(net, side, d.data + train->headroom,
		                d.len - train->headroom - train->tailroom);
	}
}

void sctp_net_flush(struct sctp_net *net)
{
	for (int i = 0; i < 2; i++) {
		for (;;) {
			struct batch out = BATCH_INIT(net->train, sizeof(net->train), 21, 8);

			if (sctp_output(net->end[i], &out, net->now_us) == 0)
				break;
			sctp_net_send(net, i, &out);
		}
	}
}

static void drain(struct sctp_net *net, int side)
{
	struct sctp_msg msg[8];
	struct sctp_event event;
	size_t n;

	while ((n = sctp_recv(net->end[side], msg, 8)) > 0) {
		net->messages[side] += n;
		for (size_t i = 0; i < n && net->on_msg != NULL; i++)
			net->on_msg(net->user, side, &msg[i]);
	}
	while (sctp_event(net->end[side], &event)) {
		net->up[side] |= event.type == SCTP_EVENT_UP;
		net->resets[side] += event.type == SCTP_EVENT_STREAM_RESET;
		net->writables[side] += event.type == SCTP_EVENT_WRITABLE;
		if (event.type == SCTP_EVENT_DOWN) {
			net->down[side] = true;
			net->reason[side] = event.reason;
		}
		if (net->on_event != NULL)
			net->on_event(net->user, side, &event);
	}
}

/* What arrives at the same time at the same end is one batch, as one receive call would give it. */
static void deliver(struct sctp_net *net)
{
	struct sctp_flying *got[BATCH];
	struct pkt in[BATCH] = {{0}};
	size_t n = 0;
	int to = flying_first(net)->to;

	while (flying_first(net) != NULL && flying_first(net)->to == to &&
	       flying_first(net)->at_us <= net->now_us && n < BATCH) {
		got[n] = flying_pop(net);
		in[n] = (struct pkt){.data = got[n]->data, .len = got[n]->len};
		n++;
	}
	sctp_input(net->end[to], in, n, net->now_us);
	drain(net, to);
	for (size_t i = 0; i < n; i++) {
		/* A read of borrowed bytes after this would show wrong data, and in a sanitizer. */
		memset(got[i]->data, 0xdd, got[i]->len);
		free(got[i]);
	}
}

void sctp_net_run(struct sctp_net *net, uint64_t until_us)
{
	for (;;) {
		sctp_net_flush(net);
		uint64_t at = GV_MIN(sctp_deadline_us(net->end[0]), sctp_deadline_us(net->end[1]));
		if (flying_first(net) != NULL && flying_first(net)->at_us < at)
			at = flying_first(net)->at_us;
		if (at > until_us)
			break;
		net->now_us = GV_MAX(net->now_us, at);
		for (int i = 0; i < 2; i++) {
			if (sctp_deadline_us(net->end[i]) > net->now_us)
				continue;
			sctp_timeout(net->end[i], net->now_us);
			drain(net, i);
		}
		while (flying_first(net) != NULL && flying_first(net)->at_us <= net->now_us)
			deliver(net);
	}
	net->now_us = GV_MAX(net->now_us, until_us);
}

bool sctp_net_connect(struct sctp_net *net)
{
	uint64_t end_us = net->now_us + 20000000;

	sctp_connect(net->end[0], net->now_us);
	sctp_connect(net->end[1], net->now_us);
	while (net->now_us < end_us && !(net->up[0] && net->up[1]))
		sctp_net_run(net, net->now_us + 10000);
	return net->up[0] && net->up[1];
}

size_t sctp_net_tunnel(struct sctp_net *net, int side, uint16_t stream, const struct pkt *in,
                       size_t n, int *result)
{
	size_t done = 0;

	*result = 0;
	while (done < n && *result == 0) {
		struct batch out = BATCH_INIT(net->train, sizeof(net->train), 21, 8);

		done += sctp_tunnel_send(net->end[side], stream, in + done, n - done, &out,
		                         net->now_us, result);
		sctp_net_send(net, side, &out);
	}
	return done;
}
