/* SPDX-License-Identifier: Apache-2.0 */
#include "symptom.h"
#include "utf8.h"

#include <stdio.h>

static const struct {
	const char *text;
	enum message_code code;
} known[] = {
	{ "you need to load the kernel first", MSG_LAUNCH_NO_KERNEL },	      /* GRUB */
	{ "grub rescue>", MSG_LAUNCH_NO_KERNEL },
	{ "No bootable option or device was found", MSG_LAUNCH_NO_KERNEL },    /* OVMF */
	{ "UEFI Interactive Shell", MSG_LAUNCH_NO_KERNEL },
	{ "VFS: Unable to mount root fs", MSG_LAUNCH_NO_ROOT },		      /* Linux */
	{ "VFS: Cannot open root device", MSG_LAUNCH_NO_ROOT },
	{ "Gave up waiting for root file system device", MSG_LAUNCH_NO_ROOT }, /* initramfs-tools */
	{ "Gave up waiting for root device", MSG_LAUNCH_NO_ROOT },
	{ "Could not boot.", MSG_LAUNCH_NO_ROOT },			      /* dracut */
	{ "Kernel panic - not syncing", MSG_LAUNCH_PANICKED },
};

/* The last place of @wanted in @text. */
static const char *find_last(const char *text, const char *wanted)
{
	const char *found = NULL;

	for (const char *p = text; (p = strstr(p, wanted)); p++)
		found = p;
	return found;
}

static void take_line(const char *text, const char *at, char *ret, size_t size)
{
	const char *start = at;
	char line[160];

	while (start > text && start[-1] != '\n' && start[-1] != '\r')
		start--;
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(start, "\r\n"), start);
	utf8_clean(line, ret, size);
}

bool symptom_find(const char *text, enum message_code *ret_code, char *ret_line, size_t size)
{
	const char *last = NULL;

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		const char *at = find_last(text, known[i].text);

		/* A panic's own line also says which: the first of the table wins. */
		if (!at || (last && at <= last + 64 && at >= last - 64) || (last && at < last))
			continue;
		last = at;
		*ret_code = known[i].code;
	}
	if (last)
		take_line(text, last, ret_line, size);
	return last != NULL;
}
