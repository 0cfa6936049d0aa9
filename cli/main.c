/* SPDX-License-Identifier: Apache-2.0 */
/* godwit - the command for people and scripts; a client of the console's API. */
#include "cli.h"
#include "api.h"
#include "output.h"
#include "show.h"
#include "words.h"
#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool cli_japanese(const struct cli *c)
{
	return c->language == LANGUAGE_JA;
}

/* --- saying what went wrong ---------------------------------------------------------- */

int cli_fail(const struct cli *c, const struct fault *fault)
{
	char text[1024], hinted[WORDS_HINT_MAX];

	fault_format(fault, c->language, text, sizeof(text));
	fprintf(stderr, "godwit: %s\n", words_with_data(c, text, hinted));
	return CLI_FAILED;
}

int cli_fail_message(const struct cli *c, enum message_code code, ...)
{
	struct message_arg args[FAULT_ARGS_MAX + 1] = { 0 };
	char text[1024], remedy[1024], hinted[WORDS_HINT_MAX];
	va_list ap;

	va_start(ap, code);
	for (size_t i = 0; i < FAULT_ARGS_MAX; i++) {
		args[i].name = va_arg(ap, const char *);
		if (!args[i].name)
			break;
		args[i].value = va_arg(ap, const char *);
	}
	va_end(ap);
	message_text(code, c->language, args, text, sizeof(text));
	message_remedy(code, c->language, args, remedy, sizeof(remedy));
	fprintf(stderr, "godwit: %s%s%s\n", text, cli_japanese(c) ? "。" : ". ", words_with_data(c, remedy, hinted));
	return CLI_FAILED;
}

int cli_fail_errno(const struct cli *c, const char *what, int err)
{
	fprintf(stderr, "godwit: %s: %s\n", what, strerror(-err));
	return CLI_FAILED;
}

/* --- language --------------------------------------------------------------------------- */

static enum message_language language_of_environment(void)
{
	static const char *const names[] = { "LC_ALL", "LC_MESSAGES", "LANG" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			return strncmp(value, "ja", 2) == 0 ? LANGUAGE_JA : LANGUAGE_EN;
	}
	return LANGUAGE_EN;
}

static int choose_language(struct cli *c)
{
	const char *lang = cli_option(c, "lang");

	if (!lang)
		return CLI_DONE;
	if (strcmp(lang, "ja") == 0)
		c->language = LANGUAGE_JA;
	else if (strcmp(lang, "en") == 0)
		c->language = LANGUAGE_EN;
	else
		return cli_usage(c, "--lang is en or ja, not \"%s\"", lang);
	return CLI_DONE;
}

/* --- running a verb ----------------------------------------------------------------------- */

static int run_verb(struct cli *c, int argc, char **argv)
{
	int r = options_parse(c, argc, argv);

	if (r != CLI_DONE)
		return r;
	if (cli_switch(c, "help")) {
		help_verb(c->verb);
		return CLI_DONE;
	}
	r = choose_language(c);
	if (r != CLI_DONE)
		return r;
	if (cli_japanese(c))
		show_in_japanese();
	c->output = (c->verb->uses & USES_JSON) && cli_switch(c, "json") ? &output_json : &output_text;
	r = c->verb->run(c);
	/* A full disk or a closed pipe behind standard output is a failure, too. */
	if (fflush(stdout) != 0 && r == CLI_DONE && errno != EPIPE)
		r = cli_fail_errno(c, "standard output", -errno);
	return r;
}

static int unknown_verb(const char *word)
{
	fprintf(stderr, "godwit: there is no verb \"%s\". The verbs are:", word);
	for (size_t i = 0; verbs[i]; i++)
		fprintf(stderr, " %s", verbs[i]->name);
	fprintf(stderr, "\n");
	return CLI_USAGE;
}

int main(int argc, char **argv)
{
	struct cli c = { .language = language_of_environment() };
	const char *word = argc > 1 ? argv[1] : "help";
	int r;

	if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1)
		setlocale(LC_CTYPE, "C.UTF-8");
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		word = "help";
	if (strcmp(word, "--version") == 0)
		word = "version";
	c.verb = verb_find(word);
	if (!c.verb)
		return unknown_verb(word);
	r = run_verb(&c, argc > 2 ? argc - 2 : 0, argv + 2);
	api_done(&c);
	free(c.data);
	free(c.console_url);
	free(c.ca_path);
	free(c.bearer);
	return r;
}
