/* SPDX-License-Identifier: MIT */

#include "apps/govpn-server/opts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DAY_S           86400
#define EXPIRE_DAYS     90
#define EXPIRE_DAYS_MAX 36500
#define ADDRESS_REST_S  DAY_S
#define REST_MAX_S      (366 * DAY_S)
#define LIST_SIZE       512

static const char help_text[] =
	"usage: govpn-server [OPTION]...\n"
	"\n"
	"Introduces the computers of goVPN networks to each other and gives them their addresses.\n"
	"\n"
	"  --listen ADDR:PORT    listen there (TCP); may be repeated\n"
	"                        [0.0.0.0:8443 and [::]:8443]\n"
	"  --stun ADDR:PORT|off  answer STUN there (UDP); may be repeated\n"
	"                        [port 3478 of each listen address]\n"
	"  --data DIR            database and certificate [/var/lib/govpn-server]\n"
	"  --tls-cert FILE       certificate (PEM); without one, the server makes its own\n"
	"  --tls-key FILE        its key (PEM)\n"
	"  --tls off             no TLS: behind a proxy, or on loopback\n"
	"  --public-url URL      how clients reach this server, as https://vpn.example.org;\n"
	"                        needed where they use a name, or an address of a router\n"
	"  --expire-days N       delete networks that nobody used for N days; 0: never [90]\n"
	"  --address-rest SECONDS\n"
	"                        keep the address of a computer that left for so long [86400]\n"
	"  --log-level LEVEL     err, warn, info or debug [info]\n"
	"  --help, --version\n"
	"\n"
	"Each option can stand in the environment instead: --public-url as GOVPN_PUBLIC_URL,\n"
	"lists separated by commas.\n"
	"\n"
	"Exit codes: 0 ended as asked, 1 failed, 2 usage, 3 port or data folder in use, 4 not allowed,\n"
	"5 database unusable, 6 certificate unusable.\n";

const char *opts_help(void)
{
	return help_text;
}

/* ---- values; each returns false with a sentence in diag ---- */

static bool add_addr(const char *name, const char *value, struct netaddr *list, size_t *n,
                     struct diag *diag)
{
	if (*n == SERVER_LISTEN_MAX) {
		diag_set(diag, "%s: at most %d addresses", name, SERVER_LISTEN_MAX);
		return false;
	}
	if (!netaddr_parse(value, &list[*n])) {
		diag_set(diag, "%s: \"%.80s\" is not ADDR:PORT, as 0.0.0.0:8443 or [::]:8443", name,
		         value);
		return false;
	}
	(*n)++;
	return true;
}

static bool set_listen(struct opts *o, const char *value, struct diag *diag)
{
	return add_addr("--listen", value, o->server.listen, &o->server.n_listen, diag);
}

static bool set_stun(struct opts *o, const char *value, struct diag *diag)
{
	if (strcmp(value, "off") == 0) {
		o->server.stun_mode = SERVER_STUN_OFF;
		return true;
	}
	o->server.stun_mode = SERVER_STUN_GIVEN;
	return add_addr("--stun", value, o->server.stun, &o->server.n_stun, diag);
}

static bool set_data(struct opts *o, const char *value, struct diag *diag)
{
	(void)diag; /* any text can be a path */
	o->server.data_dir = value;
	return true;
}

static bool set_tls_cert(struct opts *o, const char *value, struct diag *diag)
{
	(void)diag; /* likewise */
	o->server.cert_path = value;
	return true;
}

static bool set_tls_key(struct opts *o, const char *value, struct diag *diag)
{
	(void)diag; /* likewise */
	o->server.key_path = value;
	return true;
}

static bool set_tls(struct opts *o, const char *value, struct diag *diag)
{
	if (strcmp(value, "off") != 0) {
		diag_set(diag, "--tls: only \"off\" can be said; with TLS leave it out");
		return false;
	}
	o->server.tls = SERVER_TLS_OFF;
	return true;
}

static bool set_public_url(struct opts *o, const char *value, struct diag *diag)
{
	(void)diag; /* server_open() looks into it */
	o->server.public_url = value;
	return true;
}

static bool number(const char *name, const char *value, long max, int64_t *out, struct diag *diag)
{
	char *end;

	errno = 0;
	long n = strtol(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || n < 0 || n > max) {
		diag_set(diag, "%s: \"%.40s\" is not a number from 0 to %ld", name, value, max);
		return false;
	}
	*out = n;
	return true;
}

static bool set_expire_days(struct opts *o, const char *value, struct diag *diag)
{
	int64_t days;

	if (!number("--expire-days", value, EXPIRE_DAYS_MAX, &days, diag))
		return false;
	o->server.expire_s = days * DAY_S;
	return true;
}

static bool set_address_rest(struct opts *o, const char *value, struct diag *diag)
{
	return number("--address-rest", value, REST_MAX_S, &o->server.address_rest_s, diag);
}

static bool set_log_level(struct opts *o, const char *value, struct diag *diag)
{
	if (log_parse_level(value, &o->log_level))
		return true;
	diag_set(diag, "--log-level: \"%.40s\" is none of err, warn, info, debug", value);
	return false;
}

struct option {
	const char *name, *env;
	bool (*set)(struct opts *o, const char *value, struct diag *diag);
	bool is_list; /* its twin is separated by commas */
};

static const struct option options[] = {
	{"--listen", "GOVPN_LISTEN", set_listen, true},
	{"--stun", "GOVPN_STUN", set_stun, true},
	{"--data", "GOVPN_DATA", set_data, false},
	{"--tls-cert", "GOVPN_TLS_CERT", set_tls_cert, false},
	{"--tls-key", "GOVPN_TLS_KEY", set_tls_key, false},
	{"--tls", "GOVPN_TLS", set_tls, false},
	{"--public-url", "GOVPN_PUBLIC_URL", set_public_url, false},
	{"--expire-days", "GOVPN_EXPIRE_DAYS", set_expire_days, false},
	{"--address-rest", "GOVPN_ADDRESS_REST", set_address_rest, false},
	{"--log-level", "GOVPN_LOG_LEVEL", set_log_level, false},
};

/* ---- sources ---- */

static bool set_list(const struct option *opt, struct opts *o, const char *value, struct diag *diag)
{
	char copy[LIST_SIZE], *save = NULL;
	size_t n = strlen(value);

	if (n >= sizeof(copy)) {
		diag_set(diag, "%s is too long", opt->env);
		return false;
	}
	memcpy(copy, value, n + 1);
	for (char *p = strtok_r(copy, ", ", &save); p != NULL; p = strtok_r(NULL, ", ", &save)) {
		if (!opt->set(o, p, diag))
			return false;
	}
	return true;
}

/* What the command line names is not taken from the environment. */
static bool read_env(struct opts *o, const bool *given, struct diag *diag)
{
	for (size_t i = 0; i < GV_ARRAY_SIZE(options); i++) {
		const char *value = getenv(options[i].env);

		if (given[i] || value == NULL || value[0] == '\0')
			continue;
		if (options[i].is_list ? !set_list(&options[i], o, value, diag)
		                       : !options[i].set(o, value, diag))
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

static int read_args(struct opts *o, int argc, char *const *argv, bool *given, struct diag *diag)
{
	for (int i = 1; i < argc; i++) {
		const char *value;
		const struct option *opt;

		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return OPTS_HELP;
		if (strcmp(argv[i], "--version") == 0)
			return OPTS_VERSION;
		opt = find(argv[i], &value);
		if (opt == NULL) {
			diag_set(diag, "unknown option \"%.80s\"; see govpn-server --help",
			         argv[i]);
			return OPTS_BAD;
		}
		if (value == NULL && i + 1 < argc)
			value = argv[++i];
		if (value == NULL || value[0] == '\0') {
			diag_set(diag, "%s needs a value", opt->name);
			return OPTS_BAD;
		}
		given[opt - options] = true;
		if (!opt->set(o, value, diag))
			return OPTS_BAD;
	}
	return OPTS_RUN;
}

static int check(struct opts *o, struct diag *diag)
{
	struct server_config *c = &o->server;
	bool has_cert = c->cert_path != NULL, has_key = c->key_path != NULL;

	if (has_cert != has_key) {
		diag_set(diag, "--tls-cert and --tls-key are given together");
		return OPTS_BAD;
	}
	if (has_cert && c->tls == SERVER_TLS_OFF) {
		diag_set(diag, "--tls off and --tls-cert exclude each other");
		return OPTS_BAD;
	}
	if (has_cert)
		c->tls = SERVER_TLS_FILES;
	return OPTS_RUN;
}

int opts_parse(struct opts *out, int argc, char *const *argv, struct diag *diag)
{
	bool given[GV_ARRAY_SIZE(options)] = {false};
	struct opts o = {.server = {.data_dir = "/var/lib/govpn-server",
	                            .expire_s = EXPIRE_DAYS * (int64_t)DAY_S,
	                            .address_rest_s = ADDRESS_REST_S},
	                 .log_level = LOG_LEVEL_INFO};
	int r = read_args(&o, argc, argv, given, diag);

	if (r == OPTS_RUN && !read_env(&o, given, diag))
		r = OPTS_BAD;
	if (r == OPTS_RUN)
		r = check(&o, diag);
	if (r == OPTS_RUN)
		*out = o;
	return r;
}
