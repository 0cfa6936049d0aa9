/* SPDX-License-Identifier: Apache-2.0 */
/* godwit events - what happened, and who changed what. */
#include "api.h"
#include "output.h"
#include <stdio.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MOST 1000 /* the console's */
#define WAIT_SECONDS 5 /* for a new event, at the console */
#define WAIT_TIMEOUT_MS ((WAIT_SECONDS + 10) * 1000)

static json_t *ask(struct cli *c, const char *machine, uint64_t limit)
{
	if (machine)
		return api_get(c, "/events?limit=%llu&machine=%s", (unsigned long long)limit, machine);
	return api_get(c, "/events?limit=%llu", (unsigned long long)limit);
}

static json_t *ask_after(struct cli *c, const char *machine, uint64_t limit, uint64_t after, unsigned int wait)
{
	if (machine)
		return api_call(c, "GET", NULL, WAIT_TIMEOUT_MS, "/events?limit=%llu&after=%llu&wait=%llu&machine=%s",
				(unsigned long long)limit, (unsigned long long)after, (unsigned long long)wait, machine);
	return api_call(c, "GET", NULL, WAIT_TIMEOUT_MS, "/events?limit=%llu&after=%llu&wait=%llu",
			(unsigned long long)limit, (unsigned long long)after, (unsigned long long)wait);
}

static uint64_t newest_id(const json_t *events, uint64_t otherwise)
{
	const json_t *event;
	size_t i;

	json_array_foreach(events, i, event)
		otherwise = MAX(otherwise, get_u64(event, "id"));
	return otherwise;
}

/* Until interrupted: nothing has to be cleaned up. */
static int follow(struct cli *c, const char *machine, json_t *answer, uint64_t after, uint64_t limit)
{
	while (answer && !ferror(stdout)) {
		const json_t *event;
		size_t i;

		json_array_foreach(get_array(answer, "events"), i, event)
			c->output->event(c, event);
		after = newest_id(get_array(answer, "events"), after);
		json_decref(answer);
		answer = ask_after(c, machine, limit, after, WAIT_SECONDS);
	}
	json_decref(answer);
	return CLI_FAILED;
}

static int run_events(struct cli *c)
{
	const char *machine = c->operand_count ? c->operands[0] : NULL;
	uint64_t after, limit;
	json_t *answer;

	if (!cli_option_number(c, "after", 0, INT64_MAX, 0, &after) ||
	    !cli_option_number(c, "limit", 1, LIMIT_MOST, LIMIT_DEFAULT, &limit))
		return CLI_USAGE;
	answer = cli_option(c, "after") ? ask_after(c, machine, limit, after, 0) : ask(c, machine, limit);
	if (cli_switch(c, "follow"))
		return follow(c, machine, answer, after, limit);
	if (!answer)
		return CLI_FAILED;
	c->output->events(c, get_array(answer, "events"));
	json_decref(answer);
	return CLI_DONE;
}

static const struct verb_option options[] = {
	{ "after", "ID", "only events after this one" },
	{ "limit", "N", "at most N of them, the newest (100)" },
	{ "follow", NULL, "go on showing them as they come, until interrupted" },
	{ NULL },
};

const struct verb verb_events = {
	.name = "events",
	.operands = "[NAME]",
	.summary = "Show what happened: stages, faults, settings with old and new value and who changed them",
	.options = options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_events,
};
