/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages may be shorter than the time between two looks.  They are passed in
 * one order (words.c), so a stage that was not seen but lies between two that
 * were has been passed, and is shown as such.
 */
#include "follow.h"
#include "api.h"
#include "progress.h"
#include "program.h"
#include "show.h"
#include "wallclock.h"
#include "words.h"
#include <errno.h>
#include <stdio.h>

#define LOOK_EVERY_MS 200
#define STEP_CONTINUOUS 5
#define PATIENCE_US (20 * USEC_PER_SEC) /* without an answer from the console */

struct follow {
	struct cli *c;
	const char *machine;
	struct progress progress;
	unsigned int step;	/* the furthest that was shown */
	uint64_t step_since_us;
	uint64_t answered_us;
	char problem[64];	/* the last one that was shown */
};

static void finish_step(struct follow *f, const json_t *machine)
{
	const char *stage = stage_of_step(f->step);
	char note[256], bytes[SHOW_TEXT_MAX], took[SHOW_TEXT_MAX];
	uint64_t done, total;

	machine_scan(machine, &done, &total);
	show_duration((double)(monotonic_now_us() - f->step_since_us) / (double)USEC_PER_SEC, took);
	/* A stage that went by between two looks has no duration to tell. */
	if (strcmp(stage, "initial_sync") == 0 && f->step_since_us + LOOK_EVERY_MS * USEC_PER_MSEC / 2 > monotonic_now_us())
		snprintf(note, sizeof(note), "%s", show_bytes(total, bytes));
	else if (strcmp(stage, "initial_sync") == 0)
		snprintf(note, sizeof(note), say(f->c, "%s in %s", "%s、%s"), show_bytes(total, bytes), took);
	else
		snprintf(note, sizeof(note), "%s", say(f->c, "done", "完了"));
	progress_finish(&f->progress, stage_words(f->c, stage), note);
}

/* Show that all stages before @step are over. */
static void advance(struct follow *f, unsigned int step, const json_t *machine)
{
	while (f->step < step) {
		if (f->step > 0)
			finish_step(f, machine);
		f->step++;
		f->step_since_us = monotonic_now_us();
	}
}

static void show_problems(struct follow *f, const json_t *machine)
{
	const json_t *problem = json_array_get(get_array(machine, "problems"), 0);
	const char *code = get_text(problem, "code", "");
	char text[WORDS_MAX], remedy[WORDS_MAX], hinted[WORDS_HINT_MAX];

	if (strcmp(code, f->problem) == 0)
		return;
	snprintf(f->problem, sizeof(f->problem), "%s", code);
	if (!*code)
		return;
	message_words(problem, text, remedy);
	progress_clear(&f->progress);
	fprintf(stderr, "%s: %s\n    %s\n", f->machine, text, words_with_data(f->c, remedy, hinted));
}

static void show_stage(struct follow *f, const json_t *machine)
{
	const char *stage = get_text(machine, "stage", "");
	unsigned int step = stage_step(stage);
	uint64_t done, total;
	char note[WORDS_MAX];

	advance(f, step, machine);
	if (step == STEP_CONTINUOUS)
		return;
	machine_scan(machine, &done, &total);
	if (strcmp(stage, "initial_sync") != 0 && strcmp(stage, "rescan") != 0)
		total = 0;
	progress_update(&f->progress, stage_words(f->c, stage), done, total, stage_progress(f->c, machine, note));
}

static void show_continuous(struct follow *f, const json_t *machine)
{
	char note[256], clock[SHOW_TEXT_MAX], lag[SHOW_TEXT_MAX];
	const char *time = get_text(get_object(machine, "newest_point"), "time", "");

	snprintf(note, sizeof(note), say(f->c, "newest point %s, lag %s", "最新の復旧ポイント %s、遅延 %s"),
		 show_clock(time, clock), show_duration(get_number(machine, "lag_seconds", 0), lag));
	progress_finish(&f->progress, stage_words(f->c, "continuous"), note);
}

/* True while it is worth asking again. */
static bool no_answer(struct follow *f, const char *why)
{
	if (monotonic_now_us() - f->answered_us < PATIENCE_US)
		return true;
	progress_clear(&f->progress);
	fprintf(stderr, "godwit: %s\n", why);
	return false;
}

static int interrupted_follow(struct follow *f)
{
	progress_clear(&f->progress);
	fprintf(stderr, say(f->c, "The protection of %s goes on; `godwit status %s` shows it.\n",
			    "%s の保護は続いています。`godwit status %s` で確認できます。\n"), f->machine, f->machine);
	return interrupt_status();
}

int follow_to_continuous(struct cli *c, const char *machine)
{
	struct follow f = { .c = c, .machine = machine, .answered_us = monotonic_now_us() };

	interrupt_catch();
	progress_begin(&f.progress);
	for (; !interrupted(); pause_ms(LOOK_EVERY_MS)) {
		char why[1024];
		json_t *answer;
		int r = api_try(c, "GET", NULL, API_SOON_MS, &answer, why, sizeof(why), "/machines/%s", machine);
		bool done;

		if (r == -ECANCELED || (r < 0 && !no_answer(&f, why)))
			return CLI_FAILED;
		if (r < 0)
			continue;
		f.answered_us = monotonic_now_us();
		show_problems(&f, answer);
		show_stage(&f, answer);
		done = f.step == STEP_CONTINUOUS;
		if (done)
			show_continuous(&f, answer);
		json_decref(answer);
		if (done)
			return CLI_DONE;
	}
	return interrupted_follow(&f);
}
