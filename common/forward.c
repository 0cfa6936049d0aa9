/* SPDX-License-Identifier: Apache-2.0 */
#include "forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PART_SIZE 64 /* more is cut off, and is no forward all the same */

/* The text behind @part's last colon, which is cut off; NULL: it has none. */
static const char *cut_last(char *part)
{
	char *colon = strrchr(part, ':');

	if (!colon)
		return NULL;
	*colon = 0;
	return colon + 1;
}

static int take_port(const char *text, const char *part, unsigned int least, uint16_t *ret, struct fault *f)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long port = digits && digits <= 5 && !text[digits] ? strtoul(text, NULL, 10) : UINT16_MAX + 1ul;

	if (port > UINT16_MAX || port < least)
		return fault_set(f, -EINVAL, MSG_FORWARD_BAD_PORT, "port", text, "part", part, NULL);
	*ret = (uint16_t)port;
	return 0;
}

static int take_address(const char *text, const char *part, char ret[FORWARD_ADDRESS_SIZE], struct fault *f)
{
	struct in_addr a;

	if (strpbrk(text, ":[]"))
		return fault_set(f, -EINVAL, MSG_FORWARD_IPV6, "address", text, "part", part, NULL);
	if (inet_pton(AF_INET, text, &a) != 1)
		return fault_set(f, -EINVAL, MSG_FORWARD_NOT_ADDRESS, "address", text, "part", part, NULL);
	(void)inet_ntop(AF_INET, &a, ret, FORWARD_ADDRESS_SIZE);
	return 0;
}

static int parse_one(const char *part, struct forward *ret, struct fault *f)
{
	char text[PART_SIZE];
	const char *guest, *port;
	struct forward w = { .address = "127.0.0.1" };
	int err;

	snprintf(text, sizeof(text), "%s", part);
	guest = cut_last(text);
	if (!guest || !*guest)
		return fault_set(f, -EINVAL, MSG_FORWARD_NO_GUEST_PORT, "part", part, NULL);
	port = cut_last(text);
	err = take_port(guest, part, 1, &w.guest_port, f) ?: take_port(port ?: text, part, 0, &w.port, f) ?:
	      port ? take_address(text, part, w.address, f) : 0;
	if (err)
		return err;
	if (w.port && w.port < FORWARD_PORT_LEAST)
		return fault_set(f, -EINVAL, MSG_FORWARD_LOW_PORT, "port", port ?: text, "part", part, NULL);
	*ret = w;
	return 0;
}

static bool is_everywhere(const struct forward *w)
{
	return strcmp(w->address, "0.0.0.0") == 0;
}

static bool has(const struct forwards *all, const struct forward *w)
{
	for (unsigned int i = 0; i < all->count && w->port; i++)
		if (all->list[i].port == w->port && (is_everywhere(&all->list[i]) || is_everywhere(w) ||
						     strcmp(all->list[i].address, w->address) == 0))
			return true;
	return false;
}

static int add_one(const char *part, struct forwards *all, struct fault *f)
{
	char most[12];
	struct forward w;
	int err = parse_one(part, &w, f);

	if (err)
		return err;
	if (has(all, &w))
		return fault_set(f, -EINVAL, MSG_FORWARD_TWICE, "part", part, NULL);
	if (all->count == FORWARDS_MAX) {
		snprintf(most, sizeof(most), "%u", FORWARDS_MAX);
		return fault_set(f, -EINVAL, MSG_FORWARD_TOO_MANY, "most", most, NULL);
	}
	all->list[all->count++] = w;
	return 0;
}

int forward_parse(const char *text, struct forwards *ret, struct fault *ret_fault)
{
	struct forwards all = { .count = 0 };
	char part[PART_SIZE];
	int err = 0;

	while (*text && !err) {
		size_t length = strcspn(text, ",");

		snprintf(part, sizeof(part), "%.*s", (int)MIN(length, sizeof(part)), text);
		err = add_one(part, &all, ret_fault);
		text += length;
		if (!err && *text == ',' && !*++text)
			err = fault_set(ret_fault, -EINVAL, MSG_FORWARD_NO_GUEST_PORT, "part", ",", NULL);
	}
	if (!err)
		*ret = all;
	return err;
}
