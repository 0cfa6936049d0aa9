/* SPDX-License-Identifier: Apache-2.0 */
/* godwit points - which moments can be brought back; godwit mark - keep this one. */
#include "api.h"
#include "output.h"
#include "when.h"

#define LIMIT_SCREEN 20
#define LIMIT_RANGE 1000
#define LIMIT_MOST 100000 /* the console's */
#define MARK_TIMEOUT_MS 75000 /* the console gives up after 60 s */

/* The newest @limit points between two times; empty: no bound. */
static json_t *ask(struct cli *c, const char *from, const char *to, uint64_t limit)
{
#define PATH "/machines/%s/points?newest=1&limit=%llu"
	const char *name = c->operands[0];
	unsigned long long n = limit;

	if (*from && *to)
		return api_get(c, PATH "&from=%s&to=%s", name, n, from, to);
	if (*from)
		return api_get(c, PATH "&from=%s", name, n, from);
	if (*to)
		return api_get(c, PATH "&to=%s", name, n, to);
	return api_get(c, PATH, name, n);
#undef PATH
}

/* Put the points of @older before those of @answer, but for the one that both have. */
static void prepend(json_t *answer, const json_t *older)
{
	json_t *all = json_array();
	const json_t *points = get_array(older, "points");

	for (size_t i = 0; i + 1 < json_array_size(points); i++)
		json_array_append(all, json_array_get(points, i));
	json_array_extend(all, (json_t *)get_array(answer, "points"));
	json_object_set_new(answer, "points", all);
	json_object_set(answer, "truncated", json_object_get(older, "truncated"));
}

/* For programs: all there are, however many answers that takes. */
static json_t *ask_all(struct cli *c, const char *from, const char *to)
{
	json_t *answer = ask(c, from, to, LIMIT_MOST);

	while (answer && json_is_true(json_object_get(answer, "truncated"))) {
		const char *first = get_text(json_array_get(get_array(answer, "points"), 0), "time", "");
		json_t *older = ask(c, from, first, LIMIT_MOST);

		if (older)
			prepend(answer, older);
		else
			json_decref(answer);
		json_decref(older);
		if (!older)
			return NULL;
	}
	return answer;
}

static int run_points(struct cli *c)
{
	char from[WALLCLOCK_TEXT_LEN + 1] = "", to[WALLCLOCK_TEXT_LEN + 1] = "";
	bool range = cli_option(c, "from") || cli_option(c, "to");
	bool all = cli_switch(c, "json") && !cli_option(c, "limit");
	uint64_t limit;
	json_t *answer;

	if (!cli_option_number(c, "limit", 1, LIMIT_MOST, range ? LIMIT_RANGE : LIMIT_SCREEN, &limit))
		return CLI_USAGE;
	if (!when_option(c, "from", from) || !when_option(c, "to", to))
		return CLI_FAILED;
	if (*from && *to && strcmp(from, to) > 0)
		return cli_fail_message(c, MSG_TIMES_SWAPPED, "from", cli_option(c, "from"), "to",
					cli_option(c, "to"), NULL);
	answer = all ? ask_all(c, from, to) : ask(c, from, to, limit);
	if (!answer)
		return CLI_FAILED;
	c->output->points(c, answer);
	json_decref(answer);
	return CLI_DONE;
}

static const struct verb_option points_options[] = {
	{ "from", "TIME", "no points before this" },
	{ "to", "TIME", "no points after this" },
	{ "limit", "N", "the newest N of them (20; of a range 1000; with --json all)" },
	{ NULL },
};

const struct verb verb_points = {
	.name = "points",
	.operands = "NAME",
	.summary = "List the moments that a machine can be brought back to",
	.details = "A TIME is RFC 3339 in UTC or with its offset, \"2026-11-22 09:41:07\" or \"09:41\" in local\n"
		   "time, \"now\", or \"10s ago\", \"5 minutes ago\", \"2h ago\", \"1d ago\"; a date alone is its midnight.",
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
	if (!*c->operands[1]) {
		json_decref(body);
		return cli_usage(c, "LABEL is empty: say what to call the point");
	}
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
