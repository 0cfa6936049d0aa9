/* SPDX-License-Identifier: Apache-2.0 */
#include "base64.h"

#include <openssl/evp.h>
#include <stdlib.h>

uint8_t *base64_decode(const char *text, size_t len, size_t *ret_len)
{
	uint8_t *bytes = len % 4 == 0 && len < INT32_MAX ? malloc(len / 4 * 3 + 1) : NULL;
	int n = bytes ? EVP_DecodeBlock(bytes, (const uint8_t *)text, (int)len) : -1;

	if (n < 0) {
		free(bytes);
		return NULL;
	}
	for (size_t i = len; i > 0 && i > len - 2 && text[i - 1] == '='; i--)
		n--;
	*ret_len = (size_t)n;
	return bytes;
}
