/* SPDX-License-Identifier: Apache-2.0 */
/* launchfiles - a launch's folder, looked at from outside of its process (launches.h). */
#ifndef GODWIT_LAUNCHFILES_H
#define GODWIT_LAUNCHFILES_H

#include "base.h"
#include "message.h"
#include <jansson.h>

/* A JSON object of reasonable size.  -ENOENT: there is no such file; -EBADMSG: it is no object;
 * -errno: it may well be one, but cannot be read now. */
_must_check_ int launchfiles_read(const char *path, json_t **ret);

/* 1: there are disks; 0: none, or no folder; -errno: that cannot be known. */
_must_check_ int launchfiles_has_disks(const char *folder);

/* Where @name is: beside this program, in the build folder, or in PATH. */
void launchfiles_program(const char *name, char *ret, size_t size);

/* What a launch started runs in its folder; end all of that, now. */
void launchfiles_end_processes(const char *folder);

/* Sockets, firmware's variables, and unless @keep_disks the disks. */
void launchfiles_clear(const char *folder, bool keep_disks);

/* What a launch that writes a machine had not finished, beside where it was to be (images.c). */
void launchfiles_clear_images(const json_t *spec);

/* The folder and all that is in it. */
void launchfiles_remove(const char *folder);

/* End the record at @path: failed with @f, or ended when @f is NULL.  If it cannot be read, it becomes what was
 * @known of it, which may be NULL, or one of @spec.  -errno. */
_must_check_ int launchfiles_bury(const char *path, const json_t *known, const json_t *spec, const struct fault *f,
				  bool disks_kept);

/* At most @max bytes of a text from offset @from (-1: the last ones), as {text, from, next, size}. */
json_t *launchfiles_text(const char *path, json_int_t from, size_t max);

/* {png}; NULL: there is none. */
json_t *launchfiles_picture(const char *path);

#endif
