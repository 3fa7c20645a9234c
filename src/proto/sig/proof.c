/* SPDX-License-Identifier: MIT */

#include "proto/sig/proof.h"

#include "base/bytes.h"
#include "base/err.h"
#include "crypto/hash.h"
#include "crypto/identity.h"

#include <errno.h>
#include <string.h>

/* Tag, lengths and fixed fields of every input here fit in this; the SDP comes on top. */
#define PROOF_FIXED_MAX 640

static const char role_offerer[] = "offerer";
static const char role_answerer[] = "answerer";

void proof_input_init(struct proof_input *p, const char *tag, size_t max_bytes)
{
	*p = (struct proof_input){.bytes = BUF_INIT(max_bytes)};
	proof_input_add_str(p, tag);
}

void proof_input_deinit(struct proof_input *p)
{
	buf_deinit(&p->bytes);
}

void proof_input_add(struct proof_input *p, const void *field, size_t n)
{
	uint8_t prefix[4];

	if (p->err != 0)
		return;
	if (n > UINT32_MAX) {
		p->err = err_here(-ENOBUFS);
		return;
	}
	be32_store(prefix, (uint32_t)n);
	p->err = buf_add(&p->bytes, prefix, sizeof(prefix));
	if (p->err == 0 && n > 0)
		p->err = buf_add(&p->bytes, field, n);
}

void proof_input_add_str(struct proof_input *p, const char *s)
{
	proof_input_add(p, s, strlen(s));
}

void proof_input_add_u8(struct proof_input *p, uint8_t v)
{
	proof_input_add(p, &v, sizeof(v));
}

void proof_input_add_u32(struct proof_input *p, uint32_t v)
{
	uint8_t field[4];

	be32_store(field, v);
	proof_input_add(p, field, sizeof(field));
}

void proof_input_add_u64(struct proof_input *p, uint64_t v)
{
	uint8_t field[8];

	be64_store(field, v);
	proof_input_add(p, field, sizeof(field));
}

int proof_input_hash(const struct proof_input *p, uint8_t out[static 32])
{
	if (p->err != 0)
		return err_up(p->err);
	int r = hash_sha256(p->bytes.data, p->bytes.len, out);
	return r < 0 ? err_up(r) : 0;
}

int proof_input_sign(const struct proof_input *p, const struct identity *id,
                     uint8_t sig[static SIG_SIGNATURE_SIZE])
{
	if (p->err != 0)
		return err_up(p->err);
	int r = identity_sign(id, p->bytes.data, p->bytes.len, sig);
	return r < 0 ? err_up(r) : 0;
}

int proof_input_verify(const struct proof_input *p, const uint8_t key[static SIG_KEY_SIZE],
                       const uint8_t sig[static SIG_SIGNATURE_SIZE])
{
	if (p->err != 0)
		return err_up(p->err);
	return identity_verify(key, p->bytes.data, p->bytes.len, sig) ? PROOF_OK : PROOF_BAD;
}

/* Signs and ends the input; a refused one signs nothing. */
static int sign_and_end(struct proof_input *p, const struct identity *id, uint8_t *sig)
{
	int r = proof_input_sign(p, id, sig);

	proof_input_deinit(p);
	return r < 0 ? err_up(r) : 0;
}

static int verify_and_end(struct proof_input *p, const uint8_t *key, const uint8_t *sig)
{
	int r = proof_input_verify(p, key, sig);

	proof_input_deinit(p);
	return r < 0 ? err_up(r) : r;
}

static void login_input(struct proof_input *p, const struct proof_login *login)
{
	proof_input_init(p, PROOF_TAG_LOGIN, PROOF_FIXED_MAX);
	proof_input_add_str(p, login->host);
	proof_input_add(p, login->key, sizeof(login->key));
	proof_input_add(p, login->nonce, sizeof(login->nonce));
	proof_input_add_u64(p, login->session);
}

int proof_login_sign(struct proof_login *p, const struct identity *id)
{
	struct proof_input input;

	if (strlen(p->host) > PROOF_HOST_MAX)
		return err_here(-EINVAL);
	login_input(&input, p);
	return sign_and_end(&input, id, p->sig);
}

int proof_login_verify(const struct proof_login *p)
{
	struct proof_input input;

	if (strlen(p->host) > PROOF_HOST_MAX)
		return PROOF_BAD;
	login_input(&input, p);
	return verify_and_end(&input, p->key, p->sig);
}

static void add_offer_fields(struct proof_input *p, const struct proof_offer *offer,
                             const char *role)
{
	proof_input_add(p, offer->network_id, sizeof(offer->network_id));
	proof_input_add(p, offer->from, sizeof(offer->from));
	proof_input_add(p, offer->to, sizeof(offer->to));
	proof_input_add_u32(p, offer->ip4);
	proof_input_add_u64(p, offer->session);
	proof_input_add_str(p, role);
	proof_input_add(p, offer->nonce, sizeof(offer->nonce));
	proof_input_add_str(p, offer->sdp);
}

static void offer_input(struct proof_input *p, const struct proof_offer *offer)
{
	proof_input_init(p, PROOF_TAG_OFFER, PROOF_SDP_MAX + PROOF_FIXED_MAX);
	add_offer_fields(p, offer, role_offerer);
}

static int offer_hash(const struct proof_offer *offer, uint8_t out[static 32])
{
	struct proof_input p;

	offer_input(&p, offer);
	int r = proof_input_hash(&p, out);
	proof_input_deinit(&p);
	return r < 0 ? err_up(r) : 0;
}

/* The answer's own fields, then the whole offer. p is initialised also when the result is negative. */
static int answer_input(struct proof_input *p, const struct proof_offer *answer,
                        const struct proof_offer *offer)
{
	uint8_t hash[32];

	proof_input_init(p, PROOF_TAG_ANSWER, PROOF_SDP_MAX + PROOF_FIXED_MAX);
	int r = offer_hash(offer, hash);
	if (r < 0)
		return err_up(r);
	add_offer_fields(p, answer, role_answerer);
	proof_input_add(p, hash, sizeof(hash));
	proof_input_add(p, offer->sig, sizeof(offer->sig));
	return 0;
}

static bool sdp_fits(const struct proof_offer *offer)
{
	return strnlen(offer->sdp, PROOF_SDP_MAX + 1) <= PROOF_SDP_MAX;
}

static bool is_answer_to(const struct proof_offer *answer, const struct proof_offer *offer)
{
	return sdp_fits(answer) && sdp_fits(offer) &&
	       memcmp(answer->network_id, offer->network_id, NETID_SIZE) == 0 &&
	       memcmp(answer->from, offer->to, SIG_KEY_SIZE) == 0 &&
	       memcmp(answer->to, offer->from, SIG_KEY_SIZE) == 0;
}

int proof_offer_sign(struct proof_offer *offer, const struct identity *id)
{
	struct proof_input p;

	if (!sdp_fits(offer))
		return err_here(-EINVAL);
	offer_input(&p, offer);
	return sign_and_end(&p, id, offer->sig);
}

int proof_offer_verify(const struct proof_offer *offer)
{
	struct proof_input p;

	if (!sdp_fits(offer))
		return PROOF_BAD;
	offer_input(&p, offer);
	return verify_and_end(&p, offer->from, offer->sig);
}

int proof_answer_sign(struct proof_offer *answer, const struct proof_offer *offer,
                      const struct identity *id)
{
	struct proof_input p;

	if (!is_answer_to(answer, offer))
		return err_here(-EINVAL);
	int r = answer_input(&p, answer, offer);
	if (r < 0) {
		proof_input_deinit(&p);
		return err_up(r);
	}
	return sign_and_end(&p, id, answer->sig);
}

int proof_answer_verify(const struct proof_offer *answer, const struct proof_offer *offer)
{
	struct proof_input p;

	if (!is_answer_to(answer, offer))
		return PROOF_BAD;
	int r = answer_input(&p, answer, offer);
	if (r < 0) {
		proof_input_deinit(&p);
		return err_up(r);
	}
	return verify_and_end(&p, answer->from, answer->sig);
}

static int confirm_input(struct proof_input *p, const struct proof_offer *offer,
                         const struct proof_offer *answer)
{
	struct proof_input inner;
	uint8_t hash[32];

	proof_input_init(p, PROOF_TAG_CONFIRM, PROOF_FIXED_MAX);
	int r = offer_hash(offer, hash);
	if (r < 0)
		return err_up(r);
	proof_input_add(p, hash, sizeof(hash));
	proof_input_add(p, offer->sig, sizeof(offer->sig));

	r = answer_input(&inner, answer, offer);
	if (r == 0)
		r = proof_input_hash(&inner, hash);
	proof_input_deinit(&inner);
	if (r < 0)
		return err_up(r);
	proof_input_add(p, hash, sizeof(hash));
	proof_input_add(p, answer->sig, sizeof(answer->sig));
	return 0;
}

int proof_confirm_sign(const struct proof_offer *offer, const struct proof_offer *answer,
                       const struct identity *id, uint8_t sig[static SIG_SIGNATURE_SIZE])
{
	struct proof_input p;

	if (!is_answer_to(answer, offer))
		return err_here(-EINVAL);
	int r = confirm_input(&p, offer, answer);
	if (r < 0) {
		proof_input_deinit(&p);
		return err_up(r);
	}
	return sign_and_end(&p, id, sig);
}

int proof_confirm_verify(const struct proof_offer *offer, const struct proof_offer *answer,
                         const uint8_t sig[static SIG_SIGNATURE_SIZE])
{
	struct proof_input p;

	if (!is_answer_to(answer, offer))
		return PROOF_BAD;
	int r = confirm_input(&p, offer, answer);
	if (r < 0) {
		proof_input_deinit(&p);
		return err_up(r);
	}
	return verify_and_end(&p, offer->from, sig);
}

static void leave_input(struct proof_input *p, const struct proof_leave *leave)
{
	proof_input_init(p, PROOF_TAG_LEAVE, PROOF_FIXED_MAX);
	proof_input_add(p, leave->network_id, sizeof(leave->network_id));
	proof_input_add(p, leave->key, sizeof(leave->key));
	proof_input_add_u64(p, leave->session);
	proof_input_add_u64(p, (uint64_t)leave->unix_s);
}

int proof_leave_sign(struct proof_leave *p, const struct identity *id)
{
	struct proof_input input;

	leave_input(&input, p);
	return sign_and_end(&input, id, p->sig);
}

int proof_leave_verify(const struct proof_leave *p)
{
	struct proof_input input;

	leave_input(&input, p);
	return verify_and_end(&input, p->key, p->sig);
}
