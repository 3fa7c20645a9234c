/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/sctp_net.h"

#include <string.h>

static void assoc_connect_both_sides_is_up(void **state)
{
	struct sctp_net *net = sctp_net_new(1, NULL, NULL);

	(void)state;
	assert_true(sctp_net_connect(net));
	sctp_net_free(net);
}

static void assoc_connect_one_side_is_up(void **state)
{
	struct sctp_net *net = sctp_net_new(2, NULL, NULL);

	(void)state;
	sctp_connect(net->end[0], net->now_us);
	sctp_net_run(net, net->now_us + 1000000);
	assert_true(net->up[0] && net->up[1]);
	assert_true(sctp_is_up(net->end[0]) && sctp_is_up(net->end[1]));
	sctp_net_free(net);
}

static void assoc_send_reliable_arrives(void **state)
{
	struct sctp_net *net = sctp_net_new(3, NULL, NULL);
	struct sctp_send_options o = {.stream = 0, .ppid = 51};

	(void)state;
	assert_true(sctp_net_connect(net));
	assert_int_equal(sctp_send(net->end[0], &o, "hello", 5, net->now_us), 0);
	sctp_net_run(net, net->now_us + 1000000);
	assert_int_equal(net->messages[1], 1);
	sctp_net_free(net);
}

static void assoc_tunnel_packets_arrive(void **state)
{
	struct sctp_net *net = sctp_net_new(4, NULL, NULL);
	static uint8_t bytes[1380];
	struct pkt in[200];
	int result;

	(void)state;
	assert_true(sctp_net_connect(net));
	for (int i = 0; i < 2; i++)
		sctp_tunnel_start(net->end[i], 2, net->now_us);
	for (size_t i = 0; i < 200; i++)
		in[i] = (struct pkt){.data = bytes, .len = sizeof(bytes)};
	assert_int_equal(sctp_net_tunnel(net, 0, 2, in, 200, &result), 200);
	assert_int_equal(result, 0);
	sctp_net_run(net, net->now_us + 1000000);
	assert_int_equal(net->messages[1], 200);
	sctp_net_free(net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(assoc_connect_both_sides_is_up),
		cmocka_unit_test(assoc_connect_one_side_is_up),
		cmocka_unit_test(assoc_send_reliable_arrives),
		cmocka_unit_test(assoc_tunnel_packets_arrive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
