/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"
#include "utf8.h"
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* --- the table ---------------------------------------------------------------- */

struct entry {
	const char *code, *severity, *en, *en_remedy, *ja, *ja_remedy;
};

static const struct entry entries[] = {
#define MSG(code, severity, en, en_remedy, ja, ja_remedy) { #code, #severity, en, en_remedy, ja, ja_remedy },
#include "messages.def"
#undef MSG
};

#define PLACES_MAX 16
struct places {
	char name[PLACES_MAX][32];
	unsigned int count;
};

static void add_place(struct places *p, const char *name)
{
	for (unsigned int i = 0; i < p->count; i++)
		if (strcmp(p->name[i], name) == 0)
			return;
	assert_true(p->count < PLACES_MAX);
	snprintf(p->name[p->count++], sizeof(p->name[0]), "%s", name);
}

/* Adds the places of @text to @p; what looks like one but cannot be is a failure. */
static void collect(const struct entry *e, const char *text, struct places *p)
{
	for (const char *open = strchr(text, '{'); open; open = strchr(open + 1, '{')) {
		size_t len = strspn(open + 1, "abcdefghijklmnopqrstuvwxyz0123456789_");
		char name[32];

		if (len == 0 || len >= sizeof(((struct fault *)0)->args[0].name) || open[1 + len] != '}')
			fail_msg("%s: a brace that opens no place: %s", e->code, open);
		snprintf(name, sizeof(name), "%.*s", (int)len, open + 1);
		add_place(p, name);
	}
}

static bool contains(const struct places *p, const char *name)
{
	for (unsigned int i = 0; i < p->count; i++)
		if (strcmp(p->name[i], name) == 0)
			return true;
	return false;
}

static void check_same_places(const struct entry *e, const char *what, const char *en, const char *ja)
{
	struct places in_en = { .count = 0 }, in_ja = { .count = 0 };

	collect(e, en, &in_en);
	collect(e, ja, &in_ja);
	for (unsigned int i = 0; i < in_en.count; i++)
		if (!contains(&in_ja, in_en.name[i]))
			fail_msg("%s: {%s} is not in the Japanese %s", e->code, in_en.name[i], what);
	for (unsigned int i = 0; i < in_ja.count; i++)
		if (!contains(&in_en, in_ja.name[i]))
			fail_msg("%s: {%s} is not in the English %s", e->code, in_ja.name[i], what);
}

static void test_both_languages_have_the_same_places(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
		check_same_places(&entries[i], "text", entries[i].en, entries[i].ja);
		check_same_places(&entries[i], "remedy", entries[i].en_remedy, entries[i].ja_remedy);
	}
}

static void test_a_fault_has_room_for_every_place(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
		struct places all = { .count = 0 };

		collect(&entries[i], entries[i].en, &all);
		collect(&entries[i], entries[i].en_remedy, &all);
		if (all.count > FAULT_ARGS_MAX)
			fail_msg("%s has %u places; a fault carries %d", entries[i].code, all.count, FAULT_ARGS_MAX);
	}
}

static bool ends_with(const char *s, const char *end)
{
	return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static void check_text(const struct entry *e, const char *text)
{
	if (text[0] == '\0' || !utf8_is_printable(text, strlen(text)))
		fail_msg("%s: a text is empty or not printable", e->code);
	if (text[0] == ' ' || ends_with(text, " ") || strstr(text, "  "))
		fail_msg("%s: spaces at an end or in a row: %s", e->code, text);
}

static void test_texts_have_no_full_stop_and_remedies_have_one(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
		const struct entry *e = &entries[i];

		check_text(e, e->en);
		check_text(e, e->en_remedy);
		check_text(e, e->ja);
		check_text(e, e->ja_remedy);
		if (ends_with(e->en, ".") || ends_with(e->ja, "。"))
			fail_msg("%s: its text ends with a full stop", e->code);
		if (!ends_with(e->en_remedy, ".") || !ends_with(e->ja_remedy, "。"))
			fail_msg("%s: its remedy is no whole sentence", e->code);
	}
}

static bool has_japanese(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s >= 0xe3) /* kana and kanji */
			return true;
	return false;
}

static void test_each_language_is_the_one_it_claims_to_be(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
		const struct entry *e = &entries[i];

		if (has_japanese(e->en) || has_japanese(e->en_remedy))
			fail_msg("%s: Japanese where English should be", e->code);
		if (!has_japanese(e->ja) || !has_japanese(e->ja_remedy))
			fail_msg("%s: no Japanese where it should be", e->code);
	}
}

static void test_codes_are_upper_case_words(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
		const char *c = entries[i].code;

		if (!isupper((unsigned char)c[0]) || c[strspn(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] != '\0')
			fail_msg("%s is not a code", c);
	}
}

/* A command that is quoted once is quoted to its end. */
static void test_quoted_commands_are_closed(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
		const char *texts[] = { entries[i].en, entries[i].en_remedy, entries[i].ja, entries[i].ja_remedy };

		for (size_t t = 0; t < ARRAY_LEN(texts); t++) {
			unsigned int quotes = 0;

			for (const char *p = texts[t]; *p; p++)
				quotes += *p == '`';
			if (quotes % 2)
				fail_msg("%s: a ` is not closed: %s", entries[i].code, texts[t]);
		}
	}
}

/* --- the functions -------------------------------------------------------------- */

static void test_names_and_codes(void **state)
{
	enum message_code code = MSG_COUNT;

	for (unsigned int i = 0; i < MSG_COUNT; i++) {
		assert_string_equal(message_name((enum message_code)i), entries[i].code);
		assert_int_equal(message_from_name(entries[i].code, &code), 0);
		assert_int_equal(code, i);
	}
	assert_int_equal(message_from_name("NO_SUCH", &code), -ENOENT);
	assert_int_equal(message_from_name("", &code), -ENOENT);
	assert_int_equal(message_severity(MSG_DISK_NOT_BLOCK), SEVERITY_ERROR);
}

static void test_places_are_filled(void **state)
{
	char buf[256];

	assert_string_equal(message_text(MSG_DISK_IS_PARTITION, LANGUAGE_EN,
					 MSG_ARGS("whole", "/dev/sda", "disk", "/dev/sda1"), buf, sizeof(buf)),
			    "/dev/sda1 is a partition of /dev/sda");
	assert_string_equal(message_text(MSG_DISK_IS_PARTITION, LANGUAGE_JA,
					 MSG_ARGS("whole", "/dev/sda", "disk", "/dev/sda1"), buf, sizeof(buf)),
			    "/dev/sda1 は /dev/sda のパーティションです");
	assert_string_equal(message_remedy(MSG_DISK_IS_PARTITION, LANGUAGE_EN, MSG_ARGS("whole", "/dev/sda"), buf,
					   sizeof(buf)),
			    "Protect the whole disk instead: /dev/sda.");
}

static void test_a_place_without_a_value_is_seen(void **state)
{
	char buf[256];

	assert_string_equal(message_text(MSG_DISK_NOT_FOUND, LANGUAGE_EN, NULL, buf, sizeof(buf)), "{disk} does not exist");
	assert_string_equal(message_text(MSG_DISK_NOT_FOUND, LANGUAGE_EN, MSG_ARGS("dis", "x", "disks", "y"), buf, sizeof(buf)),
			    "{disk} does not exist");
}

/* What a value contains is not looked at again. */
static void test_values_are_not_templates(void **state)
{
	char buf[256];

	assert_string_equal(message_text(MSG_DISK_NOT_FOUND, LANGUAGE_EN, MSG_ARGS("disk", "{disk}{"), buf, sizeof(buf)),
			    "{disk}{ does not exist");
}

static void test_a_value_that_ends_in_a_full_stop_leaves_room_for_the_next_sentence(void **state)
{
	struct fault f;
	char buf[512];

	(void)fault_set(&f, 0, MSG_LAUNCH_NOT_STARTED, "reason", "qemu: no such device.", NULL);
	fault_format(&f, LANGUAGE_EN, buf, sizeof(buf));
	assert_null(strstr(buf, ".."));
	assert_non_null(strstr(buf, "no such device"));
	(void)fault_set(&f, 0, MSG_LAUNCH_NOT_STARTED, "reason", "waiting...", NULL);
	fault_format(&f, LANGUAGE_EN, buf, sizeof(buf));
	assert_non_null(strstr(buf, "waiting..."));
}

static void test_short_buffers_cut_between_characters(void **state)
{
	char whole[512], buf[512];

	message_text(MSG_DISK_IS_PARTITION, LANGUAGE_JA, MSG_ARGS("disk", "移行", "whole", "前"), whole, sizeof(whole));
	for (size_t size = 1; size <= strlen(whole) + 1; size++) {
		memset(buf, 'x', sizeof(buf));
		message_text(MSG_DISK_IS_PARTITION, LANGUAGE_JA, MSG_ARGS("disk", "移行", "whole", "前"), buf, size);
		assert_true(strlen(buf) < size);
		assert_true(strlen(buf) + 4 > size || strlen(buf) == strlen(whole));
		assert_memory_equal(buf, whole, strlen(buf));
		assert_true(utf8_is_printable(buf, strlen(buf)));
		assert_int_equal(buf[size], 'x');
	}
	assert_string_equal(buf, whole);
}

static void test_a_fault_carries_its_values(void **state)
{
	struct fault f;
	char buf[1024];

	assert_int_equal(fault_set(&f, -ENOTBLK, MSG_DISK_IS_PARTITION, "disk", "/dev/sda1", "whole", "/dev/sda", NULL),
			 -ENOTBLK);
	assert_int_equal(f.arg_count, 2);
	assert_string_equal(fault_format(&f, LANGUAGE_EN, buf, sizeof(buf)),
			    "/dev/sda1 is a partition of /dev/sda. Protect the whole disk instead: /dev/sda.");
	assert_string_equal(fault_format(&f, LANGUAGE_JA, buf, sizeof(buf)),
			    "/dev/sda1 は /dev/sda のパーティションです。ディスク全体 /dev/sda を保護してください。");
	assert_int_equal(fault_set(NULL, -EIO, MSG_NOT_ROOT, NULL), -EIO);
	assert_int_equal(fault_set(&f, -EPERM, MSG_NOT_ROOT, NULL), -EPERM);
	assert_int_equal(f.arg_count, 0);
}

static void test_a_long_value_is_cut_between_characters(void **state)
{
	char value[600] = "", buf[1024];
	struct fault f;

	for (unsigned int i = 0; i < 150; i++)
		strcat(value, "移");
	(void)fault_set(&f, 0, MSG_DISK_NOT_FOUND, "disk", value, NULL);
	assert_int_equal(strlen(f.args[0].value), (FAULT_VALUE_MAX - 1) / 3 * 3);
	(void)fault_set(&f, 0, MSG_DISK_NOT_FOUND, "disk", NULL, NULL);
	assert_string_equal(message_text(f.code, LANGUAGE_EN, MSG_ARGS("disk", f.args[0].value), buf, sizeof(buf)),
			    " does not exist");
}

static void test_a_value_that_is_not_printable_is_made_so(void **state)
{
	struct fault f;

	(void)fault_set(&f, 0, MSG_DISK_NOT_FOUND, "disk", "/dev/\xff\n\x1b[2J", NULL);
	assert_string_equal(f.args[0].value, "/dev/???[2J");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_languages_have_the_same_places),
		cmocka_unit_test(test_a_fault_has_room_for_every_place),
		cmocka_unit_test(test_texts_have_no_full_stop_and_remedies_have_one),
		cmocka_unit_test(test_each_language_is_the_one_it_claims_to_be),
		cmocka_unit_test(test_codes_are_upper_case_words),
		cmocka_unit_test(test_quoted_commands_are_closed),
		cmocka_unit_test(test_names_and_codes),
		cmocka_unit_test(test_places_are_filled),
		cmocka_unit_test(test_a_place_without_a_value_is_seen),
		cmocka_unit_test(test_values_are_not_templates),
		cmocka_unit_test(test_a_value_that_ends_in_a_full_stop_leaves_room_for_the_next_sentence),
		cmocka_unit_test(test_short_buffers_cut_between_characters),
		cmocka_unit_test(test_a_fault_carries_its_values),
		cmocka_unit_test(test_a_long_value_is_cut_between_characters),
		cmocka_unit_test(test_a_value_that_is_not_printable_is_made_so),
	};

	return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
