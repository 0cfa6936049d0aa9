/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts of a machine, which may be anybody's: what its console says, the list of its EFI
 * system partition, files of its system.  The first letter says which:
 *
 *	s	serial console: why it does not boot
 *	l	list of loaders
 *	f	fstab; its first line is the device whose name is changed
 *	c	the kernel's command line, and other words with "root="; likewise
 *	n	configuration of a network card
 *	r	routes
 *	m	list of modules
 */
#include "fuzz.h"
#include "edits.h"
#include "facts.h"
#include "loader.h"
#include "symptom.h"
#include "utf8.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MAC "52:54:00:12:34:56"

static void check_symptom(const char *text)
{
	enum message_code code = (enum message_code)-1;
	char line[100] = "";

	if (!symptom_find(text, &code, line, sizeof(line)))
		return;
	assert(code == MSG_LAUNCH_NO_KERNEL || code == MSG_LAUNCH_NO_ROOT || code == MSG_LAUNCH_PANICKED);
	assert(strlen(line) < sizeof(line) && utf8_is_printable(line, strlen(line)));
}

static void check_loader(const char *text)
{
	char path[64] = "";
	int err = loader_choose(text, path, sizeof(path));

	assert(err == 0 || err == -ENOENT || err == -EEXIST);
	if (err)
		return;
	assert(*path && strlen(path) < sizeof(path) && strstr(text, path) && !strpbrk(path, "\r\n"));
}

/* Changed once there is nothing to change any more, if it is a name of hardware.  Takes the texts. */
static void check_settled(const char *what, char *changed, char *again)
{
	assert(!again || !hardware_is_name(what));
	free(changed);
	free(again);
}

/* The first line of *@text, which is moved on. */
static void take_device(const char **text, char *ret, size_t size)
{
	size_t len = strcspn(*text, "\n");

	snprintf(ret, size, "%.*s", (int)MIN(len, size - 1), *text);
	*text += len + ((*text)[len] == '\n');
}

static int find_disk(void *context, const char *device, unsigned int *ret_disk, char *ret_uuid, size_t size)
{
	assert(size > 1);
	*ret_disk = 0;
	memcpy(ret_uuid, "u", 2);
	return strlen(device) % 2 ? 0 : -ENOENT;
}

static const struct facts_devices devices = { .find = find_disk };

static void check_fstab(const char *text)
{
	struct hardware h = { 0 };
	char device[96], wanted[96], *changed;
	const char *at, *before;

	take_device(&text, wanted, sizeof(wanted));
	at = text;
	facts_take_fstab(&h, text, &devices);
	assert(h.name_count <= HARDWARE_NAMES_MAX);
	for (before = at; edits_next_fstab(&at, device, sizeof(device)); before = at)
		assert(at > before && at <= text + strlen(text) && strlen(device) < sizeof(device));
	changed = edits_fstab(text, wanted, "UUID=u");
	if (changed)
		check_settled(wanted, changed, edits_fstab(changed, wanted, "UUID=u"));
}

static void check_command_line(const char *text)
{
	struct hardware h = { 0 };
	char device[96], wanted[96], *changed;
	const char *at, *before;

	take_device(&text, wanted, sizeof(wanted));
	at = text;
	facts_take_command_line(&h, text, &devices);
	assert(h.name_count <= HARDWARE_NAMES_MAX);
	for (before = at; edits_next_argument(text, "root=", &at, device, sizeof(device)); before = at)
		assert(at > before && at <= text + strlen(text) && strlen(device) < sizeof(device));
	changed = edits_argument(text, "root=", wanted, "UUID=u");
	if (changed)
		check_settled(wanted, changed, edits_argument(changed, "root=", wanted, "UUID=u"));
}

static void check_network(const char *text)
{
	static const char *const paths[] = { "/etc/network/interfaces", "/etc/netplan/50.yaml",
					     "/etc/udev/rules.d/70-persistent-net.rules" };
	struct hardware h = { .card_count = 1, .cards = { { .interface = "eth0", .mac = MAC } } };
	char *changed = edits_mac(text, MAC, "52:54:00:65:43:21");

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		facts_take_network_file(&h, paths[i], text);
	assert(h.binding_count <= HARDWARE_BINDINGS_MAX);
	if (changed)
		check_settled("/dev/sda", changed, edits_mac(changed, MAC, "52:54:00:65:43:21"));
}

static void check_routes(const char *text)
{
	char name[16];

	if (facts_default_interface(text, name, sizeof(name)))
		assert(*name && strlen(name) < sizeof(name));
}

static void check_modules(const char *text)
{
	struct hardware h = { 0 };

	hardware_take_modules(&h, text, REACH_MODULE);
	for (unsigned int i = 0; i < DRIVERS; i++)
		assert(h.drivers[i] == REACH_NONE || h.drivers[i] == REACH_MODULE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		uint8_t letter;
		void (*check)(const char *text);
	} kinds[] = { { 's', check_symptom }, { 'l', check_loader }, { 'f', check_fstab }, { 'c', check_command_line },
		      { 'n', check_network }, { 'r', check_routes }, { 'm', check_modules } };
	char *text;

	if (!size)
		return 0;
	text = malloc(size);
	if (!text)
		abort();
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].letter == data[0])
			kinds[i].check(text);
	free(text);
	return 0;
}
