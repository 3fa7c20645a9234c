/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_SIM_ICE_WORLD_H
#define GV_TESTS_SIM_ICE_WORLD_H

/*
 * ice_world - computers in homes of several kinds, an ICE agent at both ends of each pair, STUN servers and a
 * signaling service, all in virtual time.
 *
 * A computer has one socket for all its agents, as the product has: STUN finds its agent by user name fragment or
 * transaction. Signals take a time of their own each, so candidates and answers overtake each other.
 */

#include "net.h"

#include "proto/ice/agent.h"
#include "proto/ice/gather.h"

#include <stdbool.h>
#include <stdint.h>

#define MS 1000ull
#define S  1000000ull

#define WORLD_COMPUTERS 4
#define WORLD_BASES     3
#define WORLD_PAIRS     (WORLD_COMPUTERS * (WORLD_COMPUTERS - 1) / 2)
#define WORLD_CANDS     32
#define WORLD_SIGNALS   2048

enum home {
	HOME_OPEN,       /* a public address, nothing in front */
	HOME_FIREWALL,   /* a public address behind a stateful firewall */
	HOME_CONE,       /* full cone */
	HOME_ADDR,       /* address-restricted cone */
	HOME_PORT,       /* port-restricted cone */
	HOME_SYM,        /* symmetric */
	HOME_SYMADDR,    /* symmetric mapping, address-restricted filter */
	HOME_BLOCKED,    /* no UDP */
	HOME_CARRIER,    /* a port-restricted cone behind a carrier's */
	HOME_CARRIERSYM, /* a port-restricted cone behind a symmetric carrier */
	HOME_DUAL,       /* port-restricted cone for IPv4, firewalled IPv6 */
	HOME_V6,         /* firewalled IPv6 only */
	HOME_TWO_NICS,   /* port-restricted cone and, on another interface, a symmetric one */
	HOME_COUNT,
};

struct computer {
	enum home home;
	struct sim_base bases[WORLD_BASES];
	unsigned base_count;
	struct gather *gather;
	struct ice_cand cands[WORLD_CANDS]; /* told so far */
	unsigned cand_count;
	bool started, gathered;
	uint64_t refresh_us; /* STUN servers are not asked anew before */
};

/* One end of a pair. */
struct side {
	unsigned computer;
	struct ice_agent *agent;
	bool is_offerer, has_remote;
	char remote_ufrag[ICE_UFRAG_MAX + 1]; /* of the generation that candidates are for */
	char former_ufrag[ICE_UFRAG_MAX + 1]; /* our own, before the last restart; "" none */
	bool has_path, failed;
	unsigned selections, disconnects, quiets;
	struct netaddr path_local, path_remote;
	uint64_t send_until_us, heard_told_us, sent_told_us, last_data_us;
	uint64_t selected_us; /* first */
	uint64_t packets;     /* STUN sent and received by the agent */
};

struct pair {
	struct side ends[2];
	unsigned answers_to_lose;
	bool is_second;          /* it gave up once and began anew */
	uint64_t offered_us;     /* last offer */
	uint64_t last_signal_us; /* the last one that came */
};

enum signal_type {
	SIGNAL_OFFER,
	SIGNAL_ANSWER,
	SIGNAL_CANDIDATE,
	SIGNAL_END,
};

struct signal {
	uint64_t at_us; /* 0: free */
	uint64_t expires_us;
	unsigned pair, to;
	enum signal_type type;
	char ufrag[ICE_UFRAG_MAX + 1], pwd[ICE_PWD_MAX + 1]; /* of the sender */
	struct ice_cand cand;
};

struct world {
	uint64_t seed, start_us, now_us;
	struct rng rng;
	struct sim_net net;
	struct netaddr stun4, stun6;
	enum ice_mode mode;
	struct computer computers[WORLD_COMPUTERS];
	unsigned computer_count;
	unsigned carrier; /* realm behind the carrier that several homes share; 0: none yet */
	struct pair pairs[WORLD_PAIRS];
	unsigned pair_count;

	struct signal signals[WORLD_SIGNALS];
	unsigned signal_end; /* places from here on are free */
	uint64_t signal_next_us, signal_max_us;
	unsigned signal_late_permille; /* candidates that take up to 5 s longer */

	uint64_t data_each_us, next_data_us; /* 0: no data */

	/* A stranger who sees packets and sends them again from his own address, or changed. */
	struct netaddr stranger;
	uint64_t stranger_sent, stranger_got; /* bytes */
	char failure[128];                    /* an invariant that broke; empty: none */
};

const char *home_name(enum home h);

/* A world without computers. Ends the program without memory. */
struct world *world_new(uint64_t seed, enum ice_mode mode);
void world_free(struct world *w);

/* A computer in a home of its own, or in the LAN of computer `lan` (-1: own). Returns its number. */
unsigned world_add_computer(struct world *w, enum home h, int lan);
/* An agent at both ends; computer a offers. `conflict`: both believe that they control, or that neither does. */
unsigned world_add_pair(struct world *w, unsigned a, unsigned b, bool conflict);
/* The computer starts gathering, and offers in its pairs. */
void world_start(struct world *w, unsigned computer);
/* The offerer of this pair begins a new generation (RFC 8445 9). */
void world_restart(struct world *w, unsigned pair);
/* The computer's address on this base is another one from now on. */
void world_change_address(struct world *w, unsigned computer, unsigned base);

/* The stranger is at work from now on. */
void world_add_stranger(struct world *w);

/* Lets virtual time pass. */
void world_run_until(struct world *w, uint64_t until_us);
/* Data on all paths each each_us; 0 ends it. */
void world_data(struct world *w, uint64_t each_us);

/* By theory: the two ends of this pair can meet. */
bool world_can_meet(struct world *w, const struct pair *p);
/* In each pair that can meet, data sent by each end from now on has arrived by then. False: not within that time. */
bool world_flows(struct world *w, uint64_t within_us);

#endif /* GV_TESTS_SIM_ICE_WORLD_H */
