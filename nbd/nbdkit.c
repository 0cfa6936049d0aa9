/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child's descriptors: 0 /dev/null, 1 and 2 the error pipe, 3 the
 * listening socket (systemd's LISTEN_FDS protocol), 4 the pipe that is given
 * as --pidfile.  nbdkit ends with us (--exit-with-parent), however we end.
 */
#include "nbdkit.h"
#include "confine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef GODWIT_PLUGIN_DIR
#define GODWIT_PLUGIN_DIR "/usr/lib/nbdkit/plugins"
#endif
#define PLUGIN_FILE "nbdkit-godwit-plugin.so"
#define BACKLOG 128

/* --- sockets ------------------------------------------------------------------------ */

int nbdkit_listen_unix(const char *path, int *ret_fd)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	mode_t mask;
	int fd, err = 0;

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)unlink(path);
	mask = umask(0177);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, BACKLOG))
		err = -errno;
	(void)umask(mask);
	if (err) {
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

int nbdkit_listen_tcp(const char *address, int *ret_fd, uint16_t *ret_port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM }, *a;
	struct sockaddr_storage got = { 0 };
	socklen_t len = sizeof(got);
	int fd, err = 0;

	if (getaddrinfo(address, "0", &hints, &a))
		return -EADDRNOTAVAIL;
	fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, BACKLOG) ||
	    getsockname(fd, (struct sockaddr *)&got, &len))
		err = -errno;
	freeaddrinfo(a);
	if (err) {
		if (fd >= 0)
			close(fd);
		return err;
	}
	*ret_fd = fd;
	*ret_port = ntohs(got.ss_family == AF_INET ? ((struct sockaddr_in *)&got)->sin_port :
						     ((struct sockaddr_in6 *)&got)->sin6_port);
	return 0;
}

/* --- the plugin --------------------------------------------------------------------- */

/* Beside this program in the build folder, or where nbdkit's plugins are. */
static void find_plugin(char ret[PATH_MAX])
{
	static const char *const beside[] = { "/../nbd/" PLUGIN_FILE, "/nbd/" PLUGIN_FILE, "/" PLUGIN_FILE };
	char exe[PATH_MAX - 64];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	exe[MAX(n, 0)] = 0;
	slash = strrchr(exe, '/');
	for (unsigned int i = 0; slash && i < ARRAY_LEN(beside); i++) {
		snprintf(ret, PATH_MAX, "%.*s%s", (int)(slash - exe), exe, beside[i]);
		if (access(ret, R_OK) == 0)
			return;
	}
	snprintf(ret, PATH_MAX, "%s", GODWIT_PLUGIN_DIR "/" PLUGIN_FILE);
	if (access(ret, R_OK))
		snprintf(ret, PATH_MAX, "godwit"); /* nbdkit knows its own folder */
}

/* --- the child ------------------------------------------------------------------------ */

/* What is there of this is readable; what is not there needs no rule. */
static void confine_nbdkit(const struct nbdkit_options *o, const char *plugin)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/bin", "/opt" };
	struct confine_path paths[ARRAY_LEN(readable) + 6];
	char plugin_dir[PATH_MAX], *slash;
	size_t n = 0;
	bool active;

	snprintf(plugin_dir, sizeof(plugin_dir), "%s", plugin);
	slash = strrchr(plugin_dir, '/');
	for (unsigned int i = 0; i < ARRAY_LEN(readable); i++) {
		if (access(readable[i], R_OK) == 0)
			paths[n++] = (struct confine_path){ readable[i], false };
	}
	if (slash) {
		*slash = 0;
		paths[n++] = (struct confine_path){ plugin_dir, false };
	}
	paths[n++] = (struct confine_path){ o->store_dir, false };
	paths[n++] = (struct confine_path){ o->exports_dir, true };
	paths[n++] = (struct confine_path){ "/dev/null", true };
	paths[n] = (struct confine_path){ NULL, false };
	if (confine_capabilities(NULL, 0) || confine_paths(paths, &active))
		_exit(126);
}

static void arrange_descriptors(int null, int err, int listen_fd, int ready)
{
	const int from[] = { null, err, err, listen_fd, ready };
	int high[ARRAY_LEN(from)];

	/* Out of the way first, so that none is overwritten before it is used. */
	for (int i = 0; i < (int)ARRAY_LEN(from); i++) {
		high[i] = fcntl(from[i], F_DUPFD, 16);
		if (high[i] < 0)
			_exit(126);
	}
	for (int i = 0; i < (int)ARRAY_LEN(from); i++) {
		if (dup2(high[i], i) < 0)
			_exit(126);
	}
	(void)close_range(ARRAY_LEN(from), ~0u, 0);
}

static void __attribute__((noreturn)) exec_nbdkit(const struct nbdkit_options *o)
{
	char store[PATH_MAX + 8], epoch[40], disk[24], plugin[PATH_MAX], pid[24];
	const char *argv[16];
	int n = 0;
	sigset_t none;

	find_plugin(plugin);
	snprintf(store, sizeof(store), "store=%s", o->store_dir);
	snprintf(epoch, sizeof(epoch), "epoch=%llu", (unsigned long long)o->epoch);
	snprintf(disk, sizeof(disk), "disk=%u", o->disk);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	argv[n++] = "nbdkit";
	argv[n++] = "--foreground";
	argv[n++] = "--exit-with-parent";
	argv[n++] = "--pidfile=/proc/self/fd/4";
	argv[n++] = "--log=stderr";
	/* One request at a time for each connection: in nbdkit 1.32 a client that
	 * goes away with several under way brings all of nbdkit down ("Assertion
	 * `sock >= 0' failed" in raw_send_socket).  Connections are still served
	 * side by side. */
	argv[n++] = "--threads=1";
	argv[n++] = o->writable ? "--filter=cow" : "--readonly";
	argv[n++] = plugin;
	argv[n++] = store;
	argv[n++] = epoch;
	argv[n++] = disk;
	argv[n] = NULL;
	(void)setenv("LISTEN_FDS", "1", 1);
	(void)setenv("LISTEN_PID", pid, 1);
	(void)setenv("TMPDIR", o->exports_dir, 1); /* where the cow filter keeps what is written */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	confine_nbdkit(o, plugin);
	execvp("nbdkit", (char *const *)argv);
	dprintf(2, "nbdkit cannot be run: %s\n", strerror(errno));
	_exit(127);
}

int nbdkit_spawn(const struct nbdkit_options *o, struct nbdkit_process *ret)
{
	int ready[2] = { -1, -1 }, error[2] = { -1, -1 }, null, err = 0;
	pid_t pid = -1;

	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || pipe2(ready, O_CLOEXEC | O_NONBLOCK) || pipe2(error, O_CLOEXEC | O_NONBLOCK) ||
	    (pid = fork()) < 0)
		err = -errno;
	if (pid == 0) {
		arrange_descriptors(null, error[1], o->listen_fd, ready[1]);
		exec_nbdkit(o);
	}
	close(null);
	close(ready[1]);
	close(error[1]);
	if (err) {
		close(ready[0]);
		close(error[0]);
		return err;
	}
	*ret = (struct nbdkit_process){ .pid = pid, .ready_fd = ready[0], .stderr_fd = error[0] };
	return 0;
}
