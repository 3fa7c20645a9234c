/* SPDX-License-Identifier: MIT */

#include "base/bytes.h"
#include "base/mem.h"
#include "crypto/hash.h"
#include "crypto/identity.h"
#include "proto/sig/proof.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct identity *a, *b;
	struct proof_offer offer, answer;
	uint8_t confirm[SIG_SIGNATURE_SIZE];
};

static struct identity *make_identity(uint8_t fill)
{
	uint8_t seed[IDENTITY_SEED_SIZE];
	struct identity *id = NULL;

	memset(seed, fill, sizeof(seed));
	assert_int_equal(identity_from_seed(&id, seed), 0);
	return id;
}

static void setup(struct fixture *f)
{
	*f = (struct fixture){.a = make_identity(1), .b = make_identity(2)};
	f->offer = (struct proof_offer){.ip4 = 0x0a141e01, .session = 0x1122334455667788};
	f->offer.sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n";
	memset(f->offer.network_id, 9, NETID_SIZE);
	memset(f->offer.nonce, 3, PROOF_NONCE_SIZE);
	identity_public(f->a, f->offer.from);
	identity_public(f->b, f->offer.to);
	assert_int_equal(proof_offer_sign(&f->offer, f->a), 0);

	f->answer =
		(struct proof_offer){.ip4 = 0x0a141e02, .session = 77, .sdp = "v=0\r\nanswer\r\n"};
	memset(f->answer.network_id, 9, NETID_SIZE);
	memset(f->answer.nonce, 4, PROOF_NONCE_SIZE);
	identity_public(f->b, f->answer.from);
	identity_public(f->a, f->answer.to);
	assert_int_equal(proof_answer_sign(&f->answer, &f->offer, f->b), 0);
	assert_int_equal(proof_confirm_sign(&f->offer, &f->answer, f->a, f->confirm), 0);
}

static void teardown(struct fixture *f)
{
	identity_free(f->a);
	identity_free(f->b);
}

static bool verifies_all(const struct fixture *f)
{
	return proof_offer_verify(&f->offer) == PROOF_OK &&
	       proof_answer_verify(&f->answer, &f->offer) == PROOF_OK &&
	       proof_confirm_verify(&f->offer, &f->answer, f->confirm) == PROOF_OK;
}

static void proof_input_fields_moved_between_them_differ(void **state)
{
	struct proof_input a, b;
	uint8_t hash_a[32], hash_b[32];

	(void)state;
	proof_input_init(&a, "tag", 100);
	proof_input_add_str(&a, "ab");
	proof_input_add_str(&a, "c");
	proof_input_init(&b, "tag", 100);
	proof_input_add_str(&b, "a");
	proof_input_add_str(&b, "bc");
	assert_int_equal(proof_input_hash(&a, hash_a), 0);
	assert_int_equal(proof_input_hash(&b, hash_b), 0);
	assert_memory_not_equal(hash_a, hash_b, 32);
	proof_input_deinit(&a);
	proof_input_deinit(&b);
}

static void proof_input_known_fields_have_documented_bytes(void **state)
{
	static const uint8_t want[] = {0, 0, 0, 1, 't', 0, 0, 0, 2, 'a', 'b', 0, 0, 0,
	                               0, 0, 0, 0, 1,   5, 0, 0, 0, 4,   0,   0, 1, 2,
	                               0, 0, 0, 8, 1,   2, 3, 4, 5, 6,   7,   8};
	struct proof_input p;

	(void)state;
	proof_input_init(&p, "t", 100);
	proof_input_add_str(&p, "ab");
	proof_input_add(&p, NULL, 0);
	proof_input_add_u8(&p, 5);
	proof_input_add_u32(&p, 0x102);
	proof_input_add_u64(&p, 0x0102030405060708);
	assert_int_equal(p.bytes.len, sizeof(want));
	assert_memory_equal(p.bytes.data, want, sizeof(want));
	proof_input_deinit(&p);
}

static void proof_input_above_maximum_fails_at_the_end(void **state)
{
	struct proof_input p;
	uint8_t hash[32];

	(void)state;
	proof_input_init(&p, "tag", 10);
	proof_input_add_str(&p, "four");
	proof_input_add_u8(&p, 1);
	assert_int_equal(proof_input_hash(&p, hash), -ENOBUFS);
	proof_input_deinit(&p);
}

static void proof_login_any_flipped_bit_is_bad(void **state)
{
	struct identity *id = make_identity(5);
	struct proof_login p = {.host = "vpn.example.org:443", .session = 42};

	(void)state;
	identity_public(id, p.key);
	memset(p.nonce, 8, sizeof(p.nonce));
	assert_int_equal(proof_login_sign(&p, id), 0);
	assert_int_equal(proof_login_verify(&p), PROOF_OK);

	/* Every bit of the struct behind the host pointer; padding there is none. */
	uint8_t *bytes = (uint8_t *)&p;
	for (size_t i = offsetof(struct proof_login, key); i < sizeof(p); i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			bytes[i] ^= (uint8_t)(1u << bit);
			assert_int_equal(proof_login_verify(&p), PROOF_BAD);
			bytes[i] ^= (uint8_t)(1u << bit);
		}
	}
	p.host = "vpn.example.org:444";
	assert_int_equal(proof_login_verify(&p), PROOF_BAD);
	identity_free(id);
}

static void proof_login_overlong_host_is_refused(void **state)
{
	struct identity *id = make_identity(5);
	char host[PROOF_HOST_MAX + 2];
	struct proof_login p = {.host = host};

	(void)state;
	memset(host, 'a', sizeof(host));
	host[PROOF_HOST_MAX + 1] = '\0';
	identity_public(id, p.key);
	assert_int_equal(proof_login_sign(&p, id), -EINVAL);
	assert_int_equal(proof_login_verify(&p), PROOF_BAD);
	host[PROOF_HOST_MAX] = '\0';
	assert_int_equal(proof_login_sign(&p, id), 0);
	assert_int_equal(proof_login_verify(&p), PROOF_OK);
	identity_free(id);
}

static void proof_chain_untouched_verifies(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_true(verifies_all(&f));
	teardown(&f);
}

/* Flips every bit of one member of a proof_offer and restores it. */
static void flip_member(struct fixture *f, struct proof_offer *p, size_t at, size_t n)
{
	uint8_t *bytes = (uint8_t *)p + at;

	for (size_t i = 0; i < n; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			bytes[i] ^= (uint8_t)(1u << bit);
			if (p == &f->offer) {
				assert_int_equal(proof_offer_verify(p), PROOF_BAD);
				if (at != offsetof(struct proof_offer, sig))
					assert_int_equal(proof_answer_verify(&f->answer, p),
					                 PROOF_BAD);
			}
			assert_int_equal(proof_answer_verify(&f->answer, &f->offer), PROOF_BAD);
			assert_int_equal(proof_confirm_verify(&f->offer, &f->answer, f->confirm),
			                 PROOF_BAD);
			bytes[i] ^= (uint8_t)(1u << bit);
		}
	}
	assert_true(verifies_all(f));
}

static void proof_chain_any_flipped_bit_is_bad(void **state)
{
	static const struct {
		size_t at, n;
	} members[] = {
		{offsetof(struct proof_offer, network_id), NETID_SIZE},
		{offsetof(struct proof_offer, from), SIG_KEY_SIZE},
		{offsetof(struct proof_offer, to), SIG_KEY_SIZE},
		{offsetof(struct proof_offer, ip4), 4},
		{offsetof(struct proof_offer, session), 8},
		{offsetof(struct proof_offer, nonce), PROOF_NONCE_SIZE},
		{offsetof(struct proof_offer, sig), SIG_SIGNATURE_SIZE},
	};
	struct fixture f;

	(void)state;
	setup(&f);
	for (size_t i = 0; i < GV_ARRAY_SIZE(members); i++) {
		flip_member(&f, &f.offer, members[i].at, members[i].n);
		flip_member(&f, &f.answer, members[i].at, members[i].n);
	}
	for (size_t i = 0; i < sizeof(f.confirm); i++) {
		f.confirm[i] ^= 1;
		assert_int_equal(proof_confirm_verify(&f.offer, &f.answer, f.confirm), PROOF_BAD);
		f.confirm[i] ^= 1;
	}
	teardown(&f);
}

static void flip_sdp(struct fixture *f, struct proof_offer *p)
{
	const char *sdp = p->sdp;
	char copy[64];

	(void)snprintf(copy, sizeof(copy), "%s", sdp);
	p->sdp = copy;
	for (size_t i = 0; i < strlen(sdp); i++) {
		copy[i] ^= 1;
		assert_false(verifies_all(f));
		assert_int_equal(proof_confirm_verify(&f->offer, &f->answer, f->confirm),
		                 PROOF_BAD);
		copy[i] ^= 1;
	}
	p->sdp = sdp;
	assert_true(verifies_all(f));
}

static void proof_chain_changed_sdp_is_bad(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	flip_sdp(&f, &f.offer);
	flip_sdp(&f, &f.answer);
	teardown(&f);
}

/* A second writer of signature inputs, by the table in docs/protocol.md. */
struct by_hand {
	uint8_t bytes[1024];
	size_t n;
};

static void put(struct by_hand *b, const void *field, size_t n)
{
	assert_true(b->n + 4 + n <= sizeof(b->bytes));
	be32_store(b->bytes + b->n, (uint32_t)n);
	memcpy(b->bytes + b->n + 4, field, n);
	b->n += 4 + n;
}

static void put_description(struct by_hand *b, const char *tag, const struct proof_offer *o,
                            const char *role)
{
	uint8_t ip4[4], session[8];

	be32_store(ip4, o->ip4);
	be64_store(session, o->session);
	put(b, tag, strlen(tag));
	put(b, o->network_id, NETID_SIZE);
	put(b, o->from, SIG_KEY_SIZE);
	put(b, o->to, SIG_KEY_SIZE);
	put(b, ip4, sizeof(ip4));
	put(b, session, sizeof(session));
	put(b, role, strlen(role));
	put(b, o->nonce, PROOF_NONCE_SIZE);
	put(b, o->sdp, strlen(o->sdp));
}

static void put_hash(struct by_hand *b, const struct by_hand *of)
{
	uint8_t hash[HASH_SHA256_SIZE];

	assert_int_equal(hash_sha256(of->bytes, of->n, hash), 0);
	put(b, hash, sizeof(hash));
}

static void proof_chain_signs_the_documented_bytes(void **state)
{
	static struct by_hand offer, answer, confirm;
	struct fixture f;

	(void)state;
	setup(&f);
	offer.n = answer.n = confirm.n = 0;
	put_description(&offer, "goVPN/1 offer", &f.offer, "offerer");
	assert_true(identity_verify(f.offer.from, offer.bytes, offer.n, f.offer.sig));

	put_description(&answer, "goVPN/1 answer", &f.answer, "answerer");
	put_hash(&answer, &offer);
	put(&answer, f.offer.sig, SIG_SIGNATURE_SIZE);
	assert_true(identity_verify(f.answer.from, answer.bytes, answer.n, f.answer.sig));

	put(&confirm, "goVPN/1 confirm", strlen("goVPN/1 confirm"));
	put_hash(&confirm, &offer);
	put(&confirm, f.offer.sig, SIG_SIGNATURE_SIZE);
	put_hash(&confirm, &answer);
	put(&confirm, f.answer.sig, SIG_SIGNATURE_SIZE);
	assert_true(identity_verify(f.offer.from, confirm.bytes, confirm.n, f.confirm));
	teardown(&f);
}

static void proof_login_and_leave_sign_the_documented_bytes(void **state)
{
	struct identity *id = make_identity(5);
	struct proof_login login = {.host = "[::1]:8443", .session = 42};
	struct proof_leave leave = {.session = 42, .unix_s = 1700000000};
	struct by_hand a = {0}, b = {0};
	uint8_t session[8], unix_s[8];

	(void)state;
	identity_public(id, login.key);
	identity_public(id, leave.key);
	assert_int_equal(proof_login_sign(&login, id), 0);
	assert_int_equal(proof_leave_sign(&leave, id), 0);
	be64_store(session, 42);
	be64_store(unix_s, 1700000000);

	put(&a, "goVPN/1 login", strlen("goVPN/1 login"));
	put(&a, login.host, strlen(login.host));
	put(&a, login.key, SIG_KEY_SIZE);
	put(&a, login.nonce, PROOF_LOGIN_NONCE_SIZE);
	put(&a, session, sizeof(session));
	assert_true(identity_verify(login.key, a.bytes, a.n, login.sig));

	put(&b, "goVPN/1 leave", strlen("goVPN/1 leave"));
	put(&b, leave.network_id, NETID_SIZE);
	put(&b, leave.key, SIG_KEY_SIZE);
	put(&b, session, sizeof(session));
	put(&b, unix_s, sizeof(unix_s));
	assert_true(identity_verify(leave.key, b.bytes, b.n, leave.sig));
	identity_free(id);
}

static void proof_answer_to_another_offer_of_the_same_peer_is_bad(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	struct proof_offer other = f.offer;
	other.nonce[0] ^= 1;
	assert_int_equal(proof_offer_sign(&other, f.a), 0);
	assert_int_equal(proof_offer_verify(&other), PROOF_OK);
	assert_int_equal(proof_answer_verify(&f.answer, &other), PROOF_BAD);
	assert_int_equal(proof_confirm_verify(&other, &f.answer, f.confirm), PROOF_BAD);
	teardown(&f);
}

static void proof_answer_used_as_offer_is_bad(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(proof_offer_verify(&f.answer), PROOF_BAD);
	/* And a signature of an offer does not pass as a confirmation. */
	assert_int_equal(proof_confirm_verify(&f.offer, &f.answer, f.offer.sig), PROOF_BAD);
	teardown(&f);
}

static void proof_answer_of_strangers_is_refused(void **state)
{
	struct fixture f;
	uint8_t sig[SIG_SIGNATURE_SIZE];

	(void)state;
	setup(&f);
	struct proof_offer stranger = f.answer;
	stranger.network_id[0] ^= 1;
	assert_int_equal(proof_answer_sign(&stranger, &f.offer, f.b), -EINVAL);
	assert_int_equal(proof_confirm_sign(&f.offer, &stranger, f.a, sig), -EINVAL);
	teardown(&f);
}

static void proof_offer_sdp_at_and_above_limit(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	char *sdp = mem_alloc(PROOF_SDP_MAX + 2, 1);
	assert_non_null(sdp);
	memset(sdp, 'x', PROOF_SDP_MAX + 1);
	f.offer.sdp = sdp;
	assert_int_equal(proof_offer_sign(&f.offer, f.a), -EINVAL);
	assert_int_equal(proof_offer_verify(&f.offer), PROOF_BAD);
	sdp[PROOF_SDP_MAX] = '\0';
	assert_int_equal(proof_offer_sign(&f.offer, f.a), 0);
	f.answer.sdp = sdp;
	assert_int_equal(proof_answer_sign(&f.answer, &f.offer, f.b), 0);
	assert_int_equal(proof_confirm_sign(&f.offer, &f.answer, f.a, f.confirm), 0);
	assert_true(verifies_all(&f));
	mem_free(sdp);
	teardown(&f);
}

static void proof_leave_any_flipped_bit_is_bad(void **state)
{
	struct identity *id = make_identity(6);
	struct proof_leave p = {.session = 1, .unix_s = 1700000000};

	static const struct {
		size_t at, n;
	} members[] = {
		{offsetof(struct proof_leave, network_id), NETID_SIZE},
		{offsetof(struct proof_leave, key), SIG_KEY_SIZE},
		{offsetof(struct proof_leave, session), 8},
		{offsetof(struct proof_leave, unix_s), 8},
		{offsetof(struct proof_leave, sig), SIG_SIGNATURE_SIZE},
	};

	(void)state;
	identity_public(id, p.key);
	assert_int_equal(proof_leave_sign(&p, id), 0);
	assert_int_equal(proof_leave_verify(&p), PROOF_OK);
	for (size_t m = 0; m < GV_ARRAY_SIZE(members); m++) {
		uint8_t *bytes = (uint8_t *)&p + members[m].at;

		for (size_t i = 0; i < members[m].n * 8; i++) {
			bytes[i / 8] ^= (uint8_t)(1u << i % 8);
			assert_int_equal(proof_leave_verify(&p), PROOF_BAD);
			bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		}
	}
	identity_free(id);
}

/* With the n-th allocation failing, signing and verifying either work or say so; nothing passes by mistake. */
static void proof_chain_without_memory_never_passes(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	struct proof_offer forged = f.answer;
	forged.nonce[0] ^= 1;
	for (uint64_t n = 1; n < 20; n++) {
		mem_fail_at(n);
		int r = proof_answer_verify(&f.answer, &f.offer);
		assert_true(r == PROOF_OK || r == -ENOMEM);
		mem_fail_at(n);
		assert_int_not_equal(proof_answer_verify(&forged, &f.offer), PROOF_OK);
		mem_fail_at(n);
		r = proof_confirm_verify(&f.offer, &f.answer, f.confirm);
		assert_true(r == PROOF_OK || r == -ENOMEM);
	}
	mem_fail_at(0);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(proof_input_fields_moved_between_them_differ),
		cmocka_unit_test(proof_input_known_fields_have_documented_bytes),
		cmocka_unit_test(proof_input_above_maximum_fails_at_the_end),
		cmocka_unit_test(proof_login_any_flipped_bit_is_bad),
		cmocka_unit_test(proof_login_overlong_host_is_refused),
		cmocka_unit_test(proof_chain_untouched_verifies),
		cmocka_unit_test(proof_chain_any_flipped_bit_is_bad),
		cmocka_unit_test(proof_chain_changed_sdp_is_bad),
		cmocka_unit_test(proof_chain_signs_the_documented_bytes),
		cmocka_unit_test(proof_login_and_leave_sign_the_documented_bytes),
		cmocka_unit_test(proof_answer_to_another_offer_of_the_same_peer_is_bad),
		cmocka_unit_test(proof_answer_used_as_offer_is_bad),
		cmocka_unit_test(proof_answer_of_strangers_is_refused),
		cmocka_unit_test(proof_offer_sdp_at_and_above_limit),
		cmocka_unit_test(proof_leave_any_flipped_bit_is_bad),
		cmocka_unit_test(proof_chain_without_memory_never_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
