/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums and digests, several at once over one stream: what S3 clients ask of an upload, and bricks
 * of a file (the checksum fop). Any thread; one at a time on one struct.
 */
#ifndef WG_SUMS_H
#define WG_SUMS_H

#include "types.h"

/* Numbers are on disk (frontends/s3/meta.h): never reused. */
enum wg_sum {
    WG_SUM_NONE,
    WG_SUM_CRC32,
    WG_SUM_CRC32C,
    WG_SUM_CRC64NVME,
    WG_SUM_SHA1,
    WG_SUM_SHA256,
    WG_SUM_MD5,
    WG_SUM_MAX
};

#define WG_SUM_BYTES 32 /* of the longest */

/* "CRC32C"; NULL for NONE. */
const char *wg_sum_name(enum wg_sum alg);
/* Bytes of a value; 0 for NONE. */
unsigned wg_sum_size(enum wg_sum alg);
/* By name, any case; NONE when it is none of them. */
enum wg_sum wg_sum_named(struct wg_str name);

struct evp_md_ctx_st;

/* Zeroed memory is a valid one with none. */
struct wg_sums {
    unsigned mask; /* 1u << enum wg_sum */
    uint32_t crc32, crc32c;
    uint64_t crc64;
    struct evp_md_ctx_st *md[3]; /* SHA1, SHA256, MD5 */
};

/* Starts those of mask. 0 or ENOMEM (then nothing is held). wg_sums_fini ends it. */
int wg_sums_init(struct wg_sums *s, unsigned mask);
void wg_sums_update(struct wg_sums *s, const void *data, size_t len);
/* The value of alg (must be in the mask) into out (WG_SUM_BYTES), big-endian; its size. Once for each. */
unsigned wg_sums_final(struct wg_sums *s, enum wg_sum alg, uint8_t *out);
void wg_sums_fini(struct wg_sums *s);

/* CRC64NVME (reflected 9A6C9329AC4BC9B5) of len bytes after crc (0 at first). */
uint64_t wg_crc64nvme(uint64_t crc, const void *data, size_t len);
/* The same, without instructions that not every processor has. */
uint64_t wg_crc64nvme_plain(uint64_t crc, const void *data, size_t len);

#endif
