/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_LOG_H
#define GV_BASE_LOG_H

/*
 * log - one line per event on stderr: time, level, module, event, fields.
 *
 * Floors below engine use log_debug() only and return results; each failure is logged once, by the function
 * that decides what happens next. Event names are "area.what" and stable. Keys, seeds, passwords and tokens
 * have no formatter at all. Strings are written quoted and escaped: nothing from outside breaks a line.
 *
 * Thread:  any. A line is one writev(2). In the programs it waits for nobody, if io/log_out could arrange it: a line that
 *          finds no room is dropped, and the next one that is written comes after "log.lost lines=N".
 * Cost:    one relaxed load when the level is off; arguments are not evaluated then.
 */

#include "base/macro.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct iovec;
struct netaddr;

enum log_level {
	LOG_LEVEL_ERR = 0, /* someone must act */
	LOG_LEVEL_WARN,    /* we went on, degraded */
	LOG_LEVEL_INFO,    /* state changes */
	LOG_LEVEL_DEBUG,
};

enum log_field_type {
	LOG_FIELD_END = 0,
	LOG_FIELD_STR,
	LOG_FIELD_U64,
	LOG_FIELD_I64,
	LOG_FIELD_ADDR,
};

struct log_field {
	const char *key;
	enum log_field_type type;

	union {
		const char *str;
		uint64_t u64;
		int64_t i64;
		const struct netaddr *addr;
	} v;
};

#define LOG_STR(k, s)  ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .v.str = (s)})
#define LOG_U64(k, n)  ((struct log_field){.key = (k), .type = LOG_FIELD_U64, .v.u64 = (n)})
#define LOG_I64(k, n)  ((struct log_field){.key = (k), .type = LOG_FIELD_I64, .v.i64 = (n)})
#define LOG_ADDR(k, a) ((struct log_field){.key = (k), .type = LOG_FIELD_ADDR, .v.addr = (a)})

/* Once per .c file that logs. */
#define LOG_MODULE(name) static const char *const log_module_ = (name)

/* Writes the parts, a line or two, as one piece. Returns how many bytes were taken; -1 with errno: none. */
typedef ssize_t (*log_out_fn)(struct iovec *parts, size_t n_parts);

/* Where lines go; NULL: stderr, however long it is full. Before there are other threads. */
void log_set_out(log_out_fn out);
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);
/* "err", "warn", "info", "debug". Returns false for anything else. */
bool log_parse_level(const char *text, enum log_level *out) gv_must_check gv_nonnull(1, 2);

#define LOG_EVENT_(level, event, ...)                                              \
	do {                                                                       \
		if (log_is_on(level)) {                                            \
			const struct log_field log_fields_[] = {                   \
				__VA_OPT__(__VA_ARGS__, ){.type = LOG_FIELD_END}}; \
			log_write((level), log_module_, (event), log_fields_);     \
		}                                                                  \
	} while (0)

#define log_info(event, ...) LOG_EVENT_(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_warn(event, ...) LOG_EVENT_(LOG_LEVEL_WARN, event, __VA_ARGS__)

/* Logs an error with its text and trace and returns r: return log_err(r, "store.open", ...); */
#define log_err(r, event, ...)                                             \
	({                                                                 \
		int log_r_ = (r);                                          \
		const struct log_field log_fields_[] = {                   \
			__VA_OPT__(__VA_ARGS__, ){.type = LOG_FIELD_END}}; \
		log_write_err(log_r_, log_module_, (event), log_fields_);  \
		log_r_;                                                    \
	})

/* The last field of a line of log_limit_pass(): nothing when no line was left out. */
#define LOG_LEFT_OUT(n)      \
	((struct log_field){ \
		.key = "left_out", .type = (n) > 0 ? LOG_FIELD_U64 : LOG_FIELD_END, .v.u64 = (n)})

/* At most per_minute lines of this place; the next line after a gap says how many were left out (left_out=N). */
#define log_limited(level, per_minute, event, ...)                                  \
	do {                                                                        \
		static struct log_limit log_limit_;                                 \
		log_limited_by(&log_limit_, level, per_minute, event, __VA_ARGS__); \
	} while (0)

/* Likewise, with the caller's limit (zeroed at first). */
#define log_limited_by(limit, level, per_minute, event, ...)                               \
	do {                                                                               \
		uint32_t log_left_;                                                        \
		if (log_is_on(level) && log_limit_pass((limit), (per_minute), &log_left_)) \
			LOG_EVENT_(level, event,                                           \
			           __VA_OPT__(__VA_ARGS__, ) LOG_LEFT_OUT(log_left_));     \
	} while (0)

#define log_debug(...)                                            \
	do {                                                      \
		if (log_is_on(LOG_LEVEL_DEBUG))                   \
			log_write_text(log_module_, __VA_ARGS__); \
	} while (0)

struct log_limit {
	_Atomic uint64_t window_us;
	_Atomic uint32_t count;
};

/*
 * Whether one more line may be written; at least one a minute may. *left_out: how many could not since the last minute that
 * had a line, told once, for LOG_LEFT_OUT.
 */
bool log_limit_pass(struct log_limit *l, uint32_t per_minute, uint32_t *left_out) gv_nonnull(1, 3);
void log_write(enum log_level level, const char *module, const char *event,
               const struct log_field *fields) gv_nonnull(2, 3, 4);
void log_write_err(int r, const char *module, const char *event, const struct log_field *fields)
	gv_nonnull(2, 3, 4);
void log_write_text(const char *module, const char *fmt, ...) gv_nonnull(1, 2) gv_format(2, 3);

#endif /* GV_BASE_LOG_H */
