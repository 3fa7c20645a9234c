/* SPDX-License-Identifier: MIT */

#include "rtc_mirror.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define AT_A_TIME 10u
#define LIMIT_MS  20000
#define LIMIT_MAX 65535 /* retransmissions or milliseconds, of browsers */

struct wanted {
	char label[DCEP_TEXT_MAX + 1], protocol[DCEP_TEXT_MAX + 1];
	char told[DCEP_TEXT_MAX +
	          1]; /* the label of the peer's channel: ours and the rest in digits */
	struct dcep_params params;
	struct rtc_channel *ours, *theirs;
};

/* Appends up to 50 characters of one to four bytes. */
static void add_text(struct rng *r, char *text, size_t size)
{
	static const char *const letters[] = {"a",
	                                      "Z",
	                                      "0",
	                                      " ",
	                                      "\"",
	                                      "\\",
	                                      "/",
	                                      "\xc3\xa9",
	                                      "\xe2\x82\xac",
	                                      "\xf0\x9f\x98\x80"};
	size_t used = strlen(text);

	for (uint32_t n = rng_below(r, 51); n > 0; n--) {
		const char *letter = letters[rng_below(r, GV_ARRAY_SIZE(letters))];
		if (used + strlen(letter) >= size)
			return;
		memcpy(text + used, letter, strlen(letter) + 1);
		used += strlen(letter);
	}
}

static void want(struct rtc_peer *p, struct wanted *w, unsigned number)
{
	static const enum sctp_reliability types[] = {SCTP_RELIABLE, SCTP_MAX_RETRANSMITS,
	                                              SCTP_MAX_LIFETIME};

	static const uint32_t limits[] = {0, 1, LIMIT_MAX};
	uint32_t k = rng_below(&p->rng, 2 * GV_ARRAY_SIZE(limits));

	*w = (struct wanted){.params.unordered = rng_below(&p->rng, 2) == 1};
	(void)snprintf(w->label, sizeof(w->label), "mirror %u ", number);
	add_text(&p->rng, w->label, sizeof(w->label));
	add_text(&p->rng, w->protocol, sizeof(w->protocol));
	w->params.label = w->label;
	w->params.label_len = strlen(w->label);
	w->params.protocol = w->protocol;
	w->params.protocol_len = strlen(w->protocol);
	w->params.reliability = types[rng_below(&p->rng, GV_ARRAY_SIZE(types))];
	if (w->params.reliability != SCTP_RELIABLE)
		w->params.limit =
			k < GV_ARRAY_SIZE(limits) ? limits[k] : rng_below(&p->rng, LIMIT_MAX + 1);
	int n = snprintf(w->told, sizeof(w->told), "%s|%d|%d|%d|", w->label, !w->params.unordered,
	                 w->params.reliability == SCTP_MAX_RETRANSMITS ? (int)w->params.limit : -1,
	                 w->params.reliability == SCTP_MAX_LIFETIME ? (int)w->params.limit : -1);
	if (n < 0 || (size_t)n >= sizeof(w->told))
		p->failure = "a label is too long";
	w->ours = rtc_open_channel(p, &w->params);
}

static bool is_text(const char *wanted, const char *text, size_t len)
{
	return len == strlen(wanted) && (len == 0 || memcmp(wanted, text, len) == 0);
}

static bool is_same(const struct wanted *w, const struct dcep_params *seen)
{
	return is_text(w->told, seen->label, seen->label_len) &&
	       is_text(w->protocol, seen->protocol, seen->protocol_len) &&
	       seen->unordered == w->params.unordered &&
	       seen->reliability == w->params.reliability && seen->limit == w->params.limit;
}

/* Finds the peer's channel for each of ours. Returns how many there are. */
static unsigned look(struct rtc_peer *p, struct wanted *all, unsigned count)
{
	unsigned found = 0;

	for (unsigned k = 0; k < count; k++) {
		struct wanted *w = &all[k];
		size_t len = strcspn(w->label + strlen("mirror "), " ") + strlen("mirror ") + 1;
		for (unsigned i = 0; i < RTC_CHANNELS_MAX && w->theirs == NULL; i++) {
			struct rtc_channel *c = &p->channels[i];
			if (c->used && c->incoming && strncmp(c->label, w->label, len) == 0)
				w->theirs = c;
		}
		found += w->theirs != NULL && w->ours != NULL && w->ours->open;
	}
	return found;
}

static void check(struct rtc_peer *p, const struct wanted *w)
{
	struct dcep_params seen;

	if (dcep_params(p->dcep, w->theirs->stream, &seen) != 0 || !is_same(w, &seen)) {
		fprintf(stderr,
		        "channel \"%s\" \"%s\", unordered %d, type %d, limit %u: came back as \"%.*s\" \"%.*s\", %d, %d, %u\n",
		        w->label, w->protocol, w->params.unordered, (int)w->params.reliability,
		        w->params.limit, (int)seen.label_len, seen.label, (int)seen.protocol_len,
		        seen.protocol == NULL ? "" : seen.protocol, seen.unordered,
		        (int)seen.reliability, seen.limit);
		p->failure = "a mirrored channel is another one";
	}
}

void rtc_mirror_run(struct rtc_peer *p, unsigned count)
{
	struct wanted all[AT_A_TIME];
	struct rtc_channel *channels[2 * AT_A_TIME];

	for (unsigned done = 0, n; done < count && p->failure == NULL; done += n) {
		uint64_t end_us = clock_now_us() + (uint64_t)LIMIT_MS * 1000;
		n = GV_MIN(count - done, AT_A_TIME);
		for (unsigned i = 0; i < n; i++)
			want(p, &all[i], done + i);
		while (look(p, all, n) < n && p->failure == NULL && !p->down &&
		       clock_now_us() < end_us)
			rtc_run(p, 100);
		if (p->failure == NULL && look(p, all, n) < n)
			p->failure = "a channel was not mirrored";
		for (unsigned i = 0; i < n && p->failure == NULL; i++) {
			check(p, &all[i]);
			channels[2 * i] = all[i].ours;
			channels[2 * i + 1] = all[i].theirs;
		}
		if (p->failure == NULL)
			rtc_close_channels(p, channels, 2 * n);
	}
}
