/* SPDX-License-Identifier: Apache-2.0 */
/*
 * messages_document - docs/messages.md from common/messages.def.
 *
 *	messages_document write FILE
 *	messages_document check FILE	exit status 1 if FILE is not what write would make
 */
#include "base.h"
#include <stdio.h>
#include <stdlib.h>

struct line {
	const char *section; /* or NULL, and: */
	const char *code, *severity, *en, *en_remedy, *ja, *ja_remedy;
};

static const struct line lines[] = {
#define SECTION(title) { .section = (title) },
#define MSG(code, severity, en, en_remedy, ja, ja_remedy) { NULL, #code, #severity, en, en_remedy, ja, ja_remedy },
#include "messages.def"
#undef MSG
};

static const char *severity_word(const char *severity)
{
	if (strcmp(severity, "ERROR") == 0)
		return "Error";
	return strcmp(severity, "WARNING") == 0 ? "Warning" : "Information";
}

static void write_line(FILE *f, const struct line *l)
{
	if (l->section) {
		fprintf(f, "\n## %c%s\n", l->section[0] & ~0x20, l->section + 1);
		return;
	}
	fprintf(f, "\n### %s\n\n%s: %s. %s\n\n%s。%s\n", l->code, severity_word(l->severity), l->en, l->en_remedy, l->ja,
		l->ja_remedy);
}

static void write_document(FILE *f)
{
	fprintf(f, "# Messages\n\n"
		   "Everything a person may have to act on: what is said, and what to do. Words in braces stand for "
		   "values. The codes are what the API, the event log and `--json` carry.\n\n"
		   "This page is made from `common/messages.def` by `ninja messages-document`.\n");
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		write_line(f, &lines[i]);
}

static int check(const char *path)
{
	FILE *f = fopen(path, "re"), *made;
	char *text = NULL, *found = NULL;
	size_t len, found_len = 0;
	bool same;

	made = open_memstream(&text, &len);
	if (!f || !made) {
		perror(path);
		return 2;
	}
	write_document(made);
	fclose(made);
	found = malloc(len + 1);
	if (!found)
		abort();
	found_len = fread(found, 1, len + 1, f);
	same = found_len == len && memcmp(found, text, len) == 0;
	if (!same)
		fprintf(stderr, "%s is not what common/messages.def says; run `ninja messages-document`\n", path);
	fclose(f);
	free(found);
	free(text);
	return same ? 0 : 1;
}

int main(int argc, char **argv)
{
	FILE *f;

	if (argc == 3 && strcmp(argv[1], "check") == 0)
		return check(argv[2]);
	if (argc != 3 || strcmp(argv[1], "write") != 0) {
		fprintf(stderr, "usage: messages_document write|check FILE\n");
		return 2;
	}
	f = fopen(argv[2], "we");
	if (!f) {
		perror(argv[2]);
		return 2;
	}
	write_document(f);
	return fclose(f) == 0 ? 0 : 2;
}
