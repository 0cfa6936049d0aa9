/* SPDX-License-Identifier: Apache-2.0 */
/* The command line against the table of verbs, and the help made from it. */
#include "cli.h"
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Options that many verbs have; `uses` says which verbs. */
static const struct {
	unsigned int uses;
	struct verb_option option;
} shared[] = {
	{ USES_DATA | USES_CONSOLE,
	  { "data", "DIR", "the instance's data folder (GODWIT_DATA, else " DATA_FOLDER_DEFAULT ")" } },
	{ USES_CONSOLE, { "console", "URL", "a console elsewhere, with --token-file and --ca" } },
	{ USES_CONSOLE, { "token-file", "FILE", "the admin token of that console" } },
	{ USES_CONSOLE, { "ca", "FILE", "the CA certificate of that console" } },
	{ USES_JSON, { "json", NULL, "for programs" } },
	{ ~0u, { "lang", "en|ja", "language of what is shown (else from LANG)", "en ja" } },
	{ ~0u, { "help", NULL, "show this" } },
};

const struct verb_option *verb_option_get(const struct verb *v, size_t index)
{
	size_t own = 0;

	while (v->options && v->options[own].name) {
		if (own == index)
			return &v->options[own];
		own++;
	}
	index -= own;
	for (size_t i = 0; i < ARRAY_LEN(shared); i++) {
		if (shared[i].uses != ~0u && !(shared[i].uses & v->uses))
			continue;
		if (index-- == 0)
			return &shared[i].option;
	}
	return NULL;
}

static const struct verb_option *option_find(const struct verb *v, const char *name, size_t length, size_t *ret_index)
{
	const struct verb_option *o;

	for (size_t i = 0; (o = verb_option_get(v, i)); i++) {
		if (strlen(o->name) == length && memcmp(o->name, name, length) == 0) {
			*ret_index = i;
			return o;
		}
	}
	return NULL;
}

const char *cli_option(const struct cli *c, const char *name)
{
	size_t index = OPTIONS_MAX;

	assert(option_find(c->verb, name, strlen(name), &index));
	return c->option_values[index];
}

bool cli_switch(const struct cli *c, const char *name)
{
	return cli_option(c, name) != NULL;
}

bool cli_option_number(const struct cli *c, const char *name, uint64_t least, uint64_t most, uint64_t fallback,
		       uint64_t *ret)
{
	const char *text = cli_option(c, name);
	unsigned long long value;
	char *end;

	if (!text) {
		*ret = fallback;
		return true;
	}
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value < least || value > most) {
		cli_usage(c, "--%s is a number from %llu to %llu, not \"%s\"", name, (unsigned long long)least,
			  (unsigned long long)most, text);
		return false;
	}
	*ret = value;
	return true;
}

/* One "--name", "--name value" or "--name=value" at argv[*@at]. */
static int parse_option(struct cli *c, int argc, char **argv, int *at)
{
	const char *name = argv[*at] + 2, *equals = strchr(name, '=');
	size_t length = equals ? (size_t)(equals - name) : strlen(name), index = 0;
	const struct verb_option *o = option_find(c->verb, name, length, &index);

	if (!o)
		return cli_usage(c, "there is no option --%.*s", (int)length, name);
	assert(index < OPTIONS_MAX);
	if (!o->value) {
		if (equals)
			return cli_usage(c, "--%s takes no value", o->name);
		c->option_values[index] = "";
		return CLI_DONE;
	}
	if (equals)
		c->option_values[index] = equals + 1;
	else if (*at + 1 < argc && strncmp(argv[*at + 1], "--", 2) != 0) /* --token $EMPTY --data DIR */
		c->option_values[index] = argv[++*at];
	else
		return cli_usage(c, "--%s needs its value: %s", o->name, o->value);
	if (!*c->option_values[index])
		return cli_usage(c, "--%s needs its value: %s", o->name, o->value);
	return CLI_DONE;
}

/* Name the first operand that is not there, as the help calls it. */
static int missing_operand(const struct cli *c)
{
	const char *word = c->verb->operands;
	int length;

	for (size_t i = 0; i < c->operand_count && strchr(word, ' '); i++)
		word = strchr(word, ' ') + 1;
	word += strspn(word, "[");
	length = (int)strcspn(word, " ].");
	return cli_usage(c, "%.*s is missing", length, word);
}

int options_parse(struct cli *c, int argc, char **argv)
{
	bool only_operands = false;

	/* Operands and options may be mixed; what is not an option moves to the front. */
	c->operands = argv;
	c->operand_count = 0;
	for (int i = 0; i < argc; i++) {
		char *word = argv[i];
		int r;

		if (!only_operands && strcmp(word, "--") == 0) {
			only_operands = true;
		} else if (!only_operands && strcmp(word, "-h") == 0) {
			if (parse_option(c, 1, (char *[]){ (char *)"--help" }, &(int){ 0 }) != CLI_DONE)
				return CLI_USAGE;
		} else if (!only_operands && strncmp(word, "--", 2) == 0) {
			r = parse_option(c, argc, argv, &i);
			if (r != CLI_DONE)
				return r;
		} else if (!only_operands && word[0] == '-' && word[1]) {
			return cli_usage(c, "there is no option %s", word);
		} else {
			c->operands[c->operand_count++] = word;
		}
	}
	if (cli_switch(c, "help"))
		return CLI_DONE;
	if (c->operand_count < c->verb->operands_min)
		return missing_operand(c);
	if (c->operand_count > c->verb->operands_max)
		return cli_usage(c, "\"%s\" is one word too many", c->operands[c->verb->operands_max]);
	return CLI_DONE;
}

int cli_usage(const struct cli *c, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "godwit %s: ", c->verb->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nUsage: godwit %s%s%s%s\n`godwit %s --help` explains it.\n", c->verb->name,
		verb_option_get(c->verb, 0) ? " [OPTIONS]" : "", c->verb->operands[0] ? " " : "", c->verb->operands,
		c->verb->name);
	return CLI_USAGE;
}

void help_verb(const struct verb *v)
{
	const struct verb_option *o;

	printf("Usage: godwit %s [OPTIONS]%s%s\n\n%s.\n", v->name, v->operands[0] ? " " : "", v->operands, v->summary);
	if (v->details)
		printf("\n%s\n", v->details);
	printf("\nOptions:\n");
	for (size_t i = 0; (o = verb_option_get(v, i)); i++) {
		char name[64];

		snprintf(name, sizeof(name), "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
		printf("  %-26s %s\n", name, o->help);
	}
}

void help_verbs(void)
{
	printf("godwit replicates the disks of running machines and brings any second of them back.\n\n"
	       "Usage: godwit VERB [OPTIONS] [OPERANDS]\n\n");
	for (size_t i = 0; verbs[i]; i++) {
		char head[64];

		snprintf(head, sizeof(head), "%s %s", verbs[i]->name, verbs[i]->operands);
		if (strlen(head) > 34)
			printf("  %s\n  %-34s %s\n", head, "", verbs[i]->summary);
		else
			printf("  %-34s %s\n", head, verbs[i]->summary);
	}
	printf("\n`godwit VERB --help` explains one of them; godwit(1) explains everything.\n"
	       "To begin: `godwit up`, then `godwit protect /dev/DISK --name NAME`.\n");
}
