/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SIG_MSG_IMPL_H
#define GV_PROTO_SIG_MSG_IMPL_H

/*
 * msg_impl - the tables that describe each message; reader and writer walk the same ones.
 *
 * For:  msg.c, msg_read.c, msg_write.c and msg_table.c only.
 */

#include "proto/sig/msg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a field looks in JSON, and what it is in the struct. */
enum field_kind {
	FIELD_TEXT,    /* any text of 1 .. max bytes        const char * */
	FIELD_LINE,    /* the same, text_is_name()          const char * */
	FIELD_BYTES,   /* base64url of exactly max bytes    uint8_t[max] */
	FIELD_NETID,   /* 32 letters of base32              uint8_t[20] */
	FIELD_CODE,    /* 10 letters of base32              const char * */
	FIELD_BLOB,    /* base64url of 1 .. max bytes       struct msg_blob */
	FIELD_SESSION, /* 16 hex digits, not all zero       uint64_t */
	FIELD_U32,     /* integer 0 .. max                  uint32_t */
	FIELD_TIME,    /* integer seconds 0 .. 2^53 - 1     int64_t */
	FIELD_BOOL,    /* true or false                     bool */
	FIELD_IP4,     /* "10.1.2.3"                        struct netaddr */
	FIELD_IP6,     /* "fd00::1"                         struct netaddr */
	FIELD_PREFIX,  /* "10.1.2.0/24"                     struct netprefix */
	FIELD_ERROR,   /* word of an error code             enum msg_error_code */
	FIELD_OBJECT,  /* object of `table`                 the struct itself */
	FIELD_LIST,    /* array of 0 .. max objects         pointer; the count is at count_at */
};

enum field_need {
	FIELD_REQUIRED = 0,
	FIELD_OPTIONAL, /* missing or null leaves zero; zero is not written. BOOL: false is not written */
	/*
	 * A field of several that come together: all or none of the group. `has` at count_at tells which; it belongs to
	 * each field of the group.
	 */
	FIELD_GROUPED,
};

struct field {
	const char *name; /* NULL ends a table */
	enum field_kind kind;
	enum field_need need;
	size_t at;       /* offset in the struct */
	size_t count_at; /* FIELD_LIST: of the size_t; FIELD_GROUPED: of the bool */
	size_t max;
	const struct field *table; /* FIELD_OBJECT, FIELD_LIST */
	size_t size;               /* FIELD_LIST: of one element */
};

struct type_info {
	const char *name;
	uint8_t from;        /* enum msg_from bits */
	enum msg_type reply; /* of a request, else MSG_NONE */
	const struct field *fields;
};

/* Indexed by type; entry 0 has no name. */
extern const struct type_info msg_table_types[MSG_TYPES];

/* One object; NULL is read as an empty one. base is the struct that the offsets of the table are of. */
struct json_t;
int msg_read_object(struct msg_store *store, const struct json_t *object, const struct field *table,
                    void *base, struct diag *diag) gv_must_check gv_nonnull(1, 3, 4);
int msg_write_object(struct buf *out, const struct field *table, const void *base)
	gv_must_check gv_nonnull(1, 2, 3);

#endif /* GV_PROTO_SIG_MSG_IMPL_H */
