/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

#include "base/mem.h"
#include "crypto/hash.h"

/*
 * Setup of an association (RFC 9260 5). An INIT is answered without keeping anything: what is needed later
 * travels in the state cookie, signed with a key of this object. The cookie, all in network order:
 *
 *   created_us 8 | my tag 4 | my TSN 4 | peer tag 4 | peer TSN 4 | peer a_rwnd 4 | peer out 2 | peer in 2 |
 *   tie tag mine 4 | tie tag peer's 4 | capabilities 4 | HMAC-SHA-256 of all that 32
 */
#define COOKIE_BODY  44
#define COOKIE_BYTES (COOKIE_BODY + HASH_SHA256_SIZE)

#define CAP_FORWARD_TSN   1u
#define CAP_RECONFIG      2u
#define CAP_ZERO_CHECKSUM 4u

#define INIT_BYTES_MAX    64
#define UNKNOWN_BYTES_MAX 128
#define LEAST_RWND        1500u
#define PEER_COOKIE_MAX   1024

struct cookie {
	uint64_t created_us;
	uint32_t my_tag, my_tsn;
	struct peer_init peer;
	uint32_t tie_my, tie_peer;
};

/* What the parameters of INIT and INIT ACK may hold besides capabilities. */
struct init_extra {
	const uint8_t *cookie;
	size_t cookie_len;
	bool host_name;
	struct bytes_writer unknown; /* parameters to report, as they came */
};

static int cookie_seal(const struct sctp *s, const struct cookie *c,
                       uint8_t out[static COOKIE_BYTES])
{
	struct bytes_writer w = bytes_writer(out, COOKIE_BODY);
	uint32_t caps = (c->peer.forward_tsn ? CAP_FORWARD_TSN : 0) |
	                (c->peer.reconfig ? CAP_RECONFIG : 0) |
	                (c->peer.zero_checksum ? CAP_ZERO_CHECKSUM : 0);

	bytes_write_u64(&w, c->created_us);
	bytes_write_u32(&w, c->my_tag);
	bytes_write_u32(&w, c->my_tsn);
	bytes_write_u32(&w, c->peer.tag);
	bytes_write_u32(&w, c->peer.tsn);
	bytes_write_u32(&w, c->peer.a_rwnd);
	bytes_write_u16(&w, c->peer.out_streams);
	bytes_write_u16(&w, c->peer.in_streams);
	bytes_write_u32(&w, c->tie_my);
	bytes_write_u32(&w, c->tie_peer);
	bytes_write_u32(&w, caps);
	return hash_hmac_sha256(s->cookie_key, sizeof(s->cookie_key), out, COOKIE_BODY,
	                        out + COOKIE_BODY);
}

/* False: not a cookie that this object made. */
static bool cookie_open(const struct sctp *s, const uint8_t *p, size_t n, struct cookie *out)
{
	uint8_t mac[HASH_SHA256_SIZE];

	if (n != COOKIE_BYTES ||
	    hash_hmac_sha256(s->cookie_key, sizeof(s->cookie_key), p, COOKIE_BODY, mac) < 0 ||
	    !hash_equal(mac, p + COOKIE_BODY, sizeof(mac)))
		return false;
	struct bytes_reader r = bytes_reader(p, COOKIE_BODY);
	out->created_us = bytes_read_u64(&r);
	out->my_tag = bytes_read_u32(&r);
	out->my_tsn = bytes_read_u32(&r);
	out->peer.tag = bytes_read_u32(&r);
	out->peer.tsn = bytes_read_u32(&r);
	out->peer.a_rwnd = bytes_read_u32(&r);
	out->peer.out_streams = bytes_read_u16(&r);
	out->peer.in_streams = bytes_read_u16(&r);
	out->tie_my = bytes_read_u32(&r);
	out->tie_peer = bytes_read_u32(&r);
	uint32_t caps = bytes_read_u32(&r);
	out->peer.forward_tsn = (caps & CAP_FORWARD_TSN) != 0;
	out->peer.reconfig = (caps & CAP_RECONFIG) != 0;
	out->peer.zero_checksum = (caps & CAP_ZERO_CHECKSUM) != 0;
	return true;
}

static uint32_t random_tag(struct sctp *s)
{
	uint32_t tag;

	do {
		tag = rng_u32(&s->config.rng);
	} while (tag == 0);
	return tag;
}

/* What we are, in INIT and INIT ACK. The last parameter has no padding, which the chunk's length must not count. */
static void write_capabilities(const struct sctp *s, struct bytes_writer *w)
{
	static const uint8_t extensions[] = {CHUNK_RE_CONFIG, CHUNK_FORWARD_TSN};

	param_write(w, PARAM_SUPPORTED_EXTENSIONS, extensions, sizeof(extensions));
	if (s->config.zero_checksum) {
		size_t at = param_open(w, PARAM_ZERO_CHECKSUM);

		bytes_write_u32(w, PARAM_ZERO_CHECKSUM_DTLS);
		param_close(w, at);
	}
	param_close(w, param_open(w, PARAM_FORWARD_TSN));
}

static void write_init_fixed(struct bytes_writer *w, uint32_t tag, uint32_t tsn)
{
	bytes_write_u32(w, tag);
	bytes_write_u32(w, RECEIVE_BYTES);
	bytes_write_u16(w, SCTP_STREAMS_MAX);
	bytes_write_u16(w, SCTP_STREAMS_MAX);
	bytes_write_u32(w, tsn);
}

static void queue_init(struct sctp *s)
{
	struct control *c = control_new(s, 0, INIT_BYTES_MAX);

	if (c == NULL)
		return;
	struct bytes_writer w = bytes_writer(c->bytes, INIT_BYTES_MAX);
	size_t at = chunk_open(&w, CHUNK_INIT, 0);
	write_init_fixed(&w, s->my_tag, s->my_tsn);
	write_capabilities(s, &w);
	chunk_close(&w, at);
	c->alone = true;
	c->checksum = true;
	control_commit(s, c, &w);
}

static void queue_cookie_echo(struct sctp *s)
{
	size_t size = CHUNK_HEADER_BYTES + chunk_padded(s->cookie_len);
	struct control *c = control_new(s, s->peer.tag, size);

	if (c == NULL)
		return;
	struct bytes_writer w = bytes_writer(c->bytes, size);
	size_t at = chunk_open(&w, CHUNK_COOKIE_ECHO, 0);
	bytes_write(&w, s->cookie, s->cookie_len);
	chunk_close(&w, at);
	c->checksum = true;
	control_commit(s, c, &w);
}

void setup_start(struct sctp *s, uint64_t now_us)
{
	s->my_tag = random_tag(s);
	s->my_tsn = rng_u32(&s->config.rng);
	s->state = ASSOC_COOKIE_WAIT;
	s->setup_tries = 0;
	cc_init(s);
	queue_init(s);
	assoc_timer_start(s, TIMER_SETUP, now_us + cc_rto(s));
}

/* T1 (RFC 9260 5.1 and 6.3.3). */
void setup_timeout(struct sctp *s, uint64_t now_us)
{
	if (s->setup_tries >= INIT_RETRANSMITS) {
		assoc_end(s, SCTP_DOWN_TIMEOUT);
		return;
	}
	s->setup_tries++;
	s->cc.backoff++;
	if (s->state == ASSOC_COOKIE_WAIT)
		queue_init(s);
	else
		queue_cookie_echo(s);
	assoc_timer_start(s, TIMER_SETUP, now_us + cc_rto(s));
}

static void report_unknown(struct init_extra *extra, const struct param *p)
{
	/* RFC 9260 3.2.1: the second bit asks for a report. What does not fit is not reported. */
	if ((p->type & 0x4000) == 0)
		return;
	struct bytes_writer w = extra->unknown;
	size_t at = param_open(&w, PARAM_UNRECOGNIZED);
	param_write(&w, p->type, p->body, p->len);
	param_close(&w, at);
	if (w.ok)
		extra->unknown = w;
}

static void read_extensions(const struct param *p, struct peer_init *out)
{
	for (size_t i = 0; i < p->len; i++) {
		out->forward_tsn |= p->body[i] == CHUNK_FORWARD_TSN;
		out->reconfig |= p->body[i] == CHUNK_RE_CONFIG;
	}
}

/* The parameters. CHUNK_BAD: their lengths are wrong. */
static enum chunk_result read_params(struct bytes_reader r, struct peer_init *out,
                                     struct init_extra *extra)
{
	for (;;) {
		struct param p;
		enum chunk_result result = param_next(&r, &p);

		if (result != CHUNK_OK)
			return result == CHUNK_END ? CHUNK_OK : CHUNK_BAD;
		switch (p.type) {
		case PARAM_STATE_COOKIE:
			extra->cookie = p.body;
			extra->cookie_len = p.len;
			break;
		case PARAM_SUPPORTED_EXTENSIONS:
			read_extensions(&p, out);
			break;
		case PARAM_FORWARD_TSN:
			out->forward_tsn = true;
			break;
		case PARAM_ZERO_CHECKSUM:
			out->zero_checksum =
				p.len == 4 && be32_load(p.body) == PARAM_ZERO_CHECKSUM_DTLS;
			break;
		case PARAM_HOST_NAME:
			extra->host_name = true;
			break;
		case PARAM_IPV4:
		case PARAM_IPV6:
		case PARAM_UNRECOGNIZED:
		case PARAM_COOKIE_PRESERVATIVE:
		case PARAM_SUPPORTED_ADDRESSES:
			break; /* addresses mean nothing over DTLS (RFC 8261 6.1) */
		default:
			report_unknown(extra, &p);
			if ((p.type & 0x8000) == 0)
				return CHUNK_OK; /* the first bit: stop reading here */
			break;
		}
	}
}

/* Reads INIT or INIT ACK. CHUNK_BAD: drop it. */
static enum chunk_result read_init(const struct chunk *c, struct peer_init *out,
                                   struct init_extra *extra)
{
	struct chunk_init init;

	if (chunk_init_read(c, &init) != CHUNK_OK || init.tag == 0)
		return CHUNK_BAD;
	*out = (struct peer_init){.tag = init.tag,
	                          .a_rwnd = init.a_rwnd,
	                          .tsn = init.tsn,
	                          .out_streams = init.out_streams,
	                          .in_streams = init.in_streams};
	return read_params(init.params, out, extra);
}

/* An ABORT to someone who is not (yet) the peer; our state does not change. */
static void refuse(struct sctp *s, uint32_t tag, enum chunk_cause cause)
{
	struct control *c = control_new(s, tag, 8);

	if (c == NULL)
		return;
	struct bytes_writer w = bytes_writer(c->bytes, 8);
	size_t at = chunk_open(&w, CHUNK_ABORT, 0);
	param_write(&w, (uint16_t)cause, NULL, 0);
	chunk_close(&w, at);
	c->alone = true;
	c->checksum = true;
	control_commit(s, c, &w);
}

/* RFC 9260 3.3.2: limits that an INIT or INIT ACK must keep. */
static bool acceptable(const struct peer_init *peer)
{
	return peer->out_streams > 0 && peer->in_streams > 0 && peer->a_rwnd >= LEAST_RWND;
}

static void queue_init_ack(struct sctp *s, const struct cookie *cookie,
                           const struct bytes_writer *unknown)
{
	size_t size = INIT_BYTES_MAX + COOKIE_BYTES + PARAM_HEADER_BYTES + UNKNOWN_BYTES_MAX;
	struct control *c = control_new(s, cookie->peer.tag, size);
	uint8_t sealed[COOKIE_BYTES];

	if (c == NULL)
		return;
	struct bytes_writer w = bytes_writer(c->bytes, size);
	size_t at = chunk_open(&w, CHUNK_INIT_ACK, 0);
	write_init_fixed(&w, cookie->my_tag, cookie->my_tsn);
	w.ok &= cookie_seal(s, cookie, sealed) == 0; /* without memory: as if the INIT were lost */
	param_write(&w, PARAM_STATE_COOKIE, sealed, sizeof(sealed));
	if (unknown->used > 0)
		bytes_write(&w, unknown->p, unknown->used);
	write_capabilities(s, &w);
	chunk_close(&w, at);
	c->alone = true;
	c->checksum = true;
	control_commit(s, c, &w);
}

/* INIT in any state (RFC 9260 5.1, 5.2.1, 5.2.2). */
void setup_init(struct sctp *s, const struct chunk *c, uint64_t now_us)
{
	uint8_t unknown[UNKNOWN_BYTES_MAX];
	struct init_extra extra = {.unknown = bytes_writer(unknown, sizeof(unknown))};
	struct cookie cookie = {.created_us = now_us};

	if (read_init(c, &cookie.peer, &extra) != CHUNK_OK) {
		s->counters.bad_chunk++;
		return;
	}
	if (s->state == ASSOC_ENDED) {
		refuse(s, cookie.peer.tag,
		       CAUSE_OUT_OF_RESOURCE); /* one association is all there is */
		return;
	}
	if (!acceptable(&cookie.peer) || extra.host_name) {
		s->counters.bad_chunk++;
		refuse(s, cookie.peer.tag,
		       extra.host_name ? CAUSE_UNRESOLVABLE : CAUSE_INVALID_PARAM);
		return;
	}
	if (s->state == ASSOC_SHUTDOWN_ACK_SENT) {
		/* RFC 9260 9.2: the peer missed the end of the last association. */
		control_chunk(s, CHUNK_SHUTDOWN_ACK, 0, NULL, 0);
		return;
	}
	if (s->state == ASSOC_COOKIE_WAIT || s->state == ASSOC_COOKIE_ECHOED) {
		/* Both started: the tag and TSN of our own INIT must stand in the answer. */
		cookie.my_tag = s->my_tag;
		cookie.my_tsn = s->my_tsn;
	} else {
		cookie.my_tag = random_tag(s);
		cookie.my_tsn = rng_u32(&s->config.rng);
	}
	if (s->state != ASSOC_CLOSED && s->state != ASSOC_COOKIE_WAIT) {
		cookie.tie_my = s->my_tag;
		cookie.tie_peer = s->peer.tag;
	}
	queue_init_ack(s, &cookie, &extra.unknown);
}

/* INIT ACK (RFC 9260 5.1 C, 5.2.3). */
void setup_init_ack(struct sctp *s, const struct chunk *c, uint64_t now_us)
{
	uint8_t unknown[UNKNOWN_BYTES_MAX];
	struct init_extra extra = {.unknown = bytes_writer(unknown, sizeof(unknown))};
	struct peer_init peer;

	if (s->state != ASSOC_COOKIE_WAIT)
		return; /* an old or repeated one */
	if (read_init(c, &peer, &extra) != CHUNK_OK) {
		s->counters.bad_chunk++;
		/* RFC 9260 3.3.3: a tag of zero ends it; what cannot be read is as good as lost. */
		if (c->len >= 4 && be32_load(c->body) == 0)
			assoc_end(s, SCTP_DOWN_ABORTED);
		return;
	}
	s->peer = peer;
	if (extra.cookie == NULL) {
		static const uint8_t missing[] = {0, 0, 0, 1, 0, PARAM_STATE_COOKIE};

		shutdown_abort(s, CAUSE_MISSING_PARAM, missing, sizeof(missing));
		return;
	}
	if (!acceptable(&peer) || extra.host_name || extra.cookie_len > PEER_COOKIE_MAX ||
	    SCTP_HEADER_BYTES + CHUNK_HEADER_BYTES + extra.cookie_len >
	            s->config.max_packet_bytes) {
		shutdown_abort(s, CAUSE_INVALID_PARAM, NULL, 0);
		return;
	}
	uint8_t *copy = mem_dup(extra.cookie, extra.cookie_len);
	if (copy == NULL)
		return; /* T1 asks again */
	mem_free(s->cookie);
	s->cookie = copy;
	s->cookie_len = (uint16_t)extra.cookie_len;
	s->state = ASSOC_COOKIE_ECHOED;
	s->setup_tries = 0;
	s->cc.backoff = 0;
	queue_cookie_echo(s);
	/* RFC 9260 3.2.1: reports ride behind it. As causes they look as they do as parameters of INIT ACK. */
	if (extra.unknown.used > 0)
		control_chunk(s, CHUNK_ERROR, 0, extra.unknown.p, extra.unknown.used);
	assoc_timer_start(s, TIMER_SETUP, now_us + cc_rto(s));
}

/* Enters ESTABLISHED with what INIT and INIT ACK said. */
static void establish(struct sctp *s, uint64_t now_us)
{
	s->state = ASSOC_ESTABLISHED;
	s->out_streams = (uint16_t)GV_MIN((unsigned)SCTP_STREAMS_MAX, s->peer.in_streams);
	s->in_streams = (uint16_t)GV_MIN((unsigned)SCTP_STREAMS_MAX, s->peer.out_streams);
	s->use_zero_checksum = s->config.zero_checksum && s->peer.zero_checksum;
	mem_free(s->cookie);
	s->cookie = NULL;
	assoc_timer_stop(s, TIMER_SETUP);
	cc_init(s);
	send_init(s);
	recv_init(s, s->peer.tsn);
	reset_init(s);
	tunnel_init(s);
	s->heartbeat_sent_us = 0;
	assoc_timer_start(s, TIMER_HEARTBEAT, now_us + HEARTBEAT_INTERVAL_US);
	s->event_up = true;
}

/* RFC 9260 5.2.4 A: the peer began anew. Everything of the old association is gone on both sides. */
static void restart(struct sctp *s, const struct cookie *k, uint64_t now_us)
{
	send_deinit(s);
	recv_deinit(s);
	reset_deinit(s);
	for (int t = 0; t < TIMER_COUNT; t++)
		s->timers[t] = NEVER;
	s->my_tag = k->my_tag;
	s->my_tsn = k->my_tsn;
	s->peer = k->peer;
	s->event_restarted = s->event_restarted || !s->event_up;
	establish(s, now_us);
}

/* An ERROR to whoever sent the cookie. */
static void send_cookie_error(struct sctp *s, const struct cookie *k, enum chunk_cause cause,
                              const void *body, size_t len)
{
	struct control *c = control_new(s, k->peer.tag, 16);

	if (c == NULL)
		return;
	struct bytes_writer w = bytes_writer(c->bytes, 16);
	size_t at = chunk_open(&w, CHUNK_ERROR, 0);
	param_write(&w, (uint16_t)cause, body, len);
	chunk_close(&w, at);
	c->alone = true;
	c->checksum = true;
	control_commit(s, c, &w);
}

static void send_stale(struct sctp *s, const struct cookie *k, uint64_t age_us)
{
	uint8_t staleness[4];

	be32_store(staleness, (uint32_t)GV_MIN(age_us - COOKIE_LIFE_US, (uint64_t)UINT32_MAX));
	send_cookie_error(s, k, CAUSE_STALE_COOKIE, staleness, sizeof(staleness));
}

/*
 * RFC 9260 5.2.4 B. In setup: both started, and the peer's INIT ACK is still under way. Later: it chose another tag
 * for its own INIT than in the INIT ACK that we took, and that one holds; its TSN too, if none was used yet.
 */
static void both_started(struct sctp *s, const struct cookie *k, uint64_t now_us)
{
	if (s->state == ASSOC_COOKIE_WAIT || s->state == ASSOC_COOKIE_ECHOED) {
		s->peer = k->peer;
		establish(s, now_us);
		return;
	}
	s->peer.tag = k->peer.tag;
	if (s->in.cum != s->peer.tsn - 1 || s->in.high != s->in.cum)
		return;
	recv_deinit(s);
	recv_init(s, k->peer.tsn);
	s->peer.tsn = k->peer.tsn;
	s->reset.peer_sequence = k->peer.tsn;
}

/* The cases of RFC 9260 5.2.4 for an association that exists, by which tags match. */
static bool cookie_for_existing(struct sctp *s, const struct cookie *k, uint64_t now_us)
{
	bool mine = k->my_tag == s->my_tag, peers = k->peer.tag == s->peer.tag;

	if (!mine && !peers && k->tie_my == s->my_tag && k->tie_peer == s->peer.tag &&
	    s->state != ASSOC_COOKIE_WAIT) {
		if (s->state == ASSOC_SHUTDOWN_ACK_SENT) {
			control_chunk(s, CHUNK_SHUTDOWN_ACK, 0, NULL, 0);
			send_cookie_error(s, k, CAUSE_COOKIE_IN_SHUTDOWN, NULL, 0);
			return false;
		}
		restart(s, k, now_us); /* A */
	} else if (mine && !peers) {
		both_started(s, k, now_us); /* B */
	} else if (mine && peers) {
		if (s->state == ASSOC_COOKIE_WAIT || s->state == ASSOC_COOKIE_ECHOED)
			establish(s, now_us); /* D */
	} else {
		return false; /* C: too late */
	}
	control_chunk(s, CHUNK_COOKIE_ACK, 0, NULL, 0);
	return true;
}

bool setup_cookie_echo(struct sctp *s, const struct chunk *c, uint32_t packet_tag, uint64_t now_us)
{
	struct cookie k;

	if (!cookie_open(s, c->body, c->len, &k) || packet_tag != k.my_tag) {
		s->counters.bad_chunk++;
		return false;
	}
	bool same = s->state != ASSOC_CLOSED && k.my_tag == s->my_tag && k.peer.tag == s->peer.tag;
	uint64_t age_us = now_us > k.created_us ? now_us - k.created_us : 0;
	if (age_us > COOKIE_LIFE_US && !same) {
		s->counters.bad_chunk++;
		send_stale(s, &k, age_us);
		return false;
	}
	if (s->state != ASSOC_CLOSED)
		return cookie_for_existing(s, &k, now_us);
	s->my_tag = k.my_tag;
	s->my_tsn = k.my_tsn;
	s->peer = k.peer;
	establish(s, now_us);
	control_chunk(s, CHUNK_COOKIE_ACK, 0, NULL, 0);
	return true;
}

void setup_cookie_ack(struct sctp *s, uint64_t now_us)
{
	if (s->state == ASSOC_COOKIE_ECHOED)
		establish(s, now_us);
}

/* ERROR: only a stale cookie changes anything (RFC 9260 5.2.6): a new INIT. */
void setup_error(struct sctp *s, const struct chunk *c, uint64_t now_us)
{
	struct bytes_reader r = bytes_reader(c->body, c->len);
	struct param cause;

	if (s->state != ASSOC_COOKIE_ECHOED)
		return;
	while (param_next(&r, &cause) == CHUNK_OK) {
		if (cause.type != CAUSE_STALE_COOKIE)
			continue;
		if (++s->stale_tries > INIT_RETRANSMITS) {
			assoc_end(s, SCTP_DOWN_TIMEOUT);
			return;
		}
		s->state = ASSOC_COOKIE_WAIT;
		queue_init(s);
		assoc_timer_start(s, TIMER_SETUP, now_us + cc_rto(s));
		return;
	}
}
