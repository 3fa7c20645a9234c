/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_DCEP_CHANNEL_H
#define GV_PROTO_DCEP_CHANNEL_H

/*
 * channel - WebRTC data channels over one SCTP association (RFC 8831, RFC 8832).
 *
 * Does:      DATA_CHANNEL_OPEN and ACK, a bounded table of channels, stream numbers by DTLS role, the payload
 *            protocol ids of text, binary and empty messages, closing by stream reset.
 * Does not:  call proto/sctp: what it wants sent or reset is fetched by dcep_output(), and the owner hands it to
 *            sctp_send() or sctp_reset_stream().
 * Thread:    the owner's.
 * Memory:    one table that grows up to max_channels, two texts per channel (each at most DCEP_TEXT_MAX bytes).
 *
 * The owner's loop: every message of sctp_recv() goes through dcep_input(), every SCTP_EVENT_STREAM_RESET
 * through dcep_stream_reset(); then dcep_output() until 0 and dcep_event() until 0.
 */

#include "base/macro.h"
#include "proto/sctp/sctp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dcep; /* opaque */

#define DCEP_CHANNELS_MAX 1024
/* Of a label and of a protocol name. */
#define DCEP_TEXT_MAX 256

/* Payload protocol identifiers (RFC 8831 8, RFC 8832 8.1). 52 and 54 are the deprecated partial forms. */
enum dcep_ppid {
	DCEP_PPID_CONTROL = 50,
	DCEP_PPID_TEXT = 51,
	DCEP_PPID_BINARY_PARTIAL = 52,
	DCEP_PPID_BINARY = 53,
	DCEP_PPID_TEXT_PARTIAL = 54,
	DCEP_PPID_TEXT_EMPTY = 56,
	DCEP_PPID_BINARY_EMPTY = 57,
};

/* The DTLS client opens even streams, the server odd ones (RFC 8832 6). */
enum dcep_side {
	DCEP_SIDE_CLIENT = 0,
	DCEP_SIDE_SERVER = 1,
};

enum dcep_kind {
	DCEP_KIND_BINARY,
	DCEP_KIND_TEXT,
};

/* What a channel is. The texts are borrowed; they may hold any bytes and are not terminated. */
struct dcep_params {
	const char *label, *protocol;
	size_t label_len, protocol_len; /* at most DCEP_TEXT_MAX */
	bool unordered;
	enum sctp_reliability reliability;
	uint32_t limit; /* retransmissions or milliseconds */
	uint16_t priority;
};

enum dcep_result {
	DCEP_OK = 0,
	DCEP_FULL = 1,      /* the table, or the streams of our side */
	DCEP_TOO_LARGE = 2, /* a text is longer than DCEP_TEXT_MAX */
	DCEP_NO_CHANNEL = 3,
	DCEP_TAKEN = 4, /* the stream already has a channel */
};

/* What dcep_input() found. */
enum dcep_input_result {
	DCEP_INPUT_DATA,    /* a message of the user: *out is filled */
	DCEP_INPUT_CONTROL, /* taken: look for events and output */
	DCEP_INPUT_DROPPED, /* malformed, of no channel or over a limit: counted */
};

struct dcep_data {
	uint16_t stream;
	enum dcep_kind kind;
	const uint8_t *data; /* borrowed from the sctp_msg; of an empty message len is 0 */
	size_t len;
};

enum dcep_event_type {
	DCEP_EVENT_INCOMING, /* the peer opened `stream`: params; it is open, the ACK waits in dcep_output() */
	DCEP_EVENT_OPEN,   /* the peer acknowledged our channel */
	DCEP_EVENT_CLOSED, /* the channel is gone and its stream free */
};

struct dcep_event {
	enum dcep_event_type type;
	uint16_t stream;
	struct dcep_params params; /* texts borrowed until the next call with this table */
};

enum dcep_output_type {
	DCEP_OUTPUT_MESSAGE, /* sctp_send(options, data, len) */
	DCEP_OUTPUT_RESET,   /* sctp_reset_stream(options.stream) */
};

struct dcep_output {
	enum dcep_output_type type;
	struct sctp_send_options options;
	const uint8_t *data; /* borrowed until the next call with this table */
	size_t len;
};

struct dcep_config {
	enum dcep_side side;
	uint16_t max_channels; /* 1 .. DCEP_CHANNELS_MAX */
	uint16_t max_streams;  /* streams of the association; 0 means SCTP_STREAMS_MAX */
};

struct dcep_counters {
	uint64_t
		bad_message; /* malformed OPEN, unknown control message or ppid, reserved lengths */
	uint64_t no_channel; /* data for a stream without a channel */
	uint64_t refused;    /* OPEN on a wrong or taken stream, or above the limit */
};

/* Makes an empty table. *out is owned by the caller. Returns 0, -EINVAL, -ENOMEM. */
int dcep_new(struct dcep **out, const struct dcep_config *config) gv_must_check gv_nonnull(1, 2);
/* NULL is allowed. */
void dcep_free(struct dcep *d);

/*
 * Opens a channel on the lowest free stream of our side; DATA_CHANNEL_OPEN waits in dcep_output(). Messages may
 * be sent at once (RFC 8832 6), but must be ordered until DCEP_EVENT_OPEN; dcep_send_options() sees to it.
 * `params` is copied. Returns 0 (*stream set), DCEP_FULL, DCEP_TOO_LARGE; -ENOMEM.
 */
int dcep_open(struct dcep *d, const struct dcep_params *params, uint16_t *stream)
	gv_must_check gv_nonnull(1, 2, 3);

/* A channel that both sides agreed on elsewhere: open at once, nothing is sent. As dcep_open(), and DCEP_TAKEN. */
int dcep_open_negotiated(struct dcep *d, const struct dcep_params *params, uint16_t stream)
	gv_must_check gv_nonnull(1, 2);

/*
 * Closes: a stream reset waits in dcep_output(); CLOSED comes when the peer reset its side. Returns 0,
 * DCEP_NO_CHANNEL (also while it closes), DCEP_FULL (too much waits in dcep_output()); -ENOMEM.
 */
int dcep_close(struct dcep *d, uint16_t stream) gv_must_check gv_nonnull(1);

/*
 * How to send `len` bytes of user data on an open channel. For len 0 RFC 8831 6.6 asks for one zero byte: the
 * caller sends DCEP_EMPTY_BYTES bytes of zero. Returns 0, DCEP_NO_CHANNEL (also while it closes).
 */
#define DCEP_EMPTY_BYTES 1
int dcep_send_options(const struct dcep *d, uint16_t stream, enum dcep_kind kind, size_t len,
                      struct sctp_send_options *out) gv_must_check gv_nonnull(1, 5);

/* One received message. Returns an enum dcep_input_result; *out is filled for DCEP_INPUT_DATA only. -ENOMEM. */
int dcep_input(struct dcep *d, const struct sctp_msg *msg, struct dcep_data *out)
	gv_must_check gv_nonnull(1, 2, 3);

/* The peer reset its outgoing `stream` (SCTP_EVENT_STREAM_RESET): the channel closes and we reset ours. */
void dcep_stream_reset(struct dcep *d, uint16_t stream) gv_nonnull(1);

/*
 * Next thing to send: 1 and *out, or 0. It stays the next one until dcep_output_done(), so that an owner can try
 * again later when sctp_send() says SCTP_FULL, or SCTP_RESETTING because the stream is still being reset for the
 * channel that had it before. What fails otherwise is for the owner to drop.
 */
int dcep_output(struct dcep *d, struct dcep_output *out) gv_must_check gv_nonnull(1, 2);
void dcep_output_done(struct dcep *d) gv_nonnull(1);

/* Next event: 1 and *out, or 0. */
int dcep_event(struct dcep *d, struct dcep_event *out) gv_must_check gv_nonnull(1, 2);

/* Parameters of a channel (texts borrowed until it is closed). 0, DCEP_NO_CHANNEL. */
int dcep_params(const struct dcep *d, uint16_t stream, struct dcep_params *out)
	gv_must_check gv_nonnull(1, 3);
/* Opened and acknowledged, and not closing. */
bool dcep_is_open(const struct dcep *d, uint16_t stream) gv_nonnull(1);
size_t dcep_count(const struct dcep *d) gv_nonnull(1);
const struct dcep_counters *dcep_counters(const struct dcep *d) gv_nonnull(1);

GV_DEFINE_CLEANUP(struct dcep *, dcep_free)

#endif /* GV_PROTO_DCEP_CHANNEL_H */
