/* SPDX-License-Identifier: Apache-2.0 */
/* removal - a folder and everything in it, without following links or leaving its file system. */
#ifndef GODWIT_REMOVAL_H
#define GODWIT_REMOVAL_H

void removal_folder(const char *path);

#endif
