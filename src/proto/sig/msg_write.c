/* SPDX-License-Identifier: MIT */

#include "base/enc.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "proto/sig/msg.h"
#include "proto/sig/msg_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define BYTES_MAX 64 /* of a FIELD_BYTES */

/* A JSON string (RFC 8259 7). s is UTF-8. */
static int write_string(struct buf *out, const char *s)
{
	size_t plain = 0;
	int r = buf_add(out, "\"", 1);

	while (r == 0 && s[plain] != '\0') {
		unsigned char c = (unsigned char)s[plain];

		if (c >= 0x20 && c != '"' && c != '\\') {
			plain++;
			continue;
		}
		r = buf_add(out, s, plain);
		if (r == 0 && c < 0x20)
			r = buf_addf(out, "\\u%04x", (unsigned)c);
		else if (r == 0)
			r = buf_addf(out, "\\%c", c);
		s += plain + 1;
		plain = 0;
	}
	if (r == 0)
		r = buf_add(out, s, plain);
	if (r == 0)
		r = buf_add(out, "\"", 1);
	return r < 0 ? err_up(r) : 0;
}

static int write_text(struct buf *out, const struct field *f, const char *s)
{
	if (s == NULL || s[0] == '\0' || strnlen(s, f->max + 1) > f->max)
		return err_here(-EINVAL);
	if (f->kind == FIELD_LINE ? !text_is_name(s, f->max) : !text_is_utf8(s, strlen(s)))
		return err_here(-EINVAL);
	int r = write_string(out, s);
	return r < 0 ? err_up(r) : 0;
}

static int write_code(struct buf *out, const char *s)
{
	char code[NETID_CODE_SIZE];

	if (s == NULL || !netid_parse_code(s, code))
		return err_here(-EINVAL);
	int r = write_string(out, code);
	return r < 0 ? err_up(r) : 0;
}

static int write_bytes(struct buf *out, const void *p, size_t n)
{
	char text[ENC_BASE64_SIZE(BYTES_MAX)];

	if (n > BYTES_MAX)
		return err_here(-EINVAL);
	enc_base64url(text, p, n);
	int r = buf_addf(out, "\"%s\"", text);
	return r < 0 ? err_up(r) : 0;
}

static int write_blob(struct buf *out, const struct field *f, const struct msg_blob *blob)
{
	if (blob->n == 0 || blob->n > f->max)
		return err_here(-EINVAL);
	gv_cleanup(mem_freep) char *text = mem_alloc(ENC_BASE64_SIZE(blob->n), 1);
	if (text == NULL)
		return err_here(-ENOMEM);
	enc_base64url(text, blob->p, blob->n);
	int r = write_string(out, text);
	return r < 0 ? err_up(r) : 0;
}

static int write_ip(struct buf *out, enum netaddr_family family, const struct netaddr *addr)
{
	char text[NETADDR_TEXT_SIZE];

	if (addr->family != family)
		return err_here(-EINVAL);
	int r = buf_addf(out, "\"%s\"", netaddr_ip_text(addr, text));
	return r < 0 ? err_up(r) : 0;
}

static int write_prefix(struct buf *out, const struct netprefix *prefix)
{
	char text[NETADDR_TEXT_SIZE];

	if (prefix->addr.family != NETADDR_IP4)
		return err_here(-EINVAL);
	int r = buf_addf(out, "\"%s\"", netprefix_text(prefix, text));
	return r < 0 ? err_up(r) : 0;
}

static int write_number(struct buf *out, const struct field *f, uint64_t n)
{
	if (f->kind == FIELD_SESSION && n == 0)
		return err_here(-EINVAL);
	if (f->kind == FIELD_U32 && n > f->max)
		return err_here(-EINVAL);
	if (f->kind == FIELD_TIME && n >> 53 != 0) /* also every negative one */
		return err_here(-EINVAL);
	int r = f->kind == FIELD_SESSION ? buf_addf(out, "\"%016" PRIx64 "\"", n)
	                                 : buf_addf(out, "%" PRIu64, n);
	return r < 0 ? err_up(r) : 0;
}

static int write_list(struct buf *out, const struct field *f, const void *base)
{
	const uint8_t *list;
	size_t n;

	memcpy(&list, (const uint8_t *)base + f->at, sizeof(list));
	memcpy(&n, (const uint8_t *)base + f->count_at, sizeof(n));
	if (n > f->max)
		return err_here(-EINVAL);
	int r = buf_add(out, "[", 1);
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (i > 0)
			r = buf_add(out, ",", 1);
		if (r == 0)
			r = msg_write_object(out, f->table, list + i * f->size);
	}
	if (r == 0)
		r = buf_add(out, "]", 1);
	return r < 0 ? err_up(r) : 0;
}

static int write_error(struct buf *out, enum msg_error_code code)
{
	if (code == MSG_ERROR_OTHER || (unsigned)code >= MSG_ERROR_CODES)
		return err_here(-EINVAL);
	int r = write_string(out, msg_error_text(code));
	return r < 0 ? err_up(r) : 0;
}

static int write_value(struct buf *out, const struct field *f, const void *base)
{
	const void *at = (const uint8_t *)base + f->at;
	char id[NETID_TEXT_SIZE];

	switch (f->kind) {
	case FIELD_TEXT:
	case FIELD_LINE:
		return write_text(out, f, *(const char *const *)at);
	case FIELD_BYTES:
		return write_bytes(out, at, f->max);
	case FIELD_NETID:
		return write_string(out, netid_text(at, id));
	case FIELD_CODE:
		return write_code(out, *(const char *const *)at);
	case FIELD_BLOB:
		return write_blob(out, f, at);
	case FIELD_SESSION:
		return write_number(out, f, *(const uint64_t *)at);
	case FIELD_U32:
		return write_number(out, f, *(const uint32_t *)at);
	case FIELD_TIME:
		return write_number(out, f, *(const uint64_t *)at);
	case FIELD_BOOL:
		return buf_add_str(out, *(const bool *)at ? "true" : "false");
	case FIELD_IP4:
		return write_ip(out, NETADDR_IP4, at);
	case FIELD_IP6:
		return write_ip(out, NETADDR_IP6, at);
	case FIELD_PREFIX:
		return write_prefix(out, at);
	case FIELD_ERROR:
		return write_error(out, *(const enum msg_error_code *)at);
	case FIELD_OBJECT:
		return msg_write_object(out, f->table, at);
	case FIELD_LIST:
		return write_list(out, f, base);
	}
	return err_here(-EINVAL);
}

/* Whether an optional or grouped field is there. */
static bool is_present(const struct field *f, const void *base)
{
	const void *at = (const uint8_t *)base + f->at;

	if (f->need == FIELD_REQUIRED)
		return true;
	if (f->need == FIELD_GROUPED)
		return *(const bool *)((const uint8_t *)base + f->count_at);
	switch (f->kind) {
	case FIELD_TEXT:
	case FIELD_LINE:
	case FIELD_CODE:
		return *(const char *const *)at != NULL;
	case FIELD_BLOB:
		return ((const struct msg_blob *)at)->n > 0;
	case FIELD_SESSION:
		return *(const uint64_t *)at != 0;
	case FIELD_U32:
		return *(const uint32_t *)at != 0;
	case FIELD_BOOL:
		return *(const bool *)at;
	case FIELD_IP4:
	case FIELD_IP6:
		return ((const struct netaddr *)at)->family != NETADDR_NONE;
	case FIELD_BYTES:
	case FIELD_NETID:
	case FIELD_TIME:
	case FIELD_PREFIX:
	case FIELD_ERROR:
	case FIELD_OBJECT:
	case FIELD_LIST:
		break; /* zero is a value of these, so no table has them as optional */
	}
	return true;
}

int msg_write_object(struct buf *out, const struct field *table, const void *base)
{
	const char *separator = "";
	int r = buf_add(out, "{", 1);

	for (const struct field *f = table; r == 0 && f->name != NULL; f++) {
		if (!is_present(f, base))
			continue;
		r = buf_addf(out, "%s\"%s\":", separator, f->name);
		if (r == 0)
			r = write_value(out, f, base);
		separator = ",";
	}
	if (r == 0)
		r = buf_add(out, "}", 1);
	return r < 0 ? err_up(r) : 0;
}

int msg_format(const struct msg *m, struct buf *out)
{
	if (m->type == MSG_NONE || (unsigned)m->type >= MSG_TYPES)
		return err_here(-EINVAL);
	const struct type_info *info = &msg_table_types[m->type];

	int r = buf_add(out, "{", 1);
	if (r == 0 && m->id[0] != '\0') {
		r = buf_add_str(out, "\"message_id\":");
		if (r == 0)
			r = write_string(out, m->id);
		if (r == 0)
			r = buf_add(out, ",", 1);
	}
	if (r == 0)
		r = buf_addf(out, "\"type\":\"%s\",\"payload\":", info->name);
	if (r == 0)
		r = msg_write_object(out, info->fields, &m->challenge);
	if (r == 0)
		r = buf_add(out, "}", 1);
	return r < 0 ? err_up(r) : 0;
}
