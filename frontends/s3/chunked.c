/* SPDX-License-Identifier: Apache-2.0 */
#include "chunked.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "hmac.h"
#include "range.h"

enum {
    SIZE,    /* in the line that begins a chunk */
    DATA,    /* in a chunk */
    CR, LF,  /* after a chunk's data */
    TRAILER, /* in a line after the last chunk */
    DONE,
    DEAD,
};

static bool is_signed(const struct wg_s3_chunked *c)
{
    return c->mode != S3_PAYLOAD_CHUNKED_TRAILER;
}

int wg_s3_chunked_init(struct wg_s3_chunked *c, const struct wg_s3_auth *auth, uint64_t want)
{
    memset(c, 0, sizeof *c);
    c->auth = auth;
    c->mode = auth->payload;
    c->want = want;
    memcpy(c->previous, auth->signature, 64);
    if (!is_signed(c))
        return 0;
    c->md = EVP_MD_CTX_new();
    return c->md ? 0 : ENOMEM;
}

void wg_s3_chunked_fini(struct wg_s3_chunked *c)
{
    EVP_MD_CTX_free(c->md);
    c->md = NULL;
    c->state = DEAD;
}

static enum wg_s3_code fail(struct wg_s3_chunked *c, enum wg_s3_code code)
{
    c->state = DEAD;
    return code;
}

/* The hash under way is that of kind's content: its signature must be c->expect, and is the next one's seed. */
static enum wg_s3_code check_signature(struct wg_s3_chunked *c, const char *kind)
{
    uint8_t hash[32];
    char hex[64];

    if (!EVP_DigestFinal_ex(c->md, hash, NULL) || !wg_s3_sign_chunk(c->auth, kind, c->previous, hash, hex))
        return fail(c, WG_S3_InternalError);
    if (CRYPTO_memcmp(hex, c->expect, 64) != 0)
        return fail(c, WG_S3_SignatureDoesNotMatch);
    memcpy(c->previous, hex, 64);
    return WG_S3_OK;
}

/* Hex digits at the start of line; false when there are none or more than 48 bits. */
static bool read_size(const struct wg_s3_chunked *c, uint64_t *ret, uint32_t *ret_at)
{
    uint32_t i = 0;

    for (*ret = 0; i < c->nline; i++) {
        char ch = c->line[i];
        int v = ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
                : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;

        if (v < 0)
            break;
        if (*ret >> 44)
            return false;
        *ret = *ret << 4 | (unsigned)v;
    }
    *ret_at = i;
    return i > 0;
}

static enum wg_s3_code begin_chunk(struct wg_s3_chunked *c)
{
    static const char name[] = ";chunk-signature=";
    const uint32_t n = sizeof name - 1;
    uint32_t at;

    if (!read_size(c, &c->left, &at))
        return fail(c, WG_S3_IncompleteBody);
    if (c->left > c->want - c->decoded || c->decoded + c->left < c->decoded)
        return fail(c, WG_S3_IncompleteBody);
    if (is_signed(c)) {
        if (c->nline != at + n + 64 || memcmp(c->line + at, name, n) != 0)
            return fail(c, WG_S3_IncompleteBody);
        memcpy(c->expect, c->line + at + n, 64);
        if (!EVP_DigestInit_ex(c->md, EVP_sha256(), NULL))
            return fail(c, WG_S3_InternalError);
    } else if (at < c->nline && c->line[at] != ';') {
        return fail(c, WG_S3_IncompleteBody);
    }
    c->last = c->left == 0;
    c->state = DATA;
    if (!c->last)
        return WG_S3_OK;
    c->state = TRAILER;
    return is_signed(c) ? check_signature(c, "PAYLOAD") : WG_S3_OK;
}

static enum wg_s3_code check_trailer_signature(struct wg_s3_chunked *c, struct wg_str value)
{
    enum wg_s3_code code;

    if (c->mode != S3_PAYLOAD_SIGNED_TRAILER || c->verified || value.len != 64)
        return fail(c, WG_S3_MalformedTrailerError);
    memcpy(c->expect, value.s, 64);
    if (!EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) || !EVP_DigestUpdate(c->md, c->trailers, c->ntrailers))
        return fail(c, WG_S3_InternalError);
    code = check_signature(c, "TRAILER");
    c->verified = code == WG_S3_OK;
    return code;
}

/* Keeps "name:value\n" in the form that is signed. */
static enum wg_s3_code keep_trailer(struct wg_s3_chunked *c, struct wg_str name, struct wg_str value)
{
    char *at = c->trailers + c->ntrailers;

    if (c->mode == S3_PAYLOAD_SIGNED || c->verified || c->gap ||
        c->ntrailers + name.len + value.len + 2 > WG_S3_TRAILERS_MAX)
        return fail(c, WG_S3_MalformedTrailerError);
    memcpy(at, name.s, name.len);
    at[name.len] = ':';
    if (value.len)
        memcpy(at + name.len + 1, value.s, value.len);
    at[name.len + 1 + value.len] = '\n';
    c->ntrailers += name.len + value.len + 2;
    return WG_S3_OK;
}

static enum wg_s3_code end_trailers(struct wg_s3_chunked *c)
{
    /* minio-go puts "\n\r\n" after the trailer, so its signature comes after a blank line. */
    if (c->mode == S3_PAYLOAD_SIGNED_TRAILER && !c->verified) {
        if (c->gap || c->ntrailers == 0)
            return fail(c, WG_S3_MalformedTrailerError);
        c->gap = true;
        return WG_S3_OK;
    }
    c->state = DONE;
    return WG_S3_OK;
}

static enum wg_s3_code trailer_line(struct wg_s3_chunked *c)
{
    struct wg_str line = { c->line, c->nline }, name, value;
    const char *colon;

    if (c->nline == 0)
        return end_trailers(c);
    colon = memchr(line.s, ':', line.len);
    if (!colon)
        return fail(c, WG_S3_MalformedTrailerError);
    name = wg_s3_trim((struct wg_str){ line.s, (uint32_t)(colon - line.s) });
    value = wg_s3_trim((struct wg_str){ colon + 1, line.len - (uint32_t)(colon - line.s) - 1 });
    for (uint32_t i = 0; i < name.len; i++) {
        char *ch = (char *)name.s + i;

        *ch = (char)(*ch >= 'A' && *ch <= 'Z' ? *ch + 32 : *ch);
    }
    if (name.len == 0)
        return fail(c, WG_S3_MalformedTrailerError);
    if (wg_str_eq(name, WG_STR("x-amz-trailer-signature")))
        return check_trailer_signature(c, value);
    return keep_trailer(c, name, value);
}

/* Gathers a line; true when it is whole (without its line end) in c->line. */
static bool take_line(struct wg_s3_chunked *c, const char *in, size_t len, size_t *used)
{
    const char *lf = memchr(in, '\n', len);
    size_t n = lf ? (size_t)(lf - in) : len;

    if (n > WG_S3_CHUNK_LINE - c->nline) {
        c->state = DEAD;
        return false;
    }
    memcpy(c->line + c->nline, in, n);
    c->nline += (uint32_t)n;
    *used += lf ? n + 1 : n;
    if (!lf)
        return false;
    if (c->nline && c->line[c->nline - 1] == '\r')
        c->nline--;
    return true;
}

static enum wg_s3_code line(struct wg_s3_chunked *c, const char *in, size_t len, size_t *used)
{
    bool in_trailer = c->state == TRAILER;
    enum wg_s3_code code;

    if (!take_line(c, in, len, used))
        return c->state != DEAD ? WG_S3_OK : in_trailer ? WG_S3_MalformedTrailerError : WG_S3_IncompleteBody;
    code = in_trailer ? trailer_line(c) : begin_chunk(c);
    c->nline = 0;
    return code;
}

static enum wg_s3_code data(struct wg_s3_chunked *c, const char *in, size_t len, size_t *used,
                            struct wg_str *ret)
{
    size_t n = len < c->left ? len : (size_t)c->left;

    if (n > UINT32_MAX)
        n = UINT32_MAX;
    if (c->md && !EVP_DigestUpdate(c->md, in, n))
        return fail(c, WG_S3_InternalError);
    *ret = (struct wg_str){ in, (uint32_t)n };
    *used += n;
    c->left -= n;
    c->decoded += n;
    if (c->left)
        return WG_S3_OK;
    c->state = CR;
    return is_signed(c) ? check_signature(c, "PAYLOAD") : WG_S3_OK;
}

enum wg_s3_code wg_s3_chunked_feed(struct wg_s3_chunked *c, const void *in, size_t len, size_t *ret_used,
                                   struct wg_str *ret)
{
    const char *p = in;
    enum wg_s3_code code = WG_S3_OK;

    *ret_used = 0;
    *ret = (struct wg_str){ NULL, 0 };
    while (*ret_used < len && ret->len == 0 && code == WG_S3_OK) {
        const char *at = p + *ret_used;

        switch (c->state) {
        case SIZE:
        case TRAILER:
            code = line(c, at, len - *ret_used, ret_used);
            break;
        case DATA:
            code = data(c, at, len - *ret_used, ret_used, ret);
            break;
        case CR:
        case LF:
            if (*at != (c->state == CR ? '\r' : '\n'))
                return fail(c, WG_S3_IncompleteBody);
            c->state = c->state == CR ? LF : SIZE;
            ++*ret_used;
            break;
        case DONE: /* one more line end is sent by some */
            if (*at != '\r' && *at != '\n')
                return fail(c, WG_S3_IncompleteBody);
            ++*ret_used;
            break;
        default:
            return WG_S3_IncompleteBody;
        }
    }
    return code;
}

enum wg_s3_code wg_s3_chunked_end(struct wg_s3_chunked *c)
{
    /* Without a trailer the signature of the last chunk says that all is there. */
    bool whole = c->state == DONE || (c->state == TRAILER && c->mode == S3_PAYLOAD_SIGNED && c->nline == 0);

    if (c->state == TRAILER && c->mode == S3_PAYLOAD_SIGNED_TRAILER && c->gap)
        return fail(c, WG_S3_MalformedTrailerError);
    if (!whole || (c->want != UINT64_MAX && c->decoded != c->want))
        return fail(c, WG_S3_IncompleteBody);
    return WG_S3_OK;
}

bool wg_s3_chunked_trailer(const struct wg_s3_chunked *c, uint32_t *at, struct wg_str *ret_name,
                           struct wg_str *ret_value)
{
    const char *from = c->trailers + *at, *colon, *lf;

    if (*at >= c->ntrailers)
        return false;
    colon = memchr(from, ':', c->ntrailers - *at);
    lf = memchr(from, '\n', c->ntrailers - *at);
    if (!colon || !lf)
        return false;
    *ret_name = (struct wg_str){ from, (uint32_t)(colon - from) };
    *ret_value = (struct wg_str){ colon + 1, (uint32_t)(lf - colon) - 1 };
    *at += (uint32_t)(lf - from) + 1;
    return true;
}
