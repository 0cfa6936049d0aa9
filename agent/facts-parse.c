/* SPDX-License-Identifier: Apache-2.0 */
/* What files say, as text; nothing is opened here. */
#include "facts.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* The next line of *@p into @line, cut to @size; false at the end. */
static bool next_line(const char **p, char *line, size_t size)
{
	size_t len = strcspn(*p, "\n");

	if (!**p)
		return false;
	snprintf(line, size, "%.*s", (int)MIN(len, size - 1), *p);
	*p += len + ((*p)[len] == '\n');
	return true;
}

/* --- devices by name ------------------------------------------------------------------------ */

static void add_name(struct hardware *h, const char *file, const char *device, const struct facts_devices *d)
{
	struct hardware_name *n = &h->names[h->name_count];

	if (h->name_count == HARDWARE_NAMES_MAX || !hardware_is_name(device) || strlen(device) >= sizeof(n->device))
		return;
	*n = (struct hardware_name){ 0 };
	snprintf(n->file, sizeof(n->file), "%s", file);
	snprintf(n->device, sizeof(n->device), "%s", device);
	if (d->find(d->context, device, &n->disk, n->uuid, sizeof(n->uuid)) == 0)
		h->name_count++;
}

void facts_take_fstab(struct hardware *h, const char *text, const struct facts_devices *d)
{
	char line[1024], device[256];

	while (next_line(&text, line, sizeof(line)))
		if (sscanf(line, " %255s", device) == 1 && device[0] != '#')
			add_name(h, "/etc/fstab", device, d);
}

void facts_take_command_line(struct hardware *h, const char *text, const struct facts_devices *d)
{
	char copy[4096], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " \t\n\"", &save); word; word = strtok_r(NULL, " \t\n\"", &save)) {
		if (strncmp(word, "root=", 5) == 0)
			add_name(h, "kernel command line", word + 5, d);
		else if (strncmp(word, "resume=", 7) == 0)
			add_name(h, "kernel command line", word + 7, d);
	}
}

/* --- network ----------------------------------------------------------------------------------- */

/* @word in @line, with nothing before or after it that could belong to it. */
static bool has_word(const char *line, const char *word, const char *inner)
{
	size_t len = strlen(word);

	for (const char *p = line; len && (p = strcasestr(p, word)); p++) {
		bool begins = p == line || (!isalnum((unsigned char)p[-1]) && !strchr(inner, p[-1]));
		bool ends = !p[len] || (!isalnum((unsigned char)p[len]) && !strchr(inner, p[len]));

		if (begins && ends)
			return true;
	}
	return false;
}

static void add_binding(struct hardware *h, const char *path, bool by_mac)
{
	struct hardware_binding *b = &h->bindings[h->binding_count];

	for (unsigned int i = 0; i < h->binding_count; i++)
		if (h->bindings[i].card == h->card_count - 1 && h->bindings[i].by_mac == by_mac && strcmp(h->bindings[i].file, path) == 0)
			return;
	if (h->binding_count == HARDWARE_BINDINGS_MAX || strlen(path) >= sizeof(b->file))
		return;
	snprintf(b->file, sizeof(b->file), "%s", path);
	b->by_mac = by_mac;
	b->card = h->card_count - 1;
	h->binding_count++;
}

void facts_take_network_file(struct hardware *h, const char *path, const char *text)
{
	const struct hardware_card *c = &h->cards[h->card_count - 1];
	char line[1024];

	assert(h->card_count);
	while (next_line(&text, line, sizeof(line))) {
		const char *p = line + strspn(line, " \t");

		if (*p == '#' || *p == ';')
			continue;
		if (has_word(p, c->mac, ":"))
			add_binding(h, path, true);
		if (has_word(p, c->interface, "_-"))
			add_binding(h, path, false);
	}
}

bool facts_default_interface(const char *routes, char *ret, size_t size)
{
	unsigned int best = UINT_MAX, destination, gateway, flags, references, use, metric;
	char line[256], name[17];
	bool found = false;

	while (next_line(&routes, line, sizeof(line))) {
		if (sscanf(line, "%16s %x %x %x %u %u %u", name, &destination, &gateway, &flags, &references, &use,
			   &metric) != 7 ||
		    destination != 0 || (found && metric >= best))
			continue;
		best = metric;
		found = true;
		snprintf(ret, size, "%s", name);
	}
	return found;
}
