/* SPDX-License-Identifier: MIT */

#include "apps/govpnd/opts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
	"usage: govpnd [OPTION]...\n"
	"\n"
	"The goVPN daemon of this computer: keeps its networks connected. Talk to it with govpn.\n"
	"\n"
	"  --state DIR        identity and networks [/var/lib/govpn]\n"
	"  --socket PATH      where govpn finds it [/run/govpn/govpnd.sock]\n"
	"  --udp-port N       port of the first connected network, further ones take the next;\n"
	"                     0: any free port [0]\n"
	"  --log-level LEVEL  err, warn, info or debug [info]\n"
	"  --help, --version\n"
	"\n"
	"Each option can stand in the environment instead: --udp-port as GOVPN_UDP_PORT.\n"
	"\n"
	"Exit codes: 0 ended as asked, 1 failed, 2 usage, 4 not allowed, 7 in use: state, socket or port.\n";

const char *opts_help(void)
{
	return help_text;
}

static bool set_state(struct opts *o, const char *value, struct diag *diag)
{
	(void)diag; /* any text can be a path */
	o->state_dir = value;
	return true;
}

static bool set_socket(struct opts *o, const char *value, struct diag *diag)
{
	(void)diag; /* likewise */
	o->socket_path = value;
	return true;
}

static bool set_udp_port(struct opts *o, const char *value, struct diag *diag)
{
	char *end;

	errno = 0;
	long n = strtol(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || n < 0 || n > UINT16_MAX) {
		diag_set(diag, "--udp-port: \"%.40s\" is not a number from 0 to 65535", value);
		return false;
	}
	o->udp_port = (uint16_t)n;
	return true;
}

static bool set_log_level(struct opts *o, const char *value, struct diag *diag)
{
	if (log_parse_level(value, &o->log_level))
		return true;
	diag_set(diag, "--log-level: \"%.40s\" is none of err, warn, info, debug", value);
	return false;
}

static const struct option {
	const char *name, *env;
	bool (*set)(struct opts *o, const char *value, struct diag *diag);
} options[] = {
	{"--state", "GOVPN_STATE", set_state},
	{"--socket", "GOVPN_SOCKET", set_socket},
	{"--udp-port", "GOVPN_UDP_PORT", set_udp_port},
	{"--log-level", "GOVPN_LOG_LEVEL", set_log_level},
};

static bool read_env(struct opts *o, struct diag *diag)
{
	for (size_t i = 0; i < GV_ARRAY_SIZE(options); i++) {
		const char *value = getenv(options[i].env);
		if (value != NULL && value[0] != '\0' && !options[i].set(o, value, diag))
			return false;
	}
	return true;
}

/* The option named by arg, and its value after '=' (else *value is NULL). NULL: unknown. */
static const struct option *find(const char *arg, const char **value)
{
	const char *equal = strchr(arg, '=');
	size_t n = equal != NULL ? (size_t)(equal - arg) : strlen(arg);

	*value = equal != NULL ? equal + 1 : NULL;
	for (size_t i = 0; i < GV_ARRAY_SIZE(options); i++) {
		if (strlen(options[i].name) == n && memcmp(options[i].name, arg, n) == 0)
			return &options[i];
	}
	return NULL;
}

int opts_parse(struct opts *out, int argc, char *const *argv, struct diag *diag)
{
	struct opts o = {.state_dir = "/var/lib/govpn",
	                 .socket_path = "/run/govpn/govpnd.sock",
	                 .log_level = LOG_LEVEL_INFO};

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return OPTS_HELP;
		if (strcmp(argv[i], "--version") == 0)
			return OPTS_VERSION;
	}
	if (!read_env(&o, diag))
		return OPTS_BAD;
	for (int i = 1; i < argc; i++) {
		const char *value;
		const struct option *opt = find(argv[i], &value);
		if (opt == NULL) {
			diag_set(diag, "unknown option \"%.80s\"; see govpnd --help", argv[i]);
			return OPTS_BAD;
		}
		if (value == NULL && i + 1 < argc)
			value = argv[++i];
		if (value == NULL || value[0] == '\0') {
			diag_set(diag, "%s needs a value", opt->name);
			return OPTS_BAD;
		}
		if (!opt->set(&o, value, diag))
			return OPTS_BAD;
	}
	*out = o;
	return OPTS_RUN;
}
