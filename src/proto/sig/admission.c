/* SPDX-License-Identifier: MIT */

#include "proto/sig/admission.h"

#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/text.h"
#include "crypto/identity.h"
#include "proto/sig/document.h"
#include "proto/sig/proof.h"

#include <errno.h>
#include <string.h>

#define VERSION   1
#define TIME_MAX  ((UINT64_C(1) << 53) - 1)
#define INPUT_MAX (ADMISSION_SIZE_MAX + 64)

static const uint8_t zeroes[SIG_SIGNATURE_SIZE];

static bool time_is_ok(int64_t unix_s)
{
	return unix_s >= 0 && (uint64_t)unix_s <= TIME_MAX;
}

static bool has_invite(const struct admission *a)
{
	return memcmp(a->invite_key, zeroes, SIG_KEY_SIZE) != 0;
}

static bool names_are_ok(const struct admission *a, struct diag *diag)
{
	if (!text_is_name(a->name, ADMISSION_NAME_MAX)) {
		diag_set(diag,
		         "A computer name has 1 to %d bytes of printable UTF-8 and no space "
		         "at its ends.",
		         ADMISSION_NAME_MAX);
		return false;
	}
	if (!text_is_label(a->label)) {
		diag_set(diag, "A label has 1 to %d of a-z, 0-9 and '-', no '-' at its ends.",
		         ADMISSION_LABEL_MAX);
		return false;
	}
	return true;
}

/* Everything but the member's signature. */
static void write_body(struct bytes_writer *w, const struct admission *a)
{
	size_t name_len = strlen(a->name);
	size_t label_len = strlen(a->label);

	bytes_write_u8(w, VERSION);
	bytes_write(w, a->network_id, sizeof(a->network_id));
	bytes_write(w, a->key, sizeof(a->key));
	bytes_write(w, a->invite_key, sizeof(a->invite_key));
	bytes_write_u64(w, (uint64_t)a->joined_unix_s);
	bytes_write(w, a->invite_sig, sizeof(a->invite_sig));
	bytes_write_u8(w, (uint8_t)name_len);
	bytes_write(w, a->name, name_len);
	bytes_write_u8(w, (uint8_t)label_len);
	bytes_write(w, a->label, label_len);
	bytes_write_u64(w, (uint64_t)a->unix_s);
}

static void member_input(struct proof_input *p, const struct admission *a)
{
	uint8_t body[ADMISSION_SIZE_MAX];
	struct bytes_writer w = bytes_writer(body, sizeof(body));

	write_body(&w, a);
	proof_input_init(p, PROOF_TAG_ADMISSION, INPUT_MAX);
	proof_input_add(p, body, w.used);
}

static void invite_input(struct proof_input *p, const struct admission *a)
{
	proof_input_init(p, PROOF_TAG_INVITE, INPUT_MAX);
	proof_input_add(p, a->network_id, sizeof(a->network_id));
	proof_input_add(p, a->key, sizeof(a->key));
	proof_input_add_u64(p, (uint64_t)a->joined_unix_s);
}

int admission_sign_invite(struct admission *a, const struct identity *invite)
{
	struct proof_input p;

	invite_input(&p, a);
	int r = proof_input_sign(&p, invite, a->invite_sig);
	proof_input_deinit(&p);
	if (r < 0)
		return err_up(r);
	identity_public(invite, a->invite_key);
	return 0;
}

int admission_sign(struct admission *a, const struct identity *member)
{
	struct proof_input p;

	if (!names_are_ok(a, NULL) || !time_is_ok(a->joined_unix_s) || !time_is_ok(a->unix_s))
		return err_here(-EINVAL);
	member_input(&p, a);
	int r = proof_input_sign(&p, member, a->sig);
	proof_input_deinit(&p);
	return r < 0 ? err_up(r) : 0;
}

size_t admission_encode(const struct admission *a, uint8_t out[static ADMISSION_SIZE_MAX])
{
	struct bytes_writer w = bytes_writer(out, ADMISSION_SIZE_MAX);

	write_body(&w, a);
	bytes_write(&w, a->sig, sizeof(a->sig));
	return w.used;
}

static int bad(struct diag *diag, const char *what)
{
	diag_set(diag, "admission: %s", what);
	return ADMISSION_BAD;
}

/* A length byte and as much text; false when it does not fit or has a NUL inside. */
static bool read_text(struct bytes_reader *r, char *out, size_t max)
{
	size_t n = bytes_read_u8(r);

	if (n > max || !bytes_read_into(r, out, n))
		return false;
	out[n] = '\0';
	return strlen(out) == n;
}

int admission_parse(struct admission *out, const void *bytes, size_t n, struct diag *diag)
{
	struct bytes_reader r = bytes_reader(bytes, n);
	struct admission a = {0};

	if (bytes_read_u8(&r) != VERSION)
		return bad(diag, "unknown version");
	bytes_read_into(&r, a.network_id, sizeof(a.network_id));
	bytes_read_into(&r, a.key, sizeof(a.key));
	bytes_read_into(&r, a.invite_key, sizeof(a.invite_key));
	uint64_t joined = bytes_read_u64(&r);
	bytes_read_into(&r, a.invite_sig, sizeof(a.invite_sig));
	if (!read_text(&r, a.name, ADMISSION_NAME_MAX) ||
	    !read_text(&r, a.label, ADMISSION_LABEL_MAX))
		return bad(diag, "cut short, or a text is too long");
	uint64_t unix_s = bytes_read_u64(&r);
	bytes_read_into(&r, a.sig, sizeof(a.sig));
	if (!r.ok || r.left != 0)
		return bad(diag, r.ok ? "bytes behind the signature" : "cut short");
	if (joined > TIME_MAX || unix_s > TIME_MAX)
		return bad(diag, "time out of range");
	a.joined_unix_s = (int64_t)joined;
	a.unix_s = (int64_t)unix_s;
	if (!has_invite(&a) && memcmp(a.invite_sig, zeroes, sizeof(a.invite_sig)) != 0)
		return bad(diag, "an invite's signature without its key");
	if (!names_are_ok(&a, diag))
		return ADMISSION_BAD_NAME;
	*out = a;
	return ADMISSION_OK;
}

static int refuse(struct diag *diag, enum admission_result result, const char *why)
{
	diag_set(diag, "%s", why);
	return (int)result;
}

static int verify_invite(const struct admission *a, const struct document *doc, struct diag *diag)
{
	struct proof_input p;

	if (!has_invite(a))
		return refuse(diag, ADMISSION_NOT_A_MEMBER,
		              "This computer is not a member of the network.");
	const struct document_invite *invite = document_find_invite(doc, a->invite_key);
	if (invite == NULL)
		return refuse(diag, ADMISSION_INVITE_UNKNOWN,
		              "The invite is not valid, or not any more.");
	invite_input(&p, a);
	int r = proof_input_verify(&p, a->invite_key, a->invite_sig);
	proof_input_deinit(&p);
	if (r < 0)
		return err_up(r);
	if (r != PROOF_OK)
		return refuse(diag, ADMISSION_BAD_SIGNATURE,
		              "The invite did not sign this admission.");
	if (invite->expires_unix_s != 0 && a->joined_unix_s > invite->expires_unix_s)
		return refuse(diag, ADMISSION_INVITE_EXPIRED, "The invite has expired.");
	return ADMISSION_OK;
}

int admission_verify(const struct admission *a, const struct document *doc, struct diag *diag)
{
	struct proof_input p;

	if (!names_are_ok(a, diag))
		return ADMISSION_BAD_NAME;
	if (memcmp(a->network_id, doc->network_id, NETID_SIZE) != 0)
		return refuse(diag, ADMISSION_BAD_SIGNATURE,
		              "The admission is for another network.");
	member_input(&p, a);
	int r = proof_input_verify(&p, a->key, a->sig);
	proof_input_deinit(&p);
	if (r < 0)
		return err_up(r);
	if (r != PROOF_OK)
		return refuse(diag, ADMISSION_BAD_SIGNATURE,
		              "The admission is not signed by the computer.");
	if (document_is_banned(doc, a->key))
		return refuse(diag, ADMISSION_BANNED,
		              "This computer was banned from the network by its owner.");
	if (memcmp(a->key, doc->owner, SIG_KEY_SIZE) == 0 || document_has_member(doc, a->key))
		return ADMISSION_OK;
	r = verify_invite(a, doc, diag);
	return r < 0 ? err_up(r) : r;
}

bool admission_still_holds(const struct admission *a, const struct document *doc)
{
	if (document_is_banned(doc, a->key))
		return false;
	if (memcmp(doc->owner, a->key, SIG_KEY_SIZE) == 0 || document_has_member(doc, a->key))
		return true;
	const struct document_invite *invite = document_find_invite(doc, a->invite_key);
	return invite != NULL &&
	       (invite->expires_unix_s == 0 || a->joined_unix_s <= invite->expires_unix_s);
}

bool admission_is_newer(const struct admission *older, const struct admission *newer)
{
	return memcmp(older->network_id, newer->network_id, NETID_SIZE) == 0 &&
	       memcmp(older->key, newer->key, SIG_KEY_SIZE) == 0 && newer->unix_s > older->unix_s;
}
