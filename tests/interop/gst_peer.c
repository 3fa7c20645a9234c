/* SPDX-License-Identifier: MIT */

/*
 * gst_peer: the other side of rtc_echo, made of GStreamer's webrtcbin (libnice, OpenSSL with an RSA certificate,
 * usrsctp). Same options, same lines, same load (rtc_lines.h, rtc_load.h). The main thread drives, one reads lines,
 * the rest are GStreamer's.
 */

#define GST_USE_UNSTABLE_API

#include <gst/gst.h>
#include <gst/sdp/sdp.h>
#include <gst/webrtc/webrtc.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE      (1 << 20)
#define WINDOW_BYTES   (1u << 20) /* sent and not yet back */
#define LIMIT_US       (300 * G_USEC_PER_SEC)
#define CLOSE_US       (10 * G_USEC_PER_SEC)
#define STRAY_US       (2 * G_USEC_PER_SEC)
#define PACED_BYTES    200
#define EXTRA_ROUNDS   3
#define EXTRA_CHANNELS 6
#define EXTRA_MESSAGES 5
#define EXTRA_EXPECTED (EXTRA_CHANNELS * EXTRA_MESSAGES)

struct message {
	GObject *channel;
	gboolean text;
	GBytes *data;
};

static struct {
	gboolean offer, trickle, drive;
	unsigned messages, size, unordered, big;
	const char *stun;
} options;

static GstElement *bin;
static GAsyncQueue *back; /* struct message: what came, for the driver */
static GMutex lock;       /* of all below */
static GCond changed;

static struct {
	unsigned messages, bytes, unordered_sent, unordered_seen, extra, opened, closed;
} seen;

static GObject *reliable, *unordered; /* once they are open */
static GPtrArray *candidates;         /* lines that wait for the description */
static gboolean described, all_gathered, remote_known, over;

static void print_report(const char *failure)
{
	g_mutex_lock(&lock);
	json_t *o =
		json_pack("{s:{s:s?,s:i,s:i,s:i,s:i,s:i,s:i,s:i}}", "report", "failure", failure,
	                  "messages", seen.messages, "bytes", seen.bytes, "unordered_sent",
	                  seen.unordered_sent, "unordered_seen", seen.unordered_seen, "extra",
	                  seen.extra, "opened", seen.opened, "closed", seen.closed);
	char *text = json_dumps(o, JSON_COMPACT);
	puts(text);
	(void)fflush(stdout);
	free(text);
	json_decref(o);
	g_mutex_unlock(&lock);
}

static void die(const char *what)
{
	fprintf(stderr, "gst_peer: %s\n", what);
	print_report(what);
	exit(1);
}

/* Waits until a condition under the lock holds. */
static gboolean await(gboolean (*holds)(unsigned), unsigned n, gint64 us)
{
	gint64 end = g_get_monotonic_time() + us;

	g_mutex_lock(&lock);
	while (!holds(n) && !over && g_cond_wait_until(&changed, &lock, end))
		;
	gboolean ok = holds(n);
	g_mutex_unlock(&lock);
	return ok;
}

static gboolean opened_at_least(unsigned n)
{
	return seen.opened >= n;
}

static gboolean closed_at_least(unsigned n)
{
	return seen.closed >= n;
}

static gboolean first_are_open(unsigned unused)
{
	(void)unused;
	return reliable != NULL && unordered != NULL;
}

static gboolean is_described(unsigned unused)
{
	(void)unused;
	return remote_known;
}

static gboolean is_gathered(unsigned unused)
{
	(void)unused;
	return all_gathered;
}

static gboolean never(unsigned unused)
{
	(void)unused;
	return FALSE;
}

/* ---- channels ---- */

static void send_message(GObject *channel, gboolean text, GBytes *data)
{
	gsize len;
	const char *bytes = g_bytes_get_data(data, &len);

	if (text) {
		char *s = g_strndup(bytes, len);
		g_signal_emit_by_name(channel, "send-string", s);
		g_free(s);
	} else {
		g_signal_emit_by_name(channel, "send-data", data);
	}
}

static void on_message(GObject *channel, gboolean text, GBytes *data)
{
	char *label;
	gsize len = data == NULL ? 0 : g_bytes_get_size(data);

	if (options.drive) {
		struct message *m = g_new(struct message, 1);
		*m = (struct message){channel, text,
		                      data == NULL ? g_bytes_new(NULL, 0) : g_bytes_ref(data)};
		g_async_queue_push(back, m);
		return;
	}
	if (len > 0) {
		send_message(channel, text, data);
	} else { /* usrsctp refuses the empty ones of webrtcbin 1.22 ("Bad address"), which ends the channel */
		GBytes *told = text ? g_bytes_new_static("empty text", 10)
		                    : g_bytes_new_static("empty data", 10);
		send_message(channel, text, told);
		g_bytes_unref(told);
	}
	g_object_get(channel, "label", &label, NULL);
	g_mutex_lock(&lock);
	if (strcmp(label, "reliable") == 0) {
		seen.messages++;
		seen.bytes += len;
	} else if (strcmp(label, "unordered") == 0) {
		seen.unordered_seen++;
	} else {
		seen.extra++;
	}
	g_mutex_unlock(&lock);
	g_free(label);
}

static void on_data(GObject *channel, GBytes *data, gpointer unused)
{
	(void)unused;
	on_message(channel, FALSE, data);
}

static void on_string(GObject *channel, gchar *text, gpointer unused)
{
	(void)unused;
	GBytes *data = text == NULL ? NULL : g_bytes_new(text, strlen(text));
	on_message(channel, TRUE, data);
	g_bytes_unref(data);
}

/* Once for each channel: it may have opened before the signal was connected. */
static void on_open(GObject *channel, gpointer unused)
{
	char *label;

	(void)unused;
	g_object_get(channel, "label", &label, NULL);
	g_mutex_lock(&lock);
	if (g_object_get_data(channel, "opened") == NULL)
		seen.opened++;
	g_object_set_data(channel, "opened", channel);
	if (strcmp(label, "reliable") == 0)
		reliable = channel;
	else if (strcmp(label, "unordered") == 0)
		unordered = channel;
	g_cond_broadcast(&changed);
	g_mutex_unlock(&lock);
	g_free(label);
}

static void on_close(GObject *channel, gpointer unused)
{
	(void)channel;
	(void)unused;
	g_mutex_lock(&lock);
	seen.closed++;
	g_cond_broadcast(&changed);
	g_mutex_unlock(&lock);
}

static void use(GObject *channel)
{
	g_signal_connect(channel, "on-message-data", G_CALLBACK(on_data), NULL);
	g_signal_connect(channel, "on-message-string", G_CALLBACK(on_string), NULL);
	g_signal_connect(channel, "on-close", G_CALLBACK(on_close), NULL);
}

static GObject *make_channel(const char *label, GstStructure *o_moved)
{
	GstWebRTCDataChannelState state;
	GObject *channel = NULL;

	g_signal_emit_by_name(bin, "create-data-channel", label, o_moved, &channel);
	gst_structure_free(o_moved);
	if (channel == NULL)
		die("no channel");
	use(channel);
	g_signal_connect(channel, "on-open", G_CALLBACK(on_open), NULL);
	g_object_get(channel, "ready-state", &state, NULL);
	if (state == GST_WEBRTC_DATA_CHANNEL_STATE_OPEN)
		on_open(channel, NULL);
	return channel;
}

/* type: 0 .. 5 as in rtc_load.c; -1: as "unordered" is. */
static GstStructure *options_of(int type)
{
	GstStructure *o = gst_structure_new("options", "ordered", G_TYPE_BOOLEAN,
	                                    type >= 0 && type % 2 == 0, NULL);

	if (type == -1)
		gst_structure_set(o, "max-retransmits", G_TYPE_INT, 0, NULL);
	else if (type / 2 == 1)
		gst_structure_set(o, "max-retransmits", G_TYPE_INT, 20, NULL);
	else if (type / 2 == 2)
		gst_structure_set(o, "max-packet-lifetime", G_TYPE_INT, 30000, NULL);
	return o;
}

/* A thread of its own: making a channel waits for the one that tells of channels. */
static gpointer mirror(gpointer channel)
{
	char *label, *protocol;
	gboolean ordered;
	int lifetime, retransmits;

	g_object_get(channel, "label", &label, "protocol", &protocol, "ordered", &ordered,
	             "max-packet-lifetime", &lifetime, "max-retransmits", &retransmits, NULL);
	GstStructure *o = gst_structure_new("options", "ordered", G_TYPE_BOOLEAN, ordered,
	                                    "protocol", G_TYPE_STRING, protocol, NULL);
	if (retransmits >= 0)
		gst_structure_set(o, "max-retransmits", G_TYPE_INT, retransmits, NULL);
	if (lifetime >= 0)
		gst_structure_set(o, "max-packet-lifetime", G_TYPE_INT, lifetime, NULL);
	char *told = g_strdup_printf("%s|%d|%d|%d|", label, ordered, retransmits, lifetime);
	make_channel(told, o);
	g_free(told);
	g_free(label);
	g_free(protocol);
	return NULL;
}

/* A channel of the peer is open when it is told. */
static void on_channel(GstElement *element, GObject *channel, gpointer unused)
{
	char *label;

	(void)element;
	(void)unused;
	g_object_ref(channel);
	use(channel);
	on_open(channel, NULL);
	g_object_get(channel, "label", &label, NULL);
	if (g_str_has_prefix(label, "mirror "))
		g_thread_unref(g_thread_new("mirror", mirror, channel));
	g_free(label);
}

/* ---- what a driver does ---- */

static GBytes *make_data(gboolean text, gsize len)
{
	guint8 *data = g_malloc(len + 1);

	for (gsize i = 0; i < len; i++)
		data[i] = (guint8)(text ? 'a' + g_random_int() % 26 : g_random_int());
	return g_bytes_new_take(data, len);
}

static void add(GChecksum *c, gboolean text, GBytes *data)
{
	gsize len;
	const guchar *bytes = g_bytes_get_data(data, &len);
	guchar head[5] = {text ? 1 : 0, len >> 24, len >> 16 & 255, len >> 8 & 255, len & 255};

	g_checksum_update(c, head, sizeof(head));
	g_checksum_update(c, bytes, len);
}

static unsigned next_length(unsigned i)
{
	unsigned octaves = 0;

	if (i == 0 || i + 1 == options.messages)
		return i == 0 ? 1 : options.size;
	while (2u << octaves < options.size)
		octaves++;
	unsigned low = 1u << g_random_int_range(0, octaves + 1);
	return MIN(low + g_random_int() % low, options.size);
}

static void free_message(struct message *m)
{
	g_bytes_unref(m->data);
	g_free(m);
}

static void drive_reliable(void)
{
	GChecksum *sent = g_checksum_new(G_CHECKSUM_SHA256),
		  *came = g_checksum_new(G_CHECKSUM_SHA256);
	gsize waiting = 0;

	for (unsigned i = 0; seen.messages < options.messages;) {
		if (i < options.messages && waiting < WINDOW_BYTES) {
			gboolean text = i % 4 == 3;
			GBytes *data = make_data(text, next_length(i));
			add(sent, text, data);
			waiting += g_bytes_get_size(data);
			send_message(reliable, text, data);
			g_bytes_unref(data);
			i++;
			continue;
		}
		struct message *m = g_async_queue_timeout_pop(back, LIMIT_US);
		if (m == NULL)
			die("messages are missing");
		add(came, m->text, m->data);
		waiting -= g_bytes_get_size(m->data);
		seen.messages++;
		seen.bytes += g_bytes_get_size(m->data);
		free_message(m);
	}
	if (strcmp(g_checksum_get_string(sent), g_checksum_get_string(came)) != 0)
		die("what came back differs");
	g_checksum_free(sent);
	g_checksum_free(came);
}

static void drive_unordered(void)
{
	gboolean *known = g_new0(gboolean, options.unordered);
	puts("{\"paced\":1}");
	(void)fflush(stdout);
	gint64 start = g_get_monotonic_time();

	while (seen.unordered_seen < options.unordered) {
		gint64 due = (g_get_monotonic_time() - start) / 1000;
		while (seen.unordered_sent < options.unordered && seen.unordered_sent < due) {
			guint8 data[PACED_BYTES] = {
				seen.unordered_sent >> 24, seen.unordered_sent >> 16 & 255,
				seen.unordered_sent >> 8 & 255, seen.unordered_sent & 255};
			GBytes *bytes = g_bytes_new(data, sizeof(data));
			send_message(unordered, FALSE, bytes);
			g_bytes_unref(bytes);
			seen.unordered_sent++;
		}
		gboolean all = seen.unordered_sent == options.unordered;
		struct message *m = g_async_queue_timeout_pop(back, all ? STRAY_US : 1000);
		if (m == NULL && all)
			break;
		if (m == NULL)
			continue;
		const guint8 *d = g_bytes_get_data(m->data, NULL);
		guint n = g_bytes_get_size(m->data) == PACED_BYTES
		                  ? (guint)d[0] << 24 | (guint)d[1] << 16 | (guint)d[2] << 8 | d[3]
		                  : G_MAXUINT;
		if (n >= options.unordered || known[n])
			die("a paced message came back twice or changed");
		known[n] = TRUE;
		seen.unordered_seen++;
		free_message(m);
	}
	g_free(known);
}

static void close_channels(GObject **channels, unsigned count)
{
	unsigned before = seen.closed;

	for (unsigned i = 0; i < count; i++)
		g_signal_emit_by_name(channels[i], "close");
	if (!await(closed_at_least, before + count, CLOSE_US))
		die("a channel was not closed");
}

static void drive_extra(void)
{
	static const unsigned fixed[EXTRA_MESSAGES] = {10, 10, 1, 0, 1000};
	GObject *channels[EXTRA_CHANNELS];
	struct message expected[EXTRA_EXPECTED];
	unsigned before = seen.opened;

	for (unsigned i = 0; i < EXTRA_CHANNELS; i++) {
		char *label = g_strdup_printf("extra %u", i);
		channels[i] = make_channel(label, options_of((int)i));
		g_free(label);
	}
	if (!await(opened_at_least, before + EXTRA_CHANNELS, CLOSE_US))
		die("a further channel was not opened");
	for (unsigned i = 0; i < EXTRA_EXPECTED; i++) {
		unsigned n = i % EXTRA_MESSAGES;
		struct message *e = &expected[i];
		e->channel = channels[i / EXTRA_MESSAGES];
		e->text = n == 0 || n == 4;
		/* Short ones in the place of empty ones. */
		e->data = make_data(e->text, n == 3 ? options.big : fixed[n]);
		send_message(e->channel, e->text, e->data);
	}
	for (unsigned left = EXTRA_EXPECTED; left > 0;) {
		struct message *m = g_async_queue_timeout_pop(back, LIMIT_US);
		unsigned i = 0;
		if (m == NULL)
			die("messages on further channels are missing");
		while (i < left &&
		       !(expected[i].channel == m->channel && expected[i].text == m->text &&
		         g_bytes_equal(expected[i].data, m->data)))
			i++;
		if (i == left)
			die("a message on a further channel changed");
		g_bytes_unref(expected[i].data);
		expected[i] = expected[--left];
		seen.extra++;
		free_message(m);
	}
	close_channels(channels, EXTRA_CHANNELS);
}

static void drive(void)
{
	if (!await(first_are_open, 0, LIMIT_US))
		die("no channels");
	drive_reliable();
	if (options.unordered > 0)
		drive_unordered();
	for (unsigned i = 0; options.big > 0 && i < EXTRA_ROUNDS; i++)
		drive_extra();
	close_channels((GObject *[]){reliable, unordered}, 2);
}

/*
 * webrtcbin 1.22 has no call that ends a connection: stopped, it falls silent. The end of the stream at its DTLS
 * element makes that say close_notify.
 */
static void end_dtls(const GValue *item, gpointer unused)
{
	GstElement *e = g_value_get_object(item);
	GstElementFactory *f = gst_element_get_factory(e);

	(void)unused;
	if (f == NULL || strcmp(GST_OBJECT_NAME(f), "dtlsenc") != 0)
		return;
	for (GList *l = e->sinkpads; l != NULL; l = l->next)
		gst_pad_send_event(l->data, gst_event_new_eos());
}

static void end_connection(void)
{
	GstIterator *i = gst_bin_iterate_recurse(GST_BIN(bin));

	gst_iterator_foreach(i, end_dtls, NULL);
	gst_iterator_free(i);
}

/* ---- signaling ---- */

static void print_line(json_t *o_moved)
{
	char *text = json_dumps(o_moved, JSON_COMPACT);

	puts(text);
	(void)fflush(stdout);
	free(text);
	json_decref(o_moved);
}

/* With --trickle from its thread, otherwise all are kept for the description. An empty one ends them. */
static void note_candidate(const char *text)
{
	g_mutex_lock(&lock);
	if (*text == '\0' && all_gathered) {
		g_mutex_unlock(&lock);
		return;
	}
	if (*text == '\0')
		all_gathered = TRUE;
	if (described)
		print_line(json_pack("{s:s,s:s,s:i}", "candidate", text, "sdpMid", "0",
		                     "sdpMLineIndex", 0));
	else
		g_ptr_array_add(candidates, g_strdup(text));
	g_cond_broadcast(&changed);
	g_mutex_unlock(&lock);
}

static void on_candidate(GstElement *element, guint line, gchar *text, gpointer unused)
{
	(void)element;
	(void)line;
	(void)unused;
	note_candidate(text == NULL ? "" : text);
}

static void on_gathering(GstElement *element, GParamSpec *spec, gpointer unused)
{
	GstWebRTCICEGatheringState state;

	(void)spec;
	(void)unused;
	g_object_get(element, "ice-gathering-state", &state, NULL);
	if (state == GST_WEBRTC_ICE_GATHERING_STATE_COMPLETE)
		note_candidate("");
}

static void set_description(const char *signal, GstWebRTCSessionDescription *d)
{
	GstPromise *promise = gst_promise_new();

	g_signal_emit_by_name(bin, signal, d, promise);
	gst_promise_wait(promise);
	gst_promise_unref(promise);
}

static void describe(void)
{
	const char *type = options.offer ? "offer" : "answer";
	GstWebRTCSessionDescription *d = NULL;
	GstPromise *promise = gst_promise_new();

	g_signal_emit_by_name(bin, options.offer ? "create-offer" : "create-answer", NULL, promise);
	gst_promise_wait(promise);
	gst_structure_get(gst_promise_get_reply(promise), type, GST_TYPE_WEBRTC_SESSION_DESCRIPTION,
	                  &d, NULL);
	gst_promise_unref(promise);
	if (d == NULL)
		die("no description");
	set_description("set-local-description", d);
	if (!options.trickle && !await(is_gathered, 0, LIMIT_US))
		die("not gathered");
	char *sdp = gst_sdp_message_as_text(d->sdp);
	g_mutex_lock(&lock);
	GString *all = g_string_new(sdp);
	for (guint i = 0; !options.trickle && i < candidates->len; i++) {
		const char *text = g_ptr_array_index(candidates, i);
		g_string_append_printf(all, "a=%s\r\n", *text == '\0' ? "end-of-candidates" : text);
	}
	print_line(json_pack("{s:s,s:s}", "type", type, "sdp", all->str));
	for (guint i = 0; options.trickle && i < candidates->len; i++)
		print_line(json_pack("{s:s,s:s,s:i}", "candidate", g_ptr_array_index(candidates, i),
		                     "sdpMid", "0", "sdpMLineIndex", 0));
	described = options.trickle;
	g_mutex_unlock(&lock);
	g_string_free(all, TRUE);
	g_free(sdp);
	gst_webrtc_session_description_free(d);
}

static void take_description(const char *text)
{
	GstSDPMessage *message;

	if (gst_sdp_message_new_from_text(text, &message) != GST_SDP_OK)
		die("not SDP");
	GstWebRTCSessionDescription *d = gst_webrtc_session_description_new(
		options.offer ? GST_WEBRTC_SDP_TYPE_ANSWER : GST_WEBRTC_SDP_TYPE_OFFER, message);
	set_description("set-remote-description", d);
	gst_webrtc_session_description_free(d);
	/* webrtcbin 1.22 takes those inside an offer for streams of media only. */
	char **lines = g_strsplit(text, "\r\n", -1);
	for (unsigned i = 0; lines[i] != NULL; i++) {
		if (g_str_has_prefix(lines[i], "a=candidate:"))
			g_signal_emit_by_name(bin, "add-ice-candidate", 0, lines[i] + 2);
	}
	g_strfreev(lines);
	g_mutex_lock(&lock);
	remote_known = TRUE;
	g_cond_broadcast(&changed);
	g_mutex_unlock(&lock);
}

static gpointer read_lines(gpointer unused)
{
	static char line[LINE_SIZE];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		json_t *o = json_loads(line, 0, NULL);
		const char *sdp = json_string_value(json_object_get(o, "sdp"));
		const char *candidate = json_string_value(json_object_get(o, "candidate"));
		if (sdp != NULL)
			take_description(sdp);
		else if (candidate != NULL)
			g_signal_emit_by_name(bin, "add-ice-candidate", 0,
			                      *candidate == '\0' ? NULL : candidate);
		json_decref(o);
	}
	g_mutex_lock(&lock);
	over = TRUE;
	g_cond_broadcast(&changed);
	g_mutex_unlock(&lock);
	return unused;
}

static unsigned number(const char *text)
{
	guint64 n;

	if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT, &n, NULL))
		die("not a number");
	return (unsigned)n;
}

static void read_options(int argc, char **argv)
{
	options.offer = argc > 1 && strcmp(argv[1], "offer") == 0;
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--trickle") == 0) {
			options.trickle = TRUE;
		} else if (strcmp(argv[i], "--stun") == 0 && i + 1 < argc) {
			options.stun = argv[++i];
		} else if (strcmp(argv[i], "--extra") == 0 && i + 1 < argc) {
			options.big = number(argv[++i]);
		} else if (strcmp(argv[i], "--drive") == 0 && i + 3 < argc) {
			options.drive = TRUE;
			options.messages = number(argv[++i]);
			options.size = number(argv[++i]);
			options.unordered = number(argv[++i]);
		}
	}
}

int main(int argc, char **argv)
{
	gst_init(&argc, &argv);
	read_options(argc, argv);
	back = g_async_queue_new();
	candidates = g_ptr_array_new_with_free_func(g_free);
	GstElement *pipeline = gst_pipeline_new("pipeline");
	bin = gst_element_factory_make("webrtcbin", "bin");
	if (bin == NULL)
		die("no webrtcbin");
	gst_bin_add(GST_BIN(pipeline), bin);
	gst_util_set_object_arg(G_OBJECT(bin), "bundle-policy", "max-bundle");
	if (options.stun != NULL) {
		char *url = g_strdup_printf("stun://%s", options.stun);
		g_object_set(bin, "stun-server", url, NULL);
		g_free(url);
	}
	g_signal_connect(bin, "on-data-channel", G_CALLBACK(on_channel), NULL);
	g_signal_connect(bin, "on-ice-candidate", G_CALLBACK(on_candidate), NULL);
	g_signal_connect(bin, "notify::ice-gathering-state", G_CALLBACK(on_gathering), NULL);
	gst_element_set_state(pipeline, GST_STATE_PLAYING);
	if (options.offer) {
		make_channel("reliable", options_of(0));
		make_channel("unordered", options_of(-1));
		describe();
	}
	g_thread_new("lines", read_lines, NULL);
	if (!options.offer) {
		if (!await(is_described, 0, LIMIT_US))
			die("no offer");
		describe();
	}
	if (options.drive)
		drive();
	else
		(void)await(never, 0, 2 * LIMIT_US);
	end_connection();
	g_usleep(200000); /* its last packets leave */
	gst_element_set_state(pipeline, GST_STATE_NULL);
	print_report(NULL);
	return 0;
}
