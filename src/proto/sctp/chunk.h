/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SCTP_CHUNK_H
#define GV_PROTO_SCTP_CHUNK_H

/*
 * chunk - the bytes of SCTP packets: common header, chunks, parameters (RFC 9260 3, 3758 3.2, 6525 3 and 4).
 *
 * Does:      walks chunks and parameters, reads the fixed fields of each kind, writes headers, lengths, padding
 *            and checksums.
 * Does not:  keep state. Every parser takes any bytes; what it gives back is borrowed from its input.
 */

#include "base/bytes.h"
#include "base/macro.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chunk_type {
	CHUNK_DATA = 0,
	CHUNK_INIT = 1,
	CHUNK_INIT_ACK = 2,
	CHUNK_SACK = 3,
	CHUNK_HEARTBEAT = 4,
	CHUNK_HEARTBEAT_ACK = 5,
	CHUNK_ABORT = 6,
	CHUNK_SHUTDOWN = 7,
	CHUNK_SHUTDOWN_ACK = 8,
	CHUNK_ERROR = 9,
	CHUNK_COOKIE_ECHO = 10,
	CHUNK_COOKIE_ACK = 11,
	CHUNK_SHUTDOWN_COMPLETE = 14,
	CHUNK_RE_CONFIG = 130,
	CHUNK_FORWARD_TSN = 192,
};

/* DATA flags (RFC 9260 3.3.1). */
#define CHUNK_DATA_END       0x01
#define CHUNK_DATA_BEGIN     0x02
#define CHUNK_DATA_UNORDERED 0x04
#define CHUNK_DATA_IMMEDIATE 0x08
#define CHUNK_DATA_WHOLE     (CHUNK_DATA_BEGIN | CHUNK_DATA_END)
/* ABORT and SHUTDOWN COMPLETE: the tag is the receiver's own, reflected (RFC 9260 8.5.1). */
#define CHUNK_FLAG_T 0x01

enum param_type {
	PARAM_HEARTBEAT_INFO = 1,
	PARAM_IPV4 = 5,
	PARAM_IPV6 = 6,
	PARAM_STATE_COOKIE = 7,
	PARAM_UNRECOGNIZED = 8,
	PARAM_COOKIE_PRESERVATIVE = 9,
	PARAM_HOST_NAME = 11,
	PARAM_SUPPORTED_ADDRESSES = 12,
	PARAM_RESET_OUTGOING = 13,
	PARAM_RESET_INCOMING = 14,
	PARAM_RESET_ALL = 15,
	PARAM_RESET_RESPONSE = 16,
	PARAM_ADD_OUTGOING = 17,
	PARAM_ADD_INCOMING = 18,
	PARAM_ZERO_CHECKSUM = 0x8001,
	PARAM_SUPPORTED_EXTENSIONS = 0x8008,
	PARAM_FORWARD_TSN = 0xc000,
};

/* RFC 9653 4: the error detection method "SCTP over DTLS". */
#define PARAM_ZERO_CHECKSUM_DTLS 1u

/* Error causes (RFC 9260 3.3.10). */
enum chunk_cause {
	CAUSE_INVALID_STREAM = 1,
	CAUSE_MISSING_PARAM = 2,
	CAUSE_STALE_COOKIE = 3,
	CAUSE_OUT_OF_RESOURCE = 4,
	CAUSE_UNRESOLVABLE = 5,
	CAUSE_UNRECOGNIZED_CHUNK = 6,
	CAUSE_INVALID_PARAM = 7,
	CAUSE_UNRECOGNIZED_PARAMS = 8,
	CAUSE_NO_USER_DATA = 9,
	CAUSE_COOKIE_IN_SHUTDOWN = 10,
	CAUSE_USER_ABORT = 12,
	CAUSE_PROTOCOL_VIOLATION = 13,
};

/* Results of a RE-CONFIG request (RFC 6525 4.4). */
enum chunk_reset_result {
	RESET_NOTHING = 0,
	RESET_PERFORMED = 1,
	RESET_DENIED = 2,
	RESET_WRONG_SSN = 3,
	RESET_ALREADY = 4,
	RESET_BAD_SEQUENCE = 5,
	RESET_IN_PROGRESS = 6,
};

enum chunk_result {
	CHUNK_OK = 0,
	CHUNK_END, /* nothing is left */
	CHUNK_BAD, /* a length leaves its container: drop the packet or chunk */
};

#define CHUNK_HEADER_BYTES 4
#define PARAM_HEADER_BYTES 4

struct packet_header {
	uint16_t source, destination;
	uint32_t tag, checksum;
};

struct chunk {
	uint8_t type, flags;
	const uint8_t *body; /* after the four bytes of type, flags and length; borrowed */
	size_t len;          /* of the body, padding not included */
};

struct param {
	uint16_t type;
	const uint8_t *body;
	size_t len;
};

/* Fixed part of INIT and INIT ACK; `params` walks the rest. */
struct chunk_init {
	uint32_t tag, a_rwnd, tsn;
	uint16_t out_streams, in_streams;
	struct bytes_reader params;
};

struct chunk_data {
	uint32_t tsn, ppid;
	uint16_t stream, ssn;
	const uint8_t *data;
	size_t len;
};

/* Gap blocks are (start, end) pairs of 16-bit offsets from cum, read by chunk_sack_gap(). */
struct chunk_sack {
	uint32_t cum, a_rwnd;
	uint16_t gaps, duplicates;
	const uint8_t *gap_bytes;
};

/* (stream, ssn) pairs, read by chunk_forward_pair(). */
struct chunk_forward {
	uint32_t cum;
	size_t pairs;
	const uint8_t *pair_bytes;
};

/* Reads the common header. CHUNK_BAD when there are fewer than 12 bytes. */
enum chunk_result packet_header_read(const uint8_t *p, size_t n, struct packet_header *out)
	gv_must_check gv_nonnull(1, 3);
/* True when the CRC32c in the packet is right (n >= 12). The field is zeroed for the sum and put back. */
bool packet_checksum_ok(uint8_t *p, size_t n) gv_must_check gv_nonnull(1);
/* Writes the common header with a checksum of zero. */
void packet_header_write(struct bytes_writer *w, const struct packet_header *h) gv_nonnull(1, 2);
/* Puts the CRC32c into a finished packet whose checksum field is zero. */
void packet_checksum_write(uint8_t *p, size_t n) gv_nonnull(1);

/* Takes the next chunk and its padding off r. */
enum chunk_result chunk_next(struct bytes_reader *r, struct chunk *out)
	gv_must_check gv_nonnull(1, 2);
/* Takes the next parameter (or error cause) and its padding off r. */
enum chunk_result param_next(struct bytes_reader *r, struct param *out)
	gv_must_check gv_nonnull(1, 2);

/* Each: CHUNK_OK, or CHUNK_BAD when the chunk is too short for what it claims to hold. */
enum chunk_result chunk_init_read(const struct chunk *c, struct chunk_init *out)
	gv_must_check gv_nonnull(1, 2);
enum chunk_result chunk_data_read(const struct chunk *c, struct chunk_data *out)
	gv_must_check gv_nonnull(1, 2);
enum chunk_result chunk_sack_read(const struct chunk *c, struct chunk_sack *out)
	gv_must_check gv_nonnull(1, 2);
enum chunk_result chunk_forward_read(const struct chunk *c, struct chunk_forward *out)
	gv_must_check gv_nonnull(1, 2);

/* The i-th gap block as TSNs, without any judgement of its order (i < gaps). */
static inline void chunk_sack_gap(const struct chunk_sack *s, size_t i, uint32_t *start,
                                  uint32_t *end)
{
	*start = s->cum + be16_load(s->gap_bytes + i * 4);
	*end = s->cum + be16_load(s->gap_bytes + i * 4 + 2);
}

/* The i-th (stream, ssn) pair (i < pairs). */
static inline void chunk_forward_pair(const struct chunk_forward *f, size_t i, uint16_t *stream,
                                      uint16_t *ssn)
{
	*stream = be16_load(f->pair_bytes + i * 4);
	*ssn = be16_load(f->pair_bytes + i * 4 + 2);
}

/*
 * Opens a chunk; chunk_close() sets its length and pads with zeroes. Between them the caller writes the body.
 * The value is the offset to hand to chunk_close(). A writer without room turns `ok` false.
 */
size_t chunk_open(struct bytes_writer *w, uint8_t type, uint8_t flags) gv_nonnull(1);
void chunk_close(struct bytes_writer *w, size_t at) gv_nonnull(1);
/* The same for a parameter or an error cause. */
size_t param_open(struct bytes_writer *w, uint16_t type) gv_nonnull(1);
void param_close(struct bytes_writer *w, size_t at) gv_nonnull(1);
/* A whole parameter. */
void param_write(struct bytes_writer *w, uint16_t type, const void *body, size_t len) gv_nonnull(1);

/* Size with padding to four bytes. */
static inline size_t chunk_padded(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

/* TSNs, SSNs and tags of RFC 1982 order: a before b. */
static inline bool tsn_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline bool ssn_before(uint16_t a, uint16_t b)
{
	return (int16_t)(uint16_t)(a - b) < 0;
}

#endif /* GV_PROTO_SCTP_CHUNK_H */
