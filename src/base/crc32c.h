/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_CRC32C_H
#define GV_BASE_CRC32C_H

/*
 * crc32c - the checksum of SCTP (RFC 9260 appendix A), in hardware where the processor has it.
 */

#include "base/macro.h"

#include <stddef.h>
#include <stdint.h>

/* CRC32c of n bytes, as a number; SCTP stores it in little-endian order (le32_store). */
uint32_t crc32c(const void *p, size_t n) gv_nonnull(1);

/* The table version, for processors without the instruction and for the test that compares both. */
uint32_t crc32c_soft(const void *p, size_t n) gv_nonnull(1);

#endif /* GV_BASE_CRC32C_H */
