/* SPDX-License-Identifier: MIT */

#include "engine/client/subnet.h"

#include "base/err.h"
#include "base/mem.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define TRIES            4096
#define RESOLV_CONF_SIZE 8192

void subnet_facts_deinit(struct subnet_facts *f)
{
	mem_free(f->addrs);
	mem_free(f->entries);
	*f = (struct subnet_facts){0};
}

void subnet_facts_add_dns(struct subnet_facts *f, const char *text)
{
	char word[NETADDR_TEXT_SIZE];

	for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, "nameserver", 10) != 0 || (line[10] != ' ' && line[10] != '\t'))
			continue;
		const char *at = line + 10 + strspn(line + 10, " \t");
		size_t len = strcspn(at, " \t\r\n");
		if (len == 0 || len >= sizeof(word) || f->n_dns == SUBNET_DNS_MAX)
			continue;
		memcpy(word, at, len);
		word[len] = '\0';
		if (netaddr_parse_ip(word, &f->dns[f->n_dns]))
			f->n_dns++;
	}
}

static void read_dns(struct subnet_facts *f, const char *path)
{
	char text[RESOLV_CONF_SIZE];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return;
	text[n] = '\0';
	subnet_facts_add_dns(f, text);
}

int subnet_facts_read(struct subnet_facts *out, struct route *route, const char *resolv_conf)
{
	struct subnet_facts f = {0};
	int r = route_addrs(route, &f.addrs, &f.n_addrs);

	if (r == 0)
		r = route_entries(route, &f.entries, &f.n_entries);
	if (r < 0) {
		subnet_facts_deinit(&f);
		return err_up(r);
	}
	read_dns(&f, resolv_conf);
	*out = f;
	return 0;
}

static bool holds(const struct netprefix *subnet, const struct netaddr *a, const char *what,
                  struct diag *why)
{
	char subnet_text[NETADDR_TEXT_SIZE], text[NETADDR_TEXT_SIZE];

	if (a->family != NETADDR_IP4 || !netprefix_contains(subnet, a))
		return false;
	diag_set(why, "the subnet %s conflicts with %s %s", netprefix_text(subnet, subnet_text),
	         what, netaddr_ip_text(a, text));
	return true;
}

static bool crosses(const struct netprefix *subnet, const struct netprefix *other, const char *what,
                    struct diag *why)
{
	char subnet_text[NETADDR_TEXT_SIZE], text[NETADDR_TEXT_SIZE];

	if (other->addr.family != NETADDR_IP4 || !netprefix_overlaps(subnet, other))
		return false;
	diag_set(why, "the subnet %s conflicts with %s %s", netprefix_text(subnet, subnet_text),
	         what, netprefix_text(other, text));
	return true;
}

bool subnet_conflicts(const struct subnet_facts *f, const struct netprefix *subnet,
                      uint32_t own_ifindex, struct diag *why)
{
	for (size_t i = 0; i < f->n_others; i++) {
		if (crosses(subnet, &f->others[i], "another network's subnet", why))
			return true;
	}
	for (size_t i = 0; i < f->n_addrs; i++) {
		if ((own_ifindex == 0 || f->addrs[i].ifindex != own_ifindex) &&
		    holds(subnet, &f->addrs[i].addr, "this computer's address", why))
			return true;
	}
	for (size_t i = 0; i < f->n_entries; i++) {
		const struct route_entry *e = &f->entries[i];
		if (own_ifindex != 0 && e->ifindex == own_ifindex)
			continue;
		if (holds(subnet, &e->gateway, "the gateway", why) ||
		    (e->dst.bits >= subnet->bits && crosses(subnet, &e->dst, "the route to", why)))
			return true;
	}
	for (size_t i = 0; i < f->n_dns; i++) {
		if (holds(subnet, &f->dns[i], "the DNS server", why))
			return true;
	}
	return false;
}

bool subnet_choose(const struct subnet_facts *f, struct rng *rng, struct netprefix *out)
{
	for (int i = 0; i < TRIES; i++) {
		uint32_t ip = 10u << 24 | rng_below(rng, 1u << 16) << 8;
		struct netaddr a = netaddr_ip4(ip, 0);
		struct netprefix p = netprefix_of(&a, SUBNET_DEFAULT_BITS);
		if (!subnet_conflicts(f, &p, 0, NULL)) {
			*out = p;
			return true;
		}
	}
	return false;
}
