/* SPDX-License-Identifier: Apache-2.0 */
/* godwit help, godwit version. */
#include "cli.h"
#include "completion.h"
#include "cli-config.h"
#include <stdio.h>

/* "verb option" a line: a test compares it with the manual. */
static void list_everything(void)
{
	const struct verb_option *o;

	for (size_t i = 0; verbs[i]; i++) {
		printf("%s\n", verbs[i]->name);
		for (size_t j = 0; (o = verb_option_get(verbs[i], j)); j++)
			printf("%s %s\n", verbs[i]->name, o->name);
	}
}

static int run_help(struct cli *c)
{
	const struct verb *v;

	if (cli_switch(c, "completion")) {
		completion_print();
		return CLI_DONE;
	}
	if (cli_switch(c, "list")) {
		list_everything();
		return CLI_DONE;
	}
	if (c->operand_count == 0) {
		help_verbs();
		return CLI_DONE;
	}
	v = verb_find(c->operands[0]);
	if (!v)
		return cli_usage(c, "there is no verb \"%s\"", c->operands[0]);
	help_verb(v);
	return CLI_DONE;
}

static const struct verb_option help_options[] = {
	{ "completion", NULL, "print the completion for bash" },
	{ "list", NULL, "print every verb and option" },
	{ NULL },
};

const struct verb verb_help = {
	.name = "help",
	.operands = "[VERB]",
	.summary = "Explain a verb, or list them all",
	.options = help_options,
	.operands_max = 1,
	.first = OPERAND_VERB,
	.run = run_help,
};

static int run_version(struct cli *c)
{
	puts("godwit " GODWIT_VERSION);
	return CLI_DONE;
}

const struct verb verb_version = {
	.name = "version",
	.operands = "",
	.summary = "Say which version this is",
	.run = run_version,
};
