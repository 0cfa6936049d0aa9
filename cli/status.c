/* SPDX-License-Identifier: Apache-2.0 */
/* godwit status - how the machines are. */
#include "api.h"
#include "output.h"
#include "program.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define LOOK_EVERY_MS 1000

/* The machines, or the one that was named, as an array; NULL after saying why. */
static json_t *ask(struct cli *c, const char *name)
{
	json_t *answer, *machines;

	if (name) {
		answer = api_get(c, "/machines/%s", name);
		return answer ? json_pack("[o]", answer) : NULL;
	}
	answer = api_get(c, "/machines");
	if (!answer)
		return NULL;
	machines = json_incref((json_t *)get_array(answer, "machines"));
	json_decref(answer);
	return machines;
}

/* Until interrupted; a console that is away for a while is only said. */
static int watch(struct cli *c, const char *name)
{
	json_t *machines = ask(c, name);
	bool terminal = isatty(STDOUT_FILENO) == 1 && !cli_switch(c, "json");

	if (!machines)
		return CLI_FAILED;
	interrupt_catch();
	if (terminal)
		fputs("\033[?1049h\033[?25l", stdout);
	while (!interrupted() && !ferror(stdout)) {
		if (machines) {
			c->output->watch(c, machines, name != NULL);
			json_decref(machines);
		}
		pause_ms(LOOK_EVERY_MS);
		if (!interrupted())
			machines = ask(c, name);
	}
	if (terminal)
		fputs("\033[?25h\033[?1049l", stdout);
	return CLI_DONE;
}

static void print_names(const json_t *machines)
{
	const json_t *machine;
	size_t i;

	json_array_foreach(machines, i, machine)
		puts(get_text(machine, "name", "?"));
}

static int run_status(struct cli *c)
{
	const char *name = c->operand_count ? c->operands[0] : NULL;
	json_t *machines;

	if (cli_switch(c, "watch"))
		return watch(c, name);
	machines = ask(c, name);
	if (!machines)
		return CLI_FAILED;
	if (cli_switch(c, "names"))
		print_names(machines);
	else if (name)
		c->output->machine(c, json_array_get(machines, 0));
	else
		c->output->machines(c, machines);
	json_decref(machines);
	return CLI_DONE;
}

static const struct verb_option options[] = {
	{ "watch", NULL, "look again every second, until interrupted" },
	{ "names", NULL, "only their names, one a line" },
	{ NULL },
};

const struct verb verb_status = {
	.name = "status",
	.operands = "[NAME]",
	.summary = "Show the machines: stage, lag, backlog, newest point, problems and what to do",
	.details = "With a NAME, everything about that machine and its disks.",
	.options = options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_status,
};
