/* SPDX-License-Identifier: MIT */

/* Needs the right to make a network namespace and a TUN in it; skipped elsewhere. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/tun.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void enter_namespace(void)
{
	if (unshare(CLONE_NEWNET) != 0 || access("/dev/net/tun", R_OK | W_OK) != 0)
		skip();
}

static struct tun_pool *open_pool(unsigned count)
{
	struct tun_pool *p = NULL;

	enter_namespace();
	int r = tun_pool_open(&p, count, NULL);
	if (r == -ENOMEM)
		skip();
	assert_int_equal(r, TUN_OK);
	return p;
}

static void tun_attach_new_name_makes_interface(void **state)
{
	struct tun_pool *p = open_pool(1);
	struct tun t;

	(void)state;
	assert_int_equal(tun_attach(p, "gvt0", &t, NULL), TUN_OK);
	assert_string_equal(t.name, "gvt0");
	assert_int_equal(t.ifindex, if_nametoindex("gvt0"));
	assert_true(t.vnet_hdr);
	tun_detach(p, &t);
	assert_int_equal(t.fd, -1);
	tun_pool_free(p);
}

static void tun_detach_destroys_and_descriptor_is_reused(void **state)
{
	struct tun_pool *p = open_pool(1);
	int first_fd = -1;

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct tun t;
		char byte[1];

		assert_int_equal(tun_attach(p, i == 1 ? "gvt1" : "gvt0", &t, NULL), TUN_OK);
		if (i == 0)
			first_fd = t.fd;
		assert_int_equal(t.fd, first_fd);
		int fd = t.fd;
		tun_detach(p, &t);
		assert_int_equal(if_nametoindex("gvt0"), 0);
		assert_int_equal(if_nametoindex("gvt1"), 0);
		assert_int_equal(read(fd, byte, 1), -1);
		assert_int_equal(errno, EBADFD);
	}
	tun_pool_free(p);
}

static void tun_attach_taken_name_returns_busy(void **state)
{
	struct tun_pool *p = open_pool(2);
	struct diag diag = {0};
	struct tun a, b;

	(void)state;
	assert_int_equal(tun_attach(p, "gvt0", &a, NULL), TUN_OK);
	assert_int_equal(tun_attach(p, "gvt0", &b, &diag), TUN_BUSY);
	assert_non_null(strstr(diag.text, "gvt0"));
	assert_int_equal(tun_attach(p, "lo", &b, NULL), TUN_BUSY);
	assert_int_equal(tun_attach(p, "gvt1", &b, NULL), TUN_OK);
	tun_detach(p, &a);
	tun_detach(p, &b);
	tun_pool_free(p);
}

static void tun_attach_empty_pool_returns_no_more(void **state)
{
	struct tun_pool *p = open_pool(1);
	struct tun a, b;

	(void)state;
	assert_int_equal(tun_attach(p, "gvt0", &a, NULL), TUN_OK);
	assert_int_equal(tun_attach(p, "gvt1", &b, NULL), TUN_NO_MORE);
	tun_detach(p, &a);
	assert_int_equal(tun_attach(p, "gvt1", &b, NULL), TUN_OK);
	tun_detach(p, &b);
	tun_pool_free(p);
}

static void tun_attach_bad_name_returns_einval(void **state)
{
	struct tun_pool *p = open_pool(1);
	struct tun t;

	(void)state;
	assert_int_equal(tun_attach(p, "", &t, NULL), -EINVAL);
	assert_int_equal(tun_attach(p, "sixteencharacter", &t, NULL), -EINVAL);
	tun_pool_free(p);
}

static void tun_attach_limited_offload_is_obeyed(void **state)
{
	static const struct {
		const char *limit;
		bool vnet_hdr;
	} cases[] = {{"none", false}, {"csum", true}, {"tso", true}};
	struct tun_pool *p = open_pool(1);

	(void)state;
	for (size_t i = 0; i < GV_ARRAY_SIZE(cases); i++) {
		struct tun t;

		setenv("GOVPN_TUN_OFFLOAD", cases[i].limit, 1);
		assert_int_equal(tun_attach(p, "gvt0", &t, NULL), TUN_OK);
		assert_int_equal(t.vnet_hdr, cases[i].vnet_hdr);
		assert_false(t.uso);
		tun_detach(p, &t);
	}
	unsetenv("GOVPN_TUN_OFFLOAD");
	tun_pool_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tun_attach_new_name_makes_interface),
		cmocka_unit_test(tun_detach_destroys_and_descriptor_is_reused),
		cmocka_unit_test(tun_attach_taken_name_returns_busy),
		cmocka_unit_test(tun_attach_empty_pool_returns_no_more),
		cmocka_unit_test(tun_attach_bad_name_returns_einval),
		cmocka_unit_test(tun_attach_limited_offload_is_obeyed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
