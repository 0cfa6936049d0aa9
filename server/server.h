/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server - the running replication server: what its modules share.
 *
 *	            +-- listener ---- session processes (intake, session)
 *	main, loop -+-- stores  ----- workers: summary, upkeep, scrub, removal
 *	            +-- exports ----- nbdkit processes
 *	            '-- console ----- link process
 *
 * The main process reads nothing of what strangers sent, but for the fixed
 * messages of control.h, the workers' JSON and the console's.
 */
#ifndef GODWIT_SERVER_H
#define GODWIT_SERVER_H

#include "base.h"
#include "link.h"
#include "listener.h"
#include "loop.h"
#include "message.h"
#include "registry.h"
#include "settings.h"

struct server_options {
	const char *state, *listen, *machines_file, *proxy;
	int port; /* -1: what server.json says */
	bool background;
};

struct stores;
struct exports;
struct launches;

struct server {
	struct server_options options;
	struct settings settings;
	char store_root[SETTINGS_PATH_MAX];
	struct registry registry;
	struct loop *loop;
	struct tls_context *tls;
	struct listener *listener;
	struct stores *stores;
	struct exports *exports;
	struct launches *launches;
	struct link *link; /* NULL: no console */
	int signal_fd;
	bool stopping;
};

/* The program's life; its exit status. */
int server_run(const struct server_options *o);

/* Something a person should know: logged, and an event at the console.
 * @machine may be NULL. */
void server_report(struct server *s, const struct uuid *machine, const struct fault *fault);

/* The desired machines have changed; takes @r over. */
void server_set_registry(struct server *s, struct registry *r);

/* A machine's name, or its id in @buf (UUID_TEXT_LEN + 1) if it is not known. */
const char *server_machine_name(const struct server *s, const struct uuid *machine, char *buf);

#endif
