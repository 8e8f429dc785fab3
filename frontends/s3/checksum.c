/* SPDX-License-Identifier: Apache-2.0 */
#include "checksum.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <strings.h>

#include "range.h"
#include "s3.h"

static const struct {
    const char *header, *element;
} algs[S3_SUM_MAX] = {
    [S3_SUM_CRC32] = { "x-amz-checksum-crc32", "ChecksumCRC32" },
    [S3_SUM_CRC32C] = { "x-amz-checksum-crc32c", "ChecksumCRC32C" },
    [S3_SUM_CRC64NVME] = { "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME" },
    [S3_SUM_SHA1] = { "x-amz-checksum-sha1", "ChecksumSHA1" },
    [S3_SUM_SHA256] = { "x-amz-checksum-sha256", "ChecksumSHA256" },
};

const char *wg_s3_sum_header(enum wg_s3_sum alg)
{
    return (unsigned)alg < S3_SUM_MAX ? algs[alg].header : NULL;
}

const char *wg_s3_sum_element(enum wg_s3_sum alg)
{
    return (unsigned)alg < S3_SUM_MAX ? algs[alg].element : NULL;
}

static bool same(struct wg_str a, const char *b)
{
    return a.len == strlen(b) && strncasecmp(a.s, b, a.len) == 0;
}

enum wg_s3_sum wg_s3_sum_named(struct wg_str name)
{
    enum wg_s3_sum alg = (enum wg_s3_sum)wg_sum_named(name);

    return alg == S3_SUM_MD5 ? S3_SUM_NONE : alg;
}

enum wg_s3_sum wg_s3_sum_of_header(struct wg_str header)
{
    for (unsigned i = S3_SUM_CRC32; i < S3_SUM_MD5; i++)
        if (same(header, algs[i].header))
            return (enum wg_s3_sum)i;
    return S3_SUM_NONE;
}

unsigned wg_s3_sum_of(enum wg_s3_sum alg, const void *data, size_t len, uint8_t *out)
{
    struct wg_sums s;
    unsigned n;

    if (wg_sums_init(&s, 1u << alg))
        return 0;
    wg_sums_update(&s, data, len);
    n = wg_s3_sums_final(&s, alg, out);
    wg_sums_fini(&s);
    return n;
}

char *wg_s3_base64(const uint8_t *value, unsigned len, char *text)
{
    EVP_EncodeBlock((unsigned char *)text, value, (int)len);
    return text;
}

bool wg_s3_unbase64(struct wg_str text, uint8_t *value, unsigned len)
{
    uint8_t bytes[S3_SUM_TEXT];
    char again[S3_SUM_TEXT];

    if (len == 0 || len > S3_SUM_BYTES || text.len != (len + 2) / 3 * 4)
        return false;
    if (EVP_DecodeBlock(bytes, (const unsigned char *)text.s, (int)text.len) < 0)
        return false;
    /* OpenSSL skips blanks and ignores stray bits; a checksum has one spelling. */
    wg_s3_base64(bytes, len, again);
    if (memcmp(again, text.s, text.len) != 0)
        return false;
    memcpy(value, bytes, len);
    return true;
}

static bool has_prefix(struct wg_str s, const char *prefix)
{
    size_t n = strlen(prefix);

    return s.len > n && strncasecmp(s.s, prefix, n) == 0;
}

struct reading {
    struct wg_s3_sum_req *req;
    struct wg_str sdk; /* x-amz-sdk-checksum-algorithm */
    bool has_sdk;
    const char *message;
};

static enum wg_s3_code bad(struct reading *r, const char *message)
{
    r->message = message;
    return WG_S3_InvalidRequest;
}

/* One algorithm for the body, by header or by trailer. */
static enum wg_s3_code choose(struct reading *r, struct wg_str header)
{
    enum wg_s3_sum alg = wg_s3_sum_of_header(header);

    if (alg == S3_SUM_NONE)
        return bad(r, "The checksum algorithm is not supported.");
    if (r->req->alg != S3_SUM_NONE)
        return bad(r, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.");
    r->req->alg = (uint8_t)alg;
    return WG_S3_OK;
}

static enum wg_s3_code announce_trailer(struct reading *r, struct wg_str list)
{
    enum wg_s3_code code = WG_S3_OK;

    while (list.len && code == WG_S3_OK) {
        const char *comma = memchr(list.s, ',', list.len);
        uint32_t n = comma ? (uint32_t)(comma - list.s) : list.len;
        struct wg_str one = wg_s3_trim((struct wg_str){ list.s, n });

        list = comma ? (struct wg_str){ comma + 1, list.len - n - 1 } : (struct wg_str){ list.s, 0 };
        if (one.len == 0)
            continue;
        if (!has_prefix(one, "x-amz-checksum-"))
            return bad(r, "The value specified in the x-amz-trailer header is not supported");
        code = choose(r, one);
        r->req->in_trailer = true;
    }
    return code;
}

static enum wg_s3_code read_header(struct reading *r, const struct s3_pair *h)
{
    enum wg_s3_code code;

    if (same(h->name, "content-md5")) {
        r->req->has_md5 = true;
        return wg_s3_unbase64(h->value, r->req->md5, 16) ? WG_S3_OK : WG_S3_InvalidDigest;
    }
    if (same(h->name, "x-amz-trailer"))
        return announce_trailer(r, h->value);
    if (same(h->name, "x-amz-sdk-checksum-algorithm")) {
        r->sdk = h->value;
        r->has_sdk = true;
        return WG_S3_OK;
    }
    if (!has_prefix(h->name, "x-amz-checksum-") || same(h->name, "x-amz-checksum-algorithm") ||
        same(h->name, "x-amz-checksum-type") || same(h->name, "x-amz-checksum-mode"))
        return WG_S3_OK;
    code = choose(r, h->name);
    if (code != WG_S3_OK)
        return code;
    r->req->given = true;
    if (!wg_s3_unbase64(h->value, r->req->want, wg_s3_sum_size((enum wg_s3_sum)r->req->alg)))
        return bad(r, "Value for x-amz-checksum- header is invalid.");
    return WG_S3_OK;
}

enum wg_s3_code wg_s3_sum_request(const struct s3_pair *headers, unsigned n, struct wg_s3_sum_req *ret,
                                  const char **ret_message)
{
    struct reading r = { .req = ret };
    enum wg_s3_code code = WG_S3_OK;

    memset(ret, 0, sizeof *ret);
    for (unsigned i = 0; i < n && code == WG_S3_OK; i++)
        code = read_header(&r, &headers[i]);
    if (code == WG_S3_OK && r.has_sdk) {
        enum wg_s3_sum alg = wg_s3_sum_named(r.sdk);

        if (alg == S3_SUM_NONE || (ret->alg != S3_SUM_NONE && alg != ret->alg))
            code = bad(&r, "Value for x-amz-sdk-checksum-algorithm header is invalid.");
        else if (ret->alg == S3_SUM_NONE)
            code = bad(&r, "x-amz-sdk-checksum-algorithm specified, but no corresponding "
                           "x-amz-checksum-* or x-amz-trailer headers were found.");
    }
    *ret_message = r.message;
    return code;
}

enum wg_s3_code wg_s3_sum_trailer(struct wg_s3_sum_req *req, struct wg_str name, struct wg_str value)
{
    if (!req->in_trailer || req->given || wg_s3_sum_of_header(name) != req->alg)
        return WG_S3_MalformedTrailerError;
    if (!wg_s3_unbase64(wg_s3_trim(value), req->want, wg_s3_sum_size((enum wg_s3_sum)req->alg)))
        return WG_S3_InvalidRequest;
    req->given = true;
    return WG_S3_OK;
}

enum wg_s3_code wg_s3_sum_verify(const struct wg_s3_sum_req *req, const uint8_t *sum, const uint8_t *md5)
{
    if (req->has_md5 && CRYPTO_memcmp(md5, req->md5, 16) != 0)
        return WG_S3_BadDigest;
    if (req->in_trailer && !req->given)
        return WG_S3_MalformedTrailerError;
    if (req->given && CRYPTO_memcmp(sum, req->want, wg_s3_sum_size((enum wg_s3_sum)req->alg)) != 0)
        return WG_S3_BadDigest;
    return WG_S3_OK;
}
