/* SPDX-License-Identifier: MIT */
#ifndef GV_SUPPORT_SIGLOAD_H
#define GV_SUPPORT_SIGLOAD_H

/* sigload - what the two files of the program share. */

#include "base/rng.h"
#include "sigconn.h"

extern struct rng sigload_rng;

/* p, unless it is NULL: then the program ends. */
void *sigload_must(void *p);

/* Malformed WebSocket frames and messages; HTTP heads; bytes that are no TLS. Each prints its figures. */
void sigbad_frames(struct sigconns *all, size_t n);
void sigbad_heads(struct sigconns *all, size_t n);
void sigbad_garbage(struct sigconns *all, size_t n);

#endif /* GV_SUPPORT_SIGLOAD_H */
