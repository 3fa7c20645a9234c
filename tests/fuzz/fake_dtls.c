/* SPDX-License-Identifier: MIT */

/*
 * crypto/dtls and crypto/cert without cryptography, for fuzzers that are about what follows a handshake: any datagram goes on
 * with it; its second byte says how. The real modules have fuzzers of their own (dtls, dtls_handshake).
 */

#include "base/clock.h"
#include "base/mem.h"
#include "crypto/cert.h"
#include "crypto/dtls.h"

#include <errno.h>
#include <string.h>

struct cert {
	unsigned refs;
};

struct dtls {
	uint64_t give_up_at_us;
	bool keys, connected, failed;                  /* told */
	bool keys_wait, connected_waits, failed_waits; /* to be told */
	unsigned output;                               /* things to send */
	struct dtls_counters counters;
};

int cert_new(struct cert **out, int64_t unix_s)
{
	(void)unix_s;
	*out = mem_new(struct cert);
	if (*out == NULL)
		return -ENOMEM;
	(*out)->refs = 1;
	return 0;
}

struct cert *cert_ref(struct cert *c)
{
	c->refs++;
	return c;
}

void cert_unref(struct cert *c)
{
	if (c != NULL && --c->refs == 0)
		mem_free(c);
}

void cert_fingerprint(const struct cert *c, uint8_t out[static CERT_FINGERPRINT_SIZE])
{
	(void)c;
	memset(out, 0xab, CERT_FINGERPRINT_SIZE);
}

int dtls_new(struct dtls **out, const struct dtls_config *config, uint64_t now_us)
{
	struct dtls *d = mem_new(struct dtls);

	if (d == NULL)
		return -ENOMEM;
	d->give_up_at_us = now_us + DTLS_HANDSHAKE_TIMEOUT_US;
	d->output = config->role == RECORD_ROLE_CLIENT;
	*out = d;
	return 0;
}

void dtls_free(struct dtls *d)
{
	mem_free(d);
}

/* Second byte: bit 0 the keys, bit 1 the end, bit 2 failure, bits 3 and 4 things to send. */
int dtls_input(struct dtls *d, const uint8_t *data, size_t len, uint64_t now_us)
{
	uint8_t how = len > 1 ? data[1] : 0;

	(void)now_us;
	if (d->failed || d->failed_waits)
		return 0;
	d->output += how >> 3 & 3;
	d->keys_wait |= (how & 1) != 0 && !d->keys;
	d->connected_waits |= (how & 2) != 0 && !d->connected && (d->keys || d->keys_wait);
	d->failed_waits |= (how & 4) != 0 && !d->connected && !d->connected_waits;
	return 0;
}

int dtls_output(struct dtls *d, struct dtls_out *out, uint64_t now_us)
{
	static const uint8_t bytes[] = {22, 0xfe, 0xfd};

	(void)now_us;
	if (d->output == 0)
		return 0;
	d->output--;
	*out = (struct dtls_out){.kind = d->keys ? DTLS_OUT_SEAL : DTLS_OUT_RAW,
	                         .type = RECORD_TYPE_HANDSHAKE,
	                         .data = bytes,
	                         .len = sizeof(bytes)};
	return 1;
}

int dtls_event(struct dtls *d, struct dtls_event *ev)
{
	if (d->keys_wait) {
		d->keys_wait = false;
		d->keys = true;
		*ev = (struct dtls_event){.type = DTLS_EVENT_KEYS};
		return 1;
	}
	if (d->connected_waits) {
		d->connected_waits = false;
		d->connected = true;
		*ev = (struct dtls_event){.type = DTLS_EVENT_CONNECTED};
		return 1;
	}
	if (d->failed_waits) {
		d->failed_waits = false;
		d->failed = true;
		*ev = (struct dtls_event){.type = DTLS_EVENT_FAILED,
		                          .failure = DTLS_FAILURE_FINGERPRINT};
		return 1;
	}
	return 0;
}

uint64_t dtls_deadline_us(const struct dtls *d)
{
	return d->connected || d->failed ? CLOCK_NEVER : d->give_up_at_us;
}

int dtls_timeout(struct dtls *d, uint64_t now_us)
{
	if (now_us >= dtls_deadline_us(d))
		d->failed_waits = true;
	return 0;
}

void dtls_repeat_last_flight(struct dtls *d, uint64_t now_us)
{
	(void)now_us;
	d->output++;
}

const struct dtls_counters *dtls_counters(const struct dtls *d)
{
	return &d->counters;
}
