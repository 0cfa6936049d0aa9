/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	IDLE --(due, or a file changed)--> LOOKING --(its answer, or the deadline)--> IDLE
 *
 * One that was killed, by the deadline or for the processor's time it took, has found
 * nothing out: what was known stays, and it is asked again later.
 *
 * What it says fits into a pipe, so it never waits for the agent either.
 */
#include "facts.h"
#include "fileio.h"
#include "log.h"
#include "wallclock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_US	    (60 * USEC_PER_SEC)	     /* whether anything changed */
#define DEADLINE_US (10 * 60 * USEC_PER_SEC) /* of one look: it is the last to run on a busy machine */
#define CPU_SECONDS 180u		     /* some two on today's processors, forty on an emulated one */
#define AGAIN_US    (10 * 60 * USEC_PER_SEC) /* after one that was killed */
#define ANSWER_MAX  (32 * KIB)		     /* below what a pipe holds */
#define FILES_MAX   256u

struct facts {
	const struct settings *settings;
	json_t *hardware;
	uint64_t seen, next_us, deadline_us;
	pid_t pid; /* 0: idle */
	int fd;
};

/* --- did anything change? ----------------------------------------------------------------- */

static void mix(uint64_t *sum, const void *data, size_t len)
{
	for (const unsigned char *p = data; len--; p++)
		*sum = (*sum ^ *p) * 0x100000001b3ULL;
}

static void mix_file(uint64_t *sum, const char *path)
{
	struct stat st;
	int64_t parts[4] = { 0 };

	if (stat(path, &st) == 0) {
		parts[0] = (int64_t)st.st_ino;
		parts[1] = st.st_size;
		parts[2] = st.st_mtim.tv_sec;
		parts[3] = st.st_mtim.tv_nsec;
	}
	mix(sum, parts, sizeof(parts));
}

static void mix_folder(uint64_t *sum, const char *path)
{
	unsigned int n = 0;
	struct dirent *e;
	DIR *dir = opendir(path);

	while (dir && n++ < FILES_MAX && (e = readdir(dir))) {
		char file[PATH_MAX];

		if (e->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		mix_file(sum, file);
	}
	if (dir)
		closedir(dir);
}

static uint64_t look(void)
{
	uint64_t sum = 0xcbf29ce484222325ULL;
	const char *root = getenv("GODWIT_FACTS_ROOT") ?: "";
	static const char *const files[] = { "/etc/fstab", "/etc/network/interfaces" };
	char path[PATH_MAX];
	struct utsname u = { 0 };

	(void)uname(&u);
	for (unsigned int i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(path, sizeof(path), "%s%s", root, files[i]);
		mix_file(&sum, path);
	}
	snprintf(path, sizeof(path), "%s/boot", root);
	mix_folder(&sum, path);
	snprintf(path, sizeof(path), "%s/lib/modules/%s/modules.dep", root, u.release);
	mix_file(&sum, path);
	for (unsigned int i = 0; hardware_network_folders[i]; i++) {
		snprintf(path, sizeof(path), "%s%s", root, hardware_network_folders[i]);
		mix_folder(&sum, path);
	}
	return sum;
}

/* --- asking ----------------------------------------------------------------------------------- */

static void __attribute__((noreturn)) exec_look(const struct facts *f, int out)
{
	struct rlimit cpu = { CPU_SECONDS, CPU_SECONDS };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setpgid(0, 0);
	(void)sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 }); /* the agent's may be less: priority.c */
	(void)setpriority(PRIO_PROCESS, 0, 19);
	(void)setrlimit(RLIMIT_CPU, &cpu);
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(null, 2) < 0)
		_exit(126);
	execl("/proc/self/exe", "godwit-agent", "facts", "--state", f->settings->folder, (char *)NULL);
	_exit(127);
}

static void ask(struct facts *f, uint64_t now_us)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return;
	f->pid = fork();
	if (f->pid == 0)
		exec_look(f, fds[1]);
	close(fds[1]);
	if (f->pid < 0) {
		f->pid = 0;
		close(fds[0]);
		return;
	}
	f->fd = fds[0];
	f->deadline_us = now_us + DEADLINE_US;
}

static void forget_look(struct facts *f)
{
	char folder[SETTINGS_PATH_MAX];

	close(f->fd);
	f->pid = 0;
	(void)!fileio_remove_tree(settings_path(f->settings, "facts", folder)); /* it may have been killed */
}

static void take_answer(struct facts *f, int status)
{
	char *text = malloc(ANSWER_MAX + 1);
	ssize_t n = text ? read(f->fd, text, ANSWER_MAX) : -1;
	json_t *j = n > 0 && status == 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;

	if (!json_equal(j, f->hardware))
		log_info("what a launched copy of this machine needs was found out%s",
			 j ? "" : ": nothing is known");
	json_decref(f->hardware);
	f->hardware = j;
	free(text);
	forget_look(f);
}

void facts_tick(struct facts *f, uint64_t now_us)
{
	uint64_t seen;
	int status;

	if (!f)
		return;
	if (f->pid && waitpid(f->pid, &status, WNOHANG) == f->pid) {
		if (WIFSIGNALED(status)) {
			log_info("finding out what a launched copy of this machine needs took too long; it "
				 "is tried again later");
			forget_look(f);
			f->seen = 0;
			f->next_us = now_us + AGAIN_US;
		} else {
			take_answer(f, status);
		}
	} else if (f->pid && now_us > f->deadline_us) {
		(void)kill(-f->pid, SIGKILL);
		(void)kill(f->pid, SIGKILL);
		f->deadline_us = UINT64_MAX; /* then it ends */
	}
	if (f->pid || now_us < f->next_us)
		return;
	f->next_us = now_us + LOOK_US;
	seen = look();
	if (seen == f->seen)
		return;
	f->seen = seen;
	ask(f, now_us);
}

json_t *facts_hardware(const struct facts *f)
{
	return f ? f->hardware : NULL;
}

int facts_new(const struct settings *s, struct facts **ret)
{
	struct facts *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->settings = s;
	*ret = f;
	return 0;
}

void facts_free(struct facts *f)
{
	if (!f)
		return;
	if (f->pid) {
		(void)kill(-f->pid, SIGKILL);
		(void)kill(f->pid, SIGKILL);
		(void)waitpid(f->pid, NULL, 0);
		close(f->fd);
	}
	json_decref(f->hardware);
	free(f);
}
