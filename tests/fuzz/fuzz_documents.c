/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that another program, a person or a damaged disk has written.  The first letter
 * says which:
 *
 *	a	agent.json
 *	s	spec.json of a launch
 *	l	launch.json, its record
 *	m	the machines of a server
 *	h	the hardware of a machine, or a history of it
 *	c	what a console said; a byte for where to begin, and one for how much at once
 *
 * What is taken is within its bounds, and written down and read again it is the same.
 */
#include "fuzz.h"
#include "../../agent/settings.h"
#include "../../server/launchfiles.h"
#include "fileio.h"
#include "hardware.h"
#include "log.h"
#include "registry.h"
#include "spec.h"
#include "wallclock.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];

static void clean_up(void)
{
	(void)!fileio_remove_tree(folder);
}

static void start(void)
{
	if (folder[0])
		return;
	log_init("fuzz", LOG_ERROR + 1);
	strcpy(folder, access("/dev/shm", W_OK) ? "/tmp/godwit-fuzz-XXXXXX" : "/dev/shm/godwit-fuzz-XXXXXX");
	assert(mkdtemp(folder));
	atexit(clean_up);
}

static const char *put(const char *name, const void *bytes, size_t size)
{
	static char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert(fd >= 0 && fileio_write_full(fd, bytes, size) == 0);
	close(fd);
	return path;
}

static void check_agent(const void *bytes, size_t size)
{
	static struct settings s, again;

	put("agent.json", bytes, size);
	assert(settings_open(folder, &s) == 0 && settings_open(folder, &again) == 0);
	if (settings_load(&s))
		return;
	assert(s.disk_count <= DISKS_MAX);
	for (unsigned int i = 0; i < s.disk_count; i++)
		assert(s.disks[i].disk < DISKS_MAX && s.disks[i].info.size_bytes <= INT64_MAX);
	assert(settings_save(&s) == 0 && settings_load(&again) == 0);
	assert(again.disk_count == s.disk_count && again.server_port == s.server_port);
	assert(uuid_equal(&again.machine, &s.machine) && strcmp(again.name, s.name) == 0);
	for (unsigned int i = 0; i < s.disk_count; i++)
		assert(again.disks[i].disk == s.disks[i].disk && uuid_equal(&again.disks[i].id, &s.disks[i].id) &&
		       again.disks[i].info.size_bytes == s.disks[i].info.size_bytes &&
		       again.disks[i].info.sector_bytes == s.disks[i].info.sector_bytes);
}

static void decide(const struct hardware *h)
{
	for (unsigned int bus = 0; bus < BUSES; bus++) {
		(void)hardware_needs(h, (enum target_bus)bus);
		(void)hardware_bus_boots(h, (enum target_bus)bus);
	}
	assert(hardware_choose_bus(h, false, NULL) < BUSES && hardware_choose_bus(h, true, NULL) < BUSES);
	(void)hardware_has_virtio_net(h);
}

static void check_spec(const void *bytes, size_t size)
{
	static struct launch_spec s;
	struct fault f;
	int err = spec_read(put("spec.json", bytes, size), &s, &f);

	if (err) {
		assert(f.code == MSG_LAUNCH_BAD_SPEC);
		return;
	}
	assert(s.machine[0] && s.store[0] && s.epoch && s.cpus && s.memory_bytes && s.proof_seconds);
	assert(s.kind != LAUNCH_IMAGES || s.to[0] == '/');
	assert(s.proof != PROOF_TEXT || s.proof_text[0]);
	decide(&s.hardware);
}

static void check_record(const void *bytes, size_t size)
{
	const char *path = put("launch.json", bytes, size);
	json_t *j = NULL, *after;
	struct fault f;

	(void)!launchfiles_read(path, &j);
	launchfiles_clear_images(NULL);
	(void)fault_set(&f, -EIO, MSG_LAUNCH_BAD_SPEC, "member", "m", NULL);
	/* It is its own spec.json, too. */
	assert(launchfiles_bury(path, NULL, j, size % 2 ? &f : NULL, size % 3) == 0);
	assert(launchfiles_read(path, &after) == 0);
	assert(json_is_string(json_object_get(after, "state")) && json_is_array(json_object_get(after, "log")));
	json_decref(after);
	json_decref(j);
}

static void check_machines(const void *bytes, size_t size)
{
	struct registry r;

	if (registry_from_file(put("machines.json", bytes, size), &r))
		return;
	assert(r.count <= REGISTRY_MACHINES_MAX);
	for (size_t i = 0; i < r.count; i++) {
		assert(r.machines[i].state <= MACHINE_REMOVED && strlen(r.machines[i].name) <= REGISTRY_NAME_MAX);
		assert(registry_find(&r, &r.machines[i].id));
	}
	registry_done(&r);
}

static void check_hardware(const void *bytes, size_t size)
{
	json_t *j = json_loadb(bytes, size, 0, NULL), *one, *two;
	static struct hardware h, again;
	bool later;

	(void)hardware_at(j, 1700000000 * USEC_PER_SEC, &later);
	if (hardware_from_json(j, &h) == 0) {
		assert(h.name_count <= HARDWARE_NAMES_MAX && h.card_count <= HARDWARE_CARDS_MAX &&
		       h.binding_count <= HARDWARE_BINDINGS_MAX);
		decide(&h);
		one = hardware_to_json(&h);
		assert(hardware_from_json(one, &again) == 0);
		two = hardware_to_json(&again);
		assert(json_equal(one, two));
		json_decref(one);
		json_decref(two);
	}
	json_decref(j);
}

/* All of it is given in the end, but for half a character. */
static void check_console(const void *bytes, size_t size)
{
	const uint8_t *head = bytes;
	json_int_t from, next;
	const char *path;
	size_t max;
	json_t *j;

	if (size < 2)
		return;
	from = head[0] == 255 ? -1 : head[0];
	max = 4 + head[1];
	path = put("serial.log", head + 2, size - 2);
	for (;; from = next) {
		j = launchfiles_text(path, from, max);
		assert(j && json_integer_value(json_object_get(j, "size")) == (json_int_t)(size - 2));
		from = json_integer_value(json_object_get(j, "from"));
		next = json_integer_value(json_object_get(j, "next"));
		json_decref(j);
		assert(next >= from && next <= (json_int_t)(size - 2) && next - from <= (json_int_t)max);
		if (next == from)
			break;
	}
	assert(next + 3 >= (json_int_t)(size - 2));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		uint8_t letter;
		void (*check)(const void *bytes, size_t size);
	} kinds[] = { { 'a', check_agent }, { 's', check_spec }, { 'l', check_record }, { 'm', check_machines },
		      { 'h', check_hardware }, { 'c', check_console } };

	if (!size)
		return 0;
	start();
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].letter == data[0])
			kinds[i].check(data + 1, size - 1);
	return 0;
}
