/* SPDX-License-Identifier: MIT */

#include "crypto/cert.h"

#include "base/diag.h"
#include "base/mem.h"
#include "crypto/cert_impl.h"
#include "crypto/hash.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hex.h"

#define NOW 1700000000

struct folder {
	char dir[64], cert[96], key[96];
};

static int folder_open(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return -1;
	snprintf(f->dir, sizeof(f->dir), "/tmp/govpn-cert-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->cert, sizeof(f->cert), "%s/tls.crt", f->dir);
	snprintf(f->key, sizeof(f->key), "%s/tls.key", f->dir);
	*state = f;
	return 0;
}

static int folder_close(void **state)
{
	struct folder *f = *state;

	unlink(f->cert);
	unlink(f->key);
	rmdir(f->dir);
	free(f);
	return 0;
}

static X509 *read_cert(const char *path)
{
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	X509 *x = PEM_read_X509(file, NULL, NULL, NULL);

	fclose(file);
	assert_non_null(x);
	return x;
}

static void cert_new_is_valid_now_and_fresh(void **state)
{
	gv_cleanup(cert_unrefp) struct cert *a = NULL, *b = NULL;
	uint8_t fa[32], fb[32], der_hash[32];
	unsigned char *der = NULL;
	time_t now = NOW;

	(void)state;
	assert_int_equal(cert_new(&a, NOW), 0);
	assert_int_equal(cert_new(&b, NOW), 0);
	cert_fingerprint(a, fa);
	cert_fingerprint(b, fb);
	assert_memory_not_equal(fa, fb, sizeof(fa));
	assert_true(X509_cmp_time(X509_get0_notBefore(a->x509), &now) < 0);
	assert_true(X509_cmp_time(X509_get0_notAfter(a->x509), &now) > 0);
	assert_int_equal(X509_verify(a->x509, a->key), 1);

	int len = i2d_X509(a->x509, &der);
	assert_true(len > 0);
	assert_int_equal(hash_sha256(der, (size_t)len, der_hash), 0);
	assert_memory_equal(fa, der_hash, sizeof(fa));
	OPENSSL_free(der);
}

static void cert_new_out_of_memory_fails(void **state)
{
	struct cert *c = NULL;

	(void)state;
	mem_fail_at(1);
	assert_int_equal(cert_new(&c, NOW), -ENOMEM);
	assert_null(c);
}

static void cert_unref_last_reference_frees(void **state)
{
	struct cert *c = NULL;
	uint8_t fingerprint[32];

	(void)state;
	assert_int_equal(cert_new(&c, NOW), 0);
	assert_ptr_equal(cert_ref(c), c);
	cert_unref(c);
	cert_fingerprint(c, fingerprint); /* still there */
	cert_unref(c);
	cert_unref(NULL);
}

static void cert_write_files_hold_names_and_are_private(void **state)
{
	const struct folder *f = *state;
	const char *names[] = {"vpn.example.org", "192.0.2.1", "2001:db8::1", "localhost"};
	const uint8_t ip4[] = {192, 0, 2, 1};
	struct stat st;
	time_t in_nine_years = NOW + 9 * 365 * 86400L;

	assert_int_equal(cert_write_self_signed(f->cert, f->key, names, 4, NOW, NULL), 0);
	assert_int_equal(stat(f->key, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(f->cert, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	X509 *x = read_cert(f->cert);
	assert_int_equal(X509_check_host(x, "vpn.example.org", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(x, "localhost", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(x, "other.example.org", 0, 0, NULL), 0);
	assert_int_equal(X509_check_ip(x, ip4, sizeof(ip4), 0), 1);
	assert_int_equal(X509_check_ip_asc(x, "2001:db8::1", 0), 1);
	assert_int_equal(X509_check_ip_asc(x, "192.0.2.2", 0), 0);
	assert_true(X509_cmp_time(X509_get0_notAfter(x), &in_nine_years) > 0);

	FILE *file = fopen(f->key, "re");
	assert_non_null(file);
	EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	fclose(file);
	assert_non_null(key);
	assert_int_equal(X509_check_private_key(x, key), 1);
	assert_int_equal(X509_verify(x, key), 1);
	EVP_PKEY_free(key);
	X509_free(x);
}

static void cert_write_bad_name_is_refused_and_named(void **state)
{
	const struct folder *f = *state;
	static const char *const bad[] = {
		"",
		".",
		"a..b",
		"sp ace",
		"new\nline",
		"-\x80-",
		"a.example.",
		/* a label of 64 */
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};
	struct diag diag;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *names[] = {"good.example", bad[i]};

		diag = (struct diag){0};
		assert_int_equal(cert_write_self_signed(f->cert, f->key, names, 2, NOW, &diag),
		                 -EINVAL);
		assert_non_null(strstr(diag.text, "not a host name"));
	}
	assert_int_equal(cert_write_self_signed(f->cert, f->key, bad, 0, NOW, NULL), -EINVAL);
	assert_int_equal(access(f->cert, F_OK), -1);
	assert_int_equal(access(f->key, F_OK), -1);
}

static void cert_write_replaces_and_leaves_nothing_else(void **state)
{
	const struct folder *f = *state;
	const char *names[] = {"a.example"};
	uint8_t first[32], second[32];
	char missing[128];

	assert_int_equal(cert_write_self_signed(f->cert, f->key, names, 1, NOW, NULL), 0);
	assert_int_equal(cert_file_pin(f->cert, first), 0);
	assert_int_equal(cert_write_self_signed(f->cert, f->key, names, 1, NOW, NULL), 0);
	assert_int_equal(cert_file_pin(f->cert, second), 0);
	assert_memory_not_equal(first, second, sizeof(first));

	snprintf(missing, sizeof(missing), "%s/none/tls.key", f->dir);
	assert_int_equal(cert_write_self_signed(f->cert, missing, names, 1, NOW, NULL), -ENOENT);
	assert_int_equal(cert_file_pin(f->cert, first), 0);
	assert_memory_equal(first, second, sizeof(first));
	/* Nothing but the two files is left: the folder can be removed after them. */
	assert_int_equal(unlink(f->cert), 0);
	assert_int_equal(unlink(f->key), 0);
	assert_int_equal(rmdir(f->dir), 0);
}

static void cert_pin_of_file_and_der_is_the_key_hash(void **state)
{
	const struct folder *f = *state;
	const char *names[] = {"a.example"};
	uint8_t from_file[32], from_der[32], want[32];
	unsigned char *der = NULL, *spki = NULL;

	assert_int_equal(cert_write_self_signed(f->cert, f->key, names, 1, NOW, NULL), 0);
	X509 *x = read_cert(f->cert);
	int der_len = i2d_X509(x, &der);
	EVP_PKEY *key = X509_get_pubkey(x);
	int spki_len = i2d_PUBKEY(key, &spki);

	assert_true(der_len > 0 && spki_len > 0);
	assert_int_equal(hash_sha256(spki, (size_t)spki_len, want), 0);
	assert_int_equal(cert_file_pin(f->cert, from_file), 0);
	assert_int_equal(cert_der_pin(der, (size_t)der_len, from_der), 0);
	assert_memory_equal(from_file, want, sizeof(want));
	assert_memory_equal(from_der, want, sizeof(want));
	assert_int_equal(cert_der_pin(der, (size_t)der_len / 2, from_der), -EBADMSG);
	EVP_PKEY_free(key);
	OPENSSL_free(der);
	OPENSSL_free(spki);
	X509_free(x);
}

static void cert_file_pin_of_something_else_fails(void **state)
{
	const struct folder *f = *state;
	uint8_t pin[32];
	FILE *file;

	assert_int_equal(cert_file_pin(f->cert, pin), -ENOENT);
	assert_int_equal(cert_file_pin(f->dir, pin), -EBADMSG);
	file = fopen(f->cert, "we");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(cert_file_pin(f->cert, pin), -EBADMSG);
	file = fopen(f->cert, "we");
	assert_non_null(file);
	fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", file);
	fclose(file);
	assert_int_equal(cert_file_pin(f->cert, pin), -EBADMSG);
}

#define IN_FOLDER(fn) cmocka_unit_test_setup_teardown(fn, folder_open, folder_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cert_new_is_valid_now_and_fresh),
		cmocka_unit_test(cert_new_out_of_memory_fails),
		cmocka_unit_test(cert_unref_last_reference_frees),
		IN_FOLDER(cert_write_files_hold_names_and_are_private),
		IN_FOLDER(cert_write_bad_name_is_refused_and_named),
		IN_FOLDER(cert_write_replaces_and_leaves_nothing_else),
		IN_FOLDER(cert_pin_of_file_and_der_is_the_key_hash),
		IN_FOLDER(cert_file_pin_of_something_else_fails),
	};

	return cmocka_run_group_tests_name("crypto/cert", tests, NULL, NULL);
}
