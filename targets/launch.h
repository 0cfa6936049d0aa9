/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch - one machine started from a point, in a process and a folder of its own.
 *
 *	PREPARING -> STARTING -> BOOTING -> BOOTED -> KEEPING -> STANDING
 *	    |            |          |         |          |          |
 *	    '------------'----------'-> FAILED '----------'----------'-> ENDED
 *	STANDING -> STOPPED (with the server's machine) -> STANDING, in a new process
 *	BOOTING -> KEEPING, BOOTED	of a cutover that runs on although it did not show in time that it boots
 *	FAILED, ENDED -> STOPPED	in a new process, when its disks were kept and it is asked for again
 *	PREPARING -> WRITING -> ENDED (or FAILED)		where it is only written (target.h)
 *
 * The folder has
 *
 *	spec.json	what is wanted, written by whoever asks; never changed
 *	launch.json	(and launch.json.room, so that there is room for it)
 *			how far it is: state, times, log, proof; replaced as it changes
 *	serial.log	the last 16 MiB of it, after a hole, of a machine that says more
 *	screenshot.png, and the target's files
 *	control		a socket: a line "keep" or "terminate"
 *	launch.pid	locked for as long as the process lives
 *
 * so that a server that was started anew finds its launches where they are.  The
 * process holds the NBD servers of its disks and the machine; all of them end
 * with it, however it ends (nothing is left behind but the folder's files).
 *
 * L1	The point is only read.  What the machine writes goes to the folder.
 * L2	After FAILED or ENDED no process, no socket and no disk file is left; log,
 *	serial.log and screenshot stay.
 * L3	STANDING only when no byte of any disk is needed from the store.
 * L4	When it is told to end by a signal (this machine goes down), a machine that is
 *	somebody's is asked to power itself off, and ended only when it does not.
 */
#ifndef GODWIT_LAUNCH_H
#define GODWIT_LAUNCH_H

#include "base.h"

/* Run the launch in @folder to its end.  Exit status: 0 it ended as it was
 * asked to, 1 it failed (launch.json says why), 2 it could not be begun: launch.json says
 * why, or is as it was. */
int launch_run(const char *folder);

#endif
