/* SPDX-License-Identifier: MIT */

#include "recording_dataplane.h"

#include "crypto/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GONE_MAX 64

struct dataplane {
	int nothing;
};

struct recording recording;

static struct dataplane_event gone[GONE_MAX];
static unsigned gone_count;

struct dataplane *recording_dataplane(void)
{
	static struct dataplane one;

	return &one;
}

void recording_reset(void)
{
	memset(&recording, 0, sizeof(recording));
	gone_count = 0;
}

bool recording_next(struct dataplane_event *out)
{
	if (gone_count == 0)
		return false;
	*out = gone[0];
	memmove(gone, gone + 1, --gone_count * sizeof(gone[0]));
	return true;
}

struct recording_link *recording_link(unsigned i)
{
	unsigned count = 0;

	for (unsigned k = 0; k < RECORDING_LINKS; k++)
		count += recording.links[k].handle != 0;
	for (unsigned k = 0; k < RECORDING_LINKS && count > 0; k++) {
		if (recording.links[k].handle != 0 && i-- % count == 0)
			return &recording.links[k];
	}
	return NULL;
}

static int post(enum dataplane_event_type type, uint32_t net, uint32_t peer, uint32_t link)
{
	if (recording.refuses || gone_count == GONE_MAX)
		return -ENOBUFS;
	gone[gone_count++] = (struct dataplane_event){
		.type = type, .net = net, .peer = peer, .link = link, .tun_fd = -1};
	return 0;
}

void recording_post(enum dataplane_event_type type, uint32_t net)
{
	(void)!post(type, net, 0, 0); /* as many as there is room for */
}

static int done(void)
{
	return recording.refuses ? -ENOBUFS : 0;
}

int dataplane_net_add(struct dataplane *d, uint32_t net, const struct dataplane_net_config *c,
                      struct dataplane_stats *shared)
{
	(void)d;
	(void)net;
	(void)c;
	(void)shared;
	return done();
}

int dataplane_net_del(struct dataplane *d, uint32_t net)
{
	(void)d;
	return post(DATAPLANE_EVENT_NET_GONE, net, 0, 0);
}

int dataplane_peer_add(struct dataplane *d, uint32_t net, uint32_t peer,
                       const struct dataplane_peer_config *c, struct dataplane_stats *shared)
{
	(void)d;
	(void)net;
	(void)peer;
	(void)c;
	(void)shared;
	return done();
}

int dataplane_peer_del(struct dataplane *d, uint32_t peer)
{
	(void)d;
	return post(DATAPLANE_EVENT_PEER_GONE, 0, peer, 0);
}

int dataplane_link_add(struct dataplane *d, uint32_t peer, uint32_t link, const char *ufrag,
                       uint32_t transaction_prefix, struct dataplane_link_shared *shared)
{
	(void)d;
	(void)peer;
	(void)transaction_prefix;
	if (strlen(ufrag) >= sizeof(recording.links[0].ufrag))
		abort();
	for (unsigned k = 0; !recording.refuses && k < RECORDING_LINKS; k++) {
		struct recording_link *l = &recording.links[k];

		if (l->handle != 0)
			continue;
		*l = (struct recording_link){.handle = link, .shared = shared};
		memcpy(l->ufrag, ufrag, strlen(ufrag));
		return 0;
	}
	return -ENOBUFS;
}

int dataplane_link_del(struct dataplane *d, uint32_t link, bool polite)
{
	int r = post(DATAPLANE_EVENT_LINK_GONE, 0, 0, link);

	(void)d;
	(void)polite;
	for (unsigned k = 0; r == 0 && k < RECORDING_LINKS; k++) {
		if (recording.links[k].handle == link)
			recording.links[k].handle = 0;
	}
	return r;
}

int dataplane_link_keys(struct dataplane *d, uint32_t link, const struct dataplane_keys_config *c)
{
	(void)d;
	(void)link;
	record_free(c->record);
	return done();
}

int dataplane_send_raw(struct dataplane *d, uint32_t net, const struct netaddr *local,
                       const struct netaddr *remote, const void *data, size_t len)
{
	const uint8_t *p = data;

	(void)d;
	(void)net;
	/* A request: the two bits of the class are zero. */
	if (len <= sizeof(recording.stun) && len >= 20 && p[0] == 0 && p[1] == 1) {
		memcpy(recording.stun, data, len);
		recording.stun_len = len;
		recording.stun_local = *local;
		recording.stun_remote = *remote;
	}
	return done();
}

int dataplane_ctl_send(struct dataplane *d, uint32_t link, const void *data, size_t len)
{
	(void)d;
	(void)link;
	(void)data;
	if (len == 0 || len > DATAPLANE_CTL_BYTES)
		abort();
	recording.sent++;
	return done();
}

int dataplane_net_transactions(struct dataplane *d, uint32_t net, uint32_t transaction_prefix)
{
	(void)d;
	(void)net;
	(void)transaction_prefix;
	return done();
}

int dataplane_link_addr(struct dataplane *d, uint32_t link, const struct netaddr *remote)
{
	(void)d;
	(void)link;
	(void)remote;
	return done();
}

int dataplane_link_path(struct dataplane *d, uint32_t link, const struct netaddr *local,
                        const struct netaddr *remote)
{
	(void)local;
	return dataplane_link_addr(d, link, remote);
}

static int plain(struct dataplane *d, uint32_t link)
{
	(void)d;
	(void)link;
	return done();
}

int dataplane_link_start(struct dataplane *d, uint32_t link)
{
	return plain(d, link);
}

int dataplane_link_open_ip(struct dataplane *d, uint32_t link)
{
	return plain(d, link);
}

int dataplane_link_allow_ip(struct dataplane *d, uint32_t link)
{
	return plain(d, link);
}

int dataplane_link_tunnel(struct dataplane *d, uint32_t link)
{
	return plain(d, link);
}

int dataplane_link_partial(struct dataplane *d, uint32_t link)
{
	return plain(d, link);
}

int dataplane_send_sealed(struct dataplane *d, uint32_t link, uint8_t type, const void *data,
                          size_t len)
{
	(void)type;
	(void)data;
	(void)len;
	return plain(d, link);
}
