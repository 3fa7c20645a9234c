/* SPDX-License-Identifier: MIT */

#include "proto/dcep/channel.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

/* RFC 8832 5.1 and 5.2 */
#define MSG_ACK         0x02
#define ACK_SIZE_MAX    4 /* RFC 8832 5.2: 1 byte; pion pads it to 4 */
#define MSG_OPEN        0x03
#define OPEN_FIXED      12
#define TYPE_UNORDERED  0x80
#define TYPE_RELIABLE   0x00
#define TYPE_RETRANSMIT 0x01
#define TYPE_TIMED      0x02

#define TABLE_FIRST   4
#define STRAY_OUTPUTS 64 /* resets of streams that have no channel */

enum state {
	STATE_OPENING, /* our OPEN is on its way, nothing came back yet */
	STATE_OPEN,
	STATE_CLOSING, /* we reset our side and wait for the peer's */
	STATE_GONE,    /* not in the table any more; an event still names it */
};

struct channel {
	unsigned refs; /* the table, and each event that names it */
	enum state state;
	uint16_t stream;
	struct dcep_params params; /* texts point into `text` */
	char text[];
};

/* Something to send; which bytes is decided when it is fetched. */
struct output {
	struct output *next;
	enum dcep_output_type type;
	uint8_t message; /* MSG_* */
	uint16_t stream;
};

struct event {
	struct event *next;
	enum dcep_event_type type;
	uint16_t stream;
	struct channel *channel; /* referenced, or NULL */
};

struct dcep {
	struct dcep_config config;
	struct dcep_counters counters;
	struct channel **table; /* sorted by stream */
	size_t count, cap;
	struct output *output_first, *output_last;
	struct event *event_first, *event_last;
	size_t outputs, events;
	struct channel *lent; /* of the event fetched last */
	uint8_t message[OPEN_FIXED + 2 * DCEP_TEXT_MAX];
};

int dcep_new(struct dcep **out, const struct dcep_config *config)
{
	if (config->max_channels == 0 || config->max_channels > DCEP_CHANNELS_MAX)
		return err_here(-EINVAL);
	struct dcep *d = mem_new(struct dcep);
	if (d == NULL)
		return err_here(-ENOMEM);
	d->config = *config;
	if (d->config.max_streams == 0)
		d->config.max_streams = SCTP_STREAMS_MAX;
	*out = d;
	return 0;
}

static void unref(struct channel *c)
{
	if (c != NULL && --c->refs == 0)
		mem_free(c);
}

static void output_pop(struct dcep *d)
{
	struct output *o = d->output_first;

	d->output_first = o->next;
	if (d->output_first == NULL)
		d->output_last = NULL;
	d->outputs--;
	mem_free(o);
}

static void event_pop(struct dcep *d)
{
	struct event *e = d->event_first;

	d->event_first = e->next;
	if (d->event_first == NULL)
		d->event_last = NULL;
	d->events--;
	unref(e->channel);
	mem_free(e);
}

void dcep_free(struct dcep *d)
{
	if (d == NULL)
		return;
	while (d->output_first != NULL)
		output_pop(d);
	while (d->event_first != NULL)
		event_pop(d);
	for (size_t i = 0; i < d->count; i++)
		unref(d->table[i]);
	unref(d->lent);
	mem_free(d->table);
	mem_free(d);
}

/* Where `stream` stands or would stand. */
static size_t find(const struct dcep *d, uint16_t stream)
{
	size_t lo = 0, hi = d->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (d->table[mid]->stream < stream)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct channel *lookup(const struct dcep *d, uint16_t stream)
{
	size_t i = find(d, stream);

	return i < d->count && d->table[i]->stream == stream ? d->table[i] : NULL;
}

/* A new node at the end of what waits to be sent. Returns 0, DCEP_FULL, -ENOMEM. */
static int output_push(struct dcep *d, enum dcep_output_type type, uint8_t message, uint16_t stream)
{
	if (d->outputs >= 2 * (size_t)d->config.max_channels + STRAY_OUTPUTS)
		return DCEP_FULL;
	struct output *o = mem_new(struct output);
	if (o == NULL)
		return err_here(-ENOMEM);
	*o = (struct output){.type = type, .message = message, .stream = stream};
	if (d->output_last != NULL)
		d->output_last->next = o;
	else
		d->output_first = o;
	d->output_last = o;
	d->outputs++;
	return 0;
}

/* The same for events. `c` is NULL or gets one more reference. */
static int event_push(struct dcep *d, enum dcep_event_type type, uint16_t stream, struct channel *c)
{
	if (d->events >= 4 * (size_t)d->config.max_channels)
		return DCEP_FULL;
	struct event *e = mem_new(struct event);
	if (e == NULL)
		return err_here(-ENOMEM);
	*e = (struct event){.type = type, .stream = stream, .channel = c};
	if (c != NULL)
		c->refs++;
	if (d->event_last != NULL)
		d->event_last->next = e;
	else
		d->event_first = e;
	d->event_last = e;
	d->events++;
	return 0;
}

/* Adds a channel with copies of the texts. Returns 0, DCEP_FULL, DCEP_TOO_LARGE, DCEP_TAKEN, -ENOMEM. */
static int add(struct dcep *d, const struct dcep_params *p, uint16_t stream, enum state state,
               struct channel **out)
{
	size_t at = find(d, stream);

	if (p->label_len > DCEP_TEXT_MAX || p->protocol_len > DCEP_TEXT_MAX)
		return DCEP_TOO_LARGE;
	if (at < d->count && d->table[at]->stream == stream)
		return DCEP_TAKEN;
	if (d->count >= d->config.max_channels)
		return DCEP_FULL;
	if (d->count == d->cap) {
		size_t cap = d->cap > 0 ? d->cap * 2 : TABLE_FIRST;
		struct channel **v = mem_resize(d->table, cap, sizeof(*v));

		if (v == NULL)
			return err_here(-ENOMEM);
		d->table = v;
		d->cap = cap;
	}
	struct channel *c = mem_alloc(1, sizeof(*c) + p->label_len + p->protocol_len);
	if (c == NULL)
		return err_here(-ENOMEM);
	c->refs = 1;
	c->state = state;
	c->stream = stream;
	c->params = *p;
	c->params.label = c->text;
	c->params.protocol = c->text + p->label_len;
	if (p->label_len > 0)
		memcpy(c->text, p->label, p->label_len);
	if (p->protocol_len > 0)
		memcpy(c->text + p->label_len, p->protocol, p->protocol_len);
	memmove(&d->table[at + 1], &d->table[at], (d->count - at) * sizeof(d->table[0]));
	d->table[at] = c;
	d->count++;
	*out = c;
	return 0;
}

static void take_out(struct dcep *d, struct channel *c)
{
	size_t at = find(d, c->stream);

	d->count--;
	memmove(&d->table[at], &d->table[at + 1], (d->count - at) * sizeof(d->table[0]));
	c->state = STATE_GONE;
	unref(c);
}

int dcep_open(struct dcep *d, const struct dcep_params *params, uint16_t *stream)
{
	unsigned next = d->config.side;
	struct channel *c;

	for (size_t i = 0; i < d->count; i++) {
		if (d->table[i]->stream % 2 != (unsigned)d->config.side)
			continue;
		if (d->table[i]->stream != next)
			break;
		next += 2;
	}
	if (next >= d->config.max_streams)
		return DCEP_FULL;
	int r = add(d, params, (uint16_t)next, STATE_OPENING, &c);
	if (r != 0)
		return r;
	r = output_push(d, DCEP_OUTPUT_MESSAGE, MSG_OPEN, (uint16_t)next);
	if (r != 0) {
		take_out(d, c);
		return r;
	}
	*stream = (uint16_t)next;
	return 0;
}

int dcep_open_negotiated(struct dcep *d, const struct dcep_params *params, uint16_t stream)
{
	struct channel *c;

	if (stream >= d->config.max_streams)
		return DCEP_FULL;
	return add(d, params, stream, STATE_OPEN, &c);
}

int dcep_close(struct dcep *d, uint16_t stream)
{
	struct channel *c = lookup(d, stream);

	if (c == NULL || c->state == STATE_CLOSING)
		return DCEP_NO_CHANNEL;
	int r = output_push(d, DCEP_OUTPUT_RESET, 0, stream);
	if (r != 0)
		return r;
	c->state = STATE_CLOSING;
	return 0;
}

void dcep_stream_reset(struct dcep *d, uint16_t stream)
{
	struct channel *c = lookup(d, stream);

	if (c == NULL)
		return;
	/* Without memory the peer never hears our reset or the owner of the end: it is out of memory anyway. */
	if (c->state != STATE_CLOSING)
		(void)output_push(d, DCEP_OUTPUT_RESET, 0, stream);
	(void)event_push(d, DCEP_EVENT_CLOSED, stream, NULL);
	take_out(d, c);
}

int dcep_send_options(const struct dcep *d, uint16_t stream, enum dcep_kind kind, size_t len,
                      struct sctp_send_options *out)
{
	const struct channel *c = lookup(d, stream);

	if (c == NULL || c->state == STATE_CLOSING)
		return DCEP_NO_CHANNEL;
	uint32_t whole = kind == DCEP_KIND_TEXT ? DCEP_PPID_TEXT : DCEP_PPID_BINARY;
	uint32_t empty = kind == DCEP_KIND_TEXT ? DCEP_PPID_TEXT_EMPTY : DCEP_PPID_BINARY_EMPTY;
	*out = (struct sctp_send_options){.stream = stream,
	                                  .ppid = len > 0 ? whole : empty,
	                                  .unordered =
	                                          c->params.unordered && c->state == STATE_OPEN,
	                                  .reliability = c->params.reliability,
	                                  .limit = c->params.limit};
	return 0;
}

/* False: malformed. */
static bool parse_open(const struct sctp_msg *msg, struct dcep_params *out)
{
	struct bytes_reader r = bytes_reader(msg->data, msg->len);

	(void)bytes_read_u8(&r); /* the message type, read before */
	uint8_t type = bytes_read_u8(&r);
	out->priority = bytes_read_u16(&r);
	out->limit = bytes_read_u32(&r);
	out->label_len = bytes_read_u16(&r);
	out->protocol_len = bytes_read_u16(&r);
	out->label = (const char *)bytes_read(&r, out->label_len);
	out->protocol = (const char *)bytes_read(&r, out->protocol_len);
	out->unordered = (type & TYPE_UNORDERED) != 0;
	switch (type & ~TYPE_UNORDERED) {
	case TYPE_RELIABLE:
		out->reliability = SCTP_RELIABLE;
		out->limit = 0; /* RFC 8832 5.1: to be ignored */
		break;
	case TYPE_RETRANSMIT:
		out->reliability = SCTP_MAX_RETRANSMITS;
		break;
	case TYPE_TIMED:
		out->reliability = SCTP_MAX_LIFETIME;
		break;
	default:
		return false;
	}
	return r.ok && r.left == 0;
}

/* RFC 8832 6: an OPEN that cannot stand is answered by resetting the stream. */
static int refuse(struct dcep *d, uint16_t stream, uint64_t *counter)
{
	(*counter)++;
	int r = output_push(d, DCEP_OUTPUT_RESET, 0, stream);
	return r < 0 ? err_up(r) : DCEP_INPUT_DROPPED;
}

static int input_open(struct dcep *d, const struct sctp_msg *msg)
{
	struct dcep_params params;
	struct channel *c = lookup(d, msg->stream);

	if (c != NULL) {
		d->counters.refused++; /* a reset would hit the channel that is there */
		return DCEP_INPUT_DROPPED;
	}
	if (!parse_open(msg, &params))
		return refuse(d, msg->stream, &d->counters.bad_message);
	if (msg->stream % 2 == (unsigned)d->config.side || msg->stream >= d->config.max_streams)
		return refuse(d, msg->stream, &d->counters.refused);
	int r = add(d, &params, msg->stream, STATE_OPEN, &c);
	if (r > 0)
		return refuse(d, msg->stream, &d->counters.refused);
	if (r == 0)
		r = event_push(d, DCEP_EVENT_INCOMING, msg->stream, c);
	if (r == 0)
		r = output_push(d, DCEP_OUTPUT_MESSAGE, MSG_ACK, msg->stream);
	if (r == 0)
		return DCEP_INPUT_CONTROL;
	if (c != NULL)
		take_out(d, c);
	if (r < 0)
		return err_up(r);
	d->counters.refused++;
	return DCEP_INPUT_DROPPED;
}

/* Anything on a channel that we opened says that the peer has it (RFC 8832 6). */
static int heard(struct dcep *d, struct channel *c)
{
	if (c->state != STATE_OPENING)
		return 0;
	int r = event_push(d, DCEP_EVENT_OPEN, c->stream, c);
	if (r < 0)
		return err_up(r);
	if (r == 0)
		c->state = STATE_OPEN; /* else the next message says it again */
	return 0;
}

static int input_control(struct dcep *d, const struct sctp_msg *msg)
{
	uint8_t type = msg->len > 0 ? msg->data[0] : 0;

	if (type == MSG_OPEN)
		return input_open(d, msg);
	struct channel *c = lookup(d, msg->stream);
	if (type != MSG_ACK || msg->len > ACK_SIZE_MAX || c == NULL) {
		d->counters.bad_message++;
		return DCEP_INPUT_DROPPED;
	}
	int r = heard(d, c);
	return r < 0 ? err_up(r) : DCEP_INPUT_CONTROL;
}

int dcep_input(struct dcep *d, const struct sctp_msg *msg, struct dcep_data *out)
{
	struct dcep_data data = {.stream = msg->stream, .data = msg->data, .len = msg->len};

	switch (msg->ppid) {
	case DCEP_PPID_CONTROL:
		return input_control(d, msg);
	case DCEP_PPID_TEXT_EMPTY:
		data.len = 0;
		data.kind = DCEP_KIND_TEXT;
		break;
	case DCEP_PPID_TEXT:
		data.kind = DCEP_KIND_TEXT;
		break;
	case DCEP_PPID_BINARY_EMPTY:
		data.len = 0;
		data.kind = DCEP_KIND_BINARY;
		break;
	case DCEP_PPID_BINARY:
		data.kind = DCEP_KIND_BINARY;
		break;
	default:
		d->counters.bad_message++;
		return DCEP_INPUT_DROPPED;
	}
	struct channel *c = lookup(d, msg->stream);
	if (c == NULL || c->state == STATE_CLOSING) {
		d->counters.no_channel++;
		return DCEP_INPUT_DROPPED;
	}
	int r = heard(d, c);
	if (r < 0)
		return err_up(r);
	*out = data;
	return DCEP_INPUT_DATA;
}

static size_t write_open(struct dcep *d, const struct dcep_params *p)
{
	uint8_t *m = d->message;

	m[0] = MSG_OPEN;
	m[1] = TYPE_RELIABLE;
	if (p->reliability == SCTP_MAX_RETRANSMITS)
		m[1] = TYPE_RETRANSMIT;
	else if (p->reliability == SCTP_MAX_LIFETIME)
		m[1] = TYPE_TIMED;
	if (p->unordered)
		m[1] |= TYPE_UNORDERED;
	be16_store(m + 2, p->priority);
	be32_store(m + 4, p->reliability == SCTP_RELIABLE ? 0 : p->limit);
	be16_store(m + 8, (uint16_t)p->label_len);
	be16_store(m + 10, (uint16_t)p->protocol_len);
	memcpy(m + OPEN_FIXED, p->label, p->label_len);
	memcpy(m + OPEN_FIXED + p->label_len, p->protocol, p->protocol_len);
	return OPEN_FIXED + p->label_len + p->protocol_len;
}

int dcep_output(struct dcep *d, struct dcep_output *out)
{
	while (d->output_first != NULL) {
		const struct output *o = d->output_first;
		const struct channel *c = lookup(d, o->stream);

		*out = (struct dcep_output){
			.type = o->type,
			.options = {.stream = o->stream, .ppid = DCEP_PPID_CONTROL}};
		if (o->type == DCEP_OUTPUT_RESET)
			return 1;
		if (c == NULL) {
			output_pop(d); /* closed before it could be said */
			continue;
		}
		d->message[0] = MSG_ACK;
		out->data = d->message;
		out->len = o->message == MSG_OPEN ? write_open(d, &c->params) : 1;
		return 1;
	}
	return 0;
}

void dcep_output_done(struct dcep *d)
{
	if (d->output_first != NULL)
		output_pop(d);
}

int dcep_event(struct dcep *d, struct dcep_event *out)
{
	struct event *e = d->event_first;

	unref(d->lent);
	d->lent = NULL;
	if (e == NULL)
		return 0;
	*out = (struct dcep_event){.type = e->type, .stream = e->stream};
	if (e->channel != NULL) {
		out->params = e->channel->params;
		d->lent = e->channel;
		d->lent->refs++;
	}
	event_pop(d);
	return 1;
}

int dcep_params(const struct dcep *d, uint16_t stream, struct dcep_params *out)
{
	const struct channel *c = lookup(d, stream);

	if (c == NULL)
		return DCEP_NO_CHANNEL;
	*out = c->params;
	return 0;
}

bool dcep_is_open(const struct dcep *d, uint16_t stream)
{
	const struct channel *c = lookup(d, stream);

	return c != NULL && c->state == STATE_OPEN;
}

size_t dcep_count(const struct dcep *d)
{
	return d->count;
}

const struct dcep_counters *dcep_counters(const struct dcep *d)
{
	return &d->counters;
}
