/* SPDX-License-Identifier: MIT */

#include "apps/govpn/args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOCKET_DEFAULT "/run/govpn/govpnd.sock"
#define POSITIONS_MAX  3
#define COUNT_DEFAULT  3
#define COUNT_MAX      100000

/* Options of verbs, as a set. */
#define OPT_SERVER       (1u << 0)
#define OPT_PASSWORD     (1u << 1)
#define OPT_SUBNET       (1u << 2)
#define OPT_TRUST        (1u << 3) /* --ca, --pin, --insecure */
#define OPT_USES         (1u << 4)
#define OPT_EXPIRES      (1u << 5)
#define OPT_ALLOW_REJOIN (1u << 6)
#define OPT_FORCE        (1u << 7)
#define OPT_COUNT        (1u << 8)

static const struct verb {
	const char *word, *usage, *help;
	unsigned options;
	int min, max; /* arguments */
} verbs[ARGS_VERBS] = {
	[ARGS_CREATE] =
		{"create",
                 "NAME --server URL [--password-file F] [--subnet CIDR]\n"
                 "                    [--ca F | --pin P | --insecure]",
                 "Makes a network on a server and prints an invite link for your friends.\n"
                 "\n"
                 "  --server URL        https://HOST[:PORT] of a govpn-server\n"
                 "  --password-file F   also let people join by id and this password\n"
                 "  --subnet CIDR       addresses, such as 10.20.30.0/24 [a random free one]\n"
                 "  --pin P             the server shows this pin of its own certificate\n"
                 "  --ca F              trust these authorities (PEM) for the server\n"
                 "  --insecure          trust any certificate; also allows http://\n",
                 OPT_SERVER | OPT_PASSWORD | OPT_SUBNET | OPT_TRUST, 1, 1},
	[ARGS_JOIN] =
		{"join",
                 "LINK | - | ID-or-CODE --server URL [--password-file F]\n"
                 "                    [--ca F | --pin P | --insecure]",
                 "Joins a network by an invite link, or by its id or code and its password.\n"
                 "\"-\" reads the link from standard input, which keeps it out of the process list.\n"
                 "Without --password-file you are asked for the password.\n",
                 OPT_SERVER | OPT_PASSWORD | OPT_TRUST, 1, 1},
	[ARGS_INVITE] = {"invite", "[NET] [--uses N] [--expires T]",
                         "Prints a new invite link. Only the owner of the network can.\n"
                         "\n"
                         "  --uses N            how many computers may join by it [any number]\n"
                         "  --expires T         such as 90m, 24h or 30d [7d]\n",
                         OPT_USES | OPT_EXPIRES, 0, 1},
	[ARGS_LIST] = {"list", "", "Lists the networks of this computer.\n", 0, 0, 0},
	[ARGS_STATUS] = {"status", "[NET]",
                         "Shows the other computers, and how each of them is reached.\n", 0, 0, 1},
	[ARGS_UP] = {"up", "[NET]", "Connects to a network, now and at every start.\n", 0, 0, 1},
	[ARGS_DOWN] = {"down", "[NET]",
                       "Disconnects from a network. You stay a member; see leave.\n", 0, 0, 1},
	[ARGS_LEAVE] = {"leave", "NET [--force]",
                        "Ends the membership of this computer and gives its address back.\n"
                        "\n"
                        "  --force             forget it even when the server cannot be told\n",
                        OPT_FORCE, 1, 1},
	[ARGS_PING] = {"ping", "PEER [NET] [--count N]",
                       "Asks a computer through the tunnel, and shows the path.\n", OPT_COUNT, 1,
                       2},
	[ARGS_KICK] =
		{"kick", "NET PEER [--allow-rejoin]",
                 "Removes a computer from your network, and withdraws all invites and passwords.\n"
                 "Without the server too: it is told later, and the command says so and fails.\n"
                 "\n"
                 "  --allow-rejoin      let it in again by a new invite\n",
                 OPT_ALLOW_REJOIN, 2, 2},
	[ARGS_UNBAN] = {"unban", "NET PEER",
                        "Lets a computer that was removed join again by an invite.\n", 0, 2, 2},
	[ARGS_RENAME] = {"rename", "NET NAME", "Gives your network another name.\n", 0, 2, 2},
	[ARGS_SET] = {"set", "name NAME | broadcast NET on|off",
                      "Changes a setting:\n"
                      "\n"
                      "  name NAME           what others see this computer as\n"
                      "  broadcast NET on    packets to 255.255.255.255 go to this network\n"
                      "  broadcast NET off   ... never go there\n",
                      0, 2, 3},
	[ARGS_VERSION] = {"version", "", "Prints the versions of govpn and govpnd.\n", 0, 0, 0},
	[ARGS_HELP] = {"help", "[VERB]", "Explains a verb.\n", 0, 0, 1},
};

static const char *const summaries[ARGS_VERBS] = {
	[ARGS_CREATE] = "make a network",
	[ARGS_JOIN] = "join by a link, or by id and password",
	[ARGS_INVITE] = "print a new invite link",
	[ARGS_LIST] = "the networks of this computer",
	[ARGS_STATUS] = "who is there, and how they are reached",
	[ARGS_UP] = "connect",
	[ARGS_DOWN] = "disconnect, and stay a member",
	[ARGS_LEAVE] = "end the membership",
	[ARGS_PING] = "ask a computer through the tunnel",
	[ARGS_KICK] = "remove a computer from your network",
	[ARGS_UNBAN] = "let it join again",
	[ARGS_RENAME] = "rename your network",
	[ARGS_SET] = "change a setting",
	[ARGS_VERSION] = "versions of govpn and govpnd",
	[ARGS_HELP] = "explain a verb",
};

void args_print_help(enum args_verb verb)
{
	if (verb != ARGS_VERBS) {
		printf("usage: govpn %s %s\n\n%s", verbs[verb].word, verbs[verb].usage,
		       verbs[verb].help);
		return;
	}
	printf("usage: govpn [--socket PATH] [--json] VERB ...\n\n");
	for (unsigned i = 0; i < ARGS_VERBS; i++)
		printf("  %-9s %s\n", verbs[i].word, summaries[i]);
	printf("\ngovpn help VERB explains one. --json prints one JSON object.\n"
	       "NET is an id, a code or a name; with one network it may be left out.\n"
	       "PEER is a name, label, address or key.\n"
	       "\n"
	       "Exit codes: 0 ok, 1 failed, 2 usage, 3 govpnd not running, 4 not allowed, 5 no such\n"
	       "network or peer, 6 password or invite refused, 7 full or conflicting, 8 peer\n"
	       "unreachable, 9 server unreachable, 10 degraded.\n");
}

bool args_parse_duration(const char *text, int64_t *out_s)
{
	static const struct {
		char letter;
		int64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};

	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno != 0 || n < 1 || n > INT32_MAX || end[0] == '\0' || end[1] != '\0')
		return false;
	for (size_t i = 0; i < GV_ARRAY_SIZE(units); i++) {
		if (*end == units[i].letter) {
			*out_s = n * units[i].seconds;
			return true;
		}
	}
	return false;
}

/*
 * --- options
 * ------------------------------------------------------------------------------------------
 */

struct parser {
	struct args *args;
	struct diag *diag;
	const char *position[POSITIONS_MAX];
	int n_positions;
	unsigned given; /* set of OPT_* */
	bool has_verb;
};

static bool gv_format(2, 3) bad(struct parser *p, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args); /* may be cut off */
	va_end(args);
	diag_set(p->diag, "%.190s", text);
	return false;
}

static bool put(struct parser *p, const char *key, json_t *value)
{
	if (json_object_set_new(p->args->request, key, value) == 0)
		return true;
	return bad(p, "%s is not UTF-8 text", key);
}

static bool put_number(struct parser *p, const char *option, const char *text, const char *key)
{
	char *end;

	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || n < 1 || n > INT32_MAX)
		return bad(p, "%s needs a number from 1 upwards", option);
	return put(p, key, json_integer(n));
}

static bool put_expires(struct parser *p, const char *text)
{
	int64_t seconds;

	if (!args_parse_duration(text, &seconds))
		return bad(p, "\"%s\" is no time such as 90m, 24h or 30d", text);
	return put(p, "expires_s", json_integer(seconds));
}

static bool set_count(struct parser *p, const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end != '\0' || n < 1 || n > COUNT_MAX)
		return bad(p, "--count needs a number from 1 upwards, not %s", text);
	p->args->count = (unsigned)n;
	return true;
}

/* Options with a value. */
static bool set_option(struct parser *p, const char *name, const char *value)
{
	if (strcmp(name, "--server") == 0) {
		p->given |= OPT_SERVER;
		return put(p, "server", json_string(value));
	}
	if (strcmp(name, "--subnet") == 0) {
		p->given |= OPT_SUBNET;
		return put(p, "subnet", json_string(value));
	}
	if (strcmp(name, "--pin") == 0) {
		p->given |= OPT_TRUST;
		return put(p, "pin", json_string(value));
	}
	if (strcmp(name, "--uses") == 0) {
		p->given |= OPT_USES;
		return put_number(p, name, value, "uses");
	}
	if (strcmp(name, "--expires") == 0) {
		p->given |= OPT_EXPIRES;
		return put_expires(p, value);
	}
	if (strcmp(name, "--count") == 0 || strcmp(name, "-c") == 0) {
		p->given |= OPT_COUNT;
		return set_count(p, value);
	}
	if (strcmp(name, "--ca") == 0) {
		p->given |= OPT_TRUST;
		p->args->ca_file = value;
		return true;
	}
	if (strcmp(name, "--password-file") == 0) {
		p->given |= OPT_PASSWORD;
		p->args->password_file = value;
		return true;
	}
	p->args->socket_path = value;
	return true;
}

/* Options without a value. False: it is none of them. */
static bool set_flag(struct parser *p, const char *name)
{
	if (strcmp(name, "--json") == 0) {
		p->args->json = true;
		return true;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
		p->args->help = true;
		return true;
	}
	if (strcmp(name, "--insecure") == 0) {
		p->given |= OPT_TRUST;
		return put(p, "insecure", json_true());
	}
	if (strcmp(name, "--allow-rejoin") == 0) {
		p->given |= OPT_ALLOW_REJOIN;
		return put(p, "allow_rejoin", json_true());
	}
	if (strcmp(name, "--force") == 0) {
		p->given |= OPT_FORCE;
		return put(p, "force", json_true());
	}
	return false;
}

static bool takes_value(const char *name, size_t len)
{
	static const char *const names[] = {"--socket",  "--server",       "--subnet", "--pin",
	                                    "--uses",    "--ca",           "--count",  "-c",
	                                    "--expires", "--password-file"};

	for (size_t i = 0; i < GV_ARRAY_SIZE(names); i++) {
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return true;
	}
	return false;
}

static bool find_verb(const char *word, enum args_verb *out)
{
	for (unsigned i = 0; i < ARGS_VERBS; i++) {
		if (strcmp(verbs[i].word, word) == 0) {
			*out = (enum args_verb)i;
			return true;
		}
	}
	return false;
}

static bool take_word(struct parser *p, const char *word)
{
	if (!p->has_verb) {
		p->has_verb = true;
		return find_verb(word, &p->args->verb) ||
		       bad(p, "there is no verb \"%s\"; see govpn help", word);
	}
	if (p->n_positions == POSITIONS_MAX)
		return bad(p, "\"%s\" is one word too many", word);
	p->position[p->n_positions++] = word;
	return true;
}

static bool take_option(struct parser *p, int argc, char *const *argv, int *i)
{
	const char *arg = argv[*i];
	const char *equal = strchr(arg, '=');
	size_t len = equal != NULL ? (size_t)(equal - arg) : strlen(arg);
	char name[32];

	if (len >= sizeof(name) || !takes_value(arg, len))
		return (equal == NULL && set_flag(p, arg)) ||
		       bad(p, "unknown option \"%s\"; see govpn help", arg);
	memcpy(name, arg, len);
	name[len] = '\0';
	const char *value = equal != NULL ? equal + 1 : *i + 1 < argc ? argv[++*i] : NULL;
	if (value == NULL)
		return bad(p, "%s needs a value", name);
	return set_option(p, name, value);
}

/*
 * --- what the words mean
 * ------------------------------------------------------------------------------
 */

static bool put_position(struct parser *p, int i, const char *key)
{
	return i >= p->n_positions || put(p, key, json_string(p->position[i]));
}

static bool finish_join(struct parser *p)
{
	const char *what = p->position[0];

	if (strcmp(what, "-") == 0) {
		p->args->link_on_stdin = true;
		return true;
	}
	if (strstr(what, "://") != NULL)
		return put(p, "link", json_string(what));
	if ((p->given & OPT_SERVER) == 0)
		return bad(p,
		           "\"%s\" is no invite link; with an id or a code give --server URL too",
		           what);
	p->args->wants_password = true;
	return put(p, "network", json_string(what));
}

static bool finish_set(struct parser *p)
{
	const char *what = p->position[0];

	if (strcmp(what, "name") == 0 && p->n_positions == 2)
		return put(p, "verb", json_string("set-name")) && put_position(p, 1, "name");
	if (strcmp(what, "broadcast") == 0 && p->n_positions == 3) {
		bool on = strcmp(p->position[2], "on") == 0;
		if (!on && strcmp(p->position[2], "off") != 0)
			return bad(p, "broadcast is on or off, not \"%s\"", p->position[2]);
		return put(p, "verb", json_string("set-broadcast")) &&
		       put_position(p, 1, "network") && put(p, "on", json_boolean(on));
	}
	return bad(p, "set %s: see govpn help set", what);
}

static bool finish_verb(struct parser *p)
{
	switch (p->args->verb) {
	case ARGS_CREATE:
		if ((p->given & OPT_SERVER) == 0)
			return bad(p, "create needs --server URL");
		return put_position(p, 0, "name");
	case ARGS_JOIN:
		return finish_join(p);
	case ARGS_PING:
		return put_position(p, 0, "peer") && put_position(p, 1, "network");
	case ARGS_KICK:
	case ARGS_UNBAN:
		return put_position(p, 0, "network") && put_position(p, 1, "peer");
	case ARGS_RENAME:
		return put_position(p, 0, "network") && put_position(p, 1, "name");
	case ARGS_SET:
		return finish_set(p);
	case ARGS_INVITE:
	case ARGS_LIST:
	case ARGS_STATUS:
	case ARGS_UP:
	case ARGS_DOWN:
	case ARGS_LEAVE:
	case ARGS_VERSION:
		return put_position(p, 0, "network");
	case ARGS_HELP:
	case ARGS_VERBS:
		break;
	}
	return true;
}

static bool finish(struct parser *p)
{
	struct args *a = p->args;

	if (a->help || (p->has_verb && a->verb == ARGS_HELP)) {
		a->help = true;
		a->help_verb = p->has_verb && a->verb != ARGS_HELP ? a->verb : ARGS_VERBS;
		if (p->has_verb && a->verb == ARGS_HELP && p->n_positions == 1 &&
		    !find_verb(p->position[0], &a->help_verb))
			return bad(p, "there is no verb \"%s\"; see govpn help", p->position[0]);
		return true;
	}
	if (!p->has_verb)
		return bad(p, "say what to do; see govpn help");
	const struct verb *v = &verbs[a->verb];
	if ((p->given & ~v->options) != 0)
		return bad(p, "an option does not belong to this verb; see govpn help %s", v->word);
	if (p->n_positions < v->min)
		return bad(p, "something is missing; see govpn help %s", v->word);
	if (p->n_positions > v->max)
		return bad(p, "\"%s\" is one word too many", p->position[v->max]);
	return put(p, "verb", json_string(v->word)) && finish_verb(p);
}

int args_parse(struct args *out, int argc, char *const *argv, struct diag *diag)
{
	const char *env = getenv("GOVPN_SOCKET");
	struct args a = {
		.socket_path = env != NULL && env[0] != '\0' ? env : SOCKET_DEFAULT,
		.count = COUNT_DEFAULT,
		.help_verb = ARGS_VERBS,
		.request = json_object(),
	};
	struct parser p = {.args = &a, .diag = diag};
	bool ok = a.request != NULL, only_words = false;

	env = getenv("GOVPN_JSON");
	a.json = env != NULL && strcmp(env, "1") == 0;
	for (int i = 1; i < argc && ok; i++) {
		if (!only_words && strcmp(argv[i], "--") == 0)
			only_words = true;
		else if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0')
			ok = take_option(&p, argc, argv, &i);
		else
			ok = take_word(&p, argv[i]);
	}
	ok = ok && finish(&p);
	if (!ok) {
		args_deinit(&a);
		return ARGS_BAD;
	}
	*out = a;
	return ARGS_OK;
}

void args_deinit(struct args *a)
{
	json_decref(a->request);
	a->request = NULL;
}
