/* SPDX-License-Identifier: Apache-2.0 */
/*
 * line - the TLS connection of a session, with a ring of bytes each way.
 *
 *	socket --> TLS --> input ring --> session
 *	socket <-- TLS <-- output ring <--
 *
 * At first line_pump() moves the bytes when it is called.  After line_start()
 * a thread of its own does, so that the network goes on while the session
 * checks, writes and syncs; then the session's thread only touches the rings,
 * and sleeps on line_event_fd().
 */
#ifndef GODWIT_LINE_H
#define GODWIT_LINE_H

#include "base.h"
#include "tls.h"

/* What can arrive while an epoch is being synced. */
#define LINE_INPUT_BYTES (16 * MIB)
#define LINE_OUTPUT_BYTES (256 * KIB)

struct line;

/* The socket and the shaken-hands tls stay the caller's. */
_must_check_ int line_new(struct tls *tls, int socket_fd, struct line **ret);
void line_free(struct line *l); /* ends the thread first */

_must_check_ int line_start(struct line *l); /* the thread */
bool line_is_started(const struct line *l);

/* Without the thread: all that can be moved without waiting; then what to
 * poll the socket for. */
void line_pump(struct line *l, short *ret_events);

const uint8_t *line_input(struct line *l, size_t *ret_len);
void line_taken(struct line *l, size_t n);

/* Returns how much of it found room. */
size_t line_send(struct line *l, const void *bytes, size_t len);
bool line_is_flushed(struct line *l);

/* Readable when input has come, output has gone, or the line has ended;
 * line_clear_event() before looking. */
int line_event_fd(const struct line *l);
void line_clear_event(struct line *l);

/* No more input will come than line_input() has: 1 the peer closed in order,
 * -errno otherwise, with a text; 0 while the line is up. */
int line_ended(struct line *l, const char **ret_text);

#endif
