/* SPDX-License-Identifier: Apache-2.0 */
#include "words.h"
#include "api.h"
#include "show.h"
#include <stdio.h>

static const struct {
	const char *stage, *english, *japanese;
	unsigned int step;
} stages[] = {
	{ "not_started", "Not started", "未開始" },
	{ "initiating", "Initiating", "開始処理中", 1 },
	{ "initial_sync", "Initial sync", "初期同期中", 2 },
	{ "flushing_backlog", "Finalizing initial sync: flushing backlog",
	  "初期同期の最終処理中: バックログのフラッシュ中", 3 },
	{ "creating_first_snapshot", "Finalizing initial sync: creating first launchable snapshot",
	  "初期同期の最終処理中: 起動可能な最初のスナップショットの作成中", 4 },
	{ "continuous", "Continuous data protection", "継続的なデータ保護", 5 },
	{ "lagging", "Lagging", "遅延中" },
	{ "rescan", "Rescan", "再スキャン中" },
	{ "paused", "Paused", "一時停止中" },
	{ "stopped", "Stopped", "停止中" },
	{ "stalled", "Stalled", "停滞中" },
	{ "disconnected", "Disconnected", "切断" },
};

const char *say(const struct cli *c, const char *english, const char *japanese)
{
	return cli_japanese(c) ? japanese : english;
}

static const char *data_named(const struct cli *c)
{
	bool possible = c->verb && c->verb->uses & (USES_DATA | USES_CONSOLE);

	return possible && c->data && cli_option(c, "data") ? c->data : NULL;
}

/* @hint is what is between the backticks. */
static bool lacks_data(const char *hint, size_t length)
{
	static const char begin[] = "godwit ", data[] = " --data ";

	return length > sizeof(begin) - 1 && strncmp(hint, begin, sizeof(begin) - 1) == 0 &&
	       !memmem(hint, length, data, sizeof(data) - 1);
}

const char *words_with_data(const struct cli *c, const char *text, char *ret_text)
{
	const char *data = data_named(c), *open, *close;
	size_t used = 0;

	*ret_text = '\0';
	while (data && (open = strchr(text, '`')) && (close = strchr(open + 1, '`')) && used < WORDS_HINT_MAX) {
		bool add = lacks_data(open + 1, (size_t)(close - open - 1));

		used += (size_t)snprintf(ret_text + used, WORDS_HINT_MAX - used, "%.*s%s%s`", (int)(close - text), text,
					 add ? " --data " : "", add ? data : "");
		text = close + 1;
	}
	if (used < WORDS_HINT_MAX)
		snprintf(ret_text + used, WORDS_HINT_MAX - used, "%s", text);
	return ret_text;
}

const char *stage_words(const struct cli *c, const char *stage)
{
	for (size_t i = 0; i < ARRAY_LEN(stages); i++)
		if (strcmp(stages[i].stage, stage) == 0)
			return say(c, stages[i].english, stages[i].japanese);
	return stage;
}

unsigned int stage_step(const char *stage)
{
	for (size_t i = 0; i < ARRAY_LEN(stages); i++)
		if (strcmp(stages[i].stage, stage) == 0)
			return stages[i].step;
	return 0;
}

const char *stage_of_step(unsigned int step)
{
	for (size_t i = 0; i < ARRAY_LEN(stages); i++)
		if (stages[i].step == step)
			return stages[i].stage;
	return "not_started";
}

void machine_scan(const json_t *machine, uint64_t *ret_done, uint64_t *ret_total)
{
	const json_t *disk;
	size_t i;

	*ret_done = *ret_total = 0;
	json_array_foreach(get_array(machine, "disks"), i, disk) {
		uint64_t size = get_u64(disk, "size_bytes");

		*ret_done += MIN(get_u64(disk, "scanned_bytes"), size);
		*ret_total += size;
	}
}

/* ", about 4 min", or nothing when nobody knows. */
static void append_forecast(const struct cli *c, const json_t *machine, char *text)
{
	const json_t *forecast = get_object(machine, "forecast");
	double eta = get_number(forecast, "eta_seconds", -1);
	char duration[SHOW_TEXT_MAX];
	size_t n = strlen(text);

	if (json_is_false(json_object_get(forecast, "converges")))
		snprintf(text + n, WORDS_MAX - n, "%s", say(c, ", will not converge", "、収束しません"));
	else if (eta >= 0)
		snprintf(text + n, WORDS_MAX - n, say(c, ", about %s", "、約 %s"), show_duration(eta, duration));
}

char *stage_progress(const struct cli *c, const json_t *machine, char *ret_text)
{
	const char *stage = get_text(machine, "stage", "");
	uint64_t done, total, backlog = get_u64(machine, "backlog_bytes");
	char bytes[SHOW_TEXT_MAX];

	*ret_text = '\0';
	machine_scan(machine, &done, &total);
	if (strcmp(stage, "initial_sync") == 0 || strcmp(stage, "rescan") == 0) {
		snprintf(ret_text, WORDS_MAX, say(c, "%u %%, %s left", "%u %%、残り %s"),
			 MIN(show_percent(done, total), 99), show_bytes(total - done, bytes));
		append_forecast(c, machine, ret_text);
	} else if (strcmp(stage, "flushing_backlog") == 0 || strcmp(stage, "lagging") == 0 ||
		   strcmp(stage, "stalled") == 0) {
		snprintf(ret_text, WORDS_MAX, say(c, "%s left", "残り %s"), show_bytes(backlog, bytes));
		append_forecast(c, machine, ret_text);
	} else if (strcmp(stage, "creating_first_snapshot") == 0) {
		snprintf(ret_text, WORDS_MAX, "%s", say(c, "until the server has it on disk", "サーバーへの書き込み待ち"));
	}
	return ret_text;
}

void message_words(const json_t *message, char *ret_text, char *ret_remedy)
{
	snprintf(ret_text, WORDS_MAX, "%s", get_text(message, "text", get_text(message, "code", "?")));
	snprintf(ret_remedy, WORDS_MAX, "%s", get_text(message, "remedy", ""));
}
