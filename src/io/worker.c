/* SPDX-License-Identifier: MIT */

#include "io/worker.h"

#include "base/err.h"
#include "base/mem.h"
#include "io/loop.h"

#include <errno.h>
#include <uv.h>

struct job {
	uv_work_t uv;
	worker_work_fn work;
	worker_done_fn done;
	void *user;
};

static void on_work(uv_work_t *uv)
{
	struct job *j = GV_CONTAINER_OF(uv, struct job, uv);

	j->work(j->user);
}

static void on_done(uv_work_t *uv, int status)
{
	struct job *j = GV_CONTAINER_OF(uv, struct job, uv);

	(void)status; /* never cancelled */
	j->done(j->user);
	mem_free(j);
}

int worker_start(struct loop *loop, worker_work_fn work, worker_done_fn done, void *user)
{
	struct job *j = mem_new(struct job);

	if (j == NULL)
		return err_here(-ENOMEM);
	j->work = work;
	j->done = done;
	j->user = user;
	int r = uv_queue_work(loop_uv(loop), &j->uv, on_work, on_done);
	if (r < 0) {
		mem_free(j);
		return err_here(r);
	}
	return 0;
}
