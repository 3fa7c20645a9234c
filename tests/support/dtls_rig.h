/* SPDX-License-Identifier: MIT */
#ifndef GV_SUPPORT_DTLS_RIG_H
#define GV_SUPPORT_DTLS_RIG_H

/*
 * dtls_rig - two ends of a DTLS association on a wire in memory, with a virtual clock.
 *
 * An end is either ours (dtls and record) or a plain OpenSSL SSL object, whose timers follow the same clock: the rig
 * defines gettimeofday() for the whole program, libssl included.
 */

#include "crypto/dtls.h"
#include "crypto/record.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIG_DATAGRAM_MAX 2048
#define RIG_QUEUE_MAX    256
#define RIG_HELD_MAX \
	64 /* data that waits for the end of the handshake, as the data plane holds it */

struct rig_datagram {
	uint8_t data[RIG_DATAGRAM_MAX];
	size_t len;
};

struct rig_queue {
	struct rig_datagram items[RIG_QUEUE_MAX];
	unsigned head, count;
};

struct rig_end {
	struct rig *rig;
	struct rig_end *other;
	struct rig_queue in;
	struct cert *cert;

	/* ours */
	struct dtls *dtls;
	struct record *record;
	struct record_keys keys;
	unsigned keys_events, connected_events, failed_events;
	enum dtls_failure failure;
	struct record_counters counters;
	uint8_t text[RIG_DATAGRAM_MAX]; /* last data received */
	size_t text_len;
	struct rig_queue held; /* of ours: data before CONNECTED */

	/* OpenSSL's */
	SSL_CTX *ctx;
	SSL *ssl;
	bool ssl_failed;
	unsigned ssl_finished_seen; /* Finished messages that came to OpenSSL */
};

struct rig {
	uint64_t now_us;
	struct rig_end a, b;
	uint64_t sent;         /* datagrams put on the wire so far */
	uint64_t drop_at;      /* number of the one to lose, from 1; 0: none */
	unsigned loss_percent; /* of all */
	uint64_t seed;         /* of the loss */
	bool (*tamper)(struct rig *rig, struct rig_end *to, uint8_t *data,
	               size_t *len);                                          /* false: lose */
	void (*on_data)(struct rig_end *to, const uint8_t *data, size_t len); /* or NULL */
	void *user;
};

/* What an OpenSSL end is like. */
struct rig_ssl_options {
	uint64_t set;        /* SSL_OP_* */
	const char *ciphers; /* NULL: OpenSSL's own list */
	bool no_certificate;
	unsigned rsa_bits;    /* an RSA key of this size; 0: the usual P-256 */
	bool cookie;          /* a server that asks with HelloVerifyRequest */
	size_t hello_padding; /* bytes of ALPN that lengthen a client's ClientHello */
	long mtu;             /* 0: 1200 */
};

/* A rig with both certificates and no ends yet. */
struct rig *rig_new(void);
void rig_free(struct rig *rig);

/* Makes an end ours, expecting the other end's certificate. */
void rig_ours(struct rig_end *end, enum record_role role, enum dtls_peer peer);
/* Makes an end a plain OpenSSL one. */
void rig_openssl(struct rig_end *end, enum record_role role, const struct rig_ssl_options *options);

/* Puts a datagram on the wire to `to`; loss and tampering apply. */
void rig_send(struct rig_end *to, const uint8_t *data, size_t len);

/* Puts a datagram into the queue of `to` past the wire: nothing is lost or changed. */
void rig_deliver(struct rig_end *to, const uint8_t *data, size_t len);
/* Data of an end that is up, at most 1,000 bytes. */
void rig_send_data(struct rig_end *from, const void *data, size_t len);

/* Moves what waits, without letting time pass, until the wire is silent. */
void rig_settle(struct rig *rig);
/* Lets time pass to the next deadline of either end (at most `limit_us` in all) until both are up or one failed. */
void rig_run(struct rig *rig, uint64_t limit_us);
/* Time passes; timers fire; the wire settles. */
void rig_advance(struct rig *rig, uint64_t us);

bool rig_is_up(const struct rig_end *end);

/* Sends text as data of an end that is up, and checks that the other end reads it. */
void rig_exchange(struct rig *rig);

#endif /* GV_SUPPORT_DTLS_RIG_H */
