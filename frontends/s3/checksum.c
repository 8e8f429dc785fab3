/* SPDX-License-Identifier: Apache-2.0 */
#include "checksum.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <strings.h>

#include "range.h"
#include "s3.h"

static const struct {
    const char *name, *header, *element;
    unsigned size;
} algs[S3_SUM_MAX] = {
    [S3_SUM_CRC32] = { "CRC32", "x-amz-checksum-crc32", "ChecksumCRC32", 4 },
    [S3_SUM_CRC32C] = { "CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C", 4 },
    [S3_SUM_CRC64NVME] = { "CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME", 8 },
    [S3_SUM_SHA1] = { "SHA1", "x-amz-checksum-sha1", "ChecksumSHA1", 20 },
    [S3_SUM_SHA256] = { "SHA256", "x-amz-checksum-sha256", "ChecksumSHA256", 32 },
    [S3_SUM_MD5] = { "MD5", NULL, NULL, 16 },
};

/* Fetched once: an implicit fetch at each EVP_DigestInit costs as much as hashing 4 KiB. */
static EVP_MD *digests[3];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    digests[0] = EVP_MD_fetch(NULL, "SHA1", NULL);
    digests[1] = EVP_MD_fetch(NULL, "SHA256", NULL);
    digests[2] = EVP_MD_fetch(NULL, "MD5", NULL);
}

const char *wg_s3_sum_name(enum wg_s3_sum alg)
{
    return (unsigned)alg < S3_SUM_MAX ? algs[alg].name : NULL;
}

const char *wg_s3_sum_header(enum wg_s3_sum alg)
{
    return (unsigned)alg < S3_SUM_MAX ? algs[alg].header : NULL;
}

const char *wg_s3_sum_element(enum wg_s3_sum alg)
{
    return (unsigned)alg < S3_SUM_MAX ? algs[alg].element : NULL;
}

unsigned wg_s3_sum_size(enum wg_s3_sum alg)
{
    return (unsigned)alg < S3_SUM_MAX ? algs[alg].size : 0;
}

static bool same(struct wg_str a, const char *b)
{
    return a.len == strlen(b) && strncasecmp(a.s, b, a.len) == 0;
}

enum wg_s3_sum wg_s3_sum_named(struct wg_str name)
{
    for (unsigned i = S3_SUM_CRC32; i < S3_SUM_MD5; i++)
        if (same(name, algs[i].name))
            return (enum wg_s3_sum)i;
    return S3_SUM_NONE;
}

enum wg_s3_sum wg_s3_sum_of_header(struct wg_str header)
{
    for (unsigned i = S3_SUM_CRC32; i < S3_SUM_MD5; i++)
        if (same(header, algs[i].header))
            return (enum wg_s3_sum)i;
    return S3_SUM_NONE;
}

int wg_s3_sums_init(struct wg_s3_sums *s, unsigned mask)
{
    pthread_once(&once, fetch);
    memset(s, 0, sizeof *s);
    s->mask = mask;
    for (unsigned i = 0; i < 3; i++) {
        if (!(mask & 1u << (S3_SUM_SHA1 + i)))
            continue;
        s->md[i] = EVP_MD_CTX_new();
        if (!s->md[i] || !digests[i] || !EVP_DigestInit_ex(s->md[i], digests[i], NULL)) {
            wg_s3_sums_fini(s);
            return ENOMEM;
        }
    }
    return 0;
}

/* ISA-L counts in int. */
static uint32_t crc32c_update(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    while (len) {
        int n = len > 1 << 30 ? 1 << 30 : (int)len;

        crc = crc32_iscsi((unsigned char *)p, n, crc);
        p += n;
        len -= (size_t)n;
    }
    return ~crc;
}

void wg_s3_sums_update(struct wg_s3_sums *s, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (s->mask & 1u << S3_SUM_CRC32)
        s->crc32 = crc32_gzip_refl(s->crc32, data, len);
    if (s->mask & 1u << S3_SUM_CRC32C)
        s->crc32c = crc32c_update(s->crc32c, data, len);
    if (s->mask & 1u << S3_SUM_CRC64NVME)
        s->crc64 = wg_s3_crc64nvme(s->crc64, data, len);
    for (unsigned i = 0; i < 3; i++)
        if (s->md[i])
            EVP_DigestUpdate(s->md[i], data, len);
}

unsigned wg_s3_sums_final(struct wg_s3_sums *s, enum wg_s3_sum alg, uint8_t *out)
{
    uint64_t crc = alg == S3_SUM_CRC32 ? s->crc32 : alg == S3_SUM_CRC32C ? s->crc32c : s->crc64;
    unsigned n = wg_s3_sum_size(alg);

    if (!wg_s3_sum_is_crc(alg)) {
        if (n && s->md[alg - S3_SUM_SHA1])
            EVP_DigestFinal_ex(s->md[alg - S3_SUM_SHA1], out, NULL);
        return n;
    }
    for (unsigned i = n; i--; crc >>= 8)
        out[i] = (uint8_t)crc;
    return n;
}

void wg_s3_sums_fini(struct wg_s3_sums *s)
{
    for (unsigned i = 0; i < 3; i++)
        EVP_MD_CTX_free(s->md[i]);
    memset(s, 0, sizeof *s);
}

unsigned wg_s3_sum_of(enum wg_s3_sum alg, const void *data, size_t len, uint8_t *out)
{
    struct wg_s3_sums s;
    unsigned n;

    if (wg_s3_sums_init(&s, 1u << alg))
        return 0;
    wg_s3_sums_update(&s, data, len);
    n = wg_s3_sums_final(&s, alg, out);
    wg_s3_sums_fini(&s);
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
