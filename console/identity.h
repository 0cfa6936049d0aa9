/* SPDX-License-Identifier: Apache-2.0 */
/* identity - who sends a request: a token's owner, or a certificate's. */
#ifndef GODWIT_CONSOLE_IDENTITY_H
#define GODWIT_CONSOLE_IDENTITY_H

#include "request.h"

/* Fill r->is, who, peer_id for a route that is not for everybody.  0, or the
 * status of the refusal. */
_must_check_ int identity_check(struct request *r);

/* For a route that is for everybody: r->is is WHO_ADMIN if an administrator's token came with the request, and
 * untouched if none did.  0, or the refusal of a wrong one. */
_must_check_ int identity_check_bearer(struct request *r);

/* What a connection's certificate was found to say, kept for its next requests:
 * made and freed with the connection. */
struct identity_memory;
struct identity_memory *identity_memory_new(void);
void identity_memory_free(struct identity_memory *m);

/* A wrong secret was shown: 429 if too many were, else @status and @code. */
int identity_wrong_secret(struct request *r, int status, enum message_code code);

/* SHA-256 of a token's 32 bytes: what the catalogue keeps of it. */
void identity_token_hash(const struct pki_token *t, uint8_t ret_hash[32]);

#endif
