/* SPDX-License-Identifier: Apache-2.0 */
/* What a started machine says and does: its proof, its trouble, its keeping. */
#include "launch-private.h"
#include "log.h"
#include "symptom.h"
#include "wallclock.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_LOOK_US (2 * USEC_PER_SEC)
#define CONSOLE_KEPT_BYTES ((off_t)(16 * MIB))
#define CONSOLE_LOOK_BYTES (1 * MIB)
#define SYMPTOM_US    (20 * USEC_PER_SEC) /* after a word that it will not boot */

/* --- standing alone -------------------------------------------------------------------------- */

static void target_kept(void *context, const char *error)
{
	struct launch *l = context;
	struct fault f;

	if (error && (l->powering_off || l->ending)) /* it ends before that, and is not to be said to have failed */
		return;
	if (error) {
		(void)fault_set(&f, 0, MSG_LAUNCH_NOT_KEPT, "reason", error, NULL);
		record_not_kept(l->record, error);
		record_note(l->record, &f); /* it runs on, on the store */
		record_state(l->record, LAUNCH_BOOTED, "it still needs the store");
		return;
	}
	l->standing = true;
	launch_end_disks(l);
	record_state(l->record, LAUNCH_STANDING, "all its data is its own; the store is not needed any more");
}

static void target_progress(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
	struct launch *l = context;

	record_progress(l->record, done_bytes, total_bytes);
}

void launch_keep(struct launch *l)
{
	enum launch_state state = record_current(l->record);

	if (l->failing || l->ending || l->powering_off ||
	    !(state == LAUNCH_BOOTED || (state == LAUNCH_BOOTING && l->unproved)))
		return;
	loop_clear_timer(l->loop, &l->again); /* of a proof that is not awaited any more */
	l->to_be_kept = true;
	record_to_be_kept(l->record);
	record_state(l->record, LAUNCH_KEEPING, "copying what the store has into the machine's own disks");
	l->ops->keep(l->target);
}

static void not_proved(void *context);

/* --- proof ----------------------------------------------------------------------------------- */

static void picture_with_proof(void *context, const char *error)
{
	struct launch *l = context;

	if (!l->picture_awaited) /* it comes too late */
		return;
	l->picture_awaited = false;
	if (error)
		log_warn("no picture of the screen: %s", error);
	if (l->failing || l->ending || l->powering_off)
		return;
	loop_clear_timer(l->loop, &l->deadline);
	if (l->spec.kind == LAUNCH_DRILL) {
		launch_end(l);
		return;
	}
	launch_run_post_launch(l);
	if (l->spec.kind == LAUNCH_CUTOVER)
		launch_keep(l);
}

static void picture_too_late(void *context)
{
	picture_with_proof(context, "qemu does not answer");
}

void launch_proved(struct launch *l, const char *by)
{
	char path[PATH_MAX];

	/* Of what has failed a proof comes too late, while its last picture is taken, say. */
	if (l->failing || l->ending || l->powering_off || record_current(l->record) != LAUNCH_BOOTING)
		return;
	l->picture_awaited = true;
	l->deadline.fire = picture_too_late; /* it goes on without one */
	l->deadline.context = l;
	loop_set_timer(l->loop, &l->deadline, monotonic_now_us() + LAUNCH_PICTURE_US);
	record_proof(l->record, by);
	if (l->spec.kind != LAUNCH_DRILL)
		launch_await_post_launch(l);
	record_state(l->record, LAUNCH_BOOTED, "it runs: %s", by);
	snprintf(path, sizeof(path), "%s/screenshot.png", l->folder);
	l->ops->screenshot(l->target, path, picture_with_proof, l);
}

/* Keep the last bytes that the console said, so that a text in two pieces is found.  @len: at
 * most half of what is kept, so that each text up to the other half is seen whole. */
static void keep_tail(struct launch *l, const char *text, size_t len)
{
	if (l->tail_used + len > TAIL_BYTES) {
		size_t drop = l->tail_used + len - TAIL_BYTES;

		memmove(l->tail, l->tail + drop, l->tail_used - drop);
		l->tail_used -= drop;
	}
	for (size_t i = 0; i < len; i++)
		l->tail[l->tail_used++] = text[i] ? text[i] : ' ';
	l->tail[l->tail_used] = 0;
}

static void forget_symptom(struct launch *l)
{
	if (!l->symptom_line[0])
		return;
	l->symptom_line[0] = 0;
	if (!l->unproved && l->deadline.fire == not_proved && l->deadline.at_us)
		loop_set_timer(l->loop, &l->deadline, l->proof_us);
}

/* It may be about to try something else: wait a little longer, no more than it was to be, and as long as it
 * was to be when it gets further. */
static void look_for_symptom(struct launch *l)
{
	uint64_t soon_us = monotonic_now_us() + SYMPTOM_US;
	char line[sizeof(l->symptom_line)];
	enum message_code code;

	if (l->failing || l->powering_off || record_current(l->record) != LAUNCH_BOOTING)
		return;
	if (symptom_is_over(l->tail)) {
		forget_symptom(l);
		return;
	}
	if (!symptom_find(l->tail, &code, line, sizeof(line)) || strcmp(line, l->symptom_line) == 0)
		return;
	l->symptom = code;
	memcpy(l->symptom_line, line, sizeof(line));
	if (!l->unproved && l->deadline.at_us > soon_us)
		loop_set_timer(l->loop, &l->deadline, soon_us);
}

static void look_at_piece(struct launch *l, const char *text, size_t len)
{
	const char *wanted = l->spec.proof == PROOF_TEXT ? l->spec.proof_text : "login:";

	keep_tail(l, text, len);
	look_for_symptom(l);
	/* A kernel's line begins with its clock, unless it is quiet; then this is what follows. */
	if (strstr(l->tail, "[    0.") || strstr(l->tail, "systemd[1]"))
		record_kernel(l->record);
	if ((l->spec.proof == PROOF_LOGIN || l->spec.proof == PROOF_TEXT) && strstr(l->tail, wanted))
		launch_proved(l, l->spec.proof == PROOF_TEXT ? "the text asked for is on its serial console" :
							"a login prompt is on its serial console");
}

/* A machine may talk for ever: what it said long ago makes room, and offsets stay what they were. */
static void thin_console(struct launch *l, size_t len)
{
	char path[PATH_MAX];
	struct stat st;
	int fd;

	l->console_bytes += len;
	if (l->console_bytes < CONSOLE_LOOK_BYTES)
		return;
	l->console_bytes = 0;
	snprintf(path, sizeof(path), "%s/serial.log", l->folder);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size > CONSOLE_KEPT_BYTES)
		(void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size - CONSOLE_KEPT_BYTES);
	close(fd);
}

static void target_output(void *context, const char *text, size_t len)
{
	struct launch *l = context;

	thin_console(l, len);
	if (l->resumed)
		return;
	record_output(l->record);
	for (size_t at = 0; at < len; at += TAIL_BYTES / 2)
		look_at_piece(l, text + at, MIN(len - at, TAIL_BYTES / 2));
}

static void target_agent(void *context)
{
	struct launch *l = context;

	if (l->spec.proof == PROOF_LOGIN || l->spec.proof == PROOF_AGENT)
		launch_proved(l, "its guest agent answers");
}

static void target_note(void *context, const char *text)
{
	record_line(((struct launch *)context)->record, text);
}

static void target_forwarded(void *context, const struct forwards *made)
{
	record_forwards(((struct launch *)context)->record, made);
}

static void target_started_again(struct launch *l)
{
	record_started_again(l->record);
	record_needs_store(l->record, false);
	if (l->standing) {
		record_state(l->record, LAUNCH_STANDING, "its processors run again, on its own disks");
		return;
	}
	record_state(l->record, LAUNCH_BOOTED, "its processors run again, on its own disks over the point");
	launch_keep(l);
}

static void target_started(void *context)
{
	struct launch *l = context;

	if (l->resumed) {
		target_started_again(l);
		return;
	}
	record_started(l->record);
	record_state(l->record, LAUNCH_BOOTING, "its processors run");
}

static bool store_is_there(const struct launch *l)
{
	struct stat now, then;

	/* Another may be at its place by now: an agent that goes on makes a new one. */
	return stat(l->spec.store, &now) == 0 && fstat(l->store_fd, &then) == 0 && now.st_ino == then.st_ino &&
	       now.st_dev == then.st_dev;
}

static void fail_without_store(struct launch *l)
{
	struct fault f;

	(void)fault_set(&f, 0, MSG_LAUNCH_STORE_GONE, "machine", l->spec.machine, NULL);
	launch_fail(l, &f);
}

static void target_disk_trouble(void *context, const char *disk, const char *reason, bool full)
{
	struct launch *l = context;
	bool *said = full ? &l->full : &l->read_failed;
	struct fault f;

	if (!l->standing && !store_is_there(l)) {
		fail_without_store(l);
		return;
	}
	if (*said)
		return;
	*said = true;
	if (full)
		(void)fault_set(&f, 0, MSG_LAUNCH_DISK_FULL, NULL);
	else
		(void)fault_set(&f, 0, MSG_LAUNCH_READ_FAILED, "disk", disk, "reason", reason, "machine",
				l->spec.machine, NULL);
	record_note(l->record, &f);
}

static void look_for_store(void *context)
{
	launch_look_for_store(context);
}

/* What is open of a store that was deleted can be read on; what is opened next cannot. */
void launch_look_for_store(struct launch *l)
{
	if (l->standing || l->ending)
		return;
	if (!store_is_there(l)) {
		fail_without_store(l);
		return;
	}
	l->store_look.fire = look_for_store;
	l->store_look.context = l;
	loop_set_timer(l->loop, &l->store_look, monotonic_now_us() + STORE_LOOK_US);
}

static void target_written(void *context)
{
	struct launch *l = context;

	l->written = true;
	record_written(l->record);
	launch_end(l);
}

static void target_failed(void *context, const struct fault *f)
{
	struct launch *l = context;

	launch_reap_disks(l); /* it may be because of them */
	if (!l->standing && !store_is_there(l))
		fail_without_store(l);
	launch_fail(l, f);
}

static void target_stopped(void *context, const char *why)
{
	struct launch *l = context;

	if (l->powering_off && !l->ending && !l->failing) {
		launch_powered_off(l, why);
		return;
	}
	if (why && !l->failing && !l->ending) {
		l->failing = true;
		(void)fault_set(&l->why, 0, MSG_LAUNCH_DIED, "machine", l->spec.machine, "reason", why, NULL);
	}
	launch_finish(l);
}

const struct target_events launch_target_events = {
	.note = target_note,
	.forwarded = target_forwarded,
	.started = target_started,
	.output = target_output,
	.agent = target_agent,
	.ready = launch_guest_ready,
	.ran = launch_guest_ran,
	.kept = target_kept,
	.progress = target_progress,
	.disk_trouble = target_disk_trouble,
	.written = target_written,
	.failed = target_failed,
	.stopped = target_stopped,
};

static void picture_of_unproved(void *context, const char *error)
{
	if (error)
		log_warn("no picture of the screen: %s", error);
}

static void symptom_fault(const struct launch *l, struct fault *ret)
{
	(void)fault_set(ret, 0, l->symptom, "machine", l->spec.machine, "line", l->symptom_line, NULL);
}

/* A cutover may be at work already, for people who see more of it than this program does: also when its console
 * has said that it is not, since it may have tried something else. */
static void go_on_unproved(struct launch *l, const char *seconds)
{
	char path[PATH_MAX];
	struct fault f;

	l->unproved = true;
	if (l->symptom_line[0]) {
		symptom_fault(l, &f);
		record_note(l->record, &f);
	}
	(void)fault_set(&f, 0, MSG_LAUNCH_UNPROVED, "machine", l->spec.machine, "seconds", seconds, "launch",
			uuid_format(&l->spec.id, l->id), NULL);
	record_not_proved(l->record, &f);
	snprintf(path, sizeof(path), "%s/screenshot.png", l->folder);
	l->ops->screenshot(l->target, path, picture_of_unproved, l);
}

static void not_proved(void *context)
{
	struct launch *l = context;
	uint64_t now_us = monotonic_now_us(), left_us = l->proof_us > now_us ? l->proof_us - now_us : 0;
	char seconds[24];
	struct fault f;

	snprintf(seconds, sizeof(seconds), "%u", l->spec.proof_seconds - (unsigned int)(left_us / USEC_PER_SEC));
	if (l->spec.kind == LAUNCH_CUTOVER) {
		go_on_unproved(l, seconds);
		return;
	}
	if (l->symptom_line[0])
		symptom_fault(l, &f);
	else
		(void)fault_set(&f, 0, MSG_LAUNCH_NOT_PROVED, "machine", l->spec.machine, "seconds", seconds, NULL);
	launch_fail(l, &f);
}

void launch_await_proof(struct launch *l)
{
	l->deadline.fire = not_proved;
	l->deadline.context = l;
	l->proof_us = monotonic_now_us() + l->spec.proof_seconds * USEC_PER_SEC;
	loop_set_timer(l->loop, &l->deadline, l->proof_us);
}
