// SPDX-License-Identifier: Apache-2.0
/* The agent's state folder, whole and damaged: agent.json is refused, and a damaged
 * agent.memory leads to a comparison by hashes (nothing armed), never to "clean". */
#include "engine-private.h"
#include "fileio.h"
#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/godwit-settings.XXXXXX";
static struct settings settings;

static const char *path_of(const char *name)
{
	static char path[SETTINGS_PATH_MAX];

	return settings_path(&settings, name, path);
}

static void write_file(const char *name, const void *bytes, size_t n)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	close(fd);
}

static size_t read_file(const char *name, char **ret)
{
	size_t n;

	assert_int_equal(fileio_slurp(path_of(name), MIB, ret, &n), 0);
	return n;
}

static void set_boot_id(const char *id)
{
	char path[SETTINGS_PATH_MAX];

	write_file("boot_id", id, strlen(id));
	setenv("GODWIT_BOOT_ID_FILE", settings_path(&settings, "boot_id", path), 1);
}

static int begin(void **state)
{
	return mkdtemp(folder) && settings_open(folder, &settings) == 0 ? 0 : -1;
}

static int end(void **state)
{
	const char *names[] = { "agent.json", "agent.memory", "boot_id" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)unlink(path_of(names[i]));
	return rmdir(folder);
}

/* --- agent.json ------------------------------------------------------------------ */

static struct settings example(void)
{
	struct settings s = settings;

	strcpy(s.name, "db1");
	strcpy(s.console, "https://console:8443");
	strcpy(s.server_address, "server.example");
	s.machine.bytes[0] = 7;
	s.server_port = 1501;
	s.disk_count = 2;
	for (unsigned int i = 0; i < s.disk_count; i++) {
		s.disks[i] = (struct settings_disk){ .disk = (uint16_t)(3 + i), .id.bytes[0] = (uint8_t)(1 + i) };
		snprintf(s.disks[i].info.path, sizeof(s.disks[i].info.path), "/dev/sd%c", 'a' + i);
		s.disks[i].info.size_bytes = GIB;
		s.disks[i].info.sector_bytes = 512;
		strcpy(s.disks[i].info.identity.serial, "S1");
	}
	return s;
}

static void what_was_saved_is_loaded(void **state)
{
	struct settings s = example(), t = settings;

	assert_int_equal(settings_save(&s), 0);
	assert_int_equal(settings_load(&t), 0);
	assert_string_equal(t.name, s.name);
	assert_string_equal(t.console, s.console);
	assert_string_equal(t.server_address, s.server_address);
	assert_int_equal(t.server_port, 1501);
	assert_true(uuid_equal(&t.machine, &s.machine));
	assert_int_equal(t.disk_count, 2);
	assert_int_equal(t.disks[1].disk, 4);
	assert_string_equal(t.disks[1].info.path, "/dev/sdb");
	assert_int_equal(t.disks[1].info.size_bytes, GIB);
	assert_string_equal(t.disks[1].info.identity.serial, "S1");
}

static void what_is_forgotten_leaves_nothing_of_the_machine_but_its_log(void **state)
{
	const char *gone[] = { "agent.json", "agent.memory", "desired.json", "agent.crt", "agent.key", "ca.crt" };
	struct settings s = example(), t = settings;

	assert_int_equal(settings_save(&s), 0);
	for (size_t i = 1; i < ARRAY_LEN(gone); i++)
		write_file(gone[i], "x", 1);
	write_file("agent.log.0", "x", 1);
	assert_int_equal(settings_forget_but_key(&s), 0);
	assert_int_equal(access(path_of("agent.json"), F_OK), -1);
	assert_int_equal(access(path_of("agent.key"), F_OK), 0);
	assert_int_equal(settings_forget(&s), 0);
	for (size_t i = 0; i < ARRAY_LEN(gone); i++)
		assert_int_equal(access(path_of(gone[i]), F_OK), -1);
	assert_int_equal(access(path_of("agent.log.0"), F_OK), 0);
	assert_int_equal(settings_load(&t), -ENOENT);
	assert_int_equal(settings_forget(&s), 0); /* again: there is nothing to do */
	unlink(path_of("agent.log.0"));
}

static void a_state_folder_that_was_never_enrolled_is_no_damaged_one(void **state)
{
	struct settings t = settings;

	(void)unlink(path_of("agent.json"));
	assert_int_equal(settings_load(&t), -ENOENT);
}

static void agent_json_cut_short_anywhere_is_refused(void **state)
{
	struct settings s = example();
	char *text;
	size_t n;

	assert_int_equal(settings_save(&s), 0);
	n = read_file("agent.json", &text);
	while (n > 0 && strchr("}\n \t", text[n - 1]) && text[n - 1] != '}')
		n--;
	for (size_t cut = 0; cut < n; cut++) {
		struct settings t = settings;

		write_file("agent.json", text, cut);
		assert_int_equal(settings_load(&t), -EBADMSG);
	}
	free(text);
}

static void agent_json_with_any_byte_changed_harms_nobody(void **state)
{
	struct settings s = example();
	char *text;
	size_t n;

	assert_int_equal(settings_save(&s), 0);
	n = read_file("agent.json", &text);
	for (size_t i = 0; i < n; i++) {
		struct settings t = settings;
		char was = text[i];
		int r;

		text[i] = was == '9' ? '"' : '9';
		write_file("agent.json", text, n);
		text[i] = was;
		r = settings_load(&t);
		assert_true(r == 0 || r == -EBADMSG);
		if (r == 0) {
			assert_true(t.disk_count == 2 && t.disks[0].disk != t.disks[1].disk);
			assert_true(t.disks[0].disk < DISKS_MAX && t.disks[1].disk < DISKS_MAX && t.server_port != 0);
		}
	}
	free(text);
}

/* The first @from in agent.json becomes @to. */
static int load_with(const char *from, const char *to)
{
	struct settings s = example(), t = settings;
	char *text, changed[8192], *at;

	assert_int_equal(settings_save(&s), 0);
	(void)read_file("agent.json", &text);
	at = strstr(text, from);
	assert_non_null(at);
	snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	free(text);
	write_file("agent.json", changed, strlen(changed));
	return settings_load(&t);
}

static void disks_that_share_a_number_or_an_id_are_refused(void **state)
{
	assert_int_equal(load_with("\"disk\": 4", "\"disk\": 3"), -EBADMSG);
	assert_int_equal(load_with("\"disk\": 4", "\"disk\": 64"), -EBADMSG);
	assert_int_equal(load_with("\"disk\": 4", "\"disk\": 65540"), -EBADMSG);
	assert_int_equal(load_with("\"disk\": 4", "\"disk\": -1"), -EBADMSG);
	assert_int_equal(load_with("\"disk\": 4", "\"disk\": \"4\""), -EBADMSG);
	assert_int_equal(load_with("\"disk\": 4,", ""), -EBADMSG);
	assert_int_equal(load_with("02000000-", "01000000-"), -EBADMSG);
	assert_int_equal(load_with("\"disk\": 4", "\"disk\": 5"), 0);
}

static void a_disk_of_a_size_that_none_has_is_refused(void **state)
{
	struct settings s = example();
	char size[64], sector[64];

	snprintf(size, sizeof(size), "\"size_bytes\": %llu", (unsigned long long)s.disks[0].info.size_bytes);
	snprintf(sector, sizeof(sector), "\"sector_bytes\": %u", s.disks[0].info.sector_bytes);
	assert_int_equal(load_with(size, "\"size_bytes\": 0"), -EBADMSG);
	assert_int_equal(load_with(size, "\"size_bytes\": -512"), -EBADMSG);
	assert_int_equal(load_with(sector, "\"sector_bytes\": 0"), -EBADMSG);
	assert_int_equal(load_with(sector, "\"sector_bytes\": -65024"), -EBADMSG);
	assert_int_equal(load_with(sector, "\"sector_bytes\": 66048"), -EBADMSG);
	assert_int_equal(load_with(size, size), 0);
}

/* --- agent.memory ------------------------------------------------------------------ */

/* As an engine leaves it that has two epochs under way. */
static void fill(struct engine_memory *m)
{
	memory_arm(m, 3);
	memory_arm(m, 4);
	memory_set_synced(m, 3, true);
	memory_set_durable(m, 40);
	m->durable_time_us = 1000;
	m->merged = 170000;
	for (uint64_t epoch = 39; epoch < 43; epoch++)
		memory_set_cut(m, epoch, epoch * 4096, epoch * 25);
	memory_raise_horizon(m, 150000);
	memory_set_point(m, 40, 1000);
}

static struct engine_memory *open_memory(bool *ret_same_boot)
{
	struct engine_memory *m;

	assert_int_equal(settings_memory(&settings, &m, ret_same_boot), 0);
	assert_true(engine_memory_is_sound(m));
	return m;
}

static void close_memory(struct engine_memory *m)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	munmap((void *)((uintptr_t)m / page * page), 1);
}

/* A file of this boot, filled; its bytes. */
static size_t make_memory(char **ret)
{
	struct engine_memory *m;
	bool same;

	set_boot_id("boot-one\n");
	(void)unlink(path_of("agent.memory"));
	m = open_memory(&same);
	assert_false(same);
	fill(m);
	assert_true(engine_memory_is_sound(m));
	close_memory(m);
	return read_file("agent.memory", ret);
}

/* Nothing of it that decides what is clean, and where the ring is gone on in, is another. */
static bool same_where_it_matters(const struct engine_memory *a, const struct engine_memory *b)
{
	for (unsigned int i = 0; i < ENGINE_CUTS; i++)
		if (a->cuts[i].epoch && (a->cuts[i].epoch != b->cuts[i].epoch || a->cuts[i].position != b->cuts[i].position ||
					 a->cuts[i].time_us != b->cuts[i].time_us))
			return false;
	return a->armed_disks == b->armed_disks && a->synced_disks == b->synced_disks &&
	       a->durable_epoch == b->durable_epoch && a->horizon == b->horizon && a->point_epoch == b->point_epoch &&
	       a->point_time_us == b->point_time_us;
}

static void a_memory_outlives_the_agent_within_a_boot(void **state)
{
	struct engine_memory *m, want = { 0 };
	char *bytes;
	bool same;

	(void)make_memory(&bytes);
	free(bytes);
	fill(&want);
	m = open_memory(&same);
	assert_true(same);
	assert_memory_equal(m, &want, sizeof(want));
	close_memory(m);
}

static void after_a_reboot_nothing_is_armed_and_no_cut_is_known(void **state)
{
	struct engine_memory *m;
	char *bytes;
	bool same;

	(void)make_memory(&bytes);
	free(bytes);
	set_boot_id("boot-two\n");
	m = open_memory(&same);
	assert_false(same);
	assert_true(m->armed_disks == 0 && m->horizon == 0);
	for (unsigned int i = 0; i < ENGINE_CUTS; i++)
		assert_true(m->cuts[i].epoch == 0);
	assert_int_equal(m->durable_epoch, 40);
	close_memory(m);
	m = open_memory(&same);
	assert_true(same);
	close_memory(m);
}

static void a_memory_of_another_length_is_of_no_boot(void **state)
{
	char *bytes;
	size_t n = make_memory(&bytes);

	bytes = realloc(bytes, n + 1);
	bytes[n] = 0;
	for (size_t length = 0; length <= n + 1; length++) {
		struct engine_memory *m;
		bool same;

		write_file("agent.memory", bytes, length);
		m = open_memory(&same);
		assert_int_equal(same, length == n);
		assert_int_equal(m->armed_disks == 0, length != n);
		assert_int_equal(m->durable_epoch, length == n ? 40 : 0);
		close_memory(m);
	}
	free(bytes);
}

static void a_memory_with_any_bit_changed_is_believed_in_nothing_that_matters(void **state)
{
	struct engine_memory want = { 0 };
	unsigned int believed = 0;
	char *bytes;
	size_t n = make_memory(&bytes);

	fill(&want);
	for (size_t bit = 0; bit < n * 8; bit++) {
		struct engine_memory *m;
		bool same;

		bytes[bit / 8] ^= (char)(1 << bit % 8);
		write_file("agent.memory", bytes, n);
		bytes[bit / 8] ^= (char)(1 << bit % 8);
		m = open_memory(&same);
		assert_true(m->armed_disks == 0 || (same && same_where_it_matters(m, &want)));
		assert_true(same || m->armed_disks == 0);
		believed += m->armed_disks != 0;
		close_memory(m);
	}
	assert_true(believed <= 2 * 64); /* durable_time_us, merged */
	free(bytes);
}

static void a_memory_of_zeroes_from_anywhere_on_is_believed_in_nothing_that_matters(void **state)
{
	struct engine_memory want = { 0 };
	char *bytes;
	size_t n = make_memory(&bytes);

	fill(&want);
	for (size_t from = 0; from < n; from++) {
		char *torn = malloc(n);
		struct engine_memory *m;
		bool same;

		memcpy(torn, bytes, n);
		memset(torn + from, 0, n - from);
		write_file("agent.memory", torn, n);
		m = open_memory(&same);
		assert_true(m->armed_disks == 0 || (same && same_where_it_matters(m, &want)));
		close_memory(m);
		free(torn);
	}
	free(bytes);
}

static void a_machine_without_a_boot_id_never_believes_it(void **state)
{
	struct engine_memory *m;
	char *bytes;
	bool same;

	(void)make_memory(&bytes);
	free(bytes);
	set_boot_id("");
	for (int i = 0; i < 2; i++) {
		m = open_memory(&same);
		assert_false(same);
		assert_int_equal(m->armed_disks, 0);
		close_memory(m);
	}
}

static void of_a_launched_machine_it_is_noted_which_launch_it_is(void **state)
{
	static const char tables[] = "QEMU\0godwit:launch=6f6ff1e0-0000-4000-8000-000000000001\0x\0";
	char *text, path[SETTINGS_PATH_MAX];

	setenv("GODWIT_DMI_TABLES", settings_path(&settings, "tables", path), 1);
	write_file("tables", tables, sizeof(tables));
	assert_int_equal(settings_note_launch(&settings), 0);
	assert_int_equal(read_file("launch", &text), 36);
	assert_string_equal(text, "6f6ff1e0-0000-4000-8000-000000000001");
	free(text);
	/* What is no launch's id leaves nothing of an earlier one. */
	write_file("tables", tables, 40);
	assert_int_equal(settings_note_launch(&settings), 0);
	assert_int_equal(access(path_of("launch"), F_OK), -1);
	assert_int_equal(unlink(path_of("tables")), 0);
	assert_int_equal(settings_note_launch(&settings), 0);
	assert_int_equal(access(path_of("launch"), F_OK), -1);
	unsetenv("GODWIT_DMI_TABLES");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_saved_is_loaded),
		cmocka_unit_test(what_is_forgotten_leaves_nothing_of_the_machine_but_its_log),
		cmocka_unit_test(of_a_launched_machine_it_is_noted_which_launch_it_is),
		cmocka_unit_test(a_state_folder_that_was_never_enrolled_is_no_damaged_one),
		cmocka_unit_test(agent_json_cut_short_anywhere_is_refused),
		cmocka_unit_test(agent_json_with_any_byte_changed_harms_nobody),
		cmocka_unit_test(a_disk_of_a_size_that_none_has_is_refused),
		cmocka_unit_test(disks_that_share_a_number_or_an_id_are_refused),
		cmocka_unit_test(a_memory_outlives_the_agent_within_a_boot),
		cmocka_unit_test(after_a_reboot_nothing_is_armed_and_no_cut_is_known),
		cmocka_unit_test(a_memory_of_another_length_is_of_no_boot),
		cmocka_unit_test(a_memory_with_any_bit_changed_is_believed_in_nothing_that_matters),
		cmocka_unit_test(a_memory_of_zeroes_from_anywhere_on_is_believed_in_nothing_that_matters),
		cmocka_unit_test(a_machine_without_a_boot_id_never_believes_it),
	};

	return cmocka_run_group_tests_name("settings", tests, begin, end);
}
