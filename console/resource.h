/* SPDX-License-Identifier: Apache-2.0 */
/* resource - what several handlers need: machines by path, calls to servers, events, addresses. */
#ifndef GODWIT_CONSOLE_RESOURCE_H
#define GODWIT_CONSOLE_RESOURCE_H

#include "db_machines.h"
#include "db_servers.h"
#include "request.h"

/* The machine that the path's first parameter names: 0, or 404. */
_must_check_ int resource_machine(struct request *r, struct machine_row *ret);

/* 404 unless @machine is the id or the name of a machine there is.  In a transaction. */
_must_check_ int resource_need_machine(struct request *r, struct db *db, const char *machine);

/* A command with an id of its own: {"id", "verb"}. */
json_t *resource_command(const char *verb);

/*
 * Tell @m's replication server, and wait for the answer: 0, or a status.
 * Takes @command.
 */
_must_check_ int resource_call_server(struct request *r, const struct machine_row *m, json_t *command,
				      unsigned int timeout_ms, json_t **ret_result);
/* The same to a server by itself, and to an agent. */
_must_check_ int resource_call(struct request *r, const struct server_row *s, json_t *command,
			       unsigned int timeout_ms, json_t **ret_result);
_must_check_ int resource_call_agent(struct request *r, const struct machine_row *m, json_t *command,
				     unsigned int timeout_ms, json_t **ret_result);

/* 409 AGENT_AWAY unless the machine's agent is connected. */
_must_check_ int resource_need_agent(struct request *r, const struct machine_row *m);

/* 0 if the machine's replication server is there and its agent says of nothing that it cannot reach it;
 * else a status, and the fault says what hinders it. */
_must_check_ int resource_need_connection(struct request *r, const struct machine_row *m);

/* An event of machine @m (NULL: nobody's) by whom @r came from; arguments as
 * for fault_set(), and "machine" is added. */
void resource_event(struct request *r, struct db *db, const struct machine_row *m, const json_t *changes,
		    enum message_code code, ...) __attribute__((sentinel));

/* Something that stands in the way now, as the API shows it, onto @list; takes
 * @args (texts) and @since. */
void resource_problem(json_t *list, const struct request *r, enum message_code code, json_t *args, json_t *since);

/* Where @r's sender reaches the server: the address that is known of it; of one
 * on the console's own machine that listens on every address, the name by which
 * the sender calls the console. */
const char *resource_server_address(const struct request *r, const struct server_row *s);
bool resource_is_every_address(const char *address);
bool resource_is_loopback(const char *address);

/* "2026-...Z", or "never". */
const char *resource_time_or_never(uint64_t us, char *buf);
json_t *resource_time(uint64_t us);

/* A copy of what an agent said, all its texts and names printable: people's terminals show it. */
json_t *resource_cleaned(const json_t *said); /* null for 0 */

/* A member's number, whatever its form; @otherwise if it is none. */
int64_t resource_integer(const json_t *object, const char *name, int64_t otherwise);

#endif
