/* SPDX-License-Identifier: MIT */

#include "engine/server/page.h"

#include "base/err.h"
#include "proto/sig/netid.h"

#include <string.h>

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	"<meta name=\"robots\" content=\"noindex\">\n<title>goVPN</title>\n<style>\n"
	"body { font: 1.1em/1.5 system-ui, sans-serif; max-width: 40em; margin: 3em auto;"
	" padding: 0 1em; color-scheme: light dark; }\n"
	"code { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }\n"
	"</style>\n</head>\n<body>\n";

static const char foot[] = "</body>\n</html>\n";

int page_invite(const char *path, struct buf *out, bool *found)
{
	static const char prefix[] = "/j/";
	char text[NETID_TEXT_SIZE];
	uint8_t id[NETID_SIZE];

	*found = strncmp(path, prefix, sizeof(prefix) - 1) == 0 &&
	         netid_parse(path + sizeof(prefix) - 1, id);
	if (!*found)
		return 0;
	int r = buf_add_str(out, head);
	if (r == 0)
		r = buf_addf(out,
		             "<h1>You are invited to a network</h1>\n"
		             "<p>Network <code>%s</code></p>\n"
		             "<ol>\n<li>Install goVPN on this computer.</li>\n"
		             "<li>Copy the <strong>whole</strong> address of this page, with"
		             " everything behind the <code>#</code>: that part is the key, and it"
		             " was not sent to this server.</li>\n"
		             "<li>In a terminal type <code>govpn join -</code>, paste the address"
		             " and press Enter.</li>\n</ol>\n"
		             "<p>Whoever has the address can join. Do not show it to"
		             " others.</p>\n",
		             netid_text(id, text));
	if (r == 0)
		r = buf_add_str(out, foot);
	return r < 0 ? err_up(r) : 0;
}

int page_front(struct buf *out)
{
	int r = buf_add_str(out, head);

	if (r == 0)
		r = buf_add_str(out, "<h1>goVPN server</h1>\n"
		                     "<p>This server introduces computers to each other. Their"
		                     " traffic does not pass through it.</p>\n"
		                     "<p>Make a network with <code>govpn create NAME --server"
		                     " URL</code>, the URL being the address of this page.</p>\n");
	if (r == 0)
		r = buf_add_str(out, foot);
	return r < 0 ? err_up(r) : 0;
}
