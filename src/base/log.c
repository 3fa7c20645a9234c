/* SPDX-License-Identifier: MIT */

#include "base/log.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/netaddr.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_int level_now = LOG_LEVEL_INFO;
static const char *const level_names[] = {"err", "warn", "info", "debug"};

static ssize_t write_stderr(struct iovec *parts, size_t n_parts)
{
	return writev(STDERR_FILENO, parts, (int)n_parts);
}

static log_out_fn write_out = write_stderr; /* changed before there are other threads */

static atomic_uint_fast64_t lost; /* lines, since the last one that told */
static atomic_bool is_cut;        /* the last line that was written has no end */

struct line {
	char text[2048];
	size_t used;
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&level_now, memory_order_relaxed);
}

bool log_parse_level(const char *text, enum log_level *out)
{
	for (unsigned i = 0; i < GV_ARRAY_SIZE(level_names); i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return true;
		}
	}
	return false;
}

bool log_limit_pass(struct log_limit *l, uint32_t per_minute, uint32_t *left_out)
{
	/* In this order: a window that is opened in between must not seem to begin later than now. */
	uint64_t start = atomic_load_explicit(&l->window_us, memory_order_acquire);
	uint64_t now = clock_now_us();

	*left_out = 0;
	/* Only one thread opens a window; what others count until it is open counts as left out, as they were told. */
	if ((start == 0 || now - start > 60u * 1000000u) &&
	    atomic_compare_exchange_strong_explicit(&l->window_us, &start, now,
	                                            memory_order_relaxed, memory_order_relaxed)) {
		uint32_t asked = atomic_exchange_explicit(&l->count, 1, memory_order_relaxed);

		*left_out = asked > per_minute ? asked - per_minute : 0;
		return true;
	}
	return atomic_fetch_add_explicit(&l->count, 1, memory_order_relaxed) < per_minute;
}

static void add(struct line *l, const char *fmt, ...) gv_format(2, 3);

static void add(struct line *l, const char *fmt, ...)
{
	va_list ap;

	/* One byte is kept for the line end. */
	size_t room = sizeof(l->text) - 1 - l->used;
	va_start(ap, fmt);
	int n = vsnprintf(l->text + l->used, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->used += GV_MIN((size_t)n, room - 1);
}

static void add_quoted(struct line *l, const char *s)
{
	add(l, "\"");
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			add(l, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			add(l, "\\x%02x", c);
		else
			add(l, "%c", c);
	}
	add(l, "\"");
}

static void begin(struct line *l, enum log_level level, const char *module)
{
	struct timespec t;
	struct tm tm;
	char stamp[32];

	l->used = 0;
	(void)clock_gettime(CLOCK_REALTIME, &t); /* valid id and pointer */
	if (gmtime_r(&t.tv_sec, &tm) == NULL ||
	    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		stamp[0] = '\0';
	add(l, "%s.%03ldZ %-5s %s: ", stamp, t.tv_nsec / 1000000, level_names[level], module);
}

static void add_fields(struct line *l, const struct log_field *f)
{
	char text[NETADDR_TEXT_SIZE];

	for (; f->type != LOG_FIELD_END; f++) {
		add(l, " %s=", f->key);
		switch (f->type) {
		case LOG_FIELD_STR:
			add_quoted(l, f->v.str != NULL ? f->v.str : "");
			break;
		case LOG_FIELD_U64:
			add(l, "%llu", (unsigned long long)f->v.u64);
			break;
		case LOG_FIELD_I64:
			add(l, "%lld", (long long)f->v.i64);
			break;
		case LOG_FIELD_ADDR:
			add(l, "%s", netaddr_text(f->v.addr, text));
			break;
		case LOG_FIELD_END:
			break;
		}
	}
}

void log_set_out(log_out_fn out)
{
	write_out = out != NULL ? out : write_stderr;
}

/* Returns how many of the parts were written whole. */
static size_t put(struct iovec *parts, size_t n_parts)
{
	size_t left, whole = 0;
	ssize_t n;

	do {
		n = write_out(parts, n_parts);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	for (left = (size_t)n; whole < n_parts && left >= parts[whole].iov_len; whole++)
		left -= parts[whole].iov_len;
	atomic_store_explicit(&is_cut, left > 0, memory_order_relaxed);
	return whole;
}

/* A log that cannot be written must not stop the program. */
static void finish(struct line *l)
{
	uint64_t n = atomic_exchange_explicit(&lost, 0, memory_order_relaxed);
	struct iovec parts[3];
	struct line told;
	char end[] = "\n"; /* of a line that was cut */
	size_t n_parts = 0;

	l->text[l->used++] = '\n';
	if (atomic_load_explicit(&is_cut, memory_order_relaxed))
		parts[n_parts++] = (struct iovec){.iov_base = end, .iov_len = 1};
	if (n > 0) {
		begin(&told, LOG_LEVEL_WARN, "log");
		add(&told, "log.lost lines=%llu\n", (unsigned long long)n);
		parts[n_parts++] = (struct iovec){.iov_base = told.text, .iov_len = told.used};
	}
	parts[n_parts++] = (struct iovec){.iov_base = l->text, .iov_len = l->used};
	size_t whole = put(parts, n_parts);
	if (whole < n_parts)
		atomic_fetch_add_explicit(&lost, 1 + (whole + 1 < n_parts ? n : 0),
		                          memory_order_relaxed);
}

void log_write(enum log_level level, const char *module, const char *event,
               const struct log_field *fields)
{
	struct line l;

	begin(&l, level, module);
	add(&l, "%s", event);
	add_fields(&l, fields);
	finish(&l);
}

void log_write_err(int r, const char *module, const char *event, const struct log_field *fields)
{
	struct line l;
	char trace[256], text[128];

	begin(&l, LOG_LEVEL_ERR, module);
	add(&l, "%s", event);
	add_fields(&l, fields);
	add(&l, " error=");
	add_quoted(&l, strerror_r(r < 0 ? -r : r, text, sizeof(text)));
	err_trace(r, trace, sizeof(trace));
	if (trace[0] != '\0')
		add(&l, " trace=\"%s\"", trace);
	finish(&l);
}

void log_write_text(const char *module, const char *fmt, ...)
{
	struct line l;
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* a cut debug line is enough */
	va_end(ap);
	begin(&l, LOG_LEVEL_DEBUG, module);
	for (const char *s = text; *s != '\0'; s++)
		add(&l, "%c", (unsigned char)*s < 0x20 ? '.' : *s);
	finish(&l);
}
