/* SPDX-License-Identifier: MIT */

#include "tests/support/sctp_net.h"

#include "proto/sctp/assoc_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64

struct sctp_flying {
	struct sctp_flying *next;
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
		net->link[i].rwnd_max = UINT32_MAX;
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

static void drop_kept(struct sctp_net *net, int side)
{
	while (net->kept[side] != NULL) {
		struct sctp_flying *f = net->kept[side];

		net->kept[side] = f->next;
		/* A read of borrowed bytes after this would show wrong data, and in a sanitizer. */
		memset(f->data, 0xdd, f->len);
		free(f);
	}
}

void sctp_net_free(struct sctp_net *net)
{
	drop_kept(net, 0);
	drop_kept(net, 1);
	while (net->flying_count > 0)
		free(flying_pop(net));
	free(net->flying);
	sctp_free(net->end[0]);
	sctp_free(net->end[1]);
	free(net);
}

static void clamp_window(uint8_t *p, size_t n, uint32_t most)
{
	struct bytes_reader r = bytes_reader(p + SCTP_HEADER_BYTES, n - SCTP_HEADER_BYTES);
	struct chunk c;

	while (chunk_next(&r, &c) == CHUNK_OK) {
		if (c.type != CHUNK_SACK || be32_load(c.body + 4) <= most)
			continue;
		be32_store(p + (c.body - p) + 4, most);
		if (le32_load(p + 8) == 0)
			continue;
		le32_store(p + 8, 0);
		packet_checksum_write(p, n);
	}
}

static void fly(struct sctp_net *net, int side, const uint8_t *p, size_t n)
{
	const struct sctp_link *link = &net->link[side];
	struct sctp_flying *f = malloc(sizeof(*f) + n);

	need(f != NULL);
	f->at_us = net->now_us + link->delay_us;
	if (rng_below(&net->rng, 1000) < link->late_permille)
		f->at_us += link->late_us;
	if (link->jitter_us > 0)
		f->at_us += rng_below(&net->rng, (uint32_t)link->jitter_us);
	f->number = net->flying_next++;
	f->to = 1 - side;
	f->len = n;
	memcpy(f->data, p, n);
	flying_push(net, f);
}

/* False: the packet is lost by it. */
static bool corrupt(struct sctp_net *net, struct sctp_link *link, uint8_t *p, size_t n)
{
	link->corrupted++;
	if (le32_load(p + 8) == 0)
		return false;
	for (uint32_t bits = 1 + rng_below(&net->rng, 3); bits > 0; bits--) {
		uint32_t at = rng_below(&net->rng, (uint32_t)n * 8);

		p[at / 8] ^= (uint8_t)(1u << at % 8);
	}
	return true;
}

void sctp_net_inject(struct sctp_net *net, int side, const uint8_t *p, size_t n)
{
	struct sctp_link *link = &net->link[side];
	uint8_t copy[SCTP_PACKET_BYTES_MAX];

	link->sent++;
	if (link->dark || rng_below(&net->rng, 1000) < link->loss_permille) {
		link->lost++;
		return;
	}
	need(n <= sizeof(copy));
	memcpy(copy, p, n);
	if (link->rwnd_max != UINT32_MAX)
		clamp_window(copy, n, link->rwnd_max);
	if (rng_below(&net->rng, 1000) < link->corrupt_permille && !corrupt(net, link, copy, n))
		return;
	p = copy;
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
			net->down_us[side] = net->now_us;
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
	for (size_t i = 0; i < n; i++) {
		got[i]->next = net->kept[to];
		net->kept[to] = got[i];
	}
	if (!net->paused[to])
		sctp_net_resume(net, to);
}

void sctp_net_resume(struct sctp_net *net, int side)
{
	net->paused[side] = false;
	drain(net, side);
	drop_kept(net, side);
}

void sctp_net_restart(struct sctp_net *net, int side, const struct sctp_config *config)
{
	sctp_free(net->end[side]);
	net->end[side] = NULL;
	drop_kept(net, side);
	net->paused[side] = net->up[side] = net->down[side] = false;
	need(sctp_new(&net->end[side], config) == 0);
}

void sctp_net_near_wrap(struct sctp_net *net, uint32_t tsn_left, const uint16_t *streams,
                        size_t stream_count, uint16_t ssn_left)
{
	uint32_t tsn = 0u - tsn_left;

	for (int i = 0; i < 2; i++) {
		struct sctp *s = net->end[i], *peer = net->end[1 - i];

		s->my_tsn = s->out.next_tsn = s->reset.my_sequence = tsn;
		s->out.cum_ack = s->out.advanced = s->out.high_ack = tsn - 1;
		s->tunnel.given_up = s->tunnel.probe_mark = tsn - 1;
		peer->peer.tsn = peer->reset.peer_sequence = tsn;
		peer->in.cum = peer->in.high = tsn - 1;
		for (size_t k = 0; k < stream_count; k++) {
			uint16_t *out =
				assoc_stream_slot(&s->out.ssn, &s->out.ssn_count, streams[k]);
			uint16_t *in =
				assoc_stream_slot(&peer->in.ssn, &peer->in.ssn_count, streams[k]);

			need(out != NULL && in != NULL);
			*out = *in = (uint16_t)(0u - ssn_left);
		}
	}
}

size_t sctp_net_footprint(const struct sctp *s)
{
	size_t n = sizeof(*s) + s->cookie_len;

	n += s->out.ring_cap * sizeof(struct out_chunk) + s->out.bytes;
	n += s->out.messages * sizeof(struct out_msg);
	n += ((size_t)s->out.ssn_count + s->out.waiting_count + s->in.ssn_count) * 2;
	n += s->in.map != NULL ? TSN_WINDOW / 8 : 0;
	n += s->in.run_cap * sizeof(struct run) + s->in.held_cap * (sizeof(struct held) + 2);
	n += s->in.ready_cap * sizeof(struct ready);
	for (uint32_t i = 0; i < s->in.run_count; i++)
		n += s->in.runs[i].cap;
	/* A buffer that grew has at most as much again. */
	for (uint32_t i = 0; i < s->in.held_count; i++)
		n += s->in.held[s->in.held_order[i]].len * 2;
	for (uint32_t i = s->in.lent; i < s->in.ready_count; i++)
		n += s->in.ready[i].buf != NULL ? s->in.ready[i].msg.len * 2 : 0;
	for (const struct control *c = s->control_first; c != NULL; c = c->next)
		n += sizeof(*c) + s->config.max_packet_bytes;
	return n + (s->reset.wanted_cap + s->reset.event_cap) * sizeof(uint16_t);
}

void sctp_net_run(struct sctp_net *net, uint64_t until_us)
{
	for (;;) {
		net->steps++;
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
			if (!net->paused[i])
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
