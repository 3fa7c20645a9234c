/* SPDX-License-Identifier: MIT */

/* base/log that says nothing, for fuzzers whose inputs cause errors that the product logs. */

#include "base/log.h"

void log_set_level(enum log_level level)
{
	(void)level;
}

bool log_is_on(enum log_level level)
{
	return level < LOG_LEVEL_DEBUG;
}

bool log_parse_level(const char *text, enum log_level *out)
{
	(void)text;
	*out = LOG_LEVEL_ERR;
	return true;
}

bool log_limit_pass(struct log_limit *l, uint32_t per_minute, uint32_t *left_out)
{
	(void)l;
	(void)per_minute;
	*left_out = 0;
	return true;
}

/* Every text is read to its end, as the real one does. */
void log_write(enum log_level level, const char *module, const char *event,
               const struct log_field *fields)
{
	static volatile char sink;

	(void)level;
	(void)module;
	(void)event;
	for (const struct log_field *f = fields; f->type != LOG_FIELD_END; f++) {
		for (const char *p = f->type == LOG_FIELD_STR ? f->v.str : NULL;
		     p != NULL && *p != '\0'; p++)
			sink = (char)(sink + *p);
	}
}

void log_write_err(int r, const char *module, const char *event, const struct log_field *fields)
{
	(void)r;
	log_write(LOG_LEVEL_ERR, module, event, fields);
}

void log_write_text(const char *module, const char *fmt, ...)
{
	(void)module;
	(void)fmt;
}
