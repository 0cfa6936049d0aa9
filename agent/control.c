/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control - what the console wants: the desired state, and commands.
 *
 * A command may be handed out again when its answer got lost; what was answered
 * not long ago is answered the same way, what is under way goes on.
 */
#include "agent-private.h"
#include "fileio.h"
#include "log.h"
#include "utf8.h"
#include "wallclock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MARK_US (60 * USEC_PER_SEC)

/* --- the desired state ------------------------------------------------------------ */

static enum stage_wish wish_of(const char *state)
{
	if (state && strcmp(state, "paused") == 0)
		return STAGE_WISH_PAUSED;
	return state && strcmp(state, "stopped") == 0 ? STAGE_WISH_STOPPED : STAGE_WISH_STARTED;
}

static void set_compression(struct agent *a, const char *choice)
{
	static const struct {
		const char *name;
		enum payload_codec codec;
	} codecs[] = { { "none", CODEC_RAW }, { "lz4", CODEC_LZ4 }, { "zstd", CODEC_ZSTD } };
	bool automatic = true;

	for (size_t i = 0; choice && i < ARRAY_LEN(codecs); i++) {
		if (strcmp(choice, codecs[i].name) != 0)
			continue;
		automatic = false;
		a->codec = codecs[i].codec;
		engine_set_codec(a->engine, a->codec, 3);
	}
	if (automatic && !a->compression_auto) {
		a->codec = CODEC_RAW;
		engine_set_codec(a->engine, CODEC_RAW, 1);
	}
	a->compression_auto = automatic;
}

static void apply_settings(struct agent *a, const json_t *s)
{
	json_int_t throttle = json_integer_value(json_object_get(s, "throttle_mbit_per_second"));
	json_int_t epoch_ms = json_integer_value(json_object_get(s, "epoch_ms"));
	const char *capture = json_string_value(json_object_get(s, "capture"));

	if (throttle >= 0 && (uint64_t)throttle != a->throttle_mbit) {
		a->throttle_mbit = (uint64_t)throttle;
		session_set_throttle(a->session, a->throttle_mbit * 1000000 / 8);
		log_info("throttle: %llu Mbit/s", (unsigned long long)a->throttle_mbit);
	}
	if (epoch_ms >= 10 && epoch_ms <= 60000)
		engine_set_epoch_us(a->engine, (uint64_t)epoch_ms * USEC_PER_MSEC);
	set_compression(a, json_string_value(json_object_get(s, "compression")));
	if (capture) {
		bool payload = tracker_mode(a->tracker) == TRACKER_PAYLOAD;

		tracker_prefer_dirty_map(a->tracker, strcmp(capture, "dirty-map") == 0);
		if (payload != (tracker_mode(a->tracker) == TRACKER_PAYLOAD))
			log_info("capture: %s, as set", payload ? "dirty map only" : "payload");
	}
}

/* @text: the pin of its key; a console that is older than this says none. */
static void expect_server(struct agent *a, const char *text)
{
	uint8_t key[PKI_PIN_BYTES];

	session_expect_key(a->session, text && pki_pin_parse(text, key) == 0 ? key : NULL);
}

static void apply_server(struct agent *a, const json_t *server)
{
	const char *address = json_string_value(json_object_get(server, "address"));
	json_int_t port = json_integer_value(json_object_get(server, "port"));

	if (a->o->server) /* the command line decides */
		return;
	expect_server(a, json_string_value(json_object_get(server, "key")));
	if (address && port > 0 && port <= UINT16_MAX)
		session_set_server(a->session, address, (uint16_t)port);
	else if (json_is_null(server))
		session_set_server(a->session, "", 0);
}

static void apply_desired(struct agent *a, const json_t *desired)
{
	enum stage_wish wish = wish_of(json_string_value(json_object_get(desired, "state")));

	if (wish != a->wish)
		log_info("the console wants this machine %s",
			 wish == STAGE_WISH_STARTED ? "started" : wish == STAGE_WISH_PAUSED ? "paused" : "stopped");
	a->wish = wish;
	apply_settings(a, json_object_get(desired, "settings"));
	apply_server(a, json_object_get(desired, "server"));
	attach_let_session(a);
}

/* Without a console: the same object, from a file put there by hand. */
void control_load(struct agent *a)
{
	char path[SETTINGS_PATH_MAX], *text, address[256];
	const char *colon;
	size_t length;
	json_t *j;

	if (a->o->server && (colon = strrchr(a->o->server, ':'))) {
		snprintf(address, sizeof(address), "%.*s", (int)MIN(colon - a->o->server, 255), a->o->server);
		session_set_server(a->session, address, (uint16_t)atoi(colon + 1));
	} else {
		expect_server(a, a->settings.server_key);
		session_set_server(a->session, a->settings.server_address, a->settings.server_port);
	}
	session_set_enabled(a->session, true);
	if (a->link || fileio_slurp(settings_path(&a->settings, "desired.json", path), MIB, &text, &length) < 0)
		return;
	j = json_loadb(text, length, 0, NULL);
	free(text);
	if (j)
		apply_desired(a, json_object_get(j, "desired") ? json_object_get(j, "desired") : j);
	json_decref(j);
}

/* --- answering ------------------------------------------------------------------------ */

/* Takes @result. */
static void answer(struct agent *a, const char *id, json_t *result)
{
	struct answered *slot = &a->answered[a->answered_next++ % ANSWERED_MAX];

	if (a->link)
		link_reply(a->link, id, result);
	json_decref(slot->result);
	snprintf(slot->id, sizeof(slot->id), "%s", id);
	slot->result = result;
}

static void refuse(struct agent *a, const char *id, enum message_code code, const char *name, const char *value)
{
	struct fault f;

	(void)fault_set(&f, 0, code, name, value, NULL);
	if (a->link)
		link_reply_fault(a->link, id, &f);
}

static bool answer_again(struct agent *a, const char *id)
{
	for (unsigned int i = 0; i < ANSWERED_MAX; i++) {
		if (!a->answered[i].result || strcmp(a->answered[i].id, id) != 0)
			continue;
		link_reply(a->link, id, a->answered[i].result);
		return true;
	}
	return false;
}

/* --- mark -------------------------------------------------------------------------------- */

/* The engine takes one at a time.  Refused, it is tried again at the next tick. */
static void next_mark(struct agent *a)
{
	if (a->mark_count && !a->marks[0].given)
		a->marks[0].given = engine_mark(a->engine, a->marks[0].label) == 0;
}

static void drop_mark(struct agent *a)
{
	memmove(&a->marks[0], &a->marks[1], --a->mark_count * sizeof(a->marks[0]));
	next_mark(a);
}

static void on_mark(struct agent *a, const char *id, const json_t *command)
{
	const char *label = json_string_value(json_object_get(command, "label"));

	for (unsigned int i = 0; i < a->mark_count; i++)
		if (strcmp(a->marks[i].id, id) == 0)
			return;
	if (!label || !*label || strlen(label) > WIRE_LABEL_MAX || !utf8_is_printable(label, strlen(label)) ||
	    a->mark_count == MARKS_MAX) {
		refuse(a, id, MSG_LABEL_BAD, "label", label ? label : "");
		return;
	}
	a->marks[a->mark_count] = (struct mark){ .until_us = monotonic_now_us() + MARK_US };
	strcpy(a->marks[a->mark_count].label, label);
	snprintf(a->marks[a->mark_count++].id, ID_MAX, "%s", id);
	if (a->mark_count == 1)
		next_mark(a);
}

/* A point is durable: is it the one that somebody waits for? */
void control_durable(struct agent *a, const struct wire_commit *commit)
{
	struct uuid point = uuid_from_epoch(&a->settings.machine, commit->epoch);
	char id[UUID_TEXT_LEN + 1], time[WALLCLOCK_TEXT_LEN + 1];

	if (!(commit->flags & WIRE_COMMIT_LABELLED) || !a->mark_count ||
	    strcmp(a->marks[0].label, commit->label) != 0)
		return;
	log_info("point %llu is marked \"%s\"", (unsigned long long)commit->epoch, commit->label);
	answer(a, a->marks[0].id,
	       json_pack("{s:I, s:s, s:s, s:s}", "epoch", (json_int_t)commit->epoch, "id", uuid_format(&point, id), "time",
			 wallclock_format(commit->time_us, time), "label", commit->label));
	drop_mark(a);
}

void control_tick(struct agent *a, uint64_t now_us)
{
	while (a->mark_count && a->marks[0].until_us <= now_us) {
		refuse(a, a->marks[0].id, MSG_MARK_TIMED_OUT, "label", a->marks[0].label);
		if (a->marks[0].given)
			engine_unmark(a->engine);
		drop_mark(a);
	}
	next_mark(a);
}

/* --- commands -------------------------------------------------------------------------------- */

static void on_verify(struct agent *a, const char *id, const json_t *command)
{
	const char *verify = json_string_value(json_object_get(command, "verify"));

	if (!verify)
		verify = id;
	if (engine_verify(a->engine) == 0) {
		snprintf(a->verify_id, sizeof(a->verify_id), "%s", verify);
		a->verify_done = false;
		log_info("verify begins");
	} else if (strcmp(a->verify_id, verify) != 0) {
		refuse(a, id, MSG_VERIFY_BUSY, "machine", a->settings.name);
		return;
	}
	answer(a, id, json_pack("{s:s}", "verify", a->verify_id));
}

static void on_rescan(struct agent *a, const char *id)
{
	log_info("rescan: everything is compared by hashes, as asked");
	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		engine_rescan(a->engine, a->settings.disks[i].disk);
	answer(a, id, json_object());
}

static void on_command(struct agent *a, const json_t *command)
{
	const char *id = json_string_value(json_object_get(command, "id"));
	const char *verb = json_string_value(json_object_get(command, "verb"));

	if (!id || !verb || strlen(id) >= ID_MAX || answer_again(a, id))
		return;
	if (strcmp(verb, "mark") == 0) {
		on_mark(a, id, command);
	} else if (strcmp(verb, "verify") == 0) {
		on_verify(a, id, command);
	} else if (strcmp(verb, "rescan") == 0) {
		on_rescan(a, id);
	} else if (strcmp(verb, "remove") == 0) {
		log_info("this machine is not protected any more, as asked");
		answer(a, id, json_object());
		a->removing = a->stopping = true;
	} else {
		refuse(a, id, MSG_COMMAND_UNKNOWN, "verb", verb);
	}
}

static void on_console(struct agent *a, const json_t *console)
{
	struct fault f;
	char text[1024];

	if (json_is_true(json_object_get(console, "up")))
		log_info("the console answers");
	else if (fault_from_json(json_object_get(console, "fault"), &f) == 0)
		log_warn("%s", fault_format(&f, LANGUAGE_EN, text, sizeof(text)));
}

static void on_message(struct agent *a, const json_t *m)
{
	const json_t *part;

	if ((part = json_object_get(m, "desired")))
		apply_desired(a, part);
	if ((part = json_object_get(m, "command")))
		on_command(a, part);
	if ((part = json_object_get(m, "console")))
		on_console(a, part);
}

void control_receive(struct agent *a)
{
	json_t *m;
	int r;

	while (a->link && (r = link_receive(a->link, &m)) != -EAGAIN) {
		if (r < 0) {
			log_warn("the link to the console died (%s)", strerror(-r));
			link_stop(a->link);
			a->link = NULL; /* agent.c starts it again */
			return;
		}
		on_message(a, m);
		json_decref(m);
	}
}

void control_done(struct agent *a)
{
	for (unsigned int i = 0; i < ANSWERED_MAX; i++)
		json_decref(a->answered[i].result);
}
