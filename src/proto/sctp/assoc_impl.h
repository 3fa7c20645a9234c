/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SCTP_ASSOC_IMPL_H
#define GV_PROTO_SCTP_ASSOC_IMPL_H

/*
 * assoc_impl - the inside of an association, shared by the files of this folder and white-box tests.
 *
 *   assoc.c    life cycle, dispatch of chunks, timers, events
 *   setup.c    INIT, cookies, restart
 *   shutdown.c SHUTDOWN, ABORT
 *   output.c   control chunks that wait to be sent; building of packets
 *   send.c     the queue of messages, their fragments in flight, retransmission, abandoning
 *   sack.c     what a SACK of the peer means
 *   cc.c       congestion window, round trips, timeouts
 *   recv.c     DATA, FORWARD-TSN, making of SACKs
 *   reasm.c    fragments, order, messages ready for the owner
 *   reset.c    stream reset
 *   tunnel.c   tunnel mode
 *
 * A TSN belongs to the sender in one of two ways. A *kept* chunk has an entry in sender.ring, which is sorted by
 * TSN: reliable data, partially reliable data and, outside of tunnel mode, the IP packets too (without payload:
 * they are abandoned instead of being sent again). In tunnel mode the TSNs of IP packets have no entry: every
 * TSN between cum_ack and next_tsn that is not in the ring is one of theirs.
 */

#include "proto/sctp/chunk.h"
#include "proto/sctp/sctp.h"

#define NEVER UINT64_MAX

/* RFC 9260 16, in microseconds. */
#define RTO_INITIAL_US        1000000u
#define RTO_MIN_US            1000000u
#define RTO_MAX_US            60000000u
#define HEARTBEAT_INTERVAL_US 30000000u
#define COOKIE_LIFE_US        60000000u
#define INIT_RETRANSMITS      8
#define ASSOC_RETRANSMITS     10
#define MAX_BURST             4
#define SACK_DELAY_US         200000u
#define SACK_PACKETS          2

/*
 * Tunnel mode. Its SACKs come after 10 ms at the latest, so a shorter least timeout than the second of the RFC
 * does not fire without need; and the greatest one bounds how long a path that is back waits for the first probe.
 */
#define TUNNEL_RTO_MIN_US          200000u
#define TUNNEL_RTO_MAX_US          500000u
#define TUNNEL_SACK_DELAY_US       10000u
#define TUNNEL_SACK_PACKETS        4096
#define TUNNEL_SACK_GAP_US         1000u
#define TUNNEL_SACK_GAPS           32
#define TUNNEL_GIVE_UP_MIN_US      20000u
#define TUNNEL_FORWARD_INTERVAL_US 10000u
#define TUNNEL_BREAKER_US          3000000u
#define TUNNEL_FRAGMENT_LIFE_US    1000000u
#define TUNNEL_PARTIALS            64
#define TUNNEL_MARKS               16

#define TSN_WINDOW 65536u /* gap blocks reach no further (RFC 9260 3.3.4) */

/* Bounds of memory per association. */
#define RECEIVE_BYTES      (1u << 20) /* announced as a_rwnd */
#define RECEIVE_BYTES_HARD (2u << 20) /* for the chunk that fills the lowest gap */
#define SEND_BYTES         (1u << 20)
#define SEND_MESSAGES      4096
#define RING_MAX           4096
#define READY_MAX          8192
#define RUNS_MAX           256  /* besides those at the lowest gap */
#define HELD_MAX           4096 /* a power of two below 65,536 */
#define CONTROL_MAX        48
#define DUPLICATES_MAX     16
#define RESET_STREAMS_MAX  256
#define RESET_EVENTS_MAX   1024

/* What one run or held message costs besides its bytes. */
#define RECEIVE_OVERHEAD 64

enum assoc_state {
	ASSOC_CLOSED,
	ASSOC_COOKIE_WAIT,
	ASSOC_COOKIE_ECHOED,
	ASSOC_ESTABLISHED,
	ASSOC_SHUTDOWN_PENDING,
	ASSOC_SHUTDOWN_SENT,
	ASSOC_SHUTDOWN_RECEIVED,
	ASSOC_SHUTDOWN_ACK_SENT,
	ASSOC_ENDED,
};

enum assoc_timer {
	TIMER_SETUP,     /* T1: INIT, COOKIE ECHO */
	TIMER_SHUTDOWN,  /* T2: SHUTDOWN, SHUTDOWN ACK */
	TIMER_GUARD,     /* T5: the whole shutdown */
	TIMER_RTX,       /* T3: kept chunks */
	TIMER_SACK,      /* a delayed SACK */
	TIMER_HEARTBEAT, /* idle path, foreign peers only */
	TIMER_RESET,     /* RE-CONFIG request */
	TIMER_FORWARD,   /* next FORWARD-TSN may go, or must be repeated */
	TIMER_GIVE_UP,   /* tunnel TSNs in a gap */
	TIMER_PROBE,     /* tunnel TSNs outstanding and nothing heard */
	TIMER_FRAGMENTS, /* oldest partial tunnel message */
	TIMER_COUNT,
};

/* What a peer said in INIT or INIT ACK. */
struct peer_init {
	uint32_t tag, a_rwnd, tsn;
	uint16_t out_streams, in_streams; /* the peer's */
	bool forward_tsn, reconfig, zero_checksum;
};

/* A control chunk that waits for sctp_output(). */
struct control {
	struct control *next;
	uint32_t tag;
	uint16_t len;
	bool alone;    /* INIT, INIT ACK, SHUTDOWN COMPLETE: never bundled (RFC 9260 6.10) */
	bool checksum; /* never with a zero checksum */
	uint8_t bytes[];
};

/* A message of the owner, until all its fragments are acknowledged or abandoned. */
struct out_msg {
	struct out_msg *next;
	uint64_t queued_us;
	uint32_t refs; /* entries of the ring, and one while it stands in the queue */
	uint32_t len, sent;
	uint32_t ppid, limit;
	uint16_t stream, ssn;
	uint8_t reliability;
	bool unordered, abandoned;
	uint8_t data[];
};

enum out_state {
	OUT_IN_FLIGHT,
	OUT_LOST,  /* to be sent again */
	OUT_ACKED, /* in a gap block; the peer may still take it back */
	OUT_ABANDONED,
	OUT_STATES,
};

/* One kept TSN. */
struct out_chunk {
	/* NULL: an IP packet. Also when it holds nothing of it, for FORWARD-TSN names its stream. */
	struct out_msg *msg;
	uint32_t tsn, offset;
	uint32_t
		after; /* next_tsn when it was sent last: what is acknowledged from there on left later */
	uint16_t len, retransmits;
	uint8_t flags, state, misses;
	bool fast; /* fast retransmitted once already (RFC 9260 7.2.4) */
};

struct sender {
	uint32_t next_tsn;
	uint32_t cum_ack;  /* the peer has everything up to here */
	uint32_t advanced; /* and needs nothing up to here: Advanced.Peer.Ack.Point of RFC 3758 */
	uint32_t high_ack; /* highest TSN in any gap block or cum_ack */
	struct out_chunk *ring;
	uint32_t ring_cap, ring_head, ring_count;
	struct out_msg *first, *last; /* not completely sent */
	uint32_t bytes, messages;     /* held by all messages */
	bool was_full;
	uint32_t flight;             /* payload bytes of kept chunks in flight */
	uint32_t a_rwnd;             /* of the last SACK */
	uint32_t counts[OUT_STATES]; /* entries by state */
	bool fast; /* one packet may go although the window is closed (RFC 9260 7.2.4) */
	bool filled; /* no packet more fitted the window after the last one: it is being used (7.2.1) */
	uint8_t burst; /* packets of new data left until the next SACK or message */
	uint16_t *ssn; /* next of each stream, as far as used */
	uint32_t ssn_count;
	uint16_t *waiting; /* messages of each stream in the queue */
	uint32_t waiting_count;
	bool forward_due;
	uint32_t
		forward_to; /* that the last one named: less than `advanced` when it had too many streams */
	uint8_t forward_tries;
	uint64_t forward_sent_us;
	uint64_t last_sent_us;
};

struct cc {
	uint32_t mtu; /* packet bytes that cwnd counts in */
	uint32_t cwnd, ssthresh, partial;
	bool recovery;
	uint32_t recovery_tsn;
	uint32_t srtt_us, rttvar_us, rto_us;
	uint8_t backoff;
	bool timing;
	uint32_t timing_tsn;
	uint64_t timing_us;
	uint32_t errors; /* timeouts since something was heard (RFC 9260 8.1) */
	uint32_t min_us, max_us;
};

/* Fragments of one message with adjacent TSNs. */
struct run {
	uint32_t first, last;
	uint32_t ppid;
	uint16_t stream, ssn;
	bool begin, end, unordered;
	uint64_t born_us;
	uint8_t *buf; /* owned: len bytes from head */
	uint32_t head, len, cap;
};

/* A whole ordered message that came too early. */
struct held {
	uint16_t stream, ssn;
	uint32_t ppid;
	uint8_t *buf; /* owned: len bytes from head */
	uint32_t head, len;
};

/* A message for the owner. */
struct ready {
	struct sctp_msg msg;
	uint8_t *buf; /* owned, or NULL when msg.data points into an input packet */
};

struct receiver {
	uint32_t cum, high; /* all up to cum is here; nothing above high */
	uint64_t *map;      /* a bit per TSN above cum, made at the first gap */
	uint16_t *ssn;      /* next expected of each stream, as far as used */
	uint32_t ssn_count;
	struct run *runs; /* sorted by first */
	uint32_t run_count, run_cap;
	struct held *held; /* in no order */
	uint16_t *
		held_order; /* indices of all: those in use, sorted by (stream, ssn), then the free ones */
	uint32_t held_count, held_cap;
	uint32_t bytes; /* in runs, held and ready, overhead included */
	struct ready *ready;
	uint32_t ready_head, ready_count, ready_cap;
	uint32_t lent; /* entries before ready_head whose buffers the owner still reads */
	/* Since the last SACK: */
	uint32_t packets;
	bool sack_due, sack_at_once, first_data;
	bool heard_data, heard_sack; /* in the packet that is being read */
	bool heard_late;             /* DATA after our SHUTDOWN, in this batch */
	uint32_t told_rwnd;          /* in the last SACK */
	uint64_t sack_sent_us;
	uint32_t duplicates[DUPLICATES_MAX];
	uint32_t duplicate_count;
};

/* "Everything up to tsn had been sent (or passed over in a gap) at this time." */
struct tunnel_mark {
	uint32_t tsn;
	uint64_t at_us;
};

struct tunnel {
	bool on;
	uint16_t stream;
	uint32_t given_up;   /* no tunnel TSN up to here is waited for any more */
	uint32_t probe_mark; /* sent before the probe timer was armed */
	uint8_t probe_tries;
	uint64_t progress_us; /* of the peer's SACKs, or since when something is outstanding */
	uint8_t mark_first, mark_count;
	struct tunnel_mark marks[TUNNEL_MARKS];
};

struct reset {
	uint32_t my_sequence;   /* of the next request */
	uint32_t peer_sequence; /* that we expect */
	uint32_t last_result;   /* of the request before that one */
	uint32_t last_tsn;      /* when its streams had nothing left to send */
	bool waiting;           /* the peer was told to ask again */
	bool late;              /* and then its request was performed: this one, less its numbers */
	uint32_t late_sum;
	bool again; /* we were: under a new number */
	uint16_t *
		wanted; /* streams to reset: the first `picked` are next, or in the request under way */
	uint32_t wanted_count, wanted_cap, picked;
	uint32_t asked; /* picked, or 0: no request is under way */
	uint8_t tries;
	uint16_t *events; /* streams that the peer reset, for sctp_event() */
	uint32_t event_head, event_count, event_cap;
};

struct sctp {
	struct sctp_config config;
	enum assoc_state state;
	struct sctp_counters counters;
	uint64_t timers[TIMER_COUNT];
	uint8_t cookie_key[32];

	uint32_t my_tag, my_tsn;
	struct peer_init peer;
	uint16_t out_streams, in_streams; /* negotiated */
	bool use_zero_checksum;
	uint8_t *cookie; /* owned: the peer's, until COOKIE ACK */
	uint16_t cookie_len;
	uint8_t setup_tries, stale_tries, shutdown_tries;

	struct control *control_first, *control_last;
	uint32_t control_count;

	bool event_up, event_down, event_restarted, event_writable;
	bool agreed_end; /* the peer knows that it is over: SHUTDOWN went to its end */
	enum sctp_down_reason down_reason;

	struct sender out;
	struct cc cc;
	struct receiver in;
	struct tunnel tunnel;
	struct reset reset;
	uint64_t heartbeat_sent_us; /* 0: none under way */
	uint64_t heartbeat_nonce;
};

/* assoc.c */
void assoc_end(struct sctp *s, enum sctp_down_reason reason);
void assoc_timer_start(struct sctp *s, enum assoc_timer t, uint64_t at_us);
void assoc_timer_stop(struct sctp *s, enum assoc_timer t);
bool assoc_timer_runs(const struct sctp *s, enum assoc_timer t);
/* One more timeout without an answer; ends the association when there were too many. False: it ended. */
bool assoc_error(struct sctp *s);
/* A slot of a table of 16-bit numbers per stream that grows up to `stream`; NULL without memory. */
uint16_t *assoc_stream_slot(uint16_t **table, uint32_t *count, uint16_t stream);

/* setup.c */
void setup_start(struct sctp *s, uint64_t now_us);
void setup_timeout(struct sctp *s, uint64_t now_us);
void setup_init(struct sctp *s, const struct chunk *c, uint64_t now_us);
void setup_init_ack(struct sctp *s, const struct chunk *c, uint64_t now_us);
/* False: the packet with this cookie must be dropped. */
bool setup_cookie_echo(struct sctp *s, const struct chunk *c, uint32_t packet_tag, uint64_t now_us);
void setup_cookie_ack(struct sctp *s, uint64_t now_us);
void setup_error(struct sctp *s, const struct chunk *c, uint64_t now_us);

/* shutdown.c */
void shutdown_start(struct sctp *s, uint64_t now_us);
/* Goes on when everything is acknowledged. */
void shutdown_check(struct sctp *s, uint64_t now_us);
void shutdown_timeout(struct sctp *s, uint64_t now_us);
void shutdown_chunk(struct sctp *s, const struct chunk *c, uint64_t now_us);
void shutdown_ack(struct sctp *s);
/* DATA came although we said SHUTDOWN: the peer has to hear it again (RFC 9260 9.2). */
void shutdown_data_came(struct sctp *s, uint64_t now_us);
/* Answers a packet of an association that is not there (RFC 9260 8.4). */
void shutdown_out_of_blue(struct sctp *s, uint32_t tag, const struct chunk *first,
                          struct bytes_reader rest);
void shutdown_complete(struct sctp *s);
/* Sends ABORT with one cause (its body may be NULL) and ends the association. */
void shutdown_abort(struct sctp *s, enum chunk_cause cause, const void *body, size_t len);

/* output.c */
/* Room for a control chunk to the peer, or NULL (too many wait, no memory): control is lost as on a bad path. */
struct control *control_new(struct sctp *s, uint32_t tag, size_t max_bytes);
void control_commit(struct sctp *s, struct control *c, const struct bytes_writer *w);
/* A chunk with this body to the current peer. */
void control_chunk(struct sctp *s, uint8_t type, uint8_t flags, const void *body, size_t len);
void control_free(struct sctp *s);

/* send.c */
void send_init(struct sctp *s);
void send_deinit(struct sctp *s);
struct out_chunk *send_at(const struct sctp *s, uint32_t i);
/*
 * A new entry in flight for next_tsn, which it takes, with len bytes of msg from its `sent` (NULL: an IP packet).
 * NULL when the ring is full.
 */
struct out_chunk *send_push(struct sctp *s, struct out_msg *msg, uint32_t len, uint8_t flags);
/* Drops the oldest entry. */
void send_pop(struct sctp *s);
void send_set_state(struct sctp *s, struct out_chunk *c, enum out_state state);
/* Something kept was just sent: T3, and a round trip to measure when it is new. */
void send_sent(struct sctp *s, struct out_chunk *c, uint64_t now_us);
/* T3 must run (RFC 9260 6.3.2). */
bool send_needs_timer(const struct sctp *s);
/* The chunk is lost: sends it again later or abandons its message. */
void send_lost(struct sctp *s, uint32_t i, uint64_t now_us);
/* Moves the advanced point after something was abandoned or acknowledged, and plans a FORWARD-TSN. */
void send_advance(struct sctp *s, uint64_t now_us);
void send_rtx_timeout(struct sctp *s, uint64_t now_us);
void send_forward_timeout(struct sctp *s, uint64_t now_us);
/* Drops from the front of the queue what is not worth sending any more. True when any was. */
bool send_expire(struct sctp *s, uint64_t now_us);
/* Writes as many DATA chunks as the windows and the room allow. True when any was written. */
bool send_data(struct sctp *s, struct bytes_writer *w, uint64_t now_us);
/* False: no room. An empty packet of its own size always has it. */
bool send_forward(struct sctp *s, struct bytes_writer *w, uint64_t now_us);
/* DATA would be written now, if there is room for it. */
bool send_is_due(const struct sctp *s);
/* Everything was sent and acknowledged. */
bool send_is_empty(const struct sctp *s);
/* A message of this stream waits or is partly sent. */
bool send_has_stream(const struct sctp *s, uint16_t stream);

/* True when the windows allow a chunk of len bytes. */
bool send_window_open(const struct sctp *s, uint32_t len);

/* The payload-less entries of IP packets leave the ring when tunnel mode begins. */
void send_drop_tunnel(struct sctp *s);

/* sack.c */
void sack_input(struct sctp *s, const struct chunk *c, uint64_t now_us);
/* A cumulative acknowledgement alone, as SHUTDOWN carries it. */
void sack_cum_input(struct sctp *s, uint32_t cum, uint64_t now_us);

/* cc.c */
void cc_init(struct sctp *s);
void cc_set_mtu(struct sctp *s);
void cc_limits(struct sctp *s, uint32_t rto_min_us, uint32_t rto_max_us);
void cc_rtt(struct sctp *s, uint64_t rtt_us);
uint64_t cc_rto(const struct sctp *s);
void cc_idle(struct sctp *s, uint64_t now_us);
void cc_acked(struct sctp *s, uint32_t bytes, bool progress);
void cc_fast_retransmit(struct sctp *s);
void cc_timeout(struct sctp *s);
void cc_heartbeat_timeout(struct sctp *s, uint64_t now_us);
void cc_heartbeat_ack(struct sctp *s, const struct chunk *c, uint64_t now_us);

/* recv.c */
void recv_init(struct sctp *s, uint32_t peer_tsn);
void recv_deinit(struct sctp *s);
void recv_data(struct sctp *s, const struct chunk *c, uint64_t now_us);
void recv_forward(struct sctp *s, const struct chunk *c, uint64_t now_us);
/* After a packet with DATA, and after a batch: decide whether and when a SACK goes. `more`: of the batch. */
void recv_packet_end(struct sctp *s, bool more, uint64_t now_us);
void recv_batch_end(struct sctp *s, uint64_t now_us);
/* Bytes of the SACK that would be written, at most `room`; 0 when not even the smallest fits. */
bool recv_write_sack(struct sctp *s, struct bytes_writer *w, uint64_t now_us);

/* What may be received now, for a_rwnd. */
uint32_t recv_window(const struct sctp *s);

/* reasm.c */
enum reasm_result {
	REASM_TAKEN,
	REASM_REFUSED, /* no room: the TSN must stay unacknowledged */
	REASM_ABORTED, /* the message is larger than we announced */
};

enum reasm_result reasm_data(struct sctp *s, const struct chunk_data *d, uint8_t flags,
                             uint64_t now_us);
/* The peer gave up ordered messages of `stream` up to ssn. */
void reasm_skip(struct sctp *s, uint16_t stream, uint16_t ssn);
/* Drops partial messages that cannot become whole any more. */
void reasm_purge(struct sctp *s);
void reasm_timeout(struct sctp *s, uint64_t now_us);
void reasm_stream_reset(struct sctp *s, uint16_t stream);
void reasm_release_lent(struct sctp *s);
void reasm_deinit(struct sctp *s);

/* reset.c */
void reset_init(struct sctp *s);
void reset_deinit(struct sctp *s);
void reset_input(struct sctp *s, const struct chunk *c, uint64_t now_us);
/* Asks when nothing waits on the wanted streams any more. */
void reset_check(struct sctp *s, uint64_t now_us);
void reset_timeout(struct sctp *s, uint64_t now_us);
bool reset_is_wanted(const struct sctp *s, uint16_t stream);

/* tunnel.c */
void tunnel_init(struct sctp *s);
/* A SACK came. `progress`: it acknowledged something new. */
void tunnel_sack(struct sctp *s, bool progress, bool gap, uint64_t now_us);
void tunnel_give_up_timeout(struct sctp *s, uint64_t now_us);
void tunnel_probe_timeout(struct sctp *s, uint64_t now_us);

#endif /* GV_PROTO_SCTP_ASSOC_IMPL_H */
