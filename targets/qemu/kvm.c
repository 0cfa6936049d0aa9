/* SPDX-License-Identifier: Apache-2.0 */
#include "kvm.h"
#include "fileio.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_MS 5000
#define PROBE_PORT "0xf4"
#define PROBE_VALUE 0x2a

/* mov al, PROBE_VALUE; out 0xf4, al; hlt; in a first sector with its signature.
 * The debug-exit device ends qemu with status value * 2 + 1. */
static const uint8_t guest_code[] = { 0xb0, PROBE_VALUE, 0xe6, 0xf4, 0xf4 };

static void __attribute__((noreturn)) exec_probe(const char *qemu, const char *image)
{
	char drive[360];
	int null = open("/dev/null", O_RDWR);

	snprintf(drive, sizeof(drive), "file=%s,format=raw,if=ide,readonly=on,snapshot=on", image);
	for (int fd = 0; fd < 3; fd++)
		(void)dup2(null, fd);
	execlp(qemu, qemu, "-machine", "pc,accel=kvm", "-m", "32", "-display", "none", "-nodefaults", "-no-reboot",
	       "-drive", drive, "-device", "isa-debug-exit,iobase=" PROBE_PORT ",iosize=1", NULL);
	_exit(127);
}

static bool guest_runs(const char *qemu, const char *image)
{
	pid_t pid = fork();
	struct pollfd p = { .events = POLLIN };
	int status;

	if (pid < 0)
		return false;
	if (pid == 0)
		exec_probe(qemu, image);
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0 || poll(&p, 1, PROBE_MS) != 1)
		(void)kill(pid, SIGKILL);
	if (p.fd >= 0)
		close(p.fd);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == PROBE_VALUE * 2 + 1;
}

static bool probe(const char *qemu, const char *image)
{
	uint8_t sector[512] = { 0 };
	bool runs;

	memcpy(sector, guest_code, sizeof(guest_code));
	sector[510] = 0x55;
	sector[511] = 0xaa;
	if (fileio_replace(image, sector, sizeof(sector), 0600))
		return false;
	runs = guest_runs(qemu, image);
	(void)unlink(image);
	return runs;
}

const char *kvm_accelerator(const char *qemu, const char *cache_path)
{
	char boot[64] = "", line[80], image[300];
	bool kvm;

	if (access("/dev/kvm", R_OK | W_OK))
		return "tcg";
	(void)!fileio_read_line("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
	if (fileio_read_line(cache_path, line, sizeof(line)) == 0 && strncmp(line, boot, strlen(boot)) == 0)
		return strstr(line, " kvm") ? "kvm" : "tcg";
	snprintf(image, sizeof(image), "%s", cache_path);
	if (strrchr(image, '/')) {
		*strrchr(image, '/') = 0;
		(void)!fileio_mkdirs(image, 0755);
	}
	snprintf(image, sizeof(image), "%s.probe", cache_path);
	kvm = probe(qemu, image);
	snprintf(line, sizeof(line), "%s %s\n", boot, kvm ? "kvm" : "tcg");
	(void)!fileio_replace(cache_path, line, strlen(line), 0600);
	return kvm ? "kvm" : "tcg";
}
