/* SPDX-License-Identifier: Apache-2.0 */
/* godwit launches, keep, terminate. */
#include "api.h"
#include "launch-follow.h"
#include "output.h"
#include "program.h"
#include "words.h"
#include <stdio.h>
#include <unistd.h>

#define LIMIT_MOST 1000 /* the console's */
#define KEEP_TIMEOUT_MS 30000

/* --- launches ---------------------------------------------------------------------------- */

static void print_ids(const json_t *launches)
{
	const json_t *launch;
	size_t i;

	json_array_foreach((json_t *)launches, i, launch)
		puts(get_text(launch, "id", "?"));
}

static int show_one(struct cli *c, const char *word)
{
	json_t *found = launch_find(c, word), *launch;

	if (!found)
		return CLI_FAILED;
	launch = api_get(c, "/launches/%s", get_text(found, "id", ""));
	json_decref(found);
	if (!launch)
		return CLI_FAILED;
	c->output->launch_in_full(c, launch);
	json_decref(launch);
	return CLI_DONE;
}

static int run_launches(struct cli *c)
{
	const char *one = cli_option(c, "show");
	uint64_t limit;
	json_t *answer;

	if (one && c->operand_count)
		return cli_usage(c, "say either a machine's NAME or --show LAUNCH");
	if (one)
		return show_one(c, one);

	if (!cli_option_number(c, "limit", 1, LIMIT_MOST, 100, &limit))
		return CLI_USAGE;
	if (c->operand_count)
		answer = api_get(c, "/launches?machine=%s&limit=%llu", c->operands[0], (unsigned long long)limit);
	else
		answer = api_get(c, "/launches?limit=%llu", (unsigned long long)limit);
	if (!answer)
		return CLI_FAILED;
	if (cli_switch(c, "ids"))
		print_ids(get_array(answer, "launches"));
	else
		c->output->launches(c, get_array(answer, "launches"));
	json_decref(answer);
	return CLI_DONE;
}

static const struct verb_option launches_options[] = {
	{ "limit", "N", "the newest N of them (100)" },
	{ "ids", NULL, "only their ids, one a line" },
	{ "show", "LAUNCH", "everything about one of them, with its log" },
	{ NULL },
};

const struct verb verb_launches = {
	.name = "launches",
	.operands = "[NAME]",
	.summary = "List the machines that were launched, the newest first, and how they are",
	.options = launches_options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_launches,
};

/* --- keep ---------------------------------------------------------------------------------- */

static int keep(struct cli *c, const char *id)
{
	return launch_show(c, api_call(c, "POST", NULL, KEEP_TIMEOUT_MS, "/launches/%s/keep", id), id);
}

static int run_keep(struct cli *c)
{
	json_t *launch = launch_find(c, c->operands[0]);
	int r;

	if (!launch)
		return CLI_FAILED;
	r = keep(c, get_text(launch, "id", ""));
	json_decref(launch);
	return r;
}

static const struct verb_option keep_options[] = {
	{ "wait", NULL, "show the progress until it stands on its own" },
	{ NULL },
};

const struct verb verb_keep = {
	.name = "keep",
	.operands = "LAUNCH",
	.summary = "Make a launched machine stand on its own: its data is copied while it runs",
	.details = "LAUNCH is its id, or at least the first 4 characters of it. One that has ended and whose disks were\n"
		   "kept, because nobody had asked for its end, is started again from them.\n"
		   "With --wait the exit status is 0 only if it stands.",
	.options = keep_options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_LAUNCH,
	.run = run_keep,
};

/* --- terminate ------------------------------------------------------------------------------- */

/* Its data is nowhere else: it stands on its own, or is on its way there. */
static bool is_only_copy(const json_t *launch)
{
	const char *state = get_text(launch, "state", ""), *kind = get_text(launch, "kind", "");

	return json_is_true(json_object_get(launch, "disks_kept")) ||
	       json_is_object(json_object_get(launch, "not_proved")) || strcmp(state, "standing") == 0 ||
	       strcmp(state, "stopped") == 0 || strcmp(state, "keeping") == 0 ||
	       (strcmp(kind, "cutover") == 0 && strcmp(state, "booted") == 0);
}

/* CLI_DONE if that data may go. */
static int confirm_end(struct cli *c, const json_t *launch)
{
	const char *machine = get_text(launch, "machine", "");
	char id[LAUNCH_SHORT_LEN + 1], question[WORDS_MAX];

	snprintf(id, sizeof(id), "%s", get_text(launch, "id", ""));
	if (!is_only_copy(launch) || cli_switch(c, "yes"))
		return CLI_DONE;
	if (isatty(STDIN_FILENO) != 1)
		return cli_fail_message(c, MSG_LAUNCH_ONLY_COPY, "launch", id, "machine", machine, NULL);
	snprintf(question, sizeof(question),
		 say(c, "This deletes the disks of launch %s of %s, the only copy of what is on them. Type %s to go on: ",
		     "起動 %s（%s）のディスクを削除します。そのデータは他にありません。続けるには %s と入力してください: "),
		 id, machine, id);
	if (confirm_by_typing(question, id))
		return CLI_DONE;
	fprintf(stderr, say(c, "Nothing was changed.\n", "変更していません。\n"));
	return CLI_FAILED;
}

/* It is told when it is back; until then the machine runs on. */
static bool server_is_away(struct cli *c, const char *job)
{
	json_t *shown = api_get(c, "/jobs/%s", job);
	const json_t *problem = json_array_get(get_array(shown, "problems"), 0);
	char text[WORDS_MAX], remedy[WORDS_MAX];
	bool away = problem != NULL;

	if (away) {
		message_words(problem, text, remedy);
		fprintf(stderr, "%s\n    %s\n", text, remedy);
	}
	json_decref(shown);
	return away;
}

static const char *outcome(struct cli *c, bool forgotten, const char *job)
{
	if (forgotten)
		return say(c, "Launch %.8s of %s was over; what was left of it is gone",
			   "起動 %.8s（%s）は終了済みのため、残っていた記録を削除しました");
	if (cli_switch(c, "wait"))
		return say(c, "Launch %.8s of %s is gone", "起動 %.8s（%s）は終了しました");
	if (server_is_away(c, job))
		return say(c, "Launch %.8s of %s will be ended when its replication server is back",
			   "起動 %.8s（%s）は、レプリケーションサーバーの復帰後に終了します");
	return say(c, "Launch %.8s of %s is being ended", "起動 %.8s（%s）を終了しています");
}

static int terminate(struct cli *c, const json_t *launch)
{
	const char *id = get_text(launch, "id", ""), *machine = get_text(launch, "machine", ""), *job;
	json_t *answer = api_call(c, "DELETE", NULL, API_SOON_MS, "/launches/%s", id), *shown = NULL;
	bool forgotten = json_is_string(json_object_get(launch, "ended"));
	char text[WORDS_MAX];
	int r = CLI_DONE;

	if (!answer)
		return CLI_FAILED;
	job = get_text(answer, "job", "");
	if (cli_switch(c, "wait") && !forgotten)
		r = launch_follow(c, id, job, &shown);
	json_decref(shown);
	if (r == CLI_DONE) {
		snprintf(text, sizeof(text), outcome(c, forgotten, job), id, machine);
		c->output->done(c, "terminate", machine, text);
	}
	json_decref(answer);
	return r;
}

static int run_terminate(struct cli *c)
{
	json_t *launch = launch_find(c, c->operands[0]);
	int r;

	if (!launch)
		return CLI_FAILED;
	r = confirm_end(c, launch);
	if (r == CLI_DONE)
		r = terminate(c, launch);
	json_decref(launch);
	return r;
}

static const struct verb_option terminate_options[] = {
	{ "wait", NULL, "until it is gone" },
	{ "yes", NULL, "do not ask, also of a machine that stands on its own: its disks are the only copy" },
	{ NULL },
};

const struct verb verb_terminate = {
	.name = "terminate",
	.operands = "LAUNCH",
	.summary = "End a launched machine and delete its disks; the point stays as it is",
	.details = "LAUNCH is its id, or at least the first 4 characters of it. A launch that is over is forgotten, with\n"
		   "its logs. Before a machine that stands on its own goes, a person is asked; a script says --yes.",
	.options = terminate_options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_LAUNCH,
	.run = run_terminate,
};
