/* SPDX-License-Identifier: MIT */

#include "proto/sig/netid.h"

#include "base/bytes.h"
#include "base/enc.h"
#include "base/err.h"
#include "proto/sig/proof.h"

#include <string.h>

#define INPUT_MAX 256

/* SHA-256(tag, a, b), each with its length before it; b may be NULL. */
static int hash_fields(const char *tag, const void *a, size_t a_len, const void *b, size_t b_len,
                       uint8_t out[static 32])
{
	struct proof_input p;

	proof_input_init(&p, tag, INPUT_MAX);
	proof_input_add(&p, a, a_len);
	if (b != NULL)
		proof_input_add(&p, b, b_len);
	int r = proof_input_hash(&p, out);
	proof_input_deinit(&p);
	return r < 0 ? err_up(r) : 0;
}

int netid_derive(uint8_t out[static NETID_SIZE], const uint8_t owner[static SIG_KEY_SIZE],
                 const uint8_t salt[static NETID_SALT_SIZE])
{
	uint8_t hash[32];
	int r = hash_fields(PROOF_TAG_NETWORK_ID, owner, SIG_KEY_SIZE, salt, NETID_SALT_SIZE, hash);

	if (r < 0)
		return err_up(r);
	memcpy(out, hash, NETID_SIZE);
	return 0;
}

const char *netid_text(const uint8_t id[static NETID_SIZE], char out[static NETID_TEXT_SIZE])
{
	enc_base32(out, id, NETID_SIZE);
	return out;
}

bool netid_parse(const char *text, uint8_t out[static NETID_SIZE])
{
	uint8_t id[NETID_SIZE];
	size_t n;

	if (strnlen(text, NETID_TEXT_SIZE) != NETID_TEXT_SIZE - 1 ||
	    !dec_base32(text, NETID_TEXT_SIZE - 1, id, sizeof(id), &n) || n != NETID_SIZE)
		return false;
	memcpy(out, id, NETID_SIZE);
	return true;
}

static char code_letter(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return (c >= 'a' && c <= 'z') || (c >= '2' && c <= '7') ? c : '\0';
}

bool netid_parse_code(const char *text, char out[static NETID_CODE_SIZE])
{
	char code[NETID_CODE_SIZE];
	size_t n = 0;

	for (; *text != '\0'; text++) {
		if (*text == '-' || *text == ' ')
			continue;
		char c = code_letter(*text);
		if (c == '\0' || n == NETID_CODE_SIZE - 1)
			return false;
		code[n++] = c;
	}
	if (n != NETID_CODE_SIZE - 1)
		return false;
	code[n] = '\0';
	memcpy(out, code, NETID_CODE_SIZE);
	return true;
}

void netid_make_code(uint64_t random, char out[static NETID_CODE_SIZE])
{
	uint8_t bytes[8];
	char text[ENC_BASE32_SIZE(sizeof(bytes))];

	be64_store(bytes, random << 14); /* the low 50 bits in front: the first ten letters */
	enc_base32(text, bytes, sizeof(bytes));
	memcpy(out, text, NETID_CODE_SIZE - 1);
	out[NETID_CODE_SIZE - 1] = '\0';
}

int netid_prefix6(const uint8_t id[static NETID_SIZE], struct netprefix *out)
{
	uint8_t hash[32], ip[16] = {0xfd};
	int r = hash_fields(PROOF_TAG_IP6_PREFIX, id, NETID_SIZE, NULL, 0, hash);

	if (r < 0)
		return err_up(r);
	memcpy(ip + 1, hash, 7);
	struct netaddr addr = netaddr_ip6(ip, 0);
	*out = netprefix_of(&addr, 64);
	return 0;
}

int netid_addr6(const uint8_t id[static NETID_SIZE], const uint8_t key[static SIG_KEY_SIZE],
                struct netaddr *out)
{
	struct netprefix prefix;
	uint8_t hash[32], ip[16];
	int r = netid_prefix6(id, &prefix);

	if (r < 0)
		return err_up(r);
	r = hash_fields(PROOF_TAG_IP6_HOST, key, SIG_KEY_SIZE, NULL, 0, hash);
	if (r < 0)
		return err_up(r);
	memcpy(ip, prefix.addr.ip, 8);
	memcpy(ip + 8, hash, 8);
	*out = netaddr_ip6(ip, 0);
	return 0;
}
