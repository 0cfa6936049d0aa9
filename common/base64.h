/* SPDX-License-Identifier: Apache-2.0 */
/* base64 - bytes that came as text. */
#ifndef GODWIT_BASE64_H
#define GODWIT_BASE64_H

#include "base.h"

/* The bytes that @text stands for, to be freed; NULL when it is not base64, or no memory. */
uint8_t *base64_decode(const char *text, size_t len, size_t *ret_len);

#endif
