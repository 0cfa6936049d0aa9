/* SPDX-License-Identifier: Apache-2.0 */
/* godwit points - which moments can be brought back; godwit mark - keep this one. */
#include "api.h"
#include "output.h"
#include "when.h"

#define LIMIT_SCREEN 20
#define LIMIT_RANGE 1000
#define LIMIT_MOST 100000 /* the console's */
#define MARK_TIMEOUT_MS 75000 /* the console gives up after 60 s */

static int run_points(struct cli *c)
{
	char from[WALLCLOCK_TEXT_LEN + 1] = "", to[WALLCLOCK_TEXT_LEN + 1] = "";
	bool range = cli_option(c, "from") || cli_option(c, "to");
	uint64_t limit, usual = cli_switch(c, "json") ? LIMIT_MOST : range ? LIMIT_RANGE : LIMIT_SCREEN;
	json_t *answer;

	if (!cli_option_number(c, "limit", 1, LIMIT_MOST, usual, &limit))
		return CLI_USAGE;
	if (!when_option(c, "from", from) || !when_option(c, "to", to))
		return CLI_FAILED;
#define PATH "/machines/%s/points?newest=1&limit=%llu"
	if (*from && *to)
		answer = api_get(c, PATH "&from=%s&to=%s", c->operands[0], (unsigned long long)limit, from, to);
	else if (*from)
		answer = api_get(c, PATH "&from=%s", c->operands[0], (unsigned long long)limit, from);
	else if (*to)
		answer = api_get(c, PATH "&to=%s", c->operands[0], (unsigned long long)limit, to);
	else
		answer = api_get(c, PATH, c->operands[0], (unsigned long long)limit);
#undef PATH
	if (!answer)
		return CLI_FAILED;
	c->output->points(c, answer);
	json_decref(answer);
	return CLI_DONE;
}

static const struct verb_option points_options[] = {
	{ "from", "TIME", "no points before this" },
	{ "to", "TIME", "no points after this" },
	{ "limit", "N", "the newest N of them (20; of a range 1000; with --json all, at most 100000)" },
	{ NULL },
};

const struct verb verb_points = {
	.name = "points",
	.operands = "NAME",
	.summary = "List the moments that a machine can be brought back to",
	.details = "A TIME is RFC 3339 in UTC or with its offset, \"2026-11-22 09:41:07\" or \"09:41\" in local\n"
		   "time, \"now\", or \"10s ago\", \"5m ago\", \"2h ago\", \"1d ago\".",
	.options = points_options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_points,
};

static int run_mark(struct cli *c)
{
	json_t *body = json_pack("{s:s}", "label", c->operands[1]), *point;

	if (!body)
		return cli_usage(c, "the label is not valid UTF-8");
	point = api_call(c, "POST", body, MARK_TIMEOUT_MS, "/machines/%s/mark", c->operands[0]);
	json_decref(body);
	if (!point)
		return CLI_FAILED;
	c->output->marked(c, c->operands[0], point);
	json_decref(point);
	return CLI_DONE;
}

const struct verb verb_mark = {
	.name = "mark",
	.operands = "NAME LABEL",
	.summary = "Make a point of this very moment, with a name, and keep it for ever",
	.details = "Returns when the point is durable at the replication server.",
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 2,
	.operands_max = 2,
	.first = OPERAND_MACHINE,
	.run = run_mark,
};
