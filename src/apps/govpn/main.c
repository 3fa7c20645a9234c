/* SPDX-License-Identifier: MIT */

/* govpn: the command line. Each verb is one request to govpnd, ping one for each answer. */

#include "config.h"
#include "apps/govpn/args.h"
#include "apps/govpn/input.h"
#include "apps/govpn/print.h"
#include "base/buf.h"
#include "base/exit.h"
#include "base/mem.h"
#include "io/unix.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* govpnd bounds every operation by itself; this is for one that hangs. */
#define TIMEOUT_MS       90000
#define PING_INTERVAL_MS 1000

struct sink {
	struct buf *out;
	bool failed; /* libjansson goes on behind some of the failures it is told of */
};

static int add_text(const char *text, size_t len, void *user)
{
	struct sink *s = user;

	s->failed = s->failed || buf_add(s->out, text, len) < 0;
	return s->failed ? -1 : 0;
}

static void print_json(const json_t *o)
{
	(void)json_dumpf(o, stdout, JSON_INDENT(2)); /* a closed stdout is the caller's affair */
	(void)putchar('\n');
}

/* An error of our own in the form of govpnd's. */
static enum exit_code fail(const struct args *a, enum exit_code exit, const char *code,
                           const char *message)
{
	if (a->json) {
		json_t *o = json_pack("{s:b,s:s,s:i,s:s}", "ok", 0, "code", code, "exit", (int)exit,
		                      "message", message);
		print_json(o);
		json_decref(o);
	}
	print_error(message);
	return exit;
}

static enum exit_code call_failed(const struct args *a, int r)
{
	char text[300];

	switch (r) {
	case UNIX_NO_SERVER:
		(void)snprintf(text, sizeof(text), "govpnd is not running (%.200s)",
		               a->socket_path); /* fits */
		return fail(a, EXIT_CODE_NO_DAEMON, "no_daemon", text);
	case UNIX_DENIED:
		return fail(a, EXIT_CODE_NOT_ALLOWED, "not_allowed",
		            "no right to talk to govpnd: be root, or in the group govpn");
	case UNIX_CLOSED:
		return fail(a, EXIT_CODE_NO_DAEMON, "no_daemon",
		            "govpnd hung up before it answered: it ends, or has no room");
	case UNIX_BAD_PATH:
		return fail(a, EXIT_CODE_USAGE, "usage", "the socket path is too long");
	default:
		return fail(a, EXIT_CODE_FAILED, "failed",
		            r == -ETIMEDOUT ? "govpnd does not answer" : strerror(-r));
	}
}

/* One request and its reply (owned by the caller; NULL: an error was printed). */
static enum exit_code ask(const struct args *a, json_t **out)
{
	struct buf line = BUF_INIT(UNIX_LINE_MAX), reply = BUF_INIT(UNIX_OUT_MAX);
	json_t *o = NULL;
	enum exit_code exit = EXIT_CODE_OK;

	struct sink sink = {.out = &line};
	int r = json_dump_callback(a->request, add_text, &sink, JSON_COMPACT);
	r = r != 0 || sink.failed ? -ENOMEM : 0;
	if (r == 0)
		r = unix_call(a->socket_path, buf_str(&line), line.len, &reply, TIMEOUT_MS);
	if (line.data != NULL)
		mem_wipe(line.data, line.cap);
	buf_deinit(&line);
	if (r == UNIX_OK)
		o = json_loadb(buf_str(&reply), reply.len, 0, NULL);
	buf_deinit(&reply);
	if (r != UNIX_OK) {
		exit = call_failed(a, r);
	} else if (!json_is_object(o)) {
		exit = fail(a, EXIT_CODE_FAILED, "failed", "the answer of govpnd is no JSON");
	} else if (!json_is_true(json_object_get(o, "ok"))) {
		const char *message = json_string_value(json_object_get(o, "message"));
		json_int_t code = json_integer_value(json_object_get(o, "exit"));
		if (a->json)
			print_json(o);
		print_error(message != NULL ? message : "govpnd refused");
		exit = code > 0 && code <= EXIT_CODE_DEGRADED ? (enum exit_code)code
		                                              : EXIT_CODE_FAILED;
	} else {
		(void)json_object_del(o, "ok"); /* it is there */
		*out = o;
		return EXIT_CODE_OK;
	}
	json_decref(o);
	return exit;
}

/* Several pings; the JSON object is about all of them. */
static enum exit_code ping(const struct args *a)
{
	json_t *rtts = json_array(), *last = NULL;
	enum exit_code exit = EXIT_CODE_OK;

	for (unsigned i = 0; i < a->count && exit == EXIT_CODE_OK; i++) {
		json_t *reply = NULL;
		if (i > 0)
			(void)poll(NULL, 0,
			           PING_INTERVAL_MS); /* the pause; a signal may end it early */
		exit = ask(a, &reply);
		if (exit != EXIT_CODE_OK)
			break;
		if (!a->json)
			print_reply(a, reply);
		(void)json_array_append(rtts,
		                        json_object_get(reply, "rtt_ms")); /* else it is missing */
		json_decref(last);
		last = reply;
	}
	if (exit == EXIT_CODE_OK && a->json && json_object_set(last, "rtts_ms", rtts) == 0)
		print_json(last);
	json_decref(last);
	json_decref(rtts);
	return exit;
}

static enum exit_code run(struct args *a)
{
	struct diag diag = {0};
	json_t *reply = NULL;

	if (a->help) {
		args_print_help(a->help_verb);
		return EXIT_CODE_OK;
	}
	if (input_complete(a, &diag) != INPUT_OK)
		return fail(a, EXIT_CODE_USAGE, "usage", diag.text);
	if (a->verb == ARGS_PING)
		return ping(a);
	enum exit_code exit = ask(a, &reply);
	if (exit != EXIT_CODE_OK)
		return exit;
	if (a->verb == ARGS_VERSION)
		(void)json_object_set_new(reply, "govpn",
		                          json_string(GV_VERSION)); /* else missing */
	if (a->json)
		print_json(reply);
	else
		print_reply(a, reply);
	json_decref(reply);
	return EXIT_CODE_OK;
}

int main(int argc, char **argv)
{
	struct args a = {0};
	struct diag diag = {0};

	if (args_parse(&a, argc, argv, &diag) != ARGS_OK) {
		print_error(diag.text);
		return EXIT_CODE_USAGE;
	}
	enum exit_code exit = run(&a);
	args_deinit(&a);
	if (fflush(stdout) != 0 && exit == EXIT_CODE_OK)
		exit = EXIT_CODE_FAILED;
	return exit;
}
