/* SPDX-License-Identifier: MIT */

/*
 * rtc_echo offer|answer [--trickle] [--stun ADDRESS:PORT] [--drive MESSAGES SIZE UNORDERED] [--extra BIG]
 *                       [--mirror N] [--told-empty] [--passive] [--zero-checksum]
 *
 * One side of a WebRTC connection with a peer of another make: signaling as rtc_lines.h tells, over standard input
 * and output; the load as rtc_load.h tells. The offerer opens the channels "reliable" and "unordered".
 * --passive: an answerer is the DTLS server. --zero-checksum: announces RFC 9653, which pion's SCTP 1.8.6 refuses.
 *
 * The last line of output is {"report":{...}} with what was seen. Exit code 0: all as it should be.
 */

#include "rtc_lines.h"
#include "rtc_load.h"
#include "rtc_peer.h"

#include "base/clock.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USAGE                                                                                    \
	"usage: rtc_echo offer|answer [--trickle] [--stun ADDRESS:PORT] [--drive MESSAGES SIZE " \
	"UNORDERED] [--extra BIG] [--mirror N] [--told-empty] [--passive] [--zero-checksum]"
#define SIGNAL_US 60000000u

static const char *end_text(const struct rtc_peer *p)
{
	if (p->down && p->reason == SCTP_DOWN_SHUTDOWN)
		return "shutdown";
	if (p->down)
		return p->reason == SCTP_DOWN_ABORTED ? "abort" : "timeout";
	return p->close_notify ? "close_notify" : "none";
}

/* Everything that two sound peers on a sound line never make each other count. */
static uint64_t oddities(const struct rtc_peer *p)
{
	uint64_t n = p->record_counters.rx_bad_tag + p->record_counters.rx_malformed;

	if (p->sctp == NULL)
		return n;
	const struct sctp_counters *s = sctp_counters(p->sctp);
	const struct dcep_counters *d = dcep_counters(p->dcep);
	return n + s->bad_packet + s->bad_checksum + s->bad_chunk + s->reassembly_drop +
	       d->bad_message + d->no_channel + d->refused;
}

static void report(const struct rtc_peer *p, const struct rtc_load *l)
{
	const struct sctp_counters *s = p->sctp == NULL ? NULL : sctp_counters(p->sctp);
	json_t *o = json_pack(
		"{s:s?,s:s,s:s,s:s,s:I,s:I,s:I,s:I}", "failure", p->failure, "dtls",
		p->dtls_client ? "client" : "server", "local", ice_cand_type_name(p->local_type),
		"remote", ice_cand_type_name(p->remote_type), "messages", (json_int_t)l->echoed,
		"bytes", (json_int_t)l->echoed_bytes, "open_ms", (json_int_t)(l->open_us / 1000),
		"traffic_ms", (json_int_t)(l->traffic_us / 1000));
	json_t *more = json_pack(
		"{s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:I,s:I,s:I}", "unordered_sent",
		(json_int_t)l->unordered_sent, "unordered_seen", (json_int_t)l->unordered_seen,
		"extra", (json_int_t)l->extra, "unsent", (json_int_t)l->unsent, "opened",
		(json_int_t)p->opened, "closed", (json_int_t)p->closed, "end", end_text(p),
		"retransmitted", (json_int_t)(s == NULL ? 0 : s->retransmitted), "oddities",
		(json_int_t)oddities(p), "zero_checksums", (json_int_t)p->zero_checksums);

	if (o == NULL || more == NULL || json_object_update(o, more) != 0)
		rtc_die("report");
	json_decref(more);
	o = json_pack("{s:o}", "report", o);
	if (o == NULL || json_dumpf(o, stdout, JSON_COMPACT) != 0)
		rtc_die("report");
	(void)putchar('\n');
	json_decref(o);
}

static unsigned number(const char *text, unsigned long max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end != '\0' || n > max)
		rtc_die("a number is out of range");
	return (unsigned)n;
}

static void read_options(char **word, struct rtc_config *c, struct rtc_load *l)
{
	for (; *word != NULL; word++) {
		if (strcmp(*word, "--trickle") == 0) {
			c->trickle = true;
		} else if (strcmp(*word, "--passive") == 0) {
			c->setup = SDP_SETUP_PASSIVE;
		} else if (strcmp(*word, "--zero-checksum") == 0) {
			c->zero_checksum = true;
		} else if (strcmp(*word, "--told-empty") == 0) {
			l->told_empty = true;
		} else if (strcmp(*word, "--stun") == 0 && word[1] != NULL &&
		           netaddr_parse(word[1], &c->stun)) {
			word++;
		} else if (strcmp(*word, "--extra") == 0 && word[1] != NULL) {
			l->big = number(*++word, SCTP_MESSAGE_BYTES_MAX);
		} else if (strcmp(*word, "--mirror") == 0 && word[1] != NULL) {
			l->mirrored = number(*++word, 10000);
		} else if (strcmp(*word, "--drive") == 0 && word[1] != NULL && word[2] != NULL &&
		           word[3] != NULL) {
			l->drive = true;
			l->messages = number(*++word, 1000000);
			l->size = number(*++word, SCTP_MESSAGE_BYTES_MAX);
			l->unordered = number(*++word, 1000000);
		} else {
			rtc_die(USAGE);
		}
	}
	if (l->drive && (l->messages == 0 || l->size == 0))
		rtc_die(USAGE);
}

/* Until both descriptions are known; the time of starting a browser does not count. */
static void wait_remote(struct rtc_peer *p)
{
	uint64_t end_us = clock_now_us() + SIGNAL_US;

	while (p->remote_us == 0 && p->failure == NULL && clock_now_us() < end_us)
		rtc_run(p, 100);
	if (p->remote_us == 0)
		rtc_die("no description came");
}

int main(int argc, char **argv)
{
	static struct rtc_peer p;
	struct dcep_params first[] = {
		{.label = RTC_LABEL_RELIABLE, .label_len = strlen(RTC_LABEL_RELIABLE)},
		{.label = RTC_LABEL_UNORDERED,
	         .label_len = strlen(RTC_LABEL_UNORDERED),
	         .unordered = true,
	         .reliability = SCTP_MAX_RETRANSMITS},
	};
	struct rtc_load load = {0};
	struct rtc_config config = {
		.setup = SDP_SETUP_ACTIVE,
		.first = first,
		.first_count = GV_ARRAY_SIZE(first),
		.signal_fd = STDIN_FILENO,
		.signal = rtc_lines_signal,
	};

	config.offerer = argc > 1 && strcmp(argv[1], "offer") == 0;
	if (!config.offerer && (argc < 2 || strcmp(argv[1], "answer") != 0))
		rtc_die(USAGE);
	read_options(argv + 2, &config, &load);
	if (rtc_open(&p, &config) < 0)
		rtc_die("cannot start");
	wait_remote(&p);
	rtc_load_run(&p, &load);
	report(&p, &load);
	int code = p.failure == NULL ? 0 : 1;
	rtc_close(&p);
	return code;
}
