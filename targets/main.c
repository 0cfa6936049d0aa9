/* SPDX-License-Identifier: Apache-2.0 */
/* godwit-launch - one launch, in the folder that it is given (launch.h). */
#include "daemon.h"
#include "launch.h"
#include "log.h"
#include "stop.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int usage(FILE *to, int status)
{
	fprintf(to, "Usage: godwit-launch [--daemon] FOLDER\n"
		    "       godwit-launch --stop-all FOLDER\n"
		    "Start the machine that FOLDER/spec.json describes from a recovery point.\n"
		    "--stop-all: shut down all machines launched in folders below FOLDER, in order, and wait\n"
		    "for them; godwit-launches.service does it when this machine goes down.\n"
		    "godwit-server runs this; `man godwit-launch` describes the folder.\n");
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "daemon", no_argument, NULL, 'd' },
		{ "stop-all", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	bool background = false, stop = false;
	char folder[4096], path[4200];
	int c, err;

	log_init("godwit-launch", LOG_INFO);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'd':
			background = true;
			break;
		case 's':
			stop = true;
			break;
		case 'h':
			return usage(stdout, 0);
		case 'V':
			printf("godwit-launch %s\n", GODWIT_VERSION);
			return 0;
		default:
			return usage(stderr, 2);
		}
	}
	if (optind + 1 != argc)
		return usage(stderr, 2);
	if (!realpath(argv[optind], folder)) {
		log_error("%s: %s", argv[optind], strerror(errno));
		return 2;
	}
	if (stop) {
		err = stop_all(folder);
		if (err)
			log_error("%s: %s", folder, strerror(-err));
		return err ? 1 : 0;
	}
	snprintf(path, sizeof(path), "%s/launch.log.0", folder);
	if (log_to_file(path, 1 << 20, 3))
		log_warn("%s cannot be written", path);
	/* What is started here has the folder as its working folder: by that it is known, and
	 * the sockets' names stay short. */
	if (chdir(folder)) {
		log_error("%s: %s", folder, strerror(errno));
		return 2;
	}
	if (background) {
		if (daemon_detach())
			return 2;
		log_quiet_stderr();
	}
	return launch_run(".");
}
