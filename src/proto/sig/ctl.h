/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SIG_CTL_H
#define GV_PROTO_SIG_CTL_H

/*
 * ctl - the small messages on the `ctl` data channel between two peers.
 *
 * Does:      builds and parses them (binary, one type byte, big endian); cuts longer content into parts and puts it
 *            together again.
 * Does not:  verify signatures, keep state of a peer.
 * Thread:    any; struct ctl_parts belongs to one thread.
 * Memory:    ctl_parts holds at most CTL_PARTS_MAX bytes of what really arrived.
 * Time:      none.
 */

#include "base/buf.h"
#include "base/macro.h"
#include "proto/sig/document.h"
#include "proto/sig/netid.h"

#include <stddef.h>
#include <stdint.h>

#define CTL_SIZE_MAX      1100 /* one SCTP chunk on every path */
#define CTL_PART_DATA_MAX 1080 /* content bytes of one part */
#define CTL_PARTS_MAX     (512 * 1024)
#define CTL_VERSION       1 /* of these messages */

enum ctl_type {
	CTL_HELLO = 1,   /* first message of both sides; of the offerer after CTL_CONFIRM */
	CTL_CONFIRM = 2, /* first message of the offerer */
	CTL_PING = 3,    /* answered by CTL_PONG with the same id */
	CTL_PONG = 4,
	CTL_DOC_REQUEST = 5, /* "send me your network document": answered by parts */
	CTL_PART = 6,        /* a piece of longer content */
	CTL_LEAVE = 7,       /* signed: the sender left the network */
	CTL_PATH_REPORT = 8, /* how the sender sees the path */
	CTL_BYE = 9,         /* the sender closes this association on purpose */
};

/* Bits of ctl_hello.features; unknown bits are ignored. */
#define CTL_FEATURE_TUNNEL  (1u << 0) /* tunnel mode of `ip` (design of SCTP's flight accounting) */
#define CTL_FEATURE_PARTIAL (1u << 1) /* makes the transport checksums of segments itself */

struct ctl_hello {
	uint16_t version_lo, version_hi;
	uint32_t features;
	uint64_t session;
	uint64_t epoch;                       /* of the sender's newest document */
	uint8_t doc_hash[DOCUMENT_HASH_SIZE]; /* and its hash */
};

struct ctl_confirm {
	uint8_t sig[SIG_SIGNATURE_SIZE]; /* proof_confirm_verify() */
};

struct ctl_ping { /* and pong */
	uint64_t id;
};

struct ctl_doc_request {
	uint64_t have_epoch; /* of the asking side; nothing is sent unless ours is higher */
};

enum ctl_content {
	CTL_CONTENT_DOCUMENT = 1, /* the encoding of a network document */
	CTL_CONTENT_SIGNAL =
		2, /* a JSON SdpOffer, SdpAnswer or IceCandidate, as through the server */
};

struct ctl_part {
	uint8_t content; /* enum ctl_content; others are put together and ignored by the receiver */
	uint32_t id;     /* chosen by the sender, another one for each content */
	uint16_t index;  /* 0 .. count - 1, in order */
	uint16_t count;  /* >= 1 */
	const uint8_t *data; /* borrowed: of the parsed bytes, or the caller's */
	size_t n;            /* 1 .. CTL_PART_DATA_MAX; every part but the last is full */
};

struct ctl_leave {
	uint64_t session;
	int64_t unix_s;
	uint8_t sig
		[SIG_SIGNATURE_SIZE]; /* proof_leave_verify() with the network and the peer's key */
};

enum ctl_path_kind {
	CTL_PATH_HOST = 0,
	CTL_PATH_SRFLX = 1,
	CTL_PATH_PRFLX = 2,
	CTL_PATH_RELAY = 3,
};

struct ctl_path_report {
	uint8_t kind; /* enum ctl_path_kind; larger values of later versions are let through */
	uint16_t mtu; /* bytes of an IP packet that passed; 0 unknown */
	uint32_t rtt_us;
	uint64_t rx_packets, rx_bytes, rx_lost; /* of `ip`, since the association began */
};

enum ctl_bye_reason {
	CTL_BYE_DOWN = 0,     /* the user disconnected the network */
	CTL_BYE_REPLACED = 1, /* a newer association took over */
	CTL_BYE_REFUSED = 2,  /* proof, membership or version not accepted */
	CTL_BYE_STOPPING = 3, /* the daemon ends */
};

struct ctl_bye {
	uint8_t reason; /* enum ctl_bye_reason; others mean CTL_BYE_DOWN */
};

struct ctl_msg {
	enum ctl_type type;

	union {
		struct ctl_hello hello;
		struct ctl_confirm confirm;
		struct ctl_ping ping; /* CTL_PING and CTL_PONG */
		struct ctl_doc_request doc_request;
		struct ctl_part part;
		struct ctl_leave leave;
		struct ctl_path_report path_report;
		struct ctl_bye bye;
	};
};

enum ctl_result {
	CTL_OK = 0,
	CTL_BAD = 1,     /* malformed: drop and count */
	CTL_UNKNOWN = 2, /* a type of a later version: ignore */
};

/* Writes a message. Returns its length, or 0 when a part is empty or too long. */
size_t ctl_build(const struct ctl_msg *msg, uint8_t out[static CTL_SIZE_MAX])
	gv_must_check gv_nonnull(1, 2);

/*
 * Parses one message; pointers in *out are borrowed from bytes. What stands behind the last known field belongs to a later
 * version and is ignored, except in CTL_PART. Returns CTL_OK, CTL_BAD, CTL_UNKNOWN.
 */
int ctl_parse(struct ctl_msg *out, const void *bytes, size_t n) gv_must_check gv_nonnull(1, 2);

/* Number of parts for n bytes (1 .. CTL_PARTS_MAX); 0 when n is out of range. */
size_t ctl_part_count(size_t n);
/* Fills part `index` (< ctl_part_count(n)) of the content at `bytes`; part->data is borrowed from it. */
void ctl_part_cut(struct ctl_part *part, enum ctl_content content, uint32_t id, size_t index,
                  const void *bytes, size_t n) gv_nonnull(1, 5);

/* Puts one content at a time together. A part with index 0 begins anew and drops what was incomplete. */
struct ctl_parts {
	struct buf bytes;
	uint32_t id;
	uint16_t next, count; /* count 0: nothing under way */
	uint8_t content;
};

enum ctl_parts_result {
	CTL_PARTS_MORE = 1, /* taken, not complete yet */
	CTL_PARTS_DONE =
		2, /* parts->bytes holds the content of kind parts->content until the next call */
	CTL_PARTS_BAD =
		3, /* out of order, or changed its mind: dropped, nothing under way any more */
};

void ctl_parts_init(struct ctl_parts *parts) gv_nonnull(1);
void ctl_parts_deinit(struct ctl_parts *parts) gv_nonnull(1);
/* Takes the next part. Returns enum ctl_parts_result; -ENOMEM (nothing under way any more). */
int ctl_parts_add(struct ctl_parts *parts, const struct ctl_part *part)
	gv_must_check gv_nonnull(1, 2);

#endif /* GV_PROTO_SIG_CTL_H */
