/* SPDX-License-Identifier: Apache-2.0 */
#include "uri.h"

#include <arpa/inet.h>
#include <strings.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool wg_s3_unreserved(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

size_t wg_s3_encode(struct wg_str from, bool keep_slash, char *to)
{
    static const char digits[] = "0123456789ABCDEF";
    char *at = to;

    for (uint32_t i = 0; i < from.len; i++) {
        uint8_t c = (uint8_t)from.s[i];

        if (wg_s3_unreserved(c) || (keep_slash && c == '/')) {
            *at++ = (char)c;
            continue;
        }
        *at++ = '%';
        *at++ = digits[c >> 4];
        *at++ = digits[c & 15];
    }
    return (size_t)(at - to);
}

bool wg_s3_decode(struct wg_str from, char *to, uint32_t *ret_len)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < from.len; i++) {
        if (from.s[i] != '%') {
            to[n++] = from.s[i];
            continue;
        }
        if (from.len - i < 3)
            return false;
        int hi = hex_value(from.s[i + 1]), lo = hex_value(from.s[i + 2]);

        if (hi < 0 || lo < 0)
            return false;
        to[n++] = (char)(hi * 16 + lo);
        i += 2;
    }
    *ret_len = n;
    return true;
}

/* Decodes from into *space and moves *space on. */
static bool take_decoded(struct wg_str from, char **space, struct wg_str *ret)
{
    uint32_t n;

    if (!wg_s3_decode(from, *space, &n))
        return false;
    *ret = (struct wg_str){ *space, n };
    *space += n;
    return true;
}

static struct wg_str sub(struct wg_str s, uint32_t from, uint32_t to)
{
    return (struct wg_str){ s.s + from, to - from };
}

static uint32_t find(struct wg_str s, uint32_t from, char c)
{
    const char *at = from < s.len ? memchr(s.s + from, c, s.len - from) : NULL;

    return at ? (uint32_t)(at - s.s) : s.len;
}

/* Absolute form (RFC 9112 3.2.2): the authority replaces Host. */
static struct wg_str strip_authority(struct wg_str target, struct wg_str *host)
{
    uint32_t skip, slash;

    if (target.len >= 7 && strncasecmp(target.s, "http://", 7) == 0)
        skip = 7;
    else if (target.len >= 8 && strncasecmp(target.s, "https://", 8) == 0)
        skip = 8;
    else
        return target;
    slash = find(target, skip, '/');
    *host = sub(target, skip, slash);
    return sub(target, slash, target.len);
}

/* The bucket that a host name stands for, or nothing. */
static struct wg_str host_bucket(struct wg_str host, const struct wg_str *domains, uint32_t n)
{
    struct wg_str none = { NULL, 0 };

    if (host.len == 0 || host.s[0] == '[')
        return none;
    host.len = find(host, 0, ':');
    for (uint32_t i = 0; i < n; i++) {
        uint32_t d = domains[i].len;

        if (d == 0 || host.len < d + 2 || host.s[host.len - d - 1] != '.')
            continue;
        if (strncasecmp(host.s + host.len - d, domains[i].s, d) == 0)
            return sub(host, 0, host.len - d - 1);
    }
    return none;
}

static enum wg_s3_code parse_query(struct wg_str query, char **space, struct wg_s3_uri *ret)
{
    for (uint32_t at = 0; at < query.len;) {
        uint32_t end = find(query, at, '&');
        struct wg_str one = sub(query, at, end);
        uint32_t eq = find(one, 0, '=');
        struct wg_s3_param *p = &ret->param[ret->nparams];

        at = end + 1;
        if (one.len == 0)
            continue;
        if (ret->nparams == WG_S3_PARAMS_MAX)
            return WG_S3_InvalidURI;
        if (!take_decoded(sub(one, 0, eq), space, &p->name) ||
            !take_decoded(sub(one, eq < one.len ? eq + 1 : eq, one.len), space, &p->value))
            return WG_S3_InvalidURI;
        ret->nparams++;
    }
    return WG_S3_OK;
}

enum wg_s3_code wg_s3_uri_parse(struct wg_str target, struct wg_str host, const struct wg_str *domains,
                                uint32_t ndomains, char *space, struct wg_s3_uri *ret)
{
    struct wg_str path;
    uint32_t mark;

    ret->bucket = ret->key = (struct wg_str){ NULL, 0 };
    ret->nparams = 0;
    target = strip_authority(target, &host);
    mark = find(target, 0, '?');
    path = sub(target, 0, mark);
    ret->raw_query = sub(target, mark < target.len ? mark + 1 : mark, target.len);
    ret->raw_path = path.len ? path : WG_STR("/");
    if (path.len && path.s[0] != '/')
        return WG_S3_InvalidURI;

    uint32_t from = path.len ? 1 : 0;

    ret->bucket = host_bucket(host, domains, ndomains);
    ret->vhost = ret->bucket.len > 0;
    if (!ret->vhost) {
        uint32_t slash = find(path, from, '/');

        if (!take_decoded(sub(path, from, slash), &space, &ret->bucket))
            return WG_S3_InvalidURI;
        from = slash < path.len ? slash + 1 : slash;
    }
    if (!take_decoded(sub(path, from, path.len), &space, &ret->key))
        return WG_S3_InvalidURI;
    if (ret->bucket.len == 0 && ret->key.len > 0)
        return WG_S3_InvalidURI;
    if (ret->key.len > WG_KEY_MAX)
        return WG_S3_KeyTooLongError;
    return parse_query(ret->raw_query, &space, ret);
}

const struct wg_str *wg_s3_param(const struct wg_s3_uri *uri, const char *name)
{
    struct wg_str want = wg_str_of(name);

    for (uint32_t i = 0; i < uri->nparams; i++)
        if (wg_str_eq(uri->param[i].name, want))
            return &uri->param[i].value;
    return NULL;
}

enum wg_s3_code wg_s3_param_u64(const struct wg_s3_uri *uri, const char *name, uint64_t def,
                                uint64_t max, uint64_t *ret)
{
    const struct wg_str *v = wg_s3_param(uri, name);
    uint64_t n = 0;

    if (!v || v->len == 0) {
        *ret = def;
        return WG_S3_OK;
    }
    for (uint32_t i = 0; i < v->len; i++) {
        if (v->s[i] < '0' || v->s[i] > '9')
            return WG_S3_InvalidArgument;
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, v->s[i] - '0', &n))
            return WG_S3_InvalidArgument;
    }
    if (n > max)
        return WG_S3_InvalidArgument;
    *ret = n;
    return WG_S3_OK;
}

static bool starts(struct wg_str s, const char *with)
{
    size_t n = strlen(with);

    return s.len >= n && memcmp(s.s, with, n) == 0;
}

static bool ends(struct wg_str s, const char *with)
{
    size_t n = strlen(with);

    return s.len >= n && memcmp(s.s + s.len - n, with, n) == 0;
}

static bool lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool wg_s3_bucket_name_ok(struct wg_str name)
{
    char text[64];
    struct in_addr addr;

    if (name.len < 3 || name.len > 63)
        return false;
    for (uint32_t i = 0; i < name.len; i++)
        if (!lower_or_digit(name.s[i]) && name.s[i] != '.' && name.s[i] != '-')
            return false;
    if (!lower_or_digit(name.s[0]) || !lower_or_digit(name.s[name.len - 1]))
        return false;
    if (memmem(name.s, name.len, "..", 2))
        return false;
    if (starts(name, "xn--") || starts(name, "sthree-") ||
        ends(name, "-s3alias") || ends(name, "--ol-s3") || ends(name, "--x-s3"))
        return false;
    memcpy(text, name.s, name.len);
    text[name.len] = '\0';
    return inet_pton(AF_INET, text, &addr) != 1;
}
