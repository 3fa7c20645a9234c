/* SPDX-License-Identifier: MIT */

#include "engine/client/state.h"

#include "base/buf.h"
#include "base/enc.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/client/dump.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#define VERSION 1

static const char *const trust_words[] = {"system", "ca", "pin", "insecure"};
static const char *const broadcast_words[] = {"auto", "on", "off"};

static int find_word(const char *const *words, size_t n, const char *word)
{
	for (size_t i = 0; word != NULL && i < n; i++) {
		if (strcmp(words[i], word) == 0)
			return (int)i;
	}
	return -1;
}

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

/* Decodes base64url of key `key` into a new block. Returns 0; STATE_CORRUPT; -ENOMEM. */
static int bytes_of(const json_t *o, const char *key, size_t max, uint8_t **out, size_t *len)
{
	const char *text = text_of(o, key);

	if (text == NULL || strlen(text) > ENC_BASE64_SIZE(max))
		return STATE_CORRUPT;
	gv_cleanup(mem_freep) uint8_t *p = mem_alloc(1, max);
	if (p == NULL)
		return err_here(-ENOMEM);
	if (!dec_base64url(text, strlen(text), p, max, len))
		return STATE_CORRUPT;
	*out = GV_STEAL(p);
	return 0;
}

static int parse_server(struct state_server *out, const json_t *o, struct diag *diag)
{
	const char *url = text_of(o, "server"), *ca = text_of(o, "ca"), *pin = text_of(o, "pin");
	int trust = find_word(trust_words, GV_ARRAY_SIZE(trust_words), text_of(o, "trust"));
	size_t len = 0;

	if (url == NULL || trust < 0 || link_server_parse(url, &out->at, diag) != LINK_OK)
		return STATE_CORRUPT;
	out->trust = (enum state_trust)trust;
	if (out->trust == STATE_TRUST_PIN &&
	    (pin == NULL || !dec_base64url(pin, strlen(pin), out->pin, sizeof(out->pin), &len) ||
	     len != sizeof(out->pin)))
		return STATE_CORRUPT;
	if (out->trust == STATE_TRUST_CA) {
		if (ca == NULL || strlen(ca) > STATE_CA_MAX)
			return STATE_CORRUPT;
		out->ca_pem = mem_strdup(ca);
		if (out->ca_pem == NULL)
			return err_here(-ENOMEM);
	}
	return 0;
}

static int parse_proofs(struct state *s, struct state_network *n, const json_t *o,
                        struct diag *diag)
{
	gv_cleanup(mem_freep) uint8_t *doc = NULL, *admission = NULL;
	uint8_t id[NETID_SIZE];
	const char *id_text = text_of(o, "id");
	size_t doc_len = 0, admission_len = 0;

	if (id_text == NULL || !netid_parse(id_text, id))
		return STATE_CORRUPT;
	int r = bytes_of(o, "document", DOCUMENT_SIZE_MAX, &doc, &doc_len);
	if (r == 0)
		r = bytes_of(o, "admission", ADMISSION_SIZE_MAX, &admission, &admission_len);
	if (r != 0)
		return r;
	r = document_parse(&n->doc, doc, doc_len, id, diag);
	if (r < 0)
		return err_up(r);
	if (r != DOCUMENT_OK)
		return r == DOCUMENT_VERSION ? STATE_FOREIGN : STATE_CORRUPT;
	r = admission_parse(&n->admission, admission, admission_len, diag);
	if (r != ADMISSION_OK || memcmp(n->admission.network_id, id, sizeof(id)) != 0)
		return STATE_CORRUPT;
	if (memcmp(n->admission.key, s->key, sizeof(s->key)) != 0) {
		diag_set(diag, "it belongs to another identity.key");
		return STATE_FOREIGN;
	}
	return 0;
}

static int parse_banned(struct state_network *n, const json_t *list)
{
	const json_t *o;
	size_t i, len;

	if (list == NULL)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > STATE_BANNED_MAX)
		return STATE_CORRUPT;
	json_array_foreach(list, i, o)
	{
		struct state_banned b = {0};
		const char *key = text_of(o, "key"), *name = text_of(o, "name");
		const char *label = text_of(o, "label"), *ip = text_of(o, "ipv4");
		if (key == NULL || name == NULL || label == NULL || ip == NULL ||
		    !dec_base64url(key, strlen(key), b.key, sizeof(b.key), &len) ||
		    len != sizeof(b.key) || !text_is_name(name, ADMISSION_NAME_MAX) ||
		    !text_is_label(label) || !netaddr_parse_ip(ip, &b.ip4))
			return STATE_CORRUPT;
		(void)snprintf(b.name, sizeof(b.name), "%s", name);    /* fits */
		(void)snprintf(b.label, sizeof(b.label), "%s", label); /* fits */
		int r = state_ban(n, &b);
		if (r < 0)
			return err_up(r);
	}
	return 0;
}

static int parse_network(struct state *s, struct state_network *n, const json_t *o,
                         struct diag *diag)
{
	const char *code = text_of(o, "code"), *ip = text_of(o, "ipv4"), *ifname;
	int r = parse_server(&n->server, o, diag);

	if (r == 0)
		r = parse_proofs(s, n, o, diag);
	if (r != 0)
		return r;
	if (code != NULL && !netid_parse_code(code, n->code))
		return STATE_CORRUPT;
	if (ip != NULL && (!netaddr_parse_ip(ip, &n->ip4) || n->ip4.family != NETADDR_IP4))
		return STATE_CORRUPT;
	const json_t *signed_epoch = json_object_get(o, "signed_epoch");
	if (signed_epoch != NULL) {
		json_int_t epoch = json_integer_value(signed_epoch);
		if (!json_is_integer(signed_epoch) || epoch < 0 ||
		    epoch > (json_int_t)DOCUMENT_EPOCH_MAX)
			return STATE_CORRUPT;
		n->signed_epoch = (uint64_t)epoch;
	}
	n->up = json_is_true(json_object_get(o, "up"));
	int broadcast =
		find_word(broadcast_words, GV_ARRAY_SIZE(broadcast_words), text_of(o, "broadcast"));
	n->broadcast = broadcast >= 0 ? (enum state_broadcast)broadcast : STATE_BROADCAST_AUTO;
	ifname = text_of(o, "interface");
	if (ifname != NULL) {
		if (strlen(ifname) >= sizeof(n->ifname) || strncmp(ifname, "govpn", 5) != 0)
			return STATE_CORRUPT;
		memcpy(n->ifname, ifname, strlen(ifname) + 1);
	}
	return parse_banned(n, json_object_get(o, "banned"));
}

static int parse_networks(struct state *s, const json_t *list, struct diag *diag)
{
	const json_t *o;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > STATE_NETWORKS_MAX)
		return STATE_CORRUPT;
	json_array_foreach(list, i, o)
	{
		gv_cleanup(state_network_freep) struct state_network *n = state_network_new();
		if (n == NULL)
			return err_here(-ENOMEM);
		int r = parse_network(s, n, o, diag);
		if (r != 0)
			return r;
		if (state_find(s, n->doc->network_id) != NULL)
			return STATE_CORRUPT;
		r = state_add(s, GV_STEAL(n)); /* there is room */
		if (r < 0)
			return err_up(r);
	}
	return 0;
}

static int parse_root(struct state *s, const json_t *root, struct diag *diag)
{
	const json_t *version = json_object_get(root, "version");
	const json_t *name = json_object_get(root, "name");

	if (!json_is_integer(version))
		return STATE_CORRUPT;
	if (json_integer_value(version) != VERSION) {
		diag_set(diag, "it was written by another version of goVPN");
		return STATE_FOREIGN;
	}
	if (json_is_string(name)) {
		if (!text_is_name(json_string_value(name), ADMISSION_NAME_MAX))
			return STATE_CORRUPT;
		(void)snprintf(s->name, sizeof(s->name), "%s", json_string_value(name)); /* fits */
	}
	return parse_networks(s, json_object_get(root, "networks"), diag);
}

int state_parse(struct state *s, const char *text, size_t len, struct diag *diag)
{
	gv_cleanup(state_closep) struct state *fresh = mem_new(struct state);
	struct diag cause = {0};
	json_error_t error;

	if (fresh == NULL)
		return err_here(-ENOMEM);
	fresh->dir_fd = fresh->lock_fd = -1;
	memcpy(fresh->key, s->key, sizeof(s->key));
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	int r = STATE_CORRUPT;
	if (root == NULL)
		diag_set(&cause, "line %d: %s", error.line, error.text);
	else
		r = parse_root(fresh, root, &cause);
	json_decref(root);
	if (r < 0)
		return err_up(r);
	if (r != STATE_OK) {
		diag_set(diag, "networks.json is %s: %.120s",
		         r == STATE_FOREIGN ? "foreign" : "damaged",
		         cause.text[0] != '\0' ? cause.text : "a field is missing or wrong");
		return r;
	}
	memcpy(s->name, fresh->name, sizeof(s->name));
	memcpy(s->networks, fresh->networks, sizeof(s->networks));
	s->n_networks = fresh->n_networks;
	fresh->n_networks = 0;
	return STATE_OK;
}

/* Sets a new value (moved). Returns false without memory. */
static bool set(json_t *o, const char *key, json_t *value)
{
	return json_object_set_new(o, key, value) == 0;
}

static bool set_bytes(json_t *o, const char *key, const void *p, size_t n)
{
	gv_cleanup(mem_freep) char *text = mem_alloc(1, ENC_BASE64_SIZE(n));

	if (text == NULL)
		return false;
	enc_base64url(text, p, n);
	return set(o, key, json_string(text));
}

static bool set_document(json_t *o, const struct document *doc)
{
	struct buf bytes = BUF_INIT(DOCUMENT_SIZE_MAX);
	bool ok = document_encode(doc, &bytes) == 0 &&
	          set_bytes(o, "document", bytes.data, bytes.len);

	buf_deinit(&bytes);
	return ok;
}

static bool format_server(json_t *o, const struct state_server *s)
{
	char url[LINK_URL_SIZE];
	bool ok = set(o, "server", json_string(link_server_url(&s->at, url))) &&
	          set(o, "trust", json_string(trust_words[s->trust]));

	if (s->trust == STATE_TRUST_PIN)
		ok = ok && set_bytes(o, "pin", s->pin, sizeof(s->pin));
	if (s->trust == STATE_TRUST_CA)
		ok = ok && set(o, "ca", json_string(s->ca_pem));
	return ok;
}

static bool format_banned(json_t *o, const struct state_network *n)
{
	json_t *list = json_array();
	bool ok = list != NULL;

	for (size_t i = 0; ok && i < n->n_banned; i++) {
		const struct state_banned *b = &n->banned[i];
		char key[ENC_BASE64_SIZE(SIG_KEY_SIZE)], ip[NETADDR_TEXT_SIZE];
		enc_base64url(key, b->key, sizeof(b->key));
		json_t *one = json_pack("{s:s,s:s,s:s,s:s}", "key", key, "name", b->name, "label",
		                        b->label, "ipv4", netaddr_ip_text(&b->ip4, ip));
		ok = json_array_append_new(list, one) == 0;
	}
	if (!ok) {
		json_decref(list);
		return false;
	}
	return set(o, "banned", list);
}

static bool format_network(json_t *o, const struct state_network *n)
{
	char id[NETID_TEXT_SIZE], ip[NETADDR_TEXT_SIZE];
	uint8_t admission[ADMISSION_SIZE_MAX];
	size_t len = admission_encode(&n->admission, admission);

	bool ok = set(o, "id", json_string(netid_text(n->doc->network_id, id))) &&
	          format_server(o, &n->server) && set_document(o, n->doc) &&
	          set_bytes(o, "admission", admission, len) && set(o, "up", json_boolean(n->up)) &&
	          set(o, "broadcast", json_string(broadcast_words[n->broadcast]));
	if (n->signed_epoch != 0)
		ok = ok && set(o, "signed_epoch", json_integer((json_int_t)n->signed_epoch));
	if (n->code[0] != '\0')
		ok = ok && set(o, "code", json_string(n->code));
	if (n->ip4.family != NETADDR_NONE)
		ok = ok && set(o, "ipv4", json_string(netaddr_ip_text(&n->ip4, ip)));
	if (n->n_banned > 0)
		ok = ok && format_banned(o, n);
	if (n->ifname[0] != '\0')
		ok = ok && set(o, "interface", json_string(n->ifname));
	return ok;
}

int state_format(const struct state *s, struct buf *out)
{
	json_t *root = json_object();
	json_t *list = json_array();
	bool ok = root != NULL && list != NULL && set(root, "version", json_integer(VERSION)) &&
	          (s->name[0] == '\0' || set(root, "name", json_string(s->name)));

	for (size_t i = 0; ok && i < s->n_networks; i++) {
		json_t *o = json_object();
		ok = o != NULL && format_network(o, s->networks[i]);
		ok = json_array_append_new(list, o) == 0 && ok;
	}
	if (ok)
		ok = set(root, "networks", json_incref(list)) &&
		     dump_json(root, JSON_INDENT(1), out) == 0 && buf_add(out, "\n", 1) == 0;
	json_decref(list);
	json_decref(root);
	return ok ? 0 : err_here(-ENOMEM);
}
