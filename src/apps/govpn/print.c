/* SPDX-License-Identifier: MIT */

#include "apps/govpn/print.h"

#include "config.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS   6
#define CELL_SIZE 160
/* An invite link, whole: it is of no use with a piece missing. */
#define LINK_SIZE 1024

/* A text without control characters: each of their bytes becomes '?'. Returns out. */
static const char *clean(const char *text, char *out, size_t size)
{
	size_t n = 0;

	if (text == NULL)
		text = "-";
	bool ok = text_is_utf8(text, strlen(text));
	for (; *text != '\0' && n + 1 < size; text++) {
		unsigned char c = (unsigned char)*text;
		bool is_c1 = c == 0xc2 && (unsigned char)text[1] < 0xa0;
		out[n++] = c < 0x20 || c == 0x7f || is_c1 || (!ok && c >= 0x80) ? '?' : *text;
		if (is_c1)
			text++;
	}
	/* A letter that was cut goes whole. */
	while (ok && n > 0 && !text_is_utf8(out, n))
		n--;
	out[n] = '\0';
	return out;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "-";
}

static json_int_t int_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Columns on a screen, taking each letter for one. */
static int width(const char *text)
{
	int n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(const char *text, int columns)
{
	printf("%s%*s", text, columns - width(text) > 0 ? columns - width(text) : 0, "");
}

static void format_bytes(char *out, size_t size, json_int_t n)
{
	static const char units[] = " KMGTP";
	double v = (double)n;
	unsigned i = 0;

	for (; v >= 1000 && i < sizeof(units) - 2; i++)
		v /= 1000;
	if (i == 0)
		(void)snprintf(out, size, "%lld", (long long)n); /* fits */
	else
		(void)snprintf(out, size, v < 10 ? "%.1f%c" : "%.0f%c", v, units[i]); /* fits */
}

static void format_uptime(char *out, size_t size, json_int_t s)
{
	if (s < 60)
		(void)snprintf(out, size, "%llds", (long long)s); /* all of these fit */
	else if (s < 3600)
		(void)snprintf(out, size, "%lldm", (long long)s / 60);
	else if (s < 86400)
		(void)snprintf(out, size, "%lldh%02lldm", (long long)s / 3600,
		               (long long)s / 60 % 60);
	else
		(void)snprintf(out, size, "%lldd%lldh", (long long)s / 86400,
		               (long long)s / 3600 % 24);
}

static void print_network(const json_t *n, const char *invite)
{
	char a[CELL_SIZE], b[CELL_SIZE], link[LINK_SIZE];
	const json_t *self = json_object_get(n, "self");

	printf("Network   %s   code %s\n", clean(text_of(n, "name"), a, sizeof(a)),
	       clean(text_of(n, "code"), b, sizeof(b)));
	printf("Id        %s\n", clean(text_of(n, "id"), a, sizeof(a)));
	printf("Subnet    %s, interface %s\n", clean(text_of(n, "subnet"), a, sizeof(a)),
	       clean(text_of(n, "interface"), b, sizeof(b)));
	printf("You are   %s   %s", clean(text_of(self, "name"), a, sizeof(a)),
	       clean(text_of(n, "ipv4"), b, sizeof(b)));
	printf("   %s%s\n", clean(text_of(n, "ipv6"), a, sizeof(a)),
	       json_is_true(json_object_get(n, "owner")) ? "   owner" : "");
	if (invite != NULL)
		printf("Invite    %s\n", clean(invite, link, sizeof(link)));
}

static void path_text(char *out, size_t size, const json_t *peer)
{
	char remote[CELL_SIZE];
	const json_t *path = json_object_get(peer, "path");
	const char *kind = text_of(path, "kind");

	if (!json_is_object(path)) {
		(void)snprintf(out, size, "-"); /* fits */
		return;
	}
	const char *word = strcmp(kind, "relay") == 0  ? "relay"
	                   : strcmp(kind, "host") == 0 ? "local"
	                                               : "direct";
	/* Shorter than a cell by the longest word: what is cut here would be cut inside a letter. */
	(void)snprintf(out, size, "%s %s", word,
	               clean(text_of(path, "remote"), remote, sizeof(remote) - 8)); /* fits */
}

static void peer_cells(const json_t *peer, char cells[COLUMNS][CELL_SIZE])
{
	const json_t *rtt = json_object_get(peer, "rtt_ms");
	const char *state = text_of(peer, "state");
	char rx[32], tx[32];

	(void)clean(text_of(peer, "name"), cells[0], CELL_SIZE); /* returns its argument */
	(void)clean(text_of(peer, "ipv4"), cells[1], CELL_SIZE);
	(void)clean(strcmp(state, "connected") == 0 ? "online" : state, cells[2], CELL_SIZE);
	path_text(cells[3], CELL_SIZE, peer);
	double ms = json_number_value(rtt); /* 0 for what is no number */
	long tenths = ms > 0 && ms < 1e9 ? (long)(ms * 10) : 0;
	if (json_is_number(rtt))
		(void)snprintf(cells[4], CELL_SIZE, "%ld.%ld ms", tenths / 10,
		               tenths % 10); /* fits */
	else
		(void)snprintf(cells[4], CELL_SIZE, "-"); /* fits */
	format_bytes(rx, sizeof(rx), int_of(peer, "rx_bytes"));
	format_bytes(tx, sizeof(tx), int_of(peer, "tx_bytes"));
	(void)snprintf(cells[5], CELL_SIZE, "%s/%s", rx, tx); /* fits */
}

/* The table of the other computers: columns as wide as their longest cell. */
static void print_peers(const json_t *peers)
{
	static char head[COLUMNS][CELL_SIZE] = {"NAME", "IP", "STATE", "PATH", "RTT", "RX/TX"};
	int columns[COLUMNS];
	char cells[COLUMNS][CELL_SIZE];
	const json_t *peer;
	size_t i;

	if (json_array_size(peers) == 0) {
		printf("  nobody else yet: send an invite link (govpn invite)\n");
		return;
	}
	for (unsigned c = 0; c < COLUMNS; c++)
		columns[c] = width(head[c]);
	json_array_foreach(peers, i, peer)
	{
		peer_cells(peer, cells);
		for (unsigned c = 0; c < COLUMNS; c++) {
			if (width(cells[c]) > columns[c])
				columns[c] = width(cells[c]);
		}
	}
	for (size_t row = 0; row <= json_array_size(peers); row++) {
		if (row > 0)
			peer_cells(json_array_get(peers, row - 1), cells);
		for (unsigned c = 0; c < COLUMNS; c++) {
			printf("  ");
			print_cell(row > 0 ? cells[c] : head[c], c + 1 < COLUMNS ? columns[c] : 0);
		}
		printf("\n");
	}
}

static void print_status(const json_t *reply)
{
	const json_t *daemon = json_object_get(reply, "daemon"), *n, *peer;
	const json_t *networks = json_object_get(reply, "networks");
	char a[CELL_SIZE], b[CELL_SIZE], uptime[32];
	size_t i, k;

	format_uptime(uptime, sizeof(uptime), int_of(daemon, "uptime_s"));
	printf("govpnd %s, up %s, this computer is %s\n",
	       clean(text_of(daemon, "version"), a, sizeof(a)), uptime,
	       clean(text_of(daemon, "name"), b, sizeof(b)));
	if (json_array_size(networks) == 0)
		printf("\nno network yet: govpn create NAME --server URL, or govpn join LINK\n");
	json_array_foreach(networks, i, n)
	{
		const json_t *peers = json_object_get(n, "computers");
		const json_t *server = json_object_get(n, "server");
		bool up = strcmp(text_of(n, "state"), "up") == 0;
		size_t online = up;
		json_array_foreach(peers, k, peer) online +=
			json_is_true(json_object_get(peer, "online"));
		printf("\n%s  %s", clean(text_of(n, "name"), a, sizeof(a)),
		       clean(text_of(n, "code"), b, sizeof(b)));
		printf("  %s  %s", clean(text_of(n, "ipv4"), a, sizeof(a)),
		       clean(text_of(n, up ? "interface" : "state"), b, sizeof(b)));
		if (up)
			printf("  %zu of %zu online", online, json_array_size(peers) + 1);
		printf("\n");
		if (json_is_string(json_object_get(n, "problem")))
			printf("  ! %s\n", clean(text_of(n, "problem"), a, sizeof(a)));
		else if (up && !json_is_true(json_object_get(server, "connected")))
			printf("  ! no connection to %s; paths that exist go on\n",
			       clean(text_of(server, "url"), a, sizeof(a)));
		if (up)
			print_peers(peers);
	}
}

static void print_list(const json_t *reply)
{
	const json_t *networks = json_object_get(reply, "networks"), *n;
	char a[CELL_SIZE], b[CELL_SIZE];
	int name_width = 4;
	size_t i;

	if (json_array_size(networks) == 0) {
		printf("no network yet: govpn create NAME --server URL, or govpn join LINK\n");
		return;
	}
	json_array_foreach(networks, i, n)
	{
		int w = width(clean(text_of(n, "name"), a, sizeof(a)));
		name_width = w > name_width ? w : name_width;
	}
	print_cell("NAME", name_width);
	printf("  %-10s  %-15s  %-10s  ONLINE\n", "CODE", "IP", "STATE");
	json_array_foreach(networks, i, n)
	{
		print_cell(clean(text_of(n, "name"), a, sizeof(a)), name_width);
		printf("  %-10s", clean(text_of(n, "code"), a, sizeof(a)));
		printf("  %-15s  %-10s", clean(text_of(n, "ipv4"), a, sizeof(a)),
		       clean(text_of(n, "state"), b, sizeof(b)));
		if (json_is_integer(json_object_get(n, "online")))
			printf("  %lld of %lld\n", (long long)int_of(n, "online"),
			       (long long)int_of(n, "computers"));
		else
			printf("  -\n");
	}
}

static void print_invite(const json_t *reply)
{
	char uses[32] = "any number of uses", expires[32], link[LINK_SIZE];

	if (json_is_integer(json_object_get(reply, "uses")))
		(void)snprintf(uses, sizeof(uses), "%lld uses",
		               (long long)int_of(reply, "uses")); /* fits */
	format_uptime(expires, sizeof(expires), int_of(reply, "expires_s"));
	printf("%s\n", clean(text_of(reply, "invite"), link, sizeof(link)));
	(void)fprintf(stderr, "Whoever has this link can join: %s, ends in %s.\n", uses,
	              expires); /* a hint only */
}

void print_pong(const json_t *reply)
{
	char name[CELL_SIZE], ip[CELL_SIZE], path[CELL_SIZE];

	path_text(path, sizeof(path), reply);
	printf("pong from %s (%s) via %s   %.1f ms\n",
	       clean(text_of(reply, "name"), name, sizeof(name)),
	       clean(text_of(reply, "ipv4"), ip, sizeof(ip)), path,
	       json_number_value(json_object_get(reply, "rtt_ms")));
	(void)fflush(stdout); /* shown as it comes */
}

static void print_change(const struct args *a, const json_t *reply)
{
	char name[CELL_SIZE], other[CELL_SIZE];

	(void)clean(text_of(reply, "name"), name, sizeof(name)); /* returns its argument */
	switch (a->verb) {
	case ARGS_DOWN:
		printf("%s is down\n", name);
		break;
	case ARGS_LEAVE:
		printf("left %s\n", name);
		break;
	case ARGS_KICK:
		printf("%s is removed, and every invite of this network is withdrawn\n", name);
		if (json_is_true(json_object_get(reply, "banned")))
			printf("It is banned; its key, for unban: %s\n",
			       clean(text_of(reply, "id"), other, sizeof(other)));
		break;
	case ARGS_UNBAN:
		printf("%s may join again by an invite\n", name);
		break;
	case ARGS_RENAME:
		printf("the network is called %s now\n", name);
		break;
	case ARGS_SET:
		if (json_object_get(reply, "broadcast") != NULL)
			printf("broadcast of %s: %s\n", name,
			       clean(text_of(reply, "broadcast"), other, sizeof(other)));
		else
			printf("this computer is called %s now\n", name);
		break;
	default:
		break;
	}
}

void print_reply(const struct args *a, const json_t *reply)
{
	char version[CELL_SIZE];

	switch (a->verb) {
	case ARGS_CREATE:
	case ARGS_JOIN:
		print_network(reply, a->verb == ARGS_CREATE ? text_of(reply, "invite") : NULL);
		if (a->verb == ARGS_CREATE && a->password_file != NULL)
			(void)fprintf(stderr,
			              "Choose passwords well: the server's operator could try "
			              "to guess a weak one.\n"); /* a hint only */
		break;
	case ARGS_UP:
		print_network(reply, NULL);
		break;
	case ARGS_INVITE:
		print_invite(reply);
		break;
	case ARGS_LIST:
		print_list(reply);
		break;
	case ARGS_STATUS:
		print_status(reply);
		break;
	case ARGS_PING:
		print_pong(reply);
		break;
	case ARGS_VERSION:
		printf("govpn %s, govpnd %s\n", GV_VERSION,
		       clean(text_of(reply, "daemon"), version, sizeof(version)));
		break;
	case ARGS_DOWN:
	case ARGS_LEAVE:
	case ARGS_KICK:
	case ARGS_UNBAN:
	case ARGS_RENAME:
	case ARGS_SET:
		print_change(a, reply);
		break;
	case ARGS_HELP:
	case ARGS_VERBS:
		break;
	}
}

void print_error(const char *message)
{
	char text[600];

	(void)fprintf(stderr, "govpn: %s\n", clean(message, text, sizeof(text))); /* nowhere else */
}
