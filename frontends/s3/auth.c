/* SPDX-License-Identifier: Apache-2.0 */
/* Which kind of signature a request has, what all kinds share, and SigV2; SigV4 is in sigv4.c. */
#include "auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <strings.h>

#include "auth_impl.h"
#include "date.h"
#include "range.h"

const struct wg_str *wg_s3_auth_header(const struct wg_s3_auth_in *in, const char *name)
{
    struct wg_str want = wg_str_of(name);

    for (unsigned i = 0; i < in->nheaders; i++)
        if (wg_str_eq(in->headers[i].name, want))
            return &in->headers[i].value;
    return NULL;
}

enum wg_s3_code wg_s3_auth_fail(struct wg_s3_auth *a, enum wg_s3_code code, const char *message)
{
    a->message = message;
    return code;
}

enum wg_s3_code wg_s3_auth_secret(const struct wg_s3_auth_in *in, struct wg_str access_key,
                                  struct wg_str *ret)
{
    int err = in->secret(in->arg, access_key, ret);

    return err == 0 ? WG_S3_OK : err == ENOENT ? WG_S3_InvalidAccessKeyId : WG_S3_ServiceUnavailable;
}

bool wg_s3_auth_date(const struct wg_s3_auth_in *in, int64_t *ret)
{
    const struct wg_str *v = wg_s3_auth_header(in, "x-amz-date");

    if (!v)
        v = wg_s3_auth_header(in, "date");
    return v && (wg_s3_date_parse_basic(*v, ret) || wg_s3_date_parse(*v, ret));
}

bool wg_s3_auth_skewed(const struct wg_s3_auth_in *in, int64_t t)
{
    return t > in->now + WG_S3_SKEW || t < in->now - WG_S3_SKEW;
}

/* ---- SigV2 (AWS "Signing and authenticating REST requests") ---- */

/* Parameters that are part of the resource; in byte order. */
static const char *const subresources[] = {
    "accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle",
    "location", "logging", "metrics", "notification", "object-lock", "partNumber", "policy",
    "replication", "requestPayment", "response-cache-control", "response-content-disposition",
    "response-content-encoding", "response-content-language", "response-content-type",
    "response-expires", "restore", "select", "select-type", "storageClass", "tagging", "torrent",
    "uploadId", "uploads", "versionId", "versioning", "versions", "website",
};

/* The string to sign goes to the HMAC in pieces; this bounds them, and so the x-amz- headers. */
#define V2_PIECES 1024

struct v2 {
    struct wg_str piece[V2_PIECES];
    unsigned n;
    bool full;
};

static void add(struct v2 *v, struct wg_str s)
{
    if (v->n == V2_PIECES)
        v->full = true;
    else if (s.len)
        v->piece[v->n++] = s;
}

static void add_header_line(struct v2 *v, const struct wg_s3_auth_in *in, const char *name)
{
    const struct wg_str *h = wg_s3_auth_header(in, name);

    if (h)
        add(v, *h);
    add(v, WG_STR("\n"));
}

static int compare(struct wg_str a, struct wg_str b)
{
    uint32_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.s, b.s, n) : 0;

    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

static bool is_amz(struct wg_str name)
{
    return name.len > 6 && memcmp(name.s, "x-amz-", 6) == 0;
}

/* "name:v1,v2\n" of each x-amz- header in order of name: the least one above the last, each time. */
static void add_amz_headers(struct v2 *v, const struct wg_s3_auth_in *in)
{
    struct wg_str last = { NULL, 0 };

    for (;;) {
        const struct wg_str *least = NULL;
        const char *before = ":";

        for (unsigned i = 0; i < in->nheaders; i++) {
            const struct wg_str *name = &in->headers[i].name;

            if (is_amz(*name) && compare(*name, last) > 0 && (!least || compare(*name, *least) < 0))
                least = name;
        }
        if (!least || v->full)
            return;
        last = *least;
        add(v, last);
        for (unsigned i = 0; i < in->nheaders; i++) {
            if (!wg_str_eq(in->headers[i].name, last))
                continue;
            add(v, wg_str_of(before));
            add(v, in->headers[i].value);
            before = ",";
        }
        add(v, WG_STR("\n"));
    }
}

static void add_resource(struct v2 *v, const struct wg_s3_uri *uri, bool slash)
{
    const char *before = "?";

    if (uri->vhost) {
        add(v, WG_STR("/"));
        add(v, uri->bucket);
    }
    add(v, uri->raw_path);
    if (slash)
        add(v, WG_STR("/"));
    for (size_t i = 0; i < sizeof subresources / sizeof *subresources; i++) {
        const struct wg_str *value = wg_s3_param(uri, subresources[i]);

        if (!value)
            continue;
        add(v, wg_str_of(before));
        add(v, wg_str_of(subresources[i]));
        if (value->len) {
            add(v, WG_STR("="));
            add(v, *value);
        }
        before = "&";
    }
}

/* Whether signature is that of the string to sign whose date line is date; slash: one more ends the resource. */
static enum wg_s3_code v2_compare(const struct wg_s3_auth_in *in, struct wg_str secret, struct wg_str date,
                                  struct wg_str signature, bool slash)
{
    struct wg_s3_hmac *h = wg_s3_hmac();
    struct v2 v = { .n = 0 };
    uint8_t mac[20];
    char text[32];

    add(&v, in->method);
    add(&v, WG_STR("\n"));
    add_header_line(&v, in, "content-md5");
    add_header_line(&v, in, "content-type");
    add(&v, date);
    add(&v, WG_STR("\n"));
    add_amz_headers(&v, in);
    add_resource(&v, in->uri, slash);
    if (v.full)
        return WG_S3_RequestHeaderSectionTooLarge;
    if (!h || !wg_s3_hmac_sha1(h, secret, v.piece, v.n, mac))
        return WG_S3_InternalError;
    EVP_EncodeBlock((unsigned char *)text, mac, 20);
    if (signature.len != 28 || CRYPTO_memcmp(text, signature.s, 28) != 0)
        return WG_S3_SignatureDoesNotMatch;
    return WG_S3_OK;
}

static enum wg_s3_code v2_check(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret, struct wg_str date,
                                struct wg_str signature)
{
    const struct wg_s3_uri *uri = in->uri;
    struct wg_str secret;
    enum wg_s3_code code = wg_s3_auth_secret(in, ret->access_key, &secret);

    if (code == WG_S3_OK)
        code = v2_compare(in, secret, date, signature, /* slash */ false);
    /* boto signs "/bucket/" and sends "/bucket". */
    if (code == WG_S3_SignatureDoesNotMatch && !uri->vhost && uri->bucket.len && !uri->key.len &&
        uri->raw_path.s[uri->raw_path.len - 1] != '/')
        code = v2_compare(in, secret, date, signature, /* slash */ true);
    if (code == WG_S3_OK)
        ret->payload = S3_PAYLOAD_UNSIGNED;
    return code;
}

static enum wg_s3_code v2_query(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret)
{
    const struct wg_str *key = wg_s3_param(in->uri, "AWSAccessKeyId");
    const struct wg_str *signature = wg_s3_param(in->uri, "Signature");
    const struct wg_str *expires = wg_s3_param(in->uri, "Expires");
    uint64_t at;

    if (!key || !signature || !expires || key->len == 0 || expires->len == 0)
        return wg_s3_auth_fail(ret, WG_S3_AccessDenied, "Query-string authentication requires the "
                               "Signature, Expires and AWSAccessKeyId parameters");
    if (wg_s3_param_u64(in->uri, "Expires", 0, INT64_MAX, &at) != WG_S3_OK)
        return wg_s3_auth_fail(ret, WG_S3_AccessDenied, "Invalid date (should be seconds since epoch)");
    ret->access_key = *key;
    ret->presigned = true;
    if ((int64_t)at < in->now)
        return wg_s3_auth_fail(ret, WG_S3_AccessDenied, "Request has expired");
    return v2_check(in, ret, *expires, *signature);
}

/* "AWS key:signature" */
static enum wg_s3_code v2_header(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret, struct wg_str v)
{
    const struct wg_str *date = wg_s3_auth_header(in, "date");
    const char *colon;
    uint32_t n;
    int64_t t;

    v = wg_s3_trim((struct wg_str){ v.s + 4, v.len - 4 });
    colon = v.len ? memrchr(v.s, ':', v.len) : NULL;
    if (!colon || colon == v.s)
        return wg_s3_auth_fail(ret, WG_S3_InvalidArgument,
                               "AWS authorization header is invalid. Expected AwsAccessKeyId:signature");
    n = (uint32_t)(colon - v.s);
    ret->access_key = (struct wg_str){ v.s, n };
    if (!wg_s3_auth_date(in, &t))
        return wg_s3_auth_fail(ret, WG_S3_AccessDenied,
                               "AWS authentication requires a valid Date or x-amz-date header");
    if (wg_s3_auth_skewed(in, t))
        return WG_S3_RequestTimeTooSkewed;
    if (!date || wg_s3_auth_header(in, "x-amz-date"))
        return v2_check(in, ret, (struct wg_str){ "", 0 }, (struct wg_str){ colon + 1, v.len - n - 1 });
    return v2_check(in, ret, *date, (struct wg_str){ colon + 1, v.len - n - 1 });
}

/* ---- Which one ---- */

static bool scheme(struct wg_str v, const char *name)
{
    size_t n = strlen(name);

    return v.len > n && memcmp(v.s, name, n) == 0 && v.s[n] == ' ';
}

static enum wg_s3_code by_header(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret, struct wg_str v)
{
    if (scheme(v, "AWS4-HMAC-SHA256"))
        return wg_s3_sigv4_header(in, ret, (struct wg_str){ v.s + 17, v.len - 17 });
    if (scheme(v, "AWS"))
        return v2_header(in, ret, v);
    if (scheme(v, "AWS4-ECDSA-P256-SHA256"))
        return wg_s3_auth_fail(ret, WG_S3_NotImplemented, "SigV4A is not supported.");
    return wg_s3_auth_fail(ret, WG_S3_InvalidArgument, "Unsupported Authorization Type");
}

enum wg_s3_code wg_s3_authenticate(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret)
{
    const struct wg_str *header = NULL;
    bool v4 = wg_s3_param(in->uri, "X-Amz-Algorithm") || wg_s3_param(in->uri, "X-Amz-Signature");
    bool v2 = wg_s3_param(in->uri, "AWSAccessKeyId") || wg_s3_param(in->uri, "Signature");
    unsigned nauth = 0;

    memset(ret, 0, sizeof *ret);
    for (unsigned i = 0; i < in->nheaders; i++) {
        if (!wg_str_eq(in->headers[i].name, WG_STR("authorization")))
            continue;
        header = &in->headers[i].value;
        nauth++;
    }
    if (nauth + v4 + v2 > 1)
        return wg_s3_auth_fail(ret, WG_S3_InvalidArgument, "Only one auth mechanism allowed; only the "
                               "X-Amz-Algorithm query parameter, Signature query string parameter or "
                               "the Authorization header should be specified");
    if (nauth + v4 + v2 == 0)
        return WG_S3_AccessDenied;
    /* There are no temporary credentials here, so a session token can't be a valid one. */
    if (wg_s3_auth_header(in, "x-amz-security-token") || wg_s3_param(in->uri, "X-Amz-Security-Token"))
        return WG_S3_InvalidToken;
    if (header)
        return by_header(in, ret, *header);
    return v4 ? wg_s3_sigv4_query(in, ret) : v2_query(in, ret);
}
