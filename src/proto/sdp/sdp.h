/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SDP_SDP_H
#define GV_PROTO_SDP_SDP_H

/*
 * sdp - the session description of one data channel transport: only the lines a WebRTC peer needs
 * (RFC 8866, 8839, 8841, 8842, 8122).
 *
 * Does:      writes one m=application section; reads what browsers, pion and GStreamer write: attributes at session
 *            or media level (media wins), unknown lines and attributes skipped, CRLF or LF.
 * Does not:  audio, video, renegotiation; judge what it read beyond form (the owner compares fingerprints).
 * Thread:    any; nothing is kept.
 * Memory:    none; struct sdp is a plain value of about 5 kB.
 */

#include "base/macro.h"
#include "proto/ice/cand.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SDP_MAX_SIZE        16384 /* bytes of text that sdp_parse() takes */
#define SDP_FORMAT_SIZE     12288 /* sdp_format() never needs more */
#define SDP_MAX_CANDIDATES  32
#define SDP_FINGERPRINT_LEN 32 /* SHA-256 */
#define SDP_MID_MAX         32
#define SDP_TLS_ID_MAX      255 /* RFC 8842: 20 .. 255 characters */
#define SDP_ICE_TEXT_MAX    256 /* ufrag 4 .. 256, pwd 22 .. 256 */

/* RFC 8842 5.2: who is the DTLS client. */
enum sdp_setup {
	SDP_SETUP_ACTPASS = 0, /* offers only */
	SDP_SETUP_ACTIVE,      /* we are the DTLS client */
	SDP_SETUP_PASSIVE,
};

struct sdp {
	char ice_ufrag[SDP_ICE_TEXT_MAX + 1];
	char ice_pwd[SDP_ICE_TEXT_MAX + 1];
	bool trickle;         /* a=ice-options names trickle */
	bool has_fingerprint; /* a SHA-256 one; other hashes are skipped */
	uint8_t fingerprint[SDP_FINGERPRINT_LEN];
	enum sdp_setup setup;
	char mid[SDP_MID_MAX + 1];
	char tls_id[SDP_TLS_ID_MAX + 1]; /* "": absent */
	uint16_t sctp_port;              /* 5000 where absent */
	uint32_t max_message_size;       /* 65536 where absent (RFC 8841 6.1); 0: any size */
	uint64_t session_id;             /* of the o= line */
	uint64_t session_version;
	struct ice_cand candidates[SDP_MAX_CANDIDATES];
	size_t candidate_count;
	uint32_t candidates_skipped; /* TCP, host names, malformed, beyond the table */
	bool end_of_candidates;
};

enum sdp_result {
	SDP_OK = 0,
	SDP_MALFORMED =
		1, /* no session description, or a needed line out of form: refuse the offer */
	SDP_NO_CHANNEL =
		2, /* well formed, but without a usable m=application ... webrtc-datachannel */
	SDP_INCOMPLETE = 3, /* ufrag, password or SHA-256 fingerprint missing */
	SDP_TOO_LONG = 4,   /* above SDP_MAX_SIZE */
};

/*
 * Writes the description, lines ended by CRLF, and a NUL. out has out_size bytes; SDP_FORMAT_SIZE always
 * suffices. Returns the length without NUL, or 0 when it did not fit.
 */
size_t sdp_format(const struct sdp *s, char *out, size_t out_size) gv_must_check gv_nonnull(1, 2);

/* Parses len bytes of text (need not be terminated). *out is written only with SDP_OK. */
int sdp_parse(const char *text, size_t len, struct sdp *out) gv_must_check gv_nonnull(1, 3);

#endif /* GV_PROTO_SDP_SDP_H */
