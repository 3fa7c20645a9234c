/* SPDX-License-Identifier: MIT */
#ifndef GV_ENGINE_DATAPLANE_SHARD_H
#define GV_ENGINE_DATAPLANE_SHARD_H

/*
 * shard - the state of the packet thread and what its parts call of each other. Private to engine/dataplane.
 *
 *   dataplane.c  the face: runs on the control thread, makes messages
 *   shard.c      the thread: epoll, commands, timers
 *   net.c        networks and peers: tables by address, STUN names, addresses of links
 *   link.c       one link: SCTP, data channels, records, events
 *   out.c        TUN -> UDP
 *   queue.c      packets that wait for a slow interface (gate.c says when)
 *   in.c         UDP -> link: train, demultiplexing, records
 *   deliver.c    link -> TUN: inner checks, joining, write
 *
 * Thread:  everything here belongs to the packet thread, but for dataplane.c as said there.
 * Memory:  commands bring what they add. The packet thread allocates, all of it bounded: a copy of each record before the
 *          keys, of each STUN message, handshake datagram and ctl message for the control thread, messages that come in
 *          fragments, and the tables of peers and addresses as they grow; nothing for a packet that passes whole.
 */

#include "base/batch.h"
#include "base/heap.h"
#include "base/mem.h"
#include "base/mq.h"
#include "base/netaddr.h"
#include "crypto/record.h"
#include "engine/dataplane/dataplane.h"
#include "engine/dataplane/gate.h"
#include "io/udp.h"
#include "proto/dcep/channel.h"
#include "proto/ip/coalesce.h"
#include "proto/ip/fq.h"
#include "proto/ip/inner.h"
#include "proto/ip/vnet.h"
#include "proto/sctp/sctp.h"

#include <pthread.h>

/* uthash: checked allocation in place of exit(); hh.tbl stays NULL when an element could not be added. */
#define HASH_NONFATAL_OOM 1
#define uthash_malloc(n)  mem_alloc(1, (n))
#define uthash_free(p, n) mem_free(p)
#include <uthash.h>

/* Lanes of the command queue. */
enum command_lane {
	COMMAND_LANE_STATE = 0, /* tables, keys, ends */
	COMMAND_LANE_RAW,       /* STUN and handshakes to be sent */
	COMMAND_LANE_CTL,
	COMMAND_LANE_STOP,
};

/* Lanes of the event queue. */
enum event_lane {
	EVENT_LANE_STUN = 0,
	EVENT_LANE_HANDSHAKE,
	EVENT_LANE_CTL,
	EVENT_LANE_STATE, /* bounded by the number of links, peers and networks */
};

enum command_type {
	COMMAND_NET_ADD,
	COMMAND_NET_DEL,
	COMMAND_PEER_ADD,
	COMMAND_PEER_DEL,
	COMMAND_LINK_ADD,
	COMMAND_NET_TRANSACTIONS,
	COMMAND_LINK_ADDR,
	COMMAND_LINK_PATH,
	COMMAND_LINK_KEYS,
	COMMAND_LINK_START,
	COMMAND_LINK_OPEN_IP,
	COMMAND_LINK_ALLOW_IP,
	COMMAND_LINK_TUNNEL,
	COMMAND_LINK_PARTIAL,
	COMMAND_LINK_DEL,
	COMMAND_SEND_RAW,
	COMMAND_SEND_SEALED,
	COMMAND_CTL_SEND,
	COMMAND_STOP,
};

#define UFRAG_SIZE 33 /* ours have at most 32 characters */

struct event {
	struct mq_msg head;
	_Atomic uint32_t *count; /* decremented when control gives it back, or NULL */
	struct dataplane_event ev;
	uint8_t data[];
};

struct net;
struct peer;
struct link;

/* What the keys of a link bring: made on the control thread, moved. */
struct link_keys {
	struct record *record;
	struct sctp *sctp;
	struct dcep *dcep;
	enum dataplane_dtls_role role;
};

struct command {
	struct mq_msg head;
	uint32_t net, peer, link;
	struct net *net_moved;
	struct peer *peer_moved;
	struct link *link_moved;
	struct event *gone_moved; /* of the three deletions: the event that answers */
	struct link_keys keys;    /* moved */
	struct netaddr local, remote;
	uint32_t prefix;
	bool polite;
	uint8_t type; /* of a sealed record */
	char ufrag[UFRAG_SIZE];
	size_t len;
	uint8_t data[];
};

/* Tokens at so many a second, as many as `burst` at once. */
struct bucket {
	uint64_t last_us;
	int64_t credit_us; /* one token is 1 s / rate; below 0: owed */
};

/* Broadcasts and multicasts: of a network towards its peers, and of a peer towards us. */
#define BROADCAST_RATE  200
#define BROADCAST_BURST 400
/* Copies for the single peers: 20,000 are some 0.1 s of the packet thread, so that hundreds of peers get fewer broadcasts. */
#define COPIES_RATE  20000
#define COPIES_BURST 4000
/* Answers "too big" a second. */
#define TOOBIG_RATE  100
#define TOOBIG_BURST 100

/* Largest IP packet that goes in one piece over IPv4: the interface's MTU, 1,473 bytes outside. */
#define LINK_PAYLOAD_BYTES 1380
/* Over IPv6: 1,489 bytes outside, because the 1,493 of a full one are a byte more than PPPoE carries. */
#define LINK_PAYLOAD_IP6 1376
/* The same after an interface on the way out refused a datagram: fits a path of 1,280 bytes over IPv6 and TURN. */
#define LINK_PAYLOAD_SMALL 1160

/* An IP packet whose transport checksum the receiver is to make (docs/protocol.md 10). */
#define PPID_IP_PARTIAL 0x67560001u

/* Shortest prefix whose hosts stand in an array. */
#define NET_PREFIX4_MIN 16

/* Bytes that name a remote address in a hash table; no padding. */
struct addr_key {
	uint8_t ip[16];
	uint16_t port;
	uint16_t family;
};

/* One validated address of a link. Links that share it hang on the first, which stands in the table. */
struct link_addr {
	struct addr_key key;
	struct link *link;
	struct link_addr *next; /* same address, other link */
	uint64_t order;         /* of binding; 0: free */
	struct netaddr remote;
	UT_hash_handle hh; /* of net.addrs */
};

/* A user name fragment or a transaction prefix that STUN may use: both random, no stranger knows them. */
struct stun_name {
	char text[UFRAG_SIZE + 3]; /* padded with zeroes */
	UT_hash_handle hh;         /* of net.ufrags */
};

struct stun_prefix {
	uint32_t prefix;
	UT_hash_handle hh; /* of net.prefixes */
};

/* A prefix of transactions that belong to no link. */
struct stun_gather {
	uint32_t prefix;
	bool used;
};

/* Packets that wait while the gate is closed: at 100 Mbit/s some 60 ms of full ones. Their tags are peers. */
#define QUEUE_PACKETS        512
#define QUEUE_SLOT_BYTES     1408
#define QUEUE_DATAGRAM_BYTES (LINK_PAYLOAD_BYTES + 93)

/* A record of type 23 that came before the keys; few links see one. */
#define HELD_RECORDS 64
#define HELD_BYTES   2048

struct held {
	struct held *next;
	uint16_t len;
	uint8_t data[];
};

/*
 * The newest ClientHello of an address that no link has yet; browsers need two datagrams for it. A peer begins its
 * handshake when its check was answered, so only an address that got an answer may be early, and no stranger can
 * push its hello out.
 */
#define EARLY_DATAGRAMS 3
#define NET_EARLY       16

struct early {
	struct netaddr local, remote; /* family none: free */
	unsigned count;
	uint16_t len[EARLY_DATAGRAMS];
	uint8_t data[EARLY_DATAGRAMS][HELD_BYTES];
};

#define NET_GATHER_PREFIXES 4

/* Where epoll's word comes from. */
enum source_kind {
	SOURCE_COMMANDS,
	SOURCE_TUN,
	SOURCE_UDP,
};

struct source {
	enum source_kind kind;
	struct net *net;
	struct udp *udp;
};

struct net {
	uint32_t id;
	struct dataplane_net_config c;
	struct dataplane_stats *stats; /* borrowed until NET_GONE */
	int tun_fd;
	bool tun_lost; /* control was told */
	struct udp udp4, udp6;
	struct source tun_source, udp4_source, udp6_source;
	uint32_t own4, broadcast4, first4; /* host order; first4: network address */
	uint32_t hosts;                    /* size of by_host; 0 without IPv4 */
	struct peer **by_host;             /* by host part; owned */
	struct peer *by_ip6;               /* uthash */
	struct peer *peers;                /* list */
	struct link_addr *addrs;           /* uthash */
	struct stun_name *ufrags;          /* uthash */
	struct stun_prefix *prefixes;      /* uthash */
	struct stun_gather gather[NET_GATHER_PREFIXES];
	unsigned gather_next;
	struct bucket broadcasts, copies, toobigs;
	struct early early[NET_EARLY];
	unsigned early_next; /* the place that is taken next */
	struct gate gate;    /* of both sockets */
	struct fq *queue;    /* owned */
};

struct peer {
	uint32_t id;
	struct net *net;
	struct dataplane_peer_config c;
	struct dataplane_stats *stats; /* borrowed until PEER_GONE */
	struct link *links;            /* newest first */
	struct link *in_use;           /* the one that IP packets take, or NULL */
	struct bucket broadcasts;
	struct peer *prev, *next; /* of net.peers */
	UT_hash_handle hh;        /* of shard.peers */
	UT_hash_handle hh6;       /* of net.by_ip6 */
};

/* Events of a link that must not fail for want of memory. */
enum link_notice {
	LINK_NOTICE_CTL_OPEN,
	LINK_NOTICE_IP_OPEN,
	LINK_NOTICE_DOWN,
	LINK_NOTICES,
};

#define LINK_NO_STREAM   UINT32_MAX
#define LINK_NAMES       2  /* the current ICE session and the one before a restart */
#define LINK_CTL_WAITING 64 /* ctl messages that wait for room in the association */
/* ctl messages that wait for control: one flooding peer must not fill the lane of all. */
#define LINK_CTL_EVENTS 1024

struct ctl_waiting {
	struct ctl_waiting *next;
	size_t len;
	uint8_t data[];
};

struct link {
	uint32_t id;
	struct peer *peer;
	struct dataplane_link_shared *shared; /* borrowed until LINK_GONE */
	struct link *next;                    /* of peer.links */
	struct link_addr addrs[DATAPLANE_MAX_ADDRS];
	struct stun_name names[LINK_NAMES];
	struct stun_prefix prefixes[LINK_NAMES];
	unsigned names_next;
	struct netaddr local, remote;   /* the path; family none: no path yet */
	struct link_keys keys;          /* owned; record NULL before the keys */
	struct held *held, **held_tail; /* owned list; nothing once the keys are here */
	unsigned held_count;
	struct event *notices[LINK_NOTICES];         /* owned; NULL once sent */
	struct ctl_waiting *ctl_waiting, **ctl_tail; /* owned list */
	unsigned ctl_count;
	uint32_t ctl_stream, ip_stream; /* LINK_NO_STREAM: not opened */
	uint16_t payload_bytes;         /* largest IP packet that fits one SCTP packet */
	bool may_send; /* a DTLS client: handshake ended; a server: the client spoke */
	bool ctl_open, ip_open, ip_wanted, ip_allowed, tunnel, down;
	bool leave_sums;        /* the peer makes the checksums of segments itself */
	struct heap_node timer; /* of shard.timers */
	UT_hash_handle hh;      /* of shard.links */
};

/* A train of IP packets on its way to one link. */
struct train {
	struct link *link;
	struct batch batch;
	uint32_t packets;
	uint64_t bytes;
};

/* Packets of one link that wait to share datagrams. */
#define BUNCH_PACKETS 64
/*
 * What is read from a TUN before the sockets get their turn, which is as much as they give (in.c): reads, of which a
 * super-packet is one, and bytes. A queue of small packets must not wait behind megabytes that come in. A broadcast
 * counts for each peer that gets it.
 */
#define TUN_TURN_READS 512
#define TUN_TURN_BYTES (1u << 20)

/* Packets of one link as they were read, so that small ones share datagrams. */
struct bunch {
	struct link *link;
	size_t count;
	struct pkt pkts[BUNCH_PACKETS];
};

#define SHARD_LINKS   (2 * DATAPLANE_MAX_PEERS)
#define SHARD_PACKETS 256 /* datagrams or messages handled together */
#define SHARD_TRAINS  256 /* receives handled together */
#define SHARD_RECV_BYTES \
	(2 * UDP_RECV_BYTES) /* one receive after another, while a whole one fits */
#define SHARD_READ_BYTES (VNET_BYTES + 65536 + 64) /* an IPv6 packet may be 65,575 bytes long */
#define SHARD_TUN_BYTES  (2 * SHARD_READ_BYTES + 96 * 1024) /* of a bunch, and one read more */
#define SHARD_CUT_BYTES  (96 * 1024)
#define SHARD_SYN_BYTES  2048 /* of packets that must be changed before they go to the TUN */
#define SHARD_SYNS       8

struct shard {
	struct mq *commands, *events; /* borrowed */
	int epoll_fd;
	bool stop;
	struct source command_source;
	uint64_t now_us;
	atomic_uint
		n_peers; /* here and on the way: control counts up, whoever frees one counts down */

	struct net *nets[DATAPLANE_MAX_NETS];
	struct peer *peers;  /* uthash */
	struct link *links;  /* uthash */
	uint64_t addr_order; /* last given to a link_addr */
	struct heap timers;  /* of links, at most SHARD_LINKS */

	struct bunch bunch;   /* of the TUN packets being read */
	struct train train;   /* of the TUN packets being read */
	struct coalesce join; /* of the packets being delivered */
	unsigned syns;        /* used of syn */
	struct pkt cut_pkts[BATCH_MAX_COUNT];
	struct pkt in_pkts[SHARD_PACKETS];   /* datagrams of one remote address */
	struct pkt data_pkts[SHARD_PACKETS]; /* opened */
	struct record_plain plains[SHARD_PACKETS];
	struct sctp_msg msgs[SHARD_PACKETS];
	uint8_t train_bytes[BATCH_MAX_BYTES];
	uint8_t output_bytes[BATCH_MAX_BYTES];
	uint8_t tun_bytes[SHARD_TUN_BYTES];
	uint8_t cut_bytes[SHARD_CUT_BYTES];
	uint8_t recv_bytes[SHARD_RECV_BYTES];
	uint8_t backup[UDP_RECV_BYTES];
	uint8_t syn[SHARD_SYNS][SHARD_SYN_BYTES];
};

/* --- shard.c --- */

/* Makes the state. Returns 0, -ENOMEM, -errno. */
int shard_new(struct shard **out, struct mq *commands, struct mq *events) gv_must_check;
void shard_free(struct shard *s);
/* The thread; user is the shard. Returns NULL after COMMAND_STOP. */
void *shard_run(void *user);
/* Frees a command and everything it moved. */
void command_free(struct command *c);
/*
 * Copies data into an event and queues it; `count` (or NULL) is incremented until control gives the event back.
 * Returns 0, -ENOMEM, -ENOBUFS (lane full).
 */
int shard_event(struct shard *s, enum event_lane lane, const struct dataplane_event *ev,
                _Atomic uint32_t *count);
/* Queues the answer to a deletion; moves e. */
void shard_send_gone(struct shard *s, struct event *e);
/* When shard_link_timeout() is due; CLOCK_NEVER: not at all. */
void shard_timer(struct shard *s, struct link *l, uint64_t at_us);
/* Whether there are n tokens, or as many as there can be. */
bool bucket_allows(struct bucket *b, uint64_t now_us, unsigned rate, unsigned burst, size_t n);
/* Takes n tokens if bucket_allows(). Those above the burst are owed. */
bool bucket_take(struct bucket *b, uint64_t now_us, unsigned rate, unsigned burst, size_t n);

static inline void stat_add(_Atomic uint64_t *counter, uint64_t n)
{
	/* One writer: no need for a locked addition. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
	                      memory_order_relaxed);
}

static inline void drop(struct dataplane_stats *stats, enum dataplane_drop why, uint64_t n)
{
	stat_add(&stats->drop[why], n);
}

/* --- net.c --- */

void net_add(struct shard *s, struct net *moved);
void net_del(struct shard *s, uint32_t id, struct event *gone_moved);
struct net *net_find(const struct shard *s, uint32_t id);
void net_free(struct net *n);
/* From here on n closes what its configuration names. */
void net_take_descriptors(struct net *n);
/* Stops reading the TUN and tells control. */
void net_tun_lost(struct shard *s, struct net *n);
void net_transactions(struct net *n, uint32_t prefix);
/* The first of the links bound to `remote`, or NULL. */
struct link_addr *net_addr_find(const struct net *n, const struct netaddr *remote);
/* A check from `remote` is being answered: its ClientHello may come before ICE here is done with it. */
void net_early_expect(struct net *n, const struct netaddr *remote);
/* What is kept for an address, or NULL when no hello is expected from there. */
struct early *net_early_find(struct net *n, const struct netaddr *remote);
/* STUN that belongs to one of us. */
bool net_stun_known(const struct net *n, const uint8_t *data, size_t len);

void peer_add(struct shard *s, uint32_t net, struct peer *moved);
void peer_del(struct shard *s, uint32_t id, struct event *gone_moved);
struct peer *peer_by_ip4(const struct net *n, uint32_t ip);
struct peer *peer_by_ip6(const struct net *n, const uint8_t ip[static 16]);

/* Adds or renews a validated address; the oldest but that of the path gives way. */
void net_addr_bind(struct shard *s, struct link *l, const struct netaddr *remote);
void net_addr_unbind_all(struct link *l);
void net_stun_names_add(struct link *l, const char *ufrag, uint32_t prefix);
void net_stun_names_remove(struct link *l);

/* --- link.c --- */

void link_add(struct shard *s, uint32_t peer, struct link *moved);
void link_del(struct shard *s, uint32_t id, bool polite, struct event *gone_moved);
struct link *link_find(const struct shard *s, uint32_t id);
/* Takes it out of all tables; its memory stays. */
void link_unlink(struct shard *s, struct link *l);
void shard_link_free(struct link *l);
void link_keys_deinit(struct link_keys *k);
void link_path(struct shard *s, struct link *l, const struct netaddr *local,
               const struct netaddr *remote);
void link_set_keys(struct shard *s, struct link *l, struct link_keys *moved);
void link_start(struct shard *s, struct link *l);
void link_open_ip(struct shard *s, struct link *l);
void link_allow_ip(struct shard *s, struct link *l);
void link_tunnel(struct shard *s, struct link *l);
void link_ctl_send(struct shard *s, struct link *l, const uint8_t *data, size_t len);
void link_send_sealed(struct shard *s, struct link *l, uint8_t type, const uint8_t *data,
                      size_t len);
/* Decrypted SCTP packets. */
void link_input(struct shard *s, struct link *l, const struct pkt *in, size_t n);
void shard_link_timeout(struct shard *s, struct link *l);
/* An alert or a ctl message of this link, copied. Returns as shard_event(), and -ENOBUFS above the share of the link. */
int link_event(struct shard *s, const struct link *l, enum event_lane lane,
               enum dataplane_event_type type, const uint8_t *data, size_t len);
/* Ends it because of what the peer or we did; control hears LINK_DOWN. */
void shard_link_fail(struct shard *s, struct link *l);
/* IP packets may be sent on it. */
bool link_carries_ip(const struct link *l);
/* The reason under which a datagram is counted that udp_send() did not take. */
enum dataplane_drop link_why_not_sent(int result);
/* Seals a train and sends it on the path. Returns how many datagrams went; *why the others were dropped. */
unsigned link_send(struct shard *s, struct link *l, struct batch *b, enum dataplane_drop *why);

/* --- queue.c --- */

/* The next packets of this network have to wait, or stand behind others that do. */
bool queue_wanted(const struct net *n);
/* Copies of packets to a peer; what is lost instead is counted. */
void queue_push(struct shard *s, struct link *l, const struct pkt *pkts, size_t n);
/* A train of so many bytes was given to a socket of n. */
void queue_sent(struct net *n, size_t bytes);
/* Sends what waits as far as the gate allows. */
void queue_run(struct shard *s, struct net *n);
/* When queue_run() has something to do again; UINT64_MAX: never. */
uint64_t queue_deadline_us(const struct net *n);

/* --- out.c, in.c, deliver.c --- */

/* Reads the TUN until it is empty or a budget is used. */
void out_tun(struct shard *s, struct net *n);
/* Adds packets to the train of l, which is sent when it is full or another link has its turn. */
void out_append(struct shard *s, struct link *l, const struct pkt *pkts, size_t n);
void out_flush(struct shard *s);
/* Reads the socket likewise. */
void in_udp(struct shard *s, struct net *n, struct udp *u);
/* Records of type 23 that waited for the keys of l, which are here now; their bytes are changed. */
void in_held(struct shard *s, struct link *l, struct held *first);
/* One received IP packet; written to the TUN by deliver_flush() at the latest. */
void deliver(struct shard *s, struct link *l, const uint8_t *data, size_t len);
/* The same for one whose transport checksum is still to be made: the record it came in vouches for its bytes. */
void deliver_partial(struct shard *s, struct link *l, const uint8_t *data, size_t len);
void deliver_flush(struct shard *s, struct link *l);

#endif /* GV_ENGINE_DATAPLANE_SHARD_H */
