/* SPDX-License-Identifier: MIT */

/* Newer network documents (name, invites, kick) and newer admissions (a member's names). */

#include "base/err.h"
#include "base/log.h"
#include "engine/server/hub_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

LOG_MODULE("update");

#define SUGGESTIONS 99

/* ---- admissions ---- */

int update_parse_admission(struct hub_request *q, const uint8_t id[static NETID_SIZE],
                           const struct msg_blob *blob, struct admission *out)
{
	struct diag diag = {0};
	int r = admission_parse(out, blob->p, blob->n, &diag);

	if (r < 0)
		return err_up(r);
	if (r != ADMISSION_OK)
		return hub_refuse(q, MSG_ERROR_BAD_REQUEST, "admission: %s", diag.text);
	if (memcmp(out->network_id, id, NETID_SIZE) != 0 ||
	    memcmp(out->key, q->conn->key, SIG_KEY_SIZE) != 0)
		return hub_refuse(q, MSG_ERROR_BAD_REQUEST,
		                  "the admission is of another network or computer");
	/* It could not be replaced until that time has come. */
	if (out->unix_s > q->t->unix_s + HUB_CLOCK_AHEAD_MAX_S)
		return hub_refuse(q, MSG_ERROR_BAD_REQUEST,
		                  "the clock of this computer is ahead by more than %d minutes",
		                  HUB_CLOCK_AHEAD_MAX_S / 60);
	return 0;
}

/* A free label near the wished one, for the refusal; without one the suggestion stays empty. */
static int suggest(struct hub_request *q, const struct admission *a)
{
	char label[ADMISSION_LABEL_MAX + 1];

	for (unsigned i = 2; i <= SUGGESTIONS; i++) {
		bool used = false;

		/* Room for "-99". */
		(void)snprintf(label, sizeof(label), "%.*s-%u", ADMISSION_LABEL_MAX - 3, a->label,
		               i);
		int r = store_label_used(q->hub->store, a->network_id, label, a->key, &used);
		if (r < 0)
			return err_up(r);
		if (!used) {
			memcpy(q->suggestion, label, sizeof(q->suggestion));
			return 0;
		}
	}
	return 0;
}

int network_check_label(struct hub_request *q, const struct admission *a)
{
	bool used = false;
	int r = store_label_used(q->hub->store, a->network_id, a->label, a->key, &used);

	if (r == 0 && used)
		r = suggest(q, a);
	if (r < 0)
		return err_up(r);
	if (!used)
		return 0;
	return hub_refuse(q, MSG_ERROR_NAME_TAKEN, "another computer of the network is named %s",
	                  a->label);
}

int update_admission(struct hub_request *q, const struct document *doc, struct store_member *old,
                     const struct msg_blob *blob, bool *changed)
{
	struct admission have, a;
	struct diag diag = {0};

	*changed = false;
	if (old->admission_n == blob->n && memcmp(old->admission, blob->p, blob->n) == 0)
		return 0;
	int r = update_parse_admission(q, doc->network_id, blob, &a);
	if (r != 0)
		return r < 0 ? err_up(r) : r;
	if (admission_parse(&have, old->admission, old->admission_n, NULL) != ADMISSION_OK)
		return err_here(-EUCLEAN);
	if (!admission_is_newer(&have, &a))
		return 0; /* what is stored stands */
	r = admission_verify(&a, doc, &diag);
	if (r > 0)
		return hub_refuse(q, MSG_ERROR_BAD_REQUEST, "admission: %s", diag.text);
	if (r == 0)
		r = network_check_label(q, &a);
	if (r != 0)
		return r < 0 ? err_up(r) : r;
	uint8_t *copy = mem_dup(blob->p, blob->n);
	if (copy == NULL)
		return err_here(-ENOMEM);
	mem_free(old->admission);
	old->admission = copy;
	old->admission_n = blob->n;
	(void)snprintf(old->label, sizeof(old->label), "%s", a.label); /* same size */
	r = store_member_set(q->hub->store, doc->network_id, old);
	if (r != 0)
		return err_here(r < 0 ? r : -EUCLEAN);
	*changed = true;
	return 0;
}

static int renew(struct hub_request *q, const uint8_t id[static NETID_SIZE],
                 const struct document *doc, struct store_member *self, bool *changed)
{
	int r = store_member_get(q->hub->store, id, q->conn->key, self);

	if (r == STORE_NOT_FOUND)
		return hub_refuse(q, MSG_ERROR_NOT_MEMBER,
		                  "this computer is not a member of the network");
	if (r == 0)
		r = update_admission(q, doc, self, &q->msg->update_client_info.admission, changed);
	return r < 0 ? err_up(r) : r;
}

int update_client_info(struct hub_request *q)
{
	const uint8_t *id = q->msg->update_client_info.network_id;
	struct msg reply = {.type = MSG_UPDATE_CLIENT_INFO_RESPONSE};
	struct msg notice = {.type = MSG_COMPUTER_RENAMED};
	struct store_network n = {0};
	struct store_member self = {0};
	struct document *doc = NULL;
	bool changed = false;
	int r = store_begin(q->hub->store);

	if (r == 0)
		r = network_load(q, id, &n, &doc);
	if (r == 0)
		r = renew(q, id, doc, &self, &changed);
	if (r == 0)
		r = store_commit(q->hub->store);
	if (r == 0) {
		memcpy(reply.network_ref.network_id, id, NETID_SIZE);
		hub_reply(q, &reply);
	}
	if (r == 0 && changed) {
		memcpy(notice.computer_renamed.network_id, id, NETID_SIZE);
		memcpy(notice.computer_renamed.key, self.key, SIG_KEY_SIZE);
		notice.computer_renamed.admission =
			(struct msg_blob){.p = self.admission, .n = self.admission_n};
		hub_broadcast(q->hub, id, q->conn, &notice);
	}
	store_network_deinit(&n);
	store_member_deinit(&self);
	document_free(doc);
	return r < 0 ? err_up(r) : r;
}

/* ---- documents ---- */

/* Removes from the store who is no member any more, and moves them to the front of the array. */
static int remove_others(struct hub_request *q, const struct document *doc,
                         struct store_member *members, size_t n, size_t *out_removed)
{
	size_t removed = 0;

	for (size_t i = 0; i < n; i++) {
		struct admission a;

		if (admission_parse(&a, members[i].admission, members[i].admission_n, NULL) !=
		    ADMISSION_OK)
			return err_here(-EUCLEAN);
		if (admission_still_holds(&a, doc))
			continue;
		int r = store_member_remove(q->hub->store, doc->network_id, a.key);
		if (r == 0)
			r = store_lease_release(q->hub->store, doc->network_id, a.key,
			                        q->t->unix_s);
		if (r != 0)
			return err_here(r < 0 ? r : -EUCLEAN);
		struct store_member swap = members[removed];
		members[removed++] = members[i];
		members[i] = swap;
	}
	*out_removed = removed;
	return 0;
}

static int forget_invites(struct hub_request *q, const struct document *doc)
{
	struct store_key *used = NULL;
	size_t n = 0;
	int r = store_invites(q->hub->store, doc->network_id, &used, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (document_find_invite(doc, used[i].b) == NULL)
			r = store_invite_forget(q->hub->store, doc->network_id, used[i].b);
	}
	mem_free(used);
	return r < 0 ? err_up(r) : 0;
}

/*
 * The owner's next document follows the stored one. One that skips epochs was signed while the server could not be reached,
 * and is taken: the owner's signature is the authority.
 */
static int check_follows(struct hub_request *q, const struct document *have,
                         const struct document *doc)
{
	if (doc->epoch <= have->epoch)
		return hub_refuse(q, MSG_ERROR_STALE_DOCUMENT,
		                  "the server has epoch %llu of the network document",
		                  (unsigned long long)have->epoch);
	if (doc->epoch == have->epoch + 1 &&
	    memcmp(doc->previous, have->hash, DOCUMENT_HASH_SIZE) != 0)
		return hub_refuse(q, MSG_ERROR_STALE_DOCUMENT,
		                  "the document does not follow the one the server has");
	if (doc->subnet.bits != have->subnet.bits ||
	    !netaddr_ip_equal(&doc->subnet.addr, &have->subnet.addr))
		return hub_refuse(q, MSG_ERROR_SUBNET_CONFLICT,
		                  "the subnet of a network cannot be changed");
	return 0;
}

static int parse_next(struct hub_request *q, struct document **out)
{
	const struct msg_update_document *u = &q->msg->update_document;
	struct diag diag = {0};
	int r = document_parse(out, u->document.p, u->document.n, u->network_id, &diag);

	if (r < 0)
		return err_up(r);
	if (r == DOCUMENT_BAD_SIG)
		return hub_refuse(q, MSG_ERROR_NOT_OWNER,
		                  "the network document is not signed by its owner");
	if (r == DOCUMENT_FOREIGN)
		return hub_refuse(q, MSG_ERROR_NOT_OWNER,
		                  "the network document is of another network");
	if (r != DOCUMENT_OK)
		return hub_refuse(q, MSG_ERROR_BAD_REQUEST, "network document: %s", diag.text);
	return 0;
}

/* Inside a transaction. *same: the server has exactly this document already. */
static int write_document(struct hub_request *q, const struct document *doc,
                          struct store_member **members, size_t *n, size_t *removed, bool *same)
{
	const struct msg_blob *blob = &q->msg->update_document.document;
	struct store_network row = {0};
	struct document *have = NULL;
	int r = network_load(q, doc->network_id, &row, &have);

	if (r == 0) {
		*same = row.document_n == blob->n && memcmp(row.document, blob->p, blob->n) == 0;
		if (!*same)
			r = check_follows(q, have, doc);
	}
	if (r == 0 && !*same) {
		r = store_network_set_document(q->hub->store, doc->network_id, doc->epoch, blob->p,
		                               blob->n);
		if (r == 0)
			r = store_members(q->hub->store, doc->network_id, members, n);
		if (r == 0)
			r = remove_others(q, doc, *members, *n, removed);
		if (r == 0)
			r = forget_invites(q, doc);
		if (r == 0)
			r = guard_reset(q->hub, doc->network_id);
		if (r == 0)
			r = expiry_touch(q->hub, &row, q->t->unix_s);
	}
	store_network_deinit(&row);
	document_free(have);
	return r < 0 ? err_up(r) : r;
}

static void tell_kicked(struct hub_request *q, const struct document *doc,
                        const struct store_member *m)
{
	struct msg kicked = {.type = MSG_KICKED,
	                     .kicked = {.document = q->msg->update_document.document}};
	struct msg left = {.type = MSG_COMPUTER_LEFT};
	struct hub_conn *c = hub_find(q->hub, m->key);

	q->hub->stats.kicks++;
	q->hub->stats.members--;
	if (c != NULL) {
		memcpy(kicked.kicked.network_id, doc->network_id, NETID_SIZE);
		kicked.kicked.reason = document_is_banned(doc, m->key)
		                               ? "removed by the owner"
		                               : "the invite it joined by was withdrawn";
		presence_remove(q->hub, c, doc->network_id);
		hub_send(q->hub, c, &kicked);
	}
	memcpy(left.computer_left.network_id, doc->network_id, NETID_SIZE);
	memcpy(left.computer_left.key, m->key, SIG_KEY_SIZE);
	hub_broadcast(q->hub, doc->network_id, c, &left);
}

static void tell_document(struct hub_request *q, const struct document *doc,
                          const struct store_member *removed, size_t n_removed, bool same)
{
	struct msg m = {.type = MSG_DOCUMENT_UPDATED};

	memcpy(m.document_updated.network_id, doc->network_id, NETID_SIZE);
	hub_reply(q, &m);
	if (same)
		return;
	struct msg notice = {.type = MSG_DOCUMENT_UPDATED,
	                     .document_updated = {.document = q->msg->update_document.document}};
	memcpy(notice.document_updated.network_id, doc->network_id, NETID_SIZE);
	for (size_t i = 0; i < n_removed; i++)
		tell_kicked(q, doc, &removed[i]);
	hub_broadcast(q->hub, doc->network_id, q->conn, &notice);
	log_limited(LOG_LEVEL_INFO, 60, "network.document", LOG_U64("epoch", doc->epoch),
	            LOG_U64("removed", n_removed));
}

int update_document(struct hub_request *q)
{
	struct document *doc = NULL;
	struct store_member *members = NULL;
	size_t n = 0, removed = 0;
	bool same = false;
	int r = parse_next(q, &doc);

	if (r == 0)
		r = store_begin(q->hub->store);
	if (r == 0)
		r = write_document(q, doc, &members, &n, &removed, &same);
	if (r == 0)
		r = store_commit(q->hub->store);
	if (r == 0)
		tell_document(q, doc, members, removed, same);
	store_members_free(members, n);
	document_free(doc);
	return r < 0 ? err_up(r) : r;
}
