/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli - what the verbs of `godwit` share.
 *
 * A verb is one file with one entry in the table (verbs.c): its options, its
 * operands, its line of help and its function.  Help, usage errors and the
 * shell's completion are made from that table and nothing else, and a test
 * compares it with the manual.
 *
 *	main.c		language, verb, options; then verb->run()
 *	options.c	the command line against the table
 *	instance.c	which console, and with which key
 *	api.c		one call of docs/api.md, or one sentence why not
 *	output.h	what is shown, as text or as JSON
 *
 * A verb returns the program's exit status: 0, 1 (it was not done; one
 * sentence on standard error says why), 2 (the command line).
 */
#ifndef GODWIT_CLI_H
#define GODWIT_CLI_H

#include "base.h"
#include "message.h"
#include <jansson.h>

struct cli;
struct http;
struct output;

#define CLI_DONE 0
#define CLI_FAILED 1
#define CLI_USAGE 2

#define DATA_FOLDER_DEFAULT "/var/lib/godwit"

/* --- the table of verbs ------------------------------------------------------ */

struct verb_option {
	const char *name;  /* without the dashes */
	const char *value; /* what to call its value in the help, or NULL: a switch */
	const char *help;
	const char *words; /* the values that completion offers, separated by blanks, or NULL */
};

/* What a verb's operands are, for completion. */
enum verb_operand { OPERAND_NONE, OPERAND_MACHINE, OPERAND_DISK, OPERAND_FILE, OPERAND_VERB, OPERAND_LAUNCH };

/* Options that many verbs have. */
#define USES_DATA    1u /* --data */
#define USES_CONSOLE 2u /* --data, --console, --token-file, --ca */
#define USES_JSON    4u /* --json */

struct verb {
	const char *name;
	const char *operands; /* as in the help: "NAME [KEY=VALUE...]" */
	const char *summary;  /* one line */
	const char *details;  /* further lines of `godwit VERB --help`, or NULL */
	const struct verb_option *options; /* ends with a NULL name; may be NULL */
	unsigned int uses;
	unsigned int operands_min, operands_max;
	enum verb_operand first, others;
	int (*run)(struct cli *c);
};

extern const struct verb *const verbs[]; /* ends with NULL */
const struct verb *verb_find(const char *name);

/* The options that @uses stands for, then the verb's own; NULL after the last. */
const struct verb_option *verb_option_get(const struct verb *v, size_t index);

/* --- the command line ---------------------------------------------------------- */

#define OPTIONS_MAX 24

struct cli {
	const struct verb *verb;
	enum message_language language;
	const char *option_values[OPTIONS_MAX]; /* by verb_option_get()'s index; "" for a switch */
	char **operands;
	size_t operand_count;

	/* Where the instance is: instance.c */
	char *data;
	char *console_url, *ca_path, *bearer;
	struct http *http;

	const struct output *output; /* text or JSON */
};

/* The value of an option ("" for a switch), or NULL when it was not given.
 * @name must be in the verb's table. */
const char *cli_option(const struct cli *c, const char *name);
bool cli_switch(const struct cli *c, const char *name);

/* A number within limits, or the default; false after saying what is wrong. */
_must_check_ bool cli_option_number(const struct cli *c, const char *name, uint64_t least, uint64_t most,
				    uint64_t fallback, uint64_t *ret);

/* argv after the verb.  CLI_DONE, or CLI_USAGE after saying what is wrong. */
_must_check_ int options_parse(struct cli *c, int argc, char **argv);

void help_verb(const struct verb *v);
void help_verbs(void);

/* --- saying what went wrong ------------------------------------------------------ */

/* "godwit: text. Remedy" on standard error.  Return CLI_FAILED. */
int cli_fail(const struct cli *c, const struct fault *fault);
int cli_fail_message(const struct cli *c, enum message_code code, ...) __attribute__((sentinel));
int cli_fail_errno(const struct cli *c, const char *what, int err);

/* The command line is wrong; CLI_USAGE. */
int cli_usage(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

bool cli_japanese(const struct cli *c);

#endif
