/* SPDX-License-Identifier: MIT */

#include "proto/ip/fq.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/ip/csum.h"
#include "proto/ip/inner.h"

#include <errno.h>
#include <string.h>

#define FLOWS   256
#define QUANTUM 1500 /* bytes of a turn of an owner */
#define OWNERS  256
/* Bytes of a turn of a flow whose owner has very many; each costs a step through the list. */
#define SHARE_MIN 24
/* RFC 8289 4.2, 4.3 */
#define TARGET_US   5000u
#define INTERVAL_US 100000u
#define NONE        UINT32_MAX

#define ECN_MASK    3u
#define ECN_CE      3u
#define PACKETS_MAX 65536u

struct slot {
	uint32_t next;
	uint32_t tag;
	uint16_t len;
	uint64_t at_us;
};

enum flow_list {
	FLOW_IDLE, /* empty, in no list */
	FLOW_NEW,  /* had nothing until now: served first (RFC 8290 4.1.2) */
	FLOW_OLD,
};

struct flow {
	uint32_t head, tail; /* slots */
	uint32_t bytes;
	int32_t deficit;
	uint16_t next; /* in its list */
	uint8_t list;
	uint8_t owner; /* while it is in a list */
	/* CoDel (RFC 8289 5) */
	bool dropping;
	uint32_t count, last_count;
	uint64_t first_above_us, drop_next_us;
};

struct list {
	uint16_t head, tail;
};

#define NO_FLOW UINT16_MAX

struct fq {
	struct fq_config c;
	struct flow flows[FLOWS];
	struct list lists[FLOW_OLD + 1];
	uint16_t active[OWNERS]; /* flows in a list */
	struct slot *slots;
	uint8_t *bytes;
	uint32_t free; /* first of the free slots */
	uint32_t count;
	uint64_t marked;
};

int fq_new(struct fq **out, const struct fq_config *c)
{
	gv_cleanup(fq_freep) struct fq *q = NULL;

	if (c->packets == 0 || c->packets > PACKETS_MAX || c->slot_bytes < INNER_IP4_HEADER)
		return err_here(-EINVAL);
	q = mem_new(struct fq);
	if (q == NULL)
		return err_here(-ENOMEM);
	q->c = *c;
	q->slots = mem_new_array(struct slot, c->packets);
	q->bytes = mem_alloc(c->packets, c->slot_bytes);
	if (q->slots == NULL || q->bytes == NULL)
		return err_here(-ENOMEM);
	for (uint32_t i = 0; i < c->packets; i++)
		q->slots[i].next = i + 1 < c->packets ? i + 1 : NONE;
	for (unsigned i = 0; i < FLOWS; i++)
		q->flows[i].head = NONE;
	for (unsigned i = 0; i <= FLOW_OLD; i++)
		q->lists[i] = (struct list){NO_FLOW, NO_FLOW};
	*out = GV_STEAL(q);
	return 0;
}

void fq_free(struct fq *q)
{
	if (q == NULL)
		return;
	mem_free(q->slots);
	mem_free(q->bytes);
	mem_free(q);
}

uint32_t fq_count(const struct fq *q)
{
	return q->count;
}

uint64_t fq_marked(const struct fq *q)
{
	return q->marked;
}

/* --- flows --------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint32_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15u;
	return h ^ (h >> 29);
}

/* By addresses, protocol and ports; fragments have no ports, so all of a packet share a flow. */
static unsigned flow_of(const struct fq *q, const uint8_t *p, size_t len)
{
	uint64_t h = q->c.seed;
	struct inner in;
	uint32_t v;

	if (inner_parse(p, len, &in) != INNER_OK)
		return 0;
	for (size_t i = 0; i < (size_t)in.addr_len * 2; i += sizeof(v)) {
		memcpy(&v, in.src + i, sizeof(v)); /* both addresses stand side by side */
		h = mix(h, v);
	}
	h = mix(h, in.proto);
	if (!in.fragment && (in.proto == INNER_TCP || in.proto == INNER_UDP) &&
	    len - in.header_len >= sizeof(v)) {
		memcpy(&v, p + in.header_len, sizeof(v));
		h = mix(h, v);
	}
	return (unsigned)(h >> 32) % FLOWS;
}

static uint8_t owner_of(const struct fq *q, uint32_t tag)
{
	return (uint8_t)(mix(q->c.seed, tag) >> 32);
}

static void list_append(struct fq *q, enum flow_list which, unsigned i)
{
	struct list *l = &q->lists[which];

	q->flows[i].next = NO_FLOW;
	q->flows[i].list = (uint8_t)which;
	if (l->tail == NO_FLOW)
		l->head = (uint16_t)i;
	else
		q->flows[l->tail].next = (uint16_t)i;
	l->tail = (uint16_t)i;
}

static void list_pop(struct fq *q, enum flow_list which)
{
	struct list *l = &q->lists[which];
	struct flow *f = &q->flows[l->head];

	l->head = f->next;
	if (l->head == NO_FLOW)
		l->tail = NO_FLOW;
	f->list = FLOW_IDLE;
}

/* Takes the first packet of a flow that has one; its slot is free, its bytes stay until the next push. */
static struct slot *take(struct fq *q, struct flow *f, uint8_t **data)
{
	uint32_t i = f->head;
	struct slot *s = &q->slots[i];

	f->head = s->next;
	f->bytes -= s->len;
	s->next = q->free;
	q->free = i;
	q->count--;
	*data = q->bytes + (size_t)i * q->c.slot_bytes;
	return s;
}

/*
 * RFC 8290 4.1.3: room is made at the head of the flow with the most bytes; those of an owner who has several count
 * as many times, so that nobody gets more room by more flows.
 */
static uint32_t drop_largest(struct fq *q)
{
	struct flow *f = &q->flows[0];
	uint64_t most = 0;
	uint8_t *data;

	for (unsigned i = 0; i < FLOWS; i++) {
		uint64_t weight = (uint64_t)q->flows[i].bytes * q->active[q->flows[i].owner];

		if (weight > most) {
			most = weight;
			f = &q->flows[i];
		}
	}
	return take(q, f, &data)->tag; /* the queue is full: there is one */
}

size_t fq_push(struct fq *q, const struct fq_packet *in, size_t n, uint64_t now_us, uint32_t *lost)
{
	size_t gone = 0;

	for (size_t k = 0; k < n; k++) {
		if (in[k].len > q->c.slot_bytes) {
			lost[gone++] = in[k].tag;
			continue;
		}
		if (q->free == NONE)
			lost[gone++] = drop_largest(q);
		unsigned number = flow_of(q, in[k].data, in[k].len);
		struct flow *f = &q->flows[number];
		uint32_t i = q->free;
		struct slot *s = &q->slots[i];

		q->free = s->next;
		*s = (struct slot){
			.next = NONE, .tag = in[k].tag, .len = in[k].len, .at_us = now_us};
		memcpy(q->bytes + (size_t)i * q->c.slot_bytes, in[k].data, in[k].len);
		if (f->head == NONE)
			f->head = i;
		else
			q->slots[f->tail].next = i;
		f->tail = i;
		f->bytes += in[k].len;
		q->count++;
		if (f->list == FLOW_IDLE) {
			f->deficit = QUANTUM;
			f->owner = owner_of(q, in[k].tag);
			q->active[f->owner]++;
			list_append(q, FLOW_NEW, number);
		}
	}
	return gone;
}

/* --- CoDel --------------------------------------------------------------------------------------- */

/* Sets CE in a packet that said it may be (RFC 3168 5). */
static bool mark(uint8_t *p)
{
	if (p[0] >> 4 == 6) {
		/* The traffic class is split over the first two bytes; ECN is its low end. */
		if ((p[1] >> 4 & ECN_MASK) == 0)
			return false;
		p[1] |= ECN_CE << 4;
		return true;
	}
	if ((p[1] & ECN_MASK) == 0)
		return false;
	uint16_t before = be16_load(p);
	p[1] |= ECN_CE;
	csum_update16(p + 10, before, be16_load(p));
	return true;
}

static uint32_t square_root(uint64_t n)
{
	uint64_t root = 0, bit = UINT64_C(1) << 62;

	while (bit > n)
		bit >>= 2;
	for (; bit > 0; bit >>= 2) {
		if (n >= root + bit) {
			n -= root + bit;
			root = (root >> 1) + bit;
		} else {
			root >>= 1;
		}
	}
	return (uint32_t)root;
}

/* RFC 8289 5.3: the next drop comes sooner by the square root of how many there were. */
static uint64_t control_law(uint64_t t_us, uint32_t count)
{
	return t_us + (UINT64_C(256) * INTERVAL_US) / square_root((uint64_t)count << 16);
}

/* Takes the first packet and judges its stay. NULL when the flow is empty. */
static struct slot *codel_take(struct fq *q, struct flow *f, uint64_t now_us, uint8_t **data,
                               bool *may_drop)
{
	*may_drop = false;
	if (f->head == NONE) {
		f->first_above_us = 0;
		return NULL;
	}
	struct slot *s = take(q, f, data);
	if (now_us - s->at_us < TARGET_US || f->bytes <= QUANTUM) {
		f->first_above_us = 0;
	} else if (f->first_above_us == 0) {
		f->first_above_us = now_us + INTERVAL_US;
	} else {
		*may_drop = now_us >= f->first_above_us;
	}
	return s;
}

struct lost {
	uint32_t *tags;
	size_t count;
};

/* Drops a packet and takes the next, unless it can be marked, which does as well. */
static struct slot *drop_or_mark(struct fq *q, struct flow *f, struct slot *s, uint64_t now_us,
                                 struct lost *lost, uint8_t **data, bool *may_drop)
{
	if (mark(*data)) {
		q->marked++;
		*may_drop = false; /* one is enough */
		return s;
	}
	lost->tags[lost->count++] = s->tag;
	return codel_take(q, f, now_us, data, may_drop);
}

/* RFC 8289 5.5: the next packet of the flow, or NULL. */
static struct slot *codel_pop(struct fq *q, struct flow *f, uint64_t now_us, struct lost *lost,
                              uint8_t **data)
{
	bool may_drop;
	struct slot *s = codel_take(q, f, now_us, data, &may_drop);

	if (f->dropping && !may_drop)
		f->dropping = false;
	if (f->dropping) {
		while (s != NULL && f->dropping && now_us >= f->drop_next_us &&
		       lost->count < FQ_LOST_MAX) {
			f->count++;
			s = drop_or_mark(q, f, s, now_us, lost, data, &may_drop);
			f->drop_next_us = control_law(f->drop_next_us, f->count);
			if (!may_drop)
				break;
		}
		f->dropping = f->first_above_us != 0;
	} else if (may_drop && lost->count < FQ_LOST_MAX) {
		s = drop_or_mark(q, f, s, now_us, lost, data, &may_drop);
		f->dropping = true;
		/* Begins with the rate of the last time, when that was not long ago. */
		uint32_t delta = f->count - f->last_count;
		bool recent = now_us < f->drop_next_us + 16 * (uint64_t)INTERVAL_US;
		f->count = delta > 1 && recent ? delta : 1;
		f->drop_next_us = control_law(now_us, f->count);
		f->last_count = f->count;
	}
	return s;
}

/* --- turns --------------------------------------------------------------------------------------- */

/* What a flow gets in its turn: the flows of one owner share what is his. */
static int32_t share(const struct fq *q, const struct flow *f)
{
	return GV_MAX(QUANTUM / q->active[f->owner], SHARE_MIN);
}

size_t fq_pop(struct fq *q, struct fq_packet *out, size_t max, uint64_t now_us, uint32_t *lost,
              size_t *lost_count)
{
	struct lost gone = {.tags = lost};
	size_t n = 0;

	while (n < max && gone.count < FQ_LOST_MAX) {
		enum flow_list which = q->lists[FLOW_NEW].head != NO_FLOW ? FLOW_NEW : FLOW_OLD;
		unsigned number = q->lists[which].head;
		uint8_t *data;

		if (number == NO_FLOW)
			break;
		struct flow *f = &q->flows[number];
		if (f->deficit <= 0) {
			f->deficit += share(q, f);
			list_pop(q, which);
			list_append(q, FLOW_OLD, number);
			continue;
		}
		struct slot *s = codel_pop(q, f, now_us, &gone, &data);
		if (s == NULL) {
			list_pop(q, which);
			/* A flow that came back too soon would be new again and again (RFC 8290 4.2). */
			if (which == FLOW_NEW)
				list_append(q, FLOW_OLD, number);
			else
				q->active[f->owner]--;
			continue;
		}
		f->deficit -= s->len;
		out[n++] = (struct fq_packet){.data = data, .len = s->len, .tag = s->tag};
	}
	*lost_count = gone.count;
	return n;
}
