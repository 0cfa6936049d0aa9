/* SPDX-License-Identifier: Apache-2.0 */
/*
 * K1	One process at a time looks, probes and writes down: machines that are started side by
 *	side ask all at once, and the first of them finds it out for all.
 * K2	Only what a guest, or qemu by itself, has answered is written down.  A probe that was too
 *	slow, was killed or could not be started says nothing of the next one.
 */
#include "kvm.h"
#include "fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PROBE_MS
#define PROBE_MS 5000
#endif
#define PROBE_PORT "0xf4"
#define PROBE_VALUE 0x2a
#define NOT_RUN	    127

enum answer { RUNS, DOES_NOT, UNKNOWN };

/* mov al, PROBE_VALUE; out 0xf4, al; hlt; in a first sector with its signature.
 * The debug-exit device ends qemu with status value * 2 + 1. */
static const uint8_t guest_code[] = { 0xb0, PROBE_VALUE, 0xe6, 0xf4, 0xf4 };

static void __attribute__((noreturn)) exec_probe(const char *qemu, const char *image)
{
	char drive[PATH_MAX + 64];
	int null = open("/dev/null", O_RDWR);

	snprintf(drive, sizeof(drive), "file=%s,format=raw,if=ide,readonly=on,snapshot=on", image);
	for (int fd = 0; fd < 3; fd++)
		(void)dup2(null, fd);
	execlp(qemu, qemu, "-machine", "pc,accel=kvm", "-m", "32", "-display", "none", "-nodefaults", "-no-reboot",
	       "-drive", drive, "-device", "isa-debug-exit,iobase=" PROBE_PORT ",iosize=1", NULL);
	_exit(NOT_RUN);
}

static enum answer guest_runs(const char *qemu, const char *image)
{
	pid_t pid = fork();
	struct pollfd p = { .events = POLLIN };
	int status;

	if (pid < 0)
		return UNKNOWN;
	if (pid == 0)
		exec_probe(qemu, image);
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0 || poll(&p, 1, PROBE_MS) != 1)
		(void)kill(pid, SIGKILL);
	if (p.fd >= 0)
		close(p.fd);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) == NOT_RUN)
		return UNKNOWN;
	return WEXITSTATUS(status) == PROBE_VALUE * 2 + 1 ? RUNS : DOES_NOT;
}

static enum answer probe(const char *qemu, const char *cache_path)
{
	uint8_t sector[512] = { 0 };
	char image[PATH_MAX];
	enum answer answer;

	memcpy(sector, guest_code, sizeof(guest_code));
	sector[510] = 0x55;
	sector[511] = 0xaa;
	snprintf(image, sizeof(image), "%s.probe.%d", cache_path, (int)getpid());
	if (fileio_replace(image, sector, sizeof(sector), 0600))
		return UNKNOWN;
	answer = guest_runs(qemu, image);
	(void)unlink(image);
	return answer;
}

static enum answer look(const char *cache_path, const char *boot)
{
	char line[80];

	if (fileio_read_line(cache_path, line, sizeof(line)) || strncmp(line, boot, strlen(boot)) != 0)
		return UNKNOWN;
	return strstr(line, " kvm") ? RUNS : DOES_NOT;
}

static void write_down(const char *cache_path, const char *boot, enum answer answer)
{
	char line[80];

	snprintf(line, sizeof(line), "%s %s\n", boot, answer == RUNS ? "kvm" : "tcg");
	(void)!fileio_replace(cache_path, line, strlen(line), 0600);
}

/* K1.  Without the lock, as in a folder that is not this process's, it is only slower. */
static int lock(const char *cache_path)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s", cache_path);
	if (strrchr(path, '/')) {
		*strrchr(path, '/') = 0;
		(void)!fileio_mkdirs(path, 0755);
	}
	snprintf(path, sizeof(path), "%s.lock", cache_path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (fd >= 0 && flock(fd, LOCK_EX) && errno == EINTR)
		;
	return fd;
}

const char *kvm_accelerator(const char *qemu, const char *cache_path)
{
	enum answer answer;
	char boot[64] = "";
	int fd;

	if (access("/dev/kvm", R_OK | W_OK))
		return "tcg";
	(void)!fileio_read_line("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
	answer = look(cache_path, boot);
	if (answer != UNKNOWN)
		return answer == RUNS ? "kvm" : "tcg";
	fd = lock(cache_path);
	answer = look(cache_path, boot);
	if (answer == UNKNOWN) {
		answer = probe(qemu, cache_path);
		if (answer != UNKNOWN) /* K2 */
			write_down(cache_path, boot, answer);
	}
	if (fd >= 0)
		close(fd);
	return answer == RUNS ? "kvm" : "tcg";
}
