/* SPDX-License-Identifier: Apache-2.0 */
#include "symptom.h"
#include "utf8.h"

#include <stdio.h>

#define ESC '\x1b'

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

/* The length of the terminal's escape sequence at @p: ESC [ ... letter, or ESC and one more. */
static size_t escape_len(const char *p)
{
	size_t n = 2;

	if (p[0] != ESC || !p[1])
		return p[0] == ESC;
	if (p[1] != '[')
		return n;
	n += strspn(p + n, "0123456789;:<=>?!\"#$%&'()*+,-./ ");
	return p[n] ? n + 1 : n;
}

/* Firmware and boot loaders place what they say; what is said is wanted. */
static void take_line(const char *text, const char *at, char *ret, size_t size)
{
	const char *start = at;
	char line[160];
	size_t n = 0;

	while (start > text && start[-1] != '\n' && start[-1] != '\r')
		start--;
	for (const char *p = start; *p && *p != '\r' && *p != '\n' && n < sizeof(line) - 1;) {
		size_t skip = escape_len(p);

		if (skip)
			p += skip;
		else
			line[n++] = *p++;
	}
	line[n] = 0;
	utf8_clean(line, ret, size);
}

static const char *find(const char *text, enum message_code *ret_code)
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
	return last;
}

bool symptom_find(const char *text, enum message_code *ret_code, char *ret_line, size_t size)
{
	const char *last = find(text, ret_code);

	if (last)
		take_line(text, last, ret_line, size);
	return last != NULL;
}

bool symptom_is_over(const char *text)
{
	static const char *const further[] = { "Linux version ", "systemd[1]", "login:" };
	enum message_code code;
	const char *last = find(text, &code);

	for (size_t i = 0; i < ARRAY_LEN(further); i++)
		if (strstr(last ?: text, further[i]))
			return true;
	return false;
}
