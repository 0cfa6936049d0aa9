/* SPDX-License-Identifier: Apache-2.0 */
/* For people: what an administrator understands at a glance, in columns and sentences. */
#include "output.h"
#include "api.h"
#include "enrolment.h"
#include "show.h"
#include "words.h"
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* --- status ---------------------------------------------------------------------------- */

static const char *lag_text(const json_t *machine, char *text)
{
	double lag = get_number(machine, "lag_seconds", -1);

	return lag < 0 ? "-" : show_duration(lag, text);
}

static const char *newest_text(const struct cli *c, const json_t *machine, char *text)
{
	const char *time = get_text(get_object(machine, "newest_point"), "time", NULL);

	return time ? show_clock(time, text) : say(c, "none yet", "なし");
}

static bool by_dirty_map(const json_t *machine)
{
	return strcmp(get_text(get_object(machine, "capture"), "mode", "payload"), "dirty-map") == 0;
}

static char *stage_line(const struct cli *c, const json_t *machine, char *line, size_t size)
{
	char progress[WORDS_MAX];

	stage_progress(c, machine, progress);
	snprintf(line, size, "%s%s%s", stage_words(c, get_text(machine, "stage", "")),
		 *progress ? say(c, ", ", "、") : "", progress);
	return line;
}

static void print_sentences(const struct cli *c, const json_t *machine, const char *member, const char *indent)
{
	const json_t *problem;
	size_t i;

	json_array_foreach(get_array(machine, member), i, problem) {
		char text[WORDS_MAX], remedy[WORDS_MAX], hinted[WORDS_HINT_MAX];

		message_words(problem, text, remedy);
		printf("%s%s%s%s\n", indent, indent[0] ? "" : get_text(machine, "name", ""), indent[0] ? "" : ": ", text);
		if (*remedy)
			printf("%s    %s\n", indent, words_with_data(c, remedy, hinted));
	}
}

static void print_problems(const struct cli *c, const json_t *machine, const char *indent)
{
	print_sentences(c, machine, "problems", indent);
}

static void text_machines(const struct cli *c, const json_t *machines)
{
	struct table *t;
	const json_t *machine;
	size_t i;

	if (json_array_size(machines) == 0) {
		puts(say(c, "No machine is protected yet. Protect this one's disk with: "
			    "godwit protect /dev/DISK --name NAME",
			 "保護されているマシンはまだありません。次のように保護します: "
			 "godwit protect /dev/DISK --name NAME"));
		return;
	}
	t = table_new(5);
	table_right(t, 1);
	table_right(t, 2);
	table_add(t, say(c, "MACHINE", "マシン"));
	table_add(t, say(c, "LAG", "遅延"));
	table_add(t, say(c, "BACKLOG", "バックログ"));
	table_add(t, say(c, "NEWEST POINT", "最新の復旧ポイント"));
	table_add(t, say(c, "STAGE", "段階"));
	json_array_foreach(machines, i, machine) {
		char text[SHOW_TEXT_MAX], line[WORDS_MAX * 2];

		table_add(t, get_text(machine, "name", "?"));
		table_add(t, lag_text(machine, text));
		table_add(t, show_bytes(get_u64(machine, "backlog_bytes"), text));
		table_add(t, newest_text(c, machine, text));
		stage_line(c, machine, line, sizeof(line));
		table_addf(t, "%s%s", line, by_dirty_map(machine) ? say(c, " (dirty map only)", "（ダーティマップのみ）") : "");
	}
	table_print(t, "");
	table_free(t);
	json_array_foreach(machines, i, machine)
		print_problems(c, machine, "");
}

static void detail_points(const struct cli *c, struct table *t, const json_t *machine)
{
	const json_t *newest = get_object(machine, "newest_point"), *store = get_object(machine, "store");
	const char *time = get_text(newest, "time", NULL);
	const json_t *first = json_object_get(store, "first_point");
	const char *first_time = json_is_string(first) ? json_string_value(first) : get_text(first, "time", NULL);
	char clock[SHOW_TEXT_MAX], text[SHOW_TEXT_MAX];
	double age;

	table_add(t, say(c, "Newest point", "最新の復旧ポイント"));
	if (time && show_age(time, &age) == 0)
		table_addf(t, say(c, "%s (%s ago)", "%s（%s前）"), show_clock(time, clock), show_duration(age, text));
	else
		table_add(t, say(c, "none yet", "なし"));
	if (get_u64(store, "points") == 0)
		return;
	table_add(t, say(c, "Points", "復旧ポイント"));
	table_addf(t, say(c, "%" PRIu64 "%s%s, in %s of storage", "%" PRIu64 " 個%s%s、%s を使用"), get_u64(store, "points"),
		   first_time ? say(c, " since ", "、最古 ") : "", first_time ? show_clock(first_time, clock) : "",
		   show_bytes(get_u64(store, "data_bytes"), text));
}

static void detail_capture(const struct cli *c, struct table *t, const json_t *machine)
{
	const json_t *capture = get_object(machine, "capture");
	uint64_t lost = get_u64(capture, "lost_to_dirty_map_bytes");
	char text[SHOW_TEXT_MAX];

	table_add(t, say(c, "Capture", "取得方式"));
	if (!json_object_get(capture, "mode"))
		table_add(t, "-");
	else if (by_dirty_map(machine))
		table_add(t, say(c, "dirty map only: changed blocks are read again, points are made when all are sent",
				 "ダーティマップのみ: 変更されたブロックを読み直し、送り終えた時点が復旧ポイントになります"));
	else
		table_addf(t, say(c, "payload, in order of completion; %s went through the dirty map instead",
				  "ペイロード（完了順）、ダーティマップ経由 %s"), show_bytes(lost, text));
}

static void detail_rates(const struct cli *c, struct table *t, const json_t *machine)
{
	const json_t *rates = get_object(machine, "rates"), *forecast = get_object(machine, "forecast");
	double needed = get_number(forecast, "needed_mbit_per_second", -1);
	char written[SHOW_TEXT_MAX], drained[SHOW_TEXT_MAX], sent[SHOW_TEXT_MAX], again[SHOW_TEXT_MAX];

	table_add(t, say(c, "Rates", "速度"));
	table_addf(t, say(c, "written %s, replicated %s (of the disks, before compression)", "書き込み %s、複製 %s（ディスク上の量、圧縮前）"),
		   show_rate(get_number(rates, "write_bytes_per_second", 0), written),
		   show_rate(get_number(rates, "drain_bytes_per_second", 0), drained));
	if (json_is_false(json_object_get(forecast, "converges")) && needed >= 0) {
		table_add(t, say(c, "Forecast", "見通し"));
		table_addf(t, say(c, "will not converge; %.0f Mbit/s are needed", "収束しません。%.0f Mbit/s が必要です"), needed);
	}
	table_add(t, say(c, "Sent", "送信量"));
	table_addf(t, say(c, "%s, of it %s again", "%s（うち再送 %s）"), show_bytes(get_u64(machine, "sent_bytes"), sent),
		   show_bytes(get_u64(machine, "resent_bytes"), again));
}

static void detail_places(const struct cli *c, struct table *t, const json_t *machine)
{
	const json_t *server = get_object(machine, "replication_server"), *facts = get_object(machine, "facts");
	const char *seen = get_text(machine, "last_seen", NULL);
	char text[SHOW_TEXT_MAX];
	double age;

	table_add(t, say(c, "Replication server", "レプリケーションサーバー"));
	table_addf(t, "%s:%" PRIu64, get_text(server, "address", "?"), get_u64(server, "port"));
	table_add(t, say(c, "Agent", "エージェント"));
	if (show_age(seen, &age) < 0)
		table_add(t, say(c, "not seen yet", "未接続"));
	else
		table_addf(t, say(c, "seen %s ago on %s (%s, kernel %s)", "%s前に確認、%s（%s、カーネル %s）"),
			   show_duration(age, text), get_text(facts, "hostname", "?"), get_text(facts, "os", "?"),
			   get_text(facts, "kernel", "?"));
}

static void print_disks(const struct cli *c, const json_t *machine)
{
	struct table *t = table_new(5);
	const json_t *disk;
	size_t i;

	table_right(t, 1);
	table_right(t, 2);
	table_right(t, 3);
	table_add(t, say(c, "DISK", "ディスク"));
	table_add(t, say(c, "SIZE", "容量"));
	table_add(t, say(c, "SCANNED", "スキャン済み"));
	table_add(t, say(c, "DIRTY", "ダーティ"));
	table_add(t, "ID");
	json_array_foreach(get_array(machine, "disks"), i, disk) {
		char text[SHOW_TEXT_MAX];

		table_add(t, get_text(disk, "device", "?"));
		table_add(t, show_bytes(get_u64(disk, "size_bytes"), text));
		table_add(t, show_bytes(get_u64(disk, "scanned_bytes"), text));
		table_add(t, show_bytes(get_u64(disk, "dirty_bytes"), text));
		table_add(t, get_text(disk, "id", ""));
	}
	table_print(t, "  ");
	table_free(t);
}

static void text_machine(const struct cli *c, const json_t *machine)
{
	struct table *t = table_new(2);
	char line[WORDS_MAX * 2], text[SHOW_TEXT_MAX];

	printf("%s  (%s)\n", get_text(machine, "name", "?"), get_text(machine, "id", "?"));
	table_add(t, say(c, "Stage", "段階"));
	table_add(t, stage_line(c, machine, line, sizeof(line)));
	table_add(t, say(c, "Lag", "遅延"));
	table_add(t, lag_text(machine, text));
	table_add(t, say(c, "Backlog", "バックログ"));
	table_add(t, show_bytes(get_u64(machine, "backlog_bytes"), text));
	detail_points(c, t, machine);
	detail_capture(c, t, machine);
	detail_rates(c, t, machine);
	detail_places(c, t, machine);
	table_print(t, "  ");
	table_free(t);
	print_disks(c, machine);
	if (json_array_size(get_array(machine, "problems")) > 0)
		puts(say(c, "  Problems:", "  問題:"));
	print_problems(c, machine, "    ");
	if (json_array_size(get_array(machine, "launch_needs")) > 0)
		puts(say(c, "  When it is launched:", "  起動するとき:"));
	print_sentences(c, machine, "launch_needs", "    ");
}

void output_redraw_begin(void)
{
	if (isatty(STDOUT_FILENO) == 1)
		fputs("\033[H\033[J", stdout);
}

void output_redraw_end(void)
{
	fflush(stdout);
}

/* One line a machine where nothing can be redrawn. */
static void watch_line(const struct cli *c, const json_t *machine)
{
	char line[WORDS_MAX * 2], lag[SHOW_TEXT_MAX], backlog[SHOW_TEXT_MAX], newest[SHOW_TEXT_MAX];

	printf(say(c, "%s: %s; lag %s, backlog %s, newest point %s\n",
		   "%s: %s、遅延 %s、バックログ %s、最新の復旧ポイント %s\n"),
	       get_text(machine, "name", "?"), stage_line(c, machine, line, sizeof(line)), lag_text(machine, lag),
	       show_bytes(get_u64(machine, "backlog_bytes"), backlog), newest_text(c, machine, newest));
}

static void text_watch(const struct cli *c, const json_t *machines, bool one)
{
	const json_t *machine;
	size_t i;

	if (isatty(STDOUT_FILENO) == 1) {
		output_redraw_begin();
		if (one && json_array_size(machines) == 1)
			text_machine(c, json_array_get(machines, 0));
		else
			text_machines(c, machines);
	} else {
		json_array_foreach(machines, i, machine)
			watch_line(c, machine);
	}
	output_redraw_end();
}

/* --- points -------------------------------------------------------------------------------- */

/* "in 1.2 s" of one that was shown to boot. */
static char *boots_text(const struct cli *c, const json_t *point, char *text)
{
	double ms = get_number(get_object(point, "proof"), "milliseconds", -1);
	char took[SHOW_TEXT_MAX];

	*text = '\0';
	if (ms >= 0)
		snprintf(text, SHOW_TEXT_MAX, say(c, "boots in %.40s", "%.40sで起動"), show_duration(ms / 1000, took));
	return text;
}

static void add_point(const struct cli *c, struct table *t, const json_t *point)
{
	char text[SHOW_TEXT_MAX], boots[SHOW_TEXT_MAX];
	const char *label = get_text(point, "label", "");

	table_add(t, show_clock(get_text(point, "time", ""), text));
	table_add(t, get_text(point, "time", ""));
	table_add(t, get_text(point, "kind", ""));
	table_add(t, get_text(point, "id", ""));
	boots_text(c, point, boots);
	table_addf(t, "%s%s%s", label, *label && *boots ? "  " : "", boots);
}

static const char *point_time(const json_t *answer, const char *name)
{
	const json_t *point = json_object_get(answer, name);

	return json_is_string(point) ? json_string_value(point) : get_text(point, "time", NULL);
}

static void text_points(const struct cli *c, const json_t *answer)
{
	const json_t *points = get_array(answer, "points"), *point;
	const char *first = point_time(answer, "first"), *last = point_time(answer, "last");
	struct table *t;
	size_t i;

	if (json_array_size(points) == 0) {
		if (first && last)
			printf(say(c, "No point in that time: there are points from %s to %s\n",
				   "この期間に復旧ポイントはありません。%s から %s まであります\n"), first, last);
		else
			puts(say(c, "No point yet", "復旧ポイントはまだありません"));
		return;
	}
	t = table_new(5);
	table_add(t, say(c, "LOCAL TIME", "現地時刻"));
	table_add(t, "UTC");
	table_add(t, say(c, "KIND", "種類"));
	table_add(t, "ID");
	table_add(t, say(c, "LABEL", "ラベル"));
	json_array_foreach(points, i, point)
		add_point(c, t, point);
	table_print(t, "");
	table_free(t);
	if (json_is_true(json_object_get(answer, "truncated")))
		printf(say(c, "These are the newest %zu of %" PRIu64 "; --limit, --from and --to show others\n",
			   "%2$" PRIu64 " 個のうち最新の %1$zu 個です。--limit、--from、--to で範囲を指定できます\n"),
		       json_array_size(points), get_u64(answer, "count"));
}

static void text_marked(const struct cli *c, const char *machine, const json_t *point)
{
	printf(say(c, "%s is kept as \"%s\": point %s of %s\n", "%s を「%s」として保存しました: ポイント %s、%s\n"), machine,
	       get_text(point, "label", ""), get_text(point, "id", ""), get_text(point, "time", ""));
}

/* --- settings -------------------------------------------------------------------------------- */

/* What a setting means, in the console's words. */
static const char *setting_explained(const json_t *described, const char *name)
{
	const json_t *setting;
	size_t i;

	json_array_foreach(described, i, setting)
		if (strcmp(get_text(setting, "name", ""), name) == 0)
			return get_text(setting, "text", "");
	return "";
}

/* In @text, unless it is a text itself. */
static const char *setting_value(const struct cli *c, const json_t *value, const char *name, char *text, size_t size)
{
	size_t length = strlen(name);
	char duration[SHOW_TEXT_MAX];

	if (json_is_string(value))
		return json_string_length(value) ? json_string_value(value) : say(c, "not set", "未設定");
	if (json_is_integer(value) && length > 8 && strcmp(name + length - 8, "_seconds") == 0)
		snprintf(text, size, "%lld (%s)", (long long)json_integer_value(value),
			 show_duration((double)json_integer_value(value), duration));
	else if (json_is_integer(value))
		snprintf(text, size, "%lld", (long long)json_integer_value(value));
	else
		snprintf(text, size, "%g", json_number_value(value));
	return text;
}

static void text_settings(const struct cli *c, const json_t *before, const json_t *settings, const json_t *described)
{
	struct table *t = table_new(3);
	const json_t *value;
	const char *name;

	json_object_foreach((json_t *)settings, name, value) {
		const json_t *old = json_object_get(before, name);
		char now[128], then[128];

		table_add(t, name);
		if (before && !json_equal((json_t *)old, (json_t *)value))
			table_addf(t, say(c, "%s  (was %s)", "%s（変更前 %s）"), setting_value(c, value, name, now, sizeof(now)),
				   setting_value(c, old, name, then, sizeof(then)));
		else
			table_add(t, setting_value(c, value, name, now, sizeof(now)));
		table_add(t, setting_explained(described, name));
	}
	table_print(t, "");
	table_free(t);
}

/* --- events ------------------------------------------------------------------------------------ */

/* Who did it, where that is not plain from the rest of the line. */
static bool worth_saying(const char *who, const char *machine)
{
	return *who && strcmp(who, "console") != 0 &&
	       !(strncmp(who, "agent:", 6) == 0 && strcmp(who + 6, machine) == 0);
}

/* The changes, where the text itself does not tell them. */
static void print_changes(const struct cli *c, const json_t *event)
{
	const json_t *change;
	size_t i;

	if (strcmp(get_text(event, "code", ""), "SETTING_CHANGED") == 0 ||
	    strcmp(get_text(event, "code", ""), "BLUEPRINT_CHANGED") == 0)
		return;
	json_array_foreach(get_array(event, "changes"), i, change) {
		const char *name = get_text(change, "name", "?");
		char then[128], now[128];

		printf("%s %s: %s -> %s", i ? "," : ";", name,
		       setting_value(c, json_object_get(change, "old"), name, then, sizeof(then)),
		       setting_value(c, json_object_get(change, "new"), name, now, sizeof(now)));
	}
}

static void text_event(const struct cli *c, const json_t *event)
{
	char clock[SHOW_TEXT_MAX], text[WORDS_MAX], remedy[WORDS_MAX];
	const char *who = get_text(event, "who", ""), *machine = get_text(event, "machine", "");
	const char *severity = get_text(event, "severity", "info");
	bool named;

	message_words(event, text, remedy);
	named = !*machine || strstr(text, machine);
	printf("%s  %-7s  %s%s%s", show_clock(get_text(event, "time", ""), clock), severity, named ? "" : machine,
	       named ? "" : ": ", text);
	print_changes(c, event);
	printf(worth_saying(who, machine) ? " (%s)\n" : "\n", who);
	if (*remedy && strcmp(severity, "info") != 0)
		printf("    %s\n", remedy);
	fflush(stdout);
}

static void text_events(const struct cli *c, const json_t *events)
{
	const json_t *event;
	size_t i;

	json_array_foreach(events, i, event)
		text_event(c, event);
}

/* --- exports, images ---------------------------------------------------------------------------- */

static void text_exports(const struct cli *c, const json_t *exports)
{
	const json_t *export, *disk;
	struct table *t;
	size_t i, j;

	if (json_array_size(exports) == 0) {
		puts(say(c, "Nothing is being served", "提供中のものはありません"));
		return;
	}
	t = table_new(4);
	table_add(t, say(c, "EXPORT", "エクスポート"));
	table_add(t, say(c, "POINT", "ポイント"));
	table_add(t, say(c, "DISK", "ディスク"));
	table_add(t, "URI");
	json_array_foreach(exports, i, export) {
		json_array_foreach(get_array(export, "disks"), j, disk) {
			char clock[SHOW_TEXT_MAX];

			table_add(t, get_text(export, "export", "?"));
			table_add(t, show_clock(get_text(get_object(export, "point"), "time", ""), clock));
			table_add(t, get_text(disk, "name", "?"));
			table_add(t, get_text(disk, "uri", "?"));
		}
	}
	table_print(t, "");
	table_free(t);
}

static void text_served(const struct cli *c, const char *machine, const json_t *served)
{
	const char *time = get_text(get_object(served, "point"), "time", ""), *id = get_text(served, "export", "?");
	const char *uri = "URI";
	const json_t *disk;
	char clock[SHOW_TEXT_MAX];
	size_t i;

	printf(say(c, "%s as it was at %s (%s):\n", "%s の %s (%s) 時点:\n"), machine, show_clock(time, clock), time);
	json_array_foreach(get_array(served, "disks"), i, disk) {
		char bytes[SHOW_TEXT_MAX];

		if (i == 0)
			uri = get_text(disk, "uri", uri);
		printf("  %-10s %9s  %s\n", get_text(disk, "name", "?"), show_bytes(get_u64(disk, "size_bytes"), bytes),
		       get_text(disk, "uri", "?"));
	}
	printf(say(c, "For example:\n", "使い方の例:\n"));
	printf("  nbdinfo '%s'\n", uri);
	printf("  nbdcopy '%s' disk.img\n", uri);
	printf("  qemu-system-x86_64 -m 2G -snapshot -drive 'file=%s,format=raw,if=virtio'\n", uri);
	/* libguestfs knows the scheme nbd only. */
	printf("  guestmount --ro --format=raw -i -a 'nbd%s' /mnt\n", strstr(uri, "://") ? strstr(uri, "://") : uri);
	printf("  mkdir /run/nbd; nbdfuse /run/nbd --uri '%s' &   # then: losetup -rfP --show /run/nbd/nbd\n", uri);
	printf(say(c, "It is served until: godwit serve --stop %s\n", "終了するには: godwit serve --stop %s\n"), id);
}

static void text_image(const struct cli *c, const json_t *image)
{
	const char *time = get_text(get_object(image, "point"), "time", "");
	char clock[SHOW_TEXT_MAX], size[SHOW_TEXT_MAX];

	printf(say(c, "%s: disk %s of %s as it was at %s (%s); %s, %s\n", "%s: ディスク %s（%s）の %s (%s) 時点、%s、%s\n"),
	       get_text(image, "file", "?"), get_text(image, "disk", "?"), get_text(image, "machine", "?"),
	       show_clock(time, clock), time, get_text(image, "format", "?"),
	       show_bytes(get_u64(image, "size_bytes"), size));
}

/* --- the rest -------------------------------------------------------------------------------------- */

static void text_verified(const struct cli *c, const char *machine, const json_t *verify)
{
	uint64_t differing = get_u64(verify, "differing_bytes"), unsettled = get_u64(verify, "unsettled_bytes");
	char checked[SHOW_TEXT_MAX], bytes[SHOW_TEXT_MAX];

	show_bytes(get_u64(verify, "checked_bytes"), checked);
	if (differing)
		printf(say(c, "%s: %s of %s checked differ from the replica", "%1$s: 検査した %3$s のうち %2$s がレプリカと異なります"),
		       machine, show_bytes(differing, bytes), checked);
	else
		printf(unsettled ? say(c, "%s: source and replica are equal where they could be compared, %s checked",
				       "%s: ソースとレプリカは比較できた範囲では一致しています（%s を検査）") :
				   say(c, "%s: source and replica are equal, %s checked", "%s: ソースとレプリカは一致しています（%s を検査）"),
		       machine, checked);
	if (unsettled)
		printf(say(c, "; %s could not be compared: written to all the while, or not readable",
			   "。%s は書き込みが続いたか読み取れないため比較できませんでした"), show_bytes(unsettled, bytes));
	putchar('\n');
	if (differing)
		printf(say(c, "`godwit rescan %s` repairs the replica; please report how it came about.\n",
			   "`godwit rescan %s` で修復できます。原因の報告をお願いします。\n"), machine);
}

static void text_token(const struct cli *c, const json_t *token)
{
	printf("%s\n", get_text(token, "token", ""));
	if (isatty(STDOUT_FILENO) != 1)
		return;
	printf(say(c, "Until %s, on the machine to protect:\n", "%s まで、保護するマシンで次を実行します:\n"),
	       get_text(token, "expires", "?"));
	printf("  " ENROLMENT_TOKEN_VARIABLE "=%s godwit protect /dev/DISK --name NAME --console %s\n",
	       get_text(token, "token", ""), get_text(token, "console", "URL"));
}

static void text_instance(const struct cli *c, const json_t *instance)
{
	const char *data = get_text(instance, "data", "?");
	bool usual = strcmp(data, DATA_FOLDER_DEFAULT) == 0;

	if (json_is_true(json_object_get(instance, "already_running")))
		puts(say(c, "Running already:", "すでに動作しています:"));
	printf(say(c, "Console             %s\n", "コンソール                %s\n"), get_text(instance, "console_url", "?"));
	printf(say(c, "Replication server  TCP port %" PRIu64 "\n", "レプリケーションサーバー  TCP ポート %" PRIu64 "\n"), get_u64(instance, "port"));
	printf(say(c, "Data                %s\n", "データ                    %s\n"), data);
	printf(say(c, "Protect a disk of this machine:  godwit protect /dev/DISK --name NAME%s%s\n",
		   "このマシンのディスクを保護:  godwit protect /dev/DISK --name NAME%s%s\n"), usual ? "" : " --data ", usual ? "" : data);
}

static void text_done(const struct cli *c, const char *what, const char *machine, const char *text)
{
	char hinted[WORDS_HINT_MAX];

	puts(words_with_data(c, text, hinted));
}

const struct output output_text = {
	.machines = text_machines,
	.machine = text_machine,
	.watch = text_watch,
	.points = text_points,
	.marked = text_marked,
	.settings = text_settings,
	.blueprint = text_settings,
	.launches = output_text_launches,
	.launch = output_text_launch,
	.launch_in_full = output_text_launch_in_full,
	.events = text_events,
	.event = text_event,
	.exports = text_exports,
	.served = text_served,
	.image = text_image,
	.verified = text_verified,
	.token = text_token,
	.instance = text_instance,
	.done = text_done,
};
