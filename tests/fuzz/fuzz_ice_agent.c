/* SPDX-License-Identifier: MIT */

/*
 * An agent that is fed: candidates, raw messages, well-authenticated requests and answers of a hostile peer, time,
 * restarts. It must stay inside its tables, never claim to be due without an end, and never send to an address
 * that may not be sent to.
 */

#include "base/bytes.h"
#include "base/clock.h"
#include "proto/ice/agent.h"
#include "proto/stun/msg.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REMOTE_UFRAG "remo"
#define REMOTE_PWD   "remotepasswordremotepassword"
#define PREFIX       0x01020304

struct fed {
	struct ice_agent *agent;
	struct bytes_reader in;
	uint64_t now_us;
	struct ice_packet last; /* last request it sent */
};

static struct netaddr some_addr(struct fed *f)
{
	uint8_t b = bytes_read_u8(&f->in);

	if (b & 0x80) {
		uint8_t ip[16] = {b & 0x40 ? 0xfe : 0x20, b & 0x40 ? 0x80 : 0x01, [15] = b & 7};

		return netaddr_ip6(ip, (uint16_t)(1000 + (b >> 3 & 7)));
	}
	if (b & 0x40) {
		uint32_t ip = bytes_read_u32(&f->in);

		return netaddr_ip4(ip, bytes_read_u16(&f->in));
	}
	return netaddr_ip4(0x0a000000u + (b & 7), (uint16_t)(1000 + (b >> 3 & 7)));
}

static void drain(struct fed *f)
{
	struct ice_packet p;
	struct ice_event e;

	for (unsigned i = 0; ice_output(f->agent, &p, f->now_us) == 1; i++) {
		if (i > 2 * ICE_MAX_PAIRS || p.len == 0 || p.len > ICE_PACKET_MAX ||
		    p.remote.port == 0 || netaddr_is_multicast(&p.remote) ||
		    netaddr_is_any(&p.remote))
			abort();
		if (stun_peek_class(p.data) == STUN_CLASS_REQUEST)
			f->last = p;
	}
	for (unsigned i = 0; ice_event(f->agent, &e) == 1; i++) {
		if (i > ICE_MAX_PAIRS + 8)
			abort();
	}
}

static void feed_request(struct fed *f)
{
	struct netaddr local = some_addr(f), remote = some_addr(f);
	uint8_t flags = bytes_read_u8(&f->in), out[256], id[STUN_ID_SIZE] = {0};
	char name[64];
	struct stun_writer w;

	be32_store(id, bytes_read_u8(&f->in));
	size_t n = strlen(ice_local_ufrag(f->agent));
	memcpy(name, ice_local_ufrag(f->agent), n);
	memcpy(name + n, ":" REMOTE_UFRAG, sizeof(":" REMOTE_UFRAG) - 1);
	stun_begin(&w, out, sizeof(out), STUN_CLASS_REQUEST, STUN_METHOD_BINDING, id);
	stun_put_username(&w, name, n + sizeof(":" REMOTE_UFRAG) - 1);
	if (flags & 1)
		stun_put_priority(&w, bytes_read_u32(&f->in));
	if (flags & 2)
		stun_put_use_candidate(&w);
	if (flags & 4)
		stun_put_controlling(&w, flags & 8 ? UINT64_MAX : 0);
	else
		stun_put_controlled(&w, flags & 8 ? UINT64_MAX : 0);
	stun_put_integrity(&w, ice_local_pwd(f->agent), strlen(ice_local_pwd(f->agent)));
	ice_input(f->agent, &local, &remote, out, stun_end(&w), f->now_us);
}

/* Answers the last request, perhaps with an error, perhaps from elsewhere. */
static void feed_response(struct fed *f)
{
	uint8_t flags = bytes_read_u8(&f->in), out[256];
	struct netaddr mapped = f->last.local, remote = f->last.remote;
	struct stun_writer w;

	if (f->last.len == 0)
		return;
	if (flags & 1)
		mapped = some_addr(f);
	if (flags & 2)
		remote = some_addr(f);
	stun_begin(&w, out, sizeof(out), flags & 4 ? STUN_CLASS_ERROR : STUN_CLASS_SUCCESS,
	           STUN_METHOD_BINDING, f->last.data + 8);
	if (flags & 4)
		stun_put_error(&w, flags & 8 ? STUN_ERROR_ROLE_CONFLICT : STUN_ERROR_BAD_REQUEST);
	else
		stun_put_xor_mapped(&w, &mapped);
	stun_put_integrity(&w, REMOTE_PWD, sizeof(REMOTE_PWD) - 1);
	ice_input(f->agent, &f->last.local, &remote, out, stun_end(&w), f->now_us);
}

static void feed_raw(struct fed *f)
{
	struct netaddr local = some_addr(f), remote = some_addr(f);
	size_t n = GV_MIN((size_t)bytes_read_u8(&f->in), f->in.left);
	const uint8_t *p = bytes_read(&f->in, n);

	if (p != NULL)
		ice_input(f->agent, &local, &remote, p, n, f->now_us);
}

/* To the next deadline, or some way. */
static void pass_time(struct fed *f, uint8_t how)
{
	uint64_t due_us = ice_deadline_us(f->agent);

	if (how < 128 && due_us != CLOCK_NEVER)
		f->now_us = GV_MAX(f->now_us, due_us);
	else
		f->now_us += (uint64_t)how * how * 1000;
	ice_timeout(f->agent, f->now_us);
	drain(f);
	/* A deadline that stays in the past would spin its owner. */
	for (unsigned i = 0; ice_deadline_us(f->agent) <= f->now_us; i++) {
		if (i == 3)
			abort();
		ice_timeout(f->agent, f->now_us);
		drain(f);
	}
}

static void step(struct fed *f)
{
	uint8_t op = bytes_read_u8(&f->in);
	struct netaddr addr;
	struct ice_cand c;

	switch (op % 12) {
	case 0:
		addr = some_addr(f);
		c = ice_cand_local(ICE_CAND_HOST, &addr, &addr, op);
		ice_add_local(f->agent, &c, f->now_us);
		break;
	case 1:
		addr = some_addr(f);
		c = ice_cand_local((enum ice_cand_type)(op / 12 % 4), &addr, &addr, op);
		ice_add_remote(f->agent, &c, f->now_us);
		break;
	case 2:
		feed_request(f);
		break;
	case 3:
		feed_response(f);
		break;
	case 4:
		feed_raw(f);
		break;
	case 5:
		addr = some_addr(f);
		ice_remove_local(f->agent, &addr, f->now_us);
		break;
	case 6:
		if (op > 200)
			ice_restart(f->agent, f->now_us);
		if (ice_set_remote(f->agent, op & 16 ? "othr" : REMOTE_UFRAG, REMOTE_PWD,
		                   f->now_us) != ICE_OK)
			abort();
		break;
	case 7:
		ice_heard(f->agent, f->now_us);
		break;
	case 8:
		ice_sent(f->agent, f->now_us);
		break;
	case 9:
		if (op & 16)
			ice_end_local(f->agent, f->now_us);
		else
			ice_end_remote(f->agent, f->now_us);
		break;
	default:
		pass_time(f, bytes_read_u8(&f->in));
		break;
	}
	drain(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fed f = {.in = bytes_reader(data, size), .now_us = 1000000000};
	uint8_t flags = bytes_read_u8(&f.in);
	struct ice_config config = {
		.role = flags & 1 ? ICE_ROLE_CONTROLLING : ICE_ROLE_CONTROLLED,
		.mode = flags & 2 ? ICE_MODE_GOVPN : ICE_MODE_STANDARD,
		.transaction_prefix = PREFIX,
		.rng = rng_seeded(flags),
	};

	if (ice_new(&f.agent, &config) != 0)
		return 0;
	for (unsigned i = 0; i < 2000 && f.in.ok && f.in.left > 0; i++)
		step(&f);
	for (unsigned i = 0; i < 5; i++)
		pass_time(&f, 0);
	ice_free(f.agent);
	return 0;
}
