/* SPDX-License-Identifier: Apache-2.0 */
/* The checksums of S3: several at once over one stream, and the rules of the headers that carry them. */
#ifndef WG_S3_CHECKSUM_H
#define WG_S3_CHECKSUM_H

#include "codes.h"
#include "sums.h"

struct s3_pair;

/* enum wg_sum, for what S3 does with them. */
enum wg_s3_sum {
    S3_SUM_NONE = WG_SUM_NONE,
    S3_SUM_CRC32 = WG_SUM_CRC32,
    S3_SUM_CRC32C = WG_SUM_CRC32C,
    S3_SUM_CRC64NVME = WG_SUM_CRC64NVME,
    S3_SUM_SHA1 = WG_SUM_SHA1,
    S3_SUM_SHA256 = WG_SUM_SHA256,
    S3_SUM_MD5 = WG_SUM_MD5, /* for ETag and Content-MD5; never an x-amz-checksum-* here */
    S3_SUM_MAX
};

#define S3_SUM_BYTES WG_SUM_BYTES
#define S3_SUM_TEXT 48  /* base64 of the longest, NUL included */

/* "CRC32C", as in x-amz-sdk-checksum-algorithm; NULL for NONE. */
static inline const char *wg_s3_sum_name(enum wg_s3_sum alg)
{
    return wg_sum_name((enum wg_sum)alg);
}
/* "x-amz-checksum-crc32c" */
const char *wg_s3_sum_header(enum wg_s3_sum alg);
/* "ChecksumCRC32C", the XML element. */
const char *wg_s3_sum_element(enum wg_s3_sum alg);
/* Bytes of a value. */
static inline unsigned wg_s3_sum_size(enum wg_s3_sum alg)
{
    return wg_sum_size((enum wg_sum)alg);
}
/* By name or by header, any case; NONE when it is none that is implemented (MD5 included). */
enum wg_s3_sum wg_s3_sum_named(struct wg_str name);
enum wg_s3_sum wg_s3_sum_of_header(struct wg_str header);
static inline bool wg_s3_sum_is_crc(enum wg_s3_sum alg)
{
    return alg >= S3_SUM_CRC32 && alg <= S3_SUM_CRC64NVME;
}

static inline unsigned wg_s3_sums_final(struct wg_sums *s, enum wg_s3_sum alg, uint8_t *out)
{
    return wg_sums_final(s, (enum wg_sum)alg, out);
}

/* Of one buffer, in one go. */
unsigned wg_s3_sum_of(enum wg_s3_sum alg, const void *data, size_t len, uint8_t *out);

/* CRC of A and B together from theirs: sum becomes that of both. alg must be a CRC. */
void wg_s3_crc_combine(enum wg_s3_sum alg, uint8_t *sum, const uint8_t *sum_b, uint64_t len_b);

/* base64 of a value, into text (S3_SUM_TEXT); returns text. len <= S3_SUM_BYTES. */
char *wg_s3_base64(const uint8_t *value, unsigned len, char *text);
/* Strict base64 of exactly len bytes; false when it is anything else. */
bool wg_s3_unbase64(struct wg_str text, uint8_t *value, unsigned len);

/* What a request says about the checksum of its body. */
struct wg_s3_sum_req {
    uint8_t alg;       /* enum wg_s3_sum: the one to compute; NONE: the client named none */
    bool given;        /* want holds the value that must come out */
    bool in_trailer;   /* announced by x-amz-trailer: wg_s3_sum_trailer gives it */
    bool has_md5;      /* Content-MD5 */
    uint8_t want[S3_SUM_BYTES];
    uint8_t md5[16];
};

/*
 * Reads x-amz-checksum-*, x-amz-sdk-checksum-algorithm, x-amz-trailer and Content-MD5 from n headers
 * (names lower case). WG_S3_OK; InvalidRequest (two checksums, they disagree, an algorithm that
 * is not implemented, a value that is none); InvalidDigest (Content-MD5). *ret_message: static
 * text for the error, or NULL.
 */
enum wg_s3_code wg_s3_sum_request(const struct s3_pair *headers, unsigned n, struct wg_s3_sum_req *ret,
                                  const char **ret_message);

/* Takes a trailer's line. WG_S3_OK; MalformedTrailerError when it was not announced; InvalidRequest for a bad value. */
enum wg_s3_code wg_s3_sum_trailer(struct wg_s3_sum_req *req, struct wg_str name, struct wg_str value);

/*
 * Compares what was computed (the mask of s must have alg, and MD5 when has_md5) with what was
 * wanted: WG_S3_OK, BadDigest, or MalformedTrailerError when the announced trailer did not
 * come. sum and md5 receive the values.
 */
enum wg_s3_code wg_s3_sum_verify(const struct wg_s3_sum_req *req, const uint8_t *sum, const uint8_t *md5);

#endif
