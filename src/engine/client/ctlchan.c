/* SPDX-License-Identifier: MIT */

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/client/mesh_impl.h"

#include <errno.h>
#include <string.h>

LOG_MODULE("ctl");

/* Parts sent at once and the pause between: 800 kB/s, far below what a path carries. */
#define PARTS_AT_ONCE  16
#define PARTS_PAUSE_US 20000u

static int send_msg(struct link *l, const struct ctl_msg *msg)
{
	uint8_t bytes[CTL_SIZE_MAX];
	size_t n = ctl_build(msg, bytes);

	if (n == 0 || !l->ctl_open)
		return -EINVAL;
	return dataplane_ctl_send(l->peer->mesh->c.dataplane, l->handle, bytes, n);
}

/* For messages whose loss ends the link by itself (a timeout of setup, a path that goes quiet). */
static void send_or_log(struct link *l, const struct ctl_msg *msg)
{
	int r = send_msg(l, msg);

	if (r < 0)
		log_debug("ctl message %d not sent: %d", (int)msg->type, r);
}

static void say_hello(struct link *l)
{
	const struct mesh *m = l->peer->mesh;
	struct ctl_msg msg = {.type = CTL_HELLO};

	msg.hello.version_lo = CTL_VERSION;
	msg.hello.version_hi = CTL_VERSION;
	msg.hello.features = CTL_FEATURE_TUNNEL | CTL_FEATURE_PARTIAL;
	msg.hello.session = m->c.session;
	msg.hello.epoch = m->c.doc->epoch;
	memcpy(msg.hello.doc_hash, m->c.doc->hash, DOCUMENT_HASH_SIZE);
	if (send_msg(l, &msg) == 0)
		l->told_epoch = m->c.doc->epoch;
}

/* Asks for a document newer than this epoch. */
static void ask_document(struct link *l, uint64_t have_epoch)
{
	struct ctl_msg msg = {.type = CTL_DOC_REQUEST, .doc_request.have_epoch = have_epoch};

	l->ask_again = send_msg(l, &msg) < 0;
}

void ctlchan_catch_up(struct link *l)
{
	const struct document *doc = l->peer->mesh->c.doc;

	if (!l->ctl_open)
		return;
	if (l->told_epoch < doc->epoch)
		say_hello(l);
	if (l->ask_again)
		ask_document(l, doc->epoch);
}

void ctlchan_open(struct link *l, uint64_t now_us)
{
	l->ctl_open = true;
	if (l->offerer) {
		struct ctl_msg msg = {.type = CTL_CONFIRM};

		int r = proof_confirm_sign(&l->offer, &l->answer, l->peer->mesh->c.id,
		                           msg.confirm.sig);
		if (r < 0) {
			(void)log_err(r,
			              "ctl.confirm"); /* the link fails below and is tried again */
			link_fail(l, "confirmation cannot be signed", now_us);
			return;
		}
		send_or_log(l, &msg);
	}
	say_hello(l);
}

void ctlchan_bye(struct link *l, enum ctl_bye_reason reason)
{
	struct ctl_msg msg = {.type = CTL_BYE, .bye.reason = (uint8_t)reason};

	if (l->ctl_open)
		send_or_log(l, &msg);
}

int ctlchan_ping(struct link *l, uint64_t id, uint64_t now_us)
{
	struct ctl_msg msg = {.type = CTL_PING, .ping.id = id};

	if (send_msg(l, &msg) < 0)
		return MESH_REFUSED;
	l->pings[l->n_pings++ % LINK_PINGS] = (struct link_ping){.id = id, .at_us = now_us};
	return MESH_OK;
}

void ctlchan_leave(struct link *l, const struct proof_leave *leave)
{
	struct ctl_msg msg = {.type = CTL_LEAVE};

	msg.leave.session = leave->session;
	msg.leave.unix_s = leave->unix_s;
	memcpy(msg.leave.sig, leave->sig, SIG_SIGNATURE_SIZE);
	send_or_log(l, &msg);
}

static int send_part(struct link *l, enum ctl_content content, uint32_t id, size_t i,
                     const void *bytes, size_t n)
{
	struct ctl_msg msg = {.type = CTL_PART};

	ctl_part_cut(&msg.part, content, id, i, bytes, n);
	return send_msg(l, &msg);
}

void ctlchan_content(struct link *l, enum ctl_content content, const void *bytes, size_t n)
{
	size_t count = ctl_part_count(n);

	/* One content at a time (ctl_parts): nothing may come between the parts of a document. */
	if (count == 0 || l->doc_out.len > 0) {
		log_debug("content of %zu bytes not sent", n);
		return;
	}
	uint32_t id = ++l->next_content_id;
	for (size_t i = 0; i < count; i++)
		if (send_part(l, content, id, i, bytes, n) < 0)
			return;
}

void ctlchan_timeout(struct link *l, uint64_t now_us)
{
	size_t count = ctl_part_count(l->doc_out.len);

	(void)now_us;
	for (unsigned k = 0; k < PARTS_AT_ONCE && l->doc_next < count; k++) {
		if (send_part(l, CTL_CONTENT_DOCUMENT, l->doc_id, l->doc_next, l->doc_out.data,
		              l->doc_out.len) < 0)
			return; /* lane full: the same part again next time */
		l->doc_next++;
	}
	if (l->doc_next == count)
		buf_deinit(&l->doc_out);
}

uint64_t ctlchan_deadline_us(const struct link *l)
{
	return l->doc_out.len > 0 ? l->doc_at_us + PARTS_PAUSE_US : CLOCK_NEVER;
}

static void send_document(struct link *l, uint64_t have_epoch, uint64_t now_us)
{
	const struct document *doc = l->peer->mesh->c.doc;

	if (doc->epoch <= have_epoch || l->doc_out.len > 0)
		return;
	l->doc_out = BUF_INIT(DOCUMENT_SIZE_MAX);
	int r = document_encode(doc, &l->doc_out);
	if (r < 0) {
		(void)log_err(r, "ctl.document"); /* the peer asks again after the next hello */
		buf_deinit(&l->doc_out);
		return;
	}
	l->doc_id = ++l->next_content_id;
	l->doc_next = 0;
	l->doc_at_us = now_us;
	ctlchan_timeout(l, now_us);
}

/* Only the owner can end it, by a newer document, once it has seen its signature under the other one. */
static void take_fork(struct link *l, uint64_t epoch)
{
	const struct mesh *m = l->peer->mesh;

	log_limited(LOG_LEVEL_WARN, 5, "document.fork", LOG_U64("epoch", epoch),
	            LOG_STR("peer", l->peer->admission.label));
	if (memcmp(m->c.doc->owner, m->key, SIG_KEY_SIZE) == 0)
		ask_document(l, epoch - 1);
}

static void take_hello(struct link *l, const struct ctl_hello *h, uint64_t now_us)
{
	struct mesh *m = l->peer->mesh;

	if (h->version_lo > CTL_VERSION || h->version_hi < CTL_VERSION) {
		ctlchan_bye(l, CTL_BYE_REFUSED);
		link_fail(l, "no common version", now_us);
		return;
	}
	if (h->epoch > m->c.doc->epoch)
		ask_document(l, m->c.doc->epoch);
	else if (h->epoch < m->c.doc->epoch)
		say_hello(l); /* it took an older one while a newer came: it asks after this */
	else if (h->epoch == m->c.doc->epoch &&
	         memcmp(h->doc_hash, m->c.doc->hash, DOCUMENT_HASH_SIZE) != 0)
		take_fork(l, h->epoch);
	if (l->hello_got)
		return;
	l->hello_got = true;
	int r = 0;
	if ((h->features & CTL_FEATURE_TUNNEL) != 0)
		r = dataplane_link_tunnel(m->c.dataplane, l->handle);
	if (r == 0 && (h->features & CTL_FEATURE_PARTIAL) != 0)
		r = dataplane_link_partial(m->c.dataplane, l->handle);
	if (r < 0)
		link_fail(l, "command lane full", now_us);
}

static void take_confirm(struct link *l, const struct ctl_confirm *c, uint64_t now_us)
{
	struct mesh *m = l->peer->mesh;

	if (l->offerer || l->confirmed)
		return;
	int r = proof_confirm_verify(&l->offer, &l->answer, c->sig);
	if (r != PROOF_OK) {
		(void)mesh_refuse(m, l->peer->key, "confirmation with a bad signature");
		ctlchan_bye(l, CTL_BYE_REFUSED);
		link_fail(l, "not confirmed", now_us);
		return;
	}
	l->confirmed = true;
	r = dataplane_link_allow_ip(m->c.dataplane, l->handle);
	if (r == 0)
		r = dataplane_link_open_ip(m->c.dataplane, l->handle);
	if (r < 0)
		link_fail(l, "command lane full", now_us);
	else
		l->ip_allowed = true;
}

static void take_document(struct link *l, const uint8_t *bytes, size_t n)
{
	struct mesh *m = l->peer->mesh;
	gv_cleanup(document_freep) struct document *doc = NULL;
	struct mesh_event e = {.type = MESH_EVENT_DOCUMENT};

	/* One at a time is looked at; a newer one is asked for at the next hello. */
	if (m->document_waits)
		return;
	int r = document_parse(&doc, bytes, n, m->c.doc->network_id, NULL);
	if (r != DOCUMENT_OK) {
		(void)mesh_refuse(m, l->peer->key, "document refused");
		return;
	}
	bool fork = doc->epoch == m->c.doc->epoch &&
	            memcmp(doc->hash, m->c.doc->hash, DOCUMENT_HASH_SIZE) != 0 &&
	            memcmp(doc->owner, m->key, SIG_KEY_SIZE) == 0;
	if (!fork && !document_follows(m->c.doc, doc))
		return; /* ours is as new by now */
	memcpy(e.key, l->peer->key, SIG_KEY_SIZE);
	mesh_emit(m, &e, bytes, n);
}

static void take_part(struct link *l, const struct ctl_part *part, uint64_t now_us)
{
	int r = ctl_parts_add(&l->parts, part);

	if (r == CTL_PARTS_DONE && l->parts.content == CTL_CONTENT_DOCUMENT)
		take_document(l, l->parts.bytes.data, l->parts.bytes.len);
	else if (r == CTL_PARTS_DONE && l->parts.content == CTL_CONTENT_SIGNAL)
		mesh_in_band(l->peer, l->parts.bytes.data, l->parts.bytes.len, now_us);
	else if (r == CTL_PARTS_BAD)
		(void)mesh_refuse(l->peer->mesh, l->peer->key, "parts out of order");
}

static void take_leave(struct link *l, const struct ctl_leave *c, uint64_t now_us)
{
	struct mesh *m = l->peer->mesh;
	struct proof_leave leave = {.session = c->session, .unix_s = c->unix_s};

	memcpy(leave.network_id, m->c.doc->network_id, NETID_SIZE);
	memcpy(leave.key, l->peer->key, SIG_KEY_SIZE);
	memcpy(leave.sig, c->sig, SIG_SIGNATURE_SIZE);
	int r = mesh_member_left(m, leave.key, &leave, now_us); /* l and its peer may be gone now */
	if (r < 0)
		(void)log_err(r, "ctl.leave"); /* the path dies by itself */
}

static void take_pong(struct link *l, uint64_t id, uint64_t now_us)
{
	struct mesh_event e = {.type = MESH_EVENT_PONG, .ping_id = id};

	for (unsigned i = 0; i < LINK_PINGS; i++) {
		if (l->pings[i].at_us == 0 || l->pings[i].id != id)
			continue;
		e.rtt_us = (uint32_t)GV_MIN(now_us - l->pings[i].at_us, (uint64_t)UINT32_MAX);
		memcpy(e.key, l->peer->key, SIG_KEY_SIZE);
		l->pings[i].at_us = 0;
		mesh_emit(l->peer->mesh, &e, NULL, 0);
		return;
	}
}

void ctlchan_input(struct link *l, const uint8_t *data, size_t len, uint64_t now_us)
{
	struct ctl_msg msg, pong = {.type = CTL_PONG};

	int r = ctl_parse(&msg, data, len);
	log_debug("link %u: ctl message of %zu bytes, result %d", l->handle, len, r);
	if (r == CTL_UNKNOWN)
		return;
	if (r != CTL_OK) {
		(void)mesh_refuse(l->peer->mesh, l->peer->key, "malformed ctl message");
		return;
	}
	/* Until its owner is confirmed, an offerer may say nothing but who it is. */
	if (!l->offerer && !l->confirmed && msg.type != CTL_CONFIRM) {
		(void)mesh_refuse(l->peer->mesh, l->peer->key,
		                  "ctl message before the confirmation");
		return;
	}
	switch (msg.type) {
	case CTL_HELLO:
		take_hello(l, &msg.hello, now_us);
		break;
	case CTL_CONFIRM:
		take_confirm(l, &msg.confirm, now_us);
		break;
	case CTL_PING:
		pong.ping = msg.ping;
		send_or_log(l, &pong);
		break;
	case CTL_PONG:
		take_pong(l, msg.ping.id, now_us);
		break;
	case CTL_DOC_REQUEST:
		send_document(l, msg.doc_request.have_epoch, now_us);
		break;
	case CTL_PART:
		take_part(l, &msg.part, now_us);
		break;
	case CTL_LEAVE:
		take_leave(l, &msg.leave, now_us);
		break;
	case CTL_PATH_REPORT:
		break; /* shown by a later version */
	case CTL_BYE:
		/* Until the server says it is back, there is nobody to offer to. */
		if (msg.bye.reason != CTL_BYE_REPLACED)
			l->peer->connected = false;
		link_fail(l, "peer said bye", now_us);
		break;
	}
}
