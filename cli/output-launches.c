/* SPDX-License-Identifier: Apache-2.0 */
/* Launches, for people. */
#include "output.h"
#include "api.h"
#include "launch-follow.h"
#include "show.h"
#include "words.h"
#include <stdio.h>

static const char *kind_words(const struct cli *c, const char *kind)
{
	if (strcmp(kind, "test") == 0)
		return say(c, "test", "テスト");
	if (strcmp(kind, "cutover") == 0)
		return say(c, "cutover", "切り替え");
	if (strcmp(kind, "images") == 0)
		return say(c, "images", "イメージ");
	return strcmp(kind, "drill") == 0 ? say(c, "drill", "訓練") : kind;
}

/* "12.3 s", or "-" before it has shown that it boots. */
static const char *boot_time(const json_t *launch, char *text)
{
	double ms = get_number(get_object(launch, "milliseconds"), "proof", -1);

	return ms < 0 ? "-" : show_duration(ms / 1000, text);
}

static const char *point_clock(const json_t *launch, char *text)
{
	const char *time = get_text(get_object(launch, "point"), "time", NULL);

	return show_clock(time ? time : get_text(launch, "at", "-"), text);
}

static void print_trouble(const struct cli *c, const json_t *launch, const char *indent)
{
	const json_t *fault = get_object(launch, "fault"), *not_proved = get_object(launch, "not_proved"),
		     *problem = json_array_get(get_array(launch, "problems"), 0);
	char text[WORDS_MAX], remedy[WORDS_MAX];

	if (json_object_size(fault))
		printf("%s%s\n%s    %s\n", indent, get_text(fault, "message", get_text(fault, "code", "?")), indent,
		       get_text(fault, "remedy", ""));
	if (json_object_size(not_proved))
		printf("%s%s\n%s    %s\n", indent, get_text(not_proved, "message", get_text(not_proved, "code", "?")),
		       indent, get_text(not_proved, "remedy", ""));
	if (json_is_true(json_object_get(launch, "disks_kept")))
		printf(say(c, "%1$sIts disks are still in %2$s: `godwit keep %3$.8s` starts it again from them\n",
			   "%1$sディスクは %2$s に残っています。`godwit keep %3$.8s` で再び起動できます\n"),
		       indent, get_text(launch, "folder", "?"), get_text(launch, "id", "?"));
	if (!problem)
		return;
	message_words(problem, text, remedy);
	printf("%s%s\n%s    %s\n", indent, text, indent, remedy);
}

static void print_forwards(const struct cli *c, const json_t *launch, const char *indent)
{
	json_t *w;
	size_t i;

	json_array_foreach((json_t *)get_array(launch, "forwards"), i, w)
		printf(say(c, "%sIts port %d is reached at %s:%d of the replication server\n",
			   "%sポート %d への接続先: レプリケーションサーバーの %s:%d\n"),
		       indent, (int)get_number(w, "guest_port", 0), get_text(w, "address", "?"),
		       (int)get_number(w, "port", 0));
}

static bool has_trouble(const json_t *launch)
{
	return json_object_size(get_object(launch, "fault")) || json_object_size(get_object(launch, "not_proved")) ||
	       json_array_size(get_array(launch, "problems")) ||
	       json_is_true(json_object_get(launch, "disks_kept"));
}

static void print_table(const struct cli *c, const json_t *launches)
{
	struct table *t = table_new(7);
	json_t *launch;
	size_t i;

	table_right(t, 5);
	table_add(t, say(c, "LAUNCH", "起動"));
	table_add(t, say(c, "MACHINE", "マシン"));
	table_add(t, say(c, "KIND", "種類"));
	table_add(t, say(c, "POINT", "復旧ポイント"));
	table_add(t, say(c, "ASKED FOR", "要求時刻"));
	table_add(t, say(c, "BOOTED IN", "起動時間"));
	table_add(t, say(c, "STATE", "状態"));
	json_array_foreach((json_t *)launches, i, launch) {
		char text[SHOW_TEXT_MAX];

		table_addf(t, "%.*s", LAUNCH_SHORT_LEN, get_text(launch, "id", "?"));
		table_add(t, get_text(launch, "machine", "?"));
		table_add(t, kind_words(c, get_text(launch, "kind", "")));
		table_add(t, point_clock(launch, text));
		table_add(t, show_clock(get_text(launch, "created", ""), text));
		table_add(t, boot_time(launch, text));
		table_add(t, launch_state_words(c, get_text(launch, "state", "")));
	}
	table_print(t, "");
	table_free(t);
}

void output_text_launches(const struct cli *c, const json_t *launches)
{
	json_t *launch;
	size_t i;

	if (json_array_size(launches) == 0) {
		puts(say(c, "Nothing was launched. Try a machine with: godwit launch NAME --wait",
			 "起動したマシンはありません。次のように試せます: godwit launch NAME --wait"));
		return;
	}
	print_table(c, launches);
	json_array_foreach((json_t *)launches, i, launch) {
		if (!has_trouble(launch) && !json_array_size(get_array(launch, "forwards")))
			continue;
		printf("%.*s:\n", LAUNCH_SHORT_LEN, get_text(launch, "id", "?"));
		print_forwards(c, launch, "  ");
		print_trouble(c, launch, "  ");
	}
}

/* What can be done with it now. */
static void print_ways_on(const struct cli *c, const json_t *launch, const char *id)
{
	const char *state = get_text(launch, "state", "");

	if (json_is_string(json_object_get(launch, "ended")))
		return;
	if (strcmp(get_text(launch, "kind", ""), "images") != 0)
		printf(say(c, "Its console: godwit console-log %s --follow\n",
			   "コンソール: godwit console-log %s --follow\n"), id);
	if ((strcmp(state, "booted") == 0 && strcmp(get_text(launch, "kind", ""), "test") == 0) ||
	    (strcmp(state, "booting") == 0 && json_object_size(get_object(launch, "not_proved"))))
		printf(say(c, "Keep it:     godwit keep %s\n", "保持する:   godwit keep %s\n"), id);
	printf(say(c, "End it:      godwit terminate %s\n", "終了する:   godwit terminate %s\n"), id);
}

void output_text_launch(const struct cli *c, const json_t *launch)
{
	const char *state = get_text(launch, "state", ""), *machine = get_text(launch, "machine", "?");
	const char *proof = get_text(launch, "proof", NULL), *kind = kind_words(c, get_text(launch, "kind", ""));
	char id[LAUNCH_SHORT_LEN + 1], point[SHOW_TEXT_MAX], took[SHOW_TEXT_MAX];

	snprintf(id, sizeof(id), "%s", get_text(launch, "id", "?"));
	point_clock(launch, point);
	printf(say(c, "Launch %s (%s) of %s as it was at %s: %s", "起動 %s（%s）、%s の %s 時点: %s"), id, kind,
	       machine, point, launch_state_words(c, state));
	if (proof)
		printf(say(c, "; it booted in %s: %s", "。%s で起動: %s"), boot_time(launch, took), proof);
	putchar('\n');
	if (json_is_true(json_object_get(get_object(launch, "images"), "written")))
		printf(say(c, "It is in %s on the replication server; README.txt there says how to start it.\n",
			   "レプリケーションサーバーの %s にあります。起動方法は README.txt を参照してください。\n"),
		       get_text(get_object(launch, "images"), "folder", "?"));
	print_forwards(c, launch, "");
	print_trouble(c, launch, "  ");
	print_ways_on(c, launch, id);
}

static void print_times(const struct cli *c, const json_t *launch)
{
	static const struct {
		const char *name, *english, *japanese;
	} rows[] = {
		{ "started", "Processors run", "CPU 動作開始" },
		{ "output", "First word on its console", "コンソールの最初の出力" },
		{ "kernel", "Kernel's first line", "カーネルの最初の行" },
		{ "proof", "Proof of boot", "起動の確認" },
	};
	const json_t *ms = get_object(launch, "milliseconds");
	struct table *t = table_new(2);
	char text[SHOW_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!json_object_get(ms, rows[i].name))
			continue;
		table_add(t, say(c, rows[i].english, rows[i].japanese));
		table_addf(t, say(c, "after %s", "%s後"), show_duration(get_number(ms, rows[i].name, 0) / 1000, text));
	}
	table_add(t, say(c, "Firmware", "ファームウェア"));
	table_add(t, get_text(get_object(launch, "boot"), "firmware", "-"));
	table_add(t, say(c, "Folder on the server", "サーバー上のフォルダー"));
	table_add(t, get_text(launch, "folder", "-"));
	if (json_object_get(ms, "started")) {
		table_add(t, say(c, "Screenshot", "スクリーンショット"));
		table_addf(t, "godwit console-log %.*s --screenshot FILE.png", LAUNCH_SHORT_LEN,
			   get_text(launch, "id", "?"));
	}
	table_print(t, "  ");
	table_free(t);
}

void output_text_launch_in_full(const struct cli *c, const json_t *launch)
{
	json_t *line;
	size_t i;

	output_text_launch(c, launch);
	printf("%s\n", get_text(launch, "id", "?"));
	print_times(c, launch);
	if (json_array_size(get_array(launch, "log")))
		puts(say(c, "  Log:", "  ログ:"));
	json_array_foreach((json_t *)get_array(launch, "log"), i, line) {
		char clock[SHOW_TEXT_MAX];

		printf("    %s  %s\n", show_clock(get_text(line, "time", ""), clock), get_text(line, "message", ""));
	}
}
