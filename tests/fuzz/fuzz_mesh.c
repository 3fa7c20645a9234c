/* SPDX-License-Identifier: MIT */

/*
 * A mesh of one computer between a hostile server and hostile members, whose signatures hold (fake_identity.c) and whose DTLS
 * goes as they like (fake_dtls.c): members, offers, answers, candidates in any order, with descriptions and candidates of the
 * input; authenticated STUN; messages on `ctl`, built or raw; documents; time.
 *
 * Input: bytes; the first says how far the first link is brought, then steps follow, see enum step.
 */

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/client/mesh_impl.h"
#include "proto/sdp/sdp.h"
#include "proto/sig/proof.h"
#include "proto/stun/msg.h"
#include "recording_dataplane.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PEERS      3 /* members 1 and 2, and a stranger with an invite that was withdrawn */
#define UNIX_S     1700000000
#define SESSION    100
#define PEER_UFRAG "peer"
#define PEER_PWD   "passwordpasswordpassword"
#define STEPS_MAX  64

enum step {
	STEP_MEMBER,
	STEP_OFFER,
	STEP_ANSWER,
	STEP_CANDIDATE,
	STEP_STUN_REQUEST,
	STEP_STUN_RESPONSE,
	STEP_STUN_RAW,
	STEP_HANDSHAKE,
	STEP_CTL_OPEN,
	STEP_CTL_RAW,
	STEP_CTL,
	STEP_LINK_EVENT,
	STEP_TIME,
	STEP_OWN,
	STEP_LEFT,
	STEP_LIST,
	STEP_IN_BAND,
	STEP_DOCUMENT,
	STEPS,
};

static struct {
	struct identity *id[PEERS + 1]; /* 0: ours */
	uint8_t key[PEERS + 1][SIG_KEY_SIZE];
	struct admission admission[PEERS + 1];
	struct document *doc;
	struct cert *cert;
} fixed;

static struct world {
	struct mesh *mesh;
	struct document *doc;
	uint64_t now_us;
	uint32_t handles;
	struct bytes_reader in;
	uint8_t nonce;
	/* What it said last. */
	struct msg_sdp sdp;
	enum msg_type sdp_type;
	char sdp_text[SDP_FORMAT_SIZE];
	char ufrag[ICE_UFRAG_MAX + 1], pwd[ICE_PWD_MAX + 1];
	/* The last offer of a peer, and the answer to it, for its confirmation. */
	struct proof_offer offer, answer;
	char offer_text[SDP_FORMAT_SIZE], answer_text[SDP_FORMAT_SIZE];
	uint8_t pushed[DOCUMENT_SIZE_MAX]; /* a document that a peer handed on */
	size_t pushed_len;
} w;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void make_document(void)
{
	struct buf out = BUF_INIT(DOCUMENT_SIZE_MAX);
	static const uint8_t salt[NETID_SALT_SIZE] = {1};
	struct netprefix subnet;

	must(netprefix_parse("10.83.12.0/24", &subnet));
	must(document_new(&fixed.doc, fixed.key[1], salt, "test", &subnet, NULL) == 0);
	must(document_add_member(fixed.doc, fixed.key[0]) == 0);
	must(document_add_member(fixed.doc, fixed.key[2]) == 0);
	must(document_sign(fixed.doc, fixed.id[1], &out) == 0);
	buf_deinit(&out);
}

static void make_fixed(void)
{
	if (fixed.doc != NULL)
		return;
	log_set_level(LOG_LEVEL_ERR);
	for (unsigned i = 0; i <= PEERS; i++) {
		const uint8_t seed[IDENTITY_SEED_SIZE] = {(uint8_t)(i == 0 ? 0x80 : i)};

		must(identity_from_seed(&fixed.id[i], seed) == 0);
		identity_public(fixed.id[i], fixed.key[i]);
	}
	make_document();
	must(cert_new(&fixed.cert, UNIX_S) == 0);
	for (unsigned i = 0; i <= PEERS; i++) {
		struct admission *a = &fixed.admission[i];

		memcpy(a->network_id, fixed.doc->network_id, NETID_SIZE);
		memcpy(a->key, fixed.key[i], SIG_KEY_SIZE);
		a->joined_unix_s = a->unix_s = UNIX_S;
		(void)snprintf(a->name, sizeof(a->name), "Computer %u", i);
		(void)snprintf(a->label, sizeof(a->label), "computer-%u", i);
		if (i == PEERS)
			must(admission_sign_invite(a, fixed.id[i]) == 0);
		must(admission_sign(a, fixed.id[i]) == 0);
	}
}

static struct netaddr tunnel_ip(unsigned i)
{
	return netaddr_ip4(0x0a530c01 + i, 0);
}

/* A result of the mesh: a refusal is one; an error only says that a command lane was full. */
static void took(int r)
{
	must(r >= 0 || r == -ENOBUFS);
}

/* --- what the mesh says ---------------------------------------------------------------------------- */

static void line_value(const char *sdp, const char *name, char *out, size_t size)
{
	const char *at = strstr(sdp, name);
	size_t n = at != NULL ? strcspn(at + strlen(name), "\r\n") : 0;

	must(at != NULL && n < size);
	memcpy(out, at + strlen(name), n);
	out[n] = '\0';
}

static void take_sdp(const struct mesh_event *e)
{
	must(strlen(e->sdp->sdp) < sizeof(w.sdp_text));
	w.sdp = *e->sdp;
	w.sdp_type = e->msg_type;
	memcpy(w.sdp_text, e->sdp->sdp, strlen(e->sdp->sdp) + 1);
	w.sdp.sdp = w.sdp_text;
	line_value(w.sdp_text, "a=ice-ufrag:", w.ufrag, sizeof(w.ufrag));
	line_value(w.sdp_text, "a=ice-pwd:", w.pwd, sizeof(w.pwd));
	if (e->msg_type == MSG_SDP_ANSWER) {
		memcpy(w.answer_text, w.sdp_text, sizeof(w.answer_text));
		msg_sdp_to_proof(&w.sdp, &w.answer);
		memcpy(w.answer.from, fixed.key[0], SIG_KEY_SIZE);
		w.answer.sdp = w.answer_text;
	}
}

static void drain(void)
{
	struct mesh_event e;
	struct dataplane_event gone;

	while (recording_next(&gone))
		mesh_dataplane_event(w.mesh, &gone, w.now_us);
	while (mesh_event(w.mesh, &e) == 1) {
		if (e.type == MESH_EVENT_SIGNAL && e.msg_type != MSG_ICE_CANDIDATE)
			take_sdp(&e);
		if (e.type == MESH_EVENT_DOCUMENT && e.len <= sizeof(w.pushed)) {
			memcpy(w.pushed, e.data, e.len);
			w.pushed_len = e.len;
		}
	}
	for (size_t i = 0; i < mesh_peer_count(w.mesh); i++) {
		struct mesh_peer_status s;

		mesh_peer_status(w.mesh, i, &s);
		/* The stranger is nobody, whatever is said of it. */
		must(memcmp(s.key, fixed.key[PEERS], SIG_KEY_SIZE) != 0);
	}
}

/* --- what the server and the members say ------------------------------------------------------------ */

static const uint8_t *take(size_t *n, size_t max)
{
	*n = bytes_read_u16(&w.in);
	*n = GV_MIN(*n, max);
	*n = GV_MIN(*n, w.in.left);
	return bytes_read(&w.in, *n);
}

static unsigned some_peer(uint8_t how)
{
	return 1 + how % PEERS;
}

static void say_member(uint8_t how)
{
	unsigned i = some_peer(how);
	struct mesh_member m = {.admission = fixed.admission[i],
	                        .ip4 = tunnel_ip(how & 4   ? 0
	                                         : how & 8 ? 9
	                                                   : i),
	                        .session = how & 16 ? 7 : SESSION + i,
	                        .connected = (how & 32) == 0};

	if ((how & 8) != 0) {
		m.admission.unix_s += 5;
		m.admission.joined_unix_s += how & 64 ? 5 : 0;
		must(admission_sign(&m.admission, fixed.id[i]) == 0);
	}
	took(mesh_member(w.mesh, &m, how & 128 ? MESH_NEWS_LIST : MESH_NEWS_NOTICE, w.now_us));
}

/* A description: the usual one with a text of the input in it, or only that text. */
static void make_sdp(char *out, size_t size, const char *setup, uint8_t how)
{
	size_t n;
	const char *p = (const char *)take(&n, 1000);

	if (p == NULL)
		p = "";
	if ((how & 8) != 0) {
		(void)snprintf(out, size, "%.*s", (int)n, p);
		return;
	}
	(void)snprintf(
		out, size,
		"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
		"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n"
		"a=ice-ufrag:" PEER_UFRAG "\r\na=ice-pwd:" PEER_PWD "\r\na=ice-options:trickle\r\n"
		"a=fingerprint:sha-256 "
		"AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:"
		"AB:AB:AB:AB\r\na=setup:%s\r\na=sctp-port:5000\r\n%s%.*s",
		setup, how & 16 ? "" : "a=candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host\r\n",
		(int)n, p);
}

/* One field is wrong, perhaps, after the signature or before it. */
static void spoil(struct msg_sdp *msg, uint8_t how)
{
	switch (how & 15) {
	case 1:
		msg->has_sender = false;
		break;
	case 2:
		msg->network_id[0] ^= 1;
		break;
	case 3:
		msg->target_id[0] ^= 1;
		break;
	case 4:
		msg->address = tunnel_ip(9);
		break;
	case 5:
		msg->signature[5] ^= 1;
		break;
	case 6:
		msg->offer_nonce[0] ^= 1;
		break;
	case 7:
		memcpy(msg->sender_id, fixed.key[PEERS], SIG_KEY_SIZE);
		break;
	default:
		break;
	}
}

static void fill(struct proof_offer *o, unsigned i, uint8_t how)
{
	memcpy(o->network_id, fixed.doc->network_id, NETID_SIZE);
	memcpy(o->from, fixed.key[i], SIG_KEY_SIZE);
	memcpy(o->to, fixed.key[0], SIG_KEY_SIZE);
	o->ip4 = netaddr_u32(&(struct netaddr){0}) | (0x0a530c01 + i);
	o->session = how & 32 ? 7 : SESSION + i;
	o->nonce[0] = how & 64 ? 0 : ++w.nonce;
}

/* Straight, or in-band through a link. */
static void hand_on(struct msg_sdp *msg, enum msg_type type, bool in_band);

static void say_offer(uint8_t how, bool in_band)
{
	unsigned i = some_peer(how);
	struct msg_sdp msg = {0};
	uint8_t wrong = bytes_read_u8(&w.in);
	struct proof_offer o = {.sdp = w.offer_text};

	make_sdp(w.offer_text, sizeof(w.offer_text), how & 128 ? "active" : "actpass", how);
	fill(&o, i, how);
	if (proof_offer_sign(&o, fixed.id[i]) < 0)
		return;
	msg_sdp_from_proof(&msg, &o);
	msg.has_sender = true;
	memcpy(msg.sender_id, fixed.key[i], SIG_KEY_SIZE);
	w.offer = o;
	spoil(&msg, wrong);
	hand_on(&msg, MSG_SDP_OFFER, in_band);
}

/* Answers the last offer. */
static void say_answer(uint8_t how, bool in_band)
{
	static char text[SDP_FORMAT_SIZE];
	struct msg_sdp msg = {0};
	uint8_t wrong = bytes_read_u8(&w.in);
	struct proof_offer offer, answer = {.sdp = text};
	unsigned i = 1;

	make_sdp(text, sizeof(text), how & 128 ? "actpass" : "active", how);
	if (w.sdp_type != MSG_SDP_OFFER)
		return;
	msg_sdp_to_proof(&w.sdp, &offer);
	memcpy(offer.from, fixed.key[0], SIG_KEY_SIZE);
	while (i < PEERS && memcmp(fixed.key[i], w.sdp.target_id, SIG_KEY_SIZE) != 0)
		i++;
	fill(&answer, i, how);
	if (proof_answer_sign(&answer, &offer, fixed.id[i]) < 0)
		return;
	msg_sdp_from_proof(&msg, &answer);
	memcpy(msg.offer_nonce, offer.nonce, PROOF_NONCE_SIZE);
	msg.has_sender = true;
	memcpy(msg.sender_id, fixed.key[i], SIG_KEY_SIZE);
	spoil(&msg, wrong);
	hand_on(&msg, MSG_SDP_ANSWER, in_band);
}

static void say_candidate(uint8_t how)
{
	char text[300];
	size_t n;
	const char *p = (const char *)take(&n, 250);
	struct msg_ice_candidate c = {
		.mid = "0", .ufrag = PEER_UFRAG, .has_sender = (how & 8) == 0};

	(void)snprintf(text, sizeof(text), "%s%.*s",
	               how & 16 ? "" : "candidate:2 1 udp 2130706431 192.0.2.8 5000 typ host",
	               (int)n, p != NULL ? p : "");
	memcpy(c.network_id, fixed.doc->network_id, NETID_SIZE);
	memcpy(c.target_id, fixed.key[how & 64 ? 1 : 0], SIG_KEY_SIZE);
	memcpy(c.sender_id, fixed.key[some_peer(how)], SIG_KEY_SIZE);
	memcpy(c.nonce, w.sdp_type == MSG_SDP_OFFER ? w.sdp.nonce : w.offer.nonce,
	       PROOF_NONCE_SIZE);
	c.candidate = how & 4 ? NULL : text;
	c.end_of_candidates = (how & 32) != 0;
	took(mesh_candidate(w.mesh, &c, w.now_us));
}

/* --- what the data plane says ------------------------------------------------------------------------ */

static void event(enum dataplane_event_type type, uint8_t which, const void *data, size_t len)
{
	const struct recording_link *l = recording_link(which);
	struct dataplane_event e = {.type = type,
	                            .net = 1,
	                            .tun_fd = -1,
	                            .local = netaddr_ip4(0xc0000201, 5000),
	                            .remote = netaddr_ip4(0xc0000207 + (which & 1), 5000),
	                            .data = data,
	                            .len = len};

	e.link = l != NULL ? l->handle : which;
	if (l != NULL && type != DATAPLANE_EVENT_STUN)
		atomic_store(&l->shared->heard_us, w.now_us);
	mesh_dataplane_event(w.mesh, &e, w.now_us);
}

static void stun_request(uint8_t how)
{
	uint8_t out[256], id[STUN_ID_SIZE] = {++w.nonce};
	char name[sizeof(w.ufrag) + sizeof(PEER_UFRAG)];
	struct stun_writer sw;

	(void)snprintf(name, sizeof(name), "%s:" PEER_UFRAG, w.ufrag); /* fits */
	stun_begin(&sw, out, sizeof(out), STUN_CLASS_REQUEST, STUN_METHOD_BINDING, id);
	stun_put_username(&sw, name, strlen(name));
	stun_put_priority(&sw, 1845501695);
	if ((how & 1) != 0)
		stun_put_use_candidate(&sw);
	if (w.sdp_type == MSG_SDP_OFFER)
		stun_put_controlled(&sw, 5);
	else
		stun_put_controlling(&sw, 5);
	stun_put_integrity(&sw, w.pwd, strlen(w.pwd));
	event(DATAPLANE_EVENT_STUN, how >> 1 & 1, out, stun_end(&sw));
}

static void stun_response(void)
{
	uint8_t out[256];
	struct stun_writer sw;
	struct dataplane_event e = {.type = DATAPLANE_EVENT_STUN,
	                            .net = 1,
	                            .tun_fd = -1,
	                            .local = recording.stun_local,
	                            .remote = recording.stun_remote,
	                            .data = out};

	if (recording.stun_len == 0)
		return;
	stun_begin(&sw, out, sizeof(out), STUN_CLASS_SUCCESS, STUN_METHOD_BINDING,
	           recording.stun + 8);
	stun_put_xor_mapped(&sw, &recording.stun_local);
	stun_put_integrity(&sw, PEER_PWD, strlen(PEER_PWD));
	e.len = stun_end(&sw);
	mesh_dataplane_event(w.mesh, &e, w.now_us);
}

static void say_ctl(uint8_t which, const struct ctl_msg *msg)
{
	uint8_t bytes[CTL_SIZE_MAX];
	size_t n = ctl_build(msg, bytes);

	if (n > 0)
		event(DATAPLANE_EVENT_CTL, which, bytes, n);
}

static void say_content(uint8_t which, enum ctl_content content, const void *bytes, size_t n)
{
	static uint32_t id;

	for (size_t i = 0; i < ctl_part_count(n); i++) {
		struct ctl_msg msg = {.type = CTL_PART};

		ctl_part_cut(&msg.part, content, ++id, i, bytes, n);
		msg.part.id = id - (uint32_t)i;
		say_ctl(which, &msg);
	}
}

static void hand_on(struct msg_sdp *msg, enum msg_type type, bool in_band)
{
	struct msg m = {.type = type, .sdp = *msg};
	struct buf text = BUF_INIT(MSG_SIZE_TO_SERVER_MAX);

	if (!in_band) {
		took(type == MSG_SDP_OFFER ? mesh_offer(w.mesh, msg, w.now_us)
		                           : mesh_answer(w.mesh, msg, w.now_us));
		return;
	}
	m.sdp.has_sender = false;
	if (msg_format(&m, &text) == 0)
		say_content(0, CTL_CONTENT_SIGNAL, text.data, text.len);
	buf_deinit(&text);
}

/* The next document of the owner, by a peer. */
static void say_document(uint8_t how)
{
	struct buf out = BUF_INIT(DOCUMENT_SIZE_MAX);
	struct document *next;

	must(document_dup(&next, w.doc) == 0);
	if ((how & 1) != 0)
		must(document_ban(next, fixed.key[2]) == DOCUMENT_OK);
	if ((how & 2) != 0)
		document_clear_invites(next);
	must(document_sign(next, fixed.id[1], &out) == 0);
	if ((how & 4) != 0)
		out.data[out.len - 1 - how % 64] ^= 1;
	say_content(how >> 3, CTL_CONTENT_DOCUMENT, out.data, out.len);
	document_free(next);
	buf_deinit(&out);
}

static void ctl_message(uint8_t how)
{
	struct ctl_msg msg = {.type = (enum ctl_type)(1 + how % 9)};
	uint8_t which = bytes_read_u8(&w.in), arg = bytes_read_u8(&w.in);
	struct proof_leave leave = {.session = SESSION + 1, .unix_s = UNIX_S + (arg & 1)};

	switch (msg.type) {
	case CTL_HELLO:
		msg.hello = (struct ctl_hello){.version_lo = arg & 3,
		                               .version_hi = 1 + (arg & 4),
		                               .features = arg >> 3,
		                               .epoch = w.doc->epoch + (arg >> 6) - 1};
		memcpy(msg.hello.doc_hash, w.doc->hash, sizeof(msg.hello.doc_hash));
		break;
	case CTL_CONFIRM:
		w.offer.sdp = w.offer_text;
		if (w.answer.sdp == NULL ||
		    proof_confirm_sign(&w.offer, &w.answer, fixed.id[1], msg.confirm.sig) < 0)
			return;
		msg.confirm.sig[0] ^= arg & 1;
		break;
	case CTL_PING:
	case CTL_PONG:
		msg.ping.id = arg;
		break;
	case CTL_DOC_REQUEST:
		msg.doc_request.have_epoch = arg & 3;
		break;
	case CTL_PART:
		say_document(arg);
		return;
	case CTL_LEAVE:
		memcpy(leave.network_id, fixed.doc->network_id, NETID_SIZE);
		memcpy(leave.key, fixed.key[1], SIG_KEY_SIZE);
		must(proof_leave_sign(&leave, fixed.id[1]) == 0);
		msg.leave = (struct ctl_leave){.session = leave.session, .unix_s = leave.unix_s};
		memcpy(msg.leave.sig, leave.sig, sizeof(msg.leave.sig));
		msg.leave.sig[0] ^= arg & 2;
		break;
	case CTL_PATH_REPORT:
		break;
	case CTL_BYE:
		msg.bye.reason = arg & 3;
		break;
	}
	say_ctl(which, &msg);
}

/* --- what its owner does ------------------------------------------------------------------------------ */

static void pass_time(uint8_t how)
{
	uint64_t due_us = mesh_deadline_us(w.mesh);

	if (how < 128)
		w.now_us = due_us != CLOCK_NEVER ? GV_MAX(w.now_us, due_us) : w.now_us;
	else
		w.now_us += UINT64_C(1) << (10 + how % 28);
	for (unsigned i = 0; i < 6 && mesh_deadline_us(w.mesh) <= w.now_us; i++) {
		mesh_timeout(w.mesh, w.now_us);
		drain();
	}
}

static void own(uint8_t how)
{
	uint8_t arg = bytes_read_u8(&w.in);
	struct netaddr hosts[2] = {netaddr_ip4(0xc0000201 + (arg & 3), 0),
	                           netaddr_ip4(0xc6336407, 0)};
	struct netaddr stun = netaddr_ip4(0xcb007101, 3478);
	struct proof_leave leave = {.session = SESSION};

	switch (how % 7) {
	case 0:
		mesh_set_addresses(w.mesh, hosts, arg >> 4 & 1 ? 2 : 1, w.now_us);
		break;
	case 1:
		mesh_set_signaling(w.mesh, (arg & 1) != 0, w.now_us);
		break;
	case 2:
		mesh_set_stun(w.mesh, &stun, arg & 1, w.now_us);
		break;
	case 3:
		(void)!mesh_ping(w.mesh, fixed.key[some_peer(arg)], arg, w.now_us);
		break;
	case 4:
		mesh_say_leave(w.mesh, &leave);
		break;
	case 5:
		recording.refuses = (arg & 1) != 0;
		break;
	default:
		mesh_close(w.mesh, CTL_BYE_DOWN, w.now_us);
		break;
	}
}

static void left(uint8_t how)
{
	unsigned i = some_peer(how);
	struct proof_leave leave = {.session = how & 8 ? 7 : SESSION + i,
	                            .unix_s = UNIX_S + (how & 4) - 1};

	memcpy(leave.network_id, fixed.doc->network_id, NETID_SIZE);
	memcpy(leave.key, fixed.key[how & 16 ? 2 : i], SIG_KEY_SIZE);
	must(proof_leave_sign(&leave, fixed.id[i]) == 0);
	leave.sig[0] ^= how & 32 ? 1 : 0;
	took(mesh_member_left(w.mesh, fixed.key[i], how & 64 ? NULL : &leave, w.now_us));
}

/* What a peer handed on is taken as the supervisor does. */
static void set_document(uint8_t how)
{
	struct document *doc;

	if (w.pushed_len == 0 || (how & 1) == 0 ||
	    document_parse(&doc, w.pushed, w.pushed_len, fixed.doc->network_id, NULL) !=
	            DOCUMENT_OK)
		return;
	if (!document_follows(w.doc, doc)) {
		document_free(doc);
		return;
	}
	mesh_set_document(w.mesh, doc, w.now_us);
	document_free(w.doc);
	w.doc = doc;
}

static void step(void)
{
	uint8_t op = bytes_read_u8(&w.in) % STEPS, how = bytes_read_u8(&w.in);
	size_t n;
	const uint8_t *p;

	switch ((enum step)op) {
	case STEP_MEMBER:
		say_member(how);
		break;
	case STEP_OFFER:
		say_offer(how, false);
		break;
	case STEP_ANSWER:
		say_answer(how, false);
		break;
	case STEP_CANDIDATE:
		say_candidate(how);
		break;
	case STEP_STUN_REQUEST:
		stun_request(how);
		break;
	case STEP_STUN_RESPONSE:
		stun_response();
		break;
	case STEP_STUN_RAW:
	case STEP_CTL_RAW:
		p = take(&n, 1100);
		if (n >= 20 || (n > 0 && op == STEP_CTL_RAW))
			event(op == STEP_CTL_RAW ? DATAPLANE_EVENT_CTL : DATAPLANE_EVENT_STUN, how,
			      p, n);
		break;
	case STEP_HANDSHAKE:
		event(DATAPLANE_EVENT_HANDSHAKE, how >> 5, (const uint8_t[]){22, how}, 2);
		break;
	case STEP_CTL_OPEN:
		event(DATAPLANE_EVENT_CTL_OPEN, how, NULL, 0);
		break;
	case STEP_CTL:
		ctl_message(how);
		break;
	case STEP_LINK_EVENT:
		event(how & 1   ? DATAPLANE_EVENT_IP_OPEN
		      : how & 2 ? DATAPLANE_EVENT_LINK_DOWN
		                : DATAPLANE_EVENT_ALERT,
		      how >> 2, (const uint8_t[]){how >> 6, how & 16}, 2);
		break;
	case STEP_TIME:
		pass_time(how);
		break;
	case STEP_OWN:
		own(how);
		break;
	case STEP_LEFT:
		left(how);
		break;
	case STEP_LIST:
		if ((how & 1) != 0)
			mesh_list_begin(w.mesh);
		else if ((how & 2) != 0)
			mesh_list_end(w.mesh, w.now_us);
		else
			mesh_member_offline(w.mesh, fixed.key[some_peer(how)], w.now_us);
		break;
	case STEP_IN_BAND:
		if ((how & 1) != 0)
			say_offer(how, true);
		else
			say_answer(how, true);
		break;
	case STEP_DOCUMENT:
		set_document(how);
		break;
	case STEPS:
		break;
	}
	drain();
}

/* --- the world ---------------------------------------------------------------------------------------- */

static void begin(void)
{
	uint64_t us = 1000000000;
	struct netaddr host = netaddr_ip4(0xc0000201, 0);

	recording_reset();
	memset(&w, 0, sizeof(w));
	w.now_us = us;
	must(document_dup(&w.doc, fixed.doc) == 0);
	struct mesh_config c = {.dataplane = recording_dataplane(),
	                        .id = fixed.id[0],
	                        .cert = fixed.cert,
	                        .doc = w.doc,
	                        .ip4 = tunnel_ip(0),
	                        .session = SESSION,
	                        .net = 1,
	                        .next_handle = &w.handles,
	                        .udp4_port = 5000,
	                        .rng = rng_seeded(1)};
	must(netid_addr6(fixed.doc->network_id, fixed.key[0], &c.ip6) == 0);
	must(mesh_new(&w.mesh, &c, us) == 0);
	mesh_set_addresses(w.mesh, &host, 1, us);
	mesh_set_signaling(w.mesh, true, us);
}

/* The steps of an honest peer, so that inputs need not find them: bit 0 as offerer or as answerer; then how many of them. */
static void warm_up(uint8_t how)
{
	static const uint8_t as_offerer[] = {STEP_MEMBER, 0x80,
	                                     STEP_OFFER,  0,
	                                     0,           0,
	                                     0,           STEP_STUN_REQUEST,
	                                     0,           STEP_STUN_RESPONSE,
	                                     0,           STEP_STUN_REQUEST,
	                                     1,           STEP_HANDSHAKE,
	                                     3,           STEP_CTL_OPEN,
	                                     0,           STEP_CTL,
	                                     1,           0,
	                                     0,           STEP_LINK_EVENT,
	                                     1,           STEP_CTL,
	                                     0,           0,
	                                     73};
	static const uint8_t as_answerer[] = {STEP_MEMBER, 0,
	                                      STEP_ANSWER, 0,
	                                      0,           0,
	                                      0,           STEP_TIME,
	                                      0,           STEP_STUN_RESPONSE,
	                                      0,           STEP_TIME,
	                                      0,           STEP_STUN_RESPONSE,
	                                      0,           STEP_HANDSHAKE,
	                                      3,           STEP_CTL_OPEN,
	                                      0,           STEP_LINK_EVENT,
	                                      1,           STEP_CTL,
	                                      0,           0,
	                                      73};
	struct bytes_reader rest = w.in;
	unsigned steps = how >> 1 & 15;

	w.in = how & 1 ? bytes_reader(as_answerer, sizeof(as_answerer))
	               : bytes_reader(as_offerer, sizeof(as_offerer));
	for (unsigned i = 0; i < steps && w.in.left > 0; i++)
		step();
	w.in = rest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	make_fixed();
	begin();
	w.in = bytes_reader(data, size);
	warm_up(bytes_read_u8(&w.in));
	for (int i = 0; i < STEPS_MAX && w.in.ok && w.in.left > 0; i++)
		step();
	recording.refuses = false;
	mesh_close(w.mesh, CTL_BYE_DOWN, w.now_us);
	drain();
	mesh_free(w.mesh);
	document_free(w.doc);
	return 0;
}
