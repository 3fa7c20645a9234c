/* SPDX-License-Identifier: MIT */

/* govpn-server: options, limits of the process, the lines a person reads at the start. */

#include "config.h"
#include "apps/govpn-server/opts.h"
#include "base/err.h"
#include "base/log.h"
#include "engine/server/server.h"
#include "io/log_out.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

LOG_MODULE("main");

#define FDS_WANTED 32768

/*
 * Room for many connections; a limit far above what is used makes the tables of libwebsockets large for nothing. A system
 * that does not allow it goes on with what it has.
 */
static void set_limits(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return;
	l.rlim_cur = GV_MIN(l.rlim_max, (rlim_t)FDS_WANTED);
	if (setrlimit(RLIMIT_NOFILE, &l) < 0)
		log_debug("the limit of descriptors stays: %s", strerror(errno));
}

static void print_start(const struct server *s, const struct server_config *config)
{
	struct server_info info;
	char text[NETADDR_TEXT_SIZE];
	const char *scheme;

	server_info(s, &info);
	scheme = info.tls ? "https" : "http";
	printf("govpn-server " GV_VERSION "\n");
	for (size_t i = 0; i < info.n_listen; i++)
		printf("  listening  %s://%s\n", scheme, netaddr_text(&info.listen[i], text));
	if (config->public_url != NULL)
		printf("  public     %s\n", config->public_url);
	for (size_t i = 0; i < info.n_stun; i++)
		printf("  STUN       %s (UDP)\n", netaddr_text(&info.stun[i], text));
	if (info.n_stun == 0)
		printf("  STUN       off\n");
	printf("  data       %s\n", config->data_dir);
	if (info.is_self_signed)
		printf("  pin        %s\n"
		       "             (of the certificate this server made; clients: --pin)\n",
		       info.pin);
	if (!info.tls)
		printf("  TLS        off: for loopback or behind a proxy that has it\n");
	(void)fflush(stdout); /* a closed stdout must not stop the server */
}

int main(int argc, char **argv)
{
	struct opts opts;
	struct diag diag = {0};
	struct server *s = NULL;
	int r = opts_parse(&opts, argc, argv, &diag);

	switch (r) {
	case OPTS_HELP:
		return fputs(opts_help(), stdout) < 0;
	case OPTS_VERSION:
		return printf("govpn-server " GV_VERSION "\n") < 0;
	case OPTS_BAD:
		(void)fprintf(stderr, "govpn-server: %s\n", diag.text); /* nowhere else to say it */
		return SERVER_USAGE;
	default:
		break;
	}
	(void)signal(SIGPIPE,
	             SIG_IGN); /* cannot fail for this signal; before the first line of the log */
	log_set_level(opts.log_level);
	int log = log_out_start();
	if (log < 0)
		log_warn("log.waits", LOG_STR("why", strerror(-log)));
	(void)umask(077); /* returns the old one */
	set_limits();
	r = server_open(&s, &opts.server, &diag);
	if (r > 0) {
		(void)fprintf(stderr, "govpn-server: %s\n", diag.text); /* likewise */
		return r;
	}
	if (r == 0) {
		print_start(s, &opts.server);
		r = server_run(s);
	}
	server_close(s);
	if (r < 0) {
		(void)log_err(r, "server.failed");
		return 1;
	}
	return 0;
}
