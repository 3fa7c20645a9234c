/* SPDX-License-Identifier: MIT */

#include "proto/sctp/assoc_impl.h"

#define BACKOFF_MAX 12

void cc_set_mtu(struct sctp *s)
{
	s->cc.mtu = s->config.max_packet_bytes;
}

void cc_init(struct sctp *s)
{
	struct cc *cc = &s->cc;

	*cc = (struct cc){.rto_us = RTO_INITIAL_US, .min_us = RTO_MIN_US, .max_us = RTO_MAX_US};
	cc_set_mtu(s);
	/* RFC 9260 7.2.1: cwnd = min(4 MTU, max(2 MTU, 4404)), ssthresh arbitrarily high. */
	cc->cwnd = GV_MAX(2 * cc->mtu, 4404u);
	cc->cwnd = GV_MIN(cc->cwnd, 4 * cc->mtu);
	cc->ssthresh = GV_MAX(s->peer.a_rwnd, cc->cwnd);
}

void cc_limits(struct sctp *s, uint32_t rto_min_us, uint32_t rto_max_us)
{
	s->cc.min_us = rto_min_us;
	s->cc.max_us = rto_max_us;
	if (s->cc.srtt_us > 0)
		s->cc.rto_us = s->cc.srtt_us + 4 * s->cc.rttvar_us;
}

/* RFC 9260 6.3.1 C2 and C3: alpha 1/8, beta 1/4. */
void cc_rtt(struct sctp *s, uint64_t rtt_us)
{
	struct cc *cc = &s->cc;
	uint32_t rtt = rtt_us < 1 ? 1 : (uint32_t)GV_MIN(rtt_us, (uint64_t)RTO_MAX_US);

	if (cc->srtt_us == 0) {
		cc->srtt_us = rtt;
		cc->rttvar_us = rtt / 2;
	} else {
		uint32_t off = rtt > cc->srtt_us ? rtt - cc->srtt_us : cc->srtt_us - rtt;

		cc->rttvar_us += off / 4 - cc->rttvar_us / 4;
		cc->srtt_us += rtt / 8 - cc->srtt_us / 8;
		cc->srtt_us = GV_MAX(cc->srtt_us, 1u);
	}
	cc->rto_us = cc->srtt_us + 4 * cc->rttvar_us;
	cc->backoff = 0;
}

uint64_t cc_rto(const struct sctp *s)
{
	const struct cc *cc = &s->cc;
	uint64_t rto = GV_MAX(cc->rto_us, cc->min_us);
	uint64_t most = GV_MAX((uint64_t)cc->max_us, rto);

	return GV_MIN(rto << cc->backoff, most);
}

/* RFC 9260 7.2.1: a window that was not used for a while says nothing about the path any more. */
void cc_idle(struct sctp *s, uint64_t now_us)
{
	struct cc *cc = &s->cc;

	if (s->out.flight > 0 || s->out.last_sent_us == 0)
		return;
	uint64_t rto = cc_rto(s);
	/* What was counted once is not counted again by the next look. */
	while (cc->cwnd > 4 * cc->mtu && now_us >= s->out.last_sent_us + rto) {
		cc->cwnd = GV_MAX(cc->cwnd / 2, 4 * cc->mtu);
		s->out.last_sent_us += rto;
	}
}

/*
 * `bytes` were newly acknowledged, `progress`: the cumulative point moved (in tunnel mode: any kept chunk was
 * acknowledged, because the cumulative point waits for IP packets that nobody repeats). RFC 9260 7.2.1, 7.2.2.
 */
void cc_acked(struct sctp *s, uint32_t bytes, bool progress)
{
	struct cc *cc = &s->cc;

	if (!progress || cc->recovery || bytes == 0)
		return;
	bool used = s->out.filled;
	if (cc->cwnd <= cc->ssthresh) {
		if (used)
			cc->cwnd += GV_MIN(bytes, cc->mtu);
	} else {
		cc->partial += bytes;
		if (cc->partial >= cc->cwnd && used) {
			cc->partial -= cc->cwnd;
			cc->cwnd += cc->mtu;
		} else if (cc->partial >= cc->cwnd) {
			cc->partial = cc->cwnd;
		}
	}
	if (s->out.flight == 0)
		cc->partial = 0;
	/* More than this is never in flight: the send buffer is smaller. */
	cc->cwnd = GV_MIN(cc->cwnd, 8 * SEND_BYTES);
}

/* RFC 9260 7.2.3 and 7.2.4; once per window. */
void cc_fast_retransmit(struct sctp *s)
{
	struct cc *cc = &s->cc;

	if (cc->recovery)
		return;
	cc->recovery = true;
	cc->recovery_tsn = s->out.next_tsn - 1;
	cc->ssthresh = GV_MAX(cc->cwnd / 2, 4 * cc->mtu);
	cc->cwnd = cc->ssthresh;
	cc->partial = 0;
	s->out.fast = true;
}

/* RFC 9260 6.3.3 E1 and E2. */
void cc_timeout(struct sctp *s)
{
	struct cc *cc = &s->cc;

	cc->ssthresh = GV_MAX(cc->cwnd / 2, 4 * cc->mtu);
	cc->cwnd = cc->mtu;
	cc->partial = 0;
	cc->recovery = false;
	cc->timing = false;
	if (cc->backoff < BACKOFF_MAX)
		cc->backoff++;
}

/* RFC 9260 8.3. Between goVPN peers ICE consent watches the path, so there it is off. */
void cc_heartbeat_timeout(struct sctp *s, uint64_t now_us)
{
	uint8_t info[4 + 16];

	if (s->state != ASSOC_ESTABLISHED || s->tunnel.on)
		return;
	if (s->heartbeat_sent_us != 0 && !assoc_error(s))
		return;
	s->heartbeat_sent_us = now_us;
	s->heartbeat_nonce = rng_u64(&s->config.rng);
	be16_store(info, PARAM_HEARTBEAT_INFO);
	be16_store(info + 2, sizeof(info));
	be64_store(info + 4, now_us);
	be64_store(info + 12, s->heartbeat_nonce);
	control_chunk(s, CHUNK_HEARTBEAT, 0, info, sizeof(info));
	/* RFC 9260 8.3: RTO and the interval, with half an RTO of jitter to either side. */
	uint64_t rto = cc_rto(s);
	uint64_t wait_us = HEARTBEAT_INTERVAL_US + rto / 2;
	wait_us += rng_below(&s->config.rng, (uint32_t)rto);
	assoc_timer_start(s, TIMER_HEARTBEAT, now_us + wait_us);
}

void cc_heartbeat_ack(struct sctp *s, const struct chunk *c, uint64_t now_us)
{
	if (c->len != 20 || be64_load(c->body + 12) != s->heartbeat_nonce) {
		s->counters.bad_chunk++;
		return;
	}
	if (s->heartbeat_sent_us == 0)
		return; /* once more */
	cc_rtt(s, now_us - s->heartbeat_sent_us);
	s->heartbeat_sent_us = 0;
	s->cc.errors = 0;
}
