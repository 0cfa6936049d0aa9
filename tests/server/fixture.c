/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"
#include "fileio.h"
#include "pki.h"
#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef GODWIT_SERVER
#error "the build says where godwit-server is"
#endif

static void give_up(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void give_up(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static char *in_dir(const struct fixture *f, const char *name, char buf[512])
{
	snprintf(buf, 512, "%s/%s", f->dir, name);
	return buf;
}

static void save(const struct fixture *f, const char *name, const char *text)
{
	char path[512];

	if (fileio_replace(in_dir(f, name, path), text, strlen(text), 0600))
		give_up("%s cannot be written", path);
}

/* @name.key and @name.crt, signed with @ca.key and @ca.crt. */
static void certify(const struct fixture *f, const char *name, const char *ca, const char *common_name, int days)
{
	char file[128], key[512], ca_key[512], ca_crt[512], *request, *pem;

	snprintf(file, sizeof(file), "%s.key", ca);
	in_dir(f, file, ca_key);
	snprintf(file, sizeof(file), "%s.crt", ca);
	in_dir(f, file, ca_crt);
	snprintf(file, sizeof(file), "%s.key", name);
	in_dir(f, file, key);
	if (pki_make_key(ca_key) || pki_make_ca(ca_key, ca_crt) || pki_make_key(key) ||
	    pki_make_request(key, common_name, &request) ||
	    pki_sign(ca_key, ca_crt, request, common_name, NULL, (unsigned int)days, &pem))
		give_up("no certificate for %s", common_name);
	snprintf(file, sizeof(file), "%s.crt", name);
	save(f, file, pem);
	free(request);
	free(pem);
}

static struct tls_context *make_certificate(struct fixture *f, const char *common_name, enum fixture_signer signer,
					    int days, uint8_t ret_pin[16])
{
	static unsigned int serial;
	char name[64], file[96], key[512], crt[512], ca[512];
	struct tls_context *c;

	snprintf(name, sizeof(name), "peer-%u", serial++);
	certify(f, name, signer == SIGNED ? "ca" : "stranger", common_name, days);
	snprintf(file, sizeof(file), "%s.key", name);
	in_dir(f, file, key);
	snprintf(file, sizeof(file), "%s.crt", name);
	if (tls_context_new(key, in_dir(f, file, crt), in_dir(f, "ca.crt", ca), &c) || pki_pin(crt, ret_pin))
		give_up("no TLS context for %s", common_name);
	return c;
}

struct tls_context *fixture_certificate(struct fixture *f, const char *common_name, enum fixture_signer signer,
					int days)
{
	uint8_t pin[16];

	return make_certificate(f, common_name, signer, days, pin);
}

static void certify_machine(struct fixture *f, unsigned int machine)
{
	char name[80], id[UUID_TEXT_LEN + 1];

	snprintf(name, sizeof(name), "agent:%s", uuid_format(&f->machines[machine], id));
	f->tls[machine] = make_certificate(f, name, SIGNED, 10, f->keys[machine]);
}

static void write_machines(struct fixture *f, const char *one, const char *two)
{
	char a[UUID_TEXT_LEN + 1], b[UUID_TEXT_LEN + 1], text[512];
	char key_a[PKI_PIN_TEXT_LEN + 1], key_b[PKI_PIN_TEXT_LEN + 1];

	snprintf(text, sizeof(text),
		 "{\"machines\": [{\"id\": \"%s\", \"name\": \"one\", \"state\": \"%s\", \"key\": \"%s\"},"
		 " {\"id\": \"%s\", \"name\": \"two\", \"state\": \"%s\", \"key\": \"%s\"}]}",
		 uuid_format(&f->machines[0], a), one, pki_pin_format(f->keys[0], key_a),
		 uuid_format(&f->machines[1], b), two, pki_pin_format(f->keys[1], key_b));
	save(f, "machines.json", text);
}

void fixture_set_states(struct fixture *f, const char *one, const char *two)
{
	write_machines(f, one, two);
	(void)kill(f->pid, SIGHUP);
}

struct tls_context *fixture_enrol_anew(struct fixture *f, unsigned int machine)
{
	struct tls_context *older = f->tls[machine];

	certify_machine(f, machine);
	fixture_set_states(f, "started", "started");
	return older;
}

bool fixture_wait_log(struct fixture *f, const char *text)
{
	uint64_t deadline = monotonic_now_us() + FIXTURE_WAIT_MS * 1000ULL;

	for (;;) {
		char *end;
		uint64_t now = monotonic_now_us();
		struct pollfd p = { .fd = f->log_fd, .events = POLLIN };
		ssize_t n;

		while ((end = memchr(f->log, '\n', f->log_len))) {
			bool found;

			*end = 0;
			found = strstr(f->log, text) != NULL;
			fprintf(stderr, "    %s\n", f->log);
			snprintf(f->line, sizeof(f->line), "%.*s", (int)sizeof(f->line) - 1, f->log);
			f->log_len -= (size_t)(end + 1 - f->log);
			memmove(f->log, end + 1, f->log_len);
			if (found)
				return true;
		}
		if (now >= deadline || poll(&p, 1, (int)((deadline - now) / 1000 + 1)) <= 0)
			return false;
		n = read(f->log_fd, f->log + f->log_len, sizeof(f->log) - f->log_len);
		if (n <= 0)
			return false;
		f->log_len += (size_t)n;
	}
}

/* "... listens on 127.0.0.1, port N" */
static void read_port(struct fixture *f)
{
	const char *at;

	if (!fixture_wait_log(f, "listens on"))
		give_up("the server did not start");
	at = strstr(f->line, "port ");
	f->port = (uint16_t)(at ? atoi(at + strlen("port ")) : 0);
}

void fixture_run(struct fixture *f)
{
	char machines[512];
	int fds[2];

	in_dir(f, "machines.json", machines);
	if (pipe2(fds, O_CLOEXEC))
		give_up("no pipe");
	f->pid = fork();
	if (f->pid == 0) {
		const char *argv[] = { GODWIT_SERVER, "run",	    "--state", f->dir, "--listen", "127.0.0.1",
				       "--port",      "0",	    "--machines", machines, NULL };

		(void)setpgid(0, 0); /* one group with its sessions: they can be killed together */
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		(void)dup2(fds[1], 2);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	(void)setpgid(f->pid, f->pid);
	close(fds[1]);
	f->log_fd = fds[0];
	f->log_len = 0;
	read_port(f);
}

void fixture_start(struct fixture *f, const char *dir)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "%s", dir ? dir : "/tmp/godwit-test-server-XXXXXX");
	if (!dir && !mkdtemp(f->dir))
		give_up("no folder");
	certify(f, "server", "ca", "server:6f2d6c1e-4c1c-4b7a-9df0-0c2c3e1f7a55", 10);
	for (unsigned int i = 0; i < 2; i++) {
		f->machines[i] = uuid_random();
		certify_machine(f, i);
	}
	write_machines(f, "started", "started");
	fixture_run(f);
}

static int wait_end(struct fixture *f)
{
	int status = 0;

	(void)waitpid(f->pid, &status, 0);
	f->pid = 0;
	close(f->log_fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void fixture_kill(struct fixture *f)
{
	(void)kill(f->pid, SIGKILL);
	(void)wait_end(f);
}

static void remove_folder(const char *dir)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("rm", "rm", "-rf", "--one-file-system", dir, NULL);
		_exit(127);
	}
	(void)waitpid(pid, NULL, 0);
}

int fixture_stop(struct fixture *f)
{
	int status = 0;

	if (f->pid) {
		(void)kill(f->pid, SIGTERM);
		(void)fixture_wait_log(f, "stopped");
		status = wait_end(f);
	}
	for (int i = 0; i < 2; i++)
		tls_context_free(f->tls[i]);
	remove_folder(f->dir);
	return status;
}

char *fixture_store(const struct fixture *f, unsigned int machine, char *buf, size_t size)
{
	char id[UUID_TEXT_LEN + 1];

	snprintf(buf, size, "%s/store/%s", f->dir, uuid_format(&f->machines[machine], id));
	return buf;
}
