/* SPDX-License-Identifier: Apache-2.0 */
/* program - godwit's other programs and tools: finding, running, and being interrupted meanwhile. */
#ifndef GODWIT_PROGRAM_H
#define GODWIT_PROGRAM_H

#include "cli.h"
#include <sys/types.h>

/* Where "godwit-agent" is: beside this executable, in the build tree, or
 * installed.  To be freed; NULL after saying that it is not there. */
char *program_find(const struct cli *c, const char *name);

/* True if @tool is in PATH. */
bool program_in_path(const char *tool);

/*
 * Run @argv (argv[0]: path, or a name in PATH) to its end.  Its standard
 * output goes to our standard error, so that ours is the verb's result alone.
 * Its exit status (128 + signal), or -errno.  An interruption is passed on.
 */
int program_run(const char *const argv[]);

/* The same, but what it says on standard error is shown only if it fails. */
int program_run_quietly(const char *const argv[]);

/* The same with its standard output in *@ret_fd; then program_wait(). */
_must_check_ int program_start(const char *const argv[], pid_t *ret_pid, int *ret_fd);
int program_wait(pid_t pid);

/* As program_run_quietly(), and it finds @token in GODWIT_TOKEN, which nobody but
 * its user can read; what runs later does not. */
int program_run_with_token(const char *const argv[], const char *token);

/* From now on SIGINT, SIGTERM and SIGHUP only set a flag: for what has to
 * clean up behind itself. */
void interrupt_catch(void);
bool interrupted(void);

/* The exit status of a program that was interrupted. */
int interrupt_status(void);

/* Ask on standard error; true only if a person types @expected. */
bool confirm_by_typing(const char *question, const char *expected);

/* Wait, or be interrupted. */
void pause_ms(unsigned int ms);

#endif
