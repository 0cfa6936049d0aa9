/* SPDX-License-Identifier: Apache-2.0 */
#include "edits.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct edited {
	char *text;
	size_t len;
	FILE *to;
	bool changed;
};

static bool begin(struct edited *e)
{
	*e = (struct edited){ 0 };
	e->to = open_memstream(&e->text, &e->len);
	return e->to;
}

static char *end(struct edited *e)
{
	bool good = fclose(e->to) == 0;

	if (good && e->changed)
		return e->text;
	free(e->text);
	return NULL;
}

char *edits_fstab(const char *text, const char *device, const char *with)
{
	size_t len = strlen(device);
	struct edited e;

	if (!begin(&e))
		return NULL;
	while (*text) {
		size_t line = strcspn(text, "\n"), skip = strspn(text, " \t");

		line += text[line] == '\n';
		if (strncmp(text + skip, device, len) == 0 && (text[skip + len] == ' ' || text[skip + len] == '\t')) {
			fprintf(e.to, "%.*s%s", (int)skip, text, with);
			fwrite(text + skip + len, 1, line - skip - len, e.to);
			e.changed = true;
		} else {
			fwrite(text, 1, line, e.to);
		}
		text += line;
	}
	return end(&e);
}

static bool ends_word(char c)
{
	return c == 0 || isspace((unsigned char)c) || c == '"' || c == '\'';
}

char *edits_argument(const char *text, const char *name, const char *device, const char *with)
{
	size_t name_len = strlen(name), len = strlen(device);
	const char *from = text, *p;
	struct edited e;

	if (!begin(&e))
		return NULL;
	for (p = text; (p = strstr(p, name));) {
		if ((p > text && !ends_word(p[-1])) || strncmp(p + name_len, device, len) != 0 ||
		    !ends_word(p[name_len + len])) {
			p += name_len;
			continue;
		}
		fwrite(from, 1, (size_t)(p - from), e.to);
		fprintf(e.to, "%s%s", name, with);
		from = p = p + name_len + len; /* behind the device, which may hold the name itself */
		e.changed = true;
	}
	fputs(from, e.to);
	return end(&e);
}

static bool goes_on(char c)
{
	return c == ':' || isxdigit((unsigned char)c);
}

char *edits_mac(const char *text, const char *mac, const char *with)
{
	size_t len = strlen(mac);
	const char *from = text, *p;
	struct edited e;

	if (!len || strcasecmp(mac, with) == 0 || !begin(&e))
		return NULL;
	for (p = text; (p = strcasestr(p, mac)); p += len) {
		if ((p > text && goes_on(p[-1])) || goes_on(p[len]))
			continue;
		fwrite(from, 1, (size_t)(p - from), e.to);
		fputs(with, e.to);
		from = p + len;
		e.changed = true;
	}
	fputs(from, e.to);
	return end(&e);
}

static bool take(const char *p, size_t len, char *ret, size_t size)
{
	if (len == 0 || len >= size)
		return false;
	memcpy(ret, p, len);
	ret[len] = 0;
	return true;
}

bool edits_next_argument(const char *text, const char *name, const char **at, char *ret, size_t size)
{
	size_t len = strlen(name);

	for (const char *p = *at; (p = strstr(p, name)); p += len) {
		bool word = p == text || ends_word(p[-1]);

		*at = p + len;
		if (word && take(p + len, strcspn(p + len, " \t\r\n\"'"), ret, size))
			return true;
	}
	return false;
}

bool edits_next_fstab(const char **at, char *ret, size_t size)
{
	while (**at) {
		const char *p = *at + strspn(*at, " \t");
		size_t line = strcspn(*at, "\n");

		*at += line + ((*at)[line] == '\n');
		if (*p != '#' && take(p, strcspn(p, " \t\n"), ret, size))
			return true;
	}
	return false;
}
