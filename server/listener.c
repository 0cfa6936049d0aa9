/* SPDX-License-Identifier: Apache-2.0 */
#include "listener.h"
#include "fileio.h"
#include "intake.h"
#include "log.h"
#include "wallclock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKLOG 512
#define ACCEPTS_A_TURN 16
#define ACCEPT_PAUSE_US USEC_PER_SEC /* when descriptors or memory have run out */
#define ADDRESS_TEXT_MAX (INET6_ADDRSTRLEN + 8)

/* Lines about strangers: so many at once, then one a second; about a crowd of
 * them, one so often. */
#define STRANGER_LINES_BURST 50u
#define CROWD_LINE_EVERY_US (10 * USEC_PER_SEC)

enum guest_state { GREETING, WAITING, INSIDE, LEAVING };

struct guest {
	struct listener *listener;
	struct guest *next;
	enum guest_state state;
	pid_t pid;
	int control_fd; /* -1: closed */
	uint64_t since_us;
	bool asked_to_end;
	bool was_inside;
	uint8_t address[16]; /* what is counted for LISTENER_GREETINGS_PER_ADDRESS_MAX */
	char peer[ADDRESS_TEXT_MAX];
	struct uuid machine; /* from WAITING on */
	uint8_t key[16];     /* likewise */
	char name[REGISTRY_NAME_MAX + 1];
	struct session_figures figures;
	struct loop_timer kill_timer;
};

struct line_bucket {
	uint64_t credit_us; /* STRANGER_LINES_BURST seconds are full */
	uint64_t left_out;
};

struct listener {
	struct listener_options o;
	int fd;
	uint16_t port;
	bool shut;
	struct guest *guests;
	size_t guest_count;
	struct loop_timer accept_again;
	struct line_bucket strangers, bad_certificates;
	uint64_t crowd_said_us, crowd_count; /* turned away since then */
};

/* --- what is said of strangers ----------------------------------------------------- */

static bool may_log(struct line_bucket *b)
{
	uint64_t now = monotonic_now_us(), full = STRANGER_LINES_BURST * USEC_PER_SEC;

	if (b->credit_us + full < now)
		b->credit_us = now - full;
	if (b->credit_us + USEC_PER_SEC > now) {
		b->left_out++;
		return false;
	}
	b->credit_us += USEC_PER_SEC;
	if (b->left_out)
		log_warn("%llu more connections were turned away", (unsigned long long)b->left_out);
	b->left_out = 0;
	return true;
}

static void log_crowd(struct listener *l, const char *peer)
{
	uint64_t now = monotonic_now_us();

	l->crowd_count++;
	if (l->crowd_said_us && now - l->crowd_said_us < CROWD_LINE_EVERY_US)
		return;
	log_warn("%s: turned away: too many connections that have not said who they are (%llu)", peer,
		 (unsigned long long)l->crowd_count);
	l->crowd_said_us = now;
	l->crowd_count = 0;
}

/* --- guests ------------------------------------------------------------------------ */

static const char *guest_name(const struct guest *g)
{
	return g->name[0] ? g->name : "a stranger";
}

static void forget_guest(struct guest *g)
{
	struct listener *l = g->listener;

	for (struct guest **p = &l->guests; *p; p = &(*p)->next) {
		if (*p == g) {
			*p = g->next;
			break;
		}
	}
	l->guest_count--;
	loop_clear_timer(l->o.loop, &g->kill_timer);
	if (g->control_fd >= 0) {
		loop_unwatch(l->o.loop, g->control_fd);
		close(g->control_fd);
	}
	free(g);
}

static void kill_guest(void *context)
{
	struct guest *g = context;

	if (g->was_inside)
		log_warn("%s: %s: the session did not end in time and is killed", g->peer, guest_name(g));
	(void)kill(g->pid, SIGKILL);
}

static int tell_guest(struct guest *g, enum control_type type, enum wire_refusal reason, const char *text)
{
	struct control_message m = { .type = type, .reason = (uint16_t)reason };

	snprintf(m.text, sizeof(m.text), "%s", text);
	return control_send(g->control_fd, &m);
}

static void end_guest(struct guest *g, enum wire_refusal reason, const char *text)
{
	if (g->asked_to_end || g->state == LEAVING)
		return;
	g->asked_to_end = true;
	loop_set_timer(g->listener->o.loop, &g->kill_timer, monotonic_now_us() + LISTENER_END_GRACE_US);
	if (tell_guest(g, g->state == WAITING ? CONTROL_KEEP_OUT : CONTROL_END, reason, text))
		(void)kill(g->pid, SIGKILL);
}

/* --- who comes in -------------------------------------------------------------------- */

static const struct guest *find_inside(const struct listener *l, const struct uuid *machine)
{
	for (const struct guest *g = l->guests; g; g = g->next) {
		if (g->state == INSIDE && uuid_equal(&g->machine, machine))
			return g;
	}
	return NULL;
}

bool listener_is_inside(const struct listener *l, const struct uuid *machine)
{
	return find_inside(l, machine) != NULL;
}

static int make_store_folder(const struct listener *l, const struct uuid *machine)
{
	char id[UUID_TEXT_LEN + 1], dir[4096];

	if (snprintf(dir, sizeof(dir), "%s/%s", l->o.store_root, uuid_format(machine, id)) >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	return fileio_mkdirs(dir, 0700);
}

/* L1. */
static void let_in_if_free(struct guest *g)
{
	struct listener *l = g->listener;
	int err;

	assert(g->state == WAITING);
	if (g->asked_to_end || find_inside(l, &g->machine))
		return;
	err = make_store_folder(l, &g->machine);
	if (err) {
		log_error("%s: the store's folder cannot be made: %s", guest_name(g), strerror(-err));
		end_guest(g, err == -ENOSPC ? WIRE_REFUSED_STAGING_FULL : WIRE_REFUSED_STORE,
			  "the store's folder cannot be made");
		return;
	}
	if (tell_guest(g, CONTROL_LET_IN, 0, ""))
		return;
	g->state = INSIDE;
	g->was_inside = true;
	log_info("%s: %s is connected", g->peer, guest_name(g));
	l->o.begun(l->o.context, &g->machine);
}

static void let_in_next(struct listener *l, const struct uuid *machine)
{
	for (struct guest *g = l->guests; g; g = g->next) {
		if (g->state == WAITING && !g->asked_to_end && uuid_equal(&g->machine, machine)) {
			let_in_if_free(g);
			return;
		}
	}
}

/* L2. */
static void end_older(struct guest *newest)
{
	for (struct guest *g = newest->listener->guests; g; g = g->next) {
		if (g == newest || !uuid_equal(&g->machine, &newest->machine) ||
		    (g->state != INSIDE && g->state != WAITING))
			continue;
		log_info("%s: %s has a newer connection from %s", g->peer, guest_name(g), newest->peer);
		end_guest(g, WIRE_REFUSED_BUSY, "a newer connection of this machine has taken over");
	}
}

/* The newest is the one that was accepted last, whichever said first who it is:
 * one that a dead agent left behind may be slow to say it.  Guests are listed
 * newest first. */
static bool has_newer(const struct guest *g)
{
	for (const struct guest *n = g->listener->guests; n != g; n = n->next)
		if (uuid_equal(&n->machine, &g->machine) && (n->state == INSIDE || n->state == WAITING) &&
		    !n->asked_to_end)
			return true;
	return false;
}

/* L4; NULL: it may be in. */
static const char *why_not(const struct machine *m, const struct guest *g)
{
	if (!m || m->state == MACHINE_REMOVED)
		return "this machine is not known to this server";
	if (m->has_key && memcmp(m->key, g->key, sizeof(m->key)) != 0)
		return "its key is not the one that this machine was enrolled with last";
	if (m->state == MACHINE_STARTED)
		return NULL;
	return m->state == MACHINE_PAUSED ? "replication of this machine is paused" :
					    "replication of this machine is stopped";
}

static void take_admit(struct guest *g, const struct control_message *c)
{
	struct listener *l = g->listener;
	const struct machine *m = registry_find(l->o.registry, &c->machine);
	const char *why;

	if (g->state != GREETING || g->asked_to_end)
		return;
	g->machine = c->machine;
	memcpy(g->key, c->key, sizeof(g->key));
	why = why_not(m, g);
	g->state = WAITING;
	snprintf(g->name, sizeof(g->name), "%s", m ? m->name : "an unknown machine");
	if (l->shut) {
		end_guest(g, WIRE_REFUSED_SHUTDOWN, "the server is stopping");
	} else if (why) {
		end_guest(g, WIRE_REFUSED_UNKNOWN, why);
	} else if (has_newer(g)) {
		end_guest(g, WIRE_REFUSED_BUSY, "a newer connection of this machine is there");
	} else {
		end_older(g);
		let_in_if_free(g);
	}
}

void listener_check_machines(struct listener *l)
{
	for (struct guest *g = l->guests; g; g = g->next) {
		const char *why = why_not(registry_find(l->o.registry, &g->machine), g);

		if ((g->state == WAITING || g->state == INSIDE) && why)
			end_guest(g, WIRE_REFUSED_UNKNOWN, why);
	}
}

/* --- how it ends ----------------------------------------------------------------------- */

static void log_end(struct guest *g, const struct control_message *m)
{

	struct listener *l = g->listener;

	/* Who has been refused with a reason had a certificate of ours.  Bad ones
	 * are told apart from noise: it may be an agent whose own has expired. */
	if (!g->was_inside && !m->reason &&
	    !may_log(m->err == -EKEYREJECTED ? &l->bad_certificates : &l->strangers))
		return;
	if (m->reason && m->err)
		log_warn("%s: %s is refused: %s: %s", g->peer, guest_name(g), wire_refusal_name(m->reason), m->text);
	else if (m->reason)
		log_info("%s: %s is refused: %s: %s", g->peer, guest_name(g), wire_refusal_name(m->reason), m->text);
	else if (!g->was_inside)
		log_warn("%s: %s is turned away: %s", g->peer, guest_name(g), m->text[0] ? m->text : strerror(-m->err));
	else
		log_info("%s: %s is disconnected: %s; %llu bytes came, epoch %llu is durable", g->peer, guest_name(g),
			 m->text, (unsigned long long)m->figures.received_bytes,
			 (unsigned long long)m->figures.durable_epoch);
}

/* The store is closed, or its writer is dead: the next may have it. */
static void take_ended(struct guest *g, const struct control_message *m)
{
	struct listener *l = g->listener;
	bool was_inside = g->state == INSIDE;

	if (g->state == LEAVING)
		return;
	g->state = LEAVING;
	log_end(g, m);
	if (was_inside)
		l->o.ended(l->o.context, &g->machine, m);
	let_in_next(l, &g->machine);
}

static void close_control(struct guest *g)
{
	loop_unwatch(g->listener->o.loop, g->control_fd);
	close(g->control_fd);
	g->control_fd = -1;
}

/* The control socket has closed, or holds what is no message: it is over
 * either way; the process follows. */
static void cut_off(struct guest *g)
{
	close_control(g);
	(void)kill(g->pid, SIGKILL);
}

static void take_lost(struct guest *g, const struct control_message *m)
{
	if (g->state == INSIDE)
		g->listener->o.lost(g->listener->o.context, &g->machine, m->text);
}

static void hear_guest(void *context, uint32_t events)
{
	struct guest *g = context;
	struct listener *l = g->listener;
	struct control_message m;
	int err = control_receive(g->control_fd, &m);

	if (err == -EAGAIN)
		return;
	if (err) {
		cut_off(g);
		return;
	}
	switch (m.type) {
	case CONTROL_ADMIT:
		take_admit(g, &m);
		break;
	case CONTROL_FIGURES:
		g->figures = m.figures;
		if (g->state == INSIDE)
			l->o.progress(l->o.context, &g->machine, &m.figures);
		break;
	case CONTROL_LOST:
		take_lost(g, &m);
		break;
	case CONTROL_ENDED:
		take_ended(g, &m);
		break;
	default:
		cut_off(g);
	}
}

bool listener_reaped(struct listener *l, pid_t pid, int status)
{
	struct control_message m = { .type = CONTROL_ENDED };
	struct guest *g = l->guests;

	while (g && g->pid != pid)
		g = g->next;
	if (!g)
		return false;
	/* What it said last may still be in the socket. */
	while (g->control_fd >= 0 && g->state != LEAVING && control_receive(g->control_fd, &m) == 0) {
		if (m.type == CONTROL_LOST)
			take_lost(g, &m);
		if (m.type == CONTROL_ENDED)
			take_ended(g, &m);
	}
	if (g->state != LEAVING) {
		m = (struct control_message){ .type = CONTROL_ENDED, .figures = g->figures };
		if (WIFSIGNALED(status))
			snprintf(m.text, sizeof(m.text), "the session's process was killed by signal %d",
				 WTERMSIG(status));
		else
			snprintf(m.text, sizeof(m.text), "the session's process ended with status %d",
				 WEXITSTATUS(status));
		take_ended(g, &m);
	}
	forget_guest(g);
	return true;
}

/* --- accepting --------------------------------------------------------------------------- */

/* What LISTENER_GREETINGS_PER_ADDRESS_MAX counts, and the text for people. */
static void describe_address(const struct sockaddr_storage *a, uint8_t ret_key[16], char ret_text[ADDRESS_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN] = "?";

	memset(ret_key, 0, 16);
	if (a->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)a;

		memcpy(ret_key, &in->sin_addr, 4);
		(void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(ret_text, ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(in->sin_port));
		return;
	}
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;

	(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		memcpy(ret_key, &in6->sin6_addr.s6_addr[12], 4);
		snprintf(ret_text, ADDRESS_TEXT_MAX, "%.15s:%u", host + strlen("::ffff:"), ntohs(in6->sin6_port));
	} else {
		memcpy(ret_key, &in6->sin6_addr, 8);
		snprintf(ret_text, ADDRESS_TEXT_MAX, "[%.45s]:%u", host, ntohs(in6->sin6_port));
	}
}

/* L3.  At the limit of all, the one that has greeted longest makes room; at
 * the limit of one address, the newcomer of that address does. */
static bool may_greet(struct listener *l, const uint8_t key[16])
{
	unsigned int all = 0, same = 0;
	struct guest *oldest = NULL;

	for (struct guest *g = l->guests; g; g = g->next) {
		if (g->state != GREETING || g->asked_to_end)
			continue;
		all++;
		same += memcmp(g->address, key, 16) == 0;
		if (!oldest || g->since_us < oldest->since_us)
			oldest = g;
	}
	if (same >= LISTENER_GREETINGS_PER_ADDRESS_MAX || l->guest_count >= LISTENER_SESSIONS_MAX)
		return false;
	if (all >= LISTENER_GREETINGS_MAX) {
		oldest->asked_to_end = true;
		(void)kill(oldest->pid, SIGKILL);
	}
	return true;
}

static void __attribute__((noreturn)) run_guest(const struct listener *l, int socket_fd, int control_fd)
{
	const int keep[2] = { MIN(socket_fd, control_fd), MAX(socket_fd, control_fd) };
	struct intake_options o = {
		.socket_fd = socket_fd, .control_fd = control_fd, .tls = l->o.tls, .store_root = l->o.store_root
	};
	sigset_t none;

	(void)close_range(3, (unsigned int)keep[0] - 1, 0);
	(void)close_range((unsigned int)keep[0] + 1, (unsigned int)keep[1] - 1, 0);
	(void)close_range((unsigned int)keep[1] + 1, ~0u, 0);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	_exit(intake_run(&o));
}

static int start_guest(struct listener *l, struct guest *g, int socket_fd)
{
	int fds[2], err = control_pair(fds);

	if (err)
		return err;
	err = loop_watch(l->o.loop, fds[0], EPOLLIN, hear_guest, g);
	if (!err) {
		g->pid = fork();
		if (g->pid == 0)
			run_guest(l, socket_fd, fds[1]);
		err = g->pid < 0 ? -errno : 0;
	}
	close(fds[1]);
	if (err) {
		loop_unwatch(l->o.loop, fds[0]);
		close(fds[0]);
		return err;
	}
	g->control_fd = fds[0];
	return 0;
}

static int welcome_guest(struct listener *l, int socket_fd, const struct sockaddr_storage *from)
{
	struct guest *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	g->listener = l;
	g->since_us = monotonic_now_us();
	g->kill_timer.fire = kill_guest;
	g->kill_timer.context = g;
	describe_address(from, g->address, g->peer);
	if (!may_greet(l, g->address)) {
		log_crowd(l, g->peer);
		free(g);
		return 0;
	}
	err = start_guest(l, g, socket_fd);
	if (err) {
		free(g);
		return err;
	}
	g->next = l->guests;
	l->guests = g;
	l->guest_count++;
	return 0;
}

static void accept_guests(void *context, uint32_t events);

static void accept_again(void *context)
{
	struct listener *l = context;

	if (!l->shut && loop_watch(l->o.loop, l->fd, EPOLLIN, accept_guests, l))
		loop_set_timer(l->o.loop, &l->accept_again, monotonic_now_us() + ACCEPT_PAUSE_US);
}

static void pause_accepting(struct listener *l, int err)
{
	log_error("connections wait: %s", strerror(-err));
	loop_unwatch(l->o.loop, l->fd);
	loop_set_timer(l->o.loop, &l->accept_again, monotonic_now_us() + ACCEPT_PAUSE_US);
}

static void accept_guests(void *context, uint32_t events)
{
	struct listener *l = context;

	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		int one = 1, err, fd;

		fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
			pause_accepting(l, -errno);
		if (fd < 0)
			return;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
		err = welcome_guest(l, fd, &from);
		close(fd);
		if (err) {
			pause_accepting(l, err);
			return;
		}
	}
}

/* --- the whole ------------------------------------------------------------------------------ */

static int listen_on(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, zero = 0, err;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (a->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* All addresses means both families where the kernel has both. */
static int open_socket(const char *address, uint16_t port)
{
	const char *const any[] = { "::", "0.0.0.0" };
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
				  .ai_socktype = SOCK_STREAM };
	int fd = -EADDRNOTAVAIL;
	char service[8];

	snprintf(service, sizeof(service), "%u", port);
	for (unsigned int i = 0; i < (address ? 1 : ARRAY_LEN(any)) && fd < 0; i++) {
		struct addrinfo *a;

		if (getaddrinfo(address ? address : any[i], service, &hints, &a))
			return -EADDRNOTAVAIL;
		fd = listen_on(a);
		freeaddrinfo(a);
		if (fd == -EADDRINUSE)
			break;
	}
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);

	(void)getsockname(fd, (struct sockaddr *)&a, &len);
	return a.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&a)->sin_port) :
					ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
}

int listener_new(const struct listener_options *o, struct listener **ret)
{
	struct listener *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->o = *o;
	l->accept_again.fire = accept_again;
	l->accept_again.context = l;
	l->fd = open_socket(o->address, o->port);
	err = l->fd < 0 ? l->fd : loop_watch(o->loop, l->fd, EPOLLIN, accept_guests, l);
	if (err) {
		if (l->fd >= 0)
			close(l->fd);
		free(l);
		return err;
	}
	l->port = port_of(l->fd);
	*ret = l;
	return 0;
}

uint16_t listener_port(const struct listener *l)
{
	return l->port;
}

void listener_shut(struct listener *l)
{
	if (l->shut)
		return;
	l->shut = true;
	loop_clear_timer(l->o.loop, &l->accept_again);
	loop_unwatch(l->o.loop, l->fd);
	close(l->fd);
	l->fd = -1;
	for (struct guest *g = l->guests; g; g = g->next)
		end_guest(g, WIRE_REFUSED_SHUTDOWN, "the server is stopping");
}

bool listener_is_idle(const struct listener *l)
{
	return !l->guests;
}

void listener_free(struct listener *l)
{
	if (!l)
		return;
	listener_shut(l);
	while (l->guests) {
		struct guest *g = l->guests;

		(void)kill(g->pid, SIGKILL);
		(void)waitpid(g->pid, NULL, 0);
		forget_guest(g);
	}
	free(l);
}
