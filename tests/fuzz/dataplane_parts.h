/* SPDX-License-Identifier: MIT */
#ifndef GV_FUZZ_DATAPLANE_PARTS_H
#define GV_FUZZ_DATAPLANE_PARTS_H

/* What the parts of fuzz_dataplane.c call of each other. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct sctp;
struct shard;

/* The TUN: as read(2) and writev(2). */
ssize_t fake_tun_read(int fd, void *buf, size_t size);
ssize_t fake_tun_writev(int fd, const struct iovec *iov, int n);

/* Timers that are due and commands that wait. */
void shard_turn(struct shard *s, uint64_t now_us);

/* The tag that packets to it carry, and the last TSN that came with all before it. */
uint32_t sctp_own_tag(const struct sctp *s);
uint32_t sctp_acknowledged(const struct sctp *s);

#endif /* GV_FUZZ_DATAPLANE_PARTS_H */
