/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the blueprint runs in the launched machine: the command that proves that it has
 * booted, again and again until it succeeds or the time for the proof is over, and then,
 * once, post_launch.  godwit-launched runs them there (qemu/guest.h).
 *
 * What answers is a stranger: the end of a command is heard only while that command runs,
 * and none is run more often than every AGAIN_US, however often the machine says that it
 * is ready.
 */
#include "launch-private.h"
#include "wallclock.h"

#include <stdio.h>

#define AGAIN_US (3 * USEC_PER_SEC)
#define OUTPUT_LINES 40u /* in the log; the record has all */

static void log_output(struct launch *l, const char *name, int status, const char *output)
{
	char text[512];

	snprintf(text, sizeof(text), "%s ended with status %d%s", name, status, *output ? ", and said:" : "");
	record_line(l->record, text);
	for (unsigned int i = 0; *output && i < OUTPUT_LINES; i++) {
		int len = (int)strcspn(output, "\n");

		snprintf(text, sizeof(text), "%s: %.*s", name, len, output);
		record_line(l->record, text);
		output += len + (output[len] == '\n');
	}
}

/* --- the proof ------------------------------------------------------------------------------------ */

static void try_proof(void *context)
{
	struct launch *l = context;

	if (!l->guest_ready || l->running || l->powering_off || record_current(l->record) != LAUNCH_BOOTING)
		return;
	l->tried_us = monotonic_now_us();
	if (l->ops->run(l->target, "proof_command", l->spec.proof_command) == 0) /* else it is ready anew */
		l->running = "proof_command";
}

static void try_proof_again(struct launch *l)
{
	l->again.fire = try_proof;
	l->again.context = l;
	loop_set_timer(l->loop, &l->again, l->tried_us ? l->tried_us + AGAIN_US : monotonic_now_us());
}

static void proof_ran(struct launch *l, int status, const char *output)
{
	if (record_current(l->record) != LAUNCH_BOOTING || l->failing)
		return;
	record_command(l->record, "proof_command", false, status, output);
	if (status != l->proof_status) /* said once, however often it is tried */
		log_output(l, "proof_command", status, output);
	l->proof_status = status;
	if (status == 0)
		launch_proved(l, "the command asked for has succeeded in it");
	else
		try_proof_again(l);
}

/* --- after it ---------------------------------------------------------------------------------------- */

static void give_up(void *context)
{
	struct launch *l = context;
	struct fault f;

	(void)fault_set(&f, 0, MSG_LAUNCH_NOT_RUN, "reason",
			l->post_launch_sent ? "it has not ended in time" : "godwit-launched does not answer in the machine",
			NULL);
	record_note(l->record, &f);
	record_command(l->record, "post_launch", false, -1, "");
}

/* At most once, whatever becomes of it. */
static void send_post_launch(struct launch *l)
{
	if (l->post_launch_sent || !l->guest_ready || l->ending || l->powering_off)
		return;
	l->post_launch_sent = true;
	record_line(l->record, "running post_launch in the machine");
	if (l->ops->run(l->target, "post_launch", l->spec.post_launch))
		give_up(l);
	else
		l->running = "post_launch";
}

void launch_await_post_launch(struct launch *l)
{
	if (l->spec.post_launch[0])
		record_command(l->record, "post_launch", true, -1, "");
}

void launch_run_post_launch(struct launch *l)
{
	if (!l->spec.post_launch[0])
		return;
	l->post_launch_due = true;
	l->deadline.fire = give_up;
	l->deadline.context = l;
	loop_set_timer(l->loop, &l->deadline, monotonic_now_us() + l->spec.proof_seconds * USEC_PER_SEC);
	send_post_launch(l);
}

static void post_launch_ran(struct launch *l, int status, const char *output)
{
	struct fault f;
	char text[16];

	if (l->failing)
		return;
	loop_clear_timer(l->loop, &l->deadline);
	log_output(l, "post_launch", status, output);
	if (status) {
		snprintf(text, sizeof(text), "status %d", status);
		(void)fault_set(&f, 0, MSG_LAUNCH_NOT_RUN, "reason", text, NULL);
		record_note(l->record, &f);
	}
	record_command(l->record, "post_launch", false, status, output);
}

/* --- godwit-launched ------------------------------------------------------------------------------------ */

void launch_guest_ready(void *context)
{
	struct launch *l = context;
	enum launch_state state = record_current(l->record);

	l->guest_ready = true;
	l->running = NULL; /* what ran there began anew */
	if (state == LAUNCH_BOOTING && l->spec.proof == PROOF_COMMAND)
		try_proof_again(l);
	else if (state == LAUNCH_BOOTING && l->spec.proof == PROOF_LOGIN) /* its unit waits until people may log in */
		launch_proved(l, "godwit-launched answers in it");
	else if (l->post_launch_due && (state == LAUNCH_BOOTED || state == LAUNCH_KEEPING || state == LAUNCH_STANDING))
		send_post_launch(l);
}

void launch_guest_ran(void *context, const char *name, int status, const char *output)
{
	struct launch *l = context;

	if (!l->running || strcmp(name, l->running) != 0)
		return;
	l->running = NULL;
	if (strcmp(name, "proof_command") == 0)
		proof_ran(l, status, output);
	else
		post_launch_ran(l, status, output);
}
