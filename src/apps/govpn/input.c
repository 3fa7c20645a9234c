/* SPDX-License-Identifier: MIT */

#include "apps/govpn/input.h"

#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
#define CA_MAX_BYTES   65536

/* The first line of a descriptor, without its end. Returns its length; -1 (diag filled). */
static ssize_t read_line(int fd, char *out, size_t size, const char *what, struct diag *diag)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, out + len, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			diag_set(diag, "%s cannot be read: %s", what, strerror(errno));
			return -1;
		}
		if (n == 0 || out[len] == '\n')
			break;
		len++;
	}
	if (len == size) {
		diag_set(diag, "the first line of %s is too long", what);
		return -1;
	}
	if (len > 0 && out[len - 1] == '\r')
		len--;
	out[len] = '\0';
	return (ssize_t)len;
}

/* Asks on the terminal without showing what is typed. */
static ssize_t ask_password(char *out, size_t size, struct diag *diag)
{
	static const char prompt[] = "Password of the network: ";
	struct termios old, quiet;

	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || !isatty(STDIN_FILENO) || tcgetattr(fd, &old) != 0) {
		if (fd >= 0)
			close(fd);
		diag_set(diag, "the password is missing: give --password-file FILE");
		return -1;
	}
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	bool is_quiet = tcsetattr(fd, TCSAFLUSH, &quiet) == 0;
	ssize_t len = -1;
	if (is_quiet && write(fd, prompt, sizeof(prompt) - 1) > 0)
		len = read_line(fd, out, size, "the terminal", diag);
	if (is_quiet && (tcsetattr(fd, TCSAFLUSH, &old) != 0 || write(fd, "\n", 1) != 1))
		len = -1;
	close(fd);
	if (len < 0)
		diag_set(diag, "the terminal cannot be used: give --password-file FILE");
	return len;
}

static ssize_t open_and_read(const char *path, char *out, size_t size, struct diag *diag)
{
	if (strcmp(path, "-") == 0)
		return read_line(STDIN_FILENO, out, size, "standard input", diag);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		diag_set(diag, "%.100s: %s", path, strerror(errno));
		return -1;
	}
	ssize_t len = read_line(fd, out, size, path, diag);
	close(fd);
	return len;
}

static int put_secret(struct args *a, const char *key, char *text, ssize_t len, struct diag *diag)
{
	int r = INPUT_OK;

	if (len >= 0 &&
	    json_object_set_new(a->request, key, json_stringn(text, (size_t)len)) != 0) {
		diag_set(diag, "the %s is no UTF-8 text", key);
		r = INPUT_BAD;
	}
	mem_wipe(text, LINE_MAX_BYTES);
	return len < 0 ? INPUT_BAD : r;
}

static int add_password(struct args *a, struct diag *diag)
{
	char text[LINE_MAX_BYTES];
	ssize_t len;

	if (a->password_file != NULL)
		len = open_and_read(a->password_file, text, sizeof(text), diag);
	else
		len = ask_password(text, sizeof(text), diag);
	return put_secret(a, "password", text, len, diag);
}

static int add_link(struct args *a, struct diag *diag)
{
	char text[LINE_MAX_BYTES];
	ssize_t len = read_line(STDIN_FILENO, text, sizeof(text), "standard input", diag);

	return put_secret(a, "link", text, len, diag);
}

static int add_ca(struct args *a, struct diag *diag)
{
	struct buf pem = BUF_INIT(CA_MAX_BYTES);
	char chunk[4096];
	ssize_t n = 0;
	int r = INPUT_OK;

	int fd = open(a->ca_file, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && r == INPUT_OK && (n = read(fd, chunk, sizeof(chunk))) > 0) {
		if (buf_add(&pem, chunk, (size_t)n) < 0) {
			diag_set(diag, "%.100s is too long", a->ca_file);
			r = INPUT_BAD;
		}
	}
	if (fd < 0 || n < 0) {
		diag_set(diag, "%.100s: %s", a->ca_file, strerror(errno));
		r = INPUT_BAD;
	}
	if (fd >= 0)
		close(fd);
	if (r == INPUT_OK &&
	    json_object_set_new(a->request, "ca", json_stringn(buf_str(&pem), pem.len)) != 0) {
		diag_set(diag, "%.100s is no PEM file", a->ca_file);
		r = INPUT_BAD;
	}
	buf_deinit(&pem);
	return r;
}

int input_complete(struct args *a, struct diag *diag)
{
	int r = INPUT_OK;

	if (a->link_on_stdin)
		r = add_link(a, diag);
	if (r == INPUT_OK && (a->wants_password || a->password_file != NULL))
		r = add_password(a, diag);
	if (r == INPUT_OK && a->ca_file != NULL)
		r = add_ca(a, diag);
	return r;
}
