/* SPDX-License-Identifier: MIT */
#ifndef GV_CRYPTO_AEAD_IMPL_H
#define GV_CRYPTO_AEAD_IMPL_H

/* aead_impl - what a backend of aead gives: a table of functions over a state of its own. */

#include "crypto/aead.h"

struct aead_driver {
	const char *name;
	/* As aead_key_new(); *out is set only on success. */
	int (*open_key)(void **out, enum aead_direction direction,
	                const uint8_t key[static AEAD_KEY_SIZE]);
	/* NULL is allowed. */
	void (*close_key)(void *state);
	int (*seal)(void *state, struct aead_op *ops, size_t n);
	void (*open)(void *state, struct aead_op *ops, size_t n);
};

extern const struct aead_driver aead_driver_evp;

/* NULL where the library is not built in or does not run on this processor. Any thread. */
const struct aead_driver *aead_driver_ipsecmb(void);

#endif /* GV_CRYPTO_AEAD_IMPL_H */
