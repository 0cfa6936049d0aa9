/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local - the daemons of an instance on this machine: console, replication
 * server, and the agents of <data>/agents/.
 *
 * Whether one runs is asked of its pid file, whose lock it holds for as long
 * as it lives; so it does not matter who started it.
 */
#ifndef GODWIT_LOCAL_H
#define GODWIT_LOCAL_H

#include "cli.h"
#include "instance.h"
#include <jansson.h>
#include <sys/types.h>

/* One `godwit up`, `down` or `protect` at a time for a data folder; waits.
 * The folder is made.  The lock ends with the process.  CLI_DONE, or having said why. */
_must_check_ int local_lock(struct cli *c);

/* After a failure: a data folder that has nothing but that lock is taken away again. */
void local_tidy(const struct cli *c);

/* Pids, or 0: not running. */
pid_t local_console(const struct cli *c);
pid_t local_server(const struct cli *c);
pid_t local_agent(const struct cli *c, const char *name);

/* The agent.json of the machine that is enrolled here under @name, to be json_decref'ed; NULL: there is none. */
json_t *local_agent_json(const struct cli *c, const char *name);

/* An installation token for what is started here, for as short a time as can be; to be freed, NULL after saying why. */
char *local_make_token(struct cli *c, const char *role);

/* Start what is not running; CLI_DONE when it is ready. */
_must_check_ int local_start_console(struct cli *c, const struct instance *i);
_must_check_ int local_start_server(struct cli *c, const struct instance *i);
_must_check_ int local_start_agent(struct cli *c, const char *name);

/* Stop what is running and wait for its end.  The agents, like all that is
 * started, come back at boot (boot.h) until they are stopped. */
int local_stop_console(struct cli *c);
int local_stop_server(struct cli *c);
int local_stop_agent(struct cli *c, const char *name);

/* Names of the agents that have a state folder here, sorted; each and the
 * array to be freed.  Returns how many. */
size_t local_agents(const struct cli *c, char ***ret_names);
void local_agents_free(char **names, size_t count);

#endif
