/* SPDX-License-Identifier: MIT */

#include "crypto/aead.h"

#include "base/err.h"
#include "base/mem.h"
#include "crypto/aead_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct aead_key {
	const struct aead_driver *driver;
	void *state; /* the driver's */
};

static const struct aead_driver *pick_driver(enum aead_backend backend)
{
	switch (backend) {
	case AEAD_BACKEND_EVP:
		return &aead_driver_evp;
	case AEAD_BACKEND_IPSECMB:
		return aead_driver_ipsecmb();
	case AEAD_BACKEND_AUTO:
		break;
	}

	const char *wish = getenv("GOVPN_AEAD");
	const struct aead_driver *fast = aead_driver_ipsecmb();
	if (fast == NULL || (wish != NULL && strcmp(wish, fast->name) != 0))
		return &aead_driver_evp;
	return fast;
}

int aead_key_new(struct aead_key **out, enum aead_backend backend, enum aead_direction direction,
                 const uint8_t key[static AEAD_KEY_SIZE])
{
	const struct aead_driver *driver = pick_driver(backend);

	if (driver == NULL)
		return err_here(-ENOTSUP);

	gv_cleanup(aead_key_freep) struct aead_key *k = mem_new(struct aead_key);
	if (k == NULL)
		return err_here(-ENOMEM);
	k->driver = driver;

	int r = driver->open_key(&k->state, direction, key);
	if (r != 0)
		return err_up(r);
	*out = GV_STEAL(k);
	return 0;
}

void aead_key_free(struct aead_key *k)
{
	if (k == NULL)
		return;
	k->driver->close_key(k->state);
	mem_free(k);
}

const char *aead_key_backend(const struct aead_key *k)
{
	return k->driver->name;
}

int aead_seal(struct aead_key *k, struct aead_op *ops, size_t n)
{
	return k->driver->seal(k->state, ops, n);
}

void aead_open(struct aead_key *k, struct aead_op *ops, size_t n)
{
	k->driver->open(k->state, ops, n);
}
