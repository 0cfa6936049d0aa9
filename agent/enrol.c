/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token says which console it is for: nothing is sent until that console's
 * CA has been seen (pki.h).  agent.json is written last, so a folder with one
 * is a folder with everything; any run before that can be repeated, with the
 * key that is there: if the console enrolled it and the answer was lost, it is
 * the same machine again.
 */
#include "enrol.h"
#include "attach.h"
#include "enrolment.h"
#include "fileio.h"
#include "stores.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- disks --------------------------------------------------------------------- */

/* Two paths of one LUN, of which multipath knows nothing: each would lack the other's writes. */
static int judge_twice(const struct settings *s, const struct disk_info *info, const char *path, struct fault *f)
{
	for (unsigned int i = 0; i < s->disk_count; i++) {
		const struct disk_info *other = &s->disks[i].info;

		if (info->identity.wwid[0] && strcmp(other->identity.wwid, info->identity.wwid) == 0 &&
		    other->size_bytes == info->size_bytes)
			return fault_set(f, -EEXIST, MSG_DISK_SAME_LUN, "disk", path, "other", other->path, "wwid",
					 info->identity.wwid, NULL);
	}
	return 0;
}

static int take_disk(struct settings *s, const char *path, const char *state, struct fault *f)
{
	struct settings_disk *d = &s->disks[s->disk_count];
	char other[128];
	int err;

	if (s->disk_count == DISKS_MAX)
		return fault_set(f, -E2BIG, MSG_AGENT_USAGE, "reason", "a machine has at most 64 disks", NULL);
	err = disks_probe(path, state, &d->info, f);
	if (!err)
		err = disks_check_size(path, d->info.size_bytes, f);
	if (err)
		return err;
	for (unsigned int i = 0; i < s->disk_count; i++)
		if (s->disks[i].info.device == d->info.device)
			return fault_set(f, -EINVAL, MSG_DISK_NAMED_TWICE, "disk", path, NULL);
	err = disks_judge_path(path, d->info.device, f);
	if (!err)
		err = judge_twice(s, &d->info, path, f);
	if (err)
		return err;
	if (attach_claimed(d->info.device, s->folder, other, sizeof(other)))
		return fault_set(f, -EBUSY, MSG_DISK_ALREADY_PROTECTED, "disk", path, "machine", other, NULL);
	d->id = uuid_random();
	d->disk = (uint16_t)s->disk_count++;
	return 0;
}

int enrol_check(const char *state, char *const *disks, unsigned int count, struct settings *s, struct fault *ret_fault)
{
	int err = disks_check_machine(ret_fault);

	for (unsigned int i = 0; !err && i < count; i++)
		err = take_disk(s, disks[i], state, ret_fault);
	return err;
}

/* Of the console that the disks are to be enrolled with, wherever the agent's folder is. */
static int check_stores(const struct settings *s, const struct pki_token *token, struct fault *f)
{
	static struct store_here stores[STORES_MAX];
	unsigned int n = stores_here(token->ca_pin, stores);
	int err = 0;

	for (unsigned int i = 0; i < n; i++)
		for (unsigned int d = 0; !err && d < s->disk_count; d++)
			err = disks_check_store(s->disks[d].info.path, s->disks[d].info.device, stores[i].path,
						stores[i].shown, f);
	return err;
}

/* --- the console ------------------------------------------------------------------ */

static json_t *facts(void)
{
	json_t *j = enrolment_facts();

	json_object_set_new(j, "firmware", json_string(access("/sys/firmware/efi", F_OK) == 0 ? "uefi" : "bios"));
	return j;
}

static json_t *disks_json(const struct settings *s)
{
	json_t *list = json_array();
	char id[UUID_TEXT_LEN + 1];

	for (unsigned int i = 0; i < s->disk_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:i}", "id", uuid_format(&s->disks[i].id, id), "name",
						      s->disks[i].info.path, "size_bytes",
						      (json_int_t)s->disks[i].info.size_bytes, "sector_bytes",
						      s->disks[i].info.sector_bytes));
	return list;
}

static int save_answer(struct settings *s, const json_t *answer)
{
	char certificate[SETTINGS_PATH_MAX], ca[SETTINGS_PATH_MAX];
	const json_t *server = json_object_get(answer, "server");
	const char *address = json_string_value(json_object_get(server, "address"));
	const char *key = json_string_value(json_object_get(server, "key"));
	int err;

	if (address) {
		snprintf(s->server_address, sizeof(s->server_address), "%s", address);
		s->server_port = (uint16_t)json_integer_value(json_object_get(server, "port"));
		snprintf(s->server_key, sizeof(s->server_key), "%s", key ? key : "");
	}
	err = enrolment_keep(answer, settings_path(s, "agent.crt", certificate), settings_path(s, "ca.crt", ca),
			     &s->machine);
	if (!err)
		err = settings_note_launch(s);
	return err ? err : settings_save(s);
}

static int make_request(const struct settings *s, char **ret_request)
{
	char path[SETTINGS_PATH_MAX];
	int err = pki_make_key(settings_path(s, "agent.key", path));

	return err ? err : pki_make_request(path, "agent", ret_request);
}

/* The console does not know the key, and will not. */
static void drop_key(const struct settings *s)
{
	char path[SETTINGS_PATH_MAX];

	(void)unlink(settings_path(s, "agent.key", path));
}

static int exchange(const struct enrol_options *o, const struct pki_token *token, struct settings *s, struct fault *f)
{
	char path[SETTINGS_PATH_MAX], *request = NULL;
	bool had_key = access(settings_path(s, "agent.key", path), F_OK) == 0;
	json_t *body, *answer = NULL;
	int err = make_request(s, &request);

	if (err)
		return fault_set(f, err, MSG_AGENT_ENROL_FAILED, "reason", strerror(-err), NULL);
	body = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "token", o->token, "role", "agent", "request", request, "name",
			 o->name, "facts", facts(), "disks", disks_json(s));
	free(request);
	err = body ? enrolment_ask(o->console, token, o->proxy, body, MSG_AGENT_ENROL_FAILED, &answer, f) :
		     fault_set(f, -EINVAL, MSG_AGENT_ENROL_FAILED, "reason", "the name is not UTF-8", NULL);
	json_decref(body);
	if (err && err != -EINPROGRESS && !had_key)
		drop_key(s);
	if (err)
		return err;
	err = save_answer(s, answer);
	json_decref(answer);
	return err ? fault_set(f, err, MSG_AGENT_ENROL_FAILED, "reason", strerror(-err), NULL) : 0;
}

/* A folder that is nobody's, and has nothing of a machine that is no more: its marks and its desired
 * state are not this one's. */
static int open_folder(const char *state, struct settings *s, struct fault *f)
{
	int err = settings_open(state, s);

	if (!err && settings_load(s) == 0)
		return fault_set(f, -EEXIST, MSG_AGENT_ALREADY_ENROLLED, "state", state, "machine", s->name, NULL);
	if (!err)
		err = settings_forget_but_key(s);
	return err ? fault_set(f, err, MSG_AGENT_STATE_UNUSABLE, "state", state, "reason", strerror(-err), NULL) : 0;
}

int enrol(const struct enrol_options *o, struct settings *ret, struct fault *ret_fault)
{
	struct settings *s = calloc(1, sizeof(*s));
	struct pki_token token;
	int err;

	if (!s)
		return -ENOMEM;
	/* The disks and the token first: a wrong one must not leave a folder behind. */
	err = enrol_check(NULL, o->disks, o->disk_count, s, ret_fault);
	if (!err && pki_token_parse(o->token, &token))
		err = fault_set(ret_fault, -EINVAL, MSG_AGENT_TOKEN_MALFORMED, NULL);
	if (!err)
		err = check_stores(s, &token, ret_fault);
	if (!err)
		err = open_folder(o->state, s, ret_fault);
	if (!err)
		err = enrol_check(s->folder, o->disks, o->disk_count, s, ret_fault);
	if (!err) {
		snprintf(s->name, sizeof(s->name), "%s", o->name);
		snprintf(s->console, sizeof(s->console), "%s", o->console);
		snprintf(s->proxy, sizeof(s->proxy), "%s", o->proxy ? o->proxy : "");
		err = exchange(o, &token, s, ret_fault);
	}
	if (!err)
		*ret = *s;
	free(s);
	return err;
}
