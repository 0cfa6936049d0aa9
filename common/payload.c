/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zstd's contexts are large (some hundred KiB) and are kept, one of each kind
 * a thread, because the threads of an NBD export read at the same time; they
 * are freed when the thread ends.
 */
#include "payload.h"
#include "xxh3.h"
#include <assert.h>
#include <errno.h>
#include <lz4.h>
#include <pthread.h>
#include <zstd.h>

static pthread_once_t keys_made = PTHREAD_ONCE_INIT;
static pthread_key_t cctx_key, dctx_key;

static void free_cctx(void *p)
{
	ZSTD_freeCCtx(p);
}

static void free_dctx(void *p)
{
	ZSTD_freeDCtx(p);
}

static void make_keys(void)
{
	int err = pthread_key_create(&cctx_key, free_cctx);

	if (err == 0)
		err = pthread_key_create(&dctx_key, free_dctx);
	assert(err == 0);
}

static ZSTD_CCtx *thread_cctx(void)
{
	ZSTD_CCtx *ctx;

	pthread_once(&keys_made, make_keys);
	ctx = pthread_getspecific(cctx_key);
	if (!ctx) {
		ctx = ZSTD_createCCtx();
		if (ctx && pthread_setspecific(cctx_key, ctx) != 0) {
			ZSTD_freeCCtx(ctx);
			ctx = NULL;
		}
	}
	return ctx;
}

static ZSTD_DCtx *thread_dctx(void)
{
	ZSTD_DCtx *ctx;

	pthread_once(&keys_made, make_keys);
	ctx = pthread_getspecific(dctx_key);
	if (!ctx) {
		ctx = ZSTD_createDCtx();
		if (ctx && pthread_setspecific(dctx_key, ctx) != 0) {
			ZSTD_freeDCtx(ctx);
			ctx = NULL;
		}
	}
	return ctx;
}

uint64_t payload_checksum(const void *payload, size_t len)
{
	return xxh3_64(payload, len);
}

void payload_hash(const void *payload, size_t len, uint64_t seed, uint64_t ret_hash[2])
{
	xxh3_128(payload, len, seed, ret_hash);
}

/* 0 unless the result is smaller than the input. */
static uint32_t compress_smaller(enum payload_codec codec, int level, const void *in, uint32_t len, void *out)
{
	ZSTD_CCtx *ctx;
	size_t n;

	if (len < 2)
		return 0;
	switch (codec) {
	case CODEC_RAW:
		return 0;
	case CODEC_LZ4:
		return (uint32_t)LZ4_compress_default(in, out, (int)len, (int)len - 1);
	case CODEC_ZSTD:
		ctx = thread_cctx();
		if (!ctx)
			return 0;
		n = ZSTD_compressCCtx(ctx, out, len - 1, in, len, level);
		return ZSTD_isError(n) ? 0 : (uint32_t)n;
	}
	return 0;
}

uint32_t payload_compress(enum payload_codec codec, int level, const void *in, uint32_t len, void *out,
			  uint8_t *ret_codec)
{
	uint32_t n;

	assert(len <= CHUNK_BYTES);
	n = compress_smaller(codec, level, in, len, out);
	if (n > 0) {
		*ret_codec = (uint8_t)codec;
		return n;
	}
	memcpy(out, in, len);
	*ret_codec = CODEC_RAW;
	return len;
}

int payload_decompress(uint8_t codec, const void *stored, uint32_t stored_bytes, void *out, uint32_t len)
{
	ZSTD_DCtx *ctx;
	int n;

	if (stored_bytes > len || len > CHUNK_BYTES)
		return -EBADMSG;
	switch (codec) {
	case CODEC_RAW:
		if (stored_bytes != len)
			return -EBADMSG;
		memcpy(out, stored, len);
		return 0;
	case CODEC_LZ4:
		n = LZ4_decompress_safe(stored, out, (int)stored_bytes, (int)len);
		return n >= 0 && (uint32_t)n == len ? 0 : -EBADMSG;
	case CODEC_ZSTD:
		ctx = thread_dctx();
		if (!ctx)
			return -ENOMEM;
		return ZSTD_decompressDCtx(ctx, out, len, stored, stored_bytes) == len ? 0 : -EBADMSG;
	default:
		return -EBADMSG;
	}
}
