/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the blueprint runs in the launched machine: the command that proves that it has
 * booted, again and again until it succeeds or the time for the proof is over, and then,
 * once, post_launch.  godwit-launched runs them there (qemu/guest.h).
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

	if (l->guest_ready && l->spec.proof == PROOF_COMMAND && record_current(l->record) == LAUNCH_BOOTING)
		(void)!l->ops->run(l->target, "proof_command", l->spec.proof_command); /* else it is ready anew */
}

static void proof_ran(struct launch *l, int status, const char *output)
{
	if (l->spec.proof != PROOF_COMMAND || record_current(l->record) != LAUNCH_BOOTING)
		return;
	record_command(l->record, "proof_command", false, status, output);
	if (status != l->proof_status) /* said once, however often it is tried */
		log_output(l, "proof_command", status, output);
	l->proof_status = status;
	if (status == 0) {
		launch_proved(l, "the command asked for has succeeded in it");
		return;
	}
	l->again = (struct loop_timer){ .fire = try_proof, .context = l };
	loop_set_timer(l->loop, &l->again, monotonic_now_us() + AGAIN_US);
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
	if (l->post_launch_sent || !l->guest_ready || l->ending)
		return;
	l->post_launch_sent = true;
	record_line(l->record, "running post_launch in the machine");
	if (l->ops->run(l->target, "post_launch", l->spec.post_launch))
		give_up(l);
}

void launch_run_post_launch(struct launch *l)
{
	if (!l->spec.post_launch[0])
		return;
	record_command(l->record, "post_launch", true, -1, "");
	l->deadline = (struct loop_timer){ .fire = give_up, .context = l };
	loop_set_timer(l->loop, &l->deadline, monotonic_now_us() + l->spec.proof_seconds * USEC_PER_SEC);
	send_post_launch(l);
}

static void post_launch_ran(struct launch *l, int status, const char *output)
{
	struct fault f;
	char text[16];

	if (!l->post_launch_sent || l->failing)
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
	if (state == LAUNCH_BOOTING)
		try_proof(l);
	else if (l->spec.post_launch[0] && (state == LAUNCH_BOOTED || state == LAUNCH_KEEPING || state == LAUNCH_STANDING))
		send_post_launch(l);
}

void launch_guest_ran(void *context, const char *name, int status, const char *output)
{
	if (strcmp(name, "proof_command") == 0)
		proof_ran(context, status, output);
	else if (strcmp(name, "post_launch") == 0)
		post_launch_ran(context, status, output);
}
