/* SPDX-License-Identifier: Apache-2.0 */
/* godwit console-log - what a launched machine says on its serial console. */
#include "api.h"
#include "launch-follow.h"
#include "program.h"
#include <stdio.h>
#include <unistd.h>

#define LOOK_EVERY_MS 500
#define TIMEOUT_MS 30000

/* A machine is not to play tricks on the terminal of who looks at it. */
static void print_text(const char *text)
{
	if (isatty(STDOUT_FILENO) != 1) {
		fputs(text, stdout);
		return;
	}
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte == '\n' || byte == '\t' || (byte >= ' ' && byte != 0x7f && byte != 0xc2))
			putchar(byte);
		else if (byte == 0xc2 && (unsigned char)text[1] >= 0xa0)
			putchar(byte);
		else if (byte == 0xc2 && text[1])
			text++; /* C1 */
		else if (byte == 0x1b)
			fputs("^[", stdout);
	}
}

/* Shows what there is from @from on (UINT64_MAX: the end); where it ends, or
 * UINT64_MAX after saying what is wrong. */
static uint64_t show(struct cli *c, const char *id, uint64_t from, bool *ret_more)
{
	json_t *answer;
	uint64_t next;

	if (from == UINT64_MAX)
		answer = api_call(c, "GET", NULL, TIMEOUT_MS, "/launches/%s/console-log", id);
	else
		answer = api_call(c, "GET", NULL, TIMEOUT_MS, "/launches/%s/console-log?from=%llu", id,
				  (unsigned long long)from);
	if (!answer)
		return UINT64_MAX;
	print_text(get_text(answer, "text", ""));
	fflush(stdout);
	next = get_u64(answer, "next");
	*ret_more = next < get_u64(answer, "size") && (from == UINT64_MAX || next > from);
	json_decref(answer);
	return next;
}

/* Whether it may still say something. */
static bool is_alive(struct cli *c, const char *id)
{
	json_t *launch = api_get(c, "/launches/%s", id);
	bool alive = launch && json_is_null(json_object_get(launch, "ended"));

	json_decref(launch);
	return alive;
}

/* Until it is over, or an interruption. */
static int follow(struct cli *c, const char *id, uint64_t next)
{
	bool alive = true, more = true;

	while ((alive || more) && !interrupted() && !ferror(stdout)) {
		if (!more)
			pause_ms(LOOK_EVERY_MS);
		/* What it said at its end is shown, too. */
		alive = is_alive(c, id);
		next = show(c, id, next, &more);
		if (next == UINT64_MAX)
			return CLI_FAILED;
	}
	return interrupted() ? interrupt_status() : CLI_DONE;
}

static int run_console_log(struct cli *c)
{
	json_t *launch = launch_find(c, c->operands[0]);
	bool all = cli_switch(c, "all"), more = true;
	uint64_t next = all ? 0 : UINT64_MAX;
	int r = CLI_DONE;

	if (!launch)
		return CLI_FAILED;
	if (cli_switch(c, "follow"))
		interrupt_catch();
	do
		next = show(c, get_text(launch, "id", ""), next, &more);
	while (next != UINT64_MAX && more && !interrupted() && !ferror(stdout));
	if (next == UINT64_MAX)
		r = CLI_FAILED;
	else if (cli_switch(c, "follow"))
		r = follow(c, get_text(launch, "id", ""), next);
	json_decref(launch);
	return r;
}

static const struct verb_option options[] = {
	{ "all", NULL, "from its beginning; else the last 256 KiB" },
	{ "follow", NULL, "go on showing what it says, until it is over or this is interrupted" },
	{ NULL },
};

const struct verb verb_console_log = {
	.name = "console-log",
	.operands = "LAUNCH",
	.summary = "Show what a launched machine says on its serial console",
	.details = "LAUNCH is its id, or at least the first 4 characters of it.",
	.options = options,
	.uses = USES_CONSOLE,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_LAUNCH,
	.run = run_console_log,
};
