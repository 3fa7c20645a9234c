/* SPDX-License-Identifier: MIT */

#include "engine/client/supervisor_impl.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UP_TIMEOUT_US   (20u * 1000000u)
#define DOWN_TIMEOUT_US (5u * 1000000u)
#define PING_TIMEOUT_US (3u * 1000000u)

void verb_up(struct network *n, struct localapi_call *call)
{
	struct op *op = op_new(n->sup, call, UP_TIMEOUT_US);

	if (op == NULL)
		return;
	n->st->up = true;
	(void)supervisor_save(n->sup); /* logged; only the next start would not connect */
	op->net = n;
	network_start(n);
	op_wait_up(op, n);
}

static bool reply_when_down(struct op *op)
{
	if (op->net->phase != NETWORK_DOWN)
		return false;
	op_reply(op, status_network(op->net));
	return true;
}

void verb_down(struct network *n, struct localapi_call *call)
{
	struct op *op = op_new(n->sup, call, DOWN_TIMEOUT_US);

	if (op == NULL)
		return;
	n->st->up = false;
	(void)supervisor_save(n->sup); /* logged; the next start would connect again */
	op->net = n;
	op->net_changed = reply_when_down;
	network_stop(n);
	if (n->phase == NETWORK_DOWN)
		supervisor_net_changed(n);
}

/*
 * --- leave
 * --------------------------------------------------------------------------------------------
 */

/* Not before: whoever asked may join again at once, and the address must be free then. */
static bool reply_when_gone(struct op *op)
{
	char id[NETID_TEXT_SIZE];
	const struct network *n = op->net;

	if (n->phase != NETWORK_DOWN)
		return false;
	if (n->not_saved < 0)
		op_fail(op, EXIT_CODE_FAILED, "left, but the state cannot be written: %s",
		        strerror(-n->not_saved));
	else
		op_reply(op, json_pack("{s:s,s:s}", "id", netid_text(n->st->doc->network_id, id),
		                       "name", n->st->doc->name));
	return true;
}

static int make_leave(struct proof_leave *out, const struct network *n)
{
	const struct supervisor *s = n->sup;

	*out = (struct proof_leave){.session = s->session, .unix_s = clock_unix_s()};
	memcpy(out->network_id, n->st->doc->network_id, sizeof(out->network_id));
	memcpy(out->key, s->config.state->key, sizeof(out->key));
	return proof_leave_sign(out, s->config.state->id);
}

/* It is decided: who is connected hears it from us too, and not before, for there is no way back. */
static void forget(struct op *op)
{
	struct network *n = op->net;
	struct proof_leave leave;

	if (n->phase == NETWORK_UP && make_leave(&leave, n) == 0) {
		mesh_say_leave(n->mesh, &leave);
		network_pump(n);
	}
	n->st->up = false;
	op->net_changed = reply_when_gone;
	network_forget(n);
}

static void on_left(void *user, enum sigclient_result result, const struct msg *m)
{
	struct op *op = user;

	/* A server that does not know us there any more is as good as one that let us go. */
	if (result == SIGCLIENT_OK ||
	    (result == SIGCLIENT_ERROR &&
	     (m->error.code == MSG_ERROR_NO_SUCH_NETWORK || m->error.code == MSG_ERROR_NOT_MEMBER ||
	      m->error.code == MSG_ERROR_BANNED)))
		forget(op);
	else
		op_fail_request(op, result, m);
}

void verb_leave(struct network *n, const struct localapi_request *req, struct localapi_call *call)
{
	struct supervisor *s = n->sup;
	struct op *op = op_new(s, call, UP_TIMEOUT_US);
	struct proof_leave leave;
	struct msg m = {.type = MSG_LEAVE_NETWORK};

	if (op == NULL)
		return;
	op->net = n;
	if (req->force) {
		forget(op);
		return;
	}
	int r = make_leave(&leave, n);
	if (r < 0) {
		op_fail(op, EXIT_CODE_FAILED, "%s", strerror(-r));
		return;
	}
	op->server = server_get(s, &n->st->server);
	if (op->server == NULL) {
		op_fail(op, EXIT_CODE_FAILED, "too many servers at a time");
		return;
	}
	memcpy(m.leave_network.network_id, leave.network_id, sizeof(leave.network_id));
	m.leave_network.session = leave.session;
	m.leave_network.unix_s = leave.unix_s;
	memcpy(m.leave_network.signature, leave.sig, sizeof(leave.sig));
	r = server_request(op->server, &m, on_left, op);
	if (r < 0)
		op_fail(op, EXIT_CODE_FAILED, "%s", strerror(-r));
}

/*
 * --- ping
 * ---------------------------------------------------------------------------------------------
 */

struct ping {
	uint64_t id;
	uint8_t key[SIG_KEY_SIZE];
};

static void ping_free(struct op *op)
{
	mem_free(op->data);
}

/* The peer they mean, in one network or all. Returns how many fit. */
static unsigned find_peer(const struct supervisor *s, const struct network *only, const char *text,
                          struct network **out_net, struct mesh_peer_status *out)
{
	struct mesh_peer_status p;
	unsigned count = 0;

	for (size_t i = 0; i < s->n_nets; i++) {
		struct network *n = s->nets[i];
		if ((only != NULL && n != only) || n->phase != NETWORK_UP)
			continue;
		for (size_t k = 0; k < mesh_peer_count(n->mesh); k++) {
			mesh_peer_status(n->mesh, k, &p);
			if (!peer_matches(&p, text))
				continue;
			*out_net = n;
			*out = p;
			count++;
		}
	}
	return count;
}

void verb_ping(struct supervisor *s, const struct localapi_request *req, struct localapi_call *call)
{
	struct mesh_peer_status p;
	struct network *n = NULL, *only = NULL;

	if (req->network != NULL) {
		only = find_net(s, req->network, call);
		if (only == NULL)
			return;
	}
	unsigned count = find_peer(s, only, req->peer, &n, &p);
	if (count != 1) {
		localapi_fail(call, EXIT_CODE_NOT_FOUND,
		              count == 0 ? "no computer is called %.80s"
		                         : "several computers are called %.80s: give the address",
		              req->peer);
		return;
	}
	struct op *op = op_new(s, call, PING_TIMEOUT_US);
	if (op == NULL)
		return;
	struct ping *ping = mem_new(struct ping);
	if (ping == NULL) {
		op_fail(op, EXIT_CODE_FAILED, "out of memory");
		return;
	}
	op->data = ping;
	op->deinit = ping_free;
	op->net = n;
	/* Ids are times, and no two are equal. */
	ping->id = s->next_ping = GV_MAX(clock_now_us(), s->next_ping + 1);
	memcpy(ping->key, p.key, sizeof(ping->key));
	op->timeout_exit = EXIT_CODE_UNREACHABLE;
	int r = mesh_ping(n->mesh, p.key, ping->id, clock_now_us());
	if (r < 0)
		op_fail(op, EXIT_CODE_FAILED, "%s", strerror(-r));
	else if (r != MESH_OK)
		op_fail(op, EXIT_CODE_UNREACHABLE, "%s is %s", status_peer_name(&p),
		        p.online ? "online, but there is no path to it yet" : "offline");
	else
		network_pump(n);
}

void verb_pong(struct network *n, uint64_t ping_id, uint32_t rtt_us)
{
	struct mesh_peer_status p;

	for (struct op *op = n->sup->ops; op != NULL; op = op->next) {
		const struct ping *ping = op->data;
		if (op->dead || op->net != n || op->deinit != ping_free || ping->id != ping_id)
			continue;
		for (size_t i = 0; i < mesh_peer_count(n->mesh); i++) {
			mesh_peer_status(n->mesh, i, &p);
			if (memcmp(p.key, ping->key, sizeof(p.key)) != 0)
				continue;
			char ip[NETADDR_TEXT_SIZE];
			op_reply(op, json_pack("{s:s,s:s,s:s,s:f,s:o}", "name", p.admission->name,
			                       "label", p.admission->label, "ipv4",
			                       netaddr_ip_text(&p.ip4, ip), "rtt_ms",
			                       (double)rtt_us / 1000, "path", status_path(&p)));
			return;
		}
		op_fail(op, EXIT_CODE_UNREACHABLE, "the computer is gone");
		return;
	}
}

/*
 * --- set
 * ----------------------------------------------------------------------------------------------
 */

void verb_set_name(struct supervisor *s, const struct localapi_request *req,
                   struct localapi_call *call)
{
	struct state *st = s->config.state;

	(void)snprintf(st->name, sizeof(st->name), "%s", req->name); /* length checked */
	for (size_t i = 0; i < s->n_nets; i++) {
		struct network *n = s->nets[i];
		int r = join_sign(&n->st->admission, s, NULL);
		if (r < 0) {
			localapi_fail(call, EXIT_CODE_FAILED, "%s", strerror(-r));
			return;
		}
		network_send_admission(n);
	}
	int r = supervisor_save(s);
	if (r < 0)
		localapi_fail(call, EXIT_CODE_FAILED, "the state cannot be written: %s",
		              strerror(-r));
	else
		localapi_reply(call, json_pack("{s:s}", "name", st->name));
}

void verb_set_broadcast(struct network *n, const struct localapi_request *req,
                        struct localapi_call *call)
{
	struct supervisor *s = n->sup;

	/* At most one network is preferred. */
	for (size_t i = 0; req->on && i < s->n_nets; i++) {
		if (s->nets[i]->st->broadcast == STATE_BROADCAST_ON)
			s->nets[i]->st->broadcast = STATE_BROADCAST_AUTO;
	}
	n->st->broadcast = req->on ? STATE_BROADCAST_ON : STATE_BROADCAST_OFF;
	supervisor_update_broadcast(s);
	int r = supervisor_save(s);
	if (r < 0)
		localapi_fail(call, EXIT_CODE_FAILED, "the state cannot be written: %s",
		              strerror(-r));
	else
		localapi_reply(call, status_network(n));
}
