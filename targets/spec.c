/* SPDX-License-Identifier: Apache-2.0 */
#include "spec.h"
#include "fileio.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define SPEC_MAX_BYTES (64 * KIB)
#define CPUS_MAX 256 /* less may be what a target can, and its probe says it */
#define MEMORY_MIN_MIB 64
#define MEMORY_MAX_MIB (4 * 1024 * 1024)
#define PROOF_SECONDS_MAX 86400
#define POWEROFF_SECONDS_MAX 600 /* godwit-launches.service waits for a little longer */

static int refuse(struct fault *f, const char *member)
{
	return fault_set(f, -EINVAL, MSG_LAUNCH_BAD_SPEC, "member", member, NULL);
}

/* The index of member @name's text among @words; -ENOENT when absent; -EINVAL. */
static int choose(const json_t *o, const char *name, const char *const *words, size_t n)
{
	const json_t *v = json_object_get(o, name);

	if (!v)
		return -ENOENT;
	for (size_t i = 0; i < n && json_is_string(v); i++)
		if (strcmp(json_string_value(v), words[i]) == 0)
			return (int)i;
	return -EINVAL;
}

static int take_choice(const json_t *o, const char *name, const char *const *words, size_t n, int fallback, int *ret,
		       struct fault *f)
{
	int chosen = choose(o, name, words, n);

	if (chosen == -EINVAL)
		return refuse(f, name);
	*ret = chosen < 0 ? fallback : chosen;
	return 0;
}

static int take_number(const json_t *o, const char *name, uint64_t min, uint64_t max, uint64_t fallback, uint64_t *ret,
		       struct fault *f)
{
	const json_t *v = json_object_get(o, name);
	json_int_t n = json_integer_value(v);

	if (!v) {
		*ret = fallback;
		return 0;
	}
	if (!json_is_integer(v) || n < 0 || (uint64_t)n < min || (uint64_t)n > max)
		return refuse(f, name);
	*ret = (uint64_t)n;
	return 0;
}

/* Empty when absent; not if it is needed: an empty text is on every console. */
static int take_text(const json_t *o, const char *name, bool needed, char *ret, size_t size, struct fault *f)
{
	const json_t *v = json_object_get(o, name);
	const char *text = json_string_value(v);

	if ((needed && (!text || !*text)) || (v && !text) || (text && strlen(text) >= size))
		return refuse(f, name);
	snprintf(ret, size, "%s", text ? text : "");
	return 0;
}

/* What is wrong with it the console has said to whom it may concern. */
static int take_forwards(const json_t *o, enum target_network network, struct forwards *ret, struct fault *f)
{
	char text[FORWARD_TEXT_MAX + 1];
	struct fault detail;
	int err = take_text(o, "forward", false, text, sizeof(text), f);

	if (err)
		return err;
	if (text[0] && network != NETWORK_ISOLATED && network != NETWORK_USER)
		return refuse(f, "forward");
	return forward_parse(text, ret, &detail) ? refuse(f, "forward") : 0;
}

static int take_all(const json_t *o, struct launch_spec *s, struct fault *f)
{
	static const char *const kinds[] = { "test", "cutover", "drill", "images" };
	static const char *const formats[] = { "qcow2", "raw", "vmdk", "vhdx" };
	static const char *const firmwares[] = { "auto", "bios", "uefi" };
	static const char *const networks[] = { "none", "isolated", "user", "bridge" };
	static const char *const buses[] = { "virtio", "scsi", "sata", "nvme", "auto" };
	static const char *const converts[] = { "auto", "never", "always" };
	static const char *const no_yes[] = { "no", "yes" };
	static const char *const proofs[] = { "login", "agent", "text", "command" };
	static const char *const ages[] = { "newest", "older", "later" };
	static const char *const after_restarts[] = { "start", "leave" };
	uint64_t cpus, mib, seconds, poweroff;
	char id[UUID_TEXT_LEN + 1];
	int kind, format, firmware, source, network, bus, convert, identity, proof, leave, age, err;

	err = take_text(o, "launch", true, id, sizeof(id), f) ?:
	      take_text(o, "machine", true, s->machine, sizeof(s->machine), f) ?:
	      take_text(o, "store", true, s->store, sizeof(s->store), f) ?:
	      take_number(o, "epoch", 1, UINT64_MAX, 0, &s->epoch, f) ?:
	      take_choice(o, "kind", kinds, ARRAY_LEN(kinds), LAUNCH_TEST, &kind, f) ?:
	      take_choice(o, "format", formats, ARRAY_LEN(formats), 0, &format, f) ?:
	      take_text(o, "to", kind == LAUNCH_IMAGES, s->to, sizeof(s->to), f) ?:
	      take_number(o, "cpus", 1, CPUS_MAX, 2, &cpus, f) ?:
	      take_number(o, "memory_mib", MEMORY_MIN_MIB, MEMORY_MAX_MIB, 1024, &mib, f) ?:
	      take_choice(o, "firmware", firmwares, ARRAY_LEN(firmwares), FIRMWARE_NONE, &firmware, f) ?:
	      take_choice(o, "source_firmware", firmwares, ARRAY_LEN(firmwares), FIRMWARE_NONE, &source, f) ?:
	      take_choice(o, "network", networks, ARRAY_LEN(networks), NETWORK_ISOLATED, &network, f) ?:
	      take_text(o, "bridge", network == NETWORK_BRIDGE, s->bridge, sizeof(s->bridge), f) ?:
	      take_choice(o, "disk_bus", buses, ARRAY_LEN(buses), BUS_AUTO, &bus, f) ?:
	      take_choice(o, "convert", converts, ARRAY_LEN(converts), CONVERT_AUTO, &convert, f) ?:
	      take_choice(o, "new_identity", no_yes, ARRAY_LEN(no_yes), 0, &identity, f) ?:
	      take_choice(o, "proof", proofs, ARRAY_LEN(proofs), PROOF_LOGIN, &proof, f) ?:
	      take_text(o, "proof_text", proof == PROOF_TEXT, s->proof_text, sizeof(s->proof_text), f) ?:
	      take_text(o, "proof_command", proof == PROOF_COMMAND, s->proof_command, sizeof(s->proof_command), f) ?:
	      take_choice(o, "after_restart", after_restarts, ARRAY_LEN(after_restarts), 0, &leave, f) ?:
	      take_choice(o, "hardware_is", ages, ARRAY_LEN(ages), HARDWARE_NEWEST, &age, f) ?:
	      take_text(o, "hardware_since", false, s->hardware_since, sizeof(s->hardware_since), f) ?:
	      take_text(o, "post_launch", false, s->post_launch, sizeof(s->post_launch), f) ?:
	      take_number(o, "proof_seconds", 1, PROOF_SECONDS_MAX, 600, &seconds, f) ?:
	      take_number(o, "poweroff_seconds", 0, POWEROFF_SECONDS_MAX, 90, &poweroff, f) ?:
	      take_number(o, "asked_us", 0, UINT64_MAX, 0, &s->asked_us, f);
	if (err)
		return err;
	if (uuid_parse(id, &s->id))
		return refuse(f, "launch");
	if (!s->epoch)
		return refuse(f, "epoch");
	if (kind == LAUNCH_IMAGES && s->to[0] != '/')
		return refuse(f, "to");
	err = take_forwards(o, (enum target_network)network, &s->forwards, f);
	if (err)
		return err;
	if (s->bridge[0] && !hardware_are_bridges(s->bridge))
		return refuse(f, "bridge");
	s->kind = (enum launch_kind)kind;
	snprintf(s->format, sizeof(s->format), "%s", formats[format]);
	s->cpus = (unsigned int)cpus;
	s->memory_bytes = mib * MIB;
	s->firmware = (enum bootdisk_firmware)firmware;
	s->source_firmware = (enum bootdisk_firmware)source;
	s->network = (enum target_network)network;
	s->bus = (enum target_bus)bus;
	s->convert = (enum launch_convert)convert;
	s->new_identity = identity;
	/* What is not understood is not known: it must not keep a machine from starting. */
	if (hardware_from_json(json_object_get(o, "hardware"), &s->hardware))
		s->hardware = (struct hardware){ .known = false };
	s->proof = (enum launch_proof)proof;
	s->proof_seconds = (unsigned int)seconds;
	s->poweroff_seconds = (unsigned int)poweroff;
	s->hardware_is = age;
	s->leave_after_restart = leave;
	return 0;
}

int spec_read(const char *path, struct launch_spec *ret, struct fault *ret_fault)
{
	struct launch_spec s = { .kind = LAUNCH_TEST };
	char *text;
	size_t len;
	json_t *o;
	int err = fileio_slurp(path, SPEC_MAX_BYTES, &text, &len);

	if (err)
		return fault_set(ret_fault, err, MSG_LAUNCH_BAD_SPEC, "member", path, NULL);
	o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	err = json_is_object(o) ? take_all(o, &s, ret_fault) : refuse(ret_fault, path);
	json_decref(o);
	if (!err)
		*ret = s;
	return err;
}
