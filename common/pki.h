/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pki - keys, certificates and installation tokens.
 *
 * The console is the CA.  Every program has a key pair made where it runs and
 * a certificate of the console's; the subject's common name is its role and
 * id, "agent:<uuid>", "server:<uuid>", "console".
 *
 * An installation token is 64 hex digits in 16 groups: the first 16 bytes are
 * the start of the SHA-256 of the CA's public key (DER SubjectPublicKeyInfo),
 * the last 16 are the secret.  So whoever has a token can check that it talks
 * to the console that made it, before it sends the secret.
 */
#ifndef GODWIT_PKI_H
#define GODWIT_PKI_H

#include "base.h"
#include "uuid.h"

#define PKI_TOKEN_TEXT_LEN 79
struct pki_token {
	uint8_t ca_pin[16], secret[16];
};
char *pki_token_format(const struct pki_token *t, char *ret_text); /* upper case; room for PKI_TOKEN_TEXT_LEN + 1 */
_must_check_ int pki_token_parse(const char *text, struct pki_token *ret);

/* A new P-256 key in @key_path (mode 0600), unless one is there. */
_must_check_ int pki_make_key(const char *key_path);

/* A self-signed CA certificate, 20 years, in @cert_path unless it is there. */
_must_check_ int pki_make_ca(const char *key_path, const char *cert_path);

/* A signing request for the key, PEM, to be freed. */
_must_check_ int pki_make_request(const char *key_path, const char *common_name, char **ret_pem);

/*
 * Sign @request_pem with the CA; the common name is @common_name whatever the
 * request says; @alt_names are host names and addresses for a server's
 * certificate, NULL-terminated, or NULL.  It ends no later than the CA's, and
 * began an hour ago, since clocks differ.  An agent's certificate is good for
 * calling only, the console's for being called, a server's for both.  PEM, to
 * be freed.  -EBADMSG: not a request, or not signed with its own key.
 */
_must_check_ int pki_sign(const char *ca_key_path, const char *ca_cert_path, const char *request_pem,
			  const char *common_name, const char *const *alt_names, unsigned int days, char **ret_pem);

/* A pin: the first 16 bytes of the SHA-256 of the certificate's public key.  -EBADMSG: it has none. */
#define PKI_PIN_BYTES 16
#define PKI_PIN_TEXT_LEN 32
struct x509_st;
_must_check_ int pki_pin_certificate(const struct x509_st *cert, uint8_t ret_pin[16]);
char *pki_pin_format(const uint8_t pin[16], char ret_text[PKI_PIN_TEXT_LEN + 1]); /* lower case */
_must_check_ int pki_pin_parse(const char *text, uint8_t ret_pin[16]); /* -EINVAL: not 32 hex digits */
_must_check_ int pki_pin(const char *cert_path, uint8_t ret_pin[16]);
_must_check_ int pki_pin_pem(const char *cert_pem, uint8_t ret_pin[16]);

#endif
