/* SPDX-License-Identifier: Apache-2.0 */
#include "launch-follow.h"
#include "api.h"
#include "output.h"
#include "progress.h"
#include "program.h"
#include "show.h"
#include "wallclock.h"
#include "words.h"
#include <errno.h>
#include <stdio.h>

#define LOOK_EVERY_MS 300
#define PATIENCE_US (20 * USEC_PER_SEC) /* without an answer from the console */

static const struct {
	const char *state, *english, *japanese;
} states[] = {
	{ "asked", "Asked for", "要求済み" },
	{ "preparing", "Preparing", "準備中" },
	{ "starting", "Starting", "開始中" },
	{ "booting", "Booting", "起動中" },
	{ "booted", "Booted", "起動完了" },
	{ "keeping", "Being kept", "独立化中" },
	{ "standing", "Stands on its own", "独立済み" },
	{ "stopped", "Stopped with the server's machine", "サーバーのマシンとともに停止" },
	{ "writing", "Being written", "書き込み中" },
	{ "ended", "Gone", "終了" },
	{ "failed", "Failed", "失敗" },
};

const char *launch_state_words(const struct cli *c, const char *state)
{
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (strcmp(states[i].state, state) == 0)
			return say(c, states[i].english, states[i].japanese);
	return state;
}

/* --- which launch ---------------------------------------------------------------------- */

struct list {
	char text[FAULT_VALUE_MAX];
	size_t used, count;
};

static void list_add(struct list *l, const json_t *launch)
{
	if (l->used < sizeof(l->text))
		l->used += (size_t)snprintf(l->text + l->used, sizeof(l->text) - l->used, "%s%.13s", l->count ? ", " : "",
					    get_text(launch, "id", ""));
	l->count++;
}

static bool is_named(const json_t *launch, const char *word)
{
	return strlen(word) >= LAUNCH_WORD_MIN && strncmp(get_text(launch, "id", ""), word, strlen(word)) == 0;
}

/* Whoever writes a machine's name sees what there is of it. */
static void say_why_none(const struct cli *c, const struct list *of_machine, const char *word)
{
	char least[8];

	snprintf(least, sizeof(least), "%d", LAUNCH_WORD_MIN);
	if (of_machine->count)
		cli_fail_message(c, MSG_LAUNCH_IS_MACHINE, "machine", word, "launches", of_machine->text, NULL);
	else if (strlen(word) < LAUNCH_WORD_MIN)
		cli_fail_message(c, MSG_LAUNCH_WORD_SHORT, "launch", word, "least", least, NULL);
	else
		cli_fail_message(c, MSG_LAUNCH_UNKNOWN, "launch", word, NULL);
}

json_t *launch_choose(const struct cli *c, const json_t *launches, const char *word)
{
	struct list matches = { 0 }, of_machine = { 0 };
	json_t *launch, *found = NULL;
	size_t i;

	json_array_foreach((json_t *)launches, i, launch) {
		if (strcmp(get_text(launch, "machine", ""), word) == 0)
			list_add(&of_machine, launch);
		if (!is_named(launch, word))
			continue;
		list_add(&matches, launch);
		found = launch;
	}
	if (matches.count == 1)
		return json_incref(found);
	if (matches.count)
		cli_fail_message(c, MSG_LAUNCH_AMBIGUOUS, "launch", word, "launches", matches.text, NULL);
	else
		say_why_none(c, &of_machine, word);
	return NULL;
}

json_t *launch_find(struct cli *c, const char *word)
{
	json_t *answer = api_get(c, "/launches?limit=1000"), *found;

	if (!answer)
		return NULL;
	found = launch_choose(c, get_array(answer, "launches"), word);
	json_decref(answer);
	return found;
}

/* --- on its way ----------------------------------------------------------------------------- */

struct following {
	struct cli *c;
	struct progress progress;
	char state[24];
	uint64_t since_us, answered_us;
	bool problem_shown;
};

static void show_problem(struct following *f, const json_t *job)
{
	const json_t *problem = json_array_get(get_array(job, "problems"), 0);
	char text[WORDS_MAX], remedy[WORDS_MAX];

	if (problem && !f->problem_shown) {
		message_words(problem, text, remedy);
		progress_clear(&f->progress);
		fprintf(stderr, "%s\n    %s\n", text, remedy);
	}
	f->problem_shown = problem != NULL;
}

/* The state that was shown last is over. */
static void finish_state(struct following *f)
{
	char took[SHOW_TEXT_MAX];

	if (*f->state)
		progress_finish(
		    &f->progress, launch_state_words(f->c, f->state),
		    show_duration((double)(monotonic_now_us() - f->since_us) / (double)USEC_PER_SEC, took));
	*f->state = '\0';
}

static void show_state(struct following *f, const json_t *launch)
{
	const char *state = get_text(launch, "state", "");
	const json_t *progress = get_object(launch, "progress");
	bool copying = strcmp(state, "keeping") == 0 || strcmp(state, "writing") == 0;
	uint64_t done = copying ? get_u64(progress, "done_bytes") : 0,
		 total = copying ? get_u64(progress, "total_bytes") : 0;
	char note[WORDS_MAX] = "", text[SHOW_TEXT_MAX];

	if (strcmp(state, f->state) != 0) {
		finish_state(f);
		snprintf(f->state, sizeof(f->state), "%s", state);
		f->since_us = monotonic_now_us();
	}
	if (total)
		snprintf(note, sizeof(note), say(f->c, "%u %%, %s left", "%u %%、残り %s"),
			 MIN(show_percent(done, total), 99), show_bytes(total > done ? total - done : 0, text));
	else if (monotonic_now_us() - f->since_us >= USEC_PER_SEC)
		snprintf(note, sizeof(note), "%s",
			 show_duration((double)(monotonic_now_us() - f->since_us) / (double)USEC_PER_SEC, text));
	progress_update(&f->progress, launch_state_words(f->c, state), done, total, note);
}

/* True while it is worth asking again. */
static bool no_answer(struct following *f, int r, const char *why)
{
	if (r == -ECANCELED)
		return false;
	if (r != -ENOENT && monotonic_now_us() - f->answered_us < PATIENCE_US)
		return true;
	progress_clear(&f->progress);
	fprintf(stderr, "godwit: %s\n", why);
	return false;
}

static int conclude(struct following *f, const json_t *job)
{
	const json_t *fault = get_object(job, "fault");
	const char *remedy = get_text(fault, "remedy", "");

	progress_clear(&f->progress);
	if (strcmp(get_text(job, "status", ""), "COMPLETED") == 0)
		return CLI_DONE;
	fprintf(stderr, "godwit: %s%s%s\n", get_text(fault, "message", get_text(fault, "code", "?")),
		*remedy ? say(f->c, ". ", "。") : "", remedy);
	return CLI_FAILED;
}

static bool is_over(const json_t *job)
{
	const char *status = get_text(job, "status", "");

	return strcmp(status, "COMPLETED") == 0 || strcmp(status, "FAILED") == 0;
}

/* One look: CLI_DONE with both, or -errno with the sentence. */
static int look(struct following *f, const char *launch, const char *job, json_t **ret_launch, json_t **ret_job,
		char *ret_why, size_t size)
{
	int r = api_try(f->c, "GET", NULL, API_SOON_MS, ret_job, ret_why, size, "/jobs/%s", job);

	if (r < 0)
		return r;
	/* After the job, so that it is not older. */
	r = api_try(f->c, "GET", NULL, API_SOON_MS, ret_launch, ret_why, size, "/launches/%s", launch);
	if (r < 0)
		json_decref(*ret_job);
	return r;
}

int launch_follow(struct cli *c, const char *launch, const char *job, json_t **ret)
{
	struct following f = { .c = c, .answered_us = monotonic_now_us() };

	interrupt_catch();
	progress_begin(&f.progress);
	for (; !interrupted(); pause_ms(LOOK_EVERY_MS)) {
		char why[1024];
		json_t *l, *j;
		int r = look(&f, launch, job, &l, &j, why, sizeof(why));
		bool over;

		if (r < 0 && !no_answer(&f, r, why))
			return CLI_FAILED;
		if (r < 0)
			continue;
		f.answered_us = monotonic_now_us();
		show_problem(&f, j);
		over = is_over(j);
		if (over)
			finish_state(&f);
		else
			show_state(&f, l);
		r = over ? conclude(&f, j) : CLI_DONE;
		json_decref(j);
		if (over && r == CLI_DONE)
			*ret = l;
		else
			json_decref(l);
		if (over)
			return r;
	}
	progress_clear(&f.progress);
	fputs(say(c, "It goes on; `godwit launches` shows it.\n",
		  "処理は続いています。`godwit launches` で確認できます。\n"),
	      stderr);
	return interrupt_status();
}

int launch_show(struct cli *c, json_t *ids, const char *launch)
{
	json_t *shown = NULL;
	int r = CLI_DONE;

	if (!ids)
		return CLI_FAILED;
	if (cli_switch(c, "wait"))
		r = launch_follow(c, launch, get_text(ids, "job", ""), &shown);
	else
		shown = api_get(c, "/launches/%s", launch);
	json_decref(ids);
	if (r == CLI_DONE && !shown)
		r = CLI_FAILED;
	if (r == CLI_DONE)
		c->output->launch(c, shown);
	json_decref(shown);
	return r;
}
