/* SPDX-License-Identifier: MIT */

#include "base/err.h"
#include "base/mem.h"
#include "crypto/aead_impl.h"

#include <errno.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <string.h>

/* What the library's loads and stores may assume. */
#define KEY_ALIGNMENT 64

struct mb_key {
	struct gcm_key_data data; /* round keys and powers of the hash key */
	struct gcm_context_data ctx;
	aes_gcm_enc_dec_t run;
	void *block; /* the allocation that holds this */
};

/*
 * The manager is a table of functions for this processor, read-only once published and kept for the life of the
 * process. Threads that come first together each make one; one of them wins.
 */
static IMB_MGR *manager(void)
{
	static _Atomic(IMB_MGR *) shared;
	/* acquire: the table behind the pointer; partner of the exchange below. */
	IMB_MGR *m = atomic_load_explicit(&shared, memory_order_acquire);

	if (m != NULL)
		return m;
	IMB_MGR *fresh = alloc_mb_mgr(0);
	if (fresh == NULL)
		return NULL;
	IMB_ARCH arch = IMB_ARCH_NONE;
	init_mb_mgr_auto(fresh, &arch);
	/* Without AES instructions it works by emulation, slower than OpenSSL. */
	if (imb_get_errno(fresh) != 0 || arch == IMB_ARCH_NONE || arch == IMB_ARCH_NOAESNI) {
		free_mb_mgr(fresh);
		return NULL;
	}
	/* release: publish the table; acquire: see the winner's. */
	if (!atomic_compare_exchange_strong_explicit(&shared, &m, fresh, memory_order_acq_rel,
	                                             memory_order_acquire)) {
		free_mb_mgr(fresh);
		return m;
	}
	return fresh;
}

static int mb_open_key(void **out, enum aead_direction direction,
                       const uint8_t key[static AEAD_KEY_SIZE])
{
	IMB_MGR *m = manager();
	uint8_t *block = mem_alloc(1, sizeof(struct mb_key) + KEY_ALIGNMENT);

	if (m == NULL || block == NULL) {
		mem_free(block);
		return err_here(-ENOMEM);
	}

	size_t skew = (KEY_ALIGNMENT - (uintptr_t)block % KEY_ALIGNMENT) % KEY_ALIGNMENT;
	struct mb_key *k = (struct mb_key *)(void *)(block + skew);
	k->block = block;
	k->run = direction == AEAD_SEAL ? m->gcm128_enc : m->gcm128_dec;
	m->gcm128_pre(key, &k->data);
	*out = k;
	return 0;
}

static void mb_close_key(void *state)
{
	struct mb_key *k = state;

	if (k == NULL)
		return;
	void *block = k->block;
	mem_wipe(k, sizeof(*k));
	mem_free(block);
}

static int mb_seal(void *state, struct aead_op *ops, size_t n)
{
	struct mb_key *k = state;

	for (size_t i = 0; i < n; i++) {
		struct aead_op *op = &ops[i];

		k->run(&k->data, &k->ctx, op->data, op->data, op->len, op->nonce, op->aad,
		       op->aad_len, op->tag, AEAD_TAG_SIZE);
	}
	return 0;
}

static void mb_open(void *state, struct aead_op *ops, size_t n)
{
	struct mb_key *k = state;
	uint8_t tag[AEAD_TAG_SIZE];

	for (size_t i = 0; i < n; i++) {
		struct aead_op *op = &ops[i];

		k->run(&k->data, &k->ctx, op->data, op->data, op->len, op->nonce, op->aad,
		       op->aad_len, tag, AEAD_TAG_SIZE);
		op->ok = CRYPTO_memcmp(tag, op->tag, AEAD_TAG_SIZE) == 0;
		if (!op->ok)
			mem_wipe(op->data, op->len);
	}
}

static const struct aead_driver driver = {
	.name = "ipsecmb",
	.open_key = mb_open_key,
	.close_key = mb_close_key,
	.seal = mb_seal,
	.open = mb_open,
};

const struct aead_driver *aead_driver_ipsecmb(void)
{
	return manager() != NULL ? &driver : NULL;
}
