/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_ICE_AGENT_IMPL_H
#define GV_PROTO_ICE_AGENT_IMPL_H

/*
 * agent_impl - the inside of struct ice_agent, shared by agent, pair, checklist, answer and live, and by the
 * white-box tests.
 *
 *   agent.c      credentials, candidates, restart, events, deadline: the public face
 *   pair.c       the table of pairs
 *   checklist.c  which pair is checked when, and the requests (RFC 8445 6.1.4, 7.2.4)
 *   answer.c     what comes in: requests and responses (RFC 8445 7.2.5, 7.3)
 *   live.c       nomination, the selected pair, consent, dead paths (RFC 8445 8, RFC 7675)
 */

#include "base/clock.h"
#include "proto/ice/agent.h"
#include "proto/stun/msg.h"

#define ICE_MS 1000u
#define ICE_S  1000000u

#define ICE_ID_RANDOM       8   /* bytes of a transaction id after the prefix */
#define ICE_MAX_PROBES      64  /* outstanding liveness and consent checks */
#define ICE_MAX_RESPONSES   16  /* answers that wait for ice_output() */
#define ICE_MAX_SEEN        64  /* requests remembered against replay */
#define ICE_MAX_SOURCES     3   /* addresses that one transaction may come from */
#define ICE_RESPONSE_MAX    128 /* bytes of one answer */
#define ICE_LOCAL_UFRAG_LEN 8   /* 40 bits (RFC 8445 5.3: at least 24) */
#define ICE_LOCAL_PWD_LEN   32  /* 160 bits (at least 128) */
#define ICE_NO_SLOT         0xff
/* Pairs are made in blocks, which never move: few paths have more than one. */
#define ICE_PAIR_BLOCK  16
#define ICE_PAIR_BLOCKS (ICE_MAX_PAIRS / ICE_PAIR_BLOCK)
_Static_assert(ICE_MAX_PAIRS % ICE_PAIR_BLOCK == 0, "blocks fill the table");

struct ice_creds {
	bool set; /* local ones are there */
	bool has_remote;
	char local_ufrag[ICE_LOCAL_UFRAG_LEN + 1];
	char local_pwd[ICE_LOCAL_PWD_LEN + 1];
	char remote_ufrag[ICE_UFRAG_MAX + 1];
	char remote_pwd[ICE_PWD_MAX + 1];
};

struct ice_slot {
	bool used;
	uint64_t seen_us; /* of a peer-reflexive remote one: last check from there */
	struct ice_cand c;
};

enum ice_pair_state {
	ICE_PAIR_FREE = 0, /* no pair in this place of the table */
	ICE_PAIR_FROZEN,
	ICE_PAIR_WAITING,
	ICE_PAIR_IN_PROGRESS,
	ICE_PAIR_SUCCEEDED,
	ICE_PAIR_FAILED,
};

struct ice_pair {
	enum ice_pair_state state;
	uint16_t place; /* in the table */
	enum ice_cand_type local_type, remote_type;
	struct netaddr base, addr; /* we send from base to addr */
	uint8_t local, remote;     /* places of the candidates; ICE_NO_SLOT when old */
	bool old;                  /* of the generation before the restart */
	bool valid;                /* a check went through, and nothing since says it is dead */
	bool valid_event;          /* ICE_EVENT_PAIR_VALID is due */
	bool nominate;             /* controlling: its next check carries USE-CANDIDATE */
	bool peer_nominated;       /* controlled: USE-CANDIDATE was heard; select when valid */
	uint64_t priority;
	uint64_t foundation;   /* hash over both */
	uint32_t trigger;      /* place in the triggered-check queue; 0: not in it */
	uint64_t nominated_us; /* controlled: last USE-CANDIDATE heard */

	/* The check, while in progress. */
	uint8_t id[ICE_ID_RANDOM];
	bool check_nominates, check_controlling;
	bool hastened, is_extra; /* repeated because a request came in; the next one is */
	uint8_t sent, sent_max;
	uint32_t rto_us;
	uint64_t sent_us, due_us; /* last request; next request or the end */

	/* Liveness. */
	uint64_t heard_us;      /* last authenticated message from there */
	uint64_t answered_us;   /* last answer to a request of ours */
	uint64_t probe_us;      /* last probe sent */
	uint64_t unanswered_us; /* first probe since the last answer; 0: none */
	uint32_t unanswered;    /* how many */
	uint32_t rtt_us;
};

/* A probe that may still be answered. */
struct ice_probe {
	uint8_t id[ICE_ID_RANDOM];
	bool controlling;
	uint16_t pair;
	uint64_t sent_us; /* 0: free */
};

/* A request that came: its transaction and from where. */
struct ice_seen {
	uint8_t id[STUN_ID_SIZE];
	uint32_t source; /* hash of the address; 0: free */
	bool is_copy;    /* the transaction had come from another address before */
};

struct ice_response {
	struct netaddr local, remote;
	size_t len;
	uint8_t data[ICE_RESPONSE_MAX];
};

/* What differs between the modes. */
struct ice_timing {
	uint32_t ta_us;        /* pause between two new checks */
	uint32_t rto_us;       /* first retransmission */
	uint32_t rto_max_us;   /* doubling ends here */
	uint32_t last_wait_us; /* from the last request to failure, at least */
	uint8_t sent_max;      /* requests of one check */
	uint32_t settle_us;    /* from the first valid pair to nomination */
};

struct ice_agent {
	enum ice_role role;
	enum ice_mode mode;
	const struct ice_timing *timing;
	uint32_t prefix;
	uint64_t tie_breaker;
	struct rng rng;

	struct ice_creds cur, prev;
	struct ice_slot locals[ICE_MAX_CANDIDATES], remotes[ICE_MAX_CANDIDATES];
	bool local_ended, remote_ended;

	struct ice_pair *pair_blocks[ICE_PAIR_BLOCKS]; /* owned; NULL from the first unused on */
	unsigned pair_end;                             /* places from here on are free */
	uint32_t trigger_seq;
	uint64_t next_check_us; /* pacing of checks (Ta) */
	uint64_t next_probe_us; /* pacing of probes of pairs that are not selected */
	struct ice_probe probes[ICE_MAX_PROBES];
	unsigned probe_next;
	struct ice_response responses[ICE_MAX_RESPONSES];
	unsigned response_first, response_count;
	struct ice_seen seen[ICE_MAX_SEEN];
	unsigned seen_next;

	uint64_t start_us;       /* remote credentials of this generation came; 0: not yet */
	uint64_t first_valid_us; /* of this generation; 0: none yet */
	uint64_t fail_us;        /* when to look whether all failed */
	struct ice_pair *selected;
	bool lost;              /* had a selected pair, and its address went away */
	uint64_t lost_until_us; /* when its consent ends */

	uint64_t data_us;     /* last ice_heard() */
	uint64_t data_out_us; /* first ice_sent() since something was heard; 0: none */
	uint64_t suspect_us;  /* a sign that the peer left the selected pair; 0: none */
	bool announce;        /* we left the former selected pair: probe the new one at once */
	uint32_t idle_us;     /* pause before an idle path is probed; random */
	uint32_t consent_us;  /* RFC 7675: random 4 .. 6 s */
	bool probing;         /* the selected pair does not answer: everything is probed */
	uint64_t revive_us;   /* when failed pairs are tried again while probing */
	uint32_t revive_step_us;
	uint64_t rotate_us; /* when one better failed pair is tried again */

	uint64_t deadline_us; /* computed at the end of each call */
	bool ev_selected, ev_consent, ev_quiet, ev_disconnected, ev_failed;
	bool disconnected, failed;
	uint64_t dropped;
};

/* pair.c */

/* The pair in that place, used or free; NULL where no block was made yet. */
struct ice_pair *ice_pair_at(const struct ice_agent *a, unsigned place);
/* The next used place after p (NULL: the first), or NULL. */
struct ice_pair *ice_pair_next(struct ice_agent *a, const struct ice_pair *p);
/* The pair of this generation with these addresses, or NULL. */
struct ice_pair *ice_pair_find(struct ice_agent *a, const struct netaddr *base,
                               const struct netaddr *addr);
/* Pairs two candidates; the existing pair when there is one, NULL when they cannot pair, the table is full, no memory. */
struct ice_pair *ice_pair_add(struct ice_agent *a, unsigned local, unsigned remote);
void ice_pair_remove(struct ice_agent *a, struct ice_pair *p);
/* Pairs a new candidate with all of the other side. */
void ice_pair_form_local(struct ice_agent *a, unsigned local);
void ice_pair_form_remote(struct ice_agent *a, unsigned remote);
/* Computes all priorities anew, after a change of role or of a candidate. */
void ice_pair_prioritize(struct ice_agent *a);

/* A place for one more remote candidate, emptied of a useless peer-reflexive one if need be; NULL: full. */
struct ice_slot *ice_pair_take_remote(struct ice_agent *a);

/* checklist.c */

/* Puts the pair at the end of the triggered-check queue. */
void ice_check_enqueue(struct ice_agent *a, struct ice_pair *p);
/* An authenticated request came over this pair (RFC 8445 7.3.1.4); it may be a stranger's copy. */
void ice_check_trigger(struct ice_agent *a, struct ice_pair *p, bool is_copy, uint64_t now_us);
/* A pair of this foundation succeeded (RFC 8445 7.2.5.3.3). */
void ice_check_unfreeze(struct ice_agent *a, uint64_t foundation);
/* Marks checks failed that were never answered. */
void ice_check_expire(struct ice_agent *a, uint64_t now_us);
/* The next connectivity check to send: 1, or 0. */
int ice_check_output(struct ice_agent *a, struct ice_packet *out, uint64_t now_us);
uint64_t ice_check_deadline(struct ice_agent *a);
/* Ends the check of this pair without an answer. */
void ice_check_fail(struct ice_agent *a, struct ice_pair *p);
/* The same, but another check begins: no longer valid, nor to be nominated. */
void ice_check_again(const struct ice_agent *a, struct ice_pair *p);
/* Writes a Binding request for this pair. */
void ice_check_write(struct ice_agent *a, const struct ice_pair *p, const uint8_t *id,
                     bool controlling, bool nominates, struct ice_packet *out);

/* answer.c */

int ice_answer_input(struct ice_agent *a, const struct netaddr *local, const struct netaddr *remote,
                     const struct stun_msg *m, uint64_t now_us);
/* The oldest waiting answer: 1, or 0. */
int ice_answer_output(struct ice_agent *a, struct ice_packet *out);

/* live.c */

/* A request of ours over p was answered. */
void ice_live_answered(struct ice_agent *a, struct ice_pair *p, uint64_t sent_us, uint64_t now_us);
/* An authenticated request came over p. */
void ice_live_heard(struct ice_agent *a, struct ice_pair *p, uint64_t now_us);
/* p was checked with success: becomes valid. */
void ice_live_valid(struct ice_agent *a, struct ice_pair *p, uint64_t now_us);
/* Controlled: the peer nominated p. */
void ice_live_nominated(struct ice_agent *a, struct ice_pair *p, uint64_t now_us);
/* Remote credentials came: the time to connect begins. */
void ice_live_start(struct ice_agent *a, uint64_t now_us);
/* The selected pair was removed with its address; it could have been used until until_us. */
void ice_live_lose(struct ice_agent *a, uint64_t until_us, uint64_t now_us);
/* Sends go over p from now on. */
void ice_live_select(struct ice_agent *a, struct ice_pair *p, uint64_t now_us);
/* Decides what time alone changes: nomination, dead paths, consent, failure. */
void ice_live_evaluate(struct ice_agent *a, uint64_t now_us);
/* The next probe to send: 1, or 0. */
int ice_live_output(struct ice_agent *a, struct ice_packet *out, uint64_t now_us);
uint64_t ice_live_deadline(struct ice_agent *a);
/* There is a selected pair of this generation, and it answers. */
bool ice_live_is_well(const struct ice_agent *a);
/* Until when the selected pair may be used. */
uint64_t ice_live_send_until(const struct ice_agent *a);

#endif /* GV_PROTO_ICE_AGENT_IMPL_H */
