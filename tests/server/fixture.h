/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fixture - a real godwit-server on a port of its own, with a CA, two
 * machines ("one" and "two"), and its log as a stream of events.
 */
#ifndef GODWIT_TEST_FIXTURE_H
#define GODWIT_TEST_FIXTURE_H

#include "base.h"
#include "peer.h"
#include "tls.h"
#include "uuid.h"
#include <sys/types.h>

#define FIXTURE_WAIT_MS 30000

struct fixture {
	char dir[256];
	pid_t pid;
	int log_fd; /* the server's standard error */
	char log[1 << 16];
	size_t log_len;
	char line[4096]; /* the last one taken */
	uint16_t port;
	struct uuid machines[2];
	struct tls_context *tls[2]; /* of their certificates */
	uint8_t keys[2][16];	    /* their pins */
};

/* @dir: NULL for a new one under /tmp.  Exits the test program if it cannot be. */
void fixture_start(struct fixture *f, const char *dir);

/* SIGTERM and wait for a clean end, then remove the folder: 0, or the server's status. */
int fixture_stop(struct fixture *f);

/* kill -9; fixture_run() again on the same folder. */
void fixture_kill(struct fixture *f);
void fixture_run(struct fixture *f);

/* Wait until the log has a line that contains @text, and take all lines up to
 * it: true, or false at the deadline. */
bool fixture_wait_log(struct fixture *f, const char *text);

/* A context of a certificate for @common_name, signed by the CA, or by another
 * one, valid from now on for @days (0: it has expired). */
enum fixture_signer { SIGNED, SIGNED_BY_STRANGER };
struct tls_context *fixture_certificate(struct fixture *f, const char *common_name, enum fixture_signer signer,
					int days);

/* Who the server lets in: states of machine one and two. */
void fixture_set_states(struct fixture *f, const char *one, const char *two); /* and SIGHUP */

/* Machine @machine gets another key, and the server hears of it; the context of the older one, to be freed. */
struct tls_context *fixture_enrol_anew(struct fixture *f, unsigned int machine);

char *fixture_store(const struct fixture *f, unsigned int machine, char *buf, size_t size);

#endif
