/* SPDX-License-Identifier: Apache-2.0 */
/* vectors - the frames in tests/vectors/ as bytes. */
#ifndef GODWIT_VECTORS_H
#define GODWIT_VECTORS_H

#include "base.h"

/* The bytes of tests/vectors/@name.hex: hex digits, "#" begins a comment.
 * Fails the test if it cannot be read; returns how many. */
size_t vector_load(const char *name, uint8_t *buf, size_t size);

#endif
