/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message - everything a person may have to act on, in one table.
 *
 * messages.def holds code, severity, text and remedy in English and Japanese;
 * log, event log, CLI errors, diagnosis, console and manual are made from it.
 * Texts have named places, "{disk}", filled from name-value pairs; the pairs
 * travel with the code, so that whoever shows a message chooses the language.
 */
#ifndef GODWIT_MESSAGE_H
#define GODWIT_MESSAGE_H

#include "base.h"

enum message_code {
#define MSG(code, severity, en, en_remedy, ja, ja_remedy) MSG_##code,
#include "messages.def"
#undef MSG
	MSG_COUNT
};

enum message_severity { SEVERITY_INFO, SEVERITY_WARNING, SEVERITY_ERROR };
enum message_language { LANGUAGE_EN, LANGUAGE_JA };

struct message_arg {
	const char *name, *value;
};

const char *message_name(enum message_code code); /* "DISK_NOT_BLOCK" */
enum message_severity message_severity(enum message_code code);
_must_check_ int message_from_name(const char *name, enum message_code *ret);

/*
 * Fill @buf with the text, or with the remedy, always NUL-terminated; a place
 * without an argument is left as it is, so that it is seen.  @args ends with
 * a NULL name and may be NULL.  Returns @buf.
 */
char *message_text(enum message_code code, enum message_language lang, const struct message_arg *args, char *buf,
		   size_t size);
char *message_remedy(enum message_code code, enum message_language lang, const struct message_arg *args, char *buf,
		     size_t size);

/* MSG_ARGS("disk", name, "size", text) as the @args of the functions above. */
#define MSG_ARGS(...) ((const struct message_arg *)(const char *[]){ __VA_ARGS__, NULL, NULL })

/*
 * A fault is a message with its arguments filled in, small enough to return:
 * what a function that can fail for a reason a person must hear gives back
 * beside its errno.
 */
#define FAULT_ARGS_MAX 6
#define FAULT_VALUE_MAX 192
struct fault {
	enum message_code code;
	unsigned int arg_count;
	struct {
		char name[24];
		char value[FAULT_VALUE_MAX];
	} args[FAULT_ARGS_MAX];
};

/* Name-value pairs of strings, then NULL; longer values are cut, and what is not
 * printable UTF-8 becomes '?', so that any fault can go into JSON.  @fault may be
 * NULL.  Returns @err, so that it can be the return statement:
 *	return fault_set(f, -ENOTBLK, MSG_DISK_NOT_BLOCK, "disk", path, NULL); */
int fault_set(struct fault *fault, int err, enum message_code code, ...) __attribute__((sentinel));

/* Text, a full stop, and the remedy: one line for a person.  Returns @buf. */
char *fault_format(const struct fault *fault, enum message_language lang, char *buf, size_t size);

#endif
