/* SPDX-License-Identifier: MIT */

#include "crypto/cert.h"

#include "base/diag.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/netaddr.h"
#include "crypto/cert_impl.h"
#include "crypto/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_S           (24 * 3600)
#define PROCESS_DAYS    366
#define FILE_DAYS       3653
#define CERT_FILE_MAX   (1 << 20)
#define CERT_PATH_MAX   4096
#define CERT_DNS_MAX    253
#define CERT_LABEL_MAX  63
#define CERT_SERIAL_BIT 127

/* 127 random bits: RFC 5280 4.1.2.2 wants a serial number positive, unique, and of at most 20 octets. */
static bool set_serial(X509 *x)
{
	BIGNUM *bn = BN_new();
	bool ok = bn != NULL &&
	          BN_rand(bn, CERT_SERIAL_BIT, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
	          BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x)) != NULL;

	BN_free(bn);
	return ok;
}

/* An unsigned version 3 certificate of key about itself. NULL: no memory. */
static X509 *make_x509(EVP_PKEY *key, const char *common_name, int64_t unix_s, int days)
{
	X509 *x = X509_new();
	time_t from = (time_t)(unix_s - DAY_S);

	if (x == NULL)
		return NULL;

	X509_NAME *name = X509_get_subject_name(x);
	bool ok = X509_set_version(x, X509_VERSION_3) == 1 && X509_set_pubkey(x, key) == 1 &&
	          set_serial(x) && X509_time_adj_ex(X509_getm_notBefore(x), 0, 0, &from) != NULL &&
	          X509_time_adj_ex(X509_getm_notAfter(x), days, 0, &from) != NULL &&
	          X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
	                                     (const unsigned char *)common_name, -1, -1, 0) == 1 &&
	          X509_set_issuer_name(x, name) == 1;

	if (!ok) {
		X509_free(x);
		return NULL;
	}
	return x;
}

int cert_new(struct cert **out, int64_t unix_s)
{
	gv_cleanup(cert_unrefp) struct cert *c = mem_new(struct cert);

	if (c == NULL)
		return err_here(-ENOMEM);
	atomic_init(&c->refs, 1);
	c->key = EVP_EC_gen("P-256");
	if (c->key == NULL)
		return err_here(-ENOMEM);
	c->x509 = make_x509(c->key, "goVPN", unix_s, PROCESS_DAYS);
	if (c->x509 == NULL || X509_sign(c->x509, c->key, EVP_sha256()) == 0)
		return err_here(-ENOMEM);

	unsigned len = sizeof(c->fingerprint);
	if (X509_digest(c->x509, EVP_sha256(), c->fingerprint, &len) != 1)
		return err_here(-ENOMEM);
	*out = GV_STEAL(c);
	return 0;
}

struct cert *cert_ref(struct cert *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void cert_unref(struct cert *c)
{
	if (c == NULL)
		return;
	/* Release our last use; acquire the last uses of the others before freeing. */
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	mem_free(c);
}

void cert_fingerprint(const struct cert *c, uint8_t out[static CERT_FINGERPRINT_SIZE])
{
	memcpy(out, c->fingerprint, CERT_FINGERPRINT_SIZE);
}

/* Dot-separated labels of letters, digits and '-' (RFC 1123 2.1). */
static bool is_host_name(const char *s)
{
	size_t label = 0;

	if (strlen(s) > CERT_DNS_MAX)
		return false;
	for (; *s != '\0'; s++) {
		if (*s == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		bool ok = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
		          (*s >= '0' && *s <= '9') || *s == '-';
		if (!ok || ++label > CERT_LABEL_MAX)
			return false;
	}
	return label > 0;
}

/* One entry of the subjectAltName: an address or a host name. NULL: no memory. */
static GENERAL_NAME *make_alt_name(const char *text)
{
	struct netaddr addr;
	bool is_addr = netaddr_parse_ip(text, &addr);
	const void *bytes = is_addr ? (const void *)addr.ip : text;
	size_t len = is_addr ? netaddr_ip_size(&addr) : strlen(text);
	GENERAL_NAME *gn = GENERAL_NAME_new();
	ASN1_STRING *s = ASN1_STRING_type_new(is_addr ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);

	if (gn == NULL || s == NULL || ASN1_STRING_set(s, bytes, (int)len) != 1) {
		ASN1_STRING_free(s);
		GENERAL_NAME_free(gn);
		return NULL;
	}
	GENERAL_NAME_set0_value(gn, is_addr ? GEN_IPADD : GEN_DNS, s);
	return gn;
}

static int add_alt_names(X509 *x, const char *const *names, size_t count)
{
	GENERAL_NAMES *list = GENERAL_NAMES_new();
	bool ok = list != NULL;

	for (size_t i = 0; ok && i < count; i++) {
		GENERAL_NAME *gn = make_alt_name(names[i]);

		ok = gn != NULL && sk_GENERAL_NAME_push(list, gn) > 0;
		if (!ok)
			GENERAL_NAME_free(gn);
	}
	ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, list, 0, 0) == 1;
	GENERAL_NAMES_free(list);
	return ok ? 0 : err_here(-ENOMEM);
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_here(-errno);
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

/* Makes `path` hold exactly the content of bio: written beside it, flushed, and moved over it. */
static int write_file(const char *path, BIO *bio)
{
	char temp[CERT_PATH_MAX];
	char *data = NULL;
	long len = BIO_get_mem_data(bio, &data);

	if (snprintf(temp, sizeof(temp), "%s.new", path) >= (int)sizeof(temp))
		return err_here(-ENAMETOOLONG);
	/* One left by a crash; O_EXCL below refuses links and files that someone else puts there. */
	if (unlink(temp) != 0 && errno != ENOENT)
		return err_here(-errno);

	int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_here(-errno);

	int r = write_all(fd, data, (size_t)len);
	if (r == 0 && fsync(fd) != 0)
		r = err_here(-errno);
	if (close(fd) != 0 && r == 0)
		r = err_here(-errno);
	if (r == 0 && rename(temp, path) != 0)
		r = err_here(-errno);
	if (r != 0)
		(void)unlink(
			temp); /* nothing more can be done about a file that we could not finish */
	return r;
}

static int write_pair(const char *cert_path, const char *key_path, X509 *x, EVP_PKEY *key)
{
	BIO *cert_pem = BIO_new(BIO_s_mem());
	BIO *key_pem = BIO_new(BIO_s_mem());
	int r = 0;

	if (cert_pem == NULL || key_pem == NULL || PEM_write_bio_X509(cert_pem, x) != 1 ||
	    PEM_write_bio_PKCS8PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1)
		r = err_here(-ENOMEM);
	if (r == 0)
		r = write_file(key_path, key_pem);
	if (r == 0)
		r = write_file(cert_path, cert_pem);
	BIO_free(cert_pem);
	BIO_free(key_pem);
	return r;
}

int cert_write_self_signed(const char *cert_path, const char *key_path, const char *const *names,
                           size_t count, int64_t unix_s, struct diag *diag)
{
	struct netaddr addr;

	for (size_t i = 0; i < count; i++) {
		if (!netaddr_parse_ip(names[i], &addr) && !is_host_name(names[i])) {
			diag_set(diag, "not a host name or address for a certificate: %.100s",
			         names[i]);
			return err_here(-EINVAL);
		}
	}
	if (count == 0) {
		diag_set(diag, "a certificate needs at least one host name or address");
		return err_here(-EINVAL);
	}

	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = key != NULL ? make_x509(key, "goVPN server", unix_s, FILE_DAYS) : NULL;
	int r = x != NULL ? add_alt_names(x, names, count) : err_here(-ENOMEM);

	if (r == 0 && X509_sign(x, key, EVP_sha256()) == 0)
		r = err_here(-ENOMEM);
	if (r == 0)
		r = write_pair(cert_path, key_path, x, key);
	X509_free(x);
	EVP_PKEY_free(key);
	return r;
}

/* Of x, which is moved; NULL means that there was none to read. */
static int pin_of(X509 *x_moved, uint8_t out[static CERT_PIN_SIZE])
{
	unsigned char *der = NULL;

	if (x_moved == NULL)
		return err_here(-EBADMSG);

	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x_moved), &der);
	int r = len > 0 ? hash_sha256(der, (size_t)len, out) : err_here(-ENOMEM);
	OPENSSL_free(der);
	X509_free(x_moved);
	return r;
}

int cert_file_pin(const char *path, uint8_t out[static CERT_PIN_SIZE])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	ssize_t got = 0;
	size_t len = 0;
	int r = 0;

	if (fd < 0)
		return err_here(-errno);
	if (fstat(fd, &st) != 0)
		r = err_here(-errno);
	else if (!S_ISREG(st.st_mode) || st.st_size > CERT_FILE_MAX)
		r = err_here(-EBADMSG);

	size_t size = r == 0 ? (size_t)st.st_size : 0;
	gv_cleanup(mem_freep) uint8_t *text = mem_new_array(uint8_t, size);
	if (r == 0 && text == NULL)
		r = err_here(-ENOMEM);
	while (r == 0 && len < size && (got = read(fd, text + len, size - len)) > 0)
		len += (size_t)got;
	if (got < 0)
		r = err_here(-errno);
	(void)close(fd); /* only read from */
	if (r != 0)
		return r;

	BIO *bio = BIO_new_mem_buf(text, (int)len);
	if (bio == NULL)
		return err_here(-ENOMEM);
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	return err_up(pin_of(x, out));
}

int cert_der_pin(const uint8_t *der, size_t len, uint8_t out[static CERT_PIN_SIZE])
{
	const unsigned char *p = der;

	if (len > CERT_FILE_MAX)
		return err_here(-EBADMSG);
	return err_up(pin_of(d2i_X509(NULL, &p, (long)len), out));
}
