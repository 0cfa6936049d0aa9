/* SPDX-License-Identifier: Apache-2.0 */
/* httpd - HTTPS: connections to requests, requests to the router, answers back. */
#ifndef GODWIT_CONSOLE_HTTPD_H
#define GODWIT_CONSOLE_HTTPD_H

#include "console.h"
#include "message.h"

struct httpd;

/* A listening socket; @address NULL: every address.  -errno with @ret_fault. */
_must_check_ int httpd_listen(const char *address, unsigned int port, int *ret_fd, unsigned int *ret_port,
			      struct fault *ret_fault);

/* Serve on @fd, which it takes. */
_must_check_ int httpd_start(struct console *c, int fd, const char *key_pem, const char *chain_pem,
			     const char *ca_pem, struct httpd **ret);

/* No new connections; waits for those that are being answered: live_stop() first. */
void httpd_stop(struct httpd *h);

#endif
