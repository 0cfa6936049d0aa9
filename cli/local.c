/* SPDX-License-Identifier: Apache-2.0 */
#include "local.h"
#include "api.h"
#include "boot.h"
#include "daemon.h"
#include "fileio.h"
#include "program.h"
#include "wallclock.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define STOP_TIMEOUT_MS 30000u
#define TOKEN_SECONDS 60 /* the least that the console allows */
#define CONNECT_US (10 * USEC_PER_SEC)
#define LOOK_EVERY_MS 20

/* --- the lock --------------------------------------------------------------------------- */

int local_lock(struct cli *c)
{
	char *path;
	int fd, r = fileio_mkdirs(c->data, 0700);

	if (r < 0)
		return cli_fail_message(c, MSG_FOLDER_UNUSABLE, "folder", c->data, "reason", strerror(-r), NULL);
	path = instance_path(c, "instance.lock");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	r = fd < 0 || flock(fd, LOCK_EX) < 0 ? -errno : 0;
	free(path);
	if (r < 0)
		return cli_fail_message(c, MSG_FOLDER_UNUSABLE, "folder", c->data, "reason", strerror(-r), NULL);
	return CLI_DONE; /* the descriptor stays open until the process ends */
}

static bool has_only_the_lock(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	bool only = dir != NULL;

	while (only && (entry = readdir(dir)))
		only = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		       strcmp(entry->d_name, "instance.lock") == 0;
	if (dir)
		closedir(dir);
	return only;
}

void local_tidy(const struct cli *c)
{
	char *agents = instance_path(c, "agents"), *lock = instance_path(c, "instance.lock");

	(void)rmdir(agents);
	if (has_only_the_lock(c->data)) {
		(void)unlink(lock);
		(void)rmdir(c->data);
	}
	free(lock);
	free(agents);
}

/* --- what runs ------------------------------------------------------------------------------ */

static pid_t running(const struct cli *c, const char *pid_file)
{
	char *path = instance_path(c, "%s", pid_file);
	pid_t pid = daemon_running(path);

	free(path);
	return pid;
}

pid_t local_console(const struct cli *c)
{
	return running(c, "console/console.pid");
}

pid_t local_server(const struct cli *c)
{
	return running(c, "server/server.pid");
}

pid_t local_agent(const struct cli *c, const char *name)
{
	char *file = text_format("agents/%s/agent.pid", name);
	pid_t pid = running(c, file);

	free(file);
	return pid;
}

json_t *local_agent_json(const struct cli *c, const char *name)
{
	char *path = instance_path(c, "agents/%s/agent.json", name);
	json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);

	free(path);
	return j;
}

/* --- starting ----------------------------------------------------------------------------------- */

/* @r: of program_run_quietly(). */
static int judge_start(struct cli *c, const char *program, const char *log, int r)
{
	char *log_path;

	if (r == 0)
		return CLI_DONE;
	if (interrupted())
		return interrupt_status();
	if (r < 0)
		return cli_fail_errno(c, program, r);
	log_path = instance_path(c, "%s", log);
	(void)cli_fail_message(c, MSG_PROGRAM_FAILED, "program", program, "log", log_path, NULL);
	free(log_path);
	return CLI_FAILED;
}

static int start(struct cli *c, const char *program, const char *log, const char *const argv[])
{
	return judge_start(c, program, log, program_run_quietly(argv));
}

int local_start_console(struct cli *c, const struct instance *i)
{
	char *program, *port;
	int r;

	if (local_console(c))
		return CLI_DONE;
	program = program_find(c, "godwit-console");
	if (!program)
		return CLI_FAILED;
	port = text_format("%llu", (unsigned long long)i->console_port);
	r = start(c, "godwit-console", "console/console.log.0",
		  (const char *const[]){ program, "run", "--data", c->data, "--listen", i->listen, "--port", port, "--daemon", NULL });
	free(port);
	free(program);
	return r;
}

char *local_make_token(struct cli *c, const char *role)
{
	json_t *body = json_pack("{s:s, s:i}", "role", role, "expires_seconds", TOKEN_SECONDS), *answer;
	char *token;

	answer = api_call(c, "POST", body, API_SOON_MS, "/tokens");
	json_decref(body);
	if (!answer)
		return NULL;
	token = text_copy(get_text(answer, "token", ""));
	json_decref(answer);
	return token;
}

/* The first time: with a token that is made for this and soon worthless. */
static int enrol_server(struct cli *c, const char *program, const char *state, const char *port)
{
	char *token = local_make_token(c, "server");
	int r;

	if (!token)
		return CLI_FAILED;
	r = program_run_with_token((const char *const[]){ program, "enrol", "--state", state, "--console",
							  c->console_url, "--port", port, NULL },
				   token);
	free(token);
	return judge_start(c, "godwit-server", "server/server.log.0", r);
}

static bool console_has_server(struct cli *c, uint64_t port)
{
	const json_t *server;
	json_t *answer;
	char why[256];
	bool found = false;
	size_t i;

	if (api_try(c, "GET", NULL, API_SOON_MS, &answer, why, sizeof(why), "/servers") < 0)
		return false;
	json_array_foreach(get_array(answer, "servers"), i, server)
		found = found || (json_is_true(json_object_get(server, "connected")) && get_u64(server, "port") == port);
	json_decref(answer);
	return found;
}

/* Until the console can tell agents where the server is.  If that takes too
 * long, `godwit status` will say what is wrong; here nothing is lost. */
static void wait_for_server(struct cli *c, uint64_t port)
{
	uint64_t deadline = monotonic_now_us() + CONNECT_US;

	while (!console_has_server(c, port) && monotonic_now_us() < deadline && !interrupted())
		pause_ms(LOOK_EVERY_MS);
}

int local_start_server(struct cli *c, const struct instance *i)
{
	char *program, *port, *state, *enrolled;
	int r = CLI_DONE;

	if (local_server(c))
		return CLI_DONE;
	program = program_find(c, "godwit-server");
	if (!program)
		return CLI_FAILED;
	port = text_format("%llu", (unsigned long long)i->port);
	state = instance_path(c, "server");
	enrolled = instance_path(c, "server/server.json");
	if (access(enrolled, F_OK) < 0)
		r = enrol_server(c, program, state, port);
	if (r == CLI_DONE)
		r = start(c, "godwit-server", "server/server.log.0",
			  (const char *const[]){ program, "run", "--state", state, "--listen", i->listen, "--port", port,
						 "--daemon", NULL });
	if (r == CLI_DONE)
		wait_for_server(c, i->port);
	free(enrolled);
	free(state);
	free(port);
	free(program);
	return r;
}

int local_start_agent(struct cli *c, const char *name)
{
	char *program, *state, *log;
	int r;

	if (local_agent(c, name))
		return CLI_DONE;
	program = program_find(c, "godwit-agent");
	if (!program)
		return CLI_FAILED;
	state = instance_path(c, "agents/%s", name);
	log = text_format("agents/%s/agent.log.0", name);
	if (boot_start_agent(c, name, program))
		r = CLI_DONE;
	else
		r = start(c, "godwit-agent", log, (const char *const[]){ program, "run", "--state", state, "--daemon", NULL });
	if (r == CLI_DONE)
		boot_agent(c, name, true);
	free(log);
	free(state);
	free(program);
	return r;
}

/* --- stopping ------------------------------------------------------------------------------------- */

static int stop(struct cli *c, const char *program, const char *folder, const char *word)
{
	char *pid_path = instance_path(c, "%s/%s.pid", folder, word);
	pid_t pid = daemon_running(pid_path);
	int r = daemon_stop(pid_path, STOP_TIMEOUT_MS);

	free(pid_path);
	if (r == -ETIMEDOUT) {
		char *log = instance_path(c, "%s/%s.log.0", folder, word);
		char number[24], seconds[24];

		snprintf(number, sizeof(number), "%d", (int)pid);
		snprintf(seconds, sizeof(seconds), "%u", STOP_TIMEOUT_MS / 1000);
		(void)cli_fail_message(c, MSG_PROGRAM_DOES_NOT_STOP, "program", program, "seconds", seconds, "log", log,
				       "pid", number, NULL);
		free(log);
		return CLI_FAILED;
	}
	return r < 0 && r != -ESRCH ? cli_fail_errno(c, program, r) : CLI_DONE;
}

int local_stop_console(struct cli *c)
{
	return stop(c, "godwit-console", "console", "console");
}

int local_stop_server(struct cli *c)
{
	return stop(c, "godwit-server", "server", "server");
}

int local_stop_agent(struct cli *c, const char *name)
{
	char *folder = text_format("agents/%s", name);
	int r = stop(c, "godwit-agent", folder, "agent");

	boot_agent(c, name, false);
	free(folder);
	return r;
}

/* --- the agents -------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

size_t local_agents(const struct cli *c, char ***ret_names)
{
	char *folder = instance_path(c, "agents"), **names = NULL;
	DIR *dir = opendir(folder);
	struct dirent *entry;
	size_t n = 0;

	free(folder);
	while (dir && (entry = readdir(dir))) {
		char *enrolled = instance_path(c, "agents/%s/agent.json", entry->d_name), **more;

		if (entry->d_name[0] != '.' && access(enrolled, F_OK) == 0) {
			more = realloc(names, (n + 1) * sizeof(*names));
			if (!more)
				abort();
			names = more;
			names[n++] = text_copy(entry->d_name);
		}
		free(enrolled);
	}
	if (dir)
		closedir(dir);
	if (n)
		qsort(names, n, sizeof(*names), by_name);
	*ret_names = names;
	return n;
}

void local_agents_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}
