/* SPDX-License-Identifier: MIT */

#include "proto/sig/ctl.h"

#include "base/bytes.h"
#include "base/err.h"

#include <errno.h>
#include <string.h>

#define PART_HEAD_SIZE  10 /* type, content, id, index, count */
#define PARTS_COUNT_MAX ((CTL_PARTS_MAX + CTL_PART_DATA_MAX - 1) / CTL_PART_DATA_MAX)

_Static_assert(PART_HEAD_SIZE + CTL_PART_DATA_MAX <= CTL_SIZE_MAX, "a full part is one message");
_Static_assert(PARTS_COUNT_MAX <= UINT16_MAX, "the count of parts is 16 bits");

static bool part_is_ok(const struct ctl_part *p)
{
	if (p->count == 0 || p->count > PARTS_COUNT_MAX || p->index >= p->count)
		return false;
	if (p->n == 0 || p->n > CTL_PART_DATA_MAX)
		return false;
	return p->index == p->count - 1 || p->n == CTL_PART_DATA_MAX;
}

static void write_hello(struct bytes_writer *w, const struct ctl_hello *m)
{
	bytes_write_u16(w, m->version_lo);
	bytes_write_u16(w, m->version_hi);
	bytes_write_u32(w, m->features);
	bytes_write_u64(w, m->session);
	bytes_write_u64(w, m->epoch);
	bytes_write(w, m->doc_hash, sizeof(m->doc_hash));
}

static void write_part(struct bytes_writer *w, const struct ctl_part *m)
{
	if (!part_is_ok(m)) {
		w->ok = false;
		return;
	}
	bytes_write_u8(w, m->content);
	bytes_write_u32(w, m->id);
	bytes_write_u16(w, m->index);
	bytes_write_u16(w, m->count);
	bytes_write(w, m->data, m->n);
}

static void write_leave(struct bytes_writer *w, const struct ctl_leave *m)
{
	bytes_write_u64(w, m->session);
	bytes_write_u64(w, (uint64_t)m->unix_s);
	bytes_write(w, m->sig, sizeof(m->sig));
}

static void write_path_report(struct bytes_writer *w, const struct ctl_path_report *m)
{
	bytes_write_u8(w, m->kind);
	bytes_write_u16(w, m->mtu);
	bytes_write_u32(w, m->rtt_us);
	bytes_write_u64(w, m->rx_packets);
	bytes_write_u64(w, m->rx_bytes);
	bytes_write_u64(w, m->rx_lost);
}

size_t ctl_build(const struct ctl_msg *msg, uint8_t out[static CTL_SIZE_MAX])
{
	struct bytes_writer w = bytes_writer(out, CTL_SIZE_MAX);

	bytes_write_u8(&w, (uint8_t)msg->type);
	switch (msg->type) {
	case CTL_HELLO:
		write_hello(&w, &msg->hello);
		break;
	case CTL_CONFIRM:
		bytes_write(&w, msg->confirm.sig, sizeof(msg->confirm.sig));
		break;
	case CTL_PING:
	case CTL_PONG:
		bytes_write_u64(&w, msg->ping.id);
		break;
	case CTL_DOC_REQUEST:
		bytes_write_u64(&w, msg->doc_request.have_epoch);
		break;
	case CTL_PART:
		write_part(&w, &msg->part);
		break;
	case CTL_LEAVE:
		write_leave(&w, &msg->leave);
		break;
	case CTL_PATH_REPORT:
		write_path_report(&w, &msg->path_report);
		break;
	case CTL_BYE:
		bytes_write_u8(&w, msg->bye.reason);
		break;
	}
	return w.ok ? w.used : 0;
}

static bool read_hello(struct bytes_reader *r, struct ctl_hello *m)
{
	m->version_lo = bytes_read_u16(r);
	m->version_hi = bytes_read_u16(r);
	m->features = bytes_read_u32(r);
	m->session = bytes_read_u64(r);
	m->epoch = bytes_read_u64(r);
	bytes_read_into(r, m->doc_hash, sizeof(m->doc_hash));
	return m->version_lo > 0 && m->version_lo <= m->version_hi &&
	       m->epoch <= DOCUMENT_EPOCH_MAX;
}

static bool read_part(struct bytes_reader *r, struct ctl_part *m)
{
	m->content = bytes_read_u8(r);
	m->id = bytes_read_u32(r);
	m->index = bytes_read_u16(r);
	m->count = bytes_read_u16(r);
	if (!r->ok)
		return false;
	m->n = r->left;
	m->data = bytes_read(r, r->left);
	return part_is_ok(m);
}

static bool read_leave(struct bytes_reader *r, struct ctl_leave *m)
{
	m->session = bytes_read_u64(r);
	uint64_t unix_s = bytes_read_u64(r);
	bytes_read_into(r, m->sig, sizeof(m->sig));
	m->unix_s = (int64_t)unix_s;
	return unix_s <= INT64_MAX;
}

static void read_path_report(struct bytes_reader *r, struct ctl_path_report *m)
{
	m->kind = bytes_read_u8(r);
	m->mtu = bytes_read_u16(r);
	m->rtt_us = bytes_read_u32(r);
	m->rx_packets = bytes_read_u64(r);
	m->rx_bytes = bytes_read_u64(r);
	m->rx_lost = bytes_read_u64(r);
}

int ctl_parse(struct ctl_msg *out, const void *bytes, size_t n)
{
	struct bytes_reader r = bytes_reader(bytes, n);
	struct ctl_msg msg = {0};
	bool ok = true;

	if (n == 0 || n > CTL_SIZE_MAX)
		return CTL_BAD;
	uint8_t type = bytes_read_u8(&r);
	if (type < CTL_HELLO || type > CTL_BYE)
		return CTL_UNKNOWN;
	msg.type = (enum ctl_type)type;
	switch (msg.type) {
	case CTL_HELLO:
		ok = read_hello(&r, &msg.hello);
		break;
	case CTL_CONFIRM:
		bytes_read_into(&r, msg.confirm.sig, sizeof(msg.confirm.sig));
		break;
	case CTL_PING:
	case CTL_PONG:
		msg.ping.id = bytes_read_u64(&r);
		break;
	case CTL_DOC_REQUEST:
		msg.doc_request.have_epoch = bytes_read_u64(&r);
		break;
	case CTL_PART:
		ok = read_part(&r, &msg.part);
		break;
	case CTL_LEAVE:
		ok = read_leave(&r, &msg.leave);
		break;
	case CTL_PATH_REPORT:
		read_path_report(&r, &msg.path_report);
		break;
	case CTL_BYE:
		msg.bye.reason = bytes_read_u8(&r);
		break;
	}
	if (!ok || !r.ok)
		return CTL_BAD;
	*out = msg;
	return CTL_OK;
}

size_t ctl_part_count(size_t n)
{
	return n <= CTL_PARTS_MAX ? (n + CTL_PART_DATA_MAX - 1) / CTL_PART_DATA_MAX : 0;
}

void ctl_part_cut(struct ctl_part *part, enum ctl_content content, uint32_t id, size_t index,
                  const void *bytes, size_t n)
{
	size_t at = index * CTL_PART_DATA_MAX;

	*part = (struct ctl_part){
		.content = (uint8_t)content,
		.id = id,
		.index = (uint16_t)index,
		.count = (uint16_t)ctl_part_count(n),
		.data = (const uint8_t *)bytes + at,
		.n = GV_MIN(n - at, (size_t)CTL_PART_DATA_MAX),
	};
}

void ctl_parts_init(struct ctl_parts *parts)
{
	*parts = (struct ctl_parts){.bytes = BUF_INIT(CTL_PARTS_MAX)};
}

void ctl_parts_deinit(struct ctl_parts *parts)
{
	buf_deinit(&parts->bytes);
	parts->count = 0;
}

int ctl_parts_add(struct ctl_parts *parts, const struct ctl_part *part)
{
	if (part_is_ok(part) && part->index == 0) {
		buf_deinit(&parts->bytes);
		parts->content = part->content;
		parts->id = part->id;
		parts->count = part->count;
		parts->next = 0;
	}
	if (!part_is_ok(part) || parts->count == 0 || part->index != parts->next ||
	    part->count != parts->count || part->id != parts->id ||
	    part->content != parts->content) {
		ctl_parts_deinit(parts);
		return CTL_PARTS_BAD;
	}
	int r = buf_add(&parts->bytes, part->data, part->n);
	if (r < 0) {
		ctl_parts_deinit(parts);
		return r == -ENOBUFS ? CTL_PARTS_BAD : err_up(r);
	}
	if (++parts->next < parts->count)
		return CTL_PARTS_MORE;
	parts->count = 0;
	return CTL_PARTS_DONE;
}
