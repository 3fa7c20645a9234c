/* SPDX-License-Identifier: MIT */

#include "engine/client/supervisor_impl.h"

#include "base/clock.h"
#include "base/enc.h"
#include "engine/dataplane/dataplane.h"
#include "proto/ice/cand.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static const char *phase_word(const struct network *n)
{
	switch (n->phase) {
	case NETWORK_DOWN:
	case NETWORK_CLOSING:
		return "down";
	case NETWORK_WAITING:
		return "connecting";
	case NETWORK_UP:
		return "up";
	}
	return "down";
}

static const char *peer_word(enum mesh_peer_state state)
{
	switch (state) {
	case MESH_PEER_OFFLINE:
		return "offline";
	case MESH_PEER_CONNECTING:
		return "connecting";
	case MESH_PEER_CONNECTED:
		return "connected";
	case MESH_PEER_FAILED:
		return "failed";
	}
	return "offline";
}

const char *status_peer_name(const struct mesh_peer_status *p)
{
	return p->admission->name;
}

static json_t *number(const _Atomic uint64_t *v)
{
	return json_integer((json_int_t)atomic_load_explicit(v, memory_order_relaxed));
}

/* An address as text, or null. */
static json_t *ip_json(const struct netaddr *a)
{
	char text[NETADDR_TEXT_SIZE];

	return a->family == NETADDR_NONE ? json_null() : json_string(netaddr_ip_text(a, text));
}

static json_t *dropped_json(const struct dataplane_stats *stats)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < DATAPLANE_DROPS; i++) {
		const char *name = dataplane_drop_name((enum dataplane_drop)i);
		if (json_object_set_new(
			    o, name, stats != NULL ? number(&stats->drop[i]) : json_null()) != 0) {
			json_decref(o);
			return NULL;
		}
	}
	return o;
}

json_t *status_path(const struct mesh_peer_status *p)
{
	char local[NETADDR_TEXT_SIZE], remote[NETADDR_TEXT_SIZE];

	if (p->state != MESH_PEER_CONNECTED || p->remote.family == NETADDR_NONE)
		return json_null();
	return json_pack("{s:s,s:s,s:s}", "kind", ice_cand_type_name(p->path_kind), "local",
	                 netaddr_text(&p->local, local), "remote",
	                 netaddr_text(&p->remote, remote));
}

static json_t *counter(const struct dataplane_stats *stats, const _Atomic uint64_t *v)
{
	return stats != NULL ? number(v) : json_null();
}

static json_t *peer_json(const struct mesh_peer_status *p)
{
	char id[ENC_BASE64_SIZE(SIG_KEY_SIZE)];
	static const struct dataplane_stats none; /* before the first link */
	const struct dataplane_stats *has = p->stats, *st = has != NULL ? has : &none;

	enc_base64url(id, p->key, sizeof(p->key));
	return json_pack("{s:s,s:s,s:s,s:o,s:o,s:b,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "id", id,
	                 "name", p->admission->name, "label", p->admission->label, "ipv4",
	                 ip_json(&p->ip4), "ipv6", ip_json(&p->ip6), "online", (int)p->online,
	                 "state", peer_word(p->state), "path", status_path(p), "rtt_ms",
	                 p->rtt_us != 0 ? json_real((double)p->rtt_us / 1000) : json_null(),
	                 "rx_bytes", counter(has, &st->rx_bytes), "tx_bytes",
	                 counter(has, &st->tx_bytes), "rx_packets", counter(has, &st->rx_packets),
	                 "tx_packets", counter(has, &st->tx_packets), "rx_lost",
	                 counter(has, &st->rx_lost), "dropped", dropped_json(has));
}

static json_t *peers_json(const struct network *n)
{
	json_t *list = json_array();
	struct mesh_peer_status p;

	for (size_t i = 0; n->phase == NETWORK_UP && i < mesh_peer_count(n->mesh); i++) {
		mesh_peer_status(n->mesh, i, &p);
		if (json_array_append_new(list, peer_json(&p)) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *self_json(const struct network *n)
{
	char id[ENC_BASE64_SIZE(SIG_KEY_SIZE)];

	enc_base64url(id, n->sup->config.state->key, SIG_KEY_SIZE);
	return json_pack("{s:s,s:s,s:s}", "id", id, "name", n->st->admission.name, "label",
	                 n->st->admission.label);
}

static json_t *server_json(const struct network *n)
{
	char url[LINK_URL_SIZE];

	return json_pack("{s:s,s:b}", "url", link_server_url(&n->st->server.at, url), "connected",
	                 n->signaling);
}

/* Null or an empty text becomes null. */
static const char *or_null(const char *text)
{
	return text[0] != '\0' ? text : NULL;
}

json_t *status_network(const struct network *n)
{
	static const char *const broadcast_words[] = {"auto", "on", "off"};
	char id[NETID_TEXT_SIZE], subnet[NETADDR_TEXT_SIZE];
	const struct state_network *st = n->st;
	bool up = n->phase == NETWORK_UP;
	struct netaddr ip6 = {0};

	if (netid_addr6(st->doc->network_id, n->sup->config.state->key, &ip6) < 0)
		ip6.family = NETADDR_NONE;
	return json_pack(
		"{s:s,s:s?,s:s,s:s?,s:s,s:o,s:o,s:s,s:o,s:b,s:o,s:o,s:I,s:s,s:b,s:s?,s:o,s:o}",
		"id", netid_text(st->doc->network_id, id), "code", or_null(st->code), "name",
		st->doc->name, "interface", up ? n->tun.name : NULL, "state", phase_word(n), "ipv4",
		ip_json(&st->ip4), "ipv6", ip_json(&ip6), "subnet",
		netprefix_text(&st->doc->subnet, subnet), "mtu",
		up ? json_integer(SUPERVISOR_MTU) : json_null(), "owner", network_is_owner(n),
		"self", self_json(n), "server", server_json(n), "epoch", (json_int_t)st->doc->epoch,
		"broadcast", broadcast_words[st->broadcast], "broadcast_route",
		up && n->sup->broadcast_ifindex == n->tun.ifindex, "problem",
		or_null(n->problem.text), "dropped", dropped_json(n->shared), "computers",
		peers_json(n));
}

static json_t *daemon_json(const struct supervisor *s)
{
	char id[ENC_BASE64_SIZE(SIG_KEY_SIZE)], name[ADMISSION_NAME_MAX + 1];

	enc_base64url(id, s->config.state->key, SIG_KEY_SIZE);
	supervisor_name(s, name);
	return json_pack("{s:s,s:s,s:s,s:I,s:I}", "version", s->config.version, "id", id, "name",
	                 name, "uptime_s", (json_int_t)((clock_now_us() - s->started_us) / 1000000),
	                 "pid", (json_int_t)getpid());
}

json_t *status_all(const struct supervisor *s, const struct network *only)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n_nets; i++) {
		const struct network *n = s->nets[i];
		if ((only == NULL || only == n) && !n->remove &&
		    json_array_append_new(list, status_network(n)) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return json_pack("{s:s,s:o,s:o}", "schema", "govpn.status/1", "daemon", daemon_json(s),
	                 "networks", list);
}

json_t *status_list(const struct supervisor *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n_nets; i++) {
		const struct network *n = s->nets[i];
		struct mesh_peer_status p;
		char id[NETID_TEXT_SIZE];
		size_t total = 1, online = n->phase == NETWORK_UP;
		if (n->remove)
			continue;
		for (size_t k = 0; n->phase == NETWORK_UP && k < mesh_peer_count(n->mesh); k++) {
			mesh_peer_status(n->mesh, k, &p);
			total++;
			online += p.online;
		}
		json_t *o = json_pack(
			"{s:s,s:s?,s:s,s:s,s:o,s:b,s:o,s:o}", "id",
			netid_text(n->st->doc->network_id, id), "code", or_null(n->st->code),
			"name", n->st->doc->name, "state", phase_word(n), "ipv4",
			ip_json(&n->st->ip4), "owner", network_is_owner(n), "computers",
			n->phase == NETWORK_UP ? json_integer((json_int_t)total) : json_null(),
			"online",
			n->phase == NETWORK_UP ? json_integer((json_int_t)online) : json_null());
		if (json_array_append_new(list, o) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return json_pack("{s:o}", "networks", list);
}

json_t *status_version(const struct supervisor *s)
{
	return json_pack("{s:s}", "daemon", s->config.version);
}
