/* SPDX-License-Identifier: MIT */

/*
 * Joining. One transaction reads the network, tests the admission, counts the invite and gives the address: nobody can come
 * in between, and a failure leaves nothing behind.
 */

#include "base/err.h"
#include "base/log.h"
#include "engine/server/hub_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("join");

/* Every join reads them all: beyond this it would hold up others. Twice as many as a network can have members. */
#define LEASES_MAX 8192

struct join {
	struct hub_request *q;
	struct admission a;
	struct store_network n;
	struct document *doc;
	struct store_member self;
	struct ipam_lease *leases;
	size_t n_leases;
	bool was_member;
	bool renamed;
};

static void join_deinit(struct join *j)
{
	store_network_deinit(&j->n);
	store_member_deinit(&j->self);
	document_free(j->doc);
	mem_free(j->leases);
}

/*
 * Whether a wrong admission would be a guess. The holder of a link's seed cannot guess, and is not held up by those who do;
 * nor are computers that the owner has named.
 */
static bool is_guess(const struct join *j)
{
	const struct document *doc = j->doc;

	if (doc == NULL)
		return true;
	const struct document_invite *invite = document_find_invite(doc, j->a.invite_key);
	if (invite != NULL && invite->kind == DOCUMENT_INVITE_LINK)
		return false;
	return memcmp(j->a.key, doc->owner, SIG_KEY_SIZE) != 0 &&
	       !document_has_member(doc, j->a.key) && !document_is_banned(doc, j->a.key);
}

/*
 * The same work for a network that does not exist as for a wrong password: the time of the answer tells nobody which networks
 * there are.
 */
static int verify(const struct join *j)
{
	struct document nobody = {0};

	if (j->doc != NULL)
		return admission_verify(&j->a, j->doc, NULL);
	memcpy(nobody.network_id, j->a.network_id, NETID_SIZE);
	int r = admission_verify(&j->a, &nobody, NULL);
	return r < 0 ? err_up(r) : ADMISSION_NOT_A_MEMBER;
}

/* Tests the admission. Guesses are counted, and what is beyond the limit is not even tested: its time would tell. */
static int test_admission(struct join *j)
{
	struct hub_request *q = j->q;
	const uint8_t *id = q->msg->join_network.network_id;
	bool guess = is_guess(j);
	int r = guess ? guard_check(q, id) : 0;

	if (r != 0)
		return r < 0 ? err_up(r) : r;
	int result = verify(j);
	if (result < 0)
		return err_up(result);
	if (result == ADMISSION_OK && !guess)
		return 0;
	if (result == ADMISSION_BANNED)
		return hub_refuse(q, MSG_ERROR_BANNED,
		                  "the owner removed this computer from the network");
	if (result == ADMISSION_INVITE_EXPIRED)
		return hub_refuse(q, MSG_ERROR_INVITE_REFUSED, "the invite has expired");
	r = result == ADMISSION_OK ? guard_passed(q, id) : guard_failed(q, id);
	return r < 0 ? err_up(r) : r;
}

static const struct ipam_lease *find_lease(const struct join *j)
{
	for (size_t i = 0; i < j->n_leases; i++) {
		if (memcmp(j->leases[i].key, j->a.key, SIG_KEY_SIZE) == 0)
			return &j->leases[i];
	}
	return NULL;
}

/* Expiry by our clock, and the number of uses. One that left and comes back by the same invite is not counted again. */
static int use_invite(struct join *j)
{
	struct hub_request *q = j->q;
	const struct document_invite *invite = document_find_invite(j->doc, j->a.invite_key);
	const struct ipam_lease *lease = find_lease(j);
	uint64_t uses = 0;

	if (invite == NULL || document_has_member(j->doc, j->a.key))
		return 0;
	if (invite->expires_unix_s != 0 && invite->expires_unix_s < q->t->unix_s)
		return hub_refuse(q, MSG_ERROR_INVITE_REFUSED, "the invite has expired");
	if (invite->uses == 0)
		return 0;
	if (lease != NULL && memcmp(lease->invite, invite->key, SIG_KEY_SIZE) == 0)
		return 0;
	int r = store_invite_uses(q->hub->store, j->n.id, invite->key, &uses);
	if (r < 0)
		return err_up(r);
	if (uses >= invite->uses)
		return hub_refuse(q, MSG_ERROR_INVITE_REFUSED, "the invite was used up");
	r = store_invite_use(q->hub->store, j->n.id, invite->key);
	return r < 0 ? err_up(r) : 0;
}

static int check_limits(struct join *j)
{
	struct hub_request *q = j->q;
	const struct hub_limits *limits = &q->hub->limits;
	struct store_id *ids = mem_new_array(struct store_id, limits->networks_joined);
	uint64_t members = 0;
	size_t joined = 0;

	if (ids == NULL)
		return err_here(-ENOMEM);
	int r = store_networks_of(q->hub->store, j->a.key, ids, limits->networks_joined, &joined);
	mem_free(ids);
	if (r == 0)
		r = store_members_count(q->hub->store, j->n.id, &members);
	if (r < 0)
		return err_up(r);
	if (joined >= limits->networks_joined)
		return hub_refuse(q, MSG_ERROR_TOO_MANY, "one computer can be in %u networks",
		                  limits->networks_joined);
	if (members >= limits->members)
		return hub_refuse(q, MSG_ERROR_TOO_MANY, "a network can have %u computers",
		                  limits->members);
	return 0;
}

static int add_member(struct join *j)
{
	struct hub_request *q = j->q;
	const struct msg_blob *blob = &q->msg->join_network.admission;
	struct ipam_lease lease = {0};
	int r = ipam_pick(&j->doc->subnet, j->leases, j->n_leases, LEASES_MAX, j->a.key,
	                  q->t->unix_s, q->hub->address_rest_s, &lease.address);

	if (r == IPAM_FULL)
		return hub_refuse(q, MSG_ERROR_NETWORK_FULL,
		                  "the network has no free address (it holds %u computers)",
		                  ipam_capacity(&j->doc->subnet));
	memcpy(lease.key, j->a.key, SIG_KEY_SIZE);
	memcpy(lease.invite, j->a.invite_key, SIG_KEY_SIZE);
	memcpy(j->self.key, j->a.key, SIG_KEY_SIZE);
	j->self.address = lease.address;
	(void)snprintf(j->self.label, sizeof(j->self.label), "%s", j->a.label); /* same size */
	j->self.admission = mem_dup(blob->p, blob->n);
	j->self.admission_n = blob->n;
	if (j->self.admission == NULL)
		return err_here(-ENOMEM);
	r = store_lease_put(q->hub->store, j->n.id, &lease);
	if (r == 0)
		r = store_member_add(q->hub->store, j->n.id, &j->self);
	return r == 0 ? 0 : err_here(r < 0 ? r : -EUCLEAN);
}

static int join_new(struct join *j)
{
	struct hub_request *q = j->q;
	int r = check_limits(j);

	if (r == 0)
		r = store_leases(q->hub->store, j->n.id, &j->leases, &j->n_leases);
	if (r == 0)
		r = use_invite(j);
	if (r == 0)
		r = network_check_label(q, &j->a);
	if (r == 0)
		r = add_member(j);
	return r < 0 ? err_up(r) : r;
}

static int join_write(struct join *j)
{
	struct hub_request *q = j->q;
	const uint8_t *id = q->msg->join_network.network_id;
	int r = network_load(q, id, &j->n, &j->doc);

	if (r < 0)
		return err_up(r);
	r = test_admission(j); /* also of a network that does not exist */
	if (r != 0)
		return r < 0 ? err_up(r) : r;
	r = store_member_get(q->hub->store, id, j->a.key, &j->self);
	if (r == STORE_NOT_FOUND) {
		r = join_new(j);
	} else if (r == STORE_OK) {
		j->was_member = true;
		r = update_admission(q, j->doc, &j->self, &q->msg->join_network.admission,
		                     &j->renamed);
	}
	if (r == 0)
		r = expiry_touch(q->hub, &j->n, q->t->unix_s);
	return r < 0 ? err_up(r) : r;
}

int join_network(struct hub_request *q)
{
	const struct msg_join_network *m = &q->msg->join_network;
	struct join j = {.q = q};
	int r = update_parse_admission(q, m->network_id, &m->admission, &j.a);

	if (r == 0 && q->conn->n_nets >= HUB_NETWORKS_CONN && !presence_has(q->conn, m->network_id))
		r = hub_refuse(q, MSG_ERROR_TOO_MANY, "at most %d networks at a time",
		               HUB_NETWORKS_CONN);
	if (r == 0)
		r = store_begin(q->hub->store);
	if (r == 0)
		r = join_write(&j);
	if (r == 0) { /* whoever joins is connected */
		struct presence_entry e = {.reply = MSG_NETWORK_JOINED,
		                           .n = &j.n,
		                           .doc = j.doc,
		                           .self = &j.self,
		                           .is_new = !j.was_member,
		                           .is_renamed = j.renamed};

		r = presence_enter(q, &e);
	}
	if (q->is_changed && !j.was_member) {
		q->hub->stats.joins++;
		q->hub->stats.members++;
		log_limited(LOG_LEVEL_INFO, 60, "network.joined", LOG_STR("code", j.n.code));
	}
	join_deinit(&j);
	return r < 0 ? err_up(r) : r;
}
