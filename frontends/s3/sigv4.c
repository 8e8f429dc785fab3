/* SPDX-License-Identifier: Apache-2.0 */
/* AWS Signature Version 4: the canonical request is hashed as it is made, never stored. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "auth_impl.h"
#include "date.h"
#include "range.h"

struct v4 {
    const struct wg_s3_auth_in *in;
    struct wg_s3_auth *ret;
    struct wg_str credential, signed_headers, signature; /* as sent */
    struct wg_str day, region, service, terminator;      /* parts of the credential */
    struct wg_str payload;                               /* last line of the canonical request */
    struct wg_str secret;                                /* of the access key */
    bool guessed;                                        /* payload, since the request has no header for it */
};

/* ---- Hashing in pieces, through a small buffer: most pieces are a few bytes ---- */

struct sink {
    EVP_MD_CTX *md;
    bool bad;
    uint32_t n;
    char buf[512];
};

static void flush(struct sink *s)
{
    if (s->n && !EVP_DigestUpdate(s->md, s->buf, s->n))
        s->bad = true;
    s->n = 0;
}

static void put(struct sink *s, const char *p, size_t len)
{
    if (len > sizeof s->buf - s->n) {
        flush(s);
        if (len > sizeof s->buf) {
            if (!EVP_DigestUpdate(s->md, p, len))
                s->bad = true;
            return;
        }
    }
    memcpy(s->buf + s->n, p, len);
    s->n += (uint32_t)len;
}

static void put_char(struct sink *s, char c)
{
    put(s, &c, 1);
}

static void put_str(struct sink *s, struct wg_str str)
{
    if (str.len)
        put(s, str.s, str.len);
}

static void put_encoded(struct sink *s, struct wg_str str, bool keep_slash)
{
    for (uint32_t i = 0; i < str.len; i++) {
        char out[3];

        put(s, out, wg_s3_encode((struct wg_str){ str.s + i, 1 }, keep_slash, out));
    }
}

/* ---- Canonical query: decoded parameters, encoded again, in order of their encoded forms ---- */

struct encoder {
    struct wg_str left;
    char out[3];
    uint32_t n, at;
};

static int next_encoded(struct encoder *e)
{
    if (e->at == e->n) {
        if (e->left.len == 0)
            return -1;
        e->n = (uint32_t)wg_s3_encode((struct wg_str){ e->left.s, 1 }, false, e->out);
        e->at = 0;
        e->left = (struct wg_str){ e->left.s + 1, e->left.len - 1 };
    }
    return (unsigned char)e->out[e->at++];
}

static int compare_encoded(struct wg_str a, struct wg_str b)
{
    struct encoder ea = { .left = a }, eb = { .left = b };

    for (;;) {
        int ca = next_encoded(&ea), cb = next_encoded(&eb);

        if (ca != cb)
            return ca - cb;
        if (ca < 0)
            return 0;
    }
}

static int compare_params(const struct wg_s3_param *a, const struct wg_s3_param *b)
{
    int c = compare_encoded(a->name, b->name);

    return c ? c : compare_encoded(a->value, b->value);
}

/* Insertion sort of indices: a request has a handful. */
static unsigned sort_params(const struct wg_s3_uri *uri, uint8_t *order)
{
    unsigned n = 0;

    for (unsigned i = 0; i < uri->nparams; i++) {
        unsigned j = n;

        if (wg_str_eq(uri->param[i].name, WG_STR("X-Amz-Signature")))
            continue;
        for (; j > 0 && compare_params(&uri->param[order[j - 1]], &uri->param[i]) > 0; j--)
            order[j] = order[j - 1];
        order[j] = (uint8_t)i;
        n++;
    }
    return n;
}

static void put_query(struct sink *s, const struct wg_s3_uri *uri)
{
    uint8_t order[WG_S3_PARAMS_MAX];
    unsigned n = sort_params(uri, order);

    for (unsigned i = 0; i < n; i++) {
        if (i)
            put_char(s, '&');
        put_encoded(s, uri->param[order[i]].name, false);
        put_char(s, '=');
        put_encoded(s, uri->param[order[i]].value, false);
    }
}

/* The path decoded and encoded again; it is well-formed, since the target was parsed. */
static void put_path(struct sink *s, struct wg_str path)
{
    for (uint32_t i = 0; i < path.len; i++) {
        char c = path.s[i];
        uint32_t n;

        if (c == '%') {
            wg_s3_decode((struct wg_str){ path.s + i, 3 }, &c, &n);
            i += 2;
            /* An encoded slash stays one: it is part of a component. */
            put_encoded(s, (struct wg_str){ &c, 1 }, false);
        } else {
            put_encoded(s, (struct wg_str){ &c, 1 }, true);
        }
    }
}

/* ---- Canonical headers ---- */

/* Inner runs of blanks become one; outer ones are gone already. */
static void put_value(struct sink *s, struct wg_str v)
{
    bool blank = false;

    for (uint32_t i = 0; i < v.len; i++) {
        bool is_blank = v.s[i] == ' ' || v.s[i] == '\t';

        if (is_blank && blank)
            continue;
        put_char(s, is_blank ? ' ' : v.s[i]);
        blank = is_blank;
    }
}

static bool next_signed(struct wg_str *list, struct wg_str *ret)
{
    const char *semi;

    if (list->len == 0)
        return false;
    semi = memchr(list->s, ';', list->len);
    ret->s = list->s;
    ret->len = semi ? (uint32_t)(semi - list->s) : list->len;
    *list = semi ? (struct wg_str){ semi + 1, list->len - ret->len - 1 } : (struct wg_str){ list->s, 0 };
    return true;
}

/* "name:v1,v2\n" of a header; false when the request has none of that name. */
static bool put_header(struct sink *s, const struct wg_s3_auth_in *in, struct wg_str name)
{
    bool found = false;

    put_str(s, name);
    for (unsigned i = 0; i < in->nheaders; i++) {
        if (!wg_str_eq(in->headers[i].name, name))
            continue;
        put_char(s, found ? ',' : ':');
        put_value(s, in->headers[i].value);
        found = true;
    }
    put_char(s, '\n');
    return found;
}

static bool is_signed(struct wg_str list, struct wg_str name)
{
    struct wg_str one;

    while (next_signed(&list, &one))
        if (wg_str_eq(one, name))
            return true;
    return false;
}

/* host and every x-amz- header must be among the signed ones, or anybody could change them. */
static bool covers(const struct v4 *v)
{
    if (!is_signed(v->signed_headers, WG_STR("host")))
        return false;
    for (unsigned i = 0; i < v->in->nheaders; i++) {
        struct wg_str name = v->in->headers[i].name;

        if (name.len > 6 && memcmp(name.s, "x-amz-", 6) == 0 && !is_signed(v->signed_headers, name))
            return false;
    }
    return true;
}

/* ---- The signature ---- */

enum { RAW_PATH = 1, RAW_QUERY = 2 };

/* SHA-256 of the canonical request into hash; false when a signed header is missing or OpenSSL fails. */
static bool hash_request(const struct v4 *v, struct wg_s3_hmac *h, unsigned how, uint8_t *hash)
{
    const struct wg_s3_uri *uri = v->in->uri;
    struct wg_str list = v->signed_headers, name;
    struct sink s = { 0 };
    bool found = true;

    if (!wg_s3_sha256_begin(h, &s.md))
        return false;
    put_str(&s, v->in->method);
    put_char(&s, '\n');
    if (how & RAW_PATH)
        put_str(&s, uri->raw_path);
    else
        put_path(&s, uri->raw_path);
    put_char(&s, '\n');
    if (how & RAW_QUERY)
        put_str(&s, uri->raw_query);
    else
        put_query(&s, uri);
    put_char(&s, '\n');
    while (found && next_signed(&list, &name))
        found = put_header(&s, v->in, name);
    put_char(&s, '\n');
    put_str(&s, v->signed_headers);
    put_char(&s, '\n');
    put_str(&s, v->payload);
    flush(&s);
    return EVP_DigestFinal_ex(s.md, hash, NULL) && found && !s.bad;
}

static bool sign_request(const struct v4 *v, struct wg_s3_hmac *h, unsigned how, char hex[64])
{
    uint8_t hash[32], mac[32];
    char text[64];
    struct wg_str piece[] = {
        WG_STR("AWS4-HMAC-SHA256\n"),
        wg_str_of(v->ret->date),
        WG_STR("\n"),
        wg_str_of(v->ret->scope),
        WG_STR("\n"),
        { text, 64 },
    };

    if (!hash_request(v, h, how, hash))
        return false;
    wg_s3_hex(hash, 32, text);
    if (!wg_s3_hmac_sha256(h, (struct wg_str){ (char *)v->ret->key, 32 }, piece, 6, mac))
        return false;
    wg_s3_hex(mac, 32, hex);
    return true;
}

/*
 * The standard form first. Some clients sign path or query exactly as they send it, which
 * differs where they do not encode as S3 does; that signature covers the same bytes, so it is as good.
 */
static enum wg_s3_code check_signature(struct v4 *v)
{
    struct wg_s3_hmac *h = wg_s3_hmac();
    char hex[64];

    if (!h || !wg_s3_signing_key(h, v->ret->access_key, v->secret, v->day, v->region, v->ret->key))
        return WG_S3_InternalError;
    if (v->signature.len != 64)
        return WG_S3_SignatureDoesNotMatch;
    for (unsigned how = 0; how < (v->ret->presigned ? 2u : 4u); how++) {
        if (sign_request(v, h, how, hex) && CRYPTO_memcmp(hex, v->signature.s, 64) == 0) {
            memcpy(v->ret->signature, hex, 64);
            return WG_S3_OK;
        }
    }
    if (v->guessed)
        return wg_s3_auth_fail(v->ret, WG_S3_InvalidRequest,
                               "Missing required header for this request: x-amz-content-sha256");
    return WG_S3_SignatureDoesNotMatch;
}

/* ---- Fields ---- */

/* "key/20261121/us-east-1/s3/aws4_request"; an access key may hold slashes, so from the right. */
static bool split_credential(struct v4 *v)
{
    struct wg_str *part[4] = { &v->terminator, &v->service, &v->region, &v->day };
    struct wg_str left = v->credential;
    uint8_t day[4];

    for (unsigned i = 0; i < 4; i++) {
        const char *slash = left.len ? memrchr(left.s, '/', left.len) : NULL;

        if (!slash)
            return false;
        *part[i] = (struct wg_str){ slash + 1, left.len - (uint32_t)(slash - left.s) - 1 };
        left.len = (uint32_t)(slash - left.s);
    }
    v->ret->access_key = left;
    return left.len > 0 && left.len <= 128 && v->region.len > 0 && v->region.len <= 64 && v->day.len == 8 &&
           wg_s3_unhex(v->day, day, 4) && wg_str_eq(v->service, WG_STR("s3")) &&
           wg_str_eq(v->terminator, WG_STR("aws4_request"));
}

static void set_scope(struct v4 *v, int64_t t)
{
    char buf[WG_S3_DATE_TEXT];

    snprintf(v->ret->date, sizeof v->ret->date, "%.16s", wg_s3_date_basic(t, buf));
    snprintf(v->ret->scope, sizeof v->ret->scope, "%.8s/%.*s/s3/aws4_request", v->day.s, (int)v->region.len,
             v->region.s);
}

static enum wg_s3_code read_payload(struct v4 *v)
{
    static const struct {
        const char *text;
        enum wg_s3_payload payload;
    } known[] = {
        { "UNSIGNED-PAYLOAD", S3_PAYLOAD_UNSIGNED },
        { "STREAMING-UNSIGNED-PAYLOAD-TRAILER", S3_PAYLOAD_CHUNKED_TRAILER },
        { "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", S3_PAYLOAD_SIGNED },
        { "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", S3_PAYLOAD_SIGNED_TRAILER },
    };
    const struct wg_str *h = wg_s3_auth_header(v->in, "x-amz-content-sha256");

    if (!h && v->ret->presigned)
        h = wg_s3_param(v->in->uri, "X-Amz-Content-Sha256");
    if (!h && !v->ret->presigned) {
        /*
         * AWS demands the header; curl before 8 does not send it, and signs the hash of nothing whatever
         * it uploads. Taken as what it is: a request whose body is not signed.
         */
        v->guessed = true;
        v->payload = WG_STR("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        v->ret->payload = S3_PAYLOAD_UNSIGNED;
        return WG_S3_OK;
    }
    v->payload = h ? *h : WG_STR("UNSIGNED-PAYLOAD");
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
        if (wg_str_eq(v->payload, wg_str_of(known[i].text))) {
            v->ret->payload = known[i].payload;
            return WG_S3_OK;
        }
    }
    if (v->payload.len > 26 && memcmp(v->payload.s, "STREAMING-AWS4-ECDSA-P256-", 26) == 0)
        return wg_s3_auth_fail(v->ret, WG_S3_NotImplemented, "SigV4A is not supported.");
    v->ret->payload = S3_PAYLOAD_SHA256;
    if (wg_s3_unhex(v->payload, v->ret->payload_sha256, 32))
        return WG_S3_OK;
    return wg_s3_auth_fail(v->ret, WG_S3_InvalidArgument,
                           "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
                           "STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "
                           "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.");
}

static enum wg_s3_code check(struct v4 *v, int64_t t)
{
    enum wg_s3_code code = read_payload(v);

    if (code != WG_S3_OK)
        return code;
    if (!covers(v))
        return wg_s3_auth_fail(v->ret, WG_S3_AccessDenied,
                               "There were headers present in the request which were not signed");
    set_scope(v, t);
    v->ret->v4 = true;
    return check_signature(v);
}

/* "Credential=..., SignedHeaders=..., Signature=...", separated by "," with or without blanks. */
static bool split_fields(struct v4 *v, struct wg_str fields)
{
    struct {
        struct wg_str name, *to;
    } known[] = {
        { WG_STR("Credential="), &v->credential },
        { WG_STR("SignedHeaders="), &v->signed_headers },
        { WG_STR("Signature="), &v->signature },
    };

    while (fields.len) {
        const char *comma = memchr(fields.s, ',', fields.len);
        uint32_t n = comma ? (uint32_t)(comma - fields.s) : fields.len;
        struct wg_str one = wg_s3_trim((struct wg_str){ fields.s, n });

        fields = comma ? (struct wg_str){ comma + 1, fields.len - n - 1 } : (struct wg_str){ fields.s, 0 };
        for (unsigned i = 0; i < 3; i++) {
            struct wg_str name = known[i].name;

            if (one.len <= name.len || memcmp(one.s, name.s, name.len) != 0)
                continue;
            if (known[i].to->len)
                return false;
            *known[i].to = (struct wg_str){ one.s + name.len, one.len - name.len };
        }
    }
    return v->credential.len && v->signed_headers.len && v->signature.len;
}

enum wg_s3_code wg_s3_sigv4_header(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret,
                                   struct wg_str fields)
{
    struct v4 v = { .in = in, .ret = ret };
    char day[WG_S3_DATE_TEXT];
    enum wg_s3_code code;
    int64_t t;

    if (!split_fields(&v, fields) || !split_credential(&v))
        return WG_S3_AuthorizationHeaderMalformed;
    if (!wg_s3_auth_date(in, &t))
        return wg_s3_auth_fail(ret, WG_S3_AccessDenied,
                               "AWS authentication requires a valid Date or x-amz-date header");
    if (memcmp(wg_s3_date_basic(t, day), v.day.s, 8) != 0)
        return wg_s3_auth_fail(ret, WG_S3_AuthorizationHeaderMalformed,
                               "The authorization header is malformed; Invalid credential date. This "
                               "date is not the same as X-Amz-Date.");
    code = wg_s3_auth_secret(in, ret->access_key, &v.secret);
    if (code != WG_S3_OK)
        return code;
    if (wg_s3_auth_skewed(in, t))
        return WG_S3_RequestTimeTooSkewed;
    return check(&v, t);
}

/* ---- Presigned URLs ---- */

static enum wg_s3_code read_expires(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret, uint64_t *expires)
{
    const struct wg_str *text = wg_s3_param(in->uri, "X-Amz-Expires");

    if (text->len && text->s[0] == '-')
        return wg_s3_auth_fail(ret, WG_S3_AuthorizationQueryParametersError,
                               "X-Amz-Expires must be non-negative");
    if (text->len == 0 || wg_s3_param_u64(in->uri, "X-Amz-Expires", 0, UINT64_MAX, expires) != WG_S3_OK)
        return wg_s3_auth_fail(ret, WG_S3_AuthorizationQueryParametersError,
                               "X-Amz-Expires should be a number");
    if (*expires > WG_S3_EXPIRES_MAX)
        return wg_s3_auth_fail(ret, WG_S3_AuthorizationQueryParametersError,
                               "X-Amz-Expires must be less than a week (in seconds); that is, the given "
                               "X-Amz-Expires must be less than 604800 seconds");
    return WG_S3_OK;
}

enum wg_s3_code wg_s3_sigv4_query(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret)
{
    static const char *const names[] = { "X-Amz-Algorithm", "X-Amz-Credential",    "X-Amz-Signature",
                                         "X-Amz-Date",      "X-Amz-SignedHeaders", "X-Amz-Expires" };
    struct v4 v = { .in = in, .ret = ret };
    const struct wg_str *p[6];
    char day[WG_S3_DATE_TEXT];
    enum wg_s3_code code;
    uint64_t expires;
    int64_t t;

    ret->presigned = true;
    for (unsigned i = 0; i < 6; i++) {
        p[i] = wg_s3_param(in->uri, names[i]);
        if (!p[i])
            return wg_s3_auth_fail(ret, WG_S3_AuthorizationQueryParametersError,
                                   "Query-string authentication version 4 requires the X-Amz-Algorithm, "
                                   "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, "
                                   "and X-Amz-Expires parameters.");
    }
    v.credential = *p[1];
    v.signature = *p[2];
    v.signed_headers = *p[4];
    if (!wg_str_eq(*p[0], WG_STR("AWS4-HMAC-SHA256")))
        return wg_s3_auth_fail(ret, WG_S3_AuthorizationQueryParametersError,
                               "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"");
    if (!split_credential(&v))
        return wg_s3_auth_fail(ret, WG_S3_AuthorizationQueryParametersError,
                               "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; "
                               "expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".");
    if (!wg_s3_date_parse_basic(*p[3], &t))
        return wg_s3_auth_fail(ret, WG_S3_AuthorizationQueryParametersError,
                               "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"");
    if (memcmp(wg_s3_date_basic(t, day), v.day.s, 8) != 0)
        return wg_s3_auth_fail(ret, WG_S3_AuthorizationQueryParametersError,
                               "Invalid credential date. This date is not the same as X-Amz-Date.");
    code = read_expires(in, ret, &expires);
    if (code != WG_S3_OK)
        return code;
    if (t > in->now + WG_S3_SKEW)
        return wg_s3_auth_fail(ret, WG_S3_AccessDenied, "Request is not valid yet");
    if (t + (int64_t)expires < in->now)
        return wg_s3_auth_fail(ret, WG_S3_AccessDenied, "Request has expired");
    code = wg_s3_auth_secret(in, ret->access_key, &v.secret);
    return code == WG_S3_OK ? check(&v, t) : code;
}

bool wg_s3_sign_chunk(const struct wg_s3_auth *a, const char *kind, const char previous[64],
                      const uint8_t hash[32], char ret[64])
{
    /* A chunk's string has the hash of nothing before its own; a trailer's has not. */
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";
    struct wg_s3_hmac *h = wg_s3_hmac();
    uint8_t mac[32];
    char text[64];
    struct wg_str piece[] = {
        WG_STR("AWS4-HMAC-SHA256-"), wg_str_of(kind),     WG_STR("\n"),     wg_str_of(a->date),
        WG_STR("\n"),                wg_str_of(a->scope), WG_STR("\n"),     { previous, 64 },
        WG_STR("\n"),                WG_STR(empty),       { text, 64 },
    };

    if (strcmp(kind, "TRAILER") == 0)
        piece[9] = (struct wg_str){ "", 0 };
    wg_s3_hex(hash, 32, text);
    if (!h || !wg_s3_hmac_sha256(h, (struct wg_str){ (const char *)a->key, 32 }, piece, 11, mac))
        return false;
    wg_s3_hex(mac, 32, ret);
    return true;
}
