/* SPDX-License-Identifier: MIT */

/*
 * gst_peer answer: the other side of rtc_echo, made of GStreamer's webrtcbin (libnice, OpenSSL, usrsctp). It reads an
 * offer, prints the answer, echoes until its channel is closed. Single-threaded but for GStreamer's own threads.
 */

#define GST_USE_UNSTABLE_API

#include <gst/gst.h>
#include <gst/sdp/sdp.h>
#include <gst/webrtc/webrtc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE (1 << 20)

struct peer {
	GMainLoop *loop;
	GstElement *bin;
	GString *candidates;
	GstWebRTCSessionDescription *answer;
};

static void die(const char *what)
{
	fprintf(stderr, "gst_peer: %s\n", what);
	exit(1);
}

static void on_data(GObject *channel, GBytes *data, gpointer unused)
{
	(void)unused;
	g_signal_emit_by_name(channel, "send-data", data);
}

static void on_string(GObject *channel, gchar *text, gpointer unused)
{
	(void)unused;
	g_signal_emit_by_name(channel, "send-string", text);
}

static gboolean leave(gpointer peer)
{
	g_main_loop_quit(((struct peer *)peer)->loop);
	return G_SOURCE_REMOVE;
}

/* Its own stream reset must still leave. */
static void on_close(GObject *channel, gpointer peer)
{
	(void)channel;
	puts("channel closed");
	g_timeout_add(500, leave, peer);
}

static void on_channel(GstElement *bin, GObject *channel, gpointer peer)
{
	(void)bin;
	g_object_ref(channel);
	g_signal_connect(channel, "on-message-data", G_CALLBACK(on_data), peer);
	g_signal_connect(channel, "on-message-string", G_CALLBACK(on_string), peer);
	g_signal_connect(channel, "on-close", G_CALLBACK(on_close), peer);
}

static void on_candidate(GstElement *bin, guint line, gchar *text, gpointer peer)
{
	(void)bin;
	(void)line;
	if (text != NULL && *text != '\0')
		g_string_append_printf(((struct peer *)peer)->candidates, "a=%s\r\n", text);
}

/* Prints the answer once all candidates are known. */
static gboolean print_answer(gpointer data)
{
	struct peer *p = data;
	GstWebRTCICEGatheringState state;

	g_object_get(p->bin, "ice-gathering-state", &state, NULL);
	if (state != GST_WEBRTC_ICE_GATHERING_STATE_COMPLETE)
		return G_SOURCE_CONTINUE;
	char *sdp = gst_sdp_message_as_text(p->answer->sdp);
	char *all = g_strconcat(sdp, p->candidates->str, NULL);
	char *escaped = g_strescape(all, NULL);
	char *json = g_strdup_printf("{\"type\":\"answer\",\"sdp\":\"%s\"}", escaped);
	char *line = g_base64_encode((const guchar *)json, strlen(json));
	puts(line);
	(void)fflush(stdout);
	g_free(line);
	g_free(json);
	g_free(escaped);
	g_free(all);
	g_free(sdp);
	return G_SOURCE_REMOVE;
}

/* The SDP in a line of JSON whose strings use the escapes of C alone. */
static char *read_sdp(void)
{
	static char line[LINE_SIZE];
	static const char key[] = "\"sdp\":\"";
	gsize len;

	if (fgets(line, sizeof(line), stdin) == NULL)
		die("no offer");
	guchar *raw = g_base64_decode(g_strchomp(line), &len);
	char *json = g_strndup((const char *)raw, len);
	char *from = strstr(json, key);
	if (from == NULL)
		die("not an offer");
	from += strlen(key);
	from[strcspn(from, "\"")] = '\0';
	char *sdp = g_strcompress(from);
	g_free(json);
	g_free(raw);
	return sdp;
}

static void set_description(struct peer *p, const char *signal, GstWebRTCSessionDescription *d)
{
	GstPromise *promise = gst_promise_new();

	g_signal_emit_by_name(p->bin, signal, d, promise);
	gst_promise_wait(promise);
	gst_promise_unref(promise);
}

static void answer(struct peer *p)
{
	char *sdp = read_sdp();
	GstSDPMessage *message;

	if (gst_sdp_message_new_from_text(sdp, &message) != GST_SDP_OK)
		die("not SDP");
	set_description(p, "set-remote-description",
	                gst_webrtc_session_description_new(GST_WEBRTC_SDP_TYPE_OFFER, message));
	char **lines = g_strsplit(sdp, "\r\n", -1);
	for (unsigned i = 0; lines[i] != NULL; i++) {
		if (g_str_has_prefix(lines[i], "a=candidate:"))
			g_signal_emit_by_name(p->bin, "add-ice-candidate", 0, lines[i] + 2);
	}
	g_strfreev(lines);
	g_free(sdp);

	GstPromise *promise = gst_promise_new();
	g_signal_emit_by_name(p->bin, "create-answer", NULL, promise);
	gst_promise_wait(promise);
	gst_structure_get(gst_promise_get_reply(promise), "answer",
	                  GST_TYPE_WEBRTC_SESSION_DESCRIPTION, &p->answer, NULL);
	gst_promise_unref(promise);
	if (p->answer == NULL)
		die("no answer");
	set_description(p, "set-local-description", p->answer);
	g_timeout_add(50, print_answer, p);
}

int main(int argc, char **argv)
{
	struct peer p = {0};

	gst_init(&argc, &argv);
	if (argc != 2 || strcmp(argv[1], "answer") != 0)
		die("usage: gst_peer answer");
	p.loop = g_main_loop_new(NULL, FALSE);
	p.candidates = g_string_new("");
	GstElement *pipeline = gst_pipeline_new("pipeline");
	p.bin = gst_element_factory_make("webrtcbin", "bin");
	if (p.bin == NULL)
		die("no webrtcbin");
	gst_bin_add(GST_BIN(pipeline), p.bin);
	gst_util_set_object_arg(G_OBJECT(p.bin), "bundle-policy", "max-bundle");
	g_signal_connect(p.bin, "on-data-channel", G_CALLBACK(on_channel), &p);
	g_signal_connect(p.bin, "on-ice-candidate", G_CALLBACK(on_candidate), &p);
	gst_element_set_state(pipeline, GST_STATE_PLAYING);
	answer(&p);
	g_main_loop_run(p.loop);
	return 0;
}
