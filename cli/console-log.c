/* SPDX-License-Identifier: Apache-2.0 */
/* godwit console-log - what a launched machine says on its serial console. */
#include "api.h"
#include "base64.h"
#include "fileio.h"
#include "launch-follow.h"
#include "program.h"
#include "words.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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
	if (get_u64(answer, "size") == 0 && !cli_switch(c, "follow"))
		fputs(say(c, "It has said nothing on its serial console.\n", "シリアルコンソールの出力はありません。\n"), stderr);
	next = get_u64(answer, "next");
	*ret_more = next < get_u64(answer, "size") && (from == UINT64_MAX || next > from);
	json_decref(answer);
	return next;
}

/* Its screen when it had booted, or had failed, into @file. */
static int write_screenshot(struct cli *c, const char *id, const char *file)
{
	json_t *answer = api_call(c, "GET", NULL, TIMEOUT_MS, "/launches/%s/screenshot?base64=1", id);
	const char *png = get_text(answer, "png", "");
	uint8_t *bytes;
	size_t len;
	int err;

	if (!answer)
		return CLI_FAILED;
	bytes = base64_decode(png, strlen(png), &len);
	err = bytes ? fileio_replace(file, bytes, len, 0644) : -EBADMSG;
	free(bytes);
	json_decref(answer);
	return err ? cli_fail_errno(c, file, err) : CLI_DONE;
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
	const char *screenshot = cli_option(c, "screenshot");
	json_t *launch;
	bool all = cli_switch(c, "all"), more = true;
	uint64_t next = all ? 0 : UINT64_MAX;
	int r = CLI_DONE;

	if (screenshot && (all || cli_switch(c, "follow")))
		return cli_usage(c, "--screenshot writes a picture: say it without --all or --follow");
	launch = launch_find(c, c->operands[0]);
	if (!launch)
		return CLI_FAILED;
	if (screenshot) {
		r = write_screenshot(c, get_text(launch, "id", ""), screenshot);
		json_decref(launch);
		return r;
	}
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
	{ "screenshot", "FILE", "instead, write its screen when it had booted or had failed, as a PNG, into FILE" },
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
