/* SPDX-License-Identifier: MIT */

/* The two files of the data plane that touch the TUN, with a TUN of fuzz_dataplane.c. */

#include "dataplane_parts.h"

#include <sys/uio.h>
#include <unistd.h>

#define read(fd, buf, size) fake_tun_read((fd), (buf), (size))
#define writev(fd, iov, n)  fake_tun_writev((fd), (iov), (n))
#include "engine/dataplane/deliver.c"
#include "engine/dataplane/out.c"
