/* SPDX-License-Identifier: MIT */

#include "base/mq.h"

#include "base/err.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mq {
	pthread_mutex_t lock; /* guards head, tail and waiting */
	struct mq_msg *head, **tail;
	uint32_t waiting[MQ_LANES];
	uint32_t limit[MQ_LANES]; /* immutable */
	int fd;                   /* immutable */
};

int mq_new(struct mq **out, const uint32_t limits[static MQ_LANES])
{
	struct mq *q = mem_new(struct mq);

	if (q == NULL)
		return err_here(-ENOMEM);
	q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->fd < 0) {
		int r = -errno;

		mem_free(q);
		return err_here(r);
	}
	int e = pthread_mutex_init(&q->lock, NULL);
	if (e != 0) {
		close(q->fd);
		mem_free(q);
		return err_here(-e);
	}
	memcpy(q->limit, limits, sizeof(q->limit));
	q->tail = &q->head;
	*out = q;
	return 0;
}

void mq_free(struct mq *q)
{
	if (q == NULL)
		return;
	for (struct mq_msg *m = q->head, *next; m != NULL; m = next) {
		next = m->next;
		mem_free(m);
	}
	(void)pthread_mutex_destroy(&q->lock); /* nobody holds it: see the header */
	close(q->fd);
	mem_free(q);
}

static void wake(struct mq *q)
{
	uint64_t one = 1;
	ssize_t n = write(q->fd, &one, sizeof(one));

	(void)n; /* the counter cannot overflow: a message that waits was told once, and once more by mq_pop_all() */
}

int mq_push(struct mq *q, unsigned lane, struct mq_msg *m)
{
	assert(lane < MQ_LANES);
	(void)pthread_mutex_lock(&q->lock); /* a default mutex, never locked twice */
	if (q->waiting[lane] >= q->limit[lane]) {
		(void)pthread_mutex_unlock(&q->lock);
		return -ENOBUFS;
	}
	int was_empty = q->head == NULL;
	m->lane = (uint8_t)lane;
	m->next = NULL;
	*q->tail = m;
	q->tail = &m->next;
	q->waiting[lane]++;
	(void)pthread_mutex_unlock(&q->lock);

	if (was_empty)
		wake(q);
	return 0;
}

static struct mq_msg *take(struct mq *q)
{
	(void)pthread_mutex_lock(&q->lock);
	struct mq_msg *list = q->head;
	q->head = NULL;
	q->tail = &q->head;
	memset(q->waiting, 0, sizeof(q->waiting));
	(void)pthread_mutex_unlock(&q->lock);
	return list;
}

struct mq_msg *mq_pop_all(struct mq *q)
{
	struct mq_msg *list = take(q);
	uint64_t count;

	if (list != NULL)
		return list;
	ssize_t n = read(q->fd, &count, sizeof(count));
	(void)n; /* nothing to read: nothing was told */
	/* What was pushed since took its wake-up with it. */
	list = take(q);
	if (list != NULL)
		wake(q);
	return list;
}

int mq_fd(const struct mq *q)
{
	return q->fd;
}
