/* SPDX-License-Identifier: MIT */

/* What a hostile peer of fuzz_dataplane.c knows of our association. */

#include "dataplane_parts.h"

#include "proto/sctp/assoc_impl.h"

uint32_t sctp_own_tag(const struct sctp *s)
{
	return s->my_tag;
}

uint32_t sctp_acknowledged(const struct sctp *s)
{
	return s->in.cum;
}
