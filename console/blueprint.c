/* SPDX-License-Identifier: Apache-2.0 */
#include "blueprint.h"

#include "db_launches.h"
#include "forward.h"
#include "handlers.h"
#include "hardware.h"
#include "resource.h"
#include "value.h"

#include <errno.h>

static int check_bridges(const char *text, struct fault *f)
{
	return hardware_are_bridges(text) ? 0 :
	       fault_set(f, -EINVAL, MSG_VALUE_BAD, "name", "bridge", "value", text, "expected",
			 "a name of up to 15 letters, digits and ._-, or 8 such names with commas between", NULL);
}

static int check_forwards(const char *text, struct fault *f)
{
	struct forwards forwards;

	return forward_parse(text, &forwards, f);
}

static const struct value_kind table[] = {
	{ "cpus", 1, 255, 2, { NULL }, 0, "", "processors" },
	{ "memory_mib", 64, 4 * 1024 * 1024, 1024, { NULL }, 0, "MiB", "memory" },
	{ "firmware", 0, 0, 0, { "auto", "bios", "uefi" }, 0, "", "auto: as the disks say" },
	{ "network", 0, 0, 0, { "isolated", "none", "user", "bridge" }, 0, "",
	  "isolated: a card without a way out; none: no card; user: out by address translation; "
	  "bridge: on a bridge of the server's machine" },
	{ "bridge", 0, 0, 0, { NULL }, HARDWARE_BRIDGES_SIZE - 1, "",
	  "its name, for network=bridge; or br0,br1: the first card's, the second's; the last is for the rest, too",
	  check_bridges },
	{ "forward", 0, 0, 0, { NULL }, FORWARD_TEXT_MAX, "",
	  "[ADDRESS:]PORT:GUESTPORT,...: ports of the server's machine that lead to it, for network=isolated or user; PORT 0: a free one",
	  check_forwards },
	{ "disk_bus", 0, 0, 0, { "auto", "virtio", "scsi", "sata", "nvme" }, 0, "",
	  "how its disks are attached; auto: as its initramfs has drivers for" },
	{ "convert", 0, 0, 0, { "auto", "never", "always" }, 0, "",
	  "change on its copy what is bound to the old hardware; auto: only what is" },
	{ "new_identity", 0, 0, 0, { "no", "yes" }, 0, "", "yes: a machine id and SSH host keys of its own" },
	{ "proof", 0, 0, 0, { "login", "agent", "text", "command" }, 0, "",
	  "that it has booted: a login prompt on the serial console, the guest agent, proof_text, or proof_command" },
	{ "proof_text", 0, 0, 0, { NULL }, 127, "", "text on the serial console, for proof=text" },
	{ "proof_command", 0, 0, 0, { NULL }, 1000, "", "for sh in the machine, for proof=command: it succeeds" },
	{ "post_launch", 0, 0, 0, { NULL }, 1000, "", "for sh in the machine: run once, when it has booted" },
	{ "after_restart", 0, 0, 0, { "start", "leave" }, 0, "",
	  "when the server's machine was restarted, a machine that is kept or cut over is: started again; or left, with its disks" },
	{ "poweroff_seconds", 0, 600, 90, { NULL }, 0, "s",
	  "when the server's machine goes down, how long to wait for a machine that is kept or cut over to power itself off; 0: not" },
	{ "proof_seconds", 1, 86400, 600, { NULL }, 0, "s", "how long to wait for the proof" },
};

static const struct value_kind *find(const char *name)
{
	return value_find(table, ARRAY_LEN(table), name);
}

json_t *blueprint_in_force(struct db *db, const char *machine_id)
{
	json_t *kept = db_blueprint(db, machine_id), *all = json_object();

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		json_object_set_new(all, table[i].name,
				    value_of(&table[i], json_string_value(json_object_get(kept, table[i].name))));
	json_decref(kept);
	return all;
}

static int check_one(const char *name, const json_t *value, struct fault *f)
{
	const struct value_kind *k = find(name);
	char text[VALUE_SIZE], known[FAULT_VALUE_MAX];

	if (k)
		return value_check(k, value, text, f);
	return fault_set(f, -EINVAL, MSG_BLUEPRINT_UNKNOWN, "member", name, "known",
			 value_names(table, ARRAY_LEN(table), known, sizeof(known)), NULL);
}

int blueprint_check(struct request *r, const json_t *changes)
{
	const char *name;
	struct fault f;
	json_t *value;

	json_object_foreach((json_t *)changes, name, value)
		if (check_one(name, value, &f)) {
			r->fault = f;
			return 400;
		}
	return 0;
}

static json_t *clean(const struct value_kind *k, const json_t *value)
{
	char text[VALUE_SIZE];
	struct fault f;

	return value_check(k, value, text, &f) ? NULL : value_of(k, *text ? text : NULL);
}

void blueprint_apply(json_t *blueprint, const json_t *changes)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)changes, name, value)
		if (find(name))
			json_object_set_new(blueprint, name, clean(find(name), value));
}

int blueprint_check_whole(const json_t *blueprint, const char *machine, struct fault *ret_fault)
{
	const char *proof = json_string_value(json_object_get(blueprint, "proof"));
	const char *network = json_string_value(json_object_get(blueprint, "network"));

	if (network && !strcmp(network, "bridge") && !json_string_length(json_object_get(blueprint, "bridge")))
		return fault_set(ret_fault, -EINVAL, MSG_BLUEPRINT_NO_BRIDGE, "machine", machine, NULL);
	if (network && strcmp(network, "isolated") && strcmp(network, "user") &&
	    json_string_length(json_object_get(blueprint, "forward")))
		return fault_set(ret_fault, -EINVAL, MSG_BLUEPRINT_NO_FORWARD, "machine", machine, "network", network,
				 NULL);
	if (proof && !strcmp(proof, "text") && !json_string_length(json_object_get(blueprint, "proof_text")))
		return fault_set(ret_fault, -EINVAL, MSG_BLUEPRINT_NO_TEXT, "machine", machine, NULL);
	if (proof && !strcmp(proof, "command") && !json_string_length(json_object_get(blueprint, "proof_command")))
		return fault_set(ret_fault, -EINVAL, MSG_BLUEPRINT_NO_COMMAND, "machine", machine, NULL);
	return 0;
}

/* --- handlers --------------------------------------------------------------------------------- */

int handle_blueprint_table(struct request *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		json_array_append_new(list, value_describe(&table[i]));
	return request_answer(r, 200, json_pack("{s:o}", "members", list));
}

int handle_blueprint_get(struct request *r)
{
	struct machine_row m;
	int status = resource_machine(r, &m), err;
	json_t *blueprint;

	if (status)
		return status;
	blueprint = blueprint_in_force(catalogue_read(r->console->catalogue), m.id);
	err = catalogue_read_end(r->console->catalogue);
	if (err) {
		json_decref(blueprint);
		return request_catalogue_failed(r, "reading a blueprint", err);
	}
	return request_answer(r, 200, blueprint);
}

/* What differs from the default is kept, as texts. */
static void keep(struct db *db, const char *machine_id, const json_t *blueprint)
{
	json_t *kept = json_object();
	char text[VALUE_SIZE];

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const json_t *value = json_object_get(blueprint, table[i].name);
		json_t *usual = value_of(&table[i], NULL);

		if (!json_equal(value, usual))
			json_object_set_new(kept, table[i].name, json_string(value_text(value, text, sizeof(text))));
		json_decref(usual);
	}
	db_blueprint_put(db, machine_id, kept);
	json_decref(kept);
}

static void record_changes(struct request *r, struct db *db, const struct machine_row *m, const json_t *before,
			   const json_t *after)
{
	char old[VALUE_SIZE], new[VALUE_SIZE];

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const char *name = table[i].name;
		const json_t *was = json_object_get(before, name), *is = json_object_get(after, name);
		json_t *changes;

		if (json_equal(was, is))
			continue;
		value_text(was, old, sizeof(old));
		value_text(is, new, sizeof(new));
		changes = json_pack("[{s:s, s:s, s:s}]", "name", name, "old", old, "new", new);
		resource_event(r, db, m, changes, MSG_BLUEPRINT_CHANGED, "member", name, "old", *old ? old : "(none)",
			       "new", *new ? new : "(none)", NULL);
		json_decref(changes);
	}
}

int handle_blueprint_change(struct request *r)
{
	json_t *before, *after;
	struct machine_row m;
	struct fault f;
	struct db *db;
	int status = resource_machine(r, &m), err;

	if (!status && !json_is_object(r->body))
		status = request_refuse(r, 422, MSG_API_NOT_UNDERSTOOD, "reason",
					"the blueprint must be a JSON object", NULL);
	if (!status)
		status = blueprint_check(r, r->body);
	if (status)
		return status;
	db = catalogue_write(r->console->catalogue);
	before = blueprint_in_force(db, m.id);
	after = json_deep_copy(before);
	blueprint_apply(after, r->body);
	if (blueprint_check_whole(after, m.name, &f)) {
		r->fault = f;
		status = 400;
		catalogue_abandon(r->console->catalogue);
	} else {
		keep(db, m.id, after);
		record_changes(r, db, &m, before, after);
		err = catalogue_commit(r->console->catalogue);
		if (err)
			status = request_catalogue_failed(r, "changing a blueprint", err);
	}
	json_decref(before);
	if (status) {
		json_decref(after);
		return status;
	}
	live_announce(r->console->live, LIVE_EVENTS);
	return request_answer(r, 200, after);
}
