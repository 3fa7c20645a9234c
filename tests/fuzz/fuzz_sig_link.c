/* SPDX-License-Identifier: MIT */

/* Invite links, server addresses, network ids and codes, as people paste them. */

#include "base/mem.h"
#include "proto/sig/link.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_link(const char *text)
{
	struct link_invite link, back;
	char out[LINK_TEXT_SIZE];

	if (link_parse(text, &link, NULL) != LINK_OK)
		return;
	if (link_parse(link_format(&link, out), &back, NULL) != LINK_OK ||
	    !link_server_equal(&link.server, &back.server) || link.has_pin != back.has_pin ||
	    memcmp(link.seed, back.seed, sizeof(link.seed)) != 0 ||
	    memcmp(link.pin, back.pin, sizeof(link.pin)) != 0 ||
	    memcmp(link.network_id, back.network_id, sizeof(link.network_id)) != 0)
		abort();
}

static void check_server(const char *text)
{
	struct link_server server, back;
	char url[LINK_URL_SIZE], host_port[LINK_HOST_PORT_SIZE];

	if (link_server_parse(text, &server, NULL) != LINK_OK)
		return;
	if (link_server_parse(link_server_url(&server, url), &back, NULL) != LINK_OK ||
	    !link_server_equal(&server, &back))
		abort();
	if (strlen(link_server_host_port(&server, host_port)) >= LINK_HOST_PORT_SIZE)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_alloc(size + 1, 1);
	char id_text[NETID_TEXT_SIZE], code[NETID_CODE_SIZE];
	uint8_t id[NETID_SIZE];

	if (text == NULL)
		abort();
	memcpy(text, data, size);
	check_link(text);
	check_server(text);
	if (netid_parse(text, id) && strlen(netid_text(id, id_text)) != NETID_TEXT_SIZE - 1)
		abort();
	if (netid_parse_code(text, code) && strlen(code) != NETID_CODE_SIZE - 1)
		abort();
	mem_free(text);
	return 0;
}
