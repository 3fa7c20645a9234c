/* SPDX-License-Identifier: MIT */

#include "io/unix.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

LOG_MODULE("unix");

#define READ_BYTES       8192
#define ACCEPTS_PER_TURN 16
/* Of accepting, after a lack of memory or descriptors: the listening socket stays readable. */
#define RETRY_US (100u * 1000u)

struct unix_client {
	uv_pipe_t uv;
	struct unix_server *server;
	struct unix_client *next; /* in server->clients */
	struct unix_cred cred;
	struct buf in;
	bool closing;
	bool asked;   /* a line was given out and not answered yet */
	bool stuffed; /* it does not read its answers: no more lines until it does */
	char chunk[READ_BYTES];
};

struct unix_server {
	struct loop *loop;
	struct loop_fd *listener;
	struct loop_timer *retry;
	int fd;     /* owned */
	char *path; /* owned */
	unix_line_fn line;
	unix_gone_fn gone;
	void *user;
	struct unix_client *clients;
	size_t n_clients; /* not closing */
	size_t refs; /* of clients, open or closing, and of the owner: memory goes with the last */
	bool closing;
};

struct write_job {
	uv_write_t uv;
	char data[]; /* bytes being sent */
};

static bool fill_path(struct sockaddr_un *sa, const char *path, struct diag *diag)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(sa->sun_path) || path[0] == '\0') {
		diag_set(diag, "the socket path must have 1 to %zu bytes",
		         sizeof(sa->sun_path) - 1);
		return false;
	}
	memcpy(sa->sun_path, path, strlen(path) + 1);
	return true;
}

/*
 * Takes away a socket nobody answers on. Returns UNIX_OK, UNIX_IN_USE, UNIX_BAD_PATH, UNIX_DENIED;
 * -errno.
 */
static int clear_stale(const struct sockaddr_un *sa, struct diag *diag)
{
	struct stat st;

	if (lstat(sa->sun_path, &st) != 0)
		return errno == ENOENT || errno == ENOTDIR ? UNIX_OK : err_here(-errno);
	if (!S_ISSOCK(st.st_mode)) {
		diag_set(diag, "%s exists and is no socket", sa->sun_path);
		return UNIX_BAD_PATH;
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_here(-errno);
	int r = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 ? 0 : -errno;
	close(fd);
	if (r == 0 || r == -EAGAIN) {
		diag_set(diag, "another govpnd answers on %s", sa->sun_path);
		return UNIX_IN_USE;
	}
	if (r == -EACCES || r == -EPERM)
		return UNIX_DENIED;
	if (unlink(sa->sun_path) != 0 && errno != ENOENT)
		return errno == EACCES || errno == EPERM ? UNIX_DENIED : err_here(-errno);
	log_debug("stale socket %s removed", sa->sun_path);
	return UNIX_OK;
}

/*
 * The folder of the socket (/run/govpn) is made when it is missing; what is wrong with it shows in
 * bind().
 */
static void make_folder(const char *path)
{
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');

	if (slash == NULL || slash == path)
		return;
	memcpy(folder, path, (size_t)(slash - path));
	folder[slash - path] = '\0';
	if (mkdir(folder, 0755) != 0 && errno != EEXIST)
		log_debug("cannot make %s", folder);
}

#define NO_GROUP ((gid_t)-1)

/* Returns UNIX_OK, UNIX_BAD_PATH, UNIX_DENIED (also: not to be given to this group); -errno. */
static int make_socket(int *out_fd, const struct sockaddr_un *sa, mode_t mode, gid_t group,
                       struct diag *diag)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_here(-errno);
	/* The mode is right from the first moment, and no symbolic link put in its place is followed. */
	mode_t old = umask(~mode & 0777);
	int r = bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 ? 0 : -errno;
	umask(old);
	if (r < 0) {
		close(fd);
		diag_set(diag, "cannot make the socket %s: %s", sa->sun_path, strerror(-r));
		return r == -EACCES || r == -EPERM || r == -EROFS ? UNIX_DENIED : UNIX_BAD_PATH;
	}
	/* Nobody can connect before listen(). */
	if (group != NO_GROUP && lchown(sa->sun_path, (uid_t)-1, group) != 0) {
		if (unlink(sa->sun_path) != 0)
			log_debug("socket %s was gone already", sa->sun_path);
		close(fd);
		return UNIX_DENIED;
	}
	*out_fd = fd;
	return UNIX_OK;
}

/*
 * For the group, or, when it cannot be had, for nobody's group: that of the process may be one of many people.
 */
static int make_group_socket(int *out_fd, const struct sockaddr_un *sa, mode_t mode,
                             const char *group, struct diag *diag)
{
	const struct group *g = getgrnam(group);
	int r = g != NULL ? make_socket(out_fd, sa, mode, g->gr_gid, diag) : UNIX_DENIED;

	if (r != UNIX_DENIED)
		return r < 0 ? err_up(r) : r;
	r = make_socket(out_fd, sa, mode & ~(mode_t)S_IRWXG, NO_GROUP, diag);
	if (r == UNIX_OK)
		diag_set(diag,
		         g != NULL ? "%s cannot be given to the group %s: only its owner may use it"
		                   : "%s is for its owner only: there is no group %s",
		         sa->sun_path, group);
	return r < 0 ? err_up(r) : r;
}

int unix_bind(int *out_fd, const char *path, mode_t mode, const char *group, struct diag *diag)
{
	struct sockaddr_un sa;
	int fd = -1;

	if (!fill_path(&sa, path, diag))
		return UNIX_BAD_PATH;
	make_folder(path);
	int r = clear_stale(&sa, diag);
	if (r == UNIX_OK)
		r = group != NULL ? make_group_socket(&fd, &sa, mode, group, diag)
		                  : make_socket(&fd, &sa, mode, NO_GROUP, diag);
	if (r != UNIX_OK)
		return r < 0 ? err_up(r) : r;
	if (listen(fd, SOMAXCONN) != 0) {
		r = -errno;
		close(fd);
		return err_here(r);
	}
	*out_fd = fd;
	return UNIX_OK;
}

static void server_unref(struct unix_server *s)
{
	if (--s->refs > 0)
		return;
	mem_free(s->path);
	mem_free(s);
}

static void on_client_closed(uv_handle_t *h)
{
	struct unix_client *c = GV_CONTAINER_OF((uv_pipe_t *)h, struct unix_client, uv);
	struct unix_server *s = c->server;

	buf_deinit(&c->in);
	mem_free(c);
	server_unref(s);
}

static void client_close(struct unix_client *c, bool tell)
{
	struct unix_server *s = c->server;

	if (c->closing)
		return;
	c->closing = true;
	for (struct unix_client **p = &s->clients; *p != NULL; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			break;
		}
	}
	s->n_clients--;
	uv_close((uv_handle_t *)&c->uv, on_client_closed);
	if (tell)
		s->gone(s->user, c);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *out)
{
	struct unix_client *c = GV_CONTAINER_OF((uv_pipe_t *)h, struct unix_client, uv);

	(void)suggested;
	*out = uv_buf_init(c->chunk, sizeof(c->chunk));
}

/* Gives out the whole lines of c->in. The client may be closed by what a line causes. */
static void cut_lines(struct unix_client *c)
{
	while (!c->closing && !c->stuffed && c->in.len > 0) {
		char *begin = (char *)c->in.data;
		char *end = memchr(begin, '\n', c->in.len);
		if (end == NULL)
			return;
		*end = '\0';
		c->asked = true;
		c->server->line(c->server->user, c, begin, (size_t)(end - begin));
		buf_consume(&c->in, (size_t)(end - begin) + 1);
	}
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *chunk)
{
	struct unix_client *c = GV_CONTAINER_OF((uv_pipe_t *)stream, struct unix_client, uv);

	if (c->closing || n == 0)
		return;
	int r = n < 0 ? -ECONNRESET : buf_add(&c->in, chunk->base, (size_t)n);
	mem_wipe(c->chunk, sizeof(c->chunk)); /* a password may be in it */
	if (r < 0)
		client_close(c, true);
	else
		cut_lines(c);
}

static int read_cred(struct unix_client *c)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	uv_os_fd_t fd;
	int r = uv_fileno((const uv_handle_t *)&c->uv, &fd);

	if (r < 0)
		return err_here(r);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		return err_here(-errno);
	c->cred = (struct unix_cred){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
	return 0;
}

/* Full: whoever is silent longest makes room. False: everybody waits for an answer. */
static bool make_room(struct unix_server *s)
{
	struct unix_client *oldest = NULL;

	for (struct unix_client *c = s->clients; c != NULL; c = c->next) {
		if (!c->asked)
			oldest = c;
	}
	if (oldest != NULL)
		client_close(oldest, true);
	return oldest != NULL;
}

/* Both are moved. */
static void client_open(struct unix_server *s, struct unix_client *c, int fd)
{
	bool room = s->n_clients < UNIX_CLIENTS_MAX || make_room(s);

	c->server = s;
	c->in = BUF_INIT(UNIX_LINE_MAX);
	c->next = s->clients;
	s->clients = c;
	s->refs++;
	s->n_clients++;
	(void)uv_pipe_init(loop_uv(s->loop), &c->uv, 0); /* cannot fail */
	if (uv_pipe_open(&c->uv, fd) < 0) {
		close(fd);
		room = false;
	}
	if (!room || read_cred(c) < 0 ||
	    uv_read_start((uv_stream_t *)&c->uv, on_alloc, on_read) < 0)
		client_close(c, false);
}

static void on_acceptable(void *user, unsigned events)
{
	struct unix_server *s = user;

	(void)events;
	for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
		struct unix_client *c = mem_new(struct unix_client);
		int fd = c != NULL ? accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;

		if (fd >= 0) {
			client_open(s, c, fd);
			continue;
		}
		bool nobody = c != NULL && errno == EAGAIN;
		mem_free(c);
		if (nobody)
			return;
		if (c != NULL && (errno == ECONNABORTED || errno == EINTR))
			continue;
		if (loop_fd_start(s->listener, 0) == 0)
			loop_timer_start(s->retry, RETRY_US);
		return;
	}
}

static void on_retry(void *user)
{
	struct unix_server *s = user;

	if (loop_fd_start(s->listener, LOOP_READABLE) < 0)
		loop_timer_start(s->retry, RETRY_US);
}

static void close_listener(struct unix_server *s)
{
	s->closing = true;
	loop_timer_close(s->retry);
	loop_fd_close(s->listener);
	close(s->fd);
	server_unref(s);
}

int unix_server_new(struct unix_server **out, struct loop *loop, int fd_moved, const char *path,
                    unix_line_fn line, unix_gone_fn gone, void *user)
{
	struct unix_server *s = mem_new(struct unix_server);

	if (s == NULL || (s->path = mem_strdup(path)) == NULL) {
		mem_free(s);
		close(fd_moved);
		return err_here(-ENOMEM);
	}
	s->line = line;
	s->gone = gone;
	s->user = user;
	s->loop = loop;
	s->fd = fd_moved;
	s->refs = 1;
	int r = loop_timer_new(&s->retry, loop, on_retry, s);
	if (r == 0)
		r = loop_fd_new(&s->listener, loop, s->fd, on_acceptable, s);
	if (r == 0)
		r = loop_fd_start(s->listener, LOOP_READABLE);
	if (r < 0) {
		close_listener(s);
		return err_up(r);
	}
	*out = s;
	return 0;
}

void unix_server_close(struct unix_server *s)
{
	if (s == NULL || s->closing)
		return;
	while (s->clients != NULL)
		client_close(s->clients, false);
	if (unlink(s->path) != 0)
		log_debug("socket %s was gone already", s->path);
	close_listener(s);
}

const struct unix_cred *unix_client_cred(const struct unix_client *c)
{
	return &c->cred;
}

void unix_client_close(struct unix_client *c)
{
	client_close(c, true);
}

static void on_written(uv_write_t *uv, int status)
{
	uv_stream_t *stream = uv->handle;
	struct unix_client *c = GV_CONTAINER_OF((uv_pipe_t *)stream, struct unix_client, uv);

	(void)status; /* a broken line shows in on_read() */
	mem_free(GV_CONTAINER_OF(uv, struct write_job, uv));
	if (c->closing || !c->stuffed || uv_stream_get_write_queue_size(stream) > 0)
		return;
	c->stuffed = false;
	cut_lines(c);
	if (!c->closing && !c->stuffed && uv_read_start(stream, on_alloc, on_read) < 0)
		client_close(c, true);
}

int unix_client_send(struct unix_client *c, const char *line, size_t len)
{
	uv_stream_t *stream = (uv_stream_t *)&c->uv;

	if (c->closing)
		return -ENOTCONN;
	c->asked = false;
	if (uv_stream_get_write_queue_size(stream) + len + 1 > UNIX_OUT_MAX) {
		client_close(c, true);
		return err_here(-ENOBUFS);
	}
	struct write_job *w = mem_alloc(1, sizeof(*w) + len + 1);
	if (w == NULL)
		return err_here(-ENOMEM);
	memcpy(w->data, line, len);
	w->data[len] = '\n';
	uv_buf_t b = uv_buf_init(w->data, (unsigned)(len + 1));
	int r = uv_write(&w->uv, stream, &b, 1, on_written);
	if (r < 0) {
		mem_free(w);
		return err_here(r);
	}
	if (uv_stream_get_write_queue_size(stream) > 0) {
		c->stuffed = true;
		(void)uv_read_stop(stream); /* cannot fail */
	}
	return 0;
}

static int send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		p += sent;
		n -= (size_t)sent;
	}
	return 0;
}

/* Reads up to the first '\n', which is dropped. */
static int receive_line(int fd, struct buf *reply)
{
	char chunk[READ_BYTES];

	for (;;) {
		ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_here(errno == EAGAIN ? -ETIMEDOUT : -errno);
		if (n == 0)
			return UNIX_CLOSED;
		const char *end = memchr(chunk, '\n', (size_t)n);
		int r = buf_add(reply, chunk, end != NULL ? (size_t)(end - chunk) : (size_t)n);
		if (r < 0)
			return err_up(r);
		if (end != NULL)
			return UNIX_OK;
	}
}

static int connect_result(int e)
{
	switch (e) {
	case ENOENT:
	case ECONNREFUSED:
	case ENOTDIR:
	case EAGAIN:
		return UNIX_NO_SERVER;
	case EACCES:
	case EPERM:
		return UNIX_DENIED;
	default:
		return err_here(-e);
	}
}

int unix_call(const char *path, const char *line, size_t len, struct buf *reply, int timeout_ms)
{
	struct sockaddr_un sa;
	const struct timeval limit = {.tv_sec = timeout_ms / 1000,
	                              .tv_usec = timeout_ms % 1000 * 1000};

	if (!fill_path(&sa, path, NULL))
		return UNIX_BAD_PATH;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_here(-errno);
	int r = 0;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0)
		r = err_here(-errno);
	if (r == 0 && connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) != 0)
		r = connect_result(errno);
	if (r == UNIX_OK) {
		r = send_all(fd, line, len);
		if (r == 0)
			r = send_all(fd, "\n", 1);
		/* A server that closes early may have said why before. */
		if (r == 0 || r == -EPIPE || r == -ECONNRESET)
			r = receive_line(fd, reply);
		if (r == -ECONNRESET)
			r = UNIX_CLOSED;
	}
	close(fd);
	return r;
}
