/* SPDX-License-Identifier: MIT */

/* govpnd: options, what needs rights, then without them the loop. */

#include "config.h"
#include "apps/govpnd/opts.h"
#include "base/err.h"
#include "base/exit.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/client/localapi.h"
#include "engine/client/state.h"
#include "engine/client/supervisor.h"
#include "engine/dataplane/dataplane.h"
#include "io/log_out.h"
#include "io/loop.h"
#include "io/priv.h"
#include "io/route.h"
#include "io/tun.h"
#include "io/udp.h"
#include "io/unix.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

LOG_MODULE("main");

#define SOCKET_MODE  0660
#define SOCKET_GROUP "govpn"
#define PORT_HIGH    1024
/* For all networks and clients that may be; for one of each, with a little room. */
#define DESCRIPTORS     512
#define DESCRIPTORS_MIN 64

struct daemon {
	struct opts opts;
	struct state *state;
	struct tun_pool *tun_pool;
	struct route *route;
	struct udp udp4, udp6;
	int socket_fd;
	struct loop *loop;
	struct dataplane *dataplane;
	struct supervisor *supervisor;
	struct localapi *api;
	struct loop_signal *term, *intr;
};

/* What to say and to end with: diag where it has a text, else `what` and why. */
static enum exit_code fail(int r, struct diag *diag, enum exit_code exit, const char *what)
{
	/* Nowhere else to say that printing failed. */
	if (r < 0 && diag->text[0] == '\0')
		(void)fprintf(stderr, "govpnd: %s: %s\n", what, strerror(-r));
	else
		(void)fprintf(stderr, "govpnd: %s\n", diag->text[0] != '\0' ? diag->text : what);
	return r < 0 ? EXIT_CODE_FAILED : exit;
}

static enum exit_code open_state(struct daemon *d)
{
	struct diag diag = {0};
	int r = state_open(&d->state, d->opts.state_dir, &diag);

	if (r == STATE_OK)
		return EXIT_CODE_OK;
	return fail(r, &diag, r == STATE_LOCKED ? EXIT_CODE_CONFLICT : EXIT_CODE_FAILED,
	            d->opts.state_dir);
}

static enum exit_code open_tun(struct daemon *d)
{
	struct diag diag = {0};
	int r = tun_pool_open(&d->tun_pool, TUN_DESCRIPTORS, &diag);

	if (r == TUN_OK)
		return EXIT_CODE_OK;
	return fail(r, &diag, r == TUN_DENIED ? EXIT_CODE_NOT_ALLOWED : EXIT_CODE_FAILED,
	            "/dev/net/tun");
}

static enum exit_code open_socket(struct daemon *d)
{
	struct diag diag = {0};
	int r = unix_bind(&d->socket_fd, d->opts.socket_path, SOCKET_MODE, SOCKET_GROUP, &diag);

	switch (r) {
	case UNIX_OK:
		if (diag.text[0] != '\0')
			log_info("socket.group", LOG_STR("why", diag.text));
		return EXIT_CODE_OK;
	case UNIX_IN_USE:
		return fail(r, &diag, EXIT_CODE_CONFLICT, d->opts.socket_path);
	case UNIX_DENIED:
		return fail(r, &diag, EXIT_CODE_NOT_ALLOWED, "no right to make the socket");
	default:
		return fail(r, &diag, EXIT_CODE_FAILED, d->opts.socket_path);
	}
}

/* A fixed port is taken now, so that a conflict shows at the start and privileged ones work. */
static enum exit_code open_ports(struct daemon *d)
{
	const uint8_t zero[16] = {0};
	const struct netaddr any4 = netaddr_ip4(0, d->opts.udp_port);
	const struct netaddr any6 = netaddr_ip6(zero, d->opts.udp_port);
	struct diag diag = {0};

	if (d->opts.udp_port == 0)
		return EXIT_CODE_OK;
	int r = udp_open(&any4, &d->udp4);
	if (r == UDP_OK || r == UDP_NO_FAMILY)
		r = udp_open(&any6, &d->udp6);
	if (r == UDP_OK || (r == UDP_NO_FAMILY && d->udp4.fd >= 0))
		return EXIT_CODE_OK;
	diag_set(&diag,
	         r == UDP_IN_USE ? "UDP port %u is in use by another program"
	                         : "UDP port %u cannot be used",
	         (unsigned)d->opts.udp_port);
	return fail(r, &diag, r == UDP_DENIED ? EXIT_CODE_NOT_ALLOWED : EXIT_CODE_CONFLICT,
	            "UDP port");
}

/* Better no start than one that finds no descriptor when it matters. */
static enum exit_code ask_descriptors(void)
{
	struct diag diag = {0};
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return fail(-errno, &diag, EXIT_CODE_FAILED, "descriptors");
	if (limit.rlim_cur < DESCRIPTORS && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = GV_MIN(limit.rlim_max, (rlim_t)DESCRIPTORS);
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			return fail(-errno, &diag, EXIT_CODE_FAILED, "descriptors");
	}
	if (limit.rlim_cur >= DESCRIPTORS_MIN)
		return EXIT_CODE_OK;
	diag_set(&diag, "at least %d descriptors are needed, the limit is %llu (ulimit -n)",
	         DESCRIPTORS_MIN, (unsigned long long)limit.rlim_cur);
	return fail(1, &diag, EXIT_CODE_FAILED, "");
}

/* Everything that needs rights, before the first thread; then they are given up. */
static enum exit_code prepare(struct daemon *d)
{
	struct diag diag = {0};

	if (!priv_has_net_admin()) {
		diag_set(&diag,
		         "the right to make network interfaces is missing: run it as root or with "
		         "CAP_NET_ADMIN");
		return fail(1, &diag, EXIT_CODE_NOT_ALLOWED, "");
	}
	enum exit_code code = ask_descriptors();
	if (code == EXIT_CODE_OK)
		code = open_tun(d);
	if (code == EXIT_CODE_OK)
		code = open_state(d);
	if (code == EXIT_CODE_OK)
		code = open_ports(d);
	if (code == EXIT_CODE_OK)
		code = open_socket(d);
	if (code != EXIT_CODE_OK)
		return code;
	int r = route_open(&d->route);
	if (r < 0)
		return fail(r, &diag, EXIT_CODE_FAILED, "netlink");
	r = priv_drop(d->opts.udp_port > 0 && d->opts.udp_port < PORT_HIGH ? PRIV_PORTS_LOW_TOO
	                                                                   : PRIV_PORTS_ANY_HIGH);
	if (r < 0)
		return fail(r, &diag, EXIT_CODE_FAILED, "giving up privileges");
	return EXIT_CODE_OK;
}

static void on_stopped(void *user)
{
	struct daemon *d = user;

	loop_stop(d->loop);
}

static void on_signal(void *user, int signum)
{
	struct daemon *d = user;

	log_info("daemon.stopping", LOG_I64("signal", signum));
	supervisor_stop(d->supervisor, on_stopped, d);
}

static int start(struct daemon *d)
{
	int r = loop_new(&d->loop);

	if (r == 0)
		r = dataplane_new(&d->dataplane);
	if (r < 0)
		return err_up(r);
	const struct supervisor_config config = {
		.loop = d->loop,
		.state = d->state,
		.route = d->route,
		.tun_pool = d->tun_pool,
		.dataplane = d->dataplane,
		.udp_port = d->opts.udp_port,
		.udp4_fd = d->udp4.fd,
		.udp6_fd = d->udp6.fd,
		.version = GV_VERSION,
	};
	d->udp4 = d->udp6 = UDP_NULL;
	r = supervisor_new(&d->supervisor, &config);
	if (r == 0) {
		r = localapi_new(&d->api, d->loop, d->socket_fd, d->opts.socket_path,
		                 supervisor_request, d->supervisor);
		d->socket_fd = -1;
	}
	if (r == 0)
		r = loop_signal_open(&d->term, d->loop, SIGTERM, on_signal, d);
	if (r == 0)
		r = loop_signal_open(&d->intr, d->loop, SIGINT, on_signal, d);
	return r < 0 ? err_up(r) : 0;
}

static void clean_up(struct daemon *d)
{
	loop_signal_close(d->term);
	loop_signal_close(d->intr);
	localapi_free(d->api);
	dataplane_free(d->dataplane);
	supervisor_free(d->supervisor);
	loop_free(d->loop);
	route_free(d->route);
	tun_pool_free(d->tun_pool);
	state_close(d->state);
	udp_close(&d->udp4);
	udp_close(&d->udp6);
	if (d->socket_fd >= 0) {
		close(d->socket_fd);
		if (unlink(d->opts.socket_path) != 0)
			log_debug("the socket was gone already");
	}
}

static int run(struct daemon *d)
{
	int r = start(d);

	if (r < 0)
		return err_up(r);
	log_info("daemon.started", LOG_STR("version", GV_VERSION),
	         LOG_U64("networks", d->state->n_networks));
	r = loop_run(d->loop);
	return r < 0 ? err_up(r) : 0;
}

int main(int argc, char **argv)
{
	const struct rlimit no_core = {0}; /* it would hold keys */
	struct daemon d = {.socket_fd = -1, .udp4 = UDP_NULL, .udp6 = UDP_NULL};
	struct diag diag = {0};

	switch (opts_parse(&d.opts, argc, argv, &diag)) {
	case OPTS_HELP:
		return fputs(opts_help(), stdout) < 0;
	case OPTS_VERSION:
		return printf("govpnd " GV_VERSION "\n") < 0;
	case OPTS_BAD:
		return fail(1, &diag, EXIT_CODE_USAGE, "");
	default:
		break;
	}
	(void)signal(SIGPIPE,
	             SIG_IGN); /* cannot fail for this signal; before the first line of the log */
	mem_map_large();
	log_set_level(d.opts.log_level);
	int log = log_out_start();
	if (log < 0)
		log_warn("log.waits", LOG_STR("why", strerror(-log)));
	(void)umask(077); /* returns the old one */
	if (setrlimit(RLIMIT_CORE, &no_core) != 0)
		log_debug("core dumps stay allowed");
	enum exit_code code = prepare(&d);
	if (code == EXIT_CODE_OK) {
		int r = run(&d);
		if (r < 0)
			(void)log_err(r, "daemon.failed");
		code = r < 0 ? EXIT_CODE_FAILED : EXIT_CODE_OK;
	}
	clean_up(&d);
	return (int)code;
}
